//! Edit lists (ISO/IEC 14496-12 8.6.6): which part of a track is shown, and when.

use super::tables::SampleAt;

const NANOS_PER_S: i128 = 1_000_000_000;

/// Sound is sent from so long before an edit's start on: decoders need it, and what encoders put there for them is less
/// (RFC 7845 4.6 asks for 80 ms).
const PRE_ROLL_MS: u32 = 80;

/// A part of a track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Edit {
    /// When it begins to be shown, in nanoseconds.
    pub(super) shown: i64,
    /// Where it begins in the track, and where it ends, in units of that.
    pub(super) from: i64,
    pub(super) to: i64,
}

impl Edit {
    /// All of a track, as it is.
    pub(super) const WHOLE: Self = Self { shown: 0, from: 0, to: i64::MAX };

    /// A time of the track in nanoseconds of the movie.
    pub(super) fn nanos(&self, time: i64, timescale: u32) -> i64 {
        nanos(time.saturating_sub(self.from), timescale).saturating_add(self.shown)
    }
}

/// Units of a clock in nanoseconds, to the nearest.
pub(super) fn nanos(units: i64, timescale: u32) -> i64 {
    let scale = i128::from(timescale);
    let scaled = i128::from(units).saturating_mul(NANOS_PER_S).saturating_add(scale >> 1);
    let nanos = scaled.checked_div_euclid(scale).unwrap_or_default();
    i64::try_from(nanos).unwrap_or(if units < 0 { i64::MIN } else { i64::MAX })
}

/// The edits of a track from the entries of its list: duration in units of the movie, and start in the track, which an empty
/// edit has not. `is_growing`: fragments follow, and whoever wrote the list did not know how many.
pub(super) fn edits(
    entries: impl ExactSizeIterator<Item = (u64, Option<u64>)>,
    movie_scale: u32,
    timescale: u32,
    is_growing: bool,
) -> Vec<Edit> {
    let count = entries.len();
    let (mut shown, mut edits) = (0_i64, Vec::new());
    for (index, (duration, from)) in entries.enumerate() {
        let units = i64::try_from(duration).unwrap_or(i64::MAX);
        let length = nanos(units, movie_scale);
        let is_open = (duration == 0 || is_growing) && index.saturating_add(1) == count;
        if let Some(from) = from.filter(|_| is_open || duration > 0) {
            let from = i64::try_from(from).unwrap_or(i64::MAX);
            let to =
                if is_open { i64::MAX } else { from.saturating_add(rescale(units, movie_scale, timescale)) };
            edits.push(Edit { shown, from, to });
        }
        shown = shown.saturating_add(length);
    }
    edits
}

/// Units of one clock in those of another, to the next one.
fn rescale(units: i64, from: u32, to: u32) -> i64 {
    let from = i128::from(from);
    let scaled = i128::from(units).saturating_mul(to.into()).saturating_add(from.saturating_sub(1));
    i64::try_from(scaled.checked_div_euclid(from).unwrap_or_default()).unwrap_or(i64::MAX)
}

/// Looks for the sample that an edit begins with, in the order of decoding.
#[derive(Debug)]
pub(super) struct Start {
    edit: Edit,
    is_video: bool,
    /// How much of sound comes before.
    pre_roll: i64,
    /// Samples that were looked at.
    seen: u32,
    found: Option<u32>,
}

impl Start {
    pub(super) fn of(edit: Edit, is_video: bool, timescale: u32) -> Self {
        let pre_roll = rescale(PRE_ROLL_MS.into(), 1_000, timescale);
        Self { edit, is_video, pre_roll, seen: 0, found: None }
    }

    /// Takes the next sample; whether those behind it have to be looked at too.
    pub(super) fn look_at(&mut self, sample: &SampleAt) -> bool {
        let from = self.edit.from;
        let is_start = match self.is_video {
            true => sample.is_sync && sample.time.saturating_add(sample.composition.into()) <= from,
            false => sample.time.saturating_add(sample.duration.into()) > from.saturating_sub(self.pre_roll),
        };
        // Of pictures the last one that decoding can begin with, of sound the first.
        if is_start && (self.is_video || self.found.is_none()) {
            self.found = Some(self.seen);
        }
        self.seen = self.seen.saturating_add(1);
        if self.is_video { sample.time <= from } else { self.found.is_none() }
    }

    /// How many samples come before the edit's first one. A track of pictures that begins too late for it begins with its
    /// first, one of sound that ends before has none.
    pub(super) fn skipped(&self) -> u32 {
        self.found.unwrap_or(if self.is_video { 0 } else { self.seen })
    }

    /// How many samples were looked at.
    pub(super) fn seen(&self) -> u32 {
        self.seen
    }
}
