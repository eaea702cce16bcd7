//! How fast a peer may send: bytes and messages of its connection, whatever they are.
//!
//! Who publishes, and who is pulled from, is let in for good and may send what it likes, so only a rate bounds what it
//! costs the others. A rate alone would cut honest peers: an encoder whose network has stalled sends all that it has
//! kept, a server begins with a whole group of pictures, a short file may come at once. So the budget of
//! [`PATIENCE`] may go in one burst, and only what keeps on coming faster than the limit is ended: at twice the limit
//! after [`PATIENCE`], at line rate sooner.

use crate::Limits;
use crate::budget::{Budget, Rate};
use crate::proto::Received;
use std::fmt;
use std::time::Duration;
use tokio::time::Instant;

/// So much of the limit may come at once.
const PATIENCE: Duration = Duration::from_secs(5);
/// The part of the limit above which it is worth a warning, and how much of that may come at once: a stream that stays
/// below does not get one for a burst.
const WARNING_PART: u64 = 4;
const WARNING_PATIENCE: Duration = Duration::from_secs(10);
/// Looks at the clock in a second at the limit: no more are needed to judge, and most peers make one in seconds.
const LOOKS: u64 = 64;

/// What a peer has sent and may send. Costs nothing but two numbers until the peer has sent something.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    seen: Received,
    meters: Option<Box<Meters>>,
}

#[derive(Debug)]
struct Meters {
    bytes: Meter,
    messages: Meter,
    /// Whether there has been a warning: one is enough.
    has_warned: bool,
}

/// What is to be done about a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    /// Nothing.
    Fine,
    /// It sends more than anybody expects: the log may tell, once.
    Fast(Speed),
    /// It sends more than it may, and has for long enough.
    TooFast(Speed),
}

/// What a peer has sent in a second, in the mean since it was last within bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Speed {
    unit: Unit,
    limit: u64,
    measured: u64,
}

/// What is counted. Bits are counted in bytes, and told in thousands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Unit {
    Bytes,
    Messages,
    Bits,
}

/// Bytes in a second for each kbit/s.
const PER_KBPS: u64 = 125;

impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { unit, limit, measured } = self;
        match unit {
            Unit::Bytes => write!(f, "{measured} bytes/s; limits.publisher_bytes_per_s is {limit}"),
            Unit::Messages => write!(f, "{measured} messages/s; limits.publisher_messages_per_s is {limit}"),
            Unit::Bits => {
                let (measured, limit) = (measured / PER_KBPS, limit / PER_KBPS);
                write!(f, "the stream has {measured} kbit/s; it may have {limit} (max_kbps)")
            }
        }
    }
}

impl Speed {
    /// Why a peer is ended.
    pub(crate) fn words(&self) -> String {
        format!("sends too fast: {self} (a file has to be sent at its own pace: ffmpeg -re)")
    }
}

impl Pace {
    /// Judges a peer by all that has been received from it. Cheap: looks at the clock when much has come only.
    pub(crate) fn look(&mut self, received: Received, limits: &Limits) -> Verdict {
        let bytes = received.bytes.saturating_sub(self.seen.bytes);
        let messages = received.messages.saturating_sub(self.seen.messages);
        if bytes < limits.publisher_bytes_per_s / LOOKS && messages < limits.publisher_messages_per_s / LOOKS
        {
            return Verdict::Fine;
        }
        self.seen = received;
        let now = Instant::now();
        self.meters.get_or_insert_with(|| Box::new(Meters::new(limits, now))).charge(bytes, messages, now)
    }
}

impl Meters {
    fn new(limits: &Limits, now: Instant) -> Self {
        Self {
            bytes: Meter::of_connection(Unit::Bytes, limits.publisher_bytes_per_s, now),
            messages: Meter::of_connection(Unit::Messages, limits.publisher_messages_per_s, now),
            has_warned: false,
        }
    }

    fn charge(&mut self, bytes: u64, messages: u64, now: Instant) -> Verdict {
        let verdict = self.bytes.charge(bytes, now).max(self.messages.charge(messages, now));
        verdict.once(&mut self.has_warned)
    }
}

impl Verdict {
    /// Itself, but for a warning after the first.
    fn once(self, has_warned: &mut bool) -> Self {
        match self {
            Self::Fast(_) if *has_warned => Self::Fine,
            verdict => {
                *has_warned |= verdict != Self::Fine;
                verdict
            }
        }
    }
}

/// How much a publisher sends whose stream may have so many kbit/s.
pub(crate) struct BitRate {
    meter: Box<Meter>,
    has_warned: bool,
}

/// So much of what a stream may have may come at once, with a warning from the first on.
const BIT_RATE_WARNING: Duration = Duration::from_secs(5);
const BIT_RATE_PATIENCE: Duration = Duration::from_secs(15);

impl BitRate {
    pub(crate) fn new(max_kbps: u64) -> Self {
        let (limit, now) = (max_kbps.saturating_mul(PER_KBPS), Instant::now());
        let may_send = over(limit, BIT_RATE_PATIENCE, 1);
        let meter = Meter::new(Unit::Bits, limit, may_send, over(limit, BIT_RATE_WARNING, 1), now);
        Self { meter: Box::new(meter), has_warned: false }
    }

    /// Judges a publisher that sends so many bytes more.
    pub(crate) fn look(&mut self, bytes: usize, now: Instant) -> Verdict {
        self.meter.charge(bytes as u64, now).once(&mut self.has_warned)
    }
}

/// What comes together of a part of `limit` in a time.
fn over(limit: u64, time: Duration, part: u64) -> Rate {
    Rate::new(limit.saturating_mul(time.as_secs()) / part, time)
}

/// Two budgets of one unit, and what has been spent since they were full.
#[derive(Debug)]
struct Meter {
    unit: Unit,
    limit: u64,
    may_send: Rate,
    left: Budget,
    expected: Rate,
    left_of_expected: Budget,
    /// Since when it has been sending faster than expected, and how much.
    since: Instant,
    sent: u64,
}

impl Meter {
    fn of_connection(unit: Unit, limit: u64, now: Instant) -> Self {
        Self::new(unit, limit, over(limit, PATIENCE, 1), over(limit, WARNING_PATIENCE, WARNING_PART), now)
    }

    fn new(unit: Unit, limit: u64, may_send: Rate, expected: Rate, now: Instant) -> Self {
        let (left, left_of_expected) = (Budget::default(), Budget::default());
        Self { unit, limit, may_send, left, expected, left_of_expected, since: now, sent: 0 }
    }

    fn charge(&mut self, amount: u64, now: Instant) -> Verdict {
        if self.left_of_expected.is_full(now) {
            (self.since, self.sent) = (now, 0);
        }
        self.sent = self.sent.saturating_add(amount);
        let is_expected = self.left_of_expected.spend(self.expected, amount, now);
        match self.left.spend(self.may_send, amount, now) {
            false => Verdict::TooFast(self.speed(now)),
            true if !is_expected => Verdict::Fast(self.speed(now)),
            true => Verdict::Fine,
        }
    }

    /// What came at once is told as if it had come within a second.
    fn speed(&self, now: Instant) -> Speed {
        let millis = u64::try_from((now - self.since).as_millis()).unwrap_or(u64::MAX).max(1_000);
        Speed { unit: self.unit, limit: self.limit, measured: self.sent.saturating_mul(1_000) / millis }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    const MS: Duration = Duration::from_millis(1);
    /// Bytes in a millisecond of a stream of one megabit a second.
    const MEGABIT: u64 = 125;

    /// A peer and what it has sent.
    #[derive(Default)]
    struct Peer {
        pace: Pace,
        sent: Received,
        limits: Limits,
    }

    impl Peer {
        fn send(&mut self, bytes: u64, messages: u64) -> Verdict {
            self.sent.bytes += bytes;
            self.sent.messages += messages;
            self.pace.look(self.sent, &self.limits)
        }

        /// Sends so much in each ten milliseconds of `time`; when, in milliseconds, the first verdict of each kind came.
        async fn keep_sending(
            &mut self,
            bytes: u64,
            messages: u64,
            time: Duration,
        ) -> (Option<u64>, Option<u64>) {
            let (start, mut warned, mut ended) = (Instant::now(), None, None);
            while start.elapsed() < time && ended.is_none() {
                let at = Some(start.elapsed().as_millis() as u64);
                match self.send(bytes, messages) {
                    Verdict::Fine => {}
                    Verdict::Fast(_) => {
                        assert_eq!(warned, None, "one warning is enough");
                        warned = at;
                    }
                    Verdict::TooFast(_) => ended = at,
                }
                advance(10 * MS).await;
            }
            (warned, ended)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn f18_twice_the_limit_is_ended_after_5_seconds_and_line_rate_sooner_after_a_warning() {
        for (megabits, within) in [(400, 4_900..5_100), (1_000, 1_200..1_300), (10_000, 0..200)] {
            let seen = Peer::default().keep_sending(megabits * 10 * MEGABIT, 1, 20_000 * MS).await;
            let (Some(warned), Some(ended)) = seen else { panic!("{megabits} Mb/s: {seen:?}") };
            assert!(within.contains(&ended) && warned <= ended, "{megabits} Mb/s: {seen:?}");
        }
        for (messages, within) in [(100, 4_900..5_100), (1_000, 200..300)] {
            let seen = Peer::default().keep_sending(0, messages, 20_000 * MS).await;
            let (Some(warned), Some(ended)) = seen else { panic!("{messages} messages: {seen:?}") };
            assert!(within.contains(&ended) && warned <= ended, "{messages} messages: {seen:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_between_the_warning_and_the_limit_gets_one_warning_and_stays() {
        let (warned, ended) = Peer::default().keep_sending(100 * 10 * MEGABIT, 20, 600_000 * MS).await;
        assert!(
            warned.is_some_and(|at| (9_500..10_500).contains(&at)) && ended.is_none(),
            "{warned:?} {ended:?}"
        );
        let (warned, ended) = Peer::default().keep_sending(6 * 10 * MEGABIT, 20, 600_000 * MS).await;
        assert!(
            warned.is_some_and(|at| (11_000..17_000).contains(&at)) && ended.is_none(),
            "{warned:?} {ended:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_encoders_send_gets_no_warning() {
        // 120 frames a second with eight tracks of audio, at the rates of streams and of a contribution link.
        for megabits in [6, 20, 49] {
            let seen = Peer::default().keep_sending(megabits * 10 * MEGABIT, 5, 600_000 * MS).await;
            assert_eq!(seen, (None, None), "{megabits} Mb/s");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_encoder_that_sends_10_seconds_of_50_megabits_after_a_stall_is_not_ended() {
        let mut peer = Peer::default();
        for _ in 0..10 {
            assert_eq!(peer.keep_sending(50 * 10 * MEGABIT, 5, 20_000 * MS).await.1, None);
            advance(10_000 * MS).await;
            // As fast as a read after the other brings it in.
            for _ in 0..1_000 {
                assert!(!matches!(peer.send(50 * 10 * MEGABIT, 5), Verdict::TooFast(_)));
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_whole_ring_or_group_of_pictures_at_once_gets_no_warning() {
        let mut peer = Peer::default();
        let Limits { ring_bytes, ring_frames, .. } = peer.limits;
        assert_eq!(peer.send(ring_bytes as u64, ring_frames as u64), Verdict::Fine);
    }

    #[tokio::test(start_paused = true)]
    async fn f18_no_pattern_below_the_limit_is_ended_however_it_is_bunched() {
        let mut random = 1_u64;
        let mut below = move |end: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % end
        };
        for round in 0..200 {
            let mut peer = Peer::default();
            // A multiple of what one read and one look hold, so that bunches are cut anywhere.
            peer.limits.publisher_bytes_per_s = 1_000 + below(100_000_000);
            peer.limits.publisher_messages_per_s = 10 + below(10_000);
            let (per_byte, per_message) =
                (peer.limits.publisher_bytes_per_s, peer.limits.publisher_messages_per_s);
            for _ in 0..200 {
                // What comes together in a pause of up to 4.5 s, some of it not sent, comes in pieces of any size.
                let pause = below(4_500);
                advance(pause as u32 * MS).await;
                let (mut bytes, mut messages) =
                    (per_byte * below(pause + 1) / 1_000, per_message * below(pause + 1) / 1_000);
                while bytes + messages > 0 {
                    let (some, few) =
                        (below(bytes + 1).max(bytes.min(1_000)), below(messages + 1).max(messages.min(1)));
                    assert!(
                        !matches!(peer.send(some, few), Verdict::TooFast(_)),
                        "round {round}: {:?}",
                        peer.limits
                    );
                    (bytes, messages) = (bytes - some, messages - few);
                }
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_told_names_the_limit_and_the_measured_rate() {
        let mut peer = Peer::default();
        let mut told = Vec::new();
        while told.len() < 2 {
            match peer.send(1_000 * 10 * MEGABIT, 10) {
                Verdict::Fine => {}
                Verdict::Fast(speed) => told.push(speed.to_string()),
                Verdict::TooFast(speed) => told.push(speed.words()),
            }
            advance(10 * MS).await;
        }
        assert!(told[0].ends_with("bytes/s; limits.publisher_bytes_per_s is 25000000"), "{told:?}");
        let rate: u64 = told[1].split(' ').nth(3).unwrap().parse().unwrap();
        assert!((120_000_000..130_000_000).contains(&rate) && told[1].contains("ffmpeg -re"), "{told:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_smallest_and_the_largest_limit_do_what_they_say() {
        let mut peer = Peer::default();
        (peer.limits.publisher_bytes_per_s, peer.limits.publisher_messages_per_s) = (1, 1);
        assert!(matches!(peer.send(6, 1), Verdict::TooFast(_)));
        let mut peer = Peer::default();
        (peer.limits.publisher_bytes_per_s, peer.limits.publisher_messages_per_s) = (1 << 40, 1 << 40);
        assert_eq!(peer.send(1 << 40, 1 << 40), Verdict::Fine);
    }
}
