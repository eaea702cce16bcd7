//! Listeners: binding, admission before and after accept, and a loop that never gives up.

use super::{Proxies, tune};
use crate::address::counted_as;
use crate::budget::{Budget, Rate};
use crate::limits::ms;
use crate::log_limit::{LogLimit, left_out};
use crate::{Error, Limits, Result};
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use socket2::{Domain, Protocol, Socket, Type};
use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard, WaitForCancellationFutureOwned};

/// Connections that the kernel completes before we accept them.
const BACKLOG: i32 = 4096;
bound! {
    /// Pauses after an accept error: the first, and the longest. The longest keeps recovery within a second
    /// (test `f15_failing_accepts_are_retried_ever_later_but_within_half_a_second`).
    const BACK_OFF: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(500)), without (Duration::from_secs(3_600), Duration::from_secs(3_600));
    /// How often, in all, a listener waits for a millisecond where an address has no place left, before it turns the next one
    /// of it away (test `f14_one_address_may_hold_so_many_pending_connections_and_others_are_still_served`).
    const WAITS: Rate = Rate::new(30, Duration::from_secs(1)), without Rate::new(1 << 40, Duration::from_secs(1));
    /// Log lines about connections that are turned away (test `f14_strangers_cannot_fill_the_log`).
    const REJECTED_LINES: Rate = Rate::new(1, Duration::from_secs(10)), without Rate::new(1 << 40, Duration::from_secs(1));
    /// Log lines about connections that end before they were granted anything
    /// (test `f14_strangers_cannot_fill_the_log`).
    const PENDING_LINES: Rate = Rate::new(10, Duration::from_secs(1)), without Rate::new(1 << 40, Duration::from_secs(1));
}

/// Admission for all listeners of an engine: how many connections there may be, how many of them may still
/// wait for a granted `publish` or `play`, and how many of those from one address.
#[derive(Debug)]
pub(crate) struct Admission {
    connections: Arc<Semaphore>,
    /// How many connections there may be.
    places: Mutex<usize>,
    limits: ArcSwap<Limits>,
    counts: Mutex<Counts>,
    rejected: AtomicU64,
    log: LogLimit,
    pending_log: LogLimit,
}

#[derive(Debug, Default)]
struct Counts {
    /// Pending connections in the order in which they came, with what tells them to give way.
    pending: BTreeMap<u64, CancellationToken>,
    next: u64,
    by_address: HashMap<IpAddr, OfAddress>,
}

/// Connections of one address.
#[derive(Debug, Default, Clone, Copy)]
struct OfAddress {
    all: usize,
    pending: usize,
}

impl Counts {
    /// Tells the oldest pending connection to give way; false where there is none.
    fn reclaim(&mut self) -> bool {
        self.pending.pop_first().map(|(_, gives_way)| gives_way.cancel()).is_some()
    }

    fn leave(&mut self, address: Option<IpAddr>, left: impl FnOnce(&mut OfAddress)) {
        let Some(address) = address else { return };
        if let Some(count) = self.by_address.get_mut(&address) {
            left(count);
            if count.all == 0 && count.pending == 0 {
                self.by_address.remove(&address);
            }
        }
    }
}

/// Why a connection is turned away at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rejected {
    /// [`Limits::max_pending_per_address`] connections of this address wait for a grant.
    Pending,
    /// There are [`Limits::max_connections_per_address`] of this address.
    All,
}

impl Admission {
    pub(crate) fn new(limits: &Limits) -> Arc<Self> {
        let places = places(limits);
        Arc::new(Self {
            connections: Arc::new(Semaphore::new(places)),
            places: Mutex::new(places),
            limits: ArcSwap::from_pointee(limits.in_force().into_owned()),
            counts: Mutex::default(),
            rejected: AtomicU64::new(0),
            log: LogLimit::new(REJECTED_LINES.get()),
            pending_log: LogLimit::new(PENDING_LINES.get()),
        })
    }

    /// Holds to these limits from now on. Connections that are there stay: where fewer may be, none is accepted until so
    /// many have ended, but for the one that each listener has taken a place for already. Needs a tokio runtime.
    pub(crate) fn set_limits(&self, limits: &Limits) {
        let (mut now, new) = (self.places.lock(), places(limits));
        self.connections.add_permits(new.saturating_sub(*now));
        let fewer = now.saturating_sub(new);
        // What is free goes at once, the rest as it gets free, before anybody gets it who comes later.
        let left = fewer - self.connections.forget_permits(fewer);
        if let Ok(left @ 1..) = u32::try_from(left) {
            let connections = Arc::clone(&self.connections);
            tokio::spawn(async move {
                if let Ok(permits) = connections.acquire_many_owned(left).await {
                    permits.forget();
                }
            });
        }
        *now = new;
        self.limits.store(Arc::new(limits.in_force().into_owned()));
    }

    /// Places for a connection from `peer`: among all, and among those that are pending; with none, for one whose address a
    /// proxy has still to tell ([`PendingPlace::belongs_to`]). Where too many are pending, the oldest gives way: who is
    /// served is so within moments, and who only holds a place has had it for longest.
    pub(crate) fn admit(
        self: &Arc<Self>,
        peer: Option<IpAddr>,
    ) -> Result<(AddressPlace, PendingPlace), Rejected> {
        let address = peer.map(counted_as);
        let mut counts = self.counts.lock();
        if let Some(address) = address {
            self.count(&mut counts, address)?;
        }
        if counts.pending.len() >= self.limits.load().max_pending {
            counts.reclaim();
        }
        let (id, gives_way) = (counts.next, CancellationToken::new());
        counts.next += 1;
        counts.pending.insert(id, gives_way.clone());
        let evicted = Box::pin(gives_way.cancelled_owned());
        let place = AddressPlace { admission: Arc::clone(self), address };
        Ok((place, PendingPlace { admission: Arc::clone(self), address, id, evicted }))
    }

    fn count(&self, counts: &mut Counts, address: IpAddr) -> Result<(), Rejected> {
        let of_address = counts.by_address.get(&address).copied().unwrap_or_default();
        let limits = self.limits.load();
        if of_address.pending >= limits.max_pending_per_address {
            return Err(Rejected::Pending);
        }
        if of_address.all >= limits.max_connections_per_address {
            return Err(Rejected::All);
        }
        let more = OfAddress { all: of_address.all + 1, pending: of_address.pending + 1 };
        counts.by_address.insert(address, more);
        Ok(())
    }

    /// How many connections of an address are pending.
    fn pending_of(&self, address: IpAddr) -> usize {
        self.counts.lock().by_address.get(&counted_as(address)).map_or(0, |count| count.pending)
    }

    /// A place for one more connection. Where all are taken, the oldest pending one gives way.
    async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        let connections = || Arc::clone(&self.connections);
        if let Ok(permit) = connections().try_acquire_owned() {
            return Some(permit);
        }
        self.counts.lock().reclaim();
        connections().acquire_owned().await.ok()
    }

    /// Connections closed right after accept because of the limits.
    pub(crate) fn rejected(&self) -> u64 {
        self.rejected.load(Ordering::Relaxed)
    }

    /// Logs how many lines are held back that no later one has told; with `at_once`, whatever the limits.
    pub(crate) fn tell_left_out(&self, at_once: bool) {
        self.log.tell_left_out("about connections that were turned away, or could not be accepted", at_once);
        self.pending_log
            .tell_left_out("about connections that ended before anything was published or played", at_once);
    }

    fn note_rejected(&self, peer: SocketAddr, why: Rejected) {
        self.rejected.fetch_add(1, Ordering::Relaxed);
        let Some(more) = self.log.allow() else { return };
        let reason = match why {
            Rejected::Pending => {
                "too many connections of its address have not published or played yet (limits.max_pending_per_address)"
            }
            Rejected::All => "too many connections of its address (limits.max_connections_per_address)",
        };
        tracing::warn!(%peer, left_out = left_out(more), "connection closed: {reason}");
    }
}

fn places(limits: &Limits) -> usize {
    limits.in_force().max_connections.min(Semaphore::MAX_PERMITS)
}

/// A place among the connections that have not been granted anything; dropped at the grant.
#[derive(Debug)]
pub(crate) struct PendingPlace {
    admission: Arc<Admission>,
    /// None until a proxy has told it.
    address: Option<IpAddr>,
    id: u64,
    /// Ready when others need the place.
    evicted: Pin<Box<WaitForCancellationFutureOwned>>,
}

/// A place among the connections of an address.
#[derive(Debug)]
pub(crate) struct AddressPlace {
    admission: Arc<Admission>,
    /// None until a proxy has told it.
    address: Option<IpAddr>,
}

#[cfg(feature = "http")]
impl AddressPlace {
    /// Places for one more player on the same connection, as if it had one of its own; none where all are taken, or those
    /// of its address.
    pub(crate) fn one_more(&self) -> Option<Permit> {
        let permit = Arc::clone(&self.admission.connections).try_acquire_owned().ok()?;
        if let Some(address) = self.address {
            let mut counts = self.admission.counts.lock();
            let of_address = counts.by_address.entry(address).or_default();
            if of_address.all >= self.admission.limits.load().max_connections_per_address {
                return None;
            }
            of_address.all += 1;
        }
        let place = Self { admission: Arc::clone(&self.admission), address: self.address };
        Some((permit, place))
    }
}

impl Drop for AddressPlace {
    fn drop(&mut self) {
        let mut counts = self.admission.counts.lock();
        counts.leave(self.address, |count| count.all = count.all.saturating_sub(1));
    }
}

impl PendingPlace {
    /// Counts the connection for the address that a proxy has told; false where that has too many, which is noted.
    pub(crate) fn belongs_to(&mut self, peer: SocketAddr, place: &mut AddressPlace) -> bool {
        let address = counted_as(peer.ip());
        let counted = self.admission.count(&mut self.admission.counts.lock(), address);
        match counted {
            Ok(()) => (self.address, place.address) = (Some(address), Some(address)),
            Err(why) => self.admission.note_rejected(peer, why),
        }
        counted.is_ok()
    }

    /// `Some(lines held back since the last one)` where a line about this connection may be logged: strangers
    /// cannot fill the log.
    pub(crate) fn may_log(&self) -> Option<u64> {
        self.admission.pending_log.allow()
    }

    /// Ready when the connection has to give way to a newer one.
    pub(crate) fn poll_evicted(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.evicted.as_mut().poll(cx)
    }
}

impl Drop for PendingPlace {
    fn drop(&mut self) {
        let mut counts = self.admission.counts.lock();
        counts.pending.remove(&self.id);
        counts.leave(self.address, |count| count.pending = count.pending.saturating_sub(1));
    }
}

/// A connection fresh from accept.
#[derive(Debug)]
pub(crate) struct Accepted {
    /// The socket, its options set.
    pub(crate) stream: TcpStream,
    /// The peer's address; that of the proxy where there is one.
    pub(crate) peer: SocketAddr,
    /// Whether a proxy brings it, which tells the peer's address first.
    pub(crate) by_proxy: bool,
    /// When it was accepted: phase deadlines count from here.
    pub(crate) since: Instant,
    /// To be dropped when the connection is granted `publish` or `play`.
    pub(crate) pending: PendingPlace,
    /// To be kept as long as the connection.
    pub(crate) permit: Permit,
}

/// The places of a connection, whatever it does.
pub(crate) type Permit = (OwnedSemaphorePermit, AddressPlace);

/// The socket of a listener, which it may have closed.
#[derive(Debug, Clone)]
pub(crate) struct ListeningSocket {
    socket: Weak<TcpListener>,
    local: SocketAddr,
}

impl ListeningSocket {
    /// A listener on the same socket, in place of its present one, so that no connection is refused between the two; none
    /// where that one has closed it.
    pub(crate) fn take_over(&self) -> Option<Listener> {
        self.socket.upgrade().map(|socket| Listener::of(socket, self.local))
    }
}

/// A bound listening socket.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: Arc<TcpListener>,
    local: SocketAddr,
    proxies: Proxies,
    closed: CancellationToken,
    /// After the socket, which is dropped first.
    _closing: DropGuard,
}

impl Listener {
    /// Binds `address` (port 0 = any free one) for `what` (`rtmp`, `rtmps`), which only names it in errors.
    /// An IPv6 address serves IPv6 only, whatever the system's default is, so that `0.0.0.0` and `[::]` can
    /// be bound side by side. Needs a tokio runtime.
    pub(crate) fn bind(what: &str, address: SocketAddr) -> Result<Self> {
        Self::try_bind(address).map_err(|cause| Error::io(format_args!("listen {what} on {address}"), cause))
    }

    fn try_bind(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        #[cfg(unix)] // on Windows the option lets others take the port
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let socket = Arc::new(TcpListener::from_std(socket.into())?);
        let local = socket.local_addr()?;
        Ok(Self::of(socket, local))
    }

    fn of(socket: Arc<TcpListener>, local: SocketAddr) -> Self {
        let closed = CancellationToken::new();
        Self { socket, local, proxies: Proxies::default(), _closing: closed.clone().drop_guard(), closed }
    }

    /// What lets another listener take the socket over.
    pub(crate) fn socket(&self) -> ListeningSocket {
        ListeningSocket { socket: Arc::downgrade(&self.socket), local: self.local }
    }

    /// Lets these tell other addresses than their own.
    pub(crate) fn with_proxies(self, proxies: Proxies) -> Self {
        Self { proxies, ..self }
    }

    /// The address really bound.
    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Cancelled when the socket is closed and its port is free.
    pub(crate) fn closed(&self) -> CancellationToken {
        self.closed.clone()
    }

    /// Accepts connections until `shutdown` and runs `serve` on each as a task of its own. Then closes the
    /// listening socket and waits for these tasks; dropping the future aborts them. A task that panics is a bug
    /// of ours; it costs its connection and is told to `on_panic`.
    pub(crate) async fn run<F, S>(
        self,
        admission: Arc<Admission>,
        shutdown: CancellationToken,
        serve: F,
        on_panic: impl Fn(),
    ) where
        F: Fn(Accepted) -> S,
        S: Future<Output = ()> + Send + 'static,
    {
        let check = |ended: Result<(), JoinError>| match ended {
            Err(error) if error.is_panic() => on_panic(),
            _ => {}
        };
        let mut tasks = JoinSet::new();
        let mut acceptor = Acceptor::new(self, admission);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                Some(ended) = tasks.join_next() => check(ended),
                accepted = acceptor.next() => { tasks.spawn(serve(accepted)); }
            }
        }
        drop(acceptor);
        while let Some(ended) = tasks.join_next().await {
            check(ended);
        }
    }
}

struct Acceptor {
    listener: Listener,
    admission: Arc<Admission>,
    /// After an error: when to try again, and the length of that pause.
    pause: Option<(Instant, Duration)>,
    /// Where the last one came from.
    last: Option<IpAddr>,
    waits: Budget,
}

impl Acceptor {
    fn new(listener: Listener, admission: Arc<Admission>) -> Self {
        Self { listener, admission, pause: None, last: None, waits: Budget::default() }
    }

    /// The next connection that may stay. Safe to cancel at any point.
    async fn next(&mut self) -> Accepted {
        loop {
            if let Some((until, _)) = self.pause {
                tokio::time::sleep_until(until).await;
            }
            self.let_others_on().await;
            // The permit comes first: without one, connections wait in the kernel's backlog and cost us nothing.
            let Some(permit) = self.admission.permit().await else { return std::future::pending().await };
            match self.listener.socket.accept().await {
                Ok((stream, peer)) => {
                    self.pause = None;
                    let by_proxy = self.listener.proxies.contain(peer.ip());
                    self.last = (!by_proxy).then_some(peer.ip());
                    match self.admission.admit((!by_proxy).then_some(peer.ip())) {
                        Ok((place, pending)) => {
                            tune(&stream, ms(self.admission.limits.load().write_timeout_ms));
                            let since = Instant::now();
                            return Accepted {
                                stream,
                                peer,
                                by_proxy,
                                since,
                                pending,
                                permit: (permit, place),
                            };
                        }
                        Err(why) => self.admission.note_rejected(peer, why),
                    }
                }
                Err(error) => self.back_off(&error),
            }
        }
    }

    /// An audience behind one address may come in the same instant. Where it has taken half the places for those who have not
    /// asked for a stream yet, the ones that have are served before the next one is accepted; where all, there is a short wait.
    async fn let_others_on(&mut self) {
        let Some(address) = self.last else { return };
        let most = self.admission.limits.load().max_pending_per_address;
        if self.admission.pending_of(address) > most / 2 {
            tokio::task::yield_now().await;
        }
        while self.admission.pending_of(address) >= most && self.waits.spend(WAITS.get(), 1, Instant::now()) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.last = None;
    }

    /// Out of descriptors or memory: waits, ever longer, instead of spinning. Errors that concern only the
    /// connection that was to be accepted cost no pause.
    fn back_off(&mut self, error: &io::Error) {
        use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
        if matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted) {
            return;
        }
        let length =
            self.pause.map_or(BACK_OFF.get().0, |(_, last)| last.saturating_mul(2).min(BACK_OFF.get().1));
        self.pause = Some((Instant::now() + length, length));
        if let Some(more) = self.admission.log.allow() {
            tracing::warn!(listener = %self.listener.local, left_out = left_out(more), "cannot accept connections for now: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::mpsc;

    const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

    /// Connections without a granted `publish` or `play`.
    fn pending(admission: &Admission) -> usize {
        admission.counts.lock().pending.len()
    }

    fn limits(change: impl FnOnce(&mut Limits)) -> Limits {
        let mut limits = Limits::default();
        change(&mut limits);
        limits
    }

    /// Runs a listener whose connections are handed to the test.
    fn accept_all(
        limits: Limits,
    ) -> (SocketAddr, Arc<Admission>, mpsc::Receiver<Accepted>, CancellationToken) {
        let listener = Listener::bind("rtmp", LOOPBACK).unwrap();
        let (address, admission, stop) =
            (listener.local_addr(), Admission::new(&limits), CancellationToken::new());
        let (sender, receiver) = mpsc::channel(100);
        let run = listener.run(
            Arc::clone(&admission),
            stop.clone(),
            move |accepted| {
                let sender = sender.clone();
                async move {
                    let _ = sender.send(accepted).await;
                }
            },
            || (),
        );
        tokio::spawn(run);
        (address, admission, receiver, stop)
    }

    #[tokio::test]
    async fn port_0_reports_the_port_really_bound_and_a_taken_one_is_an_error_that_names_it() {
        let first = Listener::bind("rtmp", LOOPBACK).unwrap();
        assert_ne!(first.local_addr().port(), 0);
        let error = Listener::bind("rtmp", first.local_addr()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddressInUse);
        let start = format!("listen rtmp on {}: Address already in use", first.local_addr());
        assert!(error.to_string().starts_with(&start), "{error}");
    }

    #[tokio::test]
    async fn f14_one_address_may_hold_so_many_pending_connections_and_others_are_still_served() {
        let (address, admission, mut accepted, _stop) = accept_all(limits(|l| l.max_pending_per_address = 2));
        let mut own = Vec::new();
        for _ in 0..3 {
            own.push(TcpStream::connect(address).await.unwrap());
        }
        let (one, two) = (accepted.recv().await.unwrap(), accepted.recv().await.unwrap());
        let closed = tokio::time::timeout(Duration::from_secs(5), own[2].read(&mut [0])).await;
        assert_eq!(closed.expect("the third is closed at once").unwrap(), 0);
        assert_eq!((pending(&admission), admission.rejected()), (2, 1));

        let other = tokio::net::TcpSocket::new_v4().unwrap();
        other.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        let other = other.connect(address).await.unwrap();
        assert_eq!(accepted.recv().await.unwrap().peer, other.local_addr().unwrap());

        drop(one.pending);
        let _again = TcpStream::connect(address).await.unwrap();
        accepted.recv().await.expect("a grant makes room");
        drop(two);
    }

    #[tokio::test]
    async fn an_audience_that_comes_at_once_behind_one_address_is_served() {
        let listener = Listener::bind("rtmp", LOOPBACK).unwrap();
        let (address, admission) =
            (listener.local_addr(), Admission::new(&limits(|l| l.max_pending_per_address = 4)));
        // A play takes some messages there and back.
        let serve = |mut accepted: Accepted| async move {
            for _ in 0..4 {
                let byte = accepted.stream.read_u8().await.unwrap();
                accepted.stream.write_u8(byte).await.unwrap();
            }
            drop(accepted.pending);
            let _ = accepted.stream.read_u8().await;
        };
        tokio::spawn(listener.run(Arc::clone(&admission), CancellationToken::new(), serve, || ()));
        let mut players = JoinSet::new();
        for _ in 0..100 {
            players.spawn(async move {
                let mut player = TcpStream::connect(address).await.unwrap();
                for _ in 0..4 {
                    player.write_all(b"x").await.unwrap();
                    player.read_u8().await?;
                }
                io::Result::Ok(player)
            });
        }
        let served = players.join_all().await;
        assert!(served.iter().all(Result::is_ok), "{} turned away", admission.rejected());
    }

    #[tokio::test]
    async fn f14_all_addresses_together_may_hold_so_many_pending_connections_and_the_oldest_gives_way() {
        let admission = Admission::new(&limits(|l| l.max_pending = 2));
        let ip = |last| IpAddr::from([192, 0, 2, last]);
        let mut first = admission.admit(Some(ip(1))).unwrap();
        let mut second = admission.admit(Some(ip(2))).unwrap();
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(first.1.poll_evicted(&mut cx).is_pending());
        let _third = admission.admit(Some(ip(3))).unwrap();
        assert!(first.1.poll_evicted(&mut cx).is_ready() && second.1.poll_evicted(&mut cx).is_pending());
        assert_eq!(pending(&admission), 2);
        // A grant makes room: nobody has to give way.
        drop(second.1);
        let _fourth = admission.admit(Some(ip(4))).unwrap();
        assert_eq!(pending(&admission), 2);
        drop(first);
        assert_eq!(pending(&admission), 2, "who gave way is not counted out twice");
    }

    #[tokio::test]
    async fn w6_one_address_may_hold_so_many_connections_whatever_they_do() {
        let admission = Admission::new(&limits(|l| l.max_connections_per_address = 2));
        let ip = |last| IpAddr::from([192, 0, 2, last]);
        let (first, pending) = admission.admit(Some(ip(1))).unwrap();
        drop(pending);
        let second = admission.admit(Some(ip(1))).unwrap();
        assert_eq!(admission.admit(Some(ip(1))).map(drop), Err(Rejected::All));
        assert!(admission.admit(Some(ip(2))).is_ok());
        drop(first);
        assert!(admission.admit(Some(ip(1))).is_ok());
        drop(second);
        assert!(admission.counts.lock().by_address.is_empty());
    }

    #[tokio::test]
    async fn w6_where_all_places_are_taken_the_oldest_pending_connection_gives_way() {
        let (address, _admission, mut accepted, _stop) = accept_all(limits(|l| l.max_connections = 2));
        let _players =
            (TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap());
        let (granted, mut idle) = (accepted.recv().await.unwrap(), accepted.recv().await.unwrap());
        drop(granted.pending);
        let _newcomer = TcpStream::connect(address).await.unwrap();
        std::future::poll_fn(|cx| idle.pending.poll_evicted(cx)).await;
        drop(idle);
        accepted.recv().await.expect("the newcomer has its place");
    }

    #[test]
    fn f14_an_ipv6_host_cannot_pass_as_many_addresses() {
        let admission = Admission::new(&limits(|l| l.max_pending_per_address = 1));
        let _one = admission.admit(Some("2001:db8::1".parse().unwrap())).unwrap();
        assert_eq!(admission.admit(Some("2001:db8::2".parse().unwrap())).map(drop), Err(Rejected::Pending));
        assert!(admission.admit(Some("2001:db8:0:1::1".parse().unwrap())).is_ok());
        let _mapped = admission.admit(Some("::ffff:192.0.2.1".parse().unwrap())).unwrap();
        assert!(admission.admit(Some("192.0.2.1".parse().unwrap())).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn f14_strangers_cannot_fill_the_log() {
        let admission = Admission::new(&Limits::default());
        let (_place, pending) = admission.admit(Some(IpAddr::from([192, 0, 2, 1]))).unwrap();
        let lines = |tries: usize| (0..tries).filter_map(|_| pending.may_log()).collect::<Vec<_>>();
        assert_eq!(lines(1_000), [0; 10], "lines about ends in a second");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(lines(1), [990], "the next one says how many were held back");

        let rejected = (0..1_000).filter_map(|_| admission.log.allow()).count();
        assert_eq!(rejected, 1, "lines about connections that are turned away, in 10 s");
        lines(1_000);
        tokio::time::advance(Duration::from_secs(10)).await;
        admission.tell_left_out(false);
        assert_eq!((lines(1), admission.log.allow()), (vec![0], None), "what was held back has been told");
    }

    #[tokio::test]
    async fn connections_over_the_limit_wait_until_one_ends() {
        let (address, _admission, mut accepted, _stop) = accept_all(limits(|l| l.max_connections = 1));
        let _first = TcpStream::connect(address).await.unwrap();
        let mut second = TcpStream::connect(address).await.unwrap();
        second.write_all(b"x").await.unwrap();
        let held = accepted.recv().await.unwrap();
        tokio::task::yield_now().await;
        assert!(accepted.try_recv().is_err());
        drop(held);
        let mut later = accepted.recv().await.unwrap();
        assert_eq!(later.stream.read_u8().await.unwrap(), b'x');
    }

    #[tokio::test]
    async fn fewer_or_more_connections_may_be_while_some_are_there() {
        let most = |most| limits(|l| l.max_connections = most);
        let (address, admission, mut accepted, _stop) = accept_all(most(3));
        let mut peers = Vec::new();
        let mut held = Vec::new();
        for _ in 0..2 {
            peers.push(TcpStream::connect(address).await.unwrap());
            held.push(accepted.recv().await.unwrap());
        }
        admission.set_limits(&most(1));
        // The listener has taken a place for it already.
        peers.push(TcpStream::connect(address).await.unwrap());
        held.push(accepted.recv().await.unwrap());
        peers.push(TcpStream::connect(address).await.unwrap());
        held.truncate(1);
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        assert!(accepted.try_recv().is_err(), "one is there, and no more may be");
        held.clear();
        held.push(accepted.recv().await.unwrap());
        admission.set_limits(&most(2));
        peers.push(TcpStream::connect(address).await.unwrap());
        held.push(accepted.recv().await.unwrap());
        assert_eq!(held.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn f15_failing_accepts_are_retried_ever_later_but_within_half_a_second() {
        let listener = Listener::bind("rtmp", LOOPBACK).unwrap();
        let admission = Admission::new(&limits(|_| ()));
        let mut acceptor = Acceptor::new(listener, admission);
        let too_many_files = || io::Error::from_raw_os_error(24);
        let start = Instant::now();
        let mut failures = 0;
        while start.elapsed() < Duration::from_secs(10) {
            acceptor.back_off(&too_many_files());
            let (until, length) = acceptor.pause.unwrap();
            assert!(length <= Duration::from_millis(500));
            tokio::time::sleep_until(until).await;
            failures += 1;
        }
        assert!(failures < 40, "{failures} tries in 10 s are no busy loop");

        acceptor.pause = None;
        acceptor.back_off(&io::ErrorKind::ConnectionAborted.into());
        assert!(acceptor.pause.is_none(), "a peer that gave up does not slow the others");
    }

    #[tokio::test]
    async fn f52_a_panic_costs_one_connection_and_is_counted() {
        let listener = Listener::bind("rtmp", LOOPBACK).unwrap();
        let address = listener.local_addr();
        let admission = Admission::new(&limits(|_| ()));
        let panics = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&panics);
        let on_panic = move || {
            counter.fetch_add(1, Ordering::Relaxed);
        };
        let serve = |mut accepted: Accepted| async move {
            let byte = accepted.stream.read_u8().await.unwrap();
            assert_ne!(byte, b'!', "injected");
            accepted.stream.write_u8(byte).await.unwrap();
        };
        tokio::spawn(listener.run(Arc::clone(&admission), CancellationToken::new(), serve, on_panic));
        for byte in *b"a!b" {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_u8(byte).await.unwrap();
            assert_eq!(stream.read_u8().await.ok(), (byte != b'!').then_some(byte));
        }
        assert_eq!(panics.load(Ordering::Relaxed), 1);
        assert_eq!(pending(&admission), 0);
    }

    #[tokio::test]
    async fn shutdown_refuses_new_connections_at_once_and_waits_for_the_running_ones() {
        let listener = Listener::bind("rtmp", LOOPBACK).unwrap();
        let (address, stop) = (listener.local_addr(), CancellationToken::new());
        let serve = |mut accepted: Accepted| async move {
            while let Ok(byte) = accepted.stream.read_u8().await {
                accepted.stream.write_u8(byte).await.unwrap();
            }
        };
        let run = tokio::spawn(listener.run(Admission::new(&Limits::default()), stop.clone(), serve, || ()));
        let mut running = TcpStream::connect(address).await.unwrap();
        running.write_u8(1).await.unwrap();
        running.read_u8().await.unwrap();
        stop.cancel();
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
        running.write_u8(2).await.unwrap();
        assert_eq!(running.read_u8().await.unwrap(), 2);
        assert!(!run.is_finished());
        drop(running);
        run.await.unwrap();
    }
}
