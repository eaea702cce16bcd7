//! `serve`: listeners for RTMP and HTTP, with and without TLS, and what else the configuration says.

use crate::args::ServeArgs;
use crate::config::{PORT, Serving};
use crate::host::{self, Started, Stop};
use crate::output::{self, Console, Origin, Ready};
use crate::{Failure, addresses, config, rates};
use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;
use streamengine::{Engine, Error, ErrorKind, Protocol};

/// How often rates are logged where there is no terminal.
const LOG_PERIOD: Duration = Duration::from_secs(60);

/// Serves until it is asked to end.
pub(crate) fn run(args: ServeArgs, console: &Console) -> Result<(), Failure> {
    // Before signals are taken, so that they end a read of the configuration that stands still.
    let serving = config::for_serve(&args)?;
    let config = serving.config.clone();
    let stop = Stop::on_signals()?;
    let (rule, asks) = (config.publish_rule(), config.publish.authmod_adobe);
    let app = config.apps.keys().next().map_or_else(|| "live".to_owned(), String::clone);
    let Some(started) = stop.or(move || start(serving))? else { return Ok(()) };
    let Started { engine, to_print, .. } = started.map_err(|error| config::why_not(error, config))?;
    if only_rtmps(&engine) {
        tracing::info!(
            "plain RTMP is not served, as --rtmps or rtmps.listen is given alone; --rtmp 0.0.0.0:{PORT} adds it"
        );
    }
    tracing::info!("publishing: {}", config::publishing(&rule, asks));
    let lines = output::announce(args.json, &Ready::new([&engine]), [(to_print, Origin::Only)]);
    if !args.json {
        console.say(addresses::welcome(&engine.listeners(), &rule, asks, &app));
    }
    let engines = [engine];
    host::block_on(async {
        tokio::select! {
            () = stop.asked() => {}
            () = rates::show(&engines, console, LOG_PERIOD) => {}
        }
    })?;
    match host::finish(engines, lines) {
        Err(error) if error.kind() == ErrorKind::Timeout => tracing::warn!("{error}"),
        drained => drained?,
    }
    Ok(())
}

fn only_rtmps(engine: &Engine) -> bool {
    engine.listeners().iter().all(|listener| listener.protocol != Protocol::Rtmp)
}

fn start(Serving { mut config, http_beside }: Serving) -> Result<Started, Error> {
    let by_default = config::listens_by_default(&config);
    if by_default {
        config.rtmp.listen.push(config::default_address());
    }
    let started = Started::new(config)?;
    if by_default {
        listen_on_ipv6(&started.engine)?;
    }
    if http_beside {
        listen_for_http(&started.engine);
    }
    Ok(started)
}

/// IPv6 may be switched off on a machine; that is worth a line but does not keep anybody on IPv4 waiting.
fn listen_on_ipv6(engine: &Engine) -> Result<(), Error> {
    match engine.listen_rtmp(SocketAddr::from((Ipv6Addr::UNSPECIFIED, PORT))) {
        Err(error) if error.kind() != ErrorKind::AddressInUse => {
            tracing::warn!("serving on IPv4 only: {error}");
            Ok(())
        }
        listening => listening.map(|listener| host::tell(&listener)),
    }
}

/// Beside plain RTMP, on a port that many programs take: where one has, players over HTTP do without.
fn listen_for_http(engine: &Engine) {
    let rtmp = engine.listeners().into_iter().filter(|listener| listener.protocol == Protocol::Rtmp);
    for address in config::http_beside(rtmp.map(|listener| listener.address)) {
        match engine.listen_http(address) {
            Ok(listener) => host::tell(&listener),
            Err(error) => tracing::warn!(
                "no HTTP on {address}: {error}; --http ADDR:PORT takes another port, --no-http none"
            ),
        }
    }
}
