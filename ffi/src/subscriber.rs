//! Streams that the program reads.

use crate::callback::{Callback, se_destroy_fn};
use crate::config::{self, se_config};
use crate::engine::{host, se_engine};
use crate::frame::{FrameView, se_frame, se_frame_ref};
use crate::handle::{self, Handle};
use crate::host::Host;
use crate::queue::Wait;
use crate::status::{Failure, Outcome, guard, guard_or, remember, se_status};
use crate::text;
use async_executor::Task;
use futures_lite::future;
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::collections::VecDeque;
use std::ffi::{c_char, c_void};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};
use streamengine::media::Frame;
use streamengine::media::elementary::Demuxer;
use streamengine::{EndReason, StreamKey, Subscriber, SubscriberConfig};
use tokio_util::sync::CancellationToken;

/// A stream that the program reads. First come metadata and decoder configuration (`SE_FRAME_CONFIG`), then frames from
/// the start position, video from a keyframe. A reader that falls behind by more than `limits.ring_ms` goes on at the
/// newest keyframe (`SE_FRAME_DISCONT`); at the `limits.max_lags`th time within a minute its stream ends.
pub struct se_subscriber {
    _opaque: [u8; 0],
}

impl Handle for se_subscriber {
    type Behind = Reading;
    const NAME: &'static str = "subscriber";
}

/// Called on the callback thread with one frame, which is valid until the callback returns, and once with NULL at the end
/// of the stream: then `se_last_error` says why it ended.
///
/// @param frame The frame; NULL at the end of the stream.
/// @param frame_ref The same as a reference, borrowed: to keep the frame without a copy, `se_frame_ref_clone` it. NULL at
/// the end.
/// @param user_data As given.
pub type se_frame_fn = Option<
    unsafe extern "C" fn(frame: *const se_frame, frame_ref: *const se_frame_ref, user_data: *mut c_void),
>;

/// Reads a stream in the program. It need not have a publisher yet.
///
/// @param engine A started engine.
/// @param stream The name, `"app/stream"`.
/// @param options `start` (`keyframe`, `live-edge`; else as the app's configuration says), `back_ms` (how long ago to
/// start, at the oldest keyframe since then that is held) and `wait_for_publisher_ms` (else for ever); NULL for none.
/// @param out The subscriber, to be freed with `se_subscriber_free`.
/// @return `SE_E_NOT_FOUND` for an app that the configuration does not list, `SE_E_INVALID_ARGUMENT` for a name that
/// cannot be one, `SE_E_STATE` on an engine that is not started.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn se_subscriber_open(
    engine: *mut se_engine,
    stream: *const c_char,
    options: *const se_config,
    out: *mut *mut se_subscriber,
) -> se_status {
    guard(|| {
        // SAFETY: the header demands NULL or live handles, NULL or NUL-terminated text, and NULL or a place to write to.
        let (host, key, options, out) = unsafe {
            (
                host(engine)?,
                text::parsed(stream, "stream")?,
                config::options(options)?,
                handle::out(out, "out")?,
            )
        };
        out.write(handle::give(Reading::open(host, &key, &options.subscriber()?)?));
        Ok(())
    })
}

/// Has frames delivered to a callback, from the next one on. Once set it stays; a subscriber is read either by callback
/// or by `se_subscriber_next`.
///
/// @param subscriber The subscriber.
/// @param callback Called on the callback thread of the engine, without a copy of the frame.
/// @param user_data For the callback.
/// @param destroy Called when `user_data` is needed no more; may be NULL.
/// @return `SE_E_STATE` where there is a callback already, `SE_E_INVALID_ARGUMENT` where `callback` is NULL,
/// `SE_E_CLOSED` where the engine has been freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn se_subscriber_set_callback(
    subscriber: *mut se_subscriber,
    callback: se_frame_fn,
    user_data: *mut c_void,
    destroy: se_destroy_fn,
) -> se_status {
    let callback = Callback::new(callback, user_data, destroy);
    guard(|| {
        let reading = handle::borrow(subscriber)?;
        reading.deliver_to(callback.present().ok_or_else(|| handle::null("callback"))?)
    })
}

/// Takes the next frame. Blocks for up to `timeout_ms`. One thread at a time reads; others wait for it within their
/// time.
///
/// @param subscriber The subscriber.
/// @param timeout_ms 0 does not wait, below 0 waits for ever.
/// @param out The frame, to be freed with `se_frame_ref_free`.
/// @return `SE_E_AGAIN` where there is none and `timeout_ms` is 0, `SE_E_TIMEOUT` where none came in time, `SE_E_CLOSED` at
/// the end of the stream (the text says why it ended) and when the subscriber is freed meanwhile, `SE_E_STATE` where
/// there is a callback.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn se_subscriber_next(
    subscriber: *mut se_subscriber,
    timeout_ms: i32,
    out: *mut *mut se_frame_ref,
) -> se_status {
    guard(|| {
        // SAFETY: the header demands NULL or a place to write to.
        let out = unsafe { handle::out(out, "out") }?;
        let shown = handle::borrow(subscriber)?.next(Wait::from_ms(timeout_ms))?;
        out.write(handle::give(shown));
        Ok(())
    })
}

/// Leaves the stream and frees the subscriber. With a callback it waits, up to 2 s, until the callback has returned, except in that callback itself: then no further call is made.
///
/// @param subscriber NULL does nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn se_subscriber_free(subscriber: *mut se_subscriber) {
    guard_or((), || {
        if let Some(reading) = handle::take(subscriber)? {
            reading.close();
        }
        Ok(())
    });
}

streamengine::bound! {
    /// How long freeing waits for a callback that runs
    /// (test `freeing_a_subscriber_does_not_wait_for_ever_for_a_callback_that_does_not_return`).
    const CALLBACK_TIMEOUT: Duration = Duration::from_secs(2), without Duration::from_secs(1 << 30);
    /// After this many calls in a row others get their turn on the callback thread
    /// (test `a_callback_of_one_subscriber_does_not_keep_others_waiting_for_ever`).
    const CALLS_IN_A_ROW: usize = 16, without usize::MAX;
}

type FrameFn = unsafe extern "C" fn(*const se_frame, *const se_frame_ref, *mut c_void);

/// Behind `se_subscriber`.
pub(crate) struct Reading {
    key: StreamKey,
    host: Arc<Host>,
    /// Taken when there is a callback.
    reader: Mutex<Option<Reader>>,
    delivery: Arc<Delivery>,
    task: Mutex<Option<Task<()>>>,
}

impl Reading {
    fn open(host: Arc<Host>, key: &StreamKey, config: &SubscriberConfig) -> Outcome<Self> {
        let frames = host.engine()?.subscribe_with(key, config)?;
        let reader = Reader { frames, demuxer: Demuxer::new(), rest: VecDeque::new() };
        Ok(Self {
            key: key.clone(),
            host,
            reader: Mutex::new(Some(reader)),
            delivery: Arc::default(),
            task: Mutex::default(),
        })
    }

    /// Takes the next frame, waiting for it as long as `wait` says.
    fn next(&self, wait: Wait) -> Outcome<FrameView> {
        let mut reader = self.reader(wait)?;
        let has_callback = || {
            Failure::new(se_status::SE_E_STATE, format!("stream {}: its frames go to a callback", self.key))
        };
        let reader = reader.as_mut().ok_or_else(has_callback)?;
        if self.delivery.closed.is_cancelled() {
            return Err(self.freed());
        }
        let next = match reader.try_next() {
            Some(next) => next,
            None => self.wait_for(reader, wait)?,
        };
        next.ok_or_else(|| reader.end())
    }

    /// Waits until no other thread reads.
    fn reader(&self, wait: Wait) -> Outcome<MutexGuard<'_, Option<Reader>>> {
        let reader = match wait {
            Wait::Not => self.reader.try_lock(),
            Wait::Until(deadline) => self.reader.try_lock_until(deadline),
            Wait::Forever => Some(self.reader.lock()),
        };
        reader.ok_or_else(|| self.nothing(wait))
    }

    /// The next frame, or `None` at the end, once it is there.
    fn wait_for(&self, reader: &mut Reader, wait: Wait) -> Outcome<Option<FrameView>> {
        let deadline = match wait {
            Wait::Not => return Err(self.nothing(wait)),
            Wait::Until(deadline) => Some(deadline),
            Wait::Forever => None,
        };
        let closed = async {
            self.delivery.closed.cancelled().await;
            Err(self.freed())
        };
        let next = future::or(async { Ok(reader.next().await) }, closed);
        block_until(deadline, next).unwrap_or_else(|| Err(self.nothing(wait)))
    }

    fn nothing(&self, wait: Wait) -> Failure {
        let (status, text) = match wait {
            Wait::Not => (se_status::SE_E_AGAIN, "nothing to read"),
            _ => (se_status::SE_E_TIMEOUT, "no frame in time"),
        };
        Failure::new(status, format!("stream {}: {text}", self.key))
    }

    fn freed(&self) -> Failure {
        Failure::new(se_status::SE_E_CLOSED, format!("stream {}: the subscriber has been freed", self.key))
    }

    /// Has all further frames delivered to a callback.
    fn deliver_to(&self, callback: Callback<FrameFn>) -> Outcome {
        let state = |text| Failure::new(se_status::SE_E_STATE, format!("stream {}: {text}", self.key));
        let mut reader = self.reader.try_lock().ok_or_else(|| state("a thread is waiting for a frame"))?;
        if reader.is_none() {
            return Err(state("it has a callback already"));
        }
        *self.delivery.callback.lock() = Some(callback);
        // What drops this drops the callback: the task, or `spawn` where it fails.
        let delivering = Delivering { delivery: self.delivery.clone() };
        let handover = Arc::new(Mutex::new(reader.take()));
        match self.host.dispatcher.spawn(deliver(handover.clone(), delivering)) {
            Ok(task) => *self.task.lock() = Some(task),
            Err(failure) => {
                *reader = handover.lock().take();
                return Err(failure.context(format_args!("stream {}", self.key)));
            }
        }
        Ok(())
    }

    /// Wakes readers up, and waits for the callback, which is not called any more.
    fn close(&self) {
        self.delivery.closed.cancel();
        let callback = match self.host.dispatcher.is_current() {
            // If it is held, then by this very callback: the task gives it back afterwards.
            true => self.delivery.callback.try_lock(),
            false => self.delivery.callback.try_lock_for(CALLBACK_TIMEOUT.get()),
        };
        let callback = callback.and_then(|mut callback| callback.take());
        drop(callback);
        drop(self.task.lock().take());
    }
}

/// What reads a stream for C.
struct Reader {
    frames: Subscriber,
    demuxer: Demuxer,
    /// Further samples of the frame that was returned last.
    rest: VecDeque<FrameView>,
}

impl Reader {
    /// The next frame; `None` at the end of the stream.
    async fn next(&mut self) -> Option<FrameView> {
        match self.rest.pop_front() {
            Some(shown) => Some(shown),
            None => self.frames.next().await.map(|frame| self.show(&frame)),
        }
    }

    /// The same, where it is there already.
    fn try_next(&mut self) -> Option<Option<FrameView>> {
        match self.rest.pop_front() {
            Some(shown) => Some(Some(shown)),
            None => self.frames.try_next().ok().map(|frame| frame.map(|frame| self.show(&frame))),
        }
    }

    /// The frame as C sees it: its first sample, or its tag where it has none.
    fn show(&mut self, frame: &Frame) -> FrameView {
        let samples = self.demuxer.push(frame).unwrap_or_default();
        let mut shown = samples.into_iter().filter_map(|sample| FrameView::sample(sample, frame.kind));
        let first = match shown.next() {
            Some(first) => first.with_body(frame.payload.clone()),
            None => FrameView::tag(frame),
        };
        self.rest.extend(shown);
        if self.frames.is_after_gap() { first.after_gap() } else { first }
    }

    /// Why the stream has ended.
    fn end(&self) -> Failure {
        let reason = self.frames.end().map_or_else(String::new, EndReason::to_string);
        Failure::new(se_status::SE_E_CLOSED, format!("stream {}: {reason}", self.frames.key()))
    }
}

/// What the callback thread and the handle share.
#[derive(Default)]
struct Delivery {
    /// Locked while the callback runs.
    callback: Mutex<Option<Callback<FrameFn>>>,
    closed: CancellationToken,
}

/// The callback in the hands of the callback thread; dropping it gives the callback back.
struct Delivering {
    delivery: Arc<Delivery>,
}

impl Delivering {
    /// Calls the callback with a frame, and a reference to it for as long; false where there are to be no more calls.
    fn show(&self, shown: FrameView) -> bool {
        let reference = handle::give::<se_frame_ref>(shown);
        // It is there, and is held, whatever the callback does to the reference.
        let Ok(shown) = handle::borrow(reference) else { return false };
        let goes_on = self.call(shown.as_c(), reference);
        // One that the callback has freed is gone.
        let _ = handle::free(reference);
        goes_on
    }

    /// Calls the callback; false where there are to be no more calls.
    fn call(&self, frame: *const se_frame, reference: *const se_frame_ref) -> bool {
        let callback = self.delivery.callback.lock();
        let Some(callback) = callback.as_ref().filter(|_| !self.delivery.closed.is_cancelled()) else {
            return false;
        };
        // SAFETY: the function is the host's; the pointers are valid during the call, or both NULL.
        unsafe { (callback.function)(frame, reference, callback.user_data()) };
        true
    }
}

impl Drop for Delivering {
    fn drop(&mut self) {
        let callback = self.delivery.callback.lock().take();
        drop(callback);
    }
}

/// Calls a callback with each frame, and at last with the end.
async fn deliver(reader: Arc<Mutex<Option<Reader>>>, delivering: Delivering) {
    let Some(mut reader) = reader.lock().take() else { return };
    let mut calls = 0;
    while let Some(shown) = reader.next().await {
        if !delivering.show(shown) {
            return;
        }
        calls += 1;
        if calls % CALLS_IN_A_ROW.get() == 0 {
            future::yield_now().await;
        }
    }
    remember(&reader.end());
    delivering.call(std::ptr::null(), std::ptr::null());
}

/// Polls a future on this thread until it is ready; `None` where it is not by the deadline.
fn block_until<F: Future>(deadline: Option<Instant>, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(woken.clone());
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Some(output);
        }
        if !woken.wait(deadline) {
            return None;
        }
    }
}

/// Wakes a thread of the host. Not by `std::thread::current`, which would leave something with that thread.
#[derive(Default)]
struct Woken {
    is_woken: Mutex<bool>,
    changed: Condvar,
}

impl Woken {
    /// Waits until it is woken; false where it is not by the deadline.
    fn wait(&self, deadline: Option<Instant>) -> bool {
        let mut is_woken = self.is_woken.lock();
        while !*is_woken {
            match deadline {
                None => self.changed.wait(&mut is_woken),
                Some(at) if self.changed.wait_until(&mut is_woken, at).timed_out() && !*is_woken => {
                    return false;
                }
                Some(_) => {}
            }
        }
        *is_woken = false;
        true
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        *self.is_woken.lock() = true;
        self.changed.notify_one();
    }
}
