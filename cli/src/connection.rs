//! Connections to servers, plain or by TLS, and requests to those of HTTP.

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{ACCEPT, AUTHORIZATION, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;
use streamengine::HttpUrl;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// How long a server may take for a reply, a playlist that waits for its next part included.
const REPLY_TIMEOUT: Duration = Duration::from_secs(15);
/// Most bytes of a reply: a segment of ten seconds at 40 Mbit/s.
const MOST_BYTES: usize = 50 << 20;

pub(crate) trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// How servers are checked that speak TLS.
pub(crate) type Trust = Arc<ClientConfig>;

/// A new connection to the server of a URL.
pub(crate) async fn connect(url: &HttpUrl, trust: &Trust) -> Result<Box<dyn Io>, String> {
    dial(url.host(), url.port(), url.tls().then_some(trust)).await
}

/// A new connection to a host, by TLS where a server of it is to be checked.
pub(crate) async fn dial(host: &str, port: u16, trust: Option<&Trust>) -> Result<Box<dyn Io>, String> {
    let connected = async {
        let tcp = TcpStream::connect((host, port)).await.map_err(words)?;
        tcp.set_nodelay(true).map_err(words)?;
        let Some(trust) = trust else { return Ok(Box::new(tcp) as Box<dyn Io>) };
        let name = host.to_owned().try_into().map_err(words)?;
        let tls = TlsConnector::from(Arc::clone(trust)).connect(name, tcp).await.map_err(words)?;
        Ok(Box::new(tls) as Box<dyn Io>)
    };
    timeout(REPLY_TIMEOUT, connected).await.map_err(|_| silent())?
}

pub(crate) fn words(error: impl Display) -> String {
    error.to_string()
}

fn silent() -> String {
    format!("no reply within {} s", REPLY_TIMEOUT.as_secs())
}

/// Asks a server for one thing after the other, on one connection while that lasts.
pub(crate) struct Client {
    trust: Trust,
    open: Option<SendRequest<Empty<Bytes>>>,
}

impl Client {
    pub(crate) fn new(trust: Trust) -> Self {
        Self { trust, open: None }
    }

    /// What is at a URL.
    pub(crate) async fn get(&mut self, url: &HttpUrl) -> Result<Bytes, String> {
        let is_kept = self.open.as_ref().is_some_and(SendRequest::is_ready);
        match timeout(REPLY_TIMEOUT, self.ask(url)).await.map_err(|_| silent())? {
            // The server may have closed it in the meantime.
            Err(_) if is_kept && self.open.is_none() => {
                timeout(REPLY_TIMEOUT, self.ask(url)).await.map_err(|_| silent())?
            }
            answered => answered,
        }
    }

    async fn ask(&mut self, url: &HttpUrl) -> Result<Bytes, String> {
        let mut connection = match self.open.take().filter(SendRequest::is_ready) {
            Some(kept) => kept,
            None => {
                let io = connect(url, &self.trust).await?;
                let (sender, connection) = http1::handshake(TokioIo::new(io)).await.map_err(words)?;
                tokio::spawn(connection);
                sender
            }
        };
        let request = Request::get(url.target()).header(HOST, url.authority()).header(ACCEPT, "*/*");
        let request = match url.authorization() {
            Some(authorization) => request.header(AUTHORIZATION, authorization),
            None => request,
        };
        let reply =
            connection.send_request(request.body(Empty::new()).map_err(words)?).await.map_err(words)?;
        let status = reply.status();
        let body = Limited::new(reply.into_body(), MOST_BYTES).collect().await.map_err(words)?.to_bytes();
        self.open = Some(connection);
        match status {
            StatusCode::OK => Ok(body),
            _ => Err(format!("the server replied {status}{}", first_line(&body))),
        }
    }
}

/// What a refusal says, if anything.
fn first_line(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body.get(..200).unwrap_or(body)).into_owned();
    let line = text.lines().next().unwrap_or_default().trim();
    if line.is_empty() { String::new() } else { format!(": {}", streamengine::Printable(line)) }
}
