//! Who publishes a stream, as a value.

use super::rights::Ended;
use super::{Stream, StreamPolicy};
use crate::hub::{EndReason, Hub};
use crate::media::Frame;
use std::sync::Arc;

/// The right to publish one stream. Dropping it is being lost: subscribers stay for the resume window.
pub(crate) struct Publisher {
    hub: Hub,
    stream: Arc<Stream>,
    id: u64,
    ended: Ended,
}

impl Publisher {
    pub(in crate::hub) fn new(hub: Hub, stream: Arc<Stream>, id: u64, ended: Ended) -> Self {
        Self { hub, stream, id, ended }
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
