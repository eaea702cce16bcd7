//! `flvloopsrc`: two passes of a file are one stream.

mod support;

use gst::prelude::*;
use std::collections::HashMap;
use std::path::Path;
use streamengine::media::flv::{TAG_HEADER_LEN, TagHeader};
use streamengine::media::flv_file::FlvReader;

const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/media/demo.flv");
const VIDEO: u8 = 9;
const AUDIO: u8 = 8;

/// Times in milliseconds and bodies of coded frames, by type of tag.
type Tracks = HashMap<u8, Vec<(i64, Vec<u8>)>>;

/// What the file itself has.
fn file_tracks() -> Tracks {
    let mut reader = FlvReader::open(Path::new(DEMO)).unwrap();
    let mut tracks = Tracks::new();
    while let Some(tag) = reader.next_tag().unwrap() {
        let frame = tag.frame;
        // Neither configuration nor the end of sequence.
        if frame.kind.type_id() != 18 && frame.payload[1] == 1 {
            tracks.entry(frame.kind.type_id()).or_default().push((frame.timestamp, frame.payload.to_vec()));
        }
    }
    tracks
}

/// Plays a line with an appsink `s` to its end: whole tags, with the buffers' times checked.
fn play(line: &str) -> Vec<(u8, i64, Vec<u8>)> {
    let pipeline = gst::parse::launch(line).unwrap().downcast::<gst::Pipeline>().unwrap();
    let sink = pipeline.by_name("s").unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let timeout = gst::ClockTime::from_seconds(10).nseconds();
    let pull = || sink.emit_by_name::<Option<gst::Sample>>("try-pull-sample", &[&timeout]);
    let bytes = |sample: &gst::Sample| sample.buffer().unwrap().map_readable().unwrap().to_vec();
    assert_eq!(bytes(&pull().unwrap())[..4], *b"FLV\x01");
    let mut tags = Vec::new();
    while let Some(sample) = pull() {
        let bytes = bytes(&sample);
        let header = TagHeader::parse(&bytes[..TAG_HEADER_LEN].try_into().unwrap());
        assert_eq!(bytes.len(), TAG_HEADER_LEN + header.length as usize + 4, "one tag per buffer");
        let pts = sample.buffer().unwrap().pts().unwrap();
        // The tag has whole milliseconds, the buffer all of them.
        assert!(pts.mseconds().abs_diff(u64::from(header.timestamp)) <= 1, "{pts} {}", header.timestamp);
        let body = bytes[TAG_HEADER_LEN..bytes.len() - 4].to_vec();
        tags.push((header.tag_type, i64::from(header.timestamp), body));
    }
    assert!(sink.property::<bool>("eos"), "it ends");
    pipeline.set_state(gst::State::Null).unwrap();
    tags
}

#[test]
fn two_loops_are_one_stream_without_a_seam() {
    let _limit = support::start("two_loops_are_one_stream_without_a_seam");
    let tags = play(&format!("flvloopsrc location={DEMO} loops=2 ! appsink name=s sync=false"));
    let configs = |kind| tags.iter().filter(|(k, _, body)| *k == kind && body[1] == 0).count();
    assert_eq!((configs(VIDEO), configs(AUDIO)), (1, 1), "sequence headers come once");
    assert_eq!(tags.iter().filter(|(kind, ..)| *kind == 18).count(), 1, "and so does the metadata");
    for (kind, once) in file_tracks() {
        let twice: Vec<_> = tags.iter().filter(|(k, _, body)| *k == kind && body[1] == 1).collect();
        assert_eq!(twice.len(), 2 * once.len());
        let bodies = twice.iter().map(|(_, _, body)| body);
        assert!(bodies.eq(once.iter().chain(&once).map(|(_, body)| body)), "frames of type {kind} differ");
        let steps: Vec<i64> = twice.windows(2).map(|pair| pair[1].1 - pair[0].1).collect();
        let seam = steps[once.len() - 1];
        let usual = if kind == VIDEO { 40..=40 } else { 1..=65 };
        assert!(usual.contains(&seam), "type {kind}: {seam} ms at the seam");
        assert!(steps.iter().all(|step| *step > 0), "time goes on");
    }
}

#[test]
fn a_demuxer_and_decoder_see_all_pictures_of_both_loops() {
    let _limit = support::start("a_demuxer_and_decoder_see_all_pictures_of_both_loops");
    if gst::ElementFactory::find("avdec_h264").is_none() {
        eprintln!("SKIPPED: there is no H.264 decoder");
        return;
    }
    let pipeline = gst::parse::launch(&format!(
        "flvloopsrc location={DEMO} loops=2 ! flvdemux ! h264parse ! avdec_h264 ! fakesink name=s sync=false \
         signal-handoffs=true"
    ));
    let pipeline = pipeline.unwrap().downcast::<gst::Pipeline>().unwrap();
    let (out, pictures) = std::sync::mpsc::channel();
    pipeline.by_name("s").unwrap().connect("handoff", false, move |values| {
        out.send(values[1].get::<gst::Buffer>().unwrap().pts().unwrap()).unwrap();
        None
    });
    pipeline.set_state(gst::State::Playing).unwrap();
    let bus = pipeline.bus().unwrap();
    let wanted = [gst::MessageType::Eos, gst::MessageType::Error];
    let end = bus.timed_pop_filtered(gst::ClockTime::from_seconds(20), &wanted).expect("the end");
    assert_eq!(end.type_(), gst::MessageType::Eos, "{end:?}");
    pipeline.set_state(gst::State::Null).unwrap();
    drop(pipeline);
    let times: Vec<_> = pictures.try_iter().map(gst::ClockTime::mseconds).collect();
    assert_eq!(times.len(), 2 * file_tracks()[&VIDEO].len());
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] == 40), "every 40 ms a picture");
}

#[test]
fn a_relay_sink_serves_the_loops_at_their_own_pace() {
    let _limit = support::start("a_relay_sink_serves_the_loops_at_their_own_pace");
    const CLIP_MS: i64 = 800;
    let directory = tempfile::tempdir().unwrap();
    let file = support::clip(directory.path(), CLIP_MS);
    let line = format!("flvloopsrc location={} loops=3 ! rtmprelaysink name=s port=0", file.display());
    let start = std::time::Instant::now();
    let pipeline = support::Pipeline::play(&line);
    let player = support::Player::join(&pipeline.url());
    pipeline.eos();
    assert!(start.elapsed().as_millis() > 2_300, "it is paced");
    pipeline.stop();
    let once = support::clip_frames(CLIP_MS);
    let thrice: Vec<_> = (0..3).flat_map(|_| once.clone()).collect();
    support::assert_received(&player.until_end(), &thrice, once.len());
}

#[test]
fn what_cannot_be_played_is_an_error_that_names_it() {
    let _limit = support::start("what_cannot_be_played_is_an_error_that_names_it");
    for (location, what) in [("/nowhere/x.flv", "/nowhere/x.flv"), (file!(), "flv_loop_src.rs")] {
        let location = match location {
            "/nowhere/x.flv" => location.to_owned(),
            _ => format!("{}/tests/flv_loop_src.rs", env!("CARGO_MANIFEST_DIR")),
        };
        let line = format!("flvloopsrc location={location} ! fakesink");
        let pipeline = gst::parse::launch(&line).unwrap().downcast::<gst::Pipeline>().unwrap();
        assert!(pipeline.set_state(gst::State::Paused).is_err());
        let message = pipeline.bus().unwrap().pop_filtered(&[gst::MessageType::Error]).unwrap();
        let gst::MessageView::Error(error) = message.view() else { unreachable!() };
        assert!(error.error().to_string().contains(what), "{error:?}");
        pipeline.set_state(gst::State::Null).unwrap();
    }
}
