//! The halves of a TLS connection, which share its state. What is written to it is encrypted at once, and goes to the socket in
//! one system call, past the runtime's own note of whether the socket is writable, as with plain connections.

use crate::net::Sink;
use parking_lot::Mutex;
use rustls::{ConnectionCommon, SideData};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

type Shared = Arc<Mutex<TlsStream<TcpStream>>>;

/// What is read.
pub(crate) struct TlsReader(Shared);

/// What is written.
pub(crate) struct TlsWriter(Shared);

/// Takes a connection apart, for reading and writing from different tasks.
pub(crate) fn halves(stream: TlsStream<TcpStream>) -> (TlsReader, TlsWriter) {
    let shared = Arc::new(Mutex::new(stream));
    (TlsReader(shared.clone()), TlsWriter(shared))
}

impl AsyncRead for TlsReader {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.lock()).poll_read(cx, buf)
    }
}

impl AsyncWrite for TlsWriter {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.lock()).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.lock()).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.lock()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.lock()).poll_shutdown(cx)
    }
}

impl Sink for TlsWriter {
    fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut *self.0.lock() {
            TlsStream::Server(stream) => {
                let (socket, session) = stream.get_mut();
                write_now(socket, session, bytes)
            }
            TlsStream::Client(stream) => {
                let (socket, session) = stream.get_mut();
                write_now(socket, session, bytes)
            }
        }
    }

    fn is_flushed(&mut self) -> bool {
        // An error shows at the next write.
        match &mut *self.0.lock() {
            TlsStream::Server(stream) => {
                let (socket, session) = stream.get_mut();
                matches!(pass_on(socket, session), Ok(true))
            }
            TlsStream::Client(stream) => {
                let (socket, session) = stream.get_mut();
                matches!(pass_on(socket, session), Ok(true))
            }
        }
    }
}

/// Encrypts as much as the session holds at a time, and passes it on, until the socket takes no more.
fn write_now<S: SideData>(
    socket: &TcpStream,
    session: &mut ConnectionCommon<S>,
    bytes: &[u8],
) -> io::Result<usize> {
    let mut taken = 0;
    loop {
        let rest = bytes.get(taken..).unwrap_or_default();
        taken += io::Write::write(&mut session.writer(), rest)?;
        match pass_on(socket, session)? {
            true if taken < bytes.len() => {}
            false if taken == 0 => return Err(io::ErrorKind::WouldBlock.into()),
            _ => return Ok(taken),
        }
    }
}

/// Sends what is encrypted; false where some is left.
fn pass_on<S: SideData>(socket: &TcpStream, session: &mut ConnectionCommon<S>) -> io::Result<bool> {
    while session.wants_write() {
        match session.write_tls(&mut AtOnce(socket)) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// A socket that takes what it takes at once.
struct AtOnce<'a>(&'a TcpStream);

impl io::Write for AtOnce<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    #[cfg(unix)]
    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        use nix::sys::socket::MsgFlags;
        let flags = (MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL).bits();
        loop {
            match socket2::SockRef::from(self.0).send_vectored_with_flags(slices, flags) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                sent => return sent,
            }
        }
    }

    #[cfg(not(unix))]
    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
