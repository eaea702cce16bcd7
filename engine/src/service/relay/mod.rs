//! Relays: a local stream pushed to remote servers, a remote stream pulled into a local name.
//!
//! Each relay is a task of its own that meets the others only in the hub: a push is one more subscriber, a pull one
//! more publisher. So a target that dies, stalls or refuses costs nobody else anything.

mod auth;
mod backoff;
mod connection;
mod pull;
mod push;
mod task;
#[cfg(test)]
mod tests;

use crate::config::{PullConfig, PushConfig, PushTuning};
use crate::id::Id;
use crate::net::Dialer;
use crate::service::Core;
use crate::status::{RelayDirection, RelayState, RelayStatus};
use crate::url::RtmpUrl;
use crate::{Error, ErrorKind, Result};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use task::{AttemptError, Relay};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Pause before a relay that a bug of ours has ended is started again.
const AFTER_PANIC: Duration = Duration::from_secs(5);

#[derive(Debug, Clone)]
enum Job {
    Push(PushConfig),
    Pull(PullConfig),
}

/// All relays of one engine.
pub(crate) struct Relays {
    core: Arc<Core>,
    dialer: Arc<Dialer>,
    runtime: Handle,
    entries: Mutex<BTreeMap<Id, Entry>>,
}

struct Entry {
    relay: Arc<Relay>,
    job: Job,
    stop: CancellationToken,
    /// Taken only while it is replaced.
    task: Option<JoinHandle<()>>,
}

impl Relays {
    /// Relays that run on `runtime`; their owner may call from any thread.
    pub(crate) fn new(core: Arc<Core>, runtime: Handle) -> Self {
        let dialer = Arc::new(Dialer::new(&core.config.limits));
        Self { core, dialer, runtime, entries: Mutex::default() }
    }

    /// Pushes a local stream whenever it is live.
    pub(crate) fn push(&self, config: PushConfig) -> Id {
        self.add(Job::Push(config))
    }

    /// Pulls a remote stream, always or while somebody watches.
    pub(crate) fn pull(&self, config: PullConfig) -> Id {
        self.add(Job::Pull(config))
    }

    fn add(&self, job: Job) -> Id {
        let (direction, stream, url, tuning) = match &job {
            Job::Push(push) => (RelayDirection::Push, &push.stream, &push.url, push.tuning.clone()),
            Job::Pull(pull) => (RelayDirection::Pull, &pull.stream, &pull.url, PushTuning::default()),
        };
        if let Some(warning) = url.warning() {
            tracing::warn!(%url, "{warning}");
        }
        let relay = Arc::new(Relay::new(&self.core, &self.dialer, direction, stream.clone(), url.clone()));
        relay.set_tuning(tuning);
        let stop = self.core.draining.child_token();
        let guard = guard(relay.clone(), job.clone(), stop.clone());
        let task = Some(self.core.tasks.spawn_on(guard, &self.runtime));
        let id = relay.id;
        self.entries.lock().insert(id, Entry { relay, job, stop, task });
        id
    }

    /// Ends a relay: a push with a clean unpublish, a pull with the end of the local stream. Neither publisher nor
    /// other relays notice. The connection is closed within a second.
    pub(crate) fn remove(&self, id: Id) -> Result<()> {
        let entry = self.entries.lock().remove(&id).ok_or_else(|| unknown(id))?;
        entry.stop.cancel();
        Ok(())
    }

    /// Changes how a push connects and waits, from its next step on; a connection that stands is kept.
    pub(crate) fn tune(&self, id: Id, tuning: PushTuning) -> Result<()> {
        let entries = self.entries.lock();
        let entry = entries.get(&id).ok_or_else(|| unknown(id))?;
        match entry.job {
            Job::Push(_) => entry.relay.set_tuning(tuning),
            Job::Pull(_) => return Err(Error::new(ErrorKind::State, format!("relay {id}: it is a pull"))),
        }
        Ok(())
    }

    /// Starts a relay anew at once: out of a wait, out of [`RelayState::Failed`], or with a fresh connection.
    pub(crate) fn restart(&self, id: Id) -> Result<()> {
        let mut entries = self.entries.lock();
        let entry = entries.get_mut(&id).ok_or_else(|| unknown(id))?;
        entry.stop.cancel();
        let stop = self.core.draining.child_token();
        let before = entry.task.take();
        let next = guard(entry.relay.clone(), entry.job.clone(), stop.clone());
        entry.stop = stop;
        let task = async move {
            if let Some(before) = before {
                // Its end says nothing that is not in the relay's status.
                let _ = before.await;
            }
            next.await;
        };
        entry.task = Some(self.core.tasks.spawn_on(task, &self.runtime));
        Ok(())
    }

    /// Where all relays stand, in the order in which they were added.
    pub(crate) fn list(&self) -> Vec<RelayStatus> {
        self.entries.lock().values().map(|entry| entry.relay.status()).collect()
    }

    /// Where one relay stands; `None` where there is none of that id.
    pub(crate) fn status(&self, id: Id) -> Option<RelayStatus> {
        self.entries.lock().get(&id).map(|entry| entry.relay.status())
    }
}

fn unknown(id: Id) -> Error {
    Error::new(ErrorKind::NotFound, format!("relay {id}: there is none"))
}

/// Runs a relay's task. A panic in it is a bug of ours: it costs this relay a pause, and nobody else anything.
async fn guard(relay: Arc<Relay>, job: Job, stop: CancellationToken) {
    loop {
        let (inner, job, token) = (relay.clone(), job.clone(), stop.clone());
        let task = relay.core.tasks.spawn(async move {
            match &job {
                Job::Push(config) => push::run(&inner, config, &token).await,
                Job::Pull(config) => pull::run(&inner, config, &token).await,
            }
        });
        match task.await {
            Err(error) if error.is_panic() => {
                relay.core.sessions.count_panic();
                relay.note(&AttemptError::lost(
                    ErrorKind::Internal,
                    "a bug in the engine has ended this relay's task",
                ));
                relay.enter(RelayState::BackingOff);
                if stop.run_until_cancelled(tokio::time::sleep(AFTER_PANIC)).await.is_none() {
                    return;
                }
            }
            _ => return,
        }
    }
}

/// Where a server's reconnect request sends us: the same host only, as no URL that a peer chooses is dialled.
fn moved(relay: &Relay, url: &RtmpUrl, tc_url: Option<&str>) -> Option<RtmpUrl> {
    let Some(tc_url) = tc_url else { return Some(url.clone()) };
    match url.moved_to(tc_url) {
        Ok(to) => Some(to),
        Err(why) => {
            tracing::warn!(relay = relay.id.0, %url, "reconnect request ignored: {why}");
            None
        }
    }
}
