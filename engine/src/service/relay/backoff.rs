//! When a relay that has failed tries again: a pure state machine over given instants and given randomness.
//!
//! ```text
//! lost (no connection, connection broken, stalled):
//!     0.25 s, 0.25 s, 0.5 s, then 1 s in the first 30 s of the outage, then 2, 4, 8, 8, ... s
//! refused (bad key, name taken, connect rejected):
//!     5, 10, 20, 30, 30, ... s
//! either, at a target with times of its own:
//!     the first, doubled up to the longest
//! ```
//!
//! Jitter shortens the first kind (a target that listens again must see us within 1 s) and lengthens the others
//! (a server that refuses must not be asked more than 12 times a minute).

use crate::config::RetryTimes;
use crate::limits::ms;
use std::time::Duration;
use tokio::time::Instant;

/// An outage this long is worth slower tries.
const LONG_OUTAGE: Duration = Duration::from_secs(30);
bound! {
    /// Success must last this long to end an outage; a target that accepts and drops at once stays in it
    /// (test `f28_an_outage_ends_only_when_media_flowed_for_a_while`).
    pub(crate) const STABLE: Duration = Duration::from_secs(5), without Duration::ZERO;
}

/// Waits after losses, in the first part of an outage and later, and after refusals.
const AT_FIRST: RetryTimes = RetryTimes { min_ms: 250, max_ms: 1000 };
const LATER: RetryTimes = RetryTimes { min_ms: 2000, max_ms: 8000 };
const REFUSED: RetryTimes = RetryTimes { min_ms: 5000, max_ms: 30_000 };

/// The part of a wait that jitter takes away or adds at the most.
const SHORTENED: f64 = -0.3;
const LENGTHENED: f64 = 0.2;

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
    /// Failures of either kind in the outage.
    failures: u32,
    losses: u32,
    losses_when_long: u32,
    /// Refusals one after the other.
    refusals: u32,
}

/// A wait without its jitter.
struct Wait {
    times: RetryTimes,
    doublings: u32,
    /// [`SHORTENED`] or [`LENGTHENED`].
    spread: f64,
}

impl Backoff {
    /// How long to wait after an attempt that ended at `now`: by the target's own times where it has some, which may
    /// change from one failure to the next. `jitter` is a random number from 0 to 1.
    pub(crate) fn after(
        &mut self,
        failure: Failure,
        own: Option<RetryTimes>,
        now: Instant,
        jitter: f64,
    ) -> Duration {
        let since = *self.outage_since.get_or_insert(now);
        let outage = now.saturating_duration_since(since);
        let earlier_failures = count(&mut self.failures);
        let usual = match failure {
            Failure::Lost => self.after_loss(outage),
            Failure::Refused => self.after_refusal(),
        };
        let by_own = |times| Wait { times, doublings: earlier_failures, spread: LENGTHENED };
        own.map_or(usual, by_own).jittered(jitter)
    }

    fn after_loss(&mut self, outage: Duration) -> Wait {
        self.refusals = 0;
        let earlier = count(&mut self.losses);
        match outage >= LONG_OUTAGE {
            true => Wait { times: LATER, doublings: count(&mut self.losses_when_long), spread: SHORTENED },
            // The first wait comes twice.
            false => Wait { times: AT_FIRST, doublings: earlier.saturating_sub(1), spread: SHORTENED },
        }
    }

    fn after_refusal(&mut self) -> Wait {
        Wait { times: REFUSED, doublings: count(&mut self.refusals), spread: LENGTHENED }
    }

    /// Failures since media last flowed for long enough.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// Media flowed for `lasted` before the attempt ended: ends the outage if that was long enough.
    pub(crate) fn flowed(&mut self, lasted: Duration) {
        if lasted >= STABLE.get() {
            *self = Self::default();
        }
    }
}

/// Counts one more; how many there were before.
fn count(counter: &mut u32) -> u32 {
    let before = *counter;
    *counter = before.saturating_add(1);
    before
}

impl Wait {
    fn jittered(&self, jitter: f64) -> Duration {
        let Self { times, doublings, spread } = *self;
        let factor = 1_u64.checked_shl(doublings).unwrap_or(u64::MAX);
        let wait = ms(times.min_ms.saturating_mul(factor).min(times.max_ms));
        wait.mul_f64(1.0 + spread * jitter.clamp(0.0, 1.0)).min(ms(times.max_ms.max(times.min_ms)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits of `tries` attempts that each fail after `attempt`.
    fn waits(failure: Failure, jitter: f64, attempt: Duration, tries: usize) -> Vec<Duration> {
        let mut backoff = Backoff::default();
        let mut now = Instant::now();
        let step = |_| {
            let wait = backoff.after(failure, None, now, jitter);
            now += wait + attempt;
            wait
        };
        (0..tries).map(step).collect()
    }

    const OWN: RetryTimes = RetryTimes { min_ms: 100, max_ms: 700 };

    /// Milliseconds of the waits by [`OWN`] after these failures, which follow each other at once.
    fn own_waits(failures: &[Failure], jitter: f64) -> Vec<u128> {
        let (mut backoff, now) = (Backoff::default(), Instant::now());
        let wait = |&failure| backoff.after(failure, Some(OWN), now, jitter).as_millis();
        failures.iter().map(wait).collect()
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
            backoff.after(Failure::Lost, None, now, 0.0);
        }
        backoff.flowed(Duration::from_millis(100));
        assert_eq!(backoff.after(Failure::Lost, None, now, 0.0), Duration::from_secs(1));
        backoff.flowed(Duration::from_secs(6));
        assert_eq!(backoff.after(Failure::Lost, None, now, 0.0), Duration::from_millis(250));
    }

    #[test]
    fn own_times_are_doubled_up_to_the_longest_whatever_the_failures_are() {
        use Failure::{Lost, Refused};
        assert_eq!(own_waits(&[Lost; 5], 0.0), [100, 200, 400, 700, 700]);
        assert_eq!(own_waits(&[Refused; 5], 0.0), [100, 200, 400, 700, 700]);
        assert_eq!(own_waits(&[Refused, Lost, Refused, Lost], 0.0), [100, 200, 400, 700]);
    }

    #[test]
    fn jitter_lengthens_own_times_by_a_fifth_and_not_beyond_the_longest() {
        assert_eq!(own_waits(&[Failure::Lost; 5], 1.0), [120, 240, 480, 700, 700]);
        assert_eq!(own_waits(&[Failure::Lost; 5], 0.5), [110, 220, 440, 700, 700]);
        assert_eq!(own_waits(&[Failure::Lost; 2], 7.0), [120, 240], "more than all of it");
        assert_eq!(own_waits(&[Failure::Lost; 2], -7.0), [100, 200]);
    }

    #[test]
    fn own_times_stay_at_the_longest_however_many_failures_there_were() {
        let (now, forever) = (Instant::now(), RetryTimes { min_ms: 1, max_ms: u64::MAX });
        for earlier in [63, 64, 65, u32::MAX] {
            let mut backoff = Backoff { failures: earlier, ..Default::default() };
            assert_eq!(backoff.after(Failure::Lost, Some(OWN), now, 1.0), ms(700));
            if earlier > 63 {
                assert_eq!(backoff.after(Failure::Refused, Some(forever), now, 1.0), ms(u64::MAX));
            }
        }
        assert_eq!(own_waits(&[Failure::Lost; 200], 1.0)[199], 700);
    }

    #[test]
    fn own_times_start_anew_when_media_has_flowed_and_hold_from_the_next_failure_when_changed() {
        let (mut backoff, now) = (Backoff::default(), Instant::now());
        let wait = |backoff: &mut Backoff, own| backoff.after(Failure::Lost, own, now, 0.0);
        assert_eq!(wait(&mut backoff, None), ms(250));
        assert_eq!(wait(&mut backoff, Some(OWN)), ms(200), "the second failure");
        assert_eq!(wait(&mut backoff, None), ms(500), "the third");
        backoff.flowed(STABLE.stated());
        assert_eq!(wait(&mut backoff, Some(OWN)), ms(100));
    }
}
