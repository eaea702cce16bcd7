//! What a player of low-latency HLS may ask for: playlists and parts that are still to come, less than all, and nonsense.

use super::{Latency, serve};
use flate2::read::GzDecoder;
use std::io::Read;
use std::time::{Duration, Instant};
use streamengine_tests::hls::{HlsPeer, Playlist};
use streamengine_tests::http::HttpPeer;
use streamengine_tests::synthetic::{Shape, Source};
use streamengine_tests::{Engine, PATIENCE, at_most, unique};

/// An engine with a stream of 25 pictures and a keyframe each second, and a viewer of it.
fn watched(window_s: u64) -> (Engine, Source, HlsPeer) {
    let engine = serve(Latency::Low, window_s).start();
    let name = format!("live/{}", unique("reload"));
    let source = Source::publish(engine.rtmp, &name, Shape::bits_per_second(400_000));
    let viewer = HlsPeer::open(engine.http(), &name);
    (engine, source, viewer)
}

/// The part that comes after what a playlist lists, as a player asks for it.
fn next_part(list: &Playlist) -> String {
    format!("_HLS_msn={}&_HLS_part={}", list.next(), list.open.len())
}

/// Whether a playlist is so far.
fn lists(list: &Playlist, number: u64, part: usize) -> bool {
    list.next() > number || (list.next() == number && list.open.len() > part)
}

#[test]
fn a_reload_is_answered_as_soon_as_its_part_is_there() {
    let (engine, _source, mut viewer) = watched(12);
    let mut late = Vec::new();
    let mut list = viewer.list("");
    for _ in 0..15 {
        let (number, part) = (list.next(), list.open.len());
        let mut other = viewer.again(engine.http());
        let poller = std::thread::spawn(move || {
            let end = Instant::now() + PATIENCE;
            while !lists(&other.list(""), number, part) {
                assert!(Instant::now() < end, "part {part} of {number} did not come");
            }
            Instant::now()
        });
        list = viewer.list(&next_part(&list));
        let answered = Instant::now();
        assert!(lists(&list, number, part), "{number} {part}: {list:?}");
        late.push(answered.saturating_duration_since(poller.join().expect("the poller")));
    }
    // A machine that is busy makes some late, of both.
    late.sort_unstable();
    assert!(late[late.len() / 2] <= at_most(Duration::from_millis(100)), "{late:?}");
}

#[test]
fn a_reload_of_a_whole_segment_waits_for_its_end() {
    let (_engine, _source, mut viewer) = watched(12);
    let list = viewer.list("");
    let begun = Instant::now();
    let then = viewer.list(&format!("_HLS_msn={}", list.next()));
    assert!(then.next() > list.next(), "{list:?} {then:?}");
    assert!(begun.elapsed() < PATIENCE / 2);
    // One behind the last part of a segment is the first of the next.
    let then = viewer.list(&format!("_HLS_msn={}&_HLS_part=40", then.next() - 1));
    assert!(!then.open.is_empty());
}

#[test]
fn what_makes_no_sense_is_refused_at_once() {
    let (_engine, _source, mut viewer) = watched(12);
    let list = viewer.list("");
    let far = list.next();
    let begun = Instant::now();
    for query in [
        "_HLS_part=0".to_owned(),
        "_HLS_msn=x".to_owned(),
        "_HLS_msn=-1".to_owned(),
        format!("_HLS_msn={far}&_HLS_part=x"),
        format!("_HLS_msn={}", far + 9),
        format!("_HLS_msn={}&_HLS_part=0", far + 9),
        format!("_HLS_msn={}&_HLS_part=90", far + 1),
    ] {
        assert_eq!(viewer.ask(&query).status, 400, "{query}");
    }
    let hint = list.hint.expect("a hint");
    let (folder, _) = hint.rsplit_once('/').expect("a folder");
    let init = list.segments[0].map.clone().expect("a map");
    assert_eq!(viewer.load(&init, "").status, 200);
    for name in [
        "vp999999.m4s",
        "v1.m4s",
        "v999999999999.m4s",
        "vi99.mp4",
        "a1-p1.m4s",
        "vp-1.m4s",
        "x.m4s",
        "vp.m4s",
    ] {
        assert_eq!(viewer.load(&format!("{folder}/{name}"), "").status, 404, "{name}");
    }
    let other = format!("{}/{}", "0".repeat(folder.len()), hint.rsplit('/').next().expect("a name"));
    assert_eq!(viewer.load(&other, "").status, 404, "{other}");
    assert!(
        begun.elapsed() < at_most(Duration::from_secs(3)),
        "nothing of that is waited for: {:?}",
        begun.elapsed()
    );
}

#[test]
fn who_waits_for_a_stream_that_stands_still_is_told_so() {
    let (_engine, source, mut viewer) = watched(12);
    let patience = Duration::from_secs(3 * viewer.list("").target);
    source.pause();
    // What is on its way still comes.
    let (answer, waited) = loop {
        let query = next_part(&viewer.list(""));
        let begun = Instant::now();
        let answer = viewer.ask(&query);
        if answer.status != 200 {
            break (answer, begun.elapsed());
        }
    };
    assert_eq!(answer.status, 503, "{}", answer.text());
    let expected = patience - Duration::from_millis(100)..patience + at_most(Duration::from_secs(3));
    assert!(expected.contains(&waited), "after {waited:?}, not {patience:?}");
    assert!(answer.head.contains("\r\nretry-after: "), "{}", answer.head);
}

#[test]
fn a_part_that_is_announced_comes_whole_once_it_is_there() {
    let (_engine, _source, mut viewer) = watched(12);
    for _ in 0..5 {
        let list = viewer.list("");
        let hint = list.hint.clone().expect("a hint");
        let waited = viewer.load(&hint, "");
        assert_eq!(waited.status, 200);
        let then = viewer.list("");
        assert!(lists(&then, list.next(), list.open.len()), "{hint} came before it was there");
        assert!(waited.head.contains("\r\ncontent-type: video/"), "{}", waited.head);
        assert!(waited.body.len() > 100 && waited.body[4..8] == *b"moof", "{} bytes", waited.body.len());
        let again = viewer.load(&hint, "");
        assert!(again.body == waited.body, "{} and {} bytes", again.body.len(), waited.body.len());
        let range = viewer.load(&hint, "Range: bytes=4-99\r\n");
        let told = format!("\r\ncontent-range: bytes 4-99/{}\r\n", waited.body.len());
        assert!(range.status == 206 && range.head.contains(&told), "{}", range.head);
        assert!(range.body == waited.body[4..100], "{} bytes", range.body.len());
        let beyond = viewer.load(&hint, "Range: bytes=99999999-\r\n");
        assert_eq!(beyond.status, 416);
    }
}

#[test]
fn parts_make_the_segment() {
    let (_engine, _source, mut viewer) = watched(12);
    let mut list = viewer.list("");
    let number = list.next() + 1;
    let mut parts: Vec<String> = Vec::new();
    while list.next() <= number {
        let open = list.open.iter().filter(|_| list.next() == number);
        let news: Vec<_> = open.map(|part| part.uri.clone()).filter(|uri| !parts.contains(uri)).collect();
        parts.extend(news);
        list = viewer.list(&next_part(&list));
    }
    // The last one is only in the playlist that has the whole segment; the hint had its name.
    let text = viewer.ask("").text();
    let segment = list.segments.iter().find(|segment| segment.number == number).expect("the segment");
    let (_, before) = text.split_once(&parts[0]).expect("the first part");
    let (before, _) = before.split_once(&segment.uri).expect("the segment");
    let rest = before.lines().filter_map(|line| streamengine_tests::hls::attribute(line, "URI"));
    let all: Vec<String> = std::iter::once(parts[0].clone()).chain(rest.map(str::to_owned)).collect();
    assert!(all.len() >= 4, "{all:?}");
    let joined: Vec<u8> = all.iter().flat_map(|uri| viewer.load(uri, "").body).collect();
    let whole = viewer.load(&segment.uri, "").body;
    assert!(joined == whole, "{} bytes of parts, {} of the segment", joined.len(), whole.len());
}

#[test]
fn a_delta_on_what_was_before_is_the_whole() {
    let (_engine, _source, mut viewer) = watched(20);
    let mut before = viewer.list("");
    // Two segments more than what is never skipped.
    while before.segments.len() < 6 * usize::try_from(before.target).expect("a target") + 2 {
        before = viewer.list(&format!("_HLS_msn={}", before.next()));
    }
    let mut compared = 0;
    for _ in 0..30 {
        let query = next_part(&viewer.list(""));
        let delta = viewer.list(&format!("{query}&_HLS_skip=YES"));
        let whole = viewer.list(&query);
        assert!(delta.skipped > 0, "{delta:?}");
        if delta.hint == whole.hint {
            assert_eq!(delta.onto(&before), whole.segments);
            assert_eq!(
                (delta.open, delta.first, delta.breaks),
                (whole.open.clone(), whole.first, whole.breaks)
            );
            compared += 1;
        }
        before = whole;
    }
    assert!(compared >= 10, "{compared} of one moment");
}

#[test]
fn playlists_are_packed_for_who_asks_and_heads_are_those_of_replies() {
    let (engine, source, mut viewer) = watched(12);
    source.pause();
    // Who waits for a part that does not come has seen the last change.
    loop {
        let query = next_part(&viewer.list(""));
        if viewer.ask(&query).status != 200 {
            break;
        }
    }
    let text = viewer.ask("").text();
    let target = viewer.target(&viewer.playlist.clone());
    let packed = viewer.raw().fetch(&target, "Accept-Encoding: br, gzip\r\n").expect("an answer");
    assert!(packed.head.contains("\r\ncontent-encoding: gzip\r\n"), "{}", packed.head);
    assert!(packed.head.contains("\r\nvary: "), "{}", packed.head);
    let mut plain = String::new();
    GzDecoder::new(&packed.body[..]).read_to_string(&mut plain).expect("gzip");
    assert_eq!(plain, text);
    let refused = viewer.raw().fetch(&target, "Accept-Encoding: gzip;q=0\r\n").expect("an answer");
    assert_eq!(refused.text(), text);
    let uri = Playlist::read(&text).segments[0].uri.clone();
    for target in [target.clone(), viewer.target(&uri)] {
        let reply = viewer.raw().fetch(&target, "").expect("an answer");
        let mut peer = HttpPeer::dial(engine.http()).expect("connect");
        peer.send(format!("HEAD {target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"));
        let (status, head) = peer.head().expect("a head");
        assert_eq!(status, 200, "{target}");
        let length = format!("\r\ncontent-length: {}\r\n", reply.body.len());
        assert!(head.contains(&length), "{target}: {head}");
        assert_eq!(peer.rest(), b"", "{target}");
    }
}
