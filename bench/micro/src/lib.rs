//! The hot paths as work that can be repeated: for the timer (criterion) and for the instruction counter.
//!
//! The media is that of the fan-out measurements: 2 Mbit/s video of 30 frames a second in frames of about 8 KiB,
//! a keyframe six times as long every two seconds, and AAC frames of 200 bytes between them.

use bytes::{BufMut, Bytes, BytesMut};
use std::hint::black_box;
use streamengine::media::{Frame, FrameKind};
use streamengine::proto::chunk::{ChunkReader, WireMessage, csid};
use streamengine::{Engine, Error, Limits, Publisher, StreamKey, Subscriber};

/// Bytes of an ordinary video frame.
pub const FRAME: usize = 8 * 1024;
/// Bytes of a keyframe.
pub const KEYFRAME: usize = 6 * FRAME;
/// Bytes of an audio frame.
pub const AUDIO: usize = 200;
/// Video frames of a group of pictures.
const GOP: u64 = 60;
/// Chunk size of the publisher whose bytes are read: what most encoders announce.
const CHUNK: usize = 4096;
/// Messages that one read of 64 KiB brings.
const MESSAGES: usize = 8;
/// Where in a message a read ends: in its first chunk.
const CUT: usize = 1000;

/// Work that can be repeated without end, the same each time.
pub trait Path {
    /// Does it once.
    ///
    /// # Panics
    /// When the engine does not do what it should: then there is nothing to measure.
    fn step(&mut self);
}

/// The paths by name. Each name is a key of `instructions.json`.
pub const NAMES: [&str; 4] = ["chunk-read", "wire-build", "ring-push-take", "ring-push-take-100"];

/// A path ready to run, by its name.
///
/// # Errors
/// When the engine does not start.
pub fn path(name: &str) -> Result<Option<Box<dyn Path>>, Error> {
    Ok(match name {
        "chunk-read" => Some(Box::new(ChunkRead::new())),
        "wire-build" => Some(Box::new(WireBuild::new())),
        "ring-push-take" => Some(Box::new(RingPushTake::new(1)?)),
        "ring-push-take-100" => Some(Box::new(RingPushTake::new(100)?)),
        _ => None,
    })
}

/// Reads messages out of 4096-byte chunks, as much as one read of the socket brings: eight of them, the first cut.
struct ChunkRead {
    reader: ChunkReader,
    /// What each read brings: the rest of a message, whole ones, and the beginning of one.
    read: Bytes,
    input: BytesMut,
}

impl ChunkRead {
    fn new() -> Self {
        let mut reader = ChunkReader::new(&Limits::default());
        reader.grant();
        let wire = published_video();
        let (before, after) = wire.split_at(CUT);
        let mut input = BytesMut::from(&[2, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0][..]);
        input.put_u32(CHUNK as u32);
        input.put_slice(before);
        assert!(matches!(reader.read(&mut input), Ok(None)), "a chunk size and half a message");
        Self { reader, read: [after, before].concat().into(), input: BytesMut::with_capacity(wire.len()) }
    }
}

impl Path for ChunkRead {
    fn step(&mut self) {
        self.input.put_slice(&self.read);
        let mut messages = 0;
        while let Some(message) = self.reader.read(&mut self.input).expect("our own chunks are valid") {
            black_box(message);
            messages += 1;
        }
        assert_eq!(messages, MESSAGES, "each read completes as many messages as it brings");
    }
}

/// [`MESSAGES`] video messages in chunks of [`CHUNK`], each [`FRAME`] bytes long with its chunk headers.
fn published_video() -> Bytes {
    let mut wire = BytesMut::new();
    for _ in 0..MESSAGES {
        wire.put_slice(&[0x47, 0, 0, 33]);
        wire.put_uint((FRAME - 9) as u64, 3);
        wire.put_u8(9);
        for (index, piece) in video(FRAME - 9, false).chunks(CHUNK).enumerate() {
            if index > 0 {
                wire.put_u8(0xC7);
            }
            wire.put_slice(piece);
        }
    }
    wire.freeze()
}

/// Makes the wire form of one group of pictures with its audio in one piece per video frame, as a flush does.
struct WireBuild {
    frames: Vec<Frame>,
    buffer: BytesMut,
}

impl WireBuild {
    fn new() -> Self {
        let mut source = Source::default();
        Self { frames: (0..GOP).flat_map(|_| source.next_frames()).collect(), buffer: BytesMut::new() }
    }
}

impl Path for WireBuild {
    fn step(&mut self) {
        for frame in &self.frames {
            let chunk_stream = if frame.kind == FrameKind::Video { csid::VIDEO } else { csid::AUDIO };
            let kind = frame.kind.type_id();
            let message = WireMessage::new(chunk_stream, kind, 1, frame.timestamp, frame.payload.clone());
            message.encode(&mut self.buffer);
            if frame.kind == FrameKind::Video {
                black_box(self.buffer.split().freeze());
            }
        }
    }
}

/// Pushes a video frame with its audio into a stream, and takes it out again as one of several subscribers.
struct RingPushTake {
    publisher: Publisher,
    subscribers: Vec<Subscriber>,
    source: Source,
    _engine: Engine,
}

impl RingPushTake {
    fn new(subscribers: usize) -> Result<Self, Error> {
        let engine = Engine::builder().start()?;
        let key: StreamKey = "live/bench".parse().expect("a valid name");
        let publisher = engine.publish(&key)?;
        let subscribers = (0..subscribers).map(|_| engine.subscribe(&key)).collect::<Result<_, _>>()?;
        Ok(Self { publisher, subscribers, source: Source::default(), _engine: engine })
    }
}

impl Path for RingPushTake {
    fn step(&mut self) {
        let mut pushed = 0;
        for frame in self.source.next_frames() {
            self.publisher.push(frame).expect("nobody takes the stream over");
            pushed += 1;
        }
        for subscriber in &mut self.subscribers {
            let mut taken = 0;
            while let Ok(Some(frame)) = subscriber.try_next() {
                black_box(frame);
                taken += 1;
            }
            assert_eq!(taken, pushed, "a subscriber gets every frame at once");
        }
    }
}

/// Live media without end: payloads are shared, times go on.
struct Source {
    video: u64,
    audio: u64,
    keyframe: Bytes,
    frame: Bytes,
    sound: Bytes,
}

impl Default for Source {
    fn default() -> Self {
        let mut sound = vec![0; AUDIO];
        sound[..2].copy_from_slice(&[0xAF, 1]);
        Self {
            video: 0,
            audio: 0,
            keyframe: video(KEYFRAME, true),
            frame: video(FRAME, false),
            sound: sound.into(),
        }
    }
}

impl Source {
    /// The next video frame and the audio due before the one after it.
    fn next_frames(&mut self) -> Vec<Frame> {
        let payload = if self.video.is_multiple_of(GOP) { &self.keyframe } else { &self.frame };
        let mut frames = vec![Frame::new(FrameKind::Video, ms(self.video, 1, 30), payload.clone())];
        self.video += 1;
        while ms(self.audio, 1024, 48_000) < ms(self.video, 1, 30) {
            frames.push(Frame::new(FrameKind::Audio, ms(self.audio, 1024, 48_000), self.sound.clone()));
            self.audio += 1;
        }
        frames
    }
}

/// Milliseconds of `count` units of `unit / rate` seconds.
fn ms(count: u64, unit: u64, rate: u64) -> i64 {
    i64::try_from(count * unit * 1000 / rate).expect("centuries")
}

/// An AVC frame body; what is in it after the first bytes is nobody's business here.
fn video(length: usize, keyframe: bool) -> Bytes {
    let mut body = vec![0; length];
    body[..5].copy_from_slice(&[if keyframe { 0x17 } else { 0x27 }, 1, 0, 0, 0]);
    body.into()
}
