//! Stream keys in PostgreSQL, while the database dies, comes back, and is changed by others.

use crate::publishers::{Namespace, time_is_monotone};
use crate::{best_of_three, timed};
use std::time::{Duration, Instant};
use streamengine_tests::peers;
use streamengine_tests::postgres::Postgres;
use streamengine_tests::synthetic::{Shape, Source, Watcher, granted};
use streamengine_tests::{Engine, PATIENCE, Recorder, Signal, at_most, demo_clip, needs, poll, streamengine};

const START: &str = "NetStream.Publish.Start";
/// What is changed elsewhere is noticed, and a database that is back is used again, in this time.
const NOTICED: Duration = Duration::from_secs(2);
/// Who cannot be judged is refused in this time.
const REFUSED: Duration = Duration::from_millis(3_500);

/// A database, and a server that lets in who has a key of it.
fn serve() -> (Postgres, Engine) {
    let postgres = Postgres::start();
    let engine = Engine::serve().arg("--keys").arg(postgres.url()).start();
    (postgres, engine)
}

/// A new key for a stream, by the command.
fn add(postgres: &Postgres, stream: &str) -> String {
    let made = streamengine(["keys", "add", stream, "--json", "--keys", &postgres.url()]);
    made.succeed(PATIENCE);
    let made: serde_json::Value = serde_json::from_str(&made.out.all().concat()).expect("JSON");
    made["key"].as_str().expect("a key").to_owned()
}

fn status_of(engine: &Engine, name: &str) -> String {
    granted(engine.rtmp, name).map_or_else(|error| error.to_string(), |(_, status)| status.code)
}

#[test]
fn f42_those_on_air_stay_while_the_database_is_away_and_others_are_refused_in_time() {
    needs!("postgresql");
    let (mut postgres, engine) = serve();
    let keys: Vec<_> = (0..20).map(|number| add(&postgres, &format!("live/s{number}"))).collect();
    let late = add(&postgres, "live/late");
    let shape = Shape::bits_per_second(100_000);
    let sources: Vec<_> =
        keys.iter().map(|key| Source::publish(engine.rtmp, &format!("live/{key}"), shape)).collect();
    let watchers: Vec<_> =
        (0..20).map(|number| Watcher::play(engine.rtmp, &format!("live/s{number}"))).collect();
    watchers.iter().for_each(|watcher| watcher.wait_frames(10));

    postgres.kill();
    for _ in 0..3 {
        let (status, time) = timed(|| status_of(&engine, &format!("live/{late}")));
        assert!(status != START && time <= at_most(REFUSED), "{status} after {time:?}");
    }
    let seen: Vec<_> = watchers.iter().map(|watcher| watcher.seen().last).collect();
    for (watcher, last) in watchers.iter().zip(seen) {
        watcher.wait_number(last + 25, PATIENCE);
    }

    postgres.restart();
    let back = Instant::now();
    let _late = poll(PATIENCE, || {
        granted(engine.rtmp, &format!("live/{late}")).ok().filter(|(_, status)| status.code == START)
    })
    .expect("it is let in again");
    assert!(back.elapsed() <= at_most(NOTICED), "{:?}", back.elapsed());
    assert!(sources.iter().all(|source| !source.has_ended()), "those on air have stayed");
    assert_eq!(
        watchers.iter().map(|watcher| watcher.seen().lost).sum::<u32>(),
        0,
        "and their players lost nothing"
    );

    // What was changed while nobody listened is found out.
    postgres.kill();
    postgres.restart();
    postgres.sql("UPDATE streamengine.keys SET revoked = 1 WHERE stream = 'live/s0'");
    engine.wait_unpublish("live/s0");
    assert!(engine.process.err.find("the database is back", PATIENCE).is_some());
}

#[test]
fn f42_a_key_that_is_revoked_by_sql_ends_its_publisher_in_two_seconds_and_viewers_see_the_end() {
    needs!("postgresql", "ffmpeg");
    let (postgres, engine) = serve();
    let key = add(&postgres, "live/a");
    let publisher = peers::ffmpeg_publish_forever(&demo_clip(), &engine.url(&format!("live/{key}")));
    engine.wait_publish("live/a");
    let player = peers::ffmpeg_play(&engine.url("live/a"));
    engine.wait_players("live/a", 1);
    let start = Instant::now();
    postgres.sql(
        "UPDATE streamengine.keys SET revoked = extract(epoch FROM now())::bigint WHERE stream = 'live/a'",
    );
    engine.wait_unpublish("live/a");
    assert!(start.elapsed() <= at_most(NOTICED), "{:?}", start.elapsed());
    assert!(publisher.try_wait(PATIENCE).is_some(), "the encoder ends");
    player.finish();
    assert_ne!(status_of(&engine, &format!("live/{key}")), START);
    let secret = key.split_once('-').expect("a key has a dash").1;
    let told = [engine.lines().all().concat(), engine.process.log()].concat();
    assert!(!told.contains(secret), "the key is in no event and no log");
    assert_eq!(
        postgres.sql(&format!("SELECT count(*) FROM streamengine.keys WHERE keys::text LIKE '%{secret}%'")),
        "0"
    );
}

#[test]
fn keys_of_a_table_of_ones_own_are_found_by_a_query_and_looked_at_while_they_are_used() {
    needs!("postgresql");
    let postgres = Postgres::start();
    postgres.sql(
        "CREATE TABLE streamers (name text, email text, key text, blocked boolean DEFAULT false, rate integer);
         INSERT INTO streamers VALUES ('alice', 'alice@example.com', 'alices key', false, 6000), ('bob', NULL, 'bobs key', false, NULL)",
    );
    let config = format!(
        "[keys]\nurl = \"{}\"\n\
         query = \"SELECT name AS stream, name AS id, email AS who, rate AS max_kbps FROM streamers WHERE key = $1 AND NOT blocked\"\n\
         check_query = \"SELECT 1 FROM streamers WHERE name = $1 AND NOT blocked\"\n",
        postgres.url()
    );
    let engine = Engine::serve().config(config).start();
    let shape = Shape::bits_per_second(100_000);
    let alice = Source::publish(engine.rtmp, "live/alice?key=alices%20key", shape);
    let bob = Source::publish(engine.rtmp, "live/bob?key=bobs%20key", shape);
    for wrong in
        ["live/alice", "live/alice?key=bobs%20key", "live/alice?key=x", "live/eve?key='%20OR%20true%20--"]
    {
        assert_ne!(status_of(&engine, wrong), START, "{wrong}");
    }
    postgres.sql("UPDATE streamers SET blocked = true WHERE name = 'alice'");
    let start = Instant::now();
    engine.wait_unpublish("live/alice");
    assert!(start.elapsed() <= at_most(NOTICED), "{:?}", start.elapsed());
    assert!(poll(PATIENCE, || alice.has_ended().then_some(())).is_some());
    assert!(!bob.has_ended());
    let added = streamengine(["keys", "list", "--keys", &postgres.url()]);
    added.succeed(PATIENCE);
    assert_eq!(added.out.all(), ["no keys"], "tables of the engine's own are another matter");
}

/// A new key of somebody for a stream of an SQLite database.
fn add_for(database: &str, stream: &str, who: &str) -> String {
    let made = streamengine(["keys", "add", stream, "--who", who, "--json", "--keys", database]);
    made.succeed(PATIENCE);
    let made: serde_json::Value = serde_json::from_str(&made.out.all().concat()).expect("JSON");
    made["key"].as_str().expect("a key").to_owned()
}

#[test]
fn f25_f26_whose_cable_is_pulled_comes_back_by_any_key_of_its_own_and_nobody_else_takes_its_place() {
    needs!("root", "ip", "ffmpeg");
    let (space, folder) = (Namespace::new(), tempfile::tempdir().expect("a folder"));
    let database = folder.path().join("keys.db").display().to_string();
    let mine = add_for(&database, "live/cable", "alice");
    let another = add_for(&database, "live/cable", "alice");
    let strangers = add_for(&database, "live/cable", "bob");
    let address = format!("{}.1:0", space.subnet);
    let engine = Engine::serve().rtmp(address).arg("--keys").arg(&database).start();
    let mut on_air = space.publish(&engine.url(&format!("live/{mine}")));
    engine.wait_publish("live/cable");
    let player = Recorder::play(engine.rtmp, "live/cable");
    player.wait_tags(50);
    let is_refused = || {
        let status = status_of(&engine, &format!("live/{strangers}"));
        assert_eq!(status, "NetStream.Publish.BadName", "a stranger with a key of the same stream");
    };
    is_refused();
    let best = best_of_three(|| {
        space.cable("down");
        on_air.signal(Signal::KILL);
        on_air.wait(PATIENCE);
        let seen = player.tags().len();
        // Long enough for the silence to be noticed: who is away keeps the place.
        std::thread::sleep(Duration::from_secs(1));
        is_refused();
        space.cable("up");
        let mark = engine.lines().mark();
        on_air = space.publish(&engine.url(&format!("live/{another}")));
        engine.wait_after(mark, "session-opened", PATIENCE, |_| true);
        let asked = Instant::now();
        engine.wait_after(mark, "stream-started", PATIENCE, |event| event["stream"] == "live/cable");
        let time = asked.elapsed();
        player.wait_tags(seen + 100);
        is_refused();
        time
    });
    assert!(best <= at_most(Duration::from_secs(1)), "on air again after {best:?}");
    time_is_monotone(&player);
}
