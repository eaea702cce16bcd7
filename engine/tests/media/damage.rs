//! Damaged FLV: whatever bytes come in between, what is whole is played.

use proptest::prelude::*;
use proptest::sample::Index;
use std::io::Cursor;
use streamengine::media::elementary::FlvStream;
use streamengine::media::flv_file::FlvReader;
use streamengine::media::{Frame, FrameKind};
use streamengine::testing;

/// A few frames in the order of their time, of any content.
fn frames() -> impl Strategy<Value = Vec<Frame>> {
    let payload = prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 1..60),
        1 => prop::collection::vec(any::<u8>(), 200..900),
        1 => prop::collection::vec(Just(0), 1..40),
    ];
    let frame = (prop_oneof![Just(FrameKind::Audio), Just(FrameKind::Video)], 0..50_i64, payload);
    prop::collection::vec(frame, 2..9).prop_map(|frames| {
        let mut time = 0;
        frames
            .into_iter()
            .map(|(kind, step, payload)| {
                time += step;
                Frame::new(kind, time, payload.into())
            })
            .collect()
    })
}

/// What comes in between.
fn garbage() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 1..40),
        (1..200_usize).prop_map(|count| vec![0; count]),
        (any::<u8>(), 1..40_usize).prop_map(|(byte, count)| vec![byte; count]),
        // The beginning of a tag.
        (1..15_usize).prop_map(|count| testing::tag(9, 20, b"\x27\x01", 13)[..count].to_vec()),
    ]
}

/// The file with the garbage at `at`, and the frames of it that are whole.
fn damaged(frames: &[Frame], at: Index, garbage: &[u8]) -> (Vec<u8>, Vec<Frame>) {
    let mut bytes = testing::flv(frames).to_vec();
    let at = at.index(bytes.len() + 1);
    let mut start = 13;
    let mut whole = Vec::new();
    for frame in frames {
        let end = start + 11 + frame.payload.len();
        if at <= start || at >= end {
            whole.push(frame.clone());
        }
        start = end + 4;
    }
    bytes.splice(at..at, garbage.iter().copied());
    (bytes, whole)
}

fn read_file(bytes: &[u8]) -> Vec<Frame> {
    let mut reader = FlvReader::new(Cursor::new(bytes)).unwrap();
    std::iter::from_fn(|| reader.next_tag().unwrap()).map(|tag| tag.frame).collect()
}

/// The frames that come out while the bytes go in, and at the end.
fn read_stream(bytes: &[u8], piece: usize) -> Vec<Frame> {
    let mut stream = FlvStream::new(1 << 24);
    let mut frames = Vec::new();
    for mut input in bytes.chunks(piece) {
        while let Some(frame) = stream.read(&mut input).unwrap() {
            frames.push(frame);
        }
    }
    while let Some(frame) = stream.finish().unwrap() {
        frames.push(frame);
    }
    frames
}

/// The number of the first of `expected` that does not come, in their order, among `played`. The time of a damaged first
/// tag may count as the wire's, which has 32 bits.
fn missing(expected: &[Frame], played: &[Frame]) -> Option<usize> {
    let mut played = played.iter();
    let is_same = |one: &Frame, other: &Frame| {
        let is_same_time = (one.timestamp - other.timestamp) % (1 << 32) == 0;
        is_same_time && one.kind == other.kind && one.payload == other.payload
    };
    expected.iter().position(|frame| !played.any(|other| is_same(frame, other)))
}

/// Frames in few words.
fn shown(frames: &[Frame]) -> String {
    frames.iter().map(|frame| format!("{} bytes at {} ", frame.payload.len(), frame.timestamp)).collect()
}

// What is put in may look like the head of a tag; only bytes that by accident make a whole tag with its size behind it
// can take the place of one. Of some hundred thousand cases none did.
proptest! {
    #![proptest_config(ProptestConfig {
        cases: 10_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn whatever_bytes_are_put_into_a_file_every_whole_tag_is_played_by_both_readers(
        frames in frames(), at in any::<Index>(), garbage in garbage(), piece in 1..300_usize,
    ) {
        let (bytes, whole) = damaged(&frames, at, &garbage);
        let file = read_file(&bytes);
        prop_assert_eq!(missing(&whole, &file), None, "of {} the file gives {}", shown(&whole), shown(&file));
        let stream = read_stream(&bytes, piece);
        prop_assert_eq!(missing(&whole, &stream), None, "of {} the stream gives {}", shown(&whole), shown(&stream));
    }
}
