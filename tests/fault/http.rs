//! Players over HTTP and WebSocket under the attacks of the fault table: F19, F20, F36, F37, F41, F43, F46, and those that
//! only HTTP knows.

use crate::players::{Trickler, assert_unharmed, wait_until_closed};
use crate::timed;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use streamengine_tests::http::{HttpPeer, WAYS, Way, get, upgrade};
use streamengine_tests::synthetic::{Shape, Source, Watcher, granted};
use streamengine_tests::tls::{Authority, Validity};
use streamengine_tests::{Engine, PATIENCE, Proc, Signal, at_most, needs, poll, raise_file_limit};

/// A player with small buffers of its own.
fn small(server: SocketAddr, way: Way, name: &str) -> HttpPeer {
    let mut peer = HttpPeer::dial_with(server, None, Some(4_096)).expect("connect");
    assert!([200, 101].contains(&peer.play(way, name).expect("play")));
    peer
}

#[test]
fn f19_tricklers_over_http_cost_themselves_only_and_are_closed() {
    let engine = Engine::serve().http().limit("ring_ms", 4_000).start();
    let source = Source::publish(engine.rtmp, "live/big", Shape::bits_per_second(6_000_000));
    let healthy = WAYS.map(|way| Watcher::play_http(engine.http(), way, "live/big"));
    healthy[0].wait_frames(150);
    // What the busy machine costs by itself is measured beside it.
    let other = Engine::serve().http().start();
    let _beside = Source::publish(other.rtmp, "live/big", Shape::bits_per_second(6_000_000));
    let beside = Watcher::play_http(other.http(), Way::Reply, "live/big");
    let base = engine.memory();
    let tricklers: Vec<_> = (0..10)
        .map(|number| Trickler::read(small(engine.http(), WAYS[number % 2], "live/big").socket))
        .collect();
    engine.wait_players("live/big", 12);
    healthy.iter().chain([&beside]).for_each(Watcher::forget_gap);
    wait_until_closed(&engine, tricklers.len(), &healthy[0], base);
    for watcher in &healthy {
        assert_unharmed(watcher, Duration::from_millis(400) + beside.seen().gap);
    }
    assert!(!source.has_ended());
}

#[test]
fn f20_players_over_http_that_stop_reading_are_closed_after_ten_seconds() {
    let engine = Engine::serve().http().limit("ring_bytes", 4 << 20).start();
    let source = Source::publish(engine.rtmp, "live/big", Shape::bits_per_second(40_000_000));
    let healthy = Watcher::play_http(engine.http(), Way::Reply, "live/big");
    healthy.wait_frames(75);
    let (base, files) = (engine.memory(), engine.files());
    let start = Instant::now();
    let stuck = WAYS.map(|way| small(engine.http(), way, "live/big"));
    let mut ended = 0;
    engine.wait("play-ended", |event| {
        assert!(event["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{event}");
        ended += 1;
        ended == stuck.len()
    });
    let time = start.elapsed();
    // At 40 Mb/s the socket's buffers are full within a second or two; ten more are the deadline.
    let in_time = Duration::from_secs(9)..=at_most(Duration::from_secs(14));
    assert!(in_time.contains(&time), "closed after {time:?}");
    engine.wait_files(files, Duration::from_secs(1));
    assert!(engine.memory() <= base + 8 * 1024, "{} KiB, {base} KiB before", engine.memory());
    let seen = healthy.seen();
    // The ring has 0.8 s: a machine that is busy elsewhere may hold up for so long who reads well.
    assert!(seen.lost == 0 || seen.gap > Duration::from_millis(400), "{seen:?}");
    assert!(!source.has_ended());
}

/// Names that no stream can have, as paths have them.
const HOSTILE: [&str; 30] = [
    "..",
    "../../etc/passwd",
    "%2e%2e",
    "%2E%2e%2f%2e%2e%2fetc%2fpasswd",
    "%252e%252e%252f",
    "..%2f..%2fetc",
    "..;/x",
    "a/../b",
    "a/%2e%2e/b",
    "a//b",
    "%2fetc%2fpasswd",
    ".hidden",
    "%2ehidden",
    "C:\\windows\\x",
    "C:%5cwindows%5cx",
    "\\\\server\\share",
    "nul%00nul",
    "%00",
    "a%0d%0ab",
    "a%0a%7b%22event%22:%22stream-started%22%7d",
    "%1b%5b2J%1b%5b31mred",
    "%e2%80%aeevil",
    "%ef%bb%bfbom",
    "%c0%ae%c0%ae",
    "%ff%fe",
    "%",
    "%zz",
    "<script>alert(1)</script>",
    "$(touch%20owned)",
    "%60touch%20owned%60",
];

#[test]
fn f36_f41_f43_hostile_paths_and_headers_are_no_streams_no_files_and_no_lines() {
    let engine = Engine::serve().http().env("STREAMENGINE_DEFAULT_APP__WAIT_FOR_PUBLISHER_MS", 0).start();
    let _source = Source::publish(engine.rtmp, "live/base", Shape::bits_per_second(400_000));
    let watcher = Watcher::play_http(engine.http(), Way::Reply, "live/base");
    watcher.wait_frames(5);
    let long = "x".repeat(6_000);
    let mut asked = 0;
    for word in HOSTILE.into_iter().chain([long.as_str()]) {
        for target in [
            format!("/live/{word}.flv"),
            format!("/{word}/a.flv"),
            format!("/live?app=live&stream={word}"),
            format!("/live?app={word}&stream=base"),
            format!("http://other.example/live/{word}.flv"),
            format!("//other.example/live/{word}.flv"),
        ] {
            for request in [get(&target), upgrade(&target), get(&target).replacen("GET", "HEAD", 1)] {
                let mut peer = HttpPeer::dial(engine.http()).expect("connect");
                peer.send(&request);
                let (status, _) = peer.head().expect("an answer");
                let is_refused = [400, 404, 101].contains(&status);
                assert!(is_refused, "{status} to {request}");
                asked += 1;
            }
        }
        let hostile = word.replace(['\r', '\n', '\0'], "?");
        let headers = format!(
            "User-Agent: {hostile}\r\nReferer: {hostile}\r\nOrigin: {hostile}\r\nCookie: {hostile}\r\n"
        );
        let request =
            get("/live/nobody.flv?key=hunter2-marker").replacen("Host", &format!("{headers}Host"), 1);
        let (status, _) = HttpPeer::dial(engine.http()).expect("connect").ask(request).expect("an answer");
        // Four times the long one is too long for a head.
        assert!([400, 404, 431].contains(&status), "{status} to headers of {word}");
    }
    assert_eq!(asked, 31 * 6 * 3);
    let quiet = poll(PATIENCE, || {
        let count = |kind| engine.events_of(kind).len();
        (count("session-opened") == count("session-closed") + 2).then_some(())
    });
    assert!(quiet.is_some(), "sessions are left over\n{}", engine.process.log());
    for event in engine.events() {
        if let Some(stream) = event["stream"].as_str() {
            let allowed = |c: char| c.is_alphanumeric() || "_.-+~@()=&/".contains(c);
            assert!(stream.chars().all(allowed) && !stream.contains(".."), "{event}");
        }
    }
    assert!(engine.events_of("stream-started").iter().all(|event| event["stream"] == "live/base"));
    for line in [engine.process.out.all(), engine.process.err.all()].concat() {
        let raw = line.chars().find(|&c| c.is_control() || c == '\u{202e}' || c == '\u{feff}');
        assert!(raw.is_none(), "a raw control character {raw:?} in {line:?}");
        assert!(line.len() < 4_096, "a line of {} bytes", line.len());
        assert!(!line.contains("hunter2-marker"), "a secret in {line:?}");
    }
    let files = std::fs::read_dir(engine.folder()).expect("folder").count();
    assert_eq!(files, 0, "files were made in the working folder");
    assert_eq!(watcher.seen().lost, 0);
}

/// Sends the head of a request byte by byte, one each half second; gives the time until it is closed.
fn drip(server: SocketAddr, from: Ipv4Addr) -> JoinHandle<Duration> {
    std::thread::spawn(move || {
        let mut socket = HttpPeer::dial_with(server, Some(from), None).expect("connect").socket;
        let _ = socket.set_read_timeout(Some(Duration::from_millis(500)));
        let start = Instant::now();
        for byte in get("/live/base.flv").into_bytes().into_iter().cycle() {
            let is_open = socket.write_all(&[byte]).is_ok()
                && !matches!(socket.read(&mut [0; 100]), Ok(0))
                && start.elapsed() < PATIENCE;
            if !is_open {
                break;
            }
        }
        start.elapsed()
    })
}

#[test]
fn f37_slow_heads_and_idle_connections_are_closed_in_time_and_hurt_nobody() {
    raise_file_limit();
    let engine = Engine::serve().http().limit("http_idle_ms", 3_000).start();
    let _source = Source::publish(engine.rtmp, "live/base", Shape::bits_per_second(400_000));
    let watcher = Watcher::play_http(engine.http(), Way::Reply, "live/base");
    watcher.wait_frames(50);
    let (base, files) = (engine.memory(), engine.files());
    let address = |net, number: usize| Ipv4Addr::new(127, 0, net, 1 + (number / 40) as u8);
    let slow: Vec<_> = (0..200).map(|number| drip(engine.http(), address(5, number))).collect();
    // Kept open after a request, as browsers do, and too many of them.
    let kept: Vec<_> = (0..2_000)
        .map(|number| {
            let mut peer =
                HttpPeer::dial_with(engine.http(), Some(address(6, number)), None).expect("connect");
            assert_eq!(peer.ask(get("/nothing")).expect("an answer").0, 404);
            peer
        })
        .collect();
    let (answer, time) = timed(|| granted(engine.rtmp, "live/healthy"));
    answer.expect("the healthy publisher is served");
    assert!(time <= at_most(Duration::from_millis(500)), "a healthy publisher needed {time:?}");
    assert!(engine.memory() <= base + 20 * 1024, "{} KiB, {base} KiB before", engine.memory());
    for peer in slow {
        let time = peer.join().expect("thread");
        let in_time = Duration::from_millis(4_900)..=at_most(Duration::from_millis(6_500));
        assert!(in_time.contains(&time), "a head that drips in was ended after {time:?}");
    }
    engine.wait_files(files, Duration::from_secs(10));
    drop(kept);
    let seen = watcher.seen();
    assert_eq!(seen.lost, 0);
}

#[test]
fn f37_whatever_is_no_request_is_refused_or_closed_and_costs_nothing() {
    let engine = Engine::serve().http().start();
    let _source = Source::publish(engine.rtmp, "live/base", Shape::bits_per_second(400_000));
    let watcher = Watcher::play_http(engine.http(), Way::Reply, "live/base");
    watcher.wait_frames(25);
    let (base, files) = (engine.memory(), engine.files());
    let line = |line: &str| format!("GET /nothing HTTP/1.1\r\nHost: h\r\n{line}\r\n\r\n");
    let smuggled = get("/live/base.flv");
    let hostile = [
        line(&format!("X: {}", "x".repeat(1 << 20))),
        line(&"X: y\r\n".repeat(10_000)),
        format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "a".repeat(1 << 20)),
        "G".repeat(1 << 20),
        "\r\n".repeat(1 << 19),
        "\0".repeat(1 << 20),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
        "\u{16}\u{3}\u{1}\u{2}\0\u{1}".to_owned(),
        "GET /nothing HTTP/1.1\nHost: h\nX: \r\r\r\n\n".to_owned(),
        line("Content-Length: 18446744073709551616"),
        line("Content-Length: -1"),
        line(&format!("Content-Length: {0}\r\nContent-Length: {0}\r\n\r\n{smuggled}", smuggled.len())),
        line(&format!("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}")),
        line(&format!("Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n{smuggled}")),
        line(&format!("Transfer-Encoding: \u{b}chunked\r\n\r\n0\r\n\r\n{smuggled}")),
        line(&format!("X: y\r\n folded: z\r\n\r\n{smuggled}")),
        line(&format!("Expect: 100-continue\r\nContent-Length: 3\r\n\r\n{smuggled}")),
    ];
    for shape in &hostile {
        let mut peer = HttpPeer::dial(engine.http()).expect("connect");
        let _ = peer.socket.set_write_timeout(Some(Duration::from_secs(2)));
        peer.send(shape);
        let _ = peer.socket.shutdown(std::net::Shutdown::Write);
        let reply = String::from_utf8_lossy(&peer.rest()).into_owned();
        let name = &shape[..shape.len().min(120)];
        assert!(!reply.contains("FLV") && !reply.contains("video/x-flv"), "{name:?} got the stream");
        assert!(reply.matches("HTTP/1.1 ").count() <= 1, "{name:?} was answered twice: {reply}");
        let is_refused =
            ["", "400", "404", "405", "414", "431", "505"].contains(&reply.get(9..12).unwrap_or(""));
        assert!(is_refused, "{name:?}: {reply}");
    }
    engine.wait_files(files, Duration::from_secs(6));
    assert!(engine.memory() <= base + 8 * 1024, "{} KiB, {base} KiB before", engine.memory());
    assert_eq!((watcher.seen().lost, watcher.has_ended()), (0, false));
}

#[test]
fn f37_pipelined_requests_are_answered_in_order_and_no_faster_than_they_are_read() {
    let engine = Engine::serve().http().start();
    let _source = Source::publish(engine.rtmp, "live/base", Shape::bits_per_second(400_000));
    let watcher = Watcher::play_http(engine.http(), Way::Reply, "live/base");
    watcher.wait_frames(25);
    let base = engine.memory();
    let mut peer = HttpPeer::dial(engine.http()).expect("connect");
    let heads = get("/live/base.flv").replacen("GET", "HEAD", 1);
    peer.send([get("/nothing"), heads, get("/live/base.flv"), get("/nothing")].concat());
    assert_eq!(peer.reply().expect("the first").0, 404);
    assert_eq!(peer.head().expect("the second").0, 200);
    assert_eq!(peer.head().expect("the third").0, 200);
    assert!(peer.tag().expect("a tag").is_some());
    // Who does not read replies is not read from: the kernel's buffers fill up, not ours.
    let mut deaf = HttpPeer::dial_with(engine.http(), None, Some(4_096)).expect("connect");
    let _ = deaf.socket.set_write_timeout(Some(Duration::from_millis(500)));
    let flood = get("/nothing").repeat(1_000);
    let start = Instant::now();
    while deaf.socket.write_all(flood.as_bytes()).is_ok() {
        assert!(start.elapsed() < PATIENCE, "it is read from for ever");
    }
    assert!(engine.memory() <= base + 8 * 1024, "{} KiB, {base} KiB before", engine.memory());
    assert_eq!(watcher.seen().lost, 0);
}

#[test]
fn f46_sigterm_ends_players_over_http_in_order_within_five_seconds() {
    const PLAYERS: usize = 40;
    let engine = Engine::serve().http().start();
    let source = Source::publish(engine.rtmp, "live/base", Shape::bits_per_second(400_000));
    let mut players: Vec<_> = (0..PLAYERS)
        .map(|number| {
            let mut peer = HttpPeer::dial(engine.http()).expect("connect");
            assert!([200, 101].contains(&peer.play(WAYS[number % 2], "live/base").expect("play")));
            assert!(peer.tag().expect("a tag").is_some());
            peer
        })
        .collect();
    let mut idle = HttpPeer::dial(engine.http()).expect("connect");
    assert_eq!(idle.ask(get("/nothing")).expect("an answer").0, 404);
    // One that takes nothing does not hold the others up.
    let _stuck = small(engine.http(), Way::Reply, "live/base");
    engine.process.signal(Signal::TERM);
    let (code, time) = timed(|| engine.process.wait(PATIENCE));
    assert_eq!(code, 0, "{}", engine.process.log());
    assert!(time <= at_most(Duration::from_secs(5)), "ended after {time:?}");
    assert!(HttpPeer::dial(engine.http()).is_err(), "somebody listens still");
    for player in &mut players {
        let end = std::iter::from_fn(|| player.tag().transpose()).find_map(Result::err);
        assert!(end.is_none(), "a player was cut, not told: {end:?}");
    }
    assert_eq!(idle.rest(), b"");
    drop(source);
}

/// What curl says to these arguments, against a server with this authority's certificate.
fn curl(engine: &Engine, authority: &Authority, path: &str, arguments: &[&str]) -> (i32, String) {
    let mut command = std::process::Command::new("curl");
    let https = engine.https();
    command.args(["-sS", "--cacert"]).arg(authority.cert());
    command.arg("--resolve").arg(format!("localhost:{}:{}", https.port(), https.ip()));
    command.args(arguments).arg(format!("https://localhost:{}{path}", https.port()));
    let curl = Proc::spawn("curl", command);
    let code = curl.wait(PATIENCE);
    (code, [curl.out.all(), curl.err.all()].concat().join("\n"))
}

#[test]
fn curl_plays_by_http_2_and_by_http_1_1_and_gets_the_same_stream() {
    needs!("curl", "openssl");
    let authority = Authority::new();
    let leaf = authority.leaf("DNS:localhost", Validity::Now);
    let engine = Engine::serve().https(&leaf.cert, &leaf.key).start();
    let source = Source::publish(engine.rtmp, "live/base", Shape::bits_per_second(400_000));
    Watcher::play(engine.rtmp, "live/base").wait_frames(5);
    for (version, told) in [("--http2", "2"), ("--http1.1", "1.1")] {
        let file = engine.folder().join("played.flv");
        let path = file.to_string_lossy().into_owned();
        let options = [version, "-m", "3", "-o", &path, "-w", "%{http_version} %{response_code}"];
        // 28: it has played for as long as it was to.
        let (code, text) = curl(&engine, &authority, "/live/base.flv", &options);
        assert!(code == 28 && text.contains(&format!("{told} 200")), "{version}: {code} {text}");
        let recording = streamengine_tests::flv::Recording::read(&file);
        let numbers: Vec<_> = recording
            .tags
            .iter()
            .filter_map(|tag| streamengine_tests::synthetic::number(&tag.body))
            .collect();
        assert!(numbers.len() > 40, "{version}: {} frames", numbers.len());
        assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{version}: {numbers:?}");
        std::fs::remove_file(&file).expect("remove");
    }
    let head = curl(&engine, &authority, "/live/base.flv", &["--http2", "-I"]);
    assert!(head.0 == 0 && head.1.contains("HTTP/2 200") && head.1.contains("video/x-flv"), "{head:?}");
    let options = curl(&engine, &authority, "/live/base.flv", &["--http2", "-i", "-X", "OPTIONS"]);
    assert!(options.0 == 0 && options.1.contains("HTTP/2 204"), "{options:?}");
    assert!(options.1.contains("access-control-allow-origin: *"), "{options:?}");
    let missing = curl(&engine, &authority, "/live/%2e%2e.flv", &["--http2", "--path-as-is", "-i"]);
    assert!(missing.1.contains("HTTP/2 400") && missing.1.contains("two dots"), "{missing:?}");
    drop(source);
}
