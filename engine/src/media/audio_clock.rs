//! Times of sound by counting samples: milliseconds, which FLV has, differ from frame to frame (21, 21, 22), and players that
//! believe them play gaps and clicks.

use super::NANOS_PER_MS;

/// How far the count may be from the times that come: those of encoders that lose sound, or whose clock is another.
const DRIFT_NS: i64 = 40 * NANOS_PER_MS;

/// Follows one track.
#[derive(Debug, Clone)]
pub(crate) struct AudioClock {
    /// Units of time in a second: the sample rate.
    timescale: u32,
    /// Where the next frame begins, by count.
    next: Option<i64>,
}

impl AudioClock {
    pub(crate) fn new(timescale: u32) -> Self {
        Self { timescale, next: None }
    }

    /// When a frame begins that came with the time `at_ns` and has so many samples. `None` where it has been played already, by
    /// count: it is to be left out.
    pub(crate) fn place(&mut self, at_ns: i64, samples: i64) -> Option<i64> {
        let told = units(at_ns, self.timescale);
        let drift = units(DRIFT_NS, self.timescale);
        let counted = self.next.unwrap_or(told);
        if told < counted.saturating_sub(drift) {
            return None;
        }
        let begins = if told > counted.saturating_add(drift) { told } else { counted };
        self.next = Some(begins.saturating_add(samples));
        Some(begins)
    }
}

/// A time in units of which `timescale` are a second, rounded to the nearest.
pub(crate) fn units(time_ns: i64, timescale: u32) -> i64 {
    const SECOND: i128 = 1_000_000_000;
    let product = i128::from(time_ns).saturating_mul(timescale.into());
    i64::try_from(product.saturating_add(SECOND / 2).div_euclid(SECOND)).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    const RATE: u32 = 44_100;

    /// The times of `frames` of 1,024 samples that begin with `first` in nanoseconds, as FLV has them.
    fn in_ms(first: i64, frames: i64) -> impl Iterator<Item = i64> {
        (0..frames)
            .map(move |frame| (first + frame * 1_024_000_000_000 / i64::from(RATE)) / 1_000_000 * 1_000_000)
    }

    #[test]
    fn ten_minutes_of_sound_have_neither_gap_nor_overlap() {
        let mut clock = AudioClock::new(RATE);
        let begins: Vec<_> = in_ms(7_000_000_000, 25_840).filter_map(|at| clock.place(at, 1_024)).collect();
        assert_eq!(begins.len(), 25_840);
        assert_eq!(begins[0], units(7_000_000_000, RATE));
        assert!(begins.windows(2).all(|pair| pair[1] - pair[0] == 1_024));
    }

    #[test]
    fn what_an_encoder_loses_is_a_gap_and_what_it_repeats_is_left_out() {
        let mut clock = AudioClock::new(RATE);
        assert_eq!(clock.place(0, 1_024), Some(0));
        assert_eq!(clock.place(60 * NANOS_PER_MS, 1_024), Some(1_024), "within what clocks differ");
        assert_eq!(clock.place(100 * NANOS_PER_MS, 1_024), Some(4_410), "a gap");
        assert_eq!(clock.place(100 * NANOS_PER_MS, 1_024), Some(5_434), "within what clocks differ");
        assert_eq!(clock.place(50 * NANOS_PER_MS, 1_024), None, "played already");
        assert_eq!(clock.place(146 * NANOS_PER_MS, 1_024), Some(6_458));
    }

    #[test]
    fn times_are_rounded_to_the_nearest_unit() {
        assert_eq!(
            (units(1_000_000, 90_000), units(23_219_955, RATE), units(-1_000_000, 1_000)),
            (90, 1_024, -1)
        );
        assert_eq!(units(i64::MAX, u32::MAX), i64::MAX);
    }
}
