//! Pages for browsers: the dashboard, the list of live streams, the page that plays one, the page that publishes one, and the files
//! that these need.
//!
//! A page is made of the program's [`Assets`](crate::Assets), or of what is written here; names of streams get into it escaped.

use super::header;
use super::reply::{self, Reply};
use super::routes::{LIST, PageUrl, flv_of, page_of, poster_of};
use crate::assets::{Asset, Assets, hash};
use crate::key::StreamKey;
use crate::service::Core;
use crate::status::{StreamInfo, StreamState};
use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{ACCEPT_ENCODING, IF_NONE_MATCH};
use hyper::http::request::Parts;
use std::sync::LazyLock;

bound! {
    /// Streams that are listed; a page of more is of no use to people, and costs us (test `the_list_of_streams_has_an_end`).
    const MAX_LISTED: usize = 500, without usize::MAX;
}

/// The style of the pages that are written here.
static STYLE: LazyLock<(String, Asset)> = LazyLock::new(|| own("pages", "css", include_bytes!("pages.css")));
/// What shows pictures in the list of streams.
static POSTERS: LazyLock<(String, Asset)> =
    LazyLock::new(|| own("posters", "js", include_bytes!("posters.js")));

/// A file of ours, and its name.
fn own(stem: &str, ending: &str, body: &'static [u8]) -> (String, Asset) {
    let body = Bytes::from_static(body);
    let name = format!("{stem}-{}.{ending}", hash(&body));
    let asset = Asset::new(&name, body, None);
    (name, asset)
}

/// The same of nginx-rtmp's statistics. Not in XSLT, as nginx-rtmp has it: browsers drop that.
pub(super) static STAT_STYLE: LazyLock<(String, Asset)> =
    LazyLock::new(|| own("stat", "css", include_bytes!("stat.css")));

const NOTHING: &str = "there is nothing here; /streams lists the live streams, whose pages are at /play/APP/STREAM, and they at /APP/STREAM.flv";

const NO_PUBLISHER: &str = "this server has no page to publish from: programs that embed the engine give it one by EngineBuilder::assets, as \
    of the crate streamengine-web";

/// The reply to a request for something to look at.
pub(super) fn answer(core: &Core, request: &Parts) -> Reply {
    match PageUrl::find(request.uri.path()) {
        Some(PageUrl::Index) => match core.assets.get(Assets::DASHBOARD) {
            Some(page) if core.config().http.dashboard => asset(page, request, "no-cache"),
            _ => list(core),
        },
        Some(PageUrl::List) => list(core),
        Some(PageUrl::Player(Ok(key))) => match core.assets.get(Assets::PLAYER) {
            Some(page) => asset(page, request, "no-cache"),
            None => reply::page(without_player(&key)),
        },
        Some(PageUrl::Publisher(Ok(_))) => match core.assets.get(Assets::PUBLISHER) {
            Some(page) if core.config().http.publish => {
                reply::that_captures(asset(page, request, "no-cache"))
            }
            Some(_) => reply::words(StatusCode::NOT_FOUND, "nobody publishes over HTTP here (http.publish)"),
            None => reply::words(StatusCode::NOT_FOUND, NO_PUBLISHER),
        },
        Some(PageUrl::Player(Err(error)) | PageUrl::Publisher(Err(error))) => {
            reply::words(StatusCode::BAD_REQUEST, error)
        }
        Some(PageUrl::Asset(name)) => match core.assets.get(name) {
            Some(found) if name == Assets::EMBED => asset(found, request, "no-cache"),
            Some(found) => asset(found, request, reply::FOR_A_YEAR),
            None => match [&*STYLE, &*POSTERS, &*STAT_STYLE].into_iter().find(|(own, _)| name == own) {
                Some((_, found)) => asset(found, request, reply::FOR_A_YEAR),
                None => nothing(),
            },
        },
        None => nothing(),
    }
}

fn nothing() -> Reply {
    reply::words(StatusCode::NOT_FOUND, NOTHING)
}

/// The list of live streams, where it is for everybody.
fn list(core: &Core) -> Reply {
    if core.config().http.index { reply::page(index(&core.hub.streams())) } else { nothing() }
}

/// A file, packed where the browser takes it so; or the word that it has it already.
fn asset(asset: &Asset, request: &Parts, cache: &'static str) -> Reply {
    if header::elements(&request.headers, &IF_NONE_MATCH).any(|tag| tag == "*" || tag == asset.etag) {
        return reply::asset(StatusCode::NOT_MODIFIED, asset, None, cache);
    }
    let packed = asset.gzip.as_ref().filter(|_| takes_gzip(request));
    reply::asset(StatusCode::OK, asset, packed, cache)
}

/// Whether the peer takes what is packed by gzip.
pub(super) fn takes_gzip(request: &Parts) -> bool {
    // `gzip;q=0` asks for the contrary.
    header::elements(&request.headers, &ACCEPT_ENCODING).any(|coding| coding == "gzip")
}

/// A page in HTML; `title` is text, `body` is HTML.
fn html(title: &str, body: &str) -> String {
    format!(
        r#"<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/assets/{}">
<main>
{body}
</main>
</html>
"#,
        escaped(title),
        STYLE.0
    )
}

/// The list of live streams.
fn index(streams: &[StreamInfo]) -> String {
    let is_shown = |stream: &&StreamInfo| matches!(stream.state, StreamState::Live | StreamState::Away);
    let shown: Vec<_> = streams.iter().filter(is_shown).collect();
    let lines: String = shown.iter().take(MAX_LISTED.get()).map(|stream| line(stream)).collect();
    let body = match shown.len().saturating_sub(MAX_LISTED.get()) {
        _ if shown.is_empty() => "<p>Nothing is live at the moment.</p>".to_owned(),
        0 => format!("<ul>\n{lines}</ul>"),
        more => format!("<ul>\n{lines}</ul>\n<p>and {more} more.</p>"),
    };
    let script = format!("<script type=\"module\" src=\"/assets/{}\"></script>", POSTERS.0);
    html("Live streams", &format!("<h1>Live streams</h1>\n{body}\n{script}"))
}

fn line(stream: &StreamInfo) -> String {
    let seconds = stream.uptime.as_secs();
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    let state = if stream.state == StreamState::Away { "its publisher is away" } else { "live" };
    // Where there was no keyframe, asking for one would take its time.
    let poster = match stream.keyframes {
        0 => String::new(),
        _ => format!(" data-poster=\"{}\"", escaped(&poster_of(&stream.key))),
    };
    format!(
        "<li{poster}><a href=\"{}\"><span></span>{}</a> <small>{state}, {hours}:{minutes:02}:{seconds:02}</small></li>\n",
        escaped(&page_of(&stream.key)),
        escaped(stream.key.as_str()),
    )
}

/// The page of a stream where the program has given none.
fn without_player(key: &StreamKey) -> String {
    let (name, flv) = (escaped(key.as_str()), escaped(&flv_of(key)));
    let body = format!(
        "<h1>{name}</h1>
<p>This server has no player for browsers: the program that carries the engine has given it none. VLC, mpv and ffplay play
the stream from <a href=\"{flv}\">the address of this link</a>, also with <code>rtmp://</code> and without
<code>.flv</code>.</p>
<p>Programs give the player with <code>EngineBuilder::assets</code>; the crate <code>streamengine-web</code> has
one.</p>
<p><a href=\"{LIST}\">Live streams</a></p>"
    );
    html(key.as_str(), &body)
}

/// A text as part of HTML, also between quotes.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, PublisherConfig};
    use crate::service::http::tests::{core, publish};
    use crate::service::streams::Published;
    use crate::testing::{audio, key};
    use http_body_util::BodyExt;
    use hyper::Request;

    async fn get(
        core: &Core,
        path: &str,
        headers: &[(&str, &str)],
    ) -> (StatusCode, hyper::HeaderMap, String) {
        let request =
            headers.iter().fold(Request::get(path), |request, (name, value)| request.header(*name, *value));
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let (head, body) = answer(core, &parts).into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (head.status, head.headers, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn the_index_lists_what_is_live_with_links_and_says_when_nothing_is() {
        let core = core(|_| ());
        let (status, headers, text) = get(&core, "/", &[]).await;
        assert!(status == StatusCode::OK && text.contains("Nothing is live"), "{text}");
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(
            policy.contains("default-src 'self'") && policy.contains("frame-ancestors 'none'"),
            "{policy}"
        );
        assert!(
            !headers.contains_key("access-control-allow-origin"),
            "no other site's page may read the list"
        );
        let streams = ["live/a", "live/b&c=<d>", "live/直播.flv"].map(|name| name.replace("<d>", "d"));
        let _published = streams.each_ref().map(|name| publish(&core, name));
        let (_, _, text) = get(&core, "/", &[]).await;
        for part in [
            "<a href=\"/play/live/a\"><span></span>live/a</a>",
            "<a href=\"/play/live/b%26c%3Dd\"><span></span>live/b&amp;c=d</a>",
            "<a href=\"/play/live/%E7%9B%B4%E6%92%AD%2Eflv\"><span></span>live/直播.flv</a>",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[tokio::test]
    async fn the_index_has_a_place_for_the_picture_of_each_stream_that_has_sent_one() {
        let core = core(|_| ());
        let _seen = publish(&core, "live/a&b");
        let heard = Published::by_engine(&core, &key("live/sound"), "test", &[], &PublisherConfig::default());
        heard.as_ref().unwrap().push(audio(5)).unwrap();
        let (_, _, text) = get(&core, "/", &[]).await;
        let line = "<li data-poster=\"/live/a%26b/keyframe.mp4\"><a href=\"/play/live/a%26b\">";
        assert!(text.contains(line) && text.contains("<li><a href=\"/play/live/sound\">"), "{text}");
        let script = text.split_once("<script type=\"module\" src=\"").unwrap().1.split('"').next().unwrap();
        let (status, headers, body) = get(&core, script, &[]).await;
        assert!(status == StatusCode::OK && headers["content-type"] == "text/javascript; charset=utf-8");
        assert!(body.contains("dataset.poster") && !text.contains("<video"), "{body}");
    }

    #[test]
    fn texts_never_become_markup() {
        assert_eq!(
            escaped("<img src=x onerror='a(\"b\")'>&"),
            "&lt;img src=x onerror=&#39;a(&quot;b&quot;)&#39;&gt;&amp;"
        );
        let hostile = html("</title><script>", "");
        assert!(!hostile.contains("<script>"), "{hostile}");
    }

    #[tokio::test]
    async fn the_list_of_streams_has_an_end() {
        let core = core(|_| ());
        let name = |number: usize| key(&format!("live/s{number}"));
        let publish =
            |number| Published::by_engine(&core, &name(number), "test", &[], &PublisherConfig::default());
        let _published: Vec<_> = (0..502).map(|number| publish(number).unwrap()).collect();
        let (_, _, text) = get(&core, "/", &[]).await;
        assert_eq!(text.matches("<li>").count(), 500);
        assert!(text.contains("and 2 more"), "{text}");
    }

    #[tokio::test]
    async fn an_index_that_is_switched_off_is_not_there() {
        let core = core(|config: &mut Config| config.http.index = false);
        let _published = publish(&core, "live/a");
        for path in ["/", "/streams"] {
            let (status, _, text) = get(&core, path, &[]).await;
            assert!(status == StatusCode::NOT_FOUND && !text.contains("live/a"), "{text}");
        }
        assert_eq!(get(&core, "/play/live/a", &[]).await.0, StatusCode::OK);
    }

    #[tokio::test]
    async fn the_dashboard_is_in_front_of_the_list_unless_it_is_switched_off_or_not_there() {
        for (has_dashboard, has_index, is_on, expected) in [
            (true, true, true, [Some("<h1>dashboard</h1>"), Some("Nothing is live")]),
            (true, false, true, [Some("<h1>dashboard</h1>"), None]),
            (true, true, false, [Some("Nothing is live"), Some("Nothing is live")]),
            (true, false, false, [None, None]),
            (false, true, true, [Some("Nothing is live"), Some("Nothing is live")]),
        ] {
            let mut core = core(|config: &mut Config| {
                config.http.index = has_index;
                config.http.dashboard = is_on;
            });
            let own = std::sync::Arc::get_mut(&mut core).unwrap();
            if has_dashboard {
                own.assets = Assets::default().file(Assets::DASHBOARD, "<h1>dashboard</h1>", None);
            }
            for (path, expected) in ["/", "/streams"].into_iter().zip(expected) {
                let (status, headers, text) = get(&core, path, &[]).await;
                assert!(text.contains(expected.unwrap_or("there is nothing here")), "{path}: {text}");
                assert_eq!(status == StatusCode::OK, expected.is_some(), "{path}");
                let is_dashboard = text.contains("dashboard</h1>");
                assert_eq!(headers["cache-control"] == "no-cache", is_dashboard, "{path}");
                let policy = headers.get("content-security-policy").map(|policy| policy.to_str().unwrap());
                let is_strict = |policy: &str| {
                    policy.contains("default-src 'self'") && policy.contains("frame-ancestors 'none'")
                };
                assert_eq!(policy.is_some_and(is_strict), expected.is_some());
            }
        }
    }

    #[tokio::test]
    async fn without_a_player_the_page_says_how_to_get_one() {
        let core = core(|_| ());
        let (status, _, text) = get(&core, "/play/live/a&b", &[]).await;
        assert_eq!(status, StatusCode::OK);
        for part in ["EngineBuilder::assets", "<h1>live/a&amp;b</h1>", "href=\"/live/a%26b.flv\""] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let style = text.split_once("stylesheet\" href=\"").unwrap().1.split('"').next().unwrap();
        let (status, headers, css) = get(&core, style, &[]).await;
        assert!(
            status == StatusCode::OK
                && headers["content-type"] == "text/css; charset=utf-8"
                && css.contains("main")
        );
        for path in ["/play/live/..", "/play/live/a%00"] {
            assert_eq!(get(&core, path, &[]).await.0, StatusCode::BAD_REQUEST, "{path}");
        }
    }

    #[tokio::test]
    async fn assets_are_kept_by_browsers_packed_where_they_take_it_and_asked_for_once() {
        let mut core = core(|_| ());
        let own = std::sync::Arc::get_mut(&mut core).unwrap();
        let packed = Bytes::from_static(b"packed");
        own.assets =
            Assets::default().file("play.html", "<h1>player</h1>", None).file("p.js", "plain", Some(packed));
        let (status, headers, text) = get(&core, "/play/live/a", &[]).await;
        assert!(
            status == StatusCode::OK && text == "<h1>player</h1>" && headers["cache-control"] == "no-cache"
        );
        assert!(headers["content-security-policy"].to_str().unwrap().contains("default-src 'self'"));

        for (accepted, expected) in
            [("gzip, br", "packed"), ("br;q=1.0,gzip", "packed"), ("gzip;q=0", "plain"), ("br", "plain")]
        {
            let (status, headers, text) = get(&core, "/assets/p.js", &[("accept-encoding", accepted)]).await;
            assert_eq!((status, text.as_str()), (StatusCode::OK, expected), "{accepted}");
            assert_eq!(headers.contains_key("content-encoding"), expected == "packed", "{accepted}");
            assert!(headers["cache-control"].to_str().unwrap().contains("max-age=31536000"));
            assert!(headers["vary"] == "accept-encoding" && headers["x-content-type-options"] == "nosniff");
            let tag = headers["etag"].to_str().unwrap().to_owned();
            let (status, headers, text) = get(&core, "/assets/p.js", &[("if-none-match", &tag)]).await;
            assert_eq!(
                (status, text.as_str(), headers["etag"].to_str().unwrap()),
                (StatusCode::NOT_MODIFIED, "", tag.as_str())
            );
        }
        let (status, headers, _) = get(&core, "/assets/p.js", &[]).await;
        assert!(status == StatusCode::OK && headers["access-control-allow-origin"] == "*");
        for path in ["/assets/", "/assets/../p.js", "/assets/x.js", "/play.html"] {
            assert_eq!(get(&core, path, &[]).await.0, StatusCode::NOT_FOUND, "{path}");
        }
    }

    #[tokio::test]
    async fn the_page_to_publish_from_may_capture_and_is_there_where_one_may_publish() {
        let without = core(|_| ());
        let (status, _, text) = get(&without, "/publish/live/a", &[]).await;
        assert!(status == StatusCode::NOT_FOUND && text.contains("EngineBuilder::assets"), "{text}");
        for (is_allowed, expected) in [(true, StatusCode::OK), (false, StatusCode::NOT_FOUND)] {
            let mut core = core(|config: &mut Config| config.http.publish = is_allowed);
            let own = std::sync::Arc::get_mut(&mut core).unwrap();
            let page = Assets::default().file(Assets::PUBLISHER, "<h1>publisher</h1>", None);
            own.assets = page.file("embed.js", "embed", None);
            let (status, headers, text) = get(&core, "/publish/live/room/a", &[]).await;
            assert_eq!(status, expected);
            assert_eq!(get(&core, "/publish/live/..", &[]).await.0, StatusCode::BAD_REQUEST);
            if !is_allowed {
                continue;
            }
            assert_eq!(
                (text.as_str(), &headers["cache-control"]),
                ("<h1>publisher</h1>", &"no-cache".parse().unwrap())
            );
            assert!(!headers.contains_key("access-control-allow-origin"));
            assert_eq!(
                headers["permissions-policy"],
                "camera=(self), microphone=(self), display-capture=(self)"
            );
            let policy = headers["content-security-policy"].to_str().unwrap();
            for part in [
                "worker-src 'self' blob:",
                "connect-src 'self' ws: wss:",
                "script-src 'self' 'wasm-unsafe-eval'",
                "frame-ancestors 'none'",
            ] {
                assert!(policy.contains(part), "{policy}");
            }
            assert_eq!(policy.matches("script-src").count(), 1, "{policy}");
            // Pages of others import what is new, too.
            let (_, headers, _) = get(&core, "/assets/embed.js", &[]).await;
            assert!(headers["cache-control"] == "no-cache" && headers["access-control-allow-origin"] == "*");
        }
    }
}
