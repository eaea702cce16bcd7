//! Configurations in the making: from TOML, JSON, the environment, and one value at a time.

use super::keys::fields;
use super::{Config, FileConfig, PublisherConfig, PullConfig, PushConfig, SubscriberConfig};
use crate::files;
use crate::key::StreamKey;
use crate::url::{RemoteUrl, RtmpUrl};
use crate::{Error, ErrorKind, Result};
use serde::de::{DeserializeOwned, Error as _};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Prefix of the environment variables that override the configuration.
const ENV_PREFIX: &str = "STREAMENGINE_";

/// Keys that had another name before, and what they are called now. They are still understood (by `serde(alias)`).
const RENAMED_KEYS: &[(&str, &str)] = &[
    ("limits.max_ungranted", "limits.max_pending"),
    ("limits.max_ungranted_per_address", "limits.max_pending_per_address"),
    ("limits.max_message_ungranted", "limits.max_message_pending"),
];

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

    /// Starts from a file in TOML form.
    ///
    /// # Errors
    /// As [`Self::from_toml`], and where the file cannot be read: it is no regular file, has more than 1 MiB, or hangs for
    /// more than 5 s.
    pub fn from_toml_file(path: &Path) -> Result<Self> {
        let name = path.display();
        let bytes = files::read_small(path, format_args!("configuration {name}"))?;
        let text = String::from_utf8(bytes).map_err(|_| {
            Error::new(ErrorKind::Format, format!("configuration {name}: it is no UTF-8 text"))
        })?;
        Self::from_toml(&text).map_err(|error| error.context(name))
    }

    /// Sets one value by its dotted key (`limits.max_connections`). The value is read as TOML or JSON where it is
    /// valid (`true`, `5000`, `["a"]`) and fits the key, else as a string.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for a key that does not exist, with the nearest that does, and for a value that does
    /// not fit; nothing is changed then.
    pub fn set(&mut self, key: &str, value: &str) -> Result<()> {
        let table = fitting(key, value, |table| table.try_into::<Config>().map(drop))?;
        merge(&mut self.table, table);
        // Line numbers of the file's text no longer tell the whole truth.
        self.text = None;
        Ok(())
    }

    /// Applies environment variables: `STREAMENGINE_LIMITS__MAX_CONNECTIONS=5000` sets
    /// `limits.max_connections`, `STREAMENGINE_PUSH=[{...}]` sets all of `push`. Others that begin so are none of ours.
    pub fn apply_env(&mut self, variables: impl Iterator<Item = (String, String)>) -> Result<()> {
        for (name, value) in variables {
            let key = name.strip_prefix(ENV_PREFIX).map(|key| key.to_ascii_lowercase().replace("__", "."));
            if let Some(key) =
                key.filter(|key| key.contains('.') || fields::<Config>().contains(&key.as_str()))
            {
                self.set(&key, &value).map_err(|error| error.context(&name))?;
            }
        }
        Ok(())
    }

    /// Merges a JSON object in the shape of the TOML configuration: what it does not name stays, arrays replace.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for what is no JSON object, and for keys and values as in [`Self::set`]; nothing
    /// is changed then.
    pub fn merge_json(&mut self, json: &str) -> Result<()> {
        let table = table_of_json(json)?;
        table.clone().try_into::<Config>().map_err(|error| invalid(None, &error))?;
        merge(&mut self.table, table);
        self.text = None;
        Ok(())
    }

    /// The names of the sections that something is set in.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.table.keys().map(String::as_str)
    }

    /// Whether something has set the value of this dotted key (`http.listen`), be it to its default.
    pub fn has(&self, key: &str) -> bool {
        let mut parts = key.split('.');
        let first = parts.next().and_then(|part| self.table.get(part));
        first.and_then(|first| parts.try_fold(first, |value, part| value.get(part))).is_some()
    }

    /// Keys and values in it that have another name now, as (old, new): they are still understood, and
    /// [`Self::build`] warns of them.
    pub fn renamed(&self) -> Vec<(String, String)> {
        let keys = RENAMED_KEYS.iter().filter(|(old, _)| self.has(old));
        let keys = keys.map(|&(old, new)| (old.to_owned(), new.to_owned()));
        let rides =
            self.policies().filter(|(_, app)| app.get("flush").and_then(toml::Value::as_str) == Some("ride"));
        let flush = |app: &str, name: &str| format!("{app}.flush = \"{name}\"");
        keys.chain(rides.map(|(app, _)| (flush(&app, "ride"), flush(&app, "with-video")))).collect()
    }

    /// The tables with the policies of apps, and their keys.
    fn policies(&self) -> impl Iterator<Item = (String, &toml::Value)> {
        let apps = self.table.get("apps").and_then(toml::Value::as_table).into_iter().flatten();
        let apps = apps.map(|(name, app)| (format!("apps.{name}"), app));
        let default = self.table.get("default_app").map(|app| ("default_app".to_owned(), app));
        default.into_iter().chain(apps)
    }

    /// The finished configuration, checked.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for keys that do not exist, values that do not fit, and values that exclude or need
    /// each other.
    pub fn build(self) -> Result<Config> {
        for (old, new) in self.renamed() {
            tracing::warn!("configuration: `{old}` is called `{new}` now; the old name will go");
        }
        let config: Config = match &self.text {
            Some(text) => toml::from_str(text),
            None => self.table.try_into(),
        }
        .map_err(|error| invalid(self.text.as_deref(), &error))?;
        config.check()?;
        Ok(config)
    }
}

/// The options of one publisher, subscriber, relay or file, in the making: the keys of `[[push]]`, `[[pull]]` and
/// `[[file]]` in the configuration, but for `stream` and `url`, and the fields of [`PublisherConfig`] and
/// [`SubscriberConfig`].
#[derive(Debug, Clone, Default)]
pub struct OptionSource {
    table: toml::Table,
}

impl OptionSource {
    /// The names of all options there are, of whatever object.
    pub fn known() -> impl Iterator<Item = &'static str> {
        let names: BTreeSet<_> = OBJECTS.iter().flat_map(|object| options_among((object.fields)())).collect();
        names.into_iter()
    }

    /// Sets one option by its key, with dots for what is in it (`retry.min_ms`); values are read as in
    /// [`ConfigSource::set`]. Whether the object has such an option is seen when it is used.
    ///
    /// # Errors
    /// As [`ConfigSource::set`].
    pub fn set(&mut self, key: &str, value: &str) -> Result<()> {
        let table = fitting(key, value, |table| check_options(&table))?;
        merge(&mut self.table, table);
        Ok(())
    }

    /// Merges a JSON object of options.
    ///
    /// # Errors
    /// As [`ConfigSource::merge_json`].
    pub fn merge_json(&mut self, json: &str) -> Result<()> {
        let table = table_of_json(json)?;
        check_options(&table).map_err(|error| invalid(None, &error))?;
        merge(&mut self.table, table);
        Ok(())
    }

    /// The names of the options that are set.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.table.keys().map(String::as_str)
    }

    /// The options that are set, as JSON.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(&self.table).unwrap_or_default()
    }

    /// A relay push with the options that are set.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] where an option of something else is set, and for values that exclude each other.
    pub fn push(&self, stream: StreamKey, url: RtmpUrl) -> Result<PushConfig> {
        let push: PushConfig = self.read("a relay push")?;
        Ok(PushConfig { stream, url, ..push })
    }

    /// A relay pull with the options that are set.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn pull(&self, url: RemoteUrl, stream: StreamKey) -> Result<PullConfig> {
        let pull: PullConfig = self.read("a relay pull")?;
        Ok(PullConfig { stream, url, ..pull })
    }

    /// A file job that plays `first` and then the files of `paths`, `loops` times, else as the option `loops` says, else
    /// for ever.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn file(&self, stream: StreamKey, first: PathBuf, loops: Option<u64>) -> Result<FileConfig> {
        let file: FileConfig = self.read("a file")?;
        let more = file.paths.into_iter().filter(|_| self.table.contains_key("paths"));
        let paths = [first].into_iter().chain(more).collect();
        Ok(FileConfig { stream, paths, loops: loops.or(file.loops) })
    }

    /// What a publisher wants.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn publisher(&self) -> Result<PublisherConfig> {
        let config: PublisherConfig = self.read("a publisher")?;
        config.check()?;
        Ok(config)
    }

    /// What a subscriber wants.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn subscriber(&self) -> Result<SubscriberConfig> {
        self.read("a subscriber")
    }

    fn read<T: DeserializeOwned>(&self, of: &str) -> Result<T> {
        let known: Vec<_> = options_among(fields::<T>()).collect();
        if let Some(other) = self.names().find(|name| !known.contains(name)) {
            let text = format!("option {other}: {of} has no such option, but {}", known.join(", "));
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        }
        completed(self.table.clone()).map_err(|error| invalid(None, &error))
    }
}

/// A kind of object that has options: the fields of its struct.
struct Object {
    fields: fn() -> &'static [&'static str],
    fits: fn(toml::Table) -> std::result::Result<(), toml::de::Error>,
}

const OBJECTS: [Object; 5] = [
    Object::of::<PushConfig>(),
    Object::of::<PullConfig>(),
    Object::of::<FileConfig>(),
    Object::of::<PublisherConfig>(),
    Object::of::<SubscriberConfig>(),
];

impl Object {
    const fn of<T: DeserializeOwned>() -> Self {
        Self { fields: fields::<T>, fits: |table| completed::<T>(table).map(drop) }
    }

    fn has(&self, option: &str) -> bool {
        options_among((self.fields)()).any(|name| name == option)
    }
}

/// Keys that are no options, as each call gives them itself.
const GIVEN: [&str; 2] = ["stream", "url"];

/// What stands in for keys that must be there, until the call gives them.
const STAND_INS: [(&str, &str); 3] = [("stream", "a/b"), ("url", "rtmp://h/a/b"), ("paths", "-")];

fn options_among(fields: &[&'static str]) -> impl Iterator<Item = &'static str> {
    fields.iter().copied().filter(|name| !GIVEN.contains(name))
}

/// The struct of which these are the options.
fn completed<T: DeserializeOwned>(mut table: toml::Table) -> std::result::Result<T, toml::de::Error> {
    for (key, value) in STAND_INS.iter().filter(|(key, _)| fields::<T>().contains(key)) {
        table.entry(*key).or_insert_with(|| (*value).into());
    }
    table.try_into()
}

/// Whether each of these is an option of some object, with a value that fits it.
fn check_options(table: &toml::Table) -> std::result::Result<(), toml::de::Error> {
    table.iter().try_for_each(|(key, value)| match OBJECTS.iter().find(|object| object.has(key)) {
        Some(object) => (object.fits)(toml::Table::from_iter([(key.clone(), value.clone())])),
        None => {
            let known = OptionSource::known().collect::<Vec<_>>().join("`, `");
            Err(toml::de::Error::custom(format_args!("unknown field `{key}`, expected one of `{known}`")))
        }
    })
}

/// A table of one value under its dotted key: as TOML or JSON where `fits` takes that, else as a string.
fn fitting(
    key: &str,
    value: &str,
    fits: impl Fn(toml::Table) -> std::result::Result<(), toml::de::Error>,
) -> Result<toml::Table> {
    let mut first = None;
    for candidate in readings(value) {
        let table = nested(key, candidate)?;
        match fits(table.clone()) {
            Ok(()) => return Ok(table),
            Err(error) => first = first.or(Some(error)),
        }
    }
    let why = first.map_or_else(String::new, |error| in_words(&error));
    Err(Error::new(ErrorKind::InvalidArgument, format!("configuration key {key}: {why}")))
}

/// What a text may mean, the likeliest first.
fn readings(text: &str) -> impl Iterator<Item = toml::Value> {
    let as_toml = format!("value = {text}").parse::<toml::Table>().ok();
    let as_toml = as_toml.and_then(|mut table| table.remove("value"));
    let as_json = || serde_json::from_str(text).ok().and_then(value_of_json);
    as_toml.or_else(as_json).into_iter().chain([toml::Value::String(text.to_owned())])
}

/// `a.b.c` and a value as the table `{a: {b: {c: value}}}`.
fn nested(key: &str, value: toml::Value) -> Result<toml::Table> {
    let mut parts = key.rsplit('.');
    if key.split('.').any(str::is_empty) {
        let text = format!("configuration key {key:?}: a part of the key is empty");
        return Err(Error::new(ErrorKind::InvalidArgument, text));
    }
    let innermost = parts.next().unwrap_or_default();
    let table = toml::Table::from_iter([(innermost.to_owned(), value)]);
    Ok(parts
        .fold(table, |inner, part| toml::Table::from_iter([(part.to_owned(), toml::Value::Table(inner))])))
}

/// Puts `from` over `into`: tables are merged, all else replaces.
fn merge(into: &mut toml::Table, from: toml::Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(toml::Value::Table(old)), toml::Value::Table(new)) => merge(old, new),
            (_, value) => drop(into.insert(key, value)),
        }
    }
}

/// Reads one entry of a configuration, such as one of `[[push]]`, from a JSON object. The error quotes no value.
#[cfg(feature = "http")]
pub(crate) fn entry<T: DeserializeOwned>(json: &str) -> Result<T> {
    table_of_json(json)?.try_into().map_err(|error| invalid(None, &error))
}

fn table_of_json(json: &str) -> Result<toml::Table> {
    let fail = |why: String| Error::new(ErrorKind::InvalidArgument, format!("configuration: {why}"));
    // The parser's own words quote nothing of the text, which may hold a secret.
    let value = serde_json::from_str(json).map_err(|error| fail(format!("not JSON: {error}")))?;
    match value_of_json(value) {
        Some(toml::Value::Table(table)) => Ok(table),
        _ => Err(fail("not a JSON object of known values".to_owned())),
    }
}

/// A JSON value as TOML has it; null is what is not there. `None` also for numbers that TOML cannot hold.
fn value_of_json(value: serde_json::Value) -> Option<toml::Value> {
    use serde_json::Value as Json;
    Some(match value {
        Json::Null => return None,
        Json::Bool(value) => toml::Value::Boolean(value),
        Json::Number(number) => match number.as_i64() {
            Some(integer) => toml::Value::Integer(integer),
            None => toml::Value::Float(number.as_f64()?),
        },
        Json::String(text) => toml::Value::String(text),
        Json::Array(values) => toml::Value::Array(values.into_iter().filter_map(value_of_json).collect()),
        Json::Object(map) => {
            let entries = map.into_iter().filter_map(|(key, value)| Some((key, value_of_json(value)?)));
            toml::Value::Table(entries.collect())
        }
    })
}

/// The parser's error with its line and key, and with the nearest known key where one is unknown. The line itself is not
/// quoted: it may hold a secret.
fn invalid(text: Option<&str>, error: &toml::de::Error) -> Error {
    let place = text.zip(error.span()).and_then(|(text, span)| place(text, span.start)).unwrap_or_default();
    Error::new(ErrorKind::InvalidArgument, format!("configuration: {place}{}", in_words(error)))
}

/// `line 4: max_connections: `, the key only where the line begins with one whose value is at fault.
fn place(text: &str, at: usize) -> Option<String> {
    let before = text.get(..at)?;
    let line = before.matches('\n').count() + 1;
    let key = before.rsplit('\n').next()?.split_once('=').map(|(key, _)| key.trim());
    let is_key =
        |key: &&str| key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '"'));
    let key = key.filter(is_key).map(|key| format!("{key}: ")).unwrap_or_default();
    Some(format!("line {line}: {key}"))
}

/// The parser's error in the words of who writes configurations, with the nearest known name where one is unknown. Names
/// that are only still understood are not offered.
fn in_words(error: &toml::de::Error) -> String {
    let mut message = error.message().trim_end().to_owned();
    for (old, _) in RENAMED_KEYS {
        let name = old.rsplit('.').next().unwrap_or(old);
        message = message.replace(&format!(", `{name}`"), "");
    }
    let nearest = nearest_name(&message);
    let nearest = nearest.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
    format!("{}{nearest}", without_types(&message))
}

/// What serde says, without the names of Rust's types. What was found in place of something else is told by its kind
/// only: it may be a secret.
fn without_types(message: &str) -> String {
    let split = |prefix: &str| message.strip_prefix(prefix)?.split_once(", expected ");
    if let Some(rest) = message.strip_prefix("unknown field ") {
        return format!("unknown key {rest}");
    }
    if let Some((found, known)) = split("unknown variant ") {
        return format!("{found} is not possible; expected {known}");
    }
    if let Some((found, expected)) = split("invalid type: ") {
        return format!("expected {}, found {}", expected_in_words(expected), kind_in_words(found));
    }
    if let Some((found, expected)) = split("invalid value: integer ") {
        return format!("expected {}, found {}", expected_in_words(expected), found.trim_matches('`'));
    }
    // The reader of TOML itself, about a value with a few possible names.
    if message == "wanted string or table" {
        return "expected a text".to_owned();
    }
    if let Some(name) = message.strip_prefix("missing field ") {
        return format!("the key {name} is missing");
    }
    if let Some(name) = message.strip_prefix("duplicate field ") {
        return format!("duplicate key {name}");
    }
    message.to_owned()
}

fn expected_in_words(expected: &str) -> &str {
    match expected {
        "usize" | "u64" => "a whole number of 0 or more",
        "u32" => "a whole number from 0 to 4294967295",
        "i64" => "a whole number",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "a map" => "a table of keys",
        _ if expected.starts_with("struct ") => "a table of keys",
        "a string" | "string only" | "path string" => "a text",
        other => other,
    }
}

fn kind_in_words(found: &str) -> &'static str {
    match found.split([' ', '`']).next() {
        Some("integer") => "a whole number",
        Some("floating") if is_beyond_integers(found) => "a number that is far too large",
        Some("floating") => "a number with a fraction",
        Some("boolean") => "true or false",
        Some("string") => "a text",
        Some("sequence") => "a list",
        Some("map") => "a table",
        _ => "something else",
    }
}

/// Whole numbers that are too long for one are read as numbers with a fraction.
fn is_beyond_integers(found: &str) -> bool {
    let number = found.split('`').nth(1).and_then(|number| number.parse::<f64>().ok());
    number.is_some_and(|number| number.abs() >= i64::MAX as f64)
}

/// Reads serde's "unknown field `x`, expected one of `a`, `b`" and picks the nearest; of variants as well.
fn nearest_name(message: &str) -> Option<String> {
    let rest = message.strip_prefix("unknown field ").or_else(|| message.strip_prefix("unknown variant "))?;
    let mut names = rest.split('`').skip(1).step_by(2);
    let unknown = names.next()?;
    names
        .map(|known| (strsim::damerau_levenshtein(unknown, known), known))
        .min()
        .filter(|&(distance, _)| distance <= 3)
        .map(|(_, known)| known.to_owned())
}
