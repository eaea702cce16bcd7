//! Connections that speak HTTP/2 (RFC 9113): any number of requests at a time, each with a task of its own, and a player for
//! each that gets a stream.

mod stream;

use super::connection::{MAX_HEADERS, Requests, Watched};
use super::player::Player;
use super::progress::Answering;
use super::reply::{self, Reply};
use super::request::{Answer, Answers};
use super::visit::Turn;
use crate::limits::ms;
use crate::service::Core;
use ::h2::server::{Builder, Connection, SendResponse};
use ::h2::{Reason, RecvStream};
use bytes::{Buf, Bytes};
use hyper::header::{CONNECTION, CONTENT_LENGTH, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use stream::{HELD, Payload};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;

bound! {
    /// Requests of one connection that are being answered at a time, players among them
    /// (test `one_connection_has_a_hundred_streams_at_a_time_and_is_told_so`).
    const MAX_STREAMS: u32 = 100, without 1 << 30;
    /// Requests that a peer may take back before we have seen them; who does so more often ends its connection
    /// (test `requests_that_are_taken_back_at_once_end_their_connection_and_no_other`).
    const MAX_TAKEN_BACK: usize = 20, without usize::MAX;
    /// Requests that break the rules before their connection is ended
    /// (test `requests_that_break_the_rules_end_their_connection_before_long`).
    const MAX_BROKEN: usize = 100, without usize::MAX;
}

/// The head of a request is counted with 32 bytes for each header besides, and without what HPACK saves: so more is allowed
/// than of HTTP/1.1, with the default 16 KiB.
const HEAD_FACTOR: usize = 2;

impl Requests {
    /// Answers the requests of a connection that speaks HTTP/2, until it ends.
    pub(super) async fn serve_streams<IO>(mut self, io: IO)
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        self.progress.has_frames();
        let watched = Watched::new(io, self.progress.clone());
        let head_bytes = self.asker.core.limits().http_header_bytes.saturating_mul(HEAD_FACTOR);
        let mut handshake = Builder::new()
            .max_concurrent_streams(MAX_STREAMS.get())
            .max_pending_accept_reset_streams(MAX_TAKEN_BACK.get())
            .max_local_error_reset_streams(Some(MAX_BROKEN.get()))
            .max_header_list_size(u32::try_from(head_bytes).unwrap_or(u32::MAX))
            .max_send_buffer_size(HELD.get())
            .handshake(watched);
        let begun = poll_fn(|cx| match Pin::new(&mut handshake).poll(cx) {
            Poll::Ready(begun) => Poll::Ready(begun.ok()),
            Poll::Pending => self.poll_end(cx).map(|()| None),
        });
        let Some(mut http) = begun.await else { return };
        let mut streams = Streams { tasks: JoinSet::new(), core: self.asker.core.clone() };
        let mut leaving = Leaving::No;
        poll_fn(|cx| self.poll_streams(cx, &mut http, &mut streams, &mut leaving)).await;
        // Streams that are left notice it.
        drop(http);
        while let Some(ended) = streams.tasks.join_next().await {
            streams.check(ended);
        }
    }

    /// Moves everything on; ready at the end of the connection.
    fn poll_streams<IO>(
        &mut self,
        cx: &mut Context<'_>,
        http: &mut Connection<Watched<IO>, Payload>,
        streams: &mut Streams,
        leaving: &mut Leaving,
    ) -> Poll<()>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        streams.reap(cx);
        // Of those that have ended by now, everything is on its way behind the next line.
        let had_ended = streams.tasks.is_empty();
        while let Poll::Ready(accepted) = http.poll_accept(cx) {
            match accepted {
                Some(Ok((request, respond))) => self.begin(request, respond, streams, *leaving),
                Some(Err(_)) | None => return Poll::Ready(()),
            }
        }
        let next = match *leaving {
            Leaving::No if self.draining.as_mut().poll(cx).is_ready() => Leaving::Soon,
            Leaving::Soon if had_ended && streams.tasks.is_empty() => Leaving::Now,
            unchanged => unchanged,
        };
        if next != *leaving {
            *leaving = next;
            match next {
                Leaving::No => {}
                Leaving::Soon => http.graceful_shutdown(),
                Leaving::Now => http.abrupt_shutdown(Reason::NO_ERROR),
            }
            cx.waker().wake_by_ref();
        }
        self.poll_end(cx)
    }

    /// Gives a request a task of its own, unless its peer has taken it back already.
    fn begin(
        &self,
        request: Request<RecvStream>,
        mut respond: SendResponse<Payload>,
        streams: &mut Streams,
        leaving: Leaving,
    ) {
        let is_gone = respond.poll_reset(&mut Context::from_waker(std::task::Waker::noop())).is_ready();
        if is_gone || leaving != Leaving::No {
            return respond.send_reset(Reason::REFUSED_STREAM);
        }
        let answering = Answering::new(self.progress.clone());
        let patience = ms(self.asker.core.limits().write_timeout_ms);
        streams.tasks.spawn(serve(self.answers.clone(), request, respond, patience, answering));
    }
}

/// How far a connection is with its end, when the engine drains.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leaving {
    No,
    /// The peer is told to send no more requests.
    Soon,
    /// All that were there are answered.
    Now,
}

/// The tasks of one connection's streams.
struct Streams {
    tasks: JoinSet<()>,
    core: Arc<Core>,
}

impl Streams {
    fn reap(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(Some(ended)) = self.tasks.poll_join_next(cx) {
            self.check(ended);
        }
    }

    /// One that panics is a bug of ours; it costs its stream.
    fn check(&self, ended: Result<(), JoinError>) {
        if ended.is_err_and(|error| error.is_panic()) {
            self.core.sessions.count_panic();
        }
    }
}

/// Answers one request, with its stream where it gets one.
async fn serve(
    answers: Arc<Answers>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Payload>,
    patience: Duration,
    _answering: Answering,
) {
    // Boxed: players need none of it.
    let Some(turn) = Box::pin(answer(&answers, request, &mut respond, patience)).await else { return };
    let head = reply::media(turn.content_type()).map(drop);
    if let Ok(send) = respond.send_response(head, false) {
        drop(respond);
        let (reader, writer) = stream::halves(send);
        Player::start(turn, reader, writer, Bytes::new()).await;
    }
}

/// What is to be sent behind the head of a reply; none where the request has been answered, or taken back.
async fn answer(
    answers: &Answers,
    request: Request<RecvStream>,
    respond: &mut SendResponse<Payload>,
    patience: Duration,
) -> Option<Box<Turn>> {
    let (request, body) = request.into_parts();
    let answer = async {
        match request.headers.len() > MAX_HEADERS.get() {
            true => too_many_headers().into(),
            false => answers.answer(&request, body.into()).await,
        }
    };
    let answer = tokio::select! {
        biased;
        _ = poll_fn(|cx| respond.poll_reset(cx)) => return None,
        answer = answer => answer,
    };
    match answer {
        Answer::Turn(turn) => Some(turn),
        Answer::Reply(reply) => {
            // Who does not take it has its stream reset.
            let _ = send(reply, respond, request.method == Method::HEAD, patience).await;
            None
        }
    }
}

fn too_many_headers() -> Reply {
    reply::words(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "the request has too many headers")
}

/// Sends a whole reply, or its head only, `patience` being the longest time in which the peer takes none of it.
async fn send(
    reply: Reply,
    respond: &mut SendResponse<Payload>,
    head_only: bool,
    patience: Duration,
) -> io::Result<()> {
    let (mut head, mut body) = reply.into_parts();
    // Of connections that HTTP/2 knows nothing of.
    head.headers.remove(CONNECTION);
    let len = body.len();
    if len > 0 {
        head.headers.insert(CONTENT_LENGTH, HeaderValue::from(len));
    }
    let is_all = head_only || body.is_empty();
    let send = respond.send_response(Response::from_parts(head, ()), is_all).map_err(io::Error::other)?;
    if is_all {
        return Ok(());
    }
    let (_, mut writer) = stream::halves(send);
    while let Some(piece) = body.next().await {
        let mut piece = piece?;
        while piece.has_remaining() {
            let taken = timeout(patience, writer.write(&piece)).await??;
            piece.advance(taken);
        }
    }
    timeout(patience, writer.flush()).await??;
    writer.shutdown().await
}
