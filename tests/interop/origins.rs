//! Streams that are fetched from origins, nginx-rtmp and our own, and pulled by HTTP; judged by what foreign players record.

use std::time::{Duration, Instant};
use streamengine_tests::flv::{Extent, Recording, Track, assert_arrived};
use streamengine_tests::nginx::Nginx;
use streamengine_tests::peers::{self, Speed};
use streamengine_tests::{
    Engine, PATIENCE, Recorder, Signal, at_most, demo_clip, free_address, needs, poll, streamengine, unique,
    workspace,
};

/// An engine that fetches from these.
fn proxy(urls: &[String], more: &str) -> Engine {
    Engine::serve().http().config(format!("[origins.a]\nurls = {urls:?}\n{more}")).start()
}

/// What ffmpeg records of some seconds of a stream.
fn record(url: &str) -> Recording {
    let player = peers::ffmpeg_play(url);
    let size = || std::fs::metadata(player.path()).ok().map(|meta| meta.len());
    let grown = poll(PATIENCE, || size().filter(|size| *size > 200_000));
    assert!(grown.is_some(), "{url}: nothing is recorded\n{}", player.process.log());
    player.interrupt()
}

/// Whether what is recorded of these URLs is an unbroken part of the clip, over its end perhaps.
fn arrives_at(urls: &[String]) {
    let source = Recording::read(&demo_clip());
    for url in urls {
        let got = record(url);
        assert_arrived(&source, &got, Extent::Looped);
        assert!(got.frames(Track::Video).len() > 20, "{url}: {} frames", got.frames(Track::Video).len());
    }
}

/// A file of `examples/proxy` with other addresses.
fn example(name: &str, addresses: &[(&str, &str)]) -> String {
    let path = workspace().join("examples/proxy").join(name);
    let text = std::fs::read_to_string(&path).expect("an example");
    addresses.iter().fold(text, |text, (from, to)| {
        assert!(text.contains(from), "{}: {from}", path.display());
        text.replace(from, to)
    })
}

#[test]
fn the_example_that_fetches_from_nginx_serves_its_frames_as_they_are() {
    needs!("ffmpeg", "nginx-rtmp");
    let address = free_address();
    let nginx =
        Nginx::run(address, &example("origin.conf", &[("listen 1936", &format!("listen {address}"))]));
    let config = example(
        "pull.toml",
        &[
            ("listen = [\"0.0.0.0:1935\"]", ""),
            ("0.0.0.0:8080", "127.0.0.1:0"),
            ("127.0.0.1:1936", &address.to_string()),
        ],
    );
    let proxy = Engine::serve().http().config(config).start();
    let _publisher = peers::ffmpeg_publish_forever(&demo_clip(), &format!("rtmp://{address}/myapp/test"));
    nginx.process.err.find("publish: name", PATIENCE).expect("the publisher is let in");
    let at = proxy.http();
    arrives_at(&[
        format!("http://{at}/live?port=1935&src=a&app=myapp&stream=test"),
        format!("http://{at}/origin/a/myapp/test.flv"),
        format!("rtmp://{}/origin/a/myapp/test", proxy.rtmp),
    ]);
    assert_eq!(proxy.stop(), 0);
}

#[test]
fn the_example_that_nginx_pushes_to_serves_its_frames_as_they_are() {
    needs!("ffmpeg", "nginx-rtmp");
    // With a key, as for origins on other machines.
    let config = example(
        "push.toml",
        &[
            ("listen = [\"0.0.0.0:1935\"]", ""),
            ("0.0.0.0:8080", "127.0.0.1:0"),
            ("#[publish]\n#key = \"KEY\"", "[publish]\nkey = \"KEY\""),
        ],
    );
    let proxy = Engine::serve().http().config(config).start();
    let address = free_address();
    let nginx_conf = example(
        "pushing-origin.conf",
        &[
            ("listen 1936", &format!("listen {address}")),
            ("127.0.0.1:1935/myapp", &format!("{}/myapp?key=KEY", proxy.rtmp)),
        ],
    );
    let _nginx = Nginx::run(address, &nginx_conf);
    let _publisher = peers::ffmpeg_publish_forever(&demo_clip(), &format!("rtmp://{address}/myapp/test"));
    proxy.wait_publish("myapp/test");
    let at = proxy.http();
    arrives_at(&[
        format!("http://{at}/live?port=1935&app=myapp&stream=test"),
        format!("http://{at}/myapp/test.flv"),
    ]);
    assert_eq!(proxy.stop(), 0);
}

#[test]
fn d2_frames_of_our_own_origin_are_equal_over_rtmp_and_http_and_one_connection_brings_them() {
    needs!("ffmpeg");
    let origin = Engine::serve().http().start();
    let name = unique("clip");
    let _publisher = peers::ffmpeg_publish_forever(&demo_clip(), &origin.url(&format!("live/{name}")));
    origin.wait_publish(&format!("live/{name}"));
    for url in [format!("rtmp://{}", origin.rtmp), format!("http://{}", origin.http())] {
        let (mark, proxy) = (origin.lines().mark(), proxy(&[url], "linger_ms = 60000\n"));
        let at = proxy.http();
        arrives_at(&[
            format!("http://{at}/live?src=a&app=live&stream={name}"),
            format!("http://{at}/origin/a/live/{name}.flv?enhanced=full"),
            proxy.url(&format!("origin/a/live/{name}")),
        ]);
        let plays = origin.lines().all()[mark..].iter().filter(|line| line.contains("play-started")).count();
        assert_eq!(plays, 1, "connections to the origin");
        assert_eq!(proxy.stop(), 0);
    }
}

#[test]
fn d1_a_killed_origin_cuts_no_player_and_costs_them_no_more_than_a_second_and_a_gop() {
    /// Of the demo clip.
    const GOP: Duration = Duration::from_secs(2);
    needs!("ffmpeg");
    for by_http in [false, true] {
        let origins: Vec<_> = (0..2).map(|_| Engine::serve().http().start()).collect();
        let publish = |engine: &Engine| {
            let publisher = peers::ffmpeg_publish_forever(&demo_clip(), &engine.url("live/s"));
            engine.wait_publish("live/s");
            publisher
        };
        let _publishers: Vec<_> = origins.iter().map(publish).collect();
        let url = |engine: &Engine| match by_http {
            true => format!("http://{}", engine.http()),
            false => format!("rtmp://{}", engine.rtmp),
        };
        let proxy = proxy(&origins.iter().map(url).collect::<Vec<_>>(), "");
        let players: Vec<_> = (0..10).map(|_| Recorder::play(proxy.rtmp, "origin/a/live/s")).collect();
        players.iter().for_each(|player| player.wait_tags(100));
        origins[0].process.signal(Signal::KILL);
        let killed = Instant::now();
        for player in &players {
            player.wait_until(PATIENCE, |tags| {
                tags.last().is_some_and(|(at, _)| *at > killed + Duration::from_secs(4))
            });
            let tags = player.tags();
            let gaps = tags.windows(2).map(|pair| pair[1].0 - pair[0].0);
            let worst = gaps.max().expect("tags");
            assert!(worst <= GOP + at_most(Duration::from_secs(1)), "a gap of {worst:?}, by http: {by_http}");
            assert!(!player.has_ended());
        }
        let ended = proxy.events_of("play-ended");
        assert!(ended.is_empty(), "{ended:?}");
    }
}

#[test]
fn a_relay_takes_a_stream_by_http_and_probe_tells_what_is_in_it() {
    needs!("ffmpeg");
    let origin = Engine::serve().http().start();
    let publisher = peers::ffmpeg_publish(&demo_clip(), &origin.url("live/clip"), Speed::Real);
    origin.wait_publish("live/clip");
    let url = format!("http://user:hunter2@{}/live/clip.flv?token=hunter3", origin.http());
    let target = Engine::start();
    let relay = streamengine(["relay", &url, &target.url("live/copy"), "--json"]);
    let player = Recorder::play(target.rtmp, "live/copy");
    let probe = streamengine(["probe", &url, "--seconds", "2"]);
    probe.succeed(PATIENCE);
    let told = probe.out.all().join("\n");
    assert!(
        told.contains("avc1") || told.to_lowercase().contains("h.264") || told.contains("H264"),
        "{told}"
    );
    publisher.succeed(PATIENCE);
    target.wait_unpublish("live/copy");
    relay.signal(Signal::INT);
    assert_eq!(relay.wait(PATIENCE), 0, "{}", relay.log());
    assert_arrived(&Recording::read(&demo_clip()), &player.finish(PATIENCE), Extent::ToTheEnd);
    assert!(!relay.log().contains("hunter") && !told.contains("hunter"), "{}", relay.log());
}

#[test]
fn a_source_that_is_no_flv_is_told_at_once() {
    for (source, words) in [
        ("http://127.0.0.1:1/live/x.m3u8", "an HLS playlist"),
        ("http://127.0.0.1:1", "the path is missing"),
        ("srt://127.0.0.1:1", "FLV by http://"),
    ] {
        let relay = streamengine(["relay", source, "rtmp://127.0.0.1:1/a/b"]);
        assert_eq!(relay.wait(PATIENCE), 2, "{}", relay.log());
        assert!(relay.log().contains(words), "{source}: {}", relay.log());
    }
}
