//! Frames to samples.

use super::adts::{self, AdtsConfig};
use super::nal::{Lengths, NalCodec, NalKind, START_CODE};
use super::parameter_sets::ParameterSets;
use super::{Batch, Format, Sample, Samples, name, nanos};
use crate::media::flv::{self, Codec, FrameType, PacketType, PayloadInfo};
use crate::media::{Frame, FrameKind};
use crate::{Error, ErrorKind, Result};
use bytes::{BufMut, BytesMut};
use smallvec::SmallVec;
use std::collections::BTreeMap;

bound! {
    /// Longest configuration record that is read for conversion: its parameter sets are compared with each other
    /// (test `a_configuration_record_that_is_too_long_is_refused`).
    const MAX_RECORD: usize = 64 * 1024, without usize::MAX;
}

/// Takes the samples out of a stream's frames.
#[derive(Debug, Default)]
pub struct Demuxer {
    annex_b: bool,
    adts: bool,
    /// What conversion needs to know, by codec's kind (audio or not) and track.
    known: BTreeMap<(bool, u8), Known>,
}

/// The newest configuration of a track.
#[derive(Debug)]
enum Known {
    Nal {
        codec: NalCodec,
        sets: ParameterSets,
        length_size: usize,
    },
    /// `None`: ADTS cannot say it.
    Aac(Option<AdtsConfig>),
}

impl Demuxer {
    /// Gives samples in [`Format::Native`]: slices of the frames' payloads, nothing is copied.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives samples of the codecs that `format` is for in this format. May be called for both
    /// [`Format::AnnexB`] and [`Format::Adts`]. These samples are copies.
    ///
    /// Annex B: configuration comes as parameter sets, and again in each keyframe that has none. ADTS: no
    /// configuration comes, each frame has its header; AAC that ADTS cannot express stays native
    /// ([`Sample::format`] tells).
    #[must_use]
    pub fn with_format(mut self, format: Format) -> Self {
        self.annex_b |= format == Format::AnnexB;
        self.adts |= format == Format::Adts;
        self
    }

    /// The samples of a frame: configuration, a coded frame (one per track in multitrack bodies) or a data
    /// event. None for what has no elementary form: end of sequence, commands to players, E-RTMP video metadata
    /// and channel layouts, unknown codecs, silence, and frames to convert whose configuration has not come yet.
    ///
    /// # Errors
    /// [`ErrorKind::Format`] when a frame cannot be converted because it is malformed. Native samples are not
    /// looked into. The next frame can be pushed all the same.
    pub fn push(&mut self, frame: &Frame) -> Result<Samples> {
        let mut samples = SmallVec::new();
        if frame.kind == FrameKind::Data {
            samples.extend(data(frame));
            return Ok(Batch(samples));
        }
        let Some(info) = PayloadInfo::parse(frame.kind, &frame.payload) else { return Ok(Batch(samples)) };
        if info.packet != PacketType::SequenceStart && !info.packet.is_coded() {
            return Ok(Batch(samples));
        }
        let dts_ns = nanos(frame.timestamp).saturating_add(info.nanos.into());
        for track in info.tracks(&frame.payload) {
            if track.codec.kind() != Some(frame.kind) || track.data.is_empty() {
                continue;
            }
            let native = Sample {
                track: track.id,
                codec: track.codec,
                format: Format::Native,
                pts_ns: dts_ns.saturating_add(nanos(track.composition_time.into())),
                dts_ns: Some(dts_ns),
                keyframe: false,
                config: false,
                discardable: false,
                data: frame.payload.slice_ref(track.data),
            };
            samples.extend(self.converted(flagged(native, &info, frame.kind))?);
        }
        Ok(Batch(samples))
    }

    /// The sample in the format that is wanted; `None` if nothing is to come out.
    fn converted(&mut self, sample: Sample) -> Result<Option<Sample>> {
        match (NalCodec::of(sample.codec), sample.codec) {
            (Some(codec), _) if self.annex_b && sample.config => self.parameter_sets(codec, sample),
            (Some(codec), _) if self.annex_b => self.annex_b(codec, sample),
            (_, Codec::Aac) if self.adts && sample.config => Ok(self.audio_config(sample)),
            (_, Codec::Aac) if self.adts => Ok(self.adts(sample)),
            _ => Ok(Some(sample)),
        }
    }

    fn parameter_sets(&mut self, codec: NalCodec, sample: Sample) -> Result<Option<Sample>> {
        let record = Some(&sample.data).filter(|record| record.len() <= MAX_RECORD.get());
        let (sets, length_size) = record
            .and_then(|record| ParameterSets::from_record(codec, record))
            .ok_or_else(|| malformed(&sample, "the configuration record makes no sense"))?;
        let mut data = BytesMut::with_capacity(sets.annex_b_len());
        sets.put_annex_b(&mut data);
        self.known.insert((false, sample.track), Known::Nal { codec, sets, length_size });
        Ok((!data.is_empty()).then(|| converted(sample, Format::AnnexB, data)))
    }

    fn annex_b(&mut self, wanted: NalCodec, sample: Sample) -> Result<Option<Sample>> {
        match self.known.get_mut(&(false, sample.track)) {
            Some(Known::Nal { codec, sets, length_size }) if *codec == wanted => {
                let data = access_unit(wanted, sets, *length_size, &sample)?;
                Ok((!data.is_empty()).then(|| converted(sample, Format::AnnexB, data)))
            }
            _ => Ok(None),
        }
    }

    /// Remembers the configuration, which comes out only if ADTS headers cannot say it.
    fn audio_config(&mut self, sample: Sample) -> Option<Sample> {
        let config = AdtsConfig::from_record(&sample.data);
        self.known.insert((true, sample.track), Known::Aac(config));
        config.is_none().then_some(sample)
    }

    fn adts(&self, sample: Sample) -> Option<Sample> {
        let Some(Known::Aac(config)) = self.known.get(&(true, sample.track)) else { return None };
        let Some(header) = config.and_then(|config| config.header(sample.data.len())) else {
            return Some(sample);
        };
        let mut data = BytesMut::with_capacity(adts::HEADER_LEN.saturating_add(sample.data.len()));
        data.put_slice(&header);
        data.put_slice(&sample.data);
        Some(converted(sample, Format::Adts, data))
    }
}

/// A data event as a sample.
fn data(frame: &Frame) -> Option<Sample> {
    let time = nanos(frame.timestamp);
    let sample = Sample::new(Codec::Data, time, frame.payload.clone());
    let config = flv::classify(frame.kind, &frame.payload).config.is_some();
    (!frame.payload.is_empty()).then_some(Sample { dts_ns: Some(time), config, ..sample })
}

fn flagged(sample: Sample, info: &PayloadInfo, kind: FrameKind) -> Sample {
    let coded = info.packet.is_coded();
    let video = coded && kind == FrameKind::Video;
    Sample {
        config: !coded,
        keyframe: video && matches!(info.frame_type, FrameType::Key | FrameType::GeneratedKey),
        discardable: video && info.frame_type == FrameType::Disposable,
        ..sample
    }
}

fn converted(sample: Sample, format: Format, data: BytesMut) -> Sample {
    Sample { format, data: data.freeze(), ..sample }
}

fn malformed(sample: &Sample, detail: impl std::fmt::Display) -> Error {
    let time = sample.dts_ns.unwrap_or(sample.pts_ns);
    let text = format!("{} at {time} ns: {detail}", name(sample.codec, sample.track));
    Error::new(ErrorKind::Format, text)
}

/// An access unit behind start codes: parameter sets go before a keyframe that has none, but after an access
/// unit delimiter. In-band parameter sets replace those of the record.
fn access_unit(
    codec: NalCodec,
    sets: &mut ParameterSets,
    length_size: usize,
    sample: &Sample,
) -> Result<BytesMut> {
    let (mut has_sets, mut len) = (false, 0_usize);
    for nal in Lengths::new(&sample.data, length_size) {
        let nal =
            nal.map_err(|at| malformed(sample, format_args!("the NAL unit at byte {at} is cut off")))?;
        len = len.saturating_add(nal.len()).saturating_add(START_CODE.len());
        if matches!(codec.kind(nal), NalKind::Set(_)) {
            // A bad one goes to the decoder like the rest, but is not repeated.
            has_sets |= sets.update(nal).is_ok();
        }
    }
    let mut insert = sample.keyframe && !has_sets;
    let inserted = if insert { sets.annex_b_len() } else { 0 };
    let mut out = BytesMut::with_capacity(len.saturating_add(inserted));
    for nal in Lengths::new(&sample.data, length_size).flatten() {
        if insert && codec.kind(nal) != NalKind::Delimiter {
            sets.put_annex_b(&mut out);
            insert = false;
        }
        out.put_slice(&START_CODE);
        out.put_slice(nal);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_record_that_is_too_long_is_refused() {
        let record = b"\x17\0\0\0\0\x01\x64\0\x1f\xff\xe1\0\x05\x67\x64\0\x1f\x80\x01\0\x02\x68\x80";
        let push = |more: usize| {
            let payload = [&record[..], &vec![0; more]].concat();
            let frame = Frame::new(FrameKind::Video, 0, payload.into());
            Demuxer::new().with_format(Format::AnnexB).push(&frame)
        };
        assert_eq!(push(1_000).unwrap().len(), 1);
        let refused = push(MAX_RECORD.stated());
        assert_eq!(refused.map_err(|error| error.kind()), Err(ErrorKind::Format));
    }
}
