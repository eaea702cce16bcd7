//! FLV file headers and tags.
//!
//! Source: Adobe FLV specification 10.1 annex E.

use super::{Cursor, strip_set_data_frame};
use crate::media::{Frame, FrameKind};
use bytes::Bytes;
use std::fmt;

/// Bytes of a tag's header.
pub const TAG_HEADER_LEN: usize = 11;

/// Longest payload of a tag: its length field has 24 bits.
pub const MAX_TAG_PAYLOAD: usize = 0x00ff_ffff;

/// Which tracks a FLV file announces. Readers should not rely on it, but browsers' players do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileHeader {
    /// The file has audio tags.
    pub audio: bool,
    /// The file has video tags.
    pub video: bool,
}

/// Bytes of a FLV file's header, up to the first "previous tag size".
pub const FILE_HEADER_LEN: usize = 9;

impl FileHeader {
    /// The header and the zero "previous tag size" after it, ready for the first tag.
    pub fn encode(self) -> [u8; 13] {
        let flags = (u8::from(self.audio) << 2) | u8::from(self.video);
        [b'F', b'L', b'V', 1, flags, 0, 0, 0, 9, 0, 0, 0, 0]
    }

    /// Reads a header; returns it with the offset of the first "previous tag size".
    ///
    /// # Errors
    /// [`HeaderError`] names the offset of the first wrong byte.
    pub fn parse(bytes: &[u8]) -> Result<(Self, u32), HeaderError> {
        let mut cursor = Cursor::new(bytes);
        let signature = cursor.take(3).ok_or(HeaderError::Truncated)?;
        if signature != b"FLV" {
            return Err(HeaderError::Signature);
        }
        let version = cursor.u8().ok_or(HeaderError::Truncated)?;
        if version != 1 {
            return Err(HeaderError::Version(version));
        }
        let flags = cursor.u8().ok_or(HeaderError::Truncated)?;
        let offset = cursor.u32().ok_or(HeaderError::Truncated)?;
        if offset < 9 {
            return Err(HeaderError::Offset(offset));
        }
        Ok((Self { audio: flags & 4 != 0, video: flags & 1 != 0 }, offset))
    }
}

/// What is wrong with a FLV file's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderError {
    /// Fewer than nine bytes.
    Truncated,
    /// It does not start with `FLV`.
    Signature,
    /// The version (byte 3) is not 1.
    Version(u8),
    /// The data offset (byte 5) points into the header.
    Offset(u32),
    /// The data offset (byte 5) points behind the file's end, or further than any writer puts the first tag.
    Far(u32),
}

impl HeaderError {
    /// Offset of the wrong byte.
    pub fn position(self) -> u64 {
        match self {
            Self::Truncated | Self::Signature => 0,
            Self::Version(_) => 3,
            Self::Offset(_) | Self::Far(_) => 5,
        }
    }
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("FLV header is cut short"),
            Self::Signature => f.write_str("not an FLV file: it does not start with \"FLV\""),
            Self::Version(version) => write!(f, "FLV version {version} is not supported"),
            Self::Offset(offset) => write!(f, "FLV data offset {offset} points into the header"),
            Self::Far(offset) => write!(f, "data offset {offset} is beyond the file's end"),
        }
    }
}

/// The eleven bytes before a tag's payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TagHeader {
    /// The whole type byte: tag type (8 audio, 9 video, 15 and 18 script) and filter bit 0x20.
    pub tag_type: u8,
    /// Bytes of the payload.
    pub length: u32,
    /// Milliseconds modulo 2^32: 24 bits, then the top 8.
    pub timestamp: u32,
    /// Stream id; always 0 in files.
    pub stream_id: u32,
}

impl TagHeader {
    /// Reads a tag header.
    pub fn parse(bytes: &[u8; TAG_HEADER_LEN]) -> Self {
        let [tag_type, l0, l1, l2, t1, t2, t3, t0, s0, s1, s2] = *bytes;
        Self {
            tag_type,
            length: u32::from_be_bytes([0, l0, l1, l2]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            stream_id: u32::from_be_bytes([0, s0, s1, s2]),
        }
    }

    /// Writes a tag header. Only the low 24 bits of length and stream id have room.
    pub fn encode(self) -> [u8; TAG_HEADER_LEN] {
        let [_, l0, l1, l2] = self.length.to_be_bytes();
        let [t0, t1, t2, t3] = self.timestamp.to_be_bytes();
        let [_, s0, s1, s2] = self.stream_id.to_be_bytes();
        [self.tag_type, l0, l1, l2, t1, t2, t3, t0, s0, s1, s2]
    }

    /// What the tag is, from its type byte.
    pub fn content(self) -> TagContent {
        const FILTER: u8 = 0x20;
        match (self.tag_type & !FILTER, self.tag_type & FILTER != 0) {
            (8 | 9 | 15 | 18, true) => TagContent::Encrypted,
            (8, false) => TagContent::Frame(FrameKind::Audio),
            (9, false) => TagContent::Frame(FrameKind::Video),
            (15 | 18, false) => TagContent::Frame(FrameKind::Data),
            _ => TagContent::Unknown,
        }
    }

    /// The tag as a frame at the unwrapped time `timestamp`. A leading `@setDataFrame`, and the zero byte of an
    /// AMF3 script tag (type 15), are removed. `None` for what is no frame.
    pub fn frame(self, timestamp: i64, mut payload: Bytes) -> Option<Frame> {
        const AMF3_SCRIPT: u8 = 15;
        let TagContent::Frame(kind) = self.content() else { return None };
        if self.tag_type == AMF3_SCRIPT && payload.first() == Some(&0) {
            payload = payload.slice(1..);
        }
        if kind == FrameKind::Data {
            payload = strip_set_data_frame(payload);
        }
        Some(Frame::new(kind, timestamp, payload))
    }

    /// Bytes of header and payload: the "previous tag size" that follows them.
    pub fn size(self) -> u32 {
        self.length.saturating_add(11)
    }
}

/// What a tag's type byte says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TagContent {
    /// A frame of this kind.
    Frame(FrameKind),
    /// A frame that is encrypted (filter bit).
    Encrypted,
    /// Nothing that the specification defines.
    Unknown,
}

/// What stands around a payload to make it an FLV tag: the payload itself is not copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TagFraming {
    /// Comes before the payload.
    pub header: [u8; TAG_HEADER_LEN],
    /// "Previous tag size", after the payload.
    pub trailer: [u8; 4],
}

/// The bytes around `frame`'s payload as an FLV tag, its time taken modulo 2^32 ms.
///
/// `None` when the payload is longer than [`MAX_TAG_PAYLOAD`].
pub fn encode_tag(frame: &Frame) -> Option<TagFraming> {
    let length = frame.payload.len();
    (length <= MAX_TAG_PAYLOAD).then(|| TagFraming::new(frame.kind, frame.timestamp, length))
}

impl TagFraming {
    /// For a payload of so many bytes, no more than [`MAX_TAG_PAYLOAD`].
    pub(crate) fn new(kind: FrameKind, timestamp: i64, length: usize) -> Self {
        let header = TagHeader {
            tag_type: kind.type_id(),
            length: u32::try_from(length).unwrap_or(u32::MAX),
            timestamp: wire_timestamp(timestamp),
            stream_id: 0,
        };
        Self { header: header.encode(), trailer: header.size().to_be_bytes() }
    }
}

fn wire_timestamp(time: i64) -> u32 {
    let [_, _, _, _, a, b, c, d] = time.to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}
