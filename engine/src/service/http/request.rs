//! One request and its answer.

use super::Asker;
use super::api;
use super::body::Body;
use super::manage;
use super::pages;
use super::reply::{self, Reply};
use super::routes::{Container, HlsUrl, ManageUrl, RecordingUrl, StreamUrl, is_of_api};
use super::visit::{Look, Turn, Visit};
use super::websocket::Upgrade;
use crate::auth;
use crate::hub::EndReason;
use hyper::header::HOST;
use hyper::http::request::Parts;
use hyper::{Method, StatusCode, Version};
use std::sync::atomic::{AtomicBool, Ordering};

/// Answers the requests of one connection.
pub(super) struct Answers {
    asker: Asker,
    /// Whether a stream has been asked for; the first time is part of the connection's start.
    has_asked: AtomicBool,
}

/// What comes of a request.
pub(super) enum Answer {
    /// A reply that is sent as a whole.
    Reply(Reply),
    /// A stream, or words in a WebSocket.
    Turn(Box<Turn>),
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Self {
        Self::Reply(reply)
    }
}

impl Answers {
    pub(super) fn new(asker: Asker) -> Self {
        Self { asker, has_asked: AtomicBool::new(false) }
    }

    /// Answers a request.
    pub(super) async fn answer(&self, request: &Parts, body: Body) -> Answer {
        let hosts = request.headers.get_all(HOST).iter().count();
        if hosts > 1 || (hosts == 0 && request.version == Version::HTTP_11) {
            return reply::broken("a request has one Host").into();
        }
        if is_of_api(request.uri.path()) {
            // Boxed: players need none of it.
            return Box::pin(api::answer(&self.asker, request, body)).await.into();
        }
        let is_published = self.asker.core.config().http.publish;
        let url = StreamUrl::find(request.uri.path(), request.uri.query());
        if let (&Method::POST | &Method::PUT, Some(url)) = (&request.method, url)
            && is_published
            && url.container == Container::Flv
        {
            // Boxed: players need none of it.
            return Box::pin(self.post(request, url, body)).await.into();
        }
        if !body.is_nothing() {
            return reply::broken("requests have no body here").into();
        }
        if let Some(url) = ManageUrl::find(request.uri.path()) {
            return manage::answer(&self.asker, request, url).await.into();
        }
        let recording = RecordingUrl::find(request.uri.path(), request.uri.query());
        if let (&Method::GET | &Method::HEAD, Some(url)) = (&request.method, recording)
            && self.asker.core.config().serves_recordings()
        {
            return self.recording(request, url).await.into();
        }
        let hls =
            HlsUrl::find(request.uri.path(), request.uri.query(), &self.asker.core.config().http.hls_app);
        if let (&Method::GET | &Method::HEAD, Some(url)) = (&request.method, hls) {
            return self.hls(request, url).await.into();
        }
        let url = StreamUrl::find(request.uri.path(), request.uri.query());
        match (&request.method, url) {
            (&Method::OPTIONS, _) => reply::options().into(),
            (&Method::GET, Some(url)) => self.play(request, url).await,
            (&Method::HEAD, Some(url)) => self.look(request, url).await.into(),
            (&Method::GET, None) if is_published && Upgrade::is_asked_for(request) => {
                self.publish(request).await
            }
            (&Method::GET | &Method::HEAD, None) => pages::answer(&self.asker.core, request).into(),
            _ => reply::wrong_method().into(),
        }
    }

    pub(super) fn asker(&self) -> &Asker {
        &self.asker
    }

    /// Begins a visit, when it is the peer's turn to begin another.
    pub(super) async fn visit(&self, door: auth::Door, request: &Parts) -> Visit {
        if self.has_asked.swap(true, Ordering::Relaxed) {
            self.asker.core.starts.turn(self.asker.peer.ip()).await;
        }
        Visit::open(&self.asker, door, request)
    }

    async fn look(&self, request: &Parts, url: StreamUrl) -> Reply {
        let (door, content_type) = match url.container {
            Container::Flv => (auth::Door::HttpFlv, reply::FLV),
            Container::Mp4 => (auth::Door::HttpMp4, reply::MP4),
        };
        let mut visit = self.visit(door, request).await;
        match visit.look(url).await {
            Ok(look) => {
                visit.answered();
                match look {
                    Look { is_there: true, .. } => reply::media(content_type),
                    Look { is_there: false, .. } => {
                        reply::words(StatusCode::NOT_FOUND, EndReason::NotPublished)
                    }
                }
            }
            Err(refused) => visit.refuse(&refused),
        }
    }

    /// Takes a stream in by WebSocket.
    async fn publish(&self, request: &Parts) -> Answer {
        let url = StreamUrl::of_publisher(request.uri.path(), request.uri.query());
        let (upgrade, url) = match (Upgrade::of(request), url) {
            (Ok(Some(upgrade)), Some(url)) => (upgrade, url),
            (Err(reply), _) => return Answer::Reply(*reply),
            (Ok(_), _) => return pages::answer(&self.asker.core, request).into(),
        };
        let mut visit = self.visit(auth::Door::WebSocket, request).await;
        visit.is_to_publish(request);
        let turn = match visit.ask_to_publish(url).await {
            Ok(publisher) => Turn::publish(visit, publisher, &upgrade),
            Err(refused) => Turn::refusal(visit, &refused, &upgrade),
        };
        Answer::Turn(Box::new(turn))
    }

    async fn play(&self, request: &Parts, url: StreamUrl) -> Answer {
        let upgrade = match Upgrade::of(request) {
            Ok(upgrade) => upgrade,
            Err(reply) => return Answer::Reply(*reply),
        };
        let door = match (&upgrade, url.container) {
            (Some(_), _) => auth::Door::WebSocket,
            (None, Container::Flv) => auth::Door::HttpFlv,
            (None, Container::Mp4) => auth::Door::HttpMp4,
        };
        let mut visit = self.visit(door, request).await;
        let admitted = visit.ask_to_play(url).await;
        let turn = match (admitted, upgrade) {
            (Ok(admitted), Some(upgrade)) => Turn::web_socket(visit, admitted, &upgrade),
            (Ok(admitted), None) => Turn::reply(visit, admitted, request.version),
            (Err(refused), None) => return visit.refuse(&refused).into(),
            // In a WebSocket too: pages are not shown the status of one that has not been granted.
            (Err(refused), Some(upgrade)) => Turn::refusal(visit, &refused, &upgrade),
        };
        Answer::Turn(Box::new(turn))
    }
}
