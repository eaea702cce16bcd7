//! Cuts a stream into parts and segments: frames in, cuts out. It knows no clock and does no I/O.
//!
//! One track leads: the picture, or the sound where there is no picture. Where it can be cut everything is cut, so that the parts
//! of all renditions have the same numbers and lie at the same times.

use super::form::{self, Run, Writer};
use super::plan::{Plan, Rules, Track as Planned};
use super::{TICKS, ticks, units_of};
use crate::media::audio_clock::{AudioClock, units};
use crate::media::codec::{audio_config, audio_frame, audio_track, codec_string, video_config};
use crate::media::elementary::{Demuxer, Sample, needs_record};
use crate::media::flv::Codec;
use crate::media::fmp4::{Mp4Sample, Mp4Track};
use crate::media::{Frame, FrameKind};
use bytes::Bytes;

bound! {
    /// Bytes of a part, after which it ends in any case: what is counted as held is so much behind what is
    /// (test `a_part_ends_where_it_has_much_in_it`).
    const MAX_PART_BYTES: usize = 8 * 1024 * 1024, without usize::MAX;
    /// Frames of sound that wait for the picture with which they begin
    /// (test `sound_that_waits_for_a_picture_is_bounded`).
    const MAX_WAITING: usize = 1_024, without usize::MAX;
}

/// How far the sound may be ahead of a picture that is still to come; then it leads, in ticks.
const PATIENCE: i64 = TICKS / 2;

/// What comes of frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cut {
    /// What follows does not go on from what was before: another configuration, or another publisher. By rendition, what is to
    /// be known of it first.
    Break(Vec<Header>),
    /// The next part.
    Part(Part),
    /// The parts since the last such cut are a segment.
    Segment,
}

/// What is to be known of a rendition before its media.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Header {
    /// What decoders need first.
    pub(super) init: Bytes,
    /// Its codecs, as playlists name them.
    pub(super) codecs: Vec<String>,
    /// Width and height of the picture.
    pub(super) size: Option<(u32, u32)>,
    /// Channels of the sound; 0 where that is not known.
    pub(super) channels: u8,
}

/// A part of all renditions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    /// When it begins, in ticks of stream time.
    pub(super) begins: i64,
    /// How long it lasts, in ticks.
    pub(super) lasts: i64,
    /// Whether decoding can begin in it.
    pub(super) is_independent: bool,
    /// Its bytes, by rendition.
    pub(super) media: Vec<Bytes>,
}

/// A coded frame with its place.
#[derive(Debug)]
struct Timed {
    /// When it is decoded, in units of its track.
    at: i64,
    lasts: i64,
    composition: i64,
    is_sync: bool,
    data: Bytes,
}

/// How a track is coded, and the times of its frames.
struct Coded {
    track: Mp4Track,
    clock: AudioClock,
}

/// How a track is coded from the next break on.
struct Next {
    codec: Codec,
    config: Bytes,
    /// `None` where that cannot be written, or its record does not tell all of it (VP9).
    coded: Option<Coded>,
}

struct Track {
    planned: Planned,
    /// As it is now; `None` while that is not known, or cannot be written.
    coded: Option<Coded>,
    next: Option<Next>,
    run: Vec<Timed>,
    /// What came since the coding changed.
    held: Vec<Timed>,
}

/// See the module.
pub(super) struct Segmenter {
    rules: Rules,
    /// Gives the configuration as it came.
    records: Demuxer,
    /// Gives coded frames as they are written.
    demuxer: Demuxer,
    /// The first one leads.
    tracks: Vec<Track>,
    /// By rendition.
    writers: Vec<Writer>,
    /// The newest frame of the leading track: how long it lasts shows the next one.
    waiting: Option<Timed>,
    /// Where the leading track has got to.
    edge: i64,
    part_begins: Option<i64>,
    segment_begins: i64,
    /// A break comes before the next frame of the leading track.
    breaks: bool,
    has_parts: bool,
}

impl Segmenter {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            rules: plan.rules,
            records: Demuxer::new(),
            demuxer: form::demuxer(plan.format),
            tracks: plan.tracks.iter().cloned().map(Track::new).collect(),
            writers: (0..plan.renditions()).map(|_| Writer::new(plan.format)).collect(),
            waiting: None,
            edge: i64::MIN,
            part_begins: None,
            segment_begins: 0,
            breaks: true,
            has_parts: false,
        }
    }

    /// What follows is another publisher's.
    pub(super) fn renew(&mut self) {
        self.breaks = true;
    }

    /// Takes the next frame of the stream.
    pub(super) fn push(&mut self, frame: &Frame, cuts: &mut Vec<Cut>) {
        // What makes no sense is left out.
        for sample in self.records.push(frame).unwrap_or_default() {
            if let Some(index) = self.place_of(&sample) {
                self.note_coding(index, &sample);
            }
        }
        for sample in self.demuxer.push(frame).unwrap_or_default() {
            match self.place_of(&sample) {
                _ if sample.config => {}
                Some(0) => self.push_leading(&sample, cuts),
                Some(index) => self.push_other(index, &sample, cuts),
                None => {}
            }
        }
    }

    fn place_of(&self, sample: &Sample) -> Option<usize> {
        self.tracks.iter().position(|track| track.planned.is_of(sample))
    }

    /// Ends the segment with what has come: nothing follows for a while, or ever.
    pub(super) fn flush(&mut self, cuts: &mut Vec<Cut>) {
        let lead_end = match &self.waiting {
            Some(waiting) => self.lead_ticks(waiting.at).saturating_add(self.rules.frame),
            None => self.edge,
        };
        // The sound may last longer than the picture.
        let end = lead_end.max(self.newest_other());
        self.advance(end, cuts);
        let Some(begins) = self.part_begins else { return };
        if end > begins {
            self.cut_part(end, cuts);
        }
        self.end_segment(end, cuts);
        self.part_begins = None;
        self.breaks = true;
    }

    /// Notes how the track of a sample is coded, where it is news.
    fn note_coding(&mut self, index: usize, sample: &Sample) {
        let Some(track) = self.tracks.get_mut(index) else { return };
        // Of codecs without a record, any frame tells what the record of others does.
        let tells = sample.config || !needs_record(sample.codec);
        if tells && track.is_news(sample) {
            let (codec, config) = (sample.codec, sample.data.clone());
            let coded = track.planned.coded(codec, config.clone(), None).map(Coded::new);
            track.next = Some(Next { codec, config, coded });
            track.held.clear();
            self.breaks = true;
        }
        track.complete_next(sample);
        if sample.keyframe && track.shows_otherwise(sample) {
            self.breaks = true;
        }
    }

    fn push_leading(&mut self, sample: &Sample, cuts: &mut Vec<Cut>) {
        let Some(track) = self.tracks.first_mut() else { return };
        let Some(mut timed) = track.place(sample) else { return };
        // A step at least: two frames of the same millisecond are two frames.
        timed.at =
            timed.at.max(self.waiting.as_ref().map_or(i64::MIN, |waiting| waiting.at.saturating_add(1)));
        let at = self.lead_ticks(timed.at).max(self.edge);
        let is_video = sample.codec.kind() == Some(FrameKind::Video);
        match self.waiting.take() {
            Some(waiting) => self.place_waiting(waiting, timed.at, at, cuts),
            None => self.advance(at, cuts),
        }
        if self.breaks && !(is_video && self.part_begins.is_none() && !sample.keyframe) {
            self.pass_break(at, cuts);
        }
        if self.breaks {
            return;
        }
        match self.part_begins {
            None => self.begin(at),
            Some(begins) => {
                let next = at.saturating_add(self.rules.frame);
                let can_cut = sample.keyframe || !is_video;
                let lasts = at.saturating_sub(self.segment_begins);
                let ends = (can_cut && lasts >= self.rules.segment) || self.is_too_long(next);
                let is_full = self.rules.part.is_some_and(|most| {
                    // Shorter ones are no parts to Apple (4.4.4.9), but at a segment's end.
                    let is_long = at.saturating_sub(begins) >= most * 85 / 100;
                    is_long && (sample.keyframe || next.saturating_sub(begins) > most)
                });
                if ends || is_full || self.held_bytes() > MAX_PART_BYTES.get() {
                    self.cut_part(at, cuts);
                }
                if ends {
                    self.end_segment(at, cuts);
                }
            }
        }
        self.waiting = Some(timed);
    }

    /// The frame that has been waited with ends at `end`, which is `at` in ticks.
    fn place_waiting(&mut self, mut waiting: Timed, end: i64, at: i64, cuts: &mut Vec<Cut>) {
        let began = self.lead_ticks(waiting.at);
        let begins = self.part_begins.unwrap_or(began);
        // With it the part, or the segment, would be longer than it may be.
        let is_too_long = |begins: i64, most: i64| at.saturating_sub(begins) > most && began > begins;
        if is_too_long(self.segment_begins, self.rules.longest) {
            self.cut_part(began, cuts);
            self.end_segment(began, cuts);
        } else if self.rules.part.is_some_and(|most| is_too_long(begins, most)) {
            self.cut_part(began, cuts);
        }
        waiting.lasts = end.saturating_sub(waiting.at);
        let is_hole = at.saturating_sub(began) > self.rules.longest;
        if is_hole {
            // No segment has room for it: the stream goes on behind a break.
            waiting.lasts = units_of(self.rules.frame, self.lead_timescale());
        }
        let lasts = waiting.lasts;
        let ended = self.lead_ticks(waiting.at.saturating_add(lasts));
        if let Some(track) = self.tracks.first_mut() {
            track.run.push(waiting);
        }
        self.edge = ended;
        if is_hole {
            self.cut_part(ended, cuts);
            self.end_segment(ended, cuts);
            self.part_begins = None;
            self.breaks = true;
        }
    }

    /// Begins anew at `at`: what is open ends there.
    fn pass_break(&mut self, at: i64, cuts: &mut Vec<Cut>) {
        if self.part_begins.is_some_and(|begins| at > begins) {
            self.cut_part(at, cuts);
        }
        self.end_segment(at, cuts);
        self.part_begins = None;
        for track in &mut self.tracks {
            track.renew();
            track.leave_out(at.saturating_sub(PATIENCE));
        }
        if self.tracks.first().is_some_and(|track| track.coded.is_some()) {
            let headers = self.headers();
            cuts.push(Cut::Break(headers));
            self.breaks = false;
        }
    }

    fn headers(&mut self) -> Vec<Header> {
        let of = |(rendition, writer): (usize, &mut Writer)| {
            let tracks = self.tracks.iter().filter(|track| track.planned.rendition == rendition);
            let coded: Vec<_> =
                tracks.filter_map(|track| Some(track.coded.as_ref()?.track.clone())).collect();
            Header::of(&coded, writer.begin(&coded))
        };
        self.writers.iter_mut().enumerate().map(of).collect()
    }

    fn push_other(&mut self, index: usize, sample: &Sample, cuts: &mut Vec<Cut>) {
        let Some(track) = self.tracks.get_mut(index) else { return };
        let Some(timed) = track.place(sample) else { return };
        let end = track.ticks(timed.at.saturating_add(timed.lasts));
        track.keep(timed, self.part_begins.is_some());
        if end.saturating_sub(self.newest_leading()) > PATIENCE {
            self.advance(end.saturating_sub(PATIENCE), cuts);
        }
    }

    /// No picture comes before `until`: without it the sound goes on, and the last picture stays.
    fn advance(&mut self, until: i64, cuts: &mut Vec<Cut>) {
        let limit = self.rules.part.unwrap_or(self.rules.segment);
        while let Some(begins) = self.part_begins
            && until.saturating_sub(begins) > limit
        {
            self.cut_part(begins.saturating_add(limit), cuts);
        }
    }

    /// Whether the segment would be too long if it went on to `next`.
    fn is_too_long(&self, next: i64) -> bool {
        next.saturating_sub(self.segment_begins) > self.rules.longest
    }

    /// The newest picture stays until `at`.
    fn hold_picture(&mut self, at: i64) {
        let timescale = self.lead_timescale();
        if let Some(mut waiting) = self.waiting.take_if(|waiting| ticks(waiting.at, timescale) < at) {
            waiting.lasts = units_of(at, timescale).saturating_sub(waiting.at).max(1);
            if let Some(track) = self.tracks.first_mut() {
                track.run.push(waiting);
            }
        }
        self.edge = self.edge.max(at);
    }

    /// Bytes of what is in no part yet.
    fn held_bytes(&self) -> usize {
        self.tracks.iter().flat_map(|track| &track.run).map(|timed| timed.data.len()).sum()
    }

    fn newest_leading(&self) -> i64 {
        self.waiting.as_ref().map_or(self.edge, |waiting| self.lead_ticks(waiting.at))
    }

    /// Until when there is something of the tracks that do not lead.
    fn newest_other(&self) -> i64 {
        let end =
            |track: &Track| track.run.last().map(|timed| track.ticks(timed.at.saturating_add(timed.lasts)));
        self.tracks.iter().skip(1).filter_map(end).max().unwrap_or(i64::MIN)
    }

    fn begin(&mut self, at: i64) {
        self.part_begins = Some(at);
        self.segment_begins = at;
    }

    /// The open part ends at `at`, and the next one begins.
    fn cut_part(&mut self, at: i64, cuts: &mut Vec<Cut>) {
        let Some(begins) = self.part_begins.replace(at) else { return };
        if self.is_too_long(at) {
            self.end_segment(begins, cuts);
        }
        self.hold_picture(at);
        let is_independent =
            self.tracks.first().is_some_and(|lead| lead.run.iter().any(|timed| timed.is_sync));
        let media = (0..self.writers.len()).map(|rendition| self.encode(rendition, at)).collect();
        cuts.push(Cut::Part(Part { begins, lasts: at.saturating_sub(begins), is_independent, media }));
        self.has_parts = true;
    }

    fn end_segment(&mut self, at: i64, cuts: &mut Vec<Cut>) {
        if std::mem::take(&mut self.has_parts) {
            cuts.push(Cut::Segment);
        }
        self.segment_begins = at;
    }

    /// The bytes of what has come before `at`.
    fn encode(&mut self, rendition: usize, at: i64) -> Bytes {
        let tracks = self.tracks.iter_mut().enumerate();
        let tracks = tracks.filter(|(_, track)| track.planned.rendition == rendition);
        let runs = tracks.filter_map(|(index, track)| {
            // What leads is cut where it ends.
            let (begins, samples) = track.take(if index == 0 { i64::MAX } else { at });
            let track = &track.coded.as_ref()?.track;
            (!samples.is_empty()).then_some(Run { track, begins, samples })
        });
        let runs: Vec<_> = runs.collect();
        self.writers.get_mut(rendition).map_or_else(Bytes::new, |writer| writer.part(&runs))
    }

    fn lead_timescale(&self) -> u32 {
        self.tracks.first().map_or(1, Track::timescale)
    }

    fn lead_ticks(&self, at: i64) -> i64 {
        ticks(at, self.lead_timescale())
    }
}

impl Header {
    fn of(tracks: &[Mp4Track], init: Bytes) -> Self {
        let size = |track: &Mp4Track| {
            let config = video_config(track.codec, &track.config)?;
            let told = config.width.zip(config.height);
            told.or_else(|| track.size.map(|(width, height)| (width.into(), height.into())))
        };
        let channels = |track: &Mp4Track| audio_track(track.codec, &track.config).map(|told| told.channels);
        Self {
            init,
            codecs: tracks.iter().filter_map(|track| codec_string(track.codec, &track.config)).collect(),
            size: tracks.iter().find_map(size),
            channels: tracks.iter().find_map(channels).unwrap_or_default(),
        }
    }
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
    fn new(planned: Planned) -> Self {
        let first = planned.first.clone().map(|track| Next {
            codec: track.codec,
            config: track.config.clone(),
            coded: Some(Coded::new(track)),
        });
        Self { planned, coded: None, next: first, run: Vec::new(), held: Vec::new() }
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
    fn complete_next(&mut self, sample: &Sample) {
        if let Some(next) = self.next.as_mut().filter(|next| sample.keyframe && next.coded.is_none()) {
            let (codec, config) = (next.codec, next.config.clone());
            next.coded = self.planned.coded(codec, config, Some(&sample.data)).map(Coded::new);
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

    fn timescale(&self) -> u32 {
        let coded = self.coded.as_ref().or_else(|| self.next.as_ref()?.coded.as_ref());
        coded.map_or(1, |coded| coded.track.timescale)
    }

    fn ticks(&self, at: i64) -> i64 {
        ticks(at, self.timescale())
    }

    /// Takes the coding over that comes next, and what has waited for it.
    fn renew(&mut self) {
        if let Some(next) = self.next.take() {
            self.coded = next.coded;
            self.run.clear();
        }
        self.run.append(&mut self.held);
    }

    fn place(&mut self, sample: &Sample) -> Option<Timed> {
        let coded = match &mut self.next {
            Some(next) => &mut next.coded,
            None => &mut self.coded,
        };
        coded.as_mut()?.place(sample)
    }

    /// Leaves out what ends before `at`, in ticks: the picture that goes with it has never come.
    fn leave_out(&mut self, at: i64) {
        let timescale = self.timescale();
        self.run.retain(|timed| ticks(timed.at.saturating_add(timed.lasts), timescale) > at);
    }

    /// Keeps a frame for the part that is open, or for what begins with the next break.
    fn keep(&mut self, timed: Timed, has_begun: bool) {
        let is_next = self.next.is_some();
        let frames = if is_next { &mut self.held } else { &mut self.run };
        if (is_next || !has_begun) && frames.len() >= MAX_WAITING.get() {
            // The picture that they belong to has not come for long.
            frames.clear();
        }
        frames.push(timed);
    }

    /// Takes what begins before `until`, in ticks: when that is, and the samples.
    fn take(&mut self, until: i64) -> (i64, Vec<Mp4Sample>) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::HlsFormat;
    use crate::testing::{audio, audio_header};

    #[test]
    fn sound_that_waits_for_a_picture_is_bounded() {
        let track = |kind, number| Planned {
            kind,
            id: 0,
            rendition: 0,
            number,
            format: HlsFormat::Fmp4,
            first: None,
        };
        let rules = Rules { target_s: 2, longest: 2 * TICKS, segment: TICKS, part: None, frame: TICKS / 25 };
        let tracks = vec![track(FrameKind::Video, 1), track(FrameKind::Audio, 2)];
        let mut segmenter = Segmenter::new(&Plan { rules, format: HlsFormat::Fmp4, tracks });
        let mut cuts = Vec::new();
        segmenter.push(&audio_header(0), &mut cuts);
        (0..5_000).for_each(|number| segmenter.push(&audio(number * 23), &mut cuts));
        let sound = &segmenter.tracks[1];
        let held = sound.held.len() + sound.run.len();
        assert!((1..=MAX_WAITING.stated()).contains(&held) && cuts.is_empty(), "{held} frames");
    }
}
