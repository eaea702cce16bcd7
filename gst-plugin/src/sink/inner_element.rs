//! The private sink behind each pad: waits for the clock as every GStreamer sink does, and hands over what comes.

use super::CAT;
use super::audience::Audience;
use super::caps::{self, Content, TEMPLATES, TrackCaps};
use super::muxing::{AccessUnit, PadNumber, SEAM_MS, StreamMuxer};
use crate::host::failure;
use crate::time::{clock_time_nanos, clock_time_of_nanos, millis_to_nanos};
use bytes::Bytes;
use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::prelude::*;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, OnceLock};
use streamengine::ErrorKind;
use streamengine::media::elementary::FlvStream;
use streamengine::media::flv::Codec;
use streamengine::media::{ConfigSlot, Frame};

/// Longest FLV tag: its length has 24 bits.
const MAX_TAG: usize = (1 << 24) - 1;
/// FLV time that goes back by more than this many milliseconds is a new clock: another file.
const JUMP_MS: i64 = 1_000;

glib::wrapper! {
    /// The sink behind one pad.
    pub struct InnerSink(ObjectSubclass<imp::InnerSink>) @extends gst_base::BaseSink, gst::Element, gst::Object;
}

/// What the sink behind a pad needs of its element.
pub(super) struct PadContext {
    pub(super) pad: PadNumber,
    pub(super) caps: gst::Caps,
    pub(super) muxer: Arc<StreamMuxer>,
    pub(super) audience: Arc<Audience>,
}

impl InnerSink {
    pub(super) fn new(context: PadContext) -> Self {
        let sink: Self = glib::Object::builder().property("name", format!("leaf{}", context.pad.0)).build();
        // Inputs that one thread feeds would wait for each other before the pipeline may play.
        sink.set_property("async", false);
        sink.set_property("qos", false);
        sink.set_property("enable-last-sample", false);
        sink.set_max_lateness(-1);
        sink.set_processing_deadline(gst::ClockTime::ZERO);
        let is_set = sink.imp().context.set(context);
        debug_assert!(is_set.is_ok(), "just made");
        sink
    }

    pub(super) fn pad_number(&self) -> Option<PadNumber> {
        self.imp().context.get().map(|context| context.pad)
    }

    /// What comes on this pad.
    pub(super) fn content(&self) -> Kind {
        *self.imp().kind.lock()
    }
}

/// What comes on a pad, in short.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Kind {
    /// Neither caps nor data.
    #[default]
    Nothing,
    Flv,
    VideoTrack,
    AudioTrack,
}

impl Kind {
    pub(super) fn is_track(self) -> bool {
        matches!(self, Self::VideoTrack | Self::AudioTrack)
    }

    /// Whether a keyframe can be asked for.
    pub(super) fn has_video(self) -> bool {
        matches!(self, Self::Flv | Self::VideoTrack)
    }
}

/// What comes on the pad, as far as it has been taken in.
#[derive(Default)]
enum Input {
    /// Neither caps nor data.
    #[default]
    Nothing,
    Flv(Box<FlvInput>),
    Track(TrackInput),
}

struct TrackInput {
    caps: TrackCaps,
    /// A sample that could not be used has been told of.
    has_warned: bool,
}

/// An FLV byte stream in progress.
struct FlvInput {
    stream: FlvStream,
    /// FLV time of a frame, and its stream time, in milliseconds.
    anchor: Option<Anchor>,
    /// Configuration that has been sent: headers of caps come again as buffers.
    announced: HashMap<ConfigSlot, Bytes>,
}

#[derive(Clone, Copy)]
struct Anchor {
    flv_ms: i64,
    stream_ms: i64,
    /// Running time in nanoseconds, for streams that are paced here.
    running_ns: i64,
    last_ms: i64,
}

impl FlvInput {
    fn new() -> Self {
        Self { stream: FlvStream::new(MAX_TAG), anchor: None, announced: HashMap::new() }
    }

    /// Whether this is configuration that has been sent as it is.
    fn is_repeated(&mut self, frame: &Frame) -> bool {
        let Some(slot) = frame.flags.config else { return false };
        self.announced.insert(slot, frame.payload.clone()).as_ref() == Some(&frame.payload)
    }
}

impl Anchor {
    /// The same clock after a jump back to `flv_ms`: one frame after the last.
    fn continued(self, flv_ms: i64) -> Self {
        let elapsed = self.last_ms.saturating_sub(self.flv_ms).saturating_add(SEAM_MS);
        Self {
            flv_ms,
            stream_ms: self.stream_ms.saturating_add(elapsed),
            running_ns: self.running_ns.saturating_add(millis_to_nanos(elapsed)),
            last_ms: flv_ms,
        }
    }
}

mod imp {
    use super::*;

    #[derive(Default)]
    pub struct InnerSink {
        pub(super) context: OnceLock<PadContext>,
        /// Locked by the streaming thread also while it waits for the clock.
        input: Mutex<Input>,
        /// For other threads.
        pub(super) kind: Mutex<Kind>,
    }

    #[glib::object_subclass]
    impl ObjectSubclass for InnerSink {
        const NAME: &'static str = "GstRtmpRelaySinkLeaf";
        type Type = super::InnerSink;
        type ParentType = gst_base::BaseSink;
    }

    impl ObjectImpl for InnerSink {
        /// Data waits for receivers before the base class takes its lock: a change of state needs that, and does not
        /// interrupt `render` when the pipeline begins to play.
        fn constructed(&self) {
            self.parent_constructed();
            let pad = self.obj().static_pad("sink").expect("made from its template");
            let sink = self.obj().downgrade();
            let data = gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST;
            pad.add_probe(data, move |pad, _| {
                if let Some(sink) = sink.upgrade() {
                    sink.imp().wait_for_audience(pad);
                }
                gst::PadProbeReturn::Ok
            });
        }
    }
    impl GstObjectImpl for InnerSink {}

    impl ElementImpl for InnerSink {
        fn pad_templates() -> &'static [gst::PadTemplate] {
            static TEMPLATE: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
                let (sink, always) = (gst::PadDirection::Sink, gst::PadPresence::Always);
                vec![gst::PadTemplate::new("sink", sink, always, &TEMPLATES.all).expect("a constant")]
            });
            &TEMPLATE
        }
    }

    impl BaseSinkImpl for InnerSink {
        fn start(&self) -> Result<(), gst::ErrorMessage> {
            self.set_input(Input::Nothing);
            Ok(())
        }

        fn stop(&self) -> Result<(), gst::ErrorMessage> {
            self.set_input(Input::Nothing);
            Ok(())
        }

        fn caps(&self, filter: Option<&gst::Caps>) -> Option<gst::Caps> {
            let caps = &self.context.get()?.caps;
            Some(filter.map_or_else(
                || caps.clone(),
                |filter| filter.intersect_with_mode(caps, gst::CapsIntersectMode::First),
            ))
        }

        fn set_caps(&self, caps: &gst::Caps) -> Result<(), gst::LoggableError> {
            self.take_caps(caps).map_err(|error| {
                let text = format!("{error:?}");
                self.obj().post_error_message(error);
                gst::loggable_error!(CAT, "{text}")
            })
        }

        fn event(&self, event: gst::Event) -> bool {
            match event.view() {
                gst::EventView::Tag(tags) => {
                    if let Some(context) = self.context.get() {
                        context.muxer.add_tags(context.pad, tags.tag());
                    }
                }
                gst::EventView::FlushStop(flush) if flush.resets_time() => self.flush(event.seqnum()),
                gst::EventView::Eos(_) if self.finish_flv().is_err() => return false,
                _ => {}
            }
            self.parent_event(event)
        }

        fn unlock(&self) -> Result<(), gst::ErrorMessage> {
            // The pad has been told to take no data, if that is why.
            if let Some(context) = self.context.get() {
                context.audience.wake();
            }
            Ok(())
        }

        fn render(&self, buffer: &gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
            let context = self.context.get().ok_or(gst::FlowError::NotLinked)?;
            let map = buffer.map_readable().map_err(|_| self.fail_with("a buffer cannot be read"))?;
            if self.kind() == Kind::Nothing {
                // Without caps it can only be a byte stream, as from a file.
                context.muxer.set_flv(context.pad).map_err(|error| self.fail(error))?;
                self.set_input(Input::Flv(Box::new(FlvInput::new())));
            }
            match &mut *self.input.lock() {
                Input::Track(track) => self.render_unit(context, track, buffer, &map)?,
                Input::Flv(flv) => self.render_flv(context, flv, buffer, &map)?,
                Input::Nothing => {}
            }
            Ok(gst::FlowSuccess::Ok)
        }
    }

    impl InnerSink {
        /// Returns when somebody receives the stream, or the pad takes no data any more.
        fn wait_for_audience(&self, pad: &gst::Pad) {
            let Some(context) = self.context.get() else { return };
            context.audience.wait(|| pad.pad_flags().contains(gst::PadFlags::FLUSHING));
        }

        fn kind(&self) -> Kind {
            *self.kind.lock()
        }

        fn set_input(&self, input: Input) {
            let kind = match &input {
                Input::Nothing => Kind::Nothing,
                Input::Flv(_) => Kind::Flv,
                Input::Track(track) if track.caps.is_video() => Kind::VideoTrack,
                Input::Track(_) => Kind::AudioTrack,
            };
            *self.input.lock() = input;
            *self.kind.lock() = kind;
        }

        fn take_caps(&self, caps: &gst::Caps) -> Result<(), gst::ErrorMessage> {
            let Some(context) = self.context.get() else { return Ok(()) };
            let content = caps::read(caps).map_err(|why| failure(gst::StreamError::Format, &why))?;
            match content {
                Content::Track(caps) => {
                    context.muxer.set_track(context.pad, &caps)?;
                    if let Some(warning) = caps.warning() {
                        gst::element_imp_warning!(self, gst::StreamError::Format, ("{warning}"));
                    }
                    self.set_input(Input::Track(TrackInput { caps, has_warned: false }));
                    Ok(())
                }
                Content::Flv(headers) => self.take_flv(context, &headers),
            }
        }

        /// Sends the headers in the caps: where the stream has begun earlier they do not come again.
        fn take_flv(&self, context: &PadContext, headers: &[gst::Buffer]) -> Result<(), gst::ErrorMessage> {
            context.muxer.set_flv(context.pad)?;
            if self.kind() != Kind::Flv {
                self.set_input(Input::Flv(Box::new(FlvInput::new())));
            }
            let mut input = self.input.lock();
            let Input::Flv(flv) = &mut *input else { return Ok(()) };
            let mut reader = FlvStream::new(MAX_TAG);
            for header in headers.iter().filter_map(|header| header.map_readable().ok()) {
                let mut bytes = &header[..];
                while let Ok(Some(frame)) = reader.read(&mut bytes) {
                    if frame.is_config() && !flv.is_repeated(&frame) {
                        let pushed = context.muxer.push_frame(context.pad, frame);
                        pushed.map_err(|error| failure(gst::ResourceError::Write, &error.to_string()))?;
                    }
                }
            }
            Ok(())
        }

        fn flush(&self, seqnum: gst::Seqnum) {
            if let Some(context) = self.context.get() {
                context.muxer.flush(context.pad, seqnum);
                context.audience.set_ending(false);
            }
            if let Input::Flv(flv) = &mut *self.input.lock() {
                flv.anchor = None;
                flv.stream = FlvStream::new(MAX_TAG);
            }
        }

        /// The running time of a buffer's time stamp in nanoseconds.
        fn running_ns(&self, time: Option<gst::ClockTime>) -> Option<i64> {
            let segment = self.obj().segment().downcast::<gst::ClockTime>().ok()?;
            let running = segment.to_running_time_full(time?)?;
            Some(match running {
                gst::Signed::Positive(time) => clock_time_nanos(time),
                gst::Signed::Negative(time) => i64::try_from(time.nseconds()).map_or(i64::MIN, |time| -time),
            })
        }

        fn render_unit(
            &self,
            context: &PadContext,
            track: &mut TrackInput,
            buffer: &gst::BufferRef,
            data: &[u8],
        ) -> Result<(), gst::FlowError> {
            if is_header(track.caps.codec, data) {
                return Ok(());
            }
            let flags = buffer.flags();
            let unit = AccessUnit {
                pts_ns: self.running_ns(buffer.pts()),
                dts_ns: self.running_ns(buffer.dts()),
                keyframe: track.caps.is_video() && !flags.contains(gst::BufferFlags::DELTA_UNIT),
                discardable: flags.contains(gst::BufferFlags::DROPPABLE),
                data,
            };
            match context.muxer.push_unit(context.pad, &unit) {
                Ok(()) => Ok(()),
                Err(error) if error.kind() == ErrorKind::Closed => {
                    Err(self.fail(failure(gst::ResourceError::Write, &error.to_string())))
                }
                Err(error) => {
                    // The next one may be good: it does not end the pipeline.
                    if !std::mem::replace(&mut track.has_warned, true) {
                        let text = format!("left out: {error}");
                        gst::element_imp_warning!(self, gst::StreamError::Format, ("{text}"));
                    }
                    gst::debug!(CAT, imp = self, "left out: {error}");
                    Ok(())
                }
            }
        }

        fn render_flv(
            &self,
            context: &PadContext,
            flv: &mut FlvInput,
            buffer: &gst::BufferRef,
            data: &[u8],
        ) -> Result<(), gst::FlowError> {
            let mut rest = data;
            loop {
                match flv.stream.read(&mut rest) {
                    Ok(Some(frame)) if flv.is_repeated(&frame) => {}
                    Ok(Some(frame)) => self.send(context, flv, frame, buffer)?,
                    Ok(None) => return Ok(()),
                    Err(error) if flv.stream.is_refused() => return Err(self.no_flv(&error)),
                    // What follows may be tags again.
                    Err(error) => {
                        gst::element_imp_warning!(self, gst::StreamError::Format, ("left out: {error}"));
                    }
                }
            }
        }

        /// Sends what was held back until more came, as no more does; fails where there was nothing of FLV in all of it.
        fn finish_flv(&self) -> Result<(), gst::FlowError> {
            let Some(context) = self.context.get() else { return Ok(()) };
            let mut input = self.input.lock();
            let Input::Flv(flv) = &mut *input else { return Ok(()) };
            while let Some(frame) = flv.stream.finish().map_err(|error| self.no_flv(&error))? {
                if !flv.is_repeated(&frame) {
                    self.send(context, flv, frame, &gst::Buffer::new())?;
                }
            }
            Ok(())
        }

        fn no_flv(&self, error: &streamengine::Error) -> gst::FlowError {
            self.fail(failure(gst::StreamError::WrongType, &format!("no FLV: {error}")))
        }

        fn send(
            &self,
            context: &PadContext,
            flv: &mut FlvInput,
            mut frame: Frame,
            buffer: &gst::BufferRef,
        ) -> Result<(), gst::FlowError> {
            if !frame.is_config() {
                let stamped = self.running_ns(buffer.dts_or_pts());
                let anchor = self.anchor(context, flv, frame.timestamp, stamped);
                let elapsed = frame.timestamp.saturating_sub(anchor.flv_ms);
                if stamped.is_none() {
                    self.pace(anchor.running_ns.saturating_add(millis_to_nanos(elapsed)))?;
                }
                frame.timestamp = anchor.stream_ms.saturating_add(elapsed).max(0);
            } else if let Some(anchor) = flv.anchor {
                let elapsed = frame.timestamp.saturating_sub(anchor.flv_ms);
                frame.timestamp = anchor.stream_ms.saturating_add(elapsed).max(0);
            }
            let pushed = context.muxer.push_frame(context.pad, frame);
            pushed.map_err(|error| self.fail(failure(gst::ResourceError::Write, &error.to_string())))
        }

        /// Where FLV time `flv_ms` lies in the stream: by the buffer's time, or by the clock.
        fn anchor(
            &self,
            context: &PadContext,
            flv: &mut FlvInput,
            flv_ms: i64,
            stamped: Option<i64>,
        ) -> Anchor {
            let anchor = match flv.anchor {
                Some(anchor) if flv_ms < anchor.last_ms.saturating_sub(JUMP_MS) => anchor.continued(flv_ms),
                Some(anchor) => Anchor { last_ms: flv_ms, ..anchor },
                None => {
                    let now = || self.obj().current_running_time().map_or(0, clock_time_nanos);
                    let running_ns = stamped.unwrap_or_else(now);
                    let stream_ms = context.muxer.place(running_ns);
                    Anchor { flv_ms, stream_ms, running_ns, last_ms: flv_ms }
                }
            };
            flv.anchor = Some(anchor);
            anchor
        }

        /// Waits until a running time has come: buffers of a file have no times that the base class could wait for.
        fn pace(&self, running_ns: i64) -> Result<(), gst::FlowError> {
            let sink = self.obj();
            if !sink.is_sync() {
                return Ok(());
            }
            let running_ns = running_ns.saturating_add(sink.ts_offset());
            let time = clock_time_of_nanos(running_ns);
            sink.wait(time).0.map(drop)
        }

        fn fail_with(&self, text: &str) -> gst::FlowError {
            self.fail(failure(gst::StreamError::Failed, text))
        }

        fn fail(&self, message: gst::ErrorMessage) -> gst::FlowError {
            self.obj().post_error_message(message);
            gst::FlowError::Error
        }
    }
}

/// Headers of the Ogg mappings come as buffers too; RTMP has them in the sequence header.
fn is_header(codec: Codec, data: &[u8]) -> bool {
    match codec {
        Codec::Opus => data.starts_with(b"OpusHead") || data.starts_with(b"OpusTags"),
        // All FLAC frames start with the sync code; blocks of metadata do not.
        Codec::Flac => data.first() != Some(&0xff),
        _ => false,
    }
}
