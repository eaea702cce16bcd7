//! Sends one batch to many sockets in one system call, by io_uring. Linux only; a crate of its own because the engine
//! has no unsafe code.
#![cfg(target_os = "linux")]

use io_uring::{IoUring, opcode, types};
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, BorrowedFd};

/// A submission queue of the kernel's, for the thread that has made it.
///
/// ```
/// # use std::{io::Read, os::fd::AsFd, os::unix::net::UnixStream};
/// let Ok(mut ring) = streamengine_uring::Ring::new(8) else { return }; // forbidden here, or an old kernel
/// let (ours, mut theirs) = UnixStream::pair().unwrap();
/// let mut taken = Vec::new();
/// ring.send_to_all(&[ours.as_fd()], b"hello", &mut taken).unwrap();
/// assert_eq!(*taken[0].as_ref().unwrap(), 5);
/// let mut text = [0; 5];
/// theirs.read_exact(&mut text).unwrap();
/// assert_eq!(&text, b"hello");
/// ```
pub struct Ring {
    /// `None` after an error of the queue itself: what was not taken out of it must never be submitted.
    queue: Option<IoUring>,
    /// The kernel takes submissions of one thread only.
    _not_send: PhantomData<*const ()>,
}

impl Ring {
    /// A queue for `entries` sends per system call. Needs Linux 6.1, and a sandbox that allows io_uring.
    pub fn new(entries: u32) -> io::Result<Self> {
        // Completions are wanted in the call that submits: no interrupts at other times, no other thread.
        let queue = IoUring::builder().setup_single_issuer().setup_defer_taskrun().build(entries)?;
        Ok(Self { queue: Some(queue), _not_send: PhantomData })
    }

    /// Sends `bytes` to each socket, as much as it takes at once: `taken[i]` becomes the number of bytes that socket
    /// `i` has taken, or its error (`WouldBlock`: none now).
    ///
    /// An error of the queue itself is its end, and the error of all sockets of which nobody knows what they got.
    pub fn send_to_all(
        &mut self,
        sockets: &[BorrowedFd<'_>],
        bytes: &[u8],
        taken: &mut Vec<io::Result<usize>>,
    ) -> io::Result<()> {
        taken.clear();
        taken.resize_with(sockets.len(), || Err(io::ErrorKind::Other.into()));
        let mut queue = self.queue.take().ok_or(io::ErrorKind::NotConnected)?;
        let entries = queue.params().sq_entries() as usize;
        for (sockets, taken) in sockets.chunks(entries).zip(taken.chunks_mut(entries)) {
            fill(&mut queue, sockets, bytes);
            complete(&mut queue, taken)?;
        }
        self.queue = Some(queue);
        Ok(())
    }
}

/// Queues a send per socket; there are no more sockets than entries.
fn fill(queue: &mut IoUring, sockets: &[BorrowedFd<'_>], bytes: &[u8]) {
    let mut entries = queue.submission();
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    for (index, socket) in sockets.iter().enumerate() {
        let send = opcode::Send::new(types::Fd(socket.as_raw_fd()), bytes.as_ptr(), length)
            .flags(libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
            .build()
            .user_data(index as u64);
        // SAFETY: the kernel uses `bytes` and `socket` while `complete` submits the entry, as a send that may not wait
        // is over then, and the caller has both until after that. If `complete` fails, the queue is dropped.
        let is_queued = unsafe { entries.push(&send) };
        debug_assert!(is_queued.is_ok(), "more sockets than entries");
    }
}

/// Submits what is queued and waits until all of it is done.
fn complete(queue: &mut IoUring, taken: &mut [io::Result<usize>]) -> io::Result<()> {
    let mut left = taken.len();
    while left > 0 {
        match queue.submit_and_wait(left) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for done in queue.completion() {
            left -= 1;
            if let Some(taken) = taken.get_mut(done.user_data() as usize) {
                *taken = result(done.result());
            }
        }
    }
    Ok(())
}

/// What a system call gives back, negative for errors.
fn result(value: i32) -> io::Result<usize> {
    usize::try_from(value).map_err(|_| io::Error::from_raw_os_error(value.saturating_neg()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    /// `None`, with a line that says so, where the kernel or a sandbox forbids io_uring.
    fn ring(entries: u32) -> Option<Ring> {
        Ring::new(entries).inspect_err(|error| println!("skipped: no io_uring here: {error}")).ok()
    }

    fn pairs(count: usize) -> (Vec<UnixStream>, Vec<UnixStream>) {
        (0..count).map(|_| UnixStream::pair().unwrap()).unzip()
    }

    #[test]
    fn more_sockets_than_entries_all_get_the_bytes() {
        let Some(mut ring) = ring(4) else { return };
        let (ours, theirs) = pairs(11);
        let sockets: Vec<_> = ours.iter().map(AsFd::as_fd).collect();
        let mut taken = Vec::new();
        for round in 0..100_u8 {
            ring.send_to_all(&sockets, &[round; 100], &mut taken).unwrap();
            assert!(taken.iter().all(|taken| matches!(taken, Ok(100))), "{taken:?}");
        }
        for mut socket in theirs {
            let mut bytes = [0; 10_000];
            socket.read_exact(&mut bytes).unwrap();
            assert!(bytes.chunks(100).zip(0..100).all(|(part, round)| part == [round; 100]));
        }
    }

    #[test]
    fn a_full_a_closed_and_a_partly_full_socket_say_so_and_the_others_get_all() {
        let Some(mut ring) = ring(8) else { return };
        let (ours, mut theirs) = pairs(4);
        ours[0].set_nonblocking(true).unwrap();
        while (&ours[0]).write(&[0; 4096]).is_ok() {}
        drop(theirs.remove(1));
        let sockets: Vec<_> = ours.iter().map(AsFd::as_fd).collect();
        let mut taken = Vec::new();
        ring.send_to_all(&sockets[..3], b"hello", &mut taken).unwrap();
        assert_eq!(taken[0].as_ref().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert_eq!(taken[1].as_ref().unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(*taken[2].as_ref().unwrap(), 5);

        let large = vec![7; 64 << 20];
        ring.send_to_all(&sockets[3..], &large, &mut taken).unwrap();
        let part = *taken[0].as_ref().unwrap();
        assert!((1..large.len()).contains(&part), "{part}");
    }

    #[test]
    fn no_socket_is_no_call() {
        let Some(mut ring) = ring(4) else { return };
        let mut taken = vec![Ok(1)];
        ring.send_to_all(&[], b"hello", &mut taken).unwrap();
        assert!(taken.is_empty());
    }
}
