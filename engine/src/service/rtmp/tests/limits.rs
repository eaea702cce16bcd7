//! What a connection may take its time for, and how long.

use super::*;

#[tokio::test(start_paused = true)]
async fn f11_a_wrong_protocol_is_closed_at_once_and_named() {
    for (first, name) in [
        (&b"\x16\x03\x01"[..], "TLS"),
        (b"GET / HTTP/1.1\r\n\r\n", "HTTP"),
        (b"\x06", "RTMPE"),
        (b"\x1f", "0x1f"),
    ] {
        let core = core(|_| ());
        let mut events = core.events.subscribe();
        let mut io = open(&core);
        let start = Instant::now();
        io.write_all(first).await.unwrap();
        assert_eq!(io.read(&mut [0]).await.unwrap(), 0);
        assert!(start.elapsed() <= Duration::from_millis(100));
        let reason = closed_reason(&mut events).await;
        assert!(reason.contains(name), "{reason}");
    }
}

#[tokio::test(start_paused = true)]
async fn f12_a_dripped_handshake_is_closed_after_5_seconds_whatever_its_progress() {
    let core = core(|_| ());
    let mut events = core.events.subscribe();
    let (start, mut drips) = (Instant::now(), Vec::new());
    for _ in 0..200 {
        let mut io = open(&core);
        drips.push(tokio::spawn(async move {
            while io.write_all(b"\x03").await.is_ok() {
                sleep(Duration::from_secs(2)).await;
            }
        }));
    }
    let _healthy = timeout(Duration::from_millis(250), Peer::publisher(&core, "live/a")).await.unwrap();
    for _ in 0..200 {
        assert_eq!(closed_reason(&mut events).await, "handshake took too long");
        let elapsed = start.elapsed();
        assert!((seconds(5.0)..=seconds(5.5)).contains(&elapsed), "{elapsed:?}");
    }
    assert_eq!(core.sessions.list().len(), 1, "the healthy one");
}

#[tokio::test(start_paused = true)]
async fn f13_silence_is_closed_10_seconds_after_handshake_connect_and_publish() {
    let after_handshake = |event: &ClientEvent| *event == ClientEvent::HandshakeDone;
    let after_connect = |event: &ClientEvent| matches!(event, ClientEvent::Connected { .. });
    let after_publish = |event: &ClientEvent| matches!(event, ClientEvent::Publishing { .. });
    type Reached = fn(&ClientEvent) -> bool;
    let phases: [(Reached, &str); 3] = [
        (after_handshake, "nothing published or played in time"),
        (after_connect, "nothing published or played in time"),
        (after_publish, "no media for 10000 ms"),
    ];
    for (reached, expected) in phases {
        let core = core(|_| ());
        let mut events = core.events.subscribe();
        let mut peer = Peer::new(&core, ClientRole::Publish, "live/a");
        while !reached(&peer.next().await.unwrap()) {}
        // The client session answers at once; a silent peer sends nothing more.
        peer.rtmp.output().clear();
        let start = Instant::now();
        let mut rest = Vec::new();
        peer.io.read_to_end(&mut rest).await.unwrap();
        let elapsed = start.elapsed();
        assert!((seconds(9.5)..=seconds(10.5)).contains(&elapsed), "{expected}: {elapsed:?}");
        drop(peer);
        assert_eq!(closed_reason(&mut events).await, expected);
    }
}

/// A publisher that sends nothing but answers, for `time`; whether it is still there.
async fn answers_for(peer: &mut Peer<DuplexStream>, time: Duration) -> bool {
    let answer = async {
        while let Some(event) = peer.next().await {
            if matches!(event, ClientEvent::Rejected { .. }) {
                return;
            }
        }
    };
    timeout(time, answer).await.is_err()
}

#[tokio::test(start_paused = true)]
async fn a_publisher_that_shows_a_still_picture_and_answers_pings_lives() {
    let core = core(|_| ());
    let mut peer = Peer::publisher(&core, "live/a").await;
    assert!(answers_for(&mut peer, seconds(13.0)).await, "before its first frame");
    for n in 0..3 {
        peer.keyframe(n * 12_000, 100).await;
        assert!(answers_for(&mut peer, seconds(12.0)).await, "one frame each 12 s");
    }
    assert!(answers_for(&mut peer, seconds(3_600.0)).await, "no frame for an hour");
}

#[tokio::test(start_paused = true)]
async fn how_long_a_publisher_that_answers_may_send_no_media_is_its_apps_decision() {
    let core = core(|config| config.default_app.max_media_gap_ms = Some(30_000));
    let mut events = core.events.subscribe();
    let mut peer = Peer::publisher(&core, "live/a").await;
    assert!(answers_for(&mut peer, seconds(29.0)).await);
    assert!(!answers_for(&mut peer, seconds(2.0)).await);
    drop(peer);
    let reason = closed_reason(&mut events).await;
    assert_eq!(reason, "no media for 30000 ms, which is what the app allows");
}

/// Publishes `frame` each second, and answers, for `time` at most; the reason and time of the end.
async fn keeps_sending(core: &Arc<Core>, frame: &Frame, time: Duration) -> Option<(String, Duration)> {
    let mut events = core.events.subscribe();
    let mut peer = Peer::publisher(core, "live/a").await;
    let start = Instant::now();
    while start.elapsed() < time {
        peer.send(frame.kind, start.elapsed().as_millis() as i64, frame.payload.clone()).await;
        if !answers_for(&mut peer, seconds(1.0)).await {
            let time = start.elapsed();
            drop(peer);
            return Some((closed_reason(&mut events).await, time));
        }
    }
    None
}

fn about(time: Duration, expected: f64) -> bool {
    (seconds(expected - 1.0)..=seconds(expected + 1.0)).contains(&time)
}

/// A data event, as of subtitles.
fn event() -> Frame {
    Frame::new(FrameKind::Data, 0, Bytes::from_static(b"\x02\0\x0aonTextData\x02\0\x02hi"))
}

#[tokio::test(start_paused = true)]
async fn w10_what_is_no_media_keeps_no_stream_alive_where_the_app_bounds_the_gap() {
    for (what, frame) in no_media().into_iter().chain([("a data event", event())]) {
        let core = core(|config| config.default_app.max_media_gap_ms = Some(30_000));
        let (reason, time) = keeps_sending(&core, &frame, seconds(60.0)).await.expect(what);
        assert_eq!(reason, "no media for 30000 ms, which is what the app allows", "{what}");
        assert!(about(time, 30.0), "{what}: {time:?}");
    }
    for frame in [audio(0), keyframe(0, 9), inter(0, 100)] {
        let core = core(|config| config.default_app.max_media_gap_ms = Some(30_000));
        assert_eq!(keeps_sending(&core, &frame, seconds(300.0)).await, None, "{frame:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn w10_what_is_no_media_does_not_keep_a_stream_that_never_begins() {
    for (what, frame) in no_media() {
        let core = core(|_| ());
        let (reason, time) = keeps_sending(&core, &frame, seconds(1_200.0)).await.expect(what);
        assert_eq!(reason, "no media in its first 600000 ms", "{what}");
        assert!(about(time, 600.0), "{what}: {time:?}");
    }
    let core = core(|_| ());
    let mut peer = Peer::publisher(&core, "live/a").await;
    assert!(answers_for(&mut peer, seconds(599.0)).await, "an encoder may wait for its picture");
    assert!(!answers_for(&mut peer, seconds(2.0)).await, "but not for ever");
}

#[tokio::test(start_paused = true)]
async fn streams_of_one_kind_only_live_for_as_long_as_they_like() {
    for frame in [audio(0), keyframe(0, 9), event()] {
        let core = core(|_| ());
        assert_eq!(keeps_sending(&core, &frame, seconds(2_000.0)).await, None, "{frame:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn how_long_a_publisher_may_give_no_sign_is_its_apps_decision() {
    let core = core(|config| config.default_app.publisher_timeout_ms = Some(60_000));
    let mut peer = Peer::publisher(&core, "live/a").await;
    let start = Instant::now();
    peer.io.read_to_end(&mut Vec::new()).await.unwrap();
    assert!((seconds(59.5)..=seconds(60.5)).contains(&start.elapsed()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_close_its_side_is_left_half_a_second_after_ours() {
    let core = core(|_| ());
    let mut events = core.events.subscribe();
    let mut player = Peer::new(&core, ClientRole::Play, "live/a");
    player.closed().await;
    let reason = timeout(seconds(1.0), closed_reason(&mut events)).await;
    reason.expect("the connection is over, though the peer still holds its side");
    drop(player);
}

#[tokio::test(start_paused = true)]
async fn f13_pings_and_commands_do_not_count_as_media() {
    let core = core(|_| ());
    let mut peer = Peer::publisher(&core, "live/a").await;
    let start = Instant::now();
    let ping = async {
        loop {
            peer.rtmp.ping(1);
            let output = peer.rtmp.output().split();
            if peer.io.write_all(&output).await.is_err() {
                return;
            }
            sleep(Duration::from_secs(1)).await;
        }
    };
    timeout(seconds(12.0), ping).await.expect("closed although it pings");
    assert!(start.elapsed() >= seconds(9.5));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_stops_playing_has_10_seconds_to_ask_for_something_else() {
    let core = core(|_| ());
    let mut events = core.events.subscribe();
    let mut player = Peer::player(&core, "live/a").await;
    player.leave().await;
    assert_eq!(closed_reason(&mut events).await, "nothing published or played in time");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_read_our_replies_is_not_read_from() {
    let core = core(|_| ());
    let mut peer = Peer::publisher(&core, "live/a").await;
    let mut pings = BytesMut::new();
    for clock in 0..100_000 {
        peer.rtmp.ping(clock);
        pings.extend_from_slice(&peer.rtmp.output().split());
    }
    timeout(Duration::from_secs(5), peer.io.write_all(&pings))
        .await
        .expect_err("the server has stopped reading");
    let taken = core.sessions.list()[0].bytes_in;
    assert!(taken < 5 * PIPE as u64, "{taken}");
}

/// Sends `message` until the server takes no more; true where it has been taken `most` times.
async fn takes(peer: &mut Peer<DuplexStream>, message: &[u8], most: usize) -> bool {
    for _ in 0..most {
        // As fast as the server reads, and a little time for it to do so.
        if peer.io.write_all(message).await.is_err() {
            return false;
        }
        tokio::task::yield_now().await;
    }
    true
}

/// A message as [`Peer::send`] sends it.
fn message_of(kind: u8, payload: &[u8]) -> BytesMut {
    let mut bytes = BytesMut::new();
    WireMessage::new(csid::VIDEO, kind, 1, 0, Bytes::copy_from_slice(payload)).encode(&mut bytes);
    bytes
}

/// Sends 10,000 bytes five times in each quarter of a second until the server takes no more, within `most`: the time.
async fn sends_too_fast(peer: &mut Peer<DuplexStream>, most: Duration) -> Duration {
    let (frame, start) = (message_of(9, &picture(0x17, 10_000)), Instant::now());
    while takes(peer, &frame, 5).await {
        advance(Duration::from_millis(250)).await;
        assert!(start.elapsed() < most);
    }
    start.elapsed()
}

#[tokio::test(start_paused = true)]
async fn f18_a_publisher_that_sends_too_fast_is_told_so_and_its_players_wait_for_the_next() {
    let core = core(|config| config.limits.publisher_bytes_per_s = 100_000);
    let mut events = core.events.subscribe();
    let mut peer = Peer::publisher(&core, "live/a").await;
    let mut player = Peer::player(&core, "live/a").await;
    // Half a second of the limit in each quarter of one.
    let time = sends_too_fast(&mut peer, seconds(6.0)).await;
    assert!(time >= seconds(4.5), "{time:?}");
    let (code, text) = peer.rejected().await;
    assert_eq!(code, "NetStream.Publish.Denied");
    let limit = "bytes/s; limits.publisher_bytes_per_s is 100000";
    assert!(text.contains(limit) && text.contains("ffmpeg -re"), "{text}");
    let ended = loop {
        if let Some(Received::Event(Event::StreamEnded { reason, .. })) = events.next().await {
            break reason;
        }
    };
    assert_eq!((ended, closed_reason(&mut events).await), (text.clone(), text));
    let mut next = Peer::publisher(&core, "live/a").await;
    next.keyframe(0, 123).await;
    while player.media().await.2 != 123 {}
}

/// A core whose publishers are granted these rules of their own.
fn core_that_grants(publisher: PublisherConfig) -> Arc<Core> {
    let grant = Grant::default().publisher(publisher);
    core_with(Config::default(), move |_: AuthRequest, ticket: Ticket| ticket.accept(grant.clone()))
}

#[tokio::test(start_paused = true)]
async fn w10_a_publisher_that_sends_more_than_was_granted_to_it_is_ended_after_15_seconds_and_told_why() {
    let core = core_that_grants(PublisherConfig::default().max_kbps(800));
    let mut peer = Peer::publisher(&core, "live/a").await;
    // 100,000 bytes in a second are what it may send: twice that is over after as long as there is patience.
    let time = sends_too_fast(&mut peer, seconds(17.0)).await;
    assert!(time >= seconds(14.0), "{time:?}");
    let (code, text) = peer.rejected().await;
    assert_eq!(code, "NetStream.Publish.Denied");
    assert!(text.contains("kbit/s; it may have 800 (max_kbps)"), "{text}");

    let mut next = Peer::publisher(&core, "live/a").await;
    let (frame, start) = (message_of(9, &picture(0x17, 10_000)), Instant::now());
    while start.elapsed() < seconds(60.0) {
        assert!(takes(&mut next, &frame, 5).await, "who keeps to it goes on");
        advance(Duration::from_millis(500)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn w10_a_stream_takes_as_many_players_as_was_granted_to_its_publisher_and_then_there_is_room_again() {
    let core = core_that_grants(PublisherConfig::default().max_viewers(2));
    let mut publisher = Peer::publisher(&core, "live/a").await;
    publisher.keyframe(0, 1).await;
    let (first, _second) = (Peer::player(&core, "live/a").await, Peer::player(&core, "live/a").await);
    let mut third = Peer::new(&core, ClientRole::Play, "live/a");
    let (code, text) = third.rejected().await;
    assert_eq!(code, "NetStream.Play.Failed");
    assert!(text.contains("as many players as it may have (max_viewers)"), "{text}");
    drop(first);
    while core.hub.stream(&key("live/a")).unwrap().subscribers == 2 {
        tokio::task::yield_now().await;
    }
    Peer::player(&core, "live/a").await;
}

#[tokio::test(start_paused = true)]
async fn f18_empty_messages_are_counted_and_parts_of_aggregates_too() {
    let tag = |kind: u8| [&[kind, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], &11_u32.to_be_bytes()].concat();
    let (unknown, ping, aggregate) = (99, 4, 22);
    let kinds = [
        (message_of(9, &[]), 1),
        (message_of(18, &[]), 1),
        (message_of(unknown, &[]), 1),
        (message_of(ping, &[0, 6, 0, 0, 0, 1]), 1),
        (message_of(aggregate, &tag(9).repeat(100)), 100),
        (message_of(aggregate, &tag(18).repeat(100)), 100),
    ];
    for (number, (message, parts)) in kinds.iter().enumerate() {
        let core = core(|config| config.limits.publisher_messages_per_s = 400);
        let mut events = core.events.subscribe();
        let mut peer = Peer::publisher(&core, "live/a").await;
        // A few have come for the publish.
        assert!(
            takes(&mut peer, message, 1_900 / parts).await,
            "{number}: five seconds of the limit at once"
        );
        sleep(Duration::from_millis(1)).await;
        assert_eq!(core.sessions.list().len(), 1, "{number}: five seconds of the limit at once");
        takes(&mut peer, message, 200).await;
        drop(peer);
        let reason = closed_reason(&mut events).await;
        assert!(reason.contains("messages/s; limits.publisher_messages_per_s is 400"), "{number}: {reason}");
    }
}

#[tokio::test]
async fn an_idle_connections_task_is_small() {
    let core = core(|_| ());
    let (io, _theirs) = duplex(16);
    let task = serve(core, io, peer_address());
    assert!(size_of_val(&task) <= 4096, "{}", size_of_val(&task));
}
