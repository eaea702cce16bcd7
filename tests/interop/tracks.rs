//! Foreign players and servers see the tracks that are there, whenever they join or are joined.

use std::net::SocketAddr;
use streamengine_tests::peers::{self, Ffmpeg};
use streamengine_tests::raw::RawPeer;
use streamengine_tests::{Engine, PATIENCE, Recorder, demo_clip, free_address, needs, streamengine, unique};

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

/// A script tag with its trailer.
fn script_tag(time: [u8; 3], name: &str) -> Vec<u8> {
    let mut body = vec![2, 0, name.len() as u8];
    body.extend_from_slice(name.as_bytes());
    body.extend_from_slice(b"\x08\0\0\0\x01\0\x04time\0\x40\x24\0\0\0\0\0\0\0\0\x09");
    let mut tag = vec![18, 0, 0, body.len() as u8, time[0], time[1], time[2], 0, 0, 0, 0];
    tag.append(&mut body);
    let size = u32::try_from(tag.len()).unwrap();
    tag.extend_from_slice(&size.to_be_bytes());
    tag
}

/// The demo clip with two events at the time of every tenth tag, as encoders for advertisers and with time codes send them.
fn clip_with_events() -> Vec<u8> {
    let clip = std::fs::read(demo_clip()).expect("the demo clip");
    let (head, mut rest) = clip.split_at(13);
    let mut file = head.to_vec();
    for number in 0.. {
        let Some(&[_, a, b, c, t0, t1, t2, ..]) = rest.first_chunk::<11>() else { break };
        let (tag, after) = rest.split_at(11 + 4 + u32::from_be_bytes([0, a, b, c]) as usize);
        file.extend_from_slice(tag);
        if number % 10 == 9 {
            file.extend(script_tag([t0, t1, t2], "onCuePoint"));
            file.extend(script_tag([t0, t1, t2], "onFI"));
        }
        rest = after;
    }
    file
}

fn events_make_no_track(ffmpeg: Ffmpeg) {
    let engine = Engine::serve().http().start();
    let name = format!("live/{}", unique("events"));
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("events.flv");
    std::fs::write(&file, clip_with_events()).expect("write");
    assert_eq!(
        peers::ffprobe_tracks(&file.to_string_lossy()).len(),
        4,
        "ffmpeg sees tracks of data in the file"
    );
    let looper = streamengine(["loop", &file.to_string_lossy(), &engine.url(&name)]);
    let mut player = RawPeer::connect(engine.rtmp, "live").expect("connect");
    player.play(name.trim_start_matches("live/")).expect("play");
    let event = player.wait_for(|message| message.kind == 15).expect("an event");
    assert!(event.body.starts_with(b"\0\x02\0\x0aonCuePoint\x08"), "{}", event.body.escape_ascii());
    for url in [engine.url(&name), engine.http_url(&format!("/{name}.flv"))] {
        assert_eq!(peers::ffprobe_tracks(&url), ["video", "audio"], "{url}");
        let player = ffmpeg.play_all_tracks(&url, &[], 2);
        let recorded = player.path();
        player.process.succeed(PATIENCE);
        assert_eq!(peers::ffprobe_tracks(&recorded.to_string_lossy()), ["video", "audio"], "{url}");
    }
    drop(looper);
}

#[test]
fn events_reach_players_and_make_no_track() {
    needs!("ffmpeg", "ffprobe");
    events_make_no_track(Ffmpeg::System);
}

#[test]
fn events_make_no_track_for_a_current_ffmpeg() {
    needs!("current-ffmpeg", "ffprobe");
    events_make_no_track(Ffmpeg::Current);
}
