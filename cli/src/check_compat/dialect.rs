//! How clients speak: what OBS, ffmpeg and librtmp (rtmpdump) say from the handshake on, as their sources have it.

use super::handshake::{self, Form, Shaken};
use super::wire::{Broken, Heard, Listened, NULL, Session, object, text};
use crate::connection::{Trust, dial};
use std::collections::HashMap;
use std::fmt;
use std::time::Duration;
use streamengine::amf0::Amf0Value;
use streamengine::media::FrameKind;
use streamengine::proto::message::{Command, Control};
use streamengine::{Printable, RtmpUrl};
use tokio::time::{Instant, timeout};

/// Codes that clients wait for.
pub(super) const CONNECT_SUCCESS: &str = "NetConnection.Connect.Success";
pub(super) const PUBLISH_START: &str = "NetStream.Publish.Start";
pub(super) const PLAY_START: &str = "NetStream.Play.Start";
/// Chunk streams of commands: of the connection, and of a message stream.
const CONNECTION: u8 = 3;
const STREAM: u8 = 8;
/// The acknowledgement window that ffmpeg and librtmp announce.
const WINDOW: u32 = 2_500_000;
/// OBS's chunk size.
const OBS_CHUNK_SIZE: u32 = 4096;

/// Whom to ask, and how long.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) url: RtmpUrl,
    pub(super) trust: Option<Trust>,
    /// For each answer.
    pub(super) patience: Duration,
}

impl Target {
    pub(super) fn until(&self) -> Instant {
        Instant::now() + self.patience
    }

    /// The server's words, fit for a terminal and without what is secret.
    pub(super) fn quote(&self, said: &str) -> String {
        Printable(&self.url.redact(said)).to_string()
    }

    /// `tcUrl` with its port, as ffmpeg has it.
    fn tc_url_with_port(&self) -> String {
        let url = self.url.tc_url();
        let (scheme, rest) = url.split_once("://").unwrap_or_default();
        let (authority, app) = rest.split_once('/').unwrap_or((rest, ""));
        let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
        match has_port {
            true => url,
            false => format!("{scheme}://{authority}:{}/{app}", self.url.port()),
        }
    }
}

/// Who is spoken like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Obs,
    Ffmpeg,
    Librtmp,
    /// A client of Enhanced RTMP v2, which says in `connect` what it can.
    Enhanced,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Publish,
    Play,
}

impl Dialect {
    fn form(self) -> Form {
        match self {
            Self::Obs | Self::Enhanced => Form::Plain,
            Self::Ffmpeg => Form::Digest([9, 0, 124, 2]),
            Self::Librtmp => Form::Digest([10, 0, 45, 2]),
        }
    }

    fn connect_object(self, target: &Target, role: Role) -> Vec<(&'static str, Amf0Value)> {
        let app = ("app", text(&target.url.app_with_query()));
        let tc_url = target.url.tc_url();
        let player = |audio: f64| {
            let number = Amf0Value::Number;
            [
                ("fpad", Amf0Value::Boolean(false)),
                ("capabilities", number(15.0)),
                ("audioCodecs", number(audio)),
                ("videoCodecs", number(252.0)),
                ("videoFunction", number(1.0)),
            ]
        };
        let publisher = ("type", text("nonprivate"));
        match (self, role) {
            (Self::Obs, _) => vec![
                app,
                publisher,
                ("flashVer", text("FMLE/3.0 (compatible; FMSc/1.0)")),
                ("swfUrl", text(&tc_url)),
                ("tcUrl", text(&tc_url)),
            ],
            (Self::Ffmpeg, Role::Publish) => vec![
                app,
                publisher,
                ("flashVer", text("FMLE/3.0 (compatible; Lavf62.12.100)")),
                ("tcUrl", text(&target.tc_url_with_port())),
            ],
            (Self::Ffmpeg, Role::Play) => {
                let own =
                    [app, ("flashVer", text("LNX 9,0,124,2")), ("tcUrl", text(&target.tc_url_with_port()))];
                own.into_iter().chain(player(4071.0)).collect()
            }
            (Self::Librtmp, _) => {
                let own = [
                    app,
                    ("flashVer", text("LNX 10,0,32,18")),
                    ("swfUrl", text(&tc_url)),
                    ("tcUrl", text(&tc_url)),
                ];
                own.into_iter().chain(player(3191.0)).chain([("pageUrl", text(&tc_url))]).collect()
            }
            (Self::Enhanced, _) => {
                let own = [app, ("flashVer", text("LNX 9,0,124,2")), ("tcUrl", text(&tc_url))];
                own.into_iter().chain(player(4071.0)).chain(capabilities()).collect()
            }
        }
    }

    /// The chunk stream of frames of a kind.
    pub(super) fn chunk_stream(self, kind: FrameKind) -> u8 {
        match (self, kind) {
            (Self::Ffmpeg, FrameKind::Video) => 6,
            _ => 4,
        }
    }
}

/// What a client of Enhanced RTMP v2 says of itself (section "Enhancing NetConnection connect Command").
fn capabilities() -> [(&'static str, Amf0Value); 4] {
    const CAN_DECODE: f64 = 1.0;
    let map = |codecs: &[&str]| {
        let entries = codecs.iter().map(|code| ((*code).to_owned(), Amf0Value::Number(CAN_DECODE)));
        Amf0Value::Object(entries.collect::<HashMap<_, _>>())
    };
    let (video, audio) = (["hvc1", "av01", "vp09"], ["Opus", "fLaC"]);
    let all = video.iter().chain(&audio).map(|code| text(code)).collect();
    [
        // Reconnect requests are followed, nothing else of it.
        ("capsEx", Amf0Value::Number(1.0)),
        ("fourCcList", Amf0Value::StrictArray(all)),
        ("videoFourCcInfoMap", map(&video)),
        ("audioFourCcInfoMap", map(&audio)),
    ]
}

/// What a status, a result or an error tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Status {
    pub(super) level: String,
    pub(super) code: String,
    pub(super) description: String,
}

impl Status {
    pub(super) fn of(command: &Command) -> Option<Self> {
        let info = command.arguments.iter().chain([&command.object]).find_map(|value| match value {
            Amf0Value::Object(info) if info.contains_key("code") => Some(info),
            _ => None,
        })?;
        let field = |name: &str| match info.get(name) {
            Some(Amf0Value::Utf8String(text)) => text.clone(),
            _ => String::new(),
        };
        Some(Self { level: field("level"), code: field("code"), description: field("description") })
    }

    pub(super) fn is_error(&self) -> bool {
        self.level.eq_ignore_ascii_case("error")
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, description, .. } = self;
        match description.is_empty() || description == code {
            true => f.write_str(code),
            false => write!(f, "{code} \"{description}\""),
        }
    }
}

/// The statuses of `onStatus` commands, in order.
pub(super) fn statuses(heard: &[Heard]) -> impl Iterator<Item = Status> {
    heard
        .iter()
        .filter_map(Heard::command)
        .filter(|command| command.name == "onStatus")
        .filter_map(Status::of)
}

/// The answer to a call: `_result` or `_error` with its transaction id.
pub(super) fn answer(heard: &[Heard], call: f64) -> Option<&Command> {
    heard.iter().filter_map(Heard::command).find(|command| {
        matches!(command.name.as_str(), "_result" | "_error") && (command.transaction - call).abs() < 0.5
    })
}

/// A client that has been let in.
pub(super) struct Peer {
    pub(super) session: Session,
    pub(super) dialect: Dialect,
    /// The message stream.
    pub(super) stream: u32,
    /// The call of `connect`, to find its answer again.
    connect: f64,
    /// Calls that clients make without need of an answer, by name.
    calls: Vec<(&'static str, f64)>,
    /// Where in `session.heard` what follows the request begins.
    pub(super) asked_at: usize,
    name: String,
}

/// Connects and shakes hands.
pub(super) async fn shake(target: &Target, dialect: Dialect) -> Result<(Session, Shaken), String> {
    let shaken = async {
        let dialled = dial(target.url.host(), target.url.port(), target.trust.as_ref()).await;
        let mut io = dialled.map_err(|why| format!("cannot be reached: {why}"))?;
        let shaken = handshake::shake(&mut *io, dialect.form()).await?;
        Ok((Session::new(io), shaken))
    };
    timeout(target.patience, shaken).await.map_err(|_| silence(target))?
}

/// Sends `connect` and waits for its answer.
pub(super) async fn connect(
    target: &Target,
    dialect: Dialect,
    role: Role,
    mut session: Session,
) -> Result<Peer, String> {
    if dialect == Dialect::Obs {
        session.set_chunk_size(OBS_CHUNK_SIZE).await?;
    }
    let fields = object(&dialect.connect_object(target, role));
    let connect = session.call(CONNECTION, 0, "connect", &fields, &[]).await?;
    await_answer(target, &mut session, connect).await?;
    if dialect == Dialect::Ffmpeg && role == Role::Publish {
        // It sends in chunks as large as the server's.
        let size = u32::try_from(session.chunk_size_of_server()).unwrap_or(u32::MAX);
        session.set_chunk_size(size).await?;
    }
    let calls = Vec::new();
    Ok(Peer { session, dialect, stream: 0, connect, calls, asked_at: 0, name: String::new() })
}

/// Waits for a `_result`; an `_error`, silence and the end of the connection are told in words.
async fn await_answer(target: &Target, session: &mut Session, call: f64) -> Result<(), String> {
    let listened = session.listen(target.until(), |heard| answer(heard, call).is_some()).await;
    match (answer(&session.heard, call), listened) {
        (Some(command), _) if command.name == "_result" => Ok(()),
        (Some(command), _) => {
            let status = Status::of(command).map_or_else(|| "_error".to_owned(), |status| status.to_string());
            Err(format!("refuses: {}", target.quote(&status)))
        }
        (None, Listened::Over(broken)) => Err(after_words(target, &session.heard, &broken)),
        (None, _) => Err(silence(target)),
    }
}

/// The end of a connection, with the last status before it.
fn after_words(target: &Target, heard: &[Heard], broken: &Broken) -> String {
    match statuses(heard).last() {
        Some(status) => format!("refuses: {}", target.quote(&status.to_string())),
        None => format!("{broken} without a word"),
    }
}

pub(super) fn silence(target: &Target) -> String {
    format!("does not answer within {} s", target.patience.as_secs())
}

impl Peer {
    /// All of it: connects as this client does, and asks for nothing yet.
    pub(super) async fn come(target: &Target, dialect: Dialect, role: Role) -> Result<Self, String> {
        let (session, _) = shake(target, dialect).await?;
        connect(target, dialect, role, session).await
    }

    /// What the server has said of itself in its answer to `connect`.
    pub(super) fn welcome(&self) -> Option<&Command> {
        answer(&self.session.heard, self.connect)
    }

    /// Which of the calls that need no answer have got one.
    pub(super) fn answered(&self) -> Vec<&'static str> {
        let is_answered = |call: f64| answer(&self.session.heard, call).is_some();
        self.calls.iter().filter(|(_, call)| is_answered(*call)).map(|(name, _)| *name).collect()
    }

    /// What has been said since the request.
    pub(super) fn since(&self) -> &[Heard] {
        self.session.heard.get(self.asked_at..).unwrap_or_default()
    }

    async fn ask(&mut self, name: &'static str, argument: &str) -> Result<(), String> {
        let call = self.session.call(CONNECTION, 0, name, &NULL, &[text(argument)]).await?;
        self.calls.push((name, call));
        Ok(())
    }

    /// `createStream`, and the number of the stream.
    async fn create_stream(&mut self, target: &Target) -> Result<(), String> {
        let call = self.session.call(CONNECTION, 0, "createStream", &NULL, &[]).await?;
        if self.dialect == Dialect::Librtmp {
            self.ask("FCSubscribe", &self.name.clone()).await?;
        }
        await_answer(target, &mut self.session, call).await?;
        let number = answer(&self.session.heard, call).and_then(|command| command.arguments.first());
        match number {
            Some(Amf0Value::Number(number)) if (1.0..65_536.0).contains(number) => {
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is in range")]
                let number = *number as u32;
                self.stream = number;
                Ok(())
            }
            _ => Err("answers createStream without the number of a stream".to_owned()),
        }
    }

    /// Asks to publish as OBS and ffmpeg do, and waits until the server has let it.
    pub(super) async fn publish(&mut self, target: &Target, name: &str) -> Result<(), String> {
        name.clone_into(&mut self.name);
        self.ask("releaseStream", name).await?;
        self.ask("FCPublish", name).await?;
        self.create_stream(target).await?;
        self.asked_at = self.session.heard.len();
        let arguments = [text(name), text("live")];
        self.session.call(STREAM, self.stream, "publish", &NULL, &arguments).await?;
        self.await_status(target, PUBLISH_START).await
    }

    /// Asks to play as this client does, and waits for `NetStream.Play.Start`: before it, no client takes a frame.
    pub(super) async fn play(&mut self, target: &Target, name: &str) -> Result<(), String> {
        self.ask_to_play(target, name).await?;
        self.await_status(target, PLAY_START).await
    }

    async fn ask_to_play(&mut self, target: &Target, name: &str) -> Result<(), String> {
        name.clone_into(&mut self.name);
        let is_librtmp = self.dialect == Dialect::Librtmp;
        self.session.control(Control::WindowAckSize(WINDOW)).await?;
        if is_librtmp {
            self.session.control(Control::SetBufferLength(0, 300)).await?;
            self.answer_bandwidth_check().await?;
        }
        self.create_stream(target).await?;
        if !is_librtmp {
            self.ask("getStreamLength", name).await?;
        }
        let (start, buffer) = if is_librtmp { (-1_000.0, 30_000) } else { (-2_000.0, 3_000) };
        self.asked_at = self.session.heard.len();
        let arguments = [text(name), Amf0Value::Number(start)];
        self.session.call(STREAM, self.stream, "play", &NULL, &arguments).await?;
        Ok(self.session.control(Control::SetBufferLength(self.stream, buffer)).await?)
    }

    /// Where the server has said `onBWDone`, librtmp asks it to measure.
    async fn answer_bandwidth_check(&mut self) -> Result<(), String> {
        let is_asked = self.session.heard.iter().filter_map(Heard::command).any(|c| c.name == "onBWDone");
        if is_asked {
            let call = self.session.call(CONNECTION, 0, "_checkbw", &NULL, &[]).await;
            self.calls.push(("_checkbw", call?));
        }
        Ok(())
    }

    async fn await_status(&mut self, target: &Target, wanted: &str) -> Result<(), String> {
        let from = self.asked_at;
        let calls = self.calls.clone();
        let is_there = |heard: &[Heard]| {
            let since = heard.get(from..).unwrap_or_default();
            let is_told = |status: Status| status.is_error() || status.code == wanted;
            statuses(since).any(is_told) || refusal(since, &calls).is_some()
        };
        let listened = self.session.listen(target.until(), is_there).await;
        self.verdict(target, &listened)
    }

    fn verdict(&self, target: &Target, listened: &Listened) -> Result<(), String> {
        let since = self.since();
        if let Some(status) = statuses(since).find(Status::is_error).or_else(|| refusal(since, &self.calls)) {
            return Err(format!("refuses: {}", target.quote(&status.to_string())));
        }
        match listened {
            Listened::Enough => Ok(()),
            Listened::Silent if since.iter().any(is_media) => {
                Err(format!("sends frames and never {PLAY_START}, for which the client waits"))
            }
            Listened::Silent => Err(silence(target)),
            Listened::Over(broken) => Err(after_words(target, since, broken)),
        }
    }

    /// Sends a command on the message stream.
    pub(super) async fn command(&mut self, name: &str, arguments: &[Amf0Value]) -> Result<f64, Broken> {
        self.session.call(STREAM, self.stream, name, &NULL, arguments).await
    }

    /// Leaves as OBS and ffmpeg do.
    pub(super) async fn leave(&mut self, role: Role) -> Result<(), Broken> {
        if role == Role::Publish {
            let name = [text(&self.name)];
            self.session.call(CONNECTION, 0, "FCUnpublish", &NULL, &name).await?;
        }
        let stream = [Amf0Value::Number(self.stream.into())];
        self.session.call(CONNECTION, 0, "deleteStream", &NULL, &stream).await.map(|_| ())
    }
}

fn is_media(heard: &Heard) -> bool {
    heard.frame().is_some_and(|frame| frame.has_media())
}

/// An `_error` that comes in place of a status, as some servers refuse; not one to a call that needs no answer.
fn refusal(since: &[Heard], calls: &[(&'static str, f64)]) -> Option<Status> {
    let is_of = |transaction: f64| calls.iter().any(|(_, call)| (call - transaction).abs() < 0.5);
    let mut errors = since.iter().filter_map(Heard::command).filter(|command| command.name == "_error");
    Status::of(errors.find(|command| !is_of(command.transaction))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use streamengine::proto::message::Decoded;

    fn target(url: &str) -> Target {
        Target { url: url.parse().unwrap(), trust: None, patience: Duration::from_secs(1) }
    }

    #[test]
    fn ffmpeg_names_the_port_and_others_do_not() {
        for (url, with_port) in [
            ("rtmp://h/live/a", "rtmp://h:1935/live"),
            ("rtmp://h:1936/live/a", "rtmp://h:1936/live"),
            ("rtmps://[::1]/live/a", "rtmps://[::1]:443/live"),
            ("rtmp://[::1]:7/live/a", "rtmp://[::1]:7/live"),
        ] {
            assert_eq!(target(url).tc_url_with_port(), with_port, "{url}");
        }
    }

    fn heard(what: Decoded) -> Heard {
        Heard { at: Instant::now(), stream: 1, time: 0, what }
    }

    fn said(name: &str, transaction: f64, level: &str, code: &str) -> Heard {
        let field = |name: &str, value: &str| (name.to_owned(), text(value));
        let info = HashMap::from([field("level", level), field("code", code)]);
        heard(Decoded::Command(Command {
            name: name.to_owned(),
            transaction,
            object: Amf0Value::Null,
            arguments: vec![Amf0Value::Object(info)],
        }))
    }

    #[test]
    fn refusals_silence_and_frames_without_a_start_are_told_apart() {
        let target = target("rtmp://h/live/a");
        let verdict = |since: Vec<Heard>, listened: Listened| {
            let mut session = Session::new(Box::new(tokio::io::duplex(1).0));
            session.heard = since;
            let (dialect, name, calls) = (Dialect::Ffmpeg, String::new(), vec![("getStreamLength", 4.0)]);
            Peer { session, dialect, stream: 1, connect: 1.0, calls, asked_at: 0, name }
                .verdict(&target, &listened)
        };
        let over = || Listened::Over(Broken("closes the connection".to_owned()));
        let frame = heard(Decoded::Video(b"\x17\x01\0\0\0\0\0\0\x01\x65".as_slice().into()));
        let unknown = said("_error", 4.0, "error", "NetConnection.Call.Failed");
        assert_eq!(verdict(vec![unknown], Listened::Enough), Ok(()));
        for (since, listened, words) in [
            (vec![said("onStatus", 0.0, "error", "No")], Listened::Enough, "refuses: No"),
            (vec![said("_error", 5.0, "error", "No")], Listened::Enough, "refuses: No"),
            (vec![said("onStatus", 0.0, "status", "Bye")], over(), "refuses: Bye"),
            (vec![], over(), "closes the connection without a word"),
            (vec![], Listened::Silent, "does not answer within 1 s"),
            (
                vec![frame],
                Listened::Silent,
                "sends frames and never NetStream.Play.Start, for which the client waits",
            ),
        ] {
            assert_eq!(verdict(since, listened), Err(words.to_owned()));
        }
    }

    #[test]
    fn a_key_that_the_server_repeats_is_masked() {
        let target = target("rtmp://h/live/a?key=s3cret");
        assert_eq!(target.quote("no a?key=s3cret\u{1b}"), "no a?***\\u{1b}");
    }

    #[test]
    fn long_words_of_a_server_are_cut_between_two_characters_and_say_so() {
        let target = target("rtmp://h/live/a?key=s3cret");
        for character in ["x", "ü", "語", "🎥"] {
            let said = character.repeat(128);
            assert_eq!(target.quote(&said), said);
            assert_eq!(target.quote(&format!("{said}{character}")), format!("{said}…"));
        }
        // What is secret is taken away before anything is cut.
        let said = target.quote(&format!("{}a?key=s3cret", "x".repeat(120)));
        assert_eq!(said, format!("{}a?***", "x".repeat(120)));
    }
}
