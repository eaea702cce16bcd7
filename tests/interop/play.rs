//! ffmpeg publishes; foreign players get every frame from the first keyframe to the end, byte for byte.

use std::path::Path;
use std::time::Duration;
use streamengine_tests::flv::{Extent, Recording, Track, assert_arrived};
use streamengine_tests::nginx::Nginx;
use streamengine_tests::peers::{self, Ffmpeg, FilePlayer, Speed};
use streamengine_tests::{Engine, PATIENCE, Recorder, demo_clip, needs, shared_clip, unique};

const LEGACY: &str = "shared:bbb-h264-aac-10s.flv";

fn legacy_clip() -> std::path::PathBuf {
    shared_clip("bbb-h264-aac-10s.flv").expect("shared clip")
}

/// The player asks before the publisher comes, so it gets the whole clip.
fn plays_all(clip: &Path, extent: Extent, play: impl FnOnce(&str) -> FilePlayer) {
    let engine = Engine::start();
    let name = format!("live/{}", unique("clip"));
    let player = play(&engine.url(&name));
    engine.wait_players(&name, 1);
    let publisher = peers::ffmpeg_publish(clip, &engine.url(&name), Speed::Fast);
    publisher.succeed(PATIENCE);
    assert_arrived(&Recording::read(clip), &player.finish(), extent);
    engine.wait_unpublish(&name);
    assert_eq!(engine.stop(), 0);
}

/// The player comes in the middle, and starts with a keyframe.
fn joins_late(extent: Extent, play: impl FnOnce(&str) -> FilePlayer) {
    let engine = Engine::start();
    let name = format!("live/{}", unique("clip"));
    let publisher = peers::ffmpeg_publish(&demo_clip(), &engine.url(&name), Speed::Fast);
    let counter = Recorder::play(engine.rtmp, &name);
    counter.wait_tags(200);
    let player = play(&engine.url(&name));
    publisher.succeed(PATIENCE);
    let (source, got) = (Recording::read(&demo_clip()), player.finish());
    assert_arrived(&source, &got, extent);
    assert!(got.frames(Track::Video).len() < source.frames(Track::Video).len(), "it did not join late");
    assert!(got.frames(Track::Video).len() > 25, "it missed most of the clip");
}

#[test]
fn who_asks_for_what_was_before_gets_it_over_rtmp_and_http() {
    needs!("ffmpeg", "rtmpdump");
    let engine = Engine::serve().http().start();
    let name = format!("live/{}", unique("back"));
    let publisher = peers::ffmpeg_publish(&demo_clip(), &engine.url(&name), Speed::Fast);
    let counter = Recorder::play(engine.rtmp, &name);
    counter.wait_tags(200);
    let (rtmp, http) = (engine.url(&name), format!("http://{}/{name}.flv", engine.http()));
    let players = [
        peers::ffmpeg_play(&format!("{rtmp}?start=-20000")),
        peers::rtmpdump_play(&format!("{rtmp}?start=-20000")),
        peers::ffmpeg_play(&format!("{http}?start=-20000")),
    ];
    engine.wait_players(&name, 4);
    publisher.succeed(PATIENCE);
    let source = Recording::read(&demo_clip());
    for player in players {
        let got = player.finish();
        assert_arrived(&source, &got, Extent::ToTheEnd);
        assert_eq!(got.frames(Track::Video).len(), source.frames(Track::Video).len());
    }
}

#[test]
fn ffmpeg_gets_the_demo_clip() {
    needs!("ffmpeg");
    plays_all(&demo_clip(), Extent::ToTheEnd, peers::ffmpeg_play);
}

#[test]
fn rtmpdump_gets_the_demo_clip() {
    needs!("ffmpeg", "rtmpdump");
    plays_all(&demo_clip(), Extent::ToTheEnd, peers::rtmpdump_play);
}

#[test]
fn rtmp2src_gets_the_demo_clip() {
    needs!("ffmpeg", "gst:rtmp2src");
    plays_all(&demo_clip(), Extent::ToTheLastButOne, peers::gst_play);
}

#[test]
fn ffmpeg_gets_the_shared_legacy_clip() {
    needs!("ffmpeg", LEGACY);
    plays_all(&legacy_clip(), Extent::ToTheEnd, peers::ffmpeg_play);
}

#[test]
fn rtmpdump_gets_the_shared_legacy_clip() {
    needs!("ffmpeg", "rtmpdump", LEGACY);
    plays_all(&legacy_clip(), Extent::ToTheEnd, peers::rtmpdump_play);
}

#[test]
fn rtmp2src_gets_the_shared_legacy_clip() {
    needs!("ffmpeg", "gst:rtmp2src", LEGACY);
    plays_all(&legacy_clip(), Extent::ToTheLastButOne, peers::gst_play);
}

#[test]
fn ffmpeg_joins_late_at_a_keyframe() {
    needs!("ffmpeg");
    joins_late(Extent::ToTheEnd, peers::ffmpeg_play);
}

#[test]
fn rtmpdump_joins_late_at_a_keyframe() {
    needs!("ffmpeg", "rtmpdump");
    joins_late(Extent::ToTheEnd, peers::rtmpdump_play);
}

#[test]
fn rtmp2src_joins_late_at_a_keyframe() {
    needs!("ffmpeg", "gst:rtmp2src");
    joins_late(Extent::ToTheLastButOne, peers::gst_play);
}

#[test]
fn a_current_ffmpeg_gets_what_another_one_publishes() {
    needs!("ffmpeg", "current-ffmpeg");
    plays_all(&demo_clip(), Extent::ToTheEnd, |url| Ffmpeg::Current.play(url));
}

#[test]
fn a_current_ffmpeg_joins_late_at_a_keyframe() {
    needs!("ffmpeg", "current-ffmpeg");
    joins_late(Extent::ToTheEnd, |url| Ffmpeg::Current.play(url));
}

#[test]
fn what_a_current_ffmpeg_publishes_arrives_at_older_players() {
    needs!("ffmpeg", "current-ffmpeg", "rtmpdump");
    let engine = Engine::start();
    let name = format!("live/{}", unique("clip"));
    let players = [peers::ffmpeg_play, peers::rtmpdump_play].map(|play| play(&engine.url(&name)));
    engine.wait_players(&name, 2);
    let publisher = Ffmpeg::Current.publish(&demo_clip(), &engine.url(&name), Speed::Fast);
    publisher.succeed(PATIENCE);
    let source = Recording::read(&demo_clip());
    for player in players {
        assert_arrived(&source, &player.finish(), Extent::ToTheEnd);
    }
}

/// nginx's player side sends what its pull brings; `play_restart` makes it ask as its sessions do.
fn through_nginx(clip: &Path) {
    let engine = Engine::start();
    let stream = unique("clip");
    let name = format!("live/{stream}");
    let pull = format!("pull {} name={stream};", engine.url("live"));
    let nginx = Nginx::start(&pull);
    let player = peers::ffmpeg_play(&nginx.url(&stream));
    nginx.process.err.find("play: name", PATIENCE).expect("the player asks nginx");
    let publisher = peers::ffmpeg_publish(clip, &engine.url(&name), Speed::Fast);
    engine.wait_players(&name, 1);
    publisher.succeed(PATIENCE);
    engine.wait("play-ended", |event| event["stream"] == name.as_str());
    drop(nginx);
    let (source, got) = (Recording::read(clip), player.finish());
    assert_arrived(&source, &got, Extent::ToTheEnd);
}

#[test]
fn nginx_pulls_and_ffmpeg_gets_the_demo_clip_from_it() {
    needs!("ffmpeg", "nginx-rtmp");
    through_nginx(&demo_clip());
}

#[test]
fn nginx_pulls_and_ffmpeg_gets_the_shared_legacy_clip_from_it() {
    needs!("ffmpeg", "nginx-rtmp", LEGACY);
    through_nginx(&legacy_clip());
}

#[test]
fn ffprobe_sees_the_packets_of_the_source() {
    needs!("ffmpeg", "ffprobe");
    let engine = Engine::start();
    let name = format!("live/{}", unique("clip"));
    let url = engine.url(&name);
    let probe = std::thread::spawn(move || peers::ffprobe_packets(&url));
    engine.wait_players(&name, 1);
    let publisher = peers::ffmpeg_publish(&demo_clip(), &engine.url(&name), Speed::Fast);
    publisher.succeed(PATIENCE);
    let got = probe.join().expect("ffprobe");
    let source = peers::ffprobe_packets(&demo_clip().to_string_lossy());
    for track in ["video", "audio"] {
        let of = |packets: &[peers::Packet]| -> Vec<String> {
            packets
                .iter()
                .filter(|packet| packet.codec_type == track)
                .map(|packet| packet.hash.clone())
                .collect()
        };
        assert!(of(&got) == of(&source), "{track}: {} of {} packets", of(&got).len(), of(&source).len());
    }
}

#[test]
fn many_players_of_all_kinds_get_the_same() {
    needs!("ffmpeg", "rtmpdump", "gst:rtmp2src");
    let engine = Engine::start();
    let name = format!("live/{}", unique("clip"));
    let url = engine.url(&name);
    let players = [peers::ffmpeg_play, peers::rtmpdump_play, peers::gst_play].map(|play| play(&url));
    let recorder = Recorder::play(engine.rtmp, &name);
    engine.wait_players(&name, 4);
    let publisher = peers::ffmpeg_publish(&demo_clip(), &url, Speed::Real);
    publisher.succeed(PATIENCE);
    let source = Recording::read(&demo_clip());
    assert_arrived(&source, &recorder.finish(Duration::from_secs(10)), Extent::ToTheEnd);
    for player in players {
        assert_arrived(&source, &player.finish(), Extent::ToTheLastButOne);
    }
}
