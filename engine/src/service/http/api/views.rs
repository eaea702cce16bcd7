//! What the API tells that the engine has no type for.

use crate::files::since_1970;
#[cfg(feature = "keys")]
use crate::key::Secret;
#[cfg(feature = "keys")]
use crate::keys::KeyInfo;
use crate::statistics::{Rates, Snapshot};
use crate::status::EngineStats;
use schemars::JsonSchema;
use serde::Serialize;
use std::time::Duration;

/// A list.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "{T}List")]
pub(super) struct Items<T> {
    /// What is in it.
    items: Vec<T>,
    /// Where more is; `null`, as lists are whole.
    next: Option<String>,
}

impl<T> Items<T> {
    pub(super) fn new(items: impl IntoIterator<Item = T>) -> Self {
        Self { items: items.into_iter().collect(), next: None }
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
