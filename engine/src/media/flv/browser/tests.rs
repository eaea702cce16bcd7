//! Tests of payloads for players in browsers.

#![allow(clippy::indexing_slicing, clippy::unwrap_used, clippy::arithmetic_side_effects)]

use super::*;
use crate::media::metadata::{Value, on_metadata};
use crate::testing;
use FrameKind::{Audio, Data, Video};

/// What a player of track `track` gets of a payload.
fn adapted(kind: FrameKind, payload: &[u8], track: u8) -> Option<Vec<u8>> {
    let frame = Frame::new(kind, 40, Bytes::copy_from_slice(payload));
    let Adapted { head, data } = adapt(&frame, track)?;
    Some([head.as_slice(), &data].concat())
}

#[track_caller]
fn becomes(kind: FrameKind, payload: &[u8], expected: &[u8]) {
    assert_eq!(adapted(kind, payload, 0).as_deref(), Some(expected), "{}", payload.escape_ascii());
}

#[test]
fn what_players_know_stays_as_it_is_and_is_not_copied() {
    for (kind, payload) in [
        (Video, &b"\x17\x00\0\0\0\x01record"[..]),
        (Video, b"\x27\x01\0\0\x28data"),
        (Video, b"\x37\x01\xff\xff\xd8data"),
        (Video, b"\x17\x02\0\0\0"),
        (Video, b"\x1c\x00\0\0\0record"),
        (Video, b"\x2c\x01\0\0\0data"),
        (Video, b"\x90hvc1record"),
        (Video, b"\x91hvc1\0\0\x28data"),
        (Video, b"\xa3hvc1data"),
        (Video, b"\x92hvc1"),
        (Video, b"\x90av01record"),
        (Video, b"\xa1av01data"),
        (Audio, b"\xaf\x00\x12\x10"),
        (Audio, b"\xaf\x01data"),
        (Audio, b"\x2fdata"),
        (Audio, b"\x3edata"),
        (Audio, b"\x90OpusOpusHead"),
        (Audio, b"\x91Opusdata"),
        (Audio, b"\x92fLaC"),
        (Data, b"\x02\x00\x0aonTextData\x05"),
        (Data, b"\x02\x00\x09onCaption\x05"),
    ] {
        let frame = Frame::new(kind, 0, Bytes::copy_from_slice(payload));
        let Adapted { head, data } = adapt(&frame, 0).unwrap_or_else(|| panic!("{payload:x?}"));
        assert_eq!((head, &data), (Head::default(), &frame.payload));
        assert_eq!(data.as_ptr(), frame.payload.as_ptr());
    }
}

#[test]
fn enhanced_h264_and_aac_and_mp3_become_legacy() {
    becomes(Video, b"\x90avc1record", b"\x17\x00\0\0\0record");
    becomes(Video, b"\x91avc1\xff\xff\xd8data", b"\x17\x01\xff\xff\xd8data");
    becomes(Video, b"\xa1avc1\0\0\x28data", b"\x27\x01\0\0\x28data");
    becomes(Video, b"\xb3avc1data", b"\x37\x01\0\0\0data");
    becomes(Video, b"\x92avc1", b"\x17\x02\0\0\0");
    becomes(Audio, b"\x90mp4a\x12\x10", b"\xaf\x00\x12\x10");
    becomes(Audio, b"\x91mp4adata", b"\xaf\x01data");
    becomes(Audio, b"\x91.mp3data", b"\x2fdata");
}

#[test]
fn a_frame_of_av1_without_composition_time_is_a_coded_frame() {
    becomes(Video, b"\xa3av01data", b"\xa1av01data");
    becomes(Video, b"\x1d\x01\0\0\0data", b"\x91av01data");
    becomes(Video, b"\x1d\x00\0\0\0record", b"\x90av01record");
}

#[test]
fn numbers_of_the_same_codec_that_players_do_not_know_become_those_that_they_do() {
    becomes(Audio, b"\xeedata", b"\x2edata");
    becomes(Audio, b"\x0fdata", b"\x3fdata");
    becomes(Video, b"\x47\x01\0\0\0data", b"\x17\x01\0\0\0data");
    becomes(Video, b"\xc1hvc1\0\0\0data", b"\x91hvc1\0\0\0data");
}

#[test]
fn mod_ex_goes_and_one_of_several_tracks_is_unwrapped() {
    becomes(Video, b"\xa7\x02\x01\x02\x03\x01hvc1\0\0\x01data", b"\xa1hvc1\0\0\x01data");
    becomes(Audio, b"\x97\x00\x00\x01Opusdata", b"\x91Opusdata");
    becomes(Audio, b"\x97\x00\x00\x01mp4adata", b"\xaf\x01data");
    let many = b"\x96\x11hvc1\x00\0\0\x05\0\0\x28ab\x03\0\0\x06\0\0\x50cde";
    becomes(Video, many, b"\x91hvc1\0\0\x28ab");
    assert_eq!(adapted(Video, many, 3).as_deref(), Some(&b"\x91hvc1\0\0\x50cde"[..]));
    assert_eq!(adapted(Video, many, 1), None, "a track that is not in it");
    let one = b"\x96\x03avc1\x05data";
    assert_eq!(adapted(Video, one, 5).as_deref(), Some(&b"\x17\x01\0\0\0data"[..]));
    assert_eq!(adapted(Video, one, 0), None);
    let codecs = b"\x95\x21Opus\x01\0\0\x01omp4a\x02\0\0\x02aa";
    assert_eq!(adapted(Audio, codecs, 1).as_deref(), Some(&b"\x91Opuso"[..]));
    assert_eq!(adapted(Audio, codecs, 2).as_deref(), Some(&b"\xaf\x01aa"[..]));
    assert_eq!(adapted(Video, b"\x17\x01\0\0\0data", 1), None, "what has no number is track 0");
    assert_eq!(adapted(Audio, b"\xaf\x01data", 1), None);
}

#[test]
fn what_would_stop_a_player_is_left_out() {
    for (kind, payload) in [
        (Video, &b"\x91vp09data"[..]),
        (Video, b"\x90vp08record"),
        (Video, b"\x91vvc1\0\0\0data"),
        (Video, b"\x91abcddata"),
        (Video, b"\x12data"),
        (Video, b"\x94hvc1color"),
        (Video, b"\x95av01descriptor"),
        (Video, b"\x96\x04hvc1\0color"),
        (Video, b"\x9ahvc1"),
        (Video, b"\x17\x03\0\0\0"),
        (Video, b"\x57\x00"),
        (Video, b"\xd1\x00"),
        (Video, b"\x91hvc1\0\0\0"),
        (Video, b"\x91av01"),
        (Video, b"\x91hvc1\0\0"),
        (Video, b""),
        (Audio, b"\x91ac-3data"),
        (Audio, b"\x91ec-3data"),
        (Audio, b"\x90.mp3"),
        (Audio, b"\x92mp4a"),
        (Audio, b"\x94Opus\x01\x02"),
        (Audio, b"\x94fLaC\x01\x02"),
        (Audio, b"\xd1data"),
        (Audio, b"\x7fdata"),
        (Audio, b"\xbfdata"),
        (Audio, b"\xaf\x02data"),
        (Audio, b""),
    ] {
        assert_eq!(adapted(kind, payload, 0), None, "{}", payload.escape_ascii());
    }
}

#[test]
fn metadata_makes_no_player_wait_for_a_track() {
    let fields = [("hasAudio", Value::Boolean(true)), ("width", Value::Number(640.0))];
    let (before, after) = (on_metadata(0, &fields), on_metadata(0, &fields[1..]));
    becomes(Data, &before.payload, &after.payload);
    becomes(Data, &after.payload, &after.payload);
    becomes(Data, b"\x02\x00\x0aonMetaData", b"\x02\x00\x0aonMetaData");
}

#[test]
fn whether_a_track_plays_is_known_from_its_codec() {
    for (kind, payload) in [
        (Video, &b"\x91avc1\0\0\0data"[..]),
        (Video, b"\x91vp09data"),
        (Video, b"\x12data"),
        (Audio, b"\x91Opusdata"),
        (Audio, b"\xdfdata"),
        (Audio, b"\x91.mp3data"),
        (Audio, b"\x91ac-3data"),
    ] {
        let info = PayloadInfo::parse(kind, payload).unwrap();
        let plays = plays(info.codec, is_enhanced(kind, payload));
        assert_eq!(plays, adapted(kind, payload, 0).is_some(), "{}", info.codec);
    }
}

#[test]
fn every_frame_of_the_demo_stays_as_it_is() {
    for frame in testing::demo_frames() {
        assert_eq!(adapted(frame.kind, &frame.payload, 0).as_deref(), Some(&frame.payload[..]));
    }
}
