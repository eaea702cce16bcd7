//! Relays that come with the right to publish or play. A push goes on as long as its stream is there, its publisher's absences
//! included; a pull, as long as somebody plays the stream.

use super::Relays;
use crate::config::{PullConfig, PullWhen, PushConfig, PushTuning};
use crate::id::RelayId;
use crate::key::StreamKey;
use crate::service::{Core, Target, Wanted};
use crate::status::{StreamInfo, StreamState};
use crate::url::RemoteUrl;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, interval};

/// How often it is looked for what is over.
const LOOK: Duration = Duration::from_millis(500);

/// How long what is fetched goes on after its last player.
const LINGER_MS: u64 = 2_000;
/// How long it may take until whoever may play a stream does.
const SETTLING: Duration = Duration::from_secs(2);

/// What has been begun for a stream.
#[derive(Default)]
struct Begun {
    pushes: Vec<(Target, RelayId)>,
    pull: Option<Fetch>,
}

/// A pull.
struct Fetch {
    url: RemoteUrl,
    id: RelayId,
    begun: Instant,
}

/// Keeps the relays as they are granted, for as long as it is polled.
pub(super) async fn serve(core: Arc<Core>, relays: Arc<Relays>) {
    let mut begun: HashMap<StreamKey, Begun> = HashMap::new();
    let mut looks = interval(LOOK);
    loop {
        tokio::select! {
            granted = core.relays.next() => {
                for (stream, wanted) in granted {
                    begun.entry(stream.clone()).or_default().change(&core, &relays, &stream, wanted);
                }
                begun.retain(|_, begun| !begun.is_empty());
            }
            _ = looks.tick(), if !begun.is_empty() => {
                for (stream, begun) in &mut begun {
                    begun.end_what_is_over(&core, &relays, stream);
                }
                begun.retain(|_, begun| !begun.is_empty());
            }
        }
    }
}

impl Begun {
    fn is_empty(&self) -> bool {
        self.pushes.is_empty() && self.pull.is_none()
    }

    fn change(&mut self, core: &Core, relays: &Relays, stream: &StreamKey, wanted: Wanted) {
        if let Some(targets) = wanted.push {
            self.end_others(relays, &targets);
            self.push(relays, stream, targets);
        }
        self.push(relays, stream, wanted.push_besides);
        if let Some(url) = wanted.pull {
            self.fetch(core, relays, stream, url);
        }
    }

    /// Ends what is no longer wanted.
    fn end_others(&mut self, relays: &Relays, targets: &[Target]) {
        let (stays, goes): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.pushes).into_iter().partition(|(target, _)| targets.contains(target));
        end(relays, goes.into_iter().map(|(_, id)| id));
        self.pushes = stays;
    }

    /// Begins what is new; what is there is not touched, but its state is told again, as another publisher may want it now.
    fn push(&mut self, relays: &Relays, stream: &StreamKey, targets: Vec<Target>) {
        for target in targets {
            let before = self.pushes.iter().find(|(other, _)| other.url == target.url);
            #[cfg(feature = "http")]
            if let Some((_, id)) = before {
                relays.tell_publisher(*id);
            }
            if before.is_some() {
                continue;
            }
            let tuning = PushTuning::default().opus(target.opus);
            let push = PushConfig::new(stream.clone(), target.url.clone()).tuning(tuning);
            match push.check() {
                Ok(()) => self.pushes.push((target, relays.push(push))),
                Err(error) => tracing::warn!(%stream, "a push that comes with the right to publish: {error}"),
            }
        }
    }

    /// Fetches the stream where nobody publishes it: from where it was granted last.
    fn fetch(&mut self, core: &Core, relays: &Relays, stream: &StreamKey, url: RemoteUrl) {
        match &mut self.pull {
            Some(fetch) if fetch.url == url => {
                fetch.begun = Instant::now();
                return;
            }
            None if is_there(core, stream) => return,
            _ => self.end_pull(relays),
        }
        let mut pull = PullConfig::new(url.clone(), stream.clone());
        (pull.when, pull.linger_ms) = (PullWhen::Watched, LINGER_MS);
        match pull.check() {
            Ok(()) => self.pull = Some(Fetch { url, id: relays.pull(pull), begun: Instant::now() }),
            Err(error) => tracing::warn!(%stream, "a pull that comes with the right to play: {error}"),
        }
    }

    fn end_what_is_over(&mut self, core: &Core, relays: &Relays, stream: &StreamKey) {
        if !is_there(core, stream) {
            end(relays, self.pushes.drain(..).map(|(_, id)| id));
        }
        let is_new = self.pull.as_ref().is_some_and(|fetch| fetch.begun.elapsed() < SETTLING);
        // What nobody plays has gone idle by itself; whoever waits for it is a subscriber.
        let is_used = |info: StreamInfo| info.subscribers > 0 || info.state == StreamState::Live;
        if !is_new && !core.hub.stream(stream).is_some_and(is_used) {
            self.end_pull(relays);
        }
    }

    fn end_pull(&mut self, relays: &Relays) {
        end(relays, self.pull.take().into_iter().map(|fetch| fetch.id));
    }
}

/// Whether a stream has a publisher, or waits for its return.
fn is_there(core: &Core, stream: &StreamKey) -> bool {
    let state = core.hub.stream(stream).map(|info| info.state);
    matches!(state, Some(StreamState::Live | StreamState::Away))
}

fn end(relays: &Relays, ids: impl Iterator<Item = RelayId>) {
    for id in ids {
        // Somebody else may have removed it.
        let _ = relays.remove(id);
    }
}
