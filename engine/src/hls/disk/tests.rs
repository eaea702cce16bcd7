//! Files of HLS: what is written, listed and removed, and when.

use super::*;
use crate::hls::TICKS;
use crate::hls::plan::Rules;
use crate::hls::playlist::{Snapshot, Terms, Window};
use crate::hls::segmenter::{Cut, Header, Part};
use crate::{HlsFormat, Limits, hub::Hub};
use std::time::SystemTime;

/// A window with so many segments of a second.
fn snapshot(segments: i64) -> Snapshot {
    let rules = Rules { target_s: 1, longest: TICKS, segment: TICKS, part: None, frame: TICKS / 25 };
    let terms = Terms { rules, window: 60 * TICKS, max_bytes: 1 << 20, format: HlsFormat::Fmp4, first: 100 };
    let mut window = Window::new(terms);
    let mut push = |cut| window.push(cut, SystemTime::UNIX_EPOCH, 0);
    push(Cut::Break(vec![Header { init: "init".into(), codecs: vec!["x".to_owned()], ..Header::default() }]));
    for number in 0..segments {
        let media = vec![format!("media of {number}").into()];
        push(Cut::Part(Part { begins: number * TICKS, lasts: TICKS, is_independent: true, media }));
        push(Cut::Segment);
    }
    window.snapshot("")
}

#[test]
fn what_waits_for_the_disk_is_a_few_segments_however_slow_that_is() {
    let edition = snapshot(20).edition(105).unwrap();
    let held: Vec<_> = edition.new.iter().map(|segment| segment.number).collect();
    assert_eq!(held, [116, 117, 118, 119]);
    assert_eq!((edition.left_out, edition.begins, edition.ends), (11, 116, 120));
    assert!(snapshot(20).edition(120).is_none());
}

fn writer(root: &Path) -> (Hls, Writer) {
    let (hub, limits) = (Hub::new(&Limits::default()), Limits::default());
    let hls = Hls::new(hub, &limits, Default::default(), Default::default());
    let claim = Claim::new(&hls, &"live/a".parse().unwrap()).unwrap();
    (hls, Writer::new(root, Duration::ZERO, claim))
}

fn lines(root: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(root.join("live/a/video.m3u8")).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn what_the_disk_was_too_slow_for_is_listed_as_a_gap() {
    let folder = tempfile::tempdir().unwrap();
    let (_hls, mut writer) = writer(folder.path());
    writer.write_and_tell(&snapshot(2).edition(0).unwrap());
    writer.write_and_tell(&snapshot(9).edition(writer.next).unwrap());
    let lines = lines(folder.path());
    assert_eq!(lines.iter().filter(|line| *line == "#EXT-X-GAP").count(), 3);
    let listed: Vec<_> = lines.iter().filter(|line| line.starts_with('v')).cloned().collect();
    assert_eq!(listed, (100..109).map(|number| format!("v{number}.m4s")).collect::<Vec<_>>());
    let there = |number: u64| folder.path().join(format!("live/a/v{number}.m4s")).exists();
    let there: Vec<_> = (100..109).filter(|number| there(*number)).collect();
    assert_eq!(there, [100, 101, 105, 106, 107, 108]);
}

#[test]
fn a_segment_that_cannot_be_written_is_a_gap_and_the_next_one_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let (_hls, mut writer) = writer(folder.path());
    // Neither renamed over nor removed.
    std::fs::create_dir_all(folder.path().join("live/a/v101.m4s/x")).unwrap();
    writer.has_begun = true;
    writer.write(&snapshot(1).edition(0).unwrap()).unwrap();
    let error = writer.write(&snapshot(2).edition(101).unwrap()).unwrap_err().to_string();
    assert!(error.contains("v101.m4s"), "{error}");
    writer.write(&snapshot(3).edition(102).unwrap()).unwrap();
    let lines = lines(folder.path());
    let gap = lines.iter().position(|line| line == "#EXT-X-GAP").unwrap();
    assert_eq!(lines[gap + 2], "v101.m4s");
    assert_eq!(lines.last().unwrap(), "v102.m4s");
    assert_eq!(writer.folder.names().iter().filter(|name| name.ends_with(".tmp")).count(), 0);
}

#[test]
fn no_more_than_sixteen_streams_write_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (hls, _writer) = writer(folder.path());
    let places = &hls.shared.disk.places;
    let held = places.clone().try_acquire_many_owned(16).unwrap();
    assert!(places.try_acquire().is_err());
    drop(held);
}

#[test]
fn a_stream_is_written_by_one_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let (hls, writer) = writer(folder.path());
    let key = writer.claim.key.clone();
    assert!(Claim::new(&hls, &key).is_none());
    drop(writer);
    assert!(Claim::new(&hls, &key).is_some());
}

#[test]
fn our_files_are_known_by_their_names_and_no_others() {
    for name in [
        "index.m3u8",
        "video.m3u8",
        "audio1.m3u8",
        "v1.m4s",
        "a2-17.m4s",
        "vi5.mp4",
        "a1-i5.mp4",
        "v1.m4s.tmp",
        "index.m3u8.tmp",
    ] {
        assert!(is_ours(name), "{name}");
    }
    for name in [
        "",
        "x",
        "v.m4s",
        "v1.mp4",
        "v-1.m4s",
        "v+1.m4s",
        "v1.m4s.bak",
        "vp1.m4s",
        "a-1.m4s",
        "a0-1.m4s",
        "vi.mp4",
        "audio0.m3u8",
        ".tmp",
        "movie.mp4",
        "v1 .m4s",
        "main.m3u8",
        "a1.m4s",
    ] {
        assert!(!is_ours(name), "{name}");
    }
}

#[test]
fn numbers_go_on_behind_those_of_an_earlier_run() {
    let folder = tempfile::tempdir().unwrap();
    let (_hls, mut writer) = writer(folder.path());
    let own = folder.path().join("live/a");
    std::fs::create_dir_all(&own).unwrap();
    let text = "#EXT-X-MEDIA-SEQUENCE:4000\n#EXT-X-DISCONTINUITY-SEQUENCE:7\n#EXTINF:1.0,\nv4000.m4s\n";
    std::fs::write(own.join("video.m3u8"), text).unwrap();
    // Written, and not listed before the end came.
    std::fs::write(own.join("v4001.m4s"), "").unwrap();
    writer.write(&snapshot(2).edition(0).unwrap()).unwrap();
    let lines = lines(folder.path());
    for line in ["#EXT-X-MEDIA-SEQUENCE:4002", "#EXT-X-DISCONTINUITY-SEQUENCE:8", "v4002.m4s", "v4003.m4s"] {
        assert!(lines.iter().any(|there| there == line), "{line} in {lines:?}");
    }
    assert!(lines.iter().any(|line| line.contains("vi4002.mp4")), "{lines:?}");
}

#[test]
fn an_earlier_playlist_tells_where_numbers_go_on() {
    let text = "#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:7\n#EXT-X-DISCONTINUITY-SEQUENCE:2\n#EXT-X-MAP:URI=\"vi7.mp4\"\n\
                #EXTINF:1.0,\nv7.m4s\n#EXT-X-DISCONTINUITY\n#EXT-X-GAP\n#EXTINF:1.0,\nv8.m4s\n#EXT-X-ENDLIST\n";
    let earlier = Earlier::read(text);
    assert_eq!((earlier.ends, earlier.breaks), (9, 4));
    assert_eq!(earlier.files, ["vi7.mp4", "v7.m4s", "v8.m4s"].map(str::to_owned).into());
    assert_eq!(
        Earlier::read("\0#EXT-X-MEDIA-SEQUENCE:-1\n#EXT-X-MAP:x"),
        Earlier { breaks: 1, ends: 1, files: ["\0#EXT-X-MEDIA-SEQUENCE:-1".to_owned()].into() }
    );
}
