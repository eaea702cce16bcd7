//! What the tests of several modules and crates need. Not part of the API.

#![allow(missing_docs, clippy::missing_panics_doc, reason = "not an API; panicking is the point")]

mod frames;
pub mod mp4_file;
pub mod rtmp;
pub mod sample;
pub mod service;
pub mod wait;

pub use frames::*;

use crate::events::Event;
use crate::id::{FileId, ListenerId, RecordingId, RelayId, SessionId};
use crate::key::StreamKey;
use crate::status::{
    Door, FileState, FileStatus, Protocol, RecordedFile, RecordingState, RecordingStatus, RelayDirection,
    RelayState, RelayStatus, SessionInfo, SessionRole,
};
use crate::url::{RemoteUrl, RtmpUrl};
use std::sync::Arc;
use std::time::Duration;

/// A name that the test knows to be valid.
pub fn key(name: &str) -> StreamKey {
    name.parse().unwrap()
}

/// A URL that the test knows to be valid.
pub fn url(text: &str) -> RtmpUrl {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// The same of a source.
pub fn source(text: &str) -> RemoteUrl {
    url(text).into()
}

/// The hash of a password that is tried in no time.
#[cfg(feature = "http")]
pub fn cheap_hash(password: &str) -> String {
    use argon2::{Algorithm, Argon2, Params, PasswordHash, PasswordHasher, Version};
    let params = Params::new(Params::MIN_M_COST, 1, 1, None).unwrap();
    let cheap = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let hash: PasswordHash = cheap.hash_password(password.as_bytes()).unwrap();
    hash.to_string()
}

/// A ticket whose answer nobody hears.
#[cfg(feature = "testing")]
pub fn ticket() -> crate::Ticket {
    crate::Ticket::unheard()
}

/// Keys, asked as an engine asks them.
#[cfg(all(feature = "keys", feature = "testing"))]
pub struct KeyGate(crate::auth::Gate);

#[cfg(all(feature = "keys", feature = "testing"))]
impl KeyGate {
    pub fn new(keys: &crate::Keys) -> Self {
        Self(crate::auth::Gate::new(&[keys.decider(false)], &crate::Limits::default()))
    }

    /// What they say of a request to publish `name` in the app `live`.
    pub async fn decide(&self, name: &str) -> Result<crate::Grant, String> {
        use crate::{Action, AuthRequest};
        let name = self.0.parse_name(Action::Publish, "live", name).map_err(|error| error.to_string())?;
        let peer = ([192, 0, 2, 7], 4000).into();
        self.0.decide(AuthRequest::new(Action::Publish, name, peer, Door::Rtmp, Protocol::Rtmp)).await
    }
}

/// Resident memory of this process that no file is behind, in bytes.
#[cfg(target_os = "linux")]
pub fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

/// One event of each kind, nothing in them absent.
pub fn events() -> Vec<Event> {
    let mut events = Vec::new();
    let mut next = Some(event_after(None));
    while let Some(Some(event)) = next {
        next = Some(event_after(Some(&event)));
        events.push(event);
    }
    events
}

/// A sample of the kind that follows: whoever adds an event puts it into this row.
fn event_after(event: Option<&Event>) -> Option<Event> {
    let (id, session, stream) = (ListenerId(3), SessionId(4), key("live/a"));
    let (address, peer) = (([127, 0, 0, 1], 1935).into(), ([192, 0, 2, 7], 4000).into());
    let (protocol, reason) = (Protocol::Rtmp, "why".to_owned());
    let Some(event) = event else { return Some(Event::ListenerOpened { id, protocol, address }) };
    Some(match event {
        Event::ListenerOpened { .. } => Event::ListenerClosed { id, protocol, address },
        Event::ListenerClosed { .. } => Event::SessionOpened { session, peer },
        Event::SessionOpened { .. } => Event::SessionClosed { session, peer, reason },
        Event::SessionClosed { .. } => {
            Event::StreamStarted { stream, session: Some(session), source: peer.to_string() }
        }
        Event::StreamStarted { .. } => Event::StreamEnded { stream, session: Some(session), reason },
        Event::StreamEnded { .. } => Event::PlayStarted { stream, session, peer, door: Door::Rtmp },
        Event::PlayStarted { .. } => Event::PlayEnded {
            stream,
            session,
            reason,
            bytes_sent: 5,
            frames_dropped: 6,
            played: Duration::from_millis(7),
        },
        Event::PlayEnded { .. } => {
            Event::Refused { session, peer, request: "publish", stream: Some(stream), reason }
        }
        Event::Refused { .. } => Event::RelayState(relay_status()),
        Event::RelayState(_) => Event::FileState(file_status()),
        Event::FileState(_) => Event::RecordingState(recording_status()),
        Event::RecordingState(_) => Event::RecordingFile(recorded_file()),
        Event::RecordingFile(_) => return None,
    })
}

/// A connection of this role, behind by so much.
pub fn session(role: SessionRole, stream: &StreamKey, queue: Duration) -> SessionInfo {
    SessionInfo {
        id: SessionId(9),
        peer: ([192, 0, 2, 7], 4000).into(),
        door: Door::Rtmp,
        tls: false,
        role,
        stream: Some(stream.clone()),
        agent: Some("agent".to_owned()),
        page: None,
        swf: None,
        uptime: Duration::from_millis(10),
        bytes_in: 11,
        bytes_out: 12,
        queue,
        queue_bytes: 13,
        is_caught_up: queue.is_zero(),
        frames_dropped: 14,
        timestamp: Some(15),
        skew_ms: Some(16),
        rtt: None,
    }
}

pub fn relay_status() -> RelayStatus {
    RelayStatus {
        id: RelayId(8),
        direction: RelayDirection::Push,
        stream: key("live/a"),
        url: Arc::new(url("rtmp://other.example/live/b").into()),
        state: RelayState::BackingOff,
        since: Duration::from_millis(1),
        last_error: Some("refused".to_owned()),
        last_error_kind: Some(crate::ErrorKind::Rejected),
        attempts: 2,
        retries: 1,
        bytes_sent: 3,
        bytes_acknowledged: 4,
        bytes_received: 5,
        frames: 6,
        frames_dropped: 7,
        queue: Duration::from_millis(8),
        queue_bytes: 9,
        connected: Some(Duration::from_millis(10)),
        retry_in: Some(Duration::from_millis(11)),
    }
}

pub fn file_status() -> FileStatus {
    FileStatus {
        id: FileId(9),
        stream: key("live/a"),
        state: FileState::Failed,
        file: "clip.flv".to_owned(),
        loops_done: 1,
        position: Duration::from_millis(2),
        frames: 3,
        error: Some("at byte 13: broken".to_owned()),
    }
}

pub fn recording_status() -> RecordingStatus {
    RecordingStatus {
        id: RecordingId(10),
        stream: key("live/a"),
        state: RecordingState::DiskFull,
        file: Some("/recordings/live/a/20180214T002807Z-0.flv".into()),
        files: 1,
        bytes: 2,
        length: Duration::from_millis(3),
        frames_dropped: 4,
        error: Some("the disk is full".to_owned()),
    }
}

pub fn recorded_file() -> RecordedFile {
    RecordedFile {
        recording: Some(RecordingId(10)),
        stream: key("live/a"),
        path: "/recordings/live/a/20180214T002807Z-0.flv".into(),
        start: 1_518_568_087,
        bytes: 2,
        length: Some(Duration::from_millis(3)),
        is_growing: false,
    }
}
