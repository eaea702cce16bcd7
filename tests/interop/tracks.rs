//! Foreign players and servers see the tracks that are there, whenever they join or are joined.

use std::net::SocketAddr;
use streamengine_tests::peers::{self, Ffmpeg};
use streamengine_tests::{Engine, PATIENCE, Recorder, demo_clip, free_address, needs, unique};

/// Publishes the demo clip for ever, and returns once the stream is well beyond its beginning.
fn long_after_the_start(ffmpeg: Ffmpeg, engine: &Engine, name: &str) -> streamengine_tests::Proc {
    let publisher = ffmpeg.publish_forever(&demo_clip(), &engine.url(name));
    let counter = Recorder::play(engine.rtmp, name);
    counter.wait_tags(150);
    publisher
}

fn a_late_joiner_sees_the_tracks(ffmpeg: Ffmpeg) {
    let engine = Engine::start();
    let name = format!("live/{}", unique("clip"));
    let publisher = long_after_the_start(ffmpeg, &engine, &name);
    assert_eq!(peers::ffprobe_tracks(&engine.url(&name)), ["video", "audio"]);
    let player = ffmpeg.play_all_tracks(&engine.url(&name), &[], 2);
    let recorded = player.path();
    player.process.succeed(PATIENCE);
    assert_eq!(peers::ffprobe_tracks(&recorded.to_string_lossy()), ["video", "audio"]);
    drop(publisher);
}

fn a_late_push_brings_the_tracks(ffmpeg: Ffmpeg) {
    let target: SocketAddr = free_address();
    let (name, url) = (format!("live/{}", unique("clip")), format!("rtmp://{target}/copy/a"));
    let push =
        format!("[[push]]\nstream = \"{name}\"\nurl = \"{url}\"\nretry = {{ min_ms = 100, max_ms = 200 }}\n");
    let engine = Engine::serve().config(push).start();
    let publisher = long_after_the_start(ffmpeg, &engine, &name);
    let server = ffmpeg.play_all_tracks(&url, &["-listen", "1"], 2);
    let recorded = server.path();
    server.process.succeed(PATIENCE);
    assert_eq!(peers::ffprobe_tracks(&recorded.to_string_lossy()), ["video", "audio"]);
    drop(publisher);
}

#[test]
fn a_late_joiner_sees_the_tracks_that_are_there() {
    needs!("ffmpeg", "ffprobe");
    a_late_joiner_sees_the_tracks(Ffmpeg::System);
}

#[test]
fn a_push_that_starts_late_brings_the_tracks_that_are_there() {
    needs!("ffmpeg", "ffprobe");
    a_late_push_brings_the_tracks(Ffmpeg::System);
}

#[test]
fn a_current_ffmpeg_that_joins_late_sees_the_tracks_that_are_there() {
    needs!("current-ffmpeg", "ffprobe");
    a_late_joiner_sees_the_tracks(Ffmpeg::Current);
}

#[test]
fn a_push_that_starts_late_brings_a_current_ffmpeg_the_tracks_that_are_there() {
    needs!("current-ffmpeg", "ffprobe");
    a_late_push_brings_the_tracks(Ffmpeg::Current);
}
