//! The FLV reader: positions, broken and truncated files, time beyond 24 and 32 bits.

use crate::build::{FileBuilder, demo_clip, shared_clip, ten_seconds};
use std::io::{Cursor, Write};
use streamengine::ErrorKind;
use streamengine::media::flv::FileHeader;
use streamengine::media::flv_file::{FileTag, FlvReader};
use streamengine::media::{Frame, FrameKind};
use streamengine::testing::tags;

fn reader(bytes: &[u8]) -> FlvReader<Cursor<&[u8]>> {
    FlvReader::new(Cursor::new(bytes)).unwrap()
}

fn read(bytes: &[u8]) -> (Vec<FileTag>, Option<u64>) {
    let mut reader = reader(bytes);
    let tags = std::iter::from_fn(|| reader.next_tag().unwrap()).collect();
    (tags, reader.truncated_at())
}

/// The error that `bytes` end in, as kind and text.
fn failure(bytes: &[u8]) -> (ErrorKind, String) {
    let error = match FlvReader::new(Cursor::new(bytes)) {
        Err(error) => error,
        Ok(mut reader) => loop {
            match reader.next_tag() {
                Ok(Some(_)) => {}
                Ok(None) => panic!("no error"),
                Err(error) => break error,
            }
        },
    };
    (error.kind(), error.to_string())
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
fn empty_absent_and_wrong_headers_are_refused_with_the_byte_position() {
    let refused = |bytes: &[u8], text: &str| {
        let (kind, message) = failure(bytes);
        assert_eq!((kind, message.as_str()), (ErrorKind::Format, text));
    };
    refused(b"", "at byte 0: the file is empty");
    refused(b"FLV\x01", "at byte 0: FLV header is cut short");
    refused(b"\0\0\0\x18ftypmp42abcd", "at byte 0: not an FLV file: it does not start with \"FLV\"");
    refused(b"FLV\x03\x05\0\0\0\x09", "at byte 3: FLV version 3 is not supported");
    refused(b"FLV\x01\x05\0\0\0\x07", "at byte 5: FLV data offset 7 points into the header");
    refused(b"FLV\x01\x05\0\0\x09\0", "at byte 5: data offset 2304 is beyond the file's end");
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
fn garbage_between_tags_is_an_error_with_the_byte_position() {
    let mut bytes = FileBuilder::default().video(0, 2, (1, 25)).file().to_vec();
    let position = bytes.len();
    bytes.extend([0xab; 64]);
    let text = format!("at byte {position}: unknown tag type 171");
    assert_eq!(failure(&bytes), (ErrorKind::Format, text));
}

#[test]
fn a_wrong_tag_size_is_an_error_or_the_end_and_costs_no_memory() {
    let source = FileBuilder::default().video(0, 3, (1, 25));
    let mut bytes = source.file().to_vec();
    bytes[14..17].copy_from_slice(&[0xff, 0xff, 0xff]);
    let (tags, truncated) = read(&bytes);
    assert_eq!((tags.len(), truncated), (0, Some(13)));
    bytes[14..17].copy_from_slice(&[0, 0, 14]);
    assert_eq!(failure(&bytes).0, ErrorKind::Format);
}

#[test]
fn encrypted_tags_are_refused() {
    let mut bytes = FileBuilder::default().video(0, 2, (1, 25)).file().to_vec();
    bytes[13] |= 0x20;
    let text = "tag at byte 13: encrypted tags are not supported".to_owned();
    assert_eq!(failure(&bytes), (ErrorKind::Unsupported, text));
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
