//! Requests to the operator's service: one reply each, within a time and a size.

use crate::auth::seconds;
use crate::config::{Config, HooksConfig};
use crate::key::Secret;
use crate::limits::ms;
use crate::net::{Conn, DialOptions, DialTls, Dialer};
use crate::url::HookUrl;
use crate::{Limits, Result};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, LOCATION, USER_AGENT};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::client::legacy::{Client, Error as ClientError};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use ring::hmac;
use std::error::Error as _;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};
use tokio::time::timeout;
use tower_service::Service;

bound! {
    /// Bytes of a reply's body (test `an_answer_that_is_too_long_is_a_refusal`).
    const REPLY_BYTES: usize = 4 * 1024, without 1 << 30;
}
/// For how long a connection is kept that nothing is asked on; then the service's name is looked up anew.
const KEPT: Duration = Duration::from_secs(10);
/// Connections that are kept.
const MOST_KEPT: usize = 8;
/// What a signature is sent in.
const SIGNATURE: &str = "x-streamengine-signature";

/// What is sent: fields of a form, or JSON.
#[derive(Clone)]
pub(super) struct Message {
    /// In the body, or in the URL.
    pub(super) method: Method,
    pub(super) content_type: &'static str,
    pub(super) fields: String,
}

/// What comes back.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    /// Where it sends us to; nobody goes there.
    pub(super) location: Option<String>,
    /// The body, where it is JSON.
    pub(super) json: Option<Bytes>,
    pub(super) body: Bytes,
}

/// Why there is no reply.
#[derive(Debug)]
pub(super) struct NoReply {
    pub(super) text: String,
    /// The service cannot be reached, or is silent; else what it says is no reply.
    pub(super) is_away: bool,
}

impl fmt::Display for NoReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Asks the service. Connections are kept for the next request.
pub(super) struct Caller {
    client: Client<Connector, Full<Bytes>>,
    dialer: Arc<Dialer>,
    patience: Duration,
    secret: Option<hmac::Key>,
}

impl Caller {
    pub(super) fn new(config: &Config) -> Self {
        let HooksConfig { timeout_ms, secret, .. } = &config.hooks;
        let limits = Limits::default().handshake_timeout_ms(*timeout_ms);
        let tls = Arc::new(DialTls::new(&config.tls));
        let dialer = Arc::new(Dialer::new(&limits));
        let connector = Connector { dialer: dialer.clone(), tls };
        let mut builder = Client::builder(TokioExecutor::new());
        builder.pool_timer(TokioTimer::new()).pool_idle_timeout(KEPT).pool_max_idle_per_host(MOST_KEPT);
        let key = |secret: &Secret| hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
        Self {
            client: builder.build(connector),
            dialer,
            patience: ms(*timeout_ms),
            secret: secret.as_ref().map(key),
        }
    }

    /// Makes ready for services by TLS: the first verdict has little time.
    pub(super) async fn prepare(&self) {
        self.dialer.prepare().await;
    }

    /// The reply to a message, however it decides.
    pub(super) async fn call(&self, url: &HookUrl, message: Message) -> std::result::Result<Reply, NoReply> {
        let away = |text: String| NoReply { text, is_away: true };
        let request = self.request(url, message).map_err(|error| away(error.to_string()))?;
        match timeout(self.patience, self.exchange(request)).await {
            Ok(reply) => reply,
            Err(_) => Err(away(format!("no answer within {} ms", self.patience.as_millis()))),
        }
    }

    fn request(&self, url: &HookUrl, message: Message) -> hyper::http::Result<Request<Full<Bytes>>> {
        let Message { method, content_type, fields } = message;
        let http = url.as_http();
        let mut uri =
            format!("{}://{}{}", if http.tls() { "https" } else { "http" }, http.authority(), http.target());
        let signature = self.secret.as_ref().map(|key| signature(key, &fields, SystemTime::now()));
        let body = match method {
            Method::GET => {
                uri.push(if uri.contains('?') { '&' } else { '?' });
                uri.push_str(&fields);
                Bytes::new()
            }
            _ => Bytes::from(fields),
        };
        let mut request = Request::builder()
            .uri(uri)
            .header(USER_AGENT, concat!("streamengine/", env!("CARGO_PKG_VERSION")));
        if method != Method::GET {
            request = request.header(CONTENT_TYPE, content_type);
        }
        if let Some(authorization) = http.authorization() {
            request = request.header(AUTHORIZATION, authorization);
        }
        if let Some(signature) = signature {
            request = request.header(SIGNATURE, signature);
        }
        request.method(method).body(Full::new(body))
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> std::result::Result<Reply, NoReply> {
        let (head, body) = self.client.request(request).await.map_err(|error| in_words(&error))?.into_parts();
        let body = Limited::new(body, REPLY_BYTES.get()).collect().await.map_err(|error| NoReply {
            text: match error.is::<http_body_util::LengthLimitError>() {
                true => format!("the answer is longer than {} bytes", REPLY_BYTES.get()),
                false => "the connection was closed in the middle of the answer".to_owned(),
            },
            is_away: false,
        })?;
        Ok(Reply::new(Response::from_parts(head, body.to_bytes())))
    }
}

impl Reply {
    fn new(response: Response<Bytes>) -> Self {
        let (head, body) = response.into_parts();
        let text = |headers: &HeaderMap, name| {
            headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
        };
        let content_type = text(&head.headers, CONTENT_TYPE).unwrap_or_default();
        let is_json = content_type.split(';').next().is_some_and(|kind| kind.trim() == "application/json");
        Self {
            status: head.status,
            location: text(&head.headers, LOCATION),
            json: is_json.then(|| body.clone()),
            body,
        }
    }
}

/// `t=SECONDS,v1=HEX`: HMAC-SHA256 of `SECONDS.FIELDS`, SECONDS since 1970.
fn signature(key: &hmac::Key, fields: &str, now: SystemTime) -> String {
    let seconds = seconds(now);
    let tag = hmac::sign(key, format!("{seconds}.{fields}").as_bytes());
    let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={seconds},v1={hex}")
}

/// Never holds what was sent: it has keys in it.
fn in_words(error: &ClientError) -> NoReply {
    let cause = error.source();
    let dialling = cause.and_then(|cause| cause.downcast_ref::<crate::Error>());
    match (dialling, error.is_connect()) {
        // A certificate that is wrong may be somebody else's.
        (Some(cause), _) => {
            NoReply { text: cause.to_string(), is_away: cause.kind() != crate::ErrorKind::Tls }
        }
        (None, true) => NoReply { text: "the service cannot be reached".to_owned(), is_away: true },
        (None, false) => {
            let is_parse = cause.and_then(|cause| cause.downcast_ref::<hyper::Error>());
            match is_parse.is_some_and(hyper::Error::is_parse) {
                true => NoReply { text: "the answer is no HTTP/1.1".to_owned(), is_away: false },
                false => {
                    NoReply { text: "the connection was closed before the answer".to_owned(), is_away: true }
                }
            }
        }
    }
}

/// Dials as for relays: names are looked up each time, certificates checked.
#[derive(Clone)]
struct Connector {
    dialer: Arc<Dialer>,
    tls: Arc<DialTls>,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Conn>;
    type Error = crate::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let Self { dialer, tls } = self.clone();
        Box::pin(async move {
            let is_tls = uri.scheme_str() == Some("https");
            let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
            let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
            let options = DialOptions { host, port, tls: is_tls.then(|| DialTls::clone(&tls)) };
            dialer.dial(&options, |_| {}).await.map(TokioIo::new)
        })
    }
}

impl Connection for Conn {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}
