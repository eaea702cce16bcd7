//! What frames tell of their tracks.

use super::*;
use crate::testing::{audio, inter, keyframe, metadata, video_header};

/// Records of H.264 of 640x360 and of 1278x718, and of VP9; 320x240 of which is a keyframe.
const AVC: &str = "0142c01effe100196742c01ed890280bfe5c0440000003004000000c83c58b898001000568c888cb20";
const AVC_LARGE: &str =
    "017a001fffe10019677a001fbcd9405005beaf011000003e90000ea600f183196001000668ebe3cb22c0fef8f800";
const VP9: &[u8] = b"\x01\0\0\0\x00\x14\x82\x02\x02\x02\0\0";
const VP9_KEY: &[u8] = b"\x82\x49\x83\x42\x00\x13\xf0\x0e\xf0\x00";
const VP9_KEY_SMALL: &[u8] = b"\x82\x49\x83\x42\x00\x09\xf0\x07\x70\x00";

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.chars().filter_map(|digit| digit.to_digit(16)?.try_into().ok()).collect();
    digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect()
}

fn frame(kind: FrameKind, parts: &[&[u8]]) -> Frame {
    Frame::new(kind, 0, parts.concat().into())
}

/// What is known of a track after frames, and after which of them it was news.
fn told(frames: &[Frame]) -> (Option<Description>, Vec<usize>) {
    let (mut known, mut news) = (None, Vec::new());
    for (index, frame) in frames.iter().enumerate() {
        if let Told::Now(description) = Description::told_by(frame, 0, known.as_ref()) {
            known = description;
            news.push(index);
        }
    }
    (known, news)
}

fn size(description: Option<&Description>) -> Option<(u16, u16)> {
    let track = description?.track(1, true)?;
    track.size.or_else(|| {
        let config = crate::media::codec::video_config(track.codec, &track.config)?;
        Some((config.width?.try_into().ok()?, config.height?.try_into().ok()?))
    })
}

#[test]
fn a_record_describes_until_another_one_comes_in_whatever_form() {
    let (avc, large) = (bytes(AVC), bytes(AVC_LARGE));
    let (known, news) = told(&[
        inter(0, 20),
        frame(FrameKind::Video, &[b"\x17\0\0\0\0", &avc]),
        keyframe(0, 20),
        inter(0, 20),
        frame(FrameKind::Video, &[b"\x17\0\0\0\0", &avc]),
        frame(FrameKind::Video, &[b"\x90avc1", &avc]),
        frame(FrameKind::Video, &[b"\x91avc1\0\0\0data"]),
        frame(FrameKind::Video, &[b"\x94avc1\x02\0\x09colorInfo\x05"]),
        // Another track's.
        frame(FrameKind::Video, &[b"\x96\x00avc1\x05", &large]),
        metadata(0, 2),
    ]);
    assert_eq!((news, size(known.as_ref())), (vec![1], Some((640, 360))));
    let (known, news) = told(&[
        frame(FrameKind::Video, &[b"\x17\0\0\0\0", &avc]),
        frame(FrameKind::Video, &[b"\x90avc1", &large]),
    ]);
    assert_eq!((news, size(known.as_ref())), (vec![0, 1], Some((1_278, 718))));
}

#[test]
fn frames_of_another_codec_leave_nothing_known() {
    let aac = frame(FrameKind::Audio, &[b"\xaf\0\x12\x10"]);
    let mp3 = frame(FrameKind::Audio, &[b"\x2f\xff\xfb\x94\x64"]);
    let (known, news) =
        told(&[aac.clone(), audio(0), mp3.clone(), mp3.clone(), audio(0), audio(0), aac, audio(0)]);
    assert_eq!(news, [0, 2, 4, 6]);
    assert_eq!(known.unwrap().codec, Codec::Aac);
    let (known, news) = told(&[mp3, frame(FrameKind::Audio, &[b"\x91ac-3\x0b\x77"])]);
    assert_eq!(
        (known.map(|known| known.codec), news),
        (Some(Codec::Mp3), vec![0]),
        "half a frame says nothing"
    );
    let vvc = frame(FrameKind::Video, &[b"\x90vvc1record"]);
    let (known, news) = told(&[frame(FrameKind::Video, &[b"\x90avc1", &bytes(AVC)]), vvc]);
    assert_eq!((known, news), (None, vec![0, 1]));
}

#[test]
fn each_frame_tells_of_codecs_without_a_record() {
    let mp3 = |head: &[u8]| frame(FrameKind::Audio, &[b"\x2f", head, &[7; 500]]);
    let (known, news) = told(&[
        mp3(b"\xff\xfb\x94\x64"),
        // Another bit rate.
        mp3(b"\xff\xfb\xa4\x64"),
        mp3(b"\xff\xf3\x90\xc4"),
    ]);
    assert_eq!(news, [0, 2]);
    let track = known.unwrap().track(2, true).unwrap();
    assert_eq!((track.config.len(), track.default_duration), (FRAME_HEAD, 737_280), "576 at 22,050");
}

#[test]
fn pictures_of_vp9_have_the_size_of_their_keyframe() {
    let record = || frame(FrameKind::Video, &[b"\x90vp09", VP9]);
    let key = |data: &[u8]| frame(FrameKind::Video, &[b"\x91vp09", data]);
    let (known, _) = told(&[record()]);
    assert_eq!(known.unwrap().track(1, true), None, "not yet");
    let (known, news) = told(&[record(), key(VP9_KEY), record(), key(VP9_KEY)]);
    assert_eq!((news, size(known.as_ref())), (vec![0, 1], Some((320, 240))));
    let (known, news) = told(&[record(), key(VP9_KEY), key(VP9_KEY_SMALL)]);
    assert_eq!((news, size(known.as_ref())), (vec![0, 1, 2], Some((160, 120))));
}

#[test]
fn a_record_that_makes_no_sense_makes_no_track() {
    let (known, news) = told(&[video_header(0)]);
    assert_eq!((news, known.unwrap().track(1, true)), (vec![0], None));
}

#[test]
fn a_record_that_is_too_long_describes_nothing() {
    let known = |len: usize| {
        let record = [&bytes(AVC)[..], &vec![0; len]].concat();
        told(&[frame(FrameKind::Video, &[b"\x17\0\0\0\0", &record])]).0
    };
    assert!(known(1_000).is_some());
    assert_eq!(known(MAX_RECORD.stated()), None);
}

#[test]
fn the_last_picture_is_said_to_last_long_and_audio_as_long_as_it_does() {
    let (avc, _) = told(&[frame(FrameKind::Video, &[b"\x90avc1", &bytes(AVC)])]);
    let avc = avc.unwrap();
    let lasts = |has_other| avc.track(1, has_other).map(|track| track.default_duration);
    assert_eq!((lasts(true), lasts(false)), (Some(90_000), Some(22_500)));
    for (payload, expected) in [
        // 1,024 at 44,100, and at 22,050 with SBR; 20 ms; blocks of 4,608 at 48,000, and of several sizes.
        (&b"\xaf\0\x12\x10"[..], 655_360),
        (b"\xaf\0\x2b\x92\x08\0", 1_310_720),
        (b"\x90OpusOpusHead\x01\x02\x38\x01\x80\xbb\0\0\0\0\0", 564_480),
        (
            b"\x90fLaC\x12\0\x12\0\0\0\0\0\0\0\x0b\xb8\x02\xf0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
            2_709_504,
        ),
        (
            b"\x90fLaC\x10\0\x12\0\0\0\0\0\0\0\x0b\xb8\x02\xf0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
            2_408_448,
        ),
    ] {
        let (known, _) = told(&[frame(FrameKind::Audio, &[payload])]);
        let track = known.unwrap().track(2, true).unwrap_or_else(|| panic!("{payload:x?}"));
        assert_eq!((track.default_duration, track.timescale), (expected, 28_224_000), "{payload:x?}");
    }
}

#[test]
fn a_stream_is_called_by_its_tracks() {
    let track =
        |id, payload: &[u8], kind| told(&[frame(kind, &[payload])]).0.unwrap().track(id, true).unwrap();
    let video = track(1, &[b"\x90avc1", &bytes(AVC)[..]].concat(), FrameKind::Video);
    let audio = track(2, b"\xaf\0\x12\x10", FrameKind::Audio);
    assert_eq!(mime_type([&video, &audio].into_iter()), r#"video/mp4; codecs="avc1.42c01e,mp4a.40.2""#);
    assert_eq!(mime_type([&audio].into_iter()), r#"audio/mp4; codecs="mp4a.40.2""#);
}
