//! One schema, wherever a setting comes from: what the sample shows is what TOML, JSON, dotted keys, the environment and
//! options of objects take.

use serde_json::{Value, json};
use streamengine::testing::sample::{leaves, values, written};
use streamengine::{ConfigSource, OptionSource, PublisherConfig, RtmpUrl, StreamKey, SubscriberConfig};

/// Sections that are lists of jobs.
const LISTS: [&str; 3] = ["push", "pull", "file"];

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
            "pull" => drop(by_key.pull(url.clone().into(), stream.clone()).unwrap()),
            _ => drop(by_key.file(stream.clone(), "x".into(), None).unwrap()),
        }
    }
}

#[test]
fn every_key_of_a_publisher_and_a_subscriber_is_an_option_and_most_are_keys_of_its_app() {
    let mut app = values()["default_app"].take();
    // What players ask for in their URL.
    app["back_ms"] = json!(20_000);
    let tables = [json!(PublisherConfig::default()), json!(SubscriberConfig::default())];
    for (of, table) in tables.iter().enumerate() {
        let mut options = OptionSource::default();
        for key in table.as_object().unwrap().keys() {
            options.set(key, &written(&app[key])).unwrap();
        }
        let read = match of {
            0 => json!(options.publisher().unwrap()),
            _ => json!(options.subscriber().unwrap()),
        };
        for (key, value) in read.as_object().unwrap() {
            assert_eq!(value, &app[key], "{key}");
        }
    }
}
