//! RTMP over TLS with foreign software on both sides, and F44, F45: bad certificates and the wrong protocol.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};
use streamengine_tests::flv::{Extent, Recording, assert_arrived};
use streamengine_tests::peers::{self, Speed};
use streamengine_tests::tls::{self, Authority, Leaf, Validity};
use streamengine_tests::{
    Engine, PATIENCE, Recorder, at_most, demo_clip, needs, poll, raw, streamengine, unique,
};

const NAMES: &str = "DNS:localhost,IP:127.0.0.1";

fn secure(leaf: &Leaf) -> Engine {
    Engine::serve().rtmps(&leaf.cert, &leaf.key).start()
}

#[test]
fn ffmpeg_publishes_and_plays_over_tls_and_verifies_the_certificate() {
    needs!("ffmpeg", "openssl");
    let authority = Authority::new();
    let engine = secure(&authority.leaf(NAMES, Validity::Now));
    let name = format!("live/{}", unique("tls"));
    let url = engine.rtmps_url(&name);
    let ca = authority.cert().to_string_lossy().into_owned();
    let trust = ["-tls_verify", "1", "-ca_file", &ca];
    let player = peers::ffmpeg_play_with(&url, &trust);
    let plain = peers::ffmpeg_play(&engine.url(&name));
    let publisher = peers::ffmpeg_publish_with(&demo_clip(), &url, Speed::Fast, &trust);
    publisher.succeed(PATIENCE);
    let source = Recording::read(&demo_clip());
    for player in [player, plain] {
        assert_arrived(&source, &player.finish(), Extent::ToTheEnd);
    }
}

/// librtmp gives up at the session tickets of TLS 1.3, which come before the handshake of RTMP.
#[test]
fn rtmpdump_plays_over_tls_from_the_start() {
    needs!("ffmpeg", "openssl", "rtmpdump");
    let engine = secure(&Authority::new().leaf(NAMES, Validity::Now));
    let name = format!("live/{}", unique("tls"));
    let player = peers::rtmpdump_play(&engine.rtmps_url(&name));
    engine.wait("play-started", |event| event["stream"] == name.as_str());
    peers::ffmpeg_publish(&demo_clip(), &engine.url(&name), Speed::Fast).succeed(PATIENCE);
    assert_arrived(&Recording::read(&demo_clip()), &player.finish(), Extent::ToTheEnd);
}

#[test]
fn rtmpsink_publishes_over_tls() {
    needs!("openssl", "gst:rtmpsink");
    let engine = secure(&Authority::new().leaf(NAMES, Validity::Now));
    let name = format!("live/{}", unique("tls"));
    let player = Recorder::play(engine.rtmp, &name);
    peers::gst_librtmp_publish(&demo_clip(), &engine.rtmps_url(&name)).succeed(PATIENCE);
    assert_arrived(&Recording::read(&demo_clip()), &player.finish(Duration::from_secs(15)), Extent::Whole);
}

/// The usual certificate that vouches for itself and is marked as an authority's.
#[test]
fn a_self_signed_certificate_that_is_listed_is_trusted_by_a_relay_as_by_curl() {
    needs!("openssl");
    let authority = Authority::new();
    let leaf = authority.self_signed();
    let target = secure(&leaf);
    let player = Recorder::play(target.rtmp, "live/tls");
    let url = format!("rtmps://localhost:{}/live/tls", target.rtmps.expect("RTMPS").port());
    let mut command = std::process::Command::new(streamengine_tests::binary());
    command.args(["loop", &demo_clip().to_string_lossy(), &url, "--json"]);
    command.env("STREAMENGINE_TLS__CA", &leaf.cert);
    let looper = streamengine_tests::Proc::spawn("streamengine loop", command);
    player.wait_tags(50);
    let ca = leaf.cert.to_string_lossy().into_owned();
    let said = tls::s_client(target.rtmps.expect("RTMPS"), &["-CAfile", &ca, "-verify_return_error"]);
    assert!(said.contains("Verify return code: 0"), "OpenSSL does not: {said}");
    looper.signal(streamengine_tests::Signal::INT);
    assert_eq!(looper.wait(PATIENCE), 0, "{}", looper.log());
}

#[test]
fn ffmpeg_refuses_a_certificate_of_another_authority() {
    needs!("ffmpeg", "openssl");
    let (authority, stranger) = (Authority::new(), Authority::new());
    let engine = secure(&authority.leaf(NAMES, Validity::Now));
    let ca = stranger.cert().to_string_lossy().into_owned();
    let trust = ["-tls_verify", "1", "-ca_file", &ca];
    let url = engine.rtmps_url("live/x");
    let publisher = peers::ffmpeg_publish_with(&demo_clip(), &url, Speed::Fast, &trust);
    assert_ne!(publisher.wait(PATIENCE), 0);
    assert!(engine.events_of("stream-started").is_empty());
    assert_eq!(engine.stop(), 0);
}

/// `loop` to an RTMPS target that trusts only `authority`, without `--retry`: its output.
fn loop_to(target: &Engine, authority: &Authority, host: &str) -> streamengine_tests::Proc {
    let url = format!("rtmps://{host}:{}/live/tls", target.rtmps.expect("RTMPS").port());
    let mut command = std::process::Command::new(streamengine_tests::binary());
    command.args(["loop", &demo_clip().to_string_lossy(), &url, "--json"]);
    command.env("STREAMENGINE_TLS__CA", authority.cert());
    streamengine_tests::Proc::spawn("streamengine loop", command)
}

#[test]
fn a_relay_over_tls_is_byte_exact() {
    needs!("openssl");
    let authority = Authority::new();
    let target = secure(&authority.leaf(NAMES, Validity::Now));
    let player = Recorder::play(target.rtmp, "live/tls");
    let looper = loop_to(&target, &authority, "localhost");
    player.wait_tags(200);
    assert_arrived(&Recording::read(&demo_clip()), &player.stop(), Extent::Looped);
    looper.signal(streamengine_tests::Signal::INT);
    assert_eq!(looper.wait(PATIENCE), 0, "{}", looper.log());
}

#[test]
fn f44_a_bad_certificate_is_refused_with_its_cause() {
    needs!("openssl");
    let (authority, stranger) = (Authority::new(), Authority::new());
    let cases = [
        ("expired", authority.leaf(NAMES, Validity::Expired)),
        ("name", authority.leaf("DNS:elsewhere.example", Validity::Now)),
        ("issuer", authority.self_signed()),
        ("issuer", stranger.leaf(NAMES, Validity::Now)),
    ];
    for (cause, leaf) in cases {
        let target = secure(&leaf);
        let looper = loop_to(&target, &authority, "localhost");
        let told = looper.out.find_after(0, PATIENCE, |line| {
            let line = line.to_lowercase();
            (line.contains("certificate") && line.contains("error")).then_some(line)
        });
        let told = told.unwrap_or_else(|| panic!("{cause}: no word of the certificate\n{}", looper.log()));
        let names = match cause {
            "expired" => ["expired", "validity"],
            "name" => ["not valid for", "name"],
            _ => ["issuer", "self-signed"],
        };
        assert!(names.iter().any(|name| told.contains(name)), "{cause} is not told: {told}");
        assert!(target.events_of("stream-started").is_empty(), "{cause}: published all the same");
    }
}

#[test]
fn f44_old_tls_is_refused_and_the_server_lives() {
    needs!("openssl");
    let authority = Authority::new();
    let engine = secure(&authority.leaf(NAMES, Validity::Now));
    let address = engine.rtmps.expect("RTMPS");
    for version in ["-tls1", "-tls1_1"] {
        let said = tls::s_client(address, &[version, "-cipher", "DEFAULT@SECLEVEL=0"]);
        assert!(said.contains("no peer certificate available"), "{version}: {said}");
    }
    let ca = authority.cert().to_string_lossy().into_owned();
    for version in ["-tls1_2", "-tls1_3"] {
        let said = tls::s_client(address, &[version, "-CAfile", &ca, "-verify_return_error"]);
        assert!(said.contains("Verify return code: 0"), "{version}: {said}");
    }
}

#[test]
fn f44_a_renewed_certificate_is_used_by_the_next_connection_and_drops_none() {
    needs!("openssl");
    let (before, after) = (Authority::new(), Authority::new());
    let leaf = before.leaf(NAMES, Validity::Now);
    let engine = secure(&leaf);
    let looper = loop_to(&engine, &before, "localhost");
    engine.wait_publish("live/tls");
    let player = Recorder::play(engine.rtmp, "live/tls");
    player.wait_tags(20);
    tls::replace(&leaf, &after.leaf(NAMES, Validity::Now));
    let ca = after.cert().to_string_lossy().into_owned();
    let renewed = poll(Duration::from_secs(15), || {
        let said = tls::s_client(engine.rtmps.expect("RTMPS"), &["-CAfile", &ca, "-verify_return_error"]);
        said.contains("Verify return code: 0").then_some(())
    });
    assert!(renewed.is_some(), "the new certificate is not used\n{}", engine.process.log());
    let seen = player.tags().len();
    player.wait_tags(seen + 20);
    assert!(engine.events_of("stream-ended").is_empty(), "the running stream was dropped");
    drop(looper);
}

#[test]
fn f45_plain_rtmp_on_the_tls_port_is_closed_at_once_and_told() {
    needs!("openssl");
    let authority = Authority::new();
    let engine = secure(&authority.leaf(NAMES, Validity::Now));
    let mut peer = raw::RawPeer::dial(engine.rtmps.expect("RTMPS")).expect("connect");
    let start = Instant::now();
    let mut hello = vec![0; 1537];
    hello[0] = 3;
    peer.socket.write_all(&hello).expect("hello");
    assert!(peer.wait_closed(Duration::from_secs(5)), "it stays open");
    assert!(start.elapsed() < at_most(Duration::from_millis(500)), "closed after {:?}", start.elapsed());
    let told = engine.process.err.find("plain RTMP", PATIENCE);
    assert!(told.is_some_and(|line| line.contains("rtmps")), "no helpful line\n{}", engine.process.log());
}

#[test]
fn f45_tls_and_http_on_the_plain_port_are_closed_at_once_and_told() {
    needs!("openssl");
    let engine = Engine::start();
    let start = Instant::now();
    let said = tls::s_client(engine.rtmp, &[]);
    assert!(start.elapsed() < at_most(Duration::from_secs(3)), "openssl took {:?}: {said}", start.elapsed());
    let closed = engine.wait("session-closed", |_| true);
    assert!(closed["reason"].as_str().is_some_and(|told| told.contains("TLS")), "{closed}");
    let mark = engine.lines().mark();
    let mut http = TcpStream::connect(engine.rtmp).expect("connect");
    http.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").expect("request");
    let start = Instant::now();
    let mut answer = Vec::new();
    let _ = http.read_to_end(&mut answer);
    assert!(start.elapsed() < at_most(Duration::from_millis(500)), "closed after {:?}", start.elapsed());
    let closed = engine.wait_after(mark, "session-closed", PATIENCE, |_| true);
    assert!(closed["reason"].as_str().is_some_and(|told| told.contains("HTTP")), "{closed}");
}

#[test]
fn rtmps_files_that_are_missing_end_serve_with_an_error_that_names_them() {
    let args = ["serve", "--rtmps", "127.0.0.1:0", "--cert", "/no/cert.pem", "--key", "/no/key.pem"];
    let process = streamengine(args);
    assert!(matches!(process.wait(PATIENCE), 1 | 2), "{}", process.log());
    assert!(process.err.all().join("\n").contains("/no/cert.pem"), "{}", process.log());
}
