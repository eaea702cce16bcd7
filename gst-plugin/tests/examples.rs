//! Runs what `examples/gst` and the documentation tell users to run, and looks at what players, targets and files get.
#![cfg(target_os = "linux")]

mod outside;
mod support;

use gst::prelude::*;
use outside::{Gst, root, succeed};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use streamengine::media::FrameKind;
use streamengine_tests::flv::{Extent, Recording, Track, assert_arrived, match_run};
use streamengine_tests::peers::{self, Speed};
use streamengine_tests::{Proc, Signal, demo_clip, free_address, needs, poll};
use support::{Player, Server, assert_received, clip_frames};

/// Nothing here takes this long unless it is broken.
const PATIENCE: Duration = Duration::from_secs(30);
/// Length of the clip that is played.
const CLIP_MS: i64 = 6_000;
/// Frames of each kind that may have gone by when a player or target has joined: one GOP, and what a busy machine needs to
/// start one.
const JOINED_LATE: usize = 150;

/// The first pictures, which h264parse rewrites: it takes out what is in the codec's description already.
const REWRITTEN: usize = 1;

const SCRIPTS: &[&str] = &["capture", "hevc-opus", "overlay", "play-file", "record", "two-targets"];

fn path(name: &str) -> PathBuf {
    root().join("examples/gst").join(name)
}

/// A running program that finds the plugin.
struct Run {
    process: Proc,
    _gst: Gst,
}

impl Run {
    fn script(name: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let gst = Gst::new();
        let mut command = gst.command(path(name));
        command.args(arguments).env("VERBOSE", "1").envs([("PORT", "0")]).envs(environment.iter().copied());
        Self { process: Proc::spawn(name, command), _gst: gst }
    }

    /// What follows a text in the first line that has it, without the quoting of `gst-launch-1.0`.
    fn word_after(&self, text: &str) -> String {
        let line = self.process.out.find(text, PATIENCE);
        let line = line.unwrap_or_else(|| panic!("no line with {text}\n{}", self.process.log()));
        let (_, rest) = line.split_once(text).unwrap();
        rest.split([';', ' ']).next().unwrap_or_default().trim_matches('"').replace('\\', "")
    }

    /// Where the stream is played, or published.
    fn url(&self) -> String {
        self.word_after("-listening, url=(string)")
    }

    /// Ctrl-C.
    fn interrupt(&self) {
        self.process.signal(Signal::INT);
    }

    fn ends_well(&self) {
        self.process.succeed(PATIENCE);
        let text = self.process.out.all().join("\n");
        assert!(text.contains("Got EOS from element"), "{}", self.process.log());
    }
}

/// The beginning of the demo clip.
fn short_clip(folder: &Path) -> PathBuf {
    support::clip(folder, CLIP_MS)
}

/// Pictures of a stream as ffmpeg decodes them: the darkest and the brightest point of each.
fn brightness(file: &Path) -> Vec<(u8, u8)> {
    const SIZE: usize = 320 * 180;
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "error", "-nostdin", "-i"]).arg(file);
    // Each picture once, whatever its time: the raw form has a rate of its own.
    ffmpeg.args(["-an", "-vf", "scale=320:180,format=gray", "-vsync", "passthrough", "-f", "rawvideo", "-"]);
    let output = ffmpeg.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let extremes = |picture: &[u8]| (*picture.iter().min().unwrap(), *picture.iter().max().unwrap());
    output.stdout.chunks_exact(SIZE).map(extremes).collect()
}

/// The packets' hashes of one kind.
fn hashes(file: &Path, kind: &str) -> Vec<String> {
    let packets = peers::ffprobe_packets(file.to_str().unwrap());
    packets.into_iter().filter(|packet| packet.codec_type == kind).map(|packet| packet.hash).collect()
}

#[test]
fn a_file_is_played_as_it_is() {
    needs!("gst-launch-1.0", "ffmpeg", "gst:flvdemux");
    let folder = tempfile::tempdir().unwrap();
    let clip = short_clip(folder.path());
    let run = Run::script("play-file.sh", &[clip.to_str().unwrap()], &[]);
    let played = peers::ffmpeg_play(&run.url()).finish();
    run.ends_well();
    assert_arrived(&Recording::read(&clip), &played, Extent::ToTheEnd);
    assert!(played.frames(Track::Video).len() + JOINED_LATE >= 30 * 6, "the beginning is missing at most");
}

#[test]
fn a_file_is_played_over_and_over_again() {
    needs!("gst-launch-1.0", "ffmpeg");
    let folder = tempfile::tempdir().unwrap();
    let clip = support::clip(folder.path(), 2_000);
    let run = Run::script("play-file.sh", &[clip.to_str().unwrap()], &[("LOOPS", "3")]);
    let played = peers::ffmpeg_play(&run.url()).finish();
    run.ends_well();
    let source = Recording::read(&clip);
    assert_arrived(&source, &played, Extent::Looped);
    let all = 3 * source.frames(Track::Video).len();
    let got = played.frames(Track::Video).len();
    assert!(got <= all && got + JOINED_LATE >= all, "{got} of {all} frames");
}

#[test]
fn two_targets_get_the_file_and_a_refusing_one_harms_nobody() {
    needs!("gst-launch-1.0", "gst:flvdemux");
    let folder = tempfile::tempdir().unwrap();
    let clip = short_clip(folder.path());
    let (a, b) = (Server::start(), Server::start());
    let recordings = [a.record("k1"), b.record("k2")];
    let run = |one: &str, two: &str| {
        Run::script("two-targets.sh", &[one, two, clip.to_str().unwrap()], &[("SERVE", "false")])
    };
    let both = run(&a.url("k1"), &b.url("k2"));
    for recording in recordings {
        assert_received(&recording.until_end(), &clip_frames(CLIP_MS), JOINED_LATE);
    }
    both.ends_well();
    let recording = a.record("k3");
    let one = run(&format!("rtmp://127.0.0.1:{}/live/k4", support::free_port()), &a.url("k3"));
    assert_received(&recording.until_end(), &clip_frames(CLIP_MS), JOINED_LATE);
    one.ends_well();
    let warnings = one.process.out.all().join("\n") + &one.process.err.all().join("\n");
    assert!(warnings.contains("onnection refused"), "{}", one.process.log());
}

#[test]
fn a_test_picture_is_encoded_and_served_until_ctrl_c() {
    needs!("gst-launch-1.0", "ffmpeg", "gst:x264enc", "gst:avenc_aac");
    let run = Run::script("capture.sh", &["test"], &[("SIZE", "320x180"), ("BITRATE", "300")]);
    let player = peers::ffmpeg_play(&run.url());
    let file = player.path();
    let size = || fs::metadata(&file).map_or(0, |data| data.len());
    assert!(poll(PATIENCE, || (size() > 60_000).then_some(())).is_some(), "{}", player.process.log());
    run.interrupt();
    player.process.succeed(PATIENCE);
    run.ends_well();
    let played = Recording::read(&file);
    assert_eq!(played.frames(Track::Video)[0].frame(), Some(true), "a keyframe comes first");
    assert!(played.frames(Track::Audio).len() >= 30);
    let pictures = brightness(&file);
    assert!(pictures.len() >= 30 && pictures.len() == played.frames(Track::Video).len(), "{pictures:?}");
    assert!(pictures.iter().all(|&(dark, bright)| dark < 40 && bright > 200), "a ball in the dark");
}

#[test]
fn what_an_encoder_sends_is_recorded_frame_by_frame() {
    needs!("gst-launch-1.0", "ffmpeg", "ffprobe", "gst:mp4mux", "gst:h264parse");
    let folder = tempfile::tempdir().unwrap();
    let (clip, file) = (short_clip(folder.path()), folder.path().join("o.mp4"));
    let run = Run::script("record.sh", &[file.to_str().unwrap()], &[("KEY", "s3cret")]);
    let refused = peers::ffmpeg_publish(&clip, &run.url(), Speed::Real);
    assert_ne!(refused.wait(PATIENCE), 0, "nobody publishes without the key");
    peers::ffmpeg_publish(&clip, &format!("{}?key=s3cret", run.url()), Speed::Real).succeed(PATIENCE);
    run.ends_well();
    assert_eq!(hashes(&file, "audio"), hashes(&clip, "audio"));
    assert_eq!(hashes(&file, "video")[REWRITTEN..], hashes(&clip, "video")[REWRITTEN..]);
}

#[test]
fn a_recording_is_complete_when_ctrl_c_ends_it() {
    needs!("gst-launch-1.0", "ffmpeg", "ffprobe", "gst:mp4mux", "gst:h264parse");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("o.mp4");
    let run = Run::script("record.sh", &[file.to_str().unwrap()], &[]);
    let _publisher = peers::ffmpeg_publish_forever(&demo_clip(), &run.url());
    let size = || fs::metadata(&file).map_or(0, |data| data.len());
    assert!(poll(PATIENCE, || (size() > 200_000).then_some(())).is_some(), "{}", run.process.log());
    run.interrupt();
    run.ends_well();
    let recorded = hashes(&file, "video");
    assert!(recorded.len() >= 20, "{} frames", recorded.len());
    match_run(&hashes(&demo_clip(), "video"), &recorded[REWRITTEN..], Extent::Looped).unwrap();
}

#[test]
fn a_stream_is_served_again_with_a_text_in_its_picture() {
    needs!("gst-launch-1.0", "ffmpeg", "gst:x264enc", "gst:avdec_h264", "gst:textoverlay");
    let folder = tempfile::tempdir().unwrap();
    let dark = folder.path().join("dark.flv");
    let source = "color=black:size=640x360:rate=30:duration=6";
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "error", "-nostdin", "-f", "lavfi", "-i", source]);
    ffmpeg.args(["-f", "lavfi", "-i", "sine=duration=6", "-c:v", "libx264", "-preset", "ultrafast"]);
    ffmpeg.args(["-pix_fmt", "yuv420p", "-g", "30", "-c:a", "aac"]).arg(&dark);
    succeed(&mut ffmpeg);

    // Both elements listen on one port: port 0 would be a port for each.
    let (address, port) = (free_address().ip().to_string(), free_address().port().to_string());
    let environment = [("ADDRESS", address.as_str()), ("PORT", &port), ("BITRATE", "500")];
    let run = Run::script("overlay.sh", &["streamengine"], &environment);
    let at = |name: &str| format!("rtmp://{address}:{port}/live/{name}");
    assert!(run.process.out.find("Setting pipeline to PLAYING", PATIENCE).is_some(), "{}", run.process.log());
    let player = peers::ffmpeg_play(&at("out"));
    let publisher = peers::ffmpeg_publish(&dark, &at("in"), Speed::Real);
    publisher.succeed(PATIENCE);
    run.interrupt();
    player.process.succeed(PATIENCE);
    run.ends_well();

    let (played, pictures) = (Recording::read(&player.path()), brightness(&player.path()));
    assert!(pictures.len() >= 60, "{} pictures", pictures.len());
    assert!(pictures.iter().all(|&(_, bright)| bright > 128), "every picture has the text: {pictures:?}");
    assert!(brightness(&dark).iter().all(|&(_, bright)| bright < 64), "the source has none");
    let audio = |recording: &Recording| -> Vec<_> {
        recording.frames(Track::Audio).iter().map(|tag| tag.hash()).collect()
    };
    let (sent, got) = (audio(&Recording::read(&dark)), audio(&played));
    assert!(got.len() >= 60, "{} frames of sound", got.len());
    match_run(&sent, &got, Extent::Run).expect("sound goes through as it is");
}

#[test]
fn hevc_and_opus_go_from_one_pipeline_into_another() {
    needs!("gst-launch-1.0", "ffmpeg", "ffprobe", "gst:x265enc", "gst:opusenc", "gst:matroskamux");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("o.mkv");
    let gst = Gst::new();
    let mut command = gst.command("gst-launch-1.0");
    command.args("-e -m rtmpserversrc name=r port=0 stream=in on-disconnect=eos".split(' '));
    command.args("r.video ! queue ! h265parse ! mux. r.audio ! queue ! opusparse ! mux.".split(' '));
    command.args("matroskamux name=mux ! filesink".split(' ')).arg(format!("location={}", file.display()));
    let receiver = Run { process: Proc::spawn("receiver", command), _gst: gst };

    let target = receiver.url();
    let sender = Run::script("hevc-opus.sh", &[&target], &[("SIZE", "320x180"), ("BITRATE", "300")]);
    let size = || fs::metadata(&file).map_or(0, |data| data.len());
    let enough = poll(PATIENCE, || (size() > 100_000).then_some(()));
    assert!(enough.is_some(), "{}\n{}", receiver.process.log(), sender.process.log());
    sender.interrupt();
    sender.ends_well();
    receiver.ends_well();

    let mut probe = Command::new("ffprobe");
    probe.args(["-v", "error", "-show_entries", "stream=codec_name", "-of", "csv=p=0"]).arg(&file);
    assert_eq!(succeed(&mut probe).split_whitespace().collect::<Vec<_>>(), ["hevc", "opus"]);
    let (video, audio) = (hashes(&file, "video").len(), hashes(&file, "audio").len());
    assert!(video >= 30 && audio >= 40, "{video} and {audio} frames");
    let pictures = brightness(&file);
    assert_eq!(pictures.len(), video, "every frame is decoded");
    assert!(pictures.iter().all(|&(dark, bright)| dark < 40 && bright > 200), "a ball in the dark");
}

/// A program that takes commands on stdin.
struct Commanded {
    run: Run,
    commands: fs::File,
    _folder: tempfile::TempDir,
}

impl Commanded {
    fn start(name: &str, program: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("commands");
        succeed(Command::new("mkfifo").arg(&pipe));
        let gst = Gst::new();
        // The shell has the pipe as its input before the program starts.
        let mut command = gst.command("sh");
        command.args(["-c", "exec \"$@\" <\"$0\""]).arg(&pipe).args(program).arg("0");
        let process = Proc::spawn(name, command);
        let commands = fs::File::options().write(true).open(&pipe).unwrap();
        Self { run: Run { process, _gst: gst }, commands, _folder: folder }
    }

    fn say(&mut self, line: &str) {
        writeln!(self.commands, "{line}").unwrap();
    }

    /// Waits for a line, from line `mark` on, that begins and ends so.
    fn wait(&self, mark: usize, start: &str, end: &str) {
        let is_it = |line: &str| (line.starts_with(start) && line.contains(end)).then_some(());
        let found = self.run.process.out.find_after(mark, PATIENCE, is_it);
        assert!(found.is_some(), "no line {start}...{end}\n{}", self.run.process.log());
    }
}

/// How a program is ended.
enum End {
    Quit,
    Interrupt,
}

/// Adds, loses, restarts and removes targets by a program's commands, and sees what each side gets.
fn targets_come_and_go(name: &str, program: &[&str], end: End) {
    let (server, refused) = (Server::start(), support::free_port());
    let (one, two) = (server.record("one"), server.record("two"));
    let mut program = Commanded::start(name, program);
    let player = Player::join(&program.run.word_after("playing at "));
    player.wait_for(FrameKind::Video, 10);

    program.say(&format!("add {}", server.url("one")));
    program.say(&format!("add rtmp://127.0.0.1:{refused}/live/two"));
    program.say("add http://127.0.0.1/live");
    program.wait(0, "target 1 added", "");
    program.wait(0, "target 1 rtmp://", "publishing");
    program.wait(0, "target 2 rtmp://", "backing-off: ");
    program.wait(0, "warning: sink: ", "refused");
    program.wait(0, "not a URL to push to: http://127.0.0.1/live", "");
    one.wait_for(FrameKind::Video, 30);

    // The second server appears.
    let late = Server::at(refused);
    let recording = late.record("two");
    let mark = program.run.process.out.mark();
    program.say("restart 2");
    program.wait(mark, "target 2 rtmp://", "publishing");
    recording.wait_for(FrameKind::Video, 10);
    let mark = program.run.process.out.mark();
    program.say("list");
    program.wait(mark, "1 players", "");
    program.wait(mark, "target 1 rtmp://", " bytes sent");
    program.wait(mark, "target 2 rtmp://", " bytes sent");

    program.say("remove 1");
    program.wait(mark, "target 1 removed", "");
    assert!(one.until_end().len() >= 30, "the stream ends where its target is removed");
    let before = support::payloads(&recording.frames(), FrameKind::Video).len();
    recording.wait_for(FrameKind::Video, before + 10);
    program.say("remove 1");
    program.wait(mark, "no target 1", "");

    match end {
        End::Quit => program.say("quit"),
        End::Interrupt => program.run.interrupt(),
    }
    program.run.process.succeed(PATIENCE);
    assert!(recording.until_end().len() >= 20 && player.until_end().len() >= 50);
    assert!(two.frames().is_empty(), "nothing goes where it should not");
}

#[test]
fn the_rust_program_adds_and_removes_targets() {
    needs!("gst:x264enc", "gst:avenc_aac");
    // Beside the folder of this test's own executable.
    let program = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("examples/targets");
    assert!(program.is_file(), "{} is missing: cargo build --examples", program.display());
    targets_come_and_go("targets", &[program.to_str().unwrap()], End::Interrupt);
}

#[test]
fn the_python_program_adds_and_removes_targets() {
    needs!("gst:x264enc", "gst:avenc_aac");
    let Some(python) = python_with_gi() else { return };
    targets_come_and_go("targets.py", &[python, path("targets.py").to_str().unwrap()], End::Quit);
}

/// Debian's modules belong to Debian's Python, whatever other comes first in PATH.
fn python_with_gi() -> Option<&'static str> {
    let has_gi = |python: &&str| {
        let mut command = Command::new(python);
        command.args(["-c", "import gi; gi.require_version('Gst', '1.0')"]).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let python = ["python3", "/usr/bin/python3"].into_iter().find(has_gi);
    if python.is_none() {
        streamengine_tests::requires(&["python3 with gi"]);
    }
    python
}

#[test]
fn every_script_explains_itself_and_refuses_what_it_cannot_do() {
    let scripts = fs::read_dir(path("")).unwrap().map(|entry| entry.unwrap().file_name());
    let mut scripts: Vec<_> = scripts.filter_map(|name| name.into_string().ok()).collect();
    scripts.retain(|name| name.ends_with(".sh") && name != "launch.sh");
    scripts.sort();
    assert_eq!(scripts, SCRIPTS.iter().map(|name| format!("{name}.sh")).collect::<Vec<_>>());
    let readme = outside::read("docs/gstreamer.md");
    for script in scripts {
        let help = succeed(Command::new(path(&script)).arg("--help"));
        for text in [script.as_str(), "ADDRESS", "PORT", "DRY_RUN", "Ctrl-C"] {
            assert!(help.contains(text), "{script}: {help}");
        }
        assert!(!help.contains("usage "), "{script}: the comment ends where the program starts: {help}");
        assert!(readme.contains(&format!("examples/gst/{script}")), "docs/gstreamer.md has no {script}");
    }
    for wrong in [&["two-targets.sh", "rtmp://a/b/c"][..], &["record.sh"], &["capture.sh", "window"]] {
        let output = Command::new(path(wrong[0])).args(&wrong[1..]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
        assert!(!output.stderr.is_empty(), "{wrong:?}");
    }
}

/// Fails unless a launch line is one: elements, properties and links exist.
fn is_valid(line: &str) {
    let _limit = support::start("is_valid");
    // The words as a shell makes them.
    let line = line.trim().trim_start_matches("gst-launch-1.0");
    let shell = format!("printf '%s\\n' {line}");
    let words = succeed(Command::new("sh").args(["-euc", &shell]).current_dir(root()));
    let words: Vec<&str> = words.lines().filter(|word| !["-e", "-m", "-q"].contains(word)).collect();
    let pipeline = gst::parse::launchv(&words).unwrap_or_else(|error| panic!("{line}: {error}"));
    assert!(pipeline.is::<gst::Pipeline>(), "{line}");
}

#[test]
fn every_launch_line_of_a_script_is_valid() {
    needs!("gst:x264enc", "gst:x265enc", "gst:avenc_aac", "gst:ximagesrc", "gst:v4l2src", "gst:mp4mux");
    let (url, file) = ("rtmp://127.0.0.1/live/a", "/nowhere/o.mp4");
    let lines: &[&[&str]] = &[
        &["play-file.sh"],
        &["two-targets.sh", url, url],
        &["capture.sh"],
        &["capture.sh", "camera", url],
        &["capture.sh", "screen", url],
        &["record.sh", file],
        &["overlay.sh", "two words"],
        &["hevc-opus.sh"],
        &["hevc-opus.sh", url],
    ];
    for line in lines {
        for audio in ["none", "mic", "test"] {
            let mut script = Command::new(path(line[0]));
            script.args(&line[1..]).envs([("DRY_RUN", "1"), ("KEY", "s3cret"), ("AUDIO", audio)]);
            is_valid(&format!("gst-launch-1.0 {}", succeed(&mut script)));
        }
    }
}

#[test]
fn every_launch_line_of_the_documentation_is_valid() {
    needs!("gst:x264enc", "gst:x265enc", "gst:avenc_aac", "gst:ximagesrc", "gst:v4l2src", "gst:mp4mux");
    let mut count = 0;
    for book in ["docs/gstreamer.md", "README.md"] {
        for block in outside::read(book).split("```sh\n").skip(1) {
            let block = block.split("```").next().unwrap_or_default().replace("\\\n", " ");
            for line in block.lines().filter(|line| line.trim_start().starts_with("gst-launch-1.0 ")) {
                is_valid(line);
                count += 1;
            }
        }
    }
    assert!(count >= 10, "{count} launch lines");
}
