//! What both sides of a connection have in common: input, handshake, acknowledgements, pings and writing.

use super::chunk::{CHUNK_SIZE_OUT, ChunkReader, WireMessage, csid};
use super::handshake::Handshake;
use super::message::{self, Command, Control, Decoded, Message, message_type};
use super::{ProtocolError, ProtocolErrorKind, Received};
use crate::Limits;
use crate::amf0::Amf0Value;
use crate::hops;
use crate::media::FrameKind;
use crate::media::flv::strip_set_data_frame;
use bytes::{BufMut, Bytes, BytesMut};
use std::borrow::Cow;
use std::collections::HashMap;

/// The acknowledgement window that we announce, and ours for a peer that announces none (as librtmp has it).
pub(super) const WINDOW: u32 = 2_500_000;
bound! {
    /// Smallest acknowledgement window that a peer can make us use: smaller ones would cost a message per read
    /// (test `f16_windows_of_0_and_1_and_the_largest_cost_at_most_one_acknowledgement_per_read`).
    const MIN_WINDOW: u32 = 16 * 1024, without 1;
}
/// Chunk size of everything before our Set Chunk Size.
const DEFAULT_CHUNK_SIZE: usize = 128;

/// Keys of Enhanced RTMP in `connect` and its reply.
pub(super) const CAPS_EX_KEY: &str = "capsEx";
pub(super) const FOUR_CC_LIST_KEY: &str = "fourCcList";
pub(super) const VIDEO_INFO_KEY: &str = "videoFourCcInfoMap";
pub(super) const AUDIO_INFO_KEY: &str = "audioFourCcInfoMap";
/// `capsEx` bit: follows reconnect requests.
pub(super) const CAP_RECONNECT: u32 = 1;
/// `capsEx` of this engine: Reconnect, Multitrack, ModEx and TimestampNanoOffset; all pass through untouched.
pub(super) const CAPS_EX: f64 = 15.0;
/// FourCC info flag: can forward the codec.
pub(super) const CAN_FORWARD: f64 = 4.0;

/// What `connect` or its reply said when it asks the peer to connect again (E-RTMP).
pub(super) const RECONNECT_REQUEST: &str = "NetConnection.Connect.ReconnectRequest";

/// What came in that a session has to look at.
#[derive(Debug)]
pub(super) enum Incoming {
    /// The handshake is complete.
    HandshakeDone,
    /// The peer has received this many bytes in all.
    Acknowledged(u64),
    /// Our ping of this clock was answered.
    Pong(u32),
    /// A message stream has come to its end.
    StreamEof,
    /// A command on a message stream.
    Command(u32, Command),
    /// A media message.
    Media(MediaMessage),
}

/// A media message off the wire.
#[derive(Debug)]
pub(super) struct MediaMessage {
    pub(super) stream_id: u32,
    pub(super) kind: FrameKind,
    /// Milliseconds modulo 2^32.
    pub(super) timestamp: u32,
    /// The body; of data messages without `@setDataFrame`.
    pub(super) payload: Bytes,
}

/// One end of an RTMP connection below the level of commands.
pub(super) struct Link {
    pub(super) input: BytesMut,
    pub(super) output: BytesMut,
    /// `None` once complete.
    handshake: Option<Box<Handshake>>,
    reader: ChunkReader,
    /// The rest of an aggregate that is being handed out.
    split: std::vec::IntoIter<Message>,
    /// Acknowledgements that we owe: the peer's window and the total of the last one sent.
    window: u32,
    acknowledged: u64,
    /// Answers to pings that have come.
    pub(super) pongs: u64,
    /// Control messages, and messages that nobody knows, that have come.
    pub(super) chatter: u64,
    /// Messages of any kind that have come, each part of an aggregate too.
    messages: u64,
    /// The highest total that the peer has acknowledged.
    peer_acknowledged: u64,
    /// Messages that may still be looked at in this turn; `None` = any number.
    turn: Option<u32>,
    /// Our chunk size.
    chunk_size: u32,
    /// Whether it has been announced.
    chunk_size_sent: bool,
}

impl Link {
    pub(super) fn server(limits: &Limits) -> Self {
        Self::new(Handshake::server(), limits)
    }

    /// The connecting end; its output holds C0 and C1.
    pub(super) fn client(limits: &Limits) -> Self {
        let mut link = Self::new(Handshake::client(), limits);
        if let Some(handshake) = &mut link.handshake {
            // Without input there is nothing to refuse; were there an error, the next call would repeat it.
            let _ = handshake.advance(&mut link.input, &mut link.output);
        }
        link
    }

    fn new(handshake: Handshake, limits: &Limits) -> Self {
        Self {
            input: BytesMut::new(),
            output: BytesMut::new(),
            handshake: Some(Box::new(handshake)),
            reader: ChunkReader::new(limits),
            split: Vec::new().into_iter(),
            window: WINDOW,
            acknowledged: 0,
            peer_acknowledged: 0,
            turn: None,
            pongs: 0,
            chatter: 0,
            messages: 0,
            chunk_size: CHUNK_SIZE_OUT as u32,
            chunk_size_sent: false,
        }
    }

    /// Looks at no more than so many messages before the next call, parts of aggregates counted. What is left waits in
    /// the input: a few bytes may be a message, and one peer's must not keep the others waiting.
    pub(super) fn begin_turn(&mut self, messages: u32) {
        self.turn = Some(messages);
    }

    /// Whether the turn ended before the input did.
    pub(super) fn is_turn_over(&self) -> bool {
        self.turn == Some(0) && !(self.input.is_empty() && self.split.as_slice().is_empty())
    }

    /// Counts a message; false where it has to wait for the next turn.
    fn spend(&mut self) -> bool {
        let Some(left) = &mut self.turn else { return true };
        match left.checked_sub(1) {
            Some(rest) => {
                *left = rest;
                true
            }
            None => false,
        }
    }

    /// The next thing to look at; `None` = more bytes are needed, or the turn is over.
    pub(super) fn next(&mut self) -> Result<Option<Incoming>, ProtocolError> {
        if self.handshake.is_some() {
            return Ok(self.shake()?.then_some(Incoming::HandshakeDone));
        }
        loop {
            self.acknowledge();
            if !self.spend() {
                return Ok(None);
            }
            if let Some(part) = self.split.next() {
                self.messages = self.messages.wrapping_add(1);
                if let Some(media) = media_part(part) {
                    return Ok(Some(Incoming::Media(media)));
                }
                continue;
            }
            let Some(message) = self.reader.read(&mut self.input)? else { return Ok(None) };
            self.messages = self.messages.wrapping_add(1);
            if let Some(incoming) = self.sort(message)? {
                return Ok(Some(incoming));
            }
        }
    }

    /// Goes on with the handshake; true once it is complete.
    fn shake(&mut self) -> Result<bool, ProtocolError> {
        let Some(handshake) = &mut self.handshake else { return Ok(true) };
        let done = handshake.advance(&mut self.input, &mut self.output)?;
        if done {
            self.reader.set_base(handshake.position());
            self.handshake = None;
        }
        Ok(done)
    }

    /// Deals with control messages; gives everything else to the session.
    fn sort(&mut self, message: Message) -> Result<Option<Incoming>, ProtocolError> {
        let (stream_id, timestamp) = (message.stream_id, message.timestamp);
        let media = |kind, payload| Incoming::Media(MediaMessage { stream_id, kind, timestamp, payload });
        let malformed = |error| format!("malformed command or aggregate: {error}");
        let decoded = message::decode(message)
            .map_err(|error| self.error(ProtocolErrorKind::Command, malformed(error)))?;
        if matches!(decoded, Decoded::Control(_) | Decoded::Command(_) | Decoded::Ignored) {
            self.chatter = self.chatter.wrapping_add(1);
        }
        Ok(match decoded {
            Decoded::Audio(payload) => Some(media(FrameKind::Audio, payload)),
            Decoded::Video(payload) => Some(media(FrameKind::Video, payload)),
            Decoded::Data(payload) => data_body(payload).map(|body| media(FrameKind::Data, body)),
            Decoded::Command(command) => Some(Incoming::Command(stream_id, command)),
            Decoded::Aggregate(parts) => {
                self.split = parts.into_iter();
                None
            }
            Decoded::Control(control) => self.on_control(control),
            Decoded::Ignored => None,
        })
    }

    fn on_control(&mut self, control: Control) -> Option<Incoming> {
        match control {
            Control::Acknowledgement(total) => return self.on_acknowledgement(total),
            Control::PingResponse(clock) => {
                self.pongs = self.pongs.wrapping_add(1);
                return Some(Incoming::Pong(clock));
            }
            Control::StreamEof(_) => return Some(Incoming::StreamEof),
            Control::PingRequest(clock) => self.send_control(Control::PingResponse(clock)),
            Control::WindowAckSize(window) if window > 0 => self.window = window.max(MIN_WINDOW.get()),
            Control::PeerBandwidth(window, _) if window > 0 => {
                self.send_control(Control::WindowAckSize(window.max(MIN_WINDOW.get())));
            }
            // Carried out by the chunk reader, or of no meaning to a live stream.
            Control::SetChunkSize(_)
            | Control::Abort(_)
            | Control::WindowAckSize(_)
            | Control::PeerBandwidth(..)
            | Control::StreamBegin(_)
            | Control::SetBufferLength(..) => {}
        }
        None
    }

    /// Widens the peer's total, which is modulo 2^32; one that goes back is ignored.
    fn on_acknowledgement(&mut self, total: u32) -> Option<Incoming> {
        #[expect(clippy::cast_possible_truncation, reason = "modulo 2^32 is meant")]
        let step = total.wrapping_sub(self.peer_acknowledged as u32);
        if step == 0 || step > u32::MAX / 2 {
            return None;
        }
        self.peer_acknowledged = self.peer_acknowledged.saturating_add(u64::from(step));
        Some(Incoming::Acknowledged(self.peer_acknowledged))
    }

    /// Acknowledges what has been received once the window is full. All bytes that have arrived count, read or
    /// not, so a run of [`Self::next`] over one read sends at most one.
    fn acknowledge(&mut self) {
        let waiting = self.input.len() as u64;
        let received = self.position().saturating_add(waiting);
        if received.saturating_sub(self.acknowledged) < u64::from(self.window) {
            return;
        }
        self.acknowledged = received;
        #[expect(clippy::cast_possible_truncation, reason = "the wire form is modulo 2^32")]
        self.send_control(Control::Acknowledgement(received as u32));
    }

    /// Bytes of the connection that have been taken from input.
    pub(super) fn position(&self) -> u64 {
        self.reader.position()
    }

    /// What has been taken in so far.
    pub(super) fn received(&self) -> Received {
        Received { bytes: self.position(), messages: self.messages }
    }

    pub(super) fn error(
        &self,
        kind: ProtocolErrorKind,
        detail: impl Into<Cow<'static, str>>,
    ) -> ProtocolError {
        ProtocolError::new(kind, self.position(), detail)
    }

    /// Raises the reader's limits to those of a granted peer.
    pub(super) fn grant(&mut self) {
        self.reader.grant();
    }

    /// Forgets input that nobody will read any more.
    pub(super) fn discard(&mut self) {
        self.input = BytesMut::new();
        self.split = Vec::new().into_iter();
    }

    /// Chooses our chunk size, before it is announced.
    pub(super) fn set_chunk_size(&mut self, size: u32) {
        self.chunk_size = size;
    }

    /// Announces our chunk size; what follows is written with it.
    pub(super) fn announce_chunk_size(&mut self) {
        self.send_control(Control::SetChunkSize(self.chunk_size));
        self.chunk_size_sent = true;
    }

    pub(super) fn send_control(&mut self, control: Control) {
        let (type_id, body) = message::encode_control(control);
        self.write(csid::CONTROL, type_id, 0, body);
    }

    /// Sends a command of the connection: on message stream 0.
    pub(super) fn send_command(&mut self, command: &Command) {
        self.write(csid::CONNECTION, message_type::COMMAND, 0, message::encode_command(command));
    }

    /// Sends a command of a message stream.
    pub(super) fn send_stream_command(&mut self, stream_id: u32, command: &Command) {
        self.write(csid::STREAM, message_type::COMMAND, stream_id, message::encode_command(command));
    }

    fn write(&mut self, csid: u8, type_id: u8, stream_id: u32, body: Bytes) {
        if self.chunk_size_sent {
            let message = WireMessage::new(csid, type_id, stream_id, 0, body);
            message.in_chunks_of(self.chunk_size).encode(&mut self.output);
        } else {
            write_default_chunks(&mut self.output, csid, type_id, stream_id, &body);
        }
    }
}

/// Writes a message at time 0 in chunks of 128 bytes, for the time before our Set Chunk Size: `ffmpeg -listen`
/// takes nothing but `connect` as the first message, so that cannot be announced earlier.
fn write_default_chunks(out: &mut BytesMut, csid: u8, type_id: u8, stream_id: u32, body: &[u8]) {
    out.put_u8(csid);
    out.put_uint(0, 3);
    out.put_uint(body.len() as u64, 3);
    out.put_u8(type_id);
    out.put_u32_le(stream_id);
    for (index, chunk) in body.chunks(DEFAULT_CHUNK_SIZE).enumerate() {
        if index > 0 {
            out.put_u8(0xC0 | csid);
        }
        out.put_slice(chunk);
    }
}

/// A part of an aggregate, which may only be media.
fn media_part(part: Message) -> Option<MediaMessage> {
    let (stream_id, timestamp) = (part.stream_id, part.timestamp);
    let (kind, payload) = match message::decode(part).ok()? {
        Decoded::Audio(payload) => (FrameKind::Audio, payload),
        Decoded::Video(payload) => (FrameKind::Video, payload),
        Decoded::Data(payload) => (FrameKind::Data, data_body(payload)?),
        Decoded::Control(_) | Decoded::Command(_) | Decoded::Aggregate(_) | Decoded::Ignored => return None,
    };
    Some(MediaMessage { stream_id, kind, timestamp, payload })
}

/// The data that players get: without `@setDataFrame`, and not when nothing is left.
fn data_body(payload: Bytes) -> Option<Bytes> {
    Some(strip_set_data_frame(payload)).filter(|body| !body.is_empty())
}

/// The level of a status object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    Status,
    Error,
}

impl Level {
    fn as_str(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Error => "error",
        }
    }
}

/// The information object of a status, result or error.
pub(super) fn information(level: Level, code: &str, description: &str) -> HashMap<String, Amf0Value> {
    properties([("level", text(level.as_str())), ("code", text(code)), ("description", text(description))])
}

/// A command without a command object.
pub(super) fn command(name: &str, transaction: f64, arguments: Vec<Amf0Value>) -> Command {
    Command { name: name.to_owned(), transaction, object: Amf0Value::Null, arguments }
}

pub(super) fn properties<const N: usize>(entries: [(&str, Amf0Value); N]) -> HashMap<String, Amf0Value> {
    entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

pub(super) fn text(value: &str) -> Amf0Value {
    Amf0Value::Utf8String(value.to_owned())
}

/// About the bytes that `value` keeps in memory: its texts, and a fixed sum for each value in it.
pub(super) fn memory(value: &Amf0Value) -> usize {
    const EACH: usize = 64;
    let held = match value {
        Amf0Value::Utf8String(text) => text.len(),
        Amf0Value::Object(properties) => {
            properties.iter().map(|(key, value)| key.len().saturating_add(memory(value))).sum()
        }
        Amf0Value::StrictArray(values) => values.iter().map(memory).sum(),
        Amf0Value::Number(_) | Amf0Value::Boolean(_) | Amf0Value::Null | Amf0Value::Undefined => 0,
    };
    held.saturating_add(EACH)
}

/// The string behind `value`.
pub(super) fn as_text(value: Option<&Amf0Value>) -> Option<&str> {
    match value? {
        Amf0Value::Utf8String(text) => Some(text),
        _ => None,
    }
}

/// The number behind `value`.
pub(super) fn as_number(value: Option<&Amf0Value>) -> Option<f64> {
    match value? {
        Amf0Value::Number(number) => Some(*number),
        _ => None,
    }
}

/// The message stream id behind `value`: a whole number of 32 bits.
pub(super) fn as_stream_id(value: Option<&Amf0Value>) -> Option<u32> {
    let number = as_number(value)?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "compared right after")]
    let id = number as u32;
    (f64::from(id) == number).then_some(id)
}

/// The engines that the stream has passed, as `connect` or its reply tells them.
pub(super) fn hops_in(properties: &HashMap<String, Amf0Value>) -> Vec<String> {
    as_text(properties.get(hops::KEY)).map(hops::parse).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A link past its handshake that has received `received` bytes.
    fn link(received: u64) -> Link {
        let mut link = Link::server(&Limits::default());
        link.handshake = None;
        link.reader.set_base(received);
        link.acknowledged = received;
        link
    }

    /// The totals acknowledged so far.
    fn totals(link: &mut Link) -> Vec<u32> {
        let mut reader = ChunkReader::new(&Limits::default());
        let mut totals = Vec::new();
        while let Some(message) = reader.read(&mut link.output).unwrap() {
            match message::decode(message) {
                Ok(Decoded::Control(Control::Acknowledgement(total))) => totals.push(total),
                other => panic!("{other:?}"),
            }
        }
        totals
    }

    #[test]
    fn f16_acknowledged_total_goes_on_past_4_gib() {
        let mut link = link(u64::from(u32::MAX) - 20_000);
        link.window = MIN_WINDOW.stated();
        let audio = WireMessage::new(csid::AUDIO, 8, 1, 0, Bytes::from_static(&[0; 100]));
        for _ in 0..400 {
            audio.encode(&mut link.input);
            assert!(matches!(link.next(), Ok(Some(Incoming::Media(_)))));
            assert!(matches!(link.next(), Ok(None)));
        }
        // 112 bytes at a time: the window of 16,384 is full after 147 of them.
        let step = 147 * 112;
        let first = u32::MAX - 20_000 + step;
        assert_eq!(totals(&mut link), [first, first.wrapping_add(step)]);
        assert!(first > u32::MAX / 2 && first.wrapping_add(step) < 20_000);
    }

    #[test]
    fn f16_peers_total_is_followed_past_4_gib_and_not_backwards() {
        let mut link = link(0);
        let mut follow = |total| match link.on_acknowledgement(total) {
            Some(Incoming::Acknowledged(total)) => Some(total),
            _ => None,
        };
        assert_eq!(follow(0x7FFF_FFFF), Some(0x7FFF_FFFF));
        assert_eq!(follow(0xFFFF_FFFE), Some(0xFFFF_FFFE));
        assert_eq!(follow(1), Some(0x1_0000_0001));
        assert_eq!(follow(1), None);
        assert_eq!(follow(0xFFFF_FFFF), None);
        assert_eq!(follow(2), Some(0x1_0000_0002));
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(10_000))]

        #[test]
        fn any_acknowledgements_are_followed_upwards_and_change_nothing_else(
            totals in proptest::collection::vec(proptest::prelude::any::<u32>(), 0..50)
        ) {
            let mut link = link(0);
            let mut last = 0;
            for total in totals {
                link.input.extend_from_slice(&[2, 0, 0, 0, 0, 0, 4, 3, 0, 0, 0, 0]);
                link.input.extend_from_slice(&total.to_be_bytes());
                match link.next() {
                    Ok(Some(Incoming::Acknowledged(now))) => {
                        proptest::prop_assert!(now > last && now as u32 == total);
                        last = now;
                    }
                    Ok(None) => {}
                    other => proptest::prop_assert!(false, "{other:?}"),
                }
            }
            proptest::prop_assert!(link.output.is_empty());
        }
    }

    #[test]
    fn default_chunks_carry_a_message_of_any_length() {
        for len in [0, 1, 127, 128, 129, 256, 1000] {
            let body = vec![9; len];
            let mut wire = BytesMut::new();
            write_default_chunks(&mut wire, 3, 9, 7, &body);
            let message = ChunkReader::new(&Limits::default()).read(&mut wire).unwrap().unwrap();
            assert_eq!((message.type_id, message.stream_id, message.timestamp), (9, 7, 0));
            assert_eq!(message.payload, body);
            assert!(wire.is_empty());
        }
    }
}
