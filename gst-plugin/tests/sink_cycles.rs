//! State cycles leave nothing behind. Alone in its process: it counts descriptors, threads and objects.

mod support;

use gst::prelude::*;
use std::fs;
use std::process::Command;
use support::{Server, StuckPlayer, free_port};

/// Set for the process in which GStreamer's leak tracer runs: it must be there when GStreamer starts.
const INSIDE: &str = "SINK_CYCLES_INSIDE";
const CYCLES: usize = 200;

/// Open descriptors and running threads of this process.
fn counts() -> (usize, usize) {
    let count = |directory| fs::read_dir(directory).unwrap().count();
    (count("/proc/self/fd"), count("/proc/self/task"))
}

/// What the tests' start has registered for good.
fn is_registered(name: &str) -> bool {
    ["(GstElementFactory)", "(GstPlugin)"].iter().any(|kind| name.contains(kind))
}

/// What else the leak tracer knows to be alive.
fn live_objects() -> Vec<String> {
    let tracer = gst::active_tracers().into_iter().find(|tracer| tracer.type_().name() == "GstLeaksTracer");
    let live = tracer.expect("the leak tracer").emit_by_name::<gst::Structure>("get-live-objects", &[]);
    let list = live.get::<gst::List>("live-objects-list").unwrap();
    let names: Vec<_> = list.iter().map(|object| format!("{:?}", object.get::<gst::Structure>())).collect();
    // GStreamer 1.22 does not take references for this list: giving it back would end the objects.
    std::mem::forget((live, list));
    names.into_iter().filter(|name| !is_registered(name)).collect()
}

#[test]
fn g3_two_hundred_state_cycles_on_one_port_leave_no_descriptor_no_thread_and_no_object() {
    if std::env::var_os(INSIDE).is_some() {
        return cycle_and_count();
    }
    let name = "g3_two_hundred_state_cycles_on_one_port_leave_no_descriptor_no_thread_and_no_object";
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env("GST_TRACERS", "leaks")
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

fn cycle_and_count() {
    let _limit = support::start("g3");
    let port = free_port();
    let server = Server::start();
    let pipeline = gst::parse::launch(&format!(
        "videotestsrc is-live=true ! video/x-raw,format=I420,width=64,height=48 ! x264enc tune=zerolatency ! \
         rtmprelaysink name=s port={port} targets=<{},rtmp://127.0.0.1:{}/live/refuses>",
        server.url("takes"),
        free_port()
    ));
    let pipeline = pipeline.unwrap();
    let cycle = |has_player: bool| {
        pipeline.set_state(gst::State::Playing).unwrap();
        let (state, ..) = pipeline.state(gst::ClockTime::from_seconds(5));
        state.unwrap();
        // Who is there when the server closes makes the system keep the port's connection for a while.
        let _player = has_player.then(|| StuckPlayer::join(port, "live", "stream"));
        pipeline.set_state(gst::State::Null).unwrap();
    };
    (0..5).for_each(|_| cycle(true));
    let (descriptors, threads) = counts();
    (0..CYCLES).for_each(|index| cycle(index % 10 == 0));
    // Threads that were told to end may still be at it.
    support::until("descriptors and threads are back", || {
        let (descriptors_now, threads_now) = counts();
        descriptors_now <= descriptors && threads_now <= threads
    });
    drop(pipeline);
    assert_eq!(live_objects(), Vec::<String>::new(), "objects are left");
}
