//! The servers of this process: elements that name the same address and port share one engine and its listeners.
//!
//! ```text
//!   element ──open──> Share ──claim──> Claim: a stream name, and who answers for it
//!                       │
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

/// Where a server listens. Elements whose endpoints are equal share it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// Of the first listener; port 0 takes any free one, and is never shared.
    address: SocketAddr,
    protocols: Protocols,
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
        Ok(Self { address: SocketAddr::new(ip, port), protocols: Protocols::Plain })
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

    fn is_shared(&self) -> bool {
        self.address.port() != 0
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
            .authorize(move |request: AuthRequest, ticket: Ticket| asked.ask(request, ticket, &asking))
            .on_event(move |event| told.route(event, &telling))
            .start()
            .map_err(|error| fail(&error))?;
        let listeners = match &endpoint {
            Some(endpoint) => listen(&engine, endpoint)?,
            None => Vec::new(),
        };
        Ok(Self { engine, endpoint, listeners, dispatcher, claims })
    }
}

/// Opens the listeners of an endpoint. Where one fails, the engine is to be dropped.
fn listen(engine: &Engine, endpoint: &Endpoint) -> Result<Vec<ListenerInfo>, gst::ErrorMessage> {
    let plain = |at: SocketAddr| engine.listen_rtmp(at).map_err(|error| cannot_listen(endpoint, &error));
    let tls = |at: SocketAddr, files: &TlsFiles| {
        let identity = TlsIdentity::files(&files.certificate, &files.key);
        let secure = engine.listen_rtmps_with(at, identity);
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
}

/// Opens the server at `endpoint`, or joins the one that is there; without an endpoint, an engine that only pushes. The
/// listeners are open when this returns.
///
/// # Errors
/// In the words of the element's error message: the address is taken, a certificate cannot be used, or another element
/// has a server there with other TLS settings.
pub(crate) fn open(endpoint: Option<Endpoint>) -> Result<Share, gst::ErrorMessage> {
    let Some(endpoint) = endpoint else { return Ok(Share { server: Some(Arc::new(Server::start(None)?)) }) };
    if !endpoint.is_shared() {
        return Ok(Share { server: Some(Arc::new(Server::start(Some(endpoint))?)) });
    }
    // Held while binding: of two elements that start at once, one opens and the other joins.
    let mut servers = SERVERS.lock();
    servers.retain(|server| server.strong_count() > 0);
    let same_address = |server: &Arc<Server>| {
        server.endpoint.as_ref().is_some_and(|other| other.address == endpoint.address)
    };
    if let Some(server) = servers.iter().filter_map(Weak::upgrade).find(same_address) {
        return match server.endpoint.as_ref() == Some(&endpoint) {
            true => Ok(Share { server: Some(server) }),
            false => Err(other_settings(&server, &endpoint)),
        };
    }
    let server = Arc::new(Server::start(Some(endpoint))?);
    servers.push(Arc::downgrade(&server));
    Ok(Share { server: Some(server) })
}

fn other_settings(server: &Server, endpoint: &Endpoint) -> gst::ErrorMessage {
    let claims = server.claims.list.lock();
    let who = claims.1.first().map_or("another element", |claimed| &claimed.element);
    failure(
        gst::ResourceError::Busy,
        &format!("Cannot listen on {endpoint}: {who} listens there with other TLS settings"),
    )
}

impl Share {
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

    /// Whether `endpoint` is what this server was opened for.
    pub(crate) fn is_at(&self, endpoint: Option<&Endpoint>) -> bool {
        self.server().endpoint.as_ref() == endpoint
    }

    /// The addresses really bound, plain RTMP first; none without a listener.
    pub(crate) fn listeners(&self) -> &[ListenerInfo] {
        &self.server().listeners
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
