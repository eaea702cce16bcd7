//! Looks at a relay's connection again and again.

use crate::net::Reprieve;
use std::time::Duration;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

/// Ticks, and knows when it has slept for too long itself.
pub(super) struct Watchdog {
    ticks: Interval,
    last: Instant,
    reprieve: Reprieve,
}

impl Watchdog {
    /// One that sees a silence that lasts too long about when it does.
    pub(super) fn of(silence: Duration) -> Self {
        Self::new((silence / 20).max(Duration::from_millis(10)))
    }

    pub(super) fn new(period: Duration) -> Self {
        let mut ticks = interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { ticks, last: Instant::now(), reprieve: Reprieve::default() }
    }

    /// Waits for the next look; whether the peer may be judged by what is seen. Safe to cancel.
    pub(super) async fn look(&mut self) -> bool {
        self.ticks.tick().await;
        let (due, now) = (self.last + self.ticks.period(), Instant::now());
        self.last = now;
        self.reprieve.may_judge(due, now)
    }
}
