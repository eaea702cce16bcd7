//! Streams that are made bad, one after the other, while somebody looks at the dashboard: it says which, in words, within seconds.

use super::most;
use serde_json::{Value, json};
use std::io::Result;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use streamengine_tests::browser::{Driver, drive};
use streamengine_tests::raw::RawPeer;
use streamengine_tests::synthetic::{AVC_HEADER, Shape, frame, granted};
use streamengine_tests::{Engine, PATIENCE, needs};

/// An AAC sequence header: 44.1 kHz, two channels.
const AAC_HEADER: [u8; 4] = [0xaf, 0, 0x12, 0x10];
/// One frame of it.
const SOUND: [u8; 12] = [0xaf, 1, 0x21, 0, 0x49, 0x90, 0x02, 0x19, 0, 0x23, 0x80, 0];
const FRAME_MS: u32 = 40;
/// The first time: one that jumps back comes before it, and not below 0.
const START_MS: u32 = 100_000;
/// Without a keyframe for so long.
const NO_KEYFRAME_MS: u32 = 20_000;
/// Time before which a rate is not usual, with some more, for the one that breaks down.
const WELL: Duration = Duration::from_secs(30);
/// The whole of it, on a machine that does other things too.
const ALL: Duration = Duration::from_secs(400);

/// What is made wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    LowBitrate,
    NoKeyframe,
    LateSound,
    Jumps,
    SlowViewer,
}

/// In the order in which they are made, what the page calls them, and for how many milliseconds a stream has been bad when its
/// engine may know it: without a keyframe, and a viewer that is behind by 3 s.
const FAULTS: [(Fault, &str, u32); 5] = [
    (Fault::NoKeyframe, "No keyframe", NO_KEYFRAME_MS),
    (Fault::LateSound, "Audio and video apart", 0),
    (Fault::Jumps, "Jumping times", 0),
    (Fault::SlowViewer, "A slow viewer", 3_000),
    (Fault::LowBitrate, "Low bit rate", 0),
];

impl Fault {
    fn stream(self) -> String {
        format!("live/{}", format!("{self:?}").to_lowercase())
    }

    /// 8 Mbit/s for the viewer, so that what sockets take is soon full; 1 Mbit/s for all others.
    fn shape(self) -> Shape {
        Shape::bits_per_second(if self == Self::SlowViewer { 8_000_000 } else { 1_000_000 })
    }

    /// Sends the frames of one moment, `bad` being how many have been sent since the fault was made.
    fn send(self, peer: &mut RawPeer, number: u32, bad: Option<u32>) -> Result<()> {
        let (mut shape, bad) = (self.shape(), bad.map(|bad| (self, bad)));
        let mut picture = START_MS + number * FRAME_MS;
        let mut sound = Some(picture);
        match bad {
            Some((Self::LowBitrate, _)) => shape.frame /= 10,
            Some((Self::NoKeyframe, _)) => shape.gop = u32::MAX,
            // What comes 2 s late is missing for so long.
            Some((Self::LateSound, bad)) => sound = (bad >= 50).then(|| picture - 2_000),
            // Every two seconds three of them back.
            Some((Self::Jumps, bad)) => {
                picture -= (1 + bad / 50) * 3_000;
                sound = Some(picture);
            }
            Some((Self::SlowViewer, _)) | None => {}
        }
        peer.send(6, picture, 9, 1, &frame(number, &shape))?;
        sound.map_or(Ok(()), |at| peer.send(4, at, 8, 1, &SOUND))
    }
}

/// A stream that is well until it is made bad.
struct Stream {
    fault: Fault,
    is_bad: Arc<AtomicBool>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Stream {
    fn publish(server: SocketAddr, fault: Fault) -> Self {
        let (mut peer, status) = granted(server, &fault.stream()).expect("publish");
        assert_eq!(status.code, "NetStream.Publish.Start", "{}", status.description);
        let (is_bad, is_over) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (bad, over) = (is_bad.clone(), is_over.clone());
        let thread = std::thread::spawn(move || {
            peer.send(6, START_MS, 9, 1, &AVC_HEADER)?;
            peer.send(4, START_MS, 8, 1, &AAC_HEADER)?;
            let (begin, mut begun) = (Instant::now(), None);
            for number in 0.. {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                if bad.load(Ordering::Relaxed) {
                    begun.get_or_insert(number);
                }
                fault.send(&mut peer, number, begun.map(|begun| number - begun))?;
                let next = begin + Duration::from_millis(u64::from(FRAME_MS)) * (number + 1);
                std::thread::sleep(next.saturating_duration_since(Instant::now()));
            }
            Ok(())
        });
        Self { fault, is_bad, is_over, thread: Some(thread) }
    }

    /// Plays it with little room for what is not read, until it is bad; then it reads nothing any more, and stays.
    fn play(&self, server: SocketAddr) {
        let mut peer = RawPeer::dial_with(server, None, Some(16_384)).expect("connect");
        let name = self.fault.stream();
        let (app, stream) = name.rsplit_once('/').expect("app/stream");
        peer.open(app).expect("connect");
        assert_eq!(peer.play(stream).expect("play").code, "NetStream.Play.Start");
        let (is_bad, is_over) = (self.is_bad.clone(), self.is_over.clone());
        std::thread::spawn(move || {
            while !is_bad.load(Ordering::Relaxed) && peer.read().is_ok() {}
            while !is_over.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(100));
            }
        });
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || matches!(ended, Some(Ok(Ok(())))), "{:?}: {ended:?}", self.fault);
    }
}

/// What the driver tells by this name of a fault.
fn told(driver: &Driver, name: &str, words: &str) -> Value {
    let found = driver.process.out.find_after(0, ALL, |line| {
        let told: Value = serde_json::from_str(line).ok()?;
        (told[name] == words).then_some(told)
    });
    found.unwrap_or_else(|| panic!("no {name} {words}\n{}", driver.process.log()))
}

/// Milliseconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs_f64() * 1_000.0
}

#[test]
fn a_stream_that_goes_bad_is_named_with_what_is_wrong_within_five_seconds() {
    needs!("browser");
    let engine = Engine::serve().http().start();
    let streams = FAULTS.map(|(fault, ..)| Stream::publish(engine.rtmp, fault));
    let begun = Instant::now();
    let slow = Fault::SlowViewer.stream();
    engine.wait_publish(&slow);
    for stream in streams.iter().filter(|stream| stream.fault == Fault::SlowViewer) {
        stream.play(engine.rtmp);
    }
    engine.wait_players(&slow, 1);
    let given = FAULTS.map(|(fault, words, _)| json!({ "stream": fault.stream(), "words": words }));
    let given = json!(given).to_string();
    let driver = drive("dashboard.js", &["trouble", &engine.http_url("/"), "--given", &given], &[]);
    for (stream, (fault, words, known_ms)) in streams.iter().zip(FAULTS) {
        told(&driver, "wants", words);
        if fault == Fault::LowBitrate {
            std::thread::sleep(WELL.saturating_sub(begun.elapsed()));
        }
        let made = now();
        stream.is_bad.store(true, Ordering::Relaxed);
        let told = told(&driver, "seen", words);
        let took = ["overview", "page"].map(|place| told[place].as_f64().expect("milliseconds") - made);
        println!(
            "{fault:?}: in words on the overview after {:.0} ms, on its page after {:.0} ms",
            took[0], took[1]
        );
        let promised = f64::from(known_ms) + most(5_000);
        assert!(took.iter().all(|took| *took < promised), "{fault:?}: {took:?} ms");
    }
    driver.process.succeed(PATIENCE);
}
