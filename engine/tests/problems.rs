//! Streams that are bad in all the ways that are told of, published in real time, and one that is not.
#![cfg(feature = "http")]

use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use streamengine::media::Frame;
use streamengine::testing::{audio, audio_header, inter, key, keyframe, video_header, wait};
use streamengine::{Engine, Protocol, StreamKey};

const FRAME_MS: i64 = 40;
/// Bytes of a frame: 1 Mbit/s.
const LEN: usize = 5_000;

/// What is published as the frame of this number.
type Frames = fn(i64) -> Vec<Frame>;

/// Picture and sound at `at`, a keyframe each second.
fn picture(number: i64, at: i64, len: usize) -> Frame {
    if number % 25 == 0 { keyframe(at, len) } else { inter(at, len) }
}

/// With what is wrong.
const STREAMS: [(&str, Option<&str>, Frames); 7] = [
    ("live/good", None, |number| {
        let at = number * FRAME_MS;
        vec![picture(number, at, LEN), audio(at)]
    }),
    ("live/keyframe", Some("no-keyframe"), |number| {
        let at = number * FRAME_MS;
        vec![if number == 0 { keyframe(at, LEN) } else { inter(at, LEN) }, audio(at)]
    }),
    ("live/apart", Some("audio-video-apart"), |number| {
        let at = number * FRAME_MS;
        vec![picture(number, at + 800, LEN), audio(at)]
    }),
    ("live/jumps", Some("jumping-times"), |number| {
        // Every two seconds three of them back.
        let at = number * FRAME_MS - number / 50 * 3_000 + 1_000_000;
        vec![picture(number, at, LEN), audio(at)]
    }),
    ("live/silent", Some("no-media"), |number| match number {
        0..25 => vec![picture(number, number * FRAME_MS, LEN), audio(number * FRAME_MS)],
        _ => Vec::new(),
    }),
    ("live/low", Some("low-bitrate"), |number| {
        let (at, len) = (number * FRAME_MS, if number < 30 * 25 { LEN } else { LEN / 10 });
        vec![picture(number, at, len), audio(at)]
    }),
    ("live/slow", Some("slow-viewer"), |number| {
        let at = number * FRAME_MS;
        vec![picture(number, at, 20 * LEN), audio(at)]
    }),
];

/// Publishes a stream in real time until it is to end.
fn publish(engine: &Engine, name: &StreamKey, frames: Frames, ends: &Arc<AtomicBool>) -> JoinHandle<()> {
    let (publisher, ends) = (engine.publish(name).unwrap(), ends.clone());
    std::thread::spawn(move || {
        publisher.push(video_header(0)).unwrap();
        publisher.push(audio_header(0)).unwrap();
        let start = Instant::now();
        for number in 0.. {
            if ends.load(Ordering::Relaxed) {
                return;
            }
            frames(number).into_iter().for_each(|frame| publisher.push(frame).unwrap());
            let next = Duration::from_millis(((number + 1) * FRAME_MS).unsigned_abs());
            std::thread::sleep(next.saturating_sub(start.elapsed()));
        }
    })
}

/// What the API tells of a stream.
fn told(address: SocketAddr, path: &str) -> Value {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(wait::PATIENCE)).unwrap();
    write!(socket, "GET /api/v1{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut reply = String::new();
    socket.read_to_string(&mut reply).unwrap();
    serde_json::from_str(reply.split_once("\r\n\r\n").unwrap().1)
        .unwrap_or_else(|error| panic!("{error}: {reply}"))
}

#[test]
fn what_is_wrong_with_a_stream_is_told_and_nothing_of_one_that_is_well() {
    let engine = Engine::builder().listen_http("127.0.0.1:0".parse().unwrap()).start().unwrap();
    let listeners = engine.listeners();
    let address = listeners.iter().find(|listener| listener.protocol == Protocol::Http).unwrap().address;
    let ends = Arc::new(AtomicBool::new(false));
    let publishers: Vec<_> =
        STREAMS.iter().map(|(name, _, frames)| publish(&engine, &key(name), *frames, &ends)).collect();
    // It never reads.
    let mut viewer = TcpStream::connect(address).unwrap();
    write!(viewer, "GET /live/slow.flv HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    let begun = Instant::now();
    let (mut found, mut of_good) = (vec![None; STREAMS.len()], Vec::new());
    // The low one is well for 30 s.
    while found.iter().flatten().count() < STREAMS.len() - 1 {
        assert!(begun.elapsed() < 2 * wait::PATIENCE + Duration::from_secs(30), "{found:?}");
        std::thread::sleep(Duration::from_millis(500));
        for ((name, wrong, _), found) in STREAMS.iter().zip(&mut found) {
            let stream = told(address, &format!("/streams/{}", name.replace('/', "%2F")));
            let Some(problems) = stream["problems"].as_array() else { continue };
            match wrong {
                None => of_good.extend(problems.clone()),
                Some(wrong) if found.is_none() => {
                    *found = problems.iter().find(|problem| problem["kind"] == *wrong).cloned();
                }
                Some(_) => {}
            }
        }
    }
    assert!(told(address, "/summary")["problems"].as_u64().unwrap() > 0);
    let of = |wrong: &str| {
        found.iter().flatten().find(|problem| problem["kind"] == wrong).unwrap()["detail"].clone()
    };
    let since = of("no-keyframe")["since_ms"].as_u64().unwrap();
    // It is more than ten seconds, and told in whole ms. A machine that is busy elsewhere looks later.
    assert!((10_000..=30_000).contains(&since), "{since}");
    let skew = of("audio-video-apart")["skew_ms"].as_i64().unwrap();
    assert!((-880..=-720).contains(&skew), "{skew}");
    assert!(of("jumping-times")["jumps"].as_u64().unwrap() >= 1);
    assert!(
        of("slow-viewer")["queue_ms"].as_u64().unwrap() > 3_000 || of("slow-viewer")["frames_skipped"] != 0
    );
    // A machine that is busy elsewhere holds all of them up, the good one too, and then says so.
    let kinds: Vec<_> = of_good.iter().map(|problem| problem["kind"].as_str().unwrap()).collect();
    assert!(kinds.iter().all(|kind| *kind == "no-media"), "{kinds:?}");
    ends.store(true, Ordering::Relaxed);
    publishers.into_iter().for_each(|publisher| publisher.join().unwrap());
    drop(viewer);
}
