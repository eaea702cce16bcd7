//! HLS, judged by what plays it: ffmpeg, GStreamer, the parsers of players, and a client that asks for what they might.

mod late;
mod life;
mod players;
mod playlists;
mod reload;

use std::path::{Path, PathBuf};
use std::time::Duration;
use streamengine_tests::peers::Ffmpeg;
use streamengine_tests::{Engine, PATIENCE, Proc, Serve};

/// For so long a stream is watched; `STREAMENGINE_HLS_SECONDS` makes it more.
fn time() -> Duration {
    let told = std::env::var("STREAMENGINE_HLS_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(told.unwrap_or(20))
}

/// How a stream is to be there as HLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Latency {
    Low,
    Plain,
}

/// With so many seconds in its playlists: what is not lost where this machine stands still for a while.
fn serve(latency: Latency, window_s: u64) -> Serve {
    let (is_low, window_ms) = (latency == Latency::Low, window_s * 1_000);
    let hls = format!("[default_app.hls]\nlow_latency = {is_low}\nwindow_ms = {window_ms}\n");
    Engine::serve().http().config(hls)
}

/// The URL of a stream's multivariant playlist.
fn index(engine: &Engine, name: &str) -> String {
    engine.http_url(&format!("/{name}/index.m3u8"))
}

/// An encoder of ffmpeg with its options.
type Encoder = &'static [&'static str];

const H264: Encoder = &["libx264", "-preset", "ultrafast", "-bf", "2"];
const AAC: Encoder = &["aac"];

/// Five seconds of made-up picture and sound, with a keyframe each second, as an FLV file.
fn made_clip(ffmpeg: Ffmpeg, folder: &Path, video: Option<Encoder>, audio: Option<Encoder>) -> PathBuf {
    made_clip_of_size(ffmpeg, folder, video, audio, "320x180")
}

fn made_clip_of_size(
    ffmpeg: Ffmpeg,
    folder: &Path,
    video: Option<Encoder>,
    audio: Option<Encoder>,
    size: &str,
) -> PathBuf {
    made_clip_that_lasts(ffmpeg, folder, video, audio, size, Duration::from_secs(5))
}

fn made_clip_that_lasts(
    ffmpeg: Ffmpeg,
    folder: &Path,
    video: Option<Encoder>,
    audio: Option<Encoder>,
    size: &str,
    time: Duration,
) -> PathBuf {
    let path = folder.join(format!("clip-{size}.flv"));
    let mut command = ffmpeg.command();
    if video.is_some() {
        command.args(["-f", "lavfi", "-i", &format!("testsrc2=size={size}:rate=25")]);
    }
    if audio.is_some() {
        command.args(["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000"]);
    }
    if let Some(encoder) = video {
        command.arg("-c:v").args(encoder).args(["-pix_fmt", "yuv420p", "-g", "25"]);
    }
    if let Some(encoder) = audio {
        command.arg("-c:a").args(encoder).args(["-ac", "2"]);
    }
    command.args(["-t", &time.as_secs().to_string(), "-f", "flv"]).arg(&path);
    Proc::spawn("ffmpeg encoder", command).succeed(PATIENCE * 3);
    path
}
