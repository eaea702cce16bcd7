//! The thread on which signals are emitted and element messages are posted.
//!
//! Handlers of the application run here and may take their time, or change the state of the element: neither an I/O
//! thread nor a streaming thread waits for them, and no lock is held.

use std::cmp::Ordering as Order;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

streamengine::bound! {
    /// Requests that may wait for slow handlers; more are refused, so that strangers cannot fill the memory
    /// (test `requests_beyond_the_bound_are_dropped_while_a_handler_takes_its_time`).
    const MAX_REQUESTS: usize = 1_024, without usize::MAX;
}

type Job = Box<dyn FnOnce() + Send>;

enum Task {
    Now(Job),
    Later(Timer),
}

struct Timer {
    at: Instant,
    job: Job,
}

/// The earliest is the greatest, as the heap gives out the greatest first.
impl Ord for Timer {
    fn cmp(&self, other: &Self) -> Order {
        other.at.cmp(&self.at)
    }
}

impl PartialOrd for Timer {
    fn partial_cmp(&self, other: &Self) -> Option<Order> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Timer {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Timer {}

/// Runs jobs one after the other on a thread of its own. Cheap to clone; the thread ends after the last clone is
/// dropped, when what was posted has run.
#[derive(Clone)]
pub(crate) struct Dispatcher {
    tasks: Sender<Task>,
    requests: Arc<AtomicUsize>,
}

impl Dispatcher {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub(crate) fn start() -> std::io::Result<Self> {
        let (tasks, inbox) = mpsc::channel();
        thread::Builder::new().name("rtmp-signals".to_owned()).spawn(move || run(&inbox))?;
        Ok(Self { tasks, requests: Arc::default() })
    }

    /// Runs `job` after all that was posted before.
    pub(crate) fn post(&self, job: impl FnOnce() + Send + 'static) {
        self.send(Task::Now(Box::new(job)));
    }

    /// Runs `job` like [`Self::post`], unless too many of its kind wait: then it is dropped.
    pub(crate) fn post_request(&self, job: impl FnOnce() + Send + 'static) {
        if self.requests.fetch_add(1, Ordering::Relaxed) >= MAX_REQUESTS.get() {
            self.requests.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        let requests = self.requests.clone();
        self.post(move || {
            requests.fetch_sub(1, Ordering::Relaxed);
            job();
        });
    }

    /// Runs `job` once `delay` is over. It does not keep the thread alive: when the last clone has been dropped, jobs
    /// that are not due are dropped.
    pub(crate) fn post_after(&self, delay: Duration, job: impl FnOnce() + Send + 'static) {
        self.send(Task::Later(Timer { at: Instant::now() + delay, job: Box::new(job) }));
    }

    fn send(&self, task: Task) {
        // The thread lives as long as this sender.
        let _ = self.tasks.send(task);
    }
}

fn run(inbox: &Receiver<Task>) {
    let mut timers: BinaryHeap<Timer> = BinaryHeap::new();
    loop {
        while timers.peek().is_some_and(|timer| timer.at <= Instant::now()) {
            if let Some(timer) = timers.pop() {
                (timer.job)();
            }
        }
        let next = match timers.peek() {
            Some(timer) => inbox.recv_timeout(timer.at.saturating_duration_since(Instant::now())),
            None => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match next {
            Ok(Task::Now(job)) => job(),
            Ok(Task::Later(timer)) => timers.push(timer),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn jobs_run_in_order_on_one_thread_and_timers_when_they_are_due() {
        let (out, seen) = mpsc::channel();
        let dispatcher = Dispatcher::start().unwrap();
        let say = |what: &'static str| {
            let out = out.clone();
            move || out.send((what, thread::current().id())).unwrap()
        };
        dispatcher.post_after(Duration::from_millis(60), say("later"));
        dispatcher.post_after(Duration::from_millis(20), say("soon"));
        dispatcher.post(say("first"));
        dispatcher.post_request(say("second"));
        let seen: Vec<_> = (0..4).map(|_| seen.recv_timeout(LONG).unwrap()).collect();
        assert_eq!(
            seen.iter().map(|(what, _)| *what).collect::<Vec<_>>(),
            ["first", "second", "soon", "later"]
        );
        assert!(seen.iter().all(|(_, id)| *id == seen[0].1 && *id != thread::current().id()));
    }

    #[test]
    fn requests_beyond_the_bound_are_dropped_while_a_handler_takes_its_time() {
        let dispatcher = Dispatcher::start().unwrap();
        let (go, wait) = mpsc::channel::<()>();
        let (out, seen) = mpsc::channel();
        dispatcher.post(move || wait.recv().unwrap());
        for index in 0..MAX_REQUESTS.stated() + 7 {
            let out = out.clone();
            dispatcher.post_request(move || out.send(index).unwrap());
        }
        drop(out);
        go.send(()).unwrap();
        assert_eq!(seen.iter().count(), MAX_REQUESTS.stated());
    }
}
