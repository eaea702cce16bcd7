//! Loops of files that are damaged, disordered, or change while they play.

use crate::build::{FileBuilder, ten_seconds};
use crate::looping::memory;
use std::time::Duration;
use streamengine::ErrorKind;
use streamengine::media::looping::{Loop, Repeat};
use streamengine::media::{Frame, FrameKind};

fn frames(mut looped: Loop) -> Vec<Frame> {
    std::iter::from_fn(|| looped.next_frame().unwrap()).map(|timed| timed.frame).collect()
}

fn times(frames: &[Frame], kind: FrameKind) -> Vec<i64> {
    let coded = frames.iter().filter(|frame| frame.kind == kind && !frame.is_config());
    coded.map(|frame| frame.timestamp).collect()
}

#[test]
fn small_steps_back_are_lifted_and_counted() {
    let clip = FileBuilder::default().video(0, 10, (1, 25)).video(300, 10, (1, 25));
    let looped = Loop::open([memory(clip.file())], Repeat::Times(2)).unwrap();
    assert_eq!(looped.clips().next().unwrap().repaired, 2);
    let times = times(&frames(looped), FrameKind::Video);
    assert_eq!(times[9..13], [360, 361, 362, 380]);
    assert!(times.windows(2).all(|pair| pair[0] < pair[1]));
    assert_eq!(times[20], 700, "the second pass starts a frame after the first");
}

#[test]
fn equal_times_on_a_track_are_separated() {
    let frame = b"\x27\x01\x00\x00\x00x".as_slice();
    let clip = FileBuilder::default().video(0, 5, (1, 25)).tag(FrameKind::Video, 160, frame);
    let looped = Loop::open([memory(clip.file())], Repeat::Times(1)).unwrap();
    assert_eq!(times(&frames(looped), FrameKind::Video)[4..], [160, 161]);
}

#[test]
fn a_clock_that_starts_again_inside_a_file_goes_on_after_the_end() {
    let part = ten_seconds(430);
    let mut clip = part.clone();
    for frame in part.frames() {
        clip = clip.tag(frame.kind, frame.timestamp, frame.payload.to_vec());
    }
    let looped = Loop::open([memory(clip.file())], Repeat::Times(1)).unwrap();
    assert_eq!(looped.clips().next().unwrap().length, Duration::from_secs(20));
    let frames = frames(looped);
    let (video, audio) = (times(&frames, FrameKind::Video), times(&frames, FrameKind::Audio));
    assert_eq!((video[250], audio[430]), (10_000, 10_000), "both tracks start again together");
    assert_eq!((video[499], video.len(), audio.len()), (19_960, 500, 860));
}

#[test]
fn a_half_tag_at_the_end_is_left_out_and_told() {
    let whole = FileBuilder::default().video_headers().video(0, 26, (1, 25)).file();
    let cut = whole.slice(..whole.len() - 6);
    let looped = Loop::open([memory(cut)], Repeat::Times(2)).unwrap();
    let info = looped.clips().next().unwrap().clone();
    assert_eq!((info.frames, info.length), (25, Duration::from_secs(1)));
    assert_eq!(info.truncated_at, Some(whole.len() as u64 - 28));
    assert_eq!(times(&frames(looped), FrameKind::Video)[25], 1_000);
}

#[test]
fn broken_and_empty_files_are_refused_with_name_and_byte_position() {
    let refused = |bytes: &[u8]| {
        let error = Loop::open([memory(bytes.to_vec().into())], Repeat::Forever).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Format);
        error.to_string()
    };
    assert_eq!(refused(b""), "synthetic: at byte 0: the file is empty");
    let headers = FileBuilder::default().video_headers().audio_headers().file();
    let text = refused(&headers);
    assert_eq!(text, format!("synthetic: at byte {}: the file holds no audio or video frame", headers.len()));
    let garbage = [&b"FLV\x01\x05\0\0\0\x09\0\0\0\0"[..], &[0; 4096]].concat();
    let text = refused(&garbage);
    assert_eq!(
        text,
        "synthetic: at byte 4109: the file holds no audio or video frame; of its bytes, 4096 bytes at byte 13 are no tag"
    );
}

#[test]
fn bytes_that_are_no_tag_do_not_keep_a_file_from_being_played_and_are_told() {
    let (first, second) = (
        FileBuilder::default().video(0, 10, (1, 25)).file(),
        FileBuilder::default().video(400, 15, (1, 25)).file(),
    );
    let bytes = [&first, &[0; 4096][..], &second[13..], &[0; 100]].concat();
    let looped = Loop::open([memory(bytes.into())], Repeat::Times(2)).unwrap();
    let info = looped.clips().next().unwrap().clone();
    assert_eq!(
        (info.left_out.bytes, info.left_out.places, info.left_out.position),
        (4196, 2, first.len() as u64)
    );
    assert_eq!((info.frames, info.length), (25, Duration::from_secs(1)));
    let times = times(&frames(looped), FrameKind::Video);
    assert_eq!((times.len(), times[25]), (50, 1_000));
}

#[test]
fn a_file_that_was_replaced_is_read_through_again_at_the_seam() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("clip.flv");
    std::fs::write(&path, FileBuilder::default().video_headers().video(0, 75, (1, 25)).file()).unwrap();
    let mut looped = Loop::open([path.clone()], Repeat::Times(3)).unwrap();
    for _ in 0..10 {
        looped.next_frame().unwrap().unwrap();
    }
    let next = directory.path().join("next.flv");
    std::fs::write(&next, FileBuilder::default().video_headers().video(7_000, 50, (1, 25)).file()).unwrap();
    std::fs::rename(&next, &path).unwrap();
    let rest = frames(looped);
    let times = times(&rest, FrameKind::Video);
    // 66 frames of the old file are left after nine and the sequence header.
    assert_eq!(times[65..68], [2_960, 3_000, 3_040]);
    assert_eq!((times.len(), times[116]), (66 + 100, 5_000));
    assert_eq!(rest.iter().filter(|frame| frame.is_config()).count(), 0, "the header is the same");
}

#[test]
fn a_file_that_was_removed_ends_the_loop_with_its_name() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("clip.flv");
    std::fs::write(&path, FileBuilder::default().video(0, 75, (1, 25)).file()).unwrap();
    let mut looped = Loop::open([path.clone()], Repeat::Forever).unwrap();
    looped.next_frame().unwrap().unwrap();
    std::fs::remove_file(&path).unwrap();
    for _ in 1..75 {
        looped.next_frame().unwrap().unwrap();
    }
    let error = looped.next_frame().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("clip.flv"), "{error}");
    assert_eq!(looped.next_frame().unwrap(), None);
}

#[test]
fn data_events_never_reach_beyond_the_pass() {
    let event = b"\x02\x00\x0aonTextData\x05".as_slice();
    let clip = FileBuilder::default().video(0, 25, (1, 25)).tag(FrameKind::Data, 3_600_000, event);
    let looped = Loop::open([memory(clip.file())], Repeat::Times(2)).unwrap();
    assert_eq!(times(&frames(looped), FrameKind::Data), [1_000, 2_000]);
}

#[test]
fn a_lone_late_picture_does_not_lengthen_a_clip_with_sound() {
    let clip = FileBuilder::default()
        .audio_headers()
        .video(0, 1, (1, 25))
        .video(9_000, 1, (1, 25))
        .audio(0, 430)
        .interleaved();
    let looped = Loop::open([memory(clip.file())], Repeat::Times(1)).unwrap();
    let length = looped.clips().next().unwrap().length;
    assert_eq!(length.as_millis(), 10_000, "a second of the picture, not nine");
}
