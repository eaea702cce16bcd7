//! nginx-rtmp and our server, both asking the same service.

use super::service::Service;
use super::table::At;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use streamengine_tests::nginx::Nginx;
use streamengine_tests::tls::{Authority, Validity};
use streamengine_tests::{Engine, PATIENCE, free_address, poll};

/// What is asked for a stream, with what it is told in both configurations.
const ON: &[&str] = &["on_publish", "on_play", "on_publish_done", "on_play_done", "on_done"];
/// The same of connections.
const ON_CONNECTION: &[&str] = &["on_connect", "on_disconnect"];
/// For `http` of an nginx whose user need not be root.
const FOLDERS: &str = "access_log off; client_body_temp_path a; proxy_temp_path b; fastcgi_temp_path c; \
                       uwsgi_temp_path d; scgi_temp_path e;";
/// How long an answer may take.
const TIMEOUT_MS: u32 = 1_000;

/// A server that asks, whoever has written it.
pub(super) enum Server {
    Nginx { process: Nginx, stat: SocketAddr },
    Ours(Engine),
}

impl Server {
    /// nginx-rtmp.
    pub(super) fn nginx(at: At, Place { url, .. }: &Place) -> Self {
        let (address, stat) = (address_of(at), free_address());
        let all = |names: &[&str]| {
            names.iter().fold(String::new(), |mut text, on| {
                writeln!(text, "{on} {url};").expect("text");
                text
            })
        };
        let method = if at.is_get() { "notify_method get;" } else { "" };
        let connection = if at.is_asked_of_connections() { all(ON_CONNECTION) } else { String::new() };
        let streams = all(ON);
        let config = format!(
            "load_module modules/ngx_rtmp_module.so;\n\
             events {{ worker_connections 256; }}\n\
             http {{ {FOLDERS} server {{ listen {stat}; location /stat {{ rtmp_stat all; }} }} }}\n\
             rtmp {{ server {{ listen {address}; netcall_timeout {TIMEOUT_MS}ms; {method} {connection}\n\
             application live {{ live on; {streams} }}\n\
             application other {{ live on; {streams} }} }} }}\n",
        );
        Self::Nginx { process: Nginx::run(address, &config), stat }
    }

    /// Ours.
    pub(super) fn ours(at: At, Place { url, ca, .. }: &Place) -> Self {
        let mut hooks = "[default_app]\nresume_window_ms = 0\n".to_owned();
        if let Some(ca) = ca {
            writeln!(hooks, "[tls]\nca = {ca:?}").expect("text");
        }
        writeln!(hooks, "[hooks]\ntimeout_ms = {TIMEOUT_MS}").expect("text");
        let more: &[&str] = if at.is_asked_of_connections() { ON_CONNECTION } else { &[] };
        for on in ON.iter().chain(more) {
            writeln!(hooks, "{on} = \"{url}\"").expect("text");
        }
        if at.is_get() {
            hooks.push_str("method = \"get\"\n");
        }
        if at == At::NobodyAllow {
            hooks.push_str("when_away = \"allow\"\n");
        }
        Self::Ours(Engine::serve().rtmp(address_of(at)).config(hooks).start())
    }

    /// A stream's name, as its list of streams has it: that of nginx-rtmp knows ASCII only.
    pub(super) fn listed(&self, name: &str) -> String {
        match self {
            Self::Nginx { .. } => {
                name.bytes().map(|byte| if byte.is_ascii() { char::from(byte) } else { ' ' }).collect()
            }
            Self::Ours(_) => name.to_owned(),
        }
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        match self {
            Self::Nginx { process, .. } => process.address,
            Self::Ours(engine) => engine.rtmp,
        }
    }

    /// Its name, for messages.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Nginx { .. } => "nginx-rtmp",
            Self::Ours(_) => "ours",
        }
    }

    pub(super) fn is_nginx(&self) -> bool {
        matches!(self, Self::Nginx { .. })
    }

    /// The streams that are published, or played, at this moment.
    pub(super) fn streams(&self, role: Role) -> BTreeSet<String> {
        match self {
            Self::Nginx { stat, .. } => of_stat(&get(*stat, "/stat"), role),
            Self::Ours(engine) => {
                let (begun, ended) = match role {
                    Role::Publisher => ("stream-started", "stream-ended"),
                    Role::Player => ("play-started", "play-ended"),
                };
                let mut live = BTreeSet::new();
                for event in engine.events() {
                    let stream = event["stream"].as_str().unwrap_or_default().to_owned();
                    if event["event"] == begun {
                        live.insert(stream);
                    } else if event["event"] == ended {
                        live.remove(&stream);
                    }
                }
                live
            }
        }
    }

    /// The stream that is there besides these. The list of streams may come later than the answer.
    pub(super) fn new_stream(&self, role: Role, before: &BTreeSet<String>) -> Option<String> {
        poll(PATIENCE, || self.streams(role).difference(before).next().cloned())
    }

    /// Its log, for messages.
    pub(super) fn log(&self) -> String {
        match self {
            Self::Nginx { process, .. } => process.process.log(),
            Self::Ours(engine) => engine.process.log(),
        }
    }
}

/// Who has a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Publisher,
    Player,
}

impl At {
    fn is_get(self) -> bool {
        matches!(self, Self::Get | Self::ConnectGet)
    }

    fn is_asked_of_connections(self) -> bool {
        matches!(self, Self::Connect | Self::ConnectGet)
    }
}

fn address_of(at: At) -> SocketAddr {
    let address = free_address();
    match at {
        At::V6 => SocketAddr::new("::1".parse().expect("an address"), address.port()),
        _ => address,
    }
}

/// Where the service is.
pub(super) struct Place {
    url: String,
    /// Who vouches for its certificate, where that is told.
    ca: Option<PathBuf>,
    /// What has to stay there.
    _https: Option<(Nginx, Authority)>,
}

impl Place {
    /// As the setting has it.
    pub(super) fn new(at: At, service: &Service) -> Self {
        let plain =
            |address: SocketAddr| Self { url: format!("http://{address}/hooks"), ca: None, _https: None };
        match at {
            At::Nobody | At::NobodyAllow => plain(free_address()),
            At::Https => Self::https(true),
            At::HttpsUnknown => Self::https(false),
            _ => plain(service.address),
        }
    }

    /// One that lets everybody in.
    fn https(is_trusted: bool) -> Self {
        let (address, authority) = (free_address(), Authority::new());
        let leaf = authority.leaf(&format!("IP:{}", address.ip()), Validity::Now);
        let (cert, key) = (leaf.cert.display(), leaf.key.display());
        let config = format!(
            "events {{ worker_connections 256; }}\n\
             http {{ {FOLDERS} server {{ listen {address} ssl; ssl_certificate {cert}; ssl_certificate_key {key};\n\
             location / {{ return 200; }} }} }}\n",
        );
        let nginx = Nginx::run(address, &config);
        let ca = is_trusted.then(|| authority.cert());
        Self { url: format!("https://{address}/hooks"), ca, _https: Some((nginx, authority)) }
    }
}

/// The streams in nginx-rtmp's XML that have somebody in this role.
fn of_stat(xml: &str, role: Role) -> BTreeSet<String> {
    let name = |part: &str| between(part, "<name>", "</name>").unwrap_or_default().to_owned();
    let mut found = BTreeSet::new();
    for app in xml.split("<application>").skip(1) {
        for stream in app.split("<stream>").skip(1) {
            let mut clients = stream.split("<client>").skip(1);
            let has = clients.any(|client| {
                let client = client.split("</client>").next().unwrap_or_default();
                client.contains("<publishing/>") == (role == Role::Publisher)
            });
            if has {
                found.insert(format!("{}/{}", name(app), name(stream)));
            }
        }
    }
    found
}

fn between<'a>(text: &'a str, from: &str, to: &str) -> Option<&'a str> {
    text.split_once(from)?.1.split_once(to).map(|(inside, _)| inside)
}

fn get(address: SocketAddr, path: &str) -> String {
    let mut socket = TcpStream::connect(address).expect("nginx listens for HTTP");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    write!(socket, "GET {path} HTTP/1.0\r\n\r\n").expect("a request");
    let mut text = Vec::new();
    socket.read_to_end(&mut text).expect("a reply");
    String::from_utf8_lossy(&text).into_owned()
}
