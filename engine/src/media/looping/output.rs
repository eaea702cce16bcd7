//! What a loop sends: configuration only where it changes, frames of all tracks in the order of their time.

use super::clock::{Role, TrackKey};
use super::{Pass, TimedFrame, nanos};
use crate::media::flv::METADATA_SLOT;
use crate::media::{ConfigSlot, Frame, FrameKind, NANOS_PER_MS, metadata};
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

/// How far frames are read ahead at least.
const LOOK_AHEAD: Duration = Duration::from_millis(1_000);

bound! {
    /// Frames that are held at most, to put those of tracks that lie far apart in the file into the order of their time
    /// (test `what_is_read_ahead_is_bounded_by_frames_and_bytes`).
    const MAX_AHEAD_FRAMES: usize = 4_096, without usize::MAX;
    /// Bytes of them (test `what_is_read_ahead_is_bounded_by_frames_and_bytes`).
    const MAX_AHEAD_BYTES: usize = 16 * 1024 * 1024, without usize::MAX;
    /// How far configuration and data may be ahead of the frames around them, in milliseconds
    /// (test `data_far_ahead_of_the_frames_around_it_is_put_nearer_to_them`).
    const MAX_DATA_AHEAD_MS: i64 = 10_000, without 1 << 60;
    /// Configuration frames held back at once while it is not known whether they change anything, and ends of
    /// sequence while it is not known whether it goes on
    /// (test `configuration_and_ends_that_are_held_back_are_bounded`).
    const MAX_HELD: usize = 64, without usize::MAX;
}

/// What has been sent and what waits to be.
#[derive(Default)]
pub(super) struct Output {
    pub(super) queue: Queue,
    /// The newest timestamp of each track.
    last: BTreeMap<TrackKey, i64>,
    /// The configuration that receivers have.
    sent: HashMap<ConfigSlot, Bytes>,
    /// Configuration that differs, sent when a frame needs it. Files may set it several times before.
    held: Vec<(ConfigSlot, Frame)>,
    /// Ends of sequence, sent when the same pass goes on.
    endings: Vec<(Frame, At)>,
    /// The first pass sends configuration where the file has it.
    looped: bool,
}

impl Output {
    pub(super) fn take(&mut self, mut frame: Frame, pass: &mut Pass, base: i64) {
        let role = Role::of(&frame);
        let time = pass.clock.place(&frame, &role).saturating_sub(pass.first).max(0);
        let at = At { base, time };
        // What is on no track's timeline must not hold back frames that come behind it.
        let latest =
            pass.clock.latest().map_or(pass.first, |latest| latest.saturating_add(MAX_DATA_AHEAD_MS.get()));
        let beside = at.limited(pass.length_ms.min(latest.saturating_sub(pass.first).max(0)));
        match role {
            Role::Coded(key, _) => {
                self.flush_endings(frame.kind);
                self.flush_held(frame.kind, at);
                let earliest = self.last.get(&key).map_or(i64::MIN, |last| last.saturating_add(1));
                frame.timestamp = at.timestamp().max(earliest);
                self.last.insert(key, frame.timestamp);
                self.queue.push(TimedFrame { due: at.due(), frame });
            }
            Role::SequenceEnd if self.endings.len() < MAX_HELD.get() => self.endings.push((frame, beside)),
            Role::Other | Role::SequenceEnd => self.send(frame, beside),
            Role::Config(slot) | Role::AudioConfig(slot, ..) => {
                self.flush_endings(frame.kind);
                self.configure(slot, frame, beside);
            }
        }
    }

    fn configure(&mut self, slot: ConfigSlot, mut frame: Frame, at: At) {
        if slot == METADATA_SLOT {
            frame.payload = metadata::without_file_fields(&frame.payload);
        }
        self.held.retain(|(held, _)| *held != slot);
        if self.sent.get(&slot) == Some(&frame.payload) {
            return;
        }
        if self.looped && self.held.len() < MAX_HELD.get() {
            self.held.push((slot, frame));
        } else {
            self.send_config(slot, frame, at);
        }
    }

    fn send_config(&mut self, slot: ConfigSlot, frame: Frame, at: At) {
        self.sent.insert(slot, frame.payload.clone());
        self.send(frame, at);
    }

    /// Sends a frame that is not on a track's timeline, never before what its kind already sent.
    fn send(&mut self, mut frame: Frame, at: At) {
        let newest = self.last.iter().filter(|(key, _)| key.0 == frame.kind.type_id()).map(|(_, last)| *last);
        frame.timestamp = at.timestamp().max(newest.max().unwrap_or(i64::MIN));
        self.queue.push(TimedFrame { due: at.due(), frame });
    }

    fn flush_held(&mut self, kind: FrameKind, at: At) {
        let needed = |frame: &Frame| frame.kind == kind || frame.kind == FrameKind::Data;
        for (slot, frame) in self.held.extract_if(.., |(_, frame)| needed(frame)).collect::<Vec<_>>() {
            self.send_config(slot, frame, at);
        }
    }

    fn flush_endings(&mut self, kind: FrameKind) {
        for (frame, at) in self.endings.extract_if(.., |(frame, _)| frame.kind == kind).collect::<Vec<_>>() {
            // A decoder may forget its configuration at the end of a sequence.
            self.sent.retain(|slot, _| slot.kind() != Some(kind));
            self.send(frame, at);
        }
    }

    /// What comes next has frames of these kinds, each up to this time in nanoseconds.
    pub(super) fn expect(&mut self, ends: &[(u8, i64)], base: i64) {
        for (kind, end) in ends {
            self.queue.expect(*kind, nanos(base.saturating_add(*end)));
        }
    }

    pub(super) fn end_pass(&mut self, pass: &Pass) {
        let endings = std::mem::take(&mut self.endings);
        if pass.last_of_all {
            endings.into_iter().for_each(|(frame, at)| self.send(frame, at));
        }
        self.looped = true;
    }
}

/// Frames read ahead, in the order of their time.
#[derive(Default)]
pub(super) struct Queue {
    frames: VecDeque<TimedFrame>,
    bytes: usize,
    kinds: BTreeMap<u8, Newest>,
}

/// How far a kind of frames has been read.
#[derive(Default)]
struct Newest {
    /// The time of its newest frame: within a kind, frames keep the file's order.
    due: Duration,
    /// Frames of other kinds up to this time wait until it has come to theirs.
    awaited_until: Duration,
}

impl Newest {
    fn is_missing_at(&self, time: Duration) -> bool {
        self.due < time.min(self.awaited_until)
    }
}

impl Queue {
    /// The file that is read next has frames of this kind up to this time.
    pub(super) fn expect(&mut self, kind: u8, until: Duration) {
        self.kinds.entry(kind).or_default().awaited_until = until;
    }

    fn push(&mut self, mut timed: TimedFrame) {
        let newest = self.kinds.entry(timed.frame.kind.type_id()).or_default();
        timed.due = timed.due.max(newest.due);
        newest.due = timed.due;
        self.bytes = self.bytes.saturating_add(timed.frame.payload.len());
        let place = self.frames.partition_point(|other| other.due <= timed.due);
        self.frames.insert(place, timed);
    }

    /// The next frame, if none that is still to be read can come before it, or enough is held.
    pub(super) fn pop_ready(&mut self) -> Option<TimedFrame> {
        let (oldest, newest) = (self.frames.front()?.due, self.frames.back()?.due);
        if self.frames.len() > MAX_AHEAD_FRAMES.get() || self.bytes > MAX_AHEAD_BYTES.get() {
            // What is not there by now lies too far apart: in this pass it is sent when it comes.
            for kind in self.kinds.values_mut().filter(|kind| kind.is_missing_at(oldest)) {
                kind.awaited_until = Duration::ZERO;
            }
            return self.pop();
        }
        let is_missing = self.kinds.values().any(|kind| kind.is_missing_at(oldest));
        let is_read_ahead = newest.saturating_sub(oldest) >= LOOK_AHEAD;
        if is_read_ahead && !is_missing { self.pop() } else { None }
    }

    pub(super) fn pop(&mut self) -> Option<TimedFrame> {
        let timed = self.frames.pop_front()?;
        self.bytes = self.bytes.saturating_sub(timed.frame.payload.len());
        Some(timed)
    }
}

/// A moment: a pass's start in nanoseconds and milliseconds since then.
#[derive(Clone, Copy)]
struct At {
    base: i64,
    time: i64,
}

impl At {
    fn limited(self, length_ms: i64) -> Self {
        Self { time: self.time.min(length_ms), ..self }
    }

    /// Milliseconds. Only the pass's start is rounded, so all tracks move by the same amount.
    fn timestamp(self) -> i64 {
        let half = NANOS_PER_MS >> 1;
        self.base.saturating_add(half).div_euclid(NANOS_PER_MS).saturating_add(self.time)
    }

    fn due(self) -> Duration {
        nanos(self.base.saturating_add(self.time.saturating_mul(NANOS_PER_MS)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::looping::{Clip, Loop, Repeat};
    use crate::testing;

    /// A frame of `len` bytes due at `micros`.
    fn timed(micros: u64, len: usize) -> TimedFrame {
        let frame = Frame::new(FrameKind::Video, 0, vec![0x27; len].into());
        TimedFrame { due: Duration::from_micros(micros), frame }
    }

    #[test]
    fn what_is_read_ahead_is_bounded_by_frames_and_bytes() {
        for (len, frames, bytes) in [
            (10, MAX_AHEAD_FRAMES.stated(), MAX_AHEAD_BYTES.stated()),
            (1024 * 1024, MAX_AHEAD_FRAMES.stated(), MAX_AHEAD_BYTES.stated()),
        ] {
            let mut queue = Queue::default();
            for micros in 0..5_000 {
                queue.push(timed(micros, len));
                while queue.pop_ready().is_some() {}
                assert!(queue.frames.len() <= frames && queue.bytes <= bytes, "{} bytes", queue.bytes);
            }
        }
    }

    #[test]
    fn data_far_ahead_of_the_frames_around_it_is_put_nearer_to_them() {
        let mut frames: Vec<_> = (0..750).map(|i| testing::keyframe(i * 40, 20)).collect();
        frames.insert(1, Frame::new(FrameKind::Data, 25_000, b"\x02\x00\x01x".as_slice().into()));
        let clip = Clip::memory("clip", testing::tags(&frames));
        let mut source = Loop::open([clip], Repeat::Times(1)).unwrap();
        let sent = std::iter::from_fn(|| source.next_frame().unwrap()).map(|timed| timed.frame);
        let times: Vec<_> =
            sent.filter(|frame| frame.kind == FrameKind::Data).map(|frame| frame.timestamp).collect();
        assert_eq!(times, [MAX_DATA_AHEAD_MS.stated()]);
    }

    #[test]
    fn configuration_and_ends_that_are_held_back_are_bounded() {
        let mut output = Output { looped: true, ..Output::default() };
        let at = At { base: 0, time: 0 };
        for track in 0..=255 {
            let payload = [&b"\x96\x00avc1"[..], &[track, 1]].concat();
            let frame = Frame::new(FrameKind::Video, 0, payload.into());
            output.configure(frame.flags.config.unwrap(), frame, at);
        }
        assert_eq!(
            (output.held.len(), output.queue.frames.len()),
            (MAX_HELD.stated(), 256 - MAX_HELD.stated())
        );
    }
}
