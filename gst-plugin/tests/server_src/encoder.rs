//! A publisher over the network, as foreign as the engine's own protocol code allows: it publishes before it has media.

use crate::support::{Line, PATIENCE, until};
use bytes::Bytes;
use parking_lot::Mutex;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use streamengine::media::{Frame, FrameKind};
use streamengine::proto::chunk::{WireMessage, csid};
use streamengine::proto::client::{ClientEvent, ClientOptions, ClientRole, ClientSession};
use streamengine::{Limits, RtmpUrl};

/// See the module. Dropping it breaks the connection.
pub(crate) struct Encoder {
    socket: TcpStream,
    stream_id: u32,
    peer: Arc<Peer>,
}

/// What comes from the server.
struct Peer {
    session: Mutex<ClientSession>,
    said: Mutex<String>,
    is_closed: AtomicBool,
}

impl Encoder {
    /// Publishes to `url` and waits for the grant.
    pub(crate) fn connect(url: &str) -> Self {
        Self::try_connect(url).unwrap()
    }

    /// As [`Self::connect`]; the error is what the server said.
    pub(crate) fn try_connect(url: &str) -> Result<Self, String> {
        let url: RtmpUrl = url.parse().unwrap();
        let options = ClientOptions {
            app: url.app().to_owned(),
            tc_url: url.tc_url(),
            stream: url.stream_with_query().into_owned(),
            role: ClientRole::Publish,
            hops: Vec::new(),
        };
        let mut session = ClientSession::new(options, &Limits::default());
        let mut socket = TcpStream::connect((url.host(), url.port())).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let stream_id = loop {
            let event = session.poll().unwrap();
            socket.write_all(&session.output().split()).unwrap();
            match event {
                Some(ClientEvent::Publishing { stream_id }) => break stream_id,
                Some(ClientEvent::Rejected { description, .. }) => return Err(description),
                Some(_) => {}
                None if receive(&mut socket, &mut session) => {}
                None => return Err("the server has closed without a word".to_owned()),
            }
        };
        let peer = Peer { session: session.into(), said: Mutex::default(), is_closed: false.into() };
        let peer = Arc::new(peer);
        socket.set_read_timeout(None).unwrap();
        let (reading, listener) = (socket.try_clone().unwrap(), peer.clone());
        thread::spawn(move || listener.listen(reading));
        Ok(Self { socket, stream_id, peer })
    }

    /// Publishes as soon as the one before has gone.
    pub(crate) fn reconnect(line: &Line, path: &str) -> Self {
        let mut encoder = None;
        until("room for another publisher", || {
            encoder = Self::try_connect(&line.url(path)).ok();
            encoder.is_some()
        });
        encoder.unwrap()
    }

    pub(crate) fn send(&self, frames: &[Frame]) {
        let mut bytes = Default::default();
        for frame in frames {
            let id = match frame.kind {
                FrameKind::Video => csid::VIDEO,
                FrameKind::Audio => csid::AUDIO,
                FrameKind::Data => csid::STREAM,
            };
            let payload: Bytes = frame.payload.clone();
            WireMessage::new(id, frame.kind.type_id(), self.stream_id, frame.timestamp, payload)
                .encode(&mut bytes);
        }
        (&self.socket).write_all(&bytes).unwrap();
    }

    /// Waits until the server has closed the connection; what it said.
    pub(crate) fn closed(&self) -> String {
        until("close", || self.peer.is_closed.load(Ordering::Acquire));
        self.peer.said.lock().clone()
    }

    /// Unpublishes in good order.
    pub(crate) fn leave(self) {
        let bytes = {
            let mut session = self.peer.session.lock();
            session.close();
            session.output().split()
        };
        (&self.socket).write_all(&bytes).unwrap();
        self.socket.shutdown(Shutdown::Write).unwrap();
        self.closed();
    }

    /// Is gone without a word.
    pub(crate) fn cut(self) {
        drop(self);
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        // It may be closed already.
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

impl Peer {
    fn listen(&self, mut socket: TcpStream) {
        let mut buffer = [0; 4_096];
        while let Ok(count @ 1..) = socket.read(&mut buffer) {
            let mut session = self.session.lock();
            session.input().extend_from_slice(&buffer[..count]);
            while let Ok(Some(event)) = session.poll() {
                if let ClientEvent::Rejected { description, .. } = event {
                    *self.said.lock() = description;
                }
            }
            let answer = session.output().split();
            if socket.write_all(&answer).is_err() {
                break;
            }
        }
        self.is_closed.store(true, Ordering::Release);
    }
}

fn receive(socket: &mut TcpStream, session: &mut ClientSession) -> bool {
    let mut buffer = [0; 4_096];
    match socket.read(&mut buffer) {
        Ok(count @ 1..) => {
            session.input().extend_from_slice(&buffer[..count]);
            true
        }
        _ => false,
    }
}
