//! What happens, as it happens: server-sent events (HTML, 9.2), which browsers read by `EventSource` and everybody by line.

use super::json;
use super::operations::value;
use super::problem::Problem;
use super::read;
use crate::config::HttpRole;
use crate::events::{Event, EventReceiver, Received};
use crate::key::StreamKey;
use crate::service::http::Asker;
use crate::service::http::access;
use crate::service::http::reply::{self, Reply};
use crate::statistics::{Snapshot, SnapshotForm};
use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::HeaderValue;
use hyper::http::request::Parts;
use serde_json::json as object;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};

/// How often a listener is looked after: whether he still may listen, and whether he has to be told that he is.
const EVERY: Duration = Duration::from_secs(1);
/// A line that says nothing, for proxies that end what is silent.
const COMMENT_EVERY: Duration = Duration::from_secs(15);

/// Somebody who is told what happens.
struct Listener {
    asker: Asker,
    request: Parts,
    wants: Wants,
    events: EventReceiver,
    out: mpsc::Sender<Bytes>,
    /// Of the newest event.
    id: u64,
    told: Instant,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    _place: OwnedSemaphorePermit,
}

/// What of all he wants to know.
struct Wants {
    stream: Option<StreamKey>,
    /// Names of events; all where there are none.
    names: Vec<String>,
    snapshots: bool,
}

impl Wants {
    fn of(query: &str) -> Result<Self, Problem> {
        let stream = value(query, "stream").map(|name| name.parse::<StreamKey>().map_err(crate::Error::from));
        let names = value(query, "names").unwrap_or_default();
        Ok(Self {
            stream: stream.transpose()?,
            names: names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect(),
            snapshots: value(query, "snapshot").is_some_and(|value| value == "1"),
        })
    }

    fn has(&self, event: &Event) -> bool {
        let is_named = self.names.is_empty() || self.names.iter().any(|name| name == event.name());
        is_named && self.stream.as_ref().is_none_or(|stream| event.stream() == Some(stream))
    }
}

/// The reply, which goes on until the listener leaves, may listen no more, or the engine drains.
pub(super) fn answer(asker: &Asker, request: &Parts, query: &str) -> Result<Reply, Problem> {
    let (core, wants) = (&asker.core, Wants::of(query)?);
    let full = |_| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "as many listen to events as may");
    let place = core.event_listeners.clone().try_acquire_owned().map_err(full)?;
    // One at a time: who does not read them has them wait in the engine's backlog, which has an end.
    let (out, pieces) = mpsc::channel(1);
    let listener = Listener {
        asker: asker.clone(),
        request: request.clone(),
        wants,
        events: core.events.subscribe(),
        out,
        id: 0,
        told: Instant::now(),
        snapshots: core.statistics.snapshots(),
        _place: place,
    };
    let draining = core.draining.clone();
    core.tasks.spawn(draining.run_until_cancelled_owned(listener.tell()));
    let mut reply = reply::told(StatusCode::OK, "text/event-stream", Bytes::new());
    reply.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    *reply.body_mut() = reply::Pieces::that_come(pieces);
    Ok(reply)
}

impl Listener {
    /// Tells until the listener leaves, or may listen no more.
    async fn tell(mut self) {
        // So that the head of the reply is on its way at once.
        if !self.send(": the events of this engine\n\n".into()).await {
            return;
        }
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let goes_on = tokio::select! {
                () = self.out.closed() => false,
                received = self.events.next() => match received {
                    Some(Received::Event(event)) if self.wants.has(&event) => {
                        self.event(event.name(), &json(&event)).await
                    }
                    Some(Received::Event(_)) => true,
                    Some(Received::Lagged(lost)) => self.event("lagged", &json(&object!({ "lost": lost }))).await,
                    None => false,
                },
                Ok(()) = self.snapshots.changed(), if self.wants.snapshots => self.summary().await,
                _ = ticks.tick() => self.look_after().await,
            };
            if !goes_on {
                return;
            }
        }
    }

    /// Tells of the snapshot that there is now; false where nobody listens any more.
    async fn summary(&mut self) -> bool {
        let newest = self.snapshots.borrow_and_update().clone();
        self.event("summary", &newest.form(SnapshotForm::ApiSummary, read::summary)).await
    }

    /// What is done once a second; false where it is over.
    async fn look_after(&mut self) -> bool {
        if !self.may_listen() {
            return false;
        }
        self.told.elapsed() < COMMENT_EVERY || self.send(":\n\n".into()).await
    }

    /// Whether he may, by the configuration and the sessions of now.
    fn may_listen(&self) -> bool {
        access::check(&self.asker, &self.request, HttpRole::Viewer).is_ok()
    }

    /// Tells an event; false where nobody listens any more. JSON has no line ends in it.
    async fn event(&mut self, name: &str, data: &[u8]) -> bool {
        self.id += 1;
        let head = format!("id: {}\nevent: {name}\ndata: ", self.id);
        self.send([head.as_bytes(), data, b"\n\n"].concat().into()).await
    }

    async fn send(&mut self, piece: Bytes) -> bool {
        self.told = Instant::now();
        self.out.send(piece).await.is_ok()
    }
}
