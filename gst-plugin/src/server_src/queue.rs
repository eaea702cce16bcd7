//! What waits between the network and a streaming thread: bounded in bytes and time, and given up to the next keyframe.

use super::clock::Stamp;
use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use streamengine::media::FrameKind;

streamengine::bound! {
    /// Most items that wait, whatever their size: a peer can send configuration without end
    /// (test `headers_and_caps_without_end_are_bounded_too`).
    const MAX_ITEMS: usize = 16_384, without usize::MAX;
}

/// A frame on its way into the pipeline.
#[derive(Debug)]
pub(super) struct Media {
    pub(super) kind: FrameKind,
    pub(super) data: Bytes,
    pub(super) stamp: Stamp,
    /// Presentation minus decoding time, in nanoseconds.
    pub(super) composition: i64,
    pub(super) arrival: Instant,
    pub(super) role: Role,
    /// Something is missing before it, or time jumps.
    pub(super) is_discont: bool,
}

/// What a frame is to those who come later or lose frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Metadata or decoder configuration: dropped only where even these are too many.
    Header,
    /// Can be decoded by itself.
    Key,
    /// A video frame that needs those before it.
    Delta,
    /// An audio frame beside video: decodable, but nothing to start at.
    Accompanying,
}

/// What a streaming thread is to do next.
#[derive(Debug)]
pub(super) enum Item {
    Media(Media),
    /// The caps of what follows.
    Caps(gst::Caps),
    /// Another stream begins: other codecs.
    Stream,
    Tags(gst::TagList),
    /// The end of the stream.
    End,
}

/// Why [`Queue::pop`] returned.
#[derive(Debug)]
pub(super) enum Popped {
    Item(Item),
    /// Nothing came for the time given, and nothing is expected.
    Quiet,
    Flushing,
}

/// The bounds of a queue.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Longest time that a frame may wait; zero for no bound.
    pub(super) time: Duration,
    pub(super) bytes: usize,
}

/// How much waits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Level {
    pub(super) bytes: usize,
    pub(super) time: Duration,
}

/// See the module.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    items: VecDeque<Item>,
    bytes: usize,
    is_flushing: bool,
    /// Nobody publishes for this queue.
    is_idle: bool,
    needs_keyframe: bool,
    is_discont: bool,
}

impl Queue {
    /// Adds a frame; how many were dropped to keep the bounds.
    pub(super) fn push_media(&self, media: Media, bounds: Bounds) -> u64 {
        let mut state = self.state.lock();
        state.is_idle = false;
        let dropped = state.make_room(&media, bounds);
        let dropped = dropped + u64::from(!state.take(media));
        drop(state);
        self.changed.notify_all();
        dropped
    }

    /// Adds what is no frame.
    pub(super) fn push(&self, item: Item) {
        let mut state = self.state.lock();
        if state.items.len() >= MAX_ITEMS.get() {
            state.drop_waiting(usize::MAX);
        }
        state.items.push_back(item);
        drop(state);
        self.changed.notify_all();
    }

    /// Tells that no frames are to be expected until the next one.
    pub(super) fn set_idle(&self) {
        self.state.lock().is_idle = true;
        self.changed.notify_all();
    }

    /// While flushing, [`Self::pop`] returns at once.
    pub(super) fn set_flushing(&self, is_flushing: bool) {
        self.state.lock().is_flushing = is_flushing;
        self.changed.notify_all();
    }

    /// Waits for the next item. Where nothing is expected, no longer than `quiet`.
    pub(super) fn pop(&self, quiet: Duration) -> Popped {
        let deadline = Instant::now() + quiet;
        let mut state = self.state.lock();
        loop {
            if state.is_flushing {
                return Popped::Flushing;
            }
            if let Some(item) = state.pop() {
                return Popped::Item(item);
            }
            if !state.is_idle {
                self.changed.wait(&mut state);
            } else if self.changed.wait_until(&mut state, deadline).timed_out() {
                return Popped::Quiet;
            }
        }
    }

    pub(super) fn level(&self) -> Level {
        let state = self.state.lock();
        let time = state.oldest().map(|oldest| oldest.elapsed()).unwrap_or_default();
        Level { bytes: state.bytes, time }
    }
}

impl State {
    /// Drops all frames that wait where the new one does not fit beside them.
    fn make_room(&mut self, media: &Media, bounds: Bounds) -> u64 {
        let waits = self.oldest().map(|oldest| media.arrival.saturating_duration_since(oldest));
        let is_late = !bounds.time.is_zero() && waits.is_some_and(|waits| waits > bounds.time);
        let is_full = self.bytes > 0 && self.bytes.saturating_add(media.data.len()) > bounds.bytes;
        let is_long = self.items.len() >= MAX_ITEMS.get();
        if is_late || is_full || is_long { self.drop_waiting(bounds.bytes) } else { 0 }
    }

    /// Drops all frames that wait, and what later caps and tags make void; headers only where they are the trouble. How
    /// many frames that were.
    fn drop_waiting(&mut self, max_bytes: usize) -> u64 {
        let frames = |items: &VecDeque<Item>| items.iter().filter(|item| item.is_media()).count();
        let before = frames(&self.items);
        self.is_discont = true;
        self.needs_keyframe |= self.items.iter().any(|item| item.is_coded(Some(FrameKind::Video)));
        self.items.retain(|item| !item.is_coded(None));
        let (mut caps, mut tags) = (false, false);
        let mut kept: VecDeque<_> = VecDeque::with_capacity(self.items.len());
        for item in self.items.drain(..).rev() {
            let is_void = match &item {
                Item::Caps(_) => std::mem::replace(&mut caps, true),
                Item::Tags(_) => std::mem::replace(&mut tags, true),
                _ => false,
            };
            if !is_void {
                kept.push_front(item);
            }
        }
        self.items = kept;
        self.bytes = self.items.iter().map(Item::len).sum();
        if self.bytes > max_bytes / 2 || self.items.len() > MAX_ITEMS.get() / 2 {
            self.items.retain(|item| !item.is_media());
            self.bytes = 0;
        }
        (before - frames(&self.items)) as u64
    }

    /// Takes a frame in, unless it is of no use.
    fn take(&mut self, mut media: Media) -> bool {
        if self.needs_keyframe && media.role == Role::Delta {
            return false;
        }
        let is_coded = media.role != Role::Header;
        if is_coded {
            media.is_discont |= std::mem::take(&mut self.is_discont);
        }
        self.needs_keyframe &= !(is_coded && media.kind == FrameKind::Video);
        self.bytes += media.data.len();
        self.items.push_back(Item::Media(media));
        true
    }

    fn pop(&mut self) -> Option<Item> {
        let item = self.items.pop_front()?;
        self.bytes -= item.len();
        Some(item)
    }

    fn oldest(&self) -> Option<Instant> {
        self.items.iter().find_map(|item| match item {
            Item::Media(media) if media.role != Role::Header => Some(media.arrival),
            _ => None,
        })
    }
}

impl Item {
    fn is_media(&self) -> bool {
        matches!(self, Self::Media(_))
    }

    /// Whether this is a frame but no header, of the kind given.
    fn is_coded(&self, kind: Option<FrameKind>) -> bool {
        matches!(self, Self::Media(media)
            if media.role != Role::Header && kind.is_none_or(|kind| kind == media.kind))
    }

    fn len(&self) -> usize {
        match self {
            Self::Media(media) => media.data.len(),
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::clock::{PublisherClock, TimestampMode};
    use super::*;

    const BOUNDS: Bounds = Bounds { time: Duration::from_secs(3), bytes: 1_000 };

    fn media(kind: FrameKind, role: Role, len: usize, arrival: Instant) -> Media {
        let (stamp, _) = PublisherClock::new(TimestampMode::Arrival, Duration::ZERO).stamp(kind, 0, arrival);
        let data = vec![0; len].into();
        Media { kind, data, stamp, composition: 0, arrival, role, is_discont: false }
    }

    /// Roles and discontinuities of what waits.
    fn drain(queue: &Queue) -> Vec<(Role, bool)> {
        queue.set_idle();
        let mut all = Vec::new();
        while let Popped::Item(item) = queue.pop(Duration::ZERO) {
            if let Item::Media(media) = item {
                all.push((media.role, media.is_discont));
            }
        }
        all
    }

    #[test]
    fn too_many_bytes_or_too_long_a_wait_give_all_up_to_the_next_keyframe_but_headers() {
        use FrameKind::{Audio, Video};
        let start = Instant::now();
        for (len, later) in [(400, Duration::ZERO), (1, Duration::from_secs(4))] {
            let queue = Queue::default();
            let push = |kind, role, len, at| queue.push_media(media(kind, role, len, at), BOUNDS);
            assert_eq!(push(Video, Role::Header, 10, start), 0);
            assert_eq!(push(Video, Role::Key, 400, start), 0);
            assert_eq!(push(Video, Role::Delta, 400, start), 0);
            assert_eq!(push(Video, Role::Delta, len, start + later), 3, "two that waited and the new one");
            assert_eq!(push(Audio, Role::Accompanying, 10, start), 0);
            assert_eq!(push(Video, Role::Delta, 10, start), 1);
            assert_eq!(push(Video, Role::Key, 10, start), 0);
            let left = drain(&queue);
            assert_eq!(left, [(Role::Header, false), (Role::Accompanying, true), (Role::Key, false)]);
            assert_eq!(queue.level(), Level::default());
        }
    }

    #[test]
    fn a_frame_larger_than_the_bound_passes_an_empty_queue() {
        let queue = Queue::default();
        assert_eq!(queue.push_media(media(FrameKind::Video, Role::Key, 5_000, Instant::now()), BOUNDS), 0);
        assert_eq!(drain(&queue), [(Role::Key, false)]);
    }

    #[test]
    fn headers_and_caps_without_end_are_bounded_too() {
        gst::init().unwrap();
        // Also where their bytes are no reason.
        for bounds in [BOUNDS, Bounds { bytes: usize::MAX, ..BOUNDS }] {
            let queue = Queue::default();
            for _ in 0..3 * MAX_ITEMS.stated() {
                queue.push(Item::Caps(gst::Caps::new_any()));
                queue.push_media(media(FrameKind::Video, Role::Header, 1, Instant::now()), bounds);
            }
            assert!(queue.state.lock().items.len() <= MAX_ITEMS.stated() + 1);
            assert!(queue.level().bytes <= bounds.bytes);
        }
    }

    #[test]
    fn waiting_ends_when_flushing_and_quiet_is_told_only_where_nothing_is_expected() {
        let queue = Queue::default();
        std::thread::scope(|scope| {
            let popped = scope.spawn(|| queue.pop(Duration::ZERO));
            queue.set_flushing(true);
            assert!(matches!(popped.join().unwrap(), Popped::Flushing));
        });
        queue.set_flushing(false);
        queue.set_idle();
        assert!(matches!(queue.pop(Duration::ZERO), Popped::Quiet));
    }
}
