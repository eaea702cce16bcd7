//! A publisher whose messages are FLV, once hyper has let go of its socket.
//!
//! What its page has to know comes in texts of JSON: that it is live, how many bytes have come, that a keyframe is wanted, and why it
//! ends. Browsers show their pages neither how full a socket is nor the status of a refusal.

use super::super::visit::{Publishing, Visit};
use super::super::websocket::{Messages, Sent, Violation, code};
use super::destinations::Destinations;
use super::{Halt, Ingest};
use crate::Limits;
use crate::egress::{ConnectionOutput, Envelope, Patience};
use crate::hub::EndReason;
use crate::net::{DeadlineTimer, Reprieve, Sink, WakeFlag, io_words, poll_yield, read};
use crate::service::{Part, PushNews};
use crate::sessions::{Order, Session};
use bytes::{Bytes, BytesMut};
use serde::Deserialize;
use serde_json::json;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::AsyncRead;
use tokio::time::Instant;
use tokio_util::sync::WaitForCancellationFutureOwned;

/// How often a publisher is told how much has come, while something does.
const ACK_EVERY: Duration = Duration::from_millis(200);
/// How often it is asked for a keyframe at most.
const KEYFRAME_EVERY: Duration = Duration::from_millis(500);

/// One publisher and its connection.
pub(in crate::service::http) struct Socket<R, W> {
    visit: Visit,
    reader: R,
    output: Arc<ConnectionOutput<W>>,
    ingest: Ingest,
    /// What has come and is not taken yet: never more than a text.
    input: BytesMut,
    messages: Messages,
    draining: Pin<Box<WaitForCancellationFutureOwned>>,
    timer: DeadlineTimer,
    /// Raised by orders, `draining`, `timer`, the loss of the right to publish, and what destinations do.
    wake_flag: WakeFlag,
    reprieve: Reprieve,
    since: Instant,
    /// When it is told how much has come, while there is something to tell.
    next_ack: Option<Instant>,
    /// From when on it may be asked for another keyframe.
    next_keyframe: Instant,
    /// When the ping was sent that has not been answered yet.
    pinged: Option<Instant>,
    /// Whose turn it is when several things have happened.
    reads_first: bool,
    destinations: Destinations,
    /// There may be more than was read at once: others have a turn before.
    has_more: bool,
    has_yielded: bool,
}

/// What a publisher's task waits for.
enum Wake {
    /// Bytes have been read; 0 = the peer has closed.
    Read(usize),
    /// Everything is written.
    Written,
    /// The right to publish is gone.
    Lost(EndReason),
    /// Destinations fare otherwise than before.
    Pushed(Vec<PushNews>),
    Order(Order),
    Draining,
    Deadline,
    Failed(io::Error),
}

/// Why and how a publisher's connection ends.
struct End {
    reason: String,
    farewell: Farewell,
}

/// What the peer is told.
enum Farewell {
    /// Nothing: it is gone, or takes nothing.
    Cut,
    /// That it ends on purpose: its close with this code is answered alike. Its stream is over where it says so.
    Answer(u16, bool),
    /// Why, and this code. Its stream is over, or waits for a publisher that keeps to the rules.
    Halt(u16, bool),
}

impl End {
    fn cut(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), farewell: Farewell::Cut }
    }

    fn told(code: u16, reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), farewell: Farewell::Halt(code, false) }
    }
}

impl From<Halt> for End {
    fn from(halt: Halt) -> Self {
        Self { reason: halt.to_string(), farewell: Farewell::Halt(halt.code(), halt.is_final()) }
    }
}

impl From<Violation> for End {
    fn from(violation: Violation) -> Self {
        Self::told(violation.code, violation.words)
    }
}

/// What a page may say, besides its stream.
#[derive(Deserialize)]
struct Wishes {
    /// Where its stream is to go, all that it goes to.
    destinations: Option<Vec<String>>,
}

impl<R: AsyncRead + Unpin + Send, W: Sink> Socket<R, W> {
    /// Sends the head of its reply, and publishes until the connection ends. Not an async function: its arguments would keep their place in the task
    /// beside the publisher that they are in.
    pub(in crate::service::http) fn start(
        publishing: Publishing,
        reader: R,
        writer: W,
        input: &[u8],
    ) -> impl Future<Output = ()> + Send + use<R, W> {
        let Publishing { visit, publisher, mut head } = publishing;
        let output = Arc::new(ConnectionOutput::new(writer));
        visit.measure(output.clone());
        output.lock().queue.push_output(&mut head);
        let destinations = Destinations::new(visit.core(), &publisher);
        let ingest = Ingest::new(publisher, &visit.core().limits());
        let draining = Box::pin(visit.core().draining.clone().cancelled_owned());
        let now = Instant::now();
        let mut socket = Self {
            visit,
            reader,
            output,
            ingest,
            input: input.into(),
            messages: Messages::default(),
            draining,
            timer: DeadlineTimer::new(),
            wake_flag: WakeFlag::new(),
            reprieve: Reprieve::default(),
            since: now,
            next_ack: None,
            next_keyframe: now,
            pinged: None,
            reads_first: false,
            destinations,
            has_more: false,
            has_yielded: false,
        };
        async move {
            let end = socket.work().await;
            socket.finish(end).await;
        }
    }

    async fn work(&mut self) -> End {
        self.tell(&json!({ "open": true, "destinations": self.destinations.names() }));
        let mut digested = self.digest();
        loop {
            if let Err(end) = digested {
                return end;
            }
            let wake = self.wait().await;
            digested = self.on_wake(wake);
        }
    }

    /// Puts a text on its way.
    fn tell(&self, text: &serde_json::Value) {
        self.output.lock().queue.push_output(&mut Envelope::text(&text.to_string())[..].into());
    }

    fn limits(&self) -> Part<Limits> {
        self.visit.core().limits()
    }

    async fn wait(&mut self) -> Wake {
        let judged = self.reprieve.extend(self.deadline());
        let others = [self.next_ack, self.destinations.due()];
        let earliest = others.into_iter().flatten().fold(judged, Instant::min);
        if self.timer.set(earliest) {
            self.wake_flag.raise();
        }
        self.reads_first = !self.reads_first;
        poll_fn(|cx| self.poll_wake(cx)).await
    }

    /// When the peer is judged, or asked for a sign of life.
    fn deadline(&self) -> Instant {
        let publisher = &self.ingest.publisher;
        let others = [publisher.ask_at(), self.output.next_deadline(Patience::new(&self.limits()))];
        others.into_iter().flatten().fold(publisher.silent_at(), Instant::min)
    }

    fn poll_wake(&mut self, cx: &mut Context<'_>) -> Poll<Wake> {
        let Self { visit, draining, timer, wake_flag, ingest, destinations, .. } = self;
        let session = visit.client().session();
        if let Some(mut raised) = wake_flag.poll(cx)
            && let Poll::Ready(wake) =
                poll_seldom(&mut raised, session, draining.as_mut(), timer, ingest, destinations)
        {
            // The others have not been polled.
            wake_flag.raise();
            return Poll::Ready(wake);
        }
        if self.reads_first
            && let Poll::Ready(wake) = self.poll_read(cx)
        {
            return Poll::Ready(wake);
        }
        if let Poll::Ready(written) = self.output.poll_write(cx) {
            return Poll::Ready(written.map_or_else(Wake::Failed, |()| Wake::Written));
        }
        if self.reads_first { Poll::Pending } else { self.poll_read(cx) }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Wake> {
        if !self.output.takes_replies() {
            return Poll::Pending;
        }
        if self.has_more && poll_yield(cx, &mut self.has_yielded).is_pending() {
            return Poll::Pending;
        }
        self.has_more = false;
        let read = read::poll_read(cx, &mut self.reader, &mut self.input, read::LARGE_READ);
        read.map(|read| read.map_or_else(Wake::Failed, Wake::Read))
    }

    fn on_wake(&mut self, wake: Wake) -> Result<(), End> {
        match wake {
            Wake::Read(0) => Err(End::cut("closed by the peer")),
            Wake::Read(bytes) => self.on_read(bytes),
            Wake::Written | Wake::Order(Order::Reconnect(_) | Order::Redirect(_)) => Ok(()),
            Wake::Lost(reason) => Err(Halt::Lost(reason).into()),
            Wake::Pushed(news) => {
                for text in self.destinations.take(news) {
                    self.tell(&text);
                }
                Ok(())
            }
            Wake::Order(Order::Kick(reason)) => Err(Halt::Lost(EndReason::Kicked(reason)).into()),
            Wake::Draining => Err(Halt::Lost(EndReason::Shutdown).into()),
            Wake::Deadline => self.on_timer(),
            Wake::Failed(error) => Err(End::cut(io_words(&error))),
        }
    }

    fn on_read(&mut self, bytes: usize) -> Result<(), End> {
        self.output.count_received(bytes);
        self.has_more = bytes >= read::LARGE_READ;
        let digested = self.digest();
        read::release(&mut self.input);
        digested
    }

    /// Takes what has been read.
    fn digest(&mut self) -> Result<(), End> {
        let most = self.limits().max_websocket_message as u64;
        while let Some(sent) = self.messages.next(&mut self.input, most)? {
            match sent {
                Sent::Stream(bytes) => {
                    self.ingest.take(&bytes)?;
                    self.next_ack = self.next_ack.or_else(|| Some(Instant::now() + ACK_EVERY));
                }
                Sent::Text(text) => self.on_text(&text)?,
                Sent::Ping(payload) => {
                    self.output.lock().queue.push_output(&mut Envelope::pong(&payload)[..].into());
                }
                Sent::Pong(payload) => self.on_pong(&payload),
                Sent::Close(given) => return Err(closed(given)),
            }
        }
        let (frames, core) = (self.messages.frames(), self.visit.core().clone());
        Ok(self.ingest.check_pace(frames, &core.limits())?)
    }

    fn on_text(&mut self, text: &str) -> Result<(), End> {
        let wishes: Wishes = serde_json::from_str(text).map_err(|error| {
            End::told(code::NOT_UNDERSTOOD, format!("a text that is not understood: {error}"))
        })?;
        let Some(names) = wishes.destinations else { return Ok(()) };
        self.destinations.choose(&names).map_err(|name| {
            let name = crate::Printable(&name);
            End::told(code::NOT_ALLOWED, format!("there is no destination {name} for this app"))
        })?;
        self.push_chosen(Instant::now());
        Ok(())
    }

    /// Has the stream go where it is to, when it is time for that.
    fn push_chosen(&mut self, now: Instant) {
        let Self { visit, destinations, ingest, wake_flag, .. } = self;
        if destinations.apply(visit.core(), &ingest.publisher, now) {
            wake_flag.raise();
        }
    }

    fn on_timer(&mut self) -> Result<(), End> {
        let now = Instant::now();
        if self.next_ack.is_some_and(|at| at <= now) {
            self.acknowledge(now);
        }
        if self.destinations.due().is_some_and(|at| at <= now) {
            self.push_chosen(now);
        }
        let due = self.deadline();
        if due > now || !self.reprieve.may_judge(due, now) {
            return Ok(());
        }
        self.look_at_socket()?;
        let patience = Patience::new(&self.limits());
        self.output.check(now, patience).map_err(|stuck| End::cut(stuck.to_string()))?;
        if self.ingest.publisher.ask_at().is_some_and(|at| at <= now) {
            self.ping(now);
        }
        match self.ingest.publisher.silent_at() <= now {
            true => Err(Halt::Silent(self.ingest.publisher.silence_words()).into()),
            false => Ok(()),
        }
    }

    /// Takes and gives what the kernel has before the peer is judged: alarms are looked at first, so it may lie there.
    fn look_at_socket(&mut self) -> Result<(), End> {
        let mut cx = Context::from_waker(Waker::noop());
        if let Poll::Ready(Err(error)) = self.output.poll_write(&mut cx) {
            return Err(End::cut(io_words(&error)));
        }
        if !self.output.takes_replies() {
            return Ok(());
        }
        match read::poll_read(&mut cx, &mut self.reader, &mut self.input, read::LARGE_READ) {
            Poll::Ready(Ok(bytes @ 1..)) => self.on_read(bytes),
            // An end, or an error, the next reading meets too.
            _ => Ok(()),
        }
    }

    /// Tells how much has come, and what is wanted.
    fn acknowledge(&mut self, now: Instant) {
        self.next_ack = None;
        self.tell(&json!({ "ack": self.ingest.received.bytes }));
        if self.next_keyframe <= now && self.ingest.publisher.take_keyframe_wish() {
            self.next_keyframe = now + KEYFRAME_EVERY;
            self.tell(&json!({ "keyframe": true }));
        }
    }

    fn ping(&mut self, now: Instant) {
        let clock = self.clock(now).to_be_bytes();
        self.output.lock().queue.push_output(&mut Envelope::ping(&clock)[..].into());
        self.pinged = Some(now);
        self.ingest.publisher.note_asked();
    }

    /// What pings carry.
    fn clock(&self, at: Instant) -> u64 {
        u64::try_from(at.duration_since(self.since).as_millis()).unwrap_or(u64::MAX)
    }

    /// An answer to the newest ping tells how far away the peer is; any other tells nothing.
    fn on_pong(&mut self, payload: &Bytes) {
        if let Some(at) = self.pinged.filter(|&at| self.clock(at).to_be_bytes() == payload[..]) {
            self.pinged = None;
            self.visit.client().session().set_rtt(at.elapsed());
            self.ingest.publisher.note_answer(Instant::now());
        }
    }

    /// Ends the stream, says why, closes our side, gives the peer a moment to close its own, and reports the end.
    async fn finish(self, end: End) {
        let Self { visit, mut reader, output, ingest, .. } = self;
        let End { mut reason, farewell } = end;
        let words = match farewell {
            Farewell::Cut => {
                ingest.end(&reason, false);
                None
            }
            Farewell::Answer(code, true) => match ingest.finish() {
                Ok(()) => Some(Envelope::WebSocket.end(code, &reason)),
                Err(halt) => {
                    reason = halt.to_string();
                    Some(told(halt.code(), &reason))
                }
            },
            Farewell::Answer(code, false) => {
                ingest.end(&reason, false);
                Some(Envelope::WebSocket.end(code, &reason))
            }
            Farewell::Halt(code, is_final) => {
                ingest.end(&reason, is_final);
                Some(told(code, &reason))
            }
        };
        if let Some(words) = words {
            output.lock().queue.push_output(&mut words[..].into());
            // Boxed: its timers would otherwise enlarge the task for all its life.
            Box::pin(output.part(&mut reader, visit.core().farewell_time())).await;
        }
        output.lock().close();
        visit.leave(&reason);
    }
}

/// What a publisher is told at its end: the reason whole, which in a close has room for 123 bytes only.
pub(in crate::service::http) fn told(code: u16, reason: &str) -> Bytes {
    let error = Envelope::text(&json!({ "error": reason }).to_string());
    [error, Envelope::WebSocket.end(code, reason)].concat().into()
}

/// The peer closes. A page that ends its stream says so by 1000, or closes without a code; one that is left or loaded anew says 1001
/// by itself, and may come back.
fn closed(given: Option<u16>) -> End {
    let is_end = given.is_none_or(|code| code == code::ENDED);
    let reason = if is_end { "ended by the publisher" } else { "closed by the peer" };
    Farewell::Answer(given.unwrap_or(code::ENDED), is_end).with(reason)
}

impl Farewell {
    fn with(self, reason: &str) -> End {
        End { reason: reason.to_owned(), farewell: self }
    }
}

/// Orders, draining, deadlines and a lost right. They come first: a peer that floods us must not put them off.
fn poll_seldom(
    cx: &mut Context<'_>,
    session: &Session,
    draining: Pin<&mut WaitForCancellationFutureOwned>,
    timer: &mut DeadlineTimer,
    ingest: &mut Ingest,
    destinations: &Destinations,
) -> Poll<Wake> {
    if let Poll::Ready(order) = session.poll_order(cx) {
        return Poll::Ready(Wake::Order(order));
    }
    if draining.poll(cx).is_ready() {
        return Poll::Ready(Wake::Draining);
    }
    if timer.poll(cx).is_ready() {
        return Poll::Ready(Wake::Deadline);
    }
    if let Poll::Ready(reason) = ingest.publisher.poll_lost(cx) {
        return Poll::Ready(Wake::Lost(reason));
    }
    destinations.poll(cx).map(Wake::Pushed)
}
