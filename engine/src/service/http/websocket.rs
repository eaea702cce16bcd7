//! WebSocket (RFC 6455), as far as a server needs it that sends media: the handshake, and the frames of clients, which have
//! little to say.

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
use tungstenite::protocol::frame::coding::{Control, OpCode};

bound! {
    /// Longest frame of a client; players send none but pings
    /// (test `a_client_that_breaks_the_rules_is_found_out_before_its_payload_has_come`).
    const MAX_FRAME: u64 = 4 * 1024, without u64::MAX;
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
    pub(crate) const TOO_BIG: u16 = 1009;
    /// Refusals are told by this and the status that HTTP has for them: 4404 where nobody publishes the stream.
    pub(crate) const REFUSED: u16 = 4000;
    pub(crate) const KICKED: u16 = 4403;
    pub(crate) const TOO_SLOW: u16 = 4408;
}

/// A request that asks for a WebSocket.
pub(super) struct Upgrade {
    accept: String,
    /// The first that the client offers: browsers want one of theirs back.
    subprotocol: Option<String>,
}

impl Upgrade {
    /// What a request asks for: a WebSocket, nothing of the kind, or something that is answered by this reply.
    pub(super) fn of(request: &Parts) -> Result<Option<Self>, Box<Reply>> {
        let headers = &request.headers;
        if !has_token(headers, &UPGRADE, "websocket") {
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

/// Takes the next frame off `input`; none where it is not whole yet.
pub(super) fn next_frame(input: &mut BytesMut) -> Result<Option<Said>, Violation> {
    let mut cursor = Cursor::new(&input[..]);
    let parsed = FrameHeader::parse(&mut cursor).map_err(|_| violation("a frame of an unknown kind"))?;
    let Some((header, len)) = parsed else { return Ok(None) };
    if len > MAX_FRAME.get() {
        return Err(Violation { code: code::TOO_BIG, words: "a frame of more than 4 KiB" });
    }
    let Some(mask) = header.mask else { return Err(violation("a frame without a mask")) };
    if header.rsv1 || header.rsv2 || header.rsv3 {
        return Err(violation("a frame of an extension that was not agreed on"));
    }
    // Far below the limits of both types.
    let (start, len) = (usize::try_from(cursor.position()).unwrap_or(usize::MAX), len as usize);
    if matches!(header.opcode, OpCode::Control(_)) && (!header.is_final || len > MAX_CONTROL) {
        return Err(violation("a control frame in pieces, or of more than 125 bytes"));
    }
    if input.len() < start + len {
        return Ok(None);
    }
    input.advance(start);
    let mut payload = input.split_to(len);
    Ok(Some(match header.opcode {
        OpCode::Control(Control::Ping) => {
            unmask(&mut payload, mask);
            Said::Ping(payload.freeze())
        }
        OpCode::Control(Control::Close) => {
            unmask(&mut payload, mask);
            Said::Close(payload.get(..2).and_then(|code| code.try_into().ok()).map(u16::from_be_bytes))
        }
        _ => Said::Other,
    }))
}

fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
