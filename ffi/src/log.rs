//! The log, which is one for the whole process.

use crate::c_string::c_string;
use crate::callback::{Callback, se_destroy_fn};
use crate::dispatcher::block_sigpipe;
use crate::handle;
use crate::queue::EventQueue;
use crate::status::{Failure, Outcome, guard, se_status};
use crate::text;
use parking_lot::{Condvar, Mutex, RwLock};
use std::cell::Cell;
use std::collections::VecDeque;
use std::ffi::{c_char, c_void};
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::{Registry, reload};

/// How important a line of the log is.
#[repr(i32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum se_log_level {
    /// Nothing at all.
    SE_LOG_OFF = 0,
    /// Something does not work.
    SE_LOG_ERROR = 1,
    /// Something may not work as intended.
    SE_LOG_WARN = 2,
    /// What an operator wants to know.
    SE_LOG_INFO = 3,
    /// What a developer wants to know.
    SE_LOG_DEBUG = 4,
    /// Everything.
    SE_LOG_TRACE = 5,
}

/// One line of the log. Texts are borrowed: valid until the callback returns.
#[repr(C)]
#[derive(Debug)]
pub struct se_log_record {
    /// The size of this structure in the library: fields behind it are not there.
    pub struct_size: usize,
    /// One of `se_log_level`.
    pub level: i32,
    /// Not used.
    pub reserved: i32,
    /// When, in microseconds since 1970 (UTC).
    pub time_us: u64,
    /// The part of the library that speaks: `rtmp`, `relay`, `net` ...
    pub target: *const c_char,
    /// The line, with its values behind it: `file plays stream=live/clip file=clip.flv`. Without secrets, and on one line.
    pub message: *const c_char,
}

/// Called with one line of the log, on the log's own thread.
pub type se_log_fn = Option<unsafe extern "C" fn(record: *const se_log_record, user_data: *mut c_void)>;

/// Has the log of all engines of the process delivered to a callback. Without one there is no log. In the place of the
/// callback before it, whose `destroy` is called once it has returned. Lines are delivered on one thread of their own, so a
/// slow callback delays no media; up to 4,096 lines wait for it, then the oldest are lost: a line says how many once it goes
/// on, and every engine says so at once (`SE_EVENT_LOG_LAGGED`). Where there was a callback before, the call blocks for up to
/// 2 s until it has got the lines that wait for it, except in that callback itself.
///
/// @param max_level The level up to which lines are delivered, one of `se_log_level`; `se_log_set_filter` can say more.
/// @param callback Called on the log's thread; NULL ends the log.
/// @param user_data For the callback.
/// @param destroy Called when `user_data` is needed no more; may be NULL.
/// @return `SE_E_INVALID_ARGUMENT` for another level, `SE_E_EXISTS` where the program is written in Rust and collects
/// traces itself: then they go there; `SE_E_STATE` in a child of `fork()` whose parent had a log.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn se_log_set_callback(
    max_level: i32,
    callback: se_log_fn,
    user_data: *mut c_void,
    destroy: se_destroy_fn,
) -> se_status {
    let callback = Callback::new(callback, user_data, destroy);
    guard(|| {
        let level = level_of(max_level)?;
        deliver(Targets::new().with_default(level), callback.present())
    })
}

/// Says which lines are delivered, in place of the level given before. May be called at any time.
///
/// @param directives A level (`off`, `error`, `warn`, `info`, `debug`, `trace`), or several with commas, for parts of
/// the library: `"info,rtmp=debug,net=warn"`. Parts: `rtmp`, `relay`, `file_loop`, `egress`, `hub`, `net`, `proto`, `media`,
/// `engine`, `ffi`, or the path of a Rust module.
/// @return `SE_E_INVALID_ARGUMENT` for what cannot be read; the filter stays as it was.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn se_log_set_filter(directives: *const c_char) -> se_status {
    guard(|| {
        // SAFETY: the header demands NULL or NUL-terminated text.
        let directives = unsafe { text::required(directives, "directives") }?;
        let targets = targets_of(directives)?;
        if is_of_the_parent() {
            return Err(handle::of_the_parent("log"));
        }
        let mut log = LOG.lock();
        log.targets = Some(targets);
        log.apply();
        Ok(())
    })
}

streamengine::bound! {
    /// Lines that wait for the callback; more are lost
    /// (test `lost_lines_are_told_by_every_engine_at_once_and_by_the_log_when_it_goes_on`).
    const MAX_WAITING: usize = 4_096, without usize::MAX;
    /// How long replacing a callback waits for its last lines
    /// (test `a_callback_that_does_not_return_does_not_keep_its_replacement_waiting_for_ever`).
    const LAST_LINES: Duration = Duration::from_secs(2), without Duration::from_secs(1 << 30);
}

/// Parts of the library, and where they are in it.
const PARTS: [(&str, &str); 10] = [
    ("rtmp", "streamengine::service::rtmp"),
    ("relay", "streamengine::service::relay"),
    ("file_loop", "streamengine::service::file_loop"),
    ("egress", "streamengine::egress"),
    ("hub", "streamengine::hub"),
    ("net", "streamengine::net"),
    ("proto", "streamengine::proto"),
    ("media", "streamengine::media"),
    ("engine", "streamengine::engine"),
    ("ffi", "streamengine_ffi"),
];

/// The function of a log callback.
type LogFn = unsafe extern "C" fn(*const se_log_record, *mut c_void);

/// The log of the process.
static LOG: Mutex<Log> = Mutex::new(Log { targets: None, writer: None, reload: None });
/// In which process it was installed: one more than its count of forks; 0 before.
static INSTALLED: AtomicUsize = AtomicUsize::new(0);
/// Where lines go at present: read by every thread that has something to say.
static WRITER: RwLock<Option<Arc<Writer>>> = RwLock::new(None);

thread_local! {
    /// Whether this is the log's own thread.
    static IS_WRITER: Cell<bool> = const { Cell::new(false) };
}

struct Log {
    /// What is wanted; `None` before anything was said.
    targets: Option<Targets>,
    writer: Option<Arc<Writer>>,
    /// Changes the filter of the collector, once that is installed.
    reload: Option<reload::Handle<Targets, Registry>>,
}

impl Log {
    /// Collects what the engine says, once for the process.
    fn install(&mut self) -> Outcome {
        if self.reload.is_some() {
            return Ok(());
        }
        let (filter, reload) = reload::Layer::new(Targets::new());
        tracing::subscriber::set_global_default(
            tracing_subscriber::registry().with(Collector.with_filter(filter)),
        )
        .map_err(|_| {
            Failure::new(se_status::SE_E_EXISTS, "log: this program collects traces itself; they go there")
        })?;
        self.reload = Some(reload);
        handle::watch_forks();
        INSTALLED.store(handle::forks() + 1, Ordering::Relaxed);
        Ok(())
    }

    /// Makes the collector let through what is wanted: nothing where nobody listens.
    fn apply(&self) {
        let wanted = self.targets.clone().filter(|_| self.writer.is_some());
        if let Some(reload) = &self.reload {
            // It fails only where the collector is gone, and it never goes.
            let _ = reload.reload(wanted.unwrap_or_default());
        }
    }
}

/// Whether the log is that of the process before `fork`: its thread is not in this one, and its locks may be held for ever.
fn is_of_the_parent() -> bool {
    ![0, handle::forks() + 1].contains(&INSTALLED.load(Ordering::Relaxed))
}

/// Puts a callback, or none, in the place of the one before.
fn deliver(targets: Targets, callback: Option<Callback<LogFn>>) -> Outcome {
    if is_of_the_parent() {
        return Err(handle::of_the_parent("log"));
    }
    let mut log = LOG.lock();
    let writer = match callback {
        Some(callback) => {
            log.install()?;
            Some(Writer::start(callback)?)
        }
        None => None,
    };
    log.targets = Some(targets);
    let before = std::mem::replace(&mut log.writer, writer.clone());
    *WRITER.write() = writer;
    log.apply();
    drop(log);
    if let Some(before) = before {
        before.finish();
    }
    Ok(())
}

fn level_of(number: i32) -> Outcome<LevelFilter> {
    use se_log_level::*;
    let levels = [
        (SE_LOG_OFF, LevelFilter::OFF),
        (SE_LOG_ERROR, LevelFilter::ERROR),
        (SE_LOG_WARN, LevelFilter::WARN),
        (SE_LOG_INFO, LevelFilter::INFO),
        (SE_LOG_DEBUG, LevelFilter::DEBUG),
        (SE_LOG_TRACE, LevelFilter::TRACE),
    ];
    let found = levels.iter().find(|(level, _)| *level as i32 == number);
    found
        .map(|(_, level)| *level)
        .ok_or_else(|| Failure::argument(format!("log: {number} is not an se_log_level")))
}

/// Reads `info,rtmp=debug`.
fn targets_of(directives: &str) -> Outcome<Targets> {
    let wrong = |directive: &str| {
        let text = format!("log: {directive:?} is neither a level nor PART=LEVEL");
        Failure::argument(format!("{text}; levels are off, error, warn, info, debug and trace"))
    };
    let mut targets = Targets::new();
    for directive in directives.split(',').map(str::trim).filter(|directive| !directive.is_empty()) {
        let (part, level) =
            directive.split_once('=').map_or((None, directive), |(part, level)| (Some(part), level));
        // An empty level would be read as "error".
        let level = Some(level.trim()).filter(|level| !level.is_empty()).and_then(|level| level.parse().ok());
        let level: LevelFilter = level.ok_or_else(|| wrong(directive))?;
        targets = match part.map(str::trim) {
            None => targets.with_default(level),
            Some("") => return Err(wrong(directive)),
            Some(part) => targets.with_target(module_of(part), level),
        };
    }
    Ok(targets)
}

fn module_of(part: &str) -> &str {
    PARTS.iter().find(|(name, _)| *name == part).map_or(part, |(_, module)| module)
}

/// The part of the library that a module belongs to; of others the module.
fn part_of(module: &str) -> &str {
    PARTS.iter().find(|(_, path)| module.starts_with(path)).map_or(module, |(name, _)| name)
}

/// Hands lines over to the log's thread.
struct Collector;

impl<S: Subscriber> Layer<S> for Collector {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        if is_of_the_parent() {
            return;
        }
        let mut text = Text::default();
        event.record(&mut text);
        let metadata = event.metadata();
        let line = Line {
            level: number_of(*metadata.level()),
            time_us: crate::queue::now_us(),
            part: part_of(metadata.target()),
            text: text.message + &text.values,
        };
        // Held meanwhile, so that no line comes to a writer that has been replaced and has finished.
        if let Some(writer) = &*WRITER.read() {
            writer.take(line);
        }
    }
}

fn number_of(level: Level) -> se_log_level {
    match level {
        Level::ERROR => se_log_level::SE_LOG_ERROR,
        Level::WARN => se_log_level::SE_LOG_WARN,
        Level::INFO => se_log_level::SE_LOG_INFO,
        Level::DEBUG => se_log_level::SE_LOG_DEBUG,
        Level::TRACE => se_log_level::SE_LOG_TRACE,
    }
}

/// The message and the values of an event, as text on one line.
#[derive(Default)]
struct Text {
    message: String,
    values: String,
}

impl tracing::field::Visit for Text {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        // Writing to a string cannot fail.
        let _ = match field.name() {
            "message" => write!(OneLine(&mut self.message), "{value:?}"),
            name => write!(OneLine(&mut self.values), " {name}={value:?}"),
        };
    }

    fn record_str(&mut self, field: &tracing::field::Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}

/// Escapes what would end a line or drive a terminal.
struct OneLine<'a>(&'a mut String);

impl std::fmt::Write for OneLine<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        for c in text.chars() {
            match c.is_control() {
                true => self.0.extend(c.escape_default()),
                false => self.0.push(c),
            }
        }
        Ok(())
    }
}

struct Line {
    level: se_log_level,
    time_us: u64,
    part: &'static str,
    text: String,
}

/// A callback with its thread, and the lines that wait for it.
struct Writer {
    state: Mutex<Waiting>,
    changed: Condvar,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Waiting {
    lines: VecDeque<Line>,
    /// Lines that were lost, and not told yet.
    lost: u64,
    is_last: bool,
    ended: bool,
}

impl Writer {
    fn start(callback: Callback<LogFn>) -> Outcome<Arc<Self>> {
        let writer =
            Arc::new(Self { state: Mutex::default(), changed: Condvar::new(), thread: Mutex::default() });
        let it = writer.clone();
        let run = move || it.run(callback);
        let thread = std::thread::Builder::new().name("se-log".to_owned()).spawn(run);
        let thread = thread
            .map_err(|error| Failure::new(se_status::SE_E_IO, format!("log: start its thread: {error}")))?;
        *writer.thread.lock() = Some(thread);
        Ok(writer)
    }

    /// Never waits.
    fn take(&self, line: Line) {
        let mut state = self.state.lock();
        let is_full = state.lines.len() >= MAX_WAITING.get();
        if is_full {
            state.lines.pop_front();
            state.lost += 1;
        }
        state.lines.push_back(line);
        drop(state);
        self.changed.notify_one();
        if is_full {
            EventQueue::log_line_lost();
        }
    }

    /// Lets the callback have the lines that wait, and ends its thread.
    fn finish(&self) {
        let mut state = self.state.lock();
        state.is_last = true;
        self.changed.notify_all();
        if IS_WRITER.get() {
            return;
        }
        let deadline = Instant::now() + LAST_LINES.get();
        while !state.ended {
            if self.changed.wait_until(&mut state, deadline).timed_out() {
                return;
            }
        }
        drop(state);
        // It has nothing left to do; but a host that ends now would find it alive.
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join();
        }
    }

    fn run(&self, callback: Callback<LogFn>) {
        block_sigpipe();
        IS_WRITER.set(true);
        while let Some(line) = self.next() {
            line.tell(&callback);
        }
        drop(callback);
        self.state.lock().ended = true;
        self.changed.notify_all();
    }

    /// The next line; `None` at the end.
    fn next(&self) -> Option<Line> {
        let mut state = self.state.lock();
        loop {
            if state.lost > 0 {
                let text = format!("{} lines of the log were lost", std::mem::take(&mut state.lost));
                let time_us = crate::queue::now_us();
                return Some(Line { level: se_log_level::SE_LOG_WARN, time_us, part: "ffi", text });
            }
            if let Some(line) = state.lines.pop_front() {
                return Some(line);
            }
            if state.is_last {
                return None;
            }
            self.changed.wait(&mut state);
        }
    }
}

impl Line {
    fn tell(self, callback: &Callback<LogFn>) {
        let (target, message) = (c_string(self.part), c_string(&self.text));
        let record = se_log_record {
            struct_size: size_of::<se_log_record>(),
            level: self.level as i32,
            reserved: 0,
            time_us: self.time_us,
            target: target.as_ptr(),
            message: message.as_ptr(),
        };
        // SAFETY: the header says what the callback is called with; the texts live until it returns.
        unsafe { (callback.function)(&raw const record, callback.user_data()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_name_parts_of_the_library_and_typos_are_refused() {
        let targets = targets_of("warn, rtmp=debug,ffi=trace,other=off").unwrap();
        assert!(targets.would_enable("streamengine::service::rtmp::end", &Level::DEBUG));
        assert!(!targets.would_enable("streamengine::net", &Level::INFO));
        assert!(targets.would_enable("streamengine_ffi::engine", &Level::TRACE));
        assert!(!targets.would_enable("other::part", &Level::ERROR));
        for wrong in ["inof", "rtmp=loud", "=info", "rtmp="] {
            assert_eq!(targets_of(wrong).unwrap_err().status, se_status::SE_E_INVALID_ARGUMENT, "{wrong}");
        }
    }

    #[test]
    fn modules_are_told_as_the_parts_that_directives_name() {
        assert_eq!(part_of("streamengine::service::rtmp::end"), "rtmp");
        assert_eq!(part_of("streamengine_ffi::engine"), "ffi");
        assert_eq!(part_of("other::part"), "other::part");
    }
}
