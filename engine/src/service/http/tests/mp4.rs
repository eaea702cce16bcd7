//! Promises to players of MP4.

use super::*;
use crate::media::elementary::Demuxer;
use crate::media::fmp4::reading::{Read, boxes, read};
use crate::media::{Frame, FrameKind};
use crate::testing::demo_frames;

const GET_MP4: &str = "GET /live/a.mp4 HTTP/1.1\r\nHost: h\r\n\r\n";
const DEMO_TYPE: &str = "video/mp4; codecs=\"avc1.";

/// Publishes the beginning of the clip; what of it is coded.
fn publish_demo(core: &Arc<Core>) -> (Published, Vec<Vec<u8>>) {
    let published =
        Published::by_engine(core, &key("live/a"), "test", &[], &PublisherConfig::default()).unwrap();
    let frames: Vec<_> = demo_frames().into_iter().take(60).collect();
    let mut demuxer = Demuxer::new();
    let mut coded = Vec::new();
    for frame in frames {
        let samples = demuxer.push(&frame).unwrap();
        let is_media = |kind: FrameKind| kind != FrameKind::Data;
        coded.extend(
            samples
                .into_iter()
                .filter(|sample| !sample.config && is_media(frame.kind))
                .map(|sample| sample.data.to_vec()),
        );
        published.push(frame).unwrap();
    }
    (published, coded)
}

fn data(pieces: Vec<Read>) -> Vec<Vec<u8>> {
    let data = |piece| match piece {
        Read::Init(_) => None,
        Read::Sample(sample) => Some(sample.data),
    };
    pieces.into_iter().filter_map(data).collect()
}

/// Reads so many samples, each in a chunk of its own, behind the init segment.
async fn read_mp4(io: &mut DuplexStream, samples: usize) -> Vec<Read> {
    let mut pieces = Vec::new();
    while pieces.len() < 1 + samples {
        pieces.extend(read(&read_chunk(io).await));
    }
    pieces
}

#[tokio::test(start_paused = true)]
async fn a_player_gets_an_init_segment_and_every_frame_and_its_end() {
    let core = core(|_| ());
    let (published, coded) = publish_demo(&core);
    let mut io = open(&core);
    io.write_all(GET_MP4.as_bytes()).await.unwrap();
    let head = read_head(&mut io).await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(
        head.contains(&format!("content-type: {DEMO_TYPE}")) && head.contains(",mp4a.40.2\"\r\n"),
        "{head}"
    );
    for line in ["cache-control: no-store", "x-accel-buffering: no", "transfer-encoding: chunked"] {
        assert!(head.contains(&format!("\r\n{line}\r\n")), "{line}: {head}");
    }
    let pieces = read_mp4(&mut io, coded.len()).await;
    let Read::Init(tracks) = &pieces[0] else { panic!("{:?}", pieces[0]) };
    assert_eq!(tracks.iter().map(|track| track.entry.as_str()).collect::<Vec<_>>(), ["avc1", "mp4a"]);
    assert_eq!(data(pieces), coded);
    // On the shard from here on.
    let later = audio(9_000);
    published.push(later.clone()).unwrap();
    assert_eq!(data(read(&read_chunk(&mut io).await)), [later.payload[2..].to_vec()]);
    published.finish("over");
    assert_eq!(read_chunk(&mut io).await, b"");
    assert!(is_closed(&mut io).await);
}

#[tokio::test(start_paused = true)]
async fn old_http_gets_the_same_until_the_connection_ends() {
    let core = core(|_| ());
    let (published, coded) = publish_demo(&core);
    let mut io = open_with(&core, 1 << 20);
    io.write_all(b"GET /live/a.mp4 HTTP/1.0\r\n\r\n").await.unwrap();
    let head = read_head(&mut io).await;
    assert!(
        head.starts_with("HTTP/1.1 200") && !head.contains("chunked") && head.contains(DEMO_TYPE),
        "{head}"
    );
    published.finish("over");
    let mut bytes = Vec::new();
    io.read_to_end(&mut bytes).await.unwrap();
    assert_eq!(data(read(&bytes)), coded);
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_http_2_has_the_type_and_the_same_bytes() {
    let core = core(|_| ());
    let (published, coded) = publish_demo(&core);
    let mut client = h2::Client::open(&core).await;
    let response = client.get("/live/a.mp4").await;
    let content_type = response.headers()["content-type"].to_str().unwrap().to_owned();
    assert!(content_type.starts_with(DEMO_TYPE), "{content_type}");
    published.finish("over");
    let mut body = response.into_body();
    let mut bytes = Vec::new();
    while let Some(part) = timeout(Duration::from_secs(60), body.data()).await.expect("in time") {
        let part = part.unwrap();
        body.flow_control().release_capacity(part.len()).unwrap();
        bytes.extend_from_slice(&part);
    }
    assert_eq!(data(read(&bytes)), coded);
}

#[tokio::test(start_paused = true)]
async fn a_web_socket_gets_the_type_as_text_and_whole_boxes() {
    let core = core(|_| ());
    let (published, coded) = publish_demo(&core);
    let mut io = open(&core);
    io.write_all(UPGRADE.replace("a.flv", "a.mp4").as_bytes()).await.unwrap();
    assert!(read_head(&mut io).await.starts_with("HTTP/1.1 101"));
    let (first, text) = read_frame(&mut io).await;
    let told: serde_json::Value = serde_json::from_slice(&text).unwrap();
    assert!(first == 0x81 && told["type"].as_str().unwrap().starts_with(DEMO_TYPE), "{first:x} {told}");
    let mut samples = Vec::new();
    for expected in std::iter::once(["ftyp", "moov"]).chain(coded.iter().map(|_| ["moof", "mdat"])) {
        let (first, message) = read_frame(&mut io).await;
        let names: Vec<_> = boxes(&message).into_iter().map(|(name, _)| name).collect();
        assert_eq!((first, names), (0x82, expected.map(str::to_owned).to_vec()));
        samples.extend(data(read(&message)));
    }
    assert_eq!(samples, coded);
    published.finish("over");
    let (first, payload) = read_frame(&mut io).await;
    assert_eq!((first, &payload[..2]), (0x88, &[3, 0xe8][..]));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_has_no_form_in_mp4_is_refused_in_words() {
    let core = core(|_| ());
    let published =
        Published::by_engine(&core, &key("live/a"), "test", &[], &PublisherConfig::default()).unwrap();
    for (kind, at, payload) in [
        (FrameKind::Video, 0, &b"\x91vp08data"[..]),
        (FrameKind::Audio, 0, b"\xb2speex"),
        (FrameKind::Video, 40, b"\xa1vp08data"),
    ] {
        published.push(Frame::new(kind, at, bytes::Bytes::from_static(payload))).unwrap();
    }
    let mut events = core.events.subscribe();
    let mut io = open(&core);
    io.write_all(GET_MP4.as_bytes()).await.unwrap();
    let head = read_head(&mut io).await;
    assert!(head.starts_with("HTTP/1.1 406 ") && head.contains("text/plain"), "{head}");
    let body = String::from_utf8(read_until(&mut io, b"\n").await).unwrap();
    assert!(body.contains("MP4 has no form") && body.ends_with(" /live/a.flv\n"), "{body}");
    assert!(closed_reason(&mut events).await.contains("MP4 has no form"));
    let mut io = open(&core);
    io.write_all(UPGRADE.replace("a.flv", "a.mp4").as_bytes()).await.unwrap();
    assert!(read_head(&mut io).await.starts_with("HTTP/1.1 101"));
    let (first, payload) = read_frame(&mut io).await;
    assert_eq!((first, u16::from_be_bytes([payload[0], payload[1]])), (0x88, 4_406));
}

#[tokio::test(start_paused = true)]
async fn head_tells_the_container_and_whether_the_stream_is_there() {
    let core = core(|config| config.default_app.wait_for_publisher_ms = 0);
    let (_published, _) = publish_demo(&core);
    let mut io = open(&core);
    for (target, status, content_type) in [
        ("/live/a.mp4", 200, "video/mp4"),
        ("/live/a.flv", 200, "video/x-flv"),
        ("/live/b.mp4", 404, "text/plain"),
    ] {
        io.write_all(format!("HEAD {target} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes()).await.unwrap();
        let head = read_head(&mut io).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{target}: {head}");
        assert!(head.contains(&format!("content-type: {content_type}")), "{target}: {head}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_door_is_told_and_a_name_may_end_as_urls_do() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let told = asked.clone();
    let core = core_with(Config::default(), move |request: AuthRequest, ticket: Ticket| {
        told.lock().push((request.door, request.stream().to_string()));
        ticket.accept(Grant::default());
    });
    let published = publish(&core, "live/b.mp4");
    published.push(Frame::new(FrameKind::Audio, 50, bytes::Bytes::from_static(b"\xaf\0\x11\x88"))).unwrap();
    for (request, content_type) in [
        (GET_MP4.replace("a.mp4", "b.mp4.mp4"), "audio/mp4"),
        (GET_MP4.replace("a.mp4", "b.mp4.flv"), "video/x-flv"),
        (UPGRADE.replace("a.flv", "b.mp4.mp4"), ""),
    ] {
        let mut io = open(&core);
        io.write_all(request.as_bytes()).await.unwrap();
        let head = read_head(&mut io).await;
        assert!(head.contains(content_type), "{head}");
    }
    use crate::Door::{HttpFlv, HttpMp4, WebSocket};
    let expected = [HttpMp4, HttpFlv, WebSocket].map(|door| (door, "live/b.mp4".to_owned()));
    assert_eq!(*asked.lock(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_comes_late_ends_the_reply_so_that_the_player_comes_again() {
    let core = core(|_| ());
    let published =
        Published::by_engine(&core, &key("live/a"), "test", &[], &PublisherConfig::default()).unwrap();
    let frames = demo_frames();
    let (audio, video): (Vec<_>, Vec<_>) = frames
        .into_iter()
        .filter(|frame| frame.kind != FrameKind::Data)
        .partition(|frame| frame.kind == FrameKind::Audio);
    video.iter().take(40).for_each(|frame| published.push(frame.clone()).unwrap());
    let mut io = open(&core);
    io.write_all(GET_MP4.as_bytes()).await.unwrap();
    let head = read_head(&mut io).await;
    assert!(head.contains(DEMO_TYPE) && !head.contains("mp4a"), "{head}");
    audio.iter().take(3).for_each(|frame| published.push(frame.clone()).unwrap());
    while !read_chunk(&mut io).await.is_empty() {}
    assert!(is_closed(&mut io).await);
}
