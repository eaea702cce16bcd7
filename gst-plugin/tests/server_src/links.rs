//! Ways to link the element, and its URIs.

use crate::support::*;
use gst::prelude::*;
use std::sync::mpsc;
use streamengine::media::{Frame, FrameKind};

/// Publishes the demonstration file until `is_enough`.
fn publish_demo(url: &str) -> Encoder {
    let encoder = Encoder::connect(url);
    encoder.send(&demo(400));
    encoder
}

/// Plays a line with the sink `s`, publishes, and expects `count` buffers to arrive there without an error.
fn arrives(text: &str, count: usize) {
    let line = Line::play(text);
    let _encoder = publish_demo(&line.url("live/x"));
    line.pull_many("s", count);
    line.assert_no_error();
}

#[test]
fn demuxers_parsers_and_decoders_link_as_users_write_it() {
    for text in [
        "rtmpserversrc name=r port=0 ! flvdemux name=d  d.video ! queue ! appsink name=s sync=false  d.audio ! queue ! \
         fakesink sync=false async=false",
        "rtmpserversrc name=r port=0 ! queue ! flvdemux ! h264parse ! appsink name=s sync=false",
        "rtmpserversrc name=r port=0 ! h264parse ! appsink name=s sync=false",
        "rtmpserversrc name=r port=0 ! aacparse ! appsink name=s sync=false",
        "rtmpserversrc name=r port=0  r.video ! h264parse ! queue ! appsink name=s sync=false  r.audio ! aacparse ! queue ! \
         fakesink sync=false async=false",
    ] {
        eprintln!("{text}");
        arrives(text, 30);
    }
}

#[test]
fn only_one_track_linked_or_none_at_all_is_no_error() {
    for (pad, count) in [("video", 50), ("audio", 50)] {
        arrives(&format!("rtmpserversrc name=r port=0  r.{pad} ! appsink name=s sync=false"), count);
    }
    let line = Line::play("rtmpserversrc name=r port=0");
    let encoder = publish_demo(&line.url("live/x"));
    line.wait_for_frames(100);
    encoder.leave();
    line.assert_no_error();
}

#[test]
fn a_pad_that_is_linked_late_starts_with_a_keyframe() {
    let line = Line::play("rtmpserversrc name=r port=0");
    let (out, pads) = mpsc::channel();
    line.get("r").connect_pad_added(move |_, pad| out.send(pad.clone()).unwrap());
    let mut source = Source::avc_aac().both(0, 5);
    let encoder = Encoder::connect(&line.url("live/x"));
    encoder.send(&source.take());
    let names = [0, 1].map(|_| pads.recv_timeout(PATIENCE).unwrap());
    let video = names.iter().find(|pad| pad.name() == "video").unwrap();
    assert!(
        video.current_caps().unwrap().to_string().starts_with("video/x-h264"),
        "known before it is linked"
    );
    until("empty queue", || {
        line.get("r").property::<gst::Structure>("stats").get::<u64>("queue-bytes").unwrap() == 0
    });
    let sink = gst::ElementFactory::make("appsink").name("s").property("sync", false).build().unwrap();
    line.pipeline.add(&sink).unwrap();
    sink.sync_state_with_parent().unwrap();
    video.link(&sink.static_pad("sink").unwrap()).unwrap();
    source = source.video(streamengine::media::flv::Codec::H264, 200, false).both(240, 10);
    encoder.send(&source.take());
    assert!(!flags(&line.pull("s").unwrap()).contains(gst::BufferFlags::DELTA_UNIT));
    line.assert_no_error();
}

#[test]
fn no_more_pads_comes_once_both_are_there_or_as_metadata_says() {
    let line = Line::play("rtmpserversrc name=r port=0");
    let (out, told) = mpsc::channel();
    line.get("r").connect_no_more_pads(move |r| out.send(r.src_pads().len()).unwrap());
    let encoder = Encoder::connect(&line.url("live/x"));
    encoder.send(&Source::avc_aac().both(0, 5).frames);
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), 3, "src, video and audio");
    drop(line);

    let line = Line::play("rtmpserversrc name=r port=0");
    let (out, told) = mpsc::channel();
    line.get("r").connect_no_more_pads(move |r| out.send(r.src_pads().len()).unwrap());
    let encoder = Encoder::connect(&line.url("live/x"));
    let mut audio_only = Source::avc_aac();
    audio_only.frames = vec![streamengine::media::metadata::on_metadata(
        0,
        &[("audiocodecid", streamengine::media::metadata::Value::Number(10.0))],
    )];
    encoder.send(&audio_only.take());
    encoder.send(&Source::avc_aac().frames[2..]);
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), 2);
}

#[test]
fn decodebin_and_uridecodebin_decode_what_is_published() {
    register();
    if gst::ElementFactory::find("avdec_h264").is_none() {
        eprintln!("SKIPPED: there is no H.264 decoder");
        return;
    }
    let text = "rtmpserversrc name=r port=0 ! decodebin name=d  d. ! video/x-raw ! appsink name=s sync=false";
    arrives(text, 20);

    let free = free_port();
    let line = Line::play(&format!(
        "uridecodebin uri=rtmpserver://127.0.0.1:{free}/live/in?key=k  name=d  d. ! video/x-raw ! appsink name=s sync=false"
    ));
    let url = |path: &str| local_url(free, path);
    assert!(Encoder::try_connect(&url("live/in")).is_err(), "the key of the URI holds");
    let _encoder = publish_demo(&url("live/in?key=k"));
    line.pull_many("s", 20);
    line.assert_no_error();
}

#[test]
fn uris_are_handled_without_auto_plugging_for_rtmp() {
    register();
    let factory = gst::ElementFactory::find("rtmpserversrc").unwrap();
    assert_eq!(factory.rank(), gst::Rank::NONE);
    let made = gst::Element::make_from_uri(gst::URIType::Src, "rtmpserver://127.0.0.1:1/a/b", None).unwrap();
    assert_eq!(made.factory().unwrap(), factory);
    assert_eq!(made.property::<String>("stream"), "b");
    let handler = made.dynamic_cast_ref::<gst::URIHandler>().unwrap();
    handler.set_uri("rtmpsserver://[::1]/a").unwrap();
    assert_eq!(handler.uri().unwrap(), "rtmpsserver://[::1]:443/a");
    assert!(handler.set_uri("rtmpserver://h:x/a").is_err());
    for scheme in ["rtmp", "rtmps"] {
        let other = gst::Element::make_from_uri(gst::URIType::Src, &format!("{scheme}://h/a/b"), None);
        assert!(other.map_or(true, |other| other.factory().unwrap() != factory));
    }
}

#[test]
fn two_sources_share_one_port_with_two_names_and_not_with_one() {
    let one = Line::play("rtmpserversrc name=r port=0 stream=a ! appsink name=s sync=false");
    let free = free_port();
    drop(one);
    let text =
        |stream| format!("rtmpserversrc name=r port={free} stream={stream} ! appsink name=s sync=false");
    let (one, two) = (Line::play(&text("a")), Line::play(&text("b")));
    for (line, path) in [(&one, "live/a"), (&two, "live/b")] {
        let encoder = Encoder::connect(&line.url(path));
        encoder.send(&Source::avc_aac().both(0, 2).frames);
        line.pull_many("s", 8);
    }
    let three = Line::make(&text("a"));
    assert!(three.pipeline.set_state(gst::State::Ready).is_err());
    let error = three.error();
    assert!(error.contains("live/a") && error.contains("r has it"), "{error}");
}

#[test]
fn a_source_feeds_a_relay_sink_on_the_same_port() {
    let free = free_port();
    let line = Line::play(&format!(
        "rtmpserversrc name=r port={free} stream=in latency=0 ! rtmprelaysink port={free} stream=out sync=false"
    ));
    let encoder = Encoder::connect(&line.url("live/in"));
    let player = streamengine::Engine::builder().start().unwrap();
    let key: streamengine::StreamKey = "p/x".parse().unwrap();
    let pull = streamengine::PullConfig::new(line.url("live/out").parse().unwrap(), key.clone());
    let mut subscriber = player.subscribe(&key).unwrap();
    player.add_pull(pull).unwrap();
    let frames = Source::avc_aac().both(0, 60).frames;
    let (first, rest) = frames.split_at(3);
    encoder.send(first);
    encoder.send(&rest[..2]);
    // The player is there; what comes from now on it gets.
    let mut got = vec![subscriber.blocking_next(PATIENCE).unwrap().unwrap()];
    encoder.send(&rest[2..]);
    while got.iter().filter(|frame| !frame.is_config()).count() < 120 {
        got.push(subscriber.blocking_next(PATIENCE).unwrap().unwrap());
    }
    let coded = |frames: &[Frame], kind| -> Vec<Frame> {
        frames.iter().filter(|frame| frame.kind == kind && !frame.is_config()).cloned().collect()
    };
    let [sent_video, got_video] = [&frames, &got].map(|frames| coded(frames, FrameKind::Video));
    let [sent_audio, got_audio] = [&frames, &got].map(|frames| coded(frames, FrameKind::Audio));
    let offset = got_video[0].timestamp - sent_video[0].timestamp;
    for (sent, got) in sent_video.iter().zip(&got_video).chain(sent_audio.iter().zip(&got_audio)) {
        assert_eq!(sent.payload, got.payload);
        assert_eq!(got.timestamp - sent.timestamp, offset, "audio and video keep their distance");
    }
    line.assert_no_error();
}
