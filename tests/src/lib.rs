//! Harness of the black-box tests: the engine's binary, foreign peers, and verdicts that are numbers or diffs.
//!
//! Nothing here links the engine: it is started as a process and watched through its two contracts for
//! scripts, JSON events on stdout and exit status.

pub mod browser;
mod engine;
pub mod flv;
pub mod hls;
pub mod http;
pub mod nginx;
pub mod peers;
pub mod postgres;
mod process;
mod proxy;
pub mod raw;
mod recorder;
pub mod synthetic;
pub mod tls;
pub mod tshark;

pub use engine::{Engine, Serve, binary, streamengine};
pub use process::{Lines, Proc};
pub use proxy::{Fault, Proxy};
pub use recorder::Recorder;
pub use rustix::process::Signal;

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Longest wait for something that should happen soon; generous, because a busy machine is no fault.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A stream name that no other test of this run uses.
pub fn unique(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("{prefix}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A loopback address of this process alone, so that fixed ports of foreign servers cannot meet those of
/// another test run on the same machine.
pub fn own_address() -> Ipv4Addr {
    let pid = std::process::id();
    let part = |shift: u32| u8::try_from((pid >> shift) & 0x7f).unwrap_or(0);
    Ipv4Addr::new(127, 64 + part(14) % 128, part(7), 1 + part(0))
}

/// An address with a port that is free now, for servers that cannot bind port 0 themselves. Each port is
/// handed out once.
pub fn free_address() -> SocketAddr {
    static GIVEN: std::sync::Mutex<Vec<u16>> = std::sync::Mutex::new(Vec::new());
    loop {
        let listener = TcpListener::bind((own_address(), 0)).expect("a free port on loopback");
        let address = listener.local_addr().expect("bound address");
        let mut given = locked(&GIVEN);
        if !given.contains(&address.port()) {
            given.push(address.port());
            return address;
        }
    }
}

/// The root of the workspace.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("workspace").to_owned()
}

/// The clip that the project brings along: H.264 and AAC, about 10 s, legacy FLV tags.
pub fn demo_clip() -> PathBuf {
    workspace().join("examples/media/demo.flv")
}

/// A clip of the shared folder `../shared/media` (or `$STREAMENGINE_SHARED/media`), if it is there.
pub fn shared_clip(name: &str) -> Option<PathBuf> {
    let shared =
        std::env::var_os("STREAMENGINE_SHARED").map_or_else(|| workspace().join("../shared"), PathBuf::from);
    let path = shared.join("media").join(name);
    path.is_file().then_some(path)
}

/// Whether everything in `needs` is there; if not, says on stderr that the running test is skipped and why.
///
/// Names: a program (`ffmpeg`), `gst:ELEMENT`, `nginx-rtmp`, `current-ffmpeg`, `browser`, `npm:PACKAGE`, `root`, `capture`,
/// `shared:FILE`.
pub fn requires(needs: &[&str]) -> bool {
    let Some(reason) = needs.iter().find_map(|need| missing(need)) else { return true };
    say_skipped(&reason);
    false
}

/// Says on stderr that the running test, or a part of it, is skipped and why.
pub fn say_skipped(reason: &str) {
    let test = std::thread::current().name().unwrap_or("?").to_owned();
    // Not eprintln: the test runner swallows what passing tests print that way.
    let _ = writeln!(std::io::stderr(), "SKIP {test}: {reason}");
}

/// Returns from the test, with a printed reason, where something it needs is not there.
#[macro_export]
macro_rules! needs {
    ($($need:expr),+ $(,)?) => {
        if !$crate::requires(&[$($need),+]) {
            return;
        }
    };
}

fn missing(need: &str) -> Option<String> {
    let absent = |there: bool, what: String| (!there).then_some(what);
    match need.split_once(':') {
        Some(("gst", element)) => {
            absent(peers::gst_has(element), format!("GStreamer element {element} is not installed"))
        }
        Some(("npm", package)) => {
            absent(browser::package_file(package).is_dir(), format!("the npm package {package} is absent"))
        }
        Some(("shared", file)) => {
            absent(shared_clip(file).is_some(), format!("shared media {file} is absent"))
        }
        _ => match need {
            "root" => absent(is_root(), "needs root".into()),
            "loop-devices" => {
                absent(Path::new("/dev/loop-control").exists(), "this system has no loop devices".into())
            }
            "nginx-rtmp" => {
                absent(nginx::module().is_some(), "nginx with its rtmp module is not installed".into())
            }
            "postgresql" => {
                let is_there = postgres::programs().is_some() && has_program("psql");
                absent(is_there, "PostgreSQL is not installed".into())
            }
            "browser" => browser::missing(),
            "current-ffmpeg" => absent(peers::current_ffmpeg().is_some(), "current ffmpeg is absent".into()),
            "capture" => absent(
                is_root() && has_program("tshark") && has_program("dumpcap"),
                "needs tshark, dumpcap and root to capture".into(),
            ),
            program => absent(has_program(program), format!("{program} is not installed")),
        },
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn has_program(name: &str) -> bool {
    find_program(name).is_some()
}

/// Where a program is, by `PATH` and the system's sbin folders.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// Asks again and again until `check` gives something or the time is over; for facts without an event (a
/// file's size, a process's memory, a foreign server's port).
pub fn poll<T>(patience: Duration, mut check: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + patience;
    loop {
        if let Some(value) = check() {
            return Some(value);
        }
        if Instant::now() >= end {
            return None;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A lock that does not care whether a failed assertion was made while it was held.
fn locked<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Whether times and memory are judged as they are promised: on a machine that does nothing else, where `STREAMENGINE_IDLE` is set.
/// A gate compiles beside the suites; there, what is seen is that things come and go on.
pub fn is_idle() -> bool {
    std::env::var_os("STREAMENGINE_IDLE").is_some()
}

/// The longest that something may take which is promised within so long: so long on an idle machine, and elsewhere as long as
/// others may hold a process up besides.
pub fn at_most(promised: Duration) -> Duration {
    promised + Duration::from_secs(if is_idle() { 0 } else { 2 })
}

/// Lets this process open thousands of sockets.
pub fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}
