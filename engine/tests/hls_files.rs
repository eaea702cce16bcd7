//! HLS as files: what a web server in front finds at every moment, and what becomes of it when the disk fails.
#![cfg(feature = "http")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};
use streamengine::media::Frame;
use streamengine::testing::{demo_frames, key, wait};
use streamengine::{Config, Engine, ErrorKind, HlsConfig, Publisher};

/// How long the demo clip lasts, in milliseconds.
const CLIP_MS: i64 = 10_000;

fn serving(dir: &Path) -> Engine {
    let mut config = Config::default();
    config.default_app.hls = HlsConfig::default().dir(dir.to_owned()).window_ms(3_000);
    Engine::builder().config(config).start().unwrap()
}

/// A stream that is published a second at a time, each when the one before is on the disk.
struct Live {
    publisher: Publisher,
    folder: PathBuf,
    frames: Vec<Frame>,
    now: i64,
}

impl Live {
    fn publish(engine: &Engine, dir: &Path, name: &str) -> Self {
        let publisher = engine.publish(&key(name)).unwrap();
        Self { publisher, folder: dir.join(name), frames: demo_frames(), now: 0 }
    }

    /// The next second, and back at the begin after the last.
    fn push_second(&mut self) {
        let (pass, from) = (self.now / CLIP_MS * CLIP_MS, self.now % CLIP_MS);
        for frame in &self.frames {
            let is_due = (from..from + 1_000).contains(&frame.timestamp);
            if is_due && (pass == 0 || !frame.is_config()) {
                let at = frame.timestamp + pass;
                self.publisher.push(Frame::new(frame.kind, at, frame.payload.clone())).unwrap();
            }
        }
        self.now += 1_000;
    }

    /// Goes on until the playlist has so many segments more.
    fn push_segments(&mut self, count: u64) {
        let folder = self.folder.clone();
        let ends = || List::read(&folder).map(|list| list.first + list.names.len() as u64);
        let mut goal = ends().map(|ends| ends + count);
        wait::until("segments are written", || {
            self.push_second();
            goal = goal.or_else(|| ends().map(|ends| ends + count - 1));
            goal.is_some_and(|goal| ends() >= Some(goal))
        });
    }
}

/// A playlist of a rendition.
#[derive(Debug)]
struct List {
    first: u64,
    breaks: u64,
    maps: Vec<String>,
    /// Segments, without those that are gaps.
    files: Vec<String>,
    names: Vec<String>,
    is_over: bool,
    text: String,
}

impl List {
    fn read(folder: &Path) -> Option<Self> {
        let text = fs::read_to_string(folder.join("video.m3u8")).ok()?;
        let value = |tag: &str| text.lines().find_map(|line| line.strip_prefix(tag));
        let mut list = Self {
            first: value("#EXT-X-MEDIA-SEQUENCE:").unwrap().parse().unwrap(),
            breaks: value("#EXT-X-DISCONTINUITY-SEQUENCE:").unwrap().parse().unwrap(),
            maps: Vec::new(),
            files: Vec::new(),
            names: Vec::new(),
            is_over: text.ends_with("#EXT-X-ENDLIST\n"),
            text: text.clone(),
        };
        let mut is_gap = false;
        for line in text.lines() {
            if let Some(map) = line.strip_prefix("#EXT-X-MAP:URI=\"") {
                list.maps.push(map.trim_end_matches('"').to_owned());
            }
            is_gap |= line == "#EXT-X-GAP";
            if !line.starts_with('#') {
                list.names.push(line.to_owned());
                if !std::mem::take(&mut is_gap) {
                    list.files.push(line.to_owned());
                }
            }
        }
        Some(list)
    }
}

/// The types of the boxes that fill a file to its end.
fn boxes(bytes: &[u8]) -> Vec<[u8; 4]> {
    let (mut rest, mut types) = (bytes, Vec::new());
    while !rest.is_empty() {
        let len = u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize;
        types.push(rest[4..8].try_into().unwrap());
        rest = &rest[len..];
    }
    types
}

/// Reads all that a player would; the number of the first segment, or none where there is no playlist yet.
fn check(folder: &Path) -> Option<List> {
    let index = fs::read_to_string(folder.join("index.m3u8")).ok()?;
    assert!(index.starts_with("#EXTM3U\n#EXT-X-VERSION:8\n") && index.ends_with("\nvideo.m3u8\n"), "{index}");
    let list = List::read(folder).expect("the playlist that is named");
    for word in ["PART", "PRELOAD", "CAN-BLOCK", "SKIP"] {
        assert!(!list.text.contains(word), "{}", list.text);
    }
    assert!(!list.files.is_empty() && !list.maps.is_empty(), "{}", list.text);
    for name in &list.maps {
        assert_eq!(boxes(&fs::read(folder.join(name)).unwrap()), [*b"ftyp", *b"moov"], "{name}");
    }
    for name in &list.files {
        let bytes = fs::read(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let types = boxes(&bytes);
        assert!(
            !types.is_empty() && types.chunks(2).all(|pair| pair == [*b"moof", *b"mdat"]),
            "{name}: {types:?}"
        );
    }
    Some(list)
}

#[test]
fn playlists_are_whole_and_name_whole_files_at_every_moment() {
    let dir = tempfile::tempdir().unwrap();
    let engine = serving(dir.path());
    let mut live = Live::publish(&engine, dir.path(), "live/room/a");
    let (is_done, looks) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let folder = live.folder.clone();
        let (is_done, looks) = (&is_done, &looks);
        let reader = scope.spawn(move || {
            let mut last = 0;
            while !is_done.load(Ordering::Relaxed) {
                let Some(list) = check(&folder) else { continue };
                assert!(list.first >= last, "{} after {last}", list.first);
                last = list.first;
                looks.fetch_add(1, Ordering::Relaxed);
            }
        });
        live.push_segments(1);
        let first = List::read(&live.folder).unwrap().first;
        live.push_segments(30);
        is_done.store(true, Ordering::Relaxed);
        reader.join().unwrap();
        let list = check(&live.folder).unwrap();
        assert!(list.first > first, "the window has moved");
        assert!(!list.is_over);
    });
    assert!(looks.load(Ordering::Relaxed) > 30);
    let Live { publisher, folder, .. } = live;
    publisher.finish();
    wait::until("the end is told", || List::read(&folder).unwrap().is_over);
    check(&folder).unwrap();
    let unfinished = fs::read_dir(&folder)
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_str().unwrap().ends_with(".tmp"));
    assert_eq!(unfinished.count(), 0);
}

#[test]
fn a_restart_goes_on_behind_the_numbers_before_and_takes_away_what_is_ours() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("live/a");
    fs::create_dir_all(&folder).unwrap();
    let text = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:4000000000\n#EXT-X-DISCONTINUITY-SEQUENCE:7\n\
                #EXT-X-MAP:URI=\"vi4000000000.mp4\"\n#EXTINF:2.0,\nv4000000000.m4s\n#EXTINF:2.0,\nv4000000001.m4s\n";
    fs::write(folder.join("video.m3u8"), text).unwrap();
    let (listed, gone) =
        (["v4000000000.m4s", "v4000000001.m4s", "vi4000000000.mp4"], ["v3999999999.m4s", "v5.m4s.tmp"]);
    let others = ["notes.txt", "v1x.m4s", "poster.mp4"];
    for name in listed.iter().chain(&gone).chain(&others) {
        fs::write(folder.join(name), "x").unwrap();
    }
    let engine = serving(dir.path());
    let mut live = Live::publish(&engine, dir.path(), "live/a");
    live.push_segments(1);
    wait::until("the new playlist is there", || folder.join("index.m3u8").exists());
    let list = check(&folder).unwrap();
    assert!(list.first >= 4_000_000_002 && list.breaks == 8, "{}", list.text);
    let there = |names: &[&str]| names.iter().filter(|name| folder.join(name).exists()).count();
    assert_eq!((there(&listed), there(&gone), there(&others)), (3, 0, 3));
    drop((live, engine));
    let list = check(&folder).unwrap();
    let engine = serving(dir.path());
    let mut live = Live::publish(&engine, dir.path(), "live/a");
    wait::until("a new run has begun", || {
        live.push_second();
        check(&folder).unwrap().first >= list.first + list.names.len() as u64
    });
    assert_eq!(check(&folder).unwrap().breaks, 9);
    assert_eq!(there(&others), 3);
}

#[test]
fn f35_a_folder_that_is_removed_is_made_again_and_the_stream_goes_on() {
    let outer = tempfile::tempdir().unwrap();
    let dir = outer.path().join("hls");
    fs::create_dir(&dir).unwrap();
    let engine = serving(&dir);
    let mut live = Live::publish(&engine, &dir, "live/a");
    live.push_segments(2);
    let before = check(&live.folder).unwrap();
    for (number, removed) in [dir.clone(), dir.join("live/a")].into_iter().enumerate() {
        // All at once: what is written meanwhile would be in the way.
        fs::rename(&removed, outer.path().join(format!("removed {number}"))).unwrap();
        wait::until("it is there again", || {
            live.push_second();
            check(&live.folder).is_some()
        });
        let list = check(&live.folder).unwrap();
        assert!(list.first >= before.first, "numbers do not go back");
    }
}

#[test]
fn who_publishes_again_at_once_is_written_again() {
    let dir = tempfile::tempdir().unwrap();
    let engine = serving(dir.path());
    for time in 0..20 {
        let mut live = Live::publish(&engine, dir.path(), "live/a");
        wait::until("it is written", || {
            live.push_second();
            check(&live.folder).is_some_and(|list| list.breaks == time && !list.is_over)
        });
        live.publisher.finish();
    }
}

#[test]
fn the_files_of_a_stream_that_has_ended_leave_when_its_window_is_held_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let engine = serving(dir.path());
    let publish = || {
        let mut live = Live::publish(&engine, dir.path(), "live/a");
        (0..4).for_each(|_| live.push_second());
        live.publisher.finish();
        let mut ends = 0;
        wait::until("the end is told", || {
            let list = check(&live.folder).filter(|list| list.is_over);
            ends = list.as_ref().map_or(0, |list| list.first + list.names.len() as u64);
            list.is_some()
        });
        (live.folder, ends)
    };
    let (folder, ends) = publish();
    let ended = Instant::now();
    wait::until("nothing is left", || {
        let is_there = dir.path().join("live").exists();
        // Twice the window, less what it took to see the end.
        assert!(is_there || ended.elapsed() > Duration::from_secs(4), "{:?}", ended.elapsed());
        !is_there
    });
    assert!(dir.path().exists() && !folder.exists());
    let (folder, later) = publish();
    let list = check(&folder).expect("it is kept");
    assert!(list.first >= ends && later > ends, "{} after {ends}", list.first);
}

#[test]
fn what_earlier_runs_have_left_is_removed_and_what_others_have_there_stays() {
    let dir = tempfile::tempdir().unwrap();
    let (old, other) = (dir.path().join("live/room/old"), dir.path().join("www/site"));
    let ours = "#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:7\n#EXTINF:1.0,\nv7.m4s\n";
    for (folder, list) in [(&old, ours), (&other, "#EXTM3U\n#EXTINF:1.0,\nseg7.ts\n")] {
        fs::create_dir_all(folder).unwrap();
        for (name, text) in [("index.m3u8", "#EXTM3U\nvideo.m3u8\n"), ("video.m3u8", list), ("v7.m4s", "")] {
            let file = fs::File::create(folder.join(name)).unwrap();
            (&file).write_all(text.as_bytes()).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(3_600)).unwrap();
        }
    }
    let engine = serving(dir.path());
    let mut live = Live::publish(&engine, dir.path(), "live/a");
    live.push_segments(1);
    wait::until("the old one is gone", || !dir.path().join("live/room").exists());
    assert!(check(&live.folder).is_some() && dir.path().join("live/a").exists());
    assert_eq!(fs::read_dir(&other).unwrap().count(), 3);
}

#[cfg(unix)]
#[test]
fn f36_symbolic_links_below_the_folder_are_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    for (link, name) in [("live", "live/a"), ("room/a", "room/a")] {
        let link = dir.path().join(link);
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), &link).unwrap();
        let engine = serving(dir.path());
        let mut live = Live::publish(&engine, dir.path(), name);
        let mut other = Live::publish(&engine, dir.path(), "other/b");
        live.push_second();
        other.push_segments(3);
        (0..6).for_each(|_| live.push_second());
        other.push_segments(3);
        fs::remove_file(&link).unwrap();
        wait::until("it is written where it belongs", || {
            live.push_second();
            check(&live.folder).is_some()
        });
        assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0, "{name}");
    }
}

#[test]
fn a_folder_that_cannot_be_written_is_refused_before_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let (missing, file) = (dir.path().join("missing"), dir.path().join("file"));
    fs::write(&file, "").unwrap();
    for (path, kind, words) in [
        (&missing, ErrorKind::NotFound, "hls.dir"),
        (&file, ErrorKind::InvalidArgument, "not a folder"),
        (&PathBuf::from("/proc"), ErrorKind::NotFound, "cannot be written"),
    ] {
        let mut config = Config::default();
        config.default_app.hls = HlsConfig::default().dir(path.clone());
        let error = Engine::builder().config(config).check().unwrap_err();
        assert!(error.kind() == kind && error.to_string().contains(words), "{error}");
    }
}
