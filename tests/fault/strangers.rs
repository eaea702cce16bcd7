//! F12-F15: peers that connect and do nothing useful.

use crate::timed;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use streamengine_tests::raw::RawPeer;
use streamengine_tests::synthetic::{Shape, Source, Watcher, granted};
use streamengine_tests::{Engine, PATIENCE, at_most, needs, poll, raise_file_limit};

/// Sends one byte of the handshake every two seconds; gives the time until it is closed.
fn drip(server: SocketAddr, from: Ipv4Addr) -> JoinHandle<Duration> {
    std::thread::spawn(move || {
        let mut socket = RawPeer::dial_with(server, Some(from), None).expect("connect").socket;
        let start = Instant::now();
        let _ = socket.write_all(&[3]);
        let _ = socket.set_read_timeout(Some(Duration::from_secs(2)));
        let mut buffer = [0; 4096];
        while start.elapsed() < PATIENCE {
            match socket.read(&mut buffer) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock) => {
                    if socket.write_all(&[0]).is_err() {
                        break;
                    }
                }
                Err(_) => break,
            }
        }
        start.elapsed()
    })
}

/// An engine that has served somebody, and its open descriptors: its threads open theirs after the start.
fn warm() -> (Engine, usize) {
    let engine = Engine::start();
    drop(granted(engine.rtmp, "live/first").expect("publish"));
    engine.wait("session-closed", |_| true);
    let files = engine.files();
    (engine, files)
}

#[test]
fn f12_a_dripped_handshake_ends_after_five_seconds_and_hurts_nobody() {
    raise_file_limit();
    let engine = Engine::start();
    let _source = Source::publish(engine.rtmp, "live/base", Shape::bits_per_second(400_000));
    let watcher = Watcher::play(engine.rtmp, "live/base");
    watcher.wait_frames(50);
    let (base, files) = (engine.memory(), engine.files());
    let peers: Vec<_> = (0..200).map(|n| drip(engine.rtmp, Ipv4Addr::new(127, 0, 1, 1 + n / 5))).collect();
    let mut slowest = Duration::ZERO;
    for round in 0..4 {
        watcher.wait_frames(75 + round * 20);
        let (answer, time) = timed(|| granted(engine.rtmp, "live/healthy"));
        answer.expect("the healthy publisher is served");
        slowest = slowest.max(time);
        assert!(engine.memory() <= base + 40 * 1024, "{} KiB over {base}", engine.memory());
    }
    assert!(slowest <= at_most(Duration::from_millis(250)), "a healthy publisher needed {slowest:?}");
    for peer in peers {
        let time = peer.join().expect("thread");
        let in_time = Duration::from_millis(4_900)..=at_most(Duration::from_millis(6_500));
        assert!(in_time.contains(&time), "a dripped handshake ended after {time:?}");
    }
    engine.wait_files(files, Duration::from_secs(6));
    assert_eq!(watcher.seen().lost, 0);
}

#[test]
fn f13_every_phase_has_its_deadline() {
    let engine =
        Engine::serve().limit("command_timeout_ms", 1_000).limit("publisher_timeout_ms", 1_000).start();
    for phase in ["handshake", "connect", "publish"] {
        let mark = engine.lines().mark();
        let mut peer = RawPeer::dial(engine.rtmp).expect("dial");
        match phase {
            "handshake" => peer.handshake().expect("handshake"),
            "connect" => peer.open("live").expect("connect"),
            _ => {
                peer.open("live").expect("connect");
                peer.publish("silent").expect("publish");
            }
        }
        let (closed, time) = timed(|| peer.wait_closed(PATIENCE));
        assert!(closed, "after {phase}, nothing: still open");
        let in_time = Duration::from_millis(500)..=at_most(Duration::from_millis(2_500));
        assert!(in_time.contains(&time), "after {phase}, nothing: closed after {time:?}");
        let event = engine.wait_after(mark, "session-closed", PATIENCE, |_| true);
        assert!(event["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{event}");
    }
}

#[test]
fn f14_one_address_gets_64_places_and_others_are_served() {
    raise_file_limit();
    let (engine, base) = warm();
    let greedy = Ipv4Addr::new(127, 0, 2, 1);
    let mut held = Vec::new();
    for _ in 0..300 {
        if let Ok(peer) = RawPeer::dial_with(engine.rtmp, Some(greedy), None) {
            held.push(peer);
        }
    }
    let ((_, status), time) =
        timed(|| granted(engine.rtmp, "live/other").expect("the other address is served"));
    assert_eq!(status.code, "NetStream.Publish.Start");
    assert!(time <= at_most(Duration::from_millis(250)), "it waited {time:?}");
    let open = engine.files() - base;
    assert!(open <= 64 + 8, "{open} descriptors for one greedy address");
    drop(held);
    engine.wait_files(base, Duration::from_secs(6));
    granted(engine.rtmp, "live/after").expect("served afterwards");
}

#[test]
fn f14_a_hundred_connections_a_second_from_16_addresses_are_all_served() {
    raise_file_limit();
    let (engine, base) = warm();
    let start = Instant::now();
    let mut times = Vec::new();
    for n in 0..500_u32 {
        std::thread::sleep((start + Duration::from_millis(10) * n).saturating_duration_since(Instant::now()));
        let from = Ipv4Addr::new(127, 0, 3, 1 + (n % 16) as u8);
        let (done, time) = timed(|| {
            let mut peer = RawPeer::dial_with(engine.rtmp, Some(from), None)?;
            peer.handshake()
        });
        done.expect("handshake");
        times.push(time);
    }
    times.sort();
    let p99 = times[times.len() * 99 / 100];
    assert!(p99 <= at_most(Duration::from_millis(250)), "p99 of the handshake is {p99:?}");
    engine.wait_files(base, Duration::from_secs(6));
}

#[test]
fn f15_used_up_descriptors_hurt_no_running_stream_and_burn_no_cpu() {
    needs!("prlimit");
    let engine = Engine::serve().under(&["prlimit", "--nofile=64:64"]).start();
    let source = Source::publish(engine.rtmp, "live/base", Shape::bits_per_second(400_000));
    let watcher = Watcher::play(engine.rtmp, "live/base");
    watcher.wait_frames(50);
    let crowd: Vec<_> = (0..100)
        .filter_map(|n| RawPeer::dial_with(engine.rtmp, Some(Ipv4Addr::new(127, 0, 4, 1 + n / 5)), None).ok())
        .collect();
    assert!(crowd.len() > 64);
    watcher.forget_gap();
    let (from, cpu) = (Instant::now(), engine.cpu());
    watcher.wait_frames(watcher.seen().frames + 75);
    let share = (engine.cpu() - cpu).as_secs_f64() / from.elapsed().as_secs_f64();
    assert!(share <= 0.05, "{:.1} % CPU with all descriptors in use", share * 100.0);
    let seen = watcher.seen();
    assert_eq!(seen.lost, 0);
    assert!(
        seen.gap <= at_most(Duration::from_millis(500)),
        "the running stream stood still for {:?}",
        seen.gap
    );
    drop(crowd);
    let (answer, time) = timed(|| granted(engine.rtmp, "live/next"));
    answer.expect("served after the release");
    assert!(time <= at_most(Duration::from_secs(1)), "recovered after {time:?}");
    assert!(!source.has_ended());
}

#[test]
fn w10_who_guesses_keys_gets_few_answers_and_who_has_one_is_let_in() {
    let engine = Engine::serve().key("right").start();
    let server = engine.rtmp;
    let (stop, start) = (Arc::new(AtomicBool::new(false)), Instant::now());
    let guess = |from: Ipv4Addr, key: &str| -> std::io::Result<String> {
        let mut peer = RawPeer::dial_with(server, Some(from), None)?;
        peer.open("live")?;
        Ok(peer.publish(&format!("a?key={key}"))?.code)
    };
    let (attacker, beside) = (Ipv4Addr::new(127, 0, 0, 3), Ipv4Addr::new(127, 0, 0, 4));
    std::thread::scope(|scope| {
        let guessing = || while !stop.load(Ordering::Relaxed) && guess(attacker, "wrong").is_ok() {};
        (0..16).for_each(|_| drop(scope.spawn(guessing)));
        // One person of another address, who has mistaken the key, and one who has not.
        scope.spawn(|| while !stop.load(Ordering::Relaxed) && guess(beside, "mistaken").is_ok() {});
        let refused = || engine.events_of("refused").len();
        let settled =
            poll(PATIENCE, || (refused() >= 20 && start.elapsed() > Duration::from_secs(4)).then_some(()));
        assert!(settled.is_some(), "{} refusals", refused());
        let (code, time) = timed(|| guess(beside, "right"));
        stop.store(true, Ordering::Relaxed);
        assert_eq!(code.expect("answer"), "NetStream.Publish.Start");
        assert!(time <= at_most(Duration::from_millis(500)), "the right key waited {time:?}");
    });
    let wrong = |event: &Value| event["reason"].as_str().is_some_and(|reason| reason.starts_with("wrong"));
    let answers = engine.events_of("refused").iter().filter(|event| wrong(event)).count();
    let allowed = 2 * 10 + 5 * (2 + start.elapsed().as_secs() as usize / 3);
    assert!(answers <= allowed, "{answers} answers in {:?}", start.elapsed());
    let told = engine
        .process
        .err
        .all()
        .iter()
        .filter(|line| line.contains("requests of this address are refused"))
        .count();
    assert_eq!(told, 2, "a line for each address");
}
