//! What holds for all samples.

use crate::reader::{CIRCLE, Item, PACKET, Pes, Reader, Segment, distance};
use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use std::collections::BTreeMap;
use streamengine::media::flv::Codec;
use streamengine::media::ts::{TsMuxer, TsSample, TsTrack};
use streamengine::{Error, ErrorKind, Result};

/// How much later than told the clock is, and how much later than that frames are decoded and shown.
const DELAY: i64 = 63_000;
const LEAD: i64 = 63_000;
/// AAC LC, 44.1 kHz, stereo.
const AAC: &[u8] = &[0x12, 0x10];
/// Lengths at which something is different: of packets, of their first ones, of PES packets.
const LENGTHS: &[usize] = &[
    0, 1, 2, 150, 151, 157, 158, 159, 163, 164, 165, 169, 170, 171, 182, 183, 184, 185, 367, 368, 65_516,
    65_527, 65_528, 65_536,
];

fn h264() -> TsTrack {
    TsTrack::new(Codec::H264, &[]).unwrap()
}

fn aac() -> TsTrack {
    TsTrack::new(Codec::Aac, AAC).unwrap()
}

fn sample(track: usize, dts: i64, len: usize) -> TsSample {
    let data = (0..len).map(|at| (at * 7 + len + track) as u8).collect::<Vec<u8>>();
    TsSample { track, dts, composition: 0, is_sync: track == 0, data: data.into() }
}

/// What a sample looks like in the stream: the tests' video has no delimiter of its own.
fn sent(sample: &TsSample, is_video: bool) -> Vec<u8> {
    [if is_video { &b"\0\0\0\x01\x09\xf0"[..] } else { b"" }, &sample.data].concat()
}

/// Modulo 2^33.
fn on_circle(at: i64) -> u64 {
    at.rem_euclid(CIRCLE as i64) as u64
}

/// A stream's samples: a step in time, a length, how much later it is shown, whether it is a keyframe.
type Made = (i64, usize, i32, bool);

fn video() -> impl Strategy<Value = Vec<Made>> {
    let step =
        prop_oneof![4 => Just(3_000_i64), 2 => 1..4_000_i64, 1 => 8_990..9_010_i64, 1 => 9_000..90_000_i64];
    let len = prop_oneof![4 => select(LENGTHS), 4 => 1..3_000_usize];
    vec((step, len, -3_000..9_000_i32, any::<bool>()), 1..40)
}

/// Frames mostly behind each other, with what milliseconds do to times, and now and then a hole or somewhat more.
fn audio() -> impl Strategy<Value = Vec<(i64, usize)>> {
    let step = prop_oneof![8 => 2_000..2_181_i64, 1 => 0..2_090_i64, 1 => 2_090..40_000_i64];
    let len = prop_oneof![1 => select(LENGTHS), 8 => 1..800_usize];
    vec((step, len), 0..60)
}

/// The samples of both tracks in the order of their times, in segments; the first picture is shown a lot before it is decoded, as
/// far as that goes in this stream.
fn segments(
    video: &[Made],
    audio: &[(i64, usize)],
    begin: i64,
    early: i32,
    cuts: usize,
) -> Vec<Vec<TsSample>> {
    let mut samples = Vec::new();
    let mut at = begin;
    for (number, (step, len, composition, is_sync)) in video.iter().enumerate() {
        let composition = if number == 0 { -early } else { (*composition).max(-early) };
        let len = if number == 0 { (*len).max(1) } else { *len };
        samples.push(TsSample { composition, is_sync: *is_sync, ..sample(0, at, len) });
        at += step;
    }
    at = begin;
    for (step, len) in audio {
        samples.push(sample(1, at, *len));
        at += step;
    }
    samples.sort_by_key(|sample| sample.dts);
    samples.chunks(samples.len().div_ceil(cuts).max(1)).map(<[_]>::to_vec).collect()
}

/// The frames of a track come again in PES packets, each at its time.
fn is_sent(pes: &[Pes], samples: &[&TsSample], early: i64, is_video: bool) {
    let mut rest = samples.iter();
    for pes in pes {
        let (mut data, mut count) = (&pes.data[..], 0_i64);
        while !data.is_empty() {
            let sample = rest.next().expect("no more than there were");
            data = data.strip_prefix(&sent(sample, is_video)[..]).expect("the frames in their order");
            if is_video {
                assert_eq!(pes.pts, on_circle(sample.dts + i64::from(sample.composition) + DELAY + LEAD));
                assert_eq!(pes.dts, on_circle(sample.dts - early + DELAY + LEAD));
                assert_eq!((pes.is_random_access, data.len()), (sample.is_sync, 0), "one in each");
            } else {
                let place = pes.pts as i64 + count * 1_024 * 90_000 / 44_100;
                let off = distance(on_circle(sample.dts + DELAY + LEAD), on_circle(place));
                assert!(off.abs() <= if count == 0 { 0 } else { 451 }, "frame {count} is {off} off");
                count += 1;
            }
        }
        assert!(
            pes.is_random_access || count * 1_024 * 10 <= 2 * 44_100,
            "{count} frames are more than 200 ms"
        );
    }
    assert_eq!(rest.next(), None, "all there were");
}

/// The clock never goes back, is told at least each 100 ms, and is not later than anything that follows; the frames of a track are
/// decoded in their order, and none is shown before.
fn clock_is_right(items: &[Item]) {
    let (mut last, mut decoded) = (None, BTreeMap::new());
    for item in items {
        match item {
            Item::Clock(at, is_new) => {
                assert!(!is_new);
                let passed = last.map_or(0, |last| distance(last, *at));
                assert!((0..=9_000).contains(&passed), "{passed}");
                last = Some(*at);
            }
            Item::Pes(pes) => {
                let until = distance(last.expect("the clock comes first"), pes.dts);
                assert!((0..=LEAD + 9_000).contains(&until), "{until}");
                assert!(distance(pes.dts, pes.pts) >= 0);
                let before = decoded.insert(pes.pid, pes.dts);
                assert!(before.is_none_or(|before| distance(before, pes.dts) >= 0));
            }
        }
    }
}

fn read(muxer: &mut TsMuxer, segments: &[Vec<TsSample>]) -> Vec<Segment> {
    let mut reader = Reader::default();
    segments.iter().map(|samples| reader.segment(&muxer.segment(samples).unwrap())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn frames_come_again_at_their_times_and_the_clock_goes_with_them(
        video in video(),
        audio in audio(),
        begin in select(&[0_i64, -1_000, 90_000, (1 << 33) - 100_000, (7 << 33) - 70_000][..]),
        early in select(&[0_i32, 3_000][..]),
        cuts in 1..6_usize,
    ) {
        let segments = segments(&video, &audio, begin, early, cuts);
        let read = read(&mut TsMuxer::new(&[h264(), aac()]).unwrap(), &segments);
        for (segment, samples) in read.iter().zip(&segments) {
            prop_assert_eq!(&segment.tracks[..], &[(0x1b, 0x100, vec![]), (0x0f, 0x101, vec![])][..]);
            prop_assert_eq!((segment.clock_pid, segment.version), (0x100, 0));
            for (track, pid) in [(0, 0x100), (1, 0x101)] {
                let pes: Vec<_> = segment.pes().filter(|pes| pes.pid == pid).cloned().collect();
                let is_one = |sample: &&TsSample| {
                    let len = sample.data.len();
                    sample.track == track && len > 0 && (track == 0 || len <= 65_527)
                };
                is_sent(&pes, &samples.iter().filter(is_one).collect::<Vec<_>>(), early.into(), track == 0);
            }
        }
        let items: Vec<_> = read.into_iter().flat_map(|segment| segment.items).collect();
        clock_is_right(&items);
    }

    #[test]
    fn audio_alone_tells_the_clock_and_begins_anywhere(audio in audio(), cuts in 1..6_usize) {
        let mut samples = segments(&[], &audio, 0, 0, 1).concat();
        samples.iter_mut().for_each(|sample| sample.track = 0);
        prop_assume!(!samples.is_empty());
        let segments: Vec<_> = samples.chunks(samples.len().div_ceil(cuts)).map(<[_]>::to_vec).collect();
        let read = read(&mut TsMuxer::new(&[aac()]).unwrap(), &segments);
        for (segment, samples) in read.iter().zip(&segments) {
            prop_assert_eq!((&segment.tracks[..], segment.clock_pid), (&[(0x0f, 0x101, vec![])][..], 0x101));
            let pes: Vec<_> = segment.pes().cloned().collect();
            prop_assert!(pes.iter().all(|pes| pes.is_random_access && pes.stream_id == 0xc0));
            let is_one = |sample: &&TsSample| (1..=65_527).contains(&sample.data.len());
            is_sent(&pes, &samples.iter().filter(is_one).collect::<Vec<_>>(), 0, false);
        }
        let items: Vec<_> = read.into_iter().flat_map(|segment| segment.items).collect();
        clock_is_right(&items);
    }

    /// In order of their arrival, with times that are a little off, and no matter how much later they are shown.
    #[test]
    fn frames_in_some_disorder_come_out_in_order(
        made in vec((0..2_usize, -4_000..4_000_i64, prop_oneof![-200_000..200_000_i32, -4_000..9_000_i32]), 1..120),
        cuts in 1..6_usize,
    ) {
        let at = |number: usize, off: i64| i64::try_from(number).unwrap() * 1_500 + off;
        let samples: Vec<_> = made
            .iter()
            .enumerate()
            .map(|(number, (track, off, composition))| {
                TsSample { composition: *composition, ..sample(*track, at(number, *off), 300) }
            })
            .collect();
        let segments: Vec<_> = samples.chunks(samples.len().div_ceil(cuts)).map(<[_]>::to_vec).collect();
        let read = read(&mut TsMuxer::new(&[h264(), aac()]).unwrap(), &segments);
        let items: Vec<_> = read.into_iter().flat_map(|segment| segment.items).collect();
        clock_is_right(&items);
    }

    /// Peers choose times and bytes.
    #[test]
    fn no_times_and_no_bytes_break_the_stream(
        made in vec((0..2_usize, prop_oneof![any::<i64>(), -100_000..100_000_i64], any::<i32>(), vec(any::<u8>(), 0..400)), 0..40),
        cuts in 1..4_usize,
    ) {
        let samples: Vec<_> = made
            .into_iter()
            .map(|(track, dts, composition, data)| {
                TsSample { track, dts, composition, is_sync: true, data: data.into() }
            })
            .collect();
        let segments: Vec<_> =
            samples.chunks(samples.len().div_ceil(cuts).max(1)).map(<[_]>::to_vec).collect();
        for (segment, samples) in read(&mut TsMuxer::new(&[h264(), aac()]).unwrap(), &segments).iter().zip(&segments) {
            for (track, pid) in [(0, 0x100), (1, 0x101)] {
                let pes: Vec<u8> = segment.pes().filter(|pes| pes.pid == pid).flat_map(|pes| pes.data.clone()).collect();
                let told = samples.iter().filter(|sample| sample.track == track && !sample.data.is_empty());
                let has_delimiter = |data: &[u8]| {
                    let at = data.iter().position(|byte| *byte != 0).unwrap_or_default();
                    at >= 2 && data[at] == 1 && data.get(at + 1).is_some_and(|byte| byte & 0x1f == 9)
                };
                let bytes: Vec<u8> = told.flat_map(|sample| sent(sample, track == 0 && !has_delimiter(&sample.data))).collect();
                prop_assert_eq!(pes, bytes, "in the order in which they came");
            }
        }
    }
}

#[test]
fn a_jump_in_time_is_not_filled_with_clock_references() {
    const HOUR: i64 = 3_600 * 90_000;
    let mut muxer = TsMuxer::new(&[h264()]).unwrap();
    let mut jumps = |times: &[i64]| {
        let samples: Vec<_> = times.iter().map(|at| sample(0, *at, 10)).collect();
        let bytes = muxer.segment(&samples).unwrap();
        let items = Reader::default().segment(&bytes).items;
        let new = items.iter().filter(|item| matches!(item, Item::Clock(_, true))).count();
        (bytes.len() / PACKET - 2 - times.len(), new)
    };
    assert_eq!(jumps(&[0, 90_000, 10 * 90_000]), (9 + 89, 0), "a reference each 100 ms");
    assert_eq!(jumps(&[HOUR, HOUR + 3_000]), (0, 1));
    assert_eq!(jumps(&[0, 3_000]), (0, 1));
    assert_eq!(jumps(&[0, 3_000]), (0, 0), "a little back is no jump");
}

/// As the first pictures of a stream are, which is cut where a keyframe is shown.
#[test]
fn nothing_is_below_zero_where_a_stream_begins() {
    let mut muxer = TsMuxer::new(&[h264(), aac()]).unwrap();
    let samples = [
        TsSample { composition: 6_000, ..sample(0, -6_000, 100) },
        TsSample { composition: -3_000, ..sample(0, -3_000, 100) },
        sample(1, 0, 100),
    ];
    for item in Reader::default().segment(&muxer.segment(&samples).unwrap()).items {
        let times = match item {
            Item::Clock(at, _) => vec![at],
            Item::Pes(pes) => vec![pes.pts, pes.dts],
        };
        assert!(times.iter().all(|at| *at < 1 << 20), "{times:?}");
    }
}

#[test]
fn a_renewed_muxer_goes_on_counting_and_says_that_the_time_is_another() {
    let mut muxer = TsMuxer::new(&[h264(), aac()]).unwrap();
    let mut reader = Reader::default();
    let mut segment =
        |muxer: &mut TsMuxer, samples: &[TsSample]| reader.segment(&muxer.segment(samples).unwrap());
    let clocks = |segment: &Segment| -> Vec<_> {
        let clock = |item: &Item| {
            if let Item::Clock(at, is_new) = item { Some((*at - DELAY as u64, *is_new)) } else { None }
        };
        segment.items.iter().filter_map(clock).collect()
    };
    let first = segment(&mut muxer, &[sample(0, 900_000, 500), sample(1, 900_000, 500)]);
    assert_eq!(clocks(&first), [(900_000, false)]);
    muxer.renew(&[h264(), aac()]).unwrap();
    let again = segment(&mut muxer, &[sample(1, 0, 500), sample(0, 900, 500), sample(0, 3_900, 500)]);
    assert_eq!(clocks(&again), [(0, true), (900, false), (3_900, false)], "also where audio comes first");
    assert_eq!(again.version, 0, "the same tracks");
    muxer.renew(&[aac()]).unwrap();
    let other = segment(&mut muxer, &[sample(0, 0, 500)]);
    assert_eq!((other.version, clocks(&other)), (1, vec![(0, true)]));
    muxer.renew(&[h264(), aac()]).unwrap();
    assert_eq!(segment(&mut muxer, &[sample(0, 0, 500), sample(1, 0, 500)]).version, 2);
    assert_eq!(muxer.renew(&[]).map_err(|error| error.kind()), Err(ErrorKind::InvalidArgument));
    assert_eq!(segment(&mut muxer, &[sample(0, 3_000, 500)]).version, 2, "nothing has changed");
}

#[test]
fn steady_audio_needs_no_packets_for_the_clock() {
    let mut muxer = TsMuxer::new(&[aac()]).unwrap();
    let samples: Vec<_> = (0..400).map(|number| sample(0, number * 1_024 * 90 * 10 / 441, 371)).collect();
    let segment = Reader::default().segment(&muxer.segment(&samples).unwrap());
    let clocks = segment.items.iter().filter(|item| matches!(item, Item::Clock(..))).count();
    assert_eq!((segment.pes().count(), clocks), (100, 100), "four frames each");
}

#[test]
fn a_segment_of_nothing_has_its_tables() {
    let mut muxer = TsMuxer::new(&[h264()]).unwrap();
    assert_eq!(muxer.segment(&[]).unwrap().len(), 2 * PACKET);
}

#[test]
fn audio_that_no_pes_packet_can_have_is_left_out() {
    let mut muxer = TsMuxer::new(&[aac()]).unwrap();
    let samples = [sample(0, 0, 65_528), sample(0, 2_090, 65_527), sample(0, 4_180, 1)];
    let segment = Reader::default().segment(&muxer.segment(&samples).unwrap());
    let lengths: Vec<_> = segment.pes().map(|pes| pes.data.len()).collect();
    assert_eq!(lengths, [65_527, 1], "and one that is full takes no other");
}

#[test]
fn a_segment_takes_the_room_that_it_needs() {
    let mut muxer = TsMuxer::new(&[h264(), aac()]).unwrap();
    let audio = (0..90).map(|at| sample(1, at * 2_090, 371));
    let samples: Vec<_> = (0..60).map(|at| sample(0, at * 3_000, 4_000)).chain(audio).collect();
    let segment = muxer.segment(&samples).unwrap();
    let len = segment.len();
    assert_eq!(Vec::from(segment).capacity(), len, "one allocation, and nothing left over");
}

#[test]
fn what_no_table_can_tell_of_is_refused() {
    let kind = |tracks: &[TsTrack]| TsMuxer::new(tracks).map(|_| ()).map_err(|error| error.kind());
    assert_eq!(kind(&[]), Err(ErrorKind::InvalidArgument));
    assert_eq!(kind(&[h264(), aac(), h264()]), Err(ErrorKind::InvalidArgument));
    assert_eq!(kind(&[aac(); 30]), Ok(()));
    assert_eq!(kind(&[aac(); 40]), Err(ErrorKind::Limit));
    let of_no_track = TsMuxer::new(&[aac()]).unwrap().segment(&[sample(1, 0, 1)]);
    assert_eq!(of_no_track.map_err(|error| error.kind()), Err(ErrorKind::InvalidArgument));
}

#[test]
fn tracks_are_what_receivers_know_them_by() {
    let told = |codec, config: &[u8]| {
        let mut muxer = TsMuxer::new(&[TsTrack::new(codec, config)?])?;
        let data = Bytes::from_static(b"\0\0\x01\x01");
        let sample = TsSample { track: 0, dts: 0, composition: 0, is_sync: true, data };
        let segment = Reader::default().segment(&muxer.segment(&[sample])?);
        let stream_id = segment.pes().next().unwrap().stream_id;
        let (stream_type, _, descriptors) = segment.tracks[0].clone();
        Result::Ok((stream_type, stream_id, String::from_utf8(descriptors).unwrap()))
    };
    let is = |codec, config: &[u8], stream_type, stream_id, descriptors: &str| {
        assert_eq!(told(codec, config).unwrap(), (stream_type, stream_id, descriptors.to_owned()), "{codec}");
    };
    is(Codec::H264, b"", 0x1b, 0xe0, "");
    is(Codec::Hevc, b"", 0x24, 0xe0, "\x05\x04HEVC");
    is(Codec::Aac, AAC, 0x0f, 0xc0, "");
    is(Codec::Mp3, b"\xff\xfb\x94\x64", 0x03, 0xc0, "");
    is(Codec::Mp3, b"\xff\xf3\x90\xc4", 0x04, 0xc0, "");
    is(Codec::Ac3, b"\x0b\x77\xfe\x95\x14\x40\x43\xe1\x06", 0x81, 0xbd, "\x05\x04AC-3");
    is(Codec::Eac3, b"\x0b\x77\x01\x7f\x34\x87\xc0\x00", 0x87, 0xbd, "\x05\x04EAC3");

    let refused = |codec, config: &[u8]| told(codec, config).map_err(|error: Error| error.kind());
    for codec in [Codec::Aac, Codec::Mp3, Codec::Ac3, Codec::Eac3] {
        assert_eq!(refused(codec, b""), Err(ErrorKind::Format), "{codec}");
    }
    for codec in [Codec::Av1, Codec::Vp9, Codec::Vvc, Codec::Flac, Codec::Speex, Codec::G711a, Codec::Data] {
        assert_eq!(refused(codec, b"\x01\x02"), Err(ErrorKind::Unsupported), "{codec}");
    }
    assert_eq!(
        refused(Codec::Opus, b"OpusHead\x01\x02\x38\x01\x80\xbb\0\0\0\0\0"),
        Err(ErrorKind::Unsupported)
    );
    assert_eq!(refused(Codec::Aac, &[0x12, 0x00]), Err(ErrorKind::Unsupported), "channels told in the data");
    let text = told(Codec::Av1, b"").unwrap_err().to_string();
    assert!(text.contains("AV1") && text.contains("hls.format to \"fmp4\""), "{text}");
}
