//! Players over HTTP: FLV in replies and in the messages of WebSockets.
//!
//! ```text
//!   socket <──> hyper ──requests──> answers in words, or a visit: authorised, admitted, waits for the stream
//!   socket <── reply begins, then FLV <── Delivery <── hub        (hyper has let go of the socket)
//! ```
//! hyper reads requests and writes replies, until one gets a stream: then its socket is taken out of hyper's connection, and
//! the player is driven as those of all doors are, by shards while it has caught up. So it costs what a player of RTMP costs.

mod connection;
mod player;
mod progress;
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
use connection::{Requests, TakenOver};
use player::Player;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

/// What is spoken behind TLS, by its name in ALPN.
pub(crate) const ALPN: &[&str] = &["http/1.1"];

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
    match io.into_halves() {
        Halves::Plain(reader, writer) => Player::start(turn, reader, writer, input).await,
        // Boxed: few connections are of this kind, and the task is as large as the larger kind.
        Halves::Tls(reader, writer) => Box::pin(Player::start(turn, reader, writer, input)).await,
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
    let requests = Requests::new(Asker { core, peer, protocol }, Some(pending));
    requests.serve(conn).await.map(|taken_over| (taken_over, permit))
}

/// Who asks, and where.
#[derive(Clone)]
struct Asker {
    core: Arc<Core>,
    peer: SocketAddr,
    protocol: Protocol,
}
