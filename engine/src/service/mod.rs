//! The services: each talks to the hub, never to another service.

pub(crate) mod file_loop;
pub(crate) mod jobs;
pub(crate) mod relay;
pub(crate) mod rtmp;
pub(crate) mod streams;

use crate::auth::Gate;
use crate::config::{AppConfig, Config};
use crate::egress::Egress;
use crate::events::Events;
use crate::hops;
use crate::hub::Hub;
use crate::key::StreamKey;
use crate::sessions::Sessions;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What every service of one engine shares.
pub(crate) struct Core {
    /// Names this engine in `connect` objects: the loop guard refuses streams that have passed it before.
    pub(crate) id: String,
    pub(crate) config: Config,
    pub(crate) hub: Hub,
    pub(crate) auth: Gate,
    pub(crate) events: Events,
    pub(crate) sessions: Sessions,
    pub(crate) egress: Egress,
    /// Cancelled when the engine drains: no new connections, streams end, peers are told.
    pub(crate) draining: CancellationToken,
    /// Every task of the engine.
    pub(crate) tasks: TaskTracker,
}

impl Core {
    pub(crate) fn new(config: Config, auth: Gate, events: Events) -> Self {
        let (tasks, draining) = (TaskTracker::new(), CancellationToken::new());
        let (threads, batch_bytes) = (config.engine.threads(), config.limits.player_batch);
        Self {
            id: hops::new_id(),
            hub: Hub::new(&config.limits),
            config,
            auth,
            events,
            sessions: Sessions::default(),
            egress: Egress::new(threads, batch_bytes, tasks.clone(), draining.clone()),
            draining,
            tasks,
        }
    }

    /// The policy of a stream's app; `None` where the configuration lists apps and this one is not among them.
    pub(crate) fn app(&self, key: &StreamKey) -> Option<&AppConfig> {
        self.config.app(key.app())
    }
}
