//! When a broken relay tries again: a pure state machine over given instants and given randomness.
//!
//! ```text
//! lost (no connection, connection broken, stalled):
//!     0.25 s, 0.25 s, 0.5 s, then 1 s in the first 30 s of the outage, then 2, 4, 8, 8, ... s
//! refused (bad key, name taken, connect rejected):
//!     5, 10, 20, 30, 30, ... s
//! ```
//!
//! Jitter shortens the first kind (a target that listens again must see us within 1 s) and lengthens the second
//! (a server that refuses must not be asked more than 12 times a minute).

use crate::config::RetryTimes;
use crate::limits::ms;
use std::time::Duration;
use tokio::time::Instant;

/// An outage this long is worth slower tries.
const LONG_OUTAGE: Duration = Duration::from_secs(30);
/// Success must last this long to end an outage; a target that accepts and drops at once stays in it.
pub(crate) const STABLE: Duration = Duration::from_secs(5);

/// Why an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The peer could not be reached, was lost, stalled or broke the protocol.
    Lost,
    /// The peer answered and refused.
    Refused,
}

/// The tries of one relay.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    /// Start of the present outage: its first failure.
    outage_since: Option<Instant>,
    losses: u32,
    losses_when_long: u32,
    refusals: u32,
}

impl Backoff {
    /// How long to wait after an attempt that ended at `now`; `jitter` is a random number from 0 to 1.
    pub(crate) fn after(&mut self, failure: Failure, now: Instant, jitter: f64) -> Duration {
        let since = *self.outage_since.get_or_insert(now);
        let jitter = jitter.clamp(0.0, 1.0);
        match failure {
            Failure::Lost => {
                self.after_loss(now.saturating_duration_since(since)).mul_f64(1.0 - 0.3 * jitter)
            }
            Failure::Refused => self.after_refusal().mul_f64(1.0 + 0.2 * jitter).min(Duration::from_secs(30)),
        }
    }

    fn after_loss(&mut self, outage: Duration) -> Duration {
        self.refusals = 0;
        self.losses = self.losses.saturating_add(1);
        if outage >= LONG_OUTAGE {
            self.losses_when_long = self.losses_when_long.saturating_add(1);
        }
        match (self.losses_when_long, self.losses) {
            (0, 0..=2) => Duration::from_millis(250),
            (0, 3) => Duration::from_millis(500),
            (0, _) => Duration::from_secs(1),
            (1, _) => Duration::from_secs(2),
            (2, _) => Duration::from_secs(4),
            _ => Duration::from_secs(8),
        }
    }

    fn after_refusal(&mut self) -> Duration {
        self.refusals = self.refusals.saturating_add(1);
        Duration::from_secs(match self.refusals {
            1 => 5,
            2 => 10,
            3 => 20,
            _ => 30,
        })
    }

    /// Media flowed for `lasted` before the attempt ended: ends the outage if that was long enough.
    pub(crate) fn flowed(&mut self, lasted: Duration) {
        if lasted >= STABLE {
            *self = Self::default();
        }
    }
}

/// The wait after failure number `doublings` (from 0) of a target with times of its own; jitter lengthens it.
pub(crate) fn doubled(times: RetryTimes, doublings: u32, jitter: f64) -> Duration {
    let factor = 1_u64.checked_shl(doublings).unwrap_or(u64::MAX);
    let wait = ms(times.min_ms.saturating_mul(factor).min(times.max_ms));
    wait.mul_f64(1.0 + 0.2 * jitter.clamp(0.0, 1.0)).min(ms(times.max_ms.max(times.min_ms)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits of `tries` attempts that each fail after `attempt`.
    fn waits(failure: Failure, jitter: f64, attempt: Duration, tries: usize) -> Vec<Duration> {
        let mut backoff = Backoff::default();
        let mut now = Instant::now();
        let step = |_| {
            let wait = backoff.after(failure, now, jitter);
            now += wait + attempt;
            wait
        };
        (0..tries).map(step).collect()
    }

    #[test]
    fn f28_waits_grow_from_a_quarter_second_to_one_in_the_first_30_s_and_then_to_eight() {
        let waits = waits(Failure::Lost, 0.0, Duration::ZERO, 40);
        let ms: Vec<_> = waits.iter().map(|w| w.as_millis()).collect();
        assert_eq!(ms[..5], [250, 250, 500, 1000, 1000]);
        let mut outage = 0;
        let quick = ms.iter().take_while(|&&ms| ms <= 1000).map(|ms| outage += ms).count();
        assert!((30_000..31_500).contains(&outage), "1 s waits for {outage} ms");
        assert_eq!(ms[quick..quick + 4], [2000, 4000, 8000, 8000]);
    }

    #[test]
    fn f28_jitter_never_lengthens_a_wait_after_a_loss() {
        for (plain, jittered) in waits(Failure::Lost, 0.0, Duration::ZERO, 60)
            .iter()
            .zip(waits(Failure::Lost, 1.0, Duration::ZERO, 60))
            .take(30)
        {
            assert!(jittered < *plain && jittered >= plain.mul_f64(0.7), "{plain:?} {jittered:?}");
        }
    }

    #[test]
    fn f30_a_refusing_server_is_asked_at_most_12_times_a_minute() {
        for jitter in [0.0, 0.5, 1.0] {
            let waits = waits(Failure::Refused, jitter, Duration::ZERO, 20);
            let limits = Duration::from_secs(5)..=Duration::from_secs(30);
            assert!(waits.iter().all(|wait| limits.contains(wait)), "{waits:?}");
            let mut total = Duration::ZERO;
            let tries = waits
                .iter()
                .take_while(|wait| {
                    total += **wait;
                    total < Duration::from_secs(60)
                })
                .count();
            assert!(tries < 12, "{tries}");
        }
    }

    #[test]
    fn f31_slow_failing_connects_count_as_outage_time() {
        let waits = waits(Failure::Lost, 0.0, Duration::from_secs(40), 4);
        assert_eq!(waits, [0.25, 2.0, 4.0, 8.0].map(Duration::from_secs_f64));
    }

    #[test]
    fn f28_an_outage_ends_only_when_media_flowed_for_a_while() {
        let mut backoff = Backoff::default();
        let now = Instant::now();
        for _ in 0..4 {
            backoff.after(Failure::Lost, now, 0.0);
        }
        backoff.flowed(Duration::from_millis(100));
        assert_eq!(backoff.after(Failure::Lost, now, 0.0), Duration::from_secs(1));
        backoff.flowed(Duration::from_secs(6));
        assert_eq!(backoff.after(Failure::Lost, now, 0.0), Duration::from_millis(250));
    }
}
