//! Promises of RTMP connections, kept over in-memory pipes with a paused clock and over real sockets.

mod flapping;
mod limits;
mod players;
mod publishers;
mod reconnect;
mod rhythm;
mod sockets;

use super::*;
use crate::Takeover;
use crate::auth::{AuthRequest, Authorize, Gate, Grant, PublishRule, Ticket};
use crate::config::{AppConfig, Config, PublisherConfig};
use crate::events::Event;
use crate::events::{EventReceiver, Received};
use crate::hub::panic_at_next_frame;
use crate::media::{Frame, FrameKind};
use crate::net::tests::Authority;
use crate::net::{Admission, DialOptions, Dialer, Listener};
use crate::proto::chunk::{WireMessage, csid};
use crate::proto::client::{ClientEvent, ClientOptions, ClientRole, ClientSession};
use crate::status::StreamState;
use crate::testing::{audio, inter, key, keyframe, no_media, picture};
use bytes::{Bytes, BytesMut};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::AsyncWrite;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::TcpStream;
use tokio::time::{advance, sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Bytes that a pipe holds before the writer has to wait.
const PIPE: usize = 64 * 1024;

fn core_with(config: Config, authorizer: impl Authorize) -> Arc<Core> {
    let auth = Gate::new(&[Arc::new(authorizer)], &config.limits);
    Arc::new(Core::new(config, auth, crate::events::Events::default()))
}

fn core(change: impl FnOnce(&mut Config)) -> Arc<Core> {
    let mut config = Config::default();
    change(&mut config);
    core_with(config, PublishRule::Open)
}

fn peer_address() -> SocketAddr {
    "192.0.2.7:4000".parse().unwrap()
}

/// Serves one end of a pipe; the other end.
fn open(core: &Arc<Core>) -> DuplexStream {
    let (ours, theirs) = duplex(PIPE);
    tokio::spawn(serve(core.clone(), ours, peer_address()));
    theirs
}

/// A peer that speaks RTMP by our own client session.
struct Peer<IO> {
    io: IO,
    rtmp: ClientSession,
    stream_id: u32,
}

fn options(role: ClientRole, stream: &str) -> ClientOptions {
    let (app, stream) = stream.split_once('/').unwrap();
    ClientOptions {
        app: app.into(),
        tc_url: format!("rtmp://localhost/{app}"),
        stream: stream.into(),
        role,
        hops: Vec::new(),
    }
}

impl Peer<DuplexStream> {
    fn new(core: &Arc<Core>, role: ClientRole, stream: &str) -> Self {
        Self::over(open(core), options(role, stream), core)
    }

    async fn publisher(core: &Arc<Core>, stream: &str) -> Self {
        let mut peer = Self::new(core, ClientRole::Publish, stream);
        peer.until_publishing().await;
        peer
    }

    async fn player(core: &Arc<Core>, stream: &str) -> Self {
        let mut peer = Self::new(core, ClientRole::Play, stream);
        peer.until_playing().await;
        peer
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Peer<IO> {
    fn over(io: IO, options: ClientOptions, core: &Arc<Core>) -> Self {
        Self { io, rtmp: ClientSession::new(options, &core.limits()), stream_id: 0 }
    }

    /// The next event; `None` = the server has closed.
    async fn next(&mut self) -> Option<ClientEvent> {
        loop {
            let event = self.rtmp.poll().expect("the server keeps to the protocol");
            let output = self.rtmp.output().split();
            // A server that has closed does not take this any more; the next read says so.
            let _ = self.io.write_all(&output).await;
            if event.is_some() {
                return event;
            }
            match self.io.read_buf(self.rtmp.input()).await {
                Ok(bytes) if bytes > 0 => {}
                _ => return None,
            }
        }
    }

    async fn until_publishing(&mut self) {
        loop {
            match self.next().await.expect("open until publishing") {
                ClientEvent::Publishing { stream_id } => return self.stream_id = stream_id,
                ClientEvent::Rejected { code, description } => panic!("rejected: {code}: {description}"),
                _ => {}
            }
        }
    }

    async fn until_playing(&mut self) {
        while self.next().await.expect("open until playing") != ClientEvent::Playing {}
    }

    /// The refusal that comes next, acknowledgements and the like left out; then the server must close.
    async fn rejected(&mut self) -> (String, String) {
        let mut refusal = None;
        while let Some(event) = self.next().await {
            if let ClientEvent::Rejected { code, description } = event {
                refusal = Some((code, description));
            }
        }
        refusal.expect("closed with a reason")
    }

    /// The next media message: kind, time, first payload byte and length.
    async fn media(&mut self) -> (FrameKind, i64, usize) {
        loop {
            match self.next().await.expect("open while media is expected") {
                ClientEvent::Media { kind, timestamp, payload } => return (kind, timestamp, payload.len()),
                ClientEvent::Ended => panic!("the stream has ended"),
                _ => {}
            }
        }
    }

    /// Ends what it does in good order.
    async fn leave(&mut self) {
        self.rtmp.close();
        let output = self.rtmp.output().split();
        self.io.write_all(&output).await.unwrap();
    }

    async fn closed(&mut self) {
        while self.next().await.is_some() {}
    }

    async fn send(&mut self, kind: FrameKind, timestamp: i64, payload: Bytes) {
        let id = if kind == FrameKind::Video { csid::VIDEO } else { csid::AUDIO };
        let mut bytes = BytesMut::new();
        WireMessage::new(id, kind.type_id(), self.stream_id, timestamp, payload).encode(&mut bytes);
        self.io.write_all(&bytes).await.unwrap();
    }

    async fn video(&mut self, timestamp: i64, length: usize) {
        self.send(FrameKind::Video, timestamp, picture(0x27, length)).await;
    }

    async fn keyframe(&mut self, timestamp: i64, length: usize) {
        self.send(FrameKind::Video, timestamp, picture(0x17, length)).await;
    }

    async fn audio(&mut self, timestamp: i64) {
        self.send(FrameKind::Audio, timestamp, Bytes::from_static(b"\xaf\x01sound")).await;
    }
}

/// The reason of the next closed connection, its events before left out.
async fn closed_reason(events: &mut EventReceiver) -> String {
    loop {
        if let Some(Received::Event(Event::SessionClosed { reason, .. })) = events.next().await {
            return reason;
        }
    }
}

/// What the next player that leaves has been sent.
async fn bytes_played(events: &mut EventReceiver) -> u64 {
    loop {
        if let Some(Received::Event(Event::PlayEnded { bytes_sent, .. })) = events.next().await {
            return bytes_sent;
        }
    }
}

fn seconds(value: f64) -> Duration {
    Duration::from_secs_f64(value)
}
