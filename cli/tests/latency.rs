//! `latency` against our own server, on all ways, and on one that is known to be slow.
#![cfg(unix)]

#[allow(dead_code, reason = "made for several")]
mod process;

use process::{Process, run};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// What the slow way adds.
const DELAY: Duration = Duration::from_millis(400);

fn serve() -> (Process, SocketAddr, SocketAddr) {
    let process = Process::start(&["serve", "--rtmp", "127.0.0.1:0", "--http", "127.0.0.1:0", "--json"]);
    let ready = process.event();
    let address = |protocol: &str| ready[protocol][0].as_str().unwrap().parse().unwrap();
    let (rtmp, http) = (address("rtmp"), address("http"));
    (process, rtmp, http)
}

/// Hands on what goes to `server`, and after [`DELAY`] what comes from there. Ends with the test.
fn slow_way_to(server: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (client, upstream) = (client.unwrap(), TcpStream::connect(server).unwrap());
            let (mut from, mut to) = (client.try_clone().unwrap(), upstream.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut from, &mut to));
            let (hand_on, late) = mpsc::channel();
            std::thread::spawn(move || read(upstream, &hand_on));
            std::thread::spawn(move || write_late(client, &late));
        }
    });
    address
}

fn read(mut upstream: TcpStream, hand_on: &mpsc::Sender<(Instant, Vec<u8>)>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = upstream.read(&mut buffer) {
        if hand_on.send((Instant::now() + DELAY, buffer[..length].to_vec())).is_err() {
            return;
        }
    }
}

fn write_late(mut client: TcpStream, late: &mpsc::Receiver<(Instant, Vec<u8>)>) {
    while let Ok((due, bytes)) = late.recv() {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        if client.write_all(&bytes).is_err() {
            return;
        }
    }
}

#[test]
fn every_way_is_measured_and_a_slow_one_is_as_much_later_as_it_is_slow() {
    let (_server, rtmp, http) = serve();
    let slow = slow_way_to(http);
    let measured = run(&[
        "latency",
        &format!("rtmp://{rtmp}/live/test?some=s3cret"),
        &format!("http://{http}"),
        &format!("ws://{slow}/live/test.flv"),
        "--seconds",
        "3",
        "--json",
    ]);
    assert_eq!(measured.code, Some(0), "{}", measured.stderr);
    assert!(!measured.stdout.contains("s3cret") && !measured.stderr.contains("s3cret"));
    let report: Value = serde_json::from_str(&measured.stdout).unwrap();
    let ways = report["ways"].as_array().unwrap();
    let protocols: Vec<_> = ways.iter().map(|way| way["protocol"].as_str().unwrap()).collect();
    assert_eq!(protocols, ["rtmp", "http-flv", "websocket", "hls", "websocket"]);
    for way in ways {
        assert!(way["frames"].as_u64().unwrap() > 50, "{report}");
        assert_eq!(way["missing"], 0, "{report}");
        let figures = ["p50_ms", "p90_ms", "p99_ms", "max_ms"].map(|name| way[name].as_f64().unwrap());
        assert!(figures.is_sorted() && figures[0] > 0.0, "{report}");
    }
    // A player shows a part so much later than its end was known, not than each of its pictures came.
    let hls = ["hold_back_ms", "shown_ms"].map(|name| ways[3][name].as_f64().unwrap());
    assert!(hls[0] > 100.0 && hls[1] >= hls[0], "{report}");
    assert!(ways[..3].iter().all(|way| way["shown_ms"].is_null()), "{report}");
    // Of the same frames at the same time: what else the machine does holds up both.
    let added = ways[4]["p50_ms"].as_f64().unwrap() - ways[2]["p50_ms"].as_f64().unwrap();
    assert!((added - DELAY.as_secs_f64() * 1_000.0).abs() < 100.0, "{added} ms: {report}");
}

#[test]
fn what_cannot_be_played_or_published_is_told_in_words_with_status_1() {
    let (_server, rtmp, http) = serve();
    let url = format!("rtmp://{rtmp}/live/test");
    for (way, words) in [
        (format!("http://{http}/live/test/none.m3u8"), "replied 404"),
        (format!("ws://{http}/recordings"), "(4400"),
        ("http://127.0.0.1:1/live/test.flv".to_owned(), "127.0.0.1:1"),
    ] {
        let measured = run(&["latency", &url, &way, "--seconds", "1"]);
        assert_eq!(measured.code, Some(1), "{way}: {}", measured.stdout);
        let last = measured.stderr.lines().last().unwrap();
        assert!(last.contains(words), "{way}: {last}");
        // What could be measured is told all the same.
        assert!(measured.stdout.lines().any(|line| line.starts_with("RTMP ")), "{}", measured.stdout);
    }
    let refused = run(&["latency", "rtmp://127.0.0.1:1/live/test"]);
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), ""));
    let nowhere = run(&["latency", "http://127.0.0.1:1/live/test.flv"]);
    assert_eq!(nowhere.code, Some(2));
    assert!(nowhere.stderr.contains("no rtmp:// or rtmps:// URL to publish to"), "{}", nowhere.stderr);
}
