//! Publishers over HTTP: FLV in the messages of a WebSocket (`socket.rs`), and in the body of a request (`post.rs`). They go the way
//! of all publishers; what is their own is here: FLV from pieces of any size, and how it is told why it does not go on.

mod destinations;
mod post;
mod socket;

pub(super) use socket::{Socket, told};

use super::reply;
use super::websocket::code;
use crate::hub::EndReason;
use crate::media::elementary::FlvStream;
use crate::proto::Received;
use crate::service::pace::{Pace, Verdict};
use crate::service::streams::{ConnectionPublisher, Refusal};
use crate::{Error, ErrorKind, Limits};
use hyper::StatusCode;
use std::fmt;

/// A stream on its way in.
pub(super) struct Ingest {
    publisher: ConnectionPublisher,
    flv: FlvStream,
    pace: Pace,
    /// Bytes of the stream, and messages of any kind.
    received: Received,
}

/// Why a stream does not go on.
#[derive(Debug)]
enum Halt {
    /// The right to publish is gone.
    Lost(EndReason),
    /// It has been silent for too long.
    Silent(String),
    /// It sends more than it may.
    TooFast(String),
    /// A tag is longer than it may be.
    TooLarge(String),
    /// It is no FLV.
    NotFlv(String),
}

impl fmt::Display for Halt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost(reason) => reason.fmt(f),
            Self::Silent(text) | Self::TooFast(text) | Self::TooLarge(text) | Self::NotFlv(text) => {
                f.write_str(text)
            }
        }
    }
}

impl Halt {
    /// The code that closes a WebSocket for it.
    fn code(&self) -> u16 {
        match self {
            Self::Lost(EndReason::Shutdown) => code::DRAINING,
            Self::Lost(EndReason::Replaced) => code::TAKEN,
            Self::Lost(EndReason::Kicked(_)) => code::NOT_ALLOWED,
            Self::Lost(_) => code::ENDED,
            Self::Silent(_) => code::TOO_SLOW,
            Self::TooFast(_) | Self::TooLarge(_) => code::TOO_MUCH,
            Self::NotFlv(_) => code::NOT_UNDERSTOOD,
        }
    }

    /// The status that answers a request for it.
    fn status(&self) -> StatusCode {
        match self {
            Self::Lost(EndReason::Shutdown) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Lost(EndReason::Kicked(_)) => StatusCode::FORBIDDEN,
            Self::Lost(_) => StatusCode::CONFLICT,
            Self::Silent(_) => StatusCode::REQUEST_TIMEOUT,
            Self::TooFast(_) | Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NotFlv(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        }
    }

    /// Whether its stream is over; else its players wait for a publisher that keeps to the rules.
    fn is_final(&self) -> bool {
        matches!(self, Self::Lost(_))
    }
}

/// The code that closes the WebSocket of a publisher who is refused.
pub(super) fn close_code(refusal: &Refusal) -> u16 {
    match refusal {
        Refusal::Denied(_) | Refusal::Asked(_) | Refusal::NotProven(_) => code::WRONG_KEY,
        Refusal::NoSuchApp | Refusal::Reserved | Refusal::Loop(_) | Refusal::OtherSite => code::NOT_ALLOWED,
        Refusal::Taken(_) => code::TAKEN,
        Refusal::BadName(_) => code::NOT_UNDERSTOOD,
        Refusal::NotPublished
        | Refusal::Unreachable
        | Refusal::Busy(_)
        | Refusal::Full
        | Refusal::TooManyStreams(_)
        | Refusal::TooManyViewers => code::REFUSED + StatusCode::SERVICE_UNAVAILABLE.as_u16(),
    }
}

/// The status that answers a request to publish that is refused.
pub(super) fn status(refusal: &Refusal) -> StatusCode {
    match close_code(refusal) {
        code::WRONG_KEY => StatusCode::UNAUTHORIZED,
        code::NOT_ALLOWED => StatusCode::FORBIDDEN,
        _ => reply::status(refusal),
    }
}

impl Ingest {
    fn new(publisher: ConnectionPublisher, limits: &Limits) -> Self {
        let flv = FlvStream::new(limits.max_message);
        Self { publisher, flv, pace: Pace::default(), received: Received::default() }
    }

    /// Takes the next bytes of the stream.
    fn take(&mut self, bytes: &[u8]) -> Result<(), Halt> {
        self.received.bytes += bytes.len() as u64;
        let mut input = bytes;
        loop {
            match self.flv.read(&mut input) {
                Ok(Some(frame)) => {
                    self.received.messages += 1;
                    self.publisher.push(frame).map_err(|reason| self.lost(reason))?;
                }
                Ok(None) => return Ok(()),
                Err(error) => return Err(not_taken(&error)),
            }
        }
    }

    fn lost(&self, reason: EndReason) -> Halt {
        match (reason, self.publisher.is_too_fast()) {
            (EndReason::Kicked(words), true) => Halt::TooFast(words),
            (reason, _) => Halt::Lost(reason),
        }
    }

    /// Warns of a publisher that sends more than anybody expects, and ends one that sends more than it may; `others` are messages
    /// besides those of its stream.
    fn check_pace(&mut self, others: u64, limits: &Limits) -> Result<(), Halt> {
        let Received { bytes, messages } = self.received;
        match self.pace.look(Received { bytes, messages: messages + others }, limits) {
            Verdict::Fine => Ok(()),
            Verdict::Fast(speed) => {
                self.publisher.log_fast(&speed);
                Ok(())
            }
            Verdict::TooFast(speed) => Err(Halt::TooFast(speed.words())),
        }
    }

    /// The stream has ended in good order.
    fn finish(mut self) -> Result<(), Halt> {
        loop {
            match self.flv.finish() {
                Ok(Some(frame)) => self.publisher.push(frame).map_err(|reason| self.lost(reason))?,
                Ok(None) => break,
                Err(error) => {
                    let halt = not_taken(&error);
                    self.publisher.leave(&halt.to_string());
                    return Err(halt);
                }
            }
        }
        self.publisher.finish(&EndReason::Unpublished.to_string());
        Ok(())
    }

    /// It does not go on: its stream is over, or waits for its return.
    fn end(self, reason: &str, is_final: bool) {
        match is_final {
            true => self.publisher.finish(reason),
            false => self.publisher.leave(reason),
        }
    }
}

fn not_taken(error: &Error) -> Halt {
    match error.kind() {
        ErrorKind::Limit => Halt::TooLarge(format!("{error} (limits.max_message)")),
        _ => Halt::NotFlv(error.to_string()),
    }
}
