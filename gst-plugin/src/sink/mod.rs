//! `rtmprelaysink`: serves a pipeline's stream to players and pushes it to other servers.
//!
//! ```text
//!   ghost pad ──> InnerSink (BaseSink: clock) ──samples──> StreamMuxer (times) ──frames──> engine ──> players, targets, files
//! ```
//! The element is a bin: each pad is a ghost of a private sink, so that GStreamer's own code does what is hard (waiting
//! for the clock, latency, EOS of several inputs). Nothing here waits for the network.

mod audience;
mod caps;
mod drain;
mod imp;
mod inner_element;
mod keyframes;
mod metadata;
mod muxing;
mod pads;
mod player_control;
mod recorder;
mod settings;
mod signals;
mod stats;
mod targets;

use gst::glib;
use gst::prelude::*;
use std::sync::LazyLock;
use streamengine::RelayState;

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new("rtmprelaysink", gst::DebugColorFlags::empty(), Some("RTMP relay sink"))
});

glib::wrapper! {
    /// The element `rtmprelaysink`.
    ///
    /// Since: 0.1
    pub struct RtmpRelaySink(ObjectSubclass<imp::RtmpRelaySink>) @extends gst::Bin, gst::Element, gst::Object;
}

/// When targets that are given up make the element fail.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstRtmpRelayErrorPolicy")]
pub enum ErrorPolicy {
    /// Never: a target that is given up is a warning.
    #[default]
    #[enum_value(name = "Never: a target that is given up is a warning", nick = "warn")]
    Warn,
    /// When all targets have been given up.
    #[enum_value(name = "When all targets have been given up", nick = "all-failed")]
    AllFailed,
    /// When one target has been given up.
    #[enum_value(name = "When one target has been given up", nick = "any-failed")]
    AnyFailed,
}

/// Whether elementary streams are sent in the form of Enhanced RTMP.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstRtmpRelayEnhanced")]
pub enum EnhancedForm {
    /// Where the codec needs it.
    #[default]
    #[enum_value(name = "Codecs that classic RTMP does not have", nick = "auto")]
    Auto,
    /// Never: such codecs are refused.
    #[enum_value(name = "Never: codecs that need it are refused", nick = "legacy")]
    Legacy,
    /// Always, where the codec has a FourCC.
    #[enum_value(name = "All codecs that have a FourCC, H.264 and AAC too", nick = "enhanced")]
    Enhanced,
}

/// How the stream is recorded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstRtmpRelayRecordFormat")]
pub enum RecordFormat {
    /// FLV: all that comes, byte for byte.
    #[default]
    #[enum_value(name = "FLV: all that comes, byte for byte", nick = "flv")]
    Flv,
    /// Fragmented MP4: what browsers and editors open.
    #[enum_value(name = "Fragmented MP4: what browsers and editors open", nick = "fmp4")]
    Fmp4,
}

impl From<RecordFormat> for streamengine::RecordFormat {
    fn from(format: RecordFormat) -> Self {
        match format {
            RecordFormat::Flv => Self::Flv,
            RecordFormat::Fmp4 => Self::Fmp4,
        }
    }
}

/// What targets are told when the stream ends. Numbers and nicks are those of `rtmp2sink`.
#[glib::flags(name = "GstRtmpRelayStopCommands")]
pub enum StopCommands {
    /// FCUnpublish.
    #[flags_value(name = "FCUnpublish", nick = "fcunpublish")]
    FCUNPUBLISH = 0b001,
    /// closeStream.
    #[flags_value(name = "closeStream", nick = "closestream")]
    CLOSESTREAM = 0b010,
    /// deleteStream.
    #[flags_value(name = "deleteStream", nick = "deletestream")]
    DELETESTREAM = 0b100,
}

impl Default for StopCommands {
    fn default() -> Self {
        Self::FCUNPUBLISH | Self::DELETESTREAM
    }
}

impl From<StopCommands> for streamengine::StopCommands {
    fn from(commands: StopCommands) -> Self {
        Self {
            fc_unpublish: commands.contains(StopCommands::FCUNPUBLISH),
            close_stream: commands.contains(StopCommands::CLOSESTREAM),
            delete_stream: commands.contains(StopCommands::DELETESTREAM),
        }
    }
}

/// Where a target stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstRtmpRelayTargetState")]
pub enum TargetState {
    /// Nothing to do yet, or no more.
    #[default]
    #[enum_value(name = "Nothing to push", nick = "idle")]
    Idle,
    /// Looking up the host, connecting, and asking for the right to publish.
    #[enum_value(name = "Connecting", nick = "connecting")]
    Connecting,
    /// The target takes the stream.
    #[enum_value(name = "Publishing", nick = "publishing")]
    Publishing,
    /// The connection stands but the target takes nothing.
    #[enum_value(name = "Stalled", nick = "stalled")]
    Stalled,
    /// Waiting before the next attempt.
    #[enum_value(name = "Waiting before the next attempt", nick = "backing-off")]
    BackingOff,
    /// Given up.
    #[enum_value(name = "Given up", nick = "failed")]
    Failed,
}

impl TargetState {
    fn nick(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Connecting => "connecting",
            Self::Publishing => "publishing",
            Self::Stalled => "stalled",
            Self::BackingOff => "backing-off",
            Self::Failed => "failed",
        }
    }
}

impl From<RelayState> for TargetState {
    fn from(state: RelayState) -> Self {
        match state {
            RelayState::Resolving | RelayState::Connecting | RelayState::Handshaking => Self::Connecting,
            RelayState::Publishing => Self::Publishing,
            RelayState::Stalled => Self::Stalled,
            RelayState::BackingOff => Self::BackingOff,
            RelayState::Failed => Self::Failed,
            _ => Self::Idle,
        }
    }
}

pub(crate) fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Element::register(Some(plugin), "rtmprelaysink", gst::Rank::NONE, RtmpRelaySink::static_type())
}
