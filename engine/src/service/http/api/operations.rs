//! What can be asked of the API, in one table: requests find their operation in it, and the description is made of it.

use super::problem::Problem;
#[cfg(feature = "keys")]
use super::views::{AddedKey, Rotation};
use super::views::{Health, Items, LogLines, NewPassword, Session, Shown, Summary, Time, Version};
use crate::config::{
    FileConfig, HttpRole, OriginConfig, PullConfig, PushConfig, PushTuning, RecordConfig, Reloaded,
};
use crate::key::StreamKey;
#[cfg(feature = "keys")]
use crate::keys::{KeyInfo, WrittenKey};
use crate::service::http::routes::query_value;
use crate::statistics::{Sample, StreamStats};
use crate::status::{
    FileStatus, ListenerInfo, OriginStatus, RecordedFile, RecordingStatus, RelayStatus, SessionInfo,
};
use hyper::Method;
use percent_encoding::percent_decode_str;
use schemars::generate::SchemaGenerator;
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value};
use std::borrow::Cow;

/// What paths of the API begin with.
pub(super) const ROOT: &str = "/api/v1";

/// What a body has in it.
pub(super) type Schemas = fn(&mut SchemaGenerator) -> Schema;

/// A body with one of these as JSON.
const fn of<T: JsonSchema>() -> Schemas {
    |generator| generator.subschema_for::<T>()
}

/// Any object.
const ANY: Schemas = of::<Map<String, Value>>();

/// One thing that can be asked.
pub(super) struct Operation {
    pub(super) method: Method,
    /// Below [`ROOT`]; a part in braces stands for a name or number.
    pub(super) path: &'static str,
    /// Who may; with none, everybody.
    pub(super) role: Option<HttpRole>,
    pub(super) act: Act,
    pub(super) about: &'static str,
    /// What may stand in the query, and what it means.
    pub(super) query: &'static [(&'static str, &'static str)],
    pub(super) takes: Takes,
    /// The status where all is well.
    pub(super) status: u16,
    /// What is told then, where there is something.
    pub(super) reply: Option<Schemas>,
}

/// What an operation takes as a body.
pub(super) enum Takes {
    Nothing,
    Json(Schemas),
    /// The same of anybody, with secrets in it.
    Password(Schemas),
    /// It may be left out.
    Perhaps(Schemas),
    /// A whole configuration, also as TOML.
    Config(Schemas),
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    Version,
    Health,
    Time,
    Summary,
    History,
    Listeners,
    Streams,
    Stream,
    StreamHistory,
    StreamRecordings,
    Sessions,
    Session,
    Relays,
    Relay,
    Files,
    File,
    Origins,
    Origin,
    Recordings,
    Recording,
    RecordedFiles,
    Config,
    Log,
    Events,
    WhoAsks,
    LogIn,
    LogOut,
    SetPassword,
    Description,
    AddPush,
    AddPull,
    TuneRelay,
    RestartRelay,
    RemoveRelay,
    AddFile,
    ReplaceFile,
    StopFile,
    SetOrigin,
    RemoveOrigin,
    Record,
    StopRecording,
    KickSession,
    KickStream,
    #[cfg(feature = "keys")]
    Keys,
    #[cfg(feature = "keys")]
    AddKey,
    #[cfg(feature = "keys")]
    RevokeKey,
    #[cfg(feature = "keys")]
    RotateKey,
    SetConfig,
}

/// Something to look at.
const fn look(path: &'static str, act: Act, reply: Schemas, about: &'static str) -> Operation {
    let (role, takes) = (Some(HttpRole::Viewer), Takes::Nothing);
    Operation {
        method: Method::GET,
        path,
        role,
        act,
        about,
        query: &[],
        takes,
        status: 200,
        reply: Some(reply),
    }
}

/// Something that is done by whoever may change something.
const fn act(
    method: Method,
    path: &'static str,
    act: Act,
    takes: Takes,
    status: u16,
    reply: Option<Schemas>,
    about: &'static str,
) -> Operation {
    Operation { method, path, role: Some(HttpRole::Admin), act, about, query: &[], takes, status, reply }
}

impl Operation {
    /// The same for everybody.
    const fn by_anybody(mut self) -> Self {
        self.role = None;
        self
    }

    /// The same with a query.
    const fn with(mut self, query: &'static [(&'static str, &'static str)]) -> Self {
        self.query = query;
        self
    }
}

const SINCE: &[(&str, &str)] = &[("since", "Only what was later, in seconds since the engine's start.")];

const REASON: &[(&str, &str)] = &[("reason", "What is told those who are ended, and the log.")];

/// All operations.
pub(super) const OPERATIONS: &[Operation] = &[
    look("/version", Act::Version, of::<Version>(), "Which engine this is."),
    look(
        "/health",
        Act::Health,
        of::<Health>(),
        "Whether connections are welcome, for load balancers: 503 while the engine drains. Anybody may ask.",
    )
    .by_anybody(),
    look("/time", Act::Time, of::<Time>(), "What time it is there."),
    look("/summary", Act::Summary, of::<Summary>(), "The whole engine in a few numbers."),
    look(
        "/history",
        Act::History,
        of::<Items<Sample>>(),
        "What the engine did in each of the last 600 seconds.",
    )
    .with(SINCE),
    look("/listeners", Act::Listeners, of::<Items<ListenerInfo>>(), "The open listeners."),
    look("/streams", Act::Streams, of::<Items<StreamStats>>(), "All streams, by name."),
    look("/streams/{stream}", Act::Stream, of::<StreamStats>(), "One stream."),
    look(
        "/streams/{stream}/history",
        Act::StreamHistory,
        of::<Items<Sample>>(),
        "What a stream did in each of the last 600 seconds, also for ten minutes after its end.",
    )
    .with(SINCE),
    look(
        "/streams/{stream}/recordings",
        Act::StreamRecordings,
        of::<Items<RecordedFile>>(),
        "The recorded files of a stream, the oldest first.",
    ),
    look(
        "/sessions",
        Act::Sessions,
        of::<Items<SessionInfo>>(),
        "All connections, in the order in which they came.",
    ),
    look("/sessions/{id}", Act::Session, of::<SessionInfo>(), "One connection."),
    look("/relays", Act::Relays, of::<Items<RelayStatus>>(), "All relays."),
    act(
        Method::POST,"/relays/push",
        Act::AddPush,
        Takes::Json(of::<PushConfig>()),
        201,Some(of::<RelayStatus>()),
        "Pushes a local stream to another server, with the keys of `[[push]]`.",
    ),
    act(
        Method::POST,"/relays/pull",
        Act::AddPull,
        Takes::Json(of::<PullConfig>()),
        201,Some(of::<RelayStatus>()),
        "Fetches a stream from another server, with the keys of `[[pull]]`.",
    ),
    look("/relays/{id}", Act::Relay, of::<RelayStatus>(), "One relay."),
    look("/files", Act::Files, of::<Items<FileStatus>>(), "All file jobs."),
    look("/files/{id}", Act::File, of::<FileStatus>(), "One file job."),
    look("/origins", Act::Origins, of::<Items<OriginStatus>>(), "All origins, by alias."),
    look("/origins/{alias}", Act::Origin, of::<OriginStatus>(), "One origin."),
    look("/recordings", Act::Recordings, of::<Items<RecordingStatus>>(), "All recordings that go on."),
    look("/recordings/{id}", Act::Recording, of::<RecordingStatus>(), "One recording."),
    look(
        "/recorded-files",
        Act::RecordedFiles,
        of::<Items<RecordedFile>>(),
        "Recorded files of all streams, the newest first; `next` is the `after` of those behind them.",
    )
    .with(&[
        ("after", "Only files behind the one that a list has named as its `next`."),
        ("limit", "So many at most, 100 where that is not said, and 1,000 at most."),
    ]),
    look(
        "/config",
        Act::Config,
        ANY,
        "The configuration in force, defaults included, in the shape of the TOML configuration. Secrets are \"***\".",
    ),
    act(
        Method::GET,
        "/log",
        Act::Log,
        Takes::Nothing,
        200,
        Some(of::<LogLines>()),
        "The newest lines of the log, the oldest first, where the program that carries the engine tells them.",
    )
    .with(&[
        ("after", "Only lines behind the one of this id."),
        ("limit", "So many at most: the newest, or with `after` the next ones; `next` is the id behind which there are more."),
    ]),
    look(
        "/events",
        Act::Events,
        ANY,
        "What happens, as server-sent events: `event` is the name, `data` the event as JSON. Who does not keep up gets `lagged`, with \
         how many events he has lost.",
    )
    .with(&[
        ("stream", "Only those of this stream, `app/stream`."),
        ("names", "Only those of these names, with commas between them."),
        ("snapshot", "With 1, an event `summary` each second, too."),
    ]),
    look(
        "/session",
        Act::WhoAsks,
        of::<Session>(),
        "Who asks, as far as that is known, and what he may. Anybody may ask.",
    )
    .by_anybody(),
    act(
        Method::POST,"/session",
        Act::LogIn,
        Takes::Password(of::<Shown>()),
        204, None,
        "Logs in by the password: the reply has a cookie. 401 where it is wrong, 409 where none is set, 429 where this address was wrong \
         too often, 403 from another machine without TLS.",
    )
    .by_anybody(),
    act(Method::DELETE,"/session", Act::LogOut, Takes::Nothing, 204, None, "Logs out; the cookie is good no more.")
        .by_anybody(),
    act(
        Method::PUT,"/password",
        Act::SetPassword,
        Takes::Password(of::<NewPassword>()),
        204, None,
        "Sets another password. All sessions end; the reply has the cookie of a new one.",
    ),
    look("/openapi.json", Act::Description, ANY, "This description."),
    act(
        Method::PUT,"/relays/{id}/tuning",
        Act::TuneRelay,
        Takes::Json(of::<PushTuning>()),
        200,Some(of::<RelayStatus>()),
        "Changes how a push connects, waits and leaves, from its next step on. What is left out is as for all relays.",
    ),
    act(
        Method::POST,"/relays/{id}/restart",
        Act::RestartRelay,
        Takes::Nothing,
        204, None,
        "Makes a relay try again at once, also one that has failed for good.",
    ),
    act(Method::DELETE,"/relays/{id}", Act::RemoveRelay, Takes::Nothing, 204, None, "Ends a relay in good order."),
    act(
        Method::POST,"/files",
        Act::AddFile,
        Takes::Json(of::<FileConfig>()),
        201,Some(of::<FileStatus>()),
        "Plays media files as a live stream, with the keys of `[[file]]`. They are read through once first.",
    ),
    act(
        Method::PUT,"/files/{id}",
        Act::ReplaceFile,
        Takes::Json(of::<FileConfig>()),
        200,Some(of::<FileStatus>()),
        "Plays other files in place of those of a job, which gets another number. Players stay.",
    ),
    act(Method::DELETE,"/files/{id}", Act::StopFile, Takes::Nothing, 204, None, "Ends a file job and its stream."),
    act(
        Method::PUT,"/origins/{alias}",
        Act::SetOrigin,
        Takes::Json(of::<OriginConfig>()),
        200,Some(of::<OriginStatus>()),
        "Names servers by an alias, or changes which they are, with the keys of `[origins.ALIAS]`.",
    ),
    act(
        Method::DELETE,"/origins/{alias}",
        Act::RemoveOrigin,
        Takes::Nothing,
        204, None,
        "Removes an alias; its streams end.",
    ),
    act(
        Method::POST,"/streams/{stream}/record",
        Act::Record,
        Takes::Perhaps(of::<RecordConfig>()),
        201,Some(of::<RecordingStatus>()),
        "Records a stream as its app's configuration says, or, with a body, as `[apps.APP.record]` would have it.",
    ),
    act(
        Method::DELETE,"/recordings/{id}",
        Act::StopRecording,
        Takes::Nothing,
        204, None,
        "Ends a recording; its file becomes whole.",
    ),
    act(
        Method::POST,"/sessions/{id}/kick",
        Act::KickSession,
        Takes::Nothing,
        204, None,
        "Ends a connection.",
    )
    .with(REASON),
    act(
        Method::POST,"/streams/{stream}/kick",
        Act::KickStream,
        Takes::Nothing,
        204, None,
        "Takes a stream away from whoever publishes it. Players wait for another publisher for the resume window.",
    )
    .with(REASON),
    #[cfg(feature = "keys")]
    act(
        Method::GET,"/keys",
        Act::Keys,
        Takes::Nothing,
        200,Some(of::<Items<KeyInfo>>()),
        "The keys of publishers and players, without the keys themselves.",
    )
    .with(&[("stream", "Only those of this stream, `app/stream`.")]),
    #[cfg(feature = "keys")]
    act(
        Method::POST,"/keys",
        Act::AddKey,
        Takes::Json(of::<WrittenKey>()),
        201,Some(of::<AddedKey>()),
        "Makes a key, or takes one in. A new one is told in the reply, and never again.",
    ),
    #[cfg(feature = "keys")]
    act(
        Method::DELETE,"/keys/{key}",
        Act::RevokeKey,
        Takes::Nothing,
        200,Some(of::<KeyInfo>()),
        "Revokes a key; what it has opened ends.",
    ),
    #[cfg(feature = "keys")]
    act(
        Method::POST,
        "/keys/{key}/rotate",
        Act::RotateKey,
        Takes::Perhaps(of::<Rotation>()),
        201,
        Some(of::<AddedKey>()),
        "Makes a key that opens what another one does, which is revoked, at once or after a while. The new one is told in the reply, and never \
         again.",
    ),
    act(
        Method::PUT,"/config",
        Act::SetConfig,
        Takes::Config(ANY),
        200,Some(of::<Reloaded>()),
        "Takes another configuration, a whole one as JSON or TOML, and does what is different: all of it, or nothing.",
    ),
];

/// What a path names: operations that differ by their method, and the name or number in the path.
pub(super) struct Found<'a> {
    template: &'static str,
    /// As it was sent.
    name: &'a str,
}

impl<'a> Found<'a> {
    /// What a path names; none where that is nothing.
    pub(super) fn find(path: &'a str) -> Option<Self> {
        let path = path.strip_prefix(ROOT)?;
        let templates = OPERATIONS.iter().map(|operation| operation.path);
        templates.into_iter().find_map(|template| Some(Self { template, name: name_in(template, path)? }))
    }

    fn operations(&self) -> impl Iterator<Item = &'static Operation> {
        OPERATIONS.iter().filter(|operation| operation.path == self.template)
    }

    /// What is done by a method.
    pub(super) fn operation(&self, method: &Method) -> Option<&'static Operation> {
        let wanted = if method == Method::HEAD { &Method::GET } else { method };
        self.operations().find(|operation| operation.method == *wanted)
    }

    /// The methods that do something, as `Allow` lists them.
    pub(super) fn methods(&self) -> String {
        let of = |operation: &Operation| match operation.method {
            Method::GET => "GET, HEAD".to_owned(),
            ref method => method.to_string(),
        };
        let all = self.operations().map(of).chain(["OPTIONS".to_owned()]);
        all.collect::<Vec<_>>().join(", ")
    }

    /// The stream in the path: its slashes are encoded, and nothing else is decoded but by [`StreamKey`], once.
    pub(super) fn stream(&self) -> Result<StreamKey, Problem> {
        let name = self.name.replace("%2F", "/").replace("%2f", "/");
        Ok(name.parse::<StreamKey>().map_err(crate::Error::from)?)
    }

    /// The number in the path; one that is none names nothing.
    pub(super) fn number(&self) -> u64 {
        self.name.parse().unwrap_or_default()
    }

    /// The text in the path.
    pub(super) fn text(&self) -> Cow<'a, str> {
        percent_decode_str(self.name).decode_utf8_lossy()
    }
}

/// What stands in a path for the part in braces of a template, empty where that has none; `None` where they do not fit.
fn name_in<'a>(template: &str, path: &'a str) -> Option<&'a str> {
    let (mut template, mut path) = (template.split('/'), path.split('/'));
    let mut name = "";
    loop {
        match (template.next(), path.next()) {
            (None, None) => return Some(name),
            (Some(part), Some(given)) if part.starts_with('{') && !given.is_empty() => name = given,
            (Some(part), Some(given)) if part == given => {}
            _ => return None,
        }
    }
}

/// A value of a query, decoded.
pub(super) fn value<'a>(query: &'a str, field: &str) -> Option<Cow<'a, str>> {
    query_value(query, field).map(|value| percent_decode_str(value).decode_utf8_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_one_place_and_nothing_else() {
        for (path, template, name) in [
            ("/api/v1/streams", "/streams", ""),
            ("/api/v1/streams/live%2Fa", "/streams/{stream}", "live%2Fa"),
            ("/api/v1/streams/live%2Fa%2Fb/history", "/streams/{stream}/history", "live%2Fa%2Fb"),
            ("/api/v1/relays/7", "/relays/{id}", "7"),
            ("/api/v1/openapi.json", "/openapi.json", ""),
        ] {
            let found = Found::find(path).unwrap();
            assert_eq!((found.template, found.name), (template, name), "{path}");
        }
        for path in [
            "/api/v1",
            "/api/v1/",
            "/api/v1/streams/",
            "/api/v1/streams/live/a",
            "/api/v2/streams",
            "/api/v1/{id}",
        ] {
            assert!(Found::find(path).is_none(), "{path}");
        }
    }

    #[test]
    fn each_operation_is_there_once_and_no_template_hides_another() {
        for (index, operation) in OPERATIONS.iter().enumerate() {
            let same = |other: &&Operation| other.path == operation.path && other.method == operation.method;
            assert_eq!(OPERATIONS.iter().filter(same).count(), 1, "{}", operation.path);
            assert!(
                OPERATIONS.iter().skip(index + 1).all(|other| other.act != operation.act),
                "{:?}",
                operation.act
            );
            let path = format!("{ROOT}{}", operation.path.replace(['{', '}'], ""));
            assert_eq!(Found::find(&path).unwrap().template, operation.path);
        }
    }

    #[test]
    fn a_stream_is_one_part_of_a_path_with_its_slashes_encoded() {
        let stream = |path: &str| Found::find(path).unwrap().stream().map(|key| key.to_string()).ok();
        for (path, expected) in [
            ("/api/v1/streams/live%2Fa", Some("live/a")),
            ("/api/v1/streams/live%2froom%2F%E7%9B%B4", Some("live/room/直")),
            ("/api/v1/streams/live%252Fa", None),
            ("/api/v1/streams/live", None),
            ("/api/v1/streams/live%2F%2E%2E", None),
        ] {
            assert_eq!(stream(path).as_deref(), expected, "{path}");
        }
    }
}
