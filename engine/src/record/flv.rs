//! Recordings as FLV: each frame as it came, as a tag of a file whose time begins with it.

use super::pieces::Pieces;
use crate::media::flv::{FileHeader, encode_tag};
use crate::media::metadata::with_file_fields;
use crate::media::{ConfigSlot, Frame, FrameKind};

/// The tags of a file.
#[derive(Default)]
pub(super) struct FlvForm {
    base: i64,
    /// The kinds that the file's header announces.
    announced: Vec<FrameKind>,
    /// Decoder configuration that is news to the file: it comes before the next frame of its track.
    news: Vec<ConfigSlot>,
}

impl FlvForm {
    /// See [`Form::note`](super::cutter::Form::note).
    pub(super) fn note(&mut self, frame: &Frame, known: &[Frame]) -> bool {
        let Some(slot) = frame.flags.config.filter(|_| frame.is_sequence_start()) else { return false };
        let before = known.iter().find(|known| known.flags.config == Some(slot));
        if before.is_some_and(|before| before.payload == frame.payload) {
            return false;
        }
        self.news.retain(|news| *news != slot);
        self.news.push(slot);
        // A track that comes late has its place in the file, where its kind is announced.
        before.is_some() || !self.announced.contains(&frame.kind)
    }

    pub(super) fn begin(&mut self, base: i64, known: &[Frame], out: &mut Pieces) {
        self.base = base;
        self.news.clear();
        let has = |kind: &FrameKind| known.iter().any(|frame| frame.kind == *kind);
        self.announced = [FrameKind::Audio, FrameKind::Video].into_iter().filter(has).collect();
        // Of codecs without configuration nothing is known; then both are announced.
        let has = |kind| self.announced.is_empty() || self.announced.contains(&kind);
        let header = FileHeader { audio: has(FrameKind::Audio), video: has(FrameKind::Video) };
        out.put_slice(&header.encode());
        let metadata = known.iter().find(|frame| frame.is_metadata());
        let payload = with_file_fields(metadata.map(|frame| &frame.payload));
        put_tag(&Frame { timestamp: 0, ..Frame::new(FrameKind::Data, 0, payload) }, out);
        for frame in known.iter().filter(|frame| !frame.is_metadata()) {
            put_tag(&Frame { timestamp: 0, ..frame.clone() }, out);
        }
    }

    pub(super) fn push(&mut self, frame: &Frame, known: &[Frame], out: &mut Pieces) {
        let at = frame.timestamp.saturating_sub(self.base).max(0);
        if frame.has_media() {
            for slot in self.news.extract_if(.., |slot| slot.kind() == Some(frame.kind)) {
                let news = known.iter().find(|known| known.flags.config == Some(slot));
                news.into_iter().for_each(|news| put_tag(&Frame { timestamp: at, ..news.clone() }, out));
            }
        }
        put_tag(&Frame { timestamp: at, ..frame.clone() }, out);
    }
}

/// Longer payloads than tags can have are no media of a stream.
fn put_tag(frame: &Frame, out: &mut Pieces) {
    if let Some(framing) = encode_tag(frame) {
        out.put_slice(&framing.header);
        out.put(&frame.payload);
        out.put_slice(&framing.trailer);
    }
}
