//! Verdicts on what a page has published: whether others decode it, whether picture and sound are together, whether the sound is whole.

use std::fs;
use std::path::PathBuf;
use std::process::Output;
use streamengine_tests::flv::{Recording, Track};
use streamengine_tests::peers;
use tempfile::TempDir;

/// Samples a second of sound that is looked at.
const RATE: usize = 48_000;
/// The tones that `publish.js` has on the right with `--shows`, and in the tab that it shares, in Hz.
pub(super) const TONE: f64 = 440.0;
pub(super) const SHARED: f64 = 640.0;
/// Samples of a piece: whole periods of these.
const PIECE: usize = RATE / 40;
/// The beep of Chromium's false microphone, for 20 ms twice a second, in Hz, and of what a square wave consists.
const BEEP: f64 = 400.0;
const HARMONICS: [f64; 6] = [1.0, 3.0, 5.0, 7.0, 9.0, 11.0];

/// A recording as a file.
fn file(recording: &Recording) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("temporary folder");
    let file = folder.path().join("published.flv");
    fs::write(&file, recording.file()).expect("a file");
    (folder, file)
}

/// What ffmpeg of the distribution says of the pictures, which is nothing where it can decode them all.
pub(super) fn decoded(recording: &Recording) -> (usize, String) {
    let (_folder, file) = file(recording);
    let args = ["-v", "error", "-i", &file.to_string_lossy(), "-map", "0:v", "-f", "framemd5", "-"];
    let done = peers::command("ffmpeg", args).output().expect("ffmpeg");
    let frames = String::from_utf8_lossy(&done.stdout).lines().filter(|line| !line.starts_with('#')).count();
    (frames, String::from_utf8_lossy(&done.stderr).into_owned())
}

/// What a current ffmpeg, which knows Opus in FLV, makes of a recording.
fn converted(recording: &Recording, options: &[&str]) -> Output {
    let (_folder, file) = file(recording);
    let program = peers::current_ffmpeg().expect("a current ffmpeg");
    let file = file.to_string_lossy();
    let args = [&["-hide_banner", "-nostdin", "-copyts", "-i", &file][..], options, &["-"]].concat();
    peers::command(&program.to_string_lossy(), args).output().expect("ffmpeg")
}

/// Of each picture its time, and how much that is after its making, which the cells along its bottom tell; ms. `now` is a moment
/// since, in ms since 1970.
fn pictures(recording: &Recording, now: f64) -> Vec<(f64, f64)> {
    let cells = "crop=iw:ih/9:0:ih-oh,scale=32:1:flags=area,format=gray";
    let options = ["-map", "0:v", "-vf", cells, "-fps_mode", "passthrough", "-f", "rawvideo"];
    let rows = converted(recording, &options).stdout;
    let frames = recording.frames(Track::Video);
    assert_eq!(rows.len(), frames.len() * 32, "all are decoded");
    let wrap = 2f64.powi(32);
    let pictures = rows.chunks(32).zip(frames).filter_map(|(cells, frame)| {
        if cells.iter().any(|&light| light > 80 && light < 175) {
            return None;
        }
        let told = cells.iter().fold(0.0, |time, &light| time * 2.0 + f64::from(u8::from(light > 127)));
        let made = now - (now - told).rem_euclid(wrap);
        Some((f64::from(frame.timestamp), f64::from(frame.timestamp) - made))
    });
    pictures.collect()
}

/// When the tones on the left begin: ms. The end of the recording is no beginning of one.
fn tones(recording: &Recording) -> Vec<f64> {
    let end = recording.frames(Track::Audio).last().map_or(0.0, |frame| f64::from(frame.timestamp));
    let filter = "pan=mono|c0=c0,silencedetect=noise=-30dB:d=0.2";
    let said = converted(recording, &["-map", "0:a", "-af", filter, "-f", "null"]).stderr;
    let said = String::from_utf8_lossy(&said);
    let seconds =
        said.split("silence_end: ").skip(1).filter_map(|rest| rest.split([' ', '\n']).next()?.parse().ok());
    seconds.map(|seconds: f64| seconds * 1_000.0).filter(|tone| end - tone > 200.0).collect()
}

/// How many ms each tone comes after the pictures that were made when it was.
pub(super) fn skews(recording: &Recording, now: f64) -> Vec<f64> {
    let pictures = pictures(recording, now);
    let near = |tone: f64| {
        let near = pictures.iter().filter(|(time, _)| (time - tone).abs() < 500.0).map(|(_, after)| *after);
        let near: Vec<_> = near.collect();
        (!near.is_empty()).then(|| median(&near))
    };
    let skew = |tone: f64| {
        let made = tone - near(tone)?;
        // On a whole second.
        Some(made - (made / 1_000.0).round() * 1_000.0)
    };
    tones(recording).into_iter().filter_map(skew).collect()
}

/// The samples of one channel, without those of the first half second: encoders and graphs of sound have a beginning. Where some were never
/// sent, what follows takes their place.
fn samples(recording: &Recording, channel: &str) -> Vec<f64> {
    let (rate, pan) = (RATE.to_string(), format!("pan=mono|c0={channel}"));
    let options = ["-map", "0:a", "-af", &pan, "-ar", &rate, "-f", "f32le"];
    let bytes = converted(recording, &options).stdout;
    let samples = bytes.as_chunks::<4>().0.iter().map(|bytes| f64::from(f32::from_le_bytes(*bytes)));
    samples.skip(RATE / 2).collect()
}

/// How much of the sound on the right is the tone that it was, in Hz, piece by piece: 1 where it is nothing else. Where samples are missing
/// or wrong, it is less.
pub(super) fn likeness(recording: &Recording, tone: f64) -> Vec<f64> {
    let samples = samples(recording, "c1");
    samples.windows(PIECE).step_by(PIECE / 4).map(|piece| share(tone, piece)).collect()
}

/// The beeps of Chromium's false microphone: ms from each one's beginning to the next one's, and how much of each is the square wave that
/// it was.
pub(super) fn beeps(recording: &Recording) -> (Vec<f64>, Vec<f64>) {
    let samples = samples(recording, "c0");
    let loudest = samples.iter().fold(0.0, |most: f64, sample| most.max(sample.abs()));
    let mut begun = Vec::new();
    let mut heard = None;
    for (at, _) in samples.iter().enumerate().filter(|(_, sample)| sample.abs() > loudest / 5.0) {
        // What is heard at the beginning may have begun before.
        if heard.map_or(at, |heard| at - heard) > RATE / 10 {
            begun.push(at);
        }
        heard = Some(at);
    }
    let apart = begun.windows(2).map(|pair| (pair[1] - pair[0]) as f64 * 1_000.0 / RATE as f64).collect();
    let waves = begun.iter().filter_map(|&at| samples.get(at + RATE / 400..at + RATE / 400 + PIECE / 2));
    (apart, waves.map(|wave| HARMONICS.iter().map(|harmonic| share(BEEP * harmonic, wave)).sum()).collect())
}

/// The share of a tone in a piece.
fn share(tone: f64, piece: &[f64]) -> f64 {
    let whole: f64 = piece.iter().map(|sample| sample * sample).sum();
    let part = |wave: fn(f64) -> f64| {
        let step = std::f64::consts::TAU * tone / RATE as f64;
        piece.iter().enumerate().map(|(at, sample)| sample * wave(at as f64 * step)).sum::<f64>()
    };
    let (sine, cosine) = (part(f64::sin), part(f64::cos));
    2.0 * (sine * sine + cosine * cosine) / (piece.len() as f64 * whole.max(f64::MIN_POSITIVE))
}

/// The one in the middle.
pub(super) fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    *values.get(values.len() / 2).expect("values")
}
