//! The client side of an RTMP connection: publishes or plays one stream on a remote server.
//!
//! Same usage as [`ServerSession`](super::server::ServerSession): input, poll, output. Media of a publish is
//! not sent through the session: the caller writes [`WireMessage`](super::chunk::WireMessage)s on the message
//! stream that [`ClientEvent::Publishing`] names.

use super::message::{Command, Control};
use super::session::{
    self, AUDIO_INFO_KEY, CAN_FORWARD, CAPS_EX, CAPS_EX_KEY, FOUR_CC_LIST_KEY, Incoming, Link, MediaMessage,
    RECONNECT_REQUEST, VIDEO_INFO_KEY, WINDOW, as_stream_id, as_text, command, properties, text,
};
use super::{ProtocolError, ProtocolErrorKind, Received};
use crate::Limits;
use crate::amf0::{self, Amf0Value};
use crate::hops;
use crate::media::{FrameKind, TimestampUnwrapper};
use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::mem;

/// What the client does with the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientRole {
    /// Publish it, live.
    Publish,
    /// Play it, live.
    Play,
}

/// Whom and what to ask for.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// The app, with its query.
    pub app: String,
    /// The whole URL up to the app, for `tcUrl`.
    pub tc_url: String,
    /// The stream name, with its query.
    pub stream: String,
    /// Publish or play.
    pub role: ClientRole,
    /// Streams of engines that the stream has been, our own last; sent in `connect` for the loop guard.
    pub hops: Vec<String>,
}

/// What happened on the connection.
#[derive(Debug, Clone, PartialEq)]
pub enum ClientEvent {
    /// The handshake is complete.
    HandshakeDone,
    /// `connect` was accepted.
    Connected {
        /// The server's properties and information object, merged.
        properties: HashMap<String, Amf0Value>,
        /// The ids of engines that the server says the stream passes, its own; empty from other software.
        hops: Vec<String>,
    },
    /// `publish` was accepted: media may be written on this message stream.
    Publishing {
        /// The message stream.
        stream_id: u32,
    },
    /// `play` was accepted, or restarted by the server, maybe after [`Self::Ended`]. It comes before any media.
    Playing,
    /// A media message of the played stream.
    Media {
        /// Audio, video or data.
        kind: FrameKind,
        /// Unwrapped time in milliseconds.
        timestamp: i64,
        /// The body; of data messages without `@setDataFrame`.
        payload: Bytes,
    },
    /// The server refused: its status code and its own words. Nothing more will come.
    Rejected {
        /// Such as `NetStream.Publish.BadName`.
        code: String,
        /// The description.
        description: String,
    },
    /// The played stream has ended (StreamEOF, Play.Stop, Play.Complete, UnpublishNotify). Said once; the server may
    /// start it again.
    Ended,
    /// E-RTMP reconnect request.
    ReconnectRequest {
        /// Where to; `None` = the same URL.
        tc_url: Option<String>,
    },
    /// The server has received this many bytes in all (running total, unwrapped).
    Acknowledged(u64),
}

/// What a publisher says when it leaves: some servers want one of these, some fail at another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(feature = "http", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct StopCommands {
    /// `FCUnpublish`.
    pub fc_unpublish: bool,
    /// `closeStream`.
    pub close_stream: bool,
    /// `deleteStream`.
    pub delete_stream: bool,
}

impl Default for StopCommands {
    fn default() -> Self {
        Self { fc_unpublish: true, close_stream: true, delete_stream: true }
    }
}

/// The client side of one connection.
///
/// ```text
/// Handshake ──S2──> Connecting ──_result──> Creating ──_result──> Requesting ──Publish.Start──> Active
///                    connect      │          (releaseStream,       publish      Play.Start      │   ^
///                    sent         │           FCPublish,           or play      or media        │   │
///                                 │           createStream sent)   sent             Play.Stop,  │   │ Play.Start
///                                 │                                                 StreamEOF,  v   │ or media
///                                 │                                           UnpublishNotify  Stopped
///                                 v
///     _error to what is awaited, onStatus level error, close(), any error ──> Over
/// ```
///
/// All other messages leave the state as it is. Servers' quirks that are followed: no answer or an error to
/// `releaseStream` and `FCPublish`, `_error` with transaction 0, `onStatus` on any message stream, media before
/// `Play.Start`, several `Play.Start` (nginx-rtmp with `play_restart`), `close` (FMS), `ffmpeg -listen`.
pub struct ClientSession {
    link: Link,
    options: ClientOptions,
    state: State,
    /// The message stream that the server has created.
    stream_id: Option<u32>,
    clock: TimestampUnwrapper,
    /// An event that has to wait for the one before it.
    deferred: Option<ClientEvent>,
    stop_commands: StopCommands,
    /// More fields of the object of `connect`.
    connect_fields: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Handshake,
    Connecting,
    Creating,
    Requesting,
    Active,
    Stopped,
    Over,
}

/// Transaction ids, fixed because each request is made once.
mod transaction {
    pub(super) const CONNECT: f64 = 1.0;
    pub(super) const RELEASE_STREAM: f64 = 2.0;
    pub(super) const FC_PUBLISH: f64 = 3.0;
    pub(super) const CREATE_STREAM: f64 = 4.0;
    pub(super) const REQUEST: f64 = 5.0;
    pub(super) const FC_UNPUBLISH: f64 = 6.0;
}

/// How far ahead a server may send, as we tell it: what ffmpeg says.
const BUFFER_MS: u32 = 3_000;
bound! {
    /// Messages of a turn (test `w3_a_turn_of_a_client_ends_after_256_messages`).
    const TURN: u32 = 256, without u32::MAX;
}
/// `start` of `play`: live where there is a live stream of the name.
const START_LIVE: f64 = -2_000.0;

const VIDEO_CODECS: [&str; 6] = ["vp08", "vp09", "av01", "avc1", "hvc1", "vvc1"];
const AUDIO_CODECS: [&str; 6] = ["ac-3", "ec-3", "Opus", ".mp3", "fLaC", "mp4a"];

/// Whether a server whose answer to `connect` has these properties takes Opus: it, or any codec (`*`), is in `fourCcList` or
/// `audioFourCcInfoMap` (E-RTMP v2, "Enhancing NetConnection connect Command").
pub(crate) fn announces_opus(server: &HashMap<String, Amf0Value>) -> bool {
    let is_it = |code: &str| code == "Opus" || code == "*";
    let is_listed = match server.get(FOUR_CC_LIST_KEY) {
        Some(Amf0Value::StrictArray(list)) => list.iter().filter_map(|code| as_text(Some(code))).any(is_it),
        _ => false,
    };
    let is_mapped = match server.get(AUDIO_INFO_KEY) {
        Some(Amf0Value::Object(map)) => map.keys().any(|code| is_it(code)),
        _ => false,
    };
    is_listed || is_mapped
}

impl ClientSession {
    /// A session whose output already holds C0 and C1.
    pub fn new(options: ClientOptions, limits: &Limits) -> Self {
        Self {
            link: Link::client(limits),
            options,
            state: State::Handshake,
            stream_id: None,
            clock: TimestampUnwrapper::default(),
            deferred: None,
            stop_commands: StopCommands::default(),
            connect_fields: BTreeMap::new(),
        }
    }

    /// Chooses what [`Self::close`] says.
    pub fn set_stop_commands(&mut self, commands: StopCommands) {
        self.stop_commands = commands;
    }

    /// Adds text fields to the object of `connect`, in place of our own where there is one; not those of which
    /// [`is_own_field`] is true.
    pub fn set_connect_fields(&mut self, fields: BTreeMap<String, String>) {
        self.connect_fields = fields;
    }

    /// Chooses the chunk size that is announced to the server, in place of
    /// [`CHUNK_SIZE_OUT`](super::chunk::CHUNK_SIZE_OUT): the caller writes its media in such chunks too.
    pub fn set_chunk_size(&mut self, size: u32) {
        self.link.set_chunk_size(size);
    }

    /// Begins a turn: [`Self::poll`] looks at so many messages at most.
    pub fn begin_turn(&mut self) {
        self.link.begin_turn(TURN.get());
    }

    /// Whether the turn has ended before the input: the caller lets others work before the next.
    pub fn is_turn_over(&self) -> bool {
        self.link.is_turn_over()
    }

    /// What has been taken in so far.
    pub fn received(&self) -> Received {
        self.link.received()
    }

    /// The buffer to append received bytes to.
    pub fn input(&mut self) -> &mut BytesMut {
        &mut self.link.input
    }

    /// The bytes to send; the caller takes them out (`split`).
    pub fn output(&mut self) -> &mut BytesMut {
        &mut self.link.output
    }

    /// Processes input up to the next event. After an error, a rejection or [`Self::close`] input is ignored.
    pub fn poll(&mut self) -> Result<Option<ClientEvent>, ProtocolError> {
        if let Some(event) = self.deferred.take() {
            return Ok(Some(event));
        }
        let outcome = self.advance();
        if outcome.is_err() {
            self.state = State::Over;
        }
        if self.state == State::Over {
            self.link.discard();
        }
        outcome
    }

    /// Writes FCUnpublish, closeStream and deleteStream (publish) or closeStream and deleteStream (play), as far
    /// as the stream exists and these are chosen. The session is over then: nothing more is read or written.
    pub fn close(&mut self) {
        let state = mem::replace(&mut self.state, State::Over);
        self.deferred = None;
        let Some(stream_id) = self.stream_id.filter(|_| state != State::Over) else { return };
        let StopCommands { fc_unpublish, close_stream, delete_stream } = self.stop_commands;
        if fc_unpublish && self.options.role == ClientRole::Publish {
            self.send_call("FCUnpublish", transaction::FC_UNPUBLISH);
        }
        if close_stream {
            self.link.send_stream_command(stream_id, &command("closeStream", 0.0, Vec::new()));
        }
        if delete_stream {
            let id = Amf0Value::Number(f64::from(stream_id));
            self.link.send_command(&command("deleteStream", 0.0, vec![id]));
        }
    }

    /// Sends a ping that carries `clock`; not before the handshake is complete.
    pub fn ping(&mut self, clock: u32) {
        if !matches!(self.state, State::Handshake | State::Over) {
            self.link.send_control(Control::PingRequest(clock));
        }
    }

    /// How many pings the server has answered.
    pub fn pongs(&self) -> u64 {
        self.link.pongs
    }

    /// How many messages have come that are no media: commands, control messages, and such as nobody knows.
    pub fn chatter(&self) -> u64 {
        self.link.chatter
    }

    fn advance(&mut self) -> Result<Option<ClientEvent>, ProtocolError> {
        while self.state != State::Over {
            let Some(incoming) = self.link.next()? else { break };
            let event = self.on_incoming(incoming)?;
            if event.is_some() {
                return Ok(event);
            }
        }
        Ok(None)
    }

    fn on_incoming(&mut self, incoming: Incoming) -> Result<Option<ClientEvent>, ProtocolError> {
        match (self.state, incoming) {
            (State::Handshake, Incoming::HandshakeDone) => {
                self.send_connect();
                self.state = State::Connecting;
                Ok(Some(ClientEvent::HandshakeDone))
            }
            (_, Incoming::Command(_, command)) => self.on_command(command),
            (State::Requesting | State::Active | State::Stopped, Incoming::Media(media)) => {
                Ok(self.on_media(media))
            }
            (State::Requesting | State::Active, Incoming::StreamEof) => Ok(self.on_end()),
            (_, Incoming::Acknowledged(total)) => Ok(Some(ClientEvent::Acknowledged(total))),
            (_, Incoming::HandshakeDone | Incoming::Media(_) | Incoming::StreamEof | Incoming::Pong(_)) => {
                Ok(None)
            }
        }
    }

    fn on_command(&mut self, command: Command) -> Result<Option<ClientEvent>, ProtocolError> {
        let transaction = command.transaction;
        match (self.state, command.name.as_str()) {
            (State::Connecting, "_result") if transaction == transaction::CONNECT => {
                Ok(Some(self.on_connected(command)))
            }
            (State::Creating, "_result") if transaction == transaction::CREATE_STREAM => {
                self.on_created(&command)?;
                Ok(None)
            }
            (_, "_error") if self.is_awaited(transaction) => Ok(Some(self.on_refusal(&command))),
            (_, "onStatus") => Ok(self.on_status(&command)),
            (_, "close") => Ok(Some(self.reject("NetConnection.Connect.Closed", "closed by the server"))),
            // FMS and Wowza measure the line with it and wait for the answer.
            (_, "_onbwcheck") => {
                self.link.send_command(&session::command(
                    "_result",
                    transaction,
                    vec![Amf0Value::Number(0.0)],
                ));
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    /// Whether an `_error` of this transaction refuses what we wait for. Some servers answer with 0.
    fn is_awaited(&self, transaction: f64) -> bool {
        let awaited = match self.state {
            State::Connecting => transaction::CONNECT,
            State::Creating => transaction::CREATE_STREAM,
            State::Requesting => transaction::REQUEST,
            State::Handshake | State::Active | State::Stopped | State::Over => return false,
        };
        transaction == awaited || transaction == 0.0
    }

    fn send_connect(&mut self) {
        let mut object = connect_object(&self.options);
        let added = self.connect_fields.iter().filter(|(name, _)| !is_own_field(name));
        object.extend(added.map(|(name, value)| (name.clone(), text(value))));
        self.link.send_command(&Command {
            name: "connect".to_owned(),
            transaction: transaction::CONNECT,
            object: Amf0Value::Object(object),
            arguments: Vec::new(),
        });
    }

    fn on_connected(&mut self, reply: Command) -> ClientEvent {
        let info = status_object(&reply);
        if info.is_some_and(is_error) {
            return self.on_refusal(&reply);
        }
        self.link.announce_chunk_size();
        self.link.send_control(Control::WindowAckSize(WINDOW));
        if self.options.role == ClientRole::Publish {
            self.send_call("releaseStream", transaction::RELEASE_STREAM);
            self.send_call("FCPublish", transaction::FC_PUBLISH);
        }
        self.link.send_command(&command("createStream", transaction::CREATE_STREAM, Vec::new()));
        self.state = State::Creating;
        let objects = std::iter::once(reply.object).chain(reply.arguments);
        let properties = objects.filter_map(Amf0Value::get_object_properties).flatten().collect();
        let hops = session::hops_in(&properties);
        ClientEvent::Connected { properties, hops }
    }

    /// Sends a command of the connection that names our stream.
    fn send_call(&mut self, name: &str, transaction: f64) {
        self.link.send_command(&command(name, transaction, vec![text(&self.options.stream)]));
    }

    fn on_created(&mut self, reply: &Command) -> Result<(), ProtocolError> {
        let Some(stream_id) = as_stream_id(reply.arguments.first()) else {
            return Err(self
                .link
                .error(ProtocolErrorKind::Command, "createStream was answered without a stream id"));
        };
        let name = text(&self.options.stream);
        let request = match self.options.role {
            ClientRole::Publish => command("publish", transaction::REQUEST, vec![name, text("live")]),
            ClientRole::Play => {
                self.link.send_control(Control::SetBufferLength(stream_id, BUFFER_MS));
                self.link.grant();
                command("play", transaction::REQUEST, vec![name, Amf0Value::Number(START_LIVE)])
            }
        };
        self.link.send_stream_command(stream_id, &request);
        self.stream_id = Some(stream_id);
        self.state = State::Requesting;
        Ok(())
    }

    fn on_status(&mut self, command: &Command) -> Option<ClientEvent> {
        let info = status_object(command)?;
        let code = as_text(info.get("code")).unwrap_or_default();
        match (self.options.role, code) {
            (_, RECONNECT_REQUEST) => {
                let tc_url = as_text(info.get("tcUrl")).map(str::to_owned);
                Some(ClientEvent::ReconnectRequest { tc_url })
            }
            (_, "NetConnection.Connect.Closed") => Some(self.on_refusal(command)),
            _ if is_error(info) => Some(self.on_refusal(command)),
            (ClientRole::Publish, "NetStream.Publish.Start") => self.on_publish_start(),
            (ClientRole::Play, "NetStream.Play.Start") => self.on_play_start(),
            (ClientRole::Play, "NetStream.Play.Stop" | PLAY_COMPLETE | "NetStream.Play.UnpublishNotify") => {
                self.on_end()
            }
            _ => None,
        }
    }

    fn on_publish_start(&mut self) -> Option<ClientEvent> {
        let stream_id = self.stream_id.filter(|_| self.state == State::Requesting)?;
        self.state = State::Active;
        Some(ClientEvent::Publishing { stream_id })
    }

    fn on_play_start(&mut self) -> Option<ClientEvent> {
        match self.state {
            State::Requesting | State::Active | State::Stopped => {
                self.state = State::Active;
                Some(ClientEvent::Playing)
            }
            State::Handshake | State::Connecting | State::Creating | State::Over => None,
        }
    }

    /// The played stream has ended; said once, however often the server says it.
    fn on_end(&mut self) -> Option<ClientEvent> {
        let waiting = matches!(self.state, State::Requesting | State::Active);
        if !waiting || self.options.role == ClientRole::Publish {
            return None;
        }
        self.state = State::Stopped;
        Some(ClientEvent::Ended)
    }

    /// Media of the played stream; without a `Play.Start` before it, it stands for one.
    fn on_media(&mut self, media: MediaMessage) -> Option<ClientEvent> {
        let MediaMessage { kind, timestamp, payload, .. } = media;
        if self.options.role == ClientRole::Publish {
            return None;
        }
        if kind == FrameKind::Data {
            match event_name(&payload).as_deref() {
                Some("onPlayStatus") => return self.on_play_status(&payload),
                // About this connection, not of the stream.
                Some("onStatus" | "|RtmpSampleAccess") => return None,
                _ => {}
            }
        }
        let event = ClientEvent::Media { kind, timestamp: self.clock.unwrap(timestamp), payload };
        if self.state == State::Active {
            return Some(event);
        }
        self.state = State::Active;
        self.deferred = Some(event);
        Some(ClientEvent::Playing)
    }

    /// FMS says that a stream is complete in a data message.
    fn on_play_status(&mut self, payload: &[u8]) -> Option<ClientEvent> {
        let values = amf0::decode_all(payload).ok()?;
        let complete = |value: &Amf0Value| matches!(value, Amf0Value::Object(info) if as_text(info.get("code")) == Some(PLAY_COMPLETE));
        if values.iter().any(complete) { self.on_end() } else { None }
    }

    /// A refusal, with the server's own words where it has any.
    fn on_refusal(&mut self, command: &Command) -> ClientEvent {
        let info = status_object(command);
        let field = |key| info.and_then(|info| as_text(info.get(key)));
        let code = field("code").unwrap_or("NetConnection.Call.Failed").to_owned();
        let description = field("description").unwrap_or_default().to_owned();
        self.reject(&code, &description)
    }

    fn reject(&mut self, code: &str, description: &str) -> ClientEvent {
        self.state = State::Over;
        ClientEvent::Rejected { code: code.to_owned(), description: description.to_owned() }
    }
}

/// Fields of the object of `connect` that are ours alone: what the URL says, the loop guard, and what is no text.
const OWN_FIELDS: [&str; 13] = [
    "app",
    "tcUrl",
    hops::KEY,
    "capabilities",
    "objectEncoding",
    "fpad",
    "audioCodecs",
    "videoCodecs",
    "videoFunction",
    CAPS_EX_KEY,
    FOUR_CC_LIST_KEY,
    VIDEO_INFO_KEY,
    AUDIO_INFO_KEY,
];

/// Whether a field of the object of `connect` is for the client itself to say; in whatever case, as some servers read
/// it so.
pub fn is_own_field(name: &str) -> bool {
    OWN_FIELDS.iter().any(|own| own.eq_ignore_ascii_case(name))
}

const PLAY_COMPLETE: &str = "NetStream.Play.Complete";

fn connect_object(options: &ClientOptions) -> HashMap<String, Amf0Value> {
    let mut object = properties([
        ("app", text(&options.app)),
        ("tcUrl", text(&options.tc_url)),
        ("flashVer", text(concat!("FMLE/3.0 (compatible; streamengine/", env!("CARGO_PKG_VERSION"), ")"))),
        ("capabilities", Amf0Value::Number(15.0)),
        ("objectEncoding", Amf0Value::Number(0.0)),
    ]);
    match options.role {
        ClientRole::Publish => object.extend(properties([("type", text("nonprivate"))])),
        ClientRole::Play => object.extend(properties([
            ("fpad", Amf0Value::Boolean(false)),
            ("audioCodecs", Amf0Value::Number(4071.0)),
            ("videoCodecs", Amf0Value::Number(252.0)),
            ("videoFunction", Amf0Value::Number(1.0)),
        ])),
    }
    if !options.hops.is_empty() {
        object.insert(hops::KEY.to_owned(), text(&hops::join(&options.hops)));
    }
    object.extend(enhanced_properties());
    object
}

/// What Enhanced RTMP wants to know in `connect`. All codecs pass through.
fn enhanced_properties() -> HashMap<String, Amf0Value> {
    let list = VIDEO_CODECS.iter().chain(&AUDIO_CODECS).map(|code| text(code)).collect();
    properties([
        (CAPS_EX_KEY, Amf0Value::Number(CAPS_EX)),
        (FOUR_CC_LIST_KEY, Amf0Value::StrictArray(list)),
        (VIDEO_INFO_KEY, forwarded(VIDEO_CODECS)),
        (AUDIO_INFO_KEY, forwarded(AUDIO_CODECS)),
    ])
}

fn forwarded(codecs: [&str; 6]) -> Amf0Value {
    Amf0Value::Object(properties(codecs.map(|code| (code, Amf0Value::Number(CAN_FORWARD)))))
}

/// The information object of a status or reply: the first object among the arguments, or the command object.
fn status_object(command: &Command) -> Option<&HashMap<String, Amf0Value>> {
    command.arguments.iter().chain([&command.object]).find_map(|value| match value {
        Amf0Value::Object(info) => Some(info),
        _ => None,
    })
}

fn is_error(info: &HashMap<String, Amf0Value>) -> bool {
    as_text(info.get("level")).is_some_and(|level| level.eq_ignore_ascii_case("error"))
}

/// The name that a data message starts with.
fn event_name(payload: &[u8]) -> Option<String> {
    let (name, _) = amf0::decode_one(payload).ok()?;
    name.get_string()
}
