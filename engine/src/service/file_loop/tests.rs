//! Promises of file jobs, kept in virtual time.

mod changes;
mod disorder;
mod seam;

use super::*;
use crate::Takeover;
use crate::auth::{Gate, PublishRule};
use crate::config::Config;
use crate::hub::panic_at_next_frame;
use crate::hub::{EndReason, SubscribeOptions, Subscriber};
use crate::media::{Frame, FrameKind};
use crate::testing::{self, inter, keyframe, video_header};
use bytes::Bytes;
use std::path::Path;

/// Distance of the test clips' frames in milliseconds.
const FRAME_MS: i64 = 100;

struct Fixture {
    core: Arc<Core>,
    jobs: FileJobs,
}

impl Fixture {
    fn new(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        change(&mut config);
        let gate = Gate::new(&[Arc::new(PublishRule::Open)], &config.limits);
        let core = Arc::new(Core::new(config, gate, crate::events::Events::default()));
        Self { jobs: FileJobs::new(core.clone(), Handle::current()), core }
    }

    fn watch(&self) -> Subscriber {
        self.core.hub.subscribe(&key(), SubscribeOptions::default())
    }
}

fn key() -> StreamKey {
    testing::key("live/loop")
}

/// A clip of a sequence header and `frames` video frames, each tenth a keyframe.
fn flv(frames: i64) -> Bytes {
    let coded = |n: i64| if n % 10 == 0 { keyframe(n * FRAME_MS, 6) } else { inter(n * FRAME_MS, 6) };
    testing::flv(&std::iter::once(video_header(0)).chain((0..frames).map(coded)).collect::<Vec<_>>())
}

fn clip(frames: i64) -> Clip {
    Clip::memory("clip", flv(frames))
}

/// Frames as they arrive, with the time of their arrival; the reason of the end.
async fn watch_to_the_end(mut subscriber: Subscriber) -> (Vec<(Instant, Frame)>, EndReason) {
    let (mut seen, mut batch) = (Vec::new(), Vec::new());
    loop {
        subscriber.ready().await;
        if let Err(reason) = subscriber.take(usize::MAX, &mut batch) {
            return (seen, reason);
        }
        let now = Instant::now();
        seen.extend(batch.drain(..).map(|frame| (now, frame)));
    }
}

#[tokio::test(start_paused = true)]
async fn f34_a_thousand_loops_of_a_10_s_file_are_within_a_millisecond_of_the_ideal() {
    let fixture = Fixture::new(|_| ());
    let subscriber = fixture.watch();
    let id = fixture.jobs.play_clips(&key(), vec![clip(100)], Repeat::Times(1000)).unwrap();
    let (seen, reason) = watch_to_the_end(subscriber).await;
    assert_eq!(reason, EndReason::Unpublished);
    let end = Instant::now();
    let (start, _) = seen[0];
    let (headers, coded): (Vec<_>, Vec<_>) = seen.into_iter().partition(|(_, frame)| frame.is_config());
    assert_eq!(headers.len(), 1, "sequence headers once");
    assert_eq!(coded.len(), 100_000);
    for (number, (at, frame)) in coded.iter().enumerate() {
        let ideal = i64::try_from(number).unwrap() * FRAME_MS;
        assert_eq!(frame.timestamp, ideal);
        let arrived = i64::try_from((*at - start).as_millis()).unwrap();
        assert!((arrived - ideal).abs() <= 1, "frame {number} came at {arrived}, due at {ideal}");
    }
    assert!((end - start).abs_diff(Duration::from_secs(10_000)) <= Duration::from_millis(1));
    let status = fixture.jobs.status(id).unwrap();
    assert_eq!((status.state, status.loops_done, status.frames), (FileState::Finished, 1000, 100_001));
    assert_eq!((status.position.as_millis(), status.file.as_str()), (9_999_900, "clip"));
}

#[tokio::test(start_paused = true)]
async fn the_bundled_clip_loops_with_its_headers_once_and_time_monotone_on_each_track() {
    let fixture = Fixture::new(|_| ());
    let subscriber = fixture.watch();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/media/demo.flv");
    let mut config = FileConfig::new(key(), vec![path]);
    config.loops = Some(3);
    fixture.jobs.play(config).unwrap();
    let (seen, _) = watch_to_the_end(subscriber).await;
    for kind in [FrameKind::Audio, FrameKind::Video] {
        let of_kind = || seen.iter().map(|(_, frame)| frame).filter(|frame| frame.kind == kind);
        assert_eq!(of_kind().filter(|frame| frame.is_config()).count(), 1, "{kind:?} headers");
        // Neither headers nor the end of the sequence, which comes once.
        let coded = of_kind().filter(|frame| frame.payload[1] == 1);
        let times: Vec<_> = coded.map(|frame| frame.timestamp).collect();
        assert!(times.len() > 300, "{}", times.len());
        assert!(times.is_sorted_by(|a, b| a < b), "{kind:?} goes back");
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_long_standstill_the_schedule_moves_and_nothing_is_sent_in_a_burst() {
    let fixture = Fixture::new(|_| ());
    let mut subscriber = fixture.watch();
    fixture.jobs.play_clips(&key(), vec![clip(100)], Repeat::Forever).unwrap();
    subscriber.ready().await;
    tokio::time::advance(Duration::from_secs(60)).await;
    let before = Instant::now();
    let mut frames = Vec::new();
    while frames.len() < 12 {
        subscriber.ready().await;
        subscriber.take(usize::MAX, &mut frames).unwrap();
    }
    let took = before.elapsed();
    assert!(took >= Duration::from_millis(700), "ten frames within {took:?}");
}

#[tokio::test]
async fn a_file_that_is_none_is_refused_with_name_and_byte_position() {
    let fixture = Fixture::new(|_| ());
    let clip = Clip::memory("photo.jpg", &b"JFIF0123456789"[..]);
    let error = fixture.jobs.play_clips(&key(), vec![clip], Repeat::Forever).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Format);
    let text = error.to_string();
    assert!(text.contains("photo.jpg") && text.contains("byte 0"), "{text}");
    assert!(fixture.core.hub.streams().is_empty());
    assert!(fixture.jobs.list().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_taken_name_is_refused_and_a_takeover_fails_the_job() {
    let fixture = Fixture::new(|config| config.default_app.takeover = Takeover::Replace);
    let id = fixture.jobs.play_clips(&key(), vec![clip(100)], Repeat::Forever).unwrap();
    let mut events = fixture.core.events.subscribe();
    let other =
        Published::by_engine(&fixture.core, &key(), "other", &[], &PublisherConfig::default()).unwrap();
    let failed = loop {
        match events.next().await.unwrap() {
            crate::events::Received::Event(Event::FileState(status)) if status.id == id => break status,
            _ => {}
        }
    };
    assert_eq!(failed.state, FileState::Failed);
    assert!(failed.error.unwrap().contains("taken over"));

    let fixture = Fixture::new(|config| config.default_app.takeover = Takeover::Reject);
    let _publisher =
        Published::by_engine(&fixture.core, &key(), "first", &[], &PublisherConfig::default()).unwrap();
    let error = fixture.jobs.play_clips(&key(), vec![clip(100)], Repeat::Forever).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exists);
    drop(other);
}

#[tokio::test(start_paused = true)]
async fn a_stopped_job_ends_its_stream_and_leaves_the_list() {
    let fixture = Fixture::new(|_| ());
    let subscriber = fixture.watch();
    let id = fixture.jobs.play_clips(&key(), vec![clip(100)], Repeat::Forever).unwrap();
    assert_eq!(fixture.jobs.list().len(), 1);
    fixture.jobs.stop(id).unwrap();
    let (_, reason) = watch_to_the_end(subscriber).await;
    assert_eq!(reason, EndReason::Unpublished);
    assert!(fixture.jobs.list().is_empty());
    assert_eq!(fixture.jobs.stop(id).unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test(start_paused = true)]
async fn f52_a_panic_costs_one_job_and_is_counted() {
    let fixture = Fixture::new(|_| ());
    let bad = fixture.jobs.play_clips(&key(), vec![clip(10)], Repeat::Forever).unwrap();
    let _bug = panic_at_next_frame(&fixture.core.hub, &key());
    let other = testing::key("live/other");
    let good = fixture.jobs.play_clips(&other, vec![clip(10)], Repeat::Times(5)).unwrap();
    let subscriber = fixture.core.hub.subscribe(&other, SubscribeOptions::default());
    let (seen, _) = watch_to_the_end(subscriber).await;
    assert_eq!(seen.len(), 51, "a sequence header and all frames of the good job");
    assert_eq!(fixture.jobs.status(good).unwrap().state, FileState::Finished);
    let status = fixture.jobs.status(bad).unwrap();
    assert_eq!(status.state, FileState::Failed);
    assert!(status.error.unwrap().contains("bug"));
    assert_eq!(fixture.core.sessions.totals().panics.load(std::sync::atomic::Ordering::Relaxed), 1);
}
