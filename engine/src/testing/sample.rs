//! The sample configuration as a list of settings: what it shows, every way into the engine has to take.

use crate::config::Config;
use serde_json::Value;

/// The sample with all its settings taken up, but for those that this build knows nothing of.
pub fn sample() -> Config {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/streamengine.toml");
    let text = std::fs::read_to_string(path).unwrap();
    let settings = |line: &str| match line.strip_prefix('#') {
        Some(setting) if !setting.starts_with(' ') => setting.to_owned(),
        _ => line.to_owned(),
    };
    let mut settings: toml::Table =
        text.lines().map(settings).collect::<Vec<_>>().join("\n").parse().unwrap();
    if cfg!(not(feature = "keys")) {
        settings.remove("keys");
    }
    if cfg!(not(feature = "http")) {
        settings.remove("hooks");
    }
    Config::from_toml(&settings.to_string()).unwrap()
}

/// The effective values with URLs that can be read back.
pub fn values() -> Value {
    let mut values = sample().to_json();
    for list in ["push", "destination", "pull"] {
        values[list][0]["url"] = "rtmp://h/a/b".into();
    }
    values["origins"]["a"]["urls"] = serde_json::json!(["rtmp://h:1935"]);
    values
}

/// Keys and values of a table, those of tables in it under dotted keys.
pub fn leaves(prefix: &str, table: &Value) -> Vec<(String, Value)> {
    let entries = table.as_object().unwrap().iter().filter(|(_, value)| !value.is_null());
    entries
        .flat_map(|(key, value)| {
            let key = format!("{prefix}{key}");
            if value.is_object() { leaves(&format!("{key}."), value) } else { vec![(key, value.clone())] }
        })
        .collect()
}

/// A value as an option of a command line or the environment has it.
pub fn written(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
