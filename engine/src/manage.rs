//! What may be done to a running engine by those who manage it, such as an API or a dashboard.

use crate::Result;
use crate::config::{
    Config, FileConfig, OriginConfig, PullConfig, PushConfig, PushTuning, RecordConfig, Reloaded,
};
use crate::id::{FileId, RecordingId, RelayId, SessionId};
use crate::key::StreamKey;
use crate::statistics::{Sample, Snapshot};
use crate::status::{
    EngineStats, FileStatus, ListenerInfo, OriginStatus, RecordedFile, RecordingStatus, RelayStatus,
    SessionInfo, StreamInfo,
};
use std::sync::Arc;

/// What may be done to a running engine: [`Engine`](crate::Engine) and [`WeakEngine`](crate::WeakEngine) do it, as their
/// methods of the same names say.
///
/// What manages engines is written against `&dyn Manage` or `Arc<dyn Manage>`. What the engine itself runs holds a
/// `WeakEngine`: with an engine in its hands it would keep that alive for ever.
pub trait Manage: Send + Sync {
    /// The whole engine as it was at the newest second.
    fn snapshot(&self) -> Arc<Snapshot>;

    /// What the engine did in each of the last 600 seconds, the oldest first.
    fn history(&self) -> Vec<Sample>;

    /// The same of a stream; `None` where nothing is known of one of that name.
    fn stream_history(&self, key: &StreamKey) -> Option<Vec<Sample>>;

    /// Counters of the whole engine.
    fn stats(&self) -> EngineStats;

    /// The open listeners.
    fn listeners(&self) -> Vec<ListenerInfo>;

    /// All streams, by name.
    fn streams(&self) -> Vec<StreamInfo>;

    /// One stream; `None` where there is none of that name.
    fn stream(&self, key: &StreamKey) -> Option<StreamInfo>;

    /// All connections.
    fn sessions(&self) -> Vec<SessionInfo>;

    /// One connection; `None` where there is none of that id.
    fn session(&self, id: SessionId) -> Option<SessionInfo>;

    /// State and counters of all relays.
    fn relays(&self) -> Vec<RelayStatus>;

    /// State and counters of one relay; `None` where there is none of that id.
    fn relay(&self, id: RelayId) -> Option<RelayStatus>;

    /// State and progress of all file jobs.
    fn files(&self) -> Vec<FileStatus>;

    /// State and progress of one file job; `None` where there is none of that id.
    fn file(&self, id: FileId) -> Option<FileStatus>;

    /// State and progress of all recordings.
    fn recordings(&self) -> Vec<RecordingStatus>;

    /// State and progress of one recording; `None` where there is none of that id.
    fn recording(&self, id: RecordingId) -> Option<RecordingStatus>;

    /// The recorded files of a stream.
    ///
    /// # Errors
    /// As [`Engine::recorded_files`](crate::Engine::recorded_files).
    fn recorded_files(&self, stream: &StreamKey) -> Result<Vec<RecordedFile>>;

    /// Recorded files of all streams, the newest first, and behind which there are more.
    ///
    /// # Errors
    /// As [`Engine::all_recorded_files`](crate::Engine::all_recorded_files).
    fn all_recorded_files(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<RecordedFile>, Option<String>)>;

    /// All origins, by alias.
    fn origins(&self) -> Vec<OriginStatus>;

    /// The configuration in force.
    fn config(&self) -> Config;

    /// Takes another configuration, and does what is different.
    ///
    /// # Errors
    /// As [`Engine::reload`](crate::Engine::reload).
    fn reload(&self, config: Config) -> Result<Reloaded>;

    /// Pushes a local stream to another server.
    ///
    /// # Errors
    /// As [`Engine::add_push`](crate::Engine::add_push).
    fn add_push(&self, push: PushConfig) -> Result<RelayId>;

    /// Fetches a stream from another server into a local name.
    ///
    /// # Errors
    /// As [`Engine::add_pull`](crate::Engine::add_pull).
    fn add_pull(&self, pull: PullConfig) -> Result<RelayId>;

    /// Changes how a relay push connects, waits and leaves.
    ///
    /// # Errors
    /// As [`Engine::tune_push`](crate::Engine::tune_push).
    fn tune_push(&self, id: RelayId, tuning: PushTuning) -> Result<()>;

    /// Ends a relay.
    ///
    /// # Errors
    /// As [`Engine::remove_relay`](crate::Engine::remove_relay).
    fn remove_relay(&self, id: RelayId) -> Result<()>;

    /// Makes a relay try again at once.
    ///
    /// # Errors
    /// As [`Engine::restart_relay`](crate::Engine::restart_relay).
    fn restart_relay(&self, id: RelayId) -> Result<()>;

    /// Names servers by an alias, or changes which they are.
    ///
    /// # Errors
    /// As [`Engine::set_origin`](crate::Engine::set_origin).
    fn set_origin(&self, alias: &str, origin: OriginConfig) -> Result<()>;

    /// Removes an alias.
    ///
    /// # Errors
    /// As [`Engine::remove_origin`](crate::Engine::remove_origin).
    fn remove_origin(&self, alias: &str) -> Result<()>;

    /// Plays media files, FLV or MP4, as a live stream; reads them through once before it returns.
    ///
    /// # Errors
    /// As [`Engine::loop_file`](crate::Engine::loop_file).
    fn loop_file(&self, file: FileConfig) -> Result<FileId>;

    /// Plays other files in place of those of a job.
    ///
    /// # Errors
    /// As [`Engine::replace_file`](crate::Engine::replace_file).
    fn replace_file(&self, id: FileId, file: FileConfig) -> Result<FileId>;

    /// Ends a file job and its stream.
    ///
    /// # Errors
    /// As [`Engine::stop_file`](crate::Engine::stop_file).
    fn stop_file(&self, id: FileId) -> Result<()>;

    /// Records a stream as its app's configuration says.
    ///
    /// # Errors
    /// As [`Engine::record`](crate::Engine::record).
    fn record(&self, stream: &StreamKey) -> Result<RecordingId>;

    /// The same with a configuration of its own, whatever the app's says.
    ///
    /// # Errors
    /// As [`Engine::record_with`](crate::Engine::record_with).
    fn record_with(&self, stream: &StreamKey, config: &RecordConfig) -> Result<RecordingId>;

    /// Ends a recording; its file becomes whole.
    ///
    /// # Errors
    /// As [`Engine::stop_recording`](crate::Engine::stop_recording).
    fn stop_recording(&self, id: RecordingId) -> Result<()>;

    /// Ends a connection.
    ///
    /// # Errors
    /// As [`Engine::kick`](crate::Engine::kick).
    fn kick(&self, session: SessionId, reason: &str) -> Result<()>;

    /// Asks the peer of a connection to connect anew.
    ///
    /// # Errors
    /// As [`Engine::request_reconnect`](crate::Engine::request_reconnect).
    fn request_reconnect(&self, session: SessionId, url: Option<&str>) -> Result<()>;

    /// Has a connection that plays by RTMP go on with another stream.
    ///
    /// # Errors
    /// As [`Engine::redirect`](crate::Engine::redirect).
    fn redirect(&self, session: SessionId, stream: &StreamKey) -> Result<()>;

    /// Ends a stream.
    ///
    /// # Errors
    /// As [`Engine::kick_stream`](crate::Engine::kick_stream).
    fn kick_stream(&self, key: &StreamKey, reason: &str) -> Result<()>;

    /// Takes the right to publish a stream away from whoever has it.
    ///
    /// # Errors
    /// As [`Engine::kick_publisher`](crate::Engine::kick_publisher).
    fn kick_publisher(&self, key: &StreamKey, reason: &str) -> Result<()>;

    /// Ends the connections that play a stream; how many there were.
    ///
    /// # Errors
    /// As [`Engine::kick_players`](crate::Engine::kick_players).
    fn kick_players(&self, key: &StreamKey, reason: &str) -> Result<usize>;
}
