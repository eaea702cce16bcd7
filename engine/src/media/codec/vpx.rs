//! VP8 and VP9: the `vpcC` record, and the headers of keyframes, which alone tell the size of the picture.

use super::super::flv::{Codec, Cursor};
use super::{Bits, VideoConfig};

/// Bytes of a VPCodecConfigurationRecord without initialisation data.
pub(in crate::media) const VPX_RECORD_LEN: usize = 8;

/// A VPCodecConfigurationRecord (VP codec ISO media file format binding) without the version and flags that it has in an
/// MP4 box, and in the sequence headers of some senders. `None` if it is none.
pub(in crate::media) fn bare_vpx_record(record: &[u8]) -> Option<&[u8]> {
    let bare = match record.strip_prefix(&[1, 0, 0, 0]) {
        Some(rest) if rest.len() >= VPX_RECORD_LEN => rest,
        _ => record,
    };
    (bare.len() >= VPX_RECORD_LEN).then_some(bare)
}

pub(super) fn record(record: &[u8]) -> Option<VideoConfig> {
    let [profile, level, ..] = *bare_vpx_record(record)? else { return None };
    Some(VideoConfig { profile, level: level.into(), ..VideoConfig::default() })
}

/// What the header of a keyframe says of a stream.
pub(in crate::media) struct VpxKey {
    pub(in crate::media) profile: u8,
    pub(in crate::media) bit_depth: u8,
    /// 1: 4:2:0, 2: 4:2:2, 3: 4:4:4.
    pub(in crate::media) chroma: u8,
    pub(in crate::media) full_range: bool,
    /// In pixels, 1 to 65,536.
    width: u32,
    height: u32,
}

impl VpxKey {
    /// Whether a frame of `codec` is a keyframe.
    pub(in crate::media) fn is_one(codec: Codec, frame: &[u8]) -> bool {
        match codec {
            // RFC 6386 9.1: the inverse of the first bit.
            Codec::Vp8 => frame.first().is_some_and(|byte| byte & 1 == 0),
            Codec::Vp9 => vp9_profile_of_key(&mut Bits::new(frame)).is_some(),
            _ => false,
        }
    }

    pub(in crate::media) fn read(codec: Codec, frame: &[u8]) -> Option<Self> {
        match codec {
            Codec::Vp8 => vp8(frame),
            Codec::Vp9 => vp9(frame),
            _ => None,
        }
    }

    pub(super) fn config(&self) -> VideoConfig {
        let (width, height) = (Some(self.width), Some(self.height));
        VideoConfig { width, height, profile: self.profile, level: self.level().into(), frame_rate: None }
    }

    /// The lowest level, in tenths, that allows pictures of so many pixels (VP9 annex A).
    pub(in crate::media) fn level(&self) -> u8 {
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
        let pixels = u64::from(self.width).saturating_mul(self.height.into());
        LEVELS.iter().find(|(most, _)| pixels <= *most).map_or(62, |(_, level)| *level)
    }
}

/// Frame tag and keyframe header, RFC 6386 9.1.
fn vp8(frame: &[u8]) -> Option<VpxKey> {
    let mut cursor = Cursor::new(frame);
    let [first, ..] = *cursor.take(3)? else { return None };
    if first & 1 == 1 || cursor.take(3)? != [0x9d, 0x01, 0x2a] {
        return None;
    }
    let width = u32::from(cursor.u16()?.swap_bytes() & 0x3fff);
    let height = u32::from(cursor.u16()?.swap_bytes() & 0x3fff);
    let is_picture = width > 0 && height > 0;
    let profile = (first >> 1) & 7;
    is_picture.then_some(VpxKey { profile, bit_depth: 8, chroma: 1, full_range: false, width, height })
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
fn vp9(frame: &[u8]) -> Option<VpxKey> {
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
    Some(VpxKey { profile, bit_depth, chroma, full_range, width, height })
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

    #[test]
    fn box_version_is_left_out() {
        let bare = b"\x00\x0b\x82\x02\x02\x02\x00\x00";
        assert_eq!(bare_vpx_record(bare), Some(&bare[..]));
        assert_eq!(bare_vpx_record(&[b"\x01\0\0\0", &bare[..]].concat()), Some(&bare[..]));
        // Profile 1, level 0: no box version.
        assert_eq!(bare_vpx_record(b"\x01\0\0\0\x02\x02\0\0").map(<[u8]>::len), Some(8));
        assert_eq!(bare_vpx_record(&bare[..7]), None);
    }
}
