//! The services: each talks to the hub, never to another service.

mod arrival;
pub(crate) mod file_loop;
#[cfg(feature = "http")]
pub(crate) mod http;
pub(crate) mod jobs;
pub(crate) mod media_gap;
pub(crate) mod pace;
pub(crate) mod record;
pub(crate) mod relay;
pub(crate) mod rtmp;
mod settings;
pub(crate) mod streams;

pub(crate) use settings::{Current, Part};

use crate::address::Holdings;
#[cfg(feature = "http")]
use crate::assets::Assets;
use crate::auth::{Exchange, Gate};
use crate::config::{AppConfig, Config, OpusPolicy};
use crate::egress::Egress;
use crate::events::Events;
#[cfg(feature = "http")]
use crate::hls::Hls;
#[cfg(feature = "http")]
use crate::hooks::Hooks;
use crate::hops;
use crate::hub::Hub;
use crate::key::StreamKey;
#[cfg(feature = "keys")]
use crate::keys::Keys;
use crate::limits::{Limits, ms};
use crate::log_limit::PeerLog;
#[cfg(feature = "http")]
use crate::log_tail::LogTail;
#[cfg(feature = "http")]
use crate::login::Login;
#[cfg(feature = "http")]
use crate::manage::Manage;
use crate::origins::Origins;
#[cfg(feature = "http")]
use crate::record::KnownParts;
use crate::sessions::Sessions;
use crate::starts::Starts;
use crate::statistics::Statistics;
#[cfg(feature = "http")]
use crate::status::RelayState;
use crate::url::{RemoteUrl, RtmpUrl};
use parking_lot::Mutex;
use settings::Settings;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
#[cfg(feature = "http")]
use std::sync::{OnceLock, Weak};
#[cfg(feature = "http")]
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::sync::Notify;
#[cfg(feature = "http")]
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

#[cfg(feature = "http")]
bound! {
    /// Recordings that are read at once for players over HTTP: each holds a piece of its file, and may hold a thread
    /// (test `no_more_than_256_recordings_are_read_at_once`).
    const MAX_READERS: usize = 256, without 1 << 20;
    /// Those who listen to events over HTTP, each with a task of its own
    /// (test `more_than_64_who_listen_to_events_are_told_to_come_later`).
    const MAX_LISTENERS: usize = 64, without 1 << 20;
}

/// Relays that come with a right, until somebody sees to them: at most one entry for a stream.
#[derive(Default)]
pub(crate) struct GrantedRelays {
    granted: Mutex<HashMap<StreamKey, Wanted>>,
    changed: Notify,
    /// Publishers that want to know how the pushes of their streams fare.
    #[cfg(feature = "http")]
    watches: Mutex<HashMap<StreamKey, Weak<Mutex<Watched>>>>,
}

/// How the pushes of one stream fare, for its publisher.
#[cfg(feature = "http")]
pub(crate) struct PushWatch(Arc<Mutex<Watched>>);

#[cfg(feature = "http")]
#[derive(Default)]
struct Watched {
    /// What has happened since it was asked last, of each target the newest.
    news: Vec<PushNews>,
    waiter: Option<Waker>,
}

/// How a push fares.
#[cfg(feature = "http")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PushNews {
    pub(crate) url: RtmpUrl,
    pub(crate) state: RelayState,
    /// What went wrong last, where nothing has gone well since.
    pub(crate) error: Option<String>,
}

#[cfg(feature = "http")]
impl PushWatch {
    /// Ready with what has happened.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<Vec<PushNews>> {
        let mut watched = self.0.lock();
        if watched.news.is_empty() {
            watched.waiter = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(std::mem::take(&mut watched.news))
    }
}

/// Where a stream is granted to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) url: RtmpUrl,
    pub(crate) opus: OpusPolicy,
}

impl From<RtmpUrl> for Target {
    fn from(url: RtmpUrl) -> Self {
        Self { url, opus: OpusPolicy::default() }
    }
}

/// What is granted for one stream.
#[derive(Default)]
pub(crate) struct Wanted {
    /// Where it goes while it is published, and to no other place that was granted before.
    pub(crate) push: Option<Vec<Target>>,
    /// Where it goes besides.
    pub(crate) push_besides: Vec<Target>,
    /// Where it is fetched from while somebody plays it.
    pub(crate) pull: Option<RemoteUrl>,
}

impl GrantedRelays {
    /// With the right to publish a stream.
    pub(crate) fn push(&self, stream: &StreamKey, targets: Vec<Target>) {
        self.change(stream, |wanted| (wanted.push, wanted.push_besides) = (Some(targets), Vec::new()));
    }

    /// With the right to publish a stream that goes on: where it goes already, it goes on too.
    pub(crate) fn push_besides(&self, stream: &StreamKey, targets: Vec<Target>) {
        self.change(stream, |wanted| wanted.push_besides = targets);
    }

    /// From now on tells how the pushes of a stream fare, to this publisher and no other.
    #[cfg(feature = "http")]
    pub(crate) fn watch(&self, stream: &StreamKey) -> PushWatch {
        let watched = Arc::<Mutex<Watched>>::default();
        let mut watches = self.watches.lock();
        watches.retain(|_, watch| watch.strong_count() > 0);
        watches.insert(stream.clone(), Arc::downgrade(&watched));
        PushWatch(watched)
    }

    /// A push of a stream fares otherwise than before.
    #[cfg(feature = "http")]
    pub(crate) fn tell(&self, stream: &StreamKey, news: PushNews) {
        let Some(watched) = self.watches.lock().get(stream).and_then(Weak::upgrade) else { return };
        let mut watched = watched.lock();
        watched.news.retain(|older| older.url != news.url);
        watched.news.push(news);
        let waiter = watched.waiter.take();
        drop(watched);
        if let Some(waiter) = waiter {
            waiter.wake();
        }
    }

    /// With the right to play one.
    pub(crate) fn pull(&self, stream: &StreamKey, url: RemoteUrl) {
        self.change(stream, |wanted| wanted.pull = Some(url));
    }

    fn change(&self, stream: &StreamKey, change: impl FnOnce(&mut Wanted)) {
        change(self.granted.lock().entry(stream.clone()).or_default());
        self.changed.notify_one();
    }

    /// What has been granted since the last time, when there is something.
    pub(crate) async fn next(&self) -> HashMap<StreamKey, Wanted> {
        self.changed.notified().await;
        std::mem::take(&mut *self.granted.lock())
    }
}

/// What every service of one engine shares.
pub(crate) struct Core {
    /// Names this engine in `connect` objects, for the loop guard.
    pub(crate) id: String,
    settings: Settings,
    pub(crate) hub: Hub,
    /// What the embedding program gives for browsers.
    #[cfg(feature = "http")]
    pub(crate) assets: Assets,
    /// What is done to the engine by requests; nothing before it is started. It does not keep the engine alive.
    #[cfg(feature = "http")]
    pub(crate) manager: OnceLock<Arc<dyn Manage>>,
    /// What the embedding program has logged, where it tells.
    #[cfg(feature = "http")]
    pub(crate) log_tail: Option<LogTail>,
    /// Who has logged in.
    #[cfg(feature = "http")]
    pub(crate) login: Login,
    /// Keys of publishers and players.
    #[cfg(feature = "keys")]
    pub(crate) keys: Option<Keys>,
    /// The operator's service that is asked and told.
    #[cfg(feature = "http")]
    pub(crate) hooks: Option<Hooks>,
    pub(crate) events: Events,
    pub(crate) sessions: Sessions,
    /// What is told of the engine.
    pub(crate) statistics: Statistics,
    pub(crate) egress: Egress,
    /// Streams as HLS.
    #[cfg(feature = "http")]
    pub(crate) hls: Hls,
    /// How often an address may begin something.
    pub(crate) starts: Starts,
    /// Servers that streams are fetched from when players want them.
    pub(crate) origins: Origins,
    /// Relays that come with the right to publish or play.
    pub(crate) relays: GrantedRelays,
    /// How many streams an address publishes.
    pub(crate) places: Holdings,
    /// Recordings that are read at once for players over HTTP.
    #[cfg(feature = "http")]
    pub(crate) recording_readers: Arc<Semaphore>,
    /// What is known of recordings from playlists before.
    #[cfg(feature = "http")]
    pub(crate) recording_parts: KnownParts,
    /// Those who listen to events over HTTP.
    #[cfg(feature = "http")]
    pub(crate) event_listeners: Arc<Semaphore>,
    /// Which lines about peers may be logged.
    pub(crate) log: PeerLog,
    /// Cancelled when the engine drains: no new connections, streams end, peers are told.
    pub(crate) draining: CancellationToken,
    /// Every task that serves a peer, a file or a stream: draining waits for these.
    pub(crate) tasks: TaskTracker,
}

impl Core {
    /// Everybody may connect without user and password.
    #[cfg(any(test, all(feature = "fuzzing", feature = "http")))]
    pub(crate) fn new(config: Config, auth: Gate, events: Events) -> Self {
        Self::with(Current::new(config, auth, None), events)
    }

    pub(crate) fn with(current: Current, events: Events) -> Self {
        let settings = Settings::new(current);
        let config = settings.config();
        let (tasks, draining) = (TaskTracker::new(), CancellationToken::new());
        let (threads, batch_bytes) = (config.engine.threads(), config.limits.player_batch);
        let (hub, statistics) = (Hub::new(&config.limits), Statistics::new(&config.limits));
        Self {
            id: hops::new_id(),
            #[cfg(feature = "http")]
            hls: Hls::new(hub.clone(), &config.limits, tasks.clone(), draining.clone()),
            hub,
            starts: Starts::new(&config.limits),
            origins: Origins::new(&config.limits, &config.origins),
            relays: GrantedRelays::default(),
            places: Holdings::new(config.limits.max_streams_per_address),
            #[cfg(feature = "http")]
            recording_readers: Arc::new(Semaphore::new(MAX_READERS.get())),
            #[cfg(feature = "http")]
            recording_parts: KnownParts::default(),
            #[cfg(feature = "http")]
            event_listeners: Arc::new(Semaphore::new(MAX_LISTENERS.get())),
            log: PeerLog::default(),
            #[cfg(feature = "http")]
            assets: Assets::default(),
            #[cfg(feature = "http")]
            manager: OnceLock::new(),
            #[cfg(feature = "http")]
            log_tail: None,
            #[cfg(feature = "http")]
            login: Login::default(),
            #[cfg(feature = "keys")]
            keys: None,
            #[cfg(feature = "http")]
            hooks: None,
            events,
            sessions: Sessions::default(),
            statistics,
            egress: Egress::new(threads, batch_bytes, tasks.clone(), draining.clone()),
            draining,
            tasks,
            settings,
        }
    }

    /// Holds to other settings from now on; what held before.
    pub(crate) fn set(&self, current: Arc<Current>) -> Arc<Current> {
        self.settings.set(current)
    }

    /// Holds whoever keeps limits of its own to the present ones.
    pub(crate) fn apply_limits(&self) {
        let limits = &*self.limits();
        self.hub.set_limits(limits);
        #[cfg(feature = "http")]
        self.hls.set_limits(limits);
        self.starts.set_limits(limits);
        self.origins.set_limits(limits);
        self.statistics.set_limits(limits);
        self.places.set_most(limits.max_streams_per_address);
        self.egress.set_batch_bytes(limits.player_batch);
    }

    /// What the engine is told at present.
    pub(crate) fn config(&self) -> Part<Config> {
        self.settings.config()
    }

    /// What is kept to at present.
    pub(crate) fn limits(&self) -> Part<Limits> {
        self.settings.part(|current| &current.config().limits)
    }

    /// Who decides at present.
    pub(crate) fn auth(&self) -> Gate {
        self.settings.auth()
    }

    /// How encoders are asked for user and password, where they are.
    pub(crate) fn exchange(&self) -> Option<Exchange> {
        self.settings.exchange()
    }

    /// How long a peer that is left may take for what waits for it: while the engine drains, a part of the time for that.
    pub(crate) fn farewell_time(&self) -> Duration {
        match self.draining.is_cancelled() {
            true => ms(self.config().engine.drain_timeout_ms) * 3 / 4,
            false => ms(self.limits().write_timeout_ms),
        }
    }

    /// A stream of this engine as the loop guard names it.
    pub(crate) fn hop(&self, key: &StreamKey) -> String {
        hops::of_stream(&self.id, key.as_str())
    }

    /// What a stream that has passed `hops` comes from: these, and what streams of this engine among them come from.
    /// What comes back under another name is no loop, until it comes back to itself.
    pub(crate) fn upstream(&self, hops: Vec<String>) -> HashSet<String> {
        let (mut upstream, mut unseen) = (HashSet::new(), hops);
        // Made for those only that have been here.
        let mut own: Option<HashMap<String, StreamKey>> = None;
        while let Some(hop) = unseen.pop() {
            if hop.starts_with(&self.id) {
                let streams =
                    || self.hub.streams().into_iter().map(|stream| (self.hop(&stream.key), stream.key));
                let own = own.get_or_insert_with(|| streams().collect());
                let from = own.get(&hop).map(|key| self.hub.hops(key)).unwrap_or_default();
                unseen.extend(from.into_iter().filter(|hop| !upstream.contains(hop)));
            }
            upstream.insert(hop);
        }
        upstream
    }

    /// Whether a stream that has passed `hops` must not become `key`, as it comes from there.
    pub(crate) fn is_loop(&self, key: &StreamKey, hops: &[String]) -> bool {
        !hops.is_empty() && self.upstream(hops.to_vec()).contains(&self.hop(key))
    }

    /// Frees the frames of streams that have ended, a few at a time: giving back much memory takes long, and others work in
    /// between.
    pub(crate) async fn free_frames(&self) {
        loop {
            self.hub.discarded().await;
            while self.hub.free_some() {
                tokio::task::yield_now().await;
            }
        }
    }

    /// The policy of a stream's app; `None` where the configuration lists apps and this one is not among them.
    pub(crate) fn app(&self, key: &StreamKey) -> Option<Arc<AppConfig>> {
        self.settings.app(key.app())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::PublishRule;
    use crate::hub::{EndReason, PublishRequest};
    use crate::testing::keyframe;

    #[tokio::test]
    async fn w8_others_get_their_turn_while_the_frames_of_many_streams_are_freed() {
        const FRAMES: usize = 2_000;
        let config = Config::default();
        let gate = Gate::new(&[Arc::new(PublishRule::Open)], &config.limits);
        let core = Arc::new(Core::new(config, gate, Events::default()));
        let freeing = tokio::spawn({
            let (core, draining) = (core.clone(), core.draining.clone());
            let freeing = async move { core.free_frames().await };
            draining.run_until_cancelled_owned(freeing)
        });
        for number in 0..10 {
            let key = StreamKey::new("live", &format!("s{number}")).unwrap();
            let publisher = core.hub.publish(&key, PublishRequest::default()).unwrap();
            (0..FRAMES).for_each(|at| publisher.push(keyframe(at as i64, 100)).unwrap());
        }
        core.hub.end_all(&EndReason::Shutdown);
        let (mut turns, mut held) = (0, core.hub.held_bytes());
        assert!(held >= 10 * FRAMES * 100);
        while held > 0 {
            tokio::task::yield_now().await;
            let freed = held - core.hub.held_bytes();
            assert!(freed <= 256 * 300, "{freed} bytes without a turn of another");
            (turns, held) = (turns + 1, held - freed);
        }
        assert!(turns >= 10 * FRAMES / 256, "{turns} turns");
        core.draining.cancel();
        freeing.await.unwrap();
    }
}
