//! F34: the loop's timeline over many passes, in virtual time.

use crate::build::{AVC_END, FileBuilder, demo_clip, shared_clip, ten_seconds};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use streamengine::media::flv::{PacketType, PayloadInfo};
use streamengine::media::flv_file::FlvReader;
use streamengine::media::looping::{Clip, Loop, Repeat};
use streamengine::media::{Frame, FrameKind};

pub(crate) const LOOPS: u64 = 1_000;

/// For what differs from F34's main case only in its frame durations.
const FEWER: u64 = 300;

pub(crate) fn memory(bytes: Bytes) -> Clip {
    Clip::memory("synthetic", bytes)
}

fn is_coded(frame: &Frame) -> bool {
    PayloadInfo::parse(frame.kind, &frame.payload).is_some_and(|info| info.packet.is_coded())
}

/// Checks every promise of F34 for `loops` passes of a clip whose true length is `ideal`, and returns the
/// number of configuration frames and data frames that were sent.
pub(crate) fn check(clip: impl Into<Clip>, ideal: Duration, loops: u64) -> usize {
    let mut looped = Loop::open([clip], Repeat::Times(loops)).unwrap();
    let length = looped.clips().next().unwrap().length;
    assert!(length.abs_diff(ideal) < Duration::from_micros(1), "{length:?} is not {ideal:?}");
    let mut tracks: BTreeMap<u8, Vec<i64>> = BTreeMap::new();
    let (mut config, mut newest) = (0, Duration::ZERO);
    while let Some(timed) = looped.next_frame().unwrap() {
        assert!(timed.due >= newest, "frames of all tracks are in the order of their time");
        newest = timed.due;
        config += usize::from(timed.frame.is_config());
        if !is_coded(&timed.frame) {
            continue;
        }
        let Frame { kind, timestamp, .. } = timed.frame;
        let times = tracks.entry(kind.type_id()).or_default();
        assert!(
            times.last().is_none_or(|last| *last < timestamp),
            "{kind:?} {timestamp} after {:?}",
            times.last()
        );
        let due_ms = timed.due.as_secs_f64() * 1_000.0;
        assert!((due_ms - timestamp as f64).abs() <= 1.0, "due {due_ms}, timestamp {timestamp}");
        times.push(timestamp);
    }
    assert_eq!(looped.rounds(), loops);
    let passes = passes(&tracks, usize::try_from(loops).unwrap());
    check_drift(&passes, ideal);
    check_seams(&passes, ideal);
    config
}

/// First and last timestamp of each track in each pass.
type Pass = BTreeMap<u8, (i64, i64)>;

fn passes(tracks: &BTreeMap<u8, Vec<i64>>, loops: usize) -> Vec<Pass> {
    let mut passes = vec![Pass::new(); loops];
    for (kind, times) in tracks {
        assert_eq!(times.len() % loops, 0, "every pass has all frames");
        for (pass, times) in passes.iter_mut().zip(times.chunks(times.len() / loops)) {
            pass.insert(*kind, (times[0], *times.last().unwrap()));
        }
    }
    passes
}

/// Each track of each pass starts within 1 ms of its ideal time, and the tracks keep their distance.
fn check_drift(passes: &[Pass], ideal: Duration) {
    let offset = |pass: &Pass| {
        let (video, audio) = (pass.get(&9), pass.get(&8));
        video.zip(audio).map(|(video, audio)| video.0 - audio.0)
    };
    for (index, pass) in passes.iter().enumerate() {
        for (kind, (first, _)) in pass {
            let ideal = passes[0][kind].0 as f64 + ideal.as_secs_f64() * 1_000.0 * index as f64;
            assert!((*first as f64 - ideal).abs() <= 1.0, "pass {index}: {first} is not {ideal}");
        }
        assert_eq!(offset(pass), offset(&passes[0]), "A/V offset of pass {index}");
    }
}

/// The longer track goes on after one frame, more or less a millisecond.
fn check_seams(passes: &[Pass], ideal: Duration) {
    let longer = passes[0].iter().max_by_key(|(_, (first, last))| last - first);
    let (kind, (first, last)) = longer.unwrap();
    let frame = ideal.as_secs_f64() * 1_000.0 - (last - first) as f64;
    for seam in passes.windows(2) {
        let gap = (seam[1][kind].0 - seam[0][kind].1) as f64;
        assert!((gap - frame).abs() <= 1.0, "gap {gap}, frame {frame}");
        assert!(gap > 0.0 && gap <= 100.0, "gap {gap}");
    }
}

pub(crate) fn seconds(samples: u64, rate: u64) -> Duration {
    Duration::from_nanos((samples * 1_000_000_000 + rate / 2) / rate)
}

#[test]
fn f34_thousand_loops_with_video_longer_do_not_drift() {
    let config = check(memory(ten_seconds(430).file()), Duration::from_secs(10), LOOPS);
    assert_eq!(config, 3, "metadata and two sequence headers, once");
}

#[test]
fn f34_thousand_loops_with_audio_longer_do_not_drift() {
    // 431 AAC frames last 10,007.755 ms; adding rounded 10,008 ms would drift by 245 ms.
    check(memory(ten_seconds(431).file()), seconds(431 * 1_024, 44_100), LOOPS);
}

#[test]
fn f34_thousand_loops_of_fractional_frame_rates_do_not_drift() {
    let ntsc = FileBuilder::default().video_headers().video(0, 300, (1_001, 30_000));
    check(memory(ntsc.file()), seconds(300 * 1_001, 30_000), LOOPS);
    let thirty = FileBuilder::default().video_headers().video(0, 300, (1, 30));
    check(memory(thirty.file()), Duration::from_secs(10), LOOPS);
    let film = FileBuilder::default().metadata(&[("framerate", 23.976)]).video(0, 240, (1_001, 24_000));
    check(memory(film.file()), seconds(240 * 1_001, 24_000), LOOPS);
}

#[test]
fn f34_metadata_decides_what_a_short_clip_leaves_open() {
    // Ten frames at 59.94 per second could as well be 60 per second.
    for (rate, period) in [(59.94, (1_001, 60_000)), (60.0, (1, 60))] {
        let clip = FileBuilder::default().metadata(&[("framerate", rate)]).video(0, 10, period);
        let (num, den) = (u64::try_from(period.0).unwrap(), u64::try_from(period.1).unwrap());
        check(memory(clip.file()), seconds(10 * num, den), LOOPS);
    }
}

#[test]
fn f34_single_tracks_loop() {
    let video = FileBuilder::default().video_headers().video(0, 250, (1, 25));
    assert_eq!(check(memory(video.file()), Duration::from_secs(10), FEWER), 1);
    let audio = FileBuilder::default().audio_headers().audio(0, 431);
    assert_eq!(check(memory(audio.file()), seconds(431 * 1_024, 44_100), FEWER), 1);
}

#[test]
fn f34_single_frames_loop_at_their_own_or_a_usual_duration() {
    let picture = FileBuilder::default().video_headers().video(0, 1, (1, 25));
    check(memory(picture.file()), Duration::from_millis(40), LOOPS);
    let slow = FileBuilder::default().metadata(&[("framerate", 10.0)]).video(0, 1, (1, 25));
    check(memory(slow.file()), Duration::from_millis(100), LOOPS);
    let sound = FileBuilder::default().audio_headers().audio(0, 1);
    check(memory(sound.file()), seconds(1_024, 44_100), LOOPS);
}

#[test]
fn f34_a_start_that_is_not_zero_is_taken_off_and_the_offset_stays() {
    let clip = FileBuilder::default()
        .video_headers()
        .audio_headers()
        .video(3_600_080, 250, (1, 25))
        .audio(3_600_000, 430)
        .interleaved();
    check(memory(clip.file()), Duration::from_secs(10), FEWER);
    let mut looped = Loop::open([memory(clip.file())], Repeat::Times(1)).unwrap();
    let mut first = |kind: FrameKind| loop {
        let timed = looped.next_frame().unwrap().unwrap();
        if timed.frame.kind == kind && is_coded(&timed.frame) {
            break timed.frame.timestamp;
        }
    };
    assert_eq!((first(FrameKind::Audio), first(FrameKind::Video)), (0, 80));
}

#[test]
fn f34_tracks_of_very_different_length_loop_at_the_longer_one() {
    let long_video = FileBuilder::default().audio_headers().video(0, 250, (1, 25)).audio(0, 100);
    check(memory(long_video.interleaved().file()), Duration::from_secs(10), 50);
    let long_audio = FileBuilder::default().audio_headers().video(0, 25, (1, 25)).audio(0, 430);
    check(memory(long_audio.interleaved().file()), seconds(430 * 1_024, 44_100), 50);
}

#[test]
fn f34_real_clips_loop_a_thousand_times() {
    check(demo_clip(), Duration::from_secs(10), LOOPS);
    if let Some(path) = shared_clip("bbb-h264-aac-10s.flv") {
        // Audio is longer, 432 frames; video starts 80 ms later and still plays when audio starts again.
        let config = check(path, seconds(432 * 1_024, 44_100), LOOPS);
        assert_eq!(config, 3, "metadata and two sequence headers, once");
    }
}

#[test]
fn f34_enhanced_clip_loops_with_its_headers_once() {
    let Some(path) = shared_clip("bbb-av1-opus-30s.flv") else { return };
    // Opus, 1501 frames of 20 ms from 0. The clip's first AV1 header is empty, its second one is not: six in all.
    assert_eq!(check(path, Duration::from_millis(30_020), 100), 6);
}

#[test]
fn f34_tracks_that_hardly_overlap_do_not_mix_passes() {
    let clip = FileBuilder::default().audio_headers().video(0, 125, (1, 25)).audio(4_000, 258).interleaved();
    let looped = Loop::open([memory(clip.file())], Repeat::Times(1)).unwrap();
    let length = looped.clips().next().unwrap().length;
    assert_eq!(length, Duration::from_secs(4) + seconds(258 * 1_024, 44_100));
}

#[test]
fn badly_interleaved_tracks_come_in_the_order_of_their_time() {
    let clip = FileBuilder::default().audio_headers().audio(0, 40).video_headers().video(0, 20, (1, 25));
    check(memory(clip.file()), seconds(40 * 1_024, 44_100), 3);
}

#[test]
fn f34_a_loop_goes_on_beyond_32_bits() {
    let clip = FileBuilder::default().video_headers().video(0, 200, (100, 1));
    let mut looped = Loop::open([memory(clip.file())], Repeat::Forever).unwrap();
    let mut last = -1;
    while last <= (1_i64 << 32) + 1_000_000 {
        let frame = looped.next_frame().unwrap().unwrap().frame;
        if is_coded(&frame) {
            assert!(last < 0 || frame.timestamp - last == 100_000);
            last = frame.timestamp;
        }
    }
    assert!(looped.rounds() > 200);
}

#[test]
fn the_end_of_sequence_comes_only_at_the_end_of_all() {
    let clip =
        FileBuilder::default().video_headers().video(0, 5, (1, 25)).tag(FrameKind::Video, 160, AVC_END);
    let mut looped = Loop::open([memory(clip.file())], Repeat::Times(3)).unwrap();
    let frames: Vec<Frame> =
        std::iter::from_fn(|| looped.next_frame().unwrap()).map(|timed| timed.frame).collect();
    assert_eq!(frames.len(), 1 + 15 + 1);
    let end = frames.last().unwrap();
    assert_eq!((&end.payload[..], end.timestamp), (AVC_END, 560));
    assert_eq!(looped.end(), Duration::from_millis(600));
}

#[test]
fn an_end_of_sequence_inside_a_file_stays_and_headers_come_again_after_it() {
    let clip = FileBuilder::default()
        .video_headers()
        .video(0, 5, (1, 25))
        .tag(FrameKind::Video, 160, AVC_END)
        .video_headers()
        .video(200, 5, (1, 25));
    let mut looped = Loop::open([memory(clip.file())], Repeat::Times(2)).unwrap();
    let packets: Vec<_> = std::iter::from_fn(|| looped.next_frame().unwrap())
        .map(|timed| PayloadInfo::parse(timed.frame.kind, &timed.frame.payload).unwrap().packet)
        .filter(|packet| !packet.is_coded())
        .collect();
    use PacketType::{SequenceEnd, SequenceStart};
    assert_eq!(packets, [SequenceStart, SequenceEnd, SequenceStart, SequenceEnd, SequenceStart]);
}

#[test]
fn one_pass_brings_every_frame_as_it_is_in_the_file() {
    let Some(path) = shared_clip("bbb-h264-aac-10s.flv") else { return };
    let mut looped = Loop::open([path.clone()], Repeat::Times(1)).unwrap();
    let mut reader = FlvReader::open(&path).unwrap();
    while let Some(tag) = reader.next_tag().unwrap() {
        let frame = looped.next_frame().unwrap().unwrap().frame;
        if frame.kind == FrameKind::Data {
            let text = String::from_utf8_lossy(&frame.payload).into_owned();
            assert!(!text.contains("duration") && !text.contains("filesize") && text.contains("width"));
        } else {
            assert_eq!(frame, tag.frame);
        }
    }
    assert_eq!(looped.next_frame().unwrap(), None);
}

#[test]
fn a_playlist_is_one_timeline() {
    let first = FileBuilder::default().metadata(&[("width", 1.0)]).video_headers().video(500, 25, (1, 25));
    let second = FileBuilder::default()
        .metadata(&[("width", 2.0)])
        .tag(FrameKind::Video, 0, b"\x17\x00\x00\x00\x00\x01other".as_slice())
        .video(0, 50, (1, 50));
    let clips = [memory(first.file()), memory(second.file())];
    let mut looped = Loop::open(clips, Repeat::Times(2)).unwrap();
    let frames: Vec<Frame> =
        std::iter::from_fn(|| looped.next_frame().unwrap()).map(|timed| timed.frame).collect();
    assert_eq!(frames.iter().filter(|frame| frame.is_config()).count(), 8, "each change is sent");
    let coded: Vec<&Frame> = frames.iter().filter(|frame| is_coded(frame)).collect();
    let times: Vec<i64> = coded.iter().map(|frame| frame.timestamp).collect();
    assert_eq!((times[0], times[25], times[75], times[100]), (0, 1_000, 2_000, 3_000));
    for (index, frame) in frames.iter().enumerate().filter(|(_, frame)| frame.is_config()) {
        let next = frames[index..].iter().find(|frame| is_coded(frame)).unwrap();
        assert_eq!(frame.timestamp, next.timestamp, "configuration comes with the frame that needs it");
    }
}

#[test]
fn a_loop_needs_at_least_one_clip() {
    let error = Loop::open(Vec::<PathBuf>::new(), Repeat::Forever).unwrap_err();
    assert_eq!(error.to_string(), "loop: no file to play");
}
