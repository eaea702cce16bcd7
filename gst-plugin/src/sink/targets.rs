//! The push targets: which there are, where each stands, and what that means to the pipeline.

use super::settings::TargetSettings;
use super::{ErrorPolicy, TargetState};
use crate::time::clock_time;
use std::fmt;
use streamengine::{
    Engine, ErrorKind, PushConfig, RelayId, RelayState, RelayStatus, RemoteUrl, RtmpUrl, StreamKey,
};

/// Where a target comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// The properties `location` and `targets`.
    Property,
    /// The action `add-target`.
    Action,
}

struct Target {
    id: u32,
    url: RtmpUrl,
    source: Source,
    options: Option<gst::Structure>,
    /// The engine's relay, while the stream is published.
    relay: Option<RelayId>,
    state: TargetState,
    /// It took the stream on its present or last connection.
    was_connected: bool,
    /// The failure that was warned of, until the target takes the stream again.
    warned: Option<String>,
    /// Bytes of relays that are gone.
    bytes_before: u64,
}

/// All targets of an element.
#[derive(Default)]
pub(super) struct Targets {
    last_id: u32,
    list: Vec<Target>,
    /// What was ignored in URLs, and has not been told.
    notes: Vec<String>,
}

/// What is to be told about a target.
pub(super) struct TargetUpdate {
    pub(super) id: u32,
    pub(super) state: TargetState,
    pub(super) info: gst::Structure,
    pub(super) warning: Option<TargetError>,
    pub(super) error: Option<TargetError>,
    /// It has just begun to take the stream.
    pub(super) has_connected: bool,
}

/// A failure in the words of a bus message.
#[derive(Clone)]
pub(super) struct TargetError {
    pub(super) code: gst::ResourceError,
    pub(super) text: String,
}

/// What a target is pushed with.
pub(super) struct PushContext<'a> {
    pub(super) engine: &'a Engine,
    pub(super) key: &'a StreamKey,
    pub(super) settings: &'a TargetSettings,
}

impl Target {
    fn settings(&self, common: &TargetSettings) -> TargetSettings {
        match &self.options {
            // They were checked when the target was added.
            Some(options) => common.clone().with(options).unwrap_or_else(|_| common.clone()),
            None => common.clone(),
        }
    }

    fn start(&mut self, run: &PushContext<'_>) -> Result<(), String> {
        let push = PushConfig::new(run.key.clone(), self.url.clone());
        let push = push.tuning(self.settings(run.settings).tuning());
        self.relay = Some(run.engine.add_push(push).map_err(|error| error.to_string())?);
        Ok(())
    }

    fn stop(&mut self, engine: &Engine) {
        if let Some(relay) = self.relay.take() {
            self.bytes_before += engine.relay(relay).map_or(0, |status| status.bytes_sent);
            // It can only be gone already.
            let _ = engine.remove_relay(relay);
        }
        (self.state, self.was_connected, self.warned) = (TargetState::Idle, false, None);
    }
}

/// A URL, or why it is none: without the URL itself, which may hold secrets.
pub(super) fn parse(url: &str) -> Result<RtmpUrl, String> {
    url.parse().map_err(|error| format!("target URL: {error}"))
}

impl Targets {
    fn add(&mut self, url: RtmpUrl, source: Source, options: Option<gst::Structure>) -> &mut Target {
        self.last_id += 1;
        if let Some(ignored) = url.warning() {
            self.notes.push(format!("target {}, {}: {ignored}", self.last_id, masked(&url)));
        }
        self.list.push(Target {
            id: self.last_id,
            url,
            source,
            options,
            relay: None,
            state: TargetState::Idle,
            was_connected: false,
            warned: None,
            bytes_before: 0,
        });
        self.list.last_mut().expect("just pushed")
    }

    pub(super) fn take_notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    /// Makes the targets of the properties those of `urls`; those that stay are not touched.
    ///
    /// # Errors
    /// The first URL that is none, or that cannot be pushed to; the others are taken all the same.
    pub(super) fn set_urls(&mut self, urls: &[String], run: Option<&PushContext<'_>>) -> Result<(), String> {
        let (mut wanted, mut failures) = (Vec::new(), Vec::new());
        for url in urls {
            match parse(url) {
                Ok(url) if !wanted.contains(&url) => wanted.push(url),
                Ok(_) => {}
                Err(error) => failures.push(error),
            }
        }
        self.list.retain_mut(|target| {
            let stays = target.source == Source::Action || wanted.contains(&target.url);
            if let (false, Some(run)) = (stays, run) {
                target.stop(run.engine);
            }
            stays
        });
        for url in wanted {
            if self.list.iter().any(|target| target.source == Source::Property && target.url == url) {
                continue;
            }
            let target = self.add(url, Source::Property, None);
            failures.extend(run.and_then(|run| target.start(run).err()));
        }
        failures.into_iter().next().map_or(Ok(()), Err)
    }

    /// Adds a target; its id.
    ///
    /// # Errors
    /// The URL is none, or an option does not exist.
    pub(super) fn add_target(
        &mut self,
        url: &str,
        options: Option<gst::Structure>,
        run: Option<&PushContext<'_>>,
    ) -> Result<u32, String> {
        let url = parse(url)?;
        if let Some(options) = &options {
            TargetSettings::default().with(options)?;
        }
        let target = self.add(url, Source::Action, options);
        let id = target.id;
        if let Some(run) = run {
            target.start(run)?;
        }
        Ok(id)
    }

    /// Takes a target off; false where there is none of that id.
    pub(super) fn remove(&mut self, id: u32, engine: Option<&Engine>) -> bool {
        let Some(index) = self.list.iter().position(|target| target.id == id) else { return false };
        let mut target = self.list.remove(index);
        if let Some(engine) = engine {
            target.stop(engine);
        }
        true
    }

    /// Makes a target try again at once; false where there is none of that id, or nothing to push.
    pub(super) fn restart(&mut self, id: u32, engine: &Engine) -> bool {
        let target = self.list.iter_mut().find(|target| target.id == id);
        let relay = target.and_then(|target| {
            target.warned = None;
            target.relay
        });
        relay.is_some_and(|relay| engine.restart_relay(relay).is_ok())
    }

    /// Starts to push to all.
    ///
    /// # Errors
    /// The engine does not take one.
    pub(super) fn start(&mut self, run: &PushContext<'_>) -> Result<(), String> {
        self.list.iter_mut().try_for_each(|target| target.start(run))
    }

    pub(super) fn stop(&mut self, engine: &Engine) {
        self.list.iter_mut().for_each(|target| target.stop(engine));
    }

    /// Lets changed settings hold, from each target's next step on.
    pub(super) fn tune(&self, run: &PushContext<'_>) {
        for target in &self.list {
            if let Some(relay) = target.relay {
                // It can only be gone already.
                let _ = run.engine.tune_push(relay, target.settings(run.settings).tuning());
            }
        }
    }

    /// How many take the stream.
    pub(super) fn connected(&self) -> usize {
        let is_connected =
            |target: &&Target| matches!(target.state, TargetState::Publishing | TargetState::Stalled);
        self.list.iter().filter(is_connected).count()
    }

    /// Takes a relay's new state; what is to be told of it. Steps within one state of ours are not told.
    pub(super) fn on_status(&mut self, status: &RelayStatus, policy: ErrorPolicy) -> Option<TargetUpdate> {
        let index = self.list.iter().position(|target| target.relay == Some(status.id))?;
        let target = self.list.get_mut(index)?;
        let state = TargetState::from(status.state);
        if target.state == state {
            return None;
        }
        let has_connected = state == TargetState::Publishing && target.state != TargetState::Stalled;
        target.state = state;
        target.was_connected = match state {
            TargetState::Publishing | TargetState::Stalled => true,
            TargetState::Connecting => false,
            _ => target.was_connected,
        };
        if status.last_error.is_none() || has_connected {
            target.warned = None;
        }
        let target_error = target_error(target, status);
        let warning = target_error.clone().filter(|_| target.warned != status.last_error);
        if warning.is_some() {
            target.warned.clone_from(&status.last_error);
        }
        let id = target.id;
        let is_final = state == TargetState::Failed
            && match policy {
                ErrorPolicy::Warn => false,
                ErrorPolicy::AnyFailed => true,
                ErrorPolicy::AllFailed => self.list.iter().all(|target| target.state == TargetState::Failed),
            };
        let error = target_error.filter(|_| is_final);
        Some(TargetUpdate { id, state, info: info(id, status), warning, error, has_connected })
    }

    /// Whether every target that can take the stream has taken all of it. One that is connecting for the first time
    /// still can.
    pub(super) fn is_drained(&self, engine: &Engine) -> bool {
        let relays = self.list.iter().filter_map(|target| engine.relay(target.relay?));
        relays.into_iter().all(|status| match status.state {
            RelayState::Publishing | RelayState::Stalled => status.queue_bytes == 0,
            RelayState::Resolving | RelayState::Connecting | RelayState::Handshaking => status.attempts > 1,
            RelayState::Idle => status.attempts > 0,
            _ => true,
        })
    }

    /// One structure per target, and the bytes sent to all.
    pub(super) fn stats(&self, engine: Option<&Engine>) -> (Vec<gst::Structure>, u64) {
        let mut bytes = 0;
        let mut list = Vec::new();
        for target in &self.list {
            let status = engine.zip(target.relay).and_then(|(engine, relay)| engine.relay(relay));
            bytes += target.bytes_before + status.as_ref().map_or(0, |status| status.bytes_sent);
            list.push(match &status {
                Some(status) => counters(target.id, target.bytes_before, status),
                None => idle(target),
            });
        }
        (list, bytes)
    }
}

fn target_error(target: &Target, status: &RelayStatus) -> Option<TargetError> {
    if !matches!(target.state, TargetState::BackingOff | TargetState::Failed) {
        return None;
    }
    let cause = status.last_error.as_ref()?;
    let code = match status.last_error_kind {
        Some(ErrorKind::Rejected | ErrorKind::Auth) => gst::ResourceError::NotAuthorized,
        _ if target.was_connected => gst::ResourceError::Write,
        _ => gst::ResourceError::OpenWrite,
    };
    let then = match (target.state, status.retry_in) {
        (TargetState::Failed, _) => "given up".to_owned(),
        (_, Some(wait)) => format!("next attempt in {} ms", wait.as_millis()),
        (_, None) => "trying again".to_owned(),
    };
    let (id, url) = (target.id, masked(&status.url));
    let cause = without_key(cause, &status.url);
    let text = format!("target {id}, {url}: attempt {}: {cause}; {then}", status.attempts);
    Some(TargetError { code, text })
}

/// Shorter names are not taken out of texts: that would make them unreadable.
const SHORTEST_KEY: usize = 6;

/// A target's URL for people and logs. The stream's name is the secret of most services, whatever it looks like.
fn masked(url: &impl fmt::Display) -> String {
    let shown = url.to_string();
    let path = shown.rfind('/').map_or(shown.len(), |slash| slash + 1);
    format!("{}***", shown.get(..path).unwrap_or_default())
}

/// A text about a target without its stream's name.
fn without_key(text: &str, url: &RemoteUrl) -> String {
    let text = text.replace(&url.to_string(), &masked(url));
    match url.as_rtmp().map_or("", RtmpUrl::stream) {
        stream if stream.len() >= SHORTEST_KEY => text.replace(stream, "***"),
        _ => text,
    }
}

fn idle(target: &Target) -> gst::Structure {
    gst::Structure::builder("rtmprelaysink-target")
        .field("id", target.id)
        .field("uri", masked(&target.url))
        .field("uri-masked", masked(&target.url))
        .field("state", TargetState::Idle.nick())
        .build()
}

/// What is told of a target when its state changes.
fn info(id: u32, status: &RelayStatus) -> gst::Structure {
    let mut info = gst::Structure::builder("rtmprelaysink-target")
        .field("id", id)
        .field("uri", masked(&status.url))
        .field("state", TargetState::from(status.state).nick())
        .field("attempt", status.attempts)
        .build();
    if let Some(error) = &status.last_error {
        info.set("error", without_key(error, &status.url));
    }
    if let Some(wait) = status.retry_in {
        info.set("next-retry-ms", u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
    }
    info
}

/// A target in the statistics: its message, so that who can read one can read the other, and what only statistics have,
/// with the names that are usual there.
fn counters(id: u32, bytes_before: u64, status: &RelayStatus) -> gst::Structure {
    let mut info = info(id, status);
    info.set("uri-masked", masked(&status.url));
    info.set("attempts", status.attempts);
    info.set("bytes-sent", bytes_before + status.bytes_sent);
    info.set("bytes-acked", status.bytes_acknowledged);
    info.set("queue-time", clock_time(status.queue));
    info.set("dropped", status.frames_dropped);
    if let Some(error) = &status.last_error {
        info.set("last-error", without_key(error, &status.url));
    }
    if let Some(connected) = status.connected.and_then(super::stats::ago) {
        info.set("connected-at", connected);
    }
    info
}
