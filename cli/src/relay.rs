//! `loop` and `relay`: a file or a remote stream into other servers.

use crate::args::{LoopArgs, RelayArgs, TuningArgs};
use crate::foreign::{self, Role, is_url};
use crate::host::{self, Hangup, Started, Stop};
use crate::output::{self, Console, EventLines, Origin, Ready, relay_name, why};
use crate::{Failure, config, rates};
use std::path::PathBuf;
use std::time::Duration;
use streamengine::{
    Engine, EventReceiver, FileConfig, FileState, OnRefusal, PullConfig, PushConfig, PushTuning,
    RelayDirection, RelayState, RelayStatus, RemoteUrl, RtmpUrl, StreamKey,
};

/// How often rates are logged where there is no terminal.
const LOG_PERIOD: Duration = Duration::from_secs(5);
streamengine::bound! {
    /// After the last loop: how long targets may take to get the rest
    /// (test `a_target_that_does_not_answer_does_not_keep_a_finished_loop_alive`).
    const DELIVERY_TIMEOUT: Duration = Duration::from_secs(4), without Duration::from_secs(1 << 30);
}

/// `loop`: plays files into targets, and serves them here if asked to.
pub(crate) fn run_loop(args: LoopArgs, console: &Console) -> Result<(), Failure> {
    let (urls, files): (Vec<_>, Vec<_>) =
        args.sources_and_targets.iter().partition(|argument| is_url(argument));
    // Without a file, what is no RTMP URL was meant to be the source.
    let role = if files.is_empty() { Role::Source } else { Role::Target };
    let targets = urls.into_iter().map(|url| parse_url(url, role)).collect::<Result<Vec<_>, _>>()?;
    if files.iter().any(|file| *file == "-") {
        return Err(Failure::usage(
            "loop: the standard input is not read; `ffmpeg -re -i - -c copy -f flv URL` sends on what comes there",
        ));
    }
    if files.is_empty() {
        return Err(Failure::usage(
            "loop: no file given; arguments that begin with rtmp:// or rtmps:// are targets",
        ));
    }
    if targets.is_empty() && args.rtmp.is_empty() {
        return Err(Failure::usage(
            "loop: no target; give an rtmp:// URL, or --local APP/STREAM with --rtmp ADDR:PORT",
        ));
    }
    let stream = args.local.clone().map_or_else(|| private_name("loop"), Ok)?;
    let paths = files.into_iter().map(PathBuf::from).collect();
    let file = FileConfig::new(stream.clone(), paths).loops(args.loops);

    let stop = Stop::on_signals(Hangup::Ignored)?;
    let mut config = config::for_jobs(&args.tuning.trust)?;
    config.rtmp.listen.clone_from(&args.rtmp);
    let rule = config.publish_rule();
    let Started { engine, events, to_print } =
        Started::new(config.clone()).map_err(|error| config::why_not(error, config))?;
    if !args.rtmp.is_empty() {
        tracing::info!("{}", rule.describe());
    }
    push_all(&engine, &stream, targets, on_refusal(args.retry), &args.tuning)?;
    let (own, files) = (engine.clone(), file.paths.clone());
    let Some(plays) = stop.or(move || own.loop_file(file))? else { return Ok(()) };
    plays.map_err(|error| config::no_media(error, &files))?;
    let lines = output::announce(args.json, &Ready::new([&engine]), [(to_print, Origin::Only)]);
    let serves = if args.rtmp.is_empty() { Serves::TargetsOnly } else { Serves::PlayersToo };
    let outcome =
        work(&engine, events, &stop, console, |engine| loop_verdict(engine, serves)).and_then(|ended| {
            match ended {
                Ended::Done => host::block_on(delivered(&engine))?.map(|()| Vec::new()),
                Ended::Asked => Ok(unreached(&engine)),
            }
        });
    end(engine, lines, outcome)
}

/// `relay`: fetches a stream and pushes it to targets.
pub(crate) fn run_relay(args: RelayArgs, console: &Console) -> Result<(), Failure> {
    let from = parse_source(&args.from, Role::Source)?;
    let targets = args.to.iter().map(|url| parse_url(url, Role::Target)).collect::<Result<Vec<_>, _>>()?;
    if from.as_rtmp().is_some_and(|from| targets.contains(from)) {
        return Err(Failure::usage(format!(
            "relay: {from} is source and target at once; a stream can be relayed to another name of the same server"
        )));
    }
    let stream = private_name("relay")?;
    let stop = Stop::on_signals(Hangup::Ignored)?;
    let config = config::for_jobs(&args.tuning.trust)?;
    let Started { engine, events, to_print } =
        Started::new(config.clone()).map_err(|error| config::why_not(error, config))?;
    push_all(&engine, &stream, targets, on_refusal(args.retry), &args.tuning)?;
    let pull = PullConfig::new(from, stream)
        .on_refusal(on_refusal(args.retry))
        .max_retries(args.tuning.max_retries)
        .connect_timeout_ms(args.tuning.connect_timeout)
        .connect(args.tuning.connect.iter().cloned().collect());
    engine.add_pull(pull)?;
    let lines = output::announce(args.json, &Ready::new([&engine]), [(to_print, Origin::Only)]);
    let outcome = work(&engine, events, &stop, console, relay_verdict).map(|_| unreached(&engine));
    end(engine, lines, outcome)
}

/// Ends in good order; what there is to know of servers that were not reached comes last, where it is seen.
pub(crate) fn end(
    engine: Engine,
    lines: Option<EventLines>,
    outcome: Result<Vec<String>, Failure>,
) -> Result<(), Failure> {
    let finished = host::finish([engine], lines);
    outcome?.iter().for_each(|why| tracing::warn!("{why}"));
    finished.map_err(Failure::from)
}

/// Where a stream goes besides the targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Serves {
    /// Nowhere: without targets there is nothing to do.
    TargetsOnly,
    /// To players of this process as well.
    PlayersToo,
}

/// Why a command's work is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Nothing is left to do.
    Done,
    /// A signal asked for it.
    Asked,
}

pub(crate) type Verdict = Option<Result<Ended, Failure>>;

/// Works until `verdict` is there or a signal asks for the end. The verdict is looked for at each event, in what the
/// engine tells of itself, so that lost events do not matter.
pub(crate) fn work(
    engine: &Engine,
    mut events: EventReceiver,
    stop: &Stop,
    console: &Console,
    verdict: impl Fn(&Engine) -> Verdict,
) -> Result<Ended, Failure> {
    let decided = async {
        loop {
            if let Some(verdict) = verdict(engine) {
                return verdict;
            }
            if events.next().await.is_none() {
                return Err(Failure::running("the engine has stopped"));
            }
        }
    };
    host::block_on(async {
        tokio::select! {
            () = stop.asked() => Ok(Ended::Asked),
            outcome = decided => outcome,
            () = rates::show(std::slice::from_ref(engine), console, LOG_PERIOD) => Ok(Ended::Done),
        }
    })?
}

fn loop_verdict(engine: &Engine, serves: Serves) -> Verdict {
    let files = engine.files();
    if let Some(file) = files.iter().find(|file| file.state == FileState::Failed) {
        let error = file.error.as_deref().unwrap_or("failed");
        return Some(Err(Failure::running(format!("loop into {}: {error}", file.stream))));
    }
    if files.iter().all(|file| file.state != FileState::Playing) {
        return Some(Ok(Ended::Done));
    }
    match serves {
        Serves::TargetsOnly => all_failed(&engine.relays(), RelayDirection::Push).map(Err),
        Serves::PlayersToo => None,
    }
}

pub(crate) fn relay_verdict(engine: &Engine) -> Verdict {
    let relays = engine.relays();
    let failed = |direction| all_failed(&relays, direction);
    failed(RelayDirection::Pull).or_else(|| failed(RelayDirection::Push)).map(Err)
}

/// The failure of a command whose relays of one direction have all been given up.
fn all_failed(relays: &[RelayStatus], direction: RelayDirection) -> Option<Failure> {
    let of_it: Vec<_> = relays.iter().filter(|relay| relay.direction == direction).collect();
    let failed = !of_it.is_empty() && of_it.iter().all(|relay| relay.state == RelayState::Failed);
    failed.then(|| Failure::running(of_it.iter().map(|relay| why(relay)).collect::<Vec<_>>().join("; ")))
}

/// Waits until the targets have got the rest of a stream that is over; an error where one has not got everything.
async fn delivered(engine: &Engine) -> Result<(), Failure> {
    let mut events = engine.events();
    let all_idle = async { while !engine.relays().iter().all(is_over) && events.next().await.is_some() {} };
    // What is not delivered by then is told below.
    let _ = tokio::time::timeout(DELIVERY_TIMEOUT.get(), all_idle).await;
    tell_late_starts(engine);
    let missed: Vec<_> = engine.relays().iter().filter_map(missed).collect();
    if missed.is_empty() { Ok(()) } else { Err(Failure::running(missed.join("; "))) }
}

/// Files play from the start on, targets take frames from when they have let us in.
fn tell_late_starts(engine: &Engine) {
    let played: u64 = engine.files().iter().map(|file| file.frames).sum();
    for relay in engine.relays().iter().filter(|relay| relay.frames < played) {
        let missed = played - relay.frames;
        tracing::info!(
            "{}: {missed} of {played} frames were played while it was not connected",
            relay_name(relay)
        );
    }
}

/// Who ends a command that has not got through wants to know why it has not.
pub(crate) fn unreached(engine: &Engine) -> Vec<String> {
    let is_unreached = |relay: &&RelayStatus| relay.last_error.is_some() && !relay.state.is_established();
    engine.relays().iter().filter(is_unreached).map(why).collect()
}

fn is_over(relay: &RelayStatus) -> bool {
    relay.state == RelayState::Failed || (relay.state == RelayState::Idle && relay.frames > 0)
}

/// What a target has not got, in words.
fn missed(relay: &RelayStatus) -> Option<String> {
    match relay {
        _ if !is_over(relay) => Some(format!("{}; the stream has not been delivered", why(relay))),
        _ if relay.state == RelayState::Failed => Some(why(relay)),
        _ if relay.retries > 0 => {
            Some(format!("{}: a part was not delivered: {} attempts", relay_name(relay), relay.attempts))
        }
        _ => None,
    }
}

fn push_all(
    engine: &Engine,
    stream: &StreamKey,
    targets: Vec<RtmpUrl>,
    on_refusal: OnRefusal,
    args: &TuningArgs,
) -> Result<(), Failure> {
    let tuning = PushTuning::default()
        .max_retries(args.max_retries)
        .connect_timeout_ms(args.connect_timeout)
        .chunk_size(args.chunk_size)
        .connect(args.connect.iter().cloned().collect());
    for url in targets {
        let push = PushConfig::new(stream.clone(), url).on_refusal(on_refusal).tuning(tuning.clone());
        engine.add_push(push)?;
    }
    Ok(())
}

pub(crate) fn on_refusal(retry: bool) -> OnRefusal {
    if retry { OnRefusal::Retry } else { OnRefusal::Fail }
}

/// The text itself is not repeated in the error: it may hold a password.
pub(crate) fn parse_url(text: &str, role: Role) -> Result<RtmpUrl, Failure> {
    text.parse().map_err(|error| Failure::usage(foreign::no_stream_url(text, role, &error)))
}

/// The same of what is read: by RTMP, or FLV by HTTP.
pub(crate) fn parse_source(text: &str, role: Role) -> Result<RemoteUrl, Failure> {
    let url = text.parse().map_err(|error| Failure::usage(foreign::no_stream_url(text, role, &error)))?;
    match &url {
        RemoteUrl::Http(http) => {
            foreign::no_flv_url(http.path(), role).map_or(Ok(()), |why| Err(Failure::usage(why)))?
        }
        RemoteUrl::Rtmp(_) => {}
    }
    Ok(url)
}

/// The name of a stream that nobody outside sees.
pub(crate) fn private_name(stream: &str) -> Result<StreamKey, Failure> {
    StreamKey::new("local", stream).map_err(|error| Failure::usage(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_target_that_does_not_answer_does_not_keep_a_finished_loop_alive() {
        let silent = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).unwrap();
        let url = format!("rtmp://{}/live/s", silent.local_addr().unwrap()).parse().unwrap();
        let Started { engine, .. } = Started::new(streamengine::Config::default()).unwrap();
        engine.add_push(PushConfig::new(private_name("s").unwrap(), url)).unwrap();
        let ended = tokio::time::timeout(Duration::from_secs(20), delivered(&engine)).await;
        assert!(ended.expect("it is given up").is_err(), "the target has got nothing");
    }
}
