//! The connections of an engine: who is there, what they carried, and how to end one.

use crate::id::SessionId;
use crate::key::StreamKey;
use crate::status::{SessionInfo, SessionRole};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch;

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
    tls: bool,
    since: Instant,
    facts: Mutex<Facts>,
    connection: Arc<dyn Measured>,
    kicked: watch::Sender<Option<String>>,
    /// In microseconds; 0 = unknown.
    rtt: AtomicU64,
}

struct Facts {
    role: SessionRole,
    stream: Option<StreamKey>,
    agent: Option<String>,
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
        tls: bool,
        connection: Arc<dyn Measured>,
    ) -> Session {
        let entry = Arc::new(Entry {
            peer,
            tls,
            since: Instant::now(),
            facts: Mutex::new(Facts { role: SessionRole::Pending, stream: None, agent: None }),
            connection,
            kicked: watch::Sender::new(None),
            rtt: AtomicU64::new(0),
        });
        self.shared.totals.accepted.fetch_add(1, Ordering::Relaxed);
        self.shared.entries.lock().insert(id, entry.clone());
        Session { id, entry, shared: self.shared.clone() }
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
        let entry = self.shared.entries.lock().get(&id).cloned()?;
        Some(entry.info(id))
    }

    /// Asks a connection to end; false where there is none of that id.
    pub(crate) fn kick(&self, id: SessionId, reason: &str) -> bool {
        let entry = self.shared.entries.lock().get(&id).cloned();
        entry.is_some_and(|entry| {
            entry.kicked.send_replace(Some(reason.to_owned()));
            true
        })
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
    fn info(&self, id: SessionId) -> SessionInfo {
        let queue = self.connection.queue();
        let rtt = self.rtt.load(Ordering::Relaxed);
        let facts = self.facts.lock();
        let Traffic { received, sent } = self.connection.traffic();
        SessionInfo {
            id,
            peer: self.peer,
            tls: self.tls,
            role: facts.role,
            stream: facts.stream.clone(),
            agent: facts.agent.clone(),
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

    pub(crate) fn set_role(&self, role: SessionRole, stream: &StreamKey) {
        let mut facts = self.entry.facts.lock();
        facts.role = role;
        facts.stream = Some(stream.clone());
    }

    pub(crate) fn set_rtt(&self, rtt: Duration) {
        let micros = u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX);
        self.entry.rtt.store(micros.max(1), Ordering::Relaxed);
    }

    pub(crate) fn set_agent(&self, agent: &str) {
        self.entry.facts.lock().agent = Some(crate::Printable(agent).to_string());
    }

    /// Waits until somebody asks this connection to end; the reason. The future does not borrow the session.
    pub(crate) fn kicked(&self) -> impl Future<Output = String> + Send + 'static + use<> {
        let mut kicked = self.entry.kicked.subscribe();
        async move {
            let reason = kicked.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
            match reason {
                Some(reason) => reason,
                None => std::future::pending().await,
            }
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let mut entries = self.shared.entries.lock();
        entries.remove(&self.id);
        // Under the lock, so that no sum has the connection twice or not at all.
        let Traffic { received, sent } = self.entry.connection.traffic();
        self.shared.totals.bytes_in.fetch_add(received, Ordering::Relaxed);
        self.shared.totals.bytes_out.fetch_add(sent, Ordering::Relaxed);
    }
}
