//! What is told as metrics, and that it is well formed and bounded.

use super::*;
use crate::service::http::tests::{core, publish};
use crate::statistics::Facts;
use std::collections::{BTreeMap, BTreeSet};

/// The text of an engine with so many streams.
async fn told(streams: usize) -> String {
    let core = core(|_| ());
    let names: Vec<_> = (0..streams).map(|number| format!("live/s{number}")).collect();
    let _published: Vec<_> = names.iter().map(|name| publish(&core, name)).collect();
    core.statistics.note(Facts { streams: core.hub.streams(), ..Facts::default() });
    String::from_utf8(text(&core.statistics.snapshot())).unwrap()
}

fn series(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.starts_with('#')).collect()
}

/// What `promtool check metrics` finds fault with, and what the format demands.
fn faults(text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let (mut types, mut helped) = (BTreeMap::new(), BTreeSet::new());
    let (mut seen, mut family_of_last) = (BTreeSet::new(), String::new());
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap_or((rest, ""));
            if help.is_empty() || !helped.insert(name.to_owned()) {
                faults.push(format!("no help, or two: {line}"));
            }
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            if types.insert(name.to_owned(), kind.to_owned()).is_some() {
                faults.push(format!("two types: {line}"));
            }
            family_of_last = name.to_owned();
        } else if let Some((name, unit)) = line.strip_prefix("# UNIT ").and_then(|rest| rest.split_once(' '))
        {
            if !name.ends_with(&format!("_{unit}")) {
                faults.push(format!("a name without its unit: {line}"));
            }
        } else if line != "# EOF" {
            let (name, value) = line.rsplit_once(' ').unwrap_or((line, ""));
            let base = name.split('{').next().unwrap_or_default();
            let is_name = |name: &str| {
                name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
            };
            let kind = types.get(&family_of_last).map(String::as_str);
            let end = base.strip_prefix(&family_of_last);
            let fits = matches!(
                (kind, end),
                (Some("gauge"), Some("")) | (Some("counter"), Some("_total")) | (Some("info"), Some("_info"))
            );
            if !fits || !is_name(base) || !helped.contains(&family_of_last) {
                faults.push(format!("a series outside its family: {line}"));
            }
            if value.parse::<f64>().is_err() || !seen.insert(name.to_owned()) {
                faults.push(format!("no number, or twice: {line}"));
            }
            let quotes = name.matches('"').count();
            if quotes % 2 != 0 || name.contains('\\') || (name.contains('{') && !name.ends_with("\"}")) {
                faults.push(format!("labels that are not closed: {line}"));
            }
        }
    }
    if !text.ends_with("# EOF\n") || text.matches("# EOF").count() != 1 {
        faults.push("no end, or two".to_owned());
    }
    faults
}

#[tokio::test]
async fn metrics_are_as_the_format_demands_and_as_promtool_wants_them() {
    for streams in [0, 1, 3] {
        let text = told(streams).await;
        assert_eq!(faults(&text), [""; 0], "{text}");
    }
    for (broken, fault) in [
        ("# EOF\nx 1\n", "outside its family"),
        ("# HELP a A.\n# TYPE a gauge\na 1\na 1\n# EOF\n", "twice"),
        ("# HELP a A.\n# TYPE a counter\na 1\n# EOF\n", "outside its family"),
        ("# HELP a A.\n# TYPE a gauge\n# UNIT a bytes\na 1\n# EOF\n", "unit"),
        ("", "no end"),
    ] {
        assert!(faults(broken).iter().any(|found| found.contains(fault)), "{broken}: {:?}", faults(broken));
    }
}

#[tokio::test]
async fn there_are_forty_series_for_the_engine_and_thirty_for_a_stream_at_most() {
    let counts = [told(0).await, told(1).await, told(40).await].map(|text| series(&text).len());
    assert!(counts[0] <= 40, "{counts:?}");
    assert!(counts[1] - counts[0] <= 30, "{counts:?}");
    assert_eq!(counts[2] - counts[0], 40 * (counts[1] - counts[0]), "each stream has as many");
}

#[tokio::test]
async fn names_of_any_kind_are_labels_that_need_no_escape() {
    let core = core(|_| ());
    let names = ["live/b&c=(d)", "live/直播", "a/b/c+~@x"];
    let _published = names.map(|name| publish(&core, name));
    core.statistics.note(Facts { streams: core.hub.streams(), ..Facts::default() });
    let text = String::from_utf8(text(&core.statistics.snapshot())).unwrap();
    assert_eq!(faults(&text), [""; 0], "{text}");
    for name in names {
        assert!(
            text.contains(&format!("streamengine_stream_live{{stream=\"{name}\"}} 1.0\n")),
            "{name}: {text}"
        );
    }
}
