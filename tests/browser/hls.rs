//! HLS in Chromium, by hls.js and by the browser itself: how far behind, and what they go on through.
#![allow(clippy::print_stdout, reason = "figures that are to be read where a verdict is missed")]

use super::{RATE, SHOW, Show, for_each, least, median, most, publish, watched};
use serde_json::Value;
use std::time::Duration;
use streamengine_tests::browser::{Page, Sight, package_file};
use streamengine_tests::{
    Engine, PATIENCE, Proc, Signal, needs, peers, shared_clip, streamengine, unique, workspace,
};

/// Who plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Player {
    /// hls.js, which loads parts.
    LowLatency,
    /// hls.js, which loads whole segments.
    Plain,
    /// The browser by itself.
    Native,
}

impl Player {
    pub(super) fn open(self, engine: &Engine, name: &str) -> Page {
        self.open_with(engine, name, "", &["--press", "switch"])
    }

    /// Opens one that is to be where the server asks players to be, of a stream that began at this time.
    pub(super) fn hold(self, engine: &Engine, name: &str, since: &str) -> Page {
        self.open_with(engine, name, "&hold", &["--since", since])
    }

    fn open_with(self, engine: &Engine, name: &str, query: &str, options: &[&str]) -> Page {
        let page = workspace().join("tests/browser/hls.html");
        let url = escaped(&engine.http_url(&format!("/{name}/index.m3u8")));
        let library = escaped(&format!("file://{}", package_file("hls.js/dist/hls.min.js").display()));
        let config = escaped(&format!(r#"{{"lowLatencyMode":{}}}"#, self == Self::LowLatency));
        let by = match self {
            Self::Native => String::new(),
            Self::LowLatency | Self::Plain => format!("&library={library}&config={config}"),
        };
        Page::open_with(&format!("file://{}?url={url}{by}{query}", page.display()), options)
    }
}

/// As part of a query.
pub(super) fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

/// What the page has counted.
fn counted(sight: &Sight) -> Value {
    serde_json::from_str(&sight.words).unwrap_or_default()
}

fn count(sight: &Sight, what: &str) -> u64 {
    counted(sight)[what].as_u64().unwrap_or_default()
}

/// Failures that end playback unless the page does something.
pub(super) fn fatal(sight: &Sight) -> Vec<Value> {
    counted(sight)["fatal"].as_array().cloned().unwrap_or_default()
}

/// The value below which so many of a hundred lie.
fn percentile(values: &[u64], percent: usize) -> u64 {
    let mut values = values.to_vec();
    values.sort_unstable();
    *values.get(values.len() * percent / 100).expect("values")
}

/// How much of the time that passed was played.
fn progress(first: &Sight, last: &Sight) -> f64 {
    (last.time - first.time) * 1_000.0 / (last.at - first.at)
}

/// A stream that is published, and a player that shows it.
fn playing(engine: &Engine, prefix: &str, player: Player) -> (String, Proc, Page) {
    let name = format!("live/{}", unique(prefix));
    let publisher = publish(&engine.url(&name), SHOW);
    engine.wait_publish(&name);
    let page = player.open(engine, &name);
    page.wait("pictures", |sight| sight.state == "playing" && sight.frames > 30);
    (name, publisher, page)
}

#[test]
fn hls_js_is_a_second_behind_by_parts_and_blocking_reloads() {
    needs!("ffmpeg", "browser", "npm:hls.js");
    let engine = Engine::serve().http().start();
    let (_, _publisher, page) = playing(&engine, "low", Player::LowLatency);
    page.watch(Duration::from_secs(3));
    let (first, last) = page.watch(watched(10, 5));
    let (middle, late) = (median(&last.delays), percentile(&last.delays, 95));
    let since = |what: &str| count(&last, what) - count(&first, what);
    let (reloads, parts, segments) = (since("reloads"), since("parts"), since("segments"));
    println!(
        "hls.js: {middle} ms behind, 95 % at most {late} ms; {:.3} of the time; {reloads} reloads, {parts} parts, \
         {segments} segments; {}",
        progress(&first, &last),
        last.words
    );
    assert!(reloads > 5 && parts > 10, "{last:?}");
    assert_eq!((fatal(&last).len(), last.faults.as_slice()), (0, &[][..]), "{last:?}");
    let is_met = middle as f64 <= most(1_500) && late as f64 <= most(2_500);
    assert!(is_met, "{middle} ms behind, 95 % at most {late} ms");
}

#[test]
fn whole_segments_play_in_hls_js_and_in_chromium_itself() {
    needs!("ffmpeg", "browser", "npm:hls.js");
    let engine = Engine::serve().http().start();
    for_each(&[Player::Plain, Player::Native], |player| {
        let (_, _publisher, page) = playing(&engine, "plain", player);
        let (first, last) = page.watch(watched(10, 5));
        let progress = progress(&first, &last);
        println!(
            "{player:?}: the first picture after {:.0} ms, {progress:.3} of the time, {} ms behind; {}",
            last.first.unwrap_or_default(),
            median(&last.delays),
            last.words
        );
        assert!(progress >= least(0.95), "{player:?}: {progress}, {last:?}");
        assert_eq!((fatal(&last).len(), count(&last, "parts")), (0, 0), "{player:?}: {last:?}");
    });
}

/// The publisher is lost, the picture stands, and another comes, again and again: in words what came of each return, and whether
/// that is as it should be.
fn returns(player: Player, shows: &[(&str, Show)]) -> Vec<(String, bool)> {
    let engine = Engine::serve().http().start();
    let (name, mut publisher, page) = playing(&engine, "back", player);
    let mut seen = Vec::new();
    for (what, show) in shows {
        drop(publisher);
        page.wait("a picture that stands", |sight| sight.delays.is_empty());
        let mark = engine.lines().mark();
        publisher = publish(&engine.url(&name), *show);
        engine.wait_after(mark, "stream-started", PATIENCE, |event| event["stream"] == name);
        let returned = page.wait("anything", |_| true);
        let moving = page.wait(what, |sight| {
            let is_new =
                sight.size.0 == u64::from(show.width) && sight.delays.iter().any(|delay| *delay < 10_000);
            is_new && sight.time > returned.time
        });
        let took = moving.at - returned.at;
        let (first, last) = page.watch(watched(5, 3));
        let progress = progress(&first, &last);
        let delay = median(&last.delays);
        let words = format!(
            "{player:?}, {what}: a picture {took:.0} ms after the return, then {progress:.3} of the time, {delay} ms behind; {}",
            last.words
        );
        seen.push((words, took <= most(3_000) && fatal(&last).is_empty() && progress >= least(0.9)));
    }
    seen
}

const RETURNS: [(&str, Show); 3] =
    [("the same", SHOW), ("another size", Show { width: 960, ..SHOW }), ("the first size", SHOW)];

#[test]
fn hls_js_goes_on_when_a_publisher_returns_with_another_size_and_codec() {
    needs!("ffmpeg", "current-ffmpeg", "browser", "npm:hls.js");
    let av1 = ("AV1", Show { width: 320, is_av1: true, ..SHOW });
    let shows = [&RETURNS[..], &[av1, ("H.264 again", SHOW)]].concat();
    for (words, is_met) in returns(Player::LowLatency, &shows) {
        println!("{words}");
        assert!(is_met, "{words}");
    }
}

#[test]
fn hls_js_goes_on_by_whole_segments_when_a_publisher_returns() {
    needs!("ffmpeg", "browser", "npm:hls.js");
    for (words, is_met) in returns(Player::Plain, &RETURNS) {
        println!("{words}");
        assert!(is_met, "{words}");
    }
}

#[test]
fn chromium_itself_goes_on_when_a_publisher_returns() {
    needs!("ffmpeg", "browser");
    for (words, is_met) in returns(Player::Native, &RETURNS) {
        println!("{words}");
        assert!(is_met, "{words}");
    }
}

#[test]
fn hls_js_goes_on_when_the_server_is_killed_and_begins_anew() {
    needs!("ffmpeg", "browser", "npm:hls.js");
    let engine = Engine::serve().http().start();
    let (rtmp, http) = (engine.rtmp, engine.http());
    let (name, publisher, page) = playing(&engine, "killed", Player::LowLatency);
    engine.process.signal(Signal::KILL);
    engine.process.try_wait(PATIENCE).expect("it ends");
    drop(publisher);
    page.wait("a picture that stands", |sight| sight.delays.is_empty());
    let engine = Engine::serve().rtmp(rtmp).http_at(http).start();
    let _publisher = publish(&engine.url(&name), SHOW);
    engine.wait_publish(&name);
    let returned = page.wait("anything", |_| true);
    let moving = page.wait("pictures", |sight| {
        sight.time > returned.time && sight.delays.iter().any(|delay| *delay < 10_000)
    });
    let took = moving.at - returned.at;
    let (first, last) = page.watch(watched(5, 3));
    println!(
        "after a restart: a picture {took:.0} ms after the publisher's return, then {:.3} of the time, {} ms behind; {}",
        progress(&first, &last),
        median(&last.delays),
        last.words
    );
    assert!(took < most(10_000) && progress(&first, &last) > least(0.9), "{took:.0} ms, {last:?}");
}

#[test]
fn av1_and_opus_play_in_hls_js() {
    needs!("browser", "shared:bbb-av1-opus-30s.flv", "npm:hls.js");
    let engine = Engine::serve().http().start();
    let name = format!("live/{}", unique("av1"));
    let clip = shared_clip("bbb-av1-opus-30s.flv").expect("the clip");
    let _looping = streamengine(["loop", &clip.to_string_lossy(), &engine.url(&name)]);
    engine.wait_publish(&name);
    let page = Player::LowLatency.open(&engine, &name);
    page.wait("pictures", |sight| sight.state == "playing" && sight.frames > 30);
    let (first, last) = page.watch(watched(5, 3));
    println!("AV1 and Opus: {:.3} of the time; {}", progress(&first, &last), last.words);
    let rate = (last.frames - first.frames) as f64 * 1_000.0 / (last.at - first.at);
    assert!(
        progress(&first, &last) >= least(0.95) && rate > 20.0,
        "{rate} pictures a second: {first:?} {last:?}"
    );
    assert_eq!(fatal(&last).len(), 0, "{last:?}");
}

#[test]
fn sound_alone_plays_in_hls_js_and_in_chromium_itself() {
    needs!("ffmpeg", "browser", "npm:hls.js");
    let engine = Engine::serve().http().start();
    let name = format!("live/{}", unique("sound"));
    let _publisher = publish(&engine.url(&name), Show { kinds: super::Kinds::Audio, ..SHOW });
    engine.wait_publish(&name);
    for_each(&[Player::LowLatency, Player::Plain, Player::Native], |player| {
        let page = player.open(&engine, &name);
        page.wait("sound", |sight| sight.state == "playing" && sight.time > 0.0);
        let (first, last) = page.watch(watched(5, 3));
        println!("sound alone, {player:?}: {:.3} of the time; {}", progress(&first, &last), last.words);
        assert!(progress(&first, &last) >= least(0.95), "{player:?}: {first:?} {last:?}");
        assert_eq!(fatal(&last).len(), 0, "{player:?}: {last:?}");
    });
}

/// A picture and three sounds, as tracks of Enhanced RTMP.
fn publish_sounds(url: &str) -> Proc {
    let program = peers::current_ffmpeg().expect("current ffmpeg");
    let picture = format!("testsrc2=size=640x360:rate={RATE}");
    let mut args = vec!["-hide_banner", "-nostdin", "-loglevel", "warning"];
    let sounds = ["sine=frequency=440", "sine=frequency=660", "sine=frequency=880"];
    for input in [picture.as_str()].into_iter().chain(sounds) {
        args.extend(["-re", "-f", "lavfi", "-i", input]);
    }
    args.extend(["-map", "0:v", "-map", "1:a", "-map", "2:a", "-map", "3:a", "-c:a", "aac"]);
    args.extend(super::X264);
    args.extend(["-f", "flv", url]);
    Proc::spawn("ffmpeg of three sounds", peers::command(&program.to_string_lossy(), args))
}

#[test]
fn hls_js_changes_between_several_sounds() {
    needs!("current-ffmpeg", "browser", "npm:hls.js");
    let engine = Engine::serve().http().start();
    let name = format!("live/{}", unique("sounds"));
    let _publisher = publish_sounds(&engine.url(&name));
    engine.wait_publish(&name);
    let page = Player::LowLatency.open(&engine, &name);
    let begun = page.wait("pictures", |sight| sight.state != "connecting" && sight.frames > 60);
    assert_eq!(count(&begun, "tracks"), 3, "{begun:?}");
    // watch.js presses the button once.
    let sounds = |sight: &Sight, which: &str| counted(sight)["sounds"][which].as_u64().unwrap_or_default();
    let changed = page.wait("the second sound", |sight| sounds(sight, "a2") > 10);
    let (first, last) = page.watch(watched(5, 3));
    println!("three sounds: {:.3} of the time; {}", progress(&first, &last), last.words);
    assert_eq!(count(&last, "track"), 1, "{last:?}");
    assert_eq!(sounds(&last, "a1"), sounds(&changed, "a1"), "the first is loaded no more: {last:?}");
    assert!(progress(&first, &last) >= least(0.95) && fatal(&last).is_empty(), "{first:?} {last:?}");
}
