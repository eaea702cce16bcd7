//! What the API tells and takes that the engine has no type for.

use crate::config::HttpRole;
use crate::files::since_1970;
#[cfg(feature = "keys")]
use crate::key::Secret;
#[cfg(feature = "keys")]
use crate::keys::KeyInfo;
use crate::log_tail::LogLine;
use crate::service::http::access::{By, Known};
use crate::statistics::{Rates, Snapshot};
use crate::status::EngineStats;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A list.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "{T}List")]
pub(super) struct Items<T> {
    /// What is in it.
    items: Vec<T>,
    /// Where more is; `null` where a list is whole.
    next: Option<String>,
}

impl<T> Items<T> {
    pub(super) fn new(items: impl IntoIterator<Item = T>) -> Self {
        Self { items: items.into_iter().collect(), next: None }
    }

    /// A part of a list, and where more of it is.
    pub(super) fn part(items: Vec<T>, next: Option<String>) -> Self {
        Self { items, next }
    }
}

/// Which engine this is.
#[derive(Serialize, JsonSchema)]
pub(super) struct Version {
    /// The engine's version.
    version: &'static str,
    /// The version of this API: what is asked and told may get more fields in it, and loses none.
    api: u32,
}

impl Version {
    pub(super) fn new() -> Self {
        Self { version: env!("CARGO_PKG_VERSION"), api: 1 }
    }
}

/// Who asks, and what he may.
#[derive(Serialize, JsonSchema)]
pub(super) struct Session {
    /// `viewer` or `admin`; `null` where nobody is known.
    role: Option<&'static str>,
    /// By what he is known: `address`, `token` or `password`.
    by: Option<&'static str>,
    /// The name of his token.
    name: Option<String>,
    /// Whether there is a password to log in by.
    password_set: bool,
    /// Whether he may set another one.
    may_set_password: bool,
    /// Whether another one outlasts the engine, in the file of `http.password_file`. Else it is good until the engine stops.
    password_kept: bool,
    /// The engine's version.
    version: &'static str,
}

impl Session {
    pub(super) fn new(known: Option<Known>, password_set: bool, password_kept: bool) -> Self {
        let (role, by) = (known.as_ref().map(|known| known.role), known.as_ref().map(|known| known.by));
        Self {
            role: role.map(HttpRole::as_str),
            by: by.map(By::as_str),
            name: known.and_then(|known| known.name),
            password_set,
            may_set_password: role == Some(HttpRole::Admin),
            password_kept,
            version: env!("CARGO_PKG_VERSION"),
        }
    }
}

/// What somebody shows who logs in.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "Login")]
pub(super) struct Shown {
    /// The password.
    pub(super) password: String,
}

/// Another password.
#[derive(Deserialize, JsonSchema)]
pub(super) struct NewPassword {
    /// What is to be the password: 8 characters at least, 1,024 bytes at most.
    pub(super) new: String,
    /// The present one, where there is one.
    pub(super) current: Option<String>,
}

/// Whether connections are welcome.
#[derive(Serialize, JsonSchema)]
pub(super) struct Health {
    /// `ok`, or `draining`, with the status 503.
    status: &'static str,
}

impl Health {
    pub(super) fn new(is_draining: bool) -> Self {
        Self { status: if is_draining { "draining" } else { "ok" } }
    }
}

/// What time it is.
#[derive(Serialize, JsonSchema)]
pub(super) struct Time {
    /// Milliseconds since 1970.
    time_ms: u64,
    /// Milliseconds since the engine's start, to which the times of histories belong.
    uptime_ms: u64,
}

impl Time {
    pub(super) fn new(snapshot: &Snapshot) -> Self {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self { time_ms: ms(since_1970()), uptime_ms: ms(snapshot.engine.uptime) }
    }
}

/// The whole engine in a few numbers, as it was at the newest second.
#[derive(Serialize, JsonSchema)]
pub(super) struct Summary {
    /// Counters.
    engine: EngineStats,
    /// What all connections carry.
    rates: Rates,
    /// How many streams there are.
    streams: usize,
    /// How much is wrong with them.
    problems: usize,
    /// How many relays.
    relays: usize,
    /// How many file jobs.
    files: usize,
}

impl Summary {
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        Self {
            engine: snapshot.engine.clone(),
            rates: snapshot.rates,
            streams: snapshot.streams.len(),
            problems: snapshot.streams.iter().map(|stream| stream.problems.len()).sum(),
            relays: snapshot.relays.len(),
            files: snapshot.files.len(),
        }
    }
}

/// A key that has been added.
#[cfg(feature = "keys")]
#[derive(Serialize, JsonSchema)]
pub(super) struct AddedKey {
    /// What the publisher or player sends. It is told this once; of a key that somebody has had already it is `null`.
    key: Option<String>,
    /// What it opens.
    #[serde(flatten)]
    info: KeyInfo,
}

#[cfg(feature = "keys")]
impl AddedKey {
    pub(super) fn new(made: Option<&Secret>, info: KeyInfo) -> Self {
        Self { key: made.map(|key| key.expose().to_owned()), info }
    }
}

/// How a key is to be replaced.
#[cfg(feature = "keys")]
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Rotation {
    /// For how many seconds one may go on to begin by the old key, a day at most. With 0 it is revoked, and what it has opened ends.
    pub(super) overlap_s: u64,
}

/// The newest lines of the log.
#[derive(Serialize, JsonSchema)]
pub(super) struct LogLines {
    /// The oldest first.
    pub(super) items: Vec<LogLine>,
    /// The id behind which there are more; `null` where there are none.
    pub(super) next: Option<u64>,
}
