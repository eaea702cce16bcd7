//! Behind a TCP load balancer: the address in a PROXY header is the peer's, from those who are listed and nobody else.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use streamengine::proto::client::ClientEvent;
use streamengine::testing::wait::at_most;
use streamengine::testing::{self, wait::PATIENCE};
use streamengine::{AuthRequest, Config, Engine, Grant, Ticket};

const V1: &[u8] = b"PROXY TCP4 192.0.2.7 10.0.0.1 12345 1935\r\n";

/// A header of version 2 for `192.0.2.LAST:12345`; a `LOCAL` one with command 0.
fn v2(command: u8, last: u8) -> Vec<u8> {
    let addresses = [192, 0, 2, last, 10, 0, 0, 1, 0x30, 0x39, 7, 0x8f];
    [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[0x20 | command, 0x11, 0, 12], &addresses].concat()
}

fn config(proxies: &str) -> Config {
    Config::from_toml(&format!("[rtmp]\nlisten = [\"127.0.0.1:0\"]\nproxy_protocol_from = {proxies}\n"))
        .unwrap()
}

fn address(engine: &Engine) -> SocketAddr {
    engine.listeners()[0].address
}

fn dial(server: SocketAddr, header: &[u8]) -> TcpStream {
    let mut socket = TcpStream::connect(server).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.write_all(header).unwrap();
    socket
}

/// Publishes behind `header`: the answer; none where the connection is closed without one.
fn publish(server: SocketAddr, header: &[u8], name: &str) -> Option<(ClientEvent, TcpStream)> {
    testing::rtmp::publish(dial(server, header), name)
}

/// How long it takes until the server closes.
fn closed_after(mut socket: TcpStream) -> Duration {
    let start = Instant::now();
    let _ = socket.read_to_end(&mut Vec::new());
    start.elapsed()
}

#[test]
fn the_address_that_a_listed_proxy_tells_is_the_peers_for_authorisation_and_the_list_of_sessions() {
    let (told, asked) = mpsc::channel();
    let authorize = move |request: AuthRequest, ticket: Ticket| {
        told.send(request.peer).unwrap();
        ticket.accept(Grant::default());
    };
    let engine = Engine::builder().config(config("\"127.0.0.0/8\"")).authorize(authorize).start().unwrap();
    let mut kept = Vec::new();
    for (name, header, expected) in [
        ("v1", V1.to_vec(), "192.0.2.7:12345"),
        ("v2", v2(1, 9), "192.0.2.9:12345"),
        ("v6", b"PROXY TCP6 2001:db8::1 ::1 12345 1935\r\n".to_vec(), "[2001:db8::1]:12345"),
    ] {
        let (event, socket) = publish(address(&engine), &header, name).unwrap();
        assert!(matches!(event, ClientEvent::Publishing { .. }));
        assert_eq!(asked.recv_timeout(PATIENCE).unwrap().to_string(), expected);
        assert!(engine.sessions().iter().any(|session| session.peer.to_string() == expected));
        kept.push(socket);
    }
    // The proxy itself, which looks whether we live.
    let (_, socket) = publish(address(&engine), &v2(0, 9), "local").unwrap();
    assert_eq!(asked.recv_timeout(PATIENCE).unwrap(), socket.local_addr().unwrap());
}

#[test]
fn publishing_from_this_machine_only_is_not_for_what_a_listed_proxy_on_it_brings() {
    let engine = Engine::builder().config(config("[\"127.0.0.1\"]")).start().unwrap();
    let (event, _) = publish(address(&engine), V1, "a").unwrap();
    let ClientEvent::Rejected { description, .. } = event else { panic!("{event:?}") };
    assert!(description.contains("own machine"), "{description}");
    assert!(matches!(publish(address(&engine), &v2(0, 1), "a"), Some((ClientEvent::Publishing { .. }, _))));
}

#[test]
fn garbage_and_silence_instead_of_a_header_are_closed_in_time_and_a_strangers_header_is_not_taken() {
    let mut settings = config("\"127.0.0.1\"");
    let engine = Engine::builder().config(settings.clone()).start().unwrap();
    for header in [&[3; 2000][..], b"GET / HTTP/1.1\r\n\r\n", &[b'P'; 200]] {
        // Long before the handshake's own deadline, which is 5 s.
        assert!(
            closed_after(dial(address(&engine), header)) < at_most(Duration::from_millis(400)),
            "{header:?}"
        );
    }
    settings.limits.handshake_timeout_ms = 500;
    let engine = Engine::builder().config(settings).start().unwrap();
    for silent in [&b""[..], b"PROXY TCP4 192", &v2(1, 9)[..20]] {
        let time = closed_after(dial(address(&engine), silent));
        assert!(
            (Duration::from_millis(300)..at_most(Duration::from_secs(3))).contains(&time),
            "{silent:?}: {time:?}"
        );
    }
    let stranger = Engine::builder().config(config("\"10.0.0.0/8\"")).start().unwrap();
    for header in [V1.to_vec(), v2(1, 9)] {
        assert!(publish(address(&stranger), &header, "a").is_none());
    }
    assert!(publish(address(&stranger), b"", "a").is_some(), "it needs none");
}

#[test]
fn f14_places_of_pending_connections_are_those_of_the_true_address() {
    let mut settings = config("\"127.0.0.1\"");
    settings.limits.max_pending_per_address = 1;
    settings.publish.open = true;
    let engine = Engine::builder().config(settings).start().unwrap();
    let server = address(&engine);
    let _pending: Vec<_> = (1..=5).map(|last| dial(server, &v2(1, last))).collect();
    assert!(publish(server, &v2(1, 6), "a").is_some(), "another address");
    assert!(publish(server, &v2(1, 1), "b").is_none(), "the second of one address");
}
