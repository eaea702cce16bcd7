//! What a pull takes in: how the local stream begins, and how it ends.

use super::task::{AttemptError, Meaning, Relay, add};
use crate::ErrorKind;
use crate::config::{AppConfig, PublisherConfig};
use crate::hub::{EndReason, JoinHeaders, remember_config};
use crate::media::metadata::announces_video;
use crate::media::{Frame, FrameKind};
use crate::proto::Received;
use crate::service::media_gap::MediaGap;
use crate::service::pace::{Pace, Verdict};
use crate::service::streams::Published;
use crate::status::RelayState;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// How a stream that is pulled is published here.
pub(super) struct Terms {
    /// Who publishes it, for lists and events; who comes back by this name may take its own stream over.
    pub(super) source: String,
    pub(super) rules: PublisherConfig,
    /// The streams of engines that it is fetched for, this one last.
    pub(super) hops: Vec<String>,
    pub(super) of: Owner,
    /// Where it is not published from its first frame on.
    pub(super) hold: Option<Hold>,
    /// Since when it has been published.
    pub(super) begun: watch::Sender<Option<Instant>>,
}

/// A stream is published from a frame on at which decoding can begin: the first after some time, and any after a longer one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hold {
    pub(super) least: Duration,
    pub(super) most: Duration,
}

/// On whose account a stream is pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// A relay's: where the stream ends upstream, it ends here.
    Relay,
    /// An origin's: another one may have it still.
    Origin,
}

impl Terms {
    /// Those of a relay of its own.
    pub(super) fn of_relay(relay: &Relay) -> Self {
        Self {
            source: format!("relay {} from {}", relay.id, relay.url),
            rules: PublisherConfig::default(),
            hops: vec![relay.core.hop(&relay.stream)],
            of: Owner::Relay,
            hold: None,
            begun: watch::Sender::new(None),
        }
    }

    /// How long the stream has been published, where it has been.
    pub(super) fn flowed(&self) -> Option<Duration> {
        self.begun.borrow().map(|since| since.elapsed())
    }
}

/// The local stream of one connection. Its name is taken with the first media message: servers grant streams that nobody
/// publishes.
pub(super) struct Intake<'a> {
    relay: &'a Relay,
    terms: &'a Terms,
    /// The streams that it has been upstream.
    hops: Vec<String>,
    publisher: Option<Published>,
    /// When media first came on this connection, and when it last did.
    first: Option<Instant>,
    newest: Instant,
    /// How many pings the upstream has answered, when it last did, and when it was asked.
    answers: u64,
    answered: Instant,
    asked: Instant,
    pace: Pace,
    /// How long the local stream has been without media.
    gap: Option<MediaGap>,
    /// What has come before it was published.
    headers: JoinHeaders,
    has_video: bool,
}

impl<'a> Intake<'a> {
    /// One of a stream that has been `hops` upstream, from a server that has answered so many pings.
    pub(super) fn new(
        relay: &'a Relay,
        terms: &'a Terms,
        hops: Vec<String>,
        answers: u64,
    ) -> Result<Self, AttemptError> {
        if relay.core.is_loop(&relay.stream, &hops) {
            return Err(loops(relay));
        }
        relay.tell_begun();
        relay.enter(RelayState::Playing);
        let now = Instant::now();
        Ok(Self {
            relay,
            terms,
            hops,
            publisher: None,
            first: None,
            newest: now,
            answers,
            answered: now,
            asked: now,
            pace: Pace::default(),
            gap: None,
            headers: JoinHeaders::default(),
            has_video: false,
        })
    }

    /// For how long the upstream may give no sign.
    pub(super) fn patience(&self) -> Duration {
        self.app().publisher_timeout(&self.relay.core.limits())
    }

    /// The policy of the local stream.
    fn app(&self) -> Arc<AppConfig> {
        let Relay { core, stream, .. } = self.relay;
        core.app(stream).unwrap_or_else(|| Arc::new(core.config().default_app.clone()))
    }

    /// Whether the upstream is to be pinged: it has been silent, and not been asked, for half of `limit`.
    pub(super) fn may_ask(&mut self, limit: Duration) -> bool {
        let quiet = self.newest.max(self.answered).max(self.asked).elapsed() >= limit / 2;
        if quiet {
            self.asked = Instant::now();
        }
        quiet
    }

    pub(super) fn push(&mut self, frame: Frame) -> Result<(), AttemptError> {
        self.newest = Instant::now();
        let first = *self.first.get_or_insert(self.newest);
        add(&self.relay.counters.frames, 1);
        if self.publisher.is_none() && !self.may_begin(&frame, first) {
            return Ok(());
        }
        if self.gap.is_none() {
            self.gap = Some(MediaGap::new(&self.app(), &self.relay.core.limits()));
        }
        if let Some(gap) = &mut self.gap {
            gap.note(&frame, self.newest);
        }
        let publisher = match &self.publisher {
            Some(publisher) => publisher,
            None => {
                let publisher = self.begin(&frame)?;
                self.publisher.insert(publisher)
            }
        };
        publisher.push(frame).map_err(|reason| self.taken(&reason))
    }

    /// Whether the stream may be published from this frame on. What decoders need of what came before is kept.
    fn may_begin(&mut self, frame: &Frame, first: Instant) -> bool {
        let Some(Hold { least, most }) = self.terms.hold else { return true };
        self.has_video |= match frame.kind {
            FrameKind::Video => true,
            FrameKind::Audio => false,
            FrameKind::Data => frame.is_metadata() && announces_video(&frame.payload),
        };
        if frame.is_config() {
            remember_config(&mut self.headers, frame);
            return false;
        }
        let is_start = match frame.kind {
            FrameKind::Video => frame.flags.keyframe,
            FrameKind::Audio => !self.has_video,
            FrameKind::Data => false,
        };
        let held = first.elapsed();
        (is_start && held >= least) || held >= most
    }

    fn begin(&self, frame: &Frame) -> Result<Published, AttemptError> {
        let publisher = self.take_name()?;
        for header in self.headers.iter() {
            let header = Frame { timestamp: frame.timestamp, ..header.clone() };
            publisher.push(header).map_err(|reason| self.taken(&reason))?;
        }
        self.relay.recovered();
        self.terms.begun.send_replace(Some(self.newest));
        Ok(publisher)
    }

    fn take_name(&self) -> Result<Published, AttemptError> {
        let Self { relay, terms: Terms { source, rules, .. }, .. } = self;
        if relay.core.is_loop(&relay.stream, &self.hops) {
            return Err(loops(relay));
        }
        let published = match self.terms.of {
            Owner::Relay => Published::by_engine(&relay.core, &relay.stream, source, &self.hops, rules),
            Owner::Origin => Published::by_origin(&relay.core, &relay.stream, source, &self.hops, rules),
        };
        published.map_err(|error| AttemptError::held_back(error.kind(), error.to_string()))
    }

    /// Warns of an upstream that sends more than anybody expects, and ends the connection of one that sends more than a
    /// publisher may.
    pub(super) fn check_pace(&mut self, received: Received) -> Result<(), AttemptError> {
        let Relay { stream, url, .. } = self.relay;
        match self.pace.look(received, &self.relay.core.limits()) {
            Verdict::Fine => Ok(()),
            Verdict::Fast(speed) => {
                tracing::warn!(%stream, %url, "the upstream sends fast: {speed}");
                Ok(())
            }
            Verdict::TooFast(speed) => {
                Err(self.leave(ErrorKind::Limit, format!("the upstream {}", speed.words())))
            }
        }
    }

    /// Shows a silent upstream in the state, and ends the connection where that lasts and it does not answer either: of a
    /// still picture there may be one frame in minutes.
    pub(super) fn check_silence(&mut self, answers: u64, limit: Duration) -> Result<(), AttemptError> {
        self.relay.tell_left_out();
        if self.answers != answers {
            (self.answers, self.answered) = (answers, Instant::now());
        }
        let silence = self.newest.elapsed();
        if silence.min(self.answered.elapsed()) >= limit {
            let text = format!("the upstream has sent no media for {} ms", limit.as_millis());
            return Err(AttemptError::lost(ErrorKind::Timeout, text));
        }
        if self.gap.as_ref().and_then(MediaGap::over_at).is_some_and(|over| over <= Instant::now()) {
            return Err(self.without_media());
        }
        self.relay.enter(if silence >= limit / 4 { RelayState::Stalled } else { RelayState::Playing });
        Ok(())
    }

    /// The upstream gives signs of life, but there is nothing to see or hear.
    fn without_media(&mut self) -> AttemptError {
        let words = self.gap.as_ref().map(MediaGap::words).unwrap_or_default();
        self.leave(ErrorKind::Timeout, format!("the upstream has sent {words}"))
    }

    /// Leaves the local stream with a reason; its viewers wait for the next connection.
    fn leave(&mut self, kind: ErrorKind, reason: String) -> AttemptError {
        if let Some(publisher) = self.publisher.take() {
            publisher.leave(&reason);
        }
        AttemptError::lost(kind, reason)
    }

    /// The local name has been taken away.
    pub(super) fn taken(&self, reason: &EndReason) -> AttemptError {
        AttemptError::held_back(ErrorKind::Closed, format!("local stream {}: {reason}", self.relay.stream))
    }

    /// Waits until it is.
    pub(super) async fn ended(&self) -> EndReason {
        match &self.publisher {
            Some(publisher) => publisher.ended().await,
            None => std::future::pending().await,
        }
    }

    /// The stream has ended upstream, in good order.
    pub(super) fn upstream_ended(&mut self) -> AttemptError {
        let reason = "the stream has ended upstream";
        match self.terms.of {
            Owner::Relay => self.finish(),
            Owner::Origin => drop(self.leave(ErrorKind::NotFound, reason.to_owned())),
        }
        AttemptError::lost(ErrorKind::NotFound, reason).meaning(Meaning::Over)
    }

    /// Ends the local stream in good order, unless another relay is to go on with it.
    pub(super) fn finish(&mut self) {
        match self.publisher.take() {
            Some(publisher) if self.relay.is_replaced() => publisher.leave("replaced"),
            Some(publisher) => publisher.finish("unpublished"),
            None => {}
        }
    }
}

fn loops(relay: &Relay) -> AttemptError {
    let text =
        format!("relay loop: the stream comes from {} of this engine; give it another name", relay.stream);
    AttemptError::held_back(ErrorKind::Limit, text)
}
