//! How often one address may begin something: who asks for more waits for its turn.

use crate::Limits;
use crate::address::{Account, ByAddress};
use crate::budget::{Budget, Rate};
use parking_lot::Mutex;
use std::net::IpAddr;
use std::time::Duration;
use tokio::time::Instant;

/// Holds what each address begins to [`Limits::starts_per_minute_per_address`].
///
/// A connection with its first `publish` or `play` is one start, each further request another. So this bounds, whatever a
/// peer does and over however many connections: the events about it (four a start at most: a session and what it plays
/// begin and end), the questions to the authoriser, relays that start for it, and the work for all that. Waiting is the
/// only way to do so in which nothing is lost: an event that is left out would be an end without its beginning, and a
/// refusal would be one more event. It costs others nothing, as a peer that waits is not read from.
#[derive(Debug)]
pub(crate) struct Starts {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    rate: Rate,
    of: ByAddress<Budget>,
}

impl Account for Budget {
    fn is_settled(&self, now: Instant) -> bool {
        self.is_full(now)
    }
}

impl Starts {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self { state: Mutex::new(State { rate: rate(limits), of: ByAddress::default() }) }
    }

    /// Holds to these limits from the next start on.
    pub(crate) fn set_limits(&self, limits: &Limits) {
        self.state.lock().rate = rate(limits);
    }

    /// Counts a start of a peer; when its turn comes, where that is not at once. A place in the row is used even where the
    /// peer does not wait for it.
    pub(crate) fn next(&self, peer: IpAddr) -> Option<Instant> {
        let now = Instant::now();
        let State { rate, of } = &mut *self.state.lock();
        let turn = of.of(peer, now).borrow(*rate, 1, now);
        (turn > now).then_some(turn)
    }

    /// Counts a start of a peer and waits for its turn.
    pub(crate) async fn turn(&self, peer: IpAddr) {
        if let Some(turn) = self.next(peer) {
            tokio::time::sleep_until(turn).await;
        }
    }
}

fn rate(limits: &Limits) -> Rate {
    Rate::new(limits.in_force().starts_per_minute_per_address.into(), Duration::from_secs(60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn w5_starts_of_one_address_wait_for_their_turn_and_those_of_others_do_not() {
        let limits = Limits::default().starts_per_minute_per_address(600);
        let (starts, start) = (Starts::new(&limits), Instant::now());
        let (busy, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        for _ in 0..600 {
            starts.turn(busy).await;
        }
        assert_eq!(start.elapsed(), Duration::ZERO, "a minute's worth at once");
        for _ in 0..50 {
            starts.turn(busy).await;
            assert_eq!(starts.next(other), None);
        }
        let waited = start.elapsed();
        assert!((4_900..=5_100).contains(&waited.as_millis()), "{waited:?} for 50 starts at 10 a second");
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(starts.next(busy), None, "forgotten after a minute");
    }
}
