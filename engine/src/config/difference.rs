//! What is different between two configurations, and from when on that holds in an engine that runs.

use super::{Config, FileConfig, HooksConfig, PullConfig, PushConfig};
use crate::key::Secret;
use crate::url::HookUrl;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::net::SocketAddr;

/// What a configuration that was read anew has changed ([`Engine::reload`](crate::Engine::reload)).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(feature = "http", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Reloaded {
    /// What is different, by key; empty where nothing is.
    pub changes: Vec<ConfigChange>,
}

impl Reloaded {
    /// The keys whose new values do not hold before the engine is started anew.
    pub fn after_restart(&self) -> impl Iterator<Item = &str> {
        let later = self.changes.iter().filter(|change| change.effect == TakesEffect::AfterRestart);
        later.map(|change| change.key.as_str())
    }
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(feature = "http", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct ConfigChange {
    /// The key in the configuration, with dots for sections: `limits.ring_ms`, `rtmp.listen`, `push`, `origins.a`.
    pub key: String,
    /// Which one, where the key has a list of addresses or jobs: `127.0.0.1:1935`, `live/a to rtmp://host/live/b`. Without
    /// secrets.
    pub entry: Option<String>,
    /// What has happened to it.
    pub kind: ChangeKind,
    /// From when on it holds.
    pub effect: TakesEffect,
}

impl Display for ConfigChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { key, entry, kind, effect } = self;
        match entry {
            Some(entry) => write!(f, "{key} {entry} {kind}")?,
            None => write!(f, "{key} {kind}")?,
        }
        match effect {
            TakesEffect::AtOnce => Ok(()),
            TakesEffect::FromNowOn => f.write_str(", for what begins from now on"),
            TakesEffect::AfterRestart => f.write_str(", which needs a restart"),
        }
    }
}

/// What has happened to a key, or to an entry of its list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(feature = "http", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ChangeKind {
    /// It is there now, and was not before.
    Added,
    /// It is gone.
    Removed,
    /// It has another value.
    Changed,
}

named!(ChangeKind { Added => "added", Removed => "removed", Changed => "changed" });

/// From when on a changed value holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(feature = "http", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum TakesEffect {
    /// For all that runs, too.
    AtOnce,
    /// For connections, streams and attempts that begin from now on; what runs goes on as it has begun.
    FromNowOn,
    /// Once the engine is started anew; until then the old value holds.
    AfterRestart,
}

named!(TakesEffect { AtOnce => "at-once", FromNowOn => "from-now-on", AfterRestart => "after-restart" });

/// From when on values hold, by their keys; by those of all that is in them, where a rule ends in a dot. A key that is not
/// here needs a restart, so that nobody is promised what no code does
/// (test `every_key_of_the_sample_has_one_rule_and_no_rule_is_without_a_key`).
const EFFECTS: &[(&str, TakesEffect)] = {
    use TakesEffect::{AfterRestart, AtOnce, FromNowOn};
    &[
        ("rtmp.listen", AtOnce),
        ("rtmps.listen", AtOnce),
        ("http.listen", AtOnce),
        ("https.listen", AtOnce),
        ("rtmp.proxy_protocol_from", FromNowOn),
        ("rtmps.proxy_protocol_from", FromNowOn),
        ("http.proxy_protocol_from", FromNowOn),
        ("https.proxy_protocol_from", FromNowOn),
        ("rtmps.cert", FromNowOn),
        ("rtmps.key", FromNowOn),
        ("https.cert", FromNowOn),
        ("https.key", FromNowOn),
        ("http.index", AtOnce),
        ("http.dashboard", AtOnce),
        ("http.hls_app", AtOnce),
        ("http.stat_allow", AtOnce),
        ("http.control_allow", AtOnce),
        ("http.control_origins", AtOnce),
        ("http.publish", FromNowOn),
        ("http.publish_origins", FromNowOn),
        ("http.trusted_proxies", AtOnce),
        ("http.hosts", AtOnce),
        ("http.token", AtOnce),
        ("http.password", AtOnce),
        ("http.password_file", AtOnce),
        ("http.allow_plain_login", AtOnce),
        ("http.local_admin", AtOnce),
        ("publish.", FromNowOn),
        ("signed_urls.", FromNowOn),
        ("keys.url", AfterRestart),
        ("keys.query", AfterRestart),
        ("keys.check_query", AfterRestart),
        ("keys.play", FromNowOn),
        ("hooks.", AfterRestart),
        ("auth.order", FromNowOn),
        ("default_app.", FromNowOn),
        ("apps.", FromNowOn),
        ("push", AtOnce),
        ("destination", FromNowOn),
        ("pull", AtOnce),
        ("origins.", AtOnce),
        ("file", AtOnce),
        ("tls.", FromNowOn),
        ("engine.io_threads", AfterRestart),
        ("engine.drain_timeout_ms", AtOnce),
        ("limits.handshake_timeout_ms", FromNowOn),
        ("limits.command_timeout_ms", FromNowOn),
        ("limits.publisher_timeout_ms", FromNowOn),
        ("limits.first_media_timeout_ms", FromNowOn),
        ("limits.write_timeout_ms", FromNowOn),
        ("limits.http_header_timeout_ms", FromNowOn),
        ("limits.http_header_bytes", FromNowOn),
        ("limits.http_idle_ms", FromNowOn),
        ("limits.auth_timeout_ms", FromNowOn),
        ("limits.auth_failures_per_minute", AtOnce),
        ("limits.ping_interval_ms", AtOnce),
        ("limits.max_connections", AtOnce),
        ("limits.max_connections_per_address", AtOnce),
        ("limits.publisher_places", AtOnce),
        ("limits.max_pending", AtOnce),
        ("limits.max_pending_per_address", AtOnce),
        ("limits.starts_per_minute_per_address", AtOnce),
        ("limits.max_streams_per_address", AtOnce),
        ("limits.origin_pulls", AtOnce),
        ("limits.max_message_pending", FromNowOn),
        ("limits.max_message", FromNowOn),
        ("limits.max_websocket_message", FromNowOn),
        ("limits.max_partial", FromNowOn),
        ("limits.max_chunk_streams", FromNowOn),
        ("limits.max_message_streams", FromNowOn),
        ("limits.min_chunk_size", FromNowOn),
        ("limits.publisher_bytes_per_s", FromNowOn),
        ("limits.publisher_messages_per_s", FromNowOn),
        ("limits.ring_bytes", AtOnce),
        ("limits.ring_ms", AtOnce),
        ("limits.ring_frames", AtOnce),
        ("limits.ring_bytes_total", AtOnce),
        ("limits.player_batch", AtOnce),
        ("limits.hls_bytes", FromNowOn),
        ("limits.hls_bytes_total", AtOnce),
        ("limits.hls_viewers", AtOnce),
        ("limits.history_streams", FromNowOn),
        ("limits.max_lags", FromNowOn),
    ]
};

/// The rules that are about a key.
fn rules_of(key: &str) -> impl Iterator<Item = TakesEffect> {
    let is_about = move |rule: &str| if rule.ends_with('.') { key.starts_with(rule) } else { key == rule };
    EFFECTS.iter().filter(move |(rule, _)| is_about(rule)).map(|(_, effect)| *effect)
}

fn effect_of(key: &str) -> TakesEffect {
    rules_of(key).next().unwrap_or(TakesEffect::AfterRestart)
}

/// Keys with lists of which each entry is told of.
const LISTS: [&str; 7] =
    ["rtmp.listen", "rtmps.listen", "http.listen", "https.listen", "push", "pull", "file"];
/// Keys with tables of which each entry is told of, where it is new or gone.
const TABLES: [&str; 2] = ["apps", "origins"];

/// What is different, and which of the old jobs are which of the new ones.
#[derive(Debug)]
pub(crate) struct Difference {
    pub(crate) changes: Vec<ConfigChange>,
    /// The addresses to listen on: of RTMP, RTMPS, HTTP and HTTPS.
    pub(crate) listen: [Matched; 4],
    pub(crate) push: Matched,
    pub(crate) pull: Matched,
    pub(crate) file: Matched,
}

/// Where the entries of a list come from.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Matched {
    /// What each entry of the new list was in the old one.
    pub(crate) new: Vec<Before>,
    /// The entries of the old list, by number, that are gone.
    pub(crate) removed: Vec<usize>,
}

/// What an entry was before: what it is known by is its number in the old list, or what was begun for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Before<I = usize> {
    Nothing,
    /// The same.
    Same(I),
    /// Something else under the same name.
    Other(I),
}

impl Matched {
    /// Finds the same entries first, then those that are called the same.
    fn new<T: PartialEq>(old: &[T], new: &[T], is_called_the_same: impl Fn(&T, &T) -> bool) -> Self {
        let mut left: Vec<_> = old.iter().enumerate().collect();
        let mut take = |is_it: &dyn Fn(&T) -> bool| {
            let at = left.iter().position(|(_, old)| is_it(old))?;
            Some(left.remove(at).0)
        };
        let same: Vec<_> = new.iter().map(|new| take(&|old| old == new)).collect();
        let before = new.iter().zip(same).map(|(new, same)| match same {
            Some(number) => Before::Same(number),
            None => take(&|old| is_called_the_same(old, new)).map_or(Before::Nothing, Before::Other),
        });
        Self { new: before.collect(), removed: left.into_iter().map(|(number, _)| number).collect() }
    }

    /// What each entry of the new list was, by what was begun for those of the old one.
    pub(crate) fn before<I: Copy>(&self, begun: &[I]) -> impl Iterator<Item = Before<I>> {
        self.new.iter().map(|before| match *before {
            Before::Nothing => Before::Nothing,
            Before::Same(number) => begun.get(number).map_or(Before::Nothing, |id| Before::Same(*id)),
            Before::Other(number) => begun.get(number).map_or(Before::Nothing, |id| Before::Other(*id)),
        })
    }

    /// What was begun for entries that are gone.
    pub(crate) fn gone<I: Copy>(&self, begun: &[I]) -> impl Iterator<Item = I> {
        self.removed.iter().filter_map(|number| begun.get(*number).copied())
    }

    /// What is told of it.
    fn tell<T>(&self, key: &str, old: &[T], new: &[T], name: impl Fn(&T) -> String) -> Vec<ConfigChange> {
        let removed = self.removed.iter().filter_map(|number| old.get(*number));
        let removed = removed.map(|entry| (entry, ChangeKind::Removed));
        let others = new.iter().zip(&self.new).filter_map(|(entry, before)| match before {
            Before::Nothing => Some((entry, ChangeKind::Added)),
            Before::Other(_) => Some((entry, ChangeKind::Changed)),
            Before::Same(_) => None,
        });
        removed.chain(others).map(|(entry, kind)| change(key, Some(name(entry)), kind)).collect()
    }
}

fn change(key: &str, entry: Option<String>, kind: ChangeKind) -> ConfigChange {
    ConfigChange { key: key.to_owned(), entry, kind, effect: effect_of(key) }
}

impl Difference {
    /// What of `old` is different in `new`.
    pub(crate) fn new(old: &Config, new: &Config) -> Self {
        let listen = |of: fn(&Config) -> &[SocketAddr]| Matched::new(of(old), of(new), |_, _| false);
        let mut difference = Self {
            listen: [
                listen(|config| &config.rtmp.listen),
                listen(|config| &config.rtmps.listen),
                listen(|config| &config.http.listen),
                listen(|config| &config.https.listen),
            ],
            push: Matched::new(&old.push, &new.push, PushConfig::is_same_relay),
            pull: Matched::new(&old.pull, &new.pull, |old, new| old.stream == new.stream),
            file: Matched::new(&old.file, &new.file, |old, new| old.stream == new.stream),
            changes: Vec::new(),
        };
        difference.changes = difference.tell(old, new);
        difference
    }

    fn tell(&self, old: &Config, new: &Config) -> Vec<ConfigChange> {
        let address = SocketAddr::to_string;
        let [rtmp, rtmps, http, https] = &self.listen;
        let lists = [
            rtmp.tell("rtmp.listen", &old.rtmp.listen, &new.rtmp.listen, address),
            rtmps.tell("rtmps.listen", &old.rtmps.listen, &new.rtmps.listen, address),
            http.tell("http.listen", &old.http.listen, &new.http.listen, address),
            https.tell("https.listen", &old.https.listen, &new.https.listen, address),
            self.push.tell("push", &old.push, &new.push, PushConfig::name),
            self.pull.tell("pull", &old.pull, &new.pull, PullConfig::name),
            self.file.tell("file", &old.file, &new.file, |file: &FileConfig| file.stream.to_string()),
        ];
        let mut changes = Vec::new();
        changed_values("", &old.to_json(), &new.to_json(), &mut changes);
        changes.extend(lists.into_iter().flatten());
        changes.extend(hidden_changes(old, new));
        changes.extend(changed_origins(old, new, &changes));
        for section in changed_sections(old, new) {
            let is_told = |change: &ConfigChange| change.key.split('.').next() == Some(section);
            if !changes.iter().any(is_told) {
                changes.push(change(section, None, ChangeKind::Changed));
            }
        }
        changes.sort_by(|a, b| a.key.cmp(&b.key));
        changes
    }
}

/// The keys under `path` that show other values.
fn changed_values(path: &str, old: &Value, new: &Value, changes: &mut Vec<ConfigChange>) {
    let (Value::Object(old), Value::Object(new)) = (old, new) else {
        if old != new {
            changes.push(change(path, None, ChangeKind::Changed));
        }
        return;
    };
    let keys: BTreeSet<_> = old.keys().chain(new.keys()).collect();
    for key in keys {
        let inner = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        let none = &Value::Null;
        match (old.get(key), new.get(key)) {
            _ if LISTS.contains(&inner.as_str()) => {}
            (Some(_), None) if TABLES.contains(&path) => {
                changes.push(change(&inner, None, ChangeKind::Removed))
            }
            (None, Some(_)) if TABLES.contains(&path) => {
                changes.push(change(&inner, None, ChangeKind::Added))
            }
            (old, new) => changed_values(&inner, old.unwrap_or(none), new.unwrap_or(none), changes),
        }
    }
}

/// What a configuration has and does not show.
fn hidden(config: &Config) -> [(&'static str, Option<&Secret>); 5] {
    [
        ("http.password", config.http.password.as_ref()),
        ("publish.key", config.publish.key.as_ref()),
        ("signed_urls.secret", config.signed_urls.secret.as_ref()),
        ("keys.url", config.keys.url.as_ref()),
        ("hooks.secret", config.hooks.secret.as_ref()),
    ]
}

/// URLs are shown without the secrets in them.
fn hook_urls(hooks: &HooksConfig) -> [(&'static str, Option<&HookUrl>); 9] {
    [
        ("hooks.on_connect", hooks.on_connect.as_ref()),
        ("hooks.on_disconnect", hooks.on_disconnect.as_ref()),
        ("hooks.on_publish", hooks.on_publish.as_ref()),
        ("hooks.on_play", hooks.on_play.as_ref()),
        ("hooks.on_publish_done", hooks.on_publish_done.as_ref()),
        ("hooks.on_play_done", hooks.on_play_done.as_ref()),
        ("hooks.on_done", hooks.on_done.as_ref()),
        ("hooks.on_update", hooks.on_update.as_ref()),
        ("hooks.on_forward", hooks.on_forward.as_ref()),
    ]
}

/// Differences that only whoever knows the secrets sees: what shows otherwise has been told.
fn hidden_changes(old: &Config, new: &Config) -> Vec<ConfigChange> {
    let secrets = hidden(old).into_iter().zip(hidden(new));
    let secrets = secrets.filter(|((_, old), (_, new))| old.is_some() && new.is_some() && old != new);
    let urls = hook_urls(&old.hooks).into_iter().zip(hook_urls(&new.hooks));
    let urls = urls.filter(|((_, old), (_, new))| {
        old != new && old.map(ToString::to_string) == new.map(ToString::to_string)
    });
    let keys = secrets.map(|((key, _), _)| key).chain(urls.map(|((key, _), _)| key));
    keys.map(|key| change(key, None, ChangeKind::Changed)).collect()
}

/// Origins of which only a password is another.
fn changed_origins(old: &Config, new: &Config, told: &[ConfigChange]) -> Vec<ConfigChange> {
    let is_told = |alias: &str| {
        let inner = format!("origins.{alias}.");
        told.iter().any(|change| change.key.starts_with(&inner))
    };
    let changed = new.origins.iter().filter(|(alias, origin)| {
        old.origins.get(*alias).is_some_and(|old| old != *origin) && !is_told(alias)
    });
    changed.map(|(alias, _)| change(&format!("origins.{alias}.urls"), None, ChangeKind::Changed)).collect()
}

/// The sections that are not the same, whatever they show.
fn changed_sections(old: &Config, new: &Config) -> impl Iterator<Item = &'static str> + use<> {
    let Config { rtmp, rtmps, http, https, publish, signed_urls, keys, hooks, auth, .. } = old;
    let Config { default_app, apps, push, destination, pull, origins, file, tls, engine, limits, .. } = old;
    let sections = [
        ("rtmp", *rtmp == new.rtmp),
        ("rtmps", *rtmps == new.rtmps),
        ("http", *http == new.http),
        ("https", *https == new.https),
        ("publish", *publish == new.publish),
        ("signed_urls", *signed_urls == new.signed_urls),
        ("keys", *keys == new.keys),
        ("hooks", *hooks == new.hooks),
        ("auth", *auth == new.auth),
        ("default_app", *default_app == new.default_app),
        ("apps", *apps == new.apps),
        ("push", *push == new.push),
        ("destination", *destination == new.destination),
        ("pull", *pull == new.pull),
        ("origins", *origins == new.origins),
        ("file", *file == new.file),
        ("tls", *tls == new.tls),
        ("engine", *engine == new.engine),
        ("limits", *limits == new.limits),
    ];
    sections.into_iter().filter(|(_, is_same)| !is_same).map(|(section, _)| section)
}

impl Config {
    /// This configuration with what `before` has of the values that need a restart: what holds until then.
    pub(crate) fn until_restart(mut self, before: &Self) -> Self {
        self.engine.io_threads = before.engine.io_threads;
        self.keys.url.clone_from(&before.keys.url);
        self.keys.query.clone_from(&before.keys.query);
        self.keys.check_query.clone_from(&before.keys.check_query);
        self.hooks = before.hooks.clone();
        self
    }
}

impl PushConfig {
    /// Whether it is the same relay as another, however that is to connect and wait.
    pub(crate) fn is_same_relay(&self, other: &Self) -> bool {
        let Self { stream, url, remote_app, remote_stream, on_refusal, tuning: _ } = self;
        (stream, url, remote_app, remote_stream, on_refusal)
            == (&other.stream, &other.url, &other.remote_app, &other.remote_stream, &other.on_refusal)
    }

    fn name(&self) -> String {
        format!("{} to {}", self.stream, self.url)
    }
}

impl PullConfig {
    fn name(&self) -> String {
        format!("{} from {}", self.stream, self.url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::sample::{leaves, sample, values};
    use serde_json::json;

    /// Texts one of which fits wherever a text is wanted.
    const TEXTS: [&str; 10] = [
        "other",
        "{start}-other-{n}",
        "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        "http://other/",
        "rtmp://other/app/name",
        "rtmp://other:1935",
        "other/name",
        "/other/{app}/{stream}",
        "10.9.9.9:9",
        "deny play 10.9.9.9",
    ];

    fn read(values: &Value) -> Option<Config> {
        serde_json::from_value(values.clone()).ok()
    }

    /// The sample with the URLs and secrets that it shows.
    fn shown() -> Value {
        let mut values = values();
        let hooks = values["hooks"].as_object_mut().into_iter().flatten();
        for (_, value) in hooks.filter(|(key, value)| key.starts_with("on_") && value.is_string()) {
            *value = "http://user:***@h/hook".into();
        }
        values
    }

    fn at<'a>(values: &'a mut Value, key: &str) -> &'a mut Value {
        key.split('.').fold(values, |inner, part| match part.parse::<usize>() {
            Ok(number) => &mut inner[number],
            Err(_) => &mut inner[part],
        })
    }

    /// The sample with another value under this key.
    fn other(sample: &Value, key: &str) -> Config {
        let mut changed = sample.clone();
        let now = at(&mut changed, key).clone();
        // Two of each enumeration: one of them is not the present value.
        let named = ["reject", "replace", "keyframe", "live-edge", "merge", "immediate", "retry", "fail"];
        let named = named.into_iter().chain(["always", "off", "watched", "fmp4", "ts", "nginx-rtmp", "srs"]);
        let named =
            named.chain(["post", "get", "refuse", "allow", "hmac-sha256", "node-media-server", "manual"]);
        let named = named.chain(["flv", "viewer", "admin", "http://other:1", "send"]);
        let texts = || TEXTS.into_iter().chain(named.clone()).map(Value::from).filter(|text| *text != now);
        let candidates: Vec<Value> = match &now {
            Value::Bool(value) => vec![(!value).into()],
            Value::Number(number) => vec![(number.as_u64().unwrap() + 1).into()],
            Value::Array(_) => [json!([]), json!(["hooks"]), json!(["10.9.9.9/32"])]
                .into_iter()
                .chain(texts().map(|text| json!([text])))
                .filter(|list| *list != now)
                .collect(),
            _ => texts().collect(),
        };
        let before = read(sample).unwrap();
        let fits = candidates.into_iter().find_map(|candidate| {
            *at(&mut changed, key) = candidate;
            read(&changed).filter(|config| *config != before)
        });
        fits.unwrap_or_else(|| panic!("{key}: no other value than {now} fits"))
    }

    /// All keys of the sample with those of the first entry of each list, and the key that a change of it is told by.
    fn keys(sample: &Value) -> Vec<(String, String)> {
        let lists = ["push", "destination", "pull", "file", "http.token"];
        let of_lists = lists.into_iter().flat_map(|list| {
            let first = format!("{list}.0");
            let inner = leaves("", at(&mut sample.clone(), &first)).into_iter();
            inner.map(move |(key, _)| (format!("{first}.{key}"), list.to_owned())).collect::<Vec<_>>()
        });
        let all =
            leaves("", sample).into_iter().filter(|(_, value)| value[0].is_null() || !value[0].is_object());
        let all = all.map(|(key, _)| (key.clone(), key));
        all.filter(|(key, _)| !lists.contains(&key.as_str())).chain(of_lists).collect()
    }

    #[test]
    fn every_key_of_the_sample_has_one_rule_and_no_rule_is_without_a_key() {
        let keys = keys(&shown());
        assert!(keys.len() > 100, "{}", keys.len());
        for (key, told) in &keys {
            assert_eq!(rules_of(told).count(), 1, "{key}");
        }
        for (rule, _) in EFFECTS {
            let has_key =
                keys.iter().any(|(_, key)| key == rule || (rule.ends_with('.') && key.starts_with(rule)));
            assert!(has_key || cfg!(not(all(feature = "keys", feature = "http"))), "{rule}");
        }
    }

    #[test]
    fn whatever_key_has_another_value_is_told_of_and_nothing_else_is() {
        let sample = shown();
        let before = read(&sample).unwrap();
        assert_eq!(Difference::new(&before, &before).changes, []);
        for (key, told) in keys(&sample) {
            let after = other(&sample, &key);
            let changes = Difference::new(&before, &after).changes;
            assert!(!changes.is_empty(), "{key} is not told of");
            assert!(changes.iter().all(|change| change.key == told), "{key}: {changes:?}");
        }
    }

    #[test]
    fn what_needs_a_restart_stays_as_it_is_and_is_told_of_again() {
        let sample = shown();
        let before = read(&sample).unwrap();
        for (key, told) in keys(&sample) {
            let after = other(&sample, &key);
            let until = after.clone().until_restart(&before);
            match effect_of(&told) {
                TakesEffect::AfterRestart => {
                    assert_eq!(until, before, "{key}");
                    let reloaded = Reloaded { changes: Difference::new(&until, &after).changes };
                    assert_eq!(reloaded.after_restart().collect::<Vec<_>>(), [&told]);
                }
                _ => assert_eq!(until, after, "{key}"),
            }
        }
    }

    fn difference(old: &str, new: &str) -> Difference {
        Difference::new(&Config::from_toml(old).unwrap(), &Config::from_toml(new).unwrap())
    }

    fn told(old: &str, new: &str) -> Vec<String> {
        difference(old, new).changes.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn entries_of_lists_are_told_by_name_and_no_secret_is() {
        let push = |keys: &str| {
            format!("[[push]]\nstream = \"live/a\"\nurl = \"rtmp://u:hunter2@h/live/b\"\n{keys}")
        };
        assert_eq!(told(&push(""), &push("max_retries = 1")), ["push live/a to rtmp://***@h/live/b changed"]);
        let other = push("").replace("hunter2", "hunter3");
        assert_eq!(told(&push(""), &other).len(), 2, "another password is another target");
        for (old, new, changes) in [
            (
                "[rtmp]\nlisten = [\"127.0.0.1:1\", \"127.0.0.1:2\"]",
                "[rtmp]\nlisten = [\"127.0.0.1:2\", \"127.0.0.1:3\"]",
                vec!["rtmp.listen 127.0.0.1:1 removed", "rtmp.listen 127.0.0.1:3 added"],
            ),
            (
                "",
                "[apps.a]\n[apps.b]",
                vec![
                    "apps.a added, for what begins from now on",
                    "apps.b added, for what begins from now on",
                ],
            ),
            (
                "[apps.a]\n[apps.b]",
                "[apps.a]\nmerge_ms = 1",
                vec![
                    "apps.a.merge_ms changed, for what begins from now on",
                    "apps.b removed, for what begins from now on",
                ],
            ),
            (
                "[origins.a]\nurls = [\"rtmp://u:hunter2@h\"]\n[origins.ab]\nurls = [\"rtmp://h\"]",
                "[origins.a]\nurls = [\"rtmp://u:hunter3@h\"]\n[origins.ab]\nurls = [\"rtmp://i\"]",
                vec!["origins.a.urls changed", "origins.ab.urls changed"],
            ),
            ("[engine]\nio_threads = 1", "", vec!["engine.io_threads changed, which needs a restart"]),
        ] {
            assert_eq!(told(old, new), changes);
        }
    }

    #[test]
    fn entries_are_found_again_wherever_they_stand() {
        let matched = |old: &[&str], new: &[&str]| {
            Matched::new(old, new, |old, new| old.chars().next() == new.chars().next())
        };
        let found = matched(&["a1", "b1", "a1", "c1"], &["a1", "a2", "b1", "d1"]);
        let new = vec![Before::Same(0), Before::Other(2), Before::Same(1), Before::Nothing];
        assert_eq!(found, Matched { new, removed: vec![3] });
        assert_eq!(found.before(&['a', 'b', 'c', 'd']).collect::<Vec<_>>()[1], Before::Other('c'));
        assert_eq!(found.gone(&['a', 'b', 'c', 'd']).collect::<Vec<_>>(), ['d']);
        assert_eq!(found.before::<char>(&[]).collect::<Vec<_>>(), [Before::Nothing; 4]);
    }

    #[test]
    fn the_sample_itself_can_be_compared() {
        let (sample, defaults) = (sample(), Config::default());
        let there = Difference::new(&defaults, &sample);
        let back = Difference::new(&sample, &defaults);
        assert_eq!(there.changes.len(), back.changes.len());
        assert!(there.changes.iter().any(|change| change.key == "publish.key"));
    }
}
