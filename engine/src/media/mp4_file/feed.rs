//! The samples of a track as they are shown: edit by edit, with their times in the movie.

use super::edits::{Edit, Start};
use super::fragments::FragmentCursor;
use super::movie::Track;
use super::source::Source;
use super::tables::{SampleAt, TableCursor};
use crate::media::flv_file::malformed;
use crate::{Error, ErrorKind, Result};
use std::io::{Read, Seek};

bound! {
    /// Samples that are stepped over for the one that an edit begins with
    /// (test `an_edit_that_begins_far_inside_a_track_is_refused`).
    const MAX_SKIPPED: u32 = 1 << 23, without u32::MAX;
}

/// Steps that a sample counts for beside its bytes in tables, as whoever reads ahead counts bytes.
const SAMPLE_STEPS: u64 = 16;

/// A sample, and its times in nanoseconds of the movie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Timed {
    pub(super) sample: SampleAt,
    pub(super) dts: i64,
    pub(super) pts: i64,
}

/// All samples of a track from the first on: those of the tables, then those of fragments.
#[derive(Debug)]
struct Samples {
    table: Option<TableCursor>,
    fragments: Option<FragmentCursor>,
}

impl Samples {
    fn new(track: &Track) -> Self {
        Self { table: track.tables.as_ref().map(TableCursor::new), fragments: None }
    }

    fn next<R: Read + Seek>(&mut self, source: &mut Source<R>, track: &Track) -> Result<Option<SampleAt>> {
        source.count(SAMPLE_STEPS);
        if let Some(table) = self.table.as_mut().filter(|_| self.fragments.is_none()) {
            let sample = table.next(source)?;
            if sample.is_some() {
                return Ok(sample);
            }
        }
        let Some(defaults) = track.fragments else { return Ok(None) };
        let time = self.table.as_ref().map_or(0, TableCursor::time);
        let fragments =
            self.fragments.get_or_insert_with(|| FragmentCursor::new(source, track.id, defaults, time));
        fragments.next(source)
    }
}

/// Gives a track's samples in the order of decoding.
#[derive(Debug)]
pub(super) struct Feed {
    track: Track,
    samples: Samples,
    /// Edits that were begun.
    begun: usize,
    edit: Option<Edit>,
}

impl Feed {
    pub(super) fn new(track: Track) -> Self {
        Self { samples: Samples::new(&track), track, begun: 0, edit: None }
    }

    pub(super) fn track(&self) -> &Track {
        &self.track
    }

    /// The next sample; `None` behind the last one of the last edit.
    ///
    /// # Errors
    /// [`ErrorKind::Format`] with the byte where the index makes no sense, [`ErrorKind::Limit`] for an edit that begins after
    /// too many samples.
    pub(super) fn next<R: Read + Seek>(&mut self, source: &mut Source<R>) -> Result<Option<Timed>> {
        loop {
            let Some(edit) = self.edit else {
                match self.track.edits.get(self.begun).copied() {
                    Some(edit) => self.begin(source, edit)?,
                    None => return Ok(None),
                }
                continue;
            };
            match self.samples.next(source, &self.track)?.filter(|sample| sample.time < edit.to) {
                Some(sample) => return Ok(Some(self.timed(sample, edit))),
                None => self.edit = None,
            }
        }
    }

    fn timed(&self, sample: SampleAt, edit: Edit) -> Timed {
        let shown = sample.time.saturating_add(sample.composition.into());
        let scale = self.track.timescale;
        Timed { sample, dts: edit.nanos(sample.time, scale), pts: edit.nanos(shown, scale) }
    }

    /// What comes before an edit.
    fn start<R: Read + Seek>(&self, source: &mut Source<R>, edit: Edit) -> Result<Start> {
        let mut start = Start::of(edit, self.track.is_video, self.track.timescale);
        if edit.from == 0 {
            return Ok(start);
        }
        let mut samples = Samples::new(&self.track);
        loop {
            let sample = samples.next(source, &self.track)?;
            // What comes behind the end of the file is not there to be looked at.
            match sample.filter(|sample| sample.position <= source.length()) {
                Some(sample) if start.look_at(&sample) => {}
                _ => return Ok(start),
            }
            if let Some(sample) = sample.filter(|_| start.seen() > MAX_SKIPPED.get()) {
                let (number, most) = (self.track.number, MAX_SKIPPED.stated());
                let text = format!("an edit of track {number} begins after {most} samples");
                return Err(Error::new(ErrorKind::Limit, format!("at byte {}: {text}", sample.position)));
            }
        }
    }

    /// Goes to where an edit begins.
    fn begin<R: Read + Seek>(&mut self, source: &mut Source<R>, edit: Edit) -> Result<()> {
        let start = self.start(source, edit)?;
        self.samples = Samples::new(&self.track);
        for _ in 0..start.skipped() {
            self.samples.next(source, &self.track)?;
        }
        self.edit = Some(edit);
        self.begun = self.begun.saturating_add(1);
        Ok(())
    }
}

/// What is wrong with a sample that is too long for a frame.
pub(super) fn too_long(sample: &SampleAt, most: usize) -> Error {
    malformed(sample.position, format_args!("a sample has {} bytes, more than {most}", sample.size))
}
