//! What stands around the bytes of a stream on a connection that began as HTTP.

use bytes::{BufMut, Bytes, BytesMut};
use std::io::Write;

/// Longest [`Envelope::opening`]: 16 hexadecimal digits and a line's end.
pub(super) const MAX_OPENING: usize = 18;
/// The same where no more than one tag is in the envelope: a WebSocket message of over 65,535 bytes.
pub(super) const MAX_TAG_OPENING: usize = 10;
/// Longest [`Envelope::closing`].
pub(super) const MAX_CLOSING: usize = 2;

/// First byte of a text message of WebSocket in one frame, and of a binary one (RFC 6455 5.2).
#[cfg(any(feature = "http", feature = "mp4"))]
const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
#[cfg(feature = "http")]
const PING: u8 = 0x89;
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
    /// WebSocket messages, unmasked as a server's are, each of whole tags or boxes.
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

    /// A text message of a WebSocket.
    #[cfg(any(feature = "http", feature = "mp4"))]
    pub(crate) fn text(text: &str) -> Bytes {
        [&web_socket_opening(TEXT, text.len())[..], text.as_bytes()].concat().into()
    }

    /// A WebSocket ping with this payload, of which 125 bytes have room.
    #[cfg(feature = "http")]
    pub(crate) fn ping(payload: &[u8]) -> Bytes {
        control(PING, &payload[..payload.len().min(MAX_CONTROL)])
    }

    /// The answer to a WebSocket ping with this payload, of which 125 bytes have room.
    pub(crate) fn pong(payload: &[u8]) -> Bytes {
        control(PONG, &payload[..payload.len().min(MAX_CONTROL)])
    }
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

/// What test readers make of it: the contents of the envelopes, and what follows them.
#[cfg(test)]
pub(in crate::egress) mod tests {
    use super::*;

    impl Envelope {
        /// The contents of the envelopes that `bytes` consists of.
        pub(in crate::egress) fn unwrap(self, mut bytes: &[u8]) -> Vec<&[u8]> {
            let mut contents = Vec::new();
            while !bytes.is_empty() {
                let (content, rest) = match self {
                    Self::Plain => (bytes, &[][..]),
                    Self::Chunked => chunk(bytes),
                    Self::WebSocket => web_socket(bytes, BINARY),
                };
                contents.push(content);
                bytes = rest;
            }
            contents
        }
    }

    impl Envelope {
        /// What is in each envelope, and whether it is a text.
        #[cfg(feature = "mp4")]
        pub(in crate::egress) fn messages(self, mut bytes: &[u8]) -> Vec<(bool, &[u8])> {
            let mut messages = Vec::new();
            while self == Self::WebSocket && !bytes.is_empty() {
                let (content, rest) = web_socket(bytes, bytes[0]);
                assert!([TEXT, BINARY].contains(&bytes[0]));
                messages.push((bytes[0] == TEXT, content));
                bytes = rest;
            }
            messages.extend(self.unwrap(bytes).into_iter().map(|content| (false, content)));
            messages
        }
    }

    fn chunk(bytes: &[u8]) -> (&[u8], &[u8]) {
        let end = bytes.windows(2).position(|pair| pair == b"\r\n").expect("a line");
        let len = usize::from_str_radix(std::str::from_utf8(&bytes[..end]).unwrap(), 16).unwrap();
        let (content, rest) = bytes[end + 2..].split_at(len);
        (content, rest.strip_prefix(b"\r\n").expect("the end of a chunk"))
    }

    fn web_socket(bytes: &[u8], first: u8) -> (&[u8], &[u8]) {
        assert_eq!(bytes[0], first, "final, with the opcode");
        let (len, header) = match bytes[1] {
            short @ ..126 => (u64::from(short), 2),
            126 => (u64::from(u16::from_be_bytes([bytes[2], bytes[3]])), 4),
            127 => (u64::from_be_bytes(bytes[2..10].try_into().unwrap()), 10),
            masked => panic!("{masked:x}: a server masks nothing"),
        };
        let shortest = [(126, 2), (65_536, 4)].iter().find(|(limit, _)| len < *limit);
        assert_eq!(header, shortest.map_or(10, |(_, header)| *header), "the shortest of the three lengths");
        bytes[header..].split_at(usize::try_from(len).unwrap())
    }

    #[test]
    fn what_is_wrapped_is_what_a_reader_gets_whatever_its_length() {
        for len in [1, 15, 16, 125, 126, 127, 65_535, 65_536, 0x0100_0010] {
            let bytes = vec![0x5a; len];
            for envelope in [Envelope::Plain, Envelope::Chunked, Envelope::WebSocket] {
                let wrapped = envelope.wrap(&bytes);
                assert!(envelope.unwrap(&wrapped) == [&bytes[..]], "{envelope:?} of {len} bytes");
                let twice = [&wrapped[..], &wrapped].concat();
                assert_eq!(envelope.unwrap(&twice).concat().len(), 2 * len);
                assert!(envelope.opening(len).len() <= MAX_TAG_OPENING);
            }
        }
        assert!(Envelope::Chunked.opening(usize::MAX).len() <= MAX_OPENING);
        assert_eq!(&Envelope::Chunked.wrap(&[7; 26])[..4], b"1a\r\n");
    }

    #[test]
    fn the_end_of_a_stream_is_told_in_each_envelopes_way() {
        assert!(Envelope::Plain.end(1000, "over").is_empty());
        assert_eq!(&Envelope::Chunked.end(1000, "over")[..], b"0\r\n\r\n");
        let close = Envelope::WebSocket.end(4404, "nobody publishes");
        assert_eq!(web_socket(&close, CLOSE), (&b"\x11\x34nobody publishes"[..], &b""[..]));
    }

    #[test]
    fn control_frames_are_no_longer_than_they_may_be_and_a_reason_is_cut_between_characters() {
        let reason = "\u{e9}".repeat(100);
        let close = Envelope::WebSocket.end(1000, &reason);
        let (content, _) = web_socket(&close, CLOSE);
        assert_eq!(std::str::from_utf8(&content[2..]).unwrap(), "\u{e9}".repeat(61));
        assert_eq!(web_socket(&Envelope::pong(b"ping"), PONG), (&b"ping"[..], &b""[..]));
        assert_eq!(web_socket(&Envelope::pong(&[1; 200]), PONG).0, [1; 125]);
    }
}
