//! The frame ring of one stream: GOP cache, queue of every subscriber and memory bound at once.

use crate::Limits;
use crate::limits::ms;
use crate::media::{Frame, FrameKind};
use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Decoder configuration and metadata that a joining subscriber gets before its first frame.
pub(crate) type JoinHeaders = Arc<Vec<Frame>>;

bound! {
    /// What a frame costs beside its payload; keeps streams of tiny frames within the byte bound too
    /// (test `bytes_of_a_ring_count_what_tiny_frames_cost_beside_their_payload`).
    const FRAME_OVERHEAD: usize = 128, without 0;
}

struct Entry {
    frame: Frame,
    /// Where one can start: the configuration in force, so that joining here needs no search.
    join_headers: Option<JoinHeaders>,
    arrived: Instant,
    /// Payload bytes of all frames before this one.
    offset: u64,
}

/// How much a reader has not taken yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Backlog {
    /// Payload bytes.
    pub(crate) bytes: u64,
    /// Time since the first of these frames came; zero where there is none.
    pub(crate) age: Duration,
}

/// How much is given back in one go, in bytes and in frames, so that it takes no longer than a fraction of a millisecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slice {
    bytes: usize,
    frames: usize,
}

impl Default for Slice {
    fn default() -> Self {
        Self { bytes: 1024 * 1024, frames: 256 }
    }
}

impl Slice {
    pub(super) fn is_spent(self) -> bool {
        self.bytes == 0 || self.frames == 0
    }
}

/// Frames by sequence number, the oldest evicted by bytes, count and age.
pub(super) struct Ring {
    entries: VecDeque<Entry>,
    /// The different configurations that entries keep, each with the number of those; they count as bytes held.
    kept: VecDeque<(JoinHeaders, usize)>,
    first: u64,
    bytes: usize,
    /// Bytes of all rings of the engine.
    total: Arc<AtomicUsize>,
    newest_keyframe: Option<u64>,
    /// The newest picture from which one can start in need.
    newest_recovery: Option<u64>,
    /// Sequence number of the newest video frame plus one.
    after_video: u64,
    max_bytes: usize,
    max_frames: usize,
    max_age: Duration,
    /// Payload bytes of all frames that have come.
    offset: u64,
}

impl Ring {
    pub(super) fn new(limits: &Limits, total: Arc<AtomicUsize>) -> Self {
        Self {
            entries: VecDeque::new(),
            kept: VecDeque::new(),
            first: 0,
            bytes: 0,
            total,
            newest_keyframe: None,
            newest_recovery: None,
            after_video: 0,
            max_bytes: limits.ring_bytes,
            max_frames: limits.ring_frames.max(1),
            max_age: ms(limits.ring_ms),
            offset: 0,
        }
    }

    /// Holds no more than these allow from the next frame on.
    pub(super) fn set_limits(&mut self, limits: &Limits) {
        self.max_bytes = limits.ring_bytes;
        self.max_frames = limits.ring_frames.max(1);
        self.max_age = ms(limits.ring_ms);
    }

    /// Holds no more than `bytes` from the next frame on.
    pub(super) fn set_max_bytes(&mut self, bytes: usize) {
        self.max_bytes = bytes;
    }

    /// What is left to take from `sequence` on.
    pub(super) fn backlog(&self, sequence: u64, now: Instant) -> Backlog {
        match self.entry(sequence.max(self.first)) {
            Some(entry) => Backlog {
                bytes: self.offset.saturating_sub(entry.offset),
                age: now.saturating_duration_since(entry.arrived),
            },
            None => Backlog::default(),
        }
    }

    /// Appends a frame and evicts what the bounds no longer allow; the frame itself always stays.
    pub(super) fn push(&mut self, frame: Frame, join_headers: &JoinHeaders, now: Instant) {
        let keyframe = frame.kind == FrameKind::Video && frame.flags.keyframe && !frame.is_config();
        let is_start = keyframe || frame.flags.recovery;
        if keyframe {
            self.newest_keyframe = Some(self.head());
        } else if is_start {
            self.newest_recovery = Some(self.head());
        }
        if frame.kind == FrameKind::Video {
            self.after_video = self.head() + 1;
        }
        self.charge(cost(&frame));
        let offset = self.offset;
        self.offset += frame.payload.len() as u64;
        let join_headers = is_start.then(|| self.keep(join_headers));
        self.entries.push_back(Entry { frame, join_headers, arrived: now, offset });
        while self.entries.len() > 1 && self.is_over(now) {
            self.evict_oldest();
        }
    }

    fn is_over(&self, now: Instant) -> bool {
        let Some(oldest) = self.entries.front() else { return false };
        self.bytes > self.max_bytes
            || self.entries.len() > self.max_frames
            || now.saturating_duration_since(oldest.arrived) > self.max_age
    }

    /// Drops the oldest frames, as many as `slice` has room for.
    pub(super) fn evict(&mut self, slice: &mut Slice) {
        while !slice.is_spent() {
            let before = self.bytes;
            if !self.evict_oldest() {
                return;
            }
            slice.bytes = slice.bytes.saturating_sub(before - self.bytes);
            slice.frames -= 1;
        }
    }

    /// Drops the oldest frames, the older half at most; false when the ring is empty.
    pub(super) fn shrink(&mut self) -> bool {
        let (before, all) = (self.bytes, Slice::default());
        self.evict(&mut Slice { bytes: all.bytes.min(before.div_ceil(2)), ..all });
        self.bytes < before
    }

    /// Takes all frames out, into a ring of their own.
    pub(super) fn take(&mut self) -> Self {
        Self {
            entries: mem::take(&mut self.entries),
            kept: mem::take(&mut self.kept),
            bytes: mem::take(&mut self.bytes),
            total: self.total.clone(),
            ..*self
        }
    }

    /// Drops the oldest frame; false when the ring is empty.
    fn evict_oldest(&mut self) -> bool {
        let Some(entry) = self.entries.pop_front() else { return false };
        self.refund(cost(&entry.frame));
        self.first += 1;
        if entry.join_headers.is_some() {
            self.let_go();
            let is_held = |sequence: &u64| *sequence >= self.first;
            self.newest_keyframe = self.newest_keyframe.filter(is_held);
            self.newest_recovery = self.newest_recovery.filter(is_held);
        }
        true
    }

    fn charge(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.total.fetch_add(bytes, Ordering::Relaxed);
    }

    fn refund(&mut self, bytes: usize) {
        self.bytes -= bytes;
        self.total.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// One more entry keeps this configuration.
    fn keep(&mut self, join_headers: &JoinHeaders) -> JoinHeaders {
        match self.kept.back_mut() {
            Some((newest, entries)) if Arc::ptr_eq(newest, join_headers) => *entries += 1,
            _ => {
                self.charge(cost_of_all(join_headers));
                self.kept.push_back((join_headers.clone(), 1));
            }
        }
        join_headers.clone()
    }

    /// The oldest entry that keeps a configuration is gone.
    fn let_go(&mut self) {
        let Some((oldest, entries)) = self.kept.front_mut() else { return };
        *entries -= 1;
        if *entries == 0 {
            let cost = cost_of_all(oldest);
            self.kept.pop_front();
            self.refund(cost);
        }
    }

    fn entry(&self, sequence: u64) -> Option<&Entry> {
        let index = sequence.checked_sub(self.first)?;
        self.entries.get(usize::try_from(index).ok()?)
    }

    /// The frame at `sequence`, if the ring still holds it.
    pub(super) fn get(&self, sequence: u64) -> Option<&Frame> {
        self.entry(sequence).map(|entry| &entry.frame)
    }

    /// Sequence number, time and configuration of the newest keyframe held; in need, of the newest recovery point.
    pub(super) fn newest_start(&self) -> Option<(u64, i64, JoinHeaders)> {
        let sequence = self.start()?;
        let entry = self.entry(sequence)?;
        Some((sequence, entry.frame.timestamp, entry.join_headers.clone()?))
    }

    /// Sequence number, time and configuration of the oldest keyframe that came since then.
    pub(super) fn oldest_keyframe(&self, since: Instant) -> Option<(u64, i64, JoinHeaders)> {
        let is_start = |entry: &Entry| {
            entry.frame.flags.keyframe && entry.join_headers.is_some() && entry.arrived >= since
        };
        let found = (self.first..).zip(&self.entries).find(|(_, entry)| is_start(entry));
        found.and_then(|(sequence, entry)| {
            Some((sequence, entry.frame.timestamp, entry.join_headers.clone()?))
        })
    }

    /// Sequence number and time of the oldest frame that came since then.
    pub(super) fn oldest(&self, since: Instant) -> Option<(u64, i64)> {
        let found = (self.first..).zip(&self.entries).find(|(_, entry)| entry.arrived >= since)?;
        Some((found.0, found.1.frame.timestamp))
    }

    /// Whether it holds a frame from which one can start.
    pub(super) fn has_start(&self) -> bool {
        self.start().is_some()
    }

    fn start(&self) -> Option<u64> {
        self.newest_keyframe.or(self.newest_recovery)
    }

    /// Whether there is video at `sequence` or behind it.
    pub(super) fn has_video_from(&self, sequence: u64) -> bool {
        self.after_video > sequence
    }

    /// The sequence number that the next frame will get.
    pub(super) fn head(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// The sequence number of the oldest frame held.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// Bytes held, frame overhead included.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Number of frames held.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.total.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

fn cost(frame: &Frame) -> usize {
    frame.payload.len() + FRAME_OVERHEAD.get()
}

fn cost_of_all(frames: &[Frame]) -> usize {
    frames.iter().map(cost).sum()
}
