//! HLS by HTTP: playlists, which are waited for where a player wants the next one, and media.
//!
//! A viewer is let in once, when it asks for the multivariant playlist, as a player on any door; the playlists that this one
//! names have the viewer's token in their URLs. Media have names that nobody guesses and need none, so that caches can keep them.

use super::header;
use super::pages::takes_gzip;
use super::reply::{self, Reply};
use super::request::Answers;
use super::routes::{HlsUrl, StreamUrl, folder_of};
use super::visit::Visit;
use crate::auth;
use crate::config::{AppConfig, HlsWhen};
use crate::hls::{Awaited, HlsStream, Piece, Snapshot, Standing, State, Stopped, Viewer};
use crate::hub::Subscriber;
use crate::key::StreamKey;
use crate::limits::ms;
use crate::service::Core;
use hyper::StatusCode;
use hyper::header::{RANGE, USER_AGENT};
use hyper::http::request::Parts;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

/// How long a player keeps a playlist that cannot be waited for.
const FOR_A_SECOND: &str = "max-age=1";
const NOT_AT_ALL: &str = "no-store";
/// Media, whose names are their content's.
const FOR_EVER: &str = "public, max-age=3600, immutable";
/// The longest that a first request waits for a stream to show how long its segments are, beside the wait for its publisher.
const MARGIN: Duration = Duration::from_secs(2);

/// What is asked for in the query of a playlist.
#[derive(Debug, Default, PartialEq, Eq)]
struct Directives {
    number: Option<u64>,
    part: Option<u64>,
    skips: bool,
    token: Option<String>,
}

impl Directives {
    /// The error where they make no sense (6.2.5).
    fn of(query: &str) -> Result<Self, &'static str> {
        let mut directives = Self::default();
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            let number = || value.parse::<u64>().map_err(|_| "_HLS_msn and _HLS_part are numbers");
            match name {
                "_HLS_msn" => directives.number = Some(number()?),
                "_HLS_part" => directives.part = Some(number()?),
                "_HLS_skip" => directives.skips = matches!(value, "YES" | "v2"),
                TOKEN => directives.token = Some(value.to_owned()),
                _ => {}
            }
        }
        match (directives.number, directives.part) {
            (None, Some(_)) => Err("_HLS_part needs _HLS_msn"),
            _ => Ok(directives),
        }
    }

    fn awaited(&self) -> Option<Awaited> {
        Some(Awaited { number: self.number?, part: self.part })
    }
}

/// What is to become of a stream that has ended and is still held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// It is played to its end.
    IsPlayed,
    /// Somebody fetches it again.
    IsWaitedFor,
}

/// The field of a query that names a viewer.
const TOKEN: &str = "v";

impl Answers {
    /// Answers a request for something of HLS.
    pub(super) async fn hls(&self, request: &Parts, url: HlsUrl<'_>) -> Reply {
        match url {
            HlsUrl::Index { stream, up } => match self.let_in(request, stream, None).await {
                Ok((viewer, snapshot)) => {
                    // By its public name, which may be another than it was asked for by.
                    let folder = up.map(|up| up.to_owned() + &folder_of(viewer.key())).unwrap_or_default();
                    let query = format!("?{TOKEN}={}", viewer.token());
                    reply::playlist(snapshot.multivariant(&folder, &query).into(), false, NOT_AT_ALL)
                }
                Err(refusal) => *refusal,
            },
            HlsUrl::Playlist { stream, rendition } => self.playlist(request, stream, rendition).await,
            HlsUrl::Poster { stream } => self.poster(request, stream).await,
            HlsUrl::Media { epoch, file } => self.media(request, epoch, file).await,
        }
    }

    async fn playlist(&self, request: &Parts, url: StreamUrl, rendition: usize) -> Reply {
        let directives = match Directives::of(request.uri.query().unwrap_or_default()) {
            Ok(directives) => directives,
            Err(words) => return reply::words(StatusCode::BAD_REQUEST, words),
        };
        let core = &self.asker().core;
        // By its token alone: the stream may have another name than it was asked for by.
        let known = directives.token.as_ref().and_then(|token| core.hls.viewer(token));
        let (viewer, snapshot) = match known {
            Some(viewer) => match self.playing(viewer.key(), Ended::IsPlayed).await {
                Ok((stream, snapshot)) => {
                    viewer.follow(stream);
                    (viewer, snapshot)
                }
                Err(refusal) => return *refusal,
            },
            // The server may have begun anew since it was let in.
            None => match self.let_in(request, url, directives.token.as_deref()).await {
                Ok(let_in) => let_in,
                Err(refusal) => return *refusal,
            },
        };
        viewer.touch();
        let snapshot = match directives.awaited() {
            Some(awaited) => match until(&viewer.stream(), snapshot, awaited).await {
                Ok(snapshot) => snapshot,
                Err(refusal) => return *refusal,
            },
            None => match viewer.shown(rendition).filter(|_| is_asked_by_browser_itself(request)) {
                Some(shown) => with_more_than(&viewer.stream(), snapshot, shown).await,
                None => snapshot,
            },
        };
        let Some(text) = snapshot.playlist(rendition, directives.skips) else {
            return reply::words(StatusCode::NOT_FOUND, "the stream has no such playlist");
        };
        let is_packed = takes_gzip(request);
        let body = if is_packed { text.packed() } else { text.plain() };
        viewer.count(body.len());
        core.hub.count_sent(viewer.key(), body.len());
        viewer.touch();
        if let Some(newest) = snapshot.newest() {
            viewer.show(rendition, newest);
        }
        let cache = if directives.number.is_some() { FOR_A_SECOND } else { "no-cache" };
        reply::playlist(body.clone(), is_packed, cache)
    }

    async fn media(&self, request: &Parts, epoch: &str, file: &str) -> Reply {
        let core = &self.asker().core;
        let not_there =
            || reply::words(StatusCode::NOT_FOUND, "there is no such piece of media, or no longer");
        let Some(stream) = core.hls.of_epoch(epoch) else { return not_there() };
        let mut watch = stream.watch();
        let mut wait = None;
        let media = loop {
            let Some(snapshot) = playing_now(&watch.borrow_and_update()) else { return not_there() };
            match snapshot.piece(file) {
                Some(Piece::There(media)) => break media,
                Some(Piece::ToCome) => {
                    let until = *wait.get_or_insert_with(|| Instant::now() + snapshot.patience());
                    match tokio::time::timeout_at(until, watch.changed()).await {
                        Ok(Ok(())) => {}
                        _ => return too_late(),
                    }
                }
                None => return not_there(),
            }
        };
        let range = header::text(&request.headers, &RANGE);
        let content_type = match file.rsplit_once('.') {
            Some((_, "ts")) => "video/mp2t",
            Some((_, "mp4")) => "video/mp4",
            _ => "video/iso.segment",
        };
        let bytes: usize = media.iter().map(bytes::Bytes::len).sum();
        core.hls.count_media(&stream, self.asker().peer.ip(), agent_of(request), bytes);
        reply::piece(content_type, media, range, FOR_EVER)
    }

    /// Lets a viewer in, under this token if it has one of an earlier life of the server, and waits until there is something to play.
    async fn let_in(
        &self,
        request: &Parts,
        url: StreamUrl,
        token: Option<&str>,
    ) -> Result<(Arc<Viewer>, Arc<Snapshot>), Box<Reply>> {
        let mut visit = self.visit(auth::Door::Hls, request).await;
        let (key, subscriber) = match visit.ask_to_watch(url).await {
            Ok(admitted) => admitted,
            Err(refused) => return Err(Box::new(visit.refuse(&refused))),
        };
        let ended = if subscriber.is_some() { Ended::IsWaitedFor } else { Ended::IsPlayed };
        let (stream, snapshot) = match self.playing(&key, ended).await {
            Ok(playing) => playing,
            Err(refusal) => {
                visit.answered();
                return Err(refusal);
            }
        };
        let (core, address) = (self.asker().core.clone(), self.asker().peer.ip());
        let Some(viewer) = core.hls.let_in(stream, token, address, agent_of(request)) else {
            visit.answered();
            let words = "there are as many viewers by HLS as there may be (limits.hls_viewers)";
            return Err(Box::new(reply::later(words)));
        };
        visit.measure(viewer.clone());
        let tasks = core.tasks.clone();
        tasks.spawn(attend(core, visit, subscriber, viewer.clone(), snapshot.patience()));
        Ok((viewer, snapshot))
    }

    /// The stream, and what there is of it as soon as there is something.
    async fn playing(
        &self,
        key: &StreamKey,
        ended: Ended,
    ) -> Result<(Arc<HlsStream>, Arc<Snapshot>), Box<Reply>> {
        let core = &self.asker().core;
        let app = core.app(key).filter(|app| app.hls.when != HlsWhen::Off);
        let Some(app) = app else {
            let words = "this app has no HLS (hls.when = \"off\")";
            return Err(Box::new(reply::words(StatusCode::NOT_FOUND, words)));
        };
        let wait = ms(app.wait_for_publisher_ms);
        let rest = core.hls.ended(key).filter(|_| ended == Ended::IsPlayed);
        let stream = rest.unwrap_or_else(|| core.hls.open(key, &app.hls, wait));
        let mut watch = stream.watch();
        let begun = watch.wait_for(|state| !matches!(state, State::Starting));
        let begun =
            timeout(longest_wait(&app), begun).await.ok().and_then(Result::ok).map(|state| state.clone());
        match begun {
            Some(State::Playing(snapshot)) => Ok((stream, snapshot)),
            Some(State::Stopped(stopped)) => Err(Box::new(stopped_reply(stopped))),
            Some(State::Starting) | None => Err(Box::new(reply::later("the stream has no keyframe yet"))),
        }
    }
}

fn longest_wait(app: &AppConfig) -> Duration {
    ms(app.wait_for_publisher_ms) + ms(app.hls.max_segment_ms) + MARGIN
}

fn playing_now(state: &State) -> Option<Arc<Snapshot>> {
    match state {
        State::Playing(snapshot) => Some(snapshot.clone()),
        State::Starting | State::Stopped(_) => None,
    }
}

/// What there is once that is in it which is waited for.
async fn until(
    stream: &HlsStream,
    mut snapshot: Arc<Snapshot>,
    awaited: Awaited,
) -> Result<Arc<Snapshot>, Box<Reply>> {
    let mut watch = stream.watch();
    let deadline = Instant::now() + snapshot.patience();
    loop {
        match snapshot.standing(awaited) {
            Standing::There => return Ok(snapshot),
            Standing::TooFar => {
                let words = "_HLS_msn or _HLS_part is too far ahead of the playlist";
                return Err(Box::new(reply::words(StatusCode::BAD_REQUEST, words)));
            }
            Standing::ToCome => {}
        }
        let changed = tokio::time::timeout_at(deadline, next(&mut watch, &snapshot)).await;
        snapshot = match changed {
            Ok(Some(snapshot)) => snapshot,
            Ok(None) => return Err(Box::new(stopped_reply(Stopped::Over))),
            Err(_) => return Err(Box::new(too_late())),
        };
    }
}

/// What a player calls itself.
fn agent_of(request: &Parts) -> &str {
    header::text(&request.headers, &USER_AGENT).unwrap_or_default()
}

/// Whether a browser's own player asks, and no script: Chromium's (156) asks for ranges of playlists too.
fn is_asked_by_browser_itself(request: &Parts) -> bool {
    request.headers.contains_key(RANGE)
}

/// What there is once there is a segment after `shown`, or after a while what there is without.
///
/// Chromium's own player loads all that a playlist lists before it begins to play, asks again as it begins, and gives the stream up
/// if it finds nothing new then (`HlsRenditionImpl::ManifestUpdateForLiveResume` in its `media/filters`, error `kNoDataEverAppended`).
async fn with_more_than(stream: &HlsStream, snapshot: Arc<Snapshot>, shown: u64) -> Arc<Snapshot> {
    let awaited = Awaited { number: shown.saturating_add(1), part: None };
    match until(stream, snapshot.clone(), awaited).await {
        Ok(news) => news,
        Err(_) => snapshot,
    }
}

/// What there is after `before`; none where nothing follows.
async fn next(watch: &mut watch::Receiver<State>, before: &Arc<Snapshot>) -> Option<Arc<Snapshot>> {
    loop {
        let now = playing_now(&watch.borrow_and_update())?;
        if !Arc::ptr_eq(&now, before) {
            return Some(now);
        }
        watch.changed().await.ok()?;
    }
}

fn stopped_reply(stopped: Stopped) -> Reply {
    match stopped {
        Stopped::Over => reply::words(StatusCode::NOT_FOUND, stopped),
        Stopped::NoTracks => reply::words(StatusCode::UNSUPPORTED_MEDIA_TYPE, stopped),
        Stopped::TooLarge => reply::later(stopped),
    }
}

/// What was waited for did not come in the time that it may take (6.2.5.2).
fn too_late() -> Reply {
    reply::later("the stream makes no progress")
}

/// Keeps a viewer on the list of sessions until it has not asked for so long, or is ended.
async fn attend(
    core: Arc<Core>,
    visit: Visit,
    subscriber: Option<Subscriber>,
    viewer: Arc<Viewer>,
    patience: Duration,
) {
    let reason = tokio::select! {
        () = viewer.gone(patience) => "asks no more".to_owned(),
        reason = visit.kicked() => reason.to_string(),
        () = core.draining.cancelled() => "server is shutting down".to_owned(),
    };
    core.hls.forget_viewer(&viewer);
    drop(subscriber);
    visit.leave(&reason);
}
