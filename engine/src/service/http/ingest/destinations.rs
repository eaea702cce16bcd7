//! Where a publisher has its stream pushed to: by names, which are all that it knows of these servers.

use crate::config::DestinationConfig;
use crate::service::streams::ConnectionPublisher;
use crate::service::{Core, PushNews, PushWatch, Target};
use crate::status::RelayState;
use serde_json::{Value, json};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;

bound! {
    /// How often what is chosen may change: each change opens and closes connections to others' servers; what is chosen meanwhile
    /// waits (test `destinations_that_are_chosen_over_and_over_are_dialled_once_a_second`).
    const CHANGE_EVERY: Duration = Duration::from_secs(1), without Duration::ZERO;
}

/// How long the stream of a publisher that has chosen nothing yet goes where it went before.
const UNCHOSEN: Duration = Duration::from_secs(3);

/// The destinations of one publisher.
pub(super) struct Destinations {
    /// Those among which it may choose.
    allowed: Vec<DestinationConfig>,
    /// Those that it has chosen.
    chosen: Vec<Choice>,
    /// It has chosen anew, and that is not done yet.
    is_changed: bool,
    /// From when on it may be done.
    next_change: Instant,
    has_chosen: bool,
    /// There since something was chosen.
    watch: Option<PushWatch>,
}

/// A destination that is chosen.
struct Choice {
    /// Its place among those that are allowed.
    index: usize,
    /// State and error that its publisher was told last.
    told: Option<(&'static str, Option<String>)>,
}

impl Destinations {
    pub(super) fn new(core: &Core, publisher: &ConnectionPublisher) -> Self {
        let (config, app) = (core.config(), publisher.key().app());
        let allowed =
            config.destination.iter().filter(|destination| destination.is_for(app)).cloned().collect();
        let next_change = Instant::now() + UNCHOSEN;
        Self { allowed, chosen: Vec::new(), is_changed: true, next_change, has_chosen: false, watch: None }
    }

    /// What there is to choose.
    pub(super) fn names(&self) -> Vec<&str> {
        self.allowed.iter().map(|destination| destination.name.as_str()).collect()
    }

    /// These are chosen from now on, and no others; the error is a name that is none.
    pub(super) fn choose(&mut self, names: &[String]) -> Result<(), String> {
        let mut chosen = Vec::new();
        for name in names {
            let index = self.allowed.iter().position(|destination| destination.name == *name);
            let index = index.ok_or_else(|| name.clone())?;
            if chosen.iter().all(|other: &Choice| other.index != index) {
                let before = self.chosen.iter().find(|other| other.index == index);
                chosen.push(Choice { index, told: before.and_then(|before| before.told.clone()) });
            }
        }
        (self.chosen, self.is_changed) = (chosen, true);
        if !std::mem::replace(&mut self.has_chosen, true) {
            self.next_change = Instant::now();
        }
        Ok(())
    }

    /// When what is chosen is to be done.
    pub(super) fn due(&self) -> Option<Instant> {
        self.is_changed.then_some(self.next_change)
    }

    /// Does it, where it is time; true where it is looked from now on how they fare.
    pub(super) fn apply(&mut self, core: &Core, publisher: &ConnectionPublisher, now: Instant) -> bool {
        if !self.is_changed || self.next_change > now {
            return false;
        }
        (self.is_changed, self.next_change) = (false, now + CHANGE_EVERY.get());
        let is_new = self.has_chosen && self.watch.is_none();
        if is_new {
            self.watch = Some(core.relays.watch(publisher.key()));
        }
        let targets = self.chosen.iter().filter_map(|choice| self.allowed.get(choice.index));
        publisher.push_to(targets.map(|to| Target { url: to.url.clone(), opus: to.opus }));
        is_new
    }

    /// Ready when some fare otherwise than before.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<Vec<PushNews>> {
        self.watch.as_ref().map_or(Poll::Pending, |watch| watch.poll(cx))
    }

    /// What of it is new to the publisher.
    pub(super) fn take(&mut self, news: Vec<PushNews>) -> Vec<Value> {
        let mut texts = Vec::new();
        for PushNews { url, state, error } in news {
            let now = (word(state), error);
            for Choice { index, told } in &mut self.chosen {
                let Some(destination) = self.allowed.get(*index).filter(|other| other.url == url) else {
                    continue;
                };
                if told.as_ref() != Some(&now) {
                    texts.push(json!({ "destination": destination.name, "state": now.0, "error": now.1 }));
                    *told = Some(now.clone());
                }
            }
        }
        texts
    }
}

/// What a publisher is told of a push that is in this state.
fn word(state: RelayState) -> &'static str {
    match state {
        RelayState::Resolving | RelayState::Connecting | RelayState::Handshaking => "connecting",
        RelayState::Publishing | RelayState::Playing | RelayState::Stalled => "live",
        RelayState::Idle | RelayState::BackingOff => "waiting",
        RelayState::Failed => "failed",
    }
}
