//! Events as C sees them.

use crate::c_string::c_string;
use crate::callback::{Callback, se_destroy_fn};
use crate::engine::{self, se_engine};
use crate::handle::{self, Handle};
use crate::host::Host;
use crate::queue::{QueuedEvent, Wait, What};
use crate::se_id;
use crate::status::{Outcome, guard, guard_or, se_status};
use std::ffi::{CString, c_char, c_int, c_void};
use streamengine::{Event, FileState, ListenerId, Protocol, SessionId};

/// What happened. New ones may be added: ignore those that you do not know.
#[repr(i32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum se_event_type {
    /// A listener is open. `id`: the listener; `peer`: its address; `message`: `rtmp`, `rtmps`, `http` or `https`.
    SE_EVENT_LISTENER_OPENED = 1,
    /// A listener is closed. As above.
    SE_EVENT_LISTENER_CLOSED = 2,
    /// A stream has got a publisher. `id`: its session, 0 where it is no connection; `message`: who it is.
    SE_EVENT_STREAM_STARTED = 3,
    /// A stream's publisher has left. `id`: its session, or 0; `message`: why.
    SE_EVENT_STREAM_ENDED = 4,
    /// A connection was accepted. `id`: the session; `peer`.
    SE_EVENT_SESSION_OPENED = 5,
    /// A connection has ended. `id`: the session; `peer`; `message`: why.
    SE_EVENT_SESSION_CLOSED = 6,
    /// A player has joined a stream. `id`: its session; `peer`.
    SE_EVENT_PLAY_STARTED = 7,
    /// A player has left a stream. `id`: its session; `message`: why.
    SE_EVENT_PLAY_ENDED = 8,
    /// A request of a peer was refused. `id`: its session; `peer`; `status`: `SE_E_AUTH`; `message`: why.
    SE_EVENT_REFUSED = 9,
    /// A relay has changed its state. `id`: the relay; `status`: why the last attempt failed, or `SE_OK`; `peer`: the
    /// remote URL without its secrets; `message`: the state and that failure in words.
    SE_EVENT_RELAY_STATE = 10,
    /// A file job has changed its state. `id`: the job; `status`: `SE_OK`, or `SE_E_FORMAT` where it has failed; `peer`:
    /// the file; `message`: the state and the failure in words.
    SE_EVENT_FILE_STATE = 11,
    /// Events were dropped before this one, because they were not fetched in time. `message`: how many.
    SE_EVENT_LAGGED = 12,
    /// Lines of the log were dropped, because its callback does not keep up. `message`: how many since the last such event.
    SE_EVENT_LOG_LAGGED = 13,
    /// A recording has begun, goes on in another file, or has changed its state. `id`: the recording; `status`: `SE_OK`, or `SE_E_IO`
    /// where it stands still; `peer`: the file; `message`: the state and the failure in words.
    SE_EVENT_RECORDING_STATE = 14,
    /// A file of a recording is whole. `id`: the recording; `peer`: the file.
    SE_EVENT_RECORDING_FILE = 15,
}

/// Something that happened. Texts are never NULL, but empty where there is nothing to say; they are borrowed: valid as
/// long as the callback runs, or the reference lives.
#[repr(C)]
#[derive(Debug)]
pub struct se_event {
    /// The size of this structure in the library: fields behind it are not there.
    pub struct_size: usize,
    /// One of `se_event_type`.
    pub r#type: i32,
    /// An `se_status`: what the event says about success.
    pub status: i32,
    /// The listener, session, relay, file job or recording; 0 where there is none.
    pub id: se_id,
    /// When it happened, in microseconds since 1970 (UTC).
    pub time_us: u64,
    /// The stream, `app/stream`.
    pub stream: *const c_char,
    /// The address of who is at the other end.
    pub peer: *const c_char,
    /// What there is to say, in words.
    pub message: *const c_char,
    /// All of it as a JSON object: `time_us`, `event` (its name), and what belongs to it:
    /// `listener-opened` and `listener-closed`: `id`, `protocol`, `address`; `session-opened`: `session`, `peer`;
    /// `session-closed`: `session`, `peer`, `reason`; `stream-started`: `stream`, `session` (or null), `source`;
    /// `stream-ended`: `stream`, `session` (or null), `reason`; `play-started`: `stream`, `session`, `peer`,
    /// `door` (`rtmp`, `http-flv`, `http-mp4`, `websocket`, `hls`, `recording`); `play-ended`:
    /// `stream`, `session`, `reason`, `bytes_sent`, `frames_dropped`, `played_ms`; `refused`: `session`, `peer`, `request`
    /// (`connect`, `publish`, `play`), `stream` (or null), `reason`; `relay-state`: as in `se_relays_json`; `file-state`: as
    /// in `se_files_json`; `recording-state`: as in `se_recordings_json`; `recording-file`: `recording`, `stream`, `path`, `start`, `bytes`,
    /// `length_ms`, `is_growing`; `lagged` and `log-lagged`: `lost`.
    pub json: *const c_char,
}

/// Called on the callback thread with one event, which is valid until the callback returns.
pub type se_event_fn = Option<unsafe extern "C" fn(event: *const se_event, user_data: *mut c_void)>;

/// An event that the program has fetched.
pub struct se_event_ref {
    _opaque: [u8; 0],
}

impl Handle for se_event_ref {
    type Behind = EventView;
    const NAME: &'static str = "event";
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
        let host = engine::host(engine)?;
        match callback.present() {
            Some(callback) => deliver(&host, callback),
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
/// `SE_EVENT_LAGGED`.
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
        // SAFETY: the header demands NULL or a place to write to.
        let (host, out) = (engine::host(engine)?, unsafe { handle::out(out, "out") }?);
        let happened = host.events.next(Wait::from_ms(timeout_ms))?;
        out.write(handle::give(EventView::new(&happened)));
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
    guard_or(-1, || engine::host(engine)?.events.descriptor())
}

/// Looks at an event.
///
/// @param event The event.
/// @return Valid until the event is freed; NULL on error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn se_event_ref_get(event: *const se_event_ref) -> *const se_event {
    guard_or(std::ptr::null(), || Ok(handle::borrow(event)?.as_ptr()))
}

/// Frees an event.
///
/// @param event NULL does nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn se_event_ref_free(event: *mut se_event_ref) {
    guard_or((), || handle::free(event));
}

/// An event in C's shape, with the texts that it points to.
pub(crate) struct EventView {
    event: se_event,
    /// What `event` points into.
    _texts: [CString; 4],
}

// SAFETY: the pointers lead into `_texts`, which is never changed.
unsafe impl Send for EventView {}
// SAFETY: as above.
unsafe impl Sync for EventView {}

/// What an event says, besides its type.
#[derive(Default)]
struct EventText {
    id: se_id,
    status: Option<se_status>,
    stream: String,
    peer: String,
    message: String,
}

/// As `json`: the time, then the event.
#[derive(serde::Serialize)]
struct Timed<'a, E> {
    time_us: u64,
    #[serde(flatten)]
    event: &'a E,
}

impl EventView {
    pub(crate) fn new(happened: &QueuedEvent) -> Self {
        use se_event_type::{SE_EVENT_LAGGED, SE_EVENT_LOG_LAGGED};
        let time_us = happened.time_us;
        let of_loss = |kind, name, lost: u64, what| {
            let event = serde_json::json!({ "event": name, "lost": lost });
            let said = EventText { message: format!("{lost} {what}"), ..EventText::default() };
            (Some(kind), said, serde_json::to_string(&Timed { time_us, event: &event }))
        };
        let (kind, said, json) = match &happened.what {
            What::Event(event) => {
                let (kind, said) = told(event);
                (kind, said, serde_json::to_string(&Timed { time_us, event }))
            }
            What::Lost(lost) => of_loss(SE_EVENT_LAGGED, "lagged", *lost, "events were dropped"),
            What::LogLost(lost) => {
                of_loss(SE_EVENT_LOG_LAGGED, "log-lagged", *lost, "lines of the log were lost")
            }
        };
        Self::put(time_us, kind.map_or(0, |kind| kind as i32), &said, &json.unwrap_or_default())
    }

    fn put(time_us: u64, kind: i32, said: &EventText, json: &str) -> Self {
        let texts = [&said.stream, &said.peer, &said.message, json].map(c_string);
        let [stream, peer, message, json] = texts.each_ref().map(|text| text.as_ptr());
        let event = se_event {
            struct_size: size_of::<se_event>(),
            r#type: kind,
            status: said.status.unwrap_or(se_status::SE_OK) as i32,
            id: said.id,
            time_us,
            stream,
            peer,
            message,
            json,
        };
        Self { event, _texts: texts }
    }

    /// Valid as long as this lives where it is.
    pub(crate) fn as_ptr(&self) -> *const se_event {
        &raw const self.event
    }
}

fn told(event: &Event) -> (Option<se_event_type>, EventText) {
    use se_event_type::*;
    let (kind, said) = match event {
        Event::ListenerOpened { id, protocol, address } => {
            (SE_EVENT_LISTENER_OPENED, of_listener(*id, *protocol, address))
        }
        Event::ListenerClosed { id, protocol, address } => {
            (SE_EVENT_LISTENER_CLOSED, of_listener(*id, *protocol, address))
        }
        Event::SessionOpened { session, peer } => (
            SE_EVENT_SESSION_OPENED,
            EventText { id: session.0, peer: peer.to_string(), ..EventText::default() },
        ),
        Event::SessionClosed { session, peer, reason } => {
            let (peer, message) = (peer.to_string(), reason.clone());
            (SE_EVENT_SESSION_CLOSED, EventText { id: session.0, peer, message, ..EventText::default() })
        }
        Event::StreamStarted { stream, session, source } => {
            (SE_EVENT_STREAM_STARTED, of_stream(session.as_ref(), stream, source))
        }
        Event::StreamEnded { stream, session, reason } => {
            (SE_EVENT_STREAM_ENDED, of_stream(session.as_ref(), stream, reason))
        }
        Event::PlayStarted { stream, session, peer, .. } => (
            SE_EVENT_PLAY_STARTED,
            EventText { peer: peer.to_string(), ..of_stream(Some(session), stream, "") },
        ),
        Event::PlayEnded { stream, session, reason, .. } => {
            (SE_EVENT_PLAY_ENDED, of_stream(Some(session), stream, reason))
        }
        Event::Refused { session, peer, stream, reason, .. } => {
            let stream = stream.as_ref().map(ToString::to_string).unwrap_or_default();
            let (peer, message, status) = (peer.to_string(), reason.clone(), Some(se_status::SE_E_AUTH));
            (SE_EVENT_REFUSED, EventText { id: session.0, status, stream, peer, message })
        }
        Event::RelayState(relay) => {
            let status = relay.last_error_kind.map(se_status::of);
            let message = in_words(relay.state.as_str(), relay.last_error.as_deref());
            let (stream, peer) = (relay.stream.to_string(), relay.url.to_string());
            (SE_EVENT_RELAY_STATE, EventText { id: relay.id.0, status, stream, peer, message })
        }
        Event::FileState(file) => {
            let status = (file.state == FileState::Failed).then_some(se_status::SE_E_FORMAT);
            let message = in_words(file.state.as_str(), file.error.as_deref());
            let (stream, peer) = (file.stream.to_string(), file.file.clone());
            (SE_EVENT_FILE_STATE, EventText { id: file.id.0, status, stream, peer, message })
        }
        Event::RecordingState(recording) => {
            let status = recording.error.as_ref().map(|_| se_status::SE_E_IO);
            let message = in_words(recording.state.as_str(), recording.error.as_deref());
            let peer = recording.file.as_ref().map(|file| file.display().to_string()).unwrap_or_default();
            let stream = recording.stream.to_string();
            (SE_EVENT_RECORDING_STATE, EventText { id: recording.id.0, status, stream, peer, message })
        }
        Event::RecordingFile(file) => {
            let (stream, peer) = (file.stream.to_string(), file.path.display().to_string());
            let id = file.recording.map_or(0, |recording| recording.0);
            (SE_EVENT_RECORDING_FILE, EventText { id, stream, peer, ..EventText::default() })
        }
        // One that is newer than this file: `json` has it.
        _ => return (None, EventText::default()),
    };
    (Some(kind), said)
}

fn of_listener(id: ListenerId, protocol: Protocol, address: &std::net::SocketAddr) -> EventText {
    EventText { id: id.0, peer: address.to_string(), message: protocol.to_string(), ..EventText::default() }
}

fn of_stream(session: Option<&SessionId>, stream: &streamengine::StreamKey, message: &str) -> EventText {
    let id = session.map_or(0, |session| session.0);
    EventText { id, stream: stream.to_string(), message: message.to_owned(), ..EventText::default() }
}

fn in_words(state: &str, error: Option<&str>) -> String {
    error.map_or_else(|| state.to_owned(), |error| format!("{state}: {error}"))
}

/// The function of an event callback.
pub(crate) type EventFn = unsafe extern "C" fn(*const se_event, *mut c_void);

/// Has events delivered to a callback from now on, in the place of the one before.
pub(crate) fn deliver(host: &Host, callback: Callback<EventFn>) -> Outcome {
    let events = host.events.clone();
    let reader = events.take_over();
    let reading = async move {
        while let Some(happened) = events.next_for(reader).await {
            let shown = EventView::new(&happened);
            // SAFETY: the header says what the callback is called with; the event lives until it returns.
            unsafe { (callback.function)(shown.as_ptr(), callback.user_data()) };
            // Others have their turn between two events.
            futures_lite::future::yield_now().await;
        }
    };
    let task = host.dispatcher.spawn(reading).inspect_err(|_| host.events.give_back())?;
    task.detach();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::ffi::CStr;
    use streamengine::testing;

    fn view(event: &Event) -> EventView {
        EventView::new(&QueuedEvent { time_us: 1, what: What::Event(event.clone()) })
    }

    /// What the documentation of `json` says of each event: its keys.
    fn documented() -> Vec<(String, BTreeSet<String>)> {
        let source = include_str!("event.rs");
        let (_, doc) = source.split_once("what belongs to it:").unwrap();
        let (doc, _) = doc.split_once("pub json:").unwrap();
        let doc = doc.replace("///", "").split_whitespace().collect::<Vec<_>>().join(" ");
        let quoted =
            |text: &str| -> Vec<_> { text.split('`').skip(1).step_by(2).map(str::to_owned).collect() };
        let clauses = doc.trim_end_matches(['.', ' ']).split("; ");
        let pairs = clauses.filter_map(|clause| clause.split_once(": "));
        let each = pairs.flat_map(|(names, keys)| {
            // In brackets stand values, not keys.
            let keys: String =
                keys.split('(').map(|part| part.split_once(')').map_or(part, |(_, rest)| rest)).collect();
            let keys: BTreeSet<_> = quoted(&keys).into_iter().collect();
            quoted(names).into_iter().map(move |name| (name, keys.clone()))
        });
        each.collect()
    }

    #[test]
    fn every_event_has_a_type_of_c_and_its_documented_keys() {
        let documented = documented();
        let mut kinds = BTreeSet::new();
        for event in testing::events() {
            let view = view(&event);
            // SAFETY: the view lives.
            let (kind, json) = unsafe { ((*view.as_ptr()).r#type, CStr::from_ptr((*view.as_ptr()).json)) };
            assert!(kind > 0 && kinds.insert(kind), "{event:?}");
            let json: serde_json::Value = serde_json::from_str(json.to_str().unwrap()).unwrap();
            let mut keys: BTreeSet<_> = json.as_object().unwrap().keys().cloned().collect();
            assert!(keys.remove("time_us") && keys.remove("event"));
            let (_, said) = documented.iter().find(|(name, _)| name == event.name()).unwrap_or_else(|| {
                panic!("{} is not documented: {documented:?}", event.name());
            });
            let is_status =
                matches!(event, Event::RelayState(_) | Event::FileState(_) | Event::RecordingState(_));
            if !is_status {
                assert_eq!(&keys, said, "{}", event.name());
            }
        }
    }
}
