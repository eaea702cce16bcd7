//! A minimal RTMP peer that does what it is told, right or wrong: for hostile and for very many peers.
//!
//! It writes type-0 chunks with its own chunk size and reads whatever the other side sends.

use crate::PATIENCE;
use rml_amf0::Amf0Value;
use socket2::{Domain, Socket, Type};
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// Chunk size of what a [`RawPeer`] sends after `connect`.
const CHUNK: usize = 65_536;

/// A whole RTMP message.
#[derive(Debug, Clone)]
pub struct Message {
    /// Message type: 8 audio, 9 video, 18 data, 20 command, below 8 control.
    pub kind: u8,
    /// Message stream.
    pub stream: u32,
    /// Milliseconds.
    pub timestamp: u32,
    /// The body.
    pub body: Vec<u8>,
}

impl Message {
    /// The AMF0 values of a command or data message.
    pub fn values(&self) -> Vec<Amf0Value> {
        rml_amf0::deserialize(&mut io::Cursor::new(&self.body)).unwrap_or_default()
    }

    /// The command's name, if it is one.
    pub fn command(&self) -> Option<String> {
        let name = (self.kind == 20).then(|| self.values().into_iter().next())??;
        name.get_string()
    }

    /// `code` and `description` of an `onStatus`, `_error` or `_result`.
    pub fn status(&self) -> Option<Status> {
        self.command()?;
        let text = |map: &HashMap<String, Amf0Value>, key: &str| {
            map.get(key).and_then(|value| value.clone().get_string()).unwrap_or_default()
        };
        self.values().into_iter().rev().find_map(|value| {
            let map = value.get_object_properties()?;
            map.contains_key("code").then(|| Status {
                code: text(&map, "code"),
                level: text(&map, "level"),
                description: text(&map, "description"),
            })
        })
    }
}

/// What a server says about a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// As `NetStream.Publish.Start`.
    pub code: String,
    /// `status` or `error`.
    pub level: String,
    /// In words.
    pub description: String,
}

/// AMF0 string.
pub fn text(value: impl Into<String>) -> Amf0Value {
    Amf0Value::Utf8String(value.into())
}

/// The body of a command: name, transaction, then the rest.
pub fn command(name: &str, transaction: f64, rest: Vec<Amf0Value>) -> Vec<u8> {
    let mut values = vec![text(name), Amf0Value::Number(transaction)];
    values.extend(rest);
    rml_amf0::serialize(&values).expect("AMF0")
}

/// One message as a type-0 chunk and type-3 chunks of `chunk` bytes.
pub fn message(csid: u8, timestamp: u32, kind: u8, stream: u32, body: &[u8], chunk: usize) -> Vec<u8> {
    let mut wire = Vec::with_capacity(body.len() + 32);
    let short = timestamp.min(0xff_ffff);
    let extended = (short == 0xff_ffff).then(|| timestamp.to_be_bytes());
    wire.push(csid & 0x3f);
    wire.extend(&short.to_be_bytes()[1..]);
    wire.extend(&u32::try_from(body.len()).expect("body length").to_be_bytes()[1..]);
    wire.push(kind);
    wire.extend(stream.to_le_bytes());
    wire.extend(extended.iter().flatten());
    for (number, part) in body.chunks(chunk).enumerate() {
        if number > 0 {
            wire.push(0xc0 | csid & 0x3f);
            wire.extend(extended.iter().flatten());
        }
        wire.extend(part);
    }
    wire
}

/// A connection that speaks RTMP only as far as it is asked to.
pub struct RawPeer {
    /// The socket; its reads end after [`PATIENCE`].
    pub socket: TcpStream,
    reader: ChunkReader,
    transaction: f64,
}

impl RawPeer {
    /// Opens a TCP connection, nothing more.
    pub fn dial(address: SocketAddr) -> io::Result<Self> {
        Self::dial_with(address, None, None)
    }

    /// The same from a given local address and with a small receive buffer.
    pub fn dial_with(to: SocketAddr, from: Option<Ipv4Addr>, buffer: Option<usize>) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
        if let Some(from) = from {
            socket.bind(&SocketAddr::from((from, 0)).into())?;
        }
        if let Some(bytes) = buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        socket.connect_timeout(&to.into(), PATIENCE)?;
        socket.set_tcp_nodelay(true)?;
        let socket: TcpStream = socket.into();
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { socket, reader: ChunkReader::default(), transaction: 1.0 })
    }

    /// The plain handshake.
    pub fn handshake(&mut self) -> io::Result<()> {
        let mut hello = [0_u8; 1537];
        hello[0] = 3;
        self.socket.write_all(&hello)?;
        let mut answer = [0_u8; 1 + 1536 + 1536];
        self.socket.read_exact(&mut answer)?;
        self.socket.write_all(&answer[1..1537])
    }

    /// Handshake and `connect` to an app.
    pub fn connect(address: SocketAddr, app: &str) -> io::Result<Self> {
        let mut peer = Self::dial(address)?;
        peer.open(app)?;
        Ok(peer)
    }

    /// Handshake and `connect` on a dialled connection.
    pub fn open(&mut self, app: &str) -> io::Result<()> {
        self.handshake()?;
        let status = self.connect_app(app)?;
        if status.code == "NetConnection.Connect.Success" {
            return Ok(());
        }
        Err(io::Error::other(format!("{}: {}", status.code, status.description)))
    }

    /// `connect`, and what the server says to it.
    pub fn connect_app(&mut self, app: &str) -> io::Result<Status> {
        let url = format!("rtmp://{}/{app}", self.socket.peer_addr()?);
        self.connect_with(&[("app", app), ("tcUrl", &url), ("flashVer", "test")])
    }

    /// `connect` with these properties, and what the server says to it.
    pub fn connect_with(&mut self, properties: &[(&str, &str)]) -> io::Result<Status> {
        let size = u32::try_from(CHUNK).expect("chunk size").to_be_bytes();
        self.socket.write_all(&message(2, 0, 1, 0, &size, 128))?;
        let object = properties.iter().map(|&(key, value)| (key.to_owned(), text(value))).collect();
        self.send_command(0, "connect", 1.0, vec![Amf0Value::Object(object)])?;
        self.wait_status()
    }

    /// Sends one message.
    pub fn send(&mut self, csid: u8, timestamp: u32, kind: u8, stream: u32, body: &[u8]) -> io::Result<()> {
        self.socket.write_all(&message(csid, timestamp, kind, stream, body, CHUNK))
    }

    /// Sends a command on a message stream.
    pub fn send_command(
        &mut self,
        stream: u32,
        name: &str,
        transaction: f64,
        rest: Vec<Amf0Value>,
    ) -> io::Result<()> {
        self.send(3, 0, 20, stream, &command(name, transaction, rest))
    }

    /// `createStream`; gives the message stream's number.
    pub fn create_stream(&mut self) -> io::Result<u32> {
        self.transaction += 1.0;
        self.send_command(0, "createStream", self.transaction, vec![Amf0Value::Null])?;
        let answer = self.wait_for(|message| message.command().as_deref() == Some("_result"))?;
        let number = answer.values().into_iter().nth(3).and_then(Amf0Value::get_number).unwrap_or(0.0);
        Ok(number as u32)
    }

    /// `createStream` and `publish`; gives what the server says.
    pub fn publish(&mut self, name: &str) -> io::Result<Status> {
        let stream = self.create_stream()?;
        self.send_command(stream, "publish", 0.0, vec![Amf0Value::Null, text(name), text("live")])?;
        self.wait_status()
    }

    /// `createStream` and `play`; gives the server's first refusal or its `NetStream.Play.Start`.
    pub fn play(&mut self, name: &str) -> io::Result<Status> {
        self.ask_play(name)?;
        loop {
            let status = self.wait_status()?;
            if status.level == "error" || status.code == "NetStream.Play.Start" {
                return Ok(status);
            }
        }
    }

    /// `createStream` and `play` without waiting for the answer to `play`.
    pub fn ask_play(&mut self, name: &str) -> io::Result<()> {
        let stream = self.create_stream()?;
        self.send_command(stream, "play", 0.0, vec![Amf0Value::Null, text(name), Amf0Value::Number(-2.0)])
    }

    /// Waits for a status object.
    pub fn wait_status(&mut self) -> io::Result<Status> {
        self.wait_for(|message| message.status().is_some()).map(|message| message.status().expect("status"))
    }

    /// Reads until a message is as wanted; the others are dropped.
    pub fn wait_for(&mut self, mut wanted: impl FnMut(&Message) -> bool) -> io::Result<Message> {
        loop {
            let message = self.read()?;
            if wanted(&message) {
                return Ok(message);
            }
        }
    }

    /// The next message; pings are answered on the way.
    pub fn read(&mut self) -> io::Result<Message> {
        loop {
            let message = self.reader.read(&mut self.socket)?;
            match (message.kind, message.body.get(..2)) {
                (4, Some([0, 6])) => {
                    let mut pong = message.body.clone();
                    pong[1] = 7;
                    self.send(2, 0, 4, 0, &pong)?;
                }
                _ => return Ok(message),
            }
        }
    }

    /// Reads and drops what comes until the other side closes; `false` if it does not within `patience`.
    pub fn wait_closed(&mut self, patience: Duration) -> bool {
        let end = std::time::Instant::now() + patience;
        let mut buffer = [0_u8; 65_536];
        loop {
            let left = end.saturating_duration_since(std::time::Instant::now());
            if left.is_zero() || self.socket.set_read_timeout(Some(left)).is_err() {
                return false;
            }
            match self.socket.read(&mut buffer) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                }
                Err(_) => return true,
            }
        }
    }
}

/// Reassembles messages, every chunk stream for itself.
struct ChunkReader {
    chunk: usize,
    streams: HashMap<u32, Assembly>,
}

#[derive(Default)]
struct Assembly {
    timestamp: u32,
    delta: u32,
    extended: bool,
    length: usize,
    kind: u8,
    stream: u32,
    body: Vec<u8>,
}

impl Default for ChunkReader {
    fn default() -> Self {
        Self { chunk: 128, streams: HashMap::new() }
    }
}

impl ChunkReader {
    fn read(&mut self, source: &mut impl Read) -> io::Result<Message> {
        loop {
            if let Some(message) = self.read_chunk(source)? {
                if message.kind == 1 && message.body.len() == 4 {
                    self.chunk = number(&message.body) as usize;
                    continue;
                }
                return Ok(message);
            }
        }
    }

    fn read_chunk(&mut self, source: &mut impl Read) -> io::Result<Option<Message>> {
        let first = bytes::<1>(source)?[0];
        let csid = match first & 0x3f {
            0 => 64 + u32::from(bytes::<1>(source)?[0]),
            1 => 64 + u32::from(u16::from_le_bytes(bytes::<2>(source)?)),
            csid => u32::from(csid),
        };
        let state = self.streams.entry(csid).or_default();
        state.read_header(first >> 6, source)?;
        let part = self.chunk.min(state.length - state.body.len());
        let start = state.body.len();
        state.body.resize(start + part, 0);
        source.read_exact(&mut state.body[start..])?;
        if state.body.len() < state.length {
            return Ok(None);
        }
        let body = std::mem::take(&mut state.body);
        Ok(Some(Message { kind: state.kind, stream: state.stream, timestamp: state.timestamp, body }))
    }
}

impl Assembly {
    fn read_header(&mut self, format: u8, source: &mut impl Read) -> io::Result<()> {
        let begins = self.body.is_empty();
        let mut time = 0;
        if format < 3 {
            time = number(&bytes::<3>(source)?);
            self.extended = time == 0xff_ffff;
        }
        if format < 2 {
            self.length = number(&bytes::<3>(source)?) as usize;
            self.kind = bytes::<1>(source)?[0];
        }
        if format == 0 {
            self.stream = u32::from_le_bytes(bytes::<4>(source)?);
        }
        if self.extended {
            time = u32::from_be_bytes(bytes::<4>(source)?);
        }
        match format {
            0 => {
                self.timestamp = time;
                self.delta = 0;
            }
            1 | 2 => {
                self.delta = time;
                self.timestamp = self.timestamp.wrapping_add(time);
            }
            _ if begins => self.timestamp = self.timestamp.wrapping_add(self.delta),
            _ => {}
        }
        Ok(())
    }
}

fn bytes<const N: usize>(source: &mut impl Read) -> io::Result<[u8; N]> {
    let mut buffer = [0; N];
    source.read_exact(&mut buffer)?;
    Ok(buffer)
}

fn number(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |value, &byte| value << 8 | u32::from(byte))
}
