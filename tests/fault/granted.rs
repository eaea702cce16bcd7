//! W5: peers that are granted what they ask for, over and over: what they cost log, events and others.

use crate::timed;
use serde_json::Value;
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use streamengine_tests::raw::{self, RawPeer, command, text};
use streamengine_tests::synthetic::{Shape, Source};
use streamengine_tests::{Engine, PATIENCE, at_most, poll, raise_file_limit};

/// Starts of one address in a minute, where a test has to see more of them than that.
const STARTS: usize = 600;
/// Log lines of one address in any second, as promised.
const LINES: usize = 100;

/// Does the same over and over in a thread, until this is dropped.
struct Loop {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Loop {
    fn start(mut step: impl FnMut() -> std::io::Result<()> + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let end = stop.clone();
        let run = move || while !end.load(Ordering::Relaxed) && step().is_ok() {};
        Self { stop, thread: Some(std::thread::spawn(run)) }
    }

    /// Sends these bytes on a connection again and again, and drops what comes back.
    fn send(peer: RawPeer, bytes: Vec<u8>) -> Self {
        let mut reader = peer.socket.try_clone().expect("socket");
        std::thread::spawn(move || {
            let mut buffer = [0; 64 * 1024];
            while reader.read(&mut buffer).is_ok_and(|count| count > 0) {}
        });
        let mut socket = peer.socket;
        let _ = socket.set_write_timeout(Some(Duration::from_millis(100)));
        Self::start(move || match socket.write_all(&bytes) {
            // The engine does not read while it is not our turn.
            Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(()),
        })
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A command on message stream 1 as bytes that fit into one chunk.
fn on_stream(name: &str, argument: Option<&str>) -> Vec<u8> {
    let mut rest = vec![rml_amf0::Amf0Value::Null];
    rest.extend(argument.map(text));
    raw::message(3, 0, 20, 1, &command(name, 0.0, rest), 128)
}

/// `begin` and `closeStream`, as often as fits into 16 KiB: half a message would not do where writing stops.
fn over_and_over(begin: &str) -> Vec<u8> {
    let once = [on_stream(begin, Some("loop")), on_stream("closeStream", None)].concat();
    once.repeat(16 * 1024 / once.len())
}

fn play_loop(server: SocketAddr) -> Loop {
    Loop::send(RawPeer::connect(server, "live").expect("connect"), over_and_over("play"))
}

fn publish_loop(server: SocketAddr) -> Loop {
    Loop::send(RawPeer::connect(server, "live").expect("connect"), over_and_over("publish"))
}

/// Connections that play and leave.
fn short_connections(server: SocketAddr) -> Loop {
    Loop::start(move || {
        let mut peer = RawPeer::connect(server, "live")?;
        peer.play("base").map(drop)
    })
}

type Attack = fn(SocketAddr) -> Loop;
const ATTACKS: [(&str, Attack); 3] =
    [("play loop", play_loop), ("publish loop", publish_loop), ("short connections", short_connections)];

/// When the line was written, in seconds of its day.
fn time_of(line: &str) -> Option<f64> {
    let time = line.split_once('T')?.1.split_once('Z')?.0;
    let mut parts = time.split(':').map(|part| part.parse::<f64>().ok());
    Some(parts.next()?? * 3600.0 + parts.next()?? * 60.0 + parts.next()??)
}

/// Most lines in any second.
fn busiest_second(lines: &[String]) -> usize {
    let times: Vec<f64> = lines.iter().filter_map(|line| time_of(line)).collect();
    assert!(times.len() + 5 >= lines.len(), "lines without a time");
    let until = |start: f64| times.partition_point(|time| *time < start + 1.0);
    (0..times.len()).map(|first| until(times[first]) - first).max().unwrap_or(0)
}

/// The sum of what lines say was left out before them.
fn left_out(lines: &[String]) -> usize {
    let count = |line: &String| line.split_once("left_out=")?.1.split(' ').next()?.parse::<usize>().ok();
    lines.iter().filter_map(count).sum()
}

/// What began and ended, by stream and session. Nothing ends that has not begun, nor begins twice.
fn balance(events: &[Value]) -> HashMap<String, i32> {
    let mut open = HashMap::new();
    for event in events {
        let (kind, change) = match event["event"].as_str().expect("a kind") {
            "play-started" => ("play", 1),
            "play-ended" => ("play", -1),
            "stream-started" => ("publish", 1),
            "stream-ended" => ("publish", -1),
            "session-opened" => ("session", 1),
            "session-closed" => ("session", -1),
            "lost" => panic!("events were lost"),
            _ => continue,
        };
        let number: &mut i32 = open.entry(format!("{kind} {}", event["session"])).or_default();
        *number += change;
        assert!((0..=1).contains(number), "{event}");
    }
    open.retain(|_, number| *number > 0);
    open
}

/// Connections, and requests on them after their first, that have been granted.
fn starts(events: &[Value]) -> usize {
    let count = |kind: &str| events.iter().filter(|event| event["event"] == kind).count();
    let (sessions, granted) = (count("session-opened"), count("play-started") + count("stream-started"));
    sessions + granted.saturating_sub(sessions)
}

/// Lines about peers that events have to have.
fn lines_for(events: &[Value]) -> usize {
    const KINDS: [&str; 5] =
        ["play-started", "play-ended", "stream-started", "stream-ended", "session-closed"];
    events.iter().filter(|event| KINDS.iter().any(|kind| event["event"] == *kind)).count()
}

/// Publishes from another address of this machine; how long that takes.
fn newcomer(server: SocketAddr, from: Ipv4Addr) -> Duration {
    let publish = || -> std::io::Result<_> {
        let mut peer = RawPeer::dial_with(server, Some(from), None)?;
        peer.open("live")?;
        peer.publish(&format!("new{}", from.octets()[3]))
    };
    let (status, time) = timed(publish);
    assert_eq!(status.expect("a newcomer is served").code, "NetStream.Publish.Start");
    time
}

#[test]
fn w5_what_one_address_is_granted_over_and_over_fills_neither_log_nor_events() {
    raise_file_limit();
    for (name, attack) in ATTACKS {
        let engine = Engine::serve().limit("starts_per_minute_per_address", STARTS).start();
        let _source = Source::publish(engine.rtmp, "live/base", Shape::bits_per_second(100_000));
        let (start, looping) = (Instant::now(), attack(engine.rtmp));
        // Until a minute's worth has begun and others wait for their turn.
        let begun = poll(PATIENCE, || {
            let begun = starts(&engine.events());
            (start.elapsed() > Duration::from_secs(3) && begun >= STARTS).then_some(begun)
        });
        let (begun, elapsed) = (begun.unwrap_or_else(|| panic!("{name}: too few starts")), start.elapsed());
        let allowed = STARTS + (elapsed.as_secs_f64() * STARTS as f64 / 60.0) as usize + 10;
        assert!(begun <= allowed, "{name}: {begun} starts in {elapsed:?}");
        let times = [1, 2].map(|last| newcomer(engine.rtmp, Ipv4Addr::new(127, 0, 0, last)));
        drop(looping);
        let (log, out) = (engine.process.err.clone(), engine.process.out.clone());
        assert_eq!(engine.stop(), 0);
        let events: Vec<Value> =
            out.all().iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let lines = log.all();
        eprintln!("{name}: {begun} starts in {elapsed:?}, {} lines, newcomers {times:?}", lines.len());
        assert_eq!(balance(&events), HashMap::new(), "{name}: what began has ended");
        assert!(busiest_second(&lines) <= LINES, "{name}: {} lines in a second", busiest_second(&lines));
        let about_peers = lines.iter().filter(|line| line.contains(" session=")).count();
        assert_eq!(about_peers + left_out(&lines), lines_for(&events), "{name}: none is missing");
        // Its own address has its turn after what waits already, others at once.
        assert!(times[0] < at_most(Duration::from_secs(3)), "{name}: {times:?}");
        assert!(times[1] < at_most(Duration::from_millis(500)), "{name}: {times:?}");
    }
}

#[test]
fn w5_log_lines_about_refused_requests_are_bounded_too() {
    let engine = Engine::serve().config("[apps.live]\n").start();
    let server = engine.rtmp;
    let loops: Vec<_> = (0..4)
        .map(|_| {
            Loop::start(move || {
                let mut peer = RawPeer::dial(server)?;
                peer.handshake()?;
                peer.connect_app("other").map(drop)
            })
        })
        .collect();
    let start = Instant::now();
    let many = poll(PATIENCE, || {
        let refused = engine.events_of("refused").len();
        (start.elapsed() > Duration::from_secs(2) && refused > 200).then_some(refused)
    });
    drop(loops);
    let log = engine.process.err.clone();
    assert_eq!(engine.stop(), 0);
    let lines = log.all();
    eprintln!("{many:?} refused, {} lines", lines.len());
    assert!(many.is_some() && busiest_second(&lines) <= LINES, "{} in a second", busiest_second(&lines));
}

/// Connects so many players from one address; how long until each has been told to have begun.
fn join(engine: &Engine, players: usize) -> Duration {
    let (server, start) = (engine.rtmp, Instant::now());
    let joining: Vec<_> = (0..16)
        .map(|first| {
            let join = move |_| {
                let mut peer = RawPeer::connect(server, "live").expect("connect");
                assert_eq!(peer.play("base").expect("play").code, "NetStream.Play.Start");
                peer
            };
            std::thread::spawn(move || (first..players).step_by(16).map(join).collect::<Vec<_>>())
        })
        .collect();
    let players_held: Vec<_> = joining.into_iter().map(|thread| thread.join().expect("thread")).collect();
    engine.wait_players("live/base", players);
    let time = start.elapsed();
    drop(players_held);
    time
}

#[test]
fn w5_a_thousand_players_of_one_address_join_at_once() {
    raise_file_limit();
    // One where nobody ever waits, in the same minute on the same machine.
    let engines = [Engine::start(), Engine::serve().limit("starts_per_minute_per_address", u32::MAX).start()];
    let rounds: Vec<_> = (0..2)
        .map(|_| {
            engines.each_ref().map(|engine| {
                let mut source = Source::publish(engine.rtmp, "live/base", Shape::bits_per_second(20_000));
                let time = join(engine, 1_000);
                source.stop();
                engine.wait_unpublish("live/base");
                time
            })
        })
        .collect();
    eprintln!("1,000 players joined, with the limit and without: {rounds:?}");
    let more = rounds.iter().map(|[with, without]| with.saturating_sub(*without)).min();
    assert!(more.is_some_and(|time| time < at_most(Duration::from_secs(1))), "{rounds:?}");
    for engine in engines {
        engine.wait_players("live/base", 2_000);
        assert_eq!(engine.events_of("play-started").len(), 2_000);
        assert_eq!(engine.stop(), 0);
    }
}
