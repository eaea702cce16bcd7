//! Who may publish, who does, and what the application is told of it.
//!
//! Everything here happens on the server's dispatcher, one after the other; handlers of the application run without a lock.

use super::counters::{Received, Totals};
use super::reader::{Command, Commands, ReaderEvent, Reading};
use super::settings::{self, OnDisconnect, Settings, Takeover};
use crate::dispatcher::Dispatcher;
use crate::host::{self, Owner};
use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use streamengine::{
    Action, AuthRequest, Claims, EndReason, Engine, Event, Grant, Printable, PublisherConfig, Secret,
    SessionId, StreamKey, StreamName, Ticket,
};

/// See the module.
pub(super) struct Publishers {
    element: glib::WeakRef<super::RtmpServerSrc>,
    settings: Arc<Mutex<Settings>>,
    totals: Arc<Totals>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// While the element is paused or plays.
    run: Option<Run>,
    serial: u64,
}

/// What is needed to take publishers in.
struct Run {
    engine: Engine,
    dispatcher: Dispatcher,
    commands: Commands,
    current: Option<Publisher>,
    /// Those that have been replaced and not yet been read to their end.
    leaving: Vec<Publisher>,
    waits: Waits,
}

/// Whether another publisher may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waits {
    /// Nobody has come since then.
    Since(Instant),
    /// There is one.
    Not,
    /// The stream has ended.
    Over,
}

struct Publisher {
    serial: u64,
    session: Option<SessionId>,
    stream: StreamKey,
    info: gst::Structure,
    received: Arc<Received>,
    since: Instant,
    is_published: bool,
    /// Why it has left.
    left: Option<String>,
    /// Its frames have been read to the end.
    is_read: bool,
}

impl Publishers {
    pub(super) fn new(
        element: &super::RtmpServerSrc,
        settings: Arc<Mutex<Settings>>,
        totals: Arc<Totals>,
    ) -> Arc<Self> {
        Arc::new(Self { element: element.downgrade(), settings, totals, state: Mutex::default() })
    }

    /// From now on publishers are let in.
    pub(super) fn start(self: &Arc<Self>, engine: Engine, dispatcher: Dispatcher, commands: Commands) {
        let waits = Waits::Since(Instant::now());
        let run = Run { engine, dispatcher, commands, current: None, leaving: Vec::new(), waits };
        self.state.lock().run = Some(run);
        self.check_wait();
    }

    /// Nobody is let in any more; whoever is there is closed.
    pub(super) fn stop(self: &Arc<Self>) {
        let Some(mut run) = self.state.lock().run.take() else { return };
        let reason = "the receiving pipeline has stopped";
        let mut all = std::mem::take(&mut run.leaving);
        if let Some(current) = run.current.take() {
            // Whoever has not begun yet finds nobody who answers.
            let _ = run.engine.kick_publisher(&current.stream, reason);
            all.push(current);
        }
        let this = self.clone();
        run.dispatcher.post(move || {
            for publisher in all.into_iter().filter(|publisher| publisher.is_published) {
                let reason = publisher.left.clone().unwrap_or_else(|| reason.to_owned());
                this.tell_removed(&publisher, &reason);
            }
        });
    }

    /// Closes the publisher; false where there is none.
    pub(super) fn kick(&self, reason: &str) -> bool {
        let state = self.state.lock();
        let current = state.run.as_ref().and_then(|run| Some((run, run.current.as_ref()?)));
        current.is_some_and(|(run, current)| run.engine.kick_publisher(&current.stream, reason).is_ok())
    }

    /// Looks at timeouts that were set anew.
    pub(super) fn settings_changed(self: &Arc<Self>) {
        if let Some(run) = &self.state.lock().run {
            run.commands.wake();
        }
        self.check_wait();
    }

    /// Adds the present publisher to `stats`.
    pub(super) fn add_to(&self, stats: &mut gst::StructureRef) {
        let state = self.state.lock();
        if let Some(current) = state.run.as_ref().and_then(|run| run.current.as_ref())
            && current.is_published
        {
            stats.set("publisher", current.stats());
        }
    }

    fn refuse(&self, ticket: Ticket, reason: &str) {
        self.totals.refused.fetch_add(1, Ordering::Relaxed);
        ticket.reject(reason);
    }

    /// Lets a publisher in that has been found worthy, unless that has become impossible meanwhile.
    fn admit(&self, request: &AuthRequest, info: gst::Structure, ticket: Ticket) {
        let takeover = self.settings.lock().takeover;
        let mut state = self.state.lock();
        let State { run, serial } = &mut *state;
        let verdict = run.as_mut().ok_or(NOT_RUNNING).and_then(|run| run.make_room(takeover).map(|()| run));
        let run = match verdict {
            Ok(run) => run,
            Err(reason) => return self.refuse(ticket, reason),
        };
        let stream = request.stream().clone();
        let subscriber = match run.engine.subscribe(&stream) {
            Ok(subscriber) => subscriber,
            Err(error) => return self.refuse(ticket, &error.to_string()),
        };
        *serial += 1;
        let received = Arc::<Received>::default();
        let reading = Reading { serial: *serial, subscriber, received: received.clone() };
        run.commands.send(Command::Read(Box::new(reading)));
        run.waits = Waits::Not;
        run.current = Some(Publisher {
            serial: *serial,
            session: request.session,
            stream,
            info,
            received,
            since: Instant::now(),
            is_published: false,
            left: None,
            is_read: false,
        });
        ticket.accept(Grant::default().publisher(terms(takeover)));
    }

    fn on_publish(&self, id: SessionId) {
        let mut state = self.state.lock();
        let current = state.run.as_mut().and_then(|run| run.current.as_mut());
        let Some(current) = current.filter(|current| current.session == Some(id)) else { return };
        current.is_published = true;
        let info = current.info.clone();
        drop(state);
        self.totals.publishers.fetch_add(1, Ordering::Relaxed);
        self.emit("stream-started", &[&info]);
        self.post("added", info);
    }

    /// A connection that was let in has ended without publishing.
    fn on_never_published(self: &Arc<Self>, id: SessionId) {
        let mut state = self.state.lock();
        let Some(run) = &mut state.run else { return };
        let is_it = |publisher: &Publisher| publisher.session == Some(id) && !publisher.is_published;
        let Some(gone) = run.current.take_if(|current| is_it(current)) else {
            return run.leaving.retain(|publisher| !is_it(publisher));
        };
        run.commands.send(Command::Forget(gone.serial));
        run.waits = Waits::Since(Instant::now());
        drop(state);
        self.check_wait();
    }

    fn on_left(self: &Arc<Self>, id: SessionId, reason: &str) {
        let publisher = self.state.lock().run.as_mut().and_then(|run| {
            let publisher =
                run.find(|publisher| publisher.session == Some(id) && publisher.left.is_none())?;
            publisher.left = Some(reason.to_owned());
            run.take_gone()
        });
        self.conclude(publisher);
    }

    /// What the reader reports.
    pub(super) fn on_reader_event(self: &Arc<Self>, event: ReaderEvent) {
        match event {
            ReaderEvent::ReadToEnd(serial, end) => self.on_read(serial, &end),
            ReaderEvent::Idle(serial, silence) => self.on_idle(serial, silence),
            ReaderEvent::NothingToEnd => self.fail("The stream has ended before a publisher came"),
        }
    }

    fn on_read(self: &Arc<Self>, serial: u64, end: &EndReason) {
        let publisher = self.state.lock().run.as_mut().and_then(|run| {
            if *end == EndReason::Lagging
                && let Some(current) = run.current.as_ref().filter(|current| current.serial == serial)
            {
                // It has gone already, or goes now.
                let _ = run.engine.kick_publisher(&current.stream, "its frames were not taken in time");
            }
            run.find(|publisher| publisher.serial == serial)?.is_read = true;
            run.take_gone()
        });
        self.conclude(publisher);
    }

    fn on_idle(&self, serial: u64, silence: Duration) {
        let state = self.state.lock();
        let Some(run) = &state.run else { return };
        if let Some(current) = run.current.as_ref().filter(|current| current.serial == serial) {
            let reason = format!("no media for {} ms", silence.as_millis());
            // It may just have left.
            let _ = run.engine.kick_publisher(&current.stream, &reason);
        }
    }

    /// A publisher has left and all it sent has been read.
    fn conclude(self: &Arc<Self>, publisher: Option<Publisher>) {
        let Some(publisher) = publisher else { return };
        let reason = publisher.left.clone().unwrap_or_default();
        self.tell_removed(&publisher, &reason);
        let on_disconnect = self.settings.lock().on_disconnect;
        let mut state = self.state.lock();
        let Some(run) = state.run.as_mut().filter(|run| run.current.is_none()) else { return };
        match on_disconnect {
            OnDisconnect::Wait => {
                run.waits = Waits::Since(Instant::now());
                drop(state);
                self.check_wait();
            }
            OnDisconnect::Eos => run.end(),
            OnDisconnect::Error => {
                run.waits = Waits::Over;
                drop(state);
                let address = publisher.info.get::<String>("address").unwrap_or_default();
                self.fail(&format!("The publisher {address} of {} has left: {reason}", publisher.stream));
            }
        }
    }

    /// Looks whether the wait for a publisher has been too long, now and when it will be.
    fn check_wait(self: &Arc<Self>) {
        let (allowed, on_disconnect) = {
            let settings = self.settings.lock();
            (settings::timeout(settings.wait_timeout), settings.on_disconnect)
        };
        let mut state = self.state.lock();
        let (Some(run), Some(allowed)) = (&mut state.run, allowed) else { return };
        let Waits::Since(since) = run.waits else { return };
        let left = allowed.saturating_sub(since.elapsed());
        if !left.is_zero() {
            let this = Arc::downgrade(self);
            return run.dispatcher.post_after(left, move || {
                if let Some(this) = this.upgrade() {
                    this.check_wait();
                }
            });
        }
        if on_disconnect == OnDisconnect::Eos {
            return run.end();
        }
        run.waits = Waits::Over;
        drop(state);
        self.fail(&format!("Nobody has published for {} ms", allowed.as_millis()));
    }

    fn fail(&self, text: &str) {
        if let Some(element) = self.element.upgrade() {
            let uri = self.settings.lock().uri();
            let message = host::failure(gst::ResourceError::Read, &format!("{uri}: {text}"));
            element.imp().post_error_message(message);
        }
    }

    fn tell_removed(&self, publisher: &Publisher, reason: &str) {
        let stats = publisher.stats();
        self.emit("stream-ended", &[&reason, &stats]);
        let mut told = stats;
        told.set("reason", reason);
        self.post("removed", told);
    }

    fn emit(&self, signal: &str, values: &[&dyn ToValue]) {
        if let Some(element) = self.element.upgrade() {
            element.emit_by_name::<()>(signal, values);
        }
    }

    /// The same as an element message, for those who watch the bus.
    fn post(&self, state: &str, mut publisher: gst::Structure) {
        if let Some(element) = self.element.upgrade() {
            publisher.set("state", state);
            let _ = element.post_message(gst::message::Element::builder(publisher).src(&element).build());
        }
    }
}

const NOT_RUNNING: &str = "the receiving pipeline does not run";

impl Owner for Arc<Publishers> {
    fn authorize(&self, request: AuthRequest, ticket: Ticket) {
        if request.action == Action::Play {
            return ticket.reject("this stream can only be published to");
        }
        let key = self.settings.lock().publish_key.clone();
        if !is_right(key.as_ref(), &request.name) {
            return self.refuse(
                ticket,
                match key {
                    Some(_) => "wrong or missing publish key; use STREAM?key=KEY or STREAM:KEY",
                    None => "the name has a colon, which is for a publish key and none is set",
                },
            );
        }
        let takeover = self.settings.lock().takeover;
        // Asked again when the application has answered.
        let possible = match &self.state.lock().run {
            Some(run) => run.may_come(takeover),
            None => Err(NOT_RUNNING),
        };
        if let Err(reason) = possible {
            return self.refuse(ticket, reason);
        }
        let info = info(&request);
        let Some(element) = self.element.upgrade() else { return };
        if !element.emit_by_name::<bool>("publisher-connecting", &[&info]) {
            return self.refuse(ticket, "refused by the receiving application");
        }
        if !ticket.is_abandoned() {
            self.admit(&request, info, ticket);
        }
    }

    fn event(&self, event: &Event) {
        match event {
            Event::StreamStarted { session: Some(id), .. } => self.on_publish(*id),
            Event::StreamEnded { session: Some(id), reason, .. } => self.on_left(*id, reason),
            Event::Refused { session, .. } | Event::SessionClosed { session, .. } => {
                self.on_never_published(*session)
            }
            _ => {}
        }
    }
}

impl Run {
    fn may_come(&self, takeover: Takeover) -> Result<(), &'static str> {
        match (self.waits, takeover) {
            (Waits::Over, _) => Err("the receiving pipeline's stream has ended"),
            (Waits::Not, Takeover::Reject) => Err("already publishing: there is a publisher"),
            _ => Ok(()),
        }
    }

    /// Closes the present publisher where a newcomer may replace it.
    fn make_room(&mut self, takeover: Takeover) -> Result<(), &'static str> {
        self.may_come(takeover)?;
        if let Some(current) = self.current.take() {
            // The stream ends by that, so that the newcomer's is another one. Whoever has not begun yet is closed too.
            let reason = "taken over by another publisher";
            if self.engine.kick_publisher(&current.stream, reason).is_err()
                && let Some(session) = current.session
            {
                let _ = self.engine.kick(session, reason);
                self.commands.send(Command::Forget(current.serial));
            }
            self.leaving.push(current);
        }
        Ok(())
    }

    fn find(&mut self, is_it: impl Fn(&Publisher) -> bool) -> Option<&mut Publisher> {
        self.leaving.iter_mut().chain(self.current.as_mut()).find(|publisher| is_it(publisher))
    }

    /// A publisher that has left and has been read.
    fn take_gone(&mut self) -> Option<Publisher> {
        let is_gone = |publisher: &Publisher| publisher.left.is_some() && publisher.is_read;
        let index = self.leaving.iter().position(is_gone);
        match index {
            Some(index) => Some(self.leaving.swap_remove(index)),
            None => self.current.take_if(|current| is_gone(current)),
        }
    }

    fn end(&mut self) {
        self.waits = Waits::Over;
        self.commands.send(Command::End);
    }
}

impl Publisher {
    fn stats(&self) -> gst::Structure {
        let mut stats = self.info.clone();
        stats.set("connected-time", self.since.elapsed().as_nanos() as u64);
        self.received.add_to(&mut stats);
        stats
    }
}

/// The stream ends with its publisher: the next one begins a new one.
fn terms(takeover: Takeover) -> PublisherConfig {
    PublisherConfig::default().resume_window_ms(0).takeover(match takeover {
        Takeover::Reject => streamengine::Takeover::Reject,
        Takeover::Replace => streamengine::Takeover::Replace,
    })
}

/// Where no key is set, none may be in the name: two names would be one stream.
fn is_right(key: Option<&Secret>, name: &StreamName) -> bool {
    key.map_or(name.secret.is_empty(), |key| name.has_key(key))
}

/// What the application is told of a publisher: nothing that may be secret.
fn info(request: &AuthRequest) -> gst::Structure {
    let agent = request.claims.get(Claims::AGENT).map(|agent| Printable(agent).to_string());
    gst::Structure::builder("rtmpserversrc-publisher")
        .field("id", request.session.map(host::public_id).unwrap_or_default())
        .field("address", request.peer.to_string())
        .field("application", request.stream().app())
        .field("stream", request.stream().stream())
        .field("tls", request.protocol.is_tls())
        .field_if_some("agent", agent)
        .build()
}
