//! One connection of a relay: from the dialled socket to the granted `publish` or `play`, and its byte flow.

use super::auth::Authentication;
use super::task::{AttemptError, Relay, add};
use crate::egress::{ConnectionOutput, Delivery, Patience, Stuck};
use crate::hub::EndReason;
use crate::limits::ms;
use crate::net::{Conn, Sink, poll_yield, read};
use crate::proto::Received;
use crate::proto::client::{ClientEvent, ClientOptions, ClientRole, ClientSession, announces_opus};
use crate::sessions::Measured;
use crate::status::RelayState;
use crate::url::RtmpUrl;
use crate::{Error, ErrorKind};
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::AsyncRead;
use tokio::time::{Instant, Sleep, sleep_until, timeout, timeout_at};

bound! {
    /// Time to say goodbye in (test `a_target_that_never_closes_its_side_is_left_after_the_goodbye`).
    const CLOSE_TIME: Duration = Duration::from_secs(1), without Duration::from_secs(1 << 30);
}
/// Between the last frames of a stream and its unpublish: nginx-rtmp drops audio that it reads together with it.
const LAST_FRAMES: Duration = Duration::from_millis(100);
/// A granted stream.
pub(super) struct Established<'a> {
    pub(super) connection: Connection<'a>,
    /// The message stream to publish on; 0 when playing.
    pub(super) stream_id: u32,
    /// The chunk size that was announced, where it is not the usual one.
    pub(super) chunk_size: Option<u32>,
    /// What the server says of itself.
    pub(super) server: Server,
}

/// What a server says of itself at `connect`.
#[derive(Debug, Default)]
pub(super) struct Server {
    /// The ids of engines that the stream passes, its own; empty from other software.
    pub(super) hops: Vec<String>,
    /// Whether it takes Opus.
    pub(super) takes_opus: bool,
}

/// Dials `url` and asks for its stream, in no more than its time where the relay has one.
pub(super) async fn establish<'a>(
    relay: &'a Relay,
    url: &RtmpUrl,
    role: ClientRole,
    hops: Vec<String>,
) -> Result<Established<'a>, AttemptError> {
    relay.in_time(connect(relay, url, role, hops)).await
}

/// Connects, with RTMP authentication where the server wants it.
async fn connect<'a>(
    relay: &'a Relay,
    url: &RtmpUrl,
    role: ClientRole,
    hops: Vec<String>,
) -> Result<Established<'a>, AttemptError> {
    let mut auth = Authentication::new();
    loop {
        let conn = relay.dial().await?;
        relay.enter(RelayState::Handshaking);
        let options = ClientOptions {
            app: auth.extend(&url.app_with_query()),
            tc_url: auth.extend(&url.tc_url()),
            stream: url.stream_with_query().into_owned(),
            role,
            hops: hops.clone(),
        };
        let mut session = ClientSession::new(options, &relay.limits());
        let tuning = relay.tuning();
        session.set_stop_commands(tuning.stop_commands);
        session.set_connect_fields(tuning.connect);
        let chunk_size = tuning.chunk_size.filter(|_| role == ClientRole::Publish);
        if let Some(size) = chunk_size {
            session.set_chunk_size(size);
        }
        let mut connection = Connection::new(relay, conn, session);
        match connection.request().await? {
            Answer::Granted { stream_id, server } => {
                return Ok(Established { connection, stream_id, server, chunk_size });
            }
            Answer::ConnectRefused { description, .. } if auth.refused(url, &description, &nonce()) => {}
            Answer::ConnectRefused { code, description } | Answer::StreamRefused { code, description } => {
                return Err(AttemptError::refused(url, &code, &description));
            }
        }
    }
}

fn nonce() -> String {
    format!("{:08x}", rand::random::<u32>())
}

enum Answer {
    Granted { stream_id: u32, server: Server },
    ConnectRefused { code: String, description: String },
    StreamRefused { code: String, description: String },
}

pub(super) struct Connection<'a> {
    relay: &'a Relay,
    peer: SocketAddr,
    reader: Box<dyn AsyncRead + Send + Unpin>,
    /// The writing half, with the stream that goes out, if any.
    output: Arc<ConnectionOutput<Box<dyn Sink>>>,
    session: ClientSession,
    /// Whether there is more of what has been read, and whether others have worked since.
    has_more: bool,
    has_yielded: bool,
    counted: Counted,
    /// Of what was written, how much the peer has acknowledged. A figure for statistics, no more: servers acknowledge in
    /// ways of their own (always the same number, what came since the last time, once), so only the socket tells whether
    /// they read.
    acknowledged: u64,
    chatter: Chatter,
}

bound! {
    /// Messages other than media that are read of a peer in a second: more is no conversation, and would cost our CPU for ever.
    /// Peers that acknowledge every packet of a fast stream stay below
    /// (test `a_target_that_floods_us_with_control_messages_is_read_from_in_measure_and_gets_its_stream`).
    const MAX_CHATTER: u64 = 10_000, without u64::MAX;
}

/// How many messages other than media had come at the start of this second, and the rest of it, once that are too many.
struct Chatter {
    since: Instant,
    before: u64,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Chatter {
    fn new() -> Self {
        Self { since: Instant::now(), before: 0, pause: None }
    }

    /// Ready while more may be read, of which `total` messages have come so far.
    fn poll_ready(&mut self, cx: &mut Context<'_>, total: u64) -> Poll<()> {
        const SECOND: Duration = Duration::from_secs(1);
        if self.pause.is_none() && total.wrapping_sub(self.before) > MAX_CHATTER.get() {
            self.pause = Some(Box::pin(sleep_until(self.since + SECOND)));
        }
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
        }
        if self.pause.take().is_some() || self.since.elapsed() >= SECOND {
            (self.since, self.before) = (Instant::now(), total);
        }
        Poll::Ready(())
    }
}

/// What of a connection is in its relay's counters already.
#[derive(Debug, Clone, Copy, Default)]
struct Counted {
    bytes: u64,
    frames: u64,
    skipped: u64,
}

impl<'a> Connection<'a> {
    fn new(relay: &'a Relay, conn: Conn, session: ClientSession) -> Self {
        let peer = conn.peer();
        let (reader, writer) = conn.into_boxed_halves();
        let output = Arc::new(ConnectionOutput::new(writer));
        let measured: Weak<ConnectionOutput<Box<dyn Sink>>> = Arc::downgrade(&output);
        relay.set_output(measured);
        Self {
            relay,
            peer,
            reader,
            output,
            session,
            has_more: false,
            has_yielded: false,
            counted: Counted::default(),
            acknowledged: 0,
            chatter: Chatter::new(),
        }
    }

    /// Goes through handshake and commands up to the answer, each phase within its deadline.
    async fn request(&mut self) -> Result<Answer, AttemptError> {
        let limits = self.relay.limits();
        let handshake = limits.handshake_timeout_ms;
        match timeout(ms(handshake), self.event()).await {
            Ok(event) => drop(event?),
            Err(_) => return Err(AttemptError::late("the RTMP handshake", handshake)),
        }
        let commands = limits.command_timeout_ms;
        match timeout(ms(commands), self.answer()).await {
            Ok(answer) => answer,
            Err(_) => Err(AttemptError::late("the answer to connect, publish or play", commands)),
        }
    }

    async fn answer(&mut self) -> Result<Answer, AttemptError> {
        let mut server = None;
        loop {
            match self.event().await? {
                ClientEvent::Connected { hops, properties } => {
                    server = Some(Server { hops, takes_opus: announces_opus(&properties) });
                }
                ClientEvent::Publishing { stream_id } => {
                    return Ok(Answer::Granted { stream_id, server: server.unwrap_or_default() });
                }
                ClientEvent::Playing => {
                    return Ok(Answer::Granted { stream_id: 0, server: server.unwrap_or_default() });
                }
                ClientEvent::Rejected { code, description } => {
                    return Ok(match server {
                        None => Answer::ConnectRefused { code, description },
                        Some(_) => Answer::StreamRefused { code, description },
                    });
                }
                ClientEvent::Ended => {
                    return Err(AttemptError::lost(ErrorKind::NotFound, "the stream has ended"));
                }
                ClientEvent::HandshakeDone
                | ClientEvent::Media { .. }
                | ClientEvent::ReconnectRequest { .. }
                | ClientEvent::Acknowledged(_) => {}
            }
        }
    }

    /// The next event, however long it takes. Safe to cancel.
    async fn event(&mut self) -> Result<ClientEvent, AttemptError> {
        loop {
            if let Some(event) = self.poll_event()? {
                return Ok(event);
            }
            self.exchange().await?;
        }
    }

    /// Asks whether the peer is still there.
    pub(super) fn ping(&mut self) {
        self.session.ping(0);
    }

    /// How often it has said so.
    pub(super) fn answers(&self) -> u64 {
        self.session.pongs()
    }

    /// What has been received so far.
    pub(super) fn received(&self) -> Received {
        self.session.received()
    }

    /// The next event in what has been received.
    pub(super) fn poll_event(&mut self) -> Result<Option<ClientEvent>, AttemptError> {
        let event = self.session.poll()?;
        if let Some(ClientEvent::Acknowledged(total)) = event {
            let total = total.min(self.output.traffic().sent);
            add(&self.relay.counters.bytes_acknowledged, total.saturating_sub(self.acknowledged));
            self.acknowledged = self.acknowledged.max(total);
        }
        Ok(event)
    }

    /// Sends and receives until something has come in or the last byte has left. Safe to cancel.
    pub(super) async fn exchange(&mut self) -> Result<(), AttemptError> {
        self.prepare();
        poll_fn(|cx| self.poll_exchange(cx)).await.map_err(|error| self.error_of(error))
    }

    /// Sends this stream from now on, in [`Self::forward`].
    pub(super) fn send(&mut self, stream: Delivery) {
        self.output.lock().deliveries.push(stream);
    }

    /// Whether the stream that goes out has Opus now.
    pub(super) fn has_opus(&self) -> bool {
        self.output.lock().deliveries.first().is_some_and(|delivery| delivery.tracks().has_opus())
    }

    /// The stream that goes out has no sound from now on.
    pub(super) fn leave_audio_out(&self) {
        if let Some(delivery) = self.output.lock().deliveries.first_mut() {
            delivery.leave_audio_out();
        }
    }

    /// Like [`Self::exchange`], and puts frames on their way whenever all before them have left. As long as the
    /// target keeps up, the stream's shard does that instead. The inner error is the end of the stream.
    pub(super) async fn forward(&mut self) -> Result<Result<(), EndReason>, AttemptError> {
        self.prepare();
        self.output.hand_over();
        let forwarded = poll_fn(|cx| self.poll_forward(cx)).await;
        forwarded.map_err(|error| self.error_of(error))
    }

    fn poll_forward(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Result<(), EndReason>>> {
        if let Poll::Ready(exchanged) = self.poll_exchange(cx) {
            return Poll::Ready(exchanged.map(Ok));
        }
        let index = ready!(self.output.poll_ready(cx));
        Poll::Ready(Ok(self.output.lock().fill(index, self.relay.core.limits().player_batch)))
    }

    fn prepare(&mut self) {
        self.output.lock().queue.push_output(self.session.output());
        read::release(self.session.input());
        self.has_more = self.session.is_turn_over();
        self.session.begin_turn();
    }

    /// Reads before it writes: a server that refuses and closes has said why, though writing fails already.
    fn poll_exchange(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.has_more {
            if poll_yield(cx, &mut self.has_yielded).is_ready() {
                self.has_more = false;
                return Poll::Ready(Ok(()));
            }
        } else if self.output.takes_replies()
            && self.chatter.poll_ready(cx, self.session.chatter()).is_ready()
            && self.poll_read(cx)?.is_ready()
        {
            return Poll::Ready(Ok(()));
        }
        self.output.poll_write(cx)
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let input = self.session.input();
        let bytes = ready!(read::poll_read(cx, &mut self.reader, input, read::LARGE_READ))?;
        add(&self.relay.counters.bytes_received, bytes as u64);
        Poll::Ready(if bytes == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) })
    }

    /// Brings the relay's counters up to date.
    pub(super) fn count_sent(&mut self) {
        let now = {
            let output = self.output.lock();
            let sum = |count: fn(&Delivery) -> u64| output.deliveries.iter().map(count).sum();
            Counted {
                bytes: output.queue.written(),
                frames: sum(Delivery::frames_sent),
                skipped: sum(Delivery::skipped),
            }
        };
        let (counters, before) = (&self.relay.counters, self.counted);
        add(&counters.bytes_sent, now.bytes - before.bytes);
        add(&counters.frames, now.frames - before.frames);
        add(&counters.skipped, now.skipped - before.skipped);
        if now.frames > before.frames {
            self.relay.recovered();
        }
        self.counted = now;
    }

    fn error_of(&self, error: io::Error) -> AttemptError {
        let peer = self.peer;
        match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                AttemptError::lost(ErrorKind::Reset, format!("{peer}: the connection was closed by the peer"))
            }
            _ => Error::io(peer, error).into(),
        }
    }

    /// For how long the peer's socket has taken nothing of what waits for it.
    pub(super) fn stalled_for(&self) -> Duration {
        self.output.stalled_since().map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Whether the peer cannot catch up any more.
    pub(super) fn is_too_slow(&self) -> bool {
        let patience =
            Patience { write: self.relay.write_timeout(), ..Patience::new(&self.relay.core.limits()) };
        self.output.check(Instant::now(), patience) == Err(Stuck::TooSlow)
    }

    /// Sends what is left of the stream and takes leave in the protocol's words, as far as the peer lets us in a
    /// second.
    pub(super) async fn close(mut self) {
        let until = Instant::now() + CLOSE_TIME.get();
        if !self.output.lock().deliveries.is_empty() {
            self.output.lock().fill_rest();
            if !self.flush(until).await {
                return;
            }
            tokio::time::sleep(LAST_FRAMES).await;
        }
        self.session.close();
        self.output.lock().queue.push_output(self.session.output());
        if self.flush(until).await {
            let _ = timeout_at(until, self.output.linger(&mut self.reader)).await;
        }
    }

    /// Writes what waits; false where the peer does not take it in time.
    async fn flush(&mut self, until: Instant) -> bool {
        let written = timeout_at(until, self.output.flush(&mut self.reader)).await;
        written.is_ok_and(|result| result.is_ok())
    }
}

/// A shard may hold the output a while longer; the socket and the place in the stream are given up at once.
impl Drop for Connection<'_> {
    fn drop(&mut self) {
        self.count_sent();
        let mut output = self.output.lock();
        output.take_deliveries();
        output.close();
    }
}
