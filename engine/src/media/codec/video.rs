//! Video configuration records: AVC, HEVC and AV1.

use super::super::flv::Cursor;
use super::{Bits, VideoConfig, obu};

bound! {
    /// Bytes of a parameter set that are read: it is tiny, and what comes after this is not needed
    /// (test `of_a_long_parameter_set_only_the_beginning_is_read`).
    const MAX_PARAMETER_SET: usize = 4096, without usize::MAX;
}

/// The beginning of a NAL unit without emulation prevention bytes (H.264 7.4.1).
pub(in crate::media) fn rbsp(nal: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(nal.len().min(MAX_PARAMETER_SET.get()));
    let mut zeros = 0_u8;
    for &byte in nal.iter().take(MAX_PARAMETER_SET.get()) {
        if zeros >= 2 && byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if byte == 0 { zeros.saturating_add(1) } else { 0 };
        out.push(byte);
    }
    out
}

/// AVCDecoderConfigurationRecord, ISO/IEC 14496-15 5.3.3.1.
pub(super) fn avc(record: &[u8]) -> Option<VideoConfig> {
    let mut cursor = Cursor::new(record);
    cursor.take(5)?;
    if cursor.u8()? & 0x1f == 0 {
        return None;
    }
    let length = usize::from(cursor.u16()?);
    let sps = rbsp(cursor.take(length)?);
    avc_sps(&mut Bits::new(sps.get(1..)?))
}

/// Sequence parameter set, H.264 7.3.2.1.1.
fn avc_sps(bits: &mut Bits<'_>) -> Option<VideoConfig> {
    let profile = bits.byte()?;
    bits.skip(8)?;
    let level = bits.bits(8)?;
    bits.ue()?;
    let chroma = avc_chroma(bits, profile)?;
    bits.ue()?;
    avc_picture_order(bits)?;
    bits.ue()?;
    bits.skip(1)?;
    let width_units = bits.ue()?.checked_add(1)?;
    let height_units = bits.ue()?.checked_add(1)?;
    let field_factor = if bits.bit()? { 1 } else { 2 };
    if field_factor == 2 {
        bits.skip(1)?;
    }
    bits.skip(1)?;
    let (unit_x, unit_y) = chroma.crop_units(field_factor);
    let (crop_x, crop_y) = if bits.bit()? { crop(bits, unit_x, unit_y)? } else { (0, 0) };
    let width = width_units.checked_mul(16)?.checked_sub(crop_x)?;
    let height = height_units.checked_mul(16)?.checked_mul(field_factor)?.checked_sub(crop_y)?;
    let frame_rate = if bits.bit()? { avc_timing(bits) } else { None };
    Some(VideoConfig { width: Some(width), height: Some(height), profile, level, frame_rate })
}

/// How chroma is sampled (`chroma_format_idc`): 0 none, 1 4:2:0, 2 4:2:2, 3 4:4:4.
#[derive(Clone, Copy)]
struct Chroma(u32);

impl Chroma {
    /// Luma samples that a step of the cropping rectangle counts for.
    fn crop_units(self, field_factor: u32) -> (u32, u32) {
        let x = if matches!(self.0, 1 | 2) { 2 } else { 1 };
        let y = if self.0 == 1 { 2_u32 } else { 1 };
        (x, y.saturating_mul(field_factor))
    }
}

/// Left, right, top and bottom offsets: pixels cut off in width and height.
fn crop(bits: &mut Bits<'_>, unit_x: u32, unit_y: u32) -> Option<(u32, u32)> {
    let x = bits.ue()?.checked_add(bits.ue()?)?.checked_mul(unit_x)?;
    let y = bits.ue()?.checked_add(bits.ue()?)?.checked_mul(unit_y)?;
    Some((x, y))
}

fn avc_chroma(bits: &mut Bits<'_>, profile: u8) -> Option<Chroma> {
    if !matches!(profile, 100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135) {
        return Some(Chroma(1));
    }
    let chroma = bits.ue()?;
    let separate_planes = chroma == 3 && bits.bit()?;
    bits.ue()?;
    bits.ue()?;
    bits.skip(1)?;
    if bits.bit()? {
        for list in 0..if chroma == 3 { 12 } else { 8 } {
            if bits.bit()? {
                scaling_list(bits, if list < 6 { 16 } else { 64 })?;
            }
        }
    }
    Some(Chroma(if separate_planes { 0 } else { chroma }))
}

fn scaling_list(bits: &mut Bits<'_>, size: u32) -> Option<()> {
    let (mut last, mut next) = (8_i64, 8_i64);
    for _ in 0..size {
        if next != 0 {
            next = last.checked_add(bits.se()?)?.rem_euclid(256);
        }
        last = if next == 0 { last } else { next };
    }
    Some(())
}

fn avc_picture_order(bits: &mut Bits<'_>) -> Option<()> {
    match bits.ue()? {
        0 => {
            bits.ue()?;
        }
        1 => {
            bits.skip(1)?;
            bits.se()?;
            bits.se()?;
            for _ in 0..bits.ue()?.min(255) {
                bits.se()?;
            }
        }
        _ => {}
    }
    Some(())
}

/// Frame rate from the start of the VUI parameters, H.264 E.1.1.
fn avc_timing(bits: &mut Bits<'_>) -> Option<f64> {
    const EXTENDED_SAR: u32 = 255;
    if bits.bit()? && bits.bits(8)? == EXTENDED_SAR {
        bits.skip(32)?;
    }
    if bits.bit()? {
        bits.skip(1)?;
    }
    if bits.bit()? {
        bits.skip(4)?;
        if bits.bit()? {
            bits.skip(24)?;
        }
    }
    if bits.bit()? {
        bits.ue()?;
        bits.ue()?;
    }
    if !bits.bit()? {
        return None;
    }
    let (units, scale) = (bits.bits(32)?, bits.bits(32)?);
    // Ticks are fields: two to a frame.
    rate(scale, units).map(|fields| fields / 2.0)
}

fn rate(scale: u32, units: u32) -> Option<f64> {
    (units > 0 && scale > 0).then(|| f64::from(scale) / f64::from(units))
}

/// HEVCDecoderConfigurationRecord, ISO/IEC 14496-15 8.3.3.1.
pub(super) fn hevc(record: &[u8]) -> Option<VideoConfig> {
    const SPS: u8 = 33;
    let mut cursor = Cursor::new(record);
    cursor.take(22)?;
    for _ in 0..cursor.u8()? {
        let nal_type = cursor.u8()? & 0x3f;
        for _ in 0..cursor.u16()? {
            let length = usize::from(cursor.u16()?);
            let nal = cursor.take(length)?;
            if nal_type == SPS {
                return hevc_sps(&mut Bits::new(rbsp(nal).get(2..)?));
            }
        }
    }
    None
}

/// Sequence parameter set, H.265 7.3.2.2.1, up to the conformance window.
fn hevc_sps(bits: &mut Bits<'_>) -> Option<VideoConfig> {
    bits.skip(4)?;
    let sub_layers = bits.bits(3)?;
    bits.skip(1)?;
    let (profile, level) = hevc_profile_tier_level(bits, sub_layers)?;
    bits.ue()?;
    let chroma = bits.ue()?;
    let separate_planes = chroma == 3 && bits.bit()?;
    let width = bits.ue()?;
    let height = bits.ue()?;
    let (unit_x, unit_y) = Chroma(if separate_planes { 0 } else { chroma }).crop_units(1);
    let (crop_x, crop_y) = if bits.bit()? { crop(bits, unit_x, unit_y)? } else { (0, 0) };
    let (width, height) = (width.checked_sub(crop_x)?, height.checked_sub(crop_y)?);
    Some(VideoConfig { width: Some(width), height: Some(height), profile, level, frame_rate: None })
}

/// Profile number and level in tenths, H.265 7.3.3.
pub(in crate::media) fn hevc_profile_tier_level(bits: &mut Bits<'_>, sub_layers: u32) -> Option<(u8, u32)> {
    /// Profile, compatibility and constraint flags.
    const PROFILE_BITS: usize = 88;
    bits.skip(3)?;
    let profile = u8::try_from(bits.bits(5)?).ok()?;
    bits.skip(PROFILE_BITS.saturating_sub(8))?;
    // general_level_idc counts in thirtieths.
    let level = bits.bits(8)?.checked_div(3)?;
    let mut present = Vec::new();
    for _ in 0..sub_layers {
        present.push((bits.bit()?, bits.bit()?));
    }
    if sub_layers > 0 {
        for _ in sub_layers..8 {
            bits.skip(2)?;
        }
    }
    for (has_profile, has_level) in present {
        bits.skip(if has_profile { PROFILE_BITS } else { 0 })?;
        bits.skip(if has_level { 8 } else { 0 })?;
    }
    Some((profile, level))
}

/// AV1CodecConfigurationRecord, AV1 ISO-BMFF binding 2.3.3; the size is in the sequence header OBU.
pub(super) fn av1(record: &[u8]) -> Option<VideoConfig> {
    let mut bits = Bits::new(record);
    bits.skip(8)?;
    let profile = u8::try_from(bits.bits(3)?).ok()?;
    let config = VideoConfig { profile, level: av1_level(bits.bits(5)?), ..VideoConfig::default() };
    let from_obu = record.get(4..).and_then(av1_sequence_header);
    Some(from_obu.unwrap_or(config))
}

/// `seq_level_idx` in tenths: 8 is level 4.0.
fn av1_level(index: u32) -> u32 {
    (index >> 2).saturating_add(2).saturating_mul(10).saturating_add(index & 3)
}

/// Finds and reads the sequence header among OBUs, AV1 5.3 and 5.5.
fn av1_sequence_header(units: &[u8]) -> Option<VideoConfig> {
    let header = obu::obus(units).find(|unit| unit.kind == obu::SEQUENCE_HEADER)?;
    av1_sequence(&mut Bits::new(header.payload))
}

/// The start of a sequence header OBU, AV1 5.5.1, up to the largest picture size.
pub(in crate::media) struct Av1Sequence {
    /// `seq_profile`.
    pub(in crate::media) profile: u8,
    /// `reduced_still_picture_header`: most of what could follow is absent.
    pub(in crate::media) reduced: bool,
    /// `seq_level_idx` of the first operating point.
    pub(in crate::media) level_index: u32,
    /// `seq_tier` of the first operating point.
    pub(in crate::media) tier: bool,
    frame_rate: Option<f64>,
    width: u32,
    height: u32,
}

impl Av1Sequence {
    /// Reads from the OBU's payload; `bits` then stand at `frame_id_numbers_present_flag`, or after it where
    /// that is absent.
    pub(in crate::media) fn read(bits: &mut Bits<'_>) -> Option<Self> {
        let profile = u8::try_from(bits.bits(3)?).ok()?;
        bits.skip(1)?;
        let reduced = bits.bit()?;
        let (level_index, tier, frame_rate) =
            if reduced { (bits.bits(5)?, false, None) } else { av1_operating_points(bits)? };
        let width_bits = bits.bits(4)?.checked_add(1)?;
        let height_bits = bits.bits(4)?.checked_add(1)?;
        let width = bits.bits(width_bits)?.checked_add(1)?;
        let height = bits.bits(height_bits)?.checked_add(1)?;
        Some(Self { profile, reduced, level_index, tier, frame_rate, width, height })
    }
}

fn av1_sequence(bits: &mut Bits<'_>) -> Option<VideoConfig> {
    let Av1Sequence { profile, level_index, frame_rate, width, height, .. } = Av1Sequence::read(bits)?;
    let level = av1_level(level_index);
    Some(VideoConfig { width: Some(width), height: Some(height), profile, level, frame_rate })
}

/// Timing, decoder model and operating points; level and tier of the first one.
fn av1_operating_points(bits: &mut Bits<'_>) -> Option<(u32, bool, Option<f64>)> {
    let (mut frame_rate, mut delay_bits) = (None, None);
    if bits.bit()? {
        frame_rate = av1_timing(bits)?;
        if bits.bit()? {
            delay_bits = Some(usize::try_from(bits.bits(5)?).ok()?.checked_add(1)?);
            bits.skip(32 + 5 + 5)?;
        }
    }
    let initial_display_delay = bits.bit()?;
    let mut first = None;
    for _ in 0..=bits.bits(5)? {
        bits.skip(12)?;
        let index = bits.bits(5)?;
        let tier = index > 7 && bits.bit()?;
        first = first.or(Some((index, tier)));
        if let Some(delay_bits) = delay_bits
            && bits.bit()?
        {
            bits.skip(delay_bits.checked_mul(2)?.checked_add(1)?)?;
        }
        if initial_display_delay && bits.bit()? {
            bits.skip(4)?;
        }
    }
    let (level_index, tier) = first?;
    Some((level_index, tier, frame_rate))
}

/// `timing_info`: a frame rate only where pictures are equally spaced.
fn av1_timing(bits: &mut Bits<'_>) -> Option<Option<f64>> {
    let (units, scale) = (bits.bits(32)?, bits.bits(32)?);
    if !bits.bit()? {
        return Some(None);
    }
    let ticks = bits.ue()?.checked_add(1)?;
    Some(rate(scale, units).map(|rate| rate / f64::from(ticks)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_parameter_set_only_the_beginning_is_read() {
        assert_eq!(rbsp(&[7; 100]), [7; 100]);
        assert_eq!(rbsp(&[7; 60_000]).len(), MAX_PARAMETER_SET.stated());
    }
}
