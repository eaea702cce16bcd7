//! The exact time at which a track ends, found from timestamps that were rounded to milliseconds.
//!
//! FLV time is in milliseconds, but frames last 1024/44100 s or 1/30 s. Adding rounded durations over many
//! loops drifts, so the true frame duration is recovered: audio frames tell theirs, and for video all usual frame
//! rates are tried against the timestamps.

use super::NANOS_PER_MS;
use super::codec::Period;

/// Widest spread of (timestamp - ideal time) in nanoseconds for a frame rate that is only supposed: rounding to
/// milliseconds and nothing else.
const SUPPOSED_SPREAD: i64 = 1_010_000;

/// The same for a duration that the codec tells: encoders' own rounding may come on top.
const KNOWN_SPREAD: i64 = 2_000_000;

bound! {
    /// Longest last frame that is believed without a steady rate if other tracks tell the length too
    /// (test `a_lone_late_picture_does_not_lengthen_a_clip_with_sound`).
    const MAX_GUESS_MS: i64 = 1_000, without i64::MAX;
}

/// Follows the timestamps of one track.
#[derive(Debug, Clone)]
pub(super) struct Cadence {
    /// Frame duration announced by metadata.
    hint: Option<Period>,
    /// Frame duration told by the codec.
    known: Option<Period>,
    /// First timestamp of the present steady run.
    first: i64,
    last: i64,
    /// Distance of the last two frames; 0 before there are two.
    step: i64,
    /// Frames after `first` in the present steady run.
    frames: u64,
    /// Durations that fit all timestamps of the run.
    candidates: Vec<Candidate>,
}

#[derive(Debug, Clone, Copy)]
struct Candidate {
    period: Period,
    low: i64,
    high: i64,
}

impl Candidate {
    fn new(period: Period) -> Self {
        Self { period, low: 0, high: 0 }
    }

    /// Takes note of a frame `count` periods and `elapsed` nanoseconds after the first; whether it still fits.
    fn fits(&mut self, count: u64, elapsed: i64, spread: i64) -> bool {
        let error = elapsed.saturating_sub(self.period.nanos(count));
        self.low = self.low.min(error);
        self.high = self.high.max(error);
        self.high.saturating_sub(self.low) <= spread
    }
}

impl Cadence {
    /// Starts with a track's first frame, at `time` milliseconds.
    pub(super) fn new(time: i64, known: Option<Period>, hint: Option<Period>) -> Self {
        let mut cadence =
            Self { hint, known, first: time, last: time, step: 0, frames: 0, candidates: Vec::new() };
        cadence.restart(time, known);
        cadence
    }

    /// Takes the next frame. `known` is the duration of its kind of frame, where the codec tells it.
    pub(super) fn push(&mut self, time: i64, known: Option<Period>) {
        self.step = time.saturating_sub(self.last);
        self.last = time;
        if known != self.known {
            return self.restart(time, known);
        }
        self.frames = self.frames.saturating_add(1);
        if self.frames == 1 && known.is_none() {
            let step = u64::try_from(self.step).unwrap_or_default();
            self.candidates.extend(Period::new(step, 1_000).map(Candidate::new));
        }
        let elapsed = time.saturating_sub(self.first).saturating_mul(NANOS_PER_MS);
        let spread = if known.is_some() { KNOWN_SPREAD } else { SUPPOSED_SPREAD };
        let frames = self.frames;
        self.candidates.retain_mut(|candidate| candidate.fits(frames, elapsed, spread));
        if self.candidates.is_empty() {
            self.restart(time, known);
        }
    }

    /// When the last frame ends, in nanoseconds. With `others`, a last frame of unknown rate counts for at
    /// most a second.
    pub(super) fn end(&self, others: Others) -> i64 {
        if let Some(period) = self.period() {
            let start = self.first.saturating_mul(NANOS_PER_MS);
            return start.saturating_add(period.nanos(self.frames.saturating_add(1)));
        }
        let longest = if others == Others::Present { MAX_GUESS_MS.get() } else { i64::MAX };
        let step = match (self.step, self.hint) {
            (0, Some(hint)) => hint.nanos(1),
            // A single picture: shown like one of 25 per second.
            (0, None) => 40 * NANOS_PER_MS,
            (step, _) => step.min(longest).saturating_mul(NANOS_PER_MS),
        };
        self.last.saturating_mul(NANOS_PER_MS).saturating_add(step)
    }

    /// The frame duration of the present run, if it is certain enough.
    fn period(&self) -> Option<Period> {
        if self.known.is_some() {
            return self.known;
        }
        if self.frames < 2 {
            return None;
        }
        let elapsed = self.last.saturating_sub(self.first).saturating_mul(NANOS_PER_MS);
        let distance = |period: Period| period.nanos(self.frames).saturating_sub(elapsed).saturating_abs();
        let fitting = self.candidates.iter().map(|candidate| candidate.period);
        let hinted = fitting.clone().find(|period| Some(*period) == self.hint);
        hinted.or_else(|| fitting.min_by_key(|period| distance(*period)))
    }

    fn restart(&mut self, time: i64, known: Option<Period>) {
        self.known = known;
        self.first = time;
        self.frames = 0;
        self.candidates.clear();
        match known {
            Some(period) => self.candidates.push(Candidate::new(period)),
            None => {
                let usual = usual_periods().filter(|period| Some(*period) != self.hint);
                self.candidates.extend(self.hint.into_iter().chain(usual).map(Candidate::new));
            }
        }
    }
}

/// Whether other tracks help to tell how long a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Others {
    Present,
    Absent,
}

/// The frame durations of usual frame rates.
fn usual_periods() -> impl Iterator<Item = Period> {
    const NTSC: [u64; 7] = [12_000, 15_000, 24_000, 30_000, 48_000, 60_000, 120_000];
    const FAST: [u64; 8] = [72, 75, 90, 100, 120, 144, 200, 240];
    let whole = (1..=60_u64).chain(FAST).filter_map(|rate| Period::new(1, rate));
    let ntsc = NTSC.into_iter().filter_map(|rate| Period::new(1_001, rate));
    let halves = [15_u64, 25].into_iter().filter_map(|rate| Period::new(2, rate));
    whole.chain(ntsc).chain(halves)
}

/// The exact frame duration meant by a rounded frame rate such as 29.97.
pub(super) fn period_of_rate(frames_per_second: f64) -> Option<Period> {
    /// 23.98 is 24000/1001, and 30 is not 30000/1001.
    const TOLERANCE: f64 = 3e-4;
    if !(0.01..=1_000.0).contains(&frames_per_second) {
        return None;
    }
    let meant = |period: &Period| {
        let nanos = period.nanos(1_000_000) as f64;
        (frames_per_second * nanos / 1e15 - 1.0).abs() < TOLERANCE
    };
    let literal = (frames_per_second * 1e6).round() as u64;
    usual_periods().find(meant).or_else(|| Period::new(1_000_000, literal))
}
