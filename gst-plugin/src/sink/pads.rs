//! The element's pads: each is a ghost of a private sink, which comes and goes with it.

use super::CAT;
use super::caps::TEMPLATES;
use super::imp::RtmpRelaySink;
use super::inner_element::{InnerSink, PadContext};
use super::muxing::PadNumber;
use crate::host::failure;
use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Time after which all streams of a demuxer should have come.
const LOOK_AFTER: Duration = Duration::from_secs(1);
streamengine::bound! {
    /// Queues, parsers and the like between a demuxer and a pad (test `a_demuxer_is_looked_for_through_few_elements`).
    const MAX_ELEMENTS_BETWEEN: usize = 8, without usize::MAX;
}

impl RtmpRelaySink {
    pub(super) fn add_always_pad(&self) -> Result<(), glib::BoolError> {
        let element = self.obj();
        let template = element.pad_template("sink").ok_or_else(|| glib::bool_error!("no template"))?;
        let ghost = gst::GhostPad::from_template(&template);
        // Its inner sink is made when it is linked: an unlinked one would hold up EOS for ever.
        let weak = element.downgrade();
        ghost.connect_linked(move |ghost, _| {
            if let (Some(element), Some(ghost)) = (weak.upgrade(), ghost.downcast_ref()) {
                element.imp().on_linked(ghost);
            }
        });
        let weak = element.downgrade();
        ghost.connect_unlinked(move |ghost, _| {
            if let (Some(element), Some(ghost)) = (weak.upgrade(), ghost.downcast_ref()) {
                element.imp().remove_inner_sink(ghost);
            }
        });
        element.add_pad(&ghost)
    }

    fn on_linked(&self, ghost: &gst::GhostPad) {
        if ghost.target().is_none()
            && let Err(error) = self.add_inner_sink(ghost, &TEMPLATES.all)
        {
            self.post_error_message(failure(gst::CoreError::Pad, &error.to_string()));
        }
    }

    pub(super) fn add_request_pad(
        &self,
        template: &gst::PadTemplate,
        name: Option<&str>,
    ) -> Result<gst::Pad, glib::BoolError> {
        let element = self.obj();
        let wanted = name.filter(|name| !name.contains('%'));
        let name = match (template.name_template(), wanted) {
            ("sink_%u", Some(name)) => name.to_owned(),
            ("sink_%u", None) => self.free_name(),
            (name, _) => name.to_owned(),
        };
        if element.static_pad(&name).is_some() {
            return Err(glib::bool_error!("pad {name} is there already"));
        }
        let ghost = gst::GhostPad::builder_from_template(template).name(name).build();
        self.add_inner_sink(&ghost, template.caps())?;
        ghost.set_active(true)?;
        element.add_pad(&ghost)?;
        Ok(ghost.upcast())
    }

    fn free_name(&self) -> String {
        let element = self.obj();
        let names = (0_u32..).map(|number| format!("sink_{number}"));
        names.into_iter().find(|name| element.static_pad(name).is_none()).unwrap_or_default()
    }

    /// Puts a sink behind a pad.
    fn add_inner_sink(&self, ghost: &gst::GhostPad, caps: &gst::Caps) -> Result<(), glib::BoolError> {
        let inner = InnerSink::new(PadContext {
            pad: PadNumber(self.last_pad.fetch_add(1, Ordering::Relaxed)),
            caps: caps.clone(),
            muxer: self.muxer.clone(),
            audience: self.audience.clone(),
        });
        let (sync, ts_offset) = {
            let settings = self.settings.lock();
            (settings.sync, settings.ts_offset)
        };
        inner.set_sync(sync);
        inner.set_ts_offset(ts_offset);
        self.obj().add(&inner)?;
        let pad = inner.static_pad("sink").ok_or_else(|| glib::bool_error!("the inner sink has no pad"))?;
        ghost.set_target(Some(&pad))?;
        inner.sync_state_with_parent()
    }

    pub(super) fn remove_inner_sink(&self, ghost: &gst::GhostPad) {
        let inner = ghost
            .target()
            .and_then(|pad| pad.parent_element())
            .and_then(|inner| inner.downcast::<InnerSink>().ok());
        let Some(inner) = inner else { return };
        let _ = ghost.set_target(None::<&gst::Pad>);
        // Out of the bin first: what the bin does with its children must not reach it any more.
        let _ = self.obj().remove(&inner);
        let _ = inner.set_state(gst::State::Null);
        if let Some(number) = inner.pad_number() {
            self.muxer.remove(number);
        }
        self.drain.forget(inner.upcast_ref());
        self.drain_if_complete();
    }

    pub(super) fn inner_sinks(&self) -> Vec<gst::Element> {
        self.obj().children().into_iter().filter(|child| child.is::<InnerSink>()).collect()
    }

    /// Looks, once the streams of a demuxer should have come, whether one of them was forgotten.
    pub(super) fn look_for_forgotten_pads(&self) {
        let weak = self.obj().downgrade();
        let Some(dispatcher) = self.dispatcher() else { return };
        dispatcher.post_after(LOOK_AFTER, move || {
            let element = weak.upgrade();
            if let Some((imp, text)) =
                element.as_ref().map(|element| element.imp()).and_then(|imp| Some((imp, imp.forgotten()?)))
            {
                gst::info!(CAT, imp = imp, "{text}");
            }
        });
    }

    /// How to link the rest, where one track of a demuxer comes here and another goes nowhere.
    fn forgotten(&self) -> Option<String> {
        let inner_sinks = self.inner_sinks();
        let [inner] = inner_sinks.as_slice() else { return None };
        inner.downcast_ref::<InnerSink>().filter(|inner| inner.content().is_track())?;
        let ghosts = self.obj().sink_pads();
        let demuxer = demuxer_before(ghosts.iter().find(|pad| pad.is_linked())?)?;
        let forgotten = demuxer.src_pads().into_iter().find(|pad| !pad.is_linked())?;
        let (name, pad) = (demuxer.name(), forgotten.name());
        Some(format!(
            "only one track comes here, and pad {pad} of {name} is not linked: ' : ' in place of ' ! ' links all"
        ))
    }
}

/// The demuxer that feeds a pad, through elements with one input.
fn demuxer_before(pad: &gst::Pad) -> Option<gst::Element> {
    let mut before = pad.peer()?;
    for _ in 0..MAX_ELEMENTS_BETWEEN.get() {
        let element = before.parent_element()?;
        let class = element.metadata(gst::ELEMENT_METADATA_KLASS).unwrap_or_default();
        if class.contains("Demux") {
            return Some(element);
        }
        let inputs = element.sink_pads();
        let [input] = inputs.as_slice() else { return None };
        before = input.peer()?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sink pad behind a demuxer and so many other elements, in their pipeline.
    fn behind(elements: usize) -> (gst::Pipeline, gst::Pad) {
        gst::init().unwrap();
        let pipeline = gst::Pipeline::new();
        let make = |name: &str| {
            let element = gst::ElementFactory::make(name).build().unwrap();
            pipeline.add(&element).unwrap();
            element
        };
        let demuxer = make("flvdemux");
        let mut output = gst::Pad::new(gst::PadDirection::Src);
        demuxer.add_pad(&output).unwrap();
        for _ in 0..elements {
            let between = make("identity");
            output.link(&between.static_pad("sink").unwrap()).unwrap();
            output = between.static_pad("src").unwrap();
        }
        let input = make("fakesink").static_pad("sink").unwrap();
        output.link(&input).unwrap();
        (pipeline, input)
    }

    #[test]
    fn a_demuxer_is_looked_for_through_few_elements() {
        for (elements, is_found) in [(0, true), (3, true), (7, true), (8, false)] {
            let (_pipeline, pad) = behind(elements);
            assert_eq!(demuxer_before(&pad).is_some(), is_found, "through {elements}");
        }
    }
}
