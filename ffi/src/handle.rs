//! Handles: opaque C types, each with the Rust type behind it, so that none can be made or freed as another.

use crate::status::{Failure, Outcome};

/// A C type that stands for a Rust type behind a pointer.
///
/// [`give`] makes the pointer, [`borrow`] looks through it, [`take`] ends it. These three are the only places where a
/// handle that came from C is trusted: that it is NULL or alive, as the header demands.
pub(crate) trait Handle: Sized {
    /// What is behind the pointer.
    type Behind: Send + Sync;
    /// What messages call it: `engine`.
    const NAME: &'static str;
}

/// Moves a value behind a pointer that the C side owns.
pub(crate) fn give<H: Handle>(value: H::Behind) -> *mut H {
    Box::into_raw(Box::new(value)).cast()
}

/// Looks at the value behind a handle.
///
/// # Safety
/// `handle` is NULL or was made by [`give`] for the same `H`, and is not freed while the result lives.
pub(crate) unsafe fn borrow<'a, H: Handle>(handle: *const H) -> Outcome<&'a H::Behind> {
    // SAFETY: by the contract it is NULL or points to a live `H::Behind` that `give` has boxed.
    unsafe { handle.cast::<H::Behind>().as_ref() }.ok_or_else(|| null(H::NAME))
}

/// Takes the value back from behind a handle, which is gone then; `None` for NULL.
///
/// # Safety
/// `handle` is NULL or was made by [`give`] for the same `H`, and nobody uses it any more.
pub(crate) unsafe fn take<H: Handle>(handle: *mut H) -> Option<H::Behind> {
    // SAFETY: by the contract it is the one pointer that `give` got from its box.
    (!handle.is_null()).then(|| *unsafe { Box::from_raw(handle.cast::<H::Behind>()) })
}

/// Ends a handle; NULL does nothing.
///
/// # Safety
/// As [`take`].
pub(crate) unsafe fn free<H: Handle>(handle: *mut H) -> Outcome {
    // SAFETY: handed on.
    drop(unsafe { take(handle) });
    Ok(())
}

/// Checks that an out-parameter is there.
///
/// # Safety
/// `out` is NULL or can be written while the result lives.
pub(crate) unsafe fn out<'a, T>(out: *mut T, name: &str) -> Outcome<&'a mut std::mem::MaybeUninit<T>> {
    // SAFETY: by the contract; `MaybeUninit` makes no claim about what is there now.
    unsafe { out.cast::<std::mem::MaybeUninit<T>>().as_mut() }.ok_or_else(|| null(name))
}

/// Writes to an out-parameter that need not be there.
///
/// # Safety
/// `out` is NULL or can be written.
pub(crate) unsafe fn write_if<T>(out: *mut T, value: T) {
    if !out.is_null() {
        // SAFETY: by the contract.
        unsafe { out.write(value) };
    }
}

/// A structure of C that grows at its end with newer versions and begins with its size.
///
/// # Safety
/// The type is `repr(C)`, its first field is `struct_size: usize`, and any bytes are a valid value of it.
pub(crate) unsafe trait Versioned: Copy {
    /// What messages call it: `se_frame`.
    const NAME: &'static str;
}

/// Fills a structure of the caller as far as the caller knows it; its `struct_size` stays.
///
/// # Safety
/// `inout` is NULL or points to a structure of as many bytes as its `struct_size` says.
pub(crate) unsafe fn fill<T: Versioned>(inout: *mut T, value: &T) -> Outcome {
    const SIZE: usize = size_of::<usize>();
    if inout.is_null() {
        return Err(null(T::NAME));
    }
    // SAFETY: by the contract of the trait the size comes first, and by that of the function it is there.
    let known = unsafe { inout.cast::<usize>().read() };
    if known < SIZE {
        return Err(Failure::argument(format!("{0}: struct_size is {known}, not sizeof({0})", T::NAME)));
    }
    let length = known.min(size_of::<T>()) - SIZE;
    // SAFETY: both have `length` bytes behind their first field.
    unsafe {
        let (from, to) = (std::ptr::from_ref(value).cast::<u8>(), inout.cast::<u8>());
        std::ptr::copy_nonoverlapping(from.add(SIZE), to.add(SIZE), length);
    }
    Ok(())
}

/// The failure for a NULL where something is needed.
pub(crate) fn null(name: &str) -> Failure {
    Failure::argument(format!("{name} is NULL"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Pair {
        struct_size: usize,
        old: u64,
        new: u64,
    }

    // SAFETY: it is as the trait demands.
    unsafe impl Versioned for Pair {
        const NAME: &'static str = "pair";
    }

    #[test]
    fn a_structure_is_filled_as_far_as_its_owner_knows_it() {
        let value = Pair { struct_size: 0, old: 1, new: 2 };
        for (struct_size, old, new) in [(8, 7, 7), (16, 1, 7), (24, 1, 2), (1000, 1, 2)] {
            let mut pair = Pair { struct_size, old: 7, new: 7 };
            // SAFETY: it is as large as any size of the list that is looked at.
            unsafe { fill(&raw mut pair, &value) }.unwrap();
            assert_eq!((pair.struct_size, pair.old, pair.new), (struct_size, old, new));
        }
        let mut pair = Pair { struct_size: 0, ..value };
        // SAFETY: as above.
        assert!(unsafe { fill(&raw mut pair, &value) }.is_err());
    }
}
