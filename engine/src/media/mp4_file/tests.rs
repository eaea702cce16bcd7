//! Bounds, and what files say that are damaged or hostile.

use super::*;
use crate::testing::mp4_file::{
    FileTrack, Index, boxed, esds, fragmented_mp4, full_box, mp4, numbers, sound, visual,
};
use std::io::{Cursor, SeekFrom};

fn open(bytes: Vec<u8>) -> Result<Mp4Reader<Cursor<Vec<u8>>>> {
    Mp4Reader::new(Cursor::new(bytes))
}

fn refused(bytes: Vec<u8>) -> Error {
    open(bytes).expect_err("it is refused")
}

fn frames(bytes: Vec<u8>) -> Vec<Frame> {
    let mut reader = open(bytes).unwrap();
    std::iter::from_fn(|| reader.next_tag().unwrap()).map(|tag| tag.frame).collect()
}

/// A file with a box put into the place of the first one that is called `kind`.
fn with_box(file: &[u8], kind: &[u8; 4], other: &[u8]) -> Vec<u8> {
    let at = file.windows(4).position(|window| window == kind).unwrap() - 4;
    let size = u32::from_be_bytes(file[at..at + 4].try_into().unwrap()) as usize;
    let mut out = file.to_vec();
    // Of the same length, so that no other box has to be changed.
    assert!(other.len() + 8 <= size || other.len() == size, "{} for {size}", other.len());
    let padding = size - other.len();
    let free = if padding == 0 { Vec::new() } else { boxed(b"free", &[&vec![0; padding - 8]]) };
    out.splice(at..at + size, [other, &free[..]].concat());
    out
}

/// A file with a hole behind its bytes.
struct Hole {
    file: Cursor<Vec<u8>>,
    length: u64,
}

impl Read for Hole {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        match self.file.read(into)? {
            0 => {
                let left = self.length.saturating_sub(self.file.position());
                let count = into.len().min(usize::try_from(left).unwrap());
                into[..count].fill(0);
                self.file.set_position(self.file.position() + count as u64);
                Ok(count)
            }
            count => Ok(count),
        }
    }
}

impl Seek for Hole {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        match to {
            SeekFrom::End(0) => self.file.set_position(self.length),
            to => {
                self.file.seek(to)?;
            }
        }
        Ok(self.file.position())
    }
}

fn clip() -> Vec<FileTrack> {
    vec![FileTrack::h264().pictures(50, 3_600, 25, 0), FileTrack::aac().sound(93)]
}

#[test]
fn an_index_is_not_looked_for_without_end() {
    let mut file = boxed(b"ftyp", &[b"isom"]);
    // Each costs 16: its head is read, and looked at.
    file.extend(boxed(b"free", &[]).repeat(5 << 20));
    file.extend(mp4(&clip(), Index::First));
    let error = refused(file);
    assert!(error.kind() == ErrorKind::Limit && error.to_string().contains("too long"), "{error}");
}

#[test]
fn so_many_tracks_are_read_at_most() {
    let tracks = |count| vec![FileTrack::aac().sound(1); count];
    assert_eq!(open(mp4(&tracks(64), Index::First)).unwrap().tracks.len(), 64);
    assert_eq!(refused(mp4(&tracks(65), Index::First)).kind(), ErrorKind::Limit);
}

#[test]
fn a_description_that_is_too_long_is_refused() {
    let track = |len| FileTrack::new(b"vide", 25, visual(b"apcn", &vec![0; len]));
    let text = |len| refused(mp4(&[track(len)], Index::First)).to_string();
    assert!(text(1_000).contains("video track 1 (ProRes)"), "{}", text(1_000));
    assert!(text(300 * 1024).contains("stsd has 307294 bytes, more than 262144"), "{}", text(300 * 1024));
}

#[test]
fn so_many_descriptions_are_kept_at_most() {
    let mut track = FileTrack::aac().sound(1);
    track.entries = vec![track.entries[0].clone(); 300];
    let reader = open(mp4(&[track], Index::First)).unwrap();
    assert_eq!(reader.tracks[0].feed.track().descriptions.len(), 256);
}

#[test]
fn so_many_edits_are_followed_at_most() {
    let file = |count| mp4(&[FileTrack::aac().sound(50).edits(&vec![(10, 0); count])], Index::First);
    assert!(frames(file(32)).len() > 32);
    assert_eq!(refused(file(33)).kind(), ErrorKind::Limit);
}

#[test]
fn an_edit_that_begins_far_inside_a_track_is_refused() {
    let file = mp4(&[FileTrack::aac().sound(4).edits(&[(1_000, i32::MAX)])], Index::First);
    // As many samples of a byte each as there can be, in as many chunks as the file has.
    let file = with_box(&file, b"stsz", &full_box(b"stsz", 0, 0, &[&numbers([1, u32::MAX])]));
    let stts = full_box(b"stts", 0, 0, &[&numbers([1, u32::MAX, 1])]);
    let stsc = full_box(b"stsc", 0, 0, &[&numbers([1, 1, u32::MAX, 1])]);
    let file = with_box(&with_box(&file, b"stts", &stts), b"stsc", &stsc);
    let error = Mp4Reader::new(Hole { file: Cursor::new(file), length: 1 << 40 }).err();
    assert_eq!(error.map(|error| error.kind()), Some(ErrorKind::Limit));
}

#[test]
fn a_sample_that_is_too_long_for_a_frame_is_no_allocation() {
    let file = mp4(&[FileTrack::h264().pictures(2, 3_600, 1, 0)], Index::First);
    let sizes = full_box(b"stsz", 0, 0, &[&numbers([u32::MAX, 2])]);
    let mut reader = open(with_box(&file, b"stsz", &sizes)).unwrap();
    reader.next_tag().unwrap().expect("metadata");
    let error = reader.next_tag().unwrap_err();
    assert!(error.to_string().contains("a sample has 4294967295 bytes"), "{error}");
    assert!(reader.sample.capacity() < 1024);
}

#[test]
fn tables_that_contradict_themselves_are_named_with_their_byte() {
    let file = mp4(&[FileTrack::aac().sound(4)], Index::First);
    // In place of a table that nothing needs; the true one is called otherwise.
    let chunks = |runs: &[u32]| {
        let runs = numbers([u32::try_from(runs.len() / 3).unwrap()].into_iter().chain(runs.iter().copied()));
        let mut other = file.clone();
        let at = file.windows(4).position(|window| window == b"stsc").unwrap();
        other[at..at + 4].copy_from_slice(b"free");
        with_box(&other, b"ctts", &full_box(b"stsc", 0, 0, &[&runs]))
    };
    assert_eq!(frames(chunks(&[0, 1, 1])).len(), 1 + 1 + 4, "a first chunk below 1 is the first");
    let file = chunks(&[1, 1, 1, 1, 2, 1]);
    let at = file.windows(4).position(|window| window == b"stsc").unwrap() + 12 + 12;
    let error = refused(file).to_string();
    assert_eq!(error, format!("at byte {at}: stsc does not count its chunks upward"));
}

#[test]
fn what_is_in_the_file_up_to_its_end_is_whole() {
    let whole = mp4(&clip(), Index::First);
    let all = frames(whole.clone());
    for cut in [1, 300, 700] {
        let mut reader = open(whole[..whole.len() - cut].to_vec()).unwrap();
        let some: Vec<_> = std::iter::from_fn(|| reader.next_tag().unwrap()).map(|tag| tag.frame).collect();
        assert!(some.len() < all.len() && some.iter().all(|frame| all.contains(frame)), "{}", some.len());
        let end = reader.truncated_at().expect("the place");
        assert!(end <= (whole.len() - cut) as u64 && end > (whole.len() - cut - 20) as u64, "{end}");
    }
    let error = refused(mp4(&clip(), Index::Last)[..600].to_vec());
    assert!(error.to_string().contains("at byte 600: the file ends without its index (moov)"), "{error}");
}

#[test]
fn what_rtmp_does_not_carry_is_named_and_the_rest_is_played() {
    let pcm = FileTrack::new(b"soun", 48_000, sound(b"sowt", &[])).sound(9);
    let text = FileTrack::new(b"text", 1_000, boxed(b"tx3g", &[&[0; 40]])).sound(3);
    let mut turned = FileTrack::h264().pictures(9, 3_600, 3, 0);
    turned.turned = (0, 1);
    let reader = open(mp4(&[turned, text, pcm.clone()], Index::Last)).unwrap();
    let told: Vec<_> = reader.not_carried().iter().map(|its| (its.what.as_str(), its.options)).collect();
    assert_eq!(
        told,
        [
            ("the rotation of video track 1 by 90 degrees", "-c:a copy"),
            ("audio track 3 (PCM)", "-c:v copy -c:a aac")
        ]
    );
    let damaged = FileTrack::new(b"vide", 25, visual(b"avc1", &boxed(b"avcC", &[b"\x01\x02"])));
    let error = refused(mp4(&[damaged, pcm], Index::First)).to_string();
    assert!(error.contains("video track 1 (H.264, whose configuration makes no sense)"), "{error}");
    assert!(error.contains("audio track 2 (PCM)"), "{error}");
    let none = refused(mp4(&[], Index::First)).to_string();
    assert_eq!(none, "at byte 0: the file holds no track of audio or video");
}

#[test]
fn sound_of_quick_time_has_its_descriptor_in_a_box_of_its_own() {
    let wave = boxed(b"wave", &[&boxed(b"frma", &[b"mp4a"]), &esds(0x40, &[0x11, 0x90])]);
    for (version, more) in [(1, 16), (2, 36)] {
        let mut entry = sound(b"mp4a", &[&vec![0; more][..], &wave].concat());
        entry[17] = version;
        let file = mp4(&[FileTrack::new(b"soun", 48_000, entry).sound(3)], Index::First);
        assert_eq!(&frames(file)[1].payload[..], b"\xaf\0\x11\x90", "version {version}");
    }
}

#[test]
fn a_track_may_go_on_as_another_of_its_descriptions_says() {
    let mut track = FileTrack::aac().sound(4);
    track.entries.push(sound(b"Opus", &boxed(b"dOps", &[b"\0\x02\x01\x38\0\0\xbb\x80\0\0\0"])));
    let mut file = mp4(&[track], Index::First);
    let at = file.windows(4).position(|window| window == b"stsc").unwrap();
    file[at..at + 4].copy_from_slice(b"free");
    let stsc = full_box(b"stsc", 0, 0, &[&numbers([2, 1, 1, 1, 3, 1, 2])]);
    let other = with_box(&file, b"ctts", &stsc);
    let payloads: Vec<_> = frames(other).into_iter().skip(1).map(|frame| frame.payload[0]).collect();
    assert_eq!(payloads, [0xaf, 0xaf, 0xaf, 0x90, 0x91, 0x91]);
}

#[test]
fn several_tracks_of_a_kind_are_played_where_they_are_enabled() {
    let mut tracks = vec![FileTrack::aac().sound(2), FileTrack::aac().sound(2)];
    let count = |tracks: &[FileTrack]| open(mp4(tracks, Index::First)).unwrap().tracks.len();
    assert_eq!(count(&tracks), 2);
    tracks[0].is_enabled = false;
    assert_eq!(count(&tracks), 1);
    tracks[1].is_enabled = false;
    assert_eq!(count(&tracks), 1, "the first was meant");
}

#[test]
fn a_run_of_samples_without_bytes_is_none() {
    let file = fragmented_mp4(&[FileTrack::aac().sound(4)], 4);
    // Entries of nothing, and samples of nothing.
    let trun = full_box(b"trun", 0, 1, &[&numbers([u32::MAX, 0])]);
    assert_eq!(frames(with_box(&file, b"trun", &trun)).len(), 1);
}
