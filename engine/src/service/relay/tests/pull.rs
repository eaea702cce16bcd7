//! Promises of relay pulls.

use super::support::*;
use crate::ErrorKind;
use crate::amf0::Amf0Value;
use crate::config::{PullConfig, PullWhen, RetryTimes};
use crate::events::{Event, Received};
use crate::hub::panic_at_next_frame;
use crate::hub::{EndReason, SubscribeOptions, Subscriber};
use crate::id::RelayId;
use crate::media::{Frame, FrameKind};
use crate::proto::server::ServerEvent;
use crate::status::RelayState;
use crate::status::StreamState;
use bytes::Bytes;
use std::sync::atomic::Ordering;
use std::time::Duration;

fn pull(node: &Node, door: &Door, when: PullWhen, linger_ms: u64) -> RelayId {
    let mut config = PullConfig::new(source(&door.url("up/stream?token=1")), key("live/s"));
    config.when = when;
    config.linger_ms = linger_ms;
    node.relays.pull(config)
}

fn watch(node: &Node, wait: Option<Duration>) -> Subscriber {
    node.core.hub.subscribe(&key("live/s"), SubscribeOptions { wait, ..Default::default() })
}

async fn next_frames(subscriber: &mut Subscriber) -> Result<Vec<Frame>, EndReason> {
    soon("frames or the end", subscriber.ready()).await;
    let mut frames = Vec::new();
    subscriber.take(usize::MAX, &mut frames)?;
    Ok(frames)
}

/// The numbers of the coded video frames up to `last`.
async fn numbers_up_to(subscriber: &mut Subscriber, last: i64) -> Vec<i64> {
    let mut numbers = Vec::new();
    while numbers.last() != Some(&last) {
        let frames = next_frames(subscriber).await.unwrap();
        let coded = frames.iter().filter(|f| f.kind == FrameKind::Video && is_coded(&f.payload));
        numbers.extend(coded.map(|frame| number(&frame.payload)));
    }
    numbers
}

/// A pull whose first frame a viewer has.
async fn pull_and_watch(
    node: &Node,
    door: &Door,
    when: PullWhen,
    linger_ms: u64,
) -> (RelayId, Subscriber, Remote) {
    let id = pull(node, door, when, linger_ms);
    let mut viewer = watch(node, None);
    let mut remote = door.grant().await;
    remote.send(frame(0, 100)).await;
    numbers_up_to(&mut viewer, 0).await;
    (id, viewer, remote)
}

#[tokio::test]
async fn a_pulled_stream_arrives_under_its_local_name_byte_for_byte() {
    let (mut node, door) = (Node::new(|_| ()), Door::open().await);
    let id = pull(&node, &door, PullWhen::Always, 0);
    let mut remote = door.greet().await;
    let connect = remote.connect().await;
    assert_eq!((connect.app.as_str(), connect.hops), ("up", vec![node.core.hop(&key("live/s"))]));
    remote.session.accept();
    let Some(ServerEvent::Play(play)) = remote.event().await else { panic!("no play") };
    assert_eq!(play.name, "stream?token=1");
    remote.session.accept();
    remote.flush().await;
    node.state(id, RelayState::Playing).await;
    assert!(node.core.hub.stream(&key("live/s")).is_none(), "the name is taken with the first media");

    let mut viewer = watch(&node, None);
    for frame in headers() {
        remote.send(frame).await;
    }
    for n in 0..5 {
        remote.send(frame(n, 5000)).await;
    }
    let frames = next_frames(&mut viewer).await.unwrap();
    assert_eq!(frames[0].payload, headers()[0].payload);
    assert_eq!(numbers_up_to(&mut watch(&node, None), 4).await, [0, 1, 2, 3, 4]);
    let info = node.core.hub.stream(&key("live/s")).unwrap();
    let source = info.publisher.unwrap();
    assert!(source.contains(&door.address.to_string()) && !source.contains("token"), "{source}");
}

#[tokio::test]
async fn f33_an_on_demand_pull_starts_with_the_first_viewer_and_ends_after_the_last() {
    let (mut node, door) = (Node::new(|_| ()), Door::open().await);
    let id = pull(&node, &door, PullWhen::Watched, 100);
    tokio::time::timeout(Duration::from_millis(50), door.accept()).await.expect_err("nobody watches yet");
    assert_eq!(node.status(id).state, RelayState::Idle);

    let mut viewer = watch(&node, None);
    let mut remote = door.grant().await;
    remote.send(frame(0, 100)).await;
    assert_eq!(numbers_up_to(&mut viewer, 0).await, [0]);
    let mut follower = watch(&node, None);
    drop(viewer);
    remote.send(frame(1, 100)).await;
    numbers_up_to(&mut follower, 1).await;
    drop(follower);
    assert_eq!(remote.event().await, Some(ServerEvent::StopPlay { stream_id: 1 }), "a clean end");
    assert_eq!(remote.event().await, None);
    let status = node.state(id, RelayState::Idle).await;
    assert_eq!((status.last_error, status.attempts), (None, 1));
    assert!(node.core.hub.stream(&key("live/s")).is_none());

    let _viewer = watch(&node, None);
    door.grant().await;
}

#[tokio::test]
async fn f33_a_viewer_that_returns_within_the_linger_finds_the_stream_running() {
    let (mut node, door) = (Node::new(|_| ()), Door::open().await);
    let (id, viewer, _remote) = pull_and_watch(&node, &door, PullWhen::Watched, 60_000).await;
    drop(viewer);
    assert_eq!(numbers_up_to(&mut watch(&node, None), 0).await, [0]);
    node.state(id, RelayState::Playing).await;
    assert_eq!(node.status(id).attempts, 1);
}

#[tokio::test]
async fn f33_players_wait_for_a_lost_upstream_no_longer_than_the_resume_window() {
    let mut node = Node::new(|config| config.default_app.resume_window_ms = 300);
    let door = Door::open().await;
    let (id, mut viewer, remote) = pull_and_watch(&node, &door, PullWhen::Watched, 100).await;
    door.close();
    drop(remote);
    node.state(id, RelayState::BackingOff).await;
    assert_eq!(node.core.hub.stream(&key("live/s")).unwrap().state, StreamState::Away);
    assert_eq!(next_frames(&mut viewer).await.unwrap_err(), EndReason::PublisherLost);
}

#[tokio::test]
async fn f33_viewers_of_an_upstream_that_never_answers_get_not_published() {
    let (node, door) = (Node::new(|_| ()), Door::open().await);
    pull(&node, &door, PullWhen::Watched, 100);
    let mut viewer = watch(&node, Some(Duration::from_millis(200)));
    let _silent = door.accept().await;
    assert_eq!(next_frames(&mut viewer).await.unwrap_err(), EndReason::NotPublished);
}

#[tokio::test]
async fn a_lost_upstream_that_is_back_resumes_the_same_stream() {
    let (mut node, door) = (Node::new(|_| ()), Door::open().await);
    let (id, mut viewer, remote) = pull_and_watch(&node, &door, PullWhen::Always, 0).await;
    drop(remote);
    let mut remote = door.grant().await;
    remote.send(frame(10, 100)).await;
    assert_eq!(numbers_up_to(&mut viewer, 10).await, [10]);
    let status = node.state(id, RelayState::Playing).await;
    assert_eq!(status.last_error, None);
}

#[tokio::test]
async fn a_pull_that_is_asked_to_reconnect_takes_the_last_frames_and_resumes_the_same_stream() {
    let (node, door) = (Node::new(|_| ()), Door::open().await);
    let (_, mut viewer, mut remote) = pull_and_watch(&node, &door, PullWhen::Always, 0).await;
    assert!(remote.session.request_reconnect(None, "go"));
    remote.send(frame(1, 100)).await;
    assert_eq!(numbers_up_to(&mut viewer, 1).await, [1], "the request has come before it");
    remote.send(frame(2, 100)).await;
    remote.session.end_play(1, "shutting down");
    remote.flush().await;
    assert_eq!(numbers_up_to(&mut viewer, 2).await, [2]);
    drop(remote);
    let mut remote = door.grant().await;
    remote.send(frame(10, 100)).await;
    assert_eq!(numbers_up_to(&mut viewer, 10).await, [10], "the stream has not ended in between");
}

#[tokio::test]
async fn an_upstream_that_asks_to_reconnect_and_sends_on_is_left_all_the_same() {
    let (node, door) = (Node::new(|_| ()), Door::open().await);
    let (_, _viewer, mut remote) = pull_and_watch(&node, &door, PullWhen::Always, 0).await;
    assert!(remote.session.request_reconnect(None, "go"));
    let sends_on = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        for number in 1.. {
            ticks.tick().await;
            if remote.try_send(frame(number, 100)).await.is_err() {
                return;
            }
        }
    });
    door.grant().await;
    soon("the old connection is closed", sends_on).await.unwrap();
}

#[tokio::test]
async fn a_stream_that_ends_upstream_ends_locally_at_once() {
    let (mut node, door) = (Node::new(|_| ()), Door::open().await);
    let (id, mut viewer, mut remote) = pull_and_watch(&node, &door, PullWhen::Always, 0).await;
    remote.session.end_play(1, "over");
    remote.flush().await;
    assert_eq!(next_frames(&mut viewer).await.unwrap_err(), EndReason::Unpublished);
    let status = node.state(id, RelayState::BackingOff).await;
    assert_eq!(status.last_error.unwrap(), "the stream has ended upstream");
}

#[tokio::test]
async fn a_silent_upstream_is_stalled_and_then_given_up() {
    let mut node = Node::with_limits(|limits| limits.publisher_timeout_ms = 300);
    let door = Door::open().await;
    let id = pull(&node, &door, PullWhen::Always, 0);
    let mut remote = door.grant().await;
    remote.send(frame(0, 100)).await;
    node.state(id, RelayState::Stalled).await;
    let status = node.state(id, RelayState::BackingOff).await;
    assert!(status.last_error.unwrap().starts_with("the upstream has sent no media for 300 ms"));
}

#[tokio::test]
async fn an_upstream_that_shows_a_still_picture_and_answers_pings_is_kept() {
    let mut node = Node::with_limits(|limits| limits.publisher_timeout_ms = 300);
    let door = Door::open().await;
    let id = pull(&node, &door, PullWhen::Always, 0);
    let mut remote = door.grant().await;
    remote.send(frame(0, 100)).await;
    node.state(id, RelayState::Stalled).await;
    let start = std::time::Instant::now();
    while start.elapsed() < Duration::from_millis(1_200) {
        // Its session answers what it reads.
        let _ = tokio::time::timeout(Duration::from_millis(20), remote.event()).await;
        remote.flush().await;
    }
    assert_eq!((node.status(id).attempts, node.status(id).state), (1, RelayState::Stalled));
}

#[tokio::test]
async fn w10_an_upstream_that_sends_no_media_but_answers_is_left_as_its_app_says_and_where_it_never_begins() {
    let app = "the upstream has sent no media for 400 ms, which is what the app allows";
    let first = "the upstream has sent no media in its first 500 ms";
    for (max_media_gap_ms, has_begun, expected) in [(Some(400), true, app), (None, false, first)] {
        let mut node = Node::new(|config| {
            (config.limits.publisher_timeout_ms, config.limits.first_media_timeout_ms) = (1_000, 500);
            config.default_app.max_media_gap_ms = max_media_gap_ms;
        });
        let door = Door::open().await;
        let id = pull(&node, &door, PullWhen::Always, 0);
        let mut remote = door.grant().await;
        if has_begun {
            remote.send(frame(1, 100)).await;
        }
        let empty = Frame::new(FrameKind::Audio, 0, Bytes::new());
        let send = async {
            while remote.try_send(empty.clone()).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let (status, ()) = tokio::join!(node.state(id, RelayState::BackingOff), send);
        assert_eq!(status.last_error.unwrap(), expected);
        assert_eq!(node.core.hub.stream(&key("live/s")).unwrap().state, StreamState::Away);
    }
}

#[tokio::test]
async fn a_taken_local_name_makes_the_pull_wait_and_leaves_its_publisher_alone() {
    let (mut node, door) = (Node::new(|_| ()), Door::open().await);
    let publisher = node.publish("live/s");
    publisher.push(frame(0, 100)).unwrap();
    let id = pull(&node, &door, PullWhen::Always, 0);
    let mut remote = door.grant().await;
    remote.send(frame(0, 100)).await;
    let status = node.state(id, RelayState::BackingOff).await;
    assert!(status.last_error.unwrap().contains("live/s: already publishing"));
    publisher.push(frame(1, 100)).unwrap();
}

#[tokio::test]
async fn f32_a_pull_of_a_stream_into_itself_is_refused_at_connect() {
    let mut node = Node::new(|_| ());
    let config = PullConfig::new(source(&format!("rtmp://{}/live/a", node.serve())), key("live/a"));
    let id = node.relays.pull(config);
    let status = node.state(id, RelayState::BackingOff).await;
    assert!(status.last_error.unwrap().contains("relay loop"));
}

#[tokio::test]
async fn f32_an_engine_may_pull_its_own_stream_under_another_name_but_not_round_in_circles() {
    let mut node = Node::new(|_| ());
    let address = node.serve();
    let of = |stream: &str| source(&format!("rtmp://{address}/live/{stream}"));
    let publishing = node.keep_publishing("live/a", 100);
    let copy = node.relays.pull(PullConfig::new(of("a"), key("live/s")));
    node.state(copy, RelayState::Playing).await;
    next_frames(&mut watch(&node, None)).await.unwrap();
    let back = node.relays.pull(PullConfig::new(of("s"), key("live/a")));
    let status = node.state(back, RelayState::BackingOff).await;
    assert!(status.last_error.unwrap().contains("relay loop"), "{:?}", node.status(back));
    assert_eq!(node.status(copy).attempts, 1);
    publishing.abort();
}

#[tokio::test]
async fn f32_two_engines_that_pull_from_each_other_do_not_go_round_in_circles() {
    let (mut a, b) = (Node::new(|_| ()), Node::new(|_| ()));
    let (at_a, at_b) = (format!("rtmp://{}/live/s", a.serve()), format!("rtmp://{}/live/s", b.serve()));
    let publisher = a.publish("live/s");
    publisher.push(frame(0, 100)).unwrap();
    b.relays.pull(PullConfig::new(source(&at_a), key("live/s")));
    let mut viewer = watch(&b, None);
    numbers_up_to(&mut viewer, 0).await;
    let back = a.relays.pull(PullConfig::new(source(&at_b), key("live/s")));
    let status = a.state(back, RelayState::BackingOff).await;
    assert!(status.last_error.unwrap().contains("relay loop"), "{:?}", a.status(back));
    publisher.push(frame(1, 100)).unwrap();
    assert_eq!(numbers_up_to(&mut viewer, 1).await, [1]);
}

#[tokio::test]
async fn f32_a_pushed_stream_is_not_pulled_back_into_itself_but_may_be_under_another_name() {
    let (mut a, b) = (Node::new(|_| ()), Node::new(|_| ()));
    let at_b = format!("rtmp://{}/live/s", b.serve());
    let publishing = a.keep_publishing("live/s", 100);
    let onward = a.push_to("live/s", &at_b);
    a.state(onward, RelayState::Publishing).await;
    next_frames(&mut watch(&b, None)).await.unwrap();
    let copy = a.relays.pull(PullConfig::new(source(&at_b), key("live/copy")));
    a.state(copy, RelayState::Playing).await;
    let back = a.relays.pull(PullConfig::new(source(&at_b), key("live/s")));
    let status = a.state(back, RelayState::BackingOff).await;
    assert!(status.last_error.unwrap().contains("relay loop"), "{:?}", a.status(back));
    publishing.abort();
}

#[tokio::test]
async fn f52_a_panic_costs_one_attempt_of_one_relay_and_is_counted() {
    let (mut node, door, other_door) = (Node::new(|_| ()), Door::open().await, Door::open().await);
    let id = pull(&node, &door, PullWhen::Always, 0);
    let mut remote = door.grant().await;
    let other = node.relays.pull(PullConfig::new(source(&other_door.url("up/stream")), key("live/other")));
    let mut other_remote = other_door.grant().await;
    other_remote.send(frame(0, 100)).await;
    let mut viewer = node.core.hub.subscribe(&key("live/other"), SubscribeOptions::default());
    numbers_up_to(&mut viewer, 0).await;

    remote.send(frame(0, 100)).await;
    let mut started = node.core.hub.subscribe(&key("live/s"), SubscribeOptions::default());
    numbers_up_to(&mut started, 0).await;
    let _bug = panic_at_next_frame(&node.core.hub, &key("live/s"));
    remote.send(frame(1, 100)).await;
    let status = node.state(id, RelayState::BackingOff).await;
    assert_eq!(status.last_error_kind, Some(ErrorKind::Internal));
    assert!(status.last_error.unwrap().contains("bug"));
    assert_eq!(node.core.sessions.totals().panics.load(Ordering::Relaxed), 1);
    other_remote.send(frame(1, 100)).await;
    assert_eq!(numbers_up_to(&mut viewer, 1).await, [1], "the other relay goes on");
    assert_eq!(node.status(other).state, RelayState::Playing);
    let again = tokio::time::timeout(Duration::from_millis(300), door.accept()).await;
    assert!(again.is_err(), "a bug may come again at once: it waits");
    node.relays.restart(id).unwrap();
    door.grant().await;
}

#[tokio::test]
async fn a_pull_may_have_a_time_to_connect_and_a_number_of_attempts_and_fields_of_connect_of_its_own() {
    let (mut node, door) = (Node::new(|_| ()), Door::open().await);
    let mut config = PullConfig::new(source(&door.url("up/stream")), key("live/s"));
    config.retry = Some(RetryTimes { min_ms: 1, max_ms: 1 });
    config.max_retries = Some(1);
    config.connect_timeout_ms = Some(300);
    config.connect.insert("pageUrl".into(), "http://page".into());
    let id = node.relays.pull(config);
    let _silent = door.accept().await;
    let mut remote = door.greet().await;
    let connect = remote.connect().await;
    assert_eq!(connect.object["pageUrl"], Amf0Value::Utf8String("http://page".into()));
    let status = node.state(id, RelayState::Failed).await;
    assert_eq!((status.attempts, status.last_error_kind), (2, Some(ErrorKind::Timeout)));
}

#[tokio::test]
async fn f18_an_upstream_that_sends_too_fast_is_left_and_asked_again_later() {
    let (mut node, door) =
        (Node::with_limits(|limits| limits.publisher_bytes_per_s = 100_000), Door::open().await);
    let mut told = node.core.events.subscribe();
    let (id, viewer, mut remote) = pull_and_watch(&node, &door, PullWhen::Always, 0).await;
    for n in 1..100 {
        // The pull may be gone before the last of them.
        let _ = tokio::time::timeout(Duration::from_secs(5), remote.try_send(frame(n, 10_000))).await;
    }
    let status = node.state(id, RelayState::BackingOff).await;
    let error = status.last_error.unwrap();
    assert!(error.contains("upstream sends too fast") && error.contains("publisher_bytes_per_s"), "{error}");
    let reason = soon("the end of the stream", async {
        loop {
            if let Some(Received::Event(Event::StreamEnded { reason, .. })) = told.next().await {
                return reason;
            }
        }
    });
    assert_eq!(reason.await, error);
    assert_eq!(node.core.hub.stream(&key("live/s")).unwrap().state, StreamState::Away, "its viewers wait");
    drop(viewer);
    door.grant().await;
}
