//! What the server asks and tells: who wants to play, who plays, where the targets stand. On the dispatcher.

use super::imp::RtmpRelaySink;
use super::inner_element::InnerSink;
use super::keyframes::{self, KeyframeAction};
use super::stats;
use super::targets::{TargetError, TargetUpdate};
use super::{CAT, RtmpRelaySink as Element, recorder};
use crate::host::{Owner, failure, public_id};
use crate::time::clock_time;
use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use std::time::Duration;
use streamengine::{Action, AuthRequest, Claims, Event, Grant, RelayStatus, SessionId, Ticket};

/// The element as the server knows it: it may be gone.
impl Owner for glib::WeakRef<Element> {
    fn authorize(&self, request: AuthRequest, ticket: Ticket) {
        match self.upgrade() {
            Some(element) => element.imp().on_request(&request, ticket),
            None => ticket.reject("the stream is gone"),
        }
    }

    fn event(&self, event: &Event) {
        if let Some(element) = self.upgrade() {
            element.imp().on_event(event);
        }
    }
}

impl RtmpRelaySink {
    fn on_request(&self, request: &AuthRequest, ticket: Ticket) {
        if request.action == Action::Publish {
            return ticket.reject("the server publishes this stream itself");
        }
        if ticket.is_abandoned() {
            return;
        }
        let info = player_info(request);
        if !self.obj().emit_by_name::<bool>("player-connecting", &[&info]) {
            return ticket.reject("refused by the server");
        }
        let max_players = self.settings.lock().max_players;
        match self.audience.grant(request.session, max_players) {
            true => ticket.accept(Grant::default()),
            false => ticket.reject("too many players"),
        }
    }

    fn on_event(&self, event: &Event) {
        match event {
            Event::PlayStarted { session, .. } => self.on_play(*session),
            Event::PlayEnded { session, reason, bytes_sent, frames_dropped, played, .. } => {
                self.audience.left(*session, *bytes_sent);
                let stats = gst::Structure::builder("rtmprelaysink-player")
                    .field("id", public_id(*session))
                    .field("bytes-sent", *bytes_sent)
                    .field("dropped", *frames_dropped)
                    .field("duration", clock_time(*played))
                    .build();
                self.on_stop(*session, reason, stats);
            }
            Event::Refused { session, .. } | Event::SessionClosed { session, .. } => {
                self.audience.forget(*session)
            }
            Event::RelayState(status) => self.on_relay(status),
            Event::RecordingState(status) => {
                self.post(recorder::info(status));
                if let Some((code, text)) = self.recorder.on_status(status) {
                    self.warn(code, &text);
                }
            }
            Event::RecordingFile(file) => self.post(recorder::file_info(file)),
            _ => {}
        }
    }

    fn on_play(&self, session: SessionId) {
        self.audience.joined(session);
        let id = public_id(session);
        let known = self.engine().and_then(|engine| engine.session(session));
        let info = known.as_ref().map_or_else(
            || gst::Structure::builder("rtmprelaysink-player").field("id", id).build(),
            stats::player,
        );
        let mut message = info.clone();
        message.set("event", "added");
        self.obj().emit_by_name::<()>("play-started", &[&id, &info]);
        self.post(message);
        self.want_keyframe();
    }

    fn on_stop(&self, session: SessionId, reason: &str, stats: gst::Structure) {
        let mut message = stats.clone();
        message.set("event", "removed");
        message.set("reason", reason);
        self.obj().emit_by_name::<()>("play-ended", &[&public_id(session), &reason, &stats]);
        self.post(message);
    }

    fn on_relay(&self, status: &RelayStatus) {
        let policy = self.settings.lock().error_policy;
        let (update, connected) = {
            let mut targets = self.targets.lock();
            (targets.on_status(status, policy), targets.connected())
        };
        self.audience.set_targets(connected);
        if let Some(update) = update {
            self.report(&update);
        }
    }

    fn report(&self, update: &TargetUpdate) {
        let TargetUpdate { id, state, info, warning, error, has_connected } = update;
        self.obj().emit_by_name::<()>("target-state", &[id, state, info]);
        self.post(info.clone());
        if let Some(TargetError { code, text }) = error {
            self.post_error_message(failure(*code, text));
        } else if let Some(TargetError { code, text }) = warning {
            self.warn(*code, text);
        }
        if *has_connected {
            self.want_keyframe();
        }
    }

    pub(super) fn warn(&self, code: gst::ResourceError, text: &str) {
        let message = gst::message::Warning::builder(code, text).src(&*self.obj()).build();
        let _ = self.obj().post_message(message);
    }

    pub(super) fn post(&self, structure: gst::Structure) {
        let message = gst::message::Element::builder(structure).src(&*self.obj()).build();
        // Without a bus nobody wants to know.
        let _ = self.obj().post_message(message);
    }

    /// Somebody has joined.
    fn want_keyframe(&self) {
        let settings = self.settings.lock().clone();
        if settings.request_keyframes {
            let interval = Duration::from_millis(settings.keyframe_interval_min.into());
            self.request_keyframe(self.keyframe_requests.wish(interval));
        }
    }

    fn request_keyframe(&self, step: KeyframeAction) {
        match step {
            KeyframeAction::Nothing => {}
            KeyframeAction::Ask(count) => self.ask_upstream(count),
            KeyframeAction::Later(wait) => {
                let weak = self.obj().downgrade();
                if let Some(dispatcher) = self.dispatcher() {
                    dispatcher.post_after(wait, move || {
                        if let Some(element) = weak.upgrade() {
                            let element = element.imp();
                            element.request_keyframe(element.keyframe_requests.due());
                        }
                    });
                }
            }
        }
    }

    fn ask_upstream(&self, count: u32) {
        for inner in self.inner_sinks() {
            let has_video =
                inner.downcast_ref::<InnerSink>().is_some_and(|inner| inner.content().has_video());
            if let Some(pad) = inner.static_pad("sink").filter(|_| has_video) {
                let taken = pad.push_event(keyframes::event(count));
                gst::debug!(CAT, imp = self, "keyframe asked for, taken by upstream: {taken}");
            }
        }
    }
}

/// What an application sees of a player that asks.
fn player_info(request: &AuthRequest) -> gst::Structure {
    let mut info = gst::Structure::builder("rtmprelaysink-player")
        .field("address", request.peer.to_string())
        .field("door", request.door.as_str())
        .field("tls", request.protocol.is_tls())
        .field("application", request.stream().app())
        .field("stream", request.stream().stream())
        .field("query", request.name.query.expose())
        .build();
    if let Some(session) = request.session {
        info.set("id", public_id(session));
    }
    let claims = [("agent", Claims::AGENT), ("page-url", Claims::PAGE), ("origin", Claims::ORIGIN)];
    for (field, name) in claims {
        if let Some(text) = request.claims.get(name) {
            info.set(field, text);
        }
    }
    info
}
