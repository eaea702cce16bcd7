//! Streams that the engine publishes by itself: from relay pulls and from files.

use crate::config::PublisherConfig;
use crate::events::Event;
use crate::hub::{EndReason, PublishRequest, Publisher, StreamPolicy};
use crate::key::StreamKey;
use crate::limits::ms;
use crate::media::Frame;
use crate::service::Core;
use crate::{Error, ErrorKind, Result};
use std::sync::Arc;

/// The right to publish a stream, with the events that belong to it. Dropping it is being lost: players stay for
/// the app's resume window.
pub(crate) struct LocalPublisher {
    core: Arc<Core>,
    key: StreamKey,
    /// Taken when it ends on purpose.
    publisher: Option<Publisher>,
}

impl LocalPublisher {
    /// Takes the right to publish `key` by the app's rules. `source` names the relay or file; it doubles as the
    /// principal, so that a job that comes back may take its own stalled stream over, and nobody else's.
    pub(crate) fn take(core: &Arc<Core>, key: &StreamKey, source: &str, hops: Vec<String>) -> Result<Self> {
        Self::take_with(core, key, source, hops, &PublisherConfig::default())
    }

    /// [`Self::take`] with rules of its own where `wishes` has some.
    pub(crate) fn take_with(
        core: &Arc<Core>,
        key: &StreamKey,
        source: &str,
        hops: Vec<String>,
        wishes: &PublisherConfig,
    ) -> Result<Self> {
        let app = core.app(key).ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("local stream {key}: the app is not configured"))
        })?;
        let request = PublishRequest {
            takeover: wishes.takeover.unwrap_or(app.takeover),
            resume_window: ms(wishes.resume_window_ms.unwrap_or(app.resume_window_ms)),
            principal: Some(source.to_owned()),
            hops,
            source: source.to_owned(),
        };
        let publisher = core
            .hub
            .publish(key, request)
            .map_err(|refusal| Error::new(ErrorKind::Exists, format!("local stream {key}: {refusal}")))?;
        let (stream, source) = (key.clone(), source.to_owned());
        core.events.emit(Event::Publish { stream, session: None, source });
        Ok(Self { core: core.clone(), key: key.clone(), publisher: Some(publisher) })
    }

    /// The stream's name.
    pub(crate) fn key(&self) -> &StreamKey {
        &self.key
    }

    /// Gives a frame to all subscribers; the error says why the right to publish is gone.
    pub(crate) fn push(&self, frame: Frame) -> Result<(), EndReason> {
        self.publisher.as_ref().map_or(Err(EndReason::Unpublished), |publisher| publisher.push(frame))
    }

    /// Decides about the stream's readers.
    pub(crate) fn set_policy(&self, policy: StreamPolicy) {
        if let Some(publisher) = &self.publisher {
            publisher.set_policy(policy);
        }
    }

    /// Waits until the right to publish is taken away.
    pub(crate) async fn ended(&self) -> EndReason {
        match &self.publisher {
            Some(publisher) => publisher.ended().await,
            None => EndReason::Unpublished,
        }
    }

    /// Ends the stream on purpose: players get their end at once.
    pub(crate) fn finish(mut self) {
        if let Some(publisher) = self.publisher.take() {
            publisher.finish();
            self.tell("unpublished");
        }
    }

    fn tell(&self, reason: &str) {
        let (stream, reason) = (self.key.clone(), reason.to_owned());
        self.core.events.emit(Event::Unpublish { stream, session: None, reason });
    }
}

impl Drop for LocalPublisher {
    fn drop(&mut self) {
        if self.publisher.take().is_some() {
            self.tell("lost");
        }
    }
}
