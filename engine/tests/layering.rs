//! Keeps the direction of the arrows: reads the `use` lines and paths of the crate's sources.

use std::fs;
use std::path::{Path, PathBuf};

/// Layer by first path part under `src`: a file may use its own layer's parts only as listed, and lower layers.
const RULES: &[(&str, &[&str])] = &[
    // (folder or file, what it must not name)
    (
        "proto",
        &[
            "tokio",
            "std::net",
            "std::fs",
            "std::time",
            "crate::hub",
            "crate::net",
            "crate::service",
            "crate::engine",
        ],
    ),
    (
        "media",
        &[
            "tokio",
            "std::net",
            "std::time::Instant",
            "crate::hub",
            "crate::net",
            "crate::service",
            "crate::engine",
        ],
    ),
    (
        "hub",
        &[
            "tokio::net",
            "tokio::fs",
            "tokio::io",
            "tokio::task",
            "tokio::spawn",
            "std::net",
            "std::fs",
            "crate::net",
            "crate::service",
            "crate::engine",
            "crate::proto",
        ],
    ),
    ("net", &["crate::hub", "crate::service", "crate::engine"]),
    ("service", &["tokio::net", "std::net::Tcp", "socket2", "rustls", "crate::engine", "crate::local"]),
];

/// Services that must not name each other.
const SERVICES: &[&str] = &["rtmp", "relay", "file_loop"];

/// Where file modification times are compared; the only use of wall-clock values.
const FILE_TIMES: &[&str] = &["net/tls.rs", "media/timeline.rs"];

/// What reads the wall clock.
const WALL_CLOCKS: &[&str] = &["SystemTime::now", "UNIX_EPOCH", "chrono", "OffsetDateTime", "clock_gettime"];

fn sources(under: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(under).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            found.push(path);
        }
    }
}

/// A file's lines without comments and without its unit tests.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// All files but those of tests, by name under `src`.
fn files() -> Vec<(String, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    sources(&src, &mut paths);
    let is_test = |name: &str| name.ends_with("tests.rs") || name.contains("/tests/");
    let name = |path: &Path| path.strip_prefix(&src).unwrap().to_string_lossy().replace('\\', "/");
    let files = paths.iter().map(|path| (name(path), path)).filter(|(name, _)| !is_test(name));
    files.map(|(name, path)| (name, code(path))).collect()
}

fn files_of(part: &str) -> Vec<(String, String)> {
    let belongs = |name: &str| name.starts_with(&format!("{part}/")) || name == format!("{part}.rs");
    let files: Vec<_> = files().into_iter().filter(|(name, _)| belongs(name)).collect();
    assert!(!files.is_empty(), "no sources of {part}: the rule would check nothing");
    files
}

#[test]
fn arrows_point_downward_only() {
    let mut broken = Vec::new();
    for (part, forbidden) in RULES {
        for (name, code) in files_of(part) {
            broken.extend(
                forbidden
                    .iter()
                    .filter(|path| code.contains(*path))
                    .map(|path| format!("{name} names {path}")),
            );
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn services_do_not_know_each_other() {
    let mut broken = Vec::new();
    for service in SERVICES {
        for (name, code) in files_of(&format!("service/{service}")) {
            for other in SERVICES.iter().filter(|other| *other != service) {
                if code.contains(&format!("service::{other}")) || code.contains(&format!("super::{other}")) {
                    broken.push(format!("{name} names {other}"));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn f50_deadlines_and_media_time_know_no_wall_clock() {
    let mut broken = Vec::new();
    for (name, code) in files() {
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
    sources(&crate_dir.join("src"), &mut paths);
    sources(&crate_dir.join("tests"), &mut paths);
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
        } else {
            doc.clear();
        }
    }
    assert!(count >= 20, "only {count} limits were found");
}
