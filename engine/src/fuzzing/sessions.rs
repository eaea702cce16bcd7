//! Operations on a server session, on a client session, and on both on one wire.

use super::Choices;
use crate::Limits;
use crate::amf0::Amf0Value;
use crate::media::FrameKind;
use crate::proto::chunk::{ChunkReader, WireMessage};
use crate::proto::client::{ClientEvent, ClientOptions, ClientRole, ClientSession};
use crate::proto::message::{self, Command, Control};
use crate::proto::server::{Rejection, ServerEvent, ServerSession};
use bytes::{Bytes, BytesMut};
use std::collections::BTreeMap;

/// Bytes of one side's handshake.
const HANDSHAKE: usize = 3073;

/// Server events obey the states that the verdicts led to, output can be parsed, and nothing comes after the
/// end. Input: choices.
pub fn server_session_ops(data: &[u8]) {
    let mut choices = Choices::new(data);
    let mut server = CheckedServer::new();
    if choices.byte() & 7 != 0 {
        server.session.input().extend_from_slice(&prelude());
        server.poll();
    }
    while !choices.is_empty() {
        server.step(&mut choices);
        server.check();
    }
}

/// Client events come in an order that its owner can follow, output can be parsed, and nothing comes after the
/// end. Input: choices.
pub fn client_session_ops(data: &[u8]) {
    let mut choices = Choices::new(data);
    let mut client = CheckedClient::new(role(&mut choices));
    if choices.byte() & 7 != 0 {
        client.session.input().extend_from_slice(&prelude());
        client.poll();
    }
    while !choices.is_empty() {
        client.step(&mut choices);
        client.check();
    }
}

/// A client and a server agree about the outcome whatever the cuts, the verdicts and the order of things, no
/// media is lost, and neither waits for ever. Input: choices.
pub fn session_pair(data: &[u8]) {
    let mut choices = Choices::new(data);
    let mut pair = Pair::new(role(&mut choices));
    while !choices.is_empty() {
        pair.step(&mut choices);
    }
    pair.settle();
    pair.check();
}

fn role(choices: &mut Choices<'_>) -> ClientRole {
    if choices.byte() & 1 == 0 { ClientRole::Publish } else { ClientRole::Play }
}

fn options(role: ClientRole) -> ClientOptions {
    ClientOptions {
        app: "live".to_owned(),
        tc_url: "rtmp://host/live".to_owned(),
        stream: "cam".to_owned(),
        role,
        hops: vec!["a".to_owned()],
    }
}

/// A plain handshake and an announcement of the chunk size that [`WireMessage`] has.
fn prelude() -> BytesMut {
    let mut bytes = BytesMut::zeroed(HANDSHAKE);
    bytes[0] = 3;
    write_control(Control::SetChunkSize(65_536), &mut bytes);
    bytes
}

fn write_control(control: Control, out: &mut BytesMut) {
    let (type_id, body) = message::encode_control(control);
    WireMessage::new(2, type_id, 0, 0, body).encode(out);
}

fn write_command(stream_id: u32, command: &Command, out: &mut BytesMut) {
    WireMessage::new(3, 20, stream_id, 0, message::encode_command(command)).encode(out);
}

fn media(choices: &mut Choices<'_>) -> WireMessage {
    let type_id = [8, 9, 18][usize::from(choices.below(3))];
    let (stream_id, timestamp) = (u32::from(choices.below(4)), i64::from(choices.u32()));
    let len = usize::from(choices.byte());
    WireMessage::new(6, type_id, stream_id, timestamp, Bytes::copy_from_slice(choices.slice(len)))
}

fn control(choices: &mut Choices<'_>) -> Control {
    let value = choices.u32() >> choices.below(32);
    match choices.below(8) {
        0 => Control::Acknowledgement(value),
        1 => Control::WindowAckSize(value),
        2 => Control::PeerBandwidth(value, 2),
        3 => Control::StreamBegin(value),
        4 => Control::StreamEof(value),
        5 => Control::SetBufferLength(value, 1),
        6 => Control::PingRequest(value),
        _ => Control::PingResponse(value),
    }
}

fn value(choices: &mut Choices<'_>) -> Amf0Value {
    match choices.below(6) {
        0 => Amf0Value::Null,
        1 => Amf0Value::Boolean(choices.byte() & 1 == 1),
        2 => Amf0Value::Number(f64::from(choices.below(4))),
        3 => Amf0Value::Utf8String("cam".to_owned()),
        4 => Amf0Value::Utf8String(String::from_utf8_lossy(choices.slice(5)).into_owned()),
        _ => information(choices),
    }
}

fn information(choices: &mut Choices<'_>) -> Amf0Value {
    const CODES: [&str; 8] = [
        "NetStream.Publish.Start",
        "NetStream.Play.Start",
        "NetConnection.Connect.ReconnectRequest",
        "NetStream.Publish.Start",
        "NetStream.Play.Start",
        "NetStream.Play.Stop",
        "NetStream.Play.UnpublishNotify",
        "NetStream.Play.Reset",
    ];
    let level = if choices.below(16) == 0 { "error" } else { "status" };
    let code = CODES[usize::from(choices.below(8))];
    let entries = [("level", level), ("code", code), ("tcUrl", "rtmp://b/live")];
    let text = |(key, value): (&str, &str)| (key.to_owned(), Amf0Value::Utf8String(value.to_owned()));
    let mut object: std::collections::HashMap<_, _> = entries.into_iter().map(text).collect();
    object.insert("capsEx".to_owned(), Amf0Value::Number(1.0));
    Amf0Value::Object(object)
}

fn command(names: &[&str], choices: &mut Choices<'_>) -> Command {
    let name = names[usize::from(choices.byte()) % names.len()].to_owned();
    let transaction = f64::from(choices.below(7));
    let object = if choices.byte() & 1 == 0 { Amf0Value::Null } else { information(choices) };
    let count = choices.below(4);
    Command { name, transaction, object, arguments: (0..count).map(|_| value(choices)).collect() }
}

/// Reads all that a session writes.
struct Tap {
    /// Bytes of the handshake that are still to come.
    skip: usize,
    reader: ChunkReader,
    input: BytesMut,
}

impl Tap {
    fn new() -> Self {
        let mut reader = ChunkReader::new(&Limits::default());
        reader.grant();
        Self { skip: HANDSHAKE, reader, input: BytesMut::new() }
    }

    fn take(&mut self, output: &mut BytesMut) {
        let skipped = self.skip.min(output.len());
        self.skip -= skipped;
        self.input.extend_from_slice(&output.split().split_off(skipped));
        while let Some(message) = self.reader.read(&mut self.input).expect("our chunks can be read") {
            message::decode(message).expect("our messages can be decoded");
        }
    }
}

/// What a stream of the server does, as its owner sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Live {
    Publishing,
    Playing,
}

/// A server session with a model of what its owner knows.
struct CheckedServer {
    session: ServerSession,
    tap: Tap,
    live: BTreeMap<u32, Live>,
    connected: bool,
    /// The request to judge: the stream and what it becomes; `None` inside for `connect`.
    pending: Option<Option<(u32, Live)>>,
    over: bool,
}

const SERVER_COMMANDS: [&str; 18] = [
    "createStream",
    "createStream",
    "publish",
    "publish",
    "play",
    "play",
    "closeStream",
    "deleteStream",
    "FCPublish",
    "FCUnpublish",
    "pause",
    "receiveAudio",
    "receiveVideo",
    "play2",
    "seek",
    "releaseStream",
    "_result",
    "mystery",
];

const REJECTION: Rejection = Rejection { code: "NetStream.Publish.BadName", description: String::new() };

impl CheckedServer {
    fn new() -> Self {
        Self {
            session: ServerSession::new(&Limits::default()),
            tap: Tap::new(),
            live: BTreeMap::new(),
            connected: false,
            pending: None,
            over: false,
        }
    }

    fn step(&mut self, choices: &mut Choices<'_>) {
        match choices.below(16) {
            // Noise is mostly the end, so it is rare.
            0 if choices.below(16) == 0 => {
                let len = usize::from(choices.byte());
                self.session.input().extend_from_slice(choices.slice(len));
            }
            0..=5 => self.feed_command(choices),
            6 | 7 => media(choices).encode(self.session.input()),
            8 => write_control(control(choices), self.session.input()),
            9 | 10 => self.poll(),
            11 | 12 => self.accept(),
            13 if choices.below(8) == 0 => self.reject(),
            13 | 14 => self.end(u32::from(choices.below(4))),
            _ => {
                self.session.ping(choices.u32());
                self.session.request_reconnect(None, "go");
            }
        }
    }

    /// Mostly what makes sense in the state.
    fn feed_command(&mut self, choices: &mut Choices<'_>) {
        let stream_id = u32::from(choices.below(3));
        let random = command(&SERVER_COMMANDS, choices);
        let command = match choices.below(16) {
            0 => Command { name: "connect".to_owned(), ..random },
            1..=14 if !self.connected && self.pending.is_none() => {
                Command { name: "connect".to_owned(), ..random }
            }
            _ => random,
        };
        write_command(stream_id, &command, self.session.input());
        // So that a `connect` is known before the next command is chosen.
        self.poll();
    }

    /// Takes events until there are none.
    fn poll(&mut self) {
        loop {
            match self.session.poll() {
                Ok(Some(event)) => self.on_event(&event),
                Ok(None) => break,
                Err(_) => self.over = true,
            }
        }
        assert_eq!(self.session.is_waiting(), self.pending.is_some());
        assert_eq!(self.session.is_closing(), self.over);
    }

    fn on_event(&mut self, event: &ServerEvent) {
        assert!(
            !self.over && self.pending.is_none(),
            "{event:?} after the end, or while a verdict is awaited"
        );
        let live = |id: &u32| self.live.get(id).copied();
        match event {
            ServerEvent::Connect(_) => {
                assert!(!self.connected);
                self.pending = Some(None);
            }
            ServerEvent::Publish(publish) => {
                assert!(self.connected && live(&publish.stream_id).is_none());
                self.pending = Some(Some((publish.stream_id, Live::Publishing)));
            }
            ServerEvent::Play(play) => {
                assert!(self.connected && live(&play.stream_id).is_none());
                self.pending = Some(Some((play.stream_id, Live::Playing)));
            }
            ServerEvent::Media { stream_id, .. } => assert_eq!(live(stream_id), Some(Live::Publishing)),
            ServerEvent::Unpublish { stream_id } => {
                assert_eq!(self.live.remove(stream_id), Some(Live::Publishing));
            }
            ServerEvent::StopPlay { stream_id } => {
                assert_eq!(self.live.remove(stream_id), Some(Live::Playing));
            }
            ServerEvent::Pause { stream_id, .. } | ServerEvent::Receive { stream_id, .. } => {
                assert_eq!(live(stream_id), Some(Live::Playing));
            }
            ServerEvent::Acknowledged(_) | ServerEvent::Pong(_) => {}
        }
    }

    fn accept(&mut self) {
        self.session.accept();
        match self.pending.take() {
            Some(None) => self.connected = true,
            Some(Some((stream_id, what))) => drop(self.live.insert(stream_id, what)),
            None => {}
        }
    }

    fn reject(&mut self) {
        self.session.reject(&REJECTION);
        if self.pending.take().is_some() {
            self.over = self.session.is_closing();
            assert!(self.over || !self.live.is_empty(), "nothing is left to live for");
        }
    }

    fn end(&mut self, stream_id: u32) {
        self.session.end_publish(stream_id, &REJECTION);
        self.session.end_play(stream_id, "over");
        if !self.over {
            self.live.remove(&stream_id);
        }
    }

    fn check(&mut self) {
        assert!(self.live.len() <= Limits::default().max_message_streams);
        self.tap.take(self.session.output());
        if self.over {
            self.poll();
            self.session.ping(0);
            self.session.accept();
            assert!(self.session.output().is_empty(), "output after the end");
            assert!(self.session.input().is_empty(), "input is kept after the end");
        }
    }
}

/// A client session with a model of what its owner knows.
struct CheckedClient {
    session: ClientSession,
    tap: Tap,
    role: ClientRole,
    shaken: bool,
    connected: bool,
    active: bool,
    over: bool,
    /// Media messages received, and whether the stream has ended.
    received: Vec<Bytes>,
    ended: bool,
}

const CLIENT_COMMANDS: [&str; 6] = ["_result", "_error", "onStatus", "close", "_onbwcheck", "mystery"];

impl CheckedClient {
    fn new(role: ClientRole) -> Self {
        Self {
            session: ClientSession::new(options(role), &Limits::default()),
            tap: Tap::new(),
            role,
            shaken: false,
            connected: false,
            active: false,
            over: false,
            received: Vec::new(),
            ended: false,
        }
    }

    fn step(&mut self, choices: &mut Choices<'_>) {
        match choices.below(16) {
            // Noise is mostly the end, so it is rare.
            0 if choices.below(16) == 0 => {
                let len = usize::from(choices.byte());
                self.session.input().extend_from_slice(choices.slice(len));
            }
            0..=7 => self.feed_command(choices),
            8 | 9 => media(choices).encode(self.session.input()),
            10 => write_control(control(choices), self.session.input()),
            11 => self.session.ping(choices.u32()),
            12 if choices.below(8) == 0 => self.close(),
            _ => self.poll(),
        }
    }

    /// Mostly what a server would answer.
    fn feed_command(&mut self, choices: &mut Choices<'_>) {
        let random = command(&CLIENT_COMMANDS, choices);
        let command = match choices.below(8) {
            0 => random,
            1..=4 if !self.connected => Command { name: "_result".to_owned(), transaction: 1.0, ..random },
            1..=2 => {
                let arguments = vec![Amf0Value::Number(f64::from(choices.below(3)))];
                Command { name: "_result".to_owned(), transaction: 4.0, arguments, ..random }
            }
            _ => Command { name: "onStatus".to_owned(), arguments: vec![information(choices)], ..random },
        };
        write_command(1, &command, self.session.input());
    }

    fn poll(&mut self) {
        loop {
            match self.session.poll() {
                Ok(Some(event)) => self.on_event(event),
                Ok(None) => return,
                Err(_) => self.over = true,
            }
        }
    }

    fn on_event(&mut self, event: ClientEvent) {
        assert!(!self.over, "{event:?} after the end");
        assert!(self.shaken || event == ClientEvent::HandshakeDone);
        match event {
            ClientEvent::HandshakeDone => {
                assert!(!self.shaken);
                self.shaken = true;
            }
            ClientEvent::Connected { .. } => {
                assert!(!self.connected);
                self.connected = true;
            }
            ClientEvent::Publishing { .. } => {
                assert!(self.connected && !self.active && self.role == ClientRole::Publish);
                self.active = true;
            }
            ClientEvent::Playing => {
                assert!(self.connected && self.role == ClientRole::Play);
                (self.active, self.ended) = (true, false);
            }
            ClientEvent::Media { payload, .. } => {
                assert!(self.active && self.role == ClientRole::Play);
                self.received.push(payload);
            }
            ClientEvent::Ended => {
                assert!(self.connected && self.role == ClientRole::Play && !self.ended);
                (self.active, self.ended) = (false, true);
            }
            ClientEvent::Rejected { .. } => self.over = true,
            ClientEvent::ReconnectRequest { .. } | ClientEvent::Acknowledged(_) => {}
        }
    }

    fn close(&mut self) {
        self.session.close();
        self.over = true;
    }

    fn check(&mut self) {
        self.tap.take(self.session.output());
        if self.over {
            self.poll();
            self.session.ping(0);
            self.session.close();
            assert!(self.session.output().is_empty(), "output after the end");
            assert!(self.session.input().is_empty(), "input is kept after the end");
        }
    }
}

/// A client and a server with the bytes on their way.
struct Pair {
    client: CheckedClient,
    server: CheckedServer,
    sent: Vec<Bytes>,
    received: Vec<Bytes>,
    rejected: bool,
    ended: bool,
    closed: bool,
}

impl Pair {
    fn new(role: ClientRole) -> Self {
        Self {
            client: CheckedClient::new(role),
            server: CheckedServer::new(),
            sent: Vec::new(),
            received: Vec::new(),
            rejected: false,
            ended: false,
            closed: false,
        }
    }

    fn step(&mut self, choices: &mut Choices<'_>) {
        match choices.below(32) {
            0..=9 => self.up(usize::from(choices.byte()) << choices.below(6)),
            10..=19 => self.down(usize::from(choices.byte()) << choices.below(6)),
            20..=23 => self.accept(),
            24..=26 => self.send_media(choices),
            27 => self.client.session.ping(choices.u32()),
            28 => self.server.session.ping(choices.u32()),
            // The ends, rarely.
            29 if choices.below(8) == 0 => {
                self.rejected |= self.server.session.is_waiting();
                self.server.reject();
            }
            30 if choices.below(8) == 0 => {
                self.ended |= self.server.live.contains_key(&1);
                self.server.end(1);
            }
            31 if choices.below(8) == 0 && !self.client.over => {
                self.closed = true;
                self.client.close();
            }
            _ => {}
        }
    }

    /// Moves up to `len` bytes from the client to the server.
    fn up(&mut self, len: usize) {
        let output = self.client.session.output();
        let bytes = output.split_to(len.min(output.len()));
        self.server.session.input().extend_from_slice(&bytes);
        while let Some(event) = self.server.session.poll().expect("our client is in order") {
            self.server.on_event(&event);
            if let ServerEvent::Media { kind, payload, .. } = event {
                assert_eq!(kind, FrameKind::Video);
                self.received.push(payload);
            }
        }
    }

    fn down(&mut self, len: usize) {
        let output = self.server.session.output();
        let bytes = output.split_to(len.min(output.len()));
        self.client.session.input().extend_from_slice(&bytes);
        while let Some(event) = self.client.session.poll().expect("our server is in order") {
            self.client.on_event(event);
        }
    }

    fn accept(&mut self) {
        self.server.accept();
        self.up(0);
    }

    /// Sends media in the direction of the stream, once it is agreed.
    fn send_media(&mut self, choices: &mut Choices<'_>) {
        let playing = self.server.live.get(&1) == Some(&Live::Playing);
        let publishing = self.client.role == ClientRole::Publish && self.client.active && !self.client.over;
        let payload = Bytes::from(vec![0x27; usize::from(choices.byte()) << choices.below(12)]);
        let wire = WireMessage::new(7, 9, 1, i64::from(choices.u32()), payload.clone());
        match (playing, publishing) {
            (true, _) => wire.encode(self.server.session.output()),
            (_, true) => wire.encode(self.client.session.output()),
            _ => return,
        }
        self.sent.push(payload);
    }

    /// Moves everything and grants what is still asked for.
    fn settle(&mut self) {
        loop {
            let moved = !self.client.session.output().is_empty() || !self.server.session.output().is_empty();
            self.up(usize::MAX);
            self.down(usize::MAX);
            if self.server.session.is_waiting() {
                self.accept();
            } else if !moved {
                return;
            }
        }
    }

    fn check(&self) {
        let (client, server) = (&self.client, &self.server);
        let live = server.live.get(&1);
        if self.closed {
            assert_eq!(live, None, "what the client closed is closed");
        } else if self.rejected {
            assert!(client.over && server.over && live.is_none());
        } else if self.ended {
            assert!(live.is_none() && (client.over || client.ended));
        } else {
            let expected = if client.role == ClientRole::Publish { Live::Publishing } else { Live::Playing };
            assert!(client.active && !client.over && live == Some(&expected), "neither side is stuck");
            let received = if expected == Live::Publishing { &self.received } else { &client.received };
            assert_eq!(received, &self.sent, "media is complete and in order");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{RngCore, SeedableRng};

    fn with_random_inputs(target: fn(&[u8]), rounds: u64) {
        for seed in 0..rounds {
            let mut data = [0; 600];
            StdRng::seed_from_u64(seed).fill_bytes(&mut data);
            target(&data);
        }
    }

    #[test]
    fn random_operations_keep_the_servers_states() {
        with_random_inputs(server_session_ops, 100);
    }

    #[test]
    fn random_operations_keep_the_clients_states() {
        with_random_inputs(client_session_ops, 100);
    }

    #[test]
    fn random_operations_on_a_pair_end_in_agreement() {
        with_random_inputs(session_pair, 100);
    }
}
