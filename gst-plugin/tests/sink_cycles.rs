//! State cycles leave nothing behind. Alone in its process: it counts descriptors, threads and objects.

mod support;

use gst::prelude::*;
use support::{Server, StuckPlayer, descriptors_and_threads, free_port, live_objects, local_url};

const CYCLES: usize = 200;

#[test]
fn g3_two_hundred_state_cycles_on_one_port_leave_no_descriptor_no_thread_and_no_object() {
    if !support::has_leak_tracer() {
        return support::run_with_leak_tracer(
            "g3_two_hundred_state_cycles_on_one_port_leave_no_descriptor_no_thread_and_no_object",
        );
    }
    cycle_and_count();
}

fn cycle_and_count() {
    let _limit = support::start("g3");
    let port = free_port();
    let server = Server::start();
    let recordings = tempfile::tempdir().unwrap();
    let pipeline = gst::parse::launch(&format!(
        "videotestsrc is-live=true ! video/x-raw,format=I420,width=64,height=48 ! x264enc tune=zerolatency ! \
         rtmprelaysink name=s port={port} record-location={} targets=<{},{}>",
        recordings.path().display(),
        server.url("takes"),
        local_url(free_port(), "live/refuses")
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
    let (descriptors, threads) = descriptors_and_threads();
    (0..CYCLES).for_each(|index| cycle(index % 10 == 0));
    // Threads that were told to end may still be at it.
    support::until("descriptors and threads are back", || {
        let (descriptors_now, threads_now) = descriptors_and_threads();
        descriptors_now <= descriptors && threads_now <= threads
    });
    drop(pipeline);
    assert_eq!(live_objects(), Vec::<String>::new(), "objects are left");
}
