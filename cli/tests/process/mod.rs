//! The binary as a process: its lines as they come, its exit status in time, and its end when a test fails.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Longest wait for anything that should come soon; only a failing test waits that long.
const PATIENCE: Duration = Duration::from_secs(60);

/// All that the binary can be told to do, as its help lists them.
pub(crate) const COMMANDS: [&str; 14] = [
    "serve",
    "loop",
    "relay",
    "record",
    "demo",
    "probe",
    "latency",
    "check-compat",
    "keys",
    "sign",
    "token",
    "passwd",
    "reload",
    "check-config",
];

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_streamengine"));
    for (name, _) in
        std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("STREAMENGINE_"))
    {
        command.env_remove(name);
    }
    command.args(args).stdin(Stdio::null());
    command
}

/// Waits for what should come soon.
pub(crate) fn until(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "{what}: not in time");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// Runs the binary to its end.
pub(crate) fn run(args: &[&str]) -> Ended {
    run_with(args, &[])
}

/// Runs the binary with environment variables to its end.
pub(crate) fn run_with(args: &[&str], env: &[(&str, &str)]) -> Ended {
    let mut process = Process::start_with(args, env);
    let status = process.wait();
    let lines: Vec<String> = process.lines.iter().collect();
    Ended { code: status.code(), stdout: lines.join("\n"), stderr: process.stderr() }
}

/// How a process ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A running process; killed when dropped.
pub(crate) struct Process {
    child: Child,
    lines: Receiver<String>,
    stderr: Option<JoinHandle<String>>,
}

impl Process {
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::start_with(args, &[])
    }

    pub(crate) fn start_with(args: &[&str], env: &[(&str, &str)]) -> Self {
        Self::start_telling(args, env, Stdio::piped())
    }

    /// Starts it with another stderr; [`Self::stderr`] has only what went through a pipe.
    pub(crate) fn start_telling(args: &[&str], env: &[(&str, &str)], stderr: Stdio) -> Self {
        let mut command = command(args);
        command.envs(env.iter().copied()).stdout(Stdio::piped()).stderr(stderr);
        Self::spawn(command)
    }

    /// Starts it with the same stdout and stderr.
    pub(crate) fn start_on(args: &[&str], env: &[(&str, &str)], both: std::os::fd::OwnedFd) -> Self {
        let mut command = command(args);
        command.envs(env.iter().copied()).stdout(both.try_clone().unwrap()).stderr(both);
        Self::spawn(command)
    }

    /// Starts it by another program, which gets the binary's path as its last argument.
    pub(crate) fn start_by(program: &[&str]) -> Self {
        let binary = command(&[]);
        let mut command = Command::new(program[0]);
        command.args(&program[1..]).arg(binary.get_program()).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        for (name, _) in binary.get_envs() {
            command.env_remove(name);
        }
        Self::spawn(command)
    }

    fn spawn(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let (sender, lines) = channel();
        if let Some(stdout) = child.stdout.take().map(BufReader::new) {
            std::thread::spawn(move || {
                stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)).ok();
            });
        }
        let stderr = child.stderr.take().map(|mut errors| {
            std::thread::spawn(move || {
                let mut text = Vec::new();
                errors.read_to_end(&mut text).unwrap();
                String::from_utf8(text).unwrap()
            })
        });
        Self { child, lines, stderr }
    }

    /// The next line of stdout.
    pub(crate) fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("a line on stdout in time")
    }

    /// The same as JSON.
    pub(crate) fn event(&self) -> serde_json::Value {
        let line = self.line();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("not JSON: {line}: {error}"))
    }

    /// Lines of stdout up to the event of this name.
    pub(crate) fn until(&self, event: &str) -> serde_json::Value {
        loop {
            let next = self.event();
            if next["event"] == event {
                return next;
            }
        }
    }

    /// Whether stdout has ended.
    pub(crate) fn is_silent(&self) -> bool {
        matches!(self.lines.recv_timeout(PATIENCE), Err(RecvTimeoutError::Disconnected))
    }

    /// The port of the n-th RTMP listener, from the ready line.
    pub(crate) fn port(ready: &serde_json::Value, index: usize) -> u16 {
        let address: std::net::SocketAddr = ready["rtmp"][index].as_str().unwrap().parse().unwrap();
        address.port()
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent: Output = Command::new("kill").args([&format!("-{name}"), &pid]).output().unwrap();
        assert!(sent.status.success(), "{sent:?}");
    }

    /// Waits for the end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < PATIENCE, "the process did not end in time");
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }

    /// The lines of stdout that have not been taken; waits for its end.
    pub(crate) fn rest(&self) -> String {
        self.lines.iter().map(|line| line + "\n").collect()
    }

    /// Everything that it wrote to stderr; waits for its end.
    pub(crate) fn stderr(&mut self) -> String {
        self.stderr.take().map_or_else(String::new, |reading| reading.join().unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
