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
