//! Hostile names at every door: one parser, one verdict, and none of them reaches a log line unescaped.

use std::net::{SocketAddr, TcpStream};
use streamengine::proto::client::ClientEvent;
use streamengine::{Config, Engine, Secret, StreamKey, StreamName, testing};

/// Names of streams that must be refused: each tries to be a path, a line, a markup or another name.
fn hostile() -> Vec<String> {
    let long = "x".repeat(129);
    let huge = "x".repeat(60_000);
    let mut names: Vec<String> = [
        "",
        "/",
        "//",
        ".",
        "..",
        "...",
        "../x",
        "a/../x",
        "..\\x",
        "a\\b",
        "\\\\host\\share",
        "./x",
        ".hidden",
        "a/.hidden",
        "a..b",
        "a/..",
        "..%2fx",
        "%2e%2e%2fx",
        "%252e%252e%252fx",
        "%00",
        "a%00b",
        "a\0b",
        "\0",
        "a\nb",
        "a\r\nb",
        "a\tb",
        "\u{1b}[31mred",
        "a b",
        " a",
        "a//b",
        "C:",
        "C:\\x",
        "a;rm -rf x",
        "$(x)",
        "`x`",
        "a|b",
        "a>b",
        "a<b",
        "<script>x</script>",
        "a\"b",
        "a'b",
        "{\"a\":1}",
        "\u{202e}gpj",
        "\u{200f}a",
        "\u{feff}a",
        "ａ",
        "\u{2215}a",
        "a\u{2024}\u{2024}b",
        "😀",
        "a#b",
        "a!b",
        "a*b",
        "a,b",
        "a^b",
        "a[b]",
        "~root",
        "a%b",
        "a\u{200b}",
        "\u{301}a",
        "a\u{3164}",
        "a\u{fe0f}",
        "a\u{e0041}",
        "%ef%bc%8f",
        "a%2f..%2fb",
        "%E2%80%AE",
        "~",
        "a\0b\0",
    ]
    .map(str::to_owned)
    .into();
    names.extend([long.clone(), format!("a/{long}"), huge]);
    // Encoded once and twice, in the middle and at both ends.
    for bad in
        ["%2e%2e", "%2f", "%5c", "%0a", "%00", "%3f", "%c0%ae", "%25", "..;", ". .", "\u{85}", "\u{2028}"]
    {
        names.extend([
            bad.to_owned(),
            format!("a{bad}"),
            format!("{bad}a"),
            format!("a{bad}b"),
            format!("a/{bad}/b"),
        ]);
        names.push(bad.replace('%', "%25"));
    }
    for control in (1u8..32).chain([127]) {
        names.extend([format!("a{}b", char::from(control)), char::from(control).to_string()]);
    }
    names
}

/// Names that must be accepted as they stand.
const GOOD: &[&str] =
    &["a", "A-Z_0.9", "demo", "stream-1_final.v2", "a/b", "直播", "me+1@example.com", "a~(b)=&c"];

#[test]
fn f36_every_door_gives_the_same_verdict_on_a_name() {
    let names = hostile();
    assert!(names.len() >= 200, "{}", names.len());
    for name in &names {
        assert!(StreamKey::new("live", name).is_err(), "{name:?}");
        assert!(
            format!("live/{name}").parse::<StreamKey>().is_err() || name.trim_matches('/').is_empty(),
            "{name:?}"
        );
        assert!(StreamName::parse("live", name).is_err() || has_secret_or_query(name), "{name:?}");
        let mut config = toml::Table::new();
        config.insert("stream".into(), format!("live/{name}").into());
        config.insert("url".into(), "rtmp://127.0.0.1/a/b".into());
        let toml =
            toml::to_string(&toml::Table::from_iter([("push".to_owned(), toml::Value::from(vec![config]))]));
        let verdict = Config::from_toml(&toml.unwrap());
        assert!(verdict.is_err() || name.trim_matches('/').is_empty(), "{name:?}");
    }
    for name in GOOD {
        assert!(StreamKey::new("live", name).is_ok(), "{name:?}");
        assert!(StreamName::parse("live", name).is_ok(), "{name:?}");
    }
}

/// `NAME:SECRET` and `NAME?QUERY` are taken apart before the name is judged.
fn has_secret_or_query(name: &str) -> bool {
    name.contains([':', '?'])
}

#[test]
fn f43_the_key_that_authorisation_sees_is_the_key_that_the_hub_uses() {
    // Whatever is put behind a name never changes the name.
    for tail in
        ["?key=x", ":secret", ":secret?key=x", "?app=other&stream=other", "?/../x", ":/../x", "?\n", ":\0"]
    {
        for good in GOOD {
            let name = StreamName::parse("live", &format!("{good}{tail}")).unwrap();
            assert_eq!(name.key, StreamKey::new("live", good).unwrap(), "{good}{tail:?}");
        }
    }
    // Printing and parsing give the same key, whichever way it is split.
    for (app, stream) in [("live", "a/b"), ("live/a", "b"), ("/live/", "/a/b/")] {
        let key = StreamKey::new(app, stream).unwrap();
        assert_eq!(key.to_string().parse::<StreamKey>().unwrap(), key);
        assert_eq!(StreamKey::new(key.app(), key.stream()).unwrap(), key);
    }
}

/// Publishes `name` over RTMP; what the server said.
fn publish(server: SocketAddr, name: &str) -> ClientEvent {
    let answer = testing::rtmp::publish(TcpStream::connect(server).unwrap(), name);
    answer.unwrap_or_else(|| panic!("closed without a word about {name:?}")).0
}

/// Whether `event` lets a publisher in.
fn is_in(event: &ClientEvent) -> bool {
    matches!(event, ClientEvent::Publishing { .. })
}

#[test]
fn a_colon_makes_two_streams_or_a_refusal_and_a_file_type_is_no_part_of_a_name() {
    let engine = Engine::builder().listen_rtmp("127.0.0.1:0".parse().unwrap()).start().unwrap();
    let server = engine.listeners()[0].address;
    for name in ["mp4:a.mp4", "mp4:b.mp4", "flv:dir/c"] {
        assert!(is_in(&publish(server, name)), "{name}");
    }
    for name in ["room:1", "room:2", "room:", "room:1?key=x"] {
        let ClientEvent::Rejected { description, .. } = publish(server, name) else { panic!("{name}") };
        assert!(description.contains("U+003A"), "{description}");
    }
    let streams = engine.streams();
    let streams: Vec<_> = streams.iter().map(|stream| stream.key.as_str()).collect();
    assert_eq!(streams, ["live/a.mp4", "live/b.mp4", "live/dir/c"]);
}

#[test]
fn a_key_behind_a_colon_opens_where_one_is_set_and_never_leads_two_names_to_one_stream() {
    let mut config = Config::default();
    config.publish.key = Some(Secret::new("KEY"));
    let engine =
        Engine::builder().config(config).listen_rtmp("127.0.0.1:0".parse().unwrap()).start().unwrap();
    let server = engine.listeners()[0].address;
    for (name, expected) in [
        ("room:1?key=KEY", false),
        ("room:?key=KEY", false),
        ("room:1", false),
        ("mp4:room:KEY", true),
        ("other:KEY?key=KEY", true),
    ] {
        assert_eq!(is_in(&publish(server, name)), expected, "{name}");
    }
}

#[test]
fn f36_the_rtmp_door_refuses_hostile_names_with_a_reason() {
    let engine = Engine::builder().listen_rtmp("127.0.0.1:0".parse().unwrap()).start().unwrap();
    let server = engine.listeners()[0].address;
    for name in hostile().iter().filter(|name| !has_secret_or_query(name)) {
        let ClientEvent::Rejected { code, description } = publish(server, name) else {
            panic!("{name:?} was let in")
        };
        assert!(code.starts_with("NetStream.Publish."), "{name:?}: {code}");
        assert!(
            !description.is_empty() && !description.contains(char::is_control),
            "{name:?}: {description:?}"
        );
    }
    for name in GOOD {
        assert!(matches!(publish(server, name), ClientEvent::Publishing { .. }), "{name:?}");
    }
    assert!(engine.streams().iter().all(|stream| GOOD.contains(&&stream.key.as_str()["live/".len()..])));
    assert_eq!(engine.stats().panics, 0);
}
