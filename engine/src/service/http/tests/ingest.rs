//! Promises to publishers over HTTP.

use super::*;
use crate::config::AppConfig;
use crate::hub::{Interest, SubscribeOptions, Subscriber};
use crate::policy::{StartAt, Takeover};
use crate::status::StreamState;
use serde_json::{Value, json};

const FLV_HEADER: &[u8] = b"FLV\x01\x05\0\0\0\x09\0\0\0\0";

/// A frame of a client with this first byte, under a mask.
fn client_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = vec![first];
    match (payload.len(), u16::try_from(payload.len())) {
        (len @ 0..126, _) => frame.push(0x80 | len as u8),
        (_, Ok(len)) => frame.extend([&[0x80 | 126][..], &len.to_be_bytes()].concat()),
        (len, _) => frame.extend([&[0x80 | 127][..], &(len as u64).to_be_bytes()].concat()),
    }
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

fn request(path: &str, headers: &[&str]) -> String {
    let more: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    format!(
        "GET {path} HTTP/1.1\r\nHost: live.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
    )
}

/// A page that publishes.
struct Page(DuplexStream);

impl Page {
    async fn open(core: &Arc<Core>, path: &str, headers: &[&str]) -> Self {
        let mut io = open(core);
        io.write_all(request(path, headers).as_bytes()).await.unwrap();
        let head = read_head(&mut io).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        Self(io)
    }

    /// One that is live, with the first frames of its stream.
    async fn live(core: &Arc<Core>, path: &str) -> Self {
        let mut page = Self::open(core, path, &[]).await;
        assert_eq!(page.text().await, json!({ "open": true, "destinations": [] }));
        page.send(&flv(&[video_header(0), audio_header(0), keyframe(0, 100), audio(5)])).await;
        page
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(&client_frame(0x82, bytes)).await.unwrap();
    }

    /// The next frame, pings answered.
    async fn frame(&mut self) -> (u8, Vec<u8>) {
        loop {
            let (first, payload) = read_frame(&mut self.0).await;
            match first {
                0x89 => self.0.write_all(&client_frame(0x8a, &payload)).await.unwrap(),
                _ => return (first, payload),
            }
        }
    }

    async fn text(&mut self) -> Value {
        let (first, payload) = timeout(Duration::from_secs(600), self.frame()).await.expect("a text");
        assert_eq!(first, 0x81, "{:?}", String::from_utf8_lossy(&payload));
        serde_json::from_slice(&payload).unwrap()
    }

    /// The code of the close, and the words before it.
    async fn closed(mut self) -> (u16, String) {
        let mut words = String::new();
        loop {
            let (first, payload) = timeout(Duration::from_secs(1_200), self.frame()).await.expect("a close");
            match first {
                0x81 => {
                    let text: Value = serde_json::from_slice(&payload).unwrap();
                    words = text["error"].as_str().unwrap_or(&words).to_owned();
                }
                0x88 => return (u16::from_be_bytes([payload[0], payload[1]]), words),
                _ => panic!("{first:x}"),
            }
        }
    }
}

fn subscribe(core: &Core, name: &str) -> Subscriber {
    let options = SubscribeOptions { start: StartAt::Keyframe, wait: None, interest: Interest::Viewer };
    core.hub.subscribe(&key(name), options)
}

/// Times of the next frames with media, so many.
async fn times(subscriber: &mut Subscriber, count: usize) -> Vec<i64> {
    let mut frames = Vec::new();
    while frames.iter().filter(|frame: &&crate::media::Frame| frame.has_media()).count() < count {
        timeout(Duration::from_secs(60), subscriber.ready()).await.expect("frames");
        subscriber.take(usize::MAX, &mut frames).unwrap();
    }
    frames.iter().filter(|frame| frame.has_media()).map(|frame| frame.timestamp).collect()
}

/// Waits for a fact that no event tells.
async fn until(is_so: impl Fn() -> bool) {
    let waited = async {
        while !is_so() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(60), waited).await.expect("in time");
}

fn state(core: &Core, name: &str) -> Option<StreamState> {
    core.hub.stream(&key(name)).map(|info| info.state)
}

#[tokio::test(start_paused = true)]
async fn a_page_publishes_in_messages_of_any_size_is_told_how_much_has_come_and_ends_its_stream() {
    let core = core(|_| ());
    let mut events = core.events.subscribe();
    let mut subscriber = subscribe(&core, "live/a");
    let mut page = Page::open(&core, "/live/a?key=5", &["Origin: https://live.example"]).await;
    assert_eq!(page.text().await, json!({ "open": true, "destinations": [] }));
    let stream = flv(&[video_header(0), audio_header(0), keyframe(0, 100), audio(5), inter(40, 50)]);
    for piece in stream.chunks(17) {
        page.send(piece).await;
    }
    assert_eq!(times(&mut subscriber, 3).await, [0, 5, 40]);
    let before = Instant::now();
    assert_eq!(page.text().await, json!({ "ack": stream.len() }));
    assert!(before.elapsed() <= Duration::from_millis(201));
    let info = core.sessions.list().remove(0);
    assert_eq!((info.door, info.stream), (crate::auth::Door::WebSocket, Some(key("live/a"))));
    assert!(info.bytes_in > stream.len() as u64);
    page.0.write_all(&client_frame(0x88, &1000u16.to_be_bytes())).await.unwrap();
    assert_eq!(page.closed().await, (1000, String::new()));
    let mut seen = Vec::new();
    while !matches!(seen.last(), Some(Event::SessionClosed { .. })) {
        seen.push(next(&mut events).await);
    }
    let ended = seen.iter().any(
        |event| matches!(event, Event::StreamEnded { stream, reason, .. } if stream == &key("live/a") && reason == "unpublished"),
    );
    assert!(ended, "{seen:?}");
    assert_eq!(state(&core, "live/a"), None);
}

#[tokio::test(start_paused = true)]
async fn acknowledgements_come_five_times_a_second_while_bytes_do_and_not_else() {
    let core = core(|_| ());
    let mut page = Page::live(&core, "/live/a").await;
    let mut acks = 0;
    let until = Instant::now() + Duration::from_secs(2);
    let mut at = 40;
    while Instant::now() < until {
        page.send(&tags(&[audio(at)])).await;
        at += 20;
        if let Ok((first, _)) = timeout(Duration::from_millis(20), page.frame()).await {
            acks += usize::from(first == 0x81);
        }
    }
    assert!((9..=11).contains(&acks), "{acks}");
    let _ = timeout(Duration::from_millis(250), page.frame()).await;
    assert!(timeout(Duration::from_secs(4), page.frame()).await.is_err(), "nothing has come");
}

#[tokio::test(start_paused = true)]
async fn refused_pages_are_told_why_in_words_and_by_a_code() {
    let config = Config::from_toml("[apps.live]\n[publish]\nkey = \"right\"").unwrap();
    let rule = config.publish_rule();
    let core = core_with(config, rule);
    let _page = Page::live(&core, "/live/taken?key=right").await;
    for (path, headers, code, words) in [
        ("/live/a", &[][..], 4401, "wrong or missing publish key"),
        ("/live/a?key=wrong", &[], 4401, "wrong or missing publish key"),
        ("/live/a?key=right", &["Origin: https://other.example"], 4403, "http.publish_origins"),
        ("/live/a?key=right", &["Origin: null"], 4403, "http.publish_origins"),
        ("/other/a?key=right", &[], 4403, "no such app"),
        ("/live/taken?key=right", &[], 4409, "already"),
        ("/live/..?key=right", &[], 4400, ""),
        ("/origin/x/live/a?key=right", &[], 4403, "origin"),
    ] {
        let (given, told) = Page::open(&core, path, headers).await.closed().await;
        assert!(given == code && told.contains(words), "{path} {headers:?}: {given} {told}");
    }
    assert_eq!(state(&core, "live/a"), None);
}

#[tokio::test(start_paused = true)]
async fn pages_of_this_server_and_of_listed_sites_may_publish() {
    let core = core(|config| config.http.publish_origins = vec!["https://studio.example".to_owned()]);
    for origin in ["https://live.example", "http://live.example", "https://studio.example"] {
        let mut page = Page::open(&core, "/live/a", &[&format!("Origin: {origin}")]).await;
        assert_eq!(page.text().await["open"], true, "{origin}");
        page.0.write_all(&client_frame(0x88, b"")).await.unwrap();
        page.closed().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_understood_is_closed_with_4400() {
    let core = core(|_| ());
    for (number, bytes) in [
        client_frame(0x82, b"GET / HTTP/1.1\r\n"),
        client_frame(0x82, &[0xab; 1 << 20]),
        client_frame(0x81, b"{"),
        client_frame(0x81, b"{\"destinations\":7}"),
    ]
    .iter()
    .enumerate()
    {
        let mut page = Page::open(&core, &format!("/live/{number}"), &[]).await;
        // It may be closed before it has sent all of it.
        let _ = page.0.write_all(bytes).await;
        let (code, words) = page.closed().await;
        assert!(code == 4400 && !words.is_empty(), "{number}: {code} {words}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_too_large_or_too_fast_is_closed_with_4413() {
    let core = core(|config| {
        (config.limits.max_message, config.limits.max_websocket_message) = (10_000, 20_000);
        config.limits.publisher_messages_per_s = 100;
        config.apps.insert("slow".to_owned(), AppConfig { max_kbps: Some(1), ..AppConfig::default() });
        config.apps.insert("live".to_owned(), AppConfig::default());
    });
    let long_tag = [FLV_HEADER, &[9, 0, 0x27, 0x11, 0, 0, 0, 0, 0, 0, 0]].concat();
    let one_byte_fragments: Vec<_> = (0..2_000).flat_map(|_| client_frame(0x00, b"F")).collect();
    let many = [client_frame(0x02, b"FLV"), one_byte_fragments].concat();
    let fast = flv(&(0..20).map(|at| keyframe(at * 40, 900)).collect::<Vec<_>>()).to_vec();
    for (path, bytes, words) in [
        ("/live/message", client_frame(0x82, &[0; 20_001])[..14].to_vec(), "max_websocket_message"),
        ("/live/tag", client_frame(0x82, &long_tag), "limits.max_message"),
        ("/live/many", many, "publisher_messages_per_s"),
        ("/slow/fast", client_frame(0x82, &fast), "max_kbps"),
    ] {
        let mut page = Page::open(&core, path, &[]).await;
        let _ = page.0.write_all(&bytes).await;
        let (code, told) = page.closed().await;
        assert!(code == 4413 && told.contains(words), "{path}: {code} {told}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_ended_by_the_engine_is_told_so() {
    let core = core(|config| {
        config.default_app.takeover = Takeover::Replace;
        config.limits.first_media_timeout_ms = 60_000;
    });
    let kicked = Page::live(&core, "/live/kicked").await;
    let session = core.sessions.list()[0].id;
    core.sessions.kick(session, "enough");
    assert_eq!(kicked.closed().await, (4403, "closed by the operator: enough".to_owned()));

    let replaced = Page::live(&core, "/live/replaced").await;
    let _other = Page::live(&core, "/live/replaced").await;
    assert_eq!(replaced.closed().await, (4409, "taken over by another publisher".to_owned()));

    let mut idle = Page::open(&core, "/live/idle", &[]).await;
    assert_eq!(idle.text().await["open"], true);
    let since = Instant::now();
    let (code, words) = idle.closed().await;
    assert!(code == 4408 && words.contains("no media in its first 60000 ms"), "{code} {words}");
    assert_eq!(since.elapsed().as_secs(), 60, "pings were answered");

    let drained = Page::live(&core, "/live/drained").await;
    core.draining.cancel();
    assert_eq!(drained.closed().await.0, 1001);
}

#[tokio::test(start_paused = true)]
async fn a_page_that_gives_no_sign_is_left_after_the_publishers_timeout_and_its_players_wait() {
    let core = core(|_| ());
    let mut page = Page::live(&core, "/live/a").await;
    let since = Instant::now();
    loop {
        let (first, _) = timeout(Duration::from_secs(60), read_frame(&mut page.0)).await.expect("a close");
        if first == 0x88 {
            break;
        }
    }
    assert_eq!(since.elapsed().as_secs(), 10);
    assert_eq!(state(&core, "live/a"), Some(StreamState::Away));
}

#[tokio::test(start_paused = true)]
async fn a_page_that_is_loaded_anew_goes_on_with_its_stream() {
    let core = core(|_| ());
    let mut subscriber = subscribe(&core, "live/a");
    for (number, end) in [Some(1001u16), None].into_iter().enumerate() {
        let mut page = Page::live(&core, "/live/a").await;
        let first = times(&mut subscriber, 2).await;
        assert!(first.is_sorted() && (number == 0 || first[0] > 5), "{first:?}");
        if let Some(code) = end {
            page.0.write_all(&client_frame(0x88, &code.to_be_bytes())).await.unwrap();
            assert_eq!(page.closed().await.0, code);
        }
        // Without an end it has been lost.
    }
    until(|| state(&core, "live/a") == Some(StreamState::Away)).await;
    assert_eq!(subscriber.end(), None);
    // One that is still connected, and silent, is replaced.
    let stalled = Page::live(&core, "/live/a").await;
    sleep(Duration::from_secs(2)).await;
    let _next = Page::live(&core, "/live/a").await;
    assert_eq!(stalled.closed().await.0, 4409);
}

#[tokio::test(start_paused = true)]
async fn a_keyframe_is_asked_for_when_a_player_waits_for_one_and_not_more_often_than_it_may_be() {
    let core = core(|config| config.default_app.start = StartAt::LiveEdge);
    let mut page = Page::live(&core, "/live/a").await;
    assert!(page.text().await["ack"].is_u64());
    let since = Instant::now();
    let mut asked = Vec::new();
    for at in 0..100 {
        // Somebody joins all the time.
        let options = SubscribeOptions { start: StartAt::LiveEdge, wait: None, interest: Interest::Viewer };
        drop(core.hub.subscribe(&key("live/a"), options));
        page.send(&tags(&[inter(40 + at * 20, 10)])).await;
        while let Ok((_, text)) = timeout(Duration::from_millis(20), page.frame()).await {
            if text == br#"{"keyframe":true}"# {
                asked.push(since.elapsed());
            }
        }
    }
    assert!(asked.len() >= 3, "{asked:?}");
    assert!(asked.windows(2).all(|pair| pair[1] - pair[0] >= Duration::from_millis(500)), "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn the_body_of_a_request_is_published_in_chunks_or_of_a_length_until_its_end() {
    let core = core(|_| ());
    let stream = flv(&[video_header(0), audio_header(0), keyframe(0, 100), audio(5)]).to_vec();
    let chunk = |bytes: &[u8]| [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
    let chunked = [chunk(&stream[..50]), chunk(&stream[50..])].concat();
    for (method, headers, body, last) in [
        ("POST", "Transfer-Encoding: chunked\r\nExpect: 100-continue".to_owned(), chunked, &b"0\r\n\r\n"[..]),
        (
            "PUT",
            format!("Content-Length: {}", stream.len() + tags(&[inter(40, 7)]).len()),
            stream.clone(),
            &tags(&[inter(40, 7)])[..],
        ),
    ] {
        let mut events = core.events.subscribe();
        let mut subscriber = subscribe(&core, "live/a");
        let mut io = open(&core);
        let head = format!("{method} /live/a.flv?key=1 HTTP/1.1\r\nHost: h\r\n{headers}\r\n\r\n");
        io.write_all(head.as_bytes()).await.unwrap();
        if headers.contains("Expect") {
            assert_eq!(read_head(&mut io).await, "HTTP/1.1 100 Continue\r\n\r\n");
        }
        io.write_all(&body).await.unwrap();
        assert_eq!(times(&mut subscriber, 2).await, [0, 5]);
        assert_eq!(core.sessions.list()[0].bytes_in, stream.len() as u64);
        assert_eq!(state(&core, "live/a"), Some(StreamState::Live));
        io.write_all(last).await.unwrap();
        // ffmpeg waits for no answer.
        match headers.contains("Expect") {
            true => drop(io),
            false => {
                let reply = read_head(&mut io).await;
                assert!(reply.starts_with("HTTP/1.1 204 "), "{reply}");
            }
        }
        let mut seen = Vec::new();
        while !matches!(seen.last(), Some(Event::StreamEnded { .. })) {
            seen.push(next(&mut events).await);
        }
        let Some(Event::StreamEnded { reason, .. }) = seen.last() else { panic!() };
        assert_eq!(reason, "unpublished");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_refused_or_goes_wrong_is_answered_with_its_status() {
    let config =
        Config::from_toml("[apps.live]\n[publish]\nkey = \"right\"\n[limits]\nmax_message = 1000").unwrap();
    let rule = config.publish_rule();
    let core = core_with(config, rule);
    let _page = Page::live(&core, "/live/taken?key=right").await;
    let long_tag = [FLV_HEADER, &[9, 0, 0x27, 0x11, 0, 0, 0, 0, 0, 0, 0]].concat();
    let flv = flv(&[keyframe(0, 10)]).to_vec();
    for (path, header, body, status, words) in [
        ("/live/a.flv", "X: y", &flv, "401", "publish key"),
        ("/live/a.flv?key=right", "Origin: https://other.example", &flv, "403", "publish_origins"),
        ("/other/a.flv?key=right", "X: y", &flv, "403", "no such app"),
        ("/live/taken.flv?key=right", "X: y", &flv, "409", "already"),
        ("/live/a.flv?key=right", "X: y", &long_tag, "413", "max_message"),
        ("/live/a.flv?key=right", "X: y", &b"RIFF, which is no FLV".to_vec(), "415", "FLV"),
        ("/live/a.flv?key=right", "X: y", &Vec::new(), "415", "FLV"),
        ("/live/a.mp4?key=right", "X: y", &flv, "400", "body"),
    ] {
        let mut io = open(&core);
        let head =
            format!("POST {path} HTTP/1.1\r\nHost: h\r\n{header}\r\nContent-Length: {}\r\n\r\n", body.len());
        io.write_all(head.as_bytes()).await.unwrap();
        let _ = io.write_all(body).await;
        let mut reply = String::new();
        let _ = timeout(Duration::from_secs(60), io.read_to_string(&mut reply)).await.expect("closed");
        assert!(
            reply.starts_with(&format!("HTTP/1.1 {status} ")) && reply.contains(words),
            "{path} {header}: {reply}"
        );
        assert_eq!(status == "401", reply.contains("www-authenticate: Key"), "{reply}");
    }
    // Its connection is lost.
    let mut subscriber = subscribe(&core, "live/b");
    let mut io = open(&core);
    io.write_all(b"POST /live/b.flv?key=right HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n")
        .await
        .unwrap();
    io.write_all(&flv).await.unwrap();
    assert_eq!(times(&mut subscriber, 1).await, [0]);
    drop(io);
    until(|| state(&core, "live/b") == Some(StreamState::Away)).await;
}

#[tokio::test(start_paused = true)]
async fn where_nobody_may_publish_over_http_there_is_nothing_of_it() {
    let core = core(|config| config.http.publish = false);
    let mut io = open(&core);
    io.write_all(request("/live/a", &[]).as_bytes()).await.unwrap();
    assert!(read_head(&mut io).await.starts_with("HTTP/1.1 404 "));
    let mut io = open(&core);
    io.write_all(b"POST /live/a.flv HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nFLV").await.unwrap();
    assert!(read_head(&mut io).await.starts_with("HTTP/1.1 400 "));
}

#[tokio::test(start_paused = true)]
async fn what_a_proxy_on_this_machine_brings_is_not_from_this_machine() {
    let config = Config::default();
    let rule = config.publish_rule();
    let core = core_with(config, rule);
    for (version, host, header, is_allowed) in [
        ("1.1", "localhost:8080", "X: y", true),
        ("1.1", "127.0.0.1", "X: y", true),
        ("1.1", "[::1]:8080", "X: y", true),
        ("1.1", "rebound.example", "X: y", false),
        ("1.1", "localhost", "X-Forwarded-For: 192.0.2.1", false),
        ("1.1", "localhost", "Via: 1.1 proxy", false),
        ("1.0", "localhost", "X: y", false),
    ] {
        let (ours, mut io) = duplex(PIPE);
        let asker = Asker {
            core: core.clone(),
            peer: "127.0.0.1:4".parse().unwrap(),
            protocol: Protocol::Http,
            places: None,
        };
        tokio::spawn(Requests::new(asker, None).serve(ours));
        let head = format!(
            "POST /live/a.flv HTTP/{version}\r\nHost: {host}\r\n{header}\r\nContent-Length: 13\r\n\r\n"
        );
        io.write_all(&[head.as_bytes(), FLV_HEADER].concat()).await.unwrap();
        let reply = read_head(&mut io).await;
        let status = reply.split(' ').nth(1).unwrap();
        // A header alone is no stream.
        assert_eq!(status != "401", is_allowed, "{host} {header}: {reply}");
    }
}
