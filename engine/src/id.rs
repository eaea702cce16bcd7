//! Identifiers of what an engine has: a type for each kind, so that none can be taken for another.

use serde::Serialize;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// One count for all engines of the process: an id that is out of date names nothing in any of them.
static NEXT: AtomicU64 = AtomicU64::new(1);

macro_rules! ids {
    ($($(#[$doc:meta])+ $name:ident;)+) => {$(
        $(#[$doc])+
        ///
        /// The number is unique in the process, over all kinds, and never used again: one that is out of date, or of another
        /// engine, is not found instead of naming something else.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
        #[cfg_attr(feature = "http", derive(schemars::JsonSchema), schemars(inline))]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// One that nothing has had before.
            pub(crate) fn new() -> Self {
                Self(NEXT.fetch_add(1, Ordering::Relaxed))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )+};
}

ids! {
    /// Identifies a listener.
    ListenerId;
    /// Identifies a connection.
    SessionId;
    /// Identifies a relay.
    RelayId;
    /// Identifies a file job.
    FileId;
    /// Identifies a recording.
    RecordingId;
}
