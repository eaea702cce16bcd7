//! Every failing call gives a code, and a text that names the object and the cause.

use crate::support::*;
use std::ptr::{null, null_mut};
use streamengine_ffi::se_codec::*;
use streamengine_ffi::se_format::*;
use streamengine_ffi::se_status::*;
use streamengine_ffi::*;

const AVCC: &[u8] = b"\x01\x4d\x40\x1e\xff\xe1\x00\x05\x67\x4d\x40\x1e\xd9\x01\x00\x04\x68\xe9\x78\x80";

fn open_publisher(engine: *mut se_engine, stream: &str, options: *const se_config) -> se_status {
    let mut publisher = null_mut();
    let status = unsafe { se_publisher_open(engine, c(stream).as_ptr(), options, &raw mut publisher) };
    assert_eq!(publisher.is_null(), status != SE_OK, "written on success only");
    unsafe { se_publisher_free(publisher) };
    status
}

fn open_subscriber(engine: *mut se_engine, stream: &str, options: *const se_config) -> se_status {
    let mut subscriber = null_mut();
    let status = unsafe { se_subscriber_open(engine, c(stream).as_ptr(), options, &raw mut subscriber) };
    assert_eq!(subscriber.is_null(), status != SE_OK, "written on success only");
    unsafe { se_subscriber_free(subscriber) };
    status
}

#[test]
fn opening_fails_by_name_app_options_and_state() {
    let engine = TestEngine::with(&[("apps.live.takeover", "reject")]);
    let (of_subscriber, of_publisher) =
        (Settings::new(&[("wait_for_publisher_ms", "5")]), Settings::new(&[("takeover", "replace")]));
    for (open, wrong) in
        [(open_publisher as fn(_, &str, _) -> _, &of_subscriber), (open_subscriber, &of_publisher)]
    {
        fails(open(engine.0, "", null()), SE_E_INVALID_ARGUMENT, &["stream"]);
        fails(open(engine.0, "live/a/../b", null()), SE_E_INVALID_ARGUMENT, &["stream"]);
        fails(open(engine.0, "other/a", null()), SE_E_NOT_FOUND, &["other/a", "other"]);
        let option = if wrong.0 == of_subscriber.0 { "wait_for_publisher_ms" } else { "takeover" };
        fails(open(engine.0, "live/a", wrong.0), SE_E_INVALID_ARGUMENT, &[option]);
        fails(open(null_mut(), "live/a", null()), SE_E_INVALID_ARGUMENT, &["engine is NULL"]);
        let mut stopped = null_mut();
        ok(unsafe { se_engine_new(null(), &raw mut stopped) });
        fails(open(stopped, "live/a", null()), SE_E_STATE, &["engine", "not started"]);
        unsafe { se_engine_free(stopped) };
    }
    let nothing = Settings::new(&[("max_queue_ms", "0")]);
    fails(open_publisher(engine.0, "live/a", nothing.0), SE_E_INVALID_ARGUMENT, &["max_queue_ms is 0"]);
    let _first = engine.publish("live/a");
    fails(open_publisher(engine.0, "live/a", null()), SE_E_EXISTS, &["live/a", "already publishing"]);
    ok(open_publisher(engine.0, "live/a", of_publisher.0));
    ok(open_subscriber(engine.0, "live/a", of_subscriber.0));
    let no_out = unsafe { se_publisher_open(engine.0, c("live/c").as_ptr(), null(), null_mut()) };
    fails(no_out, SE_E_INVALID_ARGUMENT, &["out is NULL"]);
    ok(open_publisher(engine.0, "live/c", null()));
    let no_out = unsafe { se_subscriber_open(engine.0, c("live/c").as_ptr(), null(), null_mut()) };
    fails(no_out, SE_E_INVALID_ARGUMENT, &["out is NULL"]);
}

#[test]
fn frames_that_cannot_be_published_say_what_is_wrong_with_them() {
    let engine = TestEngine::start();
    let publisher = engine.publish("live/a");
    let coded = b"\0\0\0\x01x";
    let good = frame(SE_CODEC_H264, SE_FORMAT_NATIVE, 0, coded);
    let cases: [(se_frame, se_status, &[&str]); 13] = [
        (se_frame { struct_size: 8, ..good }, SE_E_INVALID_ARGUMENT, &["struct_size 8"]),
        (se_frame { data: null(), ..good }, SE_E_INVALID_ARGUMENT, &["frame->data is NULL"]),
        (se_frame { len: usize::MAX, ..good }, SE_E_LIMIT, &["frame->data"]),
        (se_frame { codec: SE_CODEC_NONE as i32, ..good }, SE_E_UNSUPPORTED, &["codec 0"]),
        (se_frame { codec: 4711, ..good }, SE_E_UNSUPPORTED, &["codec 4711"]),
        (se_frame { format: 9, ..good }, SE_E_INVALID_ARGUMENT, &["format 9"]),
        (se_frame { track: 256, ..good }, SE_E_INVALID_ARGUMENT, &["track 256"]),
        (se_frame { pts_ns: i64::MIN, ..good }, SE_E_INVALID_ARGUMENT, &["pts_ns"]),
        (good, SE_E_STATE, &["H.264", "avcC"]),
        (se_frame { format: SE_FORMAT_ADTS as i32, ..good }, SE_E_INVALID_ARGUMENT, &["H.264", "Adts"]),
        (
            se_frame { format: SE_FORMAT_FLV as i32, ..good },
            SE_E_INVALID_ARGUMENT,
            &["flv_type", "tag type 0"],
        ),
        (
            frame(SE_CODEC_AAC, SE_FORMAT_ADTS, 0, b"no header"),
            SE_E_FORMAT,
            &["AAC", "ADTS header at byte 0"],
        ),
        (frame(SE_CODEC_H264, SE_FORMAT_ANNEXB, 0, b"no start code"), SE_E_FORMAT, &["H.264", "start code"]),
    ];
    for (frame, status, parts) in cases {
        fails(publisher.frame(&frame), status, parts);
        if ![8, usize::MAX].contains(&frame.struct_size) && frame.len < usize::MAX && !frame.data.is_null() {
            fails(publisher.frame(&frame), status, &["live/a"]);
        }
    }
    let set = |track, codec: se_codec, extradata: &[u8]| unsafe {
        se_publisher_set_track(publisher.0, track, codec as i32, extradata.as_ptr(), extradata.len())
    };
    fails(set(0, SE_CODEC_H264, b"nonsense"), SE_E_FORMAT, &["live/a", "H.264"]);
    fails(set(0, SE_CODEC_NONE, b""), SE_E_UNSUPPORTED, &["live/a", "codec 0"]);
    fails(set(1, SE_CODEC_PCM_ALAW, b""), SE_E_UNSUPPORTED, &["live/a", "G.711"]);
    fails(set(300, SE_CODEC_AAC, b""), SE_E_INVALID_ARGUMENT, &["live/a", "track 300"]);
    ok(set(0, SE_CODEC_H264, AVCC));
    ok(publisher.frame(&good));
    let hevc = frame(SE_CODEC_HEVC, SE_FORMAT_NATIVE, 0, coded);
    fails(publisher.frame(&hevc), SE_E_INVALID_ARGUMENT, &["live/a", "HEVC", "H.264", "set_track"]);
    let huge = vec![0; 0x0100_0000];
    let huge = frame(SE_CODEC_H264, SE_FORMAT_NATIVE, 0, &huge);
    fails(publisher.frame(&huge), SE_E_LIMIT, &["live/a"]);
}

#[test]
fn tags_and_metadata_that_cannot_be_published_say_so() {
    let engine = TestEngine::start();
    let publisher = engine.publish("live/a");
    fails(publisher.tag(1, 0, b"x"), SE_E_INVALID_ARGUMENT, &["live/a", "tag type 1"]);
    fails(publisher.tag(9, 0, b""), SE_E_FORMAT, &["live/a", "empty"]);
    fails(publisher.tag(9, 0, &vec![0x17; 0x0100_0000]), SE_E_LIMIT, &["live/a", "16777216"]);
    let metadata = |json: &str| unsafe { se_publisher_set_metadata_json(publisher.0, c(json).as_ptr()) };
    for wrong in ["", "[1]", "{\"a\": }", "7"] {
        fails(metadata(wrong), SE_E_INVALID_ARGUMENT, &["live/a", "metadata"]);
    }
    let deep = format!("{{\"a\": {}1{}}}", "[".repeat(60), "]".repeat(60));
    fails(metadata(&deep), SE_E_INVALID_ARGUMENT, &["live/a", "metadata", "deep"]);
    ok(metadata("{}"));
}

#[test]
fn null_is_an_error_that_names_what_is_missing() {
    let engine = TestEngine::start();
    let publisher = engine.publish("live/a");
    let none: *mut se_publisher = null_mut();
    let is_null = |status, name: &str| fails(status, SE_E_INVALID_ARGUMENT, &[&format!("{name} is NULL")]);
    let good = frame(SE_CODEC_MP3, SE_FORMAT_NATIVE, 0, b"x");
    unsafe {
        is_null(se_publisher_open(engine.0, null(), null(), &mut null_mut()), "stream");
        is_null(se_publisher_set_track(none, 0, 1, null(), 0), "publisher");
        is_null(se_publisher_set_track(publisher.0, 0, 1, null(), 5), "extradata");
        is_null(se_publisher_set_metadata_json(none, c("{}").as_ptr()), "publisher");
        is_null(se_publisher_set_metadata_json(publisher.0, null()), "json");
        is_null(se_publisher_push_frame(none, &good), "publisher");
        is_null(se_publisher_push_frame(publisher.0, null()), "frame");
        is_null(se_publisher_push_flv_tag(none, 9, 0, null(), 0), "publisher");
        is_null(se_publisher_push_flv_tag(publisher.0, 9, 0, null(), 1), "body");
        is_null(se_publisher_push_flv(none, null(), 0), "publisher");
        is_null(se_publisher_push_flv(publisher.0, null(), 1), "bytes");
        ok(se_publisher_push_flv(publisher.0, null(), 0));
        se_publisher_free(null_mut());
        is_null(se_subscriber_open(engine.0, null(), null(), &mut null_mut()), "stream");
        is_null(se_subscriber_next(null_mut(), 0, &mut null_mut()), "subscriber");
        is_null(se_subscriber_set_callback(null_mut(), None, null_mut(), None), "subscriber");
        let subscriber = engine.subscribe("live/a");
        is_null(se_subscriber_next(subscriber.0, 0, null_mut()), "out");
        is_null(se_subscriber_set_callback(subscriber.0, None, null_mut(), None), "callback");
        se_subscriber_free(null_mut());
    }
}

#[test]
fn a_reconnect_request_needs_a_session_and_a_url() {
    let engine = TestEngine::start();
    let ask =
        |session, url: &str| unsafe { se_session_request_reconnect(engine.0, session, c(url).as_ptr()) };
    fails(ask(7, "http://host/live"), SE_E_INVALID_ARGUMENT, &["url", "rtmp"]);
    fails(ask(7, "rtmp://host"), SE_E_INVALID_ARGUMENT, &["url", "app"]);
    fails(ask(7, "rtmp://host/live"), SE_E_NOT_FOUND, &["session 7"]);
    let same_place = unsafe { se_session_request_reconnect(engine.0, 7, null()) };
    fails(same_place, SE_E_NOT_FOUND, &["session 7"]);
    let nowhere = unsafe { se_session_request_reconnect(null_mut(), 7, null()) };
    fails(nowhere, SE_E_INVALID_ARGUMENT, &["engine is NULL"]);
}

#[test]
fn the_right_to_publish_can_be_lost() {
    let engine = TestEngine::start();
    let publisher = engine.publish("live/a");
    ok(unsafe { se_kick(engine.0, 0, c("live/a").as_ptr(), SE_KICK_PUBLISHER, c("too loud").as_ptr()) });
    fails(publisher.keyframe(0, 100), SE_E_CLOSED, &["live/a"]);
    let publisher = engine.publish("live/b");
    ok(unsafe { se_engine_stop(engine.0, 10_000) });
    let audio = frame(SE_CODEC_MP3, SE_FORMAT_NATIVE, 0, b"x");
    fails(publisher.frame(&audio), SE_E_CLOSED, &["live/b", "shutting down"]);
    fails(publisher.keyframe(0, 100), SE_E_CLOSED, &["live/b", "shutting down"]);
    let bytes = std::fs::read(demo_clip()).unwrap();
    let pushed = unsafe { se_publisher_push_flv(publisher.0, bytes.as_ptr(), bytes.len()) };
    fails(pushed, SE_E_CLOSED, &["live/b", "shutting down"]);
    fails(
        unsafe { se_publisher_set_metadata_json(publisher.0, c("{}").as_ptr()) },
        SE_E_CLOSED,
        &["live/b", "shutting down"],
    );
    // The engine's next life has nothing to do with it.
    ok(unsafe { se_engine_start(engine.0) });
    let again = engine.publish("live/b");
    ok(again.keyframe(0, 100));
    fails(publisher.keyframe(0, 100), SE_E_CLOSED, &["live/b"]);
}
