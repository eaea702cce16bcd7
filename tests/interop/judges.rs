//! The judges judged: every foreign program of the other suites, and our own reader, against nginx-rtmp.
//!
//! If one of these fails, a tool or the harness is broken, not the engine.

use std::time::Duration;
use streamengine_tests::flv::{Extent, Recording, assert_arrived};
use streamengine_tests::nginx::Nginx;
use streamengine_tests::peers::{self, FilePlayer, Speed};
use streamengine_tests::synthetic::{Shape, Source, Watcher};
use streamengine_tests::tshark::Capture;
use streamengine_tests::{Fault, PATIENCE, Proxy, Recorder, demo_clip, needs, unique};

fn plays_from_nginx(play: impl FnOnce(&str) -> FilePlayer) {
    let server = Nginx::start("");
    let name = unique("clip");
    let player = play(&server.url(&name));
    server.process.err.find("play: name", PATIENCE).expect("the player plays");
    let publisher = peers::ffmpeg_publish(&demo_clip(), &server.url(&name), Speed::Fast);
    publisher.succeed(Duration::from_secs(30));
    drop(server);
    assert_arrived(&Recording::read(&demo_clip()), &player.finish(), Extent::Run);
}

#[test]
fn ffmpeg_plays_from_nginx() {
    needs!("ffmpeg", "nginx-rtmp");
    plays_from_nginx(peers::ffmpeg_play);
}

#[test]
fn rtmpdump_plays_from_nginx() {
    needs!("ffmpeg", "nginx-rtmp", "rtmpdump");
    plays_from_nginx(peers::rtmpdump_play);
}

#[test]
fn rtmp2src_plays_from_nginx() {
    needs!("ffmpeg", "nginx-rtmp", "gst:rtmp2src");
    plays_from_nginx(peers::gst_play);
}

#[test]
fn rtmp2sink_publishes_to_nginx_and_the_recorder_keeps_it() {
    needs!("nginx-rtmp", "gst:rtmp2sink");
    let server = Nginx::start("");
    let name = unique("clip");
    let player = Recorder::play(server.address, &format!("live/{name}"));
    server.process.err.find("play: name", PATIENCE).expect("the player plays");
    let publisher = peers::gst_publish(&demo_clip(), &server.url(&name));
    publisher.succeed(Duration::from_secs(30));
    drop(server);
    assert_arrived(&Recording::read(&demo_clip()), &player.finish(PATIENCE), Extent::Run);
}

#[test]
fn the_raw_publisher_reaches_the_raw_player_through_nginx_and_the_proxy() {
    needs!("nginx-rtmp");
    let server = Nginx::start("");
    let proxy = Proxy::to(server.address);
    let name = format!("live/{}", unique("numbers"));
    let _source = Source::publish(proxy.address, &name, Shape::bits_per_second(800_000));
    let player = Watcher::play(server.address, &name);
    player.wait_frames(25);
    let seen = player.seen();
    assert_eq!((seen.lost, seen.backwards), (0, 0), "{seen:?}");
    proxy.set(Fault::Cut);
    let frames = player.seen().frames;
    assert!(frames >= 25);
}

#[test]
fn tshark_sees_commands_and_media_of_nginx() {
    needs!("ffmpeg", "nginx-rtmp", "capture");
    let server = Nginx::start("");
    let capture = Capture::start(server.address);
    let name = unique("clip");
    let publisher = peers::ffmpeg_publish(&demo_clip(), &server.url(&name), Speed::Fast);
    let player = peers::ffmpeg_play(&server.url(&name));
    publisher.succeed(Duration::from_secs(30));
    drop(server);
    player.interrupt();
    let verdict = capture.verdict();
    assert!(verdict.malformed.is_empty(), "{:?}", verdict.malformed);
    verdict.assert_saw(&["connect", "publish", "play"]);
}
