//! `probe`: what is in a stream or file.

use crate::args::{ProbeArgs, TrustArgs};
use crate::foreign::{Role, is_url};
use crate::host::{self, Started};
use crate::{Failure, config, output, relay};
use serde::Serialize;
use std::path::Path;
use std::time::Duration;
use streamengine::media::flv_file::FlvReader;
use streamengine::media::probe::{Probe, ProbeReport};
use streamengine::{
    Engine, Event, EventReceiver, OnRefusal, PullConfig, Received, RelayState, RtmpUrl, Subscriber,
};
use tokio::time::{Instant, timeout};

/// How long a stream may take to send its first frame, connecting included.
const FIRST_FRAME_TIMEOUT: Duration = Duration::from_secs(10);

/// Watches a stream for a while, or reads a file, and tells what is in it.
pub(crate) fn run(args: ProbeArgs) -> Result<(), Failure> {
    let (name, report) = match is_url(&args.target) {
        true => {
            let url = relay::parse_url(&args.target, Role::Probed)?;
            (url.to_string(), probe_url(url, Duration::from_secs(args.seconds.into()), &args.trust)?)
        }
        false => {
            let path = Path::new(&args.target);
            let report = probe_file(path).map_err(|error| config::no_media(error, [path]))?;
            (args.target.clone(), report)
        }
    };
    tell(&name, &report, args.json)?;
    match report.tracks.iter().any(|track| track.frames > 0) {
        true => Ok(()),
        false => Err(Failure::running(format!("probe {name}: no audio or video"))),
    }
}

/// The result for scripts.
#[derive(Serialize)]
struct Told<'a> {
    target: &'a str,
    #[serde(flatten)]
    report: &'a ProbeReport,
}

fn tell(name: &str, report: &ProbeReport, json: bool) -> Result<(), Failure> {
    match json {
        true => output::print_json(&Told { target: name, report }),
        false => output::print_result(&format!("{name}\n{report}\n")),
    }
}

fn probe_file(path: &Path) -> streamengine::Result<ProbeReport> {
    let mut reader = FlvReader::open(path)?;
    let mut probe = Probe::new();
    while let Some(tag) = reader.next_tag().map_err(|error| error.context(path.display()))? {
        probe.push(&tag.frame, None);
    }
    if let Some(position) = reader.truncated_at() {
        tracing::warn!(file = %path.display(), position, "the file ends in half a tag");
    }
    Ok(probe.report())
}

fn probe_url(url: RtmpUrl, length: Duration, trust: &TrustArgs) -> Result<ProbeReport, Failure> {
    let stream = relay::private_name("probe")?;
    let config = config::for_jobs(trust)?;
    let Started { engine, events, .. } =
        Started::new(config.clone()).map_err(|error| config::why_not(error, config))?;
    let subscriber = engine.subscribe(&stream)?;
    let pull = PullConfig::new(url, stream).on_refusal(OnRefusal::Fail);
    let report = host::block_on(watch(&engine, pull, subscriber, events, length))?;
    // The report stands whether or not the server has let us go in time.
    let _ = host::finish([engine], None);
    report
}

async fn watch(
    engine: &Engine,
    pull: PullConfig,
    mut subscriber: Subscriber,
    mut events: EventReceiver,
    length: Duration,
) -> Result<ProbeReport, Failure> {
    let start = Instant::now();
    let url = pull.url.clone();
    engine.add_pull(pull)?;
    let mut probe = Probe::new();
    tokio::select! {
        arrived = timeout(FIRST_FRAME_TIMEOUT, collect(&mut subscriber, &mut probe, start, Until::FirstFrame)) => {
            arrived.map_err(|_| no_frame(&url))?;
        }
        error = broken(&mut events) => return Err(error),
    }
    probe.set_time_to_first_frame(start.elapsed());
    // A stream that ends early is told of as far as it went.
    let _ = timeout(length, collect(&mut subscriber, &mut probe, start, Until::End)).await;
    Ok(probe.report())
}

/// How long to collect.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    FirstFrame,
    End,
}

async fn collect(subscriber: &mut Subscriber, probe: &mut Probe, start: Instant, until: Until) {
    while let Some(frame) = subscriber.next().await {
        probe.push(&frame, Some(start.elapsed()));
        if until == Until::FirstFrame && !frame.is_config() {
            return;
        }
    }
}

/// Waits until the pull has failed, at its first attempt already.
async fn broken(events: &mut EventReceiver) -> Failure {
    while let Some(received) = events.next().await {
        let Received::Event(Event::RelayState(status)) = received else { continue };
        if matches!(status.state, RelayState::BackingOff | RelayState::Failed) {
            return Failure::running(output::why(&status));
        }
    }
    Failure::running("the engine has stopped")
}

fn no_frame(url: &RtmpUrl) -> Failure {
    Failure::running(format!("probe {url}: no frame within {} s", FIRST_FRAME_TIMEOUT.as_secs()))
}
