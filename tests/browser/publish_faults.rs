//! What happens to devices, tabs and machines while a page publishes: it is told in words, and what is left goes on.
#![allow(clippy::print_stdout, reason = "figures that are to be read where a verdict is missed")]

use super::publish::{CLOCK, is_picture, live, now_ms};
use super::published::{self, decoded};
use super::{most, watched};
use std::time::{Duration, Instant};
use streamengine_tests::flv::{Tag, Track};
use streamengine_tests::{Engine, PATIENCE, Recorder, needs};

/// Chooses the first in the list of cameras.
const CHOOSE_CAMERA: &str = "(() => { const list = document.querySelector('#camera'); list.selectedIndex = 0; list.dispatchEvent(new Event('change')); })()";

fn is_sound(tag: &Tag) -> bool {
    tag.track() == Some(Track::Audio) && tag.frame().is_some()
}

/// Waits for so many frames of a kind that come from now on.
fn wait_more(player: &Recorder, count: usize, is: impl Fn(&Tag) -> bool) {
    let before = player.tags().len();
    player.wait_until(PATIENCE, |tags| tags[before..].iter().filter(|(_, tag)| is(tag)).count() >= count);
}

#[test]
fn a_camera_that_is_unplugged_is_told_of_the_sound_goes_on_and_another_is_taken() {
    needs!("ffmpeg", "browser");
    let engine = Engine::serve().http().start();
    let choose = format!("6={CHOOSE_CAMERA}");
    let options = [&CLOCK[..], &["--then", "2=camera.unplug()", "--then", &choose]].concat();
    let (_, studio, player) = live(&engine, &options);
    let told = studio.wait("that the picture has ended", |said| said.notice.contains("picture has ended"));
    assert!(told.state == "live" && told.notice.contains("device is gone"), "{told:?}");
    wait_more(&player, 50, is_sound);
    // It is chosen again.
    wait_more(&player, 60, is_picture);
    let told = studio.wait_state("live");
    assert!(!told.notice.contains("picture has ended") && told.faults.is_empty(), "{told:?}");
    assert!(!player.has_ended());
    let recording = player.stop();
    let gap =
        recording.frames(Track::Video).windows(2).map(|pair| pair[1].timestamp - pair[0].timestamp).max();
    assert!(gap.is_some_and(|gap| gap > 1_000), "{gap:?} ms without a picture");
    assert_eq!(decoded(&recording), (recording.frames(Track::Video).len(), String::new()));
}

#[test]
fn a_tab_is_shared_with_its_sound_and_its_end_is_told_of() {
    needs!("ffmpeg", "current-ffmpeg", "browser");
    let engine = Engine::serve().http().start();
    let choose = format!("10={CHOOSE_CAMERA}");
    let (_, studio, player) = live(&engine, &["--screen", "--unshare", "5", "--then", &choose]);
    let shared = studio.wait_state("live");
    assert!(!shared.notice.contains("without sound"), "{shared:?}");
    wait_more(&player, 50, is_sound);
    let told = studio.wait("that sharing has ended", |said| said.notice.contains("picture has ended"));
    assert!(told.state == "live" && told.notice.contains("sharing was stopped"), "{told:?}");
    // The microphone goes on, and a camera is chosen then.
    wait_more(&player, 50, is_sound);
    wait_more(&player, 60, is_picture);
    let told = studio.wait_state("live");
    assert!(!told.notice.contains("picture has ended") && told.faults.is_empty(), "{told:?}");
    let recording = player.stop();
    let likeness = published::likeness(&recording, published::SHARED);
    let shared = likeness.iter().filter(|&&like| like > 0.9).count() as f64 / 160.0;
    println!("the tone of the tab is heard for {shared:.1} s");
    assert!(shared > 1.0, "{likeness:.1?}");
    assert_eq!(decoded(&recording), (recording.frames(Track::Video).len(), String::new()));
}

#[test]
fn a_page_that_nobody_sees_goes_on() {
    needs!("browser");
    let engine = Engine::serve().http().start();
    let away = watched(20, 8);
    let (_, studio, player) = live(&engine, &["--away", &away.as_secs().to_string()]);
    studio.wait("that nobody sees it", |said| said.hidden);
    let (since, before) = (Instant::now(), player.tags().len());
    std::thread::sleep(away - Duration::from_secs(3));
    let unseen = studio.wait("anything", |_| true);
    let (seconds, tags) = (since.elapsed().as_secs_f64(), player.tags());
    let count =
        |is: fn(&Tag) -> bool| tags[before..].iter().filter(|(_, tag)| is(tag)).count() as f64 / seconds;
    let (pictures, sounds) = (count(is_picture), count(is_sound));
    println!(
        "{pictures:.1} pictures and {sounds:.1} pieces of sound a second for {seconds:.0} s that nobody sees the page"
    );
    assert!(unseen.hidden && pictures > super::least(29.0) && sounds > super::least(45.0), "{unseen:?}");
    let back = studio.wait("that somebody sees it", |said| !said.hidden);
    assert_eq!((back.state.as_str(), back.faults.as_slice()), ("live", &[][..]));
}

#[test]
fn a_machine_that_was_asleep_takes_its_stream_up_by_itself() {
    needs!("ffmpeg", "browser");
    let engine = Engine::serve().http().config("[apps.live]\nresume_window_ms = 60000\n").start();
    let (name, studio, player) = live(&engine, &["--sleep", "10"]);
    // It may be over by the time that the player has its first picture.
    let asleep = studio.first_state("reconnecting");
    assert!(asleep.words.contains("asleep"), "{asleep:?}");
    wait_more(&player, 60, is_picture);
    let back = studio.wait_state("live");
    println!("live again {:.1} s after the machine woke up", (back.at - asleep.at) / 1_000.0);
    assert!(back.at - asleep.at <= most(4_000), "{back:?}");
    assert!(!player.has_ended() && engine.events_of("play-ended").is_empty(), "{name}");
    let recording = player.stop();
    assert_eq!(decoded(&recording), (recording.frames(Track::Video).len(), String::new()));
}

#[test]
fn browsers_without_processors_of_tracks_publish_too() {
    needs!("ffmpeg", "current-ffmpeg", "browser");
    let engine = Engine::serve().http().start();
    let (_, studio, player) =
        live(&engine, &[&CLOCK[..], &["--without", "MediaStreamTrackProcessor"]].concat());
    std::thread::sleep(watched(20, 6));
    let last = studio.wait_state("live");
    let recording = player.stop();
    let skews = published::skews(&recording, now_ms());
    let worst = skews.iter().map(|skew| skew.abs()).fold(0.0, f64::max);
    let likeness = published::likeness(&recording, published::TONE);
    let spoiled = likeness.iter().filter(|&&like| like < 0.99).count();
    println!(
        "without processors of tracks: sound comes within {worst:.1} ms of its picture ({skews:.1?}), {spoiled} of {} pieces spoiled; \
         {} pictures a second",
        likeness.len(),
        last.number("Pictures a second")
    );
    // A graph of sound holds samples back for a time that it does not tell.
    assert!(skews.len() > 3 && worst <= most(60), "{skews:?}");
    assert_eq!(decoded(&recording), (recording.frames(Track::Video).len(), String::new()));
    assert_eq!(last.faults, [""; 0]);
}
