//! Codecs as playlists and browsers call them: the `codecs` parameter of RFC 6381 and of each codec's binding to MP4.

use super::super::flv::Codec;
use super::{Bits, audio, bare_vpx_record};

/// The name of a track by its configuration record: `avc1.64001f`, `hvc1.1.6.L93.B0`, `av01.0.04M.08`, `mp4a.40.2`. `None`
/// where the record makes no sense or the codec has no such name.
pub fn codec_string(codec: Codec, record: &[u8]) -> Option<String> {
    match codec {
        Codec::H264 => avc(record),
        Codec::Hevc => hevc(record),
        Codec::Av1 => av1(record),
        Codec::Vp9 => vp9(record),
        Codec::Aac => aac(record),
        Codec::Mp3 => Some("mp4a.40.34".to_owned()),
        Codec::Opus => Some("Opus".to_owned()),
        Codec::Flac => Some("fLaC".to_owned()),
        Codec::Ac3 => Some("ac-3".to_owned()),
        Codec::Eac3 => Some("ec-3".to_owned()),
        _ => None,
    }
}

/// Profile, constraints and level, as they stand in the record (RFC 6381 3.3).
fn avc(record: &[u8]) -> Option<String> {
    let [_, profile, constraints, level, ..] = record else { return None };
    Some(format!("avc1.{profile:02x}{constraints:02x}{level:02x}"))
}

/// ISO/IEC 14496-15 E.3: the compatibility flags from the last to the first, constraints without the zeros at their end.
fn hevc(record: &[u8]) -> Option<String> {
    let mut bits = Bits::new(record.get(1..)?);
    let space = ["", "A", "B", "C"].get(usize::try_from(bits.bits(2)?).ok()?)?;
    let tier = if bits.bit()? { 'H' } else { 'L' };
    let profile = bits.bits(5)?;
    let compatibility = bits.bits(32)?.reverse_bits();
    let constraints = record.get(6..12)?;
    let level = record.get(12)?;
    let last = constraints.iter().rposition(|&byte| byte != 0).map_or(0, |at| at.saturating_add(1));
    let constraints: String = constraints.iter().take(last).map(|byte| format!(".{byte:X}")).collect();
    Some(format!("hvc1.{space}{profile}.{compatibility:X}.{tier}{level}{constraints}"))
}

/// AV1 ISO-BMFF binding 5: profile, level and tier, bits of a sample.
fn av1(record: &[u8]) -> Option<String> {
    let mut bits = Bits::new(record.get(1..)?);
    let (profile, level) = (bits.bits(3)?, bits.bits(5)?);
    let tier = if bits.bit()? { 'H' } else { 'M' };
    let depth = match (bits.bit()?, bits.bit()?) {
        (false, _) => 8,
        (true, false) => 10,
        (true, true) => 12,
    };
    Some(format!("av01.{profile}.{level:02}{tier}.{depth:02}"))
}

/// VP Codec ISO-BMFF binding: profile, level, bits of a sample. Level 1 stands for one that is not told.
fn vp9(record: &[u8]) -> Option<String> {
    let [profile, level, depth, ..] = bare_vpx_record(record)? else { return None };
    let level = if *level == 0 { 10 } else { *level };
    Some(format!("vp09.{profile:02}.{level:02}.{:02}", depth >> 4))
}

/// The object type of MPEG-4 audio; that of an extension where one is told, wherever it stands.
fn aac(record: &[u8]) -> Option<String> {
    let object = match audio::aac(record)?.profile {
        Some("HE") => 5,
        Some("HE v2") => 29,
        _ => audio::aac_object_type(&mut Bits::new(record))?,
    };
    Some(format!("mp4a.40.{object}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(codec: Codec, hex: &str) -> Option<String> {
        let digits: Vec<u32> = hex.chars().filter_map(|digit| digit.to_digit(16)).collect();
        let bytes: Vec<u8> =
            digits.chunks(2).map(|pair| u8::try_from(pair[0] << 4 | pair[1]).unwrap()).collect();
        codec_string(codec, &bytes)
    }

    #[test]
    fn tracks_are_called_as_their_records_say() {
        for (codec, record, expected) in [
            (Codec::H264, "0142c01effe1", "avc1.42c01e"),
            (Codec::H264, "0164001fffe1", "avc1.64001f"),
            // Of x265 and of a phone: a tier, a profile of 10 bits, constraints to their end.
            (Codec::Hevc, "0101600000009000000000003cf000", "hvc1.1.6.L60.90"),
            (Codec::Hevc, "01022000000090000000000099f000", "hvc1.2.4.L153.90"),
            (Codec::Hevc, "012160000000b0000000000078f000", "hvc1.1.6.H120.B0"),
            (Codec::Hevc, "01010000000000000000000000f000", "hvc1.1.0.L0"),
            (Codec::Av1, "81040c00", "av01.0.04M.08"),
            (Codec::Av1, "8128c000", "av01.1.08H.10"),
            (Codec::Av1, "814d6000", "av01.2.13M.12"),
            (Codec::Vp9, "01000000000b820202020000", "vp09.00.11.08"),
            (Codec::Vp9, "0200a20202020000", "vp09.02.10.10"),
            (Codec::Aac, "1210", "mp4a.40.2"),
            (Codec::Aac, "2b920800", "mp4a.40.5"),
            (Codec::Aac, "139056e5a0", "mp4a.40.5"),
            (Codec::Aac, "eb8a0800", "mp4a.40.29"),
            (Codec::Mp3, "", "mp4a.40.34"),
            (Codec::Opus, "", "Opus"),
            (Codec::Flac, "", "fLaC"),
            (Codec::Ac3, "", "ac-3"),
            (Codec::Eac3, "", "ec-3"),
        ] {
            assert_eq!(name(codec, record).as_deref(), Some(expected), "{record}");
        }
        assert_eq!(name(Codec::Speex, ""), None);
    }

    #[test]
    fn half_a_record_has_no_name() {
        for (codec, record) in [
            (Codec::H264, "0142c0"),
            (Codec::Hevc, "010160000000900000000000"),
            (Codec::Av1, "8104"),
            (Codec::Vp9, "000b8202020200"),
            (Codec::Aac, "12"),
        ] {
            assert_eq!(name(codec, record), None, "{record}");
        }
    }
}
