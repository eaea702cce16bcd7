//! What stands around the bytes of a stream on a connection that began as HTTP.

use bytes::{BufMut, Bytes, BytesMut};
use std::io::Write;

/// Longest [`Envelope::opening`]: 16 hexadecimal digits and a line's end.
pub(super) const MAX_OPENING: usize = 18;
/// The same where no more than one tag is in the envelope: a WebSocket message of over 65,535 bytes.
pub(super) const MAX_TAG_OPENING: usize = 10;
/// Longest [`Envelope::closing`].
pub(super) const MAX_CLOSING: usize = 2;

/// First byte of a binary WebSocket message in one frame (RFC 6455 5.2).
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PONG: u8 = 0x8a;

/// Longest payload of a WebSocket control frame (RFC 6455 5.5).
const MAX_CONTROL: usize = 125;

/// How a stream's bytes are told from what the connection says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Envelope {
    /// Not at all: the stream ends with the connection, as in HTTP/1.0.
    Plain,
    /// HTTP/1.1 chunks (RFC 9112 7.1).
    Chunked,
    /// WebSocket messages, unmasked as a server's are, each of whole tags.
    WebSocket,
}

/// A few bytes.
pub(super) type Opening = smallvec::SmallVec<[u8; 16]>;

impl Envelope {
    /// What comes before `len` bytes that are written together, one at least.
    pub(super) fn opening(self, len: usize) -> Opening {
        match self {
            Self::Plain => Opening::new(),
            Self::Chunked => {
                let mut bytes = [0; MAX_OPENING];
                let mut rest = &mut bytes[..];
                // Never fails: there is room for all digits that a length has.
                let _ = write!(rest, "{len:x}\r\n");
                let unused = rest.len();
                Opening::from_slice(&bytes[..MAX_OPENING - unused])
            }
            Self::WebSocket => web_socket_opening(BINARY, len),
        }
    }

    /// What comes behind them.
    pub(super) fn closing(self) -> &'static [u8] {
        match self {
            Self::Chunked => b"\r\n",
            Self::Plain | Self::WebSocket => b"",
        }
    }

    /// `bytes` in this envelope.
    pub(crate) fn wrap(self, bytes: &[u8]) -> Bytes {
        let opening = self.opening(bytes.len());
        [&opening[..], bytes, self.closing()].concat().into()
    }

    /// What tells the peer that the stream is over, and that the connection was not just lost. Of the WebSocket close
    /// `code` and `reason`, of which 123 bytes have room, the other ways have no use.
    pub(crate) fn end(self, code: u16, reason: &str) -> Bytes {
        match self {
            Self::Plain => Bytes::new(),
            Self::Chunked => Bytes::from_static(b"0\r\n\r\n"),
            Self::WebSocket => {
                let room = reason.floor_char_boundary(MAX_CONTROL - 2);
                control(CLOSE, &[&code.to_be_bytes(), &reason.as_bytes()[..room]].concat())
            }
        }
    }
}

/// The answer to a WebSocket ping with this payload, of which 125 bytes have room.
pub(crate) fn pong(payload: &[u8]) -> Bytes {
    control(PONG, &payload[..payload.len().min(MAX_CONTROL)])
}

fn control(first: u8, payload: &[u8]) -> Bytes {
    let mut frame = BytesMut::from(&web_socket_opening(first, payload.len())[..]);
    frame.put_slice(payload);
    frame.freeze()
}

/// The header of an unmasked frame with `len` bytes of payload (RFC 6455 5.2).
fn web_socket_opening(first: u8, len: usize) -> Opening {
    let mut opening = Opening::from_slice(&[first]);
    match (u8::try_from(len), u16::try_from(len)) {
        (Ok(short @ ..126), _) => opening.push(short),
        (_, Ok(medium)) => {
            opening.push(126);
            opening.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            opening.push(127);
            opening.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    opening
}

#[cfg(test)]
mod tests {
    use super::*;
}
