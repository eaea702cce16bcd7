//! The other end of a session under test: writes chunks as encoders do and takes ours apart, with code of its own.

use bytes::Bytes;
use std::collections::HashMap;
use streamengine::Limits;
use streamengine::amf0::Amf0Value;
use streamengine::proto::ProtocolError;
use streamengine::proto::client::{ClientEvent, ClientOptions, ClientRole, ClientSession};
use streamengine::proto::message::{
    Command, Control, Decoded, Message, decode, encode_command, encode_control,
};
use streamengine::proto::server::{ServerEvent, ServerSession};

/// Bytes of each side's handshake.
pub(crate) const HANDSHAKE: usize = 3073;

/// A plain handshake, as C0 C1 C2 or S0 S1 S2: nobody checks the echo.
pub(crate) fn handshake() -> Vec<u8> {
    let mut bytes = vec![0; HANDSHAKE];
    bytes[0] = 3;
    bytes
}

pub(crate) fn text(value: &str) -> Amf0Value {
    Amf0Value::Utf8String(value.to_owned())
}

pub(crate) fn number(value: f64) -> Amf0Value {
    Amf0Value::Number(value)
}

pub(crate) fn object<const N: usize>(entries: [(&str, Amf0Value); N]) -> Amf0Value {
    Amf0Value::Object(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

/// A status object.
pub(crate) fn status(level: &str, code: &str, description: &str) -> Amf0Value {
    object([("level", text(level)), ("code", text(code)), ("description", text(description))])
}

/// A command without a command object.
pub(crate) fn command(name: &str, transaction: f64, arguments: &[Amf0Value]) -> Command {
    Command { name: name.to_owned(), transaction, object: Amf0Value::Null, arguments: arguments.to_vec() }
}

/// A `connect` to the app `live` with `extra` properties.
pub(crate) fn connect<const N: usize>(extra: [(&str, Amf0Value); N]) -> Command {
    let mut object = HashMap::from([("app".to_owned(), text("live"))]);
    object.extend(extra.map(|(key, value)| (key.to_owned(), value)));
    Command {
        name: "connect".to_owned(),
        transaction: 1.0,
        object: Amf0Value::Object(object),
        arguments: Vec::new(),
    }
}

/// Writes messages in chunks with compressed headers, as librtmp and ffmpeg do.
pub(crate) struct Writer {
    pub(crate) chunk_size: usize,
    last: HashMap<u8, (u32, usize, u8, u32)>,
}

impl Writer {
    pub(crate) fn new() -> Self {
        Self { chunk_size: 128, last: HashMap::new() }
    }

    /// A message on chunk stream `csid`, with the shortest header that says it.
    pub(crate) fn message(
        &mut self,
        csid: u8,
        type_id: u8,
        stream_id: u32,
        time: u32,
        body: &[u8],
    ) -> Vec<u8> {
        let header = (time, body.len(), type_id, stream_id);
        let last = self.last.insert(csid, header).filter(|last| last.3 == stream_id && last.0 <= time);
        let size = &(body.len() as u32).to_be_bytes()[1..];
        let mut out = Vec::new();
        match last {
            None => {
                out.push(csid);
                out.extend_from_slice(&time.to_be_bytes()[1..]);
                out.extend_from_slice(size);
                out.push(type_id);
                out.extend_from_slice(&stream_id.to_le_bytes());
            }
            Some((before, len, kind, _)) => {
                let same = len == body.len() && kind == type_id;
                out.push(if same { 0x80 } else { 0x40 } | csid);
                out.extend_from_slice(&(time - before).to_be_bytes()[1..]);
                if !same {
                    out.extend_from_slice(size);
                    out.push(type_id);
                }
            }
        }
        for (index, chunk) in body.chunks(self.chunk_size).enumerate() {
            if index > 0 {
                out.push(0xC0 | csid);
            }
            out.extend_from_slice(chunk);
        }
        out
    }

    /// A command of the connection.
    pub(crate) fn command(&mut self, command: &Command) -> Vec<u8> {
        self.message(3, 20, 0, 0, &encode_command(command))
    }

    /// A command of a message stream.
    pub(crate) fn stream_command(&mut self, stream_id: u32, command: &Command) -> Vec<u8> {
        self.message(8, 20, stream_id, 0, &encode_command(command))
    }

    pub(crate) fn control(&mut self, control: Control) -> Vec<u8> {
        let (type_id, body) = encode_control(control);
        if let Control::SetChunkSize(size) = control {
            self.chunk_size = size as usize;
        }
        self.message(2, type_id, 0, 0, &body)
    }
}

/// A message of ours as it stood on the wire.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sent {
    pub(crate) csid: u8,
    pub(crate) stream_id: u32,
    pub(crate) what: Decoded,
}

impl Sent {
    /// The command in it.
    pub(crate) fn command(&self) -> &Command {
        match &self.what {
            Decoded::Command(command) => command,
            other => panic!("a command was expected, not {other:?}"),
        }
    }

    /// The name of the command, or of the control message.
    pub(crate) fn name(&self) -> String {
        match &self.what {
            Decoded::Command(command) if command.name == "onStatus" => self.code(),
            Decoded::Command(command) => command.name.clone(),
            Decoded::Control(control) => {
                let name = format!("{control:?}");
                name.split('(').next().unwrap_or_default().to_owned()
            }
            other => format!("{other:?}"),
        }
    }

    /// The information object of a status or reply.
    pub(crate) fn info(&self) -> &HashMap<String, Amf0Value> {
        match self.command().arguments.first() {
            Some(Amf0Value::Object(info)) => info,
            other => panic!("an information object was expected, not {other:?}"),
        }
    }

    pub(crate) fn field(&self, key: &str) -> String {
        match self.info().get(key) {
            Some(Amf0Value::Utf8String(text)) => text.clone(),
            other => panic!("{key} is {other:?}"),
        }
    }

    pub(crate) fn code(&self) -> String {
        self.field("code")
    }
}

/// Takes our output apart: type-0 headers, type-3 between chunks, whole messages only.
pub(crate) struct Parser {
    chunk_size: usize,
}

impl Parser {
    pub(crate) fn new() -> Self {
        Self { chunk_size: 128 }
    }

    pub(crate) fn all(&mut self, mut bytes: &[u8]) -> Vec<Sent> {
        let mut sent = Vec::new();
        while !bytes.is_empty() {
            let (csid, message, rest) = self.one(bytes);
            bytes = rest;
            let stream_id = message.stream_id;
            let what = decode(message).expect("what we send can be decoded");
            if let Decoded::Control(Control::SetChunkSize(size)) = what {
                self.chunk_size = size as usize;
            }
            sent.push(Sent { csid, stream_id, what });
        }
        sent
    }

    fn one<'a>(&self, bytes: &'a [u8]) -> (u8, Message, &'a [u8]) {
        let csid = bytes[0];
        assert!((2..32).contains(&csid), "a type-0 header on a chunk stream below 32, not {csid:#x}");
        let timestamp = u32::from_be_bytes([0, bytes[1], bytes[2], bytes[3]]);
        let mut left = u32::from_be_bytes([0, bytes[4], bytes[5], bytes[6]]) as usize;
        let stream_id = u32::from_le_bytes(bytes[8..12].try_into().expect("four bytes"));
        let (type_id, mut rest) = (bytes[7], &bytes[12..]);
        let mut payload = Vec::new();
        while left > 0 {
            if !payload.is_empty() {
                assert_eq!(rest[0], 0xC0 | csid, "a type-3 header between chunks");
                rest = &rest[1..];
            }
            let (chunk, after) = rest.split_at(left.min(self.chunk_size));
            payload.extend_from_slice(chunk);
            left -= chunk.len();
            rest = after;
        }
        (csid, Message { timestamp, type_id, stream_id, payload: Bytes::from(payload) }, rest)
    }
}

/// A server session with a hand-made peer.
pub(crate) struct Server {
    pub(crate) session: ServerSession,
    pub(crate) writer: Writer,
    parser: Parser,
}

impl Server {
    /// Past the handshake.
    pub(crate) fn new() -> Self {
        let mut session = ServerSession::new(&Limits::default());
        session.input().extend_from_slice(&handshake());
        assert_eq!(session.poll(), Ok(None));
        assert_eq!(session.output().split().len(), HANDSHAKE);
        Self { session, writer: Writer::new(), parser: Parser::new() }
    }

    /// Past `connect`, its replies taken.
    pub(crate) fn connected() -> Self {
        let mut server = Self::new();
        let connect = server.writer.command(&connect([]));
        assert!(matches!(server.feed(&connect)[..], [ServerEvent::Connect(_)]));
        server.session.accept();
        server.sent();
        server
    }

    /// Past `createStream` of stream 1.
    pub(crate) fn with_stream() -> Self {
        let mut server = Self::connected();
        let create = server.writer.command(&command("createStream", 2.0, &[]));
        assert_eq!(server.feed(&create), []);
        let sent = server.sent();
        assert_eq!(sent[0].command().arguments, [number(1.0)]);
        server
    }

    /// Past an accepted `publish` of `cam` on stream 1.
    pub(crate) fn publishing() -> Self {
        let mut server = Self::with_stream();
        let events = server.feed_stream_command(1, &command("publish", 3.0, &[text("cam"), text("live")]));
        assert!(matches!(&events[..], [ServerEvent::Publish(_)]));
        server.session.accept();
        server.sent();
        server
    }

    /// Past an accepted `play` of `cam` on stream 1.
    pub(crate) fn playing() -> Self {
        let mut server = Self::with_stream();
        let events = server.feed_stream_command(1, &command("play", 3.0, &[text("cam")]));
        assert!(matches!(&events[..], [ServerEvent::Play(_)]));
        server.session.accept();
        server.sent();
        server
    }

    /// Polls all events out after `bytes`.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Vec<ServerEvent> {
        self.session.input().extend_from_slice(bytes);
        self.events()
    }

    pub(crate) fn events(&mut self) -> Vec<ServerEvent> {
        std::iter::from_fn(|| self.session.poll().expect("no error")).collect()
    }

    pub(crate) fn feed_error(&mut self, bytes: &[u8]) -> ProtocolError {
        self.session.input().extend_from_slice(bytes);
        loop {
            match self.session.poll() {
                Ok(Some(_)) => {}
                Ok(None) => panic!("an error was expected"),
                Err(error) => return error,
            }
        }
    }

    pub(crate) fn feed_command(&mut self, command: &Command) -> Vec<ServerEvent> {
        let bytes = self.writer.command(command);
        self.feed(&bytes)
    }

    pub(crate) fn feed_stream_command(&mut self, stream_id: u32, command: &Command) -> Vec<ServerEvent> {
        let bytes = self.writer.stream_command(stream_id, command);
        self.feed(&bytes)
    }

    pub(crate) fn feed_control(&mut self, control: Control) -> Vec<ServerEvent> {
        let bytes = self.writer.control(control);
        self.feed(&bytes)
    }

    /// What the session has written since the last call.
    pub(crate) fn sent(&mut self) -> Vec<Sent> {
        let output = self.session.output().split();
        self.parser.all(&output)
    }

    pub(crate) fn sent_names(&mut self) -> Vec<String> {
        self.sent().iter().map(Sent::name).collect()
    }
}

/// A client session with a hand-made peer.
pub(crate) struct Client {
    pub(crate) session: ClientSession,
    pub(crate) writer: Writer,
    parser: Parser,
}

pub(crate) fn options(role: ClientRole) -> ClientOptions {
    ClientOptions {
        app: "live".to_owned(),
        tc_url: "rtmp://example.com/live".to_owned(),
        stream: "cam?key=secret".to_owned(),
        role,
        hops: vec!["engine-a".to_owned(), "engine-b".to_owned()],
    }
}

impl Client {
    /// Past the handshake, `connect` not yet taken from the output.
    pub(crate) fn new(role: ClientRole) -> Self {
        let mut session = ClientSession::new(options(role), &Limits::default());
        assert_eq!(session.output().split().len(), 1537, "C0 and C1");
        session.input().extend_from_slice(&handshake());
        assert_eq!(session.poll(), Ok(Some(ClientEvent::HandshakeDone)));
        let c2 = session.output().split_to(1536);
        assert_eq!(c2.len(), 1536);
        Self { session, writer: Writer::new(), parser: Parser::new() }
    }

    /// Past the reply to `connect`: `createStream` has been sent.
    pub(crate) fn connected(role: ClientRole) -> Self {
        let mut client = Self::new(role);
        client.sent();
        let events = client.feed_command(&connect_reply());
        assert!(matches!(&events[..], [ClientEvent::Connected { .. }]));
        client
    }

    /// Past the reply to `createStream`: `publish` or `play` has been sent on stream 1.
    pub(crate) fn requesting(role: ClientRole) -> Self {
        let mut client = Self::connected(role);
        client.sent();
        assert_eq!(client.feed_command(&command("_result", 4.0, &[number(1.0)])), []);
        client
    }

    pub(crate) fn playing() -> Self {
        let mut client = Self::requesting(ClientRole::Play);
        client.sent();
        assert_eq!(client.feed_status("status", "NetStream.Play.Start"), [ClientEvent::Playing]);
        client
    }

    pub(crate) fn publishing() -> Self {
        let mut client = Self::requesting(ClientRole::Publish);
        client.sent();
        let events = client.feed_status("status", "NetStream.Publish.Start");
        assert_eq!(events, [ClientEvent::Publishing { stream_id: 1 }]);
        client
    }

    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Vec<ClientEvent> {
        self.session.input().extend_from_slice(bytes);
        std::iter::from_fn(|| self.session.poll().expect("no error")).collect()
    }

    pub(crate) fn feed_command(&mut self, command: &Command) -> Vec<ClientEvent> {
        let bytes = self.writer.command(command);
        self.feed(&bytes)
    }

    /// An `onStatus` on stream 1.
    pub(crate) fn feed_status(&mut self, level: &str, code: &str) -> Vec<ClientEvent> {
        let status = command("onStatus", 0.0, &[status(level, code, "in the server's words")]);
        let bytes = self.writer.stream_command(1, &status);
        self.feed(&bytes)
    }

    pub(crate) fn feed_control(&mut self, control: Control) -> Vec<ClientEvent> {
        let bytes = self.writer.control(control);
        self.feed(&bytes)
    }

    pub(crate) fn sent(&mut self) -> Vec<Sent> {
        let output = self.session.output().split();
        self.parser.all(&output)
    }

    pub(crate) fn sent_names(&mut self) -> Vec<String> {
        self.sent().iter().map(Sent::name).collect()
    }
}

/// The `_result` of `connect`.
pub(crate) fn connect_reply() -> Command {
    Command {
        name: "_result".to_owned(),
        transaction: 1.0,
        object: object([("fmsVer", text("FMS/3,5,7,7009"))]),
        arguments: vec![status("status", "NetConnection.Connect.Success", "Connection succeeded.")],
    }
}
