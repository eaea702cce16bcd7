//! The stream that is measured by: the bundled clip, looped by the engine, with a stamp in each picture.

use super::stamp::{Clock, Stamp};
use crate::{Failure, demo, relay};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use streamengine::media::looping::{Clip, Repeat};
use streamengine::media::{Frame, FrameKind};
use streamengine::{Engine, Publisher, Subscriber};

/// A stream that is being published, until it is dropped.
pub(super) struct Source {
    sent: Arc<AtomicU32>,
    task: tokio::task::JoinHandle<()>,
}

impl Source {
    pub(super) fn start(engine: &Engine, publisher: Publisher, clock: Clock) -> Result<Self, Failure> {
        let plain = relay::private_name("clip")?;
        let frames = engine.subscribe(&plain)?;
        engine.loop_clips(&plain, vec![Clip::memory("bundled clip", demo::CLIP)], Repeat::Forever)?;
        let sent = Arc::new(AtomicU32::new(0));
        let task = tokio::spawn(stamp(frames, publisher, clock, sent.clone()));
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

/// Sends each frame on as it comes; ends with the right to publish.
async fn stamp(mut frames: Subscriber, publisher: Publisher, clock: Clock, sent: Arc<AtomicU32>) {
    while let Some(frame) = frames.next().await {
        let is_picture = frame.kind == FrameKind::Video && frame.has_media();
        let frame = match is_picture {
            true => {
                let stamp = Stamp { number: sent.load(Ordering::Acquire), sent: clock.now() };
                Frame::new(frame.kind, frame.timestamp, stamp.put_into(&frame.payload).into())
            }
            false => frame,
        };
        if publisher.push(frame).is_err() {
            return;
        }
        if is_picture {
            sent.fetch_add(1, Ordering::AcqRel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use streamengine::testing::demo_frames;

    #[test]
    fn the_bundled_clip_has_pictures_that_a_stamp_can_be_put_into() {
        let frames = demo_frames();
        let is_picture = |frame: &&Frame| frame.kind == FrameKind::Video && frame.has_media();
        let pictures: Vec<_> = frames.iter().filter(is_picture).collect();
        let length = pictures[pictures.len() - 1].timestamp - pictures[0].timestamp;
        assert!(pictures.len() > 100 && (9_000..11_000).contains(&length), "{length} ms");
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
