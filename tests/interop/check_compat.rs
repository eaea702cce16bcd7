//! `check-compat` against servers of three makes: all that it says of each, compared with what was looked at once by hand.
//!
//! `UPDATE_COMPAT=1` writes the files of `compat/` anew. What is in them was compared with other programs at the same servers, as
//! docs/compat.md has it.

use serde_json::{Value, json};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;
use streamengine_tests::browser::package_file;
use streamengine_tests::nginx::Nginx;
use streamengine_tests::peers::command;
use streamengine_tests::synthetic::{Shape, Source, Watcher};
use streamengine_tests::tls::{Authority, Validity};
use streamengine_tests::{
    Engine, PATIENCE, Proc, free_address, needs, poll, streamengine, unique, workspace,
};

/// A run waits for answers that some servers do not give, five seconds each.
const RUN: Duration = Duration::from_secs(180);

/// The report of a run, and its exit status.
fn check(url: &str, args: &[&str]) -> (Value, i32, Proc) {
    let run = streamengine([&["check-compat", url, "--json"], args].concat());
    let status = run.wait(RUN);
    let line = run.out.find("checks", PATIENCE).unwrap_or_else(|| panic!("no report\n{}", run.log()));
    (serde_json::from_str(&line).expect("JSON"), status, run)
}

/// What does not depend on how fast the machine is.
fn verdicts(report: &Value) -> Value {
    let checks = report["checks"].as_array().expect("checks").iter();
    let told = checks.map(|check| {
        json!({
            "client": check["client"],
            "check": check["check"],
            "verdict": check["verdict"],
            "words": check["words"],
        })
    });
    told.collect()
}

fn assert_as_kept(report: &Value, name: &str) {
    let path: PathBuf = workspace().join("tests/interop/compat").join(name);
    let told = serde_json::to_string_pretty(&verdicts(report)).expect("JSON") + "\n";
    if std::env::var_os("UPDATE_COMPAT").is_some() {
        std::fs::write(&path, &told).expect("written");
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(told == kept, "{}: now it says\n{told}", path.display());
}

#[test]
fn all_works_with_our_own_server() {
    let engine = Engine::serve().http().start();
    let http = format!("http://{}", engine.http());
    let (report, status, run) = check(&engine.url("live/test"), &["--http", &http]);
    assert_as_kept(&report, "streamengine.json");
    assert_eq!(status, 0, "{}", run.log());
    let checks = report["checks"].as_array().expect("checks");
    assert!(checks.iter().all(|check| check["verdict"] == "works"), "{report}");
}

#[test]
fn all_works_over_tls_where_the_certificate_is_trusted_or_is_not_to_be_looked_at() {
    needs!("openssl");
    let authority = Authority::new();
    let leaf = authority.leaf("DNS:localhost,IP:127.0.0.1", Validity::Now);
    let engine = Engine::serve().https(&leaf.cert, &leaf.key).arg("--rtmps").arg("127.0.0.1:0").start();
    let url = |prefix| engine.rtmps_url(&format!("live/{}", unique(prefix)));
    let unknown = streamengine(["check-compat", &url("unknown"), "--json"]);
    assert_eq!(unknown.wait(RUN), 1, "{}", unknown.log());
    let told = unknown.err.find("cannot be reached", PATIENCE).expect("a reason");
    assert!(told.contains("certificate") && unknown.out.all().is_empty(), "{}", unknown.log());
    // Both run at the same time: most of it is waiting.
    let insecure = streamengine(["check-compat", &url("insecure"), "--insecure", "--json"]);
    let (ca, https) = (authority.cert().to_string_lossy().into_owned(), engine.https());
    let (report, status, run) = check(&url("trusted"), &["--ca", &ca, "--http", &format!("https://{https}")]);
    assert_as_kept(&report, "streamengine.json");
    assert_eq!(status, 0, "{}", run.log());
    assert_eq!(insecure.wait(RUN), 0, "{}", insecure.log());
}

#[test]
fn nginx_rtmp_is_as_it_was_found_by_hand() {
    needs!("nginx-rtmp");
    let server = Nginx::start("");
    let (report, status, run) = check(&server.url("test"), &[]);
    assert_as_kept(&report, "nginx-rtmp.json");
    assert_eq!(status, 0, "{}", run.log());
}

#[test]
fn node_media_server_is_as_it_was_found_by_hand() {
    needs!("node", "npm:node-media-server");
    let (rtmp, http) = (free_address(), free_address());
    let script = workspace().join("tests/interop/compat/node-media-server.mjs");
    let packages = package_file("..").display().to_string();
    // It keeps a database where it is started.
    let folder = tempfile::tempdir().expect("temporary folder");
    let mut node = command("node", [script]);
    node.current_dir(folder.path());
    let ports = [rtmp.ip().to_string(), rtmp.port().to_string(), http.port().to_string()];
    node.arg(packages).args(ports);
    let server = Proc::spawn("node-media-server", node);
    let listens = |address: SocketAddr| poll(PATIENCE, || TcpStream::connect(address).ok()).is_some();
    let http = SocketAddr::new(rtmp.ip(), http.port());
    assert!(listens(rtmp) && listens(http), "{}", server.log());
    let (report, status, run) =
        check(&format!("rtmp://{rtmp}/live/test"), &["--http", &format!("http://{http}")]);
    assert_as_kept(&report, "node-media-server.json");
    assert_eq!(status, 0, "{}", run.log());
}

#[test]
fn a_stream_that_is_live_is_left_alone_and_a_key_is_told_nowhere() {
    let engine = Engine::serve().key("marker-of-a-key").start();
    let name = unique("cam");
    let key = format!("live/{name}?key=marker-of-a-key");
    let mut source = Source::publish(engine.rtmp, &key, Shape::bits_per_second(400_000));
    engine.wait_publish(&format!("live/{name}"));
    let watcher = Watcher::play(engine.rtmp, &format!("live/{name}"));
    watcher.wait_frames(10);
    let (report, status, run) = check(&engine.url(&key), &[]);
    assert_eq!(status, 0, "{}", run.log());
    let instead = report["instead"].as_str().expect("another name");
    assert!(instead.contains("/live/"), "{instead}");
    let before = watcher.seen();
    watcher.wait_frames(before.frames + 10);
    let seen = watcher.seen();
    assert_eq!((seen.lost, seen.backwards), (0, 0), "{seen:?}");
    source.stop();
    let told = format!("{report}{}", run.log());
    assert!(!told.contains("marker-of-a-key"), "{told}");
}
