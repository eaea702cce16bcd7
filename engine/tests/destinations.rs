//! Where publishers over WebSocket have their streams pushed to, on real sockets.
#![cfg(feature = "http")]

use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;
use streamengine::testing::{audio, audio_header, flv, key, keyframe, video_header, wait};
use streamengine::{Config, Engine, Event, Protocol, Received, StreamState};

/// A page that publishes.
struct Page(TcpStream);

impl Page {
    fn open(engine: &Engine, path: &str) -> Self {
        let listeners = engine.listeners();
        let http = listeners.iter().find(|listener| listener.protocol == Protocol::Http).unwrap();
        let mut socket = TcpStream::connect(http.address).unwrap();
        socket.set_read_timeout(Some(wait::PATIENCE)).unwrap();
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        socket.write_all(head.as_bytes()).unwrap();
        let mut reply = Vec::new();
        while !reply.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            socket.read_exact(&mut byte).unwrap();
            reply.extend(byte);
        }
        assert!(reply.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&reply));
        Self(socket)
    }

    /// Sends a frame with this first byte, under a mask of zeros.
    fn send(&mut self, first: u8, payload: &[u8]) {
        let len = u16::try_from(payload.len()).unwrap().to_be_bytes();
        let head = [&[first, 0x80 | 126][..], &len, &[0; 4]].concat();
        self.0.write_all(&[&head[..], payload].concat()).unwrap();
    }

    fn choose(&mut self, names: &[&str]) {
        self.send(0x81, json!({ "destinations": names }).to_string().as_bytes());
    }

    /// The next frame: its first byte and payload.
    fn frame(&mut self) -> (u8, Vec<u8>) {
        let mut head = [0; 2];
        self.0.read_exact(&mut head).unwrap();
        let len = match head[1] {
            126 => {
                let mut len = [0; 2];
                self.0.read_exact(&mut len).unwrap();
                u16::from_be_bytes(len)
            }
            short => short.into(),
        };
        let mut payload = vec![0; len.into()];
        self.0.read_exact(&mut payload).unwrap();
        (head[0], payload)
    }

    /// The next text that is no acknowledgement.
    fn told(&mut self) -> Value {
        loop {
            let (first, payload) = self.frame();
            assert_eq!(first, 0x81, "{}", String::from_utf8_lossy(&payload));
            let text: Value = serde_json::from_slice(&payload).unwrap();
            if text["ack"].is_null() {
                return text;
            }
        }
    }

    /// Waits until it is told this of a destination; the error with it.
    fn until(&mut self, name: &str, state: &str) -> Value {
        loop {
            let text = self.told();
            if text["destination"] == name && text["state"] == state {
                return text["error"].clone();
            }
        }
    }
}

fn start(config: &str) -> Engine {
    let any_port: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let config = Config::from_toml(&format!("{config}\n[publish]\nopen = true\n")).unwrap();
    Engine::builder().config(config).listen_rtmp(any_port).listen_http(any_port).start().unwrap()
}

fn rtmp(engine: &Engine) -> SocketAddr {
    engine.listeners().iter().find(|listener| listener.protocol == Protocol::Rtmp).unwrap().address
}

/// A port that nobody listens on.
fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn live() -> Vec<u8> {
    flv(&[video_header(0), audio_header(0), keyframe(0, 100), audio(5)]).to_vec()
}

#[test]
fn a_page_has_its_stream_pushed_to_destinations_by_name_and_is_told_how_they_fare() {
    let target = start("");
    let engine = start(&format!(
        "[[destination]]\nname = \"one\"\nurl = \"rtmp://{}/far/away\"\napp = \"live\"\n\
         [[destination]]\nname = \"dead\"\nurl = \"rtmp://{}/a/b\"\n\
         [[destination]]\nname = \"another\"\nurl = \"rtmp://127.0.0.1/a/b\"\napp = \"other\"\n",
        rtmp(&target),
        nobody()
    ));
    let mut page = Page::open(&engine, "/live/a");
    assert_eq!(page.told(), json!({ "open": true, "destinations": ["one", "dead"] }));
    page.send(0x82, &live());
    page.choose(&["one", "dead", "one"]);
    let (mut error, mut is_live) = (Value::Null, false);
    while !is_live || error.is_null() {
        let text = page.told();
        is_live |= text["destination"] == "one" && text["state"] == "live";
        if text["destination"] == "dead" && text["state"] == "waiting" {
            error = text["error"].clone();
        }
    }
    assert!(error.as_str().unwrap().contains("refused"), "{error}");
    let far = key("far/away");
    wait::until("the stream is there", || {
        target.stream(&far).is_some_and(|info| info.state == StreamState::Live)
    });

    page.choose(&["dead"]);
    wait::until("it is no longer", || target.stream(&far).is_none());
    assert_eq!(engine.relays().len(), 1);
    // The publication's end is that of what is left.
    page.send(0x88, &1000u16.to_be_bytes());
    wait::until("all pushes are over", || engine.relays().is_empty());

    // What is not for its app it cannot choose, and no URL.
    for name in ["another", "rtmp://127.0.0.1/a/b", ""] {
        let mut page = Page::open(&engine, "/live/b");
        page.told();
        page.choose(&["one", name]);
        let error = page.told();
        assert!(error["error"].as_str().unwrap().contains("no destination"), "{error}");
        let (first, close) = page.frame();
        assert_eq!((first, u16::from_be_bytes([close[0], close[1]])), (0x88, 4403));
        assert!(engine.relays().is_empty(), "nothing is dialled");
    }
}

#[test]
fn a_page_that_returns_has_its_stream_pushed_on_and_ends_what_it_does_not_choose_again() {
    let target = start("");
    let to = |name: &str| {
        format!("[[destination]]\nname = \"{name}\"\nurl = \"rtmp://{}/far/{name}\"\n", rtmp(&target))
    };
    let engine = start(&(to("one") + &to("two")));
    let pushed = || [key("far/one"), key("far/two")].map(|far| target.stream(&far).is_some());
    let mut page = Page::open(&engine, "/live/a");
    page.send(0x82, &live());
    page.choose(&["one", "two"]);
    page.until("one", "live");
    wait::until("both are there", || pushed() == [true; 2]);
    let relays = || -> BTreeSet<_> { engine.relays().iter().map(|relay| relay.id).collect() };
    let before = relays();

    drop(page);
    wait::until("it is away", || engine.stream(&key("live/a")).unwrap().state == StreamState::Away);
    let mut page = Page::open(&engine, "/live/a");
    page.send(0x82, &live());
    page.choose(&["one"]);
    page.until("one", "live");
    wait::until("the other one is over", || pushed() == [true, false]);
    assert!(relays().len() == 1 && relays().is_subset(&before), "{:?} of {before:?}", relays());

    // Who chooses nothing has nothing pushed for long.
    drop(page);
    wait::until("it is away", || engine.stream(&key("live/a")).unwrap().state == StreamState::Away);
    let mut page = Page::open(&engine, "/live/a");
    page.send(0x82, &live());
    wait::until("all are over", || engine.relays().is_empty() && pushed() == [false; 2]);
    assert_eq!(engine.stream(&key("live/a")).unwrap().state, StreamState::Live);
}

#[test]
fn destinations_that_are_chosen_over_and_over_are_dialled_once_a_second() {
    let engine = start(&format!("[[destination]]\nname = \"dead\"\nurl = \"rtmp://{}/a/b\"\n", nobody()));
    let mut events = engine.events();
    let mut page = Page::open(&engine, "/live/a");
    page.send(0x82, &live());
    for _ in 0..30 {
        page.choose(&["dead"]);
        std::thread::sleep(Duration::from_millis(10));
        page.choose(&[]);
        std::thread::sleep(Duration::from_millis(10));
    }
    page.choose(&["dead"]);
    page.until("dead", "waiting");
    page.send(0x88, &1000u16.to_be_bytes());
    let mut relays = BTreeSet::new();
    loop {
        match events.blocking_next() {
            Some(Received::Event(Event::RelayState(status))) => drop(relays.insert(status.id)),
            Some(Received::Event(Event::SessionClosed { .. })) => break,
            Some(_) => {}
            None => panic!("no events any more"),
        }
    }
    // One at once, one with the last choice; more where the machine has taken seconds for this.
    assert!((1..=8).contains(&relays.len()), "{relays:?}");
}
