//! The connections of an engine: who is there, what they carried, and how to end one.

use crate::id::SessionId;
use crate::key::StreamKey;
use crate::status::{Door, SessionInfo, SessionRole};
use parking_lot::Mutex;
use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::task::yield_now;

/// Connections that are looked at before other tasks have their turn.
const LISTED_PER_TURN: usize = 256;

/// What those are told whose grant was for a time.
const TIME_IS_OVER: &str = "the time that was granted is over";

/// What waits to be written to a connection.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Queue {
    pub(crate) age: Duration,
    pub(crate) bytes: u64,
    pub(crate) is_empty: bool,
    pub(crate) skipped: u64,
    /// Stream time of the newest audio and video that was put on its way to its first player.
    pub(crate) audio: Option<i64>,
    pub(crate) video: Option<i64>,
}

struct Entry {
    peer: SocketAddr,
    door: Door,
    tls: bool,
    since: Instant,
    facts: Mutex<Facts>,
    connection: Arc<dyn Measured>,
    /// In microseconds; 0 = unknown.
    rtt: AtomicU64,
}

struct Facts {
    role: SessionRole,
    stream: Option<StreamKey>,
    agent: Option<Box<str>>,
    /// Boxed, as players have none.
    #[expect(clippy::box_collection, reason = "half as large as a slice, and there are many")]
    page: Option<Box<String>>,
    #[expect(clippy::box_collection, reason = "likewise")]
    swf: Option<Box<String>>,
    /// Whether the peer follows requests to connect anew.
    follows_reconnects: bool,
    /// What somebody wants of the connection, and its task has not taken yet.
    order: Option<Order>,
    /// Who is to be told of that.
    waiter: Option<Waker>,
    /// What was shown for what has been granted to it ([`Grant::credential`](crate::Grant::credential)).
    credentials: Vec<Box<str>>,
    /// When what has been granted to it ends.
    until: Option<Instant>,
}

/// What somebody outside wants of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Order {
    /// To end, for this reason.
    Kick(String),
    /// To ask the peer to connect anew, to this URL or its own.
    Reconnect(Option<String>),
    /// To play this stream in place of what it plays.
    Redirect(StreamKey),
}

/// Bytes that a connection has carried.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Traffic {
    pub(crate) received: u64,
    pub(crate) sent: u64,
}

/// A connection counts for itself, where it has its hands anyway: counters elsewhere cost a cache miss per message.
pub(crate) trait Measured: Send + Sync {
    fn traffic(&self) -> Traffic;
    /// What waits for its players.
    fn queue(&self) -> Queue;
}

/// All connections of one engine, and its totals.
#[derive(Clone, Default)]
pub(crate) struct Sessions {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    entries: Mutex<HashMap<SessionId, Arc<Entry>>>,
    /// Connections that end at a time, the first one first.
    ends: Mutex<BTreeSet<(Instant, SessionId)>>,
    /// Told where there is a new first one.
    sooner: Notify,
    totals: Totals,
}

/// Counters since the engine's start.
#[derive(Default)]
pub(crate) struct Totals {
    pub(crate) accepted: AtomicU64,
    /// On connections that have ended.
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    pub(crate) panics: AtomicU64,
}

impl Sessions {
    /// Enters a connection; it stays listed until the handle is dropped.
    pub(crate) fn open(
        &self,
        id: SessionId,
        peer: SocketAddr,
        door: Door,
        tls: bool,
        connection: Arc<dyn Measured>,
    ) -> Session {
        let entry = Arc::new(Entry {
            peer,
            door,
            tls,
            since: Instant::now(),
            facts: Mutex::new(Facts {
                role: SessionRole::Pending,
                stream: None,
                agent: None,
                page: None,
                swf: None,
                follows_reconnects: false,
                order: None,
                waiter: None,
                credentials: Vec::new(),
                until: None,
            }),
            connection,
            rtt: AtomicU64::new(0),
        });
        self.shared.totals.accepted.fetch_add(1, Ordering::Relaxed);
        self.shared.entries.lock().insert(id, entry.clone());
        Session { id, entry, shared: self.shared.clone() }
    }

    pub(crate) fn count(&self) -> usize {
        self.shared.entries.lock().len()
    }

    pub(crate) fn list(&self) -> Vec<SessionInfo> {
        self.entries().iter().map(|(id, entry)| entry.info(*id)).collect()
    }

    /// The same, letting other tasks on in between: ten thousand connections take several milliseconds.
    pub(crate) async fn list_in_turns(&self) -> Vec<SessionInfo> {
        let entries = self.entries();
        let mut list = Vec::with_capacity(entries.len());
        for turn in entries.chunks(LISTED_PER_TURN) {
            list.extend(turn.iter().map(|(id, entry)| entry.info(*id)));
            yield_now().await;
        }
        list
    }

    /// Copied, because looking at a connection's output may take its lock.
    fn entries(&self) -> Vec<(SessionId, Arc<Entry>)> {
        let mut entries: Vec<_> =
            self.shared.entries.lock().iter().map(|(&id, entry)| (id, entry.clone())).collect();
        entries.sort_unstable_by_key(|(id, _)| *id);
        entries
    }

    pub(crate) fn get(&self, id: SessionId) -> Option<SessionInfo> {
        Some(self.entry(id)?.info(id))
    }

    /// Asks a connection to end; false where there is none of that id.
    pub(crate) fn kick(&self, id: SessionId, reason: &str) -> bool {
        let entry = self.entry(id);
        entry.is_some_and(|entry| {
            entry.order(Order::Kick(reason.to_owned()));
            true
        })
    }

    /// Asks the connections to end that something was granted for this credential; how many there were.
    pub(crate) fn kick_credential(&self, credential: &str, reason: &str) -> usize {
        let has = |entry: &Entry| entry.facts.lock().credentials.iter().any(|own| **own == *credential);
        let entries: Vec<_> =
            self.shared.entries.lock().values().filter(|entry| has(entry)).cloned().collect();
        entries.iter().for_each(|entry| entry.order(Order::Kick(reason.to_owned())));
        entries.len()
    }

    /// All credentials that something was granted for that goes on.
    #[cfg(feature = "keys")]
    pub(crate) fn credentials(&self) -> BTreeSet<Box<str>> {
        let entries = self.shared.entries.lock();
        entries.values().flat_map(|entry| entry.facts.lock().credentials.clone()).collect()
    }

    /// Ends connections when the time is over that was granted to them. For as long as it is polled.
    pub(crate) async fn end_in_time(&self) {
        loop {
            let sooner = self.shared.sooner.notified();
            let first = self.shared.ends.lock().first().copied();
            match first {
                Some((at, id)) if at <= Instant::now() => {
                    self.shared.ends.lock().remove(&(at, id));
                    self.kick(id, TIME_IS_OVER);
                }
                Some((at, _)) => {
                    let _ = tokio::time::timeout_at(at.into(), sooner).await;
                }
                None => sooner.await,
            }
        }
    }

    /// Has a peer asked to connect anew, to `url` or its own; `None` where there is none of that id, false where it does
    /// not follow such requests.
    pub(crate) fn request_reconnect(&self, id: SessionId, url: Option<&str>) -> Option<bool> {
        let entry = self.entry(id)?;
        let follows = entry.facts.lock().follows_reconnects;
        if follows {
            entry.order(Order::Reconnect(url.map(str::to_owned)));
        }
        Some(follows)
    }

    /// Has a player go on with another stream; `None` where there is none of that id, false where it is no player of RTMP.
    pub(crate) fn redirect(&self, id: SessionId, stream: &StreamKey) -> Option<bool> {
        let entry = self.entry(id)?;
        let plays = entry.door == Door::Rtmp && entry.facts.lock().role == SessionRole::Player;
        if plays {
            entry.order(Order::Redirect(stream.clone()));
        }
        Some(plays)
    }

    fn entry(&self, id: SessionId) -> Option<Arc<Entry>> {
        self.shared.entries.lock().get(&id).cloned()
    }

    /// Counts a task that has panicked.
    pub(crate) fn count_panic(&self) {
        self.shared.totals.panics.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn totals(&self) -> &Totals {
        &self.shared.totals
    }

    /// Bytes on all connections since the start.
    pub(crate) fn traffic(&self) -> Traffic {
        let entries = self.shared.entries.lock();
        let totals = &self.shared.totals;
        let ended = Traffic {
            received: totals.bytes_in.load(Ordering::Relaxed),
            sent: totals.bytes_out.load(Ordering::Relaxed),
        };
        entries.values().fold(ended, |sum, entry| {
            let Traffic { received, sent } = entry.connection.traffic();
            Traffic { received: sum.received + received, sent: sum.sent + sent }
        })
    }
}

impl Entry {
    /// Leaves an order to the connection's task. Whoever is to end is asked for nothing else.
    fn order(&self, order: Order) {
        let mut facts = self.facts.lock();
        if !matches!(facts.order, Some(Order::Kick(_))) {
            facts.order = Some(order);
        }
        let waiter = facts.waiter.take();
        drop(facts);
        if let Some(waiter) = waiter {
            waiter.wake();
        }
    }

    fn info(&self, id: SessionId) -> SessionInfo {
        let queue = self.connection.queue();
        let rtt = self.rtt.load(Ordering::Relaxed);
        let facts = self.facts.lock();
        let Traffic { received, sent } = self.connection.traffic();
        SessionInfo {
            id,
            peer: self.peer,
            door: self.door,
            tls: self.tls,
            role: facts.role,
            stream: facts.stream.clone(),
            agent: facts.agent.as_deref().map(str::to_owned),
            page: facts.page.as_deref().cloned(),
            swf: facts.swf.as_deref().cloned(),
            uptime: self.since.elapsed(),
            bytes_in: received,
            bytes_out: sent,
            queue: queue.age,
            queue_bytes: queue.bytes,
            is_caught_up: queue.is_empty,
            frames_dropped: queue.skipped,
            timestamp: queue.audio.max(queue.video),
            skew_ms: queue.audio.zip(queue.video).map(|(audio, video)| audio.saturating_sub(video)),
            rtt: (rtt > 0).then(|| Duration::from_micros(rtt)),
        }
    }
}

/// A URL that a peer tells, without its query, which may hold a secret, and without user and password.
fn shown(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let url = match url.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            format!("{scheme}://{host}{path}")
        }
        None => url.to_owned(),
    };
    crate::Printable(&url).to_string()
}

/// One connection's place in the list.
pub(crate) struct Session {
    id: SessionId,
    entry: Arc<Entry>,
    shared: Arc<Shared>,
}

impl Session {
    pub(crate) fn id(&self) -> SessionId {
        self.id
    }

    /// What counts what the connection carries.
    #[cfg(feature = "http")]
    pub(crate) fn measured(&self) -> Arc<dyn Measured> {
        self.entry.connection.clone()
    }

    pub(crate) fn set_role(&self, role: SessionRole, stream: &StreamKey) {
        let mut facts = self.entry.facts.lock();
        facts.role = role;
        facts.stream = Some(stream.clone());
    }

    /// Notes what was shown for a grant, and how long that lasts.
    pub(crate) fn hold(&self, credential: Option<String>, lasts: Option<Duration>) {
        let mut facts = self.entry.facts.lock();
        if let Some(credential) = credential.map(String::into_boxed_str)
            && !facts.credentials.contains(&credential)
        {
            facts.credentials.push(credential);
        }
        let Some(at) = lasts.and_then(|lasts| Instant::now().checked_add(lasts)) else { return };
        if facts.until.is_some_and(|until| until <= at) {
            return;
        }
        let mut ends = self.shared.ends.lock();
        if let Some(later) = facts.until.replace(at) {
            ends.remove(&(later, self.id));
        }
        ends.insert((at, self.id));
        self.shared.sooner.notify_one();
    }

    pub(crate) fn set_rtt(&self, rtt: Duration) {
        let micros = u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX);
        self.entry.rtt.store(micros.max(1), Ordering::Relaxed);
    }

    pub(crate) fn set_agent(&self, agent: &str) {
        self.entry.facts.lock().agent = Some(crate::Printable(agent).to_string().into());
    }

    /// Notes the page that the peer says it is on, and the player that it says it is.
    pub(crate) fn set_origin(&self, page: Option<&str>, swf: Option<&str>) {
        let shown = |url: Option<&str>| url.filter(|url| !url.is_empty()).map(|url| Box::new(shown(url)));
        let mut facts = self.entry.facts.lock();
        (facts.page, facts.swf) = (shown(page), shown(swf));
    }

    pub(crate) fn set_follows_reconnects(&self, follows: bool) {
        self.entry.facts.lock().follows_reconnects = follows;
    }

    /// Ready when somebody wants something of this connection.
    pub(crate) fn poll_order(&self, cx: &mut Context<'_>) -> Poll<Order> {
        let mut facts = self.entry.facts.lock();
        if let Some(order) = facts.order.take() {
            return Poll::Ready(order);
        }
        if !facts.waiter.as_ref().is_some_and(|waiter| waiter.will_wake(cx.waker())) {
            facts.waiter = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(until) = self.entry.facts.lock().until {
            self.shared.ends.lock().remove(&(until, self.id));
        }
        let mut entries = self.shared.entries.lock();
        entries.remove(&self.id);
        // Under the lock, so that no sum has the connection twice or not at all.
        let Traffic { received, sent } = self.entry.connection.traffic();
        self.shared.totals.bytes_in.fetch_add(received, Ordering::Relaxed);
        self.shared.totals.bytes_out.fetch_add(sent, Ordering::Relaxed);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A connection that carries nothing.
    pub(crate) struct Nothing;

    impl Measured for Nothing {
        fn traffic(&self) -> Traffic {
            Traffic::default()
        }

        fn queue(&self) -> Queue {
            Queue::default()
        }
    }

    #[test]
    fn what_a_peer_tells_of_itself_is_kept_short_and_without_secrets() {
        for (told, expected) in [
            ("http://a.example/page?key=hunter2#x", "http://a.example/page"),
            ("http://me:hunter2@a.example/page", "http://a.example/page"),
            ("http://hunter2@a.example", "http://a.example"),
            ("\u{1b}[31mx", "\\u{1b}[31mx"),
        ] {
            assert_eq!(shown(told), expected);
        }
        assert!(shown(&format!("http://a/{}", "ä".repeat(10_000))).len() < 300);
    }

    #[test]
    fn a_connection_that_begins_again_and_again_with_one_credential_holds_it_once() {
        let sessions = Sessions::default();
        let peer = "192.0.2.7:4000".parse().unwrap();
        let session = sessions.open(SessionId::new(), peer, Door::Rtmp, false, Arc::new(Nothing));
        for lasts in 1..1_000 {
            session.hold(Some("key:a".to_owned()), Some(Duration::from_secs(lasts)));
        }
        assert_eq!(session.entry.facts.lock().credentials.len(), 1);
        assert_eq!(sessions.shared.ends.lock().len(), 1);
        assert_eq!(sessions.kick_credential("key:a", "over"), 1);
        assert_eq!(sessions.kick_credential("key:b", "over"), 0);
        drop(session);
        assert!(sessions.shared.ends.lock().is_empty());
    }
}
