//! Has npm make the files for browsers, and writes a table of them. Where it cannot, the table is empty, and a warning says
//! why.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

/// `off`, or a folder with the files ready made.
const CHOICE: &str = "STREAMENGINE_WEB";
/// Where cargo is told so, it goes to no network; nor do we.
const OFFLINE: &str = "CARGO_NET_OFFLINE";

/// What the files are made of.
const SOURCES: [&str; 5] = [".npmrc", "build.js", "package.json", "package-lock.json", "page"];

fn main() {
    for source in SOURCES.iter().chain(&["build.rs"]) {
        println!("cargo:rerun-if-changed={source}");
    }
    for variable in [CHOICE, OFFLINE] {
        println!("cargo:rerun-if-env-changed={variable}");
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let files = files(&out).unwrap_or_else(|why| {
        println!(
            "cargo:warning=the pages of this build have no player: {why}. Once that is mended: cargo clean -p \
             streamengine-web, and build again"
        );
        Vec::new()
    });
    let table = files.iter().map(|file| entry(file)).collect::<String>();
    fs::write(out.join("files.rs"), format!("&[\n{table}]\n")).expect("the table of files can be written");
}

/// The files, without their packed forms.
fn files(out: &Path) -> Result<Vec<PathBuf>, String> {
    let folder = match env::var(CHOICE).unwrap_or_default().as_str() {
        "off" => return Ok(Vec::new()),
        "" if env::var(OFFLINE).is_ok_and(|offline| offline == "true" || offline == "1") => {
            return Err(format!("{OFFLINE} is set, and npm would fetch what it is made of"));
        }
        "" => make(out)?,
        ready => {
            println!("cargo:rerun-if-changed={ready}");
            fs::canonicalize(ready).map_err(|error| format!("{CHOICE}={ready}: {error}"))?
        }
    };
    let entries = fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut files: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|file| file.extension().is_none_or(|end| end != "gz"));
    files.sort();
    match files.iter().any(|file| file.ends_with("play.html")) {
        true => Ok(files),
        false => Err(format!("{} has no play.html", folder.display())),
    }
}

/// Makes them in a copy, as cargo's build scripts must leave the sources alone; the folder.
fn make(out: &Path) -> Result<PathBuf, String> {
    let (copy, made) = (out.join("npm"), out.join("dist"));
    let result = prepare(&copy)
        .map_err(|error| format!("{}: {error}", copy.display()))
        .and_then(|()| {
            run(&copy, "npm", &["ci", "--prefer-offline", "--fetch-retries=1", "--fetch-timeout=20000"])
        })
        .and_then(|()| run(&copy, "node", &["build.js", &made.to_string_lossy()]));
    // Some ten megabytes for each profile that is built.
    let _ = fs::remove_dir_all(&copy);
    result.map(|()| made)
}

fn prepare(copy: &Path) -> io::Result<()> {
    if copy.exists() {
        fs::remove_dir_all(copy)?;
    }
    SOURCES.iter().try_for_each(|source| copy_all(Path::new(source), &copy.join(source)))
}

fn copy_all(from: &Path, to: &Path) -> io::Result<()> {
    if !from.is_dir() {
        fs::create_dir_all(to.parent().unwrap_or(to))?;
        return fs::copy(from, to).map(drop);
    }
    fs::read_dir(from)?.try_for_each(|entry| {
        let entry = entry?;
        copy_all(&entry.path(), &to.join(entry.file_name()))
    })
}

/// Runs a program to its end; what it last said, where it fails.
fn run(folder: &Path, program: &str, arguments: &[&str]) -> Result<(), String> {
    let file = if cfg!(windows) && program == "npm" { "npm.cmd" } else { program };
    let done = Command::new(file).args(arguments).current_dir(folder).output();
    let done = done
        .map_err(|error| format!("{program} cannot be run ({error}); it comes with Node.js 18 or later"))?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    let said: Vec<_> = said.lines().filter(|line| !line.trim().is_empty()).take(4).collect();
    Err(format!("{program} {} failed: {}", arguments[0], said.join(" / ")))
}

/// A file in the table: its name, its bytes, and these packed where somebody has done that.
fn entry(file: &Path) -> String {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let packed = file.with_file_name(format!("{name}.gz"));
    let packed = match packed.is_file() {
        true => format!("Some(include_bytes!({:?}))", packed.display().to_string()),
        false => "None".to_owned(),
    };
    format!("    ({name:?}, include_bytes!({:?}), {packed}),\n", file.display().to_string())
}
