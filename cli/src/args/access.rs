//! The commands about who may do what: keys, signed URLs, tokens, and the password.

use super::{EXIT_STATUS, positive, with_status};
use clap::{Args, Subcommand};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};
use streamengine::{HttpRole, Secret, StreamKey};

const KEYS_HELP: &str = "\
Examples:
  streamengine keys add live/alice --keys keys.db --who alice
  streamengine keys add live/alice --keys keys.db --expires 30d --max-kbps 6000 --max-viewers 200
  streamengine keys list --keys keys.db
  streamengine keys rotate 7k3mq9x2ab --keys keys.db --overlap 2d
  streamengine keys revoke 7k3mq9x2ab --keys keys.db
  streamengine serve --keys keys.db

A key is shown once, when it is made; the database has no more of it than is needed to know it again. It is called by what \
stands before its dash. An encoder sends it as the name of the stream (server rtmp://HOST/APP, stream key KEY), as \
STREAM?key=KEY or as STREAM:KEY; all others see the stream's name.

A server that runs notices within two seconds what is changed here: whose key is revoked is off the air.

SQLite keeps what is newest in files beside keys.db: copy all of keys.db* while no server runs, or take `keys export`.";

const SIGN_HELP: &str = "\
Examples:
  streamengine sign rtmp://live.example.com/live/a --for 2h --config streamengine.toml
  streamengine sign http://live.example.com:8080/play/live/a --for 30m
  streamengine sign rtmp://live.example.com/live/a --publish --for 1d --address 192.0.2.7

The secret is that of the server, signed_urls.secret: from the configuration, or from the environment as \
STREAMENGINE_SIGNED_URLS__SECRET. Who has the URL may play its stream until then, or with --publish publish it.";

const TOKEN_HELP: &str = "\
Examples:
  streamengine token prometheus
  streamengine token alice --role admin
  curl -H \"Authorization: Bearer TOKEN\" http://live.example.com:8080/api/v1/streams

A token is shown once, when it is made; the configuration has its hash only. A viewer may look, at /stat, /metrics and /api/v1; an \
admin may change something too.";

const PASSWD_HELP: &str = "\
Examples:
  streamengine passwd
  streamengine passwd --file /var/lib/streamengine/password
  streamengine serve --password-file /var/lib/streamengine/password

The password is asked for twice; where stdin is no terminal, its first line is the password. It has 8 characters at least. Who logs in by it \
over HTTP may see and change everything. What is printed, or written to the file, is its hash (argon2id). A server that runs takes another \
file by the command reload, and all who have logged in are logged out.";

#[derive(Debug, Args)]
#[command(after_help = with_status(KEYS_HELP))]
pub(crate) struct KeysArgs {
    #[command(subcommand)]
    pub(crate) command: KeysCommand,
    /// The database: an SQLite file, or postgres://USER:PASSWORD@HOST/NAME. Passwords better from the environment: other
    /// users of this machine can read command lines
    #[arg(
        long = "keys",
        global = true,
        value_name = "FILE|URL",
        env = "STREAMENGINE_KEYS",
        hide_env_values = true
    )]
    #[arg(value_parser = secret)]
    pub(crate) database: Option<Secret>,
    /// Print JSON on stdout
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Make a key, and the database where it is not there; the key is shown this once
    #[command(after_help = EXIT_STATUS)]
    Add(AddArgs),
    /// List keys, those that expired and were revoked too
    #[command(after_help = EXIT_STATUS)]
    List {
        /// Of this stream only
        #[arg(value_name = "APP/STREAM")]
        stream: Option<StreamKey>,
    },
    /// Show what a key opens
    #[command(after_help = EXIT_STATUS)]
    Show {
        /// What stands before the dash of the key
        #[arg(value_name = "ID")]
        id: String,
    },
    /// Make a key useless, and end what it has opened
    #[command(after_help = EXIT_STATUS)]
    Revoke {
        /// What stands before the dash of the key
        #[arg(value_name = "ID")]
        id: String,
    },
    /// Make a key that opens the same as another one, which expires after a while
    #[command(after_help = EXIT_STATUS)]
    Rotate {
        /// What stands before the dash of the key
        #[arg(value_name = "ID")]
        id: String,
        /// For how long the old key goes on to be good
        #[arg(long, value_name = "TIME", default_value = "1d", value_parser = humantime::parse_duration)]
        overlap: Duration,
    },
    /// Take in keys: what `export` has written, or keys that you have already, one JSON object in a line:
    /// {"key":"...","stream":"live/a","who":"alice"}
    #[command(after_help = EXIT_STATUS)]
    Import {
        /// The file; - reads stdin
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Write all keys for `import` into another database. Whoever has this can try out keys: keep it as you keep the
    /// database
    #[command(after_help = EXIT_STATUS)]
    Export {
        /// A new file, for its owner only; - writes to stdout
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct AddArgs {
    /// The stream that it is for
    #[arg(value_name = "APP/STREAM")]
    pub(crate) stream: StreamKey,
    /// For playing the stream, not for publishing it (servers ask for such keys with keys.play = true)
    #[arg(long)]
    pub(crate) play: bool,
    /// Whose it is: who is lost can be replaced by a key of the same person
    #[arg(long, value_name = "NAME")]
    pub(crate) who: Option<String>,
    /// Most kbit/s of a publisher
    #[arg(long, value_name = "N", value_parser = positive::<u64>)]
    pub(crate) max_kbps: Option<u64>,
    /// Most players of its stream
    #[arg(long, value_name = "N", value_parser = positive::<u64>)]
    pub(crate) max_viewers: Option<u64>,
    /// From when on nobody begins with it: a time from now (30d, 12h) or a date (2027-01-31, 2027-01-31T18:00:00Z)
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) expires: Option<SystemTime>,
    /// When what is on air by it ends, in the same form
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) until: Option<SystemTime>,
}

#[derive(Debug, Args)]
#[command(after_help = with_status(SIGN_HELP))]
pub(crate) struct SignArgs {
    /// The URL of the stream, as an encoder, a player or a browser has it
    #[arg(value_name = "URL", value_parser = secret)]
    pub(crate) url: Secret,
    /// For how long it is good, such as 2h, 30m or 1d
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) time: Duration,
    /// For publishing the stream, not for playing it
    #[arg(long)]
    pub(crate) publish: bool,
    /// Good from this address only
    #[arg(long, value_name = "IP")]
    pub(crate) address: Option<std::net::IpAddr>,
    /// Configuration file (TOML) with the secret
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = with_status(TOKEN_HELP))]
pub(crate) struct TokenArgs {
    /// What it is called in the configuration
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// What it is good for: viewer or admin
    #[arg(long, value_name = "ROLE", default_value = "viewer", value_parser = role)]
    pub(crate) role: HttpRole,
    /// Print JSON on stdout
    #[arg(long)]
    pub(crate) json: bool,
}

fn role(text: &str) -> Result<HttpRole, String> {
    match text {
        "viewer" => Ok(HttpRole::Viewer),
        "admin" => Ok(HttpRole::Admin),
        _ => Err("expected viewer or admin".to_owned()),
    }
}

/// A text that is not to be shown again.
pub(super) fn secret(text: &str) -> Result<Secret, String> {
    match text {
        "" => Err("it is empty".to_owned()),
        _ => Ok(Secret::new(text)),
    }
}

/// A time from now on, or a date.
fn moment(text: &str) -> Result<SystemTime, String> {
    let from_now = humantime::parse_duration(text).ok().and_then(|time| SystemTime::now().checked_add(time));
    let at_midnight = || humantime::parse_rfc3339_weak(&format!("{text} 00:00:00")).ok();
    let date = || humantime::parse_rfc3339_weak(text).ok().or_else(at_midnight);
    from_now
        .or_else(date)
        .ok_or_else(|| "expected a time from now such as 30d or 12h, or a date such as 2027-01-31 or 2027-01-31T18:00:00Z".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_from_now_or_a_date() {
        let date = |text| humantime::parse_rfc3339(text).unwrap();
        assert_eq!(moment("2027-01-31"), Ok(date("2027-01-31T00:00:00Z")));
        assert_eq!(moment("2027-01-31T18:00:00Z"), Ok(date("2027-01-31T18:00:00Z")));
        let (before, tomorrow) = (SystemTime::now(), moment("1d").unwrap());
        assert!((before..SystemTime::now()).contains(&(tomorrow - Duration::from_secs(24 * 3600))));
        for text in ["", "tomorrow", "30", "2027-13-01", "9999999999999y"] {
            assert!(moment(text).unwrap_err().contains("30d"), "{text}");
        }
    }
}

#[derive(Debug, Args)]
#[command(after_help = with_status(PASSWD_HELP))]
pub(crate) struct PasswdArgs {
    /// Write the hash to this file, for its owner only, in place of printing the line for the configuration
    #[arg(long, value_name = "PATH")]
    pub(crate) file: Option<PathBuf>,
}
