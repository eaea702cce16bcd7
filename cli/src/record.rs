//! `record`: a remote stream into files.

use crate::args::RecordArgs;
use crate::foreign::Role;
use crate::host::{Hangup, Started, Stop};
use crate::output::{self, Console, Origin, Ready};
use crate::relay::{end, on_refusal, parse_source, relay_verdict, unreached, work};
use crate::{Failure, config};
use std::time::Duration;
use streamengine::{Engine, PullConfig, RecordConfig, RecordFormat, RecordWhen, RemoteUrl, StreamKey};

/// The app of streams that are recorded: a folder in that of the recordings.
const APP: &str = "record";
/// Large platforms use names of so many bytes as keys.
const KEY_LEN: usize = 16;

pub(crate) fn run(args: RecordArgs, console: &Console) -> Result<(), Failure> {
    let from = parse_source(&args.from, Role::Source)?;
    let stream = name(&from)?;
    std::fs::create_dir_all(&args.dir)
        .map_err(|error| Failure::usage(format!("record: {}: {error}", args.dir.display())))?;
    let stop = Stop::on_signals(Hangup::Ignored)?;
    let mut config = config::for_jobs(&args.trust)?;
    // `all` begins with the first frame, whenever that comes.
    config.default_app.record = record(&args).when(RecordWhen::All);
    let Started { engine, events, to_print } =
        Started::new(config.clone()).map_err(|error| config::why_not(error, config))?;
    let pull = PullConfig::new(from, stream)
        .on_refusal(on_refusal(args.retry))
        .max_retries(args.max_retries)
        .connect_timeout_ms(args.connect_timeout);
    engine.add_pull(pull)?;
    let lines = output::announce(args.json, &Ready::new([&engine]), [(to_print, Origin::Only)]);
    if let Some(seconds) = args.duration {
        stop.ask_after(Duration::from_secs(seconds));
    }
    let outcome = work(&engine, events, &stop, console, relay_verdict).map(|_| unrecorded(&engine));
    end(engine, lines, outcome)
}

fn record(args: &RecordArgs) -> RecordConfig {
    let format = if args.format == "fmp4" { RecordFormat::Fmp4 } else { RecordFormat::Flv };
    let config = RecordConfig::new(&args.dir).format(format);
    match args.segment {
        Some(seconds) => config.segment_ms(seconds.saturating_mul(1_000)),
        None => config,
    }
}

/// The name of the stream here, by which its folder is called: the last part of that in the URL, unless it may be a key.
fn name(from: &RemoteUrl) -> Result<StreamKey, Failure> {
    let last = match from {
        RemoteUrl::Rtmp(url) => url.stream(),
        RemoteUrl::Http(url) => url.path().rsplit('/').next().unwrap_or_default().trim_end_matches(".flv"),
    };
    let is_tellable = last.len() < KEY_LEN;
    let named = is_tellable.then(|| StreamKey::new(APP, last).ok()).flatten();
    let unnamed = || StreamKey::new(APP, "stream").map_err(|error| Failure::usage(error.to_string()));
    named.map_or_else(unnamed, Ok)
}

/// Who ends a command that has recorded nothing wants to know why.
fn unrecorded(engine: &Engine) -> Vec<String> {
    let stands_still = engine.recordings().into_iter().filter_map(|recording| recording.error);
    unreached(engine).into_iter().chain(stands_still).collect()
}
