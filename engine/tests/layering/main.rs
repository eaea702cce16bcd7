//! Keeps the direction of the arrows: reads what the sources import, every file to its end.

mod sources;

use sources::{File, circles, crate_files, imports, is_module, rust_files};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The engine's floors, the highest first: a module may import from those below, not from those above and not from its
/// neighbours on the same floor. A new module gets its place here.
const FLOORS: &[&[&str]] = &[
    &["lib"],
    &["fuzzing"],
    &["engine"],
    &["preflight"],
    &["local", "service/rtmp", "service/http", "service/relay", "service/file_loop", "service/record"],
    &["service/streams", "service/jobs", "service/arrival"],
    &["service/media_gap", "service/pace"],
    &["service"],
    &["egress", "origins", "hooks", "hls", "record", "login"],
    &["hub", "net", "keys"],
    &["sessions"],
    &["events"],
    &["auth", "manage"],
    &["config", "statistics"],
    &["status", "password", "log_tail"],
    &["files"],
    &["proto"],
    &["media"],
    &["policy", "hops", "amf0", "url", "access", "adobe"],
    &["key"],
    &["log_limit", "starts"],
    &["address"],
    &["budget"],
    &["id", "limits", "assets"],
    &["error"],
    &["bound", "named", "setters"],
];

/// What a module must not name besides: (module, words).
const FOREIGN: &[(&str, &[&str])] = &[
    ("auth", &["amf0", "Amf0"]),
    ("proto", &["tokio", "std::net", "std::fs", "std::time"]),
    ("media", &["tokio", "std::net", "std::fs", "std::time::Instant"]),
    ("hub", &["tokio::net", "tokio::fs", "tokio::io", "tokio::task", "tokio::spawn", "std::net", "std::fs"]),
    ("egress", &["tokio::net", "std::net", "std::fs", "socket2", "rustls"]),
    ("service", &["tokio::net", "std::net::Tcp", "socket2", "rustls"]),
];

/// Crates whose files must not import each other in circles; parent and child modules may.
const CRATES: &[&str] = &[
    "engine",
    "engine/uring",
    "web",
    "cli",
    "ffi",
    "ffi/library",
    "gst-plugin",
    "tests",
    "bench/micro",
    "examples/auth-service",
];

/// Where file modification times are compared; the only use of wall-clock values.
const FILE_TIMES: &[&str] = &["net/tls.rs", "files.rs", "files/folder.rs"];
/// Who goes by the wall clock, as what it checks says until what date it is good.
const BY_DATE: &[&str] = &[
    "auth/signed.rs",
    "files/recording_name.rs",
    "hls/disk/leavings.rs",
    "hls/muxer.rs",
    "hls/playlist.rs",
    "hooks/caller.rs",
    "keys.rs",
    "keys/database.rs",
    "keys/decider.rs",
    "keys/watch.rs",
];

/// What reads the wall clock.
const WALL_CLOCKS: &[&str] = &["SystemTime::now", "UNIX_EPOCH", "chrono", "OffsetDateTime", "clock_gettime"];

/// The floor of a file, from above, and its module: the longest that its path begins with.
fn floor(name: &str) -> (usize, &'static str) {
    let belongs =
        |module: &str| name.strip_prefix(module).is_some_and(|rest| rest.starts_with('/') || rest == ".rs");
    let places = FLOORS
        .iter()
        .enumerate()
        .flat_map(|(floor, modules)| modules.iter().map(move |module| (floor, *module)));
    let place = places.filter(|(_, module)| belongs(module)).max_by_key(|(_, module)| module.len());
    place.unwrap_or_else(|| panic!("{name} has no place among the floors"))
}

/// Arrows that do not point downward, as file and module.
fn upward(files: &[File]) -> BTreeSet<(String, String)> {
    let mut upward = BTreeSet::new();
    for (from, targets) in imports(files) {
        let (from_floor, from_module) = floor(&from);
        for (to_floor, to_module) in targets.iter().map(|to| floor(to)) {
            if to_module != from_module && to_floor <= from_floor {
                upward.insert((from.clone(), to_module.to_owned()));
            }
        }
    }
    upward
}

#[test]
fn arrows_point_downward_only() {
    let upward = upward(&crate_files("engine"));
    assert!(upward.is_empty(), "{upward:#?}");
}

#[test]
fn an_arrow_upward_is_caught_wherever_it_is_planted() {
    for (name, planted, module) in [
        ("media/flv.rs", "use crate::proto::chunk::csid;", "proto"),
        ("hub/ring.rs", "fn planted() { crate::net::read::release(todo!()) }", "net"),
        ("service/rtmp/mod.rs", "use super::relay::Relays;", "service/relay"),
        ("key.rs", "use crate::{Error, Config as Planted};", "config"),
        ("net/mod.rs", "#[cfg(test)]\nuse crate::{error::Error, hub::{self, Hub}};", "hub"),
    ] {
        let mut files = crate_files("engine");
        let file = files.iter_mut().find(|file| file.name == name).unwrap();
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(name);
        *file = File::new(name, &format!("{}\n{planted}\n", fs::read_to_string(path).unwrap()));
        assert_eq!(upward(&files), [(name.to_owned(), module.to_owned())].into(), "{planted}");
    }
}

#[test]
fn every_file_is_read_to_its_end() {
    for folder in CRATES {
        for file in crate_files(folder) {
            let path =
                Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder).join("src").join(&file.name);
            let text = fs::read_to_string(path).unwrap();
            let marked = File::new(&file.name, &format!("{text}\nuse crate::marker_at_the_end;\n"));
            assert!(marked.code.ends_with("use crate::marker_at_the_end;\n"), "{}", file.name);
            // What is left out is comments and test modules, which stand behind the code that they test.
            let first_test = first_test_module(&text);
            let lines = text[..first_test].lines().filter(|line| {
                let line = line.trim_start();
                !line.starts_with("//") && line != "#[cfg(test)]"
            });
            lines.for_each(|line| assert!(file.code.contains(line), "{} has lost {line:?}", file.name));
        }
    }
}

/// Where a file's first test module begins.
fn first_test_module(text: &str) -> usize {
    let is_followed_by_one = |at: usize| {
        let below = text[at..].lines().skip(2).find(|line| !line.starts_with("#["));
        below.is_some_and(is_module)
    };
    let mut marks = text.match_indices("\n#[cfg(test)]\n").map(|(at, _)| at);
    marks.find(|&at| is_followed_by_one(at)).unwrap_or(text.len())
}

#[test]
fn files_import_each_other_in_no_circle() {
    for folder in CRATES {
        let circles = circles(&crate_files(folder));
        assert!(circles.is_empty(), "{folder}: {circles:#?}");
    }
}

#[test]
fn of_egress_and_net_only_forms_know_a_protocol() {
    let mut knowing = BTreeSet::new();
    for (from, targets) in imports(&crate_files("engine")) {
        if ["egress/", "net/"].iter().any(|module| from.starts_with(module))
            && targets.iter().any(|to| to.starts_with("proto/"))
        {
            knowing.insert(from);
        }
    }
    assert_eq!(knowing, ["egress/form.rs", "egress/form/rtmp.rs"].map(str::to_owned).into());
}

#[test]
fn a_circle_is_caught() {
    let mut files = crate_files("cli");
    let from = files.iter().position(|file| file.name == "output.rs").unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../cli/src/output.rs");
    let planted = format!("{}\nuse crate::serve::run;\n", fs::read_to_string(path).unwrap());
    files[from] = File::new("output.rs", &planted);
    let found = circles(&files);
    assert!(
        found.iter().any(|circle| circle.contains("output.rs") && circle.contains("serve.rs")),
        "{found:#?}"
    );
}

#[test]
fn modules_name_nothing_foreign_to_them() {
    let mut broken = Vec::new();
    for (module, words) in FOREIGN {
        let files: Vec<_> = crate_files("engine")
            .into_iter()
            .filter(|file| file.module.first().is_some_and(|first| first == module))
            .collect();
        assert!(!files.is_empty(), "no sources of {module}: the rule would check nothing");
        for file in files {
            let named = words.iter().filter(|word| file.code.contains(*word));
            broken.extend(named.map(|word| format!("{} names {word}", file.name)));
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn f50_deadlines_and_media_time_know_no_wall_clock() {
    let mut broken = Vec::new();
    let files = crate_files("engine").into_iter().filter(|file| !BY_DATE.contains(&file.name.as_str()));
    for File { name, code, .. } in files {
        let reads = WALL_CLOCKS.iter().filter(|clock| code.contains(*clock));
        broken.extend(reads.map(|clock| format!("{name} reads {clock}")));
        if code.contains("SystemTime") != FILE_TIMES.contains(&name.as_str()) {
            broken.push(format!("{name}: SystemTime where it is not expected, or not where it is"));
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn every_limit_names_a_test_that_exists() {
    let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    let limits = fs::read_to_string(crate_dir.join("src/limits.rs")).unwrap();
    let (mut all, mut paths) = (String::new(), Vec::new());
    rust_files(&crate_dir.join("src"), &mut paths);
    rust_files(&crate_dir.join("tests"), &mut paths);
    paths.iter().for_each(|path| all += &fs::read_to_string(path).unwrap());
    let (fields, _) = limits.split_once("impl Default").unwrap();
    let (mut doc, mut count) = (String::new(), 0);
    for line in fields.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("///") {
            doc += text;
        } else if let Some(field) = line.strip_prefix("pub ").filter(|line| line.ends_with(',')) {
            let test = doc.rsplit_once("(test `").and_then(|(_, rest)| rest.split_once("`)"));
            let (test, _) = test.unwrap_or_else(|| panic!("{field} names no test"));
            assert!(all.contains(&format!("fn {test}()")), "{field} {test} does not exist");
            (doc, count) = (String::new(), count + 1);
        } else if !line.starts_with("#[") {
            doc.clear();
        }
    }
    assert!(count >= 20, "only {count} limits were found");
}
