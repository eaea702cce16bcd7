//! Cuts a stream into parts and segments: frames in, cuts out. It knows no clock and does no I/O.
//!
//! One track leads: the picture, or the sound where there is no picture. Where it can be cut everything is cut, so that the parts
//! of all renditions have the same numbers and lie at the same times.
//!
//! Where there was a picture alone or sound alone, the other kind may come later: it is there from a break on.

mod track;

use super::form::{self, Run, Writer};
use super::plan::{Plan, Rules, UNKNOWN_FRAME};
use super::{TICKS, ticks, units_of};
use crate::config::HlsFormat;
use crate::media::codec::{audio_track, codec_string, video_config};
use crate::media::elementary::{Demuxer, Sample};
use crate::media::fmp4::Mp4Track;
use crate::media::{Frame, FrameKind};
use bytes::Bytes;
use track::{Timed, Track};

bound! {
    /// Bytes of a part, after which it ends in any case: what is counted as held is so much behind what is
    /// (test `a_part_ends_where_it_has_much_in_it`).
    const MAX_PART_BYTES: usize = 8 * 1024 * 1024, without usize::MAX;
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
    /// The usual distance of pictures, in ticks, where there is a picture and that is known.
    pub(super) picture: Option<i64>,
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

/// See the module.
pub(super) struct Segmenter {
    rules: Rules,
    format: HlsFormat,
    /// Gives the configuration as it came.
    records: Demuxer,
    /// Gives coded frames as they are written.
    demuxer: Demuxer,
    /// The first one leads.
    tracks: Vec<Track>,
    /// What has come beside the only track, and is to be there from the next break on.
    late: Option<Track>,
    /// The usual distance of the leading track's frames, where the plan has seen some.
    frame: Option<i64>,
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
    /// Times in MP4 are counted from `origin`: when the stream's time was 0, in milliseconds since 1970. Those of MPEG-TS have no room
    /// for it.
    pub(super) fn new(plan: &Plan, origin: i64) -> Self {
        Self {
            rules: plan.rules,
            format: plan.format,
            records: Demuxer::new(),
            demuxer: form::demuxer(plan.format),
            tracks: plan.tracks.iter().cloned().map(Track::new).collect(),
            late: None,
            frame: Some(plan.rules.frame),
            writers: (0..plan.renditions()).map(|_| Writer::new(plan.format, origin)).collect(),
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
        self.late = None;
    }

    /// Takes the next frame of the stream.
    pub(super) fn push(&mut self, frame: &Frame, cuts: &mut Vec<Cut>) {
        // What makes no sense is left out.
        for sample in self.records.push(frame).unwrap_or_default() {
            match self.place_of(&sample) {
                Some(index) => self.note_coding(index, &sample),
                None => self.note_late(&sample),
            }
        }
        for sample in self.demuxer.push(frame).unwrap_or_default() {
            match self.place_of(&sample) {
                _ if sample.config => {}
                Some(0) => self.push_leading(&sample, cuts),
                Some(index) => self.push_other(index, &sample, cuts),
                None => self.push_late(&sample, cuts),
            }
        }
    }

    fn place_of(&self, sample: &Sample) -> Option<usize> {
        self.tracks.iter().position(|track| track.planned.is_of(sample))
    }

    /// Ends the segment with what has come: nothing follows for a while, or ever.
    pub(super) fn flush(&mut self, cuts: &mut Vec<Cut>) {
        let lead_end = match &self.waiting {
            Some(waiting) => self.lead_ticks(waiting.at).saturating_add(self.frame()),
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
        let track = self.tracks.get_mut(index);
        self.breaks |= track.is_some_and(|track| track.note_coding(sample, self.format));
    }

    /// Notes how a track is coded that the plan does not know, where it has a place beside the one that it knows.
    fn note_late(&mut self, sample: &Sample) {
        let [only] = &self.tracks[..] else { return };
        let is_there = self.late.as_ref().is_some_and(|late| late.planned.is_of(sample));
        if self.late.is_none()
            && let Some(planned) = only.planned.joined_by(sample)
        {
            self.late = Some(Track::new(planned));
        } else if !is_there {
            return;
        }
        if let Some(late) = &mut self.late {
            late.note_coding(sample, self.format);
        }
    }

    fn push_late(&mut self, sample: &Sample, cuts: &mut Vec<Cut>) {
        let Some(late) = self.late.as_mut().filter(|late| late.planned.is_of(sample)) else { return };
        if late.planned.kind == FrameKind::Audio {
            let timed = late.place(sample);
            timed.into_iter().for_each(|timed| late.keep(timed, false));
        } else if sample.keyframe && late.is_known() {
            self.lead_with_late(cuts);
            self.push_leading(sample, cuts);
        }
    }

    /// A picture has come to a sound: it leads from now on.
    fn lead_with_late(&mut self, cuts: &mut Vec<Cut>) {
        self.flush(cuts);
        self.tracks.splice(..0, self.late.take());
        self.frame = None;
        self.breaks = true;
    }

    /// Sound that has come to a picture is there from `at` on.
    fn join_late(&mut self, at: i64) {
        if let Some(mut late) = self.late.take_if(|late| late.has_begun()) {
            late.renew();
            // The picture before the break is without it.
            late.leave_out(at);
            self.tracks.push(late);
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
        self.breaks |= sample.keyframe && self.late.as_ref().is_some_and(Track::has_begun);
        if self.breaks && !(is_video && self.part_begins.is_none() && !sample.keyframe) {
            self.pass_break(at, cuts);
        }
        if self.breaks {
            return;
        }
        match self.part_begins {
            None => self.begin(at),
            Some(begins) => {
                let next = at.saturating_add(self.frame());
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
            waiting.lasts = units_of(self.frame(), self.lead_timescale());
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
        self.join_late(at);
        if self.tracks.first().is_some_and(|track| track.coded.is_some()) {
            let headers = self.headers();
            cuts.push(Cut::Break(headers));
            self.breaks = false;
        }
    }

    fn headers(&mut self) -> Vec<Header> {
        let lead = self.tracks.first().map(|lead| lead.planned.kind);
        let picture = self.frame.filter(|_| lead == Some(FrameKind::Video));
        let of = |(rendition, writer): (usize, &mut Writer)| {
            let tracks = self.tracks.iter().filter(|track| track.planned.rendition == rendition);
            let coded: Vec<_> =
                tracks.filter_map(|track| Some(track.coded.as_ref()?.track.clone())).collect();
            let picture = picture.filter(|_| rendition == 0);
            Header { picture, ..Header::of(&coded, writer.begin(&coded)) }
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

    /// The usual distance of the leading track's frames.
    fn frame(&self) -> i64 {
        self.frame.unwrap_or(UNKNOWN_FRAME)
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
            picture: None,
            channels: tracks.iter().find_map(channels).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::track::MAX_WAITING;
    use super::*;
    use crate::hls::plan::Track as Planned;
    use crate::testing::{audio, audio_header};

    #[test]
    fn sound_that_waits_for_a_picture_is_bounded() {
        let track = |kind, number| Planned { kind, id: 0, rendition: 0, number, first: None };
        let rules = Rules { target_s: 2, longest: 2 * TICKS, segment: TICKS, part: None, frame: TICKS / 25 };
        let tracks = vec![track(FrameKind::Video, 1), track(FrameKind::Audio, 2)];
        let mut segmenter = Segmenter::new(&Plan { rules, format: HlsFormat::Fmp4, tracks }, 0);
        let mut cuts = Vec::new();
        segmenter.push(&audio_header(0), &mut cuts);
        (0..5_000).for_each(|number| segmenter.push(&audio(number * 23), &mut cuts));
        let sound = &segmenter.tracks[1];
        let held = sound.held.len() + sound.run.len();
        assert!((1..=MAX_WAITING.stated()).contains(&held) && cuts.is_empty(), "{held} frames");
    }
}
