//! The page that publishes, in Chromium: what goes out arrives whole and in time, also where the way is bad, and what goes wrong is
//! told in words.
#![allow(clippy::print_stdout, reason = "figures that are to be read where a verdict is missed")]

use super::hls::{Player, fatal};
use super::{is_idle, median, most, watched};
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};
use streamengine_tests::browser::{Page, Said, Sight, Studio};
use streamengine_tests::flv::{Recording, Tag, Track};
use streamengine_tests::{Engine, Fault, PATIENCE, Proxy, Recorder, needs, peers, unique};

/// A picture of ours in which there is a time and much else, and what is wished for.
const NOISE: [&str; 4] = ["--shows", "noise", "--wish", "640x360,2500"];
/// The same without much else.
const CLOCK: [&str; 2] = ["--shows", "clock"];

/// Milliseconds since 1970.
fn now_ms() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs_f64() * 1_000.0
}

/// When something was, as the clock on the wall has it.
fn wall(at: Instant) -> f64 {
    now_ms() - at.elapsed().as_secs_f64() * 1_000.0
}

/// A page that is live, the name of its stream, and a player.
fn live(engine: &Engine, options: &[&str]) -> (String, Studio, Recorder) {
    let name = format!("live/{}", unique("studio"));
    let studio = Studio::open(&engine.studio(&name), options);
    engine.wait_publish(&name);
    let player = Recorder::play(engine.rtmp, &name);
    player.wait_until(PATIENCE, |tags| tags.iter().any(|(_, tag)| is_picture(tag)));
    (name, studio, player)
}

fn is_picture(tag: &Tag) -> bool {
    tag.track() == Some(Track::Video) && tag.frame().is_some()
}

fn pictures(tags: &[(Instant, Tag)]) -> Vec<&(Instant, Tag)> {
    tags.iter().filter(|(_, tag)| is_picture(tag)).collect()
}

/// By how many ms each picture since then came later than the one that came soonest.
fn lateness(tags: &[(Instant, Tag)], from: Instant, until: Instant) -> Vec<u64> {
    let age = |(at, tag): &(Instant, Tag)| wall(*at) - f64::from(tag.timestamp);
    let pictures = pictures(tags);
    let soonest = pictures.iter().map(|picture| age(picture)).fold(f64::INFINITY, f64::min);
    let during = pictures.iter().filter(|(at, _)| *at >= from && *at < until);
    during.map(|picture| (age(picture) - soonest).max(0.0) as u64).collect()
}

/// What ffmpeg of the distribution says of the pictures, which is nothing where it can decode them all.
fn decoded(recording: &Recording) -> (usize, String) {
    let folder = tempfile::tempdir().expect("temporary folder");
    let file = folder.path().join("published.flv");
    fs::write(&file, recording.file()).expect("a file");
    let args = ["-v", "error", "-i", &file.to_string_lossy(), "-map", "0:v", "-f", "framemd5", "-"];
    let done = peers::command("ffmpeg", args).output().expect("ffmpeg");
    let frames = String::from_utf8_lossy(&done.stdout).lines().filter(|line| !line.starts_with('#')).count();
    (frames, String::from_utf8_lossy(&done.stderr).into_owned())
}

#[test]
fn a_page_is_seen_two_seconds_after_it_goes_live_and_loses_no_picture() {
    needs!("ffmpeg", "browser");
    let engine = Engine::serve().http().start();
    let (_, studio, player) = live(&engine, &[]);
    let first = pictures(&player.tags()).first().map(|(at, _)| wall(*at)).expect("a picture");
    let took = first - studio.pressed();
    std::thread::sleep(watched(60, 10));
    let last = studio.wait_state("live");
    let (left_out, all) = last.left_out().expect("counts");
    player.wait_until(PATIENCE, |tags| pictures(tags).len() as u64 >= all - left_out);
    let recording = player.stop();
    let times: Vec<_> = recording.frames(Track::Video).iter().map(|tag| tag.timestamp).collect();
    let gap = times.windows(2).map(|pair| pair[1] - pair[0]).max().expect("pictures");
    let bytes: usize = recording.tags.iter().map(|tag| tag.body.len()).sum();
    let (frames, said) = decoded(&recording);
    println!(
        "the first picture {took:.0} ms after the button; {} of {all} pictures at {}, at most {gap} ms apart, {} kbit/s, \
         {left_out} left out",
        times.len(),
        last.number("Picture"),
        bytes * 8 / usize::try_from(times.last().expect("a time") - times[0]).expect("some time").max(1)
    );
    assert!(took <= most(2_000), "{took} ms");
    assert!(times.windows(2).all(|pair| pair[1] > pair[0]), "{times:?}");
    assert_eq!((frames, said.as_str()), (times.len(), ""));
    assert!(!is_idle() || (left_out == 0 && gap < 100), "{left_out} left out, {gap} ms");
    assert_eq!((last.number("Picture"), last.faults.as_slice()), ("1280 × 720", &[][..]));
}

/// Seconds at which a filter of ffmpeg's says something, in what it prints.
fn times_of(text: &str, before: &str) -> Vec<f64> {
    let of = |part: &str| part.split([' ', '\n']).next()?.parse().ok();
    text.split(before).skip(1).filter_map(of).collect()
}

/// Ms from each picture that turns white to the tone nearest to it.
fn skews(recording: &Recording) -> Vec<f64> {
    let folder = tempfile::tempdir().expect("temporary folder");
    let file = folder.path().join("published.flv");
    fs::write(&file, recording.file()).expect("a file");
    let filtered = |kind: &str, filter: &str| {
        let program = peers::current_ffmpeg().expect("a current ffmpeg");
        let mut command = Command::new(program);
        command.args(["-hide_banner", "-nostdin", "-copyts", "-i"]).arg(&file).args(["-map", kind]);
        let filter_option = if kind == "0:v" { "-vf" } else { "-af" };
        let done = command.args([filter_option, filter, "-f", "null", "-"]).output().expect("ffmpeg");
        String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned()
    };
    let light = "crop=iw/4:ih/4:0:0,scale=32:24,signalstats,metadata=print:key=lavfi.signalstats.YAVG:file=-";
    let text = filtered("0:v", light);
    let lights: Vec<_> =
        times_of(&text, "pts_time:").into_iter().zip(times_of(&text, "signalstats.YAVG=")).collect();
    let whites =
        lights.windows(2).filter(|pair| pair[0].1 < 128.0 && pair[1].1 > 128.0).map(|pair| pair[1].0);
    let tones = times_of(&filtered("0:a", "silencedetect=noise=-30dB:d=0.2"), "silence_end: ");
    let nearest = |white: f64| {
        let apart = tones.iter().map(|tone| (tone - white) * 1_000.0);
        apart.min_by(|a, b| a.abs().total_cmp(&b.abs()))
    };
    whites.filter_map(nearest).collect()
}

#[test]
fn picture_and_sound_are_together() {
    needs!("current-ffmpeg", "browser");
    let engine = Engine::serve().http().start();
    let (_, studio, player) = live(&engine, &CLOCK);
    std::thread::sleep(watched(20, 8));
    let last =
        studio.wait("sound", |said| ["Opus", "AAC", "AAC (WebAssembly)"].contains(&said.number("Sound")));
    let mut skews = skews(&player.stop());
    skews.sort_by(f64::total_cmp);
    let middle = skews[skews.len() / 2];
    println!("sound ({}) comes {middle:.0} ms after its picture: {skews:.0?}", last.number("Sound"));
    assert!(skews.len() > 4 && middle.abs() <= most(40), "{skews:?}");
}

#[test]
fn a_squeezed_way_makes_less_of_the_picture_and_nothing_late_and_all_comes_back() {
    needs!("browser");
    let engine = Engine::serve().http().start();
    let proxy = Proxy::to(engine.http());
    let name = format!("live/{}", unique("squeeze"));
    let studio = Studio::open(&format!("http://{}/publish/{name}", proxy.address), &NOISE);
    engine.wait_publish(&name);
    let player = Recorder::play(engine.rtmp, &name);
    std::thread::sleep(watched(6, 5));
    let before = studio.wait_state("live");
    proxy.set(Fault::Squeeze(700_000 / 8));
    let squeezed = Instant::now();
    let slow =
        studio.wait("words of a slow way", |said| said.state == "adapting" && said.words.contains("slow"));
    std::thread::sleep(Duration::from_secs(12).saturating_sub(squeezed.elapsed()));
    let during = studio.wait("anything", |_| true);
    proxy.set(Fault::None);
    let over = Instant::now();
    let after = studio.wait("all of it", |said| said.state == "live");
    let back = over.elapsed();
    let tags = player.tags();
    let settled = squeezed + Duration::from_secs(3);
    let late = lateness(&tags, settled, over);
    let at_first = lateness(&tags, squeezed, settled);
    let worst = late.iter().max().copied().unwrap_or_default();
    println!(
        "before {}, squeezed {} after {:.1} s ({}), then {}; pictures {worst} ms late at most after 3 s (median {}), {} before \
         that; all back after {:.1} s",
        before.number("Sent"),
        during.number("Sent"),
        (slow.at - wall(squeezed)) / 1_000.0,
        slow.words,
        after.number("Sent"),
        median(&late),
        at_first.iter().max().copied().unwrap_or_default(),
        back.as_secs_f64()
    );
    assert!((worst as f64) <= most(600) && late.len() > 40, "{late:?}");
    assert!(back.as_secs_f64() * 1_000.0 <= most(15_000), "{back:?}");
    assert!(!player.has_ended(), "its player has stayed");
}

#[test]
fn a_page_takes_its_stream_up_again_after_a_cut_and_players_stay() {
    needs!("ffmpeg", "browser");
    let engine = Engine::serve().http().start();
    let proxy = Proxy::to(engine.http());
    let name = format!("live/{}", unique("cut"));
    let studio = Studio::open(&format!("http://{}/publish/{name}", proxy.address), &CLOCK);
    engine.wait_publish(&name);
    let player = Recorder::play(engine.rtmp, &name);
    player.wait_tags(100);
    let mark = engine.lines().mark();
    proxy.set(Fault::Cut);
    studio.wait_state("reconnecting");
    std::thread::sleep(Duration::from_secs(5));
    proxy.set(Fault::None);
    let since = Instant::now();
    engine.wait_after(mark, "stream-started", PATIENCE, |event| event["stream"] == name);
    let seen = player.tags().len();
    player.wait_until(PATIENCE, |tags| tags[seen..].iter().any(|(_, tag)| is_picture(tag)));
    let took = since.elapsed();
    studio.wait_state("live");
    assert!(!player.has_ended() && engine.events_of("play-ended").is_empty());
    let recording = player.stop();
    let (frames, said) = decoded(&recording);
    println!("pictures again {:.1} s after the way was there again", took.as_secs_f64());
    assert_eq!((frames, said.as_str()), (recording.frames(Track::Video).len(), ""));
    assert!(took.as_secs_f64() * 1_000.0 <= most(6_000), "{took:?}");
}

#[test]
fn viewers_by_every_door_go_on_through_another_size() {
    needs!("browser", "npm:hls.js");
    let engine = Engine::serve().http().start();
    let name = format!("live/{}", unique("resize"));
    // Another one every 8 s.
    let turn = "0=let large = true; setInterval(() => camera.resize(...(large = !large) ? [640, 360] : [480, 270]), 8000)";
    let options = [&CLOCK[..], &["--then", turn]].concat();
    let studio = Studio::open(&engine.studio(&name), &options);
    engine.wait_publish(&name);
    let player = Recorder::play(engine.rtmp, &name);
    let page = |query: &str| Page::open(&format!("{}?{query}", engine.page(&name)));
    for what in ["player=mse&transport=ws", "player=mse&transport=http", "HLS"] {
        let page = if what == "HLS" { Player::LowLatency.open(&engine, &name) } else { page(what) };
        // The browser's own start takes as long as it likes.
        page.wait("a page", |_| true);
        page.wait(what, |sight| sight.size.0 > 0 && sight.frames > 5);
        let before = studio.wait("a size", |said| !said.number("Picture").is_empty());
        let other = studio.wait("another size", |said| said.number("Picture") != before.number("Picture"));
        let is_there = |sight: &Sight| other.number("Picture").starts_with(&sight.size.0.to_string());
        let seen = page.wait(what, is_there);
        page.wait("pictures that move", |sight| sight.frames > seen.frames + 10 && sight.time > seen.time);
        let took = now_ms() - other.at;
        println!("{what}: pictures of another size {took:.0} ms after the page told of it");
        assert!(fatal(&seen).is_empty() && took <= most(2_000), "{what}: {took} ms, {seen:?}");
    }
    let headers = player.stop().headers(Track::Video).len();
    assert!(headers >= 2, "{headers}");
}

fn refused(studio: &Studio) -> Said {
    studio.wait_state("refused")
}

#[test]
fn a_wrong_key_is_told_in_words_and_stays_in_no_address() {
    needs!("browser");
    let engine = Engine::serve().http().key("right").start();
    let name = format!("live/{}", unique("key"));
    let wrong = refused(&Studio::open(&format!("{}#key=wrong", engine.studio(&name)), &[]));
    assert!(wrong.words.contains("stream key") && wrong.url == engine.studio(&name), "{wrong:?}");
    let studio = Studio::open(&format!("{}#key=right", engine.studio(&name)), &[]);
    let live = studio.wait_state("live");
    assert!(live.url == engine.studio(&name) && live.faults.is_empty(), "{live:?}");
    let second = Studio::open(&format!("{}#key=wrong", engine.studio(&name)), &[]);
    assert!(refused(&second).words.contains("refuses"));
    assert_eq!(studio.wait("anything", |_| true).state, "live");
}

#[test]
fn a_page_says_how_it_is_to_be_opened_and_what_it_may_not() {
    needs!("browser");
    let engine = Engine::serve().http().start();
    let port = engine.http().port();
    let insecure = Studio::open(&format!("http://insecure.test:{port}/publish/live/a"), &[]);
    let said = insecure.wait_state("insecure");
    assert!(said.words.contains("https"), "{said:?}");
    let denied = Studio::open(&engine.studio("live/a"), &["--denied"]);
    let said = denied.wait_state("denied");
    assert!(said.words.contains("allow"), "{said:?}");
}

#[test]
fn axe_finds_nothing_on_a_page_that_publishes() {
    needs!("browser", "npm:axe-core");
    let engine = Engine::serve().http().start();
    let (_, studio, _player) = live(&engine, &["--axe"]);
    for state in ["setup", "preview", "live"] {
        let violations = studio.violations(state);
        assert!(violations.is_empty(), "{state}: {violations:#?}");
    }
    drop(studio);
    let refusing = Engine::serve().http().key("right").start();
    let studio = Studio::open(&refusing.studio("live/a"), &["--axe"]);
    let violations = studio.violations("refused");
    assert!(violations.is_empty(), "{violations:#?}");
}
