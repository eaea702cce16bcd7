//! Functions of the host that the library calls, with what belongs to them.

use std::ffi::c_void;

/// Called once when the library needs `user_data` no more, after the last call of the callback it came with. May be
/// called on the callback thread, or inside the call that replaces or removes the callback. It must not free the
/// engine that it belongs to.
pub type se_destroy_fn = Option<unsafe extern "C" fn(user_data: *mut c_void)>;

/// Called exactly once, on any thread, when the library needs the bytes of a `_ref` call no more. It must be quick and
/// must not call the library.
pub type se_release_fn = Option<unsafe extern "C" fn(user_data: *mut c_void)>;

/// A function of the host with its user data. Dropping it tells the host that the user data is free, so that this
/// happens exactly once on every path: put it together first of all in every function that takes one.
pub(crate) struct Callback<F> {
    pub(crate) function: F,
    user_data: UserData,
}

/// What the host wants back with every call.
struct UserData {
    pointer: *mut c_void,
    destroy: se_destroy_fn,
}

// SAFETY: the library never looks behind the pointer; the header says that callbacks and `destroy` come on other
// threads than the one that set them.
unsafe impl Send for UserData {}
// SAFETY: as above; sharing it gives nothing but the pointer's value.
unsafe impl Sync for UserData {}

impl<F> Callback<F> {
    pub(crate) fn new(function: F, user_data: *mut c_void, destroy: se_destroy_fn) -> Self {
        Self { function, user_data: UserData { pointer: user_data, destroy } }
    }

    /// What the host wants to have with every call.
    pub(crate) fn user_data(&self) -> *mut c_void {
        self.user_data.pointer
    }
}

impl<F> Callback<Option<F>> {
    /// The same where there is a function; without one the user data is given back at once.
    pub(crate) fn present(self) -> Option<Callback<F>> {
        self.function.map(|function| Callback { function, user_data: self.user_data })
    }
}

impl Drop for UserData {
    fn drop(&mut self) {
        if let Some(destroy) = self.destroy {
            // SAFETY: the header says what `destroy` is called with, and this is the only call.
            unsafe { destroy(self.pointer) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    unsafe extern "C" fn count(counter: *mut c_void) {
        // SAFETY: the tests pass a pointer to a counter that outlives the callback.
        unsafe { &*counter.cast::<AtomicUsize>() }.fetch_add(1, Ordering::Relaxed);
    }

    #[test]
    fn user_data_is_given_back_once_with_and_without_a_function() {
        for function in [None, Some(7)] {
            let counter = AtomicUsize::new(0);
            let user_data = std::ptr::from_ref(&counter).cast_mut().cast();
            let callback = Callback::new(function, user_data, Some(count)).present();
            assert_eq!(counter.load(Ordering::Relaxed), usize::from(function.is_none()));
            drop(callback);
            assert_eq!(counter.load(Ordering::Relaxed), 1);
        }
    }
}
