//! What packages are made of: manual pages, completions, the systemd unit, the Debian package, the container's recipe.
#![cfg(target_os = "linux")]

#[allow(dead_code, reason = "made for several")]
mod process;

use process::COMMANDS;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The program that writes pages, built as packages do: `examples/pages`.
fn pages_program() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
        let mut cargo = Command::new("cargo");
        cargo.args(["build", "--quiet", "--locked", "-p", "streamengine-cli", "--example", "pages"]);
        cargo.arg("--target-dir").arg(target).current_dir(root());
        // What cargo has set for this test is not meant for another cargo.
        let own =
            |name: &str| ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|prefix| name.starts_with(prefix));
        for (name, _) in std::env::vars().filter(|(name, _)| own(name)) {
            cargo.env_remove(name);
        }
        succeed(&mut cargo);
        target.join("debug/examples/pages")
    })
}

fn succeed(command: &mut Command) -> String {
    let done = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(done.status.success(), "{command:?}\n{}\n{}", text(&done.stdout), text(&done.stderr));
    text(&done.stdout)
}

/// Whether a program is there; else a line that says what is left out.
fn has(test: &str, program: &str) -> bool {
    let is_there = Command::new(program).arg("--version").output().is_ok();
    if !is_there {
        eprintln!("SKIP {test}: {program} is not installed");
    }
    is_there
}

#[test]
fn manual_pages_and_completions_know_every_command() {
    let folder = tempfile::tempdir().unwrap();
    succeed(Command::new(pages_program()).arg(folder.path()));
    let of = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    let main = of("streamengine.1");
    for command in COMMANDS {
        assert!(main.contains(&command.replace('-', "\\-")), "streamengine.1: no {command}");
        assert!(of(&format!("streamengine-{command}.1")).contains(".SH OPTIONS"), "{command}");
        for completions in ["streamengine.bash", "_streamengine", "streamengine.fish"] {
            assert!(of(completions).contains(command), "{completions}: no {command}");
        }
    }
    assert!(of("streamengine.bash").contains("--publish-key"));
    if has("manual_pages_and_completions_know_every_command", "bash") {
        succeed(Command::new("bash").args(["-n"]).arg(folder.path().join("streamengine.bash")));
    }
}

#[test]
fn the_debian_package_holds_command_pages_unit_and_configuration() {
    if !has("the_debian_package_holds_command_pages_unit_and_configuration", "dpkg-deb") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut make = Command::new(root().join("packaging/deb"));
    make.arg(folder.path()).env("PAGES", pages_program()).env("BINARY", env!("CARGO_BIN_EXE_streamengine"));
    succeed(&mut make);
    let made = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    let name = made.file_name().unwrap().to_str().unwrap();
    assert!(name.starts_with(concat!("streamengine_", env!("CARGO_PKG_VERSION"), "_")), "{name}");
    let list = succeed(Command::new("dpkg-deb").arg("-c").arg(&made));
    for (file, mode) in [
        ("./usr/bin/streamengine", "-rwxr-xr-x"),
        ("./usr/lib/systemd/system/streamengine.service", "-rw-r--r--"),
        ("./etc/streamengine/streamengine.toml", "-rw-r--r--"),
        ("./usr/share/man/man1/streamengine.1.gz", "-rw-r--r--"),
        ("./usr/share/man/man1/streamengine-serve.1.gz", "-rw-r--r--"),
        ("./usr/share/bash-completion/completions/streamengine", "-rw-r--r--"),
        ("./usr/share/zsh/vendor-completions/_streamengine", "-rw-r--r--"),
        ("./usr/share/fish/vendor_completions.d/streamengine.fish", "-rw-r--r--"),
        ("./usr/share/doc/streamengine/copyright", "-rw-r--r--"),
    ] {
        let line =
            list.lines().find(|line| line.ends_with(file)).unwrap_or_else(|| panic!("no {file}:\n{list}"));
        assert!(line.starts_with(mode) && line.contains(" root/root "), "{line}");
    }
    let control = succeed(Command::new("dpkg-deb").arg("-f").arg(&made));
    assert!(control.contains("Depends: libc6") && control.contains("Package: streamengine\n"), "{control}");
    let root = folder.path().join("unpacked");
    succeed(Command::new("dpkg-deb").arg("-x").arg(&made).arg(&root));
    let version = succeed(Command::new(root.join("usr/bin/streamengine")).arg("--version"));
    assert_eq!(version.trim(), concat!("streamengine ", env!("CARGO_PKG_VERSION")));
    let config = root.join("etc/streamengine/streamengine.toml");
    succeed(Command::new(root.join("usr/bin/streamengine")).arg("check-config").arg(config));
}

#[test]
fn the_unit_starts_what_the_package_installs() {
    let unit = read("packaging/streamengine.service");
    let start = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    assert_eq!(start, "/usr/bin/streamengine serve --config /etc/streamengine/streamengine.toml");
    if !has("the_unit_starts_what_the_package_installs", "systemd-analyze") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("streamengine.service");
    std::fs::write(&path, unit.replace("/usr/bin/streamengine", env!("CARGO_BIN_EXE_streamengine"))).unwrap();
    let verify = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&path).output().unwrap();
    let said = String::from_utf8_lossy(&verify.stderr).into_owned();
    let of_ours: Vec<_> = said.lines().filter(|line| line.contains("streamengine.service")).collect();
    assert!(of_ours.is_empty(), "{said}");
}

#[test]
fn the_container_copies_what_there_is_runs_without_root_and_is_watched() {
    let recipe = read("packaging/Dockerfile");
    let has_line = |begin: &str| recipe.lines().any(|line| line.starts_with(begin));
    for begin in [
        "FROM rust:",
        "FROM debian:",
        "USER streamengine",
        "HEALTHCHECK ",
        "STOPSIGNAL SIGTERM",
        "EXPOSE 1935",
    ] {
        assert!(has_line(begin), "{begin}");
    }
    assert!(recipe.contains("cargo build --profile dist --locked -p streamengine-cli"));
    for file in ["LICENSE-MIT", "LICENSE-APACHE"] {
        assert!(recipe.contains(&format!("/source/{file}")) && root().join(file).exists(), "{file}");
    }
    // What the build needs is not left out.
    let left_out = read(".dockerignore");
    for needed in ["cli", "engine", "examples", "Cargo.lock", "Cargo.toml"] {
        assert!(!left_out.lines().any(|line| line.trim_start_matches('/') == needed), "{needed}");
    }
}
