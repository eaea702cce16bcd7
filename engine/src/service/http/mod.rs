//! Players over HTTP: FLV and MP4 in replies and in the messages of WebSockets; publishers, the other way round; and pages for both.
//!
//! ```text
//!   socket <──> hyper ──requests──> answers in words, or a visit: authorised, admitted, waits for the stream
//!   socket <── reply begins, then media <── Delivery <── hub        (hyper has let go of the socket)
//! ```
//! hyper reads requests and writes replies, until one gets a stream: then its socket is taken out of hyper's connection, and
//! the player is driven as those of all doors are, by shards while it has caught up. So it costs what a player of RTMP costs.
//!
//! With HTTP/2, which browsers want behind TLS, a connection has many requests at a time. There a player's output is its
//! stream of the connection, and all else is the same.

mod access;
mod api;
mod body;
mod connection;
mod control;
mod h2;
mod header;
mod hls;
mod ingest;
mod manage;
mod metrics;
mod nginx_stat;
mod pages;
mod player;
mod poster;
mod progress;
mod recordings;
mod reply;
mod request;
mod routes;
#[cfg(test)]
mod tests;
mod visit;
mod websocket;

use super::Core;
use super::arrival::{Arrived, may_begin, shake_hands};
use crate::net::{Accepted, Conn, Halves, Permit, ServerTls};
use crate::status::Protocol;
use bytes::Bytes;
use connection::{Requests, TakenOver};
use ingest::Socket;
use player::Player;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use visit::Publishing;

/// What is spoken behind TLS, by its name in ALPN, the best first.
pub(crate) const ALPN: &[&str] = &[HTTP_2, "http/1.1"];
const HTTP_2: &str = "h2";

/// Serves one accepted socket until it ends; with `tls` as HTTPS.
pub(crate) fn accept(
    core: Arc<Core>,
    accepted: Accepted,
    tls: Option<Arc<ServerTls>>,
) -> impl Future<Output = ()> + Send {
    // Boxed, and the box opened at once: arguments of an async function keep their place in the task for all its life.
    serve(core, Box::new(accepted), tls)
}

async fn serve(core: Arc<Core>, accepted: Box<Accepted>, tls: Option<Arc<ServerTls>>) {
    // Boxed: players need none of it, and there are many of them.
    let taken_over = Box::pin(serve_requests(core, accepted, tls)).await;
    let Some((TakenOver { io, input, turn }, permit)) = taken_over else { return };
    let _permit = permit;
    let turn = match turn.into_publishing() {
        // Boxed: there are few publishers, and the task is as large as the larger kind.
        Ok(publishing) => return Box::pin(publish(publishing, io, input)).await,
        Err(turn) => turn,
    };
    match io.into_halves() {
        Halves::Plain(reader, writer) => Player::start(turn, reader, writer, input).await,
        // Boxed: few connections are of this kind.
        Halves::Tls(reader, writer) => Box::pin(Player::start(turn, reader, writer, input)).await,
    }
}

/// Takes a stream in until its connection ends.
async fn publish(publishing: Publishing, io: Conn, input: Bytes) {
    match io.into_halves() {
        Halves::Plain(reader, writer) => Socket::start(publishing, reader, writer, &input).await,
        Halves::Tls(reader, writer) => Socket::start(publishing, reader, writer, &input).await,
    }
}

#[cfg(feature = "fuzzing")]
pub(crate) use websocket::heard;

/// Answers the requests on a connection that is no socket, with HTTP/2 where it `has_frames`; a stream that one gets is taken
/// back.
#[cfg(feature = "fuzzing")]
pub(crate) async fn serve_unheard<IO>(core: Arc<Core>, peer: SocketAddr, io: IO, has_frames: bool)
where
    IO: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let requests = Requests::new(Asker { core, peer, protocol: Protocol::Https, places: None }, None);
    match has_frames {
        true => requests.serve_streams(io).await,
        false => drop(requests.serve(io).await),
    }
}

/// Answers requests until the connection ends, or one gets a stream.
async fn serve_requests(
    core: Arc<Core>,
    mut accepted: Box<Accepted>,
    tls: Option<Arc<ServerTls>>,
) -> Option<(TakenOver<Conn>, Permit)> {
    if !may_begin(&core, &mut accepted).await {
        return None;
    }
    let peer = accepted.peer;
    let (arrived, protocol) = match tls {
        None => {
            let Accepted { stream, since, pending, permit, .. } = *accepted;
            (Arrived { conn: Conn::plain(stream, peer), since, pending, permit }, Protocol::Http)
        }
        Some(tls) => (shake_hands(&core, *accepted, &tls).await?, Protocol::Https),
    };
    let Arrived { conn, pending, permit, .. } = arrived;
    if conn.speaks(HTTP_2) {
        let places = Some(Arc::new(Places::new(permit)));
        let requests = Requests::new(Asker { core, peer, protocol, places }, Some(pending));
        // Boxed: it is of another size, and the other kind is there more often.
        Box::pin(requests.serve_streams(conn)).await;
        return None;
    }
    let requests = Requests::new(Asker { core, peer, protocol, places: None }, Some(pending));
    requests.serve(conn).await.map(|taken_over| (taken_over, permit))
}

/// Who asks, and where.
#[derive(Clone)]
struct Asker {
    core: Arc<Core>,
    peer: SocketAddr,
    protocol: Protocol,
    /// Of a connection that may have several players; with none, it has one.
    places: Option<Arc<Places>>,
}

/// The places of the players on one connection: each counts as a connection.
struct Places {
    /// The connection's own, which is the first player's too.
    own: Permit,
    own_is_taken: AtomicBool,
}

/// A player's place; to be kept as long as the player.
struct Place {
    places: Arc<Places>,
    /// With none, it is the connection's own.
    other: Option<Permit>,
}

impl Places {
    fn new(own: Permit) -> Self {
        Self { own, own_is_taken: AtomicBool::new(false) }
    }

    /// A place for one more player; none where all are taken.
    fn take(self: &Arc<Self>) -> Option<Place> {
        let other = match self.own_is_taken.swap(true, Ordering::AcqRel) {
            false => None,
            true => Some(self.own.1.one_more()?),
        };
        Some(Place { places: self.clone(), other })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.other.is_none() {
            self.places.own_is_taken.store(false, Ordering::Release);
        }
    }
}
