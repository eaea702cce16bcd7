//! MP4 files through the public API: frames and times of what their index says, the loop (F34), and damage.

use crate::looping::{LOOPS, check, memory, seconds};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::io::Cursor;
use std::time::Duration;
use streamengine::ErrorKind;
use streamengine::media::flv::PayloadInfo;
use streamengine::media::looping::{Clip, Loop, Repeat};
use streamengine::media::media_file::MediaReader;
use streamengine::media::{Frame, FrameKind, metadata};
use streamengine::testing::mp4_file::{AVC_RECORD, FileTrack, Index, fragmented_mp4, mp4};

fn frames(bytes: &[u8]) -> Vec<Frame> {
    let mut reader = MediaReader::new(Cursor::new(bytes)).unwrap();
    std::iter::from_fn(|| reader.next_tag().unwrap()).map(|tag| tag.frame).collect()
}

/// Times of the coded frames of a kind, and when they are shown.
fn times(frames: &[Frame], kind: FrameKind) -> Vec<(i64, i32)> {
    let coded = frames.iter().filter(|frame| frame.kind == kind && frame.has_media());
    let info = |frame: &Frame| PayloadInfo::parse(kind, &frame.payload).unwrap();
    coded.map(|frame| (frame.timestamp, info(frame).composition_time)).collect()
}

/// Two seconds of picture at 25 per second, and of sound.
fn clip() -> [FileTrack; 2] {
    [FileTrack::h264().pictures(50, 3_600, 25, 0), FileTrack::aac().sound(94)]
}

#[test]
fn metadata_and_headers_come_before_the_frames_which_are_in_the_order_of_their_time() {
    let file = mp4(&clip(), Index::First);
    let frames = frames(&file);
    assert_eq!(frames.len(), 1 + 2 + 50 + 94);
    assert!(frames[0].is_metadata());
    let number = |name| metadata::number(&frames[0].payload, name);
    let told =
        ["width", "height", "framerate", "videocodecid", "audiosamplerate", "audiochannels", "audiocodecid"];
    assert_eq!(told.map(|name| number(name).unwrap()), [320.0, 180.0, 25.0, 7.0, 48_000.0, 2.0, 10.0]);
    assert_eq!(frames[1].payload, [&b"\x17\0\0\0\0"[..], AVC_RECORD].concat());
    assert_eq!(&frames[2].payload[..], b"\xaf\0\x11\x90");
    assert!(frames.windows(2).all(|pair| pair[0].timestamp <= pair[1].timestamp));
    let keys: Vec<_> =
        frames.iter().filter(|frame| frame.flags.keyframe).map(|frame| frame.timestamp).collect();
    assert_eq!(keys, [0, 1_000]);
    assert_eq!(&frames[3].payload[..], b"\x17\x01\0\0\0\0\0\0\x05\x65\x88\0\0\x07");
}

#[test]
fn wherever_the_index_is_and_in_fragments_the_frames_are_the_same() {
    let first = frames(&mp4(&clip(), Index::First));
    assert_eq!(frames(&mp4(&clip(), Index::Last)), first);
    for samples in [1, 7, 100] {
        let mut fragmented = frames(&fragmented_mp4(&clip(), samples));
        // Nobody knows the rate of pictures beforehand.
        assert!(fragmented[0].is_metadata());
        fragmented[0] = first[0].clone();
        assert_eq!(fragmented, first, "{samples} samples each");
    }
}

#[test]
fn edit_lists_shift_cut_and_repeat() {
    let of = |video: FileTrack, audio: FileTrack| {
        let frames = frames(&mp4(&[video, audio], Index::First));
        (times(&frames, FrameKind::Video), times(&frames, FrameKind::Audio))
    };
    let [video, audio] = clip();
    // Pictures that are shown 80 ms after they are decoded, as with B-frames; a frame for the decoder before the sound.
    let late = FileTrack::h264().pictures(50, 3_600, 25, 7_200).edits(&[(2_000, 7_200)]);
    let (pictures, sounds) = of(late, audio.clone().edits(&[(1_984, 1_024)]));
    assert_eq!((pictures[0], pictures[49], pictures.len()), ((-80, 80), (1_880, 80), 50));
    assert_eq!((sounds[0].0, sounds[1].0, sounds.len()), (-21, 0, 94));
    // Sound that begins later.
    let (pictures, sounds) = of(video.clone(), audio.clone().edits(&[(500, -1), (1_000, 0)]));
    assert_eq!((pictures[0].0, sounds[0].0, sounds.len()), (0, 500, 47));
    // A part from the middle: from the keyframe before it on, and 80 ms of sound.
    let (pictures, sounds) =
        of(video.clone().edits(&[(400, 108_000)]), audio.clone().edits(&[(400, 57_600)]));
    assert_eq!((pictures[0].0, pictures.last().unwrap().0), (-200, 360));
    assert_eq!((sounds[0].0, sounds.last().unwrap().0), (-91, 379));
    // Twice the same second.
    let twice = [(1_000, 0), (1_000, 0)];
    let (pictures, _) = of(video.edits(&twice), audio.edits(&twice));
    assert_eq!((pictures.len(), pictures[24].0, pictures[25].0, pictures[49].0), (50, 960, 1_000, 1_960));
}

#[test]
fn f34_mp4_files_loop_without_drift() {
    assert_eq!(check(memory(mp4(&clip(), Index::Last).into()), seconds(94 * 1_024, 48_000), LOOPS), 3);
    let late = FileTrack::h264().pictures(250, 3_600, 25, 7_200).edits(&[(10_000, 7_200)]);
    let sound = FileTrack::aac().sound(469).edits(&[(9_984, 1_024)]);
    check(memory(mp4(&[late, sound], Index::First).into()), seconds(469 * 1_024, 48_000), LOOPS);
    let ntsc = FileTrack::h264().pictures(300, 3_003, 60, 6_006).edits(&[(10_010, 6_006)]);
    check(memory(mp4(&[ntsc], Index::First).into()), seconds(300 * 1_001, 30_000), LOOPS);
    check(memory(fragmented_mp4(&clip(), 25).into()), seconds(94 * 1_024, 48_000), LOOPS);
}

#[test]
fn a_playlist_mixes_flv_and_mp4() {
    let clips = [memory(mp4(&clip(), Index::First).into()), Clip::from(crate::build::demo_clip())];
    let mut looped = Loop::open(clips, Repeat::Times(2)).unwrap();
    let lengths: Vec<_> = looped.clips().map(|clip| clip.length).collect();
    for (length, ideal) in lengths.iter().zip([seconds(94 * 1_024, 48_000), Duration::from_secs(10)]) {
        assert!(length.abs_diff(ideal) < Duration::from_micros(1), "{length:?}");
    }
    let frames: Vec<_> =
        std::iter::from_fn(|| looped.next_frame().unwrap()).map(|timed| timed.frame).collect();
    let times = times(&frames, FrameKind::Video);
    assert!(times.windows(2).all(|pair| pair[0].0 < pair[1].0) && times.len() == 2 * (50 + 250));
    assert_eq!(looped.end(), (lengths[0] + lengths[1]) * 2);
}

#[test]
fn an_empty_or_short_file_is_named() {
    for (bytes, text) in [
        (&b"\0\0\0\x10ftypisom\0\0\0\0"[..], "at byte 16: the file ends without an index (moov)"),
        (b"\0\0\0\x04ftyp", "at byte 0: the box ftyp says that it has 4 bytes"),
        (b"\0\0\0\x08moov", "at byte 0: the index has no clock (mvhd)"),
    ] {
        let error = MediaReader::new(Cursor::new(bytes)).unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Format, text));
    }
}

#[test]
fn of_damaged_files_there_is_an_error_with_the_byte_or_what_is_whole() {
    let mut rng = StdRng::seed_from_u64(14);
    let files = [
        mp4(&clip(), Index::First),
        mp4(&clip(), Index::Last),
        fragmented_mp4(&clip(), 10),
        mp4(&clip().map(|track| track.edits(&[(300, -1), (1_000, 9_000)])), Index::First),
    ];
    let (mut refused, mut played) = (0, 0);
    for number in 0..200 {
        let mut file = files[number % files.len()].clone();
        // In what describes the media, mostly.
        let range = if number % 8 == 0 { file.len() } else { file.len().min(4_000) };
        for _ in 0..=number % 5 {
            let at = rng.random_range(0..range);
            let place = at % file.len();
            match rng.random_range(0..4) {
                0 => file.truncate(at.max(8)),
                1 => file[place] = 0xff,
                2 => file[place] ^= 1 << rng.random_range(0..8),
                _ => drop(file.splice(place..place, [rng.random::<u8>(); 3])),
            }
            file.resize(file.len().max(range), 0);
        }
        let mut reader = match MediaReader::new(Cursor::new(&file)) {
            Ok(reader) => reader,
            Err(error) => {
                assert!(error.to_string().contains("t byte "), "{error}");
                refused += 1;
                continue;
            }
        };
        played += 1;
        for _ in 0..2_000 {
            match reader.next_tag() {
                Ok(Some(tag)) => assert!(tag.frame.payload.len() <= file.len() + 16),
                Ok(None) => break,
                Err(error) => {
                    assert!(error.to_string().contains("t byte "), "{error}");
                    break;
                }
            }
        }
    }
    assert!(refused >= 20 && played >= 20, "{refused} refused, {played} played");
}
