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
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::time::{Instant, sleep_until};

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
        let ingest = Ingest::new(publisher, &visit.core().limits());
        match take_in(&visit, ingest, body, &counter).await {
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

/// Takes a body in until its stream ends; where that is not its good end, with a status and the reason.
async fn take_in(
    visit: &Visit,
    mut ingest: Ingest,
    mut body: Body,
    counter: &Counter,
) -> Result<(), (StatusCode, String)> {
    let mut reprieve = Reprieve::default();
    let halted = loop {
        match news(visit, &mut ingest, &mut body, &reprieve).await {
            News::Piece(Ok(Some(piece))) => {
                counter.0.fetch_add(piece.len() as u64, Ordering::Relaxed);
                let taken = ingest.take(&piece).and_then(|()| ingest.check_pace(0, &visit.core().limits()));
                if let Err(halt) = taken {
                    break halt;
                }
            }
            News::Piece(Ok(None)) => {
                return ingest.finish().map_err(|halt| (halt.status(), halt.to_string()));
            }
            News::Piece(Err(_)) => {
                let reason = "the body has not come to its end";
                ingest.end(reason, false);
                return Err((StatusCode::BAD_REQUEST, reason.to_owned()));
            }
            News::Halt(reason) => break Halt::Lost(reason),
            News::Deadline => {
                let (due, now) = (ingest.publisher.silent_at(), Instant::now());
                if due <= now && reprieve.may_judge(due, now) {
                    break Halt::Silent(ingest.publisher.silence_words());
                }
            }
        }
    };
    let reason = halted.to_string();
    ingest.end(&reason, halted.is_final());
    Err((halted.status(), reason))
}

async fn news(visit: &Visit, ingest: &mut Ingest, body: &mut Body, reprieve: &Reprieve) -> News {
    let silent_at = reprieve.extend(ingest.publisher.silent_at());
    tokio::select! {
        biased;
        reason = visit.kicked() => News::Halt(reason),
        () = visit.core().draining.cancelled() => News::Halt(EndReason::Shutdown),
        reason = poll_fn(|cx| ingest.publisher.poll_lost(cx)) => News::Halt(reason),
        piece = body.piece() => News::Piece(piece),
        () = sleep_until(silent_at) => News::Deadline,
    }
}
