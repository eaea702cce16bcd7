//! The README's Rust example, copied into a folder of its own as a reader would, compiles.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().canonicalize().unwrap()
}

/// The block of the README in a language that contains a text.
fn block(language: &str, with: &str) -> String {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let begin = format!("```{language}\n");
    let blocks = readme.split(&begin).skip(1);
    let mut blocks = blocks.map(|rest| rest.split("```").next().unwrap().to_owned());
    blocks
        .find(|block| block.contains(with))
        .unwrap_or_else(|| panic!("README.md: no {language} with {with}"))
}

#[test]
fn the_example_of_the_readme_compiles_in_a_foreign_folder() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = block("toml", "[dependencies]");
    let git = "{ git = \"https://github.com/streamengine/streamengine\" }";
    assert!(
        manifest.contains(git) && env!("CARGO_PKG_REPOSITORY") == git.split('"').nth(1).unwrap(),
        "{manifest}"
    );
    // Not from the network: from the sources under test, with the versions that they are tested with.
    let path = format!("{{ path = {:?} }}", root().join("engine"));
    fs::write(folder.path().join("Cargo.toml"), manifest.replace(git, &path)).unwrap();
    fs::copy(root().join("Cargo.lock"), folder.path().join("Cargo.lock")).unwrap();
    fs::create_dir(folder.path().join("src")).unwrap();
    fs::write(folder.path().join("src/main.rs"), block("rust", "fn main")).unwrap();
    let mut cargo = Command::new("cargo");
    cargo.args(["check", "--quiet", "--offline"]).current_dir(&folder);
    cargo.env("CARGO_TARGET_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join("readme"));
    cargo.env("RUSTFLAGS", "-Dwarnings");
    // What cargo has set for this test is not meant for another cargo.
    let own = |name: &str| ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|prefix| name.starts_with(prefix));
    for (name, _) in std::env::vars().filter(|(name, _)| own(name)) {
        cargo.env_remove(name);
    }
    let done = cargo.output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}
