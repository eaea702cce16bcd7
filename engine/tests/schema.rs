//! One schema, wherever a setting comes from: what the sample shows is what TOML, JSON, dotted keys, the environment and
//! options of objects take.

use serde_json::{Value, json};
use streamengine::{Config, ConfigSource, OptionSource, RtmpUrl, StreamKey};

/// Sections that are lists of jobs.
const LISTS: [&str; 3] = ["push", "pull", "file"];

/// The sample with all its settings taken up.
fn sample() -> Config {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/streamengine.toml");
    let text = std::fs::read_to_string(path).unwrap();
    let settings = |line: &str| match line.strip_prefix('#') {
        Some(setting) if !setting.starts_with(' ') => setting.to_owned(),
        _ => line.to_owned(),
    };
    Config::from_toml(&text.lines().map(settings).collect::<Vec<_>>().join("\n")).unwrap()
}

/// The effective values with URLs that can be read back.
fn values() -> Value {
    let mut values = sample().to_json();
    for list in ["push", "pull"] {
        values[list][0]["url"] = "rtmp://h/a/b".into();
    }
    values
}

/// Keys and values of a table, those of tables in it under dotted keys.
fn leaves(prefix: &str, table: &Value) -> Vec<(String, Value)> {
    let entries = table.as_object().unwrap().iter().filter(|(_, value)| !value.is_null());
    entries
        .flat_map(|(key, value)| {
            let key = format!("{prefix}{key}");
            if value.is_object() { leaves(&format!("{key}."), value) } else { vec![(key, value.clone())] }
        })
        .collect()
}

/// A value as an option of a command line or the environment has it.
fn written(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn nested(key: &str, value: &Value) -> Value {
    key.rsplit('.').fold(value.clone(), |inner, part| json!({ part: inner }))
}

#[test]
fn the_sample_shows_every_key() {
    fn missing(path: &str, value: &Value) -> Vec<String> {
        match value {
            Value::Null => vec![path.to_owned()],
            Value::Object(table) => {
                table.iter().flat_map(|(key, value)| missing(&format!("{path}.{key}"), value)).collect()
            }
            Value::Array(items) => items.iter().flat_map(|item| missing(path, item)).collect(),
            _ => Vec::new(),
        }
    }
    let mut values = values();
    // What is shown of an app is shown of the default app.
    values["apps"] = json!({});
    assert_eq!(missing("", &values), [""; 0]);
}

#[test]
fn every_key_is_taken_from_json_by_dotted_key_and_from_the_environment() {
    let leaves = leaves("", &values());
    assert!(leaves.len() > 50, "{leaves:?}");
    for (key, value) in &leaves {
        let mut source = ConfigSource::default();
        source.merge_json(&nested(key, value).to_string()).unwrap();
        source.set(key, &written(value)).unwrap();
        let variable = format!("STREAMENGINE_{}", key.to_ascii_uppercase().replace('.', "__"));
        let mut environment = ConfigSource::default();
        environment.apply_env([(variable, written(value))].into_iter()).unwrap();
        assert_eq!(environment.names().count(), 1, "{key}");
    }
}

#[test]
fn every_key_of_a_push_a_pull_and_a_file_is_an_option() {
    let (stream, url): (StreamKey, RtmpUrl) = ("a/b".parse().unwrap(), "rtmp://h/a/b".parse().unwrap());
    for list in LISTS {
        let (mut by_key, mut by_json) = (OptionSource::default(), OptionSource::default());
        for (key, value) in leaves("", &values()[list][0]) {
            if key != "stream" && key != "url" {
                by_key.set(&key, &written(&value)).unwrap();
                by_json.merge_json(&nested(&key, &value).to_string()).unwrap();
            }
        }
        assert_eq!(by_key.to_json(), by_json.to_json());
        match list {
            "push" => drop(by_key.push(stream.clone(), url.clone()).unwrap()),
            "pull" => drop(by_key.pull(url.clone(), stream.clone()).unwrap()),
            _ => drop(by_key.file(stream.clone(), "x".into(), None).unwrap()),
        }
    }
}
