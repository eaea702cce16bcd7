//! Players: who may join, what they start with, how far they may fall behind, and what is told of them.

mod support;

use gst::prelude::*;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc;
use std::time::{Duration, Instant};
use streamengine::media::FrameKind::{Audio, Data, Video};
use streamengine::media::metadata::number;
use streamengine::testing::wait::at_most;
use support::{Feed, PATIENCE, Pipeline, Player, StuckPlayer, stat, stat_list, until};

/// A live stream whose encoder makes a keyframe at the start, and then only when it is asked to.
const ONE_KEYFRAME: &str = "videotestsrc is-live=true ! \
    video/x-raw,format=I420,width=160,height=120,framerate=30/1 ! \
    x264enc name=e tune=zerolatency speed-preset=ultrafast key-int-max=100000 ! rtmprelaysink name=s port=0 sync=false";

fn stuck_player(sink: &gst::Element) -> StuckPlayer {
    StuckPlayer::join(sink.property::<u32>("current-port").try_into().unwrap(), "live", "stream")
}

/// Times at which the encoder is asked for a keyframe.
fn keyframe_requests(pipeline: &Pipeline) -> mpsc::Receiver<Instant> {
    let (tell, told) = mpsc::channel();
    let pad = pipeline.pipeline.by_name("e").unwrap().static_pad("src").unwrap();
    pad.add_probe(gst::PadProbeType::EVENT_UPSTREAM, move |_, info| {
        let is_request = info
            .event()
            .and_then(|event| event.structure())
            .is_some_and(|structure| structure.name() == "GstForceKeyUnit");
        if is_request {
            let _ = tell.send(Instant::now());
        }
        gst::PadProbeReturn::Ok
    });
    told
}

#[test]
fn g5_a_player_that_joins_in_mid_stream_starts_with_the_newest_keyframe_at_once() {
    let _limit = support::start("g5");
    let mut feed = Feed::start("request-keyframes=false");
    feed.push_gop(3, 100);
    feed.push_gop(50, 100);
    // Nothing more comes: what the player gets is what was kept for it.
    let player = Player::join(&feed.pipeline.url());
    player.wait_for(Video, 51);
    let first = player.first(Video);
    assert!(first.flags.keyframe && first.payload[..2] == [0x17, 1], "{first:?}");
    assert_eq!(player.count(Video), 51);
}

#[test]
fn without_a_gop_cache_a_player_starts_with_the_next_keyframe() {
    let _limit = support::start("gop-cache=false");
    let mut feed = Feed::start("gop-cache=false request-keyframes=false");
    feed.push_gop(20, 100);
    let player = Player::join(&feed.pipeline.url());
    until("it plays", || stat::<u32>(&feed.sink(), "players") == 1);
    feed.push(false, 100);
    feed.push_gop(4, 100);
    player.wait_for(Video, 5);
    let first = player.first(Video);
    assert!(first.flags.keyframe && first.timestamp >= 33 * 22, "at {}", first.timestamp);
    // Switched on while it plays, the next player gets the last five.
    feed.sink().set_property("gop-cache", true);
    Player::join(&feed.pipeline.url()).wait_for(Video, 5);
}

#[test]
fn a_gop_larger_than_the_cache_is_not_kept_for_players() {
    let _limit = support::start("gop-cache-max-bytes");
    let mut feed = Feed::start("gop-cache-max-bytes=50000 request-keyframes=false");
    feed.push_gop(9, 10_000);
    assert_eq!(stat::<u64>(&feed.sink(), "gop-cache-bytes") / 10_000, 10);
    let player = Player::join(&feed.pipeline.url());
    until("it plays", || stat::<u32>(&feed.sink(), "players") == 1);
    feed.push_gop(1, 10_000);
    player.wait_for(Video, 2);
    let first = player.first(Video);
    assert!(first.flags.keyframe && first.timestamp >= 33 * 10, "at {}", first.timestamp);
    assert_eq!(player.count(Video), 2);
}

#[test]
fn who_joins_makes_the_encoder_make_a_keyframe_but_not_too_often() {
    let _limit = support::start("request-keyframes");
    let pipeline = Pipeline::parse(&format!("{ONE_KEYFRAME} gop-cache=false keyframe-interval-min=500"));
    let requests = keyframe_requests(&pipeline);
    pipeline.pipeline.set_state(gst::State::Playing).unwrap();
    until("the first keyframe has gone by", || stat::<u64>(&pipeline.sink(), "frames-in") > 5);
    let players: Vec<_> = (0..4).map(|_| Player::join(&pipeline.url())).collect();
    for player in &players {
        let first = player.first(Video);
        assert!(first.flags.keyframe && first.payload[0] == 0x17);
    }
    let times: Vec<_> = requests.try_iter().collect();
    assert!((1..=4).contains(&times.len()), "{} requests", times.len());
    let too_soon = times.windows(2).find(|pair| pair[1] - pair[0] < Duration::from_millis(480));
    assert!(too_soon.is_none(), "{times:?}");
    assert!(stat::<u64>(&pipeline.sink(), "keyframes-in") >= 2);
}

#[test]
fn a_target_that_connects_is_a_reason_for_a_keyframe_and_without_the_property_none_is() {
    let _limit = support::start("request-keyframes for targets");
    let server = support::Server::start();
    for (asks, stream) in [(true, "a"), (false, "b")] {
        let pipeline =
            Pipeline::parse(&format!("{ONE_KEYFRAME} request-keyframes={asks} keyframe-interval-min=0"));
        let requests = keyframe_requests(&pipeline);
        pipeline.pipeline.set_state(gst::State::Playing).unwrap();
        until("frames", || stat::<u64>(&pipeline.sink(), "frames-in") > 5);
        pipeline.sink().set_property("location", server.url(stream));
        server.record(stream).wait_for(Video, 10);
        let player = Player::join(&pipeline.url());
        player.wait_for(Video, 10);
        pipeline.stop();
        assert_eq!(requests.try_iter().count() >= 2, asks, "request-keyframes={asks}");
        assert_eq!(requests.try_iter().count(), 0);
    }
}

#[test]
fn no_more_play_than_max_players_says_also_when_it_changes() {
    let _limit = support::start("max-players");
    let mut feed = Feed::start("max-players=1");
    feed.push_gop(2, 100);
    let first = Player::join(&feed.pipeline.url());
    first.wait_for(Video, 3);
    let refusal = Player::join(&feed.pipeline.url()).refusal();
    assert!(refusal.contains("too many players"), "{refusal}");
    feed.sink().set_property("max-players", 2_u32);
    Player::join(&feed.pipeline.url()).wait_for(Video, 3);
    until("all are counted", || stat::<u64>(&feed.sink(), "players-total") == 2);
    feed.push(false, 100);
    first.wait_for(Video, 4);
}

#[test]
fn the_first_handler_that_says_no_keeps_a_player_out_and_each_hears_who_asks() {
    let _limit = support::start("player-connecting");
    let mut feed = Feed::start("");
    feed.push_gop(2, 100);
    let (tell, told) = mpsc::channel();
    feed.sink().connect("player-connecting", false, move |arguments| {
        let info = arguments[1].get::<gst::Structure>().unwrap();
        let is_guest = info.get::<&str>("query") == Ok("who=guest");
        tell.send(info).unwrap();
        Some((!is_guest).to_value())
    });
    feed.sink().connect("player-connecting", false, |_| Some(true.to_value()));
    let refusal = Player::join(&format!("{}?who=guest", feed.pipeline.url())).refusal();
    assert!(refusal.contains("refused by the server"), "{refusal}");
    let info = told.recv_timeout(PATIENCE).unwrap();
    assert_eq!((info.get::<&str>("application"), info.get::<&str>("stream")), (Ok("live"), Ok("stream")));
    assert!(info.get::<&str>("address").unwrap().starts_with("127.0.0.1:"));
    assert!(info.get::<u32>("id").unwrap() > 0 && !info.get::<bool>("tls").unwrap());
    Player::join(&format!("{}?who=friend", feed.pipeline.url())).wait_for(Video, 3);
    until("all are counted", || stat::<u64>(&feed.sink(), "players-total") == 1);
}

#[test]
fn a_handler_that_does_not_answer_refuses_its_player_and_holds_up_nothing_else() {
    let _limit = support::start("a handler that does not answer");
    let mut feed = Feed::start("");
    feed.push_gop(2, 100);
    let earlier = Player::join(&feed.pipeline.url());
    earlier.wait_for(Video, 3);
    let (release, released) = mpsc::channel::<()>();
    let released = std::sync::Mutex::new(released);
    feed.sink().connect("player-connecting", false, move |_| {
        // Until the test is over.
        let _ = released.lock().unwrap().recv();
        Some(true.to_value())
    });
    let late = Player::join(&feed.pipeline.url());
    feed.push_gop(9, 100);
    earlier.wait_for(Video, 13);
    let refusal = late.refusal();
    assert!(refusal.contains("refused"), "{refusal}");
    let stop = Instant::now();
    drop(release);
    feed.pipeline.stop();
    assert!(stop.elapsed() < at_most(Duration::from_millis(2_500)), "NULL after {:?}", stop.elapsed());
}

#[test]
fn players_can_join_while_a_paced_file_is_paused() {
    let _limit = support::start("players of a paused file");
    let directory = tempfile::tempdir().unwrap();
    let file = support::clip(directory.path(), 9_000);
    let line =
        format!("filesrc location={} ! rtmprelaysink name=s port=0 keyframe-interval-min=0", file.display());
    let pipeline = Pipeline::play(&line);
    until("frames", || stat::<u64>(&pipeline.sink(), "frames-in") > 10);
    pipeline.pipeline.set_state(gst::State::Paused).unwrap();
    let first = Player::join(&pipeline.url());
    first.wait_for(Video, 1);
    until("it is known", || stat::<u64>(&pipeline.sink(), "players-total") == 1);
    Player::join(&pipeline.url()).wait_for(Video, 1);
    pipeline.pipeline.set_state(gst::State::Playing).unwrap();
    let count = first.count(Video);
    first.wait_for(Video, count + 10);
}

#[test]
fn nobody_can_publish_to_the_sink() {
    let _limit = support::start("publishing to the sink");
    let mut feed = Feed::start("");
    feed.push_gop(2, 100);
    let url = feed.pipeline.url();
    let intruder = Pipeline::play(&format!(
        "videotestsrc is-live=true ! video/x-raw,format=I420,width=64,height=48 ! x264enc ! \
         rtmprelaysink name=s port=0 sync=false reconnect=false location={url}"
    ));
    let warning = intruder.message("a warning", |message| match message.view() {
        gst::MessageView::Warning(warning) => Some(warning.error()),
        _ => None,
    });
    assert!(warning.matches(gst::ResourceError::NotAuthorized), "{warning}");
    Player::join(&url).wait_for(Video, 3);
}

#[test]
fn players_come_and_go_with_signals_and_messages_and_can_be_kicked() {
    let _limit = support::start("player signals");
    let mut feed = Feed::start("");
    feed.push_gop(2, 1_000);
    let (tell, told) = mpsc::channel();
    let added = tell.clone();
    feed.sink().connect("play-started", false, move |arguments| {
        let (id, info) = (arguments[1].get::<u32>().unwrap(), arguments[2].get::<gst::Structure>().unwrap());
        // A handler may ask the element anything.
        let sink = arguments[0].get::<gst::Element>().unwrap();
        assert_eq!(stat::<u32>(&sink, "players"), 1);
        added.send((id, "added".to_owned(), info)).unwrap();
        None
    });
    feed.sink().connect("play-ended", false, move |arguments| {
        let (id, reason) = (arguments[1].get::<u32>().unwrap(), arguments[2].get::<String>().unwrap());
        tell.send((id, reason, arguments[3].get::<gst::Structure>().unwrap())).unwrap();
        None
    });
    let player = Player::join(&feed.pipeline.url());
    player.wait_for(Video, 3);
    let (id, _, info) = told.recv_timeout(PATIENCE).unwrap();
    assert_eq!(info.get::<u32>("id"), Ok(id));
    let message = feed.pipeline.element_message("rtmprelaysink-player", |_| true);
    assert_eq!((message.get::<&str>("event"), message.get::<u32>("id")), (Ok("added"), Ok(id)));

    assert!(!feed.sink().emit_by_name::<bool>("kick-player", &[&(id + 1)]));
    assert!(feed.sink().emit_by_name::<bool>("kick-player", &[&id]));
    let (removed, reason, stats) = told.recv_timeout(PATIENCE).unwrap();
    assert!(removed == id && reason.ends_with("kicked"), "{removed}: {reason}");
    assert!(
        stats.get::<u64>("bytes-sent").unwrap() > 3_000 && stats.get::<gst::ClockTime>("duration").is_ok()
    );
    let message = feed
        .pipeline
        .element_message("rtmprelaysink-player", |player| player.get::<&str>("event") == Ok("removed"));
    assert_eq!(message.get::<&str>("reason"), Ok(&*reason));
}

#[test]
fn a_handler_may_even_stop_the_pipeline() {
    let _limit = support::start("a handler that stops the pipeline");
    let mut feed = Feed::start("");
    feed.push_gop(2, 100);
    let (tell, told) = mpsc::channel();
    let pipeline = feed.pipeline.pipeline.downgrade();
    feed.sink().connect("play-started", false, move |_| {
        let pipeline = pipeline.upgrade().unwrap();
        tell.send(pipeline.set_state(gst::State::Null)).unwrap();
        None
    });
    let _player = Player::join(&feed.pipeline.url());
    told.recv_timeout(PATIENCE).unwrap().unwrap();
    assert_eq!(feed.sink().property::<u32>("current-port"), 0);
}

/// Room for all that these tests push: only what a player may not have is left out.
const LARGE_RING: &str = "gop-cache-max-bytes=33554432 request-keyframes=false";
/// Far more than the system takes for a player that does not read.
const LARGE_GOPS: usize = 25;

/// A player that does not read, and what the system does not take for it any more.
fn fall_behind(feed: &mut Feed) -> StuckPlayer {
    feed.push(true, 100);
    let stuck = stuck_player(&feed.sink());
    until("it plays", || stat::<u32>(&feed.sink(), "players") == 1);
    (0..LARGE_GOPS).for_each(|_| feed.push_gop(9, 100_000));
    assert!(of_first_player::<u64>(&feed.sink(), "queue-bytes") > 2_000_000);
    stuck
}

fn of_first_player<T: for<'a> gst::glib::value::FromValue<'a> + 'static>(
    sink: &gst::Element,
    name: &str,
) -> T {
    stat_list(sink, "players-list")[0].value(name).unwrap().get().unwrap()
}

fn is_caught_up(sink: &gst::Element) -> bool {
    of_first_player::<u64>(sink, "queue-bytes") == 0
}

#[test]
fn a_player_too_far_behind_in_bytes_goes_on_at_a_newer_keyframe_and_others_lose_nothing() {
    let _limit = support::start("max-queue-bytes");
    let mut feed = Feed::start(&format!("max-queue-bytes=1500000 max-queue-time=0 {LARGE_RING}"));
    let stuck = fall_behind(&mut feed);
    let good = Player::join(&feed.pipeline.url());
    good.wait_for(Video, 10);
    stuck.read_on();
    until("it has caught up", || is_caught_up(&feed.sink()));
    let dropped: u64 = of_first_player(&feed.sink(), "dropped");
    assert!(dropped > 30, "{dropped} frames were left out");
    assert_eq!(stat::<u64>(&feed.sink(), "frames-dropped"), dropped);
    feed.push_gop(9, 100_000);
    good.wait_for(Video, 20);
    assert_eq!(of_first_player::<u64>(&feed.sink(), "dropped"), dropped);
}

#[test]
fn without_a_limit_a_player_gets_all_however_late() {
    let _limit = support::start("no limit");
    let mut feed = Feed::start(&format!("max-queue-bytes=0 max-queue-time=0 {LARGE_RING}"));
    fall_behind(&mut feed).read_on();
    until("it has caught up", || is_caught_up(&feed.sink()));
    assert_eq!(of_first_player::<u64>(&feed.sink(), "dropped"), 0);
    assert!(of_first_player::<u64>(&feed.sink(), "bytes-sent") > 1_000_000 * LARGE_GOPS as u64);
}

#[test]
fn a_player_too_far_behind_in_time_goes_on_at_a_newer_keyframe() {
    let _limit = support::start("max-queue-time");
    let mut feed = Feed::start(&format!("max-queue-bytes=0 max-queue-time=0 {LARGE_RING}"));
    let stuck = fall_behind(&mut feed);
    let queue_time = || of_first_player::<gst::ClockTime>(&feed.sink(), "queue-time");
    until("it is behind", || queue_time() > gst::ClockTime::from_mseconds(300));
    feed.sink().set_property("max-queue-time", 200_u32);
    stuck.read_on();
    until("it has caught up", || is_caught_up(&feed.sink()));
    assert!(of_first_player::<u64>(&feed.sink(), "dropped") > 0, "nothing was left out");
}

#[test]
fn the_applications_metadata_replaces_what_caps_say_and_a_change_is_told_at_once() {
    let _limit = support::start("metadata");
    let mut feed = Feed::start("metadata=m,width=(int)99,title=(string)first");
    feed.push_gop(2, 100);
    let player = Player::join(&feed.pipeline.url());
    player.wait_for(Video, 3);
    let told = || {
        let frames = player.frames();
        frames.into_iter().rfind(|frame| frame.kind == Data).map(|frame| frame.payload).unwrap()
    };
    assert_eq!(number(&told(), "width"), Some(99.0));
    assert!(told().windows(5).any(|bytes| bytes == b"first"));
    let changed = gst::Structure::builder("m").field("width", 77).build();
    feed.sink().set_property("metadata", changed);
    feed.push(false, 100);
    until("the new width", || number(&told(), "width") == Some(77.0));
}

#[test]
fn the_statistics_have_all_that_the_documentation_names() {
    let _limit = support::start("stats");
    let server = support::Server::start();
    let pipeline = Pipeline::play(&format!(
        "videotestsrc is-live=true ! video/x-raw,format=I420,width=160,height=120 ! \
         x264enc tune=zerolatency key-int-max=10 ! rtmprelaysink name=s port=0 location={} \
         audiotestsrc is-live=true ! avenc_aac ! aacparse ! s.",
        server.url("x")
    ));
    let sink = pipeline.sink();
    let player = Player::join(&pipeline.url());
    player.wait_for(Video, 30);
    player.wait_for(Audio, 10);
    server.record("x").wait_for(Video, 10);
    until("bytes to the target are counted", || {
        stat_list(&sink, "targets-list")[0].get::<u64>("bytes-sent").unwrap() > 1_000
    });
    let stats = sink.property::<gst::Structure>("stats");
    assert_eq!(stats.name(), "application/x-rtmprelaysink-stats");
    for name in [
        "bytes-in",
        "frames-in",
        "keyframes-in",
        "bytes-out",
        "players-total",
        "video-bitrate",
        "gop-cache-bytes",
    ] {
        assert!(stats.get::<u64>(name).unwrap() > 0, "{name}: {stats:?}");
    }
    assert_eq!(stats.get::<u64>("frames-dropped"), Ok(0));
    assert_eq!(stats.get::<u32>("players"), Ok(1));
    assert!(stats.get::<gst::ClockTime>("uptime").unwrap() > gst::ClockTime::from_mseconds(100));
    let codec = |name| stats.get::<String>(name).unwrap().to_lowercase();
    assert!(codec("video-codec").contains("264") && codec("audio-codec").contains("aac"), "{stats:?}");
    assert!(stats.get::<u64>("bytes-out").unwrap() > stats.get::<u64>("bytes-in").unwrap());

    let players = stat_list(&sink, "players-list");
    let of_player = &players[0];
    assert!(of_player.get::<&str>("address").unwrap().starts_with("127.0.0.1:"));
    assert!(of_player.get::<u64>("bytes-sent").unwrap() > 0);
    for (field, kind) in [
        ("id", u32::static_type()),
        ("connected-at", gst::DateTime::static_type()),
        ("queue-time", gst::ClockTime::static_type()),
        ("dropped", u64::static_type()),
    ] {
        assert_eq!(of_player.value(field).unwrap().type_(), kind, "{field}");
    }
    let targets = stat_list(&sink, "targets-list");
    let of_target = &targets[0];
    assert_eq!(of_target.get::<&str>("state"), Ok("publishing"));
    assert_eq!(of_target.get::<&str>("uri-masked"), Ok(&*server.url("***")));
    for (field, kind) in [
        ("id", u32::static_type()),
        ("attempt", u64::static_type()),
        ("attempts", u64::static_type()),
        ("bytes-acked", u64::static_type()),
        ("queue-time", gst::ClockTime::static_type()),
        ("dropped", u64::static_type()),
        ("connected-at", gst::DateTime::static_type()),
    ] {
        assert_eq!(of_target.value(field).unwrap().type_(), kind, "{field}");
    }
}

#[test]
fn the_round_trip_time_of_a_player_becomes_known() {
    let _limit = support::start("rtt");
    let mut feed = Feed::start("");
    feed.push_gop(2, 100);
    let player = Player::join(&feed.pipeline.url());
    player.wait_for(Video, 3);
    until("a time", || {
        let players = stat_list(&feed.sink(), "players-list");
        players.iter().any(|player| player.get::<gst::ClockTime>("rtt").is_ok_and(|rtt| !rtt.is_zero()))
    });
}

#[test]
fn players_come_over_http_too_and_the_door_of_each_is_told() {
    let _limit = support::start("http-port");
    let mut feed = Feed::start("http-port=0");
    feed.push_gop(2, 100);
    let (tell, told) = mpsc::channel();
    feed.sink().connect("player-connecting", false, move |arguments| {
        tell.send(arguments[1].get::<gst::Structure>().unwrap()).unwrap();
        Some(true.to_value())
    });
    let port = u16::try_from(feed.sink().property::<u32>("current-http-port")).unwrap();
    let mut player = TcpStream::connect(("127.0.0.1", port)).unwrap();
    player.set_read_timeout(Some(PATIENCE)).unwrap();
    player
        .write_all(b"GET /live/stream.flv?who=guest HTTP/1.0\r\nOrigin: https://site.example\r\nUser-Agent: player/1\r\n\r\n")
        .unwrap();
    let mut page = TcpStream::connect(("127.0.0.1", port)).unwrap();
    page.set_read_timeout(Some(PATIENCE)).unwrap();
    page.write_all(b"GET /play/live/stream HTTP/1.0\r\n\r\n").unwrap();
    let mut text = String::new();
    page.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.0 200 "), "{text}");
    assert_eq!(text.contains("src=\"/assets/player-"), streamengine_web::HAS_PLAYER, "{text}");
    let info = told.recv_timeout(PATIENCE).unwrap();
    assert_eq!((info.get::<&str>("door"), info.get::<&str>("query")), (Ok("http-flv"), Ok("who=guest")));
    assert_eq!((info.get::<&str>("agent"), info.get("origin")), (Ok("player/1"), Ok("https://site.example")));
    // The other kind of media may come for a second.
    let (mut got, mut buffer) = (Vec::new(), [0; 4_096]);
    while !got.windows(4).any(|window| window == b"FLV\x01") {
        let count = player.read(&mut buffer).unwrap();
        assert!(count > 0, "{}", String::from_utf8_lossy(&got));
        got.extend_from_slice(&buffer[..count]);
    }
    assert!(got.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&got));
    let other = Player::join(&feed.pipeline.url());
    other.wait_for(Video, 3);
    assert_eq!(told.recv_timeout(PATIENCE).unwrap().get::<&str>("door"), Ok("rtmp"));
    let doors: Vec<_> = stat_list(&feed.sink(), "players-list")
        .iter()
        .map(|player| player.get::<String>("door").unwrap())
        .collect();
    assert_eq!(doors, ["http-flv", "rtmp"]);
    drop(player);
    until("it has left", || stat::<u32>(&feed.sink(), "players") == 1);
}

#[test]
fn the_dashboard_is_at_the_root_unless_it_is_left_out() {
    let _limit = support::start("http-dashboard");
    for (property, has_dashboard) in [("", true), ("http-dashboard=false", false)] {
        let feed = Feed::start(&format!("http-port=0 {property}"));
        let port = u16::try_from(feed.sink().property::<u32>("current-http-port")).unwrap();
        let mut page = TcpStream::connect(("127.0.0.1", port)).unwrap();
        page.set_read_timeout(Some(PATIENCE)).unwrap();
        page.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        let mut text = String::new();
        page.read_to_string(&mut text).unwrap();
        assert!(text.starts_with("HTTP/1.0 200 "), "{text}");
        let is_dashboard = text.contains("/assets/dashboard-");
        assert_eq!(is_dashboard, has_dashboard && streamengine_web::HAS_PLAYER, "{property}: {text}");
        assert_eq!(text.contains("live/stream"), !has_dashboard, "{property}: {text}");
    }
}

#[test]
fn players_come_over_tls_too() {
    let _limit = support::start("tls-port");
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = support::certificate(directory.path());
    let port = support::free_port();
    let mut feed = Feed::start(&format!(
        "tls-port={port} tls-certificate={} tls-key={}",
        certificate.display(),
        key.display()
    ));
    feed.push_gop(2, 100);
    let secure = Player::join_trusting(&format!("rtmps://127.0.0.1:{port}/live/stream"), Some(certificate));
    secure.wait_for(Video, 3);
    assert!(stat_list(&feed.sink(), "players-list")[0].get::<bool>("tls").unwrap());
    Player::join(&feed.pipeline.url()).wait_for(Video, 3);
}
