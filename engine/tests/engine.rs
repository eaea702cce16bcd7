//! The public API as an embedding program uses it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};
use streamengine::testing::{self, key, keyframe, wait};
use streamengine::{
    AuthRequest, Authorize, Config, EndReason, Engine, ErrorKind, Event, FileId, Grant, ListenerId,
    OnRefusal, OptionSource, PullConfig, PushConfig, RelayId, RelayState, RtmpUrl, SessionId, StreamState,
    Ticket,
};

const WAIT: Duration = Duration::from_secs(30);

fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

fn serving() -> Engine {
    Engine::builder().listen_rtmp(any_port()).start().unwrap()
}

fn url(engine: &Engine, name: &str) -> RtmpUrl {
    testing::url(&format!("rtmp://{}/{name}", engine.listeners()[0].address))
}

/// Waits for an event of which `pick` makes something.
fn wait_for<T>(engine: &Engine, pick: impl FnMut(Event) -> Option<T>, act: impl FnOnce()) -> T {
    let mut events = engine.events();
    act();
    wait::event(&mut events, pick)
}

#[test]
fn frames_go_from_a_publisher_through_push_and_pull_to_a_subscriber_byte_for_byte() {
    let (origin, edge) = (serving(), serving());
    let publisher = origin.publish(&key("live/a")).unwrap();
    origin.add_push(PushConfig::new(key("live/a"), url(&edge, "live/b"))).unwrap();
    let reader = Engine::builder().start().unwrap();
    reader.add_pull(PullConfig::new(url(&edge, "live/b").into(), key("in/c"))).unwrap();
    let mut subscriber = reader.subscribe(&key("in/c")).unwrap();

    // The first frame shows that both relays stand.
    publisher.push(keyframe(0, 10)).unwrap();
    assert!(subscriber.blocking_next(WAIT).unwrap().is_some());
    // Sizes around the chunk size, and one message of several chunks.
    let frames: Vec<_> = [5, 127, 65_535, 65_536, 65_537, 300_000]
        .into_iter()
        .zip(0..)
        .map(|(len, i)| keyframe(1000 + i * 40, len))
        .collect();
    for frame in &frames {
        publisher.push(frame.clone()).unwrap();
    }
    for frame in &frames {
        let got = subscriber.blocking_next(WAIT).unwrap().expect("a frame");
        assert!(got.payload == frame.payload, "{} bytes became {}", frame.payload.len(), got.payload.len());
        assert_eq!((got.kind, got.timestamp), (frame.kind, frame.timestamp));
    }
    let push = origin.relays().pop().unwrap();
    assert_eq!(push.state, RelayState::Publishing);

    publisher.finish();
    assert_eq!(subscriber.blocking_next(WAIT).unwrap(), None, "the end goes through both relays");
    assert_eq!(subscriber.end(), Some(&EndReason::Unpublished));
}

#[test]
fn a_blocking_call_on_an_async_worker_is_an_error_not_a_panic() {
    let engine = serving();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut subscriber = engine.subscribe(&key("live/a")).unwrap();
        assert_eq!(subscriber.blocking_next(WAIT).unwrap_err().kind(), ErrorKind::Deadlock);
        assert_eq!(engine.blocking_drain().unwrap_err().kind(), ErrorKind::Deadlock);
        engine.drain().await.unwrap();
        drop(engine);
    });
}

#[test]
fn async_calls_work_on_any_executor() {
    let engine = serving();
    let mut subscriber = engine.subscribe(&key("live/a")).unwrap();
    let publisher = engine.publish(&key("live/a")).unwrap();
    let pushing = std::thread::spawn(move || {
        publisher.push(keyframe(0, 10)).unwrap();
        publisher.finish();
    });
    // Not tokio: the simplest executor there is.
    let mut next = std::pin::pin!(subscriber.next());
    let waker = std::task::Waker::from(Arc::new(Unpark(std::thread::current())));
    let frame = loop {
        match next.as_mut().poll(&mut std::task::Context::from_waker(&waker)) {
            std::task::Poll::Ready(frame) => break frame,
            std::task::Poll::Pending => std::thread::park_timeout(WAIT),
        }
    };
    assert!(frame.unwrap().flags.keyframe);
    pushing.join().unwrap();
}

struct Unpark(std::thread::Thread);

impl std::task::Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

#[test]
fn the_embedding_program_decides_and_may_take_its_time() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let decide = move |request: AuthRequest, ticket: Ticket| {
        count.fetch_add(1, Ordering::SeqCst);
        std::thread::spawn(move || match request.name.query_value("token").as_deref() {
            Some("good") => ticket.accept(Grant::default().principal("alice".to_owned())),
            _ => ticket.reject("your token has expired"),
        });
    };
    let server = Engine::builder().listen_rtmp(any_port()).authorize(decide).start().unwrap();
    let client = Engine::builder().start().unwrap();
    let publisher = client.publish(&key("live/a")).unwrap();
    publisher.push(keyframe(0, 10)).unwrap();

    let push = |query: &str| {
        client.add_push(PushConfig::new(key("live/a"), url(&server, &format!("live/{query}")))).unwrap();
    };
    let refused = |event| match event {
        Event::RelayState(status) => status.last_error,
        _ => None,
    };
    let words = wait_for(&client, refused, || push("x?token=old"));
    assert!(words.contains("your token has expired"), "{words}");
    assert!(!words.contains("old"), "no query in errors: {words}");
    let published = |event| matches!(event, Event::StreamStarted { .. }).then_some(());
    wait_for(&server, published, || push("y?token=good"));
    assert!(asked.load(Ordering::SeqCst) >= 2);
}

/// Keys instead of names: `5ecret-A` is the stream `live/A`; of others it knows nothing.
struct Keys;

impl Authorize for Keys {
    fn authorize(&self, request: AuthRequest, ticket: Ticket) {
        match request.name.key.stream().strip_prefix("5ecret-") {
            Some("wrong") => ticket.reject("this key has expired"),
            Some(name) => ticket.accept(Grant::default().stream(key(&format!("live/{name}")))),
            None => ticket.pass(),
        }
    }

    fn takes_key_for_name(&self) -> bool {
        true
    }
}

#[test]
fn who_publishes_and_plays_with_a_key_for_a_name_gets_the_stream_of_that_key() {
    let server = Engine::builder().listen_rtmp(any_port()).authorize(Keys).start().unwrap();
    let (client, mut events) = (Engine::builder().start().unwrap(), server.events());
    let publisher = client.publish(&key("local/a")).unwrap();
    publisher.push(keyframe(0, 10)).unwrap();
    let push = |name: &str| {
        let target = url(&server, &format!("live/{name}"));
        let push = PushConfig::new(key("local/a"), target).on_refusal(OnRefusal::Fail);
        client.add_push(push).unwrap();
    };
    let published = |event| match event {
        Event::StreamStarted { stream, .. } => Some(stream),
        _ => None,
    };
    assert_eq!(wait_for(&server, published, || push("5ecret-show")), key("live/show"));
    assert_eq!(wait_for(&server, published, || push("plain")), key("live/plain"), "decided by the rule");
    let refused = |event| match event {
        Event::Refused { stream, reason, .. } => Some((stream, reason)),
        _ => None,
    };
    let refusal = wait_for(&server, refused, || push("5ecret-wrong"));
    assert_eq!(refusal, (None, "this key has expired".to_owned()));

    let pull = PullConfig::new(url(&server, "live/5ecret-show").into(), key("in/show"));
    let played = |event| match event {
        Event::PlayStarted { stream, .. } => Some(stream),
        _ => None,
    };
    let stream = wait_for(&server, played, || {
        client.add_pull(pull).unwrap();
    });
    assert_eq!(stream, key("live/show"));
    server.blocking_drain().unwrap();
    let told: Vec<_> = std::iter::from_fn(|| events.try_next()).collect();
    let text = format!("{told:?} {:?}", server.streams());
    assert!(text.contains("live/show") && !text.contains("5ecret"), "{text}");
}

#[test]
fn dropping_an_engine_whose_authoriser_hangs_waits_no_longer_than_two_seconds() {
    let ((asked, is_asked), (release, hang)) = (mpsc::channel(), mpsc::channel::<()>());
    let hang = Mutex::new(hang);
    let decide = move |_: AuthRequest, _: Ticket| {
        asked.send(()).unwrap();
        let _ = hang.lock().unwrap().recv_timeout(Duration::from_secs(20));
    };
    let server = Engine::builder().listen_rtmp(any_port()).authorize(decide).start().unwrap();
    let client = Engine::builder().start().unwrap();
    let publisher = client.publish(&key("live/a")).unwrap();
    publisher.push(keyframe(0, 10)).unwrap();
    client.add_push(PushConfig::new(key("live/a"), url(&server, "live/a"))).unwrap();
    is_asked.recv_timeout(Duration::from_secs(20)).unwrap();
    let begun = Instant::now();
    drop(server);
    // Headroom for a busy machine.
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    drop(release);
}

#[test]
fn kicks_name_their_reason_and_unknown_ids_are_errors() {
    let server = serving();
    let client = Engine::builder().start().unwrap();
    client.add_pull(PullConfig::new(url(&server, "live/a").into(), key("in/a"))).unwrap();
    let publisher = server.publish(&key("live/a")).unwrap();
    let play = |event| match event {
        Event::PlayStarted { session, .. } => Some(session),
        _ => None,
    };
    let session = wait_for(&server, play, || publisher.push(keyframe(0, 10)).unwrap());
    let closed = |event| match event {
        Event::SessionClosed { session, reason, .. } => Some((session, reason)),
        _ => None,
    };
    let (closed, reason) = wait_for(&server, closed, || server.kick(session, "maintenance").unwrap());
    assert_eq!(closed, session);
    assert!(reason.contains("maintenance"), "{reason}");
    assert_eq!(server.kick(session, "again").unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(server.remove_relay(RelayId(session.0)).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(server.stop_file(FileId(session.0)).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(server.close_listener(ListenerId(session.0)).unwrap_err().kind(), ErrorKind::NotFound);

    server.kick_stream(&key("live/a"), "over").unwrap();
    let error = publisher.push(keyframe(40, 10)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert!(error.to_string().contains("over"), "{error}");
    assert_eq!(server.kick_stream(&key("live/a"), "over").unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn a_reconnect_request_needs_a_session_that_follows_it_and_a_url_up_to_the_app() {
    let server = serving();
    let client = Engine::builder().start().unwrap();
    client.add_pull(PullConfig::new(url(&server, "live/a").into(), key("in/a"))).unwrap();
    let publisher = server.publish(&key("live/a")).unwrap();
    let play = |event| match event {
        Event::PlayStarted { session, .. } => Some(session),
        _ => None,
    };
    let session = wait_for(&server, play, || publisher.push(keyframe(0, 10)).unwrap());
    for wrong in ["", "live", "http://host/live", "rtmp://host", "rtmp://user:marker@host/live"] {
        let error = server.request_reconnect(session, Some(wrong)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{wrong}");
        assert!(!error.to_string().contains("marker"), "{error}");
    }
    let nobody = SessionId(session.0 + 1_000_000);
    assert_eq!(server.request_reconnect(nobody, None).unwrap_err().kind(), ErrorKind::NotFound);
    let opened = |event| match event {
        Event::SessionOpened { session, .. } => Some(session),
        _ => None,
    };
    let (mut silent, address) = (None, server.listeners()[0].address);
    let says_nothing =
        wait_for(&server, opened, || silent = Some(std::net::TcpStream::connect(address).unwrap()));
    assert_eq!(server.request_reconnect(says_nothing, None).unwrap_err().kind(), ErrorKind::Unsupported);
    // A pull obeys.
    let closed = |event| match event {
        Event::SessionClosed { session: closed, .. } => (closed == session).then_some(()),
        _ => None,
    };
    wait_for(&server, closed, || server.request_reconnect(session, None).unwrap());
}

#[test]
fn a_pull_comes_back_to_a_server_that_drains_and_starts_anew_and_its_stream_goes_on() {
    let (server, client) = (serving(), Engine::builder().start().unwrap());
    let address = server.listeners()[0].address;
    client.add_pull(PullConfig::new(url(&server, "live/a").into(), key("in/a"))).unwrap();
    let mut subscriber = client.subscribe(&key("in/a")).unwrap();
    let publisher = server.publish(&key("live/a")).unwrap();
    publisher.push(keyframe(0, 10)).unwrap();
    assert_eq!(subscriber.blocking_next(WAIT).unwrap().unwrap().payload.len(), 10);
    server.blocking_drain().unwrap();
    drop(server);

    let server = Engine::builder().listen_rtmp(address).start().unwrap();
    let publisher = server.publish(&key("live/a")).unwrap();
    publisher.push(keyframe(0, 20)).unwrap();
    assert_eq!(subscriber.blocking_next(WAIT).unwrap().unwrap().payload.len(), 20);
}

#[test]
fn a_publisher_that_is_kicked_leaves_its_players_to_the_next_one() {
    let (server, client) = (serving(), Engine::builder().start().unwrap());
    let publisher = server.publish(&key("live/a")).unwrap();
    let mut subscriber = server.subscribe(&key("live/a")).unwrap();
    client.add_pull(PullConfig::new(url(&server, "live/a").into(), key("in/a"))).unwrap();
    let plays = |event| matches!(event, Event::PlayStarted { .. }).then_some(());
    wait_for(&server, plays, || publisher.push(keyframe(0, 10)).unwrap());

    server.kick_publisher(&key("live/a"), "make room").unwrap();
    let error = publisher.push(keyframe(40, 10)).unwrap_err();
    assert!(error.to_string().contains("make room"), "{error}");
    assert_eq!(server.stream(&key("live/a")).unwrap().state, StreamState::Away);
    assert_eq!(server.kick_publisher(&key("live/a"), "").unwrap_err().kind(), ErrorKind::NotFound);
    drop(publisher);
    let next = server.publish(&key("live/a")).unwrap();
    next.push(keyframe(0, 20)).unwrap();
    assert_eq!(subscriber.blocking_next(WAIT).unwrap().unwrap().payload.len(), 10);
    assert_eq!(subscriber.blocking_next(WAIT).unwrap().unwrap().payload.len(), 20);

    let closed = |event| match event {
        Event::SessionClosed { reason, .. } => Some(reason),
        _ => None,
    };
    let reason = wait_for(&server, closed, || {
        assert_eq!(server.kick_players(&key("live/a"), "enough").unwrap(), 1);
    });
    assert!(reason.contains("enough"), "{reason}");
    next.push(keyframe(40, 10)).unwrap();
    assert_eq!(server.kick_players(&key("live/none"), "").unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn a_publisher_and_a_subscriber_may_have_wishes_of_their_own() {
    let engine = serving();
    let mut options = OptionSource::default();
    options.set("takeover", "replace").unwrap();
    options.set("resume_window_ms", "0").unwrap();
    let _first = engine.publish(&key("live/a")).unwrap();
    let second = engine.publish_with(&key("live/a"), &options.publisher().unwrap()).unwrap();
    drop(second);
    assert!(engine.stream(&key("live/a")).is_none(), "no window");

    let mut options = OptionSource::default();
    options.set("wait_for_publisher_ms", "0").unwrap();
    let mut subscriber = engine.subscribe_with(&key("live/b"), &options.subscriber().unwrap()).unwrap();
    assert_eq!(subscriber.blocking_next(WAIT).unwrap(), None);
    assert_eq!(subscriber.end(), Some(&EndReason::NotPublished));
}

#[test]
fn listeners_tell_when_they_close_and_ids_are_never_used_again() {
    let told = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let tell = told.clone();
    let start = || {
        let tell = tell.clone();
        let sink = move |event: &Event| match event {
            Event::ListenerOpened { id, .. } => tell.lock().push((true, *id)),
            Event::ListenerClosed { id, .. } => tell.lock().push((false, *id)),
            _ => {}
        };
        Engine::builder().listen_rtmp(any_port()).on_event(sink).start().unwrap()
    };
    let engine = start();
    engine.close_listener(engine.listeners()[0].id).unwrap();
    engine.listen_rtmp(any_port()).unwrap();
    engine.blocking_drain().unwrap();
    drop(engine);
    drop(start());
    let told = told.lock();
    assert_eq!(told.iter().map(|(up, _)| *up).collect::<Vec<_>>(), [true, false, true, false, true, false]);
    assert!(told.chunks(2).all(|pair| pair[0].1 == pair[1].1), "{told:?}");
    assert!(told.windows(2).all(|pair| pair[0].1 <= pair[1].1), "{told:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn signals_are_left_to_the_threads_of_the_host() {
    const PIPE_AND_TERM: u64 = 1 << (13 - 1) | 1 << (15 - 1);
    const FAULTS: u64 = 1 << (11 - 1) | 1 << (6 - 1);
    let engine = serving();
    // A task has run, so a thread has started.
    let mut subscriber = engine.subscribe(&key("live/a")).unwrap();
    assert_eq!(subscriber.blocking_next(Duration::ZERO).unwrap_err().kind(), ErrorKind::Timeout);
    let field = |status: &str, name: &str| {
        status.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned())
    };
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    let blocked: Vec<u64> = threads
        .filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("status")).ok())
        .filter(|status| field(status, "Name:").unwrap() == "streamengine")
        .map(|status| u64::from_str_radix(&field(&status, "SigBlk:").unwrap(), 16).unwrap())
        .collect();
    // A thread that another test has just started may not have come to it.
    assert!(
        blocked.iter().any(|set| set & PIPE_AND_TERM == PIPE_AND_TERM && set & FAULTS == 0),
        "{blocked:x?}"
    );
}

#[test]
fn a_taken_name_and_an_unlisted_app_are_refused_in_words() {
    let config = Config::from_toml("[apps.live]\ntakeover = \"reject\"\n").unwrap();
    let engine = Engine::builder().config(config).start().unwrap();
    let _first = engine.publish(&key("live/a")).unwrap();
    let taken = engine.publish(&key("live/a")).err().unwrap();
    assert_eq!(taken.kind(), ErrorKind::Exists);
    assert!(taken.to_string().contains("live/a"), "{taken}");
    let unlisted = engine.publish(&key("other/a")).err().unwrap();
    assert_eq!(unlisted.kind(), ErrorKind::NotFound);
    assert!(unlisted.to_string().contains("other"), "{unlisted}");
}

#[test]
fn an_address_in_use_is_an_error_that_names_it_and_leaves_nothing_running() {
    let first = serving();
    let address = first.listeners()[0].address;
    let error = Engine::builder().listen_rtmp(any_port()).listen_rtmp(address).start().err().unwrap();
    assert_eq!(error.kind(), ErrorKind::AddressInUse);
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

#[test]
fn a_closed_listener_frees_its_port() {
    let engine = serving();
    let listener = engine.listeners().pop().unwrap();
    engine.close_listener(listener.id).unwrap();
    assert!(engine.listeners().is_empty());
    let deadline = Instant::now() + WAIT;
    while let Err(error) = engine.listen_rtmp(listener.address) {
        assert!(Instant::now() < deadline, "{error}");
        std::thread::yield_now();
    }
}

#[test]
fn after_draining_everything_is_closed_and_says_so() {
    let engine = serving();
    let publisher = engine.publish(&key("live/a")).unwrap();
    let mut subscriber = engine.subscribe(&key("live/a")).unwrap();
    engine.blocking_drain().unwrap();
    assert_eq!(publisher.push(keyframe(0, 10)).unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(subscriber.blocking_next(WAIT).unwrap(), None);
    assert_eq!(subscriber.end(), Some(&EndReason::Shutdown));
    assert_eq!(engine.publish(&key("live/a")).err().unwrap().kind(), ErrorKind::Closed);
    assert_eq!(engine.listen_rtmp(any_port()).err().unwrap().kind(), ErrorKind::Closed);
    assert!(engine.streams().is_empty());
}

#[test]
fn handles_outlive_their_engine() {
    let engine = serving();
    let publisher = engine.publish(&key("live/a")).unwrap();
    let mut subscriber = engine.subscribe(&key("live/a")).unwrap();
    drop(engine);
    assert_eq!(publisher.push(keyframe(0, 10)).unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(subscriber.try_next().unwrap(), None);
}

#[test]
fn engines_in_one_process_share_nothing() {
    let engines = [serving(), serving()];
    let publisher = engines[0].publish(&key("live/a")).unwrap();
    publisher.push(keyframe(0, 10)).unwrap();
    assert_eq!(engines[0].streams()[0].state, StreamState::Live);
    assert!(engines[1].streams().is_empty());
    assert_eq!(engines[0].stats().streams_live, 1);
    assert_eq!(engines[1].stats().streams_live, 0);
}
