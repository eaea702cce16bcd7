//! F28, F29: relay targets that die, come back, or stall.

use std::net::SocketAddr;
use std::time::{Duration, Instant};
use streamengine_tests::synthetic::{Shape, Source, Watcher};
use streamengine_tests::{Engine, Fault, PATIENCE, Proxy, Signal, at_most, free_address, poll};

const NAME: &str = "live/a";

fn push(targets: &[SocketAddr]) -> Engine {
    let sections: String = targets
        .iter()
        .map(|target| format!("[[push]]\nstream = \"{NAME}\"\nurl = \"rtmp://{target}/{NAME}\"\n"))
        .collect();
    Engine::serve().config(sections).start()
}

/// The target dies for `outage`; when it is back, how long it waits for its stream.
fn outage(outage: Duration) {
    let address = free_address();
    let target = Engine::serve().rtmp(address).start();
    let other = Engine::start();
    let engine = push(&[address, other.rtmp]);
    let shape = Shape::bits_per_second(800_000);
    let source = Source::publish(engine.rtmp, NAME, shape);
    target.wait_publish(NAME);
    other.wait_publish(NAME);
    let bystanders = [Watcher::play(engine.rtmp, NAME), Watcher::play(other.rtmp, NAME)];
    for watcher in &bystanders {
        watcher.wait_frames(50);
        watcher.forget_gap();
    }
    let down = Instant::now();
    target.process.signal(Signal::KILL);
    target.process.wait(PATIENCE);
    // The outage is the fault that is tested, not a wait for something.
    std::thread::sleep((down + outage).saturating_duration_since(Instant::now()));
    let target = Engine::serve().rtmp(address).start();
    let (up, sent) = (Instant::now(), source.sent());
    target.wait_publish(NAME);
    let waited = up.elapsed();
    assert!(
        waited <= at_most(Duration::from_millis(1_250)),
        "reconnected {waited:?} after the target was back"
    );
    let player = Watcher::play(target.rtmp, NAME);
    player.wait_number(sent, PATIENCE);
    let missed = (player.seen().last + 1).saturating_sub(player.seen().frames).saturating_sub(sent);
    assert!(missed <= 2 * shape.gop, "{missed} frames missed after the target was back");
    for watcher in &bystanders {
        let seen = watcher.seen();
        assert_eq!((seen.lost, seen.backwards), (0, 0), "{seen:?}");
        assert!(seen.gap <= at_most(Duration::from_millis(300)), "a bystander waited {:?}", seen.gap);
    }
}

#[test]
fn f28_a_target_back_after_200_ms_has_its_stream_within_a_second() {
    outage(Duration::from_millis(200));
}

#[test]
fn f28_a_target_back_after_2_s_has_its_stream_within_a_second() {
    outage(Duration::from_secs(2));
}

#[test]
fn f29_a_target_that_stalls_is_told_as_stalled_and_tried_again_and_hurts_nobody() {
    let target = Engine::start();
    let proxy = Proxy::to(target.rtmp);
    let other = Engine::start();
    let engine = push(&[proxy.address, other.rtmp]);
    let source = Source::publish(engine.rtmp, NAME, Shape::bits_per_second(20_000_000));
    target.wait_publish(NAME);
    let bystander = Watcher::play(other.rtmp, NAME);
    bystander.wait_frames(50);
    let mark = engine.lines().mark();
    proxy.set(Fault::BlackHole);
    let of_it = |event: &serde_json::Value| {
        event["url"].as_str().is_some_and(|url| url.contains(&proxy.address.to_string()))
    };
    let given_up = engine.wait_after(mark, "relay-state", Duration::from_secs(20), |event| {
        of_it(event) && event["state"] == "backing-off"
    });
    assert!(given_up["last_error"].as_str().is_some_and(|error| !error.is_empty()), "{given_up}");
    let mark = engine.lines().mark();
    proxy.set(Fault::None);
    engine.wait_after(mark, "relay-state", PATIENCE, |event| of_it(event) && event["state"] == "publishing");
    let seen = bystander.seen();
    assert_eq!((seen.lost, seen.backwards), (0, 0), "{seen:?}");
    assert!(!source.has_ended());
}

#[test]
fn f30_a_target_that_refuses_is_asked_seldom_and_its_words_are_told() {
    let target = Engine::serve().key("right").start();
    let engine = push(&[target.rtmp]);
    let _source = Source::publish(engine.rtmp, NAME, Shape::bits_per_second(400_000));
    let refused = target.wait("refused", |event| event["request"] == "publish");
    let told = engine.wait("relay-state", |event| event["last_error"].is_string());
    let words = refused["reason"].as_str().expect("reason");
    assert!(told["last_error"].as_str().is_some_and(|error| error.contains(words)), "{told} lacks {words:?}");
    let again = poll(Duration::from_secs(4), || (target.events_of("refused").len() > 1).then_some(()));
    assert!(again.is_none(), "asked again within four seconds");
}
