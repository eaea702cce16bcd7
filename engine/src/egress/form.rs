//! Forms: the ways in which frames become bytes on connections. The rest of egress knows no protocol.
//!
//! A batch is put into a form once, when the first output wants it so, and all outputs of that form share the bytes. What
//! a single delivery gets by itself (it has just joined, or is not like the others) its [`Framing`] makes message by
//! message. A new form is a variant of each enumeration here and a file beside `rtmp.rs`.

mod envelope;
mod flv;
mod rtmp;

pub(crate) use envelope::Envelope;
pub(crate) use flv::{Flavour, FlvFraming};
pub(crate) use rtmp::RtmpFraming;

use super::WireBatch;
use crate::hub::{Batch, MainIds};
use crate::media::flv::browser::Head;
use crate::media::{Frame, FrameKind};
use crate::net::Segments;
use crate::proto::chunk::WireMessage;
use bytes::{Bytes, BytesMut};
use flv::FlvMessage;
use std::io::IoSlice;

/// What batches can be put into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// RTMP messages, chunk headers included, on the message stream that nearly all peers use.
    Rtmp,
    /// FLV tags.
    Flv(Envelope, Flavour),
}

impl Form {
    pub(super) const ALL: [Self; 7] = [
        Self::Rtmp,
        Self::Flv(Envelope::Plain, Flavour::Browser),
        Self::Flv(Envelope::Plain, Flavour::Full),
        Self::Flv(Envelope::Chunked, Flavour::Browser),
        Self::Flv(Envelope::Chunked, Flavour::Full),
        Self::Flv(Envelope::WebSocket, Flavour::Browser),
        Self::Flv(Envelope::WebSocket, Flavour::Full),
    ];

    /// Its place in [`Self::ALL`].
    pub(super) fn index(self) -> usize {
        match self {
            Self::Rtmp => 0,
            Self::Flv(envelope, flavour) => 1 + 2 * envelope as usize + flavour as usize,
        }
    }

    /// All frames in one piece: one copy of them for all outputs, and one slice per write, which costs the kernel less
    /// than several.
    pub(super) fn encode(self, batch: &Batch, buffer: &mut BytesMut) -> Encoded {
        match self {
            Self::Rtmp => rtmp::encode(&batch.frames, buffer),
            Self::Flv(envelope, flavour) => flv::encode(envelope, flavour, batch, buffer),
        }
    }
}

/// A batch in a form.
#[derive(Debug, Default)]
pub(super) struct Encoded {
    /// Empty where none of its frames is for this form.
    pub(super) bytes: Bytes,
    pub(super) content: Content,
}

/// What of a batch is in a form.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Content {
    pub(super) frames: u64,
    /// By kind, whether there is something of it.
    pub(super) has: [bool; 3],
    /// Time of the newest coded frame, by kind.
    pub(super) newest: [Option<i64>; 3],
}

impl Content {
    fn add(&mut self, frame: &Frame) {
        self.frames += 1;
        self.has[frame.kind as usize] = true;
        if !frame.is_config() {
            self.newest[frame.kind as usize] = Some(frame.timestamp);
        }
    }
}

/// How one delivery's frames become bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// RTMP messages.
    Rtmp(RtmpFraming),
    /// FLV tags.
    Flv(FlvFraming),
}

impl Framing {
    /// The form in which it can share batches; `None` where each frame has to be written for it alone.
    pub(super) fn form(&self) -> Option<Form> {
        match self {
            Self::Rtmp(framing) => framing.is_usual().then_some(Form::Rtmp),
            Self::Flv(framing) => framing.form(),
        }
    }

    /// Whether it gets this batch as all others of its form.
    pub(super) fn shares(&self, batch: &WireBatch, form: Form) -> bool {
        match self {
            Self::Rtmp(framing) => !framing.publishes || !batch.has_data,
            Self::Flv(framing) => !batch.changes_video && framing.announces(&batch.encoded(form).content),
        }
    }

    /// A frame as far as this peer gets it, and what is to stand before its payload; `None` where it is nothing for it.
    pub(super) fn adapt(&mut self, frame: Frame, main: MainIds) -> Option<(Head, Frame)> {
        match self {
            Self::Rtmp(_) => Some((Head::default(), frame)),
            Self::Flv(framing) => framing.adapt(frame, main),
        }
    }

    /// The stream time that an adapted frame goes out with, after one of its kind at `newest`.
    pub(super) fn time_of(&mut self, frame: &Frame, newest: Option<i64>, main: MainIds) -> i64 {
        match self {
            Self::Rtmp(_) => frame.timestamp,
            Self::Flv(framing) => framing.time_of(frame, newest, main),
        }
    }

    /// One adapted frame as it goes to this peer.
    pub(super) fn message(&self, head: Head, frame: Frame) -> Message {
        match self {
            Self::Rtmp(framing) => Message::Rtmp(framing.message(frame)),
            Self::Flv(framing) => Message::Flv(framing.message(head, frame)),
        }
    }

    /// A kind of media that has come and is left out, as the peer was not told that there is such.
    pub(super) fn late_kind(&self) -> Option<FrameKind> {
        match self {
            Self::Rtmp(_) => None,
            Self::Flv(framing) => framing.late_kind(),
        }
    }
}

/// A frame on its way to one peer, its payload shared.
#[derive(Debug)]
pub(crate) enum Message {
    Rtmp(WireMessage),
    Flv(FlvMessage),
}

impl Segments for Message {
    fn len(&self) -> usize {
        match self {
            Self::Rtmp(message) => message.len(),
            Self::Flv(message) => message.len(),
        }
    }

    fn slices<'a>(&'a self, skip: usize, out: &mut Vec<IoSlice<'a>>) {
        match self {
            Self::Rtmp(message) => message.slices(skip, out),
            Self::Flv(message) => message.slices(skip, out),
        }
    }
}
