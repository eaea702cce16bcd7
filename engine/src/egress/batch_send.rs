//! A batch to many sockets in one system call.

use super::form::Form;
use super::{Shard, ShardWriter, WireBatch};
use crate::net::uring;
use bytes::Bytes;
use parking_lot::MappedMutexGuard;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

/// An output that has begun with a batch.
pub(super) enum Begun<'a> {
    /// There is nothing to send; the answer of [`ShardWriter::write`].
    Done(bool),
    /// It is to be sent on the output's socket, in this form; nobody else writes there meanwhile.
    Sending(Form, MappedMutexGuard<'a, dyn Sending>),
    /// The output writes by itself: somebody has it, or there is TLS.
    Alone,
}

/// An output while a batch is sent on its socket.
pub(super) trait Sending {
    /// `None` once the connection is closed.
    fn socket(&self) -> Option<BorrowedFd<'_>>;

    /// Notes what the socket has taken; the answer of [`ShardWriter::write`].
    fn sent(&mut self, shard: &Shard, batch: &Bytes, taken: io::Result<usize>) -> bool;
}

/// Writes a batch to all outputs; the indices of those that have fallen behind go to `gone`.
pub(super) fn write(
    outputs: &[Arc<dyn ShardWriter>],
    shard: &Shard,
    batch: &WireBatch,
    gone: &mut Vec<usize>,
) {
    let mut begun = Form::ALL.map(|_| Vec::new());
    let mut alone = Vec::new();
    for (index, output) in outputs.iter().enumerate() {
        match output.begin(shard, batch) {
            Begun::Done(true) => {}
            Begun::Done(false) => gone.push(index),
            Begun::Sending(form, output) => {
                let begun = &mut begun[form.index()];
                if begun.is_empty() {
                    // One allocation, and none for a form that nobody wants.
                    begun.reserve(outputs.len());
                }
                begun.push((index, output));
            }
            Begun::Alone => alone.push((index, output)),
        }
    }
    for (form, begun) in Form::ALL.into_iter().zip(begun).filter(|(_, begun)| !begun.is_empty()) {
        send(begun, shard, batch.bytes(form), gone);
    }
    // Not before the others are let go of: who has such an output may be waiting for one of them.
    gone.extend(alone.into_iter().filter(|(_, output)| !output.write(shard, batch)).map(|(index, _)| index));
    gone.sort_unstable();
}

fn send(
    mut begun: Vec<(usize, MappedMutexGuard<'_, dyn Sending>)>,
    shard: &Shard,
    batch: &Bytes,
    gone: &mut Vec<usize>,
) {
    let mut taken = Vec::with_capacity(begun.len());
    let sockets: Vec<_> = begun.iter().filter_map(|(_, output)| output.socket()).collect();
    uring::send_to_all(&sockets, batch, &mut taken);
    drop(sockets);
    for ((index, output), taken) in begun.iter_mut().zip(taken) {
        if !output.sent(shard, batch, taken) {
            gone.push(*index);
        }
    }
}
