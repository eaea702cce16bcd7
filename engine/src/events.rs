//! What happens in an engine, as values that a program can watch.

use crate::id::{ListenerId, SessionId};
use crate::key::StreamKey;
use crate::limits::as_ms;
use crate::status::{Door, FileStatus, Protocol, RecordedFile, RecordingStatus, RelayStatus};
use serde::Serialize;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast;

bound! {
    /// Events kept for a receiver that does not keep up; then it is told how many it lost
    /// (test `a_receiver_that_does_not_keep_up_is_told_how_many_events_it_lost`).
    const BACKLOG: usize = 4_096, without 1 << 16;
}

/// Something that happened. As JSON each is one object whose `event` names it: `stream-started`. C and GStreamer have
/// the same names.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Event {
    /// A listener is open.
    ListenerOpened {
        /// The listener.
        id: ListenerId,
        /// What is spoken on it.
        protocol: Protocol,
        /// The address really bound.
        address: SocketAddr,
    },
    /// A listener has been closed.
    ListenerClosed {
        /// The listener.
        id: ListenerId,
        /// What is spoken on it.
        protocol: Protocol,
        /// The address it had.
        address: SocketAddr,
    },
    /// A connection was accepted.
    SessionOpened {
        /// The session.
        session: SessionId,
        /// Its address.
        peer: SocketAddr,
    },
    /// A stream has got a publisher, its first or one that returns.
    StreamStarted {
        /// The stream.
        stream: StreamKey,
        /// The publisher's session, where it is a connection.
        session: Option<SessionId>,
        /// Its address, or the name of the relay or file that publishes.
        source: String,
    },
    /// A stream has lost its publisher. Players may stay for another one: [`StreamState::Away`](crate::StreamState::Away).
    StreamEnded {
        /// The stream.
        stream: StreamKey,
        /// The publisher's session, where it is a connection.
        session: Option<SessionId>,
        /// Why.
        reason: String,
    },
    /// A player has joined a stream.
    PlayStarted {
        /// The stream.
        stream: StreamKey,
        /// The player's session.
        session: SessionId,
        /// Its address.
        peer: SocketAddr,
        /// The service that it has come to: `rtmp`, `http-flv`, `http-mp4`, `websocket` or `hls`.
        door: Door,
    },
    /// A player has left a stream.
    PlayEnded {
        /// The stream.
        stream: StreamKey,
        /// The player's session.
        session: SessionId,
        /// Why.
        reason: String,
        /// Bytes of media sent to it.
        bytes_sent: u64,
        /// Frames that it missed because it was too slow.
        frames_dropped: u64,
        /// For how long it played.
        #[serde(rename = "played_ms", serialize_with = "as_ms")]
        played: Duration,
    },
    /// A request of a peer was refused.
    Refused {
        /// The session.
        session: SessionId,
        /// Its address.
        peer: SocketAddr,
        /// What it asked for: `connect`, `publish` or `play`.
        request: &'static str,
        /// The stream, where its name was valid.
        stream: Option<StreamKey>,
        /// Why, as told to the peer.
        reason: String,
    },
    /// A connection has ended.
    SessionClosed {
        /// The session.
        session: SessionId,
        /// Its address.
        peer: SocketAddr,
        /// Why.
        reason: String,
    },
    /// A relay has changed its state.
    RelayState(RelayStatus),
    /// A file job has changed its state.
    FileState(FileStatus),
    /// A recording has begun, goes on in another file, or has changed its state.
    RecordingState(RecordingStatus),
    /// A file of a recording is whole.
    RecordingFile(RecordedFile),
}

impl Event {
    /// The name in JSON: `stream-started`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::ListenerOpened { .. } => "listener-opened",
            Self::ListenerClosed { .. } => "listener-closed",
            Self::SessionOpened { .. } => "session-opened",
            Self::SessionClosed { .. } => "session-closed",
            Self::StreamStarted { .. } => "stream-started",
            Self::StreamEnded { .. } => "stream-ended",
            Self::PlayStarted { .. } => "play-started",
            Self::PlayEnded { .. } => "play-ended",
            Self::Refused { .. } => "refused",
            Self::RelayState(_) => "relay-state",
            Self::FileState(_) => "file-state",
            Self::RecordingState(_) => "recording-state",
            Self::RecordingFile(_) => "recording-file",
        }
    }

    /// The stream that it is about.
    pub fn stream(&self) -> Option<&StreamKey> {
        match self {
            Self::ListenerOpened { .. }
            | Self::ListenerClosed { .. }
            | Self::SessionOpened { .. }
            | Self::SessionClosed { .. } => None,
            Self::StreamStarted { stream, .. }
            | Self::StreamEnded { stream, .. }
            | Self::PlayStarted { stream, .. }
            | Self::PlayEnded { stream, .. } => Some(stream),
            Self::Refused { stream, .. } => stream.as_ref(),
            Self::RelayState(relay) => Some(&relay.stream),
            Self::FileState(file) => Some(&file.stream),
            Self::RecordingState(recording) => Some(&recording.stream),
            Self::RecordingFile(file) => Some(&file.stream),
        }
    }

    /// The connection that it is about.
    pub fn session(&self) -> Option<SessionId> {
        match self {
            Self::ListenerOpened { .. }
            | Self::ListenerClosed { .. }
            | Self::RelayState(_)
            | Self::FileState(_)
            | Self::RecordingState(_)
            | Self::RecordingFile(_) => None,
            Self::StreamStarted { session, .. } | Self::StreamEnded { session, .. } => *session,
            Self::SessionOpened { session, .. }
            | Self::SessionClosed { session, .. }
            | Self::PlayStarted { session, .. }
            | Self::PlayEnded { session, .. }
            | Self::Refused { session, .. } => Some(*session),
        }
    }

    /// Whether any stranger can cause such events, as many as it likes: whoever keeps events should bound these apart.
    pub fn is_caused_by_peer(&self) -> bool {
        match self {
            Self::SessionOpened { .. }
            | Self::SessionClosed { .. }
            | Self::PlayStarted { .. }
            | Self::PlayEnded { .. }
            | Self::Refused { .. } => true,
            Self::ListenerOpened { .. }
            | Self::ListenerClosed { .. }
            | Self::StreamStarted { .. }
            | Self::StreamEnded { .. }
            | Self::RelayState(_)
            | Self::FileState(_)
            | Self::RecordingState(_)
            | Self::RecordingFile(_) => false,
        }
    }
}

/// Gets every event at once, on the thread where it happens.
type Sink = Arc<dyn Fn(&Event) + Send + Sync>;

/// Sends events to whoever watches.
#[derive(Clone)]
pub(crate) struct Events {
    sender: broadcast::Sender<Event>,
    sinks: Vec<Sink>,
}

impl Default for Events {
    fn default() -> Self {
        Self { sender: broadcast::Sender::new(BACKLOG.get()), sinks: Vec::new() }
    }
}

impl Events {
    pub(crate) fn add_sink(&mut self, sink: impl Fn(&Event) + Send + Sync + 'static) {
        self.sinks.push(Arc::new(sink));
    }

    pub(crate) fn emit(&self, event: Event) {
        self.sinks.iter().for_each(|sink| sink(&event));
        // An error only means that nobody watches.
        let _ = self.sender.send(event);
    }

    pub(crate) fn subscribe(&self) -> EventReceiver {
        EventReceiver { receiver: self.sender.subscribe() }
    }
}

/// Watches an engine's events from the moment of its making.
pub struct EventReceiver {
    receiver: broadcast::Receiver<Event>,
}

/// What a receiver gets.
#[derive(Debug, Clone)]
pub enum Received {
    /// The next event.
    Event(Event),
    /// This many events were lost because they were not fetched in time.
    Lagged(u64),
}

impl EventReceiver {
    /// Waits for the next event; `None` when the engine is gone. Works on any executor.
    ///
    /// Cancel safe: a future that is dropped loses no event.
    pub async fn next(&mut self) -> Option<Received> {
        match self.receiver.recv().await {
            Ok(event) => Some(Received::Event(event)),
            Err(broadcast::error::RecvError::Lagged(lost)) => Some(Received::Lagged(lost)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }

    /// The next event if there is one already.
    pub fn try_next(&mut self) -> Option<Received> {
        match self.receiver.try_recv() {
            Ok(event) => Some(Received::Event(event)),
            Err(broadcast::error::TryRecvError::Lagged(lost)) => Some(Received::Lagged(lost)),
            Err(_) => None,
        }
    }

    /// Waits for the next event on a thread that is not an async worker; `None` when the engine is gone.
    pub fn blocking_next(&mut self) -> Option<Received> {
        match self.receiver.blocking_recv() {
            Ok(event) => Some(Received::Event(event)),
            Err(broadcast::error::RecvError::Lagged(lost)) => Some(Received::Lagged(lost)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_is_called_in_json_what_it_is_called_everywhere() {
        let events = crate::testing::events();
        for event in &events {
            let json = serde_json::to_value(event).unwrap();
            assert_eq!(json["event"], event.name());
            assert_eq!(json["stream"].as_str(), event.stream().map(StreamKey::as_str));
            assert_eq!(json["session"].as_u64(), event.session().map(|session| session.0));
        }
        let names: std::collections::BTreeSet<_> = events.iter().map(Event::name).collect();
        assert_eq!(names.len(), events.len(), "each has a name of its own");
    }

    #[test]
    fn a_receiver_that_does_not_keep_up_is_told_how_many_events_it_lost() {
        let events = Events::default();
        let mut receiver = events.subscribe();
        let peer = ([192, 0, 2, 1], 1).into();
        for session in 0..BACKLOG.stated() as u64 + 10 {
            events.emit(Event::SessionClosed { session: SessionId(session), peer, reason: String::new() });
        }
        assert!(matches!(receiver.try_next(), Some(Received::Lagged(10))));
        assert!(matches!(
            receiver.try_next(),
            Some(Received::Event(Event::SessionClosed { session: SessionId(10), .. }))
        ));
    }
}
