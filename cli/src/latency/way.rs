//! The ways by which a stream can be played, and a player for each.

use super::listener::Listener;
use super::{News, Told, hls, websocket};
use crate::connection::Trust;
use crate::foreign::Role;
use crate::{Failure, output, relay};
use serde::Serialize;
use std::fmt;
use streamengine::{
    Engine, EventReceiver, HttpUrl, OnRefusal, PullConfig, RelayId, RelayState, RemoteUrl, RtmpUrl,
    Subscriber,
};
use tokio::sync::mpsc::UnboundedSender;

/// One way.
#[derive(Debug, Clone)]
pub(super) struct Way {
    pub(super) protocol: Protocol,
    pub(super) url: RemoteUrl,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Protocol {
    Rtmp,
    HttpFlv,
    #[serde(rename = "websocket")]
    WebSocket,
    Hls,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Rtmp => "RTMP",
            Self::HttpFlv => "HTTP-FLV",
            Self::WebSocket => "WebSocket",
            Self::Hls => "HLS",
        })
    }
}

impl fmt::Display for Way {
    /// The URL, without what may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = self.url.to_string();
        match (self.protocol, url.strip_prefix("http")) {
            (Protocol::WebSocket, Some(rest)) => write!(f, "ws{rest}"),
            _ => f.write_str(&url),
        }
    }
}

/// The ways that an argument names: one, or, where it is the address of a server for HTTP alone, all that this engine has there
/// for the stream that is published to `to`.
pub(super) fn parse(text: &str, to: &RtmpUrl) -> Result<Vec<Way>, Failure> {
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    let scheme = scheme.to_ascii_lowercase();
    let (protocol, scheme) = match scheme.as_str() {
        "ws" => (Protocol::WebSocket, "http"),
        "wss" => (Protocol::WebSocket, "https"),
        "http" | "https" => {
            let place = rest.trim_end_matches('/');
            if !place.contains(['/', '?', '#']) {
                return all_of(&scheme, place, to);
            }
            let path = rest.split(['?', '#']).next().unwrap_or_default();
            let protocol = if path.ends_with(".m3u8") { Protocol::Hls } else { Protocol::HttpFlv };
            (protocol, scheme.as_str())
        }
        _ => {
            return Ok(vec![Way { protocol: Protocol::Rtmp, url: relay::parse_source(text, Role::Source)? }]);
        }
    };
    Ok(vec![over_http(protocol, &format!("{scheme}://{rest}"))?])
}

fn all_of(scheme: &str, place: &str, to: &RtmpUrl) -> Result<Vec<Way>, Failure> {
    let stream = format!("{scheme}://{place}/{}/{}", to.app(), to.stream());
    let query = to.query().map(|query| format!("?{}", query.expose())).unwrap_or_default();
    Ok(vec![
        over_http(Protocol::HttpFlv, &format!("{stream}.flv{query}"))?,
        over_http(Protocol::WebSocket, &format!("{stream}.flv{query}"))?,
        over_http(Protocol::Hls, &format!("{stream}/index.m3u8{query}"))?,
    ])
}

fn over_http(protocol: Protocol, url: &str) -> Result<Way, Failure> {
    let url = match protocol {
        Protocol::HttpFlv => relay::parse_source(url, Role::Source)?,
        _ => RemoteUrl::Http(url.parse().map_err(|error| Failure::usage(format!("latency: {error}")))?),
    };
    Ok(Way { protocol, url })
}

/// Plays by a way until nobody listens. What an engine can pull it pulls: the relay's number is returned.
pub(super) fn play(
    way: &Way,
    engine: &Engine,
    trust: &Trust,
    mut listener: Listener,
) -> Result<Option<RelayId>, Failure> {
    match (&way.url, way.protocol) {
        (RemoteUrl::Http(url), Protocol::WebSocket | Protocol::Hls) => {
            let (url, trust, is_hls) = (url.clone(), trust.clone(), way.protocol == Protocol::Hls);
            tokio::spawn(async move {
                let played = play_over_http(&url, &trust, &mut listener, is_hls).await;
                // Nobody may listen any more.
                let _ = played.or_else(|why| listener.tell(News::Ended(why)));
            });
            Ok(None)
        }
        (url, _) => {
            let stream = relay::private_name(&format!("way-{}", listener.number()))?;
            let subscriber = engine.subscribe(&stream)?;
            let pull = PullConfig::new(url.clone(), stream).on_refusal(OnRefusal::Fail);
            let pull = engine.add_pull(pull)?;
            tokio::spawn(follow(subscriber, listener));
            Ok(Some(pull))
        }
    }
}

async fn play_over_http(
    url: &HttpUrl,
    trust: &Trust,
    listener: &mut Listener,
    is_hls: bool,
) -> Result<(), String> {
    match is_hls {
        true => hls::play(url, trust, listener).await,
        false => websocket::play(url, trust, listener).await,
    }
}

async fn follow(mut subscriber: Subscriber, mut listener: Listener) {
    while let Some(frame) = subscriber.next().await {
        listener.forget();
        if listener.read(&frame.payload).is_err() {
            return;
        }
    }
}

/// Tells of pulls that have failed, at their first attempt already.
pub(super) async fn tell_failures(
    engine: Engine,
    mut events: EventReceiver,
    mut pulls: Vec<(RelayId, usize)>,
    tell: UnboundedSender<Told>,
) {
    while !pulls.is_empty() {
        let relays = engine.relays();
        pulls.retain(|(pull, number)| {
            let has_failed = |state| matches!(state, RelayState::BackingOff | RelayState::Failed);
            let failed = relays.iter().find(|relay| relay.id == *pull && has_failed(relay.state));
            failed.is_none_or(|relay| tell.send((*number, News::Ended(output::why(relay)))).is_err())
        });
        if events.next().await.is_none() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_alone_is_all_ways_of_a_server_over_http() {
        let to: RtmpUrl = "rtmp://h/live/a?key=s3cret".parse().unwrap();
        let shown = |text| parse(text, &to).unwrap().iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            shown("http://h:8080/"),
            [
                "http://h:8080/live/a.flv?***",
                "ws://h:8080/live/a.flv?***",
                "http://h:8080/live/a/index.m3u8?***"
            ]
        );
        assert_eq!(shown("wss://h/live/a.flv"), ["wss://h/live/a.flv"]);
        let protocols = |text| parse(text, &to).unwrap().iter().map(|way| way.protocol).collect::<Vec<_>>();
        assert_eq!(protocols("https://h/hls/a.m3u8?x"), [Protocol::Hls]);
        assert_eq!(protocols("https://h/live/a.flv"), [Protocol::HttpFlv]);
        assert_eq!(protocols("rtmps://h/live/a"), [Protocol::Rtmp]);
        assert!(parse("srt://h/live/a", &to).is_err());
    }
}
