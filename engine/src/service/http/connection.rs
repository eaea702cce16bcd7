//! One connection while hyper has it: requests and replies, deadlines between them, and the socket taken out when a stream is
//! to be sent.

use super::Asker;
use super::progress::{Answering, Phase, Progress};
use super::reply::{Pieces, Reply};
use super::request::{Answer, Answers};
use super::visit::Turn;
use crate::limits::ms;
use crate::net::{DeadlineTimer, PendingPlace, read};
use crate::service::arrival::{GAVE_WAY, log_early_failure};
use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{CONNECTION, HeaderMap};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Version};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::future::{Future, pending, poll_fn};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;
use tokio_util::sync::WaitForCancellationFutureOwned;

/// Least size of hyper's buffer.
const LEAST_BUFFER: usize = 8 * 1024;
bound! {
    /// Headers of one request; browsers send twenty (test `f37_more_than_64_headers_are_answered_with_431_and_closed`).
    pub(super) const MAX_HEADERS: usize = 64, without 4_096;
}

/// A connection whose socket hyper has let go of.
pub(super) struct TakenOver<IO> {
    pub(super) io: IO,
    /// What has been read of it and belongs to no request.
    pub(super) input: Bytes,
    /// What is to be done with it.
    pub(super) turn: Box<Turn>,
}

/// What has become of a connection that hyper has had.
enum Left<IO> {
    /// Its socket is to be taken over.
    TakenOver(TakenOver<IO>),
    /// What was asked for is answered. What has been read since is with it.
    Resting(IO, Bytes),
}

/// How hyper is to be left.
enum Leave {
    Take(Box<Turn>),
    Rest,
}

/// What is to happen to a connection whose time has come.
enum Overdue {
    /// It ends, and why.
    End(&'static str),
    /// It gives its buffers back.
    Rest,
}

/// The requests of one connection.
pub(super) struct Requests {
    pub(super) asker: Asker,
    pub(super) answers: Arc<Answers>,
    pub(super) progress: Arc<Progress>,
    /// The place among the connections that have not asked for anything in good order.
    pending: Option<PendingPlace>,
    timer: DeadlineTimer,
    pub(super) draining: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Requests {
    pub(super) fn new(asker: Asker, pending: Option<PendingPlace>) -> Self {
        let progress = Progress::new();
        let answers = Arc::new(Answers::new(asker.clone()));
        let draining = Box::pin(asker.core.draining.clone().cancelled_owned());
        Self { asker, answers, progress, pending, timer: DeadlineTimer::new(), draining }
    }

    /// Answers requests until the connection ends; or what is left of it when its socket is to be taken over.
    pub(super) async fn serve<IO>(mut self, mut io: IO) -> Option<TakenOver<IO>>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut input = Bytes::new();
        loop {
            // hyper has 16 KiB for each connection that it serves. Browsers leave many open, and strangers too: they wait for
            // what they ask, and between two requests, without it.
            match input.is_empty() {
                true => input = self.rest(&mut io).await?,
                // The head of the next request has begun.
                false => self.progress.note_read(),
            }
            // Boxed: a connection that rests needs none of it.
            match Box::pin(self.serve_busily(io, input)).await? {
                Left::TakenOver(taken_over) => return Some(taken_over),
                Left::Resting(rested, read) => (io, input) = (rested, read),
            }
        }
    }

    /// Answers requests of a connection that has read `input` so far; none where it has ended.
    async fn serve_busily<IO>(&mut self, io: IO, input: Bytes) -> Option<Left<IO>>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (answers, progress) = (self.answers.clone(), self.progress.clone());
        let service = service_fn(move |request| {
            let (answers, progress) = (answers.clone(), progress.clone());
            let mut answering = Answering::new(progress.clone());
            async move {
                let may_be_kept = may_be_kept(&request);
                let reply = reply(&answers, &progress, request).await;
                answering.is_last = !may_be_kept || is_closing(reply.headers());
                Ok::<_, Infallible>(reply.map(|pieces| AnswerBody { pieces, _answering: answering }))
            }
        });
        let head_bytes = self.asker.core.limits().http_header_bytes;
        let io = TokioIo::new(Watched { io, input, progress: self.progress.clone() });
        let mut http = http1::Builder::new()
            .max_header_size(head_bytes)
            .max_buf_size(head_bytes.max(LEAST_BUFFER))
            .max_headers(MAX_HEADERS.get())
            // Its deadline would hold for idle connections too: ours tells them apart.
            .header_read_timeout(None)
            .auto_date_header(true)
            .serve_connection(io, service);
        let mut is_drained = false;
        let leave = poll_fn(|cx| {
            if Pin::new(&mut http).poll(cx).is_ready() {
                return Poll::Ready(None);
            }
            if let Some(turn) = self.progress.turn() {
                return Poll::Ready(Some(Leave::Take(turn)));
            }
            if !is_drained && self.draining.as_mut().poll(cx).is_ready() {
                is_drained = true;
                if !self.progress.is_answering() {
                    return Poll::Ready(None);
                }
                Pin::new(&mut http).graceful_shutdown();
                cx.waker().wake_by_ref();
            }
            self.poll_overdue(cx, true).map(|overdue| self.judge(overdue))
        })
        .await?;
        let parts = http.into_parts();
        // Copied, or a few bytes would hold hyper's whole buffer.
        let (io, input) = (parts.io.into_inner().io, Bytes::copy_from_slice(&parts.read_buf));
        Some(match leave {
            Leave::Take(turn) => Left::TakenOver(TakenOver { io, input, turn }),
            Leave::Rest => Left::Resting(io, input),
        })
    }

    /// Waits for the next request; what has come of it, none at the end of the connection.
    async fn rest<IO: AsyncRead + Unpin>(&mut self, io: &mut IO) -> Option<Bytes> {
        let mut input = BytesMut::new();
        let read = poll_fn(|cx| {
            if let Poll::Ready(read) = read::poll_read(cx, io, &mut input, LEAST_BUFFER) {
                return Poll::Ready(read.ok().filter(|&count| count > 0));
            }
            match self.draining.as_mut().poll(cx) {
                Poll::Ready(()) => Poll::Ready(None),
                Poll::Pending => self.poll_end(cx).map(|()| None),
            }
        });
        read.await?;
        self.progress.note_read();
        let read = Bytes::copy_from_slice(&input);
        input.clear();
        read::release(&mut input);
        Some(read)
    }

    /// Ready when the connection has to give way, or its time is over; that is logged.
    pub(super) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_overdue(cx, false).map(|overdue| drop(self.judge(overdue)))
    }

    /// Ready when the connection has to give way, or its time is over; where it `may_rest`, also when it is time for that.
    fn poll_overdue(&mut self, cx: &mut Context<'_>, may_rest: bool) -> Poll<Overdue> {
        if self.progress.has_asked() {
            self.pending = None;
        }
        if let Some(pending) = &mut self.pending
            && pending.poll_evicted(cx).is_ready()
        {
            return Poll::Ready(Overdue::End(GAVE_WAY));
        }
        while let Some((deadline, overdue)) = self.deadline(may_rest) {
            if deadline <= Instant::now() {
                return Poll::Ready(overdue);
            }
            self.timer.set(deadline);
            ready!(self.timer.poll(cx));
        }
        Poll::Pending
    }

    /// The next deadline, and what passes then.
    fn deadline(&self, may_rest: bool) -> Option<(Instant, Overdue)> {
        let (limits, (phase, unflushed)) = (&self.asker.core.limits(), self.progress.waits());
        let unflushed = unflushed
            .map(|since| (since + ms(limits.write_timeout_ms), Overdue::End("the peer has stopped reading")));
        let of_phase = match phase {
            Phase::Head { since } => Some((
                since + ms(limits.http_header_timeout_ms),
                Overdue::End("the head of a request took too long"),
            )),
            Phase::Request => None,
            Phase::Idle { since } if may_rest && unflushed.is_none() && self.progress.is_kept() => {
                Some((since, Overdue::Rest))
            }
            Phase::Idle { since } => {
                Some((since + ms(limits.http_idle_ms), Overdue::End("nothing asked for")))
            }
        };
        [unflushed, of_phase].into_iter().flatten().min_by_key(|(deadline, _)| *deadline)
    }

    /// How hyper is to be left for that; none where it is the end, which is logged.
    fn judge(&self, overdue: Overdue) -> Option<Leave> {
        let Overdue::End(words) = overdue else { return Some(Leave::Rest) };
        match &self.pending {
            Some(pending) => log_early_failure(pending, self.asker.peer, words),
            None => tracing::debug!(peer = %self.asker.peer, "connection closed: {words}"),
        }
        None
    }
}

/// The body of a reply. A file is read while it is sent: the request is answered behind its last byte.
struct AnswerBody {
    pieces: Pieces,
    _answering: Answering,
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Pin::new(&mut self.pieces).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.pieces.size_hint()
    }
}

/// Whether another request may follow this one, and nothing else. Where that is not sure, hyper keeps the connection, and
/// decides.
fn may_be_kept(request: &Request<Incoming>) -> bool {
    request.version() == Version::HTTP_11 && request.body().is_end_stream() && !is_closing(request.headers())
}

fn is_closing(headers: &HeaderMap) -> bool {
    let mut all = headers.get_all(CONNECTION).iter();
    all.any(|value| !value.as_bytes().eq_ignore_ascii_case(b"keep-alive"))
}

/// The reply to a request. Pending for ever where there is none, as the connection's socket is taken over.
async fn reply(answers: &Answers, progress: &Progress, request: Request<Incoming>) -> Reply {
    let (request, body) = request.into_parts();
    match answers.answer(&request, body.into()).await {
        Answer::Reply(reply) => reply,
        Answer::Turn(turn) => {
            progress.take_over(turn);
            pending().await
        }
    }
}

/// A byte stream whose progress is noted.
pub(super) struct Watched<IO> {
    io: IO,
    /// Has been read before.
    input: Bytes,
    progress: Arc<Progress>,
}

impl<IO> Watched<IO> {
    pub(super) fn new(io: IO, progress: Arc<Progress>) -> Self {
        Self { io, input: Bytes::new(), progress }
    }

    fn note_written(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.progress.note_write(matches!(written, Poll::Ready(Ok(1..))));
        written
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Watched<IO> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.input.is_empty() {
            buf.put_slice(&this.input.split_to(this.input.len().min(buf.remaining())));
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut this.io).poll_read(cx, buf);
        if buf.filled().len() > before {
            this.progress.note_read();
        }
        read
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Watched<IO> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_write(cx, buf);
        this.note_written(written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_write_vectored(cx, slices);
        this.note_written(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.io).poll_flush(cx))?;
        this.progress.note_flush();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}
