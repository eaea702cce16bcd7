//! Writes the manual pages and shell completions of the command line into a folder, for packages:
//!
//!     cargo run -p streamengine-cli --example pages -- target/pages
//!
//! A program of its own, so that the command does not carry what is needed once.

// The command uses all of it.
#[allow(dead_code, unreachable_pub)]
#[path = "../src/args.rs"]
mod args;

use clap::{CommandFactory, ValueEnum};
use clap_complete::Shell;
use std::path::PathBuf;

fn main() -> std::io::Result<()> {
    let Some(folder) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: pages FOLDER");
        std::process::exit(2);
    };
    std::fs::create_dir_all(&folder)?;
    let mut command = args::Cli::command();
    for &shell in Shell::value_variants() {
        clap_complete::generate_to(shell, &mut command, "streamengine", &folder)?;
    }
    clap_mangen::generate_to(command, &folder)
}
