//! C programs against the shared library: under valgrind and sanitizers, through a thousand lives, and with SIGPIPE.

use crate::built;
use crate::support::PATIENCE;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Instant;
use streamengine::Engine;
use streamengine::amf0::{self, Amf0Value};
use streamengine_tests::{demo_clip, needs};

/// Compiles one of the test programs; `None` where there is no compiler.
fn compile(source: &str, name: &str, options: &[&str]) -> Option<PathBuf> {
    built::compile_c(&built::root().join("ffi/tests/c").join(source), name, options)
}

#[test]
fn a_program_that_uses_it_all_runs() {
    let Some(program) = compile("all.c", "all", &[]) else { return };
    assert!(built::succeed(Command::new(program).arg(demo_clip())).contains("all done"));
}

#[test]
fn valgrind_finds_no_error_and_no_leak() {
    needs!("valgrind");
    let Some(program) = compile("all.c", "all-valgrind", &[]) else { return };
    let mut valgrind = Command::new("valgrind");
    // What is kept on purpose as long as the process lives is reachable; all else has to be free.
    valgrind.args([
        "--leak-check=full",
        "--show-leak-kinds=definite,indirect,possible",
        "--error-exitcode=9",
    ]);
    valgrind.args(["--errors-for-leak-kinds=definite,indirect,possible", "--fair-sched=yes"]);
    assert!(built::succeed(valgrind.arg(program).arg(demo_clip())).contains("all done"));
}

#[test]
fn the_address_and_undefined_behaviour_sanitizers_find_nothing() {
    let Some(program) = compile("all.c", "all-sanitized", &built::SANITIZERS) else { return };
    let mut command = Command::new(program);
    command.env("ASAN_OPTIONS", "detect_leaks=1:detect_stack_use_after_return=1");
    assert!(built::succeed(command.arg(demo_clip())).contains("all done"));
}

#[test]
fn f47_a_thousand_engines_leave_nothing_behind() {
    let Some(program) = compile("cycles.c", "cycles", &[]) else { return };
    let start = Instant::now();
    let said = built::succeed(Command::new(program).arg("1000"));
    println!("{:?}: {said}", start.elapsed());
    // A busy machine needs a minute.
    assert!(start.elapsed() < 5 * PATIENCE);
}

/// Ends the program with the test.
struct Host(Child);

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A message as one chunk, which is as long as the server's first chunk size lets it be: 128 bytes.
fn message(kind: u8, stream: u8, body: &[u8]) -> Vec<u8> {
    assert!(body.len() <= 128);
    let header = [3, 0, 0, 0, 0, 0, body.len() as u8, kind, stream, 0, 0, 0];
    [&header[..], body].concat()
}

fn command(name: &str, transaction: f64, rest: Vec<Amf0Value>) -> Vec<u8> {
    let mut values = vec![Amf0Value::Utf8String(name.to_owned()), Amf0Value::Number(transaction)];
    values.extend(rest);
    let mut body = bytes::BytesMut::new();
    amf0::encode(&values, &mut body);
    body.to_vec()
}

/// Plays `live/a` with a small receive buffer, all requests at once.
fn play(server: SocketAddr) -> io::Result<TcpStream> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    socket.set_recv_buffer_size(32 * 1024)?;
    socket.connect(&server.into())?;
    let mut socket = TcpStream::from(socket);
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut hello = [0; 1537];
    hello[0] = 3;
    socket.write_all(&hello)?;
    let mut answer = [0; 1537 + 1536];
    socket.read_exact(&mut answer)?;
    socket.write_all(&answer[1..1537])?;
    let app = Amf0Value::Object([("app".to_owned(), Amf0Value::Utf8String("live".to_owned()))].into());
    socket.write_all(&message(20, 0, &command("connect", 1.0, vec![app])))?;
    socket.write_all(&message(20, 0, &command("createStream", 2.0, vec![Amf0Value::Null])))?;
    let name = Amf0Value::Utf8String("a".to_owned());
    socket.write_all(&message(20, 1, &command("play", 3.0, vec![Amf0Value::Null, name])))?;
    Ok(socket)
}

fn read(socket: &TcpStream, bytes: u64) -> u64 {
    io::copy(&mut socket.take(bytes), &mut io::sink()).unwrap()
}

/// Ends a connection and resets it at once. Having seen the end, the other side's system raises SIGPIPE at its next
/// write already, not only at the one after that.
fn reset(socket: TcpStream) {
    let socket = socket2::Socket::from(socket);
    let _ = socket.shutdown(std::net::Shutdown::Write);
    socket.set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(socket);
}

/// Passes connections on to `server`, and resets each of them when so many bytes have come from its maker.
fn resetting_proxy(server: SocketAddr, bytes: u64, resets: std::sync::mpsc::Sender<()>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for near in listener.incoming().flatten() {
            let Ok(far) = TcpStream::connect(server) else { return };
            let (mut from_far, mut to_near) = (far.try_clone().unwrap(), near.try_clone().unwrap());
            let back = std::thread::spawn(move || io::copy(&mut from_far, &mut to_near));
            let copied = io::copy(&mut (&near).take(bytes), &mut &far);
            let _ = far.shutdown(std::net::Shutdown::Both);
            let _ = back.join();
            reset(near);
            if copied.is_ok_and(|copied| copied == bytes) && resets.send(()).is_err() {
                return;
            }
        }
    });
    address
}

#[test]
fn g12_a_host_with_default_sigpipe_survives_players_and_targets_that_reset() {
    let Some(program) = compile("pipe.c", "pipe", &[]) else { return };
    let target = Engine::builder().listen_rtmp("127.0.0.1:0".parse().unwrap()).start().unwrap();
    let (resets, has_reset) = std::sync::mpsc::channel();
    let proxy = resetting_proxy(target.listeners()[0].address, 400_000, resets);
    let mut child = Command::new(program)
        .arg(format!("rtmp://{proxy}/live/copy"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut host = Host(child);
    let mut lines = BufReader::new(stdout).lines().map(Result::unwrap);
    let server = SocketAddr::from(([127, 0, 0, 1], lines.next().unwrap().parse().unwrap()));
    for round in 0..12 {
        let players: Vec<_> = (0..10).map(|_| play(server).unwrap()).collect();
        // Not fast enough, so that much waits for each of them, and is being written when the reset comes.
        for _ in 0..4 {
            players.iter().for_each(|player| assert_eq!(read(player, 300_000 + round), 300_000 + round));
        }
        players.into_iter().for_each(reset);
    }
    for _ in 0..2 {
        has_reset.recv_timeout(PATIENCE).unwrap();
    }
    assert_eq!(read(&play(server).unwrap(), 200_000), 200_000, "it serves on");
    drop(stdin);
    let last = lines.next().unwrap();
    assert!(last.starts_with("accepted 121,"), "{last}");
    assert!(host.0.wait().unwrap().success());
}
