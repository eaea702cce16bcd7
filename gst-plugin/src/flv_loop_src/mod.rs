//! `flvloopsrc`: plays an FLV or MP4 file over and over again as one FLV stream without a seam.

mod imp;

use gst::glib;
use gst::prelude::*;

glib::wrapper! {
    /// The element `flvloopsrc`.
    ///
    /// Since: 0.1
    pub struct FlvLoopSrc(ObjectSubclass<imp::FlvLoopSrc>) @extends gst_base::PushSrc, gst_base::BaseSrc, gst::Element, gst::Object;
}

pub(crate) fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Element::register(Some(plugin), "flvloopsrc", gst::Rank::NONE, FlvLoopSrc::static_type())
}
