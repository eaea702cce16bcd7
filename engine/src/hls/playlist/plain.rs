//! What there is at one moment, for files of plain HLS: no parts, nothing to wait for, and names relative to the playlist.

use super::{PARTS_FOR, Prefix, Segment, Snapshot, ending, playlist_name, rendition_of, seconds, write_head};
use crate::config::HlsFormat;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

bound! {
    /// Segments of a stream that wait to become files, and are held for that beyond its window: where the disk is slower than the
    /// stream, older ones are left out (test `what_waits_for_the_disk_is_a_few_segments_however_slow_that_is`).
    const MAX_PENDING: usize = 4, without usize::MAX;
}

/// With EXT-X-GAP (8).
const VERSION: u8 = 8;

/// What playlists list, and what has to be written for it. Numbers are media sequence numbers of the window.
#[derive(Debug)]
pub(in crate::hls) struct Edition {
    /// The oldest first, without their media.
    listed: Vec<Segment>,
    pub(in crate::hls) new: Vec<NewSegment>,
    /// The first of the new ones.
    pub(in crate::hls) begins: u64,
    /// The number after the last.
    pub(in crate::hls) ends: u64,
    /// How many are left out, as others wait to be written.
    pub(in crate::hls) left_out: usize,
    pub(in crate::hls) renditions: usize,
    pub(in crate::hls) is_over: bool,
    /// The playlist that names the others.
    pub(in crate::hls) multivariant: String,
    pub(in crate::hls) format: HlsFormat,
    breaks_before: u64,
    target_s: u32,
}

/// A segment that is to be written.
#[derive(Debug)]
pub(in crate::hls) struct NewSegment {
    pub(in crate::hls) number: u64,
    /// The number of what decoders need for it first.
    pub(in crate::hls) init: u64,
    /// That, by rendition.
    pub(in crate::hls) headers: Vec<Bytes>,
    /// Its media, by rendition.
    pub(in crate::hls) media: Vec<Vec<Bytes>>,
}

/// Which segments are files, and what these are called.
#[derive(Debug, Default)]
pub(in crate::hls) struct FileNames {
    /// Files go on with their numbers where those of an earlier run ended: so much they are ahead of the window's.
    pub(in crate::hls) shift: u64,
    /// Breaks of earlier runs.
    pub(in crate::hls) breaks: u64,
    /// The first that is listed.
    pub(in crate::hls) first: u64,
    /// Segments that are files.
    pub(in crate::hls) written: BTreeSet<u64>,
    pub(in crate::hls) format: HlsFormat,
    /// For what decoders need first, the segment that it was written for: numbers of the window begin anew with each run.
    pub(in crate::hls) inits: BTreeMap<u64, u64>,
}

impl FileNames {
    pub(in crate::hls) fn segment(&self, rendition: usize, number: u64) -> String {
        format!("{}{}{}", Prefix(rendition), number.saturating_add(self.shift), ending(self.format))
    }

    pub(in crate::hls) fn init(&self, rendition: usize, segment: u64) -> String {
        format!("{}i{}.mp4", Prefix(rendition), segment.saturating_add(self.shift))
    }

    /// The number in the name of a segment, where it is one.
    pub(in crate::hls) fn number(name: &str) -> Option<u64> {
        let rest = rendition_of(name)?.1;
        let formats = [HlsFormat::Fmp4, HlsFormat::Ts];
        digits(formats.into_iter().find_map(|format| rest.strip_suffix(ending(format)))?)
    }

    /// Whether it is the name of a segment or of what decoders need first.
    pub(in crate::hls) fn is_of_media(name: &str) -> bool {
        let is_init = || {
            let rest = rendition_of(name)?.1.strip_prefix('i')?;
            digits(rest.strip_suffix(".mp4")?)
        };
        Self::number(name).or_else(is_init).is_some()
    }
}

/// A number of digits alone.
fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

impl Snapshot {
    /// What has to be written where all before number `from` is; none where that is nothing.
    pub(in crate::hls) fn edition(&self, from: u64) -> Option<Edition> {
        let listed = || self.segments.iter().skip(self.unlisted);
        let new: Vec<_> = listed().filter(|segment| segment.number >= from).collect();
        let left_out = new.len().saturating_sub(MAX_PENDING.get());
        let new = new.get(left_out..).unwrap_or_default();
        if new.is_empty() && !self.is_over {
            return None;
        }
        let renditions = self.open.init.headers.len();
        Some(Edition {
            listed: listed().map(|segment| segment.without_media()).collect(),
            begins: new.first().map_or(self.open.number, |segment| segment.number),
            ends: self.open.number,
            new: new
                .iter()
                .filter(|segment| !segment.is_gap())
                .map(|segment| NewSegment::of(segment))
                .collect(),
            left_out,
            renditions,
            is_over: self.is_over,
            multivariant: self.plain_multivariant(),
            format: self.format,
            breaks_before: self.breaks_before,
            target_s: self.rules.target_s,
        })
    }
}

impl Snapshot {
    fn plain_multivariant(&self) -> String {
        let mut text = String::with_capacity(512);
        // Writing to a string cannot fail.
        let _ = self.write_multivariant(&mut text, VERSION, "", "");
        text
    }
}

impl Segment {
    fn without_media(&self) -> Self {
        Self { parts: Vec::new(), init: self.init.clone(), ..*self }
    }
}

impl NewSegment {
    fn of(segment: &Arc<Segment>) -> Self {
        let headers = &segment.init.headers;
        Self {
            number: segment.number,
            init: segment.init.number,
            headers: headers.iter().map(|header| header.init.clone()).collect(),
            media: (0..headers.len()).map(|rendition| segment.media(rendition)).collect(),
        }
    }
}

impl Edition {
    /// How long a playlist is good for its readers at least.
    pub(in crate::hls) fn patience(&self) -> Duration {
        Duration::from_secs(u64::from(self.target_s).saturating_mul(PARTS_FOR.unsigned_abs()))
    }

    /// The name of a rendition's playlist, and what it says.
    pub(in crate::hls) fn playlist(&self, rendition: usize, names: &FileNames) -> (String, String) {
        let mut text = String::with_capacity(2_048);
        // Writing to a string cannot fail.
        let _ = self.write_to(&mut text, rendition, names);
        (playlist_name(rendition), text)
    }

    /// Whether number `init` of what decoders need first is named still.
    pub(in crate::hls) fn names_init(&self, init: u64, first: u64) -> bool {
        self.listed.iter().any(|segment| segment.number >= first && segment.init.number == init)
    }

    /// The first that is listed.
    pub(in crate::hls) fn first(&self) -> u64 {
        self.listed.first().map_or(self.ends, |segment| segment.number)
    }

    fn write_to(&self, out: &mut String, rendition: usize, names: &FileNames) -> std::fmt::Result {
        writeln!(out, "#EXTM3U\n#EXT-X-VERSION:{VERSION}\n#EXT-X-TARGETDURATION:{}", self.target_s)?;
        let is_listed = |segment: &&Segment| segment.number >= names.first;
        let gone = self.listed.iter().filter(|segment| !is_listed(segment) && segment.is_break).count();
        let breaks = names.breaks.saturating_add(self.breaks_before).saturating_add(gone as u64);
        let first = self.first().max(names.first).saturating_add(names.shift);
        writeln!(out, "#EXT-X-MEDIA-SEQUENCE:{first}\n#EXT-X-DISCONTINUITY-SEQUENCE:{breaks}")?;
        let mut named = None;
        for segment in self.listed.iter().filter(is_listed) {
            let init = names.inits.get(&segment.init.number).filter(|init| named != Some(**init));
            named = init.copied().or(named);
            let init = init.filter(|_| names.format == HlsFormat::Fmp4);
            write_head(out, segment, init.map(|init| names.init(rendition, *init)))?;
            if !names.written.contains(&segment.number) {
                writeln!(out, "#EXT-X-GAP")?;
            }
            let name = names.segment(rendition, segment.number);
            writeln!(out, "#EXTINF:{:.5},\n{name}", seconds(segment.lasts))?;
        }
        if self.is_over {
            writeln!(out, "#EXT-X-ENDLIST")?;
        }
        Ok(())
    }
}
