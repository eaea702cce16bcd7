//! Requests over HTTP.

use super::{Choices, pieces};
use crate::auth::{AuthRequest, Gate, Grant, Ticket};
use crate::config::{Config, PublisherConfig};
use crate::events::Events;
use crate::key::StreamKey;
use crate::media::{Frame, FrameKind};
use crate::service::Core;
use crate::service::http::serve_unheard;
use crate::service::streams::Published;
use bytes::Bytes;
use parking_lot::Mutex;
use percent_encoding::percent_decode;
use std::collections::VecDeque;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::yield_now;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Turns in which everything has come to rest: each is one of every task.
const TURNS: usize = 50;

/// Any split gives the same answers, and the same requests to the authoriser; what the authoriser is asked for is a stream that the request names; over HTTP/1
/// replies follow each other without anything between them, one for a request at most.
/// Input: 0 for HTTP/1, 1 for HTTP/2 behind its preface; seed of the split; what the peer sends.
pub fn http_request(data: &[u8]) {
    let mut choices = Choices::new(data);
    let has_frames = choices.byte() & 1 == 1;
    let seed = choices.byte();
    let sent = match has_frames {
        true => [PREFACE, choices.rest()].concat(),
        false => choices.rest().to_vec(),
    };
    let whole = run(has_frames, &[&sent]);
    let split = run(has_frames, &pieces(&sent, seed));
    assert_eq!(whole.asked, split.asked, "the split changed what is asked for");
    if !has_frames {
        let (mut statuses, mut of_split) = (statuses(&whole.written), statuses(&split.written));
        // hyper looks at the beginning of a head once, and then at all of it: in pieces, what is wrong shows at its end.
        let at_end = of_split.len() + 1 == statuses.len() && statuses.last() == Some(&400);
        of_split.extend(at_end.then_some(400));
        assert_eq!(statuses, of_split, "the split changed the answers");
        let ends = sent.iter().filter(|&&byte| byte == b'\n').count();
        statuses.truncate(statuses.len().saturating_sub(1));
        assert!(2 * statuses.len() <= ends, "{statuses:?}");
        for key in &whole.asked {
            assert!(is_named(key, &sent), "{key} is not what was asked for");
        }
    }
}

/// What came of it.
struct Outcome {
    asked: Vec<StreamKey>,
    written: Vec<u8>,
}

fn run(has_frames: bool, pieces: &[&[u8]]) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let asked = Arc::new(Mutex::new(Vec::new()));
    let written = Arc::new(Mutex::new(Vec::new()));
    let noted = asked.clone();
    let authorize = move |request: AuthRequest, ticket: Ticket| {
        noted.lock().push(request.stream().clone());
        ticket.accept(Grant::default());
    };
    let peer = Peer { sent: pieces.iter().map(|piece| piece.to_vec()).collect(), written: written.clone() };
    runtime.block_on(async {
        let mut config = Config::default();
        config.default_app.wait_for_publisher_ms = 0;
        let gate = Gate::new(&[Arc::new(authorize)], &config.limits);
        let core = Arc::new(Core::new(config, gate, Events::default()));
        let _published = publish(&core);
        let mut serving = pin!(serve_unheard(core, ([192, 0, 2, 7], 4000).into(), peer, has_frames));
        for _ in 0..TURNS {
            let turn = std::future::poll_fn(|cx| Poll::Ready(serving.as_mut().poll(cx).is_ready()));
            if turn.await {
                break;
            }
            yield_now().await;
        }
    });
    drop(runtime);
    Outcome { asked: asked.lock().split_off(0), written: written.lock().split_off(0) }
}

/// `live/a`, with a picture and sound.
fn publish(core: &Arc<Core>) -> Option<Published> {
    let key = StreamKey::new("live", "a").ok()?;
    let published = Published::by_engine(core, &key, "fuzzing", &[], &PublisherConfig::default()).ok()?;
    for (kind, payload) in [
        (FrameKind::Video, &b"\x17\0\0\0\0record"[..]),
        (FrameKind::Audio, b"\xaf\0\x12\x10"),
        (FrameKind::Video, b"\x17\x01\0\0\0picture"),
        (FrameKind::Audio, b"\xaf\x01sound"),
    ] {
        published.push(Frame::new(kind, 0, Bytes::from_static(payload))).ok()?;
    }
    Some(published)
}

/// Statuses of the replies that follow each other.
fn statuses(mut written: &[u8]) -> Vec<u16> {
    let mut statuses = Vec::new();
    while !written.is_empty() {
        let end = written.windows(4).position(|window| window == b"\r\n\r\n");
        let (head, rest) = written.split_at(end.expect("the end of a head") + 4);
        let head = std::str::from_utf8(head).expect("a head in ASCII").to_ascii_lowercase();
        let status = head.strip_prefix("http/1.").and_then(|line| line.get(2..5));
        statuses.push(status.and_then(|status| status.parse().ok()).expect("a status"));
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.map_or(0, |length| length.parse().expect("a length"));
        // None follows the head where it was HEAD that was asked.
        let has_body = rest.get(..length).is_some_and(|body| !body.starts_with(b"HTTP/1."));
        written = if has_body { &rest[length..] } else { rest };
    }
    statuses
}

/// Whether bytes name a stream, by its path or by the fields of a query, encoded or not.
fn is_named(key: &StreamKey, sent: &[u8]) -> bool {
    use unicode_normalization::UnicodeNormalization;
    let decoded = percent_decode(sent).decode_utf8_lossy().nfc().collect::<String>();
    let has = |text: &str| decoded.contains(text);
    has(&format!("{key}.")) || (has("app=") && has("stream=") && has(key.app()) && has(key.stream()))
}

/// A peer that sends pieces, and then nothing more.
struct Peer {
    sent: VecDeque<Vec<u8>>,
    written: Arc<Mutex<Vec<u8>>>,
}

impl AsyncRead for Peer {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(mut piece) = self.sent.pop_front() else { return Poll::Pending };
        let rest = piece.split_off(piece.len().min(buf.remaining()));
        buf.put_slice(&piece);
        if !rest.is_empty() {
            self.sent.push_front(rest);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Peer {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.written.lock().extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
