//! Messages above the chunk layer: control, commands, data, aggregates.

use crate::amf0::{self, Amf0Error, Amf0Value};
use bytes::{BufMut, Bytes, BytesMut};

/// Message types (*RTMP Specification 1.0*, 5.4, 6.2, 7.1).
pub(crate) mod message_type {
    pub(in crate::proto) const SET_CHUNK_SIZE: u8 = 1;
    pub(in crate::proto) const ABORT: u8 = 2;
    pub(in crate::proto) const ACKNOWLEDGEMENT: u8 = 3;
    pub(in crate::proto) const USER_CONTROL: u8 = 4;
    pub(in crate::proto) const WINDOW_ACK_SIZE: u8 = 5;
    pub(in crate::proto) const PEER_BANDWIDTH: u8 = 6;
    pub(in crate::proto) const AUDIO: u8 = 8;
    pub(in crate::proto) const VIDEO: u8 = 9;
    pub(crate) const DATA_AMF3: u8 = 15;
    pub(in crate::proto) const COMMAND_AMF3: u8 = 17;
    pub(in crate::proto) const DATA: u8 = 18;
    pub(in crate::proto) const COMMAND: u8 = 20;
    pub(in crate::proto) const AGGREGATE: u8 = 22;
}

/// User control events (7.1.7).
mod event {
    pub(super) const STREAM_BEGIN: u16 = 0;
    pub(super) const STREAM_EOF: u16 = 1;
    pub(super) const SET_BUFFER_LENGTH: u16 = 3;
    pub(super) const PING_REQUEST: u16 = 6;
    pub(super) const PING_RESPONSE: u16 = 7;
}

bound! {
    /// Longest command body: more is never needed, and decoding multiplies it
    /// (test `f07_command_over_64_kib_is_refused`).
    const MAX_COMMAND: usize = 64 * 1024, without usize::MAX;
    /// Most sub-messages of an aggregate: each costs more memory than its bytes on the wire
    /// (test `f09_aggregate_of_empty_tags_cannot_multiply_memory`).
    const MAX_SUB_MESSAGES: usize = 4096, without usize::MAX;
}

/// One RTMP message as it came off the chunk layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Wire timestamp in milliseconds, modulo 2^32.
    pub timestamp: u32,
    /// Message type: 8 audio, 9 video, 20 command, ...
    pub type_id: u8,
    /// Message stream.
    pub stream_id: u32,
    /// The body.
    pub payload: Bytes,
}

/// A decoded command (types 20 and 17).
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    /// The command's name, such as `publish`.
    pub name: String,
    /// The transaction id; 0 where it is missing.
    pub transaction: f64,
    /// The command object; `Null` where it is missing.
    pub object: Amf0Value,
    /// The arguments after the command object.
    pub arguments: Vec<Amf0Value>,
}

/// A protocol or user control message (types 1 to 6). Malformed ones decode to `None` and are ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// Set Chunk Size (1).
    SetChunkSize(u32),
    /// Abort (2) of a chunk stream.
    Abort(u32),
    /// Acknowledgement (3): running total modulo 2^32.
    Acknowledgement(u32),
    /// Window Acknowledgement Size (5).
    WindowAckSize(u32),
    /// Set Peer Bandwidth (6): window and limit type.
    PeerBandwidth(u32, u8),
    /// User control (4) Stream Begin of a message stream.
    StreamBegin(u32),
    /// User control Stream EOF.
    StreamEof(u32),
    /// User control Set Buffer Length: message stream and milliseconds.
    SetBufferLength(u32, u32),
    /// User control Ping Request: the sender's clock.
    PingRequest(u32),
    /// User control Ping Response: the echoed clock.
    PingResponse(u32),
}

/// Audio, video, data, command, control or aggregate: a message decoded once, by its type.
#[derive(Debug, Clone, PartialEq)]
pub enum Decoded {
    /// Types 1 to 6.
    Control(Control),
    /// Types 17 and 20.
    Command(Command),
    /// Types 15 and 18, as AMF0 bytes (an AMF3 envelope's leading zero removed).
    Data(Bytes),
    /// Type 8.
    Audio(Bytes),
    /// Type 9.
    Video(Bytes),
    /// Type 22: the sub-messages with their own timestamps, in order, never nested.
    Aggregate(Vec<Message>),
    /// Anything else, and malformed control messages: skipped.
    Ignored,
}

/// Decodes a message by its type; an error only for malformed commands and aggregates.
///
/// A command without values, or whose first value is not a string, is ignored; a missing transaction id or
/// command object is filled in, and so is what follows a value that cannot be read: the command is malformed only where that
/// is the first one, or where the object is beyond the budget. A command body over 64 KiB is a budget error.
pub fn decode(message: Message) -> Result<Decoded, Amf0Error> {
    Ok(match message.type_id {
        1..=6 => decode_control(message.type_id, &message.payload).map_or(Decoded::Ignored, Decoded::Control),
        message_type::AUDIO => Decoded::Audio(message.payload),
        message_type::VIDEO => Decoded::Video(message.payload),
        message_type::DATA => Decoded::Data(message.payload),
        message_type::DATA_AMF3 => Decoded::Data(without_amf3_prefix(message.payload)),
        message_type::COMMAND => decode_command(&message.payload)?,
        message_type::COMMAND_AMF3 => decode_command(&without_amf3_prefix(message.payload))?,
        message_type::AGGREGATE => Decoded::Aggregate(split_aggregate(&message)?),
        _ => Decoded::Ignored,
    })
}

/// AMF3 messages begin with a zero byte, and AMF0 values follow it; some senders leave the zero away.
fn without_amf3_prefix(payload: Bytes) -> Bytes {
    match payload.first() {
        Some(0) => payload.slice(1..),
        _ => payload,
    }
}

/// Bytes beyond those that a message needs are ignored.
fn decode_control(type_id: u8, payload: &[u8]) -> Option<Control> {
    if type_id == message_type::USER_CONTROL {
        return decode_user_control(payload);
    }
    let (value, rest) = split_u32(payload)?;
    match type_id {
        message_type::SET_CHUNK_SIZE => Some(Control::SetChunkSize(value)),
        message_type::ABORT => Some(Control::Abort(value)),
        message_type::ACKNOWLEDGEMENT => Some(Control::Acknowledgement(value)),
        message_type::WINDOW_ACK_SIZE => Some(Control::WindowAckSize(value)),
        message_type::PEER_BANDWIDTH => Some(Control::PeerBandwidth(value, *rest.first()?)),
        _ => None,
    }
}

fn decode_user_control(payload: &[u8]) -> Option<Control> {
    let (event, rest) = payload.split_first_chunk()?;
    let (value, rest) = split_u32(rest)?;
    match u16::from_be_bytes(*event) {
        event::STREAM_BEGIN => Some(Control::StreamBegin(value)),
        event::STREAM_EOF => Some(Control::StreamEof(value)),
        event::SET_BUFFER_LENGTH => Some(Control::SetBufferLength(value, split_u32(rest)?.0)),
        event::PING_REQUEST => Some(Control::PingRequest(value)),
        event::PING_RESPONSE => Some(Control::PingResponse(value)),
        _ => None,
    }
}

fn split_u32(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (value, rest) = bytes.split_first_chunk()?;
    Some((u32::from_be_bytes(*value), rest))
}

fn decode_command(payload: &[u8]) -> Result<Decoded, Amf0Error> {
    if payload.len() > MAX_COMMAND.get() {
        return Err(Amf0Error::Budget(MAX_COMMAND.get()));
    }
    let (values, error) = amf0::decode_readable(payload);
    // Name, transaction and object are what every command needs; nobody nests them deep but to do harm.
    let is_hostile = matches!(error, Some(Amf0Error::Budget(_))) && values.len() <= 3;
    if let Some(error) = error.filter(|_| is_hostile || values.is_empty()) {
        return Err(error);
    }
    let mut values = values.into_iter();
    let Some(Amf0Value::Utf8String(name)) = values.next() else { return Ok(Decoded::Ignored) };
    let transaction = values.next().and_then(Amf0Value::get_number).unwrap_or(0.0);
    let object = values.next().unwrap_or(Amf0Value::Null);
    Ok(Decoded::Command(Command { name, transaction, object, arguments: values.collect() }))
}

/// Takes an aggregate apart (7.1.6). The first sub-message gets the aggregate's time, the others keep their
/// distance to it; all get its message stream. Back pointers are not checked, as senders disagree on what they
/// count, and the last one may be missing. Errors: cut-off data, more than 4,096 sub-messages (budget), and an
/// aggregate inside an aggregate (marker 22).
fn split_aggregate(aggregate: &Message) -> Result<Vec<Message>, Amf0Error> {
    let whole = &aggregate.payload;
    let mut rest: &[u8] = whole;
    let mut first_time = None;
    let mut messages = Vec::new();
    while !rest.is_empty() {
        let at = whole.len().saturating_sub(rest.len());
        if messages.len() >= MAX_SUB_MESSAGES.get() {
            return Err(Amf0Error::Budget(at));
        }
        let tag = split_tag(rest).ok_or(Amf0Error::Truncated(at))?;
        if tag.type_id == message_type::AGGREGATE {
            return Err(Amf0Error::Marker(at, tag.type_id));
        }
        let step = tag.time.wrapping_sub(*first_time.get_or_insert(tag.time));
        messages.push(Message {
            timestamp: aggregate.timestamp.wrapping_add(step),
            type_id: tag.type_id,
            stream_id: aggregate.stream_id,
            payload: whole.slice_ref(tag.payload),
        });
        rest = tag.rest;
    }
    Ok(messages)
}

/// A sub-message with its 11-byte header, as an FLV tag has it.
struct Tag<'a> {
    type_id: u8,
    time: u32,
    payload: &'a [u8],
    /// What follows the tag and its back pointer.
    rest: &'a [u8],
}

fn split_tag(bytes: &[u8]) -> Option<Tag<'_>> {
    let (&[type_id, s0, s1, s2, t1, t2, t3, t0, ..], rest) = bytes.split_first_chunk::<11>()?;
    let size = usize::try_from(u32::from_be_bytes([0, s0, s1, s2])).ok()?;
    let (payload, rest) = rest.split_at_checked(size)?;
    let rest = if rest.is_empty() { rest } else { rest.split_first_chunk::<4>()?.1 };
    Some(Tag { type_id, time: u32::from_be_bytes([t0, t1, t2, t3]), payload, rest })
}

/// Encodes a control message's type and body.
pub fn encode_control(control: Control) -> (u8, Bytes) {
    let word = |value: u32| Bytes::copy_from_slice(&value.to_be_bytes());
    match control {
        Control::SetChunkSize(size) => (message_type::SET_CHUNK_SIZE, word(size)),
        Control::Abort(csid) => (message_type::ABORT, word(csid)),
        Control::Acknowledgement(total) => (message_type::ACKNOWLEDGEMENT, word(total)),
        Control::WindowAckSize(size) => (message_type::WINDOW_ACK_SIZE, word(size)),
        Control::PeerBandwidth(size, limit) => {
            let mut body = BytesMut::with_capacity(5);
            body.put_u32(size);
            body.put_u8(limit);
            (message_type::PEER_BANDWIDTH, body.freeze())
        }
        Control::StreamBegin(stream) => encode_event(event::STREAM_BEGIN, &[stream]),
        Control::StreamEof(stream) => encode_event(event::STREAM_EOF, &[stream]),
        Control::SetBufferLength(stream, ms) => encode_event(event::SET_BUFFER_LENGTH, &[stream, ms]),
        Control::PingRequest(clock) => encode_event(event::PING_REQUEST, &[clock]),
        Control::PingResponse(clock) => encode_event(event::PING_RESPONSE, &[clock]),
    }
}

fn encode_event(event: u16, values: &[u32]) -> (u8, Bytes) {
    let mut body = BytesMut::with_capacity(10);
    body.put_u16(event);
    values.iter().for_each(|&value| body.put_u32(value));
    (message_type::USER_CONTROL, body.freeze())
}

/// Encodes a command's body (type 20).
pub fn encode_command(command: &Command) -> Bytes {
    let mut body = BytesMut::new();
    let head = [Amf0Value::Utf8String(command.name.clone()), Amf0Value::Number(command.transaction)];
    amf0::encode(&head, &mut body);
    amf0::encode(std::slice::from_ref(&command.object), &mut body);
    amf0::encode(&command.arguments, &mut body);
    body.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::tag;
    use rml_rtmp::messages::{MessagePayload, RtmpMessage, UserControlEventType};
    use rml_rtmp::time::RtmpTimestamp;

    fn message(type_id: u8, payload: &[u8]) -> Message {
        Message { timestamp: 1000, type_id, stream_id: 1, payload: Bytes::copy_from_slice(payload) }
    }

    fn text(text: &str) -> Amf0Value {
        Amf0Value::Utf8String(text.to_owned())
    }

    fn amf(values: &[Amf0Value]) -> Vec<u8> {
        let mut out = BytesMut::new();
        amf0::encode(values, &mut out);
        out.to_vec()
    }

    const CONTROLS: [Control; 10] = [
        Control::SetChunkSize(65_536),
        Control::Abort(7),
        Control::Acknowledgement(u32::MAX),
        Control::WindowAckSize(2_500_000),
        Control::PeerBandwidth(2_500_000, 2),
        Control::StreamBegin(1),
        Control::StreamEof(1),
        Control::SetBufferLength(1, 3000),
        Control::PingRequest(0xDEAD_BEEF),
        Control::PingResponse(5),
    ];

    #[test]
    fn control_messages_are_read_as_written() {
        for control in CONTROLS {
            let (type_id, body) = encode_control(control);
            assert_eq!(decode(message(type_id, &body)), Ok(Decoded::Control(control)));
            for cut in 0..body.len() {
                assert_eq!(
                    decode(message(type_id, &body[..cut])),
                    Ok(Decoded::Ignored),
                    "{control:?} cut at {cut}"
                );
            }
        }
    }

    #[test]
    fn control_messages_are_understood_by_rml_rtmp() {
        let read = |control| {
            let (type_id, data) = encode_control(control);
            let timestamp = RtmpTimestamp::new(0);
            MessagePayload { timestamp, type_id, message_stream_id: 0, data }.to_rtmp_message().unwrap()
        };
        assert_eq!(read(CONTROLS[0]), RtmpMessage::SetChunkSize { size: 65_536 });
        assert_eq!(read(CONTROLS[2]), RtmpMessage::Acknowledgement { sequence_number: u32::MAX });
        let buffer_length = RtmpMessage::UserControl {
            event_type: UserControlEventType::SetBufferLength,
            stream_id: Some(1),
            buffer_length: Some(3000),
            timestamp: None,
        };
        assert_eq!(read(CONTROLS[7]), buffer_length);
        for control in CONTROLS {
            assert!(!matches!(read(control), RtmpMessage::Unknown { .. }), "{control:?}");
        }
    }

    #[test]
    fn f10_unknown_messages_and_user_control_events_are_ignored() {
        let swf_verification = [0, 26, 0, 0];
        assert_eq!(decode(message(4, &swf_verification)), Ok(Decoded::Ignored));
        for event in [2_u16, 4, 5, 31, 32, 300] {
            let body = [&event.to_be_bytes()[..], &[0; 4]].concat();
            assert_eq!(decode(message(4, &body)), Ok(Decoded::Ignored), "event {event}");
        }
        for type_id in [0, 7, 10, 16, 19, 21, 23, 255] {
            assert_eq!(decode(message(type_id, b"anything")), Ok(Decoded::Ignored), "type {type_id}");
        }
    }

    #[test]
    fn commands_of_no_one_and_two_values_are_completed() {
        assert_eq!(decode(message(20, b"")), Ok(Decoded::Ignored));
        let command = |values: &[Amf0Value]| match decode(message(20, &amf(values))) {
            Ok(Decoded::Command(command)) => command,
            other => panic!("{other:?}"),
        };
        let bare = Command { name: "x".into(), transaction: 0.0, object: Amf0Value::Null, arguments: vec![] };
        assert_eq!(command(&[text("x")]), bare);
        assert_eq!(command(&[text("x"), Amf0Value::Number(4.0)]), Command { transaction: 4.0, ..bare });
        assert_eq!(decode(message(20, &amf(&[Amf0Value::Null]))), Ok(Decoded::Ignored));
    }

    #[test]
    fn command_is_read_as_written_in_both_envelopes() {
        let command = Command {
            name: "publish".into(),
            transaction: 5.0,
            object: Amf0Value::Null,
            arguments: vec![text("demo?key=1"), text("live")],
        };
        let body = encode_command(&command);
        let with_zero = [&[0], &body[..]].concat();
        for (type_id, body) in [(20, &body[..]), (17, &body[..]), (17, &with_zero[..])] {
            assert_eq!(decode(message(type_id, body)), Ok(Decoded::Command(command.clone())));
        }
    }

    use proptest::prelude::*;

    /// A value of any type that there is in AMF0 and AMF3, whole, cut, too deep, or no value at all.
    fn anything() -> impl Strategy<Value = Vec<u8>> {
        let bytes = |len| proptest::collection::vec(any::<u8>(), len);
        let whole = prop_oneof![
            Just(amf(&[Amf0Value::Null, text("x"), Amf0Value::Object([("k".into(), text("v"))].into())])),
            Just(b"\x11\x0a\x0b\x01\x03k\x06\x03v\x01".to_vec()),
            Just(b"\x0b\x42\x76\x8f\x0f\x32\x60\0\0\0\x3c".to_vec()),
            Just([b"\x0a\0\0\0\x01".repeat(40), vec![5]].concat()),
            Just(vec![5; 5000]),
            Just(b"\x04\x0e\x0f\xff\xff\xff\xff".to_vec()),
        ];
        let cut = (whole.clone(), any::<proptest::sample::Index>())
            .prop_map(|(value, at)| value[..at.index(value.len())].to_vec());
        let marked = (0u8..=20, bytes(0..40)).prop_map(|(marker, bytes)| [&[marker][..], &bytes].concat());
        prop_oneof![whole, cut, marked, bytes(0..40)]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        #[test]
        fn nothing_that_follows_what_a_command_needs_changes_it(values in proptest::collection::vec(anything(), 0..3)) {
            let connect = Amf0Value::Object([("app".to_owned(), text("live"))].into());
            for (name, object, argument) in
                [("connect", connect, Amf0Value::Null), ("publish", Amf0Value::Null, text("demo?key=1"))]
            {
                let needed = amf(&[text(name), Amf0Value::Number(5.0), object.clone(), argument.clone()]);
                let body = [&needed[..], &values.concat()].concat();
                let Ok(Decoded::Command(command)) = decode(message(20, &body)) else { panic!("{body:?}") };
                prop_assert_eq!((command.name.as_str(), command.transaction), (name, 5.0));
                prop_assert_eq!((&command.object, command.arguments.first()), (&object, Some(&argument)));
            }
        }

        #[test]
        fn nothing_that_follows_the_app_in_the_object_of_connect_takes_it_away(value in anything()) {
            let head = amf(&[text("connect"), Amf0Value::Number(1.0)]);
            let object = [&[3, 0, 3][..], b"app", &amf(&[text("live")]), &[0, 1], b"x", &value].concat();
            let body = [&head[..], &object].concat();
            let command = match decode(message(20, &body)) {
                Ok(Decoded::Command(command)) => command,
                Err(Amf0Error::Budget(_)) => return Ok(()),
                other => panic!("{body:?}: {other:?}"),
            };
            // A second "app" is a word of the peer's own.
            if !object[8..].windows(3).any(|bytes| bytes == b"app") {
                let Amf0Value::Object(properties) = &command.object else { panic!("{command:?}") };
                prop_assert_eq!(properties.get("app"), Some(&text("live")));
            }
        }
    }

    #[test]
    fn f07_command_over_64_kib_is_refused() {
        let body = amf(&[text("x"), text(&"y".repeat(65_535))]);
        assert_eq!(decode(message(20, &body)), Err(Amf0Error::Budget(65_536)));
    }

    #[test]
    fn data_is_passed_on_byte_for_byte() {
        let body = [&amf(&[text("onMetaData")])[..], &[8, 0, 0, 0, 9, 0xFF, 0xFE]].concat();
        let expected = Ok(Decoded::Data(Bytes::from(body.clone())));
        assert_eq!(decode(message(18, &body)), expected);
        assert_eq!(decode(message(15, &body)), expected);
        assert_eq!(decode(message(15, &[&[0], &body[..]].concat())), expected);
        assert_eq!(decode(message(8, &body)), Ok(Decoded::Audio(body.clone().into())));
        assert_eq!(decode(message(9, &body)), Ok(Decoded::Video(body.into())));
    }

    fn aggregate(body: &[u8]) -> Result<Vec<(u32, u8, Vec<u8>)>, Amf0Error> {
        match decode(message(22, body))? {
            Decoded::Aggregate(messages) => {
                Ok(messages.into_iter().map(|m| (m.timestamp, m.type_id, m.payload.to_vec())).collect())
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn f09_aggregate_is_split_and_its_times_are_shifted() {
        let first = 0x0123_4567;
        let body =
            [tag(9, first, b"video", 16), tag(8, first + 23, b"audio", 16), tag(8, first - 1, b"", 11)]
                .concat();
        let expected = vec![(1000, 9, b"video".to_vec()), (1023, 8, b"audio".to_vec()), (999, 8, vec![])];
        assert_eq!(aggregate(&body), Ok(expected));
    }

    #[test]
    fn f09_empty_aggregate_has_no_messages() {
        assert_eq!(aggregate(b""), Ok(vec![]));
    }

    #[test]
    fn f09_wrong_or_missing_back_pointer_is_tolerated() {
        let body = [tag(9, 0, b"a", 0xFFFF_FFFF), tag(9, 5, b"b", 12)].concat();
        let expected = vec![(1000, 9, b"a".to_vec()), (1005, 9, b"b".to_vec())];
        assert_eq!(aggregate(&body), Ok(expected.clone()));
        assert_eq!(aggregate(&body[..body.len() - 4]), Ok(expected));
    }

    #[test]
    fn f09_nested_aggregate_is_refused() {
        let inner = tag(9, 0, b"a", 12);
        let body = [tag(9, 0, b"a", 12), tag(22, 0, &inner, 11 + inner.len() as u32)].concat();
        assert_eq!(aggregate(&body), Err(Amf0Error::Marker(16, 22)));
    }

    #[test]
    fn f09_cut_aggregate_is_an_error_that_names_the_tag() {
        let body = [tag(9, 0, b"first", 16), tag(9, 0, b"second", 17)].concat();
        for cut in 21..body.len() {
            let whole = cut == body.len() - 4;
            assert_eq!(
                aggregate(&body[..cut]).err(),
                (!whole).then_some(Amf0Error::Truncated(20)),
                "cut at {cut}"
            );
        }
    }

    #[test]
    fn f09_aggregate_of_empty_tags_cannot_multiply_memory() {
        let body = tag(8, 0, b"", 11).repeat(5000);
        assert_eq!(aggregate(&body), Err(Amf0Error::Budget(4096 * 15)));
    }
}
