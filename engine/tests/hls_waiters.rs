//! What viewers by HLS that wait for what is not there yet cost, and what they leave when they hang up: at the allocator, as that
//! gives back to the system only some of what has been freed. In a process of its own, so that memory can be measured.
#![cfg(feature = "http")]

mod allocator;

use allocator::Counting;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicIsize, Ordering};
use streamengine::testing::{demo_frames, key, wait};
use streamengine::{Config, Engine};

/// With both ends in this process, and the 1,024 files that it may have open on most systems.
const WAITERS: usize = 400;
/// Bytes that one costs while it waits.
const MAX_PER_WAITER: isize = 24 * 1024;
/// Bytes that may be held when all have left beyond those before they came: in tables that have grown.
const LEFT_OVER: isize = 64 * 1024;

static HELD: AtomicIsize = AtomicIsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting(count);

/// Counts the bytes of all threads.
fn count(bytes: isize) {
    HELD.fetch_add(bytes, Ordering::Relaxed);
}

fn held() -> isize {
    HELD.load(Ordering::Relaxed)
}

fn ask(server: SocketAddr, target: &str) -> TcpStream {
    let mut socket = TcpStream::connect(server).unwrap();
    socket.set_read_timeout(Some(wait::PATIENCE)).unwrap();
    socket.write_all(format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes()).unwrap();
    socket
}

/// The text of a whole reply, head and all.
fn reply(mut socket: TcpStream) -> String {
    let mut text = Vec::new();
    loop {
        let mut bytes = [0; 16 * 1024];
        let read = socket.read(&mut bytes).unwrap();
        assert_ne!(read, 0, "closed: {}", String::from_utf8_lossy(&text));
        text.extend_from_slice(&bytes[..read]);
        let so_far = String::from_utf8_lossy(&text).into_owned();
        if let Some((head, body)) = so_far.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            if body.len() >= length.parse().unwrap() {
                return so_far;
            }
        }
    }
}

/// Whether nothing has come, not even the end of the connection.
fn waits(socket: &TcpStream) -> bool {
    socket.set_nonblocking(true).unwrap();
    socket.peek(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

#[test]
fn viewers_that_hang_up_while_they_wait_leave_nothing_behind() {
    let config = Config::from_toml("[http]\nlisten = [\"127.0.0.1:0\"]\n").unwrap();
    let engine = Engine::builder().config(config).start().unwrap();
    let server = engine.listeners()[0].address;
    let publisher = engine.publish(&key("live/a")).unwrap();
    // All of it at once, and then nothing more.
    demo_frames().into_iter().for_each(|frame| publisher.push(frame).unwrap());
    let index = reply(ask(server, "/live/a/index.m3u8"));
    let playlist = format!("/live/a/{}", index.lines().last().unwrap());
    let list = reply(ask(server, &playlist));
    let part = list.lines().last().unwrap().rsplit('"').nth(1).unwrap();
    let part = format!("/live/a/{part}");
    let first = list.lines().find_map(|line| line.strip_prefix("#EXT-X-MEDIA-SEQUENCE:")).unwrap();
    let open = first.parse::<usize>().unwrap() + list.matches("#EXTINF").count();
    let playlist = format!("{playlist}&_HLS_msn={open}");
    let round = || {
        let before = held();
        let waiters: Vec<_> =
            (0..WAITERS).map(|n| ask(server, if n % 2 == 0 { &part } else { &playlist })).collect();
        // A request that is served has hyper's buffer.
        wait::until("all are served", || held() - before >= (WAITERS * 8 * 1024) as isize);
        assert!(waiters.iter().all(waits), "some have got an answer");
        let cost = (held() - before) / WAITERS as isize;
        drop(waiters);
        wait::until("what they held is free", || held() - before <= LEFT_OVER);
        println!("{cost} bytes for each of {WAITERS}, {} when all have left", held() - before);
        assert!(cost <= MAX_PER_WAITER, "{cost} bytes each");
    };
    (0..3).for_each(|_| round());
}
