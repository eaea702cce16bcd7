//! Promises of pulls by HTTP.

use super::support::*;
use crate::config::{OnRefusal, PullConfig};
use crate::hub::{EndReason, SubscribeOptions, Subscriber};
use crate::id::RelayId;
use crate::media::{Frame, FrameKind};
use crate::service::relay::flv_pull::{HEAD_BYTES, HEADERS};
use crate::status::{RelayState, StreamState};
use crate::testing::tags;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const CHUNKED: &str = "HTTP/1.1 200 OK\r\nContent-Type: video/x-flv\r\nTransfer-Encoding: chunked\r\n\r\n";

/// The server at the other end of a pull.
struct Remote {
    socket: TcpStream,
    request: String,
}

impl Remote {
    /// Accepts a pull and reads its request.
    async fn accept(door: &Door) -> Self {
        let (mut socket, mut request) = (door.accept().await, Vec::new());
        soon("a request", async {
            while !request.ends_with(b"\r\n\r\n") {
                assert!(socket.read_buf(&mut request).await.unwrap() > 0, "closed");
            }
        })
        .await;
        Self { socket, request: String::from_utf8(request).unwrap() }
    }

    async fn reply(door: &Door, head: &str) -> Self {
        let mut remote = Self::accept(door).await;
        remote.send(head.as_bytes()).await;
        remote
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).await.unwrap();
    }

    async fn chunk(&mut self, bytes: &[u8]) {
        self.send(&[format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()).await;
    }

    /// Sends frames in a chunk, the first time behind the beginning of a file.
    async fn frames(&mut self, frames: &[Frame]) {
        self.chunk(&tags(frames)).await;
    }
}

const BEGINNING: &[u8] = b"FLV\x01\x05\0\0\0\x09\0\0\0\0";

fn pull(node: &Node, door: &Door) -> RelayId {
    let url = format!("http://user:hunter2@{}/up/stream.flv?token=hunter3", door.address);
    node.relays.pull(PullConfig::new(url.parse::<crate::RemoteUrl>().unwrap(), key("live/s")))
}

fn watch(node: &Node) -> Subscriber {
    node.core.hub.subscribe(&key("live/s"), SubscribeOptions::default())
}

async fn next_frames(subscriber: &mut Subscriber) -> Result<Vec<Frame>, EndReason> {
    soon("frames or the end", subscriber.ready()).await;
    let mut frames = Vec::new();
    subscriber.take(usize::MAX, &mut frames)?;
    Ok(frames)
}

async fn up_to(subscriber: &mut Subscriber, last: i64) -> Vec<Frame> {
    let mut all = Vec::new();
    let is_last = |frame: &Frame| {
        frame.kind == FrameKind::Video && is_coded(&frame.payload) && number(&frame.payload) == last
    };
    while !all.last().is_some_and(is_last) {
        all.extend(next_frames(subscriber).await.unwrap());
    }
    all
}

#[tokio::test]
async fn a_stream_pulled_by_http_arrives_byte_for_byte_and_its_request_says_who_asks() {
    let (mut node, door) = (Node::new(|_| ()), Door::open().await);
    let id = pull(&node, &door);
    let mut remote = Remote::reply(&door, CHUNKED).await;
    let request = remote.request.to_lowercase();
    for line in [
        "get /up/stream.flv?token=hunter3 http/1.1\r\n".to_owned(),
        format!("host: {}\r\n", door.address),
        "accept-encoding: identity\r\n".to_owned(),
        "authorization: basic dxnlcjpodw50zxiy\r\n".to_owned(),
        format!("x-streamengine-hops: {}\r\n", node.core.hop(&key("live/s"))),
    ] {
        assert!(request.contains(&line), "{line} in {request}");
    }
    assert!(!request.contains("prefer"), "a pull of its own may wait: {request}");
    node.state(id, RelayState::Playing).await;
    assert!(node.core.hub.stream(&key("live/s")).is_none(), "the name is taken with the first media");
    let mut viewer = watch(&node);
    let sent: Vec<_> = headers().into_iter().chain((0..5).map(|n| frame(n, 5_000))).collect();
    let bytes = [BEGINNING, &tags(&sent)].concat();
    // Cut anywhere.
    for piece in bytes.chunks(997) {
        remote.chunk(piece).await;
    }
    let got = up_to(&mut viewer, 4).await;
    assert_eq!(
        got.iter().map(|f| &f.payload).collect::<Vec<_>>(),
        sent.iter().map(|f| &f.payload).collect::<Vec<_>>()
    );
    let status = node.status(id);
    assert!(status.bytes_received >= bytes.len() as u64 && status.frames == 8, "{status:?}");
    let shown = format!("{status:?} {:?}", node.core.hub.stream(&key("live/s")));
    assert!(!shown.contains("hunter"), "{shown}");
}

#[tokio::test]
async fn an_end_in_good_order_ends_the_stream_and_a_lost_connection_does_not() {
    let (mut node, door) = (Node::new(|_| ()), Door::open().await);
    let id = pull(&node, &door);
    let mut viewer = watch(&node);
    let mut remote = Remote::reply(&door, CHUNKED).await;
    remote.chunk(BEGINNING).await;
    remote.frames(&[frame(0, 100)]).await;
    up_to(&mut viewer, 0).await;
    drop(remote);
    let status = node.state(id, RelayState::BackingOff).await;
    assert!(status.last_error.unwrap().contains("closed by the peer"));
    assert_eq!(node.core.hub.stream(&key("live/s")).unwrap().state, StreamState::Away);

    // What has no end of its own cannot be told from a loss.
    let mut remote = Remote::reply(&door, "HTTP/1.0 200 OK\r\n\r\n").await;
    remote.send(&[BEGINNING, &tags(&[frame(10, 100)])].concat()).await;
    up_to(&mut viewer, 10).await;
    drop(remote);
    node.state(id, RelayState::BackingOff).await;
    assert_eq!(node.core.hub.stream(&key("live/s")).unwrap().state, StreamState::Away);

    let mut remote = Remote::reply(&door, CHUNKED).await;
    remote.chunk(BEGINNING).await;
    remote.frames(&[frame(20, 100)]).await;
    up_to(&mut viewer, 20).await;
    remote.send(b"0\r\n\r\n").await;
    assert_eq!(next_frames(&mut viewer).await.unwrap_err(), EndReason::Unpublished);
    assert_eq!(
        node.state(id, RelayState::BackingOff).await.last_error.unwrap(),
        "the stream has ended upstream"
    );
}

#[tokio::test]
async fn what_is_no_stream_is_refused_in_words_that_help() {
    for (reply, words) in [
        (
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
            "404 Not Found: the server has no such stream",
        ),
        (
            "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n",
            "401 Unauthorized; does the URL want a user",
        ),
        (
            "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/hunter\r\nContent-Length: 0\r\n\r\n",
            "302 Found; redirects are not followed",
        ),
        ("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", "503 Service Unavailable"),
        (
            "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<html>",
            "no FLV: it is text/html",
        ),
        ("HTTP/1.1 200 OK\r\nContent-Type: application/vnd.apple.mpegurl\r\n\r\n", "mpegurl"),
        ("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n", "it is compressed (gzip)"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n\0\0\0\x20ftypisom        ", "this is no FLV"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nSay what?", "no FLV tag in 9 bytes"),
        ("\x03not HTTP at all\r\n\r\n", "no HTTP/1.1"),
        ("", "closed by the peer"),
    ] {
        let (mut node, door) = (Node::new(|_| ()), Door::open().await);
        let id = pull(&node, &door);
        drop(Remote::reply(&door, reply).await);
        let status = node.state(id, RelayState::BackingOff).await;
        let error = status.last_error.unwrap();
        assert!(error.contains(words) && !error.contains("hunter"), "{reply}: {error}");
        assert!(node.core.hub.stream(&key("live/s")).is_none());
    }
}

#[tokio::test]
async fn a_refusal_by_http_is_final_where_that_is_asked_for() {
    let (mut node, door) = (Node::new(|_| ()), Door::open().await);
    let url: crate::RemoteUrl = format!("http://{}/a.flv", door.address).parse().unwrap();
    let id = node.relays.pull(PullConfig::new(url, key("live/s")).on_refusal(OnRefusal::Fail));
    drop(Remote::reply(&door, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").await);
    node.state(id, RelayState::Failed).await;
}

#[tokio::test]
async fn a_reply_whose_head_is_too_long_is_an_error() {
    let long = format!("X: {}\r\n", "x".repeat(HEAD_BYTES.stated()));
    let many = "X: y\r\n".repeat(HEADERS.stated() + 1);
    for lines in [long, many] {
        let (mut node, door) = (Node::new(|_| ()), Door::open().await);
        let id = pull(&node, &door);
        let _remote = Remote::reply(&door, &CHUNKED.replacen("\r\n", &format!("\r\n{lines}"), 1)).await;
        let status = node.state(id, RelayState::BackingOff).await;
        assert!(status.last_error.unwrap().contains("head of the reply is too long"));
    }
}

#[tokio::test]
async fn a_server_that_does_not_answer_or_falls_silent_is_left() {
    let mut node = Node::with_limits(|limits| {
        (limits.command_timeout_ms, limits.publisher_timeout_ms) = (200, 300);
    });
    let door = Door::open().await;
    let id = pull(&node, &door);
    let silent = Remote::accept(&door).await;
    let status = node.state(id, RelayState::BackingOff).await;
    assert!(status.last_error.unwrap().contains("the reply to the request took longer than 200 ms"));
    drop(silent);
    let mut remote = Remote::reply(&door, CHUNKED).await;
    remote.chunk(BEGINNING).await;
    remote.frames(&[frame(0, 100)]).await;
    node.state(id, RelayState::Stalled).await;
    let status = node.state(id, RelayState::BackingOff).await;
    assert!(status.last_error.unwrap().starts_with("the upstream has sent no media for 300 ms"));
}

#[tokio::test]
async fn f18_a_server_that_sends_too_fast_by_http_is_left() {
    let mut node = Node::with_limits(|limits| limits.publisher_bytes_per_s = 100_000);
    let door = Door::open().await;
    let id = pull(&node, &door);
    let mut remote = Remote::reply(&door, CHUNKED).await;
    remote.chunk(BEGINNING).await;
    for n in 0..100 {
        let bytes = tags(&[frame(n, 10_000)]);
        let chunk = [format!("{:x}\r\n", bytes.len()).as_bytes(), &bytes, b"\r\n"].concat();
        // The pull may be gone before the last of them.
        let _ = tokio::time::timeout(Duration::from_secs(5), remote.socket.write_all(&chunk)).await;
    }
    let error = node.state(id, RelayState::BackingOff).await.last_error.unwrap();
    assert!(error.contains("upstream sends too fast"), "{error}");
}

#[tokio::test]
async fn f32_a_stream_that_comes_from_the_pulls_own_is_refused() {
    let (mut node, door) = (Node::new(|_| ()), Door::open().await);
    let id = pull(&node, &door);
    let hops = node.core.hop(&key("live/s"));
    let head = CHUNKED.replacen("\r\n", &format!("\r\nX-Streamengine-Hops: {hops}\r\n"), 1);
    let _remote = Remote::reply(&door, &head).await;
    let status = node.state(id, RelayState::BackingOff).await;
    assert!(status.last_error.unwrap().contains("relay loop"));
}
