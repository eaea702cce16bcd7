//! Budgets that fill up again with time: what a peer may cost in a second, with room for a burst.

use crate::limits::ms;
use std::time::Duration;
use tokio::time::Instant;

/// So much in a period: all of it at once where nothing has been spent, and then what comes together again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate {
    amount: u64,
    period: Duration,
}

impl Rate {
    /// At least one in a period, and less than a hundred years of a period.
    pub(crate) const fn new(amount: u64, period: Duration) -> Self {
        Self { amount: if amount == 0 { 1 } else { amount }, period }
    }

    /// The time in which so much comes together.
    fn time_for(&self, amount: u64) -> Duration {
        let nanos = self.period.as_nanos().saturating_mul(amount.into()) / u128::from(self.amount);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)).min(ms(u64::MAX))
    }
}

/// What is left of a budget: full at first. One moment says it all, so that there may be many of them.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Budget {
    /// When it is full again; none while nothing has been spent.
    full_at: Option<Instant>,
}

impl Budget {
    /// Spends `amount`; false where there is less, and then nothing is spent.
    pub(crate) fn spend(&mut self, rate: Rate, amount: u64, now: Instant) -> bool {
        let full_at = self.full_at.map_or(now, |full_at| full_at.max(now)) + rate.time_for(amount);
        let is_enough = full_at - now <= rate.period;
        if is_enough {
            self.full_at = Some(full_at);
        }
        is_enough
    }

    /// Spends `amount` though there may be less; when it will have come together.
    pub(crate) fn borrow(&mut self, rate: Rate, amount: u64, now: Instant) -> Instant {
        let full_at = self.full_at.map_or(now, |full_at| full_at.max(now)) + rate.time_for(amount);
        self.full_at = Some(full_at);
        now + (full_at - now).saturating_sub(rate.period)
    }

    /// Whether `amount` could be spent.
    pub(crate) fn has(mut self, rate: Rate, amount: u64, now: Instant) -> bool {
        self.spend(rate, amount, now)
    }

    /// Whether nothing is missing.
    pub(crate) fn is_full(&self, now: Instant) -> bool {
        self.full_at.is_none_or(|full_at| full_at <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_burst_goes_at_once_and_then_what_comes_together() {
        let (rate, mut budget) = (Rate::new(20, 2 * SECOND), Budget::default());
        let start = Instant::now();
        assert!((0..20).all(|_| budget.spend(rate, 1, start)), "what two seconds bring together");
        assert!(!budget.spend(rate, 1, start));
        assert_eq!((0..20).filter(|_| budget.spend(rate, 1, start + SECOND / 2)).count(), 5);
        assert!(!budget.is_full(start + SECOND) && budget.is_full(start + 4 * SECOND));
        assert!(budget.spend(rate, 20, start + 4 * SECOND), "it is full again, and no more than that");
        assert!(!budget.spend(rate, 1, start + 4 * SECOND));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_refused_costs_nothing() {
        let (rate, now, mut budget) = (Rate::new(100, SECOND), Instant::now(), Budget::default());
        assert!(!budget.spend(rate, 101, now) && !budget.spend(rate, u64::MAX, now));
        assert!(budget.spend(rate, 100, now));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_borrowed_has_to_come_together() {
        let (rate, now, mut budget) = (Rate::new(10, SECOND), Instant::now(), Budget::default());
        assert!(budget.has(rate, 10, now) && budget.is_full(now));
        assert!((0..10).all(|_| budget.borrow(rate, 1, now) == now));
        assert_eq!(budget.borrow(rate, 1, now), now + SECOND / 10);
        assert_eq!(budget.borrow(rate, 1, now + SECOND / 20), now + SECOND / 5, "one after the other");
        assert!(!budget.has(rate, 1, now) && !budget.is_full(now) && budget.is_full(now + 2 * SECOND));
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_of_nothing_is_one_in_its_period() {
        let (rate, now, mut budget) = (Rate::new(0, SECOND), Instant::now(), Budget::default());
        assert!(
            budget.spend(rate, 1, now) && !budget.spend(rate, 1, now) && budget.spend(rate, 1, now + SECOND)
        );
    }
}
