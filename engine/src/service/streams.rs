//! The one place where streams are asked for, published and played, whatever the door: authorise, grant, hub, session,
//! event, log.
//!
//! A door (RTMP, HTTP) speaks its protocol: it opens a [`Client`], asks for what the peer wants, and tells the peer what
//! comes of it in the protocol's words. The engine's own streams (files, relay pulls, the embedding program) need nobody's
//! leave and come in by [`Published::by_engine`].

use crate::address::Held;
use crate::auth::{
    AUTH_FAILED, Action, AuthRequest, Claims, Door, Grant, NoGrant, Outcome, Proven, without_answer,
    without_answers,
};
use crate::config::{self, AppConfig, PublisherConfig, SubscriberConfig};
use crate::egress::{Delivery, ShardHandle};
use crate::events::Event;
use crate::hub::{
    self, EndReason, Interest, PublishRefusal, PublishRequest, Publisher, SubscribeOptions, Subscriber,
};
use crate::id::SessionId;
use crate::key::{KeyError, Printable, StreamKey, StreamName};
use crate::limits::ms;
use crate::media::Frame;
use crate::origins::{self, Missing};
use crate::policy::{StartAt, StreamPolicy};
use crate::service::media_gap::MediaGap;
use crate::service::pace::{BitRate, Verdict as PaceVerdict};
use crate::service::{Core, Target};
use crate::sessions::{Measured, Session};
use crate::status::{Protocol, SessionRole, StreamState};
use crate::{Error, ErrorKind, Result, hops};
use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;
use tracing::Level;

/// Why a connection ends whose peer comes again with a user and a password.
pub(crate) const ASKED: &str = "user and password are asked for (publish.authmod_adobe)";

/// Why somebody does not get a stream. Each door has its own codes for them; the words are the same on all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// What was asked for is no name of a stream.
    BadName(KeyError),
    /// The configuration lists apps, and this one is not among them.
    NoSuchApp,
    /// The authoriser's words.
    Denied(String),
    /// User and password are asked for, in these words: it is to connect again with more.
    Asked(String),
    /// It has not shown a password that is good; why not, in words that it does not get.
    NotProven(String),
    /// The stream would come back to where it has been.
    Loop(String),
    /// Somebody else publishes it.
    Taken(PublishRefusal),
    /// Nobody publishes it, and nobody waits for that.
    NotPublished,
    /// It is fetched from an origin: nobody else publishes it.
    Reserved,
    /// The page of a site asks that may not publish here.
    #[cfg(feature = "http")]
    OtherSite,
    /// No origin of it could be reached, or those that could have not got it.
    Unreachable,
    /// As many streams are fetched from origins as may be, in words.
    Busy(&'static str),
    /// There are as many connections as players may have.
    Full,
    /// Its address publishes as many streams as it may.
    TooManyStreams(usize),
    /// The stream has as many players as it may have.
    TooManyViewers,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadName(error) => error.fmt(f),
            Self::NoSuchApp => f.write_str(
                "there is no such app here: the server's configuration lists others ([apps.NAME])",
            ),
            Self::Denied(text) | Self::Loop(text) | Self::NotProven(text) => f.write_str(text),
            Self::Asked(_) => f.write_str(ASKED),
            Self::Taken(refusal) => refusal.fmt(f),
            Self::NotPublished => EndReason::NotPublished.fmt(f),
            Self::TooManyStreams(most) => write!(
                f,
                "too many streams of this address: {most} at most, those included whose publisher may come back \
                 (limits.max_streams_per_address)"
            ),
            Self::Reserved => f.write_str(config::RESERVED),
            #[cfg(feature = "http")]
            Self::OtherSite => {
                f.write_str("a page of another site asks, which is not in http.publish_origins")
            }
            Self::Unreachable => f.write_str("the origins of this stream cannot be reached"),
            Self::Busy(text) => f.write_str(text),
            Self::Full => f.write_str("the server is full: it has as many players as it may have"),
            Self::TooManyViewers => {
                f.write_str("the stream has as many players as it may have (max_viewers)")
            }
        }
    }
}

impl Refusal {
    /// What the peer is told.
    pub(crate) fn to_peer(&self) -> Cow<'_, str> {
        match self {
            Self::Asked(text) => text.into(),
            Self::NotProven(_) => AUTH_FAILED.into(),
            other => other.to_string().into(),
        }
    }
}

impl From<origins::Refused> for Refusal {
    fn from(refused: origins::Refused) -> Self {
        match refused {
            origins::Refused::Missing(Missing::NotFound) => Self::NotPublished,
            origins::Refused::Missing(Missing::Unreachable) => Self::Unreachable,
            origins::Refused::TooManyStreams => {
                Self::Busy("as many streams of this origin are fetched as may be (max_streams)")
            }
            origins::Refused::TooManyAtOnce => Self::Busy(
                "as many streams are asked for at origins as may be at a time (limits.origin_pulls); try again in a second",
            ),
        }
    }
}

/// Whether a stream may be played, when that is known.
pub(crate) type Fetched = Pin<Box<dyn Future<Output = Result<(), Refusal>> + Send>>;

/// The deciders' answer, when it comes.
pub(crate) type Verdict = Pin<Box<dyn Future<Output = Result<Granted, Refusal>> + Send>>;

/// Whether somebody may connect, when that is known.
pub(crate) type ConnectVerdict = Pin<Box<dyn Future<Output = Result<Connected, Refusal>> + Send>>;

/// Somebody may connect.
#[derive(Debug)]
pub(crate) struct Connected {
    /// The app: the one that it has sent, or another that it gets.
    pub(crate) app: String,
    /// What it has shown that it has.
    pub(crate) proven: Option<Proven>,
}

/// What somebody may do.
#[derive(Debug)]
pub(crate) struct Granted {
    /// The stream, by its public name.
    pub(crate) key: StreamKey,
    pub(crate) grant: Box<Grant>,
}

/// A connection as the engine knows it: its place in the list of sessions, and what its peer says of itself.
pub(crate) struct Client {
    core: Arc<Core>,
    session: Session,
    peer: SocketAddr,
    door: Door,
    protocol: Protocol,
    claims: Claims,
    /// What it has shown at `connect` that it has.
    proven: Option<Proven>,
    /// Its address does not tell who it is.
    is_brought: bool,
    /// Streams of engines that its stream has been.
    hops: Vec<String>,
    /// Whether it has asked for a stream; the first time is part of the connection's start.
    has_asked: bool,
}

/// What a player asks for in the query of its URL, by whatever door. Values that mean nothing here are not heard.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct PlayWishes {
    pub(crate) start: Option<StartAt>,
    /// It wants to begin so long ago, as far as that is held.
    pub(crate) back: Option<Duration>,
    pub(crate) latency_ms: Option<u64>,
}

impl PlayWishes {
    pub(crate) fn of(name: &StreamName) -> Self {
        let start = name.query_value("start").unwrap_or_default();
        Self {
            start: match start.as_str() {
                "keyframe" => Some(StartAt::Keyframe),
                "live-edge" => Some(StartAt::LiveEdge),
                _ => None,
            },
            back: start.strip_prefix('-').and_then(|time| time.parse().ok()).map(ms),
            latency_ms: name.query_value("latency").and_then(|value| value.parse().ok()),
        }
    }
}

/// A stream that a client may play.
pub(crate) struct Admitted {
    pub(crate) subscriber: Subscriber,
    /// Who writes to it while it has caught up.
    pub(crate) shard: ShardHandle,
}

impl Client {
    /// Puts a connection on the list and tells that it is there; `output` counts what it carries.
    pub(crate) fn open(
        core: Arc<Core>,
        peer: SocketAddr,
        door: Door,
        protocol: Protocol,
        output: Arc<dyn Measured>,
    ) -> Self {
        let session = core.sessions.open(SessionId::new(), peer, door, protocol.is_tls(), output);
        core.events.emit(Event::SessionOpened { session: session.id(), peer });
        Self {
            core,
            session,
            peer,
            door,
            protocol,
            claims: Claims::default(),
            proven: None,
            is_brought: false,
            hops: Vec::new(),
            has_asked: false,
        }
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.core
    }

    pub(crate) fn id(&self) -> SessionId {
        self.session.id()
    }

    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    /// Notes what the peer says of itself; refuses streams that have passed too many engines.
    pub(crate) fn introduce(&mut self, claims: Claims, hops: Vec<String>) -> Result<(), Refusal> {
        if let Some(agent) = claims.get(Claims::AGENT) {
            self.session.set_agent(agent);
        }
        self.session.set_origin(claims.get(Claims::PAGE), claims.get("swfUrl"));
        if hops.len() > hops::MAX.get() {
            let text = format!("relay loop: the stream has passed more than {} servers", hops::MAX.get());
            return Err(Refusal::Loop(text));
        }
        (self.claims, self.hops) = (claims, hops);
        Ok(())
    }

    /// Asks whether the peer may connect, where somebody decides that; `app` is what it has sent.
    pub(crate) fn ask_to_connect(&mut self, app: &str) -> Option<ConnectVerdict> {
        match self.prove(app) {
            Some(proving) => {
                self.claims = without_answers(&self.claims);
                let app = without_answer(app).to_owned();
                let asks_service = self.asks_service(&app);
                Some(Box::pin(async move {
                    let proven = Some(proving.await?);
                    match asks_service() {
                        Some(asking) => Ok(Connected { proven, ..asking.await? }),
                        None => Ok(Connected { app, proven }),
                    }
                }))
            }
            None => self.asks_service(app)(),
        }
    }

    /// The peer's step on the way to be known by user and password, where it has to go that way.
    fn prove(&self, app: &str) -> Option<impl Future<Output = Result<Proven, Refusal>> + Send + 'static> {
        let exchange = self.core.exchange()?;
        let step = exchange.step(app, &self.claims)?;
        let (core, peer) = (self.core.clone(), self.peer.ip());
        Some(async move {
            match core.auth().judge(peer, exchange.take(step, peer)).await {
                Ok(Outcome::Proven(proven)) => Ok(proven),
                Ok(Outcome::Ask(text)) => Err(Refusal::Asked(text)),
                Err(NoGrant::Refused(reason)) => Err(Refusal::NotProven(reason)),
                Err(NoGrant::Failed(reason)) => Err(Refusal::Denied(reason)),
            }
        })
    }

    /// What tells the operator's service who has come, and asks it where it decides.
    #[cfg(feature = "http")]
    fn asks_service(&self, app: &str) -> impl FnOnce() -> Option<ConnectVerdict> + Send + 'static {
        let (core, session, peer) = (self.core.clone(), self.id(), self.peer);
        let (claims, app, measured) = (self.claims.clone(), app.to_owned(), self.session.measured());
        move || {
            let hooks = core.hooks.clone()?;
            hooks.note_connect(session, peer, claims, &app, measured);
            hooks.decides_connect().then(|| -> ConnectVerdict {
                Box::pin(async move {
                    let judged = core.auth().judge(peer.ip(), hooks.connect(session)).await;
                    let other = judged.map_err(|refusal| Refusal::Denied(refusal.into_words()))?;
                    Ok(Connected { app: other.unwrap_or(app), proven: None })
                })
            })
        }
    }

    #[cfg(not(feature = "http"))]
    fn asks_service(&self, _app: &str) -> impl FnOnce() -> Option<ConnectVerdict> + Send + 'static {
        || None
    }

    /// Notes what it has shown that it has.
    pub(crate) fn set_proven(&mut self, proven: Option<Proven>) {
        self.proven = proven;
    }

    /// Notes that its address does not tell who it is: a proxy asks for it, or may.
    #[cfg(feature = "http")]
    pub(crate) fn set_brought(&mut self) {
        self.is_brought = true;
    }

    /// Takes the name of a request apart.
    pub(crate) fn name(&self, action: Action, app: &str, name: &str) -> Result<StreamName, Refusal> {
        self.core.auth().parse_name(action, app, name).map_err(Refusal::BadName)
    }

    /// Asks the deciders whether the peer may publish or play a stream, when it is the peer's turn. A name that is none is
    /// refused in its turn, too: whatever is asked for has an event.
    pub(crate) fn ask(&mut self, action: Action, name: Result<StreamName, Refusal>) -> Verdict {
        let is_first = !std::mem::replace(&mut self.has_asked, true);
        let request = name.and_then(|name| self.request(action, name));
        let (core, peer) = (self.core.clone(), self.peer.ip());
        Box::pin(async move {
            if !is_first {
                core.starts.turn(peer).await;
            }
            let request = request?;
            let (action, asked) = (request.action, request.name.key.clone());
            let mut grant = Box::new(core.auth().decide(request).await.map_err(Refusal::Denied)?);
            let key = grant.stream.take().unwrap_or(asked);
            check_not_reserved(action, &key)?;
            if let Some(url) = grant.pull.take().filter(|_| action == Action::Play) {
                core.relays.pull(&key, url);
            }
            Ok(Granted { key, grant })
        })
    }

    /// Has a stream of an origin fetched, and waits until it has come; all others may be played as they are. Does nothing
    /// before it is polled: to be waited for once the peer may play the stream.
    pub(crate) fn fetch(&self, key: &StreamKey) -> Fetched {
        let (core, key, hops) = (self.core.clone(), key.clone(), self.hops.clone());
        Box::pin(async move {
            if !key.is_of_origin() {
                return Ok(());
            }
            if hops.len() >= hops::MAX.get() || hops.contains(&core.hop(&key)) {
                return Err(Refusal::Loop("relay loop: the stream would be fetched for itself".to_owned()));
            }
            Ok(core.origins.want(&key, &hops)?.over().await?)
        })
    }

    fn request(&self, action: Action, name: StreamName) -> Result<AuthRequest, Refusal> {
        check_not_reserved(action, &name.key)?;
        self.app(&name.key)?;
        let mut request = AuthRequest::new(action, name, self.peer, self.door, self.protocol);
        request.claims = self.claims.clone();
        request.session = Some(self.id());
        request.proven = self.proven.clone();
        request.is_brought = self.is_brought;
        #[cfg(feature = "http")]
        if let Some(hooks) = &self.core.hooks {
            hooks.note_request(&request, self.session.measured());
        }
        Ok(request)
    }

    /// Notes what was shown for a grant, and how long that lasts.
    pub(crate) fn hold(&self, grant: &mut Grant) {
        self.session.hold(grant.credential.take(), grant.lasts);
    }

    /// Takes the right to publish that has been granted.
    pub(crate) fn publish(&self, key: &StreamKey, grant: Grant) -> Result<ConnectionPublisher, Refusal> {
        if self.core.is_loop(key, &self.hops) {
            let text =
                format!("relay loop: the stream comes from {key} of this server; give it another name");
            return Err(Refusal::Loop(text));
        }
        let (app, source) = (self.app(key)?, self.peer.to_string());
        let max_kbps = grant.publisher.max_kbps;
        let mut request = publish_request(&app, &grant.publisher, source, grant.principal, &self.hops);
        request.place = Some(self.place(key)?);
        let before = self.core.hub.stream(key).map(|info| info.state);
        let published = Published::take(&self.core, key, request, Some((self.id(), self.peer.ip())))?;
        let granted: Vec<_> = grant.push.into_iter().map(Target::from).collect();
        // Pages choose where their streams go. What goes on goes where it went until then, so that targets do not see a page return.
        match before {
            Some(StreamState::Live | StreamState::Away) if self.door == Door::WebSocket => {
                self.core.relays.push_besides(key, granted.clone());
            }
            _ => self.core.relays.push(key, granted.clone()),
        }
        self.session.set_role(SessionRole::Publisher, key);
        published.tell_begin();
        let limits = self.core.limits();
        let (patience, gap) = (app.publisher_timeout(&limits), MediaGap::new(&app, &limits));
        let bit_rate = max_kbps.or(app.max_kbps).map(BitRate::new);
        Ok(ConnectionPublisher { granted, ..ConnectionPublisher::new(published, patience, gap, bit_rate) })
    }

    /// A place for a stream among those of the peer's address; who returns to a stream has it still.
    fn place(&self, key: &StreamKey) -> Result<Arc<Held>, Refusal> {
        let (core, peer) = (&self.core, self.peer.ip());
        let own = core.hub.place(key).filter(|place| place.is_of(peer));
        let place = own.or_else(|| core.places.take(peer).map(Arc::new));
        place.ok_or(Refusal::TooManyStreams(core.limits().max_streams_per_address))
    }

    /// Lets the peer play a stream as it wishes, else in the rhythm of its app, and from where publisher and app have it.
    pub(crate) fn play(&self, key: &StreamKey, wishes: PlayWishes) -> Result<Admitted, Refusal> {
        let mut subscriber = self.admit(key, wishes.start)?;
        if let Some(time) = wishes.back {
            subscriber.go_back(time);
        }
        let flush = self.app(key)?.flush_for(wishes.latency_ms);
        let shard = self.core.egress.shard(key, flush, subscriber.feed());
        self.tell_play_begun(key);
        Ok(Admitted { subscriber, shard })
    }

    /// Lets the peer watch a stream that it gets piece by piece. It is one of the stream's viewers as long as what comes of this is
    /// held; nothing has to be taken.
    #[cfg(feature = "http")]
    pub(crate) fn watch(&self, key: &StreamKey) -> Result<Subscriber, Refusal> {
        let subscriber = self.admit(key, None)?;
        self.tell_play_begun(key);
        Ok(subscriber)
    }

    /// The same of a stream that has ended, of which it gets what is held.
    #[cfg(feature = "http")]
    pub(crate) fn watch_the_rest(&self, key: &StreamKey) -> Result<(), Refusal> {
        self.check_place(key)?;
        self.tell_play_begun(key);
        Ok(())
    }

    fn admit(&self, key: &StreamKey, start: Option<StartAt>) -> Result<Subscriber, Refusal> {
        let (app, hub) = (self.check_place(key)?, &self.core.hub);
        let wait = ms(app.wait_for_publisher_ms);
        let start = start.or_else(|| hub.start(key)).unwrap_or(app.start);
        let options = SubscribeOptions { start, wait: Some(wait), interest: Interest::Viewer };
        let subscriber = hub.subscribe_as_player(key, options, app.max_viewers);
        let subscriber = subscriber.map_err(|hub::Full| Refusal::TooManyViewers)?;
        if wait.is_zero() && subscriber.end() == Some(EndReason::NotPublished) {
            return Err(Refusal::NotPublished);
        }
        Ok(subscriber)
    }

    /// The app of a stream where there is room for another player, and it is none that the stream comes from.
    fn check_place(&self, key: &StreamKey) -> Result<Arc<AppConfig>, Refusal> {
        let app = self.app(key)?;
        if self.core.sessions.count() > self.core.limits().player_places() {
            return Err(Refusal::Full);
        }
        let comes_from_it = || {
            let upstream = self.core.upstream(vec![self.core.hop(key)]);
            self.hops.iter().any(|hop| upstream.contains(hop))
        };
        if !self.hops.is_empty() && comes_from_it() {
            let text = "relay loop: the stream comes from the one that it is asked for";
            return Err(Refusal::Loop(text.to_owned()));
        }
        Ok(app)
    }

    fn tell_play_begun(&self, key: &StreamKey) {
        self.session.set_role(SessionRole::Player, key);
        let (session, peer, door) = (self.id(), self.peer, self.door);
        if let Some(left_out) = self.core.log.allow(peer.ip(), Level::INFO) {
            tracing::info!(%session, %peer, stream = %key, left_out, "play");
        }
        self.core.events.emit(Event::PlayStarted { stream: key.clone(), session, peer, door });
    }

    /// Tells that a player has left a stream.
    pub(crate) fn tell_stop(&self, delivery: &Delivery, reason: &str) {
        let (sent, skipped) = (delivery.bytes_sent(), delivery.skipped());
        self.tell_play_ended(delivery.key(), sent, skipped, delivery.played(), reason);
    }

    /// The same of one that has waited for so long, and got nothing.
    #[cfg(feature = "http")]
    pub(crate) fn tell_unplayed(&self, admitted: &Admitted, waited: Duration, reason: &str) {
        self.tell_play_ended(admitted.subscriber.key(), 0, 0, waited, reason);
    }

    /// The same of one that has watched piece by piece.
    #[cfg(feature = "http")]
    pub(crate) fn tell_watched(&self, key: &StreamKey, sent: u64, watched: Duration, reason: &str) {
        self.tell_play_ended(key, sent, 0, watched, reason);
    }

    fn tell_play_ended(
        &self,
        stream: &StreamKey,
        bytes_sent: u64,
        frames_dropped: u64,
        played: Duration,
        reason: &str,
    ) {
        let (session, stream, reason) = (self.id(), stream.clone(), reason.to_owned());
        if let Some(left_out) = self.core.log.allow(self.peer.ip(), Level::INFO) {
            tracing::info!(%session, peer = %self.peer, %stream, left_out, "stop: {reason}");
        }
        self.core.events.emit(Event::PlayEnded {
            stream,
            session,
            reason,
            bytes_sent,
            frames_dropped,
            played,
        });
    }

    /// Tells that a request (`connect`, `publish` or `play`) was refused. Who is asked for a password comes again.
    pub(crate) fn tell_refused(&self, request: &'static str, stream: Option<StreamKey>, refusal: &Refusal) {
        if matches!(refusal, Refusal::Asked(_)) {
            return;
        }
        let (session, peer, reason) = (self.id(), self.peer, refusal.to_string());
        self.core.events.emit(Event::Refused { session, peer, request, stream, reason });
    }

    /// Takes the connection off the list, then has `log` written and events told that it has ended.
    pub(crate) fn close(self, reason: &str, log: impl FnOnce(SessionId, SocketAddr)) {
        let Self { core, session, peer, .. } = self;
        let id = session.id();
        drop(session);
        log(id, peer);
        core.events.emit(Event::SessionClosed { session: id, peer, reason: reason.to_owned() });
    }

    /// Logs that a peer asks for an app that the configuration does not have.
    pub(crate) fn log_no_such_app(&self, app: &str) {
        let app = app.split('?').next().unwrap_or_default();
        let Some(left_out) = self.core.log.allow(self.peer.ip(), Level::WARN) else { return };
        let config = self.core.config();
        let known: Vec<_> = config.apps.keys().map(String::as_str).collect();
        tracing::warn!(
            session = %self.id(), peer = %self.peer, app = %Printable(app), left_out,
            "unknown app; the configuration has: {}", known.join(", ")
        );
    }

    fn app(&self, key: &StreamKey) -> Result<Arc<AppConfig>, Refusal> {
        self.core.app(key).ok_or_else(|| {
            self.log_no_such_app(key.app());
            Refusal::NoSuchApp
        })
    }
}

/// What is fetched from origins is published by the engine alone.
fn check_not_reserved(action: Action, key: &StreamKey) -> Result<(), Refusal> {
    match action == Action::Publish && key.is_of_origin() {
        true => Err(Refusal::Reserved),
        false => Ok(()),
    }
}

/// A stream that the embedding program reads: nobody has to allow that.
pub(crate) fn subscribe_by_program(
    core: &Core,
    key: &StreamKey,
    config: &SubscriberConfig,
) -> Result<Subscriber> {
    let app = core.app(key).ok_or_else(|| no_such_app(key))?;
    let (start, wait) = (config.start.unwrap_or(app.start), config.wait_for_publisher_ms.map(ms));
    let options = SubscribeOptions { start, wait, interest: Interest::Viewer };
    let mut subscriber = core.hub.subscribe(key, options);
    if let Some(time) = config.back_ms {
        subscriber.go_back(ms(time));
    }
    if key.is_of_origin() {
        // Where it is not to be had, nobody publishes it.
        let _ = core.origins.want(key, &[]);
    }
    Ok(subscriber)
}

fn no_such_app(key: &StreamKey) -> Error {
    Error::new(ErrorKind::NotFound, format!("stream {key}: the configuration has no app {}", key.app()))
}

fn publish_request(
    app: &AppConfig,
    wishes: &PublisherConfig,
    source: String,
    principal: Option<String>,
    hops: &[String],
) -> PublishRequest {
    PublishRequest {
        takeover: wishes.takeover.unwrap_or(app.takeover),
        resume_window: ms(wishes.resume_window_ms.unwrap_or(app.resume_window_ms)),
        resume_after_end: app.resume_after_end,
        principal,
        hops: hops.to_vec(),
        policy: wishes.policy().or(app.policy()),
        source,
        // Nothing is counted of the engine's own.
        place: None,
    }
}

/// The right to publish a stream, with the events that belong to it. Dropping it is being lost: players stay for the
/// resume window.
pub(crate) struct Published {
    core: Arc<Core>,
    key: StreamKey,
    /// The publisher's connection, where it is one, and its address.
    session: Option<(SessionId, IpAddr)>,
    source: String,
    /// Taken when it ends.
    publisher: Option<Publisher>,
}

impl Published {
    /// Publishes a stream of the engine's own. `source` names the relay, file or program; it doubles as the principal, so
    /// that a job that comes back may take its own stalled stream over, and nobody else's.
    pub(crate) fn by_engine(
        core: &Arc<Core>,
        key: &StreamKey,
        source: &str,
        hops: &[String],
        wishes: &PublisherConfig,
    ) -> Result<Self> {
        config::check_not_of_origin(key)?;
        Self::by_origin(core, key, source, hops, wishes)
    }

    /// The same of a stream of an origin.
    pub(crate) fn by_origin(
        core: &Arc<Core>,
        key: &StreamKey,
        source: &str,
        hops: &[String],
        wishes: &PublisherConfig,
    ) -> Result<Self> {
        let app = core.app(key).ok_or_else(|| no_such_app(key))?;
        let request = publish_request(&app, wishes, source.to_owned(), Some(source.to_owned()), hops);
        let published = Self::take(core, key, request, None)
            .map_err(|refusal| Error::new(ErrorKind::Exists, format!("local stream {key}: {refusal}")))?;
        published.tell_begin();
        Ok(published)
    }

    fn take(
        core: &Arc<Core>,
        key: &StreamKey,
        request: PublishRequest,
        session: Option<(SessionId, IpAddr)>,
    ) -> Result<Self, Refusal> {
        let source = request.source.clone();
        let publisher = core.hub.publish(key, request).map_err(Refusal::Taken)?;
        Ok(Self { core: core.clone(), key: key.clone(), session, source, publisher: Some(publisher) })
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

    /// Waits until the right to publish is taken away. The future does not borrow.
    pub(crate) fn ended(&self) -> impl Future<Output = EndReason> + Send + 'static + use<> {
        let ended = self.publisher.as_ref().map(Publisher::ended);
        async move {
            match ended {
                Some(ended) => ended.await,
                None => EndReason::Unpublished,
            }
        }
    }

    /// Ends the stream on purpose: players get their end at once.
    pub(crate) fn finish(mut self, reason: &str) {
        if let Some(publisher) = self.publisher.take() {
            publisher.finish();
            self.tell_end(reason);
        }
    }

    /// Leaves the stream without ending it: somebody may come back to it.
    pub(crate) fn leave(mut self, reason: &str) {
        self.lose(reason);
    }

    fn lose(&mut self, reason: &str) {
        if self.publisher.take().is_some() {
            self.tell_end(reason);
        }
    }

    fn tell_begin(&self) {
        let Self { key, session, source, .. } = self;
        if let Some((session, left_out)) = self.loggable() {
            tracing::info!(%session, peer = source, stream = %key, left_out, "publish");
        }
        self.core.events.emit(Event::StreamStarted {
            stream: key.clone(),
            session: session.map(|(session, _)| session),
            source: source.clone(),
        });
        #[cfg(feature = "http")]
        if let Some(app) = self.core.app(key).filter(|app| app.hls.is_made_unasked()) {
            self.core.hls.open(key, &app.hls, ms(app.wait_for_publisher_ms));
        }
    }

    fn tell_end(&self, reason: &str) {
        let Self { key, session, source, .. } = self;
        if let Some((session, left_out)) = self.loggable() {
            tracing::info!(%session, peer = source, stream = %key, left_out, "unpublish: {reason}");
        }
        let (stream, session, reason) = (key.clone(), session.map(|(session, _)| session), reason.to_owned());
        self.core.events.emit(Event::StreamEnded { stream, session, reason });
    }

    /// The connection, and how many lines were left out before, where a line about it may be written now.
    fn loggable(&self) -> Option<(SessionId, Option<u64>)> {
        let (session, peer) = self.session?;
        Some((session, self.core.log.allow(peer, Level::INFO)?))
    }
}

impl Drop for Published {
    fn drop(&mut self) {
        self.lose("lost");
    }
}

/// A stream that a connection publishes: its task also has to notice when the right is taken away, and silence.
pub(crate) struct ConnectionPublisher {
    published: Published,
    /// Waits until the right to publish is taken away.
    lost: Pin<Box<dyn Future<Output = EndReason> + Send>>,
    /// When the last audio, video or data message came, empty or not.
    heard: Instant,
    /// When the peer answered a ping.
    answered: Instant,
    /// Whether it has been pinged because of its silence.
    asked: bool,
    /// How long it may give no sign.
    patience: Duration,
    /// How long it has sent no media though it gives signs.
    gap: MediaGap,
    /// How much it sends, where that is bounded.
    bit_rate: Option<BitRate>,
    /// Whether it is ended because it sends more.
    is_too_fast: bool,
    /// Where its stream goes whatever it wants.
    #[cfg_attr(not(feature = "http"), expect(dead_code, reason = "nobody chooses among others"))]
    granted: Vec<Target>,
}

impl ConnectionPublisher {
    fn new(published: Published, patience: Duration, gap: MediaGap, bit_rate: Option<BitRate>) -> Self {
        let now = Instant::now();
        Self {
            lost: Box::pin(published.ended()),
            published,
            heard: now,
            answered: now,
            asked: false,
            patience,
            gap,
            bit_rate,
            is_too_fast: false,
            granted: Vec::new(),
        }
    }

    /// As [`Published::push`].
    pub(crate) fn push(&mut self, frame: Frame) -> Result<(), EndReason> {
        let now = Instant::now();
        (self.heard, self.asked) = (now, false);
        self.gap.note(&frame, now);
        match self.bit_rate.as_mut().map_or(PaceVerdict::Fine, |rate| rate.look(frame.payload.len(), now)) {
            PaceVerdict::Fine => {}
            PaceVerdict::Fast(speed) => self.log_fast(&speed),
            PaceVerdict::TooFast(speed) => {
                self.is_too_fast = true;
                return Err(EndReason::Kicked(speed.to_string()));
            }
        }
        self.published.push(frame)
    }

    /// Whether it has lost its right because it sends more than its app allows.
    #[cfg(feature = "http")]
    pub(crate) fn is_too_fast(&self) -> bool {
        self.is_too_fast
    }

    /// Whether a player has begun to wait for a keyframe since this was asked last, and none has come.
    #[cfg(feature = "http")]
    pub(crate) fn take_keyframe_wish(&self) -> bool {
        self.published.publisher.as_ref().is_some_and(Publisher::take_keyframe_wish)
    }

    /// The stream's name.
    #[cfg(feature = "http")]
    pub(crate) fn key(&self) -> &StreamKey {
        self.published.key()
    }

    /// Has the stream go to these targets, besides those that came with the right to publish it.
    #[cfg(feature = "http")]
    pub(crate) fn push_to(&self, chosen: impl IntoIterator<Item = Target>) {
        let Published { core, key, .. } = &self.published;
        core.relays.push(key, self.granted.iter().cloned().chain(chosen).collect());
    }

    /// Ready when the right to publish has been taken away.
    pub(crate) fn poll_lost(&mut self, cx: &mut Context<'_>) -> Poll<EndReason> {
        self.lost.as_mut().poll(cx)
    }

    /// When it will have been silent for too long: no message and no answer, or no media.
    pub(crate) fn silent_at(&self) -> Instant {
        let dead = self.dead_at();
        self.gap.over_at().map_or(dead, |over| over.min(dead))
    }

    /// When it will have given no sign for too long.
    fn dead_at(&self) -> Instant {
        self.heard.max(self.answered) + self.patience
    }

    /// When it is to be pinged: after half of its time, once in each silence. A still picture is no media for long.
    pub(crate) fn ask_at(&self) -> Option<Instant> {
        let last_sign = self.heard.max(self.answered);
        (!self.asked).then(|| last_sign + self.patience / 2)
    }

    /// It is pinged because of its silence.
    pub(crate) fn note_asked(&mut self) {
        self.asked = true;
    }

    /// The peer has answered a ping.
    pub(crate) fn note_answer(&mut self, now: Instant) {
        (self.answered, self.asked) = (now, false);
    }

    /// Why it is ended when it is silent.
    pub(crate) fn silence_words(&self) -> String {
        match self.gap.over_at().is_some_and(|over| over < self.dead_at()) {
            true => self.gap.words(),
            false => format!("no media for {} ms", self.patience.as_millis()),
        }
    }

    /// Logs that it sends faster than anybody expects.
    pub(crate) fn log_fast(&self, speed: &impl fmt::Display) {
        let Published { core, key, session, source, .. } = &self.published;
        if let Some((session, peer)) = session
            && let Some(left_out) = core.log.allow(*peer, Level::WARN)
        {
            tracing::warn!(%session, peer = source, left_out, stream = %key, "sends fast: {speed}");
        }
    }

    /// As [`Published::finish`].
    pub(crate) fn finish(self, reason: &str) {
        self.published.finish(reason);
    }

    /// As [`Published::leave`].
    pub(crate) fn leave(self, reason: &str) {
        self.published.leave(reason);
    }
}
