//! Media files as live streams, paced in real time.
//!
//! ```text
//!   blocking thread: Loop ──batch──> task: sleep until start + due ──> Published ──> hub
//! ```
//!
//! Every frame waits for its own instant after one common start, so waits do not add up to drift. While one batch
//! is played the next one is read; no thread is held between reads.

use crate::config::{FileConfig, PublisherConfig};
use crate::events::Event;
use crate::id::FileId;
use crate::key::StreamKey;
use crate::media::looping::{Clip, Loop, Repeat, TimedFrame};
use crate::policy::Takeover;
use crate::service::Core;
use crate::service::jobs::{self, Job, Jobs};
use crate::service::streams::Published;
use crate::status::{FileState, FileStatus};
use crate::{Error, ErrorKind, Result};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

/// Frames and bytes of one read; two batches are in memory at a time.
const BATCH_FRAMES: usize = 64;
const BATCH_BYTES: usize = 256 * 1024;

bound! {
    /// Lateness (a disk that hangs, a process that was stopped) after which the schedule moves instead of frames being
    /// sent in a burst to catch up (test `after_a_long_standstill_the_schedule_moves_and_nothing_is_sent_in_a_burst`).
    const MAX_LATE: Duration = Duration::from_secs(2), without Duration::from_secs(1 << 30);
    /// Time between two looks at a file that cannot be played any more, or is being written
    /// (test `a_file_that_is_away_is_looked_for_once_a_second_at_most`).
    const LOOK_AGAIN: Duration = Duration::from_secs(1), without Duration::ZERO;
    /// How long a job that has an end waits for such a file; one that plays for ever waits for ever
    /// (test `a_file_that_stays_away_ends_a_job_with_an_end_after_a_minute_and_no_endless_one`).
    const MAX_TROUBLE: Duration = Duration::from_secs(60), without Duration::from_secs(1 << 30);
}

/// All file jobs of one engine.
pub(crate) struct FileJobs {
    jobs: Jobs<FileJob>,
}

impl FileJobs {
    /// Jobs that run on `runtime`; their owner may call from any thread.
    pub(crate) fn new(core: Arc<Core>, runtime: Handle) -> Self {
        Self { jobs: Jobs::new(core, runtime) }
    }

    /// Plays files as the configuration says. Reads them through before it returns, but for what is long of them.
    pub(crate) fn play(&self, config: FileConfig) -> Result<FileId> {
        self.play_opened(OpenedFiles::new(config)?)
    }

    /// Plays clips, which may lie in memory, as `stream`. Errors: of [`Loop::open`], and where the name is taken.
    pub(crate) fn play_clips(&self, stream: &StreamKey, clips: Vec<Clip>, repeat: Repeat) -> Result<FileId> {
        self.play_opened(OpenedFiles::of_clips(stream, clips, repeat)?)
    }

    fn play_opened(&self, files: OpenedFiles) -> Result<FileId> {
        let publisher = self.take_name(&files)?;
        Ok(self.begin(files, publisher))
    }

    /// Takes the right to publish what these files are to play as.
    pub(crate) fn take_name(&self, files: &OpenedFiles) -> Result<Published> {
        self.publish(files, &PublisherConfig::default())
    }

    fn publish(&self, files: &OpenedFiles, wishes: &PublisherConfig) -> Result<Published> {
        let source = format!("file {}", files.name());
        Published::by_engine(self.jobs.core(), &files.stream, &source, &[], wishes)
    }

    /// Plays files in place of those of a job, which ends: players of the stream stay.
    pub(crate) fn play_instead(&self, id: FileId, files: OpenedFiles) -> Result<FileId> {
        if let Ok(job) = self.jobs.get(id) {
            job.is_replaced.store(true, Ordering::Relaxed);
        }
        let publisher = self.publish(&files, &PublisherConfig::default().takeover(Takeover::Replace))?;
        // It may have been stopped before.
        let _ = self.jobs.remove(id);
        Ok(self.begin(files, publisher))
    }

    /// Begins to play.
    pub(crate) fn begin(&self, files: OpenedFiles, publisher: Published) -> FileId {
        let file = files.name();
        let OpenedFiles { stream, clips, has_end } = files;
        let core = self.jobs.core();
        let status = FileStatus {
            id: FileId::new(),
            stream: stream.clone(),
            state: FileState::Playing,
            file,
            loops_done: 0,
            position: Duration::ZERO,
            frames: 0,
            error: None,
        };
        let id = status.id;
        tracing::info!(%stream, file = status.file, "file plays");
        core.events.emit(Event::FileState(status.clone()));
        let (core, status, is_replaced) = (core.clone(), Mutex::new(status), AtomicBool::new(false));
        let job = Arc::new(FileJob { core, status, has_end, is_replaced });
        self.jobs.add(id, job.clone(), |stop| job.guard(*clips, publisher, stop));
        id
    }

    /// Ends a job and its stream, and takes it off the list.
    pub(crate) fn stop(&self, id: FileId) -> Result<()> {
        self.jobs.remove(id)
    }

    /// All jobs, in the order in which they were started; those that have ended stay until they are stopped.
    pub(crate) fn list(&self) -> Vec<FileStatus> {
        self.jobs.list()
    }

    /// One job; `None` where there is none of that id.
    pub(crate) fn status(&self, id: FileId) -> Option<FileStatus> {
        self.jobs.status(id)
    }
}

/// Files that can be played, and do not play yet.
pub(crate) struct OpenedFiles {
    stream: StreamKey,
    clips: Box<Loop>,
    has_end: bool,
}

impl OpenedFiles {
    /// Reads files through, but for what is long of them.
    pub(crate) fn new(config: FileConfig) -> Result<Self> {
        let repeat = config.loops.map_or(Repeat::Forever, Repeat::Times);
        Self::of_clips(&config.stream, config.paths.into_iter().map(Clip::from).collect(), repeat)
    }

    fn of_clips(stream: &StreamKey, clips: Vec<Clip>, repeat: Repeat) -> Result<Self> {
        let has_end = !matches!(repeat, Repeat::Forever);
        let mut clips = Loop::open(clips, repeat)?;
        clips.wait_for_whole_clips();
        Ok(Self { stream: stream.clone(), clips: Box::new(clips), has_end })
    }

    /// The first of them.
    fn name(&self) -> String {
        self.clips.clips().next().map(|clip| clip.name.clone()).unwrap_or_default()
    }
}

/// What was read in one go.
struct Batch {
    frames: Vec<TimedFrame>,
    /// The file and the loops done when the last of them had been read.
    file: Option<String>,
    loops_done: u64,
    /// What comes behind these frames.
    end: End,
}

/// What comes behind a batch.
enum End {
    More,
    All,
    /// A file that is gone, damaged or being written: it may become whole again.
    Trouble(Error),
}

/// Reads the next batch with blocking calls.
fn read(clips: &mut Loop) -> Batch {
    let mut batch =
        Batch { frames: Vec::with_capacity(BATCH_FRAMES), file: None, loops_done: 0, end: End::More };
    let mut bytes = 0;
    clips.leave_overwritten();
    while batch.frames.len() < BATCH_FRAMES && bytes < BATCH_BYTES && matches!(batch.end, End::More) {
        match clips.next_frame() {
            Ok(Some(timed)) => {
                bytes += timed.frame.payload.len();
                batch.frames.push(timed);
            }
            Ok(None) => batch.end = End::All,
            Err(error) => batch.end = End::Trouble(error),
        }
    }
    batch.file = clips.playing().map(str::to_owned);
    batch.loops_done = clips.rounds();
    batch
}

/// A read under way; it gives the clips back.
type Reading = JoinHandle<(Loop, Batch)>;

/// A file, or several, on the way into a stream.
struct FileJob {
    core: Arc<Core>,
    status: Mutex<FileStatus>,
    /// Whether it was asked for a number of loops: somebody waits for the end.
    has_end: bool,
    /// Whether another job plays on in its place.
    is_replaced: AtomicBool,
}

impl Job for FileJob {
    type Id = FileId;
    type Status = FileStatus;
    const KIND: &'static str = "file job";

    fn status(&self) -> FileStatus {
        self.status.lock().clone()
    }
}

impl FileJob {
    /// Runs the job. A panic in it is a bug of ours; it costs the job and its stream.
    async fn guard(self: Arc<Self>, clips: Loop, publisher: Published, stop: CancellationToken) {
        let work = self.clone().run(clips, publisher, stop);
        if !jobs::survives(&self.core, work).await {
            self.end(FileState::Failed, Some("a bug in the engine has ended this job".to_owned()));
        }
    }

    async fn run(self: Arc<Self>, clips: Loop, publisher: Published, stop: CancellationToken) {
        let is_replaced = || self.is_replaced.load(Ordering::Relaxed);
        let (state, error) = match stop.run_until_cancelled(self.play(clips, &publisher)).await {
            None => (FileState::Stopped, None),
            Some(Ok(())) => (FileState::Finished, None),
            // Who drains takes the stream away first, and so does who plays on.
            Some(Err(_)) if self.core.draining.is_cancelled() || is_replaced() => (FileState::Stopped, None),
            Some(Err(error)) => (FileState::Failed, Some(error.to_string())),
        };
        match is_replaced() {
            true => publisher.leave("replaced"),
            false => publisher.finish("unpublished"),
        }
        self.end(state, error);
    }

    /// Notes and tells the end.
    fn end(&self, state: FileState, error: Option<String>) {
        let status = {
            let mut status = self.status.lock();
            status.state = state;
            status.error = error;
            status.clone()
        };
        let stream = &status.stream;
        match &status.error {
            Some(error) => tracing::error!(%stream, "file failed: {error}"),
            None => tracing::info!(%stream, "file {state}"),
        }
        self.core.events.emit(Event::FileState(status));
    }

    async fn play(&self, clips: Loop, publisher: &Published) -> Result<()> {
        let mut schedule = None;
        let mut latest = Duration::ZERO;
        let mut reading = self.start_reading(clips);
        loop {
            let (clips, batch) = reading.await.map_err(reader_failed)?;
            let length = clips.end();
            let (next, idle) = match batch.end {
                End::More => (Some(self.start_reading(clips)), None),
                _ => (None, Some(clips)),
            };
            let start = schedule.get_or_insert_with(Instant::now);
            for timed in batch.frames {
                latest = latest.max(timed.due);
                self.send(timed, latest, start, publisher).await?;
            }
            self.note_batch(batch.file, batch.loops_done);
            reading = match (batch.end, next, idle) {
                (End::Trouble(error), _, Some(clips)) => {
                    let clips = self.wait_out(clips, &error).await?;
                    // What the wait took belongs to no frame.
                    *start = Instant::now().checked_sub(length).map_or(*start, |moved| moved.max(*start));
                    self.start_reading(clips)
                }
                (_, Some(next), _) => next,
                // The last frame has its time too.
                _ => {
                    sleep_until(*start + length).await;
                    return Ok(());
                }
            };
        }
    }

    /// Tells the trouble and waits until the file that it is about can be played again, and stays as it is. A job that has an
    /// end gives up after [`MAX_TROUBLE`].
    async fn wait_out(&self, mut clips: Loop, error: &Error) -> Result<Loop> {
        self.tell_trouble(Some(error.to_string()));
        let since = Instant::now();
        loop {
            if self.has_end && since.elapsed() >= MAX_TROUBLE.get() {
                let why = format!("{error}; given up after {} s", MAX_TROUBLE.get().as_secs());
                return Err(Error::new(error.kind(), why));
            }
            sleep(LOOK_AGAIN.get()).await;
            let looked = tokio::task::spawn_blocking(move || {
                let can_go_on = clips.settle() && clips.can_resume();
                (clips, can_go_on)
            });
            let can_go_on;
            (clips, can_go_on) = looked.await.map_err(reader_failed)?;
            if can_go_on {
                self.tell_trouble(None);
                return Ok(clips);
            }
        }
    }

    /// Notes and tells what the job waits for, or that it goes on.
    fn tell_trouble(&self, error: Option<String>) {
        let status = {
            let mut status = self.status.lock();
            status.error = error;
            status.clone()
        };
        let (job, stream) = (status.id, &status.stream);
        match &status.error {
            Some(error) if self.has_end => {
                let seconds = MAX_TROUBLE.get().as_secs();
                tracing::warn!(%job, %stream, "waiting for {seconds} s until the file is whole: {error}");
            }
            Some(error) => tracing::warn!(%job, %stream, "waiting until the file is whole: {error}"),
            None => tracing::info!(%job, %stream, "the file is whole, it plays on"),
        }
        self.core.events.emit(Event::FileState(status));
    }

    fn start_reading(&self, mut clips: Loop) -> Reading {
        tokio::task::spawn_blocking(move || {
            let batch = read(&mut clips);
            (clips, batch)
        })
    }

    /// Sends a frame at its instant, or at once if that is over. Only what is late against `latest`, the latest instant of
    /// the frames so far, shows that the process was late: all else is the file's own order.
    async fn send(
        &self,
        timed: TimedFrame,
        latest: Duration,
        start: &mut Instant,
        publisher: &Published,
    ) -> Result<()> {
        sleep_until(*start + timed.due).await;
        let late = Instant::now().saturating_duration_since(*start + latest);
        if late > MAX_LATE.get() {
            *start += late;
            tracing::warn!(stream = %self.status.lock().stream, ?late, "file is late, its schedule moves");
        }
        publisher.push(timed.frame).map_err(|reason| {
            Error::new(ErrorKind::Closed, format!("the right to publish is gone: {reason}"))
        })?;
        let mut status = self.status.lock();
        status.frames += 1;
        status.position = latest;
        Ok(())
    }

    fn note_batch(&self, file: Option<String>, loops_done: u64) {
        let mut status = self.status.lock();
        status.loops_done = loops_done;
        if let Some(file) = file {
            status.file = file;
        }
    }
}

fn reader_failed(error: JoinError) -> Error {
    Error::new(ErrorKind::Internal, format!("a bug in the engine has ended the reader: {error}"))
}

#[cfg(test)]
mod tests;
