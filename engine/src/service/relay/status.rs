//! What a relay tells about itself: its state, since when, and why.

use crate::id::Id;
use crate::url::RtmpUrl;
use crate::{ErrorKind, StreamKey};
use serde::Serialize;
use std::fmt;
use std::sync::Arc;

/// Which way a relay carries its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RelayDirection {
    /// A local stream is published on a remote server.
    Push,
    /// A remote stream is played and published locally.
    Pull,
}

impl fmt::Display for RelayDirection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Push => "push",
            Self::Pull => "pull",
        })
    }
}

/// Where a relay stands.
///
/// ```text
/// Idle -> Resolving -> Connecting -> Handshaking -> Publishing | Playing <-> Stalled
///  ^          ^                                          |
///  |          +------------- BackingOff <----------------+  (also from every earlier state)
///  +-- local stream ended / nobody watches               +-> Failed (refused for good)
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum RelayState {
    /// Nothing to do: nobody publishes the local stream (push), or nobody watches (pull on demand).
    Idle,
    /// Looking up the host's addresses.
    Resolving,
    /// Opening a connection, address after address; with TLS, its handshake too.
    Connecting,
    /// RTMP handshake and commands, up to the granted `publish` or `play`.
    Handshaking,
    /// Push: the target takes the stream.
    Publishing,
    /// Pull: the upstream sends the stream.
    Playing,
    /// The connection stands but nothing moves; it is given up if that lasts.
    Stalled,
    /// Waiting before the next attempt.
    BackingOff,
    /// Given up for good: the peer refused and [`OnRefusal::Fail`](crate::OnRefusal::Fail) was asked for.
    Failed,
}

impl RelayState {
    /// The state's name as in JSON: `backing-off`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Resolving => "resolving",
            Self::Connecting => "connecting",
            Self::Handshaking => "handshaking",
            Self::Publishing => "publishing",
            Self::Playing => "playing",
            Self::Stalled => "stalled",
            Self::BackingOff => "backing-off",
            Self::Failed => "failed",
        }
    }

    /// Whether the peer has granted `publish` or `play` and the connection stands.
    pub fn is_established(self) -> bool {
        matches!(self, Self::Publishing | Self::Playing | Self::Stalled)
    }
}

impl fmt::Display for RelayState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A relay's present condition. Holds no secret: the URL is masked, errors are cleaned of control characters.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RelayStatus {
    /// The relay.
    pub id: Id,
    /// Push or pull.
    pub direction: RelayDirection,
    /// The local stream.
    pub stream: StreamKey,
    /// The remote stream; serializes and displays masked.
    pub url: Arc<RtmpUrl>,
    /// Where it stands.
    pub state: RelayState,
    /// How long it has been in this state, in milliseconds.
    pub since_ms: u64,
    /// Why the last attempt ended, in words, the peer's own among them; kept until media has flowed again.
    pub last_error: Option<String>,
    /// What kind of failure that was.
    #[serde(serialize_with = "kind_as_text")]
    pub last_error_kind: Option<ErrorKind>,
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
    /// Frames that the target of a push missed because it was too slow, over all connections.
    pub frames_dropped: u64,
    /// Time since the oldest frame came that has not been written to the target of a push, in milliseconds.
    pub queue_ms: u64,
    /// Bytes that have not been written to it, payload bytes as far as they are not in wire form; 0 also without a
    /// connection.
    pub queue_bytes: u64,
    /// Time since the peer granted the stream, in milliseconds; `None` without a connection.
    pub connected_ms: Option<u64>,
    /// Time until the next attempt, in milliseconds, while backing off.
    pub retry_in_ms: Option<u64>,
}

fn kind_as_text<S: serde::Serializer>(kind: &Option<ErrorKind>, serializer: S) -> Result<S::Ok, S::Error> {
    kind.map(ErrorKind::as_str).serialize(serializer)
}
