//! AV1 temporal units: OBUs, keyframes, and the `av1C` record.

use crate::media::codec::obu::{FRAME, FRAME_HEADER, SEQUENCE_HEADER, obus};
use crate::media::codec::{Av1Sequence, Bits};
use bytes::{BufMut, Bytes, BytesMut};

bound! {
    /// Longest sequence header that is kept: real ones have a dozen bytes
    /// (test `a_sequence_header_that_is_too_long_is_none`).
    const MAX_SEQUENCE_HEADER: usize = 4096, without usize::MAX;
}

/// Whether the temporal unit starts with a key frame (5.9.2).
pub(super) fn is_keyframe(unit: &[u8]) -> bool {
    const KEY_FRAME: u32 = 0;
    let frame = obus(unit).find(|obu| matches!(obu.kind, FRAME_HEADER | FRAME));
    frame.is_some_and(|frame| {
        let mut bits = Bits::new(frame.payload);
        let show_existing_frame = bits.bit();
        show_existing_frame == Some(false) && bits.bits(2) == Some(KEY_FRAME)
    })
}

/// The `av1C` record of the sequence header in `unit`. `None` where there is none that makes sense.
pub(super) fn record(unit: &[u8]) -> Option<Bytes> {
    let header = obus(unit).find(|obu| obu.kind == SEQUENCE_HEADER)?.payload;
    if header.len() > MAX_SEQUENCE_HEADER.get() {
        return None;
    }
    let mut out = BytesMut::new();
    // Marker and version, and at the end no initial presentation delay.
    out.put_u8(0x81);
    out.put_slice(&profile_and_colour(header)?);
    out.put_u8(0);
    // The header again, with a size field.
    out.put_u8((SEQUENCE_HEADER << 3) | 2);
    put_leb128(header.len(), &mut out);
    out.put_slice(header);
    Some(out.freeze())
}

fn put_leb128(mut value: usize, out: &mut BytesMut) {
    while value > 0x7f {
        out.put_u8(0x80 | u8::try_from(value & 0x7f).unwrap_or_default());
        value >>= 7;
    }
    out.put_u8(u8::try_from(value).unwrap_or_default());
}

/// The second and third byte of `av1C` from a sequence header, AV1 5.5.
fn profile_and_colour(header: &[u8]) -> Option<[u8; 2]> {
    let mut bits = Bits::new(header);
    let start = Av1Sequence::read(&mut bits)?;
    skip_tools(&mut bits, start.reduced)?;
    let level = u8::try_from(start.level_index).ok()?;
    let colour = colour(&mut bits, start.profile)?;
    Some([(start.profile << 5) | level, (u8::from(start.tier) << 7) | colour])
}

/// From the frame ids to the restoration filter.
fn skip_tools(bits: &mut Bits<'_>, reduced: bool) -> Option<()> {
    if !reduced && bits.bit()? {
        bits.skip(4 + 3)?;
    }
    bits.skip(3)?;
    if !reduced {
        bits.skip(4)?;
        let order_hint = bits.bit()?;
        bits.skip(if order_hint { 2 } else { 0 })?;
        // Screen content tools and integer motion vectors: chosen per frame, or forced on or off.
        let screen_content = bits.bit()? || bits.bit()?;
        if screen_content && !bits.bit()? {
            bits.skip(1)?;
        }
        bits.skip(if order_hint { 3 } else { 0 })?;
    }
    bits.skip(3)
}

/// `color_config` as the low seven bits of the third byte: high bit depth, twelve bits, monochrome, subsampling
/// in both directions, position of chroma samples.
fn colour(bits: &mut Bits<'_>, profile: u8) -> Option<u8> {
    const SRGB: [u32; 3] = [1, 13, 0];
    let high = bits.bit()?;
    let twelve = profile == 2 && high && bits.bit()?;
    let mono = profile != 1 && bits.bit()?;
    let described = if bits.bit()? { [bits.bits(8)?, bits.bits(8)?, bits.bits(8)?] } else { [2, 2, 2] };
    let mut position = 0;
    let (x, y) = if mono {
        (true, true)
    } else if described == SRGB {
        (false, false)
    } else {
        bits.skip(1)?;
        let (x, y) = subsampling(bits, profile, twelve)?;
        position = if x && y { u8::try_from(bits.bits(2)?).ok()? } else { 0 };
        (x, y)
    };
    let flags = [high, twelve, mono, x, y].iter().fold(0_u8, |flags, &flag| (flags << 1) | u8::from(flag));
    Some((flags << 2) | position)
}

fn subsampling(bits: &mut Bits<'_>, profile: u8, twelve: bool) -> Option<(bool, bool)> {
    match profile {
        0 => Some((true, true)),
        1 => Some((false, false)),
        _ if twelve => {
            let x = bits.bit()?;
            Some((x, x && bits.bit()?))
        }
        _ => Some((true, false)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Records of real encoders (libaom, SVT-AV1).
    const RECORDS: [&[u8]; 2] = [
        b"\x81\x04\x0c\x00\x0a\x0b\x00\x00\x00\x24\xcf\x7f\x0d\xbf\xff\x30\x08",
        b"\x81\x00\x0c\x00\x0a\x0b\x00\x00\x00\x04\x3d\x06\xd4\xda\xf9\x00\x40",
    ];

    #[test]
    fn records_are_made_from_the_sequence_header_as_encoders_make_them() {
        for expected in RECORDS {
            assert_eq!(record(&expected[4..]).unwrap(), expected);
            let unit = [b"\x12\x00", &expected[4..], b"\x32\x01\x10"].concat();
            assert_eq!(record(&unit).unwrap(), expected);
            assert!((5..expected.len()).all(|end| record(&expected[4..end]).is_none()));
        }
        assert_eq!(record(b"\x12\x00\x32\x01\x10"), None);
    }

    #[test]
    fn a_sequence_header_without_size_gets_one() {
        let whole = RECORDS[0];
        let unit = [b"\x08", &whole[6..]].concat();
        assert_eq!(record(&unit).unwrap(), whole);
    }

    #[test]
    fn a_sequence_header_that_is_too_long_is_none() {
        let record_of = |len: usize| {
            let mut header = RECORDS[0][6..].to_vec();
            header.resize(len, 0);
            let mut unit = BytesMut::from(&[(SEQUENCE_HEADER << 3) | 2][..]);
            put_leb128(len, &mut unit);
            unit.put_slice(&header);
            record(&unit)
        };
        let most = MAX_SEQUENCE_HEADER.stated();
        assert!(record_of(most).is_some() && record_of(most + 1).is_none());
    }

    #[test]
    fn keyframes_are_told_by_the_first_frame_header() {
        assert!(is_keyframe(b"\x12\x00\x32\x01\x10") && is_keyframe(b"\x1a\x01\x10"));
        assert!(!is_keyframe(b"\x12\x00\x32\x01\x30"), "inter frame");
        assert!(!is_keyframe(b"\x32\x01\x80"), "shows an earlier frame");
        assert!(!is_keyframe(b"\x12\x00") && !is_keyframe(b"") && !is_keyframe(b"\x32\x05\x10"));
    }
}
