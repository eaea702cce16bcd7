//! Recordings.

use crate::engine::{self, se_engine};
use crate::handle;
use crate::status::{Failure, Outcome, guard, guard_or, se_status};
use crate::{se_id, text};
use serde_json::{Map, Value};
use std::ffi::c_char;
use std::time::Duration;
use streamengine::{ConfigSource, RecordConfig, RecordingId};

/// Records a stream, from its newest keyframe on, until `se_record_stop`: while nobody publishes it, it is waited for. Returns
/// at once; `se_recordings_json` and `SE_EVENT_RECORDING_STATE` tell how it goes.
///
/// @param engine A started engine.
/// @param stream The stream, `"app/stream"`.
/// @param json NULL for what the configuration of its app says; else an object with the keys of `[default_app.record]`, of which
/// `dir` has to be there: `{"dir": "/recordings", "format": "fmp4", "segment_ms": 60000}`.
/// @param out The recording; may be NULL.
/// @return `SE_E_STATE` where the app records nothing, `SE_E_EXISTS` where the stream is being recorded, `SE_E_INVALID_ARGUMENT` for
/// text that is no such object, for a key that does not exist or a value that does not fit (the text names it), `SE_E_CLOSED` while
/// the engine stops, `SE_E_STATE` on an engine that is not started.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn se_record_start(
    engine: *mut se_engine,
    stream: *const c_char,
    json: *const c_char,
    out: *mut se_id,
) -> se_status {
    guard(|| {
        let engine = engine::running(engine)?;
        // SAFETY: the header demands NULL or NUL-terminated text.
        let (stream, json) = unsafe { (text::parsed(stream, "stream")?, text::optional(json, "json")?) };
        let id = match json {
            None => engine.record(&stream)?,
            Some(json) => engine.record_with(&stream, &parse(json)?)?,
        };
        // SAFETY: the header demands NULL or a place to write to.
        unsafe { handle::write_if(out, id.0) };
        Ok(())
    })
}

/// Ends a recording; its file becomes whole.
///
/// @param engine A started engine.
/// @param recording The recording.
/// @return `SE_E_NOT_FOUND` where there is no such recording.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn se_record_stop(engine: *mut se_engine, recording: se_id) -> se_status {
    guard(|| Ok(engine::running(engine)?.stop_recording(RecordingId(recording))?))
}

/// Ends the file that a recording writes, with all that has been published so far: it is whole when this returns. What is published
/// from then on begins another one. Blocks for up to `timeout_ms`; not to be called by callbacks.
///
/// @param engine A started engine.
/// @param recording The recording.
/// @param timeout_ms How long the disk may take.
/// @return `SE_E_NOT_FOUND` where there is no such recording; `SE_E_TIMEOUT` where the disk has not taken all in that time: the file
/// becomes whole in its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn se_record_cut(
    engine: *mut se_engine,
    recording: se_id,
    timeout_ms: u32,
) -> se_status {
    guard(|| {
        let engine = engine::running(engine)?;
        let within = Duration::from_millis(timeout_ms.into());
        Ok(engine.block_on(engine.cut_recording(RecordingId(recording), within))?)
    })
}

/// State and progress of all recordings that go on: a JSON array of objects with `id`, `stream`, `state` (`idle`, `recording`,
/// `disk-full`, `failed`, `stopped`), `file` (that which is written, or null), `files` (that are whole), `bytes`, `length_ms`,
/// `frames_dropped`, `error` (or null).
///
/// @param engine A started engine.
/// @return To be freed with `se_string_free`; NULL on error.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn se_recordings_json(engine: *mut se_engine) -> *mut c_char {
    guard_or(std::ptr::null_mut(), || text::give_json(&engine::running(engine)?.recordings()))
}

/// The recorded files of a stream in the folder of its app, the oldest first: a JSON array of objects with `recording`
/// (null), `stream`, `path`, `start` (seconds since 1970), `bytes`, `length_ms` (or null while that is not known), `is_growing`
/// (whether it is being written: `.part` is behind its name then). Reads the disk.
///
/// @param engine A started engine.
/// @param stream The stream, `"app/stream"`.
/// @return To be freed with `se_string_free`; NULL on error: `SE_E_STATE` where the app has no folder for recordings.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn se_recorded_files_json(
    engine: *mut se_engine,
    stream: *const c_char,
) -> *mut c_char {
    guard_or(std::ptr::null_mut(), || {
        let engine = engine::running(engine)?;
        // SAFETY: the header demands NULL or NUL-terminated text.
        let stream = unsafe { text::parsed(stream, "stream")? };
        text::give_json(&engine.recorded_files(&stream)?)
    })
}

/// A recording's configuration as files have it, so that what is wrong with it is told in the same words.
fn parse(json: &str) -> Outcome<RecordConfig> {
    let fail = |error| Failure::argument(format!("record: not a JSON object: {error}"));
    let record: Map<String, Value> = serde_json::from_str(json).map_err(fail)?;
    let mut source = ConfigSource::default();
    source.merge_json(&serde_json::json!({ "default_app": { "record": record } }).to_string())?;
    Ok(source.build()?.default_app.record)
}
