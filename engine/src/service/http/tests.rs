//! Promises of HTTP connections, kept over in-memory pipes with a paused clock.

mod h2;
mod hls;
mod ingest;
mod login;
mod manage;
mod mp4;
mod recordings;

use super::*;
use crate::auth::{AuthRequest, Authorize, Gate, Grant, PublishRule, Ticket};
use crate::config::{Config, PublisherConfig};
use crate::events::{Event, EventReceiver, Events, Received};
use crate::service::streams::Published;
use crate::testing::{audio, audio_header, flv, inter, key, keyframe, tags, video_header};
use parking_lot::Mutex;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::{Instant, advance, sleep, timeout};

/// Bytes that a pipe holds before the writer has to wait.
const PIPE: usize = 64 * 1024;
const GET: &str = "GET /live/a.flv HTTP/1.1\r\nHost: h\r\n\r\n";
const UPGRADE: &str = "GET /live/a.flv HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

fn core_with(config: Config, authorizer: impl Authorize) -> Arc<Core> {
    let auth = Gate::new(&[Arc::new(authorizer)], &config.limits);
    Arc::new(Core::new(config, auth, Events::default()))
}

pub(super) fn core(change: impl FnOnce(&mut Config)) -> Arc<Core> {
    let mut config = Config::default();
    change(&mut config);
    core_with(config, PublishRule::Open)
}

/// Serves one end of a pipe; the other end.
fn open(core: &Arc<Core>) -> DuplexStream {
    open_with(core, PIPE)
}

fn open_with(core: &Arc<Core>, pipe: usize) -> DuplexStream {
    let (ours, theirs) = duplex(pipe);
    let peer = "192.0.2.7:4000".parse().unwrap();
    let asker = Asker { core: core.clone(), peer, protocol: Protocol::Http, places: None };
    let requests = Requests::new(asker, None);
    tokio::spawn(async move {
        if let Some(TakenOver { io, input, turn }) = requests.serve(ours).await {
            let (reader, writer) = tokio::io::split(io);
            match turn.into_publishing() {
                Ok(publishing) => Socket::start(publishing, reader, writer, &input).await,
                Err(turn) => Player::start(turn, reader, writer, input).await,
            }
        }
    });
    theirs
}

pub(super) fn publish(core: &Arc<Core>, name: &str) -> Published {
    let published = Published::by_engine(core, &key(name), "test", &[], &PublisherConfig::default()).unwrap();
    for frame in [video_header(0), audio_header(0), keyframe(0, 100), audio(5), inter(40, 50)] {
        published.push(frame).unwrap();
    }
    published
}

/// What a player of [`publish`] gets first.
fn start() -> Vec<u8> {
    flv(&[video_header(0), audio_header(0), keyframe(0, 100), audio(5), inter(40, 50)]).to_vec()
}

/// Reads up to and with `end`.
async fn read_until(io: &mut DuplexStream, end: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(end) {
        let byte = timeout(Duration::from_secs(60), io.read_u8()).await.expect("in time");
        bytes.push(byte.unwrap_or_else(|error| panic!("{error} after {}", String::from_utf8_lossy(&bytes))));
    }
    bytes
}

async fn read_head(io: &mut DuplexStream) -> String {
    String::from_utf8(read_until(io, b"\r\n\r\n").await).unwrap()
}

/// The contents of the next chunk; empty at the end.
async fn read_chunk(io: &mut DuplexStream) -> Vec<u8> {
    let size = String::from_utf8(read_until(io, b"\r\n").await).unwrap();
    let mut chunk = vec![0; usize::from_str_radix(size.trim(), 16).unwrap() + 2];
    io.read_exact(&mut chunk).await.unwrap();
    chunk.truncate(chunk.len() - 2);
    chunk
}

/// So many bytes of the stream, and what follows in the same chunk.
async fn read_chunks(io: &mut DuplexStream, least: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < least {
        bytes.extend(read_chunk(io).await);
    }
    bytes
}

/// The next frame of a server's WebSocket: its first byte and payload.
async fn read_frame(io: &mut DuplexStream) -> (u8, Vec<u8>) {
    let (first, len) = (io.read_u8().await.unwrap(), io.read_u8().await.unwrap());
    let len = match len {
        126 => io.read_u16().await.unwrap().into(),
        127 => usize::try_from(io.read_u64().await.unwrap()).unwrap(),
        short => short.into(),
    };
    let mut payload = vec![0; len];
    io.read_exact(&mut payload).await.unwrap();
    (first, payload)
}

async fn read_messages(io: &mut DuplexStream, least: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < least {
        let (first, payload) = read_frame(io).await;
        assert_eq!(first, 0x82, "a binary message in one frame");
        bytes.extend(payload);
    }
    bytes
}

/// A control frame of a client.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let head = [first, 0x80 | u8::try_from(payload.len()).unwrap(), 0, 0, 0, 0];
    [&head[..], payload].concat()
}

async fn is_closed(io: &mut DuplexStream) -> bool {
    let mut rest = Vec::new();
    timeout(Duration::from_secs(60), io.read_to_end(&mut rest)).await.expect("closed").is_ok()
}

async fn next(events: &mut EventReceiver) -> Event {
    match timeout(Duration::from_secs(60), events.next()).await.expect("an event") {
        Some(Received::Event(event)) => event,
        other => panic!("{other:?}"),
    }
}

/// Why the next session ends.
async fn closed_reason(events: &mut EventReceiver) -> String {
    loop {
        if let Event::SessionClosed { reason, .. } = next(events).await {
            return reason;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_player_gets_the_stream_in_chunks_and_its_end_with_the_last() {
    let core = core(|_| ());
    let published = publish(&core, "live/a");
    let mut io = open(&core);
    io.write_all(GET.as_bytes()).await.unwrap();
    let head = read_head(&mut io).await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    for line in [
        "content-type: video/x-flv",
        "cache-control: no-store",
        "x-accel-buffering: no",
        "access-control-allow-origin: *",
        "transfer-encoding: chunked",
    ] {
        assert!(head.contains(&format!("\r\n{line}\r\n")), "{line}: {head}");
    }
    assert!(!head.to_ascii_lowercase().contains("content-length"), "{head}");
    assert_eq!(read_chunks(&mut io, start().len()).await, start());
    let more = [keyframe(80, 3_000), inter(120, 70_000)];
    more.iter().for_each(|frame| published.push(frame.clone()).unwrap());
    assert_eq!(read_chunks(&mut io, tags(&more).len()).await, tags(&more));
    published.finish("over");
    assert_eq!(read_chunk(&mut io).await, b"");
    assert!(is_closed(&mut io).await);
}

#[tokio::test(start_paused = true)]
async fn kept_and_pipelined_connections_give_their_socket_up_too() {
    let core = core(|_| ());
    let _published = publish(&core, "live/a");
    let (index, head) =
        ("GET /x HTTP/1.1\r\nHost: h\r\n\r\n", "HEAD /live/a.flv HTTP/1.1\r\nHost: h\r\n\r\n");
    // One after the other, all at once, and in pieces.
    for pieces in [
        vec![index, head, GET],
        vec![&*[index, head, GET].concat()],
        vec![index, &head[..9], &*[&head[9..], GET].concat()],
    ] {
        let mut io = open(&core);
        for piece in pieces {
            io.write_all(piece.as_bytes()).await.unwrap();
            tokio::task::yield_now().await;
        }
        let not_found = read_head(&mut io).await;
        assert!(not_found.starts_with("HTTP/1.1 404"), "{not_found}");
        read_until(&mut io, b".flv\n").await;
        let found = read_head(&mut io).await;
        assert!(found.starts_with("HTTP/1.1 200") && !found.contains("chunked"), "{found}");
        let head = read_head(&mut io).await;
        assert!(head.contains("chunked"), "{head}");
        assert_eq!(read_chunks(&mut io, start().len()).await, start());
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_has_rested_is_served_as_before() {
    let core = core(|_| ());
    let _published = publish(&core, "live/a");
    let mut io = open(&core);
    let nothing = "GET /nothing HTTP/1.1\r\nHost: h\r\n\r\n";
    for rest in [0, 2, 25, 3] {
        sleep(Duration::from_secs(rest)).await;
        // In pieces, and two at once.
        for piece in [&nothing[..3], &nothing[3..], &[nothing, nothing].concat()] {
            io.write_all(piece.as_bytes()).await.unwrap();
            tokio::task::yield_now().await;
        }
        for _ in 0..3 {
            assert!(read_head(&mut io).await.starts_with("HTTP/1.1 404"));
            read_until(&mut io, b".flv\n").await;
        }
    }
    sleep(Duration::from_secs(2)).await;
    io.write_all(GET.as_bytes()).await.unwrap();
    assert!(read_head(&mut io).await.contains("chunked"));
    assert_eq!(read_chunks(&mut io, start().len()).await, start());
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_the_peer_has_not_taken_yet_goes_before_the_stream() {
    let core = core(|_| ());
    let _published = publish(&core, "live/a");
    // Less than a reply.
    let mut io = open_with(&core, 16);
    let requests = ["GET /x HTTP/1.1\r\nHost: h\r\n\r\n", GET].concat();
    let (mut reader, mut writer) = tokio::io::split(&mut io);
    let write = async { writer.write_all(requests.as_bytes()).await.unwrap() };
    let last = &start()[start().len() - 20..];
    let read = async {
        let mut bytes = Vec::new();
        while !bytes.windows(last.len()).any(|window| window == last) {
            sleep(Duration::from_millis(1)).await;
            reader.read_buf(&mut bytes).await.unwrap();
        }
        bytes
    };
    let ((), bytes) = tokio::join!(write, read);
    let text = String::from_utf8_lossy(&bytes);
    let (not_found, found) = (text.find("HTTP/1.1 404").unwrap(), text.find("HTTP/1.1 200").unwrap());
    assert!(not_found == 0 && text[..found].ends_with("/APP/STREAM.flv\n"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn old_http_gets_the_stream_as_it_is_until_the_connection_ends() {
    let core = core(|_| ());
    let published = publish(&core, "live/a");
    let mut io = open(&core);
    io.write_all(b"GET /live/a.flv HTTP/1.0\r\n\r\n").await.unwrap();
    let head = read_head(&mut io).await;
    assert!(head.starts_with("HTTP/1.1 200") && !head.contains("chunked"), "{head}");
    let mut bytes = vec![0; start().len()];
    io.read_exact(&mut bytes).await.unwrap();
    assert_eq!(bytes, start());
    published.finish("over");
    assert_eq!(io.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_web_socket_gets_whole_tags_in_messages_and_is_answered() {
    let core = core(|_| ());
    let published = publish(&core, "live/a");
    let mut io = open(&core);
    // A ping that does not wait for the reply.
    io.write_all(&[UPGRADE.as_bytes(), &masked(0x89, b"early")].concat()).await.unwrap();
    let head = read_head(&mut io).await;
    assert!(head.starts_with("HTTP/1.1 101") && head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
    let mut bytes = Vec::new();
    let mut pongs = Vec::new();
    while bytes.len() < start().len() {
        match read_frame(&mut io).await {
            (0x82, payload) => bytes.extend(payload),
            other => pongs.push(other),
        }
    }
    assert_eq!((bytes, &pongs[..]), (start(), &[(0x8a, b"early".to_vec())][..]));
    io.write_all(&[masked(0x81, b"text"), masked(0x89, b"again")].concat()).await.unwrap();
    assert_eq!(read_frame(&mut io).await, (0x8a, b"again".to_vec()));
    let more = [keyframe(80, 3_000), inter(120, 70_000)];
    more.iter().for_each(|frame| published.push(frame.clone()).unwrap());
    assert_eq!(read_messages(&mut io, tags(&more).len()).await, tags(&more));
    io.write_all(&masked(0x88, &[3, 0xe8])).await.unwrap();
    let (first, payload) = read_frame(&mut io).await;
    assert_eq!((first, &payload[..2]), (0x88, &[3, 0xe8][..]));
    assert!(is_closed(&mut io).await);
}

#[tokio::test(start_paused = true)]
async fn web_sockets_are_told_why_they_are_closed() {
    let close = async |io: &mut DuplexStream| loop {
        if let (0x88, payload) = read_frame(io).await {
            return u16::from_be_bytes([payload[0], payload[1]]);
        }
    };
    let open_socket = async |core: &Arc<Core>| {
        let mut io = open(core);
        io.write_all(UPGRADE.as_bytes()).await.unwrap();
        assert!(read_head(&mut io).await.starts_with("HTTP/1.1 101"));
        io
    };
    let core = core(|config| config.default_app.wait_for_publisher_ms = 0);
    assert_eq!(close(&mut open_socket(&core).await).await, 4404);

    let published = publish(&core, "live/a");
    let mut io = open_socket(&core).await;
    read_messages(&mut io, start().len()).await;
    io.write_all(&[0x82, 0xfe, 0x10, 0x01, 0, 0, 0, 0]).await.unwrap();
    assert_eq!(close(&mut io).await, 1009);

    let mut io = open_socket(&core).await;
    read_messages(&mut io, start().len()).await;
    // The one before may linger.
    core.sessions.kick(core.sessions.list().last().unwrap().id, "enough");
    assert_eq!(close(&mut io).await, 4403);

    let mut io = open_socket(&core).await;
    read_messages(&mut io, start().len()).await;
    published.finish("over");
    assert_eq!(close(&mut io).await, 1000);

    let _published = publish(&core, "live/a");
    let mut io = open_socket(&core).await;
    read_messages(&mut io, start().len()).await;
    core.draining.cancel();
    assert_eq!(close(&mut io).await, 1001);
}

#[tokio::test(start_paused = true)]
async fn refusals_have_their_status_and_their_reason_in_words() {
    let decide = |request: AuthRequest, ticket: Ticket| match request.name.query_value("key").as_deref() {
        Some("good") => ticket.accept(Grant::default()),
        _ => ticket.reject("your key is no good"),
    };
    let mut config = Config::default();
    config.apps.insert("live".to_owned(), crate::AppConfig::default().wait_for_publisher_ms(0));
    let core = core_with(config, decide);
    let mut events = core.events.subscribe();
    let mut io = open(&core);
    for (target, status, words, event) in [
        ("/live/a.flv?key=bad", 403, "your key is no good", true),
        ("/live/a.flv?key=good", 404, "nobody publishes this stream", true),
        ("/live/%2e%2e.flv?key=good", 400, "two dots", true),
        ("/other/a.flv?key=good", 404, "no such app", true),
        ("/nothing", 404, "/APP/STREAM.flv", false),
    ] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n");
        io.write_all(request.as_bytes()).await.unwrap();
        let head = read_head(&mut io).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{target}: {head}");
        assert!(head.contains("text/plain") && head.contains("access-control-allow-origin: *"), "{head}");
        let body = String::from_utf8(read_until(&mut io, b"\n").await).unwrap();
        assert!(body.contains(words), "{body}");
        if event {
            let reason = closed_reason(&mut events).await;
            assert!(reason.contains(words) && !reason.contains("key="), "{reason}");
        }
    }
    assert!(core.sessions.list().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_authoriser_learns_the_door_the_query_and_what_the_peer_says_of_itself() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let told = asked.clone();
    let core = core_with(Config::default(), move |request: AuthRequest, ticket: Ticket| {
        told.lock().push(request);
        ticket.accept(Grant::default());
    });
    let _published = publish(&core, "live/a");
    for request in [GET, UPGRADE] {
        let request = request.replace("a.flv", "a.flv?key=hunter2").replace(
            "Host: h\r\n",
            "Host: h\r\nUser-Agent: curl/8\r\nOrigin: https://site.example\r\nReferer: https://site.example/page\r\n",
        );
        let mut io = open(&core);
        io.write_all(request.as_bytes()).await.unwrap();
        read_head(&mut io).await;
        assert_eq!(core.sessions.list()[0].agent.as_deref(), Some("curl/8"));
        drop(io);
        while !core.sessions.list().is_empty() {
            tokio::task::yield_now().await;
        }
    }
    let asked = asked.lock();
    let doors: Vec<_> = asked.iter().map(|request| (request.door, request.protocol)).collect();
    let protocol = Protocol::Http;
    assert_eq!(doors, [(crate::Door::HttpFlv, protocol), (crate::Door::WebSocket, protocol)]);
    for request in &*asked {
        assert_eq!((request.stream().as_str(), request.name.query.expose()), ("live/a", "key=hunter2"));
        assert_eq!(request.claims.get("origin"), Some("https://site.example"));
        assert!(request.claims.get("pageUrl").is_some() && !format!("{request:?}").contains("hunter2"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_waits_for_the_publisher_as_long_as_its_app_says() {
    let core = core(|_| ());
    let (mut early, mut late) = (open(&core), open(&core));
    early.write_all(GET.as_bytes()).await.unwrap();
    late.write_all(GET.replace("a.flv", "b.flv").as_bytes()).await.unwrap();
    let start_time = Instant::now();
    sleep(Duration::from_secs(9)).await;
    let _published = publish(&core, "live/a");
    assert!(read_head(&mut early).await.starts_with("HTTP/1.1 200"));
    assert!(read_head(&mut late).await.starts_with("HTTP/1.1 404"));
    let waited = start_time.elapsed();
    assert!((Duration::from_secs(10)..Duration::from_millis(10_500)).contains(&waited), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_one_kind_starts_within_a_second_and_announces_that_kind_only() {
    for (frames, flags) in [(&[audio_header(0), audio(0)][..], 4), (&[video_header(0), keyframe(0, 100)], 1)]
    {
        let core = core(|_| ());
        let published =
            Published::by_engine(&core, &key("live/a"), "test", &[], &PublisherConfig::default()).unwrap();
        frames.iter().for_each(|frame| published.push(frame.clone()).unwrap());
        let mut io = open(&core);
        io.write_all(GET.as_bytes()).await.unwrap();
        let start_time = Instant::now();
        assert!(read_head(&mut io).await.starts_with("HTTP/1.1 200"));
        assert!(start_time.elapsed() <= Duration::from_millis(1_050), "{:?}", start_time.elapsed());
        let flv_header = read_chunk(&mut io).await;
        assert_eq!((&flv_header[..4], flv_header[4]), (&b"FLV\x01"[..], flags));
    }
}

#[tokio::test(start_paused = true)]
async fn the_query_leaves_one_kind_out_and_has_time_begin_at_zero() {
    let core = core(|_| ());
    let published =
        Published::by_engine(&core, &key("live/a"), "test", &[], &PublisherConfig::default()).unwrap();
    for frame in
        [video_header(0), audio_header(0), keyframe(0, 100), audio(0), keyframe(5_000, 60), audio(5_010)]
    {
        published.push(frame).unwrap();
    }
    let mut io = open(&core);
    io.write_all(GET.replace("a.flv", "a.flv?only=audio&time=zero").as_bytes()).await.unwrap();
    read_head(&mut io).await;
    let expected = [&flv(&[audio_header(0)])[..], &tags(&[audio(10)])].concat();
    let got = read_chunks(&mut io, expected.len()).await;
    let header = tags(&[audio_header(0)]).len() + 13;
    assert_eq!((&got[..header], got.len()), (&expected[..header], expected.len()));
}

#[tokio::test(start_paused = true)]
async fn f37_a_head_that_drips_in_is_closed_after_5_seconds() {
    let core = core(|_| ());
    let drip = async |io: &mut DuplexStream| {
        let start_time = Instant::now();
        while io.write_all(b"G").await.is_ok() {
            sleep(Duration::from_secs(1)).await;
        }
        start_time.elapsed()
    };
    let mut io = open(&core);
    let elapsed = drip(&mut io).await;
    assert!(elapsed <= Duration::from_millis(6_000), "{elapsed:?}");
    // A later one has its time from its first byte.
    let mut io = open(&core);
    io.write_all(b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    read_until(&mut io, b".flv\n").await;
    sleep(Duration::from_secs(20)).await;
    let elapsed = drip(&mut io).await;
    assert!((4.9..=6.0).contains(&elapsed.as_secs_f64()), "{elapsed:?}");
}

#[tokio::test(start_paused = true)]
async fn f37_a_connection_without_a_request_is_closed_after_30_seconds() {
    let core = core(|_| ());
    let mut io = open(&core);
    io.write_all(b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    read_until(&mut io, b".flv\n").await;
    let start_time = Instant::now();
    assert!(is_closed(&mut io).await);
    let elapsed = start_time.elapsed().as_secs_f64();
    assert!((29.9..=30.5).contains(&elapsed), "{elapsed}");
}

#[tokio::test(start_paused = true)]
async fn f37_a_head_of_more_than_8_kib_is_answered_with_431_and_closed() {
    let core = core(|_| ());
    for (len, status) in [(7_000, "404"), (9_000, "431"), (1_000_000, "431")] {
        let mut io = open(&core);
        let head = format!("GET /x HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "x".repeat(len));
        let (mut reader, mut writer) = tokio::io::split(&mut io);
        let (_, mut reply) = (writer.write_all(head.as_bytes()).await, [0; 12]);
        reader.read_exact(&mut reply).await.unwrap();
        assert_eq!(&reply[9..], status.as_bytes(), "{len}");
    }
}

#[tokio::test(start_paused = true)]
async fn f37_more_than_64_headers_are_answered_with_431_and_closed() {
    let core = core(|_| ());
    for (headers, status) in [(63, "404"), (64, "431")] {
        let mut io = open(&core);
        let head = format!("GET /x HTTP/1.1\r\nHost: h\r\n{}\r\n", "X: y\r\n".repeat(headers));
        io.write_all(head.as_bytes()).await.unwrap();
        let mut reply = [0; 12];
        io.read_exact(&mut reply).await.unwrap();
        assert_eq!(&reply[9..], status.as_bytes(), "{headers} besides Host");
    }
}

#[tokio::test(start_paused = true)]
async fn f20_a_player_that_stops_reading_is_closed_after_10_seconds_and_others_lose_nothing() {
    let core = core(|_| ());
    let mut events = core.events.subscribe();
    let published = publish(&core, "live/a");
    let (mut stuck, mut reading) = (open_with(&core, 4_096), open(&core));
    for io in [&mut stuck, &mut reading] {
        io.write_all(GET.as_bytes()).await.unwrap();
        read_head(io).await;
    }
    read_chunks(&mut reading, start().len()).await;
    let start_time = Instant::now();
    let pushing = async {
        for i in 1..=120 {
            let frame = keyframe(i * 100, 1_000);
            published.push(frame.clone()).unwrap();
            assert_eq!(read_chunks(&mut reading, 1_015).await, tags(&[frame]));
            advance(Duration::from_millis(100)).await;
        }
    };
    let (reason, ()) = tokio::join!(closed_reason(&mut events), pushing);
    assert_eq!(reason, "the peer has stopped reading");
    assert!(start_time.elapsed() >= Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_leaves_before_it_is_served_is_no_session_any_more() {
    let core = core(|_| ());
    let mut events = core.events.subscribe();
    let mut io = open(&core);
    io.write_all(GET.as_bytes()).await.unwrap();
    while !matches!(next(&mut events).await, Event::PlayStarted { .. }) {}
    drop(io);
    assert!(matches!(next(&mut events).await, Event::PlayEnded { bytes_sent: 0, .. }));
    assert_eq!(closed_reason(&mut events).await, "closed by the peer");
    assert!(core.sessions.list().is_empty());
}

#[tokio::test(start_paused = true)]
async fn draining_ends_idle_connections_and_answers_those_that_wait() {
    let core = core(|_| ());
    let (mut idle, mut waiting) = (open(&core), open(&core));
    idle.write_all(b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    read_until(&mut idle, b".flv\n").await;
    waiting.write_all(GET.as_bytes()).await.unwrap();
    while core.sessions.list().is_empty() {
        tokio::task::yield_now().await;
    }
    core.draining.cancel();
    core.hub.end_all(&crate::EndReason::Shutdown);
    assert_eq!(idle.read(&mut [0]).await.unwrap(), 0);
    assert!(read_head(&mut waiting).await.starts_with("HTTP/1.1 503"));
    assert!(is_closed(&mut waiting).await);
}
