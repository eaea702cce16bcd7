//! Frames without a codec behind them, and FLV files made of frames.

use crate::media::flv::{FileHeader, ON_METADATA, encode_tag};
use crate::media::flv_file::FlvReader;
use crate::media::{Frame, FrameKind};
use bytes::Bytes;
use std::io::Cursor;

/// The clip that the project brings along: H.264 and AAC, about 10 s.
pub const DEMO: &[u8] = include_bytes!("../../../examples/media/demo.flv");

/// A sequence header of H.264, High profile; its record ends where nobody here reads on.
pub const AVC_HEADER: &[u8] = &[0x17, 0, 0, 0, 0, 1, 0x64, 0, 0x1f];

/// A sequence header of AAC LC, 44.1 kHz, stereo.
pub const AAC_HEADER: &[u8] = &[0xaf, 0, 0x12, 0x10];

/// Configuration records of H.264, whole ones: of 640x360 and of 1278x718.
pub const AVC_RECORDS: [&[u8]; 2] = [
    b"\x01\x42\xc0\x1e\xff\xe1\0\x19\x67\x42\xc0\x1e\xd8\x90\x28\x0b\xfe\x5c\x04\x40\0\0\x03\
      \0\x40\0\0\x0c\x83\xc5\x8b\x89\x80\x01\0\x05\x68\xc8\x88\xcb\x20",
    b"\x01\x7a\0\x1f\xff\xe1\0\x19\x67\x7a\0\x1f\xbc\xd9\x40\x50\x05\xbe\xaf\x01\x10\0\0\
      \x3e\x90\0\x0e\xa6\0\xf1\x83\x19\x60\x01\0\x06\x68\xeb\xe3\xcb\x22\xc0\xfe\xf8\xf8\0",
];

/// The payload of an H.264 frame of so many bytes, five at least: 0x17 first makes it a keyframe, 0x27 none.
pub fn picture(first: u8, len: usize) -> Bytes {
    let mut payload = vec![0x55; len.max(5)];
    payload[..5].copy_from_slice(&[first, 1, 0, 0, 0]);
    payload.into()
}

pub fn keyframe(at: i64, len: usize) -> Frame {
    Frame::new(FrameKind::Video, at, picture(0x17, len))
}

pub fn inter(at: i64, len: usize) -> Frame {
    Frame::new(FrameKind::Video, at, picture(0x27, len))
}

/// `onMetaData` with so many nulls.
pub fn metadata(at: i64, values: usize) -> Frame {
    let payload = [ON_METADATA, &vec![0x05; values]].concat();
    Frame::new(FrameKind::Data, at, payload.into())
}

/// An AAC frame.
pub fn audio(at: i64) -> Frame {
    Frame::new(FrameKind::Audio, at, Bytes::from_static(&[0xaf, 1, 0x21, 0x10]))
}

pub fn video_header(at: i64) -> Frame {
    Frame::new(FrameKind::Video, at, Bytes::from_static(AVC_HEADER))
}

/// A sequence header with one of [`AVC_RECORDS`].
pub fn avc_header(at: i64, record: &[u8]) -> Frame {
    Frame::new(FrameKind::Video, at, [b"\x17\0\0\0\0", record].concat().into())
}

pub fn audio_header(at: i64) -> Frame {
    Frame::new(FrameKind::Audio, at, Bytes::from_static(AAC_HEADER))
}

/// Messages with nothing to see or hear in them, by what they are.
pub fn no_media() -> Vec<(&'static str, Frame)> {
    let frame = |kind, payload: &[u8]| Frame::new(kind, 0, Bytes::copy_from_slice(payload));
    let video = |payload: &[u8]| frame(FrameKind::Video, payload);
    let audio = |payload: &[u8]| frame(FrameKind::Audio, payload);
    vec![
        ("empty audio", audio(&[])),
        ("an AAC header", audio(AAC_HEADER)),
        ("a byte of AAC", audio(&[0xaf])),
        ("AAC of no bytes", audio(&[0xaf, 1])),
        ("MP3 of no bytes", audio(&[0x2f])),
        ("enhanced audio of no bytes", audio(b"\x91Opus")),
        ("an end of enhanced audio", audio(b"\x92Opus")),
        ("two tracks of audio of no bytes", audio(b"\x95\x11Opus\x00\0\0\0\x01\0\0\0")),
        ("empty video", video(&[])),
        ("an H.264 header", video(AVC_HEADER)),
        ("a byte of H.264", video(&[0x17])),
        ("two bytes of H.264", video(&[0x17, 1])),
        ("H.264 of no bytes", video(&[0x17, 1, 0, 0, 0])),
        ("H.264 of an empty NAL unit", video(&[0x17, 1, 0, 0, 0, 0, 0, 0, 0])),
        ("an end of H.264, with more behind it", video(&[[0x17, 2, 0, 0, 0].as_slice(), &[7; 100]].concat())),
        ("a command", video(&[[0x57].as_slice(), &[1; 100]].concat())),
        ("VP6 of no bytes", video(&[0x14])),
        ("enhanced video of no bytes", video(b"\x93avc1")),
        ("enhanced video of a composition time", video(b"\x91hvc1\0\0\0")),
        ("a ModEx prefix and nothing behind it", video(b"\x97\x02\0\0\0")),
        ("H.264 of no bytes behind a ModEx prefix", video(b"\x97\x02\0\0\0\x01avc1\0\0\0")),
        ("metadata of enhanced video", video(b"\x94hvc1\x02\0\x09colorInfo\x05")),
        ("onMetaData", metadata(0, 9)),
    ]
}

pub fn times(frames: &[Frame]) -> Vec<i64> {
    frames.iter().map(|frame| frame.timestamp).collect()
}

/// All frames of [`DEMO`].
pub fn demo_frames() -> Vec<Frame> {
    let mut reader = FlvReader::new(Cursor::new(DEMO)).unwrap();
    std::iter::from_fn(|| reader.next_tag().unwrap()).map(|tag| tag.frame).collect()
}

/// The frames as an FLV file that announces the kinds it has.
pub fn flv(frames: &[Frame]) -> Bytes {
    let has = |kind| frames.iter().any(|frame| frame.kind == kind);
    let header = FileHeader { audio: has(FrameKind::Audio), video: has(FrameKind::Video) };
    [&header.encode()[..], &tags(frames)].concat().into()
}

/// The frames as FLV tags, each with its size behind it.
pub fn tags(frames: &[Frame]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for frame in frames {
        let framing = encode_tag(frame).unwrap();
        bytes.extend([&framing.header[..], &frame.payload, &framing.trailer].concat());
    }
    bytes
}

/// One FLV tag by hand, as no encoder of ours would write it: any type, any size behind it.
pub fn tag(type_id: u8, time: u32, payload: &[u8], size_behind: u32) -> Vec<u8> {
    let [high, t0, t1, t2] = time.to_be_bytes();
    let [_, length @ ..] = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let header = [&[type_id], &length[..], &[t0, t1, t2, high, 0, 0, 0]].concat();
    [&header[..], payload, &size_behind.to_be_bytes()].concat()
}
