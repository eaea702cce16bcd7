//! Promises of RTMP connections, kept over in-memory pipes with a paused clock and over real sockets.

mod flapping;
mod rhythm;

use super::*;
use crate::auth::{AuthRequest, Authorize, Gate, PublishRule, Ticket};
use crate::config::{AppConfig, Config};
use crate::events::{EventReceiver, Received};
use crate::hub::{StreamState, Takeover};
use crate::key::StreamKey;
use crate::media::FrameKind;
use crate::net::tests::Authority;
use crate::net::{Admission, DialOptions, Dialer, Listener};
use crate::proto::chunk::{WireMessage, csid};
use crate::proto::client::{ClientEvent, ClientOptions, ClientRole, ClientSession};
use bytes::{Bytes, BytesMut};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::AsyncWrite;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::TcpStream;
use tokio::time::{advance, sleep, timeout};
use tokio_util::sync::CancellationToken;

/// A stream name whose publish panics.
pub(super) const PANIC_STREAM: &str = "panic-for-a-test";

/// Bytes that a pipe holds before the writer has to wait.
const PIPE: usize = 64 * 1024;

fn core_with(config: Config, authorizer: impl Authorize) -> Arc<Core> {
    let auth = Gate::new(Arc::new(authorizer), &config.limits);
    Arc::new(Core::new(config, auth, crate::events::Events::default()))
}

fn core(change: impl FnOnce(&mut Config)) -> Arc<Core> {
    let mut config = Config::default();
    change(&mut config);
    core_with(config, PublishRule::Open)
}

fn peer_info() -> PeerInfo {
    PeerInfo { addr: "192.0.2.7:4000".parse().unwrap(), tls: false }
}

/// Serves one end of a pipe; the other end.
fn open(core: &Arc<Core>) -> DuplexStream {
    let (ours, theirs) = duplex(PIPE);
    tokio::spawn(serve(core.clone(), ours, peer_info()));
    theirs
}

/// A peer that speaks RTMP by our own client session.
struct Peer<IO> {
    io: IO,
    rtmp: ClientSession,
    stream_id: u32,
}

fn options(role: ClientRole, stream: &str) -> ClientOptions {
    let (app, stream) = stream.split_once('/').unwrap();
    ClientOptions {
        app: app.into(),
        tc_url: format!("rtmp://localhost/{app}"),
        stream: stream.into(),
        role,
        hops: Vec::new(),
    }
}

impl Peer<DuplexStream> {
    fn new(core: &Arc<Core>, role: ClientRole, stream: &str) -> Self {
        Self::over(open(core), options(role, stream), core)
    }

    async fn publisher(core: &Arc<Core>, stream: &str) -> Self {
        let mut peer = Self::new(core, ClientRole::Publish, stream);
        peer.until_publishing().await;
        peer
    }

    async fn player(core: &Arc<Core>, stream: &str) -> Self {
        let mut peer = Self::new(core, ClientRole::Play, stream);
        peer.until_playing().await;
        peer
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Peer<IO> {
    fn over(io: IO, options: ClientOptions, core: &Arc<Core>) -> Self {
        Self { io, rtmp: ClientSession::new(options, &core.config.limits), stream_id: 0 }
    }

    /// The next event; `None` = the server has closed.
    async fn next(&mut self) -> Option<ClientEvent> {
        loop {
            let event = self.rtmp.poll().expect("the server keeps to the protocol");
            let output = self.rtmp.output().split();
            // A server that has closed does not take this any more; the next read says so.
            let _ = self.io.write_all(&output).await;
            if event.is_some() {
                return event;
            }
            match self.io.read_buf(self.rtmp.input()).await {
                Ok(bytes) if bytes > 0 => {}
                _ => return None,
            }
        }
    }

    async fn until_publishing(&mut self) {
        loop {
            match self.next().await.expect("open until publishing") {
                ClientEvent::Publishing { stream_id } => return self.stream_id = stream_id,
                ClientEvent::Rejected { code, description } => panic!("rejected: {code}: {description}"),
                _ => {}
            }
        }
    }

    async fn until_playing(&mut self) {
        while self.next().await.expect("open until playing") != ClientEvent::Playing {}
    }

    /// The refusal that comes next, acknowledgements and the like left out; then the server must close.
    async fn rejected(&mut self) -> (String, String) {
        let mut refusal = None;
        while let Some(event) = self.next().await {
            if let ClientEvent::Rejected { code, description } = event {
                refusal = Some((code, description));
            }
        }
        refusal.expect("closed with a reason")
    }

    /// The next media message: kind, time, first payload byte and length.
    async fn media(&mut self) -> (FrameKind, i64, usize) {
        loop {
            match self.next().await.expect("open while media is expected") {
                ClientEvent::Media { kind, timestamp, payload } => return (kind, timestamp, payload.len()),
                ClientEvent::Ended => panic!("the stream has ended"),
                _ => {}
            }
        }
    }

    /// Ends what it does in good order.
    async fn leave(&mut self) {
        self.rtmp.close();
        let output = self.rtmp.output().split();
        self.io.write_all(&output).await.unwrap();
    }

    async fn closed(&mut self) {
        while self.next().await.is_some() {}
    }

    async fn send(&mut self, kind: FrameKind, timestamp: i64, payload: Bytes) {
        let id = if kind == FrameKind::Video { csid::VIDEO } else { csid::AUDIO };
        let mut bytes = BytesMut::new();
        WireMessage::new(id, kind.type_id(), self.stream_id, timestamp, payload).encode(&mut bytes);
        self.io.write_all(&bytes).await.unwrap();
    }

    async fn video(&mut self, timestamp: i64, length: usize) {
        self.send(FrameKind::Video, timestamp, frame(0x27, length)).await;
    }

    async fn keyframe(&mut self, timestamp: i64, length: usize) {
        self.send(FrameKind::Video, timestamp, frame(0x17, length)).await;
    }

    async fn audio(&mut self, timestamp: i64) {
        self.send(FrameKind::Audio, timestamp, Bytes::from_static(b"\xaf\x01sound")).await;
    }
}

/// An AVC frame (NAL units) whose first byte says whether it is a keyframe.
fn frame(first: u8, length: usize) -> Bytes {
    let mut payload = vec![0xaa; length.max(5)];
    payload[..5].copy_from_slice(&[first, 1, 0, 0, 0]);
    payload.into()
}

/// The reason of the next closed connection, its events before left out.
async fn closed_reason(events: &mut EventReceiver) -> String {
    loop {
        if let Some(Received::Event(Event::Closed { reason, .. })) = events.next().await {
            return reason;
        }
    }
}

fn key(name: &str) -> StreamKey {
    name.parse().unwrap()
}

fn seconds(value: f64) -> Duration {
    Duration::from_secs_f64(value)
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
    let after_connect = |event: &ClientEvent| matches!(event, ClientEvent::Connected(_));
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
            if let Event::Stop { reason, .. } = event {
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
    loop {
        if let Some(Received::Event(Event::Stop { bytes_sent, .. })) = events.next().await {
            let most = (core.config.limits.player_batch + 11_000) as u64;
            assert!((10_000..=most).contains(&bytes_sent), "{bytes_sent}");
            return;
        }
    }
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
        if let Some(Received::Event(Event::Stop { reason, .. })) = events.next().await {
            assert_eq!(reason, "stopped by the player");
            return;
        }
    }
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
    while !matches!(peer.next().await.unwrap(), ClientEvent::Connected(_)) {}
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
async fn f32_a_stream_that_has_passed_us_or_too_many_servers_is_refused() {
    let core = core(|_| ());
    let many = (0..9).map(|i| format!("engine{i}")).collect();
    for hops in [vec!["other".to_owned(), core.id.clone()], many] {
        let with_hops = ClientOptions { hops, ..options(ClientRole::Publish, "live/a") };
        let (code, text) = Peer::over(open(&core), with_hops, &core).rejected().await;
        assert_eq!(code, "NetConnection.Connect.Rejected");
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

#[tokio::test]
async fn an_idle_connections_task_is_small() {
    let core = core(|_| ());
    let (io, _theirs) = duplex(16);
    let task = serve(core, io, peer_info());
    assert!(size_of_val(&task) <= 4096, "{}", size_of_val(&task));
}

/// Listens on a real socket; its address.
fn listen(core: &Arc<Core>, tls: Option<Arc<ServerTls>>) -> SocketAddr {
    let listener = Listener::bind("rtmp", "127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr();
    let admission = Admission::new(&core.config.limits);
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
    let core = core(|_| ());
    let address = listen(&core, None);
    let mut publisher = dialled(address, &core, ClientRole::Publish, "live/a").await;
    publisher.until_publishing().await;
    let mut player = dialled(address, &core, ClientRole::Play, "live/a").await;
    player.until_playing().await;
    let name = format!("live/{PANIC_STREAM}");
    dialled(address, &core, ClientRole::Publish, &name).await.closed().await;
    publisher.keyframe(0, 100).await;
    assert_eq!(player.media().await, (FrameKind::Video, 0, 100));
    while core.sessions.list().len() > 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(core.sessions.totals().panics.load(Ordering::Relaxed), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f13_a_flood_of_input_does_not_put_off_the_deadline() {
    let core = core(|config| config.limits.command_timeout_ms = 300);
    let mut events = core.events.subscribe();
    let address = listen(&core, None);
    let mut peer = dialled(address, &core, ClientRole::Publish, "live/a").await;
    while peer.next().await != Some(ClientEvent::HandshakeDone) {}
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
    assert!(start.elapsed() <= Duration::from_secs(2), "{:?}", start.elapsed());
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
    publishers[0].send(FrameKind::Audio, 10, Bytes::from_static(crate::hub::PANIC_PAYLOAD)).await;
    publishers[0].closed().await;
    while core.sessions.totals().panics.load(Ordering::Relaxed) == 0 {
        tokio::task::yield_now().await;
    }
    publishers[1].keyframe(40, 101).await;
    assert_eq!(players[1].media().await, (FrameKind::Video, 40, 101), "others lose nothing");

    let mut next = dialled(address, &core, ClientRole::Publish, "live/a").await;
    next.until_publishing().await;
    next.keyframe(0, 102).await;
    assert_eq!(players[0].media().await.2, 102, "the player has stayed");
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
    assert!(killed.elapsed() <= Duration::from_millis(100), "{:?}", killed.elapsed());
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
    WireMessage::new(csid::VIDEO, 9, publisher.stream_id, 0, frame(0x17, 2 * read::LARGE_READ))
        .encode(&mut last_words);
    publisher.rtmp.close();
    last_words.extend_from_slice(&publisher.rtmp.output().split());
    assert_eq!(publisher.io.try_write(&last_words).unwrap(), last_words.len());
    drop(publisher);
    loop {
        if let Some(Received::Event(Event::Unpublish { reason, .. })) = events.next().await {
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
    assert!(start.elapsed() <= Duration::from_millis(100));
    let reason = closed_reason(&mut events).await;
    assert!(reason.contains("TLS") && reason.contains("plain RTMP port"), "{reason}");
}

#[tokio::test]
async fn f44_what_is_published_over_tls_is_played_over_tls() {
    let core = core(|_| ());
    let authority = Authority::new();
    authority.issue("localhost", |_| ());
    let address = listen(&core, Some(authority.server()));
    let dialer = Dialer::new(&core.config.limits);
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
