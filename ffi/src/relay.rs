//! Relays: local streams pushed to other servers, remote streams fetched.

use crate::config::{self, se_config};
use crate::engine::{self, se_engine};
use crate::handle::{self, Versioned};
use crate::status::{Failure, guard, guard_or, se_status};
use crate::{se_id, text};
use std::ffi::c_char;
use streamengine::{RelayDirection, RelayId, RelayState, RelayStatus};

/// Which way a relay carries its stream.
#[repr(i32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum se_relay_direction {
    /// A local stream is published on a remote server.
    SE_RELAY_PUSH = 1,
    /// A remote stream is played and published locally.
    SE_RELAY_PULL = 2,
}

/// Where a relay stands. New ones may be added.
#[repr(i32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum se_relay_state {
    /// Nothing to do: nobody publishes the local stream (push), or nobody watches (pull on demand).
    SE_RELAY_IDLE = 0,
    /// Looking up the host's addresses.
    SE_RELAY_RESOLVING = 1,
    /// Opening a connection, with TLS where the URL says so.
    SE_RELAY_CONNECTING = 2,
    /// RTMP handshake and commands, up to the granted `publish` or `play`.
    SE_RELAY_HANDSHAKING = 3,
    /// Push: the target takes the stream.
    SE_RELAY_PUBLISHING = 4,
    /// Pull: the upstream sends the stream.
    SE_RELAY_PLAYING = 5,
    /// The connection stands but nothing moves; it is given up if that lasts.
    SE_RELAY_STALLED = 6,
    /// Waiting before the next attempt.
    SE_RELAY_BACKING_OFF = 7,
    /// Given up for good: the peer refused, and `on_refusal` is `fail`, or `max_retries` attempts have failed.
    /// `se_relay_restart` tries again.
    SE_RELAY_FAILED = 8,
}

/// A relay's present condition.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct se_relay_status {
    /// `sizeof(se_relay_status)`.
    pub struct_size: usize,
    /// The relay.
    pub id: se_id,
    /// One of `se_relay_direction`.
    pub direction: i32,
    /// One of `se_relay_state`.
    pub state: i32,
    /// An `se_status`: why the last attempt failed; `SE_OK` where none has since media has flowed.
    pub last_error: i32,
    /// Not used.
    pub reserved: i32,
    /// How long it has been in this state, in milliseconds.
    pub since_ms: u64,
    /// Attempts begun in all.
    pub attempts: u64,
    /// Attempts that followed a failed one.
    pub retries: u64,
    /// Bytes written to the peer, over all connections.
    pub bytes_sent: u64,
    /// Of these, bytes that the peer's acknowledgements cover; 0 from a peer that sends none.
    pub bytes_acknowledged: u64,
    /// Bytes read from the peer, over all connections.
    pub bytes_received: u64,
    /// Media messages sent (push) or received (pull), over all connections.
    pub frames: u64,
    /// The local stream.
    pub stream: [c_char; 260],
    /// The remote stream's URL without its secrets; cut where it is longer.
    pub url: [c_char; 512],
    /// `last_error` in words, the peer's own among them; cut where it is longer.
    pub last_error_text: [c_char; 512],
}

/// Pushes a local stream to another server, from now on and whenever it is live; a lost connection is made again. See
/// `se_relay_get_status` and `SE_EVENT_RELAY_STATE` for how it fares.
///
/// @param engine A started engine.
/// @param stream The local stream, `"app/stream"`; it need not exist yet.
/// @param url `"rtmp[s]://[user:pass@]host[:port]/app/stream[?query]"`.
/// @param options Keys of `[[push]]` such as `connect_timeout_ms` and `connect`, see `se_config`; NULL for none.
/// @param out The relay; may be NULL.
/// @return `SE_E_INVALID_ARGUMENT` for what is no name or URL, `SE_E_NOT_FOUND` for an app that the configuration does
/// not list, `SE_E_STATE` on an engine that is not started.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn se_relay_add_push(
    engine: *mut se_engine,
    stream: *const c_char,
    url: *const c_char,
    options: *const se_config,
    out: *mut se_id,
) -> se_status {
    guard(|| {
        let (engine, options) = (engine::running(engine)?, config::options(options)?);
        // SAFETY: the header demands NULL or NUL-terminated text.
        let (stream, url) = unsafe { (text::parsed(stream, "stream")?, text::parsed(url, "url")?) };
        let id = engine.add_push(options.push(stream, url)?)?;
        // SAFETY: the header demands NULL or a place to write to.
        unsafe { handle::write_if(out, id.0) };
        Ok(())
    })
}

/// Fetches a stream from another server into a local name, all the time or while somebody watches.
///
/// @param engine A started engine.
/// @param url As in `se_relay_add_push`; or, of FLV over HTTP, `"http[s]://[user:pass@]host[:port]/path"`.
/// @param stream The local stream, `"app/stream"`.
/// @param options Keys of `[[pull]]` such as `when` (`always`, `watched`) and `linger_ms`, see `se_config`; NULL for none.
/// @param out The relay; may be NULL.
/// @return As `se_relay_add_push`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn se_relay_add_pull(
    engine: *mut se_engine,
    url: *const c_char,
    stream: *const c_char,
    options: *const se_config,
    out: *mut se_id,
) -> se_status {
    guard(|| {
        let (engine, options) = (engine::running(engine)?, config::options(options)?);
        // SAFETY: the header demands NULL or NUL-terminated text.
        let (url, stream) = unsafe { (text::parsed(url, "url")?, text::parsed(stream, "stream")?) };
        let id = engine.add_pull(options.pull(url, stream)?)?;
        // SAFETY: the header demands NULL or a place to write to.
        unsafe { handle::write_if(out, id.0) };
        Ok(())
    })
}

/// Changes how a relay push connects, waits and leaves, from its next step on; a connection that stands is kept. What the
/// options leave out is as for all relays of the engine.
///
/// @param engine A started engine.
/// @param relay The relay.
/// @param options Keys of `[[push]]` but for `on_refusal`, `remote_app` and `remote_stream`, see `se_config`; NULL for none.
/// @return `SE_E_NOT_FOUND` where there is no such relay, `SE_E_STATE` where it is a pull, `SE_E_INVALID_ARGUMENT` for options
/// that cannot be.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn se_relay_tune(
    engine: *mut se_engine,
    relay: se_id,
    options: *const se_config,
) -> se_status {
    guard(|| {
        let (engine, options) = (engine::running(engine)?, config::options(options)?);
        let fixed = ["on_refusal", "remote_app", "remote_stream"];
        if let Some(name) = options.names().find(|name| fixed.contains(name)) {
            return Err(Failure::argument(format!("option {name}: it is of another relay; add that one")));
        }
        let status = engine.relay(RelayId(relay)).ok_or_else(|| none(relay))?;
        let Some(url) = status.url.as_rtmp().filter(|_| status.direction == RelayDirection::Push) else {
            return Err(Failure::new(se_status::SE_E_STATE, format!("relay {relay}: it is a pull")));
        };
        let push = options.push(status.stream, url.clone())?;
        Ok(engine.tune_push(RelayId(relay), push.tuning)?)
    })
}

fn none(relay: se_id) -> Failure {
    Failure::new(se_status::SE_E_NOT_FOUND, format!("relay {relay}: there is none"))
}

/// Ends a relay: it unpublishes, or stops playing, in good order, within a second after the call.
///
/// @param engine A started engine.
/// @param relay The relay.
/// @return `SE_E_NOT_FOUND` where there is no such relay.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn se_relay_remove(engine: *mut se_engine, relay: se_id) -> se_status {
    guard(|| Ok(engine::running(engine)?.remove_relay(RelayId(relay))?))
}

/// Makes a relay try again at once, also one that has failed for good.
///
/// @param engine A started engine.
/// @param relay The relay.
/// @return `SE_E_NOT_FOUND` where there is no such relay.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn se_relay_restart(engine: *mut se_engine, relay: se_id) -> se_status {
    guard(|| Ok(engine::running(engine)?.restart_relay(RelayId(relay))?))
}

/// State and counters of one relay.
///
/// @param engine A started engine.
/// @param relay The relay.
/// @param inout Filled in up to `struct_size`.
/// @return `SE_E_NOT_FOUND` where there is no such relay.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn se_relay_get_status(
    engine: *mut se_engine,
    relay: se_id,
    inout: *mut se_relay_status,
) -> se_status {
    guard(|| {
        let found = engine::running(engine)?.relay(RelayId(relay));
        let status = se_relay_status::of(&found.ok_or_else(|| none(relay))?);
        // SAFETY: the header demands NULL or a structure of the size that it says.
        unsafe { handle::fill(inout, &status) }
    })
}

/// State and counters of all relays: a JSON array of objects with `id`, `direction` (`push`, `pull`), `stream`, `url`,
/// `state` (`idle`, `resolving`, `connecting`, `handshaking`, `publishing`, `playing`, `stalled`, `backing-off`,
/// `failed`), `last_error` and `last_error_kind` in words or null, and the counters of `se_relay_status`.
///
/// @param engine A started engine.
/// @return To be freed with `se_string_free`; NULL on error.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn se_relays_json(engine: *mut se_engine) -> *mut c_char {
    guard_or(std::ptr::null_mut(), || text::give_json(&engine::running(engine)?.relays()))
}

// SAFETY: `repr(C)`, begins with its size, and has only numbers.
unsafe impl Versioned for se_relay_status {
    const NAME: &'static str = "se_relay_status";
}

impl se_relay_status {
    fn of(relay: &RelayStatus) -> Self {
        let mut status = Self {
            struct_size: size_of::<Self>(),
            id: relay.id.0,
            direction: match relay.direction {
                RelayDirection::Push => se_relay_direction::SE_RELAY_PUSH,
                RelayDirection::Pull => se_relay_direction::SE_RELAY_PULL,
            } as i32,
            state: se_relay_state::of(relay.state) as i32,
            last_error: relay.last_error_kind.map_or(se_status::SE_OK, se_status::of) as i32,
            reserved: 0,
            since_ms: crate::stats::millis(relay.since),
            attempts: relay.attempts,
            retries: relay.retries,
            bytes_sent: relay.bytes_sent,
            bytes_acknowledged: relay.bytes_acknowledged,
            bytes_received: relay.bytes_received,
            frames: relay.frames,
            stream: [0; 260],
            url: [0; 512],
            last_error_text: [0; 512],
        };
        text::fill(&mut status.stream, relay.stream.as_str());
        text::fill(&mut status.url, &relay.url.to_string());
        text::fill(&mut status.last_error_text, relay.last_error.as_deref().unwrap_or_default());
        status
    }
}

impl se_relay_state {
    fn of(state: RelayState) -> Self {
        match state {
            RelayState::Resolving => Self::SE_RELAY_RESOLVING,
            RelayState::Connecting => Self::SE_RELAY_CONNECTING,
            RelayState::Handshaking => Self::SE_RELAY_HANDSHAKING,
            RelayState::Publishing => Self::SE_RELAY_PUBLISHING,
            RelayState::Playing => Self::SE_RELAY_PLAYING,
            RelayState::Stalled => Self::SE_RELAY_STALLED,
            RelayState::BackingOff => Self::SE_RELAY_BACKING_OFF,
            RelayState::Failed => Self::SE_RELAY_FAILED,
            _ => Self::SE_RELAY_IDLE,
        }
    }
}
