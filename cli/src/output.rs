//! What the user and scripts see: logs and live lines on stderr, events on stdout. No work waits for who reads them.

use crate::Failure;
use crate::args::LogArgs;
use crate::lines::{FLUSH_TIMEOUT, Lines, WholeLines};
use crate::tail::TailLayer;
use indicatif::{MultiProgress, ProgressDrawTarget};
use serde::Serialize;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::fs::File;
use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use streamengine::{
    Engine, ErrorKind, EventReceiver, LogTail, Protocol, Received, RelayDirection, RelayState, RelayStatus,
    RtmpUrl,
};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// The terminal or log file behind stderr.
pub(crate) struct Console {
    lines: Lines,
    is_live: bool,
    is_quiet: bool,
    /// The newest lines of the log.
    pub(crate) tail: LogTail,
}

impl Console {
    /// Starts logging. Live lines are shown where stderr is a terminal that can redraw them and the log is for people.
    pub(crate) fn start(args: &LogArgs) -> Result<Self, Failure> {
        let level = args.log.as_deref().unwrap_or(if args.quiet { "warn" } else { DEFAULT_LEVEL });
        let filter = filter(level).map_err(|why| Failure::usage(format!("--log {level}: {why}")))?;
        let is_terminal = std::io::stderr().is_terminal() && !is_set_to("TERM", "dumb");
        let is_live = is_terminal && !args.log_json && !args.quiet;
        // https://no-color.org: whatever it is set to, unless that is nothing.
        let has_colours = is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let live = is_live.then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr()));
        let told = if args.log_json { missing_in_json } else { missing_in_words };
        let lines = Lines::start(std::io::stderr(), told, live);
        // A failure to write is counted by who writes; tracing would tell of it on stderr again.
        let log =
            tracing_subscriber::fmt::layer().log_internal_errors(false).with_writer(LogWriter(lines.clone()));
        let tail = LogTail::default();
        let registry = tracing_subscriber::registry().with(filter).with(TailLayer(tail.clone()));
        match args.log_json {
            true => registry.with(log.json()).init(),
            false => registry.with(log.with_ansi(has_colours).with_target(false)).init(),
        }
        tell_panics(lines.clone());
        Ok(Self { lines, is_live, is_quiet: args.quiet, tail })
    }

    /// Lines to redraw in place; `None` where there is no terminal.
    pub(crate) fn live_lines(&self) -> Option<LiveLines> {
        self.is_live.then(|| LiveLines(self.lines.clone()))
    }

    /// Says something to people on stdout, after the log so far; not with `--quiet`.
    pub(crate) fn say(&self, text: String) {
        if !self.is_quiet {
            self.lines.say(text);
        }
    }

    /// Writes the last line, if there is one, and waits a moment for who reads.
    pub(crate) fn end(self, last: Option<String>) {
        self.lines.end(last);
    }
}

/// What is logged where nothing is said.
const DEFAULT_LEVEL: &str = "info";

/// What `--log` may name besides levels, with the modules in it: nothing else writes to the log.
const LOG_TARGET: &str = "streamengine";

/// Reads `--log`. The library's own parser takes any word for the name of a crate: `warning` would silence everything.
fn filter(text: &str) -> Result<Targets, String> {
    let possible = || {
        format!(
            "possible are error, warn, info, debug, trace and off, and with commas between them also \
             TARGET=LEVEL, such as info,streamengine=debug; targets are {LOG_TARGET} and the modules in it"
        )
    };
    // An empty variable of the environment is one that says nothing.
    let mut directives: Vec<_> = text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
    if directives.is_empty() {
        directives.push(DEFAULT_LEVEL);
    }
    let mut targets = Targets::new();
    for directive in directives {
        let (target, name) = match directive.split_once('=') {
            Some((target, level)) => (Some(target), level),
            None => (None, directive),
        };
        let Ok(level) = name.parse::<LevelFilter>() else {
            return Err(format!("there is no level {name:?}{}; {}", nearest_level(name), possible()));
        };
        targets = match target {
            None => targets.with_default(level),
            Some(target) if target.split("::").next() == Some(LOG_TARGET) => {
                targets.with_target(target, level)
            }
            Some(target) => {
                return Err(format!("nothing called {target:?} writes to the log; {}", possible()));
            }
        };
    }
    Ok(targets)
}

/// A hint for the names that other programs have for levels.
fn nearest_level(level: &str) -> &'static str {
    match level.to_ascii_lowercase().as_str() {
        "warning" | "warnings" => " (did you mean warn?)",
        "err" | "errors" | "critical" | "fatal" => " (did you mean error?)",
        "information" | "notice" | "normal" => " (did you mean info?)",
        "verbose" | "dbg" => " (did you mean debug?)",
        "none" | "quiet" | "silent" => " (did you mean off?)",
        _ => "",
    }
}

fn is_set_to(variable: &str, value: &str) -> bool {
    std::env::var_os(variable).is_some_and(|set| set == value)
}

/// A panic is told like a line of the log: the usual hook writes to stderr where it happens, which may be an engine's
/// thread.
fn tell_panics(lines: Lines) {
    std::panic::set_hook(Box::new(move |panic| {
        let trace = Backtrace::capture();
        let trace = match trace.status() {
            BacktraceStatus::Captured => format!("{trace}\n"),
            _ => String::new(),
        };
        lines.put(format!("a bug in streamengine: {panic}\n{trace}"));
    }));
}

fn now() -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = SystemTime.format_time(&mut format::Writer::new(&mut text));
    text
}

const MISSING: &str = "lines of the log are missing here: stderr did not take them";

fn missing_in_words(count: u64) -> String {
    format!("{}  WARN {count} {MISSING}\n", now())
}

fn missing_in_json(count: u64) -> String {
    let fields = serde_json::json!({ "message": format!("{count} {MISSING}"), "lines": count });
    let line = serde_json::json!({
        "timestamp": now(), "level": "WARN", "fields": fields, "target": "streamengine"
    });
    format!("{line}\n")
}

/// Puts the lines of the log into the queue.
struct LogWriter(Lines);

impl<'a> MakeWriter<'a> for LogWriter {
    type Writer = LogLine<'a>;

    fn make_writer(&'a self) -> LogLine<'a> {
        LogLine(&self.0)
    }
}

struct LogLine<'a>(&'a Lines);

impl Write for LogLine<'_> {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        self.0.put(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Lines at the foot of the terminal that are redrawn in place; gone when dropped.
pub(crate) struct LiveLines(Lines);

impl LiveLines {
    /// Replaces all lines.
    pub(crate) fn show(&mut self, lines: Vec<String>) {
        self.0.foot(lines);
    }
}

impl Drop for LiveLines {
    fn drop(&mut self) {
        self.show(Vec::new());
    }
}

/// What a relay is called in messages. URLs print masked.
pub(crate) fn relay_name(relay: &RelayStatus) -> String {
    match relay.direction {
        RelayDirection::Push => format!("push to {}", relay.url),
        RelayDirection::Pull => format!("pull from {}", relay.url),
    }
}

/// Why a relay has been given up, or has not got through so far, and what to do about it.
pub(crate) fn why(relay: &RelayStatus) -> String {
    let Some(error) = relay.last_error.as_deref() else {
        return format!("{}: {}", relay_name(relay), state_in_words(relay.state));
    };
    let is_certificate = relay.last_error_kind == Some(ErrorKind::Tls) && error.contains("certificate");
    let way_out = match is_certificate {
        // Being listed helps against doubt about who made it, not against other faults.
        true if error.contains("trusted") => "; --ca FILE trusts it, --insecure takes any",
        true => "; --insecure takes any",
        false => "",
    };
    format!("{}: {error}{way_out}", relay_name(relay))
}

/// Where a relay stands, for people.
pub(crate) fn state_in_words(state: RelayState) -> &'static str {
    match state {
        RelayState::Idle => "waiting",
        RelayState::Resolving | RelayState::Connecting | RelayState::Handshaking => "connecting",
        RelayState::Publishing => "sending",
        RelayState::Playing => "receiving",
        RelayState::Stalled => "stalled",
        RelayState::BackingOff => "retrying",
        RelayState::Failed => "given up",
        other => other.as_str(),
    }
}

/// The first line for scripts.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename = "ready")]
pub(crate) struct Ready {
    /// Addresses really bound.
    rtmp: Vec<SocketAddr>,
    rtmps: Vec<SocketAddr>,
    http: Vec<SocketAddr>,
    https: Vec<SocketAddr>,
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
            http: bound(Protocol::Http),
            https: bound(Protocol::Https),
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
    json.then(|| EventLines::follow(json_line(ready), events.into_iter().collect()))
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
    fn follow(first: String, events: Vec<(EventReceiver, Origin)>) -> Self {
        let (printing, printed) = mpsc::channel::<()>();
        std::thread::spawn(move || {
            let out = Arc::new(Mutex::new(EventWriter::new()));
            lock(&out).write(&first);
            for (mut events, origin) in events {
                let (printing, out) = (printing.clone(), out.clone());
                std::thread::spawn(move || {
                    while let Some(received) = events.blocking_next() {
                        lock(&out).write_received(received, origin);
                    }
                    drop(printing);
                });
            }
        });
        Self { printed }
    }

    /// Waits until everything is printed. Stop the engines before.
    pub(crate) fn finish(self) {
        // Nobody sends: an error means that all threads are done, which is what we wait for, or that the reader of
        // stdout is stuck.
        let _ = self.printed.recv_timeout(FLUSH_TIMEOUT.get());
    }
}

fn lock(out: &Mutex<EventWriter>) -> std::sync::MutexGuard<'_, EventWriter> {
    out.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An event as it is printed.
#[derive(Serialize)]
struct Line<T> {
    #[serde(flatten)]
    event: T,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<u8>,
}

/// The reader of stdout did not keep up, or could not be written to.
#[derive(Serialize)]
#[serde(tag = "event", rename = "lost")]
struct Lost {
    count: u64,
}

/// Writes lines to stdout. A reader that has gone away, or a disk that is full, does not end the server.
struct EventWriter {
    /// `None` where the process was started without stdout.
    out: Option<WholeLines<File>>,
    lost: u64,
}

impl EventWriter {
    fn new() -> Self {
        Self { out: raw_stdout().ok().map(WholeLines::new), lost: 0 }
    }

    fn write(&mut self, line: &str) {
        let lost = if self.lost > 0 { json_line(&Lost { count: self.lost }) } else { String::new() };
        let Some(out) = &mut self.out else { return };
        match out.write(lost.as_bytes()) {
            Ok(()) => self.lost = 0,
            Err(_) => return self.lost += 1,
        }
        if out.write(line.as_bytes()).is_err() {
            self.lost += 1;
        }
    }

    fn write_received(&mut self, received: Received, origin: Origin) {
        let server = match origin {
            Origin::Only => None,
            Origin::Server(number) => Some(number),
        };
        self.write(&match received {
            Received::Event(event) => json_line(&Line { event, server }),
            Received::Lagged(count) => json_line(&Line { event: Lost { count }, server }),
        });
    }
}

/// Stdout without the buffer that Rust puts before it, which would send what has failed once more.
fn raw_stdout() -> std::io::Result<File> {
    #[cfg(unix)]
    let own = std::os::fd::AsFd::as_fd(&std::io::stdout()).try_clone_to_owned();
    #[cfg(windows)]
    let own = std::os::windows::io::AsHandle::as_handle(&std::io::stdout()).try_clone_to_owned();
    own.map(File::from)
}

/// A value as a line; empty, and an error in the log, where it has no JSON form.
fn json_line(value: &impl Serialize) -> String {
    match serde_json::to_string(value) {
        Ok(line) => line + "\n",
        Err(error) => {
            tracing::error!("an event cannot be told as JSON: {error}");
            String::new()
        }
    }
}

/// Prints a command's result on stdout.
pub(crate) fn print_result(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| Failure::running(format!("write to stdout: {error}")))
}

/// [`print_result`] of one JSON object on a line.
pub(crate) fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    print_result(&json_line(value))
}

/// What a command has found out, good or bad.
pub(crate) trait Conclusion: Serialize {
    /// For people.
    fn text(&self) -> String;

    /// What of it is a failure of the command.
    fn failed(&self) -> Option<String>;
}

/// Prints what a command has found out, and fails afterwards where that is a failure.
pub(crate) fn conclude(command: &str, found: &impl Conclusion, is_json: bool) -> Result<(), Failure> {
    match is_json {
        true => print_json(found)?,
        false => print_result(&found.text())?,
    }
    found.failed().map_or(Ok(()), |why| Err(Failure::running(format!("{command}: {why}"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_of_levels_and_our_crates_is_taken() {
        for text in ["info", "WARN", "off", "info,streamengine=debug", "streamengine::service=trace, warn"] {
            filter(text).unwrap();
        }
    }

    #[test]
    fn a_filter_that_would_silence_by_mistake_is_an_error_that_lists_what_is_possible() {
        for text in ["warning", "inof", "streamengine", "streamengine=loud", "stremengine=debug", "=="] {
            let error = filter(text).err().unwrap_or_else(|| panic!("{text} was taken"));
            assert!(error.contains("error, warn, info, debug, trace and off"), "{text}: {error}");
        }
        assert!(filter("warning").err().unwrap().contains("did you mean warn?"));
    }
}
