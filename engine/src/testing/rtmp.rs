//! A client that publishes or plays over a socket of the test's.

use super::wait::PATIENCE;
use crate::Limits;
use crate::proto::client::{ClientEvent, ClientOptions, ClientRole, ClientSession};
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};

/// Asks on `socket` to publish `name` in the app `live`: the answer, and the socket, which holds what was granted; none where
/// the server closes without a word.
pub fn publish(socket: TcpStream, name: &str) -> Option<(ClientEvent, TcpStream)> {
    ask(socket, ClientRole::Publish, name)
}

/// The same at an address: the connection that publishes, or the words of the refusal.
pub fn publish_at(server: impl ToSocketAddrs, name: &str) -> Result<TcpStream, String> {
    publish_in(server, "live", name)
}

/// The same in another app.
pub fn publish_in(server: impl ToSocketAddrs, app: &str, name: &str) -> Result<TcpStream, String> {
    let socket = TcpStream::connect(server).unwrap();
    match ask_in(socket, ClientRole::Publish, app, name).expect("an answer") {
        (ClientEvent::Rejected { description, .. }, _) => Err(description),
        (_, socket) => Ok(socket),
    }
}

/// As [`publish`], to play.
pub fn play(socket: TcpStream, name: &str) -> Option<(ClientEvent, TcpStream)> {
    ask(socket, ClientRole::Play, name)
}

fn ask(socket: TcpStream, role: ClientRole, name: &str) -> Option<(ClientEvent, TcpStream)> {
    ask_in(socket, role, "live", name)
}

/// Asks for a stream of any app.
pub fn ask_in(
    mut socket: TcpStream,
    role: ClientRole,
    app: &str,
    name: &str,
) -> Option<(ClientEvent, TcpStream)> {
    let options = ClientOptions {
        app: app.to_owned(),
        tc_url: "rtmp://server.example/live".to_owned(),
        stream: name.to_owned(),
        role,
        hops: Vec::new(),
    };
    let mut session = ClientSession::new(options, &Limits::default());
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut buffer = [0; 4096];
    loop {
        let output = session.output().split();
        socket.write_all(&output).ok()?;
        while let Some(event) = session.poll().ok()? {
            use ClientEvent::{Playing, Publishing, Rejected};
            if matches!(event, Publishing { .. } | Playing | Rejected { .. }) {
                return Some((event, socket));
            }
        }
        if session.output().is_empty() {
            let count = socket.read(&mut buffer).ok().filter(|&count| count > 0)?;
            session.input().extend_from_slice(&buffer[..count]);
        }
    }
}
