//! RTMP URLs of relay targets and sources: `rtmp[s]://[user:pass@]host[:port]/app[/instance]/stream[?query]`.
//!
//! Where the app ends is a guess, and it is ffmpeg's and librtmp's: after two parts, or after one where only one more
//! follows or a colon does (`vod/flv:dir/a`); a query of its own belongs to the app (`live?vhost=x/name`). `app=` and `playpath=`
//! behind the URL, as librtmp has them, say it.
//!
//! An own parser rather than a general URL crate: app, stream name and query must reach the server byte for byte
//! as the user typed them, and a URL crate rewrites `..`, quotes, spaces and `#`.

mod http;
mod remote;

pub use http::{HookUrl, HttpUrl};
pub use remote::{OriginUrl, PathTemplate, RemoteUrl};

use crate::Secret;
use crate::key::without_file_type;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use std::borrow::Cow;
use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

bound! {
    /// Longest URL in bytes: room for signed queries, small enough to log and to send in one command
    /// (test `errors_say_what_is_missing`).
    const MAX_URL: usize = 8 * 1024, without usize::MAX;
}

/// What would end or split a value inside a query.
pub(crate) const IN_QUERY: &AsciiSet =
    &CONTROLS.add(b' ').add(b'&').add(b'=').add(b'?').add(b'#').add(b'%').add(b'/');

/// Where to push a stream to or pull it from.
///
/// App and stream are the first two parts of the path, or three, as ffmpeg splits it; where that is not meant, options of
/// librtmp behind the URL say it: `rtmp://host/a/b/c app=a playpath=b/c`.
///
/// `Display` and `Debug` never show user, password, query, or the secret part of a `NAME:SECRET` stream name:
/// they print as `***`. [`RtmpUrl::stream_with_query`] and [`RtmpUrl::credentials`] give them out.
#[derive(Clone, PartialEq, Eq)]
pub struct RtmpUrl {
    tls: bool,
    credentials: Option<Credentials>,
    host: String,
    port: u16,
    app: String,
    app_query: Option<Secret>,
    stream: String,
    query: Option<Secret>,
    warning: Option<UrlWarning>,
}

/// User name and password of a URL, percent-decoded. `Debug` prints neither.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Credentials {
    /// The user name.
    pub user: Secret,
    /// The password; empty where the URL has none.
    pub password: Secret,
}

/// Something in a URL that was tolerated but has no effect.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum UrlWarning {
    /// librtmp options behind the URL (`rtmp://host/app/stream live=1`) other than `app` and `playpath`: their names.
    /// Values may be secrets.
    LibrtmpOptions(Vec<String>),
}

impl fmt::Display for UrlWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LibrtmpOptions(names) => {
                write!(f, "ignored librtmp options behind the URL: {}", names.join(", "))
            }
        }
    }
}

impl RtmpUrl {
    /// The app, without a query of its own.
    pub fn app(&self) -> &str {
        &self.app
    }

    /// The app as `connect` sends it, with its query (`live?vhost=x`). Never log it.
    pub fn app_with_query(&self) -> Cow<'_, str> {
        with_query(&self.app, self.app_query.as_ref())
    }

    /// The stream name, what follows the app in the path, without its query.
    pub fn stream(&self) -> &str {
        &self.stream
    }

    /// The query without its question mark; it belongs to the target alone and is sent to nobody else.
    pub fn query(&self) -> Option<&Secret> {
        self.query.as_ref()
    }

    /// The stream name as `publish` and `play` send it, query included. Never log it.
    pub fn stream_with_query(&self) -> Cow<'_, str> {
        with_query(&self.stream, self.query.as_ref())
    }

    /// The URL up to the app, without credentials, for `tcUrl`. The port is left out where it is the default. Never log it:
    /// the app may have a query.
    pub fn tc_url(&self) -> String {
        format!("{}{}/{}", self.scheme(), self.authority(), self.app_with_query())
    }

    /// This URL with another app, another stream name, or both, each with its query, for servers that split the path in
    /// another way. With one of the two, the other is what is left of the path.
    pub fn with_names(&self, app: Option<&str>, stream: Option<&str>) -> Result<Self, UrlError> {
        let path = format!("{}/{}", self.app_with_query(), self.stream_with_query());
        let names = Names::named(&path, app, stream)?;
        Ok(Self { warning: self.warning.clone(), ..names.at(self.clone()) })
    }

    /// The host name or address, without the brackets of IPv6.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port: as given, else 1935 (rtmp) or 443 (rtmps).
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether the connection uses TLS (`rtmps`).
    pub fn tls(&self) -> bool {
        self.tls
    }

    /// User name and password for RTMP authentication.
    pub fn credentials(&self) -> Option<&Credentials> {
        self.credentials.as_ref()
    }

    /// What was ignored while parsing; worth one log line.
    pub fn warning(&self) -> Option<&UrlWarning> {
        self.warning.as_ref()
    }

    /// Whether a reconnect request that names `tc_url`, absolute or relative to ours, means the place that this URL names:
    /// no other is dialled, and no other gets what this URL has for it. Else why not, in words that are safe to log.
    pub fn check_move(&self, tc_url: &str) -> Result<(), &'static str> {
        let absolute = match tc_url {
            _ if tc_url.contains("://") => tc_url.to_owned(),
            _ if tc_url.starts_with("//") => format!("{}{}", self.scheme(), tc_url.trim_start_matches('/')),
            _ => format!("{}{}/{}", self.scheme(), self.authority(), tc_url.trim_start_matches('/')),
        };
        let base = absolute.split('?').next().unwrap_or_default().trim_end_matches('/');
        let there: Self =
            format!("{base}/stream playpath=stream").parse().map_err(|error: UrlError| error.as_str())?;
        match there {
            _ if there.host != self.host => Err("it names another host"),
            _ if self.tls && !there.tls => Err("it would give up TLS"),
            _ if there.tls != self.tls || there.port != self.port => Err("it names another port"),
            _ if there.app != self.app => Err("it names another app"),
            _ => Ok(()),
        }
    }

    /// `text` of the server, which may quote what we sent, with every secret of this URL as `***`.
    pub fn redact(&self, text: &str) -> String {
        let mut secrets = self.secrets();
        // The longest first, so that none is hidden in part only.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        let long_enough = secrets.iter().filter(|secret| secret.len() >= SHORTEST_SECRET);
        long_enough.fold(text.to_owned(), |text, secret| text.replace(&**secret, "***"))
    }

    fn secrets(&self) -> Vec<Cow<'_, str>> {
        let mut secrets = Vec::new();
        if let Some(Credentials { user, password }) = &self.credentials {
            secrets.extend([user.expose(), password.expose()].map(Cow::Borrowed));
            secrets.push(utf8_percent_encode(user.expose(), IN_QUERY).into());
        }
        for query in [&self.query, &self.app_query].into_iter().flatten() {
            secrets.push(query.expose().into());
            let values = query.expose().split('&').filter_map(|pair| pair.split_once('='));
            secrets.extend(values.map(|(_, value)| Cow::Borrowed(value)));
        }
        match split_secret(&self.stream) {
            Some((_, secret)) => secrets.push(secret.into()),
            None if self.stream.len() >= KEY_LENGTH.get() => secrets.push(self.stream.as_str().into()),
            None => {}
        }
        secrets
    }

    fn scheme(&self) -> &'static str {
        if self.tls { "rtmps://" } else { "rtmp://" }
    }

    /// `host[:port]`, with brackets around IPv6, the port only where it is not the default.
    fn authority(&self) -> String {
        let host = match self.host.contains(':') {
            true => format!("[{}]", self.host.replacen('%', "%25", 1)),
            false => self.host.clone(),
        };
        if self.port == default_port(self.tls) { host } else { format!("{host}:{}", self.port) }
    }
}

/// The `tcUrl` of a place that a peer is to go to: `rtmp[s]://host[:port]/app[?query]`. The text of the error is safe to
/// log.
pub(crate) fn parse_tc_url(text: &str) -> Result<String, &'static str> {
    if text.contains(char::is_whitespace) {
        return Err(UrlError::Space.as_str());
    }
    let (base, query) = text.split_once('?').unwrap_or((text, ""));
    let url: RtmpUrl =
        match format!("{}/stream?{query} playpath=stream?{query}", base.trim_end_matches('/')).parse() {
            Ok(url) => url,
            Err(UrlError::MissingApp | UrlError::MissingStream) => return Err("the app is missing"),
            Err(error) => return Err(error.as_str()),
        };
    if url.credentials.is_some() {
        return Err("it names a user");
    }
    let query = url.query().map(Secret::expose).filter(|query| !query.is_empty());
    Ok(query.map_or_else(|| url.tc_url(), |query| format!("{}?{query}", url.tc_url())))
}

fn default_port(tls: bool) -> u16 {
    if tls { 443 } else { 1935 }
}

bound! {
    /// A stream name of this length is taken for a key, as large platforms give them out in place of names
    /// (test `f40_a_stream_name_that_looks_like_a_key_shows_its_start_only`).
    const KEY_LENGTH: usize = 16, without usize::MAX;
}
/// How much of such a key is shown, to tell targets apart.
const KEY_SHOWN: usize = 4;

/// Shorter texts are not taken out of a server's words: that would make them unreadable and hide nothing.
const SHORTEST_SECRET: usize = 3;

fn with_query<'a>(name: &'a str, query: Option<&Secret>) -> Cow<'a, str> {
    match query {
        Some(query) => Cow::Owned(format!("{name}?{}", query.expose())),
        None => Cow::Borrowed(name),
    }
}

/// Name and secret of `[TYPE:]NAME:SECRET`.
fn split_secret(stream: &str) -> Option<(&str, &str)> {
    let kind = stream.len() - without_file_type(stream).len();
    let colon = kind + stream.get(kind..)?.find(':')?;
    Some((stream.get(..colon)?, stream.get(colon + 1..)?))
}

/// The first characters of a name that may be a key, in as many bytes as may be shown.
fn start_of(stream: &str) -> &str {
    let end = (0..=KEY_SHOWN).rev().find(|&end| stream.is_char_boundary(end)).unwrap_or(0);
    &stream[..end]
}

/// Credentials, secret, query and names that look like keys are masked.
impl fmt::Display for RtmpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let credentials = if self.credentials.is_some() { "***@" } else { "" };
        let (stream, secret) = match split_secret(&self.stream) {
            Some((stream, _)) => (stream, ":***"),
            None if self.stream.len() >= KEY_LENGTH.get() => (start_of(&self.stream), "***"),
            None => (self.stream.as_str(), ""),
        };
        let masked = |query: &Option<Secret>| if query.is_some() { "?***" } else { "" };
        let (app_query, query) = (masked(&self.app_query), masked(&self.query));
        let (scheme, authority, app) = (self.scheme(), self.authority(), &self.app);
        write!(f, "{scheme}{credentials}{authority}/{app}{app_query}/{stream}{secret}{query}")
    }
}

impl fmt::Debug for RtmpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Serializes masked, as it displays.
impl serde::Serialize for RtmpUrl {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for RtmpUrl {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl FromStr for RtmpUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let (url, options) = split_librtmp_options(bare(text)?)?;
        let url = without_controls(url)?;
        let (tls, rest) = split_scheme(url)?;
        let (authority, path) = match rest.split_once('/') {
            Some(split) => split,
            None if options.app.is_some() => (rest, ""),
            None => return Err(UrlError::MissingApp),
        };
        let (credentials, host) = split_credentials(authority)?;
        let (host, port) = split_port(host)?;
        let names = Names::named(path, options.app, options.playpath)?;
        let (host, port) = (check_host(&host)?, port.unwrap_or(default_port(tls)));
        let place = Self {
            tls,
            credentials,
            host,
            port,
            app: String::new(),
            app_query: None,
            stream: String::new(),
            query: None,
            warning: options.warning(),
        };
        Ok(names.at(place))
    }
}

/// A URL as it was meant, without what stands around it.
fn bare(text: &str) -> Result<&str, UrlError> {
    if text.len() > MAX_URL.get() { Err(UrlError::TooLong) } else { Ok(unquote(text.trim())) }
}

fn without_controls(url: &str) -> Result<&str, UrlError> {
    if url.chars().any(char::is_control) { Err(UrlError::ControlCharacter) } else { Ok(url) }
}

/// A URL behind which nothing stands, as it was meant.
fn without_space(text: &str) -> Result<&str, UrlError> {
    let url = without_controls(bare(text)?)?;
    if url.contains(char::is_whitespace) { Err(UrlError::Space) } else { Ok(url) }
}

/// Takes one pair of quotes off that a shell or a configuration file left around the URL.
fn unquote(text: &str) -> &str {
    ['\'', '"']
        .into_iter()
        .find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote))
        .map_or(text, str::trim)
}

/// Options of librtmp behind a URL.
#[derive(Default)]
struct LibrtmpOptions<'a> {
    app: Option<&'a str>,
    playpath: Option<&'a str>,
    ignored: Vec<String>,
}

impl LibrtmpOptions<'_> {
    fn warning(self) -> Option<UrlWarning> {
        (!self.ignored.is_empty()).then_some(UrlWarning::LibrtmpOptions(self.ignored))
    }
}

/// Splits ` live=1 timeout=5` off, the way librtmp takes options; other spaces are an error.
fn split_librtmp_options(text: &str) -> Result<(&str, LibrtmpOptions<'_>), UrlError> {
    let mut options = LibrtmpOptions::default();
    let Some((url, rest)) = text.split_once(char::is_whitespace) else { return Ok((text, options)) };
    for option in rest.split_whitespace() {
        let (name, value) =
            option.split_once('=').filter(|(name, _)| is_option_name(name)).ok_or(UrlError::Space)?;
        match name.to_ascii_lowercase().as_str() {
            "app" => options.app = Some(value),
            "playpath" => options.playpath = Some(value),
            _ => options.ignored.push(name.to_owned()),
        }
    }
    Ok((url, options))
}

fn is_option_name(name: &str) -> bool {
    (1..=32).contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphanumeric())
}

fn split_scheme(url: &str) -> Result<(bool, &str), UrlError> {
    let (scheme, rest) = url.split_once("://").ok_or(UrlError::MissingScheme)?;
    match scheme.to_ascii_lowercase().as_str() {
        "rtmp" => Ok((false, rest)),
        "rtmps" => Ok((true, rest)),
        "" => Err(UrlError::MissingScheme),
        _ => Err(UrlError::Scheme),
    }
}

/// Splits `user:pass@` off. The last `@` counts, so that an unescaped one in a password does no harm.
fn split_credentials(authority: &str) -> Result<(Option<Credentials>, &str), UrlError> {
    let Some((userinfo, host)) = authority.rsplit_once('@') else { return Ok((None, authority)) };
    let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
    let credentials = Credentials { user: percent_decode(user)?, password: percent_decode(password)? };
    Ok((Some(credentials).filter(|c| !c.user.is_empty()), host))
}

fn percent_decode(text: &str) -> Result<Secret, UrlError> {
    let decoded =
        percent_encoding::percent_decode_str(text).decode_utf8().map_err(|_| UrlError::Credentials)?;
    Ok(Secret::new(decoded))
}

fn split_port(authority: &str) -> Result<(String, Option<u16>), UrlError> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or(UrlError::Host)?;
            check_ipv6(host)?;
            let port = after.strip_prefix(':');
            if port.is_none() && !after.is_empty() {
                return Err(UrlError::Host);
            }
            (host, port)
        }
        None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
    };
    let host = host.replacen("%25", "%", usize::from(authority.starts_with('[')));
    let parse = |port: &str| port.parse().ok().filter(|&port: &u16| port != 0).ok_or(UrlError::Port);
    Ok((host, port.filter(|port| !port.is_empty()).map(parse).transpose()?))
}

/// An address of IPv6, with the zone of one that is good on one link only: `fe80::1%25eth0` (RFC 6874), or with the
/// percent sign alone, as people write it.
fn check_ipv6(host: &str) -> Result<(), UrlError> {
    let (address, zone) = host.split_once('%').map_or((host, None), |(host, zone)| (host, Some(zone)));
    let zone = zone.map(|zone| zone.strip_prefix("25").filter(|rest| !rest.is_empty()).unwrap_or(zone));
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let good_zone = zone.is_none_or(|zone| (1..=32).contains(&zone.len()) && zone.chars().all(allowed));
    address.parse::<Ipv6Addr>().ok().filter(|_| good_zone).map(drop).ok_or(UrlError::Host)
}

fn check_host(host: &str) -> Result<String, UrlError> {
    let allowed = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
    // Checked with its brackets.
    if let Some((address, zone)) = host.split_once('%').filter(|(address, _)| address.contains(':')) {
        return Ok(format!("{}%{zone}", address.to_ascii_lowercase()));
    }
    if host.is_empty() || host.len() > 255 || !host.chars().all(allowed) {
        return Err(UrlError::Host);
    }
    Ok(host.to_ascii_lowercase())
}

/// App and stream name, each with its query.
struct Names<'a> {
    app: &'a str,
    stream: &'a str,
}

impl<'a> Names<'a> {
    /// Those that are given, and of the path what is not.
    fn named(path: &'a str, app: Option<&'a str>, stream: Option<&'a str>) -> Result<Self, UrlError> {
        let names = match (app, stream) {
            (Some(app), Some(stream)) => Self { app, stream },
            (Some(app), None) => Self { app, stream: stream_of(path, app)? },
            (None, Some(stream)) => Self { app: app_of(path, stream), stream },
            (None, None) => Self::split(path)?,
        };
        match (names.app.split('?').next(), names.stream.split('?').next()) {
            (None | Some(""), _) => Err(UrlError::MissingApp),
            (_, None | Some("")) => Err(UrlError::MissingStream),
            _ => Ok(names),
        }
    }

    /// As ffmpeg splits a path. But a slash in the query of the stream does not split: there it is part of a value.
    fn split(path: &'a str) -> Result<Self, UrlError> {
        let path = path.trim_start_matches('/');
        let Some(slash) = path.find('/') else {
            return Err(if path.is_empty() { UrlError::MissingApp } else { UrlError::MissingStream });
        };
        // Akamai's way to name a stream in the query.
        if let Some((_, stream)) = path.split_once('?').and_then(|(_, query)| query.split_once("slist=")) {
            return Ok(Self { app: path, stream: stream.split('&').next().unwrap_or_default() });
        }
        // An app with a query of its own is a part like others.
        let rest = path.get(slash + 1..).unwrap_or_default();
        let name = rest.split('?').next().unwrap_or_default();
        let end = match name.find('/').map(|at| slash + 1 + at) {
            Some(second) if !path.starts_with("ondemand/") && !path[slash..second].contains(':') => second,
            _ => slash,
        };
        let (app, stream) = path.split_at(end);
        Ok(Self { app: app.trim_end_matches('/'), stream: stream.trim_start_matches('/') })
    }

    /// These names at the place of `url`.
    fn at(&self, url: RtmpUrl) -> RtmpUrl {
        let split = |name: &str| {
            let (name, query) = name.split_once('?').unwrap_or((name, ""));
            (name.to_owned(), Some(query).filter(|query| !query.is_empty()).map(Secret::new))
        };
        let ((app, app_query), (stream, query)) = (split(self.app), split(self.stream));
        RtmpUrl { app, app_query, stream, query, ..url }
    }
}

/// The stream of a path whose app is known: what follows it, else a single part, else as ffmpeg splits.
fn stream_of<'a>(path: &'a str, app: &str) -> Result<&'a str, UrlError> {
    let path = path.trim_start_matches('/');
    let rest = path.strip_prefix(app.trim_matches('/')).and_then(|rest| rest.strip_prefix('/'));
    match rest {
        Some(rest) => Ok(rest),
        None if path.split('?').next().is_some_and(|path| !path.contains('/')) => Ok(path),
        None => Ok(Names::split(path)?.stream),
    }
}

/// The app of a path whose stream is known: what goes before it, else the whole path.
fn app_of<'a>(path: &'a str, stream: &str) -> &'a str {
    let path = path.trim_matches('/');
    match path.strip_suffix(stream) {
        Some("") => "",
        Some(app) if app.ends_with('/') => app.trim_end_matches('/'),
        _ => path,
    }
}

/// Why a text is not the URL of a stream. The message holds nothing of the text, which may have secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum UrlError {
    /// No `rtmp://` at the start.
    MissingScheme,
    /// Another scheme than rtmp and rtmps.
    Scheme,
    /// The host is missing or has characters that hosts cannot have.
    Host,
    /// The port is not a number from 1 to 65535.
    Port,
    /// User or password do not decode to UTF-8.
    Credentials,
    /// No path behind the host.
    MissingApp,
    /// The path has an app but no stream name.
    MissingStream,
    /// A space that no librtmp option follows.
    Space,
    /// A control character.
    ControlCharacter,
    /// Longer than 8 KiB.
    TooLong,
    /// Of a source: another scheme than rtmp, rtmps, http and https.
    SourceScheme,
    /// Of an origin: likewise.
    OriginScheme,
    /// Of a service that is asked: another scheme than http and https.
    HookScheme,
    /// Of a source by HTTP: no path behind the host.
    MissingPath,
    /// Of an origin: something behind the host.
    OriginPath,
}

impl UrlError {
    fn as_str(self) -> &'static str {
        match self {
            Self::MissingScheme => "the scheme is missing; expected rtmp://host/app/stream",
            Self::Scheme => {
                "the scheme is not supported, rtmp and rtmps are; ffmpeg brings others in (ffmpeg -i URL -c copy -f flv rtmp://HOST/live/NAME)"
            }
            Self::Host => "the host is missing or malformed (IPv6 addresses stand in brackets)",
            Self::Port => "the port is not a number from 1 to 65535",
            Self::Credentials => "user or password is not valid percent-encoded UTF-8",
            Self::MissingApp => "app and stream name are missing; expected rtmp://host/app/stream",
            Self::MissingStream => {
                "the stream name is missing behind the app; expected rtmp://host/app/stream, or app=APP playpath=STREAM behind the URL"
            }
            Self::Space => "the URL has a space in it",
            Self::ControlCharacter => "the URL has a control character in it",
            Self::TooLong => "the URL is longer than 8 KiB",
            Self::SourceScheme => {
                "the scheme is not supported; rtmp, rtmps, http and https (FLV) are; ffmpeg brings others in (ffmpeg -i URL -c copy -f flv rtmp://HOST/live/NAME)"
            }
            Self::OriginScheme => "the scheme is not supported; rtmp, rtmps, http and https (FLV) are",
            Self::HookScheme => "the scheme is not supported; http and https are",
            Self::MissingPath => "the path is missing behind the host; expected http://host/app/stream.flv",
            Self::OriginPath => {
                "something stands behind the host; expected rtmp://host:port or http://host:port"
            }
        }
    }
}

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::error::Error for UrlError {}

impl From<UrlError> for crate::Error {
    fn from(error: UrlError) -> Self {
        Self::new(crate::ErrorKind::InvalidArgument, format!("RTMP URL: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::url;

    fn error(text: &str) -> UrlError {
        text.parse::<RtmpUrl>().expect_err(text)
    }

    #[test]
    fn f40_a_stream_name_that_looks_like_a_key_shows_its_start_only() {
        let url: RtmpUrl = "rtmp://a.example/live2/abcd-efgh-ijkl-mnop".parse().unwrap();
        assert_eq!(url.to_string(), "rtmp://a.example/live2/abcd***");
        assert_eq!(url.stream_with_query(), "abcd-efgh-ijkl-mnop");
        let url: RtmpUrl = "rtmp://a.example/live/demo-copy".parse().unwrap();
        assert_eq!(url.to_string(), "rtmp://a.example/live/demo-copy");
    }

    #[test]
    fn f40_secrets_are_taken_out_of_a_servers_words() {
        let url: RtmpUrl = "rtmp://us%20er:pa%20ss@h/live/x?key=abcd&n=1&key2=abcdef".parse().unwrap();
        for (words, redacted) in [
            ("no such key: abcd", "no such key: ***"),
            ("no stream x?key=abcd&n=1&key2=abcdef", "no stream x?***"),
            ("abcdef is too long, 1 is too short", "*** is too long, 1 is too short"),
            ("user=us%20er, us er, pa ss", "user=***, ***, ***"),
            ("nothing to hide", "nothing to hide"),
        ] {
            assert_eq!(url.redact(words), redacted);
        }
        let name: RtmpUrl = "rtmp://h/live/x:hunter2".parse().unwrap();
        assert_eq!(name.redact("x:hunter2 is taken"), "x:*** is taken");
        let key: RtmpUrl = "rtmp://h/live2/abcd-efgh-ijkl-mnop".parse().unwrap();
        assert_eq!(key.redact("no abcd-efgh-ijkl-mnop"), "no ***");
    }

    /// App, stream name with query and tcUrl of URLs that users of other systems had trouble with.
    #[test]
    fn c6_urls_that_trouble_other_programs_are_taken_apart_right() {
        let table = [
            // m1k1o/neko#276, #236: librtmp suffix
            ("rtmp://lhr08.contribute.live-video.net/app/live_1_abc live=1", "app", "live_1_abc"),
            // m1k1o/neko#205: quotes around the URL
            (
                "'rtmp://10.0.0.1:21935/live/neko?user=publish&pass=abcdef'",
                "live",
                "neko?user=publish&pass=abcdef",
            ),
            ("\"rtmp://10.0.0.1/live/neko live=1\"", "live", "neko"),
            // pedroSG94/RootEncoder#1566: a URL inside the query
            (
                "rtmp://192.168.238.182:1935/live/100044?userId=1&cover=http://192.168.238.182/x.png",
                "live",
                "100044?userId=1&cover=http://192.168.238.182/x.png",
            ),
            // pedroSG94/RootEncoder#1652: two-part app, query without keys
            ("rtmp://rtmp-auto.millicast.com:1935/v2/pub/name?a1b2=", "v2/pub", "name?a1b2="),
            // arut/nginx-rtmp-module#1426: four parts, as ffmpeg splits them, and as one may mean them
            ("rtmp://10.0.0.1:1935/test/my_application/path/name", "test/my_application", "path/name"),
            (
                "rtmp://10.0.0.1:1935/test/my_application/path/name playpath=name",
                "test/my_application/path",
                "name",
            ),
            // nothing is decoded, normalised or cut on the way to the server
            ("rtmp://h/live/a%20b..#c?d={\"e\"}&f='g'", "live", "a%20b..#c?d={\"e\"}&f='g'"),
            ("rtmp://h//live//a", "live", "a"),
            ("RTMP://h/live/a?", "live", "a"),
        ];
        for (text, app, stream) in table {
            let url = url(text);
            assert_eq!((url.app(), &*url.stream_with_query()), (app, stream), "{text}");
        }
    }

    #[test]
    fn app_and_stream_are_split_as_ffmpeg_splits_them() {
        for (path, app, stream) in [
            ("live?vhost=x/name", "live?vhost=x", "name"),
            ("live?vhost=x/dir/name?key=1", "live?vhost=x/dir", "name?key=1"),
            ("live?vhost=x/name?key=1/2", "live?vhost=x", "name?key=1/2"),
            ("live/inst/dir/mp4:a.mp4", "live/inst", "dir/mp4:a.mp4"),
            ("live/x/a:b/c", "live/x", "a:b/c"),
            ("live/a:b/c", "live", "a:b/c"),
            ("li:ve/a/b/c", "li:ve/a", "b/c"),
            ("live:1/a", "live:1", "a"),
            ("live&x=y/a", "live&x=y", "a"),
            ("ondemand?x=1/a", "ondemand?x=1", "a"),
            ("ondemandx/a/b", "ondemandx/a", "b"),
            ("a?slist=c/d", "a?slist=c/d", "c/d"),
            ("a/slist=b", "a", "slist=b"),
            ("app/_definst_/mp4:dir/a", "app/_definst_", "mp4:dir/a"),
            ("live/a?u=rtmp://x/y/z", "live", "a?u=rtmp://x/y/z"),
            ("live/mp4:a.mp4?x=/b", "live", "mp4:a.mp4?x=/b"),
            ("vod/flv:dir/a", "vod", "flv:dir/a"),
            ("vod/inst/mp4:dir/a.mp4", "vod/inst", "mp4:dir/a.mp4"),
            ("app/instance/name", "app/instance", "name"),
            ("app/instance/dir/name?a=b/c", "app/instance", "dir/name?a=b/c"),
            ("ondemand/dir/name", "ondemand", "dir/name"),
            ("a/b?slist=c&d=e", "a/b?slist=c&d=e", "c"),
        ] {
            let url = url(&format!("rtmp://h/{path}"));
            assert_eq!((&*url.app_with_query(), &*url.stream_with_query()), (app, stream), "{path}");
            assert_eq!(url.tc_url(), format!("rtmp://h/{app}"));
        }
        let masked = url("rtmp://h/live?key=hunter2/flv:dir/a").to_string();
        assert_eq!(masked, "rtmp://h/live?***/flv:dir/a");
        assert_eq!(url("rtmp://h/live/mp4:a:hunter2").to_string(), "rtmp://h/live/mp4:a:***");
        assert_eq!(url("rtmp://h/live/é直播直播直播").to_string(), "rtmp://h/live/é***");
    }

    #[test]
    fn app_and_stream_can_be_given_apart() {
        for (text, app, stream) in [
            ("rtmp://h/a/b/c/d app=a/b/c", "a/b/c", "d"),
            ("rtmp://h/a/b/c/d app=a", "a", "b/c/d"),
            ("rtmp://h/a/b/c/d playpath=c/d", "a/b", "c/d"),
            ("rtmp://h/a playpath=b?key=1", "a", "b?key=1"),
            ("rtmp://h app=a playpath=b", "a", "b"),
            ("rtmp://h/b app=a/x?vhost=v", "a/x?vhost=v", "b"),
            ("rtmp://h/x/y app=a playpath=b", "a", "b"),
        ] {
            let one = url(text);
            assert_eq!((&*one.app_with_query(), &*one.stream_with_query()), (app, stream), "{text}");
            assert!(one.warning().is_none());
            let (plain, _) = text.split_once(' ').unwrap();
            let option = |name| text.split(' ').find_map(|option: &str| option.strip_prefix(name));
            if let Ok(plain) = plain.parse::<RtmpUrl>() {
                assert_eq!(plain.with_names(option("app="), option("playpath=")).unwrap(), one, "{text}");
            }
        }
        assert_eq!(error("rtmp://h/a app=b app="), UrlError::MissingApp);
        assert_eq!(error("rtmp://h/a playpath=?x"), UrlError::MissingStream);
    }

    #[test]
    fn an_ipv6_zone_is_part_of_the_host() {
        for text in ["rtmp://[fe80::1%25eth0]:1936/a/b", "rtmp://[FE80::1%eth0]:1936/a/b"] {
            let url = url(text);
            assert_eq!((url.host(), url.port()), ("fe80::1%eth0", 1936));
            assert_eq!(url.tc_url(), "rtmp://[fe80::1%25eth0]:1936/a");
            assert_eq!(url.to_string().parse::<RtmpUrl>().unwrap(), url);
        }
        for bad in ["[fe80::1%]", "[fe80::1%25e/h]", "[::1%a@b]", "h%25eth0"] {
            assert_eq!(error(&format!("rtmp://{bad}/a/b")), UrlError::Host, "{bad}");
        }
    }

    #[test]
    fn host_port_and_tls_follow_the_scheme() {
        let plain = url("rtmp://Example.com/live/a");
        assert_eq!((plain.host(), plain.port(), plain.tls()), ("example.com", 1935, false));
        assert_eq!(plain.tc_url(), "rtmp://example.com/live");
        let tls = url("rtmps://example.com/live/a");
        assert_eq!((tls.port(), tls.tls(), tls.tc_url().as_str()), (443, true, "rtmps://example.com/live"));
        assert_eq!(url("rtmps://h:1935/a/b/c").tc_url(), "rtmps://h:1935/a/b");
        assert_eq!(url("rtmp://h:/a/b").port(), 1935);
    }

    #[test]
    fn ipv6_literals_keep_their_brackets_in_the_tc_url_only() {
        let v6 = url("rtmp://u:p@[2001:db8::1]:1936/live/a");
        assert_eq!((v6.host(), v6.port()), ("2001:db8::1", 1936));
        assert_eq!(v6.tc_url(), "rtmp://[2001:db8::1]:1936/live");
        assert_eq!(url("rtmp://[::1]/live/a").to_string(), "rtmp://[::1]/live/a");
        for bad in ["rtmp://[::1/live/a", "rtmp://[x]/live/a", "rtmp://[::1]1935/live/a"] {
            assert_eq!(error(bad), UrlError::Host, "{bad}");
        }
        assert_eq!(error("rtmp://::1/live/a"), UrlError::Port);
    }

    #[test]
    fn credentials_are_decoded_and_never_part_of_what_is_sent_as_tc_url() {
        let url = url("rtmp://us%40er:p%3Aa@ss@host/live/a");
        let credentials = url.credentials().unwrap();
        assert_eq!((credentials.user.expose(), credentials.password.expose()), ("us@er", "p:a@ss"));
        assert_eq!((url.host(), url.tc_url().as_str()), ("host", "rtmp://host/live"));
        assert!("rtmp://@host/live/a".parse::<RtmpUrl>().unwrap().credentials().is_none());
    }

    #[test]
    fn f40_secrets_of_a_url_are_neither_displayed_nor_debugged_nor_serialized() {
        let url = url("rtmps://marker1:marker2@host:444/live/name:marker3?key=marker4 token=marker5");
        assert_eq!(url.to_string(), "rtmps://***@host:444/live/name:***?***");
        assert_eq!(url.warning().unwrap().to_string(), "ignored librtmp options behind the URL: token");
        let printed = format!("{url} {url:?} {:?} {:?}", url.credentials(), url.warning());
        assert!(!printed.contains("marker"), "{printed}");
    }

    #[test]
    fn f39_a_reconnect_request_leads_to_the_place_of_the_url_itself_only() {
        let here = url("rtmps://u:p@host/v2/pub/a?key=1");
        for to in
            ["rtmps://host/v2/pub", "rtmps://HOST:443/v2/pub/?x=1", "/v2/pub", "v2/pub", "//host/v2/pub"]
        {
            assert_eq!(here.check_move(to), Ok(()), "{to}");
        }
        for (to, why) in [
            ("rtmps://other/v2/pub", "another host"),
            ("//127.0.0.1/v2/pub", "another host"),
            ("rtmp://host:443/v2/pub", "TLS"),
            ("rtmps://host:444/v2/pub", "another port"),
            ("//host:1/v2/pub", "another port"),
            ("/other", "another app"),
            ("rtmps://host/v2", "another app"),
            ("http://host/v2/pub", "scheme"),
            ("rtmps://host", "missing"),
            ("", "missing"),
        ] {
            let error = here.check_move(to).unwrap_err();
            assert!(error.contains(why), "{to}: {error}");
        }
        assert!(url("rtmp://host:443/a/b").check_move("rtmps://host/a").is_err());
    }

    #[test]
    fn a_place_to_go_to_is_a_url_up_to_the_app() {
        for (text, tc_url) in [
            ("rtmp://host/live", "rtmp://host/live"),
            ("RTMPS://Host:443/live/", "rtmps://host/live"),
            ("rtmp://[::1]:1936/a/b?key=marker/1", "rtmp://[::1]:1936/a/b?key=marker/1"),
            ("rtmp://host/a/b/c", "rtmp://host/a/b/c"),
            ("rtmp://host/live?", "rtmp://host/live"),
        ] {
            assert_eq!(parse_tc_url(text).as_deref(), Ok(tc_url));
        }
        for (text, why) in [
            ("", "scheme"),
            ("/live", "scheme"),
            ("http://host/live", "scheme"),
            ("rtmp://host", "app is missing"),
            ("rtmp://host?marker", "app is missing"),
            ("rtmp://host/live marker=1", "space"),
            ("rtmp://host/live?a=1 marker=1", "space"),
            ("rtmp://host/live?marker\r\n", "space"),
            ("rtmp://host/live?marker\0", "control"),
            ("rtmp://marker:marker@host/live", "user"),
        ] {
            let error = parse_tc_url(text).unwrap_err();
            assert!(error.contains(why) && !error.contains("marker"), "{text}: {error}");
        }
    }

    #[test]
    fn errors_say_what_is_missing() {
        let table = [
            (" live=1", UrlError::MissingScheme),
            ("", UrlError::MissingScheme),
            ("host/live/a", UrlError::MissingScheme),
            ("rtmp:192.168.34.219:8888/aa/aa", UrlError::MissingScheme),
            ("http://host/live/a", UrlError::Scheme),
            ("rtmpe://host/live/a", UrlError::Scheme),
            ("rtmp://host", UrlError::MissingApp),
            ("rtmp://host/", UrlError::MissingApp),
            ("rtmp://host/live2", UrlError::MissingStream),
            ("rtmp://host/live2/", UrlError::MissingStream),
            ("rtmp://host/mystream?user=alice&pass=secret", UrlError::MissingStream),
            ("rtmp:///live/a", UrlError::Host),
            ("rtmp://<ip>:21935/live/neko", UrlError::Host),
            ("rtmp://host:port/live/a", UrlError::Port),
            ("rtmp://host:0/live/a", UrlError::Port),
            ("rtmp://host:65536/live/a", UrlError::Port),
            ("rtmp://host/live/my stream", UrlError::Space),
            ("rtmp://host/live/a\0b", UrlError::ControlCharacter),
            ("rtmp://%ff@host/live/a", UrlError::Credentials),
        ];
        for (text, expected) in table {
            assert_eq!(error(text), expected, "{text}");
        }
        assert_eq!(error(&format!("rtmp://host/live/{}", "a".repeat(9_000))), UrlError::TooLong);
        assert!(UrlError::MissingStream.to_string().contains("stream name is missing"));
    }
}
