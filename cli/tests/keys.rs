//! Keys and signed URLs on the command line: what it prints for people and scripts, and what a server makes of them.
#![cfg(unix)]
#![allow(clippy::print_stdout, reason = "who reads the results is told why nothing was tried")]

#[allow(dead_code, reason = "made for several")]
mod process;

use process::{Process, run, run_with};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use streamengine::testing::{demo_frames, flv, rtmp, wait};
use tempfile::TempDir;

const ANY: &str = "127.0.0.1:0";

/// A folder with a database.
struct Database {
    folder: TempDir,
    path: String,
}

impl Database {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("keys.db").to_str().unwrap().to_owned();
        Self { folder, path }
    }

    /// What a command prints, which must end well.
    fn keys(&self, args: &[&str]) -> String {
        let ended = run(&[&["keys"], args, &["--keys", &self.path]].concat());
        assert_eq!(ended.code, Some(0), "{args:?}: {}", ended.stderr);
        ended.stdout
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.keys(&[args, &["--json"]].concat())).unwrap()
    }

    /// A new key, and what it is called by.
    fn add(&self, args: &[&str]) -> (String, String) {
        let made = self.json(&[&["add"], args].concat());
        (text(&made["key"]), text(&made["id"]))
    }

    fn serve(&self, args: &[&str]) -> (Process, u16) {
        let args =
            [&["serve", "--rtmp", "127.0.0.1:0", "--no-http", "--json", "--keys", &self.path], args].concat();
        let process = Process::start(&args);
        let ready = process.event();
        let port = Process::port(&ready, 0);
        (process, port)
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

/// Asks to publish: the connection, or why not.
fn publish(port: u16, name: &str) -> Result<TcpStream, String> {
    rtmp::publish_at(("127.0.0.1", port), name)
}

#[test]
fn a_key_is_made_listed_shown_rotated_and_revoked() {
    let database = Database::new();
    let printed = database.keys(&[
        "add",
        "live/alice",
        "--who",
        "alice",
        "--max-kbps",
        "6000",
        "--expires",
        "2099-01-31",
    ]);
    let (key, words) = printed.split_once('\n').unwrap();
    let (id, secret) = key.split_once('-').unwrap();
    assert!(words.contains("shown once") && words.contains(&format!("rtmp://HOST/live/{key}")), "{words}");

    let list = database.keys(&["list"]);
    for part in [id, "publish", "live/alice", "alice, at most 6000 kbit/s", "expires 2099-01-31T00:00:00Z"] {
        assert!(list.contains(part), "{part}: {list}");
    }
    assert!(!list.contains(secret));
    let shown = database.json(&["show", id]);
    for (field, expected) in
        [("id", id), ("action", "publish"), ("stream", "live/alice"), ("expires", "2099-01-31T00:00:00Z")]
    {
        assert_eq!(shown[field], expected, "{shown}");
    }
    assert!(
        shown["revoked"].is_null() && shown["max_viewers"].is_null() && shown["key"].is_null(),
        "{shown}"
    );

    let rotated = database.json(&["rotate", id, "--overlap", "2h"]);
    assert!(rotated["key"] != key && rotated["max_kbps"] == 6_000, "{rotated}");
    assert_ne!(database.json(&["show", id])["expires"], "2099-01-31T00:00:00Z");
    assert!(database.keys(&["revoke", id]).contains("REVOKED"));
    let all = database.json(&["list", "live/alice"]);
    assert_eq!(all["keys"].as_array().unwrap().len(), 2, "{all}");
    assert_eq!(database.keys(&["list", "live/nobody"]), "no keys");
}

#[test]
fn keys_move_to_another_database_and_keys_of_old_are_taken_in() {
    let (database, other) = (Database::new(), Database::new());
    let (key, id) = database.add(&["live/alice"]);
    let file = database.folder.path().join("keys.jsonl");
    database.keys(&["export", file.to_str().unwrap()]);
    let exported = std::fs::read_to_string(&file).unwrap();
    assert!(exported.contains(&id) && !exported.contains(key.split_once('-').unwrap().1));
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o077, 0, "for its owner only");
    assert_eq!(database.keys(&["export", "-"]), exported.trim_end());
    assert_eq!(
        run(&["keys", "export", file.to_str().unwrap(), "--keys", &database.path]).code,
        Some(1),
        "it is there"
    );
    assert_eq!(other.keys(&["import", file.to_str().unwrap()]), "1 keys");
    assert_eq!(other.json(&["show", &id])["stream"], "live/alice");

    let old = r#"{"key":"bobs old key","stream":"live/bob","who":"bob","max_viewers":3,"until":"2099-01-31T18:00:00Z"}"#;
    std::fs::write(&file, format!("{old}\n\n{}\n", old.replace("bob", "eve"))).unwrap();
    assert_eq!(other.json(&["import", file.to_str().unwrap()])["imported"], 2);
    let bob = &other.json(&["list", "live/bob"])["keys"][0];
    assert!(bob["who"] == "bob" && bob["until"] == "2099-01-31T18:00:00Z", "{bob}");
    let (_server, port) = other.serve(&[]);
    publish(port, &key).expect("the key that has moved");
    publish(port, "eve?key=eves%20old%20key").expect("a key of old");

    for (line, words) in [
        ("{\"key\":\"5ecret 5ecret\"}", "line 1: key: expected {\"stream\""),
        ("{\"key\":\"5ecret 5ecret\",\"stream\":\"a\"}", "line 1: key: stream: the app name is missing"),
        ("{\"key\":\"5ecret\",\"stream\":\"live/a\"}", "line 1: a key has 8 to 128 bytes"),
        ("{\"key\":\"5ecret 5ecret\",\"stream\":\"live/a\",\"until\":\"soon\"}", "line 1: key: a date"),
    ] {
        std::fs::write(&file, line).unwrap();
        let ended = run(&["keys", "import", file.to_str().unwrap(), "--keys", &other.path]);
        assert!(ended.code == Some(2) && ended.stderr.contains(words), "{line}: {}", ended.stderr);
        assert!(!ended.stderr.contains("5ecret"), "{}", ended.stderr);
    }
}

#[test]
fn whoever_is_revoked_on_the_command_line_is_off_the_air() {
    let database = Database::new();
    let (key, id) = database.add(&["live/alice"]);
    let (server, port) = database.serve(&["--log", "trace"]);
    let refused = publish(port, "alice").unwrap_err();
    assert!(refused.contains("no such stream key"), "{refused}");
    let _publisher = publish(port, &key).unwrap();
    assert_eq!(server.until("stream-started")["stream"], "live/alice");
    let start = std::time::Instant::now();
    database.keys(&["revoke", &id]);
    let ended = server.until("stream-ended");
    assert!(text(&ended["reason"]).contains("this key has been revoked"), "{ended}");
    assert!(start.elapsed().as_secs() < 10, "{:?}", start.elapsed());
    let refused = publish(port, &key).unwrap_err();
    assert!(refused.contains("this key has been revoked"), "{refused}");
    server.signal("TERM");
    let mut server = server;
    server.wait();
    assert!(!server.stderr().contains(key.split_once('-').unwrap().1), "the key is in no log");
}

#[test]
fn what_is_wrong_about_a_database_or_a_key_is_told() {
    let database = Database::new();
    for (args, code, words) in [
        (&["keys", "list"][..], 2, "which database? --keys FILE"),
        (&["keys", "list", "--keys", &database.path], 2, "there is no such database; keys add makes one"),
        (&["keys", "add", "live", "--keys", &database.path], 2, "the app name is missing"),
        (&["keys", "add", "live/a", "--expires", "soon", "--keys", &database.path], 2, "30d or 12h"),
        (&["keys", "add", "live/a", "--keys", "mysql://user:5ecret@host/x"], 2, "neither a file nor"),
        (&["keys", "add", "origin/a/b/c", "--keys", &database.path], 2, "origin/"),
        (&["keys", "import", "/nowhere", "--keys", &database.path], 2, "read /nowhere"),
        (&["keys", "show", "nobody", "--keys", &database.path], 1, "there is no key nobody"),
        (&["serve", "--keys", "/nowhere/keys.db"], 1, "unable to open database file"),
    ] {
        let ended = run(args);
        assert!(
            ended.code == Some(code) && ended.stderr.contains(words),
            "{args:?}: {:?} {}",
            ended.code,
            ended.stderr
        );
        assert!(!ended.stderr.contains("5ecret"), "{}", ended.stderr);
    }
}

#[test]
fn a_signed_url_opens_its_stream_for_a_while() {
    let env = [("STREAMENGINE_SIGNED_URLS__SECRET", "5ecret"), ("STREAMENGINE_SIGNED_URLS__PUBLISH", "true")];
    let server =
        Process::start_with(&["serve", "--rtmp", "127.0.0.1:0", "--no-http", "--json", "--open"], &env);
    let port = Process::port(&server.event(), 0);
    let url = format!("rtmp://127.0.0.1:{port}/live/a?x=1");
    let signed = |args: &[&str]| {
        let ended = run_with(&[&["sign", &url], args].concat(), &env);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert!(ended.stdout.starts_with(&format!("{url}&expires=")), "{}", ended.stdout);
        ended.stdout.rsplit_once('/').unwrap().1.to_owned()
    };
    let refused = publish(port, "a").unwrap_err();
    assert!(refused.contains("a signed URL is needed"), "{refused}");
    publish(port, &signed(&["--for", "2h", "--publish"])).expect("it is signed");
    let wrong = [signed(&["--for", "2h"]), signed(&["--for", "2h", "--publish", "--address", "192.0.2.7"])];
    for (name, words) in wrong.iter().zip(["the signature of this URL is wrong", "for another address"]) {
        let refused = publish(port, name).unwrap_err();
        assert!(refused.contains(words), "{refused}");
    }
    for (args, words) in [
        (&["sign", "live/a", "--for", "2h"][..], "expected a URL such as rtmp://HOST/live/a"),
        (&["sign", &url, "--for", "soon"], "--for"),
        (&["sign", &url], "--for <TIME>"),
    ] {
        let ended = run_with(args, &env);
        assert!(ended.code == Some(2) && ended.stderr.contains(words), "{args:?}: {}", ended.stderr);
    }
    let ended = run(&["sign", &url, "--for", "2h"]);
    assert!(ended.code == Some(2) && ended.stderr.contains("signed_urls.secret"), "{}", ended.stderr);
}

/// Runs `passwd` with a password on stdin.
fn passwd(password: &str, args: &[&str]) -> std::process::Output {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_streamengine"));
    command.arg("passwd").args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    writeln!(child.stdin.take().unwrap(), "{password}").unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn a_password_opens_the_api_to_who_logs_in_by_it_and_is_written_where_it_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let short = passwd("1234567", &[]);
    assert_eq!(short.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&short.stderr).contains("8 characters"), "{short:?}");
    let made = passwd("first-password", &[]);
    let lines = String::from_utf8(made.stdout).unwrap();
    assert!(lines.starts_with("[http]\npassword = \"$argon2id$") && !lines.contains("first"), "{lines}");
    let config = folder.path().join("streamengine.toml");
    std::fs::write(&config, lines).unwrap();
    assert_eq!(run(&["check-config", config.to_str().unwrap()]).code, Some(0));
    let file = folder.path().join("password");
    let path = file.to_str().unwrap();
    let written = passwd("second-password", &["--file", path]);
    assert!(written.status.success() && written.stdout.is_empty(), "{written:?}");
    let server = Process::start(&["serve", "--rtmp", ANY, "--http", ANY, "--json", "--password-file", path]);
    let address = server.event()["http"][0].as_str().unwrap().to_owned();
    let ask = |method: &str, path: &str, headers: &str, body: &str| {
        let mut socket = TcpStream::connect(&address).unwrap();
        let length = body.len();
        let head =
            format!("{method} /api/v1{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}");
        let content = match length {
            0 => String::new(),
            _ => format!("Content-Type: application/json\r\nContent-Length: {length}\r\n"),
        };
        write!(socket, "{head}{content}\r\n{body}").unwrap();
        let mut reply = String::new();
        socket.read_to_string(&mut reply).unwrap();
        reply
    };
    let log_in = |password: &str| ask("POST", "/session", "", &format!("{{\"password\":\"{password}\"}}"));
    assert!(log_in("first-password").starts_with("HTTP/1.1 401"));
    let reply = log_in("second-password");
    let (_, cookie) = reply.split_once("set-cookie: ").unwrap_or_else(|| panic!("{reply}"));
    let cookie = format!("Cookie: {}\r\n", cookie.split(';').next().unwrap());
    assert!(ask("GET", "/log", "", "").starts_with("HTTP/1.1 401"));
    let log = ask("GET", "/log", &cookie, "");
    assert!(log.contains("logged in") && !log.contains("second-password"), "{log}");
    let body = "{\"new\":\"third-password\",\"current\":\"second-password\"}";
    assert!(ask("PUT", "/password", &cookie, body).starts_with("HTTP/1.1 204"));
    drop(server);
    let kept = std::fs::read_to_string(&file).unwrap();
    let hash = streamengine::PasswordHash::parse(&kept).unwrap();
    assert_eq!(hash.expose(), kept.trim());
    let again = Process::start(&["serve", "--rtmp", ANY, "--http", ANY, "--json", "--password-file", path]);
    let address = again.event()["http"][0].as_str().unwrap().to_owned();
    let mut socket = TcpStream::connect(&address).unwrap();
    let body = "{\"password\":\"third-password\"}";
    let head = format!("Content-Type: application/json\r\nContent-Length: {}", body.len());
    write!(
        socket,
        "POST /api/v1/session HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{head}\r\n\r\n{body}"
    )
    .unwrap();
    let mut reply = String::new();
    socket.read_to_string(&mut reply).unwrap();
    assert!(reply.starts_with("HTTP/1.1 204"), "{reply}");
}

#[test]
fn who_serves_without_a_password_is_told_how_to_set_one() {
    let mut server = Process::start(&["serve", "--rtmp", ANY, "--http", ANY, "--json"]);
    server.event();
    server.signal("TERM");
    server.wait();
    let log = server.stderr();
    assert!(log.contains("no password is set") && log.contains("streamengine passwd"), "{log}");
}

#[test]
fn a_token_is_told_once_and_opens_what_its_role_says() {
    let folder = tempfile::tempdir().unwrap();
    let made = |args: &[&str]| {
        let ended = run(&[&["token"], args].concat());
        assert_eq!(ended.code, Some(0), "{args:?}: {}", ended.stderr);
        let (token, rest) = ended.stdout.split_once("\n\n").unwrap();
        (token.to_owned(), rest[rest.find("[[http.token]]").unwrap()..].to_owned())
    };
    let ((viewer, of_viewer), (admin, of_admin)) = (made(&["a \"b\""]), made(&["alice", "--role", "admin"]));
    assert!(!of_viewer.contains(&viewer) && viewer != admin, "{of_viewer}");
    let file = folder.path().join("streamengine.toml");
    std::fs::write(&file, format!("{of_viewer}\n{of_admin}\n")).unwrap();
    let file = file.to_str().unwrap();
    let server = Process::start(&[
        "serve",
        "--rtmp",
        "127.0.0.1:0",
        "--http",
        "127.0.0.1:0",
        "--json",
        "--config",
        file,
    ]);
    let address = server.event()["http"][0].as_str().unwrap().to_owned();
    let status = |method: &str, path: &str, token: &str| {
        let mut socket = TcpStream::connect(&address).unwrap();
        let head = format!("{method} /api/v1{path} HTTP/1.1\r\nHost: any.example\r\nConnection: close\r\n");
        write!(socket, "{head}Authorization: Bearer {token}\r\n\r\n").unwrap();
        let mut reply = String::new();
        socket.read_to_string(&mut reply).unwrap();
        reply[9..12].parse::<u16>().unwrap()
    };
    assert_eq!([&viewer, &admin, "guessed"].map(|token| status("GET", "/streams", token)), [200, 200, 401]);
    assert_eq!([&viewer, &admin].map(|token| status("DELETE", "/relays/0", token)), [403, 404]);
    let json = run(&["token", "c", "--json"]).stdout;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((json["token"].as_str().unwrap().len(), json["role"].as_str()), (64, Some("viewer")));
    let ended = run(&["token", "d", "--role", "owner"]);
    assert!(ended.code == Some(2) && ended.stderr.contains("viewer or admin"), "{}", ended.stderr);
}

/// The lines of the book with what they are answered.
const BY_CURL: [(&str, &str); 9] = [
    ("$B/health", "200"),
    ("$B/streams", "200"),
    ("$B/streams/live%2Fa", "200"),
    ("history?since=120", "200"),
    ("$B/relays/push", "201"),
    ("$B/relays/7", "404"),
    ("kick?reason=too%20loud", "404"),
    ("$B/events", "200"),
    ("$B/config", "200"),
];

#[test]
fn the_curl_lines_of_the_book_do_what_it_says() {
    if std::process::Command::new("curl").arg("--version").output().is_err() {
        println!("the_curl_lines_of_the_book_do_what_it_says: there is no curl");
        return;
    }
    let book = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/api.md");
    let book = std::fs::read_to_string(book).unwrap().replace("\\\n", " ");
    let block = book.split("```sh\n").nth(1).unwrap().split("```").next().unwrap();
    let code = |line: &str| line.split(" #").next().unwrap_or_default().to_owned();
    let lines: Vec<_> = block.lines().filter(|line| line.starts_with("curl ")).map(code).collect();
    let folder = tempfile::tempdir().unwrap();
    let token: Value =
        serde_json::from_str(&run(&["token", "a", "--role", "admin", "--json"]).stdout).unwrap();
    std::fs::write(folder.path().join("a.flv"), flv(&demo_frames())).unwrap();
    let config = |listen: &str| {
        format!(
            "[http]\nlisten = [\"{listen}\"]\n[[http.token]]\nname = \"a\"\nrole = \"admin\"\nsha256 = {}\n\
             [[file]]\npaths = [\"{}\"]\nstream = \"live/a\"\n",
            token["sha256"],
            folder.path().join("a.flv").display()
        )
    };
    let file = folder.path().join("streamengine.toml");
    std::fs::write(&file, config("127.0.0.1:0")).unwrap();
    let server =
        Process::start(&["serve", "--rtmp", "127.0.0.1:0", "--json", "--config", file.to_str().unwrap()]);
    let address = server.event()["http"][0].as_str().unwrap().to_owned();
    std::fs::write(&file, config(&address)).unwrap();
    let ask = |line: &str| {
        let (token, options) =
            (token["token"].as_str().unwrap(), "-s -o /dev/null -w '%{http_code}' --max-time 3");
        let script =
            format!("H='Authorization: Bearer {token}'; B=http://{address}/api/v1; {line} {options}");
        let curl =
            std::process::Command::new("sh").arg("-c").arg(script).current_dir(&folder).output().unwrap();
        String::from_utf8(curl.stdout).unwrap()
    };
    // Statistics have it a second after it has begun.
    wait::until("the stream is there", || ask("curl -H \"$H\" $B/streams/live%2Fa") == "200");
    assert_eq!(lines.len(), BY_CURL.len());
    for (line, (part, status)) in lines.iter().zip(BY_CURL) {
        assert!(line.contains(part), "{line}: no {part}");
        assert_eq!(ask(line), status, "{line}");
    }
}

#[test]
fn what_a_file_leaves_to_the_environment_is_looked_for_there() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("keys.db");
    let database = database.to_str().unwrap();
    let file = folder.path().join("streamengine.toml");
    for (text, variable, value, words) in [
        ("[keys]\nplay = true", "STREAMENGINE_KEYS", database, "keys.url"),
        ("[signed_urls]\nplay = true", "STREAMENGINE_SIGNED_URLS__SECRET", "5ecret", "signed_urls.secret"),
        ("[publish]\nauthmod_adobe = true", "STREAMENGINE_PUBLISH_KEY", "5ecret", "publish.key"),
    ] {
        std::fs::write(&file, text).unwrap();
        let args = ["check-config", file.to_str().unwrap()];
        let ended = run(&args);
        assert!(ended.code == Some(2) && ended.stderr.contains(words), "{text}: {}", ended.stderr);
        let ended = run_with(&args, &[(variable, value)]);
        assert!(ended.code == Some(0) && !ended.stdout.contains("5ecret"), "{text}: {}", ended.stderr);
    }
    std::fs::write(&file, "[keys]\nplay = true").unwrap();
    let serve = ["serve", "--config", file.to_str().unwrap(), "--rtmp", "127.0.0.1:0", "--no-http", "--json"];
    for server in [
        Process::start(&[&serve[..], &["--keys", database]].concat()),
        Process::start_with(&serve, &[("STREAMENGINE_KEYS", database)]),
    ] {
        assert!(publish(Process::port(&server.event(), 0), "a").unwrap_err().contains("stream key"));
    }
}
