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

/// What those are told whose grant was for a time.
const TIME_IS_OVER: &str = "the time that was granted is over";

/// What waits to be written to a connection.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Queue {
    pub(crate) age: Duration,
    pub(crate) bytes: u64,
    pub(crate) is_empty: bool,
    pub(crate) skipped: u64,
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
        // Copied, because looking at a connection's output may take its lock.
        let entries: Vec<_> =
            self.shared.entries.lock().iter().map(|(&id, entry)| (id, entry.clone())).collect();
        let mut list: Vec<_> = entries.iter().map(|(id, entry)| entry.info(*id)).collect();
        list.sort_by_key(|session| session.id);
        list
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
            uptime: self.since.elapsed(),
            bytes_in: received,
            bytes_out: sent,
            queue: queue.age,
            queue_bytes: queue.bytes,
            is_caught_up: queue.is_empty,
            frames_dropped: queue.skipped,
            rtt: (rtt > 0).then(|| Duration::from_micros(rtt)),
        }
    }
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
