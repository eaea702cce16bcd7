//! The right to publish a stream: who gets it, who takes it over, and what becomes of the stream without a publisher.

use super::{State, Stream};
use crate::hub::ring::JoinHeaders;
use crate::hub::{EndReason, PublishRefusal, PublishRequest, STALLED_AFTER};
use crate::media::{Frame, FrameKind};
use crate::policy::Takeover;
use tokio::sync::watch;
use tokio::time::Instant;

/// Why a publisher lost its right, as a value to watch; `None` while it has it.
pub(crate) type Ended = watch::Receiver<Option<EndReason>>;

pub(super) struct CurrentPublisher {
    id: u64,
    /// Boxed: seldom looked at.
    request: Box<PublishRequest>,
    ended: watch::Sender<Option<EndReason>>,
    pub(super) last_media: Instant,
    /// Until its first keyframe a returning publisher's video cannot be decoded.
    needs_keyframe: bool,
    /// Configuration before the present publisher came; what it repeats unchanged is not sent again.
    previous: Option<JoinHeaders>,
}

pub(super) enum Phase {
    Idle,
    Live(CurrentPublisher),
    Away { until: Instant },
    Ended { reason: EndReason, at: u64 },
}

impl Phase {
    /// Publisher `id`; the reason where it has lost its right.
    #[inline]
    pub(super) fn publisher(&mut self, id: u64) -> Result<&mut CurrentPublisher, EndReason> {
        match self {
            Self::Live(current) if current.id == id => Ok(current),
            Self::Ended { reason, .. } => Err(reason.clone()),
            _ => Err(EndReason::Replaced),
        }
    }

    /// What the present publisher has asked for.
    pub(super) fn request(&self) -> Option<&PublishRequest> {
        match self {
            Self::Live(current) => Some(&current.request),
            _ => None,
        }
    }
}

impl CurrentPublisher {
    fn may_be_replaced(&self, newcomer: &PublishRequest, now: Instant) -> Result<(), PublishRefusal> {
        match newcomer.takeover {
            Takeover::Reject => Err(PublishRefusal::Kept),
            Takeover::Replace => Ok(()),
            Takeover::ReplaceIfStalled => {
                if now.saturating_duration_since(self.last_media) < STALLED_AFTER.get() {
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
    #[inline]
    pub(super) fn leaves_out(&mut self, frame: &Frame) -> bool {
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

impl Stream {
    /// Lets a publisher in or refuses it; `None` when the stream has ended.
    pub(crate) fn try_publish(
        &self,
        id: u64,
        request: &PublishRequest,
    ) -> Option<Result<Ended, PublishRefusal>> {
        self.change(|state| {
            let admitted = state.try_publish(id, request, Instant::now());
            if let Some(Ok(_)) = admitted {
                self.apply(state, request.policy.clone());
            }
            admitted
        })
    }

    /// The publisher is gone without a word: its name is free, subscribers wait for the resume window. True
    /// where the stream is over.
    pub(crate) fn lose_publisher(&self, id: u64) -> bool {
        let mut state = self.state.lock();
        let Ok(current) = state.phase.publisher(id) else { return false };
        let (window, now) = (current.request.resume_window, Instant::now());
        state.phase = Phase::Away { until: now + window };
        state.waiters.wake_all();
        state.expire(now) || state.close_if_unused()
    }

    /// Takes the right to publish away: the publisher is told `reason`, subscribers wait for the resume window. `None`
    /// where nobody publishes, else whether the stream has ended.
    pub(crate) fn evict(&self, reason: EndReason) -> Option<bool> {
        let mut state = self.state.lock();
        let now = Instant::now();
        let Phase::Live(current) = &state.phase else { return None };
        let until = now + current.request.resume_window;
        current.ended.send_replace(Some(reason));
        state.phase = Phase::Away { until };
        state.waiters.wake_all();
        Some(state.expire(now) || state.close_if_unused())
    }

    /// The publisher `id` ends the stream on purpose, unless its readers are to wait for the next. True where the stream
    /// is over.
    pub(crate) fn finish(&self, id: u64) -> bool {
        let mut state = self.state.lock();
        let Ok(current) = state.phase.publisher(id) else { return false };
        if current.request.resume_after_end {
            drop(state);
            return self.lose_publisher(id);
        }
        state.end(EndReason::Unpublished);
        true
    }

    pub(crate) fn end(&self, reason: EndReason) {
        self.state.lock().end(reason);
    }

    /// Ends the stream where its resume window is over; true where it has ended.
    pub(crate) fn expire(&self) -> bool {
        self.state.lock().expire(Instant::now())
    }

    /// The engines that the stream has passed; empty where it has no publisher.
    pub(crate) fn hops(&self) -> Vec<String> {
        self.state.lock().phase.request().map_or_else(Vec::new, |request| request.hops.clone())
    }
}

impl State {
    fn try_publish(
        &mut self,
        id: u64,
        request: &PublishRequest,
        now: Instant,
    ) -> Option<Result<Ended, PublishRefusal>> {
        self.expire(now);
        match &self.phase {
            Phase::Ended { .. } => return None,
            Phase::Idle => {}
            Phase::Away { .. } => self.counters.resumes += 1,
            Phase::Live(current) => {
                if let Err(refusal) = current.may_be_replaced(request, now) {
                    return Some(Err(refusal));
                }
                current.ended.send_replace(Some(EndReason::Replaced));
                self.counters.resumes += 1;
            }
        }
        let ended = self.install(id, request, now);
        self.waiters.wake_all();
        Some(Ok(ended))
    }

    /// When the stream will end if nothing happens.
    #[inline]
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Away { until } => Some(until),
            _ => None,
        }
    }

    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Idle)
    }

    /// The end, for a reader that has taken everything before sequence number `cursor`.
    #[inline]
    pub(crate) fn end_at(&self, cursor: u64) -> Option<&EndReason> {
        match &self.phase {
            Phase::Ended { reason, at } if cursor >= *at => Some(reason),
            _ => None,
        }
    }

    fn install(&mut self, id: u64, request: &PublishRequest, now: Instant) -> Ended {
        let (ended, watching) = watch::channel(None);
        let returning = self.timeline.end().is_some();
        // The newcomer's own configuration is collected afresh: it may have fewer tracks.
        let previous = returning.then(|| std::mem::take(&mut self.join_headers));
        self.timeline.splice();
        self.main_tracks.renew();
        if returning {
            self.renewed_at = self.ring.head();
        }
        self.since.get_or_insert(now);
        let request = Box::new(request.clone());
        self.place = request.place.clone();
        self.phase = Phase::Live(CurrentPublisher {
            id,
            request,
            ended,
            last_media: now,
            needs_keyframe: returning,
            previous,
        });
        watching
    }

    fn end(&mut self, reason: EndReason) {
        if matches!(self.phase, Phase::Ended { .. }) {
            return;
        }
        self.waiters.wake_all();
        self.place = None;
        let ended = Phase::Ended { reason: reason.clone(), at: self.ring.head() };
        if let Phase::Live(current) = std::mem::replace(&mut self.phase, ended) {
            current.ended.send_replace(Some(reason));
        }
    }

    /// Ends the stream where its resume window is over; true where it has ended.
    #[inline]
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        if self.deadline().is_some_and(|until| until <= now) {
            self.end(EndReason::PublisherLost);
        }
        matches!(self.phase, Phase::Ended { .. })
    }

    /// Closes a stream that was never published and that nobody waits for.
    pub(super) fn close_if_unused(&mut self) -> bool {
        if self.is_idle() && self.viewers + self.followers == 0 {
            self.end(EndReason::NotPublished);
        }
        matches!(self.phase, Phase::Ended { .. })
    }
}
