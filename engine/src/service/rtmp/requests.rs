//! What peers ask for, `connect`, `publish` and `play`, and what comes of it.

use super::end::End;
use super::{Connection, Published};
use crate::auth::{Action, AuthRequest, Grant};
use crate::egress::{Clock, Delivery, Framing, RtmpFraming};
use crate::events::Event;
use crate::hops;
use crate::hub::{EndReason, Interest, PublishRequest, SubscribeOptions};
use crate::key::{Printable, StreamKey, StreamName};
use crate::limits::ms;
use crate::media::{Frame, FrameKind};
use crate::net::Sink;
use crate::proto::server::{Connect, Play, Publish, Rejection};
use crate::status::SessionRole;
use bytes::Bytes;
use rml_amf0::Amf0Value;
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncRead;
use tokio::time::Instant;

/// When a new player is pinged first, which tells how far away it is: not in the burst of its start.
const FIRST_PING: Duration = Duration::from_millis(500);

/// What an accepted `connect` said.
pub(super) struct Hello {
    app: String,
    object: Arc<HashMap<String, Amf0Value>>,
    hops: Vec<String>,
}

/// A `publish` or `play` that waits for the authoriser.
pub(super) struct WaitingRequest {
    action: Action,
    stream_id: u32,
    key: StreamKey,
    /// What a player's URL asks for.
    latency_ms: Option<u64>,
    pub(super) verdict: Pin<Box<dyn Future<Output = Result<Grant, String>> + Send>>,
}

impl<R: AsyncRead + Unpin, W: Sink> Connection<R, W> {
    pub(super) fn on_connect(&mut self, connect: Connect) -> Result<(), End> {
        if let Some(Amf0Value::Utf8String(agent)) = connect.object.get("flashVer") {
            self.entry.set_agent(agent);
        }
        if connect.hops.contains(&self.core.id) {
            let text = "relay loop: the stream has already passed this server";
            return self.refuse("connect", None, "NetConnection.Connect.Rejected", text);
        }
        if connect.hops.len() > hops::MAX {
            let text = format!("relay loop: the stream has passed more than {} servers", hops::MAX);
            return self.refuse("connect", None, "NetConnection.Connect.Rejected", text);
        }
        if !self.may_lead_to_app(&connect.app) {
            self.log_unknown_app(&connect.app);
            return self.refuse(
                "connect",
                None,
                "NetConnection.Connect.InvalidApp",
                "there is no such app here",
            );
        }
        let Connect { app, object, hops, .. } = connect;
        self.hello = Some(Hello { app, object: Arc::new(object), hops });
        self.rtmp.accept();
        Ok(())
    }

    /// Whether a stream name behind `app` can make a known app of it: `live` + `room/a` is in the app `live/room`.
    fn may_lead_to_app(&self, app: &str) -> bool {
        let apps = &self.core.config.apps;
        let name = app.split('?').next().unwrap_or_default().trim_matches('/');
        let leads_to = |known: &String| {
            name.is_empty()
                || known.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        apps.is_empty() || apps.keys().any(leads_to)
    }

    fn log_unknown_app(&self, app: &str) {
        let app = app.split('?').next().unwrap_or_default();
        let known: Vec<_> = self.core.config.apps.keys().map(String::as_str).collect();
        tracing::warn!(
            session = %self.entry.id(), peer = %self.peer.addr, app = %Printable(app),
            "unknown app; the configuration has: {}", known.join(", ")
        );
    }

    pub(super) fn on_publish(&mut self, publish: Publish) -> Result<(), End> {
        self.ask(Action::Publish, publish.stream_id, &publish.name)
    }

    pub(super) fn on_play(&mut self, play: Play) -> Result<(), End> {
        self.ask(Action::Play, play.stream_id, &play.name)
    }

    /// Checks a request's name and app and puts it to the authoriser.
    fn ask(&mut self, action: Action, stream_id: u32, name: &str) -> Result<(), End> {
        let Some(hello) = &self.hello else { return Err(End::cut("publish or play without connect")) };
        let name = match StreamName::parse(&hello.app, name) {
            Ok(name) => name,
            Err(error) => return self.refuse_stream(action, None, bad_name(action), error.to_string()),
        };
        let key = name.key.clone();
        let latency_ms = name.query_value("latency").and_then(|value| value.parse().ok());
        if self.core.app(&key).is_none() {
            self.log_unknown_app(key.app());
            return self.refuse_stream(action, Some(key), bad_name(action), "there is no such app here");
        }
        let mut request = AuthRequest::new(action, name, self.peer.addr, self.peer.tls, hello.object.clone());
        request.session = Some(self.entry.id());
        let core = self.core.clone();
        let verdict = Box::pin(async move { core.auth.decide(request).await });
        self.wake_flag.raise();
        self.waiting = Some(WaitingRequest { action, stream_id, key, latency_ms, verdict });
        Ok(())
    }

    pub(super) fn on_verdict(&mut self, verdict: Result<Grant, String>) -> Result<(), End> {
        let Some(WaitingRequest { action, stream_id, key, latency_ms, .. }) = self.waiting.take() else {
            return Ok(());
        };
        match (action, verdict) {
            (_, Err(reason)) => self.refuse_stream(action, Some(key), denied(action), reason),
            (Action::Publish, Ok(grant)) => self.start_publish(stream_id, key, grant),
            (Action::Play, Ok(_)) => self.start_play(stream_id, key, latency_ms),
        }
    }

    fn start_publish(&mut self, stream_id: u32, key: StreamKey, grant: Grant) -> Result<(), End> {
        #[cfg(test)]
        assert_ne!(key.stream(), super::tests::PANIC_STREAM, "injected");
        let (Some(app), Some(hello)) = (self.core.app(&key), &self.hello) else { return Ok(()) };
        let wishes = grant.publisher;
        let request = PublishRequest {
            takeover: wishes.takeover.unwrap_or(app.takeover),
            resume_window: ms(wishes.resume_window_ms.unwrap_or(app.resume_window_ms)),
            principal: grant.principal,
            hops: hello.hops.clone(),
            source: self.peer.addr.to_string(),
        };
        match self.core.hub.publish(&key, request) {
            Err(refusal) => self.refuse_stream(
                Action::Publish,
                Some(key),
                "NetStream.Publish.BadName",
                refusal.to_string(),
            ),
            Ok(publisher) => {
                self.rtmp.accept();
                self.wake_flag.raise();
                let lost = Box::pin(publisher.ended());
                self.publishes.push(Published { stream_id, publisher, lost, last_media: Instant::now() });
                self.on_granted(SessionRole::Publisher, &key);
                tracing::info!(session = %self.entry.id(), peer = %self.peer.addr, stream = %key, "publish");
                let (session, source) = (Some(self.entry.id()), self.peer.addr.to_string());
                self.emit(Event::Publish { stream: key, session, source });
                Ok(())
            }
        }
    }

    fn start_play(&mut self, stream_id: u32, key: StreamKey, latency_ms: Option<u64>) -> Result<(), End> {
        let (Some(app), Some(hello)) = (self.core.app(&key), &self.hello) else { return Ok(()) };
        if self.core.hub.hops(&key).iter().any(|passed| hello.hops.contains(passed)) {
            let text = "relay loop: the stream comes from the server that asks for it";
            return self.refuse_stream(Action::Play, Some(key), "NetStream.Play.Failed", text);
        }
        let wait = ms(app.wait_for_publisher_ms);
        let start = self.core.hub.start(&key).unwrap_or(app.start);
        let options = SubscribeOptions { start, wait: Some(wait), interest: Interest::Viewer };
        let mut subscriber = self.core.hub.subscribe(&key, options);
        if wait.is_zero() && subscriber.take(0, &mut Vec::new()) == Err(EndReason::NotPublished) {
            let text = EndReason::NotPublished.to_string();
            return self.refuse_stream(Action::Play, Some(key), "NetStream.Play.StreamNotFound", text);
        }
        self.rtmp.accept();
        let shard = self.core.egress.shard(&key, app.flush_for(latency_ms), subscriber.feed());
        self.output.lock().deliveries.push(Delivery::new(
            stream_id,
            Framing::Rtmp(RtmpFraming::player(stream_id)),
            Clock::Stream,
            subscriber,
            shard,
        ));
        self.next_ping = Instant::now() + FIRST_PING.min(ms(self.limits().ping_interval_ms));
        self.on_granted(SessionRole::Player, &key);
        let (session, peer) = (self.entry.id(), self.peer.addr);
        tracing::info!(%session, %peer, stream = %key, "play");
        self.emit(Event::Play { stream: key, session, peer });
        Ok(())
    }

    fn on_granted(&mut self, role: SessionRole, key: &StreamKey) {
        self.pending = None;
        self.idle_since = None;
        self.entry.set_role(role, key);
    }

    fn refuse_stream(
        &mut self,
        action: Action,
        key: Option<StreamKey>,
        code: &'static str,
        text: impl Into<String>,
    ) -> Result<(), End> {
        let request = match action {
            Action::Publish => "publish",
            Action::Play => "play",
        };
        self.refuse(request, key, code, text)
    }

    /// Tells the peer why its request is refused; the connection ends after that.
    fn refuse(
        &mut self,
        request: &'static str,
        stream: Option<StreamKey>,
        code: &'static str,
        text: impl Into<String>,
    ) -> Result<(), End> {
        let reason = text.into();
        self.rtmp.reject(&Rejection { code, description: reason.clone() });
        let end = match &stream {
            Some(key) => format!("{request} of {key} refused: {reason}"),
            None => format!("{request} refused: {reason}"),
        };
        let (session, peer) = (self.entry.id(), self.peer.addr);
        self.emit(Event::Refused { session, peer, request, stream, reason });
        Err(End::flush(end))
    }

    pub(super) fn on_media(
        &mut self,
        stream_id: u32,
        kind: FrameKind,
        timestamp: i64,
        payload: Bytes,
    ) -> Result<(), End> {
        let Some(index) = self.publishes.iter().position(|p| p.stream_id == stream_id) else { return Ok(()) };
        let Some(published) = self.publishes.get_mut(index) else { return Ok(()) };
        published.last_media = Instant::now();
        match published.publisher.push(Frame::new(kind, timestamp, payload)) {
            Ok(()) => Ok(()),
            Err(reason) => self.on_lost(index, &reason),
        }
    }

    /// The publisher ends its stream on purpose.
    pub(super) fn on_unpublish(&mut self, stream_id: u32) {
        if let Some(index) = self.publishes.iter().position(|p| p.stream_id == stream_id) {
            let published = self.publishes.swap_remove(index);
            self.emit_unpublish(published.publisher.key().clone(), &EndReason::Unpublished.to_string());
            published.publisher.finish();
        }
    }

    pub(super) fn on_stop_play(&mut self, stream_id: u32) {
        let mut output = self.output.lock();
        if let Some(index) = output.deliveries.iter().position(|p| p.id == stream_id) {
            let player = output.deliveries.swap_remove(index);
            drop(output);
            self.emit_stop(&player, "stopped by the player");
        }
    }

    pub(super) fn emit_unpublish(&self, stream: StreamKey, reason: &str) {
        let session = self.entry.id();
        tracing::info!(%session, peer = %self.peer.addr, %stream, "unpublish: {reason}");
        self.emit(Event::Unpublish { stream, session: Some(session), reason: reason.to_owned() });
    }

    pub(super) fn emit_stop(&self, player: &Delivery, reason: &str) {
        let (session, stream) = (self.entry.id(), player.key().clone());
        tracing::info!(%session, peer = %self.peer.addr, %stream, "stop: {reason}");
        let (bytes_sent, frames_dropped) = (player.bytes_sent(), player.skipped());
        let (reason, played) = (reason.to_owned(), player.played());
        self.emit(Event::Stop { stream, session, reason, bytes_sent, frames_dropped, played });
    }
}

fn bad_name(action: Action) -> &'static str {
    match action {
        Action::Publish => "NetStream.Publish.BadName",
        Action::Play => "NetStream.Play.StreamNotFound",
    }
}

fn denied(action: Action) -> &'static str {
    match action {
        Action::Publish => "NetStream.Publish.Denied",
        Action::Play => "NetStream.Play.Failed",
    }
}
