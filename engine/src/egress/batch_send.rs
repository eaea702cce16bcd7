//! A batch to many sockets in one system call.

use super::{Member, Shard, WireBatch};
use crate::net::uring;
use parking_lot::MappedMutexGuard;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

/// A lane that has begun with a batch.
pub(super) enum Begun<'a> {
    /// There is nothing to send; the answer of [`Member::write`].
    Done(bool),
    /// It is to be sent on the lane's socket; nobody else writes there meanwhile.
    Sending(MappedMutexGuard<'a, dyn Sending>),
    /// The lane writes by itself: somebody has it, or there is TLS.
    Alone,
}

/// A lane while a batch is sent on its socket.
pub(super) trait Sending {
    /// `None` once the connection is closed.
    fn socket(&self) -> Option<BorrowedFd<'_>>;

    /// Notes what the socket has taken; the answer of [`Member::write`].
    fn sent(&mut self, shard: &Shard, batch: &WireBatch, taken: io::Result<usize>) -> bool;
}

/// Writes a batch to all lanes; the indices of those that are not level any more go to `gone`.
pub(super) fn write(lanes: &[Arc<dyn Member>], shard: &Shard, batch: &WireBatch, gone: &mut Vec<usize>) {
    let mut begun = Vec::with_capacity(lanes.len());
    let mut alone = Vec::new();
    for (index, lane) in lanes.iter().enumerate() {
        match lane.begin(shard, batch) {
            Begun::Done(true) => {}
            Begun::Done(false) => gone.push(index),
            Begun::Sending(lane) => begun.push((index, lane)),
            Begun::Alone => alone.push((index, lane)),
        }
    }
    send(begun, shard, batch, gone);
    // Not before the others are let go of: who has such a lane may be waiting for one of them.
    gone.extend(alone.into_iter().filter(|(_, lane)| !lane.write(shard, batch)).map(|(index, _)| index));
    gone.sort_unstable();
}

fn send(
    mut begun: Vec<(usize, MappedMutexGuard<'_, dyn Sending>)>,
    shard: &Shard,
    batch: &WireBatch,
    gone: &mut Vec<usize>,
) {
    let mut taken = Vec::with_capacity(begun.len());
    let sockets: Vec<_> = begun.iter().filter_map(|(_, lane)| lane.socket()).collect();
    uring::send_to_all(&sockets, &batch.bytes, &mut taken);
    drop(sockets);
    for ((index, lane), taken) in begun.iter_mut().zip(taken) {
        if !lane.sent(shard, batch, taken) {
            gone.push(*index);
        }
    }
}
