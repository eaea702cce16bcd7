//! Promises to viewers by HLS.

use super::*;
use crate::config::HlsFormat;
use crate::status::{Door, SessionRole};
use crate::testing::{AVC_RECORDS, avc_header, demo_frames};

/// Publishes the clip, of which all is there at once.
fn publish_demo(core: &Arc<Core>, name: &str) -> Published {
    let published = Published::by_engine(core, &key(name), "test", &[], &PublisherConfig::default()).unwrap();
    demo_frames().into_iter().for_each(|frame| published.push(frame).unwrap());
    published
}

/// The status, the head and the body of a reply.
struct Got {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Got {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    fn has(&self, line: &str) -> bool {
        self.head.contains(&format!("\r\n{line}\r\n"))
    }
}

/// Sends a request for a path, with more lines in its head.
async fn ask(core: &Arc<Core>, method: &str, path: &str, lines: &str) -> DuplexStream {
    let mut io = open_with(core, 4 * 1024 * 1024);
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: h\r\nUser-Agent: test\r\nConnection: close\r\n{lines}\r\n"
    );
    io.write_all(request.as_bytes()).await.unwrap();
    io
}

async fn reply(mut io: DuplexStream) -> Got {
    let head = read_head(&mut io).await;
    let mut body = Vec::new();
    timeout(Duration::from_secs(120), io.read_to_end(&mut body)).await.expect("the end").unwrap();
    Got { status: head[9..12].parse().unwrap(), head, body }
}

async fn get(core: &Arc<Core>, path: &str) -> Got {
    reply(ask(core, "GET", path, "").await).await
}

/// The path of the playlist that the multivariant one names.
async fn playlist(core: &Arc<Core>, index: &str) -> String {
    let got = get(core, index).await;
    assert_eq!(got.status, 200, "{}", got.text());
    let name = got.text().lines().last().unwrap();
    match name.strip_prefix("../") {
        Some(up) => format!("/{}", up.trim_start_matches("../")),
        None => format!("{}/{name}", index.rsplit_once('/').unwrap().0),
    }
}

/// What the lines of a playlist that are no tags name, as paths.
fn media(list: &Got) -> Vec<String> {
    let names = list.text().lines().filter(|line| !line.starts_with('#'));
    names.map(|name| format!("/live/a/{name}")).collect()
}

/// The number of the segment behind the last one that is listed.
fn open_segment(list: &Got) -> u64 {
    let first = list.text().lines().find_map(|line| line.strip_prefix("#EXT-X-MEDIA-SEQUENCE:")).unwrap();
    first.parse::<u64>().unwrap() + media(list).len() as u64
}

/// What an attribute `URI` of the last such tag names, as a path.
fn uri(list: &Got, tag: &str) -> String {
    let line = list.text().lines().rev().find(|line| line.starts_with(tag)).unwrap();
    let uri = line.split_once("URI=\"").unwrap().1.split('"').next().unwrap();
    format!("/live/a/{uri}")
}

#[tokio::test(start_paused = true)]
async fn a_viewer_is_one_session_from_its_first_request_until_it_asks_no_more() {
    let core = core(|_| ());
    let mut events = core.events.subscribe();
    let published = publish_demo(&core, "live/a");
    let path = playlist(&core, "/live/a/index.m3u8?key=x").await;
    for _ in 0..3 {
        let list = get(&core, &path).await;
        assert!(
            list.has("content-type: application/vnd.apple.mpegurl") && list.has("cache-control: no-cache")
        );
        assert!(get(&core, &media(&list)[0]).await.body.len() > 1_000);
    }
    let sessions = core.sessions.list();
    let [viewer] = &sessions[..] else { panic!("{sessions:?}") };
    assert_eq!((viewer.door, viewer.role), (Door::Hls, SessionRole::Player));
    assert!(viewer.bytes_out > 3_000, "{viewer:?}");
    assert_eq!(
        core.hub.stream(published.key()).unwrap().subscribers,
        2,
        "it, and what makes HLS of the stream"
    );
    let ended = loop {
        match next(&mut events).await {
            Event::PlayEnded { session, bytes_sent, reason, .. } => {
                break (session, bytes_sent > 3_000, reason);
            }
            Event::PlayStarted { session, door, .. } => assert_eq!((session, door), (viewer.id, Door::Hls)),
            _ => {}
        }
    };
    assert_eq!(ended, (viewer.id, true, "asks no more".to_owned()));
    assert_eq!(core.sessions.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn media_are_what_was_published_and_may_be_kept() {
    let core = core(|_| ());
    let _published = publish_demo(&core, "live/a");
    let list = get(&core, &playlist(&core, "/live/a/index.m3u8").await).await;
    let names = media(&list);
    assert!(names.len() >= 3, "{}", list.text());
    for name in &names {
        let got = get(&core, name).await;
        assert!(
            got.has("content-type: video/iso.segment")
                && got.has("cache-control: public, max-age=3600, immutable")
        );
        assert_eq!(&got.body[4..8], b"moof");
        let some = reply(ask(&core, "GET", name, "Range: bytes=4-7\r\n").await).await;
        assert_eq!((some.status, &some.body[..]), (206, &b"moof"[..]));
        assert!(some.has(&format!("content-range: bytes 4-7/{}", got.body.len())));
        let head = reply(ask(&core, "HEAD", name, "").await).await;
        assert!(head.body.is_empty() && head.has(&format!("content-length: {}", got.body.len())));
    }
    assert_eq!(&get(&core, &uri(&list, "#EXT-X-MAP")).await.body[4..8], b"ftyp");
    for range in ["bytes=99999999-", "bytes=0-"] {
        let got = reply(ask(&core, "GET", &names[0], &format!("Range: {range}\r\n")).await).await;
        assert_eq!(got.status, if range == "bytes=0-" { 206 } else { 416 });
    }
    let folder = names[0].rsplit_once('/').unwrap().0;
    for name in ["v1.m4s", "vp99999.m4s", "vi7.mp4", "x.ts"] {
        assert_eq!(get(&core, &format!("{folder}/{name}")).await.status, 404, "{name}");
    }
    assert_eq!(get(&core, &format!("/live/a/{}/v1.m4s", "0".repeat(32))).await.status, 404);
}

#[tokio::test(start_paused = true)]
async fn what_is_waited_for_comes_as_soon_as_it_is_there() {
    let core = core(|_| ());
    let published = publish_demo(&core, "live/a");
    let path = playlist(&core, "/live/a/index.m3u8").await;
    let list = get(&core, &path).await;
    let hint = uri(&list, "#EXT-X-PRELOAD-HINT");
    let open = open_segment(&list);
    let hinted = ask(&core, "GET", &hint, "").await;
    let awaited = ask(&core, "GET", &format!("{path}&_HLS_msn={open}"), "").await;
    sleep(Duration::from_secs(1)).await;
    // The clip once more, behind the first.
    for frame in demo_frames() {
        let later = crate::media::Frame { timestamp: frame.timestamp + 10_000, ..frame };
        published.push(later).unwrap();
    }
    let (hinted, awaited) = (reply(hinted).await, reply(awaited).await);
    assert_eq!((hinted.status, &hinted.body[4..8]), (200, &b"moof"[..]));
    assert_eq!(awaited.status, 200);
    assert!(awaited.text().contains(&format!("/v{open}.m4s")), "{}", awaited.text());
    for (query, status) in [
        ("_HLS_part=0", 400),
        ("_HLS_msn=x", 400),
        ("_HLS_msn=99999999999", 400),
        ("_HLS_msn=0", 200),
        ("_HLS_skip=YES", 200),
    ] {
        assert_eq!(get(&core, &format!("{path}&{query}")).await.status, status, "{query}");
    }
    // Nothing more comes.
    let since = Instant::now();
    let stuck = get(&core, &format!("{path}&_HLS_msn={}", open + 6)).await;
    assert!(matches!(stuck.status, 400 | 503), "{}", stuck.status);
    let last = get(&core, &path).await;
    let next = open_segment(&last);
    let stuck = get(&core, &format!("{path}&_HLS_msn={next}")).await;
    assert_eq!(stuck.status, 503);
    assert!(since.elapsed() >= Duration::from_secs(6), "three times TARGETDURATION: {:?}", since.elapsed());
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_segment_is_told_a_part_s_time_after_the_part_before_and_other_parts_are_at_once() {
    const GOP: i64 = 28;
    let core = core(|_| ());
    let published =
        Published::by_engine(&core, &key("live/a"), "test", &[], &PublisherConfig::default()).unwrap();
    let push = |numbers: std::ops::Range<i64>| {
        for number in numbers {
            let frame = if number % GOP == 0 { keyframe } else { inter };
            published.push(frame(number * 40, 100)).unwrap();
        }
    };
    published.push(avc_header(0, AVC_RECORDS[0])).unwrap();
    push(0..3 * GOP + 1);
    let path = playlist(&core, "/live/a/index.m3u8").await;
    let list = get(&core, &path).await;
    let open = open_segment(&list);
    // Five parts of five pictures each; three pictures are left to the last one.
    let part = |number: u64| format!("{path}&_HLS_msn={open}&_HLS_part={number}");
    let (fifth, last) = (ask(&core, "GET", &part(4), "").await, ask(&core, "GET", &part(5), "").await);
    let began = Instant::now();
    push(3 * GOP + 1..3 * GOP + 26);
    let fifth = reply(fifth).await;
    assert!(fifth.status == 200 && began.elapsed() < Duration::from_millis(20), "{:?}", began.elapsed());
    push(3 * GOP + 26..4 * GOP + 1);
    let last = reply(last).await;
    assert!(last.text().contains(&format!("/v{open}.m4s")), "{}", last.text());
    let took = began.elapsed();
    assert!((200..=230).contains(&took.as_millis()), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_browser_that_asks_by_itself_waits_for_news_and_gets_what_there_is_where_none_comes() {
    let core = core(|_| ());
    let published = publish_demo(&core, "live/a");
    let path = playlist(&core, "/live/a/index.m3u8").await;
    let by_itself = async || ask(&core, "GET", &path, "Range: bytes=0-\r\n").await;
    let began = Instant::now();
    let first = reply(by_itself().await).await;
    assert!(first.status == 200 && began.elapsed() < Duration::from_millis(100), "nothing was shown before");
    let script = get(&core, &path).await;
    assert!(script.text() == first.text() && began.elapsed() < Duration::from_millis(100), "a script's own");
    let waiting = by_itself().await;
    sleep(Duration::from_secs(1)).await;
    for frame in demo_frames() {
        let later = crate::media::Frame { timestamp: frame.timestamp + 10_000, ..frame };
        published.push(later).unwrap();
    }
    let (news, old) = (reply(waiting).await, media(&first));
    let is_news = |name: &String| !old.contains(name);
    assert!(news.status == 200 && media(&news).iter().any(is_news), "{}", news.text());
    let began = Instant::now();
    let stuck = reply(by_itself().await).await;
    assert_eq!((stuck.status, media(&stuck)), (200, media(&get(&core, &path).await)));
    assert!(began.elapsed() >= Duration::from_secs(6), "three times TARGETDURATION: {:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn playlists_are_packed_where_that_is_asked_for() {
    let core = core(|_| ());
    let _published = publish_demo(&core, "live/a");
    let path = playlist(&core, "/live/a/index.m3u8").await;
    let plain = get(&core, &path).await;
    let packed = reply(ask(&core, "GET", &path, "Accept-Encoding: gzip\r\n").await).await;
    assert!(packed.has("content-encoding: gzip") && packed.has("vary: accept-encoding"));
    let mut text = String::new();
    let mut reader = flate2::read::GzDecoder::new(&packed.body[..]);
    std::io::Read::read_to_string(&mut reader, &mut text).unwrap();
    assert_eq!(text, plain.text());
    assert!(packed.body.len() < plain.body.len() / 3, "{} of {}", packed.body.len(), plain.body.len());
}

#[tokio::test(start_paused = true)]
async fn streams_are_where_other_servers_have_them() {
    let core = core(|_| ());
    let _published = publish_demo(&core, "live/a");
    for index in ["/hls/a.m3u8", "/hls/a/index.m3u8", "/live/a/stream.m3u8"] {
        let path = playlist(&core, index).await;
        assert!(path.starts_with("/live/a/video.m3u8?v="), "{index}: {path}");
        assert_eq!(get(&core, &path).await.status, 200, "{index}");
    }
    assert_eq!(get(&core, "/hls/b.m3u8").await.status, 404);
}

#[tokio::test(start_paused = true)]
async fn an_app_may_have_no_hls_or_that_of_old_boxes() {
    let off = core(|config| config.default_app.hls.when = crate::HlsWhen::Off);
    let _published = publish_demo(&off, "live/a");
    let got = get(&off, "/live/a/index.m3u8").await;
    assert_eq!(got.status, 404);
    assert!(got.text().contains("hls.when"), "{}", got.text());
    let ts = core(|config| config.default_app.hls.format = HlsFormat::Ts);
    let _published = publish_demo(&ts, "live/a");
    let list = get(&ts, &playlist(&ts, "/live/a/index.m3u8").await).await;
    assert!(!list.text().contains("#EXT-X-MAP") && !list.text().contains("#EXT-X-PART"), "{}", list.text());
    for name in media(&list) {
        let got = get(&ts, &name).await;
        assert!(name.ends_with(".ts") && got.has("content-type: video/mp2t"));
        assert!(got.body.chunks(188).all(|packet| packet.len() == 188 && packet[0] == 0x47), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_ends_says_so_and_one_that_nobody_publishes_is_not_found() {
    let core = core(|config| config.default_app.wait_for_publisher_ms = 1_000);
    let published = publish_demo(&core, "live/a");
    let path = playlist(&core, "/live/a/index.m3u8").await;
    let waiting = ask(&core, "GET", &format!("{path}&_HLS_msn=99999999"), "").await;
    drop(waiting);
    published.finish("over");
    sleep(Duration::from_secs(1)).await;
    assert!(get(&core, &path).await.text().ends_with("#EXT-X-ENDLIST\n"));
    let since = Instant::now();
    assert_eq!(get(&core, "/live/b/index.m3u8").await.status, 404);
    assert!(since.elapsed() >= Duration::from_secs(1), "it has waited");
}

#[tokio::test(start_paused = true)]
async fn who_comes_after_the_end_gets_the_rest_for_as_long_as_it_is_held() {
    let core = core(|config| config.default_app.wait_for_publisher_ms = 0);
    let published = publish_demo(&core, "live/a");
    let path = playlist(&core, "/live/a/index.m3u8").await;
    published.finish("over");
    sleep(Duration::from_secs(1)).await;
    // Players by other doors wait for the next publisher: that is none yet.
    let options = crate::hub::SubscribeOptions { wait: None, ..Default::default() };
    let _waiting = core.hub.subscribe(&key("live/a"), options);
    let rest = get(&core, &path).await;
    assert!(rest.text().ends_with("#EXT-X-ENDLIST\n"), "{}", rest.text());
    let newcomer = playlist(&core, "/live/a/index.m3u8").await;
    let list = get(&core, &newcomer).await;
    assert_eq!(list.text(), rest.text());
    assert!(get(&core, &media(&list)[0]).await.body.len() > 1_000);
    assert_eq!(core.sessions.count(), 2, "each of them is a viewer");
    // Twice the window.
    sleep(Duration::from_secs(24)).await;
    assert_eq!(get(&core, "/live/a/index.m3u8").await.status, 404);
    assert_eq!(core.sessions.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_comes_after_the_end_of_a_stream_that_is_fetched_on_demand_waits_for_it() {
    let core = core(|config| config.default_app.wait_for_publisher_ms = 3_000);
    let published = publish_demo(&core, "live/a");
    playlist(&core, "/live/a/index.m3u8").await;
    published.finish("over");
    sleep(Duration::from_secs(1)).await;
    let demand = core.hub.demand(&key("live/a"));
    let newcomer = ask(&core, "GET", "/live/a/index.m3u8", "").await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(*demand.borrow(), 1, "it is wanted");
    let _again = publish_demo(&core, "live/a");
    assert_eq!(reply(newcomer).await.status, 200);
    let list = get(&core, &playlist(&core, "/live/a/index.m3u8").await).await;
    assert!(!list.text().contains("#EXT-X-ENDLIST"), "{}", list.text());
}

#[tokio::test(start_paused = true)]
async fn the_memory_of_one_stream_is_bounded() {
    let core = core(|config| config.limits.hls_bytes = 100_000);
    let _published = publish_demo(&core, "live/a");
    let got = get(&core, "/live/a/index.m3u8").await;
    assert_eq!(got.status, 503, "{}", got.text());
    assert!(got.text().contains("limits.hls_bytes") && got.has("retry-after: 1"), "{}", got.text());
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_more_than_may_be_held_has_a_shorter_playlist() {
    // Of the clip's segments four are whole, and have room; what is open of the fifth has none beside them.
    let mut listed = Vec::new();
    for most in [400_000, usize::MAX] {
        let core = core(|config| config.limits.hls_bytes = most);
        let _published = publish_demo(&core, "live/a");
        let list = get(&core, &playlist(&core, "/live/a/index.m3u8").await).await;
        listed.push(media(&list).len());
    }
    assert_eq!(listed, [3, 4]);
}

#[tokio::test(start_paused = true)]
async fn the_memory_of_all_streams_is_bounded() {
    let core = core(|config| config.limits.hls_bytes_total = 800_000);
    let streams: Vec<_> =
        ["live/a", "live/b", "live/c"].iter().map(|name| publish_demo(&core, name)).collect();
    let mut statuses = Vec::new();
    for stream in &streams {
        statuses.push(get(&core, &format!("/{}/index.m3u8", stream.key())).await.status);
    }
    assert_eq!((statuses[0], statuses[2]), (200, 503), "{statuses:?}");
}

#[tokio::test(start_paused = true)]
async fn there_are_so_many_viewers_at_most() {
    let core = core(|config| config.limits.hls_viewers = 2);
    let _published = publish_demo(&core, "live/a");
    for status in [200, 200, 503] {
        assert_eq!(get(&core, "/live/a/index.m3u8").await.status, status);
    }
    // They have left.
    sleep(Duration::from_secs(20)).await;
    assert_eq!(get(&core, "/live/a/index.m3u8").await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_viewer_of_an_earlier_life_of_the_server_goes_on() {
    let core = core(|_| ());
    let _published = publish_demo(&core, "live/a");
    let token = "0123456789abcdef0123456789abcdef";
    assert_eq!(get(&core, &format!("/live/a/video.m3u8?v={token}")).await.status, 200);
    assert_eq!(get(&core, &format!("/live/a/video.m3u8?v={token}")).await.status, 200);
    assert_eq!(core.sessions.count(), 1, "it is known by the token that it brought");
}

#[tokio::test(start_paused = true)]
async fn a_viewer_whose_stream_is_called_otherwise_in_its_url_is_let_in_once() {
    let asked = Arc::new(Mutex::new(0));
    let counter = asked.clone();
    let decide = move |_: AuthRequest, ticket: Ticket| {
        *counter.lock() += 1;
        ticket.accept(Grant::default().stream(key("live/a")));
    };
    let core = core_with(Config::default(), decide);
    let _published = publish_demo(&core, "live/a");
    let path = playlist(&core, "/live/s3cret/index.m3u8").await;
    assert!(path.starts_with("/live/s3cret/video.m3u8?v="), "{path}");
    for _ in 0..3 {
        let list = get(&core, &path).await;
        assert!(list.status == 200 && !list.text().contains("s3cret"), "{}", list.text());
    }
    assert_eq!((*asked.lock(), core.sessions.count()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn the_newest_keyframe_is_a_film_of_one_picture() {
    let core = core(|_| ());
    let published = publish_demo(&core, "live/a");
    let got = get(&core, "/live/a/keyframe.mp4").await;
    assert!(got.status == 200 && got.has("content-type: video/mp4") && got.has("cache-control: no-store"));
    let keyframe =
        demo_frames().into_iter().rfind(|frame| frame.flags.keyframe && !frame.is_config()).unwrap();
    assert_eq!(&got.body[4..8], b"ftyp");
    assert!(got.body.ends_with(&keyframe.payload[5..]), "what is decoded is the newest keyframe");
    assert_eq!(get(&core, "/live/b/keyframe.mp4").await.status, 404);
    published.finish("over");
    assert_eq!(get(&core, "/live/a/keyframe.mp4").await.status, 404);
    assert_eq!(core.sessions.count(), 0);
}
