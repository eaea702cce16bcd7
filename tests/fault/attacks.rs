//! Attacks with what is allowed: many small messages, long silences of our own, memory by the piece. Each is measured
//! beside a second server that is not attacked, on the same busy machine.

use crate::timed;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use streamengine_tests::raw::{self, RawPeer};
use streamengine_tests::synthetic::{Shape, Source, Watcher, granted};
use streamengine_tests::tls::{Authority, Leaf, Validity};
use streamengine_tests::{Engine, PATIENCE, Signal, at_most, needs, raise_file_limit};

/// Connections that send the same bytes as fast as they are taken, until this is dropped.
struct Flood {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Flood {
    fn new() -> Self {
        Self { stop: Arc::new(AtomicBool::new(false)), threads: Vec::new() }
    }

    /// Sends on a connection; once it is closed, on the next that `open` gives.
    fn add(&mut self, mut open: impl FnMut() -> std::io::Result<RawPeer> + Send + 'static, bytes: Vec<u8>) {
        let stop = self.stop.clone();
        let send = move || {
            // An attacker takes no time of the server's processor: on this machine its threads come last (Linux: this
            // thread alone).
            rustix::process::setpriority_process(None, 19).expect("a lower priority");
            while !stop.load(Ordering::Relaxed) {
                let Ok(mut peer) = open() else { continue };
                let _ = peer.socket.set_write_timeout(Some(Duration::from_millis(200)));
                while !stop.load(Ordering::Relaxed) && peer.socket.write_all(&bytes).is_ok() {}
            }
        };
        self.threads.push(std::thread::spawn(send));
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

/// A message of no bytes, and so many more of one byte each: type-3 headers.
fn empty_messages(kind: u8, stream: u32) -> Vec<u8> {
    let mut bytes = raw::message(6, 0, kind, stream, &[], 128);
    bytes.resize(bytes.len() + 64 * 1024, 0xc6);
    bytes
}

/// Sixteen publishers of empty frames, and sixty strangers of one address with messages of a type that nobody knows.
fn flood_of_small_messages(server: SocketAddr) -> Flood {
    let mut flood = Flood::new();
    for number in 0..16 {
        let open = move || Ok(granted(server, &format!("live/flood{number}"))?.0);
        flood.add(open, empty_messages(9, 1));
    }
    for _ in 0..60 {
        let open = move || {
            let mut peer = RawPeer::dial_with(server, Some(Ipv4Addr::new(127, 0, 9, 9)), None)?;
            peer.open("live")?;
            Ok(peer)
        };
        flood.add(open, empty_messages(99, 0));
    }
    flood
}

/// The longest gap of a healthy player within three seconds, and the longest time that a newcomer needs to be granted.
fn health(engine: &Engine) -> (Duration, Duration) {
    let _source = Source::publish(engine.rtmp, "live/healthy", Shape::bits_per_second(400_000));
    let watcher = Watcher::play(engine.rtmp, "live/healthy");
    watcher.wait_frames(25);
    watcher.forget_gap();
    let mut newcomer = Duration::ZERO;
    for round in 0..5 {
        watcher.wait_frames(40 + 15 * round);
        let (answer, time) = timed(|| granted(engine.rtmp, &format!("live/new{round}")));
        assert_eq!(answer.expect("a newcomer is served").1.code, "NetStream.Publish.Start");
        newcomer = newcomer.max(time);
    }
    (watcher.seen().gap, newcomer)
}

#[test]
fn w3_many_small_messages_hold_nobody_up() {
    raise_file_limit();
    // Without the limit on their number: what is judged is what they cost as long as they come.
    let start = || Engine::serve().limit("publisher_messages_per_s", 1_000_000_000).start();
    let (attacked, other) = (start(), start());
    let flood = flood_of_small_messages(attacked.rtmp);
    // What the busy machine costs by itself is measured in the same minute.
    let verdicts: Vec<_> = (0..3).map(|_| (health(&attacked), health(&other))).collect();
    drop(flood);
    eprintln!("gap and newcomer, attacked and beside it: {verdicts:?}");
    let more = |under: Duration, beside: Duration| under.saturating_sub(beside);
    let gap = verdicts.iter().map(|(under, beside)| more(under.0, beside.0)).min();
    let newcomer = verdicts.iter().map(|(under, beside)| more(under.1, beside.1)).min();
    // A process that is kept at work has less of a busy machine than one that idles: that is in these bounds too. Without
    // turns no newcomer is served at all.
    assert!(gap.is_some_and(|gap| gap <= at_most(Duration::from_millis(500))), "{verdicts:?}");
    assert!(newcomer.is_some_and(|time| time <= at_most(Duration::from_millis(750))), "{verdicts:?}");
    assert_eq!(attacked.stop(), 0);
}

/// A pipe that nobody writes to, in place of a file, as a network file system that hangs; and connections that have the
/// server look at it, until the end.
fn hanging_certificate(engine: &Engine, leaf: &Leaf) -> Flood {
    for file in [&leaf.cert, &leaf.key] {
        std::fs::remove_file(file).expect("remove");
        assert!(Command::new("mkfifo").arg(file).status().expect("mkfifo").success());
    }
    let rtmps = engine.rtmps.expect("RTMPS");
    let mut looks = Flood::new();
    for _ in 0..4 {
        // No TLS, so it is closed at once; it costs a look at the certificate all the same.
        looks.add(move || RawPeer::dial(rtmps), vec![0x16, 3, 1, 0, 1, 0]);
    }
    looks
}

#[test]
fn w7_a_certificate_that_hangs_holds_nobody_up() {
    needs!("openssl");
    let authority = Authority::new();
    let leaf = authority.leaf("DNS:localhost", Validity::Now);
    let (attacked, other) = (Engine::serve().rtmps(&leaf.cert, &leaf.key).start(), Engine::start());
    let looks = hanging_certificate(&attacked, &leaf);
    let verdicts: Vec<_> = (0..3).map(|_| (health(&attacked), health(&other))).collect();
    let words = "not a regular file but a pipe, device or socket";
    attacked.process.err.find(words, PATIENCE).expect("the log says so");
    drop(looks);
    eprintln!("gap and newcomer, attacked and beside it: {verdicts:?}");
    let more = |(under, beside): &((Duration, Duration), (Duration, Duration))| {
        under.0.saturating_sub(beside.0).max(under.1.saturating_sub(beside.1))
    };
    let most = verdicts.iter().map(more).min();
    assert!(most.is_some_and(|more| more <= at_most(Duration::from_millis(250))), "{verdicts:?}");
    assert_eq!(attacked.stop(), 0);
}

#[test]
fn w4_a_process_that_was_stopped_for_longer_than_any_deadline_cuts_nobody() {
    let target = Engine::start();
    let engine = Engine::serve()
        .config(format!("[[push]]\nstream = \"live/base\"\nurl = \"{}\"\n", target.url("copy/a")))
        .limit("publisher_timeout_ms", 2_000)
        .limit("write_timeout_ms", 2_000)
        .start();
    let source = Source::publish(engine.rtmp, "live/base", Shape::bits_per_second(4_000_000));
    let watcher = Watcher::play(engine.rtmp, "live/base");
    let copy = Watcher::play(target.rtmp, "copy/a");
    watcher.wait_frames(25);
    engine.process.signal(Signal::STOP);
    // What stands still cannot tell when it has stood still for long enough.
    std::thread::sleep(Duration::from_secs(5));
    let sent = source.sent();
    engine.process.signal(Signal::CONT);
    for player in [&watcher, &copy] {
        player.wait_number(sent + 50, Duration::from_secs(20));
    }
    assert!(!source.has_ended() && !watcher.has_ended() && !copy.has_ended());
    let ended: Vec<_> = ["session-closed", "stream-ended"].map(|kind| engine.events_of(kind)).concat();
    assert!(ended.is_empty(), "{ended:?}");
    // Who is silent afterwards is still noticed.
    source.pause();
    engine.wait_unpublish("live/base");
}

#[test]
fn w2_a_player_may_hold_no_more_than_a_stranger() {
    const PLAYERS: u64 = 100;
    raise_file_limit();
    let engine = Engine::start();
    let _source = Source::publish(engine.rtmp, "live/base", Shape::bits_per_second(100_000));
    let play = |name: &str| {
        let mut peer = RawPeer::connect(engine.rtmp, "live").expect("connect");
        peer.ask_play(name).expect("play");
        peer
    };
    let warm: Vec<_> = (0..20).map(|_| play("base")).collect();
    engine.wait_players("live/base", 20);
    let base = engine.memory();
    let mut players: Vec<_> = (0..PLAYERS).map(|_| play("base")).collect();
    engine.wait_players("live/base", 20 + PLAYERS as usize);
    // The beginning of a message of 8 MiB, and then some of it.
    let mut bytes = raw::message(6, 0, 9, 1, &vec![0; 8 << 20], 128);
    bytes.truncate(1 << 20);
    let closed = players.iter_mut().filter_map(|peer| {
        let _ = peer.socket.set_write_timeout(Some(Duration::from_secs(1)));
        let is_refused = peer.socket.write_all(&bytes).is_err();
        (is_refused || peer.wait_closed(Duration::from_secs(2))).then_some(())
    });
    assert_eq!(closed.count() as u64, PLAYERS, "they are told that this is too long, and closed");
    let each = engine.memory().saturating_sub(base) / PLAYERS;
    assert!(each <= 64, "a player holds {each} KiB");
    drop(warm);
}
