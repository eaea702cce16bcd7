//! Codec configuration records and audio frame headers: size, profile, sample rate, frame duration.
//!
//! Everything here reads at most what it is given and answers `None` where that makes no sense.

mod audio;
pub(super) mod obu;
mod rfc6381;
mod video;
mod vpx;

pub(super) use audio::Dolby;
#[cfg(feature = "mp4")]
pub(super) use audio::flac_stream_info;
pub(super) use video::{Av1Sequence, hevc_profile_tier_level, rbsp};
pub(super) use vpx::{VPX_RECORD_LEN, VpxKey, bare_vpx_record};

pub use rfc6381::codec_string;

use super::flv::Codec;

/// What a video configuration record says.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct VideoConfig {
    /// Picture width in pixels, after cropping; unknown for VP8 and VP9, whose record has none: [`video_frame`] tells.
    pub width: Option<u32>,
    /// Picture height in pixels, after cropping.
    pub height: Option<u32>,
    /// The profile's number as the codec's specification has it.
    pub profile: u8,
    /// The level in tenths: 31 is level 3.1.
    pub level: u32,
    /// Frames per second, where the record has timing information (H.264, AV1).
    pub frame_rate: Option<f64>,
}

/// What an audio configuration record or frame header says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AudioConfig {
    /// Profile in words (`LC`, `HE`), for AAC.
    pub profile: Option<&'static str>,
    /// Samples per second after decoding.
    pub sample_rate: u32,
    /// Channels; 0 where the record leaves them to the data.
    pub channels: u8,
    /// The duration of one frame, where it is always the same.
    pub period: Option<Period>,
}

/// An exact duration: `samples / rate` seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    samples: u64,
    /// Never 0.
    rate: u64,
}

impl Period {
    /// `samples` at `rate` per second. `None` when either is 0.
    pub fn new(samples: u64, rate: u64) -> Option<Self> {
        (samples > 0 && rate > 0).then_some(Self { samples, rate })
    }

    /// The exact duration of `count` such periods, in nanoseconds, rounded to the nearest.
    pub fn nanos(self, count: u64) -> i64 {
        let ticks = u128::from(self.samples).saturating_mul(u128::from(count));
        let rate = u128::from(self.rate);
        let nanos = ticks.saturating_mul(1_000_000_000).saturating_add(rate >> 1);
        i64::try_from(nanos.checked_div(rate).unwrap_or_default()).unwrap_or(i64::MAX)
    }

    /// The duration of one such period in units of which `timescale` are a second, rounded to the nearest.
    #[cfg(feature = "mp4")]
    pub(crate) fn ticks(self, timescale: u32) -> u32 {
        let ticks = u128::from(self.samples).saturating_mul(timescale.into());
        let rate = u128::from(self.rate);
        let nearest = ticks.saturating_add(rate >> 1).checked_div(rate).unwrap_or_default();
        u32::try_from(nearest).unwrap_or(u32::MAX)
    }
}

/// Reads the decoder configuration record of a video sequence header.
pub fn video_config(codec: Codec, record: &[u8]) -> Option<VideoConfig> {
    match codec {
        Codec::H264 => video::avc(record),
        Codec::Hevc => video::hevc(record),
        Codec::Av1 => video::av1(record),
        Codec::Vp8 | Codec::Vp9 => vpx::record(record),
        _ => None,
    }
}

/// Reads the header of a coded keyframe, for codecs whose record does not tell the size: VP8 and VP9. `None` for other frames.
pub fn video_frame(codec: Codec, frame: &[u8]) -> Option<VideoConfig> {
    VpxKey::read(codec, frame).map(|key| key.config())
}

/// Reads the decoder configuration record of an audio sequence header.
pub fn audio_config(codec: Codec, record: &[u8]) -> Option<AudioConfig> {
    match codec {
        Codec::Aac => audio::aac(record),
        Codec::Opus => audio::opus_head(record),
        Codec::Flac => audio::flac(record),
        _ => None,
    }
}

/// What is told of an audio track by its configuration record or, in place of one, by a coded frame.
#[cfg(feature = "mp4")]
pub(crate) fn audio_track(codec: Codec, config: &[u8]) -> Option<AudioConfig> {
    audio_config(codec, config).or_else(|| audio_frame(codec, config))
}

/// Reads the header of a coded audio frame, for codecs whose frames tell their own duration.
pub fn audio_frame(codec: Codec, frame: &[u8]) -> Option<AudioConfig> {
    match codec {
        Codec::Mp3 => audio::mpeg_audio(frame),
        Codec::Opus => audio::opus_frame(frame),
        Codec::Ac3 => Dolby::ac3(frame)?.config(),
        Codec::Eac3 => Dolby::eac3(frame)?.config(),
        Codec::G711a | Codec::G711u => audio::steady(8_000, 1, u64::try_from(frame.len()).ok()?),
        Codec::Speex => audio::steady(16_000, 1, 320),
        _ => None,
    }
}

/// Bits, most significant first. Reading past the end is `None`.
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Bits<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    pub(super) fn bit(&mut self) -> Option<bool> {
        let byte = self.bytes.get(self.position >> 3)?;
        let shift = 7 & !self.position;
        self.position = self.position.checked_add(1)?;
        Some((byte >> shift) & 1 == 1)
    }

    /// At most 32 bits.
    pub(super) fn bits(&mut self, count: u32) -> Option<u32> {
        let mut value = 0_u32;
        for _ in 0..count {
            value = (value << 1) | u32::from(self.bit()?);
        }
        Some(value)
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        self.bits(8).and_then(|value| u8::try_from(value).ok())
    }

    pub(super) fn skip(&mut self, count: usize) -> Option<()> {
        let end = self.position.checked_add(count)?;
        (end <= self.bytes.len().checked_mul(8)?).then(|| self.position = end)
    }

    /// Exp-Golomb, unsigned (H.264 9.1).
    pub(super) fn ue(&mut self) -> Option<u32> {
        let mut zeros = 0_u32;
        while !self.bit()? {
            zeros = zeros.checked_add(1)?;
            if zeros > 31 {
                return None;
            }
        }
        let suffix = self.bits(zeros)?;
        1_u32.checked_shl(zeros)?.checked_sub(1)?.checked_add(suffix)
    }

    /// Exp-Golomb, signed.
    pub(super) fn se(&mut self) -> Option<i64> {
        let code = i64::from(self.ue()?);
        let half = code.checked_add(1)? >> 1;
        if code & 1 == 1 { Some(half) } else { half.checked_neg() }
    }
}

/// The name of a video profile.
pub fn profile_name(codec: Codec, profile: u8) -> Option<&'static str> {
    let name = match (codec, profile) {
        (Codec::H264, 66) => "Baseline",
        (Codec::H264, 77) | (Codec::Hevc, 1) | (Codec::Av1, 0) => "Main",
        (Codec::H264, 88) => "Extended",
        (Codec::H264, 100) | (Codec::Av1, 1) => "High",
        (Codec::H264, 110) => "High 10",
        (Codec::H264, 122) => "High 4:2:2",
        (Codec::H264, 244) => "High 4:4:4",
        (Codec::Hevc, 2) => "Main 10",
        (Codec::Hevc, 3) => "Main Still Picture",
        (Codec::Hevc, 4) => "Range Extensions",
        (Codec::Av1, 2) => "Professional",
        (Codec::Vp8 | Codec::Vp9, 0) => "Profile 0",
        (Codec::Vp8 | Codec::Vp9, 1) => "Profile 1",
        (Codec::Vp8 | Codec::Vp9, 2) => "Profile 2",
        (Codec::Vp8 | Codec::Vp9, 3) => "Profile 3",
        _ => return None,
    };
    Some(name)
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u32> = hex.chars().filter_map(|digit| digit.to_digit(16)).collect();
        digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap()).collect()
    }

    fn size(codec: Codec, hex: &str) -> (u32, u32, u8, u32) {
        let config = video_config(codec, &bytes(hex)).unwrap();
        (config.width.unwrap(), config.height.unwrap(), config.profile, config.level)
    }

    const AVC: &str = "0142c01effe100196742c01ed890280bfe5c0440000003004000000c83c58b898001000568c888cb20";
    const AVC_CROPPED: &str =
        "017a001fffe10019677a001fbcd9405005beaf011000003e90000ea600f183196001000668ebe3cb22c0fef8f800";
    const AVC_444: &str =
        "01f4000dffe1001967f4000d919b28283f6022000003000200000300641e28532c01000668ebe3c44844fff8f800";
    const AVC_INTERLACED: &str =
        "0164001effe1001a6764001eacd940a063f3e022000003000200000300643e28532c01000668fba3cb22c0fdf8f800";
    const HEVC: &str = "0101600000009000000000003cf000fcfdf8f800000f04200001001840010c01ffff01600000030090000003000003\
        003c959809210001002b42010101600000030090000003000003003ca00a080b9f796566924caf016808000003000800000300c840";
    const AV1: &str = "81040c000a0b00000024cf7f0dbfff3008";
    const AV1_CROPPED: &str = "81000c000a0b000000043d06d4daf90040";

    #[test]
    fn avc_size_is_the_cropped_one() {
        assert_eq!(size(Codec::H264, AVC), (640, 360, 66, 30));
        assert_eq!(size(Codec::H264, AVC_CROPPED), (1278, 718, 122, 31));
        assert_eq!(size(Codec::H264, AVC_444), (320, 240, 244, 13));
        assert_eq!(size(Codec::H264, AVC_INTERLACED), (640, 360, 100, 30));
    }

    #[test]
    fn avc_frame_rate_comes_from_the_vui() {
        let rate = |hex: &str| video_config(Codec::H264, &bytes(hex)).unwrap().frame_rate.unwrap();
        assert!((rate(AVC) - 25.0).abs() < 1e-9);
        assert!((rate(AVC_CROPPED) - 30_000.0 / 1_001.0).abs() < 1e-9);
    }

    #[test]
    fn hevc_and_av1_sizes_are_read() {
        assert_eq!(size(Codec::Hevc, HEVC), (320, 180, 1, 20));
        assert_eq!(size(Codec::Av1, AV1), (960, 540, 0, 30));
        assert_eq!(size(Codec::Av1, AV1_CROPPED), (322, 182, 0, 20));
    }

    #[test]
    fn vp9_record_has_profile_and_level_with_or_without_box_header() {
        for hex in ["01000000000b820202020000", "000b820202020000"] {
            let config = video_config(Codec::Vp9, &bytes(hex)).unwrap();
            assert_eq!((config.profile, config.level, config.width), (0, 11, None));
        }
    }

    #[test]
    fn vpx_keyframes_tell_the_size() {
        let vp9 = bytes("824983420013f00ef000");
        let vp8 = bytes("1002009d012a4001f000");
        for (codec, frame) in [(Codec::Vp9, &vp9), (Codec::Vp8, &vp8)] {
            let config = video_frame(codec, frame).unwrap();
            assert_eq!((config.width, config.height, config.level), (Some(320), Some(240), 20), "{codec}");
            assert!((0..9).all(|end| video_frame(codec, &frame[..end]).is_none()), "{codec}");
        }
        let of_no_size = bytes("1002009d012a0000f000");
        assert_eq!(video_frame(Codec::Vp8, &of_no_size), None);
        assert_eq!(video_frame(Codec::Vp9, &bytes("8600")), None);
        assert_eq!(video_frame(Codec::H264, &vp9), None);
    }

    #[test]
    fn aac_rates_channels_and_extensions_are_read() {
        let aac = |hex: &str| {
            let config = audio_config(Codec::Aac, &bytes(hex)).unwrap();
            (config.profile, config.sample_rate, config.channels, config.period)
        };
        assert_eq!(aac("1210"), (Some("LC"), 44_100, 2, Period::new(1_024, 44_100)));
        assert_eq!(aac("1188"), (Some("LC"), 48_000, 1, Period::new(1_024, 48_000)));
        assert_eq!(aac("118856e500"), (Some("LC"), 48_000, 1, Period::new(1_024, 48_000)), "no SBR there");
        assert_eq!(aac("1214"), (Some("LC"), 44_100, 2, Period::new(960, 44_100)));
        // HE-AAC: SBR signalled first, and after LC; HE-AAC v2.
        assert_eq!(aac("2b920800"), (Some("HE"), 44_100, 2, Period::new(1_024, 22_050)));
        assert_eq!(aac("139056e5a0"), (Some("HE"), 44_100, 2, Period::new(1_024, 22_050)));
        assert_eq!(aac("eb8a0800"), (Some("HE v2"), 44_100, 1, Period::new(1_024, 22_050)));
        // An explicit rate of 44,099 Hz.
        assert_eq!(aac("17805621 90"), (Some("LC"), 44_099, 2, Period::new(1_024, 44_099)));
    }

    #[test]
    fn opus_head_and_flac_stream_info_are_read() {
        let opus = audio_config(Codec::Opus, &bytes("4f707573486561640102380180bb0000000000")).unwrap();
        assert_eq!((opus.sample_rate, opus.channels, opus.period), (48_000, 2, None));
        for prefix in ["", "664c614380000022"] {
            let info = bytes(&format!("{prefix}12001200000000000000 0bb802f0"));
            let flac = audio_config(Codec::Flac, &info).unwrap();
            assert_eq!((flac.sample_rate, flac.channels), (48_000, 2));
            assert_eq!(flac.period, Period::new(4_608, 48_000));
        }
    }

    #[test]
    fn frames_tell_their_duration() {
        let frame = |codec, hex: &str| {
            let config = audio_frame(codec, &bytes(hex)).unwrap();
            (config.sample_rate, config.channels, config.period.unwrap().nanos(1))
        };
        assert_eq!(frame(Codec::Opus, "fc"), (48_000, 2, 20_000_000));
        assert_eq!(frame(Codec::Opus, "f0"), (48_000, 1, 10_000_000));
        assert_eq!(frame(Codec::Opus, "1b03"), (48_000, 1, 180_000_000));
        assert_eq!(frame(Codec::Opus, "80"), (48_000, 1, 2_500_000));
        assert_eq!(frame(Codec::Mp3, "fffb9464"), (48_000, 2, 24_000_000));
        assert_eq!(frame(Codec::Mp3, "fff390c4"), (22_050, 1, 26_122_449));
        assert_eq!(frame(Codec::Ac3, "0b77fe95144043e106"), (48_000, 2, 32_000_000));
        assert_eq!(frame(Codec::Eac3, "0b77017f3487c000"), (48_000, 2, 32_000_000));
        assert_eq!(frame(Codec::G711a, &"00".repeat(160)), (8_000, 1, 20_000_000));
    }

    #[test]
    fn every_prefix_of_a_record_is_answered_without_panic() {
        let records = [
            (Codec::H264, AVC_CROPPED),
            (Codec::Hevc, HEVC),
            (Codec::Av1, AV1),
            (Codec::Aac, "eb8a0800"),
            (Codec::Flac, "120012000000000000000bb802f0"),
        ];
        for (codec, hex) in records {
            let record = bytes(hex);
            for end in 0..record.len() {
                let config = video_config(codec, &record[..end]);
                assert!(config.is_none_or(|config| config.width.is_none_or(|width| width > 0)));
                let config = audio_config(codec, &record[..end]);
                assert!(config.is_none_or(|config| config.sample_rate > 0));
            }
        }
    }

    #[test]
    fn periods_are_exact_over_long_times() {
        let aac = Period::new(1_024, 44_100).unwrap();
        assert_eq!(aac.nanos(44_100), 1_024_000_000_000);
        assert_eq!(aac.nanos(1), 23_219_955);
        assert_eq!(aac.nanos(u64::MAX), i64::MAX);
        assert_eq!((Period::new(0, 1), Period::new(1, 0)), (None, None));
    }
}
