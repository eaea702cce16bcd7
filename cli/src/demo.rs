//! `demo`: the classic two-server set-up in one process, with a bundled clip.

use crate::args::{DemoArgs, TrustArgs};
use crate::foreign::Role;
use crate::host::{self, Hangup, Started, Stop};
use crate::output::{self, Console, Origin, Ready};
use crate::{Failure, config, rates};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use streamengine::media::looping::{Clip, Repeat};
use streamengine::{
    Engine, Error, ErrorKind, EventReceiver, Protocol, PushConfig, RtmpUrl, StreamKey, StreamState,
};

pub(crate) static CLIP: &[u8] = include_bytes!("../../examples/media/demo.flv");

const FIRST_PORT: u16 = 1935;
const SECOND_PORT: u16 = 1936;
const HTTP_PORT: u16 = 8080;
streamengine::bound! {
    /// How long the welcome waits for the second server
    /// (test `the_welcome_does_not_wait_for_ever_for_a_second_server_that_does_not_answer`).
    const START_TIMEOUT: Duration = Duration::from_secs(2), without Duration::from_secs(1 << 30);
}
/// How often rates are logged where there is no terminal.
const LOG_PERIOD: Duration = Duration::from_secs(5);

/// Serves the clip and its copy until asked to end, or for `--duration`.
pub(crate) fn run(args: DemoArgs, console: &Console) -> Result<(), Failure> {
    let stop = Stop::on_signals(Hangup::Ignored)?;
    let (original, copy) = (key("demo")?, key("demo-copy")?);
    let first = start(args.rtmp, FIRST_PORT)?;
    let second = start(args.rtmp2, SECOND_PORT)?;
    let urls = [url(&first.engine, &original)?, url(&second.engine, &copy)?];
    let pages = open(args.http, HTTP_PORT, |address| first.engine.listen_http(address))?;
    host::tell(&pages);
    let page = format!("http://{}/play/{original}", reachable(pages.address));

    let engines = [first.engine, second.engine];
    let push = engines[0].add_push(PushConfig::new(original.clone(), urls[1].clone()))?;
    let clip = Clip::memory("bundled clip", CLIP);
    engines[0].loop_clips(&original, vec![clip], Repeat::Forever)?;

    let mut ready = Ready::new(&engines);
    ready.streams = urls.to_vec();
    let events = [(first.to_print, Origin::Server(1)), (second.to_print, Origin::Server(2))];
    let lines = output::announce(args.json, &ready, events);

    let over = async {
        match args.duration {
            Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds.into())).await,
            None => std::future::pending().await,
        }
    };
    let outcome = host::block_on(async {
        let shown = async {
            started(&engines[0], first.events).await;
            if !args.json {
                console.say(welcome(&page, &urls));
            }
            rates::show(&engines, console, LOG_PERIOD).await;
        };
        tokio::select! {
            () = stop.asked() => Ok(()),
            () = over => check(&engines, &copy),
            () = shown => Ok(()),
        }
    })?;
    // Else the second server, which ends as well, would interrupt it, with a warning.
    let left = engines[0].remove_relay(push);
    let finished = left.and(host::finish(engines, lines));
    outcome.and(finished.map_err(Failure::from))
}

fn key(stream: &str) -> Result<StreamKey, Failure> {
    StreamKey::new("live", stream).map_err(|error| Failure::running(error.to_string()))
}

/// An engine on `asked`, or on this machine's `port`, or where that is taken on a free one.
fn start(asked: Option<SocketAddr>, port: u16) -> Result<Started, Failure> {
    open(asked, port, start_on)
}

/// What `open_on` opens on `asked`, or on this machine's `port`, or where that is taken on a free one.
fn open<T>(
    asked: Option<SocketAddr>,
    port: u16,
    open_on: impl Fn(SocketAddr) -> Result<T, Error>,
) -> Result<T, Failure> {
    let usual = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    match open_on(asked.unwrap_or(usual)) {
        Err(error) if asked.is_none() && error.kind() == ErrorKind::AddressInUse => {
            tracing::info!("{usual} is in use, taking a free port instead");
            open_on(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).map_err(Failure::from)
        }
        opened => opened.map_err(host::with_way_out),
    }
}

fn start_on(address: SocketAddr) -> Result<Started, Error> {
    let mut config = config::for_jobs(&TrustArgs::default())?;
    config.rtmp.listen = vec![address];
    Started::new(config)
}

/// Where a stream of an engine can be played.
fn url(engine: &Engine, stream: &StreamKey) -> Result<RtmpUrl, Failure> {
    let listeners = engine.listeners();
    let listener = listeners
        .iter()
        .find(|listener| listener.protocol == Protocol::Rtmp)
        .ok_or_else(|| Failure::running("the demo has no listener"))?;
    crate::relay::parse_url(&format!("rtmp://{}/{stream}", reachable(listener.address)), Role::Source)
}

/// An address to connect to for one that was bound: "any" means this machine.
fn reachable(bound: SocketAddr) -> SocketAddr {
    match bound.ip().is_unspecified() {
        true if bound.is_ipv4() => SocketAddr::from((Ipv4Addr::LOCALHOST, bound.port())),
        true => SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, bound.port())),
        false => bound,
    }
}

/// Waits until the second server has the stream, so that what the log tells of the start is told before the welcome.
async fn started(engine: &Engine, mut events: EventReceiver) {
    let is_through = || engine.relays().iter().all(|relay| relay.state.is_established());
    let through = async { while !is_through() && events.next().await.is_some() {} };
    // Where it does not come through, the welcome must not wait.
    let _ = tokio::time::timeout(START_TIMEOUT.get(), through).await;
}

fn welcome(page: &str, urls: &[RtmpUrl; 2]) -> String {
    let host = host_of(&urls[0]);
    let [original, copy] = urls.each_ref().map(ToString::to_string);
    let width = original.len().max(copy.len());
    format!(
        "
Watch it in a browser:
  {page}

Two servers are running:
  {original:<width$}  the bundled clip, looped
  {copy:<width$}  the same, relayed to a second server

Open one in VLC too (Media > Open Network Stream), or:
  ffplay {original}

Publish a stream of your own (OBS: Server rtmp://{host}/live, Stream Key mine):
  ffmpeg -re -i FILE -c copy -f flv rtmp://{host}/live/mine

Ctrl-C ends the demo.

"
    )
}

fn host_of(url: &RtmpUrl) -> String {
    match url.host().contains(':') {
        true => format!("[{}]:{}", url.host(), url.port()),
        false => format!("{}:{}", url.host(), url.port()),
    }
}

/// At the end of `--duration`: whether the copy has come through.
fn check(engines: &[Engine; 2], copy: &StreamKey) -> Result<(), Failure> {
    let [first, second] = engines;
    let arrived = |stream: &streamengine::StreamInfo| {
        stream.key == *copy && stream.state == StreamState::Live && stream.video_frames > 0
    };
    if second.streams().iter().any(arrived) {
        return Ok(());
    }
    let relays = first.relays();
    let error =
        relays.iter().find_map(|relay| relay.last_error.as_deref()).unwrap_or("no frame arrived in time");
    Err(Failure::running(format!("the copy {copy} on the second server is not live: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_welcome_does_not_wait_for_ever_for_a_second_server_that_does_not_answer() {
        let silent = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let url = format!("rtmp://{}/live/s", silent.local_addr().unwrap()).parse().unwrap();
        let Started { engine, events, .. } = Started::new(streamengine::Config::default()).unwrap();
        engine.add_push(PushConfig::new(key("s").unwrap(), url)).unwrap();
        let welcomed = tokio::time::timeout(Duration::from_secs(10), started(&engine, events)).await;
        welcomed.expect("the welcome is said");
    }
}
