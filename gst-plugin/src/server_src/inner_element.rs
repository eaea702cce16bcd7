//! The private source inside the bin, one per pad: takes frames from its queue and gives them running time.

use super::clock::{Now, Stamp};
use super::queue::{Item, Media, Popped, Queue, Role};
use crate::time::{NANOS_PER_MILLI, clock_time, clock_time_nanos, clock_time_of_nanos};
use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::base_src::CreateSuccess;
use gst_base::subclass::prelude::*;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::{Duration, Instant};
use streamengine::media::flv::{FileHeader, encode_tag};
use streamengine::media::{Frame, FrameKind};

/// While nobody publishes, GAP events come this often.
const GAP_PERIOD: Duration = Duration::from_secs(1);

/// How buffers are made of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OutputFormat {
    /// An FLV byte stream, one tag per buffer.
    Flv,
    /// Coded frames of one track.
    Elementary,
}

/// What the source of a pad is made for.
pub(super) struct PadContext {
    pub(super) queue: Arc<Queue>,
    pub(super) format: OutputFormat,
    /// Counts how often the pipeline has begun to play.
    pub(super) period: Arc<AtomicU64>,
    pub(super) latency: Duration,
    pub(super) max_latency: Option<Duration>,
}

glib::wrapper! {
    /// See the module.
    pub struct InnerSource(ObjectSubclass<Imp>) @extends gst_base::PushSrc, gst_base::BaseSrc, gst::Element, gst::Object;
}

impl InnerSource {
    pub(super) fn new(name: &str, context: PadContext, caps: Option<gst::Caps>) -> Self {
        let source: Self = glib::Object::builder().property("name", name).build();
        source.imp().state.lock().caps = caps;
        // It was made above: nobody else has set it.
        let _ = source.imp().context.set(context);
        source
    }
}

#[derive(Default)]
pub struct Imp {
    context: OnceLock<PadContext>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Of what comes next.
    caps: Option<gst::Caps>,
    has_header: bool,
    /// The frame that comes after the file header.
    waits: Option<Media>,
    has_media: bool,
    is_discont: bool,
    /// Nothing is stamped before this running time, in nanoseconds.
    floor: i64,
    /// Decoding time of the last frame, or end of the last gap.
    position: i64,
    period: u64,
}

#[glib::object_subclass]
impl ObjectSubclass for Imp {
    const NAME: &'static str = "GstRtmpServerSrcLeaf";
    type Type = InnerSource;
    type ParentType = gst_base::PushSrc;
}

impl ObjectImpl for Imp {
    fn constructed(&self) {
        self.parent_constructed();
        let source = self.obj();
        source.set_live(true);
        source.set_format(gst::Format::Time);
        source.set_automatic_eos(false);
    }
}

impl GstObjectImpl for Imp {}

impl ElementImpl for Imp {
    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            let any = gst::Caps::new_any();
            let src = gst::PadTemplate::new("src", gst::PadDirection::Src, gst::PadPresence::Always, &any);
            src.into_iter().collect()
        });
        &TEMPLATES
    }
}

impl BaseSrcImpl for Imp {
    fn is_seekable(&self) -> bool {
        false
    }

    fn caps(&self, filter: Option<&gst::Caps>) -> Option<gst::Caps> {
        let caps = self.state.lock().caps.clone().unwrap_or_else(gst::Caps::new_any);
        Some(
            filter.map_or(caps.clone(), |filter| {
                filter.intersect_with_mode(&caps, gst::CapsIntersectMode::First)
            }),
        )
    }

    /// Caps come with the frames.
    fn negotiate(&self) -> Result<(), gst::LoggableError> {
        Ok(())
    }

    fn query(&self, query: &mut gst::QueryRef) -> bool {
        match (query.view_mut(), self.context.get()) {
            (gst::QueryViewMut::Latency(latency), Some(context)) => {
                latency.set(true, clock_time(context.latency), context.max_latency.map(clock_time));
                true
            }
            _ => BaseSrcImplExt::parent_query(self, query),
        }
    }

    /// Nobody can ask a publisher for a keyframe, and that is no failure.
    fn event(&self, event: &gst::Event) -> bool {
        let is_key_unit_request =
            event.type_() == gst::EventType::CustomUpstream && event.has_name("GstForceKeyUnit");
        if is_key_unit_request {
            gst::debug!(super::CAT, imp = self, "ignored: RTMP publishers cannot be asked for keyframes");
            return true;
        }
        self.parent_event(event)
    }

    fn unlock(&self) -> Result<(), gst::ErrorMessage> {
        self.set_flushing(true);
        Ok(())
    }

    fn unlock_stop(&self) -> Result<(), gst::ErrorMessage> {
        self.set_flushing(false);
        Ok(())
    }
}

impl PushSrcImpl for Imp {
    fn create(&self, _: Option<&mut gst::BufferRef>) -> Result<CreateSuccess, gst::FlowError> {
        let context = self.context.get().ok_or(gst::FlowError::Error)?;
        // Not within the condition: the lock would be held while the buffer is made.
        let waiting = self.state.lock().waits.take();
        if let Some(media) = waiting {
            return self.buffer(context, media).map(CreateSuccess::NewBuffer);
        }
        loop {
            match context.queue.pop(GAP_PERIOD) {
                Popped::Flushing => return Err(gst::FlowError::Flushing),
                Popped::Quiet => self.fill_gap(context),
                Popped::Item(Item::End) => return Err(gst::FlowError::Eos),
                Popped::Item(Item::Caps(caps)) => self.change_caps(caps)?,
                Popped::Item(Item::Stream) => self.begin_stream(),
                Popped::Item(Item::Tags(tags)) => {
                    // The base class sends it after the segment.
                    self.obj().send_event(gst::event::Tag::new(tags));
                }
                Popped::Item(Item::Media(media)) => {
                    return self.first_or_buffer(context, media).map(CreateSuccess::NewBuffer);
                }
            }
        }
    }
}

impl Imp {
    fn set_flushing(&self, is_flushing: bool) {
        if let Some(context) = self.context.get() {
            context.queue.set_flushing(is_flushing);
        }
    }

    fn now(&self, context: &PadContext) -> Now {
        let running_time = self.obj().current_running_time().unwrap_or_default();
        Now {
            period: context.period.load(Ordering::Acquire),
            running_time: clock_time_nanos(running_time),
            instant: Instant::now(),
        }
    }

    fn change_caps(&self, caps: gst::Caps) -> Result<(), gst::FlowError> {
        self.state.lock().caps = Some(caps.clone());
        self.obj().set_caps(&caps).map_err(|_| gst::FlowError::NotNegotiated)
    }

    /// Announces that what follows has nothing to do with what came.
    fn begin_stream(&self) {
        let source = self.obj();
        let pad = source.src_pad();
        let segment = pad.sticky_event::<gst::event::Segment>(0);
        // The element gives it its name and group.
        pad.push_event(gst::event::StreamStart::new(&pad.name()));
        if let Some(segment) = segment {
            pad.push_event(segment);
        }
    }

    /// Lets muxers and mixers run on without this pad.
    fn fill_gap(&self, context: &PadContext) {
        if context.format == OutputFormat::Flv {
            return;
        }
        let now = self.now(context).running_time;
        let mut state = self.state.lock();
        let start = state.position;
        if !state.has_media || now <= start {
            return;
        }
        (state.position, state.floor) = (now, now);
        drop(state);
        let gap = gst::event::Gap::builder(clock_time_of_nanos(start))
            .duration(clock_time_of_nanos(now - start))
            .build();
        self.obj().src_pad().push_event(gap);
    }

    /// The file header goes before the first frame, once.
    fn first_or_buffer(&self, context: &PadContext, media: Media) -> Result<gst::Buffer, gst::FlowError> {
        if context.format != OutputFormat::Flv || std::mem::replace(&mut self.state.lock().has_header, true) {
            return self.buffer(context, media);
        }
        let announced =
            (media.kind == FrameKind::Data).then(|| super::caps::announced(&media.data)).flatten();
        let (audio, video) = announced.unwrap_or((true, true));
        let mut buffer = gst::Buffer::from_slice(FileHeader { audio, video }.encode());
        let at = clock_time_of_nanos(self.place(context, &media.stamp));
        let unshared = buffer.make_mut();
        unshared.set_flags(gst::BufferFlags::HEADER | gst::BufferFlags::DISCONT);
        unshared.set_pts(at);
        unshared.set_dts(at);
        let mut state = self.state.lock();
        state.waits = Some(media);
        Ok(buffer)
    }

    /// The running time of a stamp; what came before the pipeline played is due at once.
    fn place(&self, context: &PadContext, stamp: &Stamp) -> i64 {
        let now = self.now(context);
        let mut state = self.state.lock();
        if std::mem::replace(&mut state.period, now.period) != now.period {
            state.floor = state.position;
            state.is_discont = true;
        }
        stamp.running_time(now).max(state.floor)
    }

    fn buffer(&self, context: &PadContext, media: Media) -> Result<gst::Buffer, gst::FlowError> {
        if media.is_discont {
            let mut state = self.state.lock();
            state.floor = state.position;
        }
        let dts = self.place(context, &media.stamp);
        let mut state = self.state.lock();
        state.position = state.position.max(dts);
        let is_first = !std::mem::replace(&mut state.has_media, true);
        let is_discont = std::mem::take(&mut state.is_discont) | media.is_discont | is_first;
        let pts = dts.saturating_add(media.composition).max(state.floor);
        drop(state);
        let flags = flags(media.role, is_discont);
        let mut buffer = match context.format {
            OutputFormat::Flv => tag(&media, dts).ok_or(gst::FlowError::Error)?,
            OutputFormat::Elementary => gst::Buffer::from_slice(media.data),
        };
        let unshared = buffer.make_mut();
        unshared.set_flags(flags);
        unshared.set_dts(clock_time_of_nanos(dts));
        unshared.set_pts(clock_time_of_nanos(if context.format == OutputFormat::Flv { dts } else { pts }));
        Ok(buffer)
    }
}

/// The frame as an FLV tag, with the "previous tag size" behind it.
fn tag(media: &Media, dts: i64) -> Option<gst::Buffer> {
    let timestamp = dts.div_euclid(NANOS_PER_MILLI);
    let frame = Frame { kind: media.kind, timestamp, payload: media.data.clone(), flags: Default::default() };
    let framing = encode_tag(&frame)?;
    Some(gst::Buffer::from_slice([&framing.header[..], &media.data, &framing.trailer].concat()))
}

fn flags(role: Role, is_discont: bool) -> gst::BufferFlags {
    let mut flags = match role {
        Role::Header => gst::BufferFlags::HEADER,
        Role::Key => gst::BufferFlags::empty(),
        Role::Delta | Role::Accompanying => gst::BufferFlags::DELTA_UNIT,
    };
    flags.set(gst::BufferFlags::DISCONT, is_discont);
    flags
}
