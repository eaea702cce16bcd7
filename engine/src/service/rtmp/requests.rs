//! What peers ask for, `connect`, `publish` and `play`, and what comes of it.

use super::end::End;
use super::{Connection, Publish, Wake};
use crate::amf0::Amf0Value;
use crate::auth::{Action, Claims, Grant};
use crate::egress::{Clock, Delivery, Framing, RtmpFraming};
use crate::hub::EndReason;
use crate::key::{StreamKey, StreamName, canonical_app, is_app_of_origin};
use crate::limits::ms;
use crate::media::{Frame, FrameKind};
use crate::net::Sink;
use crate::proto::server::{self, Connect, Rejection};
use crate::service::streams::{Admitted, ConnectVerdict, Connected, Granted, PlayWishes, Refusal, Verdict};
use bytes::Bytes;
use std::collections::HashMap;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::AsyncRead;
use tokio::time::Instant;

/// When a new player is pinged first, which tells how far away it is: not in the burst of its start.
const FIRST_PING: Duration = Duration::from_millis(500);

/// A request that waits.
pub(super) enum Waiting {
    Connect(ConnectVerdict),
    Stream(WaitingRequest),
}

impl Waiting {
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Wake> {
        match self {
            Self::Connect(verdict) => verdict.as_mut().poll(cx).map(Wake::Connected),
            Self::Stream(request) => request.verdict.as_mut().poll(cx).map(Wake::Verdict),
        }
    }
}

/// A `publish` or `play` that waits for the deciders, or for a stream of an origin.
pub(super) struct WaitingRequest {
    action: Action,
    stream_id: u32,
    /// The name that is told if it is refused.
    told: Option<StreamKey>,
    /// What a player's URL asks for.
    wishes: PlayWishes,
    /// It may play a stream of an origin, and waits for that.
    is_fetched: bool,
    verdict: Verdict,
}

impl WaitingRequest {
    fn is_to_be_fetched(&self, key: &StreamKey) -> bool {
        self.action == Action::Play && key.is_of_origin() && !self.is_fetched
    }
}

impl<R: AsyncRead + Unpin, W: Sink> Connection<R, W> {
    pub(super) fn on_connect(&mut self, connect: Connect) -> Result<(), End> {
        let Connect { app, object, hops, .. } = connect;
        if let Err(refusal) = self.client.introduce(claims(&object), hops) {
            return self.refuse("connect", None, "NetConnection.Connect.Rejected", &refusal);
        }
        if !self.may_lead_to_app(&app) {
            return self.refuse_app(&app);
        }
        match self.client.ask_to_connect(&app) {
            Some(verdict) => {
                self.waiting = Some(Waiting::Connect(verdict));
                self.wake_flag.raise();
                Ok(())
            }
            None => self.accept_connect(app),
        }
    }

    /// It is decided whether the peer may connect, and to which app.
    pub(super) fn on_connected(&mut self, verdict: Result<Connected, Refusal>) -> Result<(), End> {
        if self.waiting.take().is_none() {
            return Ok(());
        }
        match verdict {
            Ok(Connected { app, .. }) if !self.may_lead_to_app(&app) => self.refuse_app(&app),
            Ok(Connected { app, proven }) => {
                self.client.set_proven(proven);
                self.accept_connect(app)
            }
            Err(refusal) => self.refuse("connect", None, "NetConnection.Connect.Rejected", &refusal),
        }
    }

    fn refuse_app(&mut self, app: &str) -> Result<(), End> {
        self.client.log_no_such_app(app);
        self.refuse("connect", None, "NetConnection.Connect.InvalidApp", &Refusal::NoSuchApp)
    }

    fn accept_connect(&mut self, app: String) -> Result<(), End> {
        self.app = Some(app);
        self.rtmp.accept();
        self.client.session().set_follows_reconnects(self.rtmp.follows_reconnects());
        Ok(())
    }

    /// Whether a stream name behind `app` can make a known app of it: `live` + `room/a` is in the app `live/room`.
    fn may_lead_to_app(&self, app: &str) -> bool {
        let config = self.client.core().config();
        let apps = &config.apps;
        let name = canonical_app(app);
        let leads_to = |known: &String| {
            name.is_empty()
                || known.strip_prefix(&name).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        apps.is_empty() || is_app_of_origin(&name) || apps.keys().any(leads_to)
    }

    pub(super) fn on_publish(&mut self, publish: server::Publish) -> Result<(), End> {
        self.ask(Action::Publish, publish.stream_id, &publish.name)
    }

    pub(super) fn on_play(&mut self, play: server::Play) -> Result<(), End> {
        self.ask(Action::Play, play.stream_id, &play.name)
    }

    /// Checks a request's name and puts it to the deciders.
    fn ask(&mut self, action: Action, stream_id: u32, name: &str) -> Result<(), End> {
        let Some(app) = &self.app else { return Err(End::cut("publish or play without connect")) };
        let name = self.client.name(action, app, name);
        let told = name.as_ref().ok().and_then(StreamName::tellable);
        let wishes = name.as_ref().map(PlayWishes::of).unwrap_or_default();
        let verdict = self.client.ask(action, name);
        self.wake_flag.raise();
        // Whoever waits for us is not idle: the time for a request begins anew after a refusal.
        self.idle_since = None;
        let request = WaitingRequest { action, stream_id, told, wishes, is_fetched: false, verdict };
        self.waiting = Some(Waiting::Stream(request));
        Ok(())
    }

    pub(super) fn on_verdict(&mut self, verdict: Result<Granted, Refusal>) -> Result<(), End> {
        let Some(Waiting::Stream(waiting)) = self.waiting.take() else { return Ok(()) };
        let WaitingRequest { action, stream_id, wishes, .. } = waiting;
        let Granted { key, mut grant } = match verdict {
            Ok(granted) if waiting.is_to_be_fetched(&granted.key) => {
                self.wait_for_stream(waiting, granted);
                return Ok(());
            }
            Ok(granted) => granted,
            Err(refusal) => return self.refuse_stream(action, waiting.told, &refusal),
        };
        self.client.hold(&mut grant);
        let started = match action {
            Action::Publish => self.start_publish(stream_id, &key, *grant),
            Action::Play => self.start_play(stream_id, &key, wishes),
        };
        started.or_else(|refusal| self.refuse_stream(action, Some(key), &refusal))
    }

    /// Somebody may play a stream of an origin: the answer follows when that has come. Its place is no longer one of those who
    /// have been granted nothing: an audience that comes at once waits at once.
    fn wait_for_stream(&mut self, waiting: WaitingRequest, granted: Granted) {
        let (fetched, told) = (self.client.fetch(&granted.key), Some(granted.key.clone()));
        let verdict = Box::pin(async move { fetched.await.map(|()| granted) });
        self.waiting = Some(Waiting::Stream(WaitingRequest { told, is_fetched: true, verdict, ..waiting }));
        self.pending = None;
        self.wake_flag.raise();
    }

    fn start_publish(&mut self, stream_id: u32, key: &StreamKey, grant: Grant) -> Result<(), Refusal> {
        let publisher = self.client.publish(key, grant)?;
        self.publishes.push(Publish { stream_id, publisher });
        self.wake_flag.raise();
        self.on_granted();
        Ok(())
    }

    fn start_play(&mut self, stream_id: u32, key: &StreamKey, wishes: PlayWishes) -> Result<(), Refusal> {
        let Admitted { subscriber, shard } = self.client.play(key, wishes)?;
        let framing = Framing::Rtmp(RtmpFraming::player(stream_id));
        let delivery = Delivery::new(stream_id, framing, Clock::Stream, subscriber, shard);
        self.output.lock().deliveries.push(delivery);
        self.next_ping = Instant::now() + FIRST_PING.min(ms(self.limits().ping_interval_ms));
        self.on_granted();
        Ok(())
    }

    /// What is played on the connection is another stream from now on, where that may be played.
    pub(super) fn redirect(&mut self, key: &StreamKey) {
        let ids: Vec<_> = self.output.lock().deliveries.iter().map(|player| player.id).collect();
        for id in ids {
            let Ok(Admitted { subscriber, shard }) = self.client.play(key, PlayWishes::default()) else {
                continue;
            };
            let framing = Framing::Rtmp(RtmpFraming::player(id));
            let next = Delivery::new(id, framing, Clock::Stream, subscriber, shard);
            let mut output = self.output.lock();
            let player = output.deliveries.iter_mut().find(|player| player.id == id);
            let before = player.map(|player| std::mem::replace(player, next));
            drop(output);
            if let Some(before) = before {
                self.client.tell_stop(&before, &format!("moved to {key} by the operator"));
            }
        }
    }

    fn on_granted(&mut self) {
        self.rtmp.accept();
        self.pending = None;
        self.idle_since = None;
    }

    fn refuse_stream(
        &mut self,
        action: Action,
        key: Option<StreamKey>,
        refusal: &Refusal,
    ) -> Result<(), End> {
        self.refuse(action.as_str(), key, status_code(action, refusal), refusal)
    }

    /// Tells the peer why its request is refused; the connection ends after that, unless something else goes on on it.
    fn refuse(
        &mut self,
        request: &'static str,
        stream: Option<StreamKey>,
        code: &'static str,
        refusal: &Refusal,
    ) -> Result<(), End> {
        self.rtmp.reject(&Rejection { code, description: refusal.to_peer().into_owned() });
        let end = match (&stream, refusal) {
            (_, Refusal::Asked(_)) => refusal.to_string(),
            (Some(key), _) => format!("{request} of {key} refused: {refusal}"),
            (None, _) => format!("{request} refused: {refusal}"),
        };
        self.client.tell_refused(request, stream, refusal);
        if self.rtmp.is_closing() { Err(End::flush(end)) } else { Ok(()) }
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
        match published.publisher.push(Frame::new(kind, timestamp, payload)) {
            Ok(()) => Ok(()),
            Err(reason) => self.on_lost(index, &reason),
        }
    }

    /// The publisher ends its stream on purpose.
    pub(super) fn on_unpublish(&mut self, stream_id: u32) {
        if let Some(index) = self.publishes.iter().position(|p| p.stream_id == stream_id) {
            let published = self.publishes.swap_remove(index);
            published.publisher.finish(&EndReason::Unpublished.to_string());
        }
    }

    pub(super) fn on_stop_play(&mut self, stream_id: u32) {
        let mut output = self.output.lock();
        if let Some(index) = output.deliveries.iter().position(|p| p.id == stream_id) {
            let player = output.deliveries.swap_remove(index);
            drop(output);
            self.client.tell_stop(&player, "stopped by the player");
        }
    }
}

/// What an encoder or player says of itself: the texts of `connect`, and its numbers and booleans as texts.
fn claims(object: &HashMap<String, Amf0Value>) -> Claims {
    let text = |value: &Amf0Value| match value {
        Amf0Value::Utf8String(text) => Some(text.clone()),
        Amf0Value::Number(number) => Some(number.to_string()),
        Amf0Value::Boolean(value) => Some(value.to_string()),
        _ => None,
    };
    let fields: Vec<_> = object.iter().filter_map(|(name, value)| Some((name, text(value)?))).collect();
    Claims::new(fields.iter().map(|(name, text)| (name.as_str(), text.as_str())))
}

/// The status code of a refusal (7.2.2 of the RTMP specification names some; encoders know the others).
fn status_code(action: Action, refusal: &Refusal) -> &'static str {
    match (action, refusal) {
        (Action::Publish, Refusal::Denied(_) | Refusal::TooManyStreams(_)) => "NetStream.Publish.Denied",
        (Action::Publish, _) => "NetStream.Publish.BadName",
        (
            Action::Play,
            Refusal::Denied(_)
            | Refusal::Loop(_)
            | Refusal::Full
            | Refusal::TooManyViewers
            | Refusal::Unreachable
            | Refusal::Busy(_),
        ) => "NetStream.Play.Failed",
        (Action::Play, _) => "NetStream.Play.StreamNotFound",
    }
}
