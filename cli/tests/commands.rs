//! The command line's promises to people and scripts: help, the ready line, events, exit status, secrets.
#![cfg(unix)]

mod console;
mod process;

use process::{COMMANDS, Process, run, run_with};
use std::io::Write;
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use streamengine::testing::wait::at_most;
use tempfile::TempDir;

const ANY: &str = "127.0.0.1:0";

fn project(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn file(directory: &TempDir, name: &str, content: impl AsRef<[u8]>) -> String {
    let path = directory.path().join(name);
    std::fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

/// The first second and a half of the bundled clip.
fn short_clip(directory: &TempDir) -> String {
    let clip = std::fs::read(project("examples/media/demo.flv")).unwrap();
    file(directory, "short.flv", &clip[..64 * 1024])
}

fn serve(args: &[&str]) -> (Process, u16) {
    let process = Process::start(&[&["serve", "--rtmp", ANY, "--no-http", "--json"], args].concat());
    let ready = process.event();
    let port = Process::port(&ready, 0);
    (process, port)
}

#[test]
fn help_of_every_command_has_examples_and_exit_status() {
    for name in COMMANDS {
        let ended = run(&[name, "--help"]);
        assert_eq!(ended.code, Some(0), "{name}");
        for part in ["Examples:", "Exit status:", &format!("streamengine {name}")] {
            assert!(ended.stdout.contains(part), "{name} lacks {part}");
        }
    }
    let help = run(&["--help"]).stdout;
    let (_, list) = help.split_once("Commands:\n").unwrap();
    let (list, rest) = list.split_once("\n\n").unwrap();
    let named: Vec<_> = list.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next()).collect();
    let named: Vec<_> = named.into_iter().filter(|name| !["", "help"].contains(name)).collect();
    assert_eq!(named, COMMANDS, "{help}");
    assert!(rest.contains("Exit status:"), "{help}");
}

#[test]
fn the_sample_configuration_is_valid_also_with_all_its_settings_taken_up() {
    let sample = std::fs::read_to_string(project("examples/streamengine.toml")).unwrap();
    let directory = TempDir::new().unwrap();
    let settings = |line: &str| match line.strip_prefix('#') {
        Some(setting) if !setting.starts_with(' ') => setting.to_owned(),
        _ => line.to_owned(),
    };
    let all: Vec<String> = sample.lines().map(settings).collect();
    // check-config opens the files that a configuration names.
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let cert = file(&directory, "cert.pem", made.cert.pem());
    let all = all
        .join("\n")
        .replace("/etc/streamengine/fullchain.pem", &cert)
        .replace("/etc/streamengine/ca.pem", &cert)
        .replace(
            "/etc/streamengine/privkey.pem",
            &file(&directory, "key.pem", made.signing_key.serialize_pem()),
        )
        .replace("/var/lib/streamengine/hls", directory.path().to_str().unwrap())
        .replace("/var/lib/streamengine/recordings", directory.path().to_str().unwrap())
        .replace("\"clip.mp4\", \"clip.flv\"", &format!("{:?}", short_clip(&directory)));
    for (text, part) in [(sample.clone(), "this machine only"), (all, "short.flv 3 times")] {
        let ended = run(&["check-config", &file(&directory, "sample.toml", text)]);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert!(ended.stdout.contains(part), "{}", ended.stdout);
    }
}

#[test]
fn the_sample_configuration_names_every_setting() {
    let sample = std::fs::read_to_string(project("examples/streamengine.toml")).unwrap();
    let mut names = 0;
    for section in [
        "",
        "rtmp.",
        "rtmps.",
        "http.",
        "https.",
        "publish.",
        "default_app.",
        "default_app.hls.",
        "tls.",
        "engine.",
        "limits.",
    ] {
        let ended = run(&["serve", "--set", &format!("{section}nope=1")]);
        assert_eq!(ended.code, Some(2));
        let (_, known) = ended.stderr.split_once("expected").unwrap();
        for name in known.lines().next().unwrap().split('`').skip(1).step_by(2) {
            assert!(
                sample.contains(&format!("{name} =")) || sample.contains(&format!("[{section}{name}")),
                "{section}{name}"
            );
            names += 1;
        }
    }
    assert!(names > 40, "only {names} settings found");
}

#[test]
fn a_wrong_configuration_is_status_2_and_names_the_line_and_the_nearest_key() {
    let directory = TempDir::new().unwrap();
    let path = file(&directory, "wrong.toml", "[rtmp]\nlisten = []\n[limits]\nmax_conections = 5\n");
    for args in [&["check-config", path.as_str()][..], &["serve", "--config", &path]] {
        let ended = run(args);
        assert_eq!(ended.code, Some(2));
        for part in [path.as_str(), "line 4", "did you mean `max_connections`?"] {
            assert!(ended.stderr.contains(part), "{args:?}: {}", ended.stderr);
        }
    }
    assert_eq!(run(&["check-config", "/no/such/file"]).code, Some(2));
}

#[test]
fn a_relay_gives_a_server_up_after_the_attempts_that_it_is_allowed() {
    // Nobody listens on a port that was free a moment ago.
    let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (from, to) = (format!("rtmp://{}/a/b", free()), format!("rtmp://{}/a/b", free()));
    let ended = run(&["relay", &from, &to, "--max-retries", "1", "--connect-timeout", "2000"]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.lines().last().unwrap().contains("refused"), "{}", ended.stderr);
}

#[test]
fn a_wrong_command_line_is_status_2() {
    for args in [
        &["serve", "--publish-key", "a", "--open"][..],
        &["serve", "--publish-key", ""],
        &["serve", "--rtmp", "nowhere"],
        &["serve", "--rtmps", ANY],
        &["serve", "--rtmps", ANY, "--cert", "c.pem"],
        &["serve", "--cert", "c.pem", "--key", "k.pem"],
        &["serve", "--http", "8080"],
        &["serve", "--http", ANY, "--no-http"],
        &["serve", "--https", ANY, "--no-http"],
        &["serve", "--config", "/dev/zero"],
        &["serve", "--set", "limits"],
        &["relay", "rtmp://h/a/b", "rtmp://h/c/d", "--chunk-size", "0"],
        &["relay", "rtmp://h/a/b", "rtmp://h/c/d", "--connect", "pageUrl"],
        &["relay", "rtmp://h/a/b", "rtmp://h/c/d", "--connect", "app=x"],
        &["serve", "--log", "=="],
        &["serve", "--log", "warning"],
        &["serve", "--log", "stremengine=debug"],
        &["loop", "rtmp://127.0.0.1/live/x"],
        &["loop", "clip.flv"],
        &["loop", "clip.flv", "--local", "live/x"],
        &["loop", "clip.flv", "--rtmp", ANY],
        &["loop", "clip.flv", "rtmp://127.0.0.1/live/x", "--loops", "0"],
        &["loop", "-", "rtmp://127.0.0.1/live/x"],
        &["relay", "rtmp://127.0.0.1/live/x"],
        &["relay", "rtmp://127.0.0.1/live/x", "rtmp://127.0.0.1:1935/live/x"],
        &["relay", "clip.flv", "rtmp://127.0.0.1/live/x"],
        &["unknown"],
    ] {
        let ended = run(args);
        assert_eq!(ended.code, Some(2), "{args:?}: {}", ended.stderr);
        assert!(ended.stdout.is_empty() && !ended.stderr.is_empty(), "{args:?}: {ended:?}");
        assert!(!ended.stderr.contains("18446744073709551615"), "{args:?}: {}", ended.stderr);
    }
}

#[test]
fn the_first_line_for_scripts_tells_the_addresses_really_bound() {
    let process = Process::start(&["serve", "--rtmp", ANY, "--rtmp", ANY, "--http", ANY, "--json"]);
    let ready = process.event();
    assert_eq!(ready["event"], "ready");
    assert!(ready["pid"].is_u64());
    assert_eq!((&ready["rtmps"], &ready["https"]), (&serde_json::json!([]), &serde_json::json!([])));
    std::net::TcpStream::connect(ready["http"][0].as_str().unwrap()).unwrap();
    for index in 0..2 {
        let port = Process::port(&ready, index);
        std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    }
    assert_ne!(Process::port(&ready, 0), Process::port(&ready, 1));
}

#[test]
fn rtmps_listens_with_a_certificate_from_files() {
    let directory = TempDir::new().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let cert = file(&directory, "cert.pem", made.cert.pem());
    let key = file(&directory, "key.pem", made.signing_key.serialize_pem());
    let process = Process::start(&["serve", "--rtmps", ANY, "--cert", &cert, "--key", &key, "--json"]);
    let ready = process.event();
    assert_eq!(ready["rtmp"], serde_json::json!([]), "no plain listener was asked for");
    let address = ready["rtmps"][0].as_str().unwrap();
    std::net::TcpStream::connect(address).unwrap();

    let log = {
        let mut process = process;
        process.signal("TERM");
        process.wait();
        process.stderr()
    };
    assert!(log.contains("plain RTMP is not served") && log.contains("--rtmp 0.0.0.0:1935"), "{log}");

    let broken = run(&["serve", "--rtmps", ANY, "--cert", &key, "--key", &key]);
    assert_eq!(broken.code, Some(2));
    assert!(broken.stderr.contains("key.pem"), "{}", broken.stderr);
    let alone = run(&["serve", "--rtmps", ANY]).stderr;
    assert!(alone.contains("--cert FILE and --key FILE"), "{alone}");
}

/// An address of this machine that no other process has, so that its port 8080 is free.
fn own_address() -> String {
    let [_, a, b, c] = std::process::id().to_be_bytes();
    // 127.0.0.0/16 is what everybody uses.
    format!("127.{}.{b}.{}", 32 + a, c.clamp(1, 254))
}

#[test]
fn http_is_served_beside_plain_rtmp_where_nothing_is_said_about_it_and_the_port_is_free() {
    let directory = TempDir::new().unwrap();
    let host = own_address();
    let (rtmp, http) = (format!("{host}:0"), format!("{host}:8080"));
    let told = |args: &[&str]| {
        let mut process = Process::start(&[&["serve", "--rtmp", &rtmp, "--json"], args].concat());
        let ready = process.event();
        if let Some(address) = ready["http"][0].as_str() {
            let mut socket = std::net::TcpStream::connect(address).unwrap();
            socket.write_all(b"HEAD /live/x.flv HTTP/1.0\r\n\r\n").unwrap();
            let reply = std::io::read_to_string(socket).unwrap();
            assert!(reply.starts_with("HTTP/1.0 404"), "{reply}");
        }
        process.signal("TERM");
        assert_eq!(process.wait().code(), Some(0));
        (ready["http"].clone(), process.stderr())
    };
    let none = serde_json::json!([]);
    assert_eq!(told(&[]).0, serde_json::json!([http]));
    for args in [&["--no-http"][..], &["--set", "http.listen=[]"]] {
        assert_eq!(told(args).0, none, "{args:?}");
    }
    let [off, here] = [("off.toml", ""), ("here.toml", ANY)]
        .map(|(name, address)| file(&directory, name, format!("[http]\nlisten = \"{address}\"\n")));
    assert_eq!(told(&["--config", &off]).0, none);
    for args in [&["--config", here.as_str()][..], &["--http", ANY]] {
        let (http, log) = told(args);
        let address = http[0].as_str().unwrap();
        assert!(address.starts_with("127.0.0.1:") && !log.contains(":8080"), "{args:?}: {log}");
    }

    let taken = TcpListener::bind(&http).unwrap();
    let (bound, log) = told(&[]);
    assert_eq!(bound, none);
    for part in ["WARN", &http, "in use", "--http ADDR:PORT", "--no-http"] {
        assert!(log.contains(part), "{part}: {log}");
    }
    drop(taken);
}

#[test]
fn https_listens_with_the_same_certificate_as_rtmps_and_alone() {
    let directory = TempDir::new().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let cert = file(&directory, "cert.pem", made.cert.pem());
    let key = file(&directory, "key.pem", made.signing_key.serialize_pem());
    let identity = ["--cert", cert.as_str(), "--key", &key];
    let ready = |args: &[&str]| Process::start(&[&["serve", "--json"], args, &identity].concat()).event();
    let told = ready(&["--rtmp", ANY, "--https", ANY, "--rtmps", ANY]);
    let count = |list: &str| told[list].as_array().unwrap().len();
    assert_eq!(["rtmp", "rtmps", "http", "https"].map(count), [1, 1, 0, 1], "{told}");
    let told = ready(&["--rtmps", ANY]);
    assert_eq!(told["http"], serde_json::json!([]), "nothing plain was asked for");
    let alone = run(&["serve", "--rtmps", ANY]).stderr;
    assert!(alone.contains("--rtmps needs a certificate"), "{alone}");
}

#[test]
fn https_without_a_certificate_signs_one_itself_and_keeps_it() {
    let directory = TempDir::new().unwrap();
    let state = directory.path().join("a/state");
    let start = || {
        let args = ["serve", "--json", "--rtmp", ANY, "--https", ANY, "--state-dir", state.to_str().unwrap()];
        let told = Process::start(&args).event();
        assert_eq!(told["https"].as_array().unwrap().len(), 1, "{told}");
        std::fs::read_to_string(state.join("self-signed.pem")).unwrap()
    };
    let first = start();
    assert!(first.starts_with("-----BEGIN CERTIFICATE-----"), "{first}");
    assert_eq!(start(), first, "the one that was trusted");
    let key = state.join("self-signed-key.pem");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&key), mode(&state)), (0o600, 0o700));
    }
    // Near its end there is a new one, and so where its key is lost.
    let certificate = std::fs::File::options().write(true).open(state.join("self-signed.pem")).unwrap();
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(336 * 24 * 60 * 60);
    certificate.set_modified(old).unwrap();
    let second = start();
    assert_ne!(second, first);
    std::fs::remove_file(key).unwrap();
    assert_ne!(start(), second);
}

#[test]
fn check_config_tells_where_http_will_be_served() {
    let directory = TempDir::new().unwrap();
    for (config, told) in [
        ("", "0.0.0.0:8080, [::]:8080, where free"),
        (
            "[rtmp]\nlisten = [\"127.0.0.1:1\", \"127.0.0.1:2\", \"[::1]:1\"]\n",
            "127.0.0.1:8080, [::1]:8080, where free",
        ),
        ("[http]\nlisten = [\"127.0.0.1:81\"]\n", "127.0.0.1:81"),
        ("[http]\nlisten = []\n", "off"),
    ] {
        let ended = run(&["check-config", &file(&directory, "c.toml", config)]);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let line = ended.stdout.lines().find_map(|line| line.strip_prefix("http ")).unwrap();
        assert_eq!(line.trim(), told, "{config}");
    }
}

#[test]
fn check_config_opens_what_the_file_names_and_serve_ends_with_the_same_status() {
    let directory = TempDir::new().unwrap();
    let clip = std::fs::read(project("examples/media/demo.flv")).unwrap();
    let whole = file(&directory, "whole.flv", &clip);
    let text = file(&directory, "text.pem", "no certificate");
    let mp4 = file(&directory, "film.mp4", b"\0\0\0\x20ftypisom\0\0\0\0");
    let mkv = file(&directory, "film.mkv", b"\x1A\x45\xDF\xA3\x01\0\0\0\0\0\0\x23");
    let listen = "[rtmp]\nlisten = [\"127.0.0.1:0\"]\n[http]\nlisten = []\n";
    let play = |path: &str| format!("[[file]]\nstream = \"live/a\"\npaths = [\"{path}\"]\n");
    let push = |to: &str| format!("[[push]]\nstream = \"live/a\"\nurl = \"rtmp://{to}\"\n");
    for (settings, part) in [
        (play("/no/such.flv"), "/no/such.flv"),
        (play(&text), "text.pem"),
        (play(&mp4), "the file ends without an index (moov); where its codecs are to blame"),
        (play(&mkv), "a Matroska (MKV) or WebM file, and FLV and MP4 files are played here"),
        (format!("[rtmps]\ncert = \"{text}\"\nkey = \"{text}\"\n"), "text.pem"),
        ("[tls]\nca = \"/no/such.pem\"\n".to_owned(), "/no/such.pem"),
        ("[limits]\nmax_connections = 0\n".to_owned(), "limits.max_connections is 0; it can be 1 to"),
        ("[engine]\nio_threads = 1000000\n".to_owned(), "engine.io_threads is 1000000; it can be 0 to"),
        ("[limits]\nmax_connections = \"many\"\n".to_owned(), "expected a whole number"),
        (format!("[apps.vod]\n{}", play(&whole)), "add [apps.live]"),
        (play(&whole) + &play(&whole), "two entries"),
    ] {
        let path = file(&directory, "c.toml", format!("{listen}{settings}"));
        for args in [&["check-config", path.as_str()][..], &["serve", "--config", &path]] {
            let ended = run(args);
            assert_eq!(ended.code, Some(2), "{args:?} {settings}: {}", ended.stderr);
            assert!(ended.stderr.lines().last().unwrap().contains(part), "{part}: {}", ended.stderr);
            assert!(!ended.stderr.contains("usize"), "{}", ended.stderr);
        }
    }
    // A target that is ourselves needs a port that is known before.
    let taken = TcpListener::bind(ANY).unwrap().local_addr().unwrap();
    let ourselves =
        push(&format!("{taken}/live/a")) + &format!("[rtmp]\nlisten = [\"{taken}\"]\n[http]\nlisten = []\n");
    let fine = push("127.0.0.1:1/live/a") + listen + &play(&whole);
    for (settings, code) in [(ourselves, 2), (fine, 0)] {
        let path = file(&directory, "c.toml", settings);
        let checked = run(&["check-config", &path]);
        assert_eq!(checked.code, Some(code), "{}", checked.stderr);
        let mut serving = Process::start(&["serve", "--config", &path, "--json"]);
        if code == 0 {
            serving.event();
            serving.signal("TERM");
        }
        assert_eq!(serving.wait().code(), Some(code));
    }
}

#[test]
fn one_servers_stream_may_be_relayed_to_another_name_of_it() {
    let directory = TempDir::new().unwrap();
    let (server, port) = serve(&[]);
    let url = |stream: &str| format!("rtmp://127.0.0.1:{port}/live/{stream}");
    let _looping = Process::start(&["loop", &short_clip(&directory), &url("a")]);
    assert_eq!(server.until("stream-started")["stream"], "live/a");
    let mut relaying = Process::start(&["relay", &url("a"), &url("b")]);
    assert_eq!(server.until("stream-started")["stream"], "live/b");
    let probed = run(&["probe", &url("b"), "--seconds", "1"]);
    assert_eq!(probed.code, Some(0), "{}", probed.stderr);

    let back = run(&["relay", &url("b"), &url("a"), "--max-retries", "0"]);
    assert_eq!(back.code, Some(1));
    assert!(back.stderr.lines().last().unwrap().contains("relay loop"), "{}", back.stderr);
    relaying.signal("TERM");
    assert_eq!(relaying.wait().code(), Some(0));
}

#[test]
fn what_is_no_rtmp_and_no_flv_is_named_with_the_command_that_helps() {
    let directory = TempDir::new().unwrap();
    let mkv = file(&directory, "film.mkv", b"\x1A\x45\xDF\xA3\x01");
    let (http, srt, rtmp) =
        ("http://h/x?s3cret", "srt://h:9000?passphrase=s3cret", "rtmp://127.0.0.1:1/live/x");
    for (args, parts) in [
        (&["loop", http, rtmp][..], ["an HTTP URL", "ffmpeg -i URL"]),
        (&["loop", &mkv, srt], ["an SRT URL", "-f mpegts URL"]),
        (&["loop", &mkv, rtmp], ["Matroska", "film.mp4"]),
        (&["relay", "rtsp://h/s3cret", rtmp], ["an RTSP URL", "-rtsp_transport tcp -i URL"]),
        (&["relay", rtmp, "udp://h:1?s3cret"], ["a UDP URL", "-f mpegts URL"]),
        (&["relay", &mkv, rtmp], ["is a file", "streamengine loop FILE URL"]),
        (&["relay", rtmp, "out.flv"], ["is a file", "-c copy out.flv"]),
        (&["relay", "http://h/x.m3u8?s3cret", rtmp], ["an HLS playlist", "ffmpeg -i URL"]),
        (&["relay", rtmp, http], ["an HTTP URL", "ffmpeg -i rtmp://HOST/live/NAME"]),
        (&["probe", "http://h/x.mp4?s3cret"], ["an MP4 file", "ffprobe"]),
        (&["probe", &mkv], ["Matroska", "ffmpeg -i"]),
    ] {
        let ended = run(args);
        assert_eq!(ended.code, Some(2), "{args:?}: {}", ended.stderr);
        for part in parts {
            assert!(ended.stderr.lines().last().unwrap().contains(part), "{part}: {}", ended.stderr);
        }
        assert!(!ended.stderr.contains("s3cret"), "{}", ended.stderr);
    }
}

#[test]
fn both_signals_drain_with_status_0_within_5_s() {
    for signal in ["TERM", "INT"] {
        let (mut process, port) = serve(&[]);
        let _connected = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        let start = Instant::now();
        process.signal(signal);
        assert_eq!(process.wait().code(), Some(0), "{signal}");
        assert!(start.elapsed() < at_most(Duration::from_secs(5)), "{signal}: {:?}", start.elapsed());
    }
}

#[test]
fn sighup_has_the_configuration_read_again_and_ends_nothing() {
    let log = tempfile::NamedTempFile::new().unwrap();
    let args = ["serve", "--json", "--rtmp", "127.0.0.1:0", "--no-http"];
    let mut process = Process::start_telling(&args, &[], log.reopen().unwrap().into());
    let port = Process::port(&process.event(), 0);
    process.signal("HUP");
    process::until("it is read again", || {
        std::fs::read_to_string(log.path()).unwrap().contains("configuration read again; changes: 0")
    });
    std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    process.until("session-opened");
    process.signal("TERM");
    assert_eq!(process.wait().code(), Some(0));
}

#[test]
fn a_look_whether_the_port_is_open_is_no_trouble_of_which_the_log_tells() {
    let (mut process, port) = serve(&[]);
    for sent in [&b""[..], b"GET / HTTP/1.1\r\n\r\n"] {
        let mut looking = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        looking.write_all(sent).unwrap();
        drop(looking);
        process.until("session-closed");
    }
    process.signal("TERM");
    assert_eq!(process.wait().code(), Some(0));
    let log = process.stderr();
    assert_eq!(log.matches("connection closed").count(), 1, "only of who has sent something: {log}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_server_takes_as_many_open_files_as_it_may_and_says_where_they_are_too_few() {
    let start = |soft: u32, hard: u32| {
        let limits = format!(
            "ulimit -Sn {soft} && ulimit -Hn {hard} && exec \"$0\" serve --rtmp {ANY} --no-http --json"
        );
        Process::start_by(&["sh", "-c", &limits])
    };
    let mut process = start(256, 512);
    process.event();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", process.id())).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(files.split_whitespace().nth(3), Some("512"), "{files}");
    process.signal("TERM");
    process.wait();
    let log = process.stderr();
    for part in ["512 open files", "about 448 connections", "10000", "LimitNOFILE=10064"] {
        assert!(log.contains(part), "{part}: {log}");
    }
    let (mut enough, _) = serve(&["--set", "limits.max_connections=10"]);
    enough.signal("TERM");
    enough.wait();
    assert!(!enough.stderr().contains("open files"));
}

#[test]
fn an_address_in_use_is_status_1_and_names_the_way_out() {
    let taken = TcpListener::bind(ANY).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ended = run(&["serve", "--rtmp", &address, "--json"]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stdout.is_empty(), "not ready: {}", ended.stdout);
    for part in [address.as_str(), "in use", "--rtmp ADDR:PORT"] {
        assert!(ended.stderr.contains(part), "{}", ended.stderr);
    }
    let ended = run(&["serve", "--rtmp", ANY, "--http", &address, "--json"]);
    assert_eq!(ended.code, Some(1), "one that was asked for: {}", ended.stderr);
    assert!(ended.stderr.contains(&format!("listen http on {address}")), "{}", ended.stderr);
    // An address for documentation, which no machine has.
    let ended = run(&["serve", "--rtmp", "203.0.113.1:1935", "--json"]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("this machine has no such address"), "{}", ended.stderr);
}

#[test]
fn the_start_tells_who_may_publish() {
    for (args, env, part) in [
        (&[][..], &[][..], "from this machine only"),
        (&["--open"], &[], "open to everybody"),
        (&["--publish-key", "s3cret"], &[], "with the key"),
        (&[], &[("STREAMENGINE_PUBLISH_KEY", "s3cret")], "with the key"),
        (&[], &[("STREAMENGINE_PUBLISH__OPEN", "true")], "open to everybody"),
    ] {
        let args = [&["serve", "--rtmp", ANY, "--no-http", "--json", "--log", "trace"], args].concat();
        let mut process = Process::start_with(&args, env);
        assert_eq!(process.event()["event"], "ready");
        process.signal("TERM");
        process.wait();
        let log = process.stderr();
        assert!(log.contains(part), "{args:?}: {log}");
        assert!(!log.contains("s3cret"), "the key was logged: {log}");
    }
}

#[test]
fn the_start_tells_where_to_publish_and_play_and_quiet_nothing_at_all() {
    let told = |args: &[&str], last: Option<&str>| {
        let address = TcpListener::bind(ANY).unwrap().local_addr().unwrap();
        let mut process =
            Process::start(&[&["serve", "--rtmp", &address.to_string(), "--http", ANY], args].concat());
        let start = Instant::now();
        while std::net::TcpStream::connect(address).is_err() {
            assert!(start.elapsed() < Duration::from_secs(20), "it does not listen");
            std::thread::park_timeout(Duration::from_millis(10));
        }
        // It listens before it tells.
        let mut told = String::new();
        while last.is_some_and(|last| !told.contains(last)) {
            told += &(process.line() + "\n");
        }
        process.signal("TERM");
        assert_eq!(process.wait().code(), Some(0), "{args:?}");
        (told + &process.rest(), process.stderr())
    };
    for (args, url) in [
        (&[][..], "/live/NAME\n            from this machine only"),
        (&["--publish-key", "s3cret"], "/live/NAME?key=KEY\n"),
        (&["--set", "apps.show.takeover=reject"], "/show/NAME\n"),
    ] {
        let (welcome, log) = told(args, Some("/play/"));
        let page = "Browser     http://127.0.0.1:";
        for part in ["Publish to  rtmp://127.0.0.1:", url, "Play from   rtmp://127.0.0.1:", page, "/play/"] {
            assert!(welcome.contains(part), "{part}: {welcome}");
        }
        assert!(!welcome.contains("s3cret") && !log.contains("s3cret"), "{welcome}{log}");
    }
    let (welcome, log) = told(&["--quiet"], None);
    assert!(welcome.is_empty() && !log.contains("INFO"), "{welcome}{log}");
}

#[test]
fn options_win_over_environment_and_that_over_the_file() {
    let directory = TempDir::new().unwrap();
    let config = file(&directory, "c.toml", "[rtmp]\nlisten = [\"203.0.113.1:1\"]\n[publish]\nkey = \"k\"\n");
    let env = [("STREAMENGINE_RTMP__LISTEN", "[\"127.0.0.1:0\", \"127.0.0.1:0\"]")];
    let mut process =
        Process::start_with(&["serve", "--config", &config, "--no-http", "--json", "--open"], &env);
    assert_eq!(process.event()["rtmp"].as_array().unwrap().len(), 2);
    process.signal("TERM");
    process.wait();
    assert!(process.stderr().contains("open to everybody"));

    let options = ["serve", "--config", &config, "--no-http", "--json", "--rtmp", ANY];
    assert_eq!(Process::start_with(&options, &env).event()["rtmp"].as_array().unwrap().len(), 1);

    let near_miss = [("STREAMENGINE_LIMITS_MAX_CONNECTIONS", "5")];
    let mut process = Process::start_with(&["serve", "--rtmp", ANY, "--no-http", "--json"], &near_miss);
    process.event();
    process.signal("TERM");
    process.wait();
    assert!(process.stderr().contains("STREAMENGINE_LIMITS__MAX_CONNECTIONS would"));
}

#[test]
fn urls_are_never_told_with_their_secrets() {
    for url in [
        "rtmp://user:s3cret@127.0.0.1:99999/live/x",
        "rtmp://user:s3cret@/live/x",
        "rtmp://127.0.0.1/x?s3cret",
    ] {
        let ended = run(&["loop", "clip.flv", url]);
        assert_eq!(ended.code, Some(2), "{url}");
        assert!(!ended.stderr.contains("s3cret"), "{}", ended.stderr);
    }
    let ended = run(&["probe", "rtmp://user:s3cret@127.0.0.1:1/live/x?key=s3cret", "--log", "trace"]);
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.stderr.contains("127.0.0.1:1/live/x?***") && !ended.stderr.contains("s3cret"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_source_that_refuses_ends_relay_with_status_1_and_its_words() {
    let (_source, port) = serve(&["--set", "default_app.wait_for_publisher_ms=0"]);
    let from = format!("rtmp://127.0.0.1:{port}/live/missing");
    let ended = run(&["relay", &from, "rtmp://127.0.0.1:1/live/x"]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains(&from), "{}", ended.stderr);
}

#[test]
fn a_target_that_refuses_the_key_ends_loop_with_status_1_and_its_words() {
    let directory = TempDir::new().unwrap();
    let (_server, port) = serve(&["--publish-key", "right"]);
    let url = format!("rtmp://127.0.0.1:{port}/live/x?key=wr0ng");
    let ended = run(&["loop", &short_clip(&directory), &url]);
    assert_eq!(ended.code, Some(1));
    let last = ended.stderr.lines().last().unwrap();
    assert!(last.contains("/live/x?***") && last.contains("wrong or missing publish key"), "{last}");
    assert!(!ended.stderr.contains("wr0ng"), "{}", ended.stderr);
}

#[test]
fn with_retry_a_target_that_refuses_is_asked_again_until_a_signal_ends_the_loop() {
    let directory = TempDir::new().unwrap();
    let (_server, port) = serve(&["--publish-key", "right"]);
    let url = format!("rtmp://127.0.0.1:{port}/live/x?key=wrong");
    let mut process = Process::start(&["loop", &short_clip(&directory), &url, "--retry", "--json"]);
    let backing_off = |process: &Process| while process.until("relay-state")["state"] != "backing-off" {};
    backing_off(&process);
    process.signal("TERM");
    assert_eq!(process.wait().code(), Some(0));
}

#[test]
fn a_loop_that_was_delivered_ends_with_status_0() {
    let directory = TempDir::new().unwrap();
    let (server, port) = serve(&[]);
    let url = format!("rtmp://127.0.0.1:{port}/live/x");
    let ended = run(&["loop", &short_clip(&directory), &url, "--loops", "2", "--json"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stdout.starts_with("{\"event\":\"ready\""), "{}", ended.stdout);
    let events: Vec<serde_json::Value> =
        ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let frames = |event: &str| events.iter().rfind(|line| line["event"] == event).unwrap()["frames"].as_u64();
    assert!(frames("file-state") > Some(200), "{}", ended.stdout);
    assert_eq!(frames("relay-state"), frames("file-state"), "the target got every frame");
    assert_eq!(server.until("stream-started")["stream"], "live/x");
    assert_eq!(server.until("stream-ended")["reason"], "unpublished");
}

#[test]
fn a_loop_whose_target_is_away_at_the_end_has_status_1() {
    let directory = TempDir::new().unwrap();
    let closed = TcpListener::bind(ANY).unwrap().local_addr().unwrap();
    let ended = run(&["loop", &short_clip(&directory), &format!("rtmp://{closed}/live/x"), "--loops", "1"]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let last = ended.stderr.lines().last().unwrap();
    assert!(last.contains(&closed.to_string()) && last.contains("refused"), "{}", ended.stderr);
}

#[test]
fn a_server_with_an_unknown_certificate_is_named_with_the_way_out_which_works() {
    let directory = TempDir::new().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let cert = file(&directory, "cert.pem", made.cert.pem());
    let key = file(&directory, "key.pem", made.signing_key.serialize_pem());
    let server = Process::start(&["serve", "--rtmps", ANY, "--cert", &cert, "--key", &key, "--json"]);
    let ready = server.event();
    let (_, port) = ready["rtmps"][0].as_str().unwrap().rsplit_once(':').unwrap();
    let url = format!("rtmps://localhost:{port}/live/x");
    let clip = short_clip(&directory);
    let play_once = |trust: &[&str]| run(&[&["loop", &clip, &url, "--loops", "1"], trust].concat());

    let stranger = play_once(&[]);
    assert_eq!(stranger.code, Some(1));
    let probed = run(&["probe", &url]);
    let relayed = run(&["relay", &url, "rtmp://127.0.0.1:1/live/x", "--max-retries", "0"]);
    for ended in [&stranger, &probed, &relayed] {
        assert_eq!(ended.code, Some(1));
        let last = ended.stderr.lines().last().unwrap();
        for part in ["certificate", "localhost", "--ca FILE", "--insecure"] {
            assert!(last.contains(part), "{part}: {}", ended.stderr);
        }
    }
    for trust in [&["--ca", cert.as_str()][..], &["--insecure"]] {
        let ended = play_once(trust);
        assert_eq!(ended.code, Some(0), "{trust:?}: {}", ended.stderr);
    }
    let both = run(&["probe", &url, "--ca", &cert, "--insecure"]);
    assert_eq!(both.code, Some(2));
}

#[test]
fn who_ends_a_command_that_has_not_got_through_is_told_why_it_has_not() {
    let closed = TcpListener::bind(ANY).unwrap().local_addr().unwrap();
    let url = format!("rtmp://{closed}/live/x");
    let mut process = Process::start(&["relay", &url, "rtmp://127.0.0.1:1/live/y", "--json"]);
    while process.until("relay-state")["state"] != "backing-off" {}
    process.signal("INT");
    assert_eq!(process.wait().code(), Some(0));
    let log = process.stderr();
    let last = log.lines().last().unwrap();
    assert!(last.contains(&url) && last.contains("refused"), "{log}");
}

#[test]
fn a_signal_ends_loop_and_relay_with_a_clean_unpublish_and_status_0() {
    let directory = TempDir::new().unwrap();
    let (from, from_port) = serve(&[]);
    let (to, to_port) = serve(&[]);
    let source = format!("rtmp://127.0.0.1:{from_port}/live/x");
    let target = format!("rtmp://127.0.0.1:{to_port}/live/y");
    let mut looping = Process::start(&["loop", &short_clip(&directory), &source]);
    from.until("stream-started");
    let mut relaying = Process::start(&["relay", &source, &target]);
    to.until("stream-started");
    for (process, server) in [(&mut relaying, &to), (&mut looping, &from)] {
        let start = Instant::now();
        process.signal("TERM");
        assert_eq!(process.wait().code(), Some(0), "{}", process.stderr());
        assert!(start.elapsed() < at_most(Duration::from_secs(5)));
        assert_eq!(server.until("stream-ended")["reason"], "unpublished");
    }
}

#[test]
fn a_file_that_cannot_be_played_is_status_2_and_is_named() {
    let directory = TempDir::new().unwrap();
    for (name, content) in [("empty.flv", &b""[..]), ("text.flv", b"not a video")] {
        let path = file(&directory, name, content);
        for args in [&["loop", path.as_str(), "rtmp://127.0.0.1:1/live/x"][..], &["probe", &path]] {
            let ended = run(args);
            assert_eq!(ended.code, Some(2), "{args:?}");
            assert!(ended.stderr.contains(name) && ended.stderr.contains("byte 0"), "{}", ended.stderr);
        }
    }
    for args in [&["probe", "/no/such.flv"][..], &["loop", "/no/such.flv", "rtmp://127.0.0.1:1/live/x"]] {
        let ended = run(args);
        assert!(ended.code == Some(2) && ended.stderr.contains("/no/such.flv"), "{ended:?}");
    }
    let ended = run(&["probe", "rtmps://127.0.0.1:1/live/x", "--ca", "/no/such.pem"]);
    assert!(ended.code == Some(2) && ended.stderr.contains("/no/such.pem"), "{ended:?}");
}

#[test]
fn a_configuration_or_certificate_that_is_no_regular_file_is_refused_in_words() {
    let directory = TempDir::new().unwrap();
    let pipe = directory.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for path in [pipe.to_str().unwrap(), "/dev/zero", directory.path().to_str().unwrap()] {
        let secure = ["serve", "--rtmps", ANY, "--cert", path, "--key", path];
        for args in [&["check-config", path][..], &["serve", "--config", path], &secure] {
            let ended = run(args);
            assert_eq!(ended.code, Some(2), "{args:?}: {}", ended.stderr);
            assert!(
                ended.stderr.contains(path) && ended.stderr.contains("not a regular file"),
                "{}",
                ended.stderr
            );
        }
    }
}

#[test]
fn probe_says_how_many_bytes_at_which_position_are_no_tag() {
    let directory = TempDir::new().unwrap();
    let bytes = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/media/demo.flv")).unwrap();
    let damaged = file(&directory, "damaged.flv", [&bytes[..13], &[0; 4096], &bytes[13..]].concat());
    let text = run(&["probe", &damaged]).stdout;
    assert!(text.contains("left out     4096 bytes at byte 13, as they are no FLV tag"), "{text}");
    let told: serde_json::Value = serde_json::from_str(&run(&["probe", "--json", &damaged]).stdout).unwrap();
    assert_eq!(told["left_out"], serde_json::json!({ "bytes": 4096, "places": 1, "position": 13 }));
    assert_eq!(told["tracks"][0]["frames"], 250);
}

#[test]
fn probe_tells_what_is_in_a_file_and_in_a_stream() {
    let directory = TempDir::new().unwrap();
    let clip = project("examples/media/demo.flv");
    let (server, port) = serve(&[]);
    let url = format!("rtmp://127.0.0.1:{port}/live/x");
    let _looping = Process::start(&["loop", &short_clip(&directory), &url]);
    server.until("stream-started");
    for args in
        [&["probe", "--json", clip.to_str().unwrap()][..], &["probe", "--json", "--seconds", "1", &url]]
    {
        let ended = run(args);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert!(!ended.stderr.contains("interrupted"), "it has ended by itself: {}", ended.stderr);
        let told: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
        assert_eq!(told["tracks"][0]["codec"], "H.264", "{told}");
        assert_eq!((&told["tracks"][0]["width"], &told["tracks"][0]["height"]), (&640.into(), &360.into()));
        assert_eq!(told["tracks"][1]["sample_rate"], 48_000);
    }
    let text = run(&["probe", clip.to_str().unwrap()]).stdout;
    assert!(text.contains("640x360") && text.contains("48000 Hz"), "{text}");
}

#[test]
fn the_demo_serves_a_clip_and_its_copy_and_ends_by_itself() {
    let env = [("STREAMENGINE_LOG", "warn")];
    let ended =
        run_with(&["demo", "--rtmp", ANY, "--rtmp2", ANY, "--http", ANY, "--duration", "3", "--json"], &env);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(!ended.stderr.contains("interrupted"), "nothing went wrong: {}", ended.stderr);
    let lines: Vec<serde_json::Value> =
        ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let port = Process::port(&lines[0], 1);
    assert_eq!(lines[0]["streams"][1], format!("rtmp://127.0.0.1:{port}/live/demo-copy"));
    let published = |server: u8, stream: &str| {
        lines.iter().any(|line| {
            line["event"] == "stream-started" && line["server"] == server && line["stream"] == stream
        })
    };
    assert!(published(1, "live/demo") && published(2, "live/demo-copy"), "{}", ended.stdout);
}

#[test]
fn stdout_ends_with_the_process_and_carries_nothing_but_events() {
    let (mut process, _) = serve(&[]);
    assert_eq!(process.event()["event"], "listener-opened");
    process.signal("TERM");
    process.wait();
    assert_eq!(process.event()["event"], "listener-closed");
    assert!(process.is_silent());
}
