//! The peers: one that asks for something and leaves, and a server that refuses in the asker's own words.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;
use streamengine::Limits;
use streamengine::proto::client::{ClientEvent, ClientOptions, ClientRole, ClientSession};
use streamengine::proto::server::{Rejection, ServerEvent, ServerSession};

/// Reads once; false = the other side has closed.
fn read(socket: &mut TcpStream, mut input: impl FnMut(&[u8])) -> bool {
    let mut bytes = [0; 4096];
    match socket.read(&mut bytes) {
        Ok(length @ 1..) => {
            input(&bytes[..length]);
            true
        }
        Ok(0) | Err(_) => false,
    }
}

/// Asks for a stream, with secrets in every text of `connect`, and leaves after the answer.
pub(crate) fn knock(server: SocketAddr, role: ClientRole, app: &str, stream: &str) {
    let mut socket = TcpStream::connect(server).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let options = ClientOptions {
        app: app.to_owned(),
        tc_url: format!("rtmp://5ecret-user:5ecret-pass@{server}/{app}?token=5ecret-tc-url"),
        stream: stream.to_owned(),
        role,
        hops: Vec::new(),
    };
    let mut session = ClientSession::new(options, &Limits::default());
    loop {
        let event = session.poll().unwrap();
        let _ = socket.write_all(&session.output().split());
        match event {
            Some(ClientEvent::Publishing { .. } | ClientEvent::Playing | ClientEvent::Rejected { .. }) => {
                break;
            }
            Some(_) => {}
            None => assert!(
                read(&mut socket, |bytes| session.input().extend_from_slice(bytes)),
                "closed without an answer"
            ),
        }
    }
    session.close();
    let _ = socket.write_all(&session.output().split());
    // What a broken encoder would send: ends in a protocol error.
    let _ = socket.write_all(b"\xff5ecret-garbage");
    while read(&mut socket, |_| ()) {}
}

/// A server that wants RTMP authentication and then refuses all the same, quoting what it was asked.
pub(crate) struct Echo {
    pub(crate) address: SocketAddr,
}

impl Echo {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                let socket = socket.unwrap();
                std::thread::spawn(move || refuse(socket));
            }
        });
        Self { address }
    }
}

fn refuse(mut socket: TcpStream) {
    let mut session = ServerSession::new(&Limits::default());
    let mut asked = String::new();
    loop {
        match session.poll() {
            Ok(Some(ServerEvent::Connect(connect))) => {
                asked = format!("{} {:?}", connect.app, connect.object.get("tcUrl"));
                judge(&mut session, &connect.app);
            }
            Ok(Some(ServerEvent::Publish(publish))) => deny(&mut session, &publish.name, &asked),
            Ok(Some(ServerEvent::Play(play))) => deny(&mut session, &play.name, &asked),
            Ok(Some(_)) => {}
            Ok(None) => {
                if socket.write_all(&session.output().split()).is_err()
                    || !read(&mut socket, |bytes| session.input().extend_from_slice(bytes))
                {
                    return;
                }
            }
            Err(_) => return,
        }
    }
}

/// The steps of Adobe's authentication, for relays that go along.
fn judge(session: &mut ServerSession, app: &str) {
    let description = match app.split_once('?') {
        _ if app.starts_with("live2") => return session.accept(),
        None => "[ AccessManager.Reject ] : [ code=403 need auth; authmod=adobe ] : ".to_owned(),
        Some((_, query)) if !query.contains("response=") => format!(
            "[ AccessManager.Reject ] : [ authmod=adobe ] : ?reason=needauth&{query}&salt=a&challenge=b&opaque=b"
        ),
        Some(_) => return session.accept(),
    };
    session.reject(&Rejection { code: "NetConnection.Connect.Rejected", description });
}

fn deny(session: &mut ServerSession, name: &str, asked: &str) {
    let who = if asked.contains("authmod") { "5ecret-user 5ecret pass" } else { "anybody" };
    let description = format!("no such key: {name} for {who} on {asked}");
    session.reject(&Rejection { code: "NetStream.Publish.BadName", description });
}

/// The head and the beginning of the body that a GET gets.
#[cfg(feature = "http")]
pub(crate) fn get(server: SocketAddr, target: &str) -> String {
    let mut socket = TcpStream::connect(server).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    write!(
        socket,
        "GET {target} HTTP/1.1\r\nHost: {server}\r\nReferer: http://h/?5ecret\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut reply = Vec::new();
    socket.read_to_end(&mut reply).unwrap();
    String::from_utf8_lossy(&reply).into_owned()
}
