//! F35, F38: HLS as files, of a disk that fails, and of a server that is killed while it writes.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;
use streamengine_tests::http::{HttpPeer, get};
use streamengine_tests::peers::command;
use streamengine_tests::synthetic::{Shape, Source, Watcher};
use streamengine_tests::{Engine, PATIENCE, Proc, Signal, demo_clip, needs, poll};

/// Servers that are killed, each with a folder of its own, and how often each is.
const LANES: usize = 4;
const KILLS: usize = 50;

/// What a playlist lists.
struct List {
    /// The number of the first segment, and the one after the last.
    numbers: std::ops::Range<u64>,
    breaks: u64,
    gaps: usize,
}

/// The boxes of a file, which end where it ends.
fn boxes(path: &Path) -> Vec<String> {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (mut rest, mut types) = (&bytes[..], Vec::new());
    while !rest.is_empty() {
        let len = u32::from_be_bytes(rest[..4].try_into().expect("four bytes")) as usize;
        types.push(String::from_utf8_lossy(&rest[4..8]).into_owned());
        rest = &rest[len..];
    }
    types
}

/// Reads what a player would, and holds it to be whole; none where there is no playlist.
fn read(folder: &Path) -> Option<List> {
    let index = fs::read_to_string(folder.join("index.m3u8")).ok()?;
    assert!(index.starts_with("#EXTM3U\n") && index.ends_with("\nvideo.m3u8\n"), "{index}");
    let text = fs::read_to_string(folder.join("video.m3u8")).expect("the playlist that is named");
    assert!(text.starts_with("#EXTM3U\n") && text.ends_with(".m4s\n"), "{text}");
    let number = |tag: &str| -> u64 {
        let value = text.lines().find_map(|line| line.strip_prefix(tag)).expect(tag);
        value.parse().expect("a number")
    };
    let (first, breaks) = (number("#EXT-X-MEDIA-SEQUENCE:"), number("#EXT-X-DISCONTINUITY-SEQUENCE:"));
    let (mut count, mut gaps, mut is_gap) = (0, 0, false);
    for line in text.lines() {
        if let Some(map) = line.strip_prefix("#EXT-X-MAP:URI=\"") {
            assert_eq!(boxes(&folder.join(map.trim_end_matches('"'))), ["ftyp", "moov"]);
        }
        is_gap |= line == "#EXT-X-GAP";
        if !line.starts_with('#') {
            assert_eq!(line, format!("v{}.m4s", first + count));
            count += 1;
            if std::mem::take(&mut is_gap) {
                gaps += 1;
                continue;
            }
            let types = boxes(&folder.join(line));
            assert!(
                !types.is_empty() && types.chunks(2).all(|pair| pair == ["moof", "mdat"]),
                "{line}: {types:?}"
            );
        }
    }
    Some(List { numbers: first..first + count, breaks, gaps })
}

fn ffprobe(folder: &Path) {
    let mut line =
        command("ffprobe", ["-v", "error", "-show_entries", "stream=codec_name", "-of", "csv=p=0"]);
    line.arg(folder.join("index.m3u8"));
    let probe = Proc::spawn("ffprobe", line);
    probe.succeed(PATIENCE);
    // It lists them by programs, too, with empty lines between.
    let lines = probe.out.all();
    let codecs = lines.iter().map(|line| line.trim_matches(',')).filter(|line| !line.is_empty());
    let codecs: BTreeSet<_> = codecs.map(str::to_owned).collect();
    assert_eq!(codecs, ["aac", "h264"].map(str::to_owned).into(), "{}", probe.log());
}

/// What came of a server's kills.
#[derive(Default)]
struct Tally {
    kills: usize,
    /// After so many there was something new.
    written: usize,
    /// And after so many a file whose writing had been cut off.
    torn: usize,
    segments: u64,
    gaps: usize,
}

/// Kills servers that write to one folder at moments of all kinds.
fn kill_again_and_again(lane: usize) -> Tally {
    let dir = tempfile::tempdir().expect("temporary folder");
    let folder = dir.path().join("live/a");
    let (mut tally, mut last) = (Tally::default(), List { numbers: 0..0, breaks: 0, gaps: 0 });
    for round in 0..KILLS {
        let engine = Engine::serve().config(format!("[default_app.hls]\ndir = {:?}\n", dir.path())).start();
        // Faster than it plays: there is always something to write.
        let mut line = command("ffmpeg", ["-v", "error", "-nostdin", "-stream_loop", "-1", "-i"]);
        line.arg(demo_clip()).args(["-c", "copy", "-f", "flv"]).arg(engine.url("live/a"));
        let publisher = Proc::spawn("ffmpeg", line);
        engine.wait_publish("live/a");
        let moment = (round * LANES + lane) * 37 % 400;
        std::thread::sleep(Duration::from_millis(moment as u64));
        engine.process.signal(Signal::KILL);
        engine.process.try_wait(PATIENCE).expect("the end of the server");
        publisher.signal(Signal::KILL);
        tally.kills += 1;
        let Some(list) = read(&folder) else {
            assert_eq!(last.numbers.end, 0, "the playlist is gone");
            continue;
        };
        assert!(list.numbers.start >= last.numbers.start, "{:?} after {:?}", list.numbers, last.numbers);
        assert!(list.numbers.end >= last.numbers.end && list.breaks >= last.breaks);
        if list.numbers.end > last.numbers.end {
            tally.written += 1;
            assert!(
                list.breaks > last.breaks || last.numbers.end == 0 || list.numbers.start < last.numbers.end
            );
        }
        let names = fs::read_dir(&folder).expect("folder").map(|entry| entry.expect("entry").file_name());
        tally.torn += usize::from(names.into_iter().any(|name| name.to_string_lossy().ends_with(".tmp")));
        tally.segments += list.numbers.end - list.numbers.start;
        tally.gaps += list.gaps;
        if round % 10 == 9 {
            ffprobe(&folder);
        }
        last = list;
    }
    tally
}

#[test]
fn f38_200_kills_leave_whole_playlists_of_whole_files_and_numbers_that_do_not_go_back() {
    needs!("ffmpeg", "ffprobe");
    let tallies: Vec<_> = std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..LANES).map(|lane| scope.spawn(move || kill_again_and_again(lane))).collect();
        lanes.into_iter().map(|lane| lane.join().expect("a lane")).collect()
    });
    let sum = |of: fn(&Tally) -> usize| tallies.iter().map(of).sum::<usize>();
    let (kills, written, torn) = (sum(|t| t.kills), sum(|t| t.written), sum(|t| t.torn));
    let (segments, gaps) = (tallies.iter().map(|t| t.segments).sum::<u64>(), sum(|t| t.gaps));
    println!(
        "{kills} kills: news after {written}, a torn file after {torn}; {segments} segments, {gaps} gaps"
    );
    assert_eq!(kills, LANES * KILLS);
    assert!(written >= kills / 2, "only {written} of {kills} servers have written something");
}

/// A server whose folder of HLS is a file system of 1 MB that only it sees.
struct Small {
    engine: Engine,
    /// Where it is mounted.
    mount: PathBuf,
    _dir: tempfile::TempDir,
}

impl Small {
    fn start() -> Self {
        let dir = tempfile::tempdir().expect("temporary folder");
        let mount = dir.path().to_owned();
        let script = "mount -t tmpfs -o size=1m none \"$0\" && exec \"$@\"";
        let path = mount.to_str().expect("a name");
        let clip = demo_clip();
        let settings = format!(
            "[default_app.hls]\ndir = {path:?}\nwindow_ms = 3000\n[[file]]\npaths = {clip:?}\nstream = \"live/a\"\n"
        );
        let engine = Engine::serve()
            .config(settings)
            .http()
            .under(&["unshare", "--mount", "sh", "-c", script, path])
            .start();
        Self { engine, mount, _dir: dir }
    }

    /// The folder as the server sees it.
    fn seen(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.engine.process.pid()));
        root.join(self.mount.strip_prefix("/").expect("an absolute path"))
    }

    fn folder(&self) -> PathBuf {
        self.seen().join("live/a")
    }

    fn remount(&self, way: &str) {
        let pid = self.engine.process.pid().to_string();
        let mut line = command("nsenter", ["-t", &pid, "--mount", "mount", "-o", &format!("remount,{way}")]);
        line.arg(&self.mount);
        Proc::spawn("nsenter", line).succeed(PATIENCE);
    }

    /// Waits for a line of the log from line `mark` on.
    fn wait_line(&self, mark: usize, text: &str) {
        let found =
            self.engine.process.err.find_after(mark, PATIENCE, |line| line.contains(text).then_some(()));
        assert!(found.is_some(), "no line with {text:?}\n{}", self.engine.process.log());
    }

    /// The playlist that the server's memory has.
    fn memory_playlist(&self) -> String {
        let mut peer = HttpPeer::dial(self.engine.http()).expect("connect");
        let (status, text) = peer.ask(get("/live/a/video.m3u8")).expect("a reply");
        assert_eq!(status, 200, "{text}");
        text
    }

    /// Waits until memory has a newer segment.
    fn wait_memory(&self) {
        let newest = |text: &str| {
            text.lines().rfind(|line| line.ends_with(".m4s") && !line.starts_with('#')).map(str::to_owned)
        };
        let before = newest(&self.memory_playlist()).expect("a segment");
        let next = poll(PATIENCE, || newest(&self.memory_playlist()).filter(|now| *now != before));
        assert!(next.is_some(), "HLS from memory stands still\n{}", self.engine.process.log());
    }

    /// Waits until the files go on.
    fn wait_files(&self, after: u64) -> List {
        let list = poll(PATIENCE, || read(&self.folder()).filter(|list| list.numbers.end > after));
        list.unwrap_or_else(|| panic!("no new files\n{}", self.engine.process.log()))
    }
}

#[test]
fn f35_a_disk_that_is_full_read_only_or_gone_costs_files_only_and_they_go_on() {
    needs!("root", "unshare", "nsenter");
    let small = Small::start();
    let _source = Source::publish(small.engine.rtmp, "live/base", Shape::bits_per_second(400_000));
    let watcher = Watcher::play(small.engine.rtmp, "live/base");
    watcher.wait_frames(25);
    let mut list = small.wait_files(0);
    let lines = || small.engine.process.err.mark();

    let mark = lines();
    let filler = small.seen().join("filler");
    let mut file = File::create(&filler).expect("filler");
    while file.write_all(&[0; 1_024]).is_ok() {}
    small.wait_line(mark, "No space left on device");
    small.wait_memory();
    let full = read(&small.folder()).expect("a playlist");
    assert!(full.numbers.start >= list.numbers.start);
    drop(file);
    fs::remove_file(filler).expect("filler");
    small.wait_line(mark, "HLS files are written again");
    list = small.wait_files(full.numbers.end);

    let mark = lines();
    small.remount("ro");
    small.wait_line(mark, "Read-only file system");
    small.wait_memory();
    let standing = read(&small.folder()).expect("a playlist");
    small.remount("rw");
    small.wait_line(mark, "HLS files are written again");
    assert!(standing.numbers.end >= list.numbers.start);
    list = small.wait_files(standing.numbers.end);

    // All at once: what is written meanwhile would be in the way.
    fs::rename(small.seen().join("live"), small.seen().join("removed")).expect("renamed");
    fs::remove_dir_all(small.seen().join("removed")).expect("removed");
    small.wait_memory();
    let again = small.wait_files(list.numbers.end);
    assert!(again.numbers.start >= list.numbers.start);

    let seen = watcher.seen();
    assert_eq!(seen.lost, 0, "a frame of another stream was lost");
    let log = small.engine.process.err.all();
    for fault in ["No space left on device", "Read-only file system"] {
        let told = log.iter().filter(|line| line.contains(fault)).count();
        assert!((1..=2).contains(&told), "{told} lines about {fault:?}\n{}", small.engine.process.log());
    }
    assert!(!log.iter().any(|line| line.contains("panicked")));
}
