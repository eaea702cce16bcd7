//! `reload`, and what a server does when it is asked for: by this command or by SIGHUP.

use crate::args::{ReloadArgs, ServeArgs};
use crate::beside::Beside;
use crate::control::{Answer, Asked, Control, ask, default_path};
use crate::{Failure, config, host, output};
use std::sync::{Arc, Mutex, PoisonError};
use streamengine::{Error, ErrorKind, Reloaded, WeakEngine};
use tokio::sync::Notify;

/// Asks a server, and tells what it answers.
pub(crate) fn run(args: &ReloadArgs) -> Result<(), Failure> {
    let path = args.control.clone().or_else(default_path).ok_or_else(|| {
        Failure::usage(
            "reload: which server? --control PATH names the socket that it has been given by --control; SIGHUP does the \
             same, without an answer",
        )
    })?;
    match ask(&path)? {
        Answer::Reloaded(reloaded) if args.json => output::print_json(&reloaded),
        Answer::Reloaded(reloaded) => output::print_result(&in_words(&reloaded)),
        Answer::Refused { text, status } => Err(Failure { status, text }),
    }
}

fn in_words(reloaded: &Reloaded) -> String {
    match reloaded.changes.as_slice() {
        [] => "nothing is different\n".to_owned(),
        changes => changes.iter().map(|change| format!("{change}\n")).collect(),
    }
}

/// A server's configuration, and who asks to read it again.
pub(crate) struct Reloads {
    source: Arc<Source>,
    hangup: Arc<Notify>,
    control: Option<Control>,
}

struct Source {
    args: ServeArgs,
    engine: WeakEngine,
    beside: Mutex<Beside>,
}

impl Reloads {
    /// Makes the socket to ask over, where one is named.
    pub(crate) fn new(
        args: ServeArgs,
        engine: WeakEngine,
        beside: Beside,
        hangup: Arc<Notify>,
    ) -> Result<Self, Failure> {
        let path = args.control.clone().or_else(default_path);
        let control = path.map(Control::open).transpose()?;
        let source = Arc::new(Source { args, engine, beside: Mutex::new(beside) });
        Ok(Self { source, hangup, control })
    }

    /// Reads the configuration again whenever somebody asks for it. Ends only where nobody can.
    pub(crate) async fn serve(self) -> Error {
        let Self { source, hangup, control } = self;
        let control = match control.map(Control::listen).transpose() {
            Ok(control) => control,
            Err(error) => return Error::io("--control", error),
        };
        let next = || async {
            match &control {
                Some(control) => control.next().await,
                None => std::future::pending().await,
            }
        };
        loop {
            tokio::select! {
                () = hangup.notified() => drop(source.clone().answer().await),
                stream = next() => if let Some(asked) = Asked::by(stream).await {
                    asked.answer(&source.clone().answer().await).await;
                },
            }
        }
    }
}

impl Source {
    async fn answer(self: Arc<Self>) -> Answer {
        let reloaded = host::apart(move || self.reload()).await;
        match reloaded.map_err(Failure::from).and_then(|reloaded| reloaded) {
            Ok(reloaded) => {
                tracing::info!("configuration read again; changes: {}", reloaded.changes.len());
                Answer::Reloaded(reloaded)
            }
            Err(Failure { status, text }) => {
                tracing::error!("configuration read again, and not taken: {text}; all stays as it is");
                Answer::Refused { text, status }
            }
        }
    }

    fn reload(&self) -> Result<Reloaded, Failure> {
        let gone = || Error::new(ErrorKind::Closed, "the server is about to end");
        let engine = self.engine.upgrade().ok_or_else(gone)?;
        let serving = config::for_serve(&self.args)?;
        let config = serving.to_start();
        let reloaded = engine.reload(config.clone()).map_err(|error| config::why_not(error, config))?;
        let mut beside = self.beside.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = beside.suit(&engine, &serving) {
            tracing::warn!("{error}");
        }
        Ok(reloaded)
    }
}
