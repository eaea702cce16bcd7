//! When what a publisher sends is due: its own clock, anchored where its first frame arrived.
//!
//! Frames keep the distances that the publisher gave them, whatever the network did to them on their way. The anchor is a
//! point of the monotonic clock; the streaming threads turn it into running time, which may stand still meanwhile.

use crate::time::{NANOS_PER_MILLI, nanos};
use gst::glib;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};
use streamengine::media::FrameKind;

/// A publisher's clock this far ahead of its frames' arrival has jumped, or ran too fast for hours.
const JUMP_NS: i64 = 3_000 * NANOS_PER_MILLI;
/// Frames of the other track may still be on the old clock for so long after a jump.
const OLD_CLOCK: Duration = Duration::from_secs(1);
/// Frames that all come late for this long are late for good: the publisher's clock is slow, or its way has become longer.
const LATE_WINDOW: Duration = Duration::from_secs(10);
/// Lateness that is borne even where the element's latency is less.
const LEAST_TOLERANCE_NS: i64 = 100 * NANOS_PER_MILLI;

/// Which clock the time stamps follow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, glib::Enum)]
#[repr(u32)]
#[enum_type(name = "GstRtmpServerSrcTimestampMode")]
pub enum TimestampMode {
    /// The publisher's, from the arrival of its first frame on.
    #[default]
    #[enum_value(name = "The publisher's clock, anchored where its first frame arrives", nick = "publisher")]
    Publisher,
    /// The arrival of each frame.
    #[enum_value(name = "The arrival of each frame", nick = "arrival")]
    Arrival,
}

/// A moment of the pipeline, as a streaming thread sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    /// Counts how often the pipeline has begun to play.
    pub(super) period: u64,
    /// Running time in nanoseconds.
    pub(super) running_time: i64,
    pub(super) instant: Instant,
}

/// A point of a publisher's clock and when it arrived.
#[derive(Debug)]
pub(super) struct Anchor {
    arrival: Instant,
    /// The running time of `arrival`, with the period that it holds for: a pause moves it.
    base: Mutex<Option<(u64, i64)>>,
}

impl Anchor {
    fn new(arrival: Instant) -> Arc<Self> {
        Arc::new(Self { arrival, base: Mutex::default() })
    }

    /// The running time of the anchor in whole milliseconds (of nanoseconds), the same for all streams that ask in a period.
    fn base(&self, now: Now) -> i64 {
        let mut base = self.base.lock();
        match *base {
            Some((period, base)) if period == now.period => base,
            _ => {
                let age = nanos(now.instant.saturating_duration_since(self.arrival));
                let fresh = (now.running_time - age).div_euclid(NANOS_PER_MILLI) * NANOS_PER_MILLI;
                *base = Some((now.period, fresh));
                fresh
            }
        }
    }
}

/// When a frame is due, in times of its publisher.
#[derive(Debug, Clone)]
pub(super) struct Stamp {
    anchor: Arc<Anchor>,
    /// Decoding time after the anchor, in nanoseconds.
    offset: i64,
}

impl Stamp {
    /// The decoding time as running time in nanoseconds; negative where the frame came before the pipeline played.
    pub(super) fn running_time(&self, now: Now) -> i64 {
        self.anchor.base(now).saturating_add(self.offset)
    }
}

/// Where the anchor stands on the publisher's clock.
#[derive(Debug, Clone)]
struct Origin {
    anchor: Arc<Anchor>,
    at: i64,
}

impl Origin {
    fn new(dts: i64, arrival: Instant) -> Self {
        Self { anchor: Anchor::new(arrival), at: dts }
    }

    /// How much earlier than its time a frame has arrived.
    fn ahead(&self, dts: i64, arrival: Instant) -> i64 {
        let since = nanos(arrival.saturating_duration_since(self.anchor.arrival));
        dts.saturating_sub(self.at).saturating_sub(since)
    }

    fn stamp(&self, dts: i64) -> Stamp {
        Stamp { anchor: self.anchor.clone(), offset: dts.saturating_sub(self.at) }
    }
}

/// Gives one publisher's frames their stamps.
#[derive(Debug)]
pub(super) struct PublisherClock {
    mode: TimestampMode,
    tolerance: i64,
    origin: Option<Origin>,
    /// Before the last jump, and when that was.
    old: Option<(Origin, Instant)>,
    /// The last frame of video and of audio.
    last: [Option<Last>; 2],
    newest: Option<Stamp>,
    window: Option<Window>,
}

/// A track's last frame: its decoding time, and on which clock it was placed.
#[derive(Debug, Clone)]
struct Last {
    dts: i64,
    anchor: Arc<Anchor>,
}

/// The least lateness since a moment.
#[derive(Debug, Clone, Copy)]
struct Window {
    since: Instant,
    lateness: i64,
}

impl PublisherClock {
    /// A clock for a publisher whose frames may come late by `latency` and still be in time.
    pub(super) fn new(mode: TimestampMode, latency: Duration) -> Self {
        let tolerance = nanos(latency).max(LEAST_TOLERANCE_NS);
        Self { mode, tolerance, origin: None, old: None, last: [None, None], newest: None, window: None }
    }

    /// The stamp of a coded frame with decoding time `dts` (nanoseconds), and whether time jumps there.
    pub(super) fn stamp(&mut self, kind: FrameKind, dts: i64, arrival: Instant) -> (Stamp, bool) {
        let (stamp, jumps) = self.place(kind, dts, arrival);
        self.newest = Some(stamp.clone());
        if let Some(last) = self.last.get_mut(kind as usize) {
            *last = Some(Last { dts, anchor: stamp.anchor.clone() });
        }
        (stamp, jumps)
    }

    /// The stamp of configuration or data, whose time may be anything: encoders stamp them with 0. It never moves the clock.
    pub(super) fn stamp_non_media(&self, dts: i64, arrival: Instant) -> Stamp {
        let origin = self.origin.as_ref().filter(|origin| fits(origin.ahead(dts, arrival)));
        match (origin, &self.newest) {
            (Some(origin), _) => origin.stamp(dts),
            (None, Some(newest)) => newest.clone(),
            (None, None) => Origin::new(dts, arrival).stamp(dts),
        }
    }

    fn place(&mut self, kind: FrameKind, dts: i64, arrival: Instant) -> (Stamp, bool) {
        if self.mode == TimestampMode::Arrival {
            return (Origin::new(dts, arrival).stamp(dts), false);
        }
        let origin = self.origin.get_or_insert_with(|| Origin::new(dts, arrival)).clone();
        let ahead = origin.ahead(dts, arrival);
        let last = self.last.get(kind as usize).and_then(Option::as_ref);
        let is_back = last.is_some_and(|last| dts < last.dts);
        if is_back && !last.is_some_and(|last| Arc::ptr_eq(&last.anchor, &origin.anchor)) && fits(ahead) {
            // The other track has led the way.
            return (origin.stamp(dts), true);
        }
        if !is_back && let Some(old) = self.on_old_clock(dts, ahead, arrival) {
            return (old, false);
        }
        if ahead > JUMP_NS || is_back || self.is_late_for_good(-ahead, arrival) {
            return (self.jump(dts, arrival), true);
        }
        (origin.stamp(dts), false)
    }

    fn on_old_clock(&self, dts: i64, ahead: i64, arrival: Instant) -> Option<Stamp> {
        let (old, since) = self.old.as_ref()?;
        let is_recent = arrival.saturating_duration_since(*since) < OLD_CLOCK;
        (is_recent && !fits(ahead) && fits(old.ahead(dts, arrival))).then(|| old.stamp(dts))
    }

    fn jump(&mut self, dts: i64, arrival: Instant) -> Stamp {
        let origin = Origin::new(dts, arrival);
        let stamp = origin.stamp(dts);
        self.old = self.origin.replace(origin).map(|old| (old, arrival));
        self.window = None;
        stamp
    }

    /// A stall of the network makes some frames late, not all.
    fn is_late_for_good(&mut self, lateness: i64, arrival: Instant) -> bool {
        let window = self.window.get_or_insert(Window { since: arrival, lateness });
        window.lateness = window.lateness.min(lateness);
        if arrival.saturating_duration_since(window.since) < LATE_WINDOW {
            return false;
        }
        let least = window.lateness;
        self.window = None;
        least > self.tolerance
    }
}

/// Whether a frame so far ahead of its time may be of this clock.
fn fits(ahead: i64) -> bool {
    ahead.saturating_abs() <= JUMP_NS
}

#[cfg(test)]
mod tests {
    use super::*;
    use FrameKind::{Audio, Video};

    const MS: i64 = NANOS_PER_MILLI;

    struct Bench {
        start: Instant,
        clock: PublisherClock,
    }

    impl Bench {
        fn new(mode: TimestampMode) -> Self {
            let latency = Duration::from_millis(200);
            Self { start: Instant::now(), clock: PublisherClock::new(mode, latency) }
        }

        fn now(&self, period: u64, running_ms: i64, at_ms: u64) -> Now {
            let instant = self.start + Duration::from_millis(at_ms);
            Now { period, running_time: running_ms * MS, instant }
        }

        /// Stamps a frame that arrives at `at_ms`, in a pipeline whose running time was 0 at the start; milliseconds.
        fn frame(&mut self, kind: FrameKind, dts_ms: i64, at_ms: u64) -> (i64, bool) {
            let arrival = self.start + Duration::from_millis(at_ms);
            let (stamp, jumps) = self.clock.stamp(kind, dts_ms * MS, arrival);
            (stamp.running_time(self.now(0, i64::try_from(at_ms).unwrap(), at_ms)) / MS, jumps)
        }
    }

    #[test]
    fn frames_keep_the_publishers_distances_from_the_arrival_of_the_first() {
        let mut bench = Bench::new(TimestampMode::Publisher);
        assert_eq!(bench.frame(Video, 70_000, 500), (500, false));
        assert_eq!(bench.frame(Audio, 70_010, 640), (510, false));
        assert_eq!(bench.frame(Audio, 70_033, 640), (533, false));
        assert_eq!(bench.frame(Video, 70_040, 641), (540, false));
    }

    #[test]
    fn a_stall_of_the_network_does_not_move_the_clock() {
        let mut bench = Bench::new(TimestampMode::Publisher);
        bench.frame(Video, 0, 0);
        for i in 1..=250 {
            // Nothing for 8 s, then everything at once.
            let at = u64::try_from(i * 40).unwrap().max(8_000);
            assert_eq!(bench.frame(Video, i * 40, at), (i * 40, false));
        }
    }

    #[test]
    fn a_jump_begins_at_its_arrival_and_the_other_tracks_old_frames_keep_their_place() {
        let mut bench = Bench::new(TimestampMode::Publisher);
        bench.frame(Video, 0, 0);
        bench.frame(Audio, 10, 10);
        assert_eq!(bench.frame(Video, 3_600_000, 40), (40, true));
        assert_eq!(bench.frame(Audio, 33, 41), (33, false), "still on the old clock");
        assert_eq!(bench.frame(Audio, 3_600_010, 55), (50, false));
        assert_eq!(bench.frame(Video, 1_000, 80), (80, true), "back");
        assert_eq!(bench.frame(Audio, 1_005, 90), (85, true), "each track steps back once");
    }

    #[test]
    fn a_slow_clock_is_anchored_anew_when_all_frames_come_too_late() {
        let mut bench = Bench::new(TimestampMode::Publisher);
        let mut jumps = 0;
        for i in 0..3_000_i64 {
            // 100 ms per second are lost.
            let at = i * 44;
            let (running, jumped) = bench.frame(Video, i * 40, u64::try_from(at).unwrap());
            jumps += i32::from(jumped);
            assert!(at - running < 3_000, "{at} {running}");
        }
        assert!((4..=13).contains(&jumps), "{jumps}");
    }

    #[test]
    fn configuration_stamped_with_0_does_not_move_the_clock() {
        let mut bench = Bench::new(TimestampMode::Publisher);
        let aside = |bench: &Bench, dts, at_ms| {
            let arrival = bench.start + Duration::from_millis(at_ms);
            let now = bench.now(0, i64::try_from(at_ms).unwrap(), at_ms);
            bench.clock.stamp_non_media(dts, arrival).running_time(now) / MS
        };
        assert_eq!(aside(&bench, 0, 490), 490);
        assert_eq!(bench.frame(Video, 70_000, 500), (500, false));
        assert_eq!(aside(&bench, 0, 510), 500);
        assert_eq!(aside(&bench, 70_020 * MS, 510), 520);
    }

    #[test]
    fn in_arrival_mode_only_the_arrival_counts() {
        let mut bench = Bench::new(TimestampMode::Arrival);
        assert_eq!(bench.frame(Video, 70_000, 500), (500, false));
        assert_eq!(bench.frame(Video, 70_040, 700), (700, false));
    }

    #[test]
    fn a_pause_of_the_pipeline_moves_what_comes_after_it() {
        let bench = Bench::new(TimestampMode::Publisher);
        let origin = Origin::new(0, bench.start);
        let stamp = origin.stamp(20 * MS);
        assert_eq!(stamp.running_time(bench.now(0, 1_000, 0)), 1_020 * MS);
        assert_eq!(stamp.running_time(bench.now(0, 1_500, 400)), 1_020 * MS, "one base for all");
        assert_eq!(stamp.running_time(bench.now(1, 1_500, 5_500)), -3_980 * MS, "paused for 5 s");
    }
}
