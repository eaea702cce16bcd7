//! The element: properties, signals, states and pads.

use super::counters::Totals;
use super::demuxing::StreamDemuxer;
use super::inner_element::{InnerSource, OutputFormat, PadContext};
use super::publishers::Publishers;
use super::queue::{Level, Queue};
use super::reader::Reader;
use super::settings::{self, SCHEMES, Settings};
use super::{CAT, caps};
use crate::host::{self, Claim, Endpoint, Pattern, Share};
use crate::time::clock_time;
use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};
use streamengine::media::FrameKind;

#[derive(Default)]
pub struct RtmpServerSrc {
    settings: Arc<Mutex<Settings>>,
    totals: Arc<Totals>,
    /// Counts how often the pipeline has begun to play.
    period: Arc<AtomicU64>,
    publishers: OnceLock<Arc<Publishers>>,
    /// The always pad.
    src: OnceLock<gst::GhostPad>,
    /// Of all pads of a run, so that players of one publisher belong together.
    group: Mutex<Option<gst::GroupId>>,
    open: Mutex<Option<Open>>,
    reader: Mutex<Option<Reader>>,
    output_pads: Mutex<Vec<OutputPad>>,
}

/// What is held from READY on.
struct Open {
    /// Given back before the share, whose end closes the server.
    _claim: Claim,
    share: Share,
    endpoint: Endpoint,
    pattern: Pattern,
}

/// An inner source with its pad; the always pad is no sometimes pad.
struct OutputPad {
    source: InnerSource,
    queue: Arc<Queue>,
    sometimes: Option<gst::GhostPad>,
}

#[glib::object_subclass]
impl ObjectSubclass for RtmpServerSrc {
    const NAME: &'static str = "GstRtmpServerSrc";
    type Type = super::RtmpServerSrc;
    type ParentType = gst::Bin;
    type Interfaces = (gst::URIHandler,);
}

impl ObjectImpl for RtmpServerSrc {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
            let mut all = settings::properties();
            all.push(
                glib::ParamSpecUInt::builder("current-port")
                    .nick("Current port")
                    .blurb("The TCP port really listened on; 0 while there is none")
                    .maximum(u16::MAX.into())
                    .read_only()
                    .build(),
            );
            all.push(
                glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
                    .nick("Statistics")
                    .blurb("Counters, and the publisher where there is one")
                    .read_only()
                    .build(),
            );
            all
        });
        &PROPERTIES
    }

    fn signals() -> &'static [glib::subclass::Signal] {
        static SIGNALS: LazyLock<Vec<glib::subclass::Signal>> = LazyLock::new(signals);
        &SIGNALS
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        let is_fixed = pspec.flags().bits() & gst::PARAM_FLAG_MUTABLE_PLAYING.bits() == 0;
        if is_fixed && self.obj().current_state() > gst::State::Ready {
            gst::warning!(CAT, imp = self, "{} can be changed up to READY only", pspec.name());
            return;
        }
        self.settings.lock().set(pspec.name(), value);
        self.publishers().settings_changed();
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        match pspec.name() {
            "current-port" => u32::from(self.current_port()).to_value(),
            "stats" => self.stats().to_value(),
            name => {
                let value = self.settings.lock().get(name);
                value.unwrap_or_else(|| pspec.default_value().clone())
            }
        }
    }

    fn constructed(&self) {
        self.parent_constructed();
        let element = self.obj();
        element.set_suppressed_flags(gst::ElementFlags::SOURCE | gst::ElementFlags::SINK);
        element.set_element_flags(gst::ElementFlags::SOURCE);
        let template = element.pad_template("src").expect("it is in pad_templates");
        let src = ghost_pad(&template, "src");
        element.add_pad(&src).expect("the first pad");
        let publishers = Publishers::new(&element, self.settings.clone(), self.totals.clone());
        // Constructed once only.
        let _ = (self.src.set(src), self.publishers.set(publishers));
    }
}

fn signals() -> Vec<glib::subclass::Signal> {
    let structure = gst::Structure::static_type();
    vec![
        glib::subclass::Signal::builder("publisher-connecting")
            .param_types([structure])
            .return_type::<bool>()
            .run_last()
            .class_handler(|_| Some(true.to_value()))
            .accumulator(|_hint, _accumulated, value| {
                // The first refusal counts.
                match value.get() {
                    Ok(false) => std::ops::ControlFlow::Break(value.clone()),
                    _ => std::ops::ControlFlow::Continue(value.clone()),
                }
            })
            .build(),
        glib::subclass::Signal::builder("stream-started").param_types([structure]).build(),
        glib::subclass::Signal::builder("stream-ended")
            .param_types([String::static_type(), structure])
            .build(),
        glib::subclass::Signal::builder("kick-publisher")
            .param_types([String::static_type()])
            .return_type::<bool>()
            .action()
            .class_handler(|values| {
                let element = values.first()?.get::<super::RtmpServerSrc>().ok()?;
                let reason = values.get(1)?.get::<Option<String>>().ok()?;
                let reason = reason.as_deref().unwrap_or("no reason given");
                Some(element.imp().publishers().kick(reason).to_value())
            })
            .build(),
    ]
}

impl GstObjectImpl for RtmpServerSrc {}

impl ElementImpl for RtmpServerSrc {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "RTMP server source",
                "Source/Network",
                "Takes in the stream of an RTMP publisher",
                "The streamengine developers",
            )
        });
        Some(&*METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            let template = |name, presence, caps| {
                gst::PadTemplate::new(name, gst::PadDirection::Src, presence, &caps)
                    .expect("name and presence fit together")
            };
            vec![
                template("src", gst::PadPresence::Always, flv_caps()),
                template("video", gst::PadPresence::Sometimes, caps::video_template()),
                template("audio", gst::PadPresence::Sometimes, caps::audio_template()),
            ]
        });
        &TEMPLATES
    }

    fn change_state(
        &self,
        transition: gst::StateChange,
    ) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        let prepared = match transition {
            gst::StateChange::NullToReady => self.open(),
            gst::StateChange::ReadyToPaused => self.open().and_then(|()| self.start()),
            gst::StateChange::PausedToPlaying => {
                self.period.fetch_add(1, Ordering::AcqRel);
                Ok(())
            }
            gst::StateChange::PausedToReady => {
                self.stop();
                Ok(())
            }
            _ => Ok(()),
        };
        if let Err(error) = prepared {
            self.post_error_message(error);
            return Err(gst::StateChangeError);
        }
        let result = self.parent_change_state(transition);
        match transition {
            gst::StateChange::ReadyToPaused if result.is_err() => self.stop(),
            gst::StateChange::PausedToReady => self.remove_output_pads(),
            gst::StateChange::ReadyToNull => self.close(),
            // Live: there is nothing before PLAYING, also where there is no inner source yet.
            gst::StateChange::ReadyToPaused | gst::StateChange::PlayingToPaused => {
                return result.map(|_| gst::StateChangeSuccess::NoPreroll);
            }
            _ => {}
        }
        result
    }

    fn send_event(&self, event: gst::Event) -> bool {
        let ends_nothing = event.type_() == gst::EventType::Eos && self.output_pads.lock().is_empty();
        if ends_nothing && self.reader.lock().is_some() {
            self.publishers().on_reader_event(super::reader::ReaderEvent::NothingToEnd);
            return false;
        }
        self.parent_send_event(event)
    }

    fn query(&self, query: &mut gst::QueryRef) -> bool {
        let gst::QueryViewMut::Latency(latency) = query.view_mut() else { return self.parent_query(query) };
        let settings = self.settings.lock();
        latency.set(true, clock_time(settings.latency()), settings.max_latency().map(clock_time));
        true
    }
}

impl BinImpl for RtmpServerSrc {}

impl URIHandlerImpl for RtmpServerSrc {
    const URI_TYPE: gst::URIType = gst::URIType::Src;

    fn protocols() -> &'static [&'static str] {
        &SCHEMES
    }

    fn uri(&self) -> Option<String> {
        Some(self.settings.lock().uri())
    }

    fn set_uri(&self, uri: &str) -> Result<(), glib::Error> {
        if self.obj().current_state() > gst::State::Ready {
            return Err(glib::Error::new(gst::URIError::BadState, "The URI can be changed up to READY only"));
        }
        let set = self.settings.lock().set_uri(uri);
        set.map_err(|what| {
            glib::Error::new(gst::URIError::BadUri, &format!("Not a URI to listen at: {what}"))
        })
    }
}

impl RtmpServerSrc {
    pub(super) fn shared(&self) -> (Arc<Mutex<Settings>>, Arc<Totals>) {
        (self.settings.clone(), self.totals.clone())
    }

    fn publishers(&self) -> &Arc<Publishers> {
        self.publishers.get().expect("set on construction")
    }

    fn src(&self) -> &gst::GhostPad {
        self.src.get().expect("set on construction")
    }

    /// Opens the server as the settings say, unless that is open already.
    fn open(&self) -> Result<(), gst::ErrorMessage> {
        let (endpoint, pattern) = {
            let settings = self.settings.lock();
            (settings.endpoint()?, settings.pattern()?)
        };
        let mut open = self.open.lock();
        if open.as_ref().is_some_and(|open| open.endpoint == endpoint && open.pattern == pattern) {
            return Ok(());
        }
        *open = None;
        let share = host::open(Some(endpoint.clone()))?;
        let owner = Arc::new(self.publishers().clone());
        let claim = share.claim(pattern.clone(), &*self.obj(), owner)?;
        *open = Some(Open { _claim: claim, share, endpoint, pattern });
        drop(open);
        self.tell_address();
        Ok(())
    }

    fn close(&self) {
        let open = self.open.lock().take();
        drop(open);
        self.obj().notify("current-port");
    }

    fn current_port(&self) -> u16 {
        let open = self.open.lock();
        let listener = open.iter().flat_map(|open| open.share.listeners()).next();
        listener.map_or(0, |first| first.address.port())
    }

    fn tell_address(&self) {
        let element = self.obj();
        element.notify("current-port");
        let listeners = match &*self.open.lock() {
            Some(open) => open.share.listeners(),
            None => return,
        };
        let (application, stream, has_key) = {
            let settings = self.settings.lock();
            let stream = settings.stream.clone().unwrap_or_else(|| "STREAM".to_owned());
            (settings.application.clone(), stream, settings.publish_key.is_some())
        };
        for listener in listeners {
            let url = format!("{}://{}/{application}/{stream}", listener.protocol, listener.address);
            gst::info!(CAT, imp = self, "publish to {url}");
            if !has_key && !listener.address.ip().is_loopback() {
                gst::warning!(
                    CAT,
                    imp = self,
                    "anybody who reaches {url} may publish: publish-key is not set"
                );
            }
            let told = gst::Structure::builder("rtmpserversrc-listening").field("url", url).build();
            // Nobody may be listening.
            let _ = element.post_message(gst::message::Element::builder(told).src(&*element).build());
        }
    }

    /// Begins to take publishers in.
    fn start(&self) -> Result<(), gst::ErrorMessage> {
        self.begin_group();
        let element = self.obj();
        let demuxer = match self.src().is_linked() {
            true => StreamDemuxer::flv(&element, self.expose_flv()?),
            false => StreamDemuxer::pads(&element),
        };
        let open = self.open.lock();
        let Some(open) = &*open else { return Err(cannot_start("it is not open")) };
        let publishers = self.publishers().clone();
        let dispatcher = open.share.dispatcher().clone();
        let report = {
            let dispatcher = dispatcher.clone();
            let publishers = publishers.clone();
            move |event| {
                let publishers = publishers.clone();
                dispatcher.post(move || publishers.on_reader_event(event));
            }
        };
        let reader = Reader::start(demuxer, self.settings.clone(), report)
            .map_err(|error| cannot_start(&error.to_string()))?;
        publishers.start(open.share.engine().clone(), dispatcher, reader.commands());
        *self.reader.lock() = Some(reader);
        Ok(())
    }

    fn stop(&self) {
        self.publishers().stop();
        let reader = self.reader.lock().take();
        drop(reader);
    }

    /// What starts from now on does not belong to what came before.
    pub(super) fn begin_group(&self) {
        *self.group.lock() = Some(gst::GroupId::next());
    }

    fn expose_flv(&self) -> Result<Arc<Queue>, gst::ErrorMessage> {
        let queue = Arc::new(Queue::default());
        queue.push(super::queue::Item::Caps(flv_caps()));
        let source = InnerSource::new("flv", self.pad_context(&queue, OutputFormat::Flv), Some(flv_caps()));
        let element = self.obj();
        element.add(&source).map_err(|error| cannot_start(&error.to_string()))?;
        let pad = source.static_pad("src");
        self.src().set_target(pad.as_ref()).map_err(|error| cannot_start(&error.to_string()))?;
        self.output_pads.lock().push(OutputPad { source, queue: queue.clone(), sometimes: None });
        Ok(queue)
    }

    /// Adds the pad of a track and starts what feeds it. Called by the reader.
    pub(super) fn expose(&self, kind: FrameKind, caps: &gst::Caps, queue: Arc<Queue>) {
        let name = if kind == FrameKind::Video { "video" } else { "audio" };
        if let Err(error) = self.try_expose(name, caps, queue) {
            gst::element_imp_error!(self, gst::CoreError::Pad, ("Cannot add the pad {name}: {error}"));
        }
    }

    fn try_expose(&self, name: &str, caps: &gst::Caps, queue: Arc<Queue>) -> Result<(), glib::BoolError> {
        let element = self.obj();
        let source =
            InnerSource::new(name, self.pad_context(&queue, OutputFormat::Elementary), Some(caps.clone()));
        // It must not start before somebody can have linked the pad.
        source.set_locked_state(true);
        element.add(&source)?;
        let template = element.pad_template(name).ok_or_else(|| glib::bool_error!("no template"))?;
        let pad = ghost_pad(&template, name);
        pad.set_target(source.static_pad("src").as_ref())?;
        pad.set_active(true)?;
        let id = self.stream_id(name);
        let start = gst::event::StreamStart::builder(&id).group_id_if_some(*self.group.lock()).build();
        let _ = (pad.store_sticky_event(&start), pad.store_sticky_event(&gst::event::Caps::new(caps)));
        self.output_pads.lock().push(OutputPad {
            source: source.clone(),
            queue,
            sometimes: Some(pad.clone()),
        });
        element.add_pad(&pad)?;
        source.set_locked_state(false);
        source.sync_state_with_parent()
    }

    fn pad_context(&self, queue: &Arc<Queue>, format: OutputFormat) -> PadContext {
        let settings = self.settings.lock();
        let (latency, max_latency) = (settings.latency(), settings.max_latency());
        PadContext { queue: queue.clone(), format, period: self.period.clone(), latency, max_latency }
    }

    fn remove_output_pads(&self) {
        let element = self.obj();
        for output_pad in std::mem::take(&mut *self.output_pads.lock()) {
            match output_pad.sometimes {
                Some(pad) => drop(element.remove_pad(&pad)),
                None => drop(self.src().set_target(gst::Pad::NONE)),
            }
            output_pad.source.set_locked_state(false);
            let _ = output_pad.source.set_state(gst::State::Null);
            let _ = element.remove(&output_pad.source);
        }
    }

    /// What the streams of one element and publisher are called in every run.
    pub(super) fn stream_id(&self, pad: &str) -> String {
        format!("{}/{pad}", self.settings.lock().uri())
    }

    fn stats(&self) -> gst::Structure {
        let mut stats = gst::Structure::new_empty("application/x-rtmpserversrc-stats");
        self.totals.add_to(&mut stats);
        let levels: Vec<Level> =
            self.output_pads.lock().iter().map(|output_pad| output_pad.queue.level()).collect();
        let bytes: usize = levels.iter().map(|level| level.bytes).sum();
        let time = levels.iter().map(|level| level.time).max().unwrap_or_default();
        stats.set("queue-bytes", bytes as u64);
        stats.set("queue-time", clock_time(time).nseconds());
        self.publishers().add_to(&mut stats);
        stats
    }
}

fn flv_caps() -> gst::Caps {
    gst::Caps::new_empty_simple("video/x-flv")
}

/// A ghost pad on which it is no failure that nobody is linked.
fn ghost_pad(template: &gst::PadTemplate, name: &str) -> gst::GhostPad {
    let has_lost = AtomicBool::new(false);
    gst::GhostPad::builder_from_template(template)
        .name(name)
        .proxy_pad_chain_function(move |proxy, parent, buffer| pass(proxy, parent, buffer, &has_lost))
        .proxy_pad_event_function(|proxy, parent, event| match is_known(parent, &event) {
            true => true,
            false => gst::Pad::event_default(proxy, parent, named(parent, event)),
        })
        .build()
}

/// Passes a buffer on. Without a peer it is dropped; after that, streams go on at a frame that can be decoded.
fn pass(
    proxy: &gst::ProxyPad,
    parent: Option<&gst::Object>,
    buffer: gst::Buffer,
    has_lost: &AtomicBool,
) -> Result<gst::FlowSuccess, gst::FlowError> {
    let needs_others = buffer.flags().contains(gst::BufferFlags::DELTA_UNIT);
    if needs_others && has_lost.load(Ordering::Relaxed) {
        return Ok(gst::FlowSuccess::Ok);
    }
    let result = gst::ProxyPad::chain_default(proxy, parent, buffer);
    let is_lost = result == Err(gst::FlowError::NotLinked);
    has_lost.store(is_lost, Ordering::Relaxed);
    if is_lost { Ok(gst::FlowSuccess::Ok) } else { result }
}

/// Whether these are the caps that the pad has already. It hands them on by itself; parsers that get them twice put
/// parameter sets into the stream.
fn is_known(parent: Option<&gst::Object>, event: &gst::Event) -> bool {
    let gst::EventView::Caps(caps) = event.view() else { return false };
    let pad = parent.and_then(|parent| parent.downcast_ref::<gst::GhostPad>());
    pad.and_then(|pad| pad.current_caps()).is_some_and(|known| known.as_ref() == caps.caps())
}

/// Gives STREAM_START the name and group of the element's streams in place of those of the inner source.
fn named(parent: Option<&gst::Object>, event: gst::Event) -> gst::Event {
    let gst::EventView::StreamStart(start) = event.view() else { return event };
    let Some(pad) = parent.and_then(|parent| parent.downcast_ref::<gst::GhostPad>()) else { return event };
    let Some(element) = pad.parent().and_downcast::<super::RtmpServerSrc>() else { return event };
    let id = element.imp().stream_id(&pad.name());
    let group = *element.imp().group.lock();
    gst::event::StreamStart::builder(&id).seqnum(start.seqnum()).group_id_if_some(group).build()
}

fn cannot_start(why: &str) -> gst::ErrorMessage {
    host::failure(gst::ResourceError::Failed, &format!("Cannot start: {why}"))
}
