//! A pull by HTTP: FLV in the reply to a request.
//!
//! hyper speaks HTTP over a connection that we have dialled, so that names are looked up and certificates checked as for
//! RTMP. Redirects are not followed: no place is dialled that a server chooses.

use super::audience::Audience;
use super::intake::{Intake, Owner, Terms};
use super::task::{AttemptError, Ended, Meaning, Relay, add};
use super::watchdog::Watchdog;
use crate::key::Printable;
use crate::limits::ms;
use crate::media::elementary::FlvStream;
use crate::net::Conn;
use crate::proto::Received;
use crate::status::RelayState;
use crate::url::HttpUrl;
use crate::{Error, ErrorKind, hops};
use bytes::Bytes;
use http_body_util::Empty;
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::{self, Connection};
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap,
    HeaderName, TRANSFER_ENCODING, USER_AGENT,
};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Poll, ready};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

bound! {
    /// Bytes of the head of a reply
    /// (test `a_reply_whose_head_is_too_long_is_an_error`).
    pub(super) const HEAD_BYTES: usize = 16 * 1024, without 1 << 30;
    /// Headers of a reply (test `a_reply_whose_head_is_too_long_is_an_error`).
    pub(super) const HEADERS: usize = 64, without 100_000;
}
/// Bytes that are read at a time.
const BUFFER: usize = 64 * 1024;

/// One connection: from dialling to its end.
pub(super) async fn by_http(
    relay: &Relay,
    url: &HttpUrl,
    terms: &Terms,
    audience: &mut Audience,
    stop: &CancellationToken,
) -> Result<Ended, AttemptError> {
    let request = relay.in_time(request(relay, url, terms));
    let Some(reply) = stop.run_until_cancelled(request).await else { return Ok(Ended::Stopped) };
    let mut reply = reply?;
    let mut intake = Intake::new(relay, terms, reply.hops(), 0)?;
    let result = receive(&mut reply, &mut intake, audience, stop).await;
    if result.is_ok() {
        intake.finish();
    }
    result
}

/// Dials `url` and asks for its stream.
async fn request<'a>(relay: &'a Relay, url: &HttpUrl, terms: &Terms) -> Result<Reply<'a>, AttemptError> {
    let conn = relay.dial().await?;
    let peer = conn.peer();
    relay.enter(RelayState::Handshaking);
    let limit = relay.limits().command_timeout_ms;
    let answered = timeout(ms(limit), ask(conn, url, terms)).await;
    let answered = answered.unwrap_or_else(|_| Err(AttemptError::late("the reply to the request", limit)));
    let (connection, response) =
        answered.map_err(|error| AttemptError { text: format!("{peer}: {}", error.text), ..error })?;
    let (head, body) = response.into_parts();
    check(head.status, &head.headers)?;
    let max_message = relay.core.limits().max_message;
    let flv = FlvStream::new(max_message);
    Ok(Reply {
        relay,
        peer,
        headers: head.headers,
        connection: Some(connection),
        body,
        flv,
        received: Received::default(),
    })
}

type Http = Connection<TokioIo<Conn>, Empty<Bytes>>;

async fn ask(conn: Conn, url: &HttpUrl, terms: &Terms) -> Result<(Http, Response<Incoming>), AttemptError> {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(BUFFER).max_header_size(HEAD_BYTES.get().min(BUFFER)).max_headers(HEADERS.get());
    let (mut sender, mut connection) = builder.handshake(TokioIo::new(conn)).await.map_err(in_words)?;
    let mut request = Request::get(url.target())
        .header(HOST, url.authority())
        .header(USER_AGENT, concat!("streamengine/", env!("CARGO_PKG_VERSION")))
        .header(ACCEPT, "*/*")
        .header(ACCEPT_ENCODING, "identity")
        .header(hops::HEADER, hops::join(&terms.hops));
    // An origin is not to wait for a publisher: others may have the stream.
    if terms.of == Owner::Origin {
        request = request.header(hops::PREFER, hops::WAIT_NOT);
    }
    if let Some(authorization) = url.authorization() {
        request = request.header(AUTHORIZATION, authorization);
    }
    let request = request.body(Empty::new()).map_err(|error| {
        AttemptError::held_back(ErrorKind::InvalidArgument, format!("the URL makes no request: {error}"))
    })?;
    let mut response = std::pin::pin!(sender.send_request(request));
    let response = poll_fn(|cx| {
        // What is wrong with the connection is told by the response.
        let is_over = Pin::new(&mut connection).poll(cx).is_ready();
        match response.as_mut().poll(cx) {
            Poll::Pending if is_over => Poll::Ready(None),
            response => response.map(Some),
        }
    });
    match response.await {
        Some(response) => Ok((connection, response.map_err(in_words)?)),
        None => Err(closed()),
    }
}

fn closed() -> AttemptError {
    AttemptError::lost(ErrorKind::Reset, "the connection was closed by the peer")
}

fn in_words(error: hyper::Error) -> AttemptError {
    if error.is_parse_too_large() {
        return AttemptError::lost(ErrorKind::Limit, "the head of the reply is too long");
    }
    if error.is_parse() {
        return AttemptError::lost(ErrorKind::Protocol, "the reply is no HTTP/1.1; is it an HTTP port?");
    }
    match std::error::Error::source(&error).and_then(|cause| cause.downcast_ref::<std::io::Error>()) {
        // As hyper tells an end where there is to be none.
        Some(cause) if cause.kind() == std::io::ErrorKind::UnexpectedEof => closed(),
        Some(cause) => Error::io("HTTP", std::io::Error::new(cause.kind(), cause.to_string())).into(),
        // In the middle of a reply, or before it.
        None => closed(),
    }
}

/// Whether a reply has a stream in it.
fn check(status: StatusCode, headers: &HeaderMap) -> Result<(), AttemptError> {
    if status != StatusCode::OK {
        return Err(refused(status));
    }
    let text = |name: HeaderName| {
        headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).to_lowercase())
    };
    if let Some(coding) = text(CONTENT_ENCODING).filter(|coding| coding != "identity") {
        return Err(no_flv(&format!("it is compressed ({})", Printable(&coding))));
    }
    let kind = text(CONTENT_TYPE).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let is_other = kind.starts_with("text/")
        || kind.starts_with("image/")
        || ["json", "xml", "mpegurl", "mp2t", "mp4", "webm"].iter().any(|other| kind.ends_with(other));
    if is_other {
        return Err(no_flv(&format!("it is {}", Printable(kind))));
    }
    Ok(())
}

fn no_flv(why: &str) -> AttemptError {
    let refused = AttemptError::held_back(ErrorKind::Format, format!("the reply is no FLV: {why}"));
    AttemptError { may_be_final: true, ..refused }
}

/// The server's refusal in the words of its status: those of its page are for people, and may say what we sent.
fn refused(status: StatusCode) -> AttemptError {
    let (why, meaning) = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            ("; does the URL want a user (http://USER:PASSWORD@HOST/...) or a token?", Meaning::Nothing)
        }
        StatusCode::NOT_FOUND | StatusCode::GONE => {
            (": the server has no such stream", Meaning::NoSuchStream)
        }
        _ if status.is_redirection() => {
            ("; redirects are not followed: give the URL that they lead to", Meaning::Nothing)
        }
        _ => ("", Meaning::Nothing),
    };
    let kind = if meaning == Meaning::NoSuchStream { ErrorKind::NotFound } else { ErrorKind::Rejected };
    let refused = AttemptError::held_back(kind, format!("refused: {status}{why}"));
    AttemptError { may_be_final: true, ..refused.meaning(meaning) }
}

/// The reply with a stream.
struct Reply<'a> {
    relay: &'a Relay,
    peer: SocketAddr,
    headers: HeaderMap,
    /// Moves the bytes, until it has nothing more to move.
    connection: Option<Http>,
    body: Incoming,
    flv: FlvStream,
    received: Received,
}

impl Reply<'_> {
    /// The streams that the stream has been, as the server says.
    fn hops(&self) -> Vec<String> {
        let list = self.headers.get(hops::HEADER).and_then(|list| list.to_str().ok());
        list.map(hops::parse).unwrap_or_default()
    }

    /// Whether the server can say that the stream has ended: else that looks like a lost connection.
    fn can_tell_end(&self) -> bool {
        self.headers.contains_key(TRANSFER_ENCODING) || self.headers.contains_key(CONTENT_LENGTH)
    }

    /// The next bytes; `None` at the end. Safe to cancel.
    async fn bytes(&mut self) -> Result<Option<Bytes>, AttemptError> {
        let piece = poll_fn(|cx| {
            loop {
                if let Some(connection) = &mut self.connection
                    && Pin::new(connection).poll(cx).is_ready()
                {
                    self.connection = None;
                }
                match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                    Some(Ok(frame)) => {
                        // Trailers say nothing to us.
                        if let Ok(bytes) = frame.into_data() {
                            return Poll::Ready(Ok(Some(bytes)));
                        }
                    }
                    Some(Err(error)) => return Poll::Ready(Err(in_words(error))),
                    None => return Poll::Ready(Ok(None)),
                }
            }
        });
        let piece = piece
            .await
            .map_err(|error| AttemptError { text: format!("{}: {}", self.peer, error.text), ..error })?;
        let bytes = piece.as_ref().map_or(0, |bytes| bytes.len() as u64);
        self.received.bytes += bytes;
        add(&self.relay.counters.bytes_received, bytes);
        Ok(piece)
    }

    /// Takes frames in.
    fn take(&mut self, bytes: &[u8], intake: &mut Intake<'_>) -> Result<(), AttemptError> {
        let mut input = bytes;
        loop {
            match self.flv.read(&mut input) {
                Ok(Some(frame)) => {
                    self.received.messages += 1;
                    intake.push(frame)?;
                }
                Ok(None) => return intake.check_pace(self.received),
                // Bytes that are no tag are passed over, as in files; other formats stay what they are.
                Err(error) if self.received.messages == 0 => return Err(no_flv(&error.to_string())),
                Err(error) if error.kind() == ErrorKind::Limit => return Err(error.into()),
                Err(error) => tracing::debug!(url = %self.relay.url, "{error}"),
            }
        }
    }

    /// What the end of the reply means.
    fn end(&mut self, intake: &mut Intake<'_>) -> AttemptError {
        let is_whole = self.flv.is_between_tags();
        // What was held back until more came.
        loop {
            match self.flv.finish().map_err(|error| no_flv(&error.to_string())) {
                Ok(None) => break,
                Ok(Some(frame)) => match intake.push(frame) {
                    Ok(()) => {}
                    Err(error) => return error,
                },
                Err(error) => return error,
            }
        }
        match is_whole && self.can_tell_end() {
            true => intake.upstream_ended(),
            false => AttemptError {
                text: format!("{}: the connection was closed by the peer", self.peer),
                ..closed()
            },
        }
    }
}

/// Takes frames in until the stream, the connection or the relay ends.
async fn receive(
    reply: &mut Reply<'_>,
    intake: &mut Intake<'_>,
    audience: &mut Audience,
    stop: &CancellationToken,
) -> Result<Ended, AttemptError> {
    let silence = intake.patience();
    let mut watchdog = Watchdog::of(silence);
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(Ended::Stopped),
            () = audience.left() => return Ok(Ended::Idle),
            reason = intake.ended() => return Err(intake.taken(&reason)),
            piece = reply.bytes() => match piece? {
                Some(bytes) => reply.take(&bytes, intake)?,
                None => return Err(reply.end(intake)),
            },
            may_judge = watchdog.look() => {
                if may_judge {
                    // Nobody can be asked for a sign of life here: bytes are all there is.
                    intake.check_silence(0, silence)?;
                }
            }
        }
    }
}
