//! WebSocket (RFC 6455), as far as a server needs it that sends media, or takes it in: the handshake, and the frames of clients.
//! Players have little to say; what publishers send goes on in the pieces in which it comes.

use super::header;
use super::reply::{self, Reply};
use bytes::{Buf, Bytes, BytesMut};
use hyper::header::{CONNECTION, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{StatusCode, Version};
use std::io::Cursor;
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

bound! {
    /// Longest frame of a client; players send none but pings
    /// (test `a_client_that_breaks_the_rules_is_found_out_before_its_payload_has_come`).
    const MAX_FRAME: u64 = 4 * 1024, without u64::MAX;
    /// Longest text message of a publisher, which is held until it is whole
    /// (test `a_publisher_that_breaks_the_rules_is_found_out_before_its_payload_has_come`).
    const MAX_TEXT: u64 = 4 * 1024, without u64::MAX;
}
/// Longest payload of a control frame (RFC 6455, 5.5).
const MAX_CONTROL: usize = 125;
/// The version of the protocol (RFC 6455, 4.4).
const VERSION: &str = "13";

/// Why we close: codes of RFC 6455, 7.4.1, and of our own from 4000 on.
pub(super) mod code {
    pub(crate) const ENDED: u16 = 1000;
    pub(crate) const DRAINING: u16 = 1001;
    pub(crate) const PROTOCOL_ERROR: u16 = 1002;
    pub(crate) const NO_TEXT: u16 = 1007;
    pub(crate) const TOO_BIG: u16 = 1009;
    /// Refusals are told by this and the status that HTTP has for them: 4404 where nobody publishes the stream.
    pub(crate) const REFUSED: u16 = 4000;
    pub(crate) const KICKED: u16 = 4403;
    pub(crate) const TOO_SLOW: u16 = 4408;
    /// Publishers: what was sent is no FLV, or no message that is understood.
    pub(crate) const NOT_UNDERSTOOD: u16 = 4400;
    /// They are refused: a key is wrong or missing.
    pub(crate) const WRONG_KEY: u16 = 4401;
    /// What they want is not allowed, whoever they are: the page's site, the app, a destination.
    pub(crate) const NOT_ALLOWED: u16 = 4403;
    /// Somebody else publishes the stream.
    pub(crate) const TAKEN: u16 = 4409;
    /// A message or a tag is too large, or too much comes in too short a time.
    pub(crate) const TOO_MUCH: u16 = 4413;
}

/// A request that asks for a WebSocket.
pub(super) struct Upgrade {
    accept: String,
    /// The first that the client offers: browsers want one of theirs back.
    subprotocol: Option<String>,
}

impl Upgrade {
    /// Whether a request asks for a WebSocket, be it in good order or not.
    pub(super) fn is_asked_for(request: &Parts) -> bool {
        has_token(&request.headers, &UPGRADE, "websocket")
    }

    /// What a request asks for: a WebSocket, nothing of the kind, or something that is answered by this reply.
    pub(super) fn of(request: &Parts) -> Result<Option<Self>, Box<Reply>> {
        let headers = &request.headers;
        if !Self::is_asked_for(request) {
            return Ok(None);
        }
        if request.version != Version::HTTP_11 || !has_token(headers, &CONNECTION, "upgrade") {
            return Err(Box::new(reply::broken(
                "a WebSocket is asked for by HTTP/1.1, with Connection: upgrade",
            )));
        }
        if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != VERSION) {
            let mut reply = reply::words(StatusCode::UPGRADE_REQUIRED, "WebSocket is spoken in version 13");
            reply.headers_mut().insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static(VERSION));
            return Err(Box::new(reply));
        }
        let Some(key) = headers.get(SEC_WEBSOCKET_KEY) else {
            return Err(Box::new(reply::broken("a WebSocket needs a Sec-WebSocket-Key")));
        };
        let subprotocol = header::elements(headers, &SEC_WEBSOCKET_PROTOCOL).next().map(str::to_owned);
        Ok(Some(Self { accept: derive_accept_key(key.as_bytes()), subprotocol }))
    }

    /// The reply that grants it.
    pub(super) fn head(&self) -> BytesMut {
        let own = [
            ("upgrade", "websocket"),
            ("connection", "upgrade"),
            ("sec-websocket-accept", self.accept.as_str()),
        ];
        let subprotocol = self.subprotocol.as_deref().map(|name| ("sec-websocket-protocol", name));
        reply::head("101 Switching Protocols", own.into_iter().chain(subprotocol))
    }
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    header::elements(headers, name).any(|other| other.eq_ignore_ascii_case(token))
}

/// What a client says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// To be answered with the same bytes.
    Ping(Bytes),
    /// To be answered alike; with this code, if any.
    Close(Option<u16>),
    /// Something else, which nobody wants to know.
    Other,
}

/// A client that does not keep to the protocol: with this code it is told so.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Violation {
    pub(super) code: u16,
    pub(super) words: &'static str,
}

fn violation(words: &'static str) -> Violation {
    Violation { code: code::PROTOCOL_ERROR, words }
}

/// The beginning of a frame of a client that keeps to the protocol.
struct Beginning {
    opcode: OpCode,
    is_final: bool,
    mask: [u8; 4],
    /// Bytes of its header.
    start: usize,
    /// Bytes of its payload.
    len: u64,
}

impl Beginning {
    /// That of the frame that `input` begins with; none where it is not whole yet.
    fn of(input: &[u8]) -> Result<Option<Self>, Violation> {
        let mut cursor = Cursor::new(input);
        let parsed = FrameHeader::parse(&mut cursor).map_err(|_| violation("a frame of an unknown kind"))?;
        let Some((header, len)) = parsed else { return Ok(None) };
        let Some(mask) = header.mask else { return Err(violation("a frame without a mask")) };
        if header.rsv1 || header.rsv2 || header.rsv3 {
            return Err(violation("a frame of an extension that was not agreed on"));
        }
        if matches!(header.opcode, OpCode::Control(_)) && (!header.is_final || len > MAX_CONTROL as u64) {
            return Err(violation("a control frame in pieces, or of more than 125 bytes"));
        }
        // At most 14.
        let start = usize::try_from(cursor.position()).unwrap_or(usize::MAX);
        Ok(Some(Self { opcode: header.opcode, is_final: header.is_final, mask, start, len }))
    }

    /// The payload of a frame that is held until it is whole, off `input`; none where it is not.
    fn payload(&self, input: &mut BytesMut) -> Option<BytesMut> {
        // Of a few KiB, as has been looked at.
        let len = usize::try_from(self.len).ok()?;
        if input.len() < self.start + len {
            return None;
        }
        input.advance(self.start);
        let mut payload = input.split_to(len);
        unmask(&mut payload, self.mask);
        Some(payload)
    }
}

/// Takes the next frame off `input`; none where it is not whole yet.
pub(super) fn next_frame(input: &mut BytesMut) -> Result<Option<Said>, Violation> {
    let Some(frame) = Beginning::of(input)? else { return Ok(None) };
    if frame.len > MAX_FRAME.get() {
        return Err(Violation { code: code::TOO_BIG, words: "a frame of more than 4 KiB" });
    }
    let Some(payload) = frame.payload(input) else { return Ok(None) };
    Ok(Some(match frame.opcode {
        OpCode::Control(Control::Ping) => Said::Ping(payload.freeze()),
        OpCode::Control(Control::Close) => Said::Close(close_code(&payload)),
        _ => Said::Other,
    }))
}

fn close_code(payload: &[u8]) -> Option<u16> {
    payload.get(..2).and_then(|code| code.try_into().ok()).map(u16::from_be_bytes)
}

fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    // Eight bytes at a time, as streams go through here whole.
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = payload.as_chunks_mut();
    words.iter_mut().for_each(|word| *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes());
    rest.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
}

/// What a publisher says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// The next bytes of its stream.
    Stream(BytesMut),
    /// A text.
    Text(String),
    /// To be answered with the same bytes.
    Ping(Bytes),
    /// The answer to a ping.
    Pong(Bytes),
    /// To be answered alike; with this code, if any.
    Close(Option<u16>),
}

/// What a publisher has begun to send. Its stream goes on as it comes; only texts and control frames are held until they are whole.
#[derive(Debug, Default)]
pub(super) struct Messages {
    /// The message that goes on in further frames, and its bytes so far.
    message: Option<(Data, u64)>,
    /// What is still to come of a frame of the stream: bytes, and their mask.
    rest: Option<(u64, [u8; 4])>,
    /// The text that is not whole.
    text: BytesMut,
    frames: u64,
}

impl Messages {
    /// Frames so far: small ones cost as much as large ones.
    pub(super) fn frames(&self) -> u64 {
        self.frames
    }

    /// Takes what comes next off `input`, of messages of `most` bytes at most; none where more has to come first.
    pub(super) fn next(&mut self, input: &mut BytesMut, most: u64) -> Result<Option<Sent>, Violation> {
        loop {
            if let Some(rest) = self.rest {
                return Ok(self.piece(rest, input));
            }
            let Some(frame) = Beginning::of(input)? else { return Ok(None) };
            let (kind, len) = self.check(&frame, most)?;
            let sent = match kind {
                OpCode::Data(Data::Binary) => {
                    input.advance(frame.start);
                    self.rest = (frame.len > 0).then_some((frame.len, frame.mask));
                    None
                }
                _ => {
                    let Some(payload) = frame.payload(input) else { return Ok(None) };
                    self.whole(kind, frame.is_final, payload)?
                }
            };
            self.frames += 1;
            if let OpCode::Data(kind) = kind {
                self.message = (!frame.is_final).then_some((kind, len));
            }
            if sent.is_some() {
                return Ok(sent);
            }
        }
    }

    /// What a frame belongs to that may come now, and the bytes of its message with it.
    fn check(&self, frame: &Beginning, most: u64) -> Result<(OpCode, u64), Violation> {
        let (kind, before) = match (frame.opcode, self.message) {
            (OpCode::Control(Control::Reserved(_)) | OpCode::Data(Data::Reserved(_)), _) => {
                return Err(violation("a frame of an unknown kind"));
            }
            (OpCode::Control(_), _) => return Ok((frame.opcode, frame.len)),
            (OpCode::Data(Data::Continue), Some(begun)) => begun,
            (OpCode::Data(Data::Continue), None) => return Err(violation("a fragment of no message")),
            (OpCode::Data(_), Some(_)) => return Err(violation("a message within another")),
            (OpCode::Data(kind), None) => (kind, 0),
        };
        let len = before.saturating_add(frame.len);
        let too_much = |words| Err(Violation { code: code::TOO_MUCH, words });
        match kind {
            Data::Text if len > MAX_TEXT.get() => too_much("a text of more than 4 KiB"),
            _ if len > most => too_much("a message is longer than it may be (limits.max_websocket_message)"),
            _ => Ok((OpCode::Data(kind), len)),
        }
    }

    /// The next bytes of a frame of the stream.
    fn piece(&mut self, (left, mut mask): (u64, [u8; 4]), input: &mut BytesMut) -> Option<Sent> {
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
        if len == 0 {
            return None;
        }
        let mut piece = input.split_to(len);
        unmask(&mut piece, mask);
        mask.rotate_left(len % 4);
        let left = left - len as u64;
        self.rest = (left > 0).then_some((left, mask));
        Some(Sent::Stream(piece))
    }

    /// What a frame says that is whole; none where it is a part of a text.
    fn whole(&mut self, kind: OpCode, is_final: bool, payload: BytesMut) -> Result<Option<Sent>, Violation> {
        Ok(Some(match kind {
            OpCode::Control(Control::Ping) => Sent::Ping(payload.freeze()),
            OpCode::Control(Control::Pong) => Sent::Pong(payload.freeze()),
            OpCode::Control(_) => Sent::Close(close_code(&payload)),
            OpCode::Data(_) => {
                self.text.extend_from_slice(&payload);
                if !is_final {
                    return Ok(None);
                }
                let text = String::from_utf8(std::mem::take(&mut self.text).into());
                let broken = Violation { code: code::NO_TEXT, words: "a text that is no UTF-8" };
                Sent::Text(text.map_err(|_| broken)?)
            }
        }))
    }
}

/// What a client says in pieces of bytes, and what of them is never held: for fuzzing.
#[cfg(feature = "fuzzing")]
pub(crate) mod heard {
    use super::{BytesMut, MAX_FRAME, MAX_TEXT, Messages, Sent, Violation, next_frame};

    /// Bytes of the longest beginning of a frame.
    const LONGEST_BEGINNING: usize = 14;

    /// What was said, in order; and the code by which it is closed, where it breaks the rules.
    #[derive(Debug, PartialEq, Eq)]
    pub(crate) struct Heard {
        pub(crate) said: Vec<Saying>,
        pub(crate) violation: Option<u16>,
    }

    /// Something of it.
    #[derive(Debug, PartialEq, Eq)]
    pub(crate) enum Saying {
        /// Bytes of the stream up to the next of the others.
        Stream(Vec<u8>),
        Text(String),
        /// The rest, in words.
        Other(String),
    }

    impl Heard {
        fn note(&mut self, sent: Sent) {
            match (sent, self.said.last_mut()) {
                (Sent::Stream(bytes), Some(Saying::Stream(before))) => before.extend_from_slice(&bytes),
                (Sent::Stream(bytes), _) => self.said.push(Saying::Stream(bytes.into())),
                (Sent::Text(text), _) => self.said.push(Saying::Text(text)),
                (other, _) => self.said.push(Saying::Other(format!("{other:?}"))),
            }
        }
    }

    /// A publisher's, whose messages are of `most` bytes at most.
    pub(crate) fn of_publisher(pieces: &[&[u8]], most: u64) -> Heard {
        let (mut messages, mut heard) = (Messages::default(), Heard { said: Vec::new(), violation: None });
        let mut input = BytesMut::new();
        for piece in pieces {
            input.extend_from_slice(piece);
            loop {
                match messages.next(&mut input, most) {
                    Ok(Some(sent)) => heard.note(sent),
                    Ok(None) => break,
                    Err(Violation { code, .. }) => return Heard { violation: Some(code), ..heard },
                }
            }
            let held = input.len() + messages.text.len();
            assert!(held <= LONGEST_BEGINNING + MAX_TEXT.stated() as usize, "{held} bytes are held");
        }
        heard
    }

    /// A player's.
    pub(crate) fn of_player(pieces: &[&[u8]]) -> Heard {
        let (mut input, mut heard) = (BytesMut::new(), Heard { said: Vec::new(), violation: None });
        for piece in pieces {
            input.extend_from_slice(piece);
            loop {
                match next_frame(&mut input) {
                    Ok(Some(said)) => heard.said.push(Saying::Other(format!("{said:?}"))),
                    Ok(None) => break,
                    Err(Violation { code, .. }) => return Heard { violation: Some(code), ..heard },
                }
            }
            let held = input.len();
            assert!(held <= LONGEST_BEGINNING + MAX_FRAME.stated() as usize, "{held} bytes are held");
        }
        heard
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_go_on_over_words_and_what_is_left_of_them() {
        let mask = [0x37, 0xfa, 0x21, 0x3d];
        for len in 0..40 {
            let mut payload = vec![0; len];
            unmask(&mut payload, mask);
            let cycled: Vec<_> = mask.iter().copied().cycle().take(len).collect();
            assert_eq!(payload, cycled);
        }
    }

    /// A frame as clients send it.
    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [1, 2, 3, 4];
        let mut frame = vec![first];
        match payload.len() {
            len @ 0..126 => frame.push(0x80 | len as u8),
            len => frame.extend([&[0x80 | 126][..], &(len as u16).to_be_bytes()].concat()),
        }
        frame.extend(mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        frame
    }

    #[test]
    fn pings_and_closes_are_understood_and_all_else_is_dropped_in_any_pieces() {
        let sent = [
            masked(0x89, b"are you there"),
            masked(0x81, b"text"),
            masked(0x02, &[7; 4096]),
            masked(0x80, b""),
            masked(0x8a, b"pong"),
            masked(0x88, &[&1000u16.to_be_bytes()[..], b"bye"].concat()),
        ]
        .concat();
        for piece in [1, 7, sent.len()] {
            let (mut input, mut said) = (BytesMut::new(), Vec::new());
            for bytes in sent.chunks(piece) {
                input.extend_from_slice(bytes);
                while let Some(frame) = next_frame(&mut input).unwrap() {
                    said.push(frame);
                }
            }
            let ping = Said::Ping(Bytes::from_static(b"are you there"));
            let other = || Said::Other;
            assert_eq!(said, [ping, other(), other(), other(), other(), Said::Close(Some(1000))]);
            assert!(input.is_empty());
        }
        let mut input = BytesMut::from(&masked(0x88, b"")[..]);
        assert_eq!(next_frame(&mut input), Ok(Some(Said::Close(None))));
    }

    #[test]
    fn a_client_that_breaks_the_rules_is_found_out_before_its_payload_has_come() {
        for (frame, code) in [
            (vec![0x82, 0x80 | 126, 0x10, 0x01], code::TOO_BIG),
            (vec![0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], code::TOO_BIG),
            (vec![0x89, 5], code::PROTOCOL_ERROR),
            (vec![0xc1, 0x85], code::PROTOCOL_ERROR),
            (vec![0x09, 0x80], code::PROTOCOL_ERROR),
            (vec![0x89, 0x80 | 126, 0, 126], code::PROTOCOL_ERROR),
            (vec![0x83, 0x80], code::PROTOCOL_ERROR),
        ] {
            // The mask.
            let mut input = BytesMut::from(&[&frame[..], &[0; 4]].concat()[..]);
            assert_eq!(next_frame(&mut input).unwrap_err().code, code, "{frame:?}");
        }
    }

    /// All that a publisher sends, in pieces of so many bytes, those of its stream joined.
    fn sent(bytes: &[u8], piece: usize, most: u64) -> Result<Vec<Sent>, Violation> {
        let (mut input, mut messages, mut all) = (BytesMut::new(), Messages::default(), Vec::new());
        for bytes in bytes.chunks(piece) {
            input.extend_from_slice(bytes);
            while let Some(sent) = messages.next(&mut input, most)? {
                match (all.last_mut(), sent) {
                    (Some(Sent::Stream(before)), Sent::Stream(next)) => before.unsplit(next),
                    (_, sent) => all.push(sent),
                }
            }
            assert!(input.len() <= 4 * 1024 + 14, "{} bytes are held", input.len());
        }
        Ok(all)
    }

    #[test]
    fn what_a_publisher_sends_is_the_same_in_any_pieces() {
        let stream: Vec<_> = (0..3_000u32).map(|at| at as u8).collect();
        let (first, rest) = stream.split_at(1_001);
        let bytes = [
            masked(0x82, b""),
            masked(0x02, first),
            masked(0x89, b"?"),
            masked(0x00, &rest[..1]),
            masked(0x80, &rest[1..]),
            masked(0x01, "{\u{e9}".as_bytes().split_at(2).0),
            masked(0x8a, b"!"),
            masked(0x80, "{\u{e9}".as_bytes().split_at(2).1),
            masked(0x88, &1000u16.to_be_bytes()),
        ]
        .concat();
        for piece in [1, 3, 100, bytes.len()] {
            let sent = sent(&bytes, piece, 3_000).unwrap();
            let expected = [
                Sent::Stream(first.into()),
                Sent::Ping(Bytes::from_static(b"?")),
                Sent::Stream(rest.into()),
                Sent::Pong(Bytes::from_static(b"!")),
                Sent::Text("{\u{e9}".to_owned()),
                Sent::Close(Some(1000)),
            ];
            assert!(sent == expected, "pieces of {piece}: {sent:?}");
        }
    }

    #[test]
    fn a_publisher_that_breaks_the_rules_is_found_out_before_its_payload_has_come() {
        let announced =
            |first: u8, len: u64| [&[first, 0xff][..], &len.to_be_bytes(), &[1, 2, 3, 4]].concat();
        for (bytes, code) in [
            (announced(0x82, 3_001), code::TOO_MUCH),
            (announced(0x82, u64::MAX >> 1), code::TOO_MUCH),
            ([masked(0x02, &[0; 3_000]), masked(0x00, b"x")].concat(), code::TOO_MUCH),
            (announced(0x81, 4 * 1024 + 1), code::TOO_MUCH),
            ([masked(0x01, &[b' '; 4 * 1024]), masked(0x00, b"x")].concat(), code::TOO_MUCH),
            (masked(0x81, b"\xff"), code::NO_TEXT),
            (masked(0x80, b"x"), code::PROTOCOL_ERROR),
            ([masked(0x02, b"x"), masked(0x82, b"x")].concat(), code::PROTOCOL_ERROR),
            (masked(0x83, b"x"), code::PROTOCOL_ERROR),
            (masked(0x8b, b""), code::PROTOCOL_ERROR),
            (masked(0xc2, b""), code::PROTOCOL_ERROR),
            (vec![0x82, 1, 7], code::PROTOCOL_ERROR),
            ([vec![0x89, 0x80 | 126, 0, 126], vec![0; 4]].concat(), code::PROTOCOL_ERROR),
        ] {
            let most = if code == code::TOO_MUCH { 3_000 } else { 1 << 30 };
            for piece in [1, bytes.len()] {
                let most = if bytes[0] & 0x0f == 1 { 1 << 30 } else { most };
                assert_eq!(sent(&bytes, piece, most).unwrap_err().code, code, "{bytes:?}");
            }
        }
    }
}
