//! Who may see over HTTP what an engine tells of itself, who may change something there, and where publishers may send their streams on.

use super::{OpusPolicy, parsed};
use crate::key::{Secret, random};
use crate::url::RtmpUrl;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// What somebody may do who manages an engine over HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HttpRole {
    /// To look.
    Viewer,
    /// To look, and to change something.
    Admin,
}

named!(HttpRole { Viewer => "viewer", Admin => "admin" });

/// A token by which somebody is known over HTTP: `Authorization: Bearer TOKEN`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct HttpTokenConfig {
    /// What it is called in the log.
    pub name: String,
    /// What it is good for.
    pub role: HttpRole,
    /// The SHA-256 of the token.
    pub sha256: TokenHash,
}

impl HttpTokenConfig {
    /// A token of which this is the hash.
    pub fn new(name: impl Into<String>, role: HttpRole, sha256: TokenHash) -> Self {
        Self { name: name.into(), role, sha256 }
    }

    /// A new token of 256 random bits, which is to be told once, and what a configuration has of it.
    ///
    /// # Errors
    /// [`ErrorKind::Io`](crate::ErrorKind::Io) where the operating system gives no random numbers.
    pub fn make(name: impl Into<String>, role: HttpRole) -> crate::Result<(Secret, Self)> {
        let (token, sha256) = TokenHash::make()?;
        Ok((token, Self::new(name, role, sha256)))
    }
}

/// A server that publishers over WebSocket may have their stream pushed to while they publish. They know its name only.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct DestinationConfig {
    /// What it is called.
    pub name: String,
    /// Where to: `rtmp[s]://[user:pass@]host[:port]/app/stream[?query]`.
    #[serde(deserialize_with = "parsed")]
    pub url: RtmpUrl,
    /// The app whose publishers may choose it; empty for all.
    #[serde(default)]
    pub app: String,
    /// What becomes of Opus where it has not announced that it takes it.
    #[serde(default = "refuse")]
    pub opus: OpusPolicy,
}

setters!(DestinationConfig: String { name, app } RtmpUrl { url } OpusPolicy { opus });

impl DestinationConfig {
    /// One that the publishers of all apps may choose.
    pub fn new(name: impl Into<String>, url: RtmpUrl) -> Self {
        Self { name: name.into(), url, app: String::new(), opus: refuse() }
    }

    /// Whether publishers of an app may choose it.
    #[cfg(feature = "http")]
    pub(crate) fn is_for(&self, app: &str) -> bool {
        self.app.is_empty() || self.app == app
    }
}

fn refuse() -> OpusPolicy {
    OpusPolicy::Refuse
}

/// Checks what the types cannot: names are what publishers choose by.
pub(super) fn check_destinations(all: &[DestinationConfig]) -> Result<(), String> {
    for (index, destination) in all.iter().enumerate() {
        let DestinationConfig { name, app, .. } = destination;
        if name.is_empty() || name.len() > 64 || name.chars().any(char::is_control) {
            return Err("destination.name is 1 to 64 bytes of text".to_owned());
        }
        let is_taken = |other: &DestinationConfig| {
            other.name == *name && (other.app == *app || app.is_empty() || other.app.is_empty())
        };
        if all.iter().take(index).any(is_taken) {
            return Err(format!("destination.name: {name} is there twice"));
        }
    }
    Ok(())
}

/// The SHA-256 of a token, 64 hexadecimal digits. It may be known: nobody finds a token of 128 random bits by it. Shorter ones, and
/// such as people make up, can be found.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// Of the bytes of a hash.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The hash of a token.
    pub fn of(token: &str) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, token.as_bytes());
        let mut bytes = [0; 32];
        bytes.iter_mut().zip(digest.as_ref()).for_each(|(byte, of_digest)| *byte = *of_digest);
        Self(bytes)
    }

    /// A new token of 256 random bits, and its hash.
    pub(crate) fn make() -> crate::Result<(Secret, Self)> {
        let token: String = random(32)?.iter().map(|byte| format!("{byte:02x}")).collect();
        let hash = Self::of(&token);
        Ok((Secret::new(token), hash))
    }

    /// Whether it is the hash of this token; takes as long whatever the token is.
    #[cfg(feature = "http")]
    pub(crate) fn is_of(&self, token: &str) -> bool {
        use subtle::ConstantTimeEq;
        Self::of(token).0.ct_eq(&self.0).into()
    }

    fn parse(text: &str) -> Option<Self> {
        let digits: Vec<_> = text.chars().map(|c| c.to_digit(16)).collect::<Option<_>>()?;
        let bytes: Vec<_> =
            digits.chunks_exact(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect();
        let bytes = bytes.into_iter().map(u8::try_from).collect::<Result<Vec<_>, _>>().ok()?;
        (digits.len() == 64).then_some(Self(bytes.try_into().ok()?))
    }
}

impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenHash({self})")
    }
}

/// By hand, because who puts the token itself here must not find it in the error.
impl<'de> Deserialize<'de> for TokenHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fault = || serde::de::Error::custom("sha256 is the SHA-256 of a token, 64 hexadecimal digits");
        match toml::Value::deserialize(deserializer) {
            Ok(toml::Value::String(text)) => Self::parse(&text).ok_or_else(fault),
            _ => Err(fault()),
        }
    }
}

impl Serialize for TokenHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The site of a page as browsers name it in `Origin`: `SCHEME://HOST[:PORT]` in small letters, without the scheme's own port.
pub(crate) fn site(text: &str) -> Option<String> {
    let text = text.trim().to_ascii_lowercase();
    let (scheme, authority) = text.split_once("://")?;
    let own_port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return None,
    };
    let is_plain = |c: char| c.is_ascii_graphic() && !"/?#@,\\".contains(c);
    let authority = authority.strip_suffix(own_port).unwrap_or(authority);
    (!authority.is_empty() && authority.chars().all(is_plain)).then(|| format!("{scheme}://{authority}"))
}

/// A host's name as `Host` has it, without a port, in small letters.
pub(super) fn host(text: &str) -> Option<String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    let text = text.trim().trim_end_matches('.').to_ascii_lowercase();
    (!text.is_empty() && text.chars().all(is_plain)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    #[test]
    fn a_token_is_kept_as_its_hash_only() {
        let hash = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
        let text = format!("[[http.token]]\nname = \"a\"\nrole = \"viewer\"\nsha256 = \"{hash}\"\n");
        let config = Config::from_toml(&text).unwrap();
        let token = &config.http.token[0];
        assert_eq!((token.role, token.sha256.to_string()), (HttpRole::Viewer, hash.to_owned()));
        assert_eq!(token.sha256, TokenHash::of("secret"));
        for wrong in ["hunter2", &hash[1..], &format!("{hash}0"), &hash.replace('2', "g"), ""] {
            let error = Config::from_toml(&text.replace(hash, wrong)).unwrap_err().to_string();
            assert!(error.contains("64 hexadecimal digits"), "{error}");
            assert!(wrong.is_empty() || !error.contains(wrong), "{error}");
        }
    }

    #[test]
    fn a_token_that_is_made_is_another_each_time_and_known_by_its_hash() {
        let (token, config) = HttpTokenConfig::make("a", HttpRole::Viewer).unwrap();
        assert_eq!((token.expose().len(), config.sha256), (64, TokenHash::of(token.expose())));
        assert_ne!(HttpTokenConfig::make("a", HttpRole::Viewer).unwrap().0, token);
    }

    #[test]
    fn two_tokens_are_not_called_the_same_and_none_is_there_twice() {
        let of = |name: &str, token: &str| {
            format!(
                "[[http.token]]\nname = \"{name}\"\nrole = \"admin\"\nsha256 = \"{}\"\n",
                TokenHash::of(token)
            )
        };
        assert!(Config::from_toml(&(of("a", "1") + &of("b", "2"))).is_ok());
        for twice in [of("a", "1") + &of("a", "2"), of("a", "1") + &of("b", "1")] {
            let error = Config::from_toml(&twice).unwrap_err().to_string();
            assert!(error.contains("http.token"), "{error}");
        }
    }

    #[test]
    fn sites_are_compared_as_browsers_write_them() {
        for (text, expected) in [
            ("http://monitor:9991", Some("http://monitor:9991")),
            ("HTTPS://Monitor.Example:443", Some("https://monitor.example")),
            ("http://[::1]:80", Some("http://[::1]")),
            ("http://a/", None),
            ("*", None),
            ("null", None),
            ("ftp://a", None),
            ("http://", None),
            ("http://a b", None),
            ("http://user@a", None),
        ] {
            assert_eq!(site(text).as_deref(), expected, "{text}");
        }
        let error = Config::from_toml("[http]\ncontrol_origins = [\"*\"]\n").unwrap_err().to_string();
        assert!(error.contains("http://HOST"), "{error}");
    }
}
