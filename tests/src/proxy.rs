//! A TCP proxy in user space that misbehaves on demand: no root, no kernel modules.

use crate::locked;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::PoisonError;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// What the proxy does with the bytes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Passes them on.
    #[default]
    None,
    /// Passes each piece on after this time.
    Delay(Duration),
    /// Passes on this many bytes a second towards the client, all of them towards the server.
    Trickle(usize),
    /// Passes on this many bytes a second towards the server, all of them towards the client.
    Squeeze(usize),
    /// Takes nothing, sends nothing, closes nothing: the network is gone.
    BlackHole,
    /// Takes nothing of the client any more; what the server sends still arrives.
    Stuck,
    /// Takes everything and passes nothing on.
    Swallow,
    /// Closes both sides in order.
    Cut,
    /// Closes both sides with a reset.
    Reset,
}

#[derive(Clone, Copy, PartialEq)]
enum Direction {
    ToServer,
    ToClient,
}

#[derive(Default)]
struct Control {
    fault: Mutex<Fault>,
    changed: Condvar,
    noted: Mutex<Vec<u8>>,
}

/// Bytes towards the server that are noted.
const NOTED: usize = 64 * 1024;

/// A running proxy.
pub struct Proxy {
    /// Where clients connect.
    pub address: SocketAddr,
    control: Arc<Control>,
    closing: Arc<std::sync::atomic::AtomicBool>,
}

impl Proxy {
    /// Listens on a free port and passes connections on to `target`.
    pub fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("address");
        let control = Arc::<Control>::default();
        let closing = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let (shared, end) = (control.clone(), closing.clone());
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if end.load(std::sync::atomic::Ordering::Relaxed) {
                    return;
                }
                let Ok(server) = TcpStream::connect(target) else { continue };
                let _ = start(client, server, &shared);
            }
        });
        Self { address, control, closing }
    }

    /// Whether these bytes, in one run, are among the first 64 KiB that have gone to the server.
    pub fn has_seen(&self, bytes: &[u8]) -> bool {
        locked(&self.control.noted).windows(bytes.len()).any(|window| window == bytes)
    }

    /// Changes what happens from now on, on all connections.
    pub fn set(&self, fault: Fault) {
        *locked(&self.control.fault) = fault;
        self.control.changed.notify_all();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.set(Fault::Cut);
        self.closing.store(true, std::sync::atomic::Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
    }
}

fn start(client: TcpStream, server: TcpStream, control: &Arc<Control>) -> io::Result<()> {
    for (from, to, direction) in [
        (client.try_clone()?, server.try_clone()?, Direction::ToServer),
        (server, client, Direction::ToClient),
    ] {
        from.set_read_timeout(Some(Duration::from_millis(20)))?;
        to.set_nodelay(true)?;
        let control = control.clone();
        std::thread::spawn(move || {
            let _ = pass(&from, &to, direction, &control);
            let _ = to.shutdown(Shutdown::Write);
        });
    }
    Ok(())
}

fn pass(mut from: &TcpStream, mut to: &TcpStream, direction: Direction, control: &Control) -> io::Result<()> {
    let mut buffer = [0_u8; 16_384];
    loop {
        let fault = *locked(&control.fault);
        let room = match fault {
            Fault::Squeeze(rate) if direction == Direction::ToServer => (rate / 50).clamp(1, buffer.len()),
            Fault::Trickle(rate) if direction == Direction::ToClient => (rate / 10).clamp(1, buffer.len()),
            held if is_held(held, direction) => {
                let guard = locked(&control.fault);
                drop(
                    control
                        .changed
                        .wait_while(guard, |now| is_held(*now, direction))
                        .unwrap_or_else(PoisonError::into_inner),
                );
                continue;
            }
            Fault::Cut => return close(from, to, None),
            Fault::Reset => return close(from, to, Some(Duration::ZERO)),
            _ => buffer.len(),
        };
        let count = match from.read(&mut buffer[..room]) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                continue;
            }
            Err(error) => return Err(error),
        };
        match *locked(&control.fault) {
            Fault::Swallow => continue,
            Fault::Delay(time) => std::thread::sleep(time),
            Fault::Trickle(_) if direction == Direction::ToClient => {
                std::thread::sleep(Duration::from_millis(100));
            }
            // As long as these bytes take, which may be few.
            Fault::Squeeze(rate) if direction == Direction::ToServer => {
                std::thread::sleep(Duration::from_secs_f64(count as f64 / rate as f64));
            }
            _ => {}
        }
        if direction == Direction::ToServer {
            let mut noted = locked(&control.noted);
            let room = NOTED - noted.len();
            noted.extend_from_slice(&buffer[..count.min(room)]);
        }
        to.write_all(&buffer[..count])?;
    }
}

/// Whether nothing of this direction is read.
fn is_held(fault: Fault, direction: Direction) -> bool {
    fault == Fault::BlackHole || (fault == Fault::Stuck && direction == Direction::ToServer)
}

fn close(from: &TcpStream, to: &TcpStream, linger: Option<Duration>) -> io::Result<()> {
    for socket in [from, to] {
        if linger.is_some() {
            socket2::SockRef::from(socket).set_linger(linger)?;
        }
        let _ = socket.shutdown(Shutdown::Both);
    }
    Ok(())
}
