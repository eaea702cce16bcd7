//! States of the sink: what is open when, what is shared, what a taken port or name says, and how a stream ends.

mod support;

use gst::prelude::*;
use std::net::TcpListener;
use std::time::{Duration, Instant};
use streamengine::media::FrameKind::{Audio, Video};
use streamengine::testing::wait::at_most;
use support::{
    Feed, Pipeline, Player, StuckPlayer, assert_received, clip, clip_frames, error, is_open, stat, until, url,
};

fn sink(port: u32, stream: &str) -> gst::Element {
    gst::ElementFactory::make("rtmprelaysink")
        .property("port", port)
        .property("stream", stream)
        .build()
        .unwrap()
}

#[test]
fn g4_a_taken_port_fails_in_null_to_ready_with_address_and_cause() {
    let _limit = support::start("g4");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let pipeline = Pipeline::parse(&format!("fakesrc num-buffers=1 ! rtmprelaysink name=s port={port}"));
    assert!(pipeline.pipeline.set_state(gst::State::Ready).is_err());
    let text = error(&pipeline.bus).to_string();
    let expected = format!("Cannot listen on rtmp://127.0.0.1:{port}: Address already in use");
    assert!(text.starts_with(&expected), "{text}");
    drop(taken);
    pipeline.pipeline.set_state(gst::State::Ready).unwrap();
    assert!(is_open(port));
}

#[test]
fn settings_that_make_no_sense_are_errors_with_words() {
    let _limit = support::start("settings");
    for (properties, word) in [
        ("address=example.org", "not an IP address"),
        ("application=a/../b", "application"),
        ("tls-port=1", "tls-certificate"),
        ("https-port=0", "https-port is set: tls-certificate"),
        ("https-port=0 tls-certificate=none.pem tls-key=none.pem", "https://127.0.0.1:0"),
    ] {
        let pipeline =
            Pipeline::parse(&format!("fakesrc num-buffers=1 ! rtmprelaysink name=s port=0 {properties}"));
        assert!(pipeline.pipeline.set_state(gst::State::Ready).is_err(), "{properties}");
        let text = error(&pipeline.bus).to_string();
        assert!(text.contains(word), "{properties}: {text}");
    }
    let pipeline = Pipeline::parse("fakesrc num-buffers=1 ! rtmprelaysink name=s port=0 location=http://x/y");
    assert!(pipeline.pipeline.set_state(gst::State::Paused).is_err());
    assert!(error(&pipeline.bus).to_string().contains("target URL"));
}

#[test]
fn sinks_with_one_port_share_it_and_one_name_is_had_once() {
    let _limit = support::start("sharing");
    let first = sink(0, "a");
    first.set_state(gst::State::Ready).unwrap();
    let port = first.property::<u32>("current-port");
    // A port that was given out is not shared; one that was asked for is.
    first.set_state(gst::State::Null).unwrap();
    first.set_property("port", port);
    first.set_state(gst::State::Ready).unwrap();
    let (second, same) = (sink(port, "b"), sink(port, "a"));
    second.set_state(gst::State::Ready).unwrap();
    assert_eq!(second.property::<u32>("current-port"), port);
    let bus = gst::Bus::new();
    same.set_bus(Some(&bus));
    assert!(same.set_state(gst::State::Ready).is_err());
    let text = error(&bus).to_string();
    assert!(text.contains("live/a") && text.contains(&*first.name()), "{text}");
    same.set_bus(None);
    first.set_state(gst::State::Null).unwrap();
    assert!(is_open(port.try_into().unwrap()), "the second still serves");
    same.set_state(gst::State::Ready).unwrap();
    same.set_state(gst::State::Null).unwrap();
    second.set_state(gst::State::Null).unwrap();
    assert!(!is_open(port.try_into().unwrap()));
}

#[test]
fn pipelines_on_one_port_serve_each_its_own_stream() {
    let _limit = support::start("pipelines on one port");
    let port = support::free_port();
    let start = |stream: &str| Feed::start(&format!("port={port} stream={stream}"));
    let (mut first, mut second) = (start("a"), start("b"));
    first.push_gop(3, 100);
    second.push_gop(6, 200);
    let players = [Player::join(&first.pipeline.url()), Player::join(&second.pipeline.url())];
    players[0].wait_for(Video, 4);
    players[1].wait_for(Video, 7);
    assert_eq!([first.sink(), second.sink()].map(|sink| stat::<u32>(&sink, "players")), [1, 1]);
    first.pipeline.stop();
    second.push(false, 200);
    players[1].wait_for(Video, 8);
    let [first, _] = players;
    assert!(first.until_end().iter().all(|frame| frame.payload.len() < 200), "only its own frames");
}

#[test]
fn what_is_changed_in_ready_holds_from_paused_on() {
    let _limit = support::start("changes in READY");
    let sink = sink(0, "a");
    sink.set_state(gst::State::Ready).unwrap();
    let before = sink.property::<u32>("current-port");
    sink.set_property("stream", "b");
    sink.set_property("address", "::1");
    sink.set_state(gst::State::Paused).unwrap();
    let after = sink.property::<u32>("current-port");
    assert!(!is_open(before.try_into().unwrap()), "the old address is closed");
    assert!(std::net::TcpStream::connect(("::1", u16::try_from(after).unwrap())).is_ok());
    sink.set_state(gst::State::Null).unwrap();
    assert_eq!(sink.property::<u32>("current-port"), 0);
}

#[test]
fn current_port_is_notified_and_the_url_is_told() {
    let _limit = support::start("current-port");
    let pipeline =
        Pipeline::parse("fakesrc num-buffers=1 ! rtmprelaysink name=s port=0 application=a/b stream=c");
    let (tell, told) = std::sync::mpsc::channel();
    pipeline.sink().connect_notify(Some("current-port"), move |sink, _| {
        tell.send(sink.property::<u32>("current-port")).unwrap();
    });
    pipeline.pipeline.set_state(gst::State::Ready).unwrap();
    let port = told.recv_timeout(support::PATIENCE).unwrap();
    let message = pipeline.element_message("rtmprelaysink-listening", |_| true);
    assert_eq!(message.get::<String>("url").unwrap(), format!("rtmp://127.0.0.1:{port}/a/b/c"));
    pipeline.stop();
    assert_eq!(told.recv_timeout(support::PATIENCE).unwrap(), 0);
}

#[test]
fn http_ports_are_notified_and_their_urls_are_told() {
    let _limit = support::start("current-http-port");
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = support::certificate(directory.path());
    let pipeline = Pipeline::parse(&format!(
        "fakesrc num-buffers=1 ! rtmprelaysink name=s port=0 http-port=0 https-port=0 tls-certificate={} tls-key={} \
         application=a/b stream=c",
        certificate.display(),
        key.display()
    ));
    let (tell, told) = std::sync::mpsc::channel();
    let properties = ["current-http-port", "current-https-port"];
    for property in properties {
        let tell = tell.clone();
        pipeline.sink().connect_notify(Some(property), move |sink, _| {
            tell.send(sink.property::<u32>(property)).unwrap();
        });
    }
    pipeline.pipeline.set_state(gst::State::Ready).unwrap();
    let ports = properties.map(|_| told.recv_timeout(support::PATIENCE).unwrap());
    assert!(ports.iter().all(|&port| is_open(port.try_into().unwrap())), "{ports:?}");
    let url = || -> String {
        let message = pipeline.element_message("rtmprelaysink-listening", |_| true);
        message.get("url").unwrap()
    };
    assert!(url().starts_with("rtmp://"), "it comes first");
    assert_eq!(url(), format!("http://127.0.0.1:{}/a/b/c.flv", ports[0]));
    assert_eq!(url(), format!("https://127.0.0.1:{}/a/b/c.flv", ports[1]));
    pipeline.stop();
    assert_eq!(properties.map(|_| told.recv_timeout(support::PATIENCE).unwrap()), [0, 0]);
    assert!(ports.iter().all(|&port| !is_open(port.try_into().unwrap())), "{ports:?}");
}

#[test]
fn a_sink_with_an_http_port_shares_the_server_of_one_without() {
    let _limit = support::start("sharing with an http-port");
    let (port, http) = (support::free_port(), support::free_port());
    let (plain, other) = (sink(port.into(), "a"), sink(port.into(), "b"));
    other.set_property("http-port", i32::from(http));
    plain.set_state(gst::State::Ready).unwrap();
    other.set_state(gst::State::Ready).unwrap();
    assert_eq!(plain.property::<u32>("current-http-port"), 0);
    assert_eq!(other.property::<u32>("current-http-port"), u32::from(http));
    assert!(is_open(http));
    other.set_state(gst::State::Null).unwrap();
    assert!(!is_open(http) && is_open(port), "the other one still serves");
    // What is changed in READY holds from PAUSED on.
    plain.set_property("http-port", i32::from(http));
    plain.set_state(gst::State::Paused).unwrap();
    assert!(is_open(http));
    plain.set_state(gst::State::Null).unwrap();
    assert!(!is_open(http) && !is_open(port));
}

#[test]
fn eos_lets_players_have_all_before_it_is_posted() {
    let _limit = support::start("eos");
    let directory = tempfile::tempdir().unwrap();
    let file = clip(directory.path(), 1_500);
    let pipeline = Pipeline::play(&format!(
        "filesrc location={} ! flvdemux : rtmprelaysink name=s port=0 wait-for-connection=true",
        file.display()
    ));
    let player = Player::join(&pipeline.url());
    pipeline.eos();
    let all = clip_frames(1_500);
    player.wait_for(Video, support::payloads(&all, Video).len());
    pipeline.stop();
    assert_received(&player.until_end(), &all, 0);
}

#[test]
fn eos_without_anybody_is_not_held_up() {
    let _limit = support::start("eos without anybody");
    let directory = tempfile::tempdir().unwrap();
    let file = clip(directory.path(), 500);
    let line = "flvdemux : rtmprelaysink name=s port=0 drain-timeout=9000 sync=false";
    let start = Instant::now();
    Pipeline::play(&format!("filesrc location={} ! {line}", file.display())).eos();
    assert!(start.elapsed() < at_most(Duration::from_secs(2)), "{:?}", start.elapsed());
}

#[test]
fn a_player_that_reads_nothing_holds_up_no_state_change() {
    let _limit = support::start("a player that reads nothing");
    let mut feed = Feed::start("");
    let port = feed.sink().property::<u32>("current-port");
    let _stuck = StuckPlayer::join(u16::try_from(port).unwrap(), "live", "stream");
    (0..12).for_each(|_| feed.push_gop(9, 100_000));
    let start = Instant::now();
    feed.pipeline.pipeline.set_state(gst::State::Null).unwrap();
    // Without this bound it is the time in which a player has to take something: 10 s.
    assert!(start.elapsed() < at_most(Duration::from_secs(7)), "{:?}", start.elapsed());
}

#[test]
fn a_pipeline_can_pause_and_play_and_go_back_to_ready_and_come_again() {
    let _limit = support::start("pause");
    // The sink paces it. A live source ends its task itself when it is paused, which may be after it was begun again.
    let pipeline = Pipeline::play(
        "videotestsrc ! video/x-raw,format=I420,width=160,height=120 ! x264enc tune=zerolatency \
         key-int-max=10 ! rtmprelaysink name=s port=0",
    );
    let player = Player::join(&pipeline.url());
    player.wait_for(Video, 10);
    pipeline.pipeline.set_state(gst::State::Paused).unwrap();
    pipeline.pipeline.set_state(gst::State::Playing).unwrap();
    let count = player.count(Video);
    player.wait_for(Video, count + 10);
    pipeline.pipeline.set_state(gst::State::Ready).unwrap();
    player.until_end();
    pipeline.pipeline.set_state(gst::State::Playing).unwrap();
    let again = Player::join(&pipeline.url());
    again.wait_for(Video, 10);
}

#[test]
fn a_seek_back_goes_on_in_the_players_time() {
    let _limit = support::start("seek");
    let directory = tempfile::tempdir().unwrap();
    let file = clip(directory.path(), 6_000);
    let pipeline = Pipeline::play(&format!(
        "filesrc location={} ! flvdemux : rtmprelaysink name=s port=0",
        file.display()
    ));
    let player = Player::join(&pipeline.url());
    player.wait_for(Video, 40);
    let flags = gst::SeekFlags::FLUSH | gst::SeekFlags::KEY_UNIT;
    pipeline.pipeline.seek_simple(flags, gst::ClockTime::ZERO).unwrap();
    let before = player.count(Video);
    player.wait_for(Video, before + 40);
    let frames = player.frames();
    for kind in [Video, Audio] {
        let times: Vec<_> = frames
            .iter()
            .filter(|frame| frame.kind == kind && !frame.is_config())
            .map(|frame| frame.timestamp)
            .collect();
        assert!(times.windows(2).all(|pair| (0..500).contains(&(pair[1] - pair[0]))), "{kind:?}: {times:?}");
    }
    let last = |kind| frames.iter().rfind(|frame| frame.kind == kind).unwrap().timestamp;
    assert!((last(Video) - last(Audio)).abs() < 150, "the tracks are in step");
}

#[test]
fn eos_is_posted_again_after_a_flush_took_it_back() {
    let _limit = support::start("eos after a flush");
    let directory = tempfile::tempdir().unwrap();
    let file = clip(directory.path(), 600);
    let pipeline = Pipeline::play(&format!(
        "filesrc location={} ! flvdemux : rtmprelaysink name=s port=0",
        file.display()
    ));
    pipeline.eos();
    pipeline.pipeline.seek_simple(gst::SeekFlags::FLUSH, gst::ClockTime::ZERO).unwrap();
    pipeline.eos();
    let video = support::payloads(&clip_frames(600), Video).len();
    until("the clip was sent twice", || stat::<u64>(&pipeline.sink(), "frames-in") >= 2 * video as u64);
}

#[test]
fn a_released_pad_does_not_hold_up_the_end() {
    let _limit = support::start("a released pad");
    let directory = tempfile::tempdir().unwrap();
    let file = clip(directory.path(), 600);
    let pipeline = Pipeline::parse(&format!(
        "filesrc location={} ! flvdemux name=d d.video ! queue ! rtmprelaysink name=s port=0",
        file.display()
    ));
    let sink = pipeline.sink();
    let unused = sink.request_pad_simple("audio").unwrap();
    pipeline.pipeline.set_state(gst::State::Playing).unwrap();
    until("the file is through", || stat::<u64>(&sink, "frames-in") >= 15);
    sink.release_request_pad(&unused);
    pipeline.eos();
    assert!(url(&sink).starts_with("rtmp://"));
}
