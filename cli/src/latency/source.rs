//! The stream that is measured by: the bundled clip, over and over, with a stamp in each picture.

use super::stamp::{Clock, Stamp};
use crate::Failure;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use streamengine::media::elementary::FlvStream;
use streamengine::media::{Frame, FrameKind};
use streamengine::{Limits, Publisher};
use tokio::time::Instant;

/// A stream that is being published, until it is dropped.
pub(super) struct Source {
    sent: Arc<AtomicU32>,
    task: tokio::task::JoinHandle<()>,
}

impl Source {
    pub(super) fn start(publisher: Publisher, clock: Clock) -> Result<Self, Failure> {
        let clip = Clip::read(crate::demo::CLIP)?;
        let sent = Arc::new(AtomicU32::new(0));
        let task = tokio::spawn(play(clip, publisher, clock, sent.clone()));
        Ok(Self { sent, task })
    }

    /// Pictures so far: the number of the next one.
    pub(super) fn sent(&self) -> u32 {
        self.sent.load(Ordering::Acquire)
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Clip {
    /// Configuration, then what has a time.
    frames: Vec<Frame>,
    /// From its first frame to the first one of the next time, in milliseconds.
    length: i64,
}

impl Clip {
    fn read(mut bytes: &[u8]) -> Result<Self, Failure> {
        let mut stream = FlvStream::new(Limits::default().max_message);
        let mut frames = Vec::new();
        while let Some(frame) = stream.read(&mut bytes)? {
            frames.push(frame);
        }
        while let Some(frame) = stream.finish()? {
            frames.push(frame);
        }
        let pictures: Vec<_> =
            frames.iter().filter(|frame| is_picture(frame)).map(|frame| frame.timestamp).collect();
        let (Some(first), Some(last)) = (pictures.first(), pictures.last()) else {
            return Err(Failure::running("the bundled clip has no picture"));
        };
        let steps = i64::try_from(pictures.len()).unwrap_or(i64::MAX).saturating_sub(1).max(1);
        // One more than there are steps between them.
        let length = (last - first) + (last - first) / steps;
        Ok(Self { frames, length })
    }
}

fn is_picture(frame: &Frame) -> bool {
    frame.kind == FrameKind::Video && frame.has_media()
}

/// Sends each frame when its time has come; ends with the right to publish.
async fn play(clip: Clip, publisher: Publisher, clock: Clock, sent: Arc<AtomicU32>) {
    let start = Instant::now();
    for pass in 0_i64.. {
        for frame in clip.frames.iter().filter(|frame| pass == 0 || frame.has_media()) {
            let time = frame.timestamp.saturating_add(pass.saturating_mul(clip.length));
            tokio::time::sleep_until(start + Duration::from_millis(u64::try_from(time).unwrap_or(0))).await;
            let payload = match is_picture(frame) {
                true => {
                    let stamp = Stamp { number: sent.load(Ordering::Acquire), sent: clock.now() };
                    stamp.put_into(&frame.payload).into()
                }
                false => frame.payload.clone(),
            };
            if publisher.push(Frame::new(frame.kind, time, payload)).is_err() {
                return;
            }
            if is_picture(frame) {
                sent.fetch_add(1, Ordering::AcqRel);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bundled_clip_has_pictures_that_a_stamp_can_be_put_into() {
        let clip = Clip::read(crate::demo::CLIP).unwrap();
        let pictures: Vec<_> = clip.frames.iter().filter(|frame| is_picture(frame)).collect();
        assert!(pictures.len() > 100 && (9_000..11_000).contains(&clip.length), "{} ms", clip.length);
        for picture in pictures {
            // H.264 as plain FLV has it, and NAL units whose lengths, of four bytes, add up.
            assert_eq!(picture.payload[0] & 0x0f, 7);
            let mut units = &picture.payload[5..];
            while !units.is_empty() {
                let length = u32::from_be_bytes(units[..4].try_into().unwrap()) as usize;
                units = &units[4 + length..];
            }
        }
    }
}
