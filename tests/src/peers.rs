//! Foreign programs as publishers and players, each as the command line its users know.

use crate::Proc;
use crate::flv::Recording;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// Longest time from a stream's end until a player has written its file.
const WRITTEN: Duration = Duration::from_secs(40);

/// How fast ffmpeg publishes a file.
#[derive(Debug, Clone, Copy)]
pub enum Speed {
    /// In real time, as a camera would.
    Real,
    /// At three times that, where a test would only wait.
    Fast,
}

/// A program with arguments.
pub fn command<S: AsRef<OsStr>>(program: &str, args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(program);
    command.args(args);
    command
}

/// VLC copies the picture and the sound of a URL, to its end, into a file of MPEG-TS, in a folder that anybody may write to: as
/// root it does not run.
pub fn vlc_copy(url: &str, file: &Path) -> Proc {
    let folder = file.parent().expect("a folder");
    let mut vlc = match crate::is_root() {
        true => command("setpriv", ["--reuid=nobody", "--regid=nogroup", "--clear-groups", "vlc"]),
        false => command("vlc", [""; 0]),
    };
    let out = format!("#std{{access=file,mux=ts,dst={}}}", file.display());
    vlc.args(["--intf", "dummy", "--no-dbus", "--no-plugins-cache", "--sout", &out, url, "vlc://quit"]);
    vlc.current_dir(folder).env("HOME", folder);
    Proc::spawn("vlc", vlc)
}

/// Which of the ffmpegs of a machine.
#[derive(Debug, Clone, Copy)]
pub enum Ffmpeg {
    /// The first of `PATH`, Debian's.
    System,
    /// The [current one](current_ffmpeg), where a test `needs!("current-ffmpeg")`.
    Current,
}

impl Ffmpeg {
    /// Its program, with the options that all uses have in common.
    pub fn command(self) -> Command {
        let program = match self {
            Self::System => PathBuf::from("ffmpeg"),
            Self::Current => current_ffmpeg().expect("current ffmpeg"),
        };
        let mut command = Command::new(program);
        command.args(["-hide_banner", "-nostdin", "-loglevel", "warning"]);
        command
    }

    /// Publishes a file as it is, in real time, again and again until it is killed.
    pub fn publish_forever(self, file: &Path, url: &str) -> Proc {
        let mut ffmpeg = self.command();
        ffmpeg.args(["-re", "-stream_loop", "-1", "-i"]).arg(file).args(["-c", "copy", "-f", "flv"]).arg(url);
        Proc::spawn("ffmpeg publisher", ffmpeg)
    }

    /// Publishes a file as it is, once.
    pub fn publish(self, file: &Path, url: &str, speed: Speed) -> Proc {
        self.publish_with(file, url, speed, &[])
    }

    fn publish_with(self, file: &Path, url: &str, speed: Speed, options: &[&str]) -> Proc {
        let mut ffmpeg = self.command();
        match speed {
            Speed::Real => ffmpeg.arg("-re"),
            Speed::Fast => ffmpeg.args(["-readrate", "3"]),
        };
        ffmpeg.arg("-i").arg(file).args(["-c", "copy", "-f", "flv"]).args(options).arg(url);
        Proc::spawn("ffmpeg publisher", ffmpeg)
    }

    /// Plays a stream into an FLV file, without decoding.
    pub fn play(self, url: &str) -> FilePlayer {
        self.play_with(url, &[])
    }

    fn play_with(self, url: &str, options: &[&str]) -> FilePlayer {
        FilePlayer::spawn("ffmpeg player", |file| {
            let mut ffmpeg = self.command();
            ffmpeg.args(options).args([
                "-i",
                url,
                "-c",
                "copy",
                "-flvflags",
                "no_duration_filesize",
                "-f",
                "flv",
            ]);
            ffmpeg.arg(file);
            ffmpeg
        })
    }

    /// Plays all tracks that it sees into an MP4 file, without decoding, for so many seconds.
    pub fn play_all_tracks(self, url: &str, options: &[&str], seconds: u32) -> FilePlayer {
        FilePlayer::spawn("ffmpeg of all tracks", |file| {
            let mut ffmpeg = self.command();
            ffmpeg.args(options).args(["-i", url, "-map", "0", "-c", "copy", "-f", "mp4"]);
            ffmpeg.args(["-t", &seconds.to_string()]).arg(file);
            ffmpeg
        })
    }
}

/// An ffmpeg that is years newer than Debian's: `$STREAMENGINE_FFMPEG`, else the one that `tests/run` gets.
pub fn current_ffmpeg() -> Option<PathBuf> {
    let place = std::env::var_os("STREAMENGINE_FFMPEG")
        .map_or_else(|| crate::workspace().join("target/judges/ffmpeg"), PathBuf::from);
    place.is_file().then_some(place)
}

/// ffmpeg publishes a file as it is, without encoding.
pub fn ffmpeg_publish(file: &Path, url: &str, speed: Speed) -> Proc {
    Ffmpeg::System.publish(file, url, speed)
}

/// The same with more output options.
pub fn ffmpeg_publish_with(file: &Path, url: &str, speed: Speed, options: &[&str]) -> Proc {
    Ffmpeg::System.publish_with(file, url, speed, options)
}

/// ffmpeg publishes a file in a loop until it is killed.
pub fn ffmpeg_publish_forever(file: &Path, url: &str) -> Proc {
    Ffmpeg::System.publish_forever(file, url)
}

/// A player that writes an FLV file.
pub struct FilePlayer {
    /// The program.
    pub process: Proc,
    folder: TempDir,
}

impl FilePlayer {
    fn spawn(name: &str, build: impl FnOnce(&Path) -> Command) -> Self {
        let folder = tempfile::tempdir().expect("temporary folder");
        let process = Proc::spawn(name, build(&folder.path().join("recorded.flv")));
        Self { process, folder }
    }

    /// The file that it writes.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("recorded.flv")
    }

    /// Waits for the program's end, in which it finds the stream's end by itself, and reads its file.
    pub fn finish(self) -> Recording {
        let code = self.process.wait(WRITTEN);
        assert!(code == 0, "the player ended with {code}\n{}", self.process.log());
        Recording::read(&self.path())
    }

    /// Asks the program to end (as Ctrl-C does), and reads its file.
    pub fn interrupt(self) -> Recording {
        self.process.signal(crate::Signal::INT);
        self.process.wait(WRITTEN);
        Recording::read(&self.path())
    }
}

/// ffmpeg plays a stream into an FLV file, without decoding.
pub fn ffmpeg_play(url: &str) -> FilePlayer {
    Ffmpeg::System.play(url)
}

/// The same with more input options.
pub fn ffmpeg_play_with(url: &str, options: &[&str]) -> FilePlayer {
    Ffmpeg::System.play_with(url, options)
}

/// rtmpdump plays a stream into an FLV file.
pub fn rtmpdump_play(url: &str) -> FilePlayer {
    FilePlayer::spawn("rtmpdump", |file| {
        let mut dump = command("rtmpdump", ["--live", "-r", url, "-o"]);
        dump.arg(file);
        dump
    })
}

/// GStreamer's rtmp2src plays a stream into an FLV file.
pub fn gst_play(url: &str) -> FilePlayer {
    FilePlayer::spawn("gst-launch rtmp2src", |file| {
        let mut gst = command("gst-launch-1.0", ["-q", "rtmp2src"]);
        gst.arg(format!("location={url}"))
            .args(["!", "filesink"])
            .arg(format!("location={}", file.display()));
        gst
    })
}

/// GStreamer's rtmp2sink publishes a file as it is, in real time.
pub fn gst_publish(file: &Path, url: &str) -> Proc {
    let mut gst = command("gst-launch-1.0", ["-q", "filesrc"]);
    gst.arg(format!("location={}", file.display()));
    gst.args("! flvdemux name=d flvmux name=m streamable=true ! rtmp2sink".split(' '));
    gst.arg(format!("location={url}"));
    gst.args("d.video ! queue ! m.video d.audio ! queue ! m.audio".split(' '));
    Proc::spawn("gst-launch rtmp2sink", gst)
}

/// GStreamer's rtmpsink (librtmp) publishes a file as it is, in real time.
pub fn gst_librtmp_publish(file: &Path, url: &str) -> Proc {
    let mut gst = command("gst-launch-1.0", ["-q", "filesrc"]);
    gst.arg(format!("location={}", file.display()));
    gst.args("! flvdemux name=d flvmux name=m streamable=true ! rtmpsink".split(' '));
    gst.arg(format!("location={url}"));
    gst.args("d.video ! queue ! m.video d.audio ! queue ! m.audio".split(' '));
    Proc::spawn("gst-launch rtmpsink", gst)
}

/// Whether GStreamer has this element.
pub fn gst_has(element: &str) -> bool {
    Command::new("gst-inspect-1.0").args(["--exists", element]).status().is_ok_and(|status| status.success())
}

/// The kinds of the tracks that ffprobe sees in a file or URL.
pub fn ffprobe_tracks(input: &str) -> Vec<String> {
    let args = ["-v", "error", "-show_entries", "stream=codec_type", "-of", "csv=p=0", "-i", input];
    let probe = Proc::spawn("ffprobe", command("ffprobe", args));
    probe.succeed(WRITTEN);
    probe.out.all().into_iter().filter(|line| !line.is_empty()).collect()
}

/// One packet as ffprobe saw it.
#[derive(Debug, Clone)]
pub struct Packet {
    /// `video` or `audio`.
    pub codec_type: String,
    /// Decoding time, seconds.
    pub dts: f64,
    /// When it is shown, seconds.
    pub pts: f64,
    /// MD5 of its data.
    pub hash: String,
}

/// ffprobe lists the packets of a file or URL, to its end.
pub fn ffprobe_packets(input: &str) -> Vec<Packet> {
    packets(&ffprobe(input))
}

/// ffprobe, which reads the packets of a file or URL to its end.
pub fn ffprobe(input: &str) -> Proc {
    let args = ["-v", "error", "-show_packets", "-show_data_hash", "md5", "-of", "json", "-i", input];
    Proc::spawn("ffprobe", command("ffprobe", args))
}

/// What [`ffprobe`] has read.
pub fn packets(probe: &Proc) -> Vec<Packet> {
    probe.succeed(WRITTEN);
    let json: serde_json::Value = serde_json::from_str(&probe.out.all().join("\n")).expect("JSON of ffprobe");
    let packets = json["packets"].as_array().cloned().unwrap_or_default();
    let word = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    packets
        .iter()
        .map(|packet| Packet {
            codec_type: word(&packet["codec_type"]),
            dts: word(&packet["dts_time"]).parse().unwrap_or(f64::NAN),
            pts: word(&packet["pts_time"]).parse().unwrap_or(f64::NAN),
            hash: word(&packet["data_hash"]),
        })
        .collect()
}
