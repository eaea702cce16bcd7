//! Parameter sets of H.264 and HEVC, and the configuration records that carry them: `avcC` and `hvcC`.

use super::nal::{NalCodec, NalKind, START_CODE, SetKind};
use crate::media::codec::{Bits, hevc_profile_tier_level, rbsp};
use crate::media::flv::Cursor;
use bytes::{BufMut, Bytes, BytesMut};

bound! {
    /// Most bytes of all parameter sets of a track: real ones have some hundred. With what is around them in a
    /// record they stay below 64 KiB (test `parameter_sets_that_are_too_long_together_are_refused`).
    const MAX_BYTES: usize = 32 * 1024, without usize::MAX;
}

/// The newest parameter set of each kind and id.
#[derive(Debug, Clone)]
pub(super) struct ParameterSets {
    codec: NalCodec,
    sets: Vec<ParameterSet>,
}

#[derive(Debug, Clone)]
struct ParameterSet {
    kind: SetKind,
    id: u32,
    nal: Bytes,
}

/// A parameter set that makes no sense, or one more than fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BadSet;

impl ParameterSets {
    pub(super) fn new(codec: NalCodec) -> Self {
        Self { codec, sets: Vec::new() }
    }

    /// Reads a configuration record; returns the sets and the bytes of NAL unit lengths. `None` if malformed.
    /// Records without sets are in order: streams of type `avc3` have such.
    pub(super) fn from_record(codec: NalCodec, record: &[u8]) -> Option<(Self, usize)> {
        let mut cursor = Cursor::new(record);
        if cursor.u8()? != 1 {
            return None;
        }
        let mut sets = Self::new(codec);
        let length_size = match codec {
            NalCodec::H264 => sets.read_avcc(&mut cursor)?,
            NalCodec::Hevc => sets.read_hvcc(&mut cursor)?,
        };
        // Another codec's record may look like one without sets, but is longer. Four bytes may tell the colours.
        let most = if codec == NalCodec::H264 { 4 } else { 0 };
        if sets.sets.is_empty() && cursor.rest().len() > most {
            return None;
        }
        // Two bits say one less; a length of three bytes is not allowed.
        let length_size = usize::from(length_size & 3).checked_add(1)?;
        (length_size != 3).then_some((sets, length_size))
    }

    /// AVCDecoderConfigurationRecord after its version, ISO/IEC 14496-15 5.3.3.1.
    fn read_avcc(&mut self, cursor: &mut Cursor<'_>) -> Option<u8> {
        cursor.take(3)?;
        let length_size = cursor.u8()?;
        let sequence_sets = cursor.u8()? & 0x1f;
        self.read_sets(cursor, sequence_sets.into())?;
        let picture_sets = cursor.u8()?;
        self.read_sets(cursor, picture_sets.into())?;
        Some(length_size)
    }

    /// HEVCDecoderConfigurationRecord after its version, ISO/IEC 14496-15 8.3.3.1. It may carry SEI messages
    /// too, which stay in the record.
    fn read_hvcc(&mut self, cursor: &mut Cursor<'_>) -> Option<u8> {
        cursor.take(20)?;
        let length_size = cursor.u8()?;
        for _ in 0..cursor.u8()? {
            cursor.u8()?;
            let count = cursor.u16()?;
            self.read_sets(cursor, count)?;
        }
        Some(length_size)
    }

    fn read_sets(&mut self, cursor: &mut Cursor<'_>, count: u16) -> Option<()> {
        for _ in 0..count {
            let length = cursor.u16()?;
            self.update(cursor.take(length.into())?).ok()?;
        }
        Some(())
    }

    /// Takes `nal` if it is a parameter set; whether it is new or differs from the one it replaces.
    pub(super) fn update(&mut self, nal: &[u8]) -> Result<bool, BadSet> {
        let NalKind::Set(kind) = self.codec.kind(nal) else { return Ok(false) };
        if self.sets.iter().any(|set| set.nal == nal) {
            return Ok(false);
        }
        let id = set_id(self.codec, kind, nal).ok_or(BadSet)?;
        let others = self.sets.iter().filter(|set| (set.kind, set.id) != (kind, id));
        let bytes = others.map(|set| set.nal.len()).fold(nal.len(), usize::saturating_add);
        if bytes > MAX_BYTES.get() {
            return Err(BadSet);
        }
        let nal = Bytes::copy_from_slice(nal);
        match self.sets.iter_mut().find(|set| (set.kind, set.id) == (kind, id)) {
            Some(set) => set.nal = nal,
            None => self.sets.push(ParameterSet { kind, id, nal }),
        }
        Ok(true)
    }

    fn of(&self, kind: SetKind) -> impl Iterator<Item = &Bytes> {
        self.sets.iter().filter(move |set| set.kind == kind).map(|set| &set.nal)
    }

    /// The configuration record for NAL units behind lengths of `length_size` bytes; `None` while a kind of
    /// set is missing.
    pub(super) fn record(&self, length_size: usize) -> Option<Bytes> {
        let length_size = u8::try_from(length_size.checked_sub(1)?).ok()?;
        match self.codec {
            NalCodec::H264 => self.avcc(length_size),
            NalCodec::Hevc => self.hvcc(length_size),
        }
    }

    fn avcc(&self, length_size: u8) -> Option<Bytes> {
        let first = self.of(SetKind::Sequence).next()?;
        self.of(SetKind::Picture).next()?;
        let mut out = BytesMut::new();
        out.put_u8(1);
        out.put_slice(first.get(1..4)?);
        out.put_u8(0xfc | length_size);
        for (kind, marker, most) in [(SetKind::Sequence, 0xe0, 31), (SetKind::Picture, 0, 255)] {
            let count = u8::try_from(self.of(kind).count()).ok().filter(|&count| count <= most)?;
            out.put_u8(marker | count);
            self.put_sets(kind, &mut out)?;
        }
        if let Some(colour) = AvcColour::of(first) {
            out.put_slice(&[0xfc | colour.chroma, 0xf8 | colour.luma_depth, 0xf8 | colour.chroma_depth, 0]);
        }
        Some(out.freeze())
    }

    fn hvcc(&self, length_size: u8) -> Option<Bytes> {
        let first = self.of(SetKind::Sequence).next()?;
        let HevcFormat { profile_tier_level, chroma, luma_depth, chroma_depth, layers } =
            HevcFormat::of(first)?;
        let mut out = BytesMut::new();
        out.put_u8(1);
        out.put_slice(&profile_tier_level);
        // min_spatial_segmentation_idc and parallelismType 0: unknown.
        out.put_slice(&[0xf0, 0, 0xfc, 0xfc | chroma, 0xf8 | luma_depth, 0xf8 | chroma_depth]);
        // avgFrameRate 0: unknown.
        out.put_slice(&[0, 0, layers | length_size, 3]);
        for (kind, nal_type) in [(SetKind::Video, 32), (SetKind::Sequence, 33), (SetKind::Picture, 34)] {
            let count = u16::try_from(self.of(kind).count()).ok().filter(|&count| count > 0)?;
            out.put_u8(nal_type);
            out.put_u16(count);
            self.put_sets(kind, &mut out)?;
        }
        Some(out.freeze())
    }

    fn put_sets(&self, kind: SetKind, out: &mut BytesMut) -> Option<()> {
        for nal in self.of(kind) {
            out.put_u16(u16::try_from(nal.len()).ok()?);
            out.put_slice(nal);
        }
        Some(())
    }

    /// All sets behind start codes, in the order in which decoders need them.
    pub(super) fn put_annex_b(&self, out: &mut BytesMut) {
        for kind in [SetKind::Video, SetKind::Sequence, SetKind::Picture] {
            for nal in self.of(kind) {
                out.put_slice(&START_CODE);
                out.put_slice(nal);
            }
        }
    }

    /// Bytes that [`put_annex_b`](Self::put_annex_b) writes.
    pub(super) fn annex_b_len(&self) -> usize {
        self.sets.iter().map(|set| set.nal.len().saturating_add(4)).fold(0, usize::saturating_add)
    }
}

/// `record` with the size of NAL unit lengths that stands in it set to four bytes.
pub(super) fn with_four_byte_lengths(codec: NalCodec, record: &[u8]) -> Bytes {
    let at = match codec {
        NalCodec::H264 => 4,
        NalCodec::Hevc => 21,
    };
    let mut record = BytesMut::from(record);
    if let Some(byte) = record.get_mut(at) {
        *byte |= 3;
    }
    record.freeze()
}

/// The id of a parameter set, if it is in the range that the codec allows.
fn set_id(codec: NalCodec, kind: SetKind, nal: &[u8]) -> Option<u32> {
    let rbsp = rbsp(nal);
    let (id, most) = match codec {
        NalCodec::H264 => {
            let mut bits = Bits::new(rbsp.get(1..)?);
            // Profile, constraints and level come first.
            bits.skip(if kind == SetKind::Sequence { 24 } else { 0 })?;
            (bits.ue()?, if kind == SetKind::Sequence { 31 } else { 255 })
        }
        NalCodec::Hevc => {
            let mut bits = Bits::new(rbsp.get(2..)?);
            match kind {
                SetKind::Video => (bits.bits(4)?, 15),
                SetKind::Sequence => (HevcFormat::read(&rbsp)?.0, 15),
                SetKind::Picture => (bits.ue()?, 63),
            }
        }
    };
    (id <= most).then_some(id)
}

/// What `avcC` says of high profiles: chroma format, and bits per sample beyond 8.
struct AvcColour {
    chroma: u8,
    luma_depth: u8,
    chroma_depth: u8,
}

impl AvcColour {
    /// `None` for the profiles whose record ends before it.
    fn of(sps: &[u8]) -> Option<Self> {
        let profile = *sps.get(1)?;
        if matches!(profile, 66 | 77 | 88) {
            return None;
        }
        Some(Self::read(&rbsp(sps)).unwrap_or(Self { chroma: 1, luma_depth: 0, chroma_depth: 0 }))
    }

    /// From a sequence parameter set, H.264 7.3.2.1.1.
    fn read(rbsp: &[u8]) -> Option<Self> {
        let mut bits = Bits::new(rbsp.get(4..)?);
        bits.ue()?;
        let chroma = up_to(bits.ue()?, 3)?;
        bits.skip(usize::from(chroma == 3))?;
        Some(Self { chroma, luma_depth: up_to(bits.ue()?, 6)?, chroma_depth: up_to(bits.ue()?, 6)? })
    }
}

/// What `hvcC` says of the pictures.
struct HevcFormat {
    /// General profile, compatibility, constraints and level, as they stand in the SPS.
    profile_tier_level: [u8; 12],
    chroma: u8,
    luma_depth: u8,
    chroma_depth: u8,
    /// `numTemporalLayers` and `temporalIdNested` in their places.
    layers: u8,
}

impl HevcFormat {
    fn of(sps: &[u8]) -> Option<Self> {
        Self::read(&rbsp(sps)).map(|(_, format)| format)
    }

    /// From a sequence parameter set, H.265 7.3.2.2.1; with its id.
    fn read(rbsp: &[u8]) -> Option<(u32, Self)> {
        let profile_tier_level = *rbsp.get(3..)?.first_chunk()?;
        let mut bits = Bits::new(rbsp.get(2..)?);
        bits.skip(4)?;
        let sub_layers = bits.bits(3)?;
        let nested = u8::from(bits.bit()?);
        hevc_profile_tier_level(&mut bits, sub_layers)?;
        let id = bits.ue()?;
        let chroma = up_to(bits.ue()?, 3)?;
        bits.skip(usize::from(chroma == 3))?;
        // Width, height, and the conformance window.
        skip_ue(&mut bits, 2)?;
        if bits.bit()? {
            skip_ue(&mut bits, 4)?;
        }
        let (luma_depth, chroma_depth) = (up_to(bits.ue()?, 7)?, up_to(bits.ue()?, 7)?);
        let layers = (up_to(sub_layers, 6)?.saturating_add(1) << 3) | (nested << 2);
        Some((id, Self { profile_tier_level, chroma, luma_depth, chroma_depth, layers }))
    }
}

fn skip_ue(bits: &mut Bits<'_>, count: u32) -> Option<()> {
    for _ in 0..count {
        bits.ue()?;
    }
    Some(())
}

fn up_to(value: u32, most: u8) -> Option<u8> {
    u8::try_from(value).ok().filter(|&value| value <= most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameter_sets_that_are_too_long_together_are_refused() {
        let mut sets = ParameterSets::new(NalCodec::H264);
        // Picture parameter sets 0 and 1.
        let set = |id: u8| [&[0x68, id][..], &[7; 20_000]].concat();
        assert_eq!(sets.update(&set(0x80)), Ok(true));
        assert_eq!(sets.update(&set(0x40)), Err(BadSet));
        assert!(sets.annex_b_len() <= MAX_BYTES.stated());
        assert_eq!(sets.update(&[0x68, 0x40]), Ok(true), "a short one fits");
    }
}
