//! Recordings as jobs: each follows a stream and has it written, as long as the disk takes it. Players never wait for a disk.

use crate::budget::Rate;
use crate::config::{RecordConfig, RecordFormat, RecordWhen};
use crate::events::Event;
use crate::hub::{EndReason, Interest, StreamChange, SubscribeOptions, Subscriber};
use crate::id::RecordingId;
use crate::key::StreamKey;
use crate::limits::ms;
use crate::log_limit::{LogLimit, left_out};
use crate::media::Frame;
use crate::policy::StartAt;
use crate::record::{Act, Cutter, Fault, Library, Rules, Writer};
use crate::service::Core;
use crate::service::jobs::{self, Job, Jobs};
use crate::status::{RecordedFile, RecordingState, RecordingStatus};
use crate::{Error, ErrorKind, Result};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, interval, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use turn::{Outcome, Turn};

mod turn;

/// Bytes of frames that are taken out of the ring and written in one go.
const BATCH_BYTES: usize = 1024 * 1024;
/// How long MP4 waits for more to write: its fragments leave so much of the second that they may be behind. Tags of FLV wait for nothing,
/// as a killed server may lose one.
const MP4_GATHERS: Duration = Duration::from_millis(50);
/// Where nothing follows what is written, it is looked after so long what has come of it.
const SETTLES: Duration = Duration::from_millis(50);
/// How long a recording that cannot be written waits before it is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(10);
/// How often it is looked for files that are too old.
const CLEAR_PERIOD: Duration = Duration::from_secs(60);
/// Log lines of a recording about its disk.
const FAULT_LINES: Rate = Rate::new(1, Duration::from_secs(60));

bound! {
    /// Recordings that write at once: each takes a thread, which a disk that hangs keeps
    /// (test `no_more_than_sixteen_recordings_write_at_once`).
    const MAX_WRITING: usize = 16, without 1 << 20;
    /// Bytes of frames that are held until it is known what tracks a stream has
    /// (test `what_is_held_of_a_stream_until_its_tracks_are_known_is_bounded`).
    const MAX_HELD: usize = 8 * 1024 * 1024, without usize::MAX;
}

/// Until when a recording goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// The stream ends.
    EndOfStream,
    /// It is stopped: it waits for whoever publishes the stream next.
    Stopped,
}

/// All recordings of one engine.
pub(crate) struct Recorders {
    jobs: Jobs<Recording>,
    places: Arc<Semaphore>,
    /// Those who write together, by folder.
    turns: Mutex<BTreeMap<PathBuf, Weak<Turn>>>,
    /// A recording is over.
    over: Notify,
}

impl Recorders {
    /// Recordings that run on `runtime`; their owner may call from any thread.
    pub(crate) fn new(core: Arc<Core>, runtime: Handle) -> Self {
        let places = Arc::new(Semaphore::new(MAX_WRITING.get()));
        Self { jobs: Jobs::new(core, runtime), places, turns: Mutex::default(), over: Notify::new() }
    }

    /// Who writes below a folder.
    fn turn(&self, root: &Path) -> Arc<Turn> {
        let mut turns = self.turns.lock();
        if let Some(turn) = turns.get(root).and_then(Weak::upgrade) {
            return turn;
        }
        turns.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::new(Turn::new(self.places.clone()));
        turns.insert(root.to_owned(), Arc::downgrade(&turn));
        turn
    }

    /// Records a stream, from what is its newest keyframe now on.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] without a folder, [`ErrorKind::Exists`] where the stream is being written there in this form.
    pub(crate) fn record(
        self: &Arc<Self>,
        stream: &StreamKey,
        config: RecordConfig,
        until: Until,
    ) -> Result<RecordingId> {
        let Some(root) = config.dir.clone() else {
            let text = format!("recording of {stream}: there is no folder for it (record.dir)");
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        };
        let job = Arc::new(Recording::new(self, stream, config, root, until));
        let is_same = |other: &Arc<Recording>| other.writes_the_same(&job);
        if self.jobs.all().iter().any(is_same) {
            return Err(Error::new(ErrorKind::Exists, format!("{stream} is being recorded")));
        }
        let id = job.status().id;
        let (own, entry) = (self.clone(), job.clone());
        // Now, so that nothing is missed that comes before the task begins.
        let subscriber = job.subscribe(stream);
        self.jobs.add(id, entry, |stop| async move {
            job.guard(subscriber, stop).await;
            if until == Until::EndOfStream {
                // There is one for each stream, so that they would come together for ever.
                let _ = own.jobs.remove(id);
            }
            own.over.notify_one();
        });
        Ok(id)
    }

    /// Ends a recording, and takes it off the list.
    pub(crate) fn stop(&self, id: RecordingId) -> Result<()> {
        self.jobs.remove(id)
    }

    /// Ends the file that is being written, and waits until it is whole, but no longer than `within`.
    pub(crate) async fn cut(&self, id: RecordingId, within: Duration) -> Result<()> {
        let job = self.jobs.get(id)?;
        let (whole, waiting) = oneshot::channel();
        {
            let mut cuts = job.cuts.lock();
            if job.status.lock().state == RecordingState::Stopped {
                return Ok(());
            }
            cuts.push(whole);
        }
        job.cut.notify_one();
        let late = |_| Error::new(ErrorKind::Timeout, format!("recording {id}: its file is not whole yet"));
        // One that is over has no file that grows, whoever has ended it.
        timeout(within, waiting).await.map(drop).map_err(late)
    }

    /// All recordings, in the order in which they were started.
    pub(crate) fn list(&self) -> Vec<RecordingStatus> {
        self.jobs.list()
    }

    /// One recording; `None` where there is none of that id.
    pub(crate) fn status(&self, id: RecordingId) -> Option<RecordingStatus> {
        self.jobs.status(id)
    }

    /// Records the streams of apps that want all of theirs recorded.
    pub(crate) async fn serve_all(self: Arc<Self>) {
        let mut watcher = self.jobs.core().hub.watch();
        // Streams that have come again while the end of what they had been was still written.
        let mut again = BTreeSet::new();
        loop {
            let begun = tokio::select! {
                change = watcher.next() => match change {
                    Some(StreamChange::Began(stream)) => BTreeSet::from([stream]),
                    Some(_) => continue,
                    None => return,
                },
                () = self.over.notified() => std::mem::take(&mut again),
            };
            again.extend(begun.into_iter().filter(|stream| !self.is_seen_to(stream)));
        }
    }

    /// Records a stream where its app wants that; false where it is being recorded already.
    fn is_seen_to(self: &Arc<Self>, stream: &StreamKey) -> bool {
        let config = self.jobs.core().app(stream).map(|app| app.record.clone());
        let Some(config) = config.filter(|config| config.when == RecordWhen::All) else { return true };
        match self.record(stream, config, Until::EndOfStream) {
            Err(error) if error.kind() == ErrorKind::Exists => return false,
            Err(error) => tracing::warn!(%stream, "it is not recorded: {error}"),
            Ok(_) => {}
        }
        true
    }

    /// Makes whole what was left over, and then removes what is too old, all the time.
    pub(crate) async fn keep_house(self: Arc<Self>) {
        let library = || Library::of(&self.jobs.core().config());
        let left_over = library();
        if let Ok(adopted @ 1..) = spawn_blocking(move || left_over.adopt()).await {
            tracing::info!(adopted, "recordings that were left over are whole now");
        }
        let mut ticks = interval(CLEAR_PERIOD);
        loop {
            ticks.tick().await;
            let library = library();
            if !library.is_empty() {
                let _ = spawn_blocking(move || library.clear()).await;
            }
        }
    }
}

/// One stream on its way to files.
struct Recording {
    core: Arc<Core>,
    config: RecordConfig,
    root: PathBuf,
    until: Until,
    places: Arc<Semaphore>,
    turn: Arc<Turn>,
    status: Mutex<RecordingStatus>,
    lines: LogLimit,
    /// Its file is to end, and who waits until it is whole.
    cut: Notify,
    cuts: Mutex<Vec<oneshot::Sender<()>>>,
}

impl Job for Recording {
    type Id = RecordingId;
    type Status = RecordingStatus;
    const KIND: &'static str = "recording";

    fn status(&self) -> RecordingStatus {
        self.status.lock().clone()
    }
}

/// What a recording works with.
struct Work {
    cutter: Cutter,
    /// Away while it writes.
    writer: Option<Writer>,
    /// It comes back from here.
    under_way: Option<oneshot::Receiver<Outcome>>,
    /// Frames until it is known what tracks there are.
    held: Option<Vec<Frame>>,
    /// Nothing is written before.
    retry_at: Option<Instant>,
    /// How long the files that are whole last.
    length: Duration,
    files: u64,
}

/// Why a stream is followed no further.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    Asked,
    Stream(EndReason),
}

impl Recording {
    fn new(
        recorders: &Recorders,
        stream: &StreamKey,
        config: RecordConfig,
        root: PathBuf,
        until: Until,
    ) -> Self {
        let status = RecordingStatus {
            id: RecordingId::new(),
            stream: stream.clone(),
            state: RecordingState::Idle,
            file: None,
            files: 0,
            bytes: 0,
            length: Duration::ZERO,
            frames_dropped: 0,
            error: None,
        };
        Self {
            core: recorders.jobs.core().clone(),
            config,
            turn: recorders.turn(&root),
            root,
            until,
            places: recorders.places.clone(),
            status: Mutex::new(status),
            lines: LogLimit::new(FAULT_LINES),
            cut: Notify::new(),
            cuts: Mutex::default(),
        }
    }

    fn writes_the_same(&self, other: &Self) -> bool {
        let (ours, theirs) = (self.status(), other.status());
        let is_over = ours.state == RecordingState::Stopped;
        let is_alike = self.root == other.root && self.config.format == other.config.format;
        !is_over && ours.stream == theirs.stream && is_alike
    }

    /// Runs the job. A panic in it is a bug of ours; it costs the recording.
    async fn guard(self: Arc<Self>, subscriber: Subscriber, stop: CancellationToken) {
        let work = self.clone().run(subscriber, stop);
        if !jobs::survives(&self.core, work).await {
            let bug = "a bug in the engine has ended this recording".to_owned();
            self.change(|status| (status.state, status.error) = (RecordingState::Stopped, Some(bug)));
        }
        self.cuts.lock().clear();
    }

    async fn run(self: Arc<Self>, mut subscriber: Subscriber, stop: CancellationToken) {
        let stream = self.status().stream;
        let mut work = Work {
            cutter: Cutter::new(Rules::of(&self.config)),
            writer: Some(Writer::new(&self.root, &stream, self.config.clone())),
            under_way: None,
            held: None,
            retry_at: None,
            length: Duration::ZERO,
            files: 0,
        };
        loop {
            let ended = self.follow(&mut subscriber, &mut work, &stop).await;
            if ended == Ended::Stream(EndReason::Lagging) {
                // The disk was too slow; the file goes on with what comes now.
                subscriber = self.subscribe(&stream);
                continue;
            }
            let mut acts = Vec::new();
            work.cutter.end(&mut acts);
            self.write(&mut work, acts).await;
            if ended == Ended::Asked || self.until == Until::EndOfStream {
                break;
            }
            subscriber = self.subscribe(&stream);
            self.change(|status| status.state = RecordingState::Idle);
        }
        self.change(|status| (status.state, status.file) = (RecordingState::Stopped, None));
        let RecordingStatus { files, bytes, .. } = self.status();
        tracing::info!(%stream, files, bytes, "recording over");
    }

    /// Writes a stream until it ends, or that is asked for.
    async fn follow(&self, subscriber: &mut Subscriber, work: &mut Work, stop: &CancellationToken) -> Ended {
        let (mut frames, mut skipped) = (Vec::new(), 0);
        work.held = Some(Vec::new());
        // There was something of the stream when it was looked for last; and more than is written in one go.
        let (mut is_fed, mut is_behind) = (false, false);
        loop {
            let (is_asked, is_cut) = tokio::select! {
                () = stop.cancelled() => (true, false),
                () = self.cut.notified() => (false, true),
                () = self.gather(subscriber, is_fed, is_behind) => (false, false),
            };
            self.settle(work).await;
            frames.clear();
            is_fed = subscriber.is_ready();
            is_behind &= is_fed;
            if !(is_fed || is_asked || is_cut) {
                continue;
            }
            // Who comes from here on waits for the next one.
            let cuts = if is_cut { std::mem::take(&mut *self.cuts.lock()) } else { Vec::new() };
            let most = if is_asked || is_cut { usize::MAX } else { BATCH_BYTES };
            let taken = subscriber.take(most, &mut frames);
            let is_renewed = subscriber.take_renewal();
            let missed = subscriber.skipped().saturating_sub(skipped);
            skipped = subscriber.skipped();
            self.note_dropped(missed);
            is_behind = frames.iter().map(|frame| frame.payload.len()).sum::<usize>() >= BATCH_BYTES;
            let is_last = is_asked || is_cut || taken.is_err();
            let mut acts = Vec::new();
            work.take(&frames, is_renewed, is_last || subscriber.tracks().are_settled, &mut acts);
            if is_cut {
                work.cutter.end(&mut acts);
            }
            if work.retry_at.is_some_and(|at| at > Instant::now()) {
                work.cutter.lose();
                self.note_dropped(frames.len() as u64);
            } else {
                self.write(work, acts).await;
            }
            drop(cuts);
            match taken {
                _ if is_asked => return Ended::Asked,
                Err(reason) => return Ended::Stream(reason),
                Ok(_) => {}
            }
        }
    }

    /// Waits until it is time to write what has come. Where something of MP4 comes in each period no frame wakes it.
    /// What is behind waits for nothing.
    async fn gather(&self, subscriber: &mut Subscriber, is_fed: bool, is_behind: bool) {
        if is_behind {
            return;
        }
        match self.config.format {
            RecordFormat::Flv if is_fed => drop(timeout(SETTLES, subscriber.ready()).await),
            RecordFormat::Flv => subscriber.ready().await,
            RecordFormat::Fmp4 => {
                if !is_fed {
                    subscriber.ready().await;
                }
                sleep_until(self.turn.end_of(MP4_GATHERS)).await;
            }
        }
    }

    fn subscribe(&self, stream: &StreamKey) -> Subscriber {
        let is_all = self.until == Until::EndOfStream;
        // One that has ended meanwhile is not waited for.
        let wait = is_all.then_some(Duration::ZERO);
        let options = SubscribeOptions { start: StartAt::Keyframe, wait, interest: Interest::Follower };
        let mut subscriber = self.core.hub.subscribe(stream, options);
        let is_first = self.status.lock().bytes == 0;
        // All of it is what the ring has of its beginning too.
        let back = if is_all && is_first { ms(self.core.limits().ring_ms) } else { Duration::ZERO };
        subscriber.rewind(back);
        subscriber
    }

    /// Has written what the stream has come to. What only goes on in a file is so in its turn: [`Self::settle`] waits for it.
    async fn write(&self, work: &mut Work, acts: Vec<Act>) {
        if acts.is_empty() {
            return;
        }
        self.settle(work).await;
        match turn::pieces(acts) {
            Ok(pieces) => {
                let writer = work.writer.take();
                work.under_way = writer.map(|writer| self.turn.write(writer, pieces));
            }
            Err(acts) => self.work_alone(work, |writer, whole| writer.apply(acts, whole)).await,
        }
    }

    /// Waits until what is under way is written.
    async fn settle(&self, work: &mut Work) {
        let Some(under_way) = work.under_way.take() else { return };
        // Nobody carries it out where the engine has ended.
        let Ok(outcome) = under_way.await else { return };
        let (writer, done) = outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let bytes = writer.bytes();
        work.writer = Some(writer);
        match done {
            Ok(()) => {
                let length = work.length.saturating_add(work.cutter.open_length());
                let mut status = self.status.lock();
                (status.bytes, status.length) = (bytes, length);
            }
            Err(fault) => {
                let give_up = |writer: &mut Writer, whole: &mut _| {
                    writer.give_up(whole);
                    Err(fault)
                };
                self.work_alone(work, give_up).await;
            }
        }
    }

    /// Works on files on a thread of its own: that may take long, and others go on.
    async fn work_alone(
        &self,
        work: &mut Work,
        act: impl FnOnce(&mut Writer, &mut Vec<RecordedFile>) -> Result<(), Fault> + Send + 'static,
    ) {
        let Ok(place) = self.places.clone().acquire_owned().await else { return };
        let Some(mut writer) = work.writer.take() else { return };
        let written = spawn_blocking(move || {
            let mut whole = Vec::new();
            let done = act(&mut writer, &mut whole);
            drop(place);
            (writer, whole, done)
        });
        match written.await {
            Ok((writer, whole, done)) => {
                self.note_written(work, &writer, whole, done);
                work.writer = Some(writer);
            }
            Err(error) => {
                if let Ok(panic) = error.try_into_panic() {
                    std::panic::resume_unwind(panic);
                }
            }
        }
    }

    fn note_written(
        &self,
        work: &mut Work,
        writer: &Writer,
        whole: Vec<RecordedFile>,
        done: Result<(), Fault>,
    ) {
        let id = self.status.lock().id;
        for file in whole {
            work.files = work.files.saturating_add(1);
            work.length = work.length.saturating_add(file.length.unwrap_or_default());
            tell_file(&file);
            self.core.events.emit(Event::RecordingFile(RecordedFile { recording: Some(id), ..file }));
        }
        let fault = done.err();
        let state = match &fault {
            None | Some(Fault::File(_)) => RecordingState::Recording,
            Some(Fault::Full(_)) => RecordingState::DiskFull,
            Some(Fault::Broken(_)) => RecordingState::Failed,
        };
        if let Some(fault) = &fault {
            self.tell_fault(fault);
            work.cutter.lose();
            let waits = !matches!(fault, Fault::File(_));
            work.retry_at = waits.then(|| Instant::now() + RETRY_AFTER);
        } else if work.retry_at.take().is_some() {
            tracing::info!(stream = %self.status.lock().stream, "recording goes on");
        }
        let length = work.length.saturating_add(work.cutter.open_length());
        self.change(|status| {
            (status.state, status.file) = (state, writer.path());
            (status.files, status.bytes, status.length) = (work.files, writer.bytes(), length);
            status.error = fault.as_ref().map(|fault| fault.error().to_string());
        });
    }

    fn tell_fault(&self, fault: &Fault) {
        let stream = self.status.lock().stream.clone();
        if let Some(held_back) = self.lines.allow() {
            let left_out = left_out(held_back);
            tracing::warn!(%stream, left_out, "recording stands still, the stream goes on: {}", fault.error());
        }
    }

    fn note_dropped(&self, frames: u64) {
        if frames > 0 {
            let mut status = self.status.lock();
            status.frames_dropped = status.frames_dropped.saturating_add(frames);
        }
    }

    /// Changes what is told of it; watchers are told of another state and another file.
    fn change(&self, change: impl FnOnce(&mut RecordingStatus)) {
        let changed = {
            let mut status = self.status.lock();
            let before = (status.state, status.file.clone());
            change(&mut status);
            ((status.state, &status.file) != (before.0, &before.1)).then(|| status.clone())
        };
        if let Some(status) = changed {
            if let Some(file) = &status.file {
                tracing::info!(stream = %status.stream, file = %file.display(), "recording");
            }
            self.core.events.emit(Event::RecordingState(status));
        }
    }
}

fn tell_file(file: &RecordedFile) {
    let RecordedFile { stream, path, bytes, length, .. } = file;
    tracing::info!(%stream, file = %path.display(), bytes, ?length, "recorded");
}

impl Work {
    /// Takes frames, the first of another publisher where that `is_renewed`. What there is of tracks `is_known`, or is waited for.
    fn take(&mut self, frames: &[Frame], is_renewed: bool, is_known: bool, acts: &mut Vec<Act>) {
        if is_renewed && let Some(held) = self.held.replace(Vec::new()) {
            // What was held is of the one before.
            self.begin(&held, acts);
        }
        let Some(held) = &mut self.held else {
            self.cutter.push(frames, acts);
            return;
        };
        held.extend_from_slice(frames);
        let bytes: usize = held.iter().map(|frame| frame.payload.len()).sum();
        if is_known || bytes > MAX_HELD.get() {
            let held = self.held.take().unwrap_or_default();
            self.begin(&held, acts);
        }
    }

    fn begin(&mut self, held: &[Frame], acts: &mut Vec<Act>) {
        if !held.is_empty() {
            self.cutter.show(held);
            self.cutter.push(held, acts);
        }
    }
}

#[cfg(test)]
mod tests;
