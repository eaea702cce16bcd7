//! The writing half of a connection, shared between its task and the shards that write to its players.

#[cfg(all(feature = "io-uring", target_os = "linux"))]
use super::batch_send::{Begun, Sending};
use super::delivery::{Driver, Player};
use super::{Member, Shard, WireBatch};
use crate::hub::{EndReason, Place};
use crate::net::{Outbox, Sink};
use crate::sessions::{Measured, Queue, Traffic};
use parking_lot::{Mutex, MutexGuard};
use smallvec::SmallVec;
use std::io;
#[cfg(all(feature = "io-uring", target_os = "linux"))]
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::time::Instant;

/// A connection's output. Whoever holds the lock writes whole messages in order.
pub(crate) struct Lane<W> {
    state: Mutex<Output<W>>,
}

/// When an output wants to be looked at.
pub(crate) struct Times {
    /// Since when the peer has taken nothing though there was something to take.
    pub(crate) stalled_since: Option<Instant>,
    /// Since when there has been something to write.
    pub(crate) busy_since: Option<Instant>,
    /// When a player's wait for its publisher is over.
    pub(crate) deadline: Option<Instant>,
}

/// What is behind the lock.
pub(crate) struct Output<W> {
    /// `None` once the connection is closed: a shard may still hold the lane.
    io: Option<W>,
    pub(crate) outbox: Outbox,
    /// Bytes read from the peer.
    received: u64,
    /// Inline, as nearly all connections have one: a shard that goes through a thousand lanes waits for memory
    /// more than for anything else of its own.
    pub(crate) players: SmallVec<[Player; 1]>,
    /// What a shard met when it wrote.
    failed: Option<io::Error>,
    /// The connection's task.
    task: Option<Waker>,
}

impl<W: Sink> Lane<W> {
    pub(crate) fn new(io: W) -> Self {
        let output = Output {
            io: Some(io),
            outbox: Outbox::default(),
            received: 0,
            players: SmallVec::new(),
            failed: None,
            task: None,
        };
        Self { state: Mutex::new(output) }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Output<W>> {
        self.state.lock()
    }

    pub(crate) fn count_received(&self, bytes: usize) {
        self.lock().received += bytes as u64;
    }

    /// Gives the players that are level to their shards.
    pub(crate) fn hand_over(self: &Arc<Self>) {
        let mut output = self.lock();
        if !output.outbox.is_empty() {
            return;
        }
        for player in &mut output.players {
            player.hand_over(|| self.clone());
        }
    }
}

impl<W: Sink> Output<W> {
    /// Writes what waits; ready when all is written.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(io) = &mut self.io else { return Poll::Ready(Err(io::ErrorKind::NotConnected.into())) };
        self.outbox.poll_write(cx, io)
    }

    pub(crate) fn times(&self) -> Times {
        let own = self.players.iter().filter(|player| player.driver() == Driver::Connection);
        Times {
            stalled_since: self.outbox.stalled_since(),
            busy_since: self.outbox.busy_since(),
            deadline: own.filter_map(Player::deadline).min(),
        }
    }

    /// Tells the peer that nothing more will come.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
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
    pub(crate) fn poll_failed(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        if let Some(error) = self.failed.take() {
            return Poll::Ready(error);
        }
        if !self.task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
            self.task = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// The index of a player that has frames or its end, of those that are the connection's to drive.
    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        for (index, player) in self.players.iter_mut().enumerate() {
            if player.driver() == Driver::Connection && player.poll_ready(cx).is_ready() {
                return Poll::Ready(index);
            }
        }
        Poll::Pending
    }

    /// The index of a player whose wait for its publisher is over.
    pub(crate) fn overdue(&self, now: Instant) -> Option<usize> {
        let is_overdue = |player: &Player| player.deadline().is_some_and(|at| at <= now);
        self.players.iter().position(|player| player.driver() == Driver::Connection && is_overdue(player))
    }

    /// Hands the player at `index` its next frames.
    pub(crate) fn fill(&mut self, index: usize, max_bytes: usize) -> Result<(), EndReason> {
        match self.players.get_mut(index) {
            Some(player) => player.fill(max_bytes, &mut self.outbox),
            None => Ok(()),
        }
    }

    /// Puts on the way what the players have not got of their streams so far: they get nothing that comes later.
    pub(crate) fn fill_rest(&mut self) {
        for player in &mut self.players {
            player.take_back();
            // An end is what follows anyway.
            let _ = player.fill(usize::MAX, &mut self.outbox);
        }
    }

    /// Takes all players back from their shards, to end them.
    pub(crate) fn take_players(&mut self) -> SmallVec<[Player; 1]> {
        std::mem::take(&mut self.players)
    }

    /// The shard has done with the player at `index`: the connection's task goes on with it.
    fn unlist(&mut self, index: usize) {
        if let Some(player) = self.players.get_mut(index) {
            player.unlist();
        }
        if let Some(task) = self.task.take() {
            task.wake();
        }
    }

    fn player_of(&mut self, shard: &Shard) -> Option<usize> {
        self.players.iter().position(|player| player.is_listed_by(shard))
    }

    /// Takes the shard's player past a batch; whether it is to be written.
    fn step_over(&mut self, shard: &Shard, batch: &WireBatch) -> Step {
        let Some(index) = self.player_of(shard) else { return Step::Leave };
        let is_writable = self.io.is_some() && self.outbox.is_empty();
        let step = match self.players.get_mut(index) {
            Some(player) if is_writable && player.driver() == Driver::Shard => {
                match player.step_over(batch) {
                    Place::At => Step::Write,
                    Place::After => Step::Stay,
                    Place::Elsewhere => Step::Leave,
                }
            }
            _ => Step::Leave,
        };
        if step == Step::Leave {
            self.unlist(index);
        }
        step
    }

    /// Notes what the socket has taken of a batch; false where the connection's task has to go on.
    fn wrote(&mut self, shard: &Shard, batch: &WireBatch, taken: io::Result<usize>) -> bool {
        let Some(io) = &mut self.io else { return false };
        if let Err(error) = self.outbox.wrote(io, &batch.bytes, taken) {
            self.failed = Some(error);
        }
        let is_level = self.failed.is_none() && self.outbox.is_empty();
        if !is_level && let Some(index) = self.player_of(shard) {
            self.unlist(index);
        }
        is_level
    }
}

/// What is to be done about a batch.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    /// It is to be written.
    Write,
    /// Nothing: the player has got its frames.
    Stay,
    /// Nothing: the connection's task goes on with the player.
    Leave,
}

impl<W: Sink> Measured for Lane<W> {
    fn traffic(&self) -> Traffic {
        let output = self.lock();
        Traffic { received: output.received, sent: output.outbox.written() }
    }

    fn queue(&self) -> Queue {
        let output = self.lock();
        let backlogs = output.players.iter().map(Player::backlog);
        let waiting = backlogs.fold(Queue::default(), |queue, backlog| Queue {
            age: queue.age.max(backlog.age),
            bytes: queue.bytes + backlog.bytes,
            ..queue
        });
        let unwritten = output.outbox.busy_since().map_or(Duration::ZERO, |since| since.elapsed());
        Queue {
            age: waiting.age.max(unwritten),
            bytes: waiting.bytes + output.outbox.unwritten(),
            is_empty: waiting.bytes == 0 && output.outbox.is_empty(),
            skipped: output.players.iter().map(Player::skipped).sum(),
        }
    }
}

impl<W: Sink> Member for Lane<W> {
    fn write(&self, shard: &Shard, batch: &WireBatch) -> bool {
        let mut output = self.lock();
        match output.step_over(shard, batch) {
            Step::Stay => true,
            Step::Leave => false,
            Step::Write => {
                let Some(io) = &mut output.io else { return false };
                let taken = io.try_write(&batch.bytes);
                output.wrote(shard, batch, taken)
            }
        }
    }

    #[cfg(all(feature = "io-uring", target_os = "linux"))]
    fn begin<'a>(&'a self, shard: &Shard, batch: &WireBatch) -> Begun<'a> {
        // A shard that holds other lanes must not wait for one.
        let Some(mut output) = self.state.try_lock() else { return Begun::Alone };
        if output.io.as_ref().is_none_or(|io| io.plain_socket().is_none()) {
            return Begun::Alone;
        }
        match output.step_over(shard, batch) {
            Step::Stay => Begun::Done(true),
            Step::Leave => Begun::Done(false),
            Step::Write => Begun::Sending(MutexGuard::map(output, |output| output as &mut dyn Sending)),
        }
    }

    fn release(&self, shard: &Shard) {
        let mut output = self.lock();
        if let Some(index) = output.player_of(shard) {
            output.unlist(index);
        }
    }
}

#[cfg(all(feature = "io-uring", target_os = "linux"))]
impl<W: Sink> Sending for Output<W> {
    fn socket(&self) -> Option<BorrowedFd<'_>> {
        self.io.as_ref()?.plain_socket()
    }

    fn sent(&mut self, shard: &Shard, batch: &WireBatch, taken: io::Result<usize>) -> bool {
        self.wrote(shard, batch, taken)
    }
}
