//! What the task of every connection does alike with its output, whatever the protocol: writing, deadlines, the farewell.

use super::delivery::Driver;
use super::{ConnectionOutput, Delivery};
use crate::Limits;
use crate::limits::ms;
use crate::net::{Sink, read};
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::AsyncRead;
use tokio::time::{Instant, timeout};

bound! {
    /// Replies that may wait for a peer that does not read them; then nothing more is read from it
    /// (test `a_peer_that_does_not_read_our_replies_is_not_read_from`).
    const MAX_UNREAD_REPLIES: usize = 64 * 1024, without usize::MAX;
}

bound! {
    /// How long a peer has to close its side after ours: closing at once would make its kernel throw away the last
    /// message, which says why (test `a_peer_that_does_not_close_its_side_is_left_half_a_second_after_ours`).
    pub(crate) const LINGER: Duration = Duration::from_millis(500), without Duration::from_secs(1 << 30);
}

/// How long a peer may hold up its output.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// Without taking a byte though there are some to take.
    pub(crate) write: Duration,
    /// Without having taken everything: what was handed out is older than anything in the ring then.
    pub(crate) ring: Duration,
}

impl Patience {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self { write: ms(limits.write_timeout_ms), ring: ms(limits.ring_ms) }
    }
}

/// Why a peer cannot keep up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stuck {
    /// It takes nothing.
    NotReading,
    /// It takes something, but cannot catch up any more.
    TooSlow,
}

impl fmt::Display for Stuck {
    /// Why its connection ends.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotReading => "the peer has stopped reading",
            Self::TooSlow => "reading too slowly",
        })
    }
}

impl<W: Sink> ConnectionOutput<W> {
    /// Writes what waits, and notices what a shard met when it wrote. Pending also while there is nothing to write.
    pub(crate) fn poll_write(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut output = self.lock();
        if let Poll::Ready(error) = output.poll_failed(cx) {
            return Poll::Ready(Err(error));
        }
        match output.queue.is_empty() {
            true => Poll::Pending,
            false => output.poll_write(cx),
        }
    }

    /// Whether the peer may be read from: it takes what it is answered.
    pub(crate) fn takes_replies(&self) -> bool {
        self.lock().queue.output_len() < MAX_UNREAD_REPLIES.get()
    }

    /// The index of a delivery that has frames or its end, once everything before is written.
    pub(crate) fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<usize> {
        let mut output = self.lock();
        match output.queue.is_empty() {
            true => output.poll_ready(cx),
            false => Poll::Pending,
        }
    }

    /// When [`Self::check`] and [`Self::overdue`] have to be asked next.
    pub(crate) fn next_deadline(&self, patience: Patience) -> Option<Instant> {
        let output = self.lock();
        let own = output.deliveries.iter().filter(|delivery| delivery.driver() == Driver::Connection);
        let deadlines = [
            output.queue.stalled_since().map(|since| since + patience.write),
            output.queue.busy_since().map(|since| since + patience.ring),
            own.filter_map(Delivery::deadline).min(),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// Whether the peer keeps up.
    pub(crate) fn check(&self, now: Instant, patience: Patience) -> Result<(), Stuck> {
        let output = self.lock();
        let is_over = |since: Option<Instant>, time| since.is_some_and(|since| since + time <= now);
        if is_over(output.queue.stalled_since(), patience.write) {
            return Err(Stuck::NotReading);
        }
        if is_over(output.queue.busy_since(), patience.ring) {
            return Err(Stuck::TooSlow);
        }
        Ok(())
    }

    /// Since when the peer has taken nothing though there was something to take.
    pub(crate) fn stalled_since(&self) -> Option<Instant> {
        self.lock().queue.stalled_since()
    }

    /// The index of a delivery whose wait for its publisher is over.
    pub(crate) fn overdue(&self, now: Instant) -> Option<usize> {
        let is_overdue = |delivery: &Delivery| delivery.deadline().is_some_and(|at| at <= now);
        let output = self.lock();
        output
            .deliveries
            .iter()
            .position(|delivery| delivery.driver() == Driver::Connection && is_overdue(delivery))
    }

    /// Sends what waits, within `time`, closes our side and gives the peer a moment to close its own.
    pub(crate) async fn part(&self, reader: &mut (impl AsyncRead + Unpin), time: Duration) {
        if let Ok(Ok(())) = timeout(time, self.flush(reader)).await {
            let _ = timeout(LINGER.get(), self.linger(reader)).await;
        }
    }

    /// Writes what waits. What the peer still sends is read and thrown away, or it might wait for us for ever.
    pub(crate) async fn flush(&self, reader: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
        let mut is_open = true;
        poll_fn(|cx| {
            if let Poll::Ready(written) = self.lock().poll_write(cx) {
                return Poll::Ready(written);
            }
            while is_open && let Poll::Ready(read) = read::poll_discard(cx, reader) {
                is_open = read.is_ok_and(|bytes| bytes > 0);
            }
            Poll::Pending
        })
        .await
    }

    /// Closes our side and waits until the peer has closed its own: closing a socket with unread input resets it, which
    /// may cost the peer our last words.
    pub(crate) async fn linger(&self, reader: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
        poll_fn(|cx| self.lock().poll_shutdown(cx)).await?;
        while poll_fn(|cx| read::poll_discard(cx, reader)).await? > 0 {}
        Ok(())
    }
}
