//! What a crowd of players that wait for a stream costs. In a process of its own, so that memory can be measured.
#![cfg(target_os = "linux")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use streamengine::proto::client::{ClientEvent, ClientOptions, ClientRole, ClientSession};
use streamengine::testing::resident;
use streamengine::{Config, Engine, Limits};

const PLAYERS: usize = 400;
const MAX_PER_PLAYER: usize = 8 * 1024;

/// Connects and plays a stream that nobody publishes; the socket alone stays.
fn player(address: SocketAddr) -> TcpStream {
    let mut socket = TcpStream::connect(address).unwrap();
    let options = ClientOptions {
        app: "live".into(),
        tc_url: "rtmp://localhost/live".into(),
        stream: "a".into(),
        role: ClientRole::Play,
        hops: Vec::new(),
    };
    let mut session = ClientSession::new(options, &Limits::default());
    loop {
        let event = session.poll().unwrap();
        socket.write_all(&session.output().split()).unwrap();
        match event {
            Some(ClientEvent::Playing) => return socket,
            Some(_) => {}
            None => {
                let mut bytes = [0; 4096];
                let read = socket.read(&mut bytes).unwrap();
                assert_ne!(read, 0, "closed before it plays");
                session.input().extend_from_slice(&bytes[..read]);
            }
        }
    }
}

#[test]
fn an_idle_player_costs_at_most_8_kb() {
    let mut config = Config::default();
    config.default_app.wait_for_publisher_ms = 600_000;
    let engine =
        Engine::builder().config(config).listen_rtmp("127.0.0.1:0".parse().unwrap()).start().unwrap();
    let address = engine.listeners()[0].address;
    let warm_up: Vec<_> = (0..20).map(|_| player(address)).collect();
    let base = resident();
    let players: Vec<_> = (0..PLAYERS).map(|_| player(address)).collect();
    let each = resident().saturating_sub(base) / players.len();
    println!("{each} bytes for each of {PLAYERS} idle players");
    assert!(each <= MAX_PER_PLAYER, "{each} bytes");
    drop(warm_up);
}
