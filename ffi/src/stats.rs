//! Counters, lists, and ending of sessions and streams.

use crate::engine::{self, se_engine};
use crate::handle::{self, Versioned};
use crate::status::{Failure, Outcome, guard, guard_or, se_status};
use crate::{se_id, text};
use std::ffi::c_char;
use std::time::Duration;
use streamengine::{Engine, EngineStats, SessionId, StreamInfo, StreamKey, StreamState};

/// An engine's counters at one moment.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct se_engine_stats {
    /// `sizeof(se_engine_stats)`.
    pub struct_size: usize,
    /// Time since the start, in milliseconds.
    pub uptime_ms: u64,
    /// Connections accepted since the start.
    pub connections_accepted: u64,
    /// Connections turned away since the start, because too many had not published or played yet.
    pub connections_rejected: u64,
    /// Connections at present.
    pub connections: u64,
    /// Of these, publishers.
    pub publishers: u64,
    /// Of these, players.
    pub players: u64,
    /// Streams that have a publisher.
    pub streams_live: u64,
    /// Bytes received on all connections that were accepted.
    pub bytes_in: u64,
    /// Bytes sent on them.
    pub bytes_out: u64,
    /// Bytes kept of all streams for players that join or lag.
    pub ring_bytes: u64,
    /// Tasks that panicked: each cost one connection, relay attempt or file job, and each is a bug to report.
    pub panics: u64,
    /// Events dropped because the program did not fetch them in time.
    pub events_lost: u64,
}

/// Where a stream is in its life.
#[repr(i32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum se_stream_state {
    /// Subscribers wait; nobody has published yet.
    SE_STREAM_IDLE = 0,
    /// It has a publisher.
    SE_STREAM_LIVE = 1,
    /// The publisher was lost and may return within the resume window.
    SE_STREAM_AWAY = 2,
    /// It is over.
    SE_STREAM_ENDED = 3,
}

/// Facts and counters of one stream at one moment.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct se_stream_stats {
    /// `sizeof(se_stream_stats)`.
    pub struct_size: usize,
    /// One of `se_stream_state`.
    pub state: i32,
    /// Not used.
    pub reserved: i32,
    /// Time since the first publisher was let in, in milliseconds.
    pub uptime_ms: u64,
    /// Subscribers at present: players, relay pushes and those of the program.
    pub subscribers: u64,
    /// Payload bytes received, all frames.
    pub bytes_in: u64,
    /// Audio frames received, configuration not counted.
    pub audio_frames: u64,
    /// Video frames received, configuration not counted.
    pub video_frames: u64,
    /// Keyframes received.
    pub keyframes: u64,
    /// Stream time of the newest frame in milliseconds; `SE_TIME_UNSET` where there is none.
    pub timestamp_ms: i64,
    /// Time since the newest frame in milliseconds; `SE_TIME_UNSET` where there is none.
    pub silence_ms: i64,
    /// Times a publisher was replaced or returned within the resume window.
    pub resumes: u64,
    /// Times a subscriber fell behind and went on at the newest keyframe.
    pub lags: u64,
    /// Frames that subscribers missed by that.
    pub frames_skipped: u64,
    /// Frames kept for players that join or lag.
    pub ring_frames: u64,
    /// Their bytes, a fixed overhead per frame included.
    pub ring_bytes: u64,
}

/// For `se_stats_json`: the engine's counters, as `engine`.
pub const SE_STATS_ENGINE: u32 = 1;
/// For `se_stats_json`: the listeners, as `listeners`.
pub const SE_STATS_LISTENERS: u32 = 2;
/// For `se_stats_json`: the streams, as `streams`.
pub const SE_STATS_STREAMS: u32 = 4;
/// For `se_stats_json`: the sessions, as `sessions`.
pub const SE_STATS_SESSIONS: u32 = 8;
/// For `se_stats_json`: the relays, as `relays`.
pub const SE_STATS_RELAYS: u32 = 16;
/// For `se_stats_json`: the file jobs, as `files`.
pub const SE_STATS_FILES: u32 = 32;
/// For `se_stats_json`: the origins, as `origins`.
pub const SE_STATS_ORIGINS: u32 = 64;

/// For `se_kick`: the stream's publisher.
pub const SE_KICK_PUBLISHER: u32 = 1;
/// For `se_kick`: the stream's players.
pub const SE_KICK_PLAYERS: u32 = 2;

/// Counters of the whole engine.
///
/// @param engine A started engine.
/// @param inout Filled in up to `struct_size`.
/// @return `SE_E_STATE` on an engine that is not started.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn se_engine_get_stats(
    engine: *mut se_engine,
    inout: *mut se_engine_stats,
) -> se_status {
    guard(|| {
        let host = engine::host(engine)?;
        let stats = se_engine_stats::of(&host.engine()?.stats(), host.events.lost_in_all());
        // SAFETY: the header demands NULL or a structure of the size that it says.
        unsafe { handle::fill(inout, &stats) }
    })
}

/// Facts and counters of one stream.
///
/// @param engine A started engine.
/// @param stream The name, `"app/stream"`.
/// @param inout Filled in up to `struct_size`.
/// @return `SE_E_NOT_FOUND` where there is no such stream.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn se_stream_get_stats(
    engine: *mut se_engine,
    stream: *const c_char,
    inout: *mut se_stream_stats,
) -> se_status {
    guard(|| {
        // SAFETY: the header demands NULL or a live handle, and NULL or NUL-terminated text.
        let (engine, stream) =
            unsafe { (engine::running(engine)?, text::parsed::<StreamKey>(stream, "stream")?) };
        let stats = se_stream_stats::of(&engine.stream(&stream).ok_or_else(|| no_stream(&stream))?);
        // SAFETY: the header demands NULL or a structure of the size that it says.
        unsafe { handle::fill(inout, &stats) }
    })
}

/// Counters and lists: a JSON object. Its `engine` has the counters of `se_engine_stats`, the lists are those of
/// `se_streams_json` and its kin; `listeners` have `id`, `protocol` and `address`.
///
/// @param engine A started engine.
/// @param flags What to tell: `SE_STATS_ENGINE` and others, or-ed; 0 for all.
/// @return To be freed with `se_string_free`; NULL on error.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn se_stats_json(engine: *mut se_engine, flags: u32) -> *mut c_char {
    guard_or(std::ptr::null_mut(), || {
        let engine = engine::running(engine)?;
        text::give_json(&Report::new(&engine, if flags == 0 { u32::MAX } else { flags }))
    })
}

/// The whole engine as it was at the newest second, as `/api/v1` has it: a JSON object with `engine`, `rates` (`bits_in`, `bits_out`
/// per second), and the lists `streams`, `sessions`, `relays`, `files` and `origins`. A stream has beside what `se_streams_json`
/// tells its `rates`, `frame_rate`, `keyframe_interval_ms`, `players`, `queue_ms`, `video`, `audio`, and `problems`: what is wrong
/// with it, as objects with `kind` (`low-bitrate`, `no-keyframe`, `audio-video-apart`, `jumping-times`, `slow-viewer`, `no-media`)
/// and `detail`. It is made once a second, however many ask.
///
/// @param engine A started engine.
/// @return To be freed with `se_string_free`; NULL on error.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn se_snapshot_json(engine: *mut se_engine) -> *mut c_char {
    guard_or(std::ptr::null_mut(), || text::give_json(&*engine::running(engine)?.snapshot()))
}

/// What the engine, or a stream of it, did in each of the last 600 seconds, the oldest first: a JSON array of objects with `at_s`
/// (seconds since the engine's start), `in_kbps`, `out_kbps`, `players`, `frame_rate_x10`, `keyframe_interval_ms`, `queue_ms`,
/// `frames_skipped`, `skew_ms` and `silence_ms`. Of a stream it is kept for ten minutes after its end.
///
/// @param engine A started engine.
/// @param stream The name, `"app/stream"`; NULL for the engine.
/// @return To be freed with `se_string_free`; NULL on error: `SE_E_NOT_FOUND` where nothing is known of a stream of that name.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn se_history_json(engine: *mut se_engine, stream: *const c_char) -> *mut c_char {
    guard_or(std::ptr::null_mut(), || {
        let engine = engine::running(engine)?;
        if stream.is_null() {
            return text::give_json(&engine.history());
        }
        // SAFETY: the header demands NULL or NUL-terminated text.
        let stream = unsafe { text::parsed::<StreamKey>(stream, "stream") }?;
        text::give_json(&engine.stream_history(&stream).ok_or_else(|| no_stream(&stream))?)
    })
}

/// All streams, by name: a JSON array of objects with `key` (the name), `state` (`idle`, `live`, `away`, `ended`),
/// `publisher` (who it is, or null), `timestamp` and `silence_ms` (or null), and the counters of `se_stream_stats`.
///
/// @param engine A started engine.
/// @return To be freed with `se_string_free`; NULL on error.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn se_streams_json(engine: *mut se_engine) -> *mut c_char {
    guard_or(std::ptr::null_mut(), || text::give_json(&engine::running(engine)?.streams()))
}

/// All sessions (connections), or those of one stream: a JSON array of objects with `id`, `peer`, `door` (`rtmp`,
/// `http-flv`, `http-mp4`, `websocket`, `hls`, `recording`), `tls`, `role` (`pending`, `publisher`, `player`), `stream` and `agent` (or null), `uptime_ms`,
/// `bytes_in`, `bytes_out`.
///
/// @param engine A started engine.
/// @param stream The name, `"app/stream"`; NULL for all sessions.
/// @return To be freed with `se_string_free`; NULL on error.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn se_sessions_json(engine: *mut se_engine, stream: *const c_char) -> *mut c_char {
    guard_or(std::ptr::null_mut(), || {
        // SAFETY: the header demands NULL or a live handle, and NULL or NUL-terminated text.
        let (engine, given) = unsafe { (engine::running(engine)?, text::optional(stream, "stream")?) };
        // SAFETY: as above.
        let stream = given.map(|_| unsafe { text::parsed::<StreamKey>(stream, "stream") }).transpose()?;
        let mut sessions = engine.sessions();
        sessions.retain(|session| stream.is_none() || session.stream == stream);
        text::give_json(&sessions)
    })
}

/// Ends a session, or those of a stream. Give one of the two.
///
/// @param engine A started engine.
/// @param session The session to end; 0 for those of `stream`.
/// @param stream The stream, `"app/stream"`; NULL where `session` is given.
/// @param who With `stream`: `SE_KICK_PUBLISHER` (players wait for the resume window), `SE_KICK_PLAYERS`, or both: then the
/// stream ends.
/// @param reason Why, told to the peers and to the log; NULL for none.
/// @return `SE_E_NOT_FOUND` where there is no such session or stream, or the stream has no publisher,
/// `SE_E_INVALID_ARGUMENT` where both, none or no `who` is given.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn se_kick(
    engine: *mut se_engine,
    session: se_id,
    stream: *const c_char,
    who: u32,
    reason: *const c_char,
) -> se_status {
    guard(|| {
        // SAFETY: the header demands NULL or a live handle, and NULL or NUL-terminated text.
        let (engine, reason) = unsafe { (engine::running(engine)?, text::optional(reason, "reason")?) };
        let reason = reason.unwrap_or("no reason given");
        match (session, stream.is_null()) {
            (0, true) => Err(Failure::argument("kick: give a session or a stream")),
            (_, true) => Ok(engine.kick(SessionId(session), reason)?),
            // SAFETY: as above.
            (0, false) => kick(&engine, &unsafe { text::parsed(stream, "stream") }?, who, reason),
            (_, false) => Err(Failure::argument("kick: give a session or a stream, not both")),
        }
    })
}

/// Ends the sessions that something was granted for this credential (`credential` of `se_auth_request_grant_json`).
///
/// @param engine A started engine.
/// @param credential What was shown.
/// @param reason Why, told to the peers and to the log; NULL for none.
/// @param out_count How many sessions there were; may be NULL.
/// @return `SE_E_INVALID_ARGUMENT` for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn se_kick_credential(
    engine: *mut se_engine,
    credential: *const c_char,
    reason: *const c_char,
    out_count: *mut u64,
) -> se_status {
    guard(|| {
        let engine = engine::running(engine)?;
        // SAFETY: the header demands NULL or NUL-terminated text.
        let (credential, reason) =
            unsafe { (text::required(credential, "credential")?, text::optional(reason, "reason")?) };
        let count = engine.kick_credential(credential, reason.unwrap_or("no reason given"));
        // SAFETY: the header demands NULL or a place to write to.
        unsafe { handle::write_if(out_count, count as u64) };
        Ok(())
    })
}

/// Asks the peer of a session to connect anew (Enhanced RTMP). The session goes on until the peer leaves it.
/// `se_engine_stop` asks all peers that follow such requests to come back to the same place.
///
/// @param engine A started engine.
/// @param session The session.
/// @param url Where to go, up to the app: `"rtmp[s]://host[:port]/app[?query]"`; NULL for the same place.
/// @return `SE_E_NOT_FOUND` where there is no such session, `SE_E_UNSUPPORTED` where its peer has not announced that it
/// follows such requests, `SE_E_INVALID_ARGUMENT` where `url` is no such URL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn se_session_request_reconnect(
    engine: *mut se_engine,
    session: se_id,
    url: *const c_char,
) -> se_status {
    guard(|| {
        // SAFETY: the header demands NULL or a live handle, and NULL or NUL-terminated text.
        let (engine, url) = unsafe { (engine::running(engine)?, text::optional(url, "url")?) };
        Ok(engine.request_reconnect(SessionId(session), url)?)
    })
}

fn no_stream(stream: &StreamKey) -> Failure {
    Failure::new(se_status::SE_E_NOT_FOUND, format!("stream {stream}: there is none"))
}

fn kick(engine: &Engine, stream: &StreamKey, who: u32, reason: &str) -> Outcome {
    const BOTH: u32 = SE_KICK_PUBLISHER | SE_KICK_PLAYERS;
    match who {
        SE_KICK_PUBLISHER => Ok(engine.kick_publisher(stream, reason)?),
        SE_KICK_PLAYERS => Ok(engine.kick_players(stream, reason).map(drop)?),
        BOTH => Ok(engine.kick_stream(stream, reason)?),
        _ => Err(Failure::argument(format!(
            "kick: who is {who}; give SE_KICK_PUBLISHER, SE_KICK_PLAYERS or both"
        ))),
    }
}

/// What `se_stats_json` tells; what was not asked for is left out.
#[derive(serde::Serialize)]
struct Report {
    #[serde(skip_serializing_if = "Option::is_none")]
    engine: Option<EngineStats>,
    #[serde(flatten)]
    lists: std::collections::BTreeMap<&'static str, serde_json::Value>,
}

impl Report {
    fn new(engine: &Engine, flags: u32) -> Self {
        let mut lists = std::collections::BTreeMap::new();
        let mut list = |flag, name, make: &dyn Fn() -> serde_json::Result<serde_json::Value>| {
            if flags & flag != 0 {
                lists.insert(name, make().unwrap_or_default());
            }
        };
        list(SE_STATS_LISTENERS, "listeners", &|| serde_json::to_value(engine.listeners()));
        list(SE_STATS_STREAMS, "streams", &|| serde_json::to_value(engine.streams()));
        list(SE_STATS_SESSIONS, "sessions", &|| serde_json::to_value(engine.sessions()));
        list(SE_STATS_RELAYS, "relays", &|| serde_json::to_value(engine.relays()));
        list(SE_STATS_ORIGINS, "origins", &|| serde_json::to_value(engine.origins()));
        list(SE_STATS_FILES, "files", &|| serde_json::to_value(engine.files()));
        Self { engine: (flags & SE_STATS_ENGINE != 0).then(|| engine.stats()), lists }
    }
}

// SAFETY: `repr(C)`, begins with its size, and has only numbers.
unsafe impl Versioned for se_engine_stats {
    const NAME: &'static str = "se_engine_stats";
}

// SAFETY: as above.
unsafe impl Versioned for se_stream_stats {
    const NAME: &'static str = "se_stream_stats";
}

impl se_engine_stats {
    fn of(stats: &EngineStats, events_lost: u64) -> Self {
        Self {
            struct_size: size_of::<Self>(),
            uptime_ms: millis(stats.uptime),
            connections_accepted: stats.connections_accepted,
            connections_rejected: stats.connections_rejected,
            connections: stats.connections as u64,
            publishers: stats.publishers as u64,
            players: stats.players as u64,
            streams_live: stats.streams_live as u64,
            bytes_in: stats.bytes_in,
            bytes_out: stats.bytes_out,
            ring_bytes: stats.ring_bytes as u64,
            panics: stats.panics,
            events_lost,
        }
    }
}

impl se_stream_stats {
    fn of(stream: &StreamInfo) -> Self {
        let state = match stream.state {
            StreamState::Idle => se_stream_state::SE_STREAM_IDLE,
            StreamState::Live => se_stream_state::SE_STREAM_LIVE,
            StreamState::Away => se_stream_state::SE_STREAM_AWAY,
            StreamState::Ended => se_stream_state::SE_STREAM_ENDED,
        };
        let silence_ms =
            stream.silence.map_or(i64::MIN, |time| i64::try_from(millis(time)).unwrap_or(i64::MAX));
        Self {
            struct_size: size_of::<Self>(),
            state: state as i32,
            reserved: 0,
            uptime_ms: millis(stream.uptime),
            subscribers: stream.subscribers as u64,
            bytes_in: stream.bytes_in,
            audio_frames: stream.audio_frames,
            video_frames: stream.video_frames,
            keyframes: stream.keyframes,
            timestamp_ms: stream.timestamp.unwrap_or(i64::MIN),
            silence_ms,
            resumes: stream.resumes,
            lags: stream.lags,
            frames_skipped: stream.frames_skipped,
            ring_frames: stream.ring_frames as u64,
            ring_bytes: stream.ring_bytes as u64,
        }
    }
}

/// Whole milliseconds, as C has times.
pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
