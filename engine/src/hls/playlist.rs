//! The window of segments that players can load, and the playlists that list them. It knows no clock and does no I/O.
//!
//! Numbers in parentheses are sections of draft-pantos-hls-rfc8216bis-18.

mod plain;

pub(super) use plain::{Edition, FileNames, NewSegment};

use super::TICKS;
use super::plan::Rules;
use super::segmenter::{Cut, Header, Part as NewPart};
use crate::config::HlsFormat;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

/// Parts are listed of segments that end no farther from the end of the playlist than so many TARGETDURATIONs (6.2.2).
const PARTS_FOR: i64 = 3;
/// A playlist that skips lists at least so many TARGETDURATIONs (4.4.3.8).
const SKIP_BEHIND: i64 = 6;

/// What stands in playlists, decided once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    pub(super) rules: Rules,
    /// How much a playlist lists at least, in ticks, if there is as much.
    pub(super) window: i64,
    /// Most bytes of all that is kept; the window gives way, down to three TARGETDURATIONs.
    pub(super) max_bytes: usize,
    /// MEDIA-SEQUENCE of the first segment.
    pub(super) first: u64,
    pub(super) format: HlsFormat,
}

/// A part of all renditions.
#[derive(Debug, Clone)]
struct Part {
    lasts: i64,
    is_independent: bool,
    /// Its bytes, by rendition; none where it is a gap.
    media: Option<Vec<Bytes>>,
}

/// A segment of all renditions: its parts.
#[derive(Debug, Clone)]
struct Segment {
    /// Its media sequence number.
    number: u64,
    /// The number of its first part, counted from the first of all.
    first_part: u64,
    parts: Vec<Part>,
    lasts: i64,
    bytes: usize,
    /// Wall clock at its begin, once it has one.
    date: Option<SystemTime>,
    /// It does not go on from the one before.
    is_break: bool,
    /// What decoders need for it first.
    init: Arc<Init>,
}

/// What decoders need first, by rendition.
#[derive(Debug)]
struct Init {
    /// Its number.
    number: u64,
    headers: Vec<Header>,
}

/// The segments that there are.
#[derive(Debug)]
pub(super) struct Window {
    terms: Terms,
    /// The oldest first; those before `listed` are kept for who has seen them listed.
    segments: VecDeque<Arc<Segment>>,
    /// Segments at the front that playlists do not list any more.
    unlisted: usize,
    /// Breaks of segments that are not listed any more.
    breaks_before: u64,
    open: Segment,
    is_over: bool,
    bytes: usize,
    /// Stream time in ticks and wall clock of the same moment, since the last break.
    anchor: Option<(i64, SystemTime)>,
    inits: u64,
}

impl Window {
    pub(super) fn new(terms: Terms) -> Self {
        let init = Arc::new(Init { number: 0, headers: Vec::new() });
        Self {
            terms,
            segments: VecDeque::new(),
            unlisted: 0,
            breaks_before: 0,
            open: Segment::new(terms.first, 0, init),
            is_over: false,
            bytes: 0,
            anchor: None,
            inits: 0,
        }
    }

    /// Takes a cut. The wall clock shows `now` at the stream time `edge`, in ticks.
    pub(super) fn push(&mut self, cut: Cut, now: SystemTime, edge: i64) {
        match cut {
            Cut::Break(headers) => self.begin_anew(headers),
            Cut::Part(part) => self.push_part(part, now, edge),
            Cut::Segment => self.end_segment(),
        }
    }

    fn begin_anew(&mut self, headers: Vec<Header>) {
        self.anchor = None;
        self.open.is_break = !self.segments.is_empty();
        if self.open.init.headers != headers {
            self.inits += 1;
            self.open.init = Arc::new(Init { number: self.inits, headers });
        }
    }

    fn push_part(&mut self, part: NewPart, now: SystemTime, edge: i64) {
        let NewPart { begins, lasts, is_independent, media } = part;
        let (at, date) = *self.anchor.get_or_insert((edge, now));
        if self.open.parts.is_empty() {
            let date = later(date, begins - at);
            // Dates name one moment of the stream each (6.2.1): none goes back.
            self.open.date = Some(self.end_date().map_or(date, |end| end.max(date)));
        }
        self.take(Part { lasts, is_independent, media: Some(media) });
    }

    /// When the last segment ends.
    fn end_date(&self) -> Option<SystemTime> {
        let last = self.segments.back()?;
        Some(later(last.date?, last.lasts))
    }

    fn take(&mut self, part: Part) {
        let bytes = part.media.iter().flatten().map(Bytes::len).sum::<usize>();
        self.bytes += bytes;
        self.open.bytes += bytes;
        self.open.lasts += part.lasts;
        self.open.parts.push(part);
        if self.is_too_large() {
            self.let_go();
        }
    }

    fn end_segment(&mut self) {
        if self.open.parts.is_empty() {
            return;
        }
        let first_part = self.open.first_part + self.open.parts.len() as u64;
        let next = Segment::new(self.open.number + 1, first_part, self.open.init.clone());
        let ended = std::mem::replace(&mut self.open, next);
        self.segments.push_back(Arc::new(ended));
        self.let_go();
    }

    /// Lists a segment of `lasts` ticks that nobody can load: the publisher is away.
    pub(super) fn push_gap(&mut self, lasts: i64) {
        self.open.date = self.end_date();
        self.take(Part { lasts, is_independent: false, media: None });
        self.end_segment();
    }

    /// Nothing follows.
    pub(super) fn end(&mut self) {
        self.is_over = true;
    }

    /// Takes off the list what is too old for it, and drops what was on it for as long again (6.2.2).
    fn let_go(&mut self) {
        self.let_go_beyond(self.terms.window, usize::MAX);
        self.give_way(self.terms.max_bytes);
    }

    /// Holds no more than `most` bytes, or three TARGETDURATIONs: half of what there is room for is listed, and as much is kept for
    /// who has seen it listed.
    pub(super) fn give_way(&mut self, most: usize) {
        while self.bytes > most {
            let before = (self.segments.len(), self.unlisted);
            let half = (self.listed_ticks() + self.kept_ticks()) / 2;
            self.let_go_beyond(half, most);
            if before == (self.segments.len(), self.unlisted) {
                break;
            }
        }
    }

    /// The same for a list of `window` ticks: three TARGETDURATIONs at least. Of what is not listed it keeps `max_bytes` of all.
    fn let_go_beyond(&mut self, window: i64, max_bytes: usize) {
        let least = i64::from(self.terms.rules.target_s) * TICKS * PARTS_FOR;
        while let Some(oldest) = self.segments.get(self.unlisted) {
            if self.listed_ticks() - oldest.lasts < window.max(least) {
                break;
            }
            self.breaks_before += u64::from(oldest.is_break);
            self.unlisted += 1;
        }
        let listed = self.listed_ticks();
        while self.unlisted > 0
            && let Some(oldest) = self.segments.front()
            && (self.kept_ticks() - oldest.lasts >= listed || self.bytes > max_bytes)
        {
            self.bytes -= oldest.bytes;
            self.segments.pop_front();
            self.unlisted -= 1;
        }
    }

    fn listed_ticks(&self) -> i64 {
        self.listed().map(|segment| segment.lasts).sum()
    }

    /// How long that is which is not listed any more.
    fn kept_ticks(&self) -> i64 {
        self.segments.iter().take(self.unlisted).map(|segment| segment.lasts).sum()
    }

    fn listed(&self) -> impl DoubleEndedIterator<Item = &Arc<Segment>> {
        self.segments.iter().skip(self.unlisted)
    }

    /// Whether it holds more than it may.
    pub(super) fn is_too_large(&self) -> bool {
        self.bytes > self.terms.max_bytes
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there is something to play.
    pub(super) fn has_segments(&self) -> bool {
        !self.segments.is_empty()
    }

    /// What there is now, as players get it. `epoch` is the folder of the media.
    pub(super) fn snapshot(&self, epoch: &str) -> Snapshot {
        let renditions = self.open.init.headers.len();
        let playlists = (0..renditions).map(|rendition| self.playlists(epoch, rendition)).collect();
        Snapshot {
            segments: self.segments.clone(),
            unlisted: self.unlisted,
            breaks_before: self.breaks_before,
            open: self.open.clone(),
            is_over: self.is_over,
            format: self.terms.format,
            playlists,
            peak_bits: self.peak_bits(),
            rules: self.terms.rules,
        }
    }

    /// Bits per second of the densest segment that is listed.
    fn peak_bits(&self) -> u64 {
        let bits = |segment: &Arc<Segment>| {
            let lasts = u64::try_from(segment.lasts).unwrap_or_default().max(1);
            (segment.bytes as u64).saturating_mul(8).saturating_mul(TICKS as u64) / lasts
        };
        self.listed().map(bits).max().unwrap_or_default()
    }

    fn playlists(&self, epoch: &str, rendition: usize) -> Playlists {
        let whole = Text::new(self.write(epoch, rendition, 0));
        let may_skip = self.terms.rules.part.is_some() && !self.is_over;
        let skipped = if may_skip { self.can_skip() } else { 0 };
        let delta = (skipped > 0).then(|| Text::new(self.write(epoch, rendition, skipped)));
        Playlists { whole, delta }
    }

    /// Segments that a delta leaves out: those farther from the end than the boundary (4.4.3.8, 6.2.5.1).
    fn can_skip(&self) -> usize {
        let boundary = self.skip_boundary();
        let mut behind = self.open.lasts;
        let near = self.listed().rev().take_while(|segment| {
            let is_near = behind < boundary;
            behind += segment.lasts;
            is_near
        });
        let near = near.count();
        self.listed().count() - near
    }

    fn skip_boundary(&self) -> i64 {
        i64::from(self.terms.rules.target_s) * TICKS * SKIP_BEHIND
    }

    fn write(&self, epoch: &str, rendition: usize, skipped: usize) -> String {
        let mut text = String::with_capacity(4_096);
        // Writing to a string cannot fail.
        let _ = self.write_to(&mut text, epoch, rendition, skipped);
        text
    }

    fn write_to(&self, out: &mut String, epoch: &str, rendition: usize, skipped: usize) -> std::fmt::Result {
        let Rules { target_s, part, .. } = self.terms.rules;
        writeln!(out, "#EXTM3U\n#EXT-X-VERSION:{}", version(&self.terms.rules))?;
        writeln!(out, "#EXT-X-TARGETDURATION:{target_s}")?;
        // Without parts the defaults do: HOLD-BACK is three TARGETDURATIONs, and hls-parser takes the tag for low latency.
        if let Some(part) = part {
            writeln!(
                out,
                "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL={:.1},PART-HOLD-BACK={:.3},HOLD-BACK={:.1}\n\
                 #EXT-X-PART-INF:PART-TARGET={:.3}",
                seconds(self.skip_boundary()),
                seconds(part * 3),
                f64::from(target_s * 3),
                seconds(part),
            )?;
        }
        let first = self.listed().next().map_or(self.open.number, |segment| segment.number);
        writeln!(out, "#EXT-X-MEDIA-SEQUENCE:{first}\n#EXT-X-DISCONTINUITY-SEQUENCE:{}", self.breaks_before)?;
        if skipped > 0 {
            writeln!(out, "#EXT-X-SKIP:SKIPPED-SEGMENTS={skipped}")?;
        }
        let total: i64 = self.listed().map(|segment| segment.lasts).sum::<i64>() + self.open.lasts;
        let (mut to_end, mut init) = (total, None);
        for (place, segment) in self.listed().enumerate() {
            to_end -= segment.lasts;
            // Of what is skipped the player knows it.
            let has_map = init.replace(segment.init.number) != Some(segment.init.number);
            if place < skipped {
                continue;
            }
            write_head(out, segment, map_name(epoch, segment, rendition).filter(|_| has_map))?;
            if to_end <= i64::from(target_s) * TICKS * PARTS_FOR && part.is_some() {
                write_parts(out, epoch, segment, rendition)?;
            }
            if segment.is_gap() {
                writeln!(out, "#EXT-X-GAP")?;
            }
            let (lasts, name) = (seconds(segment.lasts), Prefix(rendition));
            let ending = ending(self.terms.format);
            writeln!(out, "#EXTINF:{lasts:.5},\n{epoch}/{name}{}{ending}", segment.number)?;
        }
        if self.is_over {
            return writeln!(out, "#EXT-X-ENDLIST");
        }
        if part.is_some() {
            if !self.open.parts.is_empty() {
                let has_map = init != Some(self.open.init.number);
                write_head(out, &self.open, map_name(epoch, &self.open, rendition).filter(|_| has_map))?;
                write_parts(out, epoch, &self.open, rendition)?;
            }
            let next = self.open.first_part + self.open.parts.len() as u64;
            writeln!(out, "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"{epoch}/{}p{next}.m4s\"", Prefix(rendition))?;
            self.write_reports(out, rendition)?;
        }
        Ok(())
    }

    /// Where the other renditions have got to (4.4.5.4): as far as this one.
    fn write_reports(&self, out: &mut String, rendition: usize) -> std::fmt::Result {
        let last = match self.open.parts.len() {
            0 => self.segments.back().map(|segment| (segment.number, segment.parts.len())),
            parts => Some((self.open.number, parts)),
        };
        let Some((number, parts)) = last else { return Ok(()) };
        for other in (0..self.open.init.headers.len()).filter(|other| *other != rendition) {
            writeln!(
                out,
                "#EXT-X-RENDITION-REPORT:URI=\"{}\",LAST-MSN={number},LAST-PART={}",
                playlist_name(other),
                parts.saturating_sub(1)
            )?;
        }
        Ok(())
    }
}

/// EXT-X-VERSION: with parts, EXT-X-SKIP may come (9); without, EXT-X-GAP (8).
fn version(rules: &Rules) -> u8 {
    if rules.part.is_some() { 9 } else { 8 }
}

/// What decoders need first for a segment, where that is not in the segment itself.
fn map_name(epoch: &str, segment: &Segment, rendition: usize) -> Option<String> {
    let header = segment.init.headers.get(rendition).filter(|header| !header.init.is_empty());
    header.map(|_| format!("{epoch}/{}i{}.mp4", Prefix(rendition), segment.init.number))
}

/// What stands before a segment.
fn write_head(out: &mut String, segment: &Segment, map: Option<String>) -> std::fmt::Result {
    if segment.is_break {
        writeln!(out, "#EXT-X-DISCONTINUITY")?;
    }
    if let Some(map) = map {
        writeln!(out, "#EXT-X-MAP:URI=\"{map}\"")?;
    }
    match segment.date {
        Some(date) => writeln!(out, "#EXT-X-PROGRAM-DATE-TIME:{}", humantime::format_rfc3339_millis(date)),
        None => Ok(()),
    }
}

fn write_parts(out: &mut String, epoch: &str, segment: &Segment, rendition: usize) -> std::fmt::Result {
    for (number, part) in (segment.first_part..).zip(&segment.parts) {
        let (lasts, name) = (seconds(part.lasts), Prefix(rendition));
        write!(out, "#EXT-X-PART:DURATION={lasts:.5},URI=\"{epoch}/{name}p{number}.m4s\"")?;
        let attributes = [(part.is_independent, ",INDEPENDENT=YES"), (part.media.is_none(), ",GAP=YES")];
        attributes.into_iter().filter(|(holds, _)| *holds).for_each(|(_, text)| out.push_str(text));
        out.push('\n');
    }
    Ok(())
}

impl Segment {
    fn new(number: u64, first_part: u64, init: Arc<Init>) -> Self {
        Self { number, first_part, parts: Vec::new(), lasts: 0, bytes: 0, date: None, is_break: false, init }
    }

    fn is_gap(&self) -> bool {
        self.parts.iter().all(|part| part.media.is_none())
    }

    /// Its bytes in one rendition, part by part.
    fn media(&self, rendition: usize) -> Vec<Bytes> {
        let of = |part: &Part| part.media.as_ref()?.get(rendition).cloned();
        self.parts.iter().filter_map(of).collect()
    }
}

/// What there is at one moment.
#[derive(Debug)]
pub(crate) struct Snapshot {
    segments: VecDeque<Arc<Segment>>,
    /// So many of them are not listed any more.
    unlisted: usize,
    /// Breaks of segments that are not listed any more.
    breaks_before: u64,
    open: Segment,
    is_over: bool,
    format: HlsFormat,
    playlists: Vec<Playlists>,
    peak_bits: u64,
    rules: Rules,
}

/// The playlists of a rendition.
#[derive(Debug)]
struct Playlists {
    whole: Text,
    /// Without the segments that a player has seen already, where there are such.
    delta: Option<Text>,
}

/// A playlist, and packed once somebody wants it so.
#[derive(Debug)]
pub(crate) struct Text {
    plain: Bytes,
    packed: OnceLock<Bytes>,
}

impl Text {
    fn new(text: String) -> Self {
        Self { plain: text.into(), packed: OnceLock::new() }
    }

    pub(crate) fn plain(&self) -> &Bytes {
        &self.plain
    }

    /// By gzip.
    pub(crate) fn packed(&self) -> &Bytes {
        self.packed.get_or_init(|| {
            let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
            // Writing to memory cannot fail.
            let _ = packer.write_all(&self.plain);
            packer.finish().unwrap_or_default().into()
        })
    }
}

/// What a player waits for: `_HLS_msn` and `_HLS_part` (6.2.5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Awaited {
    pub(crate) number: u64,
    pub(crate) part: Option<u64>,
}

/// How what a player asks for stands to what there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    There,
    ToCome,
    /// So far ahead that nobody waits for it.
    TooFar,
}

/// Media that was asked for by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    There(Vec<Bytes>),
    /// The part that comes next.
    ToCome,
}

impl Snapshot {
    /// Whether nothing follows.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over
    }

    /// The number of the newest whole segment.
    pub(crate) fn newest(&self) -> Option<u64> {
        self.segments.back().map(|segment| segment.number)
    }

    /// How long a playlist stays as it is at most: three times TARGETDURATION is when one stops to wait for news, or to believe that
    /// a viewer is there.
    pub(crate) fn patience(&self) -> Duration {
        Duration::from_secs(u64::from(self.rules.target_s) * 3)
    }

    /// The playlist that names the others; their URIs begin with `folder`, and end with `query`.
    pub(crate) fn multivariant(&self, folder: &str, query: &str) -> String {
        let version = version(&self.rules);
        let mut text = String::with_capacity(512);
        // Writing to a string cannot fail.
        let _ = self.write_multivariant(&mut text, version, folder, query);
        text
    }

    fn write_multivariant(
        &self,
        out: &mut String,
        version: u8,
        folder: &str,
        query: &str,
    ) -> std::fmt::Result {
        writeln!(out, "#EXTM3U\n#EXT-X-VERSION:{version}")?;
        let headers = &self.open.init.headers;
        for (number, sound) in headers.iter().enumerate().skip(1) {
            let is_default = if number == 1 { "YES" } else { "NO" };
            write!(
                out,
                "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio\",NAME=\"Audio {number}\",DEFAULT={is_default},AUTOSELECT=YES"
            )?;
            if sound.channels > 0 {
                write!(out, ",CHANNELS=\"{}\"", sound.channels)?;
            }
            writeln!(out, ",URI=\"{folder}{}{query}\"", playlist_name(number))?;
        }
        write!(out, "#EXT-X-STREAM-INF:BANDWIDTH={}", self.peak_bits.max(1))?;
        let mut codecs: Vec<&str> =
            headers.iter().flat_map(|header| &header.codecs).map(String::as_str).collect();
        codecs.dedup();
        write!(out, ",CODECS=\"{}\"", codecs.join(","))?;
        if let Some((width, height)) = headers.first().and_then(|header| header.size) {
            write!(out, ",RESOLUTION={width}x{height}")?;
        }
        if let Some(period) = headers.first().and_then(|header| header.picture) {
            write!(out, ",FRAME-RATE={:.3}", TICKS as f64 / period.max(1) as f64)?;
        }
        if headers.len() > 1 {
            out.push_str(",AUDIO=\"audio\"");
        }
        writeln!(out, "\n{folder}{}{query}", playlist_name(0))
    }

    /// The playlist of a rendition; without what has been seen where that `skips`, and there is something to skip.
    pub(crate) fn playlist(&self, rendition: usize, skips: bool) -> Option<&Text> {
        let playlists = self.playlists.get(rendition)?;
        Some(playlists.delta.as_ref().filter(|_| skips).unwrap_or(&playlists.whole))
    }

    /// See [`Standing`].
    pub(crate) fn standing(&self, awaited: Awaited) -> Standing {
        let Awaited { number, part } = awaited;
        let there = self.open.parts.len() as u64;
        if self.is_over {
            return Standing::There;
        }
        // Two segments ahead of the last whole one are one ahead of the open one.
        let is_far = number > self.open.number + 1
            || (number >= self.open.number
                && part.is_some_and(|part| part > there + self.rules.parts_ahead()));
        let is_there = match part {
            None => number < self.open.number,
            // One behind the last of a segment is the first of the next.
            Some(part) => match self.segment(number) {
                Some(segment) if part >= segment.parts.len() as u64 => {
                    number + 1 < self.open.number || there > 0
                }
                Some(_) => true,
                None => number < self.open.number || (number == self.open.number && part < there),
            },
        };
        match (is_there, is_far) {
            (true, _) => Standing::There,
            (false, true) => Standing::TooFar,
            (false, false) => Standing::ToCome,
        }
    }

    /// What has the name of a file.
    pub(crate) fn piece(&self, name: &str) -> Option<Piece> {
        let (rendition, rest) = rendition_of(name)?;
        if let Some(number) = rest.strip_prefix('i') {
            let number: u64 = number.strip_suffix(".mp4")?.parse().ok()?;
            let inits = self.segments.iter().map(|segment| &segment.init).chain([&self.open.init]);
            let init = inits.into_iter().find(|init| init.number == number)?;
            return Some(Piece::There(vec![init.headers.get(rendition)?.init.clone()]));
        }
        let rest = rest.strip_suffix(ending(self.format))?;
        match rest.strip_prefix('p') {
            Some(number) if self.rules.part.is_some() => self.part(rendition, number.parse().ok()?),
            Some(_) => None,
            None => {
                let segment = self.segment(rest.parse().ok()?).filter(|segment| !segment.is_gap())?;
                Some(Piece::There(segment.media(rendition)))
            }
        }
    }

    fn segment(&self, number: u64) -> Option<&Arc<Segment>> {
        let first = self.segments.front()?.number;
        self.segments.get(usize::try_from(number.checked_sub(first)?).ok()?)
    }

    fn part(&self, rendition: usize, number: u64) -> Option<Piece> {
        if number == self.open.first_part + self.open.parts.len() as u64 && !self.is_over {
            return Some(Piece::ToCome);
        }
        let ended = self.segments.iter().map(|segment| &**segment);
        let segment = ended.chain([&self.open]).rfind(|segment| segment.first_part <= number)?;
        let part = segment.parts.get(usize::try_from(number - segment.first_part).ok()?)?;
        Some(Piece::There(vec![part.media.as_ref()?.get(rendition)?.clone()]))
    }
}

/// What the names of a rendition's files begin with: `v`, and `a1` and so on for sounds apart.
#[derive(Clone, Copy)]
struct Prefix(usize);

impl std::fmt::Display for Prefix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            0 => f.write_str("v"),
            sound => write!(f, "a{sound}-"),
        }
    }
}

/// The rendition that a file is of, and the rest of its name.
fn rendition_of(name: &str) -> Option<(usize, &str)> {
    match name.strip_prefix('v') {
        Some(rest) => Some((0, rest)),
        None => {
            let (sound, rest) = name.strip_prefix('a')?.split_once('-')?;
            let sound = sound.parse().ok().filter(|sound| *sound > 0)?;
            Some((sound, rest))
        }
    }
}

/// The playlist of a rendition.
pub(crate) fn playlist_name(rendition: usize) -> String {
    match rendition {
        0 => "video.m3u8".to_owned(),
        sound => format!("audio{sound}.m3u8"),
    }
}

/// The rendition of a playlist.
pub(crate) fn rendition_of_playlist(name: &str) -> Option<usize> {
    match name.strip_suffix(".m3u8")? {
        "video" => Some(0),
        name => name.strip_prefix("audio")?.parse().ok().filter(|sound| *sound > 0),
    }
}

/// A date so many ticks later.
fn later(date: SystemTime, ticks: i64) -> SystemTime {
    let distance = Duration::from_micros(ticks.unsigned_abs() * 1_000_000 / TICKS.unsigned_abs());
    let moved = if ticks < 0 { date.checked_sub(distance) } else { date.checked_add(distance) };
    moved.unwrap_or(date)
}

/// What the names of media end with.
fn ending(format: HlsFormat) -> &'static str {
    match format {
        HlsFormat::Fmp4 => ".m4s",
        HlsFormat::Ts => ".ts",
    }
}

fn seconds(ticks: i64) -> f64 {
    ticks as f64 / TICKS as f64
}
