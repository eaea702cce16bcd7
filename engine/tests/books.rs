//! Keeps true what the project's books say of its sources.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Folders that hold no sources of ours.
const NOT_OURS: &[&str] = &["target", "build", "node_modules"];

/// The root of the workspace.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Adds the Rust sources under a folder, relative to the root.
fn add_sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
        if entry.file_type().unwrap().is_dir() {
            if !name.starts_with('.') && !NOT_OURS.contains(&name.as_str()) {
                add_sources(&path, found);
            }
        } else if name.ends_with(".rs") {
            found.push(path.strip_prefix(root()).unwrap().to_owned());
        }
    }
}

/// Every Rust source of the project.
fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    add_sources(&root(), &mut found);
    found
}

/// Whether a line of code uses the keyword: as a block, in front of an item, or in an attribute.
fn is_unsafe(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default().replace("\\\"", "");
    code.match_indices("unsafe").any(|(at, word)| {
        let (before, after) = (&code[..at], &code[at + word.len()..]);
        let is_word = |text: char| text.is_alphanumeric() || text == '_';
        let next = after.trim_start();
        let is_text = before.matches('"').count() % 2 == 1;
        !is_text
            && !before.ends_with(is_word)
            && !after.starts_with(is_word)
            && (next.is_empty()
                || ["{", "(", "fn ", "impl", "extern", "trait "].iter().any(|t| next.starts_with(t)))
    })
}

/// The folders and files where CONTRIBUTING.md says that unsafe code is.
fn named_places() -> BTreeSet<PathBuf> {
    let text = fs::read_to_string(root().join("CONTRIBUTING.md")).unwrap();
    let (_, rest) = text.split_once("**Unsafe code** is in ").unwrap();
    let (places, _) = rest.split_once("only;").unwrap();
    places.split('`').skip(1).step_by(2).map(PathBuf::from).collect()
}

#[test]
fn unsafe_code_is_only_where_contributing_says() {
    let named = named_places();
    let sources = sources();
    for file in [
        "engine/src/lib.rs",
        "engine/uring/src/lib.rs",
        "ffi/src/lib.rs",
        "web/src/lib.rs",
        "cli/src/main.rs",
        "tests/src/lib.rs",
    ] {
        assert!(sources.contains(&PathBuf::from(file)), "{file} is not read");
    }
    let mut used = BTreeSet::new();
    for source in &sources {
        let text = fs::read_to_string(root().join(source)).unwrap();
        let Some(at) = text.lines().position(is_unsafe) else { continue };
        match named.iter().find(|place| source.starts_with(place)) {
            Some(place) => drop(used.insert(place.clone())),
            None => {
                panic!("{}:{}: unsafe code, of which CONTRIBUTING.md does not know", source.display(), at + 1)
            }
        }
    }
    assert_eq!(used, named, "left: where unsafe code is; right: where CONTRIBUTING.md says that it is");
}

#[test]
fn unsafe_code_is_told_from_words_about_it() {
    for code in [
        "unsafe { f() }",
        "    let x = unsafe {",
        "pub unsafe extern \"C\" fn f() {",
        "unsafe impl Send for X {}",
        "#[unsafe(no_mangle)]",
        "unsafe fn f() {}",
        "let x = unsafe",
    ] {
        assert!(is_unsafe(code), "{code}");
    }
    for other in [
        "#![forbid(unsafe_code)]",
        "// unsafe { f() }",
        "/// unsafe",
        "let is_unsafe = f(unsafe_block);",
        "f(\"unsafe { f() }\")",
    ] {
        assert!(!is_unsafe(other), "{other}");
    }
}

/// The rows of the tables in ARCHITECTURE.md that name places: the folder that they are in, and the place.
fn places() -> Vec<(String, String)> {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let mut folder = None;
    let mut places = Vec::new();
    for line in text.lines() {
        let first = line.strip_prefix("| ").and_then(|row| row.split(" | ").next());
        match first {
            Some(head) if head.starts_with("place in ") => folder = head.split('`').nth(1).map(str::to_owned),
            Some(cell) => {
                let named = cell.split('`').skip(1).step_by(2).map(str::to_owned);
                places.extend(
                    folder.iter().flat_map(|folder| named.clone().map(|place| (folder.clone(), place))),
                );
            }
            None => folder = folder.filter(|_| line.starts_with('|')),
        }
    }
    places
}

#[test]
fn every_place_that_the_architecture_names_is_there_and_none_of_the_engine_is_left_out() {
    let places = places();
    for (folder, place) in &places {
        let path = root().join(folder).join(place);
        assert!(path.exists() || path.with_extension("rs").exists(), "{folder}/{place} does not exist");
    }
    let named: BTreeSet<_> =
        places.iter().filter(|(folder, _)| folder == "engine/src").map(|(_, place)| place.as_str()).collect();
    for entry in fs::read_dir(root().join("engine/src")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let is_named = named.iter().any(|place| place.split('/').next() == Some(&name));
        assert!(is_named || name == "lib.rs", "ARCHITECTURE.md does not know engine/src/{name}");
    }
}
