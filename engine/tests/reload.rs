//! A configuration that is read anew while the engine runs: what is different is done, what is not stays, and what is wrong
//! changes nothing.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::Duration;
use streamengine::testing::{flv, key, keyframe, rtmp, wait};
use streamengine::{Config, Engine, ErrorKind, FileState, ListenerId, Protocol, Reloaded, TakesEffect};

const PATIENCE: Duration = Duration::from_secs(60);

/// Listens on a free port, and goes by these lines besides.
fn config(lines: &str) -> Config {
    Config::from_toml(&format!("[rtmp]\nlisten = [\"127.0.0.1:0\"]\n{lines}")).unwrap()
}

fn start(lines: &str) -> Engine {
    Engine::builder().config(config(lines)).start().unwrap()
}

/// What is told of a reload, a line for each change.
fn told(reloaded: &Reloaded) -> Vec<String> {
    reloaded.changes.iter().map(ToString::to_string).collect()
}

fn listeners(engine: &Engine) -> Vec<ListenerId> {
    engine.listeners().iter().map(|listener| listener.id).collect()
}

fn address(engine: &Engine, protocol: Protocol) -> Option<SocketAddr> {
    let listeners = engine.listeners();
    listeners.iter().find(|listener| listener.protocol == protocol).map(|listener| listener.address)
}

/// An address with a port that was free a moment ago.
fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A second of video in a file of this name.
fn clip(folder: &tempfile::TempDir, name: &str, bytes: usize) -> PathBuf {
    let path = folder.path().join(name);
    let frames: Vec<_> = (0..25).map(|at| keyframe(at * 40, bytes)).collect();
    std::fs::write(&path, flv(&frames)).unwrap();
    path
}

fn file(path: &std::path::Path) -> String {
    format!("[[file]]\npaths = [\"{}\"]\nstream = \"live/clip\"\n", path.display())
}

#[test]
fn the_same_configuration_changes_nothing() {
    let engine = start("[limits]\nring_ms = 5000");
    let before = listeners(&engine);
    let reloaded = engine.reload(config("[limits]\nring_ms = 5000")).unwrap();
    assert_eq!((reloaded, listeners(&engine)), (Reloaded::default(), before));
    assert_eq!(engine.reload(engine.config()).unwrap().changes, []);
}

#[test]
fn whatever_is_wrong_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = clip(&folder, "clip.flv", 100);
    let engine = start("");
    let _publisher = engine.publish(&key("live/clip")).unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let _holder = TcpListener::bind(taken).unwrap();
    let before = (engine.config(), listeners(&engine), engine.relays().len(), engine.origins().len());
    let good = "[limits]\nring_ms = 5000\n[origins.a]\nurls = [\"rtmp://127.0.0.1:1\"]\n\
                [[push]]\nstream = \"live/a\"\nurl = \"rtmp://127.0.0.1:1/live/a\"\n";
    for (wrong, kind) in [
        (
            format!("[rtmps]\nlisten = [\"{taken}\"]\ncert = \"/no/cert\"\nkey = \"/no/key\""),
            ErrorKind::NotFound,
        ),
        (format!("[http]\nlisten = [\"127.0.0.1:0\", \"{taken}\"]"), ErrorKind::AddressInUse),
        (file(&folder.path().join("none.flv")).replace("live/clip", "live/none"), ErrorKind::NotFound),
        // Another publishes what it would play as.
        (file(&path), ErrorKind::Exists),
        ("[tls]\nca = \"/no/ca.pem\"".to_owned(), ErrorKind::NotFound),
        ("[auth]\norder = []\n[signed_urls]\nsecret = \"s\"".to_owned(), ErrorKind::InvalidArgument),
    ] {
        let text = format!("[rtmp]\nlisten = [\"127.0.0.1:0\"]\n{good}{wrong}");
        let error = Config::from_toml(&text).and_then(|config| engine.reload(config)).unwrap_err();
        assert_eq!(error.kind(), kind, "{wrong}: {error}");
        let now = (engine.config(), listeners(&engine), engine.relays().len(), engine.origins().len());
        assert_eq!(now, before, "{wrong}");
        assert!(engine.files().is_empty(), "{wrong}");
    }
    let reloaded = engine.reload(config(good)).unwrap();
    assert_eq!(told(&reloaded).len(), 3, "{reloaded:?}");
    assert_eq!((engine.relays().len(), engine.origins().len()), (1, 1));
}

#[test]
fn listeners_come_and_go_and_connections_stay() {
    let engine = start("");
    let first = address(&engine, Protocol::Rtmp).unwrap();
    let mut publishing = rtmp::publish_at(first, "a").unwrap();
    let next = free();
    let text = format!("[rtmp]\nlisten = [\"{next}\"]");
    let reloaded = engine.reload(Config::from_toml(&text).unwrap()).unwrap();
    assert_eq!(
        told(&reloaded),
        ["rtmp.listen 127.0.0.1:0 removed".to_owned(), format!("rtmp.listen {next} added")]
    );
    assert_eq!(address(&engine, Protocol::Rtmp), Some(next));
    rtmp::publish_at(next, "b").unwrap();
    wait::until("the first is closed", || TcpStream::connect(first).is_err());
    publishing.write_all(&[]).unwrap();
    assert!(engine.stream(&key("live/a")).is_some(), "whoever has come by it stays");
}

#[test]
fn a_listener_may_get_another_protocol_on_its_port() {
    let port = free();
    let text = |section: &str| Config::from_toml(&format!("[{section}]\nlisten = [\"{port}\"]")).unwrap();
    let engine = Engine::builder().config(text("rtmp")).start().unwrap();
    engine.reload(text("http")).unwrap();
    assert_eq!((address(&engine, Protocol::Rtmp), address(&engine, Protocol::Http)), (None, Some(port)));
    wait::until("HTTP is served", || {
        let mut socket = TcpStream::connect(port).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = [0; 4];
        socket.read_exact(&mut answer).is_ok() && &answer == b"HTTP"
    });
}

#[test]
fn what_the_program_has_begun_stays_and_what_it_has_ended_is_not_missed() {
    let engine = start("[[push]]\nstream = \"live/a\"\nurl = \"rtmp://127.0.0.1:1/live/a\"");
    let own = engine.listen_rtmp("127.0.0.1:0".parse().unwrap()).unwrap();
    let push = "rtmp://127.0.0.1:1/live/own".parse().unwrap();
    let relay = engine.add_push(streamengine::PushConfig::new(key("live/a"), push)).unwrap();
    let configured = engine.relays().into_iter().find(|other| other.id != relay).unwrap();
    engine.remove_relay(configured.id).unwrap();
    let configured = engine.listeners().into_iter().find(|other| other.id != own.id).unwrap();
    engine.close_listener(configured.id).unwrap();
    let text = format!("[rtmp]\nlisten = [\"{}\"]", own.address);
    engine.reload(Config::from_toml(&text).unwrap()).unwrap();
    assert_eq!(listeners(&engine), [own.id], "it is the configuration's from now on");
    assert_eq!(engine.relays().iter().map(|relay| relay.id).collect::<Vec<_>>(), [relay]);
    engine.reload(Config::default()).unwrap();
    assert_eq!(listeners(&engine), []);
    assert_eq!(engine.relays().len(), 1);
}

#[test]
fn a_relay_that_only_waits_otherwise_is_kept_and_another_target_is_another_relay() {
    let push =
        |url: &str, keys: &str| config(&format!("[[push]]\nstream = \"live/a\"\nurl = \"{url}\"\n{keys}"));
    let (one, two) = ("rtmp://127.0.0.1:1/live/one", "rtmp://127.0.0.1:1/live/two");
    let engine = Engine::builder().config(push(one, "")).start().unwrap();
    let id = |engine: &Engine| engine.relays()[0].id;
    let first = id(&engine);
    let reloaded = engine.reload(push(one, "max_retries = 7")).unwrap();
    assert_eq!(told(&reloaded), ["push live/a to rtmp://127.0.0.1:1/live/one changed"]);
    assert_eq!(id(&engine), first);
    engine.reload(push(two, "max_retries = 7")).unwrap();
    assert_eq!(engine.relays().len(), 1);
    assert_ne!(id(&engine), first);
}

#[test]
fn players_stay_while_other_files_come_in_place_of_those_that_play() {
    let folder = tempfile::tempdir().unwrap();
    let (small, large) = (clip(&folder, "small.flv", 100), clip(&folder, "large.flv", 1_000));
    let engine = start(&file(&small));
    let mut player = engine.subscribe(&key("live/clip")).unwrap();
    let mut next = || player.blocking_next(PATIENCE).unwrap().expect("the stream goes on");
    let first = next();
    let before = engine.files()[0].clone();
    engine.reload(config(&file(&large))).unwrap();
    let (mut last, mut got_large) = (first.timestamp, false);
    while !got_large {
        let frame = next();
        assert!(frame.timestamp >= last, "{} after {last}", frame.timestamp);
        (last, got_large) = (frame.timestamp, frame.payload.len() >= 1_000);
    }
    wait::until("the first job is off the list", || engine.files().iter().all(|file| file.id != before.id));
    assert_eq!(engine.files()[0].state, FileState::Playing);
    engine.reload(config("")).unwrap();
    wait::until("the stream has ended", || engine.stream(&key("live/clip")).is_none());
    assert!(engine.files().is_empty());
}

#[test]
fn players_of_a_pull_stay_while_it_gets_another_source() {
    let upstream = start("");
    let server = address(&upstream, Protocol::Rtmp).unwrap();
    let (small, large) =
        (upstream.publish(&key("live/a")).unwrap(), upstream.publish(&key("live/b")).unwrap());
    let pull =
        |name: &str| config(&format!("[[pull]]\nurl = \"rtmp://{server}/live/{name}\"\nstream = \"live/x\""));
    let engine = Engine::builder().config(pull("a")).start().unwrap();
    let mut player = engine.subscribe(&key("live/x")).unwrap();
    let mut at = 0;
    let mut next = || loop {
        at += 40;
        small.push(keyframe(at, 100)).unwrap();
        large.push(keyframe(at, 1_000)).unwrap();
        match player.blocking_next(Duration::from_millis(100)) {
            Ok(frame) => return frame.expect("the stream goes on"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Timeout),
        }
    };
    while next().payload.len() < 100 {}
    engine.reload(pull("b")).unwrap();
    while next().payload.len() < 1_000 {}
    assert_eq!(engine.relays().len(), 1);
}

#[test]
fn a_program_plays_other_files_in_place_of_those_of_a_job() {
    let folder = tempfile::tempdir().unwrap();
    let (small, large) = (clip(&folder, "small.flv", 100), clip(&folder, "large.flv", 1_000));
    let of = |path: &PathBuf| streamengine::FileConfig::new(key("live/clip"), vec![path.clone()]);
    let engine = start("");
    let first = engine.loop_file(of(&small)).unwrap();
    let mut player = engine.subscribe(&key("live/clip")).unwrap();
    assert!(player.blocking_next(PATIENCE).unwrap().is_some());
    let missing = of(&folder.path().join("none.flv"));
    assert_eq!(engine.replace_file(first, missing).unwrap_err().kind(), ErrorKind::NotFound);
    let other = streamengine::FileConfig::new(key("live/other"), vec![large.clone()]);
    assert_eq!(engine.replace_file(first, other).unwrap_err().kind(), ErrorKind::InvalidArgument);
    let second = engine.replace_file(first, of(&large)).unwrap();
    assert_eq!(engine.files().iter().map(|file| file.id).collect::<Vec<_>>(), [second]);
    assert_eq!(engine.replace_file(first, of(&large)).unwrap_err().kind(), ErrorKind::NotFound);
    while player.blocking_next(PATIENCE).unwrap().expect("it goes on").payload.len() < 1_000 {}
}

#[test]
fn who_publishes_goes_on_and_who_comes_is_asked_for_the_new_key() {
    let engine = start("[publish]\nkey = \"old\"");
    let server = address(&engine, Protocol::Rtmp).unwrap();
    let _publishing = rtmp::publish_at(server, "a?key=old").unwrap();
    let reloaded = engine.reload(config("[publish]\nkey = \"new\"")).unwrap();
    assert_eq!(told(&reloaded), ["publish.key changed, for what begins from now on"]);
    assert!(rtmp::publish_at(server, "b?key=old").is_err());
    let _another = rtmp::publish_at(server, "b?key=new").unwrap();
    assert!(engine.stream(&key("live/a")).is_some());
}

#[test]
fn apps_come_and_go_and_what_runs_in_them_goes_on() {
    let engine = start("[apps.live]\n[apps.other]");
    let server = address(&engine, Protocol::Rtmp).unwrap();
    let _publishing = rtmp::publish_in(server, "other", "a").unwrap();
    engine.reload(config("[apps.live]\n[apps.new]\ntakeover = \"replace\"")).unwrap();
    assert!(rtmp::publish_in(server, "other", "b").is_err());
    let _new = rtmp::publish_in(server, "new", "a").unwrap();
    assert!(engine.stream(&key("other/a")).is_some());
    assert_eq!(engine.publish(&key("other/c")).err().map(|error| error.kind()), Some(ErrorKind::NotFound));
}

#[test]
fn limits_hold_for_streams_that_are_live() {
    let engine = start("");
    let publisher = engine.publish(&key("live/a")).unwrap();
    let push = |from: i64| (from..from + 50).for_each(|at| publisher.push(keyframe(at * 40, 1_000)).unwrap());
    push(0);
    assert!(engine.stream(&key("live/a")).unwrap().ring_bytes >= 50_000);
    engine.reload(config("[limits]\nring_bytes = 10000\nmax_streams_per_address = 1")).unwrap();
    push(50);
    assert!(engine.stream(&key("live/a")).unwrap().ring_bytes <= 12_000);
    let server = address(&engine, Protocol::Rtmp).unwrap();
    let _one = rtmp::publish_at(server, "b").unwrap();
    assert!(rtmp::publish_at(server, "c").is_err());
}

#[test]
fn what_needs_a_restart_is_told_of_until_there_is_one() {
    let engine = start("[engine]\nio_threads = 1");
    for _ in 0..2 {
        let reloaded = engine.reload(config("[engine]\nio_threads = 2\ndrain_timeout_ms = 5")).unwrap();
        assert_eq!(reloaded.after_restart().collect::<Vec<_>>(), ["engine.io_threads"]);
        assert!(reloaded.changes.iter().any(|change| change.effect == TakesEffect::AfterRestart));
        let now = engine.config().engine;
        assert_eq!((now.io_threads, now.drain_timeout_ms), (1, 5));
    }
}

#[test]
fn an_engine_that_drains_takes_nothing_anew() {
    let engine = start("");
    engine.blocking_drain().unwrap();
    assert_eq!(engine.reload(Config::default()).unwrap_err().kind(), ErrorKind::Closed);
    let weak = engine.downgrade();
    drop(engine);
    assert_eq!(streamengine::Manage::reload(&weak, Config::default()).unwrap_err().kind(), ErrorKind::Closed);
}

/// What each way to give a running server another configuration answers: this one, the C library, the API, the command
/// and SIGHUP have a test each that compares with the same file.
#[test]
fn the_answer_is_the_one_of_all_ways() {
    let engine = start(include_str!("../../tests/reload/before.toml"));
    let reloaded = engine.reload(config(include_str!("../../tests/reload/after.toml"))).unwrap();
    let answer: serde_json::Value =
        serde_json::from_str(include_str!("../../tests/reload/answer.json")).unwrap();
    assert_eq!(serde_json::to_value(&reloaded).unwrap(), answer);
}
