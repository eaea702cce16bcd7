//! Child processes of the launch lines: `gst-launch-1.0` with the plugin alone, and ffmpeg at either end.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Nothing that a test waits for takes this long unless it is broken.
const PATIENCE: Duration = Duration::from_secs(60);

/// A program that is killed with the test.
pub(crate) struct Running(Child);

impl Running {
    /// Waits for its end; whether that is a good one.
    fn wait(&mut self, what: &str) -> bool {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.success();
            }
            assert!(Instant::now() < end, "{what} does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has mostly ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A running `gst-launch-1.0`. It writes into files: nobody has to read for it to go on, nor to see that it hangs.
pub(crate) struct Launch {
    program: Running,
    directory: tempfile::TempDir,
}

impl Launch {
    pub(crate) fn start(line: &str) -> Self {
        Self::with(line, &[])
    }

    /// Starts it with more environment variables.
    pub(crate) fn with(line: &str, environment: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = |name| File::create(directory.path().join(name)).unwrap();
        let child = Command::new("gst-launch-1.0")
            .arg("-m")
            .args(line.split_whitespace())
            .env("GST_PLUGIN_PATH", crate::outside::plugin_folder())
            .env("GST_REGISTRY", directory.path().join("registry.bin"))
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(file("said"))
            .stderr(file("errors"))
            .spawn()
            .expect("gst-launch-1.0 of gstreamer1.0-tools");
        Self { program: Running(child), directory }
    }

    /// All it has said so far.
    fn said(&self) -> String {
        ["said", "errors"].map(|name| fs::read_to_string(self.directory.path().join(name)).unwrap()).concat()
    }

    /// The URL that `element` says it listens at; only an address where any stream will do.
    pub(crate) fn url(&mut self, element: &str) -> String {
        let mark = format!("{element}-listening, url=(string)");
        let end = Instant::now() + PATIENCE;
        loop {
            let said = self.said();
            // A whole line.
            let found = said.split_once(&mark).and_then(|(_, rest)| rest.split_once('\n'));
            if let Some((url, _)) = found {
                return url.trim_end_matches(';').trim_matches('"').replace('\\', "");
            }
            let is_running = self.program.0.try_wait().unwrap().is_none();
            assert!(is_running && Instant::now() < end, "gst-launch-1.0 does not listen: {said}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for the end of the stream, and of the process in good order; what it said.
    pub(crate) fn until_end(mut self) -> String {
        let is_good = self.program.wait("gst-launch-1.0");
        let said = self.said();
        assert!(is_good && said.contains("Got EOS"), "{said}");
        said
    }

    /// Waits until a file that it writes has so many bytes.
    pub(crate) fn until_written(&mut self, file: &Path, bytes: usize) {
        let end = Instant::now() + PATIENCE;
        let written = || fs::metadata(file).map_or(0, |file| file.len());
        while written() < bytes as u64 {
            let is_running = self.program.0.try_wait().unwrap().is_none();
            assert!(is_running && Instant::now() < end, "{} bytes: {}", written(), self.said());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for the error that ends it; what it said.
    pub(crate) fn until_error(mut self) -> String {
        let is_good = self.program.wait("gst-launch-1.0");
        let said = self.said();
        assert!(!is_good, "{said}");
        said
    }
}

fn ffmpeg() -> Command {
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-v", "error", "-y"]).stdin(Stdio::null());
    command
}

/// Runs a program to its end, which must be a good one.
fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// Publishes a file to `url` in its own time, up to its end.
pub(crate) fn publish(file: &Path, url: &str) {
    run(ffmpeg().args(["-re", "-i"]).arg(file).args(["-c", "copy", "-f", "flv", url]));
}

/// Publishes a file over and over again until what is returned is dropped.
pub(crate) fn publish_on(file: &Path, url: &str) -> Running {
    let mut command = ffmpeg();
    command.args(["-re", "-stream_loop", "-1", "-i"]).arg(file).args(["-c", "copy", "-f", "flv", url]);
    Running(command.spawn().unwrap())
}

/// ffmpeg as a player that writes what it gets.
pub(crate) struct Recorder(Running);

impl Recorder {
    pub(crate) fn start(url: &str, file: &Path) -> Self {
        let child = ffmpeg().args(["-i", url, "-map", "0", "-c", "copy"]).arg(file).spawn().unwrap();
        Self(Running(child))
    }

    /// Waits for the end of what it plays.
    pub(crate) fn until_end(mut self) {
        assert!(self.0.wait("ffmpeg"), "ffmpeg has failed");
    }
}

/// One coded frame of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Coded {
    pub(crate) hash: String,
    /// Decoding time in microseconds.
    pub(crate) dts: i64,
}

/// The coded frames of a file by kind, as ffmpeg reads them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Tracks {
    pub(crate) video: Vec<Coded>,
    pub(crate) audio: Vec<Coded>,
}

impl Tracks {
    pub(crate) fn of(file: &Path) -> Self {
        let options = ["-map", "0", "-c", "copy", "-copyts", "-f", "framehash", "-hash", "md5", "-"];
        let output = run(ffmpeg().arg("-i").arg(file).args(options));
        let text = String::from_utf8(output.stdout).unwrap();
        let (mut bases, mut kinds) = (Vec::new(), Vec::new());
        let (mut video, mut audio) = (Vec::new(), Vec::new());
        for line in text.lines() {
            if let Some((_, kind)) = line.strip_prefix("#media_type ").and_then(|rest| rest.split_once(": "))
            {
                kinds.push(kind);
            } else if let Some((_, base)) = line.strip_prefix("#tb ").and_then(|rest| rest.split_once(": ")) {
                bases.push(fraction(base));
            } else if !line.starts_with('#') {
                let fields: Vec<&str> = line.split(',').map(str::trim).collect();
                let index = fields[0].parse::<usize>().unwrap();
                let (numerator, denominator) = bases[index];
                let dts = fields[1].parse::<i64>().unwrap() * 1_000_000 * numerator / denominator;
                let coded = Coded { hash: fields[5].to_owned(), dts };
                match kinds[index] {
                    "video" => video.push(coded),
                    "audio" => audio.push(coded),
                    // ffmpeg takes metadata for data unless it comes at 0.
                    _ => {}
                }
            }
        }
        Self { video, audio }
    }

    /// The hashes alone.
    pub(crate) fn hashes(&self) -> [Vec<&str>; 2] {
        [&self.video, &self.audio].map(|track| track.iter().map(|coded| coded.hash.as_str()).collect())
    }
}

fn fraction(text: &str) -> (i64, i64) {
    let (numerator, denominator) = text.split_once('/').unwrap();
    (numerator.parse().unwrap(), denominator.parse().unwrap())
}

/// What a decoder says of a whole file: nothing where it is sound.
pub(crate) fn complaints(file: &Path) -> String {
    let output = run(ffmpeg().arg("-i").arg(file).args(["-f", "null", "-"]));
    String::from_utf8(output.stderr).unwrap()
}

/// All pictures of a file, decoded.
pub(crate) fn pictures(file: &Path) -> Vec<u8> {
    run(ffmpeg().arg("-i").arg(file).args(["-map", "0:v", "-pix_fmt", "yuv420p", "-f", "rawvideo", "-"]))
        .stdout
}

/// A second of HEVC with Opus, as MP4.
pub(crate) fn hevc_and_opus(directory: &Path) -> PathBuf {
    let file = directory.join("hevc.mp4");
    let sources =
        ["-f", "lavfi", "-i", "testsrc2=s=320x180:r=25:d=2", "-f", "lavfi", "-i", "sine=r=48000:d=2"];
    let codecs = [
        "-pix_fmt",
        "yuv420p",
        "-c:v",
        "libx265",
        "-preset",
        "ultrafast",
        "-x265-params",
        "log-level=none:pools=1",
        "-tag:v",
        "hvc1",
        "-c:a",
        "libopus",
    ];
    run(ffmpeg().args(sources).args(codecs).arg(&file));
    file
}
