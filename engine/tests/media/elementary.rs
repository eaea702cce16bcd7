//! Elementary samples: what goes in comes out again, in every format, and what is wrong is told.

use bytes::Bytes;
use streamengine::media::elementary::{Demuxer, Format, Muxer, Sample};
use streamengine::media::flv::{Codec, PacketType, PayloadInfo};
use streamengine::media::{Frame, FrameKind};
use streamengine::testing::demo_frames;
use streamengine::{ErrorKind, Result};

const MS: i64 = 1_000_000;

/// H.264 Main, 640x360: SPS and PPS of the demo clip, and slices.
const SPS: &[u8] =
    b"\x67\x4d\x40\x1e\xd9\x80\xa0\x2f\xf9\x70\x11\0\0\x03\0\x01\0\0\x03\0\x32\x0f\x16\x2e\x68";
const PPS: &[u8] = b"\x68\xe9\x70\x44\xb2";
const IDR: &[u8] = b"\x65\x88\x84\x21";
const SLICE: &[u8] = b"\x41\x9a\x3b";
const DELIMITER: &[u8] = b"\x09\xf0";

/// HEVC Main, 320x180, as x265 makes it.
const HEVC_VPS: &[u8] = b"\x40\x01\x0c\x01\xff\xff\x01\x60\0\0\x03\0\x90\0\0\x03\0\0\x03\0\x3c\x95\x98\x09";
const HEVC_SPS: &[u8] =
    b"\x42\x01\x01\x01\x60\0\0\x03\0\x90\0\0\x03\0\0\x03\0\x3c\xa0\x0a\x08\x0b\x9f\x79\x65\x66\x92\x4c\
    \xaf\x01\x68\x08\0\0\x03\0\x08\0\0\x03\0\xc8\x40";
const HEVC_PPS: &[u8] = b"\x44\x01\xc1\x72\xb4\x62\x40";
const HEVC_IDR: &[u8] = b"\x26\x01\xaf\x09";
const HEVC_SLICE: &[u8] = b"\x02\x01\xd0\x2f";

fn annex_b(nals: &[&[u8]]) -> Vec<u8> {
    nals.iter().flat_map(|nal| [b"\0\0\0\x01", *nal].concat()).collect()
}

fn lengths(nals: &[&[u8]]) -> Vec<u8> {
    let length = |nal: &[u8]| u32::try_from(nal.len()).unwrap().to_be_bytes();
    nals.iter().flat_map(|nal| [&length(nal)[..], *nal].concat()).collect()
}

fn avcc(sps: &[u8], pps: &[u8]) -> Vec<u8> {
    let length = |nal: &[u8]| u16::try_from(nal.len()).unwrap().to_be_bytes();
    [&[1][..], &sps[1..4], b"\xff\xe1", &length(sps), sps, b"\x01", &length(pps), pps].concat()
}

fn sample(codec: Codec, ms: i64, data: impl Into<Vec<u8>>) -> Sample {
    Sample::new(codec, ms * MS, data.into())
}

fn in_format(format: Format, sample: Sample) -> Sample {
    Sample { format, ..sample }
}

fn h264(ms: i64, nals: &[&[u8]]) -> Sample {
    in_format(Format::AnnexB, sample(Codec::H264, ms, annex_b(nals)))
}

fn muxer(tracks: &[(u8, Codec, Option<&[u8]>)]) -> Muxer {
    let mut muxer = Muxer::new();
    for (track, codec, extradata) in tracks {
        muxer.set_track(*track, *codec, *extradata).unwrap();
    }
    muxer
}

fn push(muxer: &mut Muxer, sample: &Sample) -> Vec<Frame> {
    muxer.push(sample).unwrap().into_iter().collect()
}

fn payloads(frames: &[Frame]) -> Vec<&[u8]> {
    frames.iter().map(|frame| &frame.payload[..]).collect()
}

fn demo() -> Vec<Frame> {
    let frames = demo_frames();
    assert!(frames.len() > 700);
    frames
}

/// Frames that have an elementary form: all but the end of a sequence.
fn has_samples(frame: &&Frame) -> bool {
    PayloadInfo::parse(frame.kind, &frame.payload).is_none_or(|info| info.packet != PacketType::SequenceEnd)
}

fn through(frames: &[Frame], demuxer: &mut Demuxer, muxer: &mut Muxer) -> Vec<Frame> {
    let samples = frames.iter().flat_map(|frame| demuxer.push(frame).unwrap());
    samples.flat_map(|sample| muxer.push(&sample).unwrap()).collect()
}

#[test]
fn native_samples_make_the_frames_they_came_from() {
    let frames = demo();
    let mut muxer = muxer(&[(0, Codec::H264, None), (0, Codec::Aac, None)]);
    let again = through(&frames, &mut Demuxer::new(), &mut muxer);
    assert!(again.iter().eq(frames.iter().filter(has_samples)));
    assert_eq!(frames.len() - again.len(), 1, "the end of the video sequence");
}

#[test]
fn annex_b_and_adts_samples_make_the_frames_they_came_from() {
    let frames = demo();
    let aac = frames.iter().find(|frame| frame.kind == FrameKind::Audio && frame.is_config()).unwrap();
    // ADTS has no room for all that this configuration says.
    let mut muxer = muxer(&[(0, Codec::H264, None), (0, Codec::Aac, Some(&aac.payload[2..]))]);
    let mut demuxer = Demuxer::new().with_format(Format::AnnexB).with_format(Format::Adts);
    let again = through(&frames, &mut demuxer, &mut muxer);
    let coded = |frames: &[Frame]| -> Vec<Frame> {
        frames.iter().filter(|frame| !frame.is_config()).filter(has_samples).cloned().collect()
    };
    assert!(coded(&again) == coded(&frames));
    let headers = |frames: &[Frame]| -> Vec<Bytes> {
        let mut headers: Vec<_> =
            frames.iter().filter(|frame| frame.is_config()).map(|frame| frame.payload.clone()).collect();
        headers.sort();
        headers
    };
    assert_eq!(headers(&again), headers(&frames), "each once");
}

#[test]
fn converted_samples_are_what_their_formats_say() {
    let mut demuxer = Demuxer::new().with_format(Format::AnnexB).with_format(Format::Adts);
    let (mut video, mut audio) = (Vec::new(), Vec::new());
    for sample in demo().iter().flat_map(|frame| demuxer.push(frame).unwrap()) {
        match sample.codec {
            Codec::H264 => video.push(sample),
            Codec::Aac => audio.push(sample),
            other => assert_eq!(other, Codec::Data),
        }
    }
    let sets = annex_b(&[SPS, PPS]);
    assert!(video[0].config && video[0].data == sets);
    for sample in &video[1..] {
        assert_eq!(sample.format, Format::AnnexB);
        assert_eq!(sample.data.starts_with(&sets), sample.keyframe, "sets before each keyframe only");
    }
    assert_eq!(video.iter().filter(|sample| sample.keyframe).count(), 5);
    for sample in &audio {
        let [a, b, _, _, d, e, _] = *sample.data.first_chunk::<7>().unwrap();
        let length = (usize::from(d) << 3) | usize::from(e >> 5);
        assert_eq!((sample.format, a, b, length & 0x7ff), (Format::Adts, 0xff, 0xf1, sample.data.len()));
    }
    assert_eq!(audio.len(), 468);
}

#[test]
fn native_samples_share_the_frames_bytes() {
    for frame in demo() {
        let bytes = frame.payload.as_ptr_range();
        for sample in Demuxer::new().push(&frame).unwrap() {
            assert!(bytes.contains(&sample.data.as_ptr()));
        }
    }
}

#[test]
fn configuration_is_taken_from_in_band_parameter_sets_and_adts_headers() {
    let mut muxer = muxer(&[(0, Codec::H264, None), (0, Codec::Aac, None)]);
    let frames = push(&mut muxer, &h264(0, &[DELIMITER, SPS, PPS, IDR]));
    let header = [b"\x17\0\0\0\0", &avcc(SPS, PPS)[..]].concat();
    let coded = [b"\x17\x01\0\0\0", &lengths(&[DELIMITER, IDR])[..]].concat();
    assert_eq!(payloads(&frames), [&header[..], &coded]);
    let adts = sample(Codec::Aac, 5, *b"\xff\xf1\x4c\x40\x01\x3f\xfc\x21\x10");
    let frames = push(&mut muxer, &in_format(Format::Adts, adts));
    assert_eq!(payloads(&frames), [&b"\xaf\x00\x11\x88"[..], b"\xaf\x01\x21\x10"]);
}

#[test]
fn a_sequence_header_comes_once_and_again_only_when_it_differs() {
    let mut muxer = muxer(&[(0, Codec::H264, Some(&avcc(SPS, PPS))), (0, Codec::Aac, Some(b"\x12\x10"))]);
    let headers = |frames: Vec<Frame>| frames.iter().filter(|frame| frame.is_config()).count();
    assert_eq!(headers(push(&mut muxer, &sample(Codec::Aac, 0, *b"\x21"))), 2, "of all tracks at once");
    assert_eq!(headers(push(&mut muxer, &h264(0, &[SPS, PPS, IDR]))), 0);
    assert_eq!(headers(push(&mut muxer, &h264(40, &[PPS, SPS, IDR]))), 0);
    muxer.set_track(0, Codec::Aac, Some(b"\x12\x10")).unwrap();
    assert_eq!(headers(push(&mut muxer, &h264(80, &[SLICE]))), 0);
    // Another picture size in-band; and the parameter sets alone, as a sample of their own.
    let other = [SPS, b"\x01"].concat();
    let frames = push(&mut muxer, &h264(120, &[&other, PPS, IDR]));
    assert!(frames[0].payload.ends_with(&avcc(&other, PPS)) && headers(frames) == 1);
    let frames = push(&mut muxer, &h264(160, &[SPS]));
    assert!(frames[0].payload.ends_with(&avcc(SPS, PPS)) && frames.len() == 1);
    let config = Sample { config: true, ..sample(Codec::Aac, 160, *b"\x11\x90") };
    let frames = push(&mut muxer, &config);
    assert_eq!((payloads(&frames), frames[0].timestamp), (vec![&b"\xaf\x00\x11\x90"[..]], 160));
    assert_eq!(push(&mut muxer, &config), []);
}

#[test]
fn a_header_comes_again_after_another_codec_had_the_track() {
    let mut muxer = muxer(&[(0, Codec::Aac, Some(b"\x12\x10"))]);
    assert_eq!(push(&mut muxer, &sample(Codec::Aac, 0, *b"\x21")).len(), 2);
    muxer.set_track(0, Codec::Mp3, None).unwrap();
    assert_eq!(push(&mut muxer, &sample(Codec::Mp3, 20, *b"\xff\xfb\x94\x64")).len(), 1);
    muxer.set_track(0, Codec::Aac, Some(b"\x12\x10")).unwrap();
    assert_eq!(push(&mut muxer, &sample(Codec::Aac, 40, *b"\x21")).len(), 2);
}

#[test]
fn headers_can_be_had_before_the_first_sample() {
    let mut muxer =
        muxer(&[(0, Codec::H264, Some(&avcc(SPS, PPS))), (0, Codec::Hevc, None), (0, Codec::Mp3, None)]);
    assert_eq!(muxer.headers(0).len(), 0, "the track was declared anew, without configuration");
    muxer.set_track(0, Codec::H264, Some(&annex_b(&[SPS, PPS]))).unwrap();
    let frames = muxer.headers(7 * MS);
    assert_eq!((frames.len(), frames[0].timestamp), (1, 7));
    assert_eq!(push(&mut muxer, &h264(40, &[IDR])).len(), 1);
}

#[test]
fn a_high_profile_record_ends_with_its_colour_format() {
    // From x264: High 4:2:2, and High 4:4:4 Predictive.
    for record in [
        &b"\x01\x7a\x00\x1f\xff\xe1\x00\x19\x67\x7a\x00\x1f\xbc\xd9\x40\x50\x05\xbe\xaf\x01\x10\0\0\x3e\x90\0\x0e\xa6\0\xf1\
            \x83\x19\x60\x01\0\x06\x68\xeb\xe3\xcb\x22\xc0\xfe\xf8\xf8\x00"[..],
        b"\x01\xf4\x00\x0d\xff\xe1\x00\x19\x67\xf4\x00\x0d\x91\x9b\x28\x28\x3f\x60\x22\0\0\x03\0\x02\0\0\x03\0\x64\x1e\
            \x28\x53\x2c\x01\0\x06\x68\xeb\xe3\xc4\x48\x44\xff\xf8\xf8\x00",
    ] {
        let frame = |muxer: &mut Muxer| muxer.headers(0)[0].clone();
        let native = frame(&mut muxer(&[(0, Codec::H264, Some(record))]));
        assert_eq!(&native.payload[5..], record);
        let sets = Demuxer::new().with_format(Format::AnnexB).push(&native).unwrap();
        assert_eq!(frame(&mut muxer(&[(0, Codec::H264, Some(&sets[0].data))])), native);
    }
}

#[test]
fn hevc_configuration_is_made_from_parameter_sets() {
    let mut muxer = muxer(&[(0, Codec::Hevc, None)]);
    let unit = annex_b(&[HEVC_VPS, HEVC_SPS, HEVC_PPS, HEVC_IDR]);
    let frames = push(&mut muxer, &in_format(Format::AnnexB, sample(Codec::Hevc, 0, unit)));
    let length = |nal: &[u8]| u16::try_from(nal.len()).unwrap().to_be_bytes();
    let set = |kind: u8, nal: &[u8]| [&[kind, 0, 1][..], &length(nal), nal].concat();
    let header = [
        &b"\x90hvc1\x01\x01\x60\0\0\0\x90\0\0\0\0\0\x3c\xf0\0\xfc\xfd\xf8\xf8\0\0\x0f\x03"[..],
        &set(32, HEVC_VPS),
        &set(33, HEVC_SPS),
        &set(34, HEVC_PPS),
    ];
    let coded = [b"\x93hvc1", &lengths(&[HEVC_IDR])[..]].concat();
    assert_eq!(payloads(&frames), [&header.concat()[..], &coded]);
    assert!(frames[1].flags.keyframe);
    let late = Sample { dts_ns: Some(40 * MS), ..sample(Codec::Hevc, 120, lengths(&[HEVC_SLICE])) };
    let frames = push(&mut muxer, &late);
    assert_eq!(payloads(&frames), [[b"\xa1hvc1\0\0\x50", &lengths(&[HEVC_SLICE])[..]].concat()]);
    assert_eq!(frames[0].timestamp, 40);
}

#[test]
fn keyframes_are_found_in_the_data_where_no_flag_tells() {
    let mut muxer =
        muxer(&[(0, Codec::H264, Some(&avcc(SPS, PPS))), (1, Codec::Av1, None), (2, Codec::Vp9, None)]);
    let flags = |muxer: &mut Muxer, sample: &Sample| push(muxer, sample).pop().unwrap().flags;
    let native = |nals: &[&[u8]]| sample(Codec::H264, 0, lengths(nals));
    assert!(flags(&mut muxer, &native(&[DELIMITER, IDR])).keyframe);
    assert!(!flags(&mut muxer, &native(&[DELIMITER, SLICE])).keyframe);
    assert!(flags(&mut muxer, &Sample { keyframe: true, ..native(&[SLICE]) }).keyframe, "a recovery point");
    assert!(flags(&mut muxer, &Sample { discardable: true, ..native(&[SLICE]) }).discardable);
    let av1 = |data: &[u8]| Sample { track: 1, ..sample(Codec::Av1, 0, data) };
    let key = av1(b"\x12\0\x0a\x0b\0\0\0\x24\xcf\x7f\x0d\xbf\xff\x30\x08\x32\x01\x10");
    assert!(flags(&mut muxer, &key).keyframe && !flags(&mut muxer, &av1(b"\x12\0\x32\x01\x30")).keyframe);
    let vp9 = |data: &[u8]| Sample { track: 2, ..sample(Codec::Vp9, 0, data) };
    assert!(flags(&mut muxer, &vp9(b"\x82\x49\x83\x42\x00\x13\xf0\x0e\xf0\x00")).keyframe);
    assert!(!flags(&mut muxer, &vp9(b"\x86\x00")).keyframe);
}

#[test]
fn in_band_sets_of_native_samples_stay_and_change_the_configuration() {
    let mut muxer = muxer(&[(0, Codec::H264, Some(&avcc(SPS, PPS)))]);
    let same = sample(Codec::H264, 0, lengths(&[SPS, PPS, IDR]));
    let frames = push(&mut muxer, &same);
    assert!(frames.len() == 2 && frames[1].payload.ends_with(&same.data));
    let other = [SPS, b"\x01"].concat();
    let changed = sample(Codec::H264, 40, lengths(&[&other, PPS, IDR]));
    let frames = push(&mut muxer, &changed);
    assert!(frames[0].payload.ends_with(&avcc(&other, PPS)) && frames[1].payload.ends_with(&changed.data));
}

#[test]
fn a_record_without_sets_leaves_them_to_the_samples() {
    // As streams of type `avc3` have it.
    let mut muxer = muxer(&[(0, Codec::H264, Some(b"\x01\x64\x00\x1e\xff\xe0\x00\xfd\xf8\xf8\x00"))]);
    let frames = push(&mut muxer, &sample(Codec::H264, 0, lengths(&[SPS, PPS, IDR])));
    assert_eq!(payloads(&frames)[0][5..], avcc(SPS, PPS));
    assert_eq!(frames.len(), 2);
}

#[test]
fn lengths_of_two_bytes_are_read_and_give_way_to_four() {
    let mut short = avcc(SPS, PPS);
    short[4] = 0xfd;
    let mut muxer = muxer(&[(0, Codec::H264, Some(&short))]);
    let native = sample(Codec::H264, 0, [b"\0\x04", IDR].concat());
    let frames = push(&mut muxer, &native);
    assert!(frames[0].payload.ends_with(&short) && frames[1].flags.keyframe);
    let mut demuxer = Demuxer::new().with_format(Format::AnnexB);
    assert_eq!(demuxer.push(&frames[0]).unwrap().len(), 1);
    assert_eq!(demuxer.push(&frames[1]).unwrap()[0].data, annex_b(&[SPS, PPS, IDR]));
    let frames = push(&mut muxer, &h264(40, &[IDR]));
    assert!(frames[0].payload.ends_with(&avcc(SPS, PPS)) && frames[1].payload.ends_with(&lengths(&[IDR])));
}

#[test]
fn annex_b_keyframes_get_their_parameter_sets_in_the_right_place() {
    let mut muxer = muxer(&[(0, Codec::H264, Some(&avcc(SPS, PPS)))]);
    let mut demuxer = Demuxer::new().with_format(Format::AnnexB);
    let mut out = |nals: &[&[u8]]| {
        let frames = muxer.push(&sample(Codec::H264, 0, lengths(nals))).unwrap();
        let samples: Vec<_> = frames.iter().flat_map(|frame| demuxer.push(frame).unwrap()).collect();
        samples.last().unwrap().data.clone()
    };
    assert_eq!(out(&[DELIMITER, IDR]), annex_b(&[DELIMITER, SPS, PPS, IDR]), "the delimiter comes first");
    assert_eq!(out(&[SPS, PPS, IDR]), annex_b(&[SPS, PPS, IDR]), "those that are there are enough");
    assert_eq!(out(&[SLICE, SLICE]), annex_b(&[SLICE, SLICE]));
}

#[test]
fn frames_before_their_configuration_are_not_converted() {
    let video = Frame::new(FrameKind::Video, 0, [b"\x17\x01\0\0\0", &lengths(&[IDR])[..]].concat().into());
    let audio = Frame::new(FrameKind::Audio, 0, Bytes::from_static(b"\xaf\x01\x21"));
    let mut demuxer = Demuxer::new().with_format(Format::AnnexB).with_format(Format::Adts);
    for frame in [&video, &audio] {
        assert_eq!(demuxer.push(frame).unwrap().len(), 0);
        assert_eq!(Demuxer::new().push(frame).unwrap().len(), 1);
    }
}

#[test]
fn aac_that_adts_cannot_express_stays_native() {
    let mut demuxer = Demuxer::new().with_format(Format::Adts);
    let mut out = |payload: &[u8]| {
        let frame = Frame::new(FrameKind::Audio, 0, Bytes::copy_from_slice(payload));
        demuxer
            .push(&frame)
            .unwrap()
            .into_iter()
            .map(|sample| (sample.format, sample.config))
            .collect::<Vec<_>>()
    };
    // 960 samples to a frame.
    assert_eq!(out(b"\xaf\0\x12\x14"), [(Format::Native, true)]);
    assert_eq!(out(b"\xaf\x01\x21"), [(Format::Native, false)]);
    assert_eq!(out(b"\xaf\0\x12\x10"), []);
    assert_eq!(out(b"\xaf\x01\x21"), [(Format::Adts, false)]);
}

#[test]
fn several_adts_frames_of_one_sample_follow_each_other_without_drift() {
    let mut muxer = muxer(&[(0, Codec::Aac, None)]);
    let one = b"\xff\xf1\x50\x80\x01\x3f\xfc\x21\x10";
    let frames = push(&mut muxer, &in_format(Format::Adts, sample(Codec::Aac, 1_000, one.repeat(431))));
    assert_eq!(frames.len(), 432);
    for (count, frame) in (0..).zip(&frames[1..]) {
        let exact = 1_000.0 + f64::from(count) * 1_024_000.0 / 44_100.0;
        assert!((frame.timestamp as f64 - exact).abs() <= 0.5, "{count}: {} ms", frame.timestamp);
    }
}

#[test]
fn times_are_rounded_one_by_one_and_do_not_drift() {
    let mut muxer = muxer(&[(0, Codec::H264, Some(&avcc(SPS, PPS)))]);
    for count in [0, 1, 2, 1_000, 1_000_000, 100_000_000] {
        let exact = f64::from(count) * 1_001_000.0 / 30_000.0;
        let dts_ns = (i128::from(count) * 1_001_000_000_000 / 30_000) as i64;
        let sample = Sample {
            dts_ns: Some(dts_ns),
            ..Sample::new(Codec::H264, dts_ns + 66_733_333, lengths(&[SLICE]))
        };
        let frame = push(&mut muxer, &sample).pop().unwrap();
        let info = PayloadInfo::parse(frame.kind, &frame.payload).unwrap();
        assert!((frame.timestamp as f64 - exact).abs() <= 0.51);
        let shown = frame.timestamp + i64::from(info.composition_time);
        assert!((shown as f64 - exact - 66.733).abs() <= 0.51, "presentation is rounded from its own time");
    }
    let before = Sample { dts_ns: Some(-80_400_000), ..sample(Codec::H264, 0, lengths(&[IDR])) };
    let frame = push(&mut muxer, &before).pop().unwrap();
    assert_eq!((frame.timestamp, &frame.payload[2..5]), (-80, &b"\0\0\x50"[..]));
    let samples = Demuxer::new().push(&frame).unwrap();
    assert_eq!((samples[0].pts_ns, samples[0].dts_ns), (0, Some(-80 * MS)));
}

#[test]
fn further_tracks_are_multitrack_bodies_with_their_ids() {
    let record = avcc(SPS, PPS);
    let mut muxer =
        muxer(&[(0, Codec::Aac, Some(b"\x12\x10")), (3, Codec::Opus, None), (1, Codec::H264, Some(&record))]);
    let opus = Sample { track: 3, ..sample(Codec::Opus, 20, *b"\xfcdata") };
    let frames = push(&mut muxer, &opus);
    let video = [b"\x96\x00avc1\x01", &record[..]].concat();
    let head = b"\x95\x00Opus\x03OpusHead\x01\x02\0\0\x80\xbb\0\0\0\0\0";
    assert_eq!(payloads(&frames), [&b"\xaf\0\x12\x10"[..], head, &video, b"\x95\x01Opus\x03\xfcdata"]);
    let back = Demuxer::new().push(&frames[3]).unwrap();
    assert_eq!((back[0].track, back[0].codec, &back[0].data), (3, Codec::Opus, &opus.data));
}

#[test]
fn a_body_with_many_tracks_gives_a_sample_of_each() {
    let payload = b"\x95\x21Opus\x01\x00\x00\x01omp4a\x02\x00\x00\x02aaxxxx\x03\x00\x00\x01x";
    let frame = Frame::new(FrameKind::Audio, 40, Bytes::from_static(payload));
    let samples = Demuxer::new().push(&frame).unwrap();
    let all: Vec<_> = samples.iter().map(|sample| (sample.track, sample.codec, &sample.data[..])).collect();
    assert_eq!(all, [(1, Codec::Opus, &b"o"[..]), (2, Codec::Aac, b"aa")], "an unknown codec has no samples");
    assert!(samples.iter().all(|sample| sample.pts_ns == 40 * MS && !sample.keyframe));
}

#[test]
fn codecs_without_in_band_configuration_take_theirs_from_set_track() {
    let head = b"OpusHead\x01\x02\x38\x01\x80\xbb\0\0\0\0\0";
    let vpcc = b"\x01\0\0\0\0\x0b\x82\x02\x02\x02\0\0";
    let mut muxer =
        muxer(&[(0, Codec::Opus, Some(head)), (0, Codec::Vp9, Some(vpcc)), (1, Codec::Vvc, Some(b"\xff\0"))]);
    let frames = push(&mut muxer, &sample(Codec::Opus, 0, *b"\xfc"));
    let expected = [
        &[b"\x90Opus", &head[..]].concat()[..],
        &[b"\x90vp09", &vpcc[4..]].concat(),
        b"\x96\x00vvc1\x01\xff\0",
        b"\x91Opus\xfc",
    ];
    assert_eq!(payloads(&frames), expected);
}

#[test]
fn codecs_without_configuration_need_none() {
    for (codec, data, body) in [
        (Codec::Mp3, &b"\xff\xfb\x94\x64"[..], &b"\x2f"[..]),
        (Codec::G711a, b"\xd5", b"\x72"),
        (Codec::G711u, b"\xff", b"\x82"),
        (Codec::Ac3, b"\x0b\x77", b"\x91ac-3"),
        (Codec::Eac3, b"\x0b\x77", b"\x91ec-3"),
    ] {
        let mut muxer = muxer(&[(0, codec, None)]);
        assert_eq!(payloads(&push(&mut muxer, &sample(codec, 0, data))), [[body, data].concat()], "{codec}");
    }
}

#[test]
fn data_events_need_no_track() {
    let event = b"\x02\x00\x0aonMetaData\x05";
    let wrapped = [b"\x02\x00\x0d@setDataFrame", &event[..]].concat();
    let frames = push(&mut Muxer::new(), &sample(Codec::Data, 7, wrapped));
    assert_eq!((payloads(&frames), frames[0].timestamp), (vec![&event[..]], 7));
    let samples = Demuxer::new().push(&frames[0]).unwrap();
    assert!(samples[0].codec == Codec::Data && samples[0].config && samples[0].pts_ns == 7 * MS);
}

#[test]
fn what_has_no_elementary_form_gives_no_samples() {
    for (kind, payload) in [
        (FrameKind::Video, &b"\x17\x02\0\0\0"[..]),
        (FrameKind::Video, b"\x57\0"),
        (FrameKind::Video, b"\xd4av01\x02\0\x09colorInfo"),
        (FrameKind::Video, b"\x90xxxxrecord"),
        (FrameKind::Video, b"\x90av01"),
        (FrameKind::Audio, b"\x94Opus\x01\x02"),
        (FrameKind::Audio, b"\xaf\x01"),
        (FrameKind::Audio, b""),
        (FrameKind::Data, b""),
    ] {
        let frame = Frame::new(kind, 0, Bytes::from_static(payload));
        assert_eq!(Demuxer::new().push(&frame).unwrap().len(), 0, "{payload:x?}");
    }
}

/// Kind and text of an error.
fn failure<T: std::fmt::Debug>(result: Result<T>) -> (ErrorKind, String) {
    let error = result.unwrap_err();
    (error.kind(), error.to_string())
}

#[test]
fn missing_configuration_is_an_error_that_says_what_to_do() {
    for (codec, data, advice) in [
        (Codec::H264, lengths(&[IDR]), "avcC"),
        (Codec::Hevc, lengths(&[HEVC_IDR]), "hvcC"),
        (Codec::Aac, b"\x21\x10".to_vec(), "AudioSpecificConfig"),
        (Codec::Av1, b"\x32\x01\x30".to_vec(), "keyframe"),
        (Codec::Flac, b"\xff\xf8".to_vec(), "set_track"),
    ] {
        let mut muxer = muxer(&[(0, codec, None)]);
        let (kind, text) = failure(muxer.push(&sample(codec, 0, data)));
        assert!(
            kind == ErrorKind::State && text.contains(advice) && text.contains(&codec.to_string()),
            "{text}"
        );
    }
    let mut muxer = muxer(&[(0, Codec::H264, None)]);
    assert_eq!(failure(muxer.push(&h264(0, &[SPS, IDR]))).0, ErrorKind::State, "no PPS");
    assert_eq!(push(&mut muxer, &h264(40, &[PPS, IDR])).len(), 2, "and then it comes");
}

#[test]
fn samples_that_do_not_fit_their_track_are_refused() {
    let mut muxer = muxer(&[(0, Codec::H264, Some(&avcc(SPS, PPS))), (0, Codec::Aac, None)]);
    let mut refused = |sample: Sample| failure(muxer.push(&sample));
    let (kind, text) = refused(sample(Codec::Opus, 0, *b"x"));
    assert_eq!(
        (kind, text.as_str()),
        (ErrorKind::InvalidArgument, "audio track 0 (Opus): declared as AAC, call set_track to change it")
    );
    let (kind, text) = refused(Sample { track: 1, ..h264(0, &[IDR]) });
    assert_eq!(
        (kind, text.as_str()),
        (ErrorKind::State, "video track 1 (H.264): not declared, call set_track first")
    );
    assert_eq!(
        refused(in_format(Format::AnnexB, sample(Codec::Aac, 0, *b"x"))).0,
        ErrorKind::InvalidArgument
    );
    assert_eq!(refused(in_format(Format::Adts, h264(0, &[IDR]))).0, ErrorKind::InvalidArgument);
    let (kind, text) = refused(sample(Codec::H264, 0, annex_b(&[SLICE])));
    assert!(kind == ErrorKind::Format && text.contains("AnnexB"), "{text}");
    let (kind, text) = refused(in_format(Format::AnnexB, sample(Codec::H264, 0, lengths(&[SLICE, SLICE]))));
    assert!(kind == ErrorKind::Format && text.contains("Native"), "{text}");
    let (kind, text) = refused(in_format(Format::Adts, sample(Codec::Aac, 0, *b"\x21\x10")));
    assert!(kind == ErrorKind::Format && text.contains("byte 0"), "{text}");
    let apart = Sample { dts_ns: Some(0), ..sample(Codec::H264, 1 << 23, lengths(&[SLICE])) };
    assert_eq!(refused(apart.clone()).0, ErrorKind::InvalidArgument);
    assert_eq!(
        refused(Sample { pts_ns: i64::MIN, dts_ns: Some(i64::MAX), ..apart }).0,
        ErrorKind::InvalidArgument
    );
    let huge = sample(Codec::H264, 0, vec![0; 1 << 24]);
    assert_eq!(refused(huge).0, ErrorKind::Limit);
    assert_eq!(push(&mut muxer, &h264(40, &[IDR])).len(), 2, "the muxer goes on, with its header");
}

#[test]
fn tracks_that_cannot_be_written_are_refused() {
    let mut muxer = Muxer::new();
    for (track, codec, kind) in [
        (1, Codec::G711a, ErrorKind::Unsupported),
        (0, Codec::Speex, ErrorKind::Unsupported),
        (0, Codec::FourCc(*b"xxxx"), ErrorKind::Unsupported),
    ] {
        assert_eq!(failure(muxer.set_track(track, codec, None)).0, kind);
    }
    let long = vec![1; 70_000];
    for (codec, extradata) in [
        (Codec::H264, &b"\x01\x4d\x40\x1e\xff\xe1\x00\x19\x67"[..]),
        (Codec::H264, b"junk"),
        (Codec::H264, b"\0\0\0\x01\x67"),
        (Codec::Hevc, &avcc(SPS, PPS)),
        (Codec::H264, b"\x01\x01\x60\0\0\0\x90\0\0\0\0\0\x3c\xf0\0\xfc\xfd\xf8\xf8\0\0\x0f\0"),
        (Codec::Aac, b"\x16"),
        (Codec::Av1, b"\x01\x02\x03\x04"),
        (Codec::Vp9, b"\0"),
        (Codec::Opus, b"Opus"),
        (Codec::Flac, b"x"),
        (Codec::Vvc, &long),
    ] {
        let (kind, text) = failure(muxer.set_track(0, codec, Some(extradata)));
        assert!(kind == ErrorKind::Format && text.contains(&codec.to_string()), "{text}");
    }
    assert_eq!(failure(muxer.push(&h264(0, &[IDR]))).0, ErrorKind::State, "none was declared");
}

#[test]
fn malformed_frames_are_told_and_do_not_stop_the_next() {
    let mut demuxer = Demuxer::new().with_format(Format::AnnexB);
    let video = |payload: Vec<u8>| Frame::new(FrameKind::Video, 40, payload.into());
    assert_eq!(failure(demuxer.push(&video(b"\x17\0\0\0\0junk".to_vec()))).0, ErrorKind::Format);
    demuxer.push(&video([b"\x17\0\0\0\0", &avcc(SPS, PPS)[..]].concat())).unwrap();
    let (kind, text) = failure(demuxer.push(&video(b"\x27\x01\0\0\0\0\0\0\x02\x41".to_vec())));
    assert_eq!(
        (kind, text.as_str()),
        (ErrorKind::Format, "video track 0 (H.264) at 40000000 ns: the NAL unit at byte 0 is cut off")
    );
    assert_eq!(demuxer.push(&video(b"\x27\x01\0\0\0\0\0\0\x01\x41".to_vec())).unwrap().len(), 1);
}
