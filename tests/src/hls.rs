//! A small reader of HLS playlists, and a player by HLS that only asks.

use crate::PATIENCE;
use crate::browser::packages;
use crate::http::{Answer, HttpPeer};
use crate::peers::command;
use crate::process::Proc;
use serde_json::Value;
use std::net::SocketAddr;
use std::time::Duration;

/// What `tests/interop/hls/poll.mjs` says of a stream that it has watched for so long.
pub fn judge(url: &str, time: Duration) -> Value {
    let script = crate::workspace().join("tests/interop/hls/poll.mjs");
    let mut node = command("node", [script]);
    node.arg(url).arg(time.as_secs().to_string()).env("STREAMENGINE_BROWSER", packages());
    let judge = Proc::spawn("playlist parsers", node);
    judge.succeed(time + PATIENCE);
    let line = judge.out.all().pop().unwrap_or_default();
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}\n{}", judge.log()))
}

/// A part of a segment.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// Where it is.
    pub uri: String,
    /// Seconds.
    pub lasts: f64,
    /// Whether decoding can begin in it.
    pub is_independent: bool,
}

/// A segment that is whole.
#[derive(Debug, Clone, PartialEq)]
pub struct Segment {
    /// Its media sequence number.
    pub number: u64,
    /// Where it is.
    pub uri: String,
    /// Seconds.
    pub lasts: f64,
    /// Whether EXT-X-DISCONTINUITY stands before it.
    pub is_break: bool,
    /// Whether it cannot be loaded.
    pub is_gap: bool,
    /// Where what decoders need first is; none where the playlist that lists it has skipped that.
    pub map: Option<String>,
}

/// A media playlist.
#[derive(Debug, Clone, Default)]
pub struct Playlist {
    /// EXT-X-TARGETDURATION.
    pub target: u64,
    /// EXT-X-MEDIA-SEQUENCE.
    pub first: u64,
    /// EXT-X-DISCONTINUITY-SEQUENCE.
    pub breaks: u64,
    /// EXT-X-SKIP.
    pub skipped: u64,
    /// What is whole.
    pub segments: Vec<Segment>,
    /// Parts of what is not.
    pub open: Vec<Part>,
    /// Whether what is not whole yet comes behind a break.
    pub opens_with_break: bool,
    /// EXT-X-PRELOAD-HINT.
    pub hint: Option<String>,
    /// EXT-X-ENDLIST.
    pub is_over: bool,
}

/// The value of an attribute, without its quotation marks.
pub fn attribute<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let start = line
        .match_indices(name)
        .map(|(at, _)| at)
        .find(|&at| line[..at].ends_with([':', ',']) && line[at + name.len()..].starts_with('='))?;
    let value = &line[start + name.len() + 1..];
    match value.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next(),
        None => value.split(',').next(),
    }
}

impl Playlist {
    /// Reads one; fails the test where it is none.
    pub fn read(text: &str) -> Self {
        assert!(text.starts_with("#EXTM3U\n"), "no playlist: {text:?}");
        let mut list = Self::default();
        let (mut lasts, mut is_break, mut is_gap, mut map) = (0.0, false, false, None);
        for line in text.lines() {
            let (tag, value) = line.split_once(':').unwrap_or((line, ""));
            let number = || value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
            match tag {
                "#EXT-X-TARGETDURATION" => list.target = number(),
                "#EXT-X-MEDIA-SEQUENCE" => list.first = number(),
                "#EXT-X-DISCONTINUITY-SEQUENCE" => list.breaks = number(),
                "#EXT-X-SKIP" => {
                    let skipped = attribute(line, "SKIPPED-SEGMENTS").and_then(|count| count.parse().ok());
                    list.skipped = skipped.unwrap_or_else(|| panic!("{line}"));
                }
                "#EXT-X-DISCONTINUITY" => is_break = true,
                "#EXT-X-GAP" => is_gap = true,
                "#EXT-X-MAP" => map = attribute(line, "URI").map(str::to_owned),
                "#EXT-X-PART" => list.open.push(Part::read(line)),
                "#EXT-X-PRELOAD-HINT" => list.hint = attribute(line, "URI").map(str::to_owned),
                "#EXT-X-ENDLIST" => list.is_over = true,
                "#EXTINF" => {
                    let seconds = value.split(',').next().and_then(|seconds| seconds.parse().ok());
                    lasts = seconds.unwrap_or_else(|| panic!("{line}"));
                }
                _ if line.starts_with('#') || line.is_empty() => {}
                uri => {
                    let number = list.first + list.skipped + list.segments.len() as u64;
                    let (uri, map) = (uri.to_owned(), map.clone());
                    list.segments.push(Segment { number, uri, lasts, is_break, is_gap, map });
                    (is_break, is_gap) = (false, false);
                    list.open.clear();
                }
            }
        }
        list.opens_with_break = is_break;
        list
    }

    /// The number of the segment that is not whole yet.
    pub fn next(&self) -> u64 {
        self.first + self.skipped + self.segments.len() as u64
    }

    /// With what it has skipped, taken from a playlist of before.
    pub fn onto(&self, before: &Self) -> Vec<Segment> {
        let skipped = self.first..self.first + self.skipped;
        let known = before.segments.iter().filter(|segment| skipped.contains(&segment.number)).cloned();
        let mut all: Vec<Segment> = known.collect();
        assert!(all.len() as u64 == self.skipped, "{} of {} are known", all.len(), self.skipped);
        let mut map = all.last().and_then(|segment| segment.map.clone());
        for segment in &self.segments {
            map = segment.map.clone().or(map);
            all.push(Segment { map: map.clone(), ..segment.clone() });
        }
        all
    }
}

impl Part {
    fn read(line: &str) -> Self {
        let text = |name: &str| attribute(line, name).unwrap_or_else(|| panic!("{line}: no {name}"));
        Self {
            uri: text("URI").to_owned(),
            lasts: text("DURATION").parse().unwrap_or_else(|_| panic!("{line}")),
            is_independent: attribute(line, "INDEPENDENT") == Some("YES"),
        }
    }
}

/// A player on one connection, for the playlist of the picture.
pub struct HlsPeer {
    address: SocketAddr,
    peer: HttpPeer,
    /// The multivariant playlist.
    pub main: String,
    /// The path of the folder of the stream's playlists, with a slash at its end.
    folder: String,
    /// The media playlist, from the folder on, with the viewer's token.
    pub playlist: String,
}

impl HlsPeer {
    /// Asks for the multivariant playlist of `app/stream`.
    pub fn open(address: SocketAddr, name: &str) -> Self {
        let mut peer = HttpPeer::dial(address).expect("connect");
        let folder = format!("/{name}/");
        let answer = peer.fetch(&format!("{folder}index.m3u8"), "").expect("an answer");
        let main = answer.text();
        assert_eq!(answer.status, 200, "{main}");
        let playlist = main.lines().find(|line| !line.starts_with('#') && !line.is_empty());
        let playlist = playlist.unwrap_or_else(|| panic!("no media playlist: {main}")).to_owned();
        Self { address, peer, main, folder, playlist }
    }

    /// The same viewer on another connection, of a server that may be another.
    pub fn again(&self, address: SocketAddr) -> Self {
        let peer = HttpPeer::dial(address).expect("connect");
        let (main, folder, playlist) = (self.main.clone(), self.folder.clone(), self.playlist.clone());
        Self { address, peer, main, folder, playlist }
    }

    /// Where the server is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// An attribute of the one variant.
    pub fn variant(&self, name: &str) -> Option<&str> {
        let line = self.main.lines().find(|line| line.starts_with("#EXT-X-STREAM-INF"))?;
        attribute(line, name)
    }

    /// The target of a URI in a playlist.
    pub fn target(&self, uri: &str) -> String {
        format!("{}{uri}", self.folder)
    }

    /// Asks for the media playlist with these fields of a query, such as `_HLS_msn=7`.
    pub fn ask(&mut self, query: &str) -> Answer {
        let separator = if query.is_empty() { "" } else { "&" };
        let target = format!("{}{}{separator}{query}", self.folder, self.playlist);
        self.peer.fetch(&target, "").expect("an answer")
    }

    /// The media playlist.
    pub fn list(&mut self, query: &str) -> Playlist {
        let answer = self.ask(query);
        assert_eq!(answer.status, 200, "{query}: {}", answer.text());
        Playlist::read(&answer.text())
    }

    /// Asks for what a URI of a playlist names.
    pub fn load(&mut self, uri: &str, headers: &str) -> Answer {
        let target = self.target(uri);
        self.peer.fetch(&target, headers).expect("an answer")
    }

    /// Sends bytes on its connection, whose answer is no business of the others.
    pub fn raw(&mut self) -> &mut HttpPeer {
        &mut self.peer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_playlist_and_a_delta_are_read_as_they_are() {
        let head = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:7\n";
        let old = "#EXT-X-MAP:URI=\"e/i1.mp4\"\n#EXTINF:2.0,\ne/7.m4s\n#EXTINF:1.5,\ne/8.m4s\n";
        let new = "#EXT-X-DISCONTINUITY\n#EXT-X-PART:DURATION=0.2,URI=\"e/p1.m4s\",INDEPENDENT=YES\n";
        let hint = "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"e/p2.m4s\"\n";
        let whole = Playlist::read(&format!("{head}{old}{new}{hint}"));
        assert_eq!((whole.target, whole.first, whole.next()), (2, 7, 9));
        assert_eq!((whole.hint.as_deref(), whole.opens_with_break), (Some("e/p2.m4s"), true));
        assert_eq!(whole.open, [Part { uri: "e/p1.m4s".into(), lasts: 0.2, is_independent: true }]);
        let delta = Playlist::read(&format!("{head}#EXT-X-SKIP:SKIPPED-SEGMENTS=1\n#EXTINF:1.5,\ne/8.m4s\n"));
        assert_eq!(delta.next(), 9);
        assert_eq!(delta.onto(&whole), whole.segments);
        let other = Playlist::read(&format!("{head}#EXT-X-SKIP:SKIPPED-SEGMENTS=1\n#EXTINF:1.6,\ne/8.m4s\n"));
        assert_ne!(other.onto(&whole), whole.segments);
    }
}
