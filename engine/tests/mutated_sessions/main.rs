//! Thousands of damaged RTMP sessions against one server session each and against a running engine. A test
//! executable of its own: it measures its whole process.
#![cfg(target_os = "linux")]

mod dialogues;
mod healthy;
mod mutations;

use healthy::Healthy;
use parking_lot::{Mutex, MutexGuard};
use rand::Rng;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use streamengine::proto::server::{Phase, Rejection, ServerEvent, ServerSession};
use streamengine::testing::resident;
use streamengine::{AuthRequest, Config, Engine, Grant, Limits, Ticket};

/// Longest time for which a session may keep us busy, or a connection may stay open after its peer has left.
const HANG: Duration = Duration::from_secs(1);
/// What the sessions may leave behind in memory.
const RSS_GROWTH: usize = 8 * 1024 * 1024;

/// The tests of this file take turns: each measures the process.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock()
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Serves a session's bytes as the service does, in pieces, granting most of what it asks for. How far it came.
fn serve(seed: u64) -> Phase {
    let (bytes, mut rng) = mutations::session(seed, *b"cam");
    let mut session = ServerSession::new(&Limits::default());
    let (mut rest, mut events, mut sent) = (&bytes[..], 0, 0);
    while !rest.is_empty() && !session.is_closing() {
        let (piece, more) = rest.split_at(rng.random_range(1..=rest.len().min(4096)));
        rest = more;
        session.input().extend_from_slice(piece);
        while let Ok(Some(event)) = session.poll() {
            events += 1;
            let asks =
                matches!(event, ServerEvent::Connect(_) | ServerEvent::Publish(_) | ServerEvent::Play(_));
            match asks {
                true if rng.random_ratio(1, 32) => session.reject(&denied()),
                true => session.accept(),
                false => assert!(!session.is_waiting(), "waits for a verdict that nobody was asked for"),
            }
        }
        sent += session.output().split().len();
    }
    session.end_publish(1, &denied());
    session.end_play(1, "over");
    session.ping(1);
    sent += session.output().split().len();
    assert!(events <= bytes.len(), "{events} events out of {} bytes", bytes.len());
    assert!(sent <= 32 * bytes.len() + 4096, "{sent} bytes in answer to {}", bytes.len());
    session.phase()
}

fn denied() -> Rejection {
    Rejection { code: "NetStream.Publish.Denied", description: "no".to_owned() }
}

/// Serves the sessions `seeds` on two threads; how many came as far as a grant.
fn serve_all(seeds: std::ops::Range<u64>) -> usize {
    let (next, granted) = (AtomicU64::new(seeds.start), AtomicUsize::new(0));
    let work = || {
        while let seed = next.fetch_add(1, Ordering::Relaxed)
            && seed < seeds.end
        {
            let start = Instant::now();
            let phase = catch_unwind(AssertUnwindSafe(|| serve(seed)));
            let phase = phase.unwrap_or_else(|_| panic!("seed {seed} panics"));
            assert!(start.elapsed() <= HANG, "seed {seed} took {:?}", start.elapsed());
            granted.fetch_add(usize::from(phase == Phase::Granted), Ordering::Relaxed);
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(work);
        scope.spawn(work);
    });
    granted.into_inner()
}

#[test]
fn f01_ten_thousand_mutated_sessions_neither_panic_nor_hang_nor_leave_memory_behind() {
    let _turn = alone();
    serve_all(0..500);
    let base = resident();
    let granted = serve_all(500..10_500);
    assert!(granted > 2_000, "only {granted} came as far as a grant");
    let grown = resident().saturating_sub(base);
    assert!(grown <= RSS_GROWTH, "{grown} bytes left behind");
}

/// How one damaged session ends from the peer's side.
fn attack(server: SocketAddr, seed: u64, stream: [u8; 3]) {
    let (bytes, mut rng) = mutations::session(seed, stream);
    let mut socket = TcpStream::connect(server).unwrap();
    socket.set_nodelay(true).unwrap();
    socket.set_write_timeout(Some(HANG)).unwrap();
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let (piece, more) = rest.split_at(rng.random_range(1..=rest.len().min(8192)));
        rest = more;
        // The server may have closed, and need not read what it has no room to answer.
        if socket.write_all(piece).is_err() {
            break;
        }
    }
    if rng.random_ratio(1, 4) {
        return; // With unread answers in it, the socket resets the connection.
    }
    let _ = socket.shutdown(Shutdown::Write);
    socket.set_read_timeout(Some(HANG)).unwrap();
    let start = Instant::now();
    let mut answers = [0; 16 * 1024];
    loop {
        match socket.read(&mut answers) {
            Ok(1..) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                panic!("seed {seed}: still open {:?} after the peer has left", start.elapsed())
            }
            Ok(0) | Err(_) => return,
        }
    }
}

/// Runs the sessions `seeds` from four addresses at once.
fn attack_all(server: SocketAddr, seeds: std::ops::Range<u64>) {
    let next = AtomicU64::new(seeds.start);
    std::thread::scope(|scope| {
        for worker in b'0'..b'4' {
            let (next, end) = (&next, seeds.end);
            scope.spawn(move || {
                while let seed = next.fetch_add(1, Ordering::Relaxed)
                    && seed < end
                {
                    attack(server, seed, [b'c', b'0', worker]);
                }
            });
        }
    });
}

/// Waits until nothing is left of the sessions: `connections` and `descriptors` at most.
fn settle(engine: &Engine, connections: usize, descriptors_left: usize) {
    let deadline = Instant::now() + Duration::from_secs(6);
    loop {
        let left = (engine.stats().connections, descriptors());
        if left.0 <= connections && left.1 <= descriptors_left {
            return;
        }
        assert!(Instant::now() < deadline, "{} connections, {} descriptors are left", left.0, left.1);
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn f01_a_thousand_mutated_sessions_over_tcp_cost_a_healthy_stream_nothing() {
    let _turn = alone();
    let mut config = Config::default();
    config.default_app.resume_window_ms = 0;
    let granted = Arc::new(AtomicUsize::new(0));
    let count = granted.clone();
    let grant = move |_: AuthRequest, ticket: Ticket| {
        count.fetch_add(1, Ordering::Relaxed);
        ticket.accept(Grant::default());
    };
    let any_port = "127.0.0.1:0".parse().unwrap();
    let engine = Engine::builder().config(config).authorize(grant).listen_rtmp(any_port).start().unwrap();
    let server = engine.listeners()[0].address;
    let healthy = Healthy::start(server);
    let open = descriptors();
    attack_all(server, 0..100);
    settle(&engine, Healthy::CONNECTIONS, open);
    let base = resident();

    attack_all(server, 100..1_100);
    settle(&engine, Healthy::CONNECTIONS, open);
    let stats = engine.stats();
    assert_eq!(stats.panics, 0);
    assert!(stats.connections_accepted > 1_000, "{}", stats.connections_accepted);
    let granted = granted.load(Ordering::Relaxed);
    assert!(granted > 300, "only {granted} requests came as far as a grant");
    let grown = resident().saturating_sub(base);
    assert!(grown <= RSS_GROWTH, "{grown} bytes left behind");

    let report = healthy.stop();
    assert_eq!(report.lost, 0, "{report:?}");
    assert!(report.frames > 50, "{report:?}");
    assert!(report.longest_gap <= HANG, "{report:?}");
    settle(&engine, 0, open);
    assert!(engine.streams().is_empty(), "{:?}", engine.streams());
    println!("{report:?}, {granted} grants, {grown} bytes more");
}
