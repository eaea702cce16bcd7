//! Stream keys in a database: the one that `keys.url` of the configuration names.

use crate::engine::{self, se_engine};
use crate::status::{Failure, Outcome, guard, guard_or, se_status};
use crate::text;
use std::ffi::c_char;
use std::ptr::null_mut;

/// Makes a key, or takes one in that somebody has already.
///
/// @param engine A started engine whose configuration has `keys.url`.
/// @param json What it opens: `{"stream": "live/alice"}`, and where they are wanted `play` (true: a key for playing), `who`,
/// `max_kbps`, `max_viewers`, `expires` and `until` (`"2027-01-31T18:00:00Z"`), and `key`, one that is there already, of 8 to
/// 128 bytes.
/// @return A JSON object with what `se_keys_json` has of each, and with `key` where one was made, which is shown this once and
/// should not be logged; to be freed with `se_string_free`; NULL on error: `SE_E_INVALID_ARGUMENT` for text that is no such object,
/// `SE_E_EXISTS` where the key is there already, `SE_E_NOT_FOUND` where the configuration names no database,
/// `SE_E_UNSUPPORTED` in a library without keys; otherwise what keeps the database from answering.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn se_keys_add(engine: *mut se_engine, json: *const c_char) -> *mut c_char {
    guard_or(null_mut(), || {
        // SAFETY: the header demands NULL or NUL-terminated text.
        let json = unsafe { text::required(json, "json") }?;
        work::add(&engine::running(engine)?, json)
    })
}

/// All keys, by stream and age: a JSON array of objects with `id` (what a key is called by, no secret), `action`
/// (`"publish"` or `"play"`), `stream`, `who`, `max_kbps`, `max_viewers`, `expires`, `until`, `created`, `revoked`; null
/// where there is nothing.
///
/// @param engine As for `se_keys_add`.
/// @param stream Those of this stream only; may be NULL.
/// @return To be freed with `se_string_free`; NULL on error.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn se_keys_json(engine: *mut se_engine, stream: *const c_char) -> *mut c_char {
    guard_or(null_mut(), || {
        // SAFETY: the header demands NULL or NUL-terminated text.
        let stream = unsafe { text::optional(stream, "stream") }?;
        work::list(&engine::running(engine)?, stream)
    })
}

/// Revokes a key: nobody may begin with it any more, and what it has opened ends at once, in engines of other processes
/// within two seconds.
///
/// @param engine As for `se_keys_add`.
/// @param id What the key is called by: the part before its dash.
/// @return `SE_E_NOT_FOUND` where there is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn se_keys_revoke(engine: *mut se_engine, id: *const c_char) -> se_status {
    guard(|| {
        // SAFETY: the header demands NULL or NUL-terminated text.
        let id = unsafe { text::required(id, "id") }?;
        work::revoke(&engine::running(engine)?, id)
    })
}

/// Makes a key that opens what another one does, which goes on to be good for a while.
///
/// @param engine As for `se_keys_add`.
/// @param id The other one.
/// @param overlap_ms How long that is good, from now on.
/// @return As of `se_keys_add`; `SE_E_STATE` where the other one has been revoked.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn se_keys_rotate(
    engine: *mut se_engine,
    id: *const c_char,
    overlap_ms: u64,
) -> *mut c_char {
    guard_or(null_mut(), || {
        // SAFETY: the header demands NULL or NUL-terminated text.
        let id = unsafe { text::required(id, "id") }?;
        work::rotate(&engine::running(engine)?, id, overlap_ms)
    })
}

/// All keys for another database, one JSON object in a line. Whoever has the text can try out keys: it is as secret as the
/// database.
///
/// @param engine As for `se_keys_add`.
/// @return To be freed with `se_string_free`; NULL on error.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn se_keys_export(engine: *mut se_engine) -> *mut c_char {
    guard_or(null_mut(), || work::export(&engine::running(engine)?))
}

/// Takes in what `se_keys_export` or `streamengine keys export` has given.
///
/// @param engine As for `se_keys_add`.
/// @param exported The text.
/// @return `SE_E_FORMAT` for text that is none of that, `SE_E_STATE` where this database has keys of its own and finds them
/// otherwise, `SE_E_EXISTS` where a key is there already; then nothing is taken in.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn se_keys_import(engine: *mut se_engine, exported: *const c_char) -> se_status {
    guard(|| {
        // SAFETY: the header demands NULL or NUL-terminated text.
        let exported = unsafe { text::required(exported, "exported") }?;
        work::import(&engine::running(engine)?, exported)
    })
}

#[cfg(feature = "keys")]
mod work {
    use super::{Failure, Outcome, c_char, se_status, text};
    use std::time::Duration;
    use streamengine::{Engine, Keys, NewKey, Secret, StreamKey};

    fn keys(engine: &Engine) -> Outcome<&Keys> {
        engine.keys().ok_or_else(|| {
            Failure::new(se_status::SE_E_NOT_FOUND, "keys: the configuration names no database (keys.url)")
        })
    }

    pub(super) fn add(engine: &Engine, json: &str) -> Outcome<*mut c_char> {
        let (keys, (key, new)) = (keys(engine)?, NewKey::from_json(json)?);
        let Some(key) = key else { return text::give_json(&engine.block_on(keys.add(&new))?) };
        text::give_json(&engine.block_on(keys.add_existing(&key, &new))?)
    }

    pub(super) fn list(engine: &Engine, stream: Option<&str>) -> Outcome<*mut c_char> {
        let parse = |stream: &str| {
            stream.parse::<StreamKey>().map_err(|error| Failure::argument(format!("stream: {error}")))
        };
        let stream = stream.map(parse).transpose()?;
        text::give_json(&engine.block_on(keys(engine)?.list(stream.as_ref()))?)
    }

    pub(super) fn revoke(engine: &Engine, id: &str) -> Outcome {
        Ok(engine.block_on(keys(engine)?.revoke(id)).map(drop)?)
    }

    pub(super) fn rotate(engine: &Engine, id: &str, overlap_ms: u64) -> Outcome<*mut c_char> {
        let overlap = Duration::from_millis(overlap_ms);
        text::give_json(&engine.block_on(keys(engine)?.rotate(id, overlap))?)
    }

    pub(super) fn export(engine: &Engine) -> Outcome<*mut c_char> {
        Ok(text::give(engine.block_on(keys(engine)?.export())?.expose()))
    }

    pub(super) fn import(engine: &Engine, exported: &str) -> Outcome {
        Ok(engine.block_on(keys(engine)?.import(&Secret::new(exported))).map(drop)?)
    }
}

#[cfg(not(feature = "keys"))]
mod work {
    use super::{Failure, Outcome, c_char, se_status};
    use streamengine::Engine;

    fn unsupported<T>() -> Outcome<T> {
        let text = "keys: this library was built without them (cargo feature `keys`)";
        Err(Failure::new(se_status::SE_E_UNSUPPORTED, text))
    }

    pub(super) fn add(_: &Engine, _: &str) -> Outcome<*mut c_char> {
        unsupported()
    }

    pub(super) fn list(_: &Engine, _: Option<&str>) -> Outcome<*mut c_char> {
        unsupported()
    }

    pub(super) fn revoke(_: &Engine, _: &str) -> Outcome {
        unsupported()
    }

    pub(super) fn rotate(_: &Engine, _: &str, _: u64) -> Outcome<*mut c_char> {
        unsupported()
    }

    pub(super) fn export(_: &Engine) -> Outcome<*mut c_char> {
        unsupported()
    }

    pub(super) fn import(_: &Engine, _: &str) -> Outcome {
        unsupported()
    }
}
