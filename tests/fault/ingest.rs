//! Publishers over HTTP that do not keep to the rules, and many that say nothing: what they cost others, and memory.

#![allow(clippy::print_stdout, reason = "figures of the machine, for who runs it")]

use crate::players::assert_unharmed;
use std::fs;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};
use streamengine_tests::flv::Recording;
use streamengine_tests::http::{HttpPeer, upgrade};
use streamengine_tests::synthetic::{Shape, Source, Watcher};
use streamengine_tests::{Engine, demo_clip, raise_file_limit};

/// A frame of a WebSocket client with this first byte, under a mask of zeros.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first, 0x80 | 127];
    frame.extend((payload.len() as u64).to_be_bytes());
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

/// Numbers that look random and are the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit.max(1)
    }
}

/// What a hostile page sends, of which there are twelve kinds.
fn hostile(kind: usize, flv: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    let cut = numbers.below(flv.len());
    let mut spoiled = flv.to_vec();
    match kind % 12 {
        // Cut off in the middle, and all of it again.
        0 => [frame(0x82, &flv[..cut]), frame(0x82, flv)].concat(),
        // Pieces in another order.
        1 => [frame(0x82, &flv[cut..]), frame(0x82, &flv[..cut])].concat(),
        // Bytes that are others.
        2 => {
            for _ in 0..50 {
                let at = numbers.below(spoiled.len());
                spoiled[at] = numbers.below(256) as u8;
            }
            frame(0x82, &spoiled)
        }
        // Sizes of tags that are the largest.
        3 => {
            for at in (13..spoiled.len().saturating_sub(4)).step_by(1 + numbers.below(5_000)) {
                spoiled[at..at + 3].fill(0xff);
            }
            frame(0x82, &spoiled)
        }
        // Frames of one byte.
        4 => {
            let few = &flv[..flv.len().min(2_000)];
            let rest = few.iter().skip(1).flat_map(|byte| frame(0x00, &[*byte]));
            frame(0x02, &few[..1]).into_iter().chain(rest).collect()
        }
        // Announced and not sent.
        5 => [&[0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff][..], &[0; 4], flv].concat(),
        // Texts where none are expected, and texts without end.
        6 => [
            frame(0x81, br#"{"destinations":["x"]}"#),
            frame(0x01, &vec![b'{'; cut % 5_000]),
            frame(0x82, flv),
        ]
        .concat(),
        // Control frames that are none, and closes in the middle.
        7 => [frame(0x82, &flv[..cut]), frame(0x89, &vec![0; cut % 200]), frame(0x88, b"\x03")].concat(),
        // Without a mask, or of an extension.
        8 => [vec![[0x82, 0xc2][cut % 2], 5, 1, 2, 3, 4, 5], flv.to_vec()].concat(),
        // Tags in another order, so that times jump and pictures come before how they are decoded.
        9 => {
            let mut tags = Recording::parse(flv);
            for at in 0..tags.tags.len() {
                tags.tags.swap(at, numbers.below(at + 1));
            }
            frame(0x82, &tags.file())
        }
        // A text in frames of one byte.
        10 => {
            let rest = (0..cut % 6_000).flat_map(|_| frame(0x00, b" "));
            frame(0x01, b"{").into_iter().chain(rest).collect()
        }
        // Noise.
        _ => (0..cut % 100_000).map(|_| numbers.below(256) as u8).collect(),
    }
}

fn page(engine: &Engine, from: Ipv4Addr, name: &str) -> HttpPeer {
    let mut peer = HttpPeer::dial_with(engine.http(), Some(from), None).expect("connect");
    // By a name of this machine, from which one may publish.
    let request = upgrade(&format!("/{name}")).replace("Host: h", "Host: localhost");
    let (status, head) = peer.ask(request).expect("a reply");
    assert_eq!(status, 101, "{head}");
    peer
}

#[test]
fn f01_two_hundred_hostile_pages_hurt_nobody() {
    let engine = Engine::serve().http().start();
    let source = Source::publish(engine.rtmp, "live/base", Shape::bits_per_second(2_000_000));
    let watcher = Watcher::play(engine.rtmp, "live/base");
    watcher.wait_frames(50);
    // What the busy machine costs by itself is measured beside it.
    let other = Engine::start();
    let _beside = Source::publish(other.rtmp, "live/base", Shape::bits_per_second(2_000_000));
    let beside = Watcher::play(other.rtmp, "live/base");
    beside.wait_frames(50);
    let (base, files) = (engine.memory(), engine.files());
    [&watcher, &beside].into_iter().for_each(Watcher::forget_gap);
    let flv = fs::read(demo_clip()).expect("the demo");
    let mut numbers = Numbers(1);
    for number in 0..200 {
        let mut peer =
            page(&engine, Ipv4Addr::new(127, 0, 4, 1 + (number % 8) as u8), &format!("live/x{number}"));
        peer.send(hostile(number, &flv, &mut numbers));
        if number % 3 == 0 {
            let _ = peer.socket.shutdown(std::net::Shutdown::Write);
            peer.rest();
        }
    }
    engine.wait_files(files, Duration::from_secs(30));
    let mut asking = HttpPeer::dial(engine.http()).expect("connect");
    asking.send("GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let text = asking.answer().expect("metrics").text();
    assert!(
        text.lines().any(|line| line.starts_with("streamengine_panics_total") && line.ends_with(" 0")),
        "{text}"
    );
    let grown = engine.memory().saturating_sub(base);
    let (gap, by_itself) = (watcher.seen().gap, beside.seen().gap);
    println!("200 hostile pages: {grown} KiB more than before, a gap of {gap:?} (beside: {by_itself:?})");
    assert!(grown <= 64 * 1024, "{grown} KiB more than before");
    assert_unharmed(&watcher, Duration::from_millis(100) + by_itself);
    assert!(!source.has_ended());
}

#[test]
fn f13_two_thousand_pages_that_send_nothing_cost_little_and_are_left() {
    raise_file_limit();
    // Long enough for all of them to be there at a time.
    let engine = Engine::serve().http().limit("publisher_timeout_ms", 40_000).start();
    let source = Source::publish(engine.rtmp, "live/base", Shape::bits_per_second(2_000_000));
    let watcher = Watcher::play(engine.rtmp, "live/base");
    watcher.wait_frames(50);
    let (base, files) = (engine.memory(), engine.files());
    watcher.forget_gap();
    let begun = Instant::now();
    let pages: Vec<_> = (0..2_000u32)
        .map(|number| {
            page(&engine, Ipv4Addr::new(127, 0, 5, 1 + (number % 4) as u8), &format!("live/idle{number}"))
        })
        .collect();
    let each = engine.memory().saturating_sub(base) as f64 / pages.len() as f64;
    // 17 KiB without optimisation: the connection, its session and a stream without frames.
    assert!(each <= 24.0, "{each:.1} KiB for each");
    println!("an idle page costs {each:.1} KiB; 2,000 have come in {:.1} s", begun.elapsed().as_secs_f64());
    engine.wait_files(files, Duration::from_secs(90));
    println!("2,000 idle pages: a gap of {:?} meanwhile", watcher.seen().gap);
    assert_eq!(watcher.seen().lost, 0, "{:?}", watcher.seen());
    assert!(!source.has_ended());
    drop(pages);
}
