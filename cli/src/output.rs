//! What the user and scripts see: logs and live lines on stderr, events on stdout.

use crate::Failure;
use crate::args::LogArgs;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::Duration;
use streamengine::{Engine, EventReceiver, Protocol, Received, RelayDirection, RelayStatus, RtmpUrl};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// How long the end of a command waits for a slow reader of its events.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// The terminal or log file behind stderr.
pub(crate) struct Console {
    live: Option<MultiProgress>,
}

impl Console {
    /// Starts logging. Live lines are shown where stderr is a terminal and the log is for people.
    pub(crate) fn start(args: &LogArgs) -> Result<Self, Failure> {
        let filter = EnvFilter::try_new(&args.log)
            .map_err(|error| Failure::usage(format!("--log {}: {error}", args.log)))?;
        let terminal = std::io::stderr().is_terminal() && !args.log_json;
        let live = terminal.then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr()));
        let log =
            tracing_subscriber::fmt().with_env_filter(filter).with_writer(LogWriter { live: live.clone() });
        match args.log_json {
            true => log.json().init(),
            false => log.with_ansi(terminal).with_target(false).init(),
        }
        Ok(Self { live })
    }

    /// Lines to redraw in place; `None` where there is no terminal.
    pub(crate) fn live_lines(&self) -> Option<LiveLines> {
        self.live.clone().map(|live| LiveLines { live, bars: Vec::new() })
    }
}

/// Writes log lines above the live ones.
struct LogWriter {
    live: Option<MultiProgress>,
}

impl<'a> MakeWriter<'a> for LogWriter {
    type Writer = LogLine<'a>;

    fn make_writer(&'a self) -> LogLine<'a> {
        LogLine { live: self.live.as_ref() }
    }
}

struct LogLine<'a> {
    live: Option<&'a MultiProgress>,
}

impl Write for LogLine<'_> {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        let write = || std::io::stderr().write_all(text);
        match self.live {
            Some(live) => live.suspend(write)?,
            None => write()?,
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Lines at the foot of the terminal that are redrawn in place; gone when dropped.
pub(crate) struct LiveLines {
    live: MultiProgress,
    bars: Vec<ProgressBar>,
}

impl LiveLines {
    /// Replaces all lines.
    pub(crate) fn show(&mut self, lines: &[String]) {
        while self.bars.len() < lines.len() {
            let style = ProgressStyle::with_template("{wide_msg}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner());
            self.bars.push(self.live.add(ProgressBar::new_spinner().with_style(style)));
        }
        for surplus in self.bars.drain(lines.len()..) {
            surplus.finish_and_clear();
            self.live.remove(&surplus);
        }
        for (bar, line) in self.bars.iter().zip(lines) {
            bar.set_message(line.clone());
        }
    }
}

impl Drop for LiveLines {
    fn drop(&mut self) {
        self.show(&[]);
    }
}

/// What a relay is called in messages. URLs print masked.
pub(crate) fn relay_name(relay: &RelayStatus) -> String {
    match relay.direction {
        RelayDirection::Push => format!("push to {}", relay.url),
        RelayDirection::Pull => format!("pull from {}", relay.url),
    }
}

/// Why a relay has been given up.
pub(crate) fn why(relay: &RelayStatus) -> String {
    format!("{}: {}", relay_name(relay), relay.last_error.as_deref().unwrap_or("given up"))
}

/// The first line for scripts.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename = "ready")]
pub(crate) struct Ready {
    /// Addresses really bound.
    rtmp: Vec<SocketAddr>,
    rtmps: Vec<SocketAddr>,
    pid: u32,
    /// Where the command's own streams can be played.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) streams: Vec<RtmpUrl>,
}

impl Ready {
    pub(crate) fn new<'a>(engines: impl IntoIterator<Item = &'a Engine>) -> Self {
        let listeners: Vec<_> = engines.into_iter().flat_map(Engine::listeners).collect();
        let bound = |protocol: Protocol| -> Vec<SocketAddr> {
            let of_it = listeners.iter().filter(|listener| listener.protocol == protocol);
            of_it.map(|listener| listener.address).collect()
        };
        Self {
            rtmp: bound(Protocol::Rtmp),
            rtmps: bound(Protocol::Rtmps),
            pid: std::process::id(),
            streams: Vec::new(),
        }
    }
}

/// Where scripts ask for it, prints the line `ready` and then what comes from `events` until their engines are gone.
pub(crate) fn announce(
    json: bool,
    ready: &Ready,
    events: impl IntoIterator<Item = (EventReceiver, Origin)>,
) -> Option<EventLines> {
    json.then(|| {
        print(ready);
        EventLines::follow(events)
    })
}

/// Which of a command's servers an event comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Origin {
    /// The command has one.
    Only,
    /// One of several, by number: events carry it as `server`.
    Server(u8),
}

/// Prints events on stdout, one JSON object per line, on threads of its own: a reader that does not keep up holds
/// up nothing but its own lines, and is told how many it missed.
pub(crate) struct EventLines {
    printed: mpsc::Receiver<()>,
}

impl EventLines {
    fn follow(events: impl IntoIterator<Item = (EventReceiver, Origin)>) -> Self {
        let (printing, printed) = mpsc::channel();
        for (mut events, origin) in events {
            let printing = printing.clone();
            std::thread::spawn(move || {
                while let Some(received) = events.blocking_next() {
                    print_received(received, origin);
                }
                drop(printing);
            });
        }
        Self { printed }
    }

    /// Waits until everything is printed. Stop the engines before.
    pub(crate) fn finish(self) {
        // Nobody sends: an error means that all threads are done, which is what we wait for, or that the reader of
        // stdout is stuck.
        let _ = self.printed.recv_timeout(FLUSH_TIMEOUT);
    }
}

/// An event as it is printed.
#[derive(Serialize)]
struct Line<T> {
    #[serde(flatten)]
    event: T,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<u8>,
}

/// The reader of stdout did not keep up.
#[derive(Serialize)]
#[serde(tag = "event", rename = "lost")]
struct Lost {
    count: u64,
}

fn print_received(received: Received, origin: Origin) {
    let server = match origin {
        Origin::Only => None,
        Origin::Server(number) => Some(number),
    };
    match received {
        Received::Event(event) => print(&Line { event, server }),
        Received::Lagged(count) => print(&Line { event: Lost { count }, server }),
    }
}

/// Prints one line. A reader that has gone away does not end the server.
pub(crate) fn print(value: &impl Serialize) {
    let line = match serde_json::to_string(value) {
        Ok(line) => line + "\n",
        Err(error) => return tracing::error!("an event cannot be told as JSON: {error}"),
    };
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
}
