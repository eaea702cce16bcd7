//! A configuration that is read anew under load: what is not in it loses nothing.

use serde_json::Value;
use std::path::Path;
use std::time::Duration;
use streamengine_tests::synthetic::{Shape, Source, Watcher};
use streamengine_tests::{Engine, PATIENCE, Signal, streamengine, tls};

const STREAMS: usize = 20;
const PLAYERS_EACH: usize = 10;

/// What a server answers to `reload`, and the status of the command.
fn reload(engine: &Engine) -> (i32, Value) {
    let control = engine.folder().join("control");
    let command =
        streamengine(["reload".as_ref(), "--json".as_ref(), "--control".as_ref(), control.as_os_str()]);
    match command.wait(PATIENCE) {
        0 => (0, serde_json::from_str(&command.out.find("{", PATIENCE).unwrap()).unwrap()),
        status => (status, Value::Null),
    }
}

fn serve(lines: &str) -> Engine {
    // The server runs in its own folder.
    Engine::serve().arg("--control").arg("control").config(lines).start()
}

fn write(engine: &Engine, lines: &str) {
    std::fs::write(engine.folder().join("streamengine.toml"), lines).unwrap();
}

/// Settings that differ in one thing from one to the next, and the key of that.
fn steps(leaves: &[tls::Leaf; 2], clip: &Path) -> Vec<(&'static str, String)> {
    let rtmps = |leaf: &tls::Leaf| {
        let (cert, key) = (leaf.cert.display(), leaf.key.display());
        format!("[rtmps]\nlisten = [\"127.0.0.1:0\"]\ncert = \"{cert}\"\nkey = \"{key}\"\n")
    };
    let push = "[[push]]\nstream = \"live/s0\"\nurl = \"rtmp://127.0.0.1:1/live/x\"\n";
    let file = format!("[[file]]\nstream = \"live/clip\"\npaths = [\"{}\"]\n", clip.display());
    let origin = |wait: u32| format!("[origins.a]\nurls = [\"rtmp://127.0.0.1:1\"]\nwait_ms = {wait}\n");
    let of = |key, lines: &str| (key, lines.to_owned());
    vec![
        of("limits.ring_ms", "[limits]\nring_ms = 20000\n"),
        of("limits.ring_ms", ""),
        of("limits.max_connections", "[limits]\nmax_connections = 5000\n"),
        of("limits.max_connections", ""),
        of("limits.player_batch", "[limits]\nplayer_batch = 65536\n"),
        of("limits.player_batch", ""),
        of("default_app.flush", "[default_app]\nflush = \"merge\"\n"),
        of("default_app.flush", ""),
        of("apps.live", "[apps.live]\n"),
        of("apps.live.max_viewers", "[apps.live]\nmax_viewers = 1000\n"),
        of("apps.live", ""),
        of("publish.key", "[publish]\nkey = \"a\"\n"),
        of("publish.key", "[publish]\nkey = \"b\"\n"),
        of("publish.key", ""),
        ("rtmps", rtmps(&leaves[0])),
        ("rtmps", rtmps(&leaves[1])),
        of("rtmps", ""),
        of("push", push),
        ("push", format!("{push}max_retries = 3\n")),
        of("push", ""),
        ("file", file.clone()),
        ("file", format!("{file}loops = 1000\n")),
        of("file", ""),
        ("origins.a", origin(1_000)),
        ("origins.a", origin(2_000)),
        of("origins.a", ""),
        of("engine.io_threads", "[engine]\nio_threads = 3\n"),
        of("engine.io_threads", ""),
    ]
}

#[test]
fn changes_of_the_configuration_cost_200_players_of_20_publishers_no_frame() {
    let (ca, clip) = (tls::Authority::new(), streamengine_tests::demo_clip());
    let leaves = [ca.self_signed(), ca.self_signed()];
    let engine = serve("");
    let shape = Shape { frame: 200, interval: Duration::from_millis(200), gop: 5 };
    let name = |number: usize| format!("live/s{number}");
    let mut sources: Vec<_> =
        (0..STREAMS).map(|number| Source::publish(engine.rtmp, &name(number), shape)).collect();
    let players: Vec<_> = (0..STREAMS * PLAYERS_EACH)
        .map(|number| Watcher::play(engine.rtmp, &name(number % STREAMS)))
        .collect();
    for (key, lines) in steps(&leaves, &clip) {
        write(&engine, &lines);
        let (status, answer) = reload(&engine);
        let changes = answer["changes"].as_array().cloned().unwrap_or_default();
        // What the file has back as it was, of what a restart would have been needed for, is no change.
        let is_expected = (key == "engine.io_threads" && lines.is_empty()) == changes.is_empty();
        assert!(status == 0 && is_expected, "{lines}: {status} {answer}");
        assert!(changes.iter().all(|change| change["key"].as_str().unwrap().starts_with(key)), "{answer}");
    }
    for source in &mut sources {
        assert!(!source.has_ended());
        source.pause();
    }
    for (number, player) in players.iter().enumerate() {
        let last = sources[number % STREAMS].sent() - 1;
        player.wait_number(last, PATIENCE);
        let seen = player.seen();
        assert_eq!((seen.lost, seen.backwards), (0, 0), "player {number}: {seen:?}");
        assert!(!player.has_ended());
    }
}

#[test]
fn command_and_sighup_give_the_same_answer_and_a_wrong_file_changes_nothing() {
    let engine = serve("");
    let wrong = "[limits]\nring_ms = 20000\nrign_bytes = 1\n";
    write(&engine, wrong);
    let (status, answer) = reload(&engine);
    assert_eq!((status, answer), (2, Value::Null));
    let log = || engine.process.err.all().join("\n");
    assert!(log().contains("did you mean `ring_bytes`") && log().contains("all stays as it is"), "{}", log());

    write(&engine, "[limits]\nring_ms = 20000\n");
    let (status, by_command) = reload(&engine);
    assert_eq!((status, by_command["changes"].as_array().unwrap().len()), (0, 1), "{by_command}");
    write(&engine, "");
    engine.process.signal(Signal::HUP);
    let told = |count: usize| log().matches("configuration: limits.ring_ms changed").count() == count;
    assert!(streamengine_tests::poll(PATIENCE, || told(2).then_some(())).is_some(), "{}", log());
    write(&engine, wrong);
    engine.process.signal(Signal::HUP);
    let refused = || log().matches("all stays as it is").count() == 2;
    assert!(streamengine_tests::poll(PATIENCE, || refused().then_some(())).is_some(), "{}", log());
    assert!(engine.folder().join("control").exists());
    assert_eq!(engine.stop(), 0);
}

/// As `the_answer_is_the_one_of_all_ways` of the engine's tests: the command answers so, and SIGHUP puts it into the log.
#[test]
fn command_and_sighup_answer_as_all_ways_do() {
    let (before, after) = (include_str!("../reload/before.toml"), include_str!("../reload/after.toml"));
    let answer: Value = serde_json::from_str(include_str!("../reload/answer.json")).unwrap();
    let asked = serve(before);
    write(&asked, after);
    assert_eq!(reload(&asked), (0, answer.clone()));

    let hung_up = serve(before);
    write(&hung_up, after);
    hung_up.process.signal(Signal::HUP);
    let log = || hung_up.process.err.all().join("\n");
    let is_done = || log().contains("configuration read again").then_some(());
    assert!(streamengine_tests::poll(PATIENCE, is_done).is_some(), "{}", log());
    let log = log();
    let changes = answer["changes"].as_array().unwrap();
    for change in changes {
        let text = |name: &str| change[name].as_str().unwrap_or_default().to_owned();
        let (key, entry, kind) = (text("key"), text("entry"), text("kind"));
        let line =
            [key, entry, kind].into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
        assert!(log.contains(&format!("configuration: {line}")), "{line}: {log}");
    }
    assert_eq!(log.matches("configuration: ").count(), changes.len(), "{log}");
    assert!(!log.contains("s3cret"), "{log}");
}
