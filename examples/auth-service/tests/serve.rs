//! The example as its README has it: a database, the service, and the streaming server that asks it, by its configuration.

use std::net::SocketAddr;
use std::process::Command;
use streamengine_tests::nginx::Nginx;
use streamengine_tests::peers::{self, ffprobe_tracks};
use streamengine_tests::postgres::Postgres;
use streamengine_tests::{Engine, PATIENCE, Proc, Signal, demo_clip, free_address, needs, poll, workspace};

/// The service and its database.
struct Site {
    postgres: Postgres,
    service: Proc,
    address: SocketAddr,
}

impl Site {
    fn start() -> Self {
        let postgres = Postgres::start();
        let service = auth_service(&["serve", "--listen", "127.0.0.1:0", "--database", &postgres.url()]);
        let address = service.err.find_after(0, PATIENCE, |line| line.split_once("http://")?.1.parse().ok());
        let address = address.expect("it says where it listens");
        Self { postgres, service, address }
    }

    /// What a command prints.
    fn run(&self, words: &[&str]) -> String {
        let database = self.postgres.url();
        let command = auth_service(&[words, &["--database", &database]].concat());
        command.succeed(PATIENCE);
        command.out.all().concat()
    }

    /// A file of the example, which asks this service.
    fn example(&self, name: &str, addresses: &[(&str, &str)]) -> String {
        let service = self.address.to_string();
        example(name, &[&[("127.0.0.1:8000", service.as_str())], addresses].concat())
    }
}

/// A file of the example with other addresses.
fn example(name: &str, addresses: &[(&str, &str)]) -> String {
    let path = workspace().join("examples/auth-service").join(name);
    let text = std::fs::read_to_string(&path).expect("an example");
    addresses.iter().fold(text, |text, (from, to)| {
        assert!(text.contains(from), "{}: {from}", path.display());
        text.replace(from, to)
    })
}

/// The addresses that the streaming server listens on.
const LISTEN: [(&str, &str); 2] = [("listen = [\"0.0.0.0:1935\"]", ""), ("0.0.0.0:8080", "127.0.0.1:0")];

fn auth_service(words: &[&str]) -> Proc {
    let mut command = Command::new(env!("CARGO_BIN_EXE_auth-service"));
    command.args(words).env_remove("DATABASE_URL");
    Proc::spawn("auth-service", command)
}

fn publish(url: &str) -> Proc {
    peers::ffmpeg_publish_forever(&demo_clip(), url)
}

fn is_refused(url: &str) {
    let ffmpeg = publish(url);
    assert_ne!(ffmpeg.wait(PATIENCE), 0, "{}", ffmpeg.log());
}

#[test]
fn who_has_a_key_is_on_air_under_the_public_name_until_blocked() {
    needs!("postgresql", "ffmpeg");
    let site = Site::start();
    let [rtmp, http] = LISTEN;
    let updates = ("update_every_ms = 30000", "update_every_ms = 1000");
    let config = site.example("streamengine.toml", &[rtmp, http, updates]);
    let engine = Engine::serve().http().config(config).start();
    let url = |key: &str| engine.url(&format!("live/{key}"));
    let key = site.run(&["add", "alice"]);
    let other = site.run(&["add", "bob", "--app", "vip", "--expires", "12h"]);
    let late = site.run(&["add", "carol", "--expires", "1d"]);
    site.postgres.sql("UPDATE streamers SET expires = now() WHERE name = 'carol'");
    for wrong in ["alice", "0123456789abcdef", &other, &late] {
        is_refused(&url(wrong));
    }

    let publisher = publish(&url(&key));
    engine.wait_publish("live/alice");
    let mut tracks = ffprobe_tracks(&url("alice"));
    tracks.sort();
    assert_eq!(tracks, ["audio", "video"]);
    let play = Command::new("ffprobe").args(["-v", "error", &url("nobody")]).output().expect("ffprobe");
    assert!(!play.status.success(), "who is unknown is not played");
    let on_air = "SELECT name FROM streamers WHERE on_air_since IS NOT NULL";
    assert_eq!(site.postgres.sql(on_air), "alice");

    site.run(&["block", "alice"]);
    engine.wait_unpublish("live/alice");
    assert!(publisher.try_wait(PATIENCE).is_some(), "the encoder ends");
    poll(PATIENCE, || site.postgres.sql(on_air).is_empty().then_some(())).expect("its end is noted");
    is_refused(&url(&key));
    site.run(&["unblock", "alice"]);
    let new = site.run(&["add", "alice"]);
    let mark = engine.lines().mark();
    let _publisher = publish(&url(&new));
    engine.wait_after(mark, "stream-started", PATIENCE, |event| event["stream"] == "live/alice");

    let told = [engine.lines().all().concat(), engine.process.log(), site.service.log()].concat();
    let stored = site.postgres.sql("SELECT string_agg(streamers::text, '') FROM streamers");
    for key in [&key, &new, &other, &late] {
        assert_eq!(key.len(), 40, "{key}");
        assert!(!told.contains(key.as_str()), "a key is in no event and no log");
        assert!(!stored.contains(key.as_str()), "a key is not in the table");
    }
    site.service.signal(Signal::INT);
    assert_eq!(site.service.wait(PATIENCE), 0, "{}", site.service.log());
}

#[test]
fn nginx_rtmp_asks_it_by_its_own_callbacks() {
    needs!("postgresql", "ffmpeg", "nginx-rtmp");
    let site = Site::start();
    let address = free_address();
    let listen = format!("listen {address};");
    let updates = ("notify_update_timeout 30s", "notify_update_timeout 1s");
    let nginx = Nginx::run(address, &site.example("nginx.conf", &[("listen 1935;", &listen), updates]));
    let key = site.run(&["add", "alice"]);
    is_refused(&nginx.url("alice"));
    is_refused(&nginx.url("0123456789abcdef"));
    // nginx-rtmp hands them on: two fields of one name are no form that the service takes.
    is_refused(&nginx.url(&format!("0123?name={key}")));
    let publisher = publish(&nginx.url(&key));
    nginx.process.err.find("publish redirect to 'alice'", PATIENCE).expect("another name");
    let mut tracks = ffprobe_tracks(&nginx.url("alice"));
    tracks.sort();
    assert_eq!(tracks, ["audio", "video"]);
    site.run(&["block", "alice"]);
    assert!(publisher.try_wait(PATIENCE).is_some(), "the encoder ends");
    is_refused(&nginx.url(&key));
}

#[test]
fn while_the_database_is_away_who_asks_is_refused() {
    needs!("postgresql", "ffmpeg");
    let mut site = Site::start();
    // As in containers, where the environment says where the service is.
    let compose = example("compose.yaml", &[("auth-service:8000", &site.address.to_string())]);
    let settings = compose.lines().filter(|line| line.contains("STREAMENGINE_"));
    let serve = settings.fold(Engine::serve(), |serve, line| {
        let (name, url) = line.trim().split_once(": ").expect("a setting");
        serve.env(name, url)
    });
    let engine = serve.http().config(example("streamengine.toml", &LISTEN)).start();
    let key = site.run(&["add", "alice"]);
    site.postgres.kill();
    is_refused(&engine.url(&format!("live/{key}")));
    site.postgres.restart();
    let _publisher = publish(&engine.url(&format!("live/{key}")));
    engine.wait_publish("live/alice");
}

#[test]
fn what_is_wrong_is_told_with_what_to_do() {
    needs!("postgresql");
    let postgres = Postgres::start();
    let (url, address) = (postgres.url(), postgres.address.to_string());
    for (words, told) in [
        (&["serve"][..], "DATABASE_URL"),
        (&["serve", "--database", "mysql://hunter2@h/x"], "postgres://USER@HOST/NAME"),
        (&["serve", "--database", &url, "--listen", &address], "--listen"),
        (&["add", "two words", "--database", &url], "letters, digits"),
        (&["block", "nobody", "--database", &url], "auth-service add"),
        (&["add", "a", "--database", "postgres://u:hunter2@127.0.0.1:1/x"], "Is it started"),
    ] {
        let command = auth_service(words);
        assert_ne!(command.wait(PATIENCE), 0);
        let said = command.err.all().concat();
        assert!(said.contains(told) && !said.contains("hunter2"), "{words:?}: {said}");
    }
    let help = auth_service(&["--help"]);
    help.succeed(PATIENCE);
    assert!(help.out.all().concat().contains("auth-service add alice"));
}
