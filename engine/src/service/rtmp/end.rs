//! How connections end: reasons, what the peer is told, and the last bytes.

use super::{Connection, ONLY_LOOKED};
use crate::egress::{Delivery, LINGER};
use crate::hub::EndReason;
use crate::log_limit::left_out;
use crate::net::Sink;
use crate::proto::server::{Phase, Rejection};
use crate::proto::{ProtocolError, ProtocolErrorKind};
use crate::service::streams::ASKED;
use smallvec::SmallVec;
use tokio::io::AsyncRead;
use tracing::Level;

/// Why and how a connection ends.
#[derive(Debug)]
pub(super) struct End {
    pub(super) reason: String,
    farewell: Farewell,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Farewell {
    /// The peer is gone, hostile or stuck: nothing more is sent.
    Cut,
    /// What waits is sent first.
    Flush,
    /// The peer breaks the rules: it is told so, but is not waited for.
    Tell,
}

impl End {
    pub(super) fn cut(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), farewell: Farewell::Cut }
    }

    pub(super) fn flush(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), farewell: Farewell::Flush }
    }

    fn tell(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), farewell: Farewell::Tell }
    }
}

impl From<ProtocolError> for End {
    fn from(error: ProtocolError) -> Self {
        match error.kind {
            ProtocolErrorKind::Handshake => Self::cut(error.detail),
            _ => Self::tell(format!("protocol error: {error}")),
        }
    }
}

/// What a publisher is told when its right is taken away.
fn rejection(reason: &EndReason) -> Rejection {
    let code = match reason {
        EndReason::Shutdown => "NetConnection.Connect.AppShutdown",
        EndReason::Replaced => "NetStream.Publish.BadName",
        _ => "NetStream.Publish.Denied",
    };
    Rejection { code, description: reason.to_string() }
}

impl<R: AsyncRead + Unpin, W: Sink> Connection<R, W> {
    /// The hub has taken the right to publish away.
    pub(super) fn on_lost(&mut self, index: usize, reason: &EndReason) -> Result<(), End> {
        if *reason == EndReason::Shutdown {
            return Err(self.on_draining());
        }
        self.end_publish(index, reason);
        self.end_if_idle(reason.to_string())
    }

    /// A publisher has sent no media and answered no ping for too long. Its stream waits for its return.
    pub(super) fn on_silence(&mut self, index: usize) -> Result<(), End> {
        let published = self.publishes.swap_remove(index);
        let reason = published.publisher.silence_words();
        let told = Rejection { code: "NetStream.Publish.Idle", description: reason.clone() };
        self.rtmp.end_publish(published.stream_id, &told);
        published.publisher.leave(&reason);
        self.end_if_idle(reason)
    }

    /// The peer sends more than it may. Its streams wait for a publisher that keeps to the limit.
    pub(super) fn on_too_fast(&mut self, reason: &str) -> End {
        let told = Rejection { code: "NetStream.Publish.Denied", description: reason.to_owned() };
        for published in &self.publishes {
            self.rtmp.end_publish(published.stream_id, &told);
        }
        End::tell(reason)
    }

    /// The stream has ended for a player.
    pub(super) fn end_player(&mut self, index: usize, reason: &EndReason) -> Result<(), End> {
        if *reason == EndReason::Shutdown {
            return Err(self.on_draining());
        }
        let player = self.output.lock().deliveries.swap_remove(index);
        let text = reason.to_string();
        match reason {
            EndReason::NotPublished => {
                let not_found =
                    Rejection { code: "NetStream.Play.StreamNotFound", description: text.clone() };
                self.rtmp.fail_play(player.id, &not_found);
            }
            _ => self.rtmp.end_play(player.id, &text),
        }
        self.client.tell_stop(&player, &text);
        self.end_if_idle(text)
    }

    pub(super) fn on_kicked(&mut self, reason: &str) -> End {
        let reason = EndReason::Kicked(reason.to_owned());
        self.end_streams(&reason);
        End::flush(reason.to_string())
    }

    /// The engine drains, as its signal or the end of a stream says first. A peer that follows requests to connect anew
    /// (E-RTMP) is asked before the last frames: it can connect while it still takes them. All others end without.
    pub(super) fn on_draining(&mut self) -> End {
        if self.rtmp.request_reconnect(None, &EndReason::Shutdown.to_string()) {
            self.send_output();
        }
        self.output.lock().fill_rest();
        self.end_streams(&EndReason::Shutdown);
        End::flush(EndReason::Shutdown.to_string())
    }

    fn take_deliveries(&self) -> SmallVec<[Delivery; 1]> {
        self.output.lock().take_deliveries()
    }

    /// Tells the peer that everything on the connection is over, the request that waits included.
    fn end_streams(&mut self, reason: &EndReason) {
        while !self.publishes.is_empty() {
            self.end_publish(0, reason);
        }
        for player in self.take_deliveries() {
            self.rtmp.end_play(player.id, &reason.to_string());
            self.client.tell_stop(&player, &reason.to_string());
        }
        if self.waiting.take().is_some() {
            self.rtmp.reject(&rejection(reason));
        }
    }

    /// Ends a publish on purpose: there is nothing to come back to.
    fn end_publish(&mut self, index: usize, reason: &EndReason) {
        let published = self.publishes.swap_remove(index);
        self.rtmp.end_publish(published.stream_id, &rejection(reason));
        published.publisher.finish(&reason.to_string());
    }

    /// Closes the connection when the last of its streams has ended from our side.
    fn end_if_idle(&mut self, reason: String) -> Result<(), End> {
        if self.is_idle() { Err(End::flush(reason)) } else { Ok(()) }
    }

    /// Leaves the streams that are still there when the connection ends; publishers may come back to them.
    pub(super) fn leave_streams(&mut self, end: &End) {
        for published in std::mem::take(&mut self.publishes) {
            published.publisher.leave(&end.reason);
        }
        for player in self.take_deliveries() {
            self.client.tell_stop(&player, &end.reason);
        }
        self.waiting = None;
    }

    /// Sends what waits, closes our side and gives the peer a moment to close its own.
    pub(super) async fn farewell(&mut self, end: &End) {
        if end.farewell == Farewell::Cut {
            return;
        }
        let core = self.client.core();
        let time = match end.farewell {
            Farewell::Tell if !core.draining.is_cancelled() => core.farewell_time().min(LINGER.get()),
            _ => core.farewell_time(),
        };
        self.output.part(&mut self.reader, time).await;
    }

    /// Takes the connection off the list, then tells log and events that it has ended.
    pub(super) fn report(self, end: &End) {
        let (reason, is_granted) = (&end.reason, self.rtmp.phase() == Phase::Granted);
        let (pending, core) = (self.pending, self.client.core().clone());
        self.client.close(reason, |session, peer| match &pending {
            _ if reason == ONLY_LOOKED || reason == ASKED => {
                tracing::debug!(%session, %peer, "connection closed: {reason}");
            }
            Some(place) => {
                if let Some(more) = place.may_log() {
                    tracing::warn!(%session, %peer, left_out = left_out(more), "connection closed: {reason}");
                }
            }
            None if is_granted => {
                if let Some(left_out) = core.log.allow(peer.ip(), Level::INFO) {
                    tracing::info!(%session, %peer, left_out, "connection closed: {reason}");
                }
            }
            None => tracing::warn!(%session, %peer, "connection closed: {reason}"),
        });
    }
}
