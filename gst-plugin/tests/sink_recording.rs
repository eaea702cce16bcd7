//! What `rtmprelaysink` records: the frames that went in, as files that are whole at the end, and no end because of a disk.

mod support;

use gst::prelude::*;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use streamengine::media::FrameKind::Video;
use streamengine_tests::flv::{Recording, Track};
use support::{Feed, Pipeline, Player, clip, clip_frames, payloads, stat, until};

/// B-frames and sound.
const SOURCES: &str = "videotestsrc num-buffers=90 ! video/x-raw,format=I420,width=160,height=120,framerate=30/1 ! \
    x264enc speed-preset=ultrafast bframes=2 b-adapt=false key-int-max=30 ! h264parse ! \
    video/x-h264,stream-format=avc,alignment=au ! identity name=v ! s. \
    audiotestsrc num-buffers=130 ! avenc_aac ! aacparse ! audio/mpeg,stream-format=raw ! identity name=a ! s.";

/// Times of presentation in milliseconds, and bytes, of what leaves an element.
type Buffers = Arc<Mutex<Vec<(i64, Vec<u8>)>>>;

fn buffers_of(pipeline: &Pipeline, element: &str) -> Buffers {
    let pad = pipeline.pipeline.by_name(element).unwrap().static_pad("src").unwrap();
    let seen = Buffers::default();
    let collect = seen.clone();
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        if let Some(buffer) = info.buffer() {
            let pts = i64::try_from(buffer.pts().unwrap().mseconds()).unwrap();
            collect.lock().unwrap().push((pts, buffer.map_readable().unwrap().to_vec()));
        }
        gst::PadProbeReturn::Ok
    });
    seen
}

/// What GStreamer's own demuxer finds in a file: pictures and sound.
fn demuxed(path: &Path) -> [Vec<(i64, Vec<u8>)>; 2] {
    let (demuxer, video, audio) = match path.extension().unwrap().to_str().unwrap() {
        "flv" => ("flvdemux", "video", "audio"),
        _ => ("qtdemux", "video_0", "audio_0"),
    };
    let pipeline = Pipeline::parse(&format!(
        "filesrc location={} ! {demuxer} name=d d.{video} ! queue ! identity name=v ! fakesink \
         d.{audio} ! queue ! identity name=a ! fakesink",
        path.display()
    ));
    let tracks = ["v", "a"].map(|element| buffers_of(&pipeline, element));
    pipeline.pipeline.set_state(gst::State::Playing).unwrap();
    pipeline.eos();
    tracks.map(|track| track.lock().unwrap().clone())
}

/// Fails unless the frames are the same, at times as far apart.
fn assert_same(recorded: &[(i64, Vec<u8>)], sent: &[(i64, Vec<u8>)], what: &str) {
    let (first, begin) = (recorded.first().expect(what).0, sent.first().expect(what).0);
    assert_eq!(recorded.len(), sent.len(), "{what}");
    for (index, ((at, bytes), (sent_at, sent_bytes))) in recorded.iter().zip(sent).enumerate() {
        assert!(bytes == sent_bytes, "{what}: frame {index} differs");
        let (apart, sent_apart) = (at - first, sent_at - begin);
        // Whole milliseconds, once of presentation and once of decoding.
        assert!((apart - sent_apart).abs() <= 2, "{what}: frame {index} at {apart} ms, sent at {sent_apart}");
    }
}

/// The files of the stream, by name.
fn files(root: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(root.join("live/stream")).into_iter().flatten();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn whole_files(root: &Path) -> Vec<PathBuf> {
    files(root).into_iter().filter(|path| path.extension().unwrap() != "part").collect()
}

/// Feeds a sink until its recording is in this state: what tracks there are is waited for at first.
fn feed_until(feed: &mut Feed, state: &str) {
    let is_there = |feed: &Feed| {
        let stats = stat::<gst::Structure>(&feed.sink(), "recording");
        stats.get::<&str>("state") == Ok(state)
    };
    let end = std::time::Instant::now() + support::PATIENCE;
    while !is_there(feed) {
        assert!(std::time::Instant::now() < end, "it is never {state}");
        feed.push_gop(9, 1_000);
    }
}

#[test]
fn what_went_into_the_pipeline_is_in_the_file_which_is_whole_at_eos() {
    let _limit = support::start("frames of a recording");
    for (format, end) in [("flv", "flv"), ("fmp4", "mp4")] {
        let root = tempfile::tempdir().unwrap();
        let pipeline = Pipeline::parse(&format!(
            "rtmprelaysink name=s port=0 record-location={} record-format={format} record-min-free-bytes=0 {SOURCES}",
            root.path().display()
        ));
        let sent = ["v", "a"].map(|element| buffers_of(&pipeline, element));
        pipeline.pipeline.set_state(gst::State::Playing).unwrap();
        pipeline.eos();
        let files = files(root.path());
        assert_eq!(files.iter().map(|path| path.extension().unwrap()).collect::<Vec<_>>(), [end]);
        for (recorded, (sent, what)) in demuxed(&files[0]).iter().zip(sent.iter().zip(["video", "audio"])) {
            assert_same(recorded, &sent.lock().unwrap(), &format!("{format}, {what}"));
        }
        pipeline.stop();
        assert_eq!(whole_files(root.path()), files, "nothing comes after the end");
    }
}

#[test]
fn a_file_is_whole_when_the_pipeline_has_stopped_without_an_end() {
    let _limit = support::start("recording until NULL");
    let root = tempfile::tempdir().unwrap();
    let mut feed = Feed::start(&format!("record-min-free-bytes=0 record-location={}", root.path().display()));
    feed_until(&mut feed, "recording");
    let begun = feed.pipeline.element_message("rtmprelaysink-recording", |message| {
        message.get::<&str>("state") == Ok("recording")
    });
    let location = PathBuf::from(begun.get::<String>("location").unwrap());
    let gops = stat::<u64>(&feed.sink(), "keyframes-in");
    feed.pipeline.stop();
    assert_eq!(whole_files(root.path()), std::slice::from_ref(&location));
    let recorded = Recording::read(&location);
    assert_eq!(recorded.frames(Track::Video).len() as u64, 10 * gops);
    // Anew.
    feed.pipeline.pipeline.set_state(gst::State::Playing).unwrap();
    feed.pipeline.stop();
    assert_eq!(files(root.path()).len(), 1, "without a frame there is no file");
}

#[test]
fn what_comes_when_a_seek_has_taken_the_end_back_is_in_another_file() {
    let _limit = support::start("recording after EOS");
    let root = tempfile::tempdir().unwrap();
    let file = clip(root.path(), 1_500);
    let pipeline = Pipeline::play(&format!(
        "filesrc location={} ! flvdemux : rtmprelaysink name=s port=0 record-location={} record-min-free-bytes=0",
        file.display(),
        root.path().display()
    ));
    pipeline.eos();
    let first = whole_files(root.path());
    pipeline.pipeline.seek_simple(gst::SeekFlags::FLUSH, gst::ClockTime::ZERO).unwrap();
    pipeline.eos();
    let both = whole_files(root.path());
    assert_eq!((first.len(), both.len(), &both[0]), (1, 2, &first[0]));
    let frames = |path: &Path| {
        let recorded = Recording::read(path);
        [Track::Video, Track::Audio]
            .map(|track| recorded.frames(track).iter().map(|tag| tag.body.clone()).collect::<Vec<_>>())
    };
    assert!(frames(&both[0]) == frames(&both[1]), "they differ");
    let sent = payloads(&clip_frames(1_500), Video).len();
    assert_eq!(frames(&both[1])[0].len(), sent);
}

#[test]
fn a_disk_that_fails_is_a_warning_and_another_folder_holds_at_once() {
    let _limit = support::start("a disk that fails");
    let root = tempfile::tempdir().unwrap();
    let (taken, free) = (root.path().join("taken"), root.path().join("free"));
    fs::write(&taken, "a file where a folder has to be").unwrap();
    let mut feed = Feed::start(&format!("record-min-free-bytes=0 record-location={}", taken.display()));
    let player = Player::join(&feed.pipeline.url());
    feed_until(&mut feed, "failed");
    let warning = feed.pipeline.warning();
    assert!(warning.matches(gst::ResourceError::Write), "{warning}");
    assert!(warning.to_string().contains("the stream goes on") && warning.to_string().contains("taken"));
    feed.sink().set_property("record-location", free.to_str().unwrap());
    feed_until(&mut feed, "recording");
    // And none.
    feed.sink().set_property("record-location", None::<&str>);
    until("its file is whole", || whole_files(&free).len() == 1);
    feed.push_gop(9, 1_000);
    let sent = 10 * stat::<u64>(&feed.sink(), "keyframes-in");
    until("the player has the last frame", || {
        let has =
            |frame: &streamengine::media::Frame| frame.timestamp >= i64::try_from(33 * (sent - 1)).unwrap();
        player.frames().iter().any(has)
    });
    feed.pipeline.stop();
    assert_eq!(files(&free).len(), 1);

    let small = root.path().join("small");
    let properties = format!("record-min-free-bytes={} record-location={}", 1_u64 << 40, small.display());
    let mut feed = Feed::start(&properties);
    feed_until(&mut feed, "disk-full");
    let full = feed.pipeline.warning();
    assert!(full.matches(gst::ResourceError::NoSpaceLeft), "{full}");
}
