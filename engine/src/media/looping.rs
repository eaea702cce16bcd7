//! The timeline of a looped file or playlist: when each frame is due, without a clock and without drift.
//!
//! ```text
//! pass 1                         pass 2                         pass 3
//! |video ------------------.     |video ------------------.     |
//! |audio ---------------------.  |audio ---------------------.  |
//! 0                              L                              2 L
//! ```
//!
//! `L` is the longer track's duration to its last frame's real end, in nanoseconds; it is rounded to milliseconds
//! only in the timestamps that come out, and both tracks of a pass are moved by the same amount. So the longer track
//! goes on after exactly one frame, also when the other one starts a little later and still plays at the seam.

mod clock;
mod output;
mod straight;

use super::flv::LeftOut;
use super::media_file::MediaReader;
use super::{Frame, NANOS_PER_MS, NotCarried};
use crate::{Error, ErrorKind, Result};
use bytes::Bytes;
use clock::{FileClock, Role};
use output::Output;
use std::io::{BufRead, Cursor, Seek};
use std::time::Duration;
use straight::Straight;

/// What a clip's bytes can do.
pub trait Input: BufRead + Seek + Send {}
impl<T: BufRead + Seek + Send> Input for T {}

/// Where a clip's bytes come from.
pub trait ClipSource: Send + Sync {
    /// What status and error texts call it.
    fn name(&self) -> String;

    /// Its bytes from the first on.
    ///
    /// # Errors
    /// Those of the operating system, without the name.
    fn open(&self) -> Result<Box<dyn Input>>;

    /// Whether its bytes are others than when this was asked before; the first answer means nothing.
    ///
    /// # Errors
    /// As [`Self::open`].
    fn has_changed(&mut self) -> Result<bool>;

    /// Whether the bytes that [`open`](Self::open) gave last have become others meanwhile, as when a file is written
    /// over in place; not when another one took its name.
    fn is_overwritten(&self) -> bool {
        false
    }
}

/// A media file, FLV or MP4, that a [`Loop`] plays: in memory, or anything that has bytes. Paths are clips too: they are read again in
/// each pass and looked at for changes before.
pub struct Clip(Box<dyn ClipSource>);

impl Clip {
    /// Bytes from anywhere.
    pub fn new(source: impl ClipSource + 'static) -> Self {
        Self(Box::new(source))
    }

    /// A media file in memory, such as one that the program was built with; `name` is what texts call it.
    pub fn memory(name: impl Into<String>, bytes: impl Into<Bytes>) -> Self {
        Self::new(Memory { name: name.into(), bytes: bytes.into() })
    }

    fn open(&self) -> Result<MediaReader<Box<dyn Input>>> {
        MediaReader::new(self.0.open()?)
    }
}

impl std::fmt::Debug for Clip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Clip").field(&self.0.name()).finish()
    }
}

struct Memory {
    name: String,
    bytes: Bytes,
}

impl ClipSource for Memory {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn open(&self) -> Result<Box<dyn Input>> {
        Ok(Box::new(Cursor::new(self.bytes.clone())))
    }

    fn has_changed(&mut self) -> Result<bool> {
        Ok(false)
    }
}

bound! {
    /// Bytes of a clip that are read before it is played: what is longer starts without being read through
    /// (test `a_long_file_is_not_read_through_before_it_plays`).
    const MAX_SCAN: u64 = 64 * 1024 * 1024, without u64::MAX;
}

/// What was found out about a clip when it was read through, or its first 64 MiB where it is longer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClipInfo {
    /// Path, or the name given to a clip in memory.
    pub name: String,
    /// Its length when looped: that of its longer track, to the end of its last frame.
    pub length: Duration,
    /// Coded audio and video frames.
    pub frames: u64,
    /// Offset of the half tag that it ends with, or of the first sample that is not whole; everything before it is played.
    pub truncated_at: Option<u64>,
    /// Bytes that are part of no tag; all others are played.
    pub left_out: LeftOut,
    /// Tags that are left out because they are encrypted.
    pub encrypted_tags: u64,
    /// Frames whose time did not advance on their track's, or was far from it, and was put right.
    pub repaired: u64,
    /// What the file has and the stream has not.
    pub not_carried: Vec<NotCarried>,
}

/// How often a [`Loop`] plays its clips.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// Without end.
    Forever,
    /// All clips, this many times.
    Times(u64),
}

/// A frame and when to send it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimedFrame {
    /// Time since the loop's start, exact: not accumulated from rounded steps.
    pub due: Duration,
    /// The frame, its timestamp continuous over passes.
    pub frame: Frame,
}

/// Plays clips one after the other and over again as one endless stream.
///
/// Time is strictly monotone on each track, the distance of audio and video is the file's own in every pass, and
/// sequence headers and `onMetaData` (without the fields that only a file has) come again only if they changed. Ends
/// of sequence are left out where a pass follows. Frames come in the order of their time, however the file is interleaved,
/// as far as reading ahead of 4,096 frames and 16 MiB can tell; where its tracks are further apart than that, `due` steps
/// back, and the driver sends at once.
/// A few frames whose time is far from their neighbours' are put where those are.
///
/// This type does not sleep: its driver waits until start + [`TimedFrame::due`] on a monotonic clock. It reads files
/// with blocking calls.
pub struct Loop {
    clips: Vec<Source>,
    repeat: Repeat,
    round: u64,
    next_clip: usize,
    pass: Option<Pass>,
    /// Start of the present pass in nanoseconds.
    base: i64,
    output: Output,
    finished: bool,
    /// Told after the frames that were read before it.
    failed: Option<Error>,
    /// A changed clip that is not whole is an error until it changes no more.
    waits: bool,
}

struct Source {
    clip: Clip,
    facts: Facts,
    info: ClipInfo,
    /// It has changed since it was scanned.
    is_stale: bool,
    /// It has not changed for a while: nobody is writing it.
    is_settled: bool,
}

/// What else was found out about a clip.
struct Facts {
    /// Time of its first frame in milliseconds.
    first: i64,
    /// When each kind of frames has its last, in nanoseconds from the first.
    ends: Vec<(u8, i64)>,
    /// It goes on behind what was read.
    is_long: bool,
}

struct Pass {
    tags: Straight,
    clock: FileClock,
    name: String,
    /// Time in the file that the pass starts at, in milliseconds.
    first: i64,
    /// Configuration and data are not put beyond this.
    length_ms: i64,
    last_of_all: bool,
    /// What is wrong with the clip is told at the end.
    is_long: bool,
}

impl Loop {
    /// Opens all clips and reads them through once, so that a broken one is found before anything is sent. Of a long one
    /// the first 64 MiB are read.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] without clips; [`ErrorKind::Format`] with clip and byte position for what is no media
    /// file, is malformed, or holds neither audio nor video that RTMP carries; [`ErrorKind::Limit`] for an MP4 file whose index
    /// is too large; errors of the operating system.
    pub fn open(clips: impl IntoIterator<Item = impl Into<Clip>>, repeat: Repeat) -> Result<Self> {
        let clips = clips.into_iter().map(|clip| Source::open(clip.into())).collect::<Result<Vec<_>>>()?;
        if clips.is_empty() {
            return Err(Error::new(ErrorKind::InvalidArgument, "loop: no file to play"));
        }
        Ok(Self {
            clips,
            repeat,
            round: 0,
            next_clip: 0,
            pass: None,
            base: 0,
            output: Output::default(),
            finished: false,
            failed: None,
            waits: false,
        })
    }

    /// Makes a clip that has changed, and ends in half a tag, an error, until [`settle`](Self::settle) says that nobody
    /// is writing it. For drivers that ask
    /// [`can_resume`](Self::can_resume).
    pub(crate) fn wait_for_whole_clips(&mut self) {
        self.waits = true;
    }

    /// Ends the pass early if its clip was written over in place, as what follows is none of its own: an error, after the
    /// frames that were read. The next pass is the same clip's, and this one does not count.
    pub(crate) fn leave_overwritten(&mut self) {
        if self.pass.is_none() || !self.current().is_some_and(|source| source.clip.0.is_overwritten()) {
            return;
        }
        self.interrupt();
        let Some(source) = self.clips.get_mut(self.next_clip) else { return };
        (source.is_stale, source.is_settled) = (true, false);
        let error = Error::new(ErrorKind::Format, "the file was written over while it played");
        (self.finished, self.failed) = (true, Some(error.context(&source.info.name)));
    }

    /// Whether the clip that comes next has stayed the same since this was asked before. To be asked again and again
    /// after an error.
    pub(crate) fn settle(&mut self) -> bool {
        let next = self.next_clip;
        let Some(source) = self.clips.get_mut(next) else { return true };
        let has_changed = source.clip.0.has_changed().unwrap_or(true);
        source.is_stale |= has_changed;
        source.is_settled = !has_changed;
        !has_changed
    }

    /// After an error: tries the clip that failed again, from its start. When that succeeds, frames come again.
    pub(crate) fn can_resume(&mut self) -> bool {
        if self.pass.is_some() {
            self.interrupt();
        }
        self.failed = None;
        let is_on = self.start_pass();
        self.finished = is_on.is_err();
        is_on.is_ok()
    }

    /// The clip of the present pass.
    fn current(&self) -> Option<&Source> {
        self.clips.get(self.next_clip.checked_sub(1)?)
    }

    fn interrupt(&mut self) {
        self.end_pass();
        self.next_clip = self.next_clip.saturating_sub(1);
    }

    /// The clips as they were when last read through.
    pub fn clips(&self) -> impl Iterator<Item = &ClipInfo> {
        self.clips.iter().map(|source| &source.info)
    }

    /// How often all clips have been read to the end; ahead of the frames by a second, or by as much as the tracks lie apart.
    pub fn rounds(&self) -> u64 {
        self.round
    }

    /// The clip that the newest frame came from; `None` between clips.
    pub fn playing(&self) -> Option<&str> {
        self.pass.as_ref().map(|pass| pass.name.as_str())
    }

    /// When the passes that were read to their end are over: the next one's start, or the end of all.
    pub fn end(&self) -> Duration {
        nanos(self.base)
    }

    /// The next frame, or `None` after the last one of the last pass, and after an error.
    ///
    /// # Errors
    /// As [`open`](Self::open), if a file changed or was removed meanwhile.
    pub fn next_frame(&mut self) -> Result<Option<TimedFrame>> {
        while !self.finished {
            if let Some(frame) = self.output.queue.pop_ready() {
                return Ok(Some(frame));
            }
            match self.advance() {
                Ok(more) => self.finished = !more,
                Err(error) => (self.finished, self.failed) = (true, Some(error)),
            }
        }
        match self.output.queue.pop() {
            Some(frame) => Ok(Some(frame)),
            None => self.failed.take().map_or(Ok(None), Err),
        }
    }

    /// Reads one tag, or goes from one pass to the next; whether there is more to come.
    fn advance(&mut self) -> Result<bool> {
        let Some(pass) = &mut self.pass else {
            return self.start_pass();
        };
        match pass.tags.next_tag().map_err(|error| error.context(&pass.name))? {
            Some(tag) => self.output.take(tag.frame, pass, self.base),
            None => self.end_pass(),
        }
        Ok(true)
    }

    fn start_pass(&mut self) -> Result<bool> {
        if self.next_clip >= self.clips.len() {
            self.next_clip = 0;
            self.round = self.round.saturating_add(1);
        }
        if matches!(self.repeat, Repeat::Times(times) if self.round >= times) {
            return Ok(false);
        }
        let last_clip = self.next_clip.saturating_add(1) == self.clips.len();
        let last_round = matches!(self.repeat, Repeat::Times(times) if self.round.saturating_add(1) >= times);
        let Some(source) = self.clips.get_mut(self.next_clip) else {
            return Ok(false);
        };
        let pass = source.start(last_clip && last_round, self.waits)?;
        self.output.expect(&source.facts.ends, self.base);
        self.pass = Some(pass);
        self.next_clip = self.next_clip.saturating_add(1);
        Ok(true)
    }

    /// The next pass starts where this one's longer track really ended, whatever the file said before.
    fn end_pass(&mut self) {
        let Some(pass) = self.pass.take() else { return };
        let length = pass.clock.length();
        if pass.is_long {
            pass.warn();
        }
        self.output.end_pass(&pass);
        self.base = self.base.saturating_add(length);
    }
}

impl std::fmt::Debug for Loop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let clips: Vec<_> = self.clips().collect();
        f.debug_struct("Loop").field("clips", &clips).field("round", &self.round).finish_non_exhaustive()
    }
}

impl Source {
    fn open(mut clip: Clip) -> Result<Self> {
        let name = clip.0.name();
        let scanned = clip.0.has_changed().and_then(|_| scan(&clip));
        let (facts, info) = scanned.map_err(|error| error.context(name))?;
        Ok(Self { clip, facts, info, is_stale: false, is_settled: true })
    }

    fn start(&mut self, last_of_all: bool, waits: bool) -> Result<Pass> {
        let name = self.clip.0.name();
        let reader = self.reopen(waits).map_err(|error| error.context(&name))?;
        let is_long = self.facts.is_long;
        let length_ms = match is_long {
            true => i64::MAX,
            false => i64::try_from(self.info.length.as_millis()).unwrap_or(i64::MAX),
        };
        let (tags, clock) = (Straight::new(reader), FileClock::default());
        Ok(Pass { tags, clock, name, first: self.facts.first, length_ms, last_of_all, is_long })
    }

    fn reopen(&mut self, waits: bool) -> Result<MediaReader<Box<dyn Input>>> {
        if self.clip.0.has_changed()? {
            (self.is_stale, self.is_settled) = (true, false);
        }
        if self.is_stale {
            tracing::info!(file = self.info.name, "file changed, reading it through again");
            let (facts, info) = scan(&self.clip)?;
            if waits && !self.is_settled && (info.truncated_at.is_some() || info.left_out.bytes > 0) {
                return Err(Error::new(ErrorKind::Format, "the file has changed and is not whole yet"));
            }
            (self.facts, self.info, self.is_stale) = (facts, info, false);
        }
        self.clip.open()
    }
}

/// Reads a clip through, or the first part of a long one, for its tracks' times and its length.
fn scan(clip: &Clip) -> Result<(Facts, ClipInfo)> {
    let (mut clock, mut tags) = read_through(clip, MAX_SCAN.get())?;
    if clock.first().is_none() {
        // The first frame is worth a long search.
        (clock, tags) = read_through(clip, u64::MAX)?;
    }
    let reader = tags.reader();
    let Some(first) = clock.first() else {
        return Err(nothing_to_play(reader));
    };
    let info = ClipInfo {
        name: clip.0.name(),
        length: nanos(clock.length()),
        frames: clock.frames(),
        truncated_at: reader.truncated_at(),
        left_out: reader.left_out(),
        encrypted_tags: reader.encrypted_tags(),
        repaired: clock.repaired().saturating_add(tags.put_right()),
        not_carried: reader.not_carried().to_vec(),
    };
    info.warn();
    let is_long = reader.has_stopped();
    let end =
        |last: i64| if is_long { i64::MAX } else { last.saturating_sub(first).saturating_mul(NANOS_PER_MS) };
    let ends = clock.ends().into_iter().map(|(kind, last)| (kind, end(last))).collect();
    Ok((Facts { first, ends, is_long }, info))
}

fn read_through(clip: &Clip, limit: u64) -> Result<(FileClock, Straight)> {
    let mut reader = clip.open()?;
    reader.skim(limit);
    let (mut clock, mut tags) = (FileClock::default(), Straight::new(reader));
    while let Some(tag) = tags.next_tag()? {
        clock.place(&tag.frame, &Role::of(&tag.frame));
    }
    Ok((clock, tags))
}

/// Says what a file without frames has instead.
fn nothing_to_play(reader: &MediaReader<Box<dyn Input>>) -> Error {
    let mut text = format!("at byte {}: the file holds no audio or video frame", reader.position());
    if reader.left_out().bytes > 0 {
        text.push_str(&format!("; of its bytes, {} are no tag", reader.left_out()));
    }
    if reader.encrypted_tags() > 0 {
        text.push_str(&format!("; {} of its tags are encrypted", reader.encrypted_tags()));
    }
    Error::new(ErrorKind::Format, text)
}

impl Pass {
    /// Tells what was not known of a long clip before.
    fn warn(&self) {
        let (file, reader) = (&self.name, self.tags.reader());
        if reader.left_out().bytes > 0 {
            tracing::warn!(file, "left out, as they are no FLV tag: {}", reader.left_out());
        }
        if reader.encrypted_tags() > 0 {
            tracing::warn!(file, tags = reader.encrypted_tags(), "encrypted tags are left out");
        }
    }
}

impl ClipInfo {
    fn warn(&self) {
        let file = &self.name;
        if self.left_out.bytes > 0 {
            tracing::warn!(file, "left out, as they are no FLV tag: {}", self.left_out);
        }
        if self.encrypted_tags > 0 {
            tracing::warn!(file, tags = self.encrypted_tags, "encrypted tags are left out");
        }
        if let Some(position) = self.truncated_at {
            tracing::warn!(file, position, "file ends in half a frame, playing up to the last whole one");
        }
        for NotCarried { what, options } in &self.not_carried {
            tracing::warn!(
                file,
                "RTMP does not carry {what}; ffmpeg -i FILE {options} OUT.mp4 makes a file without it"
            );
        }
        if self.repaired > 0 {
            tracing::warn!(
                file,
                frames = self.repaired,
                "timestamps that do not advance, or are far from their neighbours, were put right"
            );
        }
    }
}

fn nanos(value: i64) -> Duration {
    Duration::from_nanos(u64::try_from(value).unwrap_or_default())
}
