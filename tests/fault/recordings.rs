//! F35, F38: recordings onto a disk that fails, and of a server that is killed while it writes.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;
use streamengine_tests::flv::Recording;
use streamengine_tests::peers::command;
use streamengine_tests::synthetic::{Shape, Source, Watcher, number};
use streamengine_tests::{Engine, PATIENCE, Proc, Signal, demo_clip, is_idle, needs, poll};

/// Servers that are killed for each format at a time, and how often each is, unless `STREAMENGINE_KILLS` says how often all are.
const LANES: usize = 2;
const KILLS: usize = 12;
/// Frames of the made-up stream in a second.
const RATE: u32 = 25;
/// A recording that could not go on is tried again after 10 s.
const RETRY: Duration = Duration::from_secs(40);

/// The files below a folder, by name.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<_> = entries.map(|entry| entry.path()).collect();
    files.sort();
    files
}

/// Frames of a file, and what ffprobe finds wrong with it: not in its frames, as no decoder understands the made-up stream.
fn probed(path: &Path, format: &str) -> (u32, Vec<String>) {
    let mut line = command("ffprobe", ["-v", "error", "-count_packets", "-select_streams", "v:0", "-f"]);
    line.arg(if format == "flv" { "flv" } else { "mp4" });
    line.args(["-show_entries", "stream=nb_read_packets", "-of", "csv=p=0"]).arg(path);
    let probe = Proc::spawn("ffprobe", line);
    probe.succeed(PATIENCE);
    let is_of_file = |line: &String| line.starts_with("[flv") || line.starts_with("[mov");
    let complaints = probe.err.all().into_iter().filter(is_of_file).collect();
    let frames = probe.out.all().iter().find_map(|line| line.trim_matches(',').parse().ok());
    (frames.unwrap_or_default(), complaints)
}

/// Frames of a file with which nothing is wrong.
fn ffprobe(path: &Path, format: &str) -> u32 {
    let (frames, complaints) = probed(path, format);
    assert!(complaints.is_empty(), "{}: {complaints:?}", path.display());
    frames
}

/// Frames that the files of a folder have, and the highest number of a frame in FLV.
fn frames(folder: &Path, format: &str) -> u32 {
    files(folder).iter().map(|path| ffprobe(path, format)).sum()
}

fn settings(dir: &Path, format: &str, more: &str) -> String {
    format!(
        "[default_app.record]\nwhen = \"all\"\ndir = {dir:?}\nformat = \"{format}\"\nmin_free_bytes = 0\n{more}\n"
    )
}

/// How often each server is killed.
fn rounds() -> usize {
    let all = std::env::var("STREAMENGINE_KILLS").ok();
    all.map_or(KILLS, |all| all.parse::<usize>().expect("a number of kills").div_ceil(LANES))
}

/// What came of a server's kills.
#[derive(Debug, Default)]
struct Tally {
    kills: usize,
    /// After so many there was a file that was being written.
    growing: usize,
    /// Frames that a player had got and the file had not: the most of one kill, and of all together.
    most_lost: u32,
    lost: u32,
}

/// Kills servers at moments of all kinds, and reads what they have left: as it is, and after the next start.
fn kill_again_and_again(lane: usize, format: &str) -> Tally {
    let mut tally = Tally::default();
    for round in 0..rounds() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let folder = dir.path().join("live/a");
        let serve = || Engine::serve().config(settings(dir.path(), format, "")).start();
        let engine = serve();
        let source = Source::publish(engine.rtmp, "live/a", Shape::bits_per_second(2_000_000));
        let watcher = Watcher::play(engine.rtmp, "live/a");
        poll(PATIENCE, || (!files(&folder).is_empty()).then_some(())).expect("it records");
        let moment = 1_000 + (round * LANES + lane) * 37 % 400;
        std::thread::sleep(Duration::from_millis(moment as u64));
        let seen = watcher.seen();
        engine.process.signal(Signal::KILL);
        engine.process.try_wait(PATIENCE).expect("the end of the server");
        drop((watcher, source));
        tally.kills += 1;
        let left = files(&folder);
        let [growing] = &left[..] else { panic!("{left:?}") };
        tally.growing += usize::from(growing.extension().is_some_and(|end| end == "part"));
        // Nothing has to be repaired for it: a fragment that was cut off is read as far as it goes.
        let (before, complaints) = probed(growing, format);
        assert!(complaints.iter().all(|line| line.ends_with("partial file")), "{complaints:?}");
        let tags = (format == "flv").then(|| Recording::read(growing).tags);
        let _again = serve();
        let whole =
            || files(&folder).into_iter().find(|path| path.extension().is_some_and(|end| end != "part"));
        let whole = poll(PATIENCE, whole).expect("it is adopted");
        let after = ffprobe(&whole, format);
        let cut = if complaints.is_empty() { 0 } else { RATE };
        assert!((before.saturating_sub(cut)..=before).contains(&after), "{before} frames, then {after}");
        let recorded = match tags {
            Some(tags) => tags.iter().filter_map(|tag| number(&tag.body)).max(),
            None => after.checked_sub(1),
        };
        let lost = seen.last.saturating_sub(recorded.unwrap_or_default());
        tally.most_lost = tally.most_lost.max(lost);
        tally.lost += lost;
    }
    tally
}

#[test]
fn f38_a_recording_whose_server_is_killed_opens_without_repair_and_is_whole_after_the_next_start() {
    needs!("ffprobe");
    for format in ["flv", "fmp4"] {
        let tallies: Vec<_> = std::thread::scope(|scope| {
            let lanes: Vec<_> =
                (0..LANES).map(|lane| scope.spawn(move || kill_again_and_again(lane, format))).collect();
            lanes.into_iter().map(|lane| lane.join().expect("a lane")).collect()
        });
        let kills: usize = tallies.iter().map(|tally| tally.kills).sum();
        let growing: usize = tallies.iter().map(|tally| tally.growing).sum();
        let most = tallies.iter().map(|tally| tally.most_lost).max().unwrap_or_default();
        let lost: u32 = tallies.iter().map(|tally| tally.lost).sum();
        println!(
            "{format}: {kills} kills, {growing} while a file grew, {most} frames lost at most, {lost} in all"
        );
        assert_eq!((kills, growing), (LANES * rounds(), LANES * rounds()));
        // A tag, and a second; other processes keep the disk's thread waiting where the machine is not idle.
        let promised = if format == "flv" { 1 } else { RATE };
        assert!(most <= promised + if is_idle() { 0 } else { RATE }, "{most} frames were lost");
    }
}

/// How little there is for recordings: a megabyte.
#[derive(Debug, Clone, Copy)]
enum Disk {
    /// In memory.
    Tmpfs,
    /// Of blocks, which are taken when they are written.
    Ext4,
    /// A large one, of which there is a quota: more is free than may be written.
    Quota,
}

impl Disk {
    /// Mounts it at `$0`, with what it is made of beside that.
    fn script(self) -> &'static str {
        match self {
            Self::Tmpfs => "mount -t tmpfs -o size=1m none \"$0\"",
            Self::Ext4 => {
                "truncate -s 1200K \"$0.img\" && mke2fs -q -F -t ext4 -O ^has_journal -m 0 \"$0.img\" && \
                 mount -o loop \"$0.img\" \"$0\""
            }
            // What has been removed is free once that is written down.
            Self::Quota => {
                "truncate -s 128M \"$0.img\" && mkfs.btrfs -q \"$0.img\" > /dev/null && \
                 mount -o loop,commit=1 \"$0.img\" \"$0\" && btrfs quota enable \"$0\" && \
                 btrfs subvolume create \"$0/own\" > /dev/null && btrfs qgroup limit 1M \"$0/own\" && \
                 mount --bind \"$0/own\" \"$0\""
            }
        }
    }
}

/// A server whose folder of recordings is a small file system that only it sees.
struct Small {
    engine: Engine,
    mount: PathBuf,
    format: &'static str,
    _dir: tempfile::TempDir,
}

impl Small {
    fn start(disk: Disk, format: &'static str) -> Self {
        let dir = tempfile::tempdir().expect("temporary folder");
        let mount = dir.path().join("disk");
        fs::create_dir(&mount).expect("mount point");
        let script = &format!("{} && exec \"$@\"", disk.script());
        let path = mount.to_str().expect("a name");
        let engine = Engine::serve()
            .config(settings(&mount, format, "segment_ms = 2000\nkeep_bytes = 400000"))
            .under(&["unshare", "--mount", "sh", "-c", script, path])
            .start();
        Self { engine, mount, format, _dir: dir }
    }

    /// The folder as the server sees it.
    fn seen(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.engine.process.pid()));
        root.join(self.mount.strip_prefix("/").expect("an absolute path"))
    }

    fn folder(&self) -> PathBuf {
        self.seen().join("live/base")
    }

    /// Waits until there is a state like this after so many events.
    fn wait_state(&self, mark: usize, state: &str, patience: Duration) {
        let is = |event: &serde_json::Value| event["state"] == state;
        self.engine.wait_after(mark, "recording-state", patience, is);
    }

    /// Waits until a file that is not there now is whole, and reads it.
    fn wait_file(&self) {
        let before = files(&self.folder());
        let is_new =
            |path: &PathBuf| !before.contains(path) && path.extension().is_some_and(|end| end != "part");
        let new = poll(RETRY, || files(&self.folder()).into_iter().find(|path| is_new(path)));
        let new = new.unwrap_or_else(|| panic!("no new file\n{}", self.engine.process.log()));
        assert!(ffprobe(&new, self.format) > 0, "{}", new.display());
    }
}

fn disk_that_fails(disk: Disk, format: &'static str) {
    let small = Small::start(disk, format);
    let mark = || small.engine.lines().mark();
    let begun = mark();
    let mut source = Source::publish(small.engine.rtmp, "live/base", Shape::bits_per_second(400_000));
    let watcher = Watcher::play(small.engine.rtmp, "live/base");
    small.wait_state(begun, "recording", PATIENCE);
    small.wait_file();

    // Full.
    let full = mark();
    let filler = small.seen().join("filler");
    let mut file = File::create(&filler).expect("filler");
    let filling = poll(PATIENCE, || {
        while file.write_all(&[0; 1_024]).is_ok() {}
        let state = small.engine.events().into_iter().rfind(|event| event["event"] == "recording-state")?;
        (state["state"] == "disk-full").then_some(())
    });
    assert!(filling.is_some(), "{}", small.engine.process.log());
    for path in files(&small.folder()) {
        // What is not even to be finished has been left.
        let is_left = matches!(disk, Disk::Quota) && path.extension().is_some_and(|end| end == "part");
        assert!(is_left || ffprobe(&path, format) > 0, "{}", path.display());
    }
    drop(file);
    fs::remove_file(filler).expect("filler");
    small.wait_state(full, "recording", RETRY);
    small.wait_file();
    let left = files(&small.folder())
        .iter()
        .filter(|path| path.extension().is_some_and(|end| end == "part"))
        .count();
    assert!(left <= 1, "{:?}", files(&small.folder()));

    // Removed, all at once: what is written meanwhile would be in the way.
    fs::rename(small.seen().join("live"), small.seen().join("removed")).expect("renamed");
    fs::remove_dir_all(small.seen().join("removed")).expect("removed");
    small.wait_file();

    let seen = watcher.seen();
    assert_eq!((seen.lost, seen.backwards), (0, 0), "a frame of the stream was lost: {seen:?}");
    source.stop();
    let log = small.engine.process.err.all();
    let told = log.iter().filter(|line| line.contains("recording stands still")).count();
    assert!((1..=3).contains(&told), "{told} lines\n{}", small.engine.process.log());
    assert!(!log.iter().any(|line| line.contains("panicked")));
}

#[test]
fn f35_a_disk_that_is_full_or_gone_costs_the_recording_only_and_flv_goes_on() {
    needs!("root", "unshare", "ffprobe");
    disk_that_fails(Disk::Tmpfs, "flv");
}

#[test]
fn f35_a_disk_that_is_full_or_gone_costs_the_recording_only_and_mp4_goes_on() {
    needs!("root", "unshare", "ffprobe");
    disk_that_fails(Disk::Tmpfs, "fmp4");
}

#[test]
fn f35_a_disk_of_blocks_that_fills_up_in_the_middle_of_a_file_costs_the_recording_only() {
    needs!("root", "unshare", "loop-devices", "mke2fs", "ffprobe");
    disk_that_fails(Disk::Ext4, "flv");
    disk_that_fails(Disk::Ext4, "fmp4");
}

#[test]
fn f35_a_quota_that_is_used_up_costs_the_recording_only() {
    needs!("root", "unshare", "loop-devices", "mkfs.btrfs", "btrfs", "ffprobe");
    disk_that_fails(Disk::Quota, "flv");
    disk_that_fails(Disk::Quota, "fmp4");
}

/// Where a process may write so much into a file and no more, the kernel ends it by a signal, unless it sees to that.
#[test]
fn f35_a_limit_of_file_sizes_ends_the_file_and_not_the_server_and_the_next_file_begins_at_once() {
    needs!("prlimit", "ffprobe");
    for format in ["flv", "fmp4"] {
        let dir = tempfile::tempdir().expect("temporary folder");
        let folder = dir.path().join("live/base");
        let limited = ["prlimit", "--fsize=200000", "--"];
        let engine = Engine::serve().config(settings(dir.path(), format, "")).under(&limited).start();
        let _source = Source::publish(engine.rtmp, "live/base", Shape::bits_per_second(800_000));
        let watcher = Watcher::play(engine.rtmp, "live/base");
        let whole = || {
            let files = files(&folder).into_iter();
            files.filter(|path| path.extension().is_some_and(|end| end != "part")).collect::<Vec<_>>()
        };
        let files = poll(PATIENCE, || Some(whole()).filter(|files| files.len() >= 3));
        let files = files.unwrap_or_else(|| panic!("{:?}\n{}", whole(), engine.process.log()));
        for path in files {
            let bytes = fs::metadata(&path).expect("a file").len();
            assert!((50_000..=200_000).contains(&bytes), "{}: {bytes} bytes", path.display());
            assert!(ffprobe(&path, format) > 0, "{}", path.display());
        }
        let seen = watcher.seen();
        assert_eq!((seen.lost, seen.backwards), (0, 0), "a frame of the stream was lost: {seen:?}");
        let log = engine.process.err.all();
        assert_eq!(log.iter().filter(|line| line.contains("File too large")).count(), 1, "{log:?}");
    }
}

#[test]
fn f35_a_disk_that_is_read_only_or_has_less_than_is_to_be_left_costs_the_recording_only() {
    needs!("root", "unshare", "nsenter", "ffprobe");
    let small = Small::start(Disk::Tmpfs, "flv");
    let remount = |way: &str| {
        let pid = small.engine.process.pid().to_string();
        let mut line = command("nsenter", ["-t", &pid, "--mount", "mount", "-o", &format!("remount,{way}")]);
        line.arg(&small.mount);
        Proc::spawn("nsenter", line).succeed(PATIENCE);
    };
    let mark = small.engine.lines().mark();
    remount("ro");
    let _source = Source::publish(small.engine.rtmp, "live/base", Shape::bits_per_second(400_000));
    let watcher = Watcher::play(small.engine.rtmp, "live/base");
    small.wait_state(mark, "failed", PATIENCE);
    remount("rw");
    small.wait_state(mark, "recording", RETRY);
    small.wait_file();
    assert_eq!(watcher.seen().lost, 0);
    let log = small.engine.process.err.all();
    assert_eq!(log.iter().filter(|line| line.contains("Read-only file system")).count(), 1);

    let dir = tempfile::tempdir().expect("temporary folder");
    let text =
        settings(dir.path(), "flv", "").replace("min_free_bytes = 0", "min_free_bytes = 1099511627776");
    let engine = Engine::serve().config(text).start();
    let _source = Source::publish(engine.rtmp, "live/base", Shape::bits_per_second(400_000));
    let watcher = Watcher::play(engine.rtmp, "live/base");
    engine.wait("recording-state", |event| event["state"] == "disk-full");
    watcher.wait_frames(50);
    assert_eq!(watcher.seen().lost, 0);
    assert_eq!(frames(&dir.path().join("live/base"), "flv"), 0);
}

#[test]
fn f46_a_server_that_ends_in_good_order_leaves_whole_files() {
    needs!("ffmpeg", "ffprobe");
    for format in ["flv", "fmp4"] {
        let dir = tempfile::tempdir().expect("temporary folder");
        let engine = Engine::serve().config(settings(dir.path(), format, "")).start();
        let mut line = command("ffmpeg", ["-v", "error", "-nostdin", "-re", "-stream_loop", "-1", "-i"]);
        line.arg(demo_clip()).args(["-c", "copy", "-f", "flv"]).arg(engine.url("live/a"));
        let publisher = Proc::spawn("ffmpeg", line);
        engine.wait("recording-state", |event| event["state"] == "recording");
        std::thread::sleep(Duration::from_millis(1_500));
        assert_eq!(engine.stop(), 0);
        publisher.signal(Signal::KILL);
        let left = files(&dir.path().join("live/a"));
        assert_eq!(left.len(), 1);
        assert!(left[0].extension().is_some_and(|end| end != "part"), "{left:?}");
        assert!(ffprobe(&left[0], format) > 0);
    }
}
