//! Reading with one buffer per thread.
//!
//! What is read is taken apart at once, so a connection needs no buffer of its own: an idle one holds none, and a
//! thousand publishers read into memory that the cache still holds.

use bytes::{BufMut, BytesMut};
use std::cell::Cell;
use std::io;
use std::mem;
use std::pin::pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Most bytes of one read.
pub(crate) const LARGE_READ: usize = 64 * 1024;

thread_local! {
    /// The thread's buffer, while nobody reads.
    static SPARE: Cell<Option<BytesMut>> = const { Cell::new(None) };
}

/// Reads once, at most `size` bytes, behind what `input` holds; 0 = the peer has closed.
///
/// `input` is the thread's buffer then: [`release`] has to follow before the task waits for anything.
pub(crate) fn poll_read<IO: AsyncRead + Unpin>(
    cx: &mut Context<'_>,
    io: &mut IO,
    input: &mut BytesMut,
    size: usize,
) -> Poll<io::Result<usize>> {
    let mut buffer = SPARE.take().unwrap_or_default();
    buffer.clear();
    buffer.reserve((input.len() + size).max(LARGE_READ));
    buffer.extend_from_slice(input);
    let read = pin!(io.read_buf(&mut (&mut buffer).limit(size))).poll(cx);
    if let Poll::Ready(Ok(1..)) = read {
        mem::swap(input, &mut buffer);
    } else {
        SPARE.set(Some(buffer));
    }
    read
}

/// Gives the thread its buffer back; what has not been taken of `input` stays there.
pub(crate) fn release(input: &mut BytesMut) {
    let rest = BytesMut::from(&input[..]);
    let buffer = mem::replace(input, rest);
    // Where there is one, `input` was not it.
    SPARE.set(SPARE.take().or(Some(buffer)));
}

/// Reads once and forgets what came; 0 = the peer has closed.
pub(crate) fn poll_discard<IO: AsyncRead + Unpin>(
    cx: &mut Context<'_>,
    io: &mut IO,
) -> Poll<io::Result<usize>> {
    let mut input = BytesMut::new();
    let read = poll_read(cx, io, &mut input, LARGE_READ);
    if !input.is_empty() {
        input.clear();
        release(&mut input);
    }
    read
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::io::AsyncWriteExt;

    #[tokio::test]
    async fn what_is_left_over_stays_before_what_is_read_next_and_holds_no_large_buffer() {
        let (mut ours, mut theirs) = tokio::io::duplex(100);
        let mut input = BytesMut::new();
        theirs.write_all(b"one two").await.unwrap();
        assert_eq!(poll_fn(|cx| poll_read(cx, &mut ours, &mut input, 100)).await.unwrap(), 7);
        let _ = input.split_to(4);
        release(&mut input);
        assert_eq!((&input[..], input.capacity()), (&b"two"[..], 3));

        theirs.write_all(b" three").await.unwrap();
        assert_eq!(
            poll_fn(|cx| poll_read(cx, &mut ours, &mut input, 3)).await.unwrap(),
            3,
            "no more than asked"
        );
        assert_eq!(&input[..], b"two th");
        input.clear();
        release(&mut input);
        assert_eq!(input.capacity(), 0);
        assert!(SPARE.take().is_some_and(|mut spare| spare.try_reclaim(LARGE_READ)), "one buffer for all");
    }

    #[tokio::test]
    async fn what_is_discarded_is_counted_and_the_end_is_noticed() {
        let (mut ours, mut theirs) = tokio::io::duplex(100);
        theirs.write_all(b"rest").await.unwrap();
        drop(theirs);
        assert_eq!(poll_fn(|cx| poll_discard(cx, &mut ours)).await.unwrap(), 4);
        assert_eq!(poll_fn(|cx| poll_discard(cx, &mut ours)).await.unwrap(), 0);
    }
}
