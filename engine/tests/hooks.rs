//! An HTTP service that is asked who may do what, and told what happens.
#![cfg(feature = "http")]

use ring::hmac;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use streamengine::proto::client::{ClientEvent, ClientRole};
use streamengine::testing::service::{HttpService, json, reply, say};
use streamengine::testing::wait::at_most;
use streamengine::testing::{key, keyframe, rtmp, wait};
use streamengine::{Config, Engine, SessionRole};

/// No verdict takes longer.
const FAILS_WITHIN: Duration = Duration::from_millis(3_500);
/// Where nobody listens: a port that was free may be taken by another test.
const NOBODY: &str = "127.0.0.1:1";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

struct Served {
    engine: Engine,
}

impl Served {
    /// An engine with these settings of `[hooks]`.
    fn new(hooks: &str) -> Self {
        Self::with(&format!("[hooks]\n{hooks}"))
    }

    fn with(config: &str) -> Self {
        let config = Config::from_toml(config).unwrap();
        let address = "127.0.0.1:0".parse().unwrap();
        Self { engine: Engine::builder().config(config).listen_rtmp(address).start().unwrap() }
    }

    fn publish(&self, name: &str) -> Result<TcpStream, String> {
        rtmp::publish_at(self.engine.listeners()[0].address, name)
    }

    fn play(&self, name: &str) -> Result<TcpStream, String> {
        let socket = TcpStream::connect(self.engine.listeners()[0].address).unwrap();
        match rtmp::play(socket, name).expect("an answer") {
            (ClientEvent::Rejected { description, .. }, _) => Err(description),
            (_, socket) => Ok(socket),
        }
    }

    fn is_on_air(&self, stream: &str) -> bool {
        let sessions = self.engine.sessions();
        sessions.iter().any(|s| s.role == SessionRole::Publisher && s.stream == Some(key(stream)))
    }
}

fn names(fields: &[(String, String)]) -> Vec<&str> {
    fields.iter().map(|(name, _)| name.as_str()).collect()
}

#[test]
fn all_is_asked_and_told_with_the_fields_of_nginx_rtmp_in_their_order() {
    let service = HttpService::that_says(OK);
    let all = [
        "on_connect",
        "on_publish",
        "on_play",
        "on_publish_done",
        "on_play_done",
        "on_done",
        "on_disconnect",
    ];
    let hooks: String =
        all.iter().map(|on| format!("{on} = \"{}\"\n", service.url(&format!("/{on}")))).collect();
    let served = Served::new(&hooks);
    let publisher = served.publish("a?token=x%20y&b").unwrap();
    let player = served.play("a?who=me").unwrap();
    drop(player);
    wait::until("the player is told of", || service.calls().contains(&"play_done".to_owned()));
    drop(publisher);
    wait::until("the publisher is told of", || service.calls().len() == 10);
    let mut calls = service.calls();
    calls.sort();
    let mut expected = [
        "connect",
        "connect",
        "publish",
        "play",
        "play_done",
        "publish_done",
        "done",
        "done",
        "disconnect",
        "disconnect",
    ];
    expected.sort_unstable();
    assert_eq!(calls, expected);
    let common = ["app", "flashver", "swfurl", "tcurl", "pageurl", "addr", "clientid", "call"];
    for request in service.asked() {
        let call = request.field("call").unwrap();
        assert_eq!(request.path().split('_').next(), Some("/on"), "{}", request.line);
        let fields = request.fields();
        let expected: Vec<&str> = match call.as_str() {
            "connect" => vec!["app", "flashver", "swfurl", "tcurl", "pageurl", "addr", "epoch", "call"],
            "disconnect" => common.to_vec(),
            "publish" => [&common[..], &["name", "type", "token", "b"]].concat(),
            "play" => [&common[..], &["name", "start", "duration", "reset", "who"]].concat(),
            "publish_done" => [&common[..], &["name", "token", "b"]].concat(),
            "play_done" => [&common[..], &["name", "who"]].concat(),
            _ => continue,
        };
        assert_eq!(names(&fields), expected, "{call}");
        assert_eq!(request.field("addr").as_deref(), Some("127.0.0.1"));
        assert_eq!(request.header("content-type"), Some("application/x-www-form-urlencoded"));
        assert_eq!(request.field("tcurl").as_deref(), Some("rtmp://server.example/live"));
    }
}

#[test]
fn a_client_cannot_take_the_place_of_our_fields() {
    let service = HttpService::that_says(OK);
    let served = Served::new(&format!("on_publish = \"{}\"", service.url("/")));
    let query = "name=evil&addr=10.0.0.1&n%61me=evil&NAME=evil&call[]=x&app%5B0%5D=x&+name=evil&a=1;name=evil&good=1&b=2;c=3";
    served.publish(&format!("a?{query}")).unwrap();
    let request = &service.asked()[0];
    assert!(request.body.ends_with("&name=a&type=live&good=1&b=2;c=3"), "{}", request.body);
    assert_eq!(request.field("name").as_deref(), Some("a"));
    assert_eq!(request.field("addr").as_deref(), Some("127.0.0.1"));
}

#[test]
fn a_key_behind_a_colon_reaches_the_service_as_a_field() {
    let service = HttpService::that_says(OK);
    let served = Served::new(&format!("method = \"get\"\non_publish = \"{}\"", service.url("/on?a=b")));
    let _publisher = served.publish("a:s3 cret?x=1").unwrap();
    let request = &service.asked()[0];
    assert!(request.line.starts_with("GET /on?a=b&app=live&"), "{}", request.line);
    assert_eq!(
        (request.field("key").as_deref(), request.field("x").as_deref()),
        (Some("s3 cret"), Some("1"))
    );
    assert!(served.is_on_air("live/a"), "under its name without the key");
}

#[test]
fn the_status_decides_and_a_redirect_gives_another_name() {
    let answers = [
        ("yes", "200 OK", "", Ok("live/yes")),
        ("made", "201 Created", "", Ok("live/made")),
        ("5ecretkey", "302 Found", "Location: alice?x=1\r\n", Ok("live/alice")),
        ("moved", "301 Moved", "Location: live/room\r\n", Ok("live/room")),
        ("no", "403 Forbidden", "", Err("refused by the service")),
        ("broken", "500 Oops", "", Err("refused by the service")),
        ("lost", "302 Found", "", Err("no answer that can be understood")),
        ("away", "302 Found", "Location: http://h/x\r\n", Err("no answer that can be understood")),
        ("bad", "302 Found", "Location: a//b\r\n", Err("no answer that can be understood")),
    ];
    let service = HttpService::start(move |request, socket| {
        let name = request.field("name").unwrap();
        let (_, status, headers, _) = answers.iter().find(|(own, ..)| *own == name).unwrap();
        say(socket, &reply(status, headers, ""));
    });
    let served = Served::new(&format!("on_publish = \"{}\"", service.url("/")));
    for (name, _, _, expected) in answers {
        match (served.publish(name), expected) {
            (Ok(_socket), Ok(stream)) => assert!(served.is_on_air(stream), "{name}"),
            (Err(reason), Err(words)) => assert!(reason.contains(words), "{name}: {reason}"),
            (got, expected) => panic!("{name}: {got:?}, not {expected:?}"),
        }
    }
}

#[test]
fn connect_is_refused_or_led_to_another_app() {
    let service = HttpService::start(|request, socket| {
        let words = "Content-Type: application/json\r\n";
        match request.field("token").as_deref() {
            Some("no") => say(socket, &reply("403 No", words, r#"{"reason": "not before noon"}"#)),
            Some("other") => say(socket, &reply("302 Found", "Location: elsewhere\r\n", "")),
            _ => say(socket, OK),
        }
    });
    let served =
        Served::with(&format!("[publish]\nopen = true\n[hooks]\non_connect = \"{}\"", service.url("/")));
    let publish = |app: &str| rtmp::publish_in(served.engine.listeners()[0].address, app, "a");
    let first = publish("live?token=yes").unwrap();
    assert!(served.is_on_air("live/a"));
    assert_eq!(publish("live?token=no").unwrap_err(), "not before noon");
    let second = publish("live?token=other").unwrap();
    assert!(served.is_on_air("elsewhere/a"));
    drop((first, second));
}

#[test]
fn an_answer_that_does_not_come_is_a_refusal() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let late = HttpService::start(|_, socket| {
        std::thread::sleep(Duration::from_secs(10));
        say(socket, OK);
    });
    let slow = HttpService::start(|_, socket| {
        for byte in OK.bytes() {
            if socket.write_all(&[byte]).is_err() {
                return;
            }
            std::thread::sleep(Duration::from_secs(1));
        }
    });
    let empty = HttpService::start(|_, socket| socket.shutdown(std::net::Shutdown::Both).unwrap());
    let (away, nonsense) = ("cannot be reached", "no answer that can be understood");
    for (what, url, words) in [
        ("silent", format!("http://{}/", silent.local_addr().unwrap()), away),
        ("refused", format!("http://{NOBODY}/"), away),
        ("late", late.url("/"), away),
        ("slow", slow.url("/"), away),
        ("empty", empty.url("/"), away),
        ("no HTTP", HttpService::that_says("SSH-2.0-x\r\n\r\n").url("/"), nonsense),
        ("no such name", "http://nobody.invalid/".to_owned(), away),
    ] {
        let served = Served::new(&format!("on_publish = \"{url}\""));
        let start = Instant::now();
        let reason = served.publish("a").unwrap_err();
        assert!(start.elapsed() < at_most(FAILS_WITHIN), "{what}: {:?}", start.elapsed());
        assert!(reason.contains(words), "{what}: {reason}");
    }
}

#[test]
fn an_answer_that_is_too_long_is_a_refusal() {
    let long = HttpService::start(|_, socket| {
        say(socket, "HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n");
        let _ = socket.write_all(&vec![b' '; 10_000_000]);
    });
    let served = Served::new(&format!("on_publish = \"{}\"", long.url("/")));
    assert!(served.publish("a").unwrap_err().contains("no answer that can be understood"));
}

#[test]
fn a_certificate_that_is_wrong_is_a_refusal_also_where_a_service_that_is_away_is_none() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (cert, private) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&private, made.signing_key.serialize_pem()).unwrap();
    // Any server with that certificate will do.
    let identity = streamengine::TlsIdentity::files(&cert, &private);
    let server = Engine::builder().start().unwrap();
    let port = server.listen_https("127.0.0.1:0".parse().unwrap(), identity).unwrap().address.port();
    let hooks = format!("[hooks]\nwhen_away = \"allow\"\non_publish = \"https://localhost:{port}/\"\n");
    let reason = Served::with(&hooks).publish("a").unwrap_err();
    assert!(reason.contains("no answer that can be understood"), "{reason}");
    let trusted = format!("{hooks}[tls]\nca = {cert:?}");
    let reason = Served::with(&trusted).publish("a").unwrap_err();
    assert!(reason.contains("refused by the service"), "its 404 or 405: {reason}");
}

#[test]
fn who_asks_for_it_in_words_lets_everybody_in_while_the_service_is_away() {
    let served = Served::new(&format!(
        "when_away = \"allow\"\non_connect = \"http://{NOBODY}/\"\non_publish = \"http://{NOBODY}/\""
    ));
    served.publish("a").unwrap();
    let refuses = HttpService::that_says(&reply("500 Oops", "", ""));
    let served = Served::new(&format!("when_away = \"allow\"\non_publish = \"{}\"", refuses.url("/")));
    served.publish("a").unwrap_err();
}

#[test]
fn an_answer_may_name_stream_principal_limits_and_where_else_the_stream_goes() {
    let push = "rtmp://127.0.0.1:1/live/copy";
    let terms = format!(
        r#"{{"stream": "room/1", "principal": "alice", "max_viewers": 1, "lasts_s": 3600, "push": ["{push}"]}}"#
    );
    let service = HttpService::that_says(&json(&terms));
    let no_window = "[default_app]\nresume_window_ms = 0\n";
    let served = Served::with(&format!("{no_window}[hooks]\non_publish = \"{}\"", service.url("/")));
    let publisher = served.publish("5ecret").unwrap();
    assert!(served.is_on_air("room/1"));
    let pushes = || {
        let relays = served.engine.relays();
        relays.iter().map(|relay| format!("{} {}", relay.stream, relay.url)).collect::<Vec<_>>()
    };
    wait::until("the push", || pushes() == [format!("room/1 {push}")]);
    let play = || {
        let socket = TcpStream::connect(served.engine.listeners()[0].address).unwrap();
        rtmp::ask_in(socket, ClientRole::Play, "room", "1").expect("an answer")
    };
    let (_player, refused) = (play(), play());
    assert!(
        matches!(&refused.0, ClientEvent::Rejected { description, .. } if description.contains("max_viewers"))
    );
    drop(publisher);
    wait::until("the push ends with its stream", || pushes().is_empty());
}

#[test]
fn a_player_that_is_led_to_another_server_gets_the_stream_from_there_while_it_plays() {
    let there = Engine::builder().listen_rtmp("127.0.0.1:0".parse().unwrap()).start().unwrap();
    let publisher = there.publish(&key("live/far")).unwrap();
    publisher.push(keyframe(0, 100)).unwrap();
    let location = format!("Location: rtmp://{}/live/far\r\n", there.listeners()[0].address);
    let service = HttpService::that_says(&reply("302 Found", &location, ""));
    let served = Served::new(&format!("on_play = \"{}\"", service.url("/")));
    let player = served.play("near").unwrap();
    wait::until("it is fetched", || {
        there.sessions().iter().any(|session| session.role == SessionRole::Player)
    });
    let second = served.play("near").unwrap();
    assert_eq!(served.engine.relays().len(), 1, "once for all");
    drop((player, second));
    wait::until("it is fetched no more", || there.sessions().is_empty() && served.engine.relays().is_empty());
}

#[test]
fn srs_is_asked_in_json_and_its_code_decides() {
    let answers = [
        ("zero", reply("200 OK", "", "0"), true),
        ("code", json(r#"{"code": 0, "msg": "OK"}"#), true),
        ("created", reply("201 Created", "", r#"{"code":0}"#), true),
        ("one", reply("200 OK", "", "1"), false),
        ("fails", json(r#"{"code": 403, "reason": "not you"}"#), false),
        ("empty", reply("200 OK", "", ""), false),
        ("redirect", reply("302 Found", "Location: a\r\n", "0"), false),
        ("text", reply("200 OK", "", "yes"), false),
    ];
    let service = HttpService::start({
        let answers = answers.clone();
        move |request, socket| {
            let asked: serde_json::Value = serde_json::from_str(&request.body).unwrap();
            let forward = json(r#"{"code": 0, "data": {"urls": ["rtmp://127.0.0.1:1/live/x"]}}"#);
            let answer = answers.iter().find(|(name, ..)| asked["stream"] == *name);
            match asked["action"].as_str() {
                Some("on_forward") => say(socket, &forward),
                _ => say(socket, answer.map_or(OK, |(_, text, _)| text)),
            }
        }
    });
    let on = |names: &[&str]| {
        names.iter().map(|on| format!("{on} = \"{}\"\n", service.url("/"))).collect::<String>()
    };
    let served = Served::new(&format!(
        "style = \"srs\"\n{}",
        on(&["on_publish", "on_play", "on_unpublish", "on_close", "on_forward"])
    ));
    for (name, _, is_let_in) in &answers {
        let published = served.publish(&format!("{name}?a=b"));
        assert_eq!(published.is_ok(), *is_let_in, "{name}: {published:?}");
    }
    let asked = |action: &str| {
        let bodies = service.asked().into_iter().map(|request| request.body);
        let objects = bodies.map(|body| serde_json::from_str::<serde_json::Value>(&body).unwrap());
        objects.filter(|object| object["action"] == action).collect::<Vec<_>>()
    };
    wait::until("all are told", || {
        asked("on_unpublish").len() == 3 && asked("on_close").len() == answers.len()
    });
    assert_eq!(asked("on_forward").len(), 3, "of those who may publish");
    let pushes: Vec<_> = served.engine.relays().into_iter().map(|relay| relay.stream).collect();
    assert!(pushes.contains(&key("live/zero")), "{pushes:?}");
    let publish = &asked("on_publish")[0];
    for (field, value) in [
        ("vhost", "__defaultVhost__"),
        ("app", "live"),
        ("stream", "zero"),
        ("param", "?a=b"),
        ("ip", "127.0.0.1"),
        ("tcUrl", "rtmp://server.example/live"),
        ("stream_url", "/live/zero"),
    ] {
        assert_eq!(publish[field], value, "{field}");
    }
    assert!(
        asked("on_close").iter().all(|close| close["recv_bytes"].as_u64() > Some(1_000)),
        "{:?}",
        asked("on_close")
    );
}

#[test]
fn what_is_sent_is_signed_with_its_time() {
    let service = HttpService::that_says(OK);
    let served = Served::new(&format!("secret = \"s3cret\"\non_publish = \"{}\"", service.url("/")));
    served.publish("a").unwrap();
    let request = &service.asked()[0];
    let header = request.header("x-streamengine-signature").unwrap();
    let (time, tag) = header.strip_prefix("t=").unwrap().split_once(",v1=").unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!(now.abs_diff(time.parse().unwrap()) <= 10, "{header}");
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"s3cret");
    let expected = hmac::sign(&key, format!("{time}.{}", request.body).as_bytes());
    assert_eq!(tag, expected.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>());
}

#[test]
fn what_runs_ends_where_an_update_says_so() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let service = HttpService::start(move |request, socket| {
        let is_over = request.field("call").as_deref() == Some("update_publish")
            && count.fetch_add(1, Ordering::Relaxed) > 0;
        say(socket, if is_over { "HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n" } else { OK });
    });
    let served = Served::new(&format!(
        "update_every_ms = 1000\non_publish = \"{0}\"\non_update = \"{0}\"",
        service.url("/")
    ));
    let _publisher = served.publish("a?x=1").unwrap();
    wait::until("its end", || !served.is_on_air("live/a"));
    assert_eq!(asked.load(Ordering::Relaxed), 2, "the first one was good");
    let update = service
        .asked()
        .into_iter()
        .find(|request| request.field("call").as_deref() == Some("update_publish"));
    let fields = update.unwrap().fields();
    assert_eq!(names(&fields)[7..], ["call", "time", "timestamp", "name", "x"]);
}

#[test]
fn a_slow_service_is_asked_by_a_few_at_a_time_whether_many_may_go_on() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (count, peak) = (now.clone(), most.clone());
    let service = HttpService::start(move |_, socket| {
        peak.fetch_max(count.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(100));
        count.fetch_sub(1, Ordering::SeqCst);
        say(socket, OK);
    });
    let hooks = format!("update_every_ms = 1000\non_update = \"{}\"", service.url("/"));
    let served = Served::with(&format!("[publish]\nopen = true\n[hooks]\n{hooks}"));
    let publishers: Vec<_> = (0..40).map(|number| served.publish(&format!("s{number}")).unwrap()).collect();
    let names = || {
        let asked = service.asked().into_iter().filter_map(|request| request.field("name"));
        asked.collect::<std::collections::BTreeSet<_>>().len()
    };
    wait::until("all are asked about", || names() == publishers.len());
    let most = most.load(Ordering::SeqCst);
    assert!((2..=16).contains(&most), "{most} at a time");
}

#[test]
fn what_is_told_is_told_again_until_it_arrives_and_connections_are_kept() {
    let failures = AtomicUsize::new(0);
    let service = HttpService::start(move |request, socket| {
        let is_done = request.field("call").as_deref() == Some("publish_done");
        match is_done && failures.fetch_add(1, Ordering::Relaxed) < 1 {
            true => socket.shutdown(std::net::Shutdown::Both).unwrap(),
            false => say(socket, OK),
        }
    });
    let served = Served::new(&format!("on_publish = \"{0}\"\non_publish_done = \"{0}\"", service.url("/")));
    drop(served.publish("a").unwrap());
    wait::until("it is told again", || {
        service.calls().iter().filter(|call| *call == "publish_done").count() == 2
    });
    for _ in 0..10 {
        served.publish("b").unwrap();
    }
    let connections = service.asked().iter().map(|request| request.connection).max().unwrap() + 1;
    assert!(connections <= 8, "{connections} connections for {} requests", service.asked().len());
}

#[test]
fn draining_tells_the_service_of_the_ends() {
    let service = HttpService::that_says(OK);
    let served = Served::new(&format!("on_publish = \"{0}\"\non_publish_done = \"{0}\"", service.url("/")));
    let _publisher = served.publish("a").unwrap();
    served.engine.blocking_drain().unwrap();
    assert_eq!(service.calls(), ["publish", "publish_done"]);
}
