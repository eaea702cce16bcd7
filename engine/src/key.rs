//! Stream names: the only way a name from the wire, a file or a URL enters the system.
//!
//! A name is a path of parts, `app/stream`; every door (RTMP, configuration, API) goes through
//! [`StreamKey::new`] or [`StreamName::parse`], so that authorisation, hub, files and statistics all see
//! the same value.

use crate::{Error, ErrorKind};
use ring::rand::{SecureRandom, SystemRandom};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

bound! {
    /// Longest part of a name, in bytes (test `parts_and_the_whole_have_their_greatest_length`).
    const MAX_PART: usize = 128, without usize::MAX;
    /// Longest whole name, in bytes (test `parts_and_the_whole_have_their_greatest_length`).
    const MAX_NAME: usize = 256, without usize::MAX;
}

/// The name of a stream: an app and a stream in it, `live/demo`.
///
/// Parts consist of letters and digits of any script, with the marks that belong to them, and `_ . - + ~ @ ( ) = &`; they
/// are 1 to 128 bytes long, do not start with a dot, a tilde or a mark, and do not contain `..`; the whole is at most 256
/// bytes. The last part is the stream, all before it are the app, so `live/room` + `a` and `live` + `room/a` are the same
/// stream.
///
/// A name is kept in one form, whatever it came in: `%41` is decoded, once, composed characters are composed (Unicode's
/// form C), and NUL, spaces and line ends behind it, which encoders leave there, are cut off. That form is good as part of
/// a URL and as a file name, and is its own form: it has no `%`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[cfg_attr(feature = "http", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct StreamKey {
    name: Arc<str>,
}

impl StreamKey {
    /// Joins and checks an app and a stream name.
    pub fn new(app: &str, stream: &str) -> Result<Self, KeyError> {
        let app = app.trim_matches('/');
        let stream = stream.trim_end_matches(TRAILING).trim_matches('/');
        if app.is_empty() {
            return Err(KeyError::Missing("app"));
        }
        if stream.is_empty() {
            return Err(KeyError::Missing("stream"));
        }
        let parts: Vec<_> =
            app.split('/').chain(stream.split('/')).map(canonical_part).collect::<Result<_, _>>()?;
        let name = parts.join("/");
        if name.len() > MAX_NAME.get() {
            return Err(KeyError::TooLong(MAX_NAME.stated()));
        }
        Ok(Self { name: name.into() })
    }

    /// The app: everything before the last part.
    pub fn app(&self) -> &str {
        self.name.rsplit_once('/').map_or("", |(app, _)| app)
    }

    /// The stream: the last part.
    pub fn stream(&self) -> &str {
        self.name.rsplit_once('/').map_or("", |(_, stream)| stream)
    }

    /// Whether it is a stream that is fetched from an origin: such names begin with `origin/`.
    pub(crate) fn is_of_origin(&self) -> bool {
        is_app_of_origin(self.app())
    }

    /// Of such a stream, the alias of the origin and app and stream there; `None` also where one of them is missing.
    pub(crate) fn origin(&self) -> Option<(&str, &str, &str)> {
        let (alias, app) = self.app().strip_prefix(ORIGIN)?.strip_prefix('/')?.split_once('/')?;
        Some((alias, app, self.stream()))
    }

    /// The whole name, `app/stream`.
    pub fn as_str(&self) -> &str {
        &self.name
    }
}

/// What names of streams that are fetched from origins begin with.
const ORIGIN: &str = "origin";

/// Whether an app's streams are fetched from an origin.
pub(crate) fn is_app_of_origin(app: &str) -> bool {
    app.strip_prefix(ORIGIN).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl FromStr for StreamKey {
    type Err = KeyError;

    fn from_str(name: &str) -> Result<Self, KeyError> {
        let (app, stream) = name
            .trim_end_matches(TRAILING)
            .trim_matches('/')
            .rsplit_once('/')
            .ok_or(KeyError::Missing("app"))?;
        if app.ends_with('/') {
            return Err(KeyError::EmptyPart);
        }
        Self::new(app, stream)
    }
}

impl fmt::Display for StreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl fmt::Debug for StreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// What encoders and forms leave behind a name.
const TRAILING: [char; 4] = ['\0', ' ', '\r', '\n'];

/// Longest part as it is sent, where each byte may be written as `%XX`, and be composed of more than one.
const MAX_RAW_PART: usize = 8 * MAX_PART.stated();

/// The one form of a part, checked.
fn canonical_part(raw: &str) -> Result<Cow<'_, str>, KeyError> {
    if raw.len() > MAX_RAW_PART {
        return Err(KeyError::TooLong(MAX_PART.stated()));
    }
    let part = decode(raw);
    let part = match part.is_ascii() {
        true => part,
        false => Cow::Owned(part.nfc().collect()),
    };
    check_part(&part).map(|()| part)
}

/// `raw` with `%XX` decoded, once; as it is where that is no text.
fn decode(raw: &str) -> Cow<'_, str> {
    percent_encoding::percent_decode_str(raw).decode_utf8().unwrap_or(Cow::Borrowed(raw))
}

/// The app of a `connect`, without its query, in the form that names of apps have. Not checked.
pub(crate) fn canonical_app(app: &str) -> String {
    let app = app.split('?').next().unwrap_or_default().trim_end_matches(TRAILING).trim_matches('/');
    app.split('/').map(|part| decode(part).nfc().collect::<String>()).collect::<Vec<_>>().join("/")
}

fn check_part(part: &str) -> Result<(), KeyError> {
    match part {
        "" => Err(KeyError::EmptyPart),
        _ if part.len() > MAX_PART.get() => Err(KeyError::TooLong(MAX_PART.stated())),
        _ if part.starts_with('.') || part.contains("..") => Err(KeyError::Dots),
        _ => {
            // To shells a tilde in front is somebody's home; a mark would join what stands before the name.
            let start = part.chars().next().filter(|&c| c == '~' || is_combining_mark(c));
            match start.or_else(|| part.chars().find(|&c| !is_allowed(c))) {
                Some(c) => Err(KeyError::Character(c)),
                None => Ok(()),
            }
        }
    }
}

fn is_allowed(c: char) -> bool {
    match c {
        '_' | '.' | '-' | '+' | '~' | '@' | '(' | ')' | '=' | '&' => true,
        _ if c.is_ascii() => c.is_ascii_alphanumeric(),
        _ => (c.is_alphanumeric() || is_combining_mark(c)) && !is_unseen(c) && !is_look_alike(c),
    }
}

/// Letters and marks that show nothing, so that two names would look as one (Unicode's *default ignorable*).
fn is_unseen(c: char) -> bool {
    matches!(
        c,
        '\u{34f}'
            | '\u{115f}'
            | '\u{1160}'
            | '\u{17b4}'
            | '\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{ffa0}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

/// Second forms of letters that there are already: full and half width, and those of mathematics.
fn is_look_alike(c: char) -> bool {
    matches!(c, '\u{ff00}'..='\u{ffef}' | '\u{1d400}'..='\u{1d7ff}')
}

/// Why a name was refused. The text is safe to log and to send to the peer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyError {
    /// The app or the stream is missing.
    Missing(&'static str),
    /// Two slashes follow each other.
    EmptyPart,
    /// A part, or the whole name, is longer than this many bytes.
    TooLong(usize),
    /// A part starts with a dot or contains two in a row.
    Dots,
    /// A part has a character that names cannot have.
    Character(char),
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(what) => write!(f, "the {what} name is missing; expected app/stream"),
            Self::EmptyPart => f.write_str("the name has an empty part"),
            Self::TooLong(max) => write!(f, "the name, or a part of it, is longer than {max} bytes"),
            Self::Dots => f.write_str("a part of the name starts with a dot or contains two dots"),
            Self::Character(c) => {
                write!(f, "the name has the character U+{:04X}", u32::from(*c))?;
                f.write_str(match c {
                    ':' => " (a colon), which only a publish key may follow, and that where one is asked for",
                    '%' => " (a percent sign), which may only encode other characters, %41 for A",
                    '~' => " (a tilde) at the start",
                    ' ' => " (a space)",
                    _ => "",
                })?;
                if c.is_ascii_punctuation() && !matches!(c, ':' | '%' | '~') {
                    write!(f, " ({c})")?;
                }
                f.write_str("; use letters, digits and _ . - + ~ @ ( ) = &")
            }
        }
    }
}

impl std::error::Error for KeyError {}

impl From<KeyError> for crate::Error {
    fn from(error: KeyError) -> Self {
        Self::new(crate::ErrorKind::InvalidArgument, format!("stream name: {error}"))
    }
}

/// A secret text: a publish key or a query that may hold a token. It prints as `***`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

/// So many bytes that nobody can guess.
///
/// # Errors
/// [`ErrorKind::Io`] where the operating system gives no random numbers.
pub(crate) fn random(len: usize) -> crate::Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    let none = |_| Error::new(ErrorKind::Io, "the operating system gives no random numbers");
    SystemRandom::new().fill(&mut bytes).map_err(none)?;
    Ok(bytes)
}

/// By hand, because the derived error would quote a secret of the wrong type.
impl<'de> serde::Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match toml::Value::deserialize(deserializer) {
            Ok(toml::Value::String(text)) => Ok(Self(text)),
            _ => Err(serde::de::Error::custom("a secret must be a string in quotes")),
        }
    }
}

/// As it prints: `***`, or nothing.
impl serde::Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(if self.is_empty() { "" } else { "***" })
    }
}

impl Secret {
    /// Wraps a secret text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself; never log it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether there is no text.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Compares in time that does not depend on where the texts differ.
    pub fn matches(&self, other: &str) -> bool {
        subtle::ConstantTimeEq::ct_eq(self.0.as_bytes(), other.as_bytes()).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "" } else { "***" })
    }
}

/// What is put before a name to say what kind of file it is; it is no part of the name. Flash's servers read it, and
/// ffmpeg sends `mp4:a.mp4` for `rtmp://host/live/a.mp4`.
const FILE_TYPES: [&str; 7] = ["mp4", "flv", "mp3", "f4v", "m4a", "m4v", "mov"];

/// `name` without the file type in front, as `mp4:` and `flv:`, in any case.
pub(crate) fn without_file_type(name: &str) -> &str {
    match name.split_once(':') {
        Some((kind, rest)) if FILE_TYPES.iter().any(|known| known.eq_ignore_ascii_case(kind)) => rest,
        _ => name,
    }
}

/// A name as a peer sent it: `[TYPE:]NAME[:SECRET][?QUERY]`, taken apart.
///
/// The secret and the query travel to [`Authorize`](crate::Authorize) only; no output, path or log sees them. A file type
/// (`mp4:`, `flv:`, `mp3:`, ...) says nothing about a live stream and is left out.
#[derive(Clone, PartialEq, Eq)]
pub struct StreamName {
    /// The public name.
    pub key: StreamKey,
    /// The text after a colon in the stream name: a publish key given as part of the name.
    pub secret: Secret,
    /// The text after `?` in the stream name, else that in the app; without the question mark.
    pub query: Secret,
    /// Whether what was sent for a name may be a key ([`Authorize::takes_key_for_name`](crate::Authorize::takes_key_for_name)).
    pub(crate) may_be_key: bool,
}

/// Shows a name only where it is no secret.
impl fmt::Debug for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, secret, query, may_be_key } = self;
        let mut shown = f.debug_struct("StreamName");
        match may_be_key {
            true => shown.field("key", &format_args!("{}/***", key.app())),
            false => shown.field("key", key),
        };
        shown.field("secret", secret).field("query", query).finish()
    }
}

impl StreamName {
    /// Takes the app of `connect` and the name of a `publish` that may carry a key apart and checks them.
    pub fn parse(app: &str, name: &str) -> Result<Self, KeyError> {
        match Self::take_apart(app, name)? {
            (name, true) if name.secret.is_empty() => Err(KeyError::Character(':')),
            (name, _) => Ok(name),
        }
    }

    /// The same for names that carry no key: of all that is played, and of what is published where no key is asked for.
    /// A colon in them is refused: were it ignored, `room:1` and `room:2` would be one stream.
    pub fn parse_without_key(app: &str, name: &str) -> Result<Self, KeyError> {
        match Self::take_apart(app, name)? {
            (name, false) => Ok(name),
            (_, true) => Err(KeyError::Character(':')),
        }
    }

    /// The parts, and whether there was a colon for a secret.
    fn take_apart(app: &str, name: &str) -> Result<(Self, bool), KeyError> {
        let (app, app_query) = app.split_once('?').unwrap_or((app, ""));
        let (name, query) = name.split_once('?').unwrap_or((name, app_query));
        let (app, query) = (app.trim_end_matches(TRAILING), query.trim_end_matches(TRAILING));
        let name = without_file_type(name);
        let (name, secret) = name.split_once(':').map_or((name, None), |(name, secret)| (name, Some(secret)));
        let secret_text = Secret::new(secret.unwrap_or_default());
        let (key, query) = (StreamKey::new(app, name)?, Secret::new(query));
        Ok((Self { key, secret: secret_text, query, may_be_key: false }, secret.is_some()))
    }

    /// The name, where it may be told before somebody has granted it.
    pub(crate) fn tellable(&self) -> Option<StreamKey> {
        (!self.may_be_key).then(|| self.key.clone())
    }

    /// Whether the name was sent with `key`: as `?key=KEY`, as `:KEY`, or both. A key that was not set (an empty one)
    /// opens nothing, and a wrong one beside the right one does not either: else `a:1?key=KEY` and `a:2?key=KEY` would be
    /// one stream.
    pub fn has_key(&self, key: &Secret) -> bool {
        let (in_query, in_name) = self.keys();
        let mut given = in_query.as_deref().into_iter().chain(in_name).peekable();
        !key.is_empty() && given.peek().is_some() && given.all(|given| key.matches(given))
    }

    /// The keys that came with it: as `?key=KEY`, which may be empty, and as `:KEY`.
    pub(crate) fn keys(&self) -> (Option<String>, Option<&str>) {
        (self.query_value("key"), Some(self.secret.expose()).filter(|secret| !secret.is_empty()))
    }

    /// The value of `field` in the query, percent-decoded; the first one where it is repeated.
    pub fn query_value(&self, field: &str) -> Option<String> {
        self.query.expose().split('&').find_map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (name == field)
                .then(|| percent_encoding::percent_decode_str(value).decode_utf8_lossy().into_owned())
        })
    }
}

/// Text from the wire made fit for a log line or a terminal: control characters, quotes of JSON and
/// bidirectional marks escaped, cut at 128 characters.
pub struct Printable<'a>(pub &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        bound! {
            /// Characters of a text that are shown (test `f41_text_from_the_wire_cannot_break_a_log_line`).
            const CUT: usize = 128, without usize::MAX;
        }
        for (i, c) in self.0.chars().enumerate() {
            if i == CUT.get() {
                return f.write_str("…");
            }
            let bidi =
                matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
            if c.is_control() || bidi || matches!(c, '\u{2028}' | '\u{2029}') {
                write!(f, "\\u{{{:x}}}", u32::from(c))?;
            } else {
                write!(f, "{c}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_stream_has_one_name() {
        let a = StreamKey::new("live", "room/a").unwrap();
        let b = StreamKey::new("live/room/", "a").unwrap();
        assert_eq!(a, b);
        assert_eq!((a.app(), a.stream()), ("live/room", "a"));
        assert_eq!(a.to_string().parse::<StreamKey>().unwrap(), a);
    }

    #[test]
    fn parts_and_the_whole_have_their_greatest_length() {
        let part = "a".repeat(MAX_PART.stated());
        assert!(StreamKey::new("live", &part).is_ok());
        assert_eq!(StreamKey::new("live", &format!("{part}a")), Err(KeyError::TooLong(128)));
        let most = "a".repeat(MAX_PART.stated() - 1);
        assert_eq!(StreamKey::new(&most, &part).unwrap().as_str().len(), 256);
        assert_eq!(StreamKey::new(&part, &part), Err(KeyError::TooLong(256)));
    }

    #[test]
    fn secret_and_query_are_not_part_of_the_name_and_do_not_print() {
        let name = StreamName::parse("live?x=1", "demo:hunter2?key=a%20b&key=c").unwrap();
        assert_eq!(name.key.as_str(), "live/demo");
        assert_eq!(name.secret.expose(), "hunter2");
        assert_eq!(name.query_value("key").as_deref(), Some("a b"));
        let printed = format!("{name:?}");
        assert!(!printed.contains("hunter2") && !printed.contains("a%20b"), "{printed}");
        assert_eq!(StreamName::parse("live?x=1", "demo").unwrap().query.expose(), "x=1");
    }

    #[test]
    fn a_file_type_before_a_name_is_no_part_of_it() {
        for name in ["a.mp4", "mp4:a.mp4", "flv:a.mp4", "MP3:a.mp4", "mp4:a.mp4?key=1"] {
            for parse in [StreamName::parse, StreamName::parse_without_key] {
                let name = parse("live", name).unwrap();
                assert_eq!((name.key.as_str(), name.secret.is_empty()), ("live/a.mp4", true));
            }
        }
        let name = StreamName::parse("live", "mp4:dir/a.mp4:hunter2").unwrap();
        assert_eq!((name.key.as_str(), name.secret.expose()), ("live/dir/a.mp4", "hunter2"));
        assert_eq!(StreamName::parse("live", "mp4:"), Err(KeyError::Missing("stream")));
    }

    #[test]
    fn a_colon_where_no_key_is_asked_for_is_refused_by_its_name() {
        for name in ["room:1", "room:2", "room:", "mp4:room:1", "room:1?key=x", "dir/mp4:a"] {
            let error = StreamName::parse_without_key("live", name).unwrap_err();
            assert_eq!(error, KeyError::Character(':'), "{name}");
            assert!(error.to_string().contains("U+003A (a colon)"), "{error}");
        }
    }

    use proptest::prelude::*;

    #[test]
    fn a_name_in_any_script_has_one_form_however_it_was_sent() {
        for (sent, kept) in [
            ("直播间1", "直播间1"),
            ("%E7%9B%B4%e6%92%AD", "直播"),
            ("Me%CC%81x", "M\u{e9}x"),
            ("e\u{301}", "\u{e9}"),
            ("หิมะ", "หิมะ"),
            ("me+1@example.com", "me+1@example.com"),
            ("a%40b", "a@b"),
            ("a~(b)=&c", "a~(b)=&c"),
            ("a ", "a"),
            ("a\0", "a"),
            ("a/\r\n\0 ", "a"),
        ] {
            let key = StreamKey::new("live", sent).unwrap_or_else(|error| panic!("{sent:?}: {error}"));
            assert_eq!(key.stream(), kept, "{sent:?}");
            assert_eq!(format!("live/{sent}").parse::<StreamKey>().unwrap(), key);
            assert_eq!(StreamName::parse_without_key("live\0", &format!("{sent}?x=1\r\n")).unwrap().key, key);
        }
    }

    #[test]
    fn what_names_cannot_have_is_refused_by_its_name() {
        for (sent, c) in [
            ("a%2Fb", '/'),
            ("a%252fb", '%'),
            ("100%", '%'),
            ("a%ff", '%'),
            ("a%00b", '\0'),
            ("~root", '~'),
            ("\u{301}a", '\u{301}'),
            ("a\u{200d}b", '\u{200d}'),
            ("a\u{202e}b", '\u{202e}'),
            ("\u{3164}", '\u{3164}'),
            ("ａ", 'ａ'),
            ("😀", '😀'),
            ("a b", ' '),
            ("a\\b", '\\'),
            ("a%3fb", '?'),
            ("a%3ab", ':'),
        ] {
            let error = StreamKey::new("live", sent).unwrap_err();
            assert_eq!(error, KeyError::Character(c), "{sent:?}");
            assert!(error.to_string().contains(&format!("U+{:04X}", u32::from(c))), "{error}");
        }
        let error = StreamKey::new("live", "a#b").unwrap_err().to_string();
        assert!(error.contains("U+0023 (#)"), "{error}");
        for sent in ["%2e%2e", "%2ehidden", "a%2e%2eb"] {
            assert_eq!(StreamKey::new("live", sent), Err(KeyError::Dots), "{sent}");
        }
    }

    /// The name that a peer means, by the words of the documentation: without type, query and, where one is given, key.
    fn meant(raw: &str, key: Option<&str>) -> String {
        let name = raw.split('?').next().unwrap();
        let name = without_file_type(name);
        let name = key.and_then(|key| name.strip_suffix(&format!(":{key}"))).unwrap_or(name);
        name.trim_matches('/').to_owned()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        #[test]
        fn the_form_of_a_name_is_its_own_and_safe_in_files_urls_and_logs(
            name in "(.|[a-z~@+&=()%/.]|%[0-9a-f]{2}|\\p{L}\\p{M}?){1,12}",
        ) {
            let Ok(key) = StreamKey::new("live", &name) else { return Ok(()) };
            prop_assert_eq!(&StreamKey::new(key.app(), key.stream()).unwrap(), &key);
            prop_assert_eq!(&key.to_string().parse::<StreamKey>().unwrap(), &key);
            prop_assert_eq!(&StreamName::parse("live", &key.as_str()["live/".len()..]).unwrap().key, &key);
            let hostile = |c: char| c.is_control() || c.is_whitespace() || "\\:*?\"<>|%#;$`'".contains(c);
            prop_assert_eq!(key.as_str().find(hostile), None);
            prop_assert_eq!(Printable(key.as_str()).to_string(), key.as_str());
            let url: crate::RtmpUrl = format!("rtmp://host/{key}").parse().unwrap();
            prop_assert_eq!(StreamKey::new(url.app(), url.stream()).unwrap(), key.clone());
            for part in key.as_str().split('/') {
                prop_assert!(!part.starts_with('.') && part.len() <= 128);
                let components: Vec<_> = std::path::Path::new(part).components().collect();
                prop_assert_eq!(components, [std::path::Component::Normal(part.as_ref())]);
            }
        }

        #[test]
        fn two_names_are_two_streams_or_refused_where_no_key_is_asked_for(
            names in ("(mp4:|flv:|x:)?[ab:/.?]{1,6}", "(mp4:|flv:|x:)?[ab:/.?]{1,6}"),
        ) {
            let [one, other] = [&names.0, &names.1].map(|name| StreamName::parse_without_key("live", name));
            if let (Ok(one), Ok(other)) = (one, other) {
                prop_assert_eq!(one.key == other.key, meant(&names.0, None) == meant(&names.1, None));
            }
        }

        #[test]
        fn two_names_are_two_streams_or_refused_where_a_key_is_asked_for(
            names in ("(mp4:)?[ab]{1,3}(:K|:[12K]{0,2})?(\\?key=[12K]{0,2})?", "(mp4:)?[ab]{1,3}(:K|:[12K]{0,2})?(\\?key=[12K]{0,2})?"),
        ) {
            let key = Secret::new("K");
            let [one, other] = [&names.0, &names.1]
                .map(|name| StreamName::parse("live", name).ok().filter(|name| name.has_key(&key)));
            if let (Some(one), Some(other)) = (one, other) {
                prop_assert_eq!(one.key == other.key, meant(&names.0, Some("K")) == meant(&names.1, Some("K")));
            }
        }
    }

    #[test]
    fn f41_text_from_the_wire_cannot_break_a_log_line() {
        let text = format!("a\r\nb\u{1b}[31m\u{202e}c\0{}", "x".repeat(500));
        let printed = Printable(&text).to_string();
        assert!(printed.chars().all(|c| !c.is_control() && c != '\u{202e}'), "{printed}");
        assert!(printed.len() < 256);
    }
}
