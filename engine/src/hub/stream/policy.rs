//! What the publisher of a stream decides about its readers.

use super::{State, Stream};
use crate::hub::Backlog;
use crate::hub::ring::JoinHeaders;
use crate::limits::ms;
use crate::policy::StartAt;
use tokio::time::Instant;

/// What the publisher of a stream may decide about its readers, also while it publishes. A new publisher starts with
/// the default again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamPolicy {
    /// Where players start; else as the app's policy says.
    pub start: Option<StartAt>,
    /// Most payload bytes, from the newest keyframe on, that players start with; where there are more they start at the
    /// live edge.
    pub max_start_bytes: Option<u64>,
    /// How old the next frame of a reader may get, in milliseconds; then it goes on at the newest keyframe, or drops
    /// video until the next one comes. Counts once a reader has caught up after its start. Else the ring is the limit.
    pub max_queue_ms: Option<u64>,
    /// The same for the bytes that a reader has not taken.
    pub max_queue_bytes: Option<u64>,
    /// Bytes that the ring holds, where that is less than [`Limits::ring_bytes`](crate::Limits::ring_bytes).
    pub ring_bytes: Option<usize>,
}

impl StreamPolicy {
    /// Whether readers may not fall as far behind as the ring reaches.
    #[inline]
    fn limits_queue(&self) -> bool {
        self.max_queue_ms.is_some() || self.max_queue_bytes.is_some()
    }

    pub(crate) fn allows(&self, backlog: Backlog) -> bool {
        self.max_queue_ms.is_none_or(|most| backlog.age <= ms(most))
            && self.max_queue_bytes.is_none_or(|most| backlog.bytes <= most)
    }
}

impl Stream {
    /// Takes over what publisher `id` decides about readers; nothing where it has lost its right.
    pub(super) fn set_policy(&self, id: u64, policy: StreamPolicy) {
        let mut state = self.state.lock();
        if state.phase.publisher(id).is_ok() {
            let bytes = policy.ring_bytes.map_or(self.ring_bytes, |bytes| bytes.min(self.ring_bytes));
            state.ring.set_max_bytes(bytes);
            state.policy = policy;
        }
    }

    /// Where the publisher wants players to start.
    pub(crate) fn start(&self) -> Option<StartAt> {
        self.state.lock().policy.start
    }
}

impl State {
    /// Whether a reader at `sequence` is farther behind than the publisher allows.
    #[inline]
    pub(crate) fn is_too_far(&self, sequence: u64) -> bool {
        // The clock is read only where it decides: this is asked for every reader and frame.
        self.policy.limits_queue() && !self.policy.allows(self.ring.backlog(sequence, Instant::now()))
    }

    /// The newest keyframe, unless too much follows it.
    pub(crate) fn keyframe_to_start_at(&self) -> Option<(u64, i64, JoinHeaders)> {
        let is_allowed = |sequence| {
            let bytes = || self.ring.backlog(sequence, Instant::now()).bytes;
            self.policy.max_start_bytes.is_none_or(|most| bytes() <= most)
        };
        self.ring.newest_keyframe().filter(|&(sequence, ..)| is_allowed(sequence))
    }
}
