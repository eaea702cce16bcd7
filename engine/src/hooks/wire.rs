//! What is sent, and what the replies mean: the forms of nginx-rtmp's `on_publish` and of SRS's `http_hooks`.

use super::caller::{Message, Reply};
use crate::auth::{Action, Claims, Grant, terms};
use crate::config::{HookMethod, HookStyle, HooksConfig};
use crate::id::SessionId;
use crate::key::{Printable, StreamKey, StreamName};
use crate::sessions::Measured;
use crate::url::{RemoteUrl, RtmpUrl};
use hyper::{Method, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::Deserialize;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// What stands in a form as it is (RFC 3986, 2.3).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// Fields that are ours: a client's own that are called so would take their place in services that keep the last of two.
const RESERVED: &[&str] = &[
    "app",
    "flashver",
    "swfurl",
    "tcurl",
    "pageurl",
    "addr",
    "epoch",
    "clientid",
    "call",
    "name",
    "type",
    "start",
    "duration",
    "reset",
    "time",
    "timestamp",
    "recorder",
    "path",
];
/// SRS has virtual hosts; this is what it calls the one that is there without any.
const VHOST: &str = "__defaultVhost__";
/// What is told who is refused without words of the service.
const REFUSED: &str = "refused by the service that decides here";

/// Who is on a connection.
#[derive(Clone)]
pub(super) struct Who {
    pub(super) session: SessionId,
    pub(super) peer: SocketAddr,
    pub(super) claims: Claims,
    /// As it came with `connect`, or with the first stream.
    pub(super) app: String,
    /// The query of the app.
    pub(super) app_args: String,
    pub(super) measured: Arc<dyn Measured>,
}

/// A stream as somebody asked for it.
#[derive(Clone)]
pub(super) struct Asked {
    key: StreamKey,
    /// The query, with what came behind a colon as its `key`.
    args: String,
}

impl Asked {
    pub(super) fn new(name: &StreamName) -> Self {
        let (query, secret) = (name.query.expose(), name.secret.expose());
        let key = |secret| format!("key={}", utf8_percent_encode(secret, ENCODED));
        let args = match (query, secret) {
            (query, "") => query.to_owned(),
            ("", secret) => key(secret),
            (query, secret) => format!("{query}&{}", key(secret)),
        };
        Self { key: name.key.clone(), args }
    }
}

/// What has come to pass.
pub(super) enum Moment<'a> {
    Connect,
    Disconnect,
    Ask(Action, &'a Asked),
    /// It may be published: where else does it go?
    Forward(&'a Asked),
    /// The end of a stream by its own name.
    Done(Action, &'a Asked),
    /// The end of a stream, whatever it was.
    AnyDone(&'a Asked),
    Update {
        action: Action,
        asked: &'a Asked,
        since: Duration,
    },
}

/// The message for a moment.
pub(super) fn message(hooks: &HooksConfig, engine: &str, who: &Who, moment: &Moment<'_>) -> Message {
    // Only SRS has that.
    let style = if matches!(moment, Moment::Forward(_)) { HookStyle::Srs } else { hooks.style };
    match style {
        HookStyle::NginxRtmp => Message {
            method: match hooks.method {
                HookMethod::Post => Method::POST,
                HookMethod::Get => Method::GET,
            },
            content_type: "application/x-www-form-urlencoded",
            fields: form(who, moment),
        },
        HookStyle::Srs => Message {
            method: Method::POST,
            content_type: "application/json",
            fields: srs(engine, who, moment).to_string(),
        },
    }
}

/// Fields as nginx-rtmp has them, in its order; those of the client last, as they came.
fn form(who: &Who, moment: &Moment<'_>) -> String {
    let claim = |name| who.claims.get(name).unwrap_or_default().to_owned();
    let mut fields = vec![
        ("app", moment.asked().map_or(who.app.as_str(), |asked| asked.key.app()).to_owned()),
        ("flashver", claim(Claims::AGENT)),
        ("swfurl", claim("swfUrl")),
        ("tcurl", claim(Claims::URL)),
        ("pageurl", claim(Claims::PAGE)),
        ("addr", who.peer.ip().to_canonical().to_string()),
    ];
    match moment {
        // A clock of nginx's own, in milliseconds, that no service can do anything with.
        Moment::Connect => fields.push(("epoch", "0".to_owned())),
        _ => fields.push(("clientid", who.session.to_string())),
    }
    let call = match moment {
        Moment::Connect => "connect",
        Moment::Disconnect => "disconnect",
        Moment::Ask(Action::Publish, _) => "publish",
        Moment::Ask(Action::Play, _) => "play",
        Moment::Forward(_) => "forward",
        Moment::Done(Action::Publish, _) => "publish_done",
        Moment::Done(Action::Play, _) => "play_done",
        Moment::AnyDone(_) => "done",
        Moment::Update { action: Action::Publish, .. } => "update_publish",
        Moment::Update { action: Action::Play, .. } => "update_play",
    };
    fields.push(("call", call.to_owned()));
    if let Moment::Update { since, .. } = moment {
        fields.push(("time", since.as_secs().to_string()));
        fields.push(("timestamp", since.as_millis().to_string()));
    }
    if let Some(asked) = moment.asked() {
        fields.push(("name", asked.key.stream().to_owned()));
    }
    match moment {
        Moment::Ask(Action::Publish, _) => fields.push(("type", "live".to_owned())),
        // All that is played here is live: what its request said of a place in a file is nothing.
        Moment::Ask(Action::Play, _) => {
            fields.extend([
                ("start", "0".to_owned()),
                ("duration", "0".to_owned()),
                ("reset", "0".to_owned()),
            ]);
        }
        _ => {}
    }
    let own = fields.iter().map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, ENCODED)));
    let args = match moment {
        Moment::Connect => &who.app_args,
        _ => moment.asked().map_or("", |asked| asked.args.as_str()),
    };
    own.chain(clients_own(args)).collect::<Vec<_>>().join("&")
}

/// The fields of a client that are not called as one of ours, however they are written.
fn clients_own(args: &str) -> impl Iterator<Item = String> + '_ {
    let is_reserved = |field: &str| {
        let name = field.split('=').next().unwrap_or_default().replace('+', " ");
        let name = percent_decode_str(&name).decode_utf8_lossy().to_lowercase();
        // PHP leaves out what stands before a name, and takes `name[]` for it.
        let name = name.trim_start().split(['[', '\0']).next().unwrap_or_default().trim_end();
        RESERVED.contains(&name)
    };
    // Some services take a semicolon for an ampersand.
    args.split('&')
        .filter(move |field| !field.is_empty() && !field.split(';').any(is_reserved))
        .map(|field| field.chars().filter(|c| !c.is_control() && *c != ' ').collect())
}

/// The object that SRS posts.
fn srs(engine: &str, who: &Who, moment: &Moment<'_>) -> Value {
    let claim = |name| who.claims.get(name).unwrap_or_default();
    let action = match moment {
        Moment::Connect => "on_connect",
        Moment::Disconnect => "on_close",
        Moment::Ask(Action::Publish, _) => "on_publish",
        Moment::Ask(Action::Play, _) => "on_play",
        Moment::Forward(_) => "on_forward",
        Moment::Done(Action::Publish, _) => "on_unpublish",
        Moment::Done(Action::Play, _) => "on_stop",
        Moment::AnyDone(_) => "on_done",
        Moment::Update { .. } => "on_update",
    };
    let param = |args: &str| if args.is_empty() { String::new() } else { format!("?{args}") };
    let mut object = json!({
        "server_id": engine,
        "service_id": engine,
        "action": action,
        "client_id": who.session.to_string(),
        "ip": who.peer.ip().to_canonical().to_string(),
        "vhost": VHOST,
        "app": moment.asked().map_or(who.app.as_str(), |asked| asked.key.app()),
    });
    let more = match moment {
        Moment::Connect => json!({
            "tcUrl": claim(Claims::URL), "pageUrl": claim(Claims::PAGE), "stream": "", "param": param(&who.app_args),
        }),
        Moment::Disconnect => {
            let traffic = who.measured.traffic();
            json!({ "send_bytes": traffic.sent, "recv_bytes": traffic.received })
        }
        _ => {
            let asked = moment.asked();
            let (stream, args) = asked.map_or(("", ""), |asked| (asked.key.stream(), &asked.args));
            json!({
                "tcUrl": claim(Claims::URL), "stream": stream, "param": param(args),
                "stream_url": asked.map(|asked| format!("/{}", asked.key)),
                "stream_id": asked.map(|asked| asked.key.to_string()),
            })
        }
    };
    let page =
        matches!(moment, Moment::Ask(Action::Play, _)).then(|| json!({ "pageUrl": claim(Claims::PAGE) }));
    if let Value::Object(object) = &mut object {
        for more in [Some(more), page].into_iter().flatten() {
            object.extend(more.as_object().cloned().unwrap_or_default());
        }
    }
    object
}

impl Moment<'_> {
    fn asked(&self) -> Option<&Asked> {
        match self {
            Self::Connect | Self::Disconnect => None,
            Self::Ask(_, asked)
            | Self::Forward(asked)
            | Self::Done(_, asked)
            | Self::AnyDone(asked)
            | Self::Update { asked, .. } => Some(asked),
        }
    }
}

/// What a reply says of a request.
#[derive(Debug)]
pub(super) enum Verdict {
    Allow(Box<Grant>),
    /// With words for the peer.
    Deny(String),
    Pass,
    /// Nothing that can be understood, for the log.
    Nonsense(String),
}

/// What a reply may say in JSON beside a grant.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Said {
    verdict: Option<Word>,
    reason: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Word {
    Allow,
    Deny,
    Pass,
}

/// What a reply to a request for a stream means.
pub(super) fn verdict(style: HookStyle, action: Action, asked: &StreamKey, reply: &Reply) -> Verdict {
    match style {
        HookStyle::NginxRtmp => match reply.status {
            status if status.is_success() => by_terms(reply.json.as_deref(), action, asked),
            status if status.is_redirection() => by_location(reply.location.as_deref(), action, asked),
            _ => Verdict::Deny(words(reply)),
        },
        HookStyle::Srs => match srs_data(reply) {
            Some(data) => by_value(data, action, asked),
            None => Verdict::Deny(words(reply)),
        },
    }
}

/// What a reply to `connect` means: the app, where it gets another name.
pub(super) fn connect_verdict(style: HookStyle, reply: &Reply) -> Result<Option<String>, String> {
    match style {
        HookStyle::NginxRtmp => match reply.status {
            status if status.is_success() => Ok(None),
            status if status.is_redirection() => {
                let app = reply.location.as_deref().filter(|app| !app.contains("://") && !app.is_empty());
                app.map_or_else(|| Err(REFUSED.to_owned()), |app| Ok(Some(app.to_owned())))
            }
            _ => Err(words(reply)),
        },
        HookStyle::Srs => srs_data(reply).map(|_| None).ok_or_else(|| words(reply)),
    }
}

/// Whether what runs may go on.
pub(super) fn may_go_on(hooks: &HooksConfig, reply: &Reply) -> Result<(), String> {
    let (status, strict) = (reply.status, hooks.update_strict);
    match status.is_client_error() || status.is_server_error() || (strict && !status.is_success()) {
        true => Err(words(reply)),
        false => Ok(()),
    }
}

/// The data of a reply of SRS's that says yes.
fn srs_data(reply: &Reply) -> Option<Value> {
    if !matches!(reply.status, StatusCode::OK | StatusCode::CREATED) {
        return None;
    }
    match serde_json::from_slice::<Value>(&reply.body).ok()? {
        Value::Number(code) if code.as_u64() == Some(0) => Some(Value::Null),
        Value::Object(mut object) if object.get("code").and_then(Value::as_u64) == Some(0) => {
            Some(object.remove("data").unwrap_or_default())
        }
        _ => None,
    }
}

/// Where a stream goes besides, as a reply to `on_forward` says; nothing where it is no such reply.
pub(super) fn forwards(reply: &Reply) -> Option<Vec<RtmpUrl>> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Data {
        urls: Vec<RtmpUrl>,
    }
    match srs_data(reply)? {
        Value::Null => Some(Vec::new()),
        data => serde_json::from_value::<Data>(data).ok().map(|data| data.urls),
    }
}

/// The words of a service for whoever it refuses.
fn words(reply: &Reply) -> String {
    let said = reply.json.as_deref().and_then(|json| serde_json::from_slice::<Said>(json).ok());
    reason(said.unwrap_or_default())
}

fn reason(said: Said) -> String {
    match said.reason {
        Some(reason) if !reason.is_empty() => Printable(&reason).to_string(),
        _ => REFUSED.to_owned(),
    }
}

fn by_terms(json: Option<&[u8]>, action: Action, asked: &StreamKey) -> Verdict {
    match json.map(serde_json::from_slice::<Value>) {
        None => Verdict::Allow(Box::default()),
        Some(Ok(value)) => by_value(value, action, asked),
        Some(Err(_)) => Verdict::Nonsense("the answer says that it is JSON, and is none".to_owned()),
    }
}

fn by_value(value: Value, action: Action, asked: &StreamKey) -> Verdict {
    if !value.is_object() {
        return Verdict::Allow(Box::default());
    }
    let Ok(said) = Said::deserialize(&value) else {
        return Verdict::Nonsense("the answer's verdict or reason is not what it can be".to_owned());
    };
    let mut grant = value;
    if let Some(fields) = grant.as_object_mut() {
        // Services say much that is nothing to us.
        fields.retain(|name, _| terms::is_known(name));
    }
    match (&said.verdict, Grant::from_value(grant, action, asked)) {
        (Some(Word::Pass), _) => Verdict::Pass,
        (Some(Word::Deny), _) => Verdict::Deny(reason(said)),
        (Some(Word::Allow) | None, Ok(grant)) => Verdict::Allow(Box::new(grant)),
        (Some(Word::Allow) | None, Err(error)) => Verdict::Nonsense(error.to_string()),
    }
}

/// A redirect: another name for the stream, or a server that it is pushed to.
fn by_location(location: Option<&str>, action: Action, asked: &StreamKey) -> Verdict {
    let nonsense = |text: &str| Verdict::Nonsense(text.to_owned());
    match location {
        None | Some("") => nonsense("a redirect without Location"),
        Some(url) if url.starts_with("rtmp://") || url.starts_with("rtmps://") => match (action, url.parse())
        {
            (Action::Publish, Ok(url)) => Verdict::Allow(Box::new(Grant::default().push(vec![url]))),
            (Action::Play, Ok(url)) => Verdict::Allow(Box::new(Grant::default().pull(RemoteUrl::from(url)))),
            (_, Err::<RtmpUrl, _>(error)) => Verdict::Nonsense(format!("a redirect to no URL: {error}")),
        },
        Some(url) if url.contains("://") => nonsense("a redirect to HTTP: redirects are not followed"),
        Some(name) => match terms::stream(name.split('?').next().unwrap_or_default(), asked) {
            Ok(stream) => Verdict::Allow(Box::new(Grant::default().stream(stream))),
            Err(error) => Verdict::Nonsense(error.to_string()),
        },
    }
}
