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

use super::codec::{self, AudioConfig, Period};
use super::flv::{METADATA_SLOT, PacketType, PayloadInfo};
use super::flv_file::FlvReader;
use super::frame_duration::{Cadence, Others, period_of_rate};
use super::{ConfigSlot, Frame, FrameKind, metadata};
use crate::{Error, ErrorKind, Result};
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Cursor, Seek};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

const NANOS_PER_MS: i64 = 1_000_000;

/// A step back of a track's time by more than this is a clock that started again, not disorder.
const CLOCK_RESTART_MS: i64 = 1_000;

/// Tracks that start further apart than this do not overlap with the next pass.
const MAX_OVERLAP_MS: i64 = 1_000;

/// How far frames are read ahead to put those of different tracks into the order of their time; bounds what
/// is held, together with the two numbers below.
const LOOK_AHEAD: Duration = Duration::from_millis(1_000);
const MAX_AHEAD_FRAMES: usize = 1_024;
const MAX_AHEAD_BYTES: usize = 16 * 1024 * 1024;

/// Configuration frames held back at once while it is not known whether they change anything, and ends of
/// sequence while it is not known whether it goes on.
const MAX_HELD: usize = 64;

/// Where a clip's bytes come from.
#[derive(Debug, Clone)]
pub enum Clip {
    /// An FLV file on disk, read again in each pass and checked for changes before.
    File(PathBuf),
    /// An FLV file in memory, such as one that the program was built with.
    Memory {
        /// What error texts call it.
        name: String,
        /// The file.
        bytes: Bytes,
    },
}

impl<P: Into<PathBuf>> From<P> for Clip {
    fn from(path: P) -> Self {
        Self::File(path.into())
    }
}

/// What a clip's bytes can do.
trait Input: BufRead + Seek + Send {}
impl<T: BufRead + Seek + Send> Input for T {}

/// A file's length and time of change: when they are the same, so is the file.
type Version = Option<(u64, Option<SystemTime>)>;

impl Clip {
    fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Memory { name, .. } => name.clone(),
        }
    }

    fn version(&self) -> Result<Version> {
        match self {
            Self::File(path) => {
                let metadata = fs::metadata(path).map_err(|cause| Error::io("open", cause))?;
                Ok(Some((metadata.len(), metadata.modified().ok())))
            }
            Self::Memory { .. } => Ok(None),
        }
    }

    fn open(&self) -> Result<FlvReader<Box<dyn Input>>> {
        let input: Box<dyn Input> = match self {
            Self::File(path) => Box::new(BufReader::with_capacity(64 * 1024, open_regular(path)?)),
            Self::Memory { bytes, .. } => Box::new(Cursor::new(bytes.clone())),
        };
        FlvReader::new(input)
    }
}

/// Opens only regular files: a pipe or device would block or never end.
fn open_regular(path: &std::path::Path) -> Result<File> {
    let metadata = fs::metadata(path).map_err(|cause| Error::io("open", cause))?;
    if !metadata.is_file() {
        return Err(Error::new(ErrorKind::InvalidArgument, "not a regular file"));
    }
    File::open(path).map_err(|cause| Error::io("open", cause))
}

/// What was found out about a clip when it was read through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClipInfo {
    /// Path, or the name given to a clip in memory.
    pub name: String,
    /// Its length when looped: that of its longer track, to the end of its last frame.
    pub length: Duration,
    /// Coded audio and video frames.
    pub frames: u64,
    /// Offset of the half tag that it ends with; everything before it is played.
    pub truncated_at: Option<u64>,
    /// Frames whose time did not advance on their track's and was put right.
    pub repaired: u64,
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
/// of sequence are left out where a pass follows. Frames come in the order of their time as far as a second of
/// reading ahead can tell; where a file is interleaved worse than that, `due` steps back, and the driver sends at once.
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
}

struct Source {
    clip: Clip,
    version: Version,
    first: i64,
    info: ClipInfo,
}

struct Pass {
    reader: FlvReader<Box<dyn Input>>,
    clock: FileClock,
    name: String,
    /// Time in the file that the pass starts at, in milliseconds.
    first: i64,
    /// Configuration and data are not put beyond this.
    length_ms: i64,
    last_of_all: bool,
}

impl Loop {
    /// Opens all clips and reads them through once, so that a broken one is found before anything is sent.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] without clips; [`ErrorKind::Format`] with clip and byte position for what is no FLV
    /// file, is malformed, or holds neither audio nor video; errors of the operating system.
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
        })
    }

    /// The clips as they were when last read through.
    pub fn clips(&self) -> impl Iterator<Item = &ClipInfo> {
        self.clips.iter().map(|source| &source.info)
    }

    /// How often all clips have been read to the end; at most a second ahead of the frames.
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
        match pass.reader.next_tag().map_err(|error| error.context(&pass.name))? {
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
        self.pass = Some(source.start(last_clip && last_round)?);
        self.next_clip = self.next_clip.saturating_add(1);
        Ok(true)
    }

    /// The next pass starts where this one's longer track really ended, whatever the file said before.
    fn end_pass(&mut self) {
        let Some(pass) = self.pass.take() else { return };
        let length = pass.clock.length();
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
    fn open(clip: Clip) -> Result<Self> {
        let name = clip.name();
        Self::scan(clip).map_err(|error| error.context(name))
    }

    /// Reads the clip through for its first frame's time and its length.
    fn scan(clip: Clip) -> Result<Self> {
        let version = clip.version()?;
        let mut reader = clip.open()?;
        let mut clock = FileClock::default();
        while let Some(tag) = reader.next_tag()? {
            clock.place(&tag.frame, &Role::of(&tag.frame));
        }
        let Some(first) = clock.first() else {
            let text = format!("at byte {}: the file holds no audio or video frame", reader.position());
            return Err(Error::new(ErrorKind::Format, text));
        };
        let info = ClipInfo {
            name: clip.name(),
            length: nanos(clock.length()),
            frames: clock.frames,
            truncated_at: reader.truncated_at(),
            repaired: clock.repaired,
        };
        info.warn();
        Ok(Self { clip, version, first, info })
    }

    fn start(&mut self, last_of_all: bool) -> Result<Pass> {
        let name = self.clip.name();
        let version = self.clip.version().map_err(|error| error.context(&name))?;
        if version != self.version {
            tracing::info!(file = name, "file changed, reading it through again");
            *self = Self::open(self.clip.clone())?;
        }
        let reader = self.clip.open().map_err(|error| error.context(&name))?;
        let length_ms = i64::try_from(self.info.length.as_millis()).unwrap_or(i64::MAX);
        Ok(Pass { reader, clock: FileClock::default(), name, first: self.first, length_ms, last_of_all })
    }
}

impl ClipInfo {
    fn warn(&self) {
        let file = &self.name;
        if let Some(position) = self.truncated_at {
            tracing::warn!(file, position, "file ends in half a tag, playing up to the last whole one");
        }
        if self.repaired > 0 {
            tracing::warn!(file, frames = self.repaired, "timestamps that do not advance were put right");
        }
    }
}

/// Which track a coded frame belongs to: kind and E-RTMP track id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct TrackKey(u8, u8);

/// What a frame means to the timeline.
enum Role {
    /// An audio or video frame.
    Coded(TrackKey, Option<Period>),
    /// An audio sequence header, also configuration.
    AudioConfig(ConfigSlot, TrackKey, Option<AudioConfig>),
    Config(ConfigSlot),
    SequenceEnd,
    /// Data events and video commands.
    Other,
}

impl Role {
    fn of(frame: &Frame) -> Self {
        let info = PayloadInfo::parse(frame.kind, &frame.payload);
        let key = TrackKey(frame.kind.type_id(), info.map_or(0, |info| info.track));
        let data = info.map(|info| (info.codec, info.data(&frame.payload)));
        match (frame.flags.config, frame.kind, info.map(|info| info.packet)) {
            (Some(slot), FrameKind::Audio, Some(PacketType::SequenceStart)) => {
                Self::AudioConfig(slot, key, data.and_then(|(codec, data)| codec::audio_config(codec, data)))
            }
            (Some(slot), _, _) => Self::Config(slot),
            (_, _, Some(PacketType::SequenceEnd)) => Self::SequenceEnd,
            (_, FrameKind::Data, _) | (_, _, Some(PacketType::Command)) => Self::Other,
            (_, FrameKind::Audio, _) => {
                let header = data.and_then(|(codec, data)| codec::audio_frame(codec, data));
                Self::Coded(key, header.and_then(|header| header.period))
            }
            (_, FrameKind::Video, _) => Self::Coded(key, None),
        }
    }
}

/// Puts a file's timestamps right and finds its length.
#[derive(Debug, Default)]
struct FileClock {
    tracks: BTreeMap<TrackKey, TrackClock>,
    periods: BTreeMap<TrackKey, Period>,
    frame_rate: Option<Period>,
    /// What the newest restart of the file's clock adds to its timestamps.
    offset: i64,
    frames: u64,
    repaired: u64,
}

#[derive(Debug)]
struct TrackClock {
    first: i64,
    last: i64,
    step: i64,
    offset: i64,
    cadence: Cadence,
}

impl FileClock {
    /// The time of `frame` within the file, in milliseconds.
    fn place(&mut self, frame: &Frame, role: &Role) -> i64 {
        match role {
            Role::Coded(key, period) => {
                let period = self.periods.get(key).copied().or(*period);
                return self.place_coded(*key, frame.timestamp, period);
            }
            // An empty header, without configuration, does not take back what an earlier one said.
            Role::AudioConfig(_, key, Some(config)) => {
                self.periods.remove(key);
                self.periods.extend(config.period.map(|period| (*key, period)));
            }
            Role::Config(slot) if *slot == METADATA_SLOT => {
                let rate = metadata::number(&frame.payload, "framerate");
                self.frame_rate = rate.and_then(period_of_rate).or(self.frame_rate);
            }
            _ => {}
        }
        frame.timestamp.saturating_add(self.offset)
    }

    fn place_coded(&mut self, key: TrackKey, timestamp: i64, period: Option<Period>) -> i64 {
        self.frames = self.frames.saturating_add(1);
        let Some((last, offset)) = self.tracks.get(&key).map(|track| (track.last, track.offset)) else {
            let time = timestamp.saturating_add(self.offset);
            let hint = self.frame_rate.filter(|_| key.0 == FrameKind::Video.type_id());
            let cadence = Cadence::new(time, period, hint);
            let track = TrackClock { first: time, last: time, step: 0, offset: self.offset, cadence };
            self.tracks.insert(key, track);
            return time;
        };
        let offset = self.offset_for(timestamp, last, offset);
        let wanted = timestamp.saturating_add(offset);
        let time = wanted.max(last.saturating_add(1));
        self.repaired = self.repaired.saturating_add(u64::from(time != wanted));
        if let Some(track) = self.tracks.get_mut(&key) {
            track.offset = offset;
            track.step = time.saturating_sub(last);
            track.last = time;
            track.cadence.push(time, period);
        }
        time
    }

    /// What to add to a track's timestamp. Where the file's clock started again, the rest of the file follows the
    /// end of what came before; the second track to arrive there follows the first.
    fn offset_for(&mut self, timestamp: i64, last: i64, offset: i64) -> i64 {
        let restarted =
            |offset: i64| timestamp.saturating_add(offset) < last.saturating_sub(CLOCK_RESTART_MS);
        if !restarted(offset) {
            return offset;
        }
        if restarted(self.offset) {
            let ends = self.tracks.values().map(|track| track.last.saturating_add(track.step.max(1)));
            self.offset = ends.max().unwrap_or(last).saturating_sub(timestamp);
            self.repaired = self.repaired.saturating_add(1);
        }
        self.offset
    }

    /// The earliest time of a frame, in milliseconds; the difference of the tracks' starts stays.
    fn first(&self) -> Option<i64> {
        self.tracks.values().map(|track| track.first).min()
    }

    /// The true duration of the longest track in nanoseconds, or from the first start to the last end if tracks
    /// hardly overlap; at least a millisecond, so that a file cannot make a loop that never waits.
    fn length(&self) -> i64 {
        let others = if self.tracks.len() > 1 { Others::Present } else { Others::Absent };
        let start = self.first().unwrap_or_default().saturating_mul(NANOS_PER_MS);
        let mut longest = NANOS_PER_MS;
        let mut end = start;
        for track in self.tracks.values() {
            let own_end = track.cadence.end(others);
            let own_start = track.first.saturating_mul(NANOS_PER_MS);
            longest = longest.max(own_end.saturating_sub(own_start));
            end = end.max(own_end);
        }
        let all = end.saturating_sub(start);
        let overlap = all.saturating_sub(longest);
        if overlap <= MAX_OVERLAP_MS.saturating_mul(NANOS_PER_MS) { longest } else { all }
    }
}

/// What has been sent and what waits to be.
#[derive(Default)]
struct Output {
    queue: Queue,
    /// The newest timestamp of each track.
    last: BTreeMap<TrackKey, i64>,
    /// The configuration that receivers have.
    sent: HashMap<ConfigSlot, Bytes>,
    /// Configuration that differs, sent when a frame needs it. Files may set it several times before.
    held: Vec<(ConfigSlot, Frame)>,
    /// Ends of sequence, sent when the same pass goes on.
    endings: Vec<(Frame, At)>,
    /// The first pass sends configuration where the file has it.
    looped: bool,
}

impl Output {
    fn take(&mut self, mut frame: Frame, pass: &mut Pass, base: i64) {
        let role = Role::of(&frame);
        let time = pass.clock.place(&frame, &role).saturating_sub(pass.first).max(0);
        let at = At { base, time };
        match role {
            Role::Coded(key, _) => {
                self.flush_endings(frame.kind);
                self.flush_held(frame.kind, at);
                let earliest = self.last.get(&key).map_or(i64::MIN, |last| last.saturating_add(1));
                frame.timestamp = at.timestamp().max(earliest);
                self.last.insert(key, frame.timestamp);
                self.queue.push(TimedFrame { due: at.due(), frame });
            }
            Role::SequenceEnd if self.endings.len() < MAX_HELD => {
                self.endings.push((frame, at.limited(pass.length_ms)))
            }
            Role::Other | Role::SequenceEnd => self.send(frame, at.limited(pass.length_ms)),
            Role::Config(slot) | Role::AudioConfig(slot, ..) => {
                self.flush_endings(frame.kind);
                self.configure(slot, frame, at.limited(pass.length_ms));
            }
        }
    }

    fn configure(&mut self, slot: ConfigSlot, mut frame: Frame, at: At) {
        if slot == METADATA_SLOT {
            frame.payload = metadata::without_file_fields(&frame.payload);
        }
        self.held.retain(|(held, _)| *held != slot);
        if self.sent.get(&slot) == Some(&frame.payload) {
            return;
        }
        if self.looped && self.held.len() < MAX_HELD {
            self.held.push((slot, frame));
        } else {
            self.send_config(slot, frame, at);
        }
    }

    fn send_config(&mut self, slot: ConfigSlot, frame: Frame, at: At) {
        self.sent.insert(slot, frame.payload.clone());
        self.send(frame, at);
    }

    /// Sends a frame that is not on a track's timeline, never before what its kind already sent.
    fn send(&mut self, mut frame: Frame, at: At) {
        let newest = self.last.iter().filter(|(key, _)| key.0 == frame.kind.type_id()).map(|(_, last)| *last);
        frame.timestamp = at.timestamp().max(newest.max().unwrap_or(i64::MIN));
        self.queue.push(TimedFrame { due: at.due(), frame });
    }

    fn flush_held(&mut self, kind: FrameKind, at: At) {
        let needed = |frame: &Frame| frame.kind == kind || frame.kind == FrameKind::Data;
        for (slot, frame) in self.held.extract_if(.., |(_, frame)| needed(frame)).collect::<Vec<_>>() {
            self.send_config(slot, frame, at);
        }
    }

    fn flush_endings(&mut self, kind: FrameKind) {
        for (frame, at) in self.endings.extract_if(.., |(frame, _)| frame.kind == kind).collect::<Vec<_>>() {
            // A decoder may forget its configuration at the end of a sequence.
            self.sent.retain(|slot, _| slot.kind() != Some(kind));
            self.send(frame, at);
        }
    }

    fn end_pass(&mut self, pass: &Pass) {
        let endings = std::mem::take(&mut self.endings);
        if pass.last_of_all {
            endings.into_iter().for_each(|(frame, at)| self.send(frame, at));
        }
        self.looped = true;
    }
}

/// Frames read ahead, in the order of their time.
#[derive(Default)]
struct Queue {
    frames: VecDeque<TimedFrame>,
    bytes: usize,
    /// The newest time of each kind: within a kind, frames keep the file's order.
    newest: BTreeMap<u8, Duration>,
}

impl Queue {
    fn push(&mut self, mut timed: TimedFrame) {
        let newest = self.newest.entry(timed.frame.kind.type_id()).or_default();
        timed.due = timed.due.max(*newest);
        *newest = timed.due;
        self.bytes = self.bytes.saturating_add(timed.frame.payload.len());
        let place = self.frames.partition_point(|other| other.due <= timed.due);
        self.frames.insert(place, timed);
    }

    /// The next frame, if none that is still to be read can come before it, or enough is held.
    fn pop_ready(&mut self) -> Option<TimedFrame> {
        let span = self.frames.back()?.due.saturating_sub(self.frames.front()?.due);
        let full = self.frames.len() > MAX_AHEAD_FRAMES || self.bytes > MAX_AHEAD_BYTES;
        if full || span >= LOOK_AHEAD { self.pop() } else { None }
    }

    fn pop(&mut self) -> Option<TimedFrame> {
        let timed = self.frames.pop_front()?;
        self.bytes = self.bytes.saturating_sub(timed.frame.payload.len());
        Some(timed)
    }
}

/// A moment: a pass's start in nanoseconds and milliseconds since then.
#[derive(Clone, Copy)]
struct At {
    base: i64,
    time: i64,
}

impl At {
    fn limited(self, length_ms: i64) -> Self {
        Self { time: self.time.min(length_ms), ..self }
    }

    /// Milliseconds. Only the pass's start is rounded, so all tracks move by the same amount.
    fn timestamp(self) -> i64 {
        let half = NANOS_PER_MS >> 1;
        self.base.saturating_add(half).div_euclid(NANOS_PER_MS).saturating_add(self.time)
    }

    fn due(self) -> Duration {
        nanos(self.base.saturating_add(self.time.saturating_mul(NANOS_PER_MS)))
    }
}

fn nanos(value: i64) -> Duration {
    Duration::from_nanos(u64::try_from(value).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame of `len` bytes due at `micros`.
    fn timed(micros: u64, len: usize) -> TimedFrame {
        let frame = Frame::new(FrameKind::Video, 0, vec![0x27; len].into());
        TimedFrame { due: Duration::from_micros(micros), frame }
    }

    #[test]
    fn what_is_read_ahead_is_bounded_by_frames_and_bytes() {
        for (len, frames, bytes) in
            [(10, MAX_AHEAD_FRAMES, MAX_AHEAD_BYTES), (1024 * 1024, MAX_AHEAD_FRAMES, MAX_AHEAD_BYTES)]
        {
            let mut queue = Queue::default();
            for micros in 0..5_000 {
                queue.push(timed(micros, len));
                while queue.pop_ready().is_some() {}
                assert!(queue.frames.len() <= frames && queue.bytes <= bytes, "{} bytes", queue.bytes);
            }
        }
    }

    #[test]
    fn configuration_and_ends_that_are_held_back_are_bounded() {
        let mut output = Output { looped: true, ..Output::default() };
        let at = At { base: 0, time: 0 };
        for track in 0..=255 {
            let payload = [&b"\x96\x00avc1"[..], &[track, 1]].concat();
            let frame = Frame::new(FrameKind::Video, 0, payload.into());
            output.configure(frame.flags.config.unwrap(), frame, at);
        }
        assert_eq!((output.held.len(), output.queue.frames.len()), (MAX_HELD, 256 - MAX_HELD));
    }
}
