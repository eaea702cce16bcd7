//! The RTMP handshake in both roles, plain and digest, over `rml_rtmp`'s.

use super::{ProtocolError, ProtocolErrorKind};
use bytes::{Buf, BytesMut};
use rml_rtmp::handshake::{Handshake as Exchange, HandshakeProcessResult, PeerType};
use std::borrow::Cow;

/// Length of C1, C2, S1 and S2 in bytes.
const PART: usize = 1536;
/// C0 and C1 (or S0 and S1), which peers send together.
const FIRST_PARTS: usize = PART + 1;
/// The only version that is not encrypted.
const VERSION: u8 = 3;

/// A handshake in progress.
///
/// The peer's parts are taken whole, so the outcome does not depend on how its bytes were cut, and until the
/// first two have arrived nothing is held but the input itself.
pub struct Handshake {
    stage: Stage,
    position: u64,
}

enum Stage {
    /// A client that has not sent C0 and C1.
    Start,
    /// Version and first 1,536 bytes of the peer are awaited; the exchange exists already on the client side.
    FirstParts(Option<Box<Exchange>>),
    /// C2 or S2 is awaited.
    LastPart(Box<Exchange>),
    Done,
    Failed(ProtocolError),
}

impl Handshake {
    /// The side that waits for C0.
    pub fn server() -> Self {
        Self { stage: Stage::FirstParts(None), position: 0 }
    }

    /// The side that starts; [`Self::advance`] with empty input yields C0 and C1.
    pub fn client() -> Self {
        Self { stage: Stage::Start, position: 0 }
    }

    /// Takes what it needs from `input`, appends replies to `output`; true once complete (the rest of `input`
    /// is then chunk data). `position` in errors counts from the start of the connection.
    /// A first byte that is not RTMP version 3 fails at once, and the error says what it looks like.
    /// Errors are final.
    pub fn advance(&mut self, input: &mut BytesMut, output: &mut BytesMut) -> Result<bool, ProtocolError> {
        while self.step(input, output)? {}
        Ok(matches!(self.stage, Stage::Done))
    }

    /// Bytes taken from input so far: 3,073 once complete.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Goes one stage on; false when that is not possible.
    fn step(&mut self, input: &mut BytesMut, output: &mut BytesMut) -> Result<bool, ProtocolError> {
        match std::mem::replace(&mut self.stage, Stage::Done) {
            Stage::Start => self.send_first_parts(output),
            Stage::FirstParts(exchange) => self.take_first_parts(exchange, input, output),
            Stage::LastPart(exchange) => self.take_last_part(exchange, input, output),
            Stage::Done => Ok(false),
            Stage::Failed(error) => Err(self.fail(error)),
        }
    }

    fn send_first_parts(&mut self, output: &mut BytesMut) -> Result<bool, ProtocolError> {
        let mut exchange = Box::new(Exchange::new(PeerType::Client));
        let parts =
            exchange.generate_outbound_p0_and_p1().map_err(|_| self.refuse("cannot make C0 and C1"))?;
        output.extend_from_slice(&parts);
        self.stage = Stage::FirstParts(Some(exchange));
        Ok(true)
    }

    fn take_first_parts(
        &mut self,
        exchange: Option<Box<Exchange>>,
        input: &mut BytesMut,
        output: &mut BytesMut,
    ) -> Result<bool, ProtocolError> {
        match input.first() {
            Some(&VERSION) | None => {}
            Some(&other) => return Err(self.refuse(name_of_protocol(other))),
        }
        if input.len() < FIRST_PARTS {
            self.stage = Stage::FirstParts(exchange);
            return Ok(false);
        }
        let mut exchange = exchange.unwrap_or_else(|| Box::new(Exchange::new(PeerType::Server)));
        self.process(&mut exchange, FIRST_PARTS, input, output)?;
        self.stage = Stage::LastPart(exchange);
        Ok(true)
    }

    fn take_last_part(
        &mut self,
        mut exchange: Box<Exchange>,
        input: &mut BytesMut,
        output: &mut BytesMut,
    ) -> Result<bool, ProtocolError> {
        if input.len() < PART {
            self.stage = Stage::LastPart(exchange);
            return Ok(false);
        }
        self.process(&mut exchange, PART, input, output)?;
        self.stage = Stage::Done;
        Ok(false)
    }

    /// Feeds exactly `len` bytes, which `input` is known to hold, so that `rml_rtmp` never keeps any.
    fn process(
        &mut self,
        exchange: &mut Exchange,
        len: usize,
        input: &mut BytesMut,
        output: &mut BytesMut,
    ) -> Result<(), ProtocolError> {
        let result = exchange.process_bytes(input.get(..len).unwrap_or_default());
        let reply = match result {
            Ok(HandshakeProcessResult::InProgress { response_bytes }) => response_bytes,
            Ok(HandshakeProcessResult::Completed { response_bytes, .. }) => response_bytes,
            Err(error) => return Err(self.refuse(format!("the handshake failed: {error}"))),
        };
        output.extend_from_slice(&reply);
        input.advance(len);
        self.position = self.position.saturating_add(len as u64);
        Ok(())
    }

    fn refuse(&mut self, detail: impl Into<Cow<'static, str>>) -> ProtocolError {
        let error = ProtocolError::new(ProtocolErrorKind::Handshake, self.position, detail);
        self.fail(error)
    }

    fn fail(&mut self, error: ProtocolError) -> ProtocolError {
        self.stage = Stage::Failed(error.clone());
        error
    }
}

/// What a connection that starts with `first` seems to be.
fn name_of_protocol(first: u8) -> Cow<'static, str> {
    match first {
        0x16 => {
            "not RTMP: this looks like a TLS ClientHello (rtmps:// or https:// to a plain RTMP port)".into()
        }
        0x15 => "not RTMP: this looks like a TLS alert (the other side expects TLS)".into(),
        b'P' => {
            "not RTMP: this looks like HTTP, or like a PROXY header from an address that is not listed".into()
        }
        b'\r' => "not RTMP: this looks like a PROXY header from an address that is not listed".into(),
        b'G' | b'H' | b'O' | b'D' | b'C' => "not RTMP: this looks like HTTP".into(),
        6 | 8 => format!("encrypted RTMP (RTMPE, version {first}) is not supported").into(),
        _ => format!("not RTMP: the first byte is {first:#04x}, version 3 is needed").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// C1 filled with a pattern.
    fn plain_c1() -> Vec<u8> {
        (0..PART).map(|i| (i * 7 + 3) as u8).collect()
    }

    /// [`plain_c1`] with a client's digest at `offset`, computed apart with Python's `hmac`.
    fn digest_c1(offset: usize, digest: [u8; 32]) -> Vec<u8> {
        let mut c1 = plain_c1();
        c1[offset..offset + 32].copy_from_slice(&digest);
        c1
    }

    /// The digest where bytes 8 to 11 point to.
    const DIGEST_SCHEME_0: (usize, [u8; 32]) = (
        290,
        [
            0x36, 0xd2, 0x7b, 0x36, 0x5b, 0x84, 0xe5, 0xe5, 0x5f, 0x37, 0x6e, 0x2f, 0x24, 0xf3, 0xa7, 0xdd,
            0x6b, 0x8b, 0x5e, 0x9b, 0x00, 0x2f, 0x03, 0x5f, 0x99, 0x36, 0x6c, 0x07, 0xe4, 0x3b, 0x8d, 0x41,
        ],
    );
    /// The digest where bytes 772 to 775 point to.
    const DIGEST_SCHEME_1: (usize, [u8; 32]) = (
        942,
        [
            0x49, 0x2c, 0x04, 0xeb, 0xd2, 0x65, 0xe6, 0x34, 0x3c, 0x4c, 0x12, 0xf5, 0x58, 0x0a, 0x46, 0x39,
            0x9b, 0xec, 0x27, 0x24, 0x82, 0x1f, 0x27, 0xf3, 0x21, 0xb9, 0x5c, 0xa7, 0x5b, 0x63, 0xb3, 0x18,
        ],
    );

    /// C0, C1, C2 and the first bytes of a chunk.
    fn client_bytes(c1: &[u8]) -> Vec<u8> {
        [&[VERSION], c1, &[9; PART], b"chunk"].concat()
    }

    /// Outcome, reply and bytes left over when a server gets `bytes` in `pieces`.
    fn serve(pieces: &[&[u8]]) -> (Result<bool, ProtocolError>, BytesMut, BytesMut) {
        let mut server = Handshake::server();
        let (mut input, mut output) = (BytesMut::new(), BytesMut::new());
        let mut outcome = Ok(false);
        for piece in pieces {
            input.extend_from_slice(piece);
            outcome = server.advance(&mut input, &mut output);
        }
        (outcome, output, input)
    }

    #[test]
    fn f11_any_cut_gives_the_same_outcome() {
        let bytes = client_bytes(&plain_c1());
        for cut in 0..bytes.len() {
            let (outcome, output, left) = serve(&[&bytes[..cut], &bytes[cut..]]);
            assert_eq!((outcome, output.len(), &left[..]), (Ok(true), 3073, &b"chunk"[..]), "cut at {cut}");
            assert_eq!(
                (output[0], &output[1537..]),
                (VERSION, &plain_c1()[..]),
                "S2 is not C1, cut at {cut}"
            );
        }
    }

    #[test]
    fn f11_both_digest_schemes_are_answered_with_a_signature_and_a_wrong_digest_with_an_echo() {
        for (offset, digest) in [DIGEST_SCHEME_0, DIGEST_SCHEME_1] {
            let c1 = digest_c1(offset, digest);
            let (outcome, output, _) = serve(&[&client_bytes(&c1)]);
            assert_eq!(outcome, Ok(true));
            assert_ne!(output[1537..], c1[..], "the digest at {offset} was not found");

            let mut wrong = c1;
            wrong[offset] ^= 1;
            let (outcome, output, _) = serve(&[&client_bytes(&wrong)]);
            assert_eq!(outcome, Ok(true));
            assert_eq!(output[1537..], wrong[..]);
        }
    }

    #[test]
    fn f11_other_protocols_are_named_at_their_first_byte() {
        for (bytes, words) in [
            (&b"GET / HTTP/1.1\r\n"[..], "HTTP"),
            (b"POST /fcs/ident2 HTTP/1.1\r\n", "HTTP"),
            (&[0x16, 3, 1, 2, 0], "TLS ClientHello"),
            (&[0x15, 3, 1, 0, 2], "TLS alert"),
            (b"PROXY TCP4 192.0.2.7 10.0.0.1 1 2\r\n", "PROXY header"),
            (b"\r\n\r\n\0\r\nQUIT\n", "PROXY header"),
            (&[6], "RTMPE, version 6"),
            (&[8], "RTMPE, version 8"),
            (&[31], "first byte is 0x1f"),
            (&[0], "first byte is 0x00"),
        ] {
            let (outcome, output, _) = serve(&[bytes]);
            let error = outcome.unwrap_err();
            assert_eq!((error.kind, error.position, output.len()), (ProtocolErrorKind::Handshake, 0, 0));
            assert!(error.detail.contains(words), "{error}");
        }
        let mut client = Handshake::client();
        let (mut input, mut output) = (BytesMut::from(&b"HTTP/1.1 400 Bad Request"[..]), BytesMut::new());
        assert!(client.advance(&mut input, &mut output).unwrap_err().detail.contains("HTTP"));
    }

    #[test]
    fn errors_are_final() {
        let mut server = Handshake::server();
        let (mut input, mut output) = (BytesMut::from(&b"G"[..]), BytesMut::new());
        let error = server.advance(&mut input, &mut output).unwrap_err();
        let mut good = BytesMut::from(&client_bytes(&plain_c1())[..]);
        assert_eq!(server.advance(&mut good, &mut output), Err(error));
        assert!(output.is_empty());
    }

    #[test]
    fn server_is_silent_until_c1_is_whole() {
        let bytes = client_bytes(&plain_c1());
        assert!(serve(&[&bytes[..FIRST_PARTS - 1]]).1.is_empty());
        assert_eq!(serve(&[&bytes[..FIRST_PARTS]]).1.len(), 3073);
    }

    #[test]
    fn completed_handshake_takes_nothing_more() {
        let mut server = Handshake::server();
        let (mut input, mut output) = (BytesMut::from(&client_bytes(&plain_c1())[..]), BytesMut::new());
        assert_eq!(server.advance(&mut input, &mut output), Ok(true));
        assert_eq!(server.advance(&mut input, &mut output), Ok(true));
        assert_eq!((&input[..], server.position()), (&b"chunk"[..], 3073));
    }

    #[test]
    fn both_roles_complete_with_each_other() {
        let (mut client, mut server) = (Handshake::client(), Handshake::server());
        let (mut to_server, mut to_client) = (BytesMut::new(), BytesMut::new());
        assert_eq!(client.advance(&mut to_client, &mut to_server), Ok(false));
        assert_eq!(to_server.len(), FIRST_PARTS);
        assert_eq!(server.advance(&mut to_server, &mut to_client), Ok(false));
        assert_eq!(client.advance(&mut to_client, &mut to_server), Ok(true));
        assert_eq!(server.advance(&mut to_server, &mut to_client), Ok(true));
        assert!(to_server.is_empty() && to_client.is_empty());
    }

    #[test]
    fn client_sends_c2_before_it_has_s2() {
        let mut client = Handshake::client();
        let (mut input, mut output) = (BytesMut::new(), BytesMut::new());
        assert_eq!(client.advance(&mut input, &mut output), Ok(false));
        input.extend_from_slice(&[&[VERSION], &plain_c1()[..]].concat());
        assert_eq!(client.advance(&mut input, &mut output), Ok(false));
        assert_eq!(output.len(), FIRST_PARTS + PART);
        assert_eq!(output[FIRST_PARTS..], plain_c1()[..]);
    }
}
