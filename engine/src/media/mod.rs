//! Media as it crosses the engine: frames, FLV tags (legacy and enhanced) and codec configurations.
//!
//! A frame's payload is the RTMP message body = the FLV tag body, byte for byte as the publisher sent it.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used, clippy::expect_used)]

#[cfg(feature = "mp4")]
pub(crate) mod audio_clock;
pub mod codec;
pub mod elementary;
pub mod flv;
pub mod flv_file;
#[cfg(feature = "mp4")]
pub mod fmp4;
mod frame_duration;
pub mod looping;
pub mod media_file;
pub mod metadata;
#[cfg(feature = "mp4")]
pub mod mp4_file;
pub mod probe;
mod timestamp;
#[cfg(feature = "http")]
pub mod ts;

use bytes::Bytes;
use serde::Serialize;
use std::fmt;
pub use timestamp::TimestampUnwrapper;

/// Nanoseconds of a millisecond.
pub(crate) const NANOS_PER_MS: i64 = 1_000_000;

/// Which of the three kinds of RTMP media message a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FrameKind {
    /// Audio: message and FLV tag type 8.
    Audio,
    /// Video: message and FLV tag type 9.
    Video,
    /// Data such as `onMetaData`, AMF0-encoded: message and FLV tag type 18.
    Data,
}

impl FrameKind {
    /// The RTMP message type and FLV tag type.
    pub fn type_id(self) -> u8 {
        match self {
            Self::Audio => 8,
            Self::Video => 9,
            Self::Data => 18,
        }
    }
}

/// What a frame is, read from the first bytes of its payload by [`flv::classify`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FrameFlags {
    /// A video frame from which decoding can start.
    pub keyframe: bool,
    /// A video frame from which a picture builds up although it is not marked as a keyframe: an H.264 or HEVC recovery
    /// point (encoders with intra-refresh send no keyframes after the first), or a picture that refers to no other.
    pub recovery: bool,
    /// Decoder configuration that a joining player needs before the first frame: a sequence header, E-RTMP
    /// `MultichannelConfig` or video `Metadata`, or `onMetaData`. The value names the slot: a newer frame with
    /// the same slot replaces the older one.
    pub config: Option<ConfigSlot>,
    /// A frame that no other frame refers to (disposable inter frame).
    pub discardable: bool,
    /// The Enhanced RTMP track, of several the first; 0 for all else.
    pub track: u8,
}

/// Identifies one piece of decoder configuration of a stream: kind, packet type and track.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConfigSlot(pub u32);

/// Something that a file has and a stream made of it has not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NotCarried {
    /// What it is: `audio track 2 (PCM)`.
    pub what: String,
    /// The options of ffmpeg that make something of it that is carried: `-c:v copy -c:a aac`.
    pub options: &'static str,
}

impl fmt::Display for NotCarried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

/// One media message: the unit that publishers push and subscribers get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Audio, video or data.
    pub kind: FrameKind,
    /// Decoding time in milliseconds, unwrapped to 64 bits: it passes 2^32 without going back.
    pub timestamp: i64,
    /// The message body exactly as it came. Data frames start with the event's name (`onMetaData`);
    /// `@setDataFrame` is already removed.
    pub payload: Bytes,
    /// What the frame is.
    pub flags: FrameFlags,
}

impl Frame {
    /// A frame with its flags read from the payload.
    pub fn new(kind: FrameKind, timestamp: i64, payload: Bytes) -> Self {
        let flags = flv::classify(kind, &payload);
        Self { kind, timestamp, payload, flags }
    }

    /// Whether this is decoder configuration or metadata rather than a coded frame.
    pub fn is_config(&self) -> bool {
        self.flags.config.is_some()
    }

    /// Whether this is audio or video that can be decoded, as far as its header tells: no data, configuration or command, and
    /// not empty. What keeps a stream alive by sending nothing is none.
    pub fn has_media(&self) -> bool {
        self.kind != FrameKind::Data && !self.is_config() && flv::has_media(self.kind, &self.payload)
    }

    /// Whether this is the decoder configuration of an audio or video track.
    pub(crate) fn is_sequence_start(&self) -> bool {
        self.flags.config.is_some_and(flv::is_sequence_start)
    }

    /// Whether this is `onMetaData`, which describes the stream as a whole. In a stream its time is always 0, as other
    /// servers send it: ffmpeg takes a script tag at any other time for a track of subtitles.
    pub fn is_metadata(&self) -> bool {
        self.flags.config == Some(flv::METADATA_SLOT)
    }

    /// Whether this is a data event that is neither metadata nor text, such as `onCuePoint`: ffmpeg makes a track of
    /// unknown data of it.
    pub(crate) fn is_event(&self) -> bool {
        self.kind == FrameKind::Data && !self.is_metadata() && !flv::is_text(&self.payload)
    }
}
