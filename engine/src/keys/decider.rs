//! Decides by the keys of a database.

use super::database::{PATIENCE, no_answer};
use super::{KeyInfo, Keys, TIME_IS_OVER};
use crate::auth::{
    Action, AuthRequest, Authorize, Finding, Grant, Known, NoGrant, Passwords, Proven, Ticket,
};
use crate::budget::Rate;
use crate::config::PublisherConfig;
use crate::log_limit::LogLimit;
use crate::{Error, Result};
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::timeout;

/// Log lines about keys that cannot be looked up.
const FAILURE_LINES: Rate = Rate::new(1, Duration::from_secs(10));

/// What a refused peer is told.
const UNKNOWN: &str = "the keys cannot be looked up now; try again in a moment";
const TWO: &str = "two different keys were sent";
const GONE: &str = "this key is gone";
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

/// What somebody has.
enum Shown {
    Key(String),
    /// A name, which may be a key.
    Name(String),
    /// A key that was shown before, by what it is called.
    Proven(String),
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
        let Some(shown) = shown(&request) else { return ticket.reject(TWO) };
        let (keys, log) = (self.keys.clone(), self.log.clone());
        tokio::spawn(async move {
            let finding = async {
                match &shown {
                    Shown::Proven(id) => keys.database.get(id).await,
                    Shown::Key(key) | Shown::Name(key) => {
                        keys.database.find(key, request.action, request.stream()).await
                    }
                }
            };
            match (in_time(finding, &log).await, &shown) {
                (Ok(Some(found)), _) => match grant(found, &shown, &request, SystemTime::now()) {
                    Ok(grant) => ticket.accept(grant),
                    Err(reason) => ticket.reject(reason),
                },
                (Ok(None), Shown::Proven(_)) => ticket.reject(GONE),
                (Ok(None), _) => ticket.pass(),
                (Err(_), _) => ticket.fail(UNKNOWN),
            }
        });
    }

    fn takes_key_for_name(&self) -> bool {
        true
    }
}

/// What the database says, if it does in time; else that is logged.
async fn in_time<T>(asking: impl Future<Output = Result<T>>, log: &LogLimit) -> Result<T, Error> {
    let said = timeout(PATIENCE, asking).await.unwrap_or_else(|_| Err(no_answer()));
    said.inspect_err(|error| {
        if let Some(left_out) = log.allow() {
            tracing::warn!(left_out, "who has a key is refused: {error}");
        }
    })
}

/// The key that was shown before or came with a name, or the name that may be one; nothing where two keys differ.
fn shown(request: &AuthRequest) -> Option<Shown> {
    let (in_query, in_name) = request.name.keys();
    match (in_query.filter(|key| !key.is_empty()), in_name, &request.proven) {
        (None, None, Some(Proven::Key(id))) => Some(Shown::Proven(id.clone())),
        (_, _, Some(Proven::Key(_))) => None,
        (Some(one), Some(other), _) if one != other => None,
        (Some(key), _, _) => Some(Shown::Key(key)),
        (None, Some(key), _) => Some(Shown::Key(key.to_owned())),
        (None, None, _) => Some(Shown::Name(request.name.key.stream().to_owned())),
    }
}

fn grant(
    found: KeyInfo,
    shown: &Shown,
    request: &AuthRequest,
    now: SystemTime,
) -> Result<Grant, &'static str> {
    if let Some(fault) = found.fault(now) {
        return Err(fault);
    }
    let is_its = match shown {
        Shown::Key(_) | Shown::Proven(_) => found.stream == *request.stream(),
        // What rules there are about the app have been asked of the one that was named.
        Shown::Name(_) => found.stream.app() == request.stream().app(),
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

/// Keys as passwords, of users that are called as the keys are.
pub(super) struct KeyPasswords {
    keys: Keys,
    log: Arc<LogLimit>,
}

impl KeyPasswords {
    pub(super) fn new(keys: Keys) -> Self {
        Self { keys, log: Arc::new(LogLimit::new(FAILURE_LINES)) }
    }
}

impl Passwords for KeyPasswords {
    fn find(&self, user: &str) -> Finding {
        let (keys, log, user) = (self.keys.clone(), self.log.clone(), user.to_owned());
        Box::pin(async move {
            let known: Result<Known, Error> = in_time(keys.database.password(&user), &log).await;
            known.map_err(|_| NoGrant::Failed(UNKNOWN.to_owned()))
        })
    }
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
