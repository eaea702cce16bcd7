//! All that an engine gives out, as one text.

use parking_lot::Mutex;
use serde::Serialize;
use std::fmt::Debug;
use std::io;
use std::sync::Arc;
use streamengine::{Engine, EventReceiver, Received};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

#[derive(Clone, Default)]
pub(crate) struct Output(Arc<Mutex<Vec<u8>>>);

impl Output {
    /// Collects the log of this process from now on, at all levels and of all crates.
    pub(crate) fn collect() -> Self {
        let output = Self::default();
        let writer = output.clone();
        tracing_subscriber::fmt()
            .with_ansi(false)
            .with_max_level(LevelFilter::TRACE)
            .with_writer(writer)
            .init();
        output
    }

    pub(crate) fn add(&self, what: &str, text: &str) {
        self.0.lock().extend_from_slice(format!("{what}: {text}\n").as_bytes());
    }

    /// Adds what has happened, as JSON and as Rust sees it.
    pub(crate) fn add_events(&self, mut events: EventReceiver) {
        while let Some(received) = events.try_next() {
            match received {
                Received::Event(event) => self.add("event", &both(&event)),
                Received::Lagged(count) => panic!("{count} events lost"),
            }
        }
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock()).into_owned()
    }
}

impl io::Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Output {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// Everything that an engine lists.
pub(crate) fn statuses(engine: &Engine) -> String {
    [
        both(&engine.listeners()),
        both(&engine.sessions()),
        both(&engine.streams()),
        both(&engine.relays()),
        both(&engine.origins()),
        both(&engine.files()),
        both(&engine.stats()),
        both(&engine.snapshot()),
    ]
    .join("\n")
}

fn both<T: Serialize + Debug>(value: &T) -> String {
    format!("{}\n{value:?}", serde_json::to_string(value).unwrap())
}
