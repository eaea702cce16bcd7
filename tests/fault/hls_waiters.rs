//! Viewers by HLS that wait for what is not there yet, and hang up, or get nothing.
#![allow(clippy::print_stdout, reason = "figures that are to be read where a verdict is missed")]

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};
use streamengine_tests::hls::HlsPeer;
use streamengine_tests::http::{HttpPeer, get};
use streamengine_tests::synthetic::{Shape, Source, Watcher};
use streamengine_tests::{Engine, PATIENCE, at_most, poll, raise_file_limit};

const WAITERS: usize = 1_000;
/// KiB that may be left over however often they come. All that they had is free then, to the byte (`engine/tests/hls_waiters.rs`);
/// but the C library gives back to the system only what nothing lies behind, and keeps the rest for who comes next.
const LEFT_OVER: u64 = 64 * 1024;
/// How often they come. While they wait they have 22 MiB: never freed, that were more than may be left over.
const ROUNDS: usize = 4;

/// A thousand connections that have asked for what is not there yet.
struct Waiters {
    peers: Vec<HttpPeer>,
}

impl Waiters {
    /// Each asks for the target of its number, and nothing else.
    fn ask(engine: &Engine, target: impl Fn(usize) -> String) -> Self {
        let address = |number: usize| Ipv4Addr::new(127, 0, 9, 1 + (number / 40) as u8);
        let before = engine.read_to_the_end(engine.http());
        let peers = (0..WAITERS).map(|number| {
            let mut peer = HttpPeer::dial_with(engine.http(), Some(address(number)), None).expect("connect");
            peer.send(get(&target(number)));
            peer
        });
        let waiters = Self { peers: peers.collect() };
        let all = before + WAITERS;
        let read = poll(PATIENCE, || (engine.read_to_the_end(engine.http()) >= all).then_some(()));
        assert!(read.is_some(), "some requests were not read\n{}", engine.process.log());
        waiters
    }

    /// How many have got nothing so far, not even the end of their connection.
    fn waiting(&self) -> usize {
        let waits = |peer: &&HttpPeer| {
            peer.socket.set_nonblocking(true).expect("a socket");
            let peeked = peer.socket.peek(&mut [0]);
            peeked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
        };
        self.peers.iter().filter(waits).count()
    }
}

/// The tokens of as many viewers, one after the other on a few connections.
fn let_in(http: SocketAddr, name: &str) -> Vec<String> {
    (0..WAITERS).map(|_| HlsPeer::open(http, name).playlist).collect()
}

#[test]
fn a_thousand_viewers_that_hang_up_while_they_wait_for_a_segment_free_their_memory() {
    raise_file_limit();
    let engine = Engine::serve().http().start();
    // Whoever waits for the segment behind the open one waits for six seconds at least.
    let shape = Shape { gop: 150, ..Shape::bits_per_second(400_000) };
    let _source = Source::publish(engine.rtmp, "live/a", shape);
    let watcher = Watcher::play(engine.rtmp, "live/a");
    let mut viewer = HlsPeer::open(engine.http(), "live/a");
    let files = engine.files();
    let viewers = let_in(engine.http(), "live/a");
    engine.wait_files(files, PATIENCE);
    let base = engine.memory();
    let mut held = Vec::new();
    for _ in 0..ROUNDS {
        let list = viewer.list("");
        let behind = list.next() + 1;
        let target = |number: usize| format!("/live/a/{}&_HLS_msn={behind}", viewers[number]);
        let waiters = Waiters::ask(&engine, target);
        let most = engine.memory();
        assert_eq!(waiters.waiting(), WAITERS, "some have got an answer");
        assert!(engine.files() >= files + WAITERS);
        drop(waiters);
        engine.wait_files(files, PATIENCE);
        held.push((most.saturating_sub(base), engine.memory().saturating_sub(base)));
        // One that has stayed gets it.
        let list = viewer.list(&format!("_HLS_msn={behind}"));
        assert!(list.next() > behind);
    }
    println!("{base} KiB; waiting and left over: {held:?}");
    assert!(held.iter().all(|(_, left)| *left <= LEFT_OVER), "{base} KiB; waiting and left over: {held:?}");
    assert_eq!((watcher.seen().lost, watcher.has_ended()), (0, false));
}

#[test]
fn who_waits_for_a_stream_that_stands_still_is_told_so_in_time_and_frees_its_memory() {
    raise_file_limit();
    // It is there all the time, and sends nothing.
    let engine = Engine::serve().http().limit("publisher_timeout_ms", 120_000).start();
    let source =
        Source::publish(engine.rtmp, "live/still", Shape { gop: 100, ..Shape::bits_per_second(400_000) });
    let mut viewer = HlsPeer::open(engine.http(), "live/still");
    let _other = Source::publish(engine.rtmp, "live/a", Shape::bits_per_second(400_000));
    let watcher = Watcher::play(engine.rtmp, "live/a");
    watcher.wait_frames(25);
    source.pause();
    // Parts last 200 ms.
    let (mut list, mut since) = (viewer.list(""), Instant::now());
    let still = poll(PATIENCE, || {
        let before = std::mem::replace(&mut list, viewer.list(""));
        if before.hint != list.hint {
            since = Instant::now();
        }
        (since.elapsed() > Duration::from_secs(1)).then_some(())
    });
    assert!(still.is_some(), "the stream goes on");
    let (base, files) = (engine.memory(), engine.files());
    let part = viewer.target(list.hint.as_deref().expect("the part that comes next"));
    let playlist = viewer.target(&format!("{}&_HLS_msn={}", viewer.playlist, list.next()));
    let target = |number: usize| if number.is_multiple_of(2) { part.clone() } else { playlist.clone() };
    let asked = Instant::now();
    let mut waiters = Waiters::ask(&engine, target);
    assert_eq!(waiters.waiting(), WAITERS, "some have got an answer");
    let (most, told) = (engine.memory(), Duration::from_secs(list.target * 3));
    // The others hang up.
    waiters.peers.truncate(20);
    engine.wait_files(files + 20, PATIENCE);
    for peer in &mut waiters.peers {
        peer.socket.set_nonblocking(false).expect("a socket");
        let (status, words) = peer.reply().expect("a reply");
        assert_eq!((status, words.as_str()), (503, "the stream makes no progress\n"));
        assert!(asked.elapsed() >= told, "told after {:?}, not {told:?}", asked.elapsed());
    }
    let time = asked.elapsed();
    assert!(time <= told + at_most(Duration::from_secs(5)), "told after {time:?}, not {told:?}");
    drop(waiters);
    engine.wait_files(files, PATIENCE);
    let left = engine.memory().saturating_sub(base);
    println!("{base} KiB; waiting {}, left over {left}; told after {time:?}", most.saturating_sub(base));
    assert!(left <= LEFT_OVER, "{left} KiB are left over");
    assert_eq!((watcher.seen().lost, watcher.has_ended()), (0, false));
}
