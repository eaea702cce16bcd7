//! Publishers: who is let in, who takes over, and what they are told at the end.

use super::*;
use crate::PublisherConfig;
use crate::service::streams::Published;

#[tokio::test(start_paused = true)]
async fn f24_a_lost_publisher_frees_its_name_at_once_and_ends_players_by_policy() {
    let core = core(|config| config.default_app.resume_window_ms = 0);
    let mut publisher = Peer::publisher(&core, "live/a").await;
    publisher.keyframe(0, 100).await;
    let mut player = Peer::player(&core, "live/a").await;
    player.media().await;
    let start = Instant::now();
    drop(publisher);
    assert_eq!(player.next().await, Some(ClientEvent::Ended));
    player.closed().await;
    Peer::publisher(&core, "live/a").await;
    assert!(start.elapsed() <= Duration::from_millis(600), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn f25_players_stay_while_a_lost_publisher_comes_back() {
    let core = core(|_| ());
    let mut publisher = Peer::publisher(&core, "live/a").await;
    publisher.keyframe(1000, 100).await;
    let mut player = Peer::player(&core, "live/a").await;
    assert_eq!(player.media().await.1, 1000);
    // The first connection is dead but nobody has told us: it just stays silent.
    advance(Duration::from_secs(1)).await;
    let mut returned = Peer::publisher(&core, "live/a").await;
    returned.keyframe(0, 200).await;
    let (_, timestamp, length) = player.media().await;
    assert_eq!(length, 200);
    assert!(timestamp > 1000, "time goes on: {timestamp}");
    let (code, text) = publisher.rejected().await;
    assert_eq!(code, "NetStream.Publish.BadName");
    assert!(text.contains("taken over"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn f26_a_second_publisher_is_refused_with_the_reason_and_the_first_loses_nothing() {
    for takeover in [Takeover::Reject, Takeover::ReplaceIfStalled] {
        let core = core(|config| config.default_app.takeover = takeover);
        let mut first = Peer::publisher(&core, "live/a").await;
        first.keyframe(0, 100).await;
        let mut player = Peer::player(&core, "live/a").await;
        player.media().await;
        let start = Instant::now();
        let mut second = Peer::new(&core, ClientRole::Publish, "live/a");
        let refusal = loop {
            if let ClientEvent::Rejected { code, description } = second.next().await.unwrap() {
                break (code, description);
            }
        };
        assert!(start.elapsed() <= Duration::from_millis(50));
        assert_eq!(refusal.0, "NetStream.Publish.BadName");
        assert!(refusal.1.contains("already publishing"), "{}", refusal.1);
        second.closed().await;
        first.video(40, 50).await;
        assert_eq!(player.media().await, (FrameKind::Video, 40, 50));
    }
}

#[tokio::test(start_paused = true)]
async fn wrong_credentials_are_refused_with_the_authorisers_reason() {
    let deny = |_: AuthRequest, ticket: Ticket| ticket.reject("the key has expired");
    for (role, code) in
        [(ClientRole::Publish, "NetStream.Publish.Denied"), (ClientRole::Play, "NetStream.Play.Failed")]
    {
        let core = core_with(Config::default(), deny);
        let mut peer = Peer::new(&core, role, "live/a?key=x");
        assert_eq!(peer.rejected().await, (code.to_owned(), "the key has expired".to_owned()));
    }
}

#[tokio::test(start_paused = true)]
async fn an_authoriser_that_takes_its_time_is_waited_for_and_pipelined_media_is_kept() {
    let slow = |_: AuthRequest, ticket: Ticket| {
        tokio::spawn(async move {
            sleep(Duration::from_secs(2)).await;
            ticket.accept(Grant::default());
        });
    };
    let core = core_with(Config::default(), slow);
    let mut peer = Peer::new(&core, ClientRole::Publish, "live/a");
    while !matches!(peer.next().await.unwrap(), ClientEvent::Connected { .. }) {}
    // createStream, then publish and its first frame in one go.
    peer.stream_id = 1;
    timeout(Duration::from_secs(1), peer.next()).await.expect_err("no answer yet");
    peer.keyframe(0, 100).await;
    assert!(core.hub.stream(&key("live/a")).is_none());
    peer.until_publishing().await;
    let mut player = Peer::player(&core, "live/a").await;
    assert_eq!(player.media().await, (FrameKind::Video, 0, 100));
}

#[tokio::test(start_paused = true)]
async fn bad_names_unknown_apps_and_missing_streams_are_told() {
    let core = core(|config| {
        config.default_app.wait_for_publisher_ms = 0;
        config.apps.insert("live".into(), AppConfig { wait_for_publisher_ms: 0, ..AppConfig::default() });
    });
    for (role, stream, code, words) in [
        (ClientRole::Publish, "live/../etc/passwd", "NetStream.Publish.BadName", "dot"),
        (ClientRole::Publish, "other/a", "NetConnection.Connect.InvalidApp", "no such app"),
        (ClientRole::Publish, "live/room/a", "NetStream.Publish.BadName", "no such app"),
        (ClientRole::Play, "live/a", "NetStream.Play.StreamNotFound", "nobody publishes"),
    ] {
        let refusal = Peer::new(&core, role, stream).rejected().await;
        assert_eq!(refusal.0, code, "{stream}");
        assert!(refusal.1.contains(words), "{stream}: {}", refusal.1);
    }
}

#[tokio::test(start_paused = true)]
async fn f32_a_stream_that_has_passed_us_or_too_many_servers_is_refused() {
    let core = core(|_| ());
    let many = (0..9).map(|i| format!("engine{i}")).collect();
    let been_here = vec!["other".to_owned(), core.hop(&"live/a".parse().unwrap())];
    for (hops, refusal) in
        [(been_here, "NetStream.Publish.BadName"), (many, "NetConnection.Connect.Rejected")]
    {
        let with_hops = ClientOptions { hops, ..options(ClientRole::Publish, "live/a") };
        let (code, text) = Peer::over(open(&core), with_hops, &core).rejected().await;
        assert_eq!(code, refusal);
        assert!(text.contains("relay loop"), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn f46_draining_tells_publishers_and_players_and_ends_in_time() {
    let core = core(|_| ());
    let mut publishers = Vec::new();
    let mut players = Vec::new();
    for index in 0..10 {
        let name = format!("live/s{index}");
        let mut publisher = Peer::publisher(&core, &name).await;
        publisher.keyframe(0, 1000).await;
        publishers.push(publisher);
        for _ in 0..10 {
            players.push(Peer::player(&core, &name).await);
        }
    }
    // One player does not read, one peer is in its handshake.
    let stuck = players.pop().unwrap();
    publishers[9].keyframe(40, 3 * PIPE).await;
    let mut fresh = open(&core);
    sleep(Duration::from_millis(100)).await;

    let start = Instant::now();
    core.draining.cancel();
    core.hub.end_all(&EndReason::Shutdown);
    for publisher in &mut publishers {
        let (_, text) = publisher.rejected().await;
        assert!(text.contains("shutting down"), "{text}");
    }
    for player in &mut players {
        let mut ended = false;
        while let Some(event) = player.next().await {
            ended |= event == ClientEvent::Ended;
        }
        assert!(ended, "players get their end of stream");
    }
    assert_eq!(fresh.read(&mut [0]).await.unwrap(), 0);
    while !core.sessions.list().is_empty() {
        sleep(Duration::from_millis(50)).await;
    }
    assert!(start.elapsed() <= seconds(4.0), "{:?}", start.elapsed());
    drop(stuck);
}

#[tokio::test(start_paused = true)]
async fn a_kicked_peer_is_told_why() {
    let core = core(|_| ());
    let mut publisher = Peer::publisher(&core, "live/a").await;
    let id = core.sessions.list()[0].id;
    assert!(core.sessions.kick(id, "bad language"));
    let (_, text) = publisher.rejected().await;
    assert!(text.contains("bad language"), "{text}");
    assert!(core.hub.stream(&key("live/a")).is_none(), "there is nothing to come back to");
}

#[tokio::test]
async fn what_an_app_decides_about_readers_holds_for_publishers_by_rtmp() {
    let core = core(|config| config.default_app.ring_bytes = Some(20_000));
    let mut publisher = Peer::publisher(&core, "live/a").await;
    for at in 0..100 {
        publisher.keyframe(at * 40, 1000).await;
    }
    while core.hub.stream(&key("live/a")).unwrap().keyframes < 100 {
        tokio::task::yield_now().await;
    }
    let held = core.hub.stream(&key("live/a")).unwrap().ring_bytes;
    assert!((10_000..=20_000).contains(&held), "{held}");
}

#[tokio::test(start_paused = true)]
async fn w8_one_address_publishes_so_many_streams_those_that_are_away_included() {
    let core = core(|config| {
        config.limits.max_streams_per_address = 2;
        config.default_app.resume_window_ms = 1_000;
    });
    let mut events = core.events.subscribe();
    let engines_own = |name: &str| {
        Published::by_engine(&core, &key(name), "program", &[], &PublisherConfig::default()).unwrap()
    };
    let refusal = async |name: &str| {
        let (code, text) = Peer::new(&core, ClientRole::Publish, name).rejected().await;
        assert_eq!(code, "NetStream.Publish.Denied");
        assert!(text.starts_with("too many streams of this address: 2 at most"), "{text}");
    };
    let _own: Vec<_> = ["live/x", "live/y", "live/z"].map(engines_own).into();
    let (mut first, second) =
        (Peer::publisher(&core, "live/a").await, Peer::publisher(&core, "live/b").await);
    refusal("live/c").await;
    // Lost, it is away: it counts as long as it may come back, and it may.
    drop(second);
    stream_ended(&mut events).await;
    refusal("live/c").await;
    let second = Peer::publisher(&core, "live/b").await;
    refusal("live/c").await;
    drop(second);
    stream_ended(&mut events).await;
    sleep(Duration::from_millis(1_100)).await;
    core.hub.sweep();
    let _third = Peer::publisher(&core, "live/c").await;
    refusal("live/d").await;
    first.leave().await;
    stream_ended(&mut events).await;
    let _fourth = Peer::publisher(&core, "live/d").await;
}

async fn stream_ended(events: &mut EventReceiver) {
    while !matches!(events.next().await, Some(Received::Event(Event::StreamEnded { .. }))) {}
}
