//! The commands' contracts for scripts: exit status, JSON lines, and what a failure names.

use std::path::PathBuf;
use std::time::Duration;
use streamengine_tests::flv::{Extent, Recording, assert_arrived};
use streamengine_tests::synthetic::{Shape, Source};
use streamengine_tests::{Engine, PATIENCE, Proc, Recorder, Signal, demo_clip, raw, streamengine, unique};

fn clip() -> String {
    demo_clip().to_string_lossy().into_owned()
}

fn stderr(process: &Proc) -> String {
    process.err.all().join("\n")
}

fn file(folder: &tempfile::TempDir, name: &str, text: &str) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, text).expect("file");
    path
}

#[test]
fn serve_is_ready_and_ends_with_0_on_sigterm_and_sigint() {
    for signal in [Signal::TERM, Signal::INT] {
        let engine = Engine::start();
        assert_ne!(engine.rtmp.port(), 0, "the real port is told");
        engine.process.signal(signal);
        assert_eq!(engine.process.wait(Duration::from_secs(5)), 0);
    }
}

#[test]
fn serve_listens_on_every_address_it_was_given() {
    let process = streamengine(["serve", "--json", "--rtmp", "127.0.0.1:0", "--rtmp", "[::1]:0"]);
    let first = process.out.find("\"ready\"", PATIENCE).expect("the ready line");
    let ready: serde_json::Value = serde_json::from_str(&first).expect("JSON");
    assert_eq!(ready["event"], "ready");
    let addresses = ready["rtmp"].as_array().expect("a list");
    assert_eq!(addresses.len(), 2, "{first}");
    for address in addresses {
        let address: std::net::SocketAddr = address.as_str().expect("text").parse().expect("address");
        std::net::TcpStream::connect(address).expect("it listens there");
    }
}

#[test]
fn without_json_stdout_of_serve_has_the_urls_and_nothing_else() {
    let process = streamengine(["serve", "--rtmp", "127.0.0.1:0"]);
    process.err.find("127.0.0.1:", PATIENCE).expect("the log names the address");
    process.out.find("ends the server", PATIENCE).expect("the last line");
    let urls = process.out.all();
    assert!(urls.iter().any(|line| line.starts_with("Play from")), "{urls:?}");
    process.signal(Signal::TERM);
    assert_eq!(process.wait(PATIENCE), 0);
    let rest = process.out.all().split_off(urls.len());
    assert!(rest.iter().all(String::is_empty), "{rest:?}");
}

#[test]
fn the_rule_for_publishing_is_said_in_one_line_at_start() {
    for (args, words) in
        [(vec![], "127.0.0.1"), (vec!["--open"], "everybody"), (vec!["--publish-key", "abc-marker"], "key")]
    {
        let mut command = vec!["serve", "--rtmp", "127.0.0.1:0"];
        command.extend(args);
        let process = streamengine(command);
        let line = process.err.find_after(0, PATIENCE, |line| {
            let low = line.to_lowercase();
            low.contains("publish").then_some(low)
        });
        let line = line.unwrap_or_else(|| panic!("no line on publishing\n{}", process.log()));
        let said = line.contains(words) || (words == "127.0.0.1" && line.contains("this machine"));
        assert!(said, "{words:?} is not in {line:?}");
        assert!(!stderr(&process).contains("abc-marker"), "the key is in the log");
    }
}

#[test]
fn usage_and_configuration_errors_end_with_2_and_name_the_cause() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let wrong = file(&folder, "wrong.toml", "[rtmp]\nlissten = [\"127.0.0.1:0\"]\n");
    let wrong = wrong.to_string_lossy();
    let cases: [(&[&str], &str); 9] = [
        (&["serve", "--no-such-option"], "--no-such-option"),
        (&["serve", "--rtmp", "nonsense"], "nonsense"),
        (&["serve", "--config", &wrong], "lissten"),
        (&["serve", "--config", "/no/such/file.toml"], "/no/such/file.toml"),
        (&["serve", "--rtmps", "127.0.0.1:0"], "cert"),
        (&["check-config", &wrong], "listen"),
        (&["relay", "rtmp://127.0.0.1/live/a"], "TO-URL"),
        (&["loop"], "FILE"),
        (&["relay", "rtmp://127.0.0.1/live/a", "http://127.0.0.1/live/b"], "rtmp"),
    ];
    for (args, words) in cases {
        let process = streamengine(args);
        assert_eq!(process.wait(PATIENCE), 2, "{args:?}\n{}", process.log());
        assert!(stderr(&process).contains(words), "{args:?}: {words:?} is not in {}", process.log());
        assert!(process.out.all().is_empty(), "{args:?}: stdout is for scripts\n{}", process.log());
    }
}

#[test]
fn check_config_accepts_a_right_file_with_0() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let right = file(
        &folder,
        "right.toml",
        "[rtmp]\nlisten = [\"127.0.0.1:0\"]\n[apps.live]\ntakeover = \"reject\"\n[limits]\nmax_connections = 5000\n",
    );
    let process = streamengine(["check-config".as_ref(), right.as_os_str()]);
    assert_eq!(process.wait(PATIENCE), 0, "{}", process.log());
}

#[test]
fn a_port_in_use_ends_serve_with_1_and_names_the_address() {
    let holder = std::net::TcpListener::bind("127.0.0.1:0").expect("port");
    let address = holder.local_addr().expect("address").to_string();
    let process = streamengine(["serve", "--rtmp", &address]);
    assert_eq!(process.wait(PATIENCE), 1, "{}", process.log());
    assert!(stderr(&process).contains(&address), "{}", process.log());
}

#[test]
fn the_environment_overrides_the_configuration() {
    let engine = Engine::serve().env("STREAMENGINE_APPS__ONLY__TAKEOVER", "reject").start();
    let refused = raw::RawPeer::connect(engine.rtmp, "live").err().expect("the app is not configured");
    assert!(refused.to_string().contains("no such app"), "{refused}");
    raw::RawPeer::connect(engine.rtmp, "only").expect("the configured app");
    let log = engine.process.err.find("only", PATIENCE);
    assert!(log.is_some(), "the log does not name the known apps\n{}", engine.process.log());
}

#[test]
fn events_of_a_session_come_as_json_lines() {
    let engine = Engine::start();
    let name = format!("live/{}", unique("events"));
    let mut source = Source::publish(engine.rtmp, &name, Shape::bits_per_second(400_000));
    let publish = engine.wait_publish(&name);
    assert!(publish["source"].as_str().is_some_and(|source| source.starts_with("127.0.0.1")), "{publish}");
    let player = Recorder::play(engine.rtmp, &name);
    engine.wait_players(&name, 1);
    player.wait_tags(5);
    drop(player);
    let stop = engine.wait("play-ended", |event| event["stream"] == name.as_str());
    assert!(stop["bytes_sent"].as_u64().is_some_and(|bytes| bytes > 0), "{stop}");
    assert!(stop["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{stop}");
    source.stop();
    let end = engine.wait_unpublish(&name);
    assert!(end["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{end}");
    engine.wait("session-closed", |event| event["session"] == publish["session"]);
}

#[test]
fn loop_ends_with_0_on_sigint_after_a_clean_unpublish() {
    for signal in [Signal::INT, Signal::TERM] {
        let engine = Engine::start();
        let name = format!("live/{}", unique("loop"));
        let looper = streamengine(["loop", &clip(), &engine.url(&name)]);
        engine.wait_publish(&name);
        let player = Recorder::play(engine.rtmp, &name);
        player.wait_tags(20);
        looper.signal(signal);
        assert_eq!(looper.wait(Duration::from_secs(5)), 0, "{}", looper.log());
        engine.wait_unpublish(&name);
        // A clean unpublish needs no resume window: players are told at once.
        assert_arrived(&Recording::read(&demo_clip()), &player.finish(Duration::from_secs(5)), Extent::Run);
    }
}

#[test]
fn loop_ends_with_1_when_its_only_target_refuses_for_good() {
    let engine = Engine::serve().key("right-marker").start();
    let url = engine.url("live/x?key=wrong-marker");
    let looper = streamengine(["loop", &clip(), &url]);
    assert_eq!(looper.wait(PATIENCE), 1, "{}", looper.log());
    let said = stderr(&looper);
    assert!(said.contains(&engine.rtmp.to_string()), "the target is not named: {said}");
    assert!(!said.contains("-marker"), "a key is in the log: {said}");
}

#[test]
fn loop_goes_on_asking_with_retry() {
    let engine = Engine::serve().key("right").start();
    let looper = streamengine(["loop", &clip(), &engine.url("live/x?key=wrong"), "--retry", "--json"]);
    let mut refusals = 0;
    engine.wait("refused", |event| {
        refusals += usize::from(event["request"] == "publish");
        refusals >= 2
    });
    looper.signal(Signal::INT);
    assert_eq!(looper.wait(Duration::from_secs(5)), 0, "{}", looper.log());
}

#[test]
fn loop_goes_on_while_one_of_two_targets_takes_the_stream() {
    let (open, locked) = (Engine::start(), Engine::serve().key("right").start());
    let looper = streamengine(["loop", &clip(), &open.url("live/x"), &locked.url("live/x"), "--loops", "1"]);
    locked.wait("refused", |event| event["request"] == "publish");
    let player = Recorder::play(open.rtmp, "live/x");
    player.wait_tags(400);
    assert_eq!(looper.wait(PATIENCE), 1, "one target has got nothing\n{}", looper.log());
    assert!(stderr(&looper).contains(&locked.rtmp.to_string()), "{}", looper.log());
}

#[test]
fn loop_names_a_file_it_cannot_play() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let empty = file(&folder, "empty.flv", "");
    let noise = file(&folder, "noise.flv", "this is no FLV file at all, however long it is");
    let engine = Engine::start();
    for path in [empty, noise, folder.path().join("missing.flv")] {
        let path = path.to_string_lossy().into_owned();
        let looper = streamengine(["loop", &path, &engine.url("live/x")]);
        let code = looper.wait(PATIENCE);
        assert!(matches!(code, 1 | 2), "{path}: {code}\n{}", looper.log());
        assert!(stderr(&looper).contains(&path), "{path} is not named\n{}", looper.log());
    }
    assert!(engine.events_of("stream-started").is_empty(), "something was published");
}

#[test]
fn loop_plays_a_file_cut_in_half_a_tag_up_to_its_last_whole_one() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let whole = std::fs::read(demo_clip()).expect("clip");
    let path = folder.path().join("cut.flv");
    std::fs::write(&path, &whole[..whole.len() / 5]).expect("cut");
    let engine = Engine::start();
    let player = Recorder::play(engine.rtmp, "live/cut");
    let looper = streamengine(["loop", &path.to_string_lossy(), &engine.url("live/cut"), "--loops", "1"]);
    assert_eq!(looper.wait(PATIENCE), 0, "{}", looper.log());
    assert_arrived(&Recording::read(&path), &player.finish(Duration::from_secs(10)), Extent::Whole);
}

#[test]
fn loop_serves_its_stream_here_too() {
    let looper = streamengine(["loop", &clip(), "--local", "live/here", "--rtmp", "127.0.0.1:0", "--json"]);
    let ready = looper.out.find("\"ready\"", PATIENCE).expect("ready");
    let ready: serde_json::Value = serde_json::from_str(&ready).expect("JSON");
    let address = ready["rtmp"][0].as_str().expect("address").parse().expect("address");
    let player = Recorder::play(address, "live/here");
    player.wait_tags(100);
    assert_arrived(&Recording::read(&demo_clip()), &player.stop(), Extent::Looped);
    looper.signal(Signal::TERM);
    assert_eq!(looper.wait(Duration::from_secs(5)), 0, "{}", looper.log());
}

#[test]
fn relay_ends_with_0_on_sigint_and_with_1_when_refused() {
    let (from, to) = (Engine::start(), Engine::start());
    let locked = Engine::serve().key("right").start();
    let name = format!("live/{}", unique("relay"));
    let _source = Source::publish(from.rtmp, &name, Shape::bits_per_second(400_000));
    let relay = streamengine(["relay", &from.url(&name), &to.url("copy/a")]);
    to.wait_publish("copy/a");
    relay.signal(Signal::INT);
    assert_eq!(relay.wait(Duration::from_secs(5)), 0, "{}", relay.log());
    to.wait_unpublish("copy/a");
    let refused = streamengine(["relay", &from.url(&name), &locked.url("copy/a")]);
    assert_eq!(refused.wait(PATIENCE), 1, "{}", refused.log());
    assert!(stderr(&refused).contains(&locked.rtmp.to_string()), "{}", refused.log());
}

/// A demo on free ports.
fn demo(options: &[&str]) -> Proc {
    let ports = ["--rtmp", "--rtmp2", "--http"].map(|port| [port, "127.0.0.1:0"]);
    streamengine([&["demo"], ports.as_flattened(), options].concat())
}

#[test]
fn demo_serves_the_clip_and_its_copy_and_ends_with_0() {
    let demo = demo(&["--json"]);
    let ready = demo.out.find("\"ready\"", PATIENCE).expect("ready");
    let ready: serde_json::Value = serde_json::from_str(&ready).expect("JSON");
    let source = Recording::read(&demo_clip());
    for url in ready["streams"].as_array().expect("streams") {
        let url = url.as_str().expect("text").strip_prefix("rtmp://").expect("RTMP").to_owned();
        let (address, name) = url.split_once('/').expect("a name");
        let address = address.parse().expect("address");
        let player = Recorder::play(address, name);
        player.wait_tags(100);
        assert_arrived(&source, &player.stop(), Extent::Looped);
    }
    demo.signal(Signal::INT);
    assert_eq!(demo.wait(Duration::from_secs(5)), 0, "{}", demo.log());
}

#[test]
fn demo_ends_by_itself_after_its_duration() {
    let demo = demo(&["--duration", "3"]);
    assert_eq!(demo.wait(PATIENCE), 0, "{}", demo.log());
    let said = demo.out.all().join("\n");
    for word in ["rtmp://", "live/demo", "ffplay", "VLC"] {
        assert!(said.contains(word), "{word} is not in {said}");
    }
}
