//! The RTMP protocol without sockets, clocks or tasks: bytes in, events and bytes out.
//!
//! A panic on wire data is our bug: nothing here may index, unwrap or overflow.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used, clippy::expect_used)]
#![cfg_attr(test, allow(clippy::arithmetic_side_effects, reason = "tests compute on their own numbers"))]

pub mod amf0;
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

/// Widens 32-bit wire timestamps (milliseconds, wrapping every 49.7 days) to 64 bits.
///
/// Each timestamp is taken to be the one nearest to the last, so both a wrap and a step back are followed.
#[derive(Debug, Clone, Copy, Default)]
pub struct TimestampUnwrapper {
    last: Option<i64>,
}

impl TimestampUnwrapper {
    /// The 64-bit time of the next wire timestamp.
    pub fn unwrap(&mut self, wire: u32) -> i64 {
        let time = match self.last {
            None => i64::from(wire),
            Some(last) => {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_possible_wrap,
                    reason = "modulo 2^32 is meant"
                )]
                let step = wire.wrapping_sub(last as u32) as i32;
                last.saturating_add(i64::from(step))
            }
        };
        self.last = Some(time);
        time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f08_time_goes_on_across_2_24_2_31_and_2_32() {
        let mut unwrapper = TimestampUnwrapper::default();
        let mut expected = 0;
        while expected < 3 << 32 {
            assert_eq!(unwrapper.unwrap(expected as u32), expected);
            expected += 0x0FFF_FFF7;
        }
    }

    #[test]
    fn f08_step_back_is_followed_also_across_a_wrap() {
        let mut unwrapper = TimestampUnwrapper::default();
        let times = [0xFFFF_FFF0, 5, 0xFFFF_FFFF, 10_000, 0].map(|wire| unwrapper.unwrap(wire));
        assert_eq!(times, [0xFFFF_FFF0, 0x1_0000_0005, 0xFFFF_FFFF, 0x1_0000_2710, 0x1_0000_0000]);
    }

    #[test]
    fn error_text_leads_to_the_byte() {
        let error = ProtocolError::new(ProtocolErrorKind::Limit, 3073, "more than 64 chunk streams");
        assert_eq!(error.to_string(), "more than 64 chunk streams (after 3073 bytes)");
        assert_eq!(crate::Error::from(error).kind(), crate::ErrorKind::Limit);
    }
}
