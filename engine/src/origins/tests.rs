//! What players of origins are told, without origins.

use super::*;
use crate::testing::key;
use std::time::Duration;

fn origins(limits: &Limits) -> (Origins, mpsc::UnboundedReceiver<Arc<Pull>>) {
    let config = OriginConfig::new(vec!["rtmp://h".parse().unwrap()]).max_streams(20);
    let origins = Origins::new(limits, &[("a".to_owned(), config)].into());
    let to_fetch = origins.to_fetch().unwrap();
    (origins, to_fetch)
}

fn refusal(origins: &Origins, name: &str) -> Option<Refused> {
    origins.want(&key(name), &[]).err()
}

const NOT_FOUND: Refused = Refused::Missing(Missing::NotFound);

#[tokio::test(start_paused = true)]
async fn all_who_want_a_stream_wait_for_one_pull() {
    let (origins, mut to_fetch) = origins(&Limits::default());
    let waiting: Vec<_> = (0..100).map(|_| origins.want(&key("origin/a/my/app/s"), &[]).unwrap()).collect();
    let pull = to_fetch.try_recv().unwrap();
    assert!(to_fetch.try_recv().is_err());
    assert_eq!((pull.alias.as_str(), pull.app.as_str(), pull.stream.as_str()), ("a", "my/app", "s"));
    assert!(!origins.released(&pull), "they wait");
    origins.begun(&pull);
    for waiting in waiting {
        waiting.over().await.unwrap();
    }
    origins.want(&key("origin/a/my/app/s"), &[]).unwrap().over().await.unwrap();
    assert!(origins.released(&pull));
    assert!(origins.want(&key("origin/a/my/app/s"), &[]).is_ok() && to_fetch.try_recv().is_ok(), "anew");
}

#[tokio::test(start_paused = true)]
async fn f39_what_was_not_to_be_had_is_asked_for_anew_after_5_seconds_and_no_sooner() {
    let (origins, mut to_fetch) = origins(&Limits::default());
    let waiting = origins.want(&key("origin/a/app/s"), &[]).unwrap();
    origins.failed(&to_fetch.try_recv().unwrap(), Missing::Unreachable);
    let unreachable = Refused::Missing(Missing::Unreachable);
    assert_eq!(waiting.over().await, Err(unreachable));
    tokio::time::advance(Duration::from_millis(4_900)).await;
    assert_eq!(refusal(&origins, "origin/a/app/s"), Some(unreachable));
    assert!(to_fetch.try_recv().is_err());
    tokio::time::advance(Duration::from_millis(200)).await;
    assert_eq!(refusal(&origins, "origin/a/app/s"), None);
    assert!(to_fetch.try_recv().is_ok());
}

#[tokio::test(start_paused = true)]
async fn f39_of_what_was_not_to_be_had_no_more_than_4096_names_are_remembered() {
    let (origins, _to_fetch) = origins(&Limits::default());
    for number in 0..10_000 {
        let waiting = origins.want(&key(&format!("origin/none/app/{number}")), &[]).unwrap();
        assert_eq!(waiting.over().await, Err(NOT_FOUND));
    }
    assert_eq!(origins.shared.state.lock().missing.len(), REMEMBERED.stated());
    tokio::time::advance(KEPT.stated()).await;
    let waiting = origins.want(&key("origin/none/app/x"), &[]).unwrap();
    assert_eq!(waiting.over().await, Err(NOT_FOUND));
    assert_eq!(origins.shared.state.lock().missing.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn f39_no_more_than_16_streams_of_origins_are_asked_for_at_a_time() {
    let (origins, mut to_fetch) = origins(&Limits::default());
    let _waiting: Vec<_> =
        (0..16).map(|number| origins.want(&key(&format!("origin/a/app/{number}")), &[]).unwrap()).collect();
    for name in ["origin/a/app/more", "origin/none/app/s"] {
        assert_eq!(refusal(&origins, name), Some(Refused::TooManyAtOnce), "{name}");
    }
    assert_eq!(refusal(&origins, "origin/a/app/3"), None, "it is asked for already");
    origins.begun(&to_fetch.try_recv().unwrap());
    assert_eq!(refusal(&origins, "origin/a/app/more"), None);
}

#[tokio::test(start_paused = true)]
async fn an_alias_has_so_many_streams_at_a_time() {
    let (origins, mut to_fetch) = origins(&Limits::default());
    for number in 0..20 {
        assert_eq!(refusal(&origins, &format!("origin/a/app/{number}")), None);
        origins.begun(&to_fetch.try_recv().unwrap());
    }
    assert_eq!(refusal(&origins, "origin/a/app/more"), Some(Refused::TooManyStreams));
}

#[tokio::test(start_paused = true)]
async fn f39_a_name_that_no_alias_has_takes_as_long_as_one_that_no_server_has() {
    let (origins, mut to_fetch) = origins(&Limits::default());
    origins.set("b", OriginConfig::new(vec!["rtmp://h".parse().unwrap()]).apps(vec!["one".to_owned()]));
    let waiting = origins.want(&key("origin/a/app/s"), &[]).unwrap();
    tokio::time::advance(Duration::from_millis(700)).await;
    origins.failed(&to_fetch.try_recv().unwrap(), Missing::NotFound);
    assert_eq!(waiting.over().await, Err(NOT_FOUND));
    for name in ["origin/none/app/s", "origin/_/app/s", "origin/x/s", "origin/s", "origin/b/other/s"] {
        let before = Instant::now();
        let waiting = origins.want(&key(name), &[]).unwrap();
        assert_eq!(waiting.over().await, Err(NOT_FOUND), "{name}");
        assert_eq!(before.elapsed().as_millis() / 10, 70, "{name}");
        assert_eq!(refusal(&origins, name), Some(NOT_FOUND), "{name}: as known as those of an alias");
    }
    assert!(to_fetch.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_longer_than_its_alias_says() {
    let (origins, _to_fetch) = origins(&Limits::default());
    let before = Instant::now();
    let waiting = origins.want(&key("origin/a/app/s"), &[]).unwrap();
    assert_eq!(waiting.over().await, Err(Refused::Missing(Missing::Unreachable)));
    assert!((5_000..5_100).contains(&before.elapsed().as_millis()));
}
