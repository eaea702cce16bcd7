//! Decides by the keys of a database.

use super::database::{PATIENCE, no_answer};
use super::{KeyInfo, Keys, TIME_IS_OVER};
use crate::auth::{Action, AuthRequest, Authorize, Grant, Ticket};
use crate::budget::Rate;
use crate::config::PublisherConfig;
use crate::key::StreamName;
use crate::log_limit::LogLimit;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::timeout;

/// Log lines about keys that cannot be looked up.
const FAILURE_LINES: Rate = Rate::new(1, Duration::from_secs(10));

/// What a refused peer is told.
const UNKNOWN: &str = "the keys cannot be looked up now; try again in a moment";
const TWO: &str = "two different keys were sent";
const OTHER_STREAM: &str = "this key is for another stream";
const FOR_PUBLISHING: &str = "this key is for publishing, not for playing";
const FOR_PLAYING: &str = "this key is for playing, not for publishing";

/// Lets in who has a key; who has none passes, and whoever decides next may know them.
pub(crate) struct KeyDecider {
    keys: Keys,
    /// Whether playing needs a key too.
    play: bool,
    log: Arc<LogLimit>,
}

/// What somebody has sent.
struct Sent {
    key: String,
    /// Whether it is the name, which may be a key.
    is_name: bool,
}

impl KeyDecider {
    pub(crate) fn new(keys: Keys, play: bool) -> Self {
        Self { keys, play, log: Arc::new(LogLimit::new(FAILURE_LINES)) }
    }
}

impl Authorize for KeyDecider {
    fn authorize(&self, request: AuthRequest, ticket: Ticket) {
        if request.action == Action::Play && !self.play {
            return ticket.pass();
        }
        let Some(sent) = sent(&request.name) else { return ticket.reject(TWO) };
        let (keys, log) = (self.keys.clone(), self.log.clone());
        tokio::spawn(async move {
            let finding = keys.database.find(&sent.key, request.action, request.stream());
            let found = timeout(PATIENCE, finding).await.unwrap_or_else(|_| Err(no_answer()));
            match found {
                Ok(Some(found)) => match grant(found, &sent, &request, SystemTime::now()) {
                    Ok(grant) => ticket.accept(grant),
                    Err(reason) => ticket.reject(reason),
                },
                Ok(None) => ticket.pass(),
                Err(error) => {
                    if let Some(left_out) = log.allow() {
                        tracing::warn!(left_out, "who has a key is refused: {error}");
                    }
                    ticket.fail(UNKNOWN);
                }
            }
        });
    }

    fn takes_key_for_name(&self) -> bool {
        true
    }
}

/// The key that came with a name, or the name that may be one; nothing where two keys differ.
fn sent(name: &StreamName) -> Option<Sent> {
    let (in_query, in_name) = name.keys();
    match (in_query.filter(|key| !key.is_empty()), in_name) {
        (Some(one), Some(other)) if one != other => None,
        (Some(key), _) => Some(Sent { key, is_name: false }),
        (None, Some(key)) => Some(Sent { key: key.to_owned(), is_name: false }),
        (None, None) => Some(Sent { key: name.key.stream().to_owned(), is_name: true }),
    }
}

fn grant(found: KeyInfo, sent: &Sent, request: &AuthRequest, now: SystemTime) -> Result<Grant, &'static str> {
    if let Some(fault) = found.fault(now) {
        return Err(fault);
    }
    let is_its = match sent.is_name {
        false => found.stream == *request.stream(),
        // What rules there are about the app have been asked of the one that was named.
        true => found.stream.app() == request.stream().app(),
    };
    match (request.action, found.action) {
        (Action::Play, Action::Publish) => return Err(FOR_PUBLISHING),
        (Action::Publish, Action::Play) => return Err(FOR_PLAYING),
        _ if !is_its => return Err(OTHER_STREAM),
        _ => {}
    }
    let lasts = found.until.map(|until| until.duration_since(now).map_err(|_| TIME_IS_OVER)).transpose()?;
    let limits = PublisherConfig::default().max_kbps(found.max_kbps).max_viewers(found.max_viewers);
    let grant = Grant::default()
        .credential(credential(&found.id))
        .principal(found.who.unwrap_or(found.id))
        .stream(found.stream)
        .publisher(limits)
        .lasts(lasts);
    Ok(grant)
}

const CREDENTIAL: &str = "key:";

/// A key as what was shown for a grant.
fn credential(id: &str) -> String {
    format!("{CREDENTIAL}{id}")
}

/// What the key is called that was shown; nothing where it was something else.
pub(super) fn id_of(credential: &str) -> Option<&str> {
    credential.strip_prefix(CREDENTIAL)
}
