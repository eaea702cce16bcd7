//! The servers of this process: elements that name the same address and port share one engine and its listeners.
//!
//! ```text
//!   element ──open──> Share ──claim──> Claim: a stream name, and who answers for it
//!                       │ └──────────> listeners for HTTP            (each ends with the last share that asks for it)
//!                     Server: engine, listeners, dispatcher     (one per address and port; ends with the last share)
//! ```
//! A request to publish or play goes to the owner of the claim for its stream; so do that stream's events. Owners are
//! called on the server's [`Dispatcher`], never on an I/O thread.

use crate::dispatcher::Dispatcher;
use gst::prelude::*;
use parking_lot::Mutex;
use std::error::Error as _;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::thread;
use streamengine::{
    AuthRequest, Config, Engine, ErrorKind, Event, ListenerInfo, SessionId, StreamKey, Ticket, TlsIdentity,
};

streamengine::bound! {
    /// Time in which a server that is closed takes leave of its peers. A state change waits for it, so it is short
    /// (test `a_player_that_reads_nothing_holds_up_no_state_change`).
    const DRAIN_MS: u64 = 1_500, without 1 << 40;
}

/// All servers that listen.
static SERVERS: Mutex<Vec<Weak<Server>>> = Mutex::new(Vec::new());

/// What an element posts as its error: `text` for people, that names the object and the cause.
pub(crate) fn failure(kind: impl gst::MessageErrorDomain, text: &str) -> gst::ErrorMessage {
    gst::ErrorMessage::new(&kind, Some(text), None, file!(), module_path!(), line!())
}

/// Where an element wants its server to listen. Elements with the same address share it, and have to want the same protocols
/// there; HTTP is what each wants besides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// Of the first listener; port 0 takes any free one, and is never shared.
    address: SocketAddr,
    protocols: Protocols,
    http: Vec<HttpEndpoint>,
    has_dashboard: bool,
}

/// A port of the same address for players over HTTP, or HTTPS. Elements of one server that want the same share it; port 0
/// takes any free one, and is never shared.
#[derive(Debug, Clone, PartialEq, Eq)]
struct HttpEndpoint {
    port: u16,
    tls: Option<TlsFiles>,
}

/// What is spoken there.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Protocols {
    Plain,
    /// Plain RTMP, and RTMPS at another port of the same address.
    Both(u16, TlsFiles),
    Tls(TlsFiles),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct TlsFiles {
    certificate: PathBuf,
    key: PathBuf,
}

impl Endpoint {
    /// The endpoint at an IP address (or `localhost`) and port.
    ///
    /// # Errors
    /// The address is a host name: looking one up could block a state change.
    pub(crate) fn new(address: &str, port: u16) -> Result<Self, gst::ErrorMessage> {
        let ip = match address.trim_matches(['[', ']']) {
            "localhost" => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            text => text.parse().ok(),
        };
        let ip = ip.ok_or_else(|| {
            failure(
                gst::ResourceError::Settings,
                &format!(
                    "address \"{address}\": not an IP address; give one such as 127.0.0.1, 0.0.0.0 or ::1"
                ),
            )
        })?;
        let address = SocketAddr::new(ip, port);
        Ok(Self { address, protocols: Protocols::Plain, http: Vec::new(), has_dashboard: true })
    }

    /// [`Self::new`] for RTMPS alone.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub(crate) fn tls_only(
        address: &str,
        port: u16,
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Result<Self, gst::ErrorMessage> {
        let files = TlsFiles { certificate: certificate.into(), key: key.into() };
        Ok(Self { protocols: Protocols::Tls(files), ..Self::new(address, port)? })
    }

    /// The same with an RTMPS listener at `port` of the same address.
    pub(crate) fn with_tls(
        mut self,
        port: u16,
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Self {
        let files = TlsFiles { certificate: certificate.into(), key: key.into() };
        self.protocols = Protocols::Both(port, files);
        self
    }

    /// The same with a listener for players over HTTP at `port` of the same address.
    pub(crate) fn with_http(mut self, port: u16) -> Self {
        self.http.push(HttpEndpoint { port, tls: None });
        self
    }

    /// The same with one for players over HTTPS.
    pub(crate) fn with_https(
        mut self,
        port: u16,
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Self {
        let files = TlsFiles { certificate: certificate.into(), key: key.into() };
        self.http.push(HttpEndpoint { port, tls: Some(files) });
        self
    }

    /// The same without the dashboard on what is served over HTTP.
    pub(crate) fn without_dashboard(mut self) -> Self {
        self.has_dashboard = false;
        self
    }

    fn is_shared(&self) -> bool {
        self.address.port() != 0
    }

    fn leaves_dashboard_out(&self) -> bool {
        !self.http.is_empty() && !self.has_dashboard
    }
}

/// As users type it: `rtmp://127.0.0.1:1935`.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if matches!(self.protocols, Protocols::Tls(_)) { "rtmps" } else { "rtmp" };
        write!(f, "{scheme}://{}", self.address)
    }
}

/// What an element claims of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Pattern {
    /// One stream.
    Stream(StreamKey),
    /// All streams of an app that nobody claims by name.
    App(String),
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stream(key) => key.fmt(f),
            Self::App(app) => write!(f, "{app}/*"),
        }
    }
}

/// Who answers for a claimed stream. Called on the dispatcher, without any lock held.
pub(crate) trait Owner: Send + Sync {
    /// Decides a request to publish or play. No answer for three seconds is a refusal, and the handler of an
    /// application may have taken that long for earlier ones: see [`Ticket::is_abandoned`].
    fn authorize(&self, request: AuthRequest, ticket: Ticket);

    /// Takes an event of the stream; [`Event::SessionClosed`] comes for every connection of the server.
    fn event(&self, event: &Event);
}

struct Claimed {
    number: u64,
    pattern: Pattern,
    /// Path of the element in its pipeline, for the error of another.
    element: String,
    owner: Arc<dyn Owner>,
}

/// Who answers for which stream.
#[derive(Default)]
struct Claims {
    list: Mutex<(u64, Vec<Claimed>)>,
}

impl Claims {
    fn owner(&self, key: &StreamKey) -> Option<Arc<dyn Owner>> {
        let list = self.list.lock();
        let find = |pattern: Pattern| list.1.iter().find(|claimed| claimed.pattern == pattern);
        let found = find(Pattern::Stream(key.clone())).or_else(|| find(Pattern::App(key.app().to_owned())));
        found.map(|claimed| claimed.owner.clone())
    }

    fn all(&self) -> Vec<Arc<dyn Owner>> {
        self.list.lock().1.iter().map(|claimed| claimed.owner.clone()).collect()
    }

    /// Puts an event before those whom it concerns.
    fn route(&self, event: &Event, dispatcher: &Dispatcher) {
        let owners = match event.stream() {
            Some(stream) => self.owner(stream).into_iter().collect(),
            // A connection that has ended may have been anybody's.
            None if matches!(event, Event::SessionClosed { .. }) => self.all(),
            None => Vec::new(),
        };
        for owner in owners {
            let event = event.clone();
            dispatcher.post(move || owner.event(&event));
        }
    }

    fn ask(&self, request: AuthRequest, ticket: Ticket, dispatcher: &Dispatcher) {
        match self.owner(request.stream()) {
            // Where too many wait the ticket is dropped, which refuses.
            Some(owner) => dispatcher.post_request(move || owner.authorize(request, ticket)),
            None => ticket.reject("there is no such stream here"),
        }
    }
}

/// One engine with its listeners.
struct Server {
    engine: Engine,
    endpoint: Option<Endpoint>,
    listeners: Vec<ListenerInfo>,
    /// Those that shares have asked for.
    http: Mutex<Vec<Weak<HttpListener>>>,
    dashboard: Arc<Dashboard>,
    dispatcher: Dispatcher,
    claims: Arc<Claims>,
}

impl Server {
    fn start(endpoint: Option<Endpoint>) -> Result<Self, gst::ErrorMessage> {
        let fail = |error: &dyn fmt::Display| {
            failure(gst::ResourceError::Failed, &format!("Cannot start the RTMP engine: {error}"))
        };
        let dispatcher = Dispatcher::start().map_err(|error| fail(&error))?;
        let claims = Arc::new(Claims::default());
        let (asked, told) = (claims.clone(), claims.clone());
        let (asking, telling) = (dispatcher.clone(), dispatcher.clone());
        let mut config = Config::default();
        config.engine.drain_timeout_ms = DRAIN_MS.get();
        // Only rtmpserversrc lets publishers in, and has a property for this.
        config.limits.publisher_timeout_ms = u64::MAX;
        let engine = Engine::builder()
            .config(config)
            .assets(streamengine_web::assets())
            .authorize(move |request: AuthRequest, ticket: Ticket| asked.ask(request, ticket, &asking))
            .on_event(move |event| told.route(event, &telling))
            .start()
            .map_err(|error| fail(&error))?;
        let listeners = match &endpoint {
            Some(endpoint) => listen(&engine, endpoint)?,
            None => Vec::new(),
        };
        let dashboard = Arc::new(Dashboard { engine: engine.clone(), left_out_by: Mutex::default() });
        Ok(Self { engine, endpoint, listeners, http: Mutex::default(), dashboard, dispatcher, claims })
    }

    /// Opens a listener for players over HTTP, or joins the one that another element of this server has there.
    fn listen_http(
        &self,
        ip: IpAddr,
        endpoint: &HttpEndpoint,
    ) -> Result<Arc<HttpListener>, gst::ErrorMessage> {
        let mut open = self.http.lock();
        open.retain(|listener| listener.strong_count() > 0);
        let is_same =
            |other: &Arc<HttpListener>| endpoint.port != 0 && (other.ip, &other.endpoint) == (ip, endpoint);
        if let Some(listener) = open.iter().filter_map(Weak::upgrade).find(is_same) {
            return Ok(listener);
        }
        let listener = Arc::new(HttpListener::open(&self.engine, ip, endpoint)?);
        open.push(Arc::downgrade(&listener));
        Ok(listener)
    }
}

/// An open listener for players over HTTP. Dropping it closes it before it returns, so that the port is free.
struct HttpListener {
    ip: IpAddr,
    endpoint: HttpEndpoint,
    engine: Engine,
    info: ListenerInfo,
}

impl HttpListener {
    fn open(engine: &Engine, ip: IpAddr, endpoint: &HttpEndpoint) -> Result<Self, gst::ErrorMessage> {
        let at = SocketAddr::new(ip, endpoint.port);
        let (scheme, opened) = match &endpoint.tls {
            None => ("http", engine.listen_http(at)),
            Some(files) => ("https", engine.listen_https(at, files.identity())),
        };
        let info = opened.map_err(|error| cannot_listen(&format_args!("{scheme}://{at}"), &error))?;
        Ok(Self { ip, endpoint: endpoint.clone(), engine: engine.clone(), info })
    }
}

impl Drop for HttpListener {
    fn drop(&mut self) {
        let (engine, id) = (self.engine.clone(), self.info.id);
        // On a thread of its own: the caller's may be an async worker, where waiting is not allowed.
        let closing = thread::spawn(move || {
            // It can only be gone already.
            let _ = engine.blocking_close_listener(id);
        });
        let _ = closing.join();
    }
}

/// Whether the dashboard is there. A server has it on all its ports for HTTP or on none, so one share that leaves it out does
/// so for all: what is for nobody's eyes at one port would be to be had at the next.
struct Dashboard {
    engine: Engine,
    left_out_by: Mutex<usize>,
}

impl Dashboard {
    fn leave_out(self: &Arc<Self>) -> Result<WithoutDashboard, gst::ErrorMessage> {
        self.count(1).map_err(|error| {
            failure(gst::ResourceError::Failed, &format!("Cannot leave the dashboard out: {error}"))
        })?;
        Ok(WithoutDashboard(self.clone()))
    }

    /// Takes note of one share more, or less, that leaves it out.
    fn count(&self, change: isize) -> streamengine::Result<()> {
        let mut left_out_by = self.left_out_by.lock();
        let count = left_out_by.saturating_add_signed(change);
        let mut config = self.engine.config();
        if config.http.dashboard != (count == 0) {
            config.http.dashboard = count == 0;
            self.engine.reload(config)?;
        }
        *left_out_by = count;
        Ok(())
    }
}

/// The wish of a share that there is no dashboard, as long as it lives.
struct WithoutDashboard(Arc<Dashboard>);

impl Drop for WithoutDashboard {
    fn drop(&mut self) {
        // It fails only where the engine is about to end.
        let _ = self.0.count(-1);
    }
}

impl TlsFiles {
    fn identity(&self) -> TlsIdentity {
        TlsIdentity::files(&self.certificate, &self.key)
    }
}

/// Opens the listeners of an endpoint. Where one fails, the engine is to be dropped.
fn listen(engine: &Engine, endpoint: &Endpoint) -> Result<Vec<ListenerInfo>, gst::ErrorMessage> {
    let plain = |at: SocketAddr| engine.listen_rtmp(at).map_err(|error| cannot_listen(endpoint, &error));
    let tls = |at: SocketAddr, files: &TlsFiles| {
        let secure = engine.listen_rtmps_with(at, files.identity());
        secure.map_err(|error| cannot_listen(&format_args!("rtmps://{at}"), &error))
    };
    let at = endpoint.address;
    Ok(match &endpoint.protocols {
        Protocols::Plain => vec![plain(at)?],
        Protocols::Both(port, files) => vec![plain(at)?, tls(SocketAddr::new(at.ip(), *port), files)?],
        Protocols::Tls(files) => vec![tls(at, files)?],
    })
}

fn cannot_listen(what: &dyn fmt::Display, error: &streamengine::Error) -> gst::ErrorMessage {
    // The engine's own text repeats the address.
    let cause = error.source().map_or_else(|| error.to_string(), ToString::to_string);
    match error.kind() {
        ErrorKind::AddressInUse => {
            failure(gst::ResourceError::Busy, &format!("Cannot listen on {what}: {cause}"))
        }
        _ => failure(gst::ResourceError::OpenReadWrite, &format!("Cannot listen on {what}: {cause}")),
    }
}

/// One element's share in a server. Dropping the last one closes the server.
pub(crate) struct Share {
    /// Taken when it is dropped.
    server: Option<Arc<Server>>,
    endpoint: Option<Endpoint>,
    http: Vec<Arc<HttpListener>>,
    /// After the listeners: they are closed before it comes back.
    without_dashboard: Option<WithoutDashboard>,
}

/// Opens the server at `endpoint`, or joins the one that is there; without an endpoint, an engine that only pushes. The
/// listeners are open when this returns.
///
/// # Errors
/// In the words of the element's error message: the address is taken, a certificate cannot be used, or another element
/// has a server there with other TLS settings for RTMP.
pub(crate) fn open(endpoint: Option<Endpoint>) -> Result<Share, gst::ErrorMessage> {
    let Some(address) =
        endpoint.as_ref().filter(|endpoint| endpoint.is_shared()).map(|endpoint| endpoint.address)
    else {
        return Share::of(Arc::new(Server::start(endpoint.clone())?), endpoint);
    };
    // Held while binding: of two elements that start at once, one opens and the other joins.
    let mut servers = SERVERS.lock();
    servers.retain(|server| server.strong_count() > 0);
    let same_address =
        |server: &Arc<Server>| server.endpoint.as_ref().is_some_and(|other| other.address == address);
    if let Some(server) = servers.iter().filter_map(Weak::upgrade).find(same_address) {
        let protocols = |endpoint: &Option<Endpoint>| endpoint.as_ref().map(|it| it.protocols.clone());
        return match protocols(&server.endpoint) == protocols(&endpoint) {
            true => Share::of(server, endpoint),
            false => Err(other_settings(&server)),
        };
    }
    let server = Arc::new(Server::start(endpoint.clone())?);
    servers.push(Arc::downgrade(&server));
    Share::of(server, endpoint)
}

fn other_settings(server: &Server) -> gst::ErrorMessage {
    let claims = server.claims.list.lock();
    let at = server.endpoint.as_ref().map(ToString::to_string).unwrap_or_default();
    let who = claims.1.first().map_or("another element", |claimed| &claimed.element);
    failure(
        gst::ResourceError::Busy,
        &format!("Cannot listen on {at}: {who} listens there with other TLS settings"),
    )
}

impl Share {
    /// A share with the listeners for HTTP that its element wants.
    fn of(server: Arc<Server>, endpoint: Option<Endpoint>) -> Result<Self, gst::ErrorMessage> {
        let is_left_out = endpoint.as_ref().is_some_and(Endpoint::leaves_dashboard_out);
        // Before the listeners: nobody finds it there for a moment.
        let without_dashboard = is_left_out.then(|| server.dashboard.leave_out()).transpose()?;
        let wanted = endpoint.iter().flat_map(|it| it.http.iter().map(|http| (it.address.ip(), http)));
        let http = wanted.map(|(ip, http)| server.listen_http(ip, http)).collect::<Result<_, _>>()?;
        Ok(Self { server: Some(server), endpoint, http, without_dashboard })
    }

    fn server(&self) -> &Arc<Server> {
        self.server.as_ref().expect("taken on drop only")
    }

    /// The engine.
    pub(crate) fn engine(&self) -> &Engine {
        &self.server().engine
    }

    /// The thread for signals and messages.
    pub(crate) fn dispatcher(&self) -> &Dispatcher {
        &self.server().dispatcher
    }

    /// Whether `endpoint` is what this share was opened for.
    pub(crate) fn is_at(&self, endpoint: Option<&Endpoint>) -> bool {
        self.endpoint.as_ref() == endpoint
    }

    /// The addresses really bound, plain RTMP first and HTTP last; none without a listener.
    pub(crate) fn listeners(&self) -> Vec<ListenerInfo> {
        let http = self.http.iter().map(|listener| &listener.info);
        self.server().listeners.iter().chain(http).cloned().collect()
    }

    /// Claims a stream for `element`: `owner` answers for it as long as the claim lives.
    ///
    /// # Errors
    /// Another element of this process has claimed the same; the text names it.
    pub(crate) fn claim(
        &self,
        pattern: Pattern,
        element: &impl IsA<gst::Object>,
        owner: Arc<dyn Owner>,
    ) -> Result<Claim, gst::ErrorMessage> {
        let claims = &self.server().claims;
        let mut list = claims.list.lock();
        if let Some(other) = list.1.iter().find(|other| other.pattern == pattern) {
            let who = &other.element;
            return Err(failure(
                gst::ResourceError::Busy,
                &format!(
                    "The stream {pattern} is taken: {who} has it already; give this element another stream name"
                ),
            ));
        }
        list.0 += 1;
        let number = list.0;
        let element = element.path_string().to_string();
        list.1.push(Claimed { number, pattern, element, owner });
        Ok(Claim { number, claims: claims.clone() })
    }
}

/// The last share closes the listeners before it returns, so that the port is free, and takes leave of peers within a
/// bounded time.
impl Drop for Share {
    fn drop(&mut self) {
        let Some(server) = self.server.take() else { return };
        // Locked, so that nobody joins a server that is being closed, or finds its port taken.
        let mut servers = SERVERS.lock();
        // What no other share asks for is closed.
        self.http.clear();
        self.without_dashboard = None;
        if Arc::strong_count(&server) > 1 {
            // Still locked, so that of two that go at once the second finds itself alone.
            drop(server);
            return;
        }
        servers.retain(|other| !std::ptr::eq(other.as_ptr(), Arc::as_ptr(&server)));
        // On a thread of its own: the caller's may be an async worker, where waiting is not allowed.
        let closing = thread::spawn(move || {
            for listener in &server.listeners {
                // It can only be gone already.
                let _ = server.engine.blocking_close_listener(listener.id);
            }
            server
        });
        let server = closing.join();
        drop(servers);
        if let Ok(server) = server {
            let draining = thread::spawn(move || {
                // A peer that does not take its leave in time is cut, which is what is wanted.
                let _ = server.engine.blocking_drain();
            });
            let _ = draining.join();
        }
    }
}

/// The right to a stream of a server; dropping it gives it back.
pub(crate) struct Claim {
    number: u64,
    claims: Arc<Claims>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.claims.list.lock().1.retain(|claimed| claimed.number != self.number);
    }
}

/// An engine's id as elements show it; 0 names nothing.
pub(crate) fn public_id(id: SessionId) -> u32 {
    u32::try_from(id.0).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};
    use std::sync::mpsc;
    use std::time::Duration;

    struct Nobody;

    impl Owner for Nobody {
        fn authorize(&self, _: AuthRequest, ticket: Ticket) {
            ticket.reject("no");
        }
        fn event(&self, _: &Event) {}
    }

    fn element(name: &str) -> gst::Object {
        gst::init().unwrap();
        gst::Bin::with_name(name).upcast()
    }

    fn free_port() -> u16 {
        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
    }

    fn at(port: u16) -> Option<Endpoint> {
        Some(Endpoint::new("127.0.0.1", port).unwrap())
    }

    #[test]
    fn elements_with_one_port_share_one_server_and_the_last_closes_it_at_once() {
        let port = free_port();
        for _ in 0..20 {
            let (one, two) = (open(at(port)).unwrap(), open(at(port)).unwrap());
            assert!(Arc::ptr_eq(one.server(), two.server()));
            assert_eq!(one.listeners()[0].address.port(), port);
            drop(one);
            TcpStream::connect(("127.0.0.1", port)).unwrap();
            drop(two);
            TcpListener::bind(("127.0.0.1", port)).unwrap();
        }
    }

    #[test]
    fn port_0_is_never_shared_and_no_endpoint_means_no_listener() {
        let (one, two) = (open(at(0)).unwrap(), open(at(0)).unwrap());
        assert_ne!(one.listeners()[0].address, two.listeners()[0].address);
        assert!(open(None).unwrap().listeners().is_empty());
    }

    #[test]
    fn a_taken_port_is_an_error_with_address_and_cause() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = open(at(port)).err().unwrap();
        let text = format!("Cannot listen on rtmp://127.0.0.1:{port}: Address already in use");
        assert!(format!("{error:?}").contains(&text), "{error:?}");
    }

    #[test]
    fn a_host_name_is_refused_instead_of_looked_up() {
        assert!(Endpoint::new("example.org", 1).is_err());
        assert_eq!(Endpoint::new("localhost", 1), Endpoint::new("127.0.0.1", 1));
        assert_eq!(Endpoint::new("[::1]", 1935).unwrap().to_string(), "rtmp://[::1]:1935");
    }

    #[test]
    fn one_stream_has_one_owner_and_the_error_names_the_other() {
        let share = open(None).unwrap();
        let stream = || Pattern::Stream("live/a".parse().unwrap());
        let (first, second) = (element("first"), element("second"));
        let claim = share.claim(stream(), &first, Arc::new(Nobody)).unwrap();
        let error = share.claim(stream(), &second, Arc::new(Nobody)).err().unwrap();
        assert!(format!("{error:?}").contains("first"), "{error:?}");
        share.claim(Pattern::App("live".into()), &second, Arc::new(Nobody)).unwrap();
        drop(claim);
        share.claim(stream(), &second, Arc::new(Nobody)).unwrap();
    }

    #[test]
    fn a_server_with_other_tls_settings_is_named_and_not_joined() {
        let port = free_port();
        let share = open(at(port)).unwrap();
        let element = element("plain");
        let _claim = share.claim(Pattern::App("live".into()), &element, Arc::new(Nobody)).unwrap();
        let tls = at(port).unwrap().with_tls(free_port(), "cert.pem", "key.pem");
        let error = open(Some(tls)).err().unwrap();
        assert!(format!("{error:?}").contains("plain"), "{error:?}");
    }

    #[test]
    fn http_ports_are_shared_by_those_who_ask_for_the_same_and_closed_with_the_last_of_them() {
        let (port, http) = (free_port(), free_port());
        let with = |http| at(port).map(|endpoint| endpoint.with_http(http));
        let (none, one, two) =
            (open(at(port)).unwrap(), open(with(http)).unwrap(), open(with(http)).unwrap());
        assert!(Arc::ptr_eq(none.server(), one.server()) && Arc::ptr_eq(none.server(), two.server()));
        let ports = |share: &Share| share.listeners().iter().map(|it| it.address.port()).collect::<Vec<_>>();
        assert_eq!(
            (ports(&none), ports(&one), ports(&two)),
            (vec![port], vec![port, http], vec![port, http])
        );
        let any = [open(with(0)).unwrap(), open(with(0)).unwrap()];
        assert_ne!(ports(&any[0])[1], ports(&any[1])[1]);
        drop(one);
        TcpStream::connect(("127.0.0.1", http)).unwrap();
        drop(two);
        TcpListener::bind(("127.0.0.1", http)).unwrap();
        TcpStream::connect(("127.0.0.1", port)).unwrap();
    }

    #[test]
    fn the_dashboard_is_left_out_as_long_as_one_who_serves_http_leaves_it_out() {
        let (port, http) = (free_port(), free_port());
        let with = |http| open(at(port).map(|endpoint| endpoint.with_http(http))).unwrap();
        let without =
            |http| open(at(port).map(|endpoint| endpoint.with_http(http).without_dashboard())).unwrap();
        let one = with(http);
        let has_dashboard = || one.engine().config().http.dashboard;
        let no_http = open(at(port).map(Endpoint::without_dashboard)).unwrap();
        assert!(has_dashboard(), "who serves no HTTP has no say");
        let others = [without(http), without(0)];
        assert!(Arc::ptr_eq(one.server(), others[0].server()) && !has_dashboard());
        let [first, second] = others;
        drop((no_http, first));
        assert!(!has_dashboard());
        drop(second);
        assert!(has_dashboard());
        assert!(open(at(0).map(|it| it.with_http(0))).unwrap().engine().config().http.dashboard);
    }

    #[test]
    fn a_taken_http_port_is_an_error_that_leaves_others_alone() {
        let (port, taken) = (free_port(), TcpListener::bind("127.0.0.1:0").unwrap());
        let http = taken.local_addr().unwrap().port();
        let share = open(at(port)).unwrap();
        for endpoint in [at(port), at(0)] {
            let error = open(endpoint.map(|endpoint| endpoint.with_http(http))).err().unwrap();
            let text = format!("Cannot listen on http://127.0.0.1:{http}: Address already in use");
            assert!(format!("{error:?}").contains(&text), "{error:?}");
        }
        let error = open(at(port).map(|it| it.with_https(0, "no.pem", "no.pem"))).err().unwrap();
        assert!(format!("{error:?}").contains("https://127.0.0.1:0"), "{error:?}");
        TcpStream::connect(("127.0.0.1", port)).unwrap();
        drop(share);
        TcpListener::bind(("127.0.0.1", port)).unwrap();
    }

    #[test]
    fn events_and_requests_go_to_the_owner_of_the_name_and_else_to_that_of_the_app() {
        struct Told(mpsc::Sender<String>);
        impl Owner for Told {
            fn authorize(&self, _: AuthRequest, _: Ticket) {}
            fn event(&self, event: &Event) {
                let Event::StreamStarted { stream, .. } = event else { return };
                self.0.send(stream.to_string()).unwrap();
            }
        }
        let share = open(None).unwrap();
        let ((named, by_name), (any, by_app)) = (mpsc::channel(), mpsc::channel());
        let it = element("it");
        let _name =
            share.claim(Pattern::Stream("live/a".parse().unwrap()), &it, Arc::new(Told(named))).unwrap();
        let _app = share.claim(Pattern::App("live".into()), &it, Arc::new(Told(any))).unwrap();
        for name in ["other/a", "live/a", "live/b"] {
            share.engine().publish(&name.parse().unwrap()).unwrap().finish();
        }
        let wait = Duration::from_secs(10);
        assert_eq!(by_name.recv_timeout(wait).unwrap(), "live/a");
        assert_eq!(by_app.recv_timeout(wait).unwrap(), "live/b");
    }
}
