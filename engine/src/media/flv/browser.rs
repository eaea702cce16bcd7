//! Payloads as players in browsers take them (mpegts.js, flv.js), which make MP4 of FLV for the browser's own decoders.
//!
//! They know legacy FLV, and of Enhanced RTMP single tracks of HEVC, AV1, Opus and FLAC. Anything else is an error at which
//! playback stops, so it is put into a way that they know, or left out. Source: mpegts.js 1.8, `src/demux/flv-demuxer.js`.

use super::{Codec, FrameType, PacketType, PayloadInfo, Track};
use crate::media::{Frame, FrameKind, metadata};
use bytes::Bytes;

/// Fields of `onMetaData` that such players believe more than the FLV header: where one of the tracks is left out, or
/// never comes, they would wait for it for ever.
const TRACK_FIELDS: [&[u8]; 2] = [b"hasAudio", b"hasVideo"];

/// Longest [`Head`]: first byte, FourCC and composition time.
pub(crate) const MAX_HEAD: usize = 8;

/// The bytes before a payload's data, where they are not those that it came with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Head {
    bytes: [u8; MAX_HEAD],
    len: u8,
}

impl Head {
    /// Of the bytes, no more than [`MAX_HEAD`].
    fn with(mut self, bytes: &[u8]) -> Self {
        for byte in bytes {
            if let Some(place) = self.bytes.get_mut(usize::from(self.len)) {
                *place = *byte;
                self.len = self.len.saturating_add(1);
            }
        }
        self
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

/// A payload in two pieces, the second one shared with the frame that it is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Adapted {
    /// Empty where the payload is as it came.
    pub(crate) head: Head,
    /// What follows the head.
    pub(crate) data: Bytes,
}

/// Whether such players can play a codec, as the payloads of a track have it: legacy, or Enhanced RTMP.
pub(crate) fn plays(codec: Codec, is_enhanced: bool) -> bool {
    match codec {
        Codec::H264 | Codec::Hevc | Codec::Av1 | Codec::Aac | Codec::Mp3 | Codec::Pcm => true,
        // The legacy form of Chinese networks has no configuration.
        Codec::Opus | Codec::Flac => is_enhanced,
        _ => false,
    }
}

/// Whether a payload is Enhanced RTMP.
pub(crate) fn is_enhanced(kind: FrameKind, payload: &[u8]) -> bool {
    let first = payload.first().copied().unwrap_or_default();
    match kind {
        FrameKind::Audio => first >> 4 == 9,
        FrameKind::Video => first & 0x80 != 0,
        FrameKind::Data => false,
    }
}

/// A frame's payload for such players, who get one track of each kind: the one with number `track` of this kind. `None`
/// where it is nothing for them.
pub(crate) fn adapt(frame: &Frame, track: u8) -> Option<Adapted> {
    let Frame { kind, payload, .. } = frame;
    let as_it_is = |data: Bytes| Some(Adapted { head: Head::default(), data });
    if is_understood(*kind, payload, track) {
        return as_it_is(payload.clone());
    }
    if frame.is_event() {
        return None;
    }
    if *kind == FrameKind::Data {
        return as_it_is(metadata::without(payload, &TRACK_FIELDS));
    }
    let info = PayloadInfo::parse(*kind, payload)?;
    let its = info.tracks(payload).find(|its| its.id == track)?;
    if !plays(its.codec, is_enhanced(*kind, payload)) || (info.packet.is_coded() && its.data.is_empty()) {
        return None;
    }
    let head = match kind {
        FrameKind::Video => video_head(&info, &its, payload)?,
        _ => audio_head(&info, &its, payload)?,
    };
    let data = if info.packet == PacketType::SequenceEnd { &[] } else { its.data };
    // Most are as they should be.
    match payload.strip_prefix(head.as_slice()) {
        Some(rest) if rest == data => as_it_is(payload.clone()),
        _ => Some(Adapted { head, data: payload.slice_ref(data) }),
    }
}

/// What nearly all frames are: legacy H.264 or AAC.
fn is_understood(kind: FrameKind, payload: &[u8], track: u8) -> bool {
    match (kind, payload) {
        (FrameKind::Video, [0x17 | 0x27 | 0x37, 0 | 1, _, _, _, _, ..]) => track == 0,
        (FrameKind::Audio, [0xa0..=0xaf, 0 | 1, _, ..]) => track == 0,
        _ => false,
    }
}

fn video_head(info: &PayloadInfo, its: &Track<'_>, payload: &[u8]) -> Option<Head> {
    let first = payload.first()?;
    let frame_type = match info.frame_type {
        FrameType::Command => return None,
        // It is no keyframe to them otherwise.
        FrameType::GeneratedKey => 0x10,
        _ => first & 0x70,
    };
    let [_, time @ ..] = its.composition_time.to_be_bytes();
    let number = match (info.packet, its.codec) {
        (PacketType::SequenceStart, _) => 0,
        (PacketType::CodedFrames, _) => 1,
        (PacketType::SequenceEnd, _) => 2,
        (PacketType::CodedFramesX, Codec::Hevc) => 3,
        // The same with the composition time that it stands for; AV1 has none.
        (PacketType::CodedFramesX, _) => 1,
        _ => return None,
    };
    let is_legacy = !is_enhanced(FrameKind::Video, payload);
    let head = Head::default();
    match its.codec {
        Codec::H264 => Some(head.with(&[frame_type | 7, number]).with(&time)),
        Codec::Hevc if is_legacy => Some(head.with(&[frame_type | 12, number]).with(&time)),
        codec => {
            let head = head.with(&[0x80 | frame_type | number]).with(&codec.fourcc()?);
            let has_time = codec.has_composition_time() && number == 1;
            Some(if has_time { head.with(&time) } else { head })
        }
    }
}

fn audio_head(info: &PayloadInfo, its: &Track<'_>, payload: &[u8]) -> Option<Head> {
    let first = payload.first()?;
    let is_legacy = !is_enhanced(FrameKind::Audio, payload);
    let number = match info.packet {
        PacketType::SequenceStart => 0,
        PacketType::CodedFrames => 1,
        PacketType::SequenceEnd => 2,
        _ => return None,
    };
    let head = Head::default();
    match its.codec {
        // Rate and channels stand in the configuration, and in each MP3 frame.
        Codec::Aac if number < 2 => Some(head.with(&[if is_legacy { *first } else { 0xaf }, number])),
        Codec::Mp3 if number == 1 => Some(head.with(&[if is_legacy { 0x20 | first & 0x0f } else { 0x2f }])),
        // In the byte order of those who write it, which is that of 3.
        Codec::Pcm => Some(head.with(&[0x30 | first & 0x0f])),
        Codec::Opus | Codec::Flac => Some(head.with(&[0x90 | number]).with(&its.codec.fourcc()?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
