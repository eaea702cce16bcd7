//! `rtmpserversrc` under `gst-launch-1.0` with a private registry: ffmpeg publishes, and what arrives is what it sent.

mod launch;
#[path = "../outside/mod.rs"]
mod outside;
#[path = "../support/mod.rs"]
mod support;

use launch::{Coded, Launch, Recorder, Tracks, complaints, hevc_and_opus, pictures, publish, publish_on};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use support::{Player, assert_received, clip, clip_frames, local_url};

/// Length of the clip that is published: three keyframes and then some.
const CLIP_MS: i64 = 2_500;
/// Frames of each kind that may have gone by when a player has joined.
const JOINED_LATE: usize = 60;
/// The element as a recorder uses it. However busy the machine is, nothing is dropped.
const SOURCE: &str = "rtmpserversrc name=r port=0 stream=x on-disconnect=eos max-queue-time=0";

/// Runs a line that records what is published to SOURCE into FILE; the clip and the recording.
fn record(directory: &Path, line: &str, name: &str) -> (PathBuf, PathBuf) {
    let (clip, file) = (clip(directory, CLIP_MS), directory.join(name));
    let line = line.replace("SOURCE", SOURCE).replace("FILE", file.to_str().unwrap());
    let mut launch = Launch::start(&line);
    publish(&clip, &launch.url("rtmpserversrc"));
    launch.until_end();
    assert_eq!(complaints(&file), "", "playable");
    (clip, file)
}

/// Fails unless the frames are the same. `mp4mux` itself leaves out the last audio frame of an end of stream.
fn assert_same(recorded: &Path, sent: &Path) {
    let (recorded, sent) = (Tracks::of(recorded), Tracks::of(sent));
    let ([video, audio], [all_video, all_audio]) = (recorded.hashes(), sent.hashes());
    assert_eq!(video, all_video);
    assert!(audio.len() + 1 >= all_audio.len(), "{} of {} audio frames", audio.len(), all_audio.len());
    assert_eq!(audio, all_audio[..audio.len()]);
}

/// Records into MP4 and compares the frames of both kinds.
fn records_both(line: &str) {
    let directory = tempfile::tempdir().unwrap();
    let (clip, file) = record(directory.path(), line, "o.mp4");
    assert_same(&file, &clip);
}

/// Records into MP4 and compares the pictures; there is no sound.
fn records_video(line: &str) {
    let directory = tempfile::tempdir().unwrap();
    let (clip, file) = record(directory.path(), line, "o.mp4");
    let [video, audio] = Tracks::of(&file).hashes().map(|hashes| hashes.join(" "));
    assert_eq!((video, audio), (Tracks::of(&clip).hashes()[0].join(" "), String::new()));
}

#[test]
fn as_a_file() {
    let _limit = support::start("as_a_file");
    let directory = tempfile::tempdir().unwrap();
    let (clip, file) = record(directory.path(), "SOURCE ! filesink location=FILE", "o.flv");
    assert_eq!(Tracks::of(&file).hashes(), Tracks::of(&clip).hashes());
}

#[test]
fn through_flvdemux() {
    let _limit = support::start("through_flvdemux");
    records_both(
        "SOURCE ! flvdemux name=d  d.video ! queue ! h264parse ! mp4mux name=m ! filesink location=FILE  \
         d.audio ! queue ! aacparse ! m.",
    );
}

#[test]
fn through_a_queue_and_flvdemux() {
    let _limit = support::start("through_a_queue_and_flvdemux");
    records_video("SOURCE ! queue ! flvdemux ! h264parse ! mp4mux ! filesink location=FILE");
}

#[test]
fn into_a_parser() {
    let _limit = support::start("into_a_parser");
    records_video("SOURCE ! h264parse ! mp4mux ! filesink location=FILE");
}

#[test]
fn both_tracks_by_name() {
    let _limit = support::start("both_tracks_by_name");
    records_both(
        "SOURCE  r.video ! h264parse ! mp4mux name=m ! filesink location=FILE  r.audio ! aacparse ! m.",
    );
}

#[test]
fn one_track_by_name() {
    let _limit = support::start("one_track_by_name");
    records_video("SOURCE  r.video ! h264parse ! mp4mux ! filesink location=FILE");
}

#[test]
fn through_decodebin() {
    let _limit = support::start("through_decodebin");
    let directory = tempfile::tempdir().unwrap();
    let (clip, file) = (clip(directory.path(), CLIP_MS), directory.path().join("o.yuv"));
    let line = format!(
        "{SOURCE} ! decodebin ! video/x-raw,format=I420 ! filesink location={}",
        file.to_str().unwrap()
    );
    let mut launch = Launch::start(&line);
    publish(&clip, &launch.url("rtmpserversrc"));
    launch.until_end();
    assert!(std::fs::read(file).unwrap() == pictures(&clip), "the same pictures");
}

#[test]
fn through_uridecodebin() {
    let _limit = support::start("through_uridecodebin");
    const PICTURES: usize = 30;
    const PICTURE: usize = 640 * 360 * 3 / 2;
    let directory = tempfile::tempdir().unwrap();
    let (clip, file) = (clip(directory.path(), CLIP_MS), directory.path().join("o.yuv"));
    let line =
        "uridecodebin uri=rtmpserver://127.0.0.1:0/live/x ! video/x-raw,format=I420 ! filesink location=";
    let mut launch = Launch::start(&format!("{line}{}", file.to_str().unwrap()));
    let url = launch.url("rtmpserversrc");
    let _publisher = publish_on(&clip, &url);
    launch.until_written(&file, PICTURES * PICTURE);
    // A busy machine leaves some out.
    let (got, all) = (std::fs::read(file).unwrap(), pictures(&clip));
    let all: HashSet<&[u8]> = all.chunks_exact(PICTURE).collect();
    assert!(
        got[..PICTURES * PICTURE].chunks_exact(PICTURE).all(|picture| all.contains(picture)),
        "the same pictures"
    );
}

#[test]
fn into_rtmprelaysink_by_a_colon() {
    let _limit = support::start("into_rtmprelaysink_by_a_colon");
    let directory = tempfile::tempdir().unwrap();
    let clip = clip(directory.path(), CLIP_MS);
    let mut launch = Launch::start(&format!("{SOURCE} : rtmprelaysink port=0 sync=false"));
    let mut urls = ["rtmprelaysink", "rtmpserversrc"];
    // The sink opens its server first.
    let [play, to] = urls.each_mut().map(|element| launch.url(element));
    let player = Player::join(&play);
    publish(&clip, &to);
    launch.until_end();
    assert_received(&player.until_end(), &clip_frames(CLIP_MS), JOINED_LATE);
}

/// How much later than in `before` the frames of a track are in `after`, which is its end; least and most.
fn shift(before: &[Coded], after: &[Coded]) -> (i64, i64) {
    let skipped = before.len() - after.len();
    assert!(skipped < JOINED_LATE && after.len() > 20, "{} of {} frames", after.len(), before.len());
    let shifts = before[skipped..].iter().zip(after).map(|(before, after)| {
        assert_eq!(before.hash, after.hash);
        after.dts - before.dts
    });
    shifts.fold((i64::MAX, i64::MIN), |(least, most), shift| (least.min(shift), most.max(shift)))
}

#[test]
fn from_ffmpeg_to_ffmpeg_audio_and_video_keep_their_distance() {
    let _limit = support::start("from_ffmpeg_to_ffmpeg_audio_and_video_keep_their_distance");
    let directory = tempfile::tempdir().unwrap();
    let (clip, file) = (clip(directory.path(), CLIP_MS), directory.path().join("o.flv"));
    let port = support::free_port();
    let mut launch = Launch::start(&format!(
        "rtmpserversrc port={port} stream=in on-disconnect=eos max-queue-time=0 latency=50 ! rtmprelaysink port={port} stream=out"
    ));
    let recorder = Recorder::start(&launch.url("rtmprelaysink"), &file);
    publish(&clip, &local_url(port, "live/in"));
    launch.until_end();
    recorder.until_end();
    let (before, after) = (Tracks::of(&clip), Tracks::of(&file));
    let shifts = [shift(&before.video, &after.video), shift(&before.audio, &after.audio)];
    let least = shifts[0].0.min(shifts[1].0);
    let most = shifts[0].1.max(shifts[1].1);
    eprintln!("shifts in us: video {:?}, audio {:?}", shifts[0], shifts[1]);
    assert!(most - least <= 5_000, "A/V offset changes by {} us", most - least);
}

#[test]
fn hevc_and_opus_by_enhanced_rtmp() {
    let _limit = support::start("hevc_and_opus_by_enhanced_rtmp");
    let directory = tempfile::tempdir().unwrap();
    let (source, file) = (hevc_and_opus(directory.path()), directory.path().join("o.mp4"));
    let mut launch = Launch::start(&format!(
        "{SOURCE}  r.video ! h265parse ! mp4mux name=m ! filesink location={}  r.audio ! opusparse ! m.",
        file.to_str().unwrap()
    ));
    let url = launch.url("rtmpserversrc");
    // No ffmpeg before 6.1 can send this.
    let publisher = Launch::start(&format!(
        "filesrc location={} ! qtdemux name=d  d.video_0 ! queue ! s.video  d.audio_0 ! queue ! s.audio  \
         rtmprelaysink name=s serve=false location={url}",
        source.to_str().unwrap()
    ));
    publisher.until_end();
    launch.until_end();
    assert_eq!(complaints(&file), "", "playable");
    assert_same(&file, &source);
}

#[test]
fn an_error_on_disconnect_ends_the_line_and_names_the_stream() {
    let _limit = support::start("an_error_on_disconnect_ends_the_line_and_names_the_stream");
    let directory = tempfile::tempdir().unwrap();
    let line = "rtmpserversrc port=0 stream=x publish-key=s3cret on-disconnect=error ! fakesink";
    let mut launch = Launch::with(line, &[("GST_DEBUG", "rtmpserversrc:9")]);
    let url = launch.url("rtmpserversrc");
    publish(&clip(directory.path(), 500), &format!("{url}?key=s3cret"));
    let said = launch.until_error();
    assert!(said.contains("of live/x has left: unpublished"), "{said}");
    // Neither in messages nor in the log.
    assert!(!said.contains("s3cret"), "{said}");
}

#[test]
fn nothing_is_left_at_the_end() {
    let _limit = support::start("nothing_is_left_at_the_end");
    let directory = tempfile::tempdir().unwrap();
    let clip = clip(directory.path(), CLIP_MS);
    let lines = [
        "SOURCE ! flvdemux name=d  d.video ! queue ! fakesink sync=false  d.audio ! queue ! fakesink sync=false",
        "SOURCE  r.video ! h264parse ! fakesink sync=false  r.audio ! aacparse ! fakesink sync=false",
        "SOURCE ! rtmprelaysink port=0 sync=false",
    ];
    for line in lines {
        let environment =
            [("GST_TRACERS", "leaks"), ("GST_DEBUG", "GST_TRACER:7"), ("GST_DEBUG_NO_COLOR", "1")];
        let mut launch = Launch::with(&line.replace("SOURCE", SOURCE), &environment);
        publish(&clip, &launch.url("rtmpserversrc"));
        let said = launch.until_end();
        // Said once with a placeholder for the type: the format.
        let leaks = said.lines().filter(|said| said.contains("object-alive, type-name=(string)"));
        let leaks: Vec<_> = leaks.filter(|said| !said.contains("(string)%s")).collect();
        assert!(said.contains("object-alive") && leaks.is_empty(), "{line}: {leaks:#?}");
    }
}
