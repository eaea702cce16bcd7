//! What is to be looked at.

use super::change::MASK;
use super::openapi;
use super::operations::{Act, Found, Operation, value};
use super::problem::Problem;
use super::views::{Health, Items, LogLines, Summary, Time, Version};
use super::{JSON, apart, json, told};
use crate::Config;
use crate::config::HttpRole;
use crate::id::{FileId, RecordingId, RelayId, SessionId};
use crate::key::StreamKey;
use crate::manage::Manage;
use crate::service::Core;
use crate::service::http::reply::{self, Reply};
use crate::service::http::routes::query_value;
use crate::statistics::{Sample, Snapshot, SnapshotForm};
use hyper::StatusCode;
use serde::Serialize;
use serde_json::Value;
use std::borrow::Cow;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

/// Recorded files that are told where no number is asked for: each is opened to know how long it lasts.
const USUAL_FILES: usize = 100;

/// The reply to a request of somebody in this role to look at something.
pub(super) async fn answer(
    core: &Arc<Core>,
    operation: &Operation,
    found: &Found<'_>,
    query: &str,
    role: Option<HttpRole>,
) -> Result<Reply, Problem> {
    let reply = match operation.act {
        Act::Version => told(StatusCode::OK, &Version::new()),
        Act::Health => health(core),
        Act::Time => told(StatusCode::OK, &Time::new(&core.statistics.snapshot())),
        Act::Description => reply::told(StatusCode::OK, JSON, openapi::document()),
        Act::History => told(StatusCode::OK, &Items::new(later(core.statistics.history(), query))),
        Act::StreamHistory => {
            let stream = found.stream()?;
            let samples = core.statistics.history_of(&stream);
            let samples = samples.ok_or_else(|| Problem::missing(format_args!("stream {stream}")))?;
            told(StatusCode::OK, &Items::new(later(samples, query)))
        }
        Act::Stream => {
            let (stream, snapshot) = (found.stream()?, core.statistics.snapshot());
            let known = snapshot.streams.iter().find(|known| known.info.key == stream);
            told(StatusCode::OK, known.ok_or_else(|| Problem::missing(format_args!("stream {stream}")))?)
        }
        Act::Summary => form(core, SnapshotForm::ApiSummary),
        Act::Streams => form(core, SnapshotForm::ApiStreams),
        Act::Sessions => form(core, SnapshotForm::ApiSessions),
        Act::Relays => form(core, SnapshotForm::ApiRelays),
        Act::Files => form(core, SnapshotForm::ApiFiles),
        Act::Origins => form(core, SnapshotForm::ApiOrigins),
        Act::StreamRecordings => recorded(core, found.stream()?).await?,
        Act::RecordedFiles => all_recorded(core, query).await?,
        Act::Config => {
            let config = manager(core)?.config();
            told(StatusCode::OK, &shown(&config, role.unwrap_or(HttpRole::Viewer)))
        }
        act => of_engine(&**manager(core)?, act, found)?,
    };
    Ok(reply)
}

/// What does things to the engine.
pub(super) fn manager(core: &Core) -> Result<&Arc<dyn Manage>, Problem> {
    core.manager.get().ok_or_else(|| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the engine is starting"))
}

fn health(core: &Core) -> Reply {
    let is_draining = core.draining.is_cancelled();
    let status = if is_draining { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    told(status, &Health::new(is_draining))
}

/// What the newest snapshot tells, rendered once for all who ask for it.
fn form(core: &Core, form: SnapshotForm) -> Reply {
    let body = core.statistics.snapshot().form(form, |snapshot| match form {
        SnapshotForm::ApiStreams => json(&Items::new(&snapshot.streams)),
        SnapshotForm::ApiSessions => json(&Items::new(&snapshot.sessions)),
        SnapshotForm::ApiRelays => json(&Items::new(&snapshot.relays)),
        SnapshotForm::ApiFiles => json(&Items::new(&snapshot.files)),
        SnapshotForm::ApiOrigins => json(&Items::new(&snapshot.origins)),
        _ => summary(snapshot),
    });
    reply::told(StatusCode::OK, JSON, body)
}

/// A snapshot in a few numbers.
pub(super) fn summary(snapshot: &Snapshot) -> Vec<u8> {
    json(&Summary::of(snapshot))
}

/// Samples behind the second that the query names.
fn later(samples: Vec<Sample>, query: &str) -> impl Iterator<Item = Sample> {
    let since = query_value(query, "since").and_then(|since| since.parse::<u32>().ok());
    samples.into_iter().filter(move |sample| since.is_none_or(|since| sample.at_s > since))
}

/// Leave to read the disk, which may have to be waited for: so many have it at a time as read recordings.
fn reader(core: &Core) -> Result<OwnedSemaphorePermit, Problem> {
    let busy = |_| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "as many recordings are read as may be");
    core.recording_readers.clone().try_acquire_owned().map_err(busy)
}

/// Recorded files of all streams.
async fn all_recorded(core: &Core, query: &str) -> Result<Reply, Problem> {
    let after = value(query, "after").map(Cow::into_owned);
    let limit = limit(query)?.unwrap_or(USUAL_FILES);
    let _reader = reader(core)?;
    let list = move |manager: &dyn Manage| manager.all_recorded_files(after.as_deref(), limit);
    let (files, next) = apart(manager(core)?, list).await?;
    Ok(told(StatusCode::OK, &Items::part(files, next)))
}

/// The recorded files of a stream.
async fn recorded(core: &Core, stream: StreamKey) -> Result<Reply, Problem> {
    let _reader = reader(core)?;
    let files = apart(manager(core)?, move |manager| manager.recorded_files(&stream)).await?;
    Ok(told(StatusCode::OK, &Items::new(files)))
}

/// What the engine is asked for itself.
fn of_engine(manager: &dyn Manage, act: Act, found: &Found<'_>) -> Result<Reply, Problem> {
    Ok(match act {
        Act::Listeners => told(StatusCode::OK, &Items::new(manager.listeners())),
        Act::Recordings => told(StatusCode::OK, &Items::new(manager.recordings())),
        Act::Session => one("session", found, manager.session(SessionId(found.number())))?,
        Act::Relay => one("relay", found, manager.relay(RelayId(found.number())))?,
        Act::File => one("file job", found, manager.file(FileId(found.number())))?,
        Act::Recording => one("recording", found, manager.recording(RecordingId(found.number())))?,
        Act::Origin => {
            let alias = found.text();
            let mut origins = manager.origins().into_iter();
            one("origin", found, origins.find(|origin| origin.alias == alias))?
        }
        // What is done, and not looked at.
        _ => return Err(Problem::wrong_method()),
    })
}

fn one(what: &str, found: &Found<'_>, value: Option<impl Serialize>) -> Result<Reply, Problem> {
    let text = found.text();
    let missing = || Problem::missing(format_args!("{what} {}", crate::Printable(&text)));
    Ok(told(StatusCode::OK, &value.ok_or_else(missing)?))
}

fn number(query: &str, field: &str) -> Result<Option<u64>, Problem> {
    let wrong = |_| Problem::new(StatusCode::BAD_REQUEST, format!("{field} is a number"));
    query_value(query, field).map(|text| text.parse().map_err(wrong)).transpose()
}

/// How many a query wants at most.
fn limit(query: &str) -> Result<Option<usize>, Problem> {
    Ok(number(query, "limit")?.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX)))
}

/// The newest lines of the log.
pub(super) fn log(core: &Core, query: &str) -> Result<Reply, Problem> {
    let none = || Problem::missing("log here: the program that carries the engine does not tell it");
    let tail = core.log_tail.as_ref().ok_or_else(none)?;
    let limit = limit(query)?.unwrap_or(usize::MAX);
    let (items, has_more) = tail.lines(number(query, "after")?, limit);
    let next = items.last().filter(|_| has_more).map(|line| line.id);
    Ok(told(StatusCode::OK, &LogLines { items, next }))
}

/// A configuration as those see it who may look. The hashes of tokens are secrets here: one that people have made up can be found by
/// its hash, and may be good for more than looking. From those who may look only, what of URLs may be a key is kept, too: short names
/// of streams elsewhere, which are shown to others, and paths of services.
fn shown(config: &Config, role: HttpRole) -> Value {
    let mut shown = config.to_json();
    let tokens = shown.pointer_mut("/http/token").and_then(Value::as_array_mut);
    for hash in tokens.into_iter().flatten().filter_map(|token| token.get_mut("sha256")) {
        *hash = Value::from(MASK);
    }
    if role == HttpRole::Admin {
        return shown;
    }
    for list in ["/push", "/pull"] {
        let relays = shown.pointer_mut(list).and_then(Value::as_array_mut);
        for url in relays.into_iter().flatten().filter_map(|relay| relay.get_mut("url")) {
            mask(url, |path| path.rsplit_once('/').map_or("", |(folder, _)| folder));
        }
    }
    for hook in shown.pointer_mut("/hooks").and_then(Value::as_object_mut).into_iter().flatten() {
        mask(hook.1, |_| "");
    }
    shown
}

/// Masks what of the path of a URL is not `kept`.
fn mask(url: &mut Value, kept: impl FnOnce(&str) -> &str) {
    let Some((scheme, rest)) = url.as_str().and_then(|url| url.split_once("://")) else { return };
    let Some((authority, path)) = rest.split_once('/') else { return };
    let folder = kept(path.split(['?', '#']).next().unwrap_or_default());
    let slash = if folder.is_empty() { "" } else { "/" };
    *url = Value::from(format!("{scheme}://{authority}/{folder}{slash}{MASK}"));
}
