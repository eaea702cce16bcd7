//! VP8 and VP9: keyframes, and the `vpcC` record, which their bit streams do not carry.

use crate::media::codec::{VPX_RECORD_LEN, VpxKey};
use crate::media::flv::Codec;

/// Whether a frame of `codec` is a keyframe.
pub(super) fn is_keyframe(codec: Codec, frame: &[u8]) -> bool {
    VpxKey::is_one(codec, frame)
}

/// The record of a stream, from a keyframe. Colours other than in RGB are "unspecified".
pub(super) fn record(codec: Codec, frame: &[u8]) -> Option<[u8; VPX_RECORD_LEN]> {
    let key = VpxKey::read(codec, frame)?;
    let sampling = (key.bit_depth << 4) | (key.chroma << 1) | u8::from(key.full_range);
    Some([key.profile, key.level(), sampling, 2, 2, 2, 0, 0])
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
}
