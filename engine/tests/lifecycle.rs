//! Engines that come and go. A test executable of its own: it measures its whole process.
#![cfg(target_os = "linux")]

use std::time::Duration;
use streamengine::Engine;
use streamengine::testing;

#[test]
fn f47_a_thousand_engines_come_and_go_and_leave_nothing() {
    let count = |folder: &str| std::fs::read_dir(folder).unwrap().count();
    let rss_pages = || -> usize {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        statm.split(' ').nth(1).unwrap().parse().unwrap()
    };
    let (key, frame) = (testing::key("live/a"), testing::keyframe(0, 10_000));
    let any_port = "127.0.0.1:0".parse().unwrap();
    let address = Engine::builder().listen_rtmp(any_port).start().unwrap().listeners()[0].address;
    let cycle = || {
        // The same port each time; traffic in it.
        let engine = Engine::builder().listen_rtmp(address).start().unwrap();
        let publisher = engine.publish(&key).unwrap();
        publisher.push(frame.clone()).unwrap();
        let mut subscriber = engine.subscribe(&key).unwrap();
        assert!(subscriber.blocking_next(Duration::from_secs(10)).unwrap().is_some());
    };
    // What this process has before an engine was in it. A thread that has been joined is listed for a moment still.
    let threads = count("/proc/self/task");
    (0..200).for_each(|_| cycle());
    let descriptors = count("/proc/self/fd");
    // The allocator's arenas move resident memory by a megabyte now and then; what is lost makes it grow every time.
    let grown = (0..5).map(|_| {
        let before = rss_pages();
        (0..200).for_each(|_| cycle());
        rss_pages().saturating_sub(before) * 4
    });
    let grown: Vec<_> = grown.collect();
    assert!(grown.iter().any(|&kib| kib <= 128), "{grown:?} KiB more after 200 engines each");
    testing::wait::until("the threads are gone", || count("/proc/self/task") == threads);
    assert_eq!(count("/proc/self/fd"), descriptors, "descriptors");
}
