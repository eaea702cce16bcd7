//! A page in Chromium, watched by `tests/browser/watch.js`, or one that publishes, driven by `tests/browser/publish.js`.

use crate::peers::command;
use crate::{PATIENCE, Proc, Signal, find_program, workspace};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// Where the packages are that drive the browser: `$STREAMENGINE_BROWSER`, else where `tests/run` puts them.
pub fn packages() -> PathBuf {
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
    /// How old the end of what was loaded was when each of these was shown, likewise in milliseconds.
    pub ends: Vec<u64>,
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
        let numbers = |name: &str| list(name).iter().filter_map(Value::as_u64).collect();
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
            delays: numbers("delays"),
            ends: numbers("ends"),
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
    driver: Driver,
}

impl Page {
    /// Opens a URL.
    pub fn open(url: &str) -> Self {
        Self::open_with(url, &[])
    }

    /// The same with options of `watch.js`.
    pub fn open_with(url: &str, options: &[&str]) -> Self {
        Self { driver: drive("watch.js", &[url], options) }
    }

    /// Waits so long for a line of which `pick` makes something.
    fn line<T>(&self, mark: usize, patience: Duration, what: &str, pick: impl FnMut(&str) -> Option<T>) -> T {
        let found = self.driver.process.out.find_after(mark, patience, pick);
        found.unwrap_or_else(|| panic!("the browser did not show {what}\n{}", self.driver.process.log()))
    }

    /// Waits for a sight, of those from now on, that `is` accepts.
    pub fn wait(&self, what: &str, is: impl FnMut(&Sight) -> bool) -> Sight {
        self.wait_for(PATIENCE, what, is)
    }

    fn wait_for(&self, patience: Duration, what: &str, mut is: impl FnMut(&Sight) -> bool) -> Sight {
        self.line(self.driver.process.out.mark(), patience, what, |line| Sight::read(line).filter(&mut is))
    }

    /// Waits until there is a picture, or sound.
    pub fn wait_playing(&self) -> Sight {
        self.wait("a stream that plays", Sight::is_playing)
    }

    /// Watches for so long: the first sight and the last, with all delays and ends between them.
    pub fn watch(&self, time: Duration) -> (Sight, Sight) {
        let first = self.wait("anything", |_| true);
        let (mut delays, mut ends) = (Vec::new(), Vec::new());
        let until = first.at + time.as_secs_f64() * 1_000.0;
        let last = self.wait_for(time + PATIENCE, "that long", |sight| {
            delays.extend(&sight.delays);
            ends.extend(&sight.ends);
            sight.at >= until
        });
        (first, Sight { delays, ends, ..last })
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

/// What a page that publishes said at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Said {
    /// Milliseconds since 1970.
    pub at: f64,
    /// `setup`, `preview`, `live`, `reconnecting`, ...
    pub state: String,
    /// The same in words.
    pub words: String,
    /// What it says besides.
    pub notice: String,
    /// What it tells of what goes out, by what that is called.
    pub numbers: Value,
    /// The state of each destination.
    pub places: Value,
    /// What is at its end: links, or what a script of the test has written there.
    pub footer: String,
    /// Its own address.
    pub url: String,
    /// Nobody can see it.
    pub hidden: bool,
    /// Errors on the console so far.
    pub faults: Vec<String>,
}

impl Said {
    fn read(line: &str) -> Option<Self> {
        let seen: Value = serde_json::from_str(line).ok()?;
        let text = |name: &str| seen[name].as_str().unwrap_or_default().to_owned();
        let faults = seen["faults"].as_array()?.iter();
        Some(Self {
            at: seen["at"].as_f64()?,
            state: text("state"),
            words: text("words"),
            notice: text("notice"),
            numbers: seen["numbers"].clone(),
            places: seen["places"].clone(),
            footer: text("footer"),
            url: text("url"),
            hidden: seen["hidden"] == true,
            faults: faults.filter_map(|fault| Some(fault.as_str()?.to_owned())).collect(),
        })
    }

    /// One of the numbers, as it is written.
    pub fn number(&self, name: &str) -> &str {
        self.numbers[name].as_str().unwrap_or_default()
    }

    /// Pictures that were left out, and all, since the beginning.
    pub fn left_out(&self) -> Option<(u64, u64)> {
        let text = self.number("Pictures left out").replace(',', "");
        let (out, all) = text.split_once(" / ")?;
        Some((out.parse().ok()?, all.parse().ok()?))
    }
}

/// A page that publishes, in a browser of its own.
pub struct Studio {
    driver: Driver,
}

impl Studio {
    /// Opens a URL with options of `publish.js`, and has it go live.
    pub fn open(url: &str, options: &[&str]) -> Self {
        Self { driver: drive("publish.js", &[url], options) }
    }

    fn line<T>(&self, mark: usize, patience: Duration, what: &str, pick: impl FnMut(&str) -> Option<T>) -> T {
        let found = self.driver.process.out.find_after(mark, patience, pick);
        found.unwrap_or_else(|| panic!("the page did not show {what}\n{}", self.driver.process.log()))
    }

    /// Waits until it says, from now on, what `is` accepts.
    pub fn wait(&self, what: &str, mut is: impl FnMut(&Said) -> bool) -> Said {
        let mark = self.driver.process.out.mark();
        self.line(mark, PATIENCE, what, |line| Said::read(line).filter(&mut is))
    }

    /// Waits for a state.
    pub fn wait_state(&self, state: &str) -> Said {
        self.wait(state, |said| said.state == state)
    }

    /// The first time that it is in a state, or was.
    pub fn first_state(&self, state: &str) -> Said {
        self.line(0, PATIENCE, state, |line| Said::read(line).filter(|said| said.state == state))
    }

    /// When the button was pressed by which it goes live: ms since 1970.
    pub fn pressed(&self) -> f64 {
        self.line(0, PATIENCE, "a button", |line| {
            serde_json::from_str::<Value>(line).ok()?["pressed"].as_f64()
        })
    }

    /// What it has said so far.
    pub fn said(&self) -> Vec<Said> {
        self.driver.process.out.all().iter().filter_map(|line| Said::read(line)).collect()
    }

    /// What axe has found in a state, for a page that was opened with `--axe`.
    pub fn violations(&self, state: &str) -> Vec<String> {
        self.line(0, PATIENCE, "what axe finds", |line| {
            let told: Value = serde_json::from_str(line).ok()?;
            let violations = told["violations"].as_array().filter(|_| told["in"] == state)?;
            Some(violations.iter().map(ToString::to_string).collect())
        })
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
