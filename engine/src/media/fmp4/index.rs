//! Where the fragments of a file are, and when: what a playlist over the file lists, and up to where it is whole.

use super::{BOX_HEAD, MOVIE_TIMESCALE, NO_SYNC};
use crate::media::FrameKind;
use crate::{Error, ErrorKind, Result};
use mp4_atom::{Decode, FourCC, Moof, Moov};
use std::io::{Read, Seek, SeekFrom};

bound! {
    /// Longest box of those that are read as a whole: what a file says is not believed further
    /// (test `a_box_that_is_too_long_ends_a_file`).
    const MAX_BOX: u64 = 4 * 1024 * 1024, without u64::MAX;
    /// Fragments of a file that are listed, half a day of the shortest
    /// (test `no_more_than_so_many_fragments_of_a_file_are_listed`).
    const MAX_FRAGMENTS: usize = 200_000, without usize::MAX;
}

/// Bytes before the number in `mehd`: its head, its version, its flags.
const MEHD_FIELDS: usize = BOX_HEAD + 4;

/// A fragment: `moof` and `mdat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fragment {
    /// Where it begins in the file, and its bytes.
    pub(crate) at: u64,
    pub(crate) len: u64,
    /// When it begins, in milliseconds of the file.
    pub(crate) begins_ms: u64,
    /// Whether decoding can begin with it.
    pub(crate) is_independent: bool,
}

/// The whole fragments of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileIndex {
    /// Bytes of the beginning, which all fragments need.
    pub(crate) init_len: u64,
    pub(crate) fragments: Vec<Fragment>,
    /// Up to here the file is whole, and so long it lasts.
    pub(crate) len: u64,
    pub(crate) ends_ms: u64,
    lead: Lead,
}

/// The track by which fragments are told: the first of video, else the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Lead {
    id: u32,
    timescale: u32,
    kind: FrameKind,
}

impl Lead {
    fn of(moov: &Moov) -> Option<Self> {
        let is_video = |trak: &&mp4_atom::Trak| trak.mdia.hdlr.handler == FourCC::new(b"vide");
        let trak = moov.trak.iter().find(is_video).or(moov.trak.first())?;
        let kind = if is_video(&trak) { FrameKind::Video } else { FrameKind::Audio };
        Some(Self { id: trak.tkhd.track_id, timescale: trak.mdia.mdhd.timescale, kind })
    }

    fn ms(self, at: u64) -> u64 {
        let ms = u128::from(at).saturating_mul(1_000).checked_div(self.timescale.into());
        ms.and_then(|ms| u64::try_from(ms).ok()).unwrap_or_default()
    }
}

impl FileIndex {
    /// Reads a file from its beginning.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] where it cannot be read, [`ErrorKind::Format`] where it does not begin as files of ours do.
    pub(crate) fn read(input: &mut (impl Read + Seek)) -> Result<Self> {
        input.rewind().map_err(|cause| Error::io("read", cause))?;
        let end = end_of(input)?;
        let mut init_len = 0_u64;
        let lead = loop {
            let found =
                next_box(input, init_len, end)?.filter(|found| found.is_read || found.name != *b"moov");
            let found = found.ok_or_else(|| Error::new(ErrorKind::Format, "it is no fragmented MP4"))?;
            init_len = init_len.saturating_add(found.len);
            if found.name == *b"moov" {
                let moov = Moov::decode(&mut &found.bytes[..]).ok();
                let lead = moov.as_ref().and_then(Lead::of);
                break lead.ok_or_else(|| Error::new(ErrorKind::Format, "its tracks make no sense"))?;
            }
        };
        let mut index = Self { init_len, fragments: Vec::new(), len: init_len, ends_ms: 0, lead };
        index.go_on(input)?;
        Ok(index)
    }

    /// Reads what has come to the file since.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] where it cannot be read.
    pub(crate) fn go_on(&mut self, input: &mut (impl Read + Seek)) -> Result<()> {
        let end = end_of(input)?;
        while let Some(head) =
            next_box(input, self.len, end)?.filter(|head| head.name == *b"moof" && head.is_read)
        {
            let mdat = next_box(input, self.len.saturating_add(head.len), end)?;
            let Some(mdat) = mdat.filter(|mdat| mdat.name == *b"mdat") else { break };
            let Ok(moof) = Moof::decode(&mut &head.bytes[..]) else { break };
            let len = head.len.saturating_add(mdat.len);
            self.push(&moof, len);
            self.len = self.len.saturating_add(len);
        }
        Ok(())
    }

    fn push(&mut self, moof: &Moof, len: u64) {
        let at = self.len;
        let own = moof.traf.iter().filter(|traf| traf.tfhd.track_id == self.lead.id);
        let (mut begins, mut ends, mut is_independent) = (None, 0, false);
        for traf in own {
            let mut time = traf.tfdt.as_ref().map_or(0, |tfdt| tfdt.base_media_decode_time);
            for sample in traf.trun.iter().flat_map(|trun| trun.samples.iter()) {
                let is_sync = sample.flags.is_none_or(|flags| flags != NO_SYNC);
                if begins.is_none() {
                    begins = Some(time);
                    is_independent = is_sync || self.lead.kind == FrameKind::Audio;
                }
                time = time.saturating_add(sample.duration.unwrap_or_default().into());
                ends = ends.max(time);
            }
        }
        // Where nothing of the lead is in it, it belongs to what was before.
        let begins_ms = begins.map_or(self.ends_ms, |begins| self.lead.ms(begins));
        self.ends_ms = self.ends_ms.max(self.lead.ms(ends));
        if self.fragments.len() < MAX_FRAGMENTS.get() {
            self.fragments.push(Fragment { at, len, begins_ms, is_independent });
        }
    }
}

/// A box as a whole, or the head of one that is long.
struct Found {
    name: [u8; 4],
    len: u64,
    bytes: Vec<u8>,
    /// Whether all of it is here.
    is_read: bool,
}

fn end_of(input: &mut impl Seek) -> Result<u64> {
    input.seek(SeekFrom::End(0)).map_err(|cause| Error::io("read", cause))
}

/// The box that begins at `at`; `None` where none is there, or not as a whole before the `end` of the file.
fn next_box(input: &mut (impl Read + Seek), at: u64, end: u64) -> Result<Option<Found>> {
    let failed = |cause| Error::io("read", cause);
    let mut head = [0; BOX_HEAD];
    if at.saturating_add(BOX_HEAD as u64) > end {
        return Ok(None);
    }
    input.seek(SeekFrom::Start(at)).map_err(failed)?;
    input.read_exact(&mut head).map_err(failed)?;
    let [l0, l1, l2, l3, name @ ..] = head;
    let len = u64::from(u32::from_be_bytes([l0, l1, l2, l3]));
    if len < BOX_HEAD as u64 || at.saturating_add(len) > end {
        return Ok(None);
    }
    let mut found = Found { name, len, bytes: Vec::new(), is_read: false };
    if len <= MAX_BOX.get() && name != *b"mdat" {
        found.bytes.extend_from_slice(&head);
        let rest = len.saturating_sub(BOX_HEAD as u64);
        let read = input.take(rest).read_to_end(&mut found.bytes).map_err(failed)?;
        found.is_read = read as u64 == rest;
    }
    Ok(Some(found))
}

/// Where the beginning of a file has the eight bytes that say how long it lasts, in milliseconds, and what they say.
pub(crate) fn length_at(init: &[u8]) -> Option<(usize, u64)> {
    // It would be another box's bytes only by the rarest of chances, and its length goes with its name.
    const HEAD: [u8; MEHD_FIELDS] = *b"\0\0\0\x14mehd\x01\0\0\0";
    const { assert!(MOVIE_TIMESCALE == 1_000) };
    let at = init.windows(HEAD.len()).position(|bytes| *bytes == HEAD)?.checked_add(HEAD.len())?;
    let number = init.get(at..)?.first_chunk()?;
    Some((at, u64::from_be_bytes(*number)))
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;
    use crate::media::flv::Codec;
    use crate::media::fmp4::{Mp4Run, Mp4Sample, Mp4Track, mp4_file_init, mp4_part};
    use bytes::Bytes;
    use std::io::Cursor;

    fn file(fragments: u32) -> Vec<u8> {
        let track = Mp4Track::new(1, Codec::Mp3, Bytes::from_static(b"\xff\xfb\x94\x64"), 48_000);
        let mut file = mp4_file_init(&[track], 0).unwrap().to_vec();
        for number in 0..fragments {
            let sample = Mp4Sample { duration: 24_000, composition: 0, is_sync: true, data: "sound".into() };
            let begins = u64::from(number) * 48_000;
            let samples = [sample.clone(), sample];
            file.extend(mp4_part(number + 1, &[Mp4Run { track: 1, begins, samples: &samples }]).unwrap());
        }
        file
    }

    fn read(file: &[u8]) -> Result<FileIndex> {
        FileIndex::read(&mut Cursor::new(file))
    }

    #[test]
    fn a_file_is_whole_up_to_its_last_whole_fragment_wherever_it_is_cut() {
        let (whole, two) = (file(3), file(2));
        let index = read(&whole).unwrap();
        let begins: Vec<_> = index.fragments.iter().map(|fragment| fragment.begins_ms).collect();
        assert_eq!((begins, index.ends_ms, index.len), (vec![0, 1_000, 2_000], 3_000, whole.len() as u64));
        assert!(index.fragments.iter().all(|fragment| fragment.is_independent));
        for cut in 0..whole.len() {
            match read(&whole[..cut]) {
                Ok(index) => {
                    let ends: Vec<_> = [file(0).len(), file(1).len(), two.len()]
                        .into_iter()
                        .filter(|len| *len <= cut)
                        .collect();
                    assert_eq!(index.len, *ends.last().unwrap() as u64, "cut at {cut}");
                    assert_eq!(index.fragments.len(), ends.len() - 1);
                }
                Err(error) => assert!(cut < file(0).len() && error.kind() == ErrorKind::Format),
            }
        }
        let mut growing = read(&two).unwrap();
        growing.go_on(&mut Cursor::new(&whole)).unwrap();
        assert_eq!(growing, index);
    }

    #[test]
    fn a_box_that_is_too_long_ends_a_file() {
        let (mut file, len) = (file(1), file(1).len());
        let moof = MAX_BOX.stated() as usize + 1;
        file.extend((moof as u32).to_be_bytes());
        file.extend(b"moof");
        file.resize(len + moof, 0);
        file.extend(b"\0\0\0\x08mdat");
        assert_eq!(read(&file).unwrap().len, len as u64);
        let head = next_box(&mut Cursor::new(&file), len as u64, file.len() as u64).unwrap().unwrap();
        assert_eq!((head.bytes.len(), head.is_read), (0, false));
    }

    #[test]
    fn no_more_than_so_many_fragments_of_a_file_are_listed() {
        let mut index = read(&file(1)).unwrap();
        let moof = Moof { mfhd: mp4_atom::Mfhd { sequence_number: 1 }, traf: Vec::new() };
        (0..MAX_FRAGMENTS.stated() + 10).for_each(|_| index.push(&moof, 16));
        assert_eq!(index.fragments.len(), MAX_FRAGMENTS.stated());
    }

    #[test]
    fn a_file_says_how_long_it_lasts() {
        let mut file = file(0);
        let (at, lasts) = length_at(&file).unwrap();
        assert_eq!(lasts, 0);
        file[at..at + 8].copy_from_slice(&12_345_u64.to_be_bytes());
        assert_eq!(length_at(&file), Some((at, 12_345)));
        let moov = &file[file.len() - read(&file).unwrap().init_len as usize..];
        let moov = moov.windows(4).position(|name| name == b"moov").unwrap() - 4;
        let moov = Moov::decode(&mut &file[moov..]).unwrap();
        assert_eq!(moov.mvex.unwrap().mehd.unwrap().fragment_duration, 12_345);
        assert_eq!(length_at(b"mehd"), None);
    }
}
