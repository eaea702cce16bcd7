//! Plays HLS: parts as soon as they are there where the server has them, else segments.

use super::News;
use super::listener::Listener;
use crate::connection::{Client, Trust};
use std::time::Duration;
use streamengine::HttpUrl;
use tokio::time::{Instant, sleep_until};

/// Asks for a playlist again no sooner than this, whatever it says of itself.
const SHORTEST_PERIOD: Duration = Duration::from_millis(100);

/// Plays until nobody listens; why it could not go on.
pub(super) async fn play(url: &HttpUrl, trust: &Trust, listener: &mut Listener) -> Result<(), String> {
    let mut playlists = Client::new(trust.clone());
    let mut media = Client::new(trust.clone());
    let (url, first) = media_playlist(url.clone(), &mut playlists).await?;
    listener.tell(News::HoldBack(first.hold_back()))?;
    // What is there already was sent before anybody asked.
    let mut seen = first.end();
    // When the newest playlist was there, whose end a player goes by.
    let mut known = None;
    loop {
        let asked = Instant::now();
        let playlist = Playlist::parse(&playlists.get(&reload(&url, &first, seen)).await?)?;
        let now = listener.now();
        let new: Vec<_> = playlist.items.iter().filter(|item| item.place > seen).cloned().collect();
        for item in &new {
            let bytes = media.get(&resolve(&url, &item.uri)?).await?;
            // It is where the playlist before this one has ended.
            if let (Some(behind), Some(known)) = (listener.read(&bytes)?, known.take()) {
                listener.tell(News::Edge { behind, known })?;
            }
            // Stamps do not go on from one file into the next.
            listener.forget();
            seen = item.place;
        }
        if !new.is_empty() {
            known = Some(now);
        }
        if playlist.is_over {
            return Err("the stream has ended".to_owned());
        }
        if !first.blocks {
            let period = if new.is_empty() { playlist.period() / 2 } else { playlist.period() };
            sleep_until(asked + period.max(SHORTEST_PERIOD)).await;
        }
    }
}

/// The media playlist at a URL, or the first that the playlist there names; where it is, and what it says.
async fn media_playlist(url: HttpUrl, client: &mut Client) -> Result<(HttpUrl, Playlist), String> {
    let text = client.get(&url).await?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let mut lines = text.lines().map(str::trim);
    let Some(variant) = lines
        .by_ref()
        .find(|line| line.starts_with("#EXT-X-STREAM-INF:"))
        .and_then(|_| lines.find(|line| !line.is_empty() && !line.starts_with('#')))
    else {
        return Ok((url, Playlist::parse(text.as_bytes())?));
    };
    let url = resolve(&url, variant)?;
    let playlist = Playlist::parse(&client.get(&url).await?)?;
    Ok((url, playlist))
}

/// The playlist once there is something behind `seen`, where the server waits for that (RFC 8216bis, 6.2.5.2).
fn reload(url: &HttpUrl, playlist: &Playlist, seen: Place) -> HttpUrl {
    if !playlist.blocks {
        return url.clone();
    }
    let target = url.target();
    let joint = if target.contains('?') { '&' } else { '?' };
    let Place { segment, part } = seen;
    // The segment of the last part may go on; behind a whole one comes the next.
    let (segment, part) = if part == Place::WHOLE { (segment + 1, 0) } else { (segment, part + 1) };
    let asked = if playlist.part_target.is_some() { format!("&_HLS_part={part}") } else { String::new() };
    url.clone().at(&format!("{target}{joint}_HLS_msn={segment}{asked}"))
}

/// A reference in a playlist (RFC 3986, 5.2; without `..`, which no playlist of a live stream needs).
fn resolve(base: &HttpUrl, reference: &str) -> Result<HttpUrl, String> {
    if reference.contains("://") {
        return reference.parse().map_err(|error| format!("a URL in the playlist: {error}"));
    }
    if reference.starts_with('/') {
        return Ok(base.clone().at(reference));
    }
    let (folder, _) = base.path().rsplit_once('/').unwrap_or_default();
    let (mut folder, mut reference) = (folder, reference);
    while let Some(rest) = reference.strip_prefix("../") {
        folder = folder.rsplit_once('/').map(|(up, _)| up).unwrap_or_default();
        reference = rest;
    }
    Ok(base.clone().at(&format!("{folder}/{}", reference.trim_start_matches("./"))))
}

/// Where a file stands in a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    segment: u64,
    part: u64,
}

impl Place {
    /// In place of the number of a part: all of the segment.
    const WHOLE: u64 = u64::MAX;
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Item {
    place: Place,
    uri: String,
}

/// What a media playlist says (draft-pantos-hls-rfc8216bis, 4.4), as far as it matters here.
#[derive(Debug, Default)]
struct Playlist {
    target: f64,
    part_target: Option<f64>,
    part_hold_back: Option<f64>,
    hold_back: Option<f64>,
    blocks: bool,
    is_over: bool,
    items: Vec<Item>,
}

impl Playlist {
    fn parse(text: &[u8]) -> Result<Self, String> {
        let text = String::from_utf8_lossy(text);
        if !text.trim_start_matches('\u{feff}').starts_with("#EXTM3U") {
            return Err("this is no playlist".to_owned());
        }
        let mut playlist = Self::default();
        let (mut segment, mut part) = (0, 0);
        let mut segments = Vec::new();
        let mut parts = Vec::new();
        for line in text.lines().map(str::trim) {
            let (tag, value) = line.split_once(':').unwrap_or((line, ""));
            match tag {
                "#EXT-X-TARGETDURATION" => playlist.target = value.parse().unwrap_or_default(),
                "#EXT-X-MEDIA-SEQUENCE" => segment = value.parse().unwrap_or_default(),
                "#EXT-X-PART-INF" => playlist.part_target = number(value, "PART-TARGET"),
                "#EXT-X-SERVER-CONTROL" => {
                    playlist.blocks =
                        attribute(value, "CAN-BLOCK-RELOAD").is_some_and(|value| value == "YES");
                    playlist.part_hold_back = number(value, "PART-HOLD-BACK");
                    playlist.hold_back = number(value, "HOLD-BACK");
                }
                "#EXT-X-PART" => {
                    let uri = attribute(value, "URI").unwrap_or_default().to_owned();
                    parts.push(Item { place: Place { segment, part }, uri });
                    part += 1;
                }
                "#EXT-X-ENDLIST" => playlist.is_over = true,
                _ if !line.is_empty() && !line.starts_with('#') => {
                    segments
                        .push(Item { place: Place { segment, part: Place::WHOLE }, uri: line.to_owned() });
                    (segment, part) = (segment + 1, 0);
                }
                _ => {}
            }
        }
        playlist.items = if playlist.part_target.is_some() { parts } else { segments };
        Ok(playlist)
    }

    /// The last that is there.
    fn end(&self) -> Place {
        self.items.last().map_or(Place { segment: 0, part: 0 }, |item| item.place)
    }

    /// How often there is something new, at least.
    fn period(&self) -> Duration {
        seconds(self.part_target.unwrap_or(self.target))
    }

    /// How far from the end players keep.
    fn hold_back(&self) -> Duration {
        let of_parts = self.part_target.map(|target| self.part_hold_back.unwrap_or(3.0 * target));
        seconds(of_parts.unwrap_or_else(|| self.hold_back.unwrap_or(3.0 * self.target)))
    }
}

fn seconds(number: f64) -> Duration {
    Duration::try_from_secs_f64(number).unwrap_or_default()
}

fn number(attributes: &str, name: &str) -> Option<f64> {
    attribute(attributes, name)?.parse().ok()
}

/// The value of an attribute, without its quotes (4.2).
fn attribute<'a>(attributes: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = attributes;
    while let Some((key, after)) = rest.split_once('=') {
        let (value, next) = match after.strip_prefix('"') {
            Some(quoted) => {
                let (value, next) = quoted.split_once('"')?;
                (value, next.strip_prefix(',').unwrap_or(next))
            }
            None => after.split_once(',').unwrap_or((after, "")),
        };
        if key.trim() == name {
            return Some(value);
        }
        rest = next;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOW_LATENCY: &str = "#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:7\n\
        #EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=0.615,HOLD-BACK=6\n#EXT-X-PART-INF:PART-TARGET=0.205\n\
        #EXTINF:2,\nv7.m4s\n#EXT-X-PART:DURATION=0.2,URI=\"p8,0.m4s\",INDEPENDENT=YES\n#EXT-X-PART:DURATION=0.2,URI=\"p8-1.m4s\"\n\
        #EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"p8-2.m4s\"\n";

    #[test]
    fn parts_and_segments_have_their_places_and_the_server_says_how_far_back_players_keep() {
        let playlist = Playlist::parse(LOW_LATENCY.as_bytes()).unwrap();
        let uris: Vec<_> = playlist.items.iter().map(|item| item.uri.as_str()).collect();
        assert_eq!(uris, ["p8,0.m4s", "p8-1.m4s"]);
        assert_eq!(playlist.end(), Place { segment: 8, part: 1 });
        assert_eq!(playlist.hold_back(), Duration::from_millis(615));
        let base: HttpUrl = "http://h:8080/live/a/video.m3u8?v=1".parse().unwrap();
        assert_eq!(
            reload(&base, &playlist, playlist.end()).target(),
            "/live/a/video.m3u8?v=1&_HLS_msn=8&_HLS_part=2"
        );

        let plain = LOW_LATENCY.lines().filter(|line| !line.contains("PART")).collect::<Vec<_>>().join("\n");
        let plain = Playlist::parse(plain.as_bytes()).unwrap();
        assert_eq!((plain.end(), plain.blocks), (Place { segment: 7, part: Place::WHOLE }, false));
        assert_eq!((plain.hold_back(), plain.period()), (Duration::from_secs(6), Duration::from_secs(2)));
        assert_eq!(reload(&base, &plain, plain.end()), base);
    }

    #[test]
    fn references_are_found_from_where_the_playlist_is() {
        let base: HttpUrl = "http://h/live/a/index.m3u8?key=1".parse().unwrap();
        for (reference, expected) in [
            ("v.m4s", "/live/a/v.m4s"),
            ("./v.m4s?x=1", "/live/a/v.m4s?x=1"),
            ("../b/v.m4s", "/live/b/v.m4s"),
            ("/v.m4s", "/v.m4s"),
            ("http://h/x", "/x"),
        ] {
            assert_eq!(resolve(&base, reference).unwrap().target(), expected);
        }
    }
}
