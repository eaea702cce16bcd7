//! Frames as FLV tags, for players over HTTP.

use super::envelope::{Envelope, MAX_CLOSING, MAX_OPENING, MAX_TAG_OPENING};
use super::{Content, Encoded, Form, put_slices};
use crate::hub::{Batch, MainIds, StreamTracks, TrackCodec};
use crate::media::flv::browser::{self, Adapted, Head, MAX_HEAD};
use crate::media::flv::{FileHeader, MAX_TAG_PAYLOAD, TAG_HEADER_LEN, TagFraming};
use crate::media::{Frame, FrameKind};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::IoSlice;
use std::num::NonZeroU32;

/// Bytes behind a tag: its size.
const TRAILER_LEN: usize = 4;

/// What of a stream a player gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flavour {
    /// What players in browsers know: see [`browser`].
    Browser,
    /// All tracks, as they came.
    Full,
}

impl Flavour {
    /// Whether a player gets anything of such a track.
    pub(crate) fn has(self, track: TrackCodec) -> bool {
        match self {
            Self::Browser => browser::plays(track.codec, track.is_enhanced),
            Self::Full => true,
        }
    }

    /// The FLV header of a stream with these tracks: players in browsers wait for all that it announces. Of a stream that
    /// has not shown any so far both are announced.
    pub(crate) fn header(self, tracks: &StreamTracks) -> FileHeader {
        let is_unknown = tracks.audio.is_none() && tracks.video.is_none();
        let has = |track: Option<TrackCodec>| is_unknown || track.is_some_and(|track| self.has(track));
        FileHeader { audio: has(tracks.audio), video: has(tracks.video) }
    }

    /// The frame's payload, `None` where it is nothing for such a player, or has no room in a tag.
    fn adapt(self, frame: &Frame, main: MainIds) -> Option<Adapted> {
        let adapted = match self {
            Self::Browser => browser::adapt(frame, main.of(frame.kind))?,
            Self::Full => Adapted { head: Head::default(), data: frame.payload.clone() },
        };
        let len = adapted.head.as_slice().len() + adapted.data.len();
        (len <= MAX_TAG_PAYLOAD).then_some(adapted)
    }
}

/// Puts a batch's frames behind each other as tags, in one envelope.
pub(super) fn encode(envelope: Envelope, flavour: Flavour, batch: &Batch, buffer: &mut BytesMut) -> Encoded {
    let payloads: usize = batch.frames.iter().map(|frame| frame.payload.len()).sum();
    let around = batch.frames.len() * (TAG_HEADER_LEN + MAX_HEAD + TRAILER_LEN);
    buffer.reserve(MAX_OPENING + around + payloads + MAX_CLOSING);
    buffer.put_bytes(0, MAX_OPENING);
    let mut content = Content::default();
    for frame in &batch.frames {
        if let Some(Adapted { head, data }) = flavour.adapt(frame, batch.main) {
            let timestamp = if frame.is_metadata() { 0 } else { frame.timestamp };
            let tag = framing(frame.kind, timestamp, head, &data);
            for part in [&tag.header[..], head.as_slice(), &data, &tag.trailer] {
                buffer.put_slice(part);
            }
            content.add(frame);
        }
    }
    if content.frames == 0 {
        buffer.clear();
        return Encoded::default();
    }
    let opening = envelope.opening(buffer.len() - MAX_OPENING);
    buffer.put_slice(envelope.closing());
    // How long it is shows now only: it ends where the tags begin.
    let start = MAX_OPENING - opening.len();
    buffer[start..MAX_OPENING].copy_from_slice(&opening);
    buffer.advance(start);
    Encoded { bytes: buffer.split().freeze(), content }
}

/// What stands around a payload of head and data.
fn framing(kind: FrameKind, timestamp: i64, head: Head, data: &[u8]) -> TagFraming {
    TagFraming::new(kind, timestamp, head.as_slice().len() + data.len())
}

/// FLV tags for one player.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FlvFraming {
    envelope: Envelope,
    flavour: Flavour,
    /// What it has been told that there is: it gets nothing else.
    announced: FileHeader,
    /// It has asked for one kind of media only.
    is_partial: bool,
    /// See [`Self::late_kind`].
    late: Option<FrameKind>,
    /// Tells the video configuration that was sent last from others.
    video_config: Option<NonZeroU32>,
    /// The video configuration has changed, and no picture has followed.
    has_changed: bool,
}

impl FlvFraming {
    /// For a player of whom nothing is known yet but what it wants, and which gets all that `announced` says.
    pub(crate) fn new(envelope: Envelope, flavour: Flavour, announced: FileHeader) -> Self {
        Self {
            envelope,
            flavour,
            announced,
            is_partial: false,
            late: None,
            video_config: None,
            has_changed: false,
        }
    }

    /// The same for a player that wants one kind of media only, audio or video.
    #[must_use]
    pub(crate) fn only(self, kind: FrameKind) -> Self {
        let FileHeader { audio, video } = self.announced;
        let announced =
            FileHeader { audio: audio && kind == FrameKind::Audio, video: video && kind == FrameKind::Video };
        Self { announced, is_partial: true, ..self }
    }

    /// What comes first: the FLV header.
    pub(crate) fn head(&self) -> Bytes {
        self.envelope.wrap(&self.announced.encode())
    }

    /// A kind of media that has come and is left out, as it was not announced: players in browsers cannot begin with it
    /// late. `None` for what the player does not want.
    pub(super) fn late_kind(&self) -> Option<FrameKind> {
        self.late
    }

    pub(super) fn form(&self) -> Option<Form> {
        let is_usual = !self.is_partial && self.late.is_none() && !self.has_changed;
        is_usual.then_some(Form::Flv(self.envelope, self.flavour))
    }

    /// Whether all of this has been announced.
    pub(super) fn announces(&self, content: &Content) -> bool {
        let [audio, video, _] = content.has;
        (self.announced.audio || !audio) && (self.announced.video || !video)
    }

    fn is_announced(&self, kind: FrameKind) -> bool {
        match kind {
            FrameKind::Audio => self.announced.audio,
            FrameKind::Video => self.announced.video,
            FrameKind::Data => true,
        }
    }

    pub(super) fn adapt(&mut self, frame: Frame, main: MainIds) -> Option<(Head, Frame)> {
        let Adapted { head, data } = self.flavour.adapt(&frame, main)?;
        if !self.is_announced(frame.kind) {
            self.late = self.late.or((!self.is_partial).then_some(frame.kind));
            return None;
        }
        Some((head, Frame { payload: data, ..frame }))
    }

    /// After another video configuration mpegts.js loses the last picture of the one before, and freezes where the hole
    /// is longer than browsers bridge: so the next picture follows at once.
    pub(super) fn time_of(&mut self, frame: &Frame, newest: Option<i64>, main: MainIds) -> i64 {
        let is_main = frame.kind == FrameKind::Video && frame.flags.track == main.of(frame.kind);
        let Some(newest) = newest.filter(|_| is_main) else {
            self.note_config(frame, is_main);
            return frame.timestamp;
        };
        let follows = newest.saturating_add(1).min(frame.timestamp);
        if self.note_config(frame, is_main) {
            self.has_changed = true;
        }
        let is_moved = match frame.is_config() {
            true => self.has_changed,
            false => std::mem::take(&mut self.has_changed),
        };
        if is_moved { follows } else { frame.timestamp }
    }

    /// Whether the frame is another video configuration than the one before it.
    fn note_config(&mut self, frame: &Frame, is_main: bool) -> bool {
        if !is_main || !frame.is_sequence_start() {
            return false;
        }
        let mut hasher = DefaultHasher::new();
        frame.payload.hash(&mut hasher);
        // Few bits, so that deliveries of other protocols get no longer for it.
        let mark = NonZeroU32::new(hasher.finish() as u32 | 1);
        let before = std::mem::replace(&mut self.video_config, mark);
        before.is_some() && before != mark
    }

    pub(super) fn message(&self, head: Head, frame: Frame) -> FlvMessage {
        let tag = framing(frame.kind, frame.timestamp, head, &frame.payload);
        let len = TAG_HEADER_LEN + head.as_slice().len() + frame.payload.len() + TRAILER_LEN;
        let opening = self.envelope.opening(len);
        FlvMessage {
            head: Piece::of([&opening, &tag.header, head.as_slice()]),
            payload: frame.payload,
            tail: Piece::of([&tag.trailer, self.envelope.closing(), &[]]),
        }
    }
}

/// One tag in its envelope.
#[derive(Debug)]
pub(crate) struct FlvMessage {
    head: Piece<{ MAX_TAG_OPENING + TAG_HEADER_LEN + MAX_HEAD }>,
    payload: Bytes,
    tail: Piece<{ TRAILER_LEN + MAX_CLOSING }>,
}

impl FlvMessage {
    pub(super) fn len(&self) -> usize {
        self.head.as_slice().len() + self.payload.len() + self.tail.as_slice().len()
    }

    /// Appends the slices that remain after the first `skip` bytes, for a vectored write.
    pub(super) fn slices<'a>(&'a self, skip: usize, out: &mut Vec<IoSlice<'a>>) {
        put_slices([self.head.as_slice(), &self.payload, self.tail.as_slice()], skip, out);
    }
}

/// Up to `N` bytes, in place.
#[derive(Debug)]
struct Piece<const N: usize> {
    bytes: [u8; N],
    len: u8,
}

impl<const N: usize> Piece<N> {
    fn of(parts: [&[u8]; 3]) -> Self {
        let (mut bytes, mut len) = ([0; N], 0);
        for part in parts {
            bytes[len..len + part.len()].copy_from_slice(part);
            len += part.len();
        }
        Self { bytes, len: len as u8 }
    }

    fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

#[cfg(test)]
mod tests;
