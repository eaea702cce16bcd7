//! How connections come in, whatever the door: what a proxy tells of them, their turn, and the TLS handshake.

use crate::limits::ms;
use crate::log_limit::left_out;
use crate::net::{Accepted, Conn, PendingPlace, Permit, ServerTls, read_header};
use crate::service::Core;
use crate::{Error, ErrorKind};
use std::future::poll_fn;
use std::net::SocketAddr;
use tokio::time::{Instant, timeout_at};

/// Why somebody is ended who has not been granted anything yet.
pub(super) const GAVE_WAY: &str = "gave way to newer connections: nothing published or played yet";

/// Of a peer that has sent nothing: a load balancer, container or monitor that looks whether the port is open, every few
/// seconds.
pub(super) const ONLY_LOOKED: &str = "closed by the peer, which has sent nothing";

/// Learns whose connection it is, and waits until that address may begin one thing more; false where the connection is to be
/// closed.
pub(super) async fn may_begin(core: &Core, accepted: &mut Accepted) -> bool {
    // Boxed: few come by a proxy or have to wait, and the task keeps the room for all its life.
    if accepted.by_proxy && !Box::pin(learn_peer(core, accepted)).await {
        return false;
    }
    match core.starts.next(accepted.peer.ip()) {
        Some(turn) => Box::pin(await_turn(core, accepted, turn)).await,
        None => true,
    }
}

/// Waits until an address that begins much may begin one thing more; false where the connection is to be closed. Until then
/// nobody has been told of it.
async fn await_turn(core: &Core, accepted: &mut Accepted, turn: Instant) -> bool {
    tokio::select! {
        () = tokio::time::sleep_until(turn) => {
            accepted.since = Instant::now();
            true
        }
        () = poll_fn(|cx| accepted.pending.poll_evicted(cx)) => {
            log_early_failure(&accepted.pending, accepted.peer, GAVE_WAY);
            false
        }
        () = core.draining.cancelled() => false,
    }
}

/// Learns from the proxy whose connection it is; false where the connection is to be closed. The time for that is part of the
/// handshake's.
async fn learn_peer(core: &Core, accepted: &mut Accepted) -> bool {
    let deadline = handshake_deadline(core, accepted);
    let error = match timeout_at(deadline, read_header(&mut accepted.stream)).await {
        // The proxy itself, which looks whether we live.
        Ok(Ok(None)) => return true,
        Ok(Ok(Some(peer))) => {
            accepted.peer = peer;
            return accepted.pending.belongs_to(peer, &mut accepted.permit.1);
        }
        Ok(Err(error)) => error,
        Err(_) => Error::new(ErrorKind::Timeout, "the PROXY header took too long"),
    };
    log_early_end(&accepted.pending, accepted.peer, &error);
    false
}

/// A connection whose TLS handshake, where there is one, is over.
pub(super) struct Arrived {
    pub(super) conn: Conn,
    /// When it was accepted.
    pub(super) since: Instant,
    /// To be dropped when it is granted something.
    pub(super) pending: PendingPlace,
    /// To be kept as long as the connection.
    pub(super) permit: Permit,
}

/// Does the server's side of a TLS handshake, within the time for handshakes; none where it fails, which is logged.
pub(super) async fn shake_hands(core: &Core, accepted: Accepted, tls: &ServerTls) -> Option<Arrived> {
    let deadline = handshake_deadline(core, &accepted);
    let Accepted { stream, peer, since, mut pending, permit, .. } = accepted;
    let handshake = async {
        tokio::select! {
            accepted = tls.accept(stream, peer) => accepted,
            () = poll_fn(|cx| pending.poll_evicted(cx)) => Err(Error::new(ErrorKind::Limit, GAVE_WAY)),
        }
    };
    let error = match timeout_at(deadline, handshake).await {
        Ok(Ok(conn)) => return Some(Arrived { conn, since, pending, permit }),
        Ok(Err(error)) => error,
        Err(_) => Error::new(ErrorKind::Timeout, "TLS handshake took too long"),
    };
    log_early_end(&pending, peer, &error);
    None
}

fn handshake_deadline(core: &Core, accepted: &Accepted) -> Instant {
    accepted.since + ms(core.limits().handshake_timeout_ms)
}

/// Nothing has come before the TLS handshake or the PROXY header, as with [`ONLY_LOOKED`], where the connection was closed.
fn log_early_end(pending: &PendingPlace, peer: SocketAddr, error: &Error) {
    match error.kind() {
        ErrorKind::Reset => tracing::debug!(%peer, "connection closed: {error}"),
        _ => log_early_failure(pending, peer, &error.to_string()),
    }
}

/// Logs that a connection ends before it was granted anything, unless there are too many such lines.
pub(super) fn log_early_failure(pending: &PendingPlace, peer: SocketAddr, error: &str) {
    if let Some(more) = pending.may_log() {
        tracing::warn!(%peer, left_out = left_out(more), "connection closed: {error}");
    }
}
