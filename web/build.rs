//! Writes a table of the files for browsers: our own page and player as they are in `page`, and what npm makes, players of others and
//! the dashboard. Where it cannot, ours are all there is, and a warning says why.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

/// `off`, or a folder with what npm makes ready made.
const CHOICE: &str = "STREAMENGINE_WEB";
/// `1`: with AAC for browsers that have none, which is large and under licences of its own.
const AAC: &str = "STREAMENGINE_WEB_AAC";
/// Where cargo is told so, it goes to no network; nor do we.
const OFFLINE: &str = "CARGO_NET_OFFLINE";

/// Our own files.
const PAGE: &str = "page";
/// Those that have no hash in their names, and name others: pages, and what pages of others import. npm's dashboard takes the place
/// of a page that says how to get it.
const ENTRIES: [&str; 4] = ["embed.js", "index.html", "play.html", "publish.html"];
/// What npm's files are made of.
const SOURCES: [&str; 7] =
    [".npmrc", "aac", "build.js", "package.json", "package-lock.json", PAGE, "dashboard"];
/// What is made of it, among others.
const MADE: [&str; 2] = ["mpegts.js", "dashboard.js"];

/// A file: its bytes, and where these are packed.
struct File {
    body: Vec<u8>,
    packed: Option<PathBuf>,
}

fn main() {
    for source in SOURCES.iter().chain(&["build.rs"]) {
        println!("cargo:rerun-if-changed={source}");
    }
    for variable in [CHOICE, AAC, OFFLINE] {
        println!("cargo:rerun-if-env-changed={variable}");
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let mut files = read(Path::new(PAGE)).expect("the page is part of the sources");
    let others = others(&out).unwrap_or_else(|why| {
        println!(
            "cargo:warning=this build has no dashboard, and its pages have our own player only, neither mpegts.js nor hls.js: \
             {why}. Once that is mended: cargo clean -p streamengine-web, and build again"
        );
        BTreeMap::new()
    });
    let has_others = !others.is_empty();
    files.extend(others);
    let table = named(&files).iter().map(|(name, file)| entry(&out, name, file)).collect::<String>();
    fs::write(out.join("files.rs"), format!("&[\n{table}]\n")).expect("the table of files can be written");
    fs::write(out.join("has_others.rs"), has_others.to_string()).expect("what is in it can be written");
}

/// The files of a folder, by their names.
fn read(folder: &Path) -> io::Result<BTreeMap<String, File>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let packed = path.with_file_name(format!("{name}.gz"));
        if !name.ends_with(".gz") {
            files.insert(name, File { body: fs::read(&path)?, packed: packed.is_file().then_some(packed) });
        }
    }
    Ok(files)
}

/// What npm makes.
fn others(out: &Path) -> Result<BTreeMap<String, File>, String> {
    let folder = match env::var(CHOICE).unwrap_or_default().as_str() {
        "off" => return Ok(BTreeMap::new()),
        "" if env::var(OFFLINE).is_ok_and(|offline| offline == "true" || offline == "1") => {
            return Err(format!("{OFFLINE} is set, and npm would fetch what they are made of"));
        }
        "" => make(out)?,
        ready => {
            println!("cargo:rerun-if-changed={ready}");
            fs::canonicalize(ready).map_err(|error| format!("{CHOICE}={ready}: {error}"))?
        }
    };
    let files = read(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    match MADE.iter().find(|made| !files.contains_key(**made)) {
        None => Ok(files),
        Some(made) => Err(format!("{} has no {made}", folder.display())),
    }
}

/// The files under names with a hash of all of them, as browsers keep them, and refer to each other by their names.
fn named(files: &BTreeMap<String, File>) -> BTreeMap<String, File> {
    let mut hasher = DefaultHasher::new();
    files.iter().for_each(|(name, file)| (name, &file.body).hash(&mut hasher));
    let hash = format!("{:016x}", hasher.finish());
    let hashed = |name: &str| match name.rsplit_once('.') {
        Some((stem, end)) if !ENTRIES.contains(&name) => format!("{stem}-{hash}.{end}"),
        _ => name.to_owned(),
    };
    let renamed = |file: &File| {
        let text = String::from_utf8(file.body.clone()).expect("text");
        files.keys().fold(text, |text, name| {
            let to = hashed(name);
            text.replace(&format!("/assets/{name}\""), &format!("/assets/{to}\""))
                .replace(&format!("'./{name}'"), &format!("'./{to}'"))
        })
    };
    let own = |name: &str| Path::new(PAGE).join(name).is_file();
    files
        .iter()
        .map(|(name, file)| {
            // What is packed refers to nothing of ours.
            let body = if own(name) && file.packed.is_none() {
                renamed(file).into_bytes()
            } else {
                file.body.clone()
            };
            (hashed(name), File { body, packed: file.packed.clone() })
        })
        .collect()
}

/// Makes them in a copy, as cargo's build scripts must leave the sources alone; the folder.
fn make(out: &Path) -> Result<PathBuf, String> {
    let (copy, made) = (out.join("npm"), out.join("dist"));
    let fetch = ["ci", "--prefer-offline", "--fetch-retries=1", "--fetch-timeout=20000"];
    let has_aac = env::var(AAC).is_ok_and(|wanted| wanted == "1");
    let result = prepare(&copy)
        .map_err(|error| format!("{}: {error}", copy.display()))
        .and_then(|()| run(&copy, "npm", &fetch))
        .and_then(|()| if has_aac { run(&copy.join("aac"), "npm", &fetch) } else { Ok(()) })
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
fn entry(out: &Path, name: &str, file: &File) -> String {
    let folder = out.join("files");
    let written = folder.join(name);
    fs::create_dir_all(&folder).and_then(|()| fs::write(&written, &file.body)).expect("files can be written");
    let packed = match &file.packed {
        Some(packed) => format!("Some(include_bytes!({:?}))", packed.display().to_string()),
        None => "None".to_owned(),
    };
    format!("    ({name:?}, include_bytes!({:?}), {packed}),\n", written.display().to_string())
}
