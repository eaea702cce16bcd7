//! What counts as one address, and what is remembered of addresses, of so many at most.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::Instant;

bound! {
    /// Addresses that are remembered; those beyond share what is remembered of them
    /// (test `so_many_addresses_are_remembered_and_those_that_are_settled_make_room`).
    const MOST: usize = 16 * 1024, without usize::MAX;
}
/// How often it is looked for addresses that can be forgotten, where there are too many.
const LOOK_PERIOD: Duration = Duration::from_secs(1);

/// One host may hold a whole /64 of IPv6, so that is what counts as an address.
pub(crate) fn counted_as(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// What is remembered of an address until that makes no difference any more.
pub(crate) trait Account: Default {
    /// Whether it is as if nothing had ever been.
    fn is_settled(&self, now: Instant) -> bool;
}

/// An account for each address, within a bound: with very many addresses at once, the newest share one.
#[derive(Debug, Default)]
pub(crate) struct ByAddress<T> {
    accounts: HashMap<IpAddr, T>,
    shared: T,
    /// When it was looked last for accounts that are settled.
    looked: Option<Instant>,
}

impl<T: Account> ByAddress<T> {
    /// The account of a peer's address.
    pub(crate) fn of(&mut self, peer: IpAddr, now: Instant) -> &mut T {
        let address = counted_as(peer);
        if !self.accounts.contains_key(&address) && self.accounts.len() >= MOST.get() && !self.make_room(now)
        {
            return &mut self.shared;
        }
        self.accounts.entry(address).or_default()
    }

    /// All accounts with their addresses; none for the one that is shared.
    pub(crate) fn all(&mut self) -> impl Iterator<Item = (Option<IpAddr>, &mut T)> {
        let own = self.accounts.iter_mut().map(|(address, account)| (Some(*address), account));
        own.chain([(None, &mut self.shared)])
    }

    fn make_room(&mut self, now: Instant) -> bool {
        if self.looked.is_none_or(|looked| now.saturating_duration_since(looked) >= LOOK_PERIOD) {
            self.looked = Some(now);
            self.accounts.retain(|_, account| !account.is_settled(now));
        }
        self.accounts.len() < MOST.get()
    }
}

/// Counts what addresses hold, up to so much each.
#[derive(Debug, Clone)]
pub(crate) struct Holdings {
    most: Arc<AtomicUsize>,
    held: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// One of the things that an address holds; until it is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    address: IpAddr,
    held: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Holdings {
    pub(crate) fn new(most: usize) -> Self {
        Self { most: Arc::new(AtomicUsize::new(most)), held: Arc::default() }
    }

    /// Lets each address hold so much from now on; what is held stays.
    pub(crate) fn set_most(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
    }

    /// One more for the address of a peer; `None` where it has as many as it may have.
    pub(crate) fn take(&self, peer: IpAddr) -> Option<Held> {
        let address = counted_as(peer);
        let mut held = self.held.lock();
        let count = held.get(&address).copied().unwrap_or_default();
        if count >= self.most.load(Ordering::Relaxed) {
            return None;
        }
        held.insert(address, count + 1);
        Some(Held { address, held: self.held.clone() })
    }
}

impl Held {
    /// Whether it is held by the address of a peer.
    pub(crate) fn is_of(&self, peer: IpAddr) -> bool {
        self.address == counted_as(peer)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut held = self.held.lock();
        match held.get_mut(&self.address) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(held.remove(&self.address)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Settled one second after it was touched.
    #[derive(Default)]
    struct Touched(Option<Instant>);

    impl Account for Touched {
        fn is_settled(&self, now: Instant) -> bool {
            self.0.is_none_or(|at| now - at >= LOOK_PERIOD)
        }
    }

    fn address(number: usize) -> IpAddr {
        IpAddr::from(u32::try_from(number).unwrap().to_be_bytes())
    }

    #[test]
    fn a_whole_64_of_ipv6_counts_as_one_address() {
        let same =
            |one: &str, other: &str| counted_as(one.parse().unwrap()) == counted_as(other.parse().unwrap());
        assert!(same("2001:db8::1", "2001:db8::2") && !same("2001:db8::1", "2001:db8:0:1::1"));
        assert!(same("::ffff:192.0.2.1", "192.0.2.1") && !same("192.0.2.1", "192.0.2.2"));
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_addresses_are_remembered_and_those_that_are_settled_make_room() {
        let mut accounts = ByAddress::<Touched>::default();
        let start = Instant::now();
        for number in 0..MOST.stated() + 10 {
            accounts.of(address(number), start).0 = Some(start);
        }
        assert_eq!(accounts.accounts.len(), MOST.stated());
        assert!(accounts.shared.0.is_some(), "the last share one");
        assert!(accounts.of(address(7), start).0.is_some(), "the first are remembered");
        assert!(accounts.of(address(MOST.stated() + 11), start + LOOK_PERIOD).0.is_none(), "it has its own");
        assert_eq!(accounts.accounts.len(), 1);
    }

    #[test]
    fn an_address_holds_so_many_until_they_are_dropped() {
        let holdings = Holdings::new(2);
        let first = holdings.take(address(1)).unwrap();
        let second = holdings.take(address(1)).unwrap();
        assert!(holdings.take(address(1)).is_none() && holdings.take(address(2)).is_some());
        assert!(first.is_of(address(1)) && !first.is_of(address(2)));
        drop(first);
        assert!(holdings.take(address(1)).is_some());
        drop(second);
        assert!(holdings.held.lock().is_empty());
    }
}
