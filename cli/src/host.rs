//! Runs an engine for a command: signals, the ready line, draining, and an orderly end.

use crate::output::EventLines;
use crate::{Failure, descriptors};
use std::future::Future;
#[cfg(unix)]
use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;
use streamengine::{Config, Engine, EngineBuilder, Error, ErrorKind, EventReceiver, ListenerInfo, LogTail};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Asked for by Ctrl-C or SIGTERM, or by the terminal that goes away. A second signal ends the process at once.
#[derive(Clone)]
pub(crate) struct Stop {
    asked: CancellationToken,
}

/// What SIGHUP means, where no terminal has gone away.
#[derive(Clone)]
pub(crate) enum Hangup {
    /// Nothing, which is told.
    Ignored,
    /// Somebody is told of it; of several together once.
    Told(Arc<Notify>),
}

impl Stop {
    /// Takes the signals from now on.
    pub(crate) fn on_signals(hangup: Hangup) -> Result<Self, Error> {
        let runtime = runtime()?;
        let entered = runtime.enter();
        let mut signals = Signals::new(hangup).map_err(|cause| Error::io("handle signals", cause))?;
        drop(entered);
        let asked = CancellationToken::new();
        let token = asked.clone();
        // A thread of its own, so that nothing in the command can keep a second signal waiting.
        std::thread::spawn(move || {
            runtime.block_on(async {
                let name = signals.next().await.1;
                // First what is asked for, then the word about it.
                token.cancel();
                tracing::info!("{name}: ending in good order; once more ends at once");
                std::process::exit(128 + signals.next().await.0);
            });
        });
        Ok(Self { asked })
    }

    /// The outcome of work that may take long, such as reading through a film; `None` where the end is asked for before.
    /// The work then goes on until the process ends, which does not wait for it.
    pub(crate) fn or<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Option<T>, Error> {
        block_on(async {
            tokio::select! {
                () = self.asked() => Ok(None),
                outcome = apart(work) => outcome.map(Some),
            }
        })?
    }

    /// Asks for the end after this time.
    pub(crate) fn ask_after(&self, time: Duration) {
        let asked = self.asked.clone();
        std::thread::spawn(move || {
            std::thread::sleep(time);
            asked.cancel();
        });
    }

    /// Waits until the end is asked for.
    pub(crate) async fn asked(&self) {
        self.asked.cancelled().await;
    }
}

/// The outcome of work on a thread of its own, which nobody waits for at the end of the process.
pub(crate) async fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    let (done, outcome) = tokio::sync::oneshot::channel();
    // Nobody wants the outcome any more where it cannot be sent.
    std::thread::spawn(move || drop(done.send(work())));
    outcome.await.map_err(|_| Error::new(ErrorKind::Internal, "a bug in streamengine has ended this work"))
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
    /// Which of stdin, stdout and stderr were terminals at the start.
    terminals: [bool; 3],
    meaning: Hangup,
}

#[cfg(unix)]
impl Signals {
    fn new(meaning: Hangup) -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            terminals: terminals(),
            meaning,
        })
    }

    /// The number and name of the next signal that asks for the end.
    async fn next(&mut self) -> (i32, &'static str) {
        loop {
            tokio::select! {
                biased;
                _ = self.hangup.recv() => {}
                _ = self.interrupt.recv() => return (2, "interrupted"),
                _ = self.terminate.recv() => return (15, "asked to terminate"),
            }
            // A window that was closed ends what ran in it. Service managers and scripts mean something else by SIGHUP.
            if self.terminals != terminals() {
                return (1, "the terminal is gone");
            }
            match &self.meaning {
                Hangup::Told(told) => told.notify_one(),
                Hangup::Ignored => tracing::warn!(
                    "SIGHUP is ignored: this command has no settings to read again, `serve` has"
                ),
            }
        }
    }
}

#[cfg(unix)]
fn terminals() -> [bool; 3] {
    [std::io::stdin().is_terminal(), std::io::stdout().is_terminal(), std::io::stderr().is_terminal()]
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new(_meaning: Hangup) -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> (i32, &'static str) {
        match tokio::signal::ctrl_c().await {
            Ok(()) => (2, "interrupted"),
            Err(_) => std::future::pending().await,
        }
    }
}

/// An engine, and its events from the very start, once to act on and once to print.
pub(crate) struct Started {
    pub(crate) engine: Engine,
    pub(crate) events: EventReceiver,
    pub(crate) to_print: EventReceiver,
}

impl Started {
    /// Starts an engine.
    pub(crate) fn new(config: Config) -> Result<Self, Error> {
        Self::of(Engine::builder(), config)
    }

    /// Starts one that tells admins of the log.
    pub(crate) fn telling(config: Config, log: LogTail) -> Result<Self, Error> {
        Self::of(Engine::builder().log_tail(log), config)
    }

    fn of(builder: EngineBuilder, config: Config) -> Result<Self, Error> {
        descriptors::warn_if_too_few(&config);
        let builder = builder.config(config).assets(streamengine_web::assets());
        let (events, to_print) = (builder.events(), builder.events());
        let engine = builder.start()?;
        engine.listeners().iter().for_each(tell);
        Ok(Self { engine, events, to_print })
    }
}

/// The error of a start, with what to do about it.
pub(crate) fn with_way_out(error: Error) -> Failure {
    let hint = match error.kind() {
        ErrorKind::AddressInUse => {
            "; choose another address with --rtmp ADDR:PORT (or --rtmps, --http, --https; port 0 takes any free one)"
        }
        ErrorKind::Permission => "; ports below 1024 may need more rights",
        ErrorKind::Io if is_foreign_address(&error) => {
            "; this machine has no such address: `ip address` lists those that it has, 0.0.0.0 means all of them"
        }
        _ => "",
    };
    let mut failure = Failure::from(error);
    failure.text.push_str(hint);
    failure
}

fn is_foreign_address(error: &Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<std::io::Error>());
    cause.is_some_and(|cause| cause.kind() == std::io::ErrorKind::AddrNotAvailable)
}

/// Logs an open listener.
pub(crate) fn tell(listener: &ListenerInfo) {
    tracing::info!(address = %listener.address, "listening for {}", listener.protocol);
}

/// Drains and stops engines, all at the same time, and waits until it has been told on stdout.
pub(crate) fn finish<const N: usize>(engines: [Engine; N], lines: Option<EventLines>) -> Result<(), Error> {
    let drained = block_on(drain(&engines))?;
    drop(engines);
    if let Some(lines) = lines {
        lines.finish();
    }
    drained
}

async fn drain(engines: &[Engine]) -> Result<(), Error> {
    let mut draining: JoinSet<_> =
        engines.iter().cloned().map(|engine| async move { engine.drain().await }).collect();
    let mut result = Ok(());
    while let Some(drained) = draining.join_next().await {
        result = result.and(drained.unwrap_or(Ok(())));
    }
    result
}

/// Runs a command's own waiting; the engine has threads of its own.
pub(crate) fn block_on<F: Future>(future: F) -> Result<F::Output, Error> {
    Ok(runtime()?.block_on(future))
}

fn runtime() -> Result<tokio::runtime::Runtime, Error> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|cause| Error::io("start the command's runtime", cause))
}
