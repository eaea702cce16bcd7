//! What a process has after two hundred starts and stops: as much as before. Alone in its process, because it counts.

mod support;

use gst::prelude::*;
use std::net::TcpListener;
use std::time::{Duration, Instant};
use streamengine::media::{Frame, FrameKind};
use streamengine::{Engine, PushConfig, RelayState};
use support::{
    descriptors_and_threads, free_port, has_leak_tracer, live_objects, local_url, run_with_leak_tracer,
};

const CYCLES: usize = 200;
const LINES: [&str; 3] = [
    "rtmpserversrc port=PORT ! fakesink",
    "rtmpserversrc port=PORT  ! h264parse ! fakesink",
    "rtmpserversrc port=PORT stream=in ! rtmprelaysink port=PORT stream=out",
];

fn cycle(port: u16, text: &str) {
    let line = gst::parse::launch(&text.replace("PORT", &port.to_string())).unwrap();
    line.set_state(gst::State::Playing).unwrap();
    line.set_state(gst::State::Null).unwrap();
}

/// One with a publisher that is there when the pipeline stops.
fn cycle_with_publisher(port: u16) {
    let line = gst::parse::launch(&format!("rtmpserversrc port={port} ! fakesink")).unwrap();
    line.set_state(gst::State::Playing).unwrap();
    let engine = Engine::builder().start().unwrap();
    let key = "a/b".parse().unwrap();
    let publisher = engine.publish(&key).unwrap();
    let keyframe = b"\x17\x01\0\0\0\0\0\0\x01\x65".to_vec();
    publisher.push(Frame::new(FrameKind::Video, 0, keyframe.into())).unwrap();
    let url = local_url(port, "live/x").parse().unwrap();
    let push = engine.add_push(PushConfig::new(key, url)).unwrap();
    let start = Instant::now();
    while engine.relay(push).unwrap().state != RelayState::Publishing {
        assert!(start.elapsed() < Duration::from_secs(60), "it never publishes");
        std::thread::sleep(Duration::from_millis(1));
    }
    line.set_state(gst::State::Null).unwrap();
}

/// Descriptors and threads, once they are no more than given or do not become fewer.
fn settled(fds: usize, threads: usize) -> (usize, usize) {
    let start = Instant::now();
    loop {
        let now = descriptors_and_threads();
        if (now.0 <= fds && now.1 <= threads) || start.elapsed() > Duration::from_secs(5) {
            return now;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn two_hundred_starts_and_stops_on_one_port_leave_nothing_behind() {
    if !has_leak_tracer() {
        return run_with_leak_tracer("two_hundred_starts_and_stops_on_one_port_leave_nothing_behind");
    }
    let _limit = support::start("cycles");
    let port = free_port();
    for text in LINES {
        cycle(port, text);
    }
    cycle_with_publisher(port);
    // What the first rounds made once and for all is the base; what they leave for a moment only is not.
    let base = settled(0, 0);
    let live = live_objects();
    let start = Instant::now();
    for index in 0..CYCLES {
        cycle(port, LINES[index % LINES.len()]);
    }
    eprintln!("{CYCLES} cycles took {:?}", start.elapsed());
    for _ in 0..5 {
        cycle_with_publisher(port);
    }
    let (fds, threads) = settled(base.0, base.1);
    assert!(fds <= base.0 && threads <= base.1, "fds {} -> {fds}, threads {} -> {threads}", base.0, base.1);
    let left = live_objects();
    assert!(left.len() <= live.len(), "{} -> {}: {left:#?}", live.len(), left.len());
    assert!(!left.iter().any(|object| object.contains("Rtmp")), "{left:#?}");
    TcpListener::bind(("127.0.0.1", port)).unwrap();
}
