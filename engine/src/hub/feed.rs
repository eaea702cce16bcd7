//! A feed: one reader of a stream for all its subscribers that have caught up.

use super::stream::{MainIds, Stream};
use super::waiters::{Registered, WakeFor};
use crate::media::{Frame, FrameKind};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Frames that follow each other in a stream.
#[derive(Default)]
pub(crate) struct Batch {
    /// Sequence number of the first.
    pub(crate) from: u64,
    /// Sequence number after the last.
    pub(crate) to: u64,
    /// The frames.
    pub(crate) frames: Vec<Frame>,
    /// Whether there is coded video among them.
    pub(crate) has_video: bool,
    /// The stream's main tracks.
    pub(crate) main: MainIds,
}

/// Where a subscriber stands to a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// The batch is what it wants next, as it is.
    At,
    /// It has got past the batch already.
    After,
    /// It is behind, or something has to be sent before, or left out.
    Elsewhere,
}

/// Reads a stream from its live edge on. Unlike a subscriber it is not counted and leaves nothing out.
pub(crate) struct Feed {
    pub(super) stream: Arc<Stream>,
    position: u64,
    registered: Registered,
}

impl Feed {
    pub(super) fn new(stream: Arc<Stream>) -> Self {
        let position = stream.with_state(|state| state.ring.head());
        Self { stream, position, registered: None }
    }

    /// Another feed of the same stream.
    pub(crate) fn again(&self) -> Self {
        Self::new(self.stream.clone())
    }

    /// Goes to the live edge.
    pub(crate) fn skip(&mut self) {
        self.position = self.stream.with_state(|state| state.ring.head());
    }

    /// Tells the stream from others, also from a later one of the same name.
    pub(crate) fn is_same_stream(&self, other: &Feed) -> bool {
        Arc::ptr_eq(&self.stream, &other.stream)
    }

    /// Waits for frames of the kind waited for, or the end.
    pub(crate) async fn news(&mut self, wake_for: WakeFor) {
        poll_fn(|cx| self.poll_news(cx, wake_for)).await;
    }

    fn poll_news(&mut self, cx: &mut Context<'_>, wake_for: WakeFor) -> Poll<()> {
        let Self { stream, position, registered } = self;
        stream.with_state(|state| {
            let is_news = match wake_for {
                WakeFor::Any => state.ring.head() > *position,
                WakeFor::Video => state.ring.has_video_from(*position),
            };
            if is_news || state.end_at(*position).is_some() {
                return Poll::Ready(());
            }
            state.waiters.register(registered, wake_for, cx.waker());
            Poll::Pending
        })
    }

    /// The sequence number after the newest frame.
    pub(crate) fn edge(&self) -> u64 {
        self.stream.with_state(|state| state.ring.head())
    }

    /// Takes the next frames before sequence number `until`, and until their payloads pass `max_bytes`. Where the
    /// position has fallen off the ring it goes on at the oldest frame. False = the stream has ended, and everything
    /// has been taken.
    pub(crate) fn take(&mut self, until: u64, max_bytes: usize, batch: &mut Batch) -> bool {
        batch.frames.clear();
        batch.has_video = false;
        let Self { stream, position, .. } = self;
        stream.with_state(|state| {
            *position = (*position).max(state.ring.first());
            batch.from = *position;
            batch.main = state.main_ids();
            let mut bytes = 0;
            while *position < until
                && bytes < max_bytes
                && let Some(frame) = state.ring.get(*position)
            {
                bytes += frame.payload.len();
                batch.has_video |= frame.kind == FrameKind::Video && !frame.is_config();
                batch.frames.push(frame.clone());
                *position += 1;
            }
            batch.to = *position;
            state.end_at(*position).is_none() || !batch.frames.is_empty()
        })
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        let Self { stream, registered, .. } = self;
        stream.with_state(|state| state.waiters.unregister(registered));
    }
}
