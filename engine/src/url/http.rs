//! HTTP URLs of FLV streams: `http[s]://[user:pass@]host[:port]/path[?query]`.

use super::{Credentials, UrlError, check_host, split_credentials, split_port, without_space};
use crate::Secret;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use std::fmt;
use std::str::FromStr;

/// What cannot stand in a request as it is; text beyond ASCII is encoded too.
const NOT_SENT: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'`')
    .add(b'{')
    .add(b'}')
    .add(b'|')
    .add(b'\\')
    .add(b'^');

/// Where to pull an FLV stream from by HTTP.
///
/// `Display` and `Debug` show neither user and password nor the query: they print as `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpUrl {
    pub(super) tls: bool,
    pub(super) credentials: Option<Credentials>,
    pub(super) host: String,
    pub(super) port: u16,
    /// As it is sent.
    path: String,
    /// Likewise, without its question mark.
    query: Option<Secret>,
}

impl HttpUrl {
    /// What is at `target`, a path and perhaps a query, of the same place.
    #[must_use]
    pub fn at(self, target: &str) -> Self {
        let target = target.split('#').next().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let encoded = |text| utf8_percent_encode(text, NOT_SENT).to_string();
        let query = Some(query).filter(|query| !query.is_empty()).map(|query| Secret::new(encoded(query)));
        let path = if path.is_empty() { "/".to_owned() } else { encoded(path) };
        Self { path, query, ..self }
    }

    /// The host name or address, without the brackets of IPv6.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port: as given, else 80 (http) or 443 (https).
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether the connection uses TLS (`https`).
    pub fn tls(&self) -> bool {
        self.tls
    }

    /// The path as it is sent, without its query.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// User name and password for Basic authentication.
    pub fn credentials(&self) -> Option<&Credentials> {
        self.credentials.as_ref()
    }

    /// Path and query as a request has them. Never log it.
    pub fn target(&self) -> String {
        match &self.query {
            Some(query) => format!("{}?{}", self.path, query.expose()),
            None => self.path.clone(),
        }
    }

    /// `host[:port]`, with brackets around IPv6, the port only where it is not the default.
    pub fn authority(&self) -> String {
        let host = match self.host.contains(':') {
            // The zone of an address is known to this machine only.
            true => format!("[{}]", self.host.split('%').next().unwrap_or_default()),
            false => self.host.clone(),
        };
        if self.port == default_port(self.tls) { host } else { format!("{host}:{}", self.port) }
    }

    /// The value of `Authorization`, where the URL has a user. Never log it.
    pub fn authorization(&self) -> Option<String> {
        let Credentials { user, password } = self.credentials.as_ref()?;
        Some(format!("Basic {}", STANDARD.encode(format!("{}:{}", user.expose(), password.expose()))))
    }
}

pub(super) fn default_port(tls: bool) -> u16 {
    if tls { 443 } else { 80 }
}

/// Whether a text begins with `http://` or `https://`, and with which.
pub(super) fn split_scheme(url: &str) -> Option<(bool, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    match scheme.to_ascii_lowercase().as_str() {
        "http" => Some((false, rest)),
        "https" => Some((true, rest)),
        _ => None,
    }
}

impl FromStr for HttpUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let (tls, authority, target) = take_apart(text, UrlError::SourceScheme)?;
        if !target.starts_with('/') || target == "/" {
            return Err(UrlError::MissingPath);
        }
        Ok(Self::place_of(tls, authority)?.at(target))
    }
}

/// Whether a URL is of TLS, its authority, and the rest.
fn take_apart(text: &str, other_scheme: UrlError) -> Result<(bool, &str, &str), UrlError> {
    let (tls, rest) = split_scheme(without_space(text)?).ok_or(other_scheme)?;
    let (authority, target) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    Ok((tls, authority, target))
}

/// A service that is asked by HTTP: `http[s]://[user:pass@]host[:port][/path][?query]`.
///
/// `Display` and `Debug` show neither user and password nor the query: they print as `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct HookUrl(HttpUrl);

impl HookUrl {
    #[cfg_attr(not(any(test, feature = "http")), expect(dead_code, reason = "what speaks HTTP uses it"))]
    pub(crate) fn as_http(&self) -> &HttpUrl {
        &self.0
    }
}

impl FromStr for HookUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let (tls, authority, target) = take_apart(text, UrlError::HookScheme)?;
        Ok(Self(HttpUrl::place_of(tls, authority)?.at(target)))
    }
}

impl fmt::Display for HookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for HookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Serializes masked, as it displays.
impl serde::Serialize for HookUrl {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for HookUrl {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Credentials and query are masked.
impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        let credentials = if self.credentials.is_some() { "***@" } else { "" };
        let query = if self.query.is_some() { "?***" } else { "" };
        write!(f, "{scheme}://{credentials}{}{}{query}", self.authority(), self.path)
    }
}

impl fmt::Debug for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl HttpUrl {
    /// The place of an origin, at no path yet.
    pub(super) fn place(tls: bool, credentials: Option<Credentials>, host: String, port: u16) -> Self {
        Self { tls, credentials, host, port, path: "/".to_owned(), query: None }
    }

    /// The same of the authority of a URL.
    fn place_of(tls: bool, authority: &str) -> Result<Self, UrlError> {
        let (credentials, host) = split_credentials(authority)?;
        let (host, port) = split_port(host)?;
        Ok(Self::place(tls, credentials, check_host(&host)?, port.unwrap_or(default_port(tls))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> HttpUrl {
        text.parse().unwrap()
    }

    #[test]
    fn a_url_gives_what_a_request_needs_and_shows_no_secret() {
        let all = url("HTTPS://us%40er:marker1@Host:8443/live/a.flv?token=marker2#marker3");
        assert_eq!((all.host(), all.port(), all.tls()), ("host", 8443, true));
        assert_eq!(
            (all.target().as_str(), all.authority().as_str()),
            ("/live/a.flv?token=marker2", "host:8443")
        );
        assert_eq!(all.authorization().unwrap(), format!("Basic {}", STANDARD.encode("us@er:marker1")));
        let shown = format!("{all} {all:?}");
        assert!(
            shown.starts_with("https://***@host:8443/live/a.flv?*** ") && !shown.contains("marker"),
            "{shown}"
        );
        let plain = url("http://[::1]/a/直播.flv");
        assert_eq!((plain.authority().as_str(), plain.port()), ("[::1]", 80));
        assert_eq!(plain.target(), "/a/%E7%9B%B4%E6%92%AD.flv");
        assert_eq!(plain.authorization(), None);
    }

    #[test]
    fn what_is_no_url_of_a_stream_is_an_error_in_words() {
        for (text, error) in [
            ("http://h", UrlError::MissingPath),
            ("http://h/", UrlError::MissingPath),
            ("http://h?a=b", UrlError::MissingPath),
            ("http:///a.flv", UrlError::Host),
            ("http://h:0/a.flv", UrlError::Port),
            ("http://h/a b.flv", UrlError::Space),
            ("http://h/a\0.flv", UrlError::ControlCharacter),
            ("http://h/a.flv\r\nX: y", UrlError::ControlCharacter),
            ("srt://h/a.flv", UrlError::SourceScheme),
        ] {
            assert_eq!(text.parse::<HttpUrl>().unwrap_err(), error, "{text}");
        }
        assert_eq!(format!("http://h/{}", "a".repeat(9_000)).parse::<HttpUrl>(), Err(UrlError::TooLong));
    }

    #[test]
    fn a_service_needs_no_path() {
        for (text, target) in
            [("http://h", "/"), ("http://h:8000/", "/"), ("https://h/on?token=a", "/on?token=a")]
        {
            let url: HookUrl = text.parse().unwrap();
            assert_eq!(url.as_http().target(), target, "{text}");
            assert!(!format!("{url} {url:?}").contains("token"));
        }
        assert_eq!("rtmp://h/a".parse::<HookUrl>(), Err(UrlError::HookScheme));
        assert_eq!("http://h/a\r\nX: y".parse::<HookUrl>(), Err(UrlError::ControlCharacter));
    }
}
