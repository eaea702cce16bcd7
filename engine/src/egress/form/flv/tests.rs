//! Tests of frames as FLV tags: the bytes, and who gets which.

use super::*;
use crate::egress::form::{Framing, Message};
use crate::media::flv::{Codec, ON_METADATA, TagHeader};
use crate::media::flv_file::FlvReader;
use crate::net::Segments;
use crate::testing::{audio, audio_header, inter, keyframe, video_header};
use std::io::Cursor;

const BOTH: FileHeader = FileHeader { audio: true, video: true };
const VIDEO: FileHeader = FileHeader { audio: false, video: true };

fn plain(flavour: Flavour) -> FlvFraming {
    FlvFraming::new(Envelope::Plain, flavour, BOTH)
}

fn batch(frames: &[Frame]) -> Batch {
    Batch { frames: frames.to_vec(), ..Batch::default() }
}

/// The bytes of a message, from so many on.
fn bytes(message: &FlvMessage, skip: usize) -> Vec<u8> {
    let mut slices = Vec::new();
    message.slices(skip, &mut slices);
    slices.iter().flat_map(|slice| slice.to_vec()).collect()
}

fn frames_of(flv: &[u8]) -> Vec<Frame> {
    let mut reader = FlvReader::new(Cursor::new(flv)).unwrap();
    let frames = std::iter::from_fn(|| reader.next_tag().unwrap()).map(|tag| tag.frame).collect();
    assert_eq!(reader.left_out().bytes, 0);
    frames
}

#[test]
fn every_form_has_its_own_place() {
    for (index, form) in Form::ALL.into_iter().enumerate() {
        assert_eq!(form.index(), index, "{form:?}");
    }
}

#[test]
fn what_other_protocols_keep_has_not_grown() {
    assert!(size_of::<Framing>() <= 16, "{}", size_of::<Framing>());
    assert!(size_of::<Message>() <= 80, "{}", size_of::<Message>());
}

#[test]
fn a_batch_is_whole_tags_in_one_envelope_and_a_reader_gets_its_frames() {
    let frames = [video_header(0), audio_header(0), keyframe(0, 70_000), audio(5), inter(40, 100)];
    for envelope in [Envelope::Plain, Envelope::Chunked, Envelope::WebSocket] {
        for flavour in [Flavour::Browser, Flavour::Full] {
            let mut buffer = BytesMut::new();
            let framing = FlvFraming::new(envelope, flavour, BOTH);
            let Encoded { bytes, content } = encode(envelope, flavour, &batch(&frames), &mut buffer);
            assert_eq!((content.frames, content.has), (5, [true, true, false]));
            assert_eq!(content.newest, [Some(5), Some(40), None]);
            assert_eq!(envelope.unwrap(&bytes).len(), 1, "one envelope");
            let body = envelope.unwrap(&[framing.head(), bytes].concat()).concat();
            assert_eq!(FileHeader::parse(&body).unwrap(), (BOTH, 9));
            assert_eq!(frames_of(&body), frames);
            let again = encode(envelope, flavour, &batch(&frames), &mut buffer).bytes;
            assert_eq!(envelope.unwrap(&again).concat(), body[13..], "with the memory that is left, too");
        }
    }
}

#[test]
fn a_batch_of_which_nothing_is_for_a_form_is_no_bytes() {
    let vp9 = Frame::new(FrameKind::Video, 0, Bytes::from_static(b"\x91vp09data"));
    let long =
        Frame::new(FrameKind::Audio, 0, Bytes::from([&[0xaf, 1][..], &vec![7; MAX_TAG_PAYLOAD]].concat()));
    for envelope in [Envelope::Plain, Envelope::Chunked, Envelope::WebSocket] {
        let mut buffer = BytesMut::new();
        for frames in [vec![vp9.clone()], vec![long.clone()], vec![]] {
            let encoded = encode(envelope, Flavour::Browser, &batch(&frames), &mut buffer);
            assert_eq!((encoded.bytes.len(), encoded.content.frames, buffer.len()), (0, 0, 0));
        }
        let full = encode(envelope, Flavour::Full, &batch(&[vp9.clone(), long.clone()]), &mut buffer);
        assert_eq!(full.content.frames, 1, "what has no room in a tag is left out");
    }
}

#[test]
fn a_single_tag_shares_its_payload_and_may_be_cut_anywhere() {
    let frame = Frame::new(FrameKind::Video, 40, Bytes::from_static(b"\xb3avc1data"));
    for envelope in [Envelope::Plain, Envelope::Chunked, Envelope::WebSocket] {
        let mut framing = FlvFraming::new(envelope, Flavour::Browser, BOTH);
        let (head, adapted) = framing.adapt(frame.clone(), MainIds::default()).unwrap();
        assert_eq!(adapted.payload.as_ptr(), frame.payload[5..].as_ptr());
        let message = framing.message(head, adapted);
        let whole = bytes(&message, 0);
        assert_eq!(message.len(), whole.len());
        let shared =
            encode(envelope, Flavour::Browser, &batch(std::slice::from_ref(&frame)), &mut BytesMut::new());
        assert_eq!(whole, shared.bytes);
        for skip in 0..=whole.len() {
            assert_eq!(bytes(&message, skip), whole[skip..]);
        }
        let message = Message::Flv(message);
        assert_eq!(message.len(), whole.len());
    }
}

#[test]
fn the_time_of_a_tag_wraps_at_32_bits_and_metadata_is_at_0() {
    let data = Frame::new(FrameKind::Data, 7_000, Bytes::from_static(ON_METADATA));
    for (time, wire) in [(0, 0), (1 << 24, 1 << 24), ((1 << 32) - 1, u32::MAX), ((1 << 32) + 5, 5)] {
        let frames = [audio(time), data.clone()];
        let encoded = encode(Envelope::Plain, Flavour::Full, &batch(&frames), &mut BytesMut::new());
        let header = |at: usize| TagHeader::parse(encoded.bytes[at..].first_chunk().unwrap());
        assert_eq!((header(0).timestamp, header(15 + 4).timestamp), (wire, 0));
    }
}

#[test]
fn events_are_for_players_that_want_all_and_texts_for_all() {
    let event = Frame::new(FrameKind::Data, 7_000, Bytes::from_static(b"\x02\x00\x0aonCuePoint\x05"));
    let text = Frame::new(FrameKind::Data, 7_000, Bytes::from_static(b"\x02\x00\x0aonTextData\x05"));
    for (flavour, frame, frames) in
        [(Flavour::Browser, &event, 0), (Flavour::Full, &event, 1), (Flavour::Browser, &text, 1)]
    {
        let encoded =
            encode(Envelope::Plain, flavour, &batch(std::slice::from_ref(frame)), &mut BytesMut::new());
        assert_eq!(encoded.content.frames, frames);
        if frames > 0 {
            assert_eq!(TagHeader::parse(encoded.bytes.first_chunk().unwrap()).timestamp, 7_000);
        }
    }
}

#[test]
fn after_another_video_configuration_the_next_picture_follows_at_once() {
    let other = |at| Frame::new(FrameKind::Video, at, Bytes::from_static(b"\x17\0\0\0\0another"));
    let mut framing = plain(Flavour::Browser);
    let mut newest = None;
    let mut time = |frame: &Frame| {
        let time = framing.time_of(frame, newest, MainIds::default());
        if frame.kind == FrameKind::Video && !frame.is_config() {
            newest = Some(frame.timestamp);
        }
        (time, framing.form().is_some())
    };
    assert_eq!(time(&video_header(0)), (0, true));
    assert_eq!(time(&keyframe(0, 10)), (0, true));
    assert_eq!(time(&inter(40, 10)), (40, true));
    assert_eq!(time(&video_header(80)), (80, true), "the same again is no other");
    assert_eq!(time(&inter(80, 10)), (80, true));
    assert_eq!(time(&other(120)), (81, false), "what follows is for this player alone");
    assert_eq!(time(&audio(121)), (121, false));
    assert_eq!(time(&keyframe(120, 10)), (81, true));
    assert_eq!(time(&inter(160, 10)), (160, true));
    assert_eq!(time(&video_header(160)), (160, false));
    assert_eq!(time(&keyframe(160, 10)), (160, true), "never later than it is");
}

#[test]
fn another_configuration_before_the_first_picture_moves_nothing() {
    let mut framing = plain(Flavour::Browser);
    let other = Frame::new(FrameKind::Video, 0, Bytes::from_static(b"\x17\0\0\0\0another"));
    for frame in [video_header(0), other, keyframe(70, 10)] {
        assert_eq!(framing.time_of(&frame, None, MainIds::default()), frame.timestamp);
        assert!(framing.form().is_some());
    }
}

#[test]
fn what_was_not_announced_is_left_out_and_told_unless_the_player_did_not_ask_for_it() {
    let mut late = FlvFraming::new(Envelope::Plain, Flavour::Full, VIDEO);
    let mut partial = plain(Flavour::Full).only(FrameKind::Video);
    assert_eq!(partial.head()[..5], *b"FLV\x01\x01");
    assert!(late.form().is_some() && partial.form().is_none());
    let main = MainIds::default();
    for framing in [&mut late, &mut partial] {
        assert!(framing.adapt(keyframe(0, 10), main).is_some());
        assert!(framing.adapt(audio_header(0), main).is_none(), "players would wait for what follows it");
        assert!(framing.adapt(audio(0), main).is_none());
        let metadata = Frame::new(FrameKind::Data, 0, Bytes::from_static(ON_METADATA));
        assert!(framing.adapt(metadata, main).is_some());
    }
    assert_eq!((late.late_kind(), late.form()), (Some(FrameKind::Audio), None));
    assert_eq!(partial.late_kind(), None);
    let content = |has| Content { has, ..Content::default() };
    assert!(late.announces(&content([false, true, true])) && !late.announces(&content([true, false, false])));
}

#[test]
fn the_header_announces_what_the_player_will_get() {
    let track = |codec, is_enhanced| Some(TrackCodec { codec, is_enhanced });
    let (h264, aac) = (track(Codec::H264, false), track(Codec::Aac, false));
    let (ac3, opus) = (track(Codec::Ac3, true), track(Codec::Opus, true));
    for (audio, video, browser, full) in [
        (aac, h264, (true, true), (true, true)),
        (None, h264, (false, true), (false, true)),
        (opus, None, (true, false), (true, false)),
        (ac3, h264, (false, true), (true, true)),
        (None, None, (true, true), (true, true)),
        (ac3, track(Codec::Vp9, true), (false, false), (true, true)),
    ] {
        let tracks = StreamTracks { audio, video, are_settled: true };
        for (flavour, (audio, video)) in [(Flavour::Browser, browser), (Flavour::Full, full)] {
            assert_eq!(flavour.header(&tracks), FileHeader { audio, video }, "{tracks:?}");
        }
    }
}
