//! How many lines of the log peers can cause. What is held back is counted, and told.

use crate::address::{Account, ByAddress};
use crate::budget::{Budget, Rate};
use parking_lot::Mutex;
use std::net::IpAddr;
use std::time::Duration;
use tokio::time::Instant;
use tracing::Level;
use tracing::level_filters::LevelFilter;

/// Log lines about the peers of one address: 60 in any second. There are 100 with all others that it can cause, about
/// connections that end before they were granted anything, and about lines left out.
const OF_ADDRESS: Rate = Rate::new(30, Duration::from_secs(1));

/// How many lines alike were left out before this one, for a log that says so only where there are some.
pub(crate) fn left_out(count: u64) -> Option<u64> {
    (count > 0).then_some(count)
}

#[derive(Debug, Default)]
struct Lines {
    budget: Budget,
    held_back: u64,
}

impl Lines {
    fn allow(&mut self, rate: Rate, now: Instant) -> Option<u64> {
        if !self.budget.spend(rate, 1, now) {
            self.held_back = self.held_back.saturating_add(1);
            return None;
        }
        Some(std::mem::take(&mut self.held_back))
    }

    /// How many are held back, where that may be told now; `at_once` it always may.
    fn take_left_out(&mut self, rate: Rate, now: Instant, at_once: bool) -> Option<u64> {
        let may_tell = self.held_back > 0 && (at_once || self.budget.spend(rate, 1, now));
        may_tell.then(|| std::mem::take(&mut self.held_back))
    }
}

impl Account for Lines {
    fn is_settled(&self, now: Instant) -> bool {
        self.held_back == 0 && self.budget.is_full(now)
    }
}

/// Lets so many log lines through, and counts those it holds back.
#[derive(Debug)]
pub(crate) struct LogLimit {
    rate: Rate,
    lines: Mutex<Lines>,
}

impl LogLimit {
    pub(crate) fn new(rate: Rate) -> Self {
        Self { rate, lines: Mutex::default() }
    }

    /// `Some(lines held back since the last one)` where a line may be written now.
    pub(crate) fn allow(&self) -> Option<u64> {
        self.lines.lock().allow(self.rate, Instant::now())
    }

    /// Logs how many lines about `what` are held back and have not been told with a later one; where the limit allows that,
    /// or `at_once`.
    pub(crate) fn tell_left_out(&self, what: &str, at_once: bool) {
        let left_out = self.lines.lock().take_left_out(self.rate, Instant::now(), at_once);
        if let Some(left_out) = left_out {
            tracing::warn!(left_out, "lines left out: {what}");
        }
    }
}

/// The same for each address: lines about what its peers are granted and refused, whatever they do and over however many
/// connections.
#[derive(Debug, Default)]
pub(crate) struct PeerLog {
    lines: Mutex<ByAddress<Lines>>,
}

impl PeerLog {
    /// `Some(`[`left_out`]`)` where a line about a peer may be written now. Lines that nobody wants to see are not counted.
    pub(crate) fn allow(&self, peer: IpAddr, level: Level) -> Option<Option<u64>> {
        if level > LevelFilter::current() {
            return None;
        }
        let now = Instant::now();
        self.lines.lock().of(peer, now).allow(OF_ADDRESS, now).map(left_out)
    }

    /// As [`LogLimit::tell_left_out`], for all addresses: to be called now and then, as an address may have gone quiet.
    pub(crate) fn tell_left_out(&self, at_once: bool) {
        let now = Instant::now();
        let mut lines = self.lines.lock();
        let told = lines
            .all()
            .filter_map(|(address, lines)| Some((address, lines.take_left_out(OF_ADDRESS, now, at_once)?)));
        let told: Vec<_> = told.collect();
        drop(lines);
        for (address, left_out) in told {
            let address = address.map_or_else(|| "many".to_owned(), |address| address.to_string());
            tracing::warn!(address, left_out, "lines left out: about peers of this address");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    /// How many of so many lines are written, and how many others were told to be left out.
    fn write(log: &PeerLog, tries: usize) -> (usize, u64) {
        let mut lines = log.lines.lock();
        let now = Instant::now();
        let allowed = (0..tries).filter_map(|_| lines.of(PEER, now).allow(OF_ADDRESS, now));
        allowed.fold((0, 0), |(lines, left_out), more| (lines + 1, left_out + more))
    }

    #[tokio::test(start_paused = true)]
    async fn w5_an_address_causes_so_many_lines_in_any_second_and_the_rest_is_counted() {
        let log = PeerLog::default();
        let (mut written, mut left_out, mut in_second) = (0, 0, 0);
        for tick in 0..50 {
            let (lines, more) = write(&log, 1_000);
            (written, left_out) = (written + lines, left_out + more);
            in_second = if tick % 10 == 0 { lines } else { in_second + lines };
            assert!(in_second <= 60, "{in_second} lines in a second");
            tokio::time::advance(Duration::from_millis(100)).await;
        }
        let held_back = log.lines.lock().of(PEER, Instant::now()).held_back;
        assert_eq!(written as u64 + left_out + held_back, 50_000, "none is missing");
    }

    #[tokio::test(start_paused = true)]
    async fn w5_what_is_held_back_is_told_when_the_address_has_gone_quiet_and_at_the_end() {
        let log = PeerLog::default();
        let held_back = || log.lines.lock().of(PEER, Instant::now()).held_back;
        write(&log, 100);
        log.tell_left_out(false);
        assert_eq!(held_back(), 70, "within the limit");
        tokio::time::advance(Duration::from_secs(1)).await;
        log.tell_left_out(false);
        assert_eq!(held_back(), 0, "told");
        write(&log, 100);
        log.tell_left_out(true);
        assert_eq!(held_back(), 0, "told at the end, whatever the limit");
    }

    #[tokio::test(start_paused = true)]
    async fn one_address_does_not_hold_back_lines_about_another() {
        let log = PeerLog::default();
        write(&log, 1_000);
        let other = IpAddr::from([192, 0, 2, 2]);
        let now = Instant::now();
        assert_eq!(log.lines.lock().of(other, now).allow(OF_ADDRESS, now), Some(0));
    }

    #[tokio::test(start_paused = true)]
    async fn repeated_log_lines_are_held_back_and_counted() {
        let limit = LogLimit::new(Rate::new(2, Duration::from_secs(1)));
        assert_eq!(limit.allow(), Some(0));
        assert_eq!(limit.allow(), Some(0));
        assert_eq!(limit.allow(), None);
        assert_eq!(limit.allow(), None);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(limit.allow(), Some(2));
        assert_eq!(limit.allow(), Some(0));
        assert_eq!(limit.allow(), None);
    }
}
