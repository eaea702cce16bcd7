//! The programme's clock: when packets tell it.

use super::packets::Reference;
use super::{DELAY, LEAD};

/// Longest time between two references in 90 kHz (H.222.0 2.7.2).
const PERIOD: i64 = 9_000;

bound! {
    /// Longest time without a frame, in 90 kHz, that is filled with references: where more is between two frames, time has
    /// jumped (test `a_jump_in_time_is_not_filled_with_clock_references`).
    const MAX_SILENCE: i64 = 10 * 90_000, without i64::MAX;
}

/// What has been told of the time.
#[derive(Debug, Default)]
pub(super) struct Clock {
    last: Option<i64>,
    /// The next one has nothing to do with the last.
    is_new: bool,
}

impl Clock {
    /// From here on it is another time.
    pub(super) fn renew(&mut self) {
        *self = Self { last: None, is_new: true };
    }

    /// References alone that must come before something of time `at`, so that none is missed; where `tells`, it has
    /// one itself.
    pub(super) fn before(&mut self, at: i64, tells: bool) -> Before {
        let jump = |last: i64| at.saturating_sub(last) > MAX_SILENCE.get() || last.saturating_sub(at) > LEAD;
        if self.last.is_some_and(jump) {
            self.renew();
        }
        let next = self.last.map_or(at, |last| last.saturating_add(PERIOD));
        // One at the very time is for what comes then to tell.
        let until = if self.last.is_none() && !tells { at.saturating_add(1) } else { at };
        Before { next, until }
    }

    /// The time at `at`, which never goes back but where it is new.
    pub(super) fn tell(&mut self, at: i64) -> Reference {
        let at = self.last.map_or(at, |last| last.max(at));
        self.last = Some(at);
        Reference { at: at.saturating_add(DELAY), is_new: std::mem::take(&mut self.is_new) }
    }
}

/// Times of references.
#[derive(Debug, Clone, Copy)]
pub(super) struct Before {
    next: i64,
    until: i64,
}

impl Iterator for Before {
    type Item = i64;

    fn next(&mut self) -> Option<i64> {
        let next = self.next;
        self.next = next.saturating_add(PERIOD);
        (next < self.until).then_some(next)
    }
}
