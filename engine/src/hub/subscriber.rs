//! A subscriber: a position in a stream's ring.

use super::feed::{Batch, Feed, Place};
use super::ring::{Backlog, JoinHeaders};
use super::stream::{MainIds, State, Stream, StreamTracks};
use super::waiters::{Registered, WakeFor};
use super::{EndReason, Hub, Interest, SubscribeOptions};
use crate::limits::ms;
use crate::media::{Frame, FrameKind};
use crate::policy::StartAt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;

/// What a reader finds.
struct Look {
    /// There are frames or the end.
    is_ready: bool,
    deadline: Option<Instant>,
}

/// How a subscriber learns that another publisher has begun.
#[derive(Default)]
struct Renewal {
    /// Sequence number of the first frame of the publisher that it was told of last.
    passed: u64,
    is_news: bool,
}

impl Renewal {
    /// Where frames are taken from `cursor` on, and the newest publisher began at `renewed_at`: up to where they may be.
    fn pass(&mut self, cursor: u64, renewed_at: u64) -> u64 {
        if cursor < renewed_at {
            return renewed_at;
        }
        if self.passed < renewed_at {
            self.passed = renewed_at;
            self.is_news = true;
        }
        u64::MAX
    }
}

bound! {
    /// Lags are counted over a minute, or over three lengths of the ring: a steadily slow reader falls off a long ring
    /// only once in its length (test `f19_falls_off_a_short_ring_are_counted_over_a_minute`).
    const MIN_LAG_WINDOW: Duration = Duration::from_secs(60), without Duration::ZERO;
}

/// A reader of one stream. Dropping it is leaving.
///
/// First come metadata and decoder configuration, then frames from the start position, video from a keyframe.
pub(crate) struct Subscriber {
    hub: Hub,
    stream: Arc<Stream>,
    options: SubscribeOptions,
    registered: Registered,
    cursor: u64,
    /// The stream's main tracks when frames were taken last.
    main: MainIds,
    /// Configuration to send before the frame at `cursor`.
    pending: Vec<Frame>,
    needs_keyframe: bool,
    /// Since when, where it does.
    waiting_since: Instant,
    has_jumped: bool,
    /// It has caught up since it joined: from then on a player may not fall far behind.
    has_caught_up: bool,
    /// Frames left out by jumps.
    skipped: u64,
    joined: Instant,
    /// Where it wants to know of another publisher: see [`Self::take_renewal`].
    renewal: Option<Renewal>,
    lags: Vec<Instant>,
    lag_window: Duration,
    max_lags: u32,
}

impl Subscriber {
    pub(super) fn new(hub: Hub, stream: Arc<Stream>, options: SubscribeOptions) -> Self {
        let (ring_ms, max_lags) = {
            let limits = hub.shared.limits.load();
            (limits.ring_ms, limits.max_lags)
        };
        let mut subscriber = Self {
            registered: None,
            lag_window: ms(ring_ms.saturating_mul(3)).max(MIN_LAG_WINDOW.get()),
            max_lags,
            hub,
            stream,
            options,
            cursor: 0,
            main: MainIds::default(),
            pending: Vec::new(),
            needs_keyframe: true,
            waiting_since: Instant::now(),
            has_jumped: false,
            has_caught_up: false,
            skipped: 0,
            joined: Instant::now(),
            renewal: None,
            lags: Vec::new(),
        };
        subscriber.rejoin();
        subscriber
    }

    /// The stream's name.
    pub(crate) fn key(&self) -> &crate::StreamKey {
        self.stream.key()
    }

    /// Waits until [`Self::take`] has frames or the end to give.
    pub(crate) async fn ready(&mut self) {
        while !self.is_ready_by(self.deadline()).await {}
    }

    /// Whether [`Self::take`] has frames or the end to give now.
    pub(crate) fn is_ready(&self) -> bool {
        self.look().is_ready
    }

    /// Waits like [`Self::ready`], but no longer than `deadline`; whether there is something.
    async fn is_ready_by(&mut self, deadline: Option<Instant>) -> bool {
        let ready = poll_fn(|cx| self.poll_ready(cx));
        match deadline {
            Some(at) => tokio::time::timeout_at(at, ready).await.is_ok(),
            None => {
                ready.await;
                true
            }
        }
    }

    /// Ready when [`Self::take`] has frames or the end to give. Passing deadlines wake nobody: see
    /// [`Self::deadline`].
    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let stream = self.stream.clone();
        stream.with_state(|state| {
            if self.look_at(state).is_ready {
                return Poll::Ready(());
            }
            state.waiters.register(&mut self.registered, WakeFor::Any, cx.waker());
            Poll::Pending
        })
    }

    /// When the wait for a publisher, or for its return, is over.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.look().deadline
    }

    /// The end, where nothing comes before it.
    pub(crate) fn end(&self) -> Option<EndReason> {
        self.stream.with_state(|state| match state.is_idle() {
            true => self.check_wait().err(),
            false => state.end_at(self.cursor).cloned(),
        })
    }

    /// Whether everything has been taken and the next frame is wanted as it comes: nothing has to be sent
    /// before it or left out.
    pub(crate) fn is_caught_up(&self) -> bool {
        self.stream.with_state(|state| {
            let needs_nothing = self.pending.is_empty() && (!self.needs_keyframe || !state.has_video());
            needs_nothing
                && !state.is_idle()
                && self.cursor == state.ring.head()
                && state.end_at(self.cursor).is_none()
        })
    }

    /// Steps over a batch where its frames are the next and all of them are wanted: somebody else delivers them.
    pub(crate) fn step_over(&mut self, batch: &Batch) -> Place {
        if self.cursor >= batch.to {
            return Place::After;
        }
        let as_it_is = self.pending.is_empty() && !(self.needs_keyframe && batch.has_video);
        if self.cursor != batch.from || !as_it_is {
            return Place::Elsewhere;
        }
        self.cursor = batch.to;
        Place::At
    }

    /// Counts bytes of it that are on their way to whoever reads by it.
    #[inline]
    pub(crate) fn count_sent(&self, bytes: u64) {
        self.stream.count_sent(bytes);
    }

    /// A reader of the same stream from its live edge on, for all subscribers that have caught up.
    pub(crate) fn feed(&self) -> Feed {
        Feed::new(self.stream.clone())
    }

    /// Appends frames to `out` until their payloads pass `max_bytes` (at least one frame, if there is one);
    /// returns how many. 0 = nothing right now. The end of the stream is an error with its reason.
    pub(crate) fn take(&mut self, max_bytes: usize, out: &mut Vec<Frame>) -> Result<usize, EndReason> {
        let stream = self.stream.clone();
        let before = out.len();
        stream.with_state(|state| self.take_from(state, max_bytes, out))?;
        Ok(out.len() - before)
    }

    /// The main tracks of the stream that was taken from, as they were then.
    pub(crate) fn main(&self) -> MainIds {
        self.main
    }

    /// What is known of the stream's tracks now.
    pub(crate) fn tracks(&self) -> StreamTracks {
        self.stream.tracks()
    }

    /// Shows what will be taken next, as far as it has come, and then what came before that, the newest first, until `is_enough`.
    #[cfg(feature = "mp4")]
    pub(crate) fn look_ahead(&self, mut is_enough: impl FnMut(&Frame, MainIds) -> bool) {
        self.stream.with_state(|state| {
            let (ring, main) = (&state.ring, state.main_ids());
            let next = self.cursor.clamp(ring.first(), ring.head());
            let ahead = self.pending.iter().chain((next..ring.head()).filter_map(|at| ring.get(at)));
            let behind = (ring.first()..next).rev().filter_map(|at| ring.get(at));
            let _ = ahead.chain(behind).any(|frame| is_enough(frame, main));
        });
    }

    /// Whether the stream's metadata says that there is video, of which nothing has come.
    #[cfg(feature = "http")]
    pub(crate) fn expects_video(&self) -> bool {
        self.stream.expects_video()
    }

    /// What it has not taken yet.
    pub(crate) fn backlog(&self) -> Backlog {
        self.stream.backlog(self.cursor)
    }

    /// Frames that were left out because it was too slow.
    pub(crate) fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Whether it has fallen off the ring and jumped, since the last time that this was asked.
    pub(crate) fn take_jump(&mut self) -> bool {
        std::mem::take(&mut self.has_jumped)
    }

    /// Goes to the start position, as if it had joined now: what was not taken is left out.
    pub(crate) fn rejoin(&mut self) {
        let stream = self.stream.clone();
        stream.with_state(|state| {
            let keyframe = match self.options.start {
                StartAt::Keyframe => state.keyframe_to_start_at(),
                StartAt::LiveEdge => None,
            };
            self.start_at(state, keyframe);
        });
    }

    /// Goes back to the oldest frame from which one can start that came within `time`. From now on it can be told of another
    /// publisher, too, and is no player, who had better see what is new: it may fall behind as far as the ring reaches.
    pub(crate) fn rewind(&mut self, time: Duration) {
        let stream = self.stream.clone();
        stream.with_state(|state| {
            let since = Instant::now().checked_sub(time);
            let start =
                since.and_then(|since| state.oldest_start(since)).or_else(|| state.ring.newest_start());
            self.start_at(state, start);
        });
        self.renewal = Some(Renewal::default());
    }

    /// Goes back to the oldest frame from which one can start that came within `time`. Where there is none, or the stream's
    /// policy lets nobody start with so much, nothing changes.
    pub(crate) fn go_back(&mut self, time: Duration) {
        let stream = self.stream.clone();
        stream.with_state(|state| {
            let since = Instant::now().checked_sub(time);
            if let Some(start) = since.and_then(|since| state.old_frame_to_start_at(since)) {
                self.start_at(state, Some(start));
            }
        });
    }

    /// Whether the frames that were taken last are the first ones of another publisher than those before: no frames of two are
    /// taken together.
    pub(crate) fn take_renewal(&mut self) -> bool {
        self.renewal.as_mut().is_some_and(|renewal| std::mem::take(&mut renewal.is_news))
    }

    fn look(&self) -> Look {
        self.stream.with_state(|state| self.look_at(state))
    }

    fn look_at(&self, state: &State) -> Look {
        let wait_until = self.options.wait.map(|wait| self.joined + wait);
        let timed_out = state.is_idle() && wait_until.is_some_and(|at| at <= Instant::now());
        let is_over = timed_out || state.end_at(self.cursor).is_some();
        let has_pending = !self.pending.is_empty();
        Look {
            is_ready: is_over || has_pending || state.ring.head() > self.cursor,
            deadline: if state.is_idle() { wait_until } else { state.deadline() },
        }
    }

    #[inline]
    fn take_from(
        &mut self,
        state: &mut State,
        max_bytes: usize,
        out: &mut Vec<Frame>,
    ) -> Result<(), EndReason> {
        if state.is_idle() {
            return self.check_wait();
        }
        self.main = state.main_ids();
        if self.cursor < state.ring.first() {
            self.jump(state)?;
        } else if self.has_caught_up && state.is_too_far(self.cursor) && self.renewal.is_none() {
            self.skip(state);
        }
        self.needs_keyframe &= !self.waits_in_vain(state);
        let had = out.len();
        let mut bytes = 0;
        if !self.pending.is_empty() {
            // Taken with its memory: most subscribers have nothing pending ever again.
            out.append(&mut std::mem::take(&mut self.pending));
        }
        let until =
            self.renewal.as_mut().map_or(u64::MAX, |renewal| renewal.pass(self.cursor, state.renewed_at));
        while let Some(frame) =
            state.ring.get(self.cursor).filter(|_| bytes < max_bytes && self.cursor < until)
        {
            self.cursor += 1;
            if self.wants(frame) {
                bytes += frame.payload.len();
                out.push(frame.clone());
            }
        }
        self.has_caught_up |= self.cursor == state.ring.head();
        match state.end_at(self.cursor) {
            Some(reason) if out.len() == had => Err(reason.clone()),
            _ => Ok(()),
        }
    }

    fn check_wait(&self) -> Result<(), EndReason> {
        match self.options.wait {
            Some(wait) if self.joined.elapsed() >= wait => Err(EndReason::NotPublished),
            _ => Ok(()),
        }
    }

    /// Goes to a keyframe, else to the live edge; the configuration in force there is put before it.
    fn start_at(&mut self, state: &mut State, keyframe: Option<(u64, i64, JoinHeaders)>) {
        self.needs_keyframe = true;
        if keyframe.is_none() {
            state.wish_for_keyframe();
        }
        self.waiting_since = Instant::now();
        let (cursor, at, join_headers) =
            keyframe.unwrap_or_else(|| (state.ring.head(), state.now_ms(), state.join_headers.clone()));
        self.cursor = cursor;
        let time = |frame: &Frame| if frame.is_metadata() { 0 } else { at };
        let at_its_time = |frame: &Frame| Frame { timestamp: time(frame), ..frame.clone() };
        let is_of_use = |frame: &&Frame| !state.is_of_gone_track(frame);
        self.pending = join_headers.iter().filter(is_of_use).map(at_its_time).collect();
    }

    /// The position fell off the ring: on at the newest keyframe, unless that happened too often.
    fn jump(&mut self, state: &mut State) -> Result<(), EndReason> {
        let now = Instant::now();
        self.lags.retain(|&at| now.saturating_duration_since(at) <= self.lag_window);
        self.lags.push(now);
        self.jump_to(state, state.ring.newest_start());
        if self.lags.len() >= self.max_lags as usize {
            return Err(EndReason::Lagging);
        }
        Ok(())
    }

    /// Too far behind for the stream's publisher: on at a keyframe that is new enough, else at the live edge.
    fn skip(&mut self, state: &mut State) {
        let now = Instant::now();
        let keyframe = state.ring.newest_start().filter(|&(sequence, ..)| {
            sequence > self.cursor && state.policy.allows(state.ring.backlog(sequence, now))
        });
        self.jump_to(state, keyframe);
    }

    fn jump_to(&mut self, state: &mut State, keyframe: Option<(u64, i64, JoinHeaders)>) {
        let from = self.cursor;
        self.has_jumped = true;
        self.start_at(state, keyframe);
        let skipped = self.cursor.saturating_sub(from);
        self.skipped += skipped;
        state.count_lag(skipped);
    }

    /// Video is of no use before the first keyframe after a start or a jump.
    fn wants(&mut self, frame: &Frame) -> bool {
        if frame.kind != FrameKind::Video || frame.is_config() {
            return true;
        }
        self.needs_keyframe &= !(frame.flags.keyframe || frame.flags.recovery);
        !self.needs_keyframe
    }

    /// Whether it has waited long enough for a keyframe of a stream that has none: some cameras and encoders send one
    /// at the start only, and some decoders make a picture of what follows. A push waits for nothing: its target may.
    fn waits_in_vain(&self, state: &State) -> bool {
        if !self.needs_keyframe || !state.has_video() || state.ring.has_start() {
            return false;
        }
        let is_player = self.options.interest == Interest::Viewer;
        !is_player || self.waiting_since.elapsed() >= state.policy.keyframe_wait()
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let Self { stream, registered, .. } = self;
        stream.with_state(|state| state.waiters.unregister(registered));
        self.hub.leave(&self.stream, self.options.interest);
    }
}
