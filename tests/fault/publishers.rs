//! F18, F24-F27: publishers that send too much, die, vanish, compete or flap.

use crate::{best_of_three, timed};
use std::io::Write;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use streamengine_tests::peers::{self, command};
use streamengine_tests::raw::{self, Status};
use streamengine_tests::synthetic::{Shape, Source, Watcher, granted};
use streamengine_tests::{
    Engine, Fault, PATIENCE, Proc, Proxy, Recorder, Serve, Signal, at_most, demo_clip, needs, poll, unique,
};

const START: &str = "NetStream.Publish.Start";
const BAD_NAME: &str = "NetStream.Publish.BadName";

fn shape() -> Shape {
    Shape::bits_per_second(400_000)
}

fn app(settings: &str) -> Serve {
    Engine::serve().config(format!("[default_app]\n{settings}\n"))
}

#[test]
fn f24_a_killed_publisher_frees_its_name_within_100_ms() {
    needs!("ffmpeg");
    let engine = Engine::start();
    let best = best_of_three(|| {
        let name = format!("live/{}", unique("killed"));
        let publisher = peers::ffmpeg_publish_forever(&demo_clip(), &engine.url(&name));
        engine.wait_publish(&name);
        let player = Recorder::play(engine.rtmp, &name);
        player.wait_tags(20);
        publisher.signal(Signal::KILL);
        let start = Instant::now();
        let free = poll(PATIENCE, || {
            let (_peer, status) = granted(engine.rtmp, &name).ok()?;
            (status.code == START).then_some(())
        });
        assert!(free.is_some(), "the name is never free\n{}", engine.process.log());
        start.elapsed()
    });
    // Half a second of silence would free it too.
    let most = at_most(Duration::from_millis(100)).min(Duration::from_millis(400));
    assert!(best <= most, "the name was free after {best:?}");
}

#[test]
fn f24_without_a_resume_window_players_are_told_at_once() {
    needs!("ffmpeg");
    let engine = app("resume_window_ms = 0").start();
    let publisher = peers::ffmpeg_publish_forever(&demo_clip(), &engine.url("live/killed"));
    engine.wait_publish("live/killed");
    let player = Recorder::play(engine.rtmp, "live/killed");
    player.wait_tags(20);
    publisher.signal(Signal::KILL);
    let (_, time) = timed(|| player.finish(PATIENCE));
    assert!(time <= at_most(Duration::from_secs(1)), "players were told after {time:?}");
}

#[test]
fn f25_a_lost_publisher_comes_back_within_a_second_and_players_stay() {
    let engine = Engine::start();
    let proxy = Proxy::to(engine.rtmp);
    let name = "live/lost";
    let lost = Source::publish(proxy.address, name, shape());
    let player = Watcher::play(engine.rtmp, name);
    player.wait_frames(50);
    proxy.set(Fault::BlackHole);
    let start = Instant::now();
    let back = poll(PATIENCE, || {
        let (peer, status) = granted(engine.rtmp, name).ok()?;
        (status.code == START).then_some(peer)
    });
    let time = start.elapsed();
    let back = back.expect("the publisher is let in");
    // Half a second of silence makes the old one replaceable.
    assert!(time <= at_most(Duration::from_millis(1_500)), "let in after {time:?}");
    let _source = Source::run(back, shape(), 10_000);
    player.wait_number(10_050, PATIENCE);
    let seen = player.seen();
    assert_eq!(seen.backwards, 0, "time went backwards: {seen:?}");
    assert!(!player.has_ended());
    drop(lost);
}

#[test]
fn f25_a_lost_publisher_that_stays_away_frees_its_name_after_ten_seconds() {
    let engine = Engine::start();
    let proxy = Proxy::to(engine.rtmp);
    let _lost = Source::publish(proxy.address, "live/lost", shape());
    let player = Watcher::play(engine.rtmp, "live/lost");
    player.wait_frames(25);
    proxy.set(Fault::BlackHole);
    let (event, time) = timed(|| engine.wait_unpublish("live/lost"));
    let seconds = time.as_secs_f64();
    assert!((9.0..=11.5).contains(&seconds), "freed after {seconds:.1} s: {event}");
    let reason = event["reason"].as_str().unwrap_or_default();
    assert!(!reason.is_empty(), "{event}");
}

/// A network namespace with one cable to this one.
pub(crate) struct Namespace {
    name: String,
    cable: String,
    /// The first three numbers of its addresses: `.1` is here, `.2` there.
    pub(crate) subnet: String,
}

impl Namespace {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        // Several of one process, and those of other processes, have networks of their own.
        let number = std::process::id() * 2 + COUNT.fetch_add(1, Ordering::Relaxed) % 2;
        let subnet = format!("10.{}.{}", 100 + number / 250 % 100, number % 250);
        let space = Self { name: format!("se-{number}"), cable: format!("se{number}"), subnet };
        let (name, cable, subnet) = (&space.name, &space.cable, &space.subnet);
        ip(&format!("netns add {name}"));
        ip(&format!("link add {cable} type veth peer name {cable}p netns {name}"));
        ip(&format!("addr add {subnet}.1/24 dev {cable}"));
        ip(&format!("link set {cable} up"));
        ip(&format!("-n {name} addr add {subnet}.2/24 dev {cable}p"));
        ip(&format!("-n {name} link set {cable}p up"));
        space
    }

    pub(crate) fn cable(&self, state: &str) {
        ip(&format!("link set {} {state}", self.cable));
    }

    pub(crate) fn publish(&self, url: &str) -> Proc {
        let clip = demo_clip();
        let mut line =
            command("ip", ["netns", "exec", &self.name, "ffmpeg", "-v", "warning", "-nostdin", "-re"]);
        line.args(["-stream_loop", "-1", "-i"]).arg(clip).args(["-c", "copy", "-f", "flv", url]);
        Proc::spawn("ffmpeg in a namespace", line)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = std::process::Command::new("ip").args(["netns", "del", &self.name]).status();
        let _ = std::process::Command::new("ip")
            .args(["link", "del", &self.cable])
            .stderr(std::process::Stdio::null())
            .status();
    }
}

fn ip(line: &str) {
    Proc::spawn("ip", command("ip", line.split(' '))).succeed(PATIENCE);
}

#[test]
fn f25_a_pulled_cable_is_survived() {
    needs!("root", "ip", "ffmpeg");
    let space = Namespace::new();
    let engine = Engine::serve().rtmp(format!("{}.1:0", space.subnet)).key("marker").start();
    let url = engine.url("live/cable?key=marker");
    let lost = space.publish(&url);
    engine.wait_publish("live/cable");
    let player = Recorder::play(engine.rtmp, "live/cable");
    player.wait_tags(50);
    space.cable("down");
    lost.signal(Signal::KILL);
    lost.wait(PATIENCE);
    assert!(engine.events_of("stream-ended").is_empty(), "nobody can have told the server");
    let seen = player.tags().len();
    space.cable("up");
    let mark = engine.lines().mark();
    let again = space.publish(&url);
    let event = engine.wait_after(mark, "stream-started", PATIENCE, |_| true);
    assert_eq!(event["stream"], "live/cable");
    player.wait_tags(seen + 100);
    time_is_monotone(&player);
    assert!(engine.events_of("refused").is_empty(), "the owner was refused");
    drop(again);
}

pub(crate) fn time_is_monotone(player: &Recorder) {
    let tags = player.tags();
    for kind in [8, 9] {
        let times: Vec<u32> =
            tags.iter().filter(|(_, tag)| tag.kind == kind).map(|(_, tag)| tag.timestamp).collect();
        assert!(times.windows(2).all(|pair| pair[0] <= pair[1]), "time of type {kind} went backwards");
    }
}

#[test]
fn f26_a_second_publisher_is_refused_at_once_and_the_first_loses_nothing() {
    let engine = Engine::serve().key("right").start();
    let (first, status) = granted(engine.rtmp, "live/taken?key=right").expect("the first");
    assert_eq!(status.code, START);
    let _source = Source::run(first, shape(), 0);
    let player = Watcher::play(engine.rtmp, "live/taken");
    player.wait_frames(25);
    let attempt = |name: &str, codes: &[&str]| {
        best_of_three(|| {
            let (answer, time) = timed(|| granted(engine.rtmp, name));
            let Status { code, description, level } = answer.expect("an answer").1;
            assert!(codes.contains(&code.as_str()), "{name}: {code} {description}");
            assert_eq!(level, "error");
            assert!(!description.is_empty(), "a refusal without a reason");
            time
        })
    };
    for (name, codes) in [
        ("live/taken?key=right", [BAD_NAME].as_slice()),
        ("live/taken?key=wrong", &[BAD_NAME, "NetStream.Publish.Denied", "NetStream.Publish.Unauthorized"]),
        ("live/taken", &[BAD_NAME, "NetStream.Publish.Denied", "NetStream.Publish.Unauthorized"]),
    ] {
        let time = attempt(name, codes);
        assert!(time <= at_most(Duration::from_millis(50)), "{name} was refused after {time:?}");
    }
    player.wait_frames(player.seen().frames + 25);
    let seen = player.seen();
    assert_eq!((seen.lost, seen.backwards), (0, 0), "{seen:?}");
}

#[test]
fn f27_a_flapping_publisher_leaks_nothing_and_players_survive() {
    const FLAPS: u32 = 40;
    let engine = Engine::start();
    let name = "live/flap";
    let mut source = Source::publish(engine.rtmp, name, shape());
    let player = Watcher::play(engine.rtmp, name);
    player.wait_frames(5);
    let files = engine.files();
    for flap in 1..=FLAPS {
        // Its end is a connection that breaks, not an unpublish.
        source.stop();
        let back = poll(PATIENCE, || {
            let (peer, status) = granted(engine.rtmp, name).ok()?;
            (status.code == START).then_some(peer)
        });
        source = Source::run(back.expect("let in again"), shape(), flap * 1_000);
        player.wait_number(flap * 1_000 + 4, PATIENCE);
    }
    let seen = player.seen();
    assert_eq!(seen.backwards, 0, "{seen:?}");
    assert!(!player.has_ended(), "the player was thrown out");
    let lines = engine.process.err.all().len() as u32;
    assert!(lines <= 4 * FLAPS + 20, "{lines} log lines for {FLAPS} flaps");
    engine.wait_files(files, Duration::from_secs(6));
    drop((source, player));
}

/// Publishes garbage as fast as it is taken, until it is told why it may not; that, and after how long.
fn publish_at_line_rate(engine: &Engine, name: &str) -> (Status, Duration) {
    let (mut peer, status) = granted(engine.rtmp, name).expect("publish");
    assert_eq!(status.code, START);
    let body: Vec<u8> = (0..100_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let message = raw::message(6, 0, 9, 1, &body, 65_536);
    let mut socket = peer.socket.try_clone().expect("socket");
    let start = Instant::now();
    let flood = std::thread::spawn(move || while socket.write_all(&message).is_ok() {});
    let told = peer.wait_status().expect("a reason");
    let time = start.elapsed();
    assert!(peer.wait_closed(PATIENCE), "it is told, but stays");
    drop(peer);
    flood.join().expect("flood");
    (told, time)
}

#[test]
fn f18_a_publisher_at_line_rate_is_ended_within_6_seconds_and_others_hardly_notice() {
    const RING_KIB: u64 = 32 * 1024;
    let (attacked, other) = (Engine::start(), Engine::start());
    let healthy = [&attacked, &other].map(|engine| {
        let source = Source::publish(engine.rtmp, "live/healthy", shape());
        let watcher = Watcher::play(engine.rtmp, "live/healthy");
        watcher.wait_frames(25);
        (source, watcher)
    });
    let base = attacked.memory();
    // What the busy machine costs by itself is measured beside it.
    let rounds: Vec<_> = (0..3)
        .map(|round| {
            let name = format!("live/flood{round}");
            healthy.iter().for_each(|(_, watcher)| watcher.forget_gap());
            let (told, time) = publish_at_line_rate(&attacked, &name);
            let gaps = [0, 1].map(|which| healthy[which].1.seen().gap);
            let ended = attacked.wait_unpublish(&name);
            assert_eq!(ended["reason"], told.description.as_str());
            assert_eq!((told.code.as_str(), told.level.as_str()), ("NetStream.Publish.Denied", "error"));
            assert!(told.description.contains("limits.publisher_bytes_per_s"), "{told:?}");
            assert!(time <= at_most(Duration::from_secs(6)), "ended after {time:?}");
            (time, gaps)
        })
        .collect();
    let grown = attacked.memory().saturating_sub(base);
    eprintln!("time, gap under attack and beside it: {rounds:?}; {grown} KiB more");
    let more = rounds.iter().map(|(_, [under, beside])| under.saturating_sub(*beside)).min();
    assert!(more.is_some_and(|gap| gap <= at_most(Duration::from_millis(100))), "{rounds:?}");
    // Three rings wait for their publishers to come back; and what an allocator keeps: up to 33 MB were seen. Without a
    // ring's bound some 130 MB of each flood would stay.
    assert!(grown <= 5 * RING_KIB, "{grown} KiB more");
    for (_, watcher) in &healthy {
        assert_eq!((watcher.seen().lost, watcher.has_ended()), (0, false));
    }
    assert!(attacked.process.log().contains("sends fast:"), "{}", attacked.process.log());
}

#[test]
fn f18_ffmpeg_that_sends_a_long_film_without_re_is_told_what_is_missing() {
    needs!("ffmpeg");
    let engine = Engine::start();
    let url = engine.url("live/film");
    let clip = demo_clip();
    let mut line = command("ffmpeg", ["-v", "error", "-nostdin", "-stream_loop", "-1", "-i"]);
    line.arg(clip).args(["-c", "copy", "-f", "flv", &url]);
    let ffmpeg = Proc::spawn("ffmpeg without -re", line);
    let ended = engine.wait_unpublish("live/film");
    assert!(ended["reason"].as_str().is_some_and(|reason| reason.contains("ffmpeg -re")), "{ended}");
    assert_ne!(ffmpeg.wait(PATIENCE), 0);
}

#[test]
fn f18_what_an_encoder_sends_at_once_after_ten_seconds_without_a_network_arrives() {
    let engine = Engine::start();
    // As much as 50 Mb/s for ten seconds, in one go.
    let shape = Shape { frame: 250_000, interval: Duration::from_millis(1), gop: 25 };
    let source = Source::publish(engine.rtmp, "live/stalled", shape);
    let player = Watcher::play(engine.rtmp, "live/stalled");
    let sent = poll(PATIENCE, || (source.sent() >= 250).then_some(())).map(|()| source.sent());
    source.pause();
    player.wait_number(sent.expect("sent") - 1, PATIENCE);
    assert!(!source.has_ended() && engine.events_of("stream-ended").is_empty());
}
