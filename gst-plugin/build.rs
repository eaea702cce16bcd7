//! Tells the plugin which commit it is built from, and when: what `gst-inspect-1.0` shows.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if let Some(path) = git(&["rev-parse", "--git-path", "HEAD"]) {
        println!("cargo:rerun-if-changed={path}");
    }
    let commit = git(&["rev-parse", "--short", "HEAD"]).unwrap_or_else(|| "RELEASE".to_owned());
    let date = git(&["log", "-1", "--format=%cs"]).unwrap_or_else(|| "2025-01-01".to_owned());
    println!("cargo:rustc-env=COMMIT_ID={commit}");
    println!("cargo:rustc-env=BUILD_REL_DATE={date}");
}

/// What git says in one line; `None` outside a repository, as in a source archive.
fn git(arguments: &[&str]) -> Option<String> {
    let output =
        Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (!text.is_empty()).then_some(text)
}
