//! The bytes before a frame's data: legacy FLV and Enhanced RTMP v2 tag bodies.

use super::BodyForm;
use crate::media::codec::audio_frame;
use crate::media::flv::{Codec, FrameType, MAX_TAG_PAYLOAD};
use crate::media::{Frame, FrameKind};
use bytes::{BufMut, BytesMut};
use smallvec::SmallVec;

/// What a body carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// A configuration record.
    Configuration,
    /// A coded frame with its composition time in milliseconds (24 bits, signed).
    Frame { frame_type: FrameType, composition_time: i32 },
}

/// A body that is being written.
pub(super) struct Body {
    kind: FrameKind,
    bytes: BytesMut,
}

/// Header bytes: at most ModEx-free multitrack ones with composition time.
type Header = SmallVec<[u8; 16]>;

impl Body {
    /// Starts a body for `len` bytes of data, which `first` starts with. `None` if it gets longer than a tag, or
    /// there is no way to write the codec as this track.
    pub(super) fn new(
        codec: Codec,
        (track, form): (u8, BodyForm),
        content: Content,
        len: usize,
        first: &[u8],
    ) -> Option<Self> {
        let kind = codec.kind()?;
        let old = legacy(codec, content, first).filter(|_| track == 0);
        let new = || enhanced(kind, codec, track, content);
        let header = match form {
            BodyForm::LegacyFirst => old.or_else(new),
            BodyForm::Enhanced => new().or(old),
        }?;
        let total = header.len().checked_add(len).filter(|&total| total <= MAX_TAG_PAYLOAD)?;
        let mut bytes = BytesMut::with_capacity(total);
        bytes.put_slice(&header);
        Some(Self { kind, bytes })
    }

    pub(super) fn put(&mut self, data: &[u8]) {
        self.bytes.put_slice(data);
    }

    /// A NAL unit behind its length.
    pub(super) fn put_nal(&mut self, nal: &[u8]) {
        self.bytes.put_u32(u32::try_from(nal.len()).unwrap_or_default());
        self.bytes.put_slice(nal);
    }

    pub(super) fn finish(self, timestamp: i64) -> Frame {
        Frame::new(self.kind, timestamp, self.bytes.freeze())
    }
}

/// Whether a codec can be written as this track at all.
pub(super) fn can_write(codec: Codec, track: u8) -> bool {
    match codec {
        Codec::G711a | Codec::G711u => track == 0,
        Codec::FourCc(_) => false,
        _ => codec.fourcc().is_some(),
    }
}

/// FLV 10.1 E.4.2 and E.4.3. `None` for codecs that these do not have.
fn legacy(codec: Codec, content: Content, first: &[u8]) -> Option<Header> {
    const ALAW: u8 = 0x72;
    const MULAW: u8 = 0x82;
    // Rate and channels are fixed for AAC; what counts is in its configuration.
    const AAC: u8 = 0xaf;
    let configuration = content == Content::Configuration;
    let mut header = Header::new();
    match codec {
        Codec::H264 => {
            let (frame_type, composition_time) = content.picture();
            header.push((frame_type << 4) | 7);
            header.push(u8::from(!configuration));
            header.extend(i24(composition_time));
        }
        Codec::Aac => header.extend([AAC, u8::from(!configuration)]),
        Codec::Mp3 => header.push(mp3_sound(first)),
        Codec::G711a => header.push(ALAW),
        Codec::G711u => header.push(MULAW),
        _ => return None,
    }
    Some(header)
}

/// Sound format, rate, 16 bits and channels of an MP3 frame. FLV has no 48 kHz: encoders say 44.1 then.
fn mp3_sound(frame: &[u8]) -> u8 {
    const MP3: u8 = 2;
    const MP3_8_KHZ: u8 = 14;
    let config = audio_frame(Codec::Mp3, frame);
    let stereo = config.is_none_or(|config| config.channels > 1);
    let (format, rate) = match config.map_or(44_100, |config| config.sample_rate) {
        0..=8_000 => (MP3_8_KHZ, 0),
        8_001..=16_000 => (MP3, 1),
        16_001..=24_000 => (MP3, 2),
        _ => (MP3, 3),
    };
    (format << 4) | (rate << 2) | 2 | u8::from(stereo)
}

/// E-RTMP v2 "Enhanced Video" and "Enhanced Audio"; tracks other than 0 as `OneTrack`.
fn enhanced(kind: FrameKind, codec: Codec, track: u8, content: Content) -> Option<Header> {
    const VIDEO_MULTITRACK: u8 = 6;
    const AUDIO_MULTITRACK: u8 = 5;
    let fourcc = codec.fourcc()?;
    let (frame_type, composition_time) = content.picture();
    let timed = codec.has_composition_time() && content != Content::Configuration;
    let packet = match content {
        Content::Configuration => 0,
        // CodedFramesX saves the composition time where there is none.
        Content::Frame { composition_time: 0, .. } if timed => 3,
        Content::Frame { .. } => 1,
    };
    let (start, multitrack) = match kind {
        FrameKind::Video => (0x80 | (frame_type << 4), VIDEO_MULTITRACK),
        FrameKind::Audio => (0x90, AUDIO_MULTITRACK),
        FrameKind::Data => return None,
    };
    let mut header = Header::new();
    if track == 0 {
        header.push(start | packet);
        header.extend(fourcc);
    } else {
        header.extend([start | multitrack, packet]);
        header.extend(fourcc);
        header.push(track);
    }
    if timed && packet == 1 {
        header.extend(i24(composition_time));
    }
    Some(header)
}

impl Content {
    /// Number of the frame type, and composition time.
    fn picture(self) -> (u8, i32) {
        match self {
            Self::Configuration => (1, 0),
            Self::Frame { frame_type: FrameType::Key, composition_time } => (1, composition_time),
            Self::Frame { frame_type: FrameType::Disposable, composition_time } => (3, composition_time),
            Self::Frame { composition_time, .. } => (2, composition_time),
        }
    }
}

fn i24(value: i32) -> [u8; 3] {
    let [_, a, b, c] = value.to_be_bytes();
    [a, b, c]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(codec: Codec, track: u8, content: Content, data: &[u8]) -> Vec<u8> {
        let track = (track, BodyForm::LegacyFirst);
        let mut body = Body::new(codec, track, content, data.len(), data).unwrap();
        body.put(data);
        body.finish(0).payload.to_vec()
    }

    fn frame(frame_type: FrameType, composition_time: i32) -> Content {
        Content::Frame { frame_type, composition_time }
    }

    #[test]
    fn track_0_is_legacy_where_flv_has_the_codec() {
        let (key, inter) = (frame(FrameType::Key, 40), frame(FrameType::Inter, -1));
        assert_eq!(body(Codec::H264, 0, Content::Configuration, b"c"), b"\x17\0\0\0\0c");
        assert_eq!(body(Codec::H264, 0, key, b"f"), b"\x17\x01\0\0\x28f");
        assert_eq!(body(Codec::H264, 0, inter, b"f"), b"\x27\x01\xff\xff\xfff");
        assert_eq!(body(Codec::H264, 0, frame(FrameType::Disposable, 0), b"f"), b"\x37\x01\0\0\0f");
        assert_eq!(body(Codec::Aac, 0, Content::Configuration, b"\x12\x10"), b"\xaf\0\x12\x10");
        assert_eq!(body(Codec::Aac, 0, key, b"f"), b"\xaf\x01f");
        assert_eq!(body(Codec::G711a, 0, key, b"f"), b"\x72f");
        assert_eq!(body(Codec::G711u, 0, key, b"f"), b"\x82f");
    }

    #[test]
    fn mp3_rates_and_channels_are_told_in_the_first_byte() {
        let key = frame(FrameType::Key, 0);
        // 48 kHz stereo, 22.05 kHz mono, 8 kHz (MPEG 2.5) stereo, and what is no MP3.
        for (data, first) in [
            (&b"\xff\xfb\x94\x64"[..], 0x2f),
            (b"\xff\xf3\x90\xc4", 0x2a),
            (b"\xff\xe3\x18\x00", 0xe3),
            (b"x", 0x2f),
        ] {
            assert_eq!(body(Codec::Mp3, 0, key, data)[0], first, "{data:x?}");
        }
    }

    #[test]
    fn all_else_is_enhanced() {
        let (key, inter) = (frame(FrameType::Key, 0), frame(FrameType::Inter, 40));
        assert_eq!(body(Codec::Hevc, 0, Content::Configuration, b"c"), b"\x90hvc1c");
        assert_eq!(body(Codec::Hevc, 0, key, b"f"), b"\x93hvc1f");
        assert_eq!(body(Codec::Vvc, 0, inter, b"f"), b"\xa1vvc1\0\0\x28f");
        assert_eq!(body(Codec::Av1, 0, key, b"f"), b"\x91av01f");
        assert_eq!(body(Codec::Vp9, 0, frame(FrameType::Disposable, 0), b"f"), b"\xb1vp09f");
        assert_eq!(body(Codec::Opus, 0, Content::Configuration, b"c"), b"\x90Opusc");
        assert_eq!(body(Codec::Opus, 0, key, b"f"), b"\x91Opusf");
    }

    #[test]
    fn where_asked_for_track_0_is_enhanced_too_if_there_is_a_fourcc() {
        let start = |codec| {
            let key = frame(FrameType::Key, 0);
            let body = Body::new(codec, (0, BodyForm::Enhanced), key, 1, b"f").unwrap();
            body.finish(0).payload.to_vec()
        };
        assert_eq!(start(Codec::H264), b"\x93avc1");
        assert_eq!(start(Codec::Aac), b"\x91mp4a");
        assert_eq!(start(Codec::G711a), b"\x72", "which has none");
    }

    #[test]
    fn further_tracks_are_one_track_bodies() {
        let key = frame(FrameType::Key, 0);
        assert_eq!(body(Codec::H264, 2, Content::Configuration, b"c"), b"\x96\x00avc1\x02c");
        assert_eq!(body(Codec::H264, 2, key, b"f"), b"\x96\x03avc1\x02f");
        assert_eq!(body(Codec::H264, 2, frame(FrameType::Key, 1), b"f"), b"\x96\x01avc1\x02\0\0\x01f");
        assert_eq!(body(Codec::Aac, 1, Content::Configuration, b"c"), b"\x95\x00mp4a\x01c");
        assert_eq!(body(Codec::Mp3, 1, key, b"f"), b"\x95\x01.mp3\x01f");
        assert!(
            Body::new(Codec::G711a, (1, BodyForm::LegacyFirst), key, 1, b"f").is_none()
                && !can_write(Codec::G711a, 1)
        );
    }

    #[test]
    fn a_body_too_long_for_a_tag_is_refused() {
        let key = frame(FrameType::Key, 0);
        let first = (0, BodyForm::LegacyFirst);
        assert!(Body::new(Codec::H264, first, key, MAX_TAG_PAYLOAD - 4, b"").is_none());
        assert!(Body::new(Codec::H264, first, key, usize::MAX, b"").is_none());
    }
}
