//! A player whose socket hyper has let go of: driven as those of all doors are.

use super::visit::{Playing, Then, Turn, Visit};
use super::websocket::{self, Said, Violation, code};
use crate::Limits;
use crate::egress::{ConnectionOutput, Envelope, Patience};
use crate::hub::EndReason;
use crate::media::FrameKind;
use crate::net::{DeadlineTimer, Reprieve, Sink, WakeFlag, read};
use crate::service::Part;
use crate::sessions::{Order, Session};
use bytes::{Bytes, BytesMut};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::AsyncRead;
use tokio::time::Instant;
use tokio_util::sync::WaitForCancellationFutureOwned;

/// Size of one read: players have next to nothing to say.
const READ: usize = 4 * 1024;

/// One player and its connection.
pub(super) struct Player<R, W> {
    visit: Visit,
    reader: R,
    output: Arc<ConnectionOutput<W>>,
    envelope: Envelope,
    /// What the peer of a WebSocket has sent and is not a whole frame yet.
    input: BytesMut,
    draining: Pin<Box<WaitForCancellationFutureOwned>>,
    timer: DeadlineTimer,
    /// Raised by orders, `draining` and `timer`.
    wake_flag: WakeFlag,
    reprieve: Reprieve,
    /// Whose turn it is when several things have happened.
    reads_first: bool,
}

/// What a player's task waits for.
enum Wake {
    /// Bytes have been read; 0 = the peer has closed.
    Read(usize),
    /// Everything is written.
    Written,
    /// The player has frames or its end.
    Ready,
    Order(Order),
    Draining,
    Deadline,
    Failed(io::Error),
}

/// Why and how a player's connection ends.
struct End {
    reason: String,
    farewell: Farewell,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Farewell {
    /// The peer is gone, or takes nothing: nothing more is sent.
    Cut,
    /// What waits is sent, and has all that is to be said in it.
    Flush,
    /// After what waits the peer is told that this is the end; with this code where it has a WebSocket.
    Tell(u16),
}

impl End {
    fn cut(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), farewell: Farewell::Cut }
    }

    fn told(code: u16, reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), farewell: Farewell::Tell(code) }
    }

    fn failed(error: &io::Error) -> Self {
        Self::cut(crate::net::io_words(error))
    }

    /// The stream has ended for the player.
    fn of(reason: &EndReason) -> Self {
        let code = match reason {
            EndReason::Unpublished | EndReason::PublisherLost | EndReason::Replaced => code::ENDED,
            EndReason::NotPublished => code::REFUSED + 404,
            EndReason::Lagging => code::TOO_SLOW,
            EndReason::Kicked(_) => code::KICKED,
            EndReason::Shutdown => code::DRAINING,
        };
        Self::told(code, reason.to_string())
    }
}

impl From<Violation> for End {
    fn from(violation: Violation) -> Self {
        Self::told(violation.code, violation.words)
    }
}

impl<R: AsyncRead + Unpin + Send, W: Sink> Player<R, W> {
    /// Sends what `turn` says, and serves the player until it ends. Not an async function: its arguments would keep their
    /// place in the task beside the player that they are in.
    pub(super) fn start(
        turn: Box<Turn>,
        reader: R,
        writer: W,
        input: Bytes,
    ) -> impl Future<Output = ()> + Send {
        let (mut player, is_playing) = Self::new(turn, reader, writer, &input);
        async move {
            let end = match is_playing {
                true => player.work().await,
                false => End { reason: "refused".to_owned(), farewell: Farewell::Flush },
            };
            player.finish(end).await;
        }
    }

    fn new(turn: Box<Turn>, reader: R, writer: W, input: &[u8]) -> (Self, bool) {
        let Turn { visit, mut head, then } = *turn;
        let output = Arc::new(ConnectionOutput::new(writer));
        visit.measure(output.clone());
        output.lock().queue.push_output(&mut head);
        let (envelope, is_playing) = match then {
            Then::Play(playing) => {
                let Playing { delivery, envelope, .. } = *playing;
                output.lock().deliveries.push(delivery);
                (envelope, true)
            }
            Then::Publish(_) | Then::End => (Envelope::Plain, false),
        };
        let input = if envelope == Envelope::WebSocket { input.into() } else { BytesMut::new() };
        let draining = Box::pin(visit.core().draining.clone().cancelled_owned());
        let player = Self {
            visit,
            reader,
            output,
            envelope,
            input,
            draining,
            timer: DeadlineTimer::new(),
            wake_flag: WakeFlag::new(),
            reprieve: Reprieve::default(),
            reads_first: false,
        };
        (player, is_playing)
    }

    async fn work(&mut self) -> End {
        if let Err(end) = self.digest() {
            return end;
        }
        loop {
            let wake = self.wait().await;
            if let Err(end) = self.on_wake(wake) {
                return end;
            }
            self.output.hand_over();
        }
    }

    async fn wait(&mut self) -> Wake {
        if let Some(earliest) = self.output.next_deadline(Patience::new(&self.limits()))
            && self.timer.set(self.reprieve.extend(earliest))
        {
            self.wake_flag.raise();
        }
        self.reads_first = !self.reads_first;
        poll_fn(|cx| self.poll_wake(cx)).await
    }

    fn poll_wake(&mut self, cx: &mut Context<'_>) -> Poll<Wake> {
        let Self { visit, draining, timer, wake_flag, .. } = self;
        if let Some(mut raised) = wake_flag.poll(cx)
            && let Poll::Ready(wake) =
                poll_seldom(&mut raised, visit.client().session(), draining.as_mut(), timer)
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
        if self.output.poll_ready(cx).is_ready() {
            return Poll::Ready(Wake::Ready);
        }
        if self.reads_first { Poll::Pending } else { self.poll_read(cx) }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Wake> {
        if !self.output.takes_replies() {
            return Poll::Pending;
        }
        let read = match self.envelope {
            Envelope::WebSocket => read::poll_read(cx, &mut self.reader, &mut self.input, READ),
            Envelope::Plain | Envelope::Chunked => read::poll_discard(cx, &mut self.reader),
        };
        read.map(|read| read.map_or_else(Wake::Failed, Wake::Read))
    }

    fn on_wake(&mut self, wake: Wake) -> Result<(), End> {
        match wake {
            Wake::Read(0) => Err(End::cut("closed by the peer")),
            Wake::Read(bytes) => {
                self.output.count_received(bytes);
                let digested = self.digest();
                read::release(&mut self.input);
                digested
            }
            Wake::Written | Wake::Order(Order::Reconnect(_) | Order::Redirect(_)) => Ok(()),
            Wake::Ready => self.fill(),
            Wake::Order(Order::Kick(reason)) => Err(End::of(&EndReason::Kicked(reason))),
            Wake::Draining => Err(self.on_draining()),
            Wake::Deadline => self.on_timer(),
            Wake::Failed(error) => Err(End::failed(&error)),
        }
    }

    /// Answers what the peer of a WebSocket says.
    fn digest(&mut self) -> Result<(), End> {
        while self.envelope == Envelope::WebSocket
            && let Some(said) = websocket::next_frame(&mut self.input)?
        {
            match said {
                Said::Ping(payload) => {
                    self.output.lock().queue.push_output(&mut Envelope::pong(&payload)[..].into());
                }
                Said::Close(given) => {
                    return Err(End::told(given.unwrap_or(code::ENDED), "closed by the peer"));
                }
                Said::Other => {}
            }
        }
        Ok(())
    }

    /// Hands the player its next frames, or ends it.
    fn fill(&mut self) -> Result<(), End> {
        let mut output = self.output.lock();
        let filled = output.fill(0, self.limits().player_batch);
        let late = output.deliveries.first().and_then(|delivery| delivery.late_kind());
        drop(output);
        match (filled, late) {
            (Err(EndReason::Shutdown), _) => Err(self.on_draining()),
            (Err(reason), _) => Err(End::of(&reason)),
            // Players in browsers cannot begin with it now: they come again.
            (Ok(()), Some(kind)) => Err(End::told(code::ENDED, late_words(kind))),
            (Ok(()), None) => Ok(()),
        }
    }

    fn on_draining(&self) -> End {
        self.output.lock().fill_rest();
        End::of(&EndReason::Shutdown)
    }

    fn on_timer(&mut self) -> Result<(), End> {
        let now = Instant::now();
        let patience = Patience::new(&self.limits());
        let Some(due) = self.output.next_deadline(patience) else { return Ok(()) };
        if !self.reprieve.may_judge(due, now) {
            return Ok(());
        }
        // What the kernel takes now counts: alarms are looked at first.
        if let Poll::Ready(Err(error)) =
            self.output.poll_write(&mut Context::from_waker(std::task::Waker::noop()))
        {
            return Err(End::failed(&error));
        }
        self.output.check(now, patience).map_err(|stuck| End::cut(stuck.to_string()))?;
        match self.output.overdue(now) {
            Some(_) => self.fill(),
            None => Ok(()),
        }
    }

    fn limits(&self) -> Part<Limits> {
        self.visit.core().limits()
    }

    /// Says why, closes our side, gives the peer a moment to close its own, and reports the end.
    async fn finish(mut self, end: End) {
        for player in self.output.lock().take_deliveries() {
            self.visit.client().tell_stop(&player, &end.reason);
        }
        if end.farewell != Farewell::Cut {
            // Boxed: its timers would otherwise enlarge the task for all its life.
            Box::pin(self.farewell(&end)).await;
        }
        self.output.lock().close();
        self.visit.leave(&end.reason);
    }

    async fn farewell(&mut self, end: &End) {
        if let Farewell::Tell(code) = end.farewell {
            let last = self.envelope.end(code, &end.reason);
            self.output.lock().queue.push_output(&mut last[..].into());
        }
        self.output.part(&mut self.reader, self.visit.core().farewell_time()).await;
    }
}

/// Orders, draining and deadlines.
fn poll_seldom(
    cx: &mut Context<'_>,
    session: &Session,
    draining: Pin<&mut WaitForCancellationFutureOwned>,
    timer: &mut DeadlineTimer,
) -> Poll<Wake> {
    if let Poll::Ready(order) = session.poll_order(cx) {
        return Poll::Ready(Wake::Order(order));
    }
    if draining.poll(cx).is_ready() {
        return Poll::Ready(Wake::Draining);
    }
    timer.poll(cx).map(|()| Wake::Deadline)
}

fn late_words(kind: FrameKind) -> &'static str {
    match kind {
        FrameKind::Audio => "the stream has audio now, which it had not at the start",
        FrameKind::Video => "the stream has video now, which it had not at the start",
        FrameKind::Data => "the stream has data now, which it had not at the start",
    }
}
