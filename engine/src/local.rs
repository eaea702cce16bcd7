//! Publishers and subscribers of the embedding program itself.

use crate::hub::{self, EndReason, StreamPolicy};
use crate::key::StreamKey;
use crate::media::Frame;
use crate::service::streams::Published;
use crate::{Error, ErrorKind, Result};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;
use tokio::runtime::Handle;

/// Most bytes that a subscriber takes out of the ring at a time.
const BATCH_BYTES: usize = 256 * 1024;

/// A stream that the program publishes. Any thread may push; dropping it is being lost, [`Self::finish`] ends
/// the stream.
pub struct Publisher {
    inner: Published,
}

impl Publisher {
    pub(crate) fn new(inner: Published) -> Self {
        Self { inner }
    }

    /// The stream's name.
    pub fn key(&self) -> &StreamKey {
        self.inner.key()
    }

    /// Gives a frame to everybody who plays the stream. Never waits.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`] when the right to publish is gone: takeover, kick, shutdown.
    pub fn push(&self, frame: Frame) -> Result<()> {
        let closed = |reason| Error::new(ErrorKind::Closed, format!("stream {}: {reason}", self.key()));
        self.inner.push(frame).map_err(closed)
    }

    /// Decides about the stream's readers from now on; may be called as often as wanted.
    pub fn set_policy(&self, policy: StreamPolicy) {
        self.inner.set_policy(policy);
    }

    /// Waits until the right to publish is taken away; why.
    pub async fn ended(&self) -> EndReason {
        self.inner.ended().await
    }

    /// Ends the stream: players get their end at once.
    pub fn finish(self) {
        self.inner.finish("unpublished");
    }
}

/// A stream that the program reads. Dropping it is leaving.
///
/// First come metadata and decoder configuration, then frames from the start position, video from a keyframe.
/// A reader that falls behind by more than the stream's ring jumps to the newest keyframe.
pub struct Subscriber {
    inner: hub::Subscriber,
    frames: VecDeque<Frame>,
    batch: Vec<Frame>,
    end: Option<EndReason>,
    /// Frames are missing before the next one.
    gap_ahead: bool,
    after_gap: bool,
    runtime: Handle,
}

impl Subscriber {
    pub(crate) fn new(inner: hub::Subscriber, runtime: Handle) -> Self {
        let (frames, batch) = (VecDeque::new(), Vec::new());
        Self { inner, frames, batch, end: None, gap_ahead: false, after_gap: false, runtime }
    }

    /// The stream's name.
    pub fn key(&self) -> &StreamKey {
        self.inner.key()
    }

    /// Waits for the next frame; `None` at the end of the stream ([`Self::end`] says why).
    pub async fn next(&mut self) -> Option<Frame> {
        loop {
            match self.take_next() {
                Poll::Ready(frame) => return frame,
                Poll::Pending => in_runtime(&self.runtime, self.inner.ready()).await,
            }
        }
    }

    /// Like [`Self::next`] on a thread that is not an async worker, waiting no longer than `timeout`.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`] when no frame came in time, [`ErrorKind::Deadlock`] on an async worker thread.
    pub fn blocking_next(&mut self, timeout: Duration) -> Result<Option<Frame>> {
        if let Poll::Ready(frame) = self.take_next() {
            return Ok(frame);
        }
        let runtime = self.runtime.clone();
        block_on(&runtime, async { tokio::time::timeout(timeout, self.next()).await })?
            .map_err(|_| Error::new(ErrorKind::Timeout, format!("stream {}: no frame in time", self.key())))
    }

    /// The next frame if there is one already; `None` at the end of the stream.
    ///
    /// # Errors
    /// [`ErrorKind::Again`] when there is nothing to read right now.
    pub fn try_next(&mut self) -> Result<Option<Frame>> {
        match self.take_next() {
            Poll::Ready(frame) => Ok(frame),
            Poll::Pending => {
                Err(Error::new(ErrorKind::Again, format!("stream {}: nothing to read", self.key())))
            }
        }
    }

    /// Pending = there is nothing to read right now; nobody is woken for that.
    fn take_next(&mut self) -> Poll<Option<Frame>> {
        if self.frames.is_empty() && self.end.is_none() {
            self.end = self.inner.take(BATCH_BYTES, &mut self.batch).err();
            self.frames.extend(self.batch.drain(..));
            self.gap_ahead |= self.inner.take_jump();
        }
        match self.frames.pop_front() {
            Some(frame) => {
                self.after_gap = std::mem::take(&mut self.gap_ahead);
                Poll::Ready(Some(frame))
            }
            None if self.end.is_some() => Poll::Ready(None),
            None => Poll::Pending,
        }
    }

    /// Whether frames are missing before the one that was returned last, because this reader was too slow.
    pub fn is_after_gap(&self) -> bool {
        self.after_gap
    }

    /// Why the stream ended; `None` while it goes on.
    pub fn end(&self) -> Option<&EndReason> {
        self.end.as_ref()
    }
}

/// Polls a future that uses tokio's timers from whatever executor the caller has.
async fn in_runtime<F: Future>(runtime: &Handle, future: F) -> F::Output {
    let mut future = pin!(future);
    std::future::poll_fn(|context| {
        let _entered = runtime.enter();
        future.as_mut().poll(context)
    })
    .await
}

/// Waits for a future on a plain thread; an error where that would block an async worker.
pub(crate) fn block_on<F: Future>(runtime: &Handle, future: F) -> Result<F::Output> {
    if Handle::try_current().is_ok() {
        return Err(Error::new(
            ErrorKind::Deadlock,
            "a blocking call on an async worker thread; use the async form",
        ));
    }
    Ok(runtime.block_on(future))
}
