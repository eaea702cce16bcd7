//! The dashboard in a real browser: everything that it is for, by mouse, by keyboard alone and on a phone; nothing that axe finds; no
//! name of a peer that becomes markup.

use super::{SHOW, is_idle, publish, watched};
use serde_json::{Value, json};
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;
use streamengine_tests::browser::{drive, package_file, packages};
use streamengine_tests::{Engine, PATIENCE, Proc, binary, demo_clip, needs, peers, unique, workspace};

/// All steps of a walk, on a machine that does other things too.
const WALK: Duration = Duration::from_secs(400);

/// Records by hand, into this folder.
fn config(folder: &Path) -> String {
    format!(
        "[default_app.record]\nwhen = \"manual\"\ndir = {folder:?}\nformat = \"fmp4\"\nserve = true\nmin_free_bytes = 0\n\
         [publish]\nopen = true\n"
    )
}

/// An engine with everything that the dashboard shows.
fn start(folder: &Path) -> Engine {
    Engine::serve().http().arg("--keys").arg(folder.join("keys.db")).config(config(folder)).start()
}

/// What the driver wants after so many wishes, or nothing at its end.
fn next_wish(driver: &Proc, granted: usize) -> Option<String> {
    let mut wishes = 0;
    let wish = |line: &str| {
        let told: Value = serde_json::from_str(line).ok()?;
        if told["done"] == true {
            return Some(None);
        }
        let wish = told["wants"].as_str()?.to_owned();
        wishes += 1;
        (wishes > granted).then_some(Some(wish))
    };
    let found = driver.out.find_after(0, WALK, wish);
    found.unwrap_or_else(|| panic!("the walk came to no end\n{}", driver.log()))
}

/// Walks through the dashboard, and does what the walk wants of others.
fn walk(options: &[&str]) {
    let folder = tempfile::tempdir().expect("temporary folder");
    let (engine, other) = (start(folder.path()), Engine::start());
    let name = format!("live/{}", unique("walk"));
    let given = json!({
        "stream": name,
        "file": demo_clip(),
        "other": format!("rtmp://{}", other.rtmp),
    })
    .to_string();
    let driver = drive("dashboard.js", &["walk", &engine.http_url("/"), "--given", &given], options);
    let mut others = Vec::new();
    while let Some(wish) = next_wish(&driver.process, others.len()) {
        match wish.as_str() {
            "a publisher" => {
                others.push(publish(&engine.url(&name), SHOW));
                engine.wait_publish(&name);
            }
            "a viewer" => {
                let args = ["-v", "quiet", "-i", &engine.url(&name), "-f", "null", "-"];
                others.push(Proc::spawn("viewer", peers::command("ffmpeg", args)));
                engine.wait_players(&name, 1);
            }
            other => panic!("nobody knows what {other} is"),
        }
    }
    driver.process.succeed(PATIENCE);
}

#[test]
fn everything_is_done_by_mouse() {
    needs!("ffmpeg", "browser");
    walk(&["--by", "mouse"]);
}

#[test]
fn everything_is_done_by_keyboard_alone() {
    needs!("ffmpeg", "browser");
    walk(&["--by", "keyboard"]);
}

#[test]
fn everything_is_done_on_a_phone() {
    needs!("ffmpeg", "browser");
    walk(&["--phone"]);
}

#[test]
fn the_first_visit_sets_a_password_which_is_asked_for_then() {
    needs!("browser");
    let engine = Engine::serve().http().start();
    drive("dashboard.js", &["login", &engine.http_url("/")], &[]).process.succeed(WALK);
}

/// What peers may say of themselves.
const HOSTILE: &str = "<img/src=x/onerror=window.hostile=1>";
/// What is shown of it where it may be a secret.
const MASKED: &str = "<img/src=";

#[test]
fn pages_have_no_faults_of_accessibility_and_names_never_become_markup() {
    needs!("ffmpeg", "browser");
    let folder = tempfile::tempdir().expect("temporary folder");
    let long = format!("{}/{}", "a".repeat(127), "b".repeat(128));
    let relays = format!(
        "[[push]]\nstream = \"live/shown\"\nurl = \"rtmp://127.0.0.1:1/live/{HOSTILE}{}\"\n\
         [[file]]\nstream = \"{long}\"\npaths = [{:?}]\n",
        "x".repeat(200),
        demo_clip(),
    );
    let engine = Engine::serve()
        .http()
        .arg("--keys")
        .arg(folder.path().join("keys.db"))
        .config(config(folder.path()) + &relays)
        .start();
    let _publisher = publish(&engine.url("live/shown"), SHOW);
    engine.wait_publish("live/shown");
    let agent =
        ["-v", "quiet", "-user_agent", HOSTILE, "-i", &engine.http_url("/live/shown.flv"), "-f", "null", "-"];
    let _viewer = Proc::spawn("viewer", peers::command("ffmpeg", agent));
    engine.wait_players("live/shown", 1);
    let pages = format!(
        ",streams/live%2Fshown,streams/{},sessions,relays,files,recordings,keys,log,settings",
        long.replace('/', "%2F")
    );
    let options = ["examine", &engine.http_url("/"), "--pages", &pages, "--names", MASKED];
    drive("dashboard.js", &options, &[]).process.succeed(WALK);
}

/// Streams of a busy server.
const STREAMS: usize = 50;

/// Plays the sound of a stream until the server ends.
fn listen(server: SocketAddr, name: &str) {
    let mut socket = TcpStream::connect(server).expect("connect");
    write!(socket, "GET /{name}.flv?only=audio HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("request");
    let thread = std::thread::Builder::new().stack_size(128 * 1024);
    thread.spawn(move || std::io::copy(&mut socket, &mut std::io::sink())).expect("a thread");
}

/// What a page that stays open told of itself at one moment.
#[derive(Debug)]
struct Held {
    at: f64,
    cpu: f64,
    heap: f64,
    nodes: f64,
}

impl Held {
    fn read(line: &str) -> Option<Self> {
        let told: Value = serde_json::from_str(line).ok()?;
        let number = |name: &str| told[name].as_f64();
        Some(Self { at: number("at")?, cpu: number("cpu")?, heap: number("heap")?, nodes: number("nodes")? })
    }
}

#[test]
fn a_page_that_stays_open_on_a_busy_server_costs_little_and_holds_no_more_with_time() {
    needs!("browser");
    let names: Vec<_> = (0..STREAMS).map(|number| format!("live/{number}")).collect();
    let file = |name: &String| format!("[[file]]\nstream = {name:?}\npaths = [{:?}]\n", demo_clip());
    let engine = Engine::serve().http().config(names.iter().map(file).collect::<String>()).start();
    let viewers = if is_idle() { 1_000 } else { 100 };
    for (name, _) in names.iter().cycle().zip(0..viewers) {
        listen(engine.http(), name);
    }
    engine.wait_players(&names[0], viewers / STREAMS);
    let (time, times) = (watched(60, 20), 4);
    let options = ["--seconds", &time.as_secs().to_string(), "--times", &times.to_string()];
    let driver = drive("dashboard.js", &["stay", &engine.http_url("/")], &options);
    driver.process.succeed(time + WALK);
    let told = driver.process.out.all();
    let held: Vec<_> = told.iter().filter_map(|line| Held::read(line)).collect();
    // At the very first not all of the page is there.
    let [_, first, .., last] = held.as_slice() else { panic!("it told too little: {told:?}") };
    let cpu = (last.cpu - first.cpu) / (last.at - first.at);
    let heaps: Vec<_> = held.iter().map(|held| format!("{:.2}", held.heap / 1e6)).collect();
    println!("{viewers} viewers: {cpu:.3} of a core, MB of scripts: {}", heaps.join(" "));
    assert!(cpu < 0.15 || !is_idle(), "{cpu} of a core");
    // Charts fill up in the first ten minutes, and what is just being asked for, or has just been replaced, is there or not.
    let least = |of: &[Held], what: fn(&Held) -> f64| of.iter().map(what).fold(f64::INFINITY, f64::min);
    let (before, after) = held[1..].split_at(times / 2);
    let heap = least(after, |held| held.heap) - least(before, |held| held.heap);
    let nodes = least(after, |held| held.nodes) / least(before, |held| held.nodes);
    assert!(heap < 1.5e6 && nodes < 1.3, "{held:?}");
}

/// The most bytes of the picture that README shows.
const PICTURE: usize = 128_000;

/// The size of a PNG in pixels.
fn size_of(png: &[u8]) -> (u32, u32) {
    assert!(png.starts_with(b"\x89PNG\r\n\x1a\n"), "a PNG");
    let number = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().expect("four bytes"));
    (number(16), number(20))
}

#[test]
fn its_picture_in_the_documents_is_small_and_is_made_by_a_script() {
    needs!("ffmpeg", "browser");
    let read =
        |path: &str| std::fs::read(workspace().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    let kept = read("docs/dashboard.png");
    assert!(kept.len() <= PICTURE, "{} bytes", kept.len());
    assert!(String::from_utf8_lossy(&read("docs/dashboard.md")).contains("(dashboard.png)"));
    let folder = tempfile::tempdir().expect("temporary folder");
    let made = folder.path().join("made.png");
    let mut node = peers::command("node", [workspace().join("build-aux/dashboard_picture.js")]);
    node.arg("--program").arg(binary()).arg("--out").arg(&made).args(["--seconds", "3"]);
    node.env("STREAMENGINE_BROWSER", packages());
    Proc::spawn("dashboard_picture.js", node).succeed(WALK);
    let made = std::fs::read(made).expect("a picture");
    assert_eq!(size_of(&made), size_of(&kept));
    assert!(made.len() < 2 * PICTURE, "{} bytes", made.len());
}

#[test]
fn its_sources_compile_with_all_texts_in_each_language_and_do_what_their_tests_say() {
    needs!("node", "npm:typescript");
    assert!(package_file("preact").is_dir(), "what it is made of is beside the compiler");
    let mut node = peers::command("node", [workspace().join("tests/browser/typed.js")]);
    node.env("STREAMENGINE_BROWSER", package_file("").parent().expect("a folder"));
    Proc::spawn("typed.js", node).succeed(Duration::from_secs(200));
}

#[test]
fn the_compiler_sees_what_the_bundler_takes() {
    let versions = |path: &str| -> Value {
        let text = std::fs::read_to_string(workspace().join(path)).expect("a manifest");
        serde_json::from_str::<Value>(&text).expect("JSON")["dependencies"].clone()
    };
    let (bundled, compiled) = (versions("web/package.json"), versions("tests/browser/package.json"));
    for package in ["preact", "@preact/signals", "uplot", "hls.js"] {
        assert!(bundled[package].is_string() && bundled[package] == compiled[package], "{package}");
    }
}
