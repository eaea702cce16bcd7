//! Players over HTTP, on real sockets, by a client that sends what it is told, right or wrong.
#![cfg(feature = "http")]

use hyper::Request;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};
use streamengine::media::elementary::FlvStream;
use streamengine::media::{Frame, FrameKind};
use streamengine::proto::client::{ClientEvent, ClientOptions, ClientRole, ClientSession};
use streamengine::testing::{audio, audio_header, demo_frames, inter, key, keyframe, video_header, wait};
use streamengine::{
    Config, Door, Engine, ErrorKind, Event, Limits, ListenerInfo, Protocol, Publisher, TlsIdentity,
};

const PATIENCE: Duration = Duration::from_secs(30);
const UPGRADE: &str = "GET /live/a.flv HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// An engine that refuses plays of what nobody publishes at once.
fn serving() -> Engine {
    let config =
        Config::from_toml("[default_app]\nwait_for_publisher_ms = 0\n[publish]\nopen = true\n").unwrap();
    Engine::builder().config(config).listen_rtmp(any_port()).listen_http(any_port()).start().unwrap()
}

fn address(engine: &Engine, protocol: Protocol) -> SocketAddr {
    engine.listeners().iter().find(|listener| listener.protocol == protocol).unwrap().address
}

fn publish(engine: &Engine) -> Publisher {
    let publisher = engine.publish(&key("live/a")).unwrap();
    for frame in [video_header(0), audio_header(0), keyframe(0, 100), audio(5), inter(40, 50)] {
        publisher.push(frame).unwrap();
    }
    publisher
}

/// A listener with TLS, and how to connect to it.
struct Secure {
    listener: ListenerInfo,
    identity: TlsIdentity,
    certificate: CertificateDer<'static>,
}

impl Secure {
    fn listen(engine: &Engine) -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let identity = TlsIdentity::text_or_path(&made.cert.pem(), &made.signing_key.serialize_pem());
        let listener = engine.listen_https(any_port(), identity.clone()).unwrap();
        Self { listener, identity, certificate: made.cert.der().clone() }
    }

    fn config(&self, protocols: &[&str]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    /// A connection that offers these protocols; the one that was chosen.
    fn dial(&self, protocols: &[&str]) -> (Client, Option<String>) {
        let session = ClientConnection::new(self.config(protocols), "localhost".try_into().unwrap()).unwrap();
        let mut stream = StreamOwned::new(session, connect(self.listener.address));
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).unwrap();
        }
        let chosen = stream.conn.alpn_protocol().map(|name| String::from_utf8(name.to_vec()).unwrap());
        (Client { socket: Box::new(stream), input: Vec::new() }, chosen)
    }

    /// Plays `/live/a.flv` by HTTP/2.
    fn play(&self) -> Player {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (send, body) = runtime.block_on(async {
            let socket = tokio::net::TcpStream::connect(self.listener.address).await.unwrap();
            let tls = tokio_rustls::TlsConnector::from(self.config(&["h2"]));
            let tls = tls.connect("localhost".try_into().unwrap(), socket).await.unwrap();
            assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
            let (mut send, connection) = h2::client::handshake(tls).await.unwrap();
            tokio::spawn(connection);
            let request = Request::get("https://localhost/live/a.flv").body(()).unwrap();
            let response = send.send_request(request, true).unwrap().0.await.unwrap();
            assert_eq!((response.status().as_u16(), response.version()), (200, hyper::Version::HTTP_2));
            (send, response.into_body())
        });
        Player { runtime, body, send }
    }
}

/// A reply by HTTP/2 that has begun.
struct Player {
    runtime: tokio::runtime::Runtime,
    body: h2::RecvStream,
    /// The connection ends with it.
    send: h2::client::SendRequest<bytes::Bytes>,
}

impl Player {
    /// What comes next of the body; nothing at its end.
    fn next(&mut self) -> Vec<u8> {
        let next = async { tokio::time::timeout(PATIENCE, self.body.data()).await.expect("in time") };
        let Some(data) = self.runtime.block_on(next) else { return Vec::new() };
        let data = data.unwrap();
        self.body.flow_control().release_capacity(data.len()).unwrap();
        data.to_vec()
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// What bytes are sent and received on.
trait Wire: Read + Write + Send {
    /// Ends the sending side.
    fn end(&self) {}
}

impl Wire for TcpStream {
    fn end(&self) {
        self.shutdown(std::net::Shutdown::Write).unwrap();
    }
}

impl Wire for StreamOwned<ClientConnection, TcpStream> {}

/// A connection and what has been read of it.
struct Client {
    socket: Box<dyn Wire>,
    input: Vec<u8>,
}

impl Client {
    fn dial(engine: &Engine) -> Self {
        let socket = Box::new(connect(address(engine, Protocol::Http)));
        Self { socket, input: Vec::new() }
    }

    fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // The server may have closed already: what it has said then counts.
        let _ = self.socket.write_all(bytes.as_ref()).and_then(|()| self.socket.flush());
    }

    /// Reads more; false at the end.
    fn read(&mut self) -> bool {
        let mut buffer = [0; 65_536];
        match self.socket.read(&mut buffer) {
            Ok(0) => false,
            Ok(count) => {
                self.input.extend_from_slice(&buffer[..count]);
                true
            }
            Err(error) => {
                let is_late =
                    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut);
                assert!(!is_late, "nothing came");
                false
            }
        }
    }

    fn take(&mut self, len: usize) -> Vec<u8> {
        while self.input.len() < len {
            assert!(self.read(), "closed after {:?}", String::from_utf8_lossy(&self.input));
        }
        self.input.drain(..len).collect()
    }

    fn take_through(&mut self, end: &[u8]) -> Vec<u8> {
        loop {
            if let Some(at) = self.input.windows(end.len()).position(|window| window == end) {
                return self.take(at + end.len());
            }
            assert!(self.read(), "closed after {:?}", String::from_utf8_lossy(&self.input));
        }
    }

    fn head(&mut self) -> String {
        String::from_utf8(self.take_through(b"\r\n\r\n")).unwrap()
    }

    /// A reply with a length: status and text.
    fn reply(&mut self) -> (u16, String) {
        let head = self.head().to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
        let body = self.take(length.parse().unwrap());
        (head[9..12].parse().unwrap(), String::from_utf8(body).unwrap())
    }

    fn ask(&mut self, request: &str) -> (u16, String) {
        self.send(request);
        self.reply()
    }

    /// Everything up to the end of the connection.
    fn rest(&mut self) -> Vec<u8> {
        while self.read() {}
        std::mem::take(&mut self.input)
    }

    fn chunk(&mut self) -> Vec<u8> {
        let size = String::from_utf8(self.take_through(b"\r\n")).unwrap();
        let chunk = self.take(usize::from_str_radix(size.trim(), 16).unwrap());
        self.take(2);
        chunk
    }

    /// The first byte of a frame of a WebSocket, and its payload.
    fn frame(&mut self) -> (u8, Vec<u8>) {
        let head = self.take(2);
        let len = match head[1] {
            126 => self.take(2),
            127 => self.take(8),
            short => vec![short],
        };
        let len = len.iter().fold(0, |len, byte| len << 8 | usize::from(*byte));
        (head[0], self.take(len))
    }
}

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n")
}

#[test]
fn requests_are_answered_as_their_table_says() {
    let engine = serving();
    let _publisher = publish(&engine);
    for (request, status, words) in [
        (get("/live/b.flv"), 404, "nobody publishes"),
        (get("/live/%2e%2e.flv"), 400, "two dots"),
        (get("/live/../a.flv"), 400, "dot"),
        (get("/live/%2e%2e/live/a.flv"), 400, "dot"),
        (get("/live/%252e%252e.flv"), 400, "U+0025"),
        (get("/live/a%00.flv"), 400, "U+0000"),
        (get("/live/a%2fb.flv"), 400, "U+002F"),
        (get("/live/a:1.flv"), 400, "U+003A"),
        (get("/a.flv"), 400, "app name is missing"),
        (get("/live?app=live&stream=b&port=1935"), 404, "nobody publishes"),
        (get("/"), 200, "href=\"/play/live/a\""),
        (get("/live/a"), 404, "/APP/STREAM.flv"),
        (get("/play/live/b"), 200, "no player for browsers"),
        (get("/play/live/%2e%2e"), 400, "dot"),
        (get("/play/live/a%00"), 400, "U+0000"),
        (get("/assets/../live/a"), 404, "/APP/STREAM.flv"),
        (get("http://other.example/live/b.flv"), 404, "nobody publishes"),
        (get("http://other.example/live/%2e%2e.flv"), 400, "two dots"),
        ("GET /live/b.flv HTTP/1.0\r\n\r\n".to_owned(), 404, "nobody publishes"),
        ("GET /live/a.flv HTTP/1.1\r\n\r\n".to_owned(), 400, "one Host"),
        ("GET /live/a.flv HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_owned(), 400, "one Host"),
        (
            "POST /live/a.flv HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n".to_owned(),
            415,
            "FLV is expected in the body",
        ),
        ("DELETE /live/a.flv HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), 405, "GET, HEAD, OPTIONS"),
        (UPGRADE.replace("Version: 13", "Version: 8"), 426, "version 13"),
        (UPGRADE.replace("Sec-WebSocket-Key", "X"), 400, "Sec-WebSocket-Key"),
        (UPGRADE.replace("Connection: Upgrade", "X: y"), 400, "Connection: upgrade"),
    ] {
        let (got, text) = Client::dial(&engine).ask(&request);
        assert_eq!(got, status, "{request} {text}");
        assert!(text.contains(words), "{request} {text}");
    }
}

#[test]
fn head_options_and_ranges_are_answered_and_the_connection_is_kept() {
    let engine = serving();
    let _publisher = publish(&engine);
    let mut client = Client::dial(&engine);
    for (stream, status) in [("a", "200"), ("b", "404")] {
        client.send(format!("HEAD /live/{stream}.flv HTTP/1.1\r\nHost: h\r\n\r\n"));
        let head = client.head();
        assert_eq!(&head[9..12], status);
        assert!(head.contains("access-control-allow-origin: *"), "{head}");
    }
    client.send(
        "OPTIONS /live/a.flv HTTP/1.1\r\nHost: h\r\nOrigin: https://site.example\r\n\
         Access-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: x-token\r\n\r\n",
    );
    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 204"), "{head}");
    for line in
        ["access-control-allow-origin: *", "access-control-allow-headers: *", "allow: GET, HEAD, OPTIONS"]
    {
        assert!(head.contains(line), "{line}: {head}");
    }
    client.send("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(client.head().starts_with("HTTP/1.1 204"));
    // As VLC asks.
    client.send("GET /live/a.flv HTTP/1.1\r\nHost: h\r\nRange: bytes=0-\r\n\r\n");
    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 200") && !head.to_lowercase().contains("content-range"), "{head}");
    assert_eq!(&client.chunk()[..3], b"FLV");
}

#[test]
fn a_request_that_could_be_read_in_two_ways_is_answered_once_and_closed() {
    let engine = serving();
    let _publisher = publish(&engine);
    let smuggled = "GET /live/a.flv HTTP/1.1\r\nHost: h\r\n\r\n";
    for shape in [
        format!("Content-Length: {}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", smuggled.len() + 5),
        format!("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n{:x}\r\n", smuggled.len()),
        "Content-Length: 0\r\nContent-Length: 44\r\n\r\n".to_owned(),
        format!("Content-Length: {}\r\n\r\n", smuggled.len()),
        "Content-Length: +0\r\n\r\n".to_owned(),
        "Content-Length: 0, 0\r\n\r\n".to_owned(),
        "Transfer-Encoding: xchunked\r\n\r\n".to_owned(),
        "Transfer-Encoding: chunked, identity\r\n\r\n".to_owned(),
        "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n".to_owned(),
        "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n".to_owned(),
        "X: y\r\n folded\r\n\r\n".to_owned(),
        "X: a\0b\r\n\r\n".to_owned(),
        "X y\r\n\r\n".to_owned(),
    ] {
        let mut client = Client::dial(&engine);
        client.send(format!("GET /live/b.flv HTTP/1.1\r\nHost: h\r\n{shape}{smuggled}"));
        let (status, _) = client.reply();
        let rest = client.rest();
        assert_eq!((status, rest.as_slice()), (400, &b""[..]), "{shape}");
    }
    assert!(engine.sessions().is_empty());
}

#[test]
fn f37_heads_that_are_too_long_or_never_end_are_refused_and_closed() {
    let engine = serving();
    let head = |line: String| format!("GET / HTTP/1.1\r\nHost: h\r\n{line}\r\n\r\n");
    for long in [
        head(format!("X: {}", "x".repeat(9_000))),
        head(format!("X: {}", "x".repeat(1_000_000))),
        head("X: y\r\n".repeat(65).trim_end().to_owned()),
        format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "a".repeat(100_000)),
    ] {
        let mut client = Client::dial(&engine);
        client.send(&long);
        let text = String::from_utf8(client.rest()).unwrap();
        assert!(text.is_empty() || ["431", "414"].contains(&&text[9..12]), "{text}");
    }
    for wrong in
        ["\x16\x03\x01\x02", "\x03", "SSH-2.0-x\r\n", "GET / HTTP/9.9\r\n\r\n", "\r\n\r\nGET\r\n\r\n"]
    {
        let mut client = Client::dial(&engine);
        client.send(wrong);
        client.socket.end();
        let text = client.rest();
        assert!(text.is_empty() || text.starts_with(b"HTTP/1.1 400"), "{wrong:?}");
    }
    // It serves on.
    assert_eq!(Client::dial(&engine).ask(&get("/")).0, 200);
}

#[test]
fn f37_slow_heads_are_closed_in_time() {
    let config = Config::default().limits(Limits::default().http_header_timeout_ms(500));
    let engine = Engine::builder().config(config).listen_http(any_port()).start().unwrap();
    for sent in ["", "GET / HT"] {
        let mut client = Client::dial(&engine);
        client.send(sent);
        let start = Instant::now();
        assert_eq!(client.rest(), b"");
        let time = start.elapsed();
        assert!((Duration::from_millis(300)..Duration::from_secs(4)).contains(&time), "{time:?}");
    }
}

#[test]
fn f14_connections_without_a_request_count_as_pending_and_those_with_one_do_not() {
    let limits = Limits::default().max_pending_per_address(2);
    let engine =
        Engine::builder().config(Config::default().limits(limits)).listen_http(any_port()).start().unwrap();
    let mut kept = Vec::new();
    for _ in 0..10 {
        let mut client = Client::dial(&engine);
        assert_eq!(client.ask(&get("/")).0, 200);
        kept.push(client);
    }
    let _silent: Vec<_> = (0..2).map(|_| Client::dial(&engine)).collect();
    assert_eq!(Client::dial(&engine).rest(), b"", "the third that has asked for nothing");
    assert_eq!(kept[0].ask(&get("/")).0, 200);
}

/// A frame as all doors send it: kind, payload, and a time that metadata has not.
fn hash(frames: &[Frame]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for frame in frames {
        let time = if frame.kind == FrameKind::Data { 0 } else { frame.timestamp };
        (frame.kind as u8, time, &frame.payload[..]).hash(&mut hasher);
    }
    hasher.finish()
}

/// The media of a stream by RTMP, until `count` frames have come.
fn by_rtmp(engine: &Engine, count: usize) -> Vec<Frame> {
    let server = address(engine, Protocol::Rtmp);
    let options = ClientOptions {
        app: "live".to_owned(),
        tc_url: format!("rtmp://{server}/live"),
        stream: "a".to_owned(),
        role: ClientRole::Play,
        hops: Vec::new(),
    };
    let mut session = ClientSession::new(options, &Limits::default());
    let mut socket = TcpStream::connect(server).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let (mut frames, mut buffer) = (Vec::new(), [0; 65_536]);
    while frames.len() < count {
        let output = session.output().split();
        socket.write_all(&output).unwrap();
        match session.poll().unwrap() {
            Some(ClientEvent::Media { kind, timestamp, payload, .. }) => {
                frames.push(Frame::new(kind, timestamp, payload));
            }
            Some(_) => {}
            None if session.output().is_empty() => {
                let read = socket.read(&mut buffer).unwrap();
                assert!(read > 0, "{} of {count}", frames.len());
                session.input().extend_from_slice(&buffer[..read]);
            }
            None => {}
        }
    }
    frames
}

/// The frames in FLV, until `count` have come.
fn frames_of(mut next: impl FnMut() -> Vec<u8>, count: usize) -> Vec<Frame> {
    let (mut flv, mut frames) = (FlvStream::new(1 << 24), Vec::new());
    while frames.len() < count {
        let bytes = next();
        let mut rest = &bytes[..];
        while let Some(frame) = flv.read(&mut rest).unwrap() {
            frames.push(frame);
        }
    }
    frames
}

#[test]
fn a2_frames_of_every_door_are_those_of_rtmp_by_hash() {
    let engine = serving();
    let publisher = engine.publish(&key("live/a")).unwrap();
    let frames = demo_frames();
    let (start, rest) = frames.split_at(30);
    start.iter().for_each(|frame| publisher.push(frame.clone()).unwrap());

    let secure = Secure::listen(&engine);
    let mut clients: Vec<_> = (0..3).map(|_| Client::dial(&engine)).collect();
    // As browsers do for WebSockets.
    clients.push(secure.dial(&["http/1.1"]).0);
    let old = "GET /live?port=1935&app=live&stream=a HTTP/1.0\r\n\r\n".to_owned();
    let requests = [get("/live/a.live.flv"), old, UPGRADE.to_owned(), UPGRADE.to_owned()];
    for (client, request) in clients.iter_mut().zip(requests) {
        client.send(request);
        let head = client.head();
        assert!(head.starts_with("HTTP/1.1 200") || head.starts_with("HTTP/1.1 101"), "{head}");
    }
    let mut http_2 = secure.play();
    let by_rtmp = std::thread::scope(|scope| {
        let mut events = engine.events();
        let rtmp = scope.spawn(|| by_rtmp(&engine, frames.len()));
        wait::event(&mut events, |event| matches!(event, Event::PlayStarted { .. }).then_some(()));
        rest.iter().for_each(|frame| publisher.push(frame.clone()).unwrap());
        rtmp.join().unwrap()
    });
    assert_eq!(by_rtmp.len(), frames.len());
    let [chunked, plain, socket, secure_socket] = &mut clients[..] else { unreachable!() };
    let message = |socket: &mut Client| {
        let (first, payload) = socket.frame();
        assert_eq!(first, 0x82);
        payload
    };
    let all = [
        frames_of(|| chunked.chunk(), frames.len()),
        frames_of(|| plain.take(1), frames.len()),
        frames_of(|| message(socket), frames.len()),
        frames_of(|| message(secure_socket), frames.len()),
        frames_of(|| http_2.next(), frames.len()),
    ];
    for got in &all {
        assert_eq!(got.len(), by_rtmp.len());
        assert_eq!(hash(got), hash(&by_rtmp));
    }
    publisher.finish();
    assert_eq!(chunked.chunk(), b"", "a clean end");
    assert_eq!(plain.rest().len(), 4, "the size of the last tag");
    assert_eq!(socket.frame().0, 0x88);
    assert_eq!(secure_socket.frame().0, 0x88);
    // The size of the last tag is there already, or comes now.
    while !http_2.next().is_empty() {}
    assert!(http_2.body.is_end_stream());
}

#[test]
fn http_players_are_players_in_lists_statistics_and_events() {
    let engine = serving();
    let publisher = publish(&engine);
    let mut events = engine.events();
    let mut client = Client::dial(&engine);
    client.send(get("/live/a.flv?key=hunter2"));
    client.head();
    client.chunk();
    assert_eq!(engine.stats().players, 1);
    let session = engine.sessions().pop().unwrap();
    assert_eq!((session.stream, session.tls), (Some(key("live/a")), false));
    assert!(session.bytes_out > 100, "{}", session.bytes_out);
    engine.kick(session.id, "enough").unwrap();
    while client.chunk() != b"" {}
    let mut told = Vec::new();
    wait::event(&mut events, |event| {
        told.push(serde_json::to_string(&event).unwrap());
        matches!(event, Event::SessionClosed { .. }).then_some(())
    });
    let told = told.join("\n");
    assert!(told.contains("session-opened") && told.contains("play-started"), "{told}");
    assert!(told.contains("closed by the operator: enough") && !told.contains("hunter2"), "{told}");
    drop(publisher);
}

#[test]
fn lists_and_events_say_by_which_door_a_player_has_come() {
    let engine = serving();
    let _publisher = publish(&engine);
    let mut events = engine.events();
    let mut opened = || {
        wait::event(&mut events, |event| match event {
            Event::PlayStarted { session, door, .. } => Some((session, door)),
            _ => None,
        })
    };
    by_rtmp(&engine, 2);
    assert_eq!(opened().1, Door::Rtmp);
    let mut clients = Vec::new();
    for (request, door) in [(get("/live/a.flv"), Door::HttpFlv), (UPGRADE.to_owned(), Door::WebSocket)] {
        let mut client = Client::dial(&engine);
        client.send(request);
        client.head();
        let (session, told) = opened();
        assert_eq!(told, door);
        let sessions = engine.sessions();
        assert_eq!(sessions.iter().find(|other| other.id == session).unwrap().door, door);
        clients.push(client);
    }
    let json = serde_json::to_value(engine.sessions()).unwrap().to_string();
    assert!(json.contains(r#""door":"http-flv""#) && json.contains(r#""door":"websocket""#), "{json}");
}

#[test]
fn draining_tells_players_and_ends_in_time() {
    let engine = serving();
    let _publisher = publish(&engine);
    let mut clients: Vec<_> = (0..3).map(|_| Client::dial(&engine)).collect();
    clients[0].send(get("/live/a.flv"));
    clients[1].send(UPGRADE);
    clients[2].send(get("/"));
    clients.iter_mut().for_each(|client| drop(client.head()));
    let draining = std::thread::spawn({
        let engine = engine.clone();
        move || engine.blocking_drain()
    });
    while clients[0].chunk() != b"" {}
    let last = std::iter::from_fn(|| Some(clients[1].frame())).find(|(first, _)| *first == 0x88).unwrap();
    assert_eq!(last.1[..2], 1001u16.to_be_bytes());
    clients[2].rest();
    drop(clients);
    draining.join().unwrap().unwrap();
}

#[test]
fn behind_a_listed_proxy_the_address_that_it_tells_is_the_peers() {
    let text = "[http]\nlisten = [\"127.0.0.1:0\"]\nproxy_protocol_from = \"127.0.0.1\"\n";
    let engine = Engine::builder().config(Config::from_toml(text).unwrap()).start().unwrap();
    let _publisher = publish(&engine);
    let mut client = Client::dial(&engine);
    client.send(format!("PROXY TCP4 192.0.2.7 10.0.0.1 12345 80\r\n{}", get("/live/a.flv")));
    assert!(client.head().starts_with("HTTP/1.1 200"));
    assert_eq!(engine.sessions()[0].peer.to_string(), "192.0.2.7:12345");
    let mut stranger = Client::dial(&engine);
    stranger.send(get("/live/a.flv"));
    assert_eq!(stranger.rest(), b"", "it has to tell one");
}

#[test]
fn https_serves_the_same_behind_tls_and_takes_another_certificate() {
    let engine = Engine::builder().listen_http(any_port()).start().unwrap();
    let secure = Secure::listen(&engine);
    let Secure { listener, identity, .. } = &secure;
    assert_eq!((listener.protocol, listener.protocol.as_str()), (Protocol::Https, "https"));
    let _publisher = publish(&engine);

    // Who names no protocol speaks the old one.
    for (offered, chosen) in [(&["http/1.1"][..], Some("http/1.1")), (&[], None)] {
        let (mut client, protocol) = secure.dial(offered);
        assert_eq!(protocol.as_deref(), chosen);
        client.send(get("/live/a.flv"));
        assert!(client.head().starts_with("HTTP/1.1 200"));
        assert_eq!(&client.chunk()[..3], b"FLV");
        assert!(engine.sessions().iter().all(|session| session.tls));
    }
    for offered in [&["h2", "http/1.1"][..], &["http/1.1", "h2"]] {
        assert_eq!(secure.dial(offered).1.as_deref(), Some("h2"));
    }

    engine.reload_tls(listener.id, Some(identity.clone())).unwrap();
    let plain = engine.listeners().into_iter().find(|listener| listener.protocol == Protocol::Http).unwrap();
    assert_eq!(engine.reload_tls(plain.id, None).unwrap_err().kind(), ErrorKind::State);
    // Plain HTTP there gets no answer that could be taken for one.
    let mut socket = connect(listener.address);
    socket.write_all(get("/").as_bytes()).unwrap();
    let mut rest = Vec::new();
    let _ = socket.read_to_end(&mut rest);
    assert!(!rest.starts_with(b"HTTP"));
}

#[test]
fn every_player_of_one_connection_of_http_2_counts_as_a_connection() {
    let limits = Limits::default().max_connections_per_address(3);
    let config = Config::default().limits(limits);
    let engine = Engine::builder().config(config).start().unwrap();
    let secure = Secure::listen(&engine);
    let _publisher = publish(&engine);
    let mut player = secure.play();
    let ask = |player: &mut Player| {
        let request = Request::get("https://localhost/live/a.flv").body(()).unwrap();
        let (response, _) = player.send.send_request(request, true).unwrap();
        player.runtime.block_on(response).unwrap()
    };
    let others = [ask(&mut player), ask(&mut player)];
    assert_eq!(others.each_ref().map(|response| response.status().as_u16()), [200, 200]);
    assert_eq!((engine.stats().players, engine.sessions().len()), (3, 3));
    assert_eq!(ask(&mut player).status().as_u16(), 503);
    assert_eq!(connect(secure.listener.address).read(&mut [0]).unwrap(), 0, "a connection more");
    drop(others);
    wait::until("who leaves makes room", || ask(&mut player).status().as_u16() == 200);
}
