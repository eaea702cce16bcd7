//! The life of an engine.

use crate::config::{self, se_config};
use crate::handle::{self, Handle};
use crate::host::Host;
use crate::status::{Failure, Outcome, guard, guard_or, se_status};
use crate::text;
use std::ffi::c_char;
use std::sync::Arc;
use std::time::Duration;
use streamengine::Engine;

/// An RTMP engine: serves, relays and loops live streams. Several can live in one process.
pub struct se_engine {
    _opaque: [u8; 0],
}

impl Handle for se_engine {
    type Behind = Host;
    const NAME: &'static str = "engine";
}

/// The engine behind a handle, where it runs.
pub(crate) fn running(engine: *const se_engine) -> Outcome<Engine> {
    host(engine)?.engine()
}

/// What is behind a handle, to be kept.
pub(crate) fn host(engine: *const se_engine) -> Outcome<Arc<Host>> {
    handle::borrow(engine)
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
        let config = config::engine_config(config)?;
        // SAFETY: the header demands NULL or a place to write to.
        let out = unsafe { handle::out(out, "out") }?;
        out.write(handle::give(Host::new(config)?));
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
    guard(|| host(engine)?.start())
}

/// Gives a running engine another configuration, and does what is different: opens and closes listeners, begins, changes and
/// ends relays, files and origins, and goes by other rules, policies and limits. What is the same is not touched, nobody is
/// cut off by it, and what the program has begun itself stays. All of it is done, or nothing where a part is wrong. Reads new
/// media files through before it returns.
///
/// @param engine A started engine.
/// @param config All of its settings, copied, not only those that change; NULL for the defaults.
/// @return What is different, to be freed with `se_string_free`: `{"changes": [{"key": "limits.ring_ms", "entry": null,
/// "kind": "changed", "effect": "at-once"}]}`. `kind` is `added`, `removed` or `changed`; `effect` `at-once`, `from-now-on`
/// (for what begins from now on) or `after-restart` (until `se_engine_stop` and `se_engine_start`, the old value holds).
/// NULL on error; `se_last_status` is one of those of `se_engine_start`, `SE_E_STATE` where it is not started, or `SE_E_CLOSED`
/// while it stops.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn se_engine_reload(engine: *mut se_engine, config: *const se_config) -> *mut c_char {
    guard_or(std::ptr::null_mut(), || {
        let config = config::engine_config(config)?;
        text::give_json(&host(engine)?.reload(config)?)
    })
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
    guard(|| host(engine)?.stop(Duration::from_millis(drain_ms.into())))
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
        let host = host(engine)?;
        if host.dispatcher.is_current() {
            let text =
                "se_engine_free: called in a callback of the same engine, which it would wait for; not freed";
            tracing::error!("{text}");
            return Err(Failure::new(se_status::SE_E_DEADLOCK, text));
        }
        // Of two threads that free it, one does.
        handle::free(engine)?;
        if !host.close() {
            tracing::error!("se_engine_free: a callback has not returned in time; it ends by itself");
        }
        Ok(())
    });
}
