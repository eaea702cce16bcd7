//! Each property is described, says when it may be changed, and does what it says.

use crate::support::*;
use gst::glib::ParamFlags;
use gst::prelude::*;
use std::time::{Duration, Instant};

/// Name, and the last state in which it may be changed; `None` = read-only.
const PROPERTIES: [(&str, Option<gst::State>); 19] = [
    ("address", Some(gst::State::Ready)),
    ("port", Some(gst::State::Ready)),
    ("current-port", None),
    ("application", Some(gst::State::Ready)),
    ("stream", Some(gst::State::Ready)),
    ("publish-key", Some(gst::State::Ready)),
    ("tls-certificate", Some(gst::State::Ready)),
    ("tls-key", Some(gst::State::Ready)),
    ("tls-port", Some(gst::State::Ready)),
    ("tls-only", Some(gst::State::Ready)),
    ("latency", Some(gst::State::Ready)),
    ("timestamp-mode", Some(gst::State::Ready)),
    ("on-disconnect", Some(gst::State::Playing)),
    ("takeover", Some(gst::State::Playing)),
    ("wait-timeout", Some(gst::State::Playing)),
    ("idle-timeout", Some(gst::State::Playing)),
    ("max-queue-time", Some(gst::State::Playing)),
    ("max-queue-bytes", Some(gst::State::Playing)),
    ("stats", None),
];

#[test]
fn properties_say_what_they_are_and_when_they_may_be_changed() {
    register();
    let element = gst::ElementFactory::make("rtmpserversrc").build().unwrap();
    let own = |pspec: &&gst::glib::ParamSpec| pspec.owner_type() == element.type_();
    let all = element.list_properties();
    let mut names: Vec<_> = all.iter().filter(own).map(|pspec| pspec.name()).collect();
    let mut expected: Vec<_> = PROPERTIES.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    expected.sort_unstable();
    assert_eq!(names, expected);
    for (name, state) in PROPERTIES {
        let pspec = element.find_property(name).unwrap();
        assert!(pspec.nick() != name && !pspec.nick().is_empty(), "{name}: {}", pspec.nick());
        assert!(pspec.blurb().is_some_and(|blurb| blurb.len() > 10), "{name}");
        let flags = pspec.flags().bits();
        let (ready, playing) = (gst::PARAM_FLAG_MUTABLE_READY.bits(), gst::PARAM_FLAG_MUTABLE_PLAYING.bits());
        let mutable = (flags & ready != 0, flags & playing != 0);
        let expected = (state == Some(gst::State::Ready), state == Some(gst::State::Playing));
        assert_eq!(mutable, expected, "{name}");
        assert_eq!(pspec.flags().contains(ParamFlags::WRITABLE), state.is_some(), "{name}");
        assert_eq!(pspec.flags().contains(ParamFlags::READABLE), name != "publish-key", "{name}");
    }
    for port in ["port", "tls-port", "current-port"] {
        let pspec = element.find_property(port).unwrap();
        let range = pspec.downcast_ref::<gst::glib::ParamSpecUInt>().unwrap();
        assert_eq!((range.minimum(), range.maximum()), (0, 65_535), "{port}");
    }
}

#[test]
fn a_clocked_sink_shows_frames_after_the_latency_and_the_publishers_distances() {
    let line = Line::make(
        "rtmpserversrc name=r port=0 latency=300  r.video ! fakesink name=s signal-handoffs=true sync=true",
    );
    let (out, shown) = std::sync::mpsc::channel();
    let sink = line.get("s");
    let probe = sink.downgrade();
    sink.connect("handoff", false, move |values| {
        let buffer = values[1].get::<gst::Buffer>().unwrap();
        let now = probe.upgrade().unwrap().current_running_time().unwrap();
        out.send((buffer.dts().unwrap(), now)).unwrap();
        None
    });
    line.pipeline.set_state(gst::State::Playing).unwrap();
    let encoder = Encoder::connect(&line.url("live/x"));
    encoder.send(&Source::avc_aac().both(0, 10).frames);
    for _ in 0..10 {
        let (dts, now) = shown.recv_timeout(PATIENCE).unwrap();
        let after = now.saturating_sub(dts);
        // A busy machine may show it later, never earlier.
        assert!((295..2_000).contains(&after.mseconds()), "{after}");
    }
    line.assert_no_error();
}

/// The decoding times of `count` video frames, of which the publisher sends 10 at once, in milliseconds.
fn times(mode: &str) -> Vec<u64> {
    let line = Line::play(&format!(
        "rtmpserversrc name=r port=0 timestamp-mode={mode}  r.video ! appsink name=s sync=false"
    ));
    let encoder = Encoder::connect(&line.url("live/x"));
    encoder.send(&Source::avc_aac().both(0, 30).frames);
    let samples = line.pull_many("s", 30);
    samples.iter().map(|sample| sample.buffer().unwrap().dts().unwrap().mseconds()).collect()
}

#[test]
fn time_stamps_follow_the_publishers_clock_or_the_arrival() {
    let publisher = times("publisher");
    assert_eq!(publisher[29] - publisher[0], 29 * 40);
    let arrival = times("arrival");
    // They came within a moment.
    assert!(arrival[29] - arrival[0] < 29 * 40 / 2, "{arrival:?}");
}

#[test]
fn frames_wait_no_longer_than_max_queue_time() {
    let line = Line::play(
        "rtmpserversrc name=r port=0 max-queue-time=100 ! appsink name=s sync=false max-buffers=1",
    );
    let stat = |name| line.get("r").property::<gst::Structure>("stats").get::<u64>(name).unwrap();
    let encoder = Encoder::connect(&line.url("live/x"));
    let mut source = Source::avc_aac().both(0, 10);
    encoder.send(&source.take());
    line.wait_for_frames(20);
    assert_eq!(stat("frames-dropped"), 0);
    // Wall-clock time is what this is about.
    let start = Instant::now();
    until("age", || start.elapsed() > Duration::from_millis(150));
    source = source.both(400, 1);
    encoder.send(&source.take());
    line.wait_for_frames(22);
    let dropped = stat("frames-dropped");
    assert!(dropped >= 15, "{dropped}");
    // And with no bound nothing is dropped.
    line.get("r").set_property("max-queue-time", 0u32);
    let start = Instant::now();
    until("age", || start.elapsed() > Duration::from_millis(150));
    source = source.both(440, 10);
    encoder.send(&source.take());
    line.wait_for_frames(42);
    assert_eq!(stat("frames-dropped"), dropped);
    line.assert_no_error();
}
