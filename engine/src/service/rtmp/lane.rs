//! The writing half of a connection, shared between its task and the shards that write to its players.

use super::player::{Driver, Player};
use crate::hub::Place;
use crate::net::{Outbox, Sink};
use crate::service::egress::{self, Shard, WireBatch};
use crate::sessions::SentCounter;
use parking_lot::{Mutex, MutexGuard};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use tokio::time::Instant;

/// A connection's output. Whoever holds the lock writes whole messages in order.
pub(super) struct Lane<W> {
    state: Mutex<Output<W>>,
}

/// When an output wants to be looked at.
pub(super) struct Times {
    /// Since when the peer has taken nothing though there was something to take.
    pub(super) stalled_since: Option<Instant>,
    /// Since when there has been something to write.
    pub(super) busy_since: Option<Instant>,
    /// When a player's wait for its publisher is over.
    pub(super) deadline: Option<Instant>,
}

/// What is behind the lock.
pub(super) struct Output<W> {
    /// `None` once the connection is closed: a shard may still hold the lane.
    io: Option<W>,
    pub(super) outbox: Outbox,
    pub(super) players: Vec<Player>,
    sent: SentCounter,
    /// Bytes written through the outbox that `sent` knows of.
    counted: u64,
    /// What a shard met when it wrote.
    failed: Option<io::Error>,
    /// The connection's task.
    task: Option<Waker>,
}

impl<W: Sink> Lane<W> {
    pub(super) fn new(io: W, sent: SentCounter) -> Self {
        let output = Output {
            io: Some(io),
            outbox: Outbox::default(),
            players: Vec::new(),
            sent,
            counted: 0,
            failed: None,
            task: None,
        };
        Self { state: Mutex::new(output) }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Output<W>> {
        self.state.lock()
    }

    /// Gives the players that are level to their shards.
    pub(super) fn hand_over(self: &Arc<Self>) {
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
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(io) = &mut self.io else { return Poll::Ready(Err(io::ErrorKind::NotConnected.into())) };
        let written = self.outbox.poll_write(cx, io);
        self.sent.add(self.outbox.written() - self.counted);
        self.counted = self.outbox.written();
        written
    }

    pub(super) fn times(&self) -> Times {
        let own = self.players.iter().filter(|player| player.driver() == Driver::Connection);
        Times {
            stalled_since: self.outbox.stalled_since(),
            busy_since: self.outbox.busy_since(),
            deadline: own.filter_map(Player::deadline).min(),
        }
    }

    /// Tells the peer that nothing more will come.
    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Some(io) => Pin::new(io).poll_shutdown(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    /// Lets go of the socket.
    pub(super) fn close(&mut self) {
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
        for (index, player) in self.players.iter_mut().enumerate() {
            if player.driver() == Driver::Connection && player.poll_ready(cx).is_ready() {
                return Poll::Ready(index);
            }
        }
        Poll::Pending
    }

    /// The index of a player whose wait for its publisher is over.
    pub(super) fn overdue(&self, now: Instant) -> Option<usize> {
        let is_overdue = |player: &Player| player.deadline().is_some_and(|at| at <= now);
        self.players.iter().position(|player| player.driver() == Driver::Connection && is_overdue(player))
    }

    /// Hands the player at `index` its next frames.
    pub(super) fn fill(&mut self, index: usize, max_bytes: usize) -> Result<(), crate::hub::EndReason> {
        match self.players.get_mut(index) {
            Some(player) => player.fill(max_bytes, &mut self.outbox),
            None => Ok(()),
        }
    }

    /// Takes all players back from their shards, to end them.
    pub(super) fn take_players(&mut self) -> Vec<Player> {
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

    /// Writes a batch to the player at `index`; false where the connection's task has to go on with it.
    fn write(&mut self, index: usize, batch: &WireBatch) -> bool {
        let (Some(player), Some(io)) = (self.players.get_mut(index), &mut self.io) else { return false };
        if player.driver() == Driver::Connection || !self.outbox.is_empty() {
            return false;
        }
        match player.step_over(batch) {
            Place::After => return true,
            Place::Elsewhere => return false,
            Place::At => {}
        }
        let written = match io.try_write(&batch.bytes) {
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => {
                self.failed = Some(error);
                return false;
            }
        };
        self.sent.add(written as u64);
        if written < batch.bytes.len() {
            self.outbox.push_rest(batch.bytes.slice(written..));
            return false;
        }
        if !io.is_flushed() {
            self.outbox.flush_later();
            return false;
        }
        true
    }
}

impl<W: Sink> egress::Lane for Lane<W> {
    fn write(&self, shard: &Shard, batch: &WireBatch) -> bool {
        let mut output = self.lock();
        let Some(index) = output.player_of(shard) else { return false };
        let is_level = output.write(index, batch);
        if !is_level {
            output.unlist(index);
        }
        is_level
    }

    fn release(&self, shard: &Shard) {
        let mut output = self.lock();
        if let Some(index) = output.player_of(shard) {
            output.unlist(index);
        }
    }
}
