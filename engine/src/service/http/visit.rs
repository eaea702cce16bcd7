//! A request to play or publish on its way through the engine, as those of all doors go: authorised, admitted, and, where it is to
//! play, waiting until the stream has something to show. Then its [`Turn`] says what is to become of the connection.

use super::access;
use super::header;
use super::ingest;
use super::reply::{self, Reply};
use super::routes::{Container, StreamUrl, Wishes, flv_of};
use super::websocket::{Upgrade, code};
use super::{Asker, Place, Places};
use crate::auth::{self, Action, Claims};
use crate::egress::{Clock, Delivery, Envelope, Flavour, FlvFraming, Framing, Mp4Framing, Mp4Tracks};
use crate::hops;
use crate::hub::{EndReason, StreamTracks, Subscriber, WakeFor};
use crate::key::StreamKey;
use crate::service::Core;
use crate::service::streams::{Admitted, Client, ConnectionPublisher, Granted, Refusal};
use crate::sessions::{Measured, Order, Queue, Traffic};
use crate::status::StreamState;
use bytes::{Bytes, BytesMut};
use hyper::header::{HeaderName, HeaderValue, ORIGIN, REFERER, USER_AGENT, WWW_AUTHENTICATE};
use hyper::http::request::Parts;
use hyper::{StatusCode, Version};
use std::fmt;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use tracing::Level;

/// How long a stream with one kind of media is looked at before it is taken to have no other.
const SETTLING: Duration = Duration::from_secs(1);
/// The same where its metadata says that there is video, of which nothing has come.
const ANNOUNCED: Duration = Duration::from_secs(5);

/// Why somebody does not get a stream.
pub(super) struct Refused {
    key: Option<StreamKey>,
    why: Why,
}

enum Why {
    /// It is not let in.
    Refusal(Refusal),
    /// It was let in, and the stream has ended, or was not published, before there was anything to show.
    End(EndReason),
    /// The stream has nothing that can be told in MP4.
    NotMp4,
}

impl Refused {
    fn status(&self, action: Action) -> StatusCode {
        match &self.why {
            Why::Refusal(refusal) if action == Action::Publish => ingest::status(refusal),
            Why::Refusal(refusal) => reply::status(refusal),
            Why::End(EndReason::Kicked(_)) => StatusCode::FORBIDDEN,
            Why::End(EndReason::Shutdown) => StatusCode::SERVICE_UNAVAILABLE,
            Why::End(_) => StatusCode::NOT_FOUND,
            Why::NotMp4 => StatusCode::NOT_ACCEPTABLE,
        }
    }

    /// The code that closes a WebSocket for it.
    fn close_code(&self, action: Action) -> u16 {
        match &self.why {
            Why::Refusal(refusal) if action == Action::Publish => ingest::close_code(refusal),
            Why::End(EndReason::Shutdown) if action == Action::Publish => code::DRAINING,
            _ => code::REFUSED + self.status(action).as_u16(),
        }
    }

    /// Whether it is because nobody publishes the stream, here or elsewhere.
    fn is_for_want_of_a_publisher(&self) -> bool {
        matches!(self.why, Why::Refusal(Refusal::NotPublished | Refusal::Unreachable))
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.why {
            Why::Refusal(refusal) => refusal.fmt(f),
            Why::End(reason) => reason.fmt(f),
            Why::NotMp4 => {
                let path = self.key.as_ref().map(flv_of).unwrap_or_default();
                write!(f, "MP4 has no form for what this stream is coded with; it can be had as {path}")
            }
        }
    }
}

/// Whether a stream is there.
pub(super) struct Look {
    pub(super) is_there: bool,
    /// Its name.
    pub(super) key: StreamKey,
}

/// A stream that may be played and has something to show.
pub(super) struct Shown {
    admitted: Admitted,
    wishes: Wishes,
    content: Content,
}

/// What a player gets of a stream.
enum Content {
    Flv(StreamTracks),
    Mp4(Box<Mp4Tracks>),
}

/// What a session carries: nothing until its connection has an output.
#[derive(Default)]
pub(super) struct Meter(OnceLock<Arc<dyn Measured>>);

impl Measured for Meter {
    fn traffic(&self) -> Traffic {
        self.0.get().map_or_else(Traffic::default, |output| output.traffic())
    }

    fn queue(&self) -> Queue {
        self.0.get().map_or_else(|| Queue { is_empty: true, ..Queue::default() }, |output| output.queue())
    }
}

/// Somebody who wants to play or publish, from the request on. Dropped before its end, its peer has left.
pub(super) struct Visit {
    core: Arc<Core>,
    peer: SocketAddr,
    /// What it wants: to play, unless it is said otherwise.
    action: Action,
    /// Taken at the end.
    client: Option<Client>,
    meter: Arc<Meter>,
    /// Let in, while the stream has nothing to show.
    waiting: Option<(Admitted, Instant)>,
    /// Let in as one who asks again and again, and since when.
    watching: Option<(StreamKey, Instant)>,
    /// Of its connection, where that may have several players.
    places: Option<Arc<Places>>,
    place: Option<Place>,
    /// Why it gets nothing whatever it asks for.
    refused: Option<Refusal>,
    /// Its peer is an engine that wants to know what the stream has been.
    tells_hops: bool,
    /// Its peer does not want to wait for a publisher.
    waits_not: bool,
}

impl Visit {
    /// Puts a request on the list of sessions.
    pub(super) fn open(asker: &Asker, door: auth::Door, request: &Parts) -> Self {
        let Asker { core, peer, protocol, places } = asker.clone();
        let meter = Arc::new(Meter::default());
        let mut client = Client::open(core.clone(), peer, door, protocol, meter.clone());
        let text = |name| header::text(&request.headers, &HeaderName::from_static(name));
        let hops = text(hops::HEADER).map(hops::parse);
        let (tells_hops, waits_not) = (hops.is_some(), text(hops::PREFER) == Some(hops::WAIT_NOT));
        // Told where it asks for a stream.
        let refused = client.introduce(claims(request), hops.unwrap_or_default()).err();
        Self {
            core: core.clone(),
            peer,
            action: Action::Play,
            client: Some(client),
            meter,
            waiting: None,
            watching: None,
            refused,
            tells_hops,
            waits_not,
            places,
            place: None,
        }
    }

    pub(super) fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// The client; only what ends a visit takes it.
    pub(super) fn client(&self) -> &Client {
        self.client.as_ref().expect("a visit that has not ended")
    }

    fn client_mut(&mut self) -> &mut Client {
        self.client.as_mut().expect("a visit that has not ended")
    }

    /// From now on the session is the connection with this output.
    pub(super) fn measure(&self, output: Arc<dyn Measured>) {
        let _ = self.meter.0.set(output);
    }

    /// It wants to publish. Whose page asks counts then, and an address only where nobody else is behind it.
    pub(super) fn is_to_publish(&mut self, request: &Parts) {
        self.action = Action::Publish;
        let config = self.core.config();
        if !access::is_itself(&config.http, self.peer.ip(), request) {
            self.client_mut().set_brought();
        }
        if !access::may_publish(&config.http, request) {
            self.refused = Some(Refusal::OtherSite);
        }
    }

    /// Asks to publish a stream.
    pub(super) async fn ask_to_publish(&mut self, url: StreamUrl) -> Result<ConnectionPublisher, Refused> {
        let (Granted { key, grant }, _) = self.ask(url).await?;
        self.take_place(&key)?;
        self.client().publish(&key, *grant).map_err(|refusal| refused(Some(&key), refusal))
    }

    /// Takes a place of its connection, where that may have several.
    fn take_place(&mut self, key: &StreamKey) -> Result<(), Refused> {
        if let Some(places) = &self.places {
            self.place = Some(places.take().ok_or_else(|| refused(Some(key), Refusal::Full))?);
        }
        Ok(())
    }

    /// Asks whether a stream may be played, and whether it is there.
    pub(super) async fn look(&mut self, url: StreamUrl) -> Result<Look, Refused> {
        let (key, _) = self.authorize(url).await?;
        self.fetch(&key).await?;
        Ok(Look { is_there: self.is_there(&key), key })
    }

    fn is_there(&self, key: &StreamKey) -> bool {
        let info = self.core.hub.stream(key);
        info.is_some_and(|info| matches!(info.state, StreamState::Live | StreamState::Away))
    }

    /// Waits for a stream of an origin.
    async fn fetch(&self, key: &StreamKey) -> Result<(), Refused> {
        let fetched = unless_kicked(self.client(), self.client().fetch(key)).await;
        let fetched = fetched.map_err(|reason| refused(Some(key), Refusal::Denied(reason.to_string())))?;
        fetched.map_err(|refusal| refused(Some(key), refusal))
    }

    /// Asks whether a stream may be played: then so may its recordings.
    pub(super) async fn ask_for_recordings(&mut self, url: StreamUrl) -> Result<StreamKey, Refused> {
        self.authorize(url).await.map(|(key, _)| key)
    }

    /// Asks to play a stream, and waits until it has something to show.
    pub(super) async fn ask_to_play(&mut self, url: StreamUrl) -> Result<Shown, Refused> {
        let container = url.container;
        let (key, wishes) = self.authorize(url).await?;
        self.take_place(&key)?;
        self.fetch(&key).await?;
        if self.waits_not && !self.is_there(&key) {
            return Err(refused(Some(&key), Refusal::NotPublished));
        }
        let admitted = self.client().play(&key, wishes.play);
        let admitted = admitted.map_err(|refusal| refused(Some(&key), refusal))?;
        let (admitted, _) = self.waiting.insert((admitted, Instant::now()));
        // Borrowed apart from what waits.
        let client = self.client.as_ref().expect("a visit that has not ended");
        let shown = unless_kicked(client, until_shown(admitted)).await;
        let tracks = shown.and_then(|shown| shown).map_err(|reason| ended(&key, reason))?;
        let content = Content::of(admitted, tracks, wishes, container);
        let content = content.ok_or_else(|| Refused { key: Some(key.clone()), why: Why::NotMp4 })?;
        match self.waiting.take() {
            Some((admitted, _)) => Ok(Shown { admitted, wishes, content }),
            None => Err(ended(&key, EndReason::NotPublished)),
        }
    }

    /// Asks to watch a stream by requests of which each is answered at once; what is held keeps the stream wanted. There is nothing to
    /// hold of a stream that has ended, and is still there as HLS.
    pub(super) async fn ask_to_watch(
        &mut self,
        url: StreamUrl,
    ) -> Result<(StreamKey, Option<Subscriber>), Refused> {
        let (key, _) = self.authorize(url).await?;
        let fetched = self.fetch(&key).await;
        let core = &self.core;
        let has_ended = core.hls.ended(&key).is_some() && !core.hub.is_fetched_on_demand(&key);
        let watched = match fetched {
            Ok(()) if !has_ended => self.client().watch(&key).map(Some),
            Err(refused) if !has_ended || !refused.is_for_want_of_a_publisher() => return Err(refused),
            _ => self.client().watch_the_rest(&key).map(|()| None),
        };
        let subscriber = watched.map_err(|refusal| refused(Some(&key), refusal))?;
        self.watching = Some((key.clone(), Instant::now()));
        Ok((key, subscriber))
    }

    /// Waits until the operator ends it, and says why.
    pub(super) async fn kicked(&self) -> EndReason {
        kicked(self.client()).await
    }

    async fn authorize(&mut self, url: StreamUrl) -> Result<(StreamKey, Wishes), Refused> {
        self.ask(url).await.map(|(granted, wishes)| (granted.key, wishes))
    }

    /// Asks whether it may do with a stream what it wants.
    async fn ask(&mut self, url: StreamUrl) -> Result<(Granted, Wishes), Refused> {
        if let Some(refusal) = self.refused.take() {
            return Err(refused(None, refusal));
        }
        let (action, client) = (self.action, self.client_mut());
        let name = client.name(action, &url.app, &url.name).map_err(|refusal| refused(None, refusal))?;
        let (told, wishes) = (name.tellable(), Wishes::of(&name));
        let verdict = client.ask(action, Ok(name));
        let verdict = unless_kicked(client, verdict)
            .await
            .map_err(|reason| refused(told.as_ref(), Refusal::Denied(reason.to_string())))?;
        let mut granted = verdict.map_err(|refusal| refused(told.as_ref(), refusal))?;
        client.hold(&mut granted.grant);
        Ok((granted, wishes))
    }

    /// Ends it with a refusal: the reply.
    pub(super) fn refuse(mut self, refused: &Refused) -> Reply {
        self.end_refused(refused);
        let status = refused.status(self.action);
        let mut reply = reply::words(status, refused);
        if status == StatusCode::UNAUTHORIZED {
            // Where the key goes, no scheme of HTTP says.
            reply.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Key"));
        }
        reply
    }

    fn end_refused(&mut self, refused: &Refused) {
        if let Why::Refusal(refusal) = &refused.why {
            self.client().tell_refused(self.action.as_str(), refused.key.clone(), refusal);
        }
        let action = self.action.as_str();
        let reason = match &refused.key {
            Some(key) => format!("{action} of {key} refused: {refused}"),
            None => format!("{action} refused: {refused}"),
        };
        let core = self.core.clone();
        self.end(&refused.to_string(), &reason, |session, peer| {
            if let Some(left_out) = core.log.allow(peer.ip(), Level::WARN) {
                tracing::warn!(%session, %peer, left_out, "{reason}");
            }
        });
    }

    /// Ends it: what was asked is answered. A connection may ask any number of times, so it is no news.
    pub(super) fn answered(mut self) {
        self.end("answered", "answered", |session, peer| tracing::debug!(%session, %peer, "answered"));
    }

    /// Ends it: the player has had its stream.
    pub(super) fn leave(mut self, reason: &str) {
        let core = self.core.clone();
        self.end(reason, reason, |session, peer| {
            if let Some(left_out) = core.log.allow(peer.ip(), Level::INFO) {
                tracing::info!(%session, %peer, left_out, "connection closed: {reason}");
            }
        });
    }

    fn end(&mut self, told: &str, reason: &str, log: impl FnOnce(crate::SessionId, std::net::SocketAddr)) {
        let Some(client) = self.client.take() else { return };
        if let Some((admitted, since)) = self.waiting.take() {
            client.tell_unplayed(&admitted, since.elapsed(), told);
        }
        if let Some((key, since)) = self.watching.take() {
            client.tell_watched(&key, self.meter.traffic().sent, since.elapsed(), told);
        }
        client.close(reason, log);
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.end("closed by the peer", "closed by the peer", |session, peer| {
            tracing::debug!(%session, %peer, "closed by the peer");
        });
    }
}

fn refused(key: Option<&StreamKey>, refusal: Refusal) -> Refused {
    Refused { key: key.cloned(), why: Why::Refusal(refusal) }
}

fn ended(key: &StreamKey, reason: EndReason) -> Refused {
    Refused { key: Some(key.clone()), why: Why::End(reason) }
}

/// What peers say of themselves.
fn claims(request: &Parts) -> Claims {
    let text = |name| header::text(&request.headers, name);
    let known = [(Claims::AGENT, USER_AGENT), (Claims::PAGE, REFERER), (Claims::ORIGIN, ORIGIN)];
    Claims::new(known.iter().filter_map(|(name, header)| Some((*name, text(header)?))))
}

/// What comes of `future`, unless the operator ends the session before.
async fn unless_kicked<T>(client: &Client, future: impl Future<Output = T>) -> Result<T, EndReason> {
    tokio::select! {
        biased;
        reason = kicked(client) => Err(reason),
        done = future => Ok(done),
    }
}

async fn kicked(client: &Client) -> EndReason {
    loop {
        if let Order::Kick(reason) = poll_fn(|cx| client.session().poll_order(cx)).await {
            return EndReason::Kicked(reason);
        }
    }
}

/// Waits until a stream has something to show, and until it is known what it consists of.
async fn until_shown(admitted: &mut Admitted) -> Result<StreamTracks, EndReason> {
    let subscriber = &mut admitted.subscriber;
    subscriber.ready().await;
    let mut feed = subscriber.feed();
    let mut until = None;
    loop {
        if let Some(reason) = subscriber.end() {
            return Err(reason);
        }
        let tracks = subscriber.tracks();
        if tracks.are_settled {
            return Ok(tracks);
        }
        // The first kind of media has shown: the other may follow.
        if until.is_none() && (tracks.audio.is_some() || tracks.video.is_some()) {
            until = Some(Instant::now() + if subscriber.expects_video() { ANNOUNCED } else { SETTLING });
        }
        feed.skip();
        match until {
            Some(at) if timeout_at(at, feed.news(WakeFor::Any)).await.is_err() => return Ok(tracks),
            Some(_) => {}
            None => feed.news(WakeFor::Any).await,
        }
    }
}

impl Content {
    /// What a player with these wishes gets; `None` where that is nothing.
    fn of(admitted: &Admitted, tracks: StreamTracks, wishes: Wishes, container: Container) -> Option<Self> {
        match container {
            Container::Flv => Some(Self::Flv(tracks)),
            Container::Mp4 => {
                let tracks = Mp4Tracks::find(&admitted.subscriber, &tracks, wishes.only)?;
                Some(Self::Mp4(Box::new(tracks)))
            }
        }
    }

    fn content_type(&self) -> HeaderValue {
        match self {
            Self::Flv(_) => reply::FLV,
            Self::Mp4(tracks) => tracks.mime_type().try_into().unwrap_or(reply::MP4),
        }
    }

    /// How it is written, and what comes first.
    fn framing(self, envelope: Envelope, wishes: Wishes) -> (Framing, Bytes) {
        match self {
            Self::Flv(tracks) => {
                let flavour = if wishes.as_published { Flavour::Full } else { Flavour::Browser };
                let all = FlvFraming::new(envelope, flavour, flavour.header(&tracks));
                let framing = wishes.only.map_or(all, |kind| all.only(kind));
                (Framing::Flv(framing), framing.head())
            }
            Self::Mp4(tracks) => {
                let (framing, head) = Mp4Framing::new(envelope, *tracks);
                (Framing::Mp4(Box::new(framing)), head)
            }
        }
    }
}

/// What is to become of a connection whose socket is taken over.
pub(super) struct Turn {
    pub(super) visit: Visit,
    /// What is sent first.
    pub(super) head: BytesMut,
    pub(super) then: Then,
}

pub(super) enum Then {
    /// The stream follows.
    Play(Box<Playing>),
    /// The peer sends a stream.
    Publish(Box<ConnectionPublisher>),
    /// Nothing does.
    End,
}

/// A stream on its way from a publisher.
pub(super) struct Publishing {
    pub(super) visit: Visit,
    /// What is sent first.
    pub(super) head: BytesMut,
    pub(super) publisher: ConnectionPublisher,
}

/// A stream on its way to a player.
pub(super) struct Playing {
    pub(super) delivery: Delivery,
    pub(super) envelope: Envelope,
    content_type: HeaderValue,
}

impl Turn {
    /// The type of what is sent, for who writes the head of the reply.
    pub(super) fn content_type(&self) -> HeaderValue {
        match &self.then {
            Then::Play(playing) => playing.content_type.clone(),
            Then::Publish(_) | Then::End => HeaderValue::from_static("text/plain"),
        }
    }

    /// What there is to do for a publisher, where it is one.
    pub(super) fn into_publishing(self: Box<Self>) -> Result<Publishing, Box<Self>> {
        let Self { visit, head, then } = *self;
        match then {
            Then::Publish(publisher) => Ok(Publishing { visit, head, publisher: *publisher }),
            then => Err(Box::new(Self { visit, head, then })),
        }
    }

    /// The reply with the stream.
    pub(super) fn reply(visit: Visit, shown: Shown, version: Version) -> Self {
        let content_type = shown.content.content_type();
        let (mut head, envelope) = match version {
            Version::HTTP_11 => (reply::media_head(&content_type, true), Envelope::Chunked),
            // It has a head of its own, and its frames are an envelope.
            Version::HTTP_2 => (BytesMut::new(), Envelope::Plain),
            _ => (reply::media_head(&content_type, false), Envelope::Plain),
        };
        // Engines ask by HTTP/1.1.
        if visit.tells_hops && version != Version::HTTP_2 {
            let (core, key) = (visit.core(), shown.admitted.subscriber.key());
            let mut been = core.hub.hops(key);
            been.push(core.hop(key));
            head = reply::with_header(head, hops::HEADER, &hops::join(&been));
        }
        Self::play(visit, shown, head, envelope)
    }

    /// The stream in a WebSocket.
    pub(super) fn web_socket(visit: Visit, shown: Shown, upgrade: &Upgrade) -> Self {
        Self::play(visit, shown, upgrade.head(), Envelope::WebSocket)
    }

    /// A stream that the peer sends by WebSocket.
    pub(super) fn publish(visit: Visit, publisher: ConnectionPublisher, upgrade: &Upgrade) -> Self {
        Self { visit, head: upgrade.head(), then: Then::Publish(Box::new(publisher)) }
    }

    /// A WebSocket that is closed at once, and says why.
    pub(super) fn refusal(mut visit: Visit, refused: &Refused, upgrade: &Upgrade) -> Self {
        visit.end_refused(refused);
        let mut head = upgrade.head();
        let (code, words) = (refused.close_code(visit.action), refused.to_string());
        head.extend_from_slice(&match visit.action {
            Action::Publish => ingest::told(code, &words),
            Action::Play => Envelope::WebSocket.end(code, &words),
        });
        Self { visit, head, then: Then::End }
    }

    fn play(visit: Visit, shown: Shown, mut head: BytesMut, envelope: Envelope) -> Self {
        let Shown { admitted: Admitted { subscriber, shard }, wishes, content } = shown;
        let content_type = content.content_type();
        let (framing, first) = content.framing(envelope, wishes);
        head.extend_from_slice(&first);
        let clock = if wishes.from_zero { Clock::FromZero } else { Clock::Stream };
        let delivery = Delivery::new(0, framing, clock, subscriber, shard);
        let playing = Playing { delivery, envelope, content_type };
        Self { visit, head, then: Then::Play(Box::new(playing)) }
    }
}
