//! Recordings as sources: a loop of what our server has recorded is what ffmpeg finds in the file, packet by packet.

use crate::mp4_files::{AAC, B_FRAMES, encoded, has_all_of, looped};
use std::path::{Path, PathBuf};
use streamengine_tests::peers::{self, command};
use streamengine_tests::{Engine, PATIENCE, Proc, needs, unique};

/// Has ffmpeg publish a clip, and gives the file that was recorded of it.
fn recorded(folder: &Path, format: &str) -> PathBuf {
    let clip = encoded(folder, ("4", "4"), 25, &[B_FRAMES, AAC]);
    let settings = format!(
        "[default_app.record]\nwhen = \"all\"\ndir = {folder:?}\nformat = \"{format}\"\nmin_free_bytes = 0\n"
    );
    let engine = Engine::serve().config(settings).start();
    let mut line = command("ffmpeg", ["-v", "error", "-nostdin", "-re", "-i"]);
    line.arg(&clip)
        .args(["-c", "copy", "-f", "flv"])
        .arg(engine.url(&format!("live/{}", unique("recorded"))));
    Proc::spawn("ffmpeg", line).succeed(PATIENCE);
    let told = engine.wait("recording-file", |_| true);
    let path = PathBuf::from(told["path"].as_str().expect("a path"));
    // Of the clip nothing is missing: not even the pictures behind the last keyframe.
    let count = |path: &Path, kind: &str| {
        let packets = peers::ffprobe_packets(&path.to_string_lossy());
        packets
            .iter()
            .filter(|packet| packet.codec_type == kind)
            .map(|packet| packet.hash.clone())
            .collect::<Vec<_>>()
    };
    for kind in ["video", "audio"] {
        assert_eq!(count(&path, kind), count(&clip, kind), "{format}, {kind}");
    }
    path
}

fn loops_have_all_of_a_recording(format: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = recorded(folder.path(), format);
    // Recorded times are whole milliseconds: how long its last sound lasts nobody can tell to the tenth of one.
    has_all_of(&looped(&file), &peers::ffprobe_packets(&file.to_string_lossy()), 10);
}

#[test]
fn loops_of_a_recording_as_mp4_are_what_ffmpeg_finds_in_it() {
    needs!("ffmpeg", "ffprobe");
    loops_have_all_of_a_recording("fmp4");
}

#[test]
fn loops_of_a_recording_as_flv_are_what_ffmpeg_finds_in_it() {
    needs!("ffmpeg", "ffprobe");
    loops_have_all_of_a_recording("flv");
}
