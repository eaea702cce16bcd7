//! Relays: a local stream pushed to remote servers, a remote stream pulled into a local name.
//!
//! Each relay is a task of its own that meets the others only in the hub: a push is one more subscriber, a pull one
//! more publisher. So a target that dies, stalls or refuses costs nobody else anything.

mod audience;
mod auth;
mod backoff;
mod connection;
#[cfg(feature = "http")]
mod flv_pull;
mod granted;
mod intake;
mod origin;
mod pull;
mod push;
mod task;
#[cfg(test)]
mod tests;
mod watchdog;

use crate::config::{PullConfig, PushConfig, PushTuning};
use crate::id::RelayId;
use crate::key::StreamKey;
use crate::log_limit::left_out;
use crate::net::Dialer;
use crate::service::Core;
use crate::service::jobs::{self, Job, Jobs};
use crate::status::{RelayDirection, RelayState, RelayStatus};
use crate::url::{RemoteUrl, RtmpUrl};
use crate::{Error, ErrorKind, Result};
use std::sync::Arc;
use std::time::Duration;
use task::{AttemptError, Relay, Told};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

bound! {
    /// Pause before a relay that a bug of ours has ended is started again
    /// (test `f52_a_panic_costs_one_attempt_of_one_relay_and_is_counted`).
    const AFTER_PANIC: Duration = Duration::from_secs(5), without Duration::ZERO;
}

/// All relays of one engine.
pub(crate) struct Relays {
    jobs: Jobs<RelayJob>,
    dialer: Arc<Dialer>,
}

/// A relay, and what it was asked to do.
pub(crate) struct RelayJob {
    relay: Arc<Relay>,
    config: RelayConfig,
}

enum RelayConfig {
    Push(PushConfig),
    Pull(PullConfig),
}

impl Job for RelayJob {
    type Id = RelayId;
    type Status = RelayStatus;
    const KIND: &'static str = "relay";

    fn status(&self) -> RelayStatus {
        self.relay.status()
    }
}

impl Relays {
    /// Relays that run on `runtime`; their owner may call from any thread.
    pub(crate) fn new(core: Arc<Core>, runtime: Handle) -> Self {
        let dialer = Arc::new(Dialer::new(&core.limits()));
        Self { jobs: Jobs::new(core, runtime), dialer }
    }

    /// Fetches streams of origins when players want them, until the engine drains.
    pub(crate) fn serve_origins(&self) {
        origin::serve(self.jobs.core(), &self.dialer, self.jobs.runtime());
    }

    /// Pushes streams to where the right to publish them says, for as long as it is polled.
    pub(crate) async fn serve_granted(self: Arc<Self>) {
        granted::serve(self.jobs.core().clone(), self).await;
    }

    /// Pushes a local stream whenever it is live.
    pub(crate) fn push(&self, mut config: PushConfig) -> RelayId {
        // Names that cannot be were refused when the configuration was checked.
        config.url = config.target().unwrap_or(config.url);
        let relay = self.relay(RelayDirection::Push, &config.stream, config.url.clone().into());
        relay.set_tuning(config.tuning.clone());
        self.add(relay, RelayConfig::Push(config))
    }

    /// Tells the publisher of its stream, where it wants to know, how a push fares.
    #[cfg(feature = "http")]
    fn tell_publisher(&self, id: RelayId) {
        // It may have been removed.
        if let Ok(job) = self.jobs.get(id) {
            job.relay.tell_publisher(&job.relay.status());
        }
    }

    /// Pulls a remote stream, always or while somebody watches.
    pub(crate) fn pull(&self, mut config: PullConfig) -> RelayId {
        config.url = config.source().unwrap_or(config.url);
        let relay = self.relay(RelayDirection::Pull, &config.stream, config.url.clone());
        relay.set_tuning(config.tuning());
        self.add(relay, RelayConfig::Pull(config))
    }

    /// Pulls in place of a relay, which ends: players of the local stream wait for what comes.
    pub(crate) fn pull_instead(&self, id: RelayId, config: PullConfig) -> RelayId {
        if let Ok(job) = self.jobs.get(id) {
            job.relay.set_replaced();
        }
        // It may have been removed before.
        let _ = self.jobs.remove(id);
        self.pull(config)
    }

    fn relay(&self, direction: RelayDirection, stream: &StreamKey, url: RemoteUrl) -> Relay {
        if let Some(warning) = url.warning() {
            tracing::warn!(%url, "{warning}");
        }
        Relay::new(self.jobs.core(), &self.dialer, direction, stream.clone(), url, Told::Everybody)
    }

    fn add(&self, relay: Relay, config: RelayConfig) -> RelayId {
        let job = Arc::new(RelayJob { relay: Arc::new(relay), config });
        let id = job.relay.id;
        self.jobs.add(id, job.clone(), |stop| run(job, stop));
        id
    }

    /// Ends a relay: a push with a clean unpublish, a pull with the end of the local stream. Neither publisher nor
    /// other relays notice. The connection is closed within a second.
    pub(crate) fn remove(&self, id: RelayId) -> Result<()> {
        self.jobs.remove(id)
    }

    /// Changes how a push connects and waits, from its next step on; a connection that stands is kept.
    pub(crate) fn tune(&self, id: RelayId, tuning: PushTuning) -> Result<()> {
        let job = self.jobs.get(id)?;
        match job.config {
            RelayConfig::Push(_) => job.relay.set_tuning(tuning),
            RelayConfig::Pull(_) => {
                return Err(Error::new(ErrorKind::State, format!("relay {id}: it is a pull")));
            }
        }
        Ok(())
    }

    /// Starts a relay anew at once: out of a wait, out of [`RelayState::Failed`], or with a fresh connection.
    pub(crate) fn restart(&self, id: RelayId) -> Result<()> {
        self.jobs.restart(id, run)
    }

    /// Where all relays stand, in the order in which they were added.
    pub(crate) fn list(&self) -> Vec<RelayStatus> {
        self.jobs.list()
    }

    /// Where one relay stands; `None` where there is none of that id.
    pub(crate) fn status(&self, id: RelayId) -> Option<RelayStatus> {
        self.jobs.status(id)
    }
}

/// Runs a relay's task. A panic in it is a bug of ours: it costs this relay a pause, and nobody else anything.
async fn run(job: Arc<RelayJob>, stop: CancellationToken) {
    let relay = &job.relay;
    while !jobs::survives(&relay.core, work(job.clone(), stop.clone())).await {
        let text = "a bug in the engine has ended this relay's task";
        relay.note(&AttemptError::lost(ErrorKind::Internal, text));
        relay.enter(RelayState::BackingOff);
        if stop.run_until_cancelled(tokio::time::sleep(AFTER_PANIC.get())).await.is_none() {
            return;
        }
    }
}

async fn work(job: Arc<RelayJob>, stop: CancellationToken) {
    match &job.config {
        RelayConfig::Push(config) => push::run(&job.relay, config, &stop).await,
        RelayConfig::Pull(config) => pull::run(&job.relay, config, &stop).await,
    }
}

/// Whether a server's request to connect anew is followed: where it sends us to where we are, as no URL that a peer chooses
/// is dialled.
fn may_move(relay: &Relay, url: &RtmpUrl, tc_url: Option<&str>) -> bool {
    let verdict = tc_url.map_or(Ok(()), |tc_url| url.check_move(tc_url));
    if let Err(why) = verdict
        && let Some(more) = relay.ignored.allow()
    {
        let left_out = left_out(more);
        tracing::warn!(stream = %relay.stream, %url, left_out, "reconnect request ignored: {why}");
    }
    verdict.is_ok()
}
