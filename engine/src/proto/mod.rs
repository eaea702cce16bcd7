//! The RTMP protocol without sockets, clocks or tasks: bytes in, events and bytes out.
//!
//! A panic on wire data is our bug: nothing here may index, unwrap or overflow.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used, clippy::expect_used)]
#![cfg_attr(test, allow(clippy::arithmetic_side_effects, reason = "tests compute on their own numbers"))]

pub mod chunk;
pub mod client;
pub mod handshake;
pub mod message;
pub mod server;
mod session;

use std::borrow::Cow;
use std::fmt;

/// Why a connection cannot go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProtocolError {
    /// What kind of rule was broken.
    pub kind: ProtocolErrorKind,
    /// Bytes received on this connection before the point of the error.
    pub position: u64,
    /// The rule in words, safe to log: it holds no text from the wire.
    pub detail: Cow<'static, str>,
}

/// What of a connection has been taken in so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Received {
    /// Bytes, the handshake's too once it is complete.
    pub bytes: u64,
    /// Messages of any kind, each part of an aggregate counted too.
    pub messages: u64,
}

/// The kind of rule that a peer broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProtocolErrorKind {
    /// The first bytes are not an RTMP handshake (`detail` says what they look like: TLS, HTTP, RTMPE).
    Handshake,
    /// The chunk layer is broken: no later byte can be understood.
    Chunk,
    /// A limit was passed: message size, chunk streams, message streams, AMF budget.
    Limit,
    /// A command could not be decoded.
    Command,
    /// The peer refused us, or did what its state does not allow.
    State,
}

impl ProtocolError {
    pub(crate) fn new(kind: ProtocolErrorKind, position: u64, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, position, detail: detail.into() }
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (after {} bytes)", self.detail, self.position)
    }
}

impl std::error::Error for ProtocolError {}

impl From<ProtocolError> for crate::Error {
    fn from(error: ProtocolError) -> Self {
        let kind = match error.kind {
            ProtocolErrorKind::Limit => crate::ErrorKind::Limit,
            _ => crate::ErrorKind::Protocol,
        };
        Self::new(kind, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_text_leads_to_the_byte() {
        let error = ProtocolError::new(ProtocolErrorKind::Limit, 3073, "more than 64 chunk streams");
        assert_eq!(error.to_string(), "more than 64 chunk streams (after 3073 bytes)");
        assert_eq!(crate::Error::from(error).kind(), crate::ErrorKind::Limit);
    }
}
