//! What foreign programs read of a live stream of MP4 is what was published: every packet, and when it is shown.

use md5::{Digest, Md5};
use std::path::{Path, PathBuf};
use streamengine_tests::flv::{Extent, Recording, Tag, Track, match_run};
use streamengine_tests::http::{HttpPeer, Way};
use streamengine_tests::peers::{self, Ffmpeg, Packet, Speed};
use streamengine_tests::{
    Engine, PATIENCE, Proc, Signal, demo_clip, needs, shared_clip, streamengine, unique,
};

const ENHANCED: &str = "shared:bbb-av1-opus-30s.flv";

/// What of a tag is for the decoder, and how many milliseconds after its decoding it is shown.
pub(crate) fn coded(tag: &Tag) -> (&[u8], i32) {
    let composition =
        |at: usize| i32::from_be_bytes([tag.body[at], tag.body[at + 1], tag.body[at + 2], 0]) >> 8;
    match (tag.track(), tag.body[0]) {
        (Some(Track::Video), first) if first & 0x80 == 0 => (&tag.body[5..], composition(2)),
        (Some(Track::Video), first) if first & 0x0f == 1 && &tag.body[1..5] == b"hvc1" => {
            (&tag.body[8..], composition(5))
        }
        (Some(Track::Audio), first) if first >> 4 == 10 => (&tag.body[2..], 0),
        // MP3.
        (Some(Track::Audio), first) if first >> 4 == 2 => (&tag.body[1..], 0),
        _ => (&tag.body[5..], 0),
    }
}

/// MD5 as ffprobe writes it.
pub(crate) fn hash(data: &[u8]) -> String {
    let digits: String = Md5::digest(data).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("MD5:{digits}")
}

/// Fails the test unless these are the frames of the source, each at its time.
fn assert_arrived(source: &Recording, got: &[Packet], extent: Extent) {
    for (track, kind) in [(Track::Video, "video"), (Track::Audio, "audio")] {
        let sent = source.frames(track);
        let got: Vec<_> = got.iter().filter(|packet| packet.codec_type == kind).collect();
        let hashes: Vec<_> = sent.iter().map(|tag| hash(coded(tag).0)).collect();
        let came: Vec<_> = got.iter().map(|packet| packet.hash.clone()).collect();
        assert!(came.len() > 50, "{kind}: only {} packets", came.len());
        let start = match_run(&hashes, &came, extent).unwrap_or_else(|why| panic!("{kind}: {why}"));
        let (first, began) = (sent[start].timestamp, got[0].dts);
        for (number, (packet, tag)) in got.iter().zip(&sent[start..]).enumerate() {
            let at = f64::from(tag.timestamp - first) / 1_000.0;
            let shown = at + f64::from(coded(tag).1) / 1_000.0;
            let is_near = |a: f64, b: f64| (a - b).abs() < 0.000_1;
            let (dts, pts) = (packet.dts - began, packet.pts - began);
            assert!(
                is_near(dts, at) && is_near(pts, shown),
                "{kind} {number}: {dts} {pts}, not {at} {shown}"
            );
        }
    }
}

/// The player asks before the publisher comes, so it gets the whole clip.
fn plays_all(clip: &Path, ffmpeg: Ffmpeg) {
    let engine = Engine::serve().http().start();
    let name = format!("live/{}", unique("clip"));
    let probe = peers::ffprobe(&engine.http_url(&format!("/{name}.mp4")));
    engine.wait_players(&name, 1);
    ffmpeg.publish(clip, &engine.url(&name), Speed::Fast).succeed(PATIENCE);
    assert_arrived(&Recording::read(clip), &peers::packets(&probe), Extent::Whole);
}

#[test]
fn ffmpeg_reads_the_h264_and_aac_of_the_demo_clip() {
    needs!("ffmpeg", "ffprobe");
    plays_all(&demo_clip(), Ffmpeg::System);
}

#[test]
fn ffmpeg_reads_hevc_and_aac() {
    needs!("ffprobe", "current-ffmpeg");
    let folder = tempfile::tempdir().expect("a folder");
    let clip = folder.path().join("hevc.flv");
    let mut args = vec!["-hide_banner", "-nostdin", "-loglevel", "error"];
    args.extend([
        "-f",
        "lavfi",
        "-i",
        "testsrc2=size=320x180:rate=25",
        "-f",
        "lavfi",
        "-i",
        "sine=sample_rate=48000",
    ]);
    // With pictures that are shown in another order.
    args.extend([
        "-c:v",
        "libx265",
        "-preset",
        "ultrafast",
        "-g",
        "25",
        "-x265-params",
        "bframes=3:log-level=error",
    ]);
    args.extend(["-c:a", "aac", "-t", "5", "-f", "flv"]);
    let path = clip.to_string_lossy().into_owned();
    args.push(&path);
    let ffmpeg = peers::current_ffmpeg().expect("current ffmpeg");
    Proc::spawn("ffmpeg", peers::command(&ffmpeg.to_string_lossy(), args)).succeed(PATIENCE);
    plays_all(&clip, Ffmpeg::Current);
}

fn enhanced_clip() -> PathBuf {
    shared_clip("bbb-av1-opus-30s.flv").expect("shared clip")
}

#[test]
fn ffmpeg_reads_av1_and_opus_of_a_shared_clip() {
    needs!("ffprobe", ENHANCED);
    let engine = Engine::serve().http().start();
    let name = format!("live/{}", unique("clip"));
    let probe = peers::ffprobe(&engine.http_url(&format!("/{name}.mp4")));
    engine.wait_players(&name, 1);
    let looper = streamengine(["loop", &enhanced_clip().to_string_lossy(), &engine.url(&name)]);
    let mut counter = HttpPeer::dial(engine.http()).expect("connect");
    assert_eq!(counter.play(Way::Reply, &name).expect("a reply"), 200);
    for _ in 0..400 {
        counter.tag().expect("a tag").expect("more of the stream");
    }
    looper.signal(Signal::INT);
    assert_eq!(looper.wait(PATIENCE), 0, "{}", looper.log());
    assert_arrived(&Recording::read(&enhanced_clip()), &peers::packets(&probe), Extent::Run);
}

/// The types of the boxes that a message consists of, which it has wholly.
fn boxes(mut message: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    while !message.is_empty() {
        let len = u32::from_be_bytes(message[..4].try_into().expect("a box's size")) as usize;
        names.push(String::from_utf8_lossy(&message[4..8]).into_owned());
        message = &message[len..];
    }
    names
}

#[test]
fn a_web_socket_has_whole_boxes_in_messages_and_ffmpeg_reads_what_they_make() {
    needs!("ffmpeg", "ffprobe");
    let engine = Engine::serve().http().start();
    let name = format!("live/{}", unique("clip"));
    let mut peer = HttpPeer::dial(engine.http()).expect("connect");
    peer.send(streamengine_tests::http::upgrade(&format!("/{name}.mp4")));
    engine.wait_players(&name, 1);
    let publisher = peers::ffmpeg_publish(&demo_clip(), &engine.url(&name), Speed::Fast);
    assert_eq!(peer.head().expect("a reply").0, 101);
    let (first, text) = peer.message().expect("a text");
    let told: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    let kind = told["type"].as_str().unwrap_or_default();
    assert!(
        first == 0x81 && kind.starts_with("video/mp4; codecs=\"avc1.") && kind.ends_with(",mp4a.40.2\""),
        "{told}"
    );
    let mut file = Vec::new();
    loop {
        let (first, message) = peer.message().expect("a message");
        if first == 0x88 {
            assert_eq!(message[..2], [3, 0xe8], "the end of the stream");
            break;
        }
        let expected = if file.is_empty() { ["ftyp", "moov"] } else { ["moof", "mdat"] };
        assert_eq!((first, boxes(&message)), (0x82, expected.map(str::to_owned).to_vec()));
        file.extend(message);
    }
    publisher.succeed(PATIENCE);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("stream.mp4");
    std::fs::write(&path, file).expect("write");
    let packets = peers::ffprobe_packets(&path.to_string_lossy());
    assert_arrived(&Recording::read(&demo_clip()), &packets, Extent::Whole);
}

#[test]
fn curl_is_told_by_head_what_there_is() {
    needs!("ffmpeg", "curl");
    let engine = Engine::serve().http().start();
    let name = format!("live/{}", unique("clip"));
    let _publisher = peers::ffmpeg_publish_forever(&demo_clip(), &engine.url(&name));
    engine.wait_publish(&name);
    let url = engine.http_url(&format!("/{name}.mp4"));
    let curl = Proc::spawn("curl", peers::command("curl", ["--silent", "--head", &url]));
    curl.succeed(PATIENCE);
    let head = curl.out.all().join("\n").to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 200") && head.contains("content-type: video/mp4"), "{head}");
}
