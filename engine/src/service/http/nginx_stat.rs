//! nginx-rtmp's statistics, element for element, for what reads them (`ngx_rtmp_stat_module` 1.2.2); and the same in the JSON of
//! nginx-http-flv.
//!
//! Where a reader would take an absent element for a fault, it is there: every application has `live`, every stream `meta`. Of
//! applications the busiest comes first, as nginx-rtmp-monitoring shows the first alone.

use super::pages::STAT_STYLE;
use crate::config::Config;
use crate::media::flv::Codec;
use crate::statistics::{AudioTrack, Snapshot, StreamStats, VideoTrack};
use crate::status::{SessionInfo, SessionRole, StreamState};
use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesPI, BytesText, Event};
use serde_json::{Value, json};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::io;

/// The app that is told of where there is no other: readers expect one.
const USUAL_APP: &str = "live";
/// What stands where nginx tells of itself.
const SOFTWARE: &str = concat!("streamengine/", env!("CARGO_PKG_VERSION"));
/// The form's version, as nginx-rtmp 1.2.2 tells it.
const FORM_VERSION: &str = "1.1.4";

type Xml = Writer<Vec<u8>>;

/// An application with its streams.
struct App<'a> {
    name: &'a str,
    streams: Vec<Stream<'a>>,
}

/// A stream with its connections, the newest first.
struct Stream<'a> {
    stats: &'a StreamStats,
    clients: Vec<&'a SessionInfo>,
}

impl App<'_> {
    fn clients(&self) -> usize {
        self.streams.iter().map(Stream::count).sum()
    }

    fn bits(&self) -> u64 {
        self.streams
            .iter()
            .map(|stream| stream.stats.rates.bits_in.saturating_add(stream.stats.rates.bits_out))
            .sum()
    }
}

impl Stream<'_> {
    fn is_live(&self) -> bool {
        self.stats.info.state == StreamState::Live
    }

    /// With the publisher, also where that is no connection: a file, a relay, the program.
    fn count(&self) -> usize {
        let publishers = self.clients.iter().filter(|client| client.role == SessionRole::Publisher).count();
        self.clients.len() + usize::from(self.is_live() && publishers == 0)
    }
}

/// All applications, the busiest first: those that are configured, and those that have streams.
fn apps<'a>(snapshot: &'a Snapshot, config: &'a Config) -> Vec<App<'a>> {
    let mut clients = BTreeMap::<_, Vec<_>>::new();
    for session in snapshot.sessions.iter().rev() {
        if let (SessionRole::Publisher | SessionRole::Player, Some(stream)) = (session.role, &session.stream)
        {
            clients.entry(stream).or_default().push(session);
        }
    }
    let mut apps: BTreeMap<_, Vec<_>> = config.apps.keys().map(|name| (name.as_str(), Vec::new())).collect();
    for stats in snapshot.streams.iter().filter(|stats| stats.info.state != StreamState::Ended) {
        let clients = clients.remove(&stats.info.key).unwrap_or_default();
        apps.entry(stats.info.key.app()).or_default().push(Stream { stats, clients });
    }
    if apps.is_empty() {
        apps.insert(USUAL_APP, Vec::new());
    }
    let mut apps: Vec<_> = apps.into_iter().map(|(name, streams)| App { name, streams }).collect();
    apps.sort_by_cached_key(|app| (Reverse(app.bits()), Reverse(app.clients()), app.name));
    apps
}

/// In XML.
pub(super) fn xml(snapshot: &Snapshot, config: &Config) -> Vec<u8> {
    let mut xml = Writer::new_with_indent(Vec::new(), b' ', 0);
    // A vector takes all that is written.
    let _ = write(&mut xml, snapshot, config);
    xml.into_inner()
}

fn write(xml: &mut Xml, snapshot: &Snapshot, config: &Config) -> io::Result<()> {
    xml.write_event(Event::Decl(BytesDecl::new("1.0", Some("utf-8"), None)))?;
    let style = format!("xml-stylesheet type=\"text/css\" href=\"/assets/{}\"", STAT_STYLE.0);
    xml.write_event(Event::PI(BytesPI::new(style)))?;
    let engine = &snapshot.engine;
    let root = xml.create_element("rtmp").write_inner_content(|xml| {
        leaf(xml, "nginx_version", SOFTWARE)?;
        leaf(xml, "nginx_rtmp_version", FORM_VERSION)?;
        leaf(xml, "compiler", "rustc")?;
        leaf(xml, "built", "")?;
        leaf(xml, "pid", std::process::id())?;
        leaf(xml, "uptime", engine.uptime.as_secs())?;
        leaf(xml, "naccepted", engine.connections_accepted)?;
        leaf(xml, "bw_in", snapshot.rates.bits_in)?;
        leaf(xml, "bytes_in", engine.bytes_in)?;
        leaf(xml, "bw_out", snapshot.rates.bits_out)?;
        leaf(xml, "bytes_out", engine.bytes_out)?;
        within(xml, "server", |xml| apps(snapshot, config).iter().try_for_each(|app| write_app(xml, app)))
    });
    root.map(drop)
}

fn write_app(xml: &mut Xml, app: &App<'_>) -> io::Result<()> {
    within(xml, "application", |xml| {
        leaf(xml, "name", app.name)?;
        within(xml, "live", |xml| {
            app.streams.iter().try_for_each(|stream| write_stream(xml, stream))?;
            leaf(xml, "nclients", app.clients())
        })
    })
}

fn write_stream(xml: &mut Xml, stream: &Stream<'_>) -> io::Result<()> {
    let StreamStats { info, rates, video, audio, .. } = stream.stats;
    within(xml, "stream", |xml| {
        leaf(xml, "name", info.key.stream())?;
        leaf(xml, "time", info.uptime.as_millis())?;
        leaf(xml, "bw_in", rates.bits_in)?;
        leaf(xml, "bytes_in", info.bytes_in)?;
        leaf(xml, "bw_out", rates.bits_out)?;
        leaf(xml, "bytes_out", info.bytes_out)?;
        leaf(xml, "bw_audio", rates.audio)?;
        leaf(xml, "bw_video", rates.video)?;
        stream.clients.iter().try_for_each(|client| write_client(xml, client, stream))?;
        within(xml, "meta", |xml| {
            within(xml, "video", |xml| write_video(xml, video.as_ref(), frame_rate(stream)))?;
            within(xml, "audio", |xml| write_audio(xml, audio.as_ref()))
        })?;
        leaf(xml, "nclients", stream.count())?;
        write_state(xml, stream.is_live(), stream.is_live())
    })
}

fn write_client(xml: &mut Xml, client: &SessionInfo, stream: &Stream<'_>) -> io::Result<()> {
    let Times { skew, newest } = Times::of(client, stream);
    within(xml, "client", |xml| {
        leaf(xml, "id", client.id)?;
        leaf(xml, "address", client.peer.ip().to_canonical())?;
        leaf(xml, "time", client.uptime.as_millis())?;
        for (name, text) in [("flashver", &client.agent), ("pageurl", &client.page), ("swfurl", &client.swf)]
        {
            text.as_ref().map_or(Ok(()), |text| leaf(xml, name, text))?;
        }
        leaf(xml, "dropped", client.frames_dropped)?;
        leaf(xml, "avsync", skew)?;
        leaf(xml, "timestamp", newest)?;
        write_state(xml, client.role == SessionRole::Publisher, stream.is_live())
    })
}

fn write_state(xml: &mut Xml, is_publishing: bool, is_active: bool) -> io::Result<()> {
    for (name, is_so) in [("publishing", is_publishing), ("active", is_active)] {
        if is_so {
            xml.create_element(name).write_empty()?;
        }
    }
    Ok(())
}

fn write_video(xml: &mut Xml, video: Option<&VideoTrack>, frame_rate: u64) -> io::Result<()> {
    leaf(xml, "width", video.and_then(|video| video.width).unwrap_or_default())?;
    leaf(xml, "height", video.and_then(|video| video.height).unwrap_or_default())?;
    leaf(xml, "frame_rate", frame_rate)?;
    let Some(video) = video else { return Ok(()) };
    leaf(xml, "codec", codec_name(video.codec))?;
    if video.codec != Codec::H264 {
        return Ok(());
    }
    if video.profile_id.is_some() {
        leaf(xml, "profile", avc_profile(video))?;
    }
    if let (Some(compatibility), Some(level)) = (video.compatibility, video.level) {
        leaf(xml, "compat", compatibility)?;
        leaf(xml, "level", format_args!("{level:.1}"))?;
    }
    Ok(())
}

fn write_audio(xml: &mut Xml, audio: Option<&AudioTrack>) -> io::Result<()> {
    let Some(audio) = audio else { return Ok(()) };
    leaf(xml, "codec", codec_name(audio.codec))?;
    audio.profile.map_or(Ok(()), |profile| leaf(xml, "profile", profile))?;
    audio.channels.map_or(Ok(()), |channels| leaf(xml, "channels", channels))?;
    audio.sample_rate.map_or(Ok(()), |rate| leaf(xml, "sample_rate", rate))
}

fn within(
    xml: &mut Xml,
    name: &'static str,
    content: impl FnOnce(&mut Xml) -> io::Result<()>,
) -> io::Result<()> {
    xml.create_element(name).write_inner_content(content).map(drop)
}

fn leaf(xml: &mut Xml, name: &'static str, value: impl Display) -> io::Result<()> {
    // What XML cannot hold, or people would not see.
    let is_shown = |c: char| !c.is_control() && !matches!(c, '\u{fffe}' | '\u{ffff}');
    let text: String = value.to_string().chars().map(|c| if is_shown(c) { c } else { ' ' }).collect();
    xml.create_element(name).write_text_content(BytesText::new(&text)).map(drop)
}

/// Where a connection is in the stream.
struct Times {
    /// Newest audio minus newest video.
    skew: i64,
    newest: i64,
}

impl Times {
    fn of(client: &SessionInfo, stream: &Stream<'_>) -> Self {
        let (skew, newest) = match client.role {
            SessionRole::Publisher => (stream.stats.info.skew_ms, stream.stats.info.timestamp),
            SessionRole::Player | SessionRole::Pending => (client.skew_ms, client.timestamp),
        };
        Self { skew: skew.unwrap_or_default(), newest: newest.unwrap_or_default().max(0) }
    }
}

/// A whole number, as nginx-rtmp has it.
fn frame_rate(stream: &Stream<'_>) -> u64 {
    stream.stats.frame_rate.round() as u64
}

/// What nginx-rtmp calls a codec; those that it does not know go by the same pattern.
fn codec_name(codec: Codec) -> String {
    let name = match codec {
        Codec::H264 => "H264",
        Codec::Hevc => "H265",
        Codec::Vvc => "H266",
        Codec::SorensonH263 => "Sorenson-H263",
        Codec::Vp6 => "On2-VP6",
        Codec::ScreenVideo => "ScreenVideo",
        Codec::Pcm => "LinearLE",
        Codec::G711a => "G711A",
        Codec::G711u => "G711U",
        Codec::Ac3 => "AC3",
        Codec::Eac3 => "EAC3",
        other => return other.to_string(),
    };
    name.to_owned()
}

/// Empty for profiles that nginx-rtmp does not know.
fn avc_profile(video: &VideoTrack) -> &'static str {
    video.profile.filter(|name| matches!(*name, "Baseline" | "Main" | "High")).unwrap_or_default()
}

/// In JSON.
pub(super) fn json(snapshot: &Snapshot, config: &Config) -> Vec<u8> {
    let engine = &snapshot.engine;
    let apps: Vec<_> = apps(snapshot, config).iter().map(json_of_app).collect();
    let told = json!({ "http-flv": {
        "nginx_version": SOFTWARE,
        "nginx_rtmp_version": FORM_VERSION,
        "compiler": "rustc",
        "built": "",
        "pid": std::process::id(),
        "uptime": engine.uptime.as_secs(),
        "naccepted": engine.connections_accepted,
        "bw_in": snapshot.rates.bits_in,
        "bytes_in": engine.bytes_in,
        "bw_out": snapshot.rates.bits_out,
        "bytes_out": engine.bytes_out,
        "servers": [{
            "port": config.rtmp.listen.first().map_or(0, |address| address.port()),
            "server_index": 0,
            "applications": apps,
        }],
    }});
    told.to_string().into_bytes()
}

fn json_of_app(app: &App<'_>) -> Value {
    let streams: Vec<_> = app.streams.iter().map(json_of_stream).collect();
    json!({
        "name": app.name,
        "live": { "streams": streams, "nclients": app.clients() },
        "recorders": { "count": 0, "lists": [] },
    })
}

fn json_of_stream(stream: &Stream<'_>) -> Value {
    let StreamStats { info, rates, video, audio, .. } = stream.stats;
    let clients: Vec<_> = stream.clients.iter().map(|client| json_of_client(client, stream)).collect();
    let video = video.as_ref().map(|video| {
        json!({
            "width": video.width.unwrap_or_default(),
            "height": video.height.unwrap_or_default(),
            "frame_rate": frame_rate(stream),
            "codec": codec_name(video.codec),
            "profile": avc_profile(video),
            "compat": video.compatibility.unwrap_or_default(),
            "level": video.level.unwrap_or_default(),
        })
    });
    let audio = audio.as_ref().map(|audio| {
        json!({
            "codec": codec_name(audio.codec),
            "profile": audio.profile.unwrap_or_default(),
            "channels": audio.channels.unwrap_or_default(),
            "sample_rate": audio.sample_rate.unwrap_or_default(),
        })
    });
    json!({
        "name": info.key.stream(),
        "time": info.uptime.as_millis() as u64,
        "bw_in": rates.bits_in,
        "bytes_in": info.bytes_in,
        "bw_out": rates.bits_out,
        "bytes_out": info.bytes_out,
        "bw_audio": rates.audio,
        "bw_video": rates.video,
        "clients": clients,
        "records": [],
        "meta": { "video": video.unwrap_or(json!({})), "audio": audio.unwrap_or(json!({})) },
        "nclients": stream.count(),
        "publishing": stream.is_live(),
        "active": stream.is_live(),
    })
}

fn json_of_client(client: &SessionInfo, stream: &Stream<'_>) -> Value {
    let Times { skew, newest } = Times::of(client, stream);
    json!({
        "id": client.id,
        "address": client.peer.ip().to_canonical(),
        "time": client.uptime.as_millis() as u64,
        "flashver": client.agent.as_deref().unwrap_or_default(),
        "pageurl": client.page.as_deref().unwrap_or_default(),
        "swfurl": client.swf.as_deref().unwrap_or_default(),
        "dropped": client.frames_dropped,
        "avsync": skew,
        "timestamp": newest,
        "publishing": client.role == SessionRole::Publisher,
        "active": stream.is_live(),
    })
}

#[cfg(test)]
mod tests;
