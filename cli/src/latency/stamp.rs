//! When a frame was sent, in the frame itself: an SEI message of H.264, which servers and packagers carry along with the
//! picture.

use std::time::{Duration, Instant};

/// What SEI messages of ours begin with (ISO/IEC 14496-10 D.2.7: 16 bytes that nobody else has chosen). Neither this nor the
/// hexadecimal digits behind it hold zero bytes, so nothing is put between them in a NAL unit.
const OURS: [u8; 16] = *b"\x9d\x4e\xc1\x77\xb2\x60\x4a\x5d\xa6\x1c\xe3\x58\x7f\x24\x91\xd8";
/// Number and time in hexadecimal digits.
const TEXT: usize = 8 + 16;
/// From the first of our bytes to the last digit.
const LEN: usize = OURS.len() + TEXT;

/// One clock for whoever sends and whoever receives.
#[derive(Debug, Clone)]
pub(super) struct Clock {
    start: Instant,
}

impl Clock {
    pub(super) fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Microseconds since the start.
    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// Which frame it is, and when it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    /// Counted from 0.
    pub(super) number: u32,
    /// By the [`Clock`].
    pub(super) sent: u64,
}

impl Stamp {
    /// The NAL unit behind its length, as it stands in a picture.
    fn unit(self) -> Vec<u8> {
        // NAL unit type 6; payload type 5, user data; its size.
        let mut unit = vec![6, 5, u8::try_from(LEN).unwrap_or(u8::MAX)];
        unit.extend_from_slice(&OURS);
        unit.extend_from_slice(format!("{:08x}{:016x}", self.number, self.sent).as_bytes());
        // The stop bit.
        unit.push(0x80);
        let mut with_length = u32::try_from(unit.len()).unwrap_or(u32::MAX).to_be_bytes().to_vec();
        with_length.append(&mut unit);
        with_length
    }

    /// A coded picture (video tag of FLV, H.264, NAL units behind lengths of four bytes) with this stamp in it.
    pub(super) fn put_into(self, payload: &[u8]) -> Vec<u8> {
        const HEAD: usize = 5;
        // An access unit delimiter comes before everything else (7.4.1.2.3).
        let is_delimiter = payload.get(HEAD + 4).is_some_and(|unit| unit & 0x1f == 9);
        let delimiter = payload.get(HEAD..HEAD + 4).and_then(|length| <[u8; 4]>::try_from(length).ok());
        let skipped =
            delimiter.filter(|_| is_delimiter).map_or(0, |length| 4 + u32::from_be_bytes(length) as usize);
        let (before, after) = payload.split_at((HEAD + skipped).min(payload.len()));
        [before, &self.unit(), after].concat()
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let (number, sent) = text.split_at_checked(8)?;
        let stamp = (u32::from_str_radix(number, 16), u64::from_str_radix(sent, 16));
        let (Ok(number), Ok(sent)) = stamp else { return None };
        Some(Self { number, sent })
    }
}

/// Finds stamps in bytes, whatever they are packed in, and wherever these are cut.
#[derive(Debug, Default)]
pub(super) struct Finder {
    /// What may be the beginning of one.
    kept: Vec<u8>,
}

impl Finder {
    /// The stamps that end in these bytes.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Vec<Stamp> {
        self.kept.extend_from_slice(bytes);
        let mut found = Vec::new();
        let mut read = 0;
        while let Some(rest) = self.kept.get(read..) {
            let Some(at) = rest.windows(OURS.len()).position(|window| window == OURS) else {
                read = self.kept.len().saturating_sub(OURS.len() - 1).max(read);
                break;
            };
            let Some(text) = rest.get(at + OURS.len()..at + LEN) else {
                read += at;
                break;
            };
            found.extend(Stamp::parse(text));
            read += at + LEN;
        }
        self.kept.drain(..read.min(self.kept.len()));
        found
    }
}

/// The time between two of the clock's.
pub(super) fn between(from: u64, to: u64) -> Duration {
    Duration::from_micros(to.saturating_sub(from))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(number: u32) -> Stamp {
        Stamp { number, sent: 0x0102_0304_0506 + u64::from(number) }
    }

    #[test]
    fn stamps_are_found_wherever_the_bytes_are_cut() {
        let picture = [0x17, 1, 0, 0, 0, 0, 0, 0, 2, 0x65, 0x88];
        let bytes: Vec<u8> = (0..20).flat_map(|number| stamp(number).put_into(&picture)).collect();
        for piece in [1, 7, 16, 39, 40, 41, bytes.len()] {
            let mut finder = Finder::default();
            let found: Vec<_> = bytes.chunks(piece).flat_map(|piece| finder.read(piece)).collect();
            assert_eq!(found, (0..20).map(stamp).collect::<Vec<_>>(), "{piece}");
            assert!(finder.kept.len() <= LEN, "{piece}: {} bytes are kept", finder.kept.len());
        }
    }

    #[test]
    fn a_stamp_comes_behind_the_delimiter_and_before_the_picture() {
        let delimiter = [0, 0, 0, 2, 9, 0xf0];
        let picture = [0, 0, 0, 2, 0x65, 0x88];
        let stamped = stamp(1).put_into(&[&[0x17, 1, 0, 0, 0][..], &delimiter, &picture].concat());
        assert!(stamped.starts_with(&[&[0x17, 1, 0, 0, 0][..], &delimiter].concat()));
        assert!(stamped.ends_with(&picture));
        assert_eq!(stamped.get(11..18), Some(&[0, 0, 0, 44, 6, 5, 40][..]));
    }
}
