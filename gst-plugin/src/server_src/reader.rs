//! The thread that takes publishers' frames out of the engine, one publisher after the other, and notes when they arrived.

use super::counters::Received;
use super::demuxing::Intake;
use super::settings::{self, Settings};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};
use streamengine_core::media::FrameKind;
use streamengine_core::{EndReason, Subscriber};

/// One publisher's stream.
pub(super) struct Reading {
    pub(super) serial: u64,
    pub(super) subscriber: Subscriber,
    pub(super) received: Arc<Received>,
}

/// What the reader is to do.
pub(super) enum Order {
    /// Read this after what is being read now.
    Read(Box<Reading>),
    /// Forget this publisher: it never came.
    Forget(u64),
    /// End the stream.
    End,
}

/// What the reader has to tell. It is told on the reader's thread.
#[derive(Debug)]
pub(super) enum Told {
    /// The publisher's stream has been read to its end, which came for this reason.
    Read(u64, EndReason),
    /// It has been silent for so long.
    Idle(u64, Duration),
    /// There is no pad on which the stream could end.
    NothingToEnd,
}

/// Gives orders to the thread.
#[derive(Clone)]
pub(super) struct Orders {
    shared: Arc<Shared>,
    thread: Thread,
}

#[derive(Default)]
struct Shared {
    orders: Mutex<VecDeque<Order>>,
    stop: AtomicBool,
}

impl Orders {
    pub(super) fn give(&self, order: Order) {
        self.shared.orders.lock().push_back(order);
        self.wake();
    }

    /// Lets the thread look at the settings anew.
    pub(super) fn wake(&self) {
        self.thread.unpark();
    }
}

/// The thread; dropping it ends and joins it.
pub(super) struct Reader {
    orders: Orders,
    thread: Option<JoinHandle<()>>,
}

impl Reader {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub(super) fn start(
        intake: Intake,
        settings: Arc<Mutex<Settings>>,
        tell: impl Fn(Told) + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let work = Work {
            shared: shared.clone(),
            intake,
            settings,
            tell: Box::new(tell),
            waiting: VecDeque::new(),
            current: None,
        };
        let thread = thread::Builder::new().name("rtmpserversrc".to_owned()).spawn(move || work.run())?;
        let orders = Orders { shared, thread: thread.thread().clone() };
        Ok(Self { orders, thread: Some(thread) })
    }

    pub(super) fn orders(&self) -> Orders {
        self.orders.clone()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.orders.shared.stop.store(true, Ordering::Release);
        self.orders.wake();
        // A handler of pad-added that stops its own element runs on that thread, which then ends by itself.
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != thread::current().id()
        {
            // A panic there has been printed.
            let _ = thread.join();
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

struct Work {
    shared: Arc<Shared>,
    intake: Intake,
    settings: Arc<Mutex<Settings>>,
    tell: Box<dyn Fn(Told) + Send>,
    waiting: VecDeque<Box<Reading>>,
    current: Option<Current>,
}

struct Current {
    reading: Box<Reading>,
    last_media: Instant,
    is_told_idle: bool,
}

/// What came of looking for a frame.
enum Step {
    Read,
    Nothing,
    End,
}

impl Work {
    fn run(mut self) {
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut context = Context::from_waker(&waker);
        while !self.shared.stop.load(Ordering::Acquire) {
            self.take_orders();
            match self.step(&mut context) {
                Step::Read => continue,
                Step::End => self.end_current(),
                Step::Nothing => self.wait(),
            }
        }
    }

    fn take_orders(&mut self) {
        loop {
            let Some(order) = self.shared.orders.lock().pop_front() else { return };
            match order {
                Order::Read(reading) => self.waiting.push_back(reading),
                Order::Forget(serial) => self.forget(serial),
                Order::End if self.intake.end() => {}
                Order::End => (self.tell)(Told::NothingToEnd),
            }
        }
    }

    fn forget(&mut self, serial: u64) {
        self.waiting.retain(|reading| reading.serial != serial);
        self.current = self.current.take().filter(|current| current.reading.serial != serial);
    }

    fn step(&mut self, context: &mut Context<'_>) -> Step {
        if self.current.is_none() {
            let Some(reading) = self.waiting.pop_front() else { return Step::Nothing };
            self.intake.begin(reading.received.clone());
            self.current = Some(Current { reading, last_media: Instant::now(), is_told_idle: false });
        }
        let Some(current) = &mut self.current else { return Step::Nothing };
        let subscriber = &mut current.reading.subscriber;
        let next = pin!(subscriber.next()).poll(context);
        match next {
            Poll::Pending => Step::Nothing,
            Poll::Ready(None) => Step::End,
            Poll::Ready(Some(frame)) => {
                let arrival = Instant::now();
                if frame.kind != FrameKind::Data {
                    current.last_media = arrival;
                }
                let is_after_gap = current.reading.subscriber.is_after_gap();
                self.intake.frame(&frame, arrival, is_after_gap);
                Step::Read
            }
        }
    }

    fn end_current(&mut self) {
        let Some(current) = self.current.take() else { return };
        self.intake.leave();
        let end = current.reading.subscriber.end().cloned().unwrap_or(EndReason::PublisherLost);
        (self.tell)(Told::Read(current.reading.serial, end));
    }

    /// Waits for frames, orders or the next deadline.
    fn wait(&mut self) {
        self.intake.on_time();
        let idle_at = self.check_silence();
        match [idle_at, self.intake.deadline()].into_iter().flatten().min() {
            Some(at) => thread::park_timeout(at.saturating_duration_since(Instant::now())),
            None => thread::park(),
        }
    }

    /// Tells when the publisher is silent for too long; else when it will be.
    fn check_silence(&mut self) -> Option<Instant> {
        let allowed = settings::timeout(self.settings.lock().idle_timeout)?;
        let current = self.current.as_mut().filter(|current| !current.is_told_idle)?;
        let at = current.last_media + allowed;
        if at > Instant::now() {
            return Some(at);
        }
        current.is_told_idle = true;
        (self.tell)(Told::Idle(current.reading.serial, allowed));
        None
    }
}
