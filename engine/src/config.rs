//! The configuration: everything an engine can be told, one schema for TOML, environment, C and Rust.

use crate::auth::PublishRule;
use crate::hub::{StartAt, Takeover};
use crate::key::{Secret, StreamKey};
use crate::limits::ms;
use crate::service::relay::OnRefusal;
use crate::url::RtmpUrl;
use crate::{Error, ErrorKind, Limits, Result};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Prefix of the environment variables that override the configuration.
const ENV_PREFIX: &str = "STREAMENGINE_";

/// Everything an engine can be told.
///
/// As TOML, sections are tables: `[rtmp] listen = ["0.0.0.0:1935"]`. Times are in milliseconds, sizes in bytes.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// Plain RTMP.
    pub rtmp: RtmpConfig,
    /// RTMP over TLS.
    pub rtmps: RtmpsConfig,
    /// Who may publish, where the embedding program does not decide.
    pub publish: PublishConfig,
    /// The policy of apps that have no section of their own.
    pub default_app: AppConfig,
    /// Policies by app. Where any app is listed, others are refused.
    pub apps: BTreeMap<String, AppConfig>,
    /// Streams pushed to other servers.
    pub push: Vec<PushConfig>,
    /// Streams fetched from other servers.
    pub pull: Vec<PullConfig>,
    /// FLV files played as live streams.
    pub file: Vec<FileConfig>,
    /// TLS towards other servers.
    pub tls: TlsConfig,
    /// Threads and draining.
    pub engine: EngineConfig,
    /// Limits on peers.
    pub limits: Limits,
}

/// Plain RTMP.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct RtmpConfig {
    /// Addresses to listen on, `HOST:PORT`; port 0 takes any free one.
    pub listen: Vec<SocketAddr>,
}

/// RTMP over TLS.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct RtmpsConfig {
    /// Addresses to listen on, `HOST:PORT`; port 0 takes any free one.
    pub listen: Vec<SocketAddr>,
    /// Certificate chain, PEM. Read again when the file changes.
    pub cert: Option<PathBuf>,
    /// Private key, PEM.
    pub key: Option<PathBuf>,
}

/// Who may publish, where the embedding program does not decide. Default: from this machine only.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct PublishConfig {
    /// Publishing needs this key: `STREAM?key=KEY` or `STREAM:KEY`.
    pub key: Option<Secret>,
    /// Anybody may publish.
    pub open: bool,
}

/// The policy of an app.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct AppConfig {
    /// Who may take a stream's name over: `reject`, `replace` or `replace-if-stalled`.
    pub takeover: Takeover,
    /// How long players stay connected while a lost publisher is away; 0 ends the stream at once.
    pub resume_window_ms: u64,
    /// How long a player waits for a stream that nobody publishes; 0 refuses at once.
    pub wait_for_publisher_ms: u64,
    /// Where players start: `keyframe` or `live-edge`.
    pub start: StartAt,
    /// When frames are written to players: `ride`, `immediate` or `merge`.
    pub flush: FlushKind,
    /// With `merge`: milliseconds between writes.
    pub merge_ms: u64,
    /// A player may ask with `?latency=MS` in its URL for another rhythm: 0 for `immediate`, else `merge` of so
    /// many milliseconds, not less than this.
    pub min_latency_ms: u64,
    /// Nor more than this; where it is below `min_latency_ms`, what the URL asks for is not heard.
    pub max_latency_ms: u64,
}

/// When frames are written to players. Most of what a player costs is the number of writes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FlushKind {
    /// Video at once; audio rides along with the next video frame, and waits 50 ms at most. Adds no delay to video
    /// and halves the cost.
    #[default]
    Ride,
    /// Every frame at once.
    Immediate,
    /// Everything of a period in one write: least cost, for large audiences that bear the delay.
    Merge,
}

/// A flush policy with its period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Flush {
    Ride,
    Immediate,
    Merge(std::time::Duration),
}

impl AppConfig {
    /// The flush policy of a player that asks for `latency_ms` in its URL, or for nothing.
    pub(crate) fn flush_for(&self, latency_ms: Option<u64>) -> Flush {
        let allowed = self.min_latency_ms..=self.max_latency_ms;
        match latency_ms.filter(|_| !allowed.is_empty()).map(|ms| ms.clamp(*allowed.start(), *allowed.end()))
        {
            Some(0) => Flush::Immediate,
            Some(period) => Flush::Merge(ms(period)),
            None => match self.flush {
                FlushKind::Ride => Flush::Ride,
                FlushKind::Immediate => Flush::Immediate,
                FlushKind::Merge => Flush::Merge(ms(self.merge_ms)),
            },
        }
    }
}

impl Default for AppConfig {
    fn default() -> Self {
        Self {
            takeover: Takeover::default(),
            resume_window_ms: 10_000,
            wait_for_publisher_ms: 10_000,
            start: StartAt::default(),
            flush: FlushKind::default(),
            merge_ms: 100,
            min_latency_ms: 0,
            max_latency_ms: 1_000,
        }
    }
}

/// A stream pushed to another server.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct PushConfig {
    /// The local stream, `app/stream`.
    #[serde(deserialize_with = "parsed")]
    pub stream: StreamKey,
    /// Where to: `rtmp[s]://[user:pass@]host[:port]/app/stream[?query]`.
    #[serde(deserialize_with = "parsed")]
    pub url: RtmpUrl,
    /// Whether a refusal by the server is final: `retry` (default) or `fail`.
    #[serde(default)]
    pub on_refusal: OnRefusal,
}

impl PushConfig {
    /// Pushes `stream` to `url`, trying again after refusals.
    pub fn new(stream: StreamKey, url: RtmpUrl) -> Self {
        Self { stream, url, on_refusal: OnRefusal::default() }
    }
}

/// A stream fetched from another server.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct PullConfig {
    /// Where from: `rtmp[s]://[user:pass@]host[:port]/app/stream[?query]`.
    #[serde(deserialize_with = "parsed")]
    pub url: RtmpUrl,
    /// The local name, `app/stream`.
    #[serde(deserialize_with = "parsed")]
    pub stream: StreamKey,
    /// `always`, or `watched`: only while somebody plays it.
    #[serde(default)]
    pub when: PullWhen,
    /// With `watched`: how long to go on after the last player has left.
    #[serde(default = "default_linger")]
    pub linger_ms: u64,
    /// Whether a refusal by the server is final: `retry` (default) or `fail`.
    #[serde(default)]
    pub on_refusal: OnRefusal,
}

impl PullConfig {
    /// Fetches `url` into `stream` all the time, trying again after refusals.
    pub fn new(url: RtmpUrl, stream: StreamKey) -> Self {
        let (when, on_refusal) = (PullWhen::default(), OnRefusal::default());
        Self { url, stream, when, linger_ms: default_linger(), on_refusal }
    }
}

fn default_linger() -> u64 {
    10_000
}

/// When a remote stream is fetched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PullWhen {
    /// All the time.
    #[default]
    Always,
    /// While somebody plays the local stream.
    Watched,
}

/// FLV files played as a live stream.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct FileConfig {
    /// The files, one after the other.
    pub paths: Vec<PathBuf>,
    /// The local stream, `app/stream`.
    #[serde(deserialize_with = "parsed")]
    pub stream: StreamKey,
    /// How often to play them; absent = for ever.
    #[serde(default)]
    pub loops: Option<u64>,
}

impl FileConfig {
    /// Plays `paths` one after the other as `stream`, for ever.
    pub fn new(stream: StreamKey, paths: Vec<PathBuf>) -> Self {
        Self { paths, stream, loops: None }
    }
}

/// TLS towards other servers.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct TlsConfig {
    /// More certificate authorities to trust than the system's, PEM.
    pub ca: Option<PathBuf>,
    /// Do not verify servers' certificates. Each use is logged.
    pub danger_accept_invalid_certs: bool,
}

/// Threads and draining.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct EngineConfig {
    /// I/O threads; 0 = one per core, at most 4.
    pub io_threads: usize,
    /// Longest time that draining may take.
    pub drain_timeout_ms: u64,
}

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

    /// The policy of an app; `None` where apps are listed and this one is not among them.
    pub fn app(&self, app: &str) -> Option<&AppConfig> {
        match self.apps.get(app) {
            Some(policy) => Some(policy),
            None if self.apps.is_empty() => Some(&self.default_app),
            None => None,
        }
    }

    /// The built-in rule for publishing that the configuration asks for.
    pub fn publish_rule(&self) -> PublishRule {
        match &self.publish.key {
            Some(key) => PublishRule::Key(key.clone()),
            None if self.publish.open => PublishRule::Open,
            None => PublishRule::Loopback,
        }
    }

    /// Checks what the types cannot: values that exclude or need each other.
    pub fn check(&self) -> Result<()> {
        let fail = |text: &str| Err(Error::new(ErrorKind::InvalidArgument, text));
        if self.publish.key.as_ref().is_some_and(Secret::is_empty) {
            return fail("publish.key is empty; leave it out or give a key");
        }
        if self.publish.key.is_some() && self.publish.open {
            return fail("publish.key and publish.open exclude each other");
        }
        if !self.rtmps.listen.is_empty() && (self.rtmps.cert.is_none() || self.rtmps.key.is_none()) {
            return fail("rtmps.listen needs rtmps.cert and rtmps.key");
        }
        if self.file.iter().any(|file| file.paths.is_empty()) {
            return fail("file.paths is empty");
        }
        Ok(())
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

/// A configuration in the making: a file, then overrides by dotted key.
#[derive(Debug, Clone, Default)]
pub struct ConfigSource {
    table: toml::Table,
    text: Option<String>,
}

impl ConfigSource {
    /// Starts from TOML text.
    pub fn from_toml(text: &str) -> Result<Self> {
        let table = text.parse().map_err(|error: toml::de::Error| invalid(Some(text), &error))?;
        Ok(Self { table, text: Some(text.to_owned()) })
    }

    /// Sets one value by its dotted key (`limits.max_connections`). The value is read as TOML where it is valid
    /// TOML (`true`, `5000`, `["a"]`), else as a string.
    pub fn set(&mut self, key: &str, value: &str) -> Result<()> {
        let value = parse_value(value);
        let mut parts: Vec<&str> = key.split('.').collect();
        let Some(last) = parts.pop().filter(|last| !last.is_empty()) else {
            return Err(Error::new(ErrorKind::InvalidArgument, "the configuration key is empty"));
        };
        let mut table = &mut self.table;
        for part in parts {
            let entry = table.entry(part).or_insert_with(|| toml::Value::Table(toml::Table::new()));
            table = entry.as_table_mut().ok_or_else(|| {
                Error::new(
                    ErrorKind::InvalidArgument,
                    format!("configuration key {key}: {part} is not a table"),
                )
            })?;
        }
        table.insert(last.to_owned(), value);
        // Line numbers of the file's text no longer tell the whole truth.
        self.text = None;
        Ok(())
    }

    /// Applies environment variables: `STREAMENGINE_LIMITS__MAX_CONNECTIONS=5000` sets
    /// `limits.max_connections`.
    pub fn apply_env(&mut self, variables: impl Iterator<Item = (String, String)>) -> Result<()> {
        for (name, value) in variables {
            if let Some(key) = name.strip_prefix(ENV_PREFIX)
                && key.contains("__")
            {
                self.set(&key.to_ascii_lowercase().replace("__", "."), &value)
                    .map_err(|error| error.context(&name))?;
            }
        }
        Ok(())
    }

    /// The finished configuration, checked.
    pub fn build(self) -> Result<Config> {
        let config: Config = match &self.text {
            Some(text) => toml::from_str(text),
            None => self.table.try_into(),
        }
        .map_err(|error| invalid(self.text.as_deref(), &error))?;
        config.check()?;
        Ok(config)
    }
}

fn parse_value(text: &str) -> toml::Value {
    format!("value = {text}")
        .parse::<toml::Table>()
        .ok()
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| toml::Value::String(text.to_owned()))
}

/// The parser's error with its line, and with the nearest known key where one is unknown. The line itself is not
/// quoted: it may hold a secret.
fn invalid(text: Option<&str>, error: &toml::de::Error) -> Error {
    let before = text.zip(error.span()).and_then(|(text, span)| text.get(..span.start));
    let line = before.map(|before| before.matches('\n').count() + 1);
    let place = line.map(|line| format!("line {line}: ")).unwrap_or_default();
    let nearest =
        nearest_key(error.message()).map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
    let text = format!("configuration: {place}{}{nearest}", error.message().trim_end());
    Error::new(ErrorKind::InvalidArgument, text)
}

/// Reads serde's "unknown field `x`, expected one of `a`, `b`" and picks the nearest.
fn nearest_key(message: &str) -> Option<String> {
    let mut names = message.strip_prefix("unknown field ")?.split('`').skip(1).step_by(2);
    let unknown = names.next()?;
    names
        .map(|known| (strsim::damerau_levenshtein(unknown, known), known))
        .min()
        .filter(|&(distance, _)| distance <= 3)
        .map(|(_, known)| known.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn environment_overrides_the_file() {
        let mut source =
            ConfigSource::from_toml("[rtmp]\nlisten = [\"127.0.0.1:1\"]\n[publish]\nopen = true\n").unwrap();
        let env = [
            ("STREAMENGINE_RTMP__LISTEN", "[\"127.0.0.1:2\"]"),
            ("STREAMENGINE_PUBLISH__OPEN", "false"),
            ("STREAMENGINE_PUBLISH__KEY", "a secret"),
            ("STREAMENGINE_LOG", "not ours"),
        ];
        source.apply_env(env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))).unwrap();
        let config = source.build().unwrap();
        assert_eq!(config.rtmp.listen, ["127.0.0.1:2".parse().unwrap()]);
        assert_eq!(config.publish_rule(), PublishRule::Key(Secret::new("a secret")));
    }

    #[test]
    fn values_that_exclude_each_other_are_refused() {
        for (text, word) in [
            ("[publish]\nkey = \"\"", "empty"),
            ("[publish]\nkey = \"a\"\nopen = true", "exclude"),
            ("[rtmps]\nlisten = [\"127.0.0.1:0\"]", "rtmps.cert"),
            ("[[push]]\nstream = \"../x\"\nurl = \"rtmp://h/a/b\"", "part of the name"),
        ] {
            let error = Config::from_toml(text).unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn listed_apps_exclude_others() {
        let config = Config::from_toml("[apps.live]\ntakeover = \"reject\"\n").unwrap();
        assert_eq!(config.app("live").unwrap().takeover, Takeover::Reject);
        assert!(config.app("other").is_none());
        assert!(Config::default().app("anything").is_some());
    }
}
