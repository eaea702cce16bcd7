//! Playlists as players read them.

use super::*;

/// A segment or what is open, as a playlist lists it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Listed {
    pub(super) uri: String,
    pub(super) lasts: f64,
    pub(super) is_break: bool,
    pub(super) is_gap: bool,
    pub(super) map: Option<String>,
    pub(super) date: Option<String>,
    pub(super) parts: Vec<ListedPart>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct ListedPart {
    pub(super) uri: String,
    pub(super) lasts: f64,
    pub(super) is_independent: bool,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Playlist {
    /// What must never change.
    pub(super) terms: Vec<String>,
    pub(super) target: f64,
    pub(super) part_target: Option<f64>,
    pub(super) control: HashMap<String, f64>,
    pub(super) first: u64,
    pub(super) breaks: u64,
    pub(super) skipped: usize,
    pub(super) segments: Vec<Listed>,
    pub(super) open: Listed,
    pub(super) hints: Vec<String>,
    pub(super) is_over: bool,
}

fn attributes(text: &str) -> HashMap<String, String> {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned())).collect()
}

impl Playlist {
    pub(super) fn read(text: &str) -> Self {
        let mut list = Self::default();
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("#EXTM3U"));
        let mut map = None;
        for line in lines {
            let (tag, value) = line.split_once(':').unwrap_or((line, ""));
            let number = || value.trim_end_matches(',').parse::<f64>().unwrap();
            match tag {
                "#EXT-X-VERSION" => list.terms.push(line.to_owned()),
                "#EXT-X-TARGETDURATION" => {
                    list.terms.push(line.to_owned());
                    list.target = number();
                }
                "#EXT-X-SERVER-CONTROL" => {
                    list.terms.push(line.to_owned());
                    let numbers = attributes(value).into_iter();
                    list.control =
                        numbers.filter_map(|(name, value)| Some((name, value.parse().ok()?))).collect();
                }
                "#EXT-X-PART-INF" => {
                    list.terms.push(line.to_owned());
                    list.part_target = Some(attributes(value)["PART-TARGET"].parse().unwrap());
                }
                "#EXT-X-MEDIA-SEQUENCE" => list.first = value.parse().unwrap(),
                "#EXT-X-DISCONTINUITY-SEQUENCE" => list.breaks = value.parse().unwrap(),
                "#EXT-X-SKIP" => list.skipped = attributes(value)["SKIPPED-SEGMENTS"].parse().unwrap(),
                "#EXT-X-DISCONTINUITY" => list.open.is_break = true,
                "#EXT-X-MAP" => map = Some(attributes(value)["URI"].clone()),
                "#EXT-X-PROGRAM-DATE-TIME" => list.open.date = Some(value.to_owned()),
                "#EXT-X-GAP" => list.open.is_gap = true,
                "#EXT-X-PART" => {
                    let attributes = attributes(value);
                    list.open.parts.push(ListedPart {
                        uri: attributes["URI"].clone(),
                        lasts: attributes["DURATION"].parse().unwrap(),
                        is_independent: attributes.contains_key("INDEPENDENT"),
                    });
                }
                "#EXTINF" => list.open.lasts = number(),
                "#EXT-X-PRELOAD-HINT" => {
                    assert_eq!(attributes(value)["TYPE"], "PART");
                    list.hints.push(attributes(value)["URI"].clone());
                }
                "#EXT-X-RENDITION-REPORT" => {}
                "#EXT-X-ENDLIST" => list.is_over = true,
                uri => {
                    assert!(!uri.starts_with('#'), "{line}");
                    let mut segment = std::mem::take(&mut list.open);
                    segment.uri = uri.to_owned();
                    segment.map = map.clone();
                    list.segments.push(segment);
                }
            }
        }
        list
    }

    pub(super) fn number(&self, place: usize) -> u64 {
        self.first + (self.skipped + place) as u64
    }

    /// Parts by their URIs.
    pub(super) fn parts(&self) -> impl Iterator<Item = &ListedPart> {
        self.segments.iter().chain([&self.open]).flat_map(|segment| &segment.parts)
    }
}
