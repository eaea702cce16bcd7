//! F46: the end of a busy server.

use crate::timed;
use std::time::Duration;
use streamengine_tests::raw::RawPeer;
use streamengine_tests::synthetic::{Shape, Source};
use streamengine_tests::{Engine, PATIENCE, Signal, at_most, raise_file_limit};

const PUBLISHERS: usize = 10;
const PLAYERS: usize = 100;
const RELAYS: usize = 5;

#[test]
fn f46_sigterm_ends_a_busy_server_in_order_within_five_seconds() {
    raise_file_limit();
    let targets: Vec<Engine> = (0..RELAYS).map(|_| Engine::start()).collect();
    let sections: String = targets
        .iter()
        .enumerate()
        .map(|(n, target)| format!("[[push]]\nstream = \"live/s{n}\"\nurl = \"{}\"\n", target.url("copy/x")))
        .collect();
    let engine = Engine::serve().config(sections).start();
    let sources: Vec<Source> = (0..PUBLISHERS)
        .map(|n| Source::publish(engine.rtmp, &format!("live/s{n}"), Shape::bits_per_second(200_000)))
        .collect();
    let mut players: Vec<RawPeer> = (0..PLAYERS)
        .map(|n| {
            let mut peer = RawPeer::connect(engine.rtmp, "live").expect("connect");
            peer.play(&format!("s{}", n % PUBLISHERS)).expect("play");
            peer.wait_for(|message| message.kind == 9).expect("a frame");
            peer
        })
        .collect();
    for target in &targets {
        target.wait_publish("copy/x");
    }
    engine.process.signal(Signal::TERM);
    let (code, time) = timed(|| engine.process.wait(PATIENCE));
    assert_eq!(code, 0, "{}", engine.process.log());
    assert!(time <= at_most(Duration::from_secs(5)), "ended after {time:?}");
    assert!(RawPeer::dial(engine.rtmp).is_err(), "somebody listens still");
    for player in &mut players {
        let told = player.wait_for(|message| message.status().is_some());
        let code = told.map(|message| message.status().expect("status").code);
        assert!(
            code.is_ok_and(|code| code.starts_with("NetStream.Play.")),
            "a player was not told of the end"
        );
    }
    for target in &targets {
        target.wait_unpublish("copy/x");
    }
    drop(sources);
}

#[test]
fn f46_a_stuck_player_does_not_hold_the_end_up() {
    let engine = Engine::start();
    let source = Source::publish(engine.rtmp, "live/big", Shape::bits_per_second(40_000_000));
    let mut stuck = RawPeer::dial_with(engine.rtmp, None, Some(4_096)).expect("connect");
    stuck.open("live").expect("connect");
    stuck.ask_play("big").expect("play");
    engine.wait_players("live/big", 1);
    engine.process.signal(Signal::TERM);
    let (code, time) = timed(|| engine.process.wait(PATIENCE));
    assert_eq!(code, 0, "{}", engine.process.log());
    assert!(time <= at_most(Duration::from_secs(5)), "ended after {time:?}");
    drop(source);
}

#[test]
fn f46_a_second_sigterm_ends_it_at_once() {
    let engine = Engine::start();
    let source = Source::publish(engine.rtmp, "live/big", Shape::bits_per_second(40_000_000));
    let mut stuck = RawPeer::dial_with(engine.rtmp, None, Some(4_096)).expect("connect");
    stuck.open("live").expect("connect");
    stuck.ask_play("big").expect("play");
    engine.wait_players("live/big", 1);
    engine.process.signal(Signal::TERM);
    engine.process.err.find("once more", PATIENCE).expect("the first signal is told");
    engine.process.signal(Signal::TERM);
    let (_, time) = timed(|| engine.process.wait(PATIENCE));
    assert!(time <= at_most(Duration::from_millis(500)), "ended after {time:?}");
    drop(source);
}
