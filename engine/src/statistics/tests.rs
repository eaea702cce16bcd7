//! Snapshots, rates and the past of streams.

use super::*;
use crate::hub::{Hub, PublishRequest, Publisher};
use crate::media::flv::Codec;
use crate::status::StreamState;
use crate::testing::{audio, audio_header, inter, key, keyframe, video_header};

/// An engine that is looked at as its test says.
struct Looked {
    hub: Hub,
    statistics: Statistics,
    engine: EngineStats,
}

impl Looked {
    fn new(limits: &Limits) -> Self {
        Self { hub: Hub::new(limits), statistics: Statistics::new(limits), engine: EngineStats::default() }
    }

    fn publish(&self, name: &str) -> Publisher {
        self.hub.publish(&key(name), PublishRequest::default()).unwrap()
    }

    /// A second later; `uptime` is that of all streams.
    fn look(&mut self, uptime: u64) -> Arc<Snapshot> {
        self.engine.uptime += Duration::from_secs(1);
        let mut streams = self.hub.streams();
        streams.iter_mut().for_each(|stream| stream.uptime = Duration::from_secs(uptime));
        self.statistics.note(Facts { engine: self.engine.clone(), streams, ..Facts::default() });
        self.statistics.snapshot()
    }
}

#[tokio::test]
async fn rates_are_those_of_ten_seconds_and_samples_those_of_one() {
    let mut looked = Looked::new(&Limits::default());
    let publisher = looked.publish("live/a");
    publisher.push(video_header(0)).unwrap();
    for second in 1..=20 {
        let at = i64::try_from(second).unwrap() * 1_000;
        publisher.push(keyframe(at, 1_000)).unwrap();
        (1..25).for_each(|frame| publisher.push(inter(at + 40 * frame, 1_000)).unwrap());
        looked.look(second);
    }
    let snapshot = looked.statistics.snapshot();
    let stream = &snapshot.streams[0];
    let frame = keyframe(0, 1_000).payload.len() as u64;
    assert_eq!(
        (stream.rates.video, stream.rates.bits_in, stream.rates.audio),
        (8 * 25 * frame, 8 * 25 * frame, 0)
    );
    assert_eq!((stream.frame_rate, stream.keyframe_interval), (25.0, Some(Duration::from_secs(1))));
    let samples = looked.statistics.history_of(&key("live/a")).unwrap();
    assert_eq!((samples.len(), samples[0].at_s, samples[19].at_s), (20, 1, 20));
    let last = samples[19];
    let kbps = u32::try_from(8 * 25 * frame / 1_000).unwrap();
    assert_eq!((last.in_kbps, last.frame_rate_x10, last.keyframe_interval_ms), (kbps, 250, 1_000));
    // It stands still: its rate goes down for ten seconds, a sample's is 0 at once.
    let snapshot = looked.look(21);
    assert_eq!(snapshot.streams[0].rates.video, 8 * 25 * frame * 9 / 10);
    assert_eq!(looked.statistics.history_of(&key("live/a")).unwrap()[20].in_kbps, 0);
}

#[tokio::test]
async fn another_stream_of_the_same_name_counts_from_nothing() {
    let mut looked = Looked::new(&Limits::default());
    let publisher = looked.publish("live/a");
    (0..50).for_each(|at| publisher.push(keyframe(at, 1_000)).unwrap());
    looked.look(40);
    publisher.finish();
    let publisher = looked.publish("live/a");
    publisher.push(keyframe(0, 1_000)).unwrap();
    let snapshot = looked.look(1);
    assert_eq!(snapshot.streams[0].rates.bits_in, 8 * keyframe(0, 1_000).payload.len() as u64);
    assert_eq!(
        looked.statistics.history_of(&key("live/a")).unwrap().len(),
        2,
        "the past of the name goes on"
    );
}

#[tokio::test]
async fn the_past_tells_how_long_nothing_had_come() {
    let mut looked = Looked::new(&Limits::default());
    let _publisher = looked.publish("live/a");
    for silence in [None, Some(40), Some(70_000)] {
        looked.engine.uptime += Duration::from_secs(1);
        let mut streams = looked.hub.streams();
        streams[0].silence = silence.map(Duration::from_millis);
        looked.statistics.note(Facts { engine: looked.engine.clone(), streams, ..Facts::default() });
    }
    let samples = looked.statistics.history_of(&key("live/a")).unwrap();
    let told: Vec<_> = samples.iter().map(|sample| sample.silence_ms).collect();
    assert_eq!(told, [0, 40, u16::MAX]);
}

#[tokio::test]
async fn the_past_of_a_stream_is_ten_minutes_long() {
    let mut looked = Looked::new(&Limits::default());
    let publisher = looked.publish("live/a");
    (1..=700).for_each(|second| drop(looked.look(second)));
    for samples in [looked.statistics.history_of(&key("live/a")).unwrap(), looked.statistics.history()] {
        assert_eq!((samples.len(), samples[0].at_s, samples[599].at_s), (600, 101, 700));
    }
    publisher.finish();
    (0..599).for_each(|_| drop(looked.look(0)));
    assert!(looked.statistics.history_of(&key("live/a")).is_some());
    (0..2).for_each(|_| drop(looked.look(0)));
    assert!(looked.statistics.history_of(&key("live/a")).is_none());
    assert_eq!(size_of::<Sample>(), 28);
}

#[tokio::test]
async fn the_past_of_so_many_streams_is_kept_and_the_first_to_end_gives_way() {
    let mut looked = Looked::new(Limits { history_streams: 2, ..Limits::default() }.in_force().as_ref());
    let has = |looked: &Looked, name: &str| {
        looked.statistics.history_of(&key(name)).is_some_and(|samples| !samples.is_empty())
    };
    let (a, b) = (looked.publish("live/a"), looked.publish("live/b"));
    looked.look(1);
    let c = looked.publish("live/c");
    let snapshot = looked.look(2);
    assert!(has(&looked, "live/a") && has(&looked, "live/b") && !has(&looked, "live/c"));
    assert_eq!(snapshot.streams.len(), 3, "it is shown all the same");
    a.finish();
    (0..5).for_each(|_| drop(looked.look(3)));
    let _d = looked.publish("live/d");
    looked.look(4);
    assert!(!has(&looked, "live/a") && has(&looked, "live/b") && has(&looked, "live/d"));
    drop((b, c));
}

#[tokio::test]
async fn a_stream_is_told_with_its_players_and_its_tracks() {
    let mut looked = Looked::new(&Limits::default());
    let publisher = looked.publish("live/a");
    for frame in [video_header(0), audio_header(0), keyframe(40, 100), audio(60)] {
        publisher.push(frame).unwrap();
    }
    looked.engine.uptime = Duration::from_secs(1);
    let sessions = [(SessionRole::Player, 70), (SessionRole::Player, 30), (SessionRole::Publisher, 0)];
    let session = |(role, queue)| crate::testing::session(role, &key("live/a"), Duration::from_millis(queue));
    let facts = Facts {
        engine: looked.engine.clone(),
        streams: looked.hub.streams(),
        sessions: sessions.map(session).to_vec(),
        ..Facts::default()
    };
    looked.statistics.note(facts);
    let snapshot = looked.statistics.snapshot();
    let stream = &snapshot.streams[0];
    assert_eq!((stream.players, stream.queue, stream.info.skew_ms), (2, Duration::from_millis(70), Some(20)));
    assert_eq!(stream.info.state, StreamState::Live);
    let (video, audio) = (stream.video.as_ref().unwrap(), stream.audio.as_ref().unwrap());
    assert_eq!((video.codec, audio.codec), (Codec::H264, Codec::Aac));
    let told = serde_json::to_value(&*snapshot).unwrap();
    assert_eq!(told["streams"][0]["key"], "live/a");
    assert_eq!(told["streams"][0]["video"]["codec"], told["streams"][0]["video_codec"]);
}

#[tokio::test]
async fn what_is_wrong_is_found_in_what_a_stream_did_lately_and_is_over_when_that_is() {
    let mut looked = Looked::new(&Limits::default());
    let publisher = looked.publish("live/a");
    publisher.push(video_header(0)).unwrap();
    let (mut at, mut second) = (0, 0);
    // A second of 25 frames of so many bytes, the first of which is a keyframe or not.
    let mut next = |looked: &mut Looked, has_keyframe: bool, len: usize| {
        for number in 0..25 {
            let frame = if has_keyframe && number == 0 { keyframe(at, len) } else { inter(at, len) };
            publisher.push(frame).unwrap();
            at += 40;
        }
        second += 1;
        looked.look(second).streams[0].problems.clone()
    };
    for _ in 0..30 {
        assert_eq!(next(&mut looked, true, 10_000), []);
    }
    let found: Vec<_> = (0..11).map(|_| next(&mut looked, false, 10_000)).collect();
    assert!(found[..10].iter().all(Vec::is_empty), "{found:?}");
    assert_eq!(found[10], [StreamProblem::NoKeyframe { since_ms: 11_000, usual_ms: 1_000 }]);
    assert_eq!(next(&mut looked, true, 10_000), []);
    // It breaks down to a tenth; what is usual follows after a while.
    let found: Vec<_> = (0..60).map(|_| next(&mut looked, true, 1_000)).collect();
    let is_low = |found: &Vec<StreamProblem>| {
        matches!(found[..], [StreamProblem::LowBitrate { kbps: 150..=300, usual_kbps: 600.. }])
    };
    let from = found.iter().position(is_low).unwrap();
    assert!((3..=5).contains(&from) && is_low(&found[10]) && found[59].is_empty(), "{from}: {found:?}");
    for _ in 0..10 {
        assert_eq!(next(&mut looked, true, 1_000), []);
    }
    publisher.push(inter(1_000, 1_000)).unwrap();
    assert_eq!(next(&mut looked, true, 1_000), [StreamProblem::JumpingTimes { jumps: 1 }]);
    let found: Vec<_> = (0..10).map(|_| next(&mut looked, true, 1_000)).collect();
    assert!(found[8].len() == 1 && found[9].is_empty(), "{found:?}");
}
