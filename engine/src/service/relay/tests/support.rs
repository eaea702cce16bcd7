//! What relay tests are made of: a small engine, a publisher, and a remote side whose every step the test decides.

use super::super::{RelayState, RelayStatus, Relays};
use crate::auth::{Gate, PublishRule};
use crate::config::{Config, PushConfig};
use crate::events::{Event, EventReceiver, Received};
use crate::hub::{PublishRequest, Publisher};
use crate::id::RelayId;
use crate::limits::Limits;
use crate::media::{Frame, FrameKind};
use crate::net::{Accepted, Admission, Listener, ServerTls, TlsIdentity};
use crate::proto::chunk::WireMessage;
use crate::proto::server::{Connect, Rejection, ServerEvent, ServerSession};
use crate::service::{Core, rtmp};
use crate::testing::{audio_header, video_header};
pub(super) use crate::testing::{key, source, url};
use bytes::{Bytes, BytesMut};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Handle;
use tokio::time::timeout;

/// Nothing in these tests takes this long unless it is broken.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what}: did not happen"))
}

/// An engine without public door.
pub(super) struct Node {
    pub(super) core: Arc<Core>,
    pub(super) relays: Relays,
    pub(super) events: EventReceiver,
}

impl Node {
    pub(super) fn new(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        change(&mut config);
        let gate = Gate::new(&[Arc::new(PublishRule::Open)], &config.limits);
        let core = Arc::new(Core::new(config, gate, crate::events::Events::default()));
        let (relays, events) = (Relays::new(core.clone(), Handle::current()), core.events.subscribe());
        Self { core, relays, events }
    }

    pub(super) fn with_limits(change: impl FnOnce(&mut Limits)) -> Self {
        Self::new(|config| change(&mut config.limits))
    }

    /// Serves RTMP; the address.
    pub(super) fn serve(&self) -> SocketAddr {
        self.serve_with(None)
    }

    /// Serves RTMPS; the address.
    pub(super) fn serve_tls(&self, cert: &Path, key: &Path) -> SocketAddr {
        self.serve_with(Some(Arc::new(ServerTls::load(TlsIdentity::files(cert, key)).unwrap())))
    }

    fn serve_with(&self, tls: Option<Arc<ServerTls>>) -> SocketAddr {
        let listener = Listener::bind("rtmp", "127.0.0.1:0".parse().unwrap()).unwrap();
        let (address, core) = (listener.local_addr(), self.core.clone());
        let admission = Admission::new(&core.limits());
        let serve = move |accepted: Accepted| rtmp::accept(core.clone(), accepted, tls.clone());
        let run = listener.run(admission, self.core.draining.clone(), serve, || ());
        tokio::spawn(run);
        address
    }

    pub(super) fn publish(&self, name: &str) -> Publisher {
        let resume_window = Duration::from_secs(10);
        self.core.hub.publish(&key(name), PublishRequest { resume_window, ..Default::default() }).unwrap()
    }

    /// Publishes on and on: headers, then a frame each 10 ms, each tenth a keyframe of `size` bytes.
    pub(super) fn keep_publishing(&self, name: &str, size: usize) -> tokio::task::JoinHandle<()> {
        let publisher = self.publish(name);
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_millis(10));
            headers().into_iter().for_each(|frame| publisher.push(frame).unwrap());
            for number in 0i64.. {
                ticks.tick().await;
                publisher.push(frame(number, size)).unwrap();
            }
        })
    }

    pub(super) fn push_to(&self, name: &str, url: &str) -> RelayId {
        self.relays.push(PushConfig::new(key(name), url.parse().unwrap()))
    }

    pub(super) fn status(&self, id: RelayId) -> RelayStatus {
        self.relays.status(id).unwrap()
    }

    /// The first status event of `id` that has `state`.
    pub(super) async fn state(&mut self, id: RelayId, state: RelayState) -> RelayStatus {
        let wait = async {
            loop {
                match self.events.next().await {
                    Some(Received::Event(Event::RelayState(status)))
                        if status.id == id && status.state == state =>
                    {
                        return status;
                    }
                    Some(_) => {}
                    None => panic!("no events any more"),
                }
            }
        };
        soon(&format!("relay {id} becomes {state}"), wait).await
    }
}

/// Metadata and sequence headers.
pub(super) fn headers() -> [Frame; 3] {
    let metadata = Bytes::from_static(b"\x02\x00\x0aonMetaData\x08\x00\x00\x00\x00\x00\x00\x09");
    [Frame::new(FrameKind::Data, 0, metadata), video_header(0), audio_header(0)]
}

/// Video frame `number`, which it carries behind its header; each tenth is a keyframe.
pub(super) fn frame(number: i64, size: usize) -> Frame {
    let mut payload = vec![0; size.max(13)];
    payload[0] = if number % 10 == 0 { 0x17 } else { 0x27 };
    payload[1] = 1;
    payload[5..13].copy_from_slice(&number.to_be_bytes());
    Frame::new(FrameKind::Video, number * 10, payload.into())
}

pub(super) fn is_coded(payload: &[u8]) -> bool {
    payload[1] == 1
}

pub(super) fn number(payload: &[u8]) -> i64 {
    i64::from_be_bytes(payload[5..13].try_into().unwrap())
}

/// The place where remote sides come from.
pub(super) struct Door {
    listener: TcpListener,
    pub(super) address: SocketAddr,
}

impl Door {
    pub(super) async fn open() -> Self {
        Self::open_at("127.0.0.1:0".parse().unwrap())
    }

    /// Opens a door at an address where one was before.
    pub(super) fn open_at(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        // Inherited by the connections: a side that does not read is soon felt.
        socket.set_recv_buffer_size(16 * 1024).unwrap();
        socket.bind(address).unwrap();
        let listener = socket.listen(64).unwrap();
        let address = listener.local_addr().unwrap();
        Self { listener, address }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("rtmp://{}/{path}", self.address)
    }

    pub(super) async fn accept(&self) -> TcpStream {
        soon("a connection", self.listener.accept()).await.unwrap().0
    }

    /// A remote side that goes through the handshake.
    pub(super) async fn greet(&self) -> Remote {
        Remote::new(self.accept().await)
    }

    /// A remote side that grants `connect` and what follows.
    pub(super) async fn grant(&self) -> Remote {
        let mut remote = self.greet().await;
        remote.grant().await;
        remote
    }

    /// Closes the door; afterwards connections are refused.
    pub(super) fn close(self) -> SocketAddr {
        self.address
    }
}

/// The server at the other end of a relay.
pub(super) struct Remote {
    socket: TcpStream,
    pub(super) session: ServerSession,
}

impl Remote {
    fn new(socket: TcpStream) -> Self {
        Self { socket, session: ServerSession::new(&Limits::default()) }
    }

    /// The next event; `None` when the relay has closed the connection.
    pub(super) async fn event(&mut self) -> Option<ServerEvent> {
        soon("an event of the relay", async {
            loop {
                if let Some(event) = self.session.poll().unwrap() {
                    return Some(event);
                }
                self.flush().await;
                if self.socket.read_buf(self.session.input()).await.unwrap_or(0) == 0 {
                    return None;
                }
            }
        })
        .await
    }

    /// Reads a little and throws it away; 0 = the relay has closed.
    pub(super) async fn trickle(&mut self) -> usize {
        self.socket.read(&mut [0; 200]).await.unwrap_or(0)
    }

    /// Sends bytes without reading any.
    pub(super) async fn write(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).await.unwrap();
    }

    pub(super) async fn flush(&mut self) {
        let output = self.session.output().split();
        // The relay may be gone already: then the next read says so.
        let _ = self.socket.write_all(&output).await;
    }

    pub(super) async fn connect(&mut self) -> Connect {
        match self.event().await {
            Some(ServerEvent::Connect(connect)) => connect,
            other => panic!("connect expected: {other:?}"),
        }
    }

    /// Grants `connect` and the publish or play that follows; its name.
    pub(super) async fn grant(&mut self) -> String {
        self.connect().await;
        self.session.accept();
        let name = match self.event().await {
            Some(ServerEvent::Publish(publish)) => publish.name,
            Some(ServerEvent::Play(play)) => play.name,
            other => panic!("publish or play expected: {other:?}"),
        };
        self.session.accept();
        self.flush().await;
        name
    }

    pub(super) async fn refuse(&mut self, code: &'static str, description: &str) {
        self.session.reject(&Rejection { code, description: description.to_owned() });
        self.flush().await;
    }

    /// The next media message: kind and payload.
    pub(super) async fn media(&mut self) -> (FrameKind, Bytes) {
        match self.event().await {
            Some(ServerEvent::Media { kind, payload, .. }) => (kind, payload),
            other => panic!("media expected: {other:?}"),
        }
    }

    /// The number of the next coded video frame.
    pub(super) async fn frame_number(&mut self) -> i64 {
        loop {
            let (kind, payload) = self.media().await;
            if kind == FrameKind::Video && is_coded(&payload) {
                return number(&payload);
            }
        }
    }

    /// Sends a frame of a played stream.
    pub(super) async fn send(&mut self, frame: Frame) {
        self.try_send(frame).await.unwrap();
    }

    /// Sends it to a relay that may have closed.
    pub(super) async fn try_send(&mut self, frame: Frame) -> std::io::Result<()> {
        self.flush().await;
        let mut bytes = BytesMut::new();
        WireMessage::new(6, frame.kind.type_id(), 1, frame.timestamp, frame.payload).encode(&mut bytes);
        self.socket.write_all(&bytes).await
    }
}
