//! What is answered to a streaming server: nginx-rtmp's callbacks.

use crate::streamers::Streamers;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Form, Router};
use serde::Deserialize;
use std::future::Future;
use std::net::SocketAddr;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// The fields that count. A form that has one of them twice is refused: nginx-rtmp lets clients add their own.
#[derive(Deserialize)]
struct Asked {
    call: String,
    app: String,
    /// What the encoder or the player has sent: a key, or a public name.
    name: String,
}

/// Answers until it is told to end, and then what has been asked by then.
pub(crate) async fn serve(streamers: Streamers, listen: SocketAddr) -> Result<(), String> {
    let routes = Router::new()
        .route("/publish", post(publish))
        .route("/play", post(play))
        .route("/update", post(update))
        .route("/publish-done", post(publish_done))
        .with_state(streamers);
    let cannot = |error| format!("cannot listen on {listen}: {error}. Another --listen is free, perhaps");
    let listener = TcpListener::bind(listen).await.map_err(cannot)?;
    let end = end().map_err(|error| format!("signals cannot be waited for: {error}"))?;
    let address = listener.local_addr().map_err(cannot)?;
    eprintln!("auth-service: answers on http://{address}");
    let served = axum::serve(listener, routes).with_graceful_shutdown(end).await;
    served.map_err(|error| format!("serving has ended: {error}"))
}

/// SIGINT (Ctrl-C) or SIGTERM.
fn end() -> std::io::Result<impl Future<Output = ()>> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// A key leads to its name; nobody sees the key but the encoder and this service.
async fn publish(State(streamers): State<Streamers>, Form(asked): Form<Asked>) -> Response {
    match streamers.name_of(&asked.name, &asked.app).await {
        Ok(Some(name)) => {
            let noted = streamers.note(&asked.name, true).await;
            noted.map_or_else(away, |()| (StatusCode::FOUND, [(LOCATION, name)]).into_response())
        }
        Ok(None) => StatusCode::FORBIDDEN.into_response(),
        Err(error) => away(error),
    }
}

/// Everybody may play what somebody may publish. A site with tickets looks at them here.
async fn play(State(streamers): State<Streamers>, Form(asked): Form<Asked>) -> Response {
    answer(streamers.is_known(&asked.name, &asked.app).await)
}

/// Who has been blocked leaves.
async fn update(State(streamers): State<Streamers>, Form(asked): Form<Asked>) -> Response {
    match asked.call.as_str() {
        "update_publish" => answer(streamers.may_go_on(&asked.name).await),
        _ => play(State(streamers), Form(asked)).await,
    }
}

async fn publish_done(State(streamers): State<Streamers>, Form(asked): Form<Asked>) -> Response {
    answer(streamers.note(&asked.name, false).await.map(|()| true))
}

fn answer(is_good: sqlx::Result<bool>) -> Response {
    let status = |is_good| if is_good { StatusCode::OK } else { StatusCode::FORBIDDEN };
    is_good.map_or_else(away, |is_good| status(is_good).into_response())
}

/// The server refuses whom it asks for.
fn away(error: sqlx::Error) -> Response {
    eprintln!("auth-service: the database: {error}");
    StatusCode::SERVICE_UNAVAILABLE.into_response()
}
