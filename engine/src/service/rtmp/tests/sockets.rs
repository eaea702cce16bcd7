//! Over real sockets: TLS, panics, and peers that vanish.

use super::*;
use crate::testing::wait::at_most;

/// Listens on a real socket; its address.
fn listen(core: &Arc<Core>, tls: Option<Arc<ServerTls>>) -> SocketAddr {
    let listener = Listener::bind("rtmp", "127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr();
    let admission = Admission::new(&core.limits());
    let (serving, counting) = (core.clone(), core.clone());
    let run = listener.run(
        admission,
        CancellationToken::new(),
        move |accepted| accept(serving.clone(), accepted, tls.clone()),
        move || {
            counting.sessions.count_panic();
        },
    );
    tokio::spawn(run);
    address
}

async fn dialled(address: SocketAddr, core: &Arc<Core>, role: ClientRole, stream: &str) -> Peer<TcpStream> {
    let io = TcpStream::connect(address).await.unwrap();
    Peer::over(io, options(role, stream), core)
}

#[tokio::test]
async fn f52_a_panic_costs_one_connection_and_is_counted() {
    let has_a_bug = |request: AuthRequest, ticket: Ticket| {
        assert_ne!(request.stream().stream(), "bug", "injected");
        ticket.accept(Grant::default());
    };
    let core = core_with(Config::default(), has_a_bug);
    let address = listen(&core, None);
    let mut publisher = dialled(address, &core, ClientRole::Publish, "live/a").await;
    publisher.until_publishing().await;
    let mut player = dialled(address, &core, ClientRole::Play, "live/a").await;
    player.until_playing().await;
    dialled(address, &core, ClientRole::Publish, "live/bug").await.closed().await;
    publisher.keyframe(0, 100).await;
    assert_eq!(player.media().await, (FrameKind::Video, 0, 100));
    while core.sessions.list().len() > 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(core.sessions.totals().panics.load(Ordering::Relaxed), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f13_a_flood_of_input_does_not_put_off_the_deadline() {
    let core = core(|config| {
        config.limits.command_timeout_ms = 300;
        // Would end it sooner.
        config.limits.publisher_messages_per_s = u64::MAX;
    });
    let mut events = core.events.subscribe();
    let address = listen(&core, None);
    let mut peer = dialled(address, &core, ClientRole::Publish, "live/a").await;
    // Who has published may send any number of messages, and has nothing to do after that.
    peer.until_publishing().await;
    peer.leave().await;
    let start = std::time::Instant::now();
    let socket = peer.io.into_std().unwrap();
    socket.set_nonblocking(false).unwrap();
    let flood = std::thread::spawn(move || {
        // Empty messages of an unknown type: they are skipped and not answered.
        let messages = b"\x03\0\0\0\0\0\0\x63\0\0\0\0".repeat(100_000);
        while std::io::Write::write_all(&mut &socket, &messages).is_ok() {}
    });
    let reason = timeout(Duration::from_secs(10), closed_reason(&mut events)).await.expect("closed");
    assert_eq!(reason, "nothing published or played in time");
    assert!(start.elapsed() <= at_most(Duration::from_secs(2)), "{:?}", start.elapsed());
    flood.join().unwrap();
}

#[tokio::test]
async fn f52_a_panic_in_the_hub_costs_the_publisher_and_its_stream_goes_on_with_the_next() {
    let core = core(|_| ());
    let address = listen(&core, None);
    let mut publishers = Vec::new();
    let mut players = Vec::new();
    for name in ["live/a", "live/b"] {
        let mut publisher = dialled(address, &core, ClientRole::Publish, name).await;
        publisher.until_publishing().await;
        publisher.keyframe(0, 100).await;
        let mut player = dialled(address, &core, ClientRole::Play, name).await;
        assert_eq!(player.media().await, (FrameKind::Video, 0, 100));
        publishers.push(publisher);
        players.push(player);
    }
    let _bug = panic_at_next_frame(&core.hub, &key("live/a"));
    publishers[0].keyframe(40, 100).await;
    publishers[0].closed().await;
    while core.sessions.totals().panics.load(Ordering::Relaxed) == 0 {
        tokio::task::yield_now().await;
    }
    publishers[1].keyframe(40, 101).await;
    assert_eq!(players[1].media().await, (FrameKind::Video, 40, 101), "others lose nothing");

    let mut next = dialled(address, &core, ClientRole::Publish, "live/a").await;
    next.until_publishing().await;
    next.keyframe(0, 102).await;
    while players[0].media().await.2 != 102 {}
    assert_eq!(core.sessions.totals().panics.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn f24_a_killed_publisher_frees_its_name_within_100_ms() {
    let core = core(|_| ());
    let address = listen(&core, None);
    let mut publisher = dialled(address, &core, ClientRole::Publish, "live/a").await;
    publisher.until_publishing().await;
    publisher.keyframe(0, 100).await;
    let killed = std::time::Instant::now();
    drop(publisher);
    while core.hub.stream(&key("live/a")).is_some_and(|stream| stream.state != StreamState::Away) {
        tokio::task::yield_now().await;
    }
    assert!(killed.elapsed() <= at_most(Duration::from_millis(100)), "{:?}", killed.elapsed());
}

#[tokio::test]
async fn an_encoder_that_unpublishes_and_closes_with_unread_replies_is_not_taken_for_lost() {
    let core = core(|_| ());
    let mut events = core.events.subscribe();
    let address = listen(&core, None);
    let mut publisher = dialled(address, &core, ClientRole::Publish, "live/a").await;
    publisher.until_publishing().await;
    // Some megabytes first, so that the kernel takes more than we read at once.
    for timestamp in 0..50 {
        publisher.keyframe(timestamp, 200_000).await;
    }
    // A reply that is never read makes the peer's kernel reset the connection when it closes.
    publisher.rtmp.ping(1);
    let mut last_words = publisher.rtmp.output().split();
    publisher.io.write_all(&last_words).await.unwrap();
    let answered = || core.hub.stream(&key("live/a")).is_some_and(|stream| stream.keyframes == 50);
    while !answered() {
        tokio::task::yield_now().await;
    }
    publisher.io.readable().await.unwrap();
    // The server meets a ping first, cannot answer it any more, and has to read on all the same.
    WireMessage::new(csid::VIDEO, 9, publisher.stream_id, 0, picture(0x17, 2 * read::LARGE_READ))
        .encode(&mut last_words);
    publisher.rtmp.close();
    last_words.extend_from_slice(&publisher.rtmp.output().split());
    assert_eq!(publisher.io.try_write(&last_words).unwrap(), last_words.len());
    drop(publisher);
    loop {
        if let Some(Received::Event(Event::StreamEnded { reason, .. })) = events.next().await {
            assert_eq!(reason, "unpublished");
            return;
        }
    }
}

#[tokio::test]
async fn f45_tls_on_the_plain_port_is_closed_within_100_ms_and_named() {
    let core = core(|_| ());
    let mut events = core.events.subscribe();
    let address = listen(&core, None);
    let mut io = TcpStream::connect(address).await.unwrap();
    let start = std::time::Instant::now();
    io.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").await.unwrap();
    // Closed with unread bytes, so this is an end or a reset.
    assert!(matches!(io.read(&mut [0]).await, Ok(0) | Err(_)));
    assert!(start.elapsed() <= at_most(Duration::from_millis(100)));
    let reason = closed_reason(&mut events).await;
    assert!(reason.contains("TLS") && reason.contains("plain RTMP port"), "{reason}");
}

#[tokio::test]
async fn f44_what_is_published_over_tls_is_played_over_tls() {
    let core = core(|_| ());
    let authority = Authority::new();
    authority.issue("localhost", |_| ());
    let address = listen(&core, Some(authority.server()));
    let dialer = Dialer::new(&core.limits());
    let target =
        DialOptions { host: "localhost".into(), port: address.port(), tls: Some(authority.trusted()) };
    let dial = async |role| {
        let conn = dialer.dial(&target, |_| ()).await.unwrap();
        Peer::over(conn, options(role, "live/a"), &core)
    };
    let mut publisher = dial(ClientRole::Publish).await;
    publisher.until_publishing().await;
    let mut player = dial(ClientRole::Play).await;
    player.until_playing().await;
    publisher.keyframe(0, 300_000).await;
    publisher.io.flush().await.unwrap();
    assert_eq!(player.media().await, (FrameKind::Video, 0, 300_000));
    assert!(core.sessions.list().iter().all(|session| session.tls));
}

#[tokio::test]
async fn f12_a_tls_handshake_that_stalls_is_closed_after_5_seconds() {
    let core = core(|_| ());
    let authority = Authority::new();
    authority.issue("localhost", |_| ());
    let address = listen(&core, Some(authority.server()));
    for begun in [&b""[..], b"\x16\x03\x01"] {
        let mut io = TcpStream::connect(address).await.unwrap();
        io.write_all(begun).await.unwrap();
        // Let the server meet the connection before its clock jumps.
        tokio::task::yield_now().await;
        tokio::time::pause();
        let start = Instant::now();
        assert!(matches!(io.read(&mut [0]).await, Ok(0) | Err(_)));
        // The server's clock has started a moment before ours.
        let elapsed = start.elapsed().as_secs_f64();
        assert!((4.5..5.5).contains(&elapsed), "{elapsed}");
        tokio::time::resume();
    }
}
