//! Configurations as C builds them.

use crate::handle::{self, Handle};
use crate::status::{Failure, Outcome, guard, guard_or, se_status};
use crate::text;
use parking_lot::Mutex;
use std::ffi::c_char;
use streamengine_core::{Config, ConfigSource, OptionSource};

/// Settings: of an engine, or of one publisher, subscriber, relay or file. The keys are those of the TOML
/// configuration (`examples/streamengine.toml` explains each), with dots for sections.
///
/// - Of an engine: `limits.ring_ms`, `default_app.flush`, `apps.live.takeover`, `rtmp.listen`, `publish.key` ...;
///   `push`, `pull` and `file` as JSON arrays of objects.
/// - Of a relay push: `on_refusal`. Of a relay pull: `on_refusal`, `when`, `linger_ms`. Of a file: `paths`.
/// - Of a publisher: `takeover`, `resume_window_ms`. Of a subscriber: `start`, `wait_for_publisher_ms`.
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
}

/// An empty configuration: everything is at its default.
///
/// @return To be freed with `se_config_free`; NULL on error.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn se_config_new() -> *mut se_config {
    guard_or(std::ptr::null_mut(), || Ok(handle::give(Mutex::default())))
}

/// Frees a configuration.
///
/// @param config NULL does nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn se_config_free(config: *mut se_config) {
    // SAFETY: the header demands NULL or a live handle that nobody else uses.
    guard_or((), || unsafe { handle::free(config) });
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
        let config = unsafe { handle::borrow(config) }?;
        let json = config.lock().to_json()?;
        text::give_json(&json)
    })
}

/// Behind `se_config`: settings of an engine and options of one object, told apart by their keys.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    engine: ConfigSource,
    has_engine: bool,
    options: OptionSource,
}

impl Settings {
    fn set(&mut self, key: &str, value: &str) -> Outcome {
        if is_of_engine(key) {
            self.engine.set(key, value)?;
            self.has_engine = true;
        } else {
            self.options.set(key, value)?;
        }
        Ok(())
    }

    fn merge_json(&mut self, json: &str) -> Outcome {
        let fail = |error| Failure::argument(format!("configuration: not a JSON object: {error}"));
        let map: serde_json::Map<String, serde_json::Value> = serde_json::from_str(json).map_err(fail)?;
        let (of_engine, options): (serde_json::Map<_, _>, _) =
            map.into_iter().partition(|(key, _)| is_section(key));
        let mut changed = self.clone();
        if !of_engine.is_empty() {
            changed.engine.merge_json(&serde_json::Value::Object(of_engine).to_string())?;
            changed.has_engine = true;
        }
        changed.options.merge_json(&serde_json::Value::Object(options).to_string())?;
        *self = changed;
        Ok(())
    }

    fn to_json(&self) -> Outcome<serde_json::Value> {
        let mut json = self.engine.clone().build()?.to_json();
        if self.options.names().next().is_some()
            && let Some(json) = json.as_object_mut()
        {
            json.insert("options".to_owned(), self.options.to_json());
        }
        Ok(json)
    }

    /// The configuration of an engine.
    fn engine(&self) -> Outcome<Config> {
        match self.options.names().next() {
            Some(name) => Err(Failure::argument(format!("option {name}: an engine has no such setting"))),
            None => Ok(self.engine.clone().build()?),
        }
    }

    /// The options of an object.
    fn options(&self) -> Outcome<OptionSource> {
        match self.has_engine {
            true => Err(Failure::argument("options: there are settings of an engine among them")),
            false => Ok(self.options.clone()),
        }
    }
}

/// Settings of an engine lie in sections; options have plain names.
fn is_of_engine(key: &str) -> bool {
    key.contains('.') || is_section(key)
}

fn is_section(key: &str) -> bool {
    Config::default().to_json().get(key).is_some()
}

/// The configuration of an engine; the defaults for NULL.
///
/// # Safety
/// `config` is NULL or a live handle.
pub(crate) unsafe fn engine_config(config: *const se_config) -> Outcome<Config> {
    if config.is_null() {
        return Ok(Config::default());
    }
    // SAFETY: by the contract.
    unsafe { handle::borrow(config) }?.lock().engine()
}

/// The options of an object; none for NULL.
///
/// # Safety
/// As [`engine_config`].
pub(crate) unsafe fn options(config: *const se_config) -> Outcome<OptionSource> {
    if config.is_null() {
        return Ok(OptionSource::default());
    }
    // SAFETY: by the contract.
    unsafe { handle::borrow(config) }?.lock().options()
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
        refusal(settings.options().map(drop));
    }
}
