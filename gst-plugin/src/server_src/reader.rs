//! The thread that takes publishers' frames out of the engine, one publisher after the other, and notes when they arrived.

use super::counters::Received;
use super::demuxing::StreamDemuxer;
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
use streamengine::media::FrameKind;
use streamengine::{EndReason, Subscriber};

/// One publisher's stream.
pub(super) struct Reading {
    pub(super) serial: u64,
    pub(super) subscriber: Subscriber,
    pub(super) received: Arc<Received>,
}

/// What the reader is to do.
pub(super) enum Command {
    /// Read this after what is being read now.
    Read(Box<Reading>),
    /// Forget this publisher: it never came.
    Forget(u64),
    /// End the stream.
    End,
}

/// What the reader reports, on its thread.
#[derive(Debug)]
pub(super) enum ReaderEvent {
    /// The publisher's stream has been read to its end, which came for this reason.
    ReadToEnd(u64, EndReason),
    /// It has been silent for so long.
    Idle(u64, Duration),
    /// There is no pad on which the stream could end.
    NothingToEnd,
}

/// Sends commands to the thread.
#[derive(Clone)]
pub(super) struct Commands {
    shared: Arc<Shared>,
    thread: Thread,
}

#[derive(Default)]
struct Shared {
    commands: Mutex<VecDeque<Command>>,
    stop: AtomicBool,
}

impl Commands {
    pub(super) fn send(&self, command: Command) {
        self.shared.commands.lock().push_back(command);
        self.wake();
    }

    /// Lets the thread look at the settings anew.
    pub(super) fn wake(&self) {
        self.thread.unpark();
    }
}

/// The thread; dropping it ends and joins it.
pub(super) struct Reader {
    commands: Commands,
    thread: Option<JoinHandle<()>>,
}

impl Reader {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub(super) fn start(
        demuxer: StreamDemuxer,
        settings: Arc<Mutex<Settings>>,
        report: impl Fn(ReaderEvent) + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let work = Work {
            shared: shared.clone(),
            demuxer,
            settings,
            report: Box::new(report),
            waiting: VecDeque::new(),
            current: None,
        };
        let thread = thread::Builder::new().name("rtmpserversrc".to_owned()).spawn(move || work.run())?;
        let commands = Commands { shared, thread: thread.thread().clone() };
        Ok(Self { commands, thread: Some(thread) })
    }

    pub(super) fn commands(&self) -> Commands {
        self.commands.clone()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.commands.shared.stop.store(true, Ordering::Release);
        self.commands.wake();
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
    demuxer: StreamDemuxer,
    settings: Arc<Mutex<Settings>>,
    report: Box<dyn Fn(ReaderEvent) + Send>,
    waiting: VecDeque<Box<Reading>>,
    current: Option<Current>,
}

struct Current {
    reading: Box<Reading>,
    last_media: Instant,
    is_reported_idle: bool,
}

/// What came of looking for a frame.
enum ReadOutcome {
    Read,
    Nothing,
    End,
}

impl Work {
    fn run(mut self) {
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut context = Context::from_waker(&waker);
        while !self.shared.stop.load(Ordering::Acquire) {
            self.take_commands();
            match self.step(&mut context) {
                ReadOutcome::Read => continue,
                ReadOutcome::End => self.end_current(),
                ReadOutcome::Nothing => self.wait(),
            }
        }
    }

    fn take_commands(&mut self) {
        loop {
            let Some(command) = self.shared.commands.lock().pop_front() else { return };
            match command {
                Command::Read(reading) => self.waiting.push_back(reading),
                Command::Forget(serial) => self.forget(serial),
                Command::End if self.demuxer.end() => {}
                Command::End => (self.report)(ReaderEvent::NothingToEnd),
            }
        }
    }

    fn forget(&mut self, serial: u64) {
        self.waiting.retain(|reading| reading.serial != serial);
        self.current = self.current.take().filter(|current| current.reading.serial != serial);
    }

    fn step(&mut self, context: &mut Context<'_>) -> ReadOutcome {
        if self.current.is_none() {
            let Some(reading) = self.waiting.pop_front() else { return ReadOutcome::Nothing };
            self.demuxer.begin(reading.received.clone());
            self.current = Some(Current { reading, last_media: Instant::now(), is_reported_idle: false });
        }
        let Some(current) = &mut self.current else { return ReadOutcome::Nothing };
        let subscriber = &mut current.reading.subscriber;
        let next = pin!(subscriber.next()).poll(context);
        match next {
            Poll::Pending => ReadOutcome::Nothing,
            Poll::Ready(None) => ReadOutcome::End,
            Poll::Ready(Some(frame)) => {
                let arrival = Instant::now();
                if frame.kind != FrameKind::Data {
                    current.last_media = arrival;
                }
                let is_after_gap = current.reading.subscriber.is_after_gap();
                self.demuxer.frame(&frame, arrival, is_after_gap);
                ReadOutcome::Read
            }
        }
    }

    fn end_current(&mut self) {
        let Some(current) = self.current.take() else { return };
        self.demuxer.leave();
        let end = current.reading.subscriber.end().cloned().unwrap_or(EndReason::PublisherLost);
        (self.report)(ReaderEvent::ReadToEnd(current.reading.serial, end));
    }

    /// Waits for frames, commands or the next deadline.
    fn wait(&mut self) {
        self.demuxer.on_time();
        let idle_at = self.check_silence();
        match [idle_at, self.demuxer.deadline()].into_iter().flatten().min() {
            Some(at) => thread::park_timeout(at.saturating_duration_since(Instant::now())),
            None => thread::park(),
        }
    }

    /// Reports when the publisher is silent for too long; else when it will be.
    fn check_silence(&mut self) -> Option<Instant> {
        let allowed = settings::timeout(self.settings.lock().idle_timeout)?;
        let current = self.current.as_mut().filter(|current| !current.is_reported_idle)?;
        let at = current.last_media + allowed;
        if at > Instant::now() {
            return Some(at);
        }
        current.is_reported_idle = true;
        (self.report)(ReaderEvent::Idle(current.reading.serial, allowed));
        None
    }
}
