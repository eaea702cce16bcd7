//! Promises of connections that speak HTTP/2, over the same pipes.

use super::*;
use crate::config::{HttpRole, HttpTokenConfig, TokenHash};
use ::h2::client::{self, ResponseFuture, SendRequest};
use ::h2::{Reason, RecvStream};
use bytes::Bytes;
use hyper::{Method, Request, Response, StatusCode};

/// A connection whose frames another task moves.
pub(super) struct Client {
    send: SendRequest<Bytes>,
}

/// Serves HTTP/2 on one end of a pipe; the other end.
fn open_raw(core: &Arc<Core>, pipe: usize) -> DuplexStream {
    let (ours, theirs) = duplex(pipe);
    let peer = "192.0.2.8:4000".parse().unwrap();
    let asker = Asker { core: core.clone(), peer, protocol: Protocol::Https, places: None };
    tokio::spawn(Requests::new(asker, None).serve_streams(ours));
    theirs
}

impl Client {
    pub(super) async fn open(core: &Arc<Core>) -> Self {
        Self::open_with(core, client::Builder::new().initial_window_size(1 << 20)).await
    }

    async fn open_with(core: &Arc<Core>, builder: &client::Builder) -> Self {
        let (send, connection) = builder.handshake(open_raw(core, 4 * PIPE)).await.unwrap();
        tokio::spawn(connection);
        Self { send }
    }

    fn ask(&mut self, method: Method, target: &str) -> ResponseFuture {
        let request = Request::builder().method(method).uri(format!("https://h{target}")).body(()).unwrap();
        self.send.send_request(request, true).unwrap().0
    }

    /// A request with headers and perhaps a body.
    pub(super) async fn send(
        &mut self,
        method: Method,
        target: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Response<RecvStream> {
        let request = Request::builder().method(method).uri(format!("https://h{target}"));
        let request =
            headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)).body(());
        let (response, mut stream) = self.send.send_request(request.unwrap(), body.is_empty()).unwrap();
        if !body.is_empty() {
            stream.send_data(Bytes::copy_from_slice(body.as_bytes()), true).unwrap();
        }
        response.await.unwrap()
    }

    pub(super) async fn get(&mut self, target: &str) -> Response<RecvStream> {
        self.ask(Method::GET, target).await.unwrap()
    }
}

/// So many bytes of a reply's body, and what comes with them.
async fn read(body: &mut RecvStream, least: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < least {
        let data = timeout(Duration::from_secs(60), body.data()).await.expect("in time");
        let data = data.expect("more of the body").unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
        bytes.extend_from_slice(&data);
    }
    bytes
}

/// Waits for the end of a body, which has nothing more; false where it is cut.
async fn ends(body: &mut RecvStream) -> bool {
    loop {
        match timeout(Duration::from_secs(60), body.data()).await.expect("in time") {
            Some(Ok(data)) => assert!(data.is_empty(), "{data:?}"),
            Some(Err(_)) => return false,
            None => return true,
        }
    }
}

async fn text(response: Response<RecvStream>) -> String {
    let mut body = response.into_body();
    let mut bytes = Vec::new();
    while let Some(data) = body.data().await {
        bytes.extend_from_slice(&data.unwrap());
    }
    String::from_utf8(bytes).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_player_gets_the_stream_and_its_end_with_the_stream_of_the_connection() {
    let core = core(|_| ());
    let published = publish(&core, "live/a");
    let mut client = Client::open(&core).await;
    let response = client.get("/live/a.flv").await;
    assert_eq!(response.status(), 200);
    for (name, value) in [
        ("content-type", "video/x-flv"),
        ("cache-control", "no-store"),
        ("x-accel-buffering", "no"),
        ("access-control-allow-origin", "*"),
    ] {
        assert_eq!(response.headers()[name], value);
    }
    assert!(
        !response.headers().contains_key("content-length") && !response.headers().contains_key("connection")
    );
    let mut body = response.into_body();
    assert_eq!(read(&mut body, start().len()).await, start());
    let more = [keyframe(80, 3_000), inter(120, 70_000), keyframe(160, 300_000), inter(200, 9)];
    more.iter().for_each(|frame| published.push(frame.clone()).unwrap());
    assert_eq!(read(&mut body, tags(&more).len()).await, tags(&more));
    assert_eq!(core.sessions.list().len(), 1);
    published.finish("over");
    assert!(ends(&mut body).await);
    // The connection is still there.
    assert_eq!(client.get("/nothing").await.status(), 404);
    assert!(core.sessions.list().is_empty());
}

#[tokio::test(start_paused = true)]
async fn all_that_is_asked_on_one_connection_is_answered_side_by_side_as_over_http_1() {
    let core = core(|config| config.default_app.wait_for_publisher_ms = 0);
    let published = publish(&core, "live/a");
    let mut client = Client::open(&core).await;
    let mut players = Vec::new();
    for target in ["/live/a.flv", "/live?app=live&stream=a", "/live/a.live.flv?enhanced=full"] {
        players.push(client.get(target).await.into_body());
    }
    for (method, target, status, words) in [
        (Method::GET, "/live/b.flv", 404, "nobody publishes"),
        (Method::GET, "/live/%2e%2e.flv", 400, "two dots"),
        (Method::GET, "/live/a%00.flv", 400, "U+0000"),
        (Method::GET, "/nothing", 404, "/APP/STREAM.flv"),
        (Method::HEAD, "/live/a.flv", 200, ""),
        (Method::HEAD, "/live/b.flv", 404, ""),
        (Method::OPTIONS, "/live/a.flv", 204, ""),
        (Method::POST, "/live/a.flv", 415, "FLV is expected"),
        (Method::DELETE, "/live/a.flv", 405, "GET, HEAD, OPTIONS"),
        (Method::CONNECT, "", 405, "GET, HEAD, OPTIONS"),
    ] {
        let request = match method {
            Method::CONNECT => Request::connect("h:443").body(()).unwrap(),
            _ => Request::builder().method(&method).uri(format!("https://h{target}")).body(()).unwrap(),
        };
        let response = client.send.send_request(request, true).unwrap().0.await.unwrap();
        assert_eq!(response.status(), status, "{method} {target}");
        assert_eq!(response.headers()["access-control-allow-origin"], "*");
        let text = text(response).await;
        assert!(text.contains(words) && text.is_empty() == words.is_empty(), "{method} {target}: {text}");
    }
    for body in &mut players {
        assert_eq!(read(body, start().len()).await, start());
    }
    assert_eq!(core.sessions.list().len(), 3);
    let frame = keyframe(80, 3_000);
    published.push(frame.clone()).unwrap();
    for body in &mut players {
        assert_eq!(read(body, 3_000).await, tags(std::slice::from_ref(&frame)));
    }
    // One that takes its request back has left, and no other.
    drop(players.pop());
    while core.sessions.list().len() > 2 {
        tokio::task::yield_now().await;
    }
    core.sessions.kick(core.sessions.list()[0].id, "enough");
    assert!(ends(&mut players[0]).await, "kicked");
    let other = timeout(Duration::from_secs(5), players[1].data()).await;
    assert!(other.is_err(), "the other is left alone");
}

#[tokio::test(start_paused = true)]
async fn a_request_with_a_body_is_refused_and_costs_its_stream_only() {
    let core = core(|_| ());
    let _published = publish(&core, "live/a");
    let mut client = Client::open(&core).await;
    let mut body = client.get("/live/a.flv").await.into_body();
    let request = Request::get("https://h/live/a.flv").body(()).unwrap();
    let (response, _send) = client.send.send_request(request, false).unwrap();
    assert_eq!(response.await.unwrap().status(), 400);
    assert_eq!(read(&mut body, start().len()).await, start());
}

#[tokio::test(start_paused = true)]
async fn f37_a_body_for_the_api_is_read_up_to_256_kib() {
    let token = HttpTokenConfig::new("admin", HttpRole::Admin, TokenHash::of("t"));
    let core = core(|config| config.http.token = vec![token]);
    let mut client = Client::open(&core).await;
    // What is read is for an engine that has not begun.
    for (len, status) in [(10, 503), (256 * 1024, 503), (256 * 1024 + 1, 413)] {
        let request = Request::post("https://h/api/v1/relays/push")
            .header("authorization", "Bearer t")
            .header("content-type", "application/json");
        let (reply, mut body) = client.send.send_request(request.body(()).unwrap(), false).unwrap();
        body.send_data(vec![b' '; len].into(), true).unwrap();
        assert_eq!(reply.await.unwrap().status(), status, "{len}");
    }
}

#[tokio::test(start_paused = true)]
async fn f37_a_head_of_more_than_16_kib_or_64_headers_is_answered_with_431() {
    let core = core(|_| ());
    let mut client = Client::open(&core).await;
    for (count, len, status) in [(64, 1, 404), (65, 1, 431), (1, 15_000, 404), (1, 17_000, 431)] {
        let mut request = Request::get("https://h/nothing");
        for number in 0..count {
            request = request.header(format!("x-{number}"), "x".repeat(len));
        }
        let response = client.send.send_request(request.body(()).unwrap(), true).unwrap().0;
        assert_eq!(response.await.unwrap().status(), status, "{count} headers of {len}");
    }
}

#[tokio::test(start_paused = true)]
async fn f20_a_stream_whose_peer_takes_nothing_is_reset_after_10_seconds_and_others_of_its_connection_lose_nothing()
 {
    let core = core(|_| ());
    let mut events = core.events.subscribe();
    let published = publish(&core, "live/a");
    // The window of a stream is soon used up, that of the connection is not.
    let mut builder = client::Builder::new();
    builder.initial_window_size(20_000).initial_connection_window_size(1 << 24);
    let mut client = Client::open_with(&core, &builder).await;
    let mut stuck = client.get("/live/a.flv").await.into_body();
    let mut reading = client.get("/live/a.flv").await.into_body();
    assert_eq!(read(&mut reading, start().len()).await, start());
    let start_time = Instant::now();
    let pushing = async {
        for i in 1..=160 {
            let frame = keyframe(i * 100, 1_000);
            published.push(frame.clone()).unwrap();
            assert_eq!(read(&mut reading, 1_015).await, tags(&[frame]));
            advance(Duration::from_millis(100)).await;
        }
    };
    let (reason, ()) = tokio::join!(closed_reason(&mut events), pushing);
    assert_eq!(reason, "the peer has stopped reading");
    let elapsed = start_time.elapsed().as_secs_f64();
    assert!((10.0..=16.0).contains(&elapsed), "{elapsed}");
    let reset = loop {
        match stuck.data().await.expect("a reset, not an end") {
            Ok(_) => {}
            Err(error) => break error.reason(),
        }
    };
    assert_eq!(reset, Some(Reason::CANCEL));
    assert_eq!(client.get("/nothing").await.status(), 404);
}

#[tokio::test(start_paused = true)]
async fn f20_a_connection_whose_peer_reads_nothing_is_closed_after_10_seconds() {
    let core = core(|_| ());
    let mut events = core.events.subscribe();
    let published = publish(&core, "live/a");
    let mut io = open_raw(&core, 4_096);
    io.write_all(&[PREFACE, &request(1, GET_A)].concat()).await.unwrap();
    let start_time = Instant::now();
    let pushing = async {
        for i in 1.. {
            published.push(keyframe(i * 100, 1_000)).unwrap();
            sleep(Duration::from_millis(100)).await;
        }
    };
    let reason =
        tokio::select! { reason = closed_reason(&mut events) => reason, () = pushing => unreachable!() };
    let elapsed = start_time.elapsed().as_secs_f64();
    assert!((9.9..=25.0).contains(&elapsed), "{elapsed}: {reason}");
    assert!(is_closed(&mut io).await);
}

/// What a client says first, with settings of no content.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// Header blocks: `GET /` and `GET /live/a.flv` of https://h.
const GET_ROOT: &[u8] = b"\x82\x84\x87\x41\x01h";
const GET_A: &[u8] = b"\x82\x87\x41\x01h\x04\x0b/live/a.flv";
/// With a header that HTTP/2 does not have.
const GET_BROKEN: &[u8] = b"\x82\x84\x87\x41\x01h\0\x0aconnection\x01y";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&len[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A request without a body.
fn request(stream: u32, block: &[u8]) -> Vec<u8> {
    frame(1, 5, stream, block)
}

/// A request that is taken back at once.
fn taken_back(stream: u32) -> Vec<u8> {
    [request(stream, GET_A), frame(3, 0, stream, &8u32.to_be_bytes())].concat()
}

/// Reads frames to the end of the connection; why it went away.
async fn went_away(io: &mut DuplexStream) -> Option<u32> {
    let mut why = None;
    loop {
        let mut head = [0; 9];
        if io.read_exact(&mut head).await.is_err() {
            return why;
        }
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        io.read_exact(&mut payload).await.unwrap();
        if head[3] == 7 {
            why = Some(u32::from_be_bytes(payload[4..8].try_into().unwrap()));
        }
    }
}

const ENHANCE_YOUR_CALM: u32 = 11;

#[tokio::test(start_paused = true)]
async fn one_connection_has_a_hundred_streams_at_a_time_and_is_told_so() {
    let core = core(|_| ());
    let _published = publish(&core, "live/a");
    let (send, mut connection) = client::handshake(open_raw(&core, PIPE)).await.unwrap();
    let mut send: SendRequest<Bytes> = send;
    let root = Request::get("https://h/nothing").body(()).unwrap();
    let (response, _) = send.send_request(root, true).unwrap();
    tokio::select! { response = response => drop(response.unwrap()), end = &mut connection => end.unwrap() }
    assert_eq!(connection.max_concurrent_send_streams(), 100);
    // Who does not care has the others refused.
    let mut io = open_raw(&core, 16 * PIPE);
    let requests: Vec<u8> = (0..110).flat_map(|number| request(2 * number + 1, GET_A)).collect();
    io.write_all(&[PREFACE, &requests].concat()).await.unwrap();
    let mut refused = 0;
    while refused < 10 {
        let mut head = [0; 9];
        io.read_exact(&mut head).await.unwrap();
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        io.read_exact(&mut payload).await.unwrap();
        refused += usize::from(head[3] == 3 && payload == 7u32.to_be_bytes());
    }
    while core.sessions.list().len() < 100 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn requests_that_are_taken_back_at_once_end_their_connection_and_no_other() {
    let core = core(|_| ());
    let published = publish(&core, "live/a");
    let mut other = Client::open(&core).await;
    let mut body = other.get("/live/a.flv").await.into_body();
    let mut io = open_raw(&core, 4 * PIPE);
    let flood: Vec<u8> = (0..1_000).flat_map(|number| taken_back(2 * number + 1)).collect();
    io.write_all(&[PREFACE, &flood].concat()).await.unwrap();
    assert_eq!(went_away(&mut io).await, Some(ENHANCE_YOUR_CALM));
    let frame = keyframe(80, 3_000);
    published.push(frame.clone()).unwrap();
    assert_eq!(read(&mut body, start().len() + 3_015).await, [start(), tags(&[frame])].concat());
    assert_eq!(core.sessions.list().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn requests_that_break_the_rules_end_their_connection_before_long() {
    let core = core(|_| ());
    let mut io = open_raw(&core, 4 * PIPE);
    let flood: Vec<u8> = (0..200).flat_map(|number| request(2 * number + 1, GET_BROKEN)).collect();
    io.write_all(&[PREFACE, &flood].concat()).await.unwrap();
    assert_eq!(went_away(&mut io).await, Some(ENHANCE_YOUR_CALM));
}

#[tokio::test(start_paused = true)]
async fn f37_a_connection_that_asks_for_nothing_is_closed_in_time_whatever_frames_it_sends() {
    let core = core(|_| ());
    let ping = frame(6, 0, 0, &[0; 8]);
    let half_a_head = frame(1, 1, 3, GET_ROOT);
    let first = request(1, GET_ROOT);
    for (begin, again, least, most) in [
        // What begins a connection drips in; nothing is asked for; a head never ends.
        (&PREFACE[..20], &b""[..], 4.9, 6.0),
        (PREFACE, &ping[..], 4.9, 6.0),
        (&[PREFACE, &half_a_head].concat(), b"", 4.9, 6.0),
        // The same behind a request that has been answered.
        (&[PREFACE, &first].concat(), &ping[..], 29.9, 31.5),
        (&[PREFACE, &first, &half_a_head].concat(), b"", 29.9, 31.5),
    ] {
        let mut io = open_raw(&core, PIPE);
        let start_time = Instant::now();
        io.write_all(begin).await.unwrap();
        let (mut reader, mut writer) = tokio::io::split(io);
        let reading = async {
            let mut rest = Vec::new();
            let _ = reader.read_to_end(&mut rest).await;
        };
        let writing = async {
            while writer.write_all(again).await.is_ok() {
                sleep(Duration::from_secs(1)).await;
            }
        };
        tokio::select! { () = reading => (), () = writing => () }
        let elapsed = start_time.elapsed().as_secs_f64();
        assert!((least..=most).contains(&elapsed), "{elapsed} after {begin:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn draining_tells_players_and_closes_connections_that_have_none() {
    let core = core(|_| ());
    let _published = publish(&core, "live/a");
    let mut io = open_raw(&core, PIPE);
    io.write_all(&[PREFACE, &request(1, GET_ROOT)].concat()).await.unwrap();
    let mut client = Client::open(&core).await;
    let mut body = client.get("/live/a.flv").await.into_body();
    read(&mut body, start().len()).await;
    core.draining.cancel();
    assert!(ends(&mut body).await, "it is told");
    assert_eq!(went_away(&mut io).await, Some(0));
    let late = Request::get("https://h/nothing").body(()).unwrap();
    let answer = async { client.send.ready().await?.send_request(late, true)?.0.await };
    assert!(answer.await.is_err(), "no more requests");
    while !core.sessions.list().is_empty() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_taken_back_while_it_waits_is_no_session_any_more() {
    let core = core(|_| ());
    let mut events = core.events.subscribe();
    let mut client = Client::open(&core).await;
    let response = client.ask(Method::GET, "/live/a.flv");
    while !matches!(next(&mut events).await, Event::PlayStarted { .. }) {}
    drop(response);
    assert!(matches!(next(&mut events).await, Event::PlayEnded { bytes_sent: 0, .. }));
    assert_eq!(closed_reason(&mut events).await, "closed by the peer");
    assert!(core.sessions.list().is_empty());
}

#[tokio::test(start_paused = true)]
async fn bodies_of_several_requests_are_published_beside_players_on_one_connection() {
    let core = core(|_| ());
    let mut client = Client::open(&core).await;
    let frames = [video_header(0), audio_header(0), keyframe(0, 100), audio(5)];
    let mut publish = |name: &str| {
        let request = Request::builder().method(Method::POST).uri(format!("https://h/live/{name}.flv"));
        let (reply, mut body) = client.send.send_request(request.body(()).unwrap(), false).unwrap();
        body.send_data(Bytes::copy_from_slice(&flv(&frames)), false).unwrap();
        (reply, body)
    };
    let (first, mut body) = publish("a");
    let (second, mut other) = publish("b");
    let played = client.get("/live/a.flv").await;
    assert_eq!(read(&mut played.into_body(), 50).await[..3], *b"FLV");
    // More than its window holds at a time.
    for at in 0..20 {
        let tag = Bytes::copy_from_slice(&tags(&[keyframe(40 + at * 40, 10_000)]));
        body.send_data(tag, at == 19).unwrap();
    }
    assert_eq!(first.await.unwrap().status(), StatusCode::NO_CONTENT);
    assert_eq!(core.hub.stream(&key("live/a")).map(|info| info.state), None);
    other.send_reset(Reason::CANCEL);
    assert!(second.await.is_err(), "it was taken back");
    sleep(Duration::from_millis(100)).await;
    let state = core.hub.stream(&key("live/b")).map(|info| info.state);
    assert_eq!(state, Some(crate::status::StreamState::Away));
}
