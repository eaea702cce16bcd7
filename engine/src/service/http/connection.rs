//! One connection while hyper has it: requests and replies, deadlines between them, and the socket taken out when a stream is
//! to be sent.

use super::Asker;
use super::progress::{Phase, Progress};
use super::reply::Reply;
use super::request::{Answer, Answers};
use super::visit::Turn;
use crate::limits::ms;
use crate::net::{DeadlineTimer, PendingPlace};
use crate::service::arrival::{GAVE_WAY, log_early_failure};
use bytes::Bytes;
use hyper::Request;
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
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
    pub(super) turn: Turn,
}

/// Why a connection ends that nobody has closed.
pub(super) struct Overdue(&'static str);

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
    pub(super) async fn serve<IO>(mut self, io: IO) -> Option<TakenOver<IO>>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (answers, progress) = (self.answers.clone(), self.progress.clone());
        let service = service_fn(move |request| {
            let (answers, progress) = (answers.clone(), progress.clone());
            progress.begin();
            async move {
                let reply = reply(&answers, &progress, request).await;
                progress.end();
                Ok::<_, Infallible>(reply)
            }
        });
        let head_bytes = self.asker.core.config.limits.http_header_bytes;
        let io = TokioIo::new(Watched::new(io, self.progress.clone()));
        let mut http = http1::Builder::new()
            .max_header_size(head_bytes)
            .max_buf_size(head_bytes.max(LEAST_BUFFER))
            .max_headers(MAX_HEADERS.get())
            // Its deadline would hold for idle connections too: ours tells them apart.
            .header_read_timeout(None)
            .auto_date_header(true)
            .serve_connection(io, service);
        let mut is_drained = false;
        let turn = poll_fn(|cx| {
            if Pin::new(&mut http).poll(cx).is_ready() {
                return Poll::Ready(None);
            }
            if let Some(turn) = self.progress.turn() {
                return Poll::Ready(Some(turn));
            }
            if !is_drained && self.draining.as_mut().poll(cx).is_ready() {
                is_drained = true;
                if !self.progress.is_answering() {
                    return Poll::Ready(None);
                }
                Pin::new(&mut http).graceful_shutdown();
                cx.waker().wake_by_ref();
            }
            match self.poll_overdue(cx) {
                Poll::Ready(overdue) => {
                    self.log(&overdue);
                    Poll::Ready(None)
                }
                Poll::Pending => Poll::Pending,
            }
        })
        .await?;
        let parts = http.into_parts();
        // Copied, or a few bytes would hold hyper's whole buffer.
        let input = Bytes::copy_from_slice(&parts.read_buf);
        Some(TakenOver { io: parts.io.into_inner().io, input, turn })
    }

    /// Ready when the connection has to give way, or its time is over.
    pub(super) fn poll_overdue(&mut self, cx: &mut Context<'_>) -> Poll<Overdue> {
        if self.progress.has_asked() {
            self.pending = None;
        }
        if let Some(pending) = &mut self.pending
            && pending.poll_evicted(cx).is_ready()
        {
            return Poll::Ready(Overdue(GAVE_WAY));
        }
        while let Some((deadline, overdue)) = self.deadline() {
            if deadline <= Instant::now() {
                return Poll::Ready(overdue);
            }
            self.timer.set(deadline);
            ready!(self.timer.poll(cx));
        }
        Poll::Pending
    }

    /// The next deadline, and what passes then.
    fn deadline(&self) -> Option<(Instant, Overdue)> {
        let (limits, (phase, unflushed)) = (&self.asker.core.config.limits, self.progress.waits());
        let unflushed = unflushed
            .map(|since| (since + ms(limits.write_timeout_ms), Overdue("the peer has stopped reading")));
        let of_phase = match phase {
            Phase::Head { since } => Some((
                since + ms(limits.http_header_timeout_ms),
                Overdue("the head of a request took too long"),
            )),
            Phase::Request => None,
            Phase::Idle { since } => Some((since + ms(limits.http_idle_ms), Overdue("nothing asked for"))),
        };
        [unflushed, of_phase].into_iter().flatten().min_by_key(|(deadline, _)| *deadline)
    }

    pub(super) fn log(&self, Overdue(words): &Overdue) {
        match &self.pending {
            Some(pending) => log_early_failure(pending, self.asker.peer, words),
            None => tracing::debug!(peer = %self.asker.peer, "connection closed: {words}"),
        }
    }
}

/// The reply to a request. Pending for ever where there is none, as the connection's socket is taken over.
async fn reply(answers: &Answers, progress: &Progress, request: Request<Incoming>) -> Reply {
    let has_body = !request.body().is_end_stream();
    let (request, _) = request.into_parts();
    match answers.answer(&request, has_body).await {
        Answer::Reply(reply) => reply,
        Answer::Turn(turn) => {
            progress.take_over(*turn);
            pending().await
        }
    }
}

/// A byte stream whose progress is noted.
pub(super) struct Watched<IO> {
    io: IO,
    progress: Arc<Progress>,
}

impl<IO> Watched<IO> {
    pub(super) fn new(io: IO, progress: Arc<Progress>) -> Self {
        Self { io, progress }
    }

    fn note_written(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.progress.note_write(matches!(written, Poll::Ready(Ok(1..))));
        written
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Watched<IO> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
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
