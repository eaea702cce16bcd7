//! Time on the wire and in files: 32 bits that wrap.

/// Widens 32-bit wire timestamps (milliseconds, wrapping every 49.7 days) to 64 bits.
///
/// Each timestamp is taken to be the one nearest to the last, so both a wrap and a step back are followed.
#[derive(Debug, Clone, Copy, Default)]
pub struct TimestampUnwrapper {
    last: Option<i64>,
}

impl TimestampUnwrapper {
    /// The 64-bit time of the next wire timestamp.
    pub fn unwrap(&mut self, wire: u32) -> i64 {
        let time = match self.last {
            None => i64::from(wire),
            Some(last) => {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_possible_wrap,
                    reason = "modulo 2^32 is meant"
                )]
                let step = wire.wrapping_sub(last as u32) as i32;
                last.saturating_add(i64::from(step))
            }
        };
        self.last = Some(time);
        time
    }
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
}
