//! `rtmpserversrc`: an RTMP(S) server inside a pipeline that takes in the stream of a publisher.
//!
//! ```text
//!  publisher ──> engine ──Subscriber──> reader thread ──> Queue ──> InnerSource (PushSrc) ──> ghost pad
//!                  │                 StreamDemuxer, clock       stamps, flags
//!             Publishers (dispatcher): who may publish, signals, what follows when they leave
//! ```
//! With `src` linked there is one inner source, and it writes FLV; else each track gets a pad and an inner source when its
//! headers have arrived. The reader notes when frames arrive; the streaming threads turn that into running time.

mod caps;
mod clock;
mod counters;
mod demuxing;
mod imp;
mod inner_element;
mod publishers;
mod queue;
mod reader;
mod settings;

use gst::glib;
use gst::prelude::*;
use std::sync::LazyLock;

pub(crate) static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new("rtmpserversrc", gst::DebugColorFlags::empty(), Some("RTMP server source"))
});

glib::wrapper! {
    /// The element `rtmpserversrc`.
    ///
    /// Since: 0.1
    pub struct RtmpServerSrc(ObjectSubclass<imp::RtmpServerSrc>) @extends gst::Bin, gst::Element, gst::Object, @implements gst::URIHandler;
}

pub(crate) fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Element::register(Some(plugin), "rtmpserversrc", gst::Rank::NONE, RtmpServerSrc::static_type())
}
