//! The end of the stream: EOS is held until everybody has taken what has come, or the time for that is over.

use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How often is looked whether all have taken all.
const PERIOD: Duration = Duration::from_millis(5);

/// EOS messages of the inner sinks, and the wait that they start.
#[derive(Default)]
pub(super) struct Drain {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    held: Vec<gst::Message>,
    /// Cancels the wait in progress.
    running: Option<Arc<AtomicBool>>,
}

impl Drain {
    /// Keeps the EOS of an inner sink.
    pub(super) fn hold(&self, message: gst::Message) {
        let mut state = self.state.lock();
        let source = message.src().cloned();
        state.held.retain(|held| held.src() != source.as_ref());
        state.held.push(message);
    }

    /// Forgets the EOS of an inner sink that was flushed or is gone, and waits no longer.
    pub(super) fn forget(&self, inner: &gst::Object) {
        let mut state = self.state.lock();
        state.held.retain(|held| held.src() != Some(inner));
        state.cancel();
    }

    /// Forgets all.
    pub(super) fn cancel(&self) {
        let mut state = self.state.lock();
        state.held.clear();
        state.cancel();
    }

    /// Holds the end of those that are not waited for too, where every other one of `inner_sinks` has reached its own; whether all have
    /// now, and nobody waits yet.
    pub(super) fn complete(
        &self,
        inner_sinks: &[gst::Element],
        is_waited_for: impl Fn(&gst::Element) -> bool,
    ) -> bool {
        use gst::prelude::*;
        let mut state = self.state.lock();
        let has_ended =
            |inner: &gst::Element| state.held.iter().any(|held| held.src() == Some(inner.upcast_ref()));
        let going_on: Vec<_> = inner_sinks.iter().filter(|inner| !has_ended(inner)).collect();
        if inner_sinks.is_empty()
            || state.running.is_some()
            || going_on.iter().any(|inner| is_waited_for(inner))
        {
            return false;
        }
        // The bin tells of its end once each of them has told of its own.
        state.held.extend(going_on.iter().map(|inner| gst::message::Eos::builder().src(*inner).build()));
        true
    }

    /// Waits on a thread of its own until `is_drained` or for `timeout`, beginning with what has to be waited for in any case;
    /// then `release` gets the messages.
    pub(super) fn start(
        self: &Arc<Self>,
        timeout: Duration,
        begin: impl FnOnce() + Send + 'static,
        is_drained: impl Fn() -> bool + Send + 'static,
        release: impl FnOnce(Vec<gst::Message>) + Send + 'static,
    ) {
        let cancelled = Arc::new(AtomicBool::new(false));
        self.state.lock().running = Some(cancelled.clone());
        let drain = self.clone();
        let wait = move || {
            let until = Instant::now() + timeout;
            begin();
            while !cancelled.load(Ordering::SeqCst) && Instant::now() < until && !is_drained() {
                thread::sleep(PERIOD);
            }
            if let Some(messages) = drain.take(&cancelled) {
                release(messages);
            }
        };
        let spawned = thread::Builder::new().name("rtmp-drain".to_owned()).spawn(wait);
        if let Err(error) = spawned {
            gst::warning!(super::CAT, "EOS is never posted: no thread to wait on: {error}");
        }
    }

    /// The messages, where this wait is still the one in progress.
    fn take(&self, cancelled: &Arc<AtomicBool>) -> Option<Vec<gst::Message>> {
        let mut state = self.state.lock();
        if !state.running.as_ref().is_some_and(|running| Arc::ptr_eq(running, cancelled)) {
            return None;
        }
        state.running = None;
        Some(std::mem::take(&mut state.held))
    }
}

impl State {
    fn cancel(&mut self) {
        if let Some(running) = self.running.take() {
            running.store(true, Ordering::SeqCst);
        }
    }
}
