//! Pushes that come with the right to publish: each goes on as long as its stream is there, its publisher's absences included.

use super::Relays;
use crate::config::PushConfig;
use crate::id::RelayId;
use crate::key::StreamKey;
use crate::service::Core;
use crate::status::StreamState;
use crate::url::RtmpUrl;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::interval;

/// How often it is looked for streams that have ended.
const LOOK: Duration = Duration::from_millis(500);

/// Keeps the pushes as they are granted, for as long as it is polled.
pub(super) async fn serve(core: Arc<Core>, relays: Arc<Relays>) {
    let mut running: HashMap<StreamKey, Vec<(RtmpUrl, RelayId)>> = HashMap::new();
    let mut looks = interval(LOOK);
    loop {
        tokio::select! {
            granted = core.pushes.next() => {
                for (stream, wanted) in granted {
                    let before = running.remove(&stream).unwrap_or_default();
                    let now = change(&relays, &stream, before, wanted);
                    if !now.is_empty() {
                        running.insert(stream, now);
                    }
                }
            }
            _ = looks.tick(), if !running.is_empty() => {
                running.retain(|stream, pushes| {
                    let is_there = is_there(&core, stream);
                    if !is_there {
                        end(&relays, pushes.drain(..));
                    }
                    is_there
                });
            }
        }
    }
}

/// Whether a stream has a publisher, or waits for its return.
fn is_there(core: &Core, stream: &StreamKey) -> bool {
    let state = core.hub.stream(stream).map(|info| info.state);
    matches!(state, Some(StreamState::Live | StreamState::Away))
}

/// Begins what is new and ends what is no longer wanted; what stays is not touched.
fn change(
    relays: &Relays,
    stream: &StreamKey,
    before: Vec<(RtmpUrl, RelayId)>,
    wanted: Vec<RtmpUrl>,
) -> Vec<(RtmpUrl, RelayId)> {
    let (stays, goes): (Vec<_>, Vec<_>) = before.into_iter().partition(|(url, _)| wanted.contains(url));
    end(relays, goes.into_iter());
    let mut now = stays;
    for url in wanted {
        if now.iter().any(|(other, _)| *other == url) {
            continue;
        }
        let push = PushConfig::new(stream.clone(), url.clone());
        match push.check() {
            Ok(()) => now.push((url, relays.push(push))),
            Err(error) => tracing::warn!(%stream, "a push that comes with the right to publish: {error}"),
        }
    }
    now
}

fn end(relays: &Relays, pushes: impl Iterator<Item = (RtmpUrl, RelayId)>) {
    for (_, id) in pushes {
        // Somebody else may have removed it.
        let _ = relays.remove(id);
    }
}
