//! Fragmented MP4, and what codecs are called there.

use super::Choices;
use super::elementary::changed;
use super::flv::loop_file;
use crate::media::codec::codec_string;
use crate::media::flv::{Codec, PayloadInfo};
use crate::media::flv_file::FileTag;
use crate::media::fmp4::{Mp4Run, Mp4Sample, Mp4Track, mp4_init, mp4_part, mp4_still};
use crate::media::mp4_file::Mp4Reader;
use crate::media::probe::Probe;
use bytes::Bytes;
use std::io::Cursor;

/// Tracks of an input, and samples of each.
const TRACKS: u8 = 3;
const SAMPLES: u8 = 5;
/// Frames of a file that are read: its tables may name the same bytes again and again.
const FRAMES: usize = 4_096;
/// What a track may cost in boxes beside its record.
const BOXES: usize = 1_024;

/// Records, and frames where a codec has none or its record does not tell all.
const MATERIAL: &[(Codec, &[u8])] = &[
    (
        Codec::H264,
        b"\x01\x7a\0\x1f\xff\xe1\0\x19\x67\x7a\0\x1f\xbc\xd9\x40\x50\x05\xbe\xaf\x01\x10\0\0\x3e\x90\0\
          \x0e\xa6\0\xf1\x83\x19\x60\x01\0\x06\x68\xeb\xe3\xcb\x22\xc0\xfe\xf8\xf8\0",
    ),
    (Codec::H264, b"\0\0\0\x03\x65\x88\x84\0\0\0\x02\x41\x9a"),
    (
        Codec::Hevc,
        b"\x01\x01\x60\0\0\0\x90\0\0\0\0\0\x3c\xf0\0\xfc\xfd\xf8\xf8\0\0\x0f\x03\x20\0\x01\0\x18\x40\
          \x01\x0c\x01\xff\xff\x01\x60\0\0\x03\0\x90\0\0\x03\0\0\x03\0\x3c\x95\x90\x09\x21\0\x01\0\x2a\
          \x42\x01\x01\x01\x60\0\0\x03\0\x90\0\0\x03\0\0\x03\0\x3c\xa0\x0a\x08\x0f\x16\x59\x59\x12\x93\
          \x0b\xc0\x5a\x02\0\0\x03\0\x02\0\0\x03\0\x32\x10\x22\0\x01\0\x06\x44\x01\xc0\x73\xc1\x89",
    ),
    (Codec::Av1, b"\x81\x04\x0c\x00\x0a\x0b\x00\x00\x00\x24\xcf\x7f\x0d\xbf\xff\x30\x08"),
    (Codec::Vp9, b"\x01\0\0\0\0\x14\x82\x02\x02\0\0\0"),
    (Codec::Vp9, b"\x82\x49\x83\x42\x00\x13\xf0\x0e\xf0\x00"),
    (Codec::Vp8, b"\x10\x02\x00\x9d\x01\x2a\x40\x01\xf0\x00\x00"),
    (Codec::Aac, b"\xeb\x8a\x08\x00"),
    (Codec::Aac, b"\x11\x88\x56\xe5\x00"),
    (Codec::Mp3, b"\xff\xfb\x94\x64"),
    (Codec::Opus, b"OpusHead\x01\x06\x38\x01\x80\xbb\0\0\0\0\x01\x04\x02\0\x04\x01\x02\x03\x05"),
    (Codec::Opus, b"OpusHead\x01\x02\x38\x01\x80\xbb\0\0\0\0\0"),
    (
        Codec::Flac,
        b"fLaC\x80\0\0\x22\x12\0\x12\0\0\0\x0e\0\x10\x94\x0b\xb8\x02\xf0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
    ),
    (Codec::Ac3, b"\x0b\x77\xfe\x95\x14\x40\x43\xe1\x06"),
    (Codec::Eac3, b"\x0b\x77\x01\x7f\x34\x87\xc0\x00"),
    (Codec::Speex, b"\x80"),
];

/// Tracks of any records: an error, or a beginning that costs little more than its records; then parts, whose samples lie
/// where they are said to. Input: choices.
pub fn mp4(data: &[u8]) {
    let mut choices = Choices::new(data);
    let tracks: Vec<_> = (1..=1 + choices.below(TRACKS)).map(|id| track(&mut choices, id)).collect();
    for track in &tracks {
        let name = codec_string(track.codec, &track.config).unwrap_or_default();
        assert!(name.len() <= 64 && name.chars().all(|c| c.is_ascii_graphic()), "{name}");
        let _ = mp4_still(track, &Bytes::copy_from_slice(choices.slice(16)));
    }
    if let Ok(init) = mp4_init(&tracks) {
        check_init(&init, &tracks);
    }
    let runs: Vec<Vec<Mp4Sample>> = tracks.iter().map(|_| samples(&mut choices)).collect();
    let runs: Vec<_> = tracks.iter().zip(&runs).map(|(track, samples)| run(track, samples)).collect();
    let sequence = choices.u32();
    let Ok(part) = mp4_part(sequence, &runs) else { panic!("so little can always be written") };
    check_part(&part, &runs);
}

/// A file of arbitrary bytes: each frame is made of the bytes that it is said to be at, and the file loops on a monotone time
/// line.
pub fn mp4_file(data: &[u8]) {
    let Ok(mut reader) = Mp4Reader::new(Cursor::new(data)) else { return };
    let mut probe = Probe::new();
    for _ in 0..FRAMES {
        let Ok(Some(tag)) = reader.next_tag() else { break };
        probe.push(&tag.frame, None);
        assert_of_file(data, &tag);
    }
    assert!(reader.truncated_at().is_none_or(|_| reader.length() <= data.len() as u64));
    assert!(!probe.report().to_string().is_empty());
    loop_file(data);
}

fn assert_of_file(data: &[u8], FileTag { position, frame }: &FileTag) {
    let info = PayloadInfo::parse(frame.kind, &frame.payload).filter(|info| info.packet.is_coded());
    let Some(info) = info else { return assert!(frame.is_config(), "a frame without a meaning: {frame:?}") };
    let sample = info.data(&frame.payload);
    let at = usize::try_from(*position).expect("it is in the file");
    assert!(!sample.is_empty() && data[at..].starts_with(sample), "other bytes than those at {at}");
}

fn track(choices: &mut Choices<'_>, id: u8) -> Mp4Track {
    let (codec, config) = changed(choices, MATERIAL);
    let (_, frame) = changed(choices, MATERIAL);
    let track = Mp4Track::new(id.into(), codec, config.into(), choices.u32());
    if choices.below(2) == 0 { track } else { track.with_frame(&frame.into()) }
}

fn samples(choices: &mut Choices<'_>) -> Vec<Mp4Sample> {
    let count = choices.below(SAMPLES);
    let sample = |_| Mp4Sample {
        duration: choices.u32(),
        composition: choices.u32().cast_signed(),
        is_sync: choices.below(2) == 0,
        data: Bytes::copy_from_slice(choices.slice(40)),
    };
    (0..count).map(sample).collect()
}

fn run<'a>(track: &Mp4Track, samples: &'a [Mp4Sample]) -> Mp4Run<'a> {
    Mp4Run { track: track.id, begins: u64::from(track.timescale) << 20, samples }
}

fn check_init(init: &[u8], tracks: &[Mp4Track]) {
    let records: usize = tracks.iter().map(|track| track.config.len()).sum();
    assert!(init.len() <= records + BOXES * (1 + tracks.len()), "{} bytes of {records}", init.len());
    let [(b"ftyp", _), (b"moov", moov)] = boxes(init)[..] else { panic!("other boxes") };
    let traks: Vec<_> = boxes(moov).into_iter().filter(|(kind, _)| *kind == b"trak").collect();
    assert_eq!(traks.len(), tracks.len());
    for (_, trak) in traks {
        let [entry] = [b"mdia", b"minf", b"stbl", b"stsd"].iter().fold([trak], |[body], kind| {
            [boxes(body)
                .into_iter()
                .find_map(|(found, body)| (found == *kind).then_some(body))
                .unwrap_or_default()]
        });
        // One entry, behind version, flags and their number.
        assert_eq!((entry[..8].to_vec(), boxes(&entry[8..]).len()), (vec![0, 0, 0, 0, 0, 0, 0, 1], 1));
    }
}

fn check_part(part: &[u8], runs: &[Mp4Run<'_>]) {
    let [(b"moof", moof), (b"mdat", _)] = boxes(part)[..] else { panic!("other boxes") };
    let trafs: Vec<_> = boxes(moof).into_iter().filter(|(kind, _)| *kind == b"traf").collect();
    assert_eq!(trafs.len(), runs.len());
    for ((_, traf), run) in trafs.into_iter().zip(runs) {
        let Some((_, trun)) = boxes(traf).into_iter().find(|(kind, _)| *kind == b"trun") else {
            panic!("no run")
        };
        let number = |at: usize| u32::from_be_bytes([0, 1, 2, 3].map(|byte| trun[at + byte])) as usize;
        assert_eq!(number(4), run.samples.len());
        // Flags of a sample stand in each entry, or once before them.
        let (entries, len) = if number(0) & 4 == 0 { (12, 16) } else { (16, 12) };
        let mut at = number(8);
        for (index, sample) in run.samples.iter().enumerate() {
            // Behind the duration.
            assert_eq!(number(entries + len * index + 4), sample.data.len());
            assert_eq!(part[at..at + sample.data.len()], sample.data);
            at += sample.data.len();
        }
    }
}

/// Boxes that follow each other to the last byte.
fn boxes(mut bytes: &[u8]) -> Vec<(&[u8; 4], &[u8])> {
    let mut boxes = Vec::new();
    while let Some((size, rest)) = bytes.split_first_chunk::<4>() {
        let size = u32::from_be_bytes(*size) as usize;
        let Some((kind, _)) = rest.split_first_chunk::<4>() else { panic!("half a box") };
        boxes.push((kind, &bytes[8..size]));
        bytes = &bytes[size..];
    }
    assert!(bytes.is_empty());
    boxes
}
