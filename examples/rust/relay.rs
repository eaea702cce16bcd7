//! Fetches a stream from one server and pushes it to others, telling the state of each connection.
//!
//!     cargo run --example relay -- rtmp://127.0.0.1/live/demo rtmp://127.0.0.1:1936/live/copy

#![allow(clippy::print_stdout)]

use std::error::Error;
use streamengine::{Engine, Event, PullConfig, PushConfig, Received, RtmpUrl, StreamKey};

fn main() -> Result<(), Box<dyn Error>> {
    let urls = std::env::args().skip(1).map(|url| url.parse()).collect::<Result<Vec<RtmpUrl>, _>>()?;
    let [from, targets @ ..] = &urls[..] else {
        eprintln!("usage: relay FROM-URL TO-URL...");
        std::process::exit(2);
    };

    // No listener: the engine works as a client only.
    let engine = Engine::builder().start()?;
    let mut events = engine.events();
    let key: StreamKey = "relay/stream".parse()?;
    engine.add_pull(PullConfig::new(from.clone().into(), key.clone()))?;
    for target in targets {
        engine.add_push(PushConfig::new(key.clone(), target.clone()))?;
    }
    while let Some(received) = events.blocking_next() {
        if let Received::Event(Event::RelayState(status)) = received {
            let error = status.last_error.as_deref().unwrap_or("");
            println!("{} {}: {} {error}", status.direction, status.url, status.state);
        }
    }
    Ok(())
}
