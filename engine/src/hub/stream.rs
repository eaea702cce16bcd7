//! One stream: its publisher, its ring, its configuration and its time.

use super::ring::{Prelude, Ring};
use super::timeline::Timeline;
use super::{
    Backlog, EndReason, Hub, Interest, PublishRefusal, PublishRequest, STALLED_AFTER, StartAt, Takeover,
};
use crate::Limits;
use crate::key::StreamKey;
use crate::limits::{as_ms, as_ms_or_none, ms};
use crate::media::{Frame, FrameKind};
use parking_lot::Mutex;
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::task::Waker;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Pieces of configuration kept for joining subscribers, and their bytes; a stream with more still passes, but
/// its joiners miss the surplus. Bounds what one publisher can pin beside its ring.
const MAX_CONFIG_FRAMES: usize = 64;
const MAX_CONFIG_BYTES: usize = 1024 * 1024;

/// Where a stream is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StreamState {
    /// Subscribers wait; nobody has published yet.
    Idle,
    /// It has a publisher.
    Live,
    /// The publisher was lost and may return within the resume window.
    Away,
    /// It is over.
    Ended,
}

/// What the publisher of a stream may decide about its readers, also while it publishes. A new publisher starts with
/// the default again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamPolicy {
    /// Where players start; else as the app's policy says.
    pub start: Option<StartAt>,
    /// Most payload bytes, from the newest keyframe on, that players start with; where there are more they start at the
    /// live edge.
    pub max_start_bytes: Option<u64>,
    /// How old the next frame of a reader may get, in milliseconds; then it goes on at the newest keyframe, or drops
    /// video until the next one comes. Counts once a reader has caught up after its start. Else the ring is the limit.
    pub max_queue_ms: Option<u64>,
    /// The same for the bytes that a reader has not taken.
    pub max_queue_bytes: Option<u64>,
    /// Bytes that the ring holds, where that is less than [`Limits::ring_bytes`](crate::Limits::ring_bytes).
    pub ring_bytes: Option<usize>,
}

impl StreamPolicy {
    /// Whether readers may not fall as far behind as the ring reaches.
    fn limits_queue(&self) -> bool {
        self.max_queue_ms.is_some() || self.max_queue_bytes.is_some()
    }

    pub(super) fn allows(&self, backlog: Backlog) -> bool {
        self.max_queue_ms.is_none_or(|most| backlog.age <= ms(most))
            && self.max_queue_bytes.is_none_or(|most| backlog.bytes <= most)
    }
}

/// Facts and counters of one stream at one moment.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct StreamInfo {
    /// The name.
    pub key: StreamKey,
    /// Where it is in its life.
    pub state: StreamState,
    /// Time since the first publisher of this stream was let in.
    #[serde(rename = "uptime_ms", serialize_with = "as_ms")]
    pub uptime: Duration,
    /// Who publishes, while there is a publisher.
    pub publisher: Option<String>,
    /// Subscribers at present, relay pushes included.
    pub subscribers: usize,
    /// Payload bytes received, all frames.
    pub bytes_in: u64,
    /// Audio frames received, configuration not counted.
    pub audio_frames: u64,
    /// Video frames received, configuration not counted.
    pub video_frames: u64,
    /// Keyframes received.
    pub keyframes: u64,
    /// Stream time of the newest frame in milliseconds.
    pub timestamp: Option<i64>,
    /// Times a publisher was replaced or returned within the resume window.
    pub resumes: u64,
    /// Times a subscriber fell off the ring, or behind what the publisher allows, and jumped to a keyframe.
    pub lags: u64,
    /// Frames that subscribers missed by those jumps.
    pub frames_skipped: u64,
    /// Frames in the ring.
    pub ring_frames: usize,
    /// Bytes in the ring, a fixed overhead per frame included.
    pub ring_bytes: usize,
    /// Of these, payload bytes from the newest keyframe on: what a joining player gets first.
    pub gop_bytes: u64,
    /// Time since the newest media frame.
    #[serde(rename = "silence_ms", serialize_with = "as_ms_or_none")]
    pub silence: Option<Duration>,
    /// Decoder configuration frames and metadata in force.
    #[serde(skip)]
    pub config: Vec<Frame>,
}

/// Why a publisher lost its right, as a value to watch; `None` while it has it.
pub(super) type Ended = watch::Receiver<Option<EndReason>>;

struct Slot {
    id: u64,
    request: PublishRequest,
    ended: watch::Sender<Option<EndReason>>,
    last_media: Instant,
    /// Until its first keyframe a returning publisher's video cannot be decoded.
    needs_keyframe: bool,
    /// Configuration before the present publisher came; what it repeats unchanged is not sent again.
    previous: Option<Prelude>,
}

enum Phase {
    Idle,
    Live(Slot),
    Away { until: Instant },
    Ended { reason: EndReason, at: u64 },
}

pub(super) struct State {
    phase: Phase,
    pub(super) ring: Ring,
    pub(super) policy: StreamPolicy,
    pub(super) prelude: Prelude,
    timeline: Timeline,
    pub(super) waiters: Waiters,
    since: Option<Instant>,
    viewers: usize,
    followers: usize,
    counters: Counters,
}

#[derive(Default)]
struct Counters {
    bytes_in: u64,
    frames: [u64; 3],
    keyframes: u64,
    resumes: u64,
    lags: u64,
    skipped: u64,
    last_media: Option<Instant>,
}

pub(super) struct Stream {
    key: StreamKey,
    /// What the engine's limits allow to the ring.
    ring_bytes: usize,
    state: Mutex<State>,
}

/// Which news a reader wants to be woken for. Changes of phase wake all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WakeFor {
    /// Any frame.
    Any,
    /// A video frame; audio rides along with the next.
    Video,
}

/// Tasks that wait for news of a stream, each until it is woken once.
#[derive(Default)]
pub(super) struct Waiters {
    any: Vec<Waker>,
    video: Vec<Waker>,
    /// Counts how often `any` and `video` were woken: a reader that is in a list knows that it still is.
    rounds: [u64; 2],
}

/// A reader's place in the lists: the round, which list, and the waker it left there.
pub(super) type Registered = Option<(u64, WakeFor, Waker)>;

impl Waiters {
    /// Puts a reader's waker in a list, unless it is there already.
    pub(super) fn register(&mut self, place: &mut Registered, wake_for: WakeFor, waker: &Waker) {
        let round = self.rounds[wake_for as usize];
        if matches!(place, Some((at, list, old)) if *at == round && *list == wake_for && old.will_wake(waker))
        {
            return;
        }
        self.unregister(place);
        self.list(wake_for).push(waker.clone());
        *place = Some((round, wake_for, waker.clone()));
    }

    /// Takes a reader's waker out, so that readers that come and go leave nothing behind.
    pub(super) fn unregister(&mut self, place: &mut Registered) {
        if let Some((round, list, waker)) = place.take()
            && round == self.rounds[list as usize]
        {
            let list = self.list(list);
            if let Some(index) = list.iter().position(|other| other.will_wake(&waker)) {
                list.swap_remove(index);
            }
        }
    }

    fn list(&mut self, wake_for: WakeFor) -> &mut Vec<Waker> {
        match wake_for {
            WakeFor::Any => &mut self.any,
            WakeFor::Video => &mut self.video,
        }
    }

    /// Wakes everybody: the stream's life has changed.
    fn wake_all(&mut self) {
        let mut woken = Vec::new();
        self.take(WakeFor::Any, &mut woken);
        self.take(WakeFor::Video, &mut woken);
        woken.into_iter().for_each(Waker::wake);
    }

    fn take(&mut self, wake_for: WakeFor, woken: &mut Vec<Waker>) {
        self.rounds[wake_for as usize] += 1;
        woken.append(self.list(wake_for));
    }
}

impl Stream {
    pub(super) fn new(key: &StreamKey, limits: &Limits, total: Arc<AtomicUsize>) -> Self {
        let state = State {
            phase: Phase::Idle,
            ring: Ring::new(limits, total),
            policy: StreamPolicy::default(),
            prelude: Prelude::default(),
            timeline: Timeline::default(),
            waiters: Waiters::default(),
            since: None,
            viewers: 0,
            followers: 0,
            counters: Counters::default(),
        };
        Self { key: key.clone(), ring_bytes: limits.ring_bytes, state: Mutex::new(state) }
    }

    pub(super) fn key(&self) -> &StreamKey {
        &self.key
    }

    /// Lets a publisher in or refuses it; `None` when the stream has ended.
    pub(super) fn try_publish(
        &self,
        id: u64,
        request: &PublishRequest,
    ) -> Option<Result<Ended, PublishRefusal>> {
        let now = Instant::now();
        let mut state = self.state.lock();
        state.expire(now);
        match &state.phase {
            Phase::Ended { .. } => return None,
            Phase::Idle => {}
            Phase::Away { .. } => state.counters.resumes += 1,
            Phase::Live(slot) => {
                if let Err(refusal) = slot.may_be_replaced(request, now) {
                    return Some(Err(refusal));
                }
                slot.ended.send_replace(Some(EndReason::Replaced));
                state.counters.resumes += 1;
            }
        }
        let ended = state.install(id, request, now);
        state.policy = StreamPolicy::default();
        state.ring.set_max_bytes(self.ring_bytes);
        state.waiters.wake_all();
        Some(Ok(ended))
    }

    /// Appends a frame of publisher `id`; the reason where it has lost its right.
    pub(super) fn push(&self, id: u64, frame: Frame) -> Result<(), EndReason> {
        let is_video = frame.kind == FrameKind::Video;
        let mut woken = Vec::new();
        let mut state = self.state.lock();
        state.append(id, frame)?;
        state.waiters.take(WakeFor::Any, &mut woken);
        if is_video {
            state.waiters.take(WakeFor::Video, &mut woken);
        }
        // Who is woken takes the lock.
        drop(state);
        woken.into_iter().for_each(Waker::wake);
        Ok(())
    }

    /// Takes over what publisher `id` decides about readers; nothing where it has lost its right.
    pub(super) fn set_policy(&self, id: u64, policy: StreamPolicy) {
        let mut state = self.state.lock();
        if state.slot(id).is_some() {
            let bytes = policy.ring_bytes.map_or(self.ring_bytes, |bytes| bytes.min(self.ring_bytes));
            state.ring.set_max_bytes(bytes);
            state.policy = policy;
        }
    }

    /// What is left to take from `sequence` on.
    pub(super) fn backlog(&self, sequence: u64) -> Backlog {
        self.state.lock().ring.backlog(sequence, Instant::now())
    }

    /// Where the publisher wants players to start.
    pub(super) fn start(&self) -> Option<StartAt> {
        self.state.lock().policy.start
    }

    /// The publisher is gone without a word: its name is free, subscribers wait for the resume window. True
    /// where the stream is over.
    pub(super) fn lose_publisher(&self, id: u64) -> bool {
        let mut state = self.state.lock();
        let Some(window) = state.slot(id).map(|slot| slot.request.resume_window) else { return false };
        let now = Instant::now();
        state.phase = Phase::Away { until: now + window };
        state.waiters.wake_all();
        state.expire(now) || state.close_if_unused()
    }

    /// Takes the right to publish away: the publisher is told `reason`, subscribers wait for the resume window. `None`
    /// where nobody publishes, else whether the stream has ended.
    pub(super) fn evict(&self, reason: EndReason) -> Option<bool> {
        let mut state = self.state.lock();
        let now = Instant::now();
        let Phase::Live(slot) = &state.phase else { return None };
        let until = now + slot.request.resume_window;
        slot.ended.send_replace(Some(reason));
        state.phase = Phase::Away { until };
        state.waiters.wake_all();
        Some(state.expire(now) || state.close_if_unused())
    }

    /// The publisher `id` ends the stream on purpose. False where it no longer had the right.
    pub(super) fn finish(&self, id: u64) -> bool {
        let mut state = self.state.lock();
        if state.slot(id).is_none() {
            return false;
        }
        state.end(EndReason::Unpublished);
        true
    }

    pub(super) fn end(&self, reason: EndReason) {
        self.state.lock().end(reason);
    }

    /// Ends the stream where its resume window is over; true where it has ended.
    pub(super) fn expire(&self) -> bool {
        self.state.lock().expire(Instant::now())
    }

    /// Counts a subscriber in; false where the stream has ended.
    pub(super) fn join(&self, interest: Interest) -> bool {
        let mut state = self.state.lock();
        if state.expire(Instant::now()) {
            return false;
        }
        *state.count(interest) += 1;
        true
    }

    /// Counts a subscriber out; true where the stream is of no use to anybody now.
    pub(super) fn leave(&self, interest: Interest) -> bool {
        let mut state = self.state.lock();
        *state.count(interest) -= 1;
        state.close_if_unused()
    }

    pub(super) fn viewers(&self) -> usize {
        self.state.lock().viewers
    }

    pub(super) fn hops(&self) -> Vec<String> {
        match &self.state.lock().phase {
            Phase::Live(slot) => slot.request.hops.clone(),
            _ => Vec::new(),
        }
    }

    pub(super) fn ring_bytes(&self) -> usize {
        self.state.lock().ring.bytes()
    }

    /// Drops the older half of the ring; false where there was nothing to drop.
    pub(super) fn shrink(&self) -> bool {
        let mut state = self.state.lock();
        let target = state.ring.bytes() / 2;
        let mut shrunk = false;
        while state.ring.bytes() > target && state.ring.len() > 1 {
            shrunk |= state.ring.evict_oldest();
        }
        shrunk
    }

    /// Runs `read` on the state, after ending the stream where its resume window is over.
    pub(super) fn with_state<T>(&self, read: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock();
        state.expire(Instant::now());
        read(&mut state)
    }

    pub(super) fn info(&self) -> StreamInfo {
        let state = self.state.lock();
        let counters = &state.counters;
        StreamInfo {
            key: self.key.clone(),
            state: state.phase.public(),
            uptime: state.since.map(|since| since.elapsed()).unwrap_or_default(),
            publisher: match &state.phase {
                Phase::Live(slot) => Some(slot.request.source.clone()),
                _ => None,
            },
            subscribers: state.viewers + state.followers,
            bytes_in: counters.bytes_in,
            audio_frames: counters.frames[FrameKind::Audio as usize],
            video_frames: counters.frames[FrameKind::Video as usize],
            keyframes: counters.keyframes,
            timestamp: state.timeline.end(),
            resumes: counters.resumes,
            lags: counters.lags,
            frames_skipped: counters.skipped,
            ring_frames: state.ring.len(),
            ring_bytes: state.ring.bytes(),
            gop_bytes: state
                .ring
                .newest_keyframe()
                .map_or(0, |(at, ..)| state.ring.backlog(at, Instant::now()).bytes),
            silence: counters.last_media.map(|at| at.elapsed()),
            config: state.prelude.to_vec(),
        }
    }
}

impl Phase {
    fn public(&self) -> StreamState {
        match self {
            Self::Idle => StreamState::Idle,
            Self::Live(_) => StreamState::Live,
            Self::Away { .. } => StreamState::Away,
            Self::Ended { .. } => StreamState::Ended,
        }
    }
}

impl Slot {
    fn may_be_replaced(&self, newcomer: &PublishRequest, now: Instant) -> Result<(), PublishRefusal> {
        match newcomer.takeover {
            Takeover::Reject => Err(PublishRefusal::AlreadyPublishing),
            Takeover::Replace => Ok(()),
            Takeover::ReplaceIfStalled => {
                if now.saturating_duration_since(self.last_media) < STALLED_AFTER {
                    Err(PublishRefusal::AlreadyPublishing)
                } else if self.request.principal != newcomer.principal {
                    Err(PublishRefusal::OtherRights)
                } else {
                    Ok(())
                }
            }
        }
    }

    /// Whether a frame of a returning publisher is to be left out: video before its first keyframe, and
    /// configuration that subscribers already have.
    fn leaves_out(&mut self, frame: &Frame) -> bool {
        let Some(previous) = &self.previous else { return false };
        if let Some(slot) = frame.flags.config {
            return previous.iter().any(|old| old.flags.config == Some(slot) && old.payload == frame.payload);
        }
        if frame.kind == FrameKind::Video && frame.flags.keyframe {
            self.needs_keyframe = false;
            self.previous = None;
        }
        frame.kind == FrameKind::Video && self.needs_keyframe
    }
}

impl State {
    /// When the stream will end if nothing happens.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Away { until } => Some(until),
            _ => None,
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Idle)
    }

    /// The end, for a reader that has taken everything before sequence number `cursor`.
    pub(super) fn end_at(&self, cursor: u64) -> Option<&EndReason> {
        match &self.phase {
            Phase::Ended { reason, at } if cursor >= *at => Some(reason),
            _ => None,
        }
    }

    /// Whether a reader at `sequence` is farther behind than the publisher allows.
    pub(super) fn is_too_far(&self, sequence: u64) -> bool {
        // The clock is read only where it decides: this is asked for every reader and frame.
        self.policy.limits_queue() && !self.policy.allows(self.ring.backlog(sequence, Instant::now()))
    }

    /// The newest keyframe, unless too much follows it.
    pub(super) fn keyframe_to_start_at(&self) -> Option<(u64, i64, Prelude)> {
        let is_allowed = |sequence| {
            let bytes = || self.ring.backlog(sequence, Instant::now()).bytes;
            self.policy.max_start_bytes.is_none_or(|most| bytes() <= most)
        };
        self.ring.newest_keyframe().filter(|&(sequence, ..)| is_allowed(sequence))
    }

    /// Whether video frames have come.
    pub(super) fn has_video(&self) -> bool {
        self.counters.frames[FrameKind::Video as usize] > 0
    }

    /// The time to stamp configuration with that is sent outside its place.
    pub(super) fn now_ms(&self) -> i64 {
        self.timeline.end().unwrap_or(0)
    }

    pub(super) fn count_lag(&mut self, skipped: u64) {
        self.counters.lags += 1;
        self.counters.skipped += skipped;
    }

    fn count(&mut self, interest: Interest) -> &mut usize {
        match interest {
            Interest::Viewer => &mut self.viewers,
            Interest::Follower => &mut self.followers,
        }
    }

    fn slot(&self, id: u64) -> Option<&Slot> {
        match &self.phase {
            Phase::Live(slot) if slot.id == id => Some(slot),
            _ => None,
        }
    }

    fn install(&mut self, id: u64, request: &PublishRequest, now: Instant) -> Ended {
        let (ended, watching) = watch::channel(None);
        let returning = self.timeline.end().is_some();
        // The newcomer's own configuration is collected afresh: it may have fewer tracks.
        let previous = returning.then(|| std::mem::take(&mut self.prelude));
        self.timeline.splice();
        self.since.get_or_insert(now);
        let request = request.clone();
        self.phase =
            Phase::Live(Slot { id, request, ended, last_media: now, needs_keyframe: returning, previous });
        watching
    }

    fn append(&mut self, id: u64, mut frame: Frame) -> Result<(), EndReason> {
        let now = Instant::now();
        let slot = match &mut self.phase {
            Phase::Live(slot) if slot.id == id => slot,
            Phase::Ended { reason, .. } => return Err(reason.clone()),
            _ => return Err(EndReason::Replaced),
        };
        #[cfg(test)]
        assert_ne!(&frame.payload[..], super::PANIC_PAYLOAD, "injected");
        if frame.kind != FrameKind::Data {
            slot.last_media = now;
            self.counters.last_media = Some(now);
        }
        let left_out = slot.leaves_out(&frame);
        self.counters.count(&frame);
        if frame.is_config() {
            remember_config(&mut self.prelude, &frame);
        }
        if left_out {
            return Ok(());
        }
        frame.timestamp = match frame.is_config() {
            true => self.timeline.place_config(frame.kind, frame.timestamp),
            false => self.timeline.place(frame.kind, frame.timestamp),
        };
        self.ring.push(frame, &self.prelude, now);
        Ok(())
    }

    fn end(&mut self, reason: EndReason) {
        if matches!(self.phase, Phase::Ended { .. }) {
            return;
        }
        self.waiters.wake_all();
        let ended = Phase::Ended { reason: reason.clone(), at: self.ring.head() };
        if let Phase::Live(slot) = std::mem::replace(&mut self.phase, ended) {
            slot.ended.send_replace(Some(reason));
        }
    }

    /// Ends the stream where its resume window is over; true where it has ended.
    fn expire(&mut self, now: Instant) -> bool {
        if self.deadline().is_some_and(|until| until <= now) {
            self.end(EndReason::PublisherLost);
        }
        matches!(self.phase, Phase::Ended { .. })
    }

    /// Closes a stream that was never published and that nobody waits for.
    fn close_if_unused(&mut self) -> bool {
        if self.is_idle() && self.viewers + self.followers == 0 {
            self.end(EndReason::NotPublished);
        }
        matches!(self.phase, Phase::Ended { .. })
    }
}

impl Counters {
    fn count(&mut self, frame: &Frame) {
        self.bytes_in += frame.payload.len() as u64;
        if !frame.is_config() {
            self.frames[frame.kind as usize] += 1;
            self.keyframes += u64::from(frame.kind == FrameKind::Video && frame.flags.keyframe);
        }
    }
}

/// Puts configuration in its slot, in the order in which slots first came.
fn remember_config(prelude: &mut Prelude, frame: &Frame) {
    let frames = Arc::make_mut(prelude);
    if let Some(old) = frames.iter_mut().find(|old| old.flags.config == frame.flags.config) {
        *old = frame.clone();
    } else if frames.len() < MAX_CONFIG_FRAMES {
        frames.push(frame.clone());
    }
    while frames.iter().map(|frame| frame.payload.len()).sum::<usize>() > MAX_CONFIG_BYTES {
        frames.pop();
    }
}

/// The right to publish one stream. Dropping it is being lost: subscribers stay for the resume window.
pub(crate) struct Publisher {
    hub: Hub,
    stream: Arc<Stream>,
    id: u64,
    ended: Ended,
}

impl Publisher {
    pub(super) fn new(hub: Hub, stream: Arc<Stream>, id: u64, ended: Ended) -> Self {
        Self { hub, stream, id, ended }
    }

    /// The stream's name.
    pub(crate) fn key(&self) -> &StreamKey {
        self.stream.key()
    }

    /// Gives a frame to all subscribers. Never waits. The error says why the right to publish is gone.
    pub(crate) fn push(&self, frame: Frame) -> Result<(), EndReason> {
        let why = |reason| self.ended.borrow().clone().unwrap_or(reason);
        self.stream.push(self.id, frame).map_err(why)?;
        self.hub.shed();
        Ok(())
    }

    /// Decides about readers from now on.
    pub(crate) fn set_policy(&self, policy: StreamPolicy) {
        self.stream.set_policy(self.id, policy);
    }

    /// Waits until the right to publish is taken away: takeover, kick or shutdown.
    /// The future does not borrow the publisher.
    pub(crate) fn ended(&self) -> impl Future<Output = EndReason> + Send + 'static + use<> {
        let mut ended = self.ended.clone();
        async move {
            match ended.wait_for(Option::is_some).await {
                Ok(reason) => reason.clone().unwrap_or(EndReason::Replaced),
                // The stream dropped the sender: only a newer publisher does that without a reason.
                Err(_) => EndReason::Replaced,
            }
        }
    }

    /// Ends the stream on purpose: subscribers get their end at once.
    pub(crate) fn finish(self) {
        if self.stream.finish(self.id) {
            self.hub.remove(&self.stream);
        }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        if self.stream.lose_publisher(self.id) {
            self.hub.remove(&self.stream);
        }
    }
}
