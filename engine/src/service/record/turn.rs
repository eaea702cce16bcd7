//! Recordings below one folder write in turns: one thread writes what all of them have, in one go, where each would have to wake a
//! thread of its own for each frame.

use crate::record::{Act, Fault, Writer};
use bytes::Bytes;
use parking_lot::Mutex;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::{spawn_blocking, yield_now};
use tokio::time::Instant;

/// A writer that comes back, and whether it has written.
pub(super) type Outcome = thread::Result<(Writer, Result<(), Fault>)>;

/// The recordings below one folder.
pub(super) struct Turn {
    /// Threads that may write, for all folders.
    places: Arc<Semaphore>,
    /// From here on periods are counted, so that those of all recordings end together.
    begun: Instant,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    waiting: Vec<Order>,
    /// There is a thread for it, or will be.
    is_seen_to: bool,
}

/// What one of them writes.
struct Order {
    writer: Writer,
    pieces: Vec<Bytes>,
    tell: oneshot::Sender<Outcome>,
}

impl Order {
    fn carry_out(self) {
        let Self { mut writer, pieces, tell } = self;
        // A bug that ends one recording is no matter of the others.
        let outcome = catch_unwind(AssertUnwindSafe(move || {
            let done = writer.write(&pieces);
            (writer, done)
        }));
        // Nobody waits for it where the recording has been given up.
        let _ = tell.send(outcome);
    }
}

impl Turn {
    pub(super) fn new(places: Arc<Semaphore>) -> Self {
        Self { places, begun: Instant::now(), queue: Mutex::default() }
    }

    /// When the present period of this length ends.
    pub(super) fn end_of(&self, period: Duration) -> Instant {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let over = millis(self.begun.elapsed()).checked_div(millis(period)).unwrap_or_default();
        self.begun + Duration::from_millis(over.saturating_add(1).saturating_mul(millis(period)))
    }

    /// Has it written, with what others have; the outcome comes back with the writer.
    pub(super) fn write(self: &Arc<Self>, writer: Writer, pieces: Vec<Bytes>) -> oneshot::Receiver<Outcome> {
        let (tell, told) = oneshot::channel();
        let mut queue = self.queue.lock();
        queue.waiting.push(Order { writer, pieces, tell });
        if !std::mem::replace(&mut queue.is_seen_to, true) {
            tokio::spawn(self.clone().see_to_it());
        }
        told
    }

    async fn see_to_it(self: Arc<Self>) {
        // Those whose period has ended as well come first.
        yield_now().await;
        // It is never closed.
        let Ok(place) = self.places.clone().acquire_owned().await else { return };
        spawn_blocking(move || {
            while let Some(orders) = self.next() {
                orders.into_iter().for_each(Order::carry_out);
            }
            drop(place);
        });
    }

    fn next(&self) -> Option<Vec<Order>> {
        let mut queue = self.queue.lock();
        queue.is_seen_to = !queue.waiting.is_empty();
        queue.is_seen_to.then(|| std::mem::take(&mut queue.waiting))
    }
}

/// The pieces of acts that only write on in the file that is open.
pub(super) fn pieces(mut acts: Vec<Act>) -> Result<Vec<Bytes>, Vec<Act>> {
    match (acts.pop(), acts.is_empty()) {
        (Some(Act::Write(pieces)), true) => Ok(pieces),
        (last, _) => {
            acts.extend(last);
            Err(acts)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RecordConfig;
    use crate::record::{Cutter, Rules};
    use crate::testing::{inter, key, keyframe, video_header, wait};
    use std::path::PathBuf;
    use tokio::time::{sleep, timeout};

    /// A writer whose file is open, with the name that it grows under.
    fn open(folder: &tempfile::TempDir, stream: &str) -> (Writer, PathBuf) {
        let config = RecordConfig::new(folder.path()).min_free_bytes(0);
        let (mut cutter, mut acts) = (Cutter::new(Rules::of(&config)), Vec::new());
        cutter.push(&[video_header(0), keyframe(0, 9), inter(40, 9)], &mut acts);
        let mut writer = Writer::new(folder.path(), &key(stream), config);
        writer.apply(acts, &mut Vec::new()).unwrap();
        let path = writer.path().unwrap().with_extension("flv.part");
        (writer, path)
    }

    #[tokio::test]
    async fn what_all_of_them_have_is_written_by_one_thread() {
        let folder = tempfile::tempdir().unwrap();
        let places = Arc::new(Semaphore::new(0));
        let turn = Arc::new(Turn::new(places.clone()));
        let mut under_way = Vec::new();
        for stream in ["live/a", "live/b", "live/c"] {
            let (writer, path) = open(&folder, stream);
            let pieces =
                vec![Bytes::from_static(b"this"), Bytes::from_static(b" is "), vec![7; 9_000].into()];
            under_way.push((turn.write(writer, pieces), path));
        }
        let early = timeout(Duration::from_millis(50), &mut under_way[0].0).await;
        assert!(early.is_err(), "it is written though no thread may");
        places.add_permits(1);
        for (told, path) in under_way {
            let (_writer, done) = timeout(wait::PATIENCE, told).await.unwrap().unwrap().unwrap();
            done.unwrap();
            let written = std::fs::read(path).unwrap();
            assert!(written.ends_with(&[b"this is ", &[7; 9_000][..]].concat()));
        }
        // Who comes afterwards gets its turn too.
        let (writer, _) = open(&folder, "live/d");
        timeout(wait::PATIENCE, turn.write(writer, Vec::new())).await.unwrap().unwrap().unwrap().1.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn periods_end_together_and_none_takes_longer() {
        let turn = Turn::new(Arc::new(Semaphore::new(1)));
        for step in [0, 7, 20, 33, 20, 1] {
            sleep(Duration::from_millis(step)).await;
            let left = |ms| turn.end_of(Duration::from_millis(ms)) - Instant::now();
            let (short, long) = (left(20), left(100));
            assert!(short > Duration::ZERO && short <= Duration::from_millis(20), "{short:?}");
            assert!((long - short).as_millis().is_multiple_of(20), "{short:?} and {long:?}");
        }
    }
}
