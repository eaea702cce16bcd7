//! Pictures at which decoding can begin although no keyframe is announced.
//!
//! Sources: H.264 (ITU-T H.264) 7.3.1, 7.3.2.3 and D.1.8; HEVC (ITU-T H.265) 7.3.1.2, 7.3.5 and D.2.8.

use super::{Codec, Cursor, PayloadInfo};

bound! {
    /// NAL units before the first slice that are looked at: delimiter, parameter sets and a few messages
    /// (test `little_of_a_picture_of_many_units_and_messages_is_looked_at`).
    const MAX_UNITS: usize = 8, without usize::MAX;
    /// Messages of a unit that are looked at (test `little_of_a_picture_of_many_units_and_messages_is_looked_at`).
    const MAX_MESSAGES: usize = 8, without usize::MAX;
}
/// The payload type of a recovery point, in both.
const RECOVERY_POINT: u32 = 6;

/// Whether a coded frame of H.264 or HEVC, NAL units with lengths of four bytes, is a recovery point or refers to no
/// other picture. False for all other codecs.
pub(super) fn is_point(info: &PayloadInfo, payload: &[u8]) -> bool {
    let kind_of = match info.codec {
        Codec::H264 => h264 as fn(u8) -> Unit,
        Codec::Hevc => hevc,
        _ => return false,
    };
    let mut units = Cursor::new(info.data(payload));
    for _ in 0..MAX_UNITS.get() {
        let Some(unit) = units.u32().and_then(|len| units.take(usize::try_from(len).ok()?)) else {
            return false;
        };
        let Some((&header, rest)) = unit.split_first() else { return false };
        match kind_of(header) {
            Unit::Start => return true,
            Unit::Slice => return false,
            Unit::Messages { skip } if has_recovery_point(rest.get(skip..).unwrap_or_default()) => {
                return true;
            }
            Unit::Messages { .. } | Unit::Other => {}
        }
    }
    false
}

enum Unit {
    /// A slice of a picture that refers to no other.
    Start,
    Slice,
    /// Supplemental messages, after so many further bytes of header.
    Messages {
        skip: usize,
    },
    Other,
}

fn h264(header: u8) -> Unit {
    match header & 0x1f {
        5 => Unit::Start,
        1..=4 => Unit::Slice,
        6 => Unit::Messages { skip: 0 },
        _ => Unit::Other,
    }
}

fn hevc(header: u8) -> Unit {
    match (header >> 1) & 0x3f {
        16..=21 => Unit::Start,
        0..=15 => Unit::Slice,
        39 => Unit::Messages { skip: 1 },
        _ => Unit::Other,
    }
}

/// Emulation prevention bytes are no matter: they do not occur in the types and lengths of messages this short.
fn has_recovery_point(messages: &[u8]) -> bool {
    let mut messages = Cursor::new(messages);
    for _ in 0..MAX_MESSAGES.get() {
        let (Some(kind), Some(len)) = (number(&mut messages), number(&mut messages)) else { return false };
        if kind == RECOVERY_POINT {
            return true;
        }
        if messages.take(usize::try_from(len).unwrap_or(usize::MAX)).is_none() {
            return false;
        }
    }
    false
}

/// A number as 255, 255, ..., and the rest.
fn number(messages: &mut Cursor<'_>) -> Option<u32> {
    let mut sum = 0u32;
    loop {
        let byte = messages.u8()?;
        sum = sum.checked_add(u32::from(byte))?;
        if byte != 255 {
            return Some(sum);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use crate::media::{Frame, FrameKind};

    fn picture(first: &[u8], units: &[&[u8]]) -> Frame {
        let mut payload = first.to_vec();
        for unit in units {
            payload.extend(u32::try_from(unit.len()).unwrap().to_be_bytes());
            payload.extend_from_slice(unit);
        }
        Frame::new(FrameKind::Video, 0, payload.into())
    }

    /// A message of x264's kind before the recovery point: user data of 300 bytes.
    fn messages(header: &[u8]) -> Vec<u8> {
        [header, &[5, 255, 45], &[7; 300], &[6, 1, 0xc4, 0x80]].concat()
    }

    #[test]
    fn a_recovery_point_and_an_unmarked_independent_picture_are_places_to_start() {
        const AVC: &[u8] = &[0x27, 1, 0, 0, 0];
        const HEVC: &[u8] = &[0x80 | 0x20 | 3, b'h', b'v', b'c', b'1'];
        let delimiter: &[u8] = &[9, 0xf0];
        for (first, units, expected) in [
            (AVC, vec![delimiter, &messages(&[6]), &[0x41, 1, 2]], true),
            (AVC, vec![delimiter, &[0x65, 1, 2]], true),
            (AVC, vec![delimiter, &[0x41, 1, 2], &messages(&[6])], false),
            (AVC, vec![&[6, 5, 1, 7, 0x80][..], &[0x41, 1, 2]], false),
            (HEVC, vec![&messages(&[39 << 1, 1])[..], &[2, 1, 3]], true),
            (HEVC, vec![&[19 << 1, 1, 3][..]], true),
            (HEVC, vec![&[2, 1, 3][..]], false),
        ] {
            let frame = picture(first, &units);
            assert!(!frame.flags.keyframe);
            assert_eq!(frame.flags.recovery, expected, "{units:x?}");
        }
    }

    #[test]
    fn a_keyframe_is_none_besides_and_cut_pictures_are_none() {
        assert!(!picture(&[0x17, 1, 0, 0, 0], &[&[0x65, 1]]).flags.recovery);
        let whole = picture(&[0x27, 1, 0, 0, 0], &[&messages(&[6])]).payload;
        for len in 0..whole.len() - 4 {
            assert!(!Frame::new(FrameKind::Video, 0, whole.slice(..len)).flags.recovery, "{len}");
        }
    }

    #[test]
    fn little_of_a_picture_of_many_units_and_messages_is_looked_at() {
        const AVC: &[u8] = &[0x27, 1, 0, 0, 0];
        let is_recovery = |units: &[&[u8]]| picture(AVC, units).flags.recovery;
        let after_units = |count| is_recovery(&[&[&[9, 0xf0][..]].repeat(count)[..], &[&[0x65, 1]]].concat());
        assert!(after_units(super::MAX_UNITS.stated() - 1) && !after_units(super::MAX_UNITS.stated()));
        let after_messages =
            |count| is_recovery(&[&[&[6][..], &[5, 1, 7].repeat(count), &[6, 1, 0xc4, 0x80]].concat()]);
        let most = super::MAX_MESSAGES.stated();
        assert!(after_messages(most - 1) && !after_messages(most));
    }
}
