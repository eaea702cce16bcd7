//! `latency`: how long frames take through a running server, on each way by which it can be played.
//!
//! Publisher and players are this one process, so one clock says when a frame was sent and when it arrived.

mod figures;
mod hls;
mod listener;
mod source;
mod stamp;
mod way;
mod websocket;

use crate::args::LatencyArgs;
use crate::connection::Trust;
use crate::foreign::Role;
use crate::host::{self, Hangup, Started, Stop};
use crate::output;
use crate::{Failure, config, relay};
use figures::{Figures, Report};
use listener::Listener;
use source::Source;
use stamp::{Clock, Stamp};
use std::time::Duration;
use streamengine::{Engine, OnRefusal, PushConfig, RtmpUrl, StreamKey};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use way::Way;

streamengine::bound! {
    /// How long the server may take to let the stream in, and each way to its first frame: HLS needs some segments
    /// (test `a_server_that_lets_nothing_in_is_given_up_after_15_seconds`).
    const START_TIMEOUT: Duration = Duration::from_secs(15), without Duration::from_secs(1 << 30);
}
/// How long the last frames may be on their way once no more are counted: a target duration, and what is behind it.
const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(8);

/// What a way tells.
#[derive(Debug)]
enum News {
    /// A frame is there.
    Frame { stamp: Stamp, at: u64 },
    /// A player keeps so far from the live edge because the server asks for it.
    HoldBack(Duration),
    /// A live edge that was known at this time, by the picture that came to lie behind it.
    Edge { behind: Stamp, known: u64 },
    /// It is over, or never began; why.
    Ended(String),
}

/// What a way tells, with its number.
type Told = (usize, News);

/// Publishes a stream with its send times inside, plays it by all ways, and tells how long its frames took.
pub(crate) fn run(args: &LatencyArgs) -> Result<(), Failure> {
    let to = args.urls.iter().find(|url| is_rtmp(url)).ok_or_else(|| {
        Failure::usage(
            "latency: no rtmp:// or rtmps:// URL to publish to; the first one is that, and a way to play too",
        )
    })?;
    let to = relay::parse_url(to, Role::Target)?;
    let ways = args.urls.iter().map(|url| way::parse(url, &to)).collect::<Result<Vec<_>, _>>()?;
    let ways: Vec<Way> = ways.into_iter().flatten().collect();
    let stop = Stop::on_signals(Hangup::Ignored)?;
    let config = config::for_jobs(&args.trust)?;
    let trust = config.tls.client()?;
    let Started { engine, .. } =
        Started::new(config.clone()).map_err(|error| config::why_not(error, config))?;
    let measured = host::block_on(async {
        tokio::select! {
            measured = measure(&engine, &to, &ways, &trust, Duration::from_secs(args.seconds.into())) => measured.map(Some),
            () = stop.asked() => Ok(None),
        }
    })?;
    // What was measured stands whether or not the server has let us go in time.
    let _ = host::finish([engine], None);
    let Some(figures) = measured? else { return Ok(()) };
    output::conclude("latency", &Report::new(&to, &ways, figures), args.json)
}

fn is_rtmp(url: &str) -> bool {
    url.split_once("://").is_some_and(|(scheme, _)| {
        scheme.eq_ignore_ascii_case("rtmp") || scheme.eq_ignore_ascii_case("rtmps")
    })
}

async fn measure(
    engine: &Engine,
    to: &RtmpUrl,
    ways: &[Way],
    trust: &Trust,
    length: Duration,
) -> Result<Vec<Figures>, Failure> {
    let clock = Clock::start();
    let stream = relay::private_name("latency")?;
    let source = Source::start(engine, engine.publish(&stream)?, clock.clone())?;
    publish(engine, stream, to).await?;
    tracing::info!("publishing to {to}");
    let (tell, mut told) = mpsc::unbounded_channel();
    let (events, mut pulls) = (engine.events(), Vec::new());
    for (number, way) in ways.iter().enumerate() {
        let listener = Listener::new(clock.clone(), number, tell.clone());
        let pull = way::play(way, engine, trust, listener)?;
        pulls.extend(pull.map(|pull| (pull, number)));
    }
    tokio::spawn(way::tell_failures(engine.clone(), events, pulls, tell));
    let mut all: Vec<Figures> = ways.iter().map(|_| Figures::new(clock.now())).collect();
    // A way that does not begin is told of below.
    let _ = timeout(START_TIMEOUT.get(), collect(&mut told, &mut all, Figures::has_begun)).await;
    tracing::info!("measuring for {} s", length.as_secs());
    let first = source.sent();
    all.iter_mut().for_each(|figures| figures.count_from(first));
    let end = Instant::now() + length;
    let _ = tokio::time::timeout_at(end, collect(&mut told, &mut all, |_| false)).await;
    let last = source.sent();
    all.iter_mut().for_each(|figures| figures.count_until(last));
    let _ = timeout(ARRIVAL_TIMEOUT, collect(&mut told, &mut all, Figures::is_complete)).await;
    Ok(all)
}

/// Pushes the local stream there; returns once the server has let it in.
async fn publish(engine: &Engine, stream: StreamKey, to: &RtmpUrl) -> Result<(), Failure> {
    let mut events = engine.events();
    let push = engine.add_push(PushConfig::new(stream, to.clone()).on_refusal(OnRefusal::Fail))?;
    let granted = async {
        loop {
            let status = engine.relays().into_iter().find(|relay| relay.id == push);
            match status {
                Some(relay) if relay.state.is_established() => return Ok(()),
                Some(relay) if relay.last_error.is_some() => {
                    return Err(Failure::running(output::why(&relay)));
                }
                _ => {}
            }
            if events.next().await.is_none() {
                return Err(Failure::running("the engine has stopped"));
            }
        }
    };
    let silent =
        || Failure::running(format!("latency: {to}: not let in within {} s", START_TIMEOUT.get().as_secs()));
    timeout(START_TIMEOUT.get(), granted).await.map_err(|_| silent())?
}

/// Takes what the ways tell until `is_enough` of each of them, or all are over.
async fn collect(
    told: &mut mpsc::UnboundedReceiver<Told>,
    all: &mut [Figures],
    is_enough: impl Fn(&Figures) -> bool,
) {
    while !all.iter().all(|figures| figures.has_ended() || is_enough(figures)) {
        let Some((number, news)) = told.recv().await else { return };
        if let Some(figures) = all.get_mut(number) {
            figures.take(news);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_server_that_lets_nothing_in_is_given_up_after_15_seconds() {
        let silent = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).unwrap();
        let url: RtmpUrl = format!("rtmp://{}/live/s", silent.local_addr().unwrap()).parse().unwrap();
        let Started { engine, .. } = Started::new(streamengine::Config::default()).unwrap();
        let stream = relay::private_name("s").unwrap();
        let _publisher = engine.publish(&stream).unwrap();
        let let_in = timeout(Duration::from_secs(30), publish(&engine, stream, &url)).await;
        assert!(let_in.expect("it is given up").is_err_and(|failure| failure.text.contains("within 15 s")));
    }
}
