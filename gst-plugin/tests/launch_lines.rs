//! The launch lines of the documentation, as child processes: what a player gets is what the file has.

mod outside;
mod support;

use gst::prelude::*;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use streamengine::media::flv_file::FlvReader;
use streamengine::media::{Frame, FrameKind};
use streamengine::testing::flv;
use support::{PATIENCE, Player, Server, assert_received, clip, clip_frames, payloads};

/// Length of the clip that is played.
const CLIP_MS: i64 = 6_000;
/// Frames of each kind that may have gone by when a player has joined: one GOP, and what a busy machine needs to start one.
const JOINED_LATE: usize = 230;

/// A running `gst-launch-1.0`; it is ended with the test.
struct Launch {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
    _registry: tempfile::TempDir,
}

impl Launch {
    fn start(line: &str) -> Self {
        let registry = tempfile::tempdir().unwrap();
        let mut child = Command::new("gst-launch-1.0")
            .arg("-m")
            .args(words(line))
            .env("GST_PLUGIN_PATH", outside::plugin_folder())
            .env("GST_REGISTRY", registry.path().join("registry.bin"))
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("gst-launch-1.0 of gstreamer1.0-tools");
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, output, _registry: registry }
    }

    /// The first URL that the sink says it listens at.
    fn url(&mut self) -> String {
        self.url_with("")
    }

    /// The next one of a scheme.
    fn url_with(&mut self, scheme: &str) -> String {
        let mut line = String::new();
        while self.output.read_line(&mut line).unwrap() > 0 {
            if let Some((_, url)) = line.split_once("rtmprelaysink-listening, url=(string)") {
                let url = url.trim_end().trim_end_matches(';').trim_matches('"').replace('\\', "");
                if url.starts_with(scheme) {
                    return url;
                }
            }
            line.clear();
        }
        panic!("gst-launch-1.0 ended without listening");
    }

    /// Ctrl-C.
    fn interrupt(&self) {
        let process = nix::unistd::Pid::from_raw(self.child.id().cast_signed());
        nix::sys::signal::kill(process, nix::sys::signal::Signal::SIGINT).unwrap();
    }

    /// Waits for its end; it must be a good one.
    fn wait(&mut self) {
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).unwrap();
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                assert!(status.success() && rest.contains("Got EOS"), "{status}\n{rest}");
                return;
            }
            assert!(Instant::now() < end, "does not end\n{rest}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Launch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Splits a line as a shell does; quotes keep words together.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            c => words.last_mut().unwrap().push(c),
        }
    }
    words.into_iter().filter(|word| !word.is_empty()).collect()
}

/// MD5 of the payloads of video and audio as ffmpeg demuxes them, in order.
type Hashes = [Vec<String>; 2];

/// Starts ffmpeg to hash what it reads from a file or URL.
fn ffmpeg_hashes(input: &str) -> Child {
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-hide_banner", "-nostdin", "-loglevel", "error", "-i", input]);
    ffmpeg.args(["-map", "0:v", "-map", "0:a", "-c", "copy", "-f", "framemd5", "-"]);
    ffmpeg.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().expect("ffmpeg")
}

/// What it has hashed, once it has come to the end.
fn hashes_of(ffmpeg: Child) -> Hashes {
    let output = ffmpeg.wait_with_output().unwrap();
    assert!(output.status.success(), "ffmpeg: {}", output.status);
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = || text.lines().filter(|line| !line.starts_with('#'));
    let of_stream = |number: &str| {
        let fields = lines().map(|line| line.split(',').map(str::trim).collect::<Vec<_>>());
        fields.filter(|fields| fields[0] == number).map(|fields| fields[5].to_owned()).collect()
    };
    [of_stream("0"), of_stream("1")]
}

/// Fails unless `received` is the end of `sent`, from at most [`JOINED_LATE`] frames of each kind on.
fn assert_same_hashes(received: &Hashes, sent: &Hashes) {
    for (got, all) in received.iter().zip(sent) {
        let missing = all.len().checked_sub(got.len()).expect("no more than was sent");
        assert!(missing <= JOINED_LATE, "{} of {} frames", got.len(), all.len());
        assert!(!got.is_empty() && *got == all[missing..], "frames differ");
    }
}

/// Runs a line with FILE in it; what a player of ours gets. A line that plays the file is played by ffmpeg too.
fn play(line: &str) -> Vec<Frame> {
    let directory = tempfile::tempdir().unwrap();
    let file = clip(directory.path(), CLIP_MS);
    let mut launch = Launch::start(&line.replace("FILE", file.to_str().unwrap()));
    let url = launch.url();
    let ffmpeg = line.contains("FILE").then(|| ffmpeg_hashes(&url));
    let player = Player::join(&url);
    let frames = player.until_end();
    launch.wait();
    if let Some(ffmpeg) = ffmpeg {
        assert_same_hashes(&hashes_of(ffmpeg), &hashes_of(ffmpeg_hashes(file.to_str().unwrap())));
    }
    frames
}

fn plays_the_file(line: &str) {
    assert_received(&play(line), &clip_frames(CLIP_MS), JOINED_LATE);
}

#[test]
fn every_pad_of_a_demuxer_by_a_colon() {
    let _limit = support::start("every_pad_of_a_demuxer_by_a_colon");
    plays_the_file("filesrc location=FILE ! flvdemux : rtmprelaysink port=0");
}

#[test]
fn named_pads_with_queues() {
    let _limit = support::start("named_pads_with_queues");
    plays_the_file(
        "filesrc location=FILE ! flvdemux name=d d.video ! queue ! rtmprelaysink name=s port=0 d.audio ! queue ! s.",
    );
}

#[test]
fn named_pads_without_queues() {
    let _limit = support::start("named_pads_without_queues");
    plays_the_file(
        "filesrc location=FILE ! flvdemux name=d d.video ! s.video d.audio ! s.audio rtmprelaysink name=s port=0",
    );
}

#[test]
fn one_thread_through_identities() {
    let _limit = support::start("one_thread_through_identities");
    plays_the_file(
        "filesrc location=FILE ! flvdemux name=d d.video ! identity ! s.video d.audio ! identity ! s.audio \
         rtmprelaysink name=s port=0",
    );
}

#[test]
fn a_raw_flv_file_without_a_demuxer() {
    let _limit = support::start("a_raw_flv_file_without_a_demuxer");
    let start = Instant::now();
    plays_the_file("filesrc location=FILE ! rtmprelaysink port=0");
    assert!(start.elapsed() >= Duration::from_millis(5_700), "it is paced");
}

#[test]
fn players_over_http_and_https_get_what_the_file_has() {
    let _limit = support::start("players_over_http_and_https_get_what_the_file_has");
    let directory = tempfile::tempdir().unwrap();
    let file = clip(directory.path(), CLIP_MS);
    let (certificate, key) = support::certificate(directory.path());
    for source in ["flvdemux :", "identity !"] {
        let mut launch = Launch::start(&format!(
            "filesrc location={} ! {source} rtmprelaysink port=0 http-port=0 https-port=0 tls-certificate={} tls-key={}",
            file.display(),
            certificate.display(),
            key.display()
        ));
        let players = ["http://", "https://"].map(|scheme| ffmpeg_hashes(&launch.url_with(scheme)));
        launch.wait();
        let sent = hashes_of(ffmpeg_hashes(file.to_str().unwrap()));
        for player in players {
            assert_same_hashes(&hashes_of(player), &sent);
        }
    }
}

#[test]
fn behind_flvmux_with_two_targets() {
    let _limit = support::start("behind_flvmux_with_two_targets");
    let (a, b) = (Server::start(), Server::start());
    let recordings = [a.record("k1"), b.record("k2")];
    plays_the_file(&format!(
        "filesrc location=FILE ! flvdemux name=d d.video ! queue ! m.video d.audio ! queue ! m.audio \
         flvmux name=m streamable=true ! rtmprelaysink port=0 targets='<{},{}>'",
        a.url("k1"),
        b.url("k2")
    ));
    for recording in recordings {
        assert_received(&recording.until_end(), &clip_frames(CLIP_MS), 0);
    }
}

#[test]
fn a_live_encoder_with_sound() {
    let _limit = support::start("a_live_encoder_with_sound");
    let frames = play(
        "videotestsrc is-live=true num-buffers=75 ! video/x-raw,format=I420,framerate=30/1 ! \
         x264enc tune=zerolatency key-int-max=60 ! rtmprelaysink name=s address=0.0.0.0 port=0 \
         audiotestsrc is-live=true num-buffers=110 ! avenc_aac ! aacparse ! s.",
    );
    let (video, audio) = (payloads(&frames, FrameKind::Video), payloads(&frames, FrameKind::Audio));
    assert!(video.len() >= 60 && audio.len() >= 60, "{} and {}", video.len(), audio.len());
    assert_eq!(video[0][0], 0x17, "a keyframe comes first");
    let first =
        |kind| frames.iter().find(|frame| frame.kind == kind && !frame.is_config()).unwrap().timestamp;
    assert!((first(FrameKind::Video) - first(FrameKind::Audio)).abs() < 200, "both tracks start together");
}

/// A target that accepts connections and never answers.
fn silent_target() -> std::net::TcpListener {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap()
}

/// The URL of a target that is down: nobody listens there any more.
fn target_that_is_down() -> String {
    let address = silent_target().local_addr().unwrap();
    format!("rtmp://{address}/live/x")
}

/// Longest from Ctrl-C to the end: `drain-timeout` is 2 s, the rest is for a busy machine.
const END: Duration = Duration::from_secs(12);

/// Runs a line with FILE, DOWN and SILENT in it until a target's state is told, and then ends it by Ctrl-C.
///
/// A `flvdemux` that is ended before its first tag is an error of its own, so the caps that it gave are waited for too.
fn ends_by_ctrl_c(line: &str) {
    let directory = tempfile::tempdir().unwrap();
    let file = clip(directory.path(), 60_000);
    let silent = silent_target();
    let silent_url = format!("rtmp://{}/live/x", silent.local_addr().unwrap());
    let line = line.replace("FILE", file.to_str().unwrap()).replace("SILENT", &silent_url);
    let mut launch = Launch::start(&format!("-e -v {}", line.replace("DOWN", &target_that_is_down())));
    let (mut text, mut is_told, mut is_playing) = (String::new(), false, false);
    let mut has_caps = !line.contains("flvdemux");
    while !(is_told && is_playing && has_caps) {
        text.clear();
        assert!(launch.output.read_line(&mut text).unwrap() > 0, "gst-launch-1.0 has ended");
        has_caps |= text.contains("RtmpRelaySinkLeaf") && text.contains("caps =");
        is_told |= text.contains("rtmprelaysink-target,");
        is_playing |= text.contains("Setting pipeline to PLAYING");
    }
    let interrupted = Instant::now();
    launch.interrupt();
    launch.wait();
    assert!(interrupted.elapsed() < END, "{:?}: {line}", interrupted.elapsed());
}

#[test]
fn ctrl_c_ends_a_line_whose_targets_are_down() {
    for line in [
        // Of the documents: it waits for somebody who receives it.
        "filesrc location=FILE ! flvdemux : rtmprelaysink serve=false wait-for-connection=true targets='<DOWN,SILENT>'",
        "filesrc location=FILE ! rtmprelaysink port=0 wait-for-connection=true location=DOWN",
        "filesrc location=FILE ! flvdemux name=d d.video ! queue ! rtmprelaysink name=s port=0 wait-for-connection=true \
         location=DOWN d.audio ! queue ! s.",
        "flvloopsrc location=FILE ! rtmprelaysink serve=false wait-for-connection=true location=SILENT",
        // These go on without.
        "filesrc location=FILE ! flvdemux : rtmprelaysink port=0 targets='<DOWN,SILENT>'",
        "videotestsrc is-live=true ! video/x-raw,format=I420,framerate=30/1 ! x264enc tune=zerolatency ! \
         rtmprelaysink serve=false location=SILENT",
    ] {
        let _limit = support::start("ctrl_c_ends_a_line_whose_targets_are_down");
        ends_by_ctrl_c(line);
    }
}

#[test]
fn ctrl_c_ends_a_line_of_which_a_pad_never_gets_anything() {
    let _limit = support::start("ctrl_c_ends_a_line_of_which_a_pad_never_gets_anything");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pictures.flv");
    let pictures: Vec<_> =
        clip_frames(60_000).into_iter().filter(|frame| frame.kind == FrameKind::Video).collect();
    std::fs::write(&file, flv(&pictures)).unwrap();
    let mut launch = Launch::start(&format!(
        "-e filesrc location={} ! flvdemux name=d d.video ! queue ! rtmprelaysink name=s port=0 d.audio ! queue ! s.",
        file.display()
    ));
    let player = Player::join(&launch.url());
    player.wait_for(FrameKind::Video, 10);
    launch.interrupt();
    launch.wait();
    assert!(payloads(&player.until_end(), FrameKind::Video).len() >= 10);
}

#[test]
fn rtmp2src_plays_the_simplest_line() {
    let _limit = support::start("rtmp2src_plays_the_simplest_line");
    let directory = tempfile::tempdir().unwrap();
    let (file, recorded) = (clip(directory.path(), CLIP_MS), directory.path().join("recorded.flv"));
    let line = format!("filesrc location={} ! flvdemux : rtmprelaysink port=0", file.display());
    let mut launch = Launch::start(&line);
    let mut rtmp2src = Launch::start(&format!(
        "rtmp2src location={} ! filesink location={}",
        launch.url(),
        recorded.display()
    ));
    launch.wait();
    rtmp2src.wait();
    let mut reader = FlvReader::new(BufReader::new(std::fs::File::open(&recorded).unwrap())).unwrap();
    let frames: Vec<_> = std::iter::from_fn(|| reader.next_tag().unwrap()).map(|tag| tag.frame).collect();
    assert_received(&frames, &clip_frames(CLIP_MS), JOINED_LATE);
}

#[test]
fn the_engines_log_is_in_gstreamers() {
    let _limit = support::start("the_engines_log_is_in_gstreamers");
    let registry = tempfile::tempdir().unwrap();
    let output = Command::new("gst-launch-1.0")
        .args(words(
            "videotestsrc num-buffers=3 ! x264enc ! rtmprelaysink port=0 location=rtmp://127.0.0.1:9/live/x",
        ))
        .env("GST_PLUGIN_PATH", outside::plugin_folder())
        .env("GST_REGISTRY", registry.path().join("registry.bin"))
        .env("GST_DEBUG", "streamengine:3")
        .env("GST_DEBUG_NO_COLOR", "1")
        .output()
        .expect("gst-launch-1.0 of gstreamer1.0-tools");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        text.contains("WARN") && text.contains(" streamengine ") && text.contains("push interrupted"),
        "{text}"
    );
}

#[test]
fn gst_inspect_knows_the_plugin_with_a_private_registry() {
    let _limit = support::start("gst_inspect_knows_the_plugin_with_a_private_registry");
    let registry = tempfile::tempdir().unwrap();
    let output = Command::new("gst-inspect-1.0")
        .arg("rtmprelaysink")
        .env("GST_PLUGIN_PATH", outside::plugin_folder())
        .env("GST_REGISTRY", registry.path().join("registry.bin"))
        .output()
        .expect("gst-inspect-1.0 of gstreamer1.0-tools");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.contains("Sink/Network"), "{text}");
    let factory = gst::ElementFactory::find("rtmprelaysink").unwrap();
    assert_eq!(factory.rank(), gst::Rank::NONE, "never plugged by itself");
}
