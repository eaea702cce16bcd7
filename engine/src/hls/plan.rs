//! What is decided before a stream's first playlist, from what its ring shows, and never changes: tracks, renditions, and how
//! long parts and segments may be (draft-pantos-hls-rfc8216bis 6.2.1).

use super::{TICKS, form};
use crate::config::HlsFormat;
use crate::hub::MainIds;
use crate::media::codec::audio_track;
use crate::media::elementary::{Demuxer, Sample, needs_record};
use crate::media::flv::Codec;
use crate::media::fmp4::Mp4Track;
use crate::media::{Frame, FrameKind};
use bytes::Bytes;
use std::collections::HashMap;

/// Of a millisecond.
const TICKS_PER_MS: i64 = TICKS / 1_000;
/// By so much parts may be longer than they are meant: frames have whole milliseconds.
const SLACK: i64 = 5 * TICKS_PER_MS;
/// TARGETDURATION is a whole number, to which EXTINF is rounded: a GOP of 2.01 s need not make it 3. So much more than it says is
/// left to segments, and half of that taken for a GOP's own.
const ROUNDED: i64 = TICKS * 2 / 5;
/// Least TARGETDURATION of a stream whose keyframes are not known.
const LEAST_UNKNOWN: i64 = 2 * TICKS;
/// Segments of a stream without a picture.
const SOUND_SEGMENT: i64 = 2 * TICKS;
/// The distance of frames that nobody has seen.
pub(super) const UNKNOWN_FRAME: i64 = TICKS / 25;
/// The usual distances of pictures: those of 60, 50, 30, 25 and 24 a second.
const USUAL_FRAMES: [i64; 5] = [1_500, 1_800, 3_003, 3_600, 3_754];

/// What is wanted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wishes {
    /// A segment ends at the first keyframe after so long, in milliseconds.
    pub(super) segment_ms: u64,
    /// And after so long in any case.
    pub(super) max_segment_ms: u64,
    /// About how long parts are; `None` for none.
    pub(super) part_ms: Option<u64>,
    /// How media are written.
    pub(super) format: HlsFormat,
}

/// Lengths, in ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rules {
    /// TARGETDURATION, in seconds.
    pub(super) target_s: u32,
    /// No segment is longer: what is rounded to TARGETDURATION.
    pub(super) longest: i64,
    /// A segment ends where it can be cut after so long.
    pub(super) segment: i64,
    /// PART-TARGET: no part is longer, unless a single frame is.
    pub(super) part: Option<i64>,
    /// The usual distance of the leading track's frames.
    pub(super) frame: i64,
}

impl Rules {
    /// How many parts ahead may be waited for: three seconds of them (6.2.5.2).
    pub(super) fn parts_ahead(&self) -> u64 {
        const AHEAD: i64 = 3 * TICKS;
        self.part.map_or(0, |part| ((AHEAD + part - 1) / part.max(1)).max(3) as u64)
    }
}

/// A track, and where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Track {
    pub(super) kind: FrameKind,
    /// Its number in the stream.
    pub(super) id: u8,
    /// The rendition that it is in.
    pub(super) rendition: usize,
    /// Its number there, from 1 on.
    pub(super) number: u32,
    /// How it is coded at first: its first frame may come behind the first picture.
    pub(super) first: Option<Mp4Track>,
}

impl Track {
    pub(super) fn is_of(&self, sample: &Sample) -> bool {
        sample.track == self.id && sample.codec.kind() == Some(self.kind)
    }

    /// The track of a sample where it is of the other kind, as it goes with this one, the only one so far.
    pub(super) fn joined_by(&self, sample: &Sample) -> Option<Self> {
        let kind = sample.codec.kind().filter(|kind| *kind != self.kind && *kind != FrameKind::Data)?;
        // The number of the one that is there stays: players go by it that read the first header alone.
        Some(Self { kind, id: sample.track, rendition: self.rendition, number: self.number + 1, first: None })
    }

    /// The same with its place.
    fn placed(self, rendition: usize, number: u32) -> Self {
        let first = self.first.map(|first| Mp4Track { id: number, ..first });
        Self { rendition, number, first, ..self }
    }

    /// As it is written, by its record, and a frame that goes with it where the record does not tell all; `None` where it cannot be.
    pub(super) fn coded(
        &self,
        format: HlsFormat,
        codec: Codec,
        config: Bytes,
        frame: Option<&Bytes>,
    ) -> Option<Mp4Track> {
        let timescale = match self.kind {
            FrameKind::Video => 90_000,
            _ => audio_track(codec, &config)?.sample_rate,
        };
        let track = Mp4Track::new(self.number, codec, config, timescale);
        let track = match frame {
            Some(frame) => track.with_frame(frame),
            None => track,
        };
        form::can_write(format, &track).then_some(track)
    }
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) rules: Rules,
    pub(super) format: HlsFormat,
    /// The first one leads.
    pub(super) tracks: Vec<Track>,
}

impl Plan {
    /// From the frames so far; `None` where no track is among them that can be written.
    pub(super) fn of(frames: &[Frame], main: MainIds, wishes: Wishes) -> Option<Self> {
        let seen = Seen::of(frames, wishes.format);
        let (pictures, sounds): (Vec<_>, Vec<_>) =
            seen.tracks.iter().cloned().partition(|track| track.kind == FrameKind::Video);
        let video = pictures.into_iter().find(|track| track.id == main.of(FrameKind::Video));
        // One picture and one sound are one rendition: half the requests. Of sounds alone, the first is played.
        let are_apart = video.is_some() && sounds.len() > 1;
        let wanted = if video.is_some() { sounds.len() } else { 1 };
        let number = if video.is_some() && !are_apart { 2 } else { 1 };
        let sounds = sounds
            .into_iter()
            .take(wanted)
            .zip(1..)
            .map(|(sound, place)| sound.placed(if are_apart { place } else { 0 }, number));
        let tracks: Vec<_> = video.into_iter().chain(sounds).collect();
        let lead = tracks.first()?;
        Some(Self { rules: seen.rules(lead, are_apart, wishes), format: wishes.format, tracks })
    }

    pub(super) fn renditions(&self) -> usize {
        self.tracks.iter().map(|track| track.rendition + 1).max().unwrap_or_default()
    }
}

/// Whether the frames so far show how long segments get: there is a whole one, of `wishes`, or so much that it is the longest.
pub(super) fn shows_segments(frames: &[Frame], main: MainIds, wishes: Wishes) -> bool {
    let times = keyframe_times(frames, main);
    let (Some(first), Some(newest)) = (times.first(), frames.iter().rev().find(|frame| !frame.is_config()))
    else {
        return false;
    };
    let lasts = |from: i64, to: i64| u64::try_from(to - from).unwrap_or_default();
    times.iter().any(|time| lasts(*first, *time) >= wishes.segment_ms)
        || lasts(*first, newest.timestamp) >= wishes.max_segment_ms
}

/// The times of the frames at which a stream can be cut.
fn keyframe_times(frames: &[Frame], main: MainIds) -> Vec<i64> {
    let has_video = frames.iter().any(|frame| frame.kind == FrameKind::Video && frame.has_media());
    let can_cut = |frame: &&Frame| match has_video {
        true => {
            let is_main = frame.flags.track == main.of(FrameKind::Video);
            frame.kind == FrameKind::Video && frame.flags.keyframe && !frame.is_config() && is_main
        }
        false => frame.kind == FrameKind::Audio && frame.has_media(),
    };
    frames.iter().filter(can_cut).map(|frame| frame.timestamp).collect()
}

/// What the ring shows.
struct Seen {
    /// Those that can be written, pictures first, each kind by its numbers.
    tracks: Vec<Track>,
    /// Track and time of coded frames, and whether one can cut before them.
    frames: Vec<(FrameKind, u8, i64, bool)>,
}

impl Seen {
    fn of(frames: &[Frame], format: HlsFormat) -> Self {
        let (mut tracks, mut coded) = (Vec::new(), Vec::new());
        let mut records = HashMap::new();
        let mut demuxer = Demuxer::new();
        for sample in frames.iter().filter_map(|frame| demuxer.push(frame).ok()).flatten() {
            let Some(kind) = sample.codec.kind() else { continue };
            let name = (kind, sample.track);
            if sample.config || !needs_record(sample.codec) {
                records.insert(name, sample.data.clone());
            }
            let is_known = tracks.iter().any(|track: &Track| track.is_of(&sample));
            if let Some(record) = records.get(&name).filter(|_| !sample.config && !is_known) {
                let track = Track { kind, id: sample.track, rendition: 0, number: 1, first: None };
                let first = track.coded(format, sample.codec, record.clone(), Some(&sample.data));
                tracks.extend(first.map(|first| Track { first: Some(first), ..track }));
            }
            if !sample.config {
                let at = sample.dts_ns.unwrap_or(sample.pts_ns) / (1_000_000 / TICKS_PER_MS);
                coded.push((kind, sample.track, at, kind != FrameKind::Video || sample.keyframe));
            }
        }
        tracks.sort_by_key(|track| (track.kind != FrameKind::Video, track.id));
        Self { tracks, frames: coded }
    }

    fn rules(&self, lead: &Track, has_sounds_apart: bool, wishes: Wishes) -> Rules {
        let is_its = |(kind, id, ..): &&(FrameKind, u8, i64, bool)| (*kind, *id) == (lead.kind, lead.id);
        let frames: Vec<_> = self.frames.iter().filter(is_its).map(|(.., at, cuts)| (*at, *cuts)).collect();
        let frame = usual_distance(&frames).unwrap_or(UNKNOWN_FRAME);
        let segment = match lead.kind {
            FrameKind::Video => ticks(wishes.segment_ms),
            _ => ticks(wishes.segment_ms).max(SOUND_SEGMENT),
        };
        let longest = longest_segment(&frames, segment).unwrap_or(LEAST_UNKNOWN);
        let target = longest.max(segment).min(ticks(wishes.max_segment_ms).max(segment));
        let part = wishes.part_ms.map(|part_ms| {
            // The last frame of a sound may end behind the picture's.
            let slack = if has_sounds_apart { SLACK.max(TICKS / 40) } else { SLACK };
            let usual = part_of(ticks(part_ms), frame, slack);
            match lead.kind {
                FrameKind::Video => usual,
                _ => part_of_any(ticks(part_ms), frame).unwrap_or(usual),
            }
        });
        let target_s = seconds_up(target - ROUNDED / 2);
        Rules { target_s, longest: i64::from(target_s) * TICKS + ROUNDED, segment, part, frame }
    }
}

fn ticks(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX / TICKS_PER_MS).saturating_mul(TICKS_PER_MS)
}

/// PART-TARGET where parts are to last about `wanted`, as so many frames as fit into it do.
fn part_of(wanted: i64, frame: i64, slack: i64) -> i64 {
    let frames = (wanted / frame).max(1);
    // Whole milliseconds, so that what playlists say of it is exact.
    (frames * frame + slack + TICKS_PER_MS - 1) / TICKS_PER_MS * TICKS_PER_MS
}

/// PART-TARGET of sound to which a picture may come: the least from `wanted` on of which both fill as much as parts have to have
/// (85 %: 4.4.4.9), whatever the picture's rate is; `None` where there is none that is near.
fn part_of_any(wanted: i64, frame: i64) -> Option<i64> {
    let fills = |most: i64, frame: i64| (most - SLACK) / frame * frame >= most * 85 / 100;
    let near = (0..=wanted / 2 / TICKS_PER_MS).map(|ms| wanted + SLACK + ms * TICKS_PER_MS);
    near.into_iter().find(|most| USUAL_FRAMES.iter().chain([&frame]).all(|frame| fills(*most, *frame)))
}

fn seconds_up(ticks: i64) -> u32 {
    u32::try_from((ticks + TICKS - 1) / TICKS).unwrap_or(u32::MAX).max(1)
}

/// The middle one of the distances between frames.
fn usual_distance(frames: &[(i64, bool)]) -> Option<i64> {
    let mut distances: Vec<_> =
        frames.windows(2).map(|pair| pair[1].0 - pair[0].0).filter(|&step| step > 0).collect();
    distances.sort_unstable();
    let total: i64 = distances.iter().sum();
    let middle = *distances.get(distances.len() / 2)?;
    // The mean is exact where the middle one is rounded to milliseconds.
    let mean = total / i64::try_from(distances.len()).ok()?;
    Some(if (mean - middle).abs() <= TICKS_PER_MS { mean } else { middle })
}

/// The longest segment that ends where it can after `segment`, or has not ended yet.
fn longest_segment(frames: &[(i64, bool)], segment: i64) -> Option<i64> {
    let mut cuts = frames.iter().filter(|(_, can_cut)| *can_cut).map(|(at, _)| *at);
    let mut begins = cuts.next()?;
    let mut longest = None;
    for at in cuts {
        if at - begins >= segment {
            longest = longest.max(Some(at - begins));
            begins = at;
        }
    }
    let open = frames.last().map(|(at, _)| at - begins);
    longest.max(open.filter(|open| longest.is_some() || *open > LEAST_UNKNOWN))
}
