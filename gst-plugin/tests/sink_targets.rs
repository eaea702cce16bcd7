//! Push targets: each on its own, whatever the others do, and the pipeline plays on.

mod support;

use gst::prelude::*;
use std::time::{Duration, Instant};
use streamengine::media::FrameKind::{Audio, Video};
use streamengine::testing::wait::at_most;
use support::{
    BlackHole, Pipeline, Player, Program, Server, StuckPlayer, assert_received, clip, clip_frames, free_port,
    stat, stat_list, until,
};

/// A live stream that does not end by itself.
const LIVE: &str = "videotestsrc is-live=true ! video/x-raw,format=I420,width=320,height=240,framerate=30/1 ! \
    x264enc tune=zerolatency speed-preset=ultrafast key-int-max=15 ! rtmprelaysink name=s port=0 sync=false";

#[test]
fn g1_a_refusing_target_is_named_and_joins_once_its_server_appears_and_the_other_gets_all() {
    let _limit = support::start("g1");
    let directory = tempfile::tempdir().unwrap();
    let file = clip(directory.path(), 6_000);
    let good = Server::start();
    let recording = good.record("good");
    let port = free_port();
    let bad = format!("rtmp://127.0.0.1:{port}/live/late");
    let pipeline = Pipeline::play(&format!(
        "filesrc location={} ! flvdemux : rtmprelaysink name=s port=0 reconnect-min=50 reconnect-max=200 \
         targets=<{},{bad}>",
        file.display(),
        good.url("good"),
    ));
    let named = pipeline.target_state(2, "backing-off");
    let masked = format!("rtmp://127.0.0.1:{port}/live/***");
    assert_eq!(named.get::<&str>("uri"), Ok(&*masked));
    assert!(named.get::<&str>("error").unwrap().contains("refused"), "{named:?}");
    assert!(named.get::<u64>("next-retry-ms").unwrap() <= 250);
    let text = pipeline.warning().to_string();
    assert!(
        text.contains(&masked)
            && text.contains("target 2")
            && text.contains("refused")
            && text.contains("attempt 1"),
        "{text}"
    );

    let late = Server::at(port);
    let late_recording = late.record("late");
    pipeline.target_state(2, "publishing");
    pipeline.eos();
    pipeline.stop();
    assert_received(&recording.until_end(), &clip_frames(6_000), 0);
    let late_frames = late_recording.until_end();
    assert_received(&late_frames, &clip_frames(6_000), 200);
    let first = late_frames.iter().find(|frame| frame.kind == Video && !frame.is_config()).unwrap();
    assert!(first.flags.keyframe && first.timestamp <= 50, "from a keyframe, at time 0: {}", first.timestamp);
}

#[test]
fn g2_a_black_hole_and_a_stuck_player_hold_up_neither_others_nor_eos_nor_the_end() {
    let _limit = support::start("g2");
    let directory = tempfile::tempdir().unwrap();
    let file = clip(directory.path(), 4_000);
    let hole = BlackHole::start();
    let pipeline = Pipeline::play(&format!(
        "filesrc location={} ! flvdemux : rtmprelaysink name=s port=0 drain-timeout=700 \
         location=rtmp://127.0.0.1:{}/live/hole",
        file.display(),
        hole.port,
    ));
    let player = Player::join(&pipeline.url());
    let port = u16::try_from(pipeline.sink().property::<u32>("current-port")).unwrap();
    let _stuck = StuckPlayer::join(port, "live", "stream");
    let halted = Program::ffmpeg_player(&pipeline.url());
    until("ffmpeg plays too", || stat::<u32>(&pipeline.sink(), "players") == 3);
    halted.halt();
    player.wait_for(Video, 98);
    let end_of_file = Instant::now();
    pipeline.eos();
    // Without the property it would take 2 s.
    assert!(
        end_of_file.elapsed() < at_most(Duration::from_millis(1_300)).min(Duration::from_millis(1_900)),
        "EOS after {:?}",
        end_of_file.elapsed()
    );
    let stop = Instant::now();
    pipeline.stop();
    assert!(stop.elapsed() < at_most(Duration::from_millis(2_500)), "NULL after {:?}", stop.elapsed());
    assert_received(&player.until_end(), &clip_frames(4_000), 60);
}

#[test]
fn a_state_change_to_null_in_the_middle_does_not_wait_for_a_black_hole() {
    let _limit = support::start("null with a black hole");
    let hole = BlackHole::start();
    let pipeline = Pipeline::play(&format!("{LIVE} location=rtmp://127.0.0.1:{}/live/hole", hole.port));
    pipeline.target_state(1, "connecting");
    let stop = Instant::now();
    pipeline.stop();
    assert!(stop.elapsed() < at_most(Duration::from_millis(2_500)), "NULL after {:?}", stop.elapsed());
}

#[test]
fn a_black_hole_is_given_up_after_connect_timeout_with_words() {
    let _limit = support::start("connect-timeout");
    let hole = BlackHole::start();
    let pipeline = Pipeline::play(&format!(
        "{LIVE} connect-timeout=300 location=rtmp://127.0.0.1:{}/live/hole",
        hole.port
    ));
    let start = Instant::now();
    let text = pipeline.warning().to_string();
    assert!(text.contains("took longer than 300 ms"), "{text}");
    assert!(start.elapsed() < at_most(Duration::from_secs(2)), "{:?}", start.elapsed());
}

#[test]
fn targets_come_and_go_while_the_pipeline_plays() {
    let _limit = support::start("targets come and go");
    let server = Server::start();
    let pipeline = Pipeline::play(LIVE);
    let sink = pipeline.sink();
    let add = |url: &str, options: Option<gst::Structure>| {
        sink.emit_by_name::<u32>("add-target", &[&url, &options.to_value()])
    };
    let first = add(&server.url("one"), None);
    let recording = server.record("one");
    pipeline.target_state(first, "publishing");
    recording.wait_for(Video, 10);
    sink.set_property("location", server.url("two"));
    server.record("two").wait_for(Video, 10);
    assert_eq!(stat_list(&sink, "targets-list").len(), 2);
    assert!(sink.emit_by_name::<bool>("remove-target", &[&first]));
    assert!(!sink.emit_by_name::<bool>("remove-target", &[&first]), "it is gone");
    recording.until_end();
    sink.set_property("location", None::<String>);
    until("both are gone", || server.engine.stats().publishers == 0);
    assert!(stat_list(&sink, "targets-list").is_empty());

    assert_eq!(add("http://example.org/live/x", None), 0);
    let text = pipeline.warning().to_string();
    assert!(text.contains("target URL"), "{text}");
    let unknown = gst::Structure::builder("o").field("reconect", true).build();
    assert_eq!(add(&server.url("x"), Some(unknown)), 0);
    assert!(pipeline.warning().to_string().contains("reconect"));
}

#[test]
fn librtmp_options_behind_a_url_are_ignored_with_a_warning() {
    let _limit = support::start("librtmp options");
    let server = Server::start();
    let pipeline = Pipeline::play(&format!("{LIVE} location=\"{} live=1 timeout=5\"", server.url("the-key")));
    let text = pipeline.warning().to_string();
    assert!(
        text.contains("live, timeout") && text.contains("target 1") && !text.contains("the-key"),
        "{text}"
    );
    server.record("the-key").wait_for(Video, 5);
    let later = format!("{} swfVfy=1", server.url("another"));
    pipeline.sink().emit_by_name::<u32>("add-target", &[&later, &None::<gst::Structure>]);
    assert!(pipeline.warning().to_string().contains("swfVfy"));
    server.record("another").wait_for(Video, 5);
}

#[test]
fn the_states_of_a_target_are_signals_too() {
    let _limit = support::start("target-state");
    let server = Server::start();
    let pipeline = Pipeline::play(&format!("{LIVE} reconnect-min=50"));
    let (tell, told) = std::sync::mpsc::channel();
    pipeline.sink().connect("target-state", false, move |arguments| {
        let (_, state) = gst::glib::EnumValue::from_value(&arguments[2]).unwrap();
        let info = arguments[3].get::<gst::Structure>().unwrap();
        assert_eq!(info.get::<u32>("id").unwrap(), arguments[1].get::<u32>().unwrap());
        assert_eq!(info.get::<&str>("state"), Ok(state.nick()));
        let _ = tell.send(state.nick().to_owned());
        None
    });
    let until_state = |wanted: &str| {
        let next = || told.recv_timeout(support::PATIENCE).expect("more states");
        std::iter::repeat_with(next).find(|state| state == wanted)
    };
    let port = server.port;
    pipeline.sink().set_property("location", server.url("x"));
    until_state("connecting");
    until_state("publishing");
    drop(server);
    until_state("backing-off");
    let _again = Server::at(port);
    until_state("connecting");
    until_state("publishing");
    pipeline.sink().set_property("location", None::<String>);
}

#[test]
fn a_target_has_options_of_its_own_and_can_be_restarted() {
    let _limit = support::start("options of a target");
    let port = free_port();
    let pipeline = Pipeline::play(LIVE);
    let sink = pipeline.sink();
    let options = gst::Structure::builder("o").field("reconnect", false).build();
    let url = format!("rtmp://127.0.0.1:{port}/live/x");
    let id = sink.emit_by_name::<u32>("add-target", &[&url, &Some(options).to_value()]);
    pipeline.target_state(id, "failed");
    assert!(pipeline.warning().to_string().contains("given up"));
    let server = Server::at(port);
    assert!(sink.emit_by_name::<bool>("restart-target", &[&id]));
    server.record("x").wait_for(Video, 5);
    let targets = stat_list(&sink, "targets-list");
    assert_eq!(targets[0].get::<&str>("state"), Ok("publishing"));
    assert!(targets[0].get::<u64>("bytes-sent").unwrap() > 0);
    assert!(targets[0].get::<gst::DateTime>("connected-at").is_ok());
}

#[test]
fn the_error_policy_decides_when_targets_that_are_given_up_end_the_pipeline() {
    let _limit = support::start("error-policy");
    let server = Server::start();
    let error = |pipeline: &Pipeline| {
        let end = Instant::now() + Duration::from_secs(3);
        while let Some(message) = pipeline.bus.timed_pop(gst::ClockTime::from_mseconds(300)) {
            if let gst::MessageView::Error(error) = message.view() {
                return Some(error.error().to_string());
            }
            if Instant::now() > end {
                break;
            }
        }
        None
    };
    let refused = || format!("rtmp://127.0.0.1:{}/live/x", free_port());
    let play = |policy: &str, targets: &[String]| {
        let targets = targets.join(",");
        Pipeline::play(&format!("{LIVE} reconnect=false error-policy={policy} targets=<{targets}>"))
    };
    let text = error(&play("any-failed", &[server.url("a"), refused()])).expect("an error");
    assert!(text.contains("given up"), "{text}");
    assert!(error(&play("all-failed", &[refused(), refused()])).is_some());
    let lasting = play("all-failed", &[server.url("b"), refused()]);
    server.record("b").wait_for(Video, 10);
    assert_eq!(error(&lasting), None, "one target is left");
    assert_eq!(error(&play("warn", &[refused()])), None);
}

#[test]
fn a_target_that_goes_away_is_found_again_and_nobody_else_notices() {
    let _limit = support::start("a target that goes away");
    let server = Server::start();
    let port = server.port;
    let pipeline =
        Pipeline::play(&format!("{LIVE} reconnect-min=50 reconnect-max=100 location={}", server.url("x")));
    let player = Player::join(&pipeline.url());
    server.record("x").wait_for(Video, 10);
    drop(server);
    pipeline.target_state(1, "backing-off");
    let server = Server::at(port);
    server.record("x").wait_for(Video, 10);
    let frames = player.frames();
    let times: Vec<_> =
        frames.iter().filter(|frame| frame.kind == Video).map(|frame| frame.timestamp).collect();
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] < 500), "the player saw a gap: {times:?}");
}

#[test]
fn a_stream_key_of_a_target_is_in_no_message_and_in_no_statistics() {
    let _limit = support::start("keys are masked");
    let url = format!("rtmp://user:pass-word@127.0.0.1:{}/live/the-key?token=hunter-two", free_port());
    let pipeline = Pipeline::play(&format!("{LIVE} reconnect-min=10 location={url}"));
    let mut seen =
        vec![pipeline.warning().to_string(), format!("{:?}", pipeline.target_state(1, "connecting"))];
    seen.push(format!("{:?}", pipeline.target_state(1, "backing-off")));
    seen.push(format!("{:?}", pipeline.sink().property::<gst::Structure>("stats")));
    for text in seen {
        assert!(text.contains("127.0.0.1") || text.contains("targets-list"), "{text}");
        assert!(!["hunter-two", "pass-word", "the-key"].iter().any(|secret| text.contains(secret)), "{text}");
    }
}

#[test]
fn without_a_server_of_its_own_the_sink_only_pushes() {
    let _limit = support::start("serve=false");
    let server = Server::start();
    let directory = tempfile::tempdir().unwrap();
    let file = clip(directory.path(), 1_500);
    let recording = server.record("only");
    let pipeline = Pipeline::play(&format!(
        "filesrc location={} ! flvdemux : rtmprelaysink name=s serve=false location={}",
        file.display(),
        server.url("only")
    ));
    assert_eq!(pipeline.sink().property::<u32>("current-port"), 0);
    pipeline.eos();
    let bytes: usize = clip_frames(1_500).iter().map(|frame| frame.payload.len()).sum();
    until("all bytes are counted", || stat::<u64>(&pipeline.sink(), "bytes-out") > bytes as u64);
    pipeline.stop();
    let frames = recording.until_end();
    assert_received(&frames, &clip_frames(1_500), 0);
    assert!(frames.iter().any(|frame| frame.kind == Audio));
}

#[test]
fn the_stop_commands_are_those_that_were_chosen() {
    let _limit = support::start("stop-commands");
    let server = Server::start();
    let mut events = server.engine.events();
    let pipeline = Pipeline::play(&format!("{LIVE} stop-commands=0 location={}", server.url("x")));
    server.record("x").wait_for(Video, 5);
    pipeline.stop();
    let reason = loop {
        match events.blocking_next() {
            Some(streamengine::Received::Event(streamengine::Event::StreamEnded { reason, .. })) => {
                break reason;
            }
            Some(_) => {}
            None => panic!("no unpublish"),
        }
    };
    assert_eq!(reason, "closed by the peer", "nothing was said");
}
