//! One track on its way into parts: how it is coded, now and from the next break on, and the frames that are in no part yet.

use crate::config::HlsFormat;
use crate::hls::plan::Track as Planned;
use crate::hls::ticks;
use crate::media::FrameKind;
use crate::media::audio_clock::{AudioClock, units};
use crate::media::codec::{audio_config, audio_frame};
use crate::media::elementary::{Sample, needs_record};
use crate::media::flv::Codec;
use crate::media::fmp4::{Mp4Sample, Mp4Track};
use bytes::Bytes;

bound! {
    /// Frames of sound that wait for the picture with which they begin
    /// (test `sound_that_waits_for_a_picture_is_bounded`).
    pub(super) const MAX_WAITING: usize = 1_024, without usize::MAX;
}

/// A coded frame with its place.
#[derive(Debug)]
pub(super) struct Timed {
    /// When it is decoded, in units of its track.
    pub(super) at: i64,
    pub(super) lasts: i64,
    composition: i64,
    pub(super) is_sync: bool,
    pub(super) data: Bytes,
}

/// How a track is coded, and the times of its frames.
pub(super) struct Coded {
    pub(super) track: Mp4Track,
    clock: AudioClock,
}

/// How a track is coded from the next break on.
struct Next {
    codec: Codec,
    config: Bytes,
    /// `None` where that cannot be written, or its record does not tell all of it (VP9).
    coded: Option<Coded>,
}

/// See the module.
pub(super) struct Track {
    pub(super) planned: Planned,
    /// As it is now; `None` while that is not known, or cannot be written.
    pub(super) coded: Option<Coded>,
    next: Option<Next>,
    /// What is in no part yet.
    pub(super) run: Vec<Timed>,
    /// What came since the coding changed.
    pub(super) held: Vec<Timed>,
}

impl Coded {
    fn new(track: Mp4Track) -> Self {
        let clock = AudioClock::new(track.timescale);
        Self { track, clock }
    }

    /// The place of a sample in the track's time; `None` where it has none.
    fn place(&mut self, sample: &Sample) -> Option<Timed> {
        let (timescale, decoded) = (self.track.timescale, sample.dts_ns.unwrap_or(sample.pts_ns));
        let data = sample.data.clone();
        if sample.codec.kind() == Some(FrameKind::Video) {
            let at = units(decoded, timescale).max(0);
            let composition = units(sample.pts_ns, timescale).saturating_sub(at);
            return Some(Timed { at, lasts: 0, composition, is_sync: sample.keyframe, data });
        }
        let told =
            audio_frame(sample.codec, &data).or_else(|| audio_config(sample.codec, &self.track.config));
        // Where frames of FLAC differ in length, 4,096 samples are usual.
        let lasts = told.and_then(|told| told.period).map_or(4_096, |period| period.ticks(timescale).into());
        let at = self.clock.place(decoded, lasts)?.max(0);
        Some(Timed { at, lasts, composition: 0, is_sync: true, data })
    }
}

impl Track {
    pub(super) fn new(planned: Planned) -> Self {
        let first = planned.first.clone().map(|track| Next {
            codec: track.codec,
            config: track.config.clone(),
            coded: Some(Coded::new(track)),
        });
        Self { planned, coded: None, next: first, run: Vec::new(), held: Vec::new() }
    }

    /// Notes how it is coded from the next break on, where a sample tells something else than is known; whether it does.
    pub(super) fn note_coding(&mut self, sample: &Sample, format: HlsFormat) -> bool {
        // Of codecs without a record, any frame tells what the record of others does.
        let tells = sample.config || !needs_record(sample.codec);
        let is_news = tells && self.is_news(sample);
        if is_news {
            let (codec, config) = (sample.codec, sample.data.clone());
            let coded = self.planned.coded(format, codec, config.clone(), None).map(Coded::new);
            self.next = Some(Next { codec, config, coded });
            self.held.clear();
        }
        self.complete_next(sample, format);
        is_news || (sample.keyframe && self.shows_otherwise(sample))
    }

    /// Whether a sample that tells how the track is coded tells something else than is known.
    fn is_news(&self, sample: &Sample) -> bool {
        let of_next = self.next.as_ref().map(|next| (next.codec, &next.config));
        let of_now = || self.coded.as_ref().map(|coded| (coded.track.codec, &coded.track.config));
        match of_next.or_else(of_now) {
            Some((codec, config)) => codec != sample.codec || (sample.config && *config != sample.data),
            None => true,
        }
    }

    /// Finds out how the track is written from now on, where that takes a keyframe.
    fn complete_next(&mut self, sample: &Sample, format: HlsFormat) {
        if let Some(next) = self.next.as_mut().filter(|next| sample.keyframe && next.coded.is_none()) {
            let (codec, config) = (next.codec, next.config.clone());
            next.coded = self.planned.coded(format, codec, config, Some(&sample.data)).map(Coded::new);
        }
    }

    /// Notes where a keyframe tells what the record does not, and something else than before: another size of VP9.
    fn shows_otherwise(&mut self, keyframe: &Sample) -> bool {
        let Some(known) = self.coded.as_ref().filter(|_| self.next.is_none()) else { return false };
        let track = known.track.clone().with_frame(&keyframe.data);
        if track == known.track {
            return false;
        }
        let (codec, config) = (track.codec, track.config.clone());
        self.next = Some(Next { codec, config, coded: Some(Coded::new(track)) });
        true
    }

    /// Whether it is known how it is written from the next break on.
    pub(super) fn is_known(&self) -> bool {
        self.next.as_ref().is_some_and(|next| next.coded.is_some())
    }

    /// Whether frames wait for the break with which it begins.
    pub(super) fn has_begun(&self) -> bool {
        self.is_known() && !self.held.is_empty()
    }

    pub(super) fn timescale(&self) -> u32 {
        let coded = self.coded.as_ref().or_else(|| self.next.as_ref()?.coded.as_ref());
        coded.map_or(1, |coded| coded.track.timescale)
    }

    pub(super) fn ticks(&self, at: i64) -> i64 {
        ticks(at, self.timescale())
    }

    /// Takes the coding over that comes next, and what has waited for it.
    pub(super) fn renew(&mut self) {
        if let Some(next) = self.next.take() {
            self.coded = next.coded;
            self.run.clear();
        }
        self.run.append(&mut self.held);
    }

    pub(super) fn place(&mut self, sample: &Sample) -> Option<Timed> {
        let coded = match &mut self.next {
            Some(next) => &mut next.coded,
            None => &mut self.coded,
        };
        // Of another codec nothing is known without its record.
        coded.as_mut().filter(|coded| coded.track.codec == sample.codec)?.place(sample)
    }

    /// Leaves out what ends before `at`, in ticks: the picture that goes with it has never come.
    pub(super) fn leave_out(&mut self, at: i64) {
        let timescale = self.timescale();
        self.run.retain(|timed| ticks(timed.at.saturating_add(timed.lasts), timescale) > at);
    }

    /// Keeps a frame for the part that is open, or for what begins with the next break.
    pub(super) fn keep(&mut self, timed: Timed, has_begun: bool) {
        let is_next = self.next.is_some();
        let frames = if is_next { &mut self.held } else { &mut self.run };
        if (is_next || !has_begun) && frames.len() >= MAX_WAITING.get() {
            // The picture that they belong to has not come for long.
            frames.clear();
        }
        frames.push(timed);
    }

    /// Takes what begins before `until`, in ticks: when that is, and the samples.
    pub(super) fn take(&mut self, until: i64) -> (i64, Vec<Mp4Sample>) {
        let count = self.run.partition_point(|timed| self.ticks(timed.at) < until);
        let later = self.run.split_off(count);
        let taken = std::mem::replace(&mut self.run, later);
        let begins = taken.first().map_or(0, |timed| timed.at);
        let nexts = taken.iter().skip(1).map(|timed| Some(timed.at)).chain([None]);
        let samples = taken.iter().zip(nexts).map(|(timed, next)| {
            let lasts = next.map_or(timed.lasts, |next| next.saturating_sub(timed.at));
            Mp4Sample {
                duration: u32::try_from(lasts).unwrap_or_default(),
                composition: i32::try_from(timed.composition).unwrap_or_default(),
                is_sync: timed.is_sync,
                data: timed.data.clone(),
            }
        });
        (begins, samples.collect())
    }
}
