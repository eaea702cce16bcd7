//! C programs that serve, with ffmpeg at the other end.

use crate::programs::{Way, compile};
use crate::{LONG, served, support};
use std::path::Path;
use std::process::Command;
use streamengine_tests::flv::{Extent, Recording, Tag, Track, assert_arrived, match_run};
use streamengine_tests::peers::{self, Speed};
use streamengine_tests::{PATIENCE, Proc, demo_clip, needs, unique};

fn program(name: &str, way: Way, arguments: &[&str]) -> Proc {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/c/{name}.c"));
    let mut command = Command::new(compile("cc", &["-std=c11"], way, &source));
    command.args(arguments);
    Proc::spawn(name, command)
}

/// FNV-1a, 64 bits.
fn hash(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |value, &byte| (value ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// A frame as tap.c prints it.
fn printed(tag: &Tag) -> String {
    let head = if tag.kind == 9 { 5 } else { 2 };
    format!("{} {:016x}", tag.kind, hash(&tag.body[head..]))
}

#[test]
fn ffmpeg_publishes_and_c_taps_frames_by_callback_with_equal_payload_hashes() {
    needs!("cc", "ffmpeg");
    for way in [Way::C, Way::CUnderAddressSanitizer] {
        let name = format!("live/{}", unique("tap"));
        let tap = program("tap", way, &[&name]);
        let url = format!("rtmp://{}/{name}", served(&tap.out));
        peers::ffmpeg_publish(&demo_clip(), &url, Speed::Fast).succeed(PATIENCE);
        tap.succeed(LONG);
        tap.out.find("end ", PATIENCE).expect("why the stream ended");
        let got = tap.out.all();
        let clip = Recording::read(&demo_clip());
        for track in [Track::Video, Track::Audio] {
            let kind = clip.frames(track)[0].kind;
            let frames = |what: &str| -> Vec<String> {
                let lines = got.iter().filter_map(|line| line.strip_prefix(what));
                lines.filter(|line| line.starts_with(&kind.to_string())).map(str::to_owned).collect()
            };
            let source: Vec<String> = clip.frames(track).into_iter().map(printed).collect();
            assert_eq!(match_run(&source, &frames("frame "), Extent::Whole), Ok(0), "{track:?}");
            assert_eq!(frames("config "), [printed(clip.headers(track)[0])], "{track:?}");
        }
    }
}

#[test]
fn frames_pushed_from_c_are_played_by_ffmpeg_with_equal_hashes() {
    needs!("cc", "ffmpeg");
    for way in [Way::C, Way::CUnderAddressSanitizer] {
        let name = format!("live/{}", unique("push"));
        let push = program("push", way, &[&name, demo_clip().to_str().unwrap()]);
        let player = peers::ffmpeg_play(&format!("rtmp://{}/{name}", served(&push.out)));
        push.succeed(LONG);
        assert_arrived(&Recording::read(&demo_clip()), &player.finish(), Extent::Whole);
    }
}

#[test]
fn the_pictures_of_the_capture_example_are_played_by_ffmpeg() {
    needs!("cc", "ffmpeg", "/usr/include/x264.h");
    let name = format!("live/{}", unique("capture"));
    let tap = program("tap", Way::C, &[&name]);
    let url = format!("rtmp://{}/{name}", served(&tap.out));
    let player = peers::ffmpeg_play(&url);
    let source = support::root().join("examples/c/publish.c");
    let mut command = Command::new(compile("cc", &["-std=c99", "-DHAVE_X264", "-lx264"], Way::C, &source));
    command.args(["pattern", &url, "100"]);
    let publish = Proc::spawn("publish", command);
    tap.out.find_after(0, LONG, |line| line.starts_with("frame 9").then_some(())).expect("pictures");
    let frames = || tap.out.all().iter().filter(|line| line.starts_with("frame 9")).count();
    streamengine_tests::poll(LONG, || (frames() >= 100).then_some(())).expect("a hundred pictures");
    publish.signal(streamengine_tests::Signal::INT);
    publish.succeed(LONG);
    tap.succeed(LONG);
    let got = player.finish();
    let played: Vec<String> = got.frames(Track::Video).into_iter().map(printed).collect();
    let tapped = tap.out.all();
    let tapped: Vec<String> =
        tapped.iter().filter_map(|line| line.strip_prefix("frame ")).map(str::to_owned).collect();
    assert!(match_run(&tapped, &played, Extent::ToTheEnd).is_ok(), "{} of {}", played.len(), tapped.len());
}
