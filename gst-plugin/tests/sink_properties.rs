//! Properties of the sink: all there, all described, and each does what it says, also when it changes while playing.

mod support;

use gst::glib;
use gst::prelude::*;
use std::time::{Duration, Instant};
use streamengine::Engine;
use streamengine::media::FrameKind::{Audio, Video};
use streamengine::testing::wait::at_most;
use streamengine_tests::{Fault, Proxy};
use support::{Feed, Pipeline, Player, Server, clip, free_port, stat_list, until};

/// What the interface promises: type, default as text, and the last state in which it may change (empty: read-only).
const PROPERTIES: &[(&str, &str, &str, &str)] = &[
    ("serve", "gboolean", "true", "ready"),
    ("address", "gchararray", "127.0.0.1", "ready"),
    ("port", "guint", "1935", "ready"),
    ("current-port", "guint", "0", ""),
    ("application", "gchararray", "live", "ready"),
    ("stream", "gchararray", "stream", "ready"),
    ("location", "gchararray", "", "playing"),
    ("targets", "GstValueArray", "<  >", "playing"),
    ("tls-port", "guint", "0", "ready"),
    ("tls-certificate", "gchararray", "", "ready"),
    ("tls-key", "gchararray", "", "ready"),
    ("http-port", "gint", "-1", "ready"),
    ("current-http-port", "guint", "0", ""),
    ("https-port", "gint", "-1", "ready"),
    ("current-https-port", "guint", "0", ""),
    ("http-dashboard", "gboolean", "true", "ready"),
    ("tls-validation", "gboolean", "true", "playing"),
    ("ca-file", "gchararray", "", "playing"),
    ("reconnect", "gboolean", "true", "playing"),
    ("reconnect-min", "guint", "1000", "playing"),
    ("reconnect-max", "guint", "30000", "playing"),
    ("max-reconnects", "gint", "-1", "playing"),
    ("connect-timeout", "guint", "5000", "playing"),
    ("write-timeout", "guint", "10000", "playing"),
    ("error-policy", "GstRtmpRelayErrorPolicy", "warn", "ready"),
    ("max-queue-time", "guint", "3000", "playing"),
    ("max-queue-bytes", "guint64", "8388608", "playing"),
    ("gop-cache", "gboolean", "true", "playing"),
    ("gop-cache-max-bytes", "guint64", "16777216", "playing"),
    ("request-keyframes", "gboolean", "true", "playing"),
    ("keyframe-interval-min", "guint", "1000", "playing"),
    ("wait-for-connection", "gboolean", "false", "playing"),
    ("max-players", "guint", "0", "playing"),
    ("chunk-size", "guint", "4096", "playing"),
    ("enhanced", "GstRtmpRelayEnhanced", "auto", "ready"),
    ("metadata", "GstStructure", "", "playing"),
    ("record-location", "gchararray", "", "playing"),
    ("record-format", "GstRtmpRelayRecordFormat", "flv", "ready"),
    ("record-segment-time", "guint", "3600000", "ready"),
    ("record-min-free-bytes", "guint64", "1073741824", "ready"),
    ("stop-commands", "GstRtmpRelayStopCommands", "FCUnpublish+deleteStream", "ready"),
    ("drain-timeout", "guint", "2000", "playing"),
    ("sync", "gboolean", "true", "playing"),
    ("ts-offset", "gint64", "0", "playing"),
    ("stats", "GstStructure", "", ""),
];

fn element() -> gst::Element {
    gst::ElementFactory::make("rtmprelaysink").build().unwrap()
}

#[test]
fn every_property_is_there_with_its_default_its_words_and_its_last_state() {
    let _limit = support::start("properties");
    let element = element();
    let playing = glib::ParamFlags::from_bits_retain(gst::PARAM_FLAG_MUTABLE_PLAYING.bits());
    let ready = glib::ParamFlags::from_bits_retain(gst::PARAM_FLAG_MUTABLE_READY.bits());
    let own: Vec<_> = element
        .list_properties()
        .iter()
        .filter(|spec| spec.owner_type() == element.type_())
        .cloned()
        .collect();
    for spec in &own {
        let name = spec.name();
        let known = PROPERTIES.iter().find(|(known, ..)| *known == name);
        let (_, kind, default, until) = known.unwrap_or_else(|| panic!("{name} is in no table"));
        assert_eq!(spec.value_type().name(), *kind, "{name}");
        assert!(!spec.nick().is_empty() && spec.nick() != name, "{name} has no nick");
        assert!(spec.blurb().is_some_and(|blurb| blurb.len() > 12), "{name} has no blurb");
        let flags = spec.flags();
        assert_eq!(flags.contains(playing), *until == "playing", "{name}");
        assert_eq!(flags.contains(ready), *until == "ready", "{name}");
        assert_eq!(flags.contains(glib::ParamFlags::WRITABLE), !until.is_empty(), "{name}");
        if !["stats", "metadata"].contains(&name) {
            let value = element.property_value(name);
            let text = match value.get::<Option<String>>() {
                Ok(text) => text.unwrap_or_default(),
                Err(_) => value.serialize().map(|text| text.to_string()).unwrap_or_default(),
            };
            assert_eq!(text, *default, "{name}");
        }
    }
    assert_eq!(own.len(), PROPERTIES.len());
}

#[test]
fn what_is_set_is_what_is_read_back() {
    let _limit = support::start("read back");
    let element = element();
    for (name, text) in [
        ("serve", "FALSE"),
        ("address", "0.0.0.0"),
        ("port", "0"),
        ("application", "a/b"),
        ("stream", "c"),
        ("location", "rtmp://a/b/c"),
        ("targets", "< rtmp://a/x, rtmp://b/y >"),
        ("tls-port", "443"),
        ("tls-certificate", "c.pem"),
        ("tls-key", "k.pem"),
        ("http-port", "0"),
        ("https-port", "8443"),
        ("http-dashboard", "FALSE"),
        ("tls-validation", "FALSE"),
        ("ca-file", "ca.pem"),
        ("reconnect", "FALSE"),
        ("reconnect-min", "1"),
        ("reconnect-max", "2"),
        ("max-reconnects", "3"),
        ("connect-timeout", "4"),
        ("write-timeout", "5"),
        ("error-policy", "any-failed"),
        ("max-queue-time", "6"),
        ("max-queue-bytes", "7"),
        ("gop-cache", "FALSE"),
        ("gop-cache-max-bytes", "8"),
        ("request-keyframes", "FALSE"),
        ("keyframe-interval-min", "9"),
        ("wait-for-connection", "TRUE"),
        ("max-players", "10"),
        ("chunk-size", "1024"),
        ("enhanced", "enhanced"),
        ("metadata", "m, a=(int)1;"),
        ("record-location", "/a/b"),
        ("record-format", "fmp4"),
        ("record-segment-time", "2000"),
        ("record-min-free-bytes", "13"),
        ("stop-commands", "closestream"),
        ("drain-timeout", "11"),
        ("sync", "FALSE"),
        ("ts-offset", "-12"),
    ] {
        element.set_property_from_str(name, text);
        let spec = element.find_property(name).unwrap();
        let expected = glib::Value::deserialize_with_pspec(text, &spec).unwrap();
        let value = element.property_value(name);
        assert_eq!(value.serialize().unwrap(), expected.serialize().unwrap(), "{name}");
    }
}

#[test]
fn ts_offset_delays_and_sync_can_be_switched_off_while_playing() {
    let _limit = support::start("ts-offset and sync");
    let directory = tempfile::tempdir().unwrap();
    let short = clip(directory.path(), 500);
    let start = Instant::now();
    Pipeline::play(&format!(
        "filesrc location={} ! flvdemux : rtmprelaysink name=s port=0 ts-offset=1000000000",
        short.display()
    ))
    .eos();
    assert!(start.elapsed() >= Duration::from_millis(1_400), "EOS after {:?}", start.elapsed());
    let raw = Pipeline::play(&format!(
        "filesrc location={} ! rtmprelaysink name=s port=0 ts-offset=1000000000",
        short.display()
    ));
    let start = Instant::now();
    raw.eos();
    assert!(start.elapsed() >= Duration::from_millis(1_300), "raw FLV: EOS after {:?}", start.elapsed());

    let long = clip(directory.path(), 9_000);
    let pipeline = Pipeline::play(&format!(
        "filesrc location={} ! flvdemux : rtmprelaysink name=s port=0 gop-cache=false",
        long.display()
    ));
    let player = Player::join(&pipeline.url());
    player.wait_for(Video, 5);
    let start = Instant::now();
    pipeline.sink().set_property("sync", false);
    pipeline.eos();
    assert!(start.elapsed() < at_most(Duration::from_secs(4)), "EOS after {:?}", start.elapsed());
}

#[test]
fn a_target_is_given_up_after_max_reconnects() {
    let _limit = support::start("max-reconnects");
    let mut feed = Feed::start(&format!(
        "max-reconnects=2 reconnect-min=10 reconnect-max=20 location=rtmp://127.0.0.1:{}/live/x",
        free_port()
    ));
    feed.push_gop(2, 100);
    let failed = feed.pipeline.target_state(1, "failed");
    assert_eq!(failed.get::<u64>("attempt"), Ok(3));
    assert!(failed.get::<u64>("next-retry-ms").is_err());
    // One more may be allowed while it plays.
    feed.sink().set_property("max-reconnects", -1);
    assert!(feed.sink().emit_by_name::<bool>("restart-target", &[&1_u32]));
    feed.pipeline.target_state(1, "backing-off");
    assert!(!feed.sink().emit_by_name::<bool>("restart-target", &[&2_u32]));
}

#[test]
fn waits_between_attempts_grow_from_reconnect_min_to_reconnect_max() {
    let _limit = support::start("reconnect-min and -max");
    let mut feed = Feed::start(&format!(
        "reconnect-min=100 reconnect-max=250 location=rtmp://127.0.0.1:{}/live/x",
        free_port()
    ));
    feed.push_gop(2, 100);
    let waits: Vec<_> = (0..4)
        .map(|_| feed.pipeline.target_state(1, "backing-off").get::<u64>("next-retry-ms").unwrap())
        .collect();
    // With up to a fifth of jitter, and what has passed since.
    assert!((60..=125).contains(&waits[0]), "{waits:?}");
    assert!(waits[2..].iter().all(|wait| (150..=310).contains(wait)), "{waits:?}");
}

#[test]
fn a_target_that_takes_nothing_is_stalled_and_lost_after_write_timeout_and_the_player_sees_nothing_of_it() {
    let _limit = support::start("write-timeout");
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let mut feed =
        Feed::start(&format!("write-timeout=800 location=rtmp://127.0.0.1:{}/live/x", proxy.address.port()));
    feed.push_gop(2, 100);
    let player = Player::join(&feed.pipeline.url());
    // It has joined: later it would start at a later keyframe.
    player.wait_for(Video, 3);
    server.record("x").wait_for(Video, 3);
    feed.pipeline.target_state(1, "publishing");
    proxy.set(Fault::Stuck);
    for gop in 1..=12 {
        feed.push_gop(9, 100_000);
        // One that is behind on a busy machine would go on at a later keyframe.
        player.wait_for(Video, 3 + 10 * gop);
    }
    feed.pipeline.target_state(1, "stalled");
    let lost = feed.pipeline.warning();
    assert!(lost.matches(gst::ResourceError::Write), "{lost}");
    assert!(lost.to_string().contains("taken nothing for 800 ms"), "{lost}");
    player.wait_for(Video, 123);
}

#[test]
fn targets_get_chunks_of_chunk_size() {
    let _limit = support::start("chunk-size");
    let server = Server::start();
    let announcement = |size: u32| [&[2, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0], &size.to_be_bytes()[..]].concat();
    let proxies = [Proxy::to(server.address()), Proxy::to(server.address())];
    let mut feed = Feed::start(&format!("location=rtmp://127.0.0.1:{}/live/a", proxies[0].address.port()));
    feed.push_gop(2, 30_000);
    let recording = server.record("a");
    recording.wait_for(Video, 3);
    assert!(proxies[0].has_seen(&announcement(4_096)));
    feed.sink().set_property("chunk-size", 1_000_u32);
    feed.sink().set_property("location", format!("rtmp://127.0.0.1:{}/live/b", proxies[1].address.port()));
    let recording = server.record("b");
    recording.wait_for(Video, 3);
    assert!(proxies[1].has_seen(&announcement(1_000)));
    let player = Player::join(&feed.pipeline.url());
    player.wait_for(Video, 3);
    let both = [recording.frames(), player.frames()].map(|frames| {
        frames.into_iter().filter(|frame| frame.kind == Video).map(|frame| frame.payload).collect::<Vec<_>>()
    });
    assert!(both[0] == both[1], "the frames are whole");
}

#[test]
fn an_rtmps_target_must_show_a_certificate_that_ca_file_knows() {
    let _limit = support::start("ca-file");
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = support::certificate(directory.path());
    let engine = Engine::builder().start().unwrap();
    let listener = engine.listen_rtmps(([127, 0, 0, 1], 0).into(), &certificate, &key).unwrap();
    let (server, port) = (Server { engine, port: listener.address.port() }, listener.address.port());
    let url = |stream: &str| format!("rtmps://127.0.0.1:{port}/live/{stream}");
    let mut feed = Feed::start(&format!("reconnect-min=60000 location={}", url("a")));
    feed.push_gop(2, 100);
    let refused = feed.pipeline.warning();
    assert!(refused.to_string().to_lowercase().contains("certificate"), "{refused}");
    feed.sink().set_property("ca-file", certificate.to_str().unwrap());
    assert!(feed.sink().emit_by_name::<bool>("restart-target", &[&1_u32]));
    server.record("a").wait_for(Video, 3);
    feed.sink().set_property("ca-file", None::<String>);
    feed.sink().set_property("tls-validation", false);
    feed.sink().set_property("location", url("b"));
    server.record("b").wait_for(Video, 3);
}

#[test]
fn a_stream_waits_for_its_first_receiver_where_it_is_to_and_goes_on_when_told_not_to() {
    let _limit = support::start("wait-for-connection");
    let directory = tempfile::tempdir().unwrap();
    let file = clip(directory.path(), 500);
    let line = format!(
        "filesrc location={} ! flvdemux : rtmprelaysink name=s port=0 sync=false wait-for-connection=true",
        file.display()
    );
    // A target that connects is a receiver too.
    let server = Server::start();
    let recording = server.record("x");
    let pipeline = Pipeline::play(&format!("{line} location={}", server.url("x")));
    pipeline.eos();
    recording.wait_for(Video, support::payloads(&support::clip_frames(500), Video).len());

    let pipeline = Pipeline::play(&line);
    let early = pipeline.bus.timed_pop_filtered(gst::ClockTime::from_mseconds(300), &[gst::MessageType::Eos]);
    assert!(early.is_none(), "it did not wait");
    pipeline.sink().set_property("wait-for-connection", false);
    pipeline.eos();
    // Waiting does not hold up the way back either.
    let pipeline = Pipeline::play(&line);
    let stop = Instant::now();
    pipeline.stop();
    assert!(stop.elapsed() < at_most(Duration::from_secs(2)), "{:?}", stop.elapsed());
}

#[test]
fn a_stream_that_waits_holds_up_no_change_of_state() {
    let _limit = support::start("changes of state");
    let line = "audiotestsrc num-buffers=40 ! alawenc ! rtmprelaysink name=s port=0 wait-for-connection=true";
    for _ in 0..60 {
        let pipeline = Pipeline::play(line);
        pipeline.pipeline.set_state(gst::State::Paused).unwrap();
        pipeline.pipeline.set_state(gst::State::Playing).unwrap();
        pipeline.stop();
    }
    let pipeline = Pipeline::play(line);
    pipeline.pipeline.set_state(gst::State::Paused).unwrap();
    pipeline.pipeline.set_state(gst::State::Playing).unwrap();
    let player = Player::join(&pipeline.url());
    pipeline.eos();
    pipeline.stop();
    assert_eq!(support::payloads(&player.until_end(), Audio).len(), 40, "nothing is lost by a pause");
}

#[test]
fn the_last_seconds_of_a_target_are_waited_for_at_the_end_but_not_longer_than_drain_timeout() {
    let _limit = support::start("drain-timeout");
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let mut feed = Feed::start(&format!(
        "drain-timeout=5000 max-queue-bytes=0 max-queue-time=0 location=rtmp://127.0.0.1:{}/live/x",
        proxy.address.port()
    ));
    feed.push_gop(2, 100);
    server.record("x").wait_for(Video, 3);
    feed.pipeline.target_state(1, "publishing");
    proxy.set(Fault::Stuck);
    (0..12).for_each(|_| feed.push_gop(9, 100_000));
    feed.sink().set_property("drain-timeout", 600_u32);
    let queue = || stat_list(&feed.sink(), "targets-list")[0].get::<gst::ClockTime>("queue-time").unwrap();
    until("it is behind", || !queue().is_zero());
    let source = feed.pipeline.pipeline.by_name("a").unwrap();
    let end = Instant::now();
    assert_eq!(source.emit_by_name::<gst::FlowReturn>("end-of-stream", &[]), gst::FlowReturn::Ok);
    feed.pipeline.eos();
    let took = end.elapsed();
    assert!((Duration::from_millis(600)..Duration::from_millis(1_100)).contains(&took), "EOS after {took:?}");
}
