//! Names to streams: the right to publish, the frame ring, and subscribers as positions in it. No I/O.
//!
//! ```text
//!            publish                    publisher lost
//!   idle ------------------> live ----------------------> away
//!    |                        |  ^                          |
//!    | last subscriber leaves |  '-------- publish ---------'
//!    v                        | finish, kick                | resume window over
//!   gone                      v                             v
//!                           ended <------------------------'
//! ```
//! An ended stream leaves the map at once; its subscribers read what is left and then the end. A later publisher
//! of the same name gets a new stream.

mod discarded;
#[cfg(test)]
mod fault;
mod feed;
mod ring;
mod stream;
mod subscriber;
mod timeline;
mod waiters;
mod watcher;

#[cfg(test)]
pub(crate) use fault::panic_at_next_frame;
pub(crate) use feed::{Batch, Feed, Place};
pub(crate) use ring::{Backlog, JoinHeaders};
pub(crate) use stream::{MainIds, Publisher, StreamTracks, TrackCodec, remember_config};
pub(crate) use subscriber::Subscriber;
pub(crate) use waiters::WakeFor;
pub use watcher::{StreamChange, StreamWatcher};

use crate::Limits;
use crate::address::Held;
use crate::key::StreamKey;
use crate::policy::{StartAt, StreamPolicy, Takeover};
use crate::status::StreamInfo;
use arc_swap::ArcSwap;
use discarded::Discarded;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use stream::{State, Stream};
use tokio::sync::watch;
use watcher::Changes;

bound! {
    /// Silence after which [`Takeover::ReplaceIfStalled`] lets a publisher be replaced
    /// (test `f25_a_stalled_publisher_is_replaced_by_one_with_the_same_rights_only`).
    const STALLED_AFTER: Duration = Duration::from_millis(500), without Duration::from_secs(1 << 30);
}

/// What a publisher asks for.
#[derive(Debug, Clone, Default)]
pub(crate) struct PublishRequest {
    /// The app's takeover policy.
    pub(crate) takeover: Takeover,
    /// How long subscribers stay when the publisher is lost; zero ends the stream at once.
    pub(crate) resume_window: Duration,
    /// Whether they stay for that time after an end in good order too.
    pub(crate) resume_after_end: bool,
    /// By which right it publishes; two with equal values have the same rights.
    pub(crate) principal: Option<String>,
    /// Engine ids that the stream has passed on its way here, oldest first (loop guard).
    pub(crate) hops: Vec<String>,
    /// What is decided about readers from its first frame on.
    pub(crate) policy: StreamPolicy,
    /// Who it is, for lists: a peer address, or the name of a file or relay.
    pub(crate) source: String,
    /// Its place among the streams of an address; kept until the stream ends or has another publisher.
    pub(crate) place: Option<Arc<Held>>,
}

/// Why a publisher was not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PublishRefusal {
    /// The name has a publisher and the takeover policy keeps it while it is connected.
    Kept,
    /// The name has a publisher that is sending.
    AlreadyPublishing,
    /// The present publisher was admitted by another right.
    OtherRights,
}

impl fmt::Display for PublishRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kept => {
                "already publishing: the app keeps its publisher until that disconnects (takeover = \"reject\")"
            }
            Self::AlreadyPublishing => {
                "already publishing: the present publisher is sending; the same right takes over once it is silent for 0.5 s"
            }
            Self::OtherRights => {
                "already publishing: the stream belongs to another right; use the same key, or takeover = \"replace\""
            }
        })
    }
}

impl std::error::Error for PublishRefusal {}

/// Why a stream ended for a publisher or a subscriber.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndReason {
    /// The publisher ended it on purpose.
    Unpublished,
    /// The publisher was lost and did not return within the resume window.
    PublisherLost,
    /// Nobody published within the time that the subscriber would wait.
    NotPublished,
    /// The subscriber fell off the ring too often within a minute.
    Lagging,
    /// Another publisher took the name over.
    Replaced,
    /// Ended by the operator or the embedding program, with a reason in words.
    Kicked(String),
    /// The engine is draining.
    Shutdown,
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unpublished => f.write_str("unpublished"),
            Self::PublisherLost => f.write_str("publisher lost and not back within the resume window"),
            Self::NotPublished => f.write_str("nobody publishes this stream"),
            Self::Lagging => f.write_str("reading too slowly"),
            Self::Replaced => f.write_str("taken over by another publisher"),
            Self::Kicked(why) => write!(f, "closed by the operator: {why}"),
            Self::Shutdown => f.write_str("server is shutting down"),
        }
    }
}

/// What a subscriber asks for.
#[derive(Debug, Clone)]
pub(crate) struct SubscribeOptions {
    /// Where to start in a live stream.
    pub(crate) start: StartAt,
    /// How long to wait for a publisher before the end is [`EndReason::NotPublished`]; `None` = for ever.
    pub(crate) wait: Option<Duration>,
    /// Whether it counts as somebody watching, for relay pulls on demand.
    pub(crate) interest: Interest,
}

/// A stream has as many players as it may have.
#[derive(Debug)]
pub(crate) struct Full;

impl Default for SubscribeOptions {
    fn default() -> Self {
        Self { start: StartAt::Keyframe, wait: None, interest: Interest::Viewer }
    }
}

/// Whether a subscriber makes the engine fetch a stream that is pulled on demand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interest {
    /// Somebody watches: on-demand pulls start.
    Viewer,
    /// Only follows a stream that is there anyway (relay push).
    Follower,
}

/// All streams of one engine. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Hub {
    shared: Arc<Shared>,
}

struct Shared {
    limits: ArcSwap<Limits>,
    map: Mutex<Map>,
    /// Bytes of all rings, those that are to be freed too.
    ring_bytes: Arc<AtomicUsize>,
    discarded: Arc<Discarded>,
    next_id: AtomicU64,
    changes: Changes,
}

#[derive(Default)]
struct Map {
    streams: HashMap<StreamKey, Arc<Stream>>,
    /// Viewers by stream, only for the streams that an on-demand pull watches.
    demand: HashMap<StreamKey, watch::Sender<usize>>,
}

impl Map {
    /// Takes a stream out; false where it is not in, or a later one of its name is.
    fn remove(&mut self, stream: &Arc<Stream>) -> bool {
        let is_in = self.streams.get(stream.key()).is_some_and(|current| Arc::ptr_eq(current, stream));
        is_in && self.streams.remove(stream.key()).is_some()
    }

    fn viewers(&self, key: &StreamKey) -> usize {
        self.streams.get(key).map_or(0, |stream| stream.viewers())
    }
}

impl Hub {
    /// A hub without streams.
    pub(crate) fn new(limits: &Limits) -> Self {
        let shared = Shared {
            limits: ArcSwap::from_pointee(limits.in_force().into_owned()),
            map: Mutex::default(),
            ring_bytes: Arc::default(),
            discarded: Arc::default(),
            next_id: AtomicU64::new(1),
            changes: Changes::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Holds to these limits from now on, streams that are live from their next frame on.
    pub(crate) fn set_limits(&self, limits: &Limits) {
        let limits = Arc::new(limits.in_force().into_owned());
        self.shared.limits.store(limits.clone());
        self.all().iter().for_each(|stream| stream.set_limits(&limits));
    }

    /// Takes the right to publish `key`, or says why not.
    pub(crate) fn publish(
        &self,
        key: &StreamKey,
        request: PublishRequest,
    ) -> Result<Publisher, PublishRefusal> {
        let id = self.next_id();
        loop {
            let stream = self.stream_or_new(key);
            if let Some(verdict) = stream.try_publish(id, &request) {
                return verdict.map(|ended| Publisher::new(self.clone(), stream, id, ended));
            }
            // It ended between look-up and publish: the next round makes a new one.
            self.remove(&stream);
        }
    }

    /// A subscriber of `key`, which need not have a publisher yet.
    pub(crate) fn subscribe(&self, key: &StreamKey, options: SubscribeOptions) -> Subscriber {
        let Ok(subscriber) = self.subscribe_if(key, options, |_| Ok::<_, Infallible>(()));
        subscriber
    }

    /// The same for a player, of whom the stream takes so many: as its publisher says, else `max_viewers`.
    pub(crate) fn subscribe_as_player(
        &self,
        key: &StreamKey,
        options: SubscribeOptions,
        max_viewers: Option<u64>,
    ) -> Result<Subscriber, Full> {
        self.subscribe_if(key, options, |state| state.has_room(max_viewers))
    }

    fn subscribe_if<E>(
        &self,
        key: &StreamKey,
        options: SubscribeOptions,
        may: impl Fn(&State) -> Result<(), E>,
    ) -> Result<Subscriber, E> {
        loop {
            let stream = self.stream_or_new(key);
            if stream.join_if(options.interest, &may)? {
                self.tell_demand(key, options.interest);
                return Ok(Subscriber::new(self.clone(), stream, options));
            }
            self.remove(&stream);
        }
    }

    /// How many viewers `key` has, as a value to watch; for relay pulls on demand.
    pub(crate) fn demand(&self, key: &StreamKey) -> watch::Receiver<usize> {
        let mut map = self.shared.map.lock();
        let viewers = map.viewers(key);
        map.demand.entry(key.clone()).or_insert_with(|| watch::Sender::new(viewers)).subscribe()
    }

    /// Whether somebody watches the demand for `key`, and publishes it as soon as it has a viewer.
    #[cfg(feature = "http")]
    pub(crate) fn is_fetched_on_demand(&self, key: &StreamKey) -> bool {
        self.shared.map.lock().demand.get(key).is_some_and(|demand| demand.receiver_count() > 0)
    }

    /// Nobody watches the demand for `key` any more, as far as the caller knows: forgets it unless others do.
    pub(crate) fn forget_demand(&self, key: &StreamKey) {
        let mut map = self.shared.map.lock();
        if map.demand.get(key).is_some_and(|demand| demand.receiver_count() == 0) {
            map.demand.remove(key);
        }
    }

    /// Facts of one stream.
    pub(crate) fn stream(&self, key: &StreamKey) -> Option<StreamInfo> {
        self.find(key).map(|stream| stream.info())
    }

    /// Counts bytes of a stream that somebody has got of it otherwise than by a subscriber.
    #[cfg(feature = "http")]
    pub(crate) fn count_sent(&self, key: &StreamKey, bytes: usize) {
        if let Some(stream) = self.find(key) {
            stream.count_sent(bytes as u64);
        }
    }

    /// Facts of all streams, by name.
    pub(crate) fn streams(&self) -> Vec<StreamInfo> {
        let mut infos: Vec<_> = self.all().iter().map(|stream| stream.info()).collect();
        infos.sort_by(|a, b| a.key.cmp(&b.key));
        infos
    }

    /// The streams of engines that a stream has been; empty where it has no publisher.
    pub(crate) fn hops(&self, key: &StreamKey) -> Vec<String> {
        self.find(key).map_or_else(Vec::new, |stream| stream.hops())
    }

    /// The place among the streams of an address that a stream has.
    pub(crate) fn place(&self, key: &StreamKey) -> Option<Arc<Held>> {
        self.find(key)?.with_state(|state| state.place.clone())
    }

    /// Where the stream's publisher wants players to start.
    pub(crate) fn start(&self, key: &StreamKey) -> Option<StartAt> {
        self.find(key)?.start()
    }

    /// Ends a stream: its publisher loses the right, its subscribers get the end. False where there is none.
    pub(crate) fn end(&self, key: &StreamKey, reason: EndReason) -> bool {
        let Some(stream) = self.find(key) else { return false };
        self.end_stream(&stream, reason);
        true
    }

    /// Takes the right to publish a stream away; its subscribers wait for the resume window. False where nobody
    /// publishes it.
    pub(crate) fn evict(&self, key: &StreamKey, reason: EndReason) -> bool {
        let Some(stream) = self.find(key) else { return false };
        let evicted = stream.evict(reason);
        if evicted == Some(true) {
            self.remove(&stream);
        }
        evicted.is_some()
    }

    /// Ends all streams.
    pub(crate) fn end_all(&self, reason: &EndReason) {
        for stream in self.all() {
            self.end_stream(&stream, reason.clone());
        }
    }

    /// Ends streams whose resume window is over. Call it about once a second; readers look for themselves too.
    pub(crate) fn sweep(&self) {
        for stream in self.all() {
            if stream.expire() {
                self.remove(&stream);
            }
        }
    }

    fn next_id(&self) -> u64 {
        self.shared.next_id.fetch_add(1, Ordering::Relaxed)
    }

    fn end_stream(&self, stream: &Arc<Stream>, reason: EndReason) {
        stream.end(reason);
        self.remove(stream);
    }

    fn find(&self, key: &StreamKey) -> Option<Arc<Stream>> {
        self.shared.map.lock().streams.get(key).cloned()
    }

    fn all(&self) -> Vec<Arc<Stream>> {
        self.shared.map.lock().streams.values().cloned().collect()
    }

    fn stream_or_new(&self, key: &StreamKey) -> Arc<Stream> {
        let shared = &self.shared;
        let make = || {
            let (total, discarded) = (shared.ring_bytes.clone(), shared.discarded.clone());
            let changes = shared.changes.clone();
            Arc::new(Stream::new(key, self.next_id(), &shared.limits.load(), total, discarded, changes))
        };
        shared.map.lock().streams.entry(key.clone()).or_insert_with(make).clone()
    }

    /// Takes an ended stream off the map; every end comes here, so watchers learn of it here.
    fn remove(&self, stream: &Arc<Stream>) {
        if self.shared.map.lock().remove(stream) {
            self.shared.changes.tell();
        }
    }

    fn leave(&self, stream: &Arc<Stream>, interest: Interest) {
        if stream.leave(interest) {
            self.remove(stream);
        }
        self.tell_demand(stream.key(), interest);
    }

    /// Tells who watches the demand for `key` after somebody has come or left. It is looked up anew under the map's lock, where nobody
    /// begins to watch: counted by each, who came meanwhile would be in it twice, and what is pulled would never be left.
    fn tell_demand(&self, key: &StreamKey, interest: Interest) {
        if interest != Interest::Viewer {
            return;
        }
        let map = self.shared.map.lock();
        if let Some(demand) = map.demand.get(key) {
            demand.send_replace(map.viewers(key));
        }
    }

    /// Waits until there are frames of ended streams to free. Safe to cancel.
    pub(crate) async fn discarded(&self) {
        self.shared.discarded.wait().await;
    }

    /// Frees some of these frames; false where there are none. The caller lets others work before the next call.
    pub(crate) fn free_some(&self) -> bool {
        self.shared.discarded.free_some()
    }

    /// Where all rings together are too large, those of ended streams give way first, then the largest.
    fn shed(&self) {
        while self.held_bytes() > self.shared.limits.load().ring_bytes_total {
            if self.free_some() {
                continue;
            }
            let largest = self.all().into_iter().max_by_key(|stream| stream.ring_bytes());
            if !largest.is_some_and(|stream| stream.shrink()) {
                return;
            }
        }
    }

    /// Bytes of all rings.
    pub(crate) fn held_bytes(&self) -> usize {
        self.shared.ring_bytes.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests;
