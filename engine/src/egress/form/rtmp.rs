//! Frames as RTMP messages.
//!
//! Players get events ([`Frame::is_event`]) as AMF3 data messages (*RTMP Specification 1.0*, 7.1.2): ffmpeg and librtmp, which
//! would make a track of data of them, skip these; who reads them finds the same AMF0 values behind a zero. Servers get
//! them as they were published.

use super::{Content, Encoded};
use crate::media::flv::{ON_METADATA, SET_DATA_FRAME};
use crate::media::{Frame, FrameKind};
use crate::proto::chunk::{WireMessage, csid};
use crate::proto::message::message_type::DATA_AMF3;
use bytes::{BufMut, Bytes, BytesMut};

/// The message stream of players and targets: nearly all use the first one that they create.
const USUAL_STREAM: u32 = 1;

/// Puts frames behind each other, on message stream [`USUAL_STREAM`].
pub(super) fn encode(frames: &[Frame], buffer: &mut BytesMut) -> Encoded {
    let mut content = Content::default();
    for frame in frames {
        wire_message(frame.clone(), USUAL_STREAM, false).encode(buffer);
        content.add(frame);
    }
    Encoded { bytes: buffer.split().freeze(), content }
}

fn wire_message(frame: Frame, stream_id: u32, to_server: bool) -> WireMessage {
    let is_event = frame.is_event();
    let Frame { kind, timestamp, payload, .. } = frame;
    let (csid, type_id, payload) = match kind {
        FrameKind::Audio => (csid::AUDIO, kind.type_id(), payload),
        FrameKind::Video => (csid::VIDEO, kind.type_id(), payload),
        FrameKind::Data if to_server => (csid::STREAM, kind.type_id(), as_published(payload)),
        FrameKind::Data if is_event => (csid::STREAM, DATA_AMF3, behind(&[0], &payload)),
        FrameKind::Data => (csid::STREAM, kind.type_id(), payload),
    };
    WireMessage::new(csid, type_id, stream_id, timestamp, payload)
}

/// RTMP messages for one peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RtmpFraming {
    stream_id: u32,
    /// Its own chunk size, where it has one.
    chunk_size: Option<u32>,
    /// We publish to it: metadata goes with `@setDataFrame`.
    pub(super) publishes: bool,
}

impl RtmpFraming {
    /// For a player on message stream `stream_id`.
    pub(crate) fn player(stream_id: u32) -> Self {
        Self { stream_id, chunk_size: None, publishes: false }
    }

    /// For a server to which we publish on message stream `stream_id`, in chunks of that many bytes, which have been
    /// announced to it, or of the usual size.
    pub(crate) fn server(stream_id: u32, chunk_size: Option<u32>) -> Self {
        Self { stream_id, chunk_size, publishes: true }
    }

    /// Whether frames look the same as to most others.
    pub(super) fn is_usual(&self) -> bool {
        self.stream_id == USUAL_STREAM && self.chunk_size.is_none()
    }

    pub(super) fn message(&self, frame: Frame) -> WireMessage {
        let message = wire_message(frame, self.stream_id, self.publishes);
        match self.chunk_size {
            Some(size) => message.in_chunks_of(size),
            None => message,
        }
    }
}

/// Metadata as publishers send it.
fn as_published(payload: Bytes) -> Bytes {
    if payload.starts_with(ON_METADATA) { behind(SET_DATA_FRAME, &payload) } else { payload }
}

fn behind(head: &[u8], payload: &[u8]) -> Bytes {
    let mut whole = BytesMut::with_capacity(head.len() + payload.len());
    whole.put_slice(head);
    whole.put_slice(payload);
    whole.freeze()
}
