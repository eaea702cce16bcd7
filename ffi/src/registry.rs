//! Handles that may be freed while other threads use them, or are about to: numbers instead of addresses.
//!
//! A thread that reads in a loop cannot know that another one frees the handle just before its next call. So the pointer
//! that C has is no address but a number that is given only once; one that is out of date is found nowhere.

use crate::handle::{Handle, null};
use crate::status::{Failure, Outcome, se_status};
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Every live handle of one type.
pub(crate) struct Registry<H: Handle> {
    live: RwLock<BTreeMap<usize, Arc<H::Behind>>>,
    next: AtomicUsize,
    handle: PhantomData<fn() -> H>,
}

/// Numbers are this far apart, so that the pointers look like others: aligned, and never NULL.
const STEP: usize = 16;

impl<H: Handle> Registry<H> {
    pub(crate) const fn new() -> Self {
        Self { live: RwLock::new(BTreeMap::new()), next: AtomicUsize::new(STEP), handle: PhantomData }
    }

    /// A handle for a value.
    pub(crate) fn give(&self, value: H::Behind) -> *mut H {
        let number = self.next.fetch_add(STEP, Ordering::Relaxed);
        self.live.write().insert(number, Arc::new(value));
        std::ptr::without_provenance_mut(number)
    }

    /// What is behind a handle.
    pub(crate) fn find(&self, handle: *const H) -> Outcome<Arc<H::Behind>> {
        self.live.read().get(&handle.addr()).cloned().ok_or_else(|| missing(handle))
    }

    /// Takes what is behind a handle, which is gone then; `None` for NULL.
    pub(crate) fn take(&self, handle: *mut H) -> Outcome<Option<Arc<H::Behind>>> {
        if handle.is_null() {
            return Ok(None);
        }
        let mut live = self.live.write();
        let taken = live.remove(&handle.addr());
        if live.is_empty() {
            // An empty map may keep its memory; nothing is to be left when the last one goes.
            *live = BTreeMap::new();
        }
        taken.map(Some).ok_or_else(|| missing(handle))
    }
}

fn missing<H: Handle>(handle: *const H) -> Failure {
    if handle.is_null() {
        return null(H::NAME);
    }
    Failure::new(se_status::SE_E_CLOSED, format!("{}: it has been freed", H::NAME))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Thing;

    impl Handle for Thing {
        type Behind = u8;
        const NAME: &'static str = "thing";
    }

    static THINGS: Registry<Thing> = Registry::new();

    #[test]
    fn a_handle_that_is_gone_is_refused_also_when_others_came_after_it() {
        let first = THINGS.give(1);
        assert_eq!(*THINGS.find(first).unwrap(), 1);
        let held = THINGS.take(first).unwrap().unwrap();
        let second = THINGS.give(2);
        assert_eq!(THINGS.find(first).unwrap_err().status, se_status::SE_E_CLOSED);
        assert_eq!(THINGS.take(first).unwrap_err().message, "thing: it has been freed");
        assert_eq!((*held, *THINGS.find(second).unwrap()), (1, 2));
        let null = std::ptr::null_mut();
        assert_eq!(THINGS.find(null).unwrap_err().status, se_status::SE_E_INVALID_ARGUMENT);
        assert!(THINGS.take(null).unwrap().is_none());
        THINGS.take(second).unwrap();
    }
}
