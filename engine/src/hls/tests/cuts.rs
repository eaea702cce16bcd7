//! Where a stream is cut, and what is told of it then.

use super::timeline::Late;
use super::*;
use crate::media::fmp4::reading::{Read, read};

/// What comes of all of a stream's frames at once.
fn cuts_of(frames: &[Frame], part_ms: Option<u64>) -> Vec<Cut> {
    cuts_planned(frames, frames.len(), part_ms)
}

/// The same where so many of them have come when it begins.
fn cuts_planned(frames: &[Frame], first: usize, part_ms: Option<u64>) -> Vec<Cut> {
    let plan = Plan::of(&frames[..first], MainIds::default(), wishes(part_ms)).expect("something to play");
    let (mut segmenter, mut cuts) = (Segmenter::new(&plan, 0), Vec::new());
    frames.iter().for_each(|frame| segmenter.push(frame, &mut cuts));
    segmenter.flush(&mut cuts);
    cuts
}

fn headers(cuts: &[Cut]) -> Vec<&[Header]> {
    let mut found = Vec::new();
    for cut in cuts {
        if let Cut::Break(headers) = cut {
            found.push(&headers[..]);
        }
    }
    found
}

#[test]
fn sound_without_a_record_is_there_from_the_first_segment_on() {
    let mp3 = Bytes::from([&b"\x2f\xff\xfb\x90\x64"[..], &[0; 413]].concat());
    let is_sound = |frame: &Frame| frame.kind == FrameKind::Audio;
    let steps = steady(40_000, 25, 100).steps().into_iter().filter_map(Step::into_frame);
    let frames: Vec<_> = steps
        .filter(|frame| !is_sound(frame) || !frame.is_config())
        .map(|frame| match is_sound(&frame) {
            // Behind the picture of that time, too.
            true => Frame::new(FrameKind::Audio, frame.timestamp + 20, mp3.clone()),
            false => frame,
        })
        .collect();
    let cuts = cuts_of(&frames, Some(200));
    let codecs: Vec<_> = headers(&cuts).iter().map(|headers| headers[0].codecs.join(",")).collect();
    assert_eq!(codecs, ["avc1.42c01e,mp4a.40.34"]);
}

#[test]
fn a_keyframe_of_vp9_tells_its_size_and_another_size_is_a_break() {
    const RECORD: &[u8] = b"\x90vp09\x01\0\0\0\0\x14\x82\x02\x02\x02\0\0";
    const KEYS: [&[u8]; 2] = [
        b"\x91vp09\x82\x49\x83\x42\x00\x13\xf0\x0e\xf0\x00",
        b"\x91vp09\x82\x49\x83\x42\x00\x27\xf0\x16\x70\x00",
    ];
    let frame =
        |at: i64, payload: &'static [u8]| Frame::new(FrameKind::Video, at, Bytes::from_static(payload));
    // Two seconds of each size.
    let of = |number: i64| match number % 25 {
        0 => frame(number * 40, KEYS[usize::from(number >= 50)]),
        _ => frame(number * 40, b"\xa1vp09\x86\0"),
    };
    let frames: Vec<_> = std::iter::once(frame(0, RECORD)).chain((0..100).map(of)).collect();
    let cuts = cuts_of(&frames, Some(200));
    let sizes: Vec<_> = headers(&cuts).iter().map(|headers| headers[0].size).collect();
    assert_eq!(sizes, [Some((320, 240)), Some((640, 360))]);
}

#[test]
fn sound_of_a_picture_that_has_never_come_is_left_out() {
    let mut frames: Vec<_> =
        steady(40_000, 25, 60).steps().into_iter().filter_map(Step::into_frame).collect();
    // A hole that no segment has room for; behind it pictures come that one cannot begin with, for 20 s, and then one can.
    let begins = frames.last().unwrap().timestamp + 30_000;
    frames.push(inter(begins, 50));
    frames.extend((0..800).map(|number| audio(begins + number * 25)));
    frames.push(keyframe(begins + 20_100, 50));
    frames.push(inter(begins + 20_140, 50));
    let last = cuts_of(&frames, Some(200)).into_iter().rev().find_map(|cut| match cut {
        Cut::Part(part) => Some(part),
        _ => None,
    });
    let bytes = last.unwrap().media[0].len();
    // Each frame has 16 bytes in the table of its part.
    assert!(bytes < 16 * 50, "{bytes} bytes: more than half a second of sound");
}

#[test]
fn a_part_ends_where_it_has_much_in_it() {
    let header = avc_header(0, AVC_RECORDS[0]);
    let pictures = (1..30).map(|number| inter(number * 40, 1024 * 1024));
    let frames: Vec<_> = [header, keyframe(0, 100)]
        .into_iter()
        .chain(pictures)
        .chain([keyframe(1_200, 100), inter(1_240, 100)])
        .collect();
    let cuts = cuts_of(&frames, None);
    let parts = cuts.iter().take_while(|cut| **cut != Cut::Segment).filter(|cut| matches!(cut, Cut::Part(_)));
    assert_eq!(parts.count(), 4, "29 MiB, 9 at a time");
}

#[test]
fn sound_that_lasts_longer_than_the_picture_is_in_the_last_parts() {
    let mut frames: Vec<Frame> =
        steady(40_000, 25, 100).steps().into_iter().filter_map(Step::into_frame).collect();
    let newest = frames.iter().map(|frame| frame.timestamp).max().unwrap();
    let ends = newest + 450;
    let sound = (1..20).map(|count| newest + 1 + count * 1_024_000 / 44_100).take_while(|at| *at < ends);
    frames.extend(sound.map(audio));
    let plan = Plan::of(&frames, MainIds::default(), wishes(Some(200))).unwrap();
    let (mut segmenter, mut cuts) = (Segmenter::new(&plan, 0), Vec::new());
    frames.iter().for_each(|frame| segmenter.push(frame, &mut cuts));
    segmenter.flush(&mut cuts);
    let last = cuts.iter().rev().find_map(|cut| match cut {
        Cut::Part(part) => Some(part.begins + part.lasts),
        _ => None,
    });
    let (sound, end) = (frames.last().unwrap().timestamp, last.unwrap() / 90);
    // Counted samples are as near to what the publisher says.
    assert!((sound - 40..sound + 50).contains(&end), "the last sound is of {sound}, the end {end}");
    let most = plan.rules.part.unwrap();
    let longest = cuts.iter().filter_map(|cut| match cut {
        Cut::Part(part) => Some(part.lasts),
        _ => None,
    });
    assert!(longest.max() <= Some(most), "H3");
}

/// What the parts have of each track, by its number, with all init segments before it: times and bytes.
fn media(cuts: &[Cut]) -> HashMap<u32, Vec<(u64, Vec<u8>)>> {
    let mut tracks: HashMap<u32, Vec<_>> = HashMap::new();
    for cut in cuts {
        if let Cut::Part(part) = cut {
            for piece in read(&part.media[0]) {
                let Read::Sample(sample) = piece else { panic!("{piece:?}") };
                tracks.entry(sample.track).or_default().push((sample.time, sample.data));
            }
        }
    }
    tracks
}

/// Numbers and sample entries of the tracks after each break.
fn entries(cuts: &[Cut]) -> Vec<Vec<(u32, String)>> {
    let of = |headers: &[Header]| match &read(&headers[0].init)[..] {
        [Read::Init(tracks)] => tracks.iter().map(|track| (track.id, track.entry.clone())).collect(),
        other => panic!("{other:?}"),
    };
    headers(cuts).into_iter().map(of).collect()
}

fn is_coded(frame: &Frame, kind: FrameKind) -> bool {
    frame.kind == kind && !frame.is_config()
}

/// A stream of which something comes late, and what becomes of it where HLS begins before.
fn late(late: Late) -> (Vec<Frame>, Vec<Cut>) {
    let shape = Shape { late: Some(late), ..steady(40_000, 25, 500) };
    let frames: Vec<Frame> = shape.steps().into_iter().filter_map(Step::into_frame).collect();
    let kind = if matches!(late, Late::Sound(_)) { FrameKind::Audio } else { FrameKind::Video };
    let first = frames.iter().position(|frame| is_coded(frame, kind)).unwrap();
    let cuts = cuts_planned(&frames, first, Some(200));
    (frames, cuts)
}

#[test]
fn late_sound_is_there_from_the_next_keyframe_on_and_no_picture_is_missing() {
    let (frames, cuts) = late(Late::Sound(130));
    assert_eq!(
        entries(&cuts),
        [vec![(1, "avc1".to_owned())], vec![(1, "avc1".to_owned()), (2, "mp4a".to_owned())]]
    );
    let media = media(&cuts);
    let pictures: Vec<_> = frames.iter().filter(|frame| is_coded(frame, FrameKind::Video)).collect();
    let is_same = |(frame, (time, data)): (&&Frame, &(u64, Vec<u8>))| {
        time.abs_diff(frame.timestamp as u64 * 90) == 0 && frame.payload[5..] == data[..]
    };
    assert!(pictures.len() == media[&1].len() && pictures.iter().zip(&media[&1]).all(is_same));
    let key = pictures.iter().find(|frame| frame.flags.keyframe && frame.timestamp >= 1_000 + 130 * 40);
    let begins = key.unwrap().timestamp;
    let ends = |frame: &&&Frame| frame.timestamp + 24 > begins;
    let sounds: Vec<_> = frames.iter().filter(|frame| is_coded(frame, FrameKind::Audio)).collect();
    let kept = sounds.iter().filter(ends).count();
    assert!((kept - 1..=kept).contains(&media[&2].len()), "{} of {kept}", media[&2].len());
    // Nothing of it before the break, and nothing behind its end.
    assert!(media[&2][0].0 * 1_000 / 44_100 + 24 >= begins as u64);
}

#[test]
fn a_late_picture_leads_from_its_first_keyframe_on_and_no_sound_is_missing() {
    let (frames, cuts) = late(Late::Picture(4_000));
    assert_eq!(
        entries(&cuts),
        [vec![(1, "mp4a".to_owned())], vec![(2, "avc1".to_owned()), (1, "mp4a".to_owned())]]
    );
    let media = media(&cuts);
    for (track, kind) in [(1, FrameKind::Audio), (2, FrameKind::Video)] {
        let count = frames.iter().filter(|frame| is_coded(frame, kind)).count();
        assert_eq!(media[&track].len(), count, "{kind:?}");
        assert!(media[&track].is_sorted_by(|one, next| one.0 < next.0), "{kind:?}");
    }
    let begins: Vec<_> = cuts.iter().enumerate().filter(|(_, cut)| matches!(cut, Cut::Break(_))).collect();
    let Cut::Part(first) = &cuts[begins[1].0 + 1] else { panic!("a part") };
    assert!(first.is_independent && (5_000 * 90..5_050 * 90).contains(&first.begins), "{}", first.begins);
}

#[test]
fn what_is_announced_late_and_never_comes_changes_nothing() {
    let shape = Shape { has_sound: false, ..steady(40_000, 25, 300) };
    let mut frames: Vec<Frame> = shape.steps().into_iter().filter_map(Step::into_frame).collect();
    frames.insert(150, audio_header(7_000));
    // Of a codec that HLS has no form for.
    frames.insert(160, Frame::new(FrameKind::Audio, 7_400, Bytes::from_static(b"\xb2speex")));
    assert_eq!(headers(&cuts_planned(&frames, 100, Some(200))).len(), 1);
}
