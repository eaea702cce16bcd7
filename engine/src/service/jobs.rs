//! Jobs: what an engine does on its own account until it is told to stop, such as relays and files. One registry for all
//! kinds: each job is a task of its own, has an id, a status, and ends with the engine's drain.

use crate::service::Core;
use crate::{Error, ErrorKind, Result};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::future::Future;
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// What the registry has to know of a kind of job.
pub(crate) trait Job: Send + Sync + 'static {
    /// Names one.
    type Id: Copy + Ord + Display + Send;
    /// What is told of one.
    type Status;
    /// What error texts call one.
    const KIND: &'static str;

    /// Where it stands.
    fn status(&self) -> Self::Status;
}

/// All jobs of one kind, in the order in which they were added. Those that have ended stay listed until they are removed.
pub(crate) struct Jobs<J: Job> {
    core: Arc<Core>,
    runtime: Handle,
    entries: Mutex<BTreeMap<J::Id, Entry<J>>>,
}

struct Entry<J> {
    job: Arc<J>,
    stop: CancellationToken,
    /// Taken only while it is replaced.
    task: Option<JoinHandle<()>>,
}

impl<J: Job> Jobs<J> {
    /// Jobs that run on `runtime`; their owner may call from any thread.
    pub(crate) fn new(core: Arc<Core>, runtime: Handle) -> Self {
        Self { core, runtime, entries: Mutex::default() }
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// What they run on.
    pub(crate) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Starts a job: `run` makes its task, which has to end when the token is cancelled.
    pub(crate) fn add<F: Future<Output = ()> + Send + 'static>(
        &self,
        id: J::Id,
        job: Arc<J>,
        run: impl FnOnce(CancellationToken) -> F,
    ) {
        let stop = self.core.draining.child_token();
        let task = Some(self.core.tasks.spawn_on(run(stop.clone()), &self.runtime));
        self.entries.lock().insert(id, Entry { job, stop, task });
    }

    /// Ends a job in good order, and takes it off the list.
    pub(crate) fn remove(&self, id: J::Id) -> Result<()> {
        let entry = self.entries.lock().remove(&id).ok_or_else(|| missing::<J>(id))?;
        entry.stop.cancel();
        Ok(())
    }

    /// Ends a job's task and starts it anew, out of whatever state it is in.
    pub(crate) fn restart<F: Future<Output = ()> + Send + 'static>(
        &self,
        id: J::Id,
        run: impl FnOnce(Arc<J>, CancellationToken) -> F,
    ) -> Result<()> {
        let mut entries = self.entries.lock();
        let entry = entries.get_mut(&id).ok_or_else(|| missing::<J>(id))?;
        entry.stop.cancel();
        entry.stop = self.core.draining.child_token();
        let before = entry.task.take();
        let next = run(entry.job.clone(), entry.stop.clone());
        let task = async move {
            if let Some(before) = before {
                // Its end says nothing that is not in the job's status.
                let _ = before.await;
            }
            next.await;
        };
        entry.task = Some(self.core.tasks.spawn_on(task, &self.runtime));
        Ok(())
    }

    /// One job.
    pub(crate) fn get(&self, id: J::Id) -> Result<Arc<J>> {
        self.entries.lock().get(&id).map(|entry| entry.job.clone()).ok_or_else(|| missing::<J>(id))
    }

    /// All jobs.
    pub(crate) fn all(&self) -> Vec<Arc<J>> {
        self.entries.lock().values().map(|entry| entry.job.clone()).collect()
    }

    /// Where all jobs stand.
    pub(crate) fn list(&self) -> Vec<J::Status> {
        self.entries.lock().values().map(|entry| entry.job.status()).collect()
    }

    /// Where one job stands; `None` where there is none of that id.
    pub(crate) fn status(&self, id: J::Id) -> Option<J::Status> {
        self.entries.lock().get(&id).map(|entry| entry.job.status())
    }
}

fn missing<J: Job>(id: J::Id) -> Error {
    Error::new(ErrorKind::NotFound, format!("{} {id}: there is none", J::KIND))
}

/// Runs a job's work as a task of its own; false where a bug of ours has ended it by a panic, which is counted.
pub(crate) async fn survives(core: &Core, work: impl Future<Output = ()> + Send + 'static) -> bool {
    let ended = core.tasks.spawn(work).await;
    let has_panicked = ended.is_err_and(|error| error.is_panic());
    if has_panicked {
        core.sessions.count_panic();
    }
    !has_panicked
}
