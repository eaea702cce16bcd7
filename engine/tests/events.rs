//! Keeps docs/events.md what the sources say: names, meanings and keys of all events, with a sample of each.

use serde_json::{Map, Value};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use streamengine::testing;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// A field or variant with its documentation: the name in JSON, and what it is.
struct Item {
    name: String,
    doc: String,
}

/// What stands above an item: its documentation, and the name that `serde` gives it.
#[derive(Default)]
struct Above {
    doc: Vec<String>,
    renamed: Option<String>,
}

impl Above {
    /// Takes a line in; false where it is the item itself.
    fn take(&mut self, line: &str) -> bool {
        if let Some(doc) = line.strip_prefix("///") {
            self.doc.push(doc.trim().to_owned());
        } else if line.starts_with("#[") {
            let renamed = line.split_once("rename = \"").and_then(|(_, rest)| rest.split_once('"'));
            self.renamed = renamed.map(|(name, _)| name.to_owned()).or(self.renamed.take());
        } else {
            return false;
        }
        true
    }

    fn item(self, name: &str) -> Item {
        Item { name: self.renamed.unwrap_or_else(|| name.to_owned()), doc: plain(&self.doc.join(" ")) }
    }

    /// The same for a field `name: Type,`.
    fn field(self, line: &str) -> Item {
        let (name, kind) = line.split_once(':').unwrap_or_else(|| panic!("{line}"));
        let mut item = self.item(name);
        item.doc = item.doc.replace("`None`", "`null`");
        if kind.contains("Option<") && !item.doc.contains("`null`") {
            item.doc += " May be `null`.";
        }
        item
    }
}

/// Documentation without the targets of its links.
fn plain(doc: &str) -> String {
    let mut text = String::new();
    let mut rest = doc;
    while let Some((before, after)) = rest.split_once("[`") {
        let (name, after) = after.split_once("`]").unwrap();
        let after = match after.strip_prefix('(') {
            Some(target) => target.split_once(')').unwrap().1,
            None => after,
        };
        let _ = write!(text, "{before}`{name}`");
        rest = after;
    }
    text + rest
}

/// The lines between the braces of an item of a file.
fn body<'a>(source: &'a str, item: &str) -> impl Iterator<Item = &'a str> {
    let (_, after) = source.split_once(item).unwrap_or_else(|| panic!("{item} is not there"));
    after.lines().skip(1).take_while(|line| *line != "}").map(str::trim)
}

/// The fields of a structure.
fn fields(source: &str, structure: &str) -> Vec<Item> {
    let mut found = Vec::new();
    let mut above = Above::default();
    for line in body(source, &format!("pub struct {structure} {{")) {
        if !above.take(line) {
            found.push(std::mem::take(&mut above).field(line.strip_prefix("pub ").unwrap()));
        }
    }
    found
}

/// The events of `events.rs`, in its order, with their fields.
fn documented() -> Vec<(Item, Vec<Item>)> {
    let read = |file: &str| fs::read_to_string(root().join("engine/src").join(file)).unwrap();
    let (events, status) = (read("events.rs"), read("status.rs"));
    let mut found: Vec<(Item, Vec<Item>)> = Vec::new();
    let mut above = Above::default();
    for line in body(&events, "pub enum Event {") {
        if above.take(line) || line == "}," {
            continue;
        }
        let item = |above: &mut Above, name: &str| std::mem::take(above).item(name);
        if let Some(variant) = line.strip_suffix(" {") {
            found.push((item(&mut above, variant), Vec::new()));
        } else if let Some((variant, of)) = line.strip_suffix("),").and_then(|line| line.split_once('(')) {
            found.push((item(&mut above, variant), fields(&status, of)));
        } else {
            found.last_mut().unwrap().1.push(std::mem::take(&mut above).field(line));
        }
    }
    found
}

/// `StreamStarted` as JSON names it.
fn kebab(name: &str) -> String {
    let mut text = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !text.is_empty() {
            text.push('-');
        }
        text.extend(c.to_lowercase());
    }
    text
}

const INTRODUCTION: &str = "\
# Events

What happens in an engine, as JSON: each is one object, and its `event` names it. They are the same everywhere:

- `streamengine ... --json` prints one a line on stdout, behind the line `ready`; with two servers (`demo`) each has a `server`, 1 or 2;
- Rust: `Engine::events` and `on_event` give `Event`, which serializes so;
- HTTP: `/api/v1/events` sends them as they happen ([api.md](api.md));
- C: `se_event.json`, with `time_us` (microseconds since 1970) besides; C++ and Python: `json` of an event;
- GStreamer: the signals of [rtmpserversrc and rtmprelaysink](gstreamer.md) that tell of the same have the same names.

New events and new keys may be added: ignore what you do not know.
Names that peers have given are cleaned of control characters, and secrets are masked.

`ready` comes first, from the command line only: `{\"event\":\"ready\",\"rtmp\":[\"127.0.0.1:1935\"],\"rtmps\":[],\"http\":[],\"https\":[],\"pid\":4711}`, with the addresses really bound,
and `streams` where the command has streams of its own (`demo`, `loop --local`).

<!-- This file is written by engine/tests/events.rs from the sources: UPDATE_EVENTS=1 cargo test -p streamengine --test events -->
";

fn book() -> String {
    let samples = testing::events();
    let mut text = INTRODUCTION.to_owned();
    for (event, fields) in documented() {
        let name = kebab(&event.name);
        let sample = samples.iter().find(|sample| sample.name() == name);
        let sample = sample.unwrap_or_else(|| panic!("{name}: no sample in testing.rs"));
        let json = serde_json::to_string(sample).unwrap();
        let keys: Map<String, Value> = serde_json::from_str(&json).unwrap();
        let _ = write!(text, "\n## `{name}`\n\n{}\n\n| key | is |\n| --- | --- |\n", event.doc);
        for field in &fields {
            assert!(keys.contains_key(&field.name), "{name}: no key {} in {json}", field.name);
            let _ = writeln!(text, "| `{}` | {} |", field.name, field.doc);
        }
        assert_eq!(keys.len(), fields.len() + 1, "{name}: keys without documentation in {json}");
        let _ = write!(text, "\n```json\n{json}\n```\n");
    }
    text
}

#[test]
fn the_reference_of_events_is_what_the_sources_say() {
    let (path, text) = (root().join("docs/events.md"), book());
    if std::env::var_os("UPDATE_EVENTS").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let there = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        there == text,
        "docs/events.md is out of date: UPDATE_EVENTS=1 cargo test -p streamengine --test events"
    );
    assert_eq!(there.matches("\n## `").count(), testing::events().len());
}
