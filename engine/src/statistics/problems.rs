//! What is wrong with a stream, as its counters tell it from second to second: what an operator would see in charts after a while.

use super::StreamStats;
use super::history::Recently;
use crate::status::StreamState;
use serde::Serialize;
use std::time::Duration;

/// Below this part of what a stream had for a minute, in percent, its bit rate has broken down: encoders that adapt themselves to a
/// line go by steps that are smaller.
const LOW_PERCENT: u64 = 30;
/// Part of the usual frame rate, in percent, down to which it holds: a stream that shows less of everything has only become smaller.
const HOLDS_PERCENT: f64 = 80.0;
/// What no picture of so many lines that moves is coded in, by any codec.
const LOW_VIDEO_BPS: u64 = 100_000;
const LOW_VIDEO_HEIGHT: u32 = 480;
/// Rates are those of ten seconds: a stream that is younger has not had that.
const YOUNG: Duration = Duration::from_secs(10);
/// Without a keyframe for so long, who joins waits that long; platforms ask for one in 2 to 4 s.
const KEYFRAME_WAIT: Duration = Duration::from_secs(10);
/// For streams with few keyframes on purpose: so many times what is usual.
const KEYFRAME_FACTOR: u32 = 3;
/// Sound and picture that are so far apart are seen to be, by everybody: ITU-R BT.1359 has 125 ms for what is noticed.
const APART_MS: i64 = 500;
/// So far behind, a viewer sees the past, and is about to lose some of it.
const SLOW: Duration = Duration::from_secs(3);
/// Without media for so long, players have run out of what they keep.
const SILENT: Duration = Duration::from_secs(2);

/// What is wrong with a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "http", derive(schemars::JsonSchema))]
#[serde(tag = "kind", content = "detail", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum StreamProblem {
    /// Its bit rate has broken down to less than 30 % of what it was in the last minute, while the frame rate holds; or video of 480
    /// lines and more has less than 100 kbit/s.
    LowBitrate {
        /// What it has, in kbit/s.
        kbps: u64,
        /// What it had; 0 where it never had more.
        usual_kbps: u64,
    },
    /// There has been no keyframe for more than 10 s and three times what is usual: who joins sees nothing for so long.
    NoKeyframe {
        /// Milliseconds since the last one, or since the first frame of video.
        since_ms: u64,
        /// What is usual; 0 where that is not known.
        usual_ms: u64,
    },
    /// Audio and video are more than 500 ms apart.
    AudioVideoApart {
        /// Newest audio minus newest video, in milliseconds.
        skew_ms: i64,
    },
    /// Its times have jumped in the last ten seconds: back, or ahead by more than a second.
    JumpingTimes {
        /// How often.
        jumps: u64,
    },
    /// A viewer is more than 3 s behind, or has missed frames in the last ten seconds.
    SlowViewer {
        /// How far the one is behind that is farthest, in milliseconds.
        queue_ms: u64,
        /// Frames that viewers have missed.
        frames_skipped: u64,
    },
    /// Nothing has come for more than 2 s.
    NoMedia {
        /// For how long, in milliseconds.
        silence_ms: u64,
    },
}

/// What is wrong with a stream, by its numbers and by what it did lately.
pub(super) fn of(stream: &StreamStats, recently: &Recently) -> Vec<StreamProblem> {
    if !matches!(stream.info.state, StreamState::Live | StreamState::Away) {
        return Vec::new();
    }
    let all = [
        no_media(stream),
        low_bitrate(stream, recently),
        no_keyframe(recently),
        apart(stream, recently),
        (recently.jumps > 0).then_some(StreamProblem::JumpingTimes { jumps: recently.jumps }),
        slow_viewer(stream, recently),
    ];
    all.into_iter().flatten().collect()
}

fn no_media(stream: &StreamStats) -> Option<StreamProblem> {
    // Where nothing has come at all, since it was let in.
    let silence = stream.info.silence.unwrap_or(stream.info.uptime);
    (silence > SILENT).then(|| StreamProblem::NoMedia { silence_ms: millis(silence) })
}

fn low_bitrate(stream: &StreamStats, recently: &Recently) -> Option<StreamProblem> {
    if recently.frame_rate <= 0.0 {
        return None;
    }
    let usual = recently.usual.filter(|usual| {
        recently.kbps * 100 < usual.kbps * LOW_PERCENT
            && recently.frame_rate * 100.0 >= usual.frame_rate * HOLDS_PERCENT
    });
    if let Some(usual) = usual {
        return Some(StreamProblem::LowBitrate { kbps: recently.kbps, usual_kbps: usual.kbps });
    }
    let lines = stream.video.as_ref().and_then(|video| video.height).unwrap_or_default();
    let is_low = lines >= LOW_VIDEO_HEIGHT
        && stream.rates.video < LOW_VIDEO_BPS
        && stream.info.uptime > YOUNG
        && stream.info.silence.is_some_and(|silence| silence <= SILENT);
    let usual_kbps = recently.usual.map_or(0, |usual| usual.kbps);
    is_low.then_some(StreamProblem::LowBitrate { kbps: stream.rates.video / 1_000, usual_kbps })
}

fn no_keyframe(recently: &Recently) -> Option<StreamProblem> {
    let since = recently.since_keyframe.filter(|_| recently.has_video)?;
    let most =
        recently.usual_keyframe.map_or(KEYFRAME_WAIT, |usual| (usual * KEYFRAME_FACTOR).max(KEYFRAME_WAIT));
    (since > most).then(|| StreamProblem::NoKeyframe {
        since_ms: millis(since),
        usual_ms: recently.usual_keyframe.map_or(0, millis),
    })
}

/// In one second only frames of one kind may have come together.
fn apart(stream: &StreamStats, recently: &Recently) -> Option<StreamProblem> {
    let is_apart = |skew: Option<i64>| skew.filter(|skew| skew.saturating_abs() > APART_MS);
    is_apart(recently.skew_before)?;
    is_apart(stream.info.skew_ms).map(|skew_ms| StreamProblem::AudioVideoApart { skew_ms })
}

fn slow_viewer(stream: &StreamStats, recently: &Recently) -> Option<StreamProblem> {
    let is_slow = stream.queue > SLOW || recently.skipped > 0;
    is_slow.then(|| StreamProblem::SlowViewer {
        queue_ms: millis(stream.queue),
        frames_skipped: recently.skipped,
    })
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::{Hub, PublishRequest};
    use crate::statistics::history::Usual;
    use crate::statistics::{Rates, tracks};
    use crate::testing::{key, video_header};
    use StreamProblem::*;

    /// A stream with which all is well, in its second minute: 25 frames per second and 4 Mbit/s.
    fn well() -> (StreamStats, Recently) {
        let hub = Hub::new(&crate::Limits::default());
        let publisher = hub.publish(&key("live/a"), PublishRequest::default()).unwrap();
        publisher.push(video_header(0)).unwrap();
        let mut info = hub.stream(&key("live/a")).unwrap();
        info.uptime = Duration::from_secs(120);
        info.silence = Some(Duration::from_millis(20));
        info.skew_ms = Some(30);
        let (video, audio) = tracks::of(&info);
        let rates = Rates { video: 3_900_000, bits_in: 4_000_000, ..Rates::default() };
        let (frame_rate, keyframe_interval) = (25.0, Some(Duration::from_secs(2)));
        let (queue, problems) = (Duration::from_millis(200), Vec::new());
        let stream = StreamStats {
            info,
            rates,
            frame_rate,
            keyframe_interval,
            players: 1,
            queue,
            video,
            audio,
            problems,
        };
        let recently = Recently {
            kbps: 4_000,
            frame_rate,
            usual: Some(Usual { kbps: 4_100, frame_rate }),
            has_video: true,
            since_keyframe: Some(Duration::from_secs(1)),
            usual_keyframe: keyframe_interval,
            skew_before: Some(-20),
            jumps: 0,
            skipped: 0,
        };
        (stream, recently)
    }

    /// What is wrong after a change.
    fn after(change: impl FnOnce(&mut StreamStats, &mut Recently)) -> Vec<StreamProblem> {
        let (mut stream, mut recently) = well();
        change(&mut stream, &mut recently);
        of(&stream, &recently)
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn nothing_is_wrong_with_a_stream_that_is_well_nor_with_one_that_is_over() {
        assert_eq!(after(|_, _| ()), []);
        let over = |stream: &mut StreamStats, recently: &mut Recently| {
            stream.info.state = StreamState::Ended;
            (recently.jumps, stream.info.silence) = (3, Some(ms(60_000)));
        };
        assert_eq!(after(over), []);
    }

    #[test]
    fn a_bit_rate_that_breaks_down_is_low_while_the_frame_rate_holds() {
        let low = |kbps, frame_rate| {
            after(move |_, recently| (recently.kbps, recently.frame_rate) = (kbps, frame_rate))
        };
        assert_eq!(low(1_231, 25.0), []);
        assert_eq!(low(1_229, 25.0), [LowBitrate { kbps: 1_229, usual_kbps: 4_100 }]);
        assert_eq!(low(1_229, 20.0), [LowBitrate { kbps: 1_229, usual_kbps: 4_100 }]);
        assert_eq!(low(1_229, 19.0), [], "all of it has become less");
        assert_eq!(low(10, 0.0), [], "there is no video");
        assert_eq!(
            after(|_, recently| (recently.kbps, recently.usual) = (10, None)),
            [],
            "nobody knows what is usual"
        );
    }

    #[test]
    fn video_of_many_lines_and_hardly_a_bit_is_low() {
        let low = |height, bits| {
            after(move |stream, _| {
                stream.rates.video = bits;
                stream.video.as_mut().unwrap().height = height;
            })
        };
        assert_eq!(low(Some(480), 99_000), [LowBitrate { kbps: 99, usual_kbps: 4_100 }]);
        assert_eq!(low(Some(480), 100_000), []);
        assert_eq!(low(Some(479), 99_000), []);
        assert_eq!(low(None, 99_000), []);
        let young = after(|stream, _| {
            (stream.rates.video, stream.info.uptime) = (0, ms(9_000));
            stream.video.as_mut().unwrap().height = Some(1_080);
        });
        assert_eq!(young, []);
    }

    #[test]
    fn a_keyframe_is_missed_after_ten_seconds_and_three_times_what_is_usual() {
        let none = |since, usual| {
            after(move |_, recently| {
                (recently.since_keyframe, recently.usual_keyframe) = (Some(ms(since)), usual)
            })
        };
        assert_eq!(none(10_000, Some(ms(2_000))), []);
        assert_eq!(none(10_001, Some(ms(2_000))), [NoKeyframe { since_ms: 10_001, usual_ms: 2_000 }]);
        assert_eq!(none(10_001, None), [NoKeyframe { since_ms: 10_001, usual_ms: 0 }]);
        assert_eq!(none(24_000, Some(ms(8_000))), []);
        assert_eq!(none(24_001, Some(ms(8_000))), [NoKeyframe { since_ms: 24_001, usual_ms: 8_000 }]);
        let without_video = after(|_, recently| {
            (recently.since_keyframe, recently.has_video) = (Some(ms(60_000)), false);
        });
        assert_eq!(without_video, []);
    }

    #[test]
    fn audio_and_video_are_apart_when_they_are_for_two_seconds_running() {
        let apart = |before, now| {
            after(move |stream, recently| (recently.skew_before, stream.info.skew_ms) = (before, now))
        };
        assert_eq!(apart(Some(-501), Some(-700)), [AudioVideoApart { skew_ms: -700 }]);
        assert_eq!(apart(Some(900), Some(501)), [AudioVideoApart { skew_ms: 501 }]);
        for (before, now) in
            [(Some(500), Some(900)), (Some(900), Some(-500)), (None, Some(900)), (Some(900), None)]
        {
            assert_eq!(apart(before, now), [], "{before:?} {now:?}");
        }
    }

    #[test]
    fn jumps_slow_viewers_and_silence_are_told_as_they_are() {
        assert_eq!(after(|_, recently| recently.jumps = 2), [JumpingTimes { jumps: 2 }]);
        assert_eq!(after(|stream, _| stream.queue = ms(3_000)), []);
        assert_eq!(
            after(|stream, _| stream.queue = ms(3_001)),
            [SlowViewer { queue_ms: 3_001, frames_skipped: 0 }]
        );
        assert_eq!(
            after(|_, recently| recently.skipped = 7),
            [SlowViewer { queue_ms: 200, frames_skipped: 7 }]
        );
        assert_eq!(after(|stream, _| stream.info.silence = Some(ms(2_000))), []);
        assert_eq!(after(|stream, _| stream.info.silence = Some(ms(2_001))), [NoMedia { silence_ms: 2_001 }]);
        let never = after(|stream, _| (stream.info.silence, stream.info.uptime) = (None, ms(3_000)));
        assert_eq!(never, [NoMedia { silence_ms: 3_000 }]);
    }

    #[test]
    fn a_problem_is_told_by_its_kind_with_numbers_beside_it() {
        let told = serde_json::to_value([NoKeyframe { since_ms: 12_000, usual_ms: 0 }]).unwrap();
        let expected = serde_json::json!([
            { "kind": "no-keyframe", "detail": { "since_ms": 12_000, "usual_ms": 0 } }
        ]);
        assert_eq!(told, expected);
    }
}
