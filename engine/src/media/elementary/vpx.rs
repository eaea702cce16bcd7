//! VP8 and VP9: keyframes, and the `vpcC` record, which their bit streams do not carry.

use crate::media::codec::Bits;
use crate::media::flv::{Codec, Cursor};

/// Bytes of a VPCodecConfigurationRecord without initialisation data.
const RECORD_LEN: usize = 8;

/// What the record says of a stream (VP codec ISO media file format binding).
struct Format {
    profile: u8,
    bit_depth: u8,
    /// 1: 4:2:0, 2: 4:2:2, 3: 4:4:4.
    chroma: u8,
    full_range: bool,
    pixels: u64,
}

/// Whether a frame of `codec` is a keyframe.
pub(super) fn is_keyframe(codec: Codec, frame: &[u8]) -> bool {
    match codec {
        // RFC 6386 9.1: the inverse of the first bit.
        Codec::Vp8 => frame.first().is_some_and(|byte| byte & 1 == 0),
        Codec::Vp9 => vp9_profile_of_key(&mut Bits::new(frame)).is_some(),
        _ => false,
    }
}

/// The record of a stream, from a keyframe. Colours other than in RGB are "unspecified".
pub(super) fn record(codec: Codec, frame: &[u8]) -> Option<[u8; RECORD_LEN]> {
    let format = match codec {
        Codec::Vp8 => vp8(frame)?,
        Codec::Vp9 => vp9(frame)?,
        _ => return None,
    };
    let sampling = (format.bit_depth << 4) | (format.chroma << 1) | u8::from(format.full_range);
    Some([format.profile, level(format.pixels), sampling, 2, 2, 2, 0, 0])
}

/// A record without the version and flags that it has in an MP4 box. `None` if it is none.
pub(super) fn bare_record(record: &[u8]) -> Option<&[u8]> {
    let bare = match record.strip_prefix(&[1, 0, 0, 0]) {
        Some(rest) if rest.len() >= RECORD_LEN => rest,
        _ => record,
    };
    (bare.len() >= RECORD_LEN).then_some(bare)
}

/// The lowest level, in tenths, that allows pictures of so many pixels (VP9 annex A).
fn level(pixels: u64) -> u8 {
    const LEVELS: [(u64, u8); 9] = [
        (36_864, 10),
        (73_728, 11),
        (122_880, 20),
        (245_760, 21),
        (552_960, 30),
        (983_040, 31),
        (2_228_224, 40),
        (8_912_896, 50),
        (35_651_584, 60),
    ];
    LEVELS.iter().find(|(most, _)| pixels <= *most).map_or(62, |(_, level)| *level)
}

/// Frame tag and keyframe header, RFC 6386 9.1.
fn vp8(frame: &[u8]) -> Option<Format> {
    let mut cursor = Cursor::new(frame);
    let [first, ..] = *cursor.take(3)? else { return None };
    if first & 1 == 1 || cursor.take(3)? != [0x9d, 0x01, 0x2a] {
        return None;
    }
    let width = cursor.u16()?.swap_bytes() & 0x3fff;
    let height = cursor.u16()?.swap_bytes() & 0x3fff;
    let pixels = u64::from(width).saturating_mul(height.into());
    Some(Format { profile: (first >> 1) & 7, bit_depth: 8, chroma: 1, full_range: false, pixels })
}

/// The profile of a VP9 keyframe; `bits` then stand at `show_frame`.
fn vp9_profile_of_key(bits: &mut Bits<'_>) -> Option<u8> {
    const FRAME_MARKER: u32 = 2;
    if bits.bits(2)? != FRAME_MARKER {
        return None;
    }
    let (low, high) = (bits.bit()?, bits.bit()?);
    let profile = (u8::from(high) << 1) | u8::from(low);
    bits.skip(usize::from(profile == 3))?;
    let (show_existing_frame, inter) = (bits.bit()?, bits.bit()?);
    (!show_existing_frame && !inter).then_some(profile)
}

/// Uncompressed header of a keyframe, VP9 6.2.
fn vp9(frame: &[u8]) -> Option<Format> {
    const SYNC: u32 = 0x0049_8342;
    const RGB: u32 = 7;
    let mut bits = Bits::new(frame);
    let profile = vp9_profile_of_key(&mut bits)?;
    bits.skip(2)?;
    if bits.bits(24)? != SYNC {
        return None;
    }
    let bit_depth = match profile >= 2 {
        true if bits.bit()? => 12,
        true => 10,
        false => 8,
    };
    let (mut chroma, mut full_range) = (3, true);
    if bits.bits(3)? == RGB {
        bits.skip(usize::from(profile & 1 == 1))?;
    } else {
        full_range = bits.bit()?;
        chroma = if profile & 1 == 1 { vp9_chroma(&mut bits)? } else { 1 };
    }
    let (width, height) = (bits.bits(16)?.saturating_add(1), bits.bits(16)?.saturating_add(1));
    let pixels = u64::from(width).saturating_mul(height.into());
    Some(Format { profile, bit_depth, chroma, full_range, pixels })
}

fn vp9_chroma(bits: &mut Bits<'_>) -> Option<u8> {
    let (x, y) = (bits.bit()?, bits.bit()?);
    bits.skip(1)?;
    Some(match (x, y) {
        (true, true) => 1,
        (true, false) => 2,
        _ => 3,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 320x240, profile 0.
    const VP9_KEY: &[u8] = b"\x82\x49\x83\x42\x00\x13\xf0\x0e\xf0\x00";
    const VP8_KEY: &[u8] = b"\x10\x02\x00\x9d\x01\x2a\x40\x01\xf0\x00\x00";

    #[test]
    fn keyframes_are_recognised() {
        assert!(is_keyframe(Codec::Vp9, VP9_KEY) && is_keyframe(Codec::Vp8, VP8_KEY));
        assert!(!is_keyframe(Codec::Vp9, b"\x86\x00") && !is_keyframe(Codec::Vp8, b"\x11\x02"));
        assert!(!is_keyframe(Codec::Vp9, b"\x88"), "shows an earlier frame");
        assert!(!is_keyframe(Codec::Vp9, b"\x02") && !is_keyframe(Codec::Vp8, b""));
    }

    #[test]
    fn records_are_made_from_keyframes() {
        assert_eq!(record(Codec::Vp9, VP9_KEY), Some([0, 20, 0x82, 2, 2, 2, 0, 0]));
        assert_eq!(record(Codec::Vp8, VP8_KEY), Some([0, 20, 0x82, 2, 2, 2, 0, 0]));
        // Profile 2: 10 bits.
        let deep = b"\x92\x49\x83\x42\x00\x09\xf8\x07\x78";
        assert_eq!(record(Codec::Vp9, deep).unwrap()[..3], [2, 20, 0xa2]);
        for (codec, frame) in [(Codec::Vp9, VP9_KEY), (Codec::Vp8, VP8_KEY)] {
            assert!((0..9).all(|end| record(codec, &frame[..end]).is_none()));
        }
    }

    #[test]
    fn box_version_is_left_out() {
        let bare = b"\x00\x0b\x82\x02\x02\x02\x00\x00";
        assert_eq!(bare_record(bare), Some(&bare[..]));
        assert_eq!(bare_record(&[b"\x01\0\0\0", &bare[..]].concat()), Some(&bare[..]));
        // Profile 1, level 0: no box version.
        assert_eq!(bare_record(b"\x01\0\0\0\x02\x02\0\0").map(<[u8]>::len), Some(8));
        assert_eq!(bare_record(&bare[..7]), None);
    }
}
