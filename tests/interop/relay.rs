//! Files and streams through our relay to a second server: ours, or nginx-rtmp.

use std::path::Path;
use std::time::Duration;
use streamengine_tests::flv::{Extent, Recording, Track, assert_arrived, match_run};
use streamengine_tests::nginx::Nginx;
use streamengine_tests::peers::{self, Speed};
use streamengine_tests::{
    Engine, PATIENCE, Recorder, Signal, demo_clip, needs, shared_clip, streamengine, unique,
};

const LEGACY: &str = "shared:bbb-h264-aac-10s.flv";
const ENHANCED: &str = "shared:bbb-av1-opus-30s.flv";

/// Longest time for a clip of 30 s in real time.
const CLIP: Duration = Duration::from_secs(60);

fn shared(need: &str) -> std::path::PathBuf {
    shared_clip(need.trim_start_matches("shared:")).expect("shared clip")
}

/// An engine that pushes stream `name` to `target`.
fn pushing(name: &str, target: &str) -> Engine {
    Engine::serve().config(format!("[[push]]\nstream = \"{name}\"\nurl = \"{target}\"\n")).start()
}

/// `loop FILE` -> first engine -> relay -> second engine -> player: the classic chain.
fn through_two_engines(clip: &Path, loops: usize, leave_after: Option<usize>) {
    let second = Engine::start();
    let name = format!("live/{}", unique("clip"));
    let copy = format!("copy/{}", unique("clip"));
    let first = pushing(&name, &second.url(&copy));
    let player = Recorder::play(second.rtmp, &copy);
    let direct = Recorder::play(first.rtmp, &name);
    let loops = loops.to_string();
    let looper = streamengine(["loop", &clip.to_string_lossy(), &first.url(&name), "--loops", &loops]);
    if let Some(count) = leave_after {
        player.wait_until(CLIP, |tags| tags.len() >= count);
        looper.signal(Signal::INT);
    }
    assert_eq!(looper.wait(CLIP), 0, "{}", looper.log());
    let source = Recording::read(clip);
    let extent = if leave_after.is_some() { Extent::Run } else { Extent::Looped };
    for recording in [direct.finish(Duration::from_secs(15)), player.finish(Duration::from_secs(15))] {
        assert_arrived(&source, &recording, extent);
        if leave_after.is_none() {
            let wanted = source.frames(Track::Video).len() * loops.parse::<usize>().expect("number");
            assert_eq!(recording.frames(Track::Video).len(), wanted, "video frames");
        }
    }
    for engine in [first, second] {
        assert_eq!(engine.stop(), 0);
    }
}

#[test]
fn the_demo_clip_arrives_at_a_second_engine() {
    through_two_engines(&demo_clip(), 1, None);
}

#[test]
fn the_shared_legacy_clip_arrives_at_a_second_engine_over_two_loops() {
    needs!(LEGACY);
    through_two_engines(&shared(LEGACY), 2, None);
}

#[test]
fn the_shared_enhanced_clip_arrives_at_a_second_engine() {
    needs!(ENHANCED);
    through_two_engines(&shared(ENHANCED), 1, None);
}

#[test]
fn every_enhanced_message_arrives_not_only_frames() {
    needs!(ENHANCED);
    let clip = shared(ENHANCED);
    let engine = Engine::start();
    let name = format!("live/{}", unique("clip"));
    let player = Recorder::play(engine.rtmp, &name);
    let looper = streamengine(["loop", &clip.to_string_lossy(), &engine.url(&name)]);
    player.wait_until(CLIP, |tags| tags.len() >= 1_000);
    looper.signal(Signal::INT);
    assert_eq!(looper.wait(PATIENCE), 0, "{}", looper.log());
    let (source, got) = (Recording::read(&clip), player.finish(Duration::from_secs(15)));
    for track in [Track::Video, Track::Audio] {
        let (sent, came) = (from_first_frame(&source, track), from_first_frame(&got, track));
        if let Err(why) = match_run(&sent, &came, Extent::Run) {
            panic!("{track:?} messages of all kinds: {why}");
        }
        assert!(came.len() > 300, "{track:?}: only {} messages", came.len());
    }
    for (kind, first_byte, what) in [(9, 0xd4, "video metadata"), (8, 0x94, "channel layout")] {
        let came = got.tags.iter().any(|tag| tag.kind == kind && tag.body[0] == first_byte);
        assert!(came, "the {what} of the start is missing");
    }
}

/// Every message of a track from its first frame on.
fn from_first_frame(recording: &Recording, track: Track) -> Vec<[u8; 16]> {
    recording.track(track).iter().skip_while(|tag| tag.frame().is_none()).map(|tag| tag.hash()).collect()
}

/// `loop FILE` -> engine -> relay -> nginx -> ffmpeg.
fn through_an_engine_to_nginx(clip: &Path) {
    let nginx = Nginx::start("");
    let stream = unique("clip");
    let name = format!("live/{stream}");
    let engine = pushing(&name, &nginx.url(&stream));
    let player = peers::ffmpeg_play(&nginx.url(&stream));
    nginx.process.err.find("play: name", PATIENCE).expect("the player asks nginx");
    let looper = streamengine(["loop", &clip.to_string_lossy(), &engine.url(&name), "--loops", "1"]);
    assert_eq!(looper.wait(CLIP), 0, "{}", looper.log());
    nginx.process.err.find("deleteStream", PATIENCE).expect("the relay unpublishes");
    assert_eq!(engine.stop(), 0);
    drop(nginx);
    assert_arrived(&Recording::read(clip), &player.finish(), Extent::ToTheEnd);
}

#[test]
fn the_demo_clip_arrives_at_nginx() {
    needs!("ffmpeg", "nginx-rtmp");
    through_an_engine_to_nginx(&demo_clip());
}

#[test]
fn the_shared_legacy_clip_arrives_at_nginx() {
    needs!("ffmpeg", "nginx-rtmp", LEGACY);
    through_an_engine_to_nginx(&shared(LEGACY));
}

#[test]
fn relay_takes_a_stream_from_nginx_and_gives_it_to_two_servers() {
    needs!("ffmpeg", "nginx-rtmp");
    let nginx = Nginx::start("");
    let stream = unique("clip");
    let (one, two) = (Engine::start(), Engine::start());
    let targets = [one.url("live/a"), two.url("other/b?token=1")];
    let relay = streamengine(["relay", &nginx.url(&stream), &targets[0], &targets[1], "--json"]);
    nginx.process.err.find("play: name", PATIENCE).expect("the relay asks nginx");
    let players = [Recorder::play(one.rtmp, "live/a"), Recorder::play(two.rtmp, "other/b")];
    let publisher = peers::ffmpeg_publish(&demo_clip(), &nginx.url(&stream), Speed::Fast);
    publisher.succeed(PATIENCE);
    let source = Recording::read(&demo_clip());
    for player in &players {
        player.wait_until(PATIENCE, |tags| {
            tags.iter().filter(|(_, tag)| tag.kind == 9 && tag.frame().is_some()).count()
                == source.frames(Track::Video).len()
        });
    }
    relay.signal(Signal::INT);
    assert_eq!(relay.wait(PATIENCE), 0, "{}", relay.log());
    for player in players {
        assert_arrived(&source, &player.finish(Duration::from_secs(15)), Extent::ToTheEnd);
    }
    assert!(!relay.log().contains("token=1"), "a query is in the output");
}

#[test]
fn a_pull_starts_with_the_first_player_and_is_byte_exact() {
    needs!("ffmpeg");
    let source = Engine::start();
    let name = format!("live/{}", unique("clip"));
    let pull = format!(
        "[[pull]]\nurl = \"{}\"\nstream = \"edge/copy\"\nwhen = \"watched\"\nlinger_ms = 500\n",
        source.url(&name)
    );
    let edge = Engine::serve().config(pull).start();
    let publisher = peers::ffmpeg_publish(&demo_clip(), &source.url(&name), Speed::Real);
    source.wait_publish(&name);
    assert!(source.events_of("play-started").is_empty(), "pulled without a player");
    let player = peers::ffmpeg_play(&edge.url("edge/copy"));
    source.wait_players(&name, 1);
    publisher.succeed(PATIENCE);
    assert_arrived(&Recording::read(&demo_clip()), &player.finish(), Extent::ToTheEnd);
}

#[test]
fn a_file_of_the_configuration_is_live_and_pushed() {
    let second = Engine::start();
    let config = format!(
        "[[file]]\npaths = [\"{}\"]\nstream = \"live/clip\"\n[[push]]\nstream = \"live/clip\"\nurl = \"{}\"\n",
        demo_clip().display(),
        second.url("live/copy")
    );
    let first = Engine::serve().config(config).start();
    first.wait_publish("live/clip");
    second.wait_publish("live/copy");
    let player = Recorder::play(second.rtmp, "live/copy");
    player.wait_tags(200);
    assert_arrived(&Recording::read(&demo_clip()), &player.stop(), Extent::Looped);
}
