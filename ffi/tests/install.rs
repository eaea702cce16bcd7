//! Installed into a folder of its own, by meson and by the recipe without it, the library serves programs that are compiled
//! through pkg-config, with the shared library and with the static one.
#![cfg(target_os = "linux")]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use streamengine_tests::{demo_clip, needs};

/// The first block of commands with that word in it.
fn recipe_of(book: &str, word: &str) -> String {
    let text = std::fs::read_to_string(support::root().join(book)).unwrap();
    text.split("```sh\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap_or_default())
        .find(|block| block.contains(word))
        .unwrap_or_else(|| panic!("{book}: no recipe with {word}"))
        .to_owned()
}

fn recipe_with(word: &str) -> String {
    recipe_of("docs/embedding-c.md", word)
}

/// Where a prefix has its `.pc` file.
fn pkg_config_path(prefix: &Path) -> PathBuf {
    let found = Command::new("find").arg(prefix).args(["-name", "streamengine.pc"]).output().unwrap();
    let file = PathBuf::from(String::from_utf8(found.stdout).unwrap().trim());
    assert!(file.is_file(), "no streamengine.pc in {}", prefix.display());
    file.parent().unwrap().to_owned()
}

/// Compiles a program by a line of the book, and runs it; `ldd` tells whether it needs the shared library.
fn compile_and_run(prefix: &Path, line: &str, is_static: bool) {
    let folder = tempfile::tempdir().unwrap();
    for name in ["all.c", "check.h"] {
        std::fs::copy(support::root().join("ffi/tests/c").join(name), folder.path().join(name)).unwrap();
    }
    let pkg_config = pkg_config_path(prefix);
    let line = line.replace("app.c", "-std=c99 -pthread all.c");
    let mut shell = Command::new("sh");
    support::succeed(shell.args(["-ec", &line]).current_dir(&folder).env("PKG_CONFIG_PATH", &pkg_config));
    let libraries = pkg_config.parent().unwrap();
    let program = folder.path().join("app");
    let needed = support::succeed(Command::new("ldd").arg(&program).env("LD_LIBRARY_PATH", libraries));
    assert_eq!(
        needed.contains(&format!("{}/libstreamengine.so.0", libraries.display())),
        !is_static,
        "{needed}"
    );
    let output = support::run(Command::new(&program).arg(demo_clip()).env("LD_LIBRARY_PATH", libraries));
    assert!(output.contains("all done"), "{output}");
}

fn works(prefix: &Path) {
    compile_and_run(prefix, &recipe_with("pkg-config --cflags"), false);
    compile_and_run(prefix, &recipe_with("pkg-config --static"), true);
    let python = support::root().join("examples/python/streamengine.py");
    let library = pkg_config_path(prefix).with_file_name("libstreamengine.so.0");
    let mut command = Command::new("python3");
    command.args(["-B", "-c", "import streamengine; print(streamengine.version())"]);
    command.env("PYTHONPATH", python.parent().unwrap()).env("STREAMENGINE_LIBRARY", library);
    assert_eq!(support::succeed(&mut command).trim(), env!("CARGO_PKG_VERSION"));
}

/// A command that runs cargo as a user would, but cheaply. These tests share a target folder of their own: they must not
/// write the libraries that others just use.
fn user_command(program: &str, arguments: &[&str]) -> Command {
    let mut command = support::cargo_command(program);
    command.args(arguments).env("CARGO_TARGET_DIR", target());
    command.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0").env("CARGO_PROFILE_DIST_OPT_LEVEL", "0");
    command
}

fn target() -> PathBuf {
    support::work_dir().join("target")
}

#[test]
fn the_recipe_without_meson_installs_what_programs_need() {
    needs!("cc", "pkg-config", "python3", "ar");
    let prefix = tempfile::tempdir().unwrap();
    let built = target().join("dist");
    let build = recipe_with("-p libstreamengine");
    support::succeed(&mut user_command("sh", &["-euc", &build]));
    let members = support::succeed(Command::new("ar").arg("t").arg(built.join("libstreamengine.a")));
    assert!(members.contains("\nstreamengine.tokio-"), "not optimised as a whole:\n{members}");
    let install = format!("DESTDIR=; {}", recipe_with("install -D"));
    let mut shell = user_command("sh", &["-euc", &install]);
    support::succeed(shell.env("prefix", prefix.path()).env("built", &built));
    works(prefix.path());
}

#[test]
fn the_recipe_of_the_readme_makes_a_program_that_needs_no_library_at_run_time() {
    needs!("cc");
    let folder = tempfile::tempdir().unwrap();
    let app = folder.path().join("app");
    let source = support::root().join("ffi/tests/c/all.c");
    let recipe = recipe_of("README.md", "libstreamengine.a")
        .replace("target/dist", target().join("dist").to_str().unwrap())
        .replace("app.c -o app", &format!("-std=c99 {} -o {}", source.display(), app.display()));
    support::succeed(&mut user_command("sh", &["-euc", &recipe]));
    let needed = support::succeed(Command::new("ldd").arg(&app));
    assert!(!needed.contains("streamengine"), "{needed}");
    let output = support::run(Command::new(&app).arg(demo_clip()));
    assert!(output.contains("all done"), "{output}");
}

/// Whether this Python can make environments of its own; else a line that says why not.
fn has_venv(test: &str) -> bool {
    let there = Command::new("python3").args(["-c", "import ensurepip, venv"]).output();
    let there = there.is_ok_and(|done| done.status.success());
    if !there {
        eprintln!("SKIP {test}: python3 has no venv (python3-venv)");
    }
    there
}

#[test]
fn the_wheel_is_all_that_a_fresh_python_needs() {
    needs!("cc", "python3");
    if !has_venv("the_wheel_is_all_that_a_fresh_python_needs") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut make = support::cargo_command("build-aux/wheel.py");
    make.arg("--out").arg(folder.path()).arg("--library").arg(support::shared_library());
    let said = support::succeed(&mut make);
    let wheel = Path::new(said.trim());
    let name =
        format!("streamengine-{}-py3-none-linux_{}.whl", env!("CARGO_PKG_VERSION"), std::env::consts::ARCH);
    assert_eq!(wheel.file_name().unwrap().to_str(), Some(name.as_str()));
    let environment = folder.path().join("venv");
    support::succeed(Command::new("python3").args(["-m", "venv"]).arg(&environment));
    let python = environment.join("bin/python");
    let mut install = Command::new(&python);
    install.args(["-m", "pip", "--disable-pip-version-check", "install", "--no-index", "--no-deps"]);
    support::succeed(install.arg(wheel));
    let program = "import streamengine\n\
        with streamengine.Engine() as engine:\n\
        \x20   print(engine.listen_rtmp('127.0.0.1:0').port > 0, streamengine.__file__)";
    let mut run = Command::new(&python);
    run.args(["-I", "-W", "error", "-c", program]).env_remove("STREAMENGINE_LIBRARY").current_dir(&folder);
    let said = support::succeed(&mut run);
    assert!(said.starts_with("True ") && said.contains("/venv/"), "{said}");
    // The examples have the module beside them, and no library.
    let mut example = Command::new(&python);
    example.arg(support::root().join("examples/python/publish.py")).env("PYTHONDONTWRITEBYTECODE", "1");
    let said = example.env_remove("STREAMENGINE_LIBRARY").current_dir(&folder).output().unwrap();
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.contains("usage: "), "it has got as far as its arguments: {said}");
    // As complete as its own list says.
    let mut check = Command::new(&python);
    support::succeed(check.args(["-m", "pip", "--disable-pip-version-check", "check"]));
}

#[test]
fn meson_builds_tests_and_installs_what_programs_need() {
    needs!("cc", "pkg-config", "python3", "meson", "ninja");
    let (build, prefix) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let meson = |arguments: &[&str]| support::succeed(&mut user_command("meson", arguments));
    let (folder, to) = (build.path().to_str().unwrap(), prefix.path().to_str().unwrap());
    meson(&["setup", folder, "--prefix", to, "--werror", "-Dgst_plugin=disabled"]);
    meson(&["compile", "-C", folder]);
    let again = support::succeed(Command::new("ninja").args(["-C", folder, "-n"]));
    assert!(again.contains("no work to do"), "{again}");
    meson(&["test", "-C", folder, "--print-errorlogs"]);
    meson(&["install", "-C", folder]);
    works(prefix.path());
    let said = support::succeed(Command::new(prefix.path().join("bin/streamengine")).arg("--version"));
    assert_eq!(said.trim(), concat!("streamengine ", env!("CARGO_PKG_VERSION")));
}

#[test]
fn meson_builds_what_its_build_type_says() {
    needs!("cc", "python3", "meson", "ninja");
    for (build_type, profile) in [("debug", "dev"), ("debugoptimized", "release"), ("release", "dist")] {
        let build = tempfile::tempdir().unwrap();
        let folder = build.path().to_str().unwrap();
        support::succeed(&mut user_command("meson", &["setup", folder, "--buildtype", build_type]));
        let commands = support::succeed(Command::new("ninja").args(["-C", folder, "-t", "commands"]));
        let counted = commands.matches("--profile ").count();
        assert!(
            counted > 1 && commands.matches(&format!("--profile {profile} ")).count() == counted,
            "{commands}"
        );
    }
}

#[test]
fn meson_leaves_http_out_of_the_library_if_told_to() {
    needs!("cc", "python3", "meson", "ninja");
    for (option, leaves_out) in [("-Dhttp=true", 0), ("-Dhttp=false", 1)] {
        let build = tempfile::tempdir().unwrap();
        let folder = build.path().to_str().unwrap();
        support::succeed(&mut user_command("meson", &["setup", folder, option]));
        let commands = support::succeed(Command::new("ninja").args(["-C", folder, "-t", "commands"]));
        let of_library = commands.lines().filter(|line| line.contains("--package libstreamengine"));
        let without = of_library.filter(|line| line.contains("--no-default-features")).count();
        assert_eq!(without, leaves_out, "{commands}");
        assert_eq!(commands.matches("--no-default-features").count(), leaves_out, "of the library only");
    }
}

#[test]
fn meson_builds_from_the_crates_that_are_there_if_told_to_stay_offline() {
    needs!("cc", "python3", "meson", "ninja");
    let (build, nothing) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let folder = build.path().to_str().unwrap();
    let options = [
        "-Dcargo_offline=true",
        "-Dgst_plugin=disabled",
        "-Dcommand=false",
        "-Dexamples=false",
        "-Dtests=false",
    ];
    support::succeed(&mut user_command("meson", &[&["setup", folder], &options[..]].concat()));
    // Where there are no crates it must not fetch any, though it could.
    let mut compile = user_command("meson", &["compile", "-C", folder]);
    let refused = compile.env("CARGO_HOME", nothing.path()).output().unwrap();
    let said =
        [refused.stdout, refused.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(!refused.status.success() && said.contains("using offline mode"), "{said}");
    assert!(!build.path().join("libstreamengine.a").exists(), "{said}");
    support::succeed(&mut user_command("meson", &["compile", "-C", folder]));
    assert!(build.path().join("libstreamengine.a").exists());
}

#[test]
fn every_recipe_is_of_this_version_and_these_libraries() {
    let text = |path: &str| std::fs::read_to_string(support::root().join(path)).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    let meson = text("meson.build");
    assert!(meson.contains(&format!("version: '{version}'")));
    let named = meson.split_once("private_libraries = [").unwrap().1.split_once(']').unwrap().0;
    let named: Vec<_> = named.split(", ").map(|name| name.trim_matches('\'')).collect();
    assert_eq!(named.join(" "), support::STATIC_LIBS);
    assert!(text("ffi/streamengine.pc.in").contains(&format!("Libs.private: {}\n", support::STATIC_LIBS)));
    let recipe = recipe_with("install -D");
    assert!(recipe.contains(&format!("libstreamengine.so.{version}\"\n")), "{recipe}");
    assert!(recipe.contains(&format!("s|@version@|{version}|")), "{recipe}");
}
