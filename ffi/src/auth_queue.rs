//! Requests to publish and play on their way from the engine's threads to the callback thread. Knows no type of C.

use crate::status::{Failure, Outcome, se_status};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use streamengine::{AuthRequest, Authorize, Ticket};
use tokio::sync::Notify;

streamengine::bound! {
    /// Requests that wait for the callback thread at most; more are refused
    /// (test `no_more_than_4096_requests_wait_for_a_callback_thread_that_does_not_come_to_them`).
    const MAX_WAITING: usize = 4_096, without usize::MAX;
}

/// What a refused peer is told where the program does not say it.
pub(crate) const REFUSED: &str = "not authorised";

/// Decides a request, on the callback thread.
pub(crate) type Decider = Arc<dyn Fn(AuthRequest, Ticket) + Send + Sync>;

/// The task on the callback thread that has requests decided.
type Answering = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Where peers ask the program for permission; where it does not decide, the engine's configuration does.
#[derive(Default)]
pub(crate) struct AuthQueue {
    state: Mutex<State>,
    arrived: Notify,
    names_may_be_keys: AtomicBool,
}

#[derive(Default)]
struct State {
    decider: Option<Decider>,
    /// Whether a task on the callback thread takes requests.
    is_attended: bool,
    waiting: VecDeque<(AuthRequest, Ticket)>,
    closed: bool,
}

impl AuthQueue {
    /// Has requests decided by the program from now on, or no longer; `spawn` starts a task on the callback thread.
    pub(crate) fn set_decider(
        self: &Arc<Self>,
        decider: Option<Decider>,
        spawn: impl FnOnce(Answering) -> Outcome,
    ) -> Outcome {
        let mut state = self.state.lock();
        if state.closed {
            return Err(Failure::new(se_status::SE_E_CLOSED, "engine: it has been freed"));
        }
        if decider.is_some() && !state.is_attended {
            spawn(Box::pin(self.clone().answer()))?;
            state.is_attended = true;
        }
        let before = std::mem::replace(&mut state.decider, decider);
        drop(state);
        // Outside the lock, as this may call the host.
        drop(before);
        Ok(())
    }

    /// Whether what peers send for a name may be a key.
    pub(crate) fn set_names_may_be_keys(&self, enabled: bool) {
        self.names_may_be_keys.store(enabled, Ordering::Relaxed);
    }

    /// Refuses all who wait and who will come, and lets go of the decider.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        let (decider, waiting) = (state.decider.take(), std::mem::take(&mut state.waiting));
        drop(state);
        drop((decider, waiting));
        self.arrived.notify_one();
    }

    fn ask(&self, request: AuthRequest, ticket: Ticket) {
        let mut state = self.state.lock();
        if state.decider.is_none() && !state.closed {
            drop(state);
            return ticket.pass();
        }
        if state.closed || state.waiting.len() >= MAX_WAITING.get() {
            drop(state);
            return ticket.reject(REFUSED);
        }
        state.waiting.push_back((request, ticket));
        drop(state);
        self.arrived.notify_one();
    }

    async fn answer(self: Arc<Self>) {
        while let Some((request, ticket)) = self.next().await {
            self.decide(request, ticket);
            // Others have their turn between two requests.
            futures_lite::future::yield_now().await;
        }
    }

    /// Waits for the next request; `None` once the queue is closed.
    async fn next(&self) -> Option<(AuthRequest, Ticket)> {
        loop {
            {
                let mut state = self.state.lock();
                if state.closed {
                    return None;
                }
                if let Some(waiting) = state.waiting.pop_front() {
                    return Some(waiting);
                }
            }
            self.arrived.notified().await;
        }
    }

    fn decide(&self, request: AuthRequest, ticket: Ticket) {
        // The peer may have left, or the engine given it up.
        if ticket.is_abandoned() {
            return;
        }
        let decider = self.state.lock().decider.clone();
        match decider {
            Some(decide) => decide(request, ticket),
            None => ticket.pass(),
        }
    }
}

/// The queue as the engine knows it.
pub(crate) struct QueuedAuthorizer(pub(crate) Arc<AuthQueue>);

impl Authorize for QueuedAuthorizer {
    fn authorize(&self, request: AuthRequest, ticket: Ticket) {
        self.0.ask(request, ticket);
    }

    fn takes_key_for_name(&self) -> bool {
        self.0.names_may_be_keys.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use streamengine::testing::ticket;
    use streamengine::{Action, Door, Protocol, StreamName};

    #[test]
    fn no_more_than_4096_requests_wait_for_a_callback_thread_that_does_not_come_to_them() {
        let queue = Arc::<AuthQueue>::default();
        assert!(queue.set_decider(Some(Arc::new(|_, _| ())), |_| Ok(())).is_ok());
        let peer = "192.0.2.7:4000".parse().unwrap();
        let name = StreamName::parse("live", "a").unwrap();
        let request = AuthRequest::new(Action::Play, name, peer, Door::Rtmp, Protocol::Rtmp);
        for _ in 0..MAX_WAITING.stated() + 1 {
            queue.ask(request.clone(), ticket());
        }
        assert_eq!(queue.state.lock().waiting.len(), 4_096);
    }
}
