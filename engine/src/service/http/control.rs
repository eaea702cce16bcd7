//! nginx-rtmp's control URLs, for tools that have its buttons (`ngx_rtmp_control_module` 1.2.2): what is named in the query is
//! ended, or moved to another stream, and the reply is how many there were; or recorded, and the reply is the file.

use super::reply::{self, Reply, TEXT};
use super::routes::ControlUrl;
use crate::ErrorKind;
use crate::events::{Event, EventReceiver, Received};
use crate::id::RecordingId;
use crate::key::{Printable, StreamKey};
use crate::manage::Manage;
use crate::service::Core;
use crate::status::{RecordingStatus, SessionInfo, SessionRole, StreamInfo, StreamState};
use hyper::StatusCode;
use percent_encoding::percent_decode_str;
use std::borrow::Cow;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::timeout;

/// What those are told who are ended.
const REASON: &str = "ended by the operator (/control)";

/// How long a recording that has been started may take to open its file before the reply is sent without the name of it.
const OPENS_WITHIN: Duration = Duration::from_secs(2);

/// Whom a control URL is about; what is not said is any.
#[derive(Default)]
struct Whom<'a> {
    server: Option<Cow<'a, str>>,
    app: Option<Cow<'a, str>>,
    name: Option<Cow<'a, str>>,
    address: Option<Cow<'a, str>>,
    client: Option<Cow<'a, str>>,
    new_name: Option<Cow<'a, str>>,
    recorder: Option<Cow<'a, str>>,
    publishers: bool,
    players: bool,
}

impl<'a> Whom<'a> {
    /// The kind by the last part of the path; none where there is no such kind.
    fn of(kind: &str, query: &'a str) -> Option<Self> {
        let (publishers, players) = match kind {
            "publisher" => (true, false),
            "subscriber" => (false, true),
            "client" => (true, true),
            _ => return None,
        };
        let mut whom = Self { publishers, players, ..Self::default() };
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            let field = match name {
                "srv" => &mut whom.server,
                "app" => &mut whom.app,
                "name" => &mut whom.name,
                "addr" => &mut whom.address,
                "clientid" => &mut whom.client,
                "newname" => &mut whom.new_name,
                "rec" => &mut whom.recorder,
                _ => continue,
            };
            *field = Some(percent_decode_str(value).decode_utf8_lossy()).filter(|value| !value.is_empty());
        }
        // We are one server.
        let is_ours = whom.server.as_deref().is_none_or(|server| server == "0");
        is_ours.then_some(whom)
    }

    fn has_stream(&self, key: &StreamKey) -> bool {
        let is =
            |wanted: &Option<Cow<'_, str>>, is: &str| wanted.as_deref().is_none_or(|wanted| wanted == is);
        is(&self.app, key.app()) && is(&self.name, key.stream())
    }

    fn has(&self, session: &SessionInfo) -> bool {
        let is_wanted = match session.role {
            SessionRole::Publisher => self.publishers,
            SessionRole::Player => self.players,
            SessionRole::Pending => false,
        };
        let has = |wanted: &Option<Cow<'_, str>>, is: &dyn Fn() -> String| {
            wanted.as_deref().is_none_or(|wanted| wanted == is())
        };
        is_wanted
            && session.stream.as_ref().is_some_and(|key| self.has_stream(key))
            && has(&self.address, &|| session.peer.ip().to_canonical().to_string())
            && has(&self.client, &|| session.id.to_string())
    }

    /// The live streams whose publishers it is about.
    fn streams(&self, core: &Core) -> Vec<StreamKey> {
        let sessions = core.sessions.list();
        let of_connections = sessions.iter().filter(|session| self.has(session));
        let mut streams: Vec<_> = of_connections.filter_map(|session| session.stream.clone()).collect();
        let own = core.hub.streams().into_iter().filter(|stream| self.has_own(stream, &sessions));
        streams.extend(own.map(|stream| stream.key));
        streams
    }

    /// Whether it is about a publisher that is no connection, of which nothing is known but its stream.
    fn has_own(&self, stream: &StreamInfo, sessions: &[SessionInfo]) -> bool {
        let is_connection = |session: &SessionInfo| {
            session.role == SessionRole::Publisher && session.stream.as_ref() == Some(&stream.key)
        };
        self.publishers
            && self.address.is_none()
            && self.client.is_none()
            && stream.state == StreamState::Live
            && self.has_stream(&stream.key)
            && !sessions.iter().any(is_connection)
    }
}

/// Does what a control URL says.
pub(super) async fn answer(core: &Core, url: ControlUrl<'_>, query: &str) -> Reply {
    match url {
        ControlUrl::Drop(kind) => match Whom::of(kind, query) {
            Some(whom) => number(end(core, &whom)),
            None => failed(),
        },
        ControlUrl::Redirect(kind) => match Whom::of(kind, query) {
            Some(whom) => redirect(core, &whom),
            None => failed(),
        },
        ControlUrl::Record(act @ ("start" | "stop")) => {
            // There is one recorder, which has no name.
            let whom = Whom::of("publisher", query).filter(|whom| whom.recorder.is_none());
            match (whom, core.manager.get()) {
                (Some(whom), Some(manager)) if act == "start" => record(core, &**manager, &whom).await,
                (Some(whom), Some(manager)) => stop_recording(core, &**manager, &whom),
                _ => failed(),
            }
        }
        ControlUrl::Record(_) => failed(),
    }
}

/// Records streams that are live, as their apps say.
async fn record(core: &Core, manager: &dyn Manage, whom: &Whom<'_>) -> Reply {
    let events = core.events.subscribe();
    let mut started = Vec::new();
    for stream in whom.streams(core) {
        match manager.record(&stream) {
            Ok(id) => started.push(id),
            // Nothing that is wrong: it is what was wanted.
            Err(error) if error.kind() == ErrorKind::Exists => {}
            Err(error) => return words(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        }
    }
    files(&opened(events, started).await)
}

/// Ends the recordings of streams that are live.
fn stop_recording(core: &Core, manager: &dyn Manage, whom: &Whom<'_>) -> Reply {
    let streams = whom.streams(core);
    let recordings = manager.recordings().into_iter().filter(|recording| streams.contains(&recording.stream));
    // One that has ended by itself meanwhile is no error.
    let stopped = recordings.filter(|recording| manager.stop_recording(recording.id).is_ok());
    files(&stopped.filter_map(|recording| recording.file).collect::<Vec<_>>())
}

/// The first files of recordings, of those at least that open one in time.
async fn opened(mut events: EventReceiver, mut recordings: Vec<RecordingId>) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let all = async {
        while !recordings.is_empty() {
            match events.next().await {
                Some(Received::Event(Event::RecordingState(RecordingStatus {
                    id,
                    file: Some(file),
                    ..
                }))) if recordings.contains(&id) => {
                    recordings.retain(|waiting| *waiting != id);
                    files.push(file);
                }
                Some(_) => {}
                None => return,
            }
        }
    };
    // The others are recorded all the same.
    let _ = timeout(OPENS_WITHIN, all).await;
    files
}

/// The names that files have when they are whole.
fn files(paths: &[PathBuf]) -> Reply {
    if paths.is_empty() {
        return reply::told(StatusCode::NO_CONTENT, TEXT, bytes::Bytes::new());
    }
    let names: Vec<_> = paths.iter().map(|path| path.to_string_lossy()).collect();
    reply::told(StatusCode::OK, TEXT, names.join("\n").into())
}

/// Ends connections, and publishers that are none; how many.
fn end(core: &Core, whom: &Whom<'_>) -> usize {
    let sessions = core.sessions.list();
    let own = core.hub.streams().into_iter().filter(|stream| whom.has_own(stream, &sessions));
    let reason = || crate::hub::EndReason::Kicked(REASON.to_owned());
    let own = own.filter(|stream| core.hub.evict(&stream.key, reason())).count();
    let ended = sessions.iter().filter(|session| whom.has(session));
    let ended = ended.filter(|session| core.sessions.kick(session.id, REASON)).count();
    let (app, name) = (whom.app.as_deref().unwrap_or("*"), whom.name.as_deref().unwrap_or("*"));
    tracing::info!(app = %Printable(app), name = %Printable(name), connections = ended, own, "ended by /control");
    ended + own
}

fn redirect(core: &Core, whom: &Whom<'_>) -> Reply {
    let Some(new_name) = &whom.new_name else { return failed() };
    if whom.publishers {
        let text =
            "publishers cannot be moved: no encoder follows, and who publishes has been let in for one name";
        return words(StatusCode::NOT_IMPLEMENTED, text);
    }
    let moves = |session: &SessionInfo| {
        let app = session.stream.as_ref().filter(|_| whom.has(session)).map(StreamKey::app);
        let key = app.and_then(|app| StreamKey::new(app, new_name).ok());
        key.is_some_and(|key| core.sessions.redirect(session.id, &key) == Some(true))
    };
    number(core.sessions.list().iter().filter(|session| moves(session)).count())
}

fn number(count: usize) -> Reply {
    reply::told(StatusCode::OK, TEXT, count.to_string().into())
}

/// What nginx-rtmp answers whatever is wrong.
fn failed() -> Reply {
    reply::told(StatusCode::INTERNAL_SERVER_ERROR, TEXT, bytes::Bytes::new())
}

fn words(status: StatusCode, text: &str) -> Reply {
    reply::told(status, TEXT, format!("{text}\n").into())
}
