//! Promises about passwords and sessions, with a paused clock.

use super::*;
use crate::testing::cheap_hash;
use crate::testing::wait::PATIENCE;
use std::path::Path;

const ALICE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
const BOB: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));
const LIMIT: u32 = 10;

fn of_config(config: &HttpConfig) -> Login {
    let login = Login::default();
    login.put(login.read(config).unwrap());
    login
}

/// One with a password that takes no time.
fn login() -> Login {
    of_config(&HttpConfig::default().password(Secret::new(cheap_hash("right"))))
}

async fn begin(login: &Login, address: IpAddr, password: &str) -> std::result::Result<Secret, NoEntry> {
    login.begin(address, Secret::new(password), LIMIT).await
}

#[tokio::test(start_paused = true)]
async fn a_session_ends_when_nobody_uses_it_and_after_half_a_day_at_the_latest() {
    let login = login();
    let (used, unused) =
        (begin(&login, ALICE, "right").await.unwrap(), begin(&login, ALICE, "right").await.unwrap());
    assert_ne!(used, unused);
    let minute = Duration::from_secs(60);
    for _ in 0..59 {
        tokio::time::advance(minute).await;
        assert!(login.knows(used.expose()));
    }
    tokio::time::advance(minute).await;
    assert!(!login.knows(unused.expose()) && login.knows(used.expose()));
    for _ in 60..12 * 60 - 1 {
        tokio::time::advance(minute).await;
        assert!(login.knows(used.expose()));
    }
    tokio::time::advance(minute).await;
    assert!(!login.knows(used.expose()));
    assert!(login.shared.state.lock().sessions.is_empty(), "nothing is kept of it");
}

#[tokio::test(start_paused = true)]
async fn of_more_than_64_sessions_the_oldest_ends() {
    let login = login();
    let mut cookies = Vec::new();
    for _ in 0..65 {
        cookies.push(begin(&login, ALICE, "right").await.unwrap());
    }
    let known: Vec<_> = cookies.iter().map(|cookie| login.knows(cookie.expose())).collect();
    assert!(!known[0] && known[1..].iter().all(|known| *known), "{known:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_of_a_cookie_is_its_hash_and_what_a_client_brings_is_no_session() {
    let login = login();
    let cookie = begin(&login, ALICE, "right").await.unwrap();
    assert_eq!(cookie.expose().len(), 64);
    assert_eq!(login.shared.state.lock().sessions[0].id, TokenHash::of(cookie.expose()));
    let hash = TokenHash::of(cookie.expose()).to_string();
    for brought in ["", &"0".repeat(64), &hash, &cookie.expose().to_uppercase()] {
        assert!(!login.knows(brought), "{brought}");
    }
    login.end("another");
    assert!(login.knows(cookie.expose()));
    login.end(cookie.expose());
    assert!(!login.knows(cookie.expose()));
}

#[tokio::test(start_paused = true)]
async fn an_address_that_is_wrong_too_often_is_not_tried_again_for_a_while_and_others_are() {
    let login = login();
    for _ in 0..LIMIT {
        assert!(matches!(begin(&login, ALICE, "wrong").await, Err(NoEntry::Wrong)));
    }
    let Err(NoEntry::TooOften(until)) = begin(&login, ALICE, "right").await else { panic!("it was tried") };
    assert_eq!(until, Duration::from_secs(6), "ten in a minute");
    let cookie = begin(&login, BOB, "right").await.unwrap();
    assert!(login.knows(cookie.expose()));
    tokio::time::advance(until).await;
    begin(&login, ALICE, "right").await.unwrap();
    // Who is right is not counted.
    for _ in 0..100 {
        begin(&login, ALICE, "right").await.unwrap();
    }
}

#[tokio::test]
async fn one_address_tries_one_password_at_a_time() {
    let login = login();
    let turn = login.its_turn(ALICE).await.unwrap();
    let second = tokio::time::timeout(PATIENCE, begin(&login, ALICE, "right")).await;
    assert!(matches!(second, Ok(Err(NoEntry::Busy(SOON)))), "{second:?}");
    drop(turn);
    begin(&login, ALICE, "right").await.unwrap();
}

#[tokio::test]
async fn more_than_16_who_wait_to_be_tried_are_told_to_come_again() {
    let login = Arc::new(login());
    let turn = login.its_turn(ALICE).await.unwrap();
    let places = login.shared.waiting.available_permits();
    let address = |number: u8| IpAddr::from([198, 51, 100, number]);
    let waiting: Vec<_> = (0..16)
        .map(|number| {
            let login = login.clone();
            tokio::spawn(async move { begin(&login, address(number), "right").await })
        })
        .collect();
    while login.shared.waiting.available_permits() > places - 16 {
        tokio::task::yield_now().await;
    }
    let last = tokio::time::timeout(PATIENCE, begin(&login, address(16), "right")).await;
    assert!(matches!(last, Ok(Err(NoEntry::Busy(_)))), "{last:?}");
    drop(turn);
    for waiting in waiting {
        waiting.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn who_leaves_while_a_password_is_tried_is_counted_all_the_same() {
    let login = Arc::new(login());
    for _ in 0..LIMIT {
        let trying = login.begin(ALICE, Secret::new("wrong"), LIMIT);
        tokio::select! {
            biased;
            _ = trying => {}
            () = tokio::task::yield_now() => {}
        }
        // Its thread has the turn until it is done.
        drop(login.shared.turn.acquire().await.unwrap());
        while login.shared.waiting_of.take(ALICE).is_none() {
            tokio::task::yield_now().await;
        }
    }
    assert!(matches!(begin(&login, ALICE, "right").await, Err(NoEntry::TooOften(_))));
}

async fn set(login: &Login, current: Option<&str>, new: &str) -> std::result::Result<Secret, NoEntry> {
    login.set(ALICE, current.map(Secret::new), Secret::new(new), LIMIT).await
}

#[tokio::test]
async fn another_password_needs_the_present_one_and_ends_all_sessions_but_the_new_one() {
    let login = Login::default();
    assert!(!login.has_password() && !login.keeps_password());
    assert!(matches!(begin(&login, ALICE, "").await, Err(NoEntry::NotSet)));
    let first = set(&login, None, "first-password").await.unwrap();
    assert!(login.has_password() && login.knows(first.expose()));
    for current in [None, Some(""), Some("second-password")] {
        assert!(matches!(set(&login, current, "second-password").await, Err(NoEntry::Wrong)));
    }
    assert!(matches!(set(&login, Some("first-password"), "short").await, Err(NoEntry::Failed(_))));
    assert!(login.knows(first.expose()));
    let second = set(&login, Some("first-password"), "second-password").await.unwrap();
    assert!(login.knows(second.expose()) && !login.knows(first.expose()));
    assert!(matches!(begin(&login, BOB, "first-password").await, Err(NoEntry::Wrong)));
    begin(&login, BOB, "second-password").await.unwrap();
}

#[tokio::test]
async fn a_password_that_is_set_is_written_to_its_file_and_one_that_cannot_be_is_not_set() {
    let dir = tempfile::tempdir().unwrap();
    let config = |path: &Path| HttpConfig::default().password_file(path.to_owned());
    let path = dir.path().join("password");
    let login = of_config(&config(&path));
    assert!(!login.has_password() && login.keeps_password());
    set(&login, None, "first-password").await.unwrap();
    let again = of_config(&config(&path));
    begin(&again, BOB, "first-password").await.unwrap();
    let lost = of_config(&config(&dir.path().join("none/password")));
    assert!(matches!(set(&lost, None, "first-password").await, Err(NoEntry::Failed(_))));
    assert!(!lost.has_password());
}

#[tokio::test]
async fn a_configuration_that_is_read_anew_ends_sessions_where_the_password_is_another() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("password");
    let by_file = HttpConfig::default().password_file(path.clone());
    let by_key = |password: &str| HttpConfig::default().password(Secret::new(cheap_hash(password)));
    let login = of_config(&by_file);
    let mut cookie = set(&login, None, "first-password").await.unwrap();
    let reload = |config: &HttpConfig| login.put(login.read(config).unwrap());
    reload(&by_file);
    assert!(login.knows(cookie.expose()), "it is the same");
    // Somebody writes the file, as the command does.
    PasswordHash::make("second-password").unwrap().write(&path).unwrap();
    reload(&by_file);
    assert!(!login.knows(cookie.expose()));
    begin(&login, ALICE, "second-password").await.unwrap();
    // One that is set between reading and holding to it is in the file, and is what holds.
    let read = login.read(&by_file).unwrap();
    cookie = set(&login, Some("second-password"), "third-password").await.unwrap();
    login.put(read);
    assert!(login.knows(cookie.expose()));
    reload(&by_key("by-key"));
    assert!(!login.knows(cookie.expose()) && !login.keeps_password());
    // What is set in place of what the configuration says holds until that changes.
    cookie = set(&login, Some("by-key"), "fourth-password").await.unwrap();
    let configured = login.shared.state.lock().password.configured.clone();
    reload(&HttpConfig { password: configured, ..HttpConfig::default() });
    assert!(login.knows(cookie.expose()));
    reload(&by_key("another"));
    assert!(!login.knows(cookie.expose()));
    // Both: the one of the configuration is the first, until there is a file.
    let other = dir.path().join("other");
    let both = by_key("first").password_file(other.clone());
    reload(&both);
    begin(&login, BOB, "first").await.unwrap();
    set(&login, Some("first"), "fifth-password").await.unwrap();
    reload(&both);
    begin(&login, BOB, "fifth-password").await.unwrap();
    reload(&HttpConfig::default());
    assert!(!login.has_password());
}
