//! Listeners that `serve` opens beside those of the configuration, where nothing is said about them.

use crate::config::{PORT, Serving, http_beside};
use crate::host;
use std::net::{Ipv6Addr, SocketAddr};
use streamengine::{Engine, Error, ErrorKind, ListenerInfo, Protocol};

/// Those that are open.
#[derive(Default)]
pub(crate) struct Beside {
    open: Vec<ListenerInfo>,
}

impl Beside {
    /// Opens what the configuration, which the engine has taken, leaves room for, and closes what it does not any more.
    pub(crate) fn suit(&mut self, engine: &Engine, serving: &Serving) -> Result<(), Error> {
        let ipv6 = serving.by_default.then(|| SocketAddr::from((Ipv6Addr::UNSPECIFIED, PORT)));
        self.close_others(engine, serving, Protocol::Rtmp, ipv6.as_slice());
        if let Some(address) = ipv6.filter(|&address| !self.has(Protocol::Rtmp, address)) {
            self.listen_on_ipv6(engine, address)?;
        }
        let rtmp = engine.listeners().into_iter().filter(|listener| listener.protocol == Protocol::Rtmp);
        let http = match serving.http_beside {
            true => http_beside(rtmp.map(|listener| listener.address)),
            false => Vec::new(),
        };
        self.close_others(engine, serving, Protocol::Http, &http);
        for address in
            http.into_iter().filter(|&address| !self.has(Protocol::Http, address)).collect::<Vec<_>>()
        {
            self.listen_for_http(engine, address);
        }
        Ok(())
    }

    fn has(&self, protocol: Protocol, address: SocketAddr) -> bool {
        self.open.iter().any(|listener| listener.protocol == protocol && listener.address == address)
    }

    fn close_others(&mut self, engine: &Engine, serving: &Serving, protocol: Protocol, keep: &[SocketAddr]) {
        let (rtmp, http) = (&serving.config.rtmp.listen, &serving.config.http.listen);
        self.open.retain(|listener| {
            if listener.protocol != protocol || keep.contains(&listener.address) {
                return true;
            }
            // What the configuration names has become its own.
            if !rtmp.contains(&listener.address) && !http.contains(&listener.address) {
                let _ = engine.close_listener(listener.id);
            }
            false
        });
    }

    /// IPv6 may be switched off on a machine; that is worth a line but does not keep anybody on IPv4 waiting.
    fn listen_on_ipv6(&mut self, engine: &Engine, address: SocketAddr) -> Result<(), Error> {
        match engine.listen_rtmp(address) {
            Err(error) if error.kind() != ErrorKind::AddressInUse => {
                tracing::warn!("serving on IPv4 only: {error}");
                Ok(())
            }
            listening => listening.map(|listener| self.note(listener)),
        }
    }

    /// Beside plain RTMP, on a port that many programs take: where one has, players over HTTP do without.
    fn listen_for_http(&mut self, engine: &Engine, address: SocketAddr) {
        match engine.listen_http(address) {
            Ok(listener) => self.note(listener),
            Err(error) => tracing::warn!(
                "no HTTP on {address}: {error}; --http ADDR:PORT takes another port, --no-http none"
            ),
        }
    }

    fn note(&mut self, listener: ListenerInfo) {
        host::tell(&listener);
        self.open.push(listener);
    }
}
