//! RTMP connections: one task each, between the socket, the protocol session and the hub.
//!
//! ```text
//!   socket ──read──> ServerSession ──events──> requests (connect, publish, play: verdicts)
//!                        │                └──> Publisher::push (media)
//!                        └──replies──> WriteQueue ──vectored write──> socket
//!   hub ──Subscriber──> Delivery ──frames──> WriteQueue
//! ```
//!
//! Reading and writing go on side by side: a player that does not read can still tell us that it leaves, and a
//! peer that does not read our replies is not read from until it does.

mod end;
mod requests;
#[cfg(test)]
mod tests;

use super::arrival::{self, Arrived, GAVE_WAY, ONLY_LOOKED, shake_hands};
use super::pace::{Pace, Verdict};
use super::streams::{Client, Connected, ConnectionPublisher, Granted, Refusal};
use super::{Core, Part};
use crate::Limits;
use crate::auth::Door;
use crate::egress::{ConnectionOutput, Delivery, Patience};
use crate::hub::EndReason;
use crate::limits::ms;
use crate::net::{
    Accepted, DeadlineTimer, Halves, PendingPlace, Reprieve, ServerTls, Sink, WakeFlag, io_words, poll_yield,
    read,
};
use crate::proto::server::{Phase, ServerEvent, ServerSession};
use crate::sessions::{Measured, Order, Session};
use crate::status::Protocol;
use end::End;
use requests::Waiting;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use tokio::io::AsyncRead;
use tokio::time::Instant;
use tokio_util::sync::WaitForCancellationFutureOwned;

/// Size of one read from anybody but a publisher: what has been read may have to wait for a verdict.
const SMALL_READ: usize = 4 * 1024;

/// Who has come, when and how.
struct Arrival {
    peer: SocketAddr,
    /// Whether the connection is encrypted.
    tls: bool,
    /// Phase deadlines count from here.
    since: Instant,
    /// The place among the connections that have not been granted anything.
    pending: Option<PendingPlace>,
}

/// Serves one accepted socket until it ends; with `tls` as RTMPS.
pub(crate) fn accept(
    core: Arc<Core>,
    accepted: Accepted,
    tls: Option<Arc<ServerTls>>,
) -> impl Future<Output = ()> + Send {
    // Boxed, and the box opened at once: arguments of an async function keep their place in the task for all its life.
    accept_boxed(core, Box::new(accepted), tls)
}

async fn accept_boxed(core: Arc<Core>, mut accepted: Box<Accepted>, tls: Option<Arc<ServerTls>>) {
    if !arrival::may_begin(&core, &mut accepted).await {
        return;
    }
    match tls {
        None => {
            let Accepted { stream, peer, since, pending, permit, .. } = *{ accepted };
            let _permit = permit;
            let (reader, writer) = stream.into_split();
            let arrival = Arrival { peer, tls: false, since, pending: Some(pending) };
            converse(core, reader, writer, arrival).await;
        }
        // Boxed: few connections are of this kind, and the task is as large as the larger kind.
        Some(tls) => Box::pin(accept_tls(core, *{ accepted }, tls)).await,
    }
}

async fn accept_tls(core: Arc<Core>, accepted: Accepted, tls: Arc<ServerTls>) {
    let peer = accepted.peer;
    // Boxed: the handshake would otherwise enlarge the task for all its life.
    let Some(arrived) = Box::pin(shake_hands(&core, accepted, &tls)).await else { return };
    let Arrived { conn, since, pending, permit } = arrived;
    let _permit = permit;
    let arrival = Arrival { peer, tls: conn.is_tls(), since, pending: Some(pending) };
    match conn.into_halves() {
        Halves::Plain(reader, writer) => converse(core, reader, writer, arrival).await,
        Halves::Tls(reader, writer) => converse(core, reader, writer, arrival).await,
    }
}

/// Serves one connection until it ends. Not an async function: its arguments would keep their place in the task beside
/// the connection that they are in.
fn converse<R, W>(core: Arc<Core>, reader: R, writer: W, arrival: Arrival) -> impl Future<Output = ()> + Send
where
    R: AsyncRead + Unpin + Send,
    W: Sink,
{
    let mut connection = Connection::new(core, reader, writer, arrival);
    async move {
        let end = connection.run().await;
        connection.report(&end);
    }
}

/// Serves one connection over any byte stream until it ends.
#[cfg(test)]
async fn serve<IO>(core: Arc<Core>, io: IO, peer: SocketAddr)
where
    IO: AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (reader, writer) = tokio::io::split(io);
    converse(core, reader, writer, Arrival { peer, tls: false, since: Instant::now(), pending: None }).await;
}

/// An accepted `publish`.
struct Publish {
    stream_id: u32,
    publisher: ConnectionPublisher,
}

/// One connection and all that goes on on it.
struct Connection<R, W> {
    client: Client,
    reader: R,
    /// The writing half, with the players.
    output: Arc<ConnectionOutput<W>>,
    rtmp: ServerSession,
    /// The app of `connect`, once it is accepted.
    app: Option<String>,
    /// The request that waits for whoever decides.
    waiting: Option<Waiting>,
    publishes: Vec<Publish>,
    pace: Pace,
    draining: Pin<Box<WaitForCancellationFutureOwned>>,
    timer: DeadlineTimer,
    /// Raised by the session's orders, `draining`, `timer`, `waiting` and the loss of `publishes`.
    wake_flag: WakeFlag,
    since: Instant,
    /// Since when nothing has been published or played; `None` during the handshake and while there is.
    idle_since: Option<Instant>,
    next_ping: Instant,
    /// When the ping was sent that has not been answered yet.
    pinged: Option<Instant>,
    /// What deadlines are extended by, if anything.
    reprieve: Reprieve,
    /// Whether others have worked since our turn ended before our input.
    has_yielded: bool,
    /// Whose turn it is when several things have happened.
    reads_first: bool,
    /// The place among the connections that have not been granted anything.
    pending: Option<PendingPlace>,
}

/// Where things happen. They take turns, so that none of them can starve the others.
#[derive(Clone, Copy)]
enum Source {
    Peer,
    Queue,
    Hub,
}

/// What a connection waits for.
enum Wake {
    /// Bytes have been read; 0 = the peer has closed.
    Read(usize),
    /// There is more of what has been read.
    Turn,
    /// Everything is written.
    Written,
    /// The player at this index has frames or its end.
    Ready(usize),
    /// The publisher at this index has lost its right.
    Lost(usize, EndReason),
    /// It is decided whether the peer may connect, and to which app.
    Connected(Result<Connected, Refusal>),
    /// It is decided what a request may have.
    Verdict(Result<Granted, Refusal>),
    /// Somebody outside wants something.
    Order(Order),
    /// The engine drains.
    Draining,
    /// Others need its place.
    Evicted,
    /// A deadline may have passed.
    Deadline,
    ReadFailed(io::Error),
    WriteFailed(io::Error),
}

impl<R: AsyncRead + Unpin, W: Sink> Connection<R, W> {
    fn new(core: Arc<Core>, reader: R, writer: W, arrival: Arrival) -> Self {
        let Arrival { peer, tls, since, pending } = arrival;
        let output = Arc::new(ConnectionOutput::new(writer));
        let mut rtmp = ServerSession::new(&core.limits());
        rtmp.set_engine_id(&core.id);
        let protocol = if tls { Protocol::Rtmps } else { Protocol::Rtmp };
        let client = Client::open(core, peer, Door::Rtmp, protocol, output.clone());
        Self {
            draining: Box::pin(client.core().draining.clone().cancelled_owned()),
            rtmp,
            client,
            reader,
            output,
            app: None,
            waiting: None,
            publishes: Vec::new(),
            pace: Pace::default(),
            timer: DeadlineTimer::new(),
            wake_flag: WakeFlag::new(),
            since,
            idle_since: None,
            next_ping: since,
            pinged: None,
            reprieve: Reprieve::default(),
            has_yielded: false,
            reads_first: false,
            pending,
        }
    }

    /// Serves it until it ends; why. By reference, or the task would have room for it twice.
    async fn run(&mut self) -> End {
        let end = self.work().await;
        self.leave_streams(&end);
        self.send_output();
        // Boxed: its timers would otherwise enlarge the task for all its life.
        Box::pin(self.farewell(&end)).await;
        self.output.lock().close();
        end
    }

    async fn work(&mut self) -> End {
        loop {
            let wake = self.wait().await;
            if let Err(end) = self.on_wake(wake) {
                return end;
            }
            self.send_output();
            self.output.hand_over();
        }
    }

    /// Reads, writes and waits, all at once, until something has happened.
    async fn wait(&mut self) -> Wake {
        self.set_timer();
        self.reads_first = !self.reads_first;
        let can_read = !self.rtmp.is_waiting() && self.output.takes_replies();
        poll_fn(|cx| self.poll_wake(cx, can_read)).await
    }

    fn poll_wake(&mut self, cx: &mut Context<'_>, can_read: bool) -> Poll<Wake> {
        let Self { client, draining, timer, wake_flag, waiting, publishes, pending, .. } = self;
        if let Some(mut raised) = wake_flag.poll(cx)
            && let Poll::Ready(wake) = poll_seldom(
                &mut raised,
                client.session(),
                draining.as_mut(),
                timer,
                waiting.as_mut(),
                publishes,
                pending.as_mut(),
            )
        {
            // The others have not been polled.
            wake_flag.raise();
            return Poll::Ready(wake);
        }
        let order = match self.reads_first {
            true => [Source::Peer, Source::Queue, Source::Hub],
            false => [Source::Queue, Source::Hub, Source::Peer],
        };
        let is_turn_over = self.rtmp.is_turn_over();
        let read_size = if self.publishes.is_empty() { SMALL_READ } else { read::LARGE_READ };
        for source in order {
            let wake = match source {
                Source::Peer if can_read && is_turn_over => {
                    poll_yield(cx, &mut self.has_yielded).map(|()| Wake::Turn)
                }
                Source::Peer if can_read => {
                    read::poll_read(cx, &mut self.reader, self.rtmp.input(), read_size)
                        .map(|read| read.map_or_else(Wake::ReadFailed, Wake::Read))
                }
                Source::Peer => Poll::Pending,
                Source::Queue => self
                    .output
                    .poll_write(cx)
                    .map(|written| written.map_or_else(Wake::WriteFailed, |()| Wake::Written)),
                Source::Hub => self.output.poll_ready(cx).map(Wake::Ready),
            };
            if wake.is_ready() {
                return wake;
            }
        }
        Poll::Pending
    }

    /// Puts what the session has to say on the way.
    fn send_output(&mut self) {
        self.output.lock().queue.push_output(self.rtmp.output());
    }

    fn closed_by_peer(&self) -> &'static str {
        if self.output.traffic().received == 0 { ONLY_LOOKED } else { "closed by the peer" }
    }

    fn on_wake(&mut self, wake: Wake) -> Result<(), End> {
        match wake {
            Wake::Read(0) => Err(End::cut(self.closed_by_peer())),
            Wake::Read(bytes) => {
                self.output.count_received(bytes);
                self.digest()
            }
            Wake::Turn => self.digest(),
            Wake::Written => Ok(()),
            Wake::Ready(index) => self.fill(index),
            Wake::Lost(index, reason) => self.on_lost(index, &reason),
            Wake::Connected(verdict) => {
                self.on_connected(verdict)?;
                self.digest()
            }
            Wake::Verdict(verdict) => {
                self.on_verdict(verdict)?;
                self.digest()
            }
            Wake::Order(Order::Kick(reason)) => Err(self.on_kicked(&reason)),
            Wake::Order(Order::Reconnect(url)) => {
                self.rtmp.request_reconnect(url.as_deref(), "the operator asks for it");
                Ok(())
            }
            Wake::Order(Order::Redirect(key)) => {
                self.redirect(&key);
                Ok(())
            }
            Wake::Draining => Err(self.on_draining()),
            Wake::Evicted => Err(End::cut(GAVE_WAY)),
            Wake::Deadline => self.on_timer(),
            Wake::ReadFailed(error) => Err(End::cut(io_words(&error))),
            Wake::WriteFailed(error) => {
                self.read_rest()?;
                Err(End::cut(io_words(&error)))
            }
        }
    }

    /// Goes through what has been read, up to a request that needs a verdict, or to the end of the turn.
    fn digest(&mut self) -> Result<(), End> {
        self.rtmp.begin_turn();
        while let Some(event) = self.rtmp.poll()? {
            self.on_event(event)?;
        }
        if self.idle_since.is_none() && self.is_idle() && self.rtmp.phase() != Phase::Handshake {
            self.idle_since = Some(Instant::now());
        }
        read::release(self.rtmp.input());
        self.check_pace()
    }

    /// Warns of a publisher that sends more than anybody expects, and ends whoever sends more than a publisher may.
    fn check_pace(&mut self) -> Result<(), End> {
        match self.pace.look(self.rtmp.received(), &self.limits()) {
            Verdict::Fine => Ok(()),
            Verdict::Fast(speed) => {
                self.publishes.iter().for_each(|published| published.publisher.log_fast(&speed));
                Ok(())
            }
            Verdict::TooFast(speed) => Err(self.on_too_fast(&speed.words())),
        }
    }

    /// Reads what the kernel still has when the peer takes nothing any more: an encoder that unpublishes and
    /// closes at once has not been lost.
    fn read_rest(&mut self) -> Result<(), End> {
        let mut cx = Context::from_waker(Waker::noop());
        while !self.rtmp.is_waiting()
            && let Poll::Ready(Ok(bytes @ 1..)) =
                read::poll_read(&mut cx, &mut self.reader, self.rtmp.input(), read::LARGE_READ)
        {
            self.output.count_received(bytes);
            self.digest()?;
            while self.rtmp.is_turn_over() {
                self.digest()?;
            }
        }
        Ok(())
    }

    /// Takes and gives what the kernel has before somebody is ended for having neither sent nor taken anything: alarms
    /// are looked at first, so it may lie there.
    fn look_at_socket(&mut self) -> Result<(), End> {
        let mut cx = Context::from_waker(Waker::noop());
        if let Poll::Ready(Err(error)) = self.output.poll_write(&mut cx) {
            return Err(End::cut(io_words(&error)));
        }
        if self.rtmp.is_waiting() || self.rtmp.is_turn_over() || !self.output.takes_replies() {
            return Ok(());
        }
        match read::poll_read(&mut cx, &mut self.reader, self.rtmp.input(), read::LARGE_READ) {
            Poll::Ready(Ok(bytes @ 1..)) => {
                self.output.count_received(bytes);
                self.digest()
            }
            // An end, or an error, the next reading meets too.
            _ => Ok(()),
        }
    }

    fn on_event(&mut self, event: ServerEvent) -> Result<(), End> {
        match event {
            ServerEvent::Connect(connect) => self.on_connect(connect),
            ServerEvent::Publish(publish) => self.on_publish(publish),
            ServerEvent::Play(play) => self.on_play(play),
            ServerEvent::Media { stream_id, kind, timestamp, payload } => {
                self.on_media(stream_id, kind, timestamp, payload)
            }
            ServerEvent::Unpublish { stream_id } => {
                self.on_unpublish(stream_id);
                Ok(())
            }
            ServerEvent::StopPlay { stream_id } => {
                self.on_stop_play(stream_id);
                Ok(())
            }
            ServerEvent::Pause { stream_id, paused } => {
                self.with_player(stream_id, |player| player.pause(paused));
                Ok(())
            }
            ServerEvent::Receive { stream_id, kind, wanted } => {
                self.with_player(stream_id, |player| player.receive(kind, wanted));
                Ok(())
            }
            ServerEvent::Pong(clock) => {
                self.on_pong(clock);
                Ok(())
            }
            ServerEvent::Acknowledged(_) => Ok(()),
        }
    }

    fn with_player(&self, stream_id: u32, act: impl FnOnce(&mut Delivery)) {
        let mut output = self.output.lock();
        if let Some(player) = output.deliveries.iter_mut().find(|player| player.id == stream_id) {
            act(player);
        }
    }

    fn has_players(&self) -> bool {
        !self.output.lock().deliveries.is_empty()
    }

    /// Nothing is published, played or asked for.
    fn is_idle(&self) -> bool {
        self.publishes.is_empty() && !self.has_players() && self.waiting.is_none()
    }

    fn limits(&self) -> Part<Limits> {
        self.client.core().limits()
    }

    /// The phase's deadline: time for the handshake, for a granted request, or none while there is one.
    fn phase_deadline(&self) -> Option<Instant> {
        match self.rtmp.phase() {
            Phase::Handshake => Some(self.since + ms(self.limits().handshake_timeout_ms)),
            _ => self.idle_since.map(|since| since + ms(self.limits().command_timeout_ms)),
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let limits = self.limits();
        let ping = self.has_players().then_some(self.next_ping);
        let ask = self.publishes.iter().filter_map(|published| published.publisher.ask_at()).min();
        let deadlines = [
            self.phase_deadline(),
            self.output.next_deadline(Patience::new(&limits)),
            self.publishes.iter().map(|published| published.publisher.silent_at()).min(),
            ping,
            ask,
        ];
        deadlines.into_iter().flatten().min()
    }

    fn set_timer(&mut self) {
        if let Some(earliest) = self.next_deadline()
            && self.timer.set(self.reprieve.extend(earliest))
        {
            self.wake_flag.raise();
        }
    }

    fn on_timer(&mut self) -> Result<(), End> {
        let now = Instant::now();
        let Some(due) = self.next_deadline() else { return Ok(()) };
        if !self.reprieve.may_judge(due, now) {
            return Ok(());
        }
        self.look_at_socket()?;
        if self.phase_deadline().is_some_and(|at| at <= now) {
            return Err(End::cut(match self.rtmp.phase() {
                Phase::Handshake => "handshake took too long",
                _ => "nothing published or played in time",
            }));
        }
        let patience = Patience::new(&self.limits());
        self.output.check(now, patience).map_err(|stuck| End::cut(stuck.to_string()))?;
        if self.has_players() && self.next_ping <= now {
            self.ping(now);
        }
        if let Some(index) = self.output.overdue(now) {
            return self.fill(index);
        }
        let is_quiet = |published: &Publish| published.publisher.ask_at().is_some_and(|at| at <= now);
        if self.publishes.iter().any(is_quiet) {
            self.ping(now);
            self.publishes.iter_mut().for_each(|published| published.publisher.note_asked());
        }
        let silent = |published: &Publish| published.publisher.silent_at() <= now;
        match self.publishes.iter().position(silent) {
            Some(index) => self.on_silence(index),
            None => Ok(()),
        }
    }

    fn ping(&mut self, now: Instant) {
        self.rtmp.ping(self.clock(now));
        self.pinged = Some(now);
        self.next_ping = now + ms(self.limits().ping_interval_ms);
    }

    /// What pings carry.
    fn clock(&self, now: Instant) -> u32 {
        #[expect(clippy::cast_possible_truncation, reason = "the wire's clock is modulo 2^32")]
        let clock = now.duration_since(self.since).as_millis() as u32;
        clock
    }

    /// An answer to the newest ping tells how far away the peer is; any other tells nothing.
    fn on_pong(&mut self, clock: u32) {
        if let Some(at) = self.pinged.filter(|&at| self.clock(at) == clock) {
            self.pinged = None;
            self.client.session().set_rtt(at.elapsed());
            let now = Instant::now();
            self.publishes.iter_mut().for_each(|published| published.publisher.note_answer(now));
        }
    }

    /// Hands a player its next frames, or ends it.
    fn fill(&mut self, index: usize) -> Result<(), End> {
        let filled = self.output.lock().fill(index, self.limits().player_batch);
        filled.or_else(|reason| self.end_player(index, &reason))
    }
}

/// Orders, draining, deadlines, verdicts and lost rights. They come first: a peer that floods us must not put them off.
fn poll_seldom(
    cx: &mut Context<'_>,
    session: &Session,
    draining: Pin<&mut WaitForCancellationFutureOwned>,
    timer: &mut DeadlineTimer,
    waiting: Option<&mut Waiting>,
    publishes: &mut [Publish],
    pending: Option<&mut PendingPlace>,
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
    if pending.is_some_and(|pending| pending.poll_evicted(cx).is_ready()) {
        return Poll::Ready(Wake::Evicted);
    }
    if let Some(waiting) = waiting
        && let Poll::Ready(wake) = waiting.poll(cx)
    {
        return Poll::Ready(wake);
    }
    for (index, published) in publishes.iter_mut().enumerate() {
        if let Poll::Ready(reason) = published.publisher.poll_lost(cx) {
            return Poll::Ready(Wake::Lost(index, reason));
        }
    }
    Poll::Pending
}
