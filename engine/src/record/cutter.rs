//! Cuts a stream into files: frames in, acts out. It knows no clock and does no I/O.

use super::flv::FlvForm;
#[cfg(feature = "mp4")]
use super::mp4::Mp4Form;
use super::pieces::Pieces;
use crate::config::{RecordConfig, RecordFormat};
use crate::hub::{JoinHeaders, remember_config};
use crate::media::{Frame, FrameKind};
use bytes::Bytes;
use std::time::Duration;

/// Where no keyframe comes for so long after a file should have ended, it ends without one, in milliseconds.
const PATIENCE_MS: i64 = 10_000;
/// The same where a file waits for a keyframe to begin with.
const START_PATIENCE_MS: i64 = 3_000;
/// Frames that come so much later than others are still put where they belong: files begin so much earlier, in milliseconds.
const MOST_LATE_MS: i64 = 1_000;

/// What is to be done with files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Act {
    /// A file begins.
    Begin,
    /// It goes on with these pieces, which together are whole tags or fragments.
    Write(Vec<Bytes>),
    /// It ends, and lasts so long, in milliseconds.
    End(u64),
}

/// When files end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    segment_ms: i64,
    segment_bytes: u64,
    format: RecordFormat,
}

impl Rules {
    pub(crate) fn of(config: &RecordConfig) -> Self {
        Self {
            segment_ms: i64::try_from(config.segment_ms).unwrap_or(i64::MAX),
            segment_bytes: config.segment_bytes.unwrap_or(u64::MAX),
            format: config.format,
        }
    }
}

/// The bytes of a file, frame by frame.
pub(super) enum Form {
    Flv(FlvForm),
    #[cfg(feature = "mp4")]
    Mp4(Box<Mp4Form>),
}

impl Form {
    fn new(format: RecordFormat) -> Self {
        match format {
            #[cfg(feature = "mp4")]
            RecordFormat::Fmp4 => Self::Mp4(Box::default()),
            // Configurations that this build cannot keep are refused.
            _ => Self::Flv(FlvForm::default()),
        }
    }

    /// Looks at configuration, and at frames that tell theirs; whether what follows belongs into another file.
    fn note(&mut self, frame: &Frame, known: &[Frame]) -> bool {
        match self {
            Self::Flv(form) => form.note(frame, known),
            #[cfg(feature = "mp4")]
            Self::Mp4(form) => form.note(frame),
        }
    }

    /// The beginning of a file whose times count from `base`; false where there is nothing that it could have.
    fn begin(&mut self, base: i64, known: &[Frame], out: &mut Pieces) -> bool {
        match self {
            Self::Flv(form) => {
                form.begin(base, known, out);
                true
            }
            #[cfg(feature = "mp4")]
            Self::Mp4(form) => form.begin(base, out),
        }
    }

    fn push(&mut self, frame: &Frame, known: &[Frame], out: &mut Pieces) {
        match self {
            Self::Flv(form) => form.push(frame, known, out),
            #[cfg(feature = "mp4")]
            Self::Mp4(form) => form.push(frame, out),
        }
    }

    /// The rest of a file. What follows comes at `next`, in stream time.
    fn end(&mut self, next: Option<i64>, out: &mut Pieces) {
        match self {
            Self::Flv(_) => {}
            #[cfg(feature = "mp4")]
            Self::Mp4(form) => form.end(next, out),
        }
        #[cfg(not(feature = "mp4"))]
        let _ = (next, out);
    }
}

/// A file that is open.
struct Open {
    /// Stream time of its first frame, and of its newest one.
    begins: i64,
    newest: i64,
    bytes: u64,
}

/// See the module.
pub(crate) struct Cutter {
    rules: Rules,
    form: Form,
    /// Metadata and decoder configuration in force.
    known: JoinHeaders,
    open: Option<Open>,
    /// Whether video belongs to the stream.
    has_video: bool,
    /// What follows belongs into another file, and since when.
    breaks: Option<i64>,
    /// Since when the next file waits for a keyframe; `None` where it begins with what comes.
    waits: Option<Option<i64>>,
    /// How late frames have come, and the newest time of all.
    late: i64,
    newest: i64,
    buffer: Pieces,
}

impl Cutter {
    pub(crate) fn new(rules: Rules) -> Self {
        Self {
            rules,
            form: Form::new(rules.format),
            known: JoinHeaders::default(),
            open: None,
            has_video: false,
            breaks: None,
            waits: None,
            late: 0,
            newest: i64::MIN,
            buffer: Pieces::default(),
        }
    }

    /// Shows the first frames of a publisher all at once, before they are pushed one by one: a file begins with what is known of
    /// all of its tracks.
    pub(crate) fn show(&mut self, frames: &[Frame]) {
        self.has_video = false;
        let mut newest = i64::MIN;
        for frame in frames {
            self.note(frame);
            newest = self.note_time(newest, frame);
        }
    }

    /// Takes the next frames of the stream.
    pub(crate) fn push(&mut self, frames: &[Frame], acts: &mut Vec<Act>) {
        for frame in frames {
            self.push_one(frame, acts);
        }
        self.write(acts);
    }

    /// Nothing follows: the file that is open ends.
    pub(crate) fn end(&mut self, acts: &mut Vec<Act>) {
        self.end_file(None, acts);
    }

    /// How long the file that is open lasts so far.
    pub(crate) fn open_length(&self) -> Duration {
        let length = self.open.as_ref().map_or(0, |open| open.newest.saturating_sub(open.begins));
        Duration::from_millis(u64::try_from(length).unwrap_or_default())
    }

    /// What is open is lost; the next file begins at a keyframe.
    pub(crate) fn lose(&mut self) {
        self.open = None;
        self.buffer.clear();
        self.breaks = None;
        self.waits = Some(None);
    }

    /// Learns what a frame tells of the frames behind it.
    fn note(&mut self, frame: &Frame) {
        let is_news = self.form.note(frame, &self.known);
        if frame.is_config() {
            remember_config(&mut self.known, frame);
        }
        self.has_video |= frame.kind == FrameKind::Video;
        if is_news && self.open.is_some() {
            self.breaks.get_or_insert(frame.timestamp);
        }
    }

    /// Learns how late frames come, where `newest` is the newest time so far; what it is now.
    fn note_time(&mut self, newest: i64, frame: &Frame) -> i64 {
        if !frame.has_media() {
            return newest;
        }
        self.late = self.late.max(newest.saturating_sub(frame.timestamp)).min(MOST_LATE_MS);
        newest.max(frame.timestamp)
    }

    fn push_one(&mut self, frame: &Frame, acts: &mut Vec<Act>) {
        self.note(frame);
        self.newest = self.note_time(self.newest, frame);
        if frame.is_sequence_start() {
            // It stands at the beginning of files, and before the next frame where it is news.
            return;
        }
        if frame.has_media() {
            self.push_media(frame, acts);
            return;
        }
        if self.open.is_some() {
            self.form.push(frame, &self.known, &mut self.buffer);
        }
    }

    fn push_media(&mut self, frame: &Frame, acts: &mut Vec<Act>) {
        let is_start = match frame.kind {
            FrameKind::Video => frame.flags.keyframe || frame.flags.recovery,
            _ => !self.has_video,
        };
        if self.is_over(frame.timestamp, is_start) {
            self.end_file(Some(frame.timestamp), acts);
        }
        if self.open.is_none() && !(self.may_begin(frame.timestamp, is_start) && self.begin(frame)) {
            return;
        }
        self.form.push(frame, &self.known, &mut self.buffer);
        if let Some(open) = &mut self.open {
            open.newest = open.newest.max(frame.timestamp);
        }
    }

    /// Whether the file that is open ends before a frame.
    fn is_over(&self, at: i64, is_start: bool) -> bool {
        let Some(open) = &self.open else { return false };
        let lasts = at.saturating_sub(open.begins);
        let bytes = open.bytes.saturating_add(self.buffer.len() as u64);
        let is_full = lasts >= self.rules.segment_ms || bytes >= self.rules.segment_bytes;
        let breaks_for = self.breaks.map(|since| at.saturating_sub(since));
        let is_overdue = lasts >= self.rules.segment_ms.saturating_add(PATIENCE_MS)
            || breaks_for.is_some_and(|time| time >= PATIENCE_MS);
        is_overdue || is_start && (is_full || self.breaks.is_some())
    }

    /// Whether a file can begin with a frame.
    fn may_begin(&mut self, at: i64, is_start: bool) -> bool {
        match &mut self.waits {
            _ if is_start => true,
            None => true,
            Some(since) => at.saturating_sub(*since.get_or_insert(at)) >= START_PATIENCE_MS,
        }
    }

    fn begin(&mut self, frame: &Frame) -> bool {
        let begins = frame.timestamp;
        let has_begun = self.form.begin(begins.saturating_sub(self.late), &self.known, &mut self.buffer);
        if has_begun {
            self.open = Some(Open { begins, newest: begins, bytes: 0 });
            self.breaks = None;
            self.waits = None;
        }
        has_begun
    }

    fn end_file(&mut self, next: Option<i64>, acts: &mut Vec<Act>) {
        if self.open.is_none() {
            return;
        }
        self.form.end(next, &mut self.buffer);
        self.write(acts);
        if let Some(open) = self.open.take() {
            let lasts = next.unwrap_or(open.newest).max(open.newest).saturating_sub(open.begins);
            acts.push(Act::End(u64::try_from(lasts.saturating_add(self.late)).unwrap_or_default()));
        }
    }

    /// Hands over what has come together.
    fn write(&mut self, acts: &mut Vec<Act>) {
        let Some(open) = self.open.as_mut().filter(|_| self.buffer.len() > 0) else { return };
        if open.bytes == 0 {
            acts.push(Act::Begin);
        }
        open.bytes = open.bytes.saturating_add(self.buffer.len() as u64);
        acts.push(Act::Write(self.buffer.take()));
    }
}
