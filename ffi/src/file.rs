//! Media files played as live streams.

use crate::config::{self, se_config};
use crate::engine::{self, se_engine};
use crate::handle::{self, Versioned};
use crate::status::{Failure, Outcome, guard, guard_or, se_status};
use crate::{se_id, text};
use std::ffi::c_char;
use streamengine::{FileId, FileState, FileStatus};

/// Where a file job stands. New ones may be added.
#[repr(i32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum se_file_state {
    /// It plays.
    SE_FILE_PLAYING = 1,
    /// All loops have been played, and the stream has ended.
    SE_FILE_FINISHED = 2,
    /// It was asked to stop; the stream has ended.
    SE_FILE_STOPPED = 3,
    /// It had to end.
    SE_FILE_FAILED = 4,
}

/// State and progress of one file job.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct se_file_status {
    /// `sizeof(se_file_status)`.
    pub struct_size: usize,
    /// The job.
    pub id: se_id,
    /// One of `se_file_state`.
    pub state: i32,
    /// Not used.
    pub reserved: i32,
    /// Loops finished.
    pub loops_done: u64,
    /// Media time sent since the start, over all loops, in milliseconds.
    pub position_ms: u64,
    /// Media messages sent.
    pub frames: u64,
    /// The local stream.
    pub stream: [c_char; 260],
    /// Why it failed, where it has; cut where it is longer.
    pub error: [c_char; 512],
}

/// Plays a media file, FLV or MP4, as a live stream, in real time, with a seamless seam. The file is read through once before
/// the call returns, of a long one the first 64 MiB. What an MP4 file has and RTMP does not carry, such as PCM, is left out,
/// and the log says so. While it is gone or being written, the job waits for it, and its status says so.
///
/// @param engine A started engine.
/// @param path The file.
/// @param stream The local stream, `"app/stream"`.
/// @param loops How often to play it; -1 as the options say, else for ever.
/// @param options `paths`: a JSON array of files to play after this one, as one loop; `loops`; NULL for none.
/// @param out The job; may be NULL. Also a job that has ended exists until `se_file_stop`.
/// @return `SE_E_NOT_FOUND`, `SE_E_PERMISSION`, `SE_E_FORMAT` (the text names the byte position) of the file,
/// `SE_E_EXISTS` where the stream has a publisher, `SE_E_INVALID_ARGUMENT` for 0 loops or less than -1, `SE_E_STATE` on an
/// engine that is not started.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn se_file_publish(
    engine: *mut se_engine,
    path: *const c_char,
    stream: *const c_char,
    loops: i32,
    options: *const se_config,
    out: *mut se_id,
) -> se_status {
    guard(|| {
        let (engine, options) = (engine::running(engine)?, config::options(options)?);
        // SAFETY: the header demands NULL or NUL-terminated text.
        let (path, stream) = unsafe { (text::required(path, "path")?, text::parsed(stream, "stream")?) };
        let id = engine.loop_file(options.file(stream, path.into(), times(loops)?)?)?;
        // SAFETY: the header demands NULL or a place to write to.
        unsafe { handle::write_if(out, id.0) };
        Ok(())
    })
}

/// Plays other files in place of those of a job, or the same ones from their beginning: that job ends, and players of its
/// stream stay.
///
/// @param engine A started engine.
/// @param file The job.
/// @param path The file.
/// @param loops As in `se_file_publish`.
/// @param options As in `se_file_publish`.
/// @param out The job that plays now; may be NULL.
/// @return `SE_E_NOT_FOUND` where there is no such job, or no such file, and others of files as in `se_file_publish`; then the
/// job goes on.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn se_file_replace(
    engine: *mut se_engine,
    file: se_id,
    path: *const c_char,
    loops: i32,
    options: *const se_config,
    out: *mut se_id,
) -> se_status {
    guard(|| {
        let (engine, options) = (engine::running(engine)?, config::options(options)?);
        // SAFETY: the header demands NULL or NUL-terminated text.
        let path = unsafe { text::required(path, "path") }?;
        let job = engine.file(FileId(file)).ok_or_else(|| none(file))?;
        let files = options.file(job.stream, path.into(), times(loops)?)?;
        let id = engine.replace_file(FileId(file), files)?;
        // SAFETY: the header demands NULL or a place to write to.
        unsafe { handle::write_if(out, id.0) };
        Ok(())
    })
}

fn none(file: se_id) -> Failure {
    Failure::new(se_status::SE_E_NOT_FOUND, format!("file job {file}: there is none"))
}

/// Ends a file job and its stream.
///
/// @param engine A started engine.
/// @param file The job.
/// @return `SE_E_NOT_FOUND` where there is no such job.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn se_file_stop(engine: *mut se_engine, file: se_id) -> se_status {
    guard(|| Ok(engine::running(engine)?.stop_file(FileId(file))?))
}

/// State and progress of one file job.
///
/// @param engine A started engine.
/// @param file The job.
/// @param inout Filled in up to `struct_size`.
/// @return `SE_E_NOT_FOUND` where there is no such job.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn se_file_get_status(
    engine: *mut se_engine,
    file: se_id,
    inout: *mut se_file_status,
) -> se_status {
    guard(|| {
        let found = engine::running(engine)?.file(FileId(file));
        let status = se_file_status::of(&found.ok_or_else(|| none(file))?);
        // SAFETY: the header demands NULL or a structure of the size that it says.
        unsafe { handle::fill(inout, &status) }
    })
}

/// State and progress of all file jobs: a JSON array of objects with `id`, `stream`, `state` (`playing`, `finished`,
/// `stopped`, `failed`), `file` (that which plays), `loops_done`, `position_ms`, `frames`, `error` (or null).
///
/// @param engine A started engine.
/// @return To be freed with `se_string_free`; NULL on error.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn se_files_json(engine: *mut se_engine) -> *mut c_char {
    guard_or(std::ptr::null_mut(), || text::give_json(&engine::running(engine)?.files()))
}

/// A number of loops as C says it: -1 = for ever.
fn times(loops: i32) -> Outcome<Option<u64>> {
    match loops {
        -1 => Ok(None),
        1.. => Ok(Some(u64::from(loops.unsigned_abs()))),
        _ => Err(Failure::argument(format!("loops is {loops}; give 1 or more, or -1 for ever"))),
    }
}

// SAFETY: `repr(C)`, begins with its size, and has only numbers.
unsafe impl Versioned for se_file_status {
    const NAME: &'static str = "se_file_status";
}

impl se_file_status {
    fn of(file: &FileStatus) -> Self {
        let state = match file.state {
            FileState::Finished => se_file_state::SE_FILE_FINISHED,
            FileState::Stopped => se_file_state::SE_FILE_STOPPED,
            FileState::Failed => se_file_state::SE_FILE_FAILED,
            _ => se_file_state::SE_FILE_PLAYING,
        };
        let mut status = Self {
            struct_size: size_of::<Self>(),
            id: file.id.0,
            state: state as i32,
            reserved: 0,
            loops_done: file.loops_done,
            position_ms: crate::stats::millis(file.position),
            frames: file.frames,
            stream: [0; 260],
            error: [0; 512],
        };
        text::fill(&mut status.stream, file.stream.as_str());
        text::fill(&mut status.error, file.error.as_deref().unwrap_or_default());
        status
    }
}
