//! A page in Chromium, watched by `tests/browser/watch.js`.

use crate::peers::command;
use crate::{PATIENCE, Proc, Signal, find_program, workspace};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// Where the packages are that drive the browser: `$STREAMENGINE_BROWSER`, else where `tests/run` puts them.
pub(crate) fn packages() -> PathBuf {
    std::env::var_os("STREAMENGINE_BROWSER")
        .map_or_else(|| workspace().join("target/judges/browser"), PathBuf::from)
}

/// A file of one of these packages, `PACKAGE/PATH`, where it is there or not.
pub fn package_file(path: &str) -> PathBuf {
    packages().join("node_modules").join(path)
}

/// What is missing for a browser to be watched.
pub(crate) fn missing() -> Option<String> {
    if let Some(program) = ["chromium", "node"].into_iter().find(|program| find_program(program).is_none()) {
        return Some(format!("{program} is not installed"));
    }
    let is_there = packages().join("node_modules/playwright-core").is_dir();
    (!is_there).then(|| "playwright-core is absent".to_owned())
}

/// What was to be seen of a page's video at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Sight {
    /// Milliseconds since the page was asked for.
    pub at: f64,
    /// What the page says of itself: `playing`, `waiting`, ...
    pub state: String,
    /// The same in words.
    pub words: String,
    /// Pictures decoded since the page was asked for.
    pub frames: u64,
    /// Whether it plays without sound because of the browser.
    pub muted: bool,
    /// The place in the stream, in seconds.
    pub time: f64,
    /// Width and height of the picture.
    pub size: (u64, u64),
    /// When the first picture was there, in milliseconds since the page was asked for.
    pub first: Option<f64>,
    /// When its time went on for the first time, likewise.
    pub started: Option<f64>,
    /// Milliseconds from the making of pictures to their showing, of each since the last sight; of pictures that tell.
    pub delays: Vec<u64>,
    /// How often the video has got something to play: once, where nothing began anew.
    pub loads: u64,
    /// The URL of what the video plays.
    pub source: String,
    /// The player that the page has chosen.
    pub player: String,
    /// Nobody can see the page.
    pub hidden: bool,
    /// Errors on the console so far.
    pub faults: Vec<String>,
}

impl Sight {
    /// Whether there is a picture, or sound.
    pub fn is_playing(&self) -> bool {
        self.time > 0.0 && self.state != "connecting"
    }

    fn read(line: &str) -> Option<Self> {
        let seen: Value = serde_json::from_str(line).ok()?;
        let text = |name: &str| seen[name].as_str().unwrap_or_default().to_owned();
        let number = |name: &str| seen[name].as_u64().unwrap_or_default();
        let list = |name: &str| seen[name].as_array().cloned().unwrap_or_default();
        Some(Self {
            at: seen["at"].as_f64()?,
            state: text("state"),
            words: text("words"),
            frames: number("frames"),
            muted: seen["muted"] == true,
            time: seen["time"].as_f64().unwrap_or_default(),
            size: (number("width"), number("height")),
            first: seen["first"].as_f64(),
            started: seen["started"].as_f64(),
            delays: list("delays").iter().filter_map(Value::as_u64).collect(),
            loads: number("loads"),
            source: text("source"),
            player: text("player"),
            hidden: seen["hidden"] == true,
            faults: list("faults").iter().filter_map(|fault| Some(fault.as_str()?.to_owned())).collect(),
        })
    }
}

/// A page in a browser of its own.
pub struct Page {
    process: Proc,
    _profile: TempDir,
}

impl Page {
    /// Opens a URL.
    pub fn open(url: &str) -> Self {
        Self::open_with(url, &[])
    }

    /// The same with options of `watch.js`.
    pub fn open_with(url: &str, options: &[&str]) -> Self {
        let profile = tempfile::tempdir().expect("temporary folder");
        let node = driver("watch.js", &[url], profile.path(), options);
        Self { process: Proc::spawn("browser", node), _profile: profile }
    }

    /// Waits so long for a line of which `pick` makes something.
    fn line<T>(&self, mark: usize, patience: Duration, what: &str, pick: impl FnMut(&str) -> Option<T>) -> T {
        let found = self.process.out.find_after(mark, patience, pick);
        found.unwrap_or_else(|| panic!("the browser did not show {what}\n{}", self.process.log()))
    }

    /// Waits for a sight, of those from now on, that `is` accepts.
    pub fn wait(&self, what: &str, is: impl FnMut(&Sight) -> bool) -> Sight {
        self.wait_for(PATIENCE, what, is)
    }

    fn wait_for(&self, patience: Duration, what: &str, mut is: impl FnMut(&Sight) -> bool) -> Sight {
        self.line(self.process.out.mark(), patience, what, |line| Sight::read(line).filter(&mut is))
    }

    /// Waits until there is a picture, or sound.
    pub fn wait_playing(&self) -> Sight {
        self.wait("a stream that plays", Sight::is_playing)
    }

    /// Watches for so long: the first sight and the last, with all delays between them.
    pub fn watch(&self, time: Duration) -> (Sight, Sight) {
        let first = self.wait("anything", |_| true);
        let mut delays = Vec::new();
        let until = first.at + time.as_secs_f64() * 1_000.0;
        let last = self.wait_for(time + PATIENCE, "that long", |sight| {
            delays.extend(&sight.delays);
            sight.at >= until
        });
        (first, Sight { delays, ..last })
    }

    /// What axe has found, for a page that was opened with `--axe`.
    pub fn violations(&self) -> Vec<String> {
        self.line(0, PATIENCE, "what axe finds", |line| {
            let told: Value = serde_json::from_str(line).ok()?;
            let violations = told["violations"].as_array()?;
            Some(violations.iter().map(ToString::to_string).collect())
        })
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        end(&self.process);
    }
}

/// The browser is in a group of its own, and ends with who has started it.
fn end(driver: &Proc) {
    driver.signal(Signal::TERM);
    driver.try_wait(Duration::from_secs(5));
}

/// A script of `tests/browser` that uses a browser of its own, and comes to an end by itself.
pub struct Driver {
    /// The script.
    pub process: Proc,
    _profile: TempDir,
}

/// Starts such a script.
pub fn drive(script: &str, args: &[&str], options: &[&str]) -> Driver {
    let profile = tempfile::tempdir().expect("temporary folder");
    let node = driver(script, args, profile.path(), options);
    Driver { process: Proc::spawn(script, node), _profile: profile }
}

impl Drop for Driver {
    fn drop(&mut self) {
        end(&self.process);
    }
}

/// The command of a script.
fn driver(script: &str, args: &[&str], profile: &Path, options: &[&str]) -> Command {
    let mut node = command("node", [workspace().join("tests/browser").join(script)]);
    node.args(args).arg("--profile").arg(profile).args(options);
    node.env("STREAMENGINE_BROWSER", packages());
    node.env("CHROMIUM", find_program("chromium").expect("chromium"));
    node
}
