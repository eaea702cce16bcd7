//! The configuration: everything an engine can be told, one schema for TOML, JSON, environment, C and Rust.

mod auth;
mod bounds;
mod difference;
mod hls;
mod http;
mod keys;
mod record;
mod source;

pub use auth::{
    AuthConfig, Decider, HookMethod, HookStyle, HooksConfig, KeysConfig, PublishConfig, SignatureStyle,
    SignedUrlsConfig, WhenAway,
};
pub use difference::{ChangeKind, ConfigChange, Reloaded, TakesEffect};
pub use hls::{HlsConfig, HlsFormat, HlsWhen};
#[cfg(feature = "http")]
pub(crate) use http::site;
pub use http::{DestinationConfig, HttpRole, HttpTokenConfig, TokenHash};
pub use record::{RecordConfig, RecordFormat, RecordWhen};
#[cfg(feature = "http")]
pub(crate) use source::entry;
pub use source::{ConfigSource, OptionSource};

pub(crate) use difference::{Before, Difference, Matched};

use crate::access::{self, AccessRule, network};
use crate::key::{Secret, StreamKey, is_app_of_origin};
use crate::limits::ms;
#[cfg(feature = "http")]
use crate::password::PasswordHash;
use crate::policy::{StartAt, StreamPolicy, Takeover};
use crate::proto::client::StopCommands;
use crate::url::{OriginUrl, PathTemplate, RemoteUrl, RtmpUrl};
use crate::{Error, ErrorKind, Limits, Result};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Everything an engine can be told.
///
/// As TOML, sections are tables: `[rtmp] listen = ["0.0.0.0:1935"]`. Times are in milliseconds, sizes in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// Plain RTMP.
    pub rtmp: RtmpConfig,
    /// RTMP over TLS.
    pub rtmps: RtmpsConfig,
    /// Players over HTTP: FLV and MP4, also by WebSocket.
    pub http: HttpConfig,
    /// The same over TLS.
    pub https: HttpsConfig,
    /// Who may publish, where the embedding program does not decide.
    pub publish: PublishConfig,
    /// URLs that are signed, by whoever has the secret, for one stream and a while.
    pub signed_urls: SignedUrlsConfig,
    /// Keys of publishers and players, in a database.
    pub keys: KeysConfig,
    /// An HTTP service that is asked and told.
    pub hooks: HooksConfig,
    /// Who is asked first.
    pub auth: AuthConfig,
    /// The policy of apps that have no section of their own.
    pub default_app: AppConfig,
    /// Policies by app. Where any app is listed, others are refused.
    pub apps: BTreeMap<String, AppConfig>,
    /// Streams pushed to other servers.
    pub push: Vec<PushConfig>,
    /// Where publishers over WebSocket may have their streams pushed to, by names that they choose among.
    pub destination: Vec<DestinationConfig>,
    /// Streams fetched from other servers.
    pub pull: Vec<PullConfig>,
    /// Servers that streams are fetched from when somebody wants to play them, by alias.
    pub origins: BTreeMap<String, OriginConfig>,
    /// FLV and MP4 files played as live streams.
    pub file: Vec<FileConfig>,
    /// TLS towards other servers.
    pub tls: TlsConfig,
    /// Threads and draining.
    pub engine: EngineConfig,
    /// Limits on peers.
    pub limits: Limits,
}

setters! {
    Config:
    RtmpConfig { rtmp } RtmpsConfig { rtmps } HttpConfig { http } HttpsConfig { https } PublishConfig { publish }
    SignedUrlsConfig { signed_urls } KeysConfig { keys } HooksConfig { hooks } AuthConfig { auth } AppConfig { default_app }
    BTreeMap<String, AppConfig> { apps } Vec<PushConfig> { push } Vec<DestinationConfig> { destination } Vec<PullConfig> { pull } BTreeMap<String, OriginConfig> { origins }
    Vec<FileConfig> { file }
    TlsConfig { tls } EngineConfig { engine } Limits { limits }
}

/// Plain RTMP.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct RtmpConfig {
    /// Addresses to listen on, `HOST:PORT`; port 0 takes any free one. A list, or one text with commas.
    #[serde(deserialize_with = "addresses")]
    pub listen: Vec<SocketAddr>,
    /// Load balancers in front of these listeners, by address (`10.0.0.7`) or network (`10.0.0.0/8`): each connection from
    /// them has to begin with a header of the PROXY protocol, version 1 or 2, and the address in it is the peer's for
    /// authorisation, limits, logs and events. From others no such header is taken. A list, or one text with commas.
    #[serde(deserialize_with = "networks", serialize_with = "as_texts")]
    pub proxy_protocol_from: Vec<IpNet>,
}

setters!(RtmpConfig: Vec<SocketAddr> { listen } Vec<IpNet> { proxy_protocol_from });

/// RTMP over TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct RtmpsConfig {
    /// Addresses to listen on, `HOST:PORT`; port 0 takes any free one. A list, or one text with commas.
    #[serde(deserialize_with = "addresses")]
    pub listen: Vec<SocketAddr>,
    /// Load balancers in front of these listeners, by address (`10.0.0.7`) or network (`10.0.0.0/8`): each connection from
    /// them has to begin with a header of the PROXY protocol, version 1 or 2, and the address in it is the peer's for
    /// authorisation, limits, logs and events. From others no such header is taken. A list, or one text with commas.
    #[serde(deserialize_with = "networks", serialize_with = "as_texts")]
    pub proxy_protocol_from: Vec<IpNet>,
    /// Certificate chain, PEM. Read again when the file changes.
    pub cert: Option<PathBuf>,
    /// Private key, PEM.
    pub key: Option<PathBuf>,
}

setters!(RtmpsConfig: Vec<SocketAddr> { listen } Vec<IpNet> { proxy_protocol_from }; PathBuf { cert, key });

/// Players over HTTP: FLV and MP4, also by WebSocket. Needs the cargo feature `http`, which is on unless it is switched off.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct HttpConfig {
    /// Addresses to listen on, `HOST:PORT`; port 0 takes any free one. A list, or one text with commas.
    #[serde(deserialize_with = "addresses")]
    pub listen: Vec<SocketAddr>,
    /// Load balancers in front of these listeners, as [`RtmpConfig::proxy_protocol_from`].
    #[serde(deserialize_with = "networks", serialize_with = "as_texts")]
    pub proxy_protocol_from: Vec<IpNet>,
    /// Whether `/streams` lists the live streams to whoever asks, with links to their pages, and `/` where there is no
    /// dashboard. It holds for HTTPS too.
    pub index: bool,
    /// Whether `/` is the dashboard, for those who manage the engine, where the program has given one. It holds for HTTPS too.
    pub dashboard: bool,
    /// The app whose streams are also where nginx-rtmp has playlists: `/hls/NAME.m3u8` and `/hls/NAME/index.m3u8`. Empty for none.
    pub hls_app: String,
    /// Who may see statistics, by address or network, at `/stat` and `/metrics`: this machine, unless it is said otherwise. What a
    /// proxy brings is not from this machine, and a request must name the server by an address, or by one of [`Self::hosts`].
    #[serde(deserialize_with = "networks", serialize_with = "as_texts")]
    pub stat_allow: Vec<IpNet>,
    /// Who may end and move connections at `/control`, likewise. Nobody, unless it is said otherwise.
    #[serde(deserialize_with = "networks", serialize_with = "as_texts")]
    pub control_allow: Vec<IpNet>,
    /// Sites whose pages may do in a browser what its user may do here, `http://HOST[:PORT]`.
    #[serde(deserialize_with = "sites")]
    pub control_origins: Vec<String>,
    /// Whether one may publish here: by WebSocket at `/APP/STREAM`, and by `POST` or `PUT` to `/APP/STREAM.flv`. It holds for HTTPS too.
    pub publish: bool,
    /// Sites whose pages may publish in a browser, `http://HOST[:PORT]`, beside those of this server itself.
    #[serde(deserialize_with = "sites")]
    pub publish_origins: Vec<String>,
    /// Proxies that tell in `X-Forwarded-For` for whom they ask.
    #[serde(deserialize_with = "networks", serialize_with = "as_texts")]
    pub trusted_proxies: Vec<IpNet>,
    /// Names of this server, for those who are known by their address alone: any other may be one that a page of another site has
    /// given to our address.
    #[serde(deserialize_with = "hosts")]
    pub hosts: Vec<String>,
    /// Who is known by a token.
    pub token: Vec<HttpTokenConfig>,
    /// The password of those who log in, as its hash: a PHC string of argon2id, as [`PasswordHash`](crate::PasswordHash) makes it.
    /// With none, and no [`Self::password_file`], nobody logs in until one is set.
    pub password: Option<Secret>,
    /// A file with that hash, which counts where it is there. Another password that is set later is written to it.
    pub password_file: Option<PathBuf>,
    /// Whether one may log in from another machine without TLS: passwords and cookies are on the wire then for all to read.
    pub allow_plain_login: bool,
    /// Whether this machine may do everything by `/api/v1` as long as no password is set. `serve` has it so unless it is told otherwise.
    pub local_admin: bool,
}

setters! {
    HttpConfig:
    Vec<SocketAddr> { listen } Vec<IpNet> { proxy_protocol_from, stat_allow, control_allow, trusted_proxies }
    bool { index, allow_plain_login, local_admin, dashboard, publish }
    String { hls_app } Vec<String> { control_origins, publish_origins, hosts } Vec<HttpTokenConfig> { token };
    Secret { password } PathBuf { password_file }
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            proxy_protocol_from: Vec::new(),
            index: true,
            dashboard: true,
            hls_app: "live".to_owned(),
            stat_allow: ["127.0.0.0/8", "::1"].into_iter().filter_map(network).collect(),
            control_allow: Vec::new(),
            control_origins: Vec::new(),
            publish: true,
            publish_origins: Vec::new(),
            trusted_proxies: Vec::new(),
            hosts: Vec::new(),
            token: Vec::new(),
            password: None,
            password_file: None,
            allow_plain_login: false,
            local_admin: false,
        }
    }
}

impl HttpConfig {
    /// Checks what the types cannot.
    fn check(&self) -> std::result::Result<(), &'static str> {
        let is_there_twice = |(index, token): (usize, &HttpTokenConfig)| {
            let mut before = self.token.iter().take(index);
            before.any(|other| other.name == token.name || other.sha256 == token.sha256)
        };
        if self.token.iter().enumerate().any(is_there_twice) {
            return Err("http.token: each token has a name of its own, and is there once");
        }
        #[cfg(feature = "http")]
        if self.password.as_ref().is_some_and(|hash| PasswordHash::parse(hash.expose()).is_err()) {
            return Err(
                "http.password is the argon2id hash of a password, as `streamengine passwd` makes it",
            );
        }
        Ok(())
    }
}

/// Players over HTTP with TLS. Needs the cargo feature `http` too.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct HttpsConfig {
    /// Addresses to listen on, `HOST:PORT`; port 0 takes any free one. A list, or one text with commas.
    #[serde(deserialize_with = "addresses")]
    pub listen: Vec<SocketAddr>,
    /// Load balancers in front of these listeners, as [`RtmpConfig::proxy_protocol_from`].
    #[serde(deserialize_with = "networks", serialize_with = "as_texts")]
    pub proxy_protocol_from: Vec<IpNet>,
    /// Certificate chain, PEM. Read again when the file changes.
    pub cert: Option<PathBuf>,
    /// Private key, PEM.
    pub key: Option<PathBuf>,
}

setters!(HttpsConfig: Vec<SocketAddr> { listen } Vec<IpNet> { proxy_protocol_from }; PathBuf { cert, key });

/// The policy of an app.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct AppConfig {
    /// From which addresses one may publish and play: rules of which the first that is about a request holds, such as
    /// `["allow publish 10.0.0.0/8", "deny publish all"]`. Who is denied is refused at once; who is allowed needs the key or
    /// whatever else is asked for, and where nothing is, publishes as this machine does. What no rule is about goes on as
    /// without any.
    #[serde(deserialize_with = "access_rules")]
    pub access: Vec<AccessRule>,
    /// Who may take a stream's name over: `reject`, `replace` or `replace-if-stalled`.
    pub takeover: Takeover,
    /// How long players stay connected while a lost publisher is away; 0 ends the stream at once.
    pub resume_window_ms: u64,
    /// Whether players also stay for that time after a publisher has ended its stream in good order, as between two
    /// films from one encoder. Else such an end is theirs too, at once.
    pub resume_after_end: bool,
    /// How long a player waits for a stream that nobody publishes; 0 refuses at once.
    pub wait_for_publisher_ms: u64,
    /// How long a player of a stream that has video but no keyframe waits for one; then it gets what there is, and its
    /// decoder may make a picture of it.
    pub keyframe_wait_ms: u64,
    /// How long a publisher may give no sign, neither media nor the answer to a ping, in milliseconds, where that is not
    /// [`Limits::publisher_timeout_ms`]. ffmpeg answers pings only while it sends, so a still picture by it needs
    /// more than the time between two of its frames.
    pub publisher_timeout_ms: Option<u64>,
    /// How long a publisher, or a server that is pulled from, may send no audio or video, in milliseconds, though it answers
    /// pings: a still picture may be one frame in minutes. Decoder configuration, data and empty messages do not count.
    /// Without it, for ever, once there has been something ([`Limits::first_media_timeout_ms`]).
    pub max_media_gap_ms: Option<u64>,
    /// Where players start: `keyframe` or `live-edge`.
    pub start: StartAt,
    /// When frames are written to players: `with-video`, `immediate` or `merge`.
    pub flush: FlushKind,
    /// With `merge`: milliseconds between writes.
    pub merge_ms: u64,
    /// A player may ask with `?latency=MS` in its URL for another rhythm: 0 for `immediate`, else `merge` of so
    /// many milliseconds or somewhat fewer: it gets the next lower one of 0, 20, 50, 100, 200, 500, 1000 and the two bounds,
    /// because each rhythm that somebody plays in costs the stream a writer of its own. Not less than this.
    pub min_latency_ms: u64,
    /// Nor more than this; where it is below `min_latency_ms`, what the URL asks for is not heard.
    pub max_latency_ms: u64,
    /// Most bytes, from the newest keyframe on, that players start with; where there are more they start at the live edge.
    pub max_start_bytes: Option<u64>,
    /// How old the next frame of a player may get, in milliseconds, once it has caught up; then it goes on at the newest
    /// keyframe, or drops video until the next one comes. Else the ring is the limit.
    pub max_queue_ms: Option<u64>,
    /// The same for the bytes that a player has not taken.
    pub max_queue_bytes: Option<u64>,
    /// Bytes that the ring of a stream holds, where that is less than [`Limits::ring_bytes`].
    pub ring_bytes: Option<usize>,
    /// Most kbit/s that a publisher may send: who sends more for 5 s is told of in the log, for 15 s is ended. What was saved
    /// before may go at once.
    pub max_kbps: Option<u64>,
    /// Most players that a stream may have. Those who wait for its publisher may be more.
    pub max_viewers: Option<u64>,
    /// HLS and low-latency HLS.
    pub hls: HlsConfig,
    /// Recordings.
    pub record: RecordConfig,
}

setters! {
    AppConfig:
    Vec<AccessRule> { access } Takeover { takeover } StartAt { start } FlushKind { flush } HlsConfig { hls } RecordConfig { record }
    bool { resume_after_end }
    u64 { resume_window_ms, wait_for_publisher_ms, keyframe_wait_ms, merge_ms, min_latency_ms, max_latency_ms };
    u64 { publisher_timeout_ms, max_media_gap_ms, max_start_bytes, max_queue_ms, max_queue_bytes, max_kbps, max_viewers }
    usize { ring_bytes }
}

/// When frames are written to players. Most of what a player costs is the number of writes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FlushKind {
    /// Video at once; audio goes with the next video frame, and waits 50 ms at most. Adds no delay to video
    /// and halves the cost.
    #[default]
    #[serde(alias = "ride")]
    WithVideo,
    /// Every frame at once.
    Immediate,
    /// Everything of a period in one write: least cost, for large audiences that bear the delay.
    Merge,
}

named!(FlushKind { WithVideo => "with-video", Immediate => "immediate", Merge => "merge" });

/// What `?latency=MS` can come to, besides the bounds of the app.
const LATENCY_STEPS_MS: [u64; 7] = [0, 20, 50, 100, 200, 500, 1_000];

/// A flush policy with its period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Flush {
    WithVideo,
    Immediate,
    Merge(std::time::Duration),
}

impl AppConfig {
    /// What holds for the readers of a stream whose publisher says nothing about them.
    pub(crate) fn policy(&self) -> StreamPolicy {
        StreamPolicy {
            start: Some(self.start),
            max_start_bytes: self.max_start_bytes,
            max_queue_ms: self.max_queue_ms,
            max_queue_bytes: self.max_queue_bytes,
            keyframe_wait_ms: Some(self.keyframe_wait_ms),
            ring_bytes: self.ring_bytes,
            max_viewers: self.max_viewers,
        }
    }

    /// How long a publisher may give no sign.
    pub(crate) fn publisher_timeout(&self, limits: &Limits) -> std::time::Duration {
        ms(self.publisher_timeout_ms.unwrap_or(limits.publisher_timeout_ms))
    }

    /// The flush policy of a player that asks for `latency_ms` in its URL, or for nothing. There are few, whatever URLs ask
    /// for: a shard each is what a stranger could have made.
    pub(crate) fn flush_for(&self, latency_ms: Option<u64>) -> Flush {
        let (least, most) = (self.min_latency_ms, self.max_latency_ms);
        let step = |wish: u64| {
            let wish = wish.clamp(least, most);
            let steps = LATENCY_STEPS_MS.into_iter().chain([least, most]);
            steps.filter(|step| (least..=wish).contains(step)).max().unwrap_or(least)
        };
        match latency_ms.filter(|_| least <= most).map(step) {
            Some(0) => Flush::Immediate,
            Some(period) => Flush::Merge(ms(period)),
            None => match self.flush {
                FlushKind::WithVideo => Flush::WithVideo,
                FlushKind::Immediate => Flush::Immediate,
                FlushKind::Merge => Flush::Merge(ms(self.merge_ms)),
            },
        }
    }
}

impl Default for AppConfig {
    fn default() -> Self {
        Self {
            access: Vec::new(),
            takeover: Takeover::default(),
            resume_window_ms: 10_000,
            resume_after_end: false,
            wait_for_publisher_ms: 10_000,
            keyframe_wait_ms: 3_000,
            publisher_timeout_ms: None,
            max_media_gap_ms: None,
            start: StartAt::default(),
            flush: FlushKind::default(),
            merge_ms: 100,
            min_latency_ms: 0,
            max_latency_ms: 1_000,
            max_start_bytes: None,
            max_queue_ms: None,
            max_queue_bytes: None,
            ring_bytes: None,
            max_kbps: None,
            max_viewers: None,
            hls: HlsConfig::default(),
            record: RecordConfig::default(),
        }
    }
}

/// A stream pushed to another server. As TOML or JSON, all of it is one table.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(feature = "http", derive(schemars::JsonSchema))]
#[serde(from = "keys::PushKeys")]
#[non_exhaustive]
pub struct PushConfig {
    /// The local stream, `app/stream`.
    pub stream: StreamKey,
    /// Where to: `rtmp[s]://[user:pass@]host[:port]/app/stream[?query]`.
    #[cfg_attr(feature = "http", schemars(with = "String"))]
    pub url: RtmpUrl,
    /// The app there, where it is not what [`RtmpUrl`] takes for it. Shown by programs as it is.
    pub remote_app: Option<String>,
    /// The stream there, in the same way; it may be a key.
    #[cfg_attr(feature = "http", schemars(with = "Option<String>"))]
    pub remote_stream: Option<Secret>,
    /// Whether a refusal by the server is final: `retry` (default) or `fail`.
    pub on_refusal: OnRefusal,
    /// What is asked for this target alone; it may be changed later by
    /// [`Engine::tune_push`](crate::Engine::tune_push).
    #[serde(flatten)]
    pub tuning: PushTuning,
}

setters! {
    PushConfig:
    StreamKey { stream } RtmpUrl { url } OnRefusal { on_refusal } PushTuning { tuning };
    String { remote_app } Secret { remote_stream }
}

/// What a relay does when the peer answers and refuses (bad key, name taken, unknown app).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[cfg_attr(feature = "http", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum OnRefusal {
    /// Ask again, every 5 to 30 s.
    #[default]
    Retry,
    /// A refusal is final ([`RelayState::Failed`](crate::RelayState::Failed)), unless the stream has flowed for 5 s before: then it is taken
    /// to be passing, as the peer may still hold the connection that we lost.
    Fail,
}

named!(OnRefusal { Retry => "retry", Fail => "fail" });

/// How a relay push connects, waits and leaves, where that is not to be as for all relays of the engine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "http", derive(schemars::JsonSchema), schemars(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct PushTuning {
    /// Waits between attempts: the first, doubled up to the last. They hold for refusals too.
    pub retry: Option<RetryTimes>,
    /// Attempts that may fail one after the other, the first not counted; then the relay has failed for good. A stream
    /// that has flowed for 5 s starts the count anew.
    pub max_retries: Option<u32>,
    /// Longest time from the start of an attempt to the granted `publish`, in milliseconds.
    pub connect_timeout_ms: Option<u64>,
    /// Longest time that the target takes no byte while there are some to send, in milliseconds.
    pub write_timeout_ms: Option<u64>,
    /// TLS towards this target.
    pub tls: Option<TlsConfig>,
    /// How to take leave.
    pub stop_commands: StopCommands,
    /// What the target gets first has time 0, on each connection; else the stream's own times are sent.
    pub from_zero: bool,
    /// Bytes per chunk from the next connection on, 1 to 2^31-1; else
    /// [`CHUNK_SIZE_OUT`](crate::proto::chunk::CHUNK_SIZE_OUT).
    pub chunk_size: Option<u32>,
    /// What becomes of Opus where the target has not announced that it takes it.
    pub opus: OpusPolicy,
    /// More text fields of the object of `connect`, such as `swfUrl` and `pageUrl`, from the next connection on.
    /// They go before our own `flashVer` and `type`. Not for secrets: they are shown with the effective values.
    pub connect: BTreeMap<String, String>,
}

setters! {
    PushTuning: StopCommands { stop_commands } OpusPolicy { opus } bool { from_zero } BTreeMap<String, String> { connect };
    RetryTimes { retry } u32 { max_retries, chunk_size } u64 { connect_timeout_ms, write_timeout_ms } TlsConfig { tls }
}

/// What becomes of a stream's Opus where a target has not announced in `connect` (E-RTMP, `fourCcList`) that it takes it. Browsers
/// publish it where they have no AAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[cfg_attr(feature = "http", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum OpusPolicy {
    /// It is sent: many servers pass on what they do not know, and announce nothing.
    #[default]
    Send,
    /// Nothing is sent, and the state tells why.
    Refuse,
    /// The stream is sent without its sound.
    LeaveOut,
}

named!(OpusPolicy { Send => "send", Refuse => "refuse", LeaveOut => "leave-out" });

/// Waits between attempts of a relay, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(feature = "http", derive(schemars::JsonSchema))]
#[serde(try_from = "keys::RetryKeys")]
pub struct RetryTimes {
    /// The first.
    pub min_ms: u64,
    /// The longest.
    pub max_ms: u64,
}

impl PushConfig {
    /// Pushes `stream` to `url`, trying again after refusals.
    pub fn new(stream: StreamKey, url: RtmpUrl) -> Self {
        Self {
            stream,
            url,
            remote_app: None,
            remote_stream: None,
            on_refusal: OnRefusal::default(),
            tuning: PushTuning::default(),
        }
    }

    /// The URL with the names that are given apart from it.
    pub(crate) fn target(&self) -> Result<RtmpUrl> {
        named(&self.url, self.remote_app.as_deref(), self.remote_stream.as_ref())
    }

    /// Checks what the types cannot.
    pub(crate) fn check(&self) -> Result<()> {
        self.tuning
            .check()
            .and_then(|()| self.target().map(drop))
            .map_err(|error| error.context(format_args!("push {} to {}", self.stream, self.url)))
    }
}

impl PushTuning {
    /// Checks what the types cannot.
    pub(crate) fn check(&self) -> Result<()> {
        keys::check_chunk_size(self.chunk_size.map(i64::from))
            .and_then(|()| keys::check_connect(&self.connect))
            .map_err(|text| Error::new(ErrorKind::InvalidArgument, text))?;
        bounds::check("", self)
    }
}

/// A stream fetched from another server.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(feature = "http", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct PullConfig {
    /// Where from: `rtmp[s]://[user:pass@]host[:port]/app/stream[?query]`, or an FLV stream by HTTP:
    /// `http[s]://[user:pass@]host[:port]/path[?query]` (cargo feature `http`).
    #[cfg_attr(feature = "http", schemars(with = "String"))]
    pub url: RemoteUrl,
    /// The local name, `app/stream`.
    #[serde(deserialize_with = "parsed")]
    pub stream: StreamKey,
    /// By RTMP, the app there, where it is not what [`RtmpUrl`] takes for it. Shown by programs as it is.
    pub remote_app: Option<String>,
    /// The stream there, in the same way; it may be a key.
    #[cfg_attr(feature = "http", schemars(with = "Option<String>"))]
    pub remote_stream: Option<Secret>,
    /// `always`, or `watched`: only while somebody plays it.
    #[serde(default)]
    pub when: PullWhen,
    /// With `watched`: how long to go on after the last player has left.
    #[serde(default = "default_linger")]
    pub linger_ms: u64,
    /// Whether a refusal by the server is final: `retry` (default) or `fail`.
    #[serde(default)]
    pub on_refusal: OnRefusal,
    /// Waits between attempts, as [`PushTuning::retry`].
    pub retry: Option<RetryTimes>,
    /// Attempts that may fail one after the other, as [`PushTuning::max_retries`].
    pub max_retries: Option<u32>,
    /// Longest time from the start of an attempt to the granted `play`, in milliseconds.
    pub connect_timeout_ms: Option<u64>,
    /// TLS towards this server.
    pub tls: Option<TlsConfig>,
    /// More text fields of the object of `connect`, as [`PushTuning::connect`].
    #[serde(default, deserialize_with = "keys::connect")]
    pub connect: BTreeMap<String, String>,
}

setters! {
    PullConfig:
    RemoteUrl { url } StreamKey { stream } PullWhen { when } u64 { linger_ms } OnRefusal { on_refusal }
    BTreeMap<String, String> { connect };
    String { remote_app } Secret { remote_stream }
    RetryTimes { retry } u32 { max_retries } u64 { connect_timeout_ms } TlsConfig { tls }
}

impl PullConfig {
    /// Fetches `url` into `stream` all the time, trying again after refusals.
    pub fn new(url: RemoteUrl, stream: StreamKey) -> Self {
        Self {
            url,
            stream,
            remote_app: None,
            remote_stream: None,
            when: PullWhen::default(),
            linger_ms: default_linger(),
            on_refusal: OnRefusal::default(),
            retry: None,
            max_retries: None,
            connect_timeout_ms: None,
            tls: None,
            connect: BTreeMap::new(),
        }
    }

    /// Checks what the types cannot.
    pub(crate) fn check(&self) -> Result<()> {
        self.tuning()
            .check()
            .and_then(|()| self.source().map(drop))
            .and_then(|()| check_not_of_origin(&self.stream))
            .and_then(|()| bounds::check("", self))
            .map_err(|error| error.context(format_args!("pull {} from {}", self.stream, self.url)))
    }

    /// The URL with the names that are given apart from it.
    pub(crate) fn source(&self) -> Result<RemoteUrl> {
        let is_named = self.remote_app.is_some() || self.remote_stream.is_some();
        match &self.url {
            RemoteUrl::Rtmp(url) => {
                Ok(named(url, self.remote_app.as_deref(), self.remote_stream.as_ref())?.into())
            }
            RemoteUrl::Http(_) if cfg!(not(feature = "http")) => Err(no_http("url")),
            RemoteUrl::Http(_) if is_named || !self.connect.is_empty() => {
                let text = "remote_app, remote_stream and connect are of RTMP; by HTTP the URL says all";
                Err(Error::new(ErrorKind::InvalidArgument, text))
            }
            url => Ok(url.clone()),
        }
    }

    /// What is asked for this relay alone, as all relays have it.
    pub(crate) fn tuning(&self) -> PushTuning {
        PushTuning {
            retry: self.retry,
            max_retries: self.max_retries,
            connect_timeout_ms: self.connect_timeout_ms,
            tls: self.tls.clone(),
            connect: self.connect.clone(),
            ..Default::default()
        }
    }
}

fn named(url: &RtmpUrl, app: Option<&str>, stream: Option<&Secret>) -> Result<RtmpUrl> {
    Ok(url.with_names(app, stream.map(Secret::expose))?)
}

fn no_http(key: &str) -> Error {
    let text = format!("{key}: this build fetches nothing by HTTP (cargo feature `http`)");
    Error::new(ErrorKind::InvalidArgument, text)
}

/// Streams of origins have no other publisher than what fetches them.
pub(crate) fn check_not_of_origin(stream: &StreamKey) -> Result<()> {
    match stream.is_of_origin() {
        true => Err(Error::new(ErrorKind::InvalidArgument, format!("stream {stream}: {RESERVED}"))),
        false => Ok(()),
    }
}

/// What is told who wants to publish one.
pub(crate) const RESERVED: &str =
    "names that begin with origin/ are those of streams that are fetched from origins";

fn default_linger() -> u64 {
    10_000
}

/// Servers that streams are fetched from when somebody wants to play them, `origin/ALIAS/APP/STREAM` here: one connection
/// for all players of a stream. The alias, up to 32 of `a-z`, `0-9` and `-`, is all that players name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(feature = "http", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct OriginConfig {
    /// The servers, in the order in which they are asked: `rtmp[s]://` or `http[s]://`, `[user:pass@]host[:port]`.
    #[cfg_attr(feature = "http", schemars(with = "Vec<String>"))]
    pub urls: Vec<OriginUrl>,
    /// Where streams are on those of HTTP: `{app}` and `{stream}` stand for the names.
    #[cfg_attr(feature = "http", schemars(with = "String"))]
    pub http_path: PathTemplate,
    /// The apps that may be fetched; without it, any.
    pub apps: Option<Vec<String>>,
    /// How long players wait for a stream's first frame, all servers together.
    pub wait_ms: u64,
    /// How long a stream is fetched on after its last player; half a second at least.
    pub linger_ms: u64,
    /// How long a server that stands before the present one must send the stream again before players go back to it, at a
    /// keyframe; for that time both are fetched from. 0 = never.
    pub failback_ms: u64,
    /// Streams that are fetched at once.
    pub max_streams: usize,
    /// TLS towards these servers.
    pub tls: Option<TlsConfig>,
}

setters! {
    OriginConfig:
    Vec<OriginUrl> { urls } PathTemplate { http_path } u64 { wait_ms, linger_ms, failback_ms } usize { max_streams };
    Vec<String> { apps } TlsConfig { tls }
}

impl Default for OriginConfig {
    fn default() -> Self {
        Self {
            urls: Vec::new(),
            http_path: PathTemplate::default(),
            apps: None,
            wait_ms: 5_000,
            linger_ms: default_linger(),
            failback_ms: 30_000,
            max_streams: 200,
            tls: None,
        }
    }
}

impl OriginConfig {
    /// Fetches from these servers, the first that has a stream.
    pub fn new(urls: Vec<OriginUrl>) -> Self {
        Self { urls, ..Self::default() }
    }

    /// Whether streams of this app may be fetched.
    pub(crate) fn has_app(&self, app: &str) -> bool {
        self.apps.as_ref().is_none_or(|apps| apps.iter().any(|known| known == app))
    }

    /// Checks what the types cannot.
    pub(crate) fn check(&self, alias: &str) -> Result<()> {
        let place = format!("origins.{alias}");
        bounds::check(&place, self)?;
        self.check_values(alias).map_err(|error| error.context(place))
    }

    fn check_values(&self, alias: &str) -> Result<()> {
        let fail = |text: String| Err(Error::new(ErrorKind::InvalidArgument, text));
        if !is_alias(alias) {
            return fail("an alias is 1 to 32 of a-z, 0-9 and -".to_owned());
        }
        if self.urls.is_empty() {
            return fail(
                "urls is empty; it has at least one server, such as rtmp://10.0.0.1:1935".to_owned(),
            );
        }
        if cfg!(not(feature = "http")) && self.urls.iter().any(OriginUrl::is_http) {
            return Err(no_http("urls"));
        }
        self.apps.iter().flatten().try_for_each(|app| check_app(app).or_else(fail))
    }
}

/// Whether a text can name origins.
pub(crate) fn is_alias(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=32).contains(&text.len()) && text.bytes().all(is_allowed)
}

/// When a remote stream is fetched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(feature = "http", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum PullWhen {
    /// All the time.
    #[default]
    Always,
    /// While somebody plays the local stream.
    Watched,
}

named!(PullWhen { Always => "always", Watched => "watched" });

/// Media files, FLV or MP4, played as a live stream.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(feature = "http", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct FileConfig {
    /// The files, one after the other.
    #[serde(deserialize_with = "one_or_more")]
    pub paths: Vec<PathBuf>,
    /// The local stream, `app/stream`.
    #[serde(deserialize_with = "parsed")]
    pub stream: StreamKey,
    /// How often to play them; absent = for ever.
    #[serde(default)]
    pub loops: Option<u64>,
}

setters!(FileConfig: Vec<PathBuf> { paths } StreamKey { stream }; u64 { loops });

impl FileConfig {
    /// Plays `paths` one after the other as `stream`, for ever.
    pub fn new(stream: StreamKey, paths: Vec<PathBuf>) -> Self {
        Self { paths, stream, loops: None }
    }
}

/// TLS towards other servers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(feature = "http", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct TlsConfig {
    /// More certificate authorities to trust than the system's, PEM.
    pub ca: Option<PathBuf>,
    /// Do not verify servers' certificates. Each use is logged.
    pub danger_accept_invalid_certs: bool,
}

setters!(TlsConfig: bool { danger_accept_invalid_certs }; PathBuf { ca });

/// Threads and draining.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct EngineConfig {
    /// I/O threads; 0 = one per core, at most 4.
    pub io_threads: usize,
    /// Longest time that draining may take.
    pub drain_timeout_ms: u64,
}

setters!(EngineConfig: usize { io_threads } u64 { drain_timeout_ms });

impl EngineConfig {
    /// The number of I/O threads, which is also the number of shards that write to the players of a stream.
    pub(crate) fn threads(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        if self.io_threads == 0 { cores.min(4) } else { self.io_threads }
    }
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self { io_threads: 0, drain_timeout_ms: 4_000 }
    }
}

impl Config {
    /// Parses TOML. The error names the line, and for an unknown key the nearest known one.
    pub fn from_toml(text: &str) -> Result<Self> {
        ConfigSource::from_toml(text)?.build()
    }

    /// Parses a JSON object in the shape of the TOML configuration.
    ///
    /// # Errors
    /// As [`ConfigSource::merge_json`], and values that exclude or need each other.
    pub fn from_json(json: &str) -> Result<Self> {
        let mut source = ConfigSource::default();
        source.merge_json(json)?;
        source.build()
    }

    /// The effective values, defaults included, as JSON in the shape of the TOML configuration. A secret is `"***"`
    /// where it is set, URLs are without theirs.
    pub fn to_json(&self) -> serde_json::Value {
        // Only maps with keys that are no texts could fail, and there are none.
        serde_json::to_value(self).unwrap_or_default()
    }

    /// The policy of an app; `None` where apps are listed and this one is not among them. Apps of origins need not be.
    pub fn app(&self, app: &str) -> Option<&AppConfig> {
        match self.apps.get(app) {
            Some(policy) => Some(policy),
            None if self.apps.is_empty() || is_app_of_origin(app) => Some(&self.default_app),
            None => None,
        }
    }

    /// The rules about addresses of all apps.
    pub(crate) fn all_access(&self) -> impl Iterator<Item = &AccessRule> {
        self.apps.values().chain([&self.default_app]).flat_map(|app| &app.access)
    }

    /// Checks what the types cannot: values that exclude or need each other.
    pub fn check(&self) -> Result<()> {
        let fail = |text: &str| Err(Error::new(ErrorKind::InvalidArgument, text.to_owned()));
        if self.publish.key.as_ref().is_some_and(Secret::is_empty) {
            return fail("publish.key is empty; leave it out or give a key");
        }
        if self.publish.key.is_some() && self.publish.open {
            return fail("publish.key and publish.open exclude each other");
        }
        if !self.rtmps.listen.is_empty() && (self.rtmps.cert.is_none() || self.rtmps.key.is_none()) {
            return fail("rtmps.listen needs rtmps.cert and rtmps.key");
        }
        if !self.https.listen.is_empty() && (self.https.cert.is_none() || self.https.key.is_none()) {
            return fail("https.listen needs https.cert and https.key");
        }
        if cfg!(not(feature = "http")) && !(self.http.listen.is_empty() && self.https.listen.is_empty()) {
            return fail("http.listen, https.listen: this build serves no HTTP (cargo feature `http`)");
        }
        if self.file.iter().any(|file| file.paths.is_empty()) {
            return fail("file.paths is empty");
        }
        for (section, app) in self.all_apps() {
            app.policy().check().or_else(|text| fail(&format!("{section}.{text}")))?;
        }
        if self.signed_urls.secret.as_ref().is_some_and(Secret::is_empty) {
            return fail("signed_urls.secret is empty; leave it out or give a secret");
        }
        self.http.check().or_else(fail)?;
        self.keys.check().or_else(fail)?;
        self.hooks.check(self.limits.auth_timeout_ms).or_else(fail)?;
        self.auth.check(self).or_else(|text| fail(&text))?;
        self.apps.keys().try_for_each(|app| check_app(app).or_else(|text| fail(&text)))?;
        self.push.iter().try_for_each(PushConfig::check)?;
        http::check_destinations(&self.destination).or_else(|text| fail(&text))?;
        self.pull.iter().try_for_each(PullConfig::check)?;
        self.origins.iter().try_for_each(|(alias, origin)| origin.check(alias))?;
        self.file.iter().try_for_each(|file| check_not_of_origin(&file.stream))?;
        bounds::check("", self)?;
        let check = |(section, app): (String, &AppConfig)| {
            app.hls.check().or_else(|text| fail(&format!("{section}.hls.{text}")))?;
            app.record.check().or_else(|text| fail(&format!("{section}.record.{text}")))
        };
        self.all_apps().try_for_each(check)
    }

    /// Whether there are recordings over HTTP.
    #[cfg(feature = "http")]
    pub(crate) fn serves_recordings(&self) -> bool {
        self.all_apps().any(|(_, app)| app.record.serve)
    }

    /// All policies, by their sections.
    fn all_apps(&self) -> impl Iterator<Item = (String, &AppConfig)> {
        let apps = self.apps.iter().map(|(name, app)| (format!("apps.{name}"), app));
        std::iter::once(("default_app".to_owned(), &self.default_app)).chain(apps)
    }
}

/// Streams come by the one form of their names: a section in another form would be no stream's.
fn check_app(name: &str) -> std::result::Result<(), String> {
    match StreamKey::new(name, "stream") {
        Ok(key) if key.app() == name => Ok(()),
        Ok(key) => Err(format!("apps.{name} is no app's name, but apps.\"{}\" is", key.app())),
        Err(error) => Err(format!("apps.{name} is no app's name: {error}")),
    }
}

fn parsed<'de, D, T>(deserializer: D) -> std::result::Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

/// A list, or its elements in one text with commas between them: what an option of a command line can hold.
fn addresses<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Vec<SocketAddr>, D::Error> {
    list(deserializer, "an address such as 0.0.0.0:1935 or [::]:1935", |text| text.parse().ok())
}

/// The same of addresses and networks.
fn networks<'de, D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Vec<IpNet>, D::Error> {
    list(deserializer, "an address or network such as 10.0.0.7 or 10.0.0.0/8", network)
}

/// The same of sites.
fn sites<'de, D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Vec<String>, D::Error> {
    list(deserializer, "a site such as http://HOST or https://HOST:PORT", http::site)
}

/// The same of names of hosts.
fn hosts<'de, D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Vec<String>, D::Error> {
    list(deserializer, "a host's name such as live.example.org", http::host)
}

/// The same of rules about addresses.
fn access_rules<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Vec<AccessRule>, D::Error> {
    list(deserializer, access::FORM, |text| text.parse().ok())
}

fn list<'de, D: serde::Deserializer<'de>, T>(
    deserializer: D,
    expected: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> std::result::Result<Vec<T>, D::Error> {
    let texts = match OneOrMore::deserialize(deserializer)? {
        OneOrMore::More(texts) => texts,
        OneOrMore::One(text) => text.split(',').map(|part| part.trim().to_owned()).collect(),
    };
    let parse = |text: String| {
        parse(&text).ok_or_else(|| serde::de::Error::custom(format_args!("{text:?} is not {expected}")))
    };
    texts.into_iter().filter(|text| !text.is_empty()).map(parse).collect()
}

fn as_texts<S: serde::Serializer>(networks: &[IpNet], serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_seq(networks.iter().map(IpNet::to_string))
}

/// A list of paths, or one path.
fn one_or_more<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Vec<PathBuf>, D::Error> {
    Ok(match OneOrMore::deserialize(deserializer)? {
        OneOrMore::More(texts) => texts.into_iter().map(PathBuf::from).collect(),
        OneOrMore::One(text) => vec![text.into()],
    })
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a text or a list of texts")]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

/// What one publisher of the program wants, in place of what its app's policy says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct PublisherConfig {
    /// Who may take the stream's name over.
    pub takeover: Option<Takeover>,
    /// How long players stay connected when the publisher is dropped without an end; 0 ends the stream at once.
    pub resume_window_ms: Option<u64>,
    /// Where players start.
    pub start: Option<StartAt>,
    /// As [`AppConfig::max_start_bytes`].
    pub max_start_bytes: Option<u64>,
    /// As [`AppConfig::max_queue_ms`].
    pub max_queue_ms: Option<u64>,
    /// As [`AppConfig::max_queue_bytes`].
    pub max_queue_bytes: Option<u64>,
    /// As [`AppConfig::keyframe_wait_ms`].
    pub keyframe_wait_ms: Option<u64>,
    /// As [`AppConfig::ring_bytes`].
    pub ring_bytes: Option<usize>,
    /// As [`AppConfig::max_kbps`]; of connections.
    pub max_kbps: Option<u64>,
    /// As [`AppConfig::max_viewers`].
    pub max_viewers: Option<u64>,
}

setters! {
    PublisherConfig:
    ;
    Takeover { takeover } StartAt { start } usize { ring_bytes }
    u64 { resume_window_ms, max_start_bytes, max_queue_ms, max_queue_bytes, keyframe_wait_ms, max_kbps, max_viewers }
}

impl PublisherConfig {
    /// What it decides about readers.
    pub(crate) fn policy(&self) -> StreamPolicy {
        StreamPolicy {
            start: self.start,
            max_start_bytes: self.max_start_bytes,
            max_queue_ms: self.max_queue_ms,
            max_queue_bytes: self.max_queue_bytes,
            keyframe_wait_ms: self.keyframe_wait_ms,
            ring_bytes: self.ring_bytes,
            max_viewers: self.max_viewers,
        }
    }

    /// Checks what the types cannot.
    pub(crate) fn check(&self) -> Result<()> {
        self.policy()
            .check()
            .map_err(|text| Error::new(ErrorKind::InvalidArgument, format!("publisher: {text}")))?;
        bounds::check("publisher", self)
    }
}

/// What one subscriber of the program wants.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct SubscriberConfig {
    /// Where to start; else as the app's policy says.
    pub start: Option<StartAt>,
    /// How long ago to start, at the oldest keyframe since then that is held ([`Limits::ring_ms`](crate::Limits::ring_ms)).
    pub back_ms: Option<u64>,
    /// How long to wait for a stream that nobody publishes; else for ever.
    pub wait_for_publisher_ms: Option<u64>,
}

setters!(SubscriberConfig: ; StartAt { start } u64 { back_ms, wait_for_publisher_ms });

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PublishRule;

    #[test]
    fn an_unknown_key_is_an_error_that_names_line_and_nearest_key() {
        let error =
            Config::from_toml("[rtmp]\nlisten = []\n[limits]\nmax_conections = 5\n").unwrap_err().to_string();
        assert!(error.contains("line 4"), "{error}");
        assert!(error.contains("did you mean `max_connections`?"), "{error}");
    }

    #[test]
    fn f40_errors_name_the_line_and_quote_no_secret() {
        for (text, line) in [
            ("[publish]\nkey = 4711", "line 2"),
            ("[publish]\nkey = \"hunter2\" x", "line 2"),
            ("[publish]\nopen = false\nkey = [\"hunter2\"]", "line 3"),
        ] {
            let error = Config::from_toml(text).unwrap_err().to_string();
            assert!(error.contains(line), "{error}");
            assert!(!error.contains("4711") && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn errors_speak_of_keys_and_values_and_never_of_types_of_the_code() {
        let push = |keys: &str| format!("[[push]]\nstream = \"live/a\"\n{keys}");
        for (text, words) in [
            (
                "[limits]\nmax_connections = \"many\"",
                "line 2: max_connections: expected a whole number of 0 or more",
            ),
            ("[limits]\nmax_connections = -1", "found -1"),
            ("[limits]\nmax_connections = 1.5", "found a number with a fraction"),
            ("[limits]\nmax_connections = 1e23", "found a number that is far too large"),
            ("[limits]\nmax_lags = 5000000000", "from 0 to 4294967295, found 5000000000"),
            ("limits = 5", "expected a table of keys"),
            ("apps = 5", "expected a table of keys"),
            ("push = 5", "expected a list"),
            ("[publish]\nopen = \"yes\"", "expected true or false, found a text"),
            ("[default_app]\ntakeover = \"replase\"", "`replase` is not possible; expected one of `reject`"),
            ("[default_app]\ntakeover = \"replase\"", "did you mean `replace`?"),
            ("[default_app]\ntakeover = 3", "expected a text"),
            (&push(""), "the key `url` is missing"),
            (&push("url = 5"), "expected a text, found a whole number"),
            (&push("url = \"rtmp://h/a/b\"\nretry = 5"), "expected a table of keys"),
            (&push("url = \"rtmp://h/a/b\"\nchunk_size = \"x\""), "expected a whole number, found a text"),
            (&push("url = \"rtmp://h/a/b\"\nnope = 1"), "unknown key `nope`"),
        ] {
            let error = Config::from_toml(text).unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
            for word in
                ["usize", "u32", "i64", "struct", "invalid type", "variant", "field", "sequence", "boolean"]
            {
                assert!(!error.contains(word), "{text}: {error}");
            }
        }
    }

    #[test]
    fn old_names_are_understood_and_told_of() {
        let text = "[limits]\nmax_ungranted = 7\nmax_message_ungranted = 8\nmax_pending_per_address = 9\n";
        let source = ConfigSource::from_toml(text).unwrap();
        let renamed = [
            ("limits.max_ungranted", "limits.max_pending"),
            ("limits.max_message_ungranted", "limits.max_message_pending"),
        ];
        assert_eq!(source.renamed(), renamed.map(|(old, new)| (old.to_owned(), new.to_owned())));
        let limits = source.build().unwrap().limits;
        assert_eq!(
            (limits.max_pending, limits.max_message_pending, limits.max_pending_per_address),
            (7, 8, 9)
        );
        let source =
            ConfigSource::from_toml("[apps.live]\nflush = \"ride\"\n[default_app]\nflush = \"merge\"\n")
                .unwrap();
        let values = [("apps.live.flush = \"ride\"", "apps.live.flush = \"with-video\"")];
        assert_eq!(source.renamed(), values.map(|(old, new)| (old.to_owned(), new.to_owned())));
        assert_eq!(source.build().unwrap().apps["live"].flush, FlushKind::WithVideo);
        let both = Config::from_toml("[limits]\nmax_ungranted = 7\nmax_pending = 7\n").unwrap_err();
        assert!(both.to_string().contains("duplicate"), "{both}");
    }

    #[test]
    fn environment_overrides_the_file() {
        let mut source =
            ConfigSource::from_toml("[rtmp]\nlisten = [\"127.0.0.1:1\"]\n[publish]\nopen = true\n").unwrap();
        let env = [
            ("STREAMENGINE_RTMP__LISTEN", "[\"127.0.0.1:2\"]"),
            ("STREAMENGINE_PUBLISH__OPEN", "false"),
            ("STREAMENGINE_PUBLISH__KEY", "a secret"),
            (
                "STREAMENGINE_PUSH",
                r#"[{"stream": "live/a", "url": "rtmp://h/a/b", "connect": {"swfUrl": "x"}}]"#,
            ),
            ("STREAMENGINE_LOG", "not ours"),
        ];
        source.apply_env(env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))).unwrap();
        let config = source.build().unwrap();
        assert_eq!(config.rtmp.listen, ["127.0.0.1:2".parse().unwrap()]);
        assert_eq!(config.push[0].tuning.connect["swfUrl"], "x");
        assert_eq!(config.publish_rule(), PublishRule::Key(Secret::new("a secret")));
    }

    #[test]
    fn values_that_exclude_each_other_are_refused() {
        for (text, word) in [
            ("[publish]\nkey = \"\"", "empty"),
            ("[publish]\nkey = \"a\"\nopen = true", "exclude"),
            ("[rtmps]\nlisten = [\"127.0.0.1:0\"]", "rtmps.cert"),
            ("[apps.\"a b\"]", "is no app's name: the name has the character U+0020"),
            ("[apps.\"/live\"]", "apps./live is no app's name, but apps.\"live\" is"),
            ("[https]\nlisten = [\"127.0.0.1:0\"]\ncert = \"c\"", "https.key"),
            ("[[push]]\nstream = \"../x\"\nurl = \"rtmp://h/a/b\"", "part of the name"),
        ] {
            let error = Config::from_toml(text).unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn keys_set_one_by_one_are_checked_at_once_and_change_nothing_where_they_are_wrong() {
        let mut source = ConfigSource::default();
        for (key, value) in [
            ("rtmp.listen", "127.0.0.1:1, [::1]:2"),
            ("rtmps.listen", "[]"),
            ("publish.key", "4711"),
            ("apps.live.flush", "merge"),
            ("file", r#"[{"paths": "a,b.flv", "stream": "live/a"}]"#),
        ] {
            source.set(key, value).unwrap();
        }
        for (key, value, word) in [
            ("limits.rign_ms", "1", "did you mean `ring_ms`"),
            ("limits.ring_ms", "-1", "limits.ring_ms"),
            ("limits..ring_ms", "1", "empty"),
            ("", "1", "empty"),
            ("rtmp.listen", "localhost", "localhost"),
        ] {
            let error = source.set(key, value).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.to_string().contains(word), "{error}");
        }
        let config = source.build().unwrap();
        assert_eq!(config.rtmp.listen.len(), 2);
        assert_eq!(config.publish_rule(), PublishRule::Key(Secret::new("4711")));
        assert_eq!(config.file[0].paths, [PathBuf::from("a,b.flv")]);
        assert_eq!(config.app("live").unwrap().flush, FlushKind::Merge);
    }

    #[test]
    fn effective_values_read_back_as_they_are_and_show_no_secret() {
        let json = r#"{"publish": {"key": "hunter2"}, "limits": {"ring_ms": 7},
            "push": [{"stream": "live/a", "url": "rtmp://u:hunter2@h/live/hunter2?hunter2"}]}"#;
        let config = Config::from_json(json).unwrap();
        let shown = config.to_json();
        assert!(!shown["publish"].to_string().contains("hunter2"), "{shown}");
        assert_eq!(shown["push"][0]["url"], serde_json::Value::String(config.push[0].url.to_string()));
        assert_eq!((&shown["publish"]["key"], &shown["limits"]["ring_ms"]), (&"***".into(), &7.into()));
        let defaults = Config::default().to_json();
        assert_eq!(Config::from_json(&defaults.to_string()).unwrap().to_json(), defaults);
    }

    #[test]
    fn json_is_merged_and_arrays_replace() {
        let mut source =
            ConfigSource::from_toml("[rtmp]\nlisten = [\"127.0.0.1:1\"]\n[limits]\nring_ms = 5\n").unwrap();
        source.merge_json(r#"{"rtmp": {"listen": ["127.0.0.1:2"]}, "publish": {"key": null}}"#).unwrap();
        for wrong in ["", "[]", "7", "{\"rtmp\": 1}", "{\"rtpm\": {}}", "{\"limits\": {\"ring_ms\": 1e300}}"]
        {
            assert!(source.merge_json(wrong).is_err(), "{wrong}");
        }
        let config = source.build().unwrap();
        assert_eq!((config.rtmp.listen, config.limits.ring_ms), (vec!["127.0.0.1:2".parse().unwrap()], 5));
    }

    #[test]
    fn an_object_takes_its_own_options_only() {
        let mut options = OptionSource::default();
        options.set("on_refusal", "fail").unwrap();
        assert!(
            options.set("on_refusla", "fail").unwrap_err().to_string().contains("did you mean `on_refusal`")
        );
        let (stream, url) =
            ("live/a".parse::<StreamKey>().unwrap(), "rtmp://h/a/b".parse::<RtmpUrl>().unwrap());
        assert_eq!(options.push(stream.clone(), url.clone()).unwrap().on_refusal, OnRefusal::Fail);
        options.merge_json(r#"{"linger_ms": 5, "when": "watched"}"#).unwrap();
        let pull = options.pull(url.clone().into(), stream.clone()).unwrap();
        assert_eq!((pull.linger_ms, pull.when), (5, PullWhen::Watched));
        assert!(options.push(stream, url).unwrap_err().to_string().contains("linger_ms"));
        assert!(options.subscriber().is_err() && options.publisher().is_err());
    }

    #[test]
    fn an_error_about_options_names_those_that_the_object_has() {
        let (mut options, stream) = (OptionSource::default(), "live/a".parse::<StreamKey>().unwrap());
        options.set("chunk_size", "300").unwrap();
        options.set("connect.flashVer", "7").unwrap();
        let push = options.push(stream.clone(), "rtmp://u:p@h/a/b?c".parse().unwrap()).unwrap();
        assert_eq!((push.tuning.chunk_size, push.tuning.connect["flashVer"].as_str()), (Some(300), "7"));
        assert_eq!((&push.stream, push.url.stream_with_query().as_ref()), (&stream, "b?c"));
        let error = options.subscriber().unwrap_err().to_string();
        assert_eq!(
            error,
            "option chunk_size: a subscriber has no such option, but start, back_ms, wait_for_publisher_ms"
        );
        for key in ["stream", "url", "tls.cas", "retry.min_ms.x"] {
            assert!(options.set(key, "x").is_err(), "{key}");
        }
    }

    #[test]
    fn more_files_and_loops_may_be_options() {
        let mut options = OptionSource::default();
        let file = |options: &OptionSource, loops| options.file("live/a".parse().unwrap(), "a".into(), loops);
        assert_eq!(file(&options, None).unwrap().paths, [PathBuf::from("a")]);
        options.merge_json(r#"{"paths": ["b", "c"], "loops": 3}"#).unwrap();
        let (default, given) = (file(&options, None).unwrap(), file(&options, Some(2)).unwrap());
        assert_eq!(default.paths, ["a", "b", "c"].map(PathBuf::from));
        assert_eq!((default.loops, given.loops), (Some(3), Some(2)));
    }

    #[test]
    fn listed_apps_exclude_others() {
        let config = Config::from_toml("[apps.live]\ntakeover = \"reject\"\n").unwrap();
        assert_eq!(config.app("live").unwrap().takeover, Takeover::Reject);
        assert!(config.app("other").is_none());
        assert!(Config::default().app("anything").is_some());
    }

    proptest::proptest! {
        #[test]
        fn w10_whatever_latency_urls_ask_for_a_stream_has_few_rhythms(
            least in 0_u64..2_000, room in 0_u64..5_000, wishes in proptest::collection::vec(0_u64..10_000, 1..300),
        ) {
            let app = AppConfig { min_latency_ms: least, max_latency_ms: least + room, ..AppConfig::default() };
            let mut rhythms = std::collections::HashSet::new();
            for wish in wishes.into_iter().chain([0, 1_000, u64::MAX]) {
                let flush = app.flush_for(Some(wish));
                let delay = match flush {
                    Flush::Merge(period) => u64::try_from(period.as_millis()).unwrap(),
                    Flush::Immediate | Flush::WithVideo => 0,
                };
                proptest::prop_assert!((least..=least + room).contains(&delay));
                proptest::prop_assert!(delay <= wish.max(least), "{wish} became {delay}");
                rhythms.insert(flush);
            }
            proptest::prop_assert!(rhythms.len() <= LATENCY_STEPS_MS.len() + 2, "{rhythms:?}");
        }
    }
}
