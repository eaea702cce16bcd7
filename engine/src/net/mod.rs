//! Sockets: plain and TLS connections, listeners with admission, dialling, deadlines and vectored writes.
//!
//! Only this module touches sockets. Services get a [`Conn`] (or, in tests, any byte stream) and write
//! through a [`WriteQueue`], which also knows for how long the peer has taken nothing.

mod dial;
mod listen;
mod proxy_protocol;
pub(crate) mod read;
#[cfg(test)]
pub(crate) mod tests;
mod tls;
#[cfg(all(feature = "io-uring", target_os = "linux"))]
pub(crate) mod uring;
mod write_queue;

pub(crate) use dial::{DialOptions, DialStep, Dialer};
pub(crate) use listen::{Accepted, Admission, Listener, ListeningSocket, PendingPlace, Permit};
pub(crate) use proxy_protocol::{Proxies, read_header};
pub use tls::TlsIdentity;
pub(crate) use tls::{DialTls, Renewal, ServerTls, Verify, check_trust};
use tls::{TlsReader, TlsWriter};
pub(crate) use write_queue::{Segments, WriteQueue};

use bytes::Bytes;
use parking_lot::Mutex;
use socket2::SockRef;
use std::future::Future;
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
#[cfg(all(feature = "io-uring", target_os = "linux"))]
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;
#[cfg(test)]
use tokio::io::WriteHalf;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{Instant, Sleep};
use tokio_rustls::TlsStream;

bound! {
    /// Unsent bytes that the kernel may hold before a socket stops being writable, so that the lag rule acts on
    /// fresh frames and not on megabytes that are already queued (test `sockets_have_no_delay_and_little_unsent_data`).
    const NOT_SENT_LOW_WATER: u32 = 128 * 1024, without i32::MAX as u32;
    /// The kernel ends connections whose peer acknowledges nothing any more
    /// (test `the_kernel_gives_up_a_peer_that_acknowledges_nothing_after_twice_the_write_timeout`).
    const KERNEL_GIVES_UP: bool = true, without false;
}

/// First byte of a TLS record that carries a handshake.
pub(crate) const TLS_FIRST_BYTE: u8 = 0x16;

/// Whether an interface of this machine has the address: then a socket can have it too.
pub(crate) fn is_address_of_this_machine(ip: IpAddr) -> bool {
    ip.is_loopback() || std::net::UdpSocket::bind((ip, 0)).is_ok()
}

/// An open connection: plain TCP or TLS, accepted or dialled.
#[derive(Debug)]
pub(crate) struct Conn {
    stream: Stream,
    peer: SocketAddr,
}

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    // Boxed: the state of a TLS connection is over a kilobyte, and most connections are plain.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Conn {
    /// A plain connection over an accepted or connected socket, which [`tune`] has prepared.
    pub(crate) fn plain(stream: TcpStream, peer: SocketAddr) -> Self {
        Self { stream: Stream::Plain(stream), peer }
    }

    fn tls(stream: TlsStream<TcpStream>, peer: SocketAddr) -> Self {
        Self { stream: Stream::Tls(Box::new(stream)), peer }
    }

    /// The other side's address.
    pub(crate) fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Takes it apart, for reading and writing from different tasks.
    pub(crate) fn into_halves(self) -> Halves {
        match self.stream {
            Stream::Plain(stream) => {
                let (reader, writer) = stream.into_split();
                Halves::Plain(reader, writer)
            }
            Stream::Tls(stream) => {
                let (reader, writer) = tls::halves(*stream);
                Halves::Tls(reader, writer)
            }
        }
    }

    /// The halves behind one type, for connections of which there are few.
    pub(crate) fn into_boxed_halves(self) -> (Box<dyn AsyncRead + Send + Unpin>, Box<dyn Sink>) {
        match self.into_halves() {
            Halves::Plain(reader, writer) => (Box::new(reader), Box::new(writer)),
            Halves::Tls(reader, writer) => (Box::new(reader), Box::new(writer)),
        }
    }

    /// Whether the peer has agreed on this protocol by its name in ALPN.
    #[cfg(feature = "http")]
    pub(crate) fn speaks(&self, protocol: &str) -> bool {
        match &self.stream {
            Stream::Plain(_) => false,
            Stream::Tls(stream) => stream.get_ref().1.alpn_protocol() == Some(protocol.as_bytes()),
        }
    }

    /// Whether the connection is encrypted.
    pub(crate) fn is_tls(&self) -> bool {
        matches!(self.stream, Stream::Tls(_))
    }
}

/// The writing half of a connection, on which writes can be tried from any task.
pub(crate) trait Sink: AsyncWrite + Unpin + Send + 'static {
    /// Writes what the transport takes at once. `WouldBlock` where it takes nothing: then somebody has to poll for
    /// writing, as nobody is woken.
    fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// The same with bytes that others share, which the transport may keep instead of a copy.
    fn try_write_shared(&mut self, bytes: &Bytes) -> io::Result<usize> {
        self.try_write(bytes)
    }

    /// Passes on what the transport has taken but holds back; false where some is left.
    fn is_flushed(&mut self) -> bool;

    /// The socket, where what is written to it is what the peer reads.
    #[cfg(all(feature = "io-uring", target_os = "linux"))]
    fn plain_socket(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

impl Sink for OwnedWriteHalf {
    /// Past the runtime's own note of whether the socket is writable: a shard writes to sockets that were so the last
    /// time, and looking it up costs it a cache miss for each.
    #[cfg(unix)]
    fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        use nix::sys::socket::{MsgFlags, send};
        use std::os::fd::AsRawFd;
        loop {
            match send(self.as_ref().as_raw_fd(), bytes, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL) {
                Err(nix::Error::EINTR) => {}
                sent => return Ok(sent?),
            }
        }
    }

    #[cfg(not(unix))]
    fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        OwnedWriteHalf::try_write(self, bytes)
    }

    fn is_flushed(&mut self) -> bool {
        true
    }

    #[cfg(all(feature = "io-uring", target_os = "linux"))]
    fn plain_socket(&self) -> Option<BorrowedFd<'_>> {
        Some(self.as_ref().as_fd())
    }
}

/// Byte streams in tests: their state is shared with the reading half.
#[cfg(test)]
impl<IO: AsyncRead + AsyncWrite + Unpin + Send + 'static> Sink for WriteHalf<IO> {
    fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match Pin::new(self).poll_write(&mut Context::from_waker(Waker::noop()), bytes) {
            Poll::Ready(written) => written,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn is_flushed(&mut self) -> bool {
        // An error shows at the next write.
        Pin::new(self).poll_flush(&mut Context::from_waker(Waker::noop())).is_ready()
    }
}

/// For connections of which there are few.
impl Sink for Box<dyn Sink> {
    fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (**self).try_write(bytes)
    }

    fn try_write_shared(&mut self, bytes: &Bytes) -> io::Result<usize> {
        (**self).try_write_shared(bytes)
    }

    fn is_flushed(&mut self) -> bool {
        (**self).is_flushed()
    }

    #[cfg(all(feature = "io-uring", target_os = "linux"))]
    fn plain_socket(&self) -> Option<BorrowedFd<'_>> {
        (**self).plain_socket()
    }
}

/// A connection's halves.
pub(crate) enum Halves {
    /// Plain TCP.
    Plain(OwnedReadHalf, OwnedWriteHalf),
    /// TLS.
    Tls(TlsReader, TlsWriter),
}

impl AsyncRead for Conn {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Conn {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Stream::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// Sets the options that every RTMP socket has: no Nagle delay, a bound on unsent bytes in the kernel, and an
/// end to connections whose peer acknowledges nothing any more.
///
/// The last is twice `write_timeout`: our own stall rule comes first and names the reason; the
/// kernel's catches dead peers to whom only a ping is on its way, and sockets that are already closed.
fn tune(stream: &TcpStream, write_timeout: Duration) {
    // A socket whose peer is already gone may refuse options; the next read says so.
    let _ = stream.set_nodelay(true);
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        let socket = SockRef::from(stream);
        let _ = socket.set_tcp_notsent_lowat(NOT_SENT_LOW_WATER.get());
        let _ = socket.set_tcp_user_timeout(KERNEL_GIVES_UP.get().then(|| write_timeout.saturating_mul(2)));
    }
}

/// An I/O error of a connection, in words that are the same on all systems.
pub(crate) fn io_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof => {
            "connection reset by the peer".into()
        }
        io::ErrorKind::TimedOut => "the peer has stopped answering".into(),
        _ => format!("connection failed: {error}"),
    }
}

/// One timer for all deadlines of a connection. It may be early: whoever asked for it looks at the clock.
#[derive(Debug)]
pub(crate) struct DeadlineTimer {
    sleep: Pin<Box<Sleep>>,
    set_for: Option<Instant>,
}

impl DeadlineTimer {
    /// A timer that is not set. Needs a tokio runtime.
    pub(crate) fn new() -> Self {
        Self { sleep: Box::pin(tokio::time::sleep(Duration::ZERO)), set_for: None }
    }

    /// Sets it to `at` or earlier; true where it has to be polled for that. A deadline that moves ahead with
    /// every write costs nothing: the timer stays where it is, is early, and is set again.
    pub(crate) fn set(&mut self, at: Instant) -> bool {
        let is_earlier = self.set_for.is_none_or(|earlier| at < earlier);
        if is_earlier {
            self.set_for = Some(at);
            self.sleep.as_mut().reset(at);
        }
        is_earlier
    }

    /// Ready when its time has come; it is not set any more then.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.set_for else { return Poll::Pending };
        // The timer itself gives way when the task is busy; a deadline must not.
        if at <= Instant::now() || self.sleep.as_mut().poll(cx).is_ready() {
            self.set_for = None;
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

/// Lets others work once: pending, and woken at once, the first time; ready the next.
pub(crate) fn poll_yield(cx: &mut Context<'_>, has_yielded: &mut bool) -> Poll<()> {
    *has_yielded = !*has_yielded;
    match *has_yielded {
        true => {
            cx.waker().wake_by_ref();
            Poll::Pending
        }
        false => Poll::Ready(()),
    }
}

bound! {
    /// An alarm this late tells of us and not of a peer: the process was stopped, or the machine slept
    /// (test `w4_an_alarm_that_comes_far_too_late_gives_everybody_a_fresh_period_once`).
    const OVERSLEPT: Duration = Duration::from_secs(1), without Duration::from_secs(1 << 30);
    /// What everybody gets then, to show that it is still there
    /// (test `w4_an_alarm_that_comes_far_too_late_gives_everybody_a_fresh_period_once`).
    const FRESH_PERIOD: Duration = Duration::from_secs(5), without Duration::ZERO;
}

/// Deadlines judge peers: where it is we who stood still, they begin anew.
#[derive(Debug, Default)]
pub(crate) struct Reprieve {
    until: Option<Instant>,
}

impl Reprieve {
    /// A deadline as it holds now.
    pub(crate) fn extend(&self, deadline: Instant) -> Instant {
        self.until.map_or(deadline, |until| deadline.max(until))
    }

    /// Whether peers may be judged `now`, by a deadline or look that was `due`.
    pub(crate) fn may_judge(&mut self, due: Instant, now: Instant) -> bool {
        if now.saturating_duration_since(self.extend(due)) > OVERSLEPT.get() {
            self.until = Some(now + FRESH_PERIOD.get());
        }
        self.until.is_none_or(|until| until <= now)
    }
}

/// Tells whether any of a task's futures that seldom have something to say has woken the task. If not, they need not
/// be polled: each lies in a memory of its own, and a publisher's task is woken for every message.
pub(crate) struct WakeFlag {
    shared: Arc<Woken>,
    /// What the futures wake.
    waker: Waker,
    /// The task that is in `shared`.
    task: Option<Waker>,
}

struct Woken {
    since_polled: AtomicBool,
    task: Mutex<Option<Waker>>,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.since_polled.store(true, Ordering::Release);
        let task = self.task.lock().clone();
        if let Some(task) = task {
            task.wake();
        }
    }
}

impl WakeFlag {
    /// A flag that has been raised: futures have to be polled once before they wake anybody.
    pub(crate) fn new() -> Self {
        let shared = Arc::new(Woken { since_polled: AtomicBool::new(true), task: Mutex::default() });
        Self { waker: shared.clone().into(), shared, task: None }
    }

    /// Has the futures polled at the next occasion: there is a new one, or one was left out.
    pub(crate) fn raise(&self) {
        self.shared.since_polled.store(true, Ordering::Release);
    }

    /// What to poll the futures with, where that is needed.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Option<Context<'_>> {
        if !self.task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
            self.task = Some(cx.waker().clone());
            *self.shared.task.lock() = self.task.clone();
        }
        let is_raised = self.shared.since_polled.load(Ordering::Relaxed);
        (is_raised && self.shared.since_polled.swap(false, Ordering::Acquire))
            .then(|| Context::from_waker(&self.waker))
    }
}
