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
use streamengine::{Config, Engine, LogTail, Protocol, Publisher};

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
    beside: Option<Beside>,
}

/// What else a server with one of everything has.
struct Beside {
    publisher: Publisher,
    _player: TcpStream,
    folder: tempfile::TempDir,
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
    /// One that has nothing but its configuration, and the newest lines of a log.
    fn of(config: Config) -> Self {
        let tail = LogTail::default();
        (1..=5).for_each(|number| {
            tail.push(tracing::Level::WARN, "streamengine", &format!("{MARKUP} {number}"))
        });
        let engine = Engine::builder().config(config).log_tail(tail).start().unwrap();
        let address =
            engine.listeners().iter().find(|listener| listener.protocol == Protocol::Http).unwrap().address;
        Self { engine, address, beside: None }
    }

    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let Self { engine, address, .. } = Self::of(config(folder.path()));
        let publisher = engine.publish(&key("live/a")).unwrap();
        demo_frames().into_iter().for_each(|frame| publisher.push(frame).unwrap());
        let mut player = connect(address);
        write!(player, "GET /live/a.flv HTTP/1.1\r\nHost: h\r\nUser-Agent: {MARKUP}\r\n\r\n").unwrap();
        engine.record(&key("live/a")).unwrap();
        #[cfg(feature = "keys")]
        {
            let new = streamengine::NewKey::play(key("live/a")).who(MARKUP.to_owned());
            engine.block_on(engine.keys().unwrap().add(&new)).unwrap();
        }
        let beside = Some(Beside { publisher, _player: player, folder });
        let server = Self { engine, address, beside };
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

    fn beside(&self) -> &Beside {
        self.beside.as_ref().unwrap()
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
        match target.starts_with("/api/v1/events") {
            // That goes on and on.
            true => read_head(&mut socket, &mut reply),
            false => drop(socket.read_to_string(&mut reply).unwrap()),
        }
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

/// Reads up to the end of a head, or of the reply.
fn read_head(socket: &mut TcpStream, reply: &mut String) {
    let mut byte = [0];
    while !reply.ends_with("\r\n\r\n") && socket.read(&mut byte).unwrap() > 0 {
        reply.push(char::from(byte[0]));
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
        let answer = server.ask_as(Some(ADMIN), "GET", &path, "", "");
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
        let Some(operation) = operations.get("get").filter(|_| !template.ends_with("/events")) else {
            continue;
        };
        let path = server.real(&template);
        let is_for_viewers = operation["x-role"] != "admin";
        for token in [VIEWER, ADMIN].into_iter().filter(|token| *token == ADMIN || is_for_viewers) {
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
fn the_log_can_be_read_on_from_where_it_was_read_to_by_admins_where_the_program_tells_it() {
    let server = Server::start();
    let description = server.get("/openapi.json").json();
    let read = |query: &str| {
        let told = server.change(&description, "GET", &format!("/log{query}"), "/log", &Value::Null);
        let ids = told["items"].as_array().unwrap().iter().map(|line| line["id"].as_u64().unwrap());
        (ids.collect::<Vec<_>>(), told["next"].clone())
    };
    assert_eq!(read(""), (vec![1, 2, 3, 4, 5], Value::Null));
    assert_eq!(read("?limit=2"), (vec![4, 5], Value::Null));
    assert_eq!(read("?after=1&limit=2"), (vec![2, 3], json!(3)));
    assert_eq!(read("?after=3&limit=2"), (vec![4, 5], Value::Null));
    assert_eq!(read("?after=5"), (vec![], Value::Null));
    assert_eq!(server.send("GET", "/log?after=x", Body("", "")).status, 400);
    let line = &server.send("GET", "/log?limit=1", Body("", "")).json()["items"][0];
    assert_eq!((&line["level"], &line["target"]), (&json!("warn"), &json!("streamengine")));
    assert!(
        line["message"].as_str().unwrap().starts_with(MARKUP) && line["at_ms"].as_u64().unwrap() > 1 << 40
    );
    let local = Config::default().http(streamengine::HttpConfig::default().local_admin(true));
    let silent = Engine::builder().config(local).listen_http("127.0.0.1:0".parse().unwrap()).start().unwrap();
    let mut socket = connect(silent.listeners()[0].address);
    write!(socket, "GET /api/v1/log HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut reply = String::new();
    socket.read_to_string(&mut reply).unwrap();
    assert!(reply.starts_with("HTTP/1.1 404") && reply.contains("problem+json"), "{reply}");
}

#[test]
fn what_may_be_a_key_in_a_url_is_shown_to_admins_only() {
    let server = Server::start();
    let mut config = server.engine.config();
    config.push[1].url = "rtmp://127.0.0.1:1/live/short".parse().unwrap();
    config.push[1].remote_stream = None;
    config.push[1].remote_app = None;
    server.engine.reload(config).unwrap();
    let of = |token| server.ask_as(Some(token), "GET", "/api/v1/config", "", "").json();
    let (viewer, admin) = (of(VIEWER), of(ADMIN));
    let url = |config: &Value, place: &str| config.pointer(place).unwrap().as_str().unwrap().to_owned();
    assert!(url(&admin, "/push/1/url").ends_with("127.0.0.1:1/live/short"), "{}", admin["push"]);
    assert!(url(&viewer, "/push/1/url").ends_with("127.0.0.1:1/live/***"), "{}", viewer["push"]);
    assert!(url(&viewer, "/pull/0/url").ends_with("127.0.0.1:1/live/***"), "{}", viewer["pull"]);
    assert!(url(&admin, "/hooks/on_done").contains("127.0.0.1:1/done"), "{}", admin["hooks"]);
    assert!(url(&viewer, "/hooks/on_done").ends_with("127.0.0.1:1/***"), "{}", viewer["hooks"]);
    for (name, value) in viewer["http"].as_object().unwrap() {
        assert!(!value.is_null() || ["password", "password_file"].contains(&name.as_str()), "{name}");
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

/// What is asked with a body.
struct Body<'a>(&'a str, &'a str);

const JSON: &str = "application/json";

impl Server {
    fn send(&self, method: &str, path: &str, Body(content_type, body): Body<'_>) -> Answer {
        let headers =
            if content_type.is_empty() { String::new() } else { format!("Content-Type: {content_type}\r\n") };
        self.ask_as(Some(ADMIN), method, &format!("/api/v1{path}"), &headers, body)
    }

    /// Does something, and gives what is replied, which is what the description says.
    fn change(&self, description: &Value, method: &str, path: &str, template: &str, body: &Value) -> Value {
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let answer = self.send(method, path, Body(if body.is_null() { "" } else { JSON }, &text));
        let operation = &description["paths"][format!("/api/v1{template}")][method.to_ascii_lowercase()];
        let described = &operation["responses"][answer.status.to_string()];
        assert!(described.is_object(), "{method} {path}: {answer:?}");
        let Some(schema) = described.pointer("/content/application~1json/schema") else {
            assert_eq!((answer.status, answer.text.as_str()), (204, ""), "{method} {path}");
            return Value::Null;
        };
        assert_eq!(faults(description, schema, &answer.json()), [""; 0], "{path}: {}", answer.text);
        if let Some(taken) =
            operation.pointer("/requestBody/content/application~1json/schema").filter(|_| !body.is_null())
        {
            assert_eq!(faults(description, taken, body), [""; 0], "{path}: what is taken is described");
        }
        if answer.status == 201
            && let Some(place) = answer.header("location")
        {
            let there = self.ask_as(Some(VIEWER), "GET", place, "", "");
            assert_eq!((there.status, &there.json()["id"]), (200, &answer.json()["id"]), "{place}");
        }
        answer.json()
    }
}

#[test]
fn relays_are_added_tuned_restarted_and_removed() {
    let server = Server::start();
    let description = server.get("/openapi.json").json();
    let change = |method: &str, path: &str, template: &str, body: Value| {
        server.change(&description, method, path, template, &body)
    };
    let push = json!({ "stream": "live/b", "url": "rtmp://127.0.0.1:1/live/b", "retry": { "min_ms": 50 }, "tls": null });
    let added = change("POST", "/relays/push", "/relays/push", push);
    assert_eq!((&added["direction"], &added["stream"]), (&json!("push"), &json!("live/b")));
    let one = format!("/relays/{}", added["id"]);
    change(
        "PUT",
        &format!("{one}/tuning"),
        "/relays/{id}/tuning",
        json!({ "max_retries": 0, "chunk_size": 300 }),
    );
    change("POST", &format!("{one}/restart"), "/relays/{id}/restart", Value::Null);
    change("DELETE", &one, "/relays/{id}", Value::Null);
    assert_eq!(server.get(&one).status, 404);
    assert_eq!(server.send("DELETE", &one, Body("", "")).status, 404);
    let pull = json!({ "stream": "live/c", "url": "http://127.0.0.1:1/live/c.flv", "when": "watched" });
    let added = change("POST", "/relays/pull", "/relays/pull", pull);
    assert_eq!((&added["direction"], &added["state"]), (&json!("pull"), &json!("idle")));
    let one = format!("/relays/{}", added["id"]);
    assert_eq!(server.send("PUT", &format!("{one}/tuning"), Body(JSON, "{}")).status, 409, "it is a pull");
    change("DELETE", &one, "/relays/{id}", Value::Null);
    for (path, wrong, word) in [
        ("/relays/push", r#"{"stream":"live/b"}"#, "url"),
        ("/relays/push", r#"{"stream":"live/b","url":"rtmp://h/a/b","nope":1}"#, "nope"),
        ("/relays/push", r#"{"stream":"live/b","url":"ftp://hunter3/a/b"}"#, "rtmp"),
        ("/relays/push", "[]", "object"),
        ("/relays/pull", r#"{"stream":"origin/o/a/b","url":"rtmp://h/a/b"}"#, "origin"),
    ] {
        let answer = server.send("POST", path, Body(JSON, wrong));
        assert_eq!(answer.status, 400, "{wrong}: {answer:?}");
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(word) && !detail.contains("hunter3"), "{wrong}: {detail}");
    }
}

#[test]
fn files_and_origins_come_change_and_go() {
    let server = Server::start();
    let description = server.get("/openapi.json").json();
    let change = |method: &str, path: &str, template: &str, body: Value| {
        server.change(&description, method, path, template, &body)
    };
    let clip = server.beside().folder.path().join("clip.flv");
    let file = json!({ "paths": [clip], "stream": "live/again", "loops": 7 });
    let added = change("POST", "/files", "/files", file.clone());
    let replaced = change("PUT", &format!("/files/{}", added["id"]), "/files/{id}", file.clone());
    assert_ne!(added["id"], replaced["id"]);
    assert_eq!(server.send("POST", "/files", Body(JSON, &file.to_string())).status, 409, "its name is taken");
    change("DELETE", &format!("/files/{}", replaced["id"]), "/files/{id}", Value::Null);
    let none = json!({ "paths": ["/no/such.flv"], "stream": "live/none" });
    let answer = server.send("POST", "/files", Body(JSON, &none.to_string()));
    assert!(answer.status == 404 && answer.text.contains("/no/such.flv"), "{answer:?}");
    let origin = json!({ "urls": ["rtmp://127.0.0.1:1"], "apps": ["live"] });
    let set = change("PUT", "/origins/p", "/origins/{alias}", origin);
    assert_eq!((&set["alias"], &set["urls"]), (&json!("p"), &json!(["rtmp://127.0.0.1:1"])));
    assert_eq!(server.send("PUT", "/origins/P", Body(JSON, r#"{"urls":["rtmp://h"]}"#)).status, 400);
    change("DELETE", "/origins/p", "/origins/{alias}", Value::Null);
    assert_eq!(server.send("DELETE", "/origins/p", Body("", "")).status, 404);
}

#[test]
fn recordings_are_started_and_stopped_and_who_publishes_and_plays_is_ended() {
    let server = Server::start();
    let description = server.get("/openapi.json").json();
    let change = |method: &str, path: &str, template: &str, body: Value| {
        server.change(&description, method, path, template, &body)
    };
    let record = |body| change("POST", "/streams/live%2Fb/record", "/streams/{stream}/record", body);
    let first = record(Value::Null);
    assert_eq!(server.send("POST", "/streams/live%2Fb/record", Body("", "")).status, 409, "it is recorded");
    change("DELETE", &format!("/recordings/{}", first["id"]), "/recordings/{id}", Value::Null);
    let own = server.beside().folder.path().join("own");
    fs::create_dir(&own).unwrap();
    let second = record(json!({ "dir": own, "format": "fmp4", "min_free_bytes": 0 }));
    assert_ne!(first["id"], second["id"]);
    change("DELETE", &format!("/recordings/{}", second["id"]), "/recordings/{id}", Value::Null);
    let plays = |session: &&Value| session["role"] == "player";
    let sessions = server.get("/sessions").json();
    let player = sessions["items"].as_array().unwrap().iter().find(plays).unwrap()["id"].clone();
    change("POST", &format!("/sessions/{player}/kick?reason=too%20loud"), "/sessions/{id}/kick", Value::Null);
    wait::until("it is gone", || server.get(&format!("/sessions/{player}")).status == 404);
    change("POST", "/streams/live%2Fa/kick", "/streams/{stream}/kick", Value::Null);
    wait::until("nobody publishes it", || server.beside().publisher.push(demo_frames().remove(0)).is_err());
    assert_eq!(server.send("POST", "/streams/live%2Fnone/kick", Body("", "")).status, 404);
}

#[cfg(feature = "keys")]
#[test]
fn a_key_is_told_once_and_is_good_until_it_is_revoked() {
    let server = Server::start();
    let description = server.get("/openapi.json").json();
    let new = json!({ "stream": "live/keyed", "who": "alice", "expires": "2099-01-31T18:00:00Z" });
    let made = server.change(&description, "POST", "/keys", "/keys", &new);
    let (key, id) = (made["key"].as_str().unwrap(), made["id"].as_str().unwrap());
    assert!(key.starts_with(&format!("{id}-")), "{made}");
    let own = json!({ "stream": "live/keyed", "key": "a-key-of-before" });
    assert_eq!(server.change(&description, "POST", "/keys", "/keys", &own)["key"], Value::Null);
    let list =
        |query: &str| server.change(&description, "GET", &format!("/keys{query}"), "/keys", &Value::Null);
    let listed = list("?stream=live%2Fkeyed");
    assert_eq!(listed["items"].as_array().unwrap().len(), 2);
    assert!(!listed.to_string().contains(key) && !listed.to_string().contains("a-key-of-before"), "{listed}");
    assert_eq!(list("?stream=live/other")["items"], json!([]));
    let revoked = server.change(&description, "DELETE", &format!("/keys/{id}"), "/keys/{key}", &Value::Null);
    assert!(revoked["revoked"].is_string(), "{revoked}");
    assert_eq!(server.send("DELETE", "/keys/none", Body("", "")).status, 404);
}

#[cfg(feature = "keys")]
#[test]
fn a_key_that_is_rotated_is_good_for_a_day_more_at_the_most() {
    let server = Server::start();
    let description = server.get("/openapi.json").json();
    let new = json!({ "stream": "live/keyed", "who": "alice", "max_kbps": 5_000 });
    let first = server.change(&description, "POST", "/keys", "/keys", &new);
    let rotate = |made: &Value, body: &Value| {
        let id = made["id"].as_str().unwrap();
        server.change(&description, "POST", &format!("/keys/{id}/rotate"), "/keys/{key}/rotate", body)
    };
    let of = |made: &Value| {
        let list = server.send("GET", "/keys", Body("", "")).json();
        list["items"].as_array().unwrap().iter().find(|key| key["id"] == made["id"]).cloned().unwrap()
    };
    let second = rotate(&first, &json!({ "overlap_s": 86_400 }));
    assert!(second["key"].is_string() && second["key"] != first["key"]);
    let same = |made: &Value| (made["stream"].clone(), made["who"].clone(), made["max_kbps"].clone());
    assert_eq!(same(&second), same(&first));
    assert!(of(&first)["revoked"].is_null() && of(&first)["expires"].is_string(), "{}", of(&first));
    let third = rotate(&second, &Value::Null);
    assert!(of(&second)["revoked"].is_string() && of(&third)["revoked"].is_null());
    let id = third["id"].as_str().unwrap();
    for (body, status) in [(r#"{"overlap_s":86401}"#, 400), (r#"{"overlap_s":-1}"#, 400), (r#"{"x":1}"#, 400)]
    {
        assert_eq!(
            server.send("POST", &format!("/keys/{id}/rotate"), Body(JSON, body)).status,
            status,
            "{body}"
        );
    }
    assert!(of(&third)["revoked"].is_null() && of(&third)["expires"].is_null());
    assert_eq!(server.send("POST", "/keys/none/rotate", Body("", "")).status, 404);
    let revoked =
        server.send("POST", &format!("/keys/{}/rotate", second["id"].as_str().unwrap()), Body("", ""));
    assert_eq!(revoked.status, 409, "{revoked:?}");
}

#[test]
fn another_configuration_is_taken_as_a_whole_or_not_at_all() {
    let server = Server::start();
    let description = server.get("/openapi.json").json();
    let schema =
        description.pointer("/paths/~1api~1v1~1config/put/responses/200/content/application~1json/schema");
    let before = server.engine.config();
    let port = server.address.port();
    let with = |ring: &str| {
        format!(
            "[http]\nlisten = [\"127.0.0.1:{port}\"]\n[limits]\nring_ms = {ring}\n[[http.token]]\nname = \"admin\"\n\
             role = \"admin\"\nsha256 = \"{}\"\n",
            streamengine::TokenHash::of(ADMIN)
        )
    };
    for (content_type, text, status) in [
        ("application/toml", with("\"x\""), 400),
        (JSON, "{\"limits\":{\"rign_ms\":1}}".to_owned(), 400),
        (JSON, server.get("/config").text, 400),
        ("text/plain", with("5000"), 415),
        ("", with("5000"), 415),
    ] {
        let answer = server.send("PUT", "/config", Body(content_type, &text));
        assert_eq!(answer.status, status, "{content_type}: {answer:?}");
        assert_eq!(server.engine.config(), before);
    }
    let answer = server.send("PUT", "/config", Body("application/toml; charset=utf-8", &with("5000")));
    assert_eq!((answer.status, server.engine.config().limits.ring_ms), (200, 5_000), "{answer:?}");
    assert_eq!(faults(&description, schema.unwrap(), &answer.json()), [""; 0]);
    let keys: Vec<_> =
        answer.json()["changes"].as_array().unwrap().iter().map(|change| change["key"].clone()).collect();
    assert!(keys.contains(&json!("limits.ring_ms")) && keys.contains(&json!("push")), "{keys:?}");
    let unchanged = server.engine.config().limits(streamengine::Limits::default()).to_json().to_string();
    assert_eq!(
        server.send("PUT", "/config", Body(JSON, &unchanged)).status,
        400,
        "with *** for a hash or not"
    );
}

#[test]
fn another_configuration_is_answered_as_by_all_ways() {
    let of_api = format!(
        "[rtmp]\nlisten = [\"127.0.0.1:0\"]\n[http]\nlisten = [\"127.0.0.1:0\"]\n[[http.token]]\nname = \"admin\"\n\
         role = \"admin\"\nsha256 = \"{}\"\n",
        streamengine::TokenHash::of(ADMIN)
    );
    let with = |lines: &str| format!("{of_api}{lines}");
    let config = Config::from_toml(&with(include_str!("../../tests/reload/before.toml"))).unwrap();
    let server = Server::of(config);
    let after = with(include_str!("../../tests/reload/after.toml"));
    let reply = server.send("PUT", "/config", Body("application/toml", &after));
    let answer: Value = serde_json::from_str(include_str!("../../tests/reload/answer.json")).unwrap();
    assert_eq!((reply.status, reply.json()), (200, answer));
}

#[test]
fn f37_a_body_of_more_than_256_kib_is_answered_with_413() {
    let server = Server::start();
    let ask =
        |len: usize| server.send("POST", "/relays/push", Body(JSON, &format!("\"{}\"", "x".repeat(len - 2))));
    assert_eq!(ask(256 * 1024).status, 400, "it is read, and is no object");
    assert_eq!(ask(256 * 1024 + 1).status, 413);
}

#[test]
fn bodies_that_do_not_come_or_are_none_are_answered_as_what_they_are() {
    let server = Server::start();
    let mut slow = connect(server.address);
    server
        .engine
        .reload(server.engine.config().limits(streamengine::Limits::default().http_header_timeout_ms(300)))
        .unwrap();
    let head = format!(
        "POST /api/v1/files HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {ADMIN}\r\nContent-Type: {JSON}\r\n"
    );
    write!(slow, "{head}Content-Length: 100\r\n\r\n{{").unwrap();
    let mut reply = String::new();
    slow.read_to_string(&mut reply).unwrap();
    assert!(reply.starts_with("HTTP/1.1 408"), "{reply}");
    let mut chunked = connect(server.address);
    write!(chunked, "{head}Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[]\r\n0\r\n\r\n")
        .unwrap();
    reply.clear();
    chunked.read_to_string(&mut reply).unwrap();
    assert!(reply.starts_with("HTTP/1.1 400") && reply.contains("object"), "{reply}");
    for (method, path, body, status) in [
        ("POST", "/files", Body("", ""), 400),
        ("POST", "/files", Body("text/plain", "{}"), 415),
        ("POST", "/files", Body("application/x-www-form-urlencoded", "paths=x"), 415),
        ("POST", "/files", Body(JSON, "{"), 400),
        ("DELETE", "/files/7", Body(JSON, "{}"), 400),
        ("GET", "/files", Body(JSON, "{}"), 400),
        ("POST", "/relays/push", Body(JSON, r#"{"stream":"live/a","url":"rtmp://h/live/***"}"#), 400),
    ] {
        let answer = server.send(method, path, body);
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{method} {path}");
    }
    for token in [None, Some(VIEWER)] {
        let answer =
            server.ask_as(token, "POST", "/api/v1/files", "Content-Type: application/json\r\n", "{}");
        assert!(matches!(answer.status, 401 | 403), "{answer:?}");
    }
    let cross = "Origin: http://evil.example\r\nContent-Type: application/json\r\n";
    assert_eq!(server.ask_as(Some(ADMIN), "POST", "/api/v1/files", cross, "{}").status, 403);
}

/// Somebody who listens to events.
struct Listener(std::io::BufReader<TcpStream>);

impl Listener {
    fn open(server: &Server, query: &str) -> Self {
        let mut socket = connect(server.address);
        let head = format!(
            "GET /api/v1/events{query} HTTP/1.1\r\nHost: h\r\nConnection: close\r\nAuthorization: Bearer {VIEWER}\r\n\r\n"
        );
        socket.write_all(head.as_bytes()).unwrap();
        let mut listener = Self(std::io::BufReader::new(socket));
        let first = listener.line().unwrap();
        assert!(first.starts_with("HTTP/1.1 200"), "{first}");
        while !listener.line().unwrap().starts_with(": ") {}
        listener
    }

    /// The next line, `None` at the end; without the sizes of chunks.
    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        (std::io::BufRead::read_line(&mut self.0, &mut line).unwrap() > 0).then(|| line.trim_end().to_owned())
    }

    /// The next event: its number, its name and what it says.
    fn event(&mut self) -> (u64, String, Value) {
        let mut field = |name: &str| loop {
            let line = self.line().expect("an event");
            if let Some(value) = line.strip_prefix(name) {
                break value.to_owned();
            }
        };
        let (id, name) = (field("id: ").parse().unwrap(), field("event: "));
        (id, name, serde_json::from_str(&field("data: ")).unwrap())
    }
}

#[test]
fn who_listens_is_told_what_happens_and_only_what_he_wants_to_know() {
    let server = Server::start();
    let mut all = Listener::open(&server, "");
    let mut some = Listener::open(&server, "?names=stream-ended,stream-started&stream=live%2Flate");
    let mut summaries = Listener::open(&server, "?names=none&snapshot=1");
    for name in ["live/other", "live/late"] {
        server.engine.publish(&key(name)).unwrap().finish();
    }
    let (id, name, data) = some.event();
    assert_eq!((id, name.as_str(), &data["stream"]), (1, "stream-started", &json!("live/late")));
    assert_eq!((some.event().1, all.event().1), ("stream-ended".to_owned(), "stream-started".to_owned()));
    let (_, name, summary) = summaries.event();
    assert_eq!((name.as_str(), &summary["engine"]["streams_live"].is_u64()), ("summary", &true));
    let description = server.get("/openapi.json").json();
    let schema = &description["components"]["schemas"]["Summary"];
    assert_eq!(faults(&description, schema, &summary), [""; 0]);
    assert_eq!(server.get("/events?stream=nothing").status, 400);
}

#[test]
fn more_than_64_who_listen_to_events_are_told_to_come_later() {
    let server = Server::start();
    let mut listeners: Vec<_> = (0..64).map(|_| Listener::open(&server, "")).collect();
    assert_eq!(server.get("/events").status, 503);
    listeners.pop();
    wait::until("there is room for another one", || server.get("/events").status == 200);
}

#[test]
fn listening_ends_with_the_token_and_with_the_engine() {
    let server = Server::start();
    let mut listener = Listener::open(&server, "?names=none");
    let mut config = server.engine.config();
    config.http.token.retain(|token| token.name != "viewer");
    server.engine.reload(config.clone()).unwrap();
    while listener.line().is_some() {}
    let token = streamengine::HttpTokenConfig::new(
        "viewer",
        streamengine::HttpRole::Viewer,
        streamengine::TokenHash::of(VIEWER),
    );
    config.http.token.push(token);
    server.engine.reload(config).unwrap();
    let mut listener = Listener::open(&server, "?names=none");
    server.engine.blocking_drain().unwrap();
    while listener.line().is_some() {}
}

#[test]
fn what_takes_long_to_read_is_sent_to_its_end_on_a_connection_that_is_kept() {
    let server = Server::start();
    // Less than it takes to read it all.
    server
        .engine
        .reload(server.engine.config().limits(streamengine::Limits::default().http_idle_ms(300)))
        .unwrap();
    let mut socket = connect(server.address);
    write!(socket, "GET /api/v1/events?snapshot=1&names=none HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {VIEWER}\r\n\r\n").unwrap();
    let mut listener = Listener(std::io::BufReader::new(socket));
    assert_eq!([(); 4].map(|()| listener.event().0), [1, 2, 3, 4]);
}
