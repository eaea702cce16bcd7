//! Streams as files: where they are cut, what is in them, and that they are whole at every moment.

use super::finish::{Finished, finish, told_length};
use super::*;
use crate::config::{RecordConfig, RecordFormat};
use crate::media::flv_file::FlvReader;
use crate::media::{Frame, FrameKind, metadata};
use crate::testing::{
    audio, audio_header, demo_frames, inter, keyframe, metadata as on_metadata, video_header,
};
use std::fs::{File, OpenOptions};
use std::io::Cursor;
use std::time::Duration;

/// What a file came to, and how long it is said to last.
struct Made {
    bytes: Vec<u8>,
    lasts_ms: Option<u64>,
}

fn files(acts: Vec<Act>) -> Vec<Made> {
    let mut made: Vec<Made> = Vec::new();
    for act in acts {
        match act {
            Act::Begin => made.push(Made { bytes: Vec::new(), lasts_ms: None }),
            Act::Write(bytes) => made.last_mut().unwrap().bytes.extend(bytes.concat()),
            Act::End(ms) => made.last_mut().unwrap().lasts_ms = Some(ms),
        }
    }
    made
}

/// What these acts write, over all files.
pub(crate) fn written(acts: Vec<Act>) -> Vec<u8> {
    let bytes = |act| if let Act::Write(bytes) = act { bytes.concat() } else { Vec::new() };
    acts.into_iter().flat_map(bytes).collect()
}

/// A recording of the demo, as it is before its end has been told at its beginning.
#[cfg(feature = "http")]
pub(crate) fn recording(format: RecordFormat) -> Vec<u8> {
    let config = RecordConfig::default().format(format);
    let (mut cutter, mut acts) = (Cutter::new(Rules::of(&config)), Vec::new());
    cutter.show(&demo_frames());
    cutter.push(&demo_frames(), &mut acts);
    cutter.end(&mut acts);
    written(acts)
}

/// The frames cut by these rules, one at a time, with what is known of all of them first.
fn cut(config: &RecordConfig, frames: &[Frame]) -> Vec<Made> {
    let (mut cutter, mut acts) = (Cutter::new(Rules::of(config)), Vec::new());
    cutter.show(frames);
    frames.iter().for_each(|frame| cutter.push(std::slice::from_ref(frame), &mut acts));
    cutter.end(&mut acts);
    files(acts)
}

fn config(format: RecordFormat, segment_ms: u64) -> RecordConfig {
    RecordConfig::default().format(format).segment_ms(segment_ms)
}

fn tags(bytes: &[u8]) -> Vec<Frame> {
    let mut reader = FlvReader::new(Cursor::new(bytes)).unwrap();
    std::iter::from_fn(|| reader.next_tag().unwrap()).map(|tag| tag.frame).collect()
}

fn media(frames: &[Frame]) -> Vec<&Frame> {
    frames.iter().filter(|frame| frame.has_media()).collect()
}

#[test]
fn files_are_cut_at_keyframes_and_together_have_every_frame_once() {
    let frames = demo_frames();
    let made = cut(&config(RecordFormat::Flv, 3_000), &frames);
    assert!(made.len() > 2, "{}", made.len());
    let mut all = Vec::new();
    let mut began = 0;
    for file in &made {
        let found = tags(&file.bytes);
        assert!(found[0].is_metadata());
        assert_eq!(metadata::number(&found[0].payload, "filesize"), Some(0.0));
        let headers = found.iter().filter(|frame| frame.is_sequence_start()).count();
        assert_eq!(headers, 2, "of both tracks, once");
        let own = media(&found);
        let video = own.iter().find(|frame| frame.kind == FrameKind::Video).unwrap();
        assert!(video.flags.keyframe && own[0].timestamp < 100, "{}", own[0].timestamp);
        let lasts = i64::try_from(file.lasts_ms.unwrap()).unwrap();
        assert!((own.last().unwrap().timestamp..=own.last().unwrap().timestamp + 100).contains(&lasts));
        all.extend(own.into_iter().map(|frame| (frame.kind, frame.timestamp + began, frame.payload.clone())));
        began += lasts;
    }
    let source: Vec<_> =
        media(&frames).into_iter().map(|frame| (frame.kind, frame.payload.clone())).collect();
    let recorded: Vec<_> = all.iter().map(|(kind, _, payload)| (*kind, payload.clone())).collect();
    assert!(recorded == source, "{} of {} frames", recorded.len(), source.len());
}

#[test]
fn a_file_ends_after_so_many_bytes_too() {
    let frames: Vec<_> = std::iter::once(video_header(0))
        .chain((0..100).map(|n| if n % 10 == 0 { keyframe(n * 40, 10_000) } else { inter(n * 40, 10_000) }))
        .collect();
    let made = cut(&config(RecordFormat::Flv, 3_600_000).segment_bytes(150_000), &frames);
    let counts: Vec<_> = made.iter().map(|file| media(&tags(&file.bytes)).len()).collect();
    assert_eq!(counts, [20, 20, 20, 20, 20]);
}

#[test]
fn another_configuration_begins_another_file_with_its_keyframe_and_the_same_one_does_not() {
    let other = {
        let mut payload = video_header(0).payload.to_vec();
        payload[6] = 0x4d;
        Frame::new(FrameKind::Video, 80, payload.into())
    };
    let frames = [
        video_header(0),
        keyframe(0, 9),
        video_header(40),
        inter(40, 9),
        other.clone(),
        keyframe(80, 9),
        inter(120, 9),
    ];
    let made = cut(&config(RecordFormat::Flv, 60_000), &frames);
    let payloads = |file: &Made| -> Vec<_> {
        let found = tags(&file.bytes);
        found.iter().filter(|frame| !frame.is_metadata()).map(|frame| frame.payload.clone()).collect()
    };
    let (header, key, inter) = (&frames[0].payload, &frames[1].payload, &frames[3].payload);
    assert_eq!(made.len(), 2);
    assert_eq!(payloads(&made[0]), [header, key, inter].map(Clone::clone));
    assert_eq!(payloads(&made[1]), [&other.payload, key, inter].map(Clone::clone));
}

#[test]
fn sound_that_is_coded_otherwise_is_told_before_it_comes_and_the_picture_loses_nothing() {
    let other = Frame::new(FrameKind::Audio, 60, bytes::Bytes::from_static(&[0xaf, 0, 0x11, 0x90]));
    let frames = [
        video_header(0),
        audio_header(0),
        keyframe(0, 9),
        audio(10),
        other.clone(),
        inter(60, 9),
        audio(70),
        keyframe(100, 9),
        audio(110),
    ];
    let made = cut(&config(RecordFormat::Flv, 60_000), &frames);
    assert_eq!(made.len(), 2);
    let first = tags(&made[0].bytes);
    let told = first.iter().position(|frame| frame.payload == other.payload).unwrap();
    assert!(first[told + 1].kind == FrameKind::Audio && told + 2 == first.len());
    let second = tags(&made[1].bytes);
    assert!(second.iter().any(|frame| frame.payload == other.payload));
    assert_eq!(media(&first).len() + media(&second).len(), 6);
}

#[test]
fn what_was_lost_is_followed_by_a_file_that_begins_with_a_keyframe() {
    let (mut cutter, mut acts) = (Cutter::new(Rules::of(&config(RecordFormat::Flv, 60_000))), Vec::new());
    cutter.push(&[video_header(0), keyframe(0, 9), inter(40, 9)], &mut acts);
    cutter.lose();
    acts.clear();
    cutter.push(&[inter(80, 9), inter(120, 9)], &mut acts);
    assert_eq!(acts, []);
    cutter.push(&[keyframe(160, 9), inter(200, 9)], &mut acts);
    cutter.end(&mut acts);
    let made = files(acts);
    assert_eq!(media(&tags(&made[0].bytes)).len(), 2);
    // Where none comes, what comes has to do.
    cutter.lose();
    let (mut acts, late) = (Vec::new(), [inter(1_000, 9), inter(3_999, 9), inter(4_000, 9)]);
    cutter.push(&late, &mut acts);
    cutter.end(&mut acts);
    assert_eq!(media(&tags(&files(acts)[0].bytes)).len(), 1);
}

#[test]
fn events_and_metadata_go_along() {
    let event = Frame::new(FrameKind::Data, 20, bytes::Bytes::from_static(b"\x02\0\x0aonCuePoint\x05"));
    let frames =
        [on_metadata(0, 0), video_header(0), event.clone(), keyframe(0, 9), event.clone(), inter(40, 9)];
    let made = cut(&config(RecordFormat::Flv, 60_000), &frames);
    let found = tags(&made[0].bytes);
    assert_eq!(found.iter().filter(|frame| frame.payload == event.payload).count(), 1);
    assert_eq!(found.iter().filter(|frame| frame.is_metadata()).count(), 1);
}

#[cfg(feature = "mp4")]
mod mp4 {
    use super::*;
    use crate::media::fmp4::reading::{Read, ReadSample, read};
    use crate::media::fmp4::{CodedFrame, FileIndex, timescale};

    fn samples(bytes: &[u8]) -> Vec<ReadSample> {
        let of = |read| if let Read::Sample(sample) = read { Some(sample) } else { None };
        read(bytes).into_iter().filter_map(of).collect()
    }

    #[test]
    fn mp4_has_every_frame_once_for_as_long_as_it_lasts_in_fragments_of_a_second() {
        let frames = demo_frames();
        let made = cut(&config(RecordFormat::Fmp4, 4_000), &frames);
        assert!(made.len() > 1);
        for (track, kind) in [(1, FrameKind::Video), (2, FrameKind::Audio)] {
            let track = if is_video_first(&made[0].bytes) { track } else { 3 - track };
            let data = |file: &Made| -> Vec<Vec<u8>> {
                let own = samples(&file.bytes).into_iter().filter(|sample| sample.track == track);
                own.map(|sample| sample.data).collect()
            };
            let recorded: Vec<_> = made.iter().flat_map(data).collect();
            let source = frames.iter().filter(|frame| frame.kind == kind);
            let source: Vec<_> =
                source.filter_map(|frame| Some(CodedFrame::of(frame, 0)?.1.to_vec())).collect();
            assert!(recorded == source, "{kind:?}: {} of {}", recorded.len(), source.len());
        }
        for file in &made {
            let index = FileIndex::read(&mut Cursor::new(&file.bytes)).unwrap();
            assert_eq!(index.len, file.bytes.len() as u64);
            let lasts = file.lasts_ms.unwrap();
            assert!(index.ends_ms.abs_diff(lasts) < 100, "{} and {lasts}", index.ends_ms);
            let begins: Vec<_> = index.fragments.iter().map(|fragment| fragment.begins_ms).collect();
            assert!(begins.windows(2).all(|pair| (1..=1_000).contains(&(pair[1] - pair[0]))), "{begins:?}");
            assert!(index.fragments[0].is_independent);
            for track in [1, 2] {
                let mut end = 0;
                for sample in samples(&file.bytes).iter().filter(|sample| sample.track == track) {
                    assert!(sample.time >= end, "{} of track {track} after {end}", sample.time);
                    end = sample.time + u64::from(sample.duration.unwrap());
                }
            }
        }
    }

    fn is_video_first(bytes: &[u8]) -> bool {
        let Some(Read::Init(tracks)) = read(bytes).into_iter().next() else { panic!("no init") };
        tracks.iter().find(|track| track.id == 1).unwrap().timescale == timescale(FrameKind::Video)
    }

    #[test]
    fn sound_that_is_coded_otherwise_is_in_the_next_file() {
        let other = Frame::new(FrameKind::Audio, 60, bytes::Bytes::from_static(&[0xaf, 0, 0x11, 0x90]));
        let mut frames = demo_frames();
        frames.retain(|frame| !frame.has_media() || frame.kind == FrameKind::Audio);
        let half = frames.len() / 2;
        let at = frames[half].timestamp;
        frames.insert(half, Frame { timestamp: at, ..other });
        let headers: Vec<_> = frames.iter().filter(|frame| frame.kind == FrameKind::Audio).cloned().collect();
        let (mut cutter, mut acts) =
            (Cutter::new(Rules::of(&config(RecordFormat::Fmp4, 60_000))), Vec::new());
        cutter.push(&headers, &mut acts);
        cutter.end(&mut acts);
        let made = files(acts);
        assert_eq!(made.len(), 2);
        let count: usize = made.iter().map(|file| samples(&file.bytes).len()).sum();
        assert_eq!(count, media(&headers).len());
    }

    #[test]
    fn codecs_that_mp4_has_no_form_for_make_no_file() {
        let speex = Frame::new(FrameKind::Audio, 0, bytes::Bytes::from_static(b"\xb2speex"));
        assert!(cut(&config(RecordFormat::Fmp4, 60_000), &[speex]).is_empty());
    }
}

/// A file with these bytes, finished.
fn finished(bytes: &[u8], format: RecordFormat) -> (Option<Finished>, Vec<u8>, Option<Duration>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, bytes).unwrap();
    let mut file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let done = finish(&mut file, format, None).unwrap();
    let length = told_length(&mut File::open(&path).unwrap(), format);
    (done, std::fs::read(&path).unwrap(), length)
}

#[test]
fn wherever_the_writing_of_flv_was_cut_off_all_whole_tags_are_there() {
    let frames = [
        on_metadata(0, 0),
        video_header(0),
        audio_header(0),
        keyframe(0, 40),
        audio(20),
        inter(40, 30),
        audio(60),
        inter(1_500, 30),
    ];
    let whole = &cut(&config(RecordFormat::Flv, 60_000), &frames)[0].bytes;
    for end in 0..=whole.len() {
        let (done, bytes, length) = finished(&whole[..end], RecordFormat::Flv);
        let expected = if end == 0 { Vec::new() } else { whole_media(&whole[..end]) };
        let Some(done) = done else {
            assert!(expected.is_empty(), "cut at {end}");
            continue;
        };
        let found = tags(&bytes);
        assert!(media(&found).into_iter().cloned().eq(expected.iter().cloned()), "cut at {end}");
        assert_eq!((bytes.len() as u64, length.unwrap_or_default()), (done.bytes, done.length));
        assert_eq!(metadata::number(&found[0].payload, "filesize"), Some(bytes.len() as f64));
        let newest = expected.iter().map(|frame| frame.timestamp).max().unwrap_or_default();
        assert_eq!(done.length.as_millis() as i64, newest);
    }
}

/// The coded frames of those tags that are whole with the size behind them.
fn whole_media(bytes: &[u8]) -> Vec<Frame> {
    let Ok(mut reader) = FlvReader::new(Cursor::new(bytes)) else { return Vec::new() };
    let mut found = Vec::new();
    while let Some(tag) = reader.next_tag().unwrap() {
        let behind = tag.position as usize + 11 + tag.frame.payload.len() + 4;
        found.extend((behind <= bytes.len() && tag.frame.has_media()).then_some(tag.frame));
    }
    found
}

#[cfg(feature = "mp4")]
#[test]
fn wherever_the_writing_of_mp4_was_cut_off_all_whole_fragments_are_there() {
    use crate::media::fmp4::FileIndex;
    let frames: Vec<_> = demo_frames().into_iter().filter(|frame| frame.timestamp < 4_000).collect();
    let whole = &cut(&config(RecordFormat::Fmp4, 60_000), &frames)[0].bytes;
    let index = FileIndex::read(&mut Cursor::new(whole)).unwrap();
    assert!(index.fragments.len() > 3);
    for end in (0..=whole.len()).step_by(97).chain([whole.len()]) {
        let (done, bytes, length) = finished(&whole[..end], RecordFormat::Fmp4);
        let ends = index.fragments.iter().map(|fragment| fragment.at + fragment.len);
        let expected = ends.filter(|at| *at <= end as u64).max();
        assert_eq!(done.map(|done| done.bytes), expected, "cut at {end}");
        if let Some(done) = done {
            assert_eq!((bytes.len() as u64, length), (done.bytes, Some(done.length)));
        }
    }
}
