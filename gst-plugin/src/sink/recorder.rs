//! The recording of the stream: from its first frame to its end, as files that the engine writes.

use crate::time::clock_time;
use parking_lot::Mutex;
use std::time::Duration;
use streamengine::{
    Engine, Error, RecordConfig, RecordedFile, RecordingId, RecordingState, RecordingStatus, StreamKey,
};

/// The recording of an element, if it has one.
#[derive(Default)]
pub(super) struct Recorder {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What goes on, and where.
    running: Option<(Engine, RecordingId)>,
    /// The fault that was told last, while it lasts.
    told: Option<(RecordingState, Option<String>)>,
}

impl Recorder {
    /// Records from now on, as `config` says; the file of a recording before becomes whole in its own time.
    ///
    /// # Errors
    /// The engine does not take the configuration.
    pub(super) fn start(&self, engine: &Engine, key: &StreamKey, config: &RecordConfig) -> Result<(), Error> {
        self.stop();
        let id = engine.record_with(key, config)?;
        self.state.lock().running = Some((engine.clone(), id));
        Ok(())
    }

    /// Records no longer. Nothing is waited for.
    pub(super) fn stop(&self) {
        let state = std::mem::take(&mut *self.state.lock());
        if let Some((engine, id)) = state.running {
            // It can only be gone already.
            let _ = engine.stop_recording(id);
        }
    }

    /// Ends the file that is being written, and waits until it is whole, but no longer than `within`. Not on an async worker.
    ///
    /// # Errors
    /// [`streamengine::ErrorKind::Timeout`] where the disk takes longer.
    pub(super) fn cut(&self, within: Duration) -> Result<(), Error> {
        match self.running() {
            Some((engine, id)) => engine.block_on(engine.cut_recording(id, within)),
            None => Ok(()),
        }
    }

    fn running(&self) -> Option<(Engine, RecordingId)> {
        self.state.lock().running.clone()
    }

    /// Whether there is one that has to be ended.
    pub(super) fn is_running(&self) -> bool {
        self.state.lock().running.is_some()
    }

    /// Where it stands, for statistics.
    pub(super) fn stats(&self) -> Option<gst::Structure> {
        let (engine, id) = self.running()?;
        engine.recording(id).map(|status| info(&status))
    }

    /// Takes what is told of it; the warning, where it cannot be written and that has not been said.
    pub(super) fn on_status(&self, status: &RecordingStatus) -> Option<(gst::ResourceError, String)> {
        let code = match status.state {
            RecordingState::DiskFull => Some(gst::ResourceError::NoSpaceLeft),
            RecordingState::Failed => Some(gst::ResourceError::Write),
            _ => None,
        };
        let now = code.map(|_| (status.state, status.error.clone()));
        let before = std::mem::replace(&mut self.state.lock().told, now.clone());
        let cause = status.error.as_deref().unwrap_or_default();
        let text = format!("recording stands still, and is tried again; the stream goes on: {cause}");
        code.filter(|_| before != now).map(|code| (code, text))
    }
}

/// What is told of a recording when its state or file changes.
pub(super) fn info(status: &RecordingStatus) -> gst::Structure {
    let mut info = gst::Structure::builder("rtmprelaysink-recording")
        .field("state", status.state.as_str())
        .field("files", status.files)
        .field("bytes", status.bytes)
        .field("duration", clock_time(status.length))
        .field("dropped", status.frames_dropped)
        .build();
    if let Some(file) = &status.file {
        info.set("location", file.display().to_string());
    }
    if let Some(error) = &status.error {
        info.set("error", error);
    }
    info
}

/// What is told of a file that is whole.
pub(super) fn file_info(file: &RecordedFile) -> gst::Structure {
    let mut info = gst::Structure::builder("rtmprelaysink-recorded")
        .field("location", file.path.display().to_string())
        .field("bytes", file.bytes)
        .build();
    if let Some(length) = file.length {
        info.set("duration", clock_time(length));
    }
    info
}
