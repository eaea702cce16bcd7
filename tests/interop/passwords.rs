//! User and password in the URLs of foreign encoders (`authmod=adobe`).

use streamengine_tests::peers::{self, Speed};
use streamengine_tests::postgres::Postgres;
use streamengine_tests::{Engine, PATIENCE, Proc, demo_clip, needs, streamengine, unique};

const PASSWORD: &str = "s3cret-marker";

/// A server that asks for the publish key as a password.
fn serve() -> Engine {
    Engine::serve().key(PASSWORD).config("[publish]\nauthmod_adobe = true\n").start()
}

/// The URL of a stream with user and password.
fn with_password(engine: &Engine, user: &str, password: &str, name: &str) -> String {
    format!("rtmp://{user}:{password}@{}/{name}", engine.rtmp)
}

/// Publishes as one encoder does it with user and password: a right one is on air to the end, a wrong one ends the encoder.
fn publishes(publish: impl Fn(&Engine, &str, &str) -> Proc) {
    let engine = serve();
    let name = format!("live/{}", unique("clip"));
    let right = publish(&engine, PASSWORD, &name);
    engine.wait_publish(&name);
    right.succeed(PATIENCE);
    engine.wait_unpublish(&name);
    assert!(!engine.process.err.all().join("\n").contains("WARN"), "{}", engine.process.log());
    let wrong = publish(&engine, "wr0ng-marker", &name);
    assert_ne!(wrong.wait(PATIENCE), 0, "a wrong password was accepted\n{}", wrong.log());
    let refused = engine.wait("refused", |event| event["request"] == "connect");
    assert!(refused["reason"].as_str().is_some_and(|reason| reason.contains("wrong user or password")));
    let all = [engine.lines().all(), engine.process.err.all()].concat().join("\n");
    assert!(!all.contains("-marker"), "a password is in the log: {all}");
}

#[test]
fn adobe_ffmpeg_publishes_with_the_right_password_and_says_that_a_wrong_one_is() {
    needs!("ffmpeg");
    publishes(|engine, password, name| {
        let url = with_password(engine, "alice", password, name);
        peers::ffmpeg_publish(&demo_clip(), &url, Speed::Fast)
    });
    let engine = serve();
    let encode = |url: &str| peers::ffmpeg_publish(&demo_clip(), url, Speed::Fast);
    for (url, words) in [
        (with_password(&engine, "alice", "wrong", "live/a"), "Incorrect username/password"),
        (engine.url("live/a"), "No credentials set"),
    ] {
        let encoder = encode(&url);
        assert_ne!(encoder.wait(PATIENCE), 0);
        let said = encoder.err.all().join("\n");
        assert!(said.contains(words), "{words}: {said}");
    }
}

#[test]
fn adobe_current_ffmpeg_publishes_with_the_right_password_and_not_with_a_wrong_one() {
    needs!("current-ffmpeg");
    publishes(|engine, password, name| {
        let url = with_password(engine, "alice", password, name);
        peers::Ffmpeg::Current.publish(&demo_clip(), &url, Speed::Fast)
    });
}

#[test]
fn adobe_rtmp2sink_publishes_with_the_right_password_and_not_with_a_wrong_one() {
    needs!("gst:rtmp2sink");
    publishes(|engine, password, name| {
        peers::gst_publish(&demo_clip(), &with_password(engine, "alice", password, name))
    });
}

/// A new key for a stream, by the command: what it is called by, and the key.
fn add(database: &str, stream: &str) -> (String, String) {
    let made = streamengine(["keys", "add", stream, "--json", "--keys", database]);
    made.succeed(PATIENCE);
    let made: serde_json::Value = serde_json::from_str(&made.out.all().concat()).expect("JSON");
    let text = |field: &str| made[field].as_str().expect("text").to_owned();
    (text("id"), text("key"))
}

/// Of a database with stream keys, one publishes its stream by ffmpeg, as a password; not another stream, and not as another user.
fn stream_keys_are_passwords(database: &str) {
    let engine = Engine::serve().arg("--keys").arg(database).config("[publish]\nauthmod_adobe = true\n");
    let engine = engine.start();
    let (id, key) = add(database, "live/alice");
    let encode = |url: &str| peers::ffmpeg_publish(&demo_clip(), url, Speed::Fast);
    let right = encode(&with_password(&engine, &id, &key, "live/alice"));
    engine.wait_publish("live/alice");
    right.succeed(PATIENCE);
    engine.wait_unpublish("live/alice");
    let (other, _) = add(database, "live/alice");
    for (user, stream) in [(&id, "live/bob"), (&other, "live/alice")] {
        let wrong = encode(&with_password(&engine, user, &key, stream));
        assert_ne!(wrong.wait(PATIENCE), 0, "{stream}\n{}", wrong.log());
    }
    engine.wait("refused", |event| {
        event["request"] == "publish"
            && event["reason"].as_str().is_some_and(|reason| reason.contains("for another stream"))
    });
}

#[test]
fn adobe_a_stream_key_is_a_password_to_ffmpeg() {
    needs!("ffmpeg");
    let folder = tempfile::tempdir().expect("temporary folder");
    stream_keys_are_passwords(&folder.path().join("keys.db").to_string_lossy());
}

#[test]
fn adobe_a_stream_key_in_postgresql_is_a_password_to_ffmpeg() {
    needs!("ffmpeg", "postgresql");
    let postgres = Postgres::start();
    stream_keys_are_passwords(&postgres.url());
}

#[test]
fn adobe_what_is_said_at_the_start_has_user_and_password_in_place_of_a_key() {
    let set = ["--set", "publish.authmod_adobe=true", "--publish-key", PASSWORD, "--no-http"];
    let process = streamengine(["serve", "--rtmp", "127.0.0.1:0"].iter().chain(&set));
    process.out.find("ends the server", PATIENCE).expect("the last line");
    let said = process.out.all().join("\n");
    assert!(said.contains("rtmp://USER:PASSWORD@127.0.0.1:") && !said.contains("?key="), "{said}");
    assert!(process.err.find("publishing: with user and password", PATIENCE).is_some());
}
