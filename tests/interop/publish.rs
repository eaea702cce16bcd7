//! Foreign publishers other than ffmpeg; what they send reaches a player byte for byte.

use std::path::Path;
use std::time::Duration;
use streamengine_tests::flv::{Extent, Recording, assert_arrived};
use streamengine_tests::nginx::Nginx;
use streamengine_tests::peers::{self, Speed};
use streamengine_tests::{Engine, PATIENCE, Proc, Recorder, demo_clip, needs, shared_clip, unique};

const LEGACY: &str = "shared:bbb-h264-aac-10s.flv";

fn arrives(clip: &Path, publish: impl FnOnce(&str) -> Proc) {
    let engine = Engine::start();
    let name = format!("live/{}", unique("clip"));
    let player = Recorder::play(engine.rtmp, &name);
    let publisher = publish(&engine.url(&name));
    publisher.succeed(PATIENCE);
    let got = player.finish(Duration::from_secs(15));
    assert_arrived(&Recording::read(clip), &got, Extent::Whole);
}

#[test]
fn rtmp2sink_publishes_the_demo_clip() {
    needs!("gst:rtmp2sink");
    arrives(&demo_clip(), |url| peers::gst_publish(&demo_clip(), url));
}

#[test]
fn rtmp2sink_publishes_the_shared_legacy_clip() {
    needs!("gst:rtmp2sink", LEGACY);
    let clip = shared_clip("bbb-h264-aac-10s.flv").expect("shared clip");
    arrives(&clip, |url| peers::gst_publish(&clip, url));
}

#[test]
fn ffmpeg_publishes_and_a_player_on_rml_rtmp_gets_all() {
    needs!("ffmpeg");
    arrives(&demo_clip(), |url| peers::ffmpeg_publish(&demo_clip(), url, Speed::Fast));
}

#[test]
fn nginx_pushes_what_ffmpeg_publishes_to_it() {
    needs!("ffmpeg", "nginx-rtmp");
    let engine = Engine::start();
    let stream = unique("clip");
    let nginx = Nginx::start(&format!("push {};", engine.url("live")));
    let name = format!("live/{stream}");
    let player = Recorder::play(engine.rtmp, &name);
    let publisher = peers::ffmpeg_publish(&demo_clip(), &nginx.url(&stream), Speed::Fast);
    publisher.succeed(PATIENCE);
    let got = player.finish(Duration::from_secs(15));
    // nginx starts its push when the publisher comes: what it gets before the push stands is not sent.
    assert_arrived(&Recording::read(&demo_clip()), &got, Extent::ToTheEnd);
    assert!(got.tags.len() > 400, "nginx pushed only {} tags", got.tags.len());
}

#[test]
fn the_right_key_publishes_and_a_wrong_one_is_told_so() {
    needs!("ffmpeg");
    let engine = Engine::serve().key("s3cret-marker").start();
    let name = format!("live/{}", unique("clip"));
    let wrong =
        peers::ffmpeg_publish(&demo_clip(), &engine.url(&format!("{name}?key=wr0ng-marker")), Speed::Real);
    assert_ne!(wrong.wait(PATIENCE), 0, "a wrong key was accepted");
    let said = wrong.err.all().join("\n").to_lowercase();
    assert!(said.contains("key") || said.contains("not allowed"), "the encoder shows no reason: {said}");
    let none = peers::ffmpeg_publish(&demo_clip(), &engine.url(&name), Speed::Real);
    assert_ne!(none.wait(PATIENCE), 0, "no key was accepted");
    engine.wait("refused", |event| event["request"] == "publish");
    for spelling in [format!("{name}?key=s3cret-marker"), format!("{name}:s3cret-marker")] {
        let mark = engine.lines().mark();
        let right = peers::ffmpeg_publish(&demo_clip(), &engine.url(&spelling), Speed::Fast);
        right.succeed(PATIENCE);
        engine.wait_after(mark, "stream-started", PATIENCE, |event| event["stream"] == name.as_str());
        engine.wait_after(mark, "stream-ended", PATIENCE, |event| event["stream"] == name.as_str());
    }
    let all = [engine.process.out.all(), engine.process.err.all()].concat().join("\n");
    assert!(!all.contains("-marker"), "a key is in the log: {all}");
}
