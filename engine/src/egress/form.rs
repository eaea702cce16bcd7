//! Forms: the ways in which frames become bytes on connections. The rest of egress knows no protocol.
//!
//! A batch is put into a form once, when the first output wants it so, and all outputs of that form share the bytes. What
//! a single delivery gets by itself (it has just joined, or is not like the others) its [`Framing`] makes message by
//! message. A new form is a variant of each enumeration here and a file beside `rtmp.rs`.

mod rtmp;

pub(crate) use rtmp::RtmpFraming;

use crate::media::Frame;
use crate::net::Segments;
use crate::proto::chunk::WireMessage;
use bytes::{Bytes, BytesMut};
use std::io::IoSlice;

/// What batches can be put into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// RTMP messages, chunk headers included, on the message stream that nearly all peers use.
    Rtmp,
}

impl Form {
    pub(super) const ALL: [Self; 1] = [Self::Rtmp];

    /// All frames in one piece: one copy of them for all outputs, and one slice per write, which costs the kernel less
    /// than several.
    pub(super) fn encode(self, frames: &[Frame], buffer: &mut BytesMut) -> Bytes {
        match self {
            Self::Rtmp => rtmp::encode(frames, buffer),
        }
        buffer.split().freeze()
    }
}

/// How one delivery's frames become bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// RTMP messages.
    Rtmp(RtmpFraming),
}

impl Framing {
    /// The form in which it can share batches; `None` where each frame has to be written for it alone.
    pub(super) fn form(&self) -> Option<Form> {
        match self {
            Self::Rtmp(framing) => framing.is_usual().then_some(Form::Rtmp),
        }
    }

    /// Whether it gets metadata as all others of its form.
    pub(super) fn shares_data(&self) -> bool {
        match self {
            Self::Rtmp(framing) => !framing.publishes,
        }
    }

    /// One frame as it goes to this peer.
    pub(super) fn message(&self, frame: Frame) -> Message {
        match self {
            Self::Rtmp(framing) => Message::Rtmp(framing.message(frame)),
        }
    }
}

/// A frame on its way to one peer, its payload shared.
#[derive(Debug)]
pub(crate) enum Message {
    Rtmp(WireMessage),
}

impl Segments for Message {
    fn len(&self) -> usize {
        match self {
            Self::Rtmp(message) => message.len(),
        }
    }

    fn slices<'a>(&'a self, skip: usize, out: &mut Vec<IoSlice<'a>>) {
        match self {
            Self::Rtmp(message) => message.slices(skip, out),
        }
    }
}
