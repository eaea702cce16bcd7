//! Replies: plain ones in words, pages with their files, and what those that carry a stream begin with.

use crate::assets::Asset;
use crate::service::streams::Refusal;
use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW, CONNECTION, CONTENT_ENCODING, CONTENT_RANGE, CONTENT_SECURITY_POLICY,
    CONTENT_TYPE, ETAG, HeaderName, HeaderValue, RETRY_AFTER, VARY,
};
use hyper::{Response, StatusCode};
use std::collections::VecDeque;
use std::fmt::Display;
use std::fs::File;
use std::future::{Future, poll_fn};
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::{JoinHandle, spawn_blocking};

/// Bytes of a file that are read at a time; each reply with one holds so many.
const FILE_PIECE: usize = 64 * 1024;

/// A reply that is sent as a whole.
pub(super) type Reply = Response<Pieces>;

/// The body of a reply: pieces that others have too, behind each other, or a part of a file, or what comes bit by bit.
#[derive(Default)]
pub(super) struct Pieces {
    source: Source,
}

enum Source {
    Held(VecDeque<Bytes>),
    File(FilePart),
    /// Comes until its sender is dropped.
    Coming(mpsc::Receiver<Bytes>),
}

impl Default for Source {
    fn default() -> Self {
        Self::Held(VecDeque::new())
    }
}

/// A part of a file, which is read piece by piece as the peer takes it.
struct FilePart {
    left: u64,
    reading: Reading,
    /// Of those that are read at once.
    _place: OwnedSemaphorePermit,
}

enum Reading {
    Idle(Option<File>),
    /// The file and what was read.
    Under(JoinHandle<io::Result<(File, Bytes)>>),
}

impl FilePart {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        loop {
            self.reading = match &mut self.reading {
                _ if self.left == 0 => return Poll::Ready(None),
                Reading::Idle(file) => {
                    let Some(mut file) = file.take() else { return Poll::Ready(None) };
                    let len = usize::try_from(self.left).unwrap_or(usize::MAX).min(FILE_PIECE);
                    Reading::Under(spawn_blocking(move || {
                        let mut piece = BytesMut::zeroed(len);
                        // One that has become shorter ends the reply early, so that the peer sees that something is missing.
                        file.read_exact(&mut piece)?;
                        Ok((file, piece.freeze()))
                    }))
                }
                Reading::Under(read) => {
                    match ready!(Pin::new(read).poll(cx)).map_err(io::Error::other).flatten() {
                        Ok((file, piece)) => {
                            self.left = self.left.saturating_sub(piece.len() as u64);
                            self.reading = Reading::Idle(Some(file));
                            return Poll::Ready(Some(Ok(piece)));
                        }
                        Err(error) => {
                            self.reading = Reading::Idle(None);
                            return Poll::Ready(Some(Err(error)));
                        }
                    }
                }
            };
        }
    }
}

impl Pieces {
    /// The same without empty ones.
    pub(super) fn new(pieces: impl IntoIterator<Item = Bytes>) -> Self {
        let held = pieces.into_iter().filter(|piece| !piece.is_empty()).collect();
        Self { source: Source::Held(held) }
    }

    /// What comes bit by bit, nobody knows how much.
    pub(super) fn that_come(pieces: mpsc::Receiver<Bytes>) -> Self {
        Self { source: Source::Coming(pieces) }
    }

    /// Whether nothing is in it.
    pub(super) fn is_empty(&self) -> bool {
        !matches!(self.source, Source::Coming(_)) && self.len() == 0
    }

    /// The bytes `range` of a file, which stands where they begin.
    fn of_file(file: File, range: &Range<u64>, place: OwnedSemaphorePermit) -> Self {
        let left = range.end.saturating_sub(range.start);
        let part = FilePart { left, reading: Reading::Idle(Some(file)), _place: place };
        Self { source: Source::File(part) }
    }

    pub(super) fn len(&self) -> u64 {
        match &self.source {
            Source::Held(held) => held.iter().map(|piece| piece.len() as u64).sum(),
            Source::File(part) => part.left,
            Source::Coming(_) => 0,
        }
    }

    /// The next piece; `None` behind the last.
    pub(super) async fn next(&mut self) -> Option<io::Result<Bytes>> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        match &mut self.source {
            Source::Held(held) => Poll::Ready(held.pop_front().map(Ok)),
            Source::File(part) => part.poll_next(cx),
            Source::Coming(coming) => coming.poll_recv(cx).map(|piece| piece.map(Ok)),
        }
    }

    /// Only the bytes `range` of some.
    fn cut(pieces: Vec<Bytes>, range: &Range<u64>) -> Self {
        let bounds = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
        let range = bounds(range.start)..bounds(range.end);
        let mut at = 0;
        let within = |piece: Bytes| {
            let begins = at;
            at += piece.len();
            let (start, end) = (range.start.max(begins), range.end.min(at));
            if start < end { piece.slice(start - begins..end - begins) } else { Bytes::new() }
        };
        Self::new(pieces.into_iter().map(within).collect::<Vec<_>>())
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.poll_next(cx).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        match self.source {
            Source::Coming(_) => SizeHint::default(),
            Source::Held(_) | Source::File(_) => SizeHint::with_exact(self.len()),
        }
    }
}

/// Methods that are served without a body.
const METHODS: &str = "GET, HEAD, OPTIONS";

/// What all replies but pages have: pages of any site may read them, and nobody keeps them, as they are true at one moment only.
const COMMON: [(&str, &str); 3] = [
    ("cache-control", "no-store"),
    ("access-control-allow-origin", "*"),
    ("access-control-expose-headers", "*"),
];

/// What those with a stream have besides: it keeps an nginx in front from holding the stream back.
const MEDIA: [(&str, &str); 1] = [("x-accel-buffering", "no")];

/// The type of FLV.
pub(super) const FLV: HeaderValue = HeaderValue::from_static("video/x-flv");
/// That of MP4, where it is not known what is in it.
pub(super) const MP4: HeaderValue = HeaderValue::from_static("video/mp4");

/// What pages have, and the files that they are made of. Nothing of another site's is in them or around them; a stream's
/// query, which may hold a secret, is not told to others as where one came from. No other site's page may read them, but scripts.
const PAGE: [(&str, &str); 3] = [
    (
        "content-security-policy",
        "default-src 'self'; img-src 'self' data:; media-src 'self' blob:; worker-src 'self' blob:; \
         connect-src 'self' ws: wss:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "strict-origin"),
];

/// What of the machine a page may use (Permissions Policy, W3C).
const PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");

/// For how long a file may be kept whose name belongs to its content.
pub(super) const FOR_A_YEAR: &str = "public, max-age=31536000, immutable";

/// A reply with these headers; of two of one name the last holds.
fn with(
    status: StatusCode,
    body: Pieces,
    headers: impl IntoIterator<Item = (&'static str, &'static str)>,
) -> Reply {
    let mut reply = Response::new(body);
    *reply.status_mut() = status;
    for (name, value) in headers {
        reply.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    reply
}

fn reply(status: StatusCode, headers: &[(&'static str, &'static str)], body: String) -> Reply {
    with(status, Pieces::new([body.into()]), COMMON.iter().chain(headers).copied())
}

/// A reply in words.
pub(super) fn words(status: StatusCode, text: impl Display) -> Reply {
    reply(status, &[("content-type", TEXT)], format!("{text}\n"))
}

/// The reply to what was done and has nothing to be told of.
pub(super) fn nothing() -> Reply {
    reply(StatusCode::NO_CONTENT, &[], String::new())
}

/// The same of what may be there when the player asks again.
pub(super) fn later(text: impl Display) -> Reply {
    let mut reply = words(StatusCode::SERVICE_UNAVAILABLE, text);
    reply.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    reply
}

/// The same to a request that is not understood to its end: what follows it may be part of it.
pub(super) fn broken(text: impl Display) -> Reply {
    let mut reply = words(StatusCode::BAD_REQUEST, text);
    reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    reply
}

/// A page that is true at one moment only.
pub(super) fn page(html: String) -> Reply {
    page_reply(StatusCode::OK, html.into(), "text/html; charset=utf-8", "no-store")
}

/// A file, `packed` in its place; or the word that it has not changed.
pub(super) fn asset(status: StatusCode, asset: &Asset, packed: Option<&Bytes>, cache: &'static str) -> Reply {
    let body = match status {
        StatusCode::NOT_MODIFIED => Bytes::new(),
        _ => packed.unwrap_or(&asset.body).clone(),
    };
    let mut reply = page_reply(status, body, asset.content_type, cache);
    if let Ok(tag) = HeaderValue::from_str(&asset.etag) {
        reply.headers_mut().insert(ETAG, tag);
    }
    if packed.is_some() {
        reply.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    // Pages of others import them.
    if asset.content_type.starts_with("text/javascript") {
        reply = that_compiles(reply);
        reply.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    }
    if asset.gzip.is_some() {
        reply.headers_mut().insert(VARY, HeaderValue::from_static("accept-encoding"));
    }
    reply
}

/// The same page, which may use camera, microphone and screen, and the encoder that it brings.
pub(super) fn that_captures(page: Reply) -> Reply {
    let mut page = that_compiles(page);
    let permissions = HeaderValue::from_static("camera=(self), microphone=(self), display-capture=(self)");
    page.headers_mut().insert(PERMISSIONS_POLICY, permissions);
    page
}

/// The same file, which may have WebAssembly. A script needs it where it is a thread of its own.
fn that_compiles(mut page: Reply) -> Reply {
    let policy = format!("{}; script-src 'self' 'wasm-unsafe-eval'", PAGE[0].1);
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        page.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    }
    page
}

fn page_reply(status: StatusCode, body: Bytes, content_type: &'static str, cache: &'static str) -> Reply {
    let own = [("content-type", content_type), ("cache-control", cache)];
    with(status, Pieces::new([body]), PAGE.into_iter().chain(own))
}

/// The type of words.
pub(super) const TEXT: &str = "text/plain; charset=utf-8";

/// What is told to those who manage the engine, and to no page but theirs: nothing in it is ever a page itself.
pub(super) fn told(status: StatusCode, content_type: &'static str, body: Bytes) -> Reply {
    let headers = [
        ("content-type", content_type),
        ("cache-control", "no-store"),
        ("content-security-policy", "default-src 'none'; style-src 'self'; frame-ancestors 'none'"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
    ];
    with(status, Pieces::new([body]), headers)
}

/// What `OPTIONS` is answered: whatever headers a page wants to send, it may.
pub(super) fn options() -> Reply {
    let headers = [
        ("allow", METHODS),
        ("access-control-allow-methods", METHODS),
        ("access-control-allow-headers", "*"),
        ("access-control-max-age", "86400"),
    ];
    reply(StatusCode::NO_CONTENT, &headers, String::new())
}

pub(super) fn wrong_method() -> Reply {
    let mut reply = words(StatusCode::METHOD_NOT_ALLOWED, format_args!("this is served by {METHODS} only"));
    reply.headers_mut().insert(ALLOW, HeaderValue::from_static(METHODS));
    reply
}

/// What `HEAD` is answered where a stream of this type is there.
pub(super) fn media(content_type: HeaderValue) -> Reply {
    let mut reply = reply(StatusCode::OK, &MEDIA, String::new());
    reply.headers_mut().insert(CONTENT_TYPE, content_type);
    reply
}

/// A playlist, `packed` in its place; `cache` says who may keep it.
pub(super) fn playlist(text: Bytes, is_packed: bool, cache: &'static str) -> Reply {
    let own = [
        ("content-type", "application/vnd.apple.mpegurl"),
        ("cache-control", cache),
        ("vary", "accept-encoding"),
    ];
    let packed = is_packed.then_some(("content-encoding", "gzip"));
    with(StatusCode::OK, Pieces::new([text]), COMMON.into_iter().chain(own).chain(packed))
}

/// A piece of media, or the `range` of it that is asked for; `cache` says who may keep it.
pub(super) fn piece(
    content_type: &'static str,
    media: Vec<Bytes>,
    range: Option<&str>,
    cache: &'static str,
) -> Reply {
    let len = media.iter().map(|piece| piece.len() as u64).sum();
    let wanted = range.and_then(|range| byte_range(range, len));
    let body = match &wanted {
        Some(Ok(range)) => Pieces::cut(media, range),
        Some(Err(())) => Pieces::default(),
        None => Pieces::new(media),
    };
    ranged(content_type, body, wanted, len, cache)
}

/// A file of so many bytes, or the `range` of it that is asked for.
pub(super) fn file(
    content_type: &'static str,
    mut file: File,
    len: u64,
    range: Option<&str>,
    cache: &'static str,
    place: OwnedSemaphorePermit,
) -> io::Result<Reply> {
    let wanted = range.and_then(|range| byte_range(range, len));
    let part = match &wanted {
        Some(Ok(range)) => range.clone(),
        Some(Err(())) => 0..0,
        None => 0..len,
    };
    file.seek(SeekFrom::Start(part.start))?;
    let body = Pieces::of_file(file, &part, place);
    Ok(ranged(content_type, body, wanted, len, cache))
}

/// What answers a request for a range of `len` bytes, where one was `wanted`.
fn ranged(
    content_type: &'static str,
    body: Pieces,
    wanted: Option<Result<Range<u64>, ()>>,
    len: u64,
    cache: &'static str,
) -> Reply {
    let status = match &wanted {
        Some(Ok(_)) => StatusCode::PARTIAL_CONTENT,
        Some(Err(())) => StatusCode::RANGE_NOT_SATISFIABLE,
        None => StatusCode::OK,
    };
    let own = [("content-type", content_type), ("cache-control", cache), ("accept-ranges", "bytes")];
    let mut reply = with(status, body, COMMON.into_iter().chain(own));
    let told = wanted.map(|wanted| match wanted {
        Ok(Range { start, end }) => format!("bytes {start}-{}/{len}", end - 1),
        Err(()) => format!("bytes */{len}"),
    });
    if let Some(told) = told.and_then(|told| HeaderValue::from_str(&told).ok()) {
        reply.headers_mut().insert(CONTENT_RANGE, told);
    }
    reply
}

/// The one range that a `Range` header asks for (RFC 9110 14.1.2), of `len` bytes. `None` where the whole is to be sent: there is
/// none, or several, or it makes no sense; the error where nothing of it is there.
fn byte_range(header: &str, len: u64) -> Option<Result<Range<u64>, ()>> {
    let (first, last) = header.strip_prefix("bytes=")?.split_once('-')?;
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let range = match (first.trim(), last.trim()) {
        ("", last) => len.saturating_sub(number(last)?)..len,
        (first, "") => number(first)?..len,
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            if last < first {
                return None;
            }
            first..last.saturating_add(1).min(len)
        }
    };
    Some(if range.start < range.end { Ok(range) } else { Err(()) })
}

/// The status that tells of a refusal.
pub(super) fn status(refusal: &Refusal) -> StatusCode {
    match refusal {
        Refusal::BadName(_) => StatusCode::BAD_REQUEST,
        Refusal::NoSuchApp | Refusal::NotPublished => StatusCode::NOT_FOUND,
        Refusal::Denied(_)
        | Refusal::Loop(_)
        | Refusal::Reserved
        | Refusal::OtherSite
        | Refusal::Asked(_)
        | Refusal::NotProven(_) => StatusCode::FORBIDDEN,
        Refusal::Taken(_) => StatusCode::CONFLICT,
        Refusal::Unreachable => StatusCode::BAD_GATEWAY,
        Refusal::Full | Refusal::TooManyViewers | Refusal::TooManyStreams(_) | Refusal::Busy(_) => {
            StatusCode::SERVICE_UNAVAILABLE
        }
    }
}

/// What the reply with a stream of this type begins with, where we write it ourselves.
pub(super) fn media_head(content_type: &HeaderValue, is_chunked: bool) -> BytesMut {
    let own = [("content-type", content_type.to_str().unwrap_or_default())];
    let coding = if is_chunked { Some(("transfer-encoding", "chunked")) } else { None };
    let headers = own.into_iter().chain(MEDIA).chain(COMMON).chain(coding);
    head("200 OK", headers.chain([("connection", "close")]))
}

/// A head with one more header.
pub(super) fn with_header(mut head: BytesMut, name: &str, value: &str) -> BytesMut {
    // Before the empty line.
    head.truncate(head.len() - 2);
    head.extend_from_slice(format!("{name}: {value}\r\n\r\n").as_bytes());
    head
}

/// A status line and headers.
pub(super) fn head<'a>(status: &str, headers: impl IntoIterator<Item = (&'a str, &'a str)>) -> BytesMut {
    let lines = headers.into_iter().map(|(name, value)| format!("{name}: {value}\r\n"));
    let text = format!("HTTP/1.1 {status}\r\n{}\r\n", lines.collect::<String>());
    text.as_bytes().into()
}
