//! Publishers and servers that go and come back, and viewers: what players who go on asking see.

use super::{AAC, H264, Latency, made_clip_of_size, serve};
use crate::hooks::service::{Says, Service};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use streamengine_tests::hls::{HlsPeer, Playlist};
use streamengine_tests::http::HttpPeer;
use streamengine_tests::peers::{Ffmpeg, command};
use streamengine_tests::synthetic::{Shape, Source};
use streamengine_tests::{Engine, PATIENCE, Proc, Signal, at_most, free_address, needs, unique};

/// All that a player has seen of a stream.
#[derive(Default)]
struct Watched {
    first: u64,
    breaks: u64,
    /// Where segments are, by their numbers, and whether there is a break before each.
    segments: BTreeMap<u64, (String, bool)>,
    maps: BTreeSet<String>,
}

impl Watched {
    /// Fails the test where a playlist contradicts an older one.
    fn note(&mut self, list: &Playlist) {
        assert!(list.first >= self.first, "MEDIA-SEQUENCE went from {} back to {}", self.first, list.first);
        assert!(list.breaks >= self.breaks, "DISCONTINUITY-SEQUENCE went back");
        (self.first, self.breaks) = (list.first, list.breaks);
        for segment in &list.segments {
            let seen = (segment.uri.clone(), segment.is_break);
            let before = self.segments.insert(segment.number, seen.clone());
            assert!(before.as_ref().is_none_or(|before| *before == seen), "{before:?} is {seen:?}");
            self.maps.extend(segment.map.clone());
        }
    }

    fn breaks(&self) -> usize {
        self.segments.values().filter(|(_, is_break)| *is_break).count()
    }
}

/// Reloads as a player does, until `enough` says so.
fn watch(viewer: &mut HlsPeer, watched: &mut Watched, mut enough: impl FnMut(&Watched) -> bool) {
    let end = Instant::now() + PATIENCE;
    let mut query = String::new();
    while !enough(watched) {
        assert!(Instant::now() < end, "{} segments, {} breaks", watched.segments.len(), watched.breaks());
        let answer = viewer.ask(&query);
        // A stream that stands still; a player asks again.
        if answer.status == 503 {
            query.clear();
            continue;
        }
        assert_eq!(answer.status, 200, "{query}: {}", answer.text());
        let list = Playlist::read(&answer.text());
        watched.note(&list);
        query = format!("_HLS_msn={}&_HLS_part={}", list.next(), list.open.len());
    }
}

/// Width and height of the pictures in a segment, with what decoders need first.
fn size_of(viewer: &mut HlsPeer, map: &str, uri: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("segment.mp4");
    let bytes = [viewer.load(map, "").body, viewer.load(uri, "").body].concat();
    std::fs::write(&file, bytes).expect("write");
    let args =
        ["-v", "error", "-select_streams", "v", "-show_entries", "stream=width,height", "-of", "csv=p=0"];
    let mut command = command("ffprobe", args);
    command.arg(&file);
    let probe = Proc::spawn("ffprobe", command);
    probe.succeed(PATIENCE);
    probe.out.all().concat()
}

#[test]
fn a_publisher_that_comes_back_with_another_size_is_one_discontinuity() {
    needs!("ffmpeg", "ffprobe");
    let folder = tempfile::tempdir().expect("a folder");
    let clips = ["320x180", "640x360"]
        .map(|size| made_clip_of_size(Ffmpeg::System, folder.path(), Some(H264), Some(AAC), size));
    let engine = serve(Latency::Low, 60).start();
    let name = format!("live/{}", unique("back"));
    let first = Ffmpeg::System.publish_forever(&clips[0], &engine.url(&name));
    engine.wait_publish(&name);
    let mut viewer = HlsPeer::open(engine.http(), &name);
    let mut watched = Watched::default();
    watch(&mut viewer, &mut watched, |watched| watched.segments.len() >= 3);
    // An encoder that dies says nothing to the server.
    first.signal(Signal::KILL);
    first.wait(PATIENCE);
    let gone = Instant::now();
    let _second = Ffmpeg::System.publish_forever(&clips[1], &engine.url(&name));
    watch(&mut viewer, &mut watched, |watched| watched.breaks() >= 1);
    let back = gone.elapsed();
    let there = watched.segments.len();
    watch(&mut viewer, &mut watched, |watched| watched.segments.len() >= there + 5);
    assert_eq!(watched.breaks(), 1, "{:#?}", watched.segments);
    assert!(back < at_most(Duration::from_secs(8)), "it was listed again after {back:?}");
    let list = viewer.list("");
    let size = |viewer: &mut HlsPeer, segment: &streamengine_tests::hls::Segment| {
        size_of(viewer, segment.map.as_deref().expect("a map"), &segment.uri)
    };
    assert_eq!(size(&mut viewer, &list.segments[0].clone()), "320,180");
    assert_eq!(size(&mut viewer, &list.segments.last().expect("one").clone()), "640,360");
    let (before, after): (Vec<_>, Vec<_>) = {
        let at = list.segments.iter().position(|segment| segment.is_break).expect("the break");
        let maps: Vec<_> = list.segments.iter().map(|segment| segment.map.clone()).collect();
        (maps[..at].to_vec(), maps[at..].to_vec())
    };
    assert!(before.iter().all(|map| !after.contains(map)), "{before:?} {after:?}");
}

#[test]
fn a_killed_server_goes_on_with_higher_numbers_at_the_same_url() {
    let http = free_address();
    let rtmp = free_address();
    let name = format!("live/{}", unique("killed"));
    let start = || {
        let engine = serve(Latency::Low, 12).rtmp(rtmp).http_at(http).start();
        let source = Source::publish(engine.rtmp, &name, Shape::bits_per_second(400_000));
        (engine, source)
    };
    let (engine, source) = start();
    let mut viewer = HlsPeer::open(http, &name);
    let mut watched = Watched::default();
    watch(&mut viewer, &mut watched, |watched| watched.segments.len() >= 4);
    engine.process.signal(Signal::KILL);
    engine.process.wait(PATIENCE);
    drop((engine, source));
    let last = *watched.segments.keys().next_back().expect("a segment");
    let (engine, _source) = start();
    let mut viewer = viewer.again(http);
    // It asks for what would have come next, as it did not see the end.
    let asked = Instant::now();
    let answer = viewer.ask(&format!("_HLS_msn={}&_HLS_part=0", last + 1));
    assert!(asked.elapsed() < at_most(Duration::from_secs(10)), "{:?}", asked.elapsed());
    assert!(answer.status == 200, "{} {}", answer.status, answer.text());
    let list = Playlist::read(&answer.text());
    assert!(list.first > last, "{} is not behind {last}", list.first);
    watch(&mut viewer, &mut watched, |watched| watched.segments.keys().next_back() > Some(&(last + 3)));
    // One viewer, still under its token.
    assert_eq!(engine.events_of("play-started").len(), 1);
}

#[test]
fn a_viewer_is_asked_about_once_and_leaves_three_target_durations_after_its_last_request() {
    let target = Engine::start();
    let service = Service::start(target.rtmp);
    let hooks = format!("\n[hooks]\non_play = \"http://{}/hooks\"\n", service.address);
    let engine = Engine::serve().http().config(hooks).start();
    let name = format!("live/{}", unique("viewer"));
    let _source = Source::publish(engine.rtmp, &name, Shape::bits_per_second(400_000));
    engine.wait_publish(&name);
    let mut viewer = HlsPeer::open(engine.http(), &name);
    let mut list = viewer.list("");
    for round in 0..20 {
        let query = format!("_HLS_msn={}&_HLS_part={}", list.next(), list.open.len());
        // Players open new connections as they like.
        if round % 5 == 4 {
            viewer = viewer.again(engine.http());
        }
        list = viewer.list(&query);
        let part = list.open.last().map(|part| part.uri.clone());
        part.into_iter().for_each(|uri| assert_eq!(viewer.load(&uri, "").status, 200));
    }
    let last = Instant::now();
    let plays = service.asked_since(0).iter().filter(|asked| asked.call() == "play").count();
    assert_eq!(plays, 1, "{:#?}", service.asked_since(0));
    let started = engine.events_of("play-started");
    assert_eq!((started.len(), &started[0]["door"]), (1, &serde_json::json!("hls")), "{started:?}");
    let ended = engine.wait("play-ended", |event| event["stream"] == name.as_str());
    let (gone, patience) = (last.elapsed(), Duration::from_secs(3 * list.target));
    let expected = patience - Duration::from_millis(500)..patience + at_most(Duration::from_secs(2));
    assert!(expected.contains(&gone), "gone after {gone:?}, not {patience:?}");
    assert!(ended["bytes_sent"].as_u64() > Some(10_000), "{ended}");
    // Who is back is asked about again.
    viewer.list("");
    engine.wait_players(&name, 2);
    let plays = service.asked_since(0).iter().filter(|asked| asked.call() == "play").count();
    assert_eq!(plays, 2);
}

#[test]
fn a_viewer_that_may_not_go_on_gets_no_more_playlists() {
    let target = Engine::start();
    let service = Service::start(target.rtmp);
    let address = service.address;
    let hooks = format!(
        "\n[hooks]\non_play = \"http://{address}/hooks\"\non_update = \"http://{address}/hooks\"\nupdate_every_ms = 1000\n"
    );
    let engine = Engine::serve().http().config(hooks).start();
    let name = format!("live/{}", unique("kicked"));
    let _source = Source::publish(engine.rtmp, &name, Shape::bits_per_second(400_000));
    engine.wait_publish(&name);
    let mut viewer = HlsPeer::open(engine.http(), &name);
    let mut watched = Watched::default();
    watch(&mut viewer, &mut watched, |watched| watched.segments.len() >= 2);
    service.says(Says::Reply("403 Forbidden", "", ""));
    let end = Instant::now() + PATIENCE;
    let status = loop {
        let answer = viewer.ask("");
        if answer.status != 200 {
            break answer.status;
        }
        assert!(Instant::now() < end, "it still gets playlists");
    };
    assert_eq!(status, 403);
    engine.wait("play-ended", |event| event["stream"] == name.as_str());
    assert_eq!(viewer.ask("_HLS_msn=1").status, 403);
    let another =
        HttpPeer::dial(engine.http()).and_then(|mut peer| peer.fetch(&format!("/{name}/index.m3u8"), ""));
    assert_eq!(another.expect("an answer").status, 403);
}
