//! Recordings in Chromium: how long after a seek its picture is there.
#![allow(clippy::print_stdout, reason = "figures that are to be read where a verdict is missed")]

use super::hls::{Player, escaped, fatal};
use super::{SHOW, most};
use streamengine_tests::browser::{Page, Sight, package_file};
use streamengine_tests::{Engine, PATIENCE, Proc, needs, peers, unique, workspace};

/// How long what is recorded lasts, and how often it is sought in.
const SECONDS: u32 = 120;
const SEEKS: usize = 10;

/// Ten times all over the recording, each elsewhere than the one before: of a generator that has been seeded.
fn times(seed: u64) -> Vec<f64> {
    let mut state = seed;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as f64 / f64::from(1_u32 << 31) * f64::from(SECONDS - 5)
    };
    std::iter::repeat_with(next).take(SEEKS).collect()
}

/// Records a picture and a sound faster than they last; the name of the file.
fn record(engine: &Engine, name: &str) -> String {
    let (picture, lasts) = (format!("testsrc2=size={}x360:rate=30", SHOW.width), SECONDS.to_string());
    let inputs = ["-f", "lavfi", "-i", &picture, "-f", "lavfi", "-i", "sine=sample_rate=48000"];
    let mut args = vec!["-hide_banner", "-nostdin", "-loglevel", "warning"];
    args.extend(inputs);
    args.extend(["-t", &lasts, "-c:a", "aac"]);
    args.extend(super::X264);
    let url = engine.url(name);
    args.extend(["-pix_fmt", "yuv420p", "-f", "flv", &url]);
    Proc::spawn("ffmpeg", peers::command("ffmpeg", args)).succeed(PATIENCE * 4);
    let told = engine.wait("recording-file", |_| true);
    let length = told["length_ms"].as_u64().expect("a length");
    assert!(length.abs_diff(u64::from(SECONDS) * 1_000) < 1_000, "{told}");
    let path = std::path::PathBuf::from(told["path"].as_str().expect("a path"));
    path.file_name().expect("a name").to_string_lossy().into_owned()
}

/// Opens a recording, and seeks in it.
fn open(player: Player, url: &str, times: &[f64]) -> Page {
    let page = workspace().join("tests/browser/hls.html");
    let times: Vec<_> = times.iter().map(|time| format!("{time:.2}")).collect();
    let by = match player {
        Player::Native => String::new(),
        _ => {
            let library = format!("file://{}", package_file("hls.js/dist/hls.min.js").display());
            format!("&library={}", escaped(&library))
        }
    };
    let query = format!("url={}&seeks={}{by}", escaped(url), times.join(","));
    Page::open(&format!("file://{}?{query}", page.display()))
}

fn sought(sight: &Sight) -> Vec<f64> {
    let told: serde_json::Value = serde_json::from_str(&sight.words).unwrap_or_default();
    told["sought"].as_array().into_iter().flatten().filter_map(serde_json::Value::as_f64).collect()
}

#[test]
fn each_of_ten_random_seeks_in_a_recording_shows_its_picture_within_a_second() {
    needs!("ffmpeg", "browser", "npm:hls.js");
    let dir = tempfile::tempdir().expect("a folder");
    let settings = format!(
        "[default_app.record]\nwhen = \"all\"\ndir = {:?}\nformat = \"fmp4\"\nmin_free_bytes = 0\nserve = true\n",
        dir.path()
    );
    let engine = Engine::serve().http().config(settings).start();
    let name = format!("live/{}", unique("seeks"));
    let file = record(&engine, &name);
    for (seed, player, what) in [(1, Player::Plain, "index.m3u8"), (2, Player::Native, file.as_str())] {
        let (url, times) = (engine.http_url(&format!("/recordings/{name}/{what}")), times(seed));
        let page = open(player, &url, &times);
        let seen = page.wait("ten seeks", |sight| sought(sight).len() == SEEKS || !fatal(sight).is_empty());
        let took = sought(&seen);
        println!("{player:?}, {what}: {took:?} ms until the picture, at {times:.1?} s; {}", seen.words);
        assert!(took.len() == SEEKS && fatal(&seen).is_empty(), "{seen:?}");
        assert!(took.iter().all(|&ms| ms <= most(1_000)), "{player:?}: {took:?} ms, at {times:.1?} s");
    }
}
