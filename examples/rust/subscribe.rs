//! Fetches a stream from a server and looks at its frames.
//!
//!     cargo run --example subscribe -- rtmp://127.0.0.1/live/demo 100

#![allow(clippy::print_stdout)]

use std::error::Error;
use std::time::Duration;
use streamengine::{Engine, PullConfig, RemoteUrl, StreamKey};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let Some(url) = arguments.next() else {
        eprintln!("usage: subscribe URL [FRAMES]");
        std::process::exit(2);
    };
    let url: RemoteUrl = url.parse()?;
    let frames: usize = arguments.next().unwrap_or_else(|| "100".to_owned()).parse()?;

    let engine = Engine::builder().start()?;
    let key: StreamKey = "pulled/stream".parse()?;
    engine.add_pull(PullConfig::new(url, key.clone()))?;

    let mut subscriber = engine.subscribe(&key)?;
    for _ in 0..frames {
        // On an async runtime: `subscriber.next().await`.
        let Some(frame) = subscriber.blocking_next(Duration::from_secs(20))? else {
            println!("the stream has ended: {:?}", subscriber.end());
            break;
        };
        let what = match (frame.is_config(), frame.flags.keyframe) {
            (true, _) => "configuration",
            (false, true) => "keyframe",
            (false, false) => "frame",
        };
        println!("{:>8} ms  {:?} {what}, {} bytes", frame.timestamp, frame.kind, frame.payload.len());
    }
    engine.blocking_drain()?;
    Ok(())
}
