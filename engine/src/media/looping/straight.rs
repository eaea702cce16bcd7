//! A file's tags, the time of the odd ones put right before anything follows from it.
//!
//! A frame whose time is far from that of its track waits until the next frames of the track are known: where they
//! go on as before, the time was wrong, and it is taken from its neighbours. Where they do not, the track has really
//! gone on elsewhere.

use super::Input;
use super::clock::{Role, TrackKey};
use crate::Result;
use crate::media::flv_file::FileTag;
use crate::media::media_file::MediaReader;
use std::collections::{BTreeMap, VecDeque};

/// A step forward by more than this is odd, in milliseconds.
const ODD_FORWARD_MS: i64 = 10_000;

/// A step back by more than this is odd, in milliseconds; and so is one forward from which the track comes back.
const ODD_BACK_MS: i64 = 1_000;

/// A step to the last picture of a file without sound that is odd.
const ODD_END_MS: i64 = 600_000;

/// Longest step that is taken for the distance of a track's frames.
const MAX_STEP_MS: i64 = 1_000;

/// Odd frames of a track in a row that are put right; more have really gone on elsewhere.
const MAX_ODD: usize = 8;

bound! {
    /// Tags that are read ahead to know (test `little_is_read_ahead_for_a_track_of_one_frame`).
    const MAX_AHEAD: usize = 1_024, without usize::MAX;
    /// Bytes that are read ahead for it (test `little_is_read_ahead_for_a_track_of_one_frame`).
    const MAX_AHEAD_BYTES: usize = 16 * 1024 * 1024, without usize::MAX;
}

/// Reads tags of a clip.
pub(super) struct Straight {
    reader: MediaReader<Box<dyn Input>>,
    /// Read ahead, in the file's order.
    ahead: VecDeque<(FileTag, Option<TrackKey>)>,
    bytes: usize,
    has_ended: bool,
    tracks: BTreeMap<TrackKey, Newest>,
    put_right: u64,
}

/// The newest frame of a track.
#[derive(Clone, Copy)]
struct Newest {
    time: i64,
    step: i64,
}

impl Newest {
    fn goes_on_at(self, time: i64) -> bool {
        let step = time.saturating_sub(self.time);
        (-ODD_BACK_MS..=ODD_FORWARD_MS).contains(&step)
    }

    /// Whether it goes on there, without a gap that asks for a second look.
    fn goes_straight_on_at(self, time: i64) -> bool {
        self.goes_on_at(time) && time.saturating_sub(self.time) <= ODD_BACK_MS
    }
}

/// What is made of the foremost frame.
enum Verdict {
    Right,
    /// It belongs to this time.
    At(i64),
    /// More has to be read.
    Unknown,
}

impl Straight {
    pub(super) fn new(reader: MediaReader<Box<dyn Input>>) -> Self {
        Self {
            reader,
            ahead: VecDeque::new(),
            bytes: 0,
            has_ended: false,
            tracks: BTreeMap::new(),
            put_right: 0,
        }
    }

    pub(super) fn reader(&self) -> &MediaReader<Box<dyn Input>> {
        &self.reader
    }

    /// Frames whose time was odd so far.
    pub(super) fn put_right(&self) -> u64 {
        self.put_right
    }

    /// As [`MediaReader::next_tag`].
    pub(super) fn next_tag(&mut self) -> Result<Option<FileTag>> {
        // How far the tags ahead have been looked at for the foremost one, and what of its track was there.
        let (mut looked, mut times) = (1, Vec::new());
        loop {
            let foremost = self.ahead.front().map(|(tag, key)| (tag.frame.timestamp, *key));
            let Some((time, key)) = foremost else {
                if !self.read()? {
                    return Ok(None);
                }
                continue;
            };
            let Some(key) = key else { return Ok(self.take(time)) };
            for (tag, other) in self.ahead.iter().skip(looked) {
                if *other == Some(key) {
                    times.push(tag.frame.timestamp);
                }
            }
            looked = self.ahead.len().max(1);
            match self.verdict(key, time, &times) {
                Verdict::Right => {
                    self.note(key, time);
                    return Ok(self.take(time));
                }
                Verdict::At(right) => {
                    self.put_right = self.put_right.saturating_add(1);
                    self.note(key, right);
                    return Ok(self.take(right));
                }
                Verdict::Unknown => {
                    self.read()?;
                }
            }
        }
    }

    /// `times` are those of the next frames on the same track.
    fn verdict(&self, key: TrackKey, time: i64, times: &[i64]) -> Verdict {
        let knows_all =
            self.has_ended || self.ahead.len() >= MAX_AHEAD.get() || self.bytes >= MAX_AHEAD_BYTES.get();
        let Some(newest) = self.tracks.get(&key).copied() else {
            return first_verdict(time, times, knows_all, self.is_beside_another(key, time));
        };
        if newest.goes_straight_on_at(time) {
            return Verdict::Right;
        }
        let (is_gap, is_forward) = (newest.goes_on_at(time), time > newest.time);
        if is_forward && !is_gap && self.others(key).any(|other| other.goes_on_at(time)) {
            return Verdict::Right;
        }
        let right = Verdict::At(newest.time.saturating_add(newest.step));
        // Behind a gap too the next frames are where the track goes on; behind an odd time they are back from it.
        let comes_back = |next: i64| !is_gap || next < time.saturating_sub(ODD_BACK_MS);
        if times.iter().take(MAX_ODD).any(|next| newest.goes_on_at(*next) && comes_back(*next)) {
            return right;
        }
        if times.len() >= MAX_ODD {
            return Verdict::Right;
        }
        if !knows_all {
            return Verdict::Unknown;
        }
        let is_alone = self.tracks.len() < 2;
        let is_odd_at_the_end = match (is_forward, is_gap) {
            (false, _) => true,
            (true, true) => times.is_empty() && !is_alone && !self.is_beside_another(key, time),
            (true, false) => !is_alone || time.saturating_sub(newest.time) > ODD_END_MS,
        };
        if self.has_ended && is_odd_at_the_end { right } else { Verdict::Right }
    }

    fn others(&self, key: TrackKey) -> impl Iterator<Item = Newest> {
        self.tracks.iter().filter(move |(other, _)| **other != key).map(|(_, newest)| *newest)
    }

    /// Whether another track has frames around this time, as far as it is read.
    fn is_beside_another(&self, key: TrackKey, time: i64) -> bool {
        let is_other = |other: &Option<TrackKey>| other.is_some_and(|other| other != key);
        let ahead =
            self.ahead.iter().filter(|(_, other)| is_other(other)).map(|(tag, _)| tag.frame.timestamp);
        self.others(key)
            .map(|other| other.time)
            .chain(ahead)
            .any(|other| other.abs_diff(time) <= ODD_BACK_MS.unsigned_abs())
    }

    fn note(&mut self, key: TrackKey, time: i64) {
        let newest = self.tracks.entry(key).or_insert(Newest { time, step: 1 });
        let step = time.saturating_sub(newest.time);
        if (1..=MAX_STEP_MS).contains(&step) {
            newest.step = step;
        }
        newest.time = time;
    }

    fn take(&mut self, time: i64) -> Option<FileTag> {
        let (mut tag, _) = self.ahead.pop_front()?;
        self.bytes = self.bytes.saturating_sub(tag.frame.payload.len());
        tag.frame.timestamp = time;
        Some(tag)
    }

    /// Reads a tag; false at the end.
    fn read(&mut self) -> Result<bool> {
        match self.reader.next_tag()? {
            Some(tag) => {
                let key = match Role::of(&tag.frame) {
                    Role::Coded(key, _) => Some(key),
                    _ => None,
                };
                self.bytes = self.bytes.saturating_add(tag.frame.payload.len());
                self.ahead.push_back((tag, key));
                Ok(true)
            }
            None => {
                self.has_ended = true;
                Ok(false)
            }
        }
    }
}

/// Of a track's first frame: it is odd where the next two belong together, and it to neither; where they only come after a gap,
/// nor to another track.
fn first_verdict(time: i64, times: &[i64], knows_all: bool, is_beside_another: bool) -> Verdict {
    let first = Newest { time, step: 1 };
    let [second, third, ..] = *times else {
        let goes_on = times.first().is_some_and(|second| first.goes_straight_on_at(*second));
        return if knows_all || goes_on { Verdict::Right } else { Verdict::Unknown };
    };
    let next = Newest { time: second, step: 1 };
    let is_away = !first.goes_on_at(second) && !first.goes_on_at(third) && next.goes_on_at(third);
    let is_before_gap =
        !first.goes_straight_on_at(second) && next.goes_straight_on_at(third) && !is_beside_another;
    let step = third.saturating_sub(second).clamp(1, MAX_STEP_MS);
    if is_away || is_before_gap { Verdict::At(second.saturating_sub(step).max(0)) } else { Verdict::Right }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::looping::Clip;
    use crate::testing;

    #[test]
    fn little_is_read_ahead_for_a_track_of_one_frame() {
        for (count, len) in [(3_000, 20), (20, 1024 * 1024)] {
            let video = (0..count).map(|i| testing::keyframe(i * 40, len));
            let frames: Vec<_> = std::iter::once(testing::audio(0)).chain(video).collect();
            let clip = Clip::memory("clip", testing::tags(&frames));
            let mut tags = Straight::new(clip.open().unwrap());
            tags.next_tag().unwrap().expect("the one frame");
            let (held, bytes) = (tags.ahead.len(), tags.bytes);
            assert!(held < MAX_AHEAD.stated(), "{held} tags");
            assert!(bytes < MAX_AHEAD_BYTES.stated() + len, "{bytes} bytes");
        }
    }
}
