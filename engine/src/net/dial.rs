//! Dialling: resolve at each try, go through the addresses, TLS where asked for; every step has its time.

use super::tls::{self, Verify};
use super::{Conn, DialTls, tune};
use crate::limits::ms;
use crate::{Error, ErrorKind, Limits, Result};
use rustls::{ClientConfig, RootCertStore};
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::OnceCell;
use tokio::time::timeout;

bound! {
    /// Addresses of one host that are tried; bounds the whole dial together with the time for each
    /// (test `f31_no_more_than_eight_addresses_of_a_host_are_tried`).
    const ADDRESSES: usize = 8, without usize::MAX;
}

/// Where to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DialOptions {
    /// Host name or IP address (IPv6 without brackets).
    pub(crate) host: String,
    /// TCP port.
    pub(crate) port: u16,
    /// How to encrypt; `None` = plain TCP.
    pub(crate) tls: Option<DialTls>,
}

/// What a dial is busy with, for the state of relays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DialStep {
    /// Asking for the host's addresses.
    Resolving,
    /// Waiting for this address to answer.
    Connecting(SocketAddr),
    /// In the TLS handshake with it.
    Securing(SocketAddr),
}

/// Dials for one engine. The system's certificate authorities are read at the first TLS dial and kept.
#[derive(Debug)]
pub(crate) struct Dialer {
    limits: Limits,
    roots: Arc<OnceCell<Arc<RootCertStore>>>,
}

impl Dialer {
    /// Each step (resolving, one connect, the TLS handshake) may take [`Limits::handshake_timeout_ms`].
    pub(crate) fn new(limits: &Limits) -> Self {
        Self { limits: limits.in_force().into_owned(), roots: Arc::default() }
    }

    /// One with other limits and the same certificate authorities.
    pub(crate) fn with_limits(&self, limits: &Limits) -> Self {
        Self { limits: limits.in_force().into_owned(), roots: self.roots.clone() }
    }

    /// Reads the system's certificate authorities, so that the first TLS dial does not have to.
    #[cfg(feature = "http")]
    pub(crate) async fn prepare(&self) {
        // What is wrong with them, a dial tells.
        let _ = self.roots.get_or_try_init(load_roots).await;
    }

    /// Connects, telling `on_step` what it does. Errors name `host:port` and the cause; their kinds are
    /// `Resolve`, `Refused`, `Timeout`, `Tls` and those of [`Error::io`].
    pub(crate) async fn dial(
        &self,
        options: &DialOptions,
        mut on_step: impl FnMut(DialStep),
    ) -> Result<Conn> {
        self.try_dial(options, &mut on_step)
            .await
            .map_err(|e| e.context(format_args!("{}:{}", options.host, options.port)))
    }

    async fn try_dial(&self, options: &DialOptions, on_step: &mut impl FnMut(DialStep)) -> Result<Conn> {
        on_step(DialStep::Resolving);
        let addresses = self.resolve(options).await?;
        let (stream, peer) = self.connect(&addresses, on_step).await?;
        tune(&stream, ms(self.limits.write_timeout_ms));
        let Some(tls) = &options.tls else { return Ok(Conn::plain(stream, peer)) };
        on_step(DialStep::Securing(peer));
        let config = self.client_config(options, tls).await?;
        let handshake = tls::connect(stream, peer, &options.host, config);
        bounded(self.step_time(), "the TLS handshake", handshake).await
    }

    fn step_time(&self) -> Duration {
        ms(self.limits.handshake_timeout_ms)
    }

    async fn resolve(&self, options: &DialOptions) -> Result<Vec<SocketAddr>> {
        let lookup = async {
            let found = lookup_host((options.host.as_str(), options.port)).await;
            found.map_err(|e| Error::new(ErrorKind::Resolve, format!("the name cannot be resolved: {e}")))
        };
        let addresses: Vec<_> = bounded(self.step_time(), "resolving the name", lookup).await?.collect();
        if addresses.is_empty() {
            return Err(Error::new(ErrorKind::Resolve, "the name has no address"));
        }
        Ok(addresses)
    }

    /// The first address that answers; the last one's error if none does.
    pub(super) async fn connect(
        &self,
        addresses: &[SocketAddr],
        on_step: &mut impl FnMut(DialStep),
    ) -> Result<(TcpStream, SocketAddr)> {
        let mut last = Error::new(ErrorKind::Resolve, "the name has no address");
        for &address in addresses.iter().take(ADDRESSES.get()) {
            on_step(DialStep::Connecting(address));
            let connect = async { TcpStream::connect(address).await.map_err(|e| Error::io("connect", e)) };
            match bounded(self.step_time(), "connecting", connect).await {
                Ok(stream) => return Ok((stream, address)),
                Err(error) if addresses.len() > 1 => last = error.context(address.ip()),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn client_config(&self, options: &DialOptions, tls: &DialTls) -> Result<Arc<ClientConfig>> {
        if tls.verify == Verify::DangerAcceptAny {
            tracing::warn!(
                host = %crate::Printable(&options.host),
                "certificate checks are off for this connection: anybody on the way can read and change the stream"
            );
            return tls::client_config(tls, &RootCertStore::empty());
        }
        let reading = async {
            let roots = Arc::clone(self.roots.get_or_try_init(load_roots).await?);
            let tls = tls.clone();
            let read = tokio::task::spawn_blocking(move || tls::client_config(&tls, &roots)).await;
            read.map_err(|e| {
                Error::new(ErrorKind::Internal, format!("reading certificate authorities: {e}"))
            })?
        };
        bounded(self.step_time(), "reading certificate authorities", reading).await
    }
}

async fn load_roots() -> Result<Arc<RootCertStore>> {
    let load = tokio::task::spawn_blocking(tls::system_roots).await;
    load.map(Arc::new)
        .map_err(|e| Error::new(ErrorKind::Internal, format!("reading certificate authorities: {e}")))
}

async fn bounded<T>(time: Duration, what: &str, step: impl Future<Output = Result<T>>) -> Result<T> {
    match timeout(time, step).await {
        Ok(result) => result,
        Err(_) => {
            let text = format!("{what} took longer than {} ms", time.as_millis());
            Err(Error::new(ErrorKind::Timeout, text))
        }
    }
}
