//! The command line: commands, options, and the help that explains them.

// Named, as the manual pages are made of this file from elsewhere.
#[path = "args/access.rs"]
pub(crate) mod access;

use access::secret;
pub(crate) use access::{KeysArgs, PasswdArgs, SignArgs, TokenArgs};
use clap::{Args, Parser, Subcommand};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use streamengine::{Secret, StreamKey};

const EXIT_STATUS: &str = "\
Exit status:
  0  done, or ended by Ctrl-C / SIGTERM in good order (a second one ends at once)
  1  failed while running; the last line on stderr names what failed and why
  2  the command line or the configuration is wrong, or a file that it names";

const SERVE_HELP: &str = "\
Examples:
  streamengine serve                            port 1935, publish from here only
  streamengine serve --publish-key s3cret       publish as STREAM?key=s3cret
  streamengine serve --keys keys.db             publish with a key of one's own; see the command keys
  streamengine serve --rtmp 127.0.0.1:0 --json  any free port, told on stdout
  streamengine serve --config streamengine.toml --set apps.live.takeover=reject
  streamengine serve --rtmps 0.0.0.0:443 --cert chain.pem --key key.pem
  streamengine serve --https 0.0.0.0:8443 --cert chain.pem --key key.pem

Publish with   ffmpeg -re -i FILE -c copy -f flv rtmp://HOST/live/NAME
Play with      ffplay rtmp://HOST/live/NAME
            or in a browser, at http://HOST:8080/play/live/NAME
The start tells the addresses of this machine in place of HOST.

A second publisher of a name is refused (\"already publishing\") while the first one sends. Once that has been silent for \
0.5 s, who has the same right (key, or this machine) takes over, and players stay; --set default_app.takeover=replace \
lets anyone with a right take over at once, reject nobody while the first is connected.

Settings are taken from the file, then from the environment (STREAMENGINE_LIMITS__MAX_CONNECTIONS=5000 sets \
limits.max_connections), then from --set, then from the other options; the last one wins.

With --json, stdout carries one JSON object per line: first
  {\"event\":\"ready\",\"rtmp\":[\"127.0.0.1:40001\"],\"rtmps\":[],\"http\":[],\"https\":[],\"pid\":4711}
and then the events: listener-opened, listener-closed, session-opened, session-closed, stream-started, stream-ended, play-started, play-ended, refused, relay-state, file-state, recording-state, recording-file. \
Logs go to stderr.";

const LOOP_HELP: &str = "\
Examples:
  streamengine loop clip.flv rtmp://live.example.com/app/KEY
  streamengine loop a.flv b.flv rtmp://one.example/live/x rtmp://two.example/live/y
  streamengine loop clip.mp4 --local live/clip --rtmp 0.0.0.0:1935
  streamengine loop clip.flv rtmp://127.0.0.1/live/test --loops 3

Arguments that begin with rtmp:// or rtmps:// are targets, all others are FLV or MP4 files. Files are played one after the \
other, in real time, with a seamless seam, for ever or --loops times. One that is deleted, cut or written over while it \
plays is waited for until it is whole again: with --loops for 60 s, else for ever.

A target that cannot be reached is tried again for ever. A target that refuses (bad key, name taken) before it has \
ever accepted is given up; when no target is left and nothing is served here, the command ends with status 1. \
--retry makes it ask again instead, and --max-retries bounds both. With --loops, status 0 means that every target took the stream to its end without \
interruption; frames played before it was connected are counted in the log.";

const RELAY_HELP: &str = "\
Examples:
  streamengine relay rtmp://camera.lan/live/cam rtmp://live.example.com/app/KEY
  streamengine relay rtmp://in.example/live/x rtmp://a.example/live/x rtmps://b.example/app/KEY
  streamengine relay rtmp://in.example/live/x rtmps://own.example/live/x --ca cert.pem
  streamengine relay rtmp://camera.lan/live/cam rtmp://live.example.com/app/KEY --max-retries 5 --connect-timeout 3000

Neither end need be up when it starts: what cannot be reached is tried again for ever. What is refused before it was \
ever granted (bad key, no such stream) is given up; when the source or all targets are, the command ends with \
status 1. --retry makes it ask again instead, and --max-retries bounds both.";

const RECORD_HELP: &str = "\
Examples:
  streamengine record rtmp://127.0.0.1/live/cam recordings
  streamengine record https://example.com/live/cam.flv recordings --format fmp4 --segment 600
  streamengine record rtmp://camera.lan/live/cam recordings --duration 60

Files are DIR/record/NAME/TIME-N.flv (or .mp4), NAME being that of the stream in the URL. While one is being written it is called ....part; \
it can be opened all the same, and so can what a process that was killed has left, which the next start makes whole.

What cannot be reached is tried again for ever. What is refused before it was ever granted (bad key, no such stream) is given up, and the \
command ends with status 1; --retry makes it ask again instead. A stream that ends and begins anew goes on in another file.";

const DEMO_HELP: &str = "\
Serves RTMP on 127.0.0.1:1935 and loops a bundled clip as live/demo, which a browser shows from port 8080. A second server \
on 127.0.0.1:1936 gets it relayed as live/demo-copy. Where a port is taken, a free one is used and told.

Examples:
  streamengine demo
  streamengine demo --duration 10   end after 10 s; status 0 if the copy is live";

const PROBE_HELP: &str = "\
Examples:
  streamengine probe rtmp://127.0.0.1/live/demo
  streamengine probe http://127.0.0.1:8080/live/demo.flv
  streamengine probe clip.flv --json";

const LATENCY_HELP: &str = "\
Examples:
  streamengine latency rtmp://127.0.0.1/live/test http://127.0.0.1:8080
  streamengine latency rtmp://in.example/live/test?key=KEY rtmp://out.example/live/test
  streamengine latency rtmp://h/live/test wss://h/live/test.flv https://h/live/test/index.m3u8 --seconds 30

A clip is published to the first RTMP URL, with the time of sending in each picture (an SEI message of H.264), and played by \
that URL and all others: rtmp://, rtmps://, http(s)://.../x.flv, ws(s)://.../x.flv, http(s)://.../x.m3u8. The address of a server for \
HTTP alone stands for the last three of these. Publisher and players are this process, so there is one clock, also where a stream \
goes through several servers: the difference between two rows is what is between them.

HLS is measured to the arrival of the part or segment that a picture is in. A line of its own tells how old pictures are at a player \
that keeps as far from the end as the server asks it to: that far, and as much as playlists are late to tell of the end. H.264 in \
MPEG-TS may have a time cut in two, which then counts as missing.";

const CHECK_COMPAT_HELP: &str = "\
Examples:
  streamengine check-compat rtmp://127.0.0.1/live/test --http http://127.0.0.1:8080
  streamengine check-compat rtmps://live.example.com/app/KEY --timeout 10 --json
  streamengine check-compat rtmp://h/live/test?key=KEY --http 'https://h/live?app={app}&stream={stream}'

Each client is spoken like from its handshake on, and judged is what comes over the wire: none of them need be installed, and the \
server may be of any make. What a check says:
  works         as the client is used to have it
  differs       the client gets along, but its user notices
  does not      it fails, or nothing could be tried
  not offered   the server has nothing of the kind

A clip of 10 s is published by the name in the URL. Where a player sees a stream of this name, that is left alone, and a name beside \
it is used and told. Handshake, publishing, playing and the start of streams are essential, of each client: the status is 0 when all of \
that works or differs only, else 1. It takes about half a minute, and longer where the server leaves questions unanswered.";

#[cfg(unix)]
const RELOAD_HELP: &str = "\
Examples:
  streamengine serve --config streamengine.toml --control /run/user/1000/streamengine
  streamengine reload --control /run/user/1000/streamengine
  systemctl reload streamengine

The server reads its file again, then takes environment and options as at its start. What is different is done: listeners, \
certificates, apps, relays, files, origins, keys and limits; what is the same is not touched, and nobody is cut off. What is wrong \
changes nothing, and the status is 2. SIGHUP does the same, and the server's log tells what came of it.";

const CHECK_CONFIG_HELP: &str = "\
Examples:
  streamengine check-config streamengine.toml
  STREAMENGINE_LIMITS__MAX_CONNECTIONS=5000 streamengine check-config /etc/streamengine/streamengine.toml

Files that it names (certificates, keys, folders, clips) are looked at too. Nothing is listened to, and no server asked.";

/// RTMP server, relay and file looper.
///
/// Serves live streams to players, relays them between servers, and plays FLV and MP4 files as live streams.
#[derive(Debug, Parser)]
#[command(name = "streamengine", version, after_help = EXIT_STATUS)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

#[derive(Debug, Args)]
pub(crate) struct LogArgs {
    /// What to log on stderr: error, warn, info, debug, trace, off, or filters such as info,streamengine=debug
    /// [default: info, with --quiet warn]
    #[arg(long, global = true, display_order = 900, value_name = "LEVEL", env = "STREAMENGINE_LOG")]
    pub(crate) log: Option<String>,
    /// Log as JSON, one object per line
    #[arg(long, global = true, display_order = 901)]
    pub(crate) log_json: bool,
    /// Tell of trouble only: no addresses to open, no live rates
    #[arg(long, short, global = true, display_order = 902)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve RTMP: let encoders publish and players play
    #[command(after_help = with_status(SERVE_HELP))]
    Serve(ServeArgs),
    /// Play FLV and MP4 files as a live stream, into other servers or served here
    #[command(after_help = with_status(LOOP_HELP))]
    Loop(LoopArgs),
    /// Fetch a stream from one server and push it to others
    #[command(after_help = with_status(RELAY_HELP))]
    Relay(RelayArgs),
    /// Record a stream into files, FLV or MP4
    #[command(after_help = with_status(RECORD_HELP))]
    Record(RecordArgs),
    /// Show a clip served, looped and relayed to a second server, all in one process
    #[command(after_help = with_status(DEMO_HELP))]
    Demo(DemoArgs),
    /// Tell what is in a stream or a file, FLV or MP4: tracks, codecs, sizes, rates
    #[command(after_help = with_status(PROBE_HELP))]
    Probe(ProbeArgs),
    /// Measure how long frames take through a running server, on each way by which it can be played
    #[command(after_help = with_status(LATENCY_HELP))]
    Latency(LatencyArgs),
    /// Tell what of OBS, ffmpeg, librtmp and mpegts.js works with a running server, of any make
    #[command(after_help = with_status(CHECK_COMPAT_HELP))]
    CheckCompat(CheckCompatArgs),
    /// Make, list and revoke keys of publishers and players
    Keys(KeysArgs),
    /// Sign a URL, so that whoever has it may play or publish its stream for a while
    Sign(SignArgs),
    /// Make a token for who watches or steers a server over HTTP
    Token(TokenArgs),
    /// Set the password by which one logs in to a server over HTTP
    Passwd(PasswdArgs),
    /// Have a server read its configuration again, and tell what has changed
    #[cfg(unix)]
    #[command(after_help = with_status(RELOAD_HELP))]
    Reload(ReloadArgs),
    /// Check a configuration file, with what the environment adds, and tell what it means
    #[command(after_help = with_status(CHECK_CONFIG_HELP))]
    CheckConfig(CheckArgs),
}

fn with_status(help: &str) -> String {
    format!("{help}\n\n{EXIT_STATUS}")
}

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Configuration file (TOML); see check-config
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Listen for RTMP here; repeatable, port 0 takes any free one [default: 0.0.0.0:1935 and [::]:1935, nothing where --rtmps is given]
    #[arg(long, value_name = "ADDR:PORT", value_parser = address)]
    pub(crate) rtmp: Vec<SocketAddr>,
    /// Listen for RTMP over TLS here, and for plain RTMP only where --rtmp is given too; repeatable
    #[arg(long, value_name = "ADDR:PORT", value_parser = address)]
    pub(crate) rtmps: Vec<SocketAddr>,
    /// Listen for players over HTTP here, FLV and MP4, also by WebSocket; repeatable [default: port 8080 of the
    /// addresses that plain RTMP is served on, where it is free; nothing where --https is given]
    #[arg(long, value_name = "ADDR:PORT", value_parser = address)]
    pub(crate) http: Vec<SocketAddr>,
    /// The same over TLS, and over plain HTTP only where --http is given too; repeatable. Without --cert, with a
    /// certificate that signs itself, of which browsers warn once
    #[arg(long, value_name = "ADDR:PORT", value_parser = address)]
    pub(crate) https: Vec<SocketAddr>,
    /// Serve nothing over HTTP, whatever the configuration says
    #[arg(long, conflicts_with_all = ["http", "https"])]
    pub(crate) no_http: bool,
    /// Certificate chain for --rtmps and --https (PEM), read again when it changes
    #[arg(long, value_name = "FILE", requires = "key")]
    pub(crate) cert: Option<PathBuf>,
    /// Private key for --rtmps and --https (PEM)
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub(crate) key: Option<PathBuf>,
    /// Where to keep a certificate that signs itself [default: $STATE_DIRECTORY, as systemd names it, else streamengine in
    /// $XDG_STATE_HOME or ~/.local/state]
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    /// Publishing needs this key, as STREAM?key=KEY or STREAM:KEY. Better from the environment: other users of this
    /// machine can read command lines
    #[arg(long, value_name = "KEY", env = "STREAMENGINE_PUBLISH_KEY", hide_env_values = true)]
    #[arg(value_parser = secret)]
    pub(crate) publish_key: Option<Secret>,
    /// Publishing needs a key of this database: an SQLite file, which is made where it is not there, or
    /// postgres://USER:PASSWORD@HOST/NAME; see the command keys
    #[arg(long, value_name = "FILE|URL", env = "STREAMENGINE_KEYS", hide_env_values = true, value_parser = secret)]
    pub(crate) keys: Option<Secret>,
    /// The file with the password by which one logs in over HTTP, which the command passwd writes, and the server where another
    /// password is set
    #[arg(long, value_name = "PATH")]
    pub(crate) password_file: Option<PathBuf>,
    /// Let anybody publish who can reach the port [default: from this machine only]
    #[arg(long, conflicts_with = "publish_key")]
    pub(crate) open: bool,
    /// Set a value of the configuration by its dotted key; repeatable
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = setting)]
    pub(crate) settings: Vec<(String, String)>,
    /// Let this user and the administrator have the server read its configuration again by the command reload, over a
    /// socket that is made here [default: control in $RUNTIME_DIRECTORY, where systemd names such a folder]
    #[cfg(unix)]
    #[arg(long, value_name = "PATH", env = "STREAMENGINE_CONTROL")]
    pub(crate) control: Option<PathBuf>,
    /// Print events on stdout, one JSON object per line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct LoopArgs {
    /// FLV and MP4 files to play, and rtmp:// or rtmps:// URLs to push to
    #[arg(required = true, value_name = "FILE|URL")]
    pub(crate) sources_and_targets: Vec<String>,
    /// Name of the stream in this process
    #[arg(long, value_name = "APP/STREAM")]
    pub(crate) local: Option<StreamKey>,
    /// Serve the local stream to players here as well; repeatable
    #[arg(long, value_name = "ADDR:PORT", value_parser = address, requires = "local")]
    pub(crate) rtmp: Vec<SocketAddr>,
    /// How often to play the files [default: for ever]
    #[arg(long, value_name = "N", value_parser = positive::<u64>)]
    pub(crate) loops: Option<u64>,
    /// Ask again where a target refuses
    #[arg(long)]
    pub(crate) retry: bool,
    #[command(flatten)]
    pub(crate) tuning: TuningArgs,
    /// Print events on stdout, one JSON object per line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RelayArgs {
    /// Where the stream comes from: rtmp[s]://[user:pass@]host[:port]/app/stream[?query], or http[s]://.../app/stream.flv
    #[arg(value_name = "FROM-URL")]
    pub(crate) from: String,
    /// Where it goes to
    #[arg(required = true, value_name = "TO-URL")]
    pub(crate) to: Vec<String>,
    /// Ask again where the source or a target refuses
    #[arg(long)]
    pub(crate) retry: bool,
    #[command(flatten)]
    pub(crate) tuning: TuningArgs,
    /// Print events on stdout, one JSON object per line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RecordArgs {
    /// Where the stream comes from: rtmp[s]://[user:pass@]host[:port]/app/stream[?query], or http[s]://.../app/stream.flv
    #[arg(value_name = "URL")]
    pub(crate) from: String,
    /// The folder to record into
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// How to write it: flv (all that comes) or fmp4 (what browsers and editors open)
    #[arg(long, value_name = "FORMAT", default_value = "flv", value_parser = ["flv", "fmp4"])]
    pub(crate) format: String,
    /// Begin another file at the first keyframe after so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = positive::<u64>)]
    pub(crate) segment: Option<u64>,
    /// End after this time [default: run until Ctrl-C]
    #[arg(long, value_name = "SECONDS", value_parser = positive::<u64>)]
    pub(crate) duration: Option<u64>,
    /// Ask again where the source refuses
    #[arg(long)]
    pub(crate) retry: bool,
    /// Give the source up after so many failed attempts one after the other, the first not counted [default: never]
    #[arg(long, value_name = "N")]
    pub(crate) max_retries: Option<u32>,
    /// Longest time from the start of an attempt to the granted stream, in milliseconds
    #[arg(long, value_name = "MS", value_parser = positive::<u64>)]
    pub(crate) connect_timeout: Option<u64>,
    #[command(flatten)]
    pub(crate) trust: TrustArgs,
    /// Print events on stdout, one JSON object per line
    #[arg(long)]
    pub(crate) json: bool,
}

// How other servers are connected to. No doc comment: it would become that of the command.
#[derive(Debug, Args)]
pub(crate) struct TuningArgs {
    /// Give a server up after so many failed attempts one after the other, the first not counted [default: never]
    #[arg(long, value_name = "N")]
    pub(crate) max_retries: Option<u32>,
    /// Longest time from the start of an attempt to the granted stream, in milliseconds
    #[arg(long, value_name = "MS", value_parser = positive::<u64>)]
    pub(crate) connect_timeout: Option<u64>,
    /// Bytes per RTMP chunk towards targets [default: 65536]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..=0x7FFF_FFFF))]
    pub(crate) chunk_size: Option<u32>,
    /// Send one more text field in the connect command, such as pageUrl=https://example.com/ or flashVer=...; repeatable
    #[arg(long, value_name = "KEY=VALUE", value_parser = connect_field)]
    pub(crate) connect: Vec<(String, String)>,
    #[command(flatten)]
    pub(crate) trust: TrustArgs,
}

// Which certificates of rtmps:// servers are taken.
#[derive(Debug, Default, Args)]
pub(crate) struct TrustArgs {
    /// Trust the certificates in this file (PEM) besides the system's, for rtmps:// servers
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    pub(crate) ca: Option<PathBuf>,
    /// Take any certificate of rtmps:// servers: whoever is on the way can read and change the stream
    #[arg(long)]
    pub(crate) insecure: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Address of the first server [default: 127.0.0.1:1935, or a free port]
    #[arg(long, value_name = "ADDR:PORT", value_parser = address)]
    pub(crate) rtmp: Option<SocketAddr>,
    /// Address of the second server [default: 127.0.0.1:1936, or a free port]
    #[arg(long, value_name = "ADDR:PORT", value_parser = address)]
    pub(crate) rtmp2: Option<SocketAddr>,
    /// Where the first server has its pages for browsers [default: 127.0.0.1:8080, or a free port]
    #[arg(long, value_name = "ADDR:PORT", value_parser = address)]
    pub(crate) http: Option<SocketAddr>,
    /// End after this time [default: run until Ctrl-C]
    #[arg(long, value_name = "SECONDS")]
    pub(crate) duration: Option<u32>,
    /// Print events on stdout, one JSON object per line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ProbeArgs {
    /// An rtmp:// or rtmps:// URL, FLV at an http:// or https:// one, or a file, FLV or MP4
    #[arg(value_name = "URL|FILE")]
    pub(crate) target: String,
    /// How long to watch a URL, from its first frame
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = positive::<u32>)]
    pub(crate) seconds: u32,
    #[command(flatten)]
    pub(crate) trust: TrustArgs,
    /// Print the result as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct LatencyArgs {
    /// Where to publish to (the first rtmp:// or rtmps:// URL) and by which ways to play
    #[arg(required = true, value_name = "URL")]
    pub(crate) urls: Vec<String>,
    /// How long to measure, once all ways have begun
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = positive::<u32>)]
    pub(crate) seconds: u32,
    #[command(flatten)]
    pub(crate) trust: TrustArgs,
    /// Print the result as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CheckCompatArgs {
    /// Where to publish to and to play from: rtmp[s]://host[:port]/app/stream[?query]
    #[arg(value_name = "URL")]
    pub(crate) url: String,
    /// Where the server has its streams as FLV: an address, which stands for /{app}/{stream}.flv there, or a URL with {app} and {stream}
    /// in it. The query of the stream is sent there too [default: mpegts.js is not tried]
    #[arg(long, value_name = "URL")]
    pub(crate) http: Option<String>,
    /// How long the server may take for each answer
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = positive::<u32>)]
    pub(crate) timeout: u32,
    #[command(flatten)]
    pub(crate) trust: TrustArgs,
    /// Print the result as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[cfg(unix)]
#[derive(Debug, Args)]
pub(crate) struct ReloadArgs {
    /// The socket that the server has been given by --control [default: control in $RUNTIME_DIRECTORY]
    #[arg(long, value_name = "PATH", env = "STREAMENGINE_CONTROL")]
    pub(crate) control: Option<PathBuf>,
    /// Print the answer as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Configuration file (TOML)
    pub(crate) file: PathBuf,
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
        let what = match (host.trim_matches(['[', ']']).parse::<IpAddr>(), port.parse::<u16>()) {
            _ if text.contains("://") => "an address, not a URL, is needed: ",
            (Ok(_), Err(_)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !port.is_empty() => {
                "ports end at 65535: "
            }
            // `:1935`, as Go's programs have it, and `1935`.
            _ if host.is_empty() || text.parse::<u16>().is_ok() => "the address before the port is missing: ",
            (Err(_), Ok(_)) if !host.contains(':') => "a name says nothing about where to listen; ",
            _ if text.parse::<IpAddr>().is_ok() => "the port behind the address is missing: ",
            _ => "",
        };
        format!("{what}expected ADDR:PORT, such as 0.0.0.0:1935 (every address), [::]:1935 or 127.0.0.1:1935")
    })
}

/// A number from 1 on.
fn positive<T: FromStr + PartialEq + From<u8>>(text: &str) -> Result<T, String> {
    let number = text.parse().ok().filter(|number| *number != T::from(0));
    number.ok_or_else(|| "expected a whole number of 1 or more".to_owned())
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (key, value) =
        text.split_once('=').ok_or("expected KEY=VALUE, such as limits.max_connections=5000")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

fn connect_field(text: &str) -> Result<(String, String), String> {
    let (key, value) =
        text.split_once('=').ok_or("expected KEY=VALUE, such as pageUrl=https://example.com/")?;
    Ok((key.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_publish_key_is_not_printed() {
        let cli = Cli::try_parse_from(["streamengine", "serve", "--publish-key", "s3cret"]).unwrap();
        assert!(!format!("{cli:?}").contains("s3cret"));
    }

    #[test]
    fn what_is_no_address_is_told_by_what_is_wrong_with_it() {
        for (text, words) in [
            ("127.0.0.1:99999", "ports end at 65535"),
            ("[::]:65536", "ports end at 65535"),
            ("1935", "the address before the port is missing"),
            (":1935", "the address before the port is missing"),
            ("0.0.0.0", "the port behind the address is missing"),
            ("::1", "the port behind the address is missing"),
            ("localhost:1935", "a name says nothing"),
            ("rtmp://127.0.0.1:1935", "not a URL"),
            ("127.0.0.1:x", "expected ADDR:PORT"),
            ("", "expected ADDR:PORT"),
        ] {
            let error = address(text).unwrap_err();
            assert!(error.contains(words) && error.contains("0.0.0.0:1935"), "{text}: {error}");
        }
        assert_eq!(address("[::1]:0"), Ok("[::1]:0".parse().unwrap()));
    }
}
