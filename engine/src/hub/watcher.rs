//! Watchers: they are told which streams begin and end, and which are wanted.
//!
//! The hub keeps no messages for them, it only says that it is time to look again. A watcher then compares what it has told
//! with what is there: however slow it is, it misses no stream and holds no more than the hub does.

use super::Hub;
use crate::key::StreamKey;
use std::collections::{BTreeMap, VecDeque};
use tokio::sync::watch;

/// A change in what streams there are.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamChange {
    /// The stream has its first publisher. Another one that takes it over, or comes back to it, is no change.
    Began(StreamKey),
    /// The stream is over. While its publisher is away and may come back, within the resume window, it is not.
    Ended(StreamKey),
    /// Somebody waits to watch a stream of this name, and there is none.
    Wanted(StreamKey),
    /// The stream is not wanted any more: nobody waits for it, or somebody publishes it.
    Unwanted(StreamKey),
}

/// What watchers are told of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It has begun and is not over.
    Begun,
    /// Viewers wait for its first publisher.
    Wanted,
}

impl Standing {
    fn reached(self, key: &StreamKey) -> StreamChange {
        match self {
            Self::Begun => StreamChange::Began(key.clone()),
            Self::Wanted => StreamChange::Wanted(key.clone()),
        }
    }

    fn left(self, key: &StreamKey) -> StreamChange {
        match self {
            Self::Begun => StreamChange::Ended(key.clone()),
            Self::Wanted => StreamChange::Unwanted(key.clone()),
        }
    }
}

/// The streams that there is something to tell of: which of that name it is, and what.
type Standings = BTreeMap<StreamKey, (u64, Standing)>;

/// Has watchers look again. Its value is whether the hub is closed.
#[derive(Clone, Default)]
pub(super) struct Changes {
    closed: watch::Sender<bool>,
}

impl Changes {
    /// Something has changed that watchers are told.
    pub(super) fn tell(&self) {
        self.closed.send_modify(|_| {});
    }

    fn close(&self) {
        self.closed.send_replace(true);
    }
}

/// Tells which streams of an engine begin and end, and which are wanted: see [`Engine::watch_streams`].
///
/// [`Engine::watch_streams`]: crate::Engine::watch_streams
pub struct StreamWatcher {
    hub: Hub,
    closed: watch::Receiver<bool>,
    is_over: bool,
    /// What has been told, with what is in `untold`.
    known: Standings,
    untold: VecDeque<StreamChange>,
}

impl StreamWatcher {
    /// Waits for the next change; `None` when the engine is gone. Works on any executor.
    ///
    /// The first calls tell what there is already. What came and went between two calls is not told; a stream that ended
    /// and began anew between them has ended, then begun.
    ///
    /// Cancel safe: a change is taken only when it is returned, so a future that is dropped loses none.
    pub async fn next(&mut self) -> Option<StreamChange> {
        while self.untold.is_empty() && !self.is_over {
            // No error: the hub that sends is held here.
            let _ = self.closed.changed().await;
            self.look();
        }
        self.untold.pop_front()
    }

    /// Notes how what is there differs from what was told.
    fn look(&mut self) {
        // Before the look: what changes after it is another change.
        self.is_over = *self.closed.borrow_and_update();
        let now = if self.is_over { Standings::new() } else { self.hub.standings() };
        let left = self.known.iter().filter(|(key, was)| now.get(key) != Some(was));
        self.untold.extend(left.map(|(key, (_, standing))| standing.left(key)));
        let reached = now.iter().filter(|(key, is)| self.known.get(key) != Some(is));
        self.untold.extend(reached.map(|(key, (_, standing))| standing.reached(key)));
        self.known = now;
    }
}

impl Hub {
    /// Watches which streams begin, end and are wanted, those included that have begun or are wanted already.
    pub(crate) fn watch(&self) -> StreamWatcher {
        let mut closed = self.shared.changes.closed.subscribe();
        closed.mark_changed();
        let (known, untold) = (Standings::new(), VecDeque::new());
        StreamWatcher { hub: self.clone(), closed, is_over: false, known, untold }
    }

    /// Ends the watchers: the engine is gone, though somebody may still hold its hub.
    pub(crate) fn close(&self) {
        self.shared.changes.close();
    }

    fn standings(&self) -> Standings {
        let streams = self.all();
        let told =
            |stream: &super::Stream| Some((stream.key().clone(), (stream.serial(), stream.standing()?)));
        streams.iter().filter_map(|stream| told(stream)).collect()
    }
}

#[cfg(test)]
mod tests;
