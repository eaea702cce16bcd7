//! How far a connection is with its requests, as what hyper calls notes it for the task that looks after the connection.

use super::visit::Turn;
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::time::Instant;

/// What is known of a connection's progress: noted by what hyper calls, looked at by the task.
pub(super) struct Progress {
    state: Mutex<State>,
}

struct State {
    phase: Phase,
    /// Requests that are being answered.
    open: usize,
    /// Bytes may be anything, so that no request begins with them.
    has_frames: bool,
    /// Since when the peer has not taken what was written.
    unflushed: Option<Instant>,
    /// The socket is to be taken over, as soon as what was written before is on its way.
    turn: Option<Box<Turn>>,
    /// There was a request in good order.
    has_asked: bool,
    /// No request may follow: what comes is the body of one, or whatever else it is.
    is_last: bool,
}

#[derive(Clone, Copy)]
pub(super) enum Phase {
    /// A head is on its way, or nothing has come on a new connection.
    Head { since: Instant },
    /// A request is being answered.
    Request,
    /// Nothing is asked for.
    Idle { since: Instant },
}

/// A request that is being answered, until this is dropped.
pub(super) struct Answering {
    progress: Arc<Progress>,
    /// No request may follow.
    pub(super) is_last: bool,
}

impl Answering {
    pub(super) fn new(progress: Arc<Progress>) -> Self {
        progress.begin();
        Self { progress, is_last: false }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.progress.end(self.is_last);
    }
}

impl Progress {
    pub(super) fn new() -> Arc<Self> {
        let phase = Phase::Head { since: Instant::now() };
        let (open, has_frames) = (0, false);
        let state =
            State { phase, open, has_frames, unflushed: None, turn: None, has_asked: false, is_last: false };
        Arc::new(Self { state: Mutex::new(state) })
    }

    /// From now on what comes are frames of HTTP/2.
    pub(super) fn has_frames(&self) {
        self.state.lock().has_frames = true;
    }

    /// Has the socket taken over; the request's future has to stay pending from then on.
    pub(super) fn take_over(&self, turn: Box<Turn>) {
        self.state.lock().turn = Some(turn);
    }

    fn begin(&self) {
        let mut state = self.state.lock();
        (state.phase, state.has_asked) = (Phase::Request, true);
        state.open += 1;
    }

    /// Another request may follow the one that is answered, unless that `is_last`.
    fn end(&self, is_last: bool) {
        let mut state = self.state.lock();
        state.is_last |= is_last;
        state.open = state.open.saturating_sub(1);
        if state.open == 0 {
            state.phase = Phase::Idle { since: Instant::now() };
        }
    }

    pub(super) fn note_read(&self) {
        let mut state = self.state.lock();
        if let (Phase::Idle { .. }, false) = (state.phase, state.has_frames) {
            state.phase = Phase::Head { since: Instant::now() };
        }
    }

    pub(super) fn note_write(&self, taken: bool) {
        let mut state = self.state.lock();
        let now = Instant::now();
        state.unflushed = if taken { Some(now) } else { state.unflushed.or(Some(now)) };
    }

    pub(super) fn note_flush(&self) {
        self.state.lock().unflushed = None;
    }

    /// Whether there was a request in good order.
    pub(super) fn has_asked(&self) -> bool {
        self.state.lock().has_asked
    }

    /// What is waited for: by the phase, and since when the peer has not taken what was written.
    pub(super) fn waits(&self) -> (Phase, Option<Instant>) {
        let state = self.state.lock();
        (state.phase, state.unflushed)
    }

    /// Whether the next thing to come is a request, on a connection that is kept.
    pub(super) fn is_kept(&self) -> bool {
        !self.state.lock().is_last
    }

    pub(super) fn is_answering(&self) -> bool {
        matches!(self.state.lock().phase, Phase::Request)
    }

    /// What is to be done with the socket, once everything that was written before is on its way.
    pub(super) fn turn(&self) -> Option<Box<Turn>> {
        let mut state = self.state.lock();
        if state.unflushed.is_some() { None } else { state.turn.take() }
    }
}
