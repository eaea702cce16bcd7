//! A player that keeps every media message as it came: rml_rtmp's client session on a socket.
//!
//! Enhanced payloads arrive untouched here, which ffmpeg 5.1 cannot do. Its session loses messages whose chunks
//! are interleaved, so it serves only against servers that send whole messages.

use crate::PATIENCE;
use crate::flv::{Recording, Tag};
use crate::locked;
use rml_rtmp::handshake::{Handshake, HandshakeProcessResult, PeerType};
use rml_rtmp::sessions::{ClientSession, ClientSessionConfig, ClientSessionEvent, ClientSessionResult};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::PoisonError;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A player on its own thread.
pub struct Recorder {
    shared: Arc<Shared>,
    socket: TcpStream,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    tags: Vec<(Instant, Tag)>,
    codes: Vec<String>,
    ended: Option<String>,
}

impl Recorder {
    /// Plays `app/stream` from a server.
    pub fn play(server: SocketAddr, name: &str) -> Self {
        let socket = TcpStream::connect(server).expect("connect");
        let shared = Arc::new(Shared::default());
        let (app, stream) = name.rsplit_once('/').expect("app/stream");
        let (app, stream) = (app.to_owned(), stream.to_owned());
        let (told, own) = (shared.clone(), socket.try_clone().expect("socket"));
        let thread = std::thread::spawn(move || {
            let end = run(own, &app, &stream, &told).err();
            let why = end.map_or_else(String::new, |error| error.to_string());
            locked(&told.state).ended = Some(why);
            told.changed.notify_all();
        });
        Self { shared, socket, thread: Some(thread) }
    }

    /// Waits until `enough` says so of the tags so far; fails the test if the player ends before or after
    /// `patience`.
    pub fn wait_until(&self, patience: Duration, mut enough: impl FnMut(&[(Instant, Tag)]) -> bool) {
        let end = Instant::now() + patience;
        let mut state = locked(&self.shared.state);
        while !enough(&state.tags) {
            let left = end.saturating_duration_since(Instant::now());
            assert!(
                state.ended.is_none(),
                "the player ended early: {:?}, statuses {:?}",
                state.ended,
                state.codes
            );
            assert!(!left.is_zero(), "not enough after {patience:?}: {} tags", state.tags.len());
            state = self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits for this many media tags.
    pub fn wait_tags(&self, count: usize) {
        self.wait_until(PATIENCE, |tags| tags.len() >= count);
    }

    /// What came so far, with the time of arrival.
    pub fn tags(&self) -> Vec<(Instant, Tag)> {
        locked(&self.shared.state).tags.clone()
    }

    /// Status codes that the session did not handle itself.
    pub fn codes(&self) -> Vec<String> {
        locked(&self.shared.state).codes.clone()
    }

    /// Whether the connection has ended.
    pub fn has_ended(&self) -> bool {
        locked(&self.shared.state).ended.is_some()
    }

    /// Waits for the end of the stream and gives what came.
    pub fn finish(mut self, patience: Duration) -> Recording {
        let end = Instant::now() + patience;
        let mut state = locked(&self.shared.state);
        while state.ended.is_none() {
            let left = end.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "the stream did not end within {patience:?} ({} tags)",
                state.tags.len()
            );
            state = self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(state);
        self.close()
    }

    /// Leaves and gives what came.
    pub fn stop(mut self) -> Recording {
        self.close()
    }

    fn close(&mut self) -> Recording {
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let tags = std::mem::take(&mut locked(&self.shared.state).tags);
        Recording { tags: tags.into_iter().map(|(_, tag)| tag).collect() }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.close();
    }
}

fn run(mut socket: TcpStream, app: &str, stream: &str, shared: &Shared) -> io::Result<()> {
    let rest = handshake(&mut socket)?;
    let mut config = ClientSessionConfig::new();
    config.tc_url = Some(format!("rtmp://{}/{app}", socket.peer_addr()?));
    let (mut session, first) = ClientSession::new(config).map_err(other)?;
    send(&mut socket, first, |_| Ok(None))?;
    let connect = session.request_connection(app.to_owned()).map_err(other)?;
    send(&mut socket, vec![connect], |_| Ok(None))?;
    let mut input = rest;
    let mut buffer = vec![0; 65_536];
    loop {
        let mut results = session.handle_input(&input).map_err(other)?;
        while !results.is_empty() {
            let mut more = Vec::new();
            send(&mut socket, results, |event| {
                if event == ClientSessionEvent::ConnectionRequestAccepted {
                    more.push(session.request_playback(stream.to_owned()).map_err(other)?);
                    return Ok(None);
                }
                shared.take(event)
            })?;
            results = more;
        }
        let count = socket.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        input = buffer[..count].to_vec();
    }
}

fn handshake(socket: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut handshake = Handshake::new(PeerType::Client);
    socket.write_all(&handshake.generate_outbound_p0_and_p1().map_err(other)?)?;
    let mut buffer = vec![0; 4096];
    loop {
        let count = socket.read(&mut buffer)?;
        if count == 0 {
            return Err(io::Error::other("closed in the handshake"));
        }
        match handshake.process_bytes(&buffer[..count]).map_err(other)? {
            HandshakeProcessResult::InProgress { response_bytes } => socket.write_all(&response_bytes)?,
            HandshakeProcessResult::Completed { response_bytes, remaining_bytes } => {
                socket.write_all(&response_bytes)?;
                return Ok(remaining_bytes);
            }
        }
    }
}

fn send(
    socket: &mut TcpStream,
    results: Vec<ClientSessionResult>,
    mut on_event: impl FnMut(ClientSessionEvent) -> io::Result<Option<()>>,
) -> io::Result<()> {
    for result in results {
        match result {
            ClientSessionResult::OutboundResponse(packet) => socket.write_all(&packet.bytes)?,
            ClientSessionResult::RaisedEvent(event) => {
                on_event(event)?;
            }
            ClientSessionResult::UnhandleableMessageReceived(_) => {}
        }
    }
    Ok(())
}

impl Shared {
    /// Keeps media; an end of stream or a refusal is an error.
    fn take(&self, event: ClientSessionEvent) -> io::Result<Option<()>> {
        let (kind, timestamp, body) = match event {
            ClientSessionEvent::VideoDataReceived { timestamp, data } => (9, timestamp.value, data),
            ClientSessionEvent::AudioDataReceived { timestamp, data } => (8, timestamp.value, data),
            ClientSessionEvent::ConnectionRequestRejected { description } => {
                return Err(io::Error::other(description));
            }
            ClientSessionEvent::UnhandleableOnStatusCode { code } => {
                locked(&self.state).codes.push(code.clone());
                let over = matches!(
                    code.as_str(),
                    "NetStream.Play.UnpublishNotify"
                        | "NetStream.Play.Stop"
                        | "NetStream.Play.StreamNotFound"
                );
                return if over { Err(io::Error::other(code)) } else { Ok(None) };
            }
            _ => return Ok(None),
        };
        let tag = Tag { kind, timestamp, body: body.to_vec() };
        locked(&self.state).tags.push((Instant::now(), tag));
        self.changed.notify_all();
        Ok(Some(()))
    }
}

fn other(error: impl std::fmt::Debug) -> io::Error {
    io::Error::other(format!("{error:?}"))
}
