//! F19, F20: players that read slowly or not at all.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use streamengine_tests::raw::RawPeer;
use streamengine_tests::synthetic::{Shape, Source, Watcher};
use streamengine_tests::{Engine, PATIENCE, at_most};

/// A player that takes about 1 KB a second until it is stopped or closed.
pub(crate) struct Trickler {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Trickler {
    pub(crate) fn play(server: SocketAddr, name: &str) -> Self {
        let (app, stream) = name.rsplit_once('/').expect("app/stream");
        let mut peer = RawPeer::dial_with(server, None, Some(4_096)).expect("connect");
        peer.open(app).expect("connect");
        peer.ask_play(stream).expect("play");
        Self::read(peer.socket)
    }

    /// The same of a player that has begun.
    pub(crate) fn read(mut socket: TcpStream) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let end = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 100];
            while !end.load(Ordering::Relaxed) && socket.read(&mut buffer).is_ok_and(|count| count > 0) {
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Trickler {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Waits until so many tricklers, ten at most and the only players that end, have been closed with a reason, while a healthy player
/// goes on and the engine holds no more than it may beyond `base` KiB.
pub(crate) fn wait_until_closed(engine: &Engine, tricklers: usize, healthy: &Watcher, base: u64) {
    let (mut worst, mut stopped) = (0, Vec::new());
    let end = Instant::now() + Duration::from_secs(60);
    while stopped.len() < tricklers && Instant::now() < end {
        healthy.wait_frames(healthy.seen().frames + 5);
        worst = worst.max(engine.memory());
        stopped = engine.events_of("play-ended");
    }
    assert_eq!(stopped.len(), tricklers, "tricklers closed within 60 s");
    assert!(stopped.iter().all(|event| event["reason"].as_str().is_some_and(|reason| !reason.is_empty())));
    let allowed = base + 32 * 1024 + 10 * 256;
    assert!(worst <= allowed, "{worst} KiB with tricklers, {base} KiB without");
}

/// A healthy player has got every frame, and has waited for none longer than allowed.
pub(crate) fn assert_unharmed(watcher: &Watcher, allowed: Duration) {
    let seen = watcher.seen();
    assert_eq!((seen.lost, seen.backwards), (0, 0), "{seen:?}");
    assert!(!watcher.has_ended());
    assert!(seen.gap <= at_most(allowed), "a healthy player waited {:?}, {allowed:?} allowed", seen.gap);
}

#[test]
fn f19_ten_tricklers_cost_themselves_only_and_are_closed() {
    // A shorter ring than the default's 30 s, so that the verdict comes within a minute.
    let engine = Engine::serve().limit("ring_ms", 4_000).start();
    let source = Source::publish(engine.rtmp, "live/big", Shape::bits_per_second(6_000_000));
    let healthy: Vec<_> = (0..5).map(|_| Watcher::play(engine.rtmp, "live/big")).collect();
    healthy[0].wait_frames(150);
    let base = engine.memory();
    let tricklers: Vec<_> = (0..10).map(|_| Trickler::play(engine.rtmp, "live/big")).collect();
    engine.wait_players("live/big", 15);
    for watcher in &healthy {
        watcher.forget_gap();
    }
    wait_until_closed(&engine, tricklers.len(), &healthy[0], base);
    for watcher in &healthy {
        // Goal: two frame intervals; the rest is for a machine that is busy with other tests.
        assert_unharmed(watcher, Duration::from_millis(400));
    }
    assert!(!source.has_ended());
}

#[test]
fn f20_a_player_that_stops_reading_is_closed_after_ten_seconds() {
    let engine = Engine::serve().limit("ring_bytes", 4 << 20).start();
    let source = Source::publish(engine.rtmp, "live/big", Shape::bits_per_second(40_000_000));
    let healthy = Watcher::play(engine.rtmp, "live/big");
    healthy.wait_frames(75);
    let (base, files) = (engine.memory(), engine.files());
    let mut stuck = RawPeer::dial_with(engine.rtmp, None, Some(4_096)).expect("connect");
    stuck.open("live").expect("connect");
    stuck.ask_play("big").expect("play");
    engine.wait_players("live/big", 2);
    let start = Instant::now();
    let stop = engine.wait_after(0, "play-ended", PATIENCE, |_| true);
    let time = start.elapsed();
    // At 40 Mb/s the socket's buffers are full within a second or two; ten more are the deadline.
    let in_time = Duration::from_secs(9)..=at_most(Duration::from_secs(14));
    assert!(in_time.contains(&time), "closed after {time:?}: {stop}");
    assert!(stop["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{stop}");
    engine.wait_files(files, Duration::from_secs(1));
    assert!(engine.memory() <= base + 8 * 1024, "{} KiB, {base} KiB before", engine.memory());
    assert_eq!(healthy.seen().lost, 0, "{:?}", healthy.seen());
    assert!(!source.has_ended());
}
