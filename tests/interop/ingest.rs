//! Publishers over HTTP: ffmpeg and curl with bodies, a page behind nginx and Caddy, as the examples have them, and a page whose
//! sound is Opus, which goes on to nginx-rtmp.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use streamengine_tests::flv::{Extent, Recording, Tag, Track, assert_arrived};
use streamengine_tests::http::{HttpPeer, upgrade};
use streamengine_tests::nginx::Nginx;
use streamengine_tests::peers::{self, Speed, command};
use streamengine_tests::tls::{Authority, Leaf, Validity};
use streamengine_tests::{
    Engine, PATIENCE, Proc, Recorder, demo_clip, find_program, free_address, needs, poll, workspace,
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

/// The demo clip with Opus.
fn opus_clip() -> Recording {
    let folder = tempfile::tempdir().expect("temporary folder");
    let file = folder.path().join("opus.flv");
    let program = peers::current_ffmpeg().expect("current ffmpeg");
    let (clip, out) = (demo_clip(), file.to_string_lossy().into_owned());
    let clip = clip.to_string_lossy();
    let args = ["-v", "error", "-i", &clip, "-c:v", "copy", "-c:a", "libopus", "-f", "flv", &out];
    Proc::spawn("ffmpeg", command(&program.to_string_lossy(), args)).succeed(PATIENCE);
    Recording::read(&file)
}

/// A frame of a WebSocket client, under a mask of zeros.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    [&[first, 0x80 | 127][..], &(payload.len() as u64).to_be_bytes(), &[0; 4], payload].concat()
}

/// A page that publishes a clip over and over, at its own pace.
struct LivePage {
    peer: HttpPeer,
    is_over: Arc<AtomicBool>,
    sending: Option<JoinHandle<()>>,
}

impl LivePage {
    fn publish(engine: &Engine, name: &str, clip: &Recording) -> Self {
        let mut peer = HttpPeer::dial(engine.http()).expect("connect");
        let request = upgrade(&format!("/{name}")).replace("Host: h", "Host: localhost");
        assert_eq!(peer.ask(request).expect("a reply").0, 101);
        let mut socket = peer.socket.try_clone().expect("a socket");
        let (is_over, clip) = (Arc::new(AtomicBool::new(false)), clip.clone());
        let told = is_over.clone();
        let sending = std::thread::spawn(move || {
            let length = clip.tags.iter().map(|tag| tag.timestamp).max().unwrap_or_default() + 40;
            let begun = Instant::now();
            let _ = socket.write_all(&frame(0x82, &Recording::default().file()));
            let again = (0u32..).flat_map(|round| clip.tags.iter().map(move |tag| (round * length, tag)));
            for (since, tag) in again {
                let tag = Tag { timestamp: since + tag.timestamp, ..tag.clone() };
                let due = Duration::from_millis(tag.timestamp.into());
                std::thread::sleep(due.saturating_sub(begun.elapsed()));
                let bytes = Recording { tags: vec![tag] }.file().split_off(13);
                if told.load(Ordering::Relaxed) || socket.write_all(&frame(0x82, &bytes)).is_err() {
                    return;
                }
            }
        });
        Self { peer, is_over, sending: Some(sending) }
    }

    /// Chooses where the stream goes, and waits until all of these have this state; their errors.
    fn choose(&mut self, wanted: &[(&str, &str)]) -> Vec<String> {
        let names: Vec<_> = wanted.iter().map(|(name, _)| name).collect();
        self.peer.send(frame(0x81, serde_json::json!({ "destinations": names }).to_string().as_bytes()));
        let mut errors = vec![None; wanted.len()];
        while errors.iter().any(Option::is_none) {
            let (first, payload) = self.peer.message().expect("a text");
            if first == 0x89 {
                self.peer.send(frame(0x8a, &payload));
            }
            let Ok(text) = serde_json::from_slice::<serde_json::Value>(&payload) else { continue };
            let of = |&(name, state): &(&str, &str)| text["destination"] == name && text["state"] == state;
            if let Some(at) = wanted.iter().position(of) {
                errors[at] = Some(text["error"].as_str().unwrap_or_default().to_owned());
            }
        }
        errors.into_iter().flatten().collect()
    }
}

impl Drop for LivePage {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(sending) = self.sending.take() {
            let _ = sending.join();
        }
    }
}

#[test]
fn opus_goes_to_nginx_as_its_destination_says() {
    needs!("nginx-rtmp", "ffmpeg", "current-ffmpeg");
    let nginx = Nginx::start("");
    let places = ["refuse", "leave-out", "send"].map(|policy| {
        format!(
            "[[destination]]\nname = \"{policy}\"\nurl = \"{}\"\nopus = \"{policy}\"\n",
            nginx.url(policy)
        )
    });
    let engine = Engine::serve().http().config(places.concat()).start();
    let clip = opus_clip();
    let mut page = LivePage::publish(&engine, "live/opus", &clip);
    let errors = page.choose(&[("refuse", "waiting"), ("leave-out", "live"), ("send", "live")]);
    assert!(errors[0].contains("Opus") && errors[1..] == ["", ""], "{errors:?}");
    // What it does not know, nginx passes on as it is.
    let sent = Recorder::play(nginx.address, "live/send");
    let is_opus = |tag: &Tag| tag.track() == Some(Track::Audio) && tag.body.get(1..5) == Some(b"Opus");
    let is_picture = |tag: &Tag| tag.track() == Some(Track::Video) && tag.frame().is_some();
    let count =
        |tags: &[(Instant, Tag)], is: &dyn Fn(&Tag) -> bool| tags.iter().filter(|(_, tag)| is(tag)).count();
    sent.wait_until(PATIENCE, |tags| count(tags, &is_opus) > 50 && count(tags, &is_picture) > 50);
    let left_out = Recorder::play(nginx.address, "live/leave-out");
    left_out.wait_until(PATIENCE, |tags| count(tags, &is_picture) > 50);
    assert!(left_out.stop().track(Track::Audio).is_empty());
    assert_eq!(peers::ffprobe_tracks(&nginx.url("leave-out")), ["video"]);
}
