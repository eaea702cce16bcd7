//! The movie as its index describes it: its tracks, and where the tables of their samples are (ISO/IEC 14496-12 8.2 to 8.8).

use super::boxes::{BoxAt, Boxes};
use super::description::Description;
use super::edits::{Edit, edits};
use super::fragments::Defaults;
use super::source::Source;
use super::tables::{Sizes, Table, Tables};
use crate::media::flv::Cursor;
use crate::media::flv_file::malformed;
use crate::{Error, ErrorKind, Result};
use mp4_atom::{Atom, Elst, Mdhd, Mvhd, Tkhd, Trex};
use std::io::{Read, Seek};

bound! {
    /// Bytes and boxes of the file that are read to find and to know the index; its tables stay on disk
    /// (test `an_index_is_not_looked_for_without_end`).
    const MAX_INDEX: u64 = 64 * 1024 * 1024, without u64::MAX;
    /// Tracks of a file, of whatever kind (test `so_many_tracks_are_read_at_most`).
    const MAX_TRACKS: usize = 64, without usize::MAX;
    /// Bytes of a box that is read as a whole: sample descriptions are the longest
    /// (test `a_description_that_is_too_long_is_refused`).
    const MAX_BOX: usize = 256 * 1024, without usize::MAX;
    /// Descriptions of a track's samples (test `so_many_descriptions_are_kept_at_most`).
    const MAX_DESCRIPTIONS: usize = 256, without usize::MAX;
    /// Parts of a track that are shown one after the other: each is looked for from the track's first sample on
    /// (test `so_many_edits_are_followed_at_most`).
    const MAX_EDITS: usize = 32, without usize::MAX;
}

/// What the index says.
#[derive(Debug)]
pub(super) struct Movie {
    pub(super) tracks: Vec<Track>,
}

/// A track of video or sound.
#[derive(Debug, Clone)]
pub(super) struct Track {
    /// Its number in the file, and what fragments call it.
    pub(super) number: usize,
    pub(super) id: u32,
    pub(super) is_video: bool,
    /// Whether it is to be shown; of several in different languages one is.
    pub(super) is_enabled: bool,
    /// Clockwise, in degrees.
    pub(super) rotation: u16,
    /// Units of a second.
    pub(super) timescale: u32,
    pub(super) edits: Vec<Edit>,
    pub(super) descriptions: Vec<Description>,
    /// Where it has samples outside fragments.
    pub(super) tables: Option<Tables>,
    /// Where there are fragments.
    pub(super) fragments: Option<Defaults>,
}

impl Movie {
    /// Looks for the index, and reads it.
    ///
    /// # Errors
    /// [`ErrorKind::Format`] with the byte position where there is none, or it makes no sense; [`ErrorKind::Limit`] where it
    /// is too large.
    pub(super) fn read<R: Read + Seek>(source: &mut Source<R>) -> Result<Self> {
        let mut boxes = Boxes::of_file(source);
        let mut has_data = false;
        while let Some(found) = next_box(source, &mut boxes)? {
            if &found.kind == b"moov" {
                return Self::of(source, &found);
            }
            has_data |= &found.kind == b"mdat";
        }
        let text = match has_data {
            true => "the file ends without its index (moov): it was cut off, or is still being written",
            false => "the file ends without an index (moov)",
        };
        Err(malformed(boxes.position(), text))
    }

    fn of<R: Read + Seek>(source: &mut Source<R>, moov: &BoxAt) -> Result<Self> {
        let (mut movie_scale, mut traks, mut defaults) = (None, Vec::new(), None);
        let mut boxes = Boxes::inside(moov, 0);
        while let Some(found) = next_box(source, &mut boxes)? {
            match &found.kind {
                b"mvhd" => movie_scale = Some(decode::<Mvhd>(source, &found)?.timescale),
                b"trak" if traks.len() >= MAX_TRACKS.get() => {
                    let text = format!("at byte {}: more than {} tracks", found.start, MAX_TRACKS.stated());
                    return Err(Error::new(ErrorKind::Limit, text));
                }
                b"trak" => traks.push(found),
                b"mvex" => defaults = Some(fragments(source, &found)?),
                b"cmov" => return Err(malformed(found.start, "the index is compressed (cmov)")),
                _ => {}
            }
        }
        let movie_scale = movie_scale.filter(|scale| *scale > 0);
        let movie_scale =
            movie_scale.ok_or_else(|| malformed(moov.start, "the index has no clock (mvhd)"))?;
        let mut tracks = Vec::new();
        for (index, trak) in traks.iter().enumerate() {
            tracks.extend(read_track(
                source,
                trak,
                index.saturating_add(1),
                movie_scale,
                defaults.as_deref(),
            )?);
        }
        Ok(Self { tracks })
    }
}

/// The next box, unless too much was read already.
fn next_box<R: Read + Seek>(source: &mut Source<R>, boxes: &mut Boxes) -> Result<Option<BoxAt>> {
    if source.work() > MAX_INDEX.get() {
        let text = format!("at byte {}: the index (moov) is too long", boxes.position());
        return Err(Error::new(ErrorKind::Limit, text));
    }
    boxes.next(source)
}

/// What samples in fragments are where nothing else is said, by track.
fn fragments<R: Read + Seek>(source: &mut Source<R>, mvex: &BoxAt) -> Result<Vec<(u32, Defaults)>> {
    let (mut defaults, mut boxes) = (Vec::new(), Boxes::inside(mvex, 0));
    while let Some(found) = next_box(source, &mut boxes)? {
        if &found.kind == b"trex" && defaults.len() < MAX_TRACKS.get() {
            let trex: Trex = decode(source, &found)?;
            let its = Defaults {
                description: trex.default_sample_description_index,
                duration: trex.default_sample_duration,
                size: trex.default_sample_size,
                flags: trex.default_sample_flags,
            };
            defaults.push((trex.track_id, its));
        }
    }
    Ok(defaults)
}

/// What of a track is found on the way through its boxes.
#[derive(Default)]
struct Found {
    header: Option<Tkhd>,
    timescale: Option<u32>,
    handler: [u8; 4],
    list: Option<Elst>,
    descriptions: Option<BoxAt>,
    durations: Option<Table>,
    compositions: Option<Table>,
    sizes: Option<Sizes>,
    runs: Option<Table>,
    offsets: Option<Table>,
    syncs: Option<Table>,
}

/// A track; `None` for what is neither video nor sound.
fn read_track<R: Read + Seek>(
    source: &mut Source<R>,
    trak: &BoxAt,
    number: usize,
    movie_scale: u32,
    defaults: Option<&[(u32, Defaults)]>,
) -> Result<Option<Track>> {
    let mut found = Found::default();
    found.look_into(source, trak, 0)?;
    let is_video = match &found.handler {
        b"vide" => true,
        b"soun" => false,
        _ => return Ok(None),
    };
    let lacks = |what: &str| malformed(trak.start, format_args!("track {number} has no {what}"));
    let header = found.header.as_ref().ok_or_else(|| lacks("header (tkhd)"))?;
    let timescale = found.timescale.filter(|scale| *scale > 0).ok_or_else(|| lacks("clock (mdhd)"))?;
    let stsd = found.descriptions.ok_or_else(|| lacks("description of its samples (stsd)"))?;
    let list = found.list.as_ref().map(|list| list.entries.as_slice()).unwrap_or_default();
    if list.len() > MAX_EDITS.get() {
        let text = format!("track {number} has more than {} edits", MAX_EDITS.stated());
        return Err(Error::new(ErrorKind::Limit, format!("at byte {}: {text}", trak.start)));
    }
    let entries = list.iter().map(|edit| (edit.segment_duration, edit.media_time));
    let its_edits = match list {
        [] => vec![Edit::WHOLE],
        _ => edits(entries, movie_scale, timescale, defaults.is_some()),
    };
    let of_id = |(id, its): &(u32, Defaults)| (*id == header.track_id).then_some(*its);
    Ok(Some(Track {
        number,
        id: header.track_id,
        is_video,
        is_enabled: header.enabled,
        rotation: rotation(header),
        timescale,
        edits: its_edits,
        descriptions: descriptions(source, &stsd, is_video)?,
        tables: found.tables(),
        fragments: defaults.map(|all| all.iter().find_map(of_id).unwrap_or_default()),
    }))
}

impl Found {
    /// Looks into a box and those in it that hold others.
    fn look_into<R: Read + Seek>(&mut self, source: &mut Source<R>, parent: &BoxAt, depth: u8) -> Result<()> {
        let mut boxes = Boxes::inside(parent, 0);
        while let Some(its) = next_box(source, &mut boxes)? {
            match &its.kind {
                b"mdia" | b"minf" | b"stbl" | b"edts" if depth < 3 => {
                    self.look_into(source, &its, depth.saturating_add(1))?;
                }
                _ => self.take(source, &its)?,
            }
        }
        Ok(())
    }

    fn take<R: Read + Seek>(&mut self, source: &mut Source<R>, its: &BoxAt) -> Result<()> {
        // Version and flags, and the number of entries.
        const HEAD: u64 = 8;
        match &its.kind {
            b"tkhd" => self.header = Some(decode(source, its)?),
            b"mdhd" => self.timescale = Some(decode::<Mdhd>(source, its)?.timescale),
            b"elst" => self.list = Some(decode(source, its)?),
            // QuickTime has one for the data as well, behind that of the media.
            b"hdlr" if self.handler == [0; 4] => self.handler = handler(source, its)?,
            b"stsd" => self.descriptions = Some(*its),
            b"stts" => self.durations = Some(Table::read(source, its, HEAD, 8)?),
            b"ctts" => self.compositions = Some(Table::read(source, its, HEAD, 8)?),
            b"stsc" => self.runs = Some(Table::read(source, its, HEAD, 12)?),
            b"stco" => self.offsets = Some(Table::read(source, its, HEAD, 4)?),
            b"co64" => self.offsets = Some(Table::read(source, its, HEAD, 8)?),
            b"stss" => self.syncs = Some(Table::read(source, its, HEAD, 4)?),
            b"stsz" => self.sizes = Some(sizes(source, its)?),
            b"stz2" => self.sizes = Some(narrow_sizes(source, its)?),
            _ => {}
        }
        Ok(())
    }

    /// Where there is at least one sample.
    fn tables(&self) -> Option<Tables> {
        Some(Tables {
            durations: self.durations?,
            compositions: self.compositions,
            sizes: self.sizes.filter(|sizes| sizes.count() > 0)?,
            runs: self.runs?,
            offsets: self.offsets?,
            syncs: self.syncs,
        })
    }
}

fn handler<R: Read + Seek>(source: &mut Source<R>, its: &BoxAt) -> Result<[u8; 4]> {
    let mut bytes = Vec::new();
    source.read(its.body, 12, &mut bytes)?;
    Ok(bytes.last_chunk().copied().unwrap_or_default())
}

/// `stsz`: version and flags, the size of all, their number, sizes.
fn sizes<R: Read + Seek>(source: &mut Source<R>, its: &BoxAt) -> Result<Sizes> {
    const HEAD: u64 = 12;
    let mut bytes = Vec::new();
    source.read(its.body, 12, &mut bytes)?;
    let mut cursor = Cursor::at(&bytes, 4);
    match cursor.u32().zip(cursor.u32()) {
        Some((size @ 1.., count)) => Ok(Sizes::Same { size, count }),
        _ => Ok(Sizes::Each(Table::read(source, its, HEAD, 4)?)),
    }
}

/// `stz2`: version and flags, three bytes and the bits of a size, their number, sizes.
fn narrow_sizes<R: Read + Seek>(source: &mut Source<R>, its: &BoxAt) -> Result<Sizes> {
    const HEAD: u64 = 12;
    let mut bytes = Vec::new();
    source.read(its.body, 8, &mut bytes)?;
    let width = match bytes.get(7) {
        Some(8) => 1,
        Some(16) => 2,
        _ => return Err(malformed(its.start, "stz2 has sizes of less than a byte")),
    };
    Ok(Sizes::Each(Table::read(source, its, HEAD, width)?))
}

/// The angle that a matrix turns by, where it is a right one.
fn rotation(header: &Tkhd) -> u16 {
    match (header.matrix.a.signum(), header.matrix.b.signum()) {
        (0, 1) => 90,
        (-1, 0) => 180,
        (0, -1) => 270,
        _ => 0,
    }
}

fn descriptions<R: Read + Seek>(
    source: &mut Source<R>,
    stsd: &BoxAt,
    is_video: bool,
) -> Result<Vec<Description>> {
    // Version and flags, and the number of entries.
    const HEAD: usize = 8;
    let body = stsd.read(source, MAX_BOX.get())?;
    let (mut cursor, mut found) = (Cursor::at(&body, HEAD), Vec::new());
    while let Some(size) = cursor.u32() {
        let Some(kind) = cursor.take(4).and_then(|kind| kind.try_into().ok()) else { break };
        let len = usize::try_from(size).unwrap_or(usize::MAX).saturating_sub(8);
        let Some(its) = cursor.take(len) else { break };
        match Description::parse(kind, its, is_video) {
            Some(description) if found.len() < MAX_DESCRIPTIONS.get() => found.push(description),
            Some(_) => break,
            None => return Err(malformed(stsd.start, "the description of samples is cut off")),
        }
    }
    if found.is_empty() {
        Err(malformed(stsd.start, "there is no description of samples"))
    } else {
        Ok(found)
    }
}

fn decode<A: Atom>(source: &mut Source<impl Read + Seek>, its: &BoxAt) -> Result<A> {
    its.decode(source, MAX_BOX.get())
}
