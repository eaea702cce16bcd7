//! One track of a muxer: its configuration, and its samples as frames.

use super::adts::{AdtsConfig, AdtsFrames, BadAdts};
use super::body::{Body, Content};
use super::nal::{self, Lengths, NalCodec, NalKind};
use super::parameter_sets::{ParameterSets, with_four_byte_lengths};
use super::{BodyForm, Format, Sample, millis, name, obu, records, vpx};
use crate::media::flv::{Codec, FrameType};
use crate::media::{Frame, FrameKind};
use crate::{Error, ErrorKind, Result};
use bytes::Bytes;
use smallvec::SmallVec;

bound! {
    /// Longest configuration: NAL unit lengths in it have 16 bits (test `tracks_that_cannot_be_written_are_refused`).
    const MAX_EXTRADATA: usize = 64 * 1024, without usize::MAX;
}

/// The frames of one sample.
pub(super) type FrameList = SmallVec<[Frame; 2]>;

#[derive(Debug)]
pub(super) struct Track {
    number: u8,
    codec: Codec,
    form: BodyForm,
    /// What the sequence header says.
    record: Option<Bytes>,
    /// The record was made from the stream, and follows it.
    derived: bool,
    /// The record may differ from the last sequence header.
    due: bool,
    /// Payload of the last sequence header.
    announced: Option<Bytes>,
    nal: Option<NalState>,
    /// The newest ADTS header.
    adts: Option<AdtsConfig>,
}

#[derive(Debug)]
struct NalState {
    codec: NalCodec,
    sets: ParameterSets,
    /// Bytes of the lengths before NAL units, as the record says.
    length_size: usize,
}

/// When a sample is decoded, in milliseconds, and how much later it is presented.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub(super) dts: i64,
    composition: i32,
}

impl Track {
    pub(super) fn new(number: u8, codec: Codec, form: BodyForm) -> Self {
        let nal = NalCodec::of(codec).map(NalState::new);
        Self {
            number,
            codec,
            form,
            record: None,
            derived: false,
            due: true,
            announced: None,
            nal,
            adts: None,
        }
    }

    /// The same track declared anew as `track`: its header is due if it differs from the last one here. After
    /// another codec it is due in any case, because players have given the old configuration up.
    pub(super) fn replace(&mut self, track: Track) {
        let announced = self.announced.take().filter(|_| self.codec == track.codec);
        *self = Self { announced, ..track };
    }

    pub(super) fn is(&self, kind: Option<FrameKind>, number: u8) -> bool {
        self.codec.kind() == kind && self.number == number
    }

    pub(super) fn codec(&self) -> Codec {
        self.codec
    }

    pub(super) fn error(&self, kind: ErrorKind, detail: impl std::fmt::Display) -> Error {
        Error::new(kind, format!("{}: {detail}", name(self.codec, self.number)))
    }

    fn malformed(&self, detail: impl std::fmt::Display) -> Error {
        self.error(ErrorKind::Format, detail)
    }

    /// Takes decoder configuration in any form that [`set_track`](super::Muxer::set_track) knows.
    pub(super) fn configure(&mut self, extradata: &[u8]) -> Result<()> {
        if extradata.len() > MAX_EXTRADATA.get() {
            return Err(self.malformed("configuration of more than 64 KiB"));
        }
        let record = match self.nal.as_mut() {
            Some(state) => state.configure(extradata).map_err(|detail| self.malformed(detail))?,
            None if !records::is_needed(self.codec) => return Ok(()),
            None => Some(
                records::record(self.codec, extradata)
                    .map_err(|detail| self.malformed(format_args!("configuration: {detail}")))?,
            ),
        };
        self.derived = false;
        self.adts = None;
        self.set_record(record);
        Ok(())
    }

    fn place(&self) -> (u8, BodyForm) {
        (self.number, self.form)
    }

    fn set_record(&mut self, record: Option<Bytes>) {
        self.due |= self.record != record;
        self.record = record;
    }

    /// The sequence header, if it is not the last one again.
    pub(super) fn header(&mut self, timestamp: i64) -> Option<Frame> {
        if !self.due {
            return None;
        }
        let record = self.record.as_ref().filter(|_| records::is_needed(self.codec))?;
        let mut body = Body::new(self.codec, self.place(), Content::Configuration, record.len(), record)?;
        body.put(record);
        let frame = body.finish(timestamp);
        self.due = false;
        if self.announced.as_ref() == Some(&frame.payload) {
            return None;
        }
        self.announced = Some(frame.payload.clone());
        Some(frame)
    }

    /// When `sample` comes. Codecs without composition time are presented when they are decoded.
    pub(super) fn times(&self, sample: &Sample<&[u8]>) -> Result<Times> {
        const RANGE: std::ops::Range<i64> = -(1 << 23)..1 << 23;
        let pts = millis(sample.pts_ns);
        let dts = match sample.dts_ns {
            Some(dts_ns) if self.codec.has_composition_time() => millis(dts_ns),
            _ => pts,
        };
        let composition = pts.saturating_sub(dts);
        if !RANGE.contains(&composition) {
            let detail = format!("presentation {pts} ms and decoding {dts} ms are more than 2.3 hours apart");
            return Err(self.error(ErrorKind::InvalidArgument, detail));
        }
        Ok(Times { dts, composition: i32::try_from(composition).unwrap_or_default() })
    }

    /// The coded frames of `sample`. Takes in-band configuration, so a header may be due before them.
    pub(super) fn frames(&mut self, sample: &Sample<&[u8]>, times: Times) -> Result<FrameList> {
        match (sample.format, self.nal.is_some()) {
            (Format::Native, true) => self.length_prefixed(sample, times),
            (Format::AnnexB, true) => self.annex_b(sample, times),
            (Format::Native, false) => self.whole(sample, times),
            (Format::Adts, _) if self.codec == Codec::Aac => self.adts(sample),
            (format, _) => {
                Err(self.error(ErrorKind::InvalidArgument, format_args!("has no {format:?} format")))
            }
        }
    }

    fn length_prefixed(&mut self, sample: &Sample<&[u8]>, times: Times) -> Result<FrameList> {
        let Some(state) = self.nal.as_mut() else { return Ok(FrameList::new()) };
        let mut keyframe = sample.keyframe;
        let mut changed = false;
        for nal in Lengths::new(sample.data, state.length_size) {
            match nal.map(|nal| (nal, state.codec.kind(nal))) {
                Ok((nal, NalKind::Set(_))) => changed |= state.sets.update(nal).unwrap_or_default(),
                Ok((_, kind)) => keyframe |= kind == NalKind::KeySlice,
                // Otherwise passed on as it is: decoders skip what they cannot use.
                Err(_) if nal::annex_b(sample.data).is_some() => {
                    return Err(self.malformed("NAL units behind start codes: the format is AnnexB"));
                }
                Err(_) => {}
            }
        }
        if changed {
            self.follow_sets();
        }
        self.frame(sample, keyframe, times, sample.data).map(FrameList::from_iter)
    }

    fn annex_b(&mut self, sample: &Sample<&[u8]>, times: Times) -> Result<FrameList> {
        let nals = nal::annex_b(sample.data)
            .ok_or_else(|| self.malformed("no start code at the start: is the format Native?"))?;
        self.take_sets(nals.clone())?;
        let Some(codec) = self.nal.as_ref().map(|state| state.codec) else { return Ok(FrameList::new()) };
        let coded = nals.filter(|nal| !matches!(codec.kind(nal), NalKind::Set(_)));
        let (mut keyframe, mut len, mut first) = (sample.keyframe, 0_usize, None);
        for nal in coded.clone() {
            keyframe |= codec.kind(nal) == NalKind::KeySlice;
            len = len.saturating_add(nal.len()).saturating_add(4);
            first = first.or(Some(nal));
        }
        if first.is_none() {
            return Ok(FrameList::new());
        }
        let mut body = self.body(self.picture(sample, keyframe, times), len, &[])?;
        coded.for_each(|nal| body.put_nal(nal));
        Ok(FrameList::from_iter([body.finish(times.dts)]))
    }

    /// Takes parameter sets out of a byte stream into the record.
    fn take_sets<'a>(&mut self, nals: impl Iterator<Item = &'a [u8]>) -> Result<()> {
        let Some(state) = self.nal.as_mut() else { return Ok(()) };
        let (mut changed, mut bad) = (false, false);
        for nal in nals {
            match state.sets.update(nal) {
                Ok(new) => changed |= new,
                Err(_) => bad = true,
            }
        }
        if state.length_size != 4 {
            state.length_size = 4;
            let record = self.record.as_ref().map(|record| with_four_byte_lengths(state.codec, record));
            self.set_record(record);
        }
        if changed {
            self.follow_sets();
        }
        if bad { Err(self.malformed("a parameter set makes no sense")) } else { Ok(()) }
    }

    /// Makes the record anew from the parameter sets, once they are complete.
    fn follow_sets(&mut self) {
        let record = self.nal.as_ref().and_then(|state| state.sets.record(state.length_size));
        if record.is_some() {
            self.set_record(record);
        }
    }

    fn adts(&mut self, sample: &Sample<&[u8]>) -> Result<FrameList> {
        let mut config = None;
        for frame in AdtsFrames::new(sample.data) {
            let frame = frame.map_err(|bad| self.bad_adts(bad))?;
            if *config.get_or_insert(frame.config) != frame.config {
                return Err(self.malformed("the ADTS headers of one sample differ"));
            }
        }
        let Some(config) = config else { return Ok(FrameList::new()) };
        self.follow_adts(config)?;
        let mut frames = FrameList::new();
        for (frame, count) in AdtsFrames::new(sample.data).flatten().zip(0_u64..) {
            let offset = config.period().map_or(0, |period| period.nanos(count));
            let dts = millis(sample.pts_ns.saturating_add(offset));
            frames.extend(self.frame(sample, false, Times { dts, composition: 0 }, frame.data)?);
        }
        Ok(frames)
    }

    fn bad_adts(&self, bad: BadAdts) -> Error {
        match bad {
            BadAdts::Header(at) => {
                self.malformed(format_args!("no ADTS header at byte {at}: is the format Native?"))
            }
            BadAdts::Truncated(at) => self.malformed(format_args!("the ADTS frame at byte {at} is cut off")),
            BadAdts::Blocks(at) => {
                let detail = format!("the ADTS frame at byte {at} has several raw data blocks");
                self.error(ErrorKind::Unsupported, detail)
            }
        }
    }

    /// Takes an ADTS header over into the record, unless the record says the same in more words.
    fn follow_adts(&mut self, config: AdtsConfig) -> Result<()> {
        if self.adts == Some(config) {
            return Ok(());
        }
        if !self.record.as_ref().is_some_and(|record| config.agrees_with(record)) {
            let detail = "ADTS leaves the channels to the data: give an AudioSpecificConfig to set_track";
            let record = config.record().ok_or_else(|| self.error(ErrorKind::Unsupported, detail))?;
            self.set_record(Some(Bytes::copy_from_slice(&record)));
        }
        self.adts = Some(config);
        Ok(())
    }

    /// A sample whose data is the frame's.
    fn whole(&mut self, sample: &Sample<&[u8]>, times: Times) -> Result<FrameList> {
        let data = sample.data;
        let keyframe = match self.codec {
            Codec::Av1 => obu::is_keyframe(data),
            codec => vpx::is_keyframe(codec, data),
        };
        if self.derived || self.record.is_none() {
            self.derive_record(data, keyframe);
        }
        self.frame(sample, sample.keyframe || keyframe, times, data).map(FrameList::from_iter)
    }

    /// Makes the record that nobody gave, for codecs that allow it.
    fn derive_record(&mut self, data: &[u8], keyframe: bool) {
        let record = match self.codec {
            Codec::Av1 if keyframe => obu::record(data),
            Codec::Vp8 | Codec::Vp9 if keyframe => {
                vpx::record(self.codec, data).map(|record| Bytes::copy_from_slice(&record))
            }
            Codec::Opus => Some(Bytes::from_static(records::OPUS_STEREO)),
            _ => None,
        };
        if record.is_some() {
            self.derived = true;
            self.set_record(record);
        }
    }

    fn picture(&self, sample: &Sample<&[u8]>, keyframe: bool, times: Times) -> Content {
        let frame_type = match (keyframe, sample.discardable) {
            (true, _) => FrameType::Key,
            (false, true) => FrameType::Disposable,
            (false, false) => FrameType::Inter,
        };
        Content::Frame { frame_type, composition_time: times.composition }
    }

    /// A frame with `data`; none if that is empty.
    fn frame(
        &self,
        sample: &Sample<&[u8]>,
        keyframe: bool,
        times: Times,
        data: &[u8],
    ) -> Result<Option<Frame>> {
        if data.is_empty() {
            return Ok(None);
        }
        let mut body = self.body(self.picture(sample, keyframe, times), data.len(), data)?;
        body.put(data);
        Ok(Some(body.finish(times.dts)))
    }

    fn body(&self, content: Content, len: usize, first: &[u8]) -> Result<Body> {
        if self.record.is_none() && records::is_needed(self.codec) {
            return Err(self.error(ErrorKind::State, self.advice()));
        }
        Body::new(self.codec, self.place(), content, len, first).ok_or_else(|| {
            self.error(ErrorKind::Limit, format_args!("{len} bytes are too long for an FLV tag"))
        })
    }

    /// What to do about a missing record.
    fn advice(&self) -> &'static str {
        match self.codec {
            Codec::H264 => {
                "no decoder configuration yet: give avcC to set_track, or start with an Annex B access unit that \
                 has SPS and PPS"
            }
            Codec::Hevc => {
                "no decoder configuration yet: give hvcC to set_track, or start with an Annex B access unit that \
                 has VPS, SPS and PPS"
            }
            Codec::Aac => {
                "no decoder configuration yet: give an AudioSpecificConfig to set_track, or send ADTS"
            }
            Codec::Av1 | Codec::Vp8 | Codec::Vp9 => {
                "no decoder configuration yet: give it to set_track, or start with a keyframe"
            }
            _ => "no decoder configuration yet: give it to set_track",
        }
    }
}

impl NalState {
    fn new(codec: NalCodec) -> Self {
        Self { codec, sets: ParameterSets::new(codec), length_size: 4 }
    }

    /// Takes a record as it is, or adds parameter sets behind start codes. The record, once there is one.
    fn configure(&mut self, extradata: &[u8]) -> Result<Option<Bytes>, &'static str> {
        let Some(nals) = nal::annex_b(extradata) else {
            let detail = "configuration: neither a record (avcC, hvcC) nor parameter sets behind start codes";
            let (sets, length_size) = ParameterSets::from_record(self.codec, extradata).ok_or(detail)?;
            *self = Self { sets, length_size, ..*self };
            return Ok(Some(Bytes::copy_from_slice(extradata)));
        };
        let mut sets = self.sets.clone();
        for nal in nals {
            sets.update(nal).map_err(|_| "configuration: a parameter set makes no sense")?;
        }
        *self = Self { sets, length_size: 4, ..*self };
        Ok(self.sets.record(4))
    }
}
