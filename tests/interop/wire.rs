//! Wireshark's dissector reads whole sessions of ours and finds nothing malformed.

use std::time::Duration;
use streamengine_tests::peers::{self, Speed};
use streamengine_tests::tshark::Capture;
use streamengine_tests::{Engine, PATIENCE, demo_clip, needs, streamengine, unique};

#[test]
fn nothing_is_malformed_from_publish_to_the_end_of_play() {
    needs!("ffmpeg", "rtmpdump", "gst:rtmp2src", "capture");
    let engine = Engine::start();
    let capture = Capture::start(engine.rtmp);
    let name = format!("live/{}", unique("clip"));
    let players =
        [peers::ffmpeg_play, peers::rtmpdump_play, peers::gst_play].map(|play| play(&engine.url(&name)));
    let publisher = peers::ffmpeg_publish(&demo_clip(), &engine.url(&name), Speed::Fast);
    publisher.succeed(PATIENCE);
    for player in players {
        player.finish();
    }
    assert_eq!(engine.stop(), 0);
    let verdict = capture.verdict();
    assert!(verdict.malformed.is_empty(), "malformed: {:?}", verdict.malformed);
    verdict.assert_saw(&["connect", "_result", "createStream", "publish", "onStatus", "play", "onMetaData"]);
    verdict.assert_saw(&["NetStream.Publish.Start", "NetStream.Play.Start"]);
}

#[test]
fn nothing_is_malformed_in_what_a_relay_sends() {
    needs!("capture");
    let target = Engine::start();
    let capture = Capture::start(target.rtmp);
    let name = format!("live/{}", unique("clip"));
    let clip = demo_clip();
    let looper = streamengine(["loop", &clip.to_string_lossy(), &target.url(&name), "--loops", "1"]);
    assert_eq!(looper.wait(PATIENCE), 0, "{}", looper.log());
    target.wait_after(0, "stream-ended", Duration::from_secs(10), |event| event["stream"] == name.as_str());
    assert_eq!(target.stop(), 0);
    let verdict = capture.verdict();
    assert!(verdict.malformed.is_empty(), "malformed: {:?}", verdict.malformed);
    verdict.assert_saw(&["connect", "releaseStream", "createStream", "publish", "onMetaData"]);
}
