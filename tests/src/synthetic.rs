//! A made-up stream whose frames carry their number, so that a player can count what it missed.

use crate::flv::Tag;
use crate::http::{HttpPeer, Way};
use crate::locked;
use crate::raw::{RawPeer, Status};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// An H.264 sequence header (baseline, 320x240).
pub const AVC_HEADER: [u8; 40] = [
    0x17, 0, 0, 0, 0, 1, 0x42, 0xc0, 0x1e, 0xff, 0xe1, 0, 0x15, 0x67, 0x42, 0xc0, 0x1e, 0xd9, 0x01, 0x41,
    0xfb, 0x01, 0x10, 0, 0, 0x03, 0, 0x10, 0, 0, 0x03, 0x03, 0xc0, 0xf1, 1, 0, 3, 0x68, 0xce, 0x3c,
];

/// Rate and shape of a synthetic stream: 25 frames a second, a keyframe each second.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Bytes of a frame.
    pub frame: usize,
    /// Time between frames.
    pub interval: Duration,
    /// Frames from one keyframe to the next.
    pub gop: u32,
}

impl Shape {
    /// 25 frames a second of this many bits a second.
    pub fn bits_per_second(rate: usize) -> Self {
        Self { frame: rate / 8 / 25, interval: Duration::from_millis(40), gop: 25 }
    }
}

/// The body of frame `number`.
pub fn frame(number: u32, shape: &Shape) -> Vec<u8> {
    let mut body = vec![if number.is_multiple_of(shape.gop) { 0x17 } else { 0x27 }, 1, 0, 0, 0];
    body.extend(u32::try_from(shape.frame.max(16) - 9).unwrap_or(0).to_be_bytes());
    body.push(0x65);
    body.extend(number.to_be_bytes());
    body.resize(shape.frame.max(16), 0x55);
    body
}

/// The number of a frame, if it is one.
pub fn number(body: &[u8]) -> Option<u32> {
    let frame = body.len() >= 14 && body[0] & 0x0f == 7 && body[1] == 1;
    frame.then(|| u32::from_be_bytes([body[10], body[11], body[12], body[13]]))
}

/// A publisher on its own thread.
pub struct Source {
    stop: Arc<AtomicBool>,
    paused: Arc<AtomicBool>,
    sent: Arc<AtomicU32>,
    thread: Option<JoinHandle<std::io::Result<()>>>,
}

impl Source {
    /// Publishes `app/stream` until it is stopped.
    pub fn publish(server: SocketAddr, name: &str, shape: Shape) -> Self {
        let (peer, status) = granted(server, name).expect("publish");
        assert_eq!(status.code, "NetStream.Publish.Start", "{}", status.description);
        Self::run(peer, shape, 0)
    }

    /// Goes on with a connection whose `publish` was granted, from this frame number on.
    pub fn run(mut peer: RawPeer, shape: Shape, first: u32) -> Self {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(first)));
        let paused = Arc::new(AtomicBool::new(false));
        let (end, count, silent) = (stop.clone(), sent.clone(), paused.clone());
        let thread = std::thread::spawn(move || {
            let begin = Instant::now();
            peer.send(6, 0, 9, 1, &AVC_HEADER)?;
            for number in first.. {
                let due = shape.interval * (number - first);
                std::thread::sleep((begin + due).saturating_duration_since(Instant::now()));
                if end.load(Ordering::Relaxed) {
                    break;
                }
                if silent.load(Ordering::Relaxed) {
                    continue;
                }
                let time = u32::try_from(due.as_millis()).unwrap_or(u32::MAX);
                peer.send(6, time, 9, 1, &frame(number, &shape))?;
                count.store(number + 1, Ordering::Relaxed);
            }
            Ok(())
        });
        Self { stop, paused, sent, thread: Some(thread) }
    }

    /// Frames sent so far.
    pub fn sent(&self) -> u32 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Whether the server has closed the connection.
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Sends nothing any more, and stays.
    pub fn pause(&self) {
        self.paused.store(true, Ordering::Relaxed);
    }

    /// Closes the connection.
    pub fn stop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A connection that has asked to publish `app/stream`, and the answer.
pub fn granted(server: SocketAddr, name: &str) -> std::io::Result<(RawPeer, Status)> {
    let (app, stream) = name.rsplit_once('/').expect("app/stream");
    let mut peer = RawPeer::connect(server, app)?;
    let status = peer.publish(stream)?;
    Ok((peer, status))
}

/// What a healthy player saw.
#[derive(Debug, Default, Clone)]
pub struct Seen {
    /// Frames.
    pub frames: u32,
    /// Frames missing between the first and the last.
    pub lost: u32,
    /// Frames whose time was before that of the one before.
    pub backwards: u32,
    /// Longest time without a frame.
    pub gap: Duration,
    /// The highest frame number.
    pub last: u32,
}

/// A player on its own thread that counts.
pub struct Watcher {
    stop: Arc<AtomicBool>,
    seen: Arc<std::sync::Mutex<Seen>>,
    thread: Option<JoinHandle<()>>,
}

impl Watcher {
    /// Plays `app/stream` and waits for its first frame.
    pub fn play(server: SocketAddr, name: &str) -> Self {
        let (app, stream) = name.rsplit_once('/').expect("app/stream");
        let mut peer = RawPeer::connect(server, app).expect("connect");
        let status = peer.play(stream).expect("play");
        assert_eq!(status.code, "NetStream.Play.Start", "{}", status.description);
        let _ = peer.socket.set_read_timeout(Some(Duration::from_secs(15)));
        Self::watch(move || {
            let message = peer.read().ok()?;
            Some(Tag { kind: message.kind, timestamp: message.timestamp, body: message.body })
        })
    }

    /// The same over HTTP, `server` being where that is served.
    pub fn play_http(server: SocketAddr, way: Way, name: &str) -> Self {
        let mut peer = HttpPeer::dial(server).expect("connect");
        let status = peer.play(way, name).expect("play");
        assert!([200, 101].contains(&status), "{status}");
        let _ = peer.socket.set_read_timeout(Some(Duration::from_secs(15)));
        Self::watch(move || peer.tag().ok().flatten())
    }

    /// Counts what comes until `next` gives no more.
    fn watch(next: impl FnMut() -> Option<Tag> + Send + 'static) -> Self {
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let (end, told): (_, Arc<std::sync::Mutex<Seen>>) = (stop.clone(), Arc::clone(&seen));
        let thread = std::thread::spawn(move || watch(next, &end, &told));
        let watcher = Self { stop, seen, thread: Some(thread) };
        watcher.wait_frames(1);
        watcher
    }

    /// What it saw so far.
    pub fn seen(&self) -> Seen {
        locked(&self.seen).clone()
    }

    /// Forgets the longest gap so far: the burst at the start is no verdict.
    pub fn forget_gap(&self) {
        locked(&self.seen).gap = Duration::ZERO;
    }

    /// Waits until it has seen this many frames.
    pub fn wait_frames(&self, count: u32) {
        let enough = crate::poll(crate::PATIENCE, || (self.seen().frames >= count).then_some(()));
        assert!(enough.is_some(), "the player saw {:?}", self.seen());
    }

    /// Waits until it has seen frame `number` or a later one.
    pub fn wait_number(&self, number: u32, patience: Duration) {
        let enough = crate::poll(patience, || (self.seen().last >= number).then_some(()));
        assert!(enough.is_some(), "frame {number} did not come: {:?}", self.seen());
    }

    /// Whether the server has ended the connection.
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn watch(mut next: impl FnMut() -> Option<Tag>, stop: &AtomicBool, told: &std::sync::Mutex<Seen>) {
    let mut before: Option<(Instant, u32)> = None;
    let mut number_before = None;
    while !stop.load(Ordering::Relaxed) {
        let Some(message) = next() else { return };
        let Some(number) = (message.kind == 9).then(|| number(&message.body)).flatten() else { continue };
        let now = Instant::now();
        let mut seen = locked(told);
        seen.frames += 1;
        seen.last = seen.last.max(number);
        if let Some((at, time)) = before {
            seen.gap = seen.gap.max(now - at);
            seen.backwards += u32::from(message.timestamp < time);
        }
        if let Some(last) = number_before {
            seen.lost += number.saturating_sub(last + 1);
        }
        (before, number_before) = (Some((now, message.timestamp)), Some(number));
    }
}
