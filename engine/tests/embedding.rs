//! What an embedding program holds of an engine besides the engine itself.

use futures_lite::{StreamExt, future};
use std::sync::mpsc;
use std::time::Duration;
use streamengine_core::media::{Frame, FrameKind};
use streamengine_core::{EndReason, Engine, PublisherConfig, StreamChange, StreamKey, SubscriberConfig};

const WAIT: Duration = Duration::from_secs(10);

fn engine() -> Engine {
    Engine::builder().start().unwrap()
}

fn key(name: &str) -> StreamKey {
    name.parse().unwrap()
}

fn audio(at: i64) -> Frame {
    Frame::new(FrameKind::Audio, at, vec![0xaf, 1, 0x21, 0x10].into())
}

fn times(frames: &[Frame]) -> Vec<i64> {
    frames.iter().map(|frame| frame.timestamp).collect()
}

/// Runs a future on a plain thread and an executor without timers or reactor; fails where nobody wakes it.
fn on_plain_executor<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> T {
    let (done, result) = mpsc::channel();
    std::thread::spawn(move || done.send(future::block_on(future)));
    result.recv_timeout(WAIT).expect("the task is woken")
}

#[test]
fn a_subscriber_is_a_stream_of_frames_on_any_executor() {
    let engine = engine();
    let publisher = engine.publish(&key("live/a")).unwrap();
    let mut subscriber = engine.subscribe(&key("live/a")).unwrap();
    let (waits, waiting) = mpsc::channel();
    let reading = std::thread::spawn(move || {
        on_plain_executor(async move {
            assert_eq!(future::poll_once(subscriber.next()).await, None, "there is no frame yet");
            waits.send(()).unwrap();
            let mut frames = Vec::new();
            let mut stream = std::pin::pin!(subscriber);
            while let Some(frame) = StreamExt::next(&mut stream).await {
                frames.push(frame);
            }
            assert_eq!(StreamExt::next(&mut stream).await, None, "the end stays the end");
            (times(&frames), stream.end().cloned())
        })
    });
    waiting.recv_timeout(WAIT).unwrap();
    (0..100).for_each(|i| publisher.push(audio(i * 20)).unwrap());
    publisher.finish();
    let expected = (0..100).map(|i| i * 20).collect();
    assert_eq!(reading.join().unwrap(), (expected, Some(EndReason::Unpublished)));
}

#[test]
fn deadlines_of_a_stream_without_a_publisher_wake_any_executor() {
    let engine = engine();
    let mut wait = SubscriberConfig::default();
    wait.wait_for_publisher_ms = Some(50);
    let subscriber = engine.subscribe_with(&key("live/never"), &wait).unwrap();
    let ended = |mut subscriber: streamengine_core::Subscriber| {
        on_plain_executor(async move {
            assert_eq!(StreamExt::next(&mut subscriber).await, None);
            subscriber.end().cloned()
        })
    };
    assert_eq!(ended(subscriber), Some(EndReason::NotPublished));

    let mut window = PublisherConfig::default();
    window.resume_window_ms = Some(50);
    let publisher = engine.publish_with(&key("live/lost"), &window).unwrap();
    let subscriber = engine.subscribe(&key("live/lost")).unwrap();
    drop(publisher);
    assert_eq!(ended(subscriber), Some(EndReason::PublisherLost));
}

#[test]
fn a_next_that_is_dropped_loses_no_frame() {
    const FRAMES: i64 = 5_000;
    let engine = engine();
    let publisher = engine.publish(&key("live/a")).unwrap();
    let mut subscriber = engine.subscribe(&key("live/a")).unwrap();
    let (mut frames, mut dropped) = (Vec::new(), 0);
    on_plain_executor(async move {
        while frames.len() < FRAMES as usize {
            match future::poll_once(subscriber.next()).await {
                Some(frame) => frames.push(frame.expect("the stream goes on")),
                None => {
                    // A few at a time, so that the batch that is taken out of the ring is in play too.
                    let pushed = frames.len() as i64;
                    (pushed..pushed + 5).for_each(|i| publisher.push(audio(i * 20)).unwrap());
                    dropped += 1;
                }
            }
        }
        assert_eq!(dropped, FRAMES / 5, "futures that were dropped while they waited");
        assert!(frames.iter().zip(0..).all(|(frame, i)| frame.timestamp == i * 20));
    });
}

#[test]
fn an_engine_tells_which_streams_begin_and_end_and_which_are_wanted() {
    let engine = engine();
    let _there = engine.publish(&key("live/a")).unwrap();
    let mut watcher = engine.watch_streams();
    on_plain_executor(async move {
        assert_eq!(watcher.next().await, Some(StreamChange::Began(key("live/a"))));

        // Publishing on demand.
        let mut subscriber = engine.subscribe(&key("live/b")).unwrap();
        assert_eq!(watcher.next().await, Some(StreamChange::Wanted(key("live/b"))));
        let publisher = engine.publish(&key("live/b")).unwrap();
        assert_eq!(watcher.next().await, Some(StreamChange::Unwanted(key("live/b"))));
        assert_eq!(watcher.next().await, Some(StreamChange::Began(key("live/b"))));
        publisher.push(audio(0)).unwrap();
        assert!(subscriber.next().await.is_some());
        publisher.finish();
        assert_eq!(watcher.next().await, Some(StreamChange::Ended(key("live/b"))));

        // A publisher and a subscriber that are still held do not keep the watcher waiting.
        drop(engine);
        assert_eq!(watcher.next().await, Some(StreamChange::Ended(key("live/a"))));
        assert_eq!(watcher.next().await, None);
    });
}
