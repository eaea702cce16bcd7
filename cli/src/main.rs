//! streamengine: the stand-alone server, relay and file looper. A thin host of the library's public API.
#![forbid(unsafe_code)]

mod args;
mod config;
mod demo;
mod host;
mod output;
mod probe;
mod rates;
mod relay;
mod serve;

use args::{Cli, Command};
use clap::Parser;
use std::process::ExitCode;
use streamengine::{Error, ErrorKind};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = output::Console::start(&cli.log).and_then(|console| match cli.command {
        Command::Serve(args) => serve::run(args, &console),
        Command::Loop(args) => relay::run_loop(args, &console),
        Command::Relay(args) => relay::run_relay(args, &console),
        Command::Demo(args) => demo::run(args, &console),
        Command::Probe(args) => probe::run(args),
        Command::CheckConfig(args) => config::check(&args.file),
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("streamengine: {}", failure.text);
            ExitCode::from(failure.status)
        }
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
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error.kind() {
            ErrorKind::InvalidArgument => Self::usage(error.to_string()),
            _ => Self::running(error.to_string()),
        }
    }
}
