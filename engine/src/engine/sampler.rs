//! Looks at the whole engine once a second, for those who watch it.

use crate::net::Admission;
use crate::service::Core;
use crate::service::file_loop::FileJobs;
use crate::service::relay::Relays;
use crate::statistics::Facts;
use crate::status::{EngineStats, SessionInfo, SessionRole, StreamInfo, StreamState};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::time::{MissedTickBehavior, interval};

/// How often it looks.
const EVERY: Duration = Duration::from_secs(1);

/// What it looks at: all parts of the engine, and not the engine, which it would keep alive.
pub(super) struct Sampler {
    pub(super) core: Arc<Core>,
    pub(super) relays: Arc<Relays>,
    pub(super) files: Arc<FileJobs>,
    pub(super) admission: Arc<Admission>,
    pub(super) since: Instant,
}

impl Sampler {
    /// For as long as it is polled.
    pub(super) async fn run(self) {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let sessions = self.core.sessions.list_in_turns().await;
            let streams = self.core.hub.streams();
            let engine = self.stats(&streams, &sessions);
            let (relays, files, origins) = (self.relays.list(), self.files.list(), self.core.origins.list());
            self.core.statistics.note(Facts { engine, streams, sessions, relays, files, origins });
        }
    }

    /// Counters of the whole engine.
    pub(super) fn stats(&self, streams: &[StreamInfo], sessions: &[SessionInfo]) -> EngineStats {
        let totals = self.core.sessions.totals();
        let traffic = self.core.sessions.traffic();
        let having = |role| sessions.iter().filter(|session| session.role == role).count();
        EngineStats {
            uptime: self.since.elapsed(),
            connections_accepted: totals.accepted.load(Ordering::Relaxed),
            connections_rejected: self.admission.rejected(),
            connections: sessions.len(),
            publishers: having(SessionRole::Publisher),
            players: having(SessionRole::Player),
            streams_live: streams.iter().filter(|stream| stream.state == StreamState::Live).count(),
            bytes_in: traffic.received,
            bytes_out: traffic.sent,
            ring_bytes: streams.iter().map(|stream| stream.ring_bytes).sum(),
            panics: totals.panics.load(Ordering::Relaxed),
        }
    }
}
