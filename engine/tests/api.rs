//! The API as programs use it over HTTP: each path for each role, what it tells against its own description, and what it must not tell.
#![cfg(feature = "http")]

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;
use streamengine::testing::{demo_frames, flv, key, wait};
use streamengine::{Config, Engine, Protocol, Publisher};

const PATIENCE: Duration = Duration::from_secs(30);
const VIEWER: &str = "a-viewers-token";
const ADMIN: &str = "an-admins-token";
/// Stands wherever a configuration has a secret. Shorter names in URLs are taken for names, and shown.
const MARKER: &str = "hunter2-the-marker-of-secrets";
/// What a peer may call itself.
const MARKUP: &str = "<script>alert(1)</script>&amp;";
const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];

/// A reply.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    text: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(": "))
            .find_map(|(known, value)| known.eq_ignore_ascii_case(name).then_some(value))
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// An engine with one of everything, and whoever is connected to it.
struct Server {
    engine: Engine,
    address: SocketAddr,
    _publisher: Publisher,
    _player: TcpStream,
    _folder: tempfile::TempDir,
}

fn config(folder: &Path) -> Config {
    let file = folder.join("clip.flv");
    fs::write(&file, flv(&demo_frames())).unwrap();
    let hash = |token: &str| streamengine::TokenHash::of(token).to_string();
    let keys = match cfg!(feature = "keys") {
        true => format!("[keys]\nurl = \"{}\"\n", folder.join(format!("{MARKER}.db")).display()),
        false => String::new(),
    };
    let text = format!(
        r#"
[rtmp]
listen = ["127.0.0.1:0"]
[http]
listen = ["127.0.0.1:0"]
stat_allow = []
[[http.token]]
name = "viewer"
role = "viewer"
sha256 = "{viewer}"
[[http.token]]
name = "admin"
role = "admin"
sha256 = "{admin}"
[publish]
key = "{MARKER}"
[signed_urls]
secret = "{MARKER}"
{keys}
[hooks]
on_done = "http://user:{MARKER}@127.0.0.1:1/done?key={MARKER}"
secret = "{MARKER}"
[default_app.record]
when = "manual"
dir = "{dir}"
min_free_bytes = 0
[[push]]
stream = "live/a"
url = "rtmp://user:{MARKER}@127.0.0.1:1/live/{MARKER}?key={MARKER}"
[[push]]
stream = "live/a"
url = "rtmp://127.0.0.1:1/live/x"
remote_app = "live"
remote_stream = "{MARKER}"
[[pull]]
stream = "live/pulled"
url = "rtmp://user:{MARKER}@127.0.0.1:1/live/{MARKER}?key={MARKER}"
[origins.o]
urls = ["rtmp://user:{MARKER}@127.0.0.1:1"]
[[file]]
paths = ["{file}"]
stream = "live/clip"
"#,
        viewer = hash(VIEWER),
        admin = hash(ADMIN),
        dir = folder.display(),
        file = file.display(),
    );
    Config::from_toml(&text).unwrap()
}

impl Server {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let engine = Engine::builder().config(config(folder.path())).start().unwrap();
        let address =
            engine.listeners().iter().find(|listener| listener.protocol == Protocol::Http).unwrap().address;
        let publisher = engine.publish(&key("live/a")).unwrap();
        demo_frames().into_iter().for_each(|frame| publisher.push(frame).unwrap());
        let mut player = connect(address);
        write!(player, "GET /live/a.flv HTTP/1.1\r\nHost: h\r\nUser-Agent: {MARKUP}\r\n\r\n").unwrap();
        engine.record(&key("live/a")).unwrap();
        let server = Self { engine, address, _publisher: publisher, _player: player, _folder: folder };
        wait::until("a snapshot has all of it", || {
            let snapshot = server.engine.snapshot();
            snapshot.sessions.iter().any(|session| session.agent.is_some())
                && snapshot
                    .streams
                    .iter()
                    .any(|stream| stream.info.key == key("live/a") && stream.players == 1)
                && snapshot.relays.len() == 3
                && snapshot.relays.iter().all(|relay| relay.last_error.is_some())
        });
        let is_written = || server.engine.recordings().iter().any(|recording| recording.file.is_some());
        wait::until("it is recorded", is_written);
        server
    }

    fn ask_as(&self, token: Option<&str>, method: &str, target: &str, headers: &str, body: &str) -> Answer {
        let mut socket = connect(self.address);
        let token = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        let length =
            if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{token}{headers}{length}\r\n{body}"
        );
        socket.write_all(head.as_bytes()).unwrap();
        let mut reply = String::new();
        socket.read_to_string(&mut reply).unwrap();
        let (head, text) =
            reply.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{method} {target}: {reply}"));
        Answer { status: head[9..12].parse().unwrap(), head: head.to_owned(), text: text.to_owned() }
    }

    fn get(&self, path: &str) -> Answer {
        self.ask_as(Some(VIEWER), "GET", &format!("/api/v1{path}"), "", "")
    }

    /// A path with the ids and names of what there is in it.
    fn real(&self, template: &str) -> String {
        let of = |list: &str| self.get(list).json()["items"][0]["id"].to_string();
        let id = match template.split('/').nth(3) {
            Some(list @ ("sessions" | "relays" | "files" | "recordings")) if template.contains("{id}") => {
                of(&format!("/{list}"))
            }
            _ => String::new(),
        };
        template.replace("{id}", &id).replace("{stream}", "live%2Fa").replace("{alias}", "o")
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// The paths of a description, with their methods.
fn paths(description: &Value) -> BTreeMap<String, BTreeMap<String, Value>> {
    serde_json::from_value(description["paths"].clone()).unwrap()
}

/// What is wrong with a value, by a schema of the description.
fn faults(description: &Value, schema: &Value, value: &Value) -> Vec<String> {
    let mut whole = schema.clone();
    whole["components"] = description["components"].clone();
    let validator = jsonschema::draft202012::new(&whole).unwrap();
    validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

#[test]
fn the_description_is_the_one_that_is_committed() {
    let served = Server::start().get("/openapi.json");
    assert_eq!((served.status, served.header("content-type")), (200, Some("application/json")));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi.json");
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        fs::write(&path, &served.text).unwrap();
    }
    assert!(
        fs::read_to_string(&path).unwrap_or_default() == served.text,
        "docs/openapi.json is out of date: UPDATE_OPENAPI=1 cargo test -p streamengine --features keys,testing --test api"
    );
}

#[test]
fn each_path_has_the_methods_and_roles_that_the_description_says() {
    let server = Server::start();
    let description = server.get("/openapi.json").json();
    let mut asked = 0;
    for (template, operations) in paths(&description) {
        let path = server.real(&template);
        for method in METHODS {
            let described = operations.get(&method.replace("HEAD", "GET").to_ascii_lowercase());
            let ask = |token| server.ask_as(token, method, &path, "", "");
            let Some(operation) = described else {
                let answer = ask(Some(ADMIN));
                let allow = answer.header("allow").unwrap_or_default().to_owned();
                assert_eq!(answer.status, 405, "{method} {path}: {answer:?}");
                assert!(!allow.split(", ").any(|allowed| allowed == method), "{method} {path}: {allow}");
                continue;
            };
            let is_refused = |token| matches!(ask(token).status, 401 | 403);
            let refused = [None, Some("guessed"), Some(VIEWER), Some(ADMIN)].map(|token| match token {
                // It may end what the others ask for.
                Some(ADMIN) if method != "GET" && method != "HEAD" => false,
                token => is_refused(token),
            });
            let expected = match operation["x-role"].as_str() {
                None => [false; 4],
                Some("viewer") => [true, true, false, false],
                Some(role) => {
                    assert_eq!(role, "admin", "{method} {path}");
                    [true, true, true, false]
                }
            };
            assert_eq!(refused, expected, "{method} {path}");
            asked += 1;
        }
    }
    assert!(asked > 30, "{asked}");
}

#[test]
fn what_is_told_is_what_the_description_says() {
    let server = Server::start();
    let description = server.get("/openapi.json").json();
    let meta = jsonschema::meta::is_valid(&description["components"]["schemas"]["StreamStats"]);
    assert!(meta, "it is a schema");
    for (template, operations) in paths(&description) {
        let Some(operation) = operations.get("get") else { continue };
        let content = &operation["responses"]["200"]["content"];
        let Some(schema) = content.pointer("/application~1json/schema") else { continue };
        let path = server.real(&template);
        let answer = server.ask_as(Some(VIEWER), "GET", &path, "", "");
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")), "{path}");
        assert_eq!(faults(&description, schema, &answer.json()), [""; 0], "{path}: {}", answer.text);
        let items = answer.json()["items"].as_array().map(Vec::len);
        let is_empty = items == Some(0);
        assert!(!is_empty, "{path}: nothing that could be wrong");
    }
    let problem = &description["paths"]["/api/v1/streams/{stream}"]["get"]["responses"]["default"]["content"];
    let problem = problem.pointer("/application~1problem+json/schema").unwrap();
    for (path, status) in [
        ("/nothing", 404),
        ("/streams/live%2Fnone", 404),
        ("/streams/live", 400),
        ("/relays/x", 404),
        ("/relays/0", 404),
    ] {
        let answer = server.get(path);
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{path}");
        assert_eq!(faults(&description, problem, &answer.json()), [""; 0], "{path}");
        assert_eq!(answer.json()["status"], status, "{path}");
    }
    // A schema that takes everything would find nothing wrong.
    let stream = &description["components"]["schemas"]["StreamStats"];
    assert!(!faults(&description, stream, &json!({ "key": 5 })).is_empty());
}

#[test]
fn f40_no_secret_and_no_markup_is_in_what_is_told() {
    let server = Server::start();
    let description = server.get("/openapi.json").json();
    let mut told = 0;
    for (template, operations) in paths(&description) {
        if !operations.contains_key("get") || template.ends_with("/events") {
            continue;
        }
        let path = server.real(&template);
        for token in [VIEWER, ADMIN] {
            let answer = server.ask_as(Some(token), "GET", &path, "", "");
            assert_eq!(answer.status, 200, "{path}");
            let hash = streamengine::TokenHash::of(ADMIN).to_string();
            // The description is our own words.
            let markup: &[&str] = if path.ends_with("/openapi.json") { &[] } else { &["<", ">", "&"] };
            for secret in [MARKER, VIEWER, ADMIN, &hash].iter().chain(markup) {
                assert!(!answer.text.contains(secret), "{path} tells {secret}: {}", answer.text);
            }
            told += 1;
        }
    }
    assert!(told > 30, "{told}");
    let hostile = format!("/streams/{}", MARKUP.replace('<', "%3C").replace('>', "%3E").replace('/', "%2F"));
    for answer in [server.get(&hostile), server.get("/origins/%3Cb%3E"), server.get("/x%3Cscript%3E")] {
        assert!((400..500).contains(&answer.status) && !answer.text.contains('<'), "{answer:?}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    }
    let sessions = server.get("/sessions").json();
    let agents: Vec<_> =
        sessions["items"].as_array().unwrap().iter().map(|session| &session["agent"]).collect();
    assert!(agents.contains(&&json!(MARKUP)), "as a text it is whole: {agents:?}");
    let config = server.get("/config").json();
    assert_eq!(
        (&config["publish"]["key"], &config["http"]["token"][0]["sha256"]),
        (&json!("***"), &json!("***"))
    );
}

#[test]
fn histories_can_be_read_on_from_where_they_were_read_to() {
    let server = Server::start();
    let samples = |path: &str| server.get(path).json()["items"].as_array().unwrap().clone();
    for path in ["/history", "/streams/live%2Fa/history"] {
        wait::until("there are samples", || samples(path).len() >= 2);
        let first = samples(path)[0]["at_s"].as_u64().unwrap();
        let later = samples(&format!("{path}?since={first}"));
        assert!(
            !later.is_empty() && later.iter().all(|sample| sample["at_s"].as_u64() > Some(first)),
            "{later:?}"
        );
    }
}

#[test]
fn load_balancers_need_no_token_and_may_ask_again_and_again() {
    let server = Server::start();
    let mut kept = connect(server.address);
    let mut ask = || {
        write!(kept, "GET /api/v1/health HTTP/1.1\r\nHost: any.example\r\n\r\n").unwrap();
        let mut reply = Vec::new();
        while !reply.ends_with(b"}") {
            let mut byte = [0];
            kept.read_exact(&mut byte).unwrap();
            reply.push(byte[0]);
        }
        String::from_utf8(reply).unwrap()
    };
    assert!(ask().starts_with("HTTP/1.1 200 OK"));
    assert!(ask().ends_with(r#"{"status":"ok"}"#));
}
