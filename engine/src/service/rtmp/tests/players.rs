//! Players: what they get, what they may ask for, and when they are given up.

use super::*;
use crate::service::streams::Published;

/// Sends a command of the played stream with boolean arguments.
async fn send_command(player: &mut Peer<DuplexStream>, name: &str, arguments: &[bool]) {
    use crate::proto::message::{Command, encode_command};
    let command = Command {
        name: name.into(),
        transaction: 0.0,
        object: rml_amf0::Amf0Value::Null,
        arguments: arguments.iter().map(|&value| rml_amf0::Amf0Value::Boolean(value)).collect(),
    };
    let mut bytes = BytesMut::new();
    WireMessage::new(csid::STREAM, 20, 1, 0, encode_command(&command)).encode(&mut bytes);
    player.io.write_all(&bytes).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_one_side_publishes_the_other_side_plays() {
    let core = core(|_| ());
    let mut publisher = Peer::publisher(&core, "live/a").await;
    publisher.keyframe(40, 100_000).await;
    let mut player = Peer::player(&core, "live/a").await;
    assert_eq!(player.media().await, (FrameKind::Video, 40, 100_000), "from the newest keyframe");
    publisher.audio(45).await;
    publisher.video(80, 10).await;
    assert_eq!(player.media().await, (FrameKind::Audio, 45, 7));
    assert_eq!(player.media().await, (FrameKind::Video, 80, 10));

    publisher.leave().await;
    assert_eq!(player.next().await, Some(ClientEvent::Ended), "a clean unpublish ends players at once");
    player.closed().await;
}

#[tokio::test(start_paused = true)]
async fn f20_a_player_that_stops_reading_is_closed_after_10_seconds_and_others_lose_nothing() {
    let core = core(|_| ());
    let mut events = core.events.subscribe();
    let mut publisher = Peer::publisher(&core, "live/a").await;
    let stuck = Peer::player(&core, "live/a").await;
    let mut healthy = Peer::player(&core, "live/a").await;
    let start = Instant::now();
    let mut closed_after = None;
    for second in 0..15 {
        publisher.keyframe(second * 1000, 100_000).await;
        assert_eq!(healthy.media().await, (FrameKind::Video, second * 1000, 100_000));
        sleep(Duration::from_secs(1)).await;
        while let Some(Received::Event(event)) = events.try_next() {
            if let Event::PlayEnded { reason, .. } = event {
                assert_eq!(reason, "the peer has stopped reading");
                closed_after = Some(start.elapsed());
            }
        }
    }
    let closed_after = closed_after.expect("closed");
    assert!((seconds(9.0)..=seconds(11.0)).contains(&closed_after), "{closed_after:?}");
    drop(stuck);
}

#[tokio::test(start_paused = true)]
async fn f19_a_player_that_does_not_read_is_handed_one_batch_only() {
    let core = core(|_| ());
    let mut events = core.events.subscribe();
    let mut publisher = Peer::publisher(&core, "live/a").await;
    publisher.keyframe(0, 10_000).await;
    for timestamp in 1..200 {
        publisher.video(timestamp, 10_000).await;
    }
    let player = Peer::player(&core, "live/a").await;
    sleep(Duration::from_secs(1)).await;
    drop(player);
    let bytes_sent = bytes_played(&mut events).await;
    let most = (Limits::default().player_batch + 11_000) as u64;
    assert!((10_000..=most).contains(&bytes_sent), "{bytes_sent}");
}

#[tokio::test(start_paused = true)]
async fn a_player_that_reads_a_trickle_is_closed_when_what_it_reads_is_older_than_the_ring() {
    let core = core(|config| config.limits.ring_ms = 20_000);
    let mut events = core.events.subscribe();
    let mut publisher = Peer::publisher(&core, "live/a").await;
    let mut slow = Peer::player(&core, "live/a").await;
    tokio::spawn(async move {
        while slow.io.read(&mut [0; 1000]).await.is_ok() {
            sleep(seconds(1.0)).await
        }
    });
    let start = Instant::now();
    let feed = async {
        for second in 0.. {
            publisher.keyframe(second * 1000, 300_000).await;
            sleep(Duration::from_secs(1)).await;
        }
    };
    tokio::select! {
        () = feed => unreachable!(),
        reason = closed_reason(&mut events) => assert_eq!(reason, "reading too slowly"),
    }
    assert!(start.elapsed() <= seconds(60.0), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_player_that_does_not_read_can_still_say_that_it_leaves() {
    let core = core(|_| ());
    let mut events = core.events.subscribe();
    let mut publisher = Peer::publisher(&core, "live/a").await;
    let mut player = Peer::player(&core, "live/a").await;
    publisher.keyframe(0, 2 * PIPE).await;
    sleep(Duration::from_millis(10)).await;
    player.leave().await;
    loop {
        if let Some(Received::Event(Event::PlayEnded { reason, .. })) = events.next().await {
            assert_eq!(reason, "stopped by the player");
            return;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn f33_a_player_waits_10_seconds_for_a_stream_and_is_told_that_there_is_none() {
    let core = core(|_| ());
    let mut player = Peer::player(&core, "live/a").await;
    let start = Instant::now();
    let (code, _) = player.rejected().await;
    assert_eq!(code, "NetStream.Play.StreamNotFound");
    let elapsed = start.elapsed();
    assert!((seconds(9.5)..=seconds(10.5)).contains(&elapsed), "{elapsed:?}");
    assert!(core.hub.stream(&key("live/a")).is_none(), "nothing is left behind");
}

#[tokio::test(start_paused = true)]
async fn a_paused_player_gets_nothing_and_goes_on_at_the_newest_keyframe() {
    let core = core(|_| ());
    let mut publisher = Peer::publisher(&core, "live/a").await;
    publisher.keyframe(0, 100).await;
    let mut player = Peer::player(&core, "live/a").await;
    player.media().await;
    send_command(&mut player, "pause", &[true]).await;
    sleep(Duration::from_millis(10)).await;
    for (timestamp, length) in [(1000, 101), (2000, 102)] {
        publisher.keyframe(timestamp, length).await;
        publisher.video(timestamp + 40, 50).await;
        sleep(Duration::from_millis(10)).await;
    }
    send_command(&mut player, "pause", &[false]).await;
    assert_eq!(player.media().await, (FrameKind::Video, 2000, 102));
    assert_eq!(player.media().await, (FrameKind::Video, 2040, 50));

    // A short pause: the newest keyframe has been sent already, nothing is repeated.
    send_command(&mut player, "pause", &[true]).await;
    send_command(&mut player, "pause", &[false]).await;
    sleep(Duration::from_millis(10)).await;
    publisher.video(2080, 60).await;
    assert_eq!(player.media().await, (FrameKind::Video, 2080, 60));
}

#[tokio::test(start_paused = true)]
async fn receive_video_off_leaves_audio_and_on_starts_with_a_keyframe() {
    let core = core(|_| ());
    let mut publisher = Peer::publisher(&core, "live/a").await;
    publisher.keyframe(0, 100).await;
    let mut player = Peer::player(&core, "live/a").await;
    player.media().await;
    send_command(&mut player, "receiveVideo", &[false]).await;
    sleep(Duration::from_millis(10)).await;
    publisher.video(40, 50).await;
    publisher.audio(45).await;
    assert_eq!(player.media().await, (FrameKind::Audio, 45, 7));
    publisher.keyframe(1000, 101).await;
    publisher.video(1040, 50).await;
    sleep(Duration::from_millis(10)).await;
    send_command(&mut player, "receiveVideo", &[true]).await;
    assert_eq!(player.media().await, (FrameKind::Video, 1000, 101));
}

#[tokio::test(start_paused = true)]
async fn one_connection_publishes_and_plays_at_once() {
    use crate::proto::message::{Command, encode_command};
    use rml_amf0::Amf0Value;
    let core = core(|_| ());
    let mut other = Peer::publisher(&core, "live/b").await;
    let mut peer = Peer::publisher(&core, "live/a").await;
    let mut bytes = BytesMut::new();
    for (stream_id, name, argument) in [(0, "createStream", None), (2, "play", Some("b"))] {
        let command = Command {
            name: name.into(),
            transaction: 9.0,
            object: Amf0Value::Null,
            arguments: argument.map(|text| Amf0Value::Utf8String(text.to_owned())).into_iter().collect(),
        };
        WireMessage::new(csid::STREAM, 20, stream_id, 0, encode_command(&command)).encode(&mut bytes);
    }
    peer.io.write_all(&bytes).await.unwrap();
    other.keyframe(0, 100).await;
    peer.keyframe(0, 70).await;
    let mut player = Peer::player(&core, "live/a").await;
    assert_eq!(player.media().await, (FrameKind::Video, 0, 70));
    let listed = core.sessions.list();
    assert_eq!(core.hub.stream(&key("live/b")).unwrap().subscribers, 1);
    assert_eq!(listed.len(), 3);
    // The end of the played stream leaves the publish alone.
    other.leave().await;
    sleep(Duration::from_millis(600)).await;
    peer.video(40, 30).await;
    assert_eq!(player.media().await, (FrameKind::Video, 40, 30));
}

#[tokio::test(start_paused = true)]
async fn idle_players_are_pinged() {
    let core = core(|config| config.default_app.wait_for_publisher_ms = 3_600_000);
    let _player = Peer::player(&core, "live/a").await;
    sleep(Duration::from_secs(1)).await;
    let sent = |core: &Core| core.sessions.list()[0].bytes_out;
    let before = sent(&core);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(sent(&core) - before, 3 * 18, "three pings: 12 bytes of header, 6 of message");
}

#[tokio::test(start_paused = true)]
async fn the_answer_to_a_ping_tells_how_far_away_a_player_is() {
    let core = core(|config| config.default_app.wait_for_publisher_ms = 3_600_000);
    let mut player = Peer::player(&core, "live/a").await;
    let rtt = || core.sessions.list()[0].rtt;
    let answer = async { while player.next().await.is_some() {} };
    let _ = timeout(Duration::from_secs(1), answer).await;
    assert!(rtt().is_some_and(|rtt| rtt < Duration::from_secs(1)), "{:?}", rtt());
}

#[tokio::test(start_paused = true)]
async fn w6_players_leave_places_to_publishers() {
    let core = core(|config| {
        config.limits.max_connections = 10;
        config.limits.publisher_places = 1;
    });
    let mut publisher = Peer::publisher(&core, "live/a").await;
    publisher.keyframe(0, 100).await;
    let mut players = Vec::new();
    for _ in 0..8 {
        players.push(Peer::player(&core, "live/a").await);
    }
    let (code, text) = Peer::new(&core, ClientRole::Play, "live/a").rejected().await;
    assert_eq!(
        (code.as_str(), text.contains("the server is full")),
        ("NetStream.Play.Failed", true),
        "{text}"
    );
    Peer::publisher(&core, "live/b").await;
}

#[tokio::test(start_paused = true)]
async fn a_player_that_waits_for_no_publisher_gets_the_headers_of_a_live_stream_too() {
    use crate::testing::{keyframe, video_header};
    let core = core(|config| config.default_app.wait_for_publisher_ms = 0);
    let published =
        Published::by_engine(&core, &key("live/a"), "test", &[], &crate::PublisherConfig::default()).unwrap();
    let frames = [video_header(0), keyframe(0, 100)];
    frames.iter().for_each(|frame| published.push(frame.clone()).unwrap());
    let mut player = Peer::player(&core, "live/a").await;
    for frame in frames {
        assert_eq!(player.media().await, (frame.kind, frame.timestamp, frame.payload.len()));
    }
}
