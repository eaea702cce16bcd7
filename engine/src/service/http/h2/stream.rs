//! One stream of an HTTP/2 connection as a byte stream of its own. Shards write to it: what they write lies in `h2` until the
//! connection's task, which is woken for it, has put it on the socket.

use crate::net::Sink;
use ::h2::SendStream;
use bytes::{Buf, Bytes, BytesMut};
use parking_lot::Mutex;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

bound! {
    /// Bytes of one stream that lie in `h2`: a connection whose peer lets none of them through holds no more for each of its
    /// streams (test `a_stream_whose_peer_takes_nothing_holds_no_more_than_128_kib`).
    pub(super) const HELD: usize = 128 * 1024, without 1 << 30;
}

/// Of these, bytes that do not count as held up: the connection's task is about to write them.
const ON_ITS_WAY: usize = HELD.stated() / 2;

/// The reading half, for who waits until the peer takes its request back, and the writing half.
pub(super) fn halves(send: SendStream<Payload>) -> (Reader, Writer) {
    let shared = Arc::new(Mutex::new(Shared { send, has_ended: false }));
    (Reader(shared.clone()), Writer { shared, held: Arc::default() })
}

struct Shared {
    send: SendStream<Payload>,
    has_ended: bool,
}

/// What the peer says on a stream when it has sent its request: nothing, until it ends the stream.
pub(super) struct Reader(Arc<Mutex<Shared>>);

impl AsyncRead for Reader {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut shared = self.0.lock();
        if shared.has_ended {
            return Poll::Ready(Ok(()));
        }
        // With any reason: the peer is gone.
        shared.send.poll_reset(cx).map(|reset| reset.map(drop).map_err(broken))
    }
}

/// What is sent on a stream. Dropped before its end, it resets the stream, and what still waits is thrown away.
pub(super) struct Writer {
    shared: Arc<Mutex<Shared>>,
    held: Arc<Held>,
}

impl Writer {
    /// How many of `len` bytes may be sent now.
    fn poll_room(&self, cx: &mut Context<'_>, len: usize) -> Poll<io::Result<usize>> {
        let free = HELD.get() - ready!(self.held.poll_below(HELD.get(), cx));
        let mut shared = self.shared.lock();
        let wanted = len.min(free);
        shared.send.reserve_capacity(wanted);
        let room = match shared.send.capacity() {
            0 => match ready!(shared.send.poll_capacity(cx)) {
                Some(room) => room.map_err(broken)?,
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            },
            room => room,
        };
        Poll::Ready(Ok(room.min(wanted)))
    }

    fn send(&self, bytes: Bytes) -> io::Result<usize> {
        let len = bytes.len();
        let payload = Payload::new(bytes, self.held.clone());
        self.shared.lock().send.send_data(payload, false).map_err(broken)?;
        Ok(len)
    }
}

impl AsyncWrite for Writer {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    /// In one frame, or it would be a frame for each slice.
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let len = slices.iter().map(|slice| slice.len()).sum();
        if len == 0 {
            return Poll::Ready(Ok(0));
        }
        let room = ready!(self.poll_room(cx, len))?;
        let mut bytes = BytesMut::with_capacity(room);
        for slice in slices {
            bytes.extend_from_slice(slice.get(..room - bytes.len()).unwrap_or(slice));
        }
        Poll::Ready(self.send(bytes.freeze()))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Ready when everything is on the socket.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.held.poll_below(1, cx).map(|_| Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut shared = self.shared.lock();
        if !std::mem::replace(&mut shared.has_ended, true) {
            let last = Payload::new(Bytes::new(), self.held.clone());
            shared.send.send_data(last, true).map_err(broken)?;
        }
        Poll::Ready(Ok(()))
    }
}

impl Sink for Writer {
    fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.try_write_shared(&Bytes::copy_from_slice(bytes))
    }

    fn try_write_shared(&mut self, bytes: &Bytes) -> io::Result<usize> {
        match self.poll_room(&mut Context::from_waker(Waker::noop()), bytes.len()) {
            Poll::Ready(room) => self.send(bytes.slice(..room?)),
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn is_flushed(&mut self) -> bool {
        self.held.state.lock().bytes <= ON_ITS_WAY
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let mut shared = self.shared.lock();
        if !shared.has_ended {
            shared.has_ended = true;
            shared.send.send_reset(::h2::Reason::CANCEL);
        }
    }
}

fn broken(error: ::h2::Error) -> io::Error {
    match error.is_io() {
        true => error.into_io().unwrap_or_else(|| io::ErrorKind::BrokenPipe.into()),
        false => io::Error::new(io::ErrorKind::BrokenPipe, error),
    }
}

/// Bytes on their way through `h2`, counted until they are on the socket or thrown away.
pub(super) struct Payload {
    bytes: Bytes,
    held: Arc<Held>,
}

impl Payload {
    fn new(bytes: Bytes, held: Arc<Held>) -> Self {
        held.state.lock().bytes += bytes.len();
        Self { bytes, held }
    }
}

impl Buf for Payload {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
        self.held.leave(count);
    }
}

impl Drop for Payload {
    fn drop(&mut self) {
        self.held.leave(self.bytes.len());
    }
}

/// What of a stream lies in `h2`.
#[derive(Default)]
struct Held {
    state: Mutex<HeldState>,
}

#[derive(Default)]
struct HeldState {
    bytes: usize,
    /// Who waits until there are fewer, and than how many.
    waiter: Option<(usize, Waker)>,
}

impl Held {
    /// How many bytes there are, as soon as they are fewer than `limit`.
    fn poll_below(&self, limit: usize, cx: &mut Context<'_>) -> Poll<usize> {
        let mut state = self.state.lock();
        if state.bytes < limit {
            return Poll::Ready(state.bytes);
        }
        state.waiter = Some((limit, cx.waker().clone()));
        Poll::Pending
    }

    fn leave(&self, count: usize) {
        let mut state = self.state.lock();
        state.bytes -= count;
        let bytes = state.bytes;
        let woken = state.waiter.take_if(|(limit, _)| bytes < *limit);
        drop(state);
        if let Some((_, waker)) = woken {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::{Request, Response};
    use std::future::poll_fn;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    /// The halves of a stream whose client lets everything through, but reads nothing of a connection that holds so
    /// many bytes; and what keeps it open.
    async fn stream(pipe: usize) -> (Reader, Writer, impl Sized) {
        let (ours, theirs) = duplex(pipe);
        let mut builder = ::h2::client::Builder::new();
        builder.initial_window_size(1 << 30).initial_connection_window_size(1 << 30);
        let client = async {
            let (mut send, mut connection) = builder.handshake::<_, Bytes>(theirs).await.unwrap();
            let (response, _) = send.send_request(Request::new(()), true).unwrap();
            tokio::select! { response = response => (response.unwrap(), send, connection), _ = &mut connection => panic!() }
        };
        let server = async {
            let mut connection = ::h2::server::Builder::new().handshake(ours).await.unwrap();
            let (_, mut respond) = connection.accept().await.unwrap().unwrap();
            let send = respond.send_response(Response::new(()), false).unwrap();
            tokio::spawn(async move { while connection.accept().await.is_some() {} });
            halves(send)
        };
        let (client, (reader, writer)) = tokio::join!(client, server);
        (reader, writer, client)
    }

    #[tokio::test]
    async fn a_stream_whose_peer_takes_nothing_holds_no_more_than_128_kib() {
        let (_reader, mut writer, _client) = stream(1_000).await;
        let bytes = Bytes::from(vec![7; 10_000]);
        let mut taken = 0;
        loop {
            match writer.try_write_shared(&bytes) {
                Ok(count) => taken += count,
                Err(error) => break assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
            assert!(taken < 1 << 20, "no end");
            tokio::task::yield_now().await;
        }
        assert!((128 * 1024..=129 * 1024).contains(&taken), "{taken}");
        let mut cx = Context::from_waker(Waker::noop());
        assert!(!writer.is_flushed() && Pin::new(&mut writer).poll_flush(&mut cx).is_pending());
    }

    #[tokio::test]
    async fn who_flushes_waits_until_everything_is_on_the_socket_and_an_end_is_an_end_for_both_halves() {
        let (mut reader, mut writer, client) = stream(1 << 20).await;
        assert!(
            poll_fn(|cx| Poll::Ready(
                Pin::new(&mut reader).poll_read(cx, &mut ReadBuf::new(&mut [])).is_pending()
            ))
            .await
        );
        writer.write_all(&[1; 100_000]).await.unwrap();
        writer.flush().await.unwrap();
        assert_eq!(writer.held.state.lock().bytes, 0);
        writer.shutdown().await.unwrap();
        assert_eq!(reader.read(&mut [0]).await.unwrap(), 0);
        drop((writer, reader, client));
    }
}
