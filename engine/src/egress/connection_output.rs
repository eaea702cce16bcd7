//! The writing half of a connection, shared between its task and the shards that write to its players.

#[cfg(all(feature = "io-uring", target_os = "linux"))]
use super::batch_send::{Begun, Sending};
use super::delivery::{Delivery, Driver};
use super::form::{Form, Message};
use super::{Shard, ShardWriter, WireBatch};
use crate::hub::{EndReason, Place};
use crate::media::FrameKind;
use crate::net::{Sink, WriteQueue};
use crate::sessions::{Measured, Queue, Traffic};
use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use smallvec::SmallVec;
use std::io;
#[cfg(all(feature = "io-uring", target_os = "linux"))]
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// A connection's output. Whoever holds the lock writes whole messages in order.
pub(crate) struct ConnectionOutput<W> {
    state: Mutex<OutputState<W>>,
}

/// What is behind the lock.
pub(crate) struct OutputState<W> {
    /// `None` once the connection is closed: a shard may still hold the output.
    io: Option<W>,
    pub(crate) queue: WriteQueue<Message>,
    /// Bytes read from the peer.
    received: u64,
    /// Inline, as nearly all connections have one: a shard that goes through a thousand outputs waits for memory
    /// more than for anything else of its own.
    pub(crate) deliveries: SmallVec<[Delivery; 1]>,
    /// What a shard met when it wrote.
    failed: Option<io::Error>,
    /// The connection's task.
    task: Option<Waker>,
}

impl<W: Sink> ConnectionOutput<W> {
    pub(crate) fn new(io: W) -> Self {
        let output = OutputState {
            io: Some(io),
            queue: WriteQueue::default(),
            received: 0,
            deliveries: SmallVec::new(),
            failed: None,
            task: None,
        };
        Self { state: Mutex::new(output) }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, OutputState<W>> {
        self.state.lock()
    }

    pub(crate) fn count_received(&self, bytes: usize) {
        self.lock().received += bytes as u64;
    }

    /// Gives the players that have caught up to their shards.
    pub(crate) fn hand_over(self: &Arc<Self>) {
        let mut output = self.lock();
        if !output.queue.is_empty() {
            return;
        }
        for delivery in &mut output.deliveries {
            delivery.hand_over(|| self.clone());
        }
        // What shards write goes past the queue.
        if output.deliveries.iter().all(|delivery| matches!(delivery.driver(), Driver::Shard(_))) {
            output.queue.release();
        }
    }
}

impl<W: Sink> OutputState<W> {
    /// Writes what waits; ready when all is written.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(io) = &mut self.io else { return Poll::Ready(Err(io::ErrorKind::NotConnected.into())) };
        self.queue.poll_write(cx, io)
    }

    /// Tells the peer that nothing more will come.
    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Some(io) => Pin::new(io).poll_shutdown(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    /// Lets go of the socket.
    pub(crate) fn close(&mut self) {
        self.io = None;
        self.task = None;
    }

    /// The error that a shard met, if any; else remembers the task to wake for one.
    pub(super) fn poll_failed(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        if let Some(error) = self.failed.take() {
            return Poll::Ready(error);
        }
        if !self.task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
            self.task = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// The index of a player that has frames or its end, of those that are the connection's to drive.
    pub(super) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        for (index, delivery) in self.deliveries.iter_mut().enumerate() {
            if delivery.driver() == Driver::Connection && delivery.poll_ready(cx).is_ready() {
                return Poll::Ready(index);
            }
        }
        Poll::Pending
    }

    /// Hands the player at `index` its next frames.
    pub(crate) fn fill(&mut self, index: usize, max_bytes: usize) -> Result<(), EndReason> {
        match self.deliveries.get_mut(index) {
            Some(delivery) => delivery.fill(max_bytes, &mut self.queue),
            None => Ok(()),
        }
    }

    /// Puts on the way what the players have not got of their streams so far: they get nothing that comes later.
    pub(crate) fn fill_rest(&mut self) {
        for delivery in &mut self.deliveries {
            delivery.take_back();
            // An end is what follows anyway.
            let _ = delivery.fill(usize::MAX, &mut self.queue);
        }
    }

    /// Takes all players back from their shards, to end them.
    pub(crate) fn take_deliveries(&mut self) -> SmallVec<[Delivery; 1]> {
        std::mem::take(&mut self.deliveries)
    }

    /// The shard has done with the player at `index`: the connection's task goes on with it.
    fn unlist(&mut self, index: usize) {
        if let Some(delivery) = self.deliveries.get_mut(index) {
            delivery.unlist();
        }
        if let Some(task) = self.task.take() {
            task.wake();
        }
    }

    fn delivery_of(&mut self, shard: &Shard) -> Option<usize> {
        self.deliveries.iter().position(|delivery| delivery.is_listed_by(shard))
    }

    /// Takes the shard's player past a batch; whether it is to be written.
    fn step_over(&mut self, shard: &Shard, batch: &WireBatch) -> Step {
        let Some(index) = self.delivery_of(shard) else { return Step::Leave };
        let is_writable = self.io.is_some() && self.queue.is_empty();
        let step = match self.deliveries.get_mut(index).map(|delivery| (delivery.driver(), delivery)) {
            Some((Driver::Shard(form), delivery)) if is_writable => match delivery.step_over(batch, form) {
                // All of it may be nothing for this form.
                Place::At if batch.bytes(form).is_empty() => Step::Stay,
                Place::At => Step::Write(form),
                Place::After => Step::Stay,
                Place::Elsewhere => Step::Leave,
            },
            _ => Step::Leave,
        };
        if step == Step::Leave {
            self.unlist(index);
        }
        step
    }

    /// Notes what the socket has taken of a batch; false where the connection's task has to go on.
    fn wrote(&mut self, shard: &Shard, batch: &Bytes, taken: io::Result<usize>) -> bool {
        let Some(io) = &mut self.io else { return false };
        if let Err(error) = self.queue.wrote(io, batch, taken) {
            self.failed = Some(error);
        }
        let is_caught_up = self.failed.is_none() && self.queue.is_empty();
        if !is_caught_up && let Some(index) = self.delivery_of(shard) {
            self.unlist(index);
        }
        is_caught_up
    }
}

/// What is to be done about a batch.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    /// It is to be written, in this form.
    Write(Form),
    /// Nothing: the player has got its frames.
    Stay,
    /// Nothing: the connection's task goes on with the player.
    Leave,
}

impl<W: Sink> Measured for ConnectionOutput<W> {
    fn traffic(&self) -> Traffic {
        let output = self.lock();
        Traffic { received: output.received, sent: output.queue.written() }
    }

    fn queue(&self) -> Queue {
        let output = self.lock();
        let backlogs = output.deliveries.iter().map(Delivery::backlog);
        let waiting = backlogs.fold(Queue::default(), |queue, backlog| Queue {
            age: queue.age.max(backlog.age),
            bytes: queue.bytes + backlog.bytes,
            ..queue
        });
        let unwritten = output.queue.busy_since().map_or(Duration::ZERO, |since| since.elapsed());
        Queue {
            age: waiting.age.max(unwritten),
            bytes: waiting.bytes + output.queue.unwritten(),
            is_empty: waiting.bytes == 0 && output.queue.is_empty(),
            skipped: output.deliveries.iter().map(Delivery::skipped).sum(),
            audio: output.deliveries.first().and_then(|delivery| delivery.newest(FrameKind::Audio)),
            video: output.deliveries.first().and_then(|delivery| delivery.newest(FrameKind::Video)),
        }
    }
}

impl<W: Sink> ShardWriter for ConnectionOutput<W> {
    fn write(&self, shard: &Shard, batch: &WireBatch) -> bool {
        let mut output = self.lock();
        match output.step_over(shard, batch) {
            Step::Stay => true,
            Step::Leave => false,
            Step::Write(form) => {
                let Some(io) = &mut output.io else { return false };
                let bytes = batch.bytes(form);
                let taken = io.try_write_shared(bytes);
                output.wrote(shard, bytes, taken)
            }
        }
    }

    #[cfg(all(feature = "io-uring", target_os = "linux"))]
    fn begin<'a>(&'a self, shard: &Shard, batch: &WireBatch) -> Begun<'a> {
        // A shard that holds other outputs must not wait for one.
        let Some(mut output) = self.state.try_lock() else { return Begun::Alone };
        if output.io.as_ref().is_none_or(|io| io.plain_socket().is_none()) {
            return Begun::Alone;
        }
        match output.step_over(shard, batch) {
            Step::Stay => Begun::Done(true),
            Step::Leave => Begun::Done(false),
            Step::Write(form) => {
                Begun::Sending(form, MutexGuard::map(output, |output| output as &mut dyn Sending))
            }
        }
    }

    fn release(&self, shard: &Shard) {
        let mut output = self.lock();
        if let Some(index) = output.delivery_of(shard) {
            output.unlist(index);
        }
    }
}

#[cfg(all(feature = "io-uring", target_os = "linux"))]
impl<W: Sink> Sending for OutputState<W> {
    fn socket(&self) -> Option<BorrowedFd<'_>> {
        self.io.as_ref()?.plain_socket()
    }

    fn sent(&mut self, shard: &Shard, batch: &Bytes, taken: io::Result<usize>) -> bool {
        self.wrote(shard, batch, taken)
    }
}
