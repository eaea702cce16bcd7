//! What players cost.

use crate::players::Trickler;
use streamengine_tests::raw::RawPeer;
use streamengine_tests::synthetic::{Shape, Source, Watcher};
use streamengine_tests::{Engine, raise_file_limit};

#[test]
fn a_thousand_idle_players_cost_at_most_30_kb_each() {
    const PLAYERS: u64 = 1_000;
    raise_file_limit();
    let engine = Engine::start();
    // Enough frames that every player is really served, few enough that it is idle.
    let shape = Shape { frame: 200, interval: std::time::Duration::from_millis(500), gop: 4 };
    let _source = Source::publish(engine.rtmp, "live/quiet", shape);
    let _watcher = Watcher::play(engine.rtmp, "live/quiet");
    let base = engine.memory();
    let players: Vec<RawPeer> = (0..PLAYERS)
        .map(|_| {
            let mut peer = RawPeer::connect(engine.rtmp, "live").expect("connect");
            let status = peer.play("quiet").expect("play");
            assert_eq!(status.code, "NetStream.Play.Start", "{}", status.description);
            peer.wait_for(|message| message.kind == 9).expect("a frame");
            peer
        })
        .collect();
    let each = engine.memory().saturating_sub(base) * 1024 / PLAYERS;
    eprintln!("one idle player costs {each} bytes");
    assert!(each <= 30_000, "one idle player costs {each} bytes");
    assert!(engine.events_of("play-ended").is_empty(), "some were closed");
    drop(players);
}

#[test]
fn a_player_of_1_kb_a_second_costs_at_most_256_kib() {
    const PLAYERS: u64 = 20;
    // The ring is full before the base is taken, so that its growth is not the players'.
    let engine = Engine::serve().limit("ring_bytes", 2 << 20).start();
    let _source = Source::publish(engine.rtmp, "live/big", Shape::bits_per_second(6_000_000));
    let watcher = Watcher::play(engine.rtmp, "live/big");
    watcher.wait_frames(125);
    let base = engine.memory();
    let _tricklers: Vec<_> = (0..PLAYERS).map(|_| Trickler::play(engine.rtmp, "live/big")).collect();
    engine.wait_players("live/big", 1 + PLAYERS as usize);
    let mut worst = 0;
    for _ in 0..40 {
        watcher.wait_frames(watcher.seen().frames + 5);
        worst = worst.max(engine.memory());
    }
    let each = worst.saturating_sub(base) / PLAYERS;
    eprintln!("one trickling player costs {each} KiB");
    assert!(each <= 256, "one trickling player costs {each} KiB");
}
