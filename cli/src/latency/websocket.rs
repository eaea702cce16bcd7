//! Plays FLV that comes in messages of a WebSocket.

use super::listener::Listener;
use crate::connection::{Trust, connect, words};
use futures_lite::StreamExt;
use streamengine::HttpUrl;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

/// Plays until nobody listens; why it could not go on.
pub(super) async fn play(url: &HttpUrl, trust: &Trust, listener: &mut Listener) -> Result<(), String> {
    let scheme = if url.tls() { "wss" } else { "ws" };
    let request =
        format!("{scheme}://{}{}", url.authority(), url.target()).into_client_request().map_err(words)?;
    let (mut socket, _) = client_async(request, connect(url, trust).await?).await.map_err(words)?;
    while let Some(message) = socket.next().await {
        match message.map_err(words)? {
            Message::Binary(bytes) => {
                listener.read(&bytes)?;
            }
            Message::Close(frame) => {
                let why = frame
                    .map(|frame| format!(" ({} {})", frame.code, streamengine::Printable(&frame.reason)));
                return Err(format!("the server has closed it{}", why.unwrap_or_default()));
            }
            _ => {}
        }
    }
    Err("the server has closed it".to_owned())
}
