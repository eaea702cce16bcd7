//! Who waits for news of a stream.

use std::task::Waker;

bound! {
    /// Readers that leave take their waker out of the lists (test `readers_that_leave_take_their_waker_out`).
    const LEAVE_NOTHING_BEHIND: bool = true, without false;
}

/// Which news a reader wants to be woken for. Changes of phase wake all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WakeFor {
    /// Any frame.
    Any,
    /// A video frame; audio goes with the next.
    Video,
}

/// Tasks that wait for news of a stream, each until it is woken once.
#[derive(Default)]
pub(super) struct Waiters {
    any: Vec<Waker>,
    video: Vec<Waker>,
    /// Counts how often `any` and `video` were woken: a reader that is in a list knows that it still is.
    rounds: [u64; 2],
}

/// A reader's place in the lists: the round, which list, and the waker it left there.
pub(super) type Registered = Option<(u64, WakeFor, Waker)>;

impl Waiters {
    /// Puts a reader's waker in a list, unless it is there already.
    #[inline]
    pub(super) fn register(&mut self, place: &mut Registered, wake_for: WakeFor, waker: &Waker) {
        let round = self.rounds[wake_for as usize];
        if matches!(place, Some((at, list, old)) if *at == round && *list == wake_for && old.will_wake(waker))
        {
            return;
        }
        self.unregister(place);
        self.list(wake_for).push(waker.clone());
        *place = Some((round, wake_for, waker.clone()));
    }

    /// Takes a reader's waker out, so that readers that come and go leave nothing behind.
    #[inline]
    pub(super) fn unregister(&mut self, place: &mut Registered) {
        if let Some((round, list, waker)) = place.take()
            && LEAVE_NOTHING_BEHIND.get()
            && round == self.rounds[list as usize]
        {
            let list = self.list(list);
            if let Some(index) = list.iter().position(|other| other.will_wake(&waker)) {
                list.swap_remove(index);
            }
        }
    }

    #[inline]
    fn list(&mut self, wake_for: WakeFor) -> &mut Vec<Waker> {
        match wake_for {
            WakeFor::Any => &mut self.any,
            WakeFor::Video => &mut self.video,
        }
    }

    /// Wakes everybody: the stream's life has changed.
    pub(super) fn wake_all(&mut self) {
        let mut woken = Vec::new();
        self.take(WakeFor::Any, &mut woken);
        self.take(WakeFor::Video, &mut woken);
        woken.into_iter().for_each(Waker::wake);
    }

    #[inline]
    pub(super) fn take(&mut self, wake_for: WakeFor, woken: &mut Vec<Waker>) {
        self.rounds[wake_for as usize] += 1;
        woken.append(self.list(wake_for));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_that_leave_take_their_waker_out() {
        let mut waiters = Waiters::default();
        for wake_for in [WakeFor::Any, WakeFor::Video].repeat(100) {
            let mut place = None;
            waiters.register(&mut place, wake_for, Waker::noop());
            assert_eq!(waiters.any.len() + waiters.video.len(), 1);
            waiters.unregister(&mut place);
            assert!(place.is_none() && waiters.any.is_empty() && waiters.video.is_empty());
        }
    }
}
