//! The time in a file: its timestamps put right, and its true length.

use crate::media::codec::{self, AudioConfig, Period};
use crate::media::flv::{METADATA_SLOT, PacketType, PayloadInfo};
use crate::media::frame_duration::{Cadence, Others, period_of_rate};
use crate::media::{ConfigSlot, Frame, FrameKind, NANOS_PER_MS, metadata};
use std::collections::BTreeMap;

bound! {
    /// A step back of a track's time by more than this is a clock that started again, not disorder
    /// (test `a_clock_that_starts_again_inside_a_file_goes_on_after_the_end`).
    const CLOCK_RESTART_MS: i64 = 1_000, without 1 << 60;
    /// Tracks that start further apart than this do not overlap with the next pass
    /// (test `f34_tracks_that_hardly_overlap_do_not_mix_passes`).
    const MAX_OVERLAP_MS: i64 = 1_000, without 1 << 40;
}

/// Which track a coded frame belongs to: kind and E-RTMP track id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TrackKey(pub(super) u8, u8);

/// What a frame means to the timeline.
pub(super) enum Role {
    /// An audio or video frame.
    Coded(TrackKey, Option<Period>),
    /// An audio sequence header, also configuration.
    AudioConfig(ConfigSlot, TrackKey, Option<AudioConfig>),
    Config(ConfigSlot),
    SequenceEnd,
    /// Data events and video commands.
    Other,
}

impl Role {
    pub(super) fn of(frame: &Frame) -> Self {
        let info = PayloadInfo::parse(frame.kind, &frame.payload);
        let key = TrackKey(frame.kind.type_id(), info.map_or(0, |info| info.track));
        let data = info.map(|info| (info.codec, info.data(&frame.payload)));
        match (frame.flags.config, frame.kind, info.map(|info| info.packet)) {
            (Some(slot), FrameKind::Audio, Some(PacketType::SequenceStart)) => {
                Self::AudioConfig(slot, key, data.and_then(|(codec, data)| codec::audio_config(codec, data)))
            }
            (Some(slot), _, _) => Self::Config(slot),
            (_, _, Some(PacketType::SequenceEnd)) => Self::SequenceEnd,
            (_, FrameKind::Data, _) | (_, _, Some(PacketType::Command)) => Self::Other,
            (_, FrameKind::Audio, _) => {
                let header = data.and_then(|(codec, data)| codec::audio_frame(codec, data));
                Self::Coded(key, header.and_then(|header| header.period))
            }
            (_, FrameKind::Video, _) => Self::Coded(key, None),
        }
    }
}

/// Puts a file's timestamps right and finds its length.
#[derive(Debug, Default)]
pub(super) struct FileClock {
    tracks: BTreeMap<TrackKey, TrackClock>,
    periods: BTreeMap<TrackKey, Period>,
    frame_rate: Option<Period>,
    /// What the newest restart of the file's clock adds to its timestamps.
    offset: i64,
    frames: u64,
    repaired: u64,
}

#[derive(Debug)]
struct TrackClock {
    first: i64,
    last: i64,
    step: i64,
    offset: i64,
    cadence: Cadence,
}

impl FileClock {
    /// The time of `frame` within the file, in milliseconds.
    pub(super) fn place(&mut self, frame: &Frame, role: &Role) -> i64 {
        match role {
            Role::Coded(key, period) => {
                let period = self.periods.get(key).copied().or(*period);
                return self.place_coded(*key, frame.timestamp, period);
            }
            // An empty header, without configuration, does not take back what an earlier one said.
            Role::AudioConfig(_, key, Some(config)) => {
                self.periods.remove(key);
                self.periods.extend(config.period.map(|period| (*key, period)));
            }
            Role::Config(slot) if *slot == METADATA_SLOT => {
                let rate = metadata::number(&frame.payload, "framerate");
                self.frame_rate = rate.and_then(period_of_rate).or(self.frame_rate);
            }
            _ => {}
        }
        frame.timestamp.saturating_add(self.offset)
    }

    fn place_coded(&mut self, key: TrackKey, timestamp: i64, period: Option<Period>) -> i64 {
        self.frames = self.frames.saturating_add(1);
        let Some((last, offset)) = self.tracks.get(&key).map(|track| (track.last, track.offset)) else {
            let time = timestamp.saturating_add(self.offset);
            let hint = self.frame_rate.filter(|_| key.0 == FrameKind::Video.type_id());
            let cadence = Cadence::new(time, period, hint);
            let track = TrackClock { first: time, last: time, step: 0, offset: self.offset, cadence };
            self.tracks.insert(key, track);
            return time;
        };
        let offset = self.offset_for(timestamp, last, offset);
        let wanted = timestamp.saturating_add(offset);
        let time = wanted.max(last.saturating_add(1));
        self.repaired = self.repaired.saturating_add(u64::from(time != wanted));
        if let Some(track) = self.tracks.get_mut(&key) {
            track.offset = offset;
            track.step = time.saturating_sub(last);
            track.last = time;
            track.cadence.push(time, period);
        }
        time
    }

    /// What to add to a track's timestamp. Where the file's clock started again, the rest of the file follows the
    /// end of what came before; the second track to arrive there follows the first.
    fn offset_for(&mut self, timestamp: i64, last: i64, offset: i64) -> i64 {
        let restarted =
            |offset: i64| timestamp.saturating_add(offset) < last.saturating_sub(CLOCK_RESTART_MS.get());
        if !restarted(offset) {
            return offset;
        }
        if restarted(self.offset) {
            let ends = self.tracks.values().map(|track| track.last.saturating_add(track.step.max(1)));
            self.offset = ends.max().unwrap_or(last).saturating_sub(timestamp);
            self.repaired = self.repaired.saturating_add(1);
        }
        self.offset
    }

    /// The earliest time of a frame, in milliseconds; the difference of the tracks' starts stays.
    pub(super) fn first(&self) -> Option<i64> {
        self.tracks.values().map(|track| track.first).min()
    }

    /// The latest time of a frame so far, in milliseconds.
    pub(super) fn latest(&self) -> Option<i64> {
        self.tracks.values().map(|track| track.last).max()
    }

    /// The newest time of each kind of frames so far, in milliseconds.
    pub(super) fn ends(&self) -> BTreeMap<u8, i64> {
        let mut ends = BTreeMap::new();
        for (key, track) in &self.tracks {
            let end = ends.entry(key.0).or_insert(track.last);
            *end = track.last.max(*end);
        }
        ends
    }

    /// Coded frames so far.
    pub(super) fn frames(&self) -> u64 {
        self.frames
    }

    /// Of these, frames whose time was put right.
    pub(super) fn repaired(&self) -> u64 {
        self.repaired
    }

    /// The true duration of the longest track in nanoseconds, or from the first start to the last end if tracks
    /// hardly overlap; at least a millisecond, so that a file cannot make a loop that never waits.
    pub(super) fn length(&self) -> i64 {
        let others = if self.tracks.len() > 1 { Others::Present } else { Others::Absent };
        let start = self.first().unwrap_or_default().saturating_mul(NANOS_PER_MS);
        let mut longest = NANOS_PER_MS;
        let mut end = start;
        for track in self.tracks.values() {
            let own_end = track.cadence.end(others);
            let own_start = track.first.saturating_mul(NANOS_PER_MS);
            longest = longest.max(own_end.saturating_sub(own_start));
            end = end.max(own_end);
        }
        let all = end.saturating_sub(start);
        let overlap = all.saturating_sub(longest);
        if overlap <= MAX_OVERLAP_MS.get().saturating_mul(NANOS_PER_MS) { longest } else { all }
    }
}
