//! Frames as RTMP messages.

use super::{Content, Encoded};
use crate::media::flv::{ON_METADATA, SET_DATA_FRAME};
use crate::media::{Frame, FrameKind};
use crate::proto::chunk::{WireMessage, csid};
use bytes::{BufMut, Bytes, BytesMut};

/// The message stream of players and targets: nearly all use the first one that they create.
const USUAL_STREAM: u32 = 1;

/// Puts frames behind each other, on message stream [`USUAL_STREAM`].
pub(super) fn encode(frames: &[Frame], buffer: &mut BytesMut) -> Encoded {
    let mut content = Content::default();
    for frame in frames {
        wire_message(frame.clone(), USUAL_STREAM).encode(buffer);
        content.add(frame);
    }
    Encoded { bytes: buffer.split().freeze(), content }
}

fn wire_message(frame: Frame, stream_id: u32) -> WireMessage {
    let csid = match frame.kind {
        FrameKind::Audio => csid::AUDIO,
        FrameKind::Video => csid::VIDEO,
        FrameKind::Data => csid::STREAM,
    };
    WireMessage::new(csid, frame.kind.type_id(), stream_id, frame.timestamp, frame.payload)
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
        let payload = match frame.kind {
            FrameKind::Data if self.publishes => as_published(frame.payload),
            _ => frame.payload,
        };
        let message = wire_message(Frame { payload, ..frame }, self.stream_id);
        match self.chunk_size {
            Some(size) => message.in_chunks_of(size),
            None => message,
        }
    }
}

/// Metadata as publishers send it.
fn as_published(payload: Bytes) -> Bytes {
    if !payload.starts_with(ON_METADATA) {
        return payload;
    }
    let mut published = BytesMut::with_capacity(SET_DATA_FRAME.len() + payload.len());
    published.put_slice(SET_DATA_FRAME);
    published.put_slice(&payload);
    published.freeze()
}
