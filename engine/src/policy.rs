//! What an app, a publisher or the program decides about a stream, as words that configuration and hub share.

use serde::{Deserialize, Serialize};

/// Who may take a stream's name over from its present publisher.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Takeover {
    /// Nobody: the newcomer is refused while the publisher is connected.
    Reject,
    /// Any authorised newcomer; the present publisher is told and closed.
    Replace,
    /// A newcomer with the same rights, once the present publisher has sent no media for 0.5 s. Ends "already
    /// publishing" after a network loss without letting a second encoder cut a healthy stream.
    #[default]
    ReplaceIfStalled,
}

named!(Takeover {
    Reject => "reject",
    Replace => "replace",
    ReplaceIfStalled => "replace-if-stalled",
});

/// Where a subscriber starts in a live stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StartAt {
    /// At the newest keyframe: a picture at once, up to one GOP behind.
    #[default]
    Keyframe,
    /// At the newest frame: least delay, a picture with the next keyframe.
    LiveEdge,
}

named!(StartAt { Keyframe => "keyframe", LiveEdge => "live-edge" });

/// What is decided about the readers of a stream: by its app, by its publisher where that says otherwise, and by the
/// program that publishes, also meanwhile.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamPolicy {
    /// Where players start.
    pub start: Option<StartAt>,
    /// Most payload bytes, from the newest keyframe on, that players start with; where there are more they start at the
    /// live edge.
    pub max_start_bytes: Option<u64>,
    /// How old the next frame of a reader may get, in milliseconds; then it goes on at the newest keyframe, or drops
    /// video until the next one comes. Counts once a reader has caught up after its start. Else the ring is the limit.
    pub max_queue_ms: Option<u64>,
    /// The same for the bytes that a reader has not taken.
    pub max_queue_bytes: Option<u64>,
    /// How long a player of a stream without keyframes waits for one, in milliseconds; then it gets what there is.
    pub keyframe_wait_ms: Option<u64>,
    /// Bytes that the ring holds, where that is less than [`Limits::ring_bytes`](crate::Limits::ring_bytes).
    pub ring_bytes: Option<usize>,
    /// Most players that it may have; those that are there stay.
    pub max_viewers: Option<u64>,
}

setters! {
    StreamPolicy: ;
    StartAt { start } u64 { max_start_bytes, max_queue_ms, max_queue_bytes, keyframe_wait_ms, max_viewers } usize { ring_bytes }
}

impl StreamPolicy {
    /// What it says, and where it says nothing, `other`.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            start: self.start.or(other.start),
            max_start_bytes: self.max_start_bytes.or(other.max_start_bytes),
            max_queue_ms: self.max_queue_ms.or(other.max_queue_ms),
            max_queue_bytes: self.max_queue_bytes.or(other.max_queue_bytes),
            keyframe_wait_ms: self.keyframe_wait_ms.or(other.keyframe_wait_ms),
            ring_bytes: self.ring_bytes.or(other.ring_bytes),
            max_viewers: self.max_viewers.or(other.max_viewers),
        }
    }

    /// Whether every value leaves readers something; the error is in words.
    pub(crate) fn check(&self) -> Result<(), String> {
        let zeros = [
            ("max_queue_ms", self.max_queue_ms == Some(0)),
            ("max_queue_bytes", self.max_queue_bytes == Some(0)),
            ("ring_bytes", self.ring_bytes == Some(0)),
            ("max_viewers", self.max_viewers == Some(0)),
        ];
        match zeros.into_iter().find(|(_, is_zero)| *is_zero) {
            Some((key, _)) => {
                Err(format!("{key} is 0; leave it out where only the limits of the engine are to hold"))
            }
            None => Ok(()),
        }
    }
}
