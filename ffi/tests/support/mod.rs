//! What the tests of the C library share: the library as cargo has built it, the header, a C compiler.
#![allow(dead_code)] // Each test program uses some of it.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// Longest that a program may run.
const TIMEOUT: Duration = Duration::from_secs(120);

/// The libraries that a program needs besides `libstreamengine.a`, as in the `.pc` file.
pub(crate) const STATIC_LIBS: &str = "-lgcc_s -lutil -lrt -lpthread -lm -ldl -lc";

pub(crate) const STRICT: &[&str] = &["-pedantic", "-Wall", "-Wextra", "-Werror"];

pub(crate) const SANITIZERS: [&str; 2] = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"];

pub(crate) fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

pub(crate) fn header() -> String {
    std::fs::read_to_string(root().join("include/streamengine.h")).unwrap()
}

/// Where cargo puts the libraries of these sources. Cargo does not build them with the tests, which are linked to the
/// functions themselves: so they are built here, once, as users build them.
fn built() -> &'static Path {
    static BUILT: LazyLock<PathBuf> = LazyLock::new(|| {
        let release = !cfg!(debug_assertions);
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
        let mut command = cargo_command("cargo");
        command.args(["build", "--locked", "-p", "libstreamengine"]);
        command.args(release.then_some("--release")).arg("--target-dir").arg(target);
        succeed(&mut command);
        target.join(if release { "release" } else { "debug" })
    });
    &BUILT
}

/// A program that may run cargo on the workspace: what cargo has set for these tests is not meant for
/// another cargo, which would build anew what reads it.
pub(crate) fn cargo_command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root());
    for (name, _) in std::env::vars()
        .filter(|(name, _)| ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|prefix| name.starts_with(prefix)))
    {
        command.env_remove(name);
    }
    command
}

pub(crate) fn shared_library() -> PathBuf {
    built().join("libstreamengine.so")
}

pub(crate) fn static_library() -> PathBuf {
    built().join("libstreamengine.a")
}

/// A folder of this test program's own.
pub(crate) fn work_dir() -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(env!("CARGO_CRATE_NAME"));
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

/// A folder with the names that programs link to and load: `libstreamengine.so` and its SONAME.
pub(crate) fn library_dir() -> PathBuf {
    let dir = work_dir().join("lib");
    std::fs::create_dir_all(&dir).unwrap();
    for name in ["libstreamengine.so", concat!("libstreamengine.so.", env!("CARGO_PKG_VERSION_MAJOR"))] {
        match std::os::unix::fs::symlink(shared_library(), dir.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => panic!("{name}: {error}"),
            _ => {}
        }
    }
    dir
}

/// The compiler of a language, `None` (with a line about it) where there is none.
pub(crate) fn compiler(variable: &str, default: &str) -> Option<OsString> {
    let compiler = std::env::var_os(variable).unwrap_or_else(|| default.into());
    // One that is asked for and missing is an error; the usual one may be missing.
    (std::env::var_os(variable).is_some() || streamengine_tests::requires(&[default])).then_some(compiler)
}

/// Runs a command that must succeed; its output.
pub(crate) fn succeed(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(status.success(), "{command:?}: {status}\n{}\n{}", text(&stdout), text(&stderr));
    text(&stdout)
}

/// Compiles a source against the shared library, all warnings being errors; where the program is.
pub(crate) fn compile(compiler: &OsStr, options: &[&str], source: &Path, name: &str) -> PathBuf {
    let (lib, program) = (library_dir(), work_dir().join(name));
    let mut command = Command::new(compiler);
    command.args(STRICT).args(["-g", "-O1"]).arg(source).arg("-I").arg(root().join("include"));
    command.arg("-L").arg(&lib).arg(format!("-Wl,-rpath,{}", lib.display())).arg("-lstreamengine");
    succeed(command.args(options).arg("-o").arg(&program));
    program
}

/// The same for a program of `tests/c`; `None` where there is no compiler.
pub(crate) fn compile_c(source: &Path, name: &str, options: &[&str]) -> Option<PathBuf> {
    let compiler = compiler("CC", "cc")?;
    let options = [&["-std=c99", "-D_POSIX_C_SOURCE=200809L", "-pthread"], options].concat();
    Some(compile(&compiler, &options, source, name))
}

/// Runs a program to its end, and kills one that does not come to it.
pub(crate) fn run(command: &mut Command) -> String {
    use std::process::Stdio;
    let output = work_dir()
        .join(format!("output-{}", std::thread::current().name().unwrap_or("main").replace("::", "-")));
    let file = std::fs::File::create(&output).unwrap();
    let mut child =
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file).spawn().unwrap();
    let deadline = Instant::now() + TIMEOUT;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break Some(status);
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            child.wait().unwrap();
            break None;
        }
        std::thread::park_timeout(Duration::from_millis(10));
    };
    let text = String::from_utf8_lossy(&std::fs::read(output).unwrap()).into_owned();
    assert!(status.is_some_and(|status| status.success()), "{command:?}: {status:?}\n{text}");
    text
}

/// A function of the header.
#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) name: String,
    /// What it returns: `se_status`, `void`, `char *` ...
    pub(crate) returns: String,
    /// The types of its parameters, without names.
    pub(crate) parameters: Vec<String>,
}

/// All functions that the header declares.
pub(crate) fn functions() -> Vec<Function> {
    let header = without_comments(&header());
    let (_, declarations) = header.split_once("extern \"C\" {").unwrap();
    declarations.split("SE_API").skip(1).filter_map(function).collect()
}

fn without_comments(text: &str) -> String {
    let mut rest = text;
    let mut code = String::new();
    while let Some((before, after)) = rest.split_once("/*") {
        code.push_str(before);
        rest = after.split_once("*/").map_or("", |(_, after)| after);
    }
    code + rest
}

fn function(declaration: &str) -> Option<Function> {
    let text = declaration.split_once(';')?.0.replace("SE_WARN_UNUSED", " ");
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (before, parameters) = text.split_once('(')?;
    let name_at = before.rfind(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).map_or(0, |at| at + 1);
    let (returns, name) = before.split_at(name_at);
    let parameters =
        parameters.trim_end_matches(')').split(',').map(str::trim).filter(|text| *text != "void");
    let parameters =
        parameters.map(|text| text.trim_end_matches(|c: char| c.is_ascii_alphanumeric() || c == '_'));
    Some(Function {
        name: name.to_owned(),
        returns: returns.trim().to_owned(),
        parameters: parameters.map(|text| text.trim().to_owned()).collect(),
    })
}
