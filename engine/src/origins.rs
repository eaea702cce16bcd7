//! Streams of origins, `origin/ALIAS/APP/STREAM`: which aliases there are, what is fetched for players, and what was not to be
//! had a moment ago.
//!
//! Who wants to play one asks here first and waits for its first frame, so that everybody gets an honest answer whatever the
//! door, and all who want the same wait for the same connection. What fetches it takes the [`Pull`] and tells what comes of it.

use crate::Limits;
use crate::config::OriginConfig;
use crate::key::StreamKey;
use crate::limits::ms;
use crate::status::{OriginStatus, OriginStreamStatus};
use crate::url::RemoteUrl;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout_at};

bound! {
    /// For how long what was not to be had is not asked for anew
    /// (test `f39_what_was_not_to_be_had_is_asked_for_anew_after_5_seconds_and_no_sooner`).
    const KEPT: Duration = Duration::from_secs(5), without Duration::ZERO;
    /// How much of that is remembered; names that strangers make up fill it
    /// (test `f39_of_what_was_not_to_be_had_no_more_than_4096_names_are_remembered`).
    const REMEMBERED: usize = 4_096, without usize::MAX;
}

/// What a player's own clock may be behind that of the pull it waits for.
const GRACE: Duration = Duration::from_millis(50);

/// Why a stream is not to be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// No server has it.
    NotFound,
    /// One of the servers at least could not say so.
    Unreachable,
}

/// Why somebody cannot play a stream of an origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It is not to be had.
    Missing(Missing),
    /// As many are fetched as may be.
    TooManyStreams,
    /// As many are asked for as may be at a time.
    TooManyAtOnce,
}

/// All origins of an engine. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Origins {
    shared: Arc<Shared>,
}

struct Shared {
    /// [`Limits::origin_pulls`].
    at_once: AtomicUsize,
    state: Mutex<State>,
    wanted: mpsc::UnboundedSender<Arc<Pull>>,
    /// Taken by what fetches.
    to_fetch: Mutex<Option<mpsc::UnboundedReceiver<Arc<Pull>>>>,
}

#[derive(Default)]
struct State {
    /// The configuration of each; dropped when it is removed.
    aliases: BTreeMap<String, watch::Sender<Arc<OriginConfig>>>,
    pulls: HashMap<StreamKey, Arc<Pull>>,
    missing: HashMap<StreamKey, (Missing, Instant)>,
    /// Requests for names that no alias has.
    phantoms: usize,
    /// How long the newest answer took that no server has a stream. Names that no alias has take as long: nobody learns from
    /// the time which aliases there are.
    not_found_after: Duration,
}

/// Where a pull stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Asked for: nothing has come yet.
    Asked,
    /// Its first frame has come.
    Live,
    /// It has not been to be had.
    Missing(Missing),
}

/// A stream that is fetched: one for all its players.
pub(crate) struct Pull {
    pub(crate) key: StreamKey,
    pub(crate) alias: String,
    /// App and stream at the origin.
    pub(crate) app: String,
    pub(crate) stream: String,
    /// The streams of engines that it is fetched for.
    pub(crate) hops: Vec<String>,
    pub(crate) config: watch::Receiver<Arc<OriginConfig>>,
    pub(crate) since: Instant,
    standing: watch::Sender<Standing>,
    upstreams: Mutex<Vec<Arc<dyn Upstream>>>,
    /// Which of them is asked or has it; one too many for none.
    current: AtomicUsize,
    moves: AtomicU64,
}

/// One of the servers, as far as it is told of.
pub(crate) trait Upstream: Send + Sync {
    /// Where the stream is there.
    fn url(&self) -> Arc<RemoteUrl>;
    /// Bytes read from it.
    fn bytes_received(&self) -> u64;
    /// Why it has not got the stream, in words.
    fn last_error(&self) -> Option<String>;
}

impl Pull {
    /// Names the servers that are asked.
    pub(crate) fn set_upstreams(&self, upstreams: Vec<Arc<dyn Upstream>>) {
        *self.upstreams.lock() = upstreams;
    }

    /// One of them is asked.
    pub(crate) fn set_current(&self, index: usize) {
        self.current.store(index, Ordering::Relaxed);
    }

    /// Players go to another server.
    pub(crate) fn count_move(&self) {
        self.moves.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits until nobody waits for its first frame.
    pub(crate) async fn unwanted(&self) {
        self.standing.closed().await;
    }

    fn is_asked(&self) -> bool {
        *self.standing.borrow() == Standing::Asked
    }

    fn status(&self) -> OriginStreamStatus {
        let upstreams = self.upstreams.lock();
        let current = upstreams.get(self.current.load(Ordering::Relaxed));
        OriginStreamStatus {
            stream: self.key.clone(),
            url: current.map(|upstream| upstream.url()),
            is_live: *self.standing.borrow() == Standing::Live,
            moves: self.moves.load(Ordering::Relaxed),
            last_error: current.and_then(|upstream| upstream.last_error()),
            bytes_received: upstreams.iter().map(|upstream| upstream.bytes_received()).sum(),
        }
    }
}

/// Somebody who waits for a stream.
pub(crate) enum Waiting {
    /// For what is fetched; no longer than until then.
    Pull(watch::Receiver<Standing>, Instant),
    /// For nothing, as long as it would take to learn that.
    Phantom(Phantom, Duration),
}

/// A request for a name that no alias has. Counted while it waits.
pub(crate) struct Phantom {
    shared: Arc<Shared>,
    key: StreamKey,
}

impl Drop for Phantom {
    fn drop(&mut self) {
        self.shared.state.lock().phantoms -= 1;
    }
}

impl Waiting {
    /// Waits until the stream may be played, or is known not to be.
    pub(crate) async fn over(self) -> Result<(), Refused> {
        match self {
            Self::Pull(mut standing, until) => {
                let over = standing.wait_for(|standing| *standing != Standing::Asked);
                match timeout_at(until, over).await.map(|over| over.map(|standing| *standing)) {
                    Ok(Ok(Standing::Live)) => Ok(()),
                    Ok(Ok(Standing::Missing(missing))) => Err(Refused::Missing(missing)),
                    // Its end came before its beginning: the engine drains, or the alias has been removed.
                    _ => Err(Refused::Missing(Missing::Unreachable)),
                }
            }
            Self::Phantom(phantom, time) => {
                sleep(time).await;
                phantom.shared.state.lock().remember(&phantom.key, Missing::NotFound);
                Err(Refused::Missing(Missing::NotFound))
            }
        }
    }
}

impl Origins {
    pub(crate) fn new(limits: &Limits, configured: &BTreeMap<String, OriginConfig>) -> Self {
        let (wanted, to_fetch) = mpsc::unbounded_channel();
        let alias = |(alias, config): (&String, &OriginConfig)| {
            (alias.clone(), watch::Sender::new(Arc::new(config.clone())))
        };
        let state = State { aliases: configured.iter().map(alias).collect(), ..State::default() };
        let shared = Shared {
            at_once: AtomicUsize::new(limits.in_force().origin_pulls),
            state: Mutex::new(state),
            wanted,
            to_fetch: Mutex::new(Some(to_fetch)),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Holds to these limits from the next request on.
    pub(crate) fn set_limits(&self, limits: &Limits) {
        self.shared.at_once.store(limits.in_force().origin_pulls, Ordering::Relaxed);
    }

    /// Makes an alias, or changes it: players of its streams stay and get them from the new servers.
    pub(crate) fn set(&self, alias: &str, config: OriginConfig) {
        let mut state = self.shared.state.lock();
        // What the old servers had not, the new ones may have.
        state.missing.retain(|key, _| key.origin().is_none_or(|(of, ..)| of != alias));
        let config = Arc::new(config);
        match state.aliases.get(alias) {
            Some(known) => drop(known.send_replace(config)),
            None => drop(state.aliases.insert(alias.to_owned(), watch::Sender::new(config))),
        }
    }

    /// Removes an alias; its streams end. False where there is none.
    pub(crate) fn remove(&self, alias: &str) -> bool {
        self.shared.state.lock().aliases.remove(alias).is_some()
    }

    /// Where all aliases stand, by name.
    pub(crate) fn list(&self) -> Vec<OriginStatus> {
        let state = self.shared.state.lock();
        state.aliases.iter().map(|(alias, config)| state.status(alias, &config.borrow())).collect()
    }

    /// Where one alias stands; `None` where there is none.
    pub(crate) fn status(&self, alias: &str) -> Option<OriginStatus> {
        let state = self.shared.state.lock();
        state.aliases.get(alias).map(|config| state.status(alias, &config.borrow()))
    }

    /// What is to be fetched, for the one who does it.
    pub(crate) fn to_fetch(&self) -> Option<mpsc::UnboundedReceiver<Arc<Pull>>> {
        self.shared.to_fetch.lock().take()
    }

    /// Somebody who has come by `hops` wants to play `key`: has it fetched, unless it is or was not to be had a moment ago.
    pub(crate) fn want(&self, key: &StreamKey, hops: &[String]) -> Result<Waiting, Refused> {
        let now = Instant::now();
        let mut state = self.shared.state.lock();
        if let Some(pull) = state.pulls.get(key) {
            return Ok(pull.wait(now));
        }
        if let Some(missing) = state.known_missing(key, now) {
            return Err(Refused::Missing(missing));
        }
        let asked = state.pulls.values().filter(|pull| pull.is_asked()).count();
        if asked + state.phantoms >= self.shared.at_once.load(Ordering::Relaxed) {
            return Err(Refused::TooManyAtOnce);
        }
        let Some((alias, app, config)) = state.origin_of(key) else {
            state.phantoms += 1;
            let phantom = Phantom { shared: self.shared.clone(), key: key.clone() };
            return Ok(Waiting::Phantom(phantom, state.not_found_after));
        };
        let fetched = state.pulls.values().filter(|pull| pull.alias == alias).count();
        if fetched >= config.borrow().max_streams {
            return Err(Refused::TooManyStreams);
        }
        let pull = Arc::new(Pull {
            key: key.clone(),
            alias: alias.to_owned(),
            app: app.to_owned(),
            stream: key.stream().to_owned(),
            hops: hops.to_vec(),
            config,
            since: now,
            standing: watch::Sender::new(Standing::Asked),
            upstreams: Mutex::default(),
            current: AtomicUsize::new(usize::MAX),
            moves: AtomicU64::new(0),
        });
        let waiting = pull.wait(now);
        state.pulls.insert(key.clone(), pull.clone());
        // Nobody takes it where the engine is at its end.
        let _ = self.shared.wanted.send(pull);
        Ok(waiting)
    }

    /// The first frame of a stream has come.
    pub(crate) fn begun(&self, pull: &Pull) {
        pull.standing.send_replace(Standing::Live);
    }

    /// A stream is not to be had, or not any more.
    pub(crate) fn failed(&self, pull: &Pull, missing: Missing) {
        let mut state = self.shared.state.lock();
        if missing == Missing::NotFound && pull.is_asked() {
            state.not_found_after = pull.since.elapsed();
        }
        state.pulls.remove(&pull.key);
        state.remember(&pull.key, missing);
        pull.standing.send_replace(Standing::Missing(missing));
    }

    /// Nobody plays a stream any more; false where somebody has just asked for it.
    pub(crate) fn released(&self, pull: &Pull) -> bool {
        let mut state = self.shared.state.lock();
        let is_unwanted = pull.standing.receiver_count() == 0;
        if is_unwanted {
            state.pulls.remove(&pull.key);
        }
        is_unwanted
    }

    /// A stream is fetched no more, whoever waits for it: its alias is gone, or the engine drains.
    pub(crate) fn ended(&self, pull: &Pull) {
        self.shared.state.lock().pulls.remove(&pull.key);
        pull.standing.send_replace(Standing::Missing(Missing::Unreachable));
    }
}

impl Pull {
    fn wait(&self, now: Instant) -> Waiting {
        let until = now + ms(self.config.borrow().wait_ms) + GRACE;
        Waiting::Pull(self.standing.subscribe(), until)
    }
}

impl State {
    /// Alias and app of a stream that may be fetched, with the alias' configuration.
    fn origin_of<'a>(
        &self,
        key: &'a StreamKey,
    ) -> Option<(&'a str, &'a str, watch::Receiver<Arc<OriginConfig>>)> {
        let (alias, app, _) = key.origin()?;
        let config = self.aliases.get(alias)?;
        config.borrow().has_app(app).then(|| (alias, app, config.subscribe()))
    }

    fn known_missing(&mut self, key: &StreamKey, now: Instant) -> Option<Missing> {
        let (missing, since) = *self.missing.get(key)?;
        (now.saturating_duration_since(since) < KEPT.get()).then_some(missing)
    }

    fn remember(&mut self, key: &StreamKey, missing: Missing) {
        let now = Instant::now();
        if self.missing.len() >= REMEMBERED.get() {
            self.missing.retain(|_, (_, since)| now.saturating_duration_since(*since) < KEPT.get());
        }
        if self.missing.len() < REMEMBERED.get() {
            self.missing.insert(key.clone(), (missing, now));
        }
    }

    fn status(&self, alias: &str, config: &OriginConfig) -> OriginStatus {
        let pulls = self.pulls.values().filter(|pull| pull.alias == alias);
        let mut streams: Vec<_> = pulls.map(|pull| pull.status()).collect();
        streams.sort_by(|a, b| a.stream.cmp(&b.stream));
        OriginStatus { alias: alias.to_owned(), urls: config.urls.clone(), streams }
    }
}

#[cfg(test)]
mod tests;
