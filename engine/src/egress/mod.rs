//! Egress: one writer per (stream, flush policy, shard) for all players that have caught up with the stream.
//!
//! ```text
//!   hub ──Feed──> shard ──one batch, made once──> output ──one write──> socket
//!                                                 output ──one write──> socket
//! ```
//! A player that has caught up has no task to wake: the shard writes the batch to its socket, in one system call. One
//! that is not (it has just joined, its socket is full, it asked for something, its stream has ended) is driven by
//! its connection's task until it has caught up again. So a shard never waits for a player, copies nothing for one, and
//! holds no lock of the stream while it writes.

#[cfg(all(feature = "io-uring", target_os = "linux"))]
mod batch_send;
mod connection_output;
mod delivery;
mod driver;
mod form;
#[cfg(test)]
mod tests;

pub(crate) use connection_output::ConnectionOutput;
pub(crate) use delivery::{Clock, Delivery};
pub(crate) use driver::{LINGER, Patience, Stuck};
pub(crate) use form::{Envelope, Flavour, FlvFraming, Framing, RtmpFraming};
#[cfg(feature = "mp4")]
pub(crate) use form::{Mp4Framing, Mp4Tracks};

use crate::config::Flush;
use crate::hub::{Batch, Feed, WakeFor};
use crate::key::StreamKey;
use crate::media::FrameKind;
use bytes::{Bytes, BytesMut};
use form::{Encoded, Form};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A shard looks at its stream at least this often: the end of a resume window wakes nobody.
const LOOK_PERIOD: Duration = Duration::from_secs(1);

bound! {
    /// With [`Flush::WithVideo`]: the longest that audio waits for video
    /// (test `riding_audio_waits_for_video_and_50_ms_at_most`).
    const AUDIO_WAIT: Duration = Duration::from_millis(50), without Duration::from_secs(1 << 30);
    /// Outputs that a shard writes to before it lets other tasks on
    /// (test `a_shard_lets_others_on_after_every_128_outputs`).
    const OUTPUTS_PER_TURN: usize = 128, without usize::MAX;
}

/// Frames for all players that have caught up, with their wire forms: each is made once, when somebody wants it.
#[derive(Default)]
struct WireBatch {
    batch: Batch,
    forms: [OnceLock<Encoded>; Form::ALL.len()],
    /// Memory for the next form; shards keep it from batch to batch.
    buffer: Mutex<BytesMut>,
    /// Whether there is metadata among them, which servers want in a form of its own.
    has_data: bool,
    /// Whether there is a video configuration among them that may be another than the one before: what follows it gets a
    /// time that depends on what its player has got.
    changes_video: bool,
    /// The main video track's configuration, where the frames so far have shown it.
    video_config: Option<Bytes>,
    /// What the frames so far have told of the main tracks.
    #[cfg(feature = "mp4")]
    descriptions: form::Descriptions,
    /// Whether one of them tells that its track is to be decoded otherwise from it on, or that it is to be decoded at all: it
    /// depends on what a player has got what it needs before what follows.
    #[cfg(feature = "mp4")]
    changes_decoding: bool,
    /// Where the batch after this one begins.
    next: u64,
}

impl WireBatch {
    /// Notes what has to be known of the frames that have been taken into it.
    fn begin(&mut self) {
        self.forms.iter_mut().for_each(|form| drop(form.take()));
        self.has_data = false;
        self.changes_video = false;
        if self.batch.from != std::mem::replace(&mut self.next, self.batch.to) {
            // Some have been missed.
            self.video_config = None;
            #[cfg(feature = "mp4")]
            (self.descriptions = form::Descriptions::default());
        }
        #[cfg(feature = "mp4")]
        self.note_descriptions();
        let main = self.batch.main.of(FrameKind::Video);
        for frame in &self.batch.frames {
            self.has_data |= frame.kind == FrameKind::Data;
            let is_video = frame.kind == FrameKind::Video && frame.flags.track == main;
            if is_video && frame.is_sequence_start() && self.video_config.as_ref() != Some(&frame.payload) {
                self.changes_video = true;
                self.video_config = Some(frame.payload.clone());
            }
        }
    }

    #[cfg(feature = "mp4")]
    fn note_descriptions(&mut self) {
        self.changes_decoding = false;
        for frame in &self.batch.frames {
            self.changes_decoding |= self.descriptions.note(frame, self.batch.main);
        }
    }

    /// All frames in one piece, and what of them is in it.
    fn encoded(&self, form: Form) -> &Encoded {
        self.forms[form.index()].get_or_init(|| form.encode(&self.batch, &mut self.buffer.lock()))
    }

    fn bytes(&self, form: Form) -> &Bytes {
        &self.encoded(form).bytes
    }
}

/// One connection's place in a shard: a [`ConnectionOutput`] over any transport.
trait ShardWriter: Send + Sync {
    /// Writes a batch. False = the player has fallen behind, and its connection's task has been woken for it.
    fn write(&self, shard: &Shard, batch: &WireBatch) -> bool;

    /// Begins to write a batch, for the shard to send it together with that of others.
    #[cfg(all(feature = "io-uring", target_os = "linux"))]
    fn begin<'a>(&'a self, shard: &Shard, batch: &WireBatch) -> batch_send::Begun<'a>;

    /// Gives the player back to its connection's task: the stream has ended.
    fn release(&self, shard: &Shard);
}

/// The shards of one engine. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Egress {
    shared: Arc<Shared>,
}

struct Shared {
    /// Shards of one stream and flush policy: one per I/O thread.
    threads: usize,
    /// Payload bytes of one batch, about.
    batch_bytes: AtomicUsize,
    tasks: TaskTracker,
    /// Ends all shards.
    draining: CancellationToken,
    shards: Mutex<HashMap<(StreamKey, Flush), Group>>,
    next: AtomicUsize,
}

/// The shards of one stream and flush policy, by thread.
type Group = Vec<Option<Arc<Shard>>>;

/// What a shard and its players share.
pub(crate) struct Shard {
    /// Only tells which stream the shard reads.
    stream: Feed,
    joining: Mutex<Joining>,
    /// An output has joined, or a player has left.
    changed: Notify,
}

#[derive(Default)]
struct Joining {
    outputs: Vec<Arc<dyn ShardWriter>>,
    /// The stream has ended, and the shard with it.
    is_over: bool,
}

/// A player's hold on its shard. While there is one, the shard's task lives.
pub(crate) struct ShardHandle(Arc<Shard>);

impl Deref for ShardHandle {
    type Target = Shard;

    fn deref(&self) -> &Shard {
        &self.0
    }
}

impl Drop for ShardHandle {
    fn drop(&mut self) {
        self.changed.notify_one();
    }
}

impl Shard {
    /// Puts an output under the shard's care; false where the stream has ended.
    fn join(&self, output: Arc<dyn ShardWriter>) -> bool {
        let mut joining = self.joining.lock();
        if joining.is_over {
            return false;
        }
        joining.outputs.push(output);
        self.changed.notify_one();
        true
    }
}

impl Egress {
    /// One that has a shard per thread, writes batches of about so many bytes, runs in `tasks` and ends with `draining`.
    pub(crate) fn new(
        threads: usize,
        batch_bytes: usize,
        tasks: TaskTracker,
        draining: CancellationToken,
    ) -> Self {
        let (shards, next) = (Mutex::default(), AtomicUsize::new(0));
        let batch_bytes = AtomicUsize::new(batch_bytes);
        Self { shared: Arc::new(Shared { threads, batch_bytes, tasks, draining, shards, next }) }
    }

    /// Writes batches of about so many bytes from now on.
    pub(crate) fn set_batch_bytes(&self, bytes: usize) {
        self.shared.batch_bytes.store(bytes, Ordering::Relaxed);
    }

    /// The shard for a new player of the stream that `feed` reads. Needs a tokio runtime.
    pub(crate) fn shard(&self, key: &StreamKey, flush: Flush, feed: Feed) -> ShardHandle {
        let Shared { threads, tasks, draining, .. } = &*self.shared;
        let slot = self.shared.next.fetch_add(1, Ordering::Relaxed) % threads;
        let mut shards = self.shared.shards.lock();
        let group = shards.entry((key.clone(), flush)).or_insert_with(|| vec![None; *threads]);
        if let Some(Some(shard)) = group.get(slot)
            && shard.stream.is_same_stream(&feed)
        {
            return ShardHandle(shard.clone());
        }
        let shard =
            Arc::new(Shard { stream: feed.again(), joining: Mutex::default(), changed: Notify::new() });
        if let Some(place) = group.get_mut(slot) {
            *place = Some(shard.clone());
        }
        let writer = ShardTask { egress: self.clone(), key: key.clone(), flush, shard: shard.clone(), feed };
        tasks.spawn(draining.clone().run_until_cancelled_owned(writer.run()));
        ShardHandle(shard)
    }

    /// Takes a shard off the list; false where players hold it and that counts.
    fn remove(&self, key: &StreamKey, flush: Flush, shard: &Arc<Shard>, hold: Hold) -> bool {
        let mut shards = self.shared.shards.lock();
        // One is the list's, one the writer's. New holds are made under the lock only.
        if hold == Hold::Respect && Arc::strong_count(shard) > 2 {
            return false;
        }
        let key = (key.clone(), flush);
        if let Some(group) = shards.get_mut(&key) {
            let is_it =
                |place: &Option<Arc<Shard>>| place.as_ref().is_some_and(|other| Arc::ptr_eq(other, shard));
            group.iter_mut().filter(|place| is_it(place)).for_each(|place| *place = None);
            if group.iter().all(Option::is_none) {
                shards.remove(&key);
            }
        }
        true
    }
}

/// Whether players that hold a shard keep it on the list.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hold {
    Respect,
    Ignore,
}

/// The task of a shard.
struct ShardTask {
    egress: Egress,
    key: StreamKey,
    flush: Flush,
    shard: Arc<Shard>,
    feed: Feed,
}

impl ShardTask {
    async fn run(mut self) {
        let mut outputs = Vec::new();
        let mut batch = WireBatch::default();
        let mut last = Instant::now();
        loop {
            self.admit(&mut outputs);
            if outputs.is_empty() {
                if self.retire(Hold::Respect) {
                    return;
                }
                self.shard.changed.notified().await;
                // What came while nobody had caught up was delivered otherwise.
                self.feed.skip();
                continue;
            }
            self.wait(last).await;
            last = Instant::now();
            self.admit(&mut outputs);
            if !self.write(&mut outputs, &mut batch).await {
                break;
            }
        }
        self.shard.joining.lock().is_over = true;
        self.admit(&mut outputs);
        outputs.iter().for_each(|output| output.release(&self.shard));
        self.retire(Hold::Ignore);
    }

    fn admit(&self, outputs: &mut Vec<Arc<dyn ShardWriter>>) {
        outputs.append(&mut self.shard.joining.lock().outputs);
    }

    fn retire(&self, hold: Hold) -> bool {
        self.egress.remove(&self.key, self.flush, &self.shard, hold)
    }

    /// Waits until it is time to write.
    async fn wait(&mut self, last: Instant) {
        match self.flush {
            Flush::Immediate => drop(timeout(LOOK_PERIOD, self.feed.news(WakeFor::Any)).await),
            // Elapsed: audio has waited long enough, if there is any.
            Flush::WithVideo => drop(timeout(AUDIO_WAIT.get(), self.feed.news(WakeFor::Video)).await),
            Flush::Merge(period) => {
                sleep_until(last + period).await;
                drop(timeout(LOOK_PERIOD, self.feed.news(WakeFor::Any)).await);
            }
        }
    }

    /// Writes all that has come to all outputs; those that have not caught up leave. False = the stream has ended.
    async fn write(&mut self, outputs: &mut Vec<Arc<dyn ShardWriter>>, batch: &mut WireBatch) -> bool {
        // What comes meanwhile waits for its time: or audio would get writes of its own.
        let until = self.feed.edge();
        loop {
            let most = self.egress.shared.batch_bytes.load(Ordering::Relaxed);
            if !self.feed.take(until, most, &mut batch.batch) {
                return false;
            }
            if batch.batch.frames.is_empty() {
                return true;
            }
            batch.begin();
            self.write_batch(outputs, batch).await;
        }
    }

    /// Lets others on after every so many outputs: a thousand take several milliseconds, and joining players, the
    /// publisher among them, would wait for all of them.
    async fn write_batch(&self, outputs: &mut Vec<Arc<dyn ShardWriter>>, batch: &WireBatch) {
        let mut gone = Vec::new();
        let mut end = outputs.len();
        // From the back, so that an output that takes the place of one that leaves has had its turn.
        while end > 0 {
            let start = end.saturating_sub(OUTPUTS_PER_TURN.get());
            write_turn(outputs.get(start..end).unwrap_or_default(), &self.shard, batch, &mut gone);
            gone.drain(..).rev().for_each(|index| drop(outputs.swap_remove(start + index)));
            end = start;
            if end > 0 {
                yield_now().await;
            }
        }
    }
}

/// Writes a batch to these outputs; the indices of those that have fallen behind go to `gone`, in order.
fn write_turn(outputs: &[Arc<dyn ShardWriter>], shard: &Shard, batch: &WireBatch, gone: &mut Vec<usize>) {
    #[cfg(all(feature = "io-uring", target_os = "linux"))]
    if outputs.len() > 1 && crate::net::uring::is_there() {
        return batch_send::write(outputs, shard, batch, gone);
    }
    let left = outputs.iter().enumerate().filter(|(_, output)| !output.write(shard, batch));
    gone.extend(left.map(|(index, _)| index));
}
