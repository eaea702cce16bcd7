//! NAL units of H.264 and HEVC: finding them in a sample, and what their types mean.

use crate::media::flv::{Codec, Cursor};

/// Before each NAL unit of a byte stream. Three bytes would do for most, but parameter sets and the first NAL
/// unit need four, and readers expect one form.
pub(super) const START_CODE: [u8; 4] = [0, 0, 0, 1];

/// A codec whose samples consist of NAL units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NalCodec {
    H264,
    Hevc,
}

/// What a NAL unit is, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NalKind {
    Set(SetKind),
    /// A slice of a picture that decoding can start with.
    KeySlice,
    /// Access unit delimiter: the first NAL unit of its access unit.
    Delimiter,
    Other,
}

/// Kinds of parameter sets, in the order in which decoders need them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SetKind {
    Video,
    Sequence,
    Picture,
}

impl NalCodec {
    pub(super) fn of(codec: Codec) -> Option<Self> {
        match codec {
            Codec::H264 => Some(Self::H264),
            Codec::Hevc => Some(Self::Hevc),
            _ => None,
        }
    }

    /// What `nal` is: H.264 table 7-1, H.265 table 7-1.
    pub(super) fn kind(self, nal: &[u8]) -> NalKind {
        let Some(first) = nal.first() else { return NalKind::Other };
        match self {
            Self::H264 => match first & 0x1f {
                5 => NalKind::KeySlice,
                7 => NalKind::Set(SetKind::Sequence),
                8 => NalKind::Set(SetKind::Picture),
                9 => NalKind::Delimiter,
                _ => NalKind::Other,
            },
            Self::Hevc => match (first >> 1) & 0x3f {
                16..=23 => NalKind::KeySlice,
                32 => NalKind::Set(SetKind::Video),
                33 => NalKind::Set(SetKind::Sequence),
                34 => NalKind::Set(SetKind::Picture),
                35 => NalKind::Delimiter,
                _ => NalKind::Other,
            },
        }
    }

    /// The delimiter, for pictures of any kind (H.264 7.3.2.4, H.265 7.3.2.5), that a byte stream of one access unit does not begin
    /// with; empty where it does.
    #[cfg(feature = "http")]
    pub(super) fn missing_delimiter(self, access_unit: &[u8]) -> &'static [u8] {
        let first = start_code(access_unit).and_then(|at| access_unit.get(at.checked_add(3)?..));
        match self {
            _ if first.is_some_and(|nal| self.kind(nal) == NalKind::Delimiter) => &[],
            Self::H264 => &[0, 0, 0, 1, 0x09, 0xf0],
            Self::Hevc => &[0, 0, 0, 1, 0x46, 0x01, 0x50],
        }
    }
}

/// The NAL units of a byte stream (annex B of H.264 and H.265). `None` if it does not start with a start code.
pub(super) fn annex_b(bytes: &[u8]) -> Option<AnnexB<'_>> {
    let at = start_code(bytes)?;
    let leading = bytes.get(..at)?;
    leading.iter().all(|&byte| byte == 0).then_some(AnnexB { rest: bytes.get(at.checked_add(3)?..) })
}

/// Iterator over the NAL units between start codes, without the zero bytes that may trail them.
#[derive(Debug, Clone)]
pub(super) struct AnnexB<'a> {
    rest: Option<&'a [u8]>,
}

impl<'a> Iterator for AnnexB<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            let rest = self.rest?;
            let end = start_code(rest);
            self.rest = end.and_then(|end| rest.get(end.checked_add(3)?..));
            let nal = without_trailing_zeros(rest.get(..end.unwrap_or(rest.len()))?);
            if !nal.is_empty() {
                return Some(nal);
            }
        }
    }
}

/// Where the next `00 00 01` is.
fn start_code(bytes: &[u8]) -> Option<usize> {
    let mut at = 0_usize;
    loop {
        // A byte above 1 is in no start code, so none begins at it or at the two before it.
        at = match *bytes.get(at.checked_add(2)?)? {
            0 => at.checked_add(1)?,
            1 if bytes.get(at..)?.starts_with(&[0, 0]) => return Some(at),
            _ => at.checked_add(3)?,
        };
    }
}

fn without_trailing_zeros(nal: &[u8]) -> &[u8] {
    let last = nal.iter().rposition(|&byte| byte != 0);
    last.and_then(|last| nal.get(..=last)).unwrap_or_default()
}

/// Iterator over NAL units that follow their lengths of 1 to 4 bytes. An `Err` is the offset of a length that
/// points beyond the end; nothing comes after it. Empty NAL units are left out.
#[derive(Debug, Clone)]
pub(super) struct Lengths<'a> {
    cursor: Cursor<'a>,
    total: usize,
    length_size: usize,
}

impl<'a> Lengths<'a> {
    pub(super) fn new(bytes: &'a [u8], length_size: usize) -> Self {
        Self { cursor: Cursor::new(bytes), total: bytes.len(), length_size }
    }

    fn read(&mut self) -> Option<&'a [u8]> {
        let prefix = self.cursor.take(self.length_size)?;
        let length = prefix.iter().fold(0_u32, |length, &byte| (length << 8) | u32::from(byte));
        self.cursor.take(usize::try_from(length).ok()?)
    }
}

impl<'a> Iterator for Lengths<'a> {
    type Item = Result<&'a [u8], usize>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.cursor.position < self.total {
            let start = self.cursor.position;
            match self.read() {
                Some([]) => {}
                Some(nal) => return Some(Ok(nal)),
                None => {
                    self.cursor.position = self.total;
                    return Some(Err(start));
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nals(bytes: &[u8]) -> Vec<Vec<u8>> {
        annex_b(bytes).unwrap().map(<[u8]>::to_vec).collect()
    }

    #[test]
    fn start_codes_of_three_and_four_bytes_part_nal_units() {
        assert_eq!(nals(b"\0\0\x01\x65\x01\0\0\0\x01\x41\x02"), [b"\x65\x01", b"\x41\x02"]);
        assert_eq!(nals(b"\0\0\0\0\0\x01\x65\0\0\x01\x41\0\0\0"), [b"\x65", b"\x41"], "zeros around");
        assert_eq!(nals(b"\0\0\x01\0\0\x01\x41"), [b"\x41"], "an empty one");
        assert_eq!(nals(b"\0\0\x01"), Vec::<Vec<u8>>::new());
        assert_eq!(nals(b"\0\0\x01\x65\0\x01\x01\0\0\x03\x01"), [b"\x65\0\x01\x01\0\0\x03\x01"]);
        assert!(
            annex_b(b"\x01\0\0\x01\x65").is_none() && annex_b(b"").is_none() && annex_b(b"\0\0").is_none()
        );
    }

    #[cfg(feature = "http")]
    #[test]
    fn a_delimiter_is_missed_where_there_is_none() {
        for (codec, slice) in
            [(NalCodec::H264, &b"\0\0\x01\x65\x88"[..]), (NalCodec::Hevc, b"\0\0\x01\x26\x01")]
        {
            let delimiter = codec.missing_delimiter(slice);
            let [nal] = &nals(delimiter)[..] else { panic!("{delimiter:x?}") };
            assert_eq!(codec.kind(nal), NalKind::Delimiter);
            assert_eq!(codec.missing_delimiter(&[delimiter, slice].concat()), b"");
            assert_eq!(codec.missing_delimiter(b""), delimiter);
        }
    }

    #[test]
    fn lengths_of_all_sizes_are_followed_to_the_end_or_the_mistake() {
        let list = |bytes, size| Lengths::new(bytes, size).collect::<Vec<_>>();
        assert_eq!(list(b"\x02ab\0\x01c", 1), [Ok(&b"ab"[..]), Ok(b"c")]);
        assert_eq!(list(b"\0\x02ab\0\0\x02cd", 2), [Ok(&b"ab"[..]), Err(6)]);
        assert_eq!(list(b"\0\0\0\x01a\0\0\x01", 4), [Ok(&b"a"[..]), Err(5)]);
        assert_eq!(list(b"\xff\xff\xff\xffa", 4), [Err(0)]);
        assert_eq!(list(b"", 4), []);
    }
}
