//! The life of an engine.

use crate::callback::{Callback, se_destroy_fn};
use crate::config::{self, se_config};
use crate::event::{self, se_event_fn, se_event_ref};
use crate::handle::{self, Handle};
use crate::host::Host;
use crate::queue::Wait;
use crate::status::{Failure, Outcome, guard, guard_or, se_status};
use std::ffi::{c_int, c_void};
use std::sync::Arc;
use std::time::Duration;
use streamengine_core::Engine;

/// An RTMP engine: serves, relays and loops live streams. Several can live in one process.
pub struct se_engine {
    _opaque: [u8; 0],
}

impl Handle for se_engine {
    type Behind = Arc<Host>;
    const NAME: &'static str = "engine";
}

/// The engine behind a handle, where it runs.
///
/// # Safety
/// `engine` is NULL or a live handle.
pub(crate) unsafe fn running(engine: *const se_engine) -> Outcome<Engine> {
    // SAFETY: by the contract.
    unsafe { handle::borrow(engine) }?.engine()
}

/// What is behind a handle, to be kept.
///
/// # Safety
/// `engine` is NULL or a live handle.
pub(crate) unsafe fn host(engine: *const se_engine) -> Outcome<Arc<Host>> {
    // SAFETY: by the contract.
    unsafe { handle::borrow(engine) }.cloned()
}

/// Makes an engine that is not started: no thread and no socket yet.
///
/// @param config Its settings, copied; NULL for the defaults.
/// @param out The engine, to be freed with `se_engine_free`.
/// @return `SE_E_INVALID_ARGUMENT` for settings that exclude or need each other.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn se_engine_new(config: *const se_config, out: *mut *mut se_engine) -> se_status {
    guard(|| {
        // SAFETY: the header demands NULL or a live handle, and NULL or a place to write to.
        let (config, out) = unsafe { (config::engine_config(config)?, handle::out(out, "out")?) };
        out.write(handle::give(Arc::new(Host::new(config)?)));
        Ok(())
    })
}

/// Starts the engine's threads, opens the listeners that the configuration names, starts its relays and files. Takes as
/// long as reading those files through once.
///
/// @param engine The engine.
/// @return `SE_E_STATE` where it is started already; `SE_E_ADDRESS_IN_USE`, `SE_E_PERMISSION` and others of
/// listeners; `SE_E_NOT_FOUND`, `SE_E_FORMAT` of files. Nothing is left running then.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn se_engine_start(engine: *mut se_engine) -> se_status {
    // SAFETY: the header demands NULL or a live handle.
    guard(|| unsafe { host(engine) }?.start())
}

/// Stops the engine in good order: no new connections, publishers and players are told, relays unpublish; what has been
/// published before the call still reaches players and relay targets, as far as they take it within `drain_ms`. Then
/// everything is gone, also publishers and subscribers of the program: their calls give `SE_E_CLOSED`. The engine can be
/// started again, with the same callbacks. Blocks for up to `drain_ms`, and up to 2 s for threads to end.
///
/// @param engine The engine.
/// @param drain_ms How long good order may take, in milliseconds; 0 cuts everything at once.
/// @return `SE_E_STATE` where it is not started; `SE_E_TIMEOUT` where some connection did not end in time and was cut: it
/// is stopped all the same.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn se_engine_stop(engine: *mut se_engine, drain_ms: u32) -> se_status {
    // SAFETY: the header demands NULL or a live handle.
    guard(|| unsafe { host(engine) }?.stop(Duration::from_millis(drain_ms.into())))
}

/// Stops the engine at once, waits until its threads have ended, and frees it. A blocked `se_engine_next_event` wakes up
/// with `SE_E_CLOSED`. Publishers, subscribers, frames, events and authorisation requests stay valid until they are freed
/// themselves. Blocks for up to 4 s; where a callback does not return in that time, it and its `user_data` are left to
/// the callback thread.
///
/// In a callback of the same engine it would wait for itself: then it does nothing but set `se_last_error`
/// (`SE_E_DEADLOCK`) and log an error, and the engine lives on. Use `se_engine_stop` there.
///
/// @param engine NULL does nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn se_engine_free(engine: *mut se_engine) {
    guard_or((), || {
        if engine.is_null() {
            return Ok(());
        }
        // SAFETY: the header demands NULL or a live handle.
        let host = unsafe { host(engine) }?;
        if host.dispatcher.is_current() {
            let text =
                "se_engine_free: called in a callback of the same engine, which it would wait for; not freed";
            tracing::error!("{text}");
            return Err(Failure::new(se_status::SE_E_DEADLOCK, text));
        }
        if host.close() {
            // SAFETY: the header demands that nobody uses the handle any more, and no callback runs that could.
            drop(unsafe { handle::take(engine) });
        } else {
            // A callback still runs and may use the handle: it is better left than gone.
            tracing::error!("se_engine_free: a callback has not returned in time; its handle is not freed");
        }
        Ok(())
    });
}

/// Has events delivered to a callback, those that wait first. May be called before the start and at any time. In the
/// place of the callback before it, whose `destroy` is called once it has returned. While there is a callback,
/// `se_engine_next_event` has nothing.
///
/// @param engine The engine.
/// @param callback Called on the callback thread; NULL leaves events to `se_engine_next_event` again.
/// @param user_data For the callback.
/// @param destroy Called when `user_data` is needed no more; may be NULL.
/// @return `SE_E_CLOSED` while the engine is being freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn se_engine_set_event_callback(
    engine: *mut se_engine,
    callback: se_event_fn,
    user_data: *mut c_void,
    destroy: se_destroy_fn,
) -> se_status {
    let callback = Callback::new(callback, user_data, destroy);
    guard(|| {
        // SAFETY: the header demands NULL or a live handle.
        let host = unsafe { host(engine) }?;
        match callback.present() {
            Some(callback) => event::deliver(&host, callback),
            None => {
                host.events.give_back();
                Ok(())
            }
        }
    })
}

/// Takes the next event. Blocks for up to `timeout_ms`.
///
/// Events wait from the first start on, also those of the start itself. Up to 4,096 that peers cause (sessions, players,
/// refusals) are kept, and up to 65,536 in all; then the oldest are dropped, which is told by an
/// `SE_EVENT_OVERFLOW`.
///
/// @param engine The engine.
/// @param timeout_ms 0 does not wait, below 0 waits for ever.
/// @param out The event, to be freed with `se_event_ref_free`.
/// @return `SE_E_AGAIN` where there is none and `timeout_ms` is 0, `SE_E_TIMEOUT` where none came in time, `SE_E_STATE`
/// while there is an event callback, `SE_E_CLOSED` when the engine is freed meanwhile.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn se_engine_next_event(
    engine: *mut se_engine,
    timeout_ms: i32,
    out: *mut *mut se_event_ref,
) -> se_status {
    guard(|| {
        // SAFETY: the header demands NULL or a live handle, and NULL or a place to write to.
        let (host, out) = unsafe { (host(engine)?, handle::out(out, "out")?) };
        // The handle may be freed from here on.
        let happened = host.events.next(Wait::from_ms(timeout_ms))?;
        out.write(handle::give(event::Shown::new(&happened)));
        Ok(())
    })
}

/// A descriptor for `poll`, `select`, or an event loop, that is readable while `se_engine_next_event` has something. It
/// belongs to the engine: neither read from it nor close it.
///
/// @param engine The engine.
/// @return -1 on error, and on systems that have no such descriptors (`SE_E_UNSUPPORTED`).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn se_engine_event_fd(engine: *mut se_engine) -> c_int {
    // SAFETY: the header demands NULL or a live handle.
    guard_or(-1, || unsafe { host(engine) }?.events.descriptor())
}
