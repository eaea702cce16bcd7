//! Marked secrets at every door, and a search for them in everything that the engine gives out. A test executable
//! of its own: it collects the log of its whole process.

mod collect;
mod peers;

use collect::Output;
use peers::{Echo, knock};
use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::{Duration, Instant};
use streamengine::proto::client::ClientRole;
use streamengine::testing::{key, keyframe, url, wait};
use streamengine::{
    Action, AuthRequest, Authorize, Claims, Config, Door, Engine, EngineBuilder, EventReceiver, Grant,
    OnRefusal, Protocol, PullConfig, PushConfig, RelayState, StreamKey, StreamName, Ticket,
};

/// Every secret of these tests starts so.
pub(crate) const MARK: &str = "5ecret";
const PUBLISH_KEY: &str = "5ecret-publish-key";

fn start(builder: EngineBuilder) -> (Engine, EventReceiver) {
    let events = builder.events();
    (builder.start().unwrap(), events)
}

/// Waits until the relay of `stream` is where it is wanted.
fn until(engine: &Engine, stream: &StreamKey, wanted: impl Fn(RelayState, Option<&str>) -> bool) {
    let deadline = Instant::now() + wait::PATIENCE;
    loop {
        let relay = engine.relays().into_iter().find(|relay| relay.stream == *stream).unwrap();
        if wanted(relay.state, relay.last_error.as_deref()) {
            return;
        }
        assert!(Instant::now() < deadline, "{relay:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A server with a publish key, and peers that try all ways to give secrets to it.
fn serve(output: &Output) -> (Engine, EventReceiver) {
    let toml =
        format!("[rtmp]\nlisten = [\"127.0.0.1:0\"]\n[publish]\nkey = \"{PUBLISH_KEY}\"\n[apps.live]\n");
    let config = Config::from_toml(&toml).unwrap();
    output.add("configuration", &format!("{config:?}"));
    let (server, events) = start(Engine::builder().config(config));
    let address = server.listeners()[0].address;
    for (role, app, stream) in [
        (ClientRole::Publish, "live", "a?key=5ecret-publish-key"),
        (ClientRole::Publish, "live", "a:5ecret-publish-key"),
        (ClientRole::Publish, "live?key=5ecret-publish-key", "a"),
        (ClientRole::Publish, "live", "a?key=5ecret-wrong"),
        (ClientRole::Publish, "live", "a:5ecret-wrong"),
        (ClientRole::Publish, "live", "a b?key=5ecret-wrong"),
        (ClientRole::Publish, "live", "..:5ecret-wrong"),
        (ClientRole::Publish, "live/none?token=5ecret-app", "a?key=5ecret-wrong"),
        (ClientRole::Publish, "none?token=5ecret-app", "a"),
        (ClientRole::Play, "live?token=5ecret-app", "a?token=5ecret-play"),
        (ClientRole::Play, "live", "a:5ecret-play"),
        (ClientRole::Play, "live", "\\?token=5ecret-play"),
    ] {
        output.add("status", &collect::statuses(&server));
        knock(address, role, app, stream);
    }
    (server, events)
}

/// Takes keys for names: one is the stream `live/known`, others are refused, as the rule would do. Notes what it is asked.
struct Keys(mpsc::Sender<String>);

impl Authorize for Keys {
    fn authorize(&self, request: AuthRequest, ticket: Ticket) {
        self.0.send(format!("{request:?}")).unwrap();
        match request.name.key.stream() {
            "5ecret-known" => ticket.accept(Grant::default().stream(key("live/known"))),
            _ => ticket.reject("nobody knows this key"),
        }
    }

    fn takes_key_for_name(&self) -> bool {
        true
    }
}

/// A server to which keys are sent for names.
fn serve_keys_for_names(output: &Output) {
    let (sender, asked) = mpsc::channel();
    let address = "127.0.0.1:0".parse().unwrap();
    let (server, events) = start(Engine::builder().listen_rtmp(address).authorize(Keys(sender)));
    let address = server.listeners()[0].address;
    for role in [ClientRole::Publish, ClientRole::Play] {
        for name in [
            "5ecret-known",
            "5ecret-unknown",
            "5ecret known",
            "5ecret-known:5ecret",
            "5ecret-known?key=5ecret",
        ] {
            knock(address, role, "live", name);
            output.add("status", &collect::statuses(&server));
        }
    }
    server.blocking_drain().unwrap();
    let asked: Vec<_> = asked.try_iter().collect();
    assert!(asked.len() >= 6 && asked.iter().all(|request| request.contains("live/***")), "{asked:?}");
    output.add("request", &asked.join("\n"));
    output.add_events(events);
}

/// A server that has a service decide, which knows keys for names, and players over HTTP.
#[cfg(feature = "http")]
fn serve_as_a_service_says(output: &Output) {
    use streamengine::testing::service::{HttpService, json, reply, say};
    let service = HttpService::start(|request, socket| {
        let push = r#"{"stream": "live/pushed", "push": ["rtmp://5ecret-user:5ecret@127.0.0.1:1/live/x?key=5ecret"]}"#;
        say(
            socket,
            &match request.field("name").as_deref() {
                Some("5ecret-known") => reply("302 Found", "Location: renamed\r\n", ""),
                Some("5ecret-push") => json(push),
                Some("5ecret-odd") => json(r#"{"push": ["http://5ecret/"], "stream": "5ecret//"}"#),
                Some("5ecret-lost") => reply("302 Found", "Location: http://5ecret/\r\n", ""),
                None => reply("200 OK", "", ""),
                _ => reply("403 No", "", "5ecret"),
            },
        );
    });
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for service in [service.address, closed] {
        let at = format!("http://5ecret-user:5ecret-pass@{service}/on?token=5ecret-query");
        let toml = format!(
            "[hooks]\nsecret = \"5ecret-hmac\"\non_connect = \"{at}\"\non_publish = \"{at}\"\non_play = \"{at}\"\n\
             on_publish_done = \"{at}\"\non_disconnect = \"{at}\"\n[signed_urls]\nsecret = \"5ecret-urls\"\n"
        );
        let config = Config::from_toml(&toml).unwrap();
        output.add("configuration", &format!("{config:?} {}", config.to_json()));
        let address = "127.0.0.1:0".parse().unwrap();
        let (server, events) = start(Engine::builder().config(config).listen_rtmp(address));
        let (rtmp, http) = (server.listeners()[0].address, server.listen_http(address).unwrap().address);
        for role in [ClientRole::Publish, ClientRole::Play] {
            for name in [
                "5ecret-known",
                "5ecret-push",
                "5ecret-odd",
                "5ecret-lost",
                "5ecret-unknown?key=5ecret",
                "a?expires=1&sign=5ecret",
            ] {
                knock(rtmp, role, "live?token=5ecret", name);
                output.add("status", &collect::statuses(&server));
            }
        }
        for target in ["/live/5ecret-unknown.flv?key=5ecret", "/live/a.flv?expires=1&sign=5ecret", "/"] {
            output.add("reply", &peers::get(http, target));
            output.add("status", &collect::statuses(&server));
        }
        server.blocking_drain().unwrap();
        output.add_events(events);
    }
    let asked = service.asked();
    assert!(asked.iter().any(|request| request.body.contains("name=5ecret-known")), "it was asked");
}

/// A server to which keys are sent for names of streams that are watched by HLS.
#[cfg(feature = "http")]
fn serve_hls(output: &Output) {
    let (sender, _asked) = mpsc::channel();
    let (server, events) = start(Engine::builder().authorize(Keys(sender)));
    let http = server.listen_http("127.0.0.1:0".parse().unwrap()).unwrap().address;
    let publisher = server.publish(&key("live/known")).unwrap();
    streamengine::testing::demo_frames().into_iter().for_each(|frame| publisher.push(frame).unwrap());
    for index in [
        "/live/5ecret-known/index.m3u8?key=5ecret",
        "/hls/5ecret-known.m3u8?key=5ecret",
        "/hls/5ecret-known/index.m3u8",
        "/live/5ecret-unknown/index.m3u8?key=5ecret",
        "/live/5ecret-known/keyframe.mp4?key=5ecret",
    ] {
        let reply = peers::get(http, index);
        output.add("reply", &reply);
        let Some(token) = reply.trim_end().rsplit_once("?v=").map(|(_, token)| token.to_owned()) else {
            continue;
        };
        for folder in ["/live/known", "/live/5ecret-known"] {
            let list = peers::get(http, &format!("{folder}/video.m3u8?v={token}&key=5ecret"));
            assert!(list.contains("#EXTINF:"), "{list}");
            output.add("playlist", &list);
        }
        output.add("status", &collect::statuses(&server));
    }
    wait::until("its viewers are in the snapshot", || server.snapshot().engine.players > 0);
    for target in ["/stat?key=5ecret", "/stat?format=json", "/metrics"] {
        let told = peers::get(http, target);
        assert!(told.starts_with("HTTP/1.1 200") && told.contains("known"), "{told}");
        output.add("statistics", &told);
    }
    let refused = peers::get(http, "/control/drop/publisher?name=5ecret");
    assert!(refused.starts_with("HTTP/1.1 403"), "{refused}");
    output.add("reply", &refused);
    output.add("status", &collect::statuses(&server));
    drop(publisher);
    server.blocking_drain().unwrap();
    output.add_events(events);
}

/// A server that asks for passwords, and engines that push to it: with the right one, and with a wrong one.
fn serve_passwords(output: &Output) {
    let toml = format!("[publish]\nkey = \"{PUBLISH_KEY}\"\nauthmod_adobe = true");
    let address = "127.0.0.1:0".parse().unwrap();
    let (server, events) =
        start(Engine::builder().config(Config::from_toml(&toml).unwrap()).listen_rtmp(address));
    let there = server.listeners()[0].address;
    let (engine, engine_events) = start(Engine::builder());
    for (local, user, password) in
        [("live/right", "5ecret-user", PUBLISH_KEY), ("live/wrong", "5ecret-user", "5ecret-pass")]
    {
        let publisher = engine.publish(&key(local)).unwrap();
        publisher.push(keyframe(0, 6)).unwrap();
        let target = url(&format!("rtmp://{user}:{password}@{there}/{local}?token=5ecret-query"));
        engine.add_push(PushConfig::new(key(local), target)).unwrap();
        until(&engine, &key(local), |state, error| state == RelayState::Publishing || error.is_some());
        output.add("status", &collect::statuses(&engine));
        output.add("status", &collect::statuses(&server));
    }
    knock(there, ClientRole::Publish, "live?authmod=adobe&user=5ecret%20user", "a");
    knock(there, ClientRole::Publish, "live?authmod=adobe&user=5ecret&response=5ecret", "a");
    engine.blocking_drain().unwrap();
    server.blocking_drain().unwrap();
    output.add_events(engine_events);
    output.add_events(events);
}

/// An engine that pushes with secrets in its URLs, to servers that quote them in their refusals among others.
fn push(server: &Engine, output: &Output) -> (Engine, EventReceiver) {
    let (engine, events) = start(Engine::builder());
    let there = server.listeners()[0].address;
    let echo = Echo::start();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let refused = |_: RelayState, error: Option<&str>| error.is_some();
    for (local, target) in [
        ("live/wrong", format!("rtmp://{there}/live/w?key=5ecret-wrong&x=1")),
        ("live/name", format!("rtmp://{there}/live/w:5ecret-wrong")),
        ("live/auth", format!("rtmp://5ecret-user:5ecret%20pass@{}/live/x?token=5ecret-query", echo.address)),
        ("live/long", format!("rtmp://{}/live2/5ecret-abcd-efgh-ijkl", echo.address)),
        ("live/tls", format!("rtmps://5ecret-user:5ecret-pass@{}/live/x?token=5ecret-query", echo.address)),
        ("live/closed", format!("rtmp://5ecret-user:5ecret-pass@{closed}/live/x?token=5ecret-query")),
        ("live/dns", "rtmp://5ecret-user:5ecret-pass@none.invalid/live/x?token=5ecret-query".to_owned()),
    ] {
        let publisher = engine.publish(&key(local)).unwrap();
        publisher.push(keyframe(0, 6)).unwrap();
        let mut push = PushConfig::new(key(local), url(&target));
        push.on_refusal = OnRefusal::Fail;
        output.add("push", &format!("{push:?}"));
        engine.add_push(push).unwrap();
        until(&engine, &key(local), refused);
        output.add("status", &collect::statuses(&engine));
    }
    let publisher = engine.publish(&key("live/good")).unwrap();
    publisher.push(keyframe(0, 6)).unwrap();
    let good = url(&format!("rtmp://5ecret-user:5ecret-pass@{there}/live/copy?key={PUBLISH_KEY}"));
    engine.add_push(PushConfig::new(key("live/good"), good)).unwrap();
    until(&engine, &key("live/good"), |state, _| state == RelayState::Publishing);
    pull(server, output, echo.address);
    #[cfg(feature = "http")]
    fetch(server, output);
    output.add("status", &collect::statuses(&engine));
    (engine, events)
}

/// Pulls what is pushed to the server, and what the other one refuses.
fn pull(server: &Engine, output: &Output, refusing: SocketAddr) {
    let (engine, events) = start(Engine::builder());
    let there = server.listeners()[0].address;
    let target =
        |address, name| format!("rtmp://5ecret-user:5ecret%20pass@{address}/live/{name}?token=5ecret-query");
    for (local, from) in [("in/refused", target(refusing, "x")), ("in/copy", target(there, "copy"))] {
        let pull = PullConfig::new(url(&from).into(), key(local));
        output.add("pull", &format!("{pull:?}"));
        engine.add_pull(pull).unwrap();
    }
    until(&engine, &key("in/refused"), |_, error| error.is_some());
    until(&engine, &key("in/copy"), |state, _| state == RelayState::Playing);
    output.add("status", &collect::statuses(&engine));
    output.add("status", &collect::statuses(server));
    engine.blocking_drain().unwrap();
    output.add_events(events);
}

/// Fetches what is pushed to the server as from an origin, and what no server has; and pulls by HTTP.
#[cfg(feature = "http")]
fn fetch(server: &Engine, output: &Output) {
    let (engine, events) = start(Engine::builder());
    let there = server.listeners()[0].address;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let origin = |scheme: &str, address: SocketAddr| {
        let url = format!("{scheme}://5ecret-user:5ecret%20pass@{address}").parse().unwrap();
        let path = "/{app}/{stream}.flv?token=5ecret-query";
        streamengine::OriginConfig::new(vec![url]).http_path(path.parse().unwrap()).wait_ms(200)
    };
    // Our own RTMP server takes the request for no HTTP.
    for (alias, config) in
        [("good", origin("rtmp", there)), ("away", origin("http", closed)), ("odd", origin("http", there))]
    {
        output.add("origin", &format!("{config:?} {}", serde_json::to_string(&config).unwrap()));
        engine.set_origin(alias, config).unwrap();
        let subscriber = engine.subscribe(&key(&format!("origin/{alias}/live/copy"))).unwrap();
        wait::until("it is live, or given up", || {
            output.add("status", &collect::statuses(&engine));
            engine.origin(alias).unwrap().streams.iter().all(|stream| stream.is_live)
        });
        drop(subscriber);
    }
    let url = format!("http://5ecret-user:5ecret%20pass@{closed}/live/x.flv?token=5ecret-query");
    engine.add_pull(PullConfig::new(url.parse().unwrap(), key("in/http"))).unwrap();
    until(&engine, &key("in/http"), |_, error| error.is_some());
    output.add("status", &collect::statuses(&engine));
    engine.blocking_drain().unwrap();
    output.add_events(events);
}

/// Errors and `Debug` texts of values that carry secrets.
fn print_values(output: &Output) {
    for text in [
        "[publish]\nkey = 5ecret",
        "[[push]]\nstream = \"live/a\"\nurl = \"rtmp://5ecret:5ecret@h h/a/b?5ecret\"",
        "[[pull]]\nstream = \"live/a\"\nurl = \"http://5ecret:5ecret@h h/a/b?5ecret\"",
        "[[pull]]\nstream = \"live/a\"\nurl = \"srt://5ecret:5ecret@h/a/b?5ecret\"",
        "[origins.a]\nurls = [\"http://5ecret:5ecret@h/5ecret\"]",
        "[origins.a]\nurls = [\"http://5ecret:5ecret@h\"]\nhttp_path = \"/{app}/{name}?5ecret\"",
    ] {
        output.add("error", &format!("{0} {0:?}", Config::from_toml(text).unwrap_err()));
    }
    let name = StreamName::parse("live?5ecret", "a:5ecret?5ecret").unwrap();
    output.add("name", &format!("{name:?}"));
    let peer = "127.0.0.1:1".parse().unwrap();
    let mut request = AuthRequest::new(Action::Publish, name, peer, Door::Rtmp, Protocol::Rtmp);
    request.claims = Claims::new([("tcUrl", "rtmp://h/live?5ecret"), ("swfUrl", "5ecret")]);
    output.add("request", &format!("{request:?}"));
}

#[test]
fn f40_no_secret_leaves_by_log_event_status_or_error() {
    let output = Output::collect();
    let (server, server_events) = serve(&output);
    serve_keys_for_names(&output);
    #[cfg(feature = "http")]
    serve_as_a_service_says(&output);
    #[cfg(feature = "http")]
    serve_hls(&output);
    serve_passwords(&output);
    let (engine, engine_events) = push(&server, &output);
    print_values(&output);
    tracing::trace!("nobody writes at this level now, but somebody may");
    engine.blocking_drain().unwrap();
    server.blocking_drain().unwrap();
    output.add_events(server_events);
    output.add_events(engine_events);

    let text = output.text();
    // The search has something to search in: what must be there, and at the finest level.
    for expected in [
        " TRACE ",
        "publish",
        "wrong or missing publish key",
        "nobody knows this key",
        "user and password are asked for",
        "wrong user or password",
        "no user, or none",
        "live/known",
        "connection closed: ",
        "interrupted: refused: ",
        "\"event\":\"refused\"",
        "\"event\":\"relay-state\"",
        "\"last_error\":\"",
        "no such key",
        #[cfg(feature = "http")]
        "origin good from rtmp://***@127.0.0.1:",
        #[cfg(feature = "http")]
        "live/renamed",
        #[cfg(feature = "http")]
        "#EXTM3U",
        #[cfg(feature = "http")]
        "refused by the service that decides here",
        #[cfg(feature = "http")]
        "hooks: http://***@127.0.0.1:",
        "***",
    ] {
        assert!(text.contains(expected), "{expected:?} is not in the output");
    }
    let leaks: Vec<_> = text.lines().filter(|line| line.contains(MARK)).collect();
    assert!(
        leaks.is_empty(),
        "{} lines with secrets, such as {:#?}",
        leaks.len(),
        &leaks[..leaks.len().min(5)]
    );
}
