//! The element: what GStreamer and the server call, and in which order things start and stop.

use super::audience::Audience;
use super::caps::TEMPLATES;
use super::drain::Drain;
use super::inner_element::InnerSink;
use super::keyframes::KeyframeRequests;
use super::muxing::StreamMuxer;
use super::recorder::Recorder;
use super::settings::{PROPERTIES, Settings};
use super::signals::signals;
use super::targets::{PushContext, Targets};
use super::{CAT, RtmpRelaySink as Element, stats};
use crate::dispatcher::Dispatcher;
use crate::host::{self, Claim, Pattern, Share, failure};
use gst::glib;
use gst::glib::subclass::Signal;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use parking_lot::Mutex;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::Duration;
use streamengine::{Engine, ListenerInfo, Protocol, PublisherConfig, SessionRole, StreamKey, Takeover};

/// What exists from READY on: the server, and the right to the stream's name.
struct Service {
    /// Before the share: it is given back first.
    _claim: Claim,
    share: Share,
    key: StreamKey,
    /// The stream is published (PAUSED and up).
    is_published: bool,
}

#[derive(Default)]
pub struct RtmpRelaySink {
    pub(super) settings: Mutex<Settings>,
    service: Mutex<Option<Service>>,
    pub(super) targets: Mutex<Targets>,
    pub(super) muxer: Arc<StreamMuxer>,
    pub(super) audience: Arc<Audience>,
    pub(super) drain: Arc<Drain>,
    pub(super) recorder: Recorder,
    pub(super) keyframe_requests: KeyframeRequests,
    pub(super) last_pad: AtomicU32,
}

#[glib::object_subclass]
impl ObjectSubclass for RtmpRelaySink {
    const NAME: &'static str = "GstRtmpRelaySink";
    type Type = Element;
    type ParentType = gst::Bin;
}

impl ObjectImpl for RtmpRelaySink {
    fn properties() -> &'static [glib::ParamSpec] {
        &PROPERTIES
    }

    fn signals() -> &'static [Signal] {
        static SIGNALS: LazyLock<Vec<Signal>> = LazyLock::new(signals);
        &SIGNALS
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        self.settings.lock().set(pspec.name(), value);
        self.apply(pspec.name());
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        match pspec.name() {
            "current-port" => self.current_port(Protocol::Rtmp).to_value(),
            "current-http-port" => self.current_port(Protocol::Http).to_value(),
            "current-https-port" => self.current_port(Protocol::Https).to_value(),
            "stats" => self.stats().to_value(),
            name => self.settings.lock().get(name),
        }
    }

    fn constructed(&self) {
        self.parent_constructed();
        let element = self.obj();
        element.set_suppressed_flags(gst::ElementFlags::SOURCE | gst::ElementFlags::SINK);
        // An end that the application asks for (Ctrl-C with `gst-launch-1.0 -e`) is told to sources only, and they may just be
        // waiting for this sink. It is none, but has to hear of it: see `send_event`.
        element.set_element_flags(gst::ElementFlags::SINK | gst::ElementFlags::SOURCE);
        if let Err(error) = self.add_always_pad() {
            gst::error!(CAT, imp = self, "no pad: {error}");
        }
    }
}

impl GstObjectImpl for RtmpRelaySink {}

impl ElementImpl for RtmpRelaySink {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "RTMP relay sink",
                "Sink/Network",
                "Serves a stream to players over RTMP and HTTP from this process, and pushes it to RTMP servers",
                "The streamengine developers",
            )
        });
        Some(&*METADATA)
    }

    fn send_event(&self, event: gst::Event) -> bool {
        if event.type_() == gst::EventType::Eos {
            // It comes by the pads too, behind the data.
            self.audience.set_ending(true);
            self.drain_if_complete();
            return true;
        }
        self.parent_send_event(event)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static LIST: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            use gst::PadPresence::{Always, Request};
            let pad = |name: &str, presence, caps: &gst::Caps| {
                gst::PadTemplate::new(name, gst::PadDirection::Sink, presence, caps).expect("a constant")
            };
            // The first that fits is taken when elements are linked without naming a pad: were the always pad first, a
            // second link would find it taken and fail.
            vec![
                pad("sink_%u", Request, &TEMPLATES.all),
                pad("video", Request, &TEMPLATES.video),
                pad("audio", Request, &TEMPLATES.audio),
                pad("sink", Always, &TEMPLATES.all),
            ]
        });
        &LIST
    }

    fn request_new_pad(
        &self,
        template: &gst::PadTemplate,
        name: Option<&str>,
        _caps: Option<&gst::Caps>,
    ) -> Option<gst::Pad> {
        let made = self.add_request_pad(template, name);
        made.inspect_err(|error| gst::warning!(CAT, imp = self, "no pad: {error}")).ok()
    }

    fn release_pad(&self, pad: &gst::Pad) {
        if let Some(ghost) = pad.downcast_ref::<gst::GhostPad>() {
            self.remove_inner_sink(ghost);
        }
        let _ = pad.set_active(false);
        let _ = self.obj().remove_pad(pad);
    }

    fn change_state(
        &self,
        transition: gst::StateChange,
    ) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        let prepared = match transition {
            gst::StateChange::NullToReady => self.open(),
            gst::StateChange::ReadyToPaused => {
                self.open().and_then(|()| self.publish()).map(|()| self.warn_of_urls())
            }
            _ => Ok(()),
        };
        if let Err(error) = prepared {
            self.post_error_message(error);
            if transition == gst::StateChange::NullToReady {
                self.close();
            }
            return Err(gst::StateChangeError);
        }
        let changed = self.parent_change_state(transition);
        match transition {
            gst::StateChange::PausedToPlaying => self.look_for_forgotten_pads(),
            gst::StateChange::PausedToReady => self.unpublish(),
            gst::StateChange::ReadyToNull => self.close(),
            gst::StateChange::ReadyToPaused if changed.is_err() => self.unpublish(),
            gst::StateChange::NullToReady if changed.is_err() => self.close(),
            _ => {}
        }
        changed
    }
}

impl BinImpl for RtmpRelaySink {
    fn handle_message(&self, message: gst::Message) {
        let is_eos = matches!(message.view(), gst::MessageView::Eos(_));
        if is_eos && message.src().is_some_and(|source| source.is::<InnerSink>()) {
            self.drain.hold(message);
            self.drain_if_complete();
        } else {
            self.parent_handle_message(message);
        }
    }
}

/// States.
impl RtmpRelaySink {
    /// Listens, and claims the stream's name; where that is done already, as the properties say now.
    fn open(&self) -> Result<(), gst::ErrorMessage> {
        let settings = self.settings.lock().clone();
        let (endpoint, key) = (settings.endpoint()?, settings.key()?);
        let open = self.service.lock().take();
        if let Some(service) =
            open.filter(|service| service.share.is_at(endpoint.as_ref()) && service.key == key)
        {
            *self.service.lock() = Some(service);
            return Ok(());
        }
        let share = host::open(endpoint)?;
        let owner = Arc::new(self.obj().downgrade());
        let claim = share.claim(Pattern::Stream(key.clone()), &*self.obj(), owner)?;
        let listeners = share.listeners();
        *self.service.lock() = Some(Service { _claim: claim, share, key: key.clone(), is_published: false });
        self.notify_ports();
        for listener in listeners {
            let url = url(&listener, &key);
            gst::info!(CAT, imp = self, "players: {url}{}", hint(listener.address.ip()));
            let info = gst::Structure::builder("rtmprelaysink-listening").field("url", url).build();
            self.post(info);
        }
        Ok(())
    }

    /// Begins the stream, and to connect to targets.
    fn publish(&self) -> Result<(), gst::ErrorMessage> {
        let settings = self.settings.lock().clone();
        let mut service = self.service.lock();
        let service = service.as_mut().ok_or_else(|| failure(gst::CoreError::StateChange, "not open"))?;
        let config = PublisherConfig::default().takeover(Takeover::Reject).resume_window_ms(0);
        let publisher = service.share.engine().publish_with(&service.key, &config);
        let publisher = publisher.map_err(|error| failure(gst::ResourceError::Busy, &error.to_string()))?;
        self.audience.reset();
        self.audience.set_waits(settings.wait_for_connection);
        self.keyframe_requests.reset();
        service.is_published = true;
        // Before the first frame.
        let recorded = self.record(service, &settings);
        recorded.map_err(|error| failure(gst::ResourceError::Settings, &error.to_string()))?;
        self.muxer.start(publisher, settings.policy(), settings.enhanced, settings.metadata.clone());
        let run =
            PushContext { engine: service.share.engine(), key: &service.key, settings: &settings.target };
        let mut targets = self.targets.lock();
        let urls = urls(&settings);
        let started = targets.set_urls(&urls, None).and_then(|()| targets.start(&run));
        started.map_err(|error| failure(gst::ResourceError::Settings, &error))
    }

    /// Begins to record, where that is wanted, or ends it where it is no longer.
    fn record(&self, service: &Service, settings: &Settings) -> Result<(), streamengine::Error> {
        match settings.recording() {
            Some(config) => self.recorder.start(service.share.engine(), &service.key, &config),
            None => {
                self.recorder.stop();
                Ok(())
            }
        }
    }

    /// Ends the stream for players and targets, for whom it does not wait, and the recording, whose file is whole then.
    fn unpublish(&self) {
        self.drain.cancel();
        if let Some(service) = &mut *self.service.lock() {
            service.is_published = false;
            self.muxer.stop();
            self.targets.lock().stop(service.share.engine());
        }
        self.audience.set_targets(0);
        if self.recorder.is_running() {
            let element = self.obj().clone();
            // On a thread of its own: the caller's may be an async worker, where waiting is not allowed.
            let _ = thread::spawn(move || element.imp().cut_recording()).join();
            self.recorder.stop();
        }
    }

    /// Waits until what was recorded is a whole file, but no longer than an end may take.
    fn cut_recording(&self) {
        let timeout = Duration::from_millis(self.settings.lock().drain_timeout.into());
        if let Err(error) = self.recorder.cut(timeout) {
            self.warn(gst::ResourceError::Write, &error.to_string());
        }
    }

    /// Gives the name and the server back. The last element of a server closes it, in bounded time.
    fn close(&self) {
        let service = self.service.lock().take();
        let was_open = service.is_some();
        // Without the lock: handlers of the application may run meanwhile, and ask for statistics.
        drop(service);
        if was_open {
            self.notify_ports();
        }
    }

    fn notify_ports(&self) {
        for property in ["current-port", "current-http-port", "current-https-port"] {
            self.obj().notify(property);
        }
    }

    pub(super) fn engine(&self) -> Option<Engine> {
        self.service.lock().as_ref().map(|service| service.share.engine().clone())
    }

    /// The thread for signals and messages, while the element is open.
    pub(super) fn dispatcher(&self) -> Option<Dispatcher> {
        self.service.lock().as_ref().map(|service| service.share.dispatcher().clone())
    }

    fn current_port(&self, protocol: Protocol) -> u32 {
        let service = self.service.lock();
        let mut listeners = service.iter().flat_map(|service| service.share.listeners());
        let listener = listeners.find(|listener| listener.protocol == protocol);
        listener.map_or(0, |listener| listener.address.port().into())
    }

    /// Lets a changed property hold where it may change in this state.
    fn apply(&self, name: &str) {
        let settings = self.settings.lock().clone();
        match name {
            "sync" | "ts-offset" => {
                for inner in self.inner_sinks().iter().filter_map(|inner| inner.downcast_ref::<InnerSink>()) {
                    inner.set_sync(settings.sync);
                    inner.set_ts_offset(settings.ts_offset);
                }
            }
            "max-queue-time" | "max-queue-bytes" | "gop-cache" | "gop-cache-max-bytes" => {
                self.muxer.set_policy(settings.policy());
            }
            "wait-for-connection" => self.audience.set_waits(settings.wait_for_connection),
            "metadata" if self.is_published() => self.muxer.set_metadata(settings.metadata),
            "record-location" => {
                let recorded = {
                    let service = self.service.lock();
                    let published = service.as_ref().filter(|service| service.is_published);
                    published.map_or(Ok(()), |service| self.record(service, &settings))
                };
                if let Err(error) = recorded {
                    self.warn(gst::ResourceError::Settings, &error.to_string());
                }
            }
            "location" | "targets" => {
                let urls = urls(&settings);
                let set = self.with_targets(|targets, run| targets.set_urls(&urls, run));
                if let (Err(error), true) = (set, self.is_published()) {
                    gst::element_imp_warning!(self, gst::ResourceError::Settings, ("{error}"));
                }
            }
            "reconnect" | "reconnect-min" | "reconnect-max" | "max-reconnects" | "connect-timeout"
            | "write-timeout" | "chunk-size" | "tls-validation" | "ca-file" => {
                self.with_targets(|targets, run| {
                    if let Some(run) = run {
                        targets.tune(run);
                    }
                });
            }
            _ => {}
        }
    }

    fn is_published(&self) -> bool {
        self.service.lock().as_ref().is_some_and(|service| service.is_published)
    }

    /// Works on the targets; with what runs them, while the stream is published.
    pub(super) fn with_targets<T>(
        &self,
        work: impl FnOnce(&mut Targets, Option<&PushContext<'_>>) -> T,
    ) -> T {
        let settings = self.settings.lock().target.clone();
        let (result, is_running) =
            {
                let service = self.service.lock();
                let run = service.as_ref().filter(|service| service.is_published).map(|service| {
                    PushContext { engine: service.share.engine(), key: &service.key, settings: &settings }
                });
                (work(&mut self.targets.lock(), run.as_ref()), run.is_some())
            };
        // Before, nobody would hear it.
        if is_running {
            self.warn_of_urls();
        }
        result
    }

    /// Says what was ignored in the URLs of targets.
    fn warn_of_urls(&self) {
        let notes = self.targets.lock().take_notes();
        for note in notes {
            gst::element_imp_warning!(self, gst::ResourceError::Settings, ("{note}"));
        }
    }

    fn stats(&self) -> gst::Structure {
        let (engine, key) = {
            let service = self.service.lock();
            let known = service.as_ref();
            (known.map(|service| service.share.engine().clone()), known.map(|service| service.key.clone()))
        };
        let (targets, bytes_to_targets) = self.targets.lock().stats(engine.as_ref());
        stats::structure(stats::Sources {
            engine: engine.as_ref(),
            key: key.as_ref(),
            totals: self.audience.totals(),
            video_bit_rate: self.muxer.video_bit_rate(),
            codecs: self.muxer.codecs(),
            targets,
            bytes_to_targets,
            recording: self.recorder.stats(),
        })
    }
}

fn urls(settings: &Settings) -> Vec<String> {
    settings.location.iter().chain(&settings.targets).cloned().collect()
}

/// Where players find a stream on a listener.
fn url(listener: &ListenerInfo, key: &StreamKey) -> String {
    let ending = match listener.protocol {
        Protocol::Http | Protocol::Https => ".flv",
        _ => "",
    };
    format!("{}://{}/{key}{ending}", listener.protocol, listener.address)
}

fn hint(address: std::net::IpAddr) -> &'static str {
    if address.is_loopback() { " (this machine only; address=0.0.0.0 lets others in)" } else { "" }
}

/// Whether anything has come to an inner sink, be it that something will come.
fn has_stream(inner: &gst::Element) -> bool {
    inner.static_pad("sink").is_some_and(|pad| pad.sticky_event::<gst::event::StreamStart>(0).is_some())
}

/// The end of the stream.
impl RtmpRelaySink {
    pub(super) fn drain_if_complete(&self) {
        // Where the application asks for the end, a demuxer may end before it has shown all its tracks: it tells the pads that it
        // has, and no other.
        let is_ending = self.audience.is_ending();
        let is_waited_for = |inner: &gst::Element| !is_ending || has_stream(inner);
        if !self.drain.complete(&self.inner_sinks(), is_waited_for) {
            return;
        }
        let timeout = Duration::from_millis(self.settings.lock().drain_timeout.into());
        let [ended, asked, told] = [(); 3].map(|()| self.obj().downgrade());
        let begin = move || {
            if let Some(element) = ended.upgrade() {
                element.imp().cut_recording();
            }
        };
        let is_drained = move || asked.upgrade().is_none_or(|element| element.imp().is_drained());
        self.drain.start(timeout, begin, is_drained, move |messages| {
            if let Some(element) = told.upgrade() {
                messages.into_iter().for_each(|message| element.imp().parent_handle_message(message));
            }
        });
    }

    /// Whether everybody who can has taken all that has come.
    fn is_drained(&self) -> bool {
        let Some(engine) = self.engine() else { return true };
        let is_caught_up = |session: streamengine::SessionInfo| {
            session.role != SessionRole::Player
                || !self.audience.is_player(session.id)
                || session.is_caught_up
        };
        engine.sessions().into_iter().all(is_caught_up) && self.targets.lock().is_drained(&engine)
    }
}
