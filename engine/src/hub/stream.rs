//! One stream: its frames, its configuration, its time and its readers.

mod info;
mod policy;
mod rights;
mod tracks;

pub(crate) use tracks::{MainIds, StreamTracks, TrackCodec};

use super::discarded::Discarded;
use super::ring::{JoinHeaders, Ring};
use super::timeline::Timeline;
use super::waiters::{Waiters, WakeFor};
use super::watcher::Changes;
use super::{Backlog, EndReason, Full, Hub, Interest};
use crate::Limits;
use crate::address::Held;
use crate::key::StreamKey;
use crate::media::flv::PayloadInfo;
use crate::media::{Frame, FrameKind};
use crate::policy::StreamPolicy;
use parking_lot::Mutex;
use rights::{Ended, Phase};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::Waker;
use tokio::time::Instant;
use tracks::MainTracks;

bound! {
    /// Pieces of configuration kept for joining subscribers, and their bytes; a stream with more still passes, but
    /// its joiners miss the surplus. Bounds what one publisher can pin beside its ring
    /// (test `configuration_that_a_publisher_piles_up_is_bounded`).
    const MAX_CONFIG_FRAMES: usize = 64, without usize::MAX;
    /// Bytes of these pieces (test `large_metadata_pushes_no_decoder_configuration_out`).
    const MAX_CONFIG_BYTES: usize = 1024 * 1024, without usize::MAX;
}

/// What has happened since the stream began.
#[derive(Default)]
struct Counters {
    /// Of payloads, by kind of frame.
    bytes: [u64; 3],
    frames: [u64; 3],
    keyframes: u64,
    resumes: u64,
    lags: u64,
    skipped: u64,
    last_media: Option<Instant>,
}

impl Counters {
    #[inline]
    fn count(&mut self, frame: &Frame) {
        self.bytes[frame.kind as usize] += frame.payload.len() as u64;
        if !frame.is_config() {
            self.frames[frame.kind as usize] += 1;
            self.keyframes += u64::from(frame.kind == FrameKind::Video && frame.flags.keyframe);
        }
    }
}

pub(super) struct State {
    phase: Phase,
    /// Of its newest publisher, also while that is away.
    pub(super) place: Option<Arc<Held>>,
    pub(super) ring: Ring,
    /// What the engine's limits allow to the ring.
    pub(super) ring_bytes: usize,
    pub(super) policy: StreamPolicy,
    pub(super) join_headers: JoinHeaders,
    timeline: Timeline,
    pub(super) waiters: Waiters,
    since: Option<Instant>,
    viewers: usize,
    followers: usize,
    counters: Counters,
    /// By kind of frame, [`codec_mark`] of the newest.
    codecs: [u64; 3],
    main_tracks: MainTracks,
    /// Sequence number of the first frame of its newest publisher, where that is not the first.
    pub(super) renewed_at: u64,
    /// Somebody waits for a keyframe since there were so many.
    keyframe_wish: Option<u64>,
}

pub(super) struct Stream {
    key: StreamKey,
    /// Tells it from others, also from those of the same name.
    serial: u64,
    changes: Changes,
    /// Where its frames go when nobody reads them any more.
    discarded: Arc<Discarded>,
    /// Bytes put on their way to its readers.
    sent: AtomicU64,
    state: Mutex<State>,
}

impl Stream {
    pub(super) fn new(
        key: &StreamKey,
        serial: u64,
        limits: &Limits,
        total: Arc<AtomicUsize>,
        discarded: Arc<Discarded>,
        changes: Changes,
    ) -> Self {
        let state = State {
            phase: Phase::Idle,
            place: None,
            ring: Ring::new(limits, total),
            ring_bytes: limits.ring_bytes,
            policy: StreamPolicy::default(),
            join_headers: JoinHeaders::default(),
            timeline: Timeline::default(),
            waiters: Waiters::default(),
            since: None,
            viewers: 0,
            followers: 0,
            counters: Counters::default(),
            codecs: [0; 3],
            main_tracks: MainTracks::default(),
            renewed_at: 0,
            keyframe_wish: None,
        };
        let key = key.clone();
        Self { key, serial, changes, discarded, sent: AtomicU64::new(0), state: Mutex::new(state) }
    }

    /// Holds its ring to these limits from the next frame on.
    pub(super) fn set_limits(&self, limits: &Limits) {
        let mut state = self.state.lock();
        state.ring_bytes = limits.ring_bytes;
        state.ring.set_limits(limits);
        let policy = state.policy.clone();
        self.apply(&mut state, policy);
    }

    pub(super) fn key(&self) -> &StreamKey {
        &self.key
    }

    pub(super) fn serial(&self) -> u64 {
        self.serial
    }

    /// Counts bytes that are on their way to a reader.
    #[inline]
    pub(super) fn count_sent(&self, bytes: u64) {
        self.sent.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Appends a frame of publisher `id`; the reason where it has lost its right.
    #[inline]
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

    /// What is left to take from `sequence` on.
    pub(super) fn backlog(&self, sequence: u64) -> Backlog {
        self.state.lock().ring.backlog(sequence, Instant::now())
    }

    /// Counts a subscriber in, if it may come; false where the stream has ended.
    pub(super) fn join_if<E>(
        &self,
        interest: Interest,
        may: impl FnOnce(&State) -> Result<(), E>,
    ) -> Result<bool, E> {
        self.change(|state| {
            if state.expire(Instant::now()) {
                return Ok(false);
            }
            may(state)?;
            *state.count(interest) += 1;
            Ok(true)
        })
    }

    /// Counts a subscriber out; true where the stream is of no use to anybody now.
    pub(super) fn leave(&self, interest: Interest) -> bool {
        self.change(|state| {
            *state.count(interest) -= 1;
            state.close_if_unused()
        })
    }

    /// Runs `act` on the state, and has watchers look again where that changes what they are told. Ends they learn from
    /// the hub.
    fn change<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock();
        let before = state.standing();
        let result = act(&mut state);
        let is_news = state.standing() != before;
        // Who is woken takes the lock.
        drop(state);
        if is_news {
            self.changes.tell();
        }
        result
    }

    pub(super) fn viewers(&self) -> usize {
        self.state.lock().viewers
    }

    pub(super) fn ring_bytes(&self) -> usize {
        self.state.lock().ring.bytes()
    }

    /// Drops the oldest frames of the ring, of one frame that too; false where there was nothing to drop.
    pub(super) fn shrink(&self) -> bool {
        self.state.lock().ring.shrink()
    }

    /// Runs `read` on the state, after ending the stream where its resume window is over.
    #[inline]
    pub(super) fn with_state<T>(&self, read: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock();
        state.expire(Instant::now());
        read(&mut state)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.discarded.add(self.state.get_mut().ring.take());
    }
}

impl State {
    /// Whether video frames have come.
    pub(super) fn has_video(&self) -> bool {
        self.counters.frames[FrameKind::Video as usize] > 0
    }

    /// Somebody begins to wait for a keyframe.
    pub(super) fn wish_for_keyframe(&mut self) {
        self.keyframe_wish = Some(self.counters.keyframes);
    }

    /// The time to stamp configuration with that is sent outside its place.
    pub(super) fn now_ms(&self) -> i64 {
        self.timeline.end().unwrap_or(0)
    }

    /// The numbers of the tracks for readers that can have one of each kind.
    #[inline]
    pub(super) fn main_ids(&self) -> MainIds {
        self.main_tracks.ids()
    }

    /// Sequence number, time and configuration of the oldest frame from which one can start that came since then.
    pub(super) fn oldest_start(&self, since: Instant) -> Option<(u64, i64, JoinHeaders)> {
        match self.has_video() {
            true => self.ring.oldest_keyframe(since),
            false => {
                let (sequence, time) = self.ring.oldest(since)?;
                Some((sequence, time, self.join_headers.clone()))
            }
        }
    }

    /// Whether another player may come: as the publisher says, else of `max_viewers`.
    pub(super) fn has_room(&self, max_viewers: Option<u64>) -> Result<(), Full> {
        let most = self.policy.max_viewers.or(max_viewers);
        match most.is_some_and(|most| self.viewers as u64 >= most) {
            true => Err(Full),
            false => Ok(()),
        }
    }

    fn count(&mut self, interest: Interest) -> &mut usize {
        match interest {
            Interest::Viewer => &mut self.viewers,
            Interest::Follower => &mut self.followers,
        }
    }

    #[inline]
    fn append(&mut self, id: u64, mut frame: Frame) -> Result<(), EndReason> {
        let now = Instant::now();
        let current = self.phase.publisher(id)?;
        if frame.has_media() {
            current.last_media = now;
            self.counters.last_media = Some(now);
        }
        let left_out = current.leaves_out(&frame);
        self.counters.count(&frame);
        self.main_tracks.note(&frame);
        if frame.is_config() {
            remember_config(&mut self.join_headers, &frame);
        } else if frame.kind != FrameKind::Data {
            self.note_codec(&frame);
        }
        if left_out {
            return Ok(());
        }
        frame.timestamp = match frame.is_config() {
            true if frame.is_metadata() => 0,
            true => self.timeline.place_config(frame.kind, frame.timestamp),
            false => self.timeline.place(frame.kind, frame.flags.track, frame.timestamp, now),
        };
        if !frame.is_config() {
            self.main_tracks.note_time(&frame);
        }
        if self.timeline.take_return() {
            self.repeat_config(&frame, now);
        }
        self.ring.push(frame, &self.join_headers, now);
        Ok(())
    }
}

impl State {
    fn note_codec(&mut self, frame: &Frame) {
        let (mark, known) = (codec_mark(frame), &mut self.codecs[frame.kind as usize]);
        if *known != mark {
            *known = mark;
            forget_other_codecs(&mut self.join_headers, frame);
        }
    }

    /// A track that was gone is back: who has joined meanwhile has not got its configuration.
    fn repeat_config(&mut self, frame: &Frame, now: Instant) {
        let is_its = |config: &&Frame| config.kind == frame.kind && config.flags.track == frame.flags.track;
        let config: Vec<_> = self.join_headers.iter().filter(is_its).cloned().collect();
        for config in config {
            self.ring.push(Frame { timestamp: frame.timestamp, ..config }, &self.join_headers, now);
        }
    }

    /// Whether the frame is configuration of a track that has had no frames for long, while others go on.
    pub(super) fn is_of_gone_track(&self, config: &Frame) -> bool {
        config.kind != FrameKind::Data && self.timeline.is_gone(config.kind, config.flags.track)
    }
}

/// Puts configuration in its slot, in the order in which slots first came.
pub(crate) fn remember_config(join_headers: &mut JoinHeaders, frame: &Frame) {
    let frames = Arc::make_mut(join_headers);
    if let Some(old) = frames.iter_mut().find(|old| old.flags.config == frame.flags.config) {
        *old = frame.clone();
    } else if frames.len() < MAX_CONFIG_FRAMES.get() {
        frames.push(frame.clone());
    }
    while frames.iter().map(|frame| frame.payload.len()).sum::<usize>() > MAX_CONFIG_BYTES.get() {
        // Players do without metadata.
        match frames.iter().position(Frame::is_metadata) {
            Some(index) => drop(frames.remove(index)),
            None => drop(frames.pop()),
        }
    }
}

/// The codec as far as the first bytes of a payload tell it. Cheap: it is asked for every frame.
#[inline]
fn codec_mark(frame: &Frame) -> u64 {
    let first = frame.payload.first().copied().unwrap_or_default();
    match (frame.kind, first) {
        (FrameKind::Video, 0..0x80) => u64::from(first & 0x0f),
        (FrameKind::Audio, ..0x90 | 0xa0..) => u64::from(first >> 4),
        _ => fourcc_mark(&frame.payload),
    }
}

/// Of Enhanced RTMP, the four bytes where most payloads have the FourCC.
#[cold]
fn fourcc_mark(payload: &[u8]) -> u64 {
    let code = payload.get(1..5).and_then(|code| <[u8; 4]>::try_from(code).ok());
    u64::from(u32::from_be_bytes(code.unwrap_or_default())) << 8
}

/// Drops decoder configuration of a codec that the frame's track no longer has.
fn forget_other_codecs(join_headers: &mut JoinHeaders, frame: &Frame) {
    let codec_of = |frame: &Frame| PayloadInfo::parse(frame.kind, &frame.payload).map(|info| info.codec);
    let Some(codec) = codec_of(frame) else { return };
    let is_stale = |config: &Frame| {
        let is_of_track = config.kind == frame.kind && config.flags.track == frame.flags.track;
        is_of_track && codec_of(config) != Some(codec)
    };
    if join_headers.iter().any(is_stale) {
        Arc::make_mut(join_headers).retain(|config| !is_stale(config));
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

    /// Gives a frame to all subscribers. Never waits. The error says why the right to publish is gone.
    pub(crate) fn push(&self, frame: Frame) -> Result<(), EndReason> {
        let why = |reason| self.ended.borrow().clone().unwrap_or(reason);
        self.stream.push(self.id, frame).map_err(why)?;
        self.hub.shed();
        Ok(())
    }

    /// Whether somebody has begun to wait for a keyframe since this was asked last, and none has come.
    #[cfg(feature = "http")]
    pub(crate) fn take_keyframe_wish(&self) -> bool {
        self.stream.with_state(|state| {
            let wish = state.keyframe_wish.take();
            state.has_video() && wish == Some(state.counters.keyframes)
        })
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
