//! Identifiers of what an engine has.

use serde::Serialize;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// One count for all engines of the process: an id that is out of date names nothing in any of them.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// Identifies a connection, relay, file job or listener, within the process; never reused, so that an id of an engine
/// that is gone names nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Id(pub u64);

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl Id {
    /// One that nothing has had before.
    pub(crate) fn new() -> Self {
        Self(NEXT_ID.fetch_add(1, Ordering::Relaxed))
    }
}
