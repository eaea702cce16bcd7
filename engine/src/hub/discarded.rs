//! Rings that nobody needs any more, freed bit by bit.
//!
//! The memory of a ring that is full takes milliseconds to give back, and many streams may end in one moment: a peer
//! that leaves, a resume window that is over. So their rings come here, and count as held until they are freed.

use super::ring::{Ring, Slice};
use parking_lot::Mutex;
use tokio::sync::Notify;

#[derive(Default)]
pub(super) struct Discarded {
    rings: Mutex<Vec<Ring>>,
    news: Notify,
}

impl Discarded {
    pub(super) fn add(&self, ring: Ring) {
        if ring.len() > 0 {
            self.rings.lock().push(ring);
            self.news.notify_one();
        }
    }

    /// Waits until there is something to free. Safe to cancel.
    pub(super) async fn wait(&self) {
        self.news.notified().await;
    }

    /// Frees no more than takes a moment; false where there was nothing to free.
    pub(super) fn free_some(&self) -> bool {
        let mut slice = Slice::default();
        while !slice.is_spent() {
            let Some(mut ring) = self.rings.lock().pop() else { break };
            ring.evict(&mut slice);
            if ring.len() > 0 {
                self.rings.lock().push(ring);
            }
        }
        slice != Slice::default()
    }
}
