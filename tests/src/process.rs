//! Child processes: watched line by line, ended as a group when the test ends.

use crate::locked;
use rustix::process::{Pid, Signal, kill_process_group};
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::PoisonError;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// Lines that a process has printed so far; waits for more.
#[derive(Clone, Default)]
pub struct Lines {
    shared: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Default)]
struct State {
    lines: Vec<String>,
    closed: bool,
}

impl Lines {
    fn read_all(&self, source: impl Read) {
        let mut source = BufReader::new(source);
        let mut line = Vec::new();
        while source.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
            let text = String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(&line)).into_owned();
            locked(&self.shared.0).lines.push(text);
            self.shared.1.notify_all();
            line.clear();
        }
        locked(&self.shared.0).closed = true;
        self.shared.1.notify_all();
    }

    /// Everything printed so far.
    pub fn all(&self) -> Vec<String> {
        locked(&self.shared.0).lines.clone()
    }

    /// How many lines there are now; a mark for [`find_after`](Self::find_after).
    pub fn mark(&self) -> usize {
        locked(&self.shared.0).lines.len()
    }

    /// Waits for the first line, from line `mark` on, of which `pick` makes something.
    ///
    /// `None` after `patience`, or when the process has closed its output without such a line.
    pub fn find_after<T>(
        &self,
        mark: usize,
        patience: Duration,
        mut pick: impl FnMut(&str) -> Option<T>,
    ) -> Option<T> {
        let end = Instant::now() + patience;
        let mut state = locked(&self.shared.0);
        let mut seen = mark;
        loop {
            while seen < state.lines.len() {
                if let Some(found) = pick(&state.lines[seen]) {
                    return Some(found);
                }
                seen += 1;
            }
            let left = end.saturating_duration_since(Instant::now());
            if state.closed || left.is_zero() {
                return None;
            }
            state = self.shared.1.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits for a line that contains `text`.
    pub fn find(&self, text: &str, patience: Duration) -> Option<String> {
        self.find_after(0, patience, |line| line.contains(text).then(|| line.to_owned()))
    }
}

/// A running program with its own process group. Dropping it kills the group.
pub struct Proc {
    name: String,
    pid: u32,
    /// What it prints on stdout.
    pub out: Lines,
    /// What it prints on stderr.
    pub err: Lines,
    exit: Arc<(Mutex<Option<ExitStatus>>, Condvar)>,
}

impl Proc {
    /// Starts the program; `name` appears in failures.
    pub fn spawn(name: &str, mut command: Command) -> Self {
        use std::os::unix::process::CommandExt;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: cannot start {command:?}: {error}"));
        let (out, err) = (Lines::default(), Lines::default());
        let (stdout, stderr) = (child.stdout.take().expect("pipe"), child.stderr.take().expect("pipe"));
        let (reader, log) = (out.clone(), err.clone());
        std::thread::spawn(move || reader.read_all(stdout));
        std::thread::spawn(move || log.read_all(stderr));
        let exit = Arc::new((Mutex::new(None), Condvar::new()));
        let told = exit.clone();
        let pid = child.id();
        std::thread::spawn(move || {
            let status = child.wait().ok();
            *locked(&told.0) = status;
            told.1.notify_all();
        });
        Self { name: name.to_owned(), pid, out, err, exit }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends a signal to the program and what it has started.
    pub fn signal(&self, signal: Signal) {
        let exit = locked(&self.exit.0);
        if exit.is_none()
            && let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw)
        {
            let _ = kill_process_group(pid, signal);
        }
    }

    /// Waits for its end, and then for the rest of its output; `None` after `patience`.
    pub fn try_wait(&self, patience: Duration) -> Option<ExitStatus> {
        let status = self.ended(patience);
        if status.is_some() {
            // Something that it has started may hold its pipes open.
            for lines in [&self.out, &self.err] {
                lines.find_after(usize::MAX, Duration::from_secs(1), |_| None::<()>);
            }
        }
        status
    }

    fn ended(&self, patience: Duration) -> Option<ExitStatus> {
        let end = Instant::now() + patience;
        let mut exit = locked(&self.exit.0);
        while exit.is_none() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            exit = self.exit.1.wait_timeout(exit, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        *exit
    }

    /// Waits for its end and gives its exit code (128 + number after a signal); fails the test after
    /// `patience`.
    pub fn wait(&self, patience: Duration) -> i32 {
        use std::os::unix::process::ExitStatusExt;
        let Some(status) = self.try_wait(patience) else {
            panic!("{} did not end within {patience:?}\n{}", self.name, self.log());
        };
        status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
    }

    /// Waits for its end and fails the test unless it ends with 0.
    pub fn succeed(&self, patience: Duration) {
        let code = self.wait(patience);
        assert!(code == 0, "{} ended with {code}\n{}", self.name, self.log());
    }

    /// What it has printed, for messages.
    pub fn log(&self) -> String {
        format!(
            "--- {} stdout\n{}\n--- {} stderr\n{}",
            self.name,
            tail(&self.out.all()),
            self.name,
            tail(&self.err.all())
        )
    }
}

fn tail(lines: &[String]) -> String {
    lines[lines.len().saturating_sub(60)..].join("\n")
}

impl Drop for Proc {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
        self.signal(Signal::KILL);
        self.try_wait(Duration::from_secs(5));
    }
}
