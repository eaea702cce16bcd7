//! Times as the engine, this plugin and GStreamer count them: milliseconds, signed nanoseconds, clock times.

use std::time::Duration;

pub(crate) const NANOS_PER_MILLI: i64 = 1_000_000;

/// Milliseconds in nanoseconds.
pub(crate) fn millis_to_nanos(millis: i64) -> i64 {
    millis.saturating_mul(NANOS_PER_MILLI)
}

/// A duration in nanoseconds.
pub(crate) fn nanos(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

/// A clock time in nanoseconds.
pub(crate) fn clock_time_nanos(time: gst::ClockTime) -> i64 {
    i64::try_from(time.nseconds()).unwrap_or(i64::MAX)
}

/// A duration as GStreamer has it.
pub(crate) fn clock_time(time: Duration) -> gst::ClockTime {
    gst::ClockTime::try_from(time).unwrap_or(gst::ClockTime::MAX)
}

/// Nanoseconds as GStreamer has them; what is negative is 0.
pub(crate) fn clock_time_of_nanos(nanos: i64) -> gst::ClockTime {
    gst::ClockTime::from_nseconds(u64::try_from(nanos).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_that_the_other_form_cannot_hold_become_its_first_or_last() {
        assert_eq!(clock_time(Duration::MAX), gst::ClockTime::MAX);
        assert_eq!(clock_time(Duration::from_millis(3)), gst::ClockTime::from_mseconds(3));
        assert_eq!(clock_time_of_nanos(-1), gst::ClockTime::ZERO);
        assert_eq!((nanos(Duration::MAX), clock_time_nanos(gst::ClockTime::MAX)), (i64::MAX, i64::MAX));
        assert_eq!((millis_to_nanos(-2), millis_to_nanos(i64::MIN)), (-2_000_000, i64::MIN));
    }
}
