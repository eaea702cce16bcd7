//! streamengine: the stand-alone server, relay and file looper. A thin host of the library's public API.
#![forbid(unsafe_code)]

mod addresses;
mod args;
mod beside;
mod check_compat;
mod config;
mod connection;
#[cfg(unix)]
mod control;
mod demo;
mod descriptors;
mod foreign;
mod host;
mod keys;
mod latency;
mod lines;
mod output;
mod passwd;
mod probe;
mod rates;
mod record;
mod relay;
#[cfg(unix)]
mod reload;
mod self_signed;
mod serve;
mod sign;
mod tail;
mod token;

use args::{Cli, Command};
use clap::Parser;
use std::io::Write;
use std::process::ExitCode;
use streamengine::{Error, ErrorKind};

fn main() -> ExitCode {
    let cli = Cli::parse();
    descriptors::raise_limit();
    let console = match output::Console::start(&cli.log) {
        Ok(console) => console,
        Err(failure) => {
            // Nothing runs yet that could be held up, and who cannot be told has the exit status.
            let _ = writeln!(std::io::stderr(), "{}", failure.line());
            return ExitCode::from(failure.status);
        }
    };
    let failed = run(cli.command, &console).err();
    console.end(failed.as_ref().map(|failure| failure.line() + "\n"));
    failed.map_or(ExitCode::SUCCESS, |failure| ExitCode::from(failure.status))
}

fn run(command: Command, console: &output::Console) -> Result<(), Failure> {
    match command {
        Command::Serve(args) => serve::run(args, console),
        Command::Loop(args) => relay::run_loop(args, console),
        Command::Relay(args) => relay::run_relay(args, console),
        Command::Record(args) => record::run(args, console),
        Command::Demo(args) => demo::run(args, console),
        Command::Probe(args) => probe::run(args),
        Command::Latency(args) => latency::run(&args),
        Command::CheckCompat(args) => check_compat::run(&args),
        Command::Keys(args) => keys::run(args),
        Command::Sign(args) => sign::run(&args),
        Command::Token(args) => token::run(&args),
        Command::Passwd(args) => passwd::run(&args),
        #[cfg(unix)]
        Command::Reload(args) => reload::run(&args),
        Command::CheckConfig(args) => config::check(&args.file),
    }
}

/// Why a command ended without success: what the user reads, and the exit status that scripts read.
#[derive(Debug)]
struct Failure {
    status: u8,
    text: String,
}

impl Failure {
    /// The command line or the configuration is wrong.
    fn usage(text: impl Into<String>) -> Self {
        Self { status: 2, text: text.into() }
    }

    /// It was started rightly and failed.
    fn running(text: impl Into<String>) -> Self {
        Self { status: 1, text: text.into() }
    }

    /// The last line on stderr.
    fn line(&self) -> String {
        format!("streamengine: {}", self.text)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error.kind() {
            ErrorKind::InvalidArgument => Self::usage(error.to_string()),
            _ => Self::running(error.to_string()),
        }
    }
}
