//! Streams of origins, by real engines: one that has them, one that fetches them, and players by all doors.
#![cfg(feature = "http")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use streamengine::media::elementary::FlvStream;
use streamengine::media::{Frame, FrameKind};
use streamengine::proto::client::{ClientEvent, ClientOptions, ClientRole, ClientSession};
use streamengine::testing::wait::at_most;
use streamengine::testing::{audio, audio_header, inter, key, keyframe, video_header, wait};
use streamengine::{
    Action, AuthRequest, Config, Engine, Event, FileConfig, Grant, Limits, OriginConfig, Protocol,
    PullConfig, RemoteUrl, Ticket,
};

const PATIENCE: Duration = Duration::from_secs(60);
const NAME: &str = "origin/a/myapp/test";
/// Within this an answer comes for which no origin is asked: one that does not answer is waited for longer.
const UNASKED: Duration = Duration::from_millis(1_500);
const TARGET: &str = "/live?src=a&app=myapp&stream=test&port=1935";

fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

fn engine(text: &str) -> Engine {
    let text = format!("{text}\n[default_app]\nwait_for_publisher_ms = 0\n[publish]\nopen = true\n");
    let config = Config::from_toml(&text).unwrap();
    Engine::builder().config(config).listen_rtmp(any_port()).listen_http(any_port()).start().unwrap()
}

fn address(engine: &Engine, protocol: Protocol) -> SocketAddr {
    engine.listeners().iter().find(|listener| listener.protocol == protocol).unwrap().address
}

fn url(engine: &Engine, protocol: Protocol) -> String {
    format!("{protocol}://{}", address(engine, protocol))
}

fn origin(urls: &[String]) -> OriginConfig {
    OriginConfig::new(urls.iter().map(|url| url.parse().unwrap()).collect()).wait_ms(2_000)
}

/// An engine that fetches from these.
fn proxy(urls: &[String]) -> Engine {
    let proxy = engine("");
    proxy.set_origin("a", origin(urls)).unwrap();
    proxy
}

/// Publishes `myapp/test` until it is dropped: a keyframe each 200 ms.
struct Publishing {
    is_over: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Publishing {
    fn start(engine: &Engine) -> Self {
        let publisher = engine.publish(&key("myapp/test")).unwrap();
        let is_over = Arc::<AtomicBool>::default();
        let over = is_over.clone();
        let thread = std::thread::spawn(move || {
            let push = |frame| publisher.push(frame).is_ok();
            let mut goes_on = push(video_header(0)) && push(audio_header(0));
            for number in 0.. {
                let at = number * 20;
                let picture = if number % 10 == 0 { keyframe(at, 300) } else { inter(at, 100) };
                goes_on = goes_on && push(picture) && push(audio(at + 5));
                if !goes_on || over.load(Ordering::Relaxed) {
                    return;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        Self { is_over, thread: Some(thread) }
    }
}

impl Drop for Publishing {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n")
}

fn upgrade(target: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

fn ask(engine: &Engine, request: &str) -> TcpStream {
    let mut socket = TcpStream::connect(address(engine, Protocol::Http)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.write_all(request.as_bytes()).unwrap();
    socket
}

/// Reads up to these bytes; all of it.
fn read_through(socket: &mut TcpStream, end: &[u8]) -> Vec<u8> {
    let (mut got, mut byte) = (Vec::new(), [0]);
    while !got.ends_with(end) {
        let count = socket.read(&mut byte).unwrap();
        assert!(count > 0, "closed after {}", String::from_utf8_lossy(&got));
        got.push(byte[0]);
    }
    got
}

/// Status and text of a reply in words, and how long it took.
fn refusal(engine: &Engine, target: &str) -> (u16, String, Duration) {
    let start = Instant::now();
    let mut socket = ask(engine, &get(target));
    let head = String::from_utf8(read_through(&mut socket, b"\r\n\r\n")).unwrap();
    let text = String::from_utf8(read_through(&mut socket, b"\n")).unwrap();
    (head[9..12].parse().unwrap(), text, start.elapsed())
}

/// A player by HTTP that has its first frame.
fn play(engine: &Engine, target: &str) -> (TcpStream, FlvStream) {
    let mut socket = ask(engine, &get(target));
    let head = String::from_utf8(read_through(&mut socket, b"\r\n\r\n")).unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let mut player = (socket, FlvStream::new(1 << 24));
    next_frames(&mut player);
    player
}

/// What the next chunk holds.
fn next_frames((socket, flv): &mut (TcpStream, FlvStream)) -> Vec<Frame> {
    let mut frames = Vec::new();
    while frames.is_empty() {
        let size = String::from_utf8(read_through(socket, b"\r\n")).unwrap();
        let mut chunk = vec![0; usize::from_str_radix(size.trim(), 16).unwrap() + 2];
        assert!(chunk.len() > 2, "the stream has ended");
        socket.read_exact(&mut chunk).unwrap();
        let mut bytes = &chunk[..chunk.len() - 2];
        while let Some(frame) = flv.read(&mut bytes).unwrap() {
            frames.push(frame);
        }
    }
    frames
}

/// A connection by RTMP that publishes or plays: the first media, or the code of the refusal.
fn by_rtmp(engine: &Engine, app: &str, stream: &str, role: ClientRole) -> Result<TcpStream, String> {
    let server = address(engine, Protocol::Rtmp);
    let options = ClientOptions {
        app: app.to_owned(),
        tc_url: format!("rtmp://{server}/{app}"),
        stream: stream.to_owned(),
        role,
        hops: Vec::new(),
    };
    let mut session = ClientSession::new(options, &Limits::default());
    let mut socket = TcpStream::connect(server).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut buffer = [0; 65_536];
    loop {
        let output = session.output().split();
        socket.write_all(&output).unwrap();
        match session.poll().unwrap() {
            Some(ClientEvent::Media { .. } | ClientEvent::Publishing { .. }) => return Ok(socket),
            Some(ClientEvent::Rejected { code, description }) => {
                return Err(format!("{code}: {description}"));
            }
            Some(_) => {}
            None if session.output().is_empty() => {
                let read = socket.read(&mut buffer).unwrap();
                assert!(read > 0, "closed");
                session.input().extend_from_slice(&buffer[..read]);
            }
            None => {}
        }
    }
}

#[test]
fn d1_a_hundred_players_by_all_doors_are_one_connection_to_the_origin_whatever_it_speaks() {
    for protocol in [Protocol::Rtmp, Protocol::Http] {
        let source = engine("");
        let _publishing = Publishing::start(&source);
        // They come all at once, from one address.
        let proxy = engine("[limits]\nmax_pending_per_address = 200\n");
        proxy.set_origin("a", origin(&[url(&source, protocol)])).unwrap();
        let requests: Vec<_> = (0..99)
            .map(|number| match number % 4 {
                0 => get(TARGET),
                1 => get("/origin/a/myapp/test.flv"),
                2 => get("/origin/a/myapp/test.live.flv"),
                _ => upgrade(TARGET),
            })
            .collect();
        std::thread::scope(|scope| {
            let rtmp = scope.spawn(|| by_rtmp(&proxy, "origin/a/myapp", "test", ClientRole::Play).unwrap());
            let mut players: Vec<_> = requests.iter().map(|request| ask(&proxy, request)).collect();
            for (player, request) in players.iter_mut().zip(&requests) {
                let head = String::from_utf8(read_through(player, b"\r\n\r\n")).unwrap();
                let expected = if request.contains("Upgrade") { "HTTP/1.1 101" } else { "HTTP/1.1 200" };
                assert!(head.starts_with(expected), "{head}");
                read_through(player, b"FLV\x01\x05\0\0\0\x09\0\0\0\0");
            }
            let _rtmp = rtmp.join().unwrap();
            assert_eq!(proxy.stats().players, 100);
            assert_eq!(source.sessions().len(), 1, "{protocol}");
            assert_eq!(source.stats().connections_accepted, 1, "{protocol}");
            let status = proxy.origin("a").unwrap();
            assert_eq!((status.streams.len(), status.streams[0].is_live), (1, true), "{status:?}");
        });
    }
}

#[test]
fn d1_players_that_wait_for_an_origin_are_not_counted_as_strangers() {
    let proxy = engine("[limits]\nmax_pending_per_address = 5\n");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    proxy.set_origin("a", origin(&[format!("rtmp://{}", listener.local_addr().unwrap())])).unwrap();
    std::thread::scope(|scope| {
        let players: Vec<_> = (0..20)
            .map(|number| {
                let player =
                    scope.spawn(|| by_rtmp(&proxy, "origin/a/myapp", "test", ClientRole::Play).err());
                wait::until("it waits", || proxy.sessions().len() == number + 1);
                player
            })
            .collect();
        for player in players {
            let code = player.join().unwrap().unwrap();
            assert!(
                code.starts_with("NetStream.Play.Failed") && code.contains("cannot be reached"),
                "{code}"
            );
        }
    });
}

#[test]
fn d1_answers_are_404_where_the_origin_has_it_not_and_502_in_time_where_it_is_away() {
    let source = engine("");
    let away = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let black_hole = TcpListener::bind("127.0.0.1:0").unwrap();
    for (urls, status, words, time) in [
        (vec![url(&source, Protocol::Http)], 404, "nobody publishes", 0..=500),
        (vec![url(&source, Protocol::Rtmp)], 404, "nobody publishes", 0..=500),
        (vec![format!("http://{away}")], 502, "cannot be reached", 1_900..=2_100),
        (vec![format!("rtmp://{away}")], 502, "cannot be reached", 1_900..=2_100),
        (vec!["http://no-such-name.invalid".to_owned()], 502, "cannot be reached", 1_900..=2_100),
        (
            vec![format!("http://{}", black_hole.local_addr().unwrap())],
            502,
            "cannot be reached",
            1_900..=2_100,
        ),
        (
            vec![url(&source, Protocol::Http), format!("rtmp://{away}")],
            502,
            "cannot be reached",
            1_900..=2_100,
        ),
    ] {
        let proxy = proxy(&urls);
        let unknown = refusal(&proxy, "/live?src=nobody&app=myapp&stream=test");
        assert_eq!((unknown.0, unknown.1.contains("nobody publishes")), (404, true), "{unknown:?}");
        let (got, text, took) = refusal(&proxy, TARGET);
        assert_eq!(got, status, "{urls:?}: {text}");
        let [least, most] = [time.start(), time.end()].map(|&ms| Duration::from_millis(ms));
        assert!(text.contains(words) && (least..=at_most(most)).contains(&took), "{urls:?}: {text} {took:?}");
        let (again, same, took) = refusal(&proxy, TARGET);
        assert!(
            again == got && same == text && took < at_most(Duration::from_millis(500)).min(UNASKED),
            "kept: {took:?}"
        );
        assert!(!text.contains("127.0.0.1") && !text.contains("invalid"), "{text}");
        if status == 404 {
            assert_eq!(text, unknown.1, "an alias that there is not looks alike");
            let code = by_rtmp(&proxy, "origin/a/myapp", "test", ClientRole::Play).unwrap_err();
            assert!(code.starts_with("NetStream.Play.StreamNotFound"), "{code}");
        }
        let mut socket = ask(&proxy, &get(TARGET).replace("GET", "HEAD"));
        let head = String::from_utf8(read_through(&mut socket, b"\r\n\r\n")).unwrap();
        assert_eq!(&head[9..12], status.to_string(), "HEAD tells the same");
    }
}

#[test]
fn d1_more_streams_than_may_be_fetched_are_answered_with_503() {
    let source = engine("");
    let _publishing = Publishing::start(&source);
    let proxy = engine("[limits]\norigin_pulls = 2\n");
    let black_hole = TcpListener::bind("127.0.0.1:0").unwrap();
    proxy.set_origin("hole", origin(&[format!("rtmp://{}", black_hole.local_addr().unwrap())])).unwrap();
    let asked: Vec<_> =
        (0..2).map(|number| ask(&proxy, &get(&format!("/origin/hole/myapp/{number}.flv")))).collect();
    wait::until("both are asked for", || proxy.origin("hole").unwrap().streams.len() == 2);
    let (status, text, _) = refusal(&proxy, "/origin/hole/myapp/more.flv");
    assert_eq!((status, text.contains("at a time")), (503, true), "{text}");
    drop(asked);
    wait::until("they are given up", || proxy.origin("hole").unwrap().streams.is_empty());
    proxy.set_origin("a", origin(&[url(&source, Protocol::Http)]).max_streams(1)).unwrap();
    let _player = play(&proxy, TARGET);
    let (status, text, _) = refusal(&proxy, "/origin/a/myapp/more.flv");
    assert_eq!((status, text.contains("max_streams")), (503, true), "{text}");
}

#[test]
fn f39_no_url_that_a_stranger_sends_is_dialled() {
    let canary = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, hits) = (canary.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
    let seen = hits.clone();
    std::thread::spawn(move || {
        for _ in canary.incoming() {
            seen.fetch_add(1, Ordering::Relaxed);
        }
    });
    let proxy = engine("");
    let limits = |name: &str| origin(&[format!("rtmp://127.0.0.1:{port}")]).apps(vec![name.to_owned()]);
    proxy.set_origin("closed", limits("other")).unwrap();
    let unknown = refusal(&proxy, "/live?src=nobody&app=myapp&stream=test");
    let hosts = [
        "127.0.0.1",
        "localhost",
        "127.1",
        "2130706433",
        "0x7f000001",
        "017700000001",
        "0",
        "0.0.0.0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::]",
        "127.0.0.1.nip.io",
        "user@127.0.0.1",
        "a@127.0.0.1",
        "169.254.169.254",
        "[fd00:ec2::254]",
        "10.0.0.1",
        "100.64.0.1",
        "224.0.0.1",
    ];
    let of_host = hosts.iter().map(|host| format!("rtmp://{host}:{port}"));
    let others = [
        format!("http://127.0.0.1:{port}/live.flv"),
        format!("https://127.0.0.1:{port}/"),
        format!("//127.0.0.1:{port}/x"),
        format!("127.0.0.1:{port}"),
        format!("a%00rtmp://127.0.0.1:{port}"),
        format!("a%0d%0aHost:%20127.0.0.1:{port}"),
        format!("a/../../127.0.0.1:{port}"),
        format!("gopher://127.0.0.1:{port}/_x"),
        format!("file:///etc/passwd?{port}"),
        "closed".to_owned(),
        "A".to_owned(),
        String::new(),
        "a".repeat(33),
    ];
    let sources: Vec<_> = of_host.chain(others).collect();
    assert!(sources.len() > 30);
    for source in sources {
        for target in [
            format!("/live?src={}&app=myapp&stream=test", source.replace(['/', '@'], "%2F")),
            format!("/live?src={source}&app=myapp&stream=test"),
        ] {
            let (status, text, took) = refusal(&proxy, &target);
            assert_eq!((status, &text), (404, &unknown.1), "{target}");
            let difference = took.abs_diff(unknown.2);
            assert!(
                difference < at_most(Duration::from_millis(250)).min(UNASKED),
                "{target}: {took:?} and {:?}",
                unknown.2
            );
        }
    }
    // Nor what goes as the name of an app or a stream.
    for target in [
        format!("/origin/closed/127.0.0.1:{port}/x.flv"),
        format!("/live?src=closed&app=http://127.0.0.1:{port}&stream=x"),
        format!("/live?src=closed&app=other&stream=x@127.0.0.1:{port}/"),
        format!("/live?app=http://127.0.0.1:{port}/&stream=x"),
    ] {
        let (status, text, _) = refusal(&proxy, &target);
        assert!(status == 400 || status == 404, "{target}: {status} {text}");
    }
    assert_eq!(hits.load(Ordering::Relaxed), 0);
}

#[test]
fn nobody_publishes_a_stream_of_an_origin_by_any_door() {
    let proxy = engine("");
    let code = by_rtmp(&proxy, "origin/a/myapp", "test", ClientRole::Publish).err().unwrap();
    assert!(code.starts_with("NetStream.Publish.BadName") && code.contains("origin/"), "{code}");
    for name in [NAME, "origin/x"] {
        let stream = key(name);
        let remote: RemoteUrl = "rtmp://h/a/b".parse().unwrap();
        let errors = [
            proxy.publish(&stream).err(),
            proxy.add_pull(PullConfig::new(remote, stream.clone())).err(),
            proxy.loop_file(FileConfig::new(stream, vec!["x.flv".into()])).err(),
        ];
        for error in errors {
            assert!(error.unwrap().to_string().contains("origin/"), "{name}");
        }
    }
    for job in ["[[pull]]\nurl = \"rtmp://h/a/b\"", "[[file]]\npaths = \"x.flv\""] {
        let error = Config::from_toml(&format!("{job}\nstream = \"{NAME}\"\n")).unwrap_err().to_string();
        assert!(error.contains("origin/"), "{error}");
    }
    // Others may be called nearly so.
    proxy.publish(&key("origins/x")).unwrap().finish();
}

#[test]
fn every_play_of_an_origins_stream_passes_the_authoriser_and_a_refused_one_fetches_nothing() {
    let source = engine("");
    let _publishing = Publishing::start(&source);
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = asked.clone();
    let decide = move |request: AuthRequest, ticket: Ticket| {
        assert_eq!((request.action, request.stream().as_str()), (Action::Play, NAME));
        counter.fetch_add(1, Ordering::Relaxed);
        match request.name.query_value("token").as_deref() {
            Some("good") => ticket.accept(Grant::default()),
            _ => ticket.reject("not for you"),
        }
    };
    let proxy =
        Engine::builder().authorize(decide).listen_rtmp(any_port()).listen_http(any_port()).start().unwrap();
    proxy.set_origin("a", origin(&[url(&source, Protocol::Http)])).unwrap();
    assert_eq!(refusal(&proxy, TARGET).0, 403);
    assert!(by_rtmp(&proxy, "origin/a/myapp", "test", ClientRole::Play).is_err());
    assert_eq!(source.stats().connections_accepted, 0);
    let _player = play(&proxy, &format!("{TARGET}&token=good"));
    let _other = by_rtmp(&proxy, "origin/a/myapp", "test?token=good", ClientRole::Play).unwrap();
    assert_eq!(asked.load(Ordering::Relaxed), 4);
}

#[test]
fn d1_an_origin_that_goes_is_replaced_by_the_next_and_comes_back_and_no_player_is_cut() {
    let (first, second) = (engine(""), engine(""));
    let (_one, _two) = (Publishing::start(&first), Publishing::start(&second));
    let urls = [url(&first, Protocol::Http), url(&second, Protocol::Rtmp)];
    let proxy = engine("");
    proxy.set_origin("a", origin(&urls).failback_ms(300)).unwrap();
    let mut players: Vec<_> = (0..20).map(|_| play(&proxy, TARGET)).collect();
    let listener =
        first.listeners().into_iter().find(|listener| listener.protocol == Protocol::Http).unwrap();
    first.close_listener(listener.id).unwrap();
    for session in first.sessions() {
        first.kick(session.id, "gone").unwrap();
    }
    wait::until("the second has it", || second.stats().players == 1);
    let gone = Instant::now();
    let mut times: Vec<Vec<i64>> = players.iter_mut().map(|player| video_times(player, 40)).collect();
    assert!(gone.elapsed() < at_most(Duration::from_secs(3)), "{:?}", gone.elapsed());

    wait::until("the address is free", || first.listen_http(listener.address).is_ok());
    wait::until("the first has it", || first.stats().players == 1 && second.stats().players == 0);
    for (player, times) in players.iter_mut().zip(&mut times) {
        times.extend(video_times(player, 40));
        let worst = times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
        assert!(times.is_sorted() && worst <= 1_200, "a gap of {worst} ms in {times:?}");
    }
    assert_eq!(proxy.stats().players, 20);
    let status = proxy.origin("a").unwrap();
    assert!(status.streams[0].moves >= 2, "{status:?}");
}

/// The times of the next pictures.
fn video_times(player: &mut (TcpStream, FlvStream), count: usize) -> Vec<i64> {
    let mut times = Vec::new();
    while times.len() < count {
        let video = |frame: &Frame| frame.kind == FrameKind::Video && !frame.is_config();
        times.extend(next_frames(player).iter().filter(|frame| video(frame)).map(|frame| frame.timestamp));
    }
    times
}

#[test]
fn f32_engines_that_are_each_others_origins_answer_and_do_not_go_round_in_circles() {
    let (a, b) = (engine(""), engine(""));
    let longer = |of: &Engine, alias: &str| {
        let path = format!("/origin/{alias}/{{app}}/{{stream}}x.flv");
        origin(&[url(of, Protocol::Http)]).http_path(path.parse().unwrap())
    };
    a.set_origin("b", longer(&b, "a")).unwrap();
    b.set_origin("a", longer(&a, "b")).unwrap();
    let (status, text, took) = refusal(&a, "/origin/b/myapp/test.flv");
    assert!(
        [502, 404].contains(&status) && took < at_most(Duration::from_secs(3)),
        "{status} {text} {took:?}"
    );
    let connections = a.stats().connections_accepted + b.stats().connections_accepted;
    assert!(connections < 100, "{connections} connections");
}

#[test]
fn a_program_that_subscribes_and_configured_aliases_have_streams_fetched_too() {
    let source = engine("");
    let publishing = Publishing::start(&source);
    let text = format!(
        "[apps.other]\n[origins.a]\nurls = [\"{}\"]\nlinger_ms = 0\napps = [\"myapp\"]\n",
        url(&source, Protocol::Http).replace("://", "://user:hunter2@")
    );
    let proxy = engine(&text);
    let mut events = proxy.events();
    let mut subscriber = proxy.subscribe(&key(NAME)).unwrap();
    let from = wait::event(&mut events, |event| match event {
        Event::StreamStarted { source, .. } => Some(source),
        _ => None,
    });
    assert!(from.starts_with("origin a from http://***@127.0.0.1:") && !from.contains("hunter2"), "{from}");
    assert!(subscriber.blocking_next(PATIENCE).unwrap().is_some());
    let shown = format!("{} {:?}", serde_json::to_string(&proxy.origins()).unwrap(), proxy.origins());
    assert!(shown.contains("/myapp/test.flv") && !shown.contains("hunter2"), "{shown}");
    // What has ended at its origin ends here.
    drop(publishing);
    while subscriber.blocking_next(PATIENCE).unwrap().is_some() {}
    wait::until("it is forgotten", || proxy.origin("a").unwrap().streams.is_empty());
    proxy.remove_origin("a").unwrap();
    assert!(proxy.remove_origin("a").is_err() && proxy.origins().is_empty());
    for (alias, words) in [("A", "alias"), ("", "alias"), (&"a".repeat(33), "alias"), ("ok", "urls is empty")]
    {
        let error = proxy.set_origin(alias, OriginConfig::default()).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}
