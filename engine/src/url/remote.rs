//! Where streams are pulled from: by RTMP or by HTTP; and the servers that they have in common.

use super::http::{self, HttpUrl};
use super::{
    Credentials, RtmpUrl, UrlError, UrlWarning, check_host, default_port, split_credentials, split_port,
    unquote, without_space,
};
use crate::{Error, ErrorKind};
use percent_encoding::{AsciiSet, utf8_percent_encode};
use std::fmt;
use std::str::FromStr;

/// The URL of a stream on another server: `rtmp[s]://host/app/stream` or `http[s]://host/app/stream.flv`. Shows no secrets.
#[derive(Clone, PartialEq, Eq)]
pub enum RemoteUrl {
    /// By RTMP.
    Rtmp(RtmpUrl),
    /// As FLV by HTTP.
    Http(HttpUrl),
}

impl RemoteUrl {
    /// The host name or address, without the brackets of IPv6.
    pub fn host(&self) -> &str {
        match self {
            Self::Rtmp(url) => url.host(),
            Self::Http(url) => url.host(),
        }
    }

    /// The port.
    pub fn port(&self) -> u16 {
        match self {
            Self::Rtmp(url) => url.port(),
            Self::Http(url) => url.port(),
        }
    }

    /// Whether the connection uses TLS.
    pub fn tls(&self) -> bool {
        match self {
            Self::Rtmp(url) => url.tls(),
            Self::Http(url) => url.tls(),
        }
    }

    /// What was ignored while parsing; worth one log line.
    pub fn warning(&self) -> Option<&UrlWarning> {
        self.as_rtmp().and_then(RtmpUrl::warning)
    }

    /// The URL where it is one of RTMP.
    pub fn as_rtmp(&self) -> Option<&RtmpUrl> {
        match self {
            Self::Rtmp(url) => Some(url),
            Self::Http(_) => None,
        }
    }
}

impl From<RtmpUrl> for RemoteUrl {
    fn from(url: RtmpUrl) -> Self {
        Self::Rtmp(url)
    }
}

impl From<HttpUrl> for RemoteUrl {
    fn from(url: HttpUrl) -> Self {
        Self::Http(url)
    }
}

impl FromStr for RemoteUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        if http::split_scheme(unquote(text.trim())).is_some() {
            return text.parse().map(Self::Http);
        }
        let url = text.parse().map(Self::Rtmp);
        url.map_err(|error| if error == UrlError::Scheme { UrlError::SourceScheme } else { error })
    }
}

impl fmt::Display for RemoteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rtmp(url) => url.fmt(f),
            Self::Http(url) => fmt::Display::fmt(url, f),
        }
    }
}

impl fmt::Debug for RemoteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Serializes masked, as it displays.
impl serde::Serialize for RemoteUrl {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What ends or splits a part of a path or a value of a query.
const IN_PATH: &AsciiSet =
    &super::IN_QUERY.add(b'+').add(b'"').add(b'<').add(b'>').add(b'`').add(b'{').add(b'}').remove(b'/');

/// A server that streams are fetched from when they are asked for: `rtmp[s]://` or `http[s]://`, `[user:pass@]host[:port]`.
/// Which stream is no part of it. Shows no secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct OriginUrl {
    is_http: bool,
    tls: bool,
    credentials: Option<Credentials>,
    host: String,
    port: u16,
}

impl OriginUrl {
    /// Whether streams are fetched from it by HTTP.
    pub fn is_http(&self) -> bool {
        self.is_http
    }

    /// A stream of it.
    pub(crate) fn stream(&self, http_path: &PathTemplate, app: &str, stream: &str) -> RemoteUrl {
        let Self { is_http, tls, credentials, host, port } = self.clone();
        if is_http {
            return HttpUrl::place(tls, credentials, host, port).at(&http_path.fill(app, stream)).into();
        }
        let (app, stream) = (app.to_owned(), stream.to_owned());
        let url = RtmpUrl {
            tls,
            credentials,
            host,
            port,
            app,
            app_query: None,
            stream,
            query: None,
            warning: None,
        };
        url.into()
    }
}

/// The variables of a template.
const APP: &str = "{app}";
const STREAM: &str = "{stream}";

/// Where a server has its streams: a path, and perhaps a query, in which `{app}` and `{stream}` stand for the names. Shows no
/// query, as it may hold a token.
#[derive(Clone, PartialEq, Eq)]
pub struct PathTemplate(String);

/// `/{app}/{stream}.flv`.
impl Default for PathTemplate {
    fn default() -> Self {
        Self(format!("/{APP}/{STREAM}.flv"))
    }
}

impl PathTemplate {
    fn fill(&self, app: &str, stream: &str) -> String {
        let encoded = |text| utf8_percent_encode(text, IN_PATH).to_string();
        self.0.replace(APP, &encoded(app)).replace(STREAM, &encoded(stream))
    }
}

impl FromStr for PathTemplate {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let rest = text.replace(APP, "").replace(STREAM, "");
        let words = if !text.starts_with('/') {
            "begins with no slash"
        } else if !text.contains(STREAM) {
            "has no {stream} in it"
        } else if rest.contains(['{', '}']) {
            "has other variables than {app} and {stream}"
        } else if rest.contains(|c: char| c.is_whitespace() || c.is_control() || c == '#') {
            "has a character in it that URLs cannot have"
        } else {
            return Ok(Self(text.to_owned()));
        };
        let words = format!("the path of streams {words}; such as /{{app}}/{{stream}}.flv");
        Err(Error::new(ErrorKind::InvalidArgument, words))
    }
}

impl fmt::Display for PathTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.split_once('?') {
            Some((path, _)) => write!(f, "{path}?***"),
            None => f.write_str(&self.0),
        }
    }
}

impl fmt::Debug for PathTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Serializes masked, as it displays.
impl serde::Serialize for PathTemplate {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for RemoteUrl {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl<'de> serde::Deserialize<'de> for PathTemplate {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl FromStr for OriginUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let text = without_space(text)?;
        let (is_http, tls, rest) = match http::split_scheme(text) {
            Some((tls, rest)) => (true, tls, rest),
            None => match super::split_scheme(text) {
                Ok((tls, rest)) => (false, tls, rest),
                Err(UrlError::Scheme) => return Err(UrlError::OriginScheme),
                Err(error) => return Err(error),
            },
        };
        let (credentials, host) = split_credentials(rest.strip_suffix('/').unwrap_or(rest))?;
        if host.contains(['/', '?', '#']) {
            return Err(UrlError::OriginPath);
        }
        let (host, port) = split_port(host)?;
        let default = if is_http { http::default_port(tls) } else { default_port(tls) };
        Ok(Self { is_http, tls, credentials, host: check_host(&host)?, port: port.unwrap_or(default) })
    }
}

impl fmt::Display for OriginUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match (self.is_http, self.tls) {
            (true, false) => "http",
            (true, true) => "https",
            (false, false) => "rtmp",
            (false, true) => "rtmps",
        };
        let credentials = if self.credentials.is_some() { "***@" } else { "" };
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        write!(f, "{scheme}://{credentials}{host}:{}", self.port)
    }
}

impl fmt::Debug for OriginUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Serializes masked, as it displays.
impl serde::Serialize for OriginUrl {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for OriginUrl {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remote_url_is_of_rtmp_or_of_http() {
        for (text, host, port, tls) in [
            ("rtmp://h/live/a", "h", 1935, false),
            ("rtmps://h/live/a", "h", 443, true),
            ("http://h/live/a.flv", "h", 80, false),
            ("'HTTPS://h:1/a.flv'", "h", 1, true),
        ] {
            let url: RemoteUrl = text.parse().unwrap();
            assert_eq!((url.host(), url.port(), url.tls()), (host, port, tls), "{text}");
        }
        assert_eq!("srt://h/a".parse::<RemoteUrl>(), Err(UrlError::SourceScheme));
        assert_eq!("rtmp://h/a".parse::<RemoteUrl>(), Err(UrlError::MissingStream));
    }

    #[test]
    fn f39_an_origin_gives_the_url_of_a_stream_whose_name_changes_nothing_but_the_path() {
        let origin = |text: &str| text.parse::<OriginUrl>().unwrap();
        let target = |url: &RemoteUrl| match url {
            RemoteUrl::Http(url) => url.target(),
            RemoteUrl::Rtmp(url) => format!("{}|{}", url.app(), url.stream()),
        };
        let http = origin("http://u:marker@h:8080/");
        for (path, app, stream, expected) in [
            ("/{app}/{stream}.flv", "my/app", "te=st&x", "/my/app/te%3Dst%26x.flv"),
            ("/live?app={app}&stream={stream}", "a", "b+c", "/live?app=a&stream=b%2Bc"),
            ("/{stream}", "a", "@(b)~", "/@(b)~"),
            ("/{app}/{stream}.flv", "直", "播", "/%E7%9B%B4/%E6%92%AD.flv"),
        ] {
            let url = http.stream(&path.parse().unwrap(), app, stream);
            assert_eq!(target(&url), expected);
            assert_eq!((url.host(), url.port()), ("h", 8080));
            assert!(!format!("{url} {http:?}").contains("marker"));
        }
        let url = origin("rtmps://[::1]").stream(&PathTemplate::default(), "my/app", "x");
        assert_eq!(
            (target(&url).as_str(), url.host(), url.port(), url.tls()),
            ("my/app|x", "::1", 443, true)
        );
        assert_eq!(origin("rtmp://h").to_string(), "rtmp://h:1935");
    }

    #[test]
    fn what_is_no_origin_is_an_error_in_words() {
        for (text, error) in [
            ("h:1935", UrlError::MissingScheme),
            ("srt://h", UrlError::OriginScheme),
            ("rtmp://h/app", UrlError::OriginPath),
            ("http://h/?a", UrlError::OriginPath),
            ("http://h?a", UrlError::OriginPath),
            ("http://", UrlError::Host),
            ("http://h:x", UrlError::Port),
            ("http://h h", UrlError::Space),
            ("rtmp://h\0", UrlError::ControlCharacter),
        ] {
            assert_eq!(text.parse::<OriginUrl>(), Err(error), "{text}");
        }
        assert_eq!(format!("rtmp://{}", "a".repeat(9_000)).parse::<OriginUrl>(), Err(UrlError::TooLong));
        for (path, words) in [
            ("{app}/{stream}.flv", "slash"),
            ("/{app}.flv", "no {stream}"),
            ("/{app}/{stream}/{host}", "other variables"),
            ("/{stream} x", "character"),
        ] {
            assert!(path.parse::<PathTemplate>().unwrap_err().to_string().contains(words), "{path}");
        }
        let path: PathTemplate = "/{app}/{stream}.flv?token=marker".parse().unwrap();
        assert_eq!(format!("{path} {path:?}"), "/{app}/{stream}.flv?*** /{app}/{stream}.flv?***");
    }
}
