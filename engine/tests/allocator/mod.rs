//! The system's allocator, which says how much is taken and given back: for tests with a process of their own.

use std::alloc::{GlobalAlloc, Layout, System};

/// Calls its function with the bytes that are taken, or with less than nothing where they are given back. That may neither allocate nor
/// unwind.
pub(super) struct Counting(pub(super) fn(isize));

// SAFETY: all calls go to the system's allocator unchanged; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        (self.0)(layout.size() as isize);
        // SAFETY: the caller's promises are handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        (self.0)(-(layout.size() as isize));
        // SAFETY: the caller's promises are handed on.
        unsafe { System.dealloc(at, layout) }
    }
}
