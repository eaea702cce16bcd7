//! What waits to be written to one peer: session output and shared frames, in order.

use super::Sink;
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::AsyncWrite;
use tokio::time::Instant;

/// Slices of one vectored write; a flush at 30 frames a second has two to four, a join more.
const SLICES: usize = 64;
/// Items for which an empty queue keeps its memory.
const IDLE_CAPACITY: usize = 8;

/// A message whose bytes lie in several places: headers that are its own, a payload that is shared.
pub(crate) trait Segments {
    /// Bytes in all.
    fn len(&self) -> usize;

    /// Appends the slices that remain after the first `skip` bytes, for a vectored write.
    fn slices<'a>(&'a self, skip: usize, out: &mut Vec<IoSlice<'a>>);
}

/// A queue of bytes and frames on their way to one peer. Frames are shared, never copied.
///
/// The queue has no bound of its own: callers add frames only while [`Self::is_empty`], and stop reading from
/// a peer that does not read what they answer ([`Self::output_len`]).
pub(crate) struct WriteQueue<M> {
    items: VecDeque<Item<M>>,
    /// Bytes of the first item that are already written.
    skip: usize,
    /// Bytes of session output in `items`, also those of the first item that are written.
    output_len: usize,
    /// Whether the transport may still hold written bytes (TLS does).
    unflushed: bool,
    /// Bytes written since the start.
    written: u64,
    /// While not empty: since when, and when the peer last took a byte.
    busy: Option<(Instant, Instant)>,
}

enum Item<M> {
    Output(Bytes),
    Message(M),
    /// What the peer has not taken of a batch of messages.
    Rest(Bytes),
}

impl<M: Segments> Item<M> {
    fn len(&self) -> usize {
        match self {
            Self::Output(bytes) | Self::Rest(bytes) => bytes.len(),
            Self::Message(message) => message.len(),
        }
    }

    fn slices<'a>(&'a self, skip: usize, out: &mut Vec<IoSlice<'a>>) {
        match self {
            Self::Output(bytes) | Self::Rest(bytes) => out.extend(bytes.get(skip..).map(IoSlice::new)),
            Self::Message(message) => message.slices(skip, out),
        }
    }
}

impl<M> Default for WriteQueue<M> {
    fn default() -> Self {
        let items = VecDeque::new();
        Self { items, skip: 0, output_len: 0, unflushed: false, written: 0, busy: None }
    }
}

impl<M: Segments> WriteQueue<M> {
    /// Appends the bytes that a session wants to send.
    pub(crate) fn push_output(&mut self, output: &mut BytesMut) {
        if !output.is_empty() {
            // Taken whole, so that an idle connection keeps no buffer.
            let bytes = std::mem::take(output).freeze();
            self.output_len += bytes.len();
            self.push_item(Item::Output(bytes));
        }
    }

    /// Notes what the transport has `taken` of a batch of messages that was written past the queue, which is empty.
    /// The rest waits in the queue: then it is not empty any more, and somebody has to poll for writing.
    pub(crate) fn wrote(
        &mut self,
        io: &mut impl Sink,
        batch: &Bytes,
        taken: io::Result<usize>,
    ) -> io::Result<()> {
        debug_assert!(self.is_empty(), "the batch has overtaken what waits");
        let taken = match taken {
            Ok(taken) => taken,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        self.written += taken as u64;
        if taken < batch.len() {
            self.push_item(Item::Rest(batch.slice(taken..)));
        } else if !io.is_flushed() {
            let now = Instant::now();
            self.unflushed = true;
            self.busy = Some((now, now));
        }
        Ok(())
    }

    /// Appends a media message.
    pub(crate) fn push(&mut self, message: M) {
        self.push_item(Item::Message(message));
    }

    fn push_item(&mut self, item: Item<M>) {
        if self.is_empty() {
            let now = Instant::now();
            self.busy = Some((now, now));
        }
        self.items.push_back(item);
    }

    /// Bytes of session output that wait, frames not counted.
    pub(crate) fn output_len(&self) -> usize {
        self.output_len
    }

    /// Whether everything is written and flushed.
    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty() && !self.unflushed
    }

    /// Bytes written since the start.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// Bytes that wait.
    pub(crate) fn unwritten(&self) -> u64 {
        let waiting: usize = self.items.iter().map(Item::len).sum();
        waiting.saturating_sub(self.skip) as u64
    }

    /// Since when there has been something to write; `None` while empty.
    pub(crate) fn busy_since(&self) -> Option<Instant> {
        self.busy.map(|(since, _)| since)
    }

    /// Since when the peer has taken nothing though there was something to take; `None` while empty.
    pub(crate) fn stalled_since(&self) -> Option<Instant> {
        self.busy.map(|(_, progress)| progress)
    }

    /// Writes until everything is written and flushed. Pending = the peer takes no more now; what it has taken
    /// shows in [`Self::written`].
    pub(crate) fn poll_write<IO: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut IO,
    ) -> Poll<io::Result<()>> {
        while !self.items.is_empty() {
            let taken = ready!(self.poll_write_once(cx, io))?;
            if taken == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(taken);
        }
        if self.unflushed {
            ready!(Pin::new(io).poll_flush(cx))?;
            self.unflushed = false;
        }
        self.busy = None;
        self.items.shrink_to(IDLE_CAPACITY);
        Poll::Ready(Ok(()))
    }

    /// Gives up the memory of the empty queue: nothing is expected to go through it for long.
    pub(crate) fn release(&mut self) {
        if self.items.is_empty() {
            self.items = VecDeque::new();
        }
    }

    fn poll_write_once<IO: AsyncWrite + Unpin>(
        &self,
        cx: &mut Context<'_>,
        io: &mut IO,
    ) -> Poll<io::Result<usize>> {
        let mut slices = Vec::with_capacity(SLICES);
        let mut skip = self.skip;
        for item in &self.items {
            item.slices(std::mem::take(&mut skip), &mut slices);
            if slices.len() >= SLICES {
                break;
            }
        }
        match slices.as_slice() {
            [one] => Pin::new(io).poll_write(cx, one),
            many => Pin::new(io).poll_write_vectored(cx, many),
        }
    }

    /// Takes `taken` written bytes off the queue.
    fn advance(&mut self, taken: usize) {
        self.unflushed = true;
        self.written += taken as u64;
        self.busy = self.busy.map(|(since, _)| (since, Instant::now()));
        self.skip += taken;
        while let Some(first) = self.items.front() {
            let Some(rest) = self.skip.checked_sub(first.len()) else { break };
            if let Item::Output(bytes) = first {
                self.output_len -= bytes.len();
            }
            self.skip = rest;
            self.items.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::time::Duration;
    use tokio::io::AsyncReadExt;

    /// A message in one piece.
    struct Whole(&'static [u8]);

    impl Segments for Whole {
        fn len(&self) -> usize {
            self.0.len()
        }

        fn slices<'a>(&'a self, skip: usize, out: &mut Vec<IoSlice<'a>>) {
            out.push(IoSlice::new(&self.0[skip..]));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_leave_in_order_and_stalls_are_timed_from_the_last_byte_taken() {
        let (mut ours, mut theirs) = tokio::io::duplex(10);
        let mut queue = WriteQueue::<Whole>::default();
        assert_eq!(queue.stalled_since(), None);
        for part in ["hello ", "", "world, ", "this is more than ten bytes"] {
            queue.push_output(&mut BytesMut::from(part));
        }
        assert_eq!(queue.output_len(), 40);
        tokio::time::timeout(Duration::from_secs(1), poll_fn(|cx| queue.poll_write(cx, &mut ours)))
            .await
            .expect_err("the peer does not read");
        assert_eq!(queue.written(), 10);
        let stalled = queue.stalled_since().unwrap();
        assert_eq!(stalled.elapsed(), Duration::from_secs(1));

        let mut text = vec![0; 40];
        let (read, wrote) =
            tokio::join!(theirs.read_exact(&mut text), poll_fn(|cx| queue.poll_write(cx, &mut ours)));
        read.unwrap();
        wrote.unwrap();
        assert_eq!(text, b"hello world, this is more than ten bytes");
        assert_eq!((queue.output_len(), queue.written(), queue.busy_since()), (0, 40, None));
    }
}
