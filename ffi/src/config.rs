//! Configurations as C builds them.

use crate::handle::{self, Handle};
use crate::status::{Failure, Outcome, guard, guard_or, se_status};
use crate::text;
use parking_lot::Mutex;
use serde_json::{Map, Value};
use std::ffi::c_char;
use streamengine::{Config, ConfigSource, OptionSource};

/// Settings: of an engine, or of one publisher, subscriber, relay or file. The keys are those of the TOML
/// configuration (`examples/streamengine.toml` explains each), with dots for sections.
///
/// - Of an engine: `limits.ring_ms`, `default_app.flush`, `apps.live.takeover`, `rtmp.listen`, `publish.key` ...;
///   `push`, `pull` and `file` as JSON arrays of objects, `origins` as an object of objects.
/// - Of a relay push: the keys of `[[push]]`: `on_refusal`, `retry`, `max_retries`, `connect_timeout_ms`,
///   `write_timeout_ms`, `tls`, `stop_commands`, `from_zero`, `chunk_size`, `connect`.
/// - Of a relay pull: the keys of `[[pull]]`: `on_refusal`, `retry`, `max_retries`, `connect_timeout_ms`, `tls`, `connect`,
///   `when`, `linger_ms`.
/// - Of a file: the keys of `[[file]]`: `paths`, `loops`.
/// - Of a publisher: `takeover`, `resume_window_ms`, `start`, `max_start_bytes`, `max_queue_ms`, `max_queue_bytes`,
///   `keyframe_wait_ms`, `ring_bytes`. Of a subscriber: `start`, `back_ms`, `wait_for_publisher_ms`.
///
/// What is in an option has dots too: `retry.min_ms`, `tls.ca`, `connect.swfUrl`. `tls` is both, of an engine and of a
/// relay.
///
/// Without `apps` every app exists, with the policy of `default_app`; as soon as one is listed, all others are refused.
///
/// Functions that take one copy it.
pub struct se_config {
    _opaque: [u8; 0],
}

impl Handle for se_config {
    type Behind = Mutex<Settings>;
    const NAME: &'static str = "config";
    const SURVIVES_FORK: bool = true;
}

/// An empty configuration: everything is at its default.
///
/// @return To be freed with `se_config_free`; NULL on error.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn se_config_new() -> *mut se_config {
    guard_or(std::ptr::null_mut(), || Ok(handle::give::<se_config>(Mutex::default())))
}

/// Frees a configuration.
///
/// @param config NULL does nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn se_config_free(config: *mut se_config) {
    guard_or((), || handle::free(config));
}

/// Sets one value.
///
/// @param config The configuration.
/// @param key A key such as `"limits.ring_ms"`.
/// @param value The value as text: `"5000"`, `"true"`, `"merge"`; lists as JSON (`["127.0.0.1:0"]`) or, of addresses,
/// with commas (`"127.0.0.1:0,[::1]:0"`). Times are in milliseconds, sizes in bytes.
/// @return `SE_E_INVALID_ARGUMENT` for a key that does not exist (the text names it, and the nearest that does) or a
/// value that does not fit. Nothing is changed then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn se_config_set(
    config: *mut se_config,
    key: *const c_char,
    value: *const c_char,
) -> se_status {
    guard(|| {
        // SAFETY: the header demands NULL or a live handle, and NULL or NUL-terminated text.
        let (config, key, value) = unsafe {
            (handle::borrow(config)?, text::required(key, "key")?, text::required(value, "value")?)
        };
        config.lock().set(key, value)
    })
}

/// Sets many values: a JSON object in the shape of the TOML configuration, or of the options of one object. What it
/// does not name is left as it is; arrays replace.
///
/// @param config The configuration.
/// @param json `{"rtmp": {"listen": ["127.0.0.1:0"]}, "limits": {"ring_ms": 5000}}`.
/// @return `SE_E_INVALID_ARGUMENT` as in `se_config_set`, and for text that is not JSON. Nothing is changed then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn se_config_load_json(config: *mut se_config, json: *const c_char) -> se_status {
    guard(|| {
        // SAFETY: the header demands NULL or a live handle, and NULL or NUL-terminated text.
        let (config, json) = unsafe { (handle::borrow(config)?, text::required(json, "json")?) };
        config.lock().merge_json(json)
    })
}

/// The effective values of all settings of an engine, defaults included, in the shape that `se_config_load_json`
/// reads; beside them, as `options`, those of one object that have been set. Of a secret only whether it is set is
/// shown: `"***"` or null.
///
/// @param config The configuration.
/// @return To be freed with `se_string_free`; NULL on error.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn se_config_dump_json(config: *const se_config) -> *mut c_char {
    guard_or(std::ptr::null_mut(), || {
        // SAFETY: the header demands NULL or a live handle.
        let config = handle::borrow(config)?;
        let json = config.lock().to_json()?;
        text::give_json(&json)
    })
}

/// Behind `se_config`: settings of an engine and options of one object, told apart by their keys. A key that can be
/// either is both, until it is used.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    engine: ConfigSource,
    options: OptionSource,
}

impl Settings {
    fn set(&mut self, key: &str, value: &str) -> Outcome {
        let name = key.split('.').next().unwrap_or_default();
        let mut changed = self.clone();
        if is_option(name) || !(is_section(name) || key.contains('.')) {
            changed.options.set(key, value)?;
        }
        if is_section(name) || (key.contains('.') && !is_option(name)) {
            changed.engine.set(key, value)?;
        }
        *self = changed;
        Ok(())
    }

    fn merge_json(&mut self, json: &str) -> Outcome {
        let fail = |error| Failure::argument(format!("configuration: not a JSON object: {error}"));
        let map: Map<String, Value> = serde_json::from_str(json).map_err(fail)?;
        let those = |is_in: fn(&str) -> bool| {
            let entries = map.iter().filter(|(key, _)| is_in(key));
            Value::Object(entries.map(|(key, value)| (key.clone(), value.clone())).collect()).to_string()
        };
        let mut changed = self.clone();
        changed.engine.merge_json(&those(is_section))?;
        changed.options.merge_json(&those(|key| is_option(key) || !is_section(key)))?;
        *self = changed;
        Ok(())
    }

    fn to_json(&self) -> Outcome<Value> {
        let mut json = self.engine.clone().build()?.to_json();
        if self.no_setting().is_some()
            && let Some(json) = json.as_object_mut()
        {
            json.insert("options".to_owned(), self.options.to_json());
        }
        Ok(json)
    }

    /// The configuration of an engine.
    fn engine(&self) -> Outcome<Config> {
        match self.no_setting() {
            Some(name) => Err(Failure::argument(format!("option {name}: an engine has no such setting"))),
            None => Ok(self.engine.clone().build()?),
        }
    }

    /// The options of an object.
    fn options(&self) -> Outcome<OptionSource> {
        match self.engine.names().find(|name| !is_option(name)) {
            Some(name) => Err(Failure::argument(format!("options: {name} is a setting of an engine"))),
            None => Ok(self.options.clone()),
        }
    }

    /// An option that is no setting of an engine.
    fn no_setting(&self) -> Option<&str> {
        self.options.names().find(|name| !is_section(name))
    }
}

/// Settings of an engine lie in sections.
fn is_section(name: &str) -> bool {
    Config::default().to_json().get(name).is_some()
}

fn is_option(name: &str) -> bool {
    OptionSource::known().any(|known| known == name)
}

/// The configuration of an engine; the defaults for NULL.
pub(crate) fn engine_config(config: *const se_config) -> Outcome<Config> {
    if config.is_null() {
        return Ok(Config::default());
    }
    handle::borrow(config)?.lock().engine()
}

/// The options of an object; none for NULL.
pub(crate) fn options(config: *const se_config) -> Outcome<OptionSource> {
    if config.is_null() {
        return Ok(OptionSource::default());
    }
    handle::borrow(config)?.lock().options()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(outcome: Outcome) -> String {
        let failure = outcome.unwrap_err();
        assert_eq!(failure.status, se_status::SE_E_INVALID_ARGUMENT);
        failure.message
    }

    #[test]
    fn keys_are_those_of_the_toml_file_and_wrong_ones_name_the_nearest() {
        let mut settings = Settings::default();
        for (key, value) in [
            ("limits.ring_ms", "5000"),
            ("default_app.flush", "merge"),
            ("apps.live.takeover", "reject"),
            ("rtmp.listen", "127.0.0.1:0, [::1]:0"),
            ("publish.key", "4711"),
            ("push", r#"[{"stream": "live/a", "url": "rtmp://h/live/KEY"}]"#),
        ] {
            settings.set(key, value).unwrap();
        }
        let text = refusal(settings.set("limits.rign_ms", "1"));
        assert!(text.contains("limits.rign_ms") && text.contains("did you mean `ring_ms`"), "{text}");
        assert!(refusal(settings.set("gop_cache", "1")).contains("gop_cache"));
        assert!(refusal(settings.set("limits.ring_ms", "soon")).contains("limits.ring_ms"));
        let config = settings.engine().unwrap();
        assert_eq!((config.limits.ring_ms, config.rtmp.listen.len(), config.push.len()), (5000, 2, 1));
        let json = settings.to_json().unwrap();
        assert_eq!((&json["publish"]["key"], &json["limits"]["ring_ms"]), (&"***".into(), &5000.into()));
    }

    #[test]
    fn json_changes_all_or_nothing() {
        let mut settings = Settings::default();
        settings.merge_json(r#"{"limits": {"ring_ms": 7}, "publish": {"key": null}}"#).unwrap();
        let text = refusal(settings.merge_json(r#"{"limits": {"ring_ms": 8}, "on_refusall": "fail"}"#));
        assert!(text.contains("did you mean `on_refusal`"), "{text}");
        refusal(settings.merge_json("[]"));
        assert_eq!(settings.engine().unwrap().limits.ring_ms, 7);
    }

    #[test]
    fn options_belong_to_objects_and_settings_to_engines() {
        let mut settings = Settings::default();
        settings.set("linger_ms", "5").unwrap();
        assert!(refusal(settings.engine().map(drop)).contains("linger_ms"));
        let options = settings.options().unwrap();
        assert!(options.push("live/a".parse().unwrap(), "rtmp://h/a/b".parse().unwrap()).is_err());
        assert_eq!(
            options.pull("rtmp://h/a/b".parse().unwrap(), "live/a".parse().unwrap()).unwrap().linger_ms,
            5
        );
        settings.set("limits.ring_ms", "1").unwrap();
        assert!(refusal(settings.options().map(drop)).contains("limits"));
    }

    #[test]
    fn tls_is_of_an_engine_or_of_a_relay_as_it_is_used() {
        let mut settings = Settings::default();
        settings.set("tls.ca", "a.pem").unwrap();
        settings.merge_json(r#"{"tls": {"danger_accept_invalid_certs": true}}"#).unwrap();
        let engine = settings.engine().unwrap().tls;
        assert!(engine.ca.is_some() && engine.danger_accept_invalid_certs);
        assert!(settings.to_json().unwrap().get("options").is_none());
        let push = |settings: &Settings| {
            let options = settings.options().unwrap();
            options.push("live/a".parse().unwrap(), "rtmp://h/a/b".parse().unwrap()).unwrap()
        };
        assert_eq!(push(&settings).tuning.tls.as_ref(), Some(&engine));
        settings.set("connect.swfUrl", "x").unwrap();
        assert_eq!(push(&settings).tuning.connect["swfUrl"], "x");
        refusal(settings.engine().map(drop));
        assert!(refusal(settings.set("tls.cas", "a.pem")).contains("did you mean `ca`"));
    }
}
