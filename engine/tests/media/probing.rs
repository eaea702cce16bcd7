//! What a probe reports about clips.

use crate::build::{FileBuilder, demo_clip, shared_clip, ten_seconds};
use std::path::Path;
use std::time::Duration;
use streamengine::media::FrameKind;
use streamengine::media::flv_file::FlvReader;
use streamengine::media::probe::{Probe, ProbeReport, TrackKind, TrackReport};

fn probe(path: &Path) -> ProbeReport {
    let mut reader = FlvReader::open(path).unwrap();
    let mut probe = Probe::new();
    while let Some(tag) = reader.next_tag().unwrap() {
        probe.push(&tag.frame, None);
    }
    probe.report()
}

fn names(track: &TrackReport) -> (TrackKind, &str, Option<&str>) {
    (track.kind, track.codec.as_str(), track.profile)
}

#[test]
fn the_demo_clip_is_described() {
    let report = probe(&demo_clip());
    let [video, audio] = &report.tracks[..] else { panic!("{report}") };
    assert_eq!(names(video), (TrackKind::Video, "H.264", Some("Main")));
    assert_eq!((video.width, video.height, video.level), (Some(640), Some(360), Some(3.0)));
    assert_eq!((video.frames, video.keyframes, video.frame_rate), (250, Some(5), Some(25.0)));
    assert_eq!(video.keyframe_interval_ms, Some(2_000.0));
    assert_eq!(names(audio), (TrackKind::Audio, "AAC", Some("LC")));
    assert_eq!((audio.sample_rate, audio.channels, audio.frames), (Some(48_000), Some(1), 468));
    assert_eq!((report.duration_ms, report.start_skew_ms, report.end_skew_ms), (10_000, Some(0), Some(3)));
    assert_eq!(report.data_frames, 1);
    assert!(report.bit_rate.unwrap() > 300_000);
}

#[test]
fn real_clips_are_described() {
    if let Some(path) = shared_clip("bbb-h264-aac-10s.flv") {
        let report = probe(&path);
        assert_eq!(names(&report.tracks[0]), (TrackKind::Video, "H.264", Some("Baseline")));
        assert_eq!((report.tracks[0].frames, report.tracks[1].frames), (250, 432));
        assert_eq!((report.start_skew_ms, report.duration_ms), (Some(-80), 10_080));
    }
    if let Some(path) = shared_clip("bbb-av1-opus-30s.flv") {
        let report = probe(&path);
        let [video, audio] = &report.tracks[..] else { panic!("{report}") };
        assert_eq!(names(video), (TrackKind::Video, "AV1", Some("Main")));
        assert_eq!((video.width, video.height), (Some(960), Some(540)));
        assert_eq!(names(audio), (TrackKind::Audio, "Opus", None));
        assert_eq!((audio.sample_rate, audio.channels), (Some(48_000), Some(2)));
    }
}

#[test]
fn tracks_of_a_multitrack_payload_are_told_apart() {
    let both = b"\x96\x13av01\x00\x00\x00\x02ab\x07\x00\x00\x03cde".as_slice();
    let mut probe = Probe::new();
    let source = FileBuilder::default().tag(FrameKind::Video, 0, both).tag(FrameKind::Video, 40, both);
    source.frames().iter().for_each(|frame| probe.push(frame, None));
    let tracks = probe.report().tracks;
    let summary: Vec<_> = tracks.iter().map(|track| (track.track, track.frames, track.bytes)).collect();
    assert_eq!(summary, [(0, 2, 4), (7, 2, 6)]);
}

#[test]
fn text_and_json_name_what_matters() {
    let mut probe = Probe::new();
    probe.set_time_to_first_frame(Duration::from_millis(42));
    for (index, frame) in ten_seconds(430).frames().iter().enumerate() {
        probe.push(frame, Some(Duration::from_millis(index as u64)));
    }
    let report = probe.report();
    let text = report.to_string();
    for part in
        ["after 42 ms", "audio - video: +0 ms", "H.264", "AAC LC, 44100 Hz, 2 ch, 430 frames", "25.00/s"]
    {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
    assert_eq!(report.received_ms, Some(682));
    assert_eq!(report.tracks[0].backward_steps, 0);
}

#[test]
fn an_empty_probe_reports_nothing_found() {
    let report = Probe::new().report();
    assert!(report.tracks.is_empty());
    assert_eq!((report.duration_ms, report.bit_rate, report.start_skew_ms), (0, None, None));
}
