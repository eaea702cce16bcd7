//! User and password at `connect` (`authmod=adobe`): what the publish key and stream keys open as passwords, and what strangers learn.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest, Md5};
use socket2::{Domain, Socket, Type};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};
use streamengine::proto::client::{ClientEvent, ClientRole};
use streamengine::testing::wait::at_most;
use streamengine::testing::{key, keyframe, rtmp, url, wait};
use streamengine::{
    Config, Engine, Event, EventReceiver, OnRefusal, Publisher, PushConfig, RelayState, SessionRole,
};

const KEY: &str = "a long random publish key";
const NEED_AUTH: &str = "[ AccessManager.Reject ] : [ code=403 need auth; authmod=adobe ] : ";
const FAILED: &str = "[ AccessManager.Reject ] : [ authmod=adobe ] : ?reason=authfailed";

/// An engine that asks for passwords, with more of a configuration.
struct Served {
    engine: Engine,
    address: SocketAddr,
}

impl Served {
    fn new(config: &str) -> Self {
        let config = Config::from_toml(config).unwrap();
        let loopback = "127.0.0.1:0".parse().unwrap();
        let engine = Engine::builder().config(config).listen_rtmp(loopback).start().unwrap();
        let address = engine.listeners()[0].address;
        Self { engine, address }
    }

    fn with_key() -> Self {
        Self::new(&format!("[publish]\nkey = \"{KEY}\"\nauthmod_adobe = true"))
    }

    /// Connects from 127.0.0.`last`, asks, and leaves: nothing where that is granted, else the words of the refusal.
    fn ask_from(&self, last: u8, role: ClientRole, app: &str, name: &str) -> Result<(), String> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, last], 0)).into()).unwrap();
        socket.connect(&self.address.into()).unwrap();
        let own = socket.local_addr().unwrap().as_socket().unwrap();
        let answer = match rtmp::ask_in(TcpStream::from(socket), role, app, name).expect("an answer") {
            (ClientEvent::Rejected { description, .. }, _) => Err(description),
            _ => Ok(()),
        };
        wait::until("it has left", || self.engine.sessions().iter().all(|session| session.peer != own));
        answer
    }

    fn publish(&self, app: &str, name: &str) -> Result<(), String> {
        self.ask_from(1, ClientRole::Publish, app, name)
    }

    /// The query with which a user answers what is asked.
    fn answer(&self, user: &str, password: &str) -> String {
        let asked = self.publish(&format!("live?authmod=adobe&user={user}"), "a").unwrap_err();
        let field = |name: &str| asked.split(['?', '&']).find_map(|pair| pair.strip_prefix(name)).unwrap();
        let hash = |text: String| STANDARD.encode(Md5::digest(text));
        let inner = hash(format!("{user}{}{password}", field("salt=")));
        let response = hash(format!("{inner}{}deadbeef", field("opaque=")));
        format!(
            "authmod=adobe&user={user}&challenge=deadbeef&response={response}&opaque={}",
            field("opaque=")
        )
    }

    fn show(&self, user: &str, password: &str, name: &str) -> Result<(), String> {
        self.publish(&format!("live?{}", self.answer(user, password)), name)
    }

    fn is_on_air(&self, stream: &str) -> bool {
        let sessions = self.engine.sessions();
        sessions.iter().any(|s| s.role == SessionRole::Publisher && s.stream == Some(key(stream)))
    }
}

/// An engine with a stream that it pushes.
struct Encoder {
    engine: Engine,
    _publisher: Publisher,
}

impl Encoder {
    /// Pushes by this URL.
    fn push(target: &str) -> Self {
        let engine = Engine::builder().start().unwrap();
        let publisher = engine.publish(&key("live/source")).unwrap();
        publisher.push(keyframe(0, 6)).unwrap();
        let mut push = PushConfig::new(key("live/source"), url(target));
        push.on_refusal = OnRefusal::Fail;
        engine.add_push(push).unwrap();
        Self { engine, _publisher: publisher }
    }

    /// Why it has failed.
    fn fault(&self) -> String {
        let failed = || self.engine.relays()[0].state == RelayState::Failed;
        wait::until("it is refused", failed);
        self.engine.relays()[0].last_error.clone().unwrap()
    }
}

/// The reason of the next refusal, as the operator is told.
fn refusal(events: &mut EventReceiver) -> (String, String) {
    wait::event(events, |event| match event {
        Event::Refused { request, reason, .. } => Some((request.to_owned(), reason)),
        _ => None,
    })
}

#[test]
fn a_push_with_user_and_password_publishes_where_the_password_is_the_publish_key() {
    let served = Served::with_key();
    let (password, address) = (KEY.replace(' ', "%20"), served.address);
    let _encoder = Encoder::push(&format!("rtmp://anybody:{password}@{address}/live/alice"));
    wait::until("on air", || served.is_on_air("live/alice"));
    let wrong = Encoder::push(&format!("rtmp://anybody:wrong@{address}/live/bob"));
    assert!(wrong.fault().contains("reason=authfailed"), "{}", wrong.fault());
    let none = Encoder::push(&format!("rtmp://{address}/live/bob"));
    assert!(none.fault().contains("code=403 need auth"), "{}", none.fault());
}

#[test]
fn each_step_is_answered_as_encoders_know_it_and_only_failures_are_told_of() {
    let served = Served::with_key();
    let mut events = served.engine.events();
    assert_eq!(served.publish("live", "a").unwrap_err(), NEED_AUTH);
    let closed = wait::event(&mut events, |event| match event {
        Event::Refused { reason, .. } => panic!("it was only asked, but: {reason}"),
        Event::SessionClosed { reason, .. } => Some(reason),
        _ => None,
    });
    assert_eq!(closed, "user and password are asked for (publish.authmod_adobe)");
    let asked = served.publish("live?authmod=adobe&user=alice", "a").unwrap_err();
    assert!(
        asked.starts_with("[ AccessManager.Reject ] : [ authmod=adobe ] : ?reason=needauth&user=alice&salt="),
        "{asked}"
    );
    served.show("alice", KEY, "a").unwrap();
    assert_eq!(served.show("alice", "wrong", "a").unwrap_err(), FAILED);
    let (request, reason) = refusal(&mut events);
    assert_eq!((request.as_str(), reason.contains("wrong user or password")), ("connect", true), "{reason}");
    assert_eq!(served.publish("live?authmod=adobe", "a").unwrap_err(), FAILED);
    assert!(refusal(&mut events).1.contains("no user"));
    for name in ["a:1", "a?key=1"] {
        assert!(
            served.show("alice", KEY, name).unwrap_err().contains("wrong or missing publish key"),
            "{name}"
        );
    }
}

#[test]
fn an_answer_is_worth_nothing_from_another_address() {
    let served = Served::with_key();
    let mut events = served.engine.events();
    let app = format!("live?{}", served.answer("alice", KEY));
    assert_eq!(served.ask_from(2, ClientRole::Publish, &app, "a").unwrap_err(), FAILED);
    assert!(refusal(&mut events).1.contains("nothing that was asked of this user and address"));
    served.ask_from(1, ClientRole::Publish, &app, "a").expect("from the same one");
    let other = app.replace("user=alice", "user=bob");
    assert_eq!(served.publish(&other, "a").unwrap_err(), FAILED);
}

#[test]
fn players_are_not_asked() {
    let none = "[default_app]\nwait_for_publisher_ms = 0";
    let told = |publish: &str| {
        let served = Served::new(&format!("[publish]\n{publish}\n{none}"));
        served.ask_from(1, ClientRole::Play, "live", "none").unwrap_err()
    };
    let asking = told(&format!("key = \"{KEY}\"\nauthmod_adobe = true"));
    assert_eq!(asking, told("open = true"), "that nobody publishes it");
}

#[test]
fn unless_it_is_configured_nobody_is_asked_and_the_query_is_as_it_was() {
    let served = Served::new(&format!("[publish]\nkey = \"{KEY}\""));
    let encoded = KEY.replace(' ', "%20");
    for (app, name) in [
        ("live".to_owned(), format!("a?key={encoded}")),
        (format!("live?authmod=adobe&user=alice&key={encoded}"), "a".to_owned()),
    ] {
        served.publish(&app, &name).unwrap_or_else(|reason| panic!("{app} {name}: {reason}"));
        wait::until("it has left", || served.engine.sessions().is_empty());
    }
    let refused = served.publish("live?authmod=adobe&user=alice", "a").unwrap_err();
    assert!(refused.contains("wrong or missing publish key"), "{refused}");
}

#[test]
fn who_asks_for_passwords_and_has_none_does_not_start() {
    let own = "[keys]\nurl = \"postgres://user@h/keys\"\nquery = \"SELECT 1\"";
    for more in ["", "open = true", if cfg!(feature = "keys") { own } else { "" }] {
        let text = format!("[publish]\nauthmod_adobe = true\n{more}");
        let config = Config::from_toml(&text).expect("what is left out may come from elsewhere");
        let error = Engine::builder().config(config).start().err().expect("nobody could publish").to_string();
        assert!(error.contains("needs passwords"), "{error}");
    }
}

#[test]
fn who_guesses_passwords_gets_few_answers_and_who_only_begins_is_not_counted() {
    let config =
        format!("[publish]\nkey = \"{KEY}\"\nauthmod_adobe = true\n[limits]\nauth_failures_per_minute = 2");
    let served = Served::new(&config);
    let time = |work: &dyn Fn()| {
        let start = Instant::now();
        work();
        start.elapsed()
    };
    let guess = || assert_eq!(served.show("alice", "wrong", "a").unwrap_err(), FAILED);
    let begin = || assert_eq!(served.publish("live", "a").unwrap_err(), NEED_AUTH);
    (0..5).for_each(|_| begin());
    assert!(time(&|| (0..2).for_each(|_| guess())) < at_most(Duration::from_secs(2)));
    assert!(time(&guess) >= Duration::from_secs(3), "the answer is put off");
    assert!(
        time(&|| served.show("alice", KEY, "a").unwrap())
            < at_most(Duration::from_secs(2)).min(Duration::from_millis(2_900)),
        "the right one is not"
    );
}

#[cfg(feature = "http")]
#[test]
fn a_service_is_told_of_those_who_are_in_and_sees_no_answer() {
    use streamengine::testing::service::HttpService;
    let service = HttpService::that_says("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let hooks = format!(
        "[publish]\nkey = \"{KEY}\"\nauthmod_adobe = true\n[hooks]\non_connect = \"{0}\"\non_disconnect = \"{0}\"",
        service.url("/told")
    );
    let served = Served::new(&hooks);
    served.publish("live", "a").unwrap_err();
    served.show("alice", "wrong", "a").unwrap_err();
    served.show("alice", KEY, "a").unwrap();
    wait::until("it has left", || service.calls().len() == 2);
    assert_eq!(service.calls(), ["connect", "disconnect"]);
    let asked = service.asked();
    assert_eq!(asked[0].field("app").as_deref(), Some("live"));
    let told = format!("{:?}", asked.iter().map(|request| request.fields()).collect::<Vec<_>>());
    assert!(!told.contains("response=") && !told.contains("authmod"), "{told}");
}

#[cfg(feature = "keys")]
mod keys {
    use super::*;
    use std::future::Future;
    use std::time::SystemTime;
    use streamengine::{Keys, MadeKey, NewKey, Secret};
    use tempfile::TempDir;

    fn wait_for<T>(work: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime
            .block_on(async { tokio::time::timeout(wait::PATIENCE, work).await })
            .expect("the database answers")
    }

    /// One with a database of keys; the folder of that.
    fn with_keys(publish: &str) -> (Served, TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("keys.db");
        let config = format!(
            "[publish]\nauthmod_adobe = true\n{publish}\n[keys]\nplay = true\nurl = \"{}\"",
            database.display()
        );
        (Served::new(&config), folder)
    }

    fn keys(served: &Served) -> &Keys {
        served.engine.keys().unwrap()
    }

    fn add(served: &Served, new: NewKey) -> MadeKey {
        wait_for(keys(served).add(&new)).unwrap()
    }

    fn show(served: &Served, made: &MadeKey, name: &str) -> Result<(), String> {
        served.show(&made.info.id, made.key.expose(), name)
    }

    #[test]
    fn a_stream_key_is_a_password_for_its_stream_whose_user_is_what_it_is_called_by() {
        let (served, _folder) = with_keys("");
        let made = add(&served, NewKey::publish(key("live/alice")));
        let target = |password: &str| {
            Encoder::push(&format!("rtmp://{}:{password}@{}/live/alice", made.info.id, served.address))
        };
        let encoder = target(made.key.expose());
        wait::until("on air", || served.is_on_air("live/alice"));
        let secret = made.key.expose().split_once('-').unwrap().1;
        for wrong in [secret, &made.info.id, "x"] {
            assert!(target(wrong).fault().contains("reason=authfailed"), "{wrong}");
        }
        let mut events = served.engine.events();
        wait_for(keys(&served).revoke(&made.info.id)).unwrap();
        let reason = wait::event(&mut events, |event| match event {
            Event::StreamEnded { reason, .. } => Some(reason),
            _ => None,
        });
        assert!(reason.contains("has been revoked"), "{reason}");
        drop(encoder);
    }

    #[test]
    fn a_key_that_was_shown_opens_no_more_than_one_that_is_sent() {
        let (served, _folder) = with_keys("");
        let past = SystemTime::now() - Duration::from_secs(5);
        let good = add(&served, NewKey::publish(key("live/a")));
        show(&served, &good, "a").unwrap();
        show(&served, &good, "a?latency=100").unwrap();
        let revoked = add(&served, NewKey::publish(key("live/a")));
        wait_for(keys(&served).revoke(&revoked.info.id)).unwrap();
        let expired = add(&served, NewKey::publish(key("live/a")).expires(past));
        let over = add(&served, NewKey::publish(key("live/a")).until(past));
        let to_play = add(&served, NewKey::play(key("live/a")));
        let sent = good.key.expose();
        for (made, name, reason) in [
            (&good, "b", "this key is for another stream"),
            (&good, sent, "this key is for another stream"),
            (&good, &format!("a?key={sent}"), "two different keys"),
            (&good, "a:other", "two different keys"),
            (&revoked, "a", "has been revoked"),
            (&expired, "a", "has expired"),
            (&over, "a", "time of this key is over"),
            (&to_play, "a", "is for playing"),
        ] {
            let refused = show(&served, made, name).unwrap_err();
            assert!(refused.contains(reason), "{name}: {refused}");
        }
        let role = ClientRole::Play;
        let app = |made: &MadeKey| format!("live?{}", served.answer(&made.info.id, made.key.expose()));
        let refused = served.ask_from(1, role, &app(&good), "a").unwrap_err();
        assert!(refused.contains("is for publishing"), "{refused}");
    }

    #[test]
    fn strangers_learn_nothing_of_who_is_known() {
        let (served, _folder) = with_keys("");
        let mut events = served.engine.events();
        let known = add(&served, NewKey::publish(key("live/a"))).info.id;
        let old = wait_for(
            keys(&served).add_existing(&Secret::new("alices old key"), &NewKey::publish(key("live/b"))),
        );
        let old = old.unwrap().id;
        let unknown = "0".repeat(known.len());
        let ask = |user: &str| {
            let asked = served.publish(&format!("live?authmod=adobe&user={user}"), "a").unwrap_err();
            let salt = asked.split('&').find_map(|pair| pair.strip_prefix("salt=")).unwrap().to_owned();
            (asked.len(), salt)
        };
        for user in [&known, &old, &unknown] {
            let (len, salt) = ask(user);
            assert_eq!((len, &salt), (ask(&known).0, &ask(user).1), "always the same, and as long as any");
            assert_eq!(served.show(user, "alices old key", "b").unwrap_err(), FAILED);
        }
        let reasons: Vec<_> = (0..3).map(|_| refusal(&mut events).1).collect();
        assert!(reasons[0].contains("wrong user or password"), "{reasons:?}");
        assert!(reasons[1].contains("`streamengine keys rotate`"), "{reasons:?}");
        assert!(reasons[2].contains("wrong user or password"), "{reasons:?}");
        let next = wait_for(keys(&served).rotate(&old, Duration::ZERO)).unwrap();
        show(&served, &next, "b").expect("the words are true");
    }

    #[test]
    fn the_salt_of_nobody_is_the_same_after_a_restart() {
        let (served, folder) = with_keys("");
        let salt = |served: &Served| {
            let asked = served.publish("live?authmod=adobe&user=nobody", "a").unwrap_err();
            asked.split('&').find_map(|pair| pair.strip_prefix("salt=")).unwrap().to_owned()
        };
        let before = salt(&served);
        let config = format!(
            "[publish]\nauthmod_adobe = true\n[keys]\nurl = \"{}\"",
            folder.path().join("keys.db").display()
        );
        drop(served);
        assert_eq!(salt(&Served::new(&config)), before);
    }

    #[test]
    fn a_key_is_a_password_in_the_database_that_it_moves_to() {
        let ((served, _folder), (other, _other_folder)) = (with_keys(""), with_keys(""));
        let made = add(&served, NewKey::publish(key("live/a")));
        let exported = wait_for(keys(&served).export()).unwrap();
        assert!(!exported.expose().contains(made.key.expose()));
        // What older versions have exported is known as well, and opens nothing.
        let older: Vec<_> = exported
            .expose()
            .lines()
            .map(|line| {
                let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
                let line = line.as_object_mut().unwrap();
                line.retain(|name, _| !name.starts_with("adobe_"));
                serde_json::to_string(line).unwrap()
            })
            .collect();
        let (third, _third_folder) = with_keys("");
        for (there, text) in [(&other, exported.expose().to_owned()), (&third, older.join("\n"))] {
            assert_eq!(wait_for(keys(there).import(&Secret::new(text))).unwrap(), 1);
        }
        show(&other, &made, "a").unwrap();
        assert_eq!(show(&third, &made, "a").unwrap_err(), FAILED);
    }

    #[test]
    fn a_publish_key_and_stream_keys_are_passwords_side_by_side() {
        let (served, _folder) = with_keys(&format!("key = \"{KEY}\""));
        let made = add(&served, NewKey::publish(key("live/a")));
        show(&served, &made, "a").unwrap();
        served.show("anybody", KEY, "whatever").unwrap();
        served.show(&made.info.id, KEY, "another").unwrap();
        let refused = show(&served, &made, "whatever").unwrap_err();
        assert!(refused.contains("for another stream"), "{refused}");
    }

    #[test]
    fn nobody_gets_in_while_the_database_is_away_and_all_are_told_so() {
        let config = "[publish]\nauthmod_adobe = true\n[keys]\nurl = \"postgres://user@127.0.0.1:1/keys\"";
        let served = Served::new(config);
        let start = Instant::now();
        let told = served.publish("live?authmod=adobe&user=0000000000", "a").unwrap_err();
        assert!(told.contains("cannot be looked up now"), "{told}");
        assert!(start.elapsed() <= at_most(Duration::from_millis(3_500)), "{:?}", start.elapsed());
    }
}
