//! States, and what follows when publishers leave.

use crate::support::*;
use gst::prelude::*;
use std::net::TcpListener;
use streamengine::media::Frame;
use streamengine::media::flv::Codec;
use streamengine::testing::wait::at_most;
use streamengine::{Config, Engine, Publisher, PushConfig, StreamKey};

const FLV: &str = "rtmpserversrc name=r port=0 ! appsink name=s sync=false";
const BOTH: &str =
    "rtmpserversrc name=r port=0  r.video ! appsink name=v sync=false  r.audio ! appsink name=a sync=false";

#[test]
fn with_wait_the_next_publisher_continues_the_stream_without_a_second_file_header() {
    let line = Line::play(FLV);
    line.pull_after_publishing(|encoder| encoder.leave());
    let before = line.last_pts();
    let frames = Source::avc_aac().both(0, 5).frames;
    let encoder = Encoder::connect(&line.url("live/x"));
    encoder.send(&frames);
    let again = line.pull_many("s", frames.len());
    assert_ne!(bytes(&again[0])[..3], *b"FLV");
    let discont: Vec<_> =
        again.iter().map(|sample| flags(sample).contains(gst::BufferFlags::DISCONT)).collect();
    assert_eq!(discont.iter().filter(|is| **is).count(), 1, "{discont:?}");
    let mut last = before;
    for sample in &again {
        assert!(pts(sample) >= last, "time goes on");
        last = pts(sample);
    }
    line.assert_no_error();
}

#[test]
fn with_wait_the_same_pads_get_new_caps_where_they_changed_and_a_new_stream_for_new_codecs() {
    let line = Line::play(BOTH);
    let encoder = Encoder::connect(&line.url("live/x"));
    encoder.send(&Source::avc_aac().both(0, 5).frames);
    line.pull_many("v", 5);
    line.pull_many("a", 5);
    let pads = line.get("r").pads().len();
    let caps = line.events("v", gst::EventType::Caps);
    let starts = ["v", "a"].map(|sink| line.events(sink, gst::EventType::StreamStart));
    let old = line.stream_start("v");
    assert_eq!(old.group_id(), line.stream_start("a").group_id(), "audio and video belong together");
    encoder.cut();

    let removed = line.signal("stream-ended");
    let encoder = Encoder::reconnect(&line, "live/x");
    encoder.send(&Source::avc_aac().both(0, 5).frames);
    let again = line.pull_many("v", 5);
    assert!(flags(&again[0]).contains(gst::BufferFlags::DISCONT));
    assert!(!flags(&again[1]).contains(gst::BufferFlags::DISCONT));
    assert!(flags(&line.pull("a").unwrap()).contains(gst::BufferFlags::DISCONT));
    assert!(caps.try_recv().is_err(), "the caps are the same");
    assert!(starts[0].try_recv().is_err());
    encoder.leave();
    removed.recv_timeout(PATIENCE).unwrap();

    let mut source = Source::new().metadata().track(Codec::Vp9, b"\0\x0b\x82\x02\x02\x02\0\0");
    source = source.video(Codec::Vp9, 0, true);
    let encoder = Encoder::reconnect(&line, "live/x");
    encoder.send(&source.frames);
    let vp9 = line.pull("v").unwrap();
    assert!(vp9.caps().unwrap().to_string().starts_with("video/x-vp9"));
    let new = line.stream_start("v");
    assert_eq!(new.stream_id(), old.stream_id());
    assert_ne!(new.group_id(), old.group_id());
    starts[1].recv_timeout(PATIENCE).unwrap();
    assert_eq!(line.get("r").pads().len(), pads, "no pad more or less");
    line.assert_no_error();
}

#[test]
fn with_wait_a_demuxer_goes_on_with_the_next_publisher() {
    let line = Line::play(
        "rtmpserversrc name=r port=0 ! flvdemux name=d  d.video ! queue ! appsink name=s sync=false  \
                           d.audio ! queue ! fakesink sync=false async=false",
    );
    let mut last = 0;
    for _ in 0..3 {
        let removed = line.signal("stream-ended");
        let source = Source::avc_aac().both(0, 10);
        let encoder = Encoder::connect(&line.url("live/x"));
        encoder.send(&source.frames);
        let samples = line.pull_many("s", 10);
        assert_eq!(samples.iter().map(bytes).collect::<Vec<_>>(), source.expected().video);
        assert!(pts(&samples[0]) >= last, "time goes on");
        last = pts(&samples[9]);
        encoder.leave();
        removed.recv_timeout(PATIENCE).unwrap();
    }
    line.assert_no_error();
}

#[test]
fn with_eos_the_stream_ends_after_the_last_frame_and_nobody_is_let_in_any_more() {
    for (text, sinks) in [(FLV, &["s"][..]), (BOTH, &["v", "a"])] {
        for leave in [Encoder::leave, Encoder::cut] {
            let line = Line::play(text);
            line.get("r").set_property_from_str("on-disconnect", "eos");
            let encoder = Encoder::connect(&line.url("live/x"));
            let frames = Source::avc_aac().both(0, 10).frames;
            encoder.send(&frames);
            line.wait_for_frames(20);
            leave(encoder);
            for sink in sinks {
                let expected = if *sink == "s" { frames.len() + 1 } else { 10 };
                line.pull_many(sink, expected);
                assert!(line.pull(sink).is_none());
            }
            line.message(gst::MessageType::Eos);
            let error = Encoder::try_connect(&line.url("live/x")).err().unwrap();
            assert!(error.contains("has ended"), "{error}");
        }
    }
}

#[test]
fn with_error_the_message_names_stream_and_reason() {
    let line = Line::play(FLV);
    line.get("r").set_property_from_str("on-disconnect", "error");
    line.pull_after_publishing(|encoder| encoder.leave());
    let error = line.error();
    assert!(
        error.contains("live/x") && error.contains("unpublished") && error.contains("127.0.0.1"),
        "{error}"
    );
}

#[test]
fn the_wait_for_a_publisher_can_be_limited_before_the_first_and_after_each() {
    let line = Line::make(FLV);
    line.get("r").set_property("wait-timeout", 200u32);
    line.pipeline.set_state(gst::State::Playing).unwrap();
    assert!(line.error().contains("Nobody has published for 200 ms"));

    let line = Line::play(FLV);
    line.pull_after_publishing(|encoder| encoder.leave());
    // Also while it waits.
    line.get("r").set_property("wait-timeout", 100u32);
    assert!(line.error().contains("Nobody has published for 100 ms"));

    let line = Line::make(FLV);
    line.get("r").set_property("wait-timeout", 100u32);
    line.get("r").set_property_from_str("on-disconnect", "eos");
    line.pipeline.set_state(gst::State::Playing).unwrap();
    line.message(gst::MessageType::Eos);
}

#[test]
fn an_end_that_is_asked_for_comes_with_a_publisher_and_is_an_error_without_pads() {
    for text in [FLV, BOTH] {
        let line = Line::play(text);
        let encoder = Encoder::connect(&line.url("live/x"));
        encoder.send(&Source::avc_aac().both(0, 3).frames);
        line.wait_for_frames(6);
        // An appsink says that it is at the end when it is empty.
        for (sink, count) in if text == FLV { [("s", 4), ("s", 6)] } else { [("v", 3), ("a", 3)] } {
            line.pull_many(sink, count);
        }
        line.pipeline.send_event(gst::event::Eos::new());
        line.message(gst::MessageType::Eos);
    }
    let line = Line::play(BOTH);
    line.pipeline.send_event(gst::event::Eos::new());
    assert!(line.error().contains("ended before a publisher came"));
}

#[test]
fn while_nobody_publishes_gaps_let_the_others_run_on() {
    let line = Line::play(BOTH);
    let encoder = Encoder::connect(&line.url("live/x"));
    encoder.send(&Source::avc_aac().both(0, 5).frames);
    let last = line.pull_many("a", 5).pop().unwrap();
    line.pull_many("v", 5);
    let gaps = line.events("a", gst::EventType::Gap);
    encoder.leave();
    let spans = [gaps.recv_timeout(PATIENCE).unwrap(), gaps.recv_timeout(PATIENCE).unwrap()];
    let spans = spans.map(|event| match event.view() {
        gst::EventView::Gap(gap) => gap.get(),
        _ => unreachable!(),
    });
    assert_eq!(spans[0].0.mseconds(), pts(&last));
    let end = |span: (gst::ClockTime, Option<gst::ClockTime>)| span.0 + span.1.unwrap();
    assert_eq!(end(spans[0]), spans[1].0, "without a hole");
    let encoder = Encoder::connect(&line.url("live/x"));
    encoder.send(&Source::avc_aac().both(0, 5).frames);
    assert!(pts(&line.pull("a").unwrap()) >= end(spans[1]).mseconds());
}

#[test]
fn a_taken_port_fails_the_start_with_address_and_cause() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let line = Line::make(FLV);
    line.get("r").set_property("port", u32::from(port));
    assert!(line.pipeline.set_state(gst::State::Ready).is_err());
    let error = line.error();
    assert!(
        error.contains(&format!("127.0.0.1:{port}")) && error.contains("Address already in use"),
        "{error}"
    );
    drop(taken);
    line.pipeline.set_state(gst::State::Null).unwrap();
    line.pipeline.set_state(gst::State::Ready).unwrap();
    assert_eq!(line.port(), u32::from(port));
    line.pipeline.set_state(gst::State::Null).unwrap();
    assert_eq!(line.port(), 0);
    TcpListener::bind(("127.0.0.1", port)).unwrap();
}

#[test]
fn what_is_changed_in_ready_holds_from_paused_on() {
    let line = Line::make(FLV);
    line.pipeline.set_state(gst::State::Ready).unwrap();
    let old = line.port();
    let free = free_port();
    line.get("r").set_property("port", u32::from(free));
    line.get("r").set_property("application", "other");
    line.pipeline.set_state(gst::State::Playing).unwrap();
    assert_ne!(line.port(), old);
    let encoder = Encoder::connect(&line.url("other/x"));
    // And not later.
    line.get("r").set_property("application", "third");
    assert_eq!(line.get("r").property::<String>("application"), "other");
    encoder.leave();
}

#[test]
fn it_is_live_and_reports_its_latency_before_and_after_there_are_pads() {
    for text in [FLV, BOTH] {
        let line = Line::make(text);
        let r = line.get("r");
        r.set_property("latency", 321u32);
        line.pipeline.set_state(gst::State::Paused).unwrap();
        let (result, _, _) = line.pipeline.state(gst::ClockTime::from_seconds(10));
        assert_eq!(result, Ok(gst::StateChangeSuccess::NoPreroll));
        let ask = |ask: &dyn Fn(&mut gst::query::Latency) -> bool| {
            let mut query = gst::query::Latency::new();
            assert!(ask(&mut query));
            let (is_live, min, max) = query.result();
            (is_live, min.mseconds(), max.map(gst::ClockTime::mseconds))
        };
        assert_eq!(ask(&|query| r.query(query)), (true, 321, Some(3_321)));
        line.pipeline.set_state(gst::State::Playing).unwrap();
        let encoder = Encoder::connect(&line.url("live/x"));
        encoder.send(&Source::avc_aac().both(0, 3).frames);
        let sink = if text == FLV { "s" } else { "v" };
        line.pull_many(sink, 3);
        let pad = line.get(sink).static_pad("sink").unwrap();
        assert_eq!(ask(&|query| pad.peer_query(query)), (true, 321, Some(3_321)), "through the pad");
    }
}

#[test]
fn a_pause_ends_nothing_and_time_goes_on_after_it() {
    let line = Line::play(BOTH);
    let mut source = Source::avc_aac().both(0, 5);
    let encoder = Encoder::connect(&line.url("live/x"));
    encoder.send(&source.take());
    let before = line.pull_many("v", 5).pop().unwrap();
    line.pull_many("a", 5);
    line.pipeline.set_state(gst::State::Paused).unwrap();
    line.pipeline.state(gst::ClockTime::from_seconds(5)).0.unwrap();
    line.pipeline.set_state(gst::State::Playing).unwrap();
    source = source.both(400, 5);
    encoder.send(&source.take());
    let after = line.pull_many("v", 5);
    assert!(pts(&after[0]) > pts(&before));
    line.assert_no_error();
}

#[test]
fn keyframe_requests_are_accepted_and_do_nothing() {
    let line = Line::play(BOTH);
    let encoder = Encoder::connect(&line.url("live/x"));
    encoder.send(&Source::avc_aac().both(0, 3).frames);
    line.pull_many("v", 3);
    let request = gst::event::CustomUpstream::new(gst::Structure::new_empty("GstForceKeyUnit"));
    assert!(line.get("v").static_pad("sink").unwrap().push_event(request));
    line.assert_no_error();
}

#[test]
fn a_stop_while_frames_come_is_quick_and_tells_the_publisher() {
    for text in [FLV, BOTH] {
        let line = Line::play(text);
        let removed = line.signal("stream-ended");
        let encoder = Encoder::connect(&line.url("live/x"));
        encoder.send(&Source::avc_aac().both(0, 100).frames);
        line.wait_for_frames(2);
        let start = std::time::Instant::now();
        line.pipeline.set_state(gst::State::Null).unwrap();
        assert!(start.elapsed() < at_most(std::time::Duration::from_millis(2_500)), "{:?}", start.elapsed());
        let (reason, last) = removed.recv_timeout(PATIENCE).unwrap();
        assert!(reason.contains("stopped"), "{reason}");
        assert!(last.get::<u64>("video-frames").unwrap() > 0);
        let said = encoder.closed();
        assert!(said.contains("stopped"), "{said}");
    }
}

/// Publishes frames with an engine that trusts any certificate.
fn push(url: &str, frames: Vec<Frame>) -> (Engine, Publisher) {
    let mut config = Config::default();
    config.tls.danger_accept_invalid_certs = true;
    let engine = Engine::builder().config(config).start().unwrap();
    let key: StreamKey = "a/b".parse().unwrap();
    engine.add_push(PushConfig::new(key.clone(), url.parse().unwrap())).unwrap();
    let publisher = engine.publish(&key).unwrap();
    frames.into_iter().for_each(|frame| publisher.push(frame).unwrap());
    (engine, publisher)
}

#[test]
fn rtmps_is_served_beside_rtmp_or_alone() {
    let files = Certificate::new();
    for only in ["false", "true"] {
        let port = free_port();
        let line = Line::play(&format!(
            "rtmpserversrc name=r port=0 tls-port={port} tls-only={only} tls-certificate={} tls-key={} ! appsink name=s \
             sync=false",
            files.certificate(),
            files.key()
        ));
        assert_eq!(line.port() == u32::from(port), only == "true", "the only port is that of RTMPS");
        let added = line.signal("stream-started");
        let _engine = push(&format!("rtmps://127.0.0.1:{port}/live/x"), Source::avc_aac().both(0, 3).frames);
        assert!(added.recv_timeout(PATIENCE).unwrap().1.get::<bool>("tls").unwrap());
        line.pull_many("s", 10);
    }
    let line = Line::make("rtmpserversrc name=r tls-port=1 ! fakesink");
    assert!(line.pipeline.set_state(gst::State::Ready).is_err());
    assert!(line.error().contains("tls-certificate"));
}
