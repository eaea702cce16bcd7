//! `streamengine probe` tells what ffprobe tells.

use serde_json::Value;
use streamengine_tests::{Engine, PATIENCE, demo_clip, needs, shared_clip, streamengine, unique};

fn probe(target: &str) -> Value {
    let process = streamengine(["probe", target, "--json"]);
    process.succeed(PATIENCE);
    let lines = process.out.all();
    assert_eq!(lines.len(), 1, "one object: {lines:?}");
    serde_json::from_str(&lines[0]).expect("JSON")
}

fn tells(json: &Value, words: &[&str]) {
    let text = json.to_string().to_lowercase();
    for word in words {
        assert!(text.contains(&word.to_lowercase()), "{word:?} is not in {json:#}");
    }
}

const DEMO: [&str; 6] = ["h.264", "aac", "640", "360", "48000", "25"];

#[test]
fn probe_tells_the_tracks_of_a_file() {
    tells(&probe(&demo_clip().to_string_lossy()), &DEMO);
}

#[test]
fn probe_tells_the_tracks_of_a_stream() {
    let engine = Engine::start();
    let name = format!("live/{}", unique("probe"));
    let looper = streamengine(["loop", &demo_clip().to_string_lossy(), &engine.url(&name)]);
    engine.wait_publish(&name);
    tells(&probe(&engine.url(&name)), &DEMO);
    drop(looper);
}

#[test]
fn probe_tells_the_tracks_of_the_shared_clips() {
    needs!("shared:bbb-h264-aac-10s.flv", "shared:bbb-av1-opus-30s.flv");
    let file = |name| shared_clip(name).expect("shared clip").to_string_lossy().into_owned();
    tells(&probe(&file("bbb-h264-aac-10s.flv")), &["h.264", "aac", "640", "360"]);
    tells(&probe(&file("bbb-av1-opus-30s.flv")), &["av1", "opus", "48000"]);
}

#[test]
fn probe_ends_with_1_or_for_a_file_with_2_and_names_what_is_not_there() {
    let engine = Engine::serve().config("[default_app]\nwait_for_publisher_ms = 0\n").start();
    let nothing = engine.url("live/nothing");
    for (target, status) in [(nothing.as_str(), 1), ("/no/such/file.flv", 2)] {
        let process = streamengine(["probe", target, "--json"]);
        assert_eq!(process.wait(PATIENCE), status, "{}", process.log());
        let said = process.err.all().join("\n");
        let named = said.contains(target) || said.contains(&engine.rtmp.to_string());
        assert!(named, "{target} is not named: {said}");
    }
}
