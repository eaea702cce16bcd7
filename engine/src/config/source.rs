//! Configurations in the making: from TOML, JSON, the environment, and one value at a time.

use super::{
    Config, FileConfig, OnRefusal, PublisherConfig, PullConfig, PullWhen, PushConfig, SubscriberConfig,
};
use crate::key::StreamKey;
use crate::policy::{StartAt, Takeover};
use crate::url::RtmpUrl;
use crate::{Error, ErrorKind, Result};
use serde::Deserialize;
use std::path::PathBuf;

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

    /// Keys and values in it that have another name now, as (old, new): they are still understood, and
    /// [`Self::build`] warns of them.
    pub fn renamed(&self) -> Vec<(String, String)> {
        let is_there = |key: &str| {
            let mut parts = key.split('.');
            let first = parts.next().and_then(|part| self.table.get(part));
            parts.try_fold(first?, |value, part| value.get(part)).map(drop)
        };
        let keys = RENAMED_KEYS.iter().filter(|(old, _)| is_there(old).is_some());
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
/// `[[file]]` in the configuration, and of the app's policy for publishers and subscribers of the program.
#[derive(Debug, Clone, Default)]
pub struct OptionSource {
    table: toml::Table,
}

/// Every option there is, of whatever object.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    on_refusal: Option<OnRefusal>,
    when: Option<PullWhen>,
    linger_ms: Option<u64>,
    #[serde(default, deserialize_with = "super::one_or_more")]
    paths: Vec<PathBuf>,
    takeover: Option<Takeover>,
    resume_window_ms: Option<u64>,
    start: Option<StartAt>,
    wait_for_publisher_ms: Option<u64>,
}

impl OptionSource {
    /// Sets one option; values are read as in [`ConfigSource::set`]. Whether the object has such an option is seen when
    /// it is used.
    ///
    /// # Errors
    /// As [`ConfigSource::set`].
    pub fn set(&mut self, key: &str, value: &str) -> Result<()> {
        let table = fitting(key, value, |table| table.try_into::<Options>().map(drop))?;
        merge(&mut self.table, table);
        Ok(())
    }

    /// Merges a JSON object of options.
    ///
    /// # Errors
    /// As [`ConfigSource::merge_json`].
    pub fn merge_json(&mut self, json: &str) -> Result<()> {
        let table = table_of_json(json)?;
        table.clone().try_into::<Options>().map_err(|error| invalid(None, &error))?;
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

    /// A relay push with `on_refusal`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] where an option of something else is set.
    pub fn push(&self, stream: StreamKey, url: RtmpUrl) -> Result<PushConfig> {
        let options = self.options("a relay push", &["on_refusal"])?;
        let mut push = PushConfig::new(stream, url);
        push.on_refusal = options.on_refusal.unwrap_or_default();
        Ok(push)
    }

    /// A relay pull with `on_refusal`, `when` and `linger_ms`.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn pull(&self, url: RtmpUrl, stream: StreamKey) -> Result<PullConfig> {
        let options = self.options("a relay pull", &["on_refusal", "when", "linger_ms"])?;
        let mut pull = PullConfig::new(url, stream);
        pull.on_refusal = options.on_refusal.unwrap_or_default();
        pull.when = options.when.unwrap_or_default();
        pull.linger_ms = options.linger_ms.unwrap_or(pull.linger_ms);
        Ok(pull)
    }

    /// A file job that plays `first` and then the files of `paths`, `loops` times or for ever.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn file(&self, stream: StreamKey, first: PathBuf, loops: Option<u64>) -> Result<FileConfig> {
        let options = self.options("a file", &["paths"])?;
        let mut file = FileConfig::new(stream, [first].into_iter().chain(options.paths).collect());
        file.loops = loops;
        Ok(file)
    }

    /// `takeover` and `resume_window_ms` of a publisher.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn publisher(&self) -> Result<PublisherConfig> {
        let Options { takeover, resume_window_ms, .. } =
            self.options("a publisher", &["takeover", "resume_window_ms"])?;
        Ok(PublisherConfig { takeover, resume_window_ms })
    }

    /// `start` and `wait_for_publisher_ms` of a subscriber.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn subscriber(&self) -> Result<SubscriberConfig> {
        let Options { start, wait_for_publisher_ms, .. } =
            self.options("a subscriber", &["start", "wait_for_publisher_ms"])?;
        Ok(SubscriberConfig { start, wait_for_publisher_ms })
    }

    fn options(&self, of: &str, known: &[&str]) -> Result<Options> {
        if let Some(other) = self.names().find(|name| !known.contains(name)) {
            let text = format!("option {other}: {of} has no such option, but {}", known.join(", "));
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        }
        self.table.clone().try_into().map_err(|error| invalid(None, &error))
    }
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

/// The parser's error with its line, and with the nearest known key where one is unknown. The line itself is not
/// quoted: it may hold a secret.
fn invalid(text: Option<&str>, error: &toml::de::Error) -> Error {
    let before = text.zip(error.span()).and_then(|(text, span)| text.get(..span.start));
    let line = before.map(|before| before.matches('\n').count() + 1);
    let place = line.map(|line| format!("line {line}: ")).unwrap_or_default();
    Error::new(ErrorKind::InvalidArgument, format!("configuration: {place}{}", in_words(error)))
}

/// The parser's error, with the nearest known key where one is unknown. Names that are only still understood are not
/// offered.
fn in_words(error: &toml::de::Error) -> String {
    let mut message = error.message().trim_end().to_owned();
    for (old, _) in RENAMED_KEYS {
        let name = old.rsplit('.').next().unwrap_or(old);
        message = message.replace(&format!(", `{name}`"), "");
    }
    let nearest = nearest_key(&message);
    let nearest = nearest.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
    format!("{message}{nearest}")
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
