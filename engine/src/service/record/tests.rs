//! Promises of recordings as jobs.

use super::*;
use crate::auth::{Gate, PublishRule};
use crate::config::Config;
use crate::events::{EventReceiver, Received};
use crate::hub::{PublishRequest, Publisher};
use crate::media::flv_file::FlvReader;
use crate::testing::{self, audio, audio_header, demo_frames, inter, key, keyframe, video_header};
use std::path::Path;
use tokio::time::timeout;

struct Fixture {
    core: Arc<Core>,
    recorders: Arc<Recorders>,
    events: EventReceiver,
    root: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let config = Config::default();
        let gate = Gate::new(&[Arc::new(PublishRule::Open)], &config.limits);
        let events = crate::events::Events::default();
        let receiver = events.subscribe();
        let core = Arc::new(Core::new(config, gate, events));
        let recorders = Arc::new(Recorders::new(core.clone(), Handle::current()));
        Self { recorders, core, events: receiver, root: tempfile::tempdir().unwrap() }
    }

    fn config(&self) -> RecordConfig {
        RecordConfig::new(self.root.path()).min_free_bytes(0)
    }

    fn record(&self, until: Until) -> RecordingId {
        self.recorders.record(&key("live/a"), self.config(), until).unwrap()
    }

    fn publish(&self) -> Publisher {
        self.core.hub.publish(&key("live/a"), PublishRequest::default()).unwrap()
    }

    async fn event<T>(&mut self, mut pick: impl FnMut(Event) -> Option<T>) -> T {
        let found = async {
            loop {
                match self.events.next().await {
                    Some(Received::Event(event)) => {
                        if let Some(found) = pick(event) {
                            return found;
                        }
                    }
                    other => panic!("{other:?}"),
                }
            }
        };
        timeout(testing::wait::PATIENCE, found).await.expect("an event in time")
    }

    async fn state(&mut self, state: RecordingState) -> RecordingStatus {
        self.event(|event| match event {
            Event::RecordingState(status) if status.state == state => Some(status),
            _ => None,
        })
        .await
    }

    async fn file(&mut self) -> RecordedFile {
        self.event(|event| match event {
            Event::RecordingFile(file) => Some(file),
            _ => None,
        })
        .await
    }
}

fn payloads(path: &Path) -> Vec<bytes::Bytes> {
    let mut reader = FlvReader::open(path).unwrap();
    let frames = std::iter::from_fn(|| reader.next_tag().unwrap()).map(|tag| tag.frame);
    frames.filter(Frame::has_media).map(|frame| frame.payload).collect()
}

#[tokio::test]
async fn a_stream_is_recorded_from_its_first_frame_to_its_last_and_the_next_one_too() {
    let mut fixture = Fixture::new();
    let id = fixture.record(Until::Stopped);
    for _ in 0..2 {
        let publisher = fixture.publish();
        let frames = demo_frames();
        frames.iter().for_each(|frame| publisher.push(frame.clone()).unwrap());
        fixture.state(RecordingState::Recording).await;
        publisher.finish();
        let file = fixture.file().await;
        let source: Vec<_> = frames.iter().filter(|frame| frame.has_media()).collect();
        assert!(payloads(&file.path).iter().eq(source.iter().map(|frame| &frame.payload)));
        fixture.state(RecordingState::Idle).await;
    }
    let status = fixture.recorders.status(id).unwrap();
    assert_eq!((status.files, status.frames_dropped, status.error), (2, 0, None));
    fixture.recorders.stop(id).unwrap();
    fixture.state(RecordingState::Stopped).await;
    assert!(fixture.recorders.stop(id).is_err());
}

#[tokio::test]
async fn one_that_ends_with_its_stream_is_listed_no_longer() {
    let mut fixture = Fixture::new();
    let publisher = fixture.publish();
    demo_frames().into_iter().for_each(|frame| publisher.push(frame).unwrap());
    let id = fixture.record(Until::EndOfStream);
    let again = fixture.recorders.record(&key("live/a"), fixture.config(), Until::Stopped);
    assert_eq!(again.map_err(|error| error.kind()), Err(ErrorKind::Exists));
    fixture.state(RecordingState::Recording).await;
    publisher.finish();
    // The ring had all of it.
    let count = demo_frames().iter().filter(|frame| frame.has_media()).count();
    assert_eq!(payloads(&fixture.file().await.path).len(), count);
    fixture.state(RecordingState::Stopped).await;
    let gone = async {
        while fixture.recorders.status(id).is_some() {
            tokio::task::yield_now().await;
        }
    };
    timeout(testing::wait::PATIENCE, gone).await.unwrap();
}

#[tokio::test]
async fn a_stop_leaves_a_whole_file() {
    let mut fixture = Fixture::new();
    let id = fixture.record(Until::Stopped);
    let publisher = fixture.publish();
    let frames = [video_header(0), audio_header(0), keyframe(0, 90), audio(0), inter(40, 90)];
    frames.into_iter().for_each(|frame| publisher.push(frame).unwrap());
    let growing = fixture.state(RecordingState::Recording).await.file.unwrap();
    fixture.recorders.stop(id).unwrap();
    let file = fixture.file().await;
    assert_eq!((&file.path, payloads(&file.path).len()), (&growing, 3));
}

#[tokio::test]
async fn a_recording_begins_when_it_is_asked_for_and_who_cuts_it_finds_a_whole_file() {
    let mut fixture = Fixture::new();
    let id = fixture.record(Until::Stopped);
    let publisher = fixture.publish();
    publisher.push(video_header(0)).unwrap();
    // Its task has not run yet.
    (0..3).for_each(|n| publisher.push(keyframe(n * 40, 90)).unwrap());
    let wait = testing::wait::PATIENCE;
    fixture.recorders.cut(id, wait).await.unwrap();
    let folder = fixture.root.path().join("live/a");
    let name = std::fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    assert_eq!((payloads(&name).len(), name.extension().unwrap()), (3, "flv".as_ref()));
    assert_eq!(fixture.file().await.path, name);
    // What follows is in another one; without anything there is none.
    fixture.recorders.cut(id, wait).await.unwrap();
    publisher.push(inter(120, 90)).unwrap();
    fixture.recorders.cut(id, wait).await.unwrap();
    assert_eq!(payloads(&fixture.file().await.path).len(), 1);
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2);

    // While the disk takes nothing.
    let places = fixture.recorders.places.clone();
    let all = places.acquire_many_owned(u32::try_from(MAX_WRITING.stated()).unwrap()).await.unwrap();
    publisher.push(keyframe(200, 90)).unwrap();
    let late = fixture.recorders.cut(id, Duration::from_millis(50)).await;
    assert_eq!(late.map_err(|error| error.kind()), Err(ErrorKind::Timeout));
    drop(all);
    assert_eq!(payloads(&fixture.file().await.path).len(), 1);
    fixture.recorders.stop(id).unwrap();
    let missing = fixture.recorders.cut(id, wait).await;
    assert_eq!(missing.map_err(|error| error.kind()), Err(ErrorKind::NotFound));
}

#[tokio::test(start_paused = true)]
async fn a_folder_that_cannot_be_written_is_tried_again_and_the_stream_goes_on() {
    let mut fixture = Fixture::new();
    std::fs::write(fixture.root.path().join("live"), "a file where a folder has to be").unwrap();
    let id = fixture.record(Until::Stopped);
    let publisher = fixture.publish();
    let mut watcher = fixture.core.hub.subscribe(&key("live/a"), SubscribeOptions::default());
    let mut seen = Vec::new();
    let mut push = |frames: &[Frame], watcher: &mut Subscriber| {
        frames.iter().for_each(|frame| publisher.push(frame.clone()).unwrap());
        watcher.take(usize::MAX, &mut seen).unwrap();
    };
    push(&[video_header(0), audio_header(0), keyframe(0, 90), audio(0)], &mut watcher);
    let failed = fixture.state(RecordingState::Failed).await;
    assert!(failed.error.unwrap().contains("live"));
    std::fs::remove_file(fixture.root.path().join("live")).unwrap();
    // Nothing is tried before its time.
    push(&[keyframe(500, 90)], &mut watcher);
    tokio::time::sleep(RETRY_AFTER / 2).await;
    assert_eq!(fixture.recorders.status(id).unwrap().state, RecordingState::Failed);
    tokio::time::sleep(RETRY_AFTER).await;
    push(&[inter(1_000, 90), keyframe(1_040, 90), inter(1_080, 90)], &mut watcher);
    let goes_on = fixture.state(RecordingState::Recording).await;
    assert_eq!(goes_on.error, None);
    fixture.recorders.stop(id).unwrap();
    assert_eq!(payloads(&fixture.file().await.path).len(), 2);
    assert_eq!(seen.iter().filter(|frame| frame.has_media()).count(), 6);
}

#[tokio::test]
async fn no_more_than_sixteen_recordings_write_at_once() {
    let mut fixture = Fixture::new();
    let places = fixture.recorders.places.clone();
    let all = places.clone().acquire_many_owned(u32::try_from(MAX_WRITING.stated()).unwrap()).await.unwrap();
    assert_eq!(places.available_permits(), 0);
    let id = fixture.record(Until::Stopped);
    let publisher = fixture.publish();
    publisher.push(video_header(0)).unwrap();
    (0..60).for_each(|n| publisher.push(keyframe(n * 40, 90)).unwrap());
    let early = timeout(Duration::from_millis(200), fixture.state(RecordingState::Recording)).await;
    assert!(early.is_err(), "it writes though all places are taken");
    drop(all);
    fixture.state(RecordingState::Recording).await;
    fixture.recorders.stop(id).unwrap();
    assert_eq!(payloads(&fixture.file().await.path).len(), 60, "the ring was its queue");
}

#[test]
fn what_is_held_of_a_stream_until_its_tracks_are_known_is_bounded() {
    let config = RecordConfig::new("/nowhere");
    let mut work = Work {
        cutter: Cutter::new(Rules::of(&config)),
        writer: None,
        under_way: None,
        held: Some(Vec::new()),
        retry_at: None,
        length: Duration::ZERO,
        files: 0,
    };
    let (mut acts, mut pushed) = (Vec::new(), 0);
    while acts.is_empty() {
        work.take(&[keyframe(pushed, 1 << 20)], false, false, &mut acts);
        pushed += 1;
        assert!(pushed < 20, "all is held");
    }
    assert_eq!(pushed, i64::try_from(MAX_HELD.stated() >> 20).unwrap() + 1);
    assert!(work.held.is_none());
}
