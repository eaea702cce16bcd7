//! What players and streams cost.

use crate::players::Trickler;
use streamengine_tests::hls::HlsPeer;
use streamengine_tests::raw::RawPeer;
use streamengine_tests::synthetic::{Shape, Source, Watcher};
use streamengine_tests::{Engine, PATIENCE, is_idle, poll, raise_file_limit};

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

#[test]
fn twenty_streams_of_8_mbit_a_second_cost_what_their_rings_and_their_hls_may_hold() {
    const STREAMS: u64 = 20;
    // KiB of each stream.
    const RING: u64 = 4 * 1024;
    const HLS: u64 = 12 * 1024;
    // Longer than what fits: bytes are the bound, not time.
    let settings = "[default_app.hls]\nwhen = \"always\"\nwindow_ms = 60_000\n";
    let engine = Engine::serve()
        .http()
        .config(settings)
        .limit("ring_bytes", RING * 1024)
        .limit("hls_bytes", HLS * 1024)
        .start();
    let base = engine.memory();
    let name = |number: u64| format!("live/{number}");
    let shape = Shape::bits_per_second(8_000_000);
    let sources: Vec<_> = (0..STREAMS).map(|n| Source::publish(engine.rtmp, &name(n), shape)).collect();
    let watcher = Watcher::play(engine.rtmp, &name(0));
    // So many frames that all is full, and as many again in which it is not to grow.
    let full = u32::try_from(2 * (RING + HLS) * 1024).expect("bytes") / 40_000;
    let is_full = |source: &Source| source.sent() >= full;
    let filled = poll(PATIENCE * 4, || sources.iter().all(is_full).then_some(()));
    assert!(filled.is_some(), "{:?} frames of {full}", sources.iter().map(Source::sent).collect::<Vec<_>>());
    let mut worst = 0;
    for _ in 0..40 {
        watcher.wait_frames(watcher.seen().frames + 5);
        worst = worst.max(engine.memory() - base);
    }
    let bound = STREAMS * (RING + HLS);
    let of_bound = worst as f64 / bound as f64;
    eprintln!(
        "{STREAMS} streams cost {worst} KiB beside {base} KiB, {of_bound:.3} of their bound of {bound} KiB"
    );
    // What an allocator keeps is more where threads of many others come between its own.
    let most = if is_idle() { 1.1 } else { 1.2 };
    assert!((0.8..=most).contains(&of_bound), "{worst} KiB of {bound} KiB");
    let lists = (0..STREAMS).map(|n| HlsPeer::open(engine.http(), &name(n)).list(""));
    assert!(lists.map(|list| list.segments.len()).all(|count| count >= 3));
    assert_eq!((watcher.seen().lost, watcher.has_ended()), (0, false));
}
