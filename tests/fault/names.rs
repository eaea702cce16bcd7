//! F36, F41: hostile names are values: never a file, never more than one line of output.

use rml_amf0::Amf0Value;
use streamengine_tests::raw::{RawPeer, text};
use streamengine_tests::synthetic::{Shape, Source, Watcher};
use streamengine_tests::{Engine, poll};

const HOSTILE: [&str; 26] = [
    "a\r\nb",
    "a\n{\"event\":\"stream-started\"}",
    "\u{1b}[2J\u{1b}[31mred",
    "quote\"quote",
    "back\\slash",
    "nul\0nul",
    "\u{202e}evil",
    "ｌｉｖｅ",
    "..",
    "../../etc/passwd",
    "..%2f..%2fetc",
    "%252e%252e%252f",
    "a/../b",
    ".hidden",
    "C:\\windows\\x",
    "\\\\server\\share",
    "con",
    "a b",
    "<script>alert(1)</script>",
    "$(touch owned)",
    "`touch owned`",
    "; touch owned",
    "{\"a\":1}",
    "\u{7f}\u{9b}31m",
    "\u{feff}bom",
    "",
];

/// Says `word` in every place where a peer can say one.
fn say_everywhere(engine: &Engine, word: &str) -> std::io::Result<()> {
    for app in ["live", word] {
        let mut peer = RawPeer::dial(engine.rtmp)?;
        peer.handshake()?;
        let properties =
            [("app", app), ("tcUrl", word), ("flashVer", word), ("pageUrl", word), ("swfUrl", word)];
        let status = peer.connect_with(&properties)?;
        if status.code != "NetConnection.Connect.Success" {
            continue;
        }
        peer.send_command(0, word, 9.0, vec![Amf0Value::Null])?;
        peer.send_command(0, "releaseStream", 2.0, vec![Amf0Value::Null, text(word)])?;
        let stream = peer.create_stream()?;
        let publish = vec![Amf0Value::Null, text(word), text("live")];
        peer.send_command(stream, "publish", 0.0, publish)?;
        peer.wait_status()?;
        peer.send(
            4,
            0,
            18,
            stream,
            &streamengine_tests::raw::command("@setDataFrame", 0.0, vec![text(word)]),
        )?;
        let mut player = RawPeer::connect(engine.rtmp, "live")?;
        player.ask_play(word)?;
        player.wait_status()?;
    }
    Ok(())
}

#[test]
fn f41_hostile_names_stay_within_one_line_and_f36_make_no_file() {
    let engine = Engine::serve().env("STREAMENGINE_DEFAULT_APP__WAIT_FOR_PUBLISHER_MS", 0).start();
    let _source = Source::publish(engine.rtmp, "live/base", Shape::bits_per_second(400_000));
    let watcher = Watcher::play(engine.rtmp, "live/base");
    watcher.wait_frames(5);
    let long = "x".repeat(60_000);
    for word in HOSTILE.into_iter().chain([long.as_str(), "fine"]) {
        // Whether it is answered or the connection is closed is its own matter; the output is ours.
        let _ = say_everywhere(&engine, word);
    }
    engine.wait("stream-started", |event| event["stream"] == "live/fine");
    let settled = poll(streamengine_tests::PATIENCE, || {
        let (opened, closed) =
            (engine.events_of("stream-started").len(), engine.events_of("stream-ended").len());
        (opened <= closed + 1).then_some(())
    });
    assert!(settled.is_some(), "publishers are left over\n{}", engine.process.log());
    // Every line parses (this panics if not), and is about what a name may be.
    for event in engine.events() {
        if let Some(stream) = event["stream"].as_str() {
            let allowed = |c: char| c.is_alphanumeric() || "_.-+~@()=&/".contains(c);
            assert!(stream.chars().all(allowed) && !stream.contains(".."), "{event}");
        }
    }
    for line in [engine.process.out.all(), engine.process.err.all()].concat() {
        let raw = line.chars().find(|&c| c.is_control() || c == '\u{202e}' || c == '\u{feff}');
        assert!(raw.is_none(), "a raw control character {raw:?} in {line:?}");
        assert!(line.len() < 4_096, "a line of {} bytes", line.len());
    }
    let files = std::fs::read_dir(engine.folder()).expect("folder").count();
    assert_eq!(files, 0, "files were made in the working folder");
    assert_eq!(watcher.seen().lost, 0);
}
