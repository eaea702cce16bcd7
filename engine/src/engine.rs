//! The engine: the only public door. Starts, stops and drains; listeners, relays, file jobs, publishers and
//! subscribers come and go at run time.

mod handle;
mod reload;
mod sampler;

pub use handle::WeakEngine;

#[cfg(feature = "http")]
use crate::assets::Assets;
use crate::auth::{AddressRules, Authorize, Exchange, Gate as AuthGate, LastRule, UrlSigner};
use crate::config::{
    self, AppConfig, Config, Decider, FileConfig, OriginConfig, PublisherConfig, PullConfig, PushConfig,
    PushTuning, RecordConfig, RecordWhen, SubscriberConfig,
};
use crate::events::{Event, EventReceiver, Events};
#[cfg(feature = "http")]
use crate::hooks::Hooks;
use crate::hub::{EndReason, StreamWatcher};
use crate::id::{FileId, ListenerId, RecordingId, RelayId, SessionId};
use crate::key::StreamKey;
#[cfg(feature = "keys")]
use crate::keys::{self, Keys};
use crate::limits::ms;
use crate::local::{Publisher, Subscriber, block_on};
#[cfg(feature = "http")]
use crate::log_tail::LogTail;
use crate::media::looping::{Clip, Repeat};
use crate::net::{Accepted, Admission, Listener, ListeningSocket, Proxies, ServerTls, TlsIdentity};
use crate::preflight;
use crate::record;
use crate::service::file_loop::{FileJobs, OpenedFiles};
#[cfg(feature = "http")]
use crate::service::http;
use crate::service::record::{Recorders, Until};
use crate::service::relay::Relays;
use crate::service::rtmp;
use crate::service::streams::{self, Published};
use crate::service::{Core, Current};
use crate::statistics::{Sample, Snapshot};
use crate::status::{
    EngineStats, FileState, FileStatus, ListenerInfo, OriginStatus, Protocol, RecordedFile, RecordingStatus,
    RelayStatus, SessionInfo, SessionRole, StreamInfo,
};
use crate::url::parse_tc_url;
use crate::{Error, ErrorKind, Result};
use ipnet::IpNet;
use parking_lot::Mutex;
use reload::{Configured, identity_of, listen_lists};
use sampler::Sampler;
use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::{Handle, Runtime};
use tokio_util::sync::CancellationToken;

/// Ended resume windows are looked for this often.
const SWEEP_PERIOD: Duration = Duration::from_secs(1);

bound! {
    /// How long dropping an engine waits for its threads
    /// (test `dropping_an_engine_whose_authoriser_hangs_waits_no_longer_than_two_seconds`).
    const STOP_TIMEOUT: Duration = Duration::from_secs(2), without Duration::from_secs(1 << 30);
}

/// Builds an [`Engine`].
#[derive(Default)]
pub struct EngineBuilder {
    config: Config,
    authorizer: Option<Arc<dyn Authorize>>,
    #[cfg(feature = "http")]
    assets: Assets,
    #[cfg(feature = "http")]
    log_tail: Option<LogTail>,
    events: Events,
}

impl EngineBuilder {
    /// Takes a whole configuration; later calls change it.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Listens for RTMP on `address`; port 0 takes any free one, see [`Engine::listeners`].
    #[must_use]
    pub fn listen_rtmp(mut self, address: SocketAddr) -> Self {
        self.config.rtmp.listen.push(address);
        self
    }

    /// Listens for players over HTTP on `address`; port 0 takes any free one, see [`Engine::listeners`].
    #[cfg(feature = "http")]
    #[must_use]
    pub fn listen_http(mut self, address: SocketAddr) -> Self {
        self.config.http.listen.push(address);
        self
    }

    /// Lets `authorizer` decide who may publish and play. Where it passes ([`Ticket::pass`](crate::Ticket::pass)), the
    /// configuration's rule decides.
    #[must_use]
    pub fn authorize(mut self, authorizer: impl Authorize) -> Self {
        self.authorizer = Some(Arc::new(authorizer));
        self
    }

    /// Has files for browsers served over HTTP, the page of a player above all: those of the crate `streamengine-web`, or
    /// your own.
    #[cfg(feature = "http")]
    #[must_use]
    pub fn assets(mut self, assets: Assets) -> Self {
        self.assets = assets;
        self
    }

    /// Has admins read the newest lines of the log over HTTP, at `/api/v1/log`; the program puts them in.
    #[cfg(feature = "http")]
    #[must_use]
    pub fn log_tail(mut self, tail: LogTail) -> Self {
        self.log_tail = Some(tail);
        self
    }

    /// Watches events from the very start; [`Engine::events`] may miss those of the start itself.
    pub fn events(&self) -> EventReceiver {
        self.events.subscribe()
    }

    /// Calls `sink` with every event, from the very start, on the thread where it happens: it must be quick and not wait.
    #[must_use]
    pub fn on_event(mut self, sink: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        self.events.add_sink(sink);
        self
    }

    /// Finds out what [`Self::start`] would find wrong, but for addresses that cannot be listened on: values that do not
    /// fit, certificates and media files that cannot be used, relays that bring a stream back to this engine. Reads media
    /// files to their end; starts nothing.
    ///
    /// # Errors
    /// The first that is found, with the name of the key or file.
    pub fn check(&self) -> Result<()> {
        check_order(&self.config, self.authorizer.is_some())?;
        preflight::check(&self.config)
    }

    /// Starts the engine on threads of its own: opens the listeners, starts relays and file jobs of the
    /// configuration.
    ///
    /// # Errors
    /// A configuration that does not fit together, an address in use, an unreadable certificate or file. Nothing
    /// is left running then.
    pub fn start(self) -> Result<Engine> {
        check_order(&self.config, self.authorizer.is_some())?;
        preflight::check_start(&self.config)?;
        let runtime = runtime(self.config.engine.threads())?;
        #[cfg_attr(
            not(any(feature = "http", feature = "keys")),
            expect(unused_mut, reason = "nobody else decides")
        )]
        let mut deciders = Deciders { program: self.authorizer, ..Deciders::default() };
        #[cfg_attr(not(feature = "http"), expect(unused_mut, reason = "nobody else watches"))]
        let mut events = self.events;
        #[cfg(feature = "keys")]
        let keys = keys::open_configured(&self.config.keys, runtime.handle())?;
        #[cfg(feature = "keys")]
        {
            deciders.keys = keys.as_ref().map(|keys| keys.decider(self.config.keys.play));
        }
        #[cfg(feature = "http")]
        let hooks = Hooks::new(&self.config);
        #[cfg(feature = "http")]
        if let Some(hooks) = hooks.clone() {
            deciders.hooks = Some(Arc::new(hooks.clone()));
            events.add_sink(move |event| hooks.on_event(event));
        }
        #[cfg(feature = "keys")]
        let users = keys.as_ref().and_then(Keys::passwords);
        #[cfg(not(feature = "keys"))]
        let users = None;
        let (auth, exchange) = (gate(&self.config, &deciders), Exchange::new(&self.config, users)?);
        #[cfg_attr(
            not(any(feature = "http", feature = "keys")),
            expect(unused_mut, reason = "nothing more belongs to it")
        )]
        let mut core = Core::with(Current::new(self.config, auth, exchange), events);
        #[cfg(feature = "http")]
        {
            let config = core.config();
            core.login.put(core.login.read(&config.http)?);
            core.hls.run_on(runtime.handle());
            core.hls.sweep(config.apps.values().chain([&config.default_app]).map(|app| &app.hls));
            (core.assets, core.hooks, core.log_tail) = (self.assets, hooks, self.log_tail);
        }
        #[cfg(feature = "keys")]
        {
            core.keys = keys;
        }
        let core = Arc::new(core);
        let engine = Engine { inner: Arc::new(Inner::new(core, deciders, runtime)) };
        #[cfg(feature = "http")]
        engine.inner.core.manager.get_or_init(|| Arc::new(engine.downgrade()));
        engine.start_configured()?;
        Ok(engine)
    }
}

/// A program that decides is asked.
fn check_order(config: &Config, has_program: bool) -> Result<()> {
    match !has_program || config.auth.order.contains(&Decider::Program) {
        true => Ok(()),
        false => {
            let text = "auth.order leaves the program out, which decides here";
            Err(Error::new(ErrorKind::InvalidArgument, text))
        }
    }
}

/// Who decides, beside what the configuration says itself.
#[derive(Default, Clone)]
struct Deciders {
    keys: Option<Arc<dyn Authorize>>,
    hooks: Option<Arc<dyn Authorize>>,
    program: Option<Arc<dyn Authorize>>,
}

/// Who is asked whether somebody may publish or play, in the order of the configuration.
fn gate(config: &Config, others: &Deciders) -> AuthGate {
    let addresses = AddressRules::of(config);
    let last = LastRule { rule: config.publish_rule(), addresses: addresses.clone() };
    let decider = |decider: &Decider| -> Option<Arc<dyn Authorize>> {
        match decider {
            Decider::Addresses => {
                config.all_access().next()?;
                Some(Arc::new(addresses.clone()))
            }
            Decider::SignedUrls => Some(Arc::new(UrlSigner::new(&config.signed_urls)?)),
            Decider::Keys => others.keys.clone(),
            Decider::Hooks => others.hooks.clone(),
            Decider::Program => others.program.clone(),
        }
    };
    let mut deciders: Vec<_> = config.auth.order.iter().filter_map(decider).collect();
    deciders.push(Arc::new(last));
    AuthGate::new(&deciders, &config.limits)
}

fn runtime(threads: usize) -> Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name("streamengine")
        // Sockets are looked at between so many turns of tasks. The default, 61, lets a few dozen peers that flood us hold
        // all others up for a tenth of a second.
        .event_interval(8)
        .on_thread_start(block_signals)
        .enable_all()
        .build()
        .map_err(|cause| Error::io("start the engine's threads", cause))
}

/// Signals are the host's affair: none is delivered to the engine's own threads, so that the host's handlers run on the
/// host's threads. SIGPIPE above all: writing to a connection that the peer has reset must be an error, not the end of
/// a host that leaves this signal at its default, as C programs do; and so must writing to a file that has got as large as
/// files may be (SIGXFSZ). What a thread does to itself is let through (faults,
/// aborting), and so are profilers.
fn block_signals() {
    #[cfg(unix)]
    {
        use nix::sys::signal::{SigSet, Signal::*};
        let mut set = SigSet::all();
        for own in [SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS, SIGPROF] {
            set.remove(own);
        }
        if let Err(error) = set.thread_block() {
            tracing::warn!("cannot block signals on this thread: {error}");
        }
    }
}

/// An RTMP engine: serves, relays and loops live streams. Cheap to clone; the last clone dropped stops it.
///
/// Several engines can live in one process; they share nothing.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    core: Arc<Core>,
    handle: Handle,
    /// Taken when the engine is dropped.
    runtime: Option<Runtime>,
    relays: Arc<Relays>,
    files: Arc<FileJobs>,
    recorders: Arc<Recorders>,
    admission: Arc<Admission>,
    listeners: Mutex<BTreeMap<ListenerId, Listening>>,
    deciders: Deciders,
    /// Locked for as long as the configuration is changed.
    configured: Mutex<Configured>,
    since: Instant,
}

struct Listening {
    info: ListenerInfo,
    tls: Option<Arc<ServerTls>>,
    proxies: Proxies,
    socket: ListeningSocket,
    stop: CancellationToken,
    /// Cancelled when the socket is closed.
    closed: CancellationToken,
}

/// A listener that is bound and accepts nothing yet.
struct Opened {
    listening: Listening,
    accepting: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// Who may tell other addresses than their own to listeners of a protocol.
fn proxies_of(config: &Config, protocol: Protocol) -> &[IpNet] {
    match protocol {
        Protocol::Rtmp => &config.rtmp.proxy_protocol_from,
        Protocol::Rtmps => &config.rtmps.proxy_protocol_from,
        Protocol::Http => &config.http.proxy_protocol_from,
        Protocol::Https => &config.https.proxy_protocol_from,
    }
}

impl Engine {
    /// Starts the making of an engine.
    pub fn builder() -> EngineBuilder {
        EngineBuilder::default()
    }

    /// Opens an RTMP listener; port 0 takes any free one.
    ///
    /// # Errors
    /// The address cannot be bound: `listen rtmp on 127.0.0.1:1935: Address already in use`.
    pub fn listen_rtmp(&self, address: SocketAddr) -> Result<ListenerInfo> {
        self.listen(Protocol::Rtmp, address, None, rtmp::accept)
    }

    /// Opens an RTMPS listener with a certificate chain and key in PEM files, read again when they change.
    ///
    /// # Errors
    /// The address cannot be bound, or a file cannot be used.
    pub fn listen_rtmps(&self, address: SocketAddr, cert: &Path, key: &Path) -> Result<ListenerInfo> {
        self.listen_rtmps_with(address, TlsIdentity::files(cert, key))
    }

    /// [`Self::listen_rtmps`] with a certificate and key that may be text.
    ///
    /// # Errors
    /// As [`Self::listen_rtmps`].
    pub fn listen_rtmps_with(&self, address: SocketAddr, identity: TlsIdentity) -> Result<ListenerInfo> {
        self.listen(Protocol::Rtmps, address, Some(ServerTls::load(identity)?), rtmp::accept)
    }

    /// Opens a listener for players over HTTP, FLV and MP4, also by WebSocket; port 0 takes any free one.
    ///
    /// # Errors
    /// As [`Self::listen_rtmp`].
    #[cfg(feature = "http")]
    pub fn listen_http(&self, address: SocketAddr) -> Result<ListenerInfo> {
        self.listen(Protocol::Http, address, None, http::accept)
    }

    /// [`Self::listen_http`] over TLS, with a certificate and key as in [`Self::listen_rtmps_with`].
    ///
    /// # Errors
    /// As [`Self::listen_rtmps`].
    #[cfg(feature = "http")]
    pub fn listen_https(&self, address: SocketAddr, identity: TlsIdentity) -> Result<ListenerInfo> {
        let tls = ServerTls::load_for(identity, http::ALPN)?;
        self.listen(Protocol::Https, address, Some(tls), http::accept)
    }

    /// Gives a listener with TLS another certificate and key, or reads again what it has; for connections from now on.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] where there is none of that id, [`ErrorKind::State`] where it has no TLS; and where the
    /// certificate or key cannot be used: then those in use stay.
    pub fn reload_tls(&self, id: ListenerId, identity: Option<TlsIdentity>) -> Result<()> {
        let of = |listening: &Listening| (listening.tls.clone(), listening.info.protocol);
        let found = self.inner.listeners.lock().get(&id).map(of);
        let (tls, protocol) = found.ok_or_else(|| not_found("listener", id))?;
        let plain = || {
            Error::new(ErrorKind::State, format!("listener {id}: its protocol is {protocol}, without TLS"))
        };
        tls.ok_or_else(plain)?.replace(identity)
    }

    /// The open listeners.
    pub fn listeners(&self) -> Vec<ListenerInfo> {
        self.inner.listeners.lock().values().map(|listening| listening.info.clone()).collect()
    }

    /// Closes a listener. Its connections go on.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] where there is none of that id.
    pub fn close_listener(&self, id: ListenerId) -> Result<()> {
        self.take_listener(id).map(drop)
    }

    /// [`Self::close_listener`] on a thread that is not an async worker; the port is free when it returns.
    ///
    /// # Errors
    /// As [`Self::close_listener`]; [`ErrorKind::Deadlock`] on an async worker thread, though it is closed then too.
    pub fn blocking_close_listener(&self, id: ListenerId) -> Result<()> {
        let listening = self.take_listener(id)?;
        block_on(&self.inner.handle, listening.closed.cancelled())
    }

    fn take_listener(&self, id: ListenerId) -> Result<Listening> {
        let listening = self.inner.listeners.lock().remove(&id).ok_or_else(|| not_found("listener", id))?;
        self.inner.close(&listening);
        Ok(listening)
    }

    /// Publishes a stream from this program, under the policy of its app.
    ///
    /// # Errors
    /// [`ErrorKind::Exists`] where it has a publisher that the policy keeps, [`ErrorKind::NotFound`] for an app
    /// that the configuration does not list, [`ErrorKind::Closed`] while draining.
    pub fn publish(&self, key: &StreamKey) -> Result<Publisher> {
        self.publish_with(key, &PublisherConfig::default())
    }

    /// [`Self::publish`] with rules of its own in place of the app's.
    ///
    /// # Errors
    /// As [`Self::publish`].
    pub fn publish_with(&self, key: &StreamKey, config: &PublisherConfig) -> Result<Publisher> {
        config.check()?;
        config::check_not_of_origin(key)?;
        self.app(key)?;
        let inner = Published::by_engine(&self.inner.core, key, "program", &[], config)?;
        Ok(Publisher::new(inner))
    }

    /// Reads a stream in this program. It need not have a publisher yet.
    ///
    /// # Errors
    /// As for [`Self::publish`], but never [`ErrorKind::Exists`].
    pub fn subscribe(&self, key: &StreamKey) -> Result<Subscriber> {
        self.subscribe_with(key, &SubscriberConfig::default())
    }

    /// [`Self::subscribe`] with wishes of its own.
    ///
    /// # Errors
    /// As [`Self::subscribe`].
    pub fn subscribe_with(&self, key: &StreamKey, config: &SubscriberConfig) -> Result<Subscriber> {
        self.app(key)?;
        let inner = streams::subscribe_by_program(&self.inner.core, key, config)?;
        Ok(Subscriber::new(inner, self.inner.handle.clone()))
    }

    /// Pushes a local stream to another server, from now on and whenever it is live. Returns at once; see
    /// [`Self::relays`] for its state.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for a chunk size or a field of `connect` that cannot be, [`ErrorKind::Closed`] while
    /// draining.
    pub fn add_push(&self, push: PushConfig) -> Result<RelayId> {
        push.check()?;
        self.app(&push.stream)?;
        Ok(self.inner.relays.push(push))
    }

    /// Fetches a stream from another server into a local name. Returns at once; see [`Self::relays`].
    ///
    /// # Errors
    /// As [`Self::add_push`].
    pub fn add_pull(&self, pull: PullConfig) -> Result<RelayId> {
        pull.check()?;
        self.app(&pull.stream)?;
        Ok(self.inner.relays.pull(pull))
    }

    /// State and counters of all relays.
    pub fn relays(&self) -> Vec<RelayStatus> {
        self.inner.relays.list()
    }

    /// State and counters of one relay; `None` where there is none of that id.
    pub fn relay(&self, id: RelayId) -> Option<RelayStatus> {
        self.inner.relays.status(id)
    }

    /// Ends a relay: it unpublishes, or stops playing, in good order.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] where there is none of that id.
    pub fn remove_relay(&self, id: RelayId) -> Result<()> {
        self.inner.relays.remove(id)
    }

    /// Changes how a relay push connects, waits and leaves, from its next step on; a connection that stands is kept.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] where there is none of that id, [`ErrorKind::State`] where it is a pull,
    /// [`ErrorKind::InvalidArgument`] as in [`Self::add_push`].
    pub fn tune_push(&self, id: RelayId, tuning: PushTuning) -> Result<()> {
        tuning.check()?;
        self.inner.relays.tune(id, tuning)
    }

    /// Makes a relay try again at once, also one that has failed for good.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] where there is none of that id.
    pub fn restart_relay(&self, id: RelayId) -> Result<()> {
        self.inner.relays.restart(id)
    }

    /// Names servers by an alias, or changes which they are: whoever plays `origin/ALIAS/APP/STREAM` gets the stream from
    /// them, by one connection for all players. Players of its streams stay.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for what cannot be, [`ErrorKind::Closed`] while draining.
    pub fn set_origin(&self, alias: &str, origin: OriginConfig) -> Result<()> {
        origin.check(alias)?;
        if self.inner.core.draining.is_cancelled() {
            return Err(Error::new(ErrorKind::Closed, format!("origin {alias}: the engine is draining")));
        }
        self.inner.core.origins.set(alias, origin);
        Ok(())
    }

    /// Removes an alias; its streams end.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] where there is none of that name.
    pub fn remove_origin(&self, alias: &str) -> Result<()> {
        let removed = self.inner.core.origins.remove(alias);
        removed.then_some(()).ok_or_else(|| not_found("origin", crate::Printable(alias)))
    }

    /// All origins, by alias, with the streams that are fetched from them.
    pub fn origins(&self) -> Vec<OriginStatus> {
        self.inner.core.origins.list()
    }

    /// One of them; `None` where there is none of that name.
    pub fn origin(&self, alias: &str) -> Option<OriginStatus> {
        self.inner.core.origins.status(alias)
    }

    /// Plays media files, FLV or MP4, as a live stream, paced in real time, with a seamless seam. They are read through once
    /// before this returns, of long ones the first 64 MiB, of MP4 the tables of its samples. While a file is gone or being written, the job waits for it.
    ///
    /// # Errors
    /// A file cannot be read or is malformed (the text names the byte position), the stream has a publisher,
    /// draining.
    pub fn loop_file(&self, file: FileConfig) -> Result<FileId> {
        config::check_not_of_origin(&file.stream)?;
        self.app(&file.stream)?;
        self.inner.files.play(file)
    }

    /// [`Self::loop_file`] with clips that may lie in memory.
    ///
    /// # Errors
    /// As [`Self::loop_file`].
    pub fn loop_clips(&self, stream: &StreamKey, clips: Vec<Clip>, repeat: Repeat) -> Result<FileId> {
        config::check_not_of_origin(stream)?;
        self.app(stream)?;
        self.inner.files.play_clips(stream, clips, repeat)
    }

    /// State and progress of all file jobs; those that have ended stay listed until stopped.
    pub fn files(&self) -> Vec<FileStatus> {
        self.inner.files.list()
    }

    /// State and progress of one file job; `None` where there is none of that id.
    pub fn file(&self, id: FileId) -> Option<FileStatus> {
        self.inner.files.status(id)
    }

    /// Plays other files in place of those of a job, or the same ones from their beginning: that job ends, and players of its
    /// stream stay. They are read through once before this returns, as by [`Self::loop_file`].
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] where there is none of that id, [`ErrorKind::InvalidArgument`] where it plays another stream, and
    /// those of files; then the job goes on.
    pub fn replace_file(&self, id: FileId, file: FileConfig) -> Result<FileId> {
        let job = self.file(id).ok_or_else(|| not_found("file job", id))?;
        if job.stream != file.stream {
            let text = format!("file job {id} plays {}, not {}", job.stream, file.stream);
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        }
        self.app(&file.stream)?;
        let files = OpenedFiles::new(file)?;
        match job.state {
            FileState::Playing => self.inner.files.play_instead(id, files),
            // Its name is free, or another's.
            _ => {
                let publisher = self.inner.files.take_name(&files)?;
                let _ = self.inner.files.stop(id);
                Ok(self.inner.files.begin(files, publisher))
            }
        }
    }

    /// Ends a file job and its stream, and takes it off the list.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] where there is none of that id.
    pub fn stop_file(&self, id: FileId) -> Result<()> {
        self.inner.files.stop(id)
    }

    /// Records a stream as its app's configuration says, from its newest keyframe on, until [`Self::stop_recording`]: while nobody
    /// publishes it, it is waited for. Returns at once; see [`Self::recordings`].
    ///
    /// # Errors
    /// [`ErrorKind::State`] where the app records nothing (`record.when` is `off`), [`ErrorKind::Exists`] where the stream is being
    /// recorded, [`ErrorKind::NotFound`] for an app that the configuration does not list, [`ErrorKind::Closed`] while draining.
    pub fn record(&self, stream: &StreamKey) -> Result<RecordingId> {
        let config = self.app(stream)?.record.clone();
        if config.when == RecordWhen::Off {
            let text = format!("recording of {stream}: its app records nothing (record.when is \"off\")");
            return Err(Error::new(ErrorKind::State, text));
        }
        self.inner.recorders.record(stream, config, Until::Stopped)
    }

    /// [`Self::record`] with a configuration of its own, whatever the app's says.
    ///
    /// # Errors
    /// As [`Self::record`], but never [`ErrorKind::State`]; [`ErrorKind::InvalidArgument`] for what cannot be.
    pub fn record_with(&self, stream: &StreamKey, config: &RecordConfig) -> Result<RecordingId> {
        config.check_alone()?;
        self.app(stream)?;
        self.inner.recorders.record(stream, config.clone(), Until::Stopped)
    }

    /// Ends a recording and takes it off the list; its file becomes whole.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] where there is none of that id.
    pub fn stop_recording(&self, id: RecordingId) -> Result<()> {
        self.inner.recorders.stop(id)
    }

    /// Ends the file that a recording writes, with all that has been published so far: it is whole when this returns. What is
    /// published from then on begins another one.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] where there is none of that id; [`ErrorKind::Timeout`] where the disk has not taken all `within` that
    /// time: the file becomes whole in its own.
    pub async fn cut_recording(&self, id: RecordingId, within: Duration) -> Result<()> {
        self.inner.recorders.cut(id, within).await
    }

    /// State and progress of all recordings that go on.
    pub fn recordings(&self) -> Vec<RecordingStatus> {
        self.inner.recorders.list()
    }

    /// State and progress of one recording; `None` where there is none of that id.
    pub fn recording(&self, id: RecordingId) -> Option<RecordingStatus> {
        self.inner.recorders.status(id)
    }

    /// The recorded files of a stream in its app's folder, the oldest first; of very many the newest 10,000. Reads the disk.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] for an app that the configuration does not list, [`ErrorKind::State`] where it has no folder.
    pub fn recorded_files(&self, stream: &StreamKey) -> Result<Vec<RecordedFile>> {
        let app = self.inner.core.app(stream);
        let app = app.ok_or_else(|| not_found("app", stream.app()))?;
        let text = || format!("recordings of {stream}: its app has no folder for them (record.dir)");
        let dir = app.record.dir.as_ref().ok_or_else(|| Error::new(ErrorKind::State, text()))?;
        Ok(record::stream_files(dir, stream))
    }

    /// Recorded files of all streams in the folders of their apps, the newest first: `limit` of them and 1,000 at most, behind `after`
    /// where that is given; and what that is to be for the next ones, `None` where there are no more. Reads the disk.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for an `after` that this has not given.
    pub fn all_recorded_files(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<RecordedFile>, Option<String>)> {
        let invalid = |why: &str| {
            let text = format!("after {}: {why}", crate::Printable(after.unwrap_or_default()));
            Error::new(ErrorKind::InvalidArgument, text)
        };
        let after = after.map(str::parse::<record::Place>).transpose().map_err(invalid)?;
        let (files, last) = record::Library::of(&self.inner.core.config()).page(after.as_ref(), limit);
        Ok((files, last.map(|place| place.to_string())))
    }

    /// All streams, by name.
    pub fn streams(&self) -> Vec<StreamInfo> {
        self.inner.core.hub.streams()
    }

    /// One stream; `None` where there is none of that name.
    pub fn stream(&self, key: &StreamKey) -> Option<StreamInfo> {
        self.inner.core.hub.stream(key)
    }

    /// All connections.
    pub fn sessions(&self) -> Vec<SessionInfo> {
        self.inner.core.sessions.list()
    }

    /// One connection; `None` where there is none of that id.
    pub fn session(&self, id: SessionId) -> Option<SessionInfo> {
        self.inner.core.sessions.get(id)
    }

    /// Ends a connection; `reason` is told to it and to the log.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] where there is none of that id.
    pub fn kick(&self, session: SessionId, reason: &str) -> Result<()> {
        let kicked = self.inner.core.sessions.kick(session, reason);
        kicked.then_some(()).ok_or_else(|| not_found("session", session))
    }

    /// Ends the connections that something was granted for this credential ([`Grant::credential`](crate::Grant::credential));
    /// how many there were.
    pub fn kick_credential(&self, credential: &str, reason: &str) -> usize {
        self.inner.core.sessions.kick_credential(credential, reason)
    }

    /// The keys of publishers and players; `None` where the configuration names no database of them.
    #[cfg(feature = "keys")]
    pub fn keys(&self) -> Option<&Keys> {
        self.inner.core.keys.as_ref()
    }

    /// Waits on this thread for work that needs the engine's runtime, such as that of its [`Keys`](Self::keys).
    ///
    /// # Errors
    /// Those of the work; [`ErrorKind::Deadlock`] on an async worker thread.
    pub fn block_on<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        block_on(&self.inner.handle, work)?
    }

    /// Asks the peer of a connection to connect anew (E-RTMP), to `url` (`rtmp[s]://host[:port]/app[?query]`, its `tcUrl`)
    /// or to where it is. The connection goes on until the peer leaves it: one that does not like the place may stay.
    /// [`Self::drain`] asks all who follow such requests to come back to the same place.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] where there is none of that id, [`ErrorKind::Unsupported`] where the peer has not announced
    /// that it follows such requests, [`ErrorKind::InvalidArgument`] for what is no such URL.
    pub fn request_reconnect(&self, session: SessionId, url: Option<&str>) -> Result<()> {
        let invalid = |error| Error::new(ErrorKind::InvalidArgument, format!("reconnect: url: {error}"));
        let url = url.map(parse_tc_url).transpose().map_err(invalid)?;
        let asked = self.inner.core.sessions.request_reconnect(session, url.as_deref());
        let follows = asked.ok_or_else(|| not_found("session", session))?;
        let text = || format!("session {session}: the peer does not follow requests to connect anew");
        follows.then_some(()).ok_or_else(|| Error::new(ErrorKind::Unsupported, text()))
    }

    /// Has a connection that plays by RTMP go on with another stream: what it plays is that one from its newest keyframe on, where it
    /// may be played. Nobody is asked whether this peer may.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] where there is none of that id, [`ErrorKind::Unsupported`] where it is no player of RTMP.
    pub fn redirect(&self, session: SessionId, stream: &StreamKey) -> Result<()> {
        let redirected = self.inner.core.sessions.redirect(session, stream);
        let plays = redirected.ok_or_else(|| not_found("session", session))?;
        let text = || format!("session {session}: it is no player of RTMP");
        plays.then_some(()).ok_or_else(|| Error::new(ErrorKind::Unsupported, text()))
    }

    /// Ends a stream: its publisher and its players are told `reason`.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] where there is no such stream.
    pub fn kick_stream(&self, key: &StreamKey, reason: &str) -> Result<()> {
        let ended = self.inner.core.hub.end(key, EndReason::Kicked(reason.to_owned()));
        ended
            .then_some(())
            .ok_or_else(|| Error::new(ErrorKind::NotFound, format!("there is no stream {key}")))
    }

    /// Takes the right to publish a stream away from whoever has it: a connection is closed with `reason`, a relay or
    /// file ends its attempt. Players wait for another publisher for the resume window.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] where nobody publishes such a stream.
    pub fn kick_publisher(&self, key: &StreamKey, reason: &str) -> Result<()> {
        let evicted = self.inner.core.hub.evict(key, EndReason::Kicked(reason.to_owned()));
        let nobody = || Error::new(ErrorKind::NotFound, format!("nobody publishes the stream {key}"));
        evicted.then_some(()).ok_or_else(nobody)
    }

    /// Ends the connections that play a stream; how many there were.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] where there is no such stream.
    pub fn kick_players(&self, key: &StreamKey, reason: &str) -> Result<usize> {
        let missing = || Error::new(ErrorKind::NotFound, format!("there is no stream {key}"));
        self.stream(key).ok_or_else(missing)?;
        let plays = |session: &SessionInfo| {
            session.role == SessionRole::Player && session.stream.as_ref() == Some(key)
        };
        let players = self.sessions().into_iter().filter(plays);
        Ok(players.filter(|player| self.inner.core.sessions.kick(player.id, reason)).count())
    }

    /// Watches events from now on.
    pub fn events(&self) -> EventReceiver {
        self.inner.core.events.subscribe()
    }

    /// Watches which streams begin and end, and which are wanted: somebody waits to watch them, and nobody publishes
    /// them. What is there already is told first.
    ///
    /// For what works on every stream, such as a recorder, which [subscribes](Self::subscribe) where one has begun; and for
    /// publishing on demand, where one is wanted. Players wait for as long as
    /// [`AppConfig::wait_for_publisher_ms`](crate::AppConfig::wait_for_publisher_ms) says. Unlike [`Self::events`], which
    /// tells of every publisher that comes and goes, it loses nothing where the program is slow.
    pub fn watch_streams(&self) -> StreamWatcher {
        self.inner.core.hub.watch()
    }

    /// Counters of the whole engine.
    pub fn stats(&self) -> EngineStats {
        self.inner.sampler().stats(&self.streams(), &self.sessions())
    }

    /// The whole engine as it was at the newest second: streams with their rates, connections, relays, files and origins. It is made
    /// once for all who ask.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.inner.core.statistics.snapshot()
    }

    /// What the engine did in each of the last 600 seconds, the oldest first.
    pub fn history(&self) -> Vec<Sample> {
        self.inner.core.statistics.history()
    }

    /// The same of a stream, until ten minutes after its end; `None` where nothing is known of one of that name. Of
    /// [`Limits::history_streams`](crate::Limits::history_streams) streams it is kept.
    pub fn stream_history(&self, key: &StreamKey) -> Option<Vec<Sample>> {
        self.inner.core.statistics.history_of(key)
    }

    /// Ends everything in good order: no new connections, publishers and players are told, relays unpublish.
    /// Takes at most [`EngineConfig::drain_timeout_ms`](crate::EngineConfig::drain_timeout_ms). Works on any executor.
    ///
    /// Cancel safe in this sense: from the first poll on the engine drains, on its own threads, and goes on with it where the
    /// future is dropped. Another call then waits for what is left.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`] where some connection did not end in that time and was cut.
    pub async fn drain(&self) -> Result<()> {
        self.drain_within(ms(self.inner.core.config().engine.drain_timeout_ms)).await
    }

    /// [`Self::drain`] within another time than the configured one.
    ///
    /// # Errors
    /// As [`Self::drain`].
    pub async fn drain_within(&self, timeout: Duration) -> Result<()> {
        self.inner.close_listeners();
        let drained = self
            .inner
            .handle
            .spawn(drain(self.inner.core.clone(), self.inner.admission.clone(), timeout))
            .await;
        drained
            .unwrap_or_else(|_| Err(Error::new(ErrorKind::Closed, "the engine was stopped while draining")))
    }

    /// [`Self::drain`] on a thread that is not an async worker.
    ///
    /// # Errors
    /// As [`Self::drain`]; [`ErrorKind::Deadlock`] on an async worker thread.
    pub fn blocking_drain(&self) -> Result<()> {
        block_on(&self.inner.handle, self.drain())?
    }

    fn app(&self, key: &StreamKey) -> Result<Arc<AppConfig>> {
        let core = &self.inner.core;
        if core.draining.is_cancelled() {
            return Err(Error::new(ErrorKind::Closed, format!("stream {key}: the engine is draining")));
        }
        core.app(key).ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                format!("stream {key}: the configuration has no app {}", key.app()),
            )
        })
    }

    fn start_configured(&self) -> Result<()> {
        let (mut configured, config) = (self.inner.configured.lock(), self.config());
        for ((protocol, addresses), ids) in listen_lists(&config).into_iter().zip(&mut configured.listeners) {
            for &address in addresses {
                let opened = self.open_configured(protocol, address, &config, None)?;
                ids.push(self.inner.begin(opened).id);
            }
        }
        self.keep_house();
        self.inner.relays.serve_origins();
        configured.pull =
            config.pull.iter().cloned().map(|pull| self.add_pull(pull)).collect::<Result<_>>()?;
        configured.push =
            config.push.iter().cloned().map(|push| self.add_push(push)).collect::<Result<_>>()?;
        configured.file =
            config.file.iter().cloned().map(|file| self.loop_file(file)).collect::<Result<_>>()?;
        Ok(())
    }

    /// Starts the engine's own tasks.
    fn keep_house(&self) {
        let core = &self.inner.core;
        #[cfg(feature = "http")]
        if let Some(hooks) = core.hooks.clone() {
            // Draining waits until the service has been told of the ends.
            let telling = hooks.run(core.sessions.clone(), core.draining.clone());
            core.tasks.spawn_on(telling, &self.inner.handle);
        }
        self.until_drained(sweep(core.clone(), self.inner.admission.clone()));
        let freeing = core.clone();
        self.until_drained(async move { freeing.free_frames().await });
        self.until_drained(self.inner.relays.clone().serve_granted());
        self.until_drained(self.inner.recorders.clone().serve_all());
        self.until_drained(self.inner.recorders.clone().keep_house());
        let sessions = core.sessions.clone();
        self.until_drained(async move { sessions.end_in_time().await });
        self.until_drained(self.inner.sampler().run());
        #[cfg(feature = "keys")]
        if let Some(keys) = core.keys.clone() {
            let settling = ms(core.limits().auth_timeout_ms);
            self.until_drained(keys::watch(keys, core.sessions.clone(), settling));
        }
    }

    /// A task that serves nobody: it ends when the engine drains, which does not wait for it.
    fn until_drained(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.inner.handle.spawn(self.inner.core.draining.clone().run_until_cancelled_owned(task));
    }

    /// Opens a listener as the configuration has it, on a socket that is bound already where there is one.
    fn open_configured(
        &self,
        protocol: Protocol,
        address: SocketAddr,
        config: &Config,
        bound: Option<Listener>,
    ) -> Result<Opened> {
        let bind = || Listener::bind(protocol.as_str(), address);
        let _entered = self.inner.handle.enter();
        let tls = |alpn| {
            let identity = identity_of(config, protocol);
            identity.map(|identity| ServerTls::load_for(identity, alpn)).transpose()
        };
        match protocol {
            #[cfg(feature = "http")]
            Protocol::Http | Protocol::Https => {
                let tls = tls(http::ALPN)?;
                Ok(self.open(protocol, bound.map_or_else(bind, Ok)?, tls, config, http::accept))
            }
            _ => {
                let tls = tls(&[])?;
                Ok(self.open(protocol, bound.map_or_else(bind, Ok)?, tls, config, rtmp::accept))
            }
        }
    }

    /// Opens a listener and has each connection served by `serve`.
    fn listen<F, S>(
        &self,
        protocol: Protocol,
        address: SocketAddr,
        tls: Option<ServerTls>,
        serve: F,
    ) -> Result<ListenerInfo>
    where
        F: Fn(Arc<Core>, Accepted, Option<Arc<ServerTls>>) -> S + Send + Sync + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        if self.inner.core.draining.is_cancelled() {
            return Err(Error::new(
                ErrorKind::Closed,
                format!("listen on {address}: the engine is draining"),
            ));
        }
        let _entered = self.inner.handle.enter();
        let listener = Listener::bind(protocol.as_str(), address)?;
        let opened = self.open(protocol, listener, tls, &self.inner.core.config(), serve);
        Ok(self.inner.begin(opened))
    }

    fn open<F, S>(
        &self,
        protocol: Protocol,
        listener: Listener,
        tls: Option<ServerTls>,
        config: &Config,
        serve: F,
    ) -> Opened
    where
        F: Fn(Arc<Core>, Accepted, Option<Arc<ServerTls>>) -> S + Send + Sync + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        let (inner, tls) = (&self.inner, tls.map(Arc::new));
        let proxies = Proxies::new(proxies_of(config, protocol));
        let listener = listener.with_proxies(proxies.clone());
        let info = ListenerInfo { id: ListenerId::new(), protocol, address: listener.local_addr() };
        let stop = inner.core.draining.child_token();
        let core = inner.core.clone();
        let serving = tls.clone();
        let serve = move |accepted| serve(core.clone(), accepted, serving.clone());
        let core = inner.core.clone();
        let on_panic = move || {
            core.sessions.count_panic();
        };
        let (closed, socket) = (listener.closed(), listener.socket());
        let accepting = listener.run(inner.admission.clone(), stop.clone(), serve, on_panic);
        let listening = Listening { info, tls, proxies, socket, stop, closed };
        Opened { listening, accepting: Box::pin(accepting) }
    }
}

fn not_found(what: &str, id: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no {what} {id}"))
}

async fn sweep(core: Arc<Core>, admission: Arc<Admission>) {
    let mut ticks = tokio::time::interval(SWEEP_PERIOD);
    loop {
        ticks.tick().await;
        core.hub.sweep();
        tell_left_out(&core, &admission, false);
    }
}

/// Tells how many lines of the log are held back.
fn tell_left_out(core: &Core, admission: &Admission, at_once: bool) {
    core.log.tell_left_out(at_once);
    admission.tell_left_out(at_once);
}

async fn drain(core: Arc<Core>, admission: Arc<Admission>, timeout: Duration) -> Result<()> {
    core.draining.cancel();
    core.hub.end_all(&EndReason::Shutdown);
    core.tasks.close();
    let drained = tokio::time::timeout(timeout, core.tasks.wait()).await;
    tell_left_out(&core, &admission, true);
    drained.map_err(|_| {
        let left = core.sessions.list().len();
        Error::new(
            ErrorKind::Timeout,
            format!("draining took longer than {timeout:?}; {left} connections were cut"),
        )
    })
}

impl Inner {
    fn new(core: Arc<Core>, deciders: Deciders, runtime: Runtime) -> Self {
        Self {
            handle: runtime.handle().clone(),
            relays: Arc::new(Relays::new(core.clone(), runtime.handle().clone())),
            files: Arc::new(FileJobs::new(core.clone(), runtime.handle().clone())),
            recorders: Arc::new(Recorders::new(core.clone(), runtime.handle().clone())),
            runtime: Some(runtime),
            admission: Admission::new(&core.limits()),
            listeners: Mutex::default(),
            deciders,
            configured: Mutex::default(),
            since: Instant::now(),
            core,
        }
    }
}

impl Inner {
    /// What is made of another configuration. Who has been refused before is still known.
    fn current(&self, before: &Config, config: Config) -> Result<Current> {
        #[cfg_attr(not(feature = "keys"), expect(unused_mut, reason = "nobody else decides"))]
        let mut deciders = self.deciders.clone();
        #[cfg(feature = "keys")]
        {
            deciders.keys = self.core.keys.as_ref().map(|keys| keys.decider(config.keys.play));
        }
        let auth = gate(&config, &deciders).in_place_of(&self.core.auth());
        #[cfg(feature = "keys")]
        let users = self.core.keys.as_ref().and_then(Keys::passwords);
        #[cfg(not(feature = "keys"))]
        let users = None;
        // What encoders have been asked they may answer.
        let exchange = match before.publish == config.publish {
            true => self.core.exchange(),
            false => Exchange::new(&config, users)?,
        };
        Ok(Current::new(config, auth, exchange))
    }

    /// Lets a listener accept connections.
    fn begin(&self, Opened { listening, accepting }: Opened) -> ListenerInfo {
        let info = listening.info.clone();
        self.handle.spawn(self.core.tasks.track_future(accepting));
        self.listeners.lock().insert(info.id, listening);
        let ListenerInfo { id, protocol, address } = info;
        self.core.events.emit(Event::ListenerOpened { id, protocol, address });
        info
    }

    fn sampler(&self) -> Sampler {
        Sampler {
            core: self.core.clone(),
            relays: self.relays.clone(),
            files: self.files.clone(),
            admission: self.admission.clone(),
            since: self.since,
        }
    }

    fn close(&self, listening: &Listening) {
        listening.stop.cancel();
        let ListenerInfo { id, protocol, address } = listening.info;
        self.core.events.emit(Event::ListenerClosed { id, protocol, address });
    }

    fn close_listeners(&self) {
        let listeners = std::mem::take(&mut *self.listeners.lock());
        listeners.values().for_each(|listening| self.close(listening));
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close_listeners();
        self.core.draining.cancel();
        self.core.hub.end_all(&EndReason::Shutdown);
        self.core.hub.close();
        let Some(runtime) = self.runtime.take() else { return };
        // Waiting is not allowed on an async worker thread.
        match Handle::try_current() {
            Ok(_) => runtime.shutdown_background(),
            Err(_) => runtime.shutdown_timeout(STOP_TIMEOUT.get()),
        }
        tell_left_out(&self.core, &self.admission, true);
    }
}
