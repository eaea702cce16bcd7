//! The server side of an RTMP connection, from C0 to the end of its last stream.
//!
//! Usage: append received bytes to [`ServerSession::input`], call [`ServerSession::poll`] until it returns
//! `None`, send what [`ServerSession::output`] holds. After an event that asks for a verdict, `poll` returns
//! `None` until [`ServerSession::accept`] or [`ServerSession::reject`] has been called, so that nothing that a
//! peer pipelines behind a request is lost or judged too early. Once [`ServerSession::is_closing`], send the rest
//! of the output, shut the sending direction down, and close when the peer has or after a moment: a socket closed
//! over unread input is reset, and the peer may never see why it was refused.

mod streams;

use super::message::{Command, Control};
use super::session::{
    self, AUDIO_INFO_KEY, CAN_FORWARD, CAP_RECONNECT, CAPS_EX, CAPS_EX_KEY, FOUR_CC_LIST_KEY, Incoming,
    Level, Link, MediaMessage, RECONNECT_REQUEST, VIDEO_INFO_KEY, WINDOW, as_number, as_stream_id, as_text,
    command, information, properties, text,
};
use super::{ProtocolError, ProtocolErrorKind, Received};
use crate::Limits;
use crate::amf0::Amf0Value;
use crate::hops;
use crate::media::{FrameKind, TimestampUnwrapper};
use bytes::{Bytes, BytesMut};
use std::collections::HashMap;
use std::mem;
use streams::{Stream, Streams};

bound! {
    /// Memory that the object of `connect` may take: it is kept as long as the connection. Encoders send less than
    /// a tenth (test `f07_what_connect_leaves_in_memory_before_a_grant_is_at_most_64_kib`).
    const MAX_CONNECT: usize = 16 * 1024, without usize::MAX;
    /// Messages of a turn of a publisher. They cost a few microseconds each, and no honest one
    /// has as many in one read (test `w3_a_turn_of_a_publisher_ends_after_64_messages`).
    const PUBLISHER_TURN: u32 = 64, without u32::MAX;
    /// Messages of a turn of everybody else (test `w3_a_turn_ends_before_many_small_messages_do_and_the_next_goes_on`).
    const TURN: u32 = 16, without u32::MAX;
    /// Messages before anything is published or played; encoders send about a dozen
    /// (test `a_thousand_messages_of_any_kind_are_read_before_a_grant_and_no_more`).
    const MAX_MESSAGES_PENDING: u64 = 1_000, without u64::MAX;
    /// Refused requests that a connection survives on which something goes on: one that asks for more guesses names or keys
    /// (test `a_refused_request_costs_only_itself_while_something_else_goes_on_but_not_for_ever`).
    const MAX_REFUSED: usize = 8, without usize::MAX;
}

const UNKNOWN: &str = "unknown command";

/// How far a connection has come; each phase has its own deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Bytes of the handshake are awaited.
    Handshake,
    /// Handshake done; nothing published or played yet.
    Command,
    /// At least one `publish` or `play` has been accepted.
    Granted,
}

/// What happened on the connection. Events marked *verdict* wait for accept or reject.
#[derive(Debug, Clone, PartialEq)]
pub enum ServerEvent {
    /// `connect` (*verdict*).
    Connect(Connect),
    /// `publish` (*verdict*).
    Publish(Publish),
    /// `play` (*verdict*).
    Play(Play),
    /// A media message of an accepted publish.
    Media {
        /// The message stream it was published on.
        stream_id: u32,
        /// Audio, video or data.
        kind: FrameKind,
        /// Unwrapped time in milliseconds.
        timestamp: i64,
        /// The body; of data messages without `@setDataFrame`.
        payload: Bytes,
    },
    /// The publisher ended its stream on purpose (FCUnpublish, closeStream, deleteStream).
    Unpublish {
        /// The message stream.
        stream_id: u32,
    },
    /// The player ended playing (closeStream, deleteStream).
    StopPlay {
        /// The message stream.
        stream_id: u32,
    },
    /// `pause`: media is to be held back, or sent again.
    Pause {
        /// The message stream.
        stream_id: u32,
        /// True to hold back.
        paused: bool,
    },
    /// `receiveAudio` / `receiveVideo`.
    Receive {
        /// The message stream.
        stream_id: u32,
        /// Audio or video.
        kind: FrameKind,
        /// Whether the player wants it.
        wanted: bool,
    },
    /// The peer has received this many bytes in all (running total, unwrapped).
    Acknowledged(u64),
    /// The peer answered a ping that carried this clock value.
    Pong(u32),
}

/// The `connect` command.
#[derive(Debug, Clone, PartialEq)]
pub struct Connect {
    /// The app, as sent (query included).
    pub app: String,
    /// The whole command object: tcUrl, flashVer, fourCcList, capsEx, ...
    pub object: HashMap<String, Amf0Value>,
    /// The arguments after it (user, password of some encoders).
    pub arguments: Vec<Amf0Value>,
    /// Streams of engines that the connection's stream has been, oldest first (our own `connect` extension).
    pub hops: Vec<String>,
}

/// The `publish` command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// The message stream.
    pub stream_id: u32,
    /// The stream name as sent (secret and query included).
    pub name: String,
}

/// The `play` command.
#[derive(Debug, Clone, PartialEq)]
pub struct Play {
    /// The message stream.
    pub stream_id: u32,
    /// The stream name as sent (query included).
    pub name: String,
    /// Start in seconds; -2 = live or recorded, -1 = live.
    pub start: f64,
}

/// Why a request is refused; becomes `_error` (connect) or `onStatus` level error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// A status code such as `NetStream.Publish.BadName`.
    pub code: &'static str,
    /// The reason in words, shown by the encoder.
    pub description: String,
}

/// The server side of one connection.
///
/// ```text
/// connection:      Handshake ──C2──> Fresh ──connect──> Judging ──accept──> Connected
///                                                        │   ^                 │
///                                                  reject│   └──publish, play──┘
///                                                        v
///                                  any error ──────> Closing
///
/// message stream:  createStream ──> Idle ──publish, accept──> Publishing ──┐
///                                   ^ │                                    │ FCUnpublish, closeStream,
///                                   │ └─────play, accept────> Playing ─────┤ publish, play, end_publish, end_play
///                                   └──────────────────────────────────────┘
///                  deleteStream ends and removes it
/// ```
///
/// All other commands leave the state as it is. Encoders' quirks that are followed: `publish` and `play` on
/// any message stream without `createStream`, media on message stream 0 instead of that of the one publish, `publish` without `FCPublish`, without a type or with one in
/// capitals, `closeStream` with and without an argument, `publish(false)` and `play(false)` for it (Flash),
/// commands in AMF3 envelopes, everything unknown.
///
/// A request that is refused costs only itself while something else goes on on the connection. Errors after which nothing on
/// the connection can be trusted are said to the peer before it closes.
pub struct ServerSession {
    link: Link,
    state: State,
    streams: Streams,
    max_streams: usize,
    granted: bool,
    /// Whether a publish was granted: its messages may be long and many.
    has_published: bool,
    /// Requests refused without closing.
    refused: usize,
    /// Whether the peer follows reconnect requests.
    reconnects: bool,
    /// Told to peers that are engines like this one, once.
    engine_id: Option<Box<str>>,
    /// An event that has to wait for the one before it.
    deferred: Option<Box<ServerEvent>>,
}

enum State {
    Handshake,
    Fresh,
    Judging(Request),
    Connected,
    Closing,
}

/// A request that waits for its verdict, and what its reply needs.
enum Request {
    Connect(ConnectReply),
    Publish { stream_id: u32, name: String },
    Play { stream_id: u32, reset: bool },
}

struct ConnectReply {
    transaction: f64,
    object_encoding: f64,
    enhanced: bool,
    /// Whether the peer is an engine like this one.
    is_engine: bool,
    reconnects: bool,
}

impl ServerSession {
    /// A session at the start of its handshake.
    pub fn new(limits: &Limits) -> Self {
        let limits = &*limits.in_force();
        Self {
            link: Link::server(limits),
            state: State::Handshake,
            streams: Streams::default(),
            max_streams: limits.max_message_streams,
            granted: false,
            has_published: false,
            refused: 0,
            reconnects: false,
            engine_id: None,
            deferred: None,
        }
    }

    /// Names this engine to peers that are engines too, so that what they pull from it carries its id.
    pub fn set_engine_id(&mut self, id: &str) {
        self.engine_id = Some(id.into());
    }

    /// The buffer to append received bytes to.
    pub fn input(&mut self) -> &mut BytesMut {
        &mut self.link.input
    }

    /// The bytes to send; the caller takes them out (`split`).
    pub fn output(&mut self) -> &mut BytesMut {
        &mut self.link.output
    }

    /// Processes input up to the next event. After an error the session is closing.
    pub fn poll(&mut self) -> Result<Option<ServerEvent>, ProtocolError> {
        if let Some(event) = self.deferred.take() {
            return Ok(Some(*event));
        }
        let outcome = self.check_pending().and_then(|()| self.advance());
        if let Err(error) = &outcome {
            self.say(error);
            self.state = State::Closing;
        }
        if self.is_closing() {
            self.link.discard();
        }
        outcome
    }

    /// Begins a turn: [`Self::poll`] looks at so many messages at most, fewer of a peer that publishes nothing.
    pub fn begin_turn(&mut self) {
        self.link.begin_turn(if self.has_published { PUBLISHER_TURN.get() } else { TURN.get() });
    }

    /// Whether the turn has ended before the input: the caller lets others work before the next.
    pub fn is_turn_over(&self) -> bool {
        self.link.is_turn_over() && !self.is_waiting() && !self.is_closing()
    }

    /// What has been taken in so far.
    pub fn received(&self) -> Received {
        self.link.received()
    }

    /// Whether a verdict is awaited; the caller then stops reading.
    pub fn is_waiting(&self) -> bool {
        matches!(self.state, State::Judging(_)) && self.deferred.is_none()
    }

    /// Whether a request was refused or an error met: nothing more is read or written. The caller sends what
    /// [`Self::output`] holds and closes.
    pub fn is_closing(&self) -> bool {
        matches!(self.state, State::Closing)
    }

    /// How far the connection has come.
    pub fn phase(&self) -> Phase {
        match self.state {
            _ if self.granted => Phase::Granted,
            State::Handshake => Phase::Handshake,
            State::Fresh | State::Judging(_) | State::Connected | State::Closing => Phase::Command,
        }
    }

    /// Grants the pending request and writes its replies. Does nothing where none is pending.
    pub fn accept(&mut self) {
        match self.take_request(State::Connected) {
            Some(Request::Connect(reply)) => self.accept_connect(&reply),
            Some(Request::Publish { stream_id, name }) => self.accept_publish(stream_id, name),
            Some(Request::Play { stream_id, reset }) => self.accept_play(stream_id, reset),
            None => {}
        }
    }

    /// Refuses the pending request with a status the peer can show. Where nothing else is published or played, or the peer
    /// has been refused often, the session is closing then. Does nothing where none is pending.
    pub fn reject(&mut self, rejection: &Rejection) {
        let info = information(Level::Error, rejection.code, &rejection.description);
        let in_use = self.streams.iter().any(|(_, stream)| !matches!(stream, Stream::Idle));
        let next = match in_use && self.refused < MAX_REFUSED.get() {
            true => State::Connected,
            false => State::Closing,
        };
        self.refused = self.refused.saturating_add(1);
        match self.take_request(next) {
            Some(Request::Connect(reply)) => {
                let info = vec![Amf0Value::Object(info)];
                self.link.send_command(&command("_error", reply.transaction, info));
            }
            Some(Request::Publish { stream_id, .. } | Request::Play { stream_id, .. }) => {
                self.send_status(stream_id, info);
            }
            None => {}
        }
    }

    /// Ends a publish from our side: onStatus error with `rejection`, then no more media events for it.
    pub fn end_publish(&mut self, stream_id: u32, rejection: &Rejection) {
        if self.is_closing() || !matches!(self.streams.get(stream_id), Some(Stream::Publishing { .. })) {
            return;
        }
        self.streams.insert(stream_id, Stream::Idle);
        self.send_status(stream_id, information(Level::Error, rejection.code, &rejection.description));
    }

    /// Ends a play from our side: UnpublishNotify, Play.Stop, StreamEOF. Players end at the first that they
    /// know.
    pub fn end_play(&mut self, stream_id: u32, description: &str) {
        if self.is_closing() || !matches!(self.streams.get(stream_id), Some(Stream::Playing)) {
            return;
        }
        self.streams.insert(stream_id, Stream::Idle);
        for code in ["NetStream.Play.UnpublishNotify", "NetStream.Play.Stop"] {
            self.send_status(stream_id, information(Level::Status, code, description));
        }
        self.link.send_control(Control::StreamEof(stream_id));
    }

    /// Ends a play that never had anything to play: onStatus error with `rejection`, then StreamEOF.
    pub fn fail_play(&mut self, stream_id: u32, rejection: &Rejection) {
        if self.is_closing() || !matches!(self.streams.get(stream_id), Some(Stream::Playing)) {
            return;
        }
        self.streams.insert(stream_id, Stream::Idle);
        self.send_status(stream_id, information(Level::Error, rejection.code, &rejection.description));
        self.link.send_control(Control::StreamEof(stream_id));
    }

    /// Sends a ping that carries `clock`; not before the handshake is complete.
    pub fn ping(&mut self, clock: u32) {
        if !matches!(self.state, State::Handshake | State::Closing) {
            self.link.send_control(Control::PingRequest(clock));
        }
    }

    /// Whether the peer announced in `connect` that it follows reconnect requests (E-RTMP `capsEx`).
    pub fn follows_reconnects(&self) -> bool {
        self.reconnects
    }

    /// Asks a peer that announced the reconnect capability to connect again (E-RTMP); false where it did not.
    pub fn request_reconnect(&mut self, tc_url: Option<&str>, description: &str) -> bool {
        if !self.reconnects || self.is_closing() {
            return false;
        }
        let mut info = information(Level::Status, RECONNECT_REQUEST, description);
        if let Some(url) = tc_url {
            info.insert("tcUrl".to_owned(), text(url));
        }
        self.link.send_command(&command("onStatus", 0.0, vec![Amf0Value::Object(info)]));
        true
    }

    /// Tells the peer why the connection ends. Before the handshake is over nobody would understand.
    fn say(&mut self, error: &ProtocolError) {
        if !matches!(self.state, State::Handshake | State::Closing) {
            let info = information(Level::Error, "NetConnection.Connect.Failed", &error.detail);
            self.link.send_command(&command("onStatus", 0.0, vec![Amf0Value::Object(info)]));
        }
    }

    /// Whether a peer that was granted nothing yet may go on: messages that lead to nothing cost work all the same.
    fn check_pending(&self) -> Result<(), ProtocolError> {
        match !self.granted && self.received().messages > MAX_MESSAGES_PENDING.get() {
            true => Err(self.link.error(
                ProtocolErrorKind::Limit,
                format!(
                    "more than {} messages before anything is published or played",
                    MAX_MESSAGES_PENDING.get()
                ),
            )),
            false => Ok(()),
        }
    }

    fn advance(&mut self) -> Result<Option<ServerEvent>, ProtocolError> {
        while !matches!(self.state, State::Judging(_) | State::Closing) {
            let Some(incoming) = self.link.next()? else { break };
            let event = self.on_incoming(incoming)?;
            if event.is_some() {
                return Ok(event);
            }
        }
        Ok(None)
    }

    fn on_incoming(&mut self, incoming: Incoming) -> Result<Option<ServerEvent>, ProtocolError> {
        match (&self.state, incoming) {
            (State::Handshake, Incoming::HandshakeDone) => {
                self.state = State::Fresh;
                Ok(None)
            }
            (State::Fresh, Incoming::Command(_, command)) => self.on_early_command(command),
            (State::Connected, Incoming::Command(stream_id, command)) => self.on_command(stream_id, command),
            (State::Connected, Incoming::Media(media)) => Ok(self.on_media(media)),
            (_, Incoming::Acknowledged(total)) => Ok(Some(ServerEvent::Acknowledged(total))),
            (_, Incoming::Pong(clock)) => Ok(Some(ServerEvent::Pong(clock))),
            // Media before a publish; the rest cannot be, as nothing is read while judging or closing.
            (
                _,
                Incoming::HandshakeDone | Incoming::Command(..) | Incoming::Media(_) | Incoming::StreamEof,
            ) => Ok(None),
        }
    }

    /// Commands before a granted `connect`.
    fn on_early_command(&mut self, command: Command) -> Result<Option<ServerEvent>, ProtocolError> {
        match command.name.as_str() {
            "connect" if session::memory(&command.object) > MAX_CONNECT.get() => {
                Err(self.link.error(ProtocolErrorKind::Limit, "the object of connect holds too much"))
            }
            "connect" => Ok(Some(self.on_connect(command))),
            "publish" | "play" => {
                Err(self.link.error(ProtocolErrorKind::State, "no connect before publish or play"))
            }
            _ => {
                self.answer_error(&command, UNKNOWN);
                Ok(None)
            }
        }
    }

    fn on_command(&mut self, stream_id: u32, command: Command) -> Result<Option<ServerEvent>, ProtocolError> {
        match command.name.as_str() {
            "connect" => self.answer_error(&command, "connected already"),
            "createStream" => self.on_create_stream(&command),
            "publish" => return Ok(self.on_publish(stream_id, &command)),
            "play" => return Ok(self.on_play(stream_id, &command)),
            "closeStream" => return Ok(self.end(named_stream(stream_id, &command))),
            "deleteStream" => {
                let id = named_stream(stream_id, &command);
                let event = self.end(id);
                self.streams.remove(id);
                return Ok(event);
            }
            "FCUnpublish" => return Ok(self.on_fc_unpublish(&command)),
            "pause" => return Ok(self.on_pause(stream_id, &command)),
            "receiveAudio" => return Ok(self.on_receive(stream_id, FrameKind::Audio, &command)),
            "receiveVideo" => return Ok(self.on_receive(stream_id, FrameKind::Video, &command)),
            _ => self.on_formality(stream_id, &command),
        }
        Ok(None)
    }

    /// Commands that get an answer and change nothing.
    fn on_formality(&mut self, stream_id: u32, command: &Command) {
        match command.name.as_str() {
            "releaseStream" | "_checkbw" => self.answer(command, Amf0Value::Undefined),
            "getStreamLength" => self.answer(command, Amf0Value::Number(0.0)),
            "FCPublish" => self.answer_fc(command, "onFCPublish", "NetStream.Publish.Start"),
            "FCSubscribe" => self.answer_fc(command, "onFCSubscribe", "NetStream.Play.Start"),
            "FCUnsubscribe" => self.answer_fc(command, "onFCUnsubscribe", "NetStream.Play.Stop"),
            // A live stream has no other place to go to; a player that is told so goes on playing.
            "seek" => self.send_play_status(stream_id, "NetStream.Seek.Notify", "live"),
            "play2" => {
                let info = information(Level::Error, "NetStream.Play.Failed", "play2 is not supported");
                self.send_status(stream_id, info);
            }
            _ => self.answer_error(command, UNKNOWN),
        }
    }

    fn on_connect(&mut self, command: Command) -> ServerEvent {
        let object = match command.object {
            Amf0Value::Object(object) => object,
            _ => HashMap::new(),
        };
        let enhanced = [CAPS_EX_KEY, FOUR_CC_LIST_KEY, VIDEO_INFO_KEY, AUDIO_INFO_KEY];
        self.state = State::Judging(Request::Connect(ConnectReply {
            transaction: command.transaction,
            object_encoding: as_number(object.get("objectEncoding")).unwrap_or(0.0),
            enhanced: enhanced.iter().any(|key| object.contains_key(*key)),
            is_engine: object.contains_key(hops::KEY),
            reconnects: as_stream_id(object.get(CAPS_EX_KEY)).is_some_and(|caps| caps & CAP_RECONNECT != 0),
        }));
        ServerEvent::Connect(Connect {
            app: as_text(object.get("app")).unwrap_or_default().to_owned(),
            hops: session::hops_in(&object),
            object,
            arguments: command.arguments,
        })
    }

    fn accept_connect(&mut self, reply: &ConnectReply) {
        self.reconnects = reply.reconnects;
        self.link.send_control(Control::WindowAckSize(WINDOW));
        self.link.send_control(Control::PeerBandwidth(WINDOW, LIMIT_DYNAMIC));
        self.link.announce_chunk_size();
        let mut info = information(Level::Status, "NetConnection.Connect.Success", "Connection succeeded.");
        info.insert("objectEncoding".to_owned(), Amf0Value::Number(reply.object_encoding));
        let mut server = server_properties(reply.enhanced);
        if let Some(id) = self.engine_id.take().filter(|_| reply.is_engine) {
            server.insert(hops::KEY.to_owned(), Amf0Value::Utf8String(id.into()));
        }
        self.link.send_command(&Command {
            name: "_result".to_owned(),
            transaction: reply.transaction,
            object: Amf0Value::Object(server),
            arguments: vec![Amf0Value::Object(info)],
        });
    }

    fn on_create_stream(&mut self, command: &Command) {
        if self.streams.len() >= self.max_streams {
            return self.answer_error(command, &self.too_many_streams());
        }
        let Some(id) = (1..=u32::MAX).find(|id| !self.streams.contains(*id)) else { return };
        self.streams.insert(id, Stream::Idle);
        let reply = session::command("_result", command.transaction, vec![Amf0Value::Number(f64::from(id))]);
        self.link.send_command(&reply);
    }

    fn too_many_streams(&self) -> String {
        format!("too many message streams: {} at most on one connection", self.max_streams)
    }

    /// Makes sure that a stream exists to publish or play on: some devices do so without `createStream`. Where there are too
    /// many, says so with `code` and is false.
    fn open(&mut self, stream_id: u32, code: &str) -> bool {
        if !self.streams.contains(stream_id) {
            if self.streams.len() >= self.max_streams {
                let info = information(Level::Error, code, &self.too_many_streams());
                self.send_status(stream_id, info);
                return false;
            }
            self.streams.insert(stream_id, Stream::Idle);
        }
        true
    }

    fn on_publish(&mut self, stream_id: u32, command: &Command) -> Option<ServerEvent> {
        if is_false(command.arguments.first()) {
            return self.end(stream_id);
        }
        let name = as_text(command.arguments.first()).unwrap_or_default().to_owned();
        // What stands behind the name has been judged with the first request, and is nothing that the stream is called.
        let is_same = |running: &str| without_query(running) == without_query(&name);
        if matches!(self.streams.get(stream_id), Some(Stream::Publishing { name: running, .. }) if is_same(running))
        {
            // Asked for again: it has it, and its players lose nothing.
            self.send_status(stream_id, publish_started());
            return None;
        }
        // The type (live, record, append) makes no difference: all is live, and recording is ours to decide.
        if !self.open(stream_id, "NetStream.Publish.BadName") {
            return None;
        }
        let event = ServerEvent::Publish(Publish { stream_id, name: name.clone() });
        self.judge(stream_id, Request::Publish { stream_id, name }, event)
    }

    fn on_play(&mut self, stream_id: u32, command: &Command) -> Option<ServerEvent> {
        if is_false(command.arguments.first()) {
            return self.end(stream_id);
        }
        if !self.open(stream_id, "NetStream.Play.Failed") {
            return None;
        }
        let event = ServerEvent::Play(Play {
            stream_id,
            name: as_text(command.arguments.first()).unwrap_or_default().to_owned(),
            start: start_seconds(as_number(command.arguments.get(1))),
        });
        let reset = is_reset(command.arguments.get(3));
        self.judge(stream_id, Request::Play { stream_id, reset }, event)
    }

    /// Waits for a verdict on a request. What went on on the stream ends first.
    fn judge(&mut self, stream_id: u32, request: Request, event: ServerEvent) -> Option<ServerEvent> {
        self.state = State::Judging(request);
        match self.end(stream_id) {
            Some(ended) => {
                self.deferred = Some(Box::new(event));
                Some(ended)
            }
            None => Some(event),
        }
    }

    fn accept_publish(&mut self, stream_id: u32, name: String) {
        let info = publish_started();
        self.streams.insert(stream_id, Stream::Publishing { name, clock: TimestampUnwrapper::default() });
        self.grant_publisher();
        self.link.send_control(Control::StreamBegin(stream_id));
        self.send_status(stream_id, info);
    }

    fn accept_play(&mut self, stream_id: u32, reset: bool) {
        self.streams.insert(stream_id, Stream::Playing);
        self.granted = true;
        self.link.send_control(Control::StreamBegin(stream_id));
        if reset {
            self.send_play_status(stream_id, "NetStream.Play.Reset", "Playing and resetting.");
        }
        self.send_play_status(stream_id, "NetStream.Play.Start", "Started playing.");
    }

    /// A publisher may send long messages; a player is granted nothing that a stranger has not.
    fn grant_publisher(&mut self) {
        self.granted = true;
        self.has_published = true;
        self.link.grant();
    }

    /// Makes a stream idle; the event says what has ended.
    fn end(&mut self, stream_id: u32) -> Option<ServerEvent> {
        let stream = self.streams.get_mut(stream_id)?;
        match mem::replace(stream, Stream::Idle) {
            Stream::Idle => None,
            Stream::Publishing { .. } => Some(ServerEvent::Unpublish { stream_id }),
            Stream::Playing => Some(ServerEvent::StopPlay { stream_id }),
        }
    }

    /// `FCUnpublish` names the stream and comes on message stream 0.
    fn on_fc_unpublish(&mut self, command: &Command) -> Option<ServerEvent> {
        const CODE: &str = "NetStream.Unpublish.Success";
        self.answer_fc(command, "onFCUnpublish", CODE);
        let wanted = as_text(command.arguments.first())?;
        let is_wanted = |stream: &Stream| matches!(stream, Stream::Publishing { name, .. } if name == wanted);
        let id = self.streams.iter().find(|(_, stream)| is_wanted(stream)).map(|(id, _)| *id)?;
        self.send_status(id, information(Level::Status, CODE, "Stopped publishing."));
        self.end(id)
    }

    fn on_pause(&mut self, stream_id: u32, command: &Command) -> Option<ServerEvent> {
        let Some(Stream::Playing) = self.streams.get(stream_id) else { return None };
        let paused = is_true(command.arguments.first());
        let (code, description) = match paused {
            true => ("NetStream.Pause.Notify", "Paused."),
            false => ("NetStream.Unpause.Notify", "Playing again."),
        };
        self.send_play_status(stream_id, code, description);
        Some(ServerEvent::Pause { stream_id, paused })
    }

    fn on_receive(&self, stream_id: u32, kind: FrameKind, command: &Command) -> Option<ServerEvent> {
        let Some(Stream::Playing) = self.streams.get(stream_id) else { return None };
        Some(ServerEvent::Receive { stream_id, kind, wanted: is_true(command.arguments.first()) })
    }

    /// Media counts only on a stream whose publish has been accepted. Cameras send it on message stream 0, or on one that
    /// there is not, though they publish on another: where that is the only one, it is what they mean.
    fn on_media(&mut self, media: MediaMessage) -> Option<ServerEvent> {
        let MediaMessage { stream_id, kind, timestamp, payload } = media;
        let stream_id = match self.streams.get(stream_id) {
            None => self.only_publish()?,
            Some(Stream::Idle) if stream_id == 0 => self.only_publish()?,
            Some(_) => stream_id,
        };
        let Some(Stream::Publishing { clock, .. }) = self.streams.get_mut(stream_id) else { return None };
        Some(ServerEvent::Media { stream_id, kind, timestamp: clock.unwrap(timestamp), payload })
    }

    fn only_publish(&self) -> Option<u32> {
        let is_publish = |(_, stream): &&(u32, Stream)| matches!(stream, Stream::Publishing { .. });
        let mut publishes = self.streams.iter().filter(is_publish);
        publishes.next().filter(|_| publishes.next().is_none()).map(|(id, _)| *id)
    }

    /// Takes the request that waits for its verdict and goes on to `next`.
    fn take_request(&mut self, next: State) -> Option<Request> {
        if !self.is_waiting() {
            return None;
        }
        match mem::replace(&mut self.state, next) {
            State::Judging(request) => Some(request),
            _ => None,
        }
    }

    /// Answers with `_result`, unless no answer is wanted (transaction 0).
    fn answer(&mut self, request: &Command, value: Amf0Value) {
        if request.transaction != 0.0 {
            self.link.send_command(&command("_result", request.transaction, vec![value]));
        }
    }

    /// Answers a command that is unknown or out of place with `_error`. Answers of the peer are never answered.
    fn answer_error(&mut self, request: &Command, why: &str) {
        if request.transaction == 0.0 || matches!(request.name.as_str(), "_result" | "_error") {
            return;
        }
        let info = information(Level::Error, "NetConnection.Call.Failed", why);
        self.link.send_command(&command("_error", request.transaction, vec![Amf0Value::Object(info)]));
    }

    /// Answers one of the `FC` commands: FMLE and devices made for FMS wait for the second message.
    fn answer_fc(&mut self, request: &Command, event: &str, code: &str) {
        self.answer(request, Amf0Value::Undefined);
        let name = as_text(request.arguments.first()).unwrap_or_default();
        let info = Amf0Value::Object(information(Level::Status, code, name));
        self.link.send_command(&command(event, 0.0, vec![info]));
    }

    fn send_play_status(&mut self, stream_id: u32, code: &str, description: &str) {
        self.send_status(stream_id, information(Level::Status, code, description));
    }

    fn send_status(&mut self, stream_id: u32, info: HashMap<String, Amf0Value>) {
        self.link.send_stream_command(stream_id, &command("onStatus", 0.0, vec![Amf0Value::Object(info)]));
    }
}

/// Limit type of Set Peer Bandwidth: as the last one, or soft.
const LIMIT_DYNAMIC: u8 = 2;

/// The properties object of the connect reply; encoders look for FMS's version.
fn server_properties(enhanced: bool) -> HashMap<String, Amf0Value> {
    let mut reply =
        properties([("fmsVer", text("FMS/3,0,1,123")), ("capabilities", Amf0Value::Number(31.0))]);
    if enhanced {
        let any = || Amf0Value::Object(properties([("*", Amf0Value::Number(CAN_FORWARD))]));
        reply.extend(properties([
            (CAPS_EX_KEY, Amf0Value::Number(CAPS_EX)),
            (FOUR_CC_LIST_KEY, Amf0Value::StrictArray(vec![text("*")])),
            (VIDEO_INFO_KEY, any()),
            (AUDIO_INFO_KEY, any()),
        ]));
    }
    reply
}

/// The stream that `closeStream` and `deleteStream` mean: their argument, or else the one they came on.
fn named_stream(stream_id: u32, command: &Command) -> u32 {
    as_stream_id(command.arguments.first()).unwrap_or(stream_id)
}

/// `start` of `play` in seconds. Players send milliseconds, -2000 and -1000 among them, though the specification
/// has seconds.
fn start_seconds(start: Option<f64>) -> f64 {
    match start {
        None => -2.0,
        Some(literal) if (-2.0..0.0).contains(&literal) => literal,
        Some(milliseconds) => milliseconds / 1000.0,
    }
}

/// Whether `play` starts a new list (the default), rather than adding to one: a boolean or a number.
fn is_reset(value: Option<&Amf0Value>) -> bool {
    match value {
        Some(Amf0Value::Boolean(reset)) => *reset,
        Some(Amf0Value::Number(reset)) => *reset != 0.0,
        _ => true,
    }
}

fn without_query(name: &str) -> &str {
    name.split('?').next().unwrap_or_default()
}

fn publish_started() -> HashMap<String, Amf0Value> {
    information(Level::Status, "NetStream.Publish.Start", "Publishing.")
}

fn is_false(value: Option<&Amf0Value>) -> bool {
    matches!(value, Some(Amf0Value::Boolean(false)))
}

fn is_true(value: Option<&Amf0Value>) -> bool {
    matches!(value, Some(Amf0Value::Boolean(true)))
}
