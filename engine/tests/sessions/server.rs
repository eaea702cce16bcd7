//! The server session against hand-made peers.

mod commands;
mod connect;
mod control;
mod play;
mod publish;

use streamengine::media::FrameKind;
use streamengine::proto::server::{Publish, Rejection, ServerEvent};

fn rejection() -> Rejection {
    Rejection { code: "NetStream.Publish.BadName", description: "the name is taken".to_owned() }
}

fn media(kind: FrameKind, timestamp: i64, payload: &'static [u8]) -> ServerEvent {
    ServerEvent::Media { stream_id: 1, kind, timestamp, payload: payload.into() }
}

fn publish(stream_id: u32, name: &str) -> ServerEvent {
    ServerEvent::Publish(Publish { stream_id, name: name.to_owned() })
}
