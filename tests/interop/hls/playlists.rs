//! Playlists as the parsers of players see them, ten times a second.

use super::{Latency, index, serve, time};
use streamengine_tests::hls::judge;
use streamengine_tests::peers;
use streamengine_tests::{demo_clip, needs, unique};

fn parsers_take_all(latency: Latency) {
    let engine = serve(latency, 20).start();
    let name = format!("live/{}", unique("poll"));
    let _publisher = peers::ffmpeg_publish_forever(&demo_clip(), &engine.url(&name));
    engine.wait_publish(&name);
    let told = judge(&index(&engine, &name), time());
    assert_eq!(told["errors"], serde_json::json!([]), "{told}");
    let count = |what: &str| told[what].as_u64().unwrap_or_default();
    assert!(count("polls") >= time().as_secs() * 5, "{told}");
    // A part in 200 ms, or a segment in two seconds.
    let (least, deltas) =
        if latency == Latency::Low { (time().as_secs() * 2, 1) } else { (time().as_secs() / 3, 0) };
    assert!(count("versions") >= least && count("deltas") >= deltas, "{told}");
}

#[test]
fn the_parsers_of_players_take_every_playlist() {
    needs!("ffmpeg", "npm:hls-parser");
    parsers_take_all(Latency::Low);
}

#[test]
fn the_parsers_of_players_take_every_playlist_without_parts() {
    needs!("ffmpeg", "npm:hls-parser");
    parsers_take_all(Latency::Plain);
}
