//! Tests of the hub: rights, ring bounds, joins, lags, resumes and ends, in virtual time.

use super::*;
use crate::media::{Frame, FrameKind};
use crate::status::StreamState;
use crate::testing::{self, AVC_HEADER, audio, audio_header, metadata, times};
use tokio::time::advance;

fn key() -> StreamKey {
    testing::key("live/s")
}

/// A sequence header of so many bytes.
fn header_of(at: i64, len: usize) -> Frame {
    let mut payload = AVC_HEADER.to_vec();
    payload.resize(len, 0);
    Frame::new(FrameKind::Video, at, payload.into())
}

fn header(at: i64) -> Frame {
    header_of(at, 40)
}

fn keyframe(at: i64) -> Frame {
    testing::keyframe(at, 1000)
}

fn inter(at: i64) -> Frame {
    testing::inter(at, 100)
}

fn request() -> PublishRequest {
    PublishRequest {
        resume_window: Duration::from_secs(10),
        principal: Some("a".into()),
        ..Default::default()
    }
}

fn all(subscriber: &mut Subscriber) -> Vec<Frame> {
    let mut frames = Vec::new();
    while subscriber.take(usize::MAX, &mut frames).unwrap() > 0 {}
    frames
}

/// Frees what ended streams held; in how many steps.
fn free_all(hub: &Hub) -> usize {
    std::iter::from_fn(|| hub.free_some().then_some(())).count()
}

fn hub(change: impl FnOnce(&mut Limits)) -> Hub {
    let mut limits = Limits::default();
    change(&mut limits);
    Hub::new(&limits)
}

#[tokio::test(start_paused = true)]
async fn a_joining_subscriber_gets_configuration_then_the_newest_keyframe() {
    let hub = hub(|_| {});
    let publisher = hub.publish(&key(), request()).unwrap();
    for frame in [header(0), audio_header(0), keyframe(0), inter(40), keyframe(80), audio(90), inter(120)] {
        publisher.push(frame).unwrap();
    }
    let mut subscriber = hub.subscribe(&key(), SubscribeOptions::default());
    let frames = all(&mut subscriber);
    assert_eq!(times(&frames), [80, 80, 80, 90, 120]);
    assert!(frames[0].is_config() && frames[1].is_config() && frames[2].flags.keyframe);
    assert_eq!(subscriber.take(1, &mut Vec::new()), Ok(0));
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_at_the_live_edge_gets_audio_at_once_and_video_from_the_next_keyframe() {
    let hub = hub(|_| {});
    let publisher = hub.publish(&key(), request()).unwrap();
    publisher.push(keyframe(0)).unwrap();
    let options = SubscribeOptions { start: StartAt::LiveEdge, ..Default::default() };
    let mut subscriber = hub.subscribe(&key(), options);
    assert_eq!(all(&mut subscriber), []);
    for frame in [inter(40), audio(50), keyframe(80), inter(120)] {
        publisher.push(frame).unwrap();
    }
    assert_eq!(times(&all(&mut subscriber)), [50, 80, 120]);
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_that_waited_gets_the_stream_from_its_first_frame() {
    let hub = hub(|_| {});
    let mut subscriber = hub.subscribe(&key(), SubscribeOptions::default());
    let publisher = hub.publish(&key(), request()).unwrap();
    for frame in [audio(0), header(0), keyframe(0), keyframe(40)] {
        publisher.push(frame).unwrap();
    }
    subscriber.ready().await;
    assert_eq!(all(&mut subscriber).len(), 4);
}

#[tokio::test(start_paused = true)]
async fn f23_without_any_keyframe_players_get_audio_and_memory_is_bounded() {
    let hub = hub(|limits| limits.ring_frames = 100);
    let publisher = hub.publish(&key(), request()).unwrap();
    let mut subscriber = hub.subscribe(&key(), SubscribeOptions::default());
    for i in 0..10_000 {
        publisher.push(inter(i * 40)).unwrap();
        publisher.push(audio(i * 40 + 5)).unwrap();
        assert_eq!(times(&all(&mut subscriber)), [i * 40 + 5]);
    }
    let info = hub.stream(&key()).unwrap();
    assert!(info.ring_frames <= 100, "{}", info.ring_frames);
    assert_eq!(info.keyframes, 0);
}

#[tokio::test(start_paused = true)]
async fn f22_audio_only_for_24_hours_of_media_stays_flat() {
    let hub = hub(|_| {});
    let publisher = hub.publish(&key(), request()).unwrap();
    publisher.push(audio_header(0)).unwrap();
    let limits = Limits::default();
    for i in 0..24 * 3600 * 1000 / 23 {
        publisher.push(audio(i * 23)).unwrap();
    }
    let info = hub.stream(&key()).unwrap();
    assert!(info.ring_frames <= limits.ring_frames && info.ring_bytes <= limits.ring_frames * 256);
}

#[tokio::test(start_paused = true)]
async fn the_ring_is_bounded_by_bytes_frames_and_age() {
    let ring = |change: fn(&mut Limits)| async move {
        let hub = hub(change);
        let publisher = hub.publish(&key(), request()).unwrap();
        for i in 0..100 {
            publisher.push(keyframe(i * 40)).unwrap();
            advance(Duration::from_millis(40)).await;
        }
        hub.stream(&key()).unwrap()
    };
    assert_eq!(ring(|_| {}).await.ring_frames, 100);
    assert!(ring(|limits| limits.ring_bytes = 10_000).await.ring_bytes <= 10_000);
    assert_eq!(ring(|limits| limits.ring_frames = 10).await.ring_frames, 10);
    assert!((10..=11).contains(&ring(|limits| limits.ring_ms = 400).await.ring_frames));
}

#[tokio::test(start_paused = true)]
async fn bytes_of_a_ring_count_what_tiny_frames_cost_beside_their_payload() {
    let hub = hub(|limits| limits.ring_bytes = 10_000);
    let publisher = hub.publish(&key(), request()).unwrap();
    for i in 0..1_000 {
        publisher.push(audio(i)).unwrap();
    }
    let frames = hub.stream(&key()).unwrap().ring_frames;
    assert!((50..=100).contains(&frames), "{frames} frames of 4 bytes");
}

#[tokio::test(start_paused = true)]
async fn all_rings_together_are_bounded_and_the_largest_gives_way() {
    let hub = hub(|limits| limits.ring_bytes_total = 100_000);
    let small_key = StreamKey::new("live", "small").unwrap();
    let small = hub.publish(&small_key, request()).unwrap();
    let large = hub.publish(&key(), request()).unwrap();
    small.push(keyframe(0)).unwrap();
    for i in 0..1000 {
        large.push(keyframe(i * 40)).unwrap();
        assert!(hub.held_bytes() <= 100_000);
    }
    assert_eq!(hub.stream(&small_key).unwrap().ring_frames, 1, "the small stream keeps what it has");
    drop((small, large));
    hub.end_all(&EndReason::Shutdown);
    free_all(&hub);
    assert_eq!(hub.held_bytes(), 0, "ended streams give their bytes back");
}

#[tokio::test(start_paused = true)]
async fn w8_many_streams_of_one_large_frame_each_are_bounded_too() {
    let hub = hub(|limits| limits.ring_bytes_total = 100_000);
    let publishers: Vec<_> = (0..50)
        .map(|n| hub.publish(&StreamKey::new("live", &format!("s{n}")).unwrap(), request()).unwrap())
        .collect();
    for publisher in &publishers {
        publisher.push(testing::keyframe(0, 8_000)).unwrap();
        assert!(hub.held_bytes() <= 100_000);
    }
}

/// So many streams of so many frames, ended at once; the bytes that they hold.
fn ended_streams(hub: &Hub, streams: usize, frames: usize, bytes: usize) -> usize {
    let publishers: Vec<_> = (0..streams)
        .map(|n| hub.publish(&StreamKey::new("live", &format!("s{n}")).unwrap(), request()).unwrap())
        .collect();
    for publisher in &publishers {
        let frame = testing::keyframe(0, bytes);
        (0..frames).for_each(|_| publisher.push(frame.clone()).unwrap());
    }
    publishers.into_iter().for_each(Publisher::finish);
    hub.held_bytes()
}

#[tokio::test(start_paused = true)]
async fn w8_frames_of_ended_streams_are_freed_in_small_steps_and_count_until_then() {
    const MIB: usize = 1024 * 1024;
    for (streams, frames, bytes) in [(3, 2_000, 100), (3, 20, MIB), (1_000, 1, 100), (1, 1, 8 * MIB)] {
        let hub = hub(|_| {});
        let mut held = ended_streams(&hub, streams, frames, bytes);
        assert!(held >= streams * frames * bytes, "nothing is freed at once");
        let mut steps = 0;
        while hub.free_some() {
            let freed = held - hub.held_bytes();
            assert!(freed <= (MIB + bytes + 256).min(256 * (bytes + 256)), "{freed} bytes in one step");
            held -= freed;
            steps += 1;
        }
        assert_eq!(held, 0);
        assert!(steps >= streams * frames / 256 && steps <= 2 + streams * frames, "{steps}");
    }
}

#[tokio::test(start_paused = true)]
async fn w8_frames_of_ended_streams_give_way_before_those_of_live_ones() {
    let hub = hub(|limits| limits.ring_bytes_total = 10_000_000);
    let live = hub.publish(&key(), request()).unwrap();
    (0..100).for_each(|at| live.push(testing::keyframe(at, 10_000)).unwrap());
    ended_streams(&hub, 4, 100, 22_000);
    (100..200).for_each(|at| live.push(testing::keyframe(at, 10_000)).unwrap());
    assert!(hub.held_bytes() <= 10_000_000);
    assert_eq!(hub.stream(&key()).unwrap().ring_frames, 200);
}

#[tokio::test(start_paused = true)]
async fn w8_configuration_that_keyframes_keep_counts_once_for_each_that_is_different() {
    let hub = hub(|limits| limits.ring_bytes = 100_000);
    let publisher = hub.publish(&key(), request()).unwrap();
    publisher.push(header_of(0, 20_000)).unwrap();
    for i in 0..10 {
        publisher.push(keyframe(i * 40)).unwrap();
    }
    let held = hub.stream(&key()).unwrap().ring_bytes;
    assert!(
        (50_000..60_000).contains(&held),
        "the header in its place, once for all keyframes, and these: {held}"
    );
    for i in 0..100 {
        publisher.push(header_of(i, 20_000 + i as usize)).unwrap();
        publisher.push(keyframe(1_000 + i * 40)).unwrap();
    }
    let info = hub.stream(&key()).unwrap();
    assert!(info.ring_bytes <= 100_000 && info.ring_frames < 6, "{info:?}");
    drop(publisher);
    hub.end_all(&EndReason::Shutdown);
    free_all(&hub);
    assert_eq!(hub.held_bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn f19_a_slow_subscriber_jumps_to_the_newest_keyframe_and_is_closed_at_the_third_lag() {
    let hub = hub(|limits| limits.ring_frames = 10);
    let publisher = hub.publish(&key(), request()).unwrap();
    let mut slow = hub.subscribe(&key(), SubscribeOptions::default());
    let mut at = 0;
    let mut burst = || {
        for _ in 0..3 {
            for frame in [keyframe(at), inter(at + 40), inter(at + 80), inter(at + 120)] {
                publisher.push(frame).unwrap();
            }
            at += 160;
        }
        at - 160
    };
    for _ in 0..2 {
        let newest = burst();
        let frames = all(&mut slow);
        assert!(frames[0].flags.keyframe && frames[0].timestamp == newest, "{:?}", times(&frames));
    }
    burst();
    assert_eq!(slow.take(usize::MAX, &mut Vec::new()), Err(EndReason::Lagging));
    let info = hub.stream(&key()).unwrap();
    assert_eq!(info.lags, 3);
    assert!(info.frames_skipped > 0);
}

#[tokio::test(start_paused = true)]
async fn f19_a_steadily_slow_subscriber_that_falls_off_once_in_a_rings_length_is_closed_too() {
    let hub = hub(|_| {});
    let publisher = hub.publish(&key(), request()).unwrap();
    let mut slow = hub.subscribe(&key(), SubscribeOptions::default());
    let mut falls = 0;
    // It takes one frame a second of a stream that has 25.
    for i in 0..200 * 25 {
        publisher.push(keyframe(i * 40)).unwrap();
        advance(Duration::from_millis(40)).await;
        if i % 25 == 0 {
            match slow.take(1, &mut Vec::new()) {
                Ok(_) => falls = hub.stream(&key()).unwrap().lags,
                Err(reason) => {
                    assert_eq!((reason, falls), (EndReason::Lagging, 2));
                    return;
                }
            }
        }
    }
    panic!("still there after {falls} falls");
}

#[tokio::test(start_paused = true)]
async fn f19_falls_off_a_short_ring_are_counted_over_a_minute() {
    let hub = hub(|limits| (limits.ring_ms, limits.ring_frames) = (1_000, 10));
    let publisher = hub.publish(&key(), request()).unwrap();
    let mut slow = hub.subscribe(&key(), SubscribeOptions::default());
    let mut taken = Vec::new();
    for at in 0..3 {
        advance(Duration::from_secs(20)).await;
        for i in 0..20 {
            publisher.push(keyframe(at * 20_000 + i * 40)).unwrap();
        }
        taken.push(slow.take(usize::MAX, &mut Vec::new()).map(|count| count > 0));
    }
    assert_eq!(taken, [Ok(true), Ok(true), Err(EndReason::Lagging)]);
}

#[tokio::test(start_paused = true)]
async fn f26_a_second_publisher_is_refused_while_the_first_sends() {
    let hub = hub(|_| {});
    let first = hub.publish(&key(), request()).unwrap();
    first.push(keyframe(0)).unwrap();
    advance(Duration::from_millis(400)).await;
    assert_eq!(hub.publish(&key(), request()).err(), Some(PublishRefusal::AlreadyPublishing));
    first.push(inter(40)).unwrap();
}

#[tokio::test(start_paused = true)]
async fn f25_a_stalled_publisher_is_replaced_by_one_with_the_same_rights_only() {
    let hub = hub(|_| {});
    let first = hub.publish(&key(), request()).unwrap();
    first.push(keyframe(0)).unwrap();
    advance(Duration::from_millis(600)).await;
    let other = PublishRequest { principal: Some("b".into()), ..request() };
    assert_eq!(hub.publish(&key(), other).err(), Some(PublishRefusal::OtherRights));
    let second = hub.publish(&key(), request()).unwrap();
    assert_eq!(first.ended().await, EndReason::Replaced);
    assert_eq!(first.push(inter(40)), Err(EndReason::Replaced));
    second.push(keyframe(0)).unwrap();
    drop(first);
    second.push(inter(40)).unwrap();
    assert_eq!(hub.stream(&key()).unwrap().state, StreamState::Live, "the loser's leaving changes nothing");
}

#[tokio::test(start_paused = true)]
async fn w10_what_is_no_media_does_not_make_a_stalled_publisher_look_alive() {
    for (what, frame) in testing::no_media() {
        let hub = hub(|_| {});
        let publisher = hub.publish(&key(), request()).unwrap();
        publisher.push(keyframe(0)).unwrap();
        for _ in 0..10 {
            advance(Duration::from_millis(100)).await;
            publisher.push(frame.clone()).unwrap();
        }
        assert_eq!(hub.stream(&key()).unwrap().silence, Some(Duration::from_secs(1)), "{what}");
        assert!(hub.publish(&key(), request()).is_ok(), "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn takeover_reject_keeps_and_replace_takes() {
    let hub = hub(|_| {});
    let _first = hub.publish(&key(), request()).unwrap();
    advance(Duration::from_secs(60)).await;
    let reject = PublishRequest { takeover: Takeover::Reject, ..request() };
    assert_eq!(hub.publish(&key(), reject).err(), Some(PublishRefusal::Kept));
    let replace = PublishRequest { takeover: Takeover::Replace, principal: Some("b".into()), ..request() };
    assert!(hub.publish(&key(), replace).is_ok());
}

#[tokio::test(start_paused = true)]
async fn f25_players_stay_while_the_publisher_is_away_and_time_goes_on() {
    let hub = hub(|_| {});
    let first = hub.publish(&key(), request()).unwrap();
    let mut subscriber = hub.subscribe(&key(), SubscribeOptions::default());
    for frame in [header(0), audio_header(0), keyframe(0), audio(10), inter(40)] {
        first.push(frame).unwrap();
    }
    assert_eq!(all(&mut subscriber).len(), 5);
    drop(first);
    advance(Duration::from_secs(9)).await;
    assert_eq!(all(&mut subscriber), []);
    let second = hub.publish(&key(), request()).unwrap();
    // The same configuration again, a tail of inter frames, then the first keyframe.
    for frame in [header(0), audio_header(0), inter(7000), keyframe(7040), audio(7050)] {
        second.push(frame).unwrap();
    }
    let frames = all(&mut subscriber);
    assert_eq!(times(&frames), [80, 90], "one discontinuity, no repeated configuration, monotone time");
    assert!(frames[0].flags.keyframe);
    assert_eq!(hub.stream(&key()).unwrap().resumes, 1);
}

#[tokio::test(start_paused = true)]
async fn a_returning_publisher_with_new_configuration_announces_it() {
    let hub = hub(|_| {});
    drop({
        let first = hub.publish(&key(), request()).unwrap();
        first.push(header(0)).unwrap();
        first.push(keyframe(0)).unwrap();
        first
    });
    let mut subscriber = hub.subscribe(&key(), SubscribeOptions::default());
    all(&mut subscriber);
    let second = hub.publish(&key(), request()).unwrap();
    let changed = header_of(0, 50);
    second.push(changed.clone()).unwrap();
    second.push(keyframe(0)).unwrap();
    let frames = all(&mut subscriber);
    assert_eq!(frames[0].payload, changed.payload);
    assert!(frames[1].flags.keyframe);
    let mut late = hub.subscribe(&key(), SubscribeOptions::default());
    assert_eq!(all(&mut late)[0].payload, changed.payload);
}

#[tokio::test(start_paused = true)]
async fn f25_without_return_the_stream_ends_after_the_resume_window() {
    let hub = hub(|_| {});
    let publisher = hub.publish(&key(), request()).unwrap();
    publisher.push(keyframe(0)).unwrap();
    let mut subscriber = hub.subscribe(&key(), SubscribeOptions::default());
    drop(publisher);
    assert_eq!(all(&mut subscriber).len(), 1);
    let start = tokio::time::Instant::now();
    subscriber.ready().await;
    assert_eq!(subscriber.take(1, &mut Vec::new()), Err(EndReason::PublisherLost));
    assert_eq!(start.elapsed().as_secs(), 10);
    hub.sweep();
    assert!(hub.stream(&key()).is_none());
}

#[tokio::test(start_paused = true)]
async fn f24_without_resume_window_a_lost_publisher_ends_the_stream_at_once() {
    let hub = hub(|_| {});
    let publisher = hub.publish(&key(), PublishRequest::default()).unwrap();
    let mut subscriber = hub.subscribe(&key(), SubscribeOptions::default());
    publisher.push(keyframe(0)).unwrap();
    drop(publisher);
    let mut frames = Vec::new();
    assert_eq!(subscriber.take(usize::MAX, &mut frames), Ok(1), "what was sent is still delivered");
    assert_eq!(subscriber.take(usize::MAX, &mut frames), Err(EndReason::PublisherLost));
    assert!(hub.publish(&key(), request()).is_ok(), "the name is free");
}

#[tokio::test(start_paused = true)]
async fn a_finished_stream_ends_for_its_subscribers_and_a_new_one_starts_afresh() {
    let hub = hub(|_| {});
    let first = hub.publish(&key(), request()).unwrap();
    let mut subscriber = hub.subscribe(&key(), SubscribeOptions::default());
    first.push(keyframe(50_000)).unwrap();
    first.finish();
    let second = hub.publish(&key(), request()).unwrap();
    second.push(keyframe(0)).unwrap();
    let mut frames = Vec::new();
    assert_eq!(subscriber.take(usize::MAX, &mut frames), Ok(1));
    assert_eq!(subscriber.take(usize::MAX, &mut frames), Err(EndReason::Unpublished));
    let mut next = hub.subscribe(&key(), SubscribeOptions::default());
    assert_eq!(times(&all(&mut next)), [0]);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_publisher_waits_no_longer_than_told() {
    let hub = hub(|_| {});
    let wait = Some(Duration::from_secs(10));
    let mut subscriber = hub.subscribe(&key(), SubscribeOptions { wait, ..Default::default() });
    assert_eq!(subscriber.take(1, &mut Vec::new()), Ok(0));
    let start = tokio::time::Instant::now();
    subscriber.ready().await;
    assert_eq!(start.elapsed().as_secs(), 10);
    assert_eq!(subscriber.take(1, &mut Vec::new()), Err(EndReason::NotPublished));
    drop(subscriber);
    assert!(hub.streams().is_empty(), "a name that nobody uses leaves no trace");
}

#[tokio::test(start_paused = true)]
async fn demand_counts_viewers_not_followers() {
    let hub = hub(|_| {});
    let demand = hub.demand(&key());
    let follower =
        hub.subscribe(&key(), SubscribeOptions { interest: Interest::Follower, ..Default::default() });
    assert_eq!(*demand.borrow(), 0);
    let viewers = [(); 2].map(|()| hub.subscribe(&key(), SubscribeOptions::default()));
    assert_eq!(*demand.borrow(), 2);
    drop(viewers);
    assert_eq!(*demand.borrow(), 0);
    drop(follower);
}

#[test]
fn demand_that_is_watched_while_a_viewer_comes_or_goes_counts_it_once() {
    let (hub, both) = (hub(|_| {}), std::sync::Barrier::new(2));
    let beside = |watched: &dyn Fn()| {
        std::thread::scope(|scope| {
            let watching = scope.spawn(|| {
                both.wait();
                hub.demand(&key())
            });
            both.wait();
            watched();
            watching.join().unwrap()
        })
    };
    let viewer = std::cell::Cell::new(None);
    for _ in 0..2_000 {
        let demand = beside(&|| viewer.set(Some(hub.subscribe(&key(), SubscribeOptions::default()))));
        assert_eq!(*demand.borrow(), 1);
        drop(demand);
        hub.forget_demand(&key());
        let demand = beside(&|| drop(viewer.take()));
        assert_eq!(*demand.borrow(), 0);
        drop(demand);
        hub.forget_demand(&key());
    }
}

#[tokio::test(start_paused = true)]
async fn configuration_that_a_publisher_piles_up_is_bounded() {
    let hub = hub(|_| {});
    let publisher = hub.publish(&key(), request()).unwrap();
    for track in [201, 202] {
        let mut payload = vec![0u8; 600_000];
        payload[..7].copy_from_slice(&[&b"\x96\x00avc1"[..], &[track]].concat());
        publisher.push(Frame::new(FrameKind::Video, 0, payload.into())).unwrap();
    }
    for track in 0..200 {
        let header = [&b"\x96\x00avc1"[..], &[track, 1, 2, 3]].concat();
        let frame = Frame::new(FrameKind::Video, 0, header.into());
        assert!(frame.is_config());
        publisher.push(frame).unwrap();
    }
    let config = hub.stream(&key()).unwrap().config;
    let bytes: usize = config.iter().map(|frame| frame.payload.len()).sum();
    assert!(bytes <= 1024 * 1024, "{bytes} bytes");
    assert_eq!(config.len(), 64, "frames");
}

/// A reader that has caught up, then misses two groups of pictures of 400 ms, the second just begun.
async fn behind(policy: StreamPolicy) -> (Hub, Publisher, Subscriber) {
    let hub = hub(|_| {});
    let publisher = hub.publish(&key(), request()).unwrap();
    publisher.set_policy(policy);
    publisher.push(keyframe(0)).unwrap();
    let mut subscriber = hub.subscribe(&key(), SubscribeOptions::default());
    assert_eq!(times(&all(&mut subscriber)), [0]);
    for at in (40..=1000).step_by(40) {
        advance(Duration::from_millis(40)).await;
        publisher.push(if at % 400 == 0 { keyframe(at) } else { inter(at) }).unwrap();
    }
    (hub, publisher, subscriber)
}

#[tokio::test(start_paused = true)]
async fn a_reader_behind_what_the_publisher_allows_goes_on_at_a_keyframe_that_is_new_enough() {
    let policies = [
        StreamPolicy { max_queue_ms: Some(300), ..Default::default() },
        StreamPolicy { max_queue_bytes: Some(2_000), ..Default::default() },
    ];
    for policy in policies {
        let (hub, _publisher, mut subscriber) = behind(policy).await;
        assert_eq!(times(&all(&mut subscriber)), [800, 840, 880, 920, 960, 1000]);
        let stream = hub.stream(&key()).unwrap();
        assert_eq!((stream.lags, stream.frames_skipped, subscriber.skipped()), (1, 19, 19));
        assert!(subscriber.take_jump());
    }
    let (_hub, _publisher, mut subscriber) = behind(StreamPolicy::default()).await;
    assert_eq!(all(&mut subscriber).len(), 25, "without a limit the ring is the limit");
    assert_eq!(subscriber.skipped(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_keeps_what_comes_may_be_as_far_behind_as_the_ring_reaches_whatever_holds_for_players() {
    let hub = hub(|_| {});
    let publisher = hub.publish(&key(), request()).unwrap();
    publisher.set_policy(StreamPolicy { max_queue_ms: Some(300), ..Default::default() });
    let mut recorder = hub.subscribe(&key(), SubscribeOptions::default());
    recorder.rewind(Duration::ZERO);
    publisher.push(keyframe(0)).unwrap();
    assert_eq!(times(&all(&mut recorder)), [0]);
    for at in (40..=1000).step_by(40) {
        advance(Duration::from_millis(40)).await;
        publisher.push(if at % 400 == 0 { keyframe(at) } else { inter(at) }).unwrap();
    }
    assert_eq!((all(&mut recorder).len(), recorder.skipped()), (25, 0));
}

#[tokio::test(start_paused = true)]
async fn where_no_keyframe_is_new_enough_a_reader_goes_on_at_the_live_edge() {
    let policy = StreamPolicy { max_queue_ms: Some(100), ..Default::default() };
    let (_hub, publisher, mut subscriber) = behind(policy).await;
    for frame in [inter(1040), audio(1050), keyframe(1200)] {
        publisher.push(frame).unwrap();
    }
    advance(Duration::from_millis(10)).await;
    assert_eq!(times(&all(&mut subscriber)), [1200]);
    advance(Duration::from_millis(200)).await;
    for frame in [inter(1240), audio(1250)] {
        publisher.push(frame).unwrap();
    }
    assert_eq!(times(&all(&mut subscriber)), [1240, 1250], "it has caught up again");
}

#[tokio::test(start_paused = true)]
async fn the_publisher_decides_where_players_start_and_its_successor_anew() {
    let hub = hub(|_| {});
    let publisher = hub.publish(&key(), request()).unwrap();
    let start = Some(StartAt::LiveEdge);
    publisher.set_policy(StreamPolicy { start, max_start_bytes: Some(1_500), ..Default::default() });
    assert_eq!(hub.start(&key()), start);
    let first_times = || times(&all(&mut hub.subscribe(&key(), SubscribeOptions::default())));
    for frame in [keyframe(0), inter(40), inter(80)] {
        publisher.push(frame).unwrap();
    }
    assert_eq!(first_times(), [0, 40, 80], "1200 bytes since the keyframe");
    for at in 3..8 {
        publisher.push(inter(at * 40)).unwrap();
    }
    assert_eq!(first_times(), [0; 0], "1700 bytes since the keyframe");
    drop(publisher);
    let _successor = hub.publish(&key(), request()).unwrap();
    assert_eq!(hub.start(&key()), None);
    assert_eq!(first_times().len(), 8);
}

#[tokio::test(start_paused = true)]
async fn a_player_may_begin_so_long_ago_as_the_ring_reaches_and_the_publisher_allows() {
    let hub = hub(|limits| limits.ring_ms = 10_000);
    let publisher = hub.publish(&key(), request()).unwrap();
    publisher.push(header(0)).unwrap();
    for second in 0..15 {
        publisher.push(keyframe(second * 1_000)).unwrap();
        publisher.push(inter(second * 1_000 + 500)).unwrap();
        advance(Duration::from_secs(1)).await;
    }
    let first_times = |back: u64| {
        let mut subscriber = hub.subscribe(&key(), SubscribeOptions::default());
        subscriber.go_back(Duration::from_millis(back));
        times(&all(&mut subscriber))
    };
    assert_eq!(first_times(0), [14_000, 14_000, 14_500], "as one that asks for nothing");
    assert_eq!(first_times(3_000), [12_000, 12_000, 12_500, 13_000, 13_500, 14_000, 14_500]);
    assert_eq!(first_times(60_000), first_times(u64::MAX));
    let oldest = first_times(60_000)[0];
    assert!((4_000..=5_000).contains(&oldest), "{oldest}: what the ring has");
    publisher.set_policy(StreamPolicy::default().max_start_bytes(2_500));
    assert_eq!(first_times(3_000), first_times(0), "3,300 bytes since then");
    assert_eq!(first_times(2_000)[0], 13_000, "2,200 bytes since then");
}

#[tokio::test(start_paused = true)]
async fn the_publisher_may_make_its_ring_smaller_but_not_larger() {
    let hub = hub(|limits| limits.ring_bytes = 50_000);
    let publisher = hub.publish(&key(), request()).unwrap();
    let bytes = |ring_bytes| {
        publisher.set_policy(StreamPolicy { ring_bytes: Some(ring_bytes), ..Default::default() });
        (0..100).for_each(|at| publisher.push(keyframe(at * 40)).unwrap());
        hub.stream(&key()).unwrap().ring_bytes
    };
    assert!((8_000..=10_000).contains(&bytes(10_000)));
    assert!((40_000..=50_000).contains(&bytes(10_000_000)));
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_is_asked_for_holds_from_the_first_frame_and_is_what_a_later_one_leaves_open() {
    let hub = hub(|_| {});
    let policy = StreamPolicy::default().start(StartAt::LiveEdge).ring_bytes(10_000);
    let publisher = hub.publish(&key(), PublishRequest { policy, ..request() }).unwrap();
    (0..100).for_each(|at| publisher.push(keyframe(at * 40)).unwrap());
    assert_eq!(hub.start(&key()), Some(StartAt::LiveEdge));
    assert!(hub.stream(&key()).unwrap().ring_bytes <= 10_000);

    publisher.set_policy(StreamPolicy::default().start(StartAt::Keyframe));
    (0..100).for_each(|at| publisher.push(keyframe(at * 40)).unwrap());
    assert_eq!(hub.start(&key()), Some(StartAt::Keyframe));
    assert!(hub.stream(&key()).unwrap().ring_bytes <= 10_000, "as it has begun");

    drop(publisher);
    let successor = hub.publish(&key(), request()).unwrap();
    (0..100).for_each(|at| successor.push(keyframe(at * 40)).unwrap());
    assert!(hub.stream(&key()).unwrap().ring_bytes > 10_000, "a new publisher begins anew");
}

#[tokio::test(start_paused = true)]
async fn metadata_is_at_time_0_whenever_it_comes_and_whoever_joins() {
    let hub = hub(|_| {});
    let publisher = hub.publish(&key(), request()).unwrap();
    let mut subscriber = hub.subscribe(&key(), SubscribeOptions::default());
    for frame in [metadata(5_000, 4), header(5_000), keyframe(5_000), metadata(5_020, 8), inter(5_040)] {
        publisher.push(frame).unwrap();
    }
    assert_eq!(times(&all(&mut subscriber)), [0, 5_000, 5_000, 0, 5_040]);
    let mut late = hub.subscribe(&key(), SubscribeOptions::default());
    assert_eq!(times(&all(&mut late)), [0, 5_000, 5_000, 0, 5_040]);
    let mut at_the_edge =
        hub.subscribe(&key(), SubscribeOptions { start: StartAt::LiveEdge, ..Default::default() });
    assert_eq!(times(&all(&mut at_the_edge)), [0, 5_040]);
}

/// Takes what is there, every 40 ms for so many frames from `first` on, which have no keyframe among them.
async fn watch_inter(publisher: &Publisher, subscriber: &mut Subscriber, first: i64, count: i64) -> Vec<i64> {
    let mut got = Vec::new();
    for number in 0..count {
        advance(Duration::from_millis(40)).await;
        publisher.push(inter(first + number * 40)).unwrap();
        got.extend(all(subscriber).iter().filter(|frame| !frame.is_config()).map(|frame| frame.timestamp));
    }
    got
}

#[tokio::test(start_paused = true)]
async fn a_stream_without_keyframes_is_shown_after_three_seconds() {
    let hub = hub(|limits| limits.ring_ms = 2_000);
    let publisher = hub.publish(&key(), request()).unwrap();
    for frame in [header(0), keyframe(0)] {
        publisher.push(frame).unwrap();
    }
    let mut first = hub.subscribe(&key(), SubscribeOptions::default());
    assert_eq!(watch_inter(&publisher, &mut first, 40, 100).await.len(), 101, "who came with the keyframe");
    let mut late = hub.subscribe(&key(), SubscribeOptions::default());
    let got = watch_inter(&publisher, &mut late, 4_040, 100).await;
    assert_eq!((got.len(), got.first()), (26, Some(&7_000)), "who came later");
    assert!(late.is_caught_up(), "its shard may go on with it");
}

#[tokio::test(start_paused = true)]
async fn an_app_says_how_long_players_wait_for_a_keyframe() {
    let hub = hub(|_| {});
    let policy = crate::AppConfig::default().keyframe_wait_ms(1_000).policy();
    let publisher = hub.publish(&key(), PublishRequest { policy, ..request() }).unwrap();
    let mut late = hub.subscribe(&key(), SubscribeOptions::default());
    assert_eq!(watch_inter(&publisher, &mut late, 0, 50).await.first(), Some(&960));
}

#[tokio::test(start_paused = true)]
async fn a_stream_with_keyframes_is_never_shown_from_elsewhere() {
    let hub = hub(|_| {});
    let publisher = hub.publish(&key(), request()).unwrap();
    publisher.push(keyframe(0)).unwrap();
    let options = SubscribeOptions { start: StartAt::LiveEdge, ..Default::default() };
    let mut subscriber = hub.subscribe(&key(), options);
    assert!(watch_inter(&publisher, &mut subscriber, 40, 250).await.is_empty());
    publisher.push(keyframe(10_040)).unwrap();
    assert_eq!(times(&all(&mut subscriber)), [10_040]);
}

#[tokio::test(start_paused = true)]
async fn a_push_waits_for_no_keyframe_where_there_is_none() {
    let hub = hub(|_| {});
    let publisher = hub.publish(&key(), request()).unwrap();
    publisher.push(inter(0)).unwrap();
    let options = SubscribeOptions { interest: Interest::Follower, ..Default::default() };
    let mut push = hub.subscribe(&key(), options);
    assert_eq!(watch_inter(&publisher, &mut push, 40, 2).await, [40, 80]);
}

#[tokio::test(start_paused = true)]
async fn a_recovery_point_is_a_place_to_start_where_there_is_no_keyframe() {
    let hub = hub(|_| {});
    let publisher = hub.publish(&key(), request()).unwrap();
    let recovery = |at| {
        // NAL units: a recovery point, and a slice of a picture that refers to others.
        let payload = b"\x27\x01\0\0\0\0\0\0\x05\x06\x06\x01\xc4\x80\0\0\0\x02\x41\x9a";
        Frame::new(FrameKind::Video, at, bytes::Bytes::from_static(payload))
    };
    for frame in [header(0), inter(0), recovery(40), inter(80), recovery(120), inter(160)] {
        publisher.push(frame).unwrap();
    }
    let mut subscriber = hub.subscribe(&key(), SubscribeOptions::default());
    assert_eq!(times(&all(&mut subscriber)), [120, 120, 160]);
    publisher.push(keyframe(200)).unwrap();
    publisher.push(recovery(240)).unwrap();
    let mut later = hub.subscribe(&key(), SubscribeOptions::default());
    assert_eq!(times(&all(&mut later)), [200, 200, 240], "a keyframe is better");
}

#[tokio::test(start_paused = true)]
async fn players_stay_after_an_orderly_end_where_the_app_says_so() {
    let hub = hub(|_| {});
    let request = PublishRequest { resume_after_end: true, ..request() };
    let publisher = hub.publish(&key(), request.clone()).unwrap();
    publisher.push(keyframe(0)).unwrap();
    let mut subscriber = hub.subscribe(&key(), SubscribeOptions::default());
    publisher.finish();
    assert_eq!(times(&all(&mut subscriber)), [0]);
    advance(Duration::from_secs(9)).await;
    let next = hub.publish(&key(), request).unwrap();
    next.push(keyframe(5_000)).unwrap();
    assert_eq!(times(&all(&mut subscriber)), [33], "the second film goes on after the first");
    next.finish();
    advance(Duration::from_secs(11)).await;
    assert_eq!(subscriber.take(1, &mut Vec::new()), Err(EndReason::PublisherLost));
}

#[tokio::test(start_paused = true)]
async fn large_metadata_pushes_no_decoder_configuration_out() {
    let hub = hub(|_| {});
    let publisher = hub.publish(&key(), request()).unwrap();
    for frame in [metadata(0, 4), header(0), audio_header(0), metadata(0, 1_300_000), keyframe(0)] {
        publisher.push(frame).unwrap();
    }
    let mut subscriber = hub.subscribe(&key(), SubscribeOptions::default());
    let slots: Vec<_> = all(&mut subscriber).iter().map(|frame| (frame.kind, frame.is_config())).collect();
    assert_eq!(slots, [(FrameKind::Video, true), (FrameKind::Audio, true), (FrameKind::Video, false)]);
}

#[tokio::test(start_paused = true)]
async fn the_header_of_a_codec_that_is_gone_is_not_for_who_joins() {
    let hub = hub(|_| {});
    let publisher = hub.publish(&key(), request()).unwrap();
    let mp3 = |at| Frame::new(FrameKind::Audio, at, bytes::Bytes::from_static(&[0x2f, 0xff, 0xfb]));
    for frame in [header(0), audio_header(0), keyframe(0), audio(0), mp3(26), keyframe(40)] {
        publisher.push(frame).unwrap();
    }
    let mut subscriber = hub.subscribe(&key(), SubscribeOptions::default());
    let config = |frames: &[Frame]| -> Vec<_> {
        frames.iter().filter(|frame| frame.is_config()).map(|frame| frame.kind).collect()
    };
    assert_eq!(config(&all(&mut subscriber)), [FrameKind::Video]);
}

#[tokio::test(start_paused = true)]
async fn the_header_of_a_track_that_is_gone_is_for_who_joins_when_it_is_back() {
    let hub = hub(|_| {});
    let publisher = hub.publish(&key(), request()).unwrap();
    for frame in [header(0), audio_header(0), keyframe(0), audio(0)] {
        publisher.push(frame).unwrap();
    }
    advance(Duration::from_secs(11)).await;
    publisher.push(keyframe(11_000)).unwrap();
    let mut subscriber = hub.subscribe(&key(), SubscribeOptions::default());
    let kinds =
        |frames: &[Frame]| -> Vec<_> { frames.iter().map(|frame| (frame.kind, frame.is_config())).collect() };
    assert_eq!(kinds(&all(&mut subscriber)), [(FrameKind::Video, true), (FrameKind::Video, false)]);
    publisher.push(audio(11_010)).unwrap();
    assert_eq!(kinds(&all(&mut subscriber)), [(FrameKind::Audio, true), (FrameKind::Audio, false)]);
}
