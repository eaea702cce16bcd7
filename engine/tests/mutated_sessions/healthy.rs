//! A publisher and a player that behave well, beside those that do not.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use streamengine::media::{Frame, FrameKind};
use streamengine::testing;
use streamengine::{Engine, PullConfig, PushConfig};

const INTERVAL: Duration = Duration::from_millis(10);
const PATIENCE: Duration = Duration::from_secs(60);
/// First bytes of an AVC keyframe; its number follows.
const KEYFRAME: [u8; 5] = [0x17, 1, 0, 0, 0];

/// A stream on its way to the server and back, each over a connection of its own.
pub(crate) struct Healthy {
    stop: Arc<AtomicBool>,
    publishing: JoinHandle<u64>,
    playing: JoinHandle<Report>,
}

/// What the player has seen.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) frames: u64,
    pub(crate) lost: u64,
    pub(crate) longest_gap: Duration,
}

impl Healthy {
    pub(crate) const CONNECTIONS: usize = 2;

    /// Returns when the first frame has come back.
    pub(crate) fn start(server: SocketAddr) -> Self {
        let key = testing::key("live/healthy");
        let url = testing::url(&format!("rtmp://{server}/{key}"));
        let (sending, receiving) = (Engine::builder().start().unwrap(), Engine::builder().start().unwrap());
        let publisher = sending.publish(&key).unwrap();
        sending.add_push(PushConfig::new(key.clone(), url.clone())).unwrap();
        receiving.add_pull(PullConfig::new(url.into(), key.clone())).unwrap();
        let mut subscriber = receiving.subscribe(&key).unwrap();

        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let publishing = std::thread::spawn(move || {
            let (start, mut number) = (Instant::now(), 0_u64);
            while !stopped.load(Ordering::Relaxed) {
                let payload = [&KEYFRAME[..], &number.to_be_bytes(), &[7; 500]].concat();
                let at = i64::try_from(start.elapsed().as_millis()).unwrap();
                publisher.push(Frame::new(FrameKind::Video, at, payload.into())).unwrap();
                number += 1;
                std::thread::sleep(INTERVAL);
            }
            publisher.finish();
            drop(sending);
            number
        });
        let first = number_of(&subscriber.blocking_next(PATIENCE).unwrap().expect("the first frame"));
        let playing = std::thread::spawn(move || {
            let mut report = Report { frames: 1, lost: 0, longest_gap: Duration::ZERO };
            let (mut next, mut last) = (first + 1, Instant::now());
            while let Some(frame) = subscriber.blocking_next(PATIENCE).unwrap() {
                let number = number_of(&frame);
                report.frames += 1;
                report.lost += number - next;
                report.longest_gap = report.longest_gap.max(last.elapsed());
                (next, last) = (number + 1, Instant::now());
            }
            drop(receiving);
            report
        });
        Self { stop, publishing, playing }
    }

    pub(crate) fn stop(self) -> Report {
        self.stop.store(true, Ordering::Relaxed);
        self.publishing.join().unwrap();
        self.playing.join().unwrap()
    }
}

fn number_of(frame: &Frame) -> u64 {
    let number = &frame.payload[KEYFRAME.len()..][..8];
    u64::from_be_bytes(number.try_into().unwrap())
}
