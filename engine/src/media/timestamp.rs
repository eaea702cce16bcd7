//! Time on the wire and in files: 32 bits that wrap.

/// Widens 32-bit wire timestamps (milliseconds, wrapping every 49.7 days) to 64 bits.
///
/// Each timestamp is taken to be the one nearest to the last, so both a wrap and a step back are followed. One that is
/// more than twelve days off counts for that only once a second one is with it.
#[derive(Debug, Clone, Copy, Default)]
pub struct TimestampUnwrapper {
    last: Option<i64>,
    odd: Option<i64>,
}

/// A quarter of the circle.
const FAR_MS: u64 = 1 << 30;

impl TimestampUnwrapper {
    /// The 64-bit time of the next wire timestamp.
    pub fn unwrap(&mut self, wire: u32) -> i64 {
        let Some(last) = self.last else {
            let time = i64::from(wire);
            self.last = Some(time);
            return time;
        };
        let time = nearest(wire, last);
        if time.abs_diff(last) < FAR_MS || self.odd.is_some_and(|odd| time.abs_diff(odd) < FAR_MS) {
            self.last = Some(time);
            self.odd = None;
        } else {
            self.odd = Some(time);
        }
        time
    }
}

fn nearest(wire: u32, to: i64) -> i64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "modulo 2^32 is meant")]
    let step = wire.wrapping_sub(to as u32) as i32;
    to.saturating_add(i64::from(step))
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    #[test]
    fn f08_time_goes_on_across_2_24_2_31_and_2_32() {
        let mut unwrapper = TimestampUnwrapper::default();
        let mut expected = 0;
        while expected < 3 << 32 {
            assert_eq!(unwrapper.unwrap(expected as u32), expected);
            expected += 0x0FFF_FFF7;
        }
    }

    #[test]
    fn f08_step_back_is_followed_also_across_a_wrap() {
        let mut unwrapper = TimestampUnwrapper::default();
        let times = [0xFFFF_FFF0, 5, 0xFFFF_FFFF, 10_000, 0].map(|wire| unwrapper.unwrap(wire));
        assert_eq!(times, [0xFFFF_FFF0, 0x1_0000_0005, 0xFFFF_FFFF, 0x1_0000_2710, 0x1_0000_0000]);
    }

    #[test]
    fn one_stamp_anywhere_on_the_circle_moves_no_other() {
        for odd in (0..64).map(|i| i << 26) {
            let mut unwrapper = TimestampUnwrapper::default();
            let times = [1_000, 1_040, odd, 1_120, 1_160].map(|wire| unwrapper.unwrap(wire));
            assert_eq!([times[0], times[1], times[3], times[4]], [1_000, 1_040, 1_120, 1_160], "{odd}");
        }
    }
}
