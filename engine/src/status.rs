//! What is told of an engine: states, facts and counters at one moment.

use crate::ErrorKind;
use crate::id::{FileId, ListenerId, RecordingId, RelayId, SessionId};
use crate::key::StreamKey;
use crate::limits::{as_ms, as_ms_or_none};
use crate::media::Frame;
use crate::media::flv::Codec;
use crate::url::{OriginUrl, RemoteUrl};
use serde::Serialize;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What is spoken on a listener or connection. Its name is also the scheme of URLs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(feature = "http", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Protocol {
    /// RTMP.
    Rtmp,
    /// RTMP over TLS.
    Rtmps,
    /// HTTP, WebSocket included.
    Http,
    /// HTTP over TLS, WebSocket included.
    Https,
}

impl Protocol {
    /// Whether it is encrypted.
    pub fn is_tls(self) -> bool {
        match self {
            Self::Rtmp | Self::Http => false,
            Self::Rtmps | Self::Https => true,
        }
    }
}

named!(Protocol { Rtmp => "rtmp", Rtmps => "rtmps", Http => "http", Https => "https" });

/// The service by which a request comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(feature = "http", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Door {
    /// A connection that speaks RTMP.
    Rtmp,
    /// A player that gets FLV in the reply to an HTTP request.
    HttpFlv,
    /// A player that gets MP4 in the reply to an HTTP request.
    HttpMp4,
    /// A player that gets FLV or MP4 in the messages of a WebSocket.
    #[serde(rename = "websocket")]
    WebSocket,
    /// A player that asks for playlists and segments of HLS.
    Hls,
    /// Somebody who asks for recordings of a stream.
    Recording,
}

named!(Door {
    Rtmp => "rtmp", HttpFlv => "http-flv", HttpMp4 => "http-mp4", WebSocket => "websocket", Hls => "hls",
    Recording => "recording",
});

/// An open listener.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "http", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct ListenerInfo {
    /// The listener.
    pub id: ListenerId,
    /// What is spoken on it.
    pub protocol: Protocol,
    /// The address really bound.
    #[cfg_attr(feature = "http", schemars(with = "String"))]
    pub address: SocketAddr,
}

/// An engine's counters at one moment.
#[derive(Debug, Clone, Default, Serialize)]
#[cfg_attr(feature = "http", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct EngineStats {
    /// Time since the start.
    #[serde(rename = "uptime_ms", serialize_with = "as_ms")]
    #[cfg_attr(feature = "http", schemars(with = "u64"))]
    pub uptime: Duration,
    /// Connections accepted since the start.
    pub connections_accepted: u64,
    /// Connections turned away since the start, because too many had not published or played yet.
    pub connections_rejected: u64,
    /// Connections at present.
    pub connections: usize,
    /// Of these, publishers.
    pub publishers: usize,
    /// Of these, players.
    pub players: usize,
    /// Streams that have a publisher.
    pub streams_live: usize,
    /// Bytes received on all connections that were accepted.
    pub bytes_in: u64,
    /// Bytes sent on them.
    pub bytes_out: u64,
    /// Bytes in all rings.
    pub ring_bytes: usize,
    /// Tasks that panicked: each cost one connection, relay attempt or file job, and each is a bug to report.
    pub panics: u64,
}

/// Where a stream is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "http", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum StreamState {
    /// Subscribers wait; nobody has published yet.
    Idle,
    /// It has a publisher.
    Live,
    /// The publisher was lost and may return within the resume window.
    Away,
    /// It is over.
    Ended,
}

named!(StreamState { Idle => "idle", Live => "live", Away => "away", Ended => "ended" });

/// Facts and counters of one stream at one moment.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "http", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct StreamInfo {
    /// The name.
    pub key: StreamKey,
    /// Where it is in its life.
    pub state: StreamState,
    /// Time since the first publisher of this stream was let in.
    #[serde(rename = "uptime_ms", serialize_with = "as_ms")]
    #[cfg_attr(feature = "http", schemars(with = "u64"))]
    pub uptime: Duration,
    /// Who publishes, while there is a publisher.
    pub publisher: Option<String>,
    /// Subscribers at present, relay pushes included.
    pub subscribers: usize,
    /// Payload bytes received, all frames.
    pub bytes_in: u64,
    /// Bytes put on their way to players and push targets, in their wire form; of HLS what was loaded.
    pub bytes_out: u64,
    /// Of the bytes received, those of audio.
    pub audio_bytes: u64,
    /// Of the bytes received, those of video.
    pub video_bytes: u64,
    /// The codec of the main audio track.
    #[serde(serialize_with = "codec_as_text")]
    #[cfg_attr(feature = "http", schemars(with = "Option<String>"))]
    pub audio_codec: Option<Codec>,
    /// The codec of the main video track.
    #[serde(serialize_with = "codec_as_text")]
    #[cfg_attr(feature = "http", schemars(with = "Option<String>"))]
    pub video_codec: Option<Codec>,
    /// Newest audio minus newest video of the main tracks, in milliseconds of stream time.
    pub skew_ms: Option<i64>,
    /// Audio frames received, configuration not counted.
    pub audio_frames: u64,
    /// Video frames received, configuration not counted.
    pub video_frames: u64,
    /// Keyframes received.
    pub keyframes: u64,
    /// Stream time of the newest frame in milliseconds.
    pub timestamp: Option<i64>,
    /// Times that the time stamps of a publisher have gone back, or ahead by more than a second.
    pub time_jumps: u64,
    /// Times a publisher was replaced or returned within the resume window.
    pub resumes: u64,
    /// Times a subscriber fell off the ring, or behind what the publisher allows, and jumped to a keyframe.
    pub lags: u64,
    /// Frames that subscribers missed by those jumps.
    pub frames_skipped: u64,
    /// Frames in the ring.
    pub ring_frames: usize,
    /// Bytes in the ring, a fixed overhead per frame included.
    pub ring_bytes: usize,
    /// Of these, payload bytes from the newest keyframe on: what a joining player gets first.
    pub gop_bytes: u64,
    /// Time since the newest frame of audio or video that was not empty.
    #[serde(rename = "silence_ms", serialize_with = "as_ms_or_none")]
    #[cfg_attr(feature = "http", schemars(with = "Option<u64>"))]
    pub silence: Option<Duration>,
    /// Decoder configuration frames and metadata in force.
    #[serde(skip)]
    pub config: Vec<Frame>,
}

fn codec_as_text<S: serde::Serializer>(codec: &Option<Codec>, serializer: S) -> Result<S::Ok, S::Error> {
    codec.map(|codec| codec.to_string()).serialize(serializer)
}

/// What a connection does with a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "http", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum SessionRole {
    /// It has not been granted anything yet.
    Pending,
    /// It publishes.
    Publisher,
    /// It plays.
    Player,
}

named!(SessionRole { Pending => "pending", Publisher => "publisher", Player => "player" });

/// Facts and counters of one connection at one moment.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "http", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct SessionInfo {
    /// The session.
    pub id: SessionId,
    /// Its peer.
    #[cfg_attr(feature = "http", schemars(with = "String"))]
    pub peer: SocketAddr,
    /// The service that it has come to.
    pub door: Door,
    /// Whether it is encrypted.
    pub tls: bool,
    /// What it does; the latest granted request decides.
    pub role: SessionRole,
    /// The stream of that request.
    pub stream: Option<StreamKey>,
    /// The software that the peer claims to be (`flashVer` of `connect`, `User-Agent` of HTTP).
    pub agent: Option<String>,
    /// The page that the peer says it is on (`pageUrl` of `connect`, `Referer` of HTTP), without a query.
    pub page: Option<String>,
    /// The player that it says it is (`swfUrl` of `connect`), likewise.
    pub swf: Option<String>,
    /// Time since it was accepted.
    #[serde(rename = "uptime_ms", serialize_with = "as_ms")]
    #[cfg_attr(feature = "http", schemars(with = "u64"))]
    pub uptime: Duration,
    /// Bytes received, handshake and chunk headers included.
    pub bytes_in: u64,
    /// Bytes sent, likewise.
    pub bytes_out: u64,
    /// For a player: time since the oldest frame came that has not been written yet.
    #[serde(rename = "queue_ms", serialize_with = "as_ms")]
    #[cfg_attr(feature = "http", schemars(with = "u64"))]
    pub queue: Duration,
    /// For a player: bytes that it has yet to get, payload bytes as far as they are not in wire form.
    pub queue_bytes: u64,
    /// For a player: whether everything that has come is written.
    pub is_caught_up: bool,
    /// For a player: frames that it missed because it was too slow.
    pub frames_dropped: u64,
    /// For a player: stream time of the newest frame that was put on its way to it.
    pub timestamp: Option<i64>,
    /// For a player: newest audio minus newest video that was put on its way to it, in milliseconds.
    pub skew_ms: Option<i64>,
    /// Time that the newest ping took there and back; `None` before the first answer.
    #[serde(rename = "rtt_ms", serialize_with = "as_ms_or_none")]
    #[cfg_attr(feature = "http", schemars(with = "Option<u64>"))]
    pub rtt: Option<Duration>,
}

/// Which way a relay carries its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(feature = "http", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum RelayDirection {
    /// A local stream is published on a remote server.
    Push,
    /// A remote stream is played and published locally.
    Pull,
}

named!(RelayDirection { Push => "push", Pull => "pull" });

/// Where a relay stands.
///
/// ```text
/// Idle -> Resolving -> Connecting -> Handshaking -> Publishing | Playing <-> Stalled
///  ^          ^                                          |
///  |          +------------- BackingOff <----------------+  (also from every earlier state)
///  +-- local stream ended / nobody watches               +-> Failed (refused for good)
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(feature = "http", derive(schemars::JsonSchema))]
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
    /// Whether the peer has granted `publish` or `play` and the connection stands.
    pub fn is_established(self) -> bool {
        matches!(self, Self::Publishing | Self::Playing | Self::Stalled)
    }
}

named!(RelayState {
    Idle => "idle",
    Resolving => "resolving",
    Connecting => "connecting",
    Handshaking => "handshaking",
    Publishing => "publishing",
    Playing => "playing",
    Stalled => "stalled",
    BackingOff => "backing-off",
    Failed => "failed",
});

/// A relay's present condition. Holds no secret: the URL is masked, errors are cleaned of control characters.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "http", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct RelayStatus {
    /// The relay.
    pub id: RelayId,
    /// Push or pull.
    pub direction: RelayDirection,
    /// The local stream.
    pub stream: StreamKey,
    /// The remote stream; serializes and displays masked.
    #[cfg_attr(feature = "http", schemars(with = "String"))]
    pub url: Arc<RemoteUrl>,
    /// Where it stands.
    pub state: RelayState,
    /// How long it has been in this state.
    #[serde(rename = "since_ms", serialize_with = "as_ms")]
    #[cfg_attr(feature = "http", schemars(with = "u64"))]
    pub since: Duration,
    /// Why the last attempt ended, in words, the peer's own among them; kept until media has flowed again.
    pub last_error: Option<String>,
    /// What kind of failure that was.
    #[serde(serialize_with = "kind_as_text")]
    #[cfg_attr(feature = "http", schemars(with = "Option<String>"))]
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
    /// Time since the oldest frame came that has not been written to the target of a push.
    #[serde(rename = "queue_ms", serialize_with = "as_ms")]
    #[cfg_attr(feature = "http", schemars(with = "u64"))]
    pub queue: Duration,
    /// Bytes that have not been written to it, payload bytes as far as they are not in wire form; 0 also without a
    /// connection.
    pub queue_bytes: u64,
    /// Time since the peer granted the stream; `None` without a connection.
    #[serde(rename = "connected_ms", serialize_with = "as_ms_or_none")]
    #[cfg_attr(feature = "http", schemars(with = "Option<u64>"))]
    pub connected: Option<Duration>,
    /// Time until the next attempt, while backing off.
    #[serde(rename = "retry_in_ms", serialize_with = "as_ms_or_none")]
    #[cfg_attr(feature = "http", schemars(with = "Option<u64>"))]
    pub retry_in: Option<Duration>,
}

/// Origins under one alias, and the streams that are fetched from them.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "http", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct OriginStatus {
    /// The alias.
    pub alias: String,
    /// The servers, in the order in which they are asked; masked.
    #[cfg_attr(feature = "http", schemars(with = "Vec<String>"))]
    pub urls: Vec<OriginUrl>,
    /// What is fetched, or asked for, at this moment.
    pub streams: Vec<OriginStreamStatus>,
}

/// A stream that is fetched from an origin, or asked for.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "http", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct OriginStreamStatus {
    /// The local name, `origin/ALIAS/APP/STREAM`.
    pub stream: StreamKey,
    /// The server that it comes from, or that is asked now, masked; `None` between two rounds.
    #[cfg_attr(feature = "http", schemars(with = "Option<String>"))]
    pub url: Option<Arc<RemoteUrl>>,
    /// Whether its first frame has come.
    pub is_live: bool,
    /// How often players were taken from one server to another.
    pub moves: u64,
    /// Why the last attempt at a server ended, in words.
    pub last_error: Option<String>,
    /// Bytes read from all servers.
    pub bytes_received: u64,
}

fn kind_as_text<S: serde::Serializer>(kind: &Option<ErrorKind>, serializer: S) -> Result<S::Ok, S::Error> {
    kind.map(ErrorKind::as_str).serialize(serializer)
}

/// Where a file job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(feature = "http", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum FileState {
    /// It plays.
    Playing,
    /// All loops have been played, and the stream has ended.
    Finished,
    /// It was asked to stop; the stream has ended.
    Stopped,
    /// It had to end; [`FileStatus::error`] says why.
    Failed,
}

named!(FileState {
    Playing => "playing",
    Finished => "finished",
    Stopped => "stopped",
    Failed => "failed",
});

/// State and progress of one file job.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "http", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct FileStatus {
    /// The job.
    pub id: FileId,
    /// The local stream.
    pub stream: StreamKey,
    /// Where it stands.
    pub state: FileState,
    /// The file that is played; one that is read ahead counts for the last frames before it.
    pub file: String,
    /// Loops finished, a loop being all files once.
    pub loops_done: u64,
    /// Media time sent since the start, over all loops.
    #[serde(rename = "position_ms", serialize_with = "as_ms")]
    #[cfg_attr(feature = "http", schemars(with = "u64"))]
    pub position: Duration,
    /// Media messages sent.
    pub frames: u64,
    /// Why it failed, where it has, of a malformed file with the byte position; while it plays, why it waits for the file,
    /// which is gone or being written.
    pub error: Option<String>,
}

/// Where a recording stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(feature = "http", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum RecordingState {
    /// Nobody publishes the stream.
    Idle,
    /// It is written.
    Recording,
    /// The disk has less left than it has to have; it is looked at again every 10 s.
    DiskFull,
    /// It cannot be written, as [`RecordingStatus::error`] says; it is tried again every 10 s.
    Failed,
    /// It is over.
    Stopped,
}

named!(RecordingState {
    Idle => "idle",
    Recording => "recording",
    DiskFull => "disk-full",
    Failed => "failed",
    Stopped => "stopped",
});

/// State and progress of one recording.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "http", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct RecordingStatus {
    /// The recording.
    pub id: RecordingId,
    /// The stream.
    pub stream: StreamKey,
    /// Where it stands.
    pub state: RecordingState,
    /// The file that is being written; it has `.part` behind its name until it is whole.
    pub file: Option<PathBuf>,
    /// Files that are whole.
    pub files: u64,
    /// Bytes written, over all files.
    pub bytes: u64,
    /// How long what was recorded lasts, over all files.
    #[serde(rename = "length_ms", serialize_with = "as_ms")]
    #[cfg_attr(feature = "http", schemars(with = "u64"))]
    pub length: Duration,
    /// Frames that were left out, because the disk was too slow, or full, or there was none.
    pub frames_dropped: u64,
    /// Why it is not written, where it is not.
    pub error: Option<String>,
}

/// A file of a recording.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "http", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct RecordedFile {
    /// The recording that has written it; `None` in lists of files.
    pub recording: Option<RecordingId>,
    /// The stream.
    pub stream: StreamKey,
    /// Where it is.
    pub path: PathBuf,
    /// When it began, in seconds since 1970.
    pub start: u64,
    /// Its bytes.
    pub bytes: u64,
    /// How long it lasts; `None` where that is not known yet.
    #[serde(rename = "length_ms", serialize_with = "as_ms_or_none")]
    #[cfg_attr(feature = "http", schemars(with = "Option<u64>"))]
    pub length: Option<Duration>,
    /// Whether it is being written.
    pub is_growing: bool,
}
