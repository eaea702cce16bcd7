//! Who receives the stream: players come and go, targets connect.

use parking_lot::{Condvar, Mutex};
use std::collections::{HashMap, HashSet};
use streamengine::SessionId;

/// Players at present, and whether anybody receives the stream.
#[derive(Default)]
pub(super) struct Audience {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Sessions that may play and do not yet.
    granted: HashSet<SessionId>,
    /// How many plays each session has going on; nearly always one.
    players: HashMap<SessionId, u32>,
    players_total: u64,
    /// Bytes sent to players that have left.
    bytes_to_gone: u64,
    targets: usize,
    /// The stream waits while nobody receives it.
    waits: bool,
    /// The pipeline has been asked to end: nothing waits any more.
    is_ending: bool,
}

/// Counters for statistics.
#[derive(Debug, Clone, Copy)]
pub(super) struct Totals {
    pub(super) players: u64,
    pub(super) bytes_to_gone: u64,
}

impl Audience {
    /// Starts anew, without players and counters.
    pub(super) fn reset(&self) {
        let mut state = self.state.lock();
        *state = State { waits: state.waits, ..State::default() };
    }

    /// Lets a session in where there is room; 0 = there always is.
    pub(super) fn grant(&self, session: Option<SessionId>, max_players: u32) -> bool {
        let mut state = self.state.lock();
        let taken = state.players.len() + state.granted.len();
        if max_players > 0 && taken >= max_players as usize {
            return false;
        }
        state.granted.extend(session);
        true
    }

    /// A session that was let in has ended, or been refused after all.
    pub(super) fn forget(&self, session: SessionId) {
        self.state.lock().granted.remove(&session);
    }

    pub(super) fn joined(&self, session: SessionId) {
        let mut state = self.state.lock();
        state.granted.remove(&session);
        *state.players.entry(session).or_default() += 1;
        state.players_total += 1;
        self.changed.notify_all();
    }

    pub(super) fn left(&self, session: SessionId, bytes: u64) {
        let mut state = self.state.lock();
        state.bytes_to_gone += bytes;
        if let Some(plays) = state.players.get_mut(&session) {
            *plays -= 1;
            if *plays == 0 {
                state.players.remove(&session);
            }
        }
    }

    pub(super) fn is_player(&self, session: SessionId) -> bool {
        self.state.lock().players.contains_key(&session)
    }

    pub(super) fn set_targets(&self, connected: usize) {
        self.state.lock().targets = connected;
        self.changed.notify_all();
    }

    pub(super) fn totals(&self) -> Totals {
        let state = self.state.lock();
        Totals { players: state.players_total, bytes_to_gone: state.bytes_to_gone }
    }

    /// Whether the stream waits while nobody receives it.
    pub(super) fn set_waits(&self, waits: bool) {
        self.state.lock().waits = waits;
        self.changed.notify_all();
    }

    /// Whether the pipeline has been asked to end. Its sources can say so only when they get their data off.
    pub(super) fn set_ending(&self, is_ending: bool) {
        self.state.lock().is_ending = is_ending;
        self.changed.notify_all();
    }

    pub(super) fn is_ending(&self) -> bool {
        self.state.lock().is_ending
    }

    /// Waits while the stream is to wait, unless it is over; look at [`Self::wake`].
    pub(super) fn wait(&self, is_over: impl Fn() -> bool) {
        let mut state = self.state.lock();
        while state.waits && !state.is_ending && state.players.is_empty() && state.targets == 0 && !is_over()
        {
            self.changed.wait(&mut state);
        }
    }

    /// Makes those who wait look again whether it is over.
    pub(super) fn wake(&self) {
        // With the lock: who is about to wait has seen that it is, or waits already.
        let _state = self.state.lock();
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    #[test]
    fn no_more_are_let_in_than_may_play_also_when_they_come_at_once() {
        let audience = Audience::default();
        let grant = |id| audience.grant(Some(SessionId(id)), 2);
        assert!(grant(1) && grant(2) && !grant(3));
        audience.joined(SessionId(1));
        audience.forget(SessionId(2));
        assert!(grant(3) && !grant(4));
        audience.left(SessionId(1), 10);
        assert!(grant(5) && audience.grant(Some(SessionId(6)), 0));
        assert_eq!((audience.totals().players, audience.totals().bytes_to_gone), (1, 10));
    }

    #[test]
    fn nothing_waits_in_a_pipeline_that_is_to_end_until_it_starts_anew() {
        let audience = Arc::new(Audience::default());
        audience.set_waits(true);
        let waiting = thread::spawn({
            let audience = audience.clone();
            move || audience.wait(|| false)
        });
        audience.set_ending(true);
        waiting.join().unwrap();
        audience.reset();
        assert!(!audience.state.lock().is_ending);
    }

    #[test]
    fn waiting_ends_with_the_first_player_or_when_it_is_over() {
        let audience = Arc::new(Audience::default());
        audience.set_waits(true);
        let is_over = Arc::new(AtomicBool::new(false));
        let wait = || {
            let (audience, is_over) = (audience.clone(), is_over.clone());
            thread::spawn(move || audience.wait(|| is_over.load(Ordering::SeqCst)))
        };
        let waiting = wait();
        is_over.store(true, Ordering::SeqCst);
        audience.wake();
        waiting.join().unwrap();
        is_over.store(false, Ordering::SeqCst);
        let waiting = wait();
        audience.joined(SessionId(1));
        waiting.join().unwrap();
        audience.left(SessionId(1), 0);
        audience.set_targets(1);
        wait().join().unwrap();
    }
}
