//! The events of an engine that wait for the host.

use crate::status::{Failure, Outcome, se_status};
use parking_lot::{Condvar, Mutex, MutexGuard, RwLock};
use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use streamengine::Event;
use tokio::sync::Notify;

streamengine::bound! {
    /// Events that peers cause: any stranger can make more of them
    /// (test `a_flood_of_strangers_drops_its_own_oldest_and_never_the_hosts_events`).
    const MAX_OF_PEERS: usize = 4_096, without usize::MAX;
    /// Events about what the host itself has set up. Nobody makes so many but a host that never looks
    /// (test `events_that_a_host_never_fetches_are_bounded_too`).
    const MAX_OWN: usize = 65_536 - MAX_OF_PEERS.stated(), without usize::MAX;
}

/// The queues of all engines: the log is one for the whole process, and so is what it has to tell.
static QUEUES: RwLock<Vec<Weak<EventQueue>>> = RwLock::new(Vec::new());

/// An event, or the news that something was dropped, and when that was in microseconds since 1970.
#[derive(Debug)]
pub(crate) struct QueuedEvent {
    pub(crate) time_us: u64,
    pub(crate) what: What,
}

#[derive(Debug)]
pub(crate) enum What {
    Event(Event),
    /// So many events were dropped.
    Lost(u64),
    /// So many lines of the log were dropped.
    LogLost(u64),
}

/// Events between the engine's threads and the host. Filling it never waits.
#[derive(Default)]
pub(crate) struct EventQueue {
    state: Mutex<State>,
    arrived: Condvar,
    /// For the reader on the callback thread.
    changed: Notify,
}

#[derive(Default)]
struct State {
    of_peers: VecDeque<(u64, QueuedEvent)>,
    own: VecDeque<(u64, QueuedEvent)>,
    next_number: u64,
    /// Dropped, and not told yet.
    lost: u64,
    lost_in_all: u64,
    /// Lines of the log that were dropped, and not told yet.
    log_lost: u64,
    /// The reader on the callback thread, counted from 1; `None` where the host fetches events.
    reader: Option<u64>,
    readers: u64,
    closed: bool,
    signal: Option<Signal>,
}

impl EventQueue {
    /// A queue that is also told what becomes of the log, until it is closed.
    pub(crate) fn of_engine() -> Arc<Self> {
        let queue = Arc::default();
        QUEUES.write().push(Arc::downgrade(&queue));
        queue
    }

    /// Takes an event in, on any thread.
    pub(crate) fn push(&self, event: &Event) {
        let happened = QueuedEvent { time_us: now_us(), what: What::Event(event.clone()) };
        let mut state = self.state.lock();
        state.push(happened, event.is_caused_by_peer());
        self.arrived(state);
    }

    /// Tells every engine that a line of the log was dropped.
    pub(crate) fn log_line_lost() {
        for queue in QUEUES.read().iter().filter_map(Weak::upgrade) {
            let mut state = queue.state.lock();
            state.log_lost += 1;
            if state.log_lost == 1 {
                queue.arrived(state);
            }
        }
    }

    fn arrived(&self, mut state: MutexGuard<'_, State>) {
        state.show();
        drop(state);
        self.arrived.notify_one();
        self.changed.notify_one();
    }

    /// Events dropped since the engine was made.
    pub(crate) fn lost_in_all(&self) -> u64 {
        self.state.lock().lost_in_all
    }

    /// Waits for the next event, until `deadline` (`None` = for ever); `Again` where that has passed already.
    pub(crate) fn next(&self, timeout: Wait) -> Outcome<QueuedEvent> {
        let mut state = self.state.lock();
        loop {
            if state.closed {
                return Err(Failure::new(se_status::SE_E_CLOSED, "engine: it has been freed"));
            }
            if state.reader.is_some() {
                return Err(Failure::new(se_status::SE_E_STATE, "events: they go to the event callback"));
            }
            if let Some(happened) = state.pop() {
                state.show();
                return Ok(happened);
            }
            match timeout {
                Wait::Not => return Err(Failure::new(se_status::SE_E_AGAIN, "events: there is none")),
                Wait::Forever => self.arrived.wait(&mut state),
                Wait::Until(deadline) => {
                    let is_late = self.arrived.wait_until(&mut state, deadline).timed_out();
                    if is_late && state.is_empty() && !state.closed {
                        return Err(Failure::new(se_status::SE_E_TIMEOUT, "events: none came in time"));
                    }
                }
            }
        }
    }

    /// Makes the caller's task the one reader, in the place of the one before.
    pub(crate) fn take_over(&self) -> u64 {
        let mut state = self.state.lock();
        state.readers += 1;
        state.reader = Some(state.readers);
        let reader = state.readers;
        self.reader_changed(state);
        reader
    }

    /// Leaves events to [`Self::next`] again.
    pub(crate) fn give_back(&self) {
        let mut state = self.state.lock();
        state.reader = None;
        self.reader_changed(state);
    }

    /// The next event for a reader; `None` once another has taken over.
    pub(crate) async fn next_for(&self, reader: u64) -> Option<QueuedEvent> {
        loop {
            let changed = self.changed.notified();
            {
                let mut state = self.state.lock();
                if state.closed || state.reader != Some(reader) {
                    return None;
                }
                if let Some(happened) = state.pop() {
                    return Some(happened);
                }
            }
            changed.await;
        }
    }

    /// Wakes all who wait; nobody gets events any more.
    pub(crate) fn close(&self) {
        let mut queues = QUEUES.write();
        queues.retain(|queue| !std::ptr::eq(queue.as_ptr(), self));
        if queues.is_empty() {
            // An empty list keeps its memory; nothing is to be left when the last one goes.
            *queues = Vec::new();
        }
        drop(queues);
        let mut state = self.state.lock();
        state.closed = true;
        self.reader_changed(state);
    }

    /// A descriptor that can be read while [`Self::next`] has something to say.
    #[cfg(unix)]
    pub(crate) fn descriptor(&self) -> Outcome<std::os::fd::RawFd> {
        let mut state = self.state.lock();
        if state.signal.is_none() {
            state.signal = Some(Signal::new()?);
            state.show();
        }
        state.signal.as_ref().map(Signal::descriptor).ok_or_else(no_descriptor)
    }

    /// There is none on this system.
    #[cfg(not(unix))]
    pub(crate) fn descriptor(&self) -> Outcome<std::ffi::c_int> {
        Err(no_descriptor())
    }

    fn reader_changed(&self, mut state: MutexGuard<'_, State>) {
        state.show();
        drop(state);
        self.arrived.notify_all();
        // A stored permit too: the reader that was just made may not wait yet.
        self.changed.notify_waiters();
        self.changed.notify_one();
    }
}

fn no_descriptor() -> Failure {
    Failure::new(se_status::SE_E_UNSUPPORTED, "events: this system has no descriptors to poll")
}

/// How long to wait.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wait {
    Not,
    Until(Instant),
    Forever,
}

impl Wait {
    /// As C says it: 0 = not, below 0 = for ever.
    pub(crate) fn from_ms(timeout_ms: i32) -> Self {
        match u64::try_from(timeout_ms) {
            Ok(0) => Self::Not,
            Ok(ms) => Self::Until(Instant::now() + Duration::from_millis(ms)),
            Err(_) => Self::Forever,
        }
    }
}

impl State {
    fn push(&mut self, happened: QueuedEvent, of_peers: bool) {
        let (entries, max) =
            if of_peers { (&mut self.of_peers, MAX_OF_PEERS.get()) } else { (&mut self.own, MAX_OWN.get()) };
        if entries.len() >= max {
            entries.pop_front();
            self.lost += 1;
            self.lost_in_all += 1;
        }
        entries.push_back((self.next_number, happened));
        self.next_number += 1;
    }

    /// The oldest. What was dropped was older still, so that is told first.
    fn pop(&mut self) -> Option<QueuedEvent> {
        let lost = match (self.lost, self.log_lost) {
            (0, 0) => None,
            (0, _) => Some(What::LogLost(std::mem::take(&mut self.log_lost))),
            (_, _) => Some(What::Lost(std::mem::take(&mut self.lost))),
        };
        if let Some(what) = lost {
            return Some(QueuedEvent { time_us: now_us(), what });
        }
        let number =
            |entries: &VecDeque<(u64, QueuedEvent)>| entries.front().map_or(u64::MAX, |(number, _)| *number);
        let oldest =
            if number(&self.of_peers) < number(&self.own) { &mut self.of_peers } else { &mut self.own };
        oldest.pop_front().map(|(_, happened)| happened)
    }

    fn is_empty(&self) -> bool {
        self.lost == 0 && self.log_lost == 0 && self.of_peers.is_empty() && self.own.is_empty()
    }

    /// Makes the descriptor say what [`EventQueue::next`] would: something to fetch, or the end.
    fn show(&mut self) {
        let is_ready = self.closed || (self.reader.is_none() && !self.is_empty());
        if let Some(signal) = &mut self.signal {
            signal.set(is_ready);
        }
    }
}

/// Microseconds since 1970.
pub(crate) fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// A descriptor that is readable or not, as it is told.
#[cfg(unix)]
struct Signal {
    is_set: bool,
    read: std::os::fd::OwnedFd,
    /// Where descriptors for this purpose do not exist: the writing end of a pipe.
    #[cfg(not(target_os = "linux"))]
    write: std::os::fd::OwnedFd,
}

#[cfg(unix)]
impl Signal {
    #[cfg(target_os = "linux")]
    fn new() -> Outcome<Self> {
        use nix::sys::eventfd::{EfdFlags, EventFd};
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let descriptor = EventFd::from_value_and_flags(0, flags).map_err(Self::failed)?;
        Ok(Self { is_set: false, read: descriptor.into() })
    }

    #[cfg(not(target_os = "linux"))]
    fn new() -> Outcome<Self> {
        use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
        let (read, write) = nix::unistd::pipe().map_err(Self::failed)?;
        for end in [&read, &write] {
            fcntl(end, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map_err(Self::failed)?;
            fcntl(end, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(Self::failed)?;
        }
        Ok(Self { is_set: false, read, write })
    }

    fn failed(error: nix::Error) -> Failure {
        Failure::new(se_status::SE_E_IO, format!("events: make a descriptor: {error}"))
    }

    fn descriptor(&self) -> std::os::fd::RawFd {
        std::os::fd::AsRawFd::as_raw_fd(&self.read)
    }

    fn writing_end(&self) -> &std::os::fd::OwnedFd {
        #[cfg(target_os = "linux")]
        return &self.read;
        #[cfg(not(target_os = "linux"))]
        return &self.write;
    }

    /// Neither can fail: at most one number is ever in it.
    fn set(&mut self, to: bool) {
        if self.is_set != to {
            self.is_set = to;
            let mut number = 1u64.to_ne_bytes();
            let _ = if to {
                nix::unistd::write(self.writing_end(), &number)
            } else {
                nix::unistd::read(&self.read, &mut number)
            };
        }
    }
}

#[cfg(not(unix))]
struct Signal;

#[cfg(not(unix))]
impl Signal {
    fn set(&mut self, _to: bool) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use streamengine::{ListenerId, Protocol, SessionId};

    fn closed(session: u64) -> Event {
        let peer = ([192, 0, 2, 1], 1).into();
        Event::SessionClosed { session: SessionId(session), peer, reason: String::new() }
    }

    fn published() -> Event {
        Event::StreamStarted { stream: "live/a".parse().unwrap(), session: None, source: "program".into() }
    }

    fn ids(queue: &EventQueue) -> Vec<String> {
        std::iter::from_fn(|| queue.next(Wait::Not).ok())
            .map(|happened| match happened.what {
                What::Lost(lost) | What::LogLost(lost) => format!("{lost} lost"),
                What::Event(Event::SessionClosed { session, .. }) => session.to_string(),
                What::Event(_) => "own".to_owned(),
            })
            .collect()
    }

    #[test]
    fn a_flood_of_strangers_drops_its_own_oldest_and_never_the_hosts_events() {
        let queue = EventQueue::default();
        let address = ([127, 0, 0, 1], 1).into();
        queue.push(&published());
        queue.push(&Event::ListenerClosed { id: ListenerId(1), protocol: Protocol::Rtmp, address });
        (0..MAX_OF_PEERS.stated() as u64 + 3).for_each(|session| queue.push(&closed(session)));
        queue.push(&published());
        let ids = ids(&queue);
        assert_eq!(ids[..5], ["3 lost", "own", "own", "3", "4"]);
        assert_eq!(ids.last().unwrap(), "own");
        assert_eq!((ids.len(), queue.lost_in_all()), (MAX_OF_PEERS.stated() + 4, 3));
    }

    #[test]
    fn events_that_a_host_never_fetches_are_bounded_too() {
        let queue = EventQueue::default();
        (0..MAX_OWN.stated() + 3).for_each(|_| queue.push(&published()));
        assert_eq!(queue.lost_in_all(), 3);
        assert_eq!(ids(&queue).len(), MAX_OWN.stated() + 1);
    }

    #[test]
    fn waiting_ends_by_time_by_an_event_and_by_the_end() {
        let queue = std::sync::Arc::new(EventQueue::default());
        assert_eq!(queue.next(Wait::Not).unwrap_err().status, se_status::SE_E_AGAIN);
        assert_eq!(queue.next(Wait::from_ms(1)).unwrap_err().status, se_status::SE_E_TIMEOUT);
        for end in [EventQueue::close as fn(&EventQueue), |queue| queue.push(&closed(1))].iter().rev() {
            let reader = std::thread::spawn({
                let queue = queue.clone();
                move || queue.next(Wait::Forever).map_err(|failure| failure.status)
            });
            end(&queue);
            let got = reader.join().unwrap();
            assert!(matches!(got, Ok(_) | Err(se_status::SE_E_CLOSED)), "{got:?}");
        }
    }

    #[test]
    fn a_reader_gets_what_waited_and_ends_when_another_takes_over() {
        use futures_lite::future::block_on;
        let queue = EventQueue::default();
        queue.push(&closed(1));
        let first = queue.take_over();
        assert_eq!(queue.next(Wait::Not).unwrap_err().status, se_status::SE_E_STATE);
        assert!(block_on(queue.next_for(first)).is_some());
        let second = queue.take_over();
        assert!(block_on(queue.next_for(first)).is_none());
        queue.push(&closed(2));
        assert!(block_on(queue.next_for(second)).is_some());
        queue.give_back();
        assert!(block_on(queue.next_for(second)).is_none());
        queue.push(&closed(3));
        assert_eq!(ids(&queue), ["3"]);
    }

    #[cfg(unix)]
    #[test]
    fn the_descriptor_is_readable_while_there_is_something_to_fetch() {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        let queue = EventQueue::default();
        queue.push(&closed(1));
        queue.descriptor().unwrap();
        let is_readable = || {
            let state = queue.state.lock();
            let read = std::os::fd::AsFd::as_fd(&state.signal.as_ref().unwrap().read);
            poll(&mut [PollFd::new(read, PollFlags::POLLIN)], PollTimeout::ZERO).unwrap() == 1
        };
        assert!(is_readable());
        assert_eq!(ids(&queue), ["1"]);
        assert!(!is_readable());
        queue.push(&closed(2));
        assert!(is_readable());
        let _reader = queue.take_over();
        assert!(!is_readable(), "the callback has them");
        queue.close();
        assert!(is_readable(), "the end is to be seen");
    }
}
