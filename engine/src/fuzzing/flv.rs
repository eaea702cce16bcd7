//! Bodies of the fuzz targets for FLV: a panic or a failed assertion is the finding.

use crate::media::elementary::{Demuxer, FlvStream, Format};
use crate::media::flv::browser::{self, Adapted};
use crate::media::flv::{self, Codec, PacketType, PayloadInfo, TagHeader, TrackLayout};
use crate::media::flv_file::{FileTag, FlvReader};
use crate::media::looping::{Clip, Loop, Repeat};
use crate::media::probe::Probe;
use crate::media::{Frame, FrameKind, codec, metadata};
use bytes::Bytes;
use std::collections::HashMap;
use std::io::Cursor;

/// Passes of the loop, and frames of it, that one input is played for.
const PASSES: u64 = 3;
const FRAMES: usize = 4_096;

/// A file of arbitrary bytes: every tag read encodes to the same bytes again, and the file loops on a monotone
/// timeline. Bounded by the input's length.
pub fn flv_file(data: &[u8]) {
    let Ok(mut reader) = FlvReader::new(Cursor::new(data)) else { return };
    let mut probe = Probe::new();
    let mut payload_bytes = 0_usize;
    while let Ok(Some(tag)) = reader.next_tag() {
        payload_bytes = payload_bytes.saturating_add(tag.frame.payload.len());
        probe.push(&tag.frame, None);
        assert_same_bytes(data, &tag);
    }
    assert!(payload_bytes <= data.len(), "payloads of {payload_bytes} bytes from {}", data.len());
    assert!(!probe.report().to_string().is_empty());
    stream_like_file(data);
    loop_file(data);
}

/// The same bytes as a stream, whole and in pieces, give the same; and the file's frames, where neither reader has left
/// anything out.
fn stream_like_file(data: &[u8]) {
    let frames = |piece: usize| {
        let mut stream = FlvStream::new(usize::MAX);
        let mut frames = Vec::new();
        for mut input in data.chunks(piece) {
            while let Ok(Some(frame)) = stream.read(&mut input) {
                frames.push(frame);
            }
        }
        while let Ok(Some(frame)) = stream.finish() {
            frames.push(frame);
        }
        (frames, stream.left_out())
    };
    let whole = frames(data.len().max(1));
    assert_eq!(whole, frames(3));
    let (whole, left_out) = whole;
    let mut file = Vec::new();
    let Ok(mut reader) = FlvReader::new(Cursor::new(data)) else {
        return assert!(whole.is_empty());
    };
    while let Ok(Some(tag)) = reader.next_tag() {
        file.push(tag.frame);
    }
    let is_whole = reader.left_out().bytes == 0 && reader.truncated_at().is_none();
    if is_whole && left_out.bytes == 0 {
        assert_eq!(file, whole);
    }
    assert!(reader.left_out().bytes <= reader.length() && left_out.bytes <= data.len() as u64);
}

/// A payload of arbitrary bytes, its first one choosing audio, video or data.
pub fn flv_tag(data: &[u8]) {
    let Some((selector, payload)) = data.split_first() else { return };
    let kind = match selector & 3 {
        0 => FrameKind::Audio,
        1 => FrameKind::Data,
        _ => FrameKind::Video,
    };
    let flags = flv::classify(kind, payload);
    assert!(flags.config.is_none() || !flags.keyframe, "configuration is no keyframe");
    let shortened = metadata::without_file_fields(&Bytes::copy_from_slice(payload));
    assert!(shortened.len() <= payload.len());
    demux_twice(&Frame::new(kind, 40, Bytes::copy_from_slice(payload)));
    let Some(info) = PayloadInfo::parse(kind, payload) else { return };
    let mut tracks = 0_usize;
    let first = info.tracks(payload).next().map(|track| (track.id, track.composition_time, track.data));
    assert_eq!(first, Some((info.track, info.composition_time, info.data(payload))));
    for track in info.tracks(payload) {
        tracks = tracks.saturating_add(1);
        let _ = codec::video_config(track.codec, track.data);
        let _ = codec::audio_config(track.codec, track.data);
        let _ = codec::audio_frame(track.codec, track.data);
    }
    assert!((1..=payload.len().max(1)).contains(&tracks));
}

/// A payload of arbitrary bytes for players in browsers: the same, or one that says what the chosen track says in a way
/// that they know; and that is one which stays as it is. Input: kind, number of the track, the payload.
pub fn browser_payload(data: &[u8]) {
    let [selector, track, payload @ ..] = data else { return };
    let kind = match selector & 3 {
        0 => FrameKind::Audio,
        1 => FrameKind::Data,
        _ => FrameKind::Video,
    };
    let frame = Frame::new(kind, 40, Bytes::copy_from_slice(payload));
    #[cfg(feature = "mp4")]
    mp4_payload(&frame, *track);
    let Some(Adapted { head, data }) = browser::adapt(&frame, *track) else { return };
    let adapted: Bytes = [head.as_slice(), &data].concat().into();
    let again = browser::adapt(&Frame::new(kind, 40, adapted.clone()), 0);
    let unchanged = Adapted { head: browser::Head::default(), data: adapted.clone() };
    if adapted != frame.payload || *track == 0 {
        assert_eq!(again, Some(unchanged));
    }
    assert!(adapted.len() <= payload.len().saturating_add(browser::MAX_HEAD));
    if kind != FrameKind::Data {
        assert_same_track(&frame, *track, &adapted);
    }
}

/// The same for players that get MP4: a coded frame is the chosen track's, and what describes a track does so once.
#[cfg(feature = "mp4")]
fn mp4_payload(frame: &Frame, track: u8) {
    use crate::media::fmp4::{CodedFrame, Description, Told, mime_type};
    if let Told::Now(Some(description)) = Description::told_by(frame, track, None) {
        assert_eq!(Description::told_by(frame, track, Some(&description)), Told::Same);
        if let Some(described) = description.track(1, true) {
            assert!(mime_type([&described].into_iter()).len() < 64);
        }
    }
    let Some((coded, data)) = CodedFrame::of(frame, track) else { return };
    let info = PayloadInfo::parse(frame.kind, &frame.payload).expect("a payload");
    let its = info.tracks(&frame.payload).find(|its| its.id == track).expect("the track");
    assert!(data == its.data && !data.is_empty());
    let sample = coded.sample(frame.kind, frame.timestamp, data.len());
    assert!(sample.time / 90 >= 40 && sample.size as usize == data.len());
}

/// Compares what a player in a browser gets with the track of the frame that it is of.
fn assert_same_track(frame: &Frame, track: u8, adapted: &[u8]) {
    let parse = |payload| PayloadInfo::parse(frame.kind, payload);
    let (Some(from), Some(to)) = (parse(&frame.payload), parse(adapted)) else {
        panic!("what is no payload is nothing for players");
    };
    let Some(its) = from.tracks(&frame.payload).find(|its| its.id == track) else {
        panic!("another track");
    };
    assert_eq!((to.layout, to.nanos, to.track), (TrackLayout::Single, 0, 0));
    // AV1 has no reordering; a number of Chinese networks has room for it.
    let composition_time = if its.codec.has_composition_time() { its.composition_time } else { 0 };
    assert_eq!((to.codec, to.composition_time), (its.codec, composition_time));
    assert!(browser::plays(to.codec, browser::is_enhanced(frame.kind, adapted)));
    if from.packet != PacketType::SequenceEnd {
        assert_eq!(to.data(adapted), its.data);
    }
    let is_coded = |info: &PayloadInfo| info.packet.is_coded();
    assert!(to.packet == from.packet || is_coded(&to) && is_coded(&from));
    assert!(to.packet != PacketType::CodedFramesX || to.codec == Codec::Hevc);
    let flags = flv::classify(frame.kind, adapted);
    assert_eq!(flags.keyframe, frame.flags.keyframe);
    assert_eq!(flags.config.is_some(), frame.flags.config.is_some());
}

/// The payload as it is, and once it has configured its tracks.
fn demux_twice(frame: &Frame) {
    let mut demuxer = Demuxer::new().with_format(Format::AnnexB).with_format(Format::Adts);
    for _ in 0..2 {
        let converted = demuxer.push(frame).map_or(0, |samples| samples.len());
        let native = Demuxer::new().push(frame).map_or(0, |samples| samples.len());
        assert!(converted <= native && native <= frame.payload.len());
    }
}

/// Compares a tag with the bytes it was read from, but for what no frame has room for: an AMF3 script tag's
/// type and first byte, `@setDataFrame`, and the stream id.
fn assert_same_bytes(data: &[u8], tag: &FileTag) {
    let start = usize::try_from(tag.position).unwrap_or(usize::MAX);
    let source = data.get(start..).unwrap_or_default();
    let Some(header) = source.first_chunk::<{ flv::TAG_HEADER_LEN }>().map(TagHeader::parse) else {
        panic!("tag at {start} of {} bytes", data.len());
    };
    let length = usize::try_from(header.length).unwrap_or(usize::MAX);
    let body = source.get(flv::TAG_HEADER_LEN..).and_then(|rest| rest.get(..length)).unwrap_or_default();
    assert!(body.ends_with(&tag.frame.payload));
    if tag.frame.payload.len() == length && header.tag_type == tag.frame.kind.type_id() {
        let framing = flv::encode_tag(&tag.frame).map(|framing| framing.header);
        assert_eq!(framing, Some(TagHeader { stream_id: 0, ..header }.encode()));
    } else {
        assert_eq!(tag.frame.kind, FrameKind::Data);
    }
}

pub(super) fn loop_file(data: &[u8]) {
    let clip = Clip::memory("fuzz", Bytes::copy_from_slice(data));
    let Ok(mut looped) = Loop::open([clip], Repeat::Times(PASSES)) else { return };
    let mut newest = HashMap::new();
    for _ in 0..FRAMES {
        let Ok(Some(timed)) = looped.next_frame() else { break };
        let Frame { kind, timestamp, payload, .. } = timed.frame;
        let Some(info) = PayloadInfo::parse(kind, &payload).filter(|info| info.packet.is_coded()) else {
            continue;
        };
        let before = newest.insert((kind, info.track), timestamp);
        assert!(before.is_none_or(|before| before < timestamp), "time goes back on track {}", info.track);
    }
    assert!(looped.rounds() <= PASSES);
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    fn replay(target: &str, run: fn(&[u8])) {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
        let files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(files.len() >= 10, "{} inputs", files.len());
        for file in files {
            let input = std::fs::read(file).unwrap();
            (0..=input.len()).for_each(|end| run(&input[..end]));
        }
    }

    #[test]
    fn kept_inputs_cut_anywhere_pass() {
        replay("flv_file", super::flv_file);
        replay("flv_tag", super::flv_tag);
        replay("browser_payload", super::browser_payload);
    }

    #[test]
    fn damaged_clips_neither_panic_nor_break_the_timeline() {
        let clip = include_bytes!("../../../examples/media/demo.flv");
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state % u64::try_from(below).unwrap()).unwrap()
        };
        for _ in 0..2_000 {
            let mut data = clip[..random(12_000)].to_vec();
            for _ in 0..random(8) {
                let near_start = random(data.len().max(1)).min(random(data.len().max(1)));
                if let Some(byte) = data.get_mut(near_start) {
                    *byte = u8::try_from(random(256)).unwrap();
                }
            }
            super::flv_file(&data);
            let from = random(data.len().max(1)).min(data.len());
            super::flv_tag(&data[from..]);
        }
    }

    #[test]
    fn random_payload_headers_do_not_panic() {
        let mut state = 1_u32;
        for _ in 0..200_000 {
            let mut bytes = [0_u8; 40];
            for byte in &mut bytes {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                *byte = u8::try_from(state >> 24).unwrap();
            }
            super::flv_tag(&bytes);
            super::browser_payload(&bytes);
        }
    }
}
