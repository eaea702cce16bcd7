//! Bodies of the fuzz targets: each takes bytes, and asserts more than that nothing panics.
//!
//! A target is a function here (or in a file beside), a line in [`TARGETS`], a three-line program in `fuzz/fuzz_targets/` and a folder
//! of kept inputs in `fuzz/corpus/`, which an ordinary `cargo test` replays. Not part of the API.

#![allow(missing_docs, clippy::missing_panics_doc, reason = "not an API; panicking is the point")]

mod elementary;
mod flv;
#[cfg(feature = "http")]
mod http;
#[cfg(feature = "mp4")]
mod mp4;
mod sessions;
#[cfg(feature = "http")]
mod web_socket;
pub use elementary::elementary;
pub use flv::{browser_payload, flv_file, flv_tag};
#[cfg(feature = "http")]
pub use http::http_request;
#[cfg(feature = "mp4")]
pub use mp4::{mp4, mp4_file};
pub use sessions::{client_session_ops, server_session_ops, session_pair};
#[cfg(feature = "http")]
pub use web_socket::web_socket;

use crate::Limits;
use crate::amf0::{self, Amf0Error, Amf0Value};
use crate::proto::ProtocolError;
use crate::proto::chunk::{ChunkReader, WireMessage};
use crate::proto::handshake::Handshake;
use crate::proto::message::{self, Decoded, Message};
use bytes::{Bytes, BytesMut};
use std::collections::HashMap;

/// A fuzz target.
pub struct Target {
    /// Name of the program and of the corpus folder.
    pub name: &'static str,
    pub run: fn(&[u8]),
    /// How many mutated inputs an ordinary `cargo test` runs: fewer where one costs much.
    pub mutations: usize,
}

/// Every target.
pub const TARGETS: &[Target] = &[
    Target { name: "aggregate", run: aggregate, mutations: 20_000 },
    Target { name: "amf0_decode", run: amf0_decode, mutations: 20_000 },
    Target { name: "amf0_roundtrip", run: amf0_roundtrip, mutations: 500 },
    Target { name: "browser_payload", run: browser_payload, mutations: 20_000 },
    Target { name: "chunk_read", run: chunk_read, mutations: 20_000 },
    Target { name: "chunk_roundtrip", run: chunk_roundtrip, mutations: 2_000 },
    Target { name: "elementary", run: elementary, mutations: 1_500 },
    Target { name: "flv_file", run: flv_file, mutations: 5_000 },
    Target { name: "flv_tag", run: flv_tag, mutations: 20_000 },
    Target { name: "handshake", run: handshake, mutations: 1_000 },
    #[cfg(feature = "http")]
    Target { name: "http_request", run: http_request, mutations: 600 },
    #[cfg(feature = "mp4")]
    Target { name: "mp4", run: mp4, mutations: 20_000 },
    #[cfg(feature = "mp4")]
    Target { name: "mp4_file", run: mp4_file, mutations: 5_000 },
    Target { name: "client_session_ops", run: client_session_ops, mutations: 500 },
    Target { name: "server_session_ops", run: server_session_ops, mutations: 500 },
    Target { name: "session_pair", run: session_pair, mutations: 500 },
    #[cfg(feature = "http")]
    Target { name: "web_socket", run: web_socket, mutations: 20_000 },
];

/// Choices taken from the input one after the other; zeros once it is used up.
pub struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    pub fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    pub fn u32(&mut self) -> u32 {
        u32::from_be_bytes([self.byte(), self.byte(), self.byte(), self.byte()])
    }

    /// A number in `0..limit`.
    pub fn below(&mut self, limit: u8) -> u8 {
        self.byte() % limit
    }

    /// Up to `len` bytes of the input itself.
    pub fn slice(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    pub fn rest(self) -> &'a [u8] {
        self.0
    }
}

/// Cuts `bytes` into pieces whose lengths follow from `seed`: mostly a few bytes, sometimes many.
pub fn pieces(bytes: &[u8], seed: u8) -> Vec<&[u8]> {
    let mut state = u32::from(seed) | 0x100;
    let mut rest = bytes;
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let most = if state & 0x7000_0000 == 0 { 4096 } else { 8 };
        let (piece, more) = rest.split_at((1 + (state >> 8) as usize % most).min(rest.len()));
        pieces.push(piece);
        rest = more;
    }
    pieces
}

/// Any split gives the same outcome as the whole; what follows the handshake stays in the input.
/// Input: role, seed of the split, the peer's bytes.
pub fn handshake(data: &[u8]) {
    let mut choices = Choices::new(data);
    let client = choices.byte() & 1 == 1;
    let seed = choices.byte();
    let bytes = choices.rest();
    let whole = run_handshake(client, &[bytes]);
    let split = run_handshake(client, &pieces(bytes, seed));
    assert_eq!(whole, split, "the split changed the outcome");
    let (outcome, replied, left) = whole;
    let first_reply = if client { 1537 } else { 0 };
    match outcome {
        Ok(true) => assert_eq!((replied, left), (3073, bytes.len() - 3073)),
        Ok(false) => assert!(bytes.len() < 3073 && (replied == first_reply || bytes.len() >= 1537)),
        Err(_) => assert!(replied == first_reply && !bytes.starts_with(&[3])),
    }
}

type HandshakeOutcome = (Result<bool, ProtocolError>, usize, usize);

/// Outcome, bytes replied and bytes left over.
fn run_handshake(client: bool, pieces: &[&[u8]]) -> HandshakeOutcome {
    let mut handshake = if client { Handshake::client() } else { Handshake::server() };
    let (mut input, mut output) = (BytesMut::new(), BytesMut::new());
    let mut outcome = handshake.advance(&mut input, &mut output);
    for piece in pieces {
        input.extend_from_slice(piece);
        outcome = handshake.advance(&mut input, &mut output);
    }
    (outcome, output.len(), input.len())
}

/// Any split gives the same messages and the same error; no more is allocated than has been received, a quarter
/// of it and a fixed sum; errors are final; control messages of the reader do not come out.
/// Input: whether granted, seed of the split, the peer's bytes.
pub fn chunk_read(data: &[u8]) {
    let mut choices = Choices::new(data);
    let granted = choices.byte() & 1 == 1;
    let seed = choices.byte();
    let bytes = choices.rest();
    let whole = run_reader(granted, &[bytes]);
    let split = run_reader(granted, &pieces(bytes, seed));
    assert_eq!(whole, split, "the split changed the outcome");
    let (messages, _, position) = whole;
    let sum: usize = messages.iter().map(|m| m.payload.len()).sum();
    assert!(sum <= bytes.len() && position <= bytes.len() as u64);
    assert!(messages.iter().all(|m| m.type_id != 1 && m.type_id != 2));
}

type ReaderOutcome = (Vec<Message>, Option<ProtocolError>, u64);

fn run_reader(granted: bool, pieces: &[&[u8]]) -> ReaderOutcome {
    let mut reader = ChunkReader::new(&Limits::default());
    if granted {
        reader.grant();
    }
    let spare = if granted { 2 * 1024 * 1024 } else { 64 * 1024 };
    let (mut input, mut received) = (BytesMut::new(), 0);
    let (mut messages, mut error) = (Vec::new(), None);
    for piece in pieces {
        input.extend_from_slice(piece);
        received += piece.len();
        let stopped = loop {
            match reader.read(&mut input) {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        assert!(reader.allocated() <= received + received / 4 + spare, "{} bytes held", reader.allocated());
        assert!(error.is_none() || error == stopped, "errors are final");
        error = stopped;
    }
    (messages, error, reader.position())
}

/// The reader gives back exactly the messages that were written, whatever the order of their chunks, the header
/// types, the chunk sizes and the habits of the sender. Input: choices.
pub fn chunk_roundtrip(data: &[u8]) {
    chunk_roundtrip_count(data);
}

/// [`chunk_roundtrip`], returning how many messages came through.
pub fn chunk_roundtrip_count(data: &[u8]) -> usize {
    let mut choices = Choices::new(data);
    let seed = choices.byte();
    let mut sender = Sender::new(choices.byte());
    while !choices.is_empty() {
        sender.step(&mut choices);
    }
    let (messages, error, _) = run_reader(true, &pieces(&sender.wire, seed));
    assert_eq!(error, None);
    let differs = messages.iter().zip(&sender.expected).position(|(read, sent)| read != sent);
    assert_eq!(
        (differs, messages.len()),
        (None, sender.expected.len()),
        "first differing message, and count"
    );
    messages.len()
}

/// A sender that uses all header types and interleaves eight chunk streams.
struct Sender {
    wire: Vec<u8>,
    expected: Vec<Message>,
    chunk_size: usize,
    repeats_extended: bool,
    streams: Vec<SenderStream>,
}

struct SenderStream {
    id: u32,
    started: bool,
    last: Message,
    /// The last timestamp field, and whether it was an absolute time.
    field: u32,
    absolute: bool,
    /// What is left to send of the last message.
    left: Option<Bytes>,
}

impl Sender {
    fn new(habits: u8) -> Self {
        let empty = Message { timestamp: 0, type_id: 0, stream_id: 0, payload: Bytes::new() };
        let stream = |id| SenderStream {
            id,
            started: false,
            last: empty.clone(),
            field: 0,
            absolute: false,
            left: None,
        };
        Self {
            wire: Vec::new(),
            expected: Vec::new(),
            chunk_size: 128,
            repeats_extended: habits & 1 == 1,
            streams: [3, 4, 5, 63, 64, 319, 320, 65_599].map(stream).into(),
        }
    }

    fn step(&mut self, choices: &mut Choices<'_>) {
        let which = usize::from(choices.below(8));
        match choices.below(16) {
            0 => self.announce_chunk_size(choices),
            1 => self.abort(which),
            2 => self.control(4, &[0, 6, 0, 0, 0, choices.byte()], true),
            _ if self.streams[which].left.is_some() => self.go_on(which),
            _ => self.start(which, choices),
        }
    }

    fn announce_chunk_size(&mut self, choices: &mut Choices<'_>) {
        let size = 128 + (choices.u32() >> choices.below(32) & 0x7FFF_FF00);
        self.control(1, &size.to_be_bytes(), false);
        self.chunk_size = size as usize;
    }

    fn abort(&mut self, which: usize) {
        let stream = &mut self.streams[which];
        stream.left = None;
        let id = stream.id;
        self.control(2, &id.to_be_bytes(), false);
    }

    /// A message that fits one chunk, written by the engine's own writer.
    fn control(&mut self, type_id: u8, body: &[u8], returned: bool) {
        let payload = Bytes::copy_from_slice(body);
        let mut out = BytesMut::new();
        WireMessage::new(2, type_id, 0, 0, payload.clone()).encode(&mut out);
        self.wire.extend_from_slice(&out);
        if returned {
            self.expected.push(Message { timestamp: 0, type_id, stream_id: 0, payload });
        }
    }

    fn start(&mut self, which: usize, choices: &mut Choices<'_>) {
        let stream = &mut self.streams[which];
        let format = if stream.started { choices.below(4) } else { choices.below(2) };
        let mut message = stream.last.clone();
        let delta = choices.u32() >> choices.below(32);
        match format {
            3 if stream.absolute && stream.field >= 0xFF_FFFF => {}
            3 => message.timestamp = message.timestamp.wrapping_add(stream.field),
            _ => {
                message.timestamp = if format == 0 { delta } else { message.timestamp.wrapping_add(delta) };
                stream.field = delta;
                stream.absolute = format == 0;
            }
        }
        let mut len = message.payload.len();
        if format < 2 {
            message.type_id = [8, 9, 18, 20, 0, 255][usize::from(choices.below(6))];
            len = (choices.u32() as usize & 0x1FFF) >> choices.below(13);
        }
        if format == 0 {
            message.stream_id = choices.u32();
        }
        let fill = choices.byte();
        message.payload = (0..len).map(|i| (i as u8).wrapping_mul(fill | 1) ^ fill).collect();
        stream.started = true;
        stream.last = message;
        self.chunk(which, format, self.streams[which].last.payload.clone());
    }

    fn go_on(&mut self, which: usize) {
        let left = self.streams[which].left.take();
        self.chunk(which, 3, left.unwrap_or_default());
    }

    /// Writes one chunk with as much of `left` as it takes.
    fn chunk(&mut self, which: usize, format: u8, mut left: Bytes) {
        let piece = left.split_to(left.len().min(self.chunk_size));
        self.header(which, format, &piece);
        self.wire.extend_from_slice(&piece);
        let stream = &mut self.streams[which];
        if left.is_empty() {
            stream.left = None;
            self.expected.push(stream.last.clone());
        } else {
            stream.left = Some(left);
        }
    }

    fn header(&mut self, which: usize, format: u8, piece: &[u8]) {
        let SenderStream { id, last, field, .. } = &self.streams[which];
        basic_header(format, *id, &mut self.wire);
        if format < 3 {
            self.wire.extend_from_slice(&field.min(&0xFF_FFFF).to_be_bytes()[1..]);
        }
        if format < 2 {
            self.wire.extend_from_slice(&(last.payload.len() as u32).to_be_bytes()[1..]);
            self.wire.push(last.type_id);
        }
        if format == 0 {
            self.wire.extend_from_slice(&last.stream_id.to_le_bytes());
        }
        // Payload that might be taken for the repetition makes even the other kind of sender repeat.
        let values = [field.to_be_bytes(), last.timestamp.to_be_bytes()];
        let unclear = piece.len() < 4 || values.iter().any(|value| piece.starts_with(value));
        if *field >= 0xFF_FFFF && (format < 3 || self.repeats_extended || unclear) {
            self.wire.extend_from_slice(&field.to_be_bytes());
        }
    }
}

fn basic_header(format: u8, id: u32, out: &mut Vec<u8>) {
    match id {
        0..64 => out.push(format << 6 | id as u8),
        64..320 => out.extend_from_slice(&[format << 6, (id - 64) as u8]),
        _ => {
            out.push(format << 6 | 1);
            out.extend_from_slice(&((id - 64) as u16).to_le_bytes());
        }
    }
}

/// Results keep the budget of depth, values and bytes; one value after the other gives what all at once give.
pub fn amf0_decode(data: &[u8]) {
    let all = amf0::decode_all(data);
    let mut values = Vec::new();
    let mut rest = data;
    let mut error = None;
    while !rest.is_empty() {
        match amf0::decode_one(rest) {
            Ok((value, taken)) => {
                assert!(0 < taken && taken <= rest.len());
                values.push(value);
                rest = &rest[taken..];
            }
            Err(e) => {
                error = Some(e);
                break;
            }
        }
    }
    match all {
        Ok(all) => {
            let count: usize = all.iter().map(|value| check_value(value, 0)).sum();
            assert!(count <= amf0::MAX_VALUES && count <= data.len());
            assert!(error.is_none() && same(&all, &values));
        }
        // The budget is one of the message, so values one by one may pass where all together do not.
        Err(Amf0Error::Budget(at)) => assert!(at <= data.len()),
        Err(Amf0Error::Truncated(at)) => assert!(at <= data.len() && error.is_some()),
        Err(Amf0Error::Marker(at, marker)) => assert!(data.get(at) == Some(&marker) && error.is_some()),
    }
}

/// Counts values (object properties as they were left after duplicates) and asserts the depth.
fn check_value(value: &Amf0Value, depth: usize) -> usize {
    assert!(depth <= amf0::MAX_DEPTH);
    1 + match value {
        Amf0Value::Object(properties) => properties.values().map(|v| check_value(v, depth + 1)).sum(),
        Amf0Value::StrictArray(values) => values.iter().map(|v| check_value(v, depth + 1)).sum(),
        _ => 0,
    }
}

/// Equality with numbers compared by bits, so that NaN equals itself.
fn same(a: &[Amf0Value], b: &[Amf0Value]) -> bool {
    let (mut left, mut right) = (BytesMut::new(), BytesMut::new());
    amf0::encode(a, &mut left);
    amf0::encode(b, &mut right);
    left == right
}

/// What is encoded decodes to the same values. Input: choices.
pub fn amf0_roundtrip(data: &[u8]) {
    let mut choices = Choices::new(data);
    let mut left = amf0::MAX_VALUES;
    let mut values = Vec::new();
    while !choices.is_empty() && left > 0 {
        values.push(make_value(&mut choices, 0, &mut left));
    }
    let mut bytes = BytesMut::new();
    amf0::encode(&values, &mut bytes);
    let decoded = amf0::decode_all(&bytes).expect("what was encoded decodes");
    assert_eq!(decoded.len(), values.len());
    assert!(same(&values, &decoded), "{values:?} became {decoded:?}");
}

fn make_value(choices: &mut Choices<'_>, depth: usize, left: &mut usize) -> Amf0Value {
    *left -= 1;
    let containers = depth < amf0::MAX_DEPTH && *left > 0;
    match choices.below(if containers { 8 } else { 6 }) {
        0 => Amf0Value::Number(f64::from_bits(u64::from(choices.u32()) << 32 | u64::from(choices.u32()))),
        1 => Amf0Value::Boolean(choices.byte() & 1 == 1),
        2 => Amf0Value::Null,
        3 => Amf0Value::Undefined,
        4 => Amf0Value::Utf8String(make_text(choices)),
        // Around the border between short and long strings.
        5 => Amf0Value::Utf8String("x".repeat(65_408 + usize::from(choices.byte()))),
        6 => {
            let count = usize::from(choices.below(16)).min(*left);
            let mut properties = HashMap::new();
            for _ in 0..count {
                if *left > 0 {
                    properties.insert(make_text(choices), make_value(choices, depth + 1, left));
                }
            }
            Amf0Value::Object(properties)
        }
        _ => {
            let count = usize::from(choices.below(16)).min(*left);
            let mut values = Vec::new();
            for _ in 0..count {
                if *left > 0 {
                    values.push(make_value(choices, depth + 1, left));
                }
            }
            Amf0Value::StrictArray(values)
        }
    }
}

fn make_text(choices: &mut Choices<'_>) -> String {
    let len = usize::from(choices.byte());
    String::from_utf8_lossy(choices.slice(len)).into_owned()
}

/// Sub-messages are pieces of their aggregate, in order, with its message stream and never nested.
/// Input: the time of the aggregate, its body.
pub fn aggregate(data: &[u8]) {
    let mut choices = Choices::new(data);
    let timestamp = choices.u32();
    let payload = Bytes::copy_from_slice(choices.rest());
    let whole = payload.len();
    let aggregate = Message { timestamp, type_id: 22, stream_id: 7, payload: payload.clone() };
    match message::decode(aggregate) {
        Ok(Decoded::Aggregate(messages)) => {
            let sum: usize = messages.iter().map(|m| m.payload.len()).sum();
            assert!(sum + 11 * messages.len() <= whole && messages.is_empty() == payload.is_empty());
            assert!(messages.first().is_none_or(|first| first.timestamp == timestamp));
            let mut end = payload.as_ptr() as usize;
            for message in &messages {
                assert!(message.type_id != 22 && message.stream_id == 7);
                let start = message.payload.as_ptr() as usize;
                assert!(message.payload.is_empty() || start >= end + 11, "sub-messages overlap");
                end = if message.payload.is_empty() { end } else { start + message.payload.len() };
            }
        }
        Ok(other) => panic!("an aggregate became {other:?}"),
        Err(Amf0Error::Truncated(at) | Amf0Error::Marker(at, 22) | Amf0Error::Budget(at)) => {
            assert!(at < whole)
        }
        Err(error) => panic!("{error:?}"),
    }
}
