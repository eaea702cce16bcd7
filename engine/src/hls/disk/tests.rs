//! Files of HLS: what is written, listed and removed, and when.

use super::leavings::{List, remove_left_over};
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

/// A folder with a stream's files, of numbers from 100 on, which nobody writes any more.
fn left_over() -> (tempfile::TempDir, Hls) {
    let folder = tempfile::tempdir().unwrap();
    let (hls, mut writer) = writer(folder.path());
    writer.write(&snapshot(3).edition(0).unwrap()).unwrap();
    (folder, hls)
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    names
}

#[test]
fn what_is_left_of_a_stream_is_removed_with_its_folder() {
    let (root, hls) = left_over();
    assert_eq!(
        names(&root.path().join("live/a")),
        ["index.m3u8", "v100.m4s", "v101.m4s", "v102.m4s", "vi100.mp4", "video.m3u8"]
    );
    remove_left_over(&hls, root.path(), &"live/a".parse().unwrap(), Duration::ZERO);
    assert!(root.path().exists() && names(root.path()).is_empty());
}

#[test]
fn what_is_in_use_or_may_be_of_use_stays() {
    let (root, hls) = left_over();
    let (key, own) = ("live/a".parse().unwrap(), root.path().join("live/a"));
    let there = names(&own);
    let stays = |why: &str, kept: Duration| {
        remove_left_over(&hls, root.path(), &key, kept);
        assert!(there.iter().all(|name| own.join(name).exists()), "{why}");
    };
    stays("young", Duration::from_secs(3_600));
    let claim = Claim::new(&hls, &key);
    stays("written", Duration::ZERO);
    drop(claim);
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    std::fs::write(own.join(format!("v{}.m4s", now + 100)), "").unwrap();
    stays("its numbers are ahead of the clock", Duration::ZERO);
}

#[cfg(unix)]
#[test]
fn nothing_is_removed_but_files_with_names_like_ours_in_folders_of_ours() {
    use std::os::unix::fs::symlink;
    let (root, hls) = left_over();
    let elsewhere = tempfile::tempdir().unwrap();
    let remove = |name: &str| remove_left_over(&hls, root.path(), &name.parse().unwrap(), Duration::ZERO);
    let text = "#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:1\n#EXTINF:1.0,\nv1.m4s\n";
    for name in ["video.m3u8", "index.m3u8", "v1.m4s"] {
        std::fs::write(elsewhere.path().join(name), text).unwrap();
    }
    // Other things in a folder of ours; of a link with a name like ours, the link is ours.
    let own = root.path().join("live/a");
    std::fs::write(own.join("poster.jpg"), "").unwrap();
    std::fs::create_dir(own.join("v5.m4s")).unwrap();
    symlink(elsewhere.path().join("v1.m4s"), own.join("v7.m4s")).unwrap();
    remove("live/a");
    assert_eq!(names(&own), ["poster.jpg", "v5.m4s"]);
    // Links to folders, at each place of the path.
    symlink(elsewhere.path(), root.path().join("live/b")).unwrap();
    remove("live/b");
    std::fs::create_dir(elsewhere.path().join("c")).unwrap();
    std::fs::rename(elsewhere.path().join("v1.m4s"), elsewhere.path().join("c/v1.m4s")).unwrap();
    symlink(elsewhere.path(), root.path().join("linked")).unwrap();
    remove("linked/c");
    assert_eq!(names(elsewhere.path()), ["c", "index.m3u8", "video.m3u8"]);
    assert_eq!(names(&elsewhere.path().join("c")), ["v1.m4s"]);
    // HLS of other programs, whose playlists are called so, too.
    let other = root.path().join("live/other");
    std::fs::create_dir(&other).unwrap();
    for (name, text) in
        [("video.m3u8", "#EXTM3U\n#EXTINF:1.0,\nseg-1.ts\n"), ("v1.ts", ""), ("index.m3u8", "")]
    {
        std::fs::write(other.join(name), text).unwrap();
    }
    remove("live/other");
    assert_eq!(names(&other), ["index.m3u8", "v1.ts", "video.m3u8"]);
    std::fs::remove_file(other.join("video.m3u8")).unwrap();
    remove("live/other");
    assert_eq!(names(&other), ["index.m3u8", "v1.ts"]);
}

#[test]
fn an_earlier_playlist_tells_where_numbers_go_on() {
    let text = "#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:7\n#EXT-X-DISCONTINUITY-SEQUENCE:2\n#EXT-X-MAP:URI=\"vi7.mp4\"\n\
                #EXTINF:1.0,\nv7.m4s\n#EXT-X-DISCONTINUITY\n#EXT-X-GAP\n#EXTINF:1.0,\nv8.m4s\n#EXT-X-ENDLIST\n";
    let earlier = List::read(text);
    assert_eq!((earlier.ends, earlier.breaks), (9, 4));
    assert_eq!(earlier.files, ["vi7.mp4", "v7.m4s", "v8.m4s"].map(str::to_owned).into());
    assert_eq!(
        List::read("\0#EXT-X-MEDIA-SEQUENCE:-1\n#EXT-X-MAP:x"),
        List { breaks: 1, ends: 1, files: ["\0#EXT-X-MEDIA-SEQUENCE:-1".to_owned()].into() }
    );
}
