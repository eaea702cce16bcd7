//! Our pages in a real browser: Chromium plays what is published, at the live edge, and goes on after what streams go through.

mod dashboard;
mod hls;
mod latency;
mod publish;
mod publish_faults;
mod published;
mod recordings;
mod trouble;

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use streamengine_tests::browser::{Page, Sight};
use streamengine_tests::http::HttpPeer;
use streamengine_tests::tls::{Authority, Validity};
use streamengine_tests::{
    Engine, Fault, PATIENCE, Proc, Proxy, is_idle, needs, peers, poll, say_skipped, shared_clip,
    streamengine, unique,
};

/// Pictures a second of what is published here.
const RATE: f64 = 30.0;

/// The most milliseconds that something may take which is promised within so many.
fn most(promised: u32) -> f64 {
    f64::from(promised) * if is_idle() { 1.0 } else { 5.0 }
}

/// The least share that there may be of what is promised at so much.
fn least(promised: f64) -> f64 {
    promised * if is_idle() { 1.0 } else { 0.7 }
}

/// For how many seconds something is watched, on an idle machine and in a gate, whose verdicts need less; where
/// `STREAMENGINE_WATCH_SECONDS` does not say more.
fn watched(idle: u64, gate: u64) -> Duration {
    let least = if is_idle() { idle } else { gate };
    let told = std::env::var("STREAMENGINE_WATCH_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(told.unwrap_or(least).max(least))
}

/// Does the same for each of these, two at a time where times are judged leniently: what is watched takes its time, not ours.
fn for_each<T: Copy + Send + Sync>(of: &[T], does: impl Fn(T) + Sync) {
    let (does, test) = (&does, std::thread::current().name().unwrap_or("?").to_owned());
    for some in of.chunks(if is_idle() { 1 } else { 2 }) {
        std::thread::scope(|scope| {
            for &one in some {
                // What is skipped is told by the name of the thread.
                let thread = std::thread::Builder::new().name(test.clone());
                thread.spawn_scoped(scope, move || does(one)).expect("a thread");
            }
        });
    }
}

/// Which kinds of media are published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kinds {
    Both,
    Video,
    Audio,
}

/// What is published.
#[derive(Debug, Clone, Copy)]
struct Show {
    width: u32,
    kinds: Kinds,
    /// Whether the picture is AV1, which takes a current ffmpeg, or H.264.
    is_av1: bool,
    /// Samples a second of the sound, and its channels.
    sound: (&'static str, &'static str),
}

/// A picture of some size, and a sound.
const SHOW: Show = Show { width: 640, kinds: Kinds::Both, is_av1: false, sound: ("48000", "1") };

const X264: [&str; 10] =
    ["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", "30", "-b:v", "1M"];
/// Without pictures that come before others, as for H.264.
const AV1: [&str; 10] =
    ["-c:v", "libsvtav1", "-preset", "12", "-svtav1-params", "pred-struct=1", "-g", "30", "-crf", "40"];

/// What the cells of a picture tell, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cells {
    /// When it was made, since 1970; made as fast as it is shown.
    Clock,
    /// Its place in the stream; made as fast as may be.
    Place,
}

/// What ffmpeg is asked for a test picture, half as high as it is wide, whose lowest ninth has a time in 32 cells, black or white:
/// milliseconds, modulo 2^32. A keyframe a second.
fn made(show: Show, cells: Cells) -> Vec<String> {
    let (width, height, rate) = (show.width, show.width / 2, RATE);
    let strip = height / 8;
    let picture = format!("testsrc2=size={width}x{height}:rate={rate}");
    let strips = format!("color=black:size=32x2:rate={rate}");
    let sound = format!("sine=frequency=440:sample_rate={}", show.sound.0);
    let clock = if cells == Cells::Clock { "settb=1/1000,setpts=RTCTIME/1000" } else { "settb=1/1000" };
    let draw = "geq=lum='255*mod(floor(mod(T*1000,4294967296)/pow(2,31-X)),2)':cb=128:cr=128";
    let graph = format!(
        "[1]{clock},{draw},setpts=N/{rate}/TB,scale={width}:{strip}:flags=neighbor[cells];\
         [0]setpts=N/{rate}/TB[picture];[picture][cells]vstack,format=yuv420p[v]"
    );
    let mut args = vec!["-hide_banner", "-nostdin", "-loglevel", "warning"];
    for input in [&picture, &strips, &sound] {
        args.extend(if cells == Cells::Clock { &["-re"][..] } else { &[] });
        args.extend(["-f", "lavfi", "-i", input]);
    }
    if show.kinds != Kinds::Audio {
        args.extend(["-filter_complex", &graph, "-map", "[v]"]);
        args.extend(if show.is_av1 { AV1 } else { X264 });
    }
    if show.kinds != Kinds::Video {
        args.extend(["-map", "2:a", "-c:a", "aac", "-b:a", "96k", "-ac", show.sound.1]);
    }
    args.into_iter().map(str::to_owned).collect()
}

/// ffmpeg publishes such a picture, with the time of its making.
fn publish(url: &str, show: Show) -> Proc {
    let program =
        if show.is_av1 { peers::current_ffmpeg().expect("current ffmpeg") } else { "ffmpeg".into() };
    let mut ffmpeg = peers::command(&program.to_string_lossy(), made(show, Cells::Clock));
    ffmpeg.args(["-f", "flv", url]);
    Proc::spawn("ffmpeg", ffmpeg)
}

/// What a page is asked for each of the players that it has for streams without an end, over each kind of connection.
const WAYS: [&str; 4] = [
    "player=mse&transport=ws",
    "player=mse&transport=http",
    "player=mpegts&transport=http",
    "player=mpegts&transport=ws",
];

/// Opens a stream's page with a query, and waits until it plays; nothing where that asks for a player of others, which not every
/// build has.
fn open_playing(engine: &Engine, name: &str, query: &str) -> Option<(Page, Sight)> {
    let page = Page::open(&format!("{}?{query}", engine.page(name)));
    let is_missing = |sight: &Sight| sight.words.contains("built without");
    let seen = page.wait("a stream that plays", |sight| is_missing(sight) || sight.is_playing());
    if is_missing(&seen) {
        say_skipped("built without the players of others");
        return None;
    }
    Some((page, seen))
}

/// What of the pictures that were due was decoded, where playback went on for most of the time.
fn share(first: &Sight, last: &Sight, rate: f64) -> Option<f64> {
    let (watched, played) = ((last.at - first.at) / 1_000.0, last.time - first.time);
    (played > least(0.9) * watched).then(|| (last.frames - first.frames) as f64 / (played * rate))
}

/// Watches a page until it has shown every picture for some seconds, as a busy machine may spoil some: what share that was, and
/// the last of it.
fn watch_all(page: &Page, rate: f64) -> (f64, Sight) {
    watch_all_for(watched(10, 4), page, rate)
}

fn watch_all_for(time: Duration, page: &Page, rate: f64) -> (f64, Sight) {
    let mut seen = Vec::new();
    for _ in 0..3 {
        let (first, last) = page.watch(time);
        match share(&first, &last, rate) {
            Some(share) if share >= least(0.98) => return (share, last),
            share => seen.push((share, first, last)),
        }
    }
    panic!("pictures are missing three times: {seen:?}");
}

fn median(values: &[u64]) -> u64 {
    let mut values = values.to_vec();
    values.sort_unstable();
    *values.get(values.len() / 2).expect("values")
}

#[test]
fn pages_play_every_picture_near_the_live_edge_over_http_and_web_sockets() {
    needs!("ffmpeg", "browser");
    let engine = Engine::serve().http().start();
    let name = format!("live/{}", unique("clock"));
    let _publisher = publish(&engine.url(&name), SHOW);
    engine.wait_publish(&name);
    for_each(&WAYS, |way| {
        let Some((page, begun)) = open_playing(&engine, &name, way) else { return };
        // What came before is caught up with, faster than it was made.
        page.wait("the live edge", |sight| !sight.delays.is_empty() && median(&sight.delays) < 1_000);
        let (share, last) = watch_all(&page, RATE);
        let (delay, start) = (median(&last.delays), last.first.expect("a picture"));
        println!("{way}: {share:.3} of the pictures, the first after {start:.0} ms, {delay} ms behind");
        assert!((delay as f64) < most(1_500), "{delay} ms behind");
        assert!(start < most(1_000), "the first picture after {start} ms");
        assert_eq!((begun.size.0, last.faults.as_slice()), (640, &[][..]));
        assert_eq!(last.state, "playing", "{}", last.words);
    });
}

#[test]
fn our_own_player_is_at_the_live_edge_at_once_and_shows_every_picture() {
    needs!("ffmpeg", "browser");
    let engine = Engine::serve().http().start();
    let name = format!("live/{}", unique("own"));
    let _publisher = publish(&engine.url(&name), SHOW);
    engine.wait_publish(&name);
    // The start of the browser and of its decoders is no part of it, and a busy machine spoils some.
    let url = engine.page(&name);
    let starts = (0..3).map(|_| {
        let page = Page::open_with(&url, &["--warm", &url]);
        page.wait_playing().first.expect("a picture")
    });
    let start = starts.fold(f64::INFINITY, f64::min);
    let page = Page::open(&engine.page(&name));
    page.wait_playing();
    page.watch(Duration::from_secs(2));
    let (share, last) = watch_all_for(watched(20, 8), &page, RATE);
    let delay = median(&last.delays);
    println!("{share:.3} of the pictures, the first after {start:.0} ms, {delay} ms behind");
    assert!((delay as f64) < most(300), "{delay} ms behind");
    assert!(start < most(300), "the first picture after {start} ms");
    assert_eq!((last.player.as_str(), last.loads, last.faults.as_slice()), ("mse", 1, &[][..]));
}

#[test]
fn our_own_player_goes_on_through_changes_of_size_codec_and_sound_and_its_publishers_return() {
    needs!("ffmpeg", "current-ffmpeg", "browser");
    let engine = Engine::serve().http().start();
    let name = format!("live/{}", unique("change"));
    let url = engine.url(&name);
    let mut publisher = publish(&url, SHOW);
    engine.wait_publish(&name);
    let page = Page::open(&engine.page(&name));
    page.wait_playing();
    let shows = [
        ("another size", Show { width: 960, ..SHOW }),
        ("another codec", Show { width: 320, is_av1: true, ..SHOW }),
        ("the first codec", SHOW),
        ("another sound", Show { sound: ("44100", "2"), ..SHOW }),
        ("the same", Show { sound: ("44100", "2"), ..SHOW }),
    ];
    for (what, show) in shows {
        drop(publisher);
        let mark = engine.lines().mark();
        publisher = publish(&url, show);
        engine.wait_after(mark, "stream-started", Duration::from_secs(20), |_| true);
        let returned = page.wait("anything", |_| true);
        let codec = if show.is_av1 { "AV1" } else { "H.264" };
        let is_there = |sight: &Sight| sight.size.0 == u64::from(show.width) && sight.words.contains(codec);
        let seen = page.wait(what, |sight| is_there(sight) && sight.is_playing());
        let moving = page
            .wait("pictures that move", |sight| sight.frames > seen.frames + 30 && sight.time > seen.time);
        println!("{what}: a second of it after {:.0} ms", moving.at - returned.at);
        let (share, last) = watch_all_for(watched(5, 3), &page, RATE);
        let delay = median(&last.delays);
        println!("{what}: {share:.3} of the pictures, {delay} ms behind");
        assert!((delay as f64) < most(1_500), "{what}: {delay} ms behind");
        assert_eq!((last.loads, last.faults.as_slice()), (1, &[][..]), "{what}: {last:?}");
    }
}

#[test]
fn our_own_player_keeps_as_far_from_the_live_edge_as_the_way_is_uneven() {
    needs!("ffmpeg", "browser");
    let engine = Engine::serve().http().start();
    let name = format!("live/{}", unique("uneven"));
    let _publisher = publish(&engine.url(&name), SHOW);
    engine.wait_publish(&name);
    let proxy = Proxy::to(engine.http());
    let page = Page::open(&format!("http://{}/play/{name}", proxy.address));
    page.wait_playing();
    page.watch(Duration::from_secs(5));
    let even = median(&page.watch(Duration::from_secs(5)).1.delays);
    let is_over = AtomicBool::new(false);
    let (share, last) = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                proxy.set(Fault::BlackHole);
                std::thread::sleep(Duration::from_millis(400));
                proxy.set(Fault::None);
                std::thread::sleep(Duration::from_millis(600));
            }
        });
        page.watch(Duration::from_secs(8));
        let watched = std::panic::catch_unwind(AssertUnwindSafe(|| watch_all(&page, RATE)));
        is_over.store(true, Ordering::Relaxed);
        watched.unwrap_or_else(|failure| std::panic::resume_unwind(failure))
    });
    let delay = median(&last.delays);
    println!(
        "{even} ms behind; {delay} ms where nothing comes for 400 ms each second, {share:.3} of the pictures"
    );
    // Where others keep the machine busy, the way is uneven from the beginning.
    assert!(delay > 450 && (!is_idle() || delay > even + 150), "{even} ms, then {delay} ms");
    // Word of unevenness is kept for some time. A way that others make uneven stays so.
    let enough = if is_idle() { even + 150 } else { (even + 150).max(delay - 50) };
    let is_near = |sight: &Sight| !sight.delays.is_empty() && median(&sight.delays) < enough;
    let again = page.wait("the former delay", is_near);
    assert_eq!(again.loads, 1, "{again:?}");
}

#[test]
fn our_own_player_is_at_the_live_edge_when_its_tab_comes_back() {
    needs!("ffmpeg", "browser");
    let engine = Engine::serve().http().start();
    let name = format!("live/{}", unique("away"));
    let _publisher = publish(&engine.url(&name), SHOW);
    engine.wait_publish(&name);
    let away = watched(20, 12);
    let page = Page::open_with(&engine.page(&name), &["--away", &away.as_secs().to_string()]);
    page.wait("that nobody sees it", |sight| sight.hidden);
    let (_, unseen) = page.watch(away - Duration::from_secs(10));
    assert!(unseen.hidden && unseen.delays.len() < 50, "{unseen:?}");
    let back = page.wait("that somebody sees it", |sight| !sight.hidden);
    let shown = page.wait("the live edge", |sight| !sight.delays.is_empty() && median(&sight.delays) < 1_000);
    println!("{} ms behind, {:.0} ms after the tab's return", median(&shown.delays), shown.at - back.at);
    assert!(shown.at - back.at < most(1_000), "{shown:?}");
    let (_, last) = watch_all(&page, RATE);
    assert_eq!((last.loads, last.faults.as_slice()), (1, &[][..]), "{last:?}");
}

#[test]
fn pages_over_https_play_by_secure_web_sockets() {
    needs!("ffmpeg", "browser", "openssl");
    let authority = Authority::new();
    let leaf = authority.leaf("DNS:localhost,IP:127.0.0.1", Validity::Now);
    let engine = Engine::serve().https(&leaf.cert, &leaf.key).start();
    let name = format!("live/{}", unique("tls"));
    let _publisher = publish(&engine.url(&name), SHOW);
    engine.wait_publish(&name);
    for_each(&WAYS, |way| {
        let Some((page, _)) = open_playing(&engine, &name, way) else { return };
        page.wait("the live edge", |sight| !sight.delays.is_empty() && median(&sight.delays) < 1_000);
        let (share, last) = watch_all(&page, RATE);
        println!("https, {way}: {share:.3} of the pictures, {} ms behind", median(&last.delays));
        assert_eq!(last.faults, [""; 0]);
    });
}

#[test]
fn av1_and_opus_play() {
    needs!("browser", "shared:bbb-av1-opus-30s.flv");
    let engine = Engine::serve().http().start();
    let name = format!("live/{}", unique("av1"));
    let clip = shared_clip("bbb-av1-opus-30s.flv").expect("the clip");
    let _looping = streamengine(["loop", &clip.to_string_lossy(), &engine.url(&name)]);
    engine.wait_publish(&name);
    for_each(&["player=mse", "player=mpegts"], |way| {
        let Some((page, _)) = open_playing(&engine, &name, way) else { return };
        let (share, last) = watch_all(&page, RATE);
        println!("AV1 and Opus, {way}: {share:.3} of the pictures");
        assert!(last.words.contains("AV1, Opus"), "{last:?}");
    });
}

#[test]
fn streams_of_one_kind_play_and_say_so() {
    needs!("ffmpeg", "browser");
    let engine = Engine::serve().http().start();
    for (kinds, words) in [(Kinds::Video, "H.264"), (Kinds::Audio, "sound only (AAC)")] {
        let name = format!("live/{}", unique("one"));
        let _publisher = publish(&engine.url(&name), Show { kinds, ..SHOW });
        engine.wait_publish(&name);
        for_each(&["player=mse", "player=mpegts"], |way| {
            let Some((page, _)) = open_playing(&engine, &name, way) else { return };
            let is_told = |sight: &Sight| sight.words.starts_with("Live") && sight.started.is_some();
            let begun = page.wait("what it plays", is_told);
            let started = begun.started.expect("it plays");
            println!("{kinds:?}, {way}: plays after {started:.0} ms");
            assert!(begun.words.contains(words), "{begun:?}");
            assert!(started < most(1_000), "{begun:?}");
        });
    }
}

#[test]
fn a_publisher_that_returns_with_another_picture_is_seen_within_seconds() {
    needs!("ffmpeg", "browser");
    let engine = Engine::serve().http().start();
    for_each(&WAYS, |way| {
        let name = format!("live/{}", unique("size"));
        let url = engine.url(&name);
        let publisher = publish(&url, SHOW);
        engine.wait_publish(&name);
        let Some((page, _)) = open_playing(&engine, &name, way) else { return };
        drop(publisher);
        page.wait("that nothing comes", |sight| sight.state == "silent");
        let mark = engine.lines().mark();
        let _publisher = publish(&url, Show { width: 960, ..SHOW });
        let is_it = |event: &serde_json::Value| event["stream"] == name;
        engine.wait_after(mark, "stream-started", Duration::from_secs(20), is_it);
        let returned = page.wait("anything", |_| true);
        let seen = page.wait("the other picture", |sight| sight.size.0 == 960);
        let moving = page.wait("pictures that move", |sight| sight.frames > seen.frames + 10);
        let gap = moving.at - returned.at;
        println!("{way}: pictures of another size move {gap:.0} ms after the publisher's return");
        assert!(gap < most(2_000), "{gap} ms: {moving:?}");
        watch_all(&page, RATE);
    });
}

#[test]
fn a_page_that_is_to_play_by_hls_goes_on_when_its_publisher_returns() {
    needs!("ffmpeg", "browser");
    let engine = Engine::serve().http().start();
    let name = format!("live/{}", unique("hls"));
    let publisher = publish(&engine.url(&name), SHOW);
    engine.wait_publish(&name);
    let Some((page, begun)) = open_playing(&engine, &name, "player=hls") else { return };
    let (first, last) = page.watch(watched(10, 4));
    assert!(last.time - first.time > least(0.95) * (last.at - first.at) / 1_000.0, "{first:?} {last:?}");
    assert_eq!((begun.player.as_str(), begun.size.0), ("hls", 640));
    drop(publisher);
    page.wait("that nothing comes", |sight| sight.state == "silent");
    let mark = engine.lines().mark();
    let _publisher = publish(&engine.url(&name), Show { width: 960, ..SHOW });
    engine.wait_after(mark, "stream-started", PATIENCE, |event| event["stream"] == name);
    let returned = page.wait("anything", |_| true);
    let moving =
        page.wait("the other picture", |sight| sight.size.0 == 960 && sight.time > returned.time + 1.0);
    let took = moving.at - returned.at;
    let (_, last) = page.watch(watched(5, 3));
    println!("HLS: a second of another size {took:.0} ms after the publisher's return");
    assert!(took < most(4_000), "{took:.0} ms: {moving:?}");
    assert_eq!((last.loads, last.faults.as_slice()), (1, &[][..]), "{last:?}");
}

#[test]
fn a_page_that_is_to_begin_earlier_plays_what_has_been_recorded_until_now() {
    needs!("ffmpeg", "browser");
    let dir = tempfile::tempdir().unwrap();
    let config = format!(
        "[default_app.record]\nwhen = \"all\"\ndir = {:?}\nformat = \"fmp4\"\nserve = true\nmin_free_bytes = 0\n",
        dir.path()
    );
    let engine = Engine::serve().config(&config).http().start();
    let name = format!("live/{}", unique("back"));
    let _publisher = publish(&engine.url(&name), SHOW);
    engine.wait_publish(&name);
    let lasts_long = || {
        let target = format!("/recordings/{name}/index.m3u8");
        let list = HttpPeer::dial(engine.http()).ok()?.fetch(&target, "").ok()?.text();
        // Of two or three seconds each.
        (list.matches("#EXTINF").count() >= 5).then_some(())
    };
    poll(PATIENCE, lasts_long).expect("ten seconds are recorded");
    let Some((page, begun)) = open_playing(&engine, &name, "start=-7000") else { return };
    let (first, last) = page.watch(watched(8, 4));
    let behind = median(&last.delays);
    println!("recorded: {behind} ms behind, {:?}", last.words);
    assert_eq!((begun.player.as_str(), last.words.as_str()), ("recording", "Recorded"));
    assert!(last.time - first.time > least(0.95) * (last.at - first.at) / 1_000.0, "{first:?} {last:?}");
    assert!(behind > 4_500 && (behind as f64) < most(9_500), "{behind} ms behind: {last:?}");
}

#[test]
fn a_page_waits_for_its_publisher_tells_of_the_end_and_begins_again() {
    needs!("ffmpeg", "browser");
    let engine = Engine::serve().http().start();
    let name = format!("live/{}", unique("later"));
    let page = Page::open(&engine.page(&name));
    page.wait("that it waits", |sight| sight.state == "waiting" && sight.words.contains("by itself"));
    page.wait("that nobody publishes", |sight| sight.words.contains(&format!("Nobody publishes {name}")));
    for _ in 0..2 {
        let publisher = publish(&engine.url(&name), SHOW);
        page.wait("a picture", |sight| sight.state == "playing");
        publisher.signal(streamengine_tests::Signal::INT);
        let ended = page.wait("the end", |sight| sight.state == "ended");
        assert!(ended.words.contains("has ended"), "{ended:?}");
    }
    // The browser itself tells of replies.
    let faults = page.wait("anything", |_| true).faults;
    assert!(faults.iter().all(|fault| fault.contains("404")), "{faults:?}");
}

#[test]
fn a_server_that_is_gone_is_told_of_and_found_again() {
    needs!("ffmpeg", "browser");
    let address = streamengine_tests::free_address();
    let start = || Engine::serve().http_at(address).start();
    let engine = start();
    let name = format!("live/{}", unique("gone"));
    let publisher = publish(&engine.url(&name), SHOW);
    engine.wait_publish(&name);
    let page = Page::open(&engine.page(&name));
    page.wait("a picture", |sight| sight.state == "playing");
    drop((engine, publisher));
    let lost = page.wait("the loss", |sight| sight.state == "lost");
    assert!(lost.words.contains("cannot be reached"), "{lost:?}");
    let engine = start();
    let _publisher = publish(&engine.url(&name), SHOW);
    page.wait("a picture", |sight| sight.state == "playing");
}

#[test]
fn a_codec_that_the_browser_lacks_is_named() {
    needs!("current-ffmpeg", "browser");
    let engine = Engine::serve().http().start();
    let name = format!("live/{}", unique("hevc"));
    let url = engine.url(&name);
    let mut args = vec!["-hide_banner", "-nostdin", "-loglevel", "warning", "-re", "-f", "lavfi", "-i"];
    args.extend([
        "testsrc2=size=320x180:rate=10",
        "-re",
        "-f",
        "lavfi",
        "-i",
        "sine",
        "-c:v",
        "libx265",
        "-preset",
        "ultrafast",
    ]);
    args.extend(["-x265-params", "keyint=10:log-level=error:bframes=0", "-c:a", "aac", "-f", "flv", &url]);
    let ffmpeg = peers::current_ffmpeg().expect("current ffmpeg");
    let _publisher = Proc::spawn("ffmpeg", peers::command(&ffmpeg.to_string_lossy(), args));
    engine.wait_publish(&name);
    let page = Page::open_with(&engine.page(&name), &["--press", "unsupported"]);
    let told = page.wait("that it cannot", |sight| sight.state == "unsupported");
    assert!(told.words.contains("the picture") && told.words.contains("H.265 (HEVC)"), "{told:?}");
    // The button offers what is left.
    page.wait("the sound", |sight| sight.state == "sound-only" && sight.time > 0.0);
}

#[test]
fn a_page_that_nobody_has_touched_plays_without_sound_and_offers_it() {
    needs!("ffmpeg", "browser");
    let engine = Engine::serve().http().start();
    let name = format!("live/{}", unique("muted"));
    let _publisher = publish(&engine.url(&name), SHOW);
    engine.wait_publish(&name);
    let page = Page::open_with(&engine.page(&name), &["--untouched", "--press", "sound"]);
    let silent = page.wait("a picture without sound", |sight| sight.state == "sound");
    assert!(silent.muted && silent.words.contains("without sound"), "{silent:?}");
    let loud = page.wait("the sound", |sight| sight.state == "playing");
    assert!(!loud.muted, "{loud:?}");
}

#[test]
fn pages_have_no_faults_of_accessibility_in_any_width_and_scheme() {
    needs!("ffmpeg", "browser");
    let engine = Engine::serve().http().start();
    let name = format!("live/{}", unique("axe"));
    let waiting = Page::open_with(&engine.page(&name), &["--axe", "--until", "waiting"]);
    assert_eq!(waiting.violations(), [""; 0]);
    drop(waiting);
    let _publisher = publish(&engine.url(&name), SHOW);
    engine.wait_publish(&name);
    let playing = Page::open_with(&engine.page(&name), &["--axe", "--until", "playing"]);
    assert_eq!(playing.violations(), [""; 0]);
    drop(playing);
    let index = Page::open_with(&engine.http_url("/streams"), &["--axe", "--until", "picture"]);
    assert_eq!(index.violations(), [""; 0]);
}

#[test]
fn the_list_of_streams_shows_the_newest_keyframes_that_it_gets() {
    needs!("ffmpeg", "browser");
    let engine =
        Engine::serve().http().config("[apps.live]\n[apps.closed]\naccess = [\"deny play all\"]\n").start();
    let shows =
        [("live", Kinds::Both), ("live", Kinds::Audio), ("closed", Kinds::Both), ("closed", Kinds::Both)];
    let _publishers = shows.map(|(app, kinds)| {
        publish(&engine.url(&format!("{app}/{}", unique("list"))), Show { kinds, ..SHOW })
    });
    let has_keyframes = || {
        let list = HttpPeer::dial(engine.http()).ok()?.fetch("/streams", "").ok()?.text();
        (list.matches("/play/").count() == 4 && list.matches("data-poster").count() == 3).then_some(())
    };
    assert!(poll(PATIENCE, has_keyframes).is_some(), "three streams have keyframes");
    let page = Page::open(&engine.http_url("/streams"));
    let shown = page.wait("a picture", |sight| sight.size.0 == 640);
    let newer = page.wait("a newer picture", |sight| sight.size.0 == 640 && sight.source != shown.source);
    // Of an app that refuses one picture no other is asked for; the browser tells of that one.
    assert!(newer.faults.len() == 1 && newer.faults[0].contains("403"), "{newer:?}");
}
