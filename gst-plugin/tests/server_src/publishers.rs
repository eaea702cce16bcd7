//! Who may publish, and what the application is told and can do.

use crate::support::*;
use gst::prelude::*;
use std::time::Duration;
use streamengine::testing::wait::at_most;

const LINE: &str = "rtmpserversrc name=r port=0 stream=x ! fakesink sync=false";

#[test]
fn the_key_opens_in_both_forms_and_nothing_else_does() {
    let line = Line::play(
        "rtmpserversrc name=r port=0 application=live stream=x publish-key=s3cret takeover=replace ! fakesink",
    );
    for wrong in ["live/x", "live/x?key=", "live/x?key=s3cre", "live/x:s3crett", "live/x?other=s3cret"] {
        let error = Encoder::try_connect(&line.url(wrong)).err().unwrap();
        assert!(error.contains("publish key"), "{wrong}: {error}");
    }
    for right in ["live/x?key=s3cret", "live/x:s3cret"] {
        Encoder::connect(&line.url(right)).leave();
    }
    let r = line.get("r");
    assert_eq!(r.property::<gst::Structure>("stats").get::<u64>("publishers-refused").unwrap(), 5);
    assert!(r.find_property("publish-key").unwrap().flags().contains(gst::glib::ParamFlags::WRITABLE));
    assert!(!r.find_property("publish-key").unwrap().flags().contains(gst::glib::ParamFlags::READABLE));
}

#[test]
fn other_names_are_refused_and_without_a_name_any_of_the_application_will_do() {
    let line = Line::play(LINE);
    for other in ["live/y", "other/x", "live/x/x"] {
        assert!(Encoder::try_connect(&line.url(other)).is_err(), "{other}");
    }
    drop(line);
    let line = Line::play("rtmpserversrc name=r port=0 application=a/b ! fakesink");
    assert!(Encoder::try_connect(&line.url("a/x")).is_err());
    for any in ["a/b/x", "a/b/y"] {
        let removed = line.signal("stream-ended");
        Encoder::connect(&line.url(any)).leave();
        removed.recv_timeout(PATIENCE).unwrap();
    }
}

#[test]
fn a_second_publisher_is_refused_or_replaces_the_first() {
    let line = Line::play("rtmpserversrc name=r port=0 ! appsink name=s sync=false");
    let (added, removed) = (line.signal("stream-started"), line.signal("stream-ended"));
    let first = Encoder::connect(&line.url("live/x"));
    first.send(&Source::avc_aac().both(0, 2).frames);
    line.pull_many("s", 8);
    // Also under another name: the element takes one at a time.
    for second in ["live/x", "live/y"] {
        let error = Encoder::try_connect(&line.url(second)).err().unwrap();
        assert!(error.contains("already publishing"), "{error}");
    }
    added.recv_timeout(PATIENCE).unwrap();
    line.get("r").set_property_from_str("takeover", "replace");
    let mut present = first;
    for next in ["live/x", "live/y", "live/x"] {
        let second = Encoder::connect(&line.url(next));
        let said = std::mem::replace(&mut present, second).closed();
        assert!(said.contains("taken over"), "{said}");
        present.send(&Source::avc_aac().both(0, 2).frames);
        let samples = line.pull_many("s", 7);
        let discont = samples.iter().filter(|sample| flags(sample).contains(gst::BufferFlags::DISCONT));
        assert_eq!(discont.count(), 1);
        let (reason, _) = removed.recv_timeout(PATIENCE).unwrap();
        assert!(reason.contains("taken over"), "{reason}");
        added.recv_timeout(PATIENCE).unwrap();
    }
    line.assert_no_error();
}

#[test]
fn the_application_is_asked_and_told_with_facts_and_final_figures() {
    let line = Line::play("rtmpserversrc name=r port=0 ! appsink name=s sync=false");
    let (asked, seen) = std::sync::mpsc::channel();
    line.get("r").connect("publisher-connecting", false, move |values| {
        let info = values[1].get::<gst::Structure>().unwrap();
        let is_welcome = info.get::<String>("stream").unwrap() != "unwanted";
        asked.send(info).unwrap();
        Some(is_welcome.to_value())
    });
    let (added, removed) = (line.signal("stream-started"), line.signal("stream-ended"));
    let error = Encoder::try_connect(&line.url("live/unwanted")).err().unwrap();
    assert!(error.contains("refused by the receiving application"), "{error}");
    seen.recv_timeout(PATIENCE).unwrap();
    let encoder = Encoder::connect(&line.url("live/x?token=hidden"));
    let info = seen.recv_timeout(PATIENCE).unwrap();
    assert!(!info.to_string().contains("hidden"), "{info}");
    assert_eq!(info.get::<String>("application").unwrap(), "live");
    assert!(info.get::<String>("address").unwrap().starts_with("127.0.0.1:"));
    assert_eq!(added.recv_timeout(PATIENCE).unwrap().1, info);
    let source = Source::avc_aac().both(0, 20);
    encoder.send(&source.frames);
    line.pull_many("s", source.frames.len());
    let stats = line.get("r").property::<gst::Structure>("stats");
    let publisher = stats.get::<gst::Structure>("publisher").unwrap();
    assert_eq!(publisher.get::<u64>("video-frames").unwrap(), 20);
    encoder.leave();
    let (reason, last) = removed.recv_timeout(PATIENCE).unwrap();
    assert_eq!(reason, "unpublished");
    assert_eq!(last.get::<u32>("id").unwrap(), info.get::<u32>("id").unwrap());
    assert_eq!(last.get::<u64>("audio-frames").unwrap(), 20);
    assert_eq!(last.get::<u64>("keyframes").unwrap(), 2);
    assert_eq!(last.get::<String>("video-codec").unwrap(), "H.264");
    let sent: usize = source.frames.iter().map(|frame| frame.payload.len()).sum();
    assert_eq!(last.get::<u64>("bytes-in").unwrap(), sent as u64);
    let stats = line.get("r").property::<gst::Structure>("stats");
    assert!(!stats.has_field("publisher"), "nobody there is not an empty somebody: {stats}");
    assert_eq!(stats.get::<u64>("publishers-total").unwrap(), 1);
}

#[test]
fn a_publisher_can_be_kicked_and_hears_why() {
    let line = Line::play(LINE);
    let kick = |reason: &str| line.get("r").emit_by_name::<bool>("kick-publisher", &[&reason]);
    assert!(!kick("nobody there"));
    let removed = line.signal("stream-ended");
    let encoder = Encoder::connect(&line.url("live/x"));
    assert!(kick("not in this house"));
    assert!(removed.recv_timeout(PATIENCE).unwrap().0.contains("not in this house"));
    let said = encoder.closed();
    assert!(said.contains("not in this house"), "{said}");
    Encoder::connect(&line.url("live/x")).leave();
}

#[test]
fn a_silent_publisher_is_closed_after_the_idle_timeout_which_may_change_while_it_is_silent() {
    let line = Line::play(LINE);
    let removed = line.signal("stream-ended");
    let encoder = Encoder::connect(&line.url("live/x"));
    encoder.send(&Source::avc_aac().both(0, 2).frames);
    line.get("r").set_property("idle-timeout", 300u32);
    assert_eq!(removed.recv_timeout(PATIENCE).unwrap().0, "closed by the operator: no media for 300 ms");
    assert!(encoder.closed().contains("no media for 300 ms"));
}

#[test]
fn nobody_may_publish_before_paused_nor_play_at_all() {
    let line = Line::make(LINE);
    line.pipeline.set_state(gst::State::Ready).unwrap();
    let error = Encoder::try_connect(&line.url("live/x")).err().unwrap();
    assert!(error.contains("does not run"), "{error}");
    line.pipeline.set_state(gst::State::Playing).unwrap();
    let encoder = Encoder::connect(&line.url("live/x"));
    let engine = streamengine::Engine::builder().start().unwrap();
    let mut pull = streamengine::PullConfig::new(line.url("live/x").parse().unwrap(), "a/b".parse().unwrap());
    pull.on_refusal = streamengine::OnRefusal::Fail;
    let id = engine.add_pull(pull).unwrap();
    until("refusal", || engine.relay(id).unwrap().state == streamengine::RelayState::Failed);
    assert!(engine.relay(id).unwrap().last_error.unwrap().contains("only be published"));
    encoder.leave();
}

#[test]
fn a_slow_handler_delays_nobody_but_the_newcomer() {
    let line = Line::play("rtmpserversrc name=r port=0 takeover=replace ! appsink name=s sync=false");
    let encoder = Encoder::connect(&line.url("live/x"));
    encoder.send(&Source::avc_aac().both(0, 1).frames);
    line.pull_many("s", 6);
    let (entered, is_in) = std::sync::mpsc::channel();
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    line.get("r").connect("publisher-connecting", false, move |_| {
        entered.send(()).unwrap();
        let _ = wait.lock().unwrap().recv_timeout(Duration::from_secs(10));
        Some(false.to_value())
    });
    std::thread::scope(|scope| {
        let second = scope.spawn(|| Encoder::try_connect(&line.url("live/x")).is_err());
        is_in.recv_timeout(PATIENCE).unwrap();
        encoder.send(&Source::avc_aac().both(40, 25).frames[3..]);
        line.pull_many("s", 50);
        drop(go);
        assert!(second.join().unwrap());
    });
}

#[test]
fn handlers_may_stop_the_pipeline() {
    for signal in ["publisher-connecting", "stream-started", "stream-ended", "pad-added"] {
        let line = Line::play("rtmpserversrc name=r port=0");
        let (out, seen) = std::sync::mpsc::channel();
        let pipeline = line.pipeline.downgrade();
        line.get("r").connect(signal, false, move |_| {
            let start = std::time::Instant::now();
            let stopped = pipeline.upgrade().unwrap().set_state(gst::State::Null);
            let _ = out.send((stopped, start.elapsed()));
            (signal == "publisher-connecting").then(|| true.to_value())
        });
        let encoder = Encoder::try_connect(&line.url("live/x"));
        match (signal, &encoder) {
            ("pad-added", Ok(encoder)) => encoder.send(&Source::avc_aac().both(0, 1).frames),
            ("stream-ended", Ok(_)) => {
                assert!(line.get("r").emit_by_name::<bool>("kick-publisher", &[&"go"]))
            }
            _ => {}
        }
        let (stopped, took) = seen.recv_timeout(PATIENCE).unwrap();
        assert_eq!(stopped, Ok(gst::StateChangeSuccess::Success), "{signal}");
        assert!(took < at_most(Duration::from_millis(2_500)), "{signal}: {took:?}");
        assert_eq!(line.port(), 0, "{signal}");
    }
}
