//! From when until when a certificate is valid: the only thing that is read from it here.
//!
//! Source: RFC 5280, section 4.1.

use rustls::pki_types::UnixTime;

/// The first and the last second, as seconds since 1970 and as text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Validity {
    from: Moment,
    until: Moment,
}

#[derive(Debug, PartialEq, Eq)]
struct Moment {
    seconds: i64,
    /// `2025-01-31 12:00:00 UTC`.
    text: String,
}

impl Validity {
    /// Of a certificate in DER form; `None` if it makes no sense.
    pub(super) fn of(certificate: &[u8]) -> Option<Self> {
        let (signed, _) = value(certificate, 0x30)?;
        let (mut fields, _) = value(signed, 0x30)?;
        // The version may be missing; serial number, algorithm and issuer come before.
        if let Some((_, rest)) = value(fields, 0xa0) {
            fields = rest;
        }
        for tag in [0x02, 0x30, 0x30] {
            fields = value(fields, tag)?.1;
        }
        let (times, _) = value(fields, 0x30)?;
        let (from, rest) = moment(times)?;
        let (until, _) = moment(rest)?;
        Some(Self { from, until })
    }

    /// What is wrong with a certificate that is used now.
    pub(super) fn problem(&self, now: UnixTime) -> Option<String> {
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        if now > self.until.seconds {
            return Some(format!("has expired on {}", self.until.text));
        }
        (now < self.from.seconds)
            .then(|| format!("is not valid before {} (is the clock right?)", self.from.text))
    }
}

/// The contents of the DER value of this tag that `bytes` begin with, and what follows it.
fn value(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&[found, first], rest) = bytes.split_first_chunk()?;
    if found != tag {
        return None;
    }
    if first < 0x80 {
        return rest.split_at_checked(first.into());
    }
    let (length, rest) = rest.split_at_checked((first & 0x7f).into())?;
    if length.len() > 4 {
        return None;
    }
    let length = length.iter().fold(0_usize, |sum, byte| (sum << 8) | usize::from(*byte));
    rest.split_at_checked(length)
}

/// A UTCTime (two digits for the year) or GeneralizedTime, and what follows it.
fn moment(bytes: &[u8]) -> Option<(Moment, &[u8])> {
    let (digits, rest, has_century) = match value(bytes, 0x17) {
        Some((digits, rest)) => (digits, rest, false),
        None => value(bytes, 0x18).map(|(digits, rest)| (digits, rest, true))?,
    };
    let text = std::str::from_utf8(digits).ok()?.strip_suffix('Z')?;
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (year, text) = text.split_at_checked(if has_century { 4 } else { 2 })?;
    let mut year: i64 = year.parse().ok()?;
    if !has_century {
        year += if year < 50 { 2000 } else { 1900 };
    }
    let field = |at: usize| text.get(at..at + 2)?.parse::<i64>().ok();
    let (month, day, hour, minute, second) = (field(0)?, field(2)?, field(4)?, field(6)?, field(8)?);
    let seconds = days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    let text = format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC");
    Some((Moment { seconds, text }, rest))
}

/// Days since 1970 of a day of the Gregorian calendar, years counted from March.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};
    use std::time::Duration;

    fn validity(change: impl FnOnce(&mut CertificateParams)) -> Validity {
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        change(&mut params);
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        Validity::of(certificate.der()).unwrap()
    }

    #[test]
    fn the_dates_of_a_certificate_are_read_in_both_forms() {
        for (year, form) in [(1999, "1999"), (2049, "2049"), (2050, "2050"), (2999, "2999")] {
            let found = validity(|params| params.not_after = date_time_ymd(year, 3, 1));
            assert_eq!(found.until.text, format!("{form}-03-01 00:00:00 UTC"));
            assert_eq!(found.until.seconds, date_time_ymd(year, 3, 1).unix_timestamp());
        }
    }

    #[test]
    fn a_certificate_that_is_over_or_not_valid_yet_is_named_with_the_date() {
        let now = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let found = validity(|params| {
            params.not_before = date_time_ymd(2024, 2, 29);
            params.not_after = date_time_ymd(2025, 2, 28);
        });
        assert_eq!(
            found.problem(now(1_709_164_799)).unwrap(),
            "is not valid before 2024-02-29 00:00:00 UTC (is the clock right?)"
        );
        assert_eq!(found.problem(now(1_709_164_800)), None);
        assert_eq!(found.problem(now(1_740_700_801)).unwrap(), "has expired on 2025-02-28 00:00:00 UTC");
    }

    #[test]
    fn bytes_that_are_no_certificate_have_no_dates() {
        let certificate = [0x30, 0x84, 0xff, 0xff, 0xff, 0xff];
        (0..certificate.len()).for_each(|end| assert_eq!(Validity::of(&certificate[..end]), None));
        assert_eq!(Validity::of(&[0x30, 0x85, 1, 1, 1, 1, 1]), None);
    }
}
