//! `/stat` and `/control` beside nginx-rtmp's: the same encoder and player, the same elements; and what reads them.

use quick_xml::Reader;
use quick_xml::events::Event;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::SocketAddr;
use streamengine_tests::http::HttpPeer;
use streamengine_tests::nginx::Nginx;
use streamengine_tests::peers::{Ffmpeg, FilePlayer};
use streamengine_tests::{Engine, PATIENCE, Proc, demo_clip, free_address, needs, poll};

/// Elements that only builds of nginx have which know their compiler; Debian's does not.
const NOT_EVERYWHERE: &[&str] = &["compiler"];

/// An element with what is in it.
#[derive(Debug, Default, Clone)]
struct Element {
    name: String,
    text: String,
    children: Vec<Element>,
}

impl Element {
    /// The root of a document.
    fn read(xml: &str) -> Self {
        let mut reader = Reader::from_str(xml);
        let mut open = vec![Self::default()];
        let named = |name: &str| Self { name: name.to_owned(), ..Self::default() };
        loop {
            match reader.read_event().unwrap_or_else(|error| panic!("{error}: {xml}")) {
                Event::Start(start) => open.push(named(start.name().into_inner())),
                Event::Empty(start) => {
                    open.last_mut().expect("open").children.push(named(start.name().into_inner()))
                }
                Event::Text(text) => {
                    open.last_mut().expect("open").text.push_str(text.trim());
                }
                Event::End(_) => {
                    let done = open.pop().expect("open");
                    open.last_mut().expect("a root").children.push(done);
                }
                Event::Eof => return open.pop().expect("document").children.pop().expect("root"),
                _ => {}
            }
        }
    }

    /// The children of this name.
    fn all(&self, name: &str) -> impl Iterator<Item = &Self> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// The only child at a path.
    fn at(&self, path: &str) -> &Self {
        path.split('/').fold(self, |element, name| {
            element.all(name).next().unwrap_or_else(|| panic!("no {name} of {path} in {element:#?}"))
        })
    }

    fn number(&self, path: &str) -> f64 {
        let text = &self.at(path).text;
        text.parse().unwrap_or_else(|_| panic!("{path} is {text:?}"))
    }

    /// The tree, names only.
    fn tree(&self) -> String {
        let mut tree = String::new();
        self.draw(0, &mut tree);
        tree
    }

    fn draw(&self, depth: usize, tree: &mut String) {
        if NOT_EVERYWHERE.contains(&self.name.as_str()) {
            return;
        }
        writeln!(tree, "{:depth$}{}", "", self.name).expect("a text");
        self.children.iter().for_each(|child| child.draw(depth + 1, tree));
    }
}

fn fetch(http: SocketAddr, target: &str) -> (u16, String) {
    let mut peer = HttpPeer::dial(http).expect("connection");
    peer.ask(format!("GET {target} HTTP/1.1\r\nHost: {http}\r\n\r\n")).expect("reply")
}

fn stat(http: SocketAddr) -> Element {
    let (status, text) = fetch(http, "/stat");
    assert_eq!(status, 200, "{text}");
    Element::read(&text)
}

/// The first application's only stream, when it has one.
fn stream(stat: &Element) -> Option<&Element> {
    stat.at("server/application/live").all("stream").next()
}

/// An encoder and a player at a server, until it tells of both.
struct Scene {
    _publisher: Proc,
    _player: FilePlayer,
    told: Element,
}

impl Scene {
    fn play(url: &str, http: SocketAddr) -> Self {
        let publisher = Ffmpeg::System.publish_forever(&demo_clip(), url);
        let publishes = |stat: &Element| {
            stream(stat).is_some_and(|stream| {
                stream.number("bytes_in") > 0.0 && stream.number("meta/video/width") > 0.0
            })
        };
        poll(PATIENCE, || publishes(&stat(http)).then_some(())).expect("it is published");
        let player = Ffmpeg::System.play(url);
        // nginx-rtmp tells no rate before ten seconds are over.
        let told = poll(PATIENCE, || {
            let told = stat(http);
            let stream = stream(&told)?;
            let is_playing = stream.all("client").count() == 2 && stream.number("bytes_out") > 0.0;
            (is_playing && stream.number("bw_video") > 0.0).then(|| told.clone())
        });
        Self { _publisher: publisher, _player: player, told: told.expect("both are told of") }
    }
}

fn nginx(http: SocketAddr) -> Nginx {
    let rtmp = free_address();
    let config = format!(
        "load_module modules/ngx_rtmp_module.so;\nevents {{ worker_connections 256; }}\n\
         rtmp {{ server {{ listen {rtmp}; chunk_size 4096; application live {{ live on; }} }} }}\n\
         http {{ access_log off; server {{ listen {http}; location /stat {{ rtmp_stat all; }} location /control {{ rtmp_control all; }} }} }}\n"
    );
    Nginx::run(rtmp, &config)
}

fn ours() -> Engine {
    Engine::serve().http().config("[http]\ncontrol_allow = [\"127.0.0.0/8\"]\n[apps.live]\n").start()
}

#[test]
fn the_elements_of_stat_are_those_of_nginx_rtmp_for_the_same_scene() {
    needs!("ffmpeg", "nginx-rtmp");
    let (engine, at) = (ours(), free_address());
    let nginx = nginx(at);
    assert_eq!(stat(engine.http()).tree(), stat(at).tree(), "nothing is published");
    let own = Scene::play(&engine.url("live/scene"), engine.http());
    let theirs = Scene::play(&nginx.url("scene"), at);
    assert_eq!(own.told.tree(), theirs.told.tree());
    // And what does not depend on time is the same.
    let (own, theirs) = (stream(&own.told).expect("stream"), stream(&theirs.told).expect("stream"));
    for path in [
        "name",
        "nclients",
        "meta/video/width",
        "meta/video/height",
        "meta/video/codec",
        "meta/video/profile",
        "meta/video/compat",
        "meta/video/level",
        "meta/audio/codec",
        "meta/audio/profile",
        "meta/audio/channels",
        "meta/audio/sample_rate",
    ] {
        assert_eq!(own.at(path).text, theirs.at(path).text, "{path}");
    }
}

/// What nginx-rtmp-monitoring takes out of it: `server.js` and `model.js`, all paths by the first of each element.
fn as_monitoring_reads(stat: &Element) -> Vec<(String, f64)> {
    let counters = ["bw_in", "bw_out", "bytes_in", "bytes_out", "uptime", "naccepted"];
    assert!(counters.iter().all(|path| stat.number(path) >= 0.0));
    let live = stat.at("server/application/live");
    assert!(live.number("nclients") >= live.all("stream").count() as f64);
    let streams = live.all("stream").map(|stream| {
        for path in
            ["bw_in", "bytes_in", "bw_out", "time", "nclients", "meta/video/width", "meta/video/height"]
        {
            // 0 is shown as "NaN undefined".
            assert!(stream.number(path) > 0.0 || path == "bw_out", "{path}");
        }
        (stream.at("name").text.clone(), stream.number("bw_in"))
    });
    streams.collect()
}

/// What NOALBS takes out of it: `stream_servers/nginx.rs`. The bitrate of video in kbit/s, and what it tells of the source.
fn as_noalbs_reads(stat: &Element, application: &str, key: &str) -> Option<(u32, String)> {
    let applications: Vec<_> = stat.at("server").all("application").collect();
    // It knows none without `live`.
    assert!(applications.iter().all(|app| app.all("live").count() == 1));
    let app = applications.into_iter().find(|app| app.at("name").text == application)?;
    let stream = app.at("live").all("stream").find(|stream| stream.at("name").text == key)?;
    let bitrate = stream.at("bw_video").text.parse::<u32>().expect("a number of 32 bits") / 1024;
    let (video, audio) = (stream.at("meta/video"), stream.at("meta/audio"));
    let whole = |element: &Element, path: &str| element.at(path).text.parse::<u32>().expect("a whole number");
    let text = format!(
        "{}p{} {} {} {} | {} {} {}Hz, {} channels",
        whole(video, "height"),
        video.number("frame_rate"),
        video.at("codec").text,
        video.at("profile").text,
        video.number("level"),
        audio.at("codec").text,
        audio.at("profile").text,
        whole(audio, "sample_rate"),
        whole(audio, "channels"),
    );
    whole(video, "compat");
    Some((bitrate, text))
}

/// What nginx-rtmp-exporter takes out of it (`xml.rs` of its first releases, which read this module's form): series for Prometheus.
fn as_an_exporter_reads(stat: &Element) -> BTreeSet<String> {
    for path in ["nginx_version", "nginx_rtmp_version"] {
        assert!(!stat.at(path).text.is_empty(), "{path}");
    }
    let mut series = BTreeSet::new();
    for path in ["pid", "uptime", "naccepted", "bw_in", "bytes_in", "bw_out", "bytes_out"] {
        stat.at(path).text.parse::<u64>().expect(path);
        series.insert(path.to_owned());
    }
    for app in stat.at("server").all("application") {
        for stream in app.at("live").all("stream") {
            let name = format!("{}/{}", app.at("name").text, stream.at("name").text);
            for path in ["time", "bw_in", "bytes_in", "bw_out", "bytes_out", "bw_audio", "bw_video"] {
                stream.at(path).text.parse::<u64>().expect(path);
                series.insert(format!("{name} {path}"));
            }
            for client in stream.all("client") {
                for path in ["id", "time", "dropped", "timestamp"] {
                    client.at(path).text.parse::<u64>().expect(path);
                }
                client.at("avsync").text.parse::<i64>().expect("avsync");
                client.at("address").text.parse::<std::net::IpAddr>().expect("address");
                let kind = if client.all("publishing").count() == 1 { "publisher" } else { "player" };
                series.insert(format!("{name} {kind}"));
            }
        }
    }
    series
}

#[test]
fn what_reads_nginx_rtmp_reads_ours_in_the_same_way() {
    needs!("ffmpeg", "nginx-rtmp");
    let (engine, at) = (ours(), free_address());
    let nginx = nginx(at);
    let own = Scene::play(&engine.url("live/scene"), engine.http()).told;
    let theirs = Scene::play(&nginx.url("scene"), at).told;
    let names =
        |stat: &Element| as_monitoring_reads(stat).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(names(&own), names(&theirs));
    let read = |stat: &Element| as_noalbs_reads(stat, "live", "scene").expect("the stream");
    let ((rate, text), (nginx_rate, nginx_text)) = (read(&own), read(&theirs));
    let plain = |text: &str| text.split_once(' ').map(|(_, rest)| rest.to_owned());
    assert_eq!(plain(&text), plain(&nginx_text));
    assert!(rate > 0 && nginx_rate > 0);
    assert_eq!(as_noalbs_reads(&own, "live", "other"), None);
    assert_eq!(as_an_exporter_reads(&own), as_an_exporter_reads(&theirs));
    assert_eq!(fetch(engine.http(), "/stat.xml").0, 200, "where nginx-rtmp-monitoring looks by default");
}

#[test]
fn control_drops_and_moves_what_nginx_rtmp_would() {
    needs!("ffmpeg");
    let engine = ours();
    let (_first, _second) = (
        Ffmpeg::System.publish_forever(&demo_clip(), &engine.url("live/one")),
        Ffmpeg::System.publish_forever(&demo_clip(), &engine.url("live/two")),
    );
    for name in ["live/one", "live/two"] {
        engine.wait_publish(name);
    }
    let _player = Ffmpeg::System.play(&engine.url("live/one"));
    engine.wait_players("live/one", 1);
    let control = |target: &str| fetch(engine.http(), &format!("/control/{target}"));
    assert_eq!(control("drop/subscriber?app=live&name=two"), (200, "0".to_owned()));
    assert_eq!(control("redirect/subscriber?app=live&name=one&newname=two"), (200, "1".to_owned()));
    engine.wait_players("live/two", 1);
    let plays_two = |event: &serde_json::Value| event["stream"] == "live/two";
    assert!(engine.events_of("play-started").iter().any(plays_two), "{:?}", engine.events_of("play-started"));
    assert_eq!(control("drop/subscriber?app=live&name=two"), (200, "1".to_owned()));
    assert_eq!(control("drop/publisher?app=live&name=one"), (200, "1".to_owned()));
    engine.wait_unpublish("live/one");
    let (status, words) = control("record/start?app=live&name=two");
    assert!(status == 500 && words.contains("record.when"), "an app that records nothing: {status} {words}");
}

#[test]
fn prometheus_and_people_get_it_too() {
    needs!("ffmpeg");
    let engine = ours();
    let _publisher = Ffmpeg::System.publish_forever(&demo_clip(), &engine.url("live/one"));
    let live = "streamengine_stream_live{stream=\"live/one\"} 1.0\n";
    let told = poll(PATIENCE, || Some(fetch(engine.http(), "/metrics").1).filter(|text| text.contains(live)));
    let text = told.expect("the stream is told of");
    assert!(
        text.ends_with("# EOF\n") && text.contains("# TYPE streamengine_connection_bytes counter"),
        "{text}"
    );
    let (_, xml) = fetch(engine.http(), "/stat");
    let style = xml.split_once("href=\"").and_then(|(_, rest)| rest.split('"').next()).expect("a style");
    let (status, css) = fetch(engine.http(), style);
    assert!(status == 200 && css.contains("application"), "{css}");
    let (_, json) = fetch(engine.http(), "/stat?format=json");
    let told: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(told["http-flv"]["servers"][0]["applications"][0]["name"], "live");
}
