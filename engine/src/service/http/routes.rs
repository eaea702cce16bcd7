//! What the path and the query of a request name: the only place that takes them apart.
//!
//! Parts stay as they were sent. They are decoded, once, where [`StreamKey`](crate::StreamKey) checks them, so that a name has
//! the same verdict here as on every other door.

use crate::config::is_alias;
use crate::files::start_of_recording;
use crate::hls::rendition_of_playlist;
use crate::key::{KeyError, StreamKey, StreamName};
use crate::media::FrameKind;
use crate::record::is_recording;
use crate::service::streams::PlayWishes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Ends of paths that name a stream, and how it is wanted; the longer ones first.
const ENDINGS: [(&str, Container); 3] =
    [(".live.flv", Container::Flv), (".flv", Container::Flv), (".mp4", Container::Mp4)];

/// Where streams are named by the query: `/live?app=APP&stream=STREAM`.
const BY_QUERY: &str = "/live";

/// No alias can be called so.
const NO_ALIAS: &str = "_";
/// The list of live streams.
pub(super) const LIST: &str = "/streams";
/// What the paths of players' pages begin with.
const PLAYER: &str = "/play/";
/// The same of those from which one publishes.
const PUBLISHER: &str = "/publish/";
/// The same of those of recordings.
const RECORDINGS: &str = "/recordings/";
/// The same of the files that pages need.
const ASSET: &str = "/assets/";

/// What a stream comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Container {
    Flv,
    /// Fragments of it.
    Mp4,
}

/// The names in a URL of a stream, as they were sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct StreamUrl {
    pub(super) container: Container,
    pub(super) app: String,
    /// The stream, and the query behind a question mark.
    pub(super) name: String,
}

impl StreamUrl {
    /// The stream that a path and a query name; none where they name something else.
    pub(super) fn find(path: &str, query: Option<&str>) -> Option<Self> {
        let query = query.unwrap_or_default();
        let ended =
            ENDINGS.iter().find_map(|(ending, container)| Some((path.strip_suffix(ending)?, *container)));
        let ((app, stream), container) = match ended {
            Some((name, container)) => {
                let (app, stream) = name.rsplit_once('/')?;
                ((app.to_owned(), stream.to_owned()), container)
            }
            None => (of_query(path, query)?, Container::Flv),
        };
        Some(Self { container, app, name: format!("{stream}?{query}") })
    }

    /// The stream that a path names as it is, which is how publishers by WebSocket name theirs.
    pub(super) fn of_publisher(path: &str, query: Option<&str>) -> Option<Self> {
        let (app, stream) = path.rsplit_once('/')?;
        let name = format!("{stream}?{}", query.unwrap_or_default());
        Some(Self { container: Container::Flv, app: app.to_owned(), name })
    }
}

/// What of HLS a path names.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HlsUrl<'a> {
    /// The multivariant playlist of a stream. Where that is not in the stream's folder, `up` leads to the one of all apps.
    Index { stream: StreamUrl, up: Option<&'static str> },
    /// One of these.
    Playlist { stream: StreamUrl, rendition: usize },
    /// The newest keyframe.
    Poster { stream: StreamUrl },
    /// Media.
    Media { epoch: &'a str, file: &'a str },
}

impl<'a> HlsUrl<'a> {
    /// What a path and a query name; none where that is something else. Streams of `nginx_app` are there in the places of nginx-rtmp,
    /// too: `/hls/NAME.m3u8` and `/hls/NAME/index.m3u8`.
    pub(super) fn find(path: &'a str, query: Option<&str>, nginx_app: &str) -> Option<Self> {
        let (folder, file) = path.strip_prefix('/')?.rsplit_once('/')?;
        let stream = |app: &str, stream: &str| StreamUrl {
            container: Container::Mp4,
            app: format!("/{app}"),
            name: format!("{stream}?{}", query.unwrap_or_default()),
        };
        if let Some(name) = nginx_name(path).filter(|_| !nginx_app.is_empty()) {
            let up = Some(if file == INDEX { "../../" } else { "../" });
            return Some(Self::Index { stream: stream(nginx_app, name), up });
        }
        if let Some((_, epoch)) = folder.rsplit_once('/').filter(|(_, epoch)| is_epoch(epoch))
            && [".m4s", ".mp4", ".ts"].iter().any(|ending| file.ends_with(ending))
        {
            return Some(Self::Media { epoch, file });
        }
        let (app, name) = folder.rsplit_once('/')?;
        let stream = stream(app, name);
        match file {
            POSTER => Some(Self::Poster { stream }),
            INDEX | INDEX_OF_MEDIAMTX => Some(Self::Index { stream, up: None }),
            _ => Some(Self::Playlist { stream, rendition: rendition_of_playlist(file)? }),
        }
    }
}

/// What of a stream's recordings a path names.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RecordingUrl<'a> {
    pub(super) stream: StreamUrl,
    pub(super) wanted: Wanted<'a>,
}

/// What is wanted of recordings.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wanted<'a> {
    /// Which there are.
    List,
    /// All that are MP4, as HLS.
    Playlist,
    /// One of these, by its name without its end.
    PlaylistOf(&'a str),
    File(&'a str),
}

impl<'a> RecordingUrl<'a> {
    /// What a path and a query name; none where that is something else.
    pub(super) fn find(path: &'a str, query: Option<&str>) -> Option<Self> {
        let rest = path.strip_prefix(RECORDINGS)?.trim_end_matches('/');
        let (folder, file) = rest.rsplit_once('/')?;
        let wanted = match (file, file.strip_suffix(".m3u8")) {
            (INDEX, _) => Wanted::Playlist,
            (_, Some(name)) if start_of_recording(name).is_some() => Wanted::PlaylistOf(name),
            _ if is_recording(file) => Wanted::File(file),
            _ => Wanted::List,
        };
        let name = if wanted == Wanted::List { rest } else { folder };
        let (app, stream) = name.rsplit_once('/')?;
        let stream = StreamUrl {
            container: Container::Mp4,
            app: format!("/{app}"),
            name: format!("{stream}?{}", query.unwrap_or_default()),
        };
        Some(Self { stream, wanted })
    }
}

/// The multivariant playlist in the folder of a stream.
const INDEX: &str = "index.m3u8";
const INDEX_OF_MEDIAMTX: &str = "stream.m3u8";
/// The picture of a stream, there too. A stream of that name is reached by every other ending.
const POSTER: &str = "keyframe.mp4";

/// The stream that a path names as those of nginx-rtmp do.
fn nginx_name(path: &str) -> Option<&str> {
    let rest = path.strip_prefix("/hls/")?;
    let nested = rest.strip_suffix(INDEX).and_then(|rest| rest.strip_suffix('/'));
    let name = nested.or_else(|| rest.strip_suffix(".m3u8"))?;
    (!name.is_empty() && !name.contains('/')).then_some(name)
}

/// Whether a part of a path is the folder of a stream's media.
fn is_epoch(part: &str) -> bool {
    part.len() == 32 && part.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// What is for browsers to look at, as a path names it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PageUrl<'a> {
    /// The dashboard, or the list of live streams.
    Index,
    /// The list of live streams.
    List,
    /// The page of a player.
    Player(Result<StreamKey, KeyError>),
    /// The page of a publisher.
    Publisher(Result<StreamKey, KeyError>),
    /// A file that a page needs.
    Asset(&'a str),
}

impl<'a> PageUrl<'a> {
    /// What a path names that is no [`StreamUrl`].
    pub(super) fn find(path: &'a str) -> Option<Self> {
        match path {
            "/" => return Some(Self::Index),
            LIST => return Some(Self::List),
            _ => {}
        }
        if let Some(name) = path.strip_prefix(ASSET) {
            return Some(Self::Asset(name));
        }
        let stream = |name: &str| name.rsplit_once('/').map(|(app, stream)| StreamKey::new(app, stream));
        match (path.strip_prefix(PLAYER), path.strip_prefix(PUBLISHER)) {
            (Some(name), _) => stream(name).map(Self::Player),
            (_, Some(name)) => stream(name).map(Self::Publisher),
            (None, None) => None,
        }
    }
}

/// Whether a path is one of the API. Streams of apps that are called so are reached as all are: what ends as they do is theirs, unless
/// a slash is encoded in its last part, as in no name of theirs.
pub(super) fn is_of_api(path: &str) -> bool {
    let Some((_, last)) = path.strip_prefix("/api/").and(path.rsplit_once('/')) else { return false };
    let ends_as_streams_do =
        [".flv", ".mp4", ".m3u8", ".m4s", ".ts"].iter().any(|ending| last.ends_with(ending));
    !ends_as_streams_do || last.contains("%2F") || last.contains("%2f")
}

/// What is for those who manage the engine, as a path names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ManageUrl<'a> {
    /// nginx-rtmp's statistics.
    Stat,
    /// Prometheus' metrics.
    Metrics,
    /// nginx-rtmp's control.
    Control(ControlUrl<'a>),
}

impl<'a> ManageUrl<'a> {
    /// What a path names.
    pub(super) fn find(path: &'a str) -> Option<Self> {
        match path {
            "/stat" | "/stat.xml" => Some(Self::Stat),
            "/metrics" => Some(Self::Metrics),
            _ => ControlUrl::find(path).map(Self::Control),
        }
    }
}

/// What a control URL is about, as its path names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ControlUrl<'a> {
    /// To end connections of this kind.
    Drop(&'a str),
    /// To move them.
    Redirect(&'a str),
    /// To record, or to stop that.
    Record(&'a str),
}

impl<'a> ControlUrl<'a> {
    /// What a path names.
    pub(super) fn find(path: &'a str) -> Option<Self> {
        let (section, action) = path.strip_prefix("/control/")?.split_once('/')?;
        match section {
            _ if action.contains(['.', '/']) => None,
            "drop" => Some(Self::Drop(action)),
            "redirect" => Some(Self::Redirect(action)),
            "record" => Some(Self::Record(action)),
            _ => None,
        }
    }
}

/// The folder of a stream, in the one of all apps.
pub(super) fn folder_of(key: &StreamKey) -> String {
    in_path(key) + "/"
}

/// The path of the page that plays a stream.
pub(super) fn page_of(key: &StreamKey) -> String {
    PLAYER.to_owned() + &in_path(key)
}

/// The path of a stream itself, as FLV.
pub(super) fn flv_of(key: &StreamKey) -> String {
    format!("/{}.flv", in_path(key))
}

/// The path of the newest keyframe of a stream.
pub(super) fn poster_of(key: &StreamKey) -> String {
    format!("/{}{POSTER}", folder_of(key))
}

/// A name in a path, so that nothing of it is taken for one of our endings.
fn in_path(key: &StreamKey) -> String {
    const KEPT: AsciiSet = NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~');
    let path = utf8_percent_encode(key.as_str(), &KEPT).to_string();
    let ending =
        [".flv", ".live", ".mp4"].into_iter().find_map(|ending| Some((path.strip_suffix(ending)?, ending)));
    match ending {
        Some((start, ending)) => format!("{start}%2E{}", &ending[1..]),
        None => path,
    }
}

/// As players of nginx-http-flv name streams; their `port` tells nothing here. `src` names an origin by its alias, and
/// nothing else: what is no alias is one that there is not.
fn of_query(path: &str, query: &str) -> Option<(String, String)> {
    let value = |field| query_value(query, field).map(path_of);
    let (app, stream) = (value("app"), value("stream"));
    let names_one = path == BY_QUERY && (app.is_some() || stream.is_some());
    let app = app.unwrap_or_default();
    let app = match value("src") {
        Some(alias) => format!("origin/{}/{app}", if is_alias(&alias) { &alias } else { NO_ALIAS }),
        None => app,
    };
    names_one.then(|| (app, stream.unwrap_or_default()))
}

/// The value of a field in a query, as it was sent; the first one where it is repeated.
pub(super) fn query_value<'a>(query: &'a str, field: &str) -> Option<&'a str> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find_map(|(name, value)| (name == field).then_some(value))
}

/// A value of a query as part of a path: there, slashes may be encoded, and question marks need not be.
fn path_of(value: &str) -> String {
    value.replace("%2F", "/").replace("%2f", "/").replace('?', "%3F")
}

/// What a player asks for in the query of its URL. Values that mean nothing here are not heard.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Wishes {
    pub(super) play: PlayWishes,
    /// The only kind that it wants.
    pub(super) only: Option<FrameKind>,
    /// Time is to begin at 0 for it.
    pub(super) from_zero: bool,
    /// Payloads as they were published, also where browsers' players do not know them.
    pub(super) as_published: bool,
}

impl Wishes {
    pub(super) fn of(name: &StreamName) -> Self {
        let value = |field| name.query_value(field);
        let has = |field, wanted: &str| value(field).as_deref() == Some(wanted);
        Self {
            play: PlayWishes::of(name),
            only: match value("only").as_deref() {
                Some("audio") => Some(FrameKind::Audio),
                Some("video") => Some(FrameKind::Video),
                _ => None,
            },
            from_zero: has("time", "zero"),
            as_published: has("enhanced", "full"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{KeyError, StreamKey};
    use crate::policy::StartAt;
    use proptest::prelude::*;
    use std::time::Duration;

    fn parse(path: &str, query: Option<&str>) -> Option<Result<StreamName, KeyError>> {
        StreamUrl::find(path, query).map(|url| StreamName::parse_without_key(&url.app, &url.name))
    }

    fn key(path: &str, query: Option<&str>) -> Option<Result<String, KeyError>> {
        parse(path, query).map(|name| name.map(|name| name.key.to_string()))
    }

    #[test]
    fn what_is_for_those_who_manage_the_engine_takes_no_stream_its_name() {
        for (path, expected) in [
            ("/stat", Some(ManageUrl::Stat)),
            ("/stat.xml", Some(ManageUrl::Stat)),
            ("/metrics", Some(ManageUrl::Metrics)),
            ("/control/drop/client", Some(ManageUrl::Control(ControlUrl::Drop("client")))),
            ("/control/redirect/subscriber", Some(ManageUrl::Control(ControlUrl::Redirect("subscriber")))),
            ("/control/record/start", Some(ManageUrl::Control(ControlUrl::Record("start")))),
            ("/stat/", None),
            ("/control/drop", None),
            ("/control/other/client", None),
            ("/stat/metrics.flv", None),
            ("/control/drop.flv", None),
        ] {
            assert_eq!(ManageUrl::find(path), expected, "{path}");
        }
        // Streams in an app `control/drop` are there.
        assert_eq!(ManageUrl::find("/control/drop/a.flv"), None);
    }

    #[test]
    fn the_api_takes_no_stream_its_name() {
        for path in [
            "/api/v1/streams",
            "/api/",
            "/api/v1/openapi.json",
            "/api/v1/streams/live%2Fa.flv",
            "/api/v1/streams/a%2fb.mp4",
        ] {
            assert!(is_of_api(path), "{path}");
        }
        for path in [
            "/api",
            "/apis/a",
            "/api/v1/streams.flv",
            "/api/a.mp4",
            "/api/v1/streams/index.m3u8",
            "/api/v1/0123456789abcdef0123456789abcdef/v5.m4s",
        ] {
            assert!(!is_of_api(path), "{path}");
        }
    }

    #[test]
    fn a_path_or_a_query_names_a_stream() {
        for (path, query, expected) in [
            ("/live/a.flv", None, "live/a"),
            ("/live/a.live.flv", None, "live/a"),
            ("/live/room/a.flv", Some("key=5"), "live/room/a"),
            ("/live/a.flv.flv", None, "live/a.flv"),
            ("/live/a.mp4", Some("key=5"), "live/a"),
            ("/live/a.flv.mp4", None, "live/a.flv"),
            ("/live/a.mp4.live.flv", None, "live/a.mp4"),
            ("/live/%E7%9B%B4%e6%92%AD.flv", None, "live/直播"),
            ("/live", Some("app=myapp&stream=test"), "myapp/test"),
            ("/live", Some("port=1935&app=my%2Froom&stream=te%73t&key=x"), "my/room/test"),
            ("/live", Some("stream=b&stream=c&app=a"), "a/b"),
            ("/live", Some("src=a&app=myapp&stream=test&port=1935"), "origin/a/myapp/test"),
            ("/live", Some("src=http://h/x.flv&app=myapp&stream=test"), "origin/_/myapp/test"),
            ("/live", Some("src=a/b&app=myapp&stream=test"), "origin/_/myapp/test"),
            ("/live", Some("src=&app=myapp&stream=test"), "origin/_/myapp/test"),
            ("/origin/a/myapp/test.flv", None, "origin/a/myapp/test"),
        ] {
            assert_eq!(key(path, query), Some(Ok(expected.to_owned())), "{path} {query:?}");
        }
        for path in [
            "/",
            "/live",
            "/live/a",
            "/live/a.flvx",
            "/live/a.FLV",
            "/live/a.mp4/",
            "/live/a.m4s",
            "/a/live?app=x",
            "*",
            "",
        ] {
            assert_eq!(key(path, None), None, "{path}");
        }
        assert_eq!(key("/other", Some("app=a&stream=b")), None);
    }

    #[test]
    fn hls_is_where_players_look_for_it() {
        const EPOCH: &str = "0123456789abcdef0123456789abcdef";
        let found = |path: &str| {
            let name =
                |url: &StreamUrl| StreamName::parse_without_key(&url.app, &url.name).unwrap().key.to_string();
            Some(match HlsUrl::find(path, Some("key=x"), "live")? {
                HlsUrl::Index { stream, up } => format!("index {} {}", name(&stream), up.unwrap_or_default()),
                HlsUrl::Playlist { stream, rendition } => format!("playlist {} {rendition}", name(&stream)),
                HlsUrl::Poster { stream } => format!("poster {}", name(&stream)),
                HlsUrl::Media { epoch, file } => format!("media {epoch} {file}"),
            })
        };
        for (path, expected) in [
            ("/live/a/index.m3u8", "index live/a "),
            ("/live/room/a/stream.m3u8", "index live/room/a "),
            ("/live/a/video.m3u8", "playlist live/a 0"),
            ("/live/a/audio2.m3u8", "playlist live/a 2"),
            ("/live/a/keyframe.mp4", "poster live/a"),
            ("/hls/a.m3u8", "index live/a ../"),
            ("/hls/a/index.m3u8", "index live/a ../../"),
            ("/hls/a/video.m3u8", "playlist hls/a 0"),
            (&format!("/live/a/{EPOCH}/v5.m4s"), &format!("media {EPOCH} v5.m4s")),
            (&format!("/x/{EPOCH}/vi1.mp4"), &format!("media {EPOCH} vi1.mp4")),
            (&format!("/live/{EPOCH}/index.m3u8"), &format!("index live/{EPOCH} ")),
        ] {
            assert_eq!(found(path).as_deref(), Some(expected), "{path}");
        }
        for path in [
            "/live/a.m3u8",
            "/live/keyframe.mp4",
            "/live/a/audio0.m3u8",
            "/live/a/x.m3u8",
            "/index.m3u8",
            "/",
            "",
        ] {
            assert_eq!(found(path), None, "{path}");
        }
        assert_eq!(HlsUrl::find("/hls/a.m3u8", None, ""), None, "where no app has such places");
    }

    #[test]
    fn recordings_are_in_the_folder_of_their_stream() {
        let found = |path: &str| {
            let RecordingUrl { stream, wanted } = RecordingUrl::find(path, Some("key=x"))?;
            let name = StreamName::parse_without_key(&stream.app, &stream.name).ok()?;
            Some(format!("{} {wanted:?}", name.key))
        };
        for (path, expected) in [
            ("/recordings/live/a", "live/a List"),
            ("/recordings/live/room/a/", "live/room/a List"),
            ("/recordings/live/a/index.m3u8", "live/a Playlist"),
            ("/recordings/live/a/20180214T002807Z-0.m3u8", "live/a PlaylistOf(\"20180214T002807Z-0\")"),
            ("/recordings/live/a/20180214T002807Z-0.flv", "live/a File(\"20180214T002807Z-0.flv\")"),
            ("/recordings/live/a/20180214T002807Z-0.txt", "live/a/20180214T002807Z-0.txt List"),
        ] {
            assert_eq!(found(path).as_deref(), Some(expected), "{path}");
        }
        for path in [
            "/recordings/",
            "/recordings/a",
            "/recording/live/a",
            "/recordings/live/../20180214T002807Z-0.flv",
        ] {
            assert_eq!(found(path), None, "{path}");
        }
    }

    #[test]
    fn pages_are_where_no_stream_is() {
        let player = |name: &str| PageUrl::Player(name.parse());
        for (path, expected) in [
            ("/", Some(PageUrl::Index)),
            ("/streams", Some(PageUrl::List)),
            ("/streams/", None),
            ("/play/live/a", Some(player("live/a"))),
            ("/play/live/room/%E7%9B%B4", Some(player("live/room/直"))),
            ("/play/live/a%2Eflv", Some(player("live/a.flv"))),
            ("/play/live/..", Some(PageUrl::Player(Err(KeyError::Dots)))),
            ("/play/live/", Some(PageUrl::Player(Err(KeyError::Missing("stream"))))),
            ("/publish/live/a", Some(PageUrl::Publisher("live/a".parse()))),
            ("/publish/live/..", Some(PageUrl::Publisher(Err(KeyError::Dots)))),
            ("/assets/player.js", Some(PageUrl::Asset("player.js"))),
            ("/play/live", None),
            ("/play", None),
            ("/publish/live", None),
            ("/live/a", None),
            ("//", None),
            ("", None),
        ] {
            assert_eq!(PageUrl::find(path), expected, "{path}");
        }
        assert_eq!(
            key("/play/a.flv", None),
            Some(Ok("play/a".to_owned())),
            "there may be an app of that name"
        );
    }

    #[test]
    fn f36_what_no_stream_can_be_called_is_refused_as_on_every_door() {
        let dots = Err(KeyError::Dots);
        for (path, query, expected) in [
            ("/live/../a.flv", None, dots.clone()),
            ("/live/%2e%2e/a.flv", None, dots.clone()),
            ("/live/%2e%2e.flv", None, dots.clone()),
            ("/live/%252e%252e.flv", None, Err(KeyError::Character('%'))),
            ("/live/a%00.flv", None, Err(KeyError::Character('\0'))),
            ("/live/a%2fb.flv", None, Err(KeyError::Character('/'))),
            ("/live/a%3fb.flv", None, Err(KeyError::Character('?'))),
            ("/live/a:key.flv", None, Err(KeyError::Character(':'))),
            ("/live/a\\b.flv", None, Err(KeyError::Character('\\'))),
            ("/a.flv", None, Err(KeyError::Missing("app"))),
            ("/live/.flv", None, Err(KeyError::Missing("stream"))),
            ("/live/.mp4", None, Err(KeyError::Missing("stream"))),
            ("/live//a//b.flv", None, Err(KeyError::EmptyPart)),
            ("/live", Some("app=a"), Err(KeyError::Missing("stream"))),
            ("/live", Some("stream=a"), Err(KeyError::Missing("app"))),
            ("/live", Some("app=a&stream=..%2f..%2fb"), dots),
            ("/live", Some("app=a&stream=b?c"), Err(KeyError::Character('?'))),
            ("/live", Some("app=a&stream=b%252fc"), Err(KeyError::Character('%'))),
        ] {
            assert_eq!(key(path, query), Some(expected), "{path} {query:?}");
        }
    }

    #[test]
    fn the_query_goes_to_the_authoriser_and_is_not_shown() {
        let name = parse("/live/a.flv", Some("key=hunter2&x=1")).unwrap().unwrap();
        assert_eq!(
            (name.query.expose(), name.query_value("key").as_deref()),
            ("key=hunter2&x=1", Some("hunter2"))
        );
        assert!(!format!("{name:?}").contains("hunter2"));
    }

    #[test]
    fn wishes_are_heard_where_they_mean_something() {
        let wishes = |query| Wishes::of(&parse("/live/a.flv", Some(query)).unwrap().unwrap());
        let all = wishes("start=live-edge&latency=250&only=audio&time=zero&enhanced=full");
        let expected = Wishes {
            play: PlayWishes { start: Some(StartAt::LiveEdge), latency_ms: Some(250), back: None },
            only: Some(FrameKind::Audio),
            from_zero: true,
            as_published: true,
        };
        assert_eq!(all, expected);
        let back = wishes("start=-30000").play;
        assert_eq!((back.start, back.back), (None, Some(Duration::from_secs(30))));
        let odd = "start=12&latency=-1&only=x&time=1700000000&enhanced=1&Latency=5&";
        assert_eq!(wishes(odd), Wishes::default());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5_000))]

        #[test]
        fn f43_the_paths_of_a_stream_lead_back_to_it(name in "[a-z&=.~+é直-]{1,6}(\\.flv|\\.live|\\.live\\.flv|\\.mp4)?") {
            let Ok(named) = StreamKey::new("live", &name) else { return Ok(()) };
            for (path, container) in
                [(flv_of(&named), Container::Flv), (format!("/{}.mp4", in_path(&named)), Container::Mp4)]
            {
                prop_assert_eq!(key(&path, None), Some(Ok(named.to_string())));
                prop_assert_eq!(StreamUrl::find(&path, None).map(|url| url.container), Some(container));
            }
            let poster = poster_of(&named);
            let Some(HlsUrl::Poster { stream }) = HlsUrl::find(&poster, None, "live") else {
                panic!("{poster}")
            };
            let found = StreamName::parse_without_key(&stream.app, &stream.name).unwrap();
            prop_assert_eq!(&found.key, &named);
            let page = page_of(&named);
            prop_assert!(StreamUrl::find(&page, None).is_none(), "{page}");
            prop_assert_eq!(PageUrl::find(&page), Some(PageUrl::Player(Ok(named))));
        }

        #[test]
        fn f43_a_path_leads_to_the_stream_of_that_name_or_to_none(
            name in "([a-c./]|%[0-9a-f]{2}|:|\\?|é){1,12}",
        ) {
            let named = StreamKey::new("live", &name);
            if name.contains('?') { return Ok(()) }
            let found = key(&format!("/live/{name}.flv"), None).unwrap();
            // A name that ends like this is reached by its whole name and an ending.
            let is_ambiguous = name.ends_with(".live") || name.contains(':');
            if let (Ok(found), Ok(named), false) = (found, named, is_ambiguous) {
                prop_assert_eq!(found, named.to_string());
            }
        }
    }
}
