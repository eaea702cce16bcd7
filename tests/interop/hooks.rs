//! `[hooks]` beside nginx-rtmp's callbacks: the same encoders and players, the same service, both servers.

mod servers;
pub(crate) mod service;
mod table;

use servers::{Place, Role, Server};
use service::{Says, Service};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;
use streamengine_tests::peers;
use streamengine_tests::raw::RawPeer;
use streamengine_tests::synthetic::{AVC_HEADER, Shape, Source, frame};
use streamengine_tests::{Engine, PATIENCE, Proc, demo_clip, needs, poll};
use table::{ALL, Asks, At, CASES, Case, Verdict};

const START: [&str; 2] = ["NetStream.Publish.Start", "NetStream.Play.Start"];
/// What players find.
const ROOM: &str = "live/room";

/// Who asks, for as long as it is granted.
enum Peer {
    Raw { _socket: RawPeer },
    Ffmpeg { _process: Proc },
}

impl Asks {
    /// The name that is sent, without a query and a key.
    fn name(self) -> &'static str {
        let (Self::Publish(name)
        | Self::PublishIn(_, name)
        | Self::PublishAgain(name)
        | Self::Ffmpeg(name)
        | Self::Play(name)) = self;
        name.split(['?', ':']).next().unwrap_or_default()
    }

    fn role(self) -> Role {
        match self {
            Self::Play(_) => Role::Player,
            _ => Role::Publisher,
        }
    }

    /// Asks a server; who has been granted it.
    fn ask(self, server: &Server, from: Ipv4Addr) -> Option<Peer> {
        match self {
            Self::Publish(name) | Self::PublishAgain(name) => {
                raw(server, from, "live", name, Role::Publisher)
            }
            Self::PublishIn(app, name) => raw(server, from, app, name, Role::Publisher),
            Self::Play(name) => raw(server, from, "live", name, Role::Player),
            Self::Ffmpeg(name) => {
                let before = server.streams(Role::Publisher);
                let url = format!("rtmp://{}/live/{name}", server.address());
                let ffmpeg = peers::ffmpeg_publish_forever(&demo_clip(), &url);
                let is_on_air = || (server.streams(Role::Publisher) != before).then_some(true);
                let has_ended = || ffmpeg.try_wait(Duration::ZERO).map(|_| false);
                let on_air = poll(PATIENCE, || is_on_air().or_else(has_ended)).expect("a verdict");
                on_air.then_some(Peer::Ffmpeg { _process: ffmpeg })
            }
        }
    }
}

fn raw(server: &Server, from: Ipv4Addr, app: &str, name: &str, role: Role) -> Option<Peer> {
    let to = server.address();
    let mut peer = RawPeer::dial_with(to, to.is_ipv4().then_some(from), None).expect("a connection");
    peer.open(app).ok()?;
    let status = match role {
        Role::Publisher => peer.publish(name),
        Role::Player => peer.play(name),
    };
    // nginx-rtmp closes without a word.
    let status = status.ok()?;
    if !START.contains(&status.code.as_str()) {
        return None;
    }
    if role == Role::Publisher {
        let shape = Shape::bits_per_second(100_000);
        peer.send(6, 0, 9, 1, &AVC_HEADER).expect("a header");
        peer.send(6, 0, 9, 1, &frame(0, &shape)).expect("a frame");
    }
    Some(Peer::Raw { _socket: peer })
}

/// A server while it is judged.
struct Judge<'a> {
    server: Server,
    service: &'a Service,
    /// Takes what is pushed.
    target: &'a Engine,
    /// Addresses of peers so far: none of them is refused often.
    peers: u8,
    /// The names of what has ended, of which the service has to be told.
    ends: Vec<&'static str>,
    failures: Vec<String>,
}

impl<'a> Judge<'a> {
    fn new(server: Server, service: &'a Service, target: &'a Engine) -> Self {
        Self { server, service, target, peers: 0, ends: Vec::new(), failures: Vec::new() }
    }

    fn ask(&mut self, asks: Asks) -> Option<Peer> {
        self.peers += 1;
        asks.ask(&self.server, Ipv4Addr::new(127, 1, 1, self.peers))
    }

    /// Goes through a row.
    fn judge(&mut self, case: &Case, verdict: Verdict) {
        self.service.says(case.says);
        let role = case.asks.role();
        let first =
            matches!(case.asks, Asks::PublishAgain(_)).then(|| self.ask(case.asks).expect("the first"));
        let (before, mark) = (self.server.streams(role), self.service.mark());
        let pushed = self.target.lines().mark();
        let mut peer = self.ask(case.asks);
        // On a machine that is busy enough, the first handshakes of TLS take longer than a verdict may.
        for _ in 0..3 {
            if peer.is_none() && case.at == At::Https && verdict != Verdict::Refused {
                peer = self.ask(case.asks);
            }
        }
        let new = || self.server.new_stream(role, &before).unwrap_or_else(|| "in no list".to_owned());
        let found = peer.as_ref().map(|_| new());
        let wanted = match verdict {
            Verdict::As(name) => Some(self.server.listed(name)),
            Verdict::Refused => None,
        };
        if found != wanted {
            let asked = self.service.asked_since(mark);
            let name = self.server.name();
            let (what, reason) = (case.what, case.reason());
            self.failures.push(format!("{name}: {what} ({reason:?}): {found:?}, not {wanted:?}\n{asked:#?}"));
        } else if case.is_relayed() && role == Role::Publisher {
            let is_it = |event: &serde_json::Value| event["stream"] == "live/copy";
            self.target.wait_after(pushed, "stream-started", PATIENCE, is_it);
        }
        // A relay of nginx-rtmp's asks and tells as peers do.
        if !case.is_relayed() {
            self.ends.extend(found.map(|_| case.asks.name()));
        }
        if first.is_some() {
            // At nginx-rtmp, who has not been on air has an end all the same.
            let count = if self.server.is_nginx() { 2 } else { 1 };
            self.ends.extend([case.asks.name()].repeat(count));
        }
        drop((first, peer));
        let left = || self.server.streams(role).is_subset(&before).then_some(());
        assert!(
            poll(PATIENCE, left).is_some(),
            "{}: {} stays\n{}",
            self.server.name(),
            case.what,
            self.server.log()
        );
    }
}

impl Case {
    /// Whether the stream is led to a server, or comes from one.
    fn is_relayed(&self) -> bool {
        matches!(self.says, Says::Reply(_, headers, _) if headers.contains("rtmp://"))
    }
}

/// Goes through the rows of a setting, and whether the service is told of all ends and of none besides: what was not as it
/// should be.
fn judge_all(server: Server, service: &Service, target: &Engine, rows: &[(&Case, Verdict)]) -> Vec<String> {
    let mark = service.mark();
    service.says(Says::Reply("200 OK", "", ""));
    let is_played = rows.iter().any(|(case, _)| case.asks.role() == Role::Player);
    let _room = is_played.then(|| {
        let room = Source::publish(server.address(), ROOM, Shape::bits_per_second(100_000));
        server.new_stream(Role::Publisher, &BTreeSet::new()).expect("it is in the list");
        room
    });
    let mut judge = Judge::new(server, service, target);
    rows.iter().for_each(|(case, verdict)| judge.judge(case, *verdict));
    if service.mark() > mark {
        judge.ends.sort_unstable();
        let relayed = rows.iter().filter(|(case, _)| case.is_relayed()).map(|(case, _)| case.asks.name());
        let relayed: Vec<_> = relayed.collect();
        let told = || {
            let asked = service.asked_since(mark).into_iter().filter(|asked| asked.call() == "done");
            let names =
                asked.map(|asked| asked.first("name")).filter(|name| !relayed.contains(&name.as_str()));
            let mut names: Vec<_> = names.collect();
            names.sort_unstable();
            names
        };
        if poll(PATIENCE, || (told() == judge.ends).then_some(())).is_none() {
            let (name, ends) = (judge.server.name(), &judge.ends);
            judge.failures.push(format!("{name}: told of the ends of {:?}, not {ends:?}", told()));
        }
    }
    judge.failures
}

#[test]
fn every_row_says_one_thing_and_why_nginx_rtmp_does_another() {
    assert!(CASES.len() >= 60);
    for case in CASES {
        assert_eq!(CASES.iter().filter(|other| other.what == case.what).count(), 1, "{}", case.what);
        assert!(ALL.contains(&case.at), "{}: its setting is not gone through", case.what);
        let is_same = case.verdict_of_nginx() == Some(case.verdict);
        assert_eq!(is_same, case.reason().is_none(), "{}", case.what);
    }
}

#[test]
fn verdicts_are_those_of_nginx_rtmp_or_differ_for_a_reason() {
    needs!("ffmpeg", "nginx-rtmp", "openssl");
    let target = Engine::start();
    let service = Service::start(target.rtmp);
    let mut failures = Vec::new();
    for at in ALL {
        let place = Place::new(at, &service);
        let cases = || CASES.iter().filter(|case| case.at == at);
        let ours: Vec<_> = cases().map(|case| (case, case.verdict)).collect();
        let nginx: Vec<_> = cases().filter_map(|case| Some((case, case.verdict_of_nginx()?))).collect();
        failures.extend(judge_all(Server::ours(at, &place), &service, &target, &ours));
        if !nginx.is_empty() {
            failures.extend(judge_all(Server::nginx(at, &place), &service, &target, &nginx));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Fields that differ from nginx-rtmp's on purpose: call, name, and why.
const DIFFERENT: &[(&str, &str, &str)] = &[
    ("play", "start", "what is played is live: where in a file a player would begin means nothing"),
    ("disconnect", "app", "nginx-rtmp sends it twice"),
];

/// A message: by whom (`publisher` or `player`) and what about, and its fields.
type Told = ((&'static str, String), Vec<(String, String)>);

/// What the service is told of an ffmpeg that publishes and another that plays, in the order of the first part.
fn told_of_ffmpeg(at: At, start: fn(At, &Place) -> Server, service: &Service) -> Vec<Told> {
    let before = service.mark();
    let server = start(at, &Place::new(at, service));
    if server.is_nginx() {
        // It tells of each connection, also of the one that has seen that it listens.
        poll(PATIENCE, || (service.mark() > before).then_some(())).expect("the first");
    }
    let mark = service.mark();
    let calls = |count: usize| {
        let all = poll(PATIENCE, || (service.mark() >= mark + count).then_some(()));
        assert!(all.is_some(), "{}: {:#?}", server.name(), service.asked_since(mark));
    };
    let url = format!("rtmp://{}/live/room?token=a%20b&c", server.address());
    let publisher = peers::ffmpeg_publish_forever(&demo_clip(), &url);
    calls(2);
    let player = peers::ffmpeg_play(&url.replace("token", "ticket"));
    calls(4);
    poll(PATIENCE, || (!server.streams(Role::Player).is_empty()).then_some(())).expect("it plays");
    drop(player);
    calls(7);
    drop(publisher);
    calls(10);
    let address = server.address().to_string();
    let told = service.asked_since(mark).into_iter().map(|asked| {
        let way = asked.line.split(['?', ' ']).take(2).collect::<Vec<_>>().join(" ");
        assert_eq!(way, if at == At::Connect { "POST /hooks" } else { "GET /hooks" });
        let fields = asked.fields().into_iter().map(|(name, value)| (name, value.replace(&address, "HOST")));
        let who = if asked.text.contains("FMLE") { "publisher" } else { "player" };
        ((who, asked.call()), fields.collect())
    });
    let mut told: Vec<Told> = told.collect();
    told.sort();
    told
}

#[test]
fn fields_are_those_of_nginx_rtmp_in_their_order() {
    needs!("ffmpeg", "nginx-rtmp");
    let target = Engine::start();
    let service = Service::start(target.rtmp);
    for at in [At::Connect, At::ConnectGet] {
        let ours = told_of_ffmpeg(at, Server::ours, &service);
        let nginx = told_of_ffmpeg(at, Server::nginx, &service);
        assert_eq!(ours.len(), 10, "{ours:#?}");
        for ((what, ours), (of_nginx, nginx)) in ours.iter().zip(&nginx) {
            assert_eq!(what, of_nginx);
            let is_different = |name: &str| DIFFERENT.iter().any(|row| (row.0, row.1) == (&what.1, name));
            let alike = |fields: &[(String, String)]| {
                let alike = fields.iter().filter(|(name, _)| !is_different(name)).cloned();
                let own = |(name, value): (String, String)| match name.as_str() {
                    "clientid" | "epoch" => (name, "each server's own".to_owned()),
                    // nginx-rtmp keeps no more.
                    "flashver" => (name, value.chars().take(31).collect()),
                    _ => (name, value),
                };
                alike.map(own).collect::<Vec<_>>()
            };
            assert_eq!(alike(ours), alike(nginx), "{at:?}: {what:?}");
            for (_, name, _) in DIFFERENT.iter().filter(|row| row.0 == what.1) {
                let values = |fields: &[(String, String)]| {
                    fields.iter().filter(|(own, _)| own == name).cloned().collect::<Vec<_>>()
                };
                assert_ne!(values(ours), values(nginx), "{what:?} does not differ any more");
            }
        }
    }
}
