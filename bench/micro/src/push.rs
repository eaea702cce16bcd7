//! The Rust side of `bench/boundary`: what `c/push.c` does, by the Rust API.
#![allow(clippy::print_stdout)]

use bytes::Bytes;
use parking_lot::Mutex;
use std::hint::black_box;
use std::process::ExitCode;
use std::time::Instant;
use streamengine::media::elementary::{Demuxer, Muxer, Sample};
use streamengine::media::flv::Codec;
use streamengine::media::{Frame, FrameKind};
use streamengine::{Engine, Publisher, Result, StreamKey, Subscriber};

/// Frames between two readings of the clock, so that reading and pushing can be timed apart.
const ROUND: u32 = 64;

/// Decoder configuration of H.264, so that frames can be told from parameter sets.
const AVCC: &[u8] = b"\x01\x4d\x40\x1e\xff\xe1\x00\x05\x67\x4d\x40\x1e\xd9\x01\x00\x04\x68\xe9\x78\x80";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, frames, bytes] = arguments.as_slice() else { return usage() };
    let (Ok(frames), Ok(bytes)) = (frames.parse(), bytes.parse()) else { return usage() };
    match measure(path, frames, bytes) {
        Ok(Some(nanoseconds)) => println!("{nanoseconds:.2}"),
        Ok(None) => return usage(),
        Err(error) => {
            println!("{error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn usage() -> ExitCode {
    println!("usage: push frame|tag|next FRAMES BYTES; prints nanoseconds per frame");
    ExitCode::from(2)
}

fn measure(path: &str, frames: u32, bytes: usize) -> Result<Option<f64>> {
    let engine = Engine::builder().start()?;
    let key: StreamKey = "live/bench".parse().unwrap_or_else(|_| unreachable!("a valid name"));
    let publisher = engine.publish(&key)?;
    let nanoseconds = match path {
        "frame" => push_frames(&publisher, frames, bytes)?,
        "tag" => push_tags(&publisher, frames, bytes)?,
        "next" => read_frames(&publisher, engine.subscribe(&key)?, frames, bytes)?,
        _ => return Ok(None),
    };
    Ok(Some(nanoseconds))
}

/// A NAL unit of a non-key picture behind its length, as an encoder's output in native form.
fn picture(bytes: usize) -> Vec<u8> {
    let mut picture = vec![0x55; bytes];
    picture[..4].copy_from_slice(&(bytes as u32 - 4).to_be_bytes());
    picture[4] = 0x41;
    picture
}

/// Times `push` over all but the first tenth of the frames; nanoseconds for each.
fn timed(frames: u32, mut push: impl FnMut(u32) -> Result<()>) -> Result<f64> {
    let warm_up = frames / 10;
    (0..warm_up).try_for_each(&mut push)?;
    let start = Instant::now();
    (warm_up..warm_up + frames).try_for_each(&mut push)?;
    Ok(start.elapsed().as_nanos() as f64 / f64::from(frames))
}

fn push_frames(publisher: &Publisher, frames: u32, bytes: usize) -> Result<f64> {
    let picture = picture(bytes);
    // As in C: any thread may push.
    let muxer = Mutex::new(Muxer::new());
    muxer.lock().set_track(0, Codec::H264, Some(AVCC))?;
    let empty = Sample::new(Codec::H264, 0, Bytes::new());
    timed(frames, |number| {
        let sample = Sample {
            track: empty.track,
            codec: empty.codec,
            format: empty.format,
            pts_ns: i64::from(number) * 1_000_000,
            dts_ns: None,
            keyframe: false,
            config: false,
            discardable: false,
            data: black_box(&picture),
        };
        let mut muxer = muxer.lock();
        muxer.push(&sample)?.into_iter().try_for_each(|frame| publisher.push(frame))
    })
}

fn push_tags(publisher: &Publisher, frames: u32, bytes: usize) -> Result<f64> {
    let body = tag(bytes, 0x27);
    timed(frames, |number| push_tag(publisher, number, black_box(&body)))
}

fn tag(bytes: usize, first: u8) -> Vec<u8> {
    let mut body = vec![0x55; bytes];
    body[..5].copy_from_slice(&[first, 1, 0, 0, 0]);
    body
}

fn push_tag(publisher: &Publisher, number: u32, body: &[u8]) -> Result<()> {
    publisher.push(Frame::new(FrameKind::Video, i64::from(number), Bytes::copy_from_slice(body)))
}

/// Pushes rounds of frames, and times only the reading of them.
fn read_frames(publisher: &Publisher, mut subscriber: Subscriber, frames: u32, bytes: usize) -> Result<f64> {
    let body = tag(bytes, 0x17);
    let (mut nanoseconds, mut demuxer) = (0, Demuxer::new());
    for round in 0..frames / ROUND {
        (0..ROUND).try_for_each(|number| push_tag(publisher, round * ROUND + number, &body))?;
        let start = Instant::now();
        for _ in 0..ROUND {
            let frame = subscriber.try_next()?.expect("it was pushed");
            black_box(demuxer.push(&frame)?);
        }
        nanoseconds += start.elapsed().as_nanos();
    }
    Ok(nanoseconds as f64 / f64::from(frames / ROUND * ROUND))
}
