//! The engine's own API, `/api/v1`: JSON for programs that watch and steer it.
//!
//! ```text
//!   a path ──table──> an operation: its role, what it does, what it replies ──> reply
//!                          └──> the description, openapi.json
//! ```
//! Lists come from the newest snapshot, once for all who ask; single things, and what a snapshot does not have, from the engine.
//! What is wrong is told as RFC 9457 says. Nothing that peers have sent is ever markup here: `<`, `>` and `&` are escaped.

mod change;
mod events;
mod login;
mod openapi;
mod operations;
mod problem;
mod read;
mod views;

use super::Asker;
use super::access;
use super::body::Body;
use super::header;
use super::manage;
use super::reply::{self, Reply};
use crate::config::HttpRole;
use crate::limits::ms;
use crate::manage::Manage;
use crate::{Error, ErrorKind};
use change::{Change, Content};
use hyper::header::CONTENT_TYPE;
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use operations::{Act, Found};
use problem::Problem;
use serde::Serialize;
use std::sync::Arc;
use tokio::task::spawn_blocking;

/// The reply to a request below `/api/`.
pub(super) async fn answer(asker: &Asker, request: &Parts, body: Body) -> Reply {
    let found = Found::find(request.uri.path());
    let methods = found.as_ref().map(Found::methods).unwrap_or_default();
    let mut reply = match (&request.method, found) {
        (&Method::OPTIONS, Some(_)) => manage::preflight(&methods),
        (_, found) => replied(asker, request, found, body).await.unwrap_or_else(|problem| {
            let allow = (problem.status() == StatusCode::METHOD_NOT_ALLOWED).then_some(&*methods);
            problem.reply(allow)
        }),
    };
    access::allow_origin(&asker.core.config().http, request, &mut reply);
    reply
}

async fn replied(
    asker: &Asker,
    request: &Parts,
    found: Option<Found<'_>>,
    body: Body,
) -> Result<Reply, Problem> {
    let nothing = || {
        Problem::new(
            StatusCode::NOT_FOUND,
            "the API has nothing there; /api/v1/openapi.json says what it has",
        )
    };
    let found = found.ok_or_else(nothing)?;
    let operation = found.operation(&request.method).ok_or_else(Problem::wrong_method)?;
    let role = match operation.role {
        Some(needed) => Some(manage::admit(asker, request, needed)?),
        None => {
            login::admit(asker, request, operation.act)?;
            None
        }
    };
    let (core, query) = (&asker.core, request.uri.query().unwrap_or_default());
    let content_type = header::text(&request.headers, &CONTENT_TYPE);
    let within = ms(core.limits().http_header_timeout_ms);
    let body = Content::read(&operation.takes, content_type, body, within).await?;
    if login::is_one(operation.act) {
        return login::answer(asker, request, operation.act, &body).await;
    }
    if operation.act == Act::Events {
        return events::answer(asker, request, query);
    }
    if operation.act == Act::Log {
        return read::log(core, query);
    }
    if operation.role != Some(HttpRole::Admin) {
        return read::answer(core, operation, &found, query, role).await;
    }
    let manager = read::manager(core)?.clone();
    let change = Change {
        #[cfg(feature = "keys")]
        core,
        manager,
        operation,
        found,
        query,
        body,
    };
    let reply = change.make().await?;
    if request.method != Method::GET {
        tracing::info!(peer = %asker.peer, method = %request.method, path = request.uri.path(), "done by the API");
    }
    Ok(reply)
}

/// Does something that may wait, for a disk or for another change, on a thread of its own: this one belongs to all connections.
async fn apart<T: Send + 'static>(
    manager: &Arc<dyn Manage>,
    work: impl FnOnce(&dyn Manage) -> crate::Result<T> + Send + 'static,
) -> Result<T, Problem> {
    let manager = manager.clone();
    let bug = |_| Error::new(ErrorKind::Internal, "a bug in the engine has ended this work");
    Ok(spawn_blocking(move || work(&*manager)).await.map_err(bug).flatten()?)
}

/// A reply as JSON.
fn told(status: StatusCode, value: &impl Serialize) -> Reply {
    reply::told(status, JSON, json(value).into())
}

const JSON: &str = "application/json";

/// A value as JSON, in which nothing is markup wherever it is put: names come from peers.
fn json(value: &impl Serialize) -> Vec<u8> {
    // Only maps with keys that are no texts could fail, and there are none.
    let text = serde_json::to_vec(value).unwrap_or_default();
    let mut escaped = Vec::with_capacity(text.len());
    for byte in text {
        match byte {
            // They are in texts only, where they may be written so.
            b'<' => escaped.extend_from_slice(b"\\u003c"),
            b'>' => escaped.extend_from_slice(b"\\u003e"),
            b'&' => escaped.extend_from_slice(b"\\u0026"),
            byte => escaped.push(byte),
        }
    }
    escaped
}
