//! A player without a connection.

use crate::egress::{Delivery, Envelope, WireBatch};
use crate::hub::Place;
use crate::net::WriteQueue;
use std::task::{Context, Poll, Waker};

/// See the module. What it reads of what it has got, the tests of each form add.
pub(super) struct Peer {
    pub(super) delivery: Delivery,
    pub(super) envelope: Envelope,
    pub(super) out: Vec<u8>,
    /// Batches that it shared with others.
    pub(super) shared: usize,
}

impl Peer {
    /// One whose reply begins with `head`.
    pub(super) fn new(delivery: Delivery, envelope: Envelope, head: &[u8]) -> Self {
        Self { delivery, envelope, out: head.to_vec(), shared: 0 }
    }

    /// What its connection's task does.
    pub(super) fn take_singly(&mut self) {
        let mut queue = WriteQueue::default();
        self.delivery.fill(usize::MAX, &mut queue).unwrap();
        let written = queue.poll_write(&mut Context::from_waker(Waker::noop()), &mut self.out);
        assert!(matches!(written, Poll::Ready(Ok(()))));
    }

    /// What shard and connection do together about a batch.
    pub(super) fn take(&mut self, batch: &WireBatch) {
        let form = self.delivery.shared_form();
        match form.map(|form| (self.delivery.step_over(batch, form), form)) {
            Some((Place::At, form)) => {
                self.out.extend_from_slice(batch.bytes(form));
                self.shared += 1;
            }
            Some((Place::After, _)) => {}
            Some((Place::Elsewhere, _)) | None => self.take_singly(),
        }
    }
}
