//! The FLV reader: positions, broken and truncated files, time beyond 24 and 32 bits.

use crate::build::{FileBuilder, demo_clip, shared_clip, ten_seconds};
use std::io::{Cursor, Write};
use streamengine::ErrorKind;
use streamengine::media::flv::{FileHeader, LeftOut};
use streamengine::media::flv_file::{FileTag, FlvReader};
use streamengine::media::{Frame, FrameKind};
use streamengine::testing::{self, tags};

fn reader(bytes: &[u8]) -> FlvReader<Cursor<&[u8]>> {
    FlvReader::new(Cursor::new(bytes)).unwrap()
}

fn read(bytes: &[u8]) -> (Vec<FileTag>, Option<u64>) {
    let mut reader = reader(bytes);
    let tags = std::iter::from_fn(|| reader.next_tag().unwrap()).collect();
    (tags, reader.truncated_at())
}

/// Times of the frames, and what is no tag.
fn damaged(bytes: &[u8]) -> (Vec<i64>, LeftOut) {
    let mut reader = reader(bytes);
    let tags = std::iter::from_fn(|| reader.next_tag().unwrap());
    (tags.map(|tag| tag.frame.timestamp).collect(), reader.left_out())
}

fn one_place(bytes: usize, position: usize) -> LeftOut {
    let mut left_out = LeftOut::default();
    (left_out.bytes, left_out.places, left_out.position) = (bytes as u64, 1, position as u64);
    left_out
}

#[test]
fn a_file_is_read_back_tag_by_tag() {
    let source = ten_seconds(430);
    let (tags, truncated) = read(&source.file());
    let frames: Vec<Frame> = tags.iter().map(|tag| tag.frame.clone()).collect();
    assert_eq!(frames, source.frames());
    assert_eq!(truncated, None);
    assert_eq!(tags[0].position, 13);
    assert_eq!(tags[1].position, 13 + 15 + tags[0].frame.payload.len() as u64);
}

#[test]
fn real_clips_encode_to_the_same_bytes() {
    let shared = ["bbb-h264-aac-10s.flv", "bbb-av1-opus-30s.flv"].into_iter().filter_map(shared_clip);
    for path in shared.chain([demo_clip()]) {
        let mut reader = FlvReader::open(&path).unwrap();
        let mut copy = FileHeader::encode(reader.header()).to_vec();
        while let Some(FileTag { position, frame }) = reader.next_tag().unwrap() {
            assert_eq!(position, copy.len() as u64);
            copy.extend(tags(&[frame]));
        }
        assert!(copy == std::fs::read(&path).unwrap(), "{} differs", path.display());
    }
}

#[test]
fn what_holds_neither_header_nor_tag_is_refused_and_it_is_said_what_it_is_instead() {
    let refused = |bytes: &[u8], text: &str| {
        let error = FlvReader::new(Cursor::new(bytes)).unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Format, text));
    };
    refused(b"", "at byte 0: the file is empty");
    refused(b"FLV\x01", "at byte 0: FLV header is cut short, and there is no FLV tag in its 4 bytes");
    refused(
        b"\0\0\0\x18ftypmp42abcd",
        "at byte 0: not an FLV file: it does not start with \"FLV\", and holds no FLV tag; it looks like MP4",
    );
    refused(
        b"not a video",
        "at byte 0: not an FLV file: it does not start with \"FLV\", and there is no FLV tag in its 11 bytes",
    );
    refused(
        b"FLV\x03\x05\0\0\0\x09",
        "at byte 3: FLV version 3 is not supported, and there is no FLV tag in its 9 bytes",
    );
    refused(
        b"FLV\x01\x05\0\0\0\x07",
        "at byte 5: FLV data offset 7 points into the header, and there is no FLV tag in its 9 bytes",
    );
    refused(
        b"FLV\x01\x05\0\0\x09\0",
        "at byte 5: data offset 2304 is beyond the file's end, and there is no FLV tag in its 9 bytes",
    );
}

#[test]
fn a_header_that_is_missing_wrong_or_without_the_first_size_costs_no_tag() {
    let source = FileBuilder::default().video_headers().video(0, 3, (1, 25));
    let whole = source.file();
    let expected: Vec<i64> = source.frames().iter().map(|frame| frame.timestamp).collect();
    for (header, left_out) in [
        (&b""[..], LeftOut::default()),
        (b"\0\0\0\0", LeftOut::default()),
        (b"FLV\x01\x05\0\0\0\x09", LeftOut::default()),
        (b"FLV\x01\x05\0\0\0\x09\0\0\0\x09", LeftOut::default()),
        (b"FLV\x01\x05\0\0\0\x0cabc\0\0\0\0", LeftOut::default()),
        (b"FLV\x03\x05\0\0\0\x09\0\0\0\0", one_place(13, 0)),
        (b"FLV\x01\x05\x09\0\0\0\0\0\0\0", one_place(13, 0)),
        (b"ID3\x04\0\0\0\0\0\x03tagFLV\x01\x05\0\0\0\x09\0\0\0\0", one_place(13, 0)),
        (&[0; 4096], one_place(4096, 0)),
    ] {
        let bytes = [header, &whole[13..]].concat();
        assert_eq!(damaged(&bytes), (expected.clone(), left_out), "{header:?}");
    }
}

#[test]
fn what_looks_like_a_tag_is_nothing_against_tags_that_their_sizes_confirm() {
    let clip = testing::flv(&[testing::audio(0), testing::audio(20), testing::audio(40)]).to_vec();
    let size = u32::from_be_bytes(clip[clip.len() - 4..].try_into().unwrap()) as usize;
    let (first, second) = (13, 13 + size + 4);
    let half: &[u8] = &[9, 0, 0, 2, 0, 0, 20, 0, 0, 0];
    for (at, garbage) in [
        // Data offsets that lead into the first tag, or behind it.
        (8, &[0x61; 15][..]),
        (8, &[0x2e; 5]),
        (7, &[1]),
        (4, &[9, 0, 0]),
        // The head of a tag where a size belongs.
        (9, half),
        (first + size, half),
        (second + size, half),
        (second, half),
        (second, &half[..5]),
        // At the end, what makes a time look like a length.
        (clip.len() - 4, &[0; 14]),
        (clip.len() - 4, &half[..3]),
    ] {
        let mut bytes = clip.clone();
        bytes.splice(at..at, garbage.iter().copied());
        let (tags, _) = read(&bytes);
        let times: Vec<_> = tags.iter().map(|tag| tag.frame.timestamp).collect();
        assert_eq!(times, [0, 20, 40], "{garbage:x?} at {at}");
    }
}

#[test]
fn f34_a_file_cut_anywhere_plays_up_to_the_last_whole_tag() {
    let source = FileBuilder::default().video_headers().video(0, 3, (1, 25)).audio(0, 2);
    let whole = source.file();
    let (all, _) = read(&whole);
    for end in 13..=whole.len() {
        let (tags, truncated) = read(&whole[..end]);
        let complete = |tag: &&FileTag| tag.position as usize + 11 + tag.frame.payload.len() <= end;
        let expected: Vec<_> = all.iter().take_while(complete).cloned().collect();
        assert_eq!(tags, expected, "cut at {end}");
        // Cut in or before "previous tag size", nothing is missing that could be played.
        let next = expected.last().map_or(13, |tag| tag.position + 15 + tag.frame.payload.len() as u64);
        assert_eq!(truncated, (next < end as u64).then_some(next), "cut at {end}");
    }
}

#[test]
fn bytes_between_tags_are_left_out_and_counted_with_their_position() {
    let (first, second) =
        (FileBuilder::default().video(0, 2, (1, 25)), FileBuilder::default().video(80, 2, (1, 25)));
    let (first, second) = (first.file(), second.file());
    for garbage in [&[0; 4][..], &[0; 15], &[0; 4096], &[0xab; 64], &[9; 5000], &[0x47; 188], &second[13..30]]
    {
        let bytes = [&first, garbage, &second[13..]].concat();
        assert_eq!(
            damaged(&bytes),
            (vec![0, 40, 80, 120], one_place(garbage.len(), first.len())),
            "{garbage:?}"
        );
        let tail = [&first, garbage].concat();
        let (times, left_out) = damaged(&tail);
        assert_eq!(times, [0, 40], "{garbage:?}");
        if garbage[0] != 9 {
            assert_eq!(left_out, one_place(garbage.len(), first.len()), "{garbage:?} at the end");
        }
    }
}

#[test]
fn half_a_tag_in_the_middle_is_left_out_and_not_played_with_what_follows_it() {
    let tags = |frames: &[Frame]| testing::flv(frames).slice(13..);
    let before = tags(&[testing::keyframe(0, 500)]);
    let half = tags(&[testing::inter(40, 3000)]).slice(..1000);
    let after = tags(&[
        testing::inter(80, 300),
        testing::audio(90),
        testing::inter(120, 4000),
        testing::inter(160, 20),
    ]);
    let bytes = [&b"FLV\x01\x05\0\0\0\x09\0\0\0\0"[..], &before, &half, &after].concat();
    let position = 13 + before.len();
    assert_eq!(damaged(&bytes), (vec![0, 80, 90, 120, 160], one_place(1000, position)));
}

#[test]
fn a_wrong_length_costs_one_tag_and_no_memory() {
    let source = FileBuilder::default().video(0, 3, (1, 25));
    for length in [[0xff, 0xff, 0xff], [0, 0, 14], [0, 0, 60], [0, 0, 2]] {
        let mut bytes = source.file().to_vec();
        bytes[14..17].copy_from_slice(&length);
        let (times, left_out) = damaged(&bytes);
        assert!(times.ends_with(&[40, 80]) && left_out.bytes > 0, "{length:?}: {times:?}, {left_out}");
    }
}

#[test]
fn encrypted_tags_are_passed_over_and_counted() {
    let mut bytes = FileBuilder::default().video(0, 3, (1, 25)).file().to_vec();
    bytes[13 + 28] |= 0x20;
    let mut reader = reader(&bytes);
    let tags: Vec<_> = std::iter::from_fn(|| reader.next_tag().unwrap()).collect();
    assert_eq!((tags.len(), reader.encrypted_tags(), reader.left_out()), (2, 1, LeftOut::default()));
}

#[test]
fn a_writer_that_gets_all_sizes_wrong_is_read_around_garbage_too() {
    let source = FileBuilder::default().video(0, 12, (1, 25));
    let behind = |payload: usize, n: u32| {
        [0, u32::try_from(payload).unwrap(), payload as u32 + 15, n][(n % 4) as usize]
    };
    let tags = |frames: &[Frame]| -> Vec<u8> {
        let tag = |frame: &Frame, n| {
            testing::tag(9, frame.timestamp as u32, &frame.payload, behind(frame.payload.len(), n))
        };
        frames.iter().zip(0..).flat_map(|(frame, n)| tag(frame, n)).collect()
    };
    let (first, rest) = source.frames().split_at(6);
    let first = [&b"FLV\x01\x05\0\0\0\x09\0\0\0\0"[..], &tags(first)].concat();
    let bytes = [&first[..], &[0xab; 100], &tags(rest)].concat();
    let (times, left_out) = damaged(&bytes);
    assert_eq!(times, (0..12).map(|n| n * 40).collect::<Vec<_>>());
    assert_eq!(left_out.bytes, 104, "with the size that is none: {left_out}");
    let without: Vec<u8> = source
        .frames()
        .iter()
        .flat_map(|frame| {
            let tag = testing::tags(std::slice::from_ref(frame));
            tag[..tag.len() - 4].to_vec()
        })
        .collect();
    assert_eq!(damaged(&without).0.len(), 12, "no sizes at all");
}

#[test]
fn a_search_for_tags_takes_the_same_time_for_each_byte_whatever_it_looks_like() {
    // Each byte begins the header of a tag that would reach far, and none is there.
    let header = [9, 0x0f, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let looks = |count: usize| {
        let bytes = [&FileBuilder::default().video(0, 2, (1, 25)).file()[..], &header.repeat(count)].concat();
        let start = std::time::Instant::now();
        let (times, _) = damaged(&bytes);
        assert_eq!(times[..2], [0, 40]);
        start.elapsed()
    };
    looks(100_000);
    let (once, tenfold) = (looks(100_000), looks(1_000_000));
    assert!(tenfold < once * 40 + std::time::Duration::from_secs(1), "{once:?} and {tenfold:?}");
}

#[test]
fn tags_of_unknown_type_are_skipped_when_their_size_is_confirmed() {
    let mut bytes = FileBuilder::default().video(0, 2, (1, 25)).file().to_vec();
    bytes[13] = 10;
    let (tags, _) = read(&bytes);
    assert_eq!(tags.len(), 1);
}

#[test]
fn wrong_previous_tag_sizes_are_tolerated() {
    let source = FileBuilder::default().video(0, 1, (1, 25));
    let mut bytes = source.file().to_vec();
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&[9, 9, 9, 9]);
    bytes.extend_from_slice(&FileBuilder::default().audio(0, 1).file()[13..]);
    assert_eq!(read(&bytes).0.len(), 2);
}

#[test]
fn amf3_script_tags_and_set_data_frame_become_amf0_data() {
    let event = b"\x02\x00\x0aonMetaData\x05";
    let prefixed = [b"\x02\x00\x0d@setDataFrame", &event[..]].concat();
    let amf3 = [&[0][..], event].concat();
    let source = FileBuilder::default().tag(FrameKind::Data, 0, prefixed).tag(FrameKind::Data, 0, amf3);
    let mut bytes = source.file().to_vec();
    let second = read(&bytes).0[1].position as usize;
    bytes[second] = 15;
    for tag in read(&bytes).0 {
        assert_eq!(&tag.frame.payload[..], event);
        assert!(tag.frame.is_config());
    }
}

#[test]
fn f08_file_time_goes_on_beyond_24_31_and_32_bits() {
    for limit in [1_i64 << 24, 1 << 31, 1 << 32] {
        let source = FileBuilder::default().video(limit - 1_000, 50, (1, 25));
        let times: Vec<i64> = read(&source.file()).0.iter().map(|tag| tag.frame.timestamp).collect();
        assert!(times.iter().zip(&times[1..]).all(|(a, b)| b - a == 40), "{limit}");
    }
}

#[test]
fn what_is_no_regular_file_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let error = FlvReader::open(directory.path()).unwrap_err();
    assert!(error.to_string().contains(&directory.path().display().to_string()), "{error}");
    let missing = directory.path().join("missing.flv");
    let error = FlvReader::open(&missing).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("missing.flv"), "{error}");
}

#[test]
fn a_file_that_grows_while_it_is_read_ends_where_it_ended_when_opened() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("growing.flv");
    let source = FileBuilder::default().video(0, 3, (1, 25));
    std::fs::write(&path, source.file()).unwrap();
    let mut reader = FlvReader::open(&path).unwrap();
    let more = FileBuilder::default().video(120, 3, (1, 25)).file();
    std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(&more[13..]).unwrap();
    let mut count = 0;
    while reader.next_tag().unwrap().is_some() {
        count += 1;
    }
    assert_eq!((count, reader.truncated_at()), (3, None));
}
