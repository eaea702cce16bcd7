//! The example programs, compiled with all warnings as errors and run: what they serve, push and record arrives byte for
//! byte, in each language, and under AddressSanitizer and valgrind too.
#![cfg(target_os = "linux")]

mod ffmpeg;
mod programs;
mod python;
#[path = "../support/mod.rs"]
mod support;
mod wrapper;

use programs::{Program, Way};
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use streamengine::Engine;
use streamengine_tests::flv::{Extent, Recording, Track, assert_arrived};
use streamengine_tests::raw::{RawPeer, text};
use streamengine_tests::{Lines, PATIENCE, Recorder, Signal, demo_clip, needs, peers, unique};

/// Programs under valgrind take their time to start.
const LONG: Duration = Duration::from_secs(120);

/// Runs a scenario in every way that this machine can run the program of that name.
fn in_every_way(name: &str, scenario: impl Fn(&Program)) {
    in_ways(&Way::ALL, name, scenario);
}

/// Runs a scenario in every language.
fn in_every_language(name: &str, scenario: impl Fn(&Program)) {
    in_ways(&[Way::C, Way::Cpp, Way::Python], name, scenario);
}

fn in_ways(ways: &[Way], name: &str, scenario: impl Fn(&Program)) {
    for &way in ways {
        if let Some(program) = Program::build(name, way) {
            eprintln!("{name} {way:?}");
            scenario(&program);
        }
    }
}

/// The server at the other end of an example: an engine in this process.
struct Peer {
    engine: Engine,
    address: SocketAddr,
}

impl Peer {
    /// Players may join long before the program under test is ready to publish.
    fn start() -> Self {
        let config = format!("[default_app]\nwait_for_publisher_ms = {}", LONG.as_millis());
        let config = streamengine::Config::from_toml(&config).unwrap();
        let builder = Engine::builder().config(config);
        let engine = builder.listen_rtmp(SocketAddr::from(([127, 0, 0, 1], 0))).start().unwrap();
        let address = engine.listeners()[0].address;
        Self { engine, address }
    }

    fn url(&self, name: &str) -> String {
        format!("rtmp://{}/{name}", self.address)
    }

    /// A player that has joined before anything is published.
    fn play(&self, name: &str) -> Recorder {
        let before = self.engine.stats().players;
        let player = Recorder::play(self.address, name);
        self.wait_players(before + 1);
        player
    }

    /// Waits until so many play.
    fn wait_players(&self, count: usize) {
        let joined = || self.engine.stats().players >= count;
        streamengine_tests::poll(LONG, || joined().then_some(())).expect("the player joins");
    }
}

/// Publishes all tags at once, and ends the stream.
fn publish_all(server: SocketAddr, name: &str, clip: &Recording) {
    let (app, stream) = name.split_once('/').unwrap();
    let mut peer = RawPeer::connect(server, app).unwrap();
    let number = peer.create_stream().unwrap();
    peer.send_command(number, "publish", 0.0, vec![rml_amf0::Amf0Value::Null, text(stream), text("live")])
        .unwrap();
    let status = peer.wait_status().unwrap();
    assert_eq!(status.code, "NetStream.Publish.Start", "{}", status.description);
    for tag in &clip.tags {
        peer.send(4 + tag.kind % 8, tag.timestamp, tag.kind, number, &tag.body).unwrap();
    }
    let end = vec![rml_amf0::Amf0Value::Null, rml_amf0::Amf0Value::Number(number.into())];
    peer.send_command(0, "deleteStream", 0.0, end).unwrap();
    peer.socket.shutdown(std::net::Shutdown::Write).unwrap();
    peer.wait_closed(PATIENCE);
}

/// Where a program says that it serves.
fn served(output: &Lines) -> SocketAddr {
    let port = output.find_after(0, LONG, |line| line.strip_prefix("serving at port ")?.parse::<u16>().ok());
    SocketAddr::from(([127, 0, 0, 1], port.expect("the program serves")))
}

/// A clip in this folder, with the tags of the first two seconds.
fn short_clip(folder: &Path) -> (PathBuf, Recording) {
    let mut clip = Recording::read(&demo_clip());
    clip.tags.retain(|tag| tag.timestamp < 2000);
    let path = folder.join("short.flv");
    std::fs::write(&path, clip.file()).unwrap();
    (path, clip)
}

/// The pictures of a recording as an H.264 byte stream, parameter sets before each keyframe.
fn annex_b(clip: &Recording) -> Vec<u8> {
    const START: [u8; 4] = [0, 0, 0, 1];
    let record = &clip.headers(Track::Video)[0].body[5..];
    let sps = &record[8..8 + usize::from(u16::from_be_bytes([record[6], record[7]]))];
    let pps = &record[8 + sps.len() + 3..];
    let mut bytes = Vec::new();
    for frame in clip.frames(Track::Video) {
        if frame.frame() == Some(true) {
            bytes.extend([&START, sps, &START, pps].concat());
        }
        let mut rest = &frame.body[5..];
        while let Some((size, after)) = rest.split_first_chunk() {
            let (nal, after) = after.split_at(u32::from_be_bytes(*size) as usize);
            bytes.extend([&START, nal].concat());
            rest = after;
        }
    }
    bytes
}

#[test]
fn serve_serves_and_tells_what_happens() {
    in_every_way("serve", |program| {
        let process = program.run(&["127.0.0.1:0"]);
        let server = served(&process.out);
        let name = format!("live/{}", unique("clip"));
        let player = Recorder::play(server, &name);
        let told = process.out.find(r#""event":"play-started""#, LONG);
        let (has_ended, said) = (player.has_ended(), process.out.all());
        assert!(told.is_some(), "the player is told of; it has ended: {has_ended}; the program: {said:#?}");
        let clip = Recording::read(&demo_clip());
        publish_all(server, &name, &clip);
        assert_arrived(&clip, &player.finish(LONG), Extent::Whole);
        for event in ["listener-opened", "stream-started", "stream-ended", "play-ended"] {
            process.out.find(&format!(r#""event":"{event}""#), PATIENCE).unwrap_or_else(|| panic!("{event}"));
        }
        process.signal(Signal::INT);
        process.succeed(LONG);
    });
}

#[test]
fn publish_pushes_the_pictures_of_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut clip = Recording::read(&demo_clip());
    clip.tags.retain(|tag| tag.track() == Some(Track::Video));
    let source = folder.path().join("clip.h264");
    let pictures = annex_b(&clip);
    std::fs::write(&source, &pictures).unwrap();
    in_every_way("publish", |program| {
        let peer = Peer::start();
        let name = format!("live/{}", unique("capture"));
        let player = peer.play(&name);
        let url = peer.url(&name);
        // At ten times the pace of the clip; except under valgrind, where connecting may take longer than that. The
        // push then starts with a later keyframe.
        let (process, extent) = match program.way.is_slow() {
            false => (program.run(&[source.to_str().unwrap(), &url, "250"]), Extent::Whole),
            true => {
                let pipe = named_pipe(folder.path());
                let process = program.run(&[pipe.to_str().unwrap(), &url, "25"]);
                feed_in_two(&pipe, &pictures, || player.wait_until(LONG, |tags| !tags.is_empty()));
                (process, Extent::ToTheEnd)
            }
        };
        process.succeed(LONG);
        process.out.find("published 250 pictures to rtmp://127.0.0.1", PATIENCE).expect("it tells how many");
        assert_arrived(&clip, &player.finish(PATIENCE), extent);
    });
}

fn named_pipe(folder: &Path) -> PathBuf {
    let path = folder.join(unique("pipe"));
    let made = Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success(), "mkfifo {}", path.display());
    path
}

/// Gives one half of the bytes to who reads the pipe, and the other after `between`.
fn feed_in_two(pipe: &Path, bytes: &[u8], between: impl FnOnce()) {
    let mut pipe = std::fs::OpenOptions::new().write(true).open(pipe).unwrap();
    let (first, second) = bytes.split_at(bytes.len() / 2);
    pipe.write_all(first).unwrap();
    between();
    pipe.write_all(second).unwrap();
}

#[test]
fn publish_tells_why_a_server_refuses() {
    in_every_language("publish", |program| {
        let config = "[apps.other]\ntakeover = \"reject\"";
        let config = streamengine::Config::from_toml(config).unwrap();
        let builder = Engine::builder().config(config);
        let engine = builder.listen_rtmp(SocketAddr::from(([127, 0, 0, 1], 0))).start().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("clip.h264");
        std::fs::write(&source, annex_b(&Recording::read(&demo_clip()))).unwrap();
        let url = format!("rtmp://{}/live/x", engine.listeners()[0].address);
        let process = program.run(&[source.to_str().unwrap(), &url, "100"]);
        assert_eq!(process.wait(LONG), 1, "{}", process.log());
        process
            .err
            .find("SE_E_REJECTED", PATIENCE)
            .or_else(|| process.err.find("REJECTED", PATIENCE))
            .expect("why");
    });
}

#[test]
fn record_writes_what_it_fetches() {
    let clip = Recording::read(&demo_clip());
    in_every_way("record", |program| {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("recorded.flv");
        let peer = Peer::start();
        let name = format!("live/{}", unique("clip"));
        let process = program.run(&[&peer.url(&name), file.to_str().unwrap()]);
        peer.wait_players(1);
        publish_all(peer.address, &name, &clip);
        process.succeed(LONG);
        let recorded = Recording::read(&file);
        assert_arrived(&clip, &recorded, Extent::Whole);
        let times = |recording: &Recording| -> Vec<u32> {
            recording.frames(Track::Video).iter().map(|tag| tag.timestamp).collect()
        };
        assert_eq!(times(&recorded), times(&clip));
        let tags = recorded.tags.len();
        process.out.find(&format!("recorded {tags} tags"), PATIENCE).expect("it tells how many");
    });
}

#[test]
fn loop_pushes_a_file_to_two_servers() {
    let folder = tempfile::tempdir().unwrap();
    let (source, clip) = short_clip(folder.path());
    in_every_way("loop", |program| {
        let peer = Peer::start();
        let names = [unique("one"), unique("two")].map(|name| format!("live/{name}"));
        let players = [peer.play(&names[0]), peer.play(&names[1])];
        let urls = [peer.url(&names[0]), peer.url(&names[1])];
        // Under valgrind it may take longer to connect than the file lasts.
        let (loops, extent) =
            if program.way.is_slow() { ("-1", Extent::Looped) } else { ("1", Extent::Whole) };
        let process = program.run(&[source.to_str().unwrap(), &urls[0], &urls[1], loops]);
        if program.way.is_slow() {
            players.iter().for_each(|player| player.wait_until(LONG, |tags| tags.len() > 50));
            process.signal(Signal::INT);
        }
        process.succeed(LONG);
        for player in players {
            assert_arrived(&clip, &player.finish(PATIENCE), extent);
        }
        for url in urls {
            let status = |line: &str| (line.starts_with(&url) && line.contains(" frames, ")).then_some(());
            process.out.find_after(0, PATIENCE, status).expect("its status is told");
        }
    });
}

/// Runs `serve_http` until ffmpeg has played the file to its end and on, and ends it: the player sees the end of the stream.
fn is_played_by_ffmpeg(program: &Program, scheme: &str, identity: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let (source, clip) = short_clip(folder.path());
    let process = program.run(&[&[source.to_str().unwrap(), "127.0.0.1:0"], identity].concat());
    let player = peers::ffmpeg_play(&format!("{scheme}://{}/live/loop.flv", served(&process.out)));
    let size = |path: &Path| std::fs::metadata(path).map_or(0, |file| file.len());
    let more_than_all = || size(&player.path()) > size(&source);
    streamengine_tests::poll(LONG, || more_than_all().then_some(()))
        .expect("more than the file has been played");
    process.signal(Signal::INT);
    assert_arrived(&clip, &player.finish(), Extent::Looped);
    process.succeed(LONG);
    process
        .out
        .find("asks for live/loop by HTTP, on a page of no site", PATIENCE)
        .expect("who comes is told");
    for event in [r#""event":"play-started""#, r#""door":"http-flv""#] {
        process.out.find(event, PATIENCE).unwrap_or_else(|| panic!("{event}"));
    }
}

#[test]
fn serve_http_plays_a_file_to_ffmpeg() {
    needs!("ffmpeg");
    in_every_way("serve_http", |program| is_played_by_ffmpeg(program, "http", &[]));
}

#[test]
fn serve_http_plays_a_file_to_ffmpeg_over_https() {
    needs!("ffmpeg");
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let paths = ["cert.pem", "key.pem"].map(|name| folder.path().join(name));
    std::fs::write(&paths[0], made.cert.pem()).unwrap();
    std::fs::write(&paths[1], made.signing_key.serialize_pem()).unwrap();
    let identity = paths.each_ref().map(|path| path.to_str().unwrap());
    in_every_language("serve_http", |program| is_played_by_ffmpeg(program, "https", &identity));
}

#[test]
fn auth_decides_on_a_thread_of_its_own() {
    in_every_way("auth", |program| {
        let process = program.run(&["127.0.0.1:0", "right"]);
        let server = served(&process.out);
        let mut stranger = RawPeer::connect(server, "live").unwrap();
        let status = stranger.publish("mine?key=wrong").unwrap();
        assert!(
            status.level == "error" && status.description.contains("ask the owner for a key"),
            "{status:?}"
        );
        process.out.find("refused to live/mine from 127.0.0.1", PATIENCE).expect("it tells of the refusal");
        let mut owner = RawPeer::connect(server, "live").unwrap();
        let status = owner.publish("mine?key=right").unwrap();
        assert_eq!(status.code, "NetStream.Publish.Start", "{status:?}");
        process.out.find("granted to live/mine from 127.0.0.1", PATIENCE).expect("it tells of the grant");
        let mut player = RawPeer::connect(server, "live").unwrap();
        assert_eq!(player.play("mine").unwrap().code, "NetStream.Play.Start");
        process.signal(Signal::INT);
        process.succeed(LONG);
    });
}

#[test]
fn auth_prints_whole_lines_whichever_thread_prints() {
    const STRANGERS: u8 = 24;
    let address = |number| Ipv4Addr::new(127, 0, 1, number);
    in_every_language("auth", |program| {
        let process = program.run(&["127.0.0.1:0", "right"]);
        let server = served(&process.out);
        std::thread::scope(|scope| {
            for number in 0..STRANGERS {
                scope.spawn(move || {
                    // Each from an address of its own: one that is refused often has to wait.
                    let mut stranger = RawPeer::dial_with(server, Some(address(number)), None).unwrap();
                    stranger.open("live").unwrap();
                    assert_eq!(stranger.publish(&format!("s{number}?key=wrong")).unwrap().level, "error");
                });
            }
        });
        for number in 0..STRANGERS {
            let start = format!("refused to live/s{number} from {}:", address(number));
            let whole = |line: &str| line.strip_prefix(&start)?.parse::<u16>().ok();
            process.out.find_after(0, LONG, whole).unwrap_or_else(|| panic!("{start}\n{}", process.log()));
        }
        process.signal(Signal::INT);
        process.succeed(LONG);
        for line in process.out.all() {
            let is_event = line.starts_with("{\"") && line.ends_with('}') && !line.contains("}{");
            assert!(is_event || line.starts_with("refused to ") || line.starts_with("serving at "), "{line}");
        }
    });
}

#[test]
fn programs_without_their_arguments_print_usage() {
    for (name, arguments) in [
        ("publish", &[] as &[&str]),
        ("publish", &["-"]),
        ("record", &[]),
        ("record", &["rtmp://h/a/b"]),
        ("loop", &[]),
        ("serve_http", &[]),
        ("serve_http", &["a.flv", "127.0.0.1:0", "cert.pem"]),
    ] {
        in_every_language(name, |program| {
            let process = program.run(arguments);
            assert_eq!(process.wait(LONG), 2, "{}", process.log());
            let line = process.err.find("usage: ", PATIENCE).expect("usage");
            assert!(line.contains(name), "{line}");
            assert!(!process.log().contains("Traceback"), "{}", process.log());
        });
    }
}

#[test]
fn a_taken_port_is_told_with_code_and_address() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let clip = demo_clip();
    let file = clip.to_str().unwrap();
    for (name, arguments) in
        [("serve", vec![&address[..]]), ("auth", vec![&address]), ("serve_http", vec![file, &address])]
    {
        in_every_language(name, |program| {
            let process = program.run(&arguments);
            assert_eq!(process.wait(LONG), 1, "{}", process.log());
            let line = process.err.find("ADDRESS_IN_USE: ", PATIENCE).expect("the code");
            assert!(line.contains(&address), "{line}");
        });
    }
}

#[test]
fn publish_makes_pictures_itself_where_x264_is() {
    let Some(program) = Program::build_with_x264("publish") else { return };
    let peer = Peer::start();
    let name = format!("live/{}", unique("capture"));
    let player = peer.play(&name);
    let process = program.run(&["pattern", &peer.url(&name), "100"]);
    player.wait_tags(50);
    process.signal(Signal::INT);
    process.succeed(LONG);
    let got = player.finish(PATIENCE);
    assert_eq!(got.frames(Track::Video)[0].frame(), Some(true));
    assert_eq!(got.headers(Track::Video).len(), 1);
}
