//! The auth service of a streaming site: it has a table of streamers, and tells a streaming server who may publish and play.
//!
//! Encoders send a key where the stream's name would be; the service answers with the name that everybody may know. It
//! speaks nginx-rtmp's callbacks, which streamengine's `[hooks]` speaks too.

mod key;
mod service;
mod streamers;

use clap::{Parser, Subcommand};
use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;
use streamers::Streamers;

/// Tells a streaming server who may publish and play, by a table in PostgreSQL
///
/// The server asks with nginx-rtmp's `on_publish` and `on_play`, or with `[hooks]` of streamengine. An encoder has a key for
/// its stream's name; the answer leads to the name that viewers know.
#[derive(Parser)]
#[command(
    version,
    after_help = "Begin with:\n  auth-service add alice --database postgres://user@localhost/site\n  \
                                 auth-service serve --database postgres://user@localhost/site"
)]
struct Args {
    #[command(subcommand)]
    command: Command,
    /// The database; its table `streamers` is made where it is not there. In the environment, a password in it is in no list
    /// of processes
    #[arg(
        long,
        global = true,
        env = "DATABASE_URL",
        hide_env_values = true,
        value_name = "postgres://USER@HOST/NAME"
    )]
    database: Option<String>,
}

#[derive(Subcommand)]
enum Command {
    /// Makes a key for a name, and prints it, this once
    ///
    /// A name may have several keys: for a new one in place of an old one, add it, and let the old one expire.
    Add {
        /// What viewers know: letters, digits and -._ only
        name: String,
        /// The application that it publishes in
        #[arg(long, default_value = "live")]
        app: String,
        /// From when on nobody begins with it: 12h, 30d
        #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
        expires: Option<Duration>,
    },
    /// Lets a name publish and be played no more; who is on air leaves with the server's next on_update
    Block {
        /// The name
        name: String,
    },
    /// Takes that back
    Unblock {
        /// The name
        name: String,
    },
    /// Answers the streaming server, until SIGINT or SIGTERM
    Serve {
        /// Where: for the streaming server only, not for the internet
        #[arg(long, default_value = "127.0.0.1:8000", value_name = "ADDRESS:PORT")]
        listen: SocketAddr,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("auth-service: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(Args { command, database }: Args) -> Result<(), String> {
    let url =
        database.ok_or("which database? Give --database postgres://USER@HOST/NAME, or set DATABASE_URL")?;
    let streamers = Streamers::open(&url).await?;
    match command {
        Command::Add { name, app, expires } => {
            let key = streamers.add(&name, &app, expires).await?;
            writeln!(std::io::stdout(), "{key}")
                .map_err(|error| format!("the key cannot be printed: {error}"))
        }
        Command::Block { name } => streamers.block(&name, true).await,
        Command::Unblock { name } => streamers.block(&name, false).await,
        Command::Serve { listen } => service::serve(streamers, listen).await,
    }
}
