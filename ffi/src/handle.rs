//! Handles: opaque C types, each with the Rust type behind it.
//!
//! The pointer that C has is no address but a number that is given only once. So a handle that has been freed, that is
//! freed twice or by two threads, or that is another's type is found nowhere, and the call says so. A call that is under way
//! holds what is behind its handle by count: freeing takes it away from under nobody.

use crate::status::{Failure, Outcome, se_status};
use parking_lot::RwLock;
use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

/// A C type that stands for a Rust type behind a number.
///
/// [`give`] makes the handle, [`borrow`] looks through it, [`take`] ends it.
pub(crate) trait Handle: Sized {
    /// What is behind the handle.
    type Behind: Any + Send + Sync;
    /// What messages call it: `engine`.
    const NAME: &'static str;
    /// Whether it is as good in a child of `fork` as in the process that made it: it needs no thread.
    const SURVIVES_FORK: bool = false;
}

/// Gives C a handle for a value.
pub(crate) fn give<H: Handle>(value: H::Behind) -> *mut H {
    let number = NEXT.fetch_add(STEP, Ordering::Relaxed);
    let entry = Entry { name: H::NAME, behind: Arc::new(value) };
    Table::current().shard(number).write().insert(number, entry);
    std::ptr::without_provenance_mut(number)
}

/// What is behind a handle.
pub(crate) fn borrow<H: Handle>(handle: *const H) -> Outcome<Arc<H::Behind>> {
    let number = handle.addr();
    let found = match is_of_the_parent(number) {
        false => Table::current().shard(number).read().get(&number).cloned(),
        true => Table::of_the_parent::<H>()
            .and_then(|table| table.shard(number).try_read().and_then(|live| live.get(&number).cloned())),
    };
    found.ok_or_else(|| missing::<H>(number))?.behind::<H>()
}

/// Takes what is behind a handle, which is gone then; `None` for NULL. Calls that are under way in other threads go on
/// with it.
pub(crate) fn take<H: Handle>(handle: *mut H) -> Outcome<Option<Arc<H::Behind>>> {
    if handle.is_null() {
        return Ok(None);
    }
    // Nothing of another type is taken.
    borrow(handle)?;
    let number = handle.addr();
    let taken = match is_of_the_parent(number) {
        false => remove(&mut Table::current().shard(number).write(), number),
        true => Table::of_the_parent::<H>()
            .and_then(|table| remove(&mut *table.shard(number).try_write()?, number)),
    };
    taken.ok_or_else(|| missing::<H>(number))?.behind::<H>().map(Some)
}

/// Ends a handle; NULL does nothing.
pub(crate) fn free<H: Handle>(handle: *mut H) -> Outcome {
    take(handle).map(drop)
}

/// Numbers are this far apart, so that the pointers look like others: aligned, and never NULL.
const STEP: usize = 16;

/// The number of the next handle.
static NEXT: AtomicUsize = AtomicUsize::new(STEP);

/// In a child of `fork`: the first number of its own.
static FIRST_OWN: AtomicUsize = AtomicUsize::new(0);

/// See [`forks`].
static FORKS: AtomicUsize = AtomicUsize::new(0);

/// Parts of the table with a lock each, so that threads that take and free frames seldom meet.
const SHARDS: usize = 16;

type Shard = BTreeMap<usize, Entry>;

/// A live handle.
#[derive(Clone)]
struct Entry {
    name: &'static str,
    behind: Arc<dyn Any + Send + Sync>,
}

impl Entry {
    fn behind<H: Handle>(self) -> Outcome<Arc<H::Behind>> {
        let Self { name, behind } = self;
        behind
            .downcast()
            .map_err(|_| Failure::argument(format!("{}: this handle is of another type: {name}", H::NAME)))
    }
}

/// Every live handle that this process has made.
struct Table {
    shards: [RwLock<Shard>; SHARDS],
    /// Of a child of `fork`: what its parent had. Its locks may be held by threads that the child does not have.
    parents: *const Table,
}

// SAFETY: `parents` is NULL or points to a table that is never freed.
unsafe impl Sync for Table {}

/// The table of this process; NULL before the first handle.
static TABLE: AtomicPtr<Table> = AtomicPtr::new(std::ptr::null_mut());
/// What was in `TABLE` before a fork.
static PARENTS: AtomicPtr<Table> = AtomicPtr::new(std::ptr::null_mut());

impl Table {
    fn current() -> &'static Self {
        // SAFETY: it is NULL or has been leaked.
        unsafe { TABLE.load(Ordering::Acquire).as_ref() }.unwrap_or_else(|| Self::make())
    }

    #[cold]
    fn make() -> &'static Self {
        watch_forks();
        let parents = PARENTS.load(Ordering::Acquire);
        let made = Box::into_raw(Box::new(Self { shards: Default::default(), parents }));
        let before = std::ptr::null_mut();
        match TABLE.compare_exchange(before, made, Ordering::AcqRel, Ordering::Acquire) {
            // SAFETY: it is never freed.
            Ok(_) => unsafe { &*made },
            Err(theirs) => {
                // SAFETY: nobody else has seen the one; the other is never freed.
                unsafe {
                    drop(Box::from_raw(made));
                    &*theirs
                }
            }
        }
    }

    /// Where a child of `fork` finds its parent's handles of a type that survives.
    fn of_the_parent<H: Handle>() -> Option<&'static Self> {
        // SAFETY: it is NULL or a table that is never freed.
        H::SURVIVES_FORK.then(|| unsafe { Self::current().parents.as_ref() }).flatten()
    }

    fn shard(&self, number: usize) -> &RwLock<Shard> {
        &self.shards[number / STEP % SHARDS]
    }
}

fn remove(live: &mut Shard, number: usize) -> Option<Entry> {
    let taken = live.remove(&number);
    if live.is_empty() {
        // An empty map may keep its memory; nothing is to be left when the last one goes.
        *live = Shard::new();
    }
    taken
}

fn is_of_the_parent(number: usize) -> bool {
    number != 0 && number < FIRST_OWN.load(Ordering::Relaxed)
}

/// How many times `fork` has been called on the way to this process since forks are watched.
pub(crate) fn forks() -> usize {
    FORKS.load(Ordering::Relaxed)
}

/// What calls say in a child of `fork` about what has stayed with its parent.
pub(crate) fn of_the_parent(name: &str) -> Failure {
    let text = format!("{name}: it belongs to the process before fork(); the child has none of its threads");
    Failure::new(se_status::SE_E_STATE, text)
}

fn missing<H: Handle>(number: usize) -> Failure {
    match number {
        0 => null(H::NAME),
        _ if is_of_the_parent(number) => of_the_parent(H::NAME),
        _ if number.is_multiple_of(STEP) && number < NEXT.load(Ordering::Relaxed) => {
            Failure::new(se_status::SE_E_CLOSED, format!("{}: it has been freed", H::NAME))
        }
        _ => Failure::argument(format!("{}: this is no handle", H::NAME)),
    }
}

/// Has a child of `fork` know that it is one. Not by the number of the process, which costs a system call each time.
pub(crate) fn watch_forks() {
    #[cfg(unix)]
    {
        static WATCHED: std::sync::Once = std::sync::Once::new();
        // SAFETY: the function may be called in a child of any process: it touches atomics only.
        WATCHED.call_once(|| _ = unsafe { pthread_atfork(None, None, Some(in_child)) });
    }
}

/// In the child: what there was belongs to the parent.
#[cfg(unix)]
extern "C" fn in_child() {
    let table = TABLE.swap(std::ptr::null_mut(), Ordering::AcqRel);
    if !table.is_null() {
        PARENTS.store(table, Ordering::Release);
    }
    FIRST_OWN.store(NEXT.load(Ordering::Relaxed), Ordering::Relaxed);
    FORKS.fetch_add(1, Ordering::Relaxed);
}

#[cfg(unix)]
unsafe extern "C" {
    /// POSIX; the crate `libc` does not have it for every system.
    fn pthread_atfork(
        prepare: Option<extern "C" fn()>,
        parent: Option<extern "C" fn()>,
        child: Option<extern "C" fn()>,
    ) -> std::ffi::c_int;
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

    struct Thing;

    impl Handle for Thing {
        type Behind = u8;
        const NAME: &'static str = "thing";
    }

    struct Other;

    impl Handle for Other {
        type Behind = String;
        const NAME: &'static str = "other";
    }

    #[test]
    fn a_handle_that_is_gone_is_refused_also_when_others_came_after_it() {
        let first = give::<Thing>(1);
        assert_eq!(*borrow(first).unwrap(), 1);
        let held = take(first).unwrap().unwrap();
        let second = give::<Thing>(2);
        assert_eq!(borrow(first).unwrap_err().status, se_status::SE_E_CLOSED);
        assert_eq!(take(first).unwrap_err().message, "thing: it has been freed");
        assert_eq!((*held, *borrow(second).unwrap()), (1, 2));
        let null = std::ptr::null_mut::<Thing>();
        assert_eq!(borrow(null).unwrap_err().status, se_status::SE_E_INVALID_ARGUMENT);
        assert!(take(null).unwrap().is_none());
        free(second).unwrap();
    }

    #[test]
    fn a_handle_of_another_type_is_refused_and_stays() {
        let thing = give::<Thing>(1);
        let failure = take(thing.cast::<Other>()).unwrap_err();
        assert_eq!(failure.status, se_status::SE_E_INVALID_ARGUMENT);
        assert_eq!(failure.message, "other: this handle is of another type: thing");
        assert_eq!(*borrow(thing).unwrap(), 1);
        free(thing).unwrap();
    }

    #[test]
    fn what_never_was_a_handle_is_refused() {
        for number in [1, 8, 17, usize::MAX, usize::MAX & !15] {
            let failure = free(std::ptr::without_provenance_mut::<Thing>(number)).unwrap_err();
            assert_eq!(failure.message, "thing: this is no handle", "{number}");
        }
    }

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
