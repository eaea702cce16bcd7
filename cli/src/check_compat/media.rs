//! What is published: the bundled clip with the metadata of OBS, and frames that are made up for one question each.

use super::dialect::{Peer, Role};
use super::wire::{Broken, Listened};
use crate::{Failure, demo};
use bytes::Bytes;
use std::io::Cursor;
use std::time::Duration;
use streamengine::media::flv_file::FlvReader;
use streamengine::media::metadata::{Value, on_metadata};
use streamengine::media::{Frame, FrameKind};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// What encoders put before `onMetaData`.
pub(super) const SET_DATA_FRAME: &[u8] = b"\x02\x00\x0d@setDataFrame";
/// The fields of OBS's metadata, in its order.
pub(super) const OBS_FIELDS: [(&str, Value<'_>); 20] = [
    ("duration", Value::Number(0.0)),
    ("fileSize", Value::Number(0.0)),
    ("width", Value::Number(640.0)),
    ("height", Value::Number(360.0)),
    ("videocodecid", Value::Number(7.0)),
    ("videodatarate", Value::Number(300.0)),
    ("framerate", Value::Number(25.0)),
    ("audiocodecid", Value::Number(10.0)),
    ("audiodatarate", Value::Number(64.0)),
    ("audiosamplerate", Value::Number(48_000.0)),
    ("audiosamplesize", Value::Number(16.0)),
    ("audiochannels", Value::Number(1.0)),
    ("stereo", Value::Boolean(false)),
    ("2.1", Value::Boolean(false)),
    ("3.1", Value::Boolean(false)),
    ("4.0", Value::Boolean(false)),
    ("4.1", Value::Boolean(false)),
    ("5.1", Value::Boolean(false)),
    ("7.1", Value::Boolean(false)),
    ("encoder", Value::Text("obs-output module (libobs version 32.0.4)")),
];

/// Keyframes of which a publisher knows that they were the last.
const KEPT: usize = 3;
/// Longer than anybody looks at a stream that sends nothing more.
const LONG: Duration = Duration::from_secs(3_600);

/// `onMetaData` as OBS sends it, and as it is to arrive.
pub(super) fn obs_metadata() -> (Frame, Bytes) {
    let frame = on_metadata(0, &OBS_FIELDS);
    let sent = [SET_DATA_FRAME, &frame.payload].concat();
    (Frame { payload: sent.into(), ..frame.clone() }, frame.payload)
}

/// The bundled clip as a stream: metadata, decoder configuration, frames. About 10 s with a keyframe every 2 s.
pub(super) fn clip() -> Result<Vec<Frame>, Failure> {
    let mut reader = FlvReader::new(Cursor::new(demo::CLIP))?;
    let mut frames = vec![obs_metadata().0];
    while let Some(tag) = reader.next_tag()? {
        if tag.frame.is_config() != tag.frame.has_media() && tag.frame.kind != FrameKind::Data {
            frames.push(tag.frame);
        }
    }
    Ok(frames)
}

/// The clip's metadata and decoder configuration.
fn heads(clip: &[Frame]) -> Vec<Frame> {
    clip.iter().filter(|frame| frame.is_config() || frame.kind == FrameKind::Data).cloned().collect()
}

/// The clip over and over, with its time going on.
fn endless(clip: &[Frame]) -> impl Iterator<Item = Frame> + use<> {
    const GAP_MS: i64 = 40;
    let pass = clip.last().map_or(GAP_MS, |last| last.timestamp + GAP_MS);
    let media: Vec<_> = clip.iter().filter(|frame| frame.has_media()).cloned().collect();
    let passes = (0..).flat_map(move |number: i64| {
        let media = media.clone();
        media.into_iter().map(move |frame| Frame { timestamp: frame.timestamp + number * pass, ..frame })
    });
    heads(clip).into_iter().chain(passes)
}

/// Frames that go out with the clip's heads before them.
pub(super) fn after_heads(clip: &[Frame], frames: Vec<Frame>) -> Vec<Frame> {
    let start = frames.first().map_or(0, |frame| frame.timestamp);
    let at =
        |frame: Frame| Frame { timestamp: if frame.kind == FrameKind::Data { 0 } else { start }, ..frame };
    heads(clip).into_iter().map(at).chain(frames).collect()
}

/// An H.264 frame of about so many bytes, whose content is told by `number`.
fn h264(is_key: bool, timestamp: i64, length: usize, number: u8) -> Frame {
    let unit_length = u32::try_from(length).unwrap_or(u32::MAX);
    let head: &[u8] = if is_key { &[0x17, 1, 0, 0, 0] } else { &[0x27, 1, 0, 0, 0] };
    let unit = [&[if is_key { 0x65 } else { 0x41 }], &vec![number.wrapping_add(1); length - 1][..]].concat();
    Frame::new(FrameKind::Video, timestamp, [head, &unit_length.to_be_bytes(), &unit].concat().into())
}

/// Frames whose times pass 0xFFFFFF, where they no longer fit into three bytes, each longer than a chunk of OBS.
pub(super) fn late_frames(clip: &[Frame]) -> Vec<Frame> {
    const FIRST_MS: i64 = 0xFF_FFFF - 500;
    let frames = (0..30_u8).map(|n| h264(n % 10 == 0, FIRST_MS + i64::from(n) * 40, 10_000, n));
    after_heads(clip, frames.collect())
}

/// Large frames: longer than any chunk but the very large.
pub(super) fn large_frames(clip: &[Frame]) -> Vec<Frame> {
    let frames = (0..12_u8).map(|n| h264(n % 4 == 0, i64::from(n) * 40, 300_000, n));
    after_heads(clip, frames.collect())
}

/// A codec of Enhanced RTMP: configuration and frames that no decoder would take, and that no server need look into.
pub(super) fn enhanced_frames(code: &[u8; 4]) -> Vec<Frame> {
    // hvcC (ISO/IEC 14496-15), av1C (AV1 in ISO BMFF), OpusHead (RFC 7845), with nothing behind their fixed fields.
    let (kind, record): (_, &[u8]) = match code {
        b"hvc1" => {
            (FrameKind::Video, b"\x01\x01\x60\0\0\0\x90\0\0\0\0\0\x5d\xf0\0\xfc\xfd\xf8\xf8\0\0\x0f\0")
        }
        b"av01" => (FrameKind::Video, b"\x81\x04\x0c\0"),
        _ => (FrameKind::Audio, b"OpusHead\x01\x02\x38\x01\x80\xbb\0\0\0\0\0"),
    };
    let payload = |first: u8, body: &[u8]| Bytes::from([&[first], &code[..], body].concat());
    let mut frames = vec![Frame::new(kind, 0, payload(0x90, record))];
    for n in 0..30_u8 {
        let body = vec![n; 200];
        let payload = match (kind, n % 10 == 0) {
            (FrameKind::Audio, _) => payload(0x91, &body),
            // Coded frames, with a composition time where HEVC has one; then such without.
            (_, true) if code == b"hvc1" => payload(0x91, &[&[0, 0, 0][..], &body].concat()),
            (_, true) => payload(0x91, &body),
            (_, false) if code == b"hvc1" => payload(0xa3, &body),
            (_, false) => payload(0xa1, &body),
        };
        frames.push(Frame::new(kind, i64::from(n) * 40, payload));
    }
    frames
}

/// A stream that is being published at its own pace, until it is dropped.
pub(super) struct OnAir {
    stop: CancellationToken,
    task: JoinHandle<OffAir>,
    since: Instant,
    keyframes: watch::Receiver<Vec<Bytes>>,
}

/// A stream that was.
pub(super) struct OffAir {
    pub(super) peer: Peer,
    pub(super) sent: Vec<Frame>,
    /// Why it ended before it was asked to.
    pub(super) broken: Option<String>,
}

impl OnAir {
    /// Publishes the clip.
    pub(super) fn start(peer: Peer, clip: &[Frame]) -> Self {
        Self::send(peer, endless(clip))
    }

    /// Publishes these frames by their times, the first one at once, and then nothing more.
    pub(super) fn send(peer: Peer, frames: impl Iterator<Item = Frame> + Send + 'static) -> Self {
        let stop = CancellationToken::new();
        let (newest, keyframes) = watch::channel(Vec::new());
        let task = tokio::spawn(publish(peer, frames, stop.clone(), newest));
        Self { stop, task, since: Instant::now(), keyframes }
    }

    /// How long it has been going.
    pub(super) fn age(&self) -> Duration {
        self.since.elapsed()
    }

    /// The newest keyframes that it has sent, a few.
    pub(super) fn keyframes(&self) -> Vec<Bytes> {
        self.keyframes.borrow().clone()
    }

    /// Whether the server has ended it.
    pub(super) fn is_over(&self) -> bool {
        self.task.is_finished()
    }

    /// Ends the sending, and gives the connection back, on which nothing is said of it.
    pub(super) async fn end(self) -> Result<OffAir, String> {
        self.stop.cancel();
        self.task.await.map_err(|error| error.to_string())
    }

    /// Ends it as encoders do.
    pub(super) async fn leave(self) -> Result<OffAir, String> {
        let mut off = self.end().await?;
        // It may be over already.
        let _ = off.peer.leave(Role::Publish).await;
        Ok(off)
    }
}

async fn publish(
    mut peer: Peer,
    frames: impl Iterator<Item = Frame>,
    stop: CancellationToken,
    newest: watch::Sender<Vec<Bytes>>,
) -> OffAir {
    let mut sent = Vec::new();
    let ended = send_all(&mut peer, frames, &mut sent, &stop, &newest).await;
    OffAir { peer, sent, broken: ended.err().map(String::from) }
}

async fn send_all(
    peer: &mut Peer,
    frames: impl Iterator<Item = Frame>,
    sent: &mut Vec<Frame>,
    stop: &CancellationToken,
    newest: &watch::Sender<Vec<Bytes>>,
) -> Result<(), Broken> {
    let (start, mut first) = (Instant::now(), None);
    for frame in frames {
        let offset = match frame.has_media() {
            true => frame.timestamp - *first.get_or_insert(frame.timestamp),
            false => 0,
        };
        let due = start + Duration::from_millis(u64::try_from(offset).unwrap_or_default());
        listen(peer, stop, due).await?;
        if stop.is_cancelled() {
            return Ok(());
        }
        let csid = peer.dialect.chunk_stream(frame.kind);
        peer.session.send_frame(csid, peer.stream, &frame).await?;
        if frame.flags.keyframe {
            newest.send_modify(|keyframes| {
                keyframes.insert(0, frame.payload.clone());
                keyframes.truncate(KEPT);
            });
        }
        sent.push(frame);
    }
    listen(peer, stop, Instant::now() + LONG).await
}

async fn listen(peer: &mut Peer, stop: &CancellationToken, until: Instant) -> Result<(), Broken> {
    match peer.session.listen_unless(stop, until, |_| false).await {
        Listened::Over(broken) => Err(broken),
        Listened::Enough | Listened::Silent => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clip_goes_on_with_its_time_and_sends_its_heads_once() {
        let clip = clip().unwrap();
        let frames: Vec<_> = endless(&clip).take(2 * clip.len()).collect();
        let configs = frames.iter().filter(|frame| frame.is_config()).count();
        assert_eq!((configs, frames[0].kind), (3, FrameKind::Data), "metadata, heads of H.264 and AAC");
        assert!(frames[3..].is_sorted_by_key(|frame| frame.timestamp));
        assert!(frames.iter().any(|frame| frame.timestamp > 10_000));
    }

    #[test]
    fn made_up_frames_are_what_they_are_called() {
        let clip = clip().unwrap();
        let late = late_frames(&clip);
        assert!(late.iter().any(|frame| frame.timestamp < 0xFF_FFFF && frame.flags.keyframe));
        assert!(late.last().unwrap().timestamp > 0x100_0000 && late.last().unwrap().has_media());
        for code in [b"hvc1", b"av01", b"Opus"] {
            let frames = enhanced_frames(code);
            assert!(frames[0].is_config() && frames[1..].iter().all(Frame::has_media));
            assert_eq!(frames[1].flags.keyframe, code != b"Opus");
        }
        assert_eq!(obs_metadata().1[..13], *b"\x02\0\x0aonMetaData");
    }
}
