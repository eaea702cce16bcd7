//! Whoever reads stderr, or does not, decides about lines only: never about streams, newcomers or signals.

use crate::process::Process;
use crate::{ANY, project};
use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
#[cfg(target_os = "linux")]
use std::os::{fd::AsRawFd, unix::fs::OpenOptionsExt};
use std::process::Stdio;
use std::time::{Duration, Instant};
use streamengine::testing::wait::at_most;
use streamengine::{Engine, FileConfig, PullConfig, PushConfig, RtmpUrl, StreamKey, Subscriber};

const PATIENCE: Duration = Duration::from_secs(60);

#[cfg(target_os = "linux")]
#[test]
fn a_full_pipe_behind_stderr_holds_up_nothing() {
    let (unread, stderr) = std::io::pipe().unwrap();
    fill(&stderr);
    works_and_ends(stderr.into());
    drop(unread);
}

#[cfg(target_os = "linux")]
#[test]
fn lines_that_wait_for_a_reader_arrive_when_it_reads() {
    let (mut reader, stderr) = std::io::pipe().unwrap();
    let filled = fill(&stderr);
    let (mut process, port) = serve(stderr.into());
    TcpStream::connect(("127.0.0.1", port)).unwrap();
    reader.read_exact(&mut vec![0; filled]).unwrap();
    process.signal("TERM");
    assert_eq!(process.wait().code(), Some(0));
    let mut log = String::new();
    reader.read_to_string(&mut log).unwrap();
    assert!(log.contains("listening") && log.contains("asked to terminate"), "{log}");
}

#[test]
fn a_pipe_whose_reader_has_gone_away_ends_nothing() {
    let (reader, stderr) = std::io::pipe().unwrap();
    drop(reader);
    works_and_ends(stderr.into());
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_behind_stderr_ends_nothing() {
    works_and_ends(File::options().write(true).open("/dev/full").unwrap().into());
}

#[test]
fn a_terminal_gets_what_it_can_show_and_what_its_user_wants_to_see() {
    let plain = on_a_terminal(&[("TERM", "dumb")], &[]);
    assert!(!plain.contains('\u{1b}') && plain.contains("Ctrl-C ends the demo."), "{plain:?}");
    let without_colours = on_a_terminal(&[("TERM", "xterm"), ("NO_COLOR", "1")], &[]);
    assert!(
        without_colours.contains("out kbit/s") && !without_colours.contains(GREEN),
        "{without_colours:?}"
    );
    let coloured = on_a_terminal(&[("TERM", "xterm"), ("NO_COLOR", "")], &[]);
    assert!(coloured.contains("out kbit/s") && coloured.contains(GREEN), "{coloured:?}");
    let quiet = on_a_terminal(&[("TERM", "xterm")], &["--quiet"]);
    assert!(!quiet.contains("out kbit/s") && !quiet.contains("Ctrl-C"), "{quiet:?}");

    // The log of the start, the welcome, the live lines; nothing of these is left at the end.
    let welcome = coloured.find("Watch it in a browser").unwrap();
    let (before, after) = coloured.split_at(welcome);
    let place = |text| after.find(text).unwrap_or_else(|| panic!("{text}: {after}"));
    assert!(place("/play/live/demo") < place("rtmp://"), "the page first: {after}");
    assert!(before.contains("push has begun"), "{coloured:?}");
    assert!(after.contains("out kbit/s") && !after.contains("push has begun"), "{coloured:?}");
    let (_, cleared) = coloured.rsplit_once("out kbit/s").unwrap();
    assert!(cleared.contains("unpublish"), "{cleared:?}");
}

/// The colour of `INFO`.
const GREEN: &str = "\u{1b}[32m";

/// What the demo of three seconds writes to a terminal.
fn on_a_terminal(env: &[(&str, &str)], args: &[&str]) -> String {
    let terminal = nix::pty::openpty(None, None).unwrap();
    let args = [&["demo", "--rtmp", ANY, "--rtmp2", ANY, "--http", ANY, "--duration", "3"], args].concat();
    let mut process = Process::start_on(&args, env, terminal.slave);
    let mut screen = File::from(terminal.master);
    let mut seen = Vec::new();
    let mut part = [0; 4096];
    // It ends with an error when nobody has the other side any more.
    while let Ok(length @ 1..) = screen.read(&mut part) {
        seen.extend_from_slice(&part[..length]);
    }
    assert_eq!(process.wait().code(), Some(0));
    String::from_utf8(seen).unwrap()
}

/// A server that logs all there is to `stderr`.
fn serve(stderr: Stdio) -> (Process, u16) {
    let args = ["serve", "--rtmp", ANY, "--no-http", "--json", "--log", "trace"];
    let process = Process::start_telling(&args, &[], stderr);
    let port = Process::port(&process.event(), 0);
    (process, port)
}

fn works_and_ends(stderr: Stdio) {
    let (mut process, port) = serve(stderr);
    let stream: StreamKey = "live/x".parse().unwrap();
    let url = || -> RtmpUrl { format!("rtmp://127.0.0.1:{port}/live/x").parse().unwrap() };
    let publisher = Engine::builder().start().unwrap();
    publisher.add_push(PushConfig::new(stream.clone(), url())).unwrap();
    publisher.loop_file(FileConfig::new(stream.clone(), vec![project("examples/media/demo.flv")])).unwrap();
    process.until("stream-started");
    let player = || {
        let engine = Engine::builder().start().unwrap();
        let subscriber = engine.subscribe(&stream).unwrap();
        engine.add_pull(PullConfig::new(url().into(), stream.clone())).unwrap();
        (engine, subscriber)
    };

    let (_healthy, mut frames) = player();
    take(&mut frames, 20);
    knock(port);
    take(&mut frames, 20);
    let (_newcomer, mut newcomers_frames) = player();
    take(&mut newcomers_frames, 20);
    take(&mut frames, 20);

    let start = Instant::now();
    process.signal("TERM");
    assert_eq!(process.wait().code(), Some(0));
    assert!(start.elapsed() < at_most(Duration::from_secs(5)), "{:?}", start.elapsed());
}

fn take(subscriber: &mut Subscriber, count: usize) {
    for taken in 0..count {
        let frame = subscriber.blocking_next(PATIENCE).unwrap();
        assert!(frame.is_some(), "the stream has ended after {taken} frames");
    }
}

/// Fills a pipe to its last byte; how many there are.
#[cfg(target_os = "linux")]
fn fill(pipe: &impl AsRawFd) -> usize {
    /// `O_NONBLOCK`, for this way into the pipe only: a process that gets the pipe itself has to wait.
    const NON_BLOCKING: i32 = 0o4000;
    let path = format!("/proc/self/fd/{}", pipe.as_raw_fd());
    let mut way_in = File::options().write(true).custom_flags(NON_BLOCKING).open(path).unwrap();
    let mut fill_by = |bytes: &[u8]| std::iter::from_fn(|| way_in.write(bytes).ok()).sum::<usize>();
    fill_by(&[b'.'; 4096]) + fill_by(b".")
}

/// A stranger of whom the log tells.
fn knock(port: u16) {
    let mut stranger = TcpStream::connect(("127.0.0.1", port)).unwrap();
    // Closed at once where it is one too many.
    let _ = stranger.write_all(b"GET / HTTP/1.1\r\n\r\n");
    let _ = stranger.read(&mut [0; 1]);
}
