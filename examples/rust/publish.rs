//! Publishes a stream from inside the program and serves it: here the frames come from an FLV file, in a real
//! program from an encoder.
//!
//!     cargo run --example publish -- examples/media/demo.flv 127.0.0.1:1935

#![allow(clippy::print_stdout)]

use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use streamengine::media::flv_file::FlvReader;
use streamengine::{Engine, StreamKey};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let Some(file) = arguments.next().map(PathBuf::from) else {
        eprintln!("usage: publish FILE.flv [ADDRESS]");
        std::process::exit(2);
    };
    let address: SocketAddr = arguments.next().unwrap_or_else(|| "127.0.0.1:1935".to_owned()).parse()?;

    let engine = Engine::builder().listen_rtmp(address).start()?;
    let key: StreamKey = "live/demo".parse()?;
    println!("playing at rtmp://{}/{key}", engine.listeners()[0].address);

    let publisher = engine.publish(&key)?;
    let mut reader = FlvReader::open(&file)?;
    let start = Instant::now();
    while let Some(tag) = reader.next_tag()? {
        // `push` never waits; the pace of a live stream is the program's own.
        let due = Duration::from_millis(u64::try_from(tag.frame.timestamp).unwrap_or(0));
        std::thread::sleep(due.saturating_sub(start.elapsed()));
        publisher.push(tag.frame)?;
    }
    publisher.finish();
    engine.blocking_drain()?;
    Ok(())
}
