//! AAC with and without ADTS headers (ISO/IEC 14496-3 1.A.3).

use crate::media::codec::{Bits, Period, audio_config};
use crate::media::flv::Codec;

const RATES: [u64; 13] =
    [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];

/// Samples of a frame, at the rate in the header.
const FRAME_SAMPLES: u64 = 1024;

/// Bytes of a header without CRC.
pub(super) const HEADER_LEN: usize = 7;

/// What an ADTS header says of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AdtsConfig {
    /// Audio object type, 1 to 4: without SBR and PS, which the data then signals.
    object_type: u8,
    rate_index: u8,
    /// 0: the data tells.
    channels: u8,
}

impl AdtsConfig {
    /// The configuration as ADTS has it. `None` where ADTS cannot say what `record`, an AudioSpecificConfig, says.
    pub(super) fn from_record(record: &[u8]) -> Option<Self> {
        const SBR: u32 = 5;
        const PS: u32 = 29;
        let mut bits = Bits::new(record);
        let mut object_type = bits.bits(5)?;
        let rate_index = bits.bits(4)?;
        let channels = bits.bits(4)?;
        if matches!(object_type, SBR | PS) {
            if bits.bits(4)? == 15 {
                bits.skip(24)?;
            }
            object_type = bits.bits(5)?;
        }
        // frameLengthFlag: frames of 960 samples.
        let long = bits.bit() != Some(true);
        if !long || !(1..=4).contains(&object_type) || rate_index > 12 || !(1..=7).contains(&channels) {
            return None;
        }
        let byte = |value: u32| u8::try_from(value).ok();
        Some(Self {
            object_type: byte(object_type)?,
            rate_index: byte(rate_index)?,
            channels: byte(channels)?,
        })
    }

    /// The AudioSpecificConfig. `None` if the channels are told in the data only.
    pub(super) fn record(self) -> Option<[u8; 2]> {
        (self.channels > 0).then_some([
            (self.object_type << 3) | (self.rate_index >> 1),
            ((self.rate_index & 1) << 7) | (self.channels << 3),
        ])
    }

    /// Whether `record` says the same, and maybe more (SBR, PS, a channel layout).
    pub(super) fn agrees_with(self, record: &[u8]) -> bool {
        let Some(config) = audio_config(Codec::Aac, record) else { return false };
        config.period == self.period() && (self.channels == 0 || config.channels == self.channel_count())
    }

    fn channel_count(self) -> u8 {
        if self.channels == 7 { 8 } else { self.channels }
    }

    /// How long a frame lasts.
    pub(super) fn period(self) -> Option<Period> {
        Period::new(FRAME_SAMPLES, *RATES.get(usize::from(self.rate_index))?)
    }

    /// The header of a frame whose data has `len` bytes. `None` if that is more than a header can say (8 KiB).
    pub(super) fn header(self, len: usize) -> Option<[u8; HEADER_LEN]> {
        let total = u16::try_from(len.checked_add(HEADER_LEN)?).ok().filter(|&total| total < 1 << 13)?;
        let [high, low] = total.to_be_bytes();
        Some([
            0xff,
            0xf1,
            (self.object_type.saturating_sub(1) << 6) | (self.rate_index << 2) | (self.channels >> 2),
            (self.channels << 6) | (high >> 3),
            (high << 5) | (low >> 3),
            // Buffer fullness 0x7ff: variable bit rate. One frame.
            (low << 5) | 0x1f,
            0xfc,
        ])
    }
}

/// A frame of an ADTS stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AdtsFrame<'a> {
    pub(super) config: AdtsConfig,
    /// The raw frame behind the header.
    pub(super) data: &'a [u8],
}

/// Why ADTS data was refused, and at which byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BadAdts {
    /// No header, or one that makes no sense.
    Header(usize),
    /// The frame is longer than the data.
    Truncated(usize),
    /// Several raw data blocks under one header, which cannot be told apart.
    Blocks(usize),
}

/// Iterator over the frames of an ADTS stream. Nothing comes after an `Err`.
#[derive(Debug, Clone)]
pub(super) struct AdtsFrames<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> AdtsFrames<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    fn read(&self, rest: &'a [u8]) -> Result<(usize, AdtsFrame<'a>), BadAdts> {
        let header = Header::read(rest).ok_or(BadAdts::Header(self.position))?;
        let data = rest.get(header.len..header.frame_len).ok_or(BadAdts::Truncated(self.position))?;
        if header.blocks > 0 {
            return Err(BadAdts::Blocks(self.position));
        }
        Ok((header.frame_len, AdtsFrame { config: header.config, data }))
    }
}

impl<'a> Iterator for AdtsFrames<'a> {
    type Item = Result<AdtsFrame<'a>, BadAdts>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.bytes.get(self.position..).filter(|rest| !rest.is_empty())?;
        let read = self.read(rest);
        let length = read.map_or(rest.len(), |(length, _)| length);
        self.position = self.position.saturating_add(length);
        Some(read.map(|(_, frame)| frame))
    }
}

struct Header {
    config: AdtsConfig,
    /// Bytes of the header, with its CRC.
    len: usize,
    /// Bytes of header and data.
    frame_len: usize,
    /// Raw data blocks beyond the first.
    blocks: u32,
}

impl Header {
    fn read(bytes: &[u8]) -> Option<Self> {
        let mut bits = Bits::new(bytes);
        let sync = bits.bits(12)? == 0xfff;
        bits.skip(1)?;
        let layer = bits.bits(2)?;
        let len = if bits.bit()? { HEADER_LEN } else { HEADER_LEN.saturating_add(2) };
        let object_type = u8::try_from(bits.bits(2)?).ok()?.saturating_add(1);
        let rate_index = u8::try_from(bits.bits(4)?).ok()?;
        bits.skip(1)?;
        let channels = u8::try_from(bits.bits(3)?).ok()?;
        bits.skip(4)?;
        let frame_len = usize::try_from(bits.bits(13)?).ok()?;
        bits.skip(11)?;
        let blocks = bits.bits(2)?;
        let sound = sync && layer == 0 && rate_index <= 12 && frame_len >= len;
        sound.then_some(Self {
            config: AdtsConfig { object_type, rate_index, channels },
            len,
            frame_len,
            blocks,
        })
    }
}

/// The configuration that an ADTS stream starts with.
pub(super) fn first_config(bytes: &[u8]) -> Option<AdtsConfig> {
    Header::read(bytes).map(|header| header.config)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(record: &[u8]) -> AdtsConfig {
        AdtsConfig::from_record(record).unwrap()
    }

    #[test]
    fn headers_are_read_as_written() {
        for record in [[0x12, 0x10], [0x11, 0x88], [0x14, 0x38], [0x22, 0x10]] {
            let config = config(&record);
            let stream = [&config.header(3).unwrap()[..], b"abc", &config.header(0).unwrap()].concat();
            let frames: Vec<_> = AdtsFrames::new(&stream).map(Result::unwrap).collect();
            assert_eq!(frames, [AdtsFrame { config, data: b"abc" }, AdtsFrame { config, data: b"" }]);
            assert_eq!(config.record(), Some(record));
            assert!(config.agrees_with(&record));
        }
        assert_eq!(config(&[0x12, 0x10]).header(8_184).unwrap()[3..6], [0x83, 0xff, 0xff]);
        assert_eq!(config(&[0x12, 0x10]).header(8_185), None);
    }

    #[test]
    fn a_crc_is_skipped() {
        let mut stream = config(&[0x12, 0x10]).header(5).unwrap().to_vec();
        stream[1] &= !1;
        stream.extend(b"\xc0\xc1abc");
        assert_eq!(AdtsFrames::new(&stream).next().unwrap().unwrap().data, b"abc");
    }

    #[test]
    fn extensions_are_left_to_the_data() {
        // HE-AAC signalled first, after LC, and LC that says there is no SBR.
        assert_eq!(config(&[0x2b, 0x92, 0x08, 0x00]).record(), Some([0x13, 0x90]));
        assert!(config(&[0x13, 0x90]).agrees_with(&[0x2b, 0x92, 0x08, 0x00]));
        assert!(config(&[0x11, 0x88]).agrees_with(&[0x11, 0x88, 0x56, 0xe5, 0x00]));
        assert!(!config(&[0x11, 0x88]).agrees_with(&[0x11, 0x90]), "mono and stereo");
        assert!(!config(&[0x11, 0x88]).agrees_with(&[0x12, 0x08]), "48 and 44.1 kHz");
    }

    #[test]
    fn what_adts_cannot_say_is_refused() {
        for record in
            [&[0x12, 0x14][..], &[0x12, 0x00], &[0xf9, 0x48, 0x40], &[0x17, 0x80, 0x56, 0x21, 0x90], &[0x12]]
        {
            assert_eq!(AdtsConfig::from_record(record), None, "{record:x?}");
        }
    }

    #[test]
    fn the_place_of_a_mistake_is_told() {
        let good = [&config(&[0x12, 0x10]).header(1).unwrap()[..], b"a"].concat();
        let errors = |tail: &[u8]| AdtsFrames::new(&[&good, tail].concat()).find_map(Result::err);
        assert_eq!(errors(&[]), None);
        assert_eq!(errors(b"junk"), Some(BadAdts::Header(8)));
        assert_eq!(errors(&good[..7]), Some(BadAdts::Truncated(8)));
        let mut blocks = good.clone();
        blocks[6] |= 1;
        assert_eq!(errors(&blocks), Some(BadAdts::Blocks(8)));
    }
}
