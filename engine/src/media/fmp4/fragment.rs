//! The head of a fragment: `moof`, and what comes before the bytes of `mdat` (ISO/IEC 14496-12 8.8, 8.1.1).
//!
//! Written by hand and not by the crate that writes the boxes of a beginning: every batch of a stream has one, and every frame of
//! a player that is behind, so it is made in one go, in memory that is there.

use super::{NO_SYNC, SYNC};
use bytes::{BufMut, BytesMut};

/// A box's size and type.
const BOX: usize = 8;
/// `mfhd`, `tfhd`, `tfdt` with 64 bits, and `trun` up to its samples.
const MFHD: usize = BOX + 8;
const TFHD: usize = BOX + 8;
const TFDT: usize = BOX + 12;
const TRUN: usize = BOX + 12;

/// `default-base-is-moof` (8.8.7.1).
const TFHD_FLAGS: u32 = 0x02_0000;
/// Of `trun` (8.8.8.1): composition times have a sign; and which fields there are.
const SIGNED: u32 = 0x0100_0000;
const DATA_OFFSET: u32 = 0x001;
const DURATION: u32 = 0x100;
const SIZE: u32 = 0x200;
const FLAGS: u32 = 0x400;
const COMPOSITION: u32 = 0x800;
/// `tfdt` with 64 bits.
const TFDT_VERSION: u32 = 0x0100_0000;

/// A sample, times in units of its track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sample {
    /// When it is decoded.
    pub(crate) time: u64,
    /// When it is shown after that.
    pub(crate) composition: i32,
    pub(crate) is_sync: bool,
    /// How long it lasts, where it tells. Else that is the time to the next one, and of the last one what its track says.
    pub(crate) duration: Option<u32>,
    /// In bytes.
    pub(crate) size: u32,
}

/// Samples of one track in their order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run<'a> {
    pub(crate) track: u32,
    /// Whether samples differ in being sync samples, and in when they are shown: else all are as their track says.
    pub(crate) is_video: bool,
    pub(crate) samples: &'a [Sample],
}

impl<'a> Run<'a> {
    /// The samples between whose times a duration can stand, which goes forward and has 32 bits.
    fn pieces(self) -> impl Iterator<Item = &'a [Sample]> + Clone {
        self.samples.chunk_by(|a, b| distance(a, b).is_some())
    }
}

fn distance(a: &Sample, b: &Sample) -> Option<u32> {
    b.time.checked_sub(a.time)?.try_into().ok()
}

/// Samples of a piece with the same fields.
struct Trun<'a> {
    samples: &'a [Sample],
    /// The one that follows, with which the last one's duration ends.
    next: Option<&'a Sample>,
    has_durations: bool,
}

impl<'a> Trun<'a> {
    /// All of a piece: the last one may have no duration.
    fn of(piece: &'a [Sample]) -> [Option<Self>; 2] {
        match piece.split_last() {
            None => [None, None],
            Some((last, _)) if last.duration.is_some() => {
                [Some(Self { samples: piece, next: None, has_durations: true }), None]
            }
            Some((last, before)) => {
                let first = Self { samples: before, next: Some(last), has_durations: true };
                let second = Self { samples: std::slice::from_ref(last), next: None, has_durations: false };
                [(!before.is_empty()).then_some(first), Some(second)]
            }
        }
    }

    fn len(&self, is_video: bool) -> usize {
        let fields = 1_usize.saturating_add(usize::from(self.has_durations)).saturating_add(if is_video {
            2
        } else {
            0
        });
        fields.saturating_mul(4).saturating_mul(self.samples.len()).saturating_add(TRUN)
    }

    /// How many bytes its samples have.
    fn data_len(&self) -> usize {
        total(self.samples)
    }

    fn put(&self, is_video: bool, data_offset: usize, out: &mut BytesMut) {
        let durations = if self.has_durations { DURATION } else { 0 };
        let video = if is_video { FLAGS | COMPOSITION } else { 0 };
        put_box(self.len(is_video), b"trun", out);
        out.put_u32(SIGNED | DATA_OFFSET | SIZE | durations | video);
        out.put_u32(narrow(self.samples.len()));
        out.put_u32(narrow(data_offset));
        let following = self.samples.iter().skip(1).chain(self.next).map(Some).chain([None]);
        for (sample, next) in self.samples.iter().zip(following) {
            if self.has_durations {
                let until_next = next.and_then(|next| distance(sample, next));
                out.put_u32(until_next.or(sample.duration).unwrap_or_default());
            }
            out.put_u32(sample.size);
            if is_video {
                out.put_u32(if sample.is_sync { SYNC } else { NO_SYNC });
                out.put_i32(sample.composition);
            }
        }
    }
}

/// Bytes of samples.
fn total(samples: &[Sample]) -> usize {
    samples
        .iter()
        .fold(0, |sum, sample| sum.saturating_add(usize::try_from(sample.size).unwrap_or(usize::MAX)))
}

/// A number of bytes or samples: batches have far fewer than 2 GiB.
fn narrow(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn put_box(len: usize, name: &[u8; 4], out: &mut BytesMut) {
    out.put_u32(narrow(len));
    out.put_slice(name);
}

fn traf_len(piece: &[Sample], is_video: bool) -> usize {
    let truns = Trun::of(piece).into_iter().flatten().map(|trun| trun.len(is_video));
    truns.fold(BOX + TFHD + TFDT, usize::saturating_add)
}

/// Bytes of the head for these runs.
pub(crate) fn head_len(runs: &[Run<'_>]) -> usize {
    moof_len(runs).saturating_add(BOX)
}

fn moof_len(runs: &[Run<'_>]) -> usize {
    let trafs = runs.iter().flat_map(|run| run.pieces().map(|piece| traf_len(piece, run.is_video)));
    trafs.fold(BOX + MFHD, usize::saturating_add)
}

/// Appends the head of a fragment, behind which the bytes of all samples belong, run by run.
pub(crate) fn put_head(sequence: u32, runs: &[Run<'_>], out: &mut BytesMut) {
    let moof = moof_len(runs);
    put_box(moof, b"moof", out);
    put_box(MFHD, b"mfhd", out);
    out.put_u32(0);
    out.put_u32(sequence);
    let mut data_offset = moof.saturating_add(BOX);
    for run in runs {
        for piece in run.pieces() {
            put_traf(run, piece, &mut data_offset, out);
        }
    }
    put_box(data_offset.saturating_sub(moof), b"mdat", out);
}

fn put_traf(run: &Run<'_>, piece: &[Sample], data_offset: &mut usize, out: &mut BytesMut) {
    put_box(traf_len(piece, run.is_video), b"traf", out);
    put_box(TFHD, b"tfhd", out);
    out.put_u32(TFHD_FLAGS);
    out.put_u32(run.track);
    put_box(TFDT, b"tfdt", out);
    out.put_u32(TFDT_VERSION);
    out.put_u64(piece.first().map_or(0, |sample| sample.time));
    for trun in Trun::of(piece).into_iter().flatten() {
        trun.put(run.is_video, *data_offset, out);
        *data_offset = data_offset.saturating_add(trun.data_len());
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests;
