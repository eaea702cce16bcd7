//! Promises of relay pushes.

use super::support::*;
use crate::ErrorKind;
use crate::OnRefusal;
use crate::amf0::Amf0Value;
use crate::config::PushConfig;
use crate::hub::{Interest, PublishRequest, SubscribeOptions};
use crate::limits::Limits;
use crate::media::{Frame, FrameKind};
use crate::proto::client::StopCommands;
use crate::proto::server::ServerEvent;
use crate::status::RelayState;
use crate::testing::inter;
use crate::testing::wait::at_most;
use bytes::Bytes;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

#[tokio::test]
async fn a_push_waits_for_the_stream_and_starts_with_headers_and_the_newest_keyframe() {
    let (mut node, door) = (Node::new(|_| ()), Door::open().await);
    let id = node.push_to("live/s", &door.url("remote/app/name?token=1"));
    assert_eq!(node.status(id).state, RelayState::Idle);
    let publisher = node.publish("live/s");
    headers().into_iter().chain((0..15).map(|n| frame(n, 100))).for_each(|f| publisher.push(f).unwrap());

    let mut remote = door.greet().await;
    let connect = remote.connect().await;
    assert_eq!(connect.app, "remote/app");
    assert_eq!(connect.hops, [node.core.hop(&key("live/s"))]);
    remote.session.accept();
    let Some(ServerEvent::Publish(publish)) = remote.event().await else { panic!("no publish") };
    assert_eq!(publish.name, "name?token=1", "the query is for the target");
    remote.session.accept();
    for header in headers() {
        assert_eq!(remote.media().await, (header.kind, header.payload));
    }
    assert_eq!(remote.frame_number().await, 10, "the newest keyframe");
    publisher.push(frame(15, 100_000)).unwrap();
    while remote.frame_number().await != 15 {}

    let status = node.state(id, RelayState::Publishing).await;
    assert_eq!((status.attempts, status.retries, status.last_error), (1, 0, None));
    assert!(!status.url.to_string().contains("token"));
    publisher.finish();
    assert_eq!(remote.event().await, Some(ServerEvent::Unpublish { stream_id: 1 }), "a clean unpublish");
    assert_eq!(remote.event().await, None);
    let status = node.state(id, RelayState::Idle).await;
    assert_eq!(status.frames, 3 + 6);
    assert!(status.bytes_sent > 100_000, "{status:?}");

    let again = node.publish("live/s");
    again.push(frame(0, 100)).unwrap();
    door.grant().await;
}

#[tokio::test]
async fn the_connection_stays_while_the_publisher_is_away_in_its_resume_window() {
    let (mut node, door) = (Node::new(|_| ()), Door::open().await);
    let publisher = node.publish("live/s");
    publisher.push(frame(0, 100)).unwrap();
    let id = node.push_to("live/s", &door.url("a/b"));
    let mut remote = door.grant().await;
    assert_eq!(remote.frame_number().await, 0);
    drop(publisher);
    let publisher = node.publish("live/s");
    publisher.push(frame(10, 100)).unwrap();
    assert_eq!(remote.frame_number().await, 10, "on the same connection");
    node.state(id, RelayState::Publishing).await;
    assert_eq!(node.status(id).attempts, 1);
}

/// The target is killed, and back after `outage`; another target must not notice.
async fn kill_and_return(outage: Duration) {
    let (mut node, door, healthy) = (Node::new(|_| ()), Door::open().await, Door::open().await);
    let id = node.push_to("live/s", &door.url("a/b"));
    node.push_to("live/s", &healthy.url("a/b"));
    let publishing = node.keep_publishing("live/s", 100);
    let mut remote = door.grant().await;
    let mut other = healthy.grant().await;
    remote.frame_number().await;
    let mut first = other.frame_number().await;
    let witness = tokio::spawn(async move {
        loop {
            let next = other.frame_number().await;
            assert_eq!(next, first + 1, "the healthy target has lost a frame");
            first = next;
        }
    });
    node.state(id, RelayState::Publishing).await;

    let address = door.close();
    drop(remote);
    let killed = Instant::now();
    node.state(id, RelayState::BackingOff).await;
    node.state(id, RelayState::Resolving).await;
    assert!(
        killed.elapsed() <= at_most(Duration::from_millis(300)),
        "first try after {:?}",
        killed.elapsed()
    );
    tokio::time::sleep_until((killed + outage).into()).await;

    let door = Door::open_at(address);
    let listening = Instant::now();
    let mut remote = door.grant().await;
    assert!(listening.elapsed() <= at_most(Duration::from_secs(1)), "back after {:?}", listening.elapsed());
    for header in headers() {
        assert_eq!(remote.media().await.0, header.kind);
    }
    let number = remote.frame_number().await;
    assert_eq!(number % 10, 0, "the first frame is a keyframe");
    let status = node.state(id, RelayState::Publishing).await;
    assert!(status.retries >= 1 && status.attempts == status.retries + 1, "{status:?}");
    assert!(!witness.is_finished(), "the healthy target has lost something");
    witness.abort();
    publishing.abort();
}

#[tokio::test]
async fn f28_a_killed_target_that_is_back_after_200_ms_gets_the_stream_within_a_second() {
    kill_and_return(Duration::from_millis(200)).await;
}

#[tokio::test]
async fn f28_a_killed_target_that_is_back_after_2_s_gets_the_stream_within_a_second() {
    kill_and_return(Duration::from_secs(2)).await;
}

#[tokio::test]
async fn f29_a_target_that_stalls_in_the_handshake_is_given_up_at_the_deadline() {
    let mut node = Node::with_limits(|limits| limits.handshake_timeout_ms = 100);
    let door = Door::open().await;
    let publishing = node.keep_publishing("live/s", 100);
    let id = node.push_to("live/s", &door.url("a/b"));
    let _silent = door.accept().await;
    let status = node.state(id, RelayState::BackingOff).await;
    assert_eq!(status.last_error_kind, Some(ErrorKind::Timeout));
    assert!(status.last_error.unwrap().contains("the RTMP handshake took longer than 100 ms"));
    door.greet().await;
    publishing.abort();
}

#[tokio::test]
async fn f29_a_target_that_answers_nothing_is_given_up_at_the_command_deadline() {
    let mut node = Node::with_limits(|limits| limits.command_timeout_ms = 100);
    let door = Door::open().await;
    let publishing = node.keep_publishing("live/s", 100);
    let id = node.push_to("live/s", &door.url("a/b"));
    let mut remote = door.greet().await;
    remote.connect().await;
    let status = node.state(id, RelayState::BackingOff).await;
    assert!(status.last_error.unwrap().contains("connect, publish or play took longer than 100 ms"));
    publishing.abort();
}

#[tokio::test]
async fn f29_a_target_that_stops_reading_is_stalled_and_then_given_up_while_others_go_on() {
    let mut node = Node::with_limits(|limits| limits.write_timeout_ms = 400);
    let (door, healthy) = (Door::open().await, Door::open().await);
    let publishing = node.keep_publishing("live/s", 200_000);
    let id = node.push_to("live/s", &door.url("a/b"));
    let other = node.push_to("live/s", &healthy.url("a/b"));
    let stuck = door.grant().await;
    let mut remote = healthy.grant().await;
    let mut last = remote.frame_number().await;
    let witness = tokio::spawn(async move {
        loop {
            let next = remote.frame_number().await;
            assert_eq!(next, last + 1);
            last = next;
        }
    });
    node.state(id, RelayState::Stalled).await;
    let status = node.state(id, RelayState::BackingOff).await;
    assert!(status.last_error.unwrap().starts_with("stalled: the target has taken nothing for 400 ms"));
    assert!(!witness.is_finished());
    assert_eq!(node.status(other).attempts, 1);
    drop(stuck);
    witness.abort();
    publishing.abort();
}

#[tokio::test]
async fn whatever_a_target_acknowledges_it_gets_the_stream() {
    let mut node = Node::with_limits(|limits| limits.write_timeout_ms = 1_000);
    let publishing = node.keep_publishing("live/s", 100_000);
    // Always the same number, what came since the last time, once, numbers of another connection, none.
    let ways: [fn(u64) -> Option<u32>; 5] = [
        |_| Some(2_500_000),
        |_| Some(100_000),
        |frames| (frames == 1).then_some(100_000),
        |frames| Some(0xf000_0000_u32.wrapping_add(frames as u32 * 0x0100_0000)),
        |_| None,
    ];
    for acknowledge in ways {
        let door = Door::open().await;
        let id = node.push_to("live/s", &door.url("a/b"));
        let mut remote = door.grant().await;
        let mut last = remote.frame_number().await;
        // 15 MB in 1.5 s: far more than any window, for longer than a stall may last.
        for frames in 1..150 {
            let next = remote.frame_number().await;
            assert_eq!(next, last + 1);
            last = next;
            if let Some(total) = acknowledge(frames) {
                remote
                    .write(&[&[2, 0, 0, 0, 0, 0, 4, 3, 0, 0, 0, 0][..], &total.to_be_bytes()].concat())
                    .await;
            }
        }
        let status = node.status(id);
        assert_eq!((status.attempts, &status.last_error), (1, &None));
        assert!(status.bytes_acknowledged <= 151 * 100_100, "more than was sent: {status:?}");
        drop(remote);
        node.state(id, RelayState::BackingOff).await;
        node.relays.remove(id).unwrap();
    }
    publishing.abort();
}

#[tokio::test]
async fn f29_a_target_that_only_asks_and_does_not_read_the_answers_is_not_read_from() {
    let (node, door) = (Node::new(|_| ()), Door::open().await);
    let _publisher = node.keep_publishing("live/s", 100);
    let id = node.push_to("live/s", &door.url("up/s"));
    let mut remote = door.grant().await;
    // More than the kernel takes for both ends, which is up to 40 MB.
    let pings = [2, 0, 0, 0, 0, 0, 6, 4, 0, 0, 0, 0, 0, 6, 0, 0, 0, 1].repeat(64 * 1024 * 1024 / 18);
    let stopped_reading = async {
        let mut before = 0;
        loop {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let received = node.status(id).bytes_received;
            if received > 10_000 && received == before {
                return received;
            }
            before = received;
        }
    };
    tokio::select! {
        () = remote.write(&pings) => panic!("everything was read"),
        received = soon("a pause", stopped_reading) => assert!(received < 2 * 1024 * 1024, "{received} bytes"),
    }
}

#[tokio::test]
async fn f29_a_target_that_trickles_is_given_up_by_the_lag_rule() {
    let mut node = Node::with_limits(|limits| {
        limits.ring_ms = 400;
        limits.max_lags = 2;
    });
    let door = Door::open().await;
    let publishing = node.keep_publishing("live/s", 100_000);
    let id = node.push_to("live/s", &door.url("a/b"));
    let mut remote = door.grant().await;
    let trickle = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        while remote.trickle().await > 0 {
            ticks.tick().await;
        }
    });
    let status = node.state(id, RelayState::BackingOff).await;
    assert_eq!(status.last_error_kind, Some(ErrorKind::Limit), "{status:?}");
    assert!(!trickle.is_finished(), "some bytes always moved");
    trickle.abort();
    publishing.abort();
}

#[tokio::test]
async fn f30_a_refusal_is_told_in_the_targets_own_words_and_waits_at_least_5_s() {
    let (mut node, door) = (Node::new(|_| ()), Door::open().await);
    let publishing = node.keep_publishing("live/s", 100);
    let id = node.push_to("live/s", &door.url("a/b"));
    let mut remote = door.greet().await;
    remote.connect().await;
    remote.session.accept();
    remote.event().await;
    remote.refuse("NetStream.Publish.BadName", "stream key\r\nexpired").await;
    let status = node.state(id, RelayState::BackingOff).await;
    assert_eq!(status.last_error_kind, Some(ErrorKind::Rejected));
    let words = status.last_error.unwrap();
    assert_eq!(words, "refused: NetStream.Publish.BadName: stream key\\u{d}\\u{a}expired");
    let soon_after = tokio::time::timeout(Duration::from_millis(1500), door.accept()).await;
    assert!(soon_after.is_err(), "asked again too early");
    assert_eq!(node.status(id).state, RelayState::BackingOff);
    publishing.abort();
}

#[tokio::test]
async fn f30_a_refusal_of_connect_is_final_where_the_job_says_so_and_a_restart_tries_again() {
    let (mut node, door) = (Node::new(|_| ()), Door::open().await);
    let publishing = node.keep_publishing("live/s", 100);
    let mut config = PushConfig::new(key("live/s"), url(&door.url("a/b")));
    config.on_refusal = OnRefusal::Fail;
    let id = node.relays.push(config);
    let mut remote = door.greet().await;
    remote.connect().await;
    remote.refuse("NetConnection.Connect.Rejected", "403 forbidden").await;
    let status = node.state(id, RelayState::Failed).await;
    assert_eq!(status.last_error.unwrap(), "refused: NetConnection.Connect.Rejected: 403 forbidden");
    node.relays.restart(id).unwrap();
    door.grant().await;
    node.state(id, RelayState::Publishing).await;
    publishing.abort();
}

#[tokio::test]
async fn f30_an_error_in_the_middle_of_publishing_ends_the_attempt_with_its_words() {
    let (mut node, door) = (Node::new(|_| ()), Door::open().await);
    let publishing = node.keep_publishing("live/s", 100);
    let id = node.push_to("live/s", &door.url("a/b"));
    let mut remote = door.grant().await;
    remote.frame_number().await;
    let kicked = crate::proto::server::Rejection {
        code: "NetStream.Publish.Denied",
        description: "quota used up".to_owned(),
    };
    remote.session.end_publish(1, &kicked);
    remote.flush().await;
    let status = node.state(id, RelayState::BackingOff).await;
    assert_eq!(status.last_error.unwrap(), "refused: NetStream.Publish.Denied: quota used up");
    publishing.abort();
}

#[tokio::test]
async fn f31_a_black_hole_and_an_unknown_name_are_told_apart_and_hurt_nobody() {
    let mut node = Node::with_limits(|limits| limits.handshake_timeout_ms = 300);
    let (hole, _fillers) = black_hole().await;
    let healthy = Door::open().await;
    let publishing = node.keep_publishing("live/s", 100);
    let other = node.push_to("live/s", &healthy.url("a/b"));
    let dark = node.push_to("live/s", &format!("rtmp://{hole}/a/b"));
    let mut remote = healthy.grant().await;
    remote.frame_number().await;
    let status = node.state(dark, RelayState::BackingOff).await;
    assert_eq!(status.last_error_kind, Some(ErrorKind::Timeout), "{status:?}");
    assert!(status.last_error.unwrap().contains("connecting took longer than 300 ms"));

    let unknown = node.push_to("live/s", "rtmp://nonexistent.invalid/a/b");
    let status = node.state(unknown, RelayState::BackingOff).await;
    let kind = status.last_error_kind.unwrap();
    assert!(matches!(kind, ErrorKind::Resolve | ErrorKind::Timeout), "{kind:?}");
    assert!(status.last_error.unwrap().starts_with("nonexistent.invalid:1935: "));
    assert_eq!(node.status(other).attempts, 1);
    publishing.abort();
}

/// An address that answers no SYN: a listener whose backlog is full.
async fn black_hole() -> (std::net::SocketAddr, (tokio::net::TcpListener, Vec<TcpStream>)) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut fillers = Vec::new();
    while let Ok(Ok(filler)) =
        tokio::time::timeout(Duration::from_millis(100), TcpStream::connect(address)).await
    {
        fillers.push(filler);
    }
    (address, (listener, fillers))
}

#[tokio::test]
async fn f32_a_push_of_a_stream_into_itself_is_refused_also_by_way_of_another_name() {
    let mut node = Node::new(|_| ());
    let address = node.serve();
    let publishing = node.keep_publishing("live/a", 100);
    let at = |stream: &str| format!("rtmp://{address}/live/{stream}");
    let copy = node.push_to("live/a", &at("b"));
    node.state(copy, RelayState::Publishing).await;
    for (from, to) in [("live/a", "a"), ("live/b", "a"), ("live/b", "b")] {
        let id = node.push_to(from, &at(to));
        let status = node.state(id, RelayState::BackingOff).await;
        assert!(status.last_error.unwrap().contains("relay loop"), "{from} to {to}");
    }
    assert_eq!(node.status(copy).attempts, 1, "another name is no loop");
    publishing.abort();
}

#[tokio::test]
async fn f32_two_engines_that_push_to_each_other_are_cut_at_the_second() {
    let (mut a, mut b) = (Node::new(|_| ()), Node::new(|_| ()));
    let (to_a, to_b) = (format!("rtmp://{}/live/s", a.serve()), format!("rtmp://{}/live/s", b.serve()));
    let onward = a.push_to("live/s", &to_b);
    let back = b.push_to("live/s", &to_a);
    let publishing = a.keep_publishing("live/s", 100);
    a.state(onward, RelayState::Publishing).await;
    let status = b.state(back, RelayState::BackingOff).await;
    assert!(status.last_error.unwrap().contains("relay loop"));
    assert_eq!(a.status(onward).attempts, 1);
    publishing.abort();
}

#[tokio::test]
async fn f32_a_stream_that_has_passed_eight_engines_is_not_pushed_on() {
    let (mut node, door) = (Node::new(|_| ()), Door::open().await);
    let hops = (0..8).map(|n| format!("{n:032x}")).collect();
    let publisher =
        node.core.hub.publish(&key("live/s"), PublishRequest { hops, ..Default::default() }).unwrap();
    publisher.push(frame(0, 100)).unwrap();
    let id = node.push_to("live/s", &door.url("a/b"));
    let status = node.state(id, RelayState::BackingOff).await;
    assert!(status.last_error.unwrap().contains("8 engines"));
    assert_eq!(status.bytes_sent, 0, "nothing was dialled");
}

#[tokio::test]
async fn a_removed_push_unpublishes_and_nobody_else_notices() {
    let (mut node, door, healthy) = (Node::new(|_| ()), Door::open().await, Door::open().await);
    let publishing = node.keep_publishing("live/s", 100);
    let id = node.push_to("live/s", &door.url("a/b"));
    node.push_to("live/s", &healthy.url("a/b"));
    let (mut remote, mut other) = (door.grant().await, healthy.grant().await);
    let before = other.frame_number().await;
    node.state(id, RelayState::Publishing).await;
    node.relays.remove(id).unwrap();
    assert_eq!(node.relays.status(id), None);
    loop {
        match remote.event().await {
            Some(ServerEvent::Media { .. }) => {}
            Some(ServerEvent::Unpublish { .. }) => break,
            other => panic!("a clean unpublish expected: {other:?}"),
        }
    }
    assert_eq!(remote.event().await, None);
    for number in before + 1..before + 20 {
        assert_eq!(other.frame_number().await, number);
    }
    assert_eq!(node.relays.remove(id).unwrap_err().kind(), ErrorKind::NotFound);
    publishing.abort();
}

#[tokio::test]
async fn a_target_that_is_slow_to_connect_starts_at_the_newest_keyframe_and_a_fast_one_misses_nothing() {
    for (slowness, first) in [(Duration::ZERO, 0), (Duration::from_millis(1_100), 10)] {
        let (node, door) = (Node::new(|_| ()), Door::open().await);
        node.push_to("live/s", &door.url("a/b"));
        let publisher = node.publish("live/s");
        publisher.push(frame(0, 100)).unwrap();
        let mut remote = door.greet().await;
        (1..15).for_each(|number| publisher.push(frame(number, 100)).unwrap());
        tokio::time::pause();
        tokio::time::advance(slowness).await;
        tokio::time::resume();
        remote.grant().await;
        assert_eq!(remote.frame_number().await, first, "{slowness:?}");
    }
}

#[tokio::test]
async fn a_target_that_never_closes_its_side_is_left_after_the_goodbye() {
    let (node, door) = (Node::new(|_| ()), Door::open().await);
    let publishing = node.keep_publishing("live/s", 100);
    let id = node.push_to("live/s", &door.url("a/b"));
    let mut remote = door.grant().await;
    remote.frame_number().await;
    node.relays.remove(id).unwrap();
    while remote.event().await.is_some() {}
    publishing.abort();
    node.core.tasks.close();
    soon("the relay ends", node.core.tasks.wait()).await;
    drop(remote);
}

#[tokio::test]
async fn f19_a_target_that_does_not_read_is_handed_one_batch_only() {
    const SIZE: usize = 10_000;
    let mut node = Node::with_limits(|limits| limits.write_timeout_ms = 2_000);
    let door = Door::open().await;
    let id = node.push_to("live/s", &door.url("a/b"));
    let publisher = node.publish("live/s");
    publisher.push(frame(0, SIZE)).unwrap();
    let mut remote = door.greet().await;
    // Far more than the sockets hold.
    (1..2_000).for_each(|time| publisher.push(inter(time, SIZE)).unwrap());
    remote.grant().await;
    let status = node.state(id, RelayState::Stalled).await;
    let handed = status.frames * SIZE as u64;
    let most = status.bytes_sent + (Limits::default().player_batch + SIZE) as u64;
    assert!(status.frames > 10 && handed <= most, "{handed} bytes were handed out, {most} may be");
    assert!(remote.trickle().await > 0);
}

#[tokio::test]
async fn draining_unpublishes_everywhere() {
    let (node, door) = (Node::new(|_| ()), Door::open().await);
    let publishing = node.keep_publishing("live/s", 100);
    node.push_to("live/s", &door.url("a/b"));
    let mut remote = door.grant().await;
    remote.frame_number().await;
    node.core.draining.cancel();
    while !matches!(remote.event().await, Some(ServerEvent::Unpublish { .. })) {}
    drop(remote);
    node.core.tasks.close();
    soon("all tasks end", node.core.tasks.wait()).await;
    publishing.abort();
}

#[tokio::test]
async fn f39_a_reconnect_request_is_followed_to_the_place_of_the_url_only() {
    let (mut node, door) = (Node::new(|_| ()), Door::open().await);
    let publishing = node.keep_publishing("live/s", 100);
    let url = door.url("a/b");
    let id = node.push_to("live/s", &url);
    let mut remote = door.grant().await;
    let other = Door::open().await;
    for elsewhere in ["rtmp://192.0.2.1/a", &other.url("a"), "/other"] {
        assert!(remote.session.request_reconnect(Some(elsewhere), "go"), "announced in connect");
        remote.flush().await;
    }
    let before = remote.frame_number().await;
    while remote.frame_number().await < before + 20 {}
    assert_eq!(node.status(id).attempts, 1, "no other place is dialled");
    let job = node.relays.jobs.get(id).unwrap();
    assert_eq!(job.relay.ignored.allow(), None, "W5: a server cannot fill the log with such requests");

    remote.session.request_reconnect(url.strip_suffix("/b"), "go");
    remote.flush().await;
    while !matches!(remote.event().await, Some(ServerEvent::Unpublish { .. })) {}
    drop(remote);
    let mut remote = door.greet().await;
    assert_eq!(remote.connect().await.app, "a");
    node.state(id, RelayState::Handshaking).await;
    publishing.abort();
}

#[tokio::test]
async fn a_target_that_floods_us_with_control_messages_is_read_from_in_measure_and_gets_its_stream() {
    let (node, door) = (Node::new(|_| ()), Door::open().await);
    let publishing = node.keep_publishing("live/s", 100);
    let id = node.push_to("live/s", &door.url("a/b"));
    let mut remote = door.grant().await;
    let start = std::time::Instant::now();
    // Messages that have no answer, so that it is not our answers that stop the reading.
    remote.write(&[2, 0, 0, 0, 0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1].repeat(40_000)).await;
    let all = 40_000 * 18;
    while node.status(id).bytes_received < all {
        remote.frame_number().await;
    }
    let seconds = start.elapsed().as_secs_f64();
    assert!(seconds >= 2.0, "40,000 messages were read in {seconds:.2} s");
    assert_eq!(node.status(id).attempts, 1);
    publishing.abort();
}

#[tokio::test]
async fn user_and_password_are_used_when_the_server_asks_for_them() {
    let (mut node, door) = (Node::new(|_| ()), Door::open().await);
    let publishing = node.keep_publishing("live/s", 100);
    let id = node.push_to("live/s", &format!("rtmp://user:pass@{}/a/b", door.address));
    let mut remote = door.greet().await;
    assert_eq!(remote.connect().await.app, "a");
    let code = "NetConnection.Connect.Rejected";
    remote.refuse(code, "[ AccessManager.Reject ] : [ code=403 need auth; authmod=adobe ] : ").await;
    let mut remote = door.greet().await;
    assert_eq!(remote.connect().await.app, "a?authmod=adobe&user=user");
    let challenge = "[ authmod=adobe ] : ?reason=needauth&user=user&salt=c2E=&challenge=Y2g=&opaque=b3A=";
    remote.refuse(code, challenge).await;
    let mut remote = door.greet().await;
    let app = remote.connect().await.app;
    assert!(app.contains("&response=") && app.ends_with("&opaque=b3A="), "{app}");
    remote.refuse(code, "[ authmod=adobe ] : ?reason=authfailed").await;
    let status = node.state(id, RelayState::BackingOff).await;
    assert_eq!(status.attempts, 1, "three connections are one attempt");
    assert!(status.last_error.unwrap().contains("authfailed"));
    publishing.abort();
}

#[tokio::test]
async fn a_push_is_no_reason_to_fetch_a_stream_on_demand() {
    let (node, door) = (Node::new(|_| ()), Door::open().await);
    node.push_to("live/s", &door.url("a/b"));
    let demand = node.core.hub.demand(&key("live/s"));
    tokio::task::yield_now().await;
    assert_eq!(*demand.borrow(), 0);
    let viewer = SubscribeOptions { interest: Interest::Viewer, ..Default::default() };
    let _viewer = node.core.hub.subscribe(&key("live/s"), viewer);
    assert_eq!(*demand.borrow(), 1);
}

#[tokio::test]
async fn f44_a_push_over_tls_verifies_the_server_and_says_so_where_it_cannot() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key_file) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key_file, made.signing_key.serialize_pem()).unwrap();
    let target = Node::new(|_| ());
    let address = target.serve_tls(&cert, &key_file);
    let to = format!("rtmps://localhost:{}/live/copy", address.port());

    let mut trusting = Node::new(|config| config.tls.ca = Some(cert.clone()));
    let publishing = trusting.keep_publishing("live/s", 100);
    let id = trusting.push_to("live/s", &to);
    trusting.state(id, RelayState::Publishing).await;
    let mut viewer = target.core.hub.subscribe(&key("live/copy"), SubscribeOptions::default());
    soon("frames over TLS", viewer.ready()).await;
    publishing.abort();

    let mut wary = Node::new(|_| ());
    let publishing = wary.keep_publishing("live/s", 100);
    let id = wary.push_to("live/s", &to);
    let status = wary.state(id, RelayState::BackingOff).await;
    assert_eq!(status.last_error_kind, Some(ErrorKind::Tls), "{status:?}");
    publishing.abort();
}

/// rml_rtmp's server as the target: an implementation that is not ours.
#[tokio::test]
async fn a_foreign_server_gets_every_frame_byte_for_byte() {
    use rml_rtmp::handshake::{Handshake, HandshakeProcessResult, PeerType};
    use rml_rtmp::sessions::{ServerSession, ServerSessionConfig, ServerSessionEvent, ServerSessionResult};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let (node, door) = (Node::new(|_| ()), Door::open().await);
    node.push_to("live/s", &door.url("app/name"));
    let publisher = node.publish("live/s");
    let sent: Vec<_> = headers().into_iter().chain((0..30).map(|n| frame(n, 70_000))).collect();
    sent.iter().for_each(|frame| publisher.push(frame.clone()).unwrap());
    let expected: Vec<_> = sent.iter().filter(|frame| frame.kind == FrameKind::Video).collect();

    let mut socket = door.accept().await;
    let mut input = vec![0; 65_536];
    let mut handshake = Handshake::new(PeerType::Server);
    let mut rest = loop {
        let read = socket.read(&mut input).await.unwrap();
        match handshake.process_bytes(&input[..read]).unwrap() {
            HandshakeProcessResult::InProgress { response_bytes } => {
                socket.write_all(&response_bytes).await.unwrap();
            }
            HandshakeProcessResult::Completed { response_bytes, remaining_bytes } => {
                socket.write_all(&response_bytes).await.unwrap();
                break remaining_bytes;
            }
        }
    };
    let (mut session, first) = ServerSession::new(ServerSessionConfig::new()).unwrap();
    let mut results = first;
    let mut video = Vec::new();
    while video.len() < 11 {
        results.extend(session.handle_input(&rest).unwrap());
        rest.clear();
        for result in std::mem::take(&mut results) {
            match result {
                ServerSessionResult::OutboundResponse(packet) => {
                    socket.write_all(&packet.bytes).await.unwrap()
                }
                ServerSessionResult::RaisedEvent(
                    ServerSessionEvent::ConnectionRequested { request_id, .. }
                    | ServerSessionEvent::PublishStreamRequested { request_id, .. },
                ) => results.extend(session.accept_request(request_id).unwrap()),
                ServerSessionResult::RaisedEvent(ServerSessionEvent::VideoDataReceived { data, .. }) => {
                    video.push(data);
                }
                _ => {}
            }
        }
        if results.is_empty() && video.len() < 11 {
            let read = soon("bytes of the relay", socket.read(&mut input)).await.unwrap();
            rest.extend_from_slice(&input[..read]);
        }
    }
    assert_eq!(video[0], expected[0].payload, "the sequence header");
    for (got, want) in video[1..].iter().zip(&expected[1 + 20..]) {
        assert!(*got == want.payload, "frame {} expected", number(&want.payload));
    }
}

#[tokio::test]
async fn a_push_that_is_removed_sends_what_it_has_before_it_unpublishes() {
    let (node, door) = (Node::new(|_| ()), Door::open().await);
    let id = node.push_to("live/s", &door.url("a/b"));
    let publisher = node.publish("live/s");
    for number in 0..3 {
        publisher.push(frame(number, 100)).unwrap();
    }
    let mut remote = door.grant().await;
    for number in 0..3 {
        assert_eq!(remote.frame_number().await, number);
    }
    // Held back for the next video.
    let audio = |time| Frame::new(FrameKind::Audio, time, Bytes::from_static(&[0xaf, 1, 0x21]));
    publisher.push(audio(200)).unwrap();
    node.relays.remove(id).unwrap();
    loop {
        match soon("audio", remote.event()).await.expect("the audio comes before the end") {
            ServerEvent::Media { kind: FrameKind::Audio, payload, .. } if payload[1] == 1 => break,
            ServerEvent::Media { .. } => {}
            other => panic!("{other:?} came before the audio"),
        }
    }
    assert!(matches!(soon("unpublish", remote.event()).await, Some(ServerEvent::Unpublish { .. })));
}

#[tokio::test]
async fn a_target_may_have_times_from_zero_and_chunks_of_its_own() {
    let (node, door) = (Node::new(|_| ()), Door::open().await);
    let publisher = node.publish("live/s");
    let at = |number, timestamp| Frame { timestamp, ..frame(number, 1_000) };
    publisher.push(at(0, 5_000)).unwrap();
    let mut config = PushConfig::new(key("live/s"), url(&door.url("a/b")));
    config.tuning.from_zero = true;
    config.tuning.chunk_size = Some(300);
    node.relays.push(config);
    let mut remote = door.grant().await;
    let mut times = Vec::new();
    for (number, timestamp) in [(1, 5_040), (2, 4_990)] {
        publisher.push(at(number, timestamp)).unwrap();
    }
    while times.len() < 3 {
        let Some(ServerEvent::Media { timestamp, payload, .. }) = remote.event().await else {
            panic!("media")
        };
        assert!(is_coded(&payload) && payload.len() >= 1_000, "whole");
        times.push(timestamp);
    }
    assert_eq!(times, [0, 40, 40], "the hub keeps time from going back");
}

#[tokio::test]
async fn a_target_may_have_a_time_to_connect_and_to_take_bytes_of_its_own() {
    let (mut node, door) = (Node::new(|_| ()), Door::open().await);
    let publishing = node.keep_publishing("live/s", 100_000);
    let mut config = PushConfig::new(key("live/s"), url(&door.url("a/b")));
    config.tuning.connect_timeout_ms = Some(100);
    let id = node.relays.push(config.clone());
    let _silent = door.accept().await;
    let status = node.state(id, RelayState::BackingOff).await;
    assert_eq!(status.last_error_kind, Some(ErrorKind::Timeout));
    assert!(status.retry_in.is_some() && status.connected.is_none(), "{status:?}");

    config.tuning.connect_timeout_ms = None;
    config.tuning.write_timeout_ms = Some(300);
    node.relays.tune(id, config.tuning).unwrap();
    node.relays.restart(id).unwrap();
    let remote = door.grant().await;
    let status = node.state(id, RelayState::BackingOff).await;
    assert!(status.last_error.unwrap().contains("taken nothing for 300 ms"));
    drop(remote);
    publishing.abort();
}

#[tokio::test]
async fn a_target_is_left_with_the_commands_that_are_asked_for() {
    let (node, door) = (Node::new(|_| ()), Door::open().await);
    let publishing = node.keep_publishing("live/s", 100);
    let mut config = PushConfig::new(key("live/s"), url(&door.url("a/b")));
    config.tuning.stop_commands =
        StopCommands { fc_unpublish: false, close_stream: false, delete_stream: false };
    let id = node.relays.push(config);
    let mut remote = door.grant().await;
    remote.frame_number().await;
    node.relays.remove(id).unwrap();
    while let Some(event) = remote.event().await {
        assert!(matches!(event, ServerEvent::Media { .. }), "closed without a word: {event:?}");
    }
    publishing.abort();
}

#[tokio::test]
async fn a_target_may_be_told_more_in_connect_but_not_where_it_is_nor_what_guards_against_loops() {
    let (node, door) = (Node::new(|_| ()), Door::open().await);
    let _publishing = node.keep_publishing("live/s", 100);
    let mut config = PushConfig::new(key("live/s"), url(&door.url("a/b")));
    for name in ["flashVer", "swfUrl", "app", "tcUrl", "streamengineHops", "capabilities"] {
        config.tuning.connect.insert(name.to_owned(), "x".to_owned());
    }
    node.relays.push(config);
    let connect = door.greet().await.connect().await;
    let is_ours = |name| connect.object[name] != Amf0Value::Utf8String("x".to_owned());
    assert!(!is_ours("flashVer") && !is_ours("swfUrl"));
    assert!(is_ours("tcUrl") && is_ours("capabilities"));
    assert_eq!((connect.app.as_str(), connect.hops), ("a", vec![node.core.hop(&key("live/s"))]));
}
