//! nginx-rtmp's statistics: the elements, their order and what is in them.

use super::*;
use crate::service::http::tests::{core, publish};
use crate::statistics::Facts;
use crate::status::EngineStats;
use crate::testing::{key, session};
use quick_xml::Reader;
use std::sync::Arc;
use std::time::Duration;

/// The snapshot of an engine with a stream that has a publisher and a player, who say this of themselves.
fn snapshot(name: &str, agent: &str) -> (Arc<crate::service::Core>, Arc<Snapshot>) {
    let core = core(|_| ());
    let published = publish(&core, name);
    let clients = [SessionRole::Publisher, SessionRole::Player].map(|role| {
        let mut client = session(role, &key(name), Duration::ZERO);
        (client.agent, client.page, client.swf) =
            (Some(agent.to_owned()), Some(agent.to_owned()), Some(agent.to_owned()));
        client
    });
    let facts = Facts {
        engine: EngineStats { uptime: Duration::from_secs(5), ..EngineStats::default() },
        streams: core.hub.streams(),
        sessions: clients.to_vec(),
        ..Facts::default()
    };
    core.statistics.note(facts);
    let snapshot = core.statistics.snapshot();
    drop(published);
    (core, snapshot)
}

/// The elements as `rtmp/server/...`, and their texts.
fn elements(xml: &[u8]) -> Vec<(String, String)> {
    let mut reader = Reader::from_str(std::str::from_utf8(xml).unwrap());
    let (mut path, mut found) = (Vec::new(), Vec::<(String, String)>::new());
    loop {
        match reader.read_event().unwrap() {
            Event::Start(start) => {
                path.push(start.name().into_inner().to_owned());
                found.push((path.join("/"), String::new()));
            }
            Event::Empty(start) => {
                found.push((format!("{}/{}", path.join("/"), start.name().into_inner()), String::new()));
            }
            Event::Text(text) => found.last_mut().into_iter().for_each(|(_, known)| known.push_str(&text)),
            Event::End(_) => drop(path.pop()),
            Event::Eof => return found,
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_stream_is_told_in_the_elements_of_nginx_rtmp_and_in_their_order() {
    let (core, snapshot) = snapshot("live/a", "agent/1");
    let xml = xml(&snapshot, &core.config());
    let text = String::from_utf8(xml.clone()).unwrap();
    assert!(
        text.starts_with("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<?xml-stylesheet type=\"text/css\""),
        "{text}"
    );
    let elements = elements(&xml);
    let within = |path: &str| -> Vec<_> {
        let children = elements.iter().filter_map(|(at, _)| at.strip_prefix(path)?.strip_prefix('/'));
        children.filter(|child| !child.contains('/')).collect()
    };
    assert_eq!(
        within("rtmp"),
        [
            "nginx_version",
            "nginx_rtmp_version",
            "compiler",
            "built",
            "pid",
            "uptime",
            "naccepted",
            "bw_in",
            "bytes_in",
            "bw_out",
            "bytes_out",
            "server"
        ]
    );
    let stream = "rtmp/server/application/live/stream";
    assert_eq!(
        within(stream),
        [
            "name",
            "time",
            "bw_in",
            "bytes_in",
            "bw_out",
            "bytes_out",
            "bw_audio",
            "bw_video",
            "client",
            "client",
            "meta",
            "nclients",
            "publishing",
            "active"
        ]
    );
    let client = ["id", "address", "time", "flashver", "pageurl", "swfurl", "dropped", "avsync", "timestamp"];
    let both = [&client[..], &["active"], &client[..], &["publishing", "active"]].concat();
    assert_eq!(within(&format!("{stream}/client")), both);
    assert_eq!(within(&format!("{stream}/meta")), ["video", "audio"]);
    assert_eq!(within("rtmp/server/application/live"), ["stream", "nclients"]);
    let of = |path: &str| elements.iter().find(|(at, _)| at == path).map(|(_, text)| text.trim()).unwrap();
    assert_eq!((of(&format!("{stream}/name")), of(&format!("{stream}/nclients"))), ("a", "2"));
    assert_eq!(of(&format!("{stream}/meta/video/codec")), "H264");
    assert_eq!(of(&format!("{stream}/meta/audio/codec")), "AAC");

    let told: Value = serde_json::from_slice(&json(&snapshot, &core.config())).unwrap();
    let stream = &told["http-flv"]["servers"][0]["applications"][0]["live"]["streams"][0];
    assert_eq!(
        (&stream["name"], &stream["nclients"], &stream["publishing"]),
        (&json!("a"), &json!(2), &json!(true))
    );
    assert_eq!(stream["meta"]["video"]["codec"], "H264");
}

#[tokio::test]
async fn where_nothing_is_published_there_is_an_application_that_readers_can_show() {
    let core = core(|_| ());
    let elements = elements(&xml(&Snapshot::default(), &core.config()));
    let of = |path: &str| elements.iter().find(|(at, _)| at == path).map(|(_, text)| text.trim());
    assert_eq!(of("rtmp/server/application/name"), Some("live"));
    assert_eq!(of("rtmp/server/application/live/nclients"), Some("0"));
}

#[tokio::test]
async fn f40_what_peers_say_of_themselves_is_text_and_never_markup() {
    let hostile = "</flashver><script>alert(1)</script>&\"'\u{0}\u{1b}\u{fffe}]]>";
    let (core, snapshot) = snapshot("live/a&b=(c)", hostile);
    let xml = xml(&snapshot, &core.config());
    let text = String::from_utf8(xml.clone()).unwrap();
    assert!(!text.contains("<script") && !text.contains("]]>") && !text.contains('\u{0}'), "{text}");
    assert_eq!(elements(&xml).iter().filter(|(path, _)| path.ends_with("/script")).count(), 0);
    let told: Value = serde_json::from_slice(&json(&snapshot, &core.config())).unwrap();
    let client = &told["http-flv"]["servers"][0]["applications"][0]["live"]["streams"][0]["clients"][0];
    assert_eq!(client["flashver"], hostile);
}

#[tokio::test]
async fn the_busiest_application_comes_first_and_those_without_streams_are_there() {
    let core = core(|config| {
        for name in ["idle", "quiet", "busy"] {
            config.apps.insert(name.to_owned(), config.default_app.clone());
        }
    });
    let _published = ["quiet/a", "busy/b"].map(|name| publish(&core, name));
    let mut streams = core.hub.streams();
    for stream in &mut streams {
        stream.uptime = Duration::from_secs(1);
        stream.bytes_in = if stream.key.app() == "busy" { 1_000_000 } else { 1 };
    }
    let engine = EngineStats { uptime: Duration::from_secs(1), ..EngineStats::default() };
    core.statistics.note(Facts { engine, streams, ..Facts::default() });
    let snapshot = core.statistics.snapshot();
    let config = core.config();
    let order: Vec<_> = apps(&snapshot, &config).iter().map(|app| app.name).collect();
    assert_eq!(order, ["busy", "quiet", "idle"]);
}
