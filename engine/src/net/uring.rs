//! One system call for many sockets: a queue of io_uring's per thread, where the kernel allows it.

use std::cell::RefCell;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Once;
use streamengine_uring::Ring;

/// Sends per system call.
const ENTRIES: u32 = 128;

thread_local! {
    static QUEUE: RefCell<Queue> = const { RefCell::new(Queue::Untried) };
}

enum Queue {
    Untried,
    Ready(Box<Ring>),
    /// There is none to be had: sockets are written to one by one.
    Absent,
}

impl Queue {
    fn ready(&mut self) -> Option<&mut Ring> {
        if let Self::Untried = self {
            *self = Ring::new(ENTRIES).map_or_else(Self::without, |ring| Self::Ready(Box::new(ring)));
        }
        match self {
            Self::Ready(ring) => Some(ring),
            _ => None,
        }
    }

    fn without(error: io::Error) -> Self {
        static TOLD: Once = Once::new();
        TOLD.call_once(|| tracing::warn!(%error, "no io_uring here: players are written to one by one"));
        Self::Absent
    }
}

/// Whether this thread has a queue.
pub(crate) fn is_there() -> bool {
    QUEUE.with_borrow_mut(|queue| queue.ready().is_some())
}

/// Sends `bytes` to all sockets; `taken` becomes what each has taken at once, as from
/// [`Sink::try_write`](super::Sink::try_write).
pub(crate) fn send_to_all(sockets: &[BorrowedFd<'_>], bytes: &[u8], taken: &mut Vec<io::Result<usize>>) {
    QUEUE.with_borrow_mut(|queue| {
        let sent = match queue.ready() {
            Some(ring) => ring.send_to_all(sockets, bytes, taken),
            None => Err(io::ErrorKind::Unsupported.into()),
        };
        if let Err(error) = sent {
            *queue = Queue::without(error);
        }
    });
}
