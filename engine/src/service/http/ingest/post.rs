//! A publisher whose FLV is the body of a request: `ffmpeg -f flv -method POST http://...`, `curl -T`.

use super::super::body::{Body, Unread};
use super::super::reply::{self, Reply};
use super::super::request::Answers;
use super::super::routes::StreamUrl;
use super::super::visit::Visit;
use super::{Halt, Ingest};
use crate::auth::Door;
use crate::hub::EndReason;
use crate::net::Reprieve;
use crate::sessions::{Measured, Queue, Traffic};
use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::http::request::Parts;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use tokio::time::{Instant, sleep_until};

/// Why the stream of a body ends that was cut.
const CUT: &str = "the body has not come to its end";

/// What has come of a body.
#[derive(Default)]
struct Counter(AtomicU64);

impl Measured for Counter {
    fn traffic(&self) -> Traffic {
        Traffic { received: self.0.load(Ordering::Relaxed), sent: 0 }
    }

    fn queue(&self) -> Queue {
        Queue { is_empty: true, ..Queue::default() }
    }
}

/// What has happened on a stream.
enum News {
    /// Its next bytes; none at its end.
    Piece(Result<Option<Bytes>, Unread>),
    Halt(EndReason),
    /// It may have been silent for too long.
    Deadline,
}

impl Answers {
    /// Publishes the body of a request until it ends: the reply.
    pub(in crate::service::http) async fn post(&self, request: &Parts, url: StreamUrl, body: Body) -> Reply {
        if body.is_nothing() {
            return reply::words(StatusCode::UNSUPPORTED_MEDIA_TYPE, "FLV is expected in the body");
        }
        let mut visit = self.visit(Door::HttpFlv, request).await;
        visit.is_to_publish(request);
        let publisher = match visit.ask_to_publish(url).await {
            Ok(publisher) => publisher,
            Err(refused) => return last(visit.refuse(&refused)),
        };
        let counter = Arc::new(Counter::default());
        visit.measure(counter.clone());
        let ingest = Some(Ingest::new(publisher, &visit.core().limits()));
        let mut posting = Posting { ingest, body, counter };
        match posting.take_in(&visit).await {
            Ok(()) => {
                visit.leave(&EndReason::Unpublished.to_string());
                reply::nothing()
            }
            Err((status, reason)) => {
                visit.leave(&reason);
                last(reply::words(status, reason))
            }
        }
    }
}

/// A reply behind which nothing else comes: what follows of the request is not read.
fn last(mut reply: Reply) -> Reply {
    reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    reply
}

/// A body on its way in.
struct Posting {
    /// Taken at the end of its stream.
    ingest: Option<Ingest>,
    body: Body,
    counter: Arc<Counter>,
}

impl Posting {
    /// Takes it in until its stream ends; where that is not its good end, with a status and the reason.
    async fn take_in(&mut self, visit: &Visit) -> Result<(), (StatusCode, String)> {
        let mut reprieve = Reprieve::default();
        let halted = loop {
            match self.news(visit, &reprieve).await {
                News::Piece(Ok(Some(piece))) => {
                    if let Err(halt) = self.take(&piece, visit) {
                        break halt;
                    }
                }
                News::Piece(Ok(None)) => {
                    let finished = self.ingest.take().map_or(Ok(()), Ingest::finish);
                    return finished.map_err(|halt| (halt.status(), halt.to_string()));
                }
                News::Piece(Err(_)) => {
                    self.end(CUT, false);
                    return Err((StatusCode::BAD_REQUEST, CUT.to_owned()));
                }
                News::Halt(reason) => break Halt::Lost(reason),
                News::Deadline => {
                    if let Some(halt) = self.judge(&mut reprieve) {
                        break halt;
                    }
                }
            }
        };
        let reason = halted.to_string();
        self.end(&reason, halted.is_final());
        Err((halted.status(), reason))
    }

    async fn news(&mut self, visit: &Visit, reprieve: &Reprieve) -> News {
        let Self { ingest, body, .. } = self;
        let Some(Ingest { publisher, .. }) = ingest else { return News::Halt(EndReason::Unpublished) };
        let silent_at = reprieve.extend(publisher.silent_at());
        tokio::select! {
            biased;
            reason = visit.kicked() => News::Halt(reason),
            () = visit.core().draining.cancelled() => News::Halt(EndReason::Shutdown),
            reason = poll_fn(|cx| publisher.poll_lost(cx)) => News::Halt(reason),
            piece = body.piece() => News::Piece(piece),
            () = sleep_until(silent_at) => News::Deadline,
        }
    }

    fn take(&mut self, piece: &[u8], visit: &Visit) -> Result<(), Halt> {
        self.counter.0.fetch_add(piece.len() as u64, Ordering::Relaxed);
        let Some(ingest) = &mut self.ingest else { return Ok(()) };
        ingest.take(piece)?;
        ingest.check_pace(0, &visit.core().limits())
    }

    /// Why a stream does not go on that has been silent for too long.
    fn judge(&self, reprieve: &mut Reprieve) -> Option<Halt> {
        let publisher = &self.ingest.as_ref()?.publisher;
        let (due, now) = (publisher.silent_at(), Instant::now());
        (due <= now && reprieve.may_judge(due, now)).then(|| Halt::Silent(publisher.silence_words()))
    }

    fn end(&mut self, reason: &str, is_final: bool) {
        if let Some(ingest) = self.ingest.take() {
            ingest.end(reason, is_final);
        }
    }
}

/// Some encoders close right behind the last chunk and want no answer: what has come is taken all the same, and is no loss where it
/// is all that there is.
impl Drop for Posting {
    fn drop(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        while let Some(ingest) = &mut self.ingest {
            let next = pin!(self.body.piece()).poll(&mut cx);
            match next {
                Poll::Ready(Ok(Some(piece))) if ingest.take(&piece).is_ok() => {}
                Poll::Ready(Ok(None)) => {
                    // Nobody hears what may be wrong with it.
                    let _ = self.ingest.take().map(Ingest::finish);
                }
                _ => self.end(CUT, false),
            }
        }
    }
}
