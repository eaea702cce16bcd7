//! Stream keys in a database: what they open, for how long, and what a second process that changes them does to the engine.
#![cfg(feature = "keys")]

use std::future::Future;
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};
use streamengine::proto::client::ClientEvent;
use streamengine::testing::wait::at_most;
use streamengine::testing::{key, rtmp, wait};
use streamengine::{
    Config, Engine, ErrorKind, Event, KeyInfo, Keys, KeysConfig, MadeKey, NewKey, Secret, SessionRole,
};
use tempfile::TempDir;

/// What is changed by another process is noticed in this time.
const NOTICED: Duration = Duration::from_secs(2);

fn wait_for<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime
        .block_on(async { tokio::time::timeout(wait::PATIENCE, work).await })
        .expect("the database answers")
}

/// An engine with a database of its own, and the folder of that.
struct Served {
    engine: Engine,
    folder: TempDir,
}

impl Served {
    fn new() -> Self {
        Self::with(|config| config)
    }

    fn with(change: impl FnOnce(Config) -> Config) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let keys = KeysConfig::default().url(url(&folder.path().join("keys.db")));
        let config = change(Config::default().keys(keys));
        let engine =
            Engine::builder().config(config).listen_rtmp("127.0.0.1:0".parse().unwrap()).start().unwrap();
        Self { engine, folder }
    }

    fn database(&self) -> Secret {
        url(&self.folder.path().join("keys.db"))
    }

    /// The database as another process has it.
    fn elsewhere(&self) -> Keys {
        wait_for(Keys::open(&self.database())).unwrap()
    }

    fn add(&self, new: NewKey) -> MadeKey {
        wait_for(self.engine.keys().unwrap().add(&new)).unwrap()
    }

    /// Publishes `name` in the app `live`: the socket, or why not.
    fn publish(&self, name: &str) -> Result<TcpStream, String> {
        rtmp::publish_at(self.engine.listeners()[0].address, name)
    }

    fn is_on_air(&self, stream: &str) -> bool {
        self.engine
            .sessions()
            .iter()
            .any(|session| session.role == SessionRole::Publisher && session.stream == Some(key(stream)))
    }
}

fn url(path: &Path) -> Secret {
    Secret::new(path.to_str().unwrap())
}

fn in_an_hour() -> SystemTime {
    SystemTime::now() + Duration::from_secs(3_600)
}

#[test]
fn a_key_is_its_stream_in_whatever_form_it_is_sent() {
    let served = Served::new();
    let made = served.add(NewKey::publish(key("live/alice")).expires(in_an_hour()));
    let sent = made.key.expose();
    for form in [
        sent.to_owned(),
        format!("alice?key={sent}"),
        format!("alice:{sent}"),
        format!("alice:{sent}?key={sent}"),
    ] {
        let socket = served.publish(&form).unwrap_or_else(|reason| panic!("{form}: {reason}"));
        wait::until("on air", || served.is_on_air("live/alice"));
        drop(socket);
        wait::until("off the air", || served.engine.sessions().is_empty());
    }
    for (form, reason) in [
        ("alice".to_owned(), "no such stream key"),
        (format!("bob?key={sent}"), "for another stream"),
        (format!("alice?key={sent}x"), "no such stream key"),
        (format!("alice:{sent}?key=x"), "two different keys"),
        (sent.to_uppercase(), "no such stream key"),
        (sent[..sent.len() - 1].to_owned(), "no such stream key"),
    ] {
        let refused = served.publish(&form).unwrap_err();
        assert!(refused.contains(reason), "{form}: {refused}");
    }
}

#[test]
fn a_key_that_is_over_or_for_something_else_opens_nothing() {
    let served = Served::with(|mut config| {
        config.keys.play = true;
        config
    });
    let past = SystemTime::now() - Duration::from_secs(5);
    let stream = || key("live/a");
    let sent = |new| served.add(new).key.expose().to_owned();
    let revoked = served.add(NewKey::publish(stream()));
    wait_for(served.engine.keys().unwrap().revoke(&revoked.info.id)).unwrap();
    for (name, reason) in [
        (sent(NewKey::publish(stream()).expires(past)), "has expired"),
        (sent(NewKey::publish(stream()).until(past)), "time of this key is over"),
        (sent(NewKey::play(stream())), "is for playing"),
        (sent(NewKey::publish(key("other/a"))), "for another stream"),
        (revoked.key.expose().to_owned(), "has been revoked"),
    ] {
        let refused = served.publish(&name).unwrap_err();
        assert!(refused.contains(reason), "{refused}");
    }
}

#[test]
fn who_is_revoked_by_another_process_is_off_the_air_within_two_seconds_and_viewers_see_the_end() {
    let served = Served::new();
    let made = served.add(NewKey::publish(key("live/a")));
    let other = served.add(NewKey::publish(key("live/b")));
    let (_a, _b) = (served.publish(made.key.expose()).unwrap(), served.publish(other.key.expose()).unwrap());
    wait::until("on air", || served.is_on_air("live/a") && served.is_on_air("live/b"));
    let (mut viewer, mut events) = (served.engine.subscribe(&key("live/a")).unwrap(), served.engine.events());
    let start = Instant::now();
    let revoked = wait_for(served.elsewhere().revoke(&made.info.id)).unwrap();
    assert!(revoked.revoked.is_some());
    let reason = wait::event(&mut events, |event| match event {
        Event::StreamEnded { stream, reason, .. } if stream == key("live/a") => Some(reason),
        _ => None,
    });
    assert!(start.elapsed() <= at_most(NOTICED), "{:?}", start.elapsed());
    assert!(reason.contains("has been revoked"), "{reason}");
    assert!(viewer.blocking_next(wait::PATIENCE).unwrap().is_none(), "the end, not a hang");
    assert!(served.is_on_air("live/b"), "others go on");
}

#[test]
fn a_key_is_rotated_with_an_overlap() {
    let served = Served::new();
    let old = served.add(NewKey::publish(key("live/a")).who("alice".to_owned()).max_viewers(3));
    let keys = served.elsewhere();
    let new = wait_for(keys.rotate(&old.info.id, Duration::from_secs(3_600))).unwrap();
    assert_ne!(old.key.expose(), new.key.expose());
    assert_eq!((new.info.who.as_deref(), new.info.max_viewers), (Some("alice"), Some(3)));
    for key in [&old.key, &new.key] {
        drop(served.publish(key.expose()).unwrap());
        wait::until("off the air", || served.engine.sessions().is_empty());
    }
    wait_for(keys.rotate(&new.info.id, Duration::ZERO)).unwrap();
    assert!(served.publish(new.key.expose()).unwrap_err().contains("has expired"));
    assert_eq!(wait_for(keys.list(Some(&key("live/a")))).unwrap().len(), 3);
    assert_eq!(wait_for(keys.list(Some(&key("live/b")))).unwrap(), []);
    let revoked = wait_for(keys.revoke(&old.info.id)).unwrap();
    let error = wait_for(keys.rotate(&revoked.id, Duration::ZERO)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::State);
    assert_eq!(wait_for(keys.get("nobody")).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn f26_a_stranger_with_another_key_of_the_stream_is_refused_while_its_publisher_lives() {
    let served = Served::new();
    let [mine, mine_too, other] = [Some("alice"), Some("alice"), None].map(|who| {
        served.add(NewKey::publish(key("live/a")).who(who.map(str::to_owned))).key.expose().to_owned()
    });
    let _first = served.publish(&mine).unwrap();
    // It sends nothing, so that who has the same right may take its place.
    std::thread::sleep(Duration::from_millis(700));
    let refused = served.publish(&other).unwrap_err();
    assert!(refused.to_lowercase().contains("already publishing"), "{refused}");
    served.publish(&mine_too).expect("another key of the same person");
}

#[test]
fn what_is_on_air_by_a_key_ends_when_its_time_is_over() {
    let served = Served::new();
    let made = served.add(NewKey::publish(key("live/a")).until(SystemTime::now() + Duration::from_secs(2)));
    let mut events = served.engine.events();
    let _socket = served.publish(made.key.expose()).unwrap();
    let start = Instant::now();
    let reason = wait::event(&mut events, |event| match event {
        Event::StreamEnded { reason, .. } => Some(reason),
        _ => None,
    });
    assert!(reason.contains("the time that was granted is over"), "{reason}");
    assert!(start.elapsed() <= at_most(Duration::from_secs(4)), "{:?}", start.elapsed());
}

#[test]
fn a_key_moves_to_another_database_without_being_known() {
    let (served, other) = (Served::new(), Served::new());
    let made = served.add(NewKey::publish(key("live/a")).who("alice".to_owned()).expires(in_an_hour()));
    let exported = wait_for(served.elsewhere().export()).unwrap();
    assert!(!exported.expose().contains(made.key.expose()));
    assert_eq!(wait_for(other.elsewhere().import(&exported)).unwrap(), 1);
    let moved: KeyInfo = wait_for(other.elsewhere().get(&made.info.id)).unwrap();
    assert_eq!(moved, made.info);
    wait::until("the engine of the other one has noticed", || other.publish(made.key.expose()).is_ok());

    let error = wait_for(other.elsewhere().import(&exported)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exists, "{error}");
    let full = Served::new();
    full.add(NewKey::publish(key("live/b")));
    let error = wait_for(full.elsewhere().import(&exported)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::State, "{error}");
    for text in ["", "{}", "{\"hash_secret\":\"!\"}", &format!("{}x", exported.expose())] {
        let error = wait_for(full.elsewhere().import(&Secret::new(text))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Format, "{text}: {error}");
    }
    assert_eq!(wait_for(full.elsewhere().list(None)).unwrap().len(), 1, "nothing was taken in by halves");
}

/// Makes a database what it was before keys could be passwords.
async fn age(database: &Secret) {
    use sqlx::Connection;
    let url = format!("sqlite:{}", database.expose());
    let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
    for statement in [
        "ALTER TABLE keys DROP COLUMN adobe_salt",
        "ALTER TABLE keys DROP COLUMN adobe_verifier",
        "DELETE FROM _sqlx_migrations WHERE version = 2",
    ] {
        sqlx::query(statement).execute(&mut connection).await.unwrap();
    }
    connection.close().await.unwrap();
}

#[test]
fn a_database_of_an_older_version_is_brought_up_to_date_with_its_keys() {
    let folder = tempfile::tempdir().unwrap();
    let database = url(&folder.path().join("keys.db"));
    let made = wait_for(async {
        Keys::open(&database).await.unwrap().add(&NewKey::publish(key("live/a"))).await.unwrap()
    });
    wait_for(age(&database));
    let keys = wait_for(Keys::open(&database)).unwrap();
    assert_eq!(wait_for(keys.get(&made.info.id)).unwrap(), made.info);
    wait_for(keys.add(&NewKey::publish(key("live/b")))).expect("the new columns are there");
}

#[test]
fn a_key_that_somebody_has_already_is_taken_in_once() {
    let served = Served::new();
    let (keys, mine) = (served.elsewhere(), Secret::new("my own key of old"));
    let new = NewKey::publish(key("live/a"));
    let info = wait_for(keys.add_existing(&mine, &new)).unwrap();
    assert!(!mine.expose().contains(&info.id));
    served.publish("a?key=my%20own%20key%20of%20old").expect("it is known");
    assert_eq!(wait_for(keys.add_existing(&mine, &new)).unwrap_err().kind(), ErrorKind::Exists);
    for text in ["", "short"] {
        let error = wait_for(keys.add_existing(&Secret::new(text), &new)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    }
}

#[test]
fn a_database_that_several_make_at_once_is_made() {
    for _ in 0..20 {
        let folder = tempfile::tempdir().unwrap();
        let database = url(&folder.path().join("keys.db"));
        std::thread::scope(|scope| {
            let opening: Vec<_> =
                (0..6).map(|_| scope.spawn(|| wait_for(Keys::open(&database)).map(drop))).collect();
            opening.into_iter().for_each(|opened| opened.join().unwrap().unwrap());
        });
    }
}

#[test]
fn f40_the_files_of_the_database_do_not_hold_a_key_and_are_not_for_others() {
    use std::os::unix::fs::PermissionsExt;
    let served = Served::new();
    let mine = Secret::new("5ecret marker");
    let made = served.add(NewKey::publish(key("live/a")));
    wait_for(served.elsewhere().add_existing(&mine, &NewKey::publish(key("live/b")))).unwrap();
    drop(served.publish(made.key.expose()).unwrap());
    let files: Vec<_> =
        std::fs::read_dir(served.folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= 2, "with what is newest beside it: {files:?}");
    let secret = made.key.expose().split_once('-').unwrap().1.as_bytes();
    let mut has_name = false;
    for file in files {
        let bytes = std::fs::read(&file).unwrap();
        let holds = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
        assert!(!holds(secret) && !holds(b"5ecret"), "{}", file.display());
        has_name |= holds(b"live/a");
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o077, 0, "{}", file.display());
    }
    assert!(has_name, "what is looked for would be found");
}

#[test]
fn a_database_that_cannot_be_is_told_without_its_password() {
    for (database, kind, words) in [
        ("/nowhere/keys.db", ErrorKind::Rejected, "unable to open database file"),
        ("mysql://user:5ecret@host/keys", ErrorKind::InvalidArgument, "neither a file nor"),
        (
            "postgres://user:5ecret@host:port/keys",
            ErrorKind::InvalidArgument,
            "no URL of a PostgreSQL database",
        ),
        ("postgres://user:5ecret@127.0.0.1:1/keys", ErrorKind::Refused, "refused"),
    ] {
        let error = wait_for(Keys::open(&Secret::new(database))).unwrap_err();
        assert!(
            error.kind() == kind && error.to_string().contains(words),
            "{database}: {:?} {error}",
            error.kind()
        );
        assert!(!format!("{error} {error:?}").contains("5ecret"), "{error:?}");
    }
}

#[test]
fn an_engine_starts_without_its_database_server_and_lets_nobody_in_until_it_is_there() {
    let keys = KeysConfig::default().url(Secret::new("postgres://user@127.0.0.1:1/keys"));
    let engine = Engine::builder()
        .config(Config::default().keys(keys))
        .listen_rtmp("127.0.0.1:0".parse().unwrap())
        .start()
        .unwrap();
    let start = Instant::now();
    let description = rtmp::publish_at(engine.listeners()[0].address, "a").unwrap_err();
    assert!(start.elapsed() <= at_most(Duration::from_millis(3_500)), "{:?}", start.elapsed());
    assert!(description.contains("try again"), "{description}");
    let keys = KeysConfig::default().url(Secret::new("/nowhere/keys.db"));
    let error =
        Engine::builder().config(Config::default().keys(keys)).start().err().expect("waiting mends nothing");
    assert!(error.to_string().contains("unable to open"), "{error}");
}

#[test]
fn a_stream_has_no_more_players_than_its_key_allows() {
    let served = Served::new();
    let made = served.add(NewKey::publish(key("live/a")).max_viewers(2));
    let _publisher = served.publish(made.key.expose()).unwrap();
    wait::until("on air", || served.is_on_air("live/a"));
    let address = served.engine.listeners()[0].address;
    let play = || rtmp::play(TcpStream::connect(address).unwrap(), "a").expect("an answer");
    let players = [play(), play()];
    for (event, _) in &players {
        assert!(matches!(event, ClientEvent::Playing), "{event:?}");
    }
    let (ClientEvent::Rejected { description, .. }, _) = play() else { panic!("a third") };
    assert!(description.contains("as many players as it may have"), "{description}");
    drop(players);
    wait::until("there is room again", || matches!(play().0, ClientEvent::Playing));
}
