//! What `latency` tells of HLS, beside what hls.js in Chromium is behind at the same time, by the same server.
#![allow(clippy::print_stdout, reason = "figures that are to be read where a verdict is missed")]

use super::hls::Player;
use super::{Cells, SHOW, Show, made, median, most, watched};
use serde_json::Value;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use streamengine_tests::browser::{Page, Sight};
use streamengine_tests::flv::{Recording, Tag, Track};
use streamengine_tests::{Engine, PATIENCE, Proc, needs, peers, streamengine, synthetic, unique};

/// How long there is something to play: a player that has to go nearer, on a machine that does other things, takes its time.
const SECONDS: u32 = 120;

/// A picture that tells its place in the stream, with a keyframe each two seconds, as the command's own. It is coded beforehand:
/// encoding takes nothing of what is measured.
fn clip(file: &Path) -> Recording {
    let mut ffmpeg = peers::command("ffmpeg", made(Show { width: 320, ..SHOW }, Cells::Place));
    ffmpeg.args(["-g", "60", "-t", &SECONDS.to_string(), "-f", "flv"]).arg(file);
    Proc::spawn("ffmpeg", ffmpeg).succeed(PATIENCE * 4);
    Recording::read(file)
}

/// Publishes each frame of a clip when it is due, until `is_over`; `began` is told when the first picture was due, in ms since 1970.
fn publish(engine: &Engine, name: &str, clip: &Recording, is_over: &AtomicBool, began: impl FnOnce(u128)) {
    let (mut peer, status) = synthetic::granted(engine.rtmp, name).expect("a connection");
    assert_eq!(status.code, "NetStream.Publish.Start", "{}", status.description);
    let media: Vec<&Tag> = clip.tags.iter().filter(|tag| tag.track().is_some()).collect();
    let place = |tag: &Tag| Duration::from_millis(tag.timestamp.into());
    let zero = place(clip.frames(Track::Video)[0]);
    let start = Instant::now();
    began(SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis());
    for tag in media {
        let due = start + place(tag).saturating_sub(zero);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        if is_over.load(Ordering::Relaxed) {
            return;
        }
        peer.send(6, tag.timestamp, tag.kind, 1, &tag.body).expect("the server takes it");
    }
}

/// How far from where the server asks it to be.
fn distance(sight: &Sight) -> Option<i64> {
    serde_json::from_str::<Value>(&sight.words).ok()?["distance"].as_i64()
}

#[test]
fn latency_tells_of_hls_what_a_browser_shows() {
    needs!("ffmpeg", "browser", "npm:hls.js");
    let folder = tempfile::tempdir().unwrap();
    let clip = clip(&folder.path().join("clip.flv"));
    let engine = Engine::serve().http().config("[default_app.hls]\npart_ms = 200\n").start();
    let Measured { told, shown, ends, last } = beside(&engine, &clip);
    let way = told["ways"].as_array().and_then(|ways| ways.last()).expect("HLS");
    let [p50, at_player, hold_back] =
        ["p50_ms", "shown_ms", "hold_back_ms"].map(|name| way[name].as_f64().expect(name));
    println!(
        "latency: {p50} ms to the arrival, {at_player} ms at a player {hold_back} ms from the end; \
         hls.js: {ends} ms to the arrival, {shown} ms at the picture; {}",
        last.words
    );
    for (ours, theirs) in [(p50, ends), (at_player, shown)] {
        let is_met = (ours - theirs as f64).abs() < most(100);
        assert!(is_met, "{ours} ms, and {theirs} ms in the browser: {way}");
    }
}

/// What was measured at the same time of two streams.
struct Measured {
    /// What the command tells.
    told: Value,
    /// How old pictures are in a browser, in milliseconds, and the end of what it has loaded.
    shown: u64,
    ends: u64,
    /// What was seen last there.
    last: Sight,
}

/// Publishes a stream, and measures it.
fn beside(engine: &Engine, clip: &Recording) -> Measured {
    let name = format!("live/{}", unique("seen"));
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (began, since) = std::sync::mpsc::channel();
        scope.spawn(|| {
            publish(engine, &name, clip, &is_over, move |at| began.send(at).expect("it is waited for"))
        });
        let since = since.recv().expect("it is published").to_string();
        let measured =
            std::panic::catch_unwind(|| measure(engine, &Player::LowLatency.hold(engine, &name, &since)));
        is_over.store(true, Ordering::Relaxed);
        measured.unwrap_or_else(|failure| std::panic::resume_unwind(failure))
    })
}

/// Waits for a page to be where the server asks it to be, and has the command measure a stream of its own meanwhile.
fn measure(engine: &Engine, page: &Page) -> Measured {
    let is_near = |sight: &Sight| distance(sight).is_some_and(|ms| (ms.abs() as f64) < most(50));
    page.wait("the place that the server asks for", is_near);
    // It may have been near on its way from elsewhere.
    page.watch(Duration::from_secs(3));
    page.wait("the same place still", is_near);
    let time = watched(10, 5);
    let (url, http) = (engine.url(&format!("live/{}", unique("told"))), engine.http_url(""));
    let command = streamengine(["latency", &url, &http, "--seconds", &time.as_secs().to_string(), "--json"]);
    let (_, last) = page.watch(time + Duration::from_secs(2));
    command.succeed(PATIENCE);
    let told = command.out.all().iter().find_map(|line| serde_json::from_str(line).ok());
    Measured { told: told.expect("a report"), shown: median(&last.delays), ends: median(&last.ends), last }
}
