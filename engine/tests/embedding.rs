//! What an embedding program holds of an engine besides the engine itself.

use futures_lite::{StreamExt, future};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;
use streamengine::media::{Frame, FrameKind};
use streamengine::testing::wait::until_event_makes;
use streamengine::testing::{audio, flv, key, times};
use streamengine::{
    AppConfig, Config, EndReason, Engine, EngineConfig, ErrorKind, FileConfig, Limits, Manage, OnRefusal,
    PublishConfig, PublisherConfig, PullConfig, PushConfig, PushTuning, RtmpConfig, RtmpUrl, Secret,
    SessionId, StartAt, StreamChange, StreamState, SubscriberConfig, Takeover, TlsConfig,
};

const WAIT: Duration = Duration::from_secs(30);

fn engine() -> Engine {
    Engine::builder().start().unwrap()
}

/// Runs a future on a plain thread and an executor without timers or reactor; fails where nobody wakes it.
fn on_plain_executor<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> T {
    let (done, result) = mpsc::channel();
    std::thread::spawn(move || done.send(future::block_on(future)));
    result.recv_timeout(WAIT).expect("the task is woken")
}

#[test]
fn a_subscriber_is_a_stream_of_frames_on_any_executor() {
    let engine = engine();
    let publisher = engine.publish(&key("live/a")).unwrap();
    let mut subscriber = engine.subscribe(&key("live/a")).unwrap();
    let (waits, waiting) = mpsc::channel();
    let reading = std::thread::spawn(move || {
        on_plain_executor(async move {
            assert_eq!(future::poll_once(subscriber.next()).await, None, "there is no frame yet");
            waits.send(()).unwrap();
            let mut frames = Vec::new();
            let mut stream = std::pin::pin!(subscriber);
            while let Some(frame) = StreamExt::next(&mut stream).await {
                frames.push(frame);
            }
            assert_eq!(StreamExt::next(&mut stream).await, None, "the end stays the end");
            (times(&frames), stream.end().cloned())
        })
    });
    waiting.recv_timeout(WAIT).unwrap();
    (0..100).for_each(|i| publisher.push(audio(i * 20)).unwrap());
    publisher.finish();
    let expected = (0..100).map(|i| i * 20).collect();
    assert_eq!(reading.join().unwrap(), (expected, Some(EndReason::Unpublished)));
}

#[test]
fn deadlines_of_a_stream_without_a_publisher_wake_any_executor() {
    let engine = engine();
    let mut wait = SubscriberConfig::default();
    wait.wait_for_publisher_ms = Some(50);
    let subscriber = engine.subscribe_with(&key("live/never"), &wait).unwrap();
    let ended = |mut subscriber: streamengine::Subscriber| {
        on_plain_executor(async move {
            assert_eq!(StreamExt::next(&mut subscriber).await, None);
            subscriber.end().cloned()
        })
    };
    assert_eq!(ended(subscriber), Some(EndReason::NotPublished));

    let mut window = PublisherConfig::default();
    window.resume_window_ms = Some(50);
    let publisher = engine.publish_with(&key("live/lost"), &window).unwrap();
    let subscriber = engine.subscribe(&key("live/lost")).unwrap();
    drop(publisher);
    assert_eq!(ended(subscriber), Some(EndReason::PublisherLost));
}

#[test]
fn a_next_that_is_dropped_loses_no_frame() {
    const FRAMES: i64 = 5_000;
    let engine = engine();
    let publisher = engine.publish(&key("live/a")).unwrap();
    let mut subscriber = engine.subscribe(&key("live/a")).unwrap();
    let (mut frames, mut dropped) = (Vec::new(), 0);
    on_plain_executor(async move {
        while frames.len() < FRAMES as usize {
            match future::poll_once(subscriber.next()).await {
                Some(frame) => frames.push(frame.expect("the stream goes on")),
                None => {
                    // A few at a time, so that the batch that is taken out of the ring is in play too.
                    let pushed = frames.len() as i64;
                    (pushed..pushed + 5).for_each(|i| publisher.push(audio(i * 20)).unwrap());
                    dropped += 1;
                }
            }
        }
        assert_eq!(dropped, FRAMES / 5, "futures that were dropped while they waited");
        assert!(frames.iter().zip(0..).all(|(frame, i)| frame.timestamp == i * 20));
    });
}

#[test]
fn an_engine_tells_which_streams_begin_and_end_and_which_are_wanted() {
    let engine = engine();
    let _there = engine.publish(&key("live/a")).unwrap();
    let mut watcher = engine.watch_streams();
    on_plain_executor(async move {
        assert_eq!(watcher.next().await, Some(StreamChange::Began(key("live/a"))));

        // Publishing on demand.
        let mut subscriber = engine.subscribe(&key("live/b")).unwrap();
        assert_eq!(watcher.next().await, Some(StreamChange::Wanted(key("live/b"))));
        let publisher = engine.publish(&key("live/b")).unwrap();
        assert_eq!(watcher.next().await, Some(StreamChange::Unwanted(key("live/b"))));
        assert_eq!(watcher.next().await, Some(StreamChange::Began(key("live/b"))));
        publisher.push(audio(0)).unwrap();
        assert!(subscriber.next().await.is_some());
        publisher.finish();
        assert_eq!(watcher.next().await, Some(StreamChange::Ended(key("live/b"))));

        // A publisher and a subscriber that are still held do not keep the watcher waiting.
        drop(engine);
        assert_eq!(watcher.next().await, Some(StreamChange::Ended(key("live/a"))));
        assert_eq!(watcher.next().await, None);
    });
}

fn flv_file(folder: &Path) -> PathBuf {
    let path = folder.join("clip.flv");
    std::fs::write(&path, flv(&[audio(0), audio(1000)])).unwrap();
    path
}

/// Does to an engine whatever can be done to it.
fn manage(manager: &dyn Manage, engine: &Engine) {
    let (mut events, address) = (engine.events(), manager.listeners()[0].address);
    let url = |name: &str| -> RtmpUrl { format!("rtmp://{address}/{name}").parse().unwrap() };

    let push = manager.add_push(PushConfig::new(key("live/none"), url("live/elsewhere"))).unwrap();
    let pull = manager.add_pull(PullConfig::new(url("live/none").into(), key("live/pulled"))).unwrap();
    assert_eq!(manager.relays().iter().map(|relay| relay.id).collect::<Vec<_>>(), [push, pull]);
    manager.restart_relay(push).unwrap();
    for relay in [push, pull] {
        manager.remove_relay(relay).unwrap();
    }
    assert!(manager.relay(push).is_none() && manager.relays().is_empty());

    let folder = tempfile::tempdir().unwrap();
    let file = manager.loop_file(FileConfig::new(key("live/file"), vec![flv_file(folder.path())])).unwrap();
    assert_eq!(manager.file(file).unwrap().stream, key("live/file"));
    assert_eq!((manager.files().len(), manager.stats().streams_live), (1, 1));
    manager.stop_file(file).unwrap();
    assert!(manager.files().is_empty());
    until_event_makes(&mut events, || manager.stream(&key("live/file")).is_none());

    let connection = TcpStream::connect(address).unwrap();
    let peer = connection.local_addr().unwrap();
    let session = || manager.sessions().into_iter().find(|session| session.peer == peer);
    until_event_makes(&mut events, || session().is_some());
    let session = session().unwrap().id;
    let follows = manager.request_reconnect(session, None);
    assert_eq!(follows.unwrap_err().kind(), ErrorKind::Unsupported, "it has said nothing yet");
    manager.kick(session, "enough").unwrap();
    until_event_makes(&mut events, || manager.session(session).is_none());

    let publisher = engine.publish(&key("live/a")).unwrap();
    publisher.push(audio(0)).unwrap();
    let player = Engine::builder().start().unwrap();
    player.add_pull(PullConfig::new(url("live/a").into(), key("live/a"))).unwrap();
    until_event_makes(&mut events, || manager.stats().players == 1);
    assert_eq!(manager.kick_players(&key("live/a"), "enough").unwrap(), 1);
    drop(player);
    until_event_makes(&mut events, || manager.stats().players == 0);
    let state = || manager.stream(&key("live/a")).map(|stream| stream.state);
    assert_eq!(state(), Some(StreamState::Live));
    manager.kick_publisher(&key("live/a"), "enough").unwrap();
    assert_eq!(state(), Some(StreamState::Away));
    assert!(manager.streams().iter().any(|stream| stream.key == key("live/a")));
    manager.kick_stream(&key("live/a"), "enough").unwrap();
    assert_eq!(state(), None);
}

#[test]
fn an_engine_and_a_weak_handle_to_it_are_managed_by_the_same_trait() {
    let engine = Engine::builder().listen_rtmp("127.0.0.1:0".parse().unwrap()).start().unwrap();
    manage(&engine, &engine);
    manage(&engine.downgrade(), &engine);
}

#[test]
fn a_weak_handle_does_not_keep_an_engine_alive() {
    let engine = Engine::builder().listen_rtmp("127.0.0.1:0".parse().unwrap()).start().unwrap();
    let (weak, address) = (engine.downgrade(), engine.listeners()[0].address);
    let publisher = engine.publish(&key("live/a")).unwrap();
    let other = weak.upgrade().expect("the engine lives");
    drop(engine);
    assert_eq!(weak.listeners().len(), 1, "an engine that a handle was made into counts");

    drop(other);
    assert!(weak.upgrade().is_none());
    assert_eq!(publisher.push(audio(0)).unwrap_err().kind(), ErrorKind::Closed);
    TcpListener::bind(address).expect("the port is free");
    assert!(weak.listeners().is_empty() && weak.relays().is_empty() && weak.files().is_empty());
    assert!(weak.streams().is_empty() && weak.sessions().is_empty());
    assert!(weak.stream(&key("live/a")).is_none());
    assert_eq!((weak.stats().connections, weak.stats().uptime), (0, Duration::ZERO));
}

#[test]
fn acts_on_an_engine_that_is_gone_say_that_it_is_closed() {
    let engine = engine();
    let weak = engine.downgrade();
    let relay = engine
        .add_pull(PullConfig::new("rtmp://127.0.0.1:9/live/a".parse().unwrap(), key("live/a")))
        .unwrap();
    let file = FileConfig::new(key("live/a"), vec!["none.flv".into()]);
    let push = PushConfig::new(key("live/a"), "rtmp://127.0.0.1:9/live/a".parse().unwrap());
    drop(engine);
    let results = [
        weak.add_push(push).map(drop),
        weak.add_pull(PullConfig::new("rtmp://127.0.0.1:9/live/a".parse().unwrap(), key("live/a"))).map(drop),
        weak.remove_relay(relay),
        weak.restart_relay(relay),
        weak.loop_file(file).map(drop),
        weak.kick(SessionId(1), ""),
        weak.request_reconnect(SessionId(1), None),
        weak.kick_stream(&key("live/a"), ""),
        weak.kick_publisher(&key("live/a"), ""),
        weak.kick_players(&key("live/a"), "").map(drop),
    ];
    for result in results {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Closed);
    }
}

#[test]
fn everything_that_an_engine_is_told_may_be_said_in_one_expression() {
    let url: RtmpUrl = "rtmp://127.0.0.1:9/live/a".parse().unwrap();
    let tuning = PushTuning::default().max_retries(1).tls(TlsConfig::default().ca(PathBuf::from("ca.pem")));
    let config = Config::default()
        .rtmp(RtmpConfig::default().listen(vec!["127.0.0.1:0".parse().unwrap()]))
        .publish(PublishConfig::default().key(Secret::new("k")))
        .default_app(AppConfig::default().takeover(Takeover::Replace).wait_for_publisher_ms(0))
        .push(vec![PushConfig::new(key("live/a"), url.clone()).on_refusal(OnRefusal::Fail).tuning(tuning)])
        .limits(Limits::default().max_connections(7))
        .engine(EngineConfig::default().io_threads(1));
    let text = "[rtmp]\nlisten = \"127.0.0.1:0\"\n[publish]\nkey = \"k\"\n\
                [default_app]\ntakeover = \"replace\"\nwait_for_publisher_ms = 0\n\
                [[push]]\nstream = \"live/a\"\nurl = \"rtmp://127.0.0.1:9/live/a\"\non_refusal = \"fail\"\nmax_retries = 1\n\
                tls = { ca = \"ca.pem\" }\n[limits]\nmax_connections = 7\n[engine]\nio_threads = 1\n";
    assert_eq!(config.to_json(), Config::from_toml(text).unwrap().to_json());

    let engine = Engine::builder().config(Config::default()).start().unwrap();
    let publisher = engine.publish_with(&key("live/a"), &PublisherConfig::default().resume_window_ms(0));
    publisher.unwrap().push(audio(0)).unwrap();
    let wait = SubscriberConfig::default().start(StartAt::LiveEdge).wait_for_publisher_ms(0);
    assert!(engine.subscribe_with(&key("live/a"), &wait).is_ok());
}

#[test]
fn an_apps_limits_on_readers_hold_and_a_publishers_own_before_them() {
    let app = AppConfig::default().ring_bytes(20_000);
    let engine = Engine::builder().config(Config::default().default_app(app)).start().unwrap();
    let fill = |publisher: &streamengine::Publisher| {
        (0..100).for_each(|at| {
            publisher.push(Frame::new(FrameKind::Audio, at, vec![0xaf; 1000].into())).unwrap()
        });
    };
    let ring = |name: &str| engine.stream(&key(name)).map_or(0, |stream| stream.ring_bytes);
    let by_app = engine.publish(&key("live/app")).unwrap();
    let own = engine.publish_with(&key("live/own"), &PublisherConfig::default().ring_bytes(8_000)).unwrap();
    [&by_app, &own].into_iter().for_each(fill);
    assert!((10_000..=20_000).contains(&ring("live/app")), "{}", ring("live/app"));
    assert!((2_000..=8_000).contains(&ring("live/own")), "{}", ring("live/own"));
}

#[test]
fn a_limit_that_would_leave_readers_nothing_is_refused() {
    let engine = engine();
    for config in [
        PublisherConfig::default().ring_bytes(0),
        PublisherConfig::default().max_queue_ms(0),
        PublisherConfig::default().max_queue_bytes(0),
    ] {
        let error = engine.publish_with(&key("live/a"), &config).err().expect("refused");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains("is 0"), "{error}");
    }
    for section in ["default_app", "apps.live"] {
        let error = Config::from_toml(&format!("[{section}]\nmax_queue_ms = 0\n")).unwrap_err();
        assert!(error.to_string().contains(&format!("{section}.max_queue_ms is 0")), "{error}");
    }
}
