//! The engine's binary as a process.

use crate::{Lines, PATIENCE, Proc, Signal, poll};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// The `streamengine` binary: `$STREAMENGINE_BIN`, else the one built with the same profile as the tests.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("STREAMENGINE_BIN") {
        return path.into();
    }
    let tests = std::env::current_exe().expect("own path");
    let path = tests.ancestors().nth(2).expect("target folder").join("streamengine");
    assert!(path.is_file(), "{} is missing: cargo build -p streamengine-cli", path.display());
    path
}

/// Runs `streamengine` with these arguments and watches it.
pub fn streamengine<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> Proc {
    let mut command = Command::new(binary());
    command.args(args);
    Proc::spawn("streamengine", command)
}

/// How to start `streamengine serve`.
#[derive(Default)]
pub struct Serve {
    prefix: Vec<String>,
    args: Vec<String>,
    rtmp: Option<String>,
    http: bool,
    config: Option<String>,
    env: Vec<(String, String)>,
}

impl Serve {
    /// Listens here instead of on a free port of 127.0.0.1.
    pub fn rtmp(mut self, address: impl ToString) -> Self {
        self.rtmp = Some(address.to_string());
        self
    }

    /// One more argument.
    pub fn arg(mut self, arg: impl AsRef<Path>) -> Self {
        self.args.push(arg.as_ref().to_string_lossy().into_owned());
        self
    }

    /// Publishing needs this key.
    pub fn key(self, key: &str) -> Self {
        self.arg("--publish-key").arg(key)
    }

    /// Listens for RTMPS too, on a free port.
    pub fn rtmps(self, cert: &Path, key: &Path) -> Self {
        self.arg("--rtmps").arg("127.0.0.1:0").arg("--cert").arg(cert).arg("--key").arg(key)
    }

    /// Listens for HTTP too, on a free port.
    pub fn http(self) -> Self {
        self.http_at(SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// Listens for HTTP here.
    pub fn http_at(mut self, address: SocketAddr) -> Self {
        self.http = true;
        self.arg("--http").arg(address.to_string())
    }

    /// Listens for HTTPS, on a free port.
    pub fn https(mut self, cert: &Path, key: &Path) -> Self {
        self.http = true;
        self.arg("--https").arg("127.0.0.1:0").arg("--cert").arg(cert).arg("--key").arg(key)
    }

    /// A configuration file with this text.
    pub fn config(mut self, toml: impl Into<String>) -> Self {
        self.config = Some(toml.into());
        self
    }

    /// Overrides one limit.
    pub fn limit(self, name: &str, value: impl ToString) -> Self {
        self.env(&format!("STREAMENGINE_LIMITS__{}", name.to_uppercase()), value)
    }

    /// An environment variable.
    pub fn env(mut self, name: &str, value: impl ToString) -> Self {
        self.env.push((name.to_owned(), value.to_string()));
        self
    }

    /// A program with arguments that starts the engine: `prlimit --nofile=64`.
    pub fn under(mut self, prefix: &[&str]) -> Self {
        self.prefix = prefix.iter().map(|&part| part.to_owned()).collect();
        self
    }

    /// Starts it and waits until it is ready.
    pub fn start(self) -> Engine {
        let folder = tempfile::tempdir().expect("temporary folder");
        let mut words: Vec<String> = self.prefix;
        words.push(binary().to_string_lossy().into_owned());
        words.extend(["serve", "--json"].map(str::to_owned));
        words.extend(["--rtmp".to_owned(), self.rtmp.unwrap_or_else(|| "127.0.0.1:0".to_owned())]);
        if !self.http {
            words.push("--no-http".to_owned());
        }
        words.extend(self.args);
        if let Some(text) = self.config {
            let path = folder.path().join("streamengine.toml");
            std::fs::write(&path, text).expect("configuration file");
            words.extend(["--config".to_owned(), path.to_string_lossy().into_owned()]);
        }
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).envs(self.env).current_dir(folder.path());
        Engine::ready(Proc::spawn("streamengine serve", command), folder)
    }
}

/// A running `streamengine serve`.
pub struct Engine {
    /// The process.
    pub process: Proc,
    /// Where it listens for RTMP.
    pub rtmp: SocketAddr,
    /// Where it listens for RTMPS.
    pub rtmps: Option<SocketAddr>,
    http: Option<SocketAddr>,
    https: Option<SocketAddr>,
    folder: TempDir,
}

impl Engine {
    /// How to start one.
    pub fn serve() -> Serve {
        Serve::default()
    }

    /// One with the defaults: any app, publishing from this machine.
    pub fn start() -> Self {
        Serve::default().start()
    }

    fn ready(process: Proc, folder: TempDir) -> Self {
        let Some(first) = process.out.find_after(0, PATIENCE, |line| Some(line.to_owned())) else {
            panic!("streamengine serve printed nothing\n{}", process.log());
        };
        let ready: Value = serde_json::from_str(&first)
            .unwrap_or_else(|error| panic!("the first line is not JSON: {error}: {first}"));
        assert_eq!(ready["event"], "ready", "the first line is not the ready event: {first}");
        let address = |list: &str| -> Option<SocketAddr> {
            ready[list][0].as_str().map(|text| text.parse().expect("an address"))
        };
        let rtmp = address("rtmp").unwrap_or_else(|| panic!("no RTMP address in {first}"));
        let (rtmps, http, https) = (address("rtmps"), address("http"), address("https"));
        Self { process, rtmp, rtmps, http, https, folder }
    }

    /// Where it listens for HTTP.
    pub fn http(&self) -> SocketAddr {
        self.http.expect("an HTTP listener")
    }

    /// Where it listens for HTTP with TLS.
    pub fn https(&self) -> SocketAddr {
        self.https.expect("an HTTPS listener")
    }

    /// Its working folder, empty at start.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The URL of a stream, `name` being `app/stream`.
    pub fn url(&self, name: &str) -> String {
        format!("rtmp://{}/{name}", self.rtmp)
    }

    /// The RTMPS URL of a stream on host `localhost`.
    pub fn rtmps_url(&self, name: &str) -> String {
        format!("rtmps://localhost:{}/{name}", self.rtmps.expect("an RTMPS listener").port())
    }

    /// A URL of its HTTP or HTTPS listener.
    pub fn http_url(&self, path: &str) -> String {
        match (self.http, self.https) {
            (Some(http), _) => format!("http://{http}{path}"),
            // The name that certificates have.
            (None, Some(https)) => format!("https://localhost:{}{path}", https.port()),
            (None, None) => panic!("no HTTP listener"),
        }
    }

    /// The page that publishes a stream.
    pub fn studio(&self, name: &str) -> String {
        self.http_url(&format!("/publish/{name}"))
    }

    /// The page that plays a stream.
    pub fn page(&self, name: &str) -> String {
        self.http_url(&format!("/play/{name}"))
    }

    /// Its stdout: one JSON object a line.
    pub fn lines(&self) -> &Lines {
        &self.process.out
    }

    /// The events so far.
    pub fn events(&self) -> Vec<Value> {
        self.lines().all().iter().map(|line| parse(line)).collect()
    }

    /// The events of this kind so far.
    pub fn events_of(&self, kind: &str) -> Vec<Value> {
        self.events().into_iter().filter(|event| event["event"] == kind).collect()
    }

    /// Waits for an event of this kind that `is` accepts; fails the test after [`PATIENCE`].
    pub fn wait(&self, kind: &str, is: impl FnMut(&Value) -> bool) -> Value {
        self.wait_after(0, kind, PATIENCE, is)
    }

    /// The same, for events from line `mark` on, with an own deadline.
    pub fn wait_after(
        &self,
        mark: usize,
        kind: &str,
        patience: Duration,
        mut is: impl FnMut(&Value) -> bool,
    ) -> Value {
        let found = self.lines().find_after(mark, patience, |line| {
            let event = parse(line);
            (event["event"] == kind && is(&event)).then_some(event)
        });
        found.unwrap_or_else(|| panic!("no such event {kind:?} within {patience:?}\n{}", self.process.log()))
    }

    /// Waits until the stream `app/stream` has a publisher.
    pub fn wait_publish(&self, name: &str) -> Value {
        self.wait("stream-started", |event| event["stream"] == name)
    }

    /// Waits until the stream has been left by its publisher.
    pub fn wait_unpublish(&self, name: &str) -> Value {
        self.wait("stream-ended", |event| event["stream"] == name)
    }

    /// Waits until the stream has had `count` players.
    pub fn wait_players(&self, name: &str, count: usize) {
        let mut seen = 0;
        self.wait("play-started", |event| {
            seen += usize::from(event["stream"] == name);
            seen >= count
        });
    }

    /// Resident memory that no file is behind, in KiB. How much of the program's file is resident too depends on the
    /// machine, and grows with every piece of code that is used for the first time.
    pub fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.pid())).expect("status");
        let line = status.lines().find(|line| line.starts_with("RssAnon:")).expect("RssAnon");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("KiB")
    }

    /// CPU time used so far.
    pub fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.pid())).expect("stat");
        let fields: Vec<&str> = stat.rsplit_once(')').expect("stat").1.split_whitespace().collect();
        let ticks: u64 = [11, 12].iter().filter_map(|&i| fields[i].parse::<u64>().ok()).sum();
        Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second())
    }

    /// Open file descriptors.
    pub fn files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.process.pid())).map_or(0, Iterator::count)
    }

    /// Connections to an IPv4 address of its listeners of which it has read all that has come.
    pub fn read_to_the_end(&self, listener: SocketAddr) -> usize {
        let SocketAddr::V4(listener) = listener else { panic!("{listener} is none of IPv4") };
        // As the kernel writes it: the address as one number of this machine.
        let place = u32::from_ne_bytes(listener.ip().octets());
        let place = format!("{place:08X}:{:04X}", listener.port());
        let table = std::fs::read_to_string(format!("/proc/{}/net/tcp", self.process.pid())).expect("table");
        let is_read = |line: &&str| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            // Established, with nothing to send and nothing to read.
            matches!(fields[..], [_, local, _, "01", "00000000:00000000", ..] if local == place)
        };
        table.lines().filter(is_read).count()
    }

    /// Waits until no more than `count` descriptors are open.
    pub fn wait_files(&self, count: usize, patience: Duration) {
        let settled = poll(patience, || (self.files() <= count).then_some(()));
        assert!(settled.is_some(), "{} descriptors, expected {count}\n{}", self.files(), self.process.log());
    }

    /// Asks it to drain and gives its exit code.
    pub fn stop(self) -> i32 {
        self.process.signal(Signal::TERM);
        self.process.wait(PATIENCE)
    }
}

fn parse(line: &str) -> Value {
    serde_json::from_str(line)
        .unwrap_or_else(|error| panic!("stdout has a line that is not JSON: {error}: {line:?}"))
}
