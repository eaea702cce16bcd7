//! Publishers and subscribers of the embedding program itself.

use crate::hub::{self, EndReason};
use crate::key::StreamKey;
use crate::media::Frame;
use crate::net::DeadlineTimer;
use crate::policy::StreamPolicy;
use crate::service::streams::Published;
use crate::{Error, ErrorKind, Result};
use futures_core::Stream;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::runtime::Handle;

bound! {
    /// Most bytes that a subscriber takes out of the ring at a time
    /// (test `a_subscriber_takes_256_kib_out_of_the_ring_at_a_time`).
    const BATCH_BYTES: usize = 256 * 1024, without usize::MAX;
}

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

    /// Decides about the stream's readers from now on; may be called as often as wanted. What `policy` does not say is as
    /// it was when this publisher began: by its [`PublisherConfig`](crate::PublisherConfig), else by its app.
    pub fn set_policy(&self, policy: StreamPolicy) {
        self.inner.set_policy(policy);
    }

    /// Waits until the right to publish is taken away; why. Works on any executor.
    ///
    /// Cancel safe: it takes nothing, and says the same however often it is asked.
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
///
/// It is a [`Stream`] of frames too, for combinators and `select!`. That and [`Self::next`] work on any executor, not
/// only on tokio's. Behind the end both say `None` as often as they are asked.
pub struct Subscriber {
    inner: hub::Subscriber,
    frames: VecDeque<Frame>,
    batch: Vec<Frame>,
    end: Option<EndReason>,
    /// Frames are missing before the next one.
    gap_ahead: bool,
    after_gap: bool,
    /// Wakes for the deadlines of a stream without a publisher; made when there is the first.
    timer: Option<DeadlineTimer>,
    /// Has the clock for that timer: the caller's executor may have none.
    runtime: Handle,
}

impl Subscriber {
    pub(crate) fn new(inner: hub::Subscriber, runtime: Handle) -> Self {
        let (frames, batch) = (VecDeque::new(), Vec::new());
        Self { inner, frames, batch, end: None, gap_ahead: false, after_gap: false, timer: None, runtime }
    }

    /// The stream's name.
    pub fn key(&self) -> &StreamKey {
        self.inner.key()
    }

    /// Waits for the next frame; `None` at the end of the stream ([`Self::end`] says why).
    ///
    /// Cancel safe: a frame is taken only when it is returned, so a future that is dropped loses none.
    pub async fn next(&mut self) -> Option<Frame> {
        poll_fn(|cx| self.poll_frame(cx)).await
    }

    /// Like [`Self::next`] on a thread that is not an async worker, waiting no longer than `timeout`.
    /// A call that ends by its timeout loses no frame.
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
            // Who polls comes here for every frame: no text is made for it.
            Poll::Pending => Err(Error::new(ErrorKind::Again, "stream: nothing to read now")),
        }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Frame>> {
        loop {
            if let Poll::Ready(frame) = self.take_next() {
                return Poll::Ready(frame);
            }
            ready!(self.poll_news(cx));
        }
    }

    /// Ready when it is worth while to look again; else the task is woken for frames, changes and the deadline.
    fn poll_news(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.inner.poll_ready(cx).is_ready() {
            return Poll::Ready(());
        }
        // Whatever changes the deadline wakes the task, so it is looked at again.
        let Some(deadline) = self.inner.deadline() else { return Poll::Pending };
        let _entered = self.runtime.enter();
        let timer = self.timer.get_or_insert_with(DeadlineTimer::new);
        timer.set(deadline);
        timer.poll(cx)
    }

    /// Pending = there is nothing to read right now; nobody is woken for that.
    fn take_next(&mut self) -> Poll<Option<Frame>> {
        if self.frames.is_empty() && self.end.is_none() {
            self.end = self.inner.take(BATCH_BYTES.get(), &mut self.batch).err();
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

impl Stream for Subscriber {
    type Item = Frame;

    /// As [`Self::next`].
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Frame>> {
        self.poll_frame(cx)
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Limits;
    use crate::hub::{Hub, PublishRequest, SubscribeOptions};
    use crate::media::FrameKind;

    #[tokio::test]
    async fn a_subscriber_takes_256_kib_out_of_the_ring_at_a_time() {
        let (hub, key) = (Hub::new(&Limits::default()), StreamKey::new("live", "s").unwrap());
        let publisher = hub.publish(&key, PublishRequest::default()).unwrap();
        let subscriber = hub.subscribe(&key, SubscribeOptions::default());
        let mut subscriber = Subscriber::new(subscriber, Handle::current());
        for timestamp in 0..10 {
            let mut payload = vec![0; 100 * 1024];
            payload[..2].copy_from_slice(&[0xaf, 1]);
            publisher.push(Frame::new(FrameKind::Audio, timestamp, payload.into())).unwrap();
        }
        subscriber.next().await.unwrap();
        assert!((1..=2).contains(&subscriber.frames.len()), "{}", subscriber.frames.len());
    }
}
