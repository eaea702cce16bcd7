//! Forms: the ways in which frames become bytes on connections. The rest of egress knows no protocol.
//!
//! A batch is put into a form once, when the first output wants it so, and all outputs of that form share the bytes. What
//! a single delivery gets by itself (it has just joined, or is not like the others) its [`Framing`] makes message by
//! message. A new form is a variant of each enumeration here and a file beside `rtmp.rs`.

mod envelope;
mod flv;
#[cfg(feature = "mp4")]
mod mp4;
mod rtmp;

pub(crate) use envelope::Envelope;
pub(crate) use flv::{Flavour, FlvFraming};
#[cfg(feature = "mp4")]
pub(super) use mp4::Descriptions;
#[cfg(feature = "mp4")]
pub(crate) use mp4::{Mp4Framing, Mp4Tracks};
pub(crate) use rtmp::RtmpFraming;

use super::WireBatch;
use crate::hub::{Batch, MainIds};
use crate::media::{Frame, FrameKind};
use crate::net::Segments;
use crate::proto::chunk::WireMessage;
use bytes::{Bytes, BytesMut};
use flv::FlvMessage;
#[cfg(feature = "mp4")]
use mp4::Mp4Message;
use std::io::IoSlice;

/// What batches can be put into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// RTMP messages, chunk headers included, on the message stream that nearly all peers use.
    Rtmp,
    /// FLV tags.
    Flv(Envelope, Flavour),
    /// Fragments of MP4.
    #[cfg(feature = "mp4")]
    Mp4(Envelope),
}

impl Form {
    pub(super) const ALL: [Self; if cfg!(feature = "mp4") { 10 } else { 7 }] = [
        Self::Rtmp,
        Self::Flv(Envelope::Plain, Flavour::Browser),
        Self::Flv(Envelope::Plain, Flavour::Full),
        Self::Flv(Envelope::Chunked, Flavour::Browser),
        Self::Flv(Envelope::Chunked, Flavour::Full),
        Self::Flv(Envelope::WebSocket, Flavour::Browser),
        Self::Flv(Envelope::WebSocket, Flavour::Full),
        #[cfg(feature = "mp4")]
        Self::Mp4(Envelope::Plain),
        #[cfg(feature = "mp4")]
        Self::Mp4(Envelope::Chunked),
        #[cfg(feature = "mp4")]
        Self::Mp4(Envelope::WebSocket),
    ];

    /// Its place in [`Self::ALL`].
    pub(super) fn index(self) -> usize {
        match self {
            Self::Rtmp => 0,
            Self::Flv(envelope, flavour) => 1 + 2 * envelope as usize + flavour as usize,
            #[cfg(feature = "mp4")]
            Self::Mp4(envelope) => 7 + envelope as usize,
        }
    }

    /// All frames in one piece: one copy of them for all outputs, and one slice per write, which costs the kernel less
    /// than several.
    pub(super) fn encode(self, batch: &Batch, buffer: &mut BytesMut) -> Encoded {
        match self {
            Self::Rtmp => rtmp::encode(&batch.frames, buffer),
            Self::Flv(envelope, flavour) => flv::encode(envelope, flavour, batch, buffer),
            #[cfg(feature = "mp4")]
            Self::Mp4(envelope) => mp4::encode(envelope, batch, buffer),
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Framing {
    /// RTMP messages.
    Rtmp(RtmpFraming),
    /// FLV tags.
    Flv(FlvFraming),
    /// Fragments of MP4.
    #[cfg(feature = "mp4")]
    Mp4(Box<Mp4Framing>),
}

impl Framing {
    /// The form in which it can share batches; `None` where each frame has to be written for it alone.
    pub(super) fn form(&self) -> Option<Form> {
        match self {
            Self::Rtmp(framing) => framing.is_usual().then_some(Form::Rtmp),
            Self::Flv(framing) => framing.form(),
            #[cfg(feature = "mp4")]
            Self::Mp4(framing) => framing.form(),
        }
    }

    /// Whether it gets this batch as all others of its form.
    pub(super) fn shares(&self, batch: &WireBatch, form: Form) -> bool {
        match self {
            Self::Rtmp(framing) => !framing.publishes || !batch.has_data,
            Self::Flv(framing) => !batch.changes_video && framing.announces(&batch.encoded(form).content),
            #[cfg(feature = "mp4")]
            Self::Mp4(framing) => {
                !batch.changes_decoding && framing.has_tracks_for(&batch.encoded(form).content)
            }
        }
    }

    /// A frame as it goes to this peer, which has got one of its kind at `newest`; `None` where it is nothing for it. `place`
    /// is given what goes out and its stream time, and tells the time that it goes out with.
    pub(super) fn message(
        &mut self,
        frame: Frame,
        main: MainIds,
        newest: Option<i64>,
        place: impl FnOnce(&Frame, i64) -> i64,
    ) -> Option<Message> {
        Some(match self {
            Self::Rtmp(framing) => {
                let timestamp = place(&frame, frame.timestamp);
                Message::Rtmp(framing.message(Frame { timestamp, ..frame }))
            }
            Self::Flv(framing) => {
                let (head, frame) = framing.adapt(frame, main)?;
                let timestamp = place(&frame, framing.time_of(&frame, newest, main));
                Message::Flv(framing.message(head, Frame { timestamp, ..frame }))
            }
            #[cfg(feature = "mp4")]
            Self::Mp4(framing) => {
                let (coded, frame) = framing.adapt(frame, main)?;
                let timestamp = place(&frame, frame.timestamp);
                Message::Mp4(framing.message(coded, Frame { timestamp, ..frame }))
            }
        })
    }

    /// A kind of media that has come and is left out, as the peer was not told that there is such.
    pub(super) fn late_kind(&self) -> Option<FrameKind> {
        match self {
            Self::Rtmp(_) => None,
            Self::Flv(framing) => framing.late_kind(),
            #[cfg(feature = "mp4")]
            Self::Mp4(framing) => framing.late_kind(),
        }
    }
}

/// A frame on its way to one peer, its payload shared.
#[derive(Debug)]
pub(crate) enum Message {
    Rtmp(WireMessage),
    Flv(FlvMessage),
    #[cfg(feature = "mp4")]
    Mp4(Mp4Message),
}

impl Segments for Message {
    fn len(&self) -> usize {
        match self {
            Self::Rtmp(message) => message.len(),
            Self::Flv(message) => message.len(),
            #[cfg(feature = "mp4")]
            Self::Mp4(message) => message.len(),
        }
    }

    fn slices<'a>(&'a self, skip: usize, out: &mut Vec<IoSlice<'a>>) {
        match self {
            Self::Rtmp(message) => message.slices(skip, out),
            Self::Flv(message) => message.slices(skip, out),
            #[cfg(feature = "mp4")]
            Self::Mp4(message) => message.slices(skip, out),
        }
    }
}

/// Appends the slices of pieces that remain after the first `skip` bytes, for a vectored write.
fn put_slices<'a>(pieces: [&'a [u8]; 3], mut skip: usize, out: &mut Vec<IoSlice<'a>>) {
    for piece in pieces {
        match piece.get(skip..) {
            Some([]) | None => skip -= piece.len(),
            Some(rest) => {
                out.push(IoSlice::new(rest));
                skip = 0;
            }
        }
    }
}
