//! What the publisher of a stream decides about its readers.

use super::{State, Stream};
use crate::hub::Backlog;
use crate::hub::ring::JoinHeaders;
use crate::limits::ms;
use crate::policy::{StartAt, StreamPolicy};
use std::time::Duration;
use tokio::time::Instant;

bound! {
    /// Where neither app nor publisher says how long players wait for a keyframe
    /// (test `a_stream_without_keyframes_is_shown_after_three_seconds`).
    const KEYFRAME_WAIT: Duration = Duration::from_secs(3), without Duration::from_secs(1 << 30);
}

impl StreamPolicy {
    /// Whether readers may not fall as far behind as the ring reaches.
    #[inline]
    fn limits_queue(&self) -> bool {
        self.max_queue_ms.is_some() || self.max_queue_bytes.is_some()
    }

    /// How long players wait for a keyframe where there is none.
    pub(crate) fn keyframe_wait(&self) -> Duration {
        self.keyframe_wait_ms.map_or(KEYFRAME_WAIT.get(), ms)
    }

    pub(crate) fn allows(&self, backlog: Backlog) -> bool {
        self.max_queue_ms.is_none_or(|most| backlog.age <= ms(most))
            && self.max_queue_bytes.is_none_or(|most| backlog.bytes <= most)
    }
}

impl Stream {
    /// Takes over what publisher `id` decides about readers, the rest as it has begun; nothing where it has lost its right.
    pub(super) fn set_policy(&self, id: u64, policy: StreamPolicy) {
        let mut state = self.state.lock();
        if state.phase.publisher(id).is_ok() {
            let published_with = state.phase.request().map(|request| request.policy.clone());
            self.apply(&mut state, policy.or(published_with.unwrap_or_default()));
        }
    }

    pub(super) fn apply(&self, state: &mut State, policy: StreamPolicy) {
        let bytes = policy.ring_bytes.map_or(state.ring_bytes, |bytes| bytes.min(state.ring_bytes));
        state.ring.set_max_bytes(bytes);
        state.policy = policy;
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
        self.ring.newest_start().filter(|&(sequence, ..)| self.may_start_at(sequence))
    }

    /// The oldest frame that came since then from which one can start, unless too much follows it.
    pub(crate) fn old_frame_to_start_at(&self, since: Instant) -> Option<(u64, i64, JoinHeaders)> {
        self.oldest_start(since).filter(|&(sequence, ..)| self.may_start_at(sequence))
    }

    fn may_start_at(&self, sequence: u64) -> bool {
        let bytes = || self.ring.backlog(sequence, Instant::now()).bytes;
        self.policy.max_start_bytes.is_none_or(|most| bytes() <= most)
    }
}
