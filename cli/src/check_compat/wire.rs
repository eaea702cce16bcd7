//! A connection by RTMP on which a script sends what it likes, and that remembers what the server says.

pub(super) use crate::connection::Io;
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;
use streamengine::Limits;
use streamengine::amf0::{self, Amf0Value};
use streamengine::media::{Frame, FrameKind};
use streamengine::proto::chunk::{ChunkReader, WireMessage, csid};
use streamengine::proto::message::{self, Command, Control, Decoded, Message};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

streamengine::bound! {
    /// Most bytes that one connection takes from a server, as they are remembered: a minute of 4 Mbit/s
    /// (test `a_server_that_sends_without_end_is_left`).
    const MOST_BYTES: usize = 32 << 20, without usize::MAX;
    /// Most messages likewise: each takes more room than its bytes
    /// (test `a_server_that_sends_without_end_is_left`).
    const MOST_MESSAGES: usize = 100_000, without usize::MAX;
    /// How long the server may take to read what is sent
    /// (test `a_server_that_reads_nothing_is_given_up`).
    const WRITE_TIMEOUT: Duration = Duration::from_secs(15), without Duration::from_secs(1 << 30);
}
/// Chunk size until another is announced (5.4.1 of the specification).
const FIRST_CHUNK_SIZE: u32 = 128;
/// Types of messages (7.1).
const COMMAND: u8 = 20;

/// Why a connection is of no more use, in words that follow its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Broken(pub(super) String);

impl From<std::io::Error> for Broken {
    fn from(error: std::io::Error) -> Self {
        use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        match error.kind() {
            BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof => Self::closed(),
            _ => Self(format!("cannot be reached any more: {error}")),
        }
    }
}

impl Broken {
    fn closed() -> Self {
        Self("closes the connection".to_owned())
    }
}

impl From<Broken> for String {
    fn from(broken: Broken) -> Self {
        broken.0
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the server has said.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Heard {
    pub(super) at: Instant,
    /// The message stream.
    pub(super) stream: u32,
    /// The message's time in milliseconds, modulo 2^32.
    pub(super) time: u32,
    pub(super) what: Decoded,
}

impl Heard {
    pub(super) fn command(&self) -> Option<&Command> {
        match &self.what {
            Decoded::Command(command) => Some(command),
            _ => None,
        }
    }

    /// The frame that it is.
    pub(super) fn frame(&self) -> Option<Frame> {
        let (kind, payload) = match &self.what {
            Decoded::Audio(payload) => (FrameKind::Audio, payload),
            Decoded::Video(payload) => (FrameKind::Video, payload),
            Decoded::Data(payload) => (FrameKind::Data, payload),
            _ => return None,
        };
        Some(Frame::new(kind, i64::from(self.time), payload.clone()))
    }
}

/// How listening came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Listened {
    /// What was waited for is there.
    Enough,
    /// The time is over.
    Silent,
    /// The connection is.
    Over(Broken),
}

/// A connection behind its handshake.
pub(super) struct Session {
    io: Box<dyn Io>,
    input: BytesMut,
    reader: ChunkReader,
    /// Sub-messages of an aggregate that are not told yet.
    waiting: VecDeque<Message>,
    /// Of what we send.
    chunk_size: u32,
    /// Calls so far.
    calls: f64,
    received: usize,
    messages: usize,
    /// The server's acknowledgement window, and what was acknowledged last.
    window: Option<usize>,
    acknowledged: usize,
    /// What is to be answered to what was heard.
    replies: Vec<Control>,
    pub(super) heard: Vec<Heard>,
}

impl Session {
    pub(super) fn new(io: Box<dyn Io>) -> Self {
        let mut reader = ChunkReader::new(&Limits::default());
        reader.grant();
        Self {
            io,
            input: BytesMut::new(),
            reader,
            waiting: VecDeque::new(),
            chunk_size: FIRST_CHUNK_SIZE,
            calls: 0.0,
            received: 0,
            messages: 0,
            window: None,
            acknowledged: 0,
            replies: Vec::new(),
            heard: Vec::new(),
        }
    }

    /// The chunk size that the server sends with.
    pub(super) fn chunk_size_of_server(&self) -> usize {
        self.reader.chunk_size()
    }

    /// Announces a chunk size, and keeps to it.
    pub(super) async fn set_chunk_size(&mut self, size: u32) -> Result<(), Broken> {
        self.control(Control::SetChunkSize(size)).await?;
        self.chunk_size = size;
        Ok(())
    }

    pub(super) async fn control(&mut self, control: Control) -> Result<(), Broken> {
        let (type_id, payload) = message::encode_control(control);
        self.send(csid::CONTROL, type_id, 0, 0, payload).await
    }

    pub(super) async fn send(
        &mut self,
        csid: u8,
        type_id: u8,
        stream: u32,
        time: u32,
        payload: Bytes,
    ) -> Result<(), Broken> {
        let message = WireMessage::new(csid, type_id, stream, time.into(), payload);
        let mut wire = BytesMut::new();
        message.in_chunks_of(self.chunk_size).encode(&mut wire);
        let written = timeout(WRITE_TIMEOUT.get(), async {
            self.io.write_all(&wire).await?;
            self.io.flush().await
        });
        Ok(written.await.map_err(|_| Broken("reads nothing of what it is sent".to_owned()))??)
    }

    /// Sends a command with a transaction id of its own, which is returned.
    pub(super) async fn call(
        &mut self,
        csid: u8,
        stream: u32,
        name: &str,
        object: &Bytes,
        arguments: &[Amf0Value],
    ) -> Result<f64, Broken> {
        self.calls += 1.0;
        let mut body = BytesMut::new();
        amf0::encode(&[text(name), Amf0Value::Number(self.calls)], &mut body);
        body.extend_from_slice(object);
        amf0::encode(arguments, &mut body);
        self.send(csid, COMMAND, stream, 0, body.freeze()).await?;
        Ok(self.calls)
    }

    pub(super) async fn send_frame(&mut self, csid: u8, stream: u32, frame: &Frame) -> Result<(), Broken> {
        // A time beyond 2^32 begins anew, as on the wire.
        let time = u32::try_from(frame.timestamp.rem_euclid(1 << 32)).unwrap_or_default();
        self.send(csid, frame.kind.type_id(), stream, time, frame.payload.clone()).await
    }

    /// Listens until `is_enough` of what has been heard so far is true, or the time is over. Pings are answered, and what comes is
    /// acknowledged.
    pub(super) async fn listen(
        &mut self,
        until: Instant,
        is_enough: impl FnMut(&[Heard]) -> bool,
    ) -> Listened {
        self.listen_unless(&CancellationToken::new(), until, is_enough).await
    }

    /// The same, or until this is stopped.
    pub(super) async fn listen_unless(
        &mut self,
        stop: &CancellationToken,
        until: Instant,
        mut is_enough: impl FnMut(&[Heard]) -> bool,
    ) -> Listened {
        loop {
            if is_enough(&self.heard) {
                return Listened::Enough;
            }
            // What is there already is heard whatever the time: a server that sends and sends would have no end.
            if Instant::now() >= until {
                return Listened::Silent;
            }
            let next = tokio::select! {
                next = timeout_at(until, self.next()) => next,
                () = stop.cancelled() => return Listened::Silent,
            };
            match next {
                Err(_) => return Listened::Silent,
                Ok(Err(broken)) => return Listened::Over(broken),
                Ok(Ok(())) => {}
            }
            // Out of the reach of time and stop, so that none is sent in half.
            for reply in std::mem::take(&mut self.replies) {
                if let Err(broken) = self.control(reply).await {
                    return Listened::Over(broken);
                }
            }
        }
    }

    /// Hears one more message.
    async fn next(&mut self) -> Result<(), Broken> {
        loop {
            let message = match self.waiting.pop_front() {
                Some(message) => Some(message),
                None => self.reader.read(&mut self.input).map_err(|error| {
                    Broken(format!("breaks the rules of the chunk stream: {}", error.detail))
                })?,
            };
            match message {
                Some(message) => {
                    if self.take(message)? {
                        return Ok(());
                    }
                }
                None => self.read().await?,
            }
        }
    }

    async fn read(&mut self) -> Result<(), Broken> {
        let count = self.io.read_buf(&mut self.input).await?;
        if count == 0 {
            return Err(Broken::closed());
        }
        self.received = self.received.saturating_add(count);
        if self.received > MOST_BYTES.get() {
            return Err(Broken("sends more than a stream needs".to_owned()));
        }
        Ok(())
    }

    /// Whether a message has been heard: an aggregate is its parts.
    fn take(&mut self, message: Message) -> Result<bool, Broken> {
        let (stream, time, at) = (message.stream_id, message.timestamp, Instant::now());
        let what =
            message::decode(message).map_err(|error| Broken(format!("sends a broken message: {error}")))?;
        match &what {
            Decoded::Control(Control::PingRequest(clock)) => {
                self.replies.push(Control::PingResponse(*clock));
            }
            Decoded::Control(Control::WindowAckSize(window)) => {
                self.window = usize::try_from(*window).ok().filter(|window| *window > 0);
            }
            Decoded::Aggregate(parts) => {
                self.waiting.extend(parts.iter().cloned());
                return Ok(false);
            }
            _ => {}
        }
        self.acknowledge();
        self.messages = self.messages.saturating_add(1);
        if self.messages > MOST_MESSAGES.get() {
            return Err(Broken("sends more messages than a stream needs".to_owned()));
        }
        self.heard.push(Heard { at, stream, time, what });
        Ok(true)
    }

    fn acknowledge(&mut self) {
        if self.window.is_some_and(|window| self.received - self.acknowledged >= window) {
            self.acknowledged = self.received;
            // The total begins anew at 2^32, which MOST_BYTES is far from.
            self.replies.push(Control::Acknowledgement(u32::try_from(self.received).unwrap_or(u32::MAX)));
        }
    }
}

pub(super) fn text(text: &str) -> Amf0Value {
    Amf0Value::Utf8String(text.to_owned())
}

/// An AMF0 null, for commands without an object.
pub(super) static NULL: Bytes = Bytes::from_static(&[5]);

/// An AMF0 object with its properties in this order, as clients have it.
pub(super) fn object(properties: &[(&str, Amf0Value)]) -> Bytes {
    const OBJECT: u8 = 3;
    const END: [u8; 3] = [0, 0, 9];
    let mut body = BytesMut::from(&[OBJECT][..]);
    for (name, value) in properties {
        let length = u16::try_from(name.len()).unwrap_or(u16::MAX);
        body.extend_from_slice(&length.to_be_bytes());
        body.extend_from_slice(name.as_bytes());
        amf0::encode(std::slice::from_ref(value), &mut body);
    }
    body.extend_from_slice(&END);
    body.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::duplex;

    fn session(io: impl Io + 'static) -> Session {
        Session::new(Box::new(io))
    }

    fn far() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[tokio::test]
    async fn a_server_that_sends_without_end_is_left() {
        let big = WireMessage::new(7, 9, 1, 0, vec![0; 1 << 20].into()).in_chunks_of(128);
        let empty = WireMessage::new(7, 9, 1, 0, Bytes::new());
        for (message, most, words) in [(big, 40, "more than a stream"), (empty, 110_000, "more messages")] {
            let (client, mut server) = duplex(1 << 20);
            let sending = tokio::spawn(async move {
                let mut wire = BytesMut::new();
                message.encode(&mut wire);
                let mut sent = 0;
                while sent < most && server.write_all(&wire).await.is_ok() {
                    sent += 1;
                }
                server
            });
            match session(client).listen(far(), |_| false).await {
                Listened::Over(broken) => assert!(broken.0.contains(words), "{broken}"),
                other => panic!("{other:?}"),
            }
            sending.await.unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_reads_nothing_is_given_up() {
        let (client, _server) = duplex(16);
        let mut session = session(client);
        let sent = timeout(Duration::from_secs(60), async {
            session.control(Control::WindowAckSize(2_500_000)).await?;
            session.control(Control::SetChunkSize(4096)).await
        });
        assert!(sent.await.expect("it is given up").unwrap_err().0.contains("reads nothing"));
    }

    #[tokio::test]
    async fn pings_are_answered_and_bytes_acknowledged() {
        let (client, server) = duplex(1 << 16);
        let (mut client, mut server) = (session(client), session(server));
        server.control(Control::WindowAckSize(64)).await.unwrap();
        server.control(Control::PingRequest(77)).await.unwrap();
        for _ in 0..5 {
            server.control(Control::StreamBegin(1)).await.unwrap();
        }
        assert_eq!(client.listen(far(), |heard| heard.len() == 7).await, Listened::Enough);
        let listened = server.listen(far(), |heard| heard.len() == 2).await;
        assert_eq!(listened, Listened::Enough);
        let told: Vec<_> = server.heard.iter().map(|heard| heard.what.clone()).collect();
        let is_pong = |what: &Decoded| *what == Decoded::Control(Control::PingResponse(77));
        let is_total = |what: &Decoded| matches!(what, Decoded::Control(Control::Acknowledgement(64..)));
        assert!(told.iter().any(is_pong) && told.iter().any(is_total), "{told:?}");
    }

    #[test]
    fn properties_keep_their_order() {
        let object = object(&[("z", Amf0Value::Null), ("a", Amf0Value::Boolean(true))]);
        assert_eq!(object[..], [3, 0, 1, b'z', 5, 0, 1, b'a', 1, 1, 0, 0, 9]);
    }
}
