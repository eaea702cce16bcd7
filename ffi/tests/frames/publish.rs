//! What the program pushes, in whatever form, is what readers get.

use crate::support::*;
use std::ffi::CStr;
use std::sync::atomic::Ordering;
use streamengine::amf0::{self, Amf0Value};
use streamengine::media::elementary::{Demuxer, Format, Sample};
use streamengine::media::flv::Codec;
use streamengine::media::{Frame, FrameKind};
use streamengine::testing::sample;
use streamengine_ffi::se_codec::{SE_CODEC_AAC, SE_CODEC_DATA, SE_CODEC_H264};
use streamengine_ffi::se_format::{SE_FORMAT_ADTS, SE_FORMAT_ANNEXB, SE_FORMAT_FLV, SE_FORMAT_NATIVE};
use streamengine_ffi::*;

/// What one reader by pull and one by callback get of what `push` pushes; they get the same.
fn published(push: impl FnOnce(&TestPublisher)) -> Vec<Seen> {
    let engine = TestEngine::start();
    let (pulling, called) = (engine.subscribe("live/a"), engine.subscribe("live/a"));
    let destroyed = counter();
    let frames = called.collect(destroyed);
    let publisher = engine.publish("live/a");
    push(&publisher);
    drop(publisher);
    let pulled = pulling.rest();
    let called: Vec<_> = std::iter::from_fn(|| frames.recv_timeout(PATIENCE).unwrap()).collect();
    assert_eq!(pulled, called, "by pull and by callback, from the same memory");
    drop(engine);
    assert_eq!(destroyed.load(Ordering::SeqCst), 1);
    pulled
}

fn ms(ns: i64) -> i64 {
    assert_eq!(ns % 1_000_000, 0);
    ns / 1_000_000
}

/// Asserts that tags came as they were, bytes and times.
#[track_caller]
fn assert_same_tags(seen: &[Seen], frames: &[Frame]) {
    assert_eq!(seen.len(), frames.len());
    for (seen, frame) in seen.iter().zip(frames) {
        let at = (i32::from(frame.kind.type_id()), frame.timestamp);
        assert_eq!((seen.tag, ms(seen.dts_ns)), at);
        assert!(seen.body == frame.payload, "the tag of type {} at {} ms differs", at.0, at.1);
        assert_eq!(seen.is(SE_FRAME_KEY), frame.flags.keyframe);
        assert_eq!(seen.is(SE_FRAME_CONFIG), frame.is_config());
    }
}

/// The clip's tags that have a form of their own: all but the end of sequence.
fn demo_frames_with_samples() -> Vec<Frame> {
    let mut demuxer = Demuxer::new();
    demo_frames().into_iter().filter(|frame| !demuxer.push(frame).unwrap().is_empty()).collect()
}

/// The clip as samples; of video and AAC in another form where one is given.
fn samples(forms: &[Format]) -> Vec<Sample> {
    let mut demuxer = forms.iter().fold(Demuxer::new(), |demuxer, form| demuxer.with_format(*form));
    demo_frames().iter().flat_map(|frame| demuxer.push(frame).unwrap()).collect()
}

fn push_sample(publisher: &TestPublisher, sample: &Sample) {
    let codec = match sample.codec {
        Codec::H264 => SE_CODEC_H264,
        Codec::Aac => SE_CODEC_AAC,
        _ => SE_CODEC_DATA,
    };
    let format = match sample.format {
        Format::AnnexB => SE_FORMAT_ANNEXB,
        Format::Adts => SE_FORMAT_ADTS,
        _ => SE_FORMAT_NATIVE,
    };
    let mut frame = frame(codec, format, sample.pts_ns, &sample.data);
    frame.flags = (u32::from(sample.keyframe) * SE_FRAME_KEY) | (u32::from(sample.config) * SE_FRAME_CONFIG);
    ok(publisher.frame(&frame));
}

#[test]
fn frames_in_native_form_become_the_tags_they_were() {
    let seen = published(|publisher| {
        for sample in samples(&[]) {
            if sample.config && sample.codec != Codec::Data {
                let codec = if sample.codec == Codec::H264 { SE_CODEC_H264 } else { SE_CODEC_AAC };
                let (data, len) = (sample.data.as_ptr(), sample.data.len());
                ok(unsafe { se_publisher_set_track(publisher.0, 0, codec as i32, data, len) });
            } else {
                push_sample(publisher, &sample);
            }
        }
    });
    // Sequence headers come with the first frame.
    let frames = demo_frames_with_samples();
    let coded = |frame: &&Frame| !frame.is_config();
    let expected: Vec<_> = frames.iter().filter(coded).cloned().collect();
    let coded: Vec<_> = seen.iter().filter(|seen| !seen.is(SE_FRAME_CONFIG)).cloned().collect();
    assert_same_tags(&coded, &expected);
    for config in frames.iter().filter(|frame| frame.is_config()) {
        assert!(seen.iter().any(|seen| seen.body == config.payload && ms(seen.dts_ns) == 0), "{config:?}");
    }
    assert_eq!(seen.len(), frames.len());
}

#[test]
fn configuration_may_come_as_frames_too() {
    let seen = published(|publisher| samples(&[]).iter().for_each(|sample| push_sample(publisher, sample)));
    let mut expected: Vec<_> =
        demo_frames_with_samples().into_iter().map(|frame| frame.payload.to_vec()).collect();
    let mut bodies: Vec<_> = seen.into_iter().map(|seen| seen.body).collect();
    expected.sort();
    bodies.sort();
    assert!(bodies == expected);
}

#[test]
fn annex_b_and_adts_are_converted_without_loss_and_need_no_declaration() {
    let seen = published(|publisher| {
        let samples = samples(&[Format::AnnexB, Format::Adts]);
        assert!(
            samples
                .iter()
                .any(|sample| sample.format == Format::AnnexB && sample.data.starts_with(&[0, 0, 0, 1]))
        );
        assert!(
            samples.iter().any(|sample| sample.format == Format::Adts && sample.data.starts_with(&[0xff]))
        );
        // Parameter sets are in the keyframes too.
        samples.iter().filter(|sample| !sample.config).for_each(|sample| push_sample(publisher, sample));
    });
    let native = samples(&[]);
    let expected: Vec<_> =
        native.iter().filter(|sample| !sample.config).map(|s| (s.pts_ns, &s.data[..])).collect();
    let coded: Vec<_> = seen
        .iter()
        .filter(|seen| !seen.is(SE_FRAME_CONFIG))
        .map(|seen| (seen.pts_ns, &seen.data[..]))
        .collect();
    assert!(coded == expected, "{} frames of {}", coded.len(), expected.len());
    let config = |codec: se_codec| {
        let mut found = seen.iter().filter(|seen| seen.is(SE_FRAME_CONFIG) && seen.codec == codec as i32);
        (found.next().unwrap().data.clone(), found.count())
    };
    let original = |codec| &native.iter().find(|sample| sample.config && sample.codec == codec).unwrap().data;
    assert_eq!(config(SE_CODEC_H264), (original(Codec::H264).to_vec(), 0));
    // ADTS says profile, rate and channels: the first two bytes.
    assert_eq!(config(SE_CODEC_AAC), (original(Codec::Aac)[..2].to_vec(), 0));
    let keyframes = |seen: &&Seen| seen.is(SE_FRAME_KEY);
    assert_eq!(seen.iter().filter(keyframes).count(), 5, "a keyframe every 2 s");
}

#[test]
fn flv_tags_arrive_as_they_were() {
    let frames = demo_frames();
    let seen = published(|publisher| {
        for frame in &frames {
            ok(publisher.tag(frame.kind.type_id(), frame.timestamp as u32, &frame.payload));
        }
    });
    assert_same_tags(&seen, &frames);
}

/// Pieces of pseudo-random length, most of them short, some empty.
fn pieces(mut rest: &[u8], mut seed: u64) -> Vec<&[u8]> {
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let longest = [3, 40, 2_000, 70_000][(seed >> 60) as usize % 4];
        let len = ((seed >> 33) as usize % longest).min(rest.len());
        let (piece, others) = rest.split_at(len);
        pieces.push(piece);
        rest = others;
    }
    pieces
}

#[test]
fn an_flv_stream_may_be_cut_anywhere() {
    let (bytes, frames) = (std::fs::read(demo_clip()).unwrap(), demo_frames());
    let push = |publisher: &TestPublisher, piece: &[u8]| {
        ok(unsafe { se_publisher_push_flv(publisher.0, piece.as_ptr(), piece.len()) });
    };
    for seed in 1..=8 {
        let seen = published(|publisher| {
            pieces(&bytes, seed).iter().for_each(|piece| push(publisher, piece));
        });
        assert_same_tags(&seen, &frames);
    }
    let bytewise = published(|publisher| bytes.chunks(1).for_each(|byte| push(publisher, byte)));
    assert_same_tags(&bytewise, &frames);
    let without_header = published(|publisher| push(publisher, &bytes[13..]));
    assert_same_tags(&without_header, &frames);
}

#[test]
fn bytes_that_are_no_tag_cost_no_whole_tag_and_the_stream_does_not_fall_silent() {
    let (bytes, frames) = (std::fs::read(demo_clip()).unwrap(), demo_frames());
    let third = 13 + frames[..3].iter().map(|frame| 15 + frame.payload.len()).sum::<usize>();
    for garbage in
        [&[0; 4][..], &[0; 4096], &[0xab; 64], b"ID3\x04\0\0\0\0\0\x03tag", &bytes[third..third + 12]]
    {
        for at in [0, third] {
            let damaged = [&bytes[..at], garbage, &bytes[at..]].concat();
            let seen = published(|publisher| {
                for piece in damaged.chunks(1000) {
                    ok(unsafe { se_publisher_push_flv(publisher.0, piece.as_ptr(), piece.len()) });
                }
            });
            assert_same_tags(&seen, &frames);
        }
    }
}

#[test]
fn what_never_is_flv_is_told() {
    let engine = TestEngine::start();
    let publisher = engine.publish("live/a");
    let push = |bytes: &[u8]| unsafe { se_publisher_push_flv(publisher.0, bytes.as_ptr(), bytes.len()) };
    fails(push(&vec![0xab; (1 << 20) + 1]), se_status::SE_E_FORMAT, &["live/a", "byte 0"]);
    ok(push(&std::fs::read(demo_clip()).unwrap()));
}

#[test]
fn another_format_is_refused_from_then_on() {
    let engine = TestEngine::start();
    let publisher = engine.publish("live/a");
    let push = |bytes: &[u8]| unsafe { se_publisher_push_flv(publisher.0, bytes.as_ptr(), bytes.len()) };
    let bytes = std::fs::read(demo_clip()).unwrap();
    fails(push(b"RIFF, which is no FLV"), se_status::SE_E_FORMAT, &["live/a", "byte 0"]);
    fails(push(&bytes), se_status::SE_E_FORMAT, &["live/a"]);
    ok(publisher.keyframe(0, 100));
}

#[test]
fn tag_times_go_on_when_their_32_bits_wrap_around() {
    let seen = published(|publisher| {
        for at in [u32::MAX - 39, 0, 40] {
            ok(publisher.keyframe(at, 100));
        }
    });
    let times: Vec<_> = seen.iter().map(|seen| ms(seen.dts_ns)).collect();
    let edge = 1 << 32;
    assert_eq!(times, [edge - 40, edge, edge + 40]);
}

#[test]
fn presentation_and_decoding_times_arrive_in_whole_milliseconds() {
    let video = samples(&[]).into_iter().find(|sample| sample.keyframe).unwrap();
    let config = samples(&[]).into_iter().find(|s| s.config && s.codec == Codec::H264).unwrap();
    let seen = published(|publisher| {
        push_sample(publisher, &config);
        let mut frame = frame(SE_CODEC_H264, SE_FORMAT_NATIVE, 120_400_000, &video.data);
        for dts_ns in [39_600_000, 80_000_000] {
            frame.dts_ns = dts_ns;
            ok(publisher.frame(&frame));
        }
        (frame.pts_ns, frame.dts_ns) = (i64::MIN, 160_000_000);
        ok(publisher.frame(&frame));
        // As a program has it that knows an older, shorter structure.
        frame.struct_size = std::mem::offset_of!(se_frame, flv_body);
        frame.dts_ns = 200_000_000;
        ok(publisher.frame(&frame));
    });
    let times: Vec<_> = seen[1..].iter().map(|seen| (ms(seen.pts_ns), ms(seen.dts_ns))).collect();
    assert_eq!(times, [(120, 40), (120, 80), (160, 160), (200, 200)]);
}

#[test]
fn metadata_is_sent_now_and_to_each_that_joins() {
    let engine = TestEngine::start();
    let early = engine.subscribe("live/a");
    let publisher = engine.publish("live/a");
    let json =
        c(r#"{"width": 1280, "live": true, "encoder": "mine", "tags": [1, null], "more": {"a": "b"}}"#);
    ok(publisher.keyframe(1_000, 100));
    ok(unsafe { se_publisher_set_metadata_json(publisher.0, json.as_ptr()) });
    ok(publisher.keyframe(1_040, 100));
    let late = engine.subscribe("live/a");
    drop(publisher);
    let (early, late) = (early.rest(), late.rest());
    assert_eq!((early.len(), late.len()), (3, 2));
    for metadata in [&early[1], &late[0]] {
        // Whenever it is sent, as ffmpeg wants it.
        assert_eq!((metadata.codec, ms(metadata.dts_ns)), (SE_CODEC_DATA as i32, 0));
        assert!(metadata.is(SE_FRAME_CONFIG) && metadata.tag == 18);
        let values = amf0::decode_all(&metadata.data).unwrap();
        assert_eq!(values[0], Amf0Value::Utf8String("onMetaData".into()));
        let Amf0Value::Object(properties) = &values[1] else { panic!("{values:?}") };
        assert_eq!(properties["width"], Amf0Value::Number(1280.0));
        assert_eq!(properties["live"], Amf0Value::Boolean(true));
        assert_eq!(properties["tags"], Amf0Value::StrictArray(vec![Amf0Value::Number(1.0), Amf0Value::Null]));
        assert_eq!(properties.len(), 5);
    }
}

#[test]
fn what_has_no_elementary_form_is_shown_as_a_tag() {
    let seen = published(|publisher| {
        // Sorenson H.263, end of sequence, and an Enhanced RTMP message with two tracks of AVC.
        ok(publisher.tag(9, 0, b"\x12abc"));
        ok(publisher.tag(9, 0, b"\x17\x02\0\0\0"));
        ok(publisher.tag(9, 40, b"\x96\x13avc1\x00\0\0\x05first\x01\0\0\x06second"));
    });
    let shown: Vec<_> =
        seen.iter().map(|seen| (seen.codec, seen.track, &seen.data[..], seen.body.len())).collect();
    let none = se_codec::SE_CODEC_NONE as i32;
    assert_eq!(shown[..2], [(none, 0, &b""[..], 4), (none, 0, b"", 5)]);
    let avc = SE_CODEC_H264 as i32;
    assert_eq!(shown[2..], [(avc, 0, &b"first"[..], 25), (avc, 1, b"second", 0)]);
}

#[test]
fn a_lent_payload_is_not_copied_and_given_back_once_nobody_has_it() {
    let engine = TestEngine::start();
    let subscriber = engine.subscribe("live/a");
    let publisher = engine.publish("live/a");
    let mut body = vec![7; 10_000];
    body[..2].copy_from_slice(&[0x17, 1]);
    let mut lent = frame(se_codec::SE_CODEC_NONE, SE_FORMAT_FLV, 0, &body);
    lent.flv_type = 9;
    let released = counter();
    let push = |frame: &se_frame| unsafe {
        se_publisher_push_frame_ref(publisher.0, frame, Some(count), as_user_data(released))
    };
    ok(push(&lent));
    assert_eq!(released.load(Ordering::SeqCst), 0, "it is kept");
    let got = subscriber.next(PATIENCE_MS).unwrap();
    assert_eq!(got.see().body_at, body.as_ptr().addr(), "the program's own memory");
    let again = got.clone();
    drop(got);
    drop((publisher, subscriber));
    engine.free();
    assert_eq!(released.load(Ordering::SeqCst), 0, "a reference is left");
    drop(again);
    assert_eq!(released.load(Ordering::SeqCst), 1);
}

#[test]
fn what_is_copied_is_given_back_before_the_call_returns_also_where_it_fails() {
    let engine = TestEngine::start();
    let publisher = engine.publish("live/a");
    let released = counter();
    let push = |publisher, frame: *const se_frame| unsafe {
        let status = se_publisher_push_frame_ref(publisher, frame, Some(count), as_user_data(released));
        (status, released.swap(0, Ordering::SeqCst))
    };
    let sample = samples(&[Format::AnnexB]).into_iter().find(|s| s.keyframe).unwrap();
    let converted = frame(SE_CODEC_H264, SE_FORMAT_ANNEXB, 0, &sample.data);
    assert_eq!(push(publisher.0, &converted), (se_status::SE_OK, 1));
    let mut small = frame(se_codec::SE_CODEC_NONE, SE_FORMAT_FLV, 0, b"\x17\x01\0\0\0x");
    small.flv_type = 9;
    assert_eq!(push(publisher.0, &small), (se_status::SE_OK, 1));

    let invalid = (se_status::SE_E_INVALID_ARGUMENT, 1);
    assert_eq!(push(std::ptr::null_mut(), &small), invalid);
    assert_eq!(push(publisher.0, std::ptr::null()), invalid);
    assert_eq!(push(publisher.0, &se_frame { struct_size: 0, ..small }), invalid);
    assert_eq!(push(publisher.0, &se_frame { flv_type: 0, ..small }), invalid);
    assert_eq!(push(publisher.0, &se_frame { data: std::ptr::null(), ..small }), invalid);
    let long = vec![9; 20_000];
    let untimed = se_frame { data: long.as_ptr(), len: long.len(), pts_ns: i64::MIN, ..small };
    assert_eq!(push(publisher.0, &untimed), invalid);
    engine.free();
    let timed = se_frame { pts_ns: 0, ..untimed };
    assert_eq!(push(publisher.0, &timed), (se_status::SE_E_CLOSED, 1));
    let none = unsafe { se_publisher_push_frame_ref(publisher.0, &small, None, std::ptr::null_mut()) };
    assert_eq!(none, se_status::SE_E_CLOSED, "without a release function");
}

#[test]
fn frames_that_were_read_can_be_published_on_as_they_are() {
    let frames = demo_frames();
    let seen = published(|publisher| {
        let other = TestEngine::start();
        let subscriber = other.subscribe("live/b");
        let origin = other.publish("live/b");
        for tag in frames.iter().filter(|frame| frame.kind != FrameKind::Data) {
            ok(origin.tag(tag.kind.type_id(), tag.timestamp as u32, &tag.payload));
            let read = subscriber.next(PATIENCE_MS).unwrap();
            let read = unsafe { &*read.frame() };
            let (data, len, format) = (read.flv_body, read.flv_body_len, SE_FORMAT_FLV as i32);
            ok(publisher.frame(&se_frame { data, len, format, ..*read }));
        }
    });
    let media: Vec<_> = frames.into_iter().filter(|frame| frame.kind != FrameKind::Data).collect();
    assert_same_tags(&seen, &media);
}

#[test]
fn every_key_of_the_configuration_is_taken_by_se_config_set() {
    let keys = sample::leaves("", &sample::values());
    assert!(keys.len() > 50, "{keys:?}");
    for (key, value) in &keys {
        drop(Settings::new(&[(key.as_str(), sample::written(value).as_str())]));
    }
}

#[test]
fn a_publisher_may_have_limits_on_its_readers_of_its_own() {
    let engine = TestEngine::start();
    let options = Settings::new(&[("ring_bytes", "8000"), ("max_queue_ms", "500"), ("start", "live-edge")]);
    let mut publisher = std::ptr::null_mut();
    ok(unsafe { se_publisher_open(engine.0, c("live/a").as_ptr(), options.0, &raw mut publisher) });
    let tag = [0xaf; 1000];
    for at in 0..100 {
        ok(unsafe { se_publisher_push_flv_tag(publisher, 8, at, tag.as_ptr(), tag.len()) });
    }
    let json = unsafe { se_streams_json(engine.0) };
    let text = unsafe { CStr::from_ptr(json) }.to_str().unwrap();
    let streams: serde_json::Value = serde_json::from_str(text).unwrap();
    unsafe { (se_string_free(json), se_publisher_free(publisher)) };
    let held = streams[0]["ring_bytes"].as_u64().unwrap();
    assert!((2_000..=8_000).contains(&held), "{streams}");
}
