//! What the pads take: every codec, changes in mid-stream, late pads, and what is refused in which words.

mod support;

use gst::prelude::*;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use streamengine::media::Frame;
use streamengine::media::FrameKind::{self, Audio, Video};
use support::{Pipeline, Player, clip, payloads, until};

const VIDEO: &str = "videotestsrc is-live=true ! video/x-raw,format=I420,width=160,height=120,framerate=30/1";
const X264: &str = "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=10";
const SINK: &str = "rtmprelaysink name=s port=0 sync=false";

/// The error that ends a pipeline.
fn error(line: &str) -> gst::glib::Error {
    let pipeline = Pipeline::parse(line);
    let _ = pipeline.pipeline.set_state(gst::State::Playing);
    support::error(&pipeline.bus)
}

/// Collects the buffers that leave an element.
fn buffers_of(pipeline: &Pipeline, element: &str) -> Arc<Mutex<Vec<Vec<u8>>>> {
    let pad = pipeline.pipeline.by_name(element).unwrap().static_pad("src").unwrap();
    let seen = Arc::<Mutex<Vec<Vec<u8>>>>::default();
    let collect = seen.clone();
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        if let Some(buffer) = info.buffer() {
            collect.lock().unwrap().push(buffer.map_readable().unwrap().to_vec());
        }
        gst::PadProbeReturn::Ok
    });
    seen
}

#[test]
fn what_an_encoder_makes_is_what_a_player_gets_byte_for_byte() {
    let _limit = support::start("byte for byte");
    let pipeline = Pipeline::parse(&format!(
        "videotestsrc num-buffers=60 ! video/x-raw,format=I420,width=160,height=120 ! {X264} ! h264parse name=v ! \
         {SINK} wait-for-connection=true \
         audiotestsrc num-buffers=80 ! avenc_aac ! aacparse name=a ! s."
    ));
    let (video, audio) = (buffers_of(&pipeline, "v"), buffers_of(&pipeline, "a"));
    pipeline.pipeline.set_state(gst::State::Playing).unwrap();
    let player = Player::join(&pipeline.url());
    pipeline.eos();
    pipeline.stop();
    let frames = player.until_end();
    for (kind, header, sent) in [(Video, 5, video), (Audio, 2, audio)] {
        let got: Vec<_> = payloads(&frames, kind).iter().map(|payload| payload[header..].to_vec()).collect();
        let sent = sent.lock().unwrap();
        assert!(got == *sent, "{kind:?}: {} of {} frames, or they differ", got.len(), sent.len());
    }
}

#[test]
fn every_codec_of_the_templates_comes_through() {
    let _limit = support::start("every codec");
    let video = "videotestsrc num-buffers=12 ! video/x-raw,format=I420,width=64,height=48,framerate=30/1";
    let audio = "audiotestsrc num-buffers=40 samplesperbuffer=1024 ! audio/x-raw,rate=48000,channels=2";
    let telephone = "audiotestsrc num-buffers=40 ! audio/x-raw,rate=8000,channels=1";
    for (kind, line, codec) in [
        (Video, format!("{video} ! {X264} ! video/x-h264,stream-format=avc"), "H.264"),
        (Video, format!("{video} ! {X264} ! video/x-h264,stream-format=byte-stream"), "H.264"),
        (
            Video,
            format!("{video} ! {X264} ! h264parse ! video/x-h264,stream-format=avc3,alignment=au"),
            "H.264",
        ),
        (Video, format!("{video} ! x265enc speed-preset=ultrafast tune=zerolatency"), "HEVC"),
        (
            Video,
            format!(
                "{video} ! x265enc speed-preset=ultrafast tune=zerolatency ! h265parse ! video/x-h265,stream-format=hvc1"
            ),
            "HEVC",
        ),
        (Video, format!("{video} ! av1enc cpu-used=8 ! av1parse"), "AV1"),
        (Video, format!("{video} ! vp8enc deadline=1"), "VP8"),
        (Video, format!("{video} ! vp9enc deadline=1 cpu-used=8"), "VP9"),
        (Audio, format!("{audio} ! avenc_aac ! aacparse"), "AAC"),
        (Audio, format!("{audio} ! avenc_aac ! aacparse ! audio/mpeg,stream-format=adts"), "AAC"),
        (Audio, format!("{audio} ! lamemp3enc ! mpegaudioparse"), "MP3"),
        (Audio, format!("{audio} ! opusenc"), "Opus"),
        (Audio, format!("{audio} ! flacenc ! flacparse"), "FLAC"),
        (Audio, format!("{audio} ! avenc_ac3 ! ac3parse"), "AC-3"),
        (Audio, format!("{audio} ! avenc_eac3 ! ac3parse"), "E-AC-3"),
        (Audio, format!("{telephone} ! alawenc"), "G.711 A-law"),
        (Audio, format!("{telephone} ! mulawenc"), "G.711 mu-law"),
    ] {
        let pipeline = Pipeline::play(&format!("{line} ! {SINK} wait-for-connection=true"));
        let player = Player::join(&pipeline.url());
        pipeline.eos();
        let stats = pipeline.sink().property::<gst::Structure>("stats");
        let name = if kind == Video { "video-codec" } else { "audio-codec" };
        assert_eq!(stats.get::<String>(name).as_deref(), Ok(codec), "{line}");
        pipeline.stop();
        let frames = player.until_end();
        let coded = payloads(&frames, kind);
        assert!(coded.len() >= 8, "{line}: {} frames", coded.len());
        if kind == Video {
            let first = frames.iter().find(|frame| frame.kind == Video && !frame.is_config()).unwrap();
            assert!(first.flags.keyframe, "{line}: no keyframe at the start");
        }
    }
}

#[test]
fn enhanced_decides_the_form_and_legacy_refuses_what_it_cannot_say() {
    let _limit = support::start("enhanced");
    let first = |form: &str, codec: &str| {
        let pipeline = Pipeline::play(&format!("{VIDEO} ! {codec} ! {SINK} enhanced={form}"));
        Player::join(&pipeline.url()).first(Video).payload
    };
    let x265 = "x265enc speed-preset=ultrafast tune=zerolatency key-int-max=10";
    assert_eq!(first("auto", X264)[0], 0x17);
    assert_eq!(first("legacy", X264)[0], 0x17);
    let enhanced = first("enhanced", X264);
    assert!(enhanced[0] & 0x80 != 0 && &enhanced[1..5] == b"avc1", "{:?}", &enhanced[..5]);
    let hevc = first("auto", x265);
    assert!(hevc[0] & 0x80 != 0 && &hevc[1..5] == b"hvc1", "{:?}", &hevc[..5]);
    let refusal = error(&format!("{VIDEO} ! {x265} ! {SINK} enhanced=legacy"));
    assert!(refusal.to_string().contains("enhanced=legacy"), "{refusal}");
}

#[test]
fn g8_a_player_that_was_there_before_hears_the_audio_of_a_late_pad() {
    let _limit = support::start("g8");
    let pipeline = Pipeline::play(&format!("{VIDEO} ! {X264} ! {SINK}"));
    let player = Player::join(&pipeline.url());
    player.wait_for(Video, 15);
    assert_eq!(player.count(Audio), 0);
    let late =
        gst::parse::bin_from_description("audiotestsrc is-live=true ! avenc_aac ! aacparse", true).unwrap();
    pipeline.pipeline.add(&late).unwrap();
    let pad = pipeline.sink().request_pad_simple("audio").unwrap();
    late.static_pad("src").unwrap().link(&pad).unwrap();
    late.sync_state_with_parent().unwrap();
    player.wait_for(Audio, 20);
    let frames = player.frames();
    let first = frames.iter().position(|frame| frame.kind == Audio).unwrap();
    assert!(frames[first].is_config(), "the sequence header comes before the first frame");
    let at = |kind| frames.iter().rfind(|frame| frame.kind == kind).unwrap().timestamp;
    assert!((at(Video) - at(Audio)).abs() < 500, "video at {}, audio at {}", at(Video), at(Audio));
    let video: Vec<_> = frames.iter().filter(|frame| frame.kind == Video && !frame.is_config()).collect();
    assert!(video.windows(2).all(|pair| pair[1].timestamp - pair[0].timestamp < 500), "video goes on");
}

#[test]
fn new_caps_in_mid_stream_are_a_new_sequence_header_and_players_go_on() {
    let _limit = support::start("new caps");
    let pipeline = Pipeline::play(&format!(
        "videotestsrc is-live=true ! capsfilter name=f caps=video/x-raw,format=I420,width=160,height=120 ! {X264} ! {SINK}"
    ));
    let player = Player::join(&pipeline.url());
    player.wait_for(Video, 10);
    let headers = || player.frames().iter().filter(|frame| frame.kind == Video && frame.is_config()).count();
    assert_eq!(headers(), 1);
    let larger =
        gst::Caps::builder("video/x-raw").field("format", "I420").field("width", 320).field("height", 240);
    pipeline.pipeline.by_name("f").unwrap().set_property("caps", larger.build());
    until("another header", || headers() == 2);
    let count = player.count(Video);
    player.wait_for(Video, count + 10);
    let frames = player.frames();
    let header = frames.iter().rposition(|frame| frame.kind == Video && frame.is_config()).unwrap();
    let next = frames[header..].iter().find(|frame| frame.kind == Video && !frame.is_config()).unwrap();
    assert!(next.flags.keyframe, "a keyframe follows the header");
}

#[test]
fn another_codec_in_mid_stream_goes_on_with_a_header_of_its_own() {
    let _limit = support::start("another codec");
    let video = "videotestsrc num-buffers=20 ! video/x-raw,format=I420,width=160,height=120,framerate=30/1";
    let pipeline = Pipeline::play(&format!(
        "concat name=c ! {SINK} wait-for-connection=true {video} ! {X264} ! h264parse ! c. \
         {video} ! x265enc speed-preset=ultrafast tune=zerolatency ! h265parse ! c."
    ));
    let player = Player::join(&pipeline.url());
    pipeline.eos();
    let codec = pipeline.sink().property::<gst::Structure>("stats").get::<String>("video-codec");
    assert_eq!(codec.as_deref(), Ok("HEVC"));
    pipeline.stop();
    let frames = player.until_end();
    let video: Vec<_> = frames.iter().filter(|frame| frame.kind == Video).collect();
    let is_hevc = |frame: &&Frame| frame.payload[0] & 0x80 != 0 && &frame.payload[1..5] == b"hvc1";
    let change = video.iter().position(is_hevc).expect("HEVC");
    assert!(video[change].is_config() && video[change + 1].flags.keyframe, "header and keyframe come first");
    assert!(
        !video[..change].iter().any(is_hevc) && video[change..].iter().all(is_hevc),
        "one after the other"
    );
    assert_eq!(payloads(&frames, Video).len(), 40);
    let times: Vec<_> =
        video.iter().filter(|frame| !frame.is_config()).map(|frame| frame.timestamp).collect();
    assert!(times.windows(2).all(|pair| (0..200).contains(&(pair[1] - pair[0]))), "{times:?}");
}

#[test]
fn times_that_start_at_a_thousand_hours_start_at_zero_for_players() {
    let _limit = support::start("times");
    let pipeline = Pipeline::play(&format!("{VIDEO} ! x264enc bframes=2 key-int-max=10 ! {SINK}"));
    let player = Player::join(&pipeline.url());
    player.wait_for(Video, 30);
    let frames = player.frames();
    let times: Vec<_> = frames
        .iter()
        .filter(|frame| frame.kind == Video && !frame.is_config())
        .map(|frame| frame.timestamp)
        .collect();
    assert!(times[0] < 5_000, "the first at {}", times[0]);
    assert!(times.windows(2).all(|pair| (0..200).contains(&(pair[1] - pair[0]))), "{times:?}");
}

#[test]
fn flv_and_elementary_streams_do_not_mix_and_the_error_says_so() {
    let _limit = support::start("mixture");
    let directory = tempfile::tempdir().unwrap();
    let file = clip(directory.path(), 500);
    let mixture =
        error(&format!("filesrc location={} ! s.sink {VIDEO} ! {X264} ! s.video {SINK}", file.display()));
    assert!(mixture.matches(gst::StreamError::WrongType), "{mixture}");
    assert!(mixture.to_string().contains("FLV"), "{mixture}");
}

#[test]
fn a_missing_decoder_configuration_is_an_error_that_names_the_parser() {
    let _limit = support::start("missing configuration");
    let refusal = error(&format!(
        "fakesrc num-buffers=3 sizetype=fixed sizemax=10 format=time ! \
         capsfilter caps=video/x-h264,stream-format=avc,alignment=au ! {SINK}"
    ));
    assert!(refusal.to_string().contains("insert h264parse"), "{refusal}");
}

#[test]
fn bytes_that_are_no_flv_are_an_error() {
    let _limit = support::start("no FLV");
    let refusal =
        error(&format!("fakesrc num-buffers=3 sizetype=fixed sizemax=100 filltype=pattern ! {SINK}"));
    assert!(refusal.matches(gst::StreamError::WrongType) && refusal.to_string().contains("FLV"), "{refusal}");
}

#[test]
fn chroma_that_most_players_cannot_show_is_warned_of_once() {
    let _limit = support::start("4:4:4");
    let pipeline = Pipeline::play(&format!(
        "videotestsrc is-live=true ! video/x-raw,format=Y444,width=64,height=48 ! {X264} ! {SINK}"
    ));
    let warning = pipeline.message("a warning", |message| match message.view() {
        gst::MessageView::Warning(warning) => Some(warning.error().to_string()),
        _ => None,
    });
    assert!(warning.contains("4:4:4") && warning.contains("I420"), "{warning}");
}

#[test]
fn tags_and_caps_become_metadata() {
    use streamengine::media::metadata::number;
    let _limit = support::start("tags");
    let pipeline =
        Pipeline::play(&format!("{VIDEO} ! taginject tags=title=the-title ! {X264} bitrate=300 ! {SINK}"));
    let player = Player::join(&pipeline.url());
    player.wait_for(Video, 5);
    until("metadata of all", || {
        let frames = player.frames();
        let last = frames.iter().rfind(|frame| frame.kind == FrameKind::Data).map(|frame| &frame.payload[..]);
        last.is_some_and(|last| {
            number(last, "width") == Some(160.0)
                && number(last, "framerate") == Some(30.0)
                && last.windows(9).any(|bytes| bytes == b"the-title")
        })
    });
}

#[test]
fn an_flv_file_in_pieces_of_any_size_is_read_and_its_file_fields_are_not_told() {
    use streamengine::media::metadata::{Value, number, on_metadata};
    let _limit = support::start("pieces");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("recorded.flv");
    // A file with a duration, as recorders write it.
    let fields = [("duration", Value::Number(9.0)), ("width", Value::Number(640.0))];
    let recorded = [vec![on_metadata(0, &fields)], support::clip_frames(1_000)].concat();
    std::fs::write(&file, support::flv(&recorded)).unwrap();
    let pipeline = Pipeline::play(&format!(
        "filesrc location={} blocksize=7 ! {SINK} wait-for-connection=true",
        file.display()
    ));
    pipeline.sink().set_property("sync", true);
    let player = Player::join(&pipeline.url());
    pipeline.eos();
    pipeline.stop();
    let frames = player.until_end();
    support::assert_received(&frames, &support::clip_frames(1_000), 0);
    let told = || frames.iter().filter(|frame| frame.kind == FrameKind::Data).map(|frame| &frame.payload);
    assert!(told().any(|metadata| number(metadata, "width") == Some(640.0)));
    assert!(told().all(|metadata| number(metadata, "duration").is_none()));
}

#[test]
fn one_pad_of_a_demuxer_with_two_is_hinted_at() {
    let _limit = support::start("a hint");
    gst::log::set_threshold_for_name("rtmprelaysink", gst::DebugLevel::Info);
    let (tell, told) = std::sync::mpsc::channel();
    let tell = Mutex::new(tell);
    gst::log::add_log_function(move |category, _, _, _, _, _, message| {
        if category.name() == "rtmprelaysink" {
            let _ = tell.lock().unwrap().send(message.get().map(|text| text.to_string()).unwrap_or_default());
        }
    });
    let directory = tempfile::tempdir().unwrap();
    let file = clip(directory.path(), 6_000);
    let _pipeline = Pipeline::play(&format!(
        "filesrc location={} ! flvdemux name=d ! rtmprelaysink name=s port=0",
        file.display()
    ));
    let hint = loop {
        let text = told.recv_timeout(Duration::from_secs(10)).expect("a hint");
        if text.contains("not linked") {
            break text;
        }
    };
    assert!(hint.contains("pad audio of d"), "{hint}");
}
