//! Files that are deleted, cut or written over while they loop.

use super::*;
use crate::events::{EventReceiver, Received};

/// A job that loops `frames` frames of a file, and what is told of it.
struct Looped {
    fixture: Fixture,
    id: FileId,
    events: EventReceiver,
    /// Sees the first frame.
    first: Subscriber,
    /// Sees all.
    watching: JoinHandle<(Vec<(Instant, Frame)>, EndReason)>,
    path: std::path::PathBuf,
    _folder: tempfile::TempDir,
}

impl Looped {
    fn new(frames: i64, loops: Option<u64>) -> Self {
        let fixture = Fixture::new(|_| ());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clip.flv");
        std::fs::write(&path, flv(frames)).unwrap();
        let (events, first) = (fixture.core.events.subscribe(), fixture.watch());
        let watching = tokio::spawn(watch_to_the_end(fixture.watch()));
        let mut config = FileConfig::new(key(), vec![path.clone()]);
        config.loops = loops;
        let id = fixture.jobs.play(config).unwrap();
        Self { fixture, id, events, first, watching, path, _folder: folder }
    }

    /// The next state that is told and that `pick` takes.
    async fn told(&mut self, pick: impl Fn(&FileStatus) -> bool) -> FileStatus {
        loop {
            match self.events.next().await.unwrap() {
                Received::Event(Event::FileState(status)) if status.id == self.id && pick(&status) => {
                    return status;
                }
                _ => {}
            }
        }
    }

    /// Waits until it is told that the file is in trouble: the words.
    async fn trouble(&mut self) -> String {
        let status = self.told(|status| status.error.is_some()).await;
        assert_eq!(status.state, FileState::Playing);
        assert_eq!(self.fixture.jobs.status(self.id).unwrap().error, status.error);
        status.error.unwrap()
    }

    async fn plays_on(&mut self) {
        let status = self.told(|status| status.error.is_none()).await;
        assert_eq!(status.state, FileState::Playing);
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_deleted_is_told_and_its_loop_goes_on_when_it_is_back() {
    let mut looped = Looped::new(400, Some(3));
    looped.first.ready().await;
    std::fs::remove_file(&looped.path).unwrap();
    assert!(looped.trouble().await.contains("clip.flv"));
    std::fs::write(&looped.path, flv(30)).unwrap();
    looped.plays_on().await;
    let Looped { fixture, watching, id, .. } = looped;
    let (seen, _) = watching.await.unwrap();
    let times: Vec<_> = seen.iter().skip(1).map(|(_, frame)| frame.timestamp).collect();
    assert_eq!(times.len(), 400 + 2 * 30, "three loops as asked for");
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] == FRAME_MS), "one stream without a seam");
    let status = fixture.jobs.status(id).unwrap();
    assert_eq!((status.state, status.loops_done), (FileState::Finished, 3));
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_away_is_looked_for_once_a_second_at_most() {
    let mut looped = Looped::new(400, None);
    looped.first.ready().await;
    std::fs::remove_file(&looped.path).unwrap();
    looped.trouble().await;
    let start = Instant::now();
    std::fs::write(&looped.path, flv(30)).unwrap();
    looped.plays_on().await;
    assert!(start.elapsed() >= LOOK_AGAIN.stated(), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_file_that_stays_away_ends_a_job_with_an_end_after_a_minute_and_no_endless_one() {
    let mut looped = Looped::new(400, Some(3));
    looped.first.ready().await;
    std::fs::remove_file(&looped.path).unwrap();
    looped.trouble().await;
    let start = Instant::now();
    let failed = looped.told(|status| status.state == FileState::Failed).await;
    let error = failed.error.unwrap();
    assert!(error.contains("clip.flv") && error.contains("given up after 60 s"), "{error}");
    assert!((60..=62).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());

    let mut endless = Looped::new(400, None);
    endless.first.ready().await;
    std::fs::remove_file(&endless.path).unwrap();
    endless.trouble().await;
    sleep(Duration::from_secs(3600)).await;
    std::fs::write(&endless.path, flv(30)).unwrap();
    endless.plays_on().await;
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_written_over_in_place_goes_on_with_the_new_contents_once_they_are_whole() {
    let mut looped = Looped::new(400, Some(1));
    looped.first.ready().await;
    let new = flv(50);
    std::fs::write(&looped.path, &new[..new.len() / 2]).unwrap();
    assert!(looped.trouble().await.contains("clip.flv: the file was written over while it played"));
    std::fs::write(&looped.path, &new).unwrap();
    looped.plays_on().await;
    let Looped { fixture, watching, id, .. } = looped;
    let (seen, _) = watching.await.unwrap();
    let times: Vec<_> = seen.iter().skip(1).map(|(_, frame)| frame.timestamp).collect();
    assert!((50..400).contains(&times.len()), "{} frames", times.len());
    assert!(times.is_sorted_by(|one, next| one < next));
    assert_eq!(fixture.jobs.status(id).unwrap().state, FileState::Finished);
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_cut_to_nothing_is_told_and_can_be_stopped() {
    let mut looped = Looped::new(20, None);
    std::fs::write(&looped.path, b"").unwrap();
    assert!(looped.trouble().await.contains("clip.flv"));
    looped.fixture.jobs.stop(looped.id).unwrap();
    let (_, reason) = looped.watching.await.unwrap();
    assert_eq!(reason, EndReason::Unpublished);
}

#[test]
fn a_long_file_is_not_read_through_before_it_plays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("long.flv");
    std::fs::write(&path, flv(100)).unwrap();
    // The rest is a hole of 10 TB, which nobody reads within the time of a test.
    std::fs::File::options().append(true).open(&path).unwrap().set_len(10 << 40).unwrap();
    let mut looped = Loop::open([path], Repeat::Forever).unwrap();
    assert!(looped.next_frame().unwrap().is_some());
}
