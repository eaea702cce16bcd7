//! The callback thread of an engine: one plain thread that runs small tasks, each of which waits for something to tell
//! the host and then calls it. It belongs to no async runtime, so that callbacks may make blocking calls.

use crate::status::{Failure, Outcome, se_status};
use async_executor::{Executor, Task};
use parking_lot::{Condvar, Mutex};
use std::cell::Cell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Runs the callbacks of one engine. The thread starts with the first task.
#[derive(Default)]
pub(crate) struct Dispatcher {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    /// Taken when the dispatcher ends; with it go the tasks and the callbacks that they hold.
    executor: Mutex<Option<Arc<Executor<'static>>>>,
    stop: CancellationToken,
    ended: Mutex<bool>,
    has_ended: Condvar,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            executor: Mutex::new(Some(Arc::new(Executor::new()))),
            stop: CancellationToken::new(),
            ended: Mutex::new(false),
            has_ended: Condvar::new(),
        }
    }
}

thread_local! {
    /// Whose callback thread this is; null on all others.
    static CURRENT: Cell<*const Shared> = const { Cell::new(std::ptr::null()) };
}

impl Dispatcher {
    /// Runs a task on the callback thread; dropping the result ends it at its next wait.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> Outcome<Task<()>> {
        let closed = || Failure::new(se_status::SE_E_CLOSED, "engine: it has been freed");
        let executor = self.shared.executor.lock().clone().ok_or_else(closed)?;
        self.start()?;
        Ok(executor.spawn(task))
    }

    /// Whether the caller is in a callback of this engine.
    pub(crate) fn is_current(&self) -> bool {
        CURRENT.with(|current| std::ptr::eq(current.get(), Arc::as_ptr(&self.shared)))
    }

    /// Ends the thread and all tasks. False where a callback did not return within `timeout`: the thread then ends by
    /// itself when it does.
    pub(crate) fn shutdown(&self, timeout: Duration) -> bool {
        self.shared.stop.cancel();
        let Some(thread) = self.thread.lock().take() else {
            drop(self.shared.executor.lock().take());
            return true;
        };
        let deadline = Instant::now() + timeout;
        let mut ended = self.shared.ended.lock();
        while !*ended {
            if self.shared.has_ended.wait_until(&mut ended, deadline).timed_out() {
                return *ended;
            }
        }
        drop(ended);
        // It has said all it had to say.
        let _ = thread.join();
        true
    }

    fn start(&self) -> Outcome {
        let mut thread = self.thread.lock();
        if thread.is_none() {
            let shared = self.shared.clone();
            let started =
                std::thread::Builder::new().name("se-callbacks".to_owned()).spawn(move || shared.run());
            let failed =
                |error| Failure::new(se_status::SE_E_IO, format!("start the callback thread: {error}"));
            *thread = Some(started.map_err(failed)?);
        }
        Ok(())
    }
}

impl Shared {
    fn run(self: Arc<Self>) {
        block_sigpipe();
        CURRENT.with(|current| current.set(Arc::as_ptr(&self)));
        let executor = self.executor.lock().clone();
        if let Some(executor) = executor {
            // A panic is a bug of ours. It costs the task, and no other.
            let run = || futures_lite::future::block_on(executor.run(self.stop.cancelled()));
            while let Err(panic) = catch_unwind(AssertUnwindSafe(run)) {
                tracing::error!("{}", crate::status::panicked(&*panic).message);
            }
        }
        // The tasks end here, so that `destroy` is called on this thread too.
        drop(self.executor.lock().take());
        *self.ended.lock() = true;
        self.has_ended.notify_all();
    }
}

/// Keeps SIGPIPE from the calling thread, so that writing to a closed socket is an error and not the host's end.
/// Nothing is done about it where signals cannot be blocked.
pub(crate) fn block_sigpipe() {
    #[cfg(unix)]
    {
        use nix::sys::signal::{SigSet, Signal};
        let mut set = SigSet::empty();
        set.add(Signal::SIGPIPE);
        if let Err(error) = set.thread_block() {
            tracing::warn!("cannot block SIGPIPE: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn tasks_run_on_one_thread_that_knows_whose_it_is() {
        let (dispatcher, other) = (Arc::new(Dispatcher::default()), Dispatcher::default());
        let (sender, receiver) = mpsc::channel();
        assert!(!dispatcher.is_current());
        let it = dispatcher.clone();
        let task = async move { sender.send((it.is_current(), other.is_current())).unwrap() };
        dispatcher.spawn(task).unwrap().detach();
        assert_eq!(receiver.recv_timeout(LONG), Ok((true, false)));
        assert!(dispatcher.shutdown(LONG));
        assert_eq!(dispatcher.spawn(async {}).unwrap_err().status, se_status::SE_E_CLOSED);
    }

    #[test]
    fn what_tasks_hold_is_dropped_before_shutdown_returns() {
        let dispatcher = Dispatcher::default();
        let (sender, receiver) = mpsc::channel::<()>();
        let waiting = async move {
            std::future::pending::<()>().await;
            drop(sender);
        };
        dispatcher.spawn(waiting).unwrap().detach();
        assert!(dispatcher.shutdown(LONG));
        assert_eq!(receiver.try_recv(), Err(mpsc::TryRecvError::Disconnected));
    }

    #[test]
    fn a_task_that_panics_costs_no_other() {
        let dispatcher = Dispatcher::default();
        dispatcher.spawn(async { panic!("on purpose") }).unwrap().detach();
        let (sender, receiver) = mpsc::channel();
        dispatcher.spawn(async move { sender.send(()).unwrap() }).unwrap().detach();
        assert_eq!(receiver.recv_timeout(LONG), Ok(()));
        assert!(dispatcher.shutdown(LONG));
    }

    #[test]
    fn a_callback_that_does_not_return_is_given_up() {
        let dispatcher = Dispatcher::default();
        let (started, is_started) = mpsc::channel();
        let (go_on, may_go_on) = mpsc::channel::<()>();
        let stuck = async move {
            started.send(()).unwrap();
            let _ = may_go_on.recv();
        };
        dispatcher.spawn(stuck).unwrap().detach();
        is_started.recv_timeout(LONG).unwrap();
        assert!(!dispatcher.shutdown(Duration::from_millis(1)));
        drop(go_on);
    }
}
