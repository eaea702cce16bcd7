//! Runs the Rust examples against each other: publish serves, relay carries to serve, subscribe reads from there.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Longest wait for a line; only a failing test waits that long.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running example, ended when dropped.
struct Example {
    child: Child,
    lines: Receiver<String>,
}

impl Example {
    fn start(name: &str, arguments: &[&str]) -> Self {
        let mut child = Command::new(example(name))
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("example {name}: {error}"));
        let (stdout, (sender, lines)) = (BufReader::new(child.stdout.take().unwrap()), channel());
        std::thread::spawn(move || {
            stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)).ok();
        });
        Self { child, lines }
    }

    /// The next line that contains `text`.
    fn wait_for(&mut self, text: &str) -> String {
        let (mut seen, deadline) = (Vec::new(), Instant::now() + PATIENCE);
        loop {
            // Other lines may come for ever: they do not put the deadline off.
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => seen.push(line),
                Err(why) => panic!("no {text} ({why}) in {seen:?}"),
            }
        }
    }

    /// The number of lines up to the end of its output.
    fn count_to_the_end(&mut self) -> usize {
        let deadline = Instant::now() + PATIENCE;
        let next = || self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now()));
        let end = |error| assert_eq!(error, RecvTimeoutError::Disconnected, "it did not end in time");
        std::iter::from_fn(|| next().map_err(end).ok()).count()
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The examples lie beside the folder of this test's own executable.
fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent()
        .unwrap()
        .parent()
        .unwrap()
        .join("examples")
        .join(name)
        .with_extension(std::env::consts::EXE_EXTENSION)
}

#[test]
fn the_examples_carry_a_stream_through_each_other() {
    let clip = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/media/demo.flv");
    let mut publish = Example::start("publish", &[clip, "127.0.0.1:0"]);
    let source = publish.wait_for("rtmp://").split_whitespace().last().unwrap().to_owned();

    let mut serve = Example::start("serve", &["127.0.0.1:0"]);
    let served = serve.wait_for("rtmp://").split_whitespace().last().unwrap().to_owned();

    let target = format!("{served}/live/copy");
    let mut relay = Example::start("relay", &[&source, &target]);
    assert!(relay.wait_for("publishing").contains("live/copy"));
    serve.wait_for("StreamStarted {");

    let mut subscribe = Example::start("subscribe", &[&target, "50"]);
    subscribe.wait_for("keyframe");
    let rest = subscribe.count_to_the_end();
    assert!(subscribe.child.wait().unwrap().success(), "after {rest} more frames");

    let private =
        Example::start("relay", &[&source, &format!("{served}/private/copy")]).wait_for("not for you");
    assert!(
        private.contains("private/copy"),
        "the refusal reaches the relay in the server's words: {private}"
    );
}
