//! What manages an engine, by the engine itself and by a handle that does not keep it alive.

use super::{Engine, Inner};
use crate::config::{
    Config, FileConfig, OriginConfig, PullConfig, PushConfig, PushTuning, RecordConfig, Reloaded,
};
use crate::id::{FileId, RecordingId, RelayId, SessionId};
use crate::key::StreamKey;
use crate::manage::Manage;
use crate::statistics::{Sample, Snapshot};
use crate::status::{
    EngineStats, FileStatus, ListenerInfo, OriginStatus, RecordedFile, RecordingStatus, RelayStatus,
    SessionInfo, StreamInfo,
};
use crate::{Error, ErrorKind, Result};
use std::sync::{Arc, Weak};

/// A handle to an engine that does not keep it alive; from [`Engine::downgrade`].
///
/// For what lives as long as the engine or longer, such as a task that the engine itself runs. Once the engine is gone
/// its lists are empty, its counters are 0, and its acts fail with [`ErrorKind::Closed`].
#[derive(Clone)]
pub struct WeakEngine {
    inner: Weak<Inner>,
}

impl Engine {
    /// A handle to this engine that does not keep it alive.
    pub fn downgrade(&self) -> WeakEngine {
        WeakEngine { inner: Arc::downgrade(&self.inner) }
    }
}

impl WeakEngine {
    /// The engine, which then lives until this one is dropped too; `None` once it is gone.
    pub fn upgrade(&self) -> Option<Engine> {
        self.inner.upgrade().map(|inner| Engine { inner })
    }

    fn engine(&self) -> Result<Engine> {
        self.upgrade().ok_or_else(|| Error::new(ErrorKind::Closed, "the engine has been stopped"))
    }

    fn list<T: Default>(&self, list: impl FnOnce(&Engine) -> T) -> T {
        self.upgrade().map(|engine| list(&engine)).unwrap_or_default()
    }
}

impl Manage for Engine {
    fn snapshot(&self) -> Arc<Snapshot> {
        Self::snapshot(self)
    }

    fn history(&self) -> Vec<Sample> {
        Self::history(self)
    }

    fn stream_history(&self, key: &StreamKey) -> Option<Vec<Sample>> {
        Self::stream_history(self, key)
    }

    fn stats(&self) -> EngineStats {
        Self::stats(self)
    }

    fn listeners(&self) -> Vec<ListenerInfo> {
        Self::listeners(self)
    }

    fn streams(&self) -> Vec<StreamInfo> {
        Self::streams(self)
    }

    fn stream(&self, key: &StreamKey) -> Option<StreamInfo> {
        Self::stream(self, key)
    }

    fn sessions(&self) -> Vec<SessionInfo> {
        Self::sessions(self)
    }

    fn session(&self, id: SessionId) -> Option<SessionInfo> {
        Self::session(self, id)
    }

    fn relays(&self) -> Vec<RelayStatus> {
        Self::relays(self)
    }

    fn relay(&self, id: RelayId) -> Option<RelayStatus> {
        Self::relay(self, id)
    }

    fn files(&self) -> Vec<FileStatus> {
        Self::files(self)
    }

    fn file(&self, id: FileId) -> Option<FileStatus> {
        Self::file(self, id)
    }

    fn recordings(&self) -> Vec<RecordingStatus> {
        Self::recordings(self)
    }

    fn recording(&self, id: RecordingId) -> Option<RecordingStatus> {
        Self::recording(self, id)
    }

    fn recorded_files(&self, stream: &StreamKey) -> Result<Vec<RecordedFile>> {
        Self::recorded_files(self, stream)
    }

    fn all_recorded_files(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<RecordedFile>, Option<String>)> {
        Self::all_recorded_files(self, after, limit)
    }

    fn origins(&self) -> Vec<OriginStatus> {
        Self::origins(self)
    }

    fn config(&self) -> Config {
        Self::config(self)
    }

    fn reload(&self, config: Config) -> Result<Reloaded> {
        Self::reload(self, config)
    }

    fn set_origin(&self, alias: &str, origin: OriginConfig) -> Result<()> {
        Self::set_origin(self, alias, origin)
    }

    fn remove_origin(&self, alias: &str) -> Result<()> {
        Self::remove_origin(self, alias)
    }

    fn add_push(&self, push: PushConfig) -> Result<RelayId> {
        Self::add_push(self, push)
    }

    fn add_pull(&self, pull: PullConfig) -> Result<RelayId> {
        Self::add_pull(self, pull)
    }

    fn tune_push(&self, id: RelayId, tuning: PushTuning) -> Result<()> {
        Self::tune_push(self, id, tuning)
    }

    fn remove_relay(&self, id: RelayId) -> Result<()> {
        Self::remove_relay(self, id)
    }

    fn restart_relay(&self, id: RelayId) -> Result<()> {
        Self::restart_relay(self, id)
    }

    fn loop_file(&self, file: FileConfig) -> Result<FileId> {
        Self::loop_file(self, file)
    }

    fn replace_file(&self, id: FileId, file: FileConfig) -> Result<FileId> {
        Self::replace_file(self, id, file)
    }

    fn stop_file(&self, id: FileId) -> Result<()> {
        Self::stop_file(self, id)
    }

    fn record(&self, stream: &StreamKey) -> Result<RecordingId> {
        Self::record(self, stream)
    }

    fn record_with(&self, stream: &StreamKey, config: &RecordConfig) -> Result<RecordingId> {
        Self::record_with(self, stream, config)
    }

    fn stop_recording(&self, id: RecordingId) -> Result<()> {
        Self::stop_recording(self, id)
    }

    fn kick(&self, session: SessionId, reason: &str) -> Result<()> {
        Self::kick(self, session, reason)
    }

    fn request_reconnect(&self, session: SessionId, url: Option<&str>) -> Result<()> {
        Self::request_reconnect(self, session, url)
    }

    fn redirect(&self, session: SessionId, stream: &StreamKey) -> Result<()> {
        Self::redirect(self, session, stream)
    }

    fn kick_stream(&self, key: &StreamKey, reason: &str) -> Result<()> {
        Self::kick_stream(self, key, reason)
    }

    fn kick_publisher(&self, key: &StreamKey, reason: &str) -> Result<()> {
        Self::kick_publisher(self, key, reason)
    }

    fn kick_players(&self, key: &StreamKey, reason: &str) -> Result<usize> {
        Self::kick_players(self, key, reason)
    }
}

impl Manage for WeakEngine {
    fn snapshot(&self) -> Arc<Snapshot> {
        self.list(Engine::snapshot)
    }

    fn history(&self) -> Vec<Sample> {
        self.list(Engine::history)
    }

    fn stream_history(&self, key: &StreamKey) -> Option<Vec<Sample>> {
        self.list(|engine| engine.stream_history(key))
    }

    fn stats(&self) -> EngineStats {
        self.list(Engine::stats)
    }

    fn listeners(&self) -> Vec<ListenerInfo> {
        self.list(Engine::listeners)
    }

    fn streams(&self) -> Vec<StreamInfo> {
        self.list(Engine::streams)
    }

    fn stream(&self, key: &StreamKey) -> Option<StreamInfo> {
        self.list(|engine| engine.stream(key))
    }

    fn sessions(&self) -> Vec<SessionInfo> {
        self.list(Engine::sessions)
    }

    fn session(&self, id: SessionId) -> Option<SessionInfo> {
        self.list(|engine| engine.session(id))
    }

    fn relays(&self) -> Vec<RelayStatus> {
        self.list(Engine::relays)
    }

    fn relay(&self, id: RelayId) -> Option<RelayStatus> {
        self.list(|engine| engine.relay(id))
    }

    fn files(&self) -> Vec<FileStatus> {
        self.list(Engine::files)
    }

    fn file(&self, id: FileId) -> Option<FileStatus> {
        self.list(|engine| engine.file(id))
    }

    fn recordings(&self) -> Vec<RecordingStatus> {
        self.list(Engine::recordings)
    }

    fn recording(&self, id: RecordingId) -> Option<RecordingStatus> {
        self.list(|engine| engine.recording(id))
    }

    fn recorded_files(&self, stream: &StreamKey) -> Result<Vec<RecordedFile>> {
        self.engine()?.recorded_files(stream)
    }

    fn all_recorded_files(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<RecordedFile>, Option<String>)> {
        self.engine()?.all_recorded_files(after, limit)
    }

    fn origins(&self) -> Vec<OriginStatus> {
        self.list(Engine::origins)
    }

    fn config(&self) -> Config {
        self.list(Engine::config)
    }

    fn reload(&self, config: Config) -> Result<Reloaded> {
        self.engine()?.reload(config)
    }

    fn set_origin(&self, alias: &str, origin: OriginConfig) -> Result<()> {
        self.engine()?.set_origin(alias, origin)
    }

    fn remove_origin(&self, alias: &str) -> Result<()> {
        self.engine()?.remove_origin(alias)
    }

    fn add_push(&self, push: PushConfig) -> Result<RelayId> {
        self.engine()?.add_push(push)
    }

    fn add_pull(&self, pull: PullConfig) -> Result<RelayId> {
        self.engine()?.add_pull(pull)
    }

    fn tune_push(&self, id: RelayId, tuning: PushTuning) -> Result<()> {
        self.engine()?.tune_push(id, tuning)
    }

    fn remove_relay(&self, id: RelayId) -> Result<()> {
        self.engine()?.remove_relay(id)
    }

    fn restart_relay(&self, id: RelayId) -> Result<()> {
        self.engine()?.restart_relay(id)
    }

    fn loop_file(&self, file: FileConfig) -> Result<FileId> {
        self.engine()?.loop_file(file)
    }

    fn replace_file(&self, id: FileId, file: FileConfig) -> Result<FileId> {
        self.engine()?.replace_file(id, file)
    }

    fn stop_file(&self, id: FileId) -> Result<()> {
        self.engine()?.stop_file(id)
    }

    fn record(&self, stream: &StreamKey) -> Result<RecordingId> {
        self.engine()?.record(stream)
    }

    fn record_with(&self, stream: &StreamKey, config: &RecordConfig) -> Result<RecordingId> {
        self.engine()?.record_with(stream, config)
    }

    fn stop_recording(&self, id: RecordingId) -> Result<()> {
        self.engine()?.stop_recording(id)
    }

    fn kick(&self, session: SessionId, reason: &str) -> Result<()> {
        self.engine()?.kick(session, reason)
    }

    fn request_reconnect(&self, session: SessionId, url: Option<&str>) -> Result<()> {
        self.engine()?.request_reconnect(session, url)
    }

    fn redirect(&self, session: SessionId, stream: &StreamKey) -> Result<()> {
        self.engine()?.redirect(session, stream)
    }

    fn kick_stream(&self, key: &StreamKey, reason: &str) -> Result<()> {
        self.engine()?.kick_stream(key, reason)
    }

    fn kick_publisher(&self, key: &StreamKey, reason: &str) -> Result<()> {
        self.engine()?.kick_publisher(key, reason)
    }

    fn kick_players(&self, key: &StreamKey, reason: &str) -> Result<usize> {
        self.engine()?.kick_players(key, reason)
    }
}
