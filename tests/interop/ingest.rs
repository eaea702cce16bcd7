//! Publishers over HTTP: ffmpeg and curl with bodies, and a page behind nginx and Caddy, as the examples have them.

use std::net::SocketAddr;
use std::path::Path;
use streamengine_tests::flv::{Extent, Recording, assert_arrived};
use streamengine_tests::nginx::Nginx;
use streamengine_tests::peers::{self, Speed, command};
use streamengine_tests::tls::{Authority, Leaf, Validity};
use streamengine_tests::{
    Engine, PATIENCE, Proc, demo_clip, find_program, free_address, needs, poll, workspace,
};

/// A file of `examples/proxy` with other addresses, and this certificate.
fn example(name: &str, listen: (&str, &str), engine: &Engine, leaf: &Leaf) -> String {
    let path = workspace().join("examples/proxy").join(name);
    let text = std::fs::read_to_string(&path).expect("an example");
    let (cert, key) = (leaf.cert.display().to_string(), leaf.key.display().to_string());
    let own = [
        listen,
        ("127.0.0.1:8080", &*engine.http().to_string()),
        ("fullchain.pem", &*cert),
        ("privkey.pem", &*key),
    ];
    own.into_iter().fold(text, |text, (from, to)| {
        assert!(text.contains(from), "{}: {from}", path.display());
        text.replace(from, to)
    })
}

/// A page that publishes the clip through a proxy; what it was told.
fn page(proxy: SocketAddr, path: &str, origin: &str) -> Vec<String> {
    let script = workspace().join("tests/interop/page.py");
    let (host, port) = (proxy.ip().to_string(), proxy.port().to_string());
    let clip = demo_clip();
    let args =
        [script.as_os_str(), host.as_ref(), port.as_ref(), path.as_ref(), origin.as_ref(), clip.as_os_str()];
    let page = Proc::spawn("page", command("python3", args));
    page.succeed(PATIENCE);
    page.out.all()
}

/// What goes through a proxy: a page's stream and its refusal, and a body.
fn assert_passed_on(engine: &Engine, proxy: SocketAddr) {
    let origin = format!("https://live.example.org:{}", proxy.port());
    let told = page(proxy, "/live/page?key=right", &origin);
    assert!(told[0].contains("\"open\":true"), "{told:?}");
    assert_eq!(told.last().map(String::as_str), Some("closed 1000"), "{told:?}");
    engine.wait_unpublish("live/page");
    let told = page(proxy, "/live/page", &origin);
    assert!(told[0].contains("publish key") && told[1] == "closed 4401", "{told:?}");

    let url = format!("https://live.example.org:{}/live/body.flv?key=right", proxy.port());
    let to = format!("live.example.org:{}:{}", proxy.port(), proxy.ip());
    let clip = demo_clip();
    let args = ["-sS", "-k", "--fail", "--resolve", &to, "-T", clip.to_str().expect("a path"), &url];
    Proc::spawn("curl", command("curl", args)).succeed(PATIENCE);
    engine.wait_unpublish("live/body");
}

#[test]
fn what_ffmpeg_posts_arrives_as_it_is() {
    needs!("ffmpeg");
    let engine = Engine::serve().http().start();
    let player = peers::ffmpeg_play(&engine.url("live/posted"));
    engine.wait_players("live/posted", 1);
    let url = engine.http_url("/live/posted.flv");
    let options = ["-method", "POST"];
    peers::ffmpeg_publish_with(&demo_clip(), &url, Speed::Real, &options).succeed(PATIENCE);
    let event = engine.wait_unpublish("live/posted");
    assert_eq!(event["reason"], "unpublished", "its last chunk is the end of the stream");
    assert_arrived(&Recording::read(&demo_clip()), &player.finish(), Extent::Whole);
}

#[test]
fn the_example_of_nginx_passes_pages_and_bodies_on() {
    needs!("nginx-rtmp", "python3", "curl", "openssl");
    let engine = Engine::serve().http().key("right").start();
    let (authority, address) = (Authority::new(), free_address());
    let leaf = authority.leaf("DNS:live.example.org", Validity::Now);
    let listen = format!("listen {address} ssl");
    let _nginx =
        Nginx::run(address, &example("browser-publish.conf", ("listen 8443 ssl", &listen), &engine, &leaf));
    assert_passed_on(&engine, address);
}

#[test]
fn the_example_of_caddy_passes_pages_and_bodies_on() {
    needs!("caddy", "python3", "curl", "openssl");
    let engine = Engine::serve().http().key("right").start();
    let (authority, address) = (Authority::new(), free_address());
    let leaf = authority.leaf("DNS:live.example.org", Validity::Now);
    let site = format!("live.example.org:{} {{\n\tbind {}", address.port(), address.ip());
    let text = example("Caddyfile", ("live.example.org:8443 {", &site), &engine, &leaf);
    let folder = tempfile::tempdir().expect("temporary folder");
    let file = folder.path().join("Caddyfile");
    // Its own folder, and no port for its administration.
    std::fs::write(&file, format!("{{\n\tadmin off\n\tauto_https disable_redirects\n}}\n{text}"))
        .expect("Caddyfile");
    let caddy = caddy(folder.path(), &file);
    let up = poll(PATIENCE, || std::net::TcpStream::connect(address).ok());
    assert!(up.is_some(), "Caddy does not listen\n{}", caddy.log());
    assert_passed_on(&engine, address);
}

fn caddy(home: &Path, file: &Path) -> Proc {
    let program = find_program("caddy").expect("caddy");
    let args = ["run", "--config", file.to_str().expect("a path"), "--adapter", "caddyfile"];
    let mut command = command(program.to_str().expect("a path"), args);
    command.env("HOME", home).env("XDG_DATA_HOME", home).env("XDG_CONFIG_HOME", home);
    Proc::spawn("caddy", command)
}
