//! The element: a loop of the engine behind a source pad, one FLV tag per buffer.

use crate::host;
use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::base_src::CreateSuccess;
use gst_base::subclass::prelude::*;
use parking_lot::Mutex;
use std::sync::LazyLock;
use streamengine::media::flv::{FileHeader, encode_tag};
use streamengine::media::looping::{Loop, Repeat, TimedFrame};

const FOREVER: i32 = -1;

#[derive(Default)]
pub struct FlvLoopSrc {
    /// Looked at on the way to PAUSED.
    settings: Mutex<Settings>,
    playing: Mutex<Option<Playing>>,
}

#[derive(Debug, Clone)]
struct Settings {
    location: Option<String>,
    loops: i32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { location: None, loops: FOREVER }
    }
}

/// From PAUSED on.
struct Playing {
    frames: Loop,
    has_header: bool,
}

#[glib::object_subclass]
impl ObjectSubclass for FlvLoopSrc {
    const NAME: &'static str = "GstFlvLoopSrc";
    type Type = super::FlvLoopSrc;
    type ParentType = gst_base::PushSrc;
}

impl ObjectImpl for FlvLoopSrc {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
            vec![
                glib::ParamSpecString::builder("location")
                    .nick("File location")
                    .blurb("Path of the FLV or MP4 file to play")
                    .mutable_ready()
                    .build(),
                glib::ParamSpecInt::builder("loops")
                    .nick("Loops")
                    .blurb("How often to play the file; -1 plays it for ever")
                    .minimum(FOREVER)
                    .default_value(FOREVER)
                    .mutable_ready()
                    .build(),
            ]
        });
        &PROPERTIES
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        const CHECKED: &str = "GObject checks types";
        let mut settings = self.settings.lock();
        match pspec.name() {
            "location" => settings.location = value.get().expect(CHECKED),
            _ => settings.loops = value.get().expect(CHECKED),
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        let settings = self.settings.lock();
        match pspec.name() {
            "location" => settings.location.to_value(),
            _ => settings.loops.to_value(),
        }
    }

    fn constructed(&self) {
        self.parent_constructed();
        self.obj().set_format(gst::Format::Time);
    }
}

impl GstObjectImpl for FlvLoopSrc {}

impl ElementImpl for FlvLoopSrc {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Looping FLV file source",
                "Source/File",
                "Plays an FLV or MP4 file over and over again as one FLV stream without a seam",
                "The streamengine developers",
            )
        });
        Some(&*METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            let (direction, presence) = (gst::PadDirection::Src, gst::PadPresence::Always);
            let caps = gst::Caps::new_empty_simple("video/x-flv");
            let src = gst::PadTemplate::new("src", direction, presence, &caps);
            vec![src.expect("name and presence fit together")]
        });
        &TEMPLATES
    }
}

impl BaseSrcImpl for FlvLoopSrc {
    fn start(&self) -> Result<(), gst::ErrorMessage> {
        let Settings { location, loops } = self.settings.lock().clone();
        let location = location
            .ok_or_else(|| host::failure(gst::ResourceError::NotFound, "No file: location is not set"))?;
        // Negative means for ever.
        let repeat = u64::try_from(loops).map_or(Repeat::Forever, Repeat::Times);
        let frames = Loop::open([&location], repeat).map_err(|error| cannot_play(&location, &error))?;
        *self.playing.lock() = Some(Playing { frames, has_header: false });
        Ok(())
    }

    fn stop(&self) -> Result<(), gst::ErrorMessage> {
        *self.playing.lock() = None;
        Ok(())
    }

    fn is_seekable(&self) -> bool {
        false
    }
}

impl PushSrcImpl for FlvLoopSrc {
    fn create(&self, _: Option<&mut gst::BufferRef>) -> Result<CreateSuccess, gst::FlowError> {
        let mut playing = self.playing.lock();
        let playing = playing.as_mut().ok_or(gst::FlowError::Flushing)?;
        if !std::mem::replace(&mut playing.has_header, true) {
            return Ok(CreateSuccess::NewBuffer(file_header()));
        }
        match playing.frames.next_frame() {
            Ok(Some(timed)) => tag(&timed).map(CreateSuccess::NewBuffer),
            Ok(None) => Err(gst::FlowError::Eos),
            Err(error) => {
                let location = self.settings.lock().location.clone().unwrap_or_default();
                self.post_error_message(cannot_play(&location, &error));
                Err(gst::FlowError::Error)
            }
        }
    }
}

fn file_header() -> gst::Buffer {
    let mut buffer = gst::Buffer::from_slice(FileHeader { audio: true, video: true }.encode());
    buffer.make_mut().set_flags(gst::BufferFlags::HEADER);
    buffer
}

/// The frame as an FLV tag, with the "previous tag size" behind it.
fn tag(timed: &TimedFrame) -> Result<gst::Buffer, gst::FlowError> {
    let TimedFrame { due, frame } = timed;
    let framing = encode_tag(frame).ok_or(gst::FlowError::Error)?;
    let bytes = [&framing.header[..], &frame.payload, &framing.trailer].concat();
    let mut buffer = gst::Buffer::from_slice(bytes);
    let unshared = buffer.make_mut();
    let due = u64::try_from(due.as_nanos()).ok().map(gst::ClockTime::from_nseconds);
    unshared.set_pts(due);
    unshared.set_dts(due);
    if frame.is_config() {
        unshared.set_flags(gst::BufferFlags::HEADER);
    }
    Ok(buffer)
}

fn cannot_play(location: &str, error: &streamengine::Error) -> gst::ErrorMessage {
    host::failure(gst::ResourceError::OpenRead, &format!("Cannot play {location}: {error}"))
}
