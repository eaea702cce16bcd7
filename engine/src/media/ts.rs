//! MPEG transport streams (ISO/IEC 13818-1 = ITU-T H.222.0, whose sections are named here) as HLS has them: segments of one programme,
//! each of which can be decoded by itself (RFC 8216 3.2).
//!
//! Decoding and presentation times come out 1.4 s later than they went in, and the clock 0.7 s, all modulo 2^33: nothing is below zero
//! then at the beginning of a stream.

mod clock;
mod packets;

use super::FrameKind;
use super::codec::{AudioConfig, Period, audio_track};
use super::elementary::{has_adts, missing_delimiter};
use super::flv::Codec;
use crate::{Error, ErrorKind, Result};
use bytes::Bytes;
use clock::Clock;
use packets::{Counters, Head, MAX_PES, Reference, Tables, Writer};

/// How long after its clock reference, in 90 kHz, a frame is decoded. Receivers that go by the clock, as VLC and boxes do, need
/// to have all of a frame by then, and the audio that belongs to it. What ffmpeg and nginx-rtmp have, too; 2.4.2.7 allows 1 s.
const LEAD: i64 = 63_000;
/// How much later than told the clock is, in 90 kHz: the first pictures of a stream may be decoded before its time 0. As ffmpeg has it.
const DELAY: i64 = 63_000;
/// How much earlier than told, in 90 kHz, video is decoded at most. It then comes behind its audio, for which the rest of the lead is.
const MOST_EARLY: i64 = 45_000;
/// How much audio one PES packet has, in 90 kHz: with each frame in its own, half of the packets would be filled with nothing.
const BUNDLE: i64 = 18_000;
/// The same where audio tells the clock, which must be told as often.
const BUNDLE_WITH_CLOCK: i64 = 9_000;
/// How far from its place, in 90 kHz, a frame in a bundle may be: receivers count frames from the first one's time. More than what
/// rounding to milliseconds does to times.
const TOLERANCE: i64 = 450;
/// Where ffmpeg and nginx-rtmp have video, and the first track of audio.
const VIDEO_PID: u16 = 0x100;
const AUDIO_PID: u16 = 0x101;

/// The packet identifier of a track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct MediaPid(u16);

/// A track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TsTrack {
    codec: Codec,
    stream_type: u8,
    /// How long a frame lasts, where all last as long.
    period: Option<Period>,
}

impl TsTrack {
    /// A track of H.264, HEVC, AAC, MP3, AC-3 or E-AC-3. `config` is the decoder configuration record, as sequence headers of FLV have
    /// it; for MP3, AC-3 and E-AC-3, which have none, a coded frame. That of video is not looked at: keyframes have it in them.
    /// Apple's players take HEVC in fragmented MP4 only.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for a codec that has no form in the MPEG-TS of HLS, and for AAC that ADTS cannot tell of;
    /// [`ErrorKind::Format`] for a configuration that makes no sense.
    pub fn new(codec: Codec, config: &[u8]) -> Result<Self> {
        let audio = audio_track(codec, config);
        let stream_type = match (codec, audio) {
            (Codec::H264, _) => 0x1b,
            (Codec::Hevc, _) => 0x24,
            (Codec::Aac | Codec::Mp3 | Codec::Ac3 | Codec::Eac3, None) => return Err(wrong(codec)),
            (_, Some(audio)) => audio_type(codec, audio, config).ok_or_else(|| unsupported(codec))?,
            _ => return Err(unsupported(codec)),
        };
        Ok(Self { codec, stream_type, period: audio.and_then(|audio| audio.period) })
    }

    fn is_video(&self) -> bool {
        self.codec.kind() == Some(FrameKind::Video)
    }

    /// `stream_type` of the programme's table.
    fn stream_type(&self) -> u8 {
        self.stream_type
    }

    /// `format_identifier` of its registration descriptor: ATSC A/52 asks for it with AC-3, and ffmpeg writes the others, too.
    fn registration(&self) -> Option<&'static [u8; 4]> {
        match self.codec {
            Codec::Hevc => Some(b"HEVC"),
            Codec::Ac3 => Some(b"AC-3"),
            Codec::Eac3 => Some(b"EAC3"),
            _ => None,
        }
    }

    /// `stream_id` of its PES packets (2.4.3.7): the first one of video or audio, and for AC-3 `private_stream_1` (ATSC A/52 A.3).
    fn stream_id(&self) -> u8 {
        match self.codec {
            Codec::Ac3 | Codec::Eac3 => 0xbd,
            _ if self.is_video() => 0xe0,
            _ => 0xc0,
        }
    }

    /// How much later than the first of its bundle a frame is, in 90 kHz.
    fn offset(&self, frames: u64) -> Option<i64> {
        Some(self.period?.nanos(frames).saturating_mul(9) / 100_000)
    }
}

/// Table 2-34; AC-3 and E-AC-3 as ATSC A/52 has them, and Apple. `None` where ADTS cannot tell of AAC, and for other codecs.
fn audio_type(codec: Codec, audio: AudioConfig, config: &[u8]) -> Option<u8> {
    /// Below it, MP3 is that of MPEG-2 (ISO/IEC 13818-3).
    const MPEG_1: u32 = 32_000;
    match codec {
        Codec::Aac => has_adts(config).then_some(0x0f),
        Codec::Mp3 => Some(if audio.sample_rate >= MPEG_1 { 0x03 } else { 0x04 }),
        Codec::Ac3 => Some(0x81),
        Codec::Eac3 => Some(0x87),
        _ => None,
    }
}

/// A coded frame: an access unit in [`Format::AnnexB`](super::elementary::Format::AnnexB) with its parameter sets if it is a keyframe, AAC in
/// [`Format::Adts`](super::elementary::Format::Adts), and other audio as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TsSample {
    /// The track's place among those of the muxer.
    pub track: usize,
    /// When it is decoded, in 90 kHz.
    pub dts: i64,
    /// When it is shown after it is decoded. Video only: audio is heard when it is decoded.
    pub composition: i32,
    /// Whether decoding can begin with it.
    pub is_sync: bool,
    /// Its bytes.
    pub data: Bytes,
}

/// Makes segments of the samples of a few tracks.
///
/// Where a video frame is shown before it is decoded, which receivers do not take, all video is decoded earlier, by as much as that was
/// at most since the muxer was made or renewed, and by half a second at most.
#[derive(Debug)]
pub struct TsMuxer {
    tracks: Vec<Track>,
    /// Place of the track that tells the clock: of video, else the first.
    teller: usize,
    tables: Tables,
    version: u8,
    counters: Counters,
    clock: Clock,
}

#[derive(Debug)]
struct Track {
    pid: MediaPid,
    track: TsTrack,
    /// How much earlier than told it is decoded.
    early: i64,
    /// When the last frame is decoded.
    newest: Option<i64>,
}

/// What goes into one PES packet, in 90 kHz.
#[derive(Debug, Clone, Copy)]
struct Unit {
    track: usize,
    /// Places of its first and its last frame among the samples; between them there may be some of other tracks.
    frames: (usize, usize),
    count: u64,
    len: usize,
    dts: i64,
    pts: i64,
    /// The latest `dts` of its track up to here: what units of several tracks are put in order by.
    order: i64,
    is_random_access: bool,
}

/// What is written.
#[derive(Debug, Clone, Copy)]
enum Step {
    Reference(Reference),
    Pes(Unit, Option<Reference>),
}

impl TsMuxer {
    /// One for these tracks, of which at most one is of video.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for no track or two of video, [`ErrorKind::Limit`] where one packet cannot tell of so many.
    pub fn new(tracks: &[TsTrack]) -> Result<Self> {
        let (tracks, teller) = with_pids(tracks)?;
        let tables = tables(&tracks, teller, 0)?;
        Ok(Self {
            tracks,
            teller,
            tables,
            version: 0,
            counters: Counters::default(),
            clock: Clock::default(),
        })
    }

    /// For a publisher that has come back, or who goes on otherwise: its times, and its tracks, have nothing to do with those before.
    /// Continuity counters go on, so that who reads segments as one stream (ffmpeg and VLC do) misses no packet; that the time is
    /// another is said with the first clock reference, and a new version of the table says that the tracks are.
    ///
    /// # Errors
    /// As [`new`](Self::new), and then nothing has changed.
    pub fn renew(&mut self, tracks: &[TsTrack]) -> Result<()> {
        let is_same = self.tracks.iter().map(|track| &track.track).eq(tracks);
        let version = self.version.wrapping_add(u8::from(!is_same));
        let (tracks, teller) = with_pids(tracks)?;
        self.tables = tables(&tracks, teller, version)?;
        (self.tracks, self.teller, self.version) = (tracks, teller, version);
        self.clock.renew();
        Ok(())
    }

    /// A segment: PAT, PMT, and the samples in the order of their decoding; those of one track stay in the order in which they come here.
    /// Audio is bundled, but not over the end of a segment. Where nothing is for long, a packet each 100 ms tells the clock. Left out is what is empty, and audio that no PES packet can have
    /// (64 KiB), which no codec's frame is.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for a sample of no track, and then nothing has changed. No bytes and no times are an error.
    pub fn segment(&mut self, samples: &[TsSample]) -> Result<Bytes> {
        if let Some(sample) = samples.iter().find(|sample| sample.track >= self.tracks.len()) {
            let text = format!("there is no track {} of {}", sample.track, self.tracks.len());
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        }
        let steps = self.steps(samples);
        let packets =
            steps.iter().map(|step| self.packets(step)).fold(Tables::PACKETS, usize::saturating_add);
        let mut counters = std::mem::take(&mut self.counters);
        let written = self.written(&steps, samples, Writer::new(packets, &mut counters));
        self.counters = counters;
        written
    }

    fn steps(&mut self, samples: &[TsSample]) -> Vec<Step> {
        let mut units = Vec::with_capacity(samples.len());
        for place in 0..self.tracks.len() {
            self.units(place, samples, &mut units);
        }
        units.sort_by_key(|unit| unit.order);
        let mut steps = Vec::with_capacity(units.len());
        for unit in units {
            let tells = unit.track == self.teller;
            for at in self.clock.before(unit.dts, tells) {
                steps.push(Step::Reference(self.clock.tell(at)));
            }
            steps.push(Step::Pes(unit, tells.then(|| self.clock.tell(unit.dts))));
        }
        steps
    }

    /// Adds the units of a track.
    fn units(&mut self, place: usize, samples: &[TsSample], units: &mut Vec<Unit>) {
        let tells = place == self.teller;
        let Some(track) = self.tracks.get_mut(place) else { return };
        track.follow(samples.iter().filter(|sample| sample.track == place));
        let longest = if tells { BUNDLE_WITH_CLOCK } else { BUNDLE };
        let first = units.len();
        for (at, sample) in samples.iter().enumerate() {
            if sample.track != place || !track.takes(sample) {
                continue;
            }
            let unit = track.unit(at, sample, tells);
            match units.get_mut(first..).and_then(<[Unit]>::last_mut) {
                Some(bundle) if track.is_next(bundle, &unit, longest) => bundle.add(&unit),
                Some(last) => {
                    let order = last.order.max(unit.dts);
                    units.push(Unit { order, ..unit });
                }
                None => units.push(unit),
            }
        }
    }

    fn packets(&self, step: &Step) -> usize {
        match step {
            Step::Reference(_) => 1,
            Step::Pes(unit, reference) => self.head(unit, *reference).packets(unit.len),
        }
    }

    fn written(&self, steps: &[Step], samples: &[TsSample], mut writer: Writer<'_>) -> Result<Bytes> {
        let pid = |place: usize| self.tracks.get(place).map_or(MediaPid(VIDEO_PID), |track| track.pid);
        writer.tables(&self.tables)?;
        let mut data = Vec::new();
        for step in steps {
            match step {
                Step::Reference(reference) => writer.reference(pid(self.teller), *reference)?,
                Step::Pes(unit, reference) => {
                    data.clear();
                    self.gather(unit, samples, &mut data);
                    writer.pes(pid(unit.track), &self.head(unit, *reference), &data)?;
                }
            }
        }
        Ok(writer.finish())
    }

    fn head(&self, unit: &Unit, reference: Option<Reference>) -> Head {
        Head {
            stream_id: self.tracks.get(unit.track).map_or(0, |track| track.track.stream_id()),
            pts: unit.pts.saturating_add(DELAY).saturating_add(LEAD),
            dts: unit.dts.saturating_add(DELAY).saturating_add(LEAD),
            is_random_access: unit.is_random_access,
            reference,
        }
    }

    /// The data of a unit.
    fn gather(&self, unit: &Unit, samples: &[TsSample], data: &mut Vec<u8>) {
        let Some(track) = self.tracks.get(unit.track) else { return };
        let (first, last) = unit.frames;
        let frames = samples.get(first..=last).unwrap_or_default().iter();
        for sample in frames.filter(|sample| sample.track == unit.track && track.takes(sample)) {
            data.extend_from_slice(track.delimiter(sample));
            data.extend_from_slice(&sample.data);
        }
    }
}

impl Track {
    fn takes(&self, sample: &TsSample) -> bool {
        let len = sample.data.len();
        len > 0 && (self.track.is_video() || len <= MAX_PES.get())
    }

    /// Apple has each access unit begin with one.
    fn delimiter(&self, sample: &TsSample) -> &'static [u8] {
        missing_delimiter(self.track.codec, &sample.data)
    }

    /// Notes how much earlier video must be decoded.
    fn follow<'a>(&mut self, samples: impl Iterator<Item = &'a TsSample>) {
        if self.track.is_video() {
            let early = samples.map(|sample| i64::from(sample.composition).saturating_neg()).max();
            self.early = self.early.max(early.unwrap_or_default()).min(MOST_EARLY);
        }
    }

    /// A sample by itself.
    fn unit(&mut self, at: usize, sample: &TsSample, tells: bool) -> Unit {
        let is_video = self.track.is_video();
        let told = sample.dts.saturating_sub(self.early);
        // Decoders take frames in order. What goes back by more is another time.
        let dts = self
            .newest
            .filter(|newest| newest.saturating_sub(told) <= LEAD)
            .map_or(told, |newest| newest.max(told));
        self.newest = Some(dts);
        let composition = if is_video { sample.composition } else { 0 };
        Unit {
            track: sample.track,
            frames: (at, at),
            count: 1,
            len: sample.data.len().saturating_add(self.delimiter(sample).len()),
            dts,
            pts: sample.dts.saturating_add(composition.into()).max(dts),
            order: dts,
            is_random_access: if is_video { sample.is_sync } else { tells },
        }
    }

    /// Whether `unit` goes into `bundle`.
    fn is_next(&self, bundle: &Unit, unit: &Unit, longest: i64) -> bool {
        if self.track.is_video() || bundle.len.saturating_add(unit.len) > MAX_PES.get() {
            return false;
        }
        let ends = self.track.offset(bundle.count.saturating_add(1));
        let offset = self.track.offset(bundle.count);
        offset.zip(ends).is_some_and(|(offset, ends)| {
            let place = bundle.dts.saturating_add(offset);
            ends <= longest && place.abs_diff(unit.dts) <= TOLERANCE.unsigned_abs()
        })
    }
}

impl Unit {
    /// Adds one that follows.
    fn add(&mut self, unit: &Self) {
        self.frames.1 = unit.frames.1;
        self.len = self.len.saturating_add(unit.len);
        self.count = self.count.saturating_add(unit.count);
    }
}

/// The tracks with their packet identifiers, and the place of the one that tells the clock.
fn with_pids(tracks: &[TsTrack]) -> Result<(Vec<Track>, usize)> {
    if tracks.is_empty() || tracks.iter().filter(|track| track.is_video()).count() > 1 {
        let text = "MPEG-TS: there must be a track, and at most one of video";
        return Err(Error::new(ErrorKind::InvalidArgument, text));
    }
    let mut audio = AUDIO_PID..;
    let with_pid = |track: &TsTrack| {
        let pid = if track.is_video() { VIDEO_PID } else { audio.next().unwrap_or(AUDIO_PID) };
        Track { pid: MediaPid(pid), track: *track, early: 0, newest: None }
    };
    let teller = tracks.iter().position(TsTrack::is_video).unwrap_or_default();
    Ok((tracks.iter().map(with_pid).collect(), teller))
}

fn tables(tracks: &[Track], teller: usize, version: u8) -> Result<Tables> {
    let told: Vec<_> = tracks.iter().map(|track| (track.pid, track.track)).collect();
    let clock = tracks.get(teller).map_or(MediaPid(VIDEO_PID), |track| track.pid);
    Tables::new(&told, clock, version)
}

fn unsupported(codec: Codec) -> Error {
    let text = format!("MPEG-TS has no form for this {codec}: set hls.format to \"fmp4\"");
    Error::new(ErrorKind::Unsupported, text)
}

fn wrong(codec: Codec) -> Error {
    Error::new(ErrorKind::Format, format!("MPEG-TS: this is no configuration of {codec}"))
}
