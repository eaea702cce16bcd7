//! `serve`: listeners for RTMP and HTTP, with and without TLS, and what else the configuration says.

use crate::args::ServeArgs;
use crate::beside::Beside;
use crate::config::{PORT, Serving};
use crate::host::{self, Hangup, Started, Stop};
use crate::output::{self, Console, Origin, Ready};
#[cfg(unix)]
use crate::reload::Reloads;
use crate::{Failure, addresses, config, rates};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use streamengine::{Engine, Error, ErrorKind, HttpConfig, LogTail, Protocol, WeakEngine};
use tokio::sync::Notify;

/// How often rates are logged where there is no terminal.
const LOG_PERIOD: Duration = Duration::from_secs(60);

/// Serves until it is asked to end.
pub(crate) fn run(args: ServeArgs, console: &Console) -> Result<(), Failure> {
    // Before signals are taken, so that they end a read of the configuration that stands still.
    let serving = config::for_serve(&args)?;
    let (config, hangup) = (serving.config.clone(), Arc::new(Notify::new()));
    let stop = Stop::on_signals(Hangup::Told(hangup.clone()))?;
    let login = config.http.clone();
    let (rule, asks) = (config.publish_rule(), config.publish.authmod_adobe);
    let app = config.apps.keys().next().map_or_else(|| "live".to_owned(), String::clone);
    let tail = console.tail.clone();
    let Some(started) = stop.or(move || start(&serving, tail))? else { return Ok(()) };
    let (Started { engine, to_print, .. }, beside) =
        started.map_err(|error| config::why_not(error, config))?;
    if only_rtmps(&engine) {
        tracing::info!(
            "plain RTMP is not served, as --rtmps or rtmps.listen is given alone; --rtmp 0.0.0.0:{PORT} adds it"
        );
    }
    tracing::info!("publishing: {}", config::publishing(&rule, asks));
    tell_of_login(&engine, &login);
    let is_json = args.json;
    let reloads = ForReloads { args, engine: engine.downgrade(), beside, hangup }.start()?;
    let lines = output::announce(is_json, &Ready::new([&engine]), [(to_print, Origin::Only)]);
    if !is_json {
        console.say(addresses::welcome(&engine.listeners(), &rule, asks, &app));
    }
    let engines = [engine];
    host::block_on(async {
        tokio::select! {
            () = stop.asked() => Ok(()),
            () = rates::show(&engines, console, LOG_PERIOD) => Ok(()),
            error = reloads => Err(error),
        }
    })??;
    match host::finish(engines, lines) {
        Err(error) if error.kind() == ErrorKind::Timeout => tracing::warn!("{error}"),
        drained => drained?,
    }
    Ok(())
}

fn only_rtmps(engine: &Engine) -> bool {
    engine.listeners().iter().all(|listener| listener.protocol != Protocol::Rtmp)
}

/// Says how to set a password where there is none, and what that means.
fn tell_of_login(engine: &Engine, http: &HttpConfig) {
    let serves = |protocol| engine.listeners().iter().any(|listener| listener.protocol == protocol);
    let is_kept = http.password_file.as_ref().is_some_and(|path| path.exists());
    if http.password.is_some() || is_kept || !(serves(Protocol::Http) || serves(Protocol::Https)) {
        return;
    }
    let how = match &http.password_file {
        Some(path) => format!("streamengine passwd --file {}", path.display()),
        None => "streamengine passwd".to_owned(),
    };
    let who = match http.local_admin {
        true => {
            "from this machine everything may be seen and changed over HTTP, and nobody logs in from elsewhere"
        }
        false => "nobody logs in over HTTP",
    };
    tracing::info!("no password is set, so {who}; `{how}` makes one");
}

/// What it takes to read the configuration again.
struct ForReloads {
    args: ServeArgs,
    engine: WeakEngine,
    beside: Beside,
    hangup: Arc<Notify>,
}

impl ForReloads {
    /// Lets who may ask for it. What is returned does it, and ends only where nobody can ask.
    #[cfg(unix)]
    fn start(self) -> Result<impl Future<Output = Error>, Failure> {
        let Self { args, engine, beside, hangup } = self;
        Ok(Reloads::new(args, engine, beside, hangup)?.serve())
    }

    /// Nobody can ask for it here.
    #[cfg(not(unix))]
    fn start(self) -> Result<impl Future<Output = Error>, Failure> {
        Ok(async move {
            let _kept = self;
            std::future::pending().await
        })
    }
}

fn start(serving: &Serving, log: LogTail) -> Result<(Started, Beside), Error> {
    let started = Started::telling(serving.to_start(), log)?;
    let mut beside = Beside::default();
    beside.suit(&started.engine, serving)?;
    Ok((started, beside))
}
