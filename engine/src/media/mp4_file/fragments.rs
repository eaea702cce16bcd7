//! The samples of a track as fragments tell them (ISO/IEC 14496-12 8.8), one fragment after the other. Nothing is held of
//! them but where the reader is.

use super::boxes::{BoxAt, Boxes};
use super::source::{Source, Window};
use super::tables::SampleAt;
use crate::Result;
use crate::media::flv::Cursor;
use crate::media::flv_file::malformed;
use mp4_atom::{Tfdt, Tfhd};
use std::io::{Read, Seek};

/// Bytes of a run that are in memory.
const PIECE: usize = 16 * 1024;
/// Bytes of `tfhd` and `tfdt`, and more.
const HEADER: usize = 256;

/// Flags of `trun` (8.8.8.1).
const DATA_OFFSET: u32 = 1;
const FIRST_FLAGS: u32 = 4;
const DURATION: u32 = 0x100;
const SIZE: u32 = 0x200;
const FLAGS: u32 = 0x400;
const COMPOSITION: u32 = 0x800;
/// `sample_is_non_sync_sample` (8.8.3.1).
const NO_SYNC: u32 = 0x1_0000;

/// What samples are that do not tell it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Defaults {
    pub(super) description: u32,
    pub(super) duration: u32,
    pub(super) size: u32,
    pub(super) flags: u32,
}

/// Reads a track's samples from the fragments of a file.
#[derive(Debug)]
pub(super) struct FragmentCursor {
    track: u32,
    of_movie: Defaults,
    fragments: Boxes,
    fragment: Option<Fragment>,
    part: Option<Part>,
    run: Option<Run>,
    window: Window,
    /// When the next sample is decoded, where nothing else is said.
    time: i64,
}

/// A `moof`.
#[derive(Debug)]
struct Fragment {
    start: u64,
    boxes: Boxes,
}

/// A `traf` of the track.
#[derive(Debug)]
struct Part {
    boxes: Boxes,
    defaults: Defaults,
    /// Offsets count from here.
    base: u64,
    /// Behind the data of the runs so far.
    next_data: u64,
}

/// A `trun`.
#[derive(Debug, Clone, Copy)]
struct Run {
    flags: u32,
    /// Where the next entry is, and where the box ends.
    entry: u64,
    end: u64,
    left: u32,
    first_flags: Option<u32>,
}

impl Run {
    /// Bytes of an entry.
    fn width(&self) -> u32 {
        (self.flags & (DURATION | SIZE | FLAGS | COMPOSITION)).count_ones().saturating_mul(4)
    }
}

impl FragmentCursor {
    /// Those of `track`, which go on at `time` where they do not say.
    pub(super) fn new<R: Read + Seek>(source: &Source<R>, track: u32, of_movie: Defaults, time: i64) -> Self {
        Self {
            track,
            of_movie,
            fragments: Boxes::of_file(source),
            fragment: None,
            part: None,
            run: None,
            window: Window::new(PIECE),
            time,
        }
    }

    /// The next sample; `None` behind the last fragment.
    ///
    /// # Errors
    /// [`ErrorKind::Format`](crate::ErrorKind::Format) with the byte of a box that makes no sense.
    pub(super) fn next<R: Read + Seek>(&mut self, source: &mut Source<R>) -> Result<Option<SampleAt>> {
        loop {
            let sample = self.sample(source)?;
            if sample.is_some() {
                return Ok(sample);
            }
            if self.next_run(source)? || self.next_part(source)? {
                continue;
            }
            if !self.next_fragment(source)? {
                return Ok(None);
            }
        }
    }

    fn next_fragment<R: Read + Seek>(&mut self, source: &mut Source<R>) -> Result<bool> {
        while let Some(found) = self.fragments.next(source)? {
            if &found.kind == b"moof" {
                self.fragment = Some(Fragment { start: found.start, boxes: Boxes::inside(&found, 0) });
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn next_part<R: Read + Seek>(&mut self, source: &mut Source<R>) -> Result<bool> {
        let Some(fragment) = &mut self.fragment else { return Ok(false) };
        while let Some(found) = fragment.boxes.next(source)? {
            if &found.kind != b"traf" {
                continue;
            }
            let mut boxes = Boxes::inside(&found, 0);
            let Some(header) = boxes.next(source)?.filter(|header| &header.kind == b"tfhd") else {
                return Err(malformed(found.start, "a fragment's track does not begin with tfhd"));
            };
            let tfhd: Tfhd = header.decode(source, HEADER)?;
            if tfhd.track_id != self.track {
                continue;
            }
            let of_movie = self.of_movie;
            let defaults = Defaults {
                description: tfhd.sample_description_index.unwrap_or(of_movie.description),
                duration: tfhd.default_sample_duration.unwrap_or(of_movie.duration),
                size: tfhd.default_sample_size.unwrap_or(of_movie.size),
                flags: tfhd.default_sample_flags.unwrap_or(of_movie.flags),
            };
            let base = tfhd.base_data_offset.unwrap_or(fragment.start);
            self.part = Some(Part { boxes, defaults, base, next_data: base });
            return Ok(true);
        }
        self.fragment = None;
        Ok(false)
    }

    fn next_run<R: Read + Seek>(&mut self, source: &mut Source<R>) -> Result<bool> {
        self.run = None;
        let Some(part) = &mut self.part else { return Ok(false) };
        while let Some(found) = part.boxes.next(source)? {
            match &found.kind {
                b"tfdt" => {
                    let tfdt: Tfdt = found.decode(source, HEADER)?;
                    self.time = i64::try_from(tfdt.base_media_decode_time).unwrap_or(i64::MAX);
                }
                b"trun" => {
                    let (run, offset) = read_run(source, &found)?;
                    if let Some(offset) = offset {
                        part.next_data = part.base.saturating_add_signed(offset.into());
                    }
                    self.run = Some(run);
                    return Ok(true);
                }
                _ => {}
            }
        }
        self.part = None;
        Ok(false)
    }

    /// The next sample of the present run.
    fn sample<R: Read + Seek>(&mut self, source: &mut Source<R>) -> Result<Option<SampleAt>> {
        let (Some(run), Some(part)) = (&mut self.run, &mut self.part) else { return Ok(None) };
        let width = run.width();
        let has_room = run.entry.saturating_add(width.into()) <= run.end;
        // Samples without bytes may be so many that looking at them does not end.
        let is_empty = run.flags & SIZE == 0 && part.defaults.size == 0;
        if run.left == 0 || !has_room || is_empty {
            return Ok(None);
        }
        let len = usize::try_from(width).unwrap_or_default();
        let Some(entry) = self.window.get(source, run.entry, len)? else { return Ok(None) };
        let mut entry = Cursor::new(entry);
        let mut told = |flag: u32| if run.flags & flag == 0 { None } else { entry.u32() };
        let duration = told(DURATION).unwrap_or(part.defaults.duration);
        let size = told(SIZE).unwrap_or(part.defaults.size);
        let flags = told(FLAGS);
        let composition = told(COMPOSITION).unwrap_or_default().cast_signed();
        let flags = run.first_flags.take().or(flags).unwrap_or(part.defaults.flags);
        run.left = run.left.saturating_sub(1);
        run.entry = run.entry.saturating_add(width.into());
        let (position, time) = (part.next_data, self.time);
        part.next_data = position.saturating_add(size.into());
        self.time = time.saturating_add(duration.into());
        let (is_sync, description) = (flags & NO_SYNC == 0, part.defaults.description);
        Ok(Some(SampleAt { position, size, time, duration, composition, is_sync, description }))
    }
}

/// A run, and where its data is said to begin.
fn read_run<R: Read + Seek>(source: &mut Source<R>, found: &BoxAt) -> Result<(Run, Option<i32>)> {
    // Version, flags, number, offset, flags of the first sample.
    const LONGEST: u64 = 16;
    let mut bytes = Vec::new();
    source.read(found.body, usize::try_from(LONGEST.min(found.len())).unwrap_or_default(), &mut bytes)?;
    let mut cursor = Cursor::new(&bytes);
    let parse = |cursor: &mut Cursor<'_>| {
        let flags = cursor.u32()? & 0x00ff_ffff;
        let left = cursor.u32()?;
        let offset = if flags & DATA_OFFSET == 0 { None } else { Some(cursor.u32()?.cast_signed()) };
        let first_flags = if flags & FIRST_FLAGS == 0 { None } else { Some(cursor.u32()?) };
        Some((flags, left, offset, first_flags))
    };
    let Some((flags, left, offset, first_flags)) = parse(&mut cursor) else {
        return Err(malformed(found.start, "a run of samples is cut off"));
    };
    let entry = found.body.saturating_add(u64::try_from(cursor.position).unwrap_or_default());
    Ok((Run { flags, entry, end: found.end, left, first_flags }, offset))
}
