//! `probe`: what is in a stream or file.

use crate::args::{ProbeArgs, TrustArgs};
use crate::foreign::{Role, is_url};
use crate::host::{self, Started};
use crate::{Failure, config, output, relay};
use serde::Serialize;
use std::fmt;
use std::path::Path;
use std::time::Duration;
use streamengine::media::NotCarried;
use streamengine::media::flv::LeftOut;
use streamengine::media::media_file::MediaReader;
use streamengine::media::probe::{Probe, ProbeReport};
use streamengine::{
    Engine, Event, EventReceiver, OnRefusal, PullConfig, Received, RelayState, RemoteUrl, Subscriber,
};
use tokio::time::{Instant, timeout};

streamengine::bound! {
    /// How long a stream may take to send its first frame, connecting included
    /// (test `a_stream_that_sends_no_frame_is_given_up_after_10_seconds`).
    const FIRST_FRAME_TIMEOUT: Duration = Duration::from_secs(10), without Duration::from_secs(1 << 30);
}

/// Watches a stream for a while, or reads a file, and tells what is in it.
pub(crate) fn run(args: ProbeArgs) -> Result<(), Failure> {
    let (name, told) = match is_url(&args.target) {
        true => {
            let url = relay::parse_source(&args.target, Role::Probed)?;
            let report = probe_url(url.clone(), Duration::from_secs(args.seconds.into()), &args.trust)?;
            (url.to_string(), Told { report, file: None })
        }
        false => {
            let path = Path::new(&args.target);
            let told = probe_file(path).map_err(|error| config::no_media(error, [path]))?;
            (args.target.clone(), told)
        }
    };
    tell(&name, &told, args.json)?;
    match told.report.tracks.iter().any(|track| track.frames > 0) {
        true => Ok(()),
        false => Err(Failure::running(format!("probe {name}: no audio or video"))),
    }
}

/// What was found out.
#[derive(Serialize)]
struct Told {
    #[serde(flatten)]
    report: ProbeReport,
    #[serde(flatten)]
    file: Option<Damage>,
}

/// What of a file is not played.
#[derive(Serialize)]
struct Damage {
    left_out: LeftOut,
    encrypted_tags: u64,
    /// Offset of the half tag that it ends with, or of the first sample that is not whole.
    truncated_at: Option<u64>,
    /// What RTMP has no form for.
    not_carried: Vec<NotCarried>,
}

/// The result for scripts.
#[derive(Serialize)]
struct Named<'a> {
    target: &'a str,
    #[serde(flatten)]
    told: &'a Told,
}

fn tell(name: &str, told: &Told, json: bool) -> Result<(), Failure> {
    match json {
        true => output::print_json(&Named { target: name, told }),
        false => {
            let damage = told.file.as_ref().map(ToString::to_string).unwrap_or_default();
            output::print_result(&format!("{name}\n{}{damage}\n", told.report))
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.left_out.bytes > 0 {
            write!(f, "\nleft out     {}, as they are no FLV tag", self.left_out)?;
        }
        if self.encrypted_tags > 0 {
            write!(f, "\nleft out     {} encrypted tags", self.encrypted_tags)?;
        }
        if let Some(position) = self.truncated_at {
            write!(f, "\nends         in half a frame at byte {position}")?;
        }
        for NotCarried { what, options } in &self.not_carried {
            write!(f, "\nnot carried  {what}; ffmpeg -i FILE {options} OUT.mp4 makes a file without it")?;
        }
        Ok(())
    }
}

fn probe_file(path: &Path) -> streamengine::Result<Told> {
    let mut reader = MediaReader::open(path)?;
    let mut probe = Probe::new();
    while let Some(tag) = reader.next_tag().map_err(|error| error.context(path.display()))? {
        probe.push(&tag.frame, None);
    }
    let damage = Damage {
        left_out: reader.left_out(),
        encrypted_tags: reader.encrypted_tags(),
        truncated_at: reader.truncated_at(),
        not_carried: reader.not_carried().to_vec(),
    };
    Ok(Told { report: probe.report(), file: Some(damage) })
}

fn probe_url(url: RemoteUrl, length: Duration, trust: &TrustArgs) -> Result<ProbeReport, Failure> {
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
    let pull = engine.add_pull(pull)?;
    let mut probe = Probe::new();
    tokio::select! {
        arrived = timeout(FIRST_FRAME_TIMEOUT.get(), collect(&mut subscriber, &mut probe, start, Until::FirstFrame)) => {
            arrived.map_err(|_| no_frame(&url))?;
        }
        error = broken(&mut events) => return Err(error),
    }
    probe.set_time_to_first_frame(start.elapsed());
    // A stream that ends early is told of as far as it went.
    let _ = timeout(length, collect(&mut subscriber, &mut probe, start, Until::End)).await;
    // Else the end of the engine would interrupt it, with a warning.
    engine.remove_relay(pull)?;
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

fn no_frame(url: &RemoteUrl) -> Failure {
    Failure::running(format!("probe {url}: no frame within {} s", FIRST_FRAME_TIMEOUT.get().as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_sends_no_frame_is_given_up_after_10_seconds() {
        let silent = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).unwrap();
        let url = format!("rtmp://{}/live/s", silent.local_addr().unwrap());
        let url: RemoteUrl = url.parse().unwrap();
        let stream = relay::private_name("probe").unwrap();
        let Started { engine, events, .. } = Started::new(streamengine::Config::default()).unwrap();
        let subscriber = engine.subscribe(&stream).unwrap();
        let watching = watch(&engine, PullConfig::new(url, stream), subscriber, events, Duration::ZERO);
        let watched = timeout(Duration::from_secs(20), watching).await.expect("it is given up");
        assert!(watched.is_err_and(|failure| format!("{failure:?}").contains("no frame within 10 s")));
    }
}
