//! Audio configuration records and frame headers: AAC, Opus, FLAC, MP3, AC-3 and E-AC-3.

use super::super::flv::Cursor;
use super::{AudioConfig, Bits, Period};

/// Frames of `samples` each; 0 where they differ.
pub(super) fn steady(sample_rate: u32, channels: u8, samples: u64) -> Option<AudioConfig> {
    let period = Period::new(samples, u64::from(sample_rate));
    (sample_rate > 0).then_some(AudioConfig { profile: None, sample_rate, channels, period })
}

/// AudioSpecificConfig, ISO/IEC 14496-3 1.6.2.1.
pub(super) fn aac(record: &[u8]) -> Option<AudioConfig> {
    const SBR: u32 = 5;
    const PS: u32 = 29;
    let mut bits = Bits::new(record);
    let signalled = aac_object_type(&mut bits)?;
    let core_rate = aac_rate(&mut bits)?;
    let channels = aac_channels(bits.bits(4)?);
    let (mut object, mut sample_rate) = (signalled, core_rate);
    if matches!(signalled, SBR | PS) {
        sample_rate = aac_rate(&mut bits)?;
        object = aac_object_type(&mut bits)?;
    }
    let short = bits.bit().unwrap_or(false);
    let mut extension = (matches!(signalled, SBR | PS)).then_some(signalled);
    if extension.is_none()
        && let Some((found, rate)) = aac_late_extension(&mut bits)
    {
        (extension, sample_rate) = (Some(found), rate);
    }
    let period = aac_frame_samples(object, short).and_then(|samples| Period::new(samples, core_rate.into()));
    let profile = match extension {
        Some(PS) => Some("HE v2"),
        Some(_) => Some("HE"),
        None => aac_profile(object),
    };
    (core_rate > 0 && sample_rate > 0).then_some(AudioConfig { profile, sample_rate, channels, period })
}

pub(super) fn aac_object_type(bits: &mut Bits<'_>) -> Option<u32> {
    match bits.bits(5)? {
        31 => bits.bits(6)?.checked_add(32),
        object => Some(object),
    }
}

fn aac_rate(bits: &mut Bits<'_>) -> Option<u32> {
    const RATES: [u32; 13] = [
        96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350,
    ];
    match bits.bits(4)? {
        15 => bits.bits(24),
        index => RATES.get(usize::try_from(index).ok()?).copied(),
    }
}

fn aac_channels(configuration: u32) -> u8 {
    match configuration {
        1..=6 => u8::try_from(configuration).unwrap_or_default(),
        7 | 12 | 14 => 8,
        11 => 7,
        _ => 0,
    }
}

fn aac_profile(object: u32) -> Option<&'static str> {
    match object {
        1 => Some("Main"),
        2 => Some("LC"),
        3 => Some("SSR"),
        4 => Some("LTP"),
        23 => Some("LD"),
        39 => Some("ELD"),
        42 => Some("xHE"),
        _ => None,
    }
}

/// Samples of a frame at the core rate; SBR doubles both.
fn aac_frame_samples(object: u32, short: bool) -> Option<u64> {
    match object {
        1..=4 | 6 | 7 | 17 | 19..=22 => Some(if short { 960 } else { 1024 }),
        23 | 39 => Some(if short { 480 } else { 512 }),
        _ => None,
    }
}

/// SBR told after an LC configuration ("backward compatible signalling"): object type and output rate.
fn aac_late_extension(bits: &mut Bits<'_>) -> Option<(u32, u32)> {
    const SYNC: u32 = 0x2b7;
    const PS_SYNC: u32 = 0x548;
    // dependsOnCoreCoder and extensionFlag must be off: what they bring is not followed.
    if bits.bits(2)? != 0 || bits.bits(11)? != SYNC {
        return None;
    }
    let object = aac_object_type(bits)?;
    if object != 5 || !bits.bit()? {
        return None;
    }
    let rate = aac_rate(bits)?;
    let parametric_stereo = bits.bits(11) == Some(PS_SYNC) && bits.bit() == Some(true);
    Some((if parametric_stereo { 29 } else { object }, rate))
}

/// `OpusHead`, RFC 7845 5.1. Opus always decodes at 48 kHz; the rate in the header is the encoder's input.
pub(super) fn opus_head(record: &[u8]) -> Option<AudioConfig> {
    let mut cursor = Cursor::new(record.strip_prefix(b"OpusHead")?);
    cursor.u8()?;
    Some(AudioConfig { profile: None, sample_rate: 48_000, channels: cursor.u8()?, period: None })
}

/// The duration of an Opus packet, from its TOC byte: RFC 6716 3.1.
pub(super) fn opus_frame(packet: &[u8]) -> Option<AudioConfig> {
    let mut cursor = Cursor::new(packet);
    let toc = cursor.u8()?;
    let samples: u64 = match toc >> 3 {
        config @ 0..12 => match config & 3 {
            0 => 480,
            1 => 960,
            2 => 1_920,
            _ => 2_880,
        },
        config @ 12..16 => 480 << (config & 1),
        config => 120 << (config & 3),
    };
    let count = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u64::from(cursor.u8()? & 0x3f),
    };
    let channels = if toc & 4 == 0 { 1 } else { 2 };
    steady(48_000, channels, samples.checked_mul(count)?)
}

/// What follows `fLaC` and the header of the first block, where a record has them: STREAMINFO (RFC 9639 8.2).
pub(in crate::media) fn flac_stream_info(record: &[u8]) -> Option<&[u8]> {
    record.strip_prefix(b"fLaC").map_or(Some(record), |rest| rest.get(4..))
}

pub(super) fn flac(record: &[u8]) -> Option<AudioConfig> {
    let mut bits = Bits::new(flac_stream_info(record)?);
    let (shortest, longest) = (bits.bits(16)?, bits.bits(16)?);
    bits.skip(48)?;
    let sample_rate = bits.bits(20)?;
    let channels = u8::try_from(bits.bits(3)?.checked_add(1)?).ok()?;
    let samples = if shortest == longest { u64::from(longest) } else { 0 };
    steady(sample_rate, channels, samples)
}

/// MPEG-1, 2 and 2.5 audio frame header, ISO/IEC 11172-3 2.4.1.3.
pub(super) fn mpeg_audio(frame: &[u8]) -> Option<AudioConfig> {
    const RATES: [u32; 3] = [44_100, 48_000, 32_000];
    let mut bits = Bits::new(frame);
    if bits.bits(11)? != 0x7ff {
        return None;
    }
    let version = bits.bits(2)?;
    let layer = bits.bits(2)?;
    bits.skip(5)?;
    let rate = RATES.get(usize::try_from(bits.bits(2)?).ok()?)?;
    bits.skip(2)?;
    let channels = if bits.bits(2)? == 3 { 1 } else { 2 };
    let (halvings, long) = match version {
        3 => (0_u32, true),
        2 => (1, false),
        0 => (2, false),
        _ => return None,
    };
    let samples = match layer {
        1 if !long => 576,
        1 | 2 => 1_152,
        3 => 384,
        _ => return None,
    };
    steady(rate.checked_shr(halvings)?, channels, samples)
}

/// What the head of an AC-3 or E-AC-3 frame says (ETSI TS 102 366 4.3 and E.1.2), by its names there.
#[cfg_attr(not(feature = "mp4"), expect(dead_code, reason = "boxes of MP4 tell more than others ask for"))]
pub(in crate::media) struct Dolby {
    pub(in crate::media) fscod: u8,
    pub(in crate::media) bsid: u8,
    /// 0, a complete main service, in E-AC-3, which tells it behind much else.
    pub(in crate::media) bsmod: u8,
    pub(in crate::media) acmod: u8,
    pub(in crate::media) lfeon: bool,
    /// AC-3: the number of the bit rate, `frmsizecod` without its last bit. E-AC-3: kbit/s.
    pub(in crate::media) bit_rate: u16,
    sample_rate: u32,
    samples: u16,
}

impl Dolby {
    /// Samples of a block.
    const BLOCK: u16 = 256;
    const SYNC: u32 = 0x0b77;

    pub(in crate::media) fn ac3(frame: &[u8]) -> Option<Self> {
        let mut bits = Bits::new(frame);
        if bits.bits(16)? != Self::SYNC {
            return None;
        }
        bits.skip(16)?;
        let fscod = small(&mut bits, 2)?;
        let sample_rate = dolby_rate(fscod)?;
        let bit_rate = u16::from(small(&mut bits, 6)? >> 1);
        let (bsid, bsmod, acmod) = (small(&mut bits, 5)?, small(&mut bits, 3)?, small(&mut bits, 3)?);
        let has_centre = acmod & 1 == 1 && acmod != 1;
        // Mix levels of centre and surround channels, and how two channels carry surround.
        for _ in [has_centre, acmod & 4 != 0, acmod == 2].into_iter().filter(|there| *there) {
            bits.skip(2)?;
        }
        let (lfeon, samples) = (bits.bit()?, 6 * Self::BLOCK);
        Some(Self { fscod, bsid, bsmod, acmod, lfeon, bit_rate, sample_rate, samples })
    }

    pub(in crate::media) fn eac3(frame: &[u8]) -> Option<Self> {
        let mut bits = Bits::new(frame);
        if bits.bits(16)? != Self::SYNC {
            return None;
        }
        bits.skip(2 + 3)?;
        let words = bits.bits(11)?.checked_add(1)?;
        let fscod = small(&mut bits, 2)?;
        // Frames of half the rates have six blocks always.
        let (sample_rate, blocks) = match fscod {
            3 => (dolby_rate(small(&mut bits, 2)?)? >> 1, 6_u16),
            code => (dolby_rate(code)?, *[1, 2, 3, 6].get(usize::from(small(&mut bits, 2)?))?),
        };
        let samples = blocks.checked_mul(Self::BLOCK)?;
        let (acmod, lfeon, bsid) = (small(&mut bits, 3)?, bits.bit()?, small(&mut bits, 5)?);
        let bit_s = words.checked_mul(16)?.checked_mul(sample_rate)?.checked_div(samples.into())?;
        let bit_rate = u16::try_from(bit_s / 1_000).ok()?;
        Some(Self { fscod, bsid, bsmod: 0, acmod, lfeon, bit_rate, sample_rate, samples })
    }

    pub(super) fn config(&self) -> Option<AudioConfig> {
        let channels = match self.acmod {
            1 => 1_u8,
            3 | 4 => 3,
            5 | 6 => 4,
            7 => 5,
            _ => 2,
        };
        let channels = channels.saturating_add(u8::from(self.lfeon));
        steady(self.sample_rate, channels, self.samples.into())
    }
}

fn dolby_rate(code: u8) -> Option<u32> {
    [48_000, 44_100, 32_000].get(usize::from(code)).copied()
}

/// At most 8 bits.
fn small(bits: &mut Bits<'_>, count: u32) -> Option<u8> {
    u8::try_from(bits.bits(count)?).ok()
}
