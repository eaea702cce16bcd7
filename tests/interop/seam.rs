//! A looped file has no seam: judged by ffprobe on what a foreign player has recorded.

use std::path::{Path, PathBuf};
use streamengine_tests::peers::{self, Packet, command};
use streamengine_tests::{Engine, PATIENCE, Proc, demo_clip, needs, shared_clip, streamengine, unique};

/// Timestamps on the wire are whole milliseconds.
const ROUNDING: f64 = 0.0011;

fn of<'a>(packets: &'a [Packet], track: &str) -> Vec<&'a Packet> {
    packets.iter().filter(|packet| packet.codec_type == track).collect()
}

/// How long one loop must last: as long as the longer track, its last frame included. The longer track has no gap
/// then, and no track overlaps itself.
fn period(source: &[Packet], video_frame: f64, audio_frame: f64) -> f64 {
    let length = |track: &str, frame: f64| {
        let packets = of(source, track);
        packets[packets.len() - 1].dts + frame - packets[0].dts
    };
    length("video", video_frame).max(length("audio", audio_frame))
}

fn loops_without_seam(clip: &Path, loops: usize, video_frame: f64, audio_frame: f64) {
    let engine = Engine::start();
    let name = format!("live/{}", unique("seam"));
    let player = peers::ffmpeg_play(&engine.url(&name));
    let count = loops.to_string();
    let looper = streamengine(["loop", &clip.to_string_lossy(), &engine.url(&name), "--loops", &count]);
    assert_eq!(looper.wait(PATIENCE * 3), 0, "{}", looper.log());
    let source = peers::ffprobe_packets(&clip.to_string_lossy());
    assert_eq!(player.process.wait(PATIENCE), 0, "{}", player.process.log());
    let got = peers::ffprobe_packets(&player.path().to_string_lossy());
    let period = period(&source, video_frame, audio_frame);
    let zero = of(&got, "video")[0].dts - of(&source, "video")[0].dts;
    for track in ["video", "audio"] {
        let (sent, came) = (of(&source, track), of(&got, track));
        // Playing starts with a keyframe: audio before the file's first one is not sent.
        let skipped =
            sent.iter().position(|packet| packet.hash == came[0].hash).expect("a packet of the source");
        assert!(skipped < 10, "{track} starts with packet {skipped}");
        assert_eq!(came.len() + skipped, sent.len() * loops, "{track} packets");
        assert!(
            came.windows(2).all(|pair| pair[1].dts > pair[0].dts),
            "{track} time is not strictly monotone"
        );
        for (index, packet) in (skipped..).zip(&came) {
            let original = sent[index % sent.len()];
            assert!(packet.hash == original.hash, "{track} packet {index} is not the source's");
            // One zero for both tracks: a change of the A/V offset shows as well as a drift.
            let ideal = zero + original.dts + period * (index / sent.len()) as f64;
            let off = (packet.dts - ideal).abs();
            assert!(off <= ROUNDING, "{track} packet {index} is {:.1} ms off: {packet:?}", off * 1e3);
        }
    }
}

/// The first seconds of the demo clip, cut by ffmpeg.
fn short_clip(folder: &Path) -> PathBuf {
    let path = folder.join("short.flv");
    let mut cut = command("ffmpeg", ["-v", "error", "-nostdin", "-t", "2", "-i"]);
    cut.arg(demo_clip()).args(["-c", "copy", "-f", "flv"]).arg(&path);
    Proc::spawn("ffmpeg cut", cut).succeed(PATIENCE);
    path
}

#[test]
fn f34_ten_loops_of_a_short_clip_have_no_seam() {
    needs!("ffmpeg", "ffprobe");
    let folder = tempfile::tempdir().expect("temporary folder");
    loops_without_seam(&short_clip(folder.path()), 10, 0.040, 1024.0 / 48_000.0);
}

#[test]
fn f34_three_loops_of_the_demo_clip_have_no_seam() {
    needs!("ffmpeg", "ffprobe");
    loops_without_seam(&demo_clip(), 3, 0.040, 1024.0 / 48_000.0);
}

#[test]
fn f34_three_loops_of_the_shared_legacy_clip_have_no_seam() {
    needs!("ffmpeg", "ffprobe", "shared:bbb-h264-aac-10s.flv");
    let clip = shared_clip("bbb-h264-aac-10s.flv").expect("shared clip");
    loops_without_seam(&clip, 3, 0.040, 1024.0 / 44_100.0);
}
