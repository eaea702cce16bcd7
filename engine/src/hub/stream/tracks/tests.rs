//! Tests of what is known of a stream's tracks, in virtual time.

use super::*;
use crate::Limits;
use crate::hub::{Batch, Hub, PublishRequest, Publisher, SubscribeOptions, Subscriber};
use crate::media::metadata::{Value, on_metadata};
use crate::testing::{audio, audio_header, inter, key, keyframe, video_header};
use std::time::Duration;
use tokio::time::advance;

const H264: TrackCodec = TrackCodec { codec: Codec::H264, is_enhanced: false };
const AAC: TrackCodec = TrackCodec { codec: Codec::Aac, is_enhanced: false };
const OPUS: TrackCodec = TrackCodec { codec: Codec::Opus, is_enhanced: true };

struct Stage {
    hub: Hub,
    publisher: Publisher,
    subscriber: Subscriber,
}

impl Stage {
    fn new() -> Self {
        let hub = Hub::new(&Limits::default());
        let publisher = hub.publish(&key("live/s"), request()).unwrap();
        let subscriber = hub.subscribe(&key("live/s"), SubscribeOptions::default());
        Self { hub, publisher, subscriber }
    }

    fn push(&self, frames: impl IntoIterator<Item = Frame>) {
        frames.into_iter().for_each(|frame| self.publisher.push(frame).unwrap());
    }

    fn tracks(&self) -> StreamTracks {
        self.subscriber.tracks()
    }

    /// The codecs of audio and video that are there, and whether that is all.
    #[track_caller]
    fn assert(&self, audio: Option<TrackCodec>, video: Option<TrackCodec>, are_settled: bool) {
        assert_eq!(self.tracks(), StreamTracks { audio, video, are_settled });
    }
}

fn request() -> PublishRequest {
    PublishRequest { resume_window: Duration::from_secs(10), ..Default::default() }
}

/// An audio frame of one Enhanced RTMP track.
fn opus(track: u8, at: i64) -> Frame {
    Frame::new(FrameKind::Audio, at, [b"\x95\x01Opus", &[track][..], b"data"].concat().into())
}

#[tokio::test(start_paused = true)]
async fn video_that_metadata_announces_is_waited_for_longer() {
    let announcing =
        |codec| on_metadata(0, &[("audiocodecid", Value::Number(10.0)), ("videocodecid", codec)]);
    for (codec, is_announced) in [
        (Value::Number(7.0), true),
        (Value::Text("avc1"), true),
        (Value::Number(0.0), false),
        (Value::Text(""), false),
    ] {
        let stage = Stage::new();
        stage.push([announcing(codec), audio_header(0)]);
        stage.push((0..100).map(|at| audio(at * 20)));
        stage.assert(Some(AAC), None, !is_announced);
        stage.push([video_header(1_990), keyframe(2_000, 100)]);
        stage.assert(Some(AAC), Some(H264), true);
        let stage = Stage::new();
        stage.push([announcing(codec), audio_header(0)]);
        stage.push((0..=250).map(|at| audio(at * 20)));
        stage.assert(Some(AAC), None, true);
    }
}

#[tokio::test(start_paused = true)]
async fn both_tracks_are_known_once_both_have_frames() {
    let stage = Stage::new();
    stage.assert(None, None, false);
    stage.push([video_header(0), audio_header(0)]);
    stage.assert(Some(AAC), Some(H264), false);
    stage.push([keyframe(0, 100)]);
    stage.assert(Some(AAC), Some(H264), false);
    stage.push([audio(5)]);
    stage.assert(Some(AAC), Some(H264), true);
}

#[tokio::test(start_paused = true)]
async fn after_a_second_of_one_kind_the_other_is_not_expected_any_more() {
    let stage = Stage::new();
    stage.push([video_header(5_000), keyframe(5_000, 100), inter(5_960, 100)]);
    stage.assert(None, Some(H264), false);
    stage.push([inter(6_000, 100)]);
    stage.assert(None, Some(H264), true);
    stage.push([audio(6_010)]);
    stage.assert(Some(AAC), Some(H264), true);
}

#[tokio::test(start_paused = true)]
async fn what_is_only_announced_is_there_for_a_second() {
    let stage = Stage::new();
    stage.push([video_header(0), audio_header(0), audio(0)]);
    stage.assert(Some(AAC), Some(H264), false);
    stage.push([audio(990)]);
    stage.assert(Some(AAC), Some(H264), false);
    stage.push([audio(1_000)]);
    stage.assert(Some(AAC), None, true);
}

#[tokio::test(start_paused = true)]
async fn a_track_without_frames_for_long_is_not_there_until_it_is_back() {
    let stage = Stage::new();
    stage.push([audio(0), video_header(0), keyframe(0, 100)]);
    stage.assert(Some(AAC), Some(H264), true);
    for at in 1..=11 {
        advance(Duration::from_secs(1)).await;
        stage.push([inter(at * 1_000, 100)]);
    }
    stage.assert(None, Some(H264), true);
    stage.push([audio(11_000)]);
    stage.assert(Some(AAC), Some(H264), true);
}

#[tokio::test(start_paused = true)]
async fn the_tracks_of_a_publisher_that_returns_are_found_anew() {
    let mut stage = Stage::new();
    stage.push([video_header(0), keyframe(0, 100), audio(5)]);
    drop(stage.publisher);
    assert_eq!(stage.subscriber.tracks().audio, Some(AAC), "it may come back");
    stage.publisher = stage.hub.publish(&key("live/s"), request()).unwrap();
    stage.assert(None, None, false);
    stage.push([video_header(0), keyframe(0, 100), inter(1_000, 100)]);
    stage.assert(None, Some(H264), true);
}

#[tokio::test(start_paused = true)]
async fn the_main_track_is_the_lowest_and_readers_learn_it_with_the_frames() {
    let mut stage = Stage::new();
    let mut feed = stage.subscriber.feed();
    let (mut batch, mut frames) = (Batch::default(), Vec::new());
    for (frame, main) in [(opus(3, 0), 3), (opus(5, 0), 3), (opus(2, 20), 2), (opus(3, 20), 2)] {
        stage.push([frame]);
        assert!(feed.take(feed.edge(), usize::MAX, &mut batch));
        stage.subscriber.take(usize::MAX, &mut frames).unwrap();
        assert_eq!(batch.main.of(FrameKind::Audio), main);
        assert_eq!(stage.subscriber.main(), batch.main);
    }
    stage.assert(Some(OPUS), None, false);
    stage.push([audio(1_020)]);
    assert_eq!(stage.tracks().audio, Some(AAC), "what has no number is track 0");
    stage.push([audio_header(1_040), opus(3, 1_060)]);
    stage.assert(Some(AAC), None, false);
}

#[tokio::test(start_paused = true)]
async fn another_codec_on_the_main_track_is_noticed() {
    let stage = Stage::new();
    stage.push([audio_header(0), audio(0)]);
    stage.push([Frame::new(FrameKind::Audio, 500, "\x14nonsense".into())]);
    stage.push([Frame::new(FrameKind::Audio, 1_000, [b"\x91Opus", &b"data"[..]].concat().into())]);
    stage.assert(Some(OPUS), None, true);
}
