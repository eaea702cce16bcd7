//! Origins: servers that streams are fetched from when somebody wants to play them.

use crate::engine::{self, se_engine};
use crate::status::{Failure, Outcome, guard, guard_or, se_status};
use crate::text;
use serde_json::{Map, Value};
use std::ffi::c_char;
use streamengine::{ConfigSource, OriginConfig};

/// Names servers by an alias, or changes which they are. Whoever plays `origin/ALIAS/APP/STREAM`, by any door, gets
/// `APP/STREAM` of the first of them that has it, by one connection for all players; over HTTP that is
/// `http://HOST:PORT/origin/ALIAS/APP/STREAM.flv` or `http://HOST:PORT/live?src=ALIAS&app=APP&stream=STREAM`. A server that
/// is lost is replaced by the next one, and players stay; they stay too where an alias is set anew.
///
/// @param engine A started engine.
/// @param alias 1 to 32 of `a-z`, `0-9` and `-`. It is all that players can name.
/// @param json An object with the keys of `[origins.ALIAS]`: `{"urls": ["rtmp://10.0.0.1:1935", "http://10.0.0.2:8080"]}`,
/// and `http_path`, `apps`, `wait_ms`, `linger_ms`, `failback_ms`, `max_streams`, `tls`.
/// @return `SE_E_INVALID_ARGUMENT` for text that is no such object, for a key that does not exist or a value that does not
/// fit (the text names it), and for what no alias can be; `SE_E_CLOSED` while the engine stops, `SE_E_STATE` on an engine
/// that is not started.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn se_origin_set(
    engine: *mut se_engine,
    alias: *const c_char,
    json: *const c_char,
) -> se_status {
    guard(|| {
        let engine = engine::running(engine)?;
        // SAFETY: the header demands NULL or NUL-terminated text.
        let (alias, json) = unsafe { (text::required(alias, "alias")?, text::required(json, "json")?) };
        Ok(engine.set_origin(alias, parse(alias, json)?)?)
    })
}

/// Removes an alias; its streams end.
///
/// @param engine A started engine.
/// @param alias The alias.
/// @return `SE_E_NOT_FOUND` where there is none of that name.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn se_origin_remove(engine: *mut se_engine, alias: *const c_char) -> se_status {
    guard(|| {
        let engine = engine::running(engine)?;
        // SAFETY: the header demands NULL or NUL-terminated text.
        let alias = unsafe { text::required(alias, "alias") }?;
        Ok(engine.remove_origin(alias)?)
    })
}

/// All origins, by alias: a JSON array of objects with `alias`, `urls` (without their secrets), and `streams`, which are
/// fetched or asked for: objects with `stream` (its name here), `url` (where it comes from, or null), `is_live` (whether its
/// first frame has come), `moves` (from one server to another), `last_error` (in words, or null), `bytes_received`.
///
/// @param engine A started engine.
/// @return To be freed with `se_string_free`; NULL on error.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn se_origins_json(engine: *mut se_engine) -> *mut c_char {
    guard_or(std::ptr::null_mut(), || text::give_json(&engine::running(engine)?.origins()))
}

/// An origin as configurations have it, so that what is wrong with it is told in the same words.
fn parse(alias: &str, json: &str) -> Outcome<OriginConfig> {
    let fail = |error| Failure::argument(format!("origins.{alias}: not a JSON object: {error}"));
    let origin: Map<String, Value> = serde_json::from_str(json).map_err(fail)?;
    let mut source = ConfigSource::default();
    source.merge_json(&serde_json::json!({ "origins": { alias: origin } }).to_string())?;
    let mut config = source.build()?;
    config.origins.remove(alias).ok_or_else(|| Failure::argument(format!("origins.{alias}: there is none")))
}
