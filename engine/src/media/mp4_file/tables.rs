//! The samples of a track as its tables tell them (ISO/IEC 14496-12 8.6 and 8.7), which stay on disk: of each there is one
//! piece in memory, whatever its length.

use super::boxes::BoxAt;
use super::source::{Source, Window};
use crate::Result;
use crate::media::flv::Cursor;
use crate::media::flv_file::malformed;
use std::io::{Read, Seek};

/// Bytes of a table that are in memory.
const PIECE: usize = 16 * 1024;

/// A sample: where it is, and when it is decoded, in units of its track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SampleAt {
    pub(super) position: u64,
    pub(super) size: u32,
    pub(super) time: i64,
    pub(super) duration: u32,
    /// How much later it is shown.
    pub(super) composition: i32,
    /// Decoding can begin with it.
    pub(super) is_sync: bool,
    /// Which of the track's descriptions is its own, from 1 on.
    pub(super) description: u32,
}

/// Entries of one length in a box.
#[derive(Debug, Clone, Copy)]
pub(super) struct Table {
    at: u64,
    count: u32,
    width: u32,
}

impl Table {
    /// Entries of `width` bytes behind `head` bytes of the box, of which the last four are their number. Where the box is too
    /// short for it, there are as many as it has room for.
    pub(super) fn read<R: Read + Seek>(
        source: &mut Source<R>,
        its: &BoxAt,
        head: u64,
        width: u32,
    ) -> Result<Self> {
        let (mut bytes, len) = (Vec::new(), usize::try_from(head.min(its.len())).unwrap_or_default());
        source.read(its.body, len, &mut bytes)?;
        let count = bytes.last_chunk().map_or(0, |count| u32::from_be_bytes(*count));
        let room = its.len().saturating_sub(head).checked_div(width.into()).unwrap_or_default();
        let count = if u64::try_from(bytes.len()).is_ok_and(|len| len == head) { count } else { 0 };
        let count = u64::from(count).min(room);
        Ok(Self { at: its.body.saturating_add(head), count: u32::try_from(count).unwrap_or(u32::MAX), width })
    }
}

/// A table that is read from its first entry on.
#[derive(Debug)]
struct Column {
    table: Table,
    read: u32,
    window: Window,
}

impl Column {
    fn new(table: Table) -> Self {
        Self { table, read: 0, window: Window::new(PIECE) }
    }

    /// Where the entry that comes next is.
    fn position(&self) -> u64 {
        let before = u64::from(self.read).saturating_mul(self.table.width.into());
        self.table.at.saturating_add(before)
    }

    /// The next entry; `None` behind the last one, and where the file ends before.
    fn next<R: Read + Seek>(&mut self, source: &mut Source<R>) -> Result<Option<Cursor<'_>>> {
        if self.read >= self.table.count {
            return Ok(None);
        }
        let (position, width) = (self.position(), usize::try_from(self.table.width).unwrap_or_default());
        self.read = self.read.saturating_add(1);
        Ok(self.window.get(source, position, width)?.map(Cursor::new))
    }

    /// The next entry of a table of numbers.
    fn number<R: Read + Seek>(&mut self, source: &mut Source<R>) -> Result<Option<u32>> {
        let width = self.table.width;
        Ok(self.next(source)?.and_then(|mut entry| match width {
            1 => entry.u8().map(u32::from),
            2 => entry.u16().map(u32::from),
            _ => entry.u32(),
        }))
    }
}

/// Values that hold for so many samples in a row: `stts`, `ctts`.
#[derive(Debug)]
struct Runs {
    column: Column,
    left: u32,
    value: u32,
}

impl Runs {
    fn new(table: Table) -> Self {
        Self { column: Column::new(table), left: 0, value: 0 }
    }

    fn next<R: Read + Seek>(&mut self, source: &mut Source<R>) -> Result<Option<u32>> {
        while self.left == 0 {
            let Some(mut entry) = self.column.next(source)? else { return Ok(None) };
            let (Some(count), Some(value)) = (entry.u32(), entry.u32()) else { return Ok(None) };
            (self.left, self.value) = (count, value);
        }
        self.left = self.left.saturating_sub(1);
        Ok(Some(self.value))
    }
}

/// How long samples are.
#[derive(Debug, Clone, Copy)]
pub(super) enum Sizes {
    /// All the same, and so many.
    Same { size: u32, count: u32 },
    /// Each by itself.
    Each(Table),
}

impl Sizes {
    /// How many samples there are.
    pub(super) fn count(&self) -> u32 {
        match self {
            Self::Same { count, .. } => *count,
            Self::Each(table) => table.count,
        }
    }
}

#[derive(Debug)]
enum SizeColumn {
    Same { size: u32, left: u32 },
    Each(Column),
}

impl SizeColumn {
    fn new(sizes: Sizes) -> Self {
        match sizes {
            Sizes::Same { size, count } => Self::Same { size, left: count },
            Sizes::Each(table) => Self::Each(Column::new(table)),
        }
    }

    fn next<R: Read + Seek>(&mut self, source: &mut Source<R>) -> Result<Option<u32>> {
        match self {
            Self::Same { left: 0, .. } => Ok(None),
            Self::Same { size, left } => {
                *left = left.saturating_sub(1);
                Ok(Some(*size))
            }
            Self::Each(column) => column.number(source),
        }
    }
}

/// Chunks from this one on have so many samples: `stsc`.
#[derive(Debug, Clone, Copy, Default)]
struct ChunkRun {
    first: u32,
    samples: u32,
    description: u32,
}

/// Where samples are: `stco` or `co64`, and `stsc`.
#[derive(Debug)]
struct Chunks {
    offsets: Column,
    runs: Column,
    run: ChunkRun,
    following: Option<ChunkRun>,
    /// Chunks that were begun.
    begun: u32,
    /// Samples of the present one that are left.
    left: u32,
    position: u64,
}

impl Chunks {
    fn new(offsets: Table, runs: Table) -> Self {
        Self {
            offsets: Column::new(offsets),
            runs: Column::new(runs),
            run: ChunkRun::default(),
            following: None,
            begun: 0,
            left: 0,
            position: 0,
        }
    }

    /// Where the next sample is, and its description; it has to be stepped over then.
    fn next<R: Read + Seek>(&mut self, source: &mut Source<R>) -> Result<Option<(u64, u32)>> {
        while self.left == 0 {
            let is_wide = self.offsets.table.width == 8;
            let Some(mut entry) = self.offsets.next(source)? else { return Ok(None) };
            let high = if is_wide { entry.u32().unwrap_or_default() } else { 0 };
            self.position = (u64::from(high) << 32) | u64::from(entry.u32().unwrap_or_default());
            self.begun = self.begun.saturating_add(1);
            self.choose_run(source)?;
            self.left = self.run.samples;
        }
        self.left = self.left.saturating_sub(1);
        Ok(Some((self.position, self.run.description)))
    }

    /// Takes the run that the present chunk belongs to.
    fn choose_run<R: Read + Seek>(&mut self, source: &mut Source<R>) -> Result<()> {
        if self.following.is_none() {
            self.following = self.read_run(source)?;
        }
        while let Some(run) = self.following.filter(|run| run.first <= self.begun) {
            let position = self.runs.position();
            self.run = run;
            self.following = self.read_run(source)?;
            if self.following.is_some_and(|following| following.first <= run.first) {
                return Err(malformed(position, "stsc does not count its chunks upward"));
            }
        }
        Ok(())
    }

    fn read_run<R: Read + Seek>(&mut self, source: &mut Source<R>) -> Result<Option<ChunkRun>> {
        let Some(mut entry) = self.runs.next(source)? else { return Ok(None) };
        let mut number = || entry.u32().unwrap_or_default();
        Ok(Some(ChunkRun { first: number(), samples: number(), description: number() }))
    }

    fn step_over(&mut self, size: u32) {
        self.position = self.position.saturating_add(size.into());
    }
}

/// The tables of a track.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tables {
    /// `stts`.
    pub(super) durations: Table,
    /// `ctts`.
    pub(super) compositions: Option<Table>,
    /// `stsz` or `stz2`.
    pub(super) sizes: Sizes,
    /// `stsc`.
    pub(super) runs: Table,
    /// `stco` or `co64`.
    pub(super) offsets: Table,
    /// `stss`; all samples are sync samples where there is none.
    pub(super) syncs: Option<Table>,
}

impl Tables {
    /// Whether all samples last as long, but perhaps for the last one, as far as the number of entries tells.
    pub(super) fn is_steady(&self) -> bool {
        self.durations.count <= 2
    }
}

/// Reads the samples that tables tell, in the order of decoding.
#[derive(Debug)]
pub(super) struct TableCursor {
    durations: Runs,
    compositions: Option<Runs>,
    sizes: SizeColumn,
    chunks: Chunks,
    syncs: Option<Column>,
    /// The number of the next sync sample, from 1 on.
    sync: Option<u32>,
    /// Samples so far.
    read: u32,
    time: i64,
}

impl TableCursor {
    pub(super) fn new(tables: &Tables) -> Self {
        Self {
            durations: Runs::new(tables.durations),
            compositions: tables.compositions.map(Runs::new),
            sizes: SizeColumn::new(tables.sizes),
            chunks: Chunks::new(tables.offsets, tables.runs),
            syncs: tables.syncs.map(Column::new),
            sync: None,
            read: 0,
            time: 0,
        }
    }

    /// When the next sample would be decoded.
    pub(super) fn time(&self) -> i64 {
        self.time
    }

    /// The next sample; `None` where one of the tables has no more.
    ///
    /// # Errors
    /// [`ErrorKind::Format`](crate::ErrorKind::Format) with the byte where a table contradicts itself.
    pub(super) fn next<R: Read + Seek>(&mut self, source: &mut Source<R>) -> Result<Option<SampleAt>> {
        let Some(size) = self.sizes.next(source)? else { return Ok(None) };
        let Some(duration) = self.durations.next(source)? else { return Ok(None) };
        let Some((position, description)) = self.chunks.next(source)? else { return Ok(None) };
        self.chunks.step_over(size);
        let composition = match &mut self.compositions {
            // Signed in version 0 too: writers put negative numbers there.
            Some(runs) => runs.next(source)?.unwrap_or_default().cast_signed(),
            None => 0,
        };
        self.read = self.read.saturating_add(1);
        let is_sync = self.is_sync(source)?;
        let time = self.time;
        self.time = time.saturating_add(duration.into());
        Ok(Some(SampleAt { position, size, time, duration, composition, is_sync, description }))
    }

    /// Whether the sample that was read last is one.
    fn is_sync<R: Read + Seek>(&mut self, source: &mut Source<R>) -> Result<bool> {
        let Some(syncs) = &mut self.syncs else { return Ok(true) };
        while self.sync.is_none_or(|sync| sync < self.read) {
            match syncs.number(source)? {
                Some(number) => self.sync = Some(number),
                None => return Ok(false),
            }
        }
        Ok(self.sync == Some(self.read))
    }
}
