//! Tests of watchers: each change, and random lives of streams against a model.

use super::*;
use crate::Limits;
use crate::hub::{EndReason, Interest, PublishRequest, Publisher, SubscribeOptions, Subscriber};
use crate::media::{Frame, FrameKind};
use crate::policy::Takeover;
use crate::status::StreamState;
use crate::testing::key;
use StreamChange::{Began, Ended, Unwanted, Wanted};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;
use tokio::time::{advance, timeout};

const WINDOW: Duration = Duration::from_secs(10);

fn hub() -> Hub {
    Hub::new(&Limits::default())
}

fn publish(hub: &Hub, name: &str, resume_window: Duration) -> Publisher {
    let request = PublishRequest { takeover: Takeover::Replace, resume_window, ..Default::default() };
    hub.publish(&key(name), request).unwrap()
}

fn join(hub: &Hub, name: &str, interest: Interest) -> Subscriber {
    hub.subscribe(&key(name), SubscribeOptions { interest, ..Default::default() })
}

/// What there is to tell right now.
fn told(watcher: &mut StreamWatcher) -> Vec<StreamChange> {
    let mut changes = Vec::new();
    while let Some(change) = futures_lite::future::block_on(futures_lite::future::poll_once(watcher.next())) {
        changes.push(change.expect("the hub is open"));
    }
    changes
}

/// The change that `act` makes, told to a watcher that waits for it.
async fn told_by<T>(watcher: &mut StreamWatcher, act: impl FnOnce() -> T) -> (StreamChange, T) {
    assert_eq!(told(watcher), []);
    let waiting = timeout(Duration::from_secs(1), watcher.next());
    // The watcher waits already when `act` runs.
    let (change, result) = tokio::join!(biased; waiting, async { act() });
    (change.expect("the watcher is woken").unwrap(), result)
}

#[tokio::test(start_paused = true)]
async fn a_watcher_is_told_first_what_is_there_already() {
    let hub = hub();
    let _live = publish(&hub, "live/a", WINDOW);
    drop(publish(&hub, "live/away", WINDOW));
    let _viewer = join(&hub, "live/wanted", Interest::Viewer);
    let _follower = join(&hub, "live/followed", Interest::Follower);
    let expected = [Began(key("live/a")), Began(key("live/away")), Wanted(key("live/wanted"))];
    assert_eq!(told(&mut hub.watch()), expected);
    assert_eq!(told(&mut hub.watch()), expected, "each watcher for itself");
}

#[tokio::test(start_paused = true)]
async fn a_stream_begins_with_its_first_publisher_only() {
    let hub = hub();
    let mut watcher = hub.watch();
    let (change, first) = told_by(&mut watcher, || publish(&hub, "live/a", WINDOW)).await;
    assert_eq!(change, Began(key("live/a")));
    let second = publish(&hub, "live/a", WINDOW);
    drop(first);
    drop(second);
    let _third = publish(&hub, "live/a", WINDOW);
    assert_eq!(told(&mut watcher), [], "takeover, loss and return are no changes");
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_when_it_is_finished_kicked_or_not_resumed_in_time() {
    let hub = hub();
    let mut watcher = hub.watch();
    let ended = Ended(key("live/a"));

    let publisher = publish(&hub, "live/a", WINDOW);
    assert_eq!(told(&mut watcher).len(), 1);
    assert_eq!(told_by(&mut watcher, || publisher.finish()).await.0, ended);

    let _kicked = publish(&hub, "live/a", WINDOW);
    assert_eq!(told(&mut watcher).len(), 1);
    let kick = || hub.end(&key("live/a"), EndReason::Kicked(String::new()));
    assert_eq!(told_by(&mut watcher, kick).await, (ended.clone(), true));

    let lost = publish(&hub, "live/a", WINDOW);
    assert_eq!(told(&mut watcher).len(), 1);
    drop(lost);
    advance(WINDOW / 2).await;
    hub.sweep();
    assert_eq!(told(&mut watcher), [], "away is not ended");
    advance(WINDOW).await;
    assert_eq!(told_by(&mut watcher, || hub.sweep()).await.0, ended);

    let lost = publish(&hub, "live/a", Duration::ZERO);
    assert_eq!(told(&mut watcher).len(), 1);
    assert_eq!(told_by(&mut watcher, || drop(lost)).await.0, ended);
}

#[tokio::test(start_paused = true)]
async fn the_end_that_a_reader_finds_first_is_told_too() {
    let hub = hub();
    let mut watcher = hub.watch();
    let mut reader = join(&hub, "live/a", Interest::Follower);
    drop(publish(&hub, "live/a", WINDOW));
    assert_eq!(told(&mut watcher), [Began(key("live/a"))]);
    advance(WINDOW).await;
    assert_eq!(reader.take(1, &mut Vec::new()), Err(EndReason::PublisherLost));
    assert_eq!(told_by(&mut watcher, || hub.sweep()).await.0, Ended(key("live/a")));
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_wanted_from_its_first_waiting_viewer_to_the_last() {
    let hub = hub();
    let mut watcher = hub.watch();
    let (change, first) = told_by(&mut watcher, || join(&hub, "live/a", Interest::Viewer)).await;
    assert_eq!(change, Wanted(key("live/a")));
    let second = join(&hub, "live/a", Interest::Viewer);
    // A relay push that follows the stream is no viewer, and keeps it on the map.
    let _follower = join(&hub, "live/a", Interest::Follower);
    drop(first);
    assert_eq!(told(&mut watcher), [], "somebody still waits");
    assert_eq!(told_by(&mut watcher, || drop(second)).await.0, Unwanted(key("live/a")));
}

#[tokio::test(start_paused = true)]
async fn a_wanted_stream_that_begins_is_not_wanted_any_more_until_it_ends_and_is_asked_for_again() {
    let hub = hub();
    let mut watcher = hub.watch();
    let name = key("live/a");
    let viewer = join(&hub, "live/a", Interest::Viewer);
    assert_eq!(told(&mut watcher), [Wanted(name.clone())]);
    let publisher = publish(&hub, "live/a", WINDOW);
    assert_eq!(told(&mut watcher), [Unwanted(name.clone()), Began(name.clone())]);
    publisher.finish();
    assert_eq!(told(&mut watcher), [Ended(name.clone())], "who saw the end does not wait");
    let _again = join(&hub, "live/a", Interest::Viewer);
    drop(viewer);
    assert_eq!(told(&mut watcher), [Wanted(name)]);
}

#[tokio::test(start_paused = true)]
async fn an_end_and_a_new_beginning_between_two_calls_are_both_told() {
    let hub = hub();
    let mut watcher = hub.watch();
    let publisher = publish(&hub, "live/a", WINDOW);
    assert_eq!(told(&mut watcher), [Began(key("live/a"))]);
    publisher.finish();
    publish(&hub, "live/b", WINDOW).finish();
    let _again = publish(&hub, "live/a", WINDOW);
    assert_eq!(told(&mut watcher), [Ended(key("live/a")), Began(key("live/a"))]);
}

#[tokio::test(start_paused = true)]
async fn frames_and_further_viewers_wake_no_watcher() {
    let hub = hub();
    let mut watcher = hub.watch();
    let publisher = publish(&hub, "live/a", WINDOW);
    let _waiting = join(&hub, "live/b", Interest::Viewer);
    assert_eq!(told(&mut watcher).len(), 2);
    for i in 0..100 {
        publisher.push(Frame::new(FrameKind::Audio, i * 20, vec![0xaf, 1].into())).unwrap();
    }
    let viewers: Vec<_> =
        ["live/a", "live/b", "live/b"].map(|name| join(&hub, name, Interest::Viewer)).into();
    drop(viewers);
    assert!(!watcher.closed.has_changed().unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_watcher_ends_with_the_engine_after_all_streams_have() {
    let hub = hub();
    let mut watcher = hub.watch();
    let _publisher = publish(&hub, "live/a", WINDOW);
    assert_eq!(told(&mut watcher), [Began(key("live/a"))]);
    hub.end_all(&EndReason::Shutdown);
    hub.close();
    // A task of the engine that has not noticed yet.
    let _late = publish(&hub, "live/late", WINDOW);
    assert_eq!(watcher.next().await, Some(Ended(key("live/a"))));
    assert_eq!(watcher.next().await, None);
    assert_eq!(watcher.next().await, None);
    assert_eq!(hub.watch().next().await, None);
}

/// What somebody knows who believes a watcher.
#[derive(Debug, Default, PartialEq)]
struct Belief {
    begun: BTreeSet<StreamKey>,
    wanted: BTreeSet<StreamKey>,
}

impl Belief {
    /// Each change has to be one.
    fn hear(&mut self, change: &StreamChange) {
        let is_change = match change {
            Began(key) => !self.wanted.contains(key) && self.begun.insert(key.clone()),
            Wanted(key) => !self.begun.contains(key) && self.wanted.insert(key.clone()),
            Ended(key) => self.begun.remove(key),
            Unwanted(key) => self.wanted.remove(key),
        };
        assert!(is_change, "{change:?}");
    }
}

/// What a name should be, by the rules in words.
#[derive(Default)]
struct Name {
    /// Counts the streams that it has had: goes up with each end.
    stream: u64,
    phase: Phase,
    /// Which publisher has the right.
    right: usize,
}

#[derive(Default, Clone, Copy, PartialEq)]
enum Phase {
    #[default]
    NotBegun,
    Live,
    /// For so many seconds yet.
    Away(u64),
}

impl Name {
    fn end(&mut self) {
        self.phase = Phase::NotBegun;
        self.stream += 1;
    }
}

const NAMES: [&str; 4] = ["live/a", "live/b", "live/c", "live/d"];

struct Model {
    hub: Hub,
    names: [Name; NAMES.len()],
    /// Publishers with their name, number and window in seconds, whether or not they still have the right.
    publishers: Vec<(usize, usize, u64, Publisher)>,
    /// Subscribers with their name, the stream that they read, and whether they view it.
    subscribers: Vec<(usize, u64, bool, Subscriber)>,
    count: usize,
}

impl Model {
    fn new() -> Self {
        let (names, publishers, subscribers) = Default::default();
        Self { hub: hub(), names, publishers, subscribers, count: 0 }
    }

    async fn step(&mut self, random: &mut StdRng) {
        let name = random.random_range(0..NAMES.len());
        match random.random_range(0..10) {
            0..3 => self.publish(name, [0, 4, 8][random.random_range(0..3)]),
            3 if !self.publishers.is_empty() => self.lose(random.random_range(0..self.publishers.len())),
            4 if !self.publishers.is_empty() => self.finish(random.random_range(0..self.publishers.len())),
            5 => self.join(name, Interest::Viewer),
            6 => self.join(name, Interest::Follower),
            7 if !self.subscribers.is_empty() => {
                drop(self.subscribers.swap_remove(random.random_range(0..self.subscribers.len())));
            }
            8 if random.random_bool(0.3) => self.kick(name),
            _ => self.wait(3).await,
        }
    }

    fn publish(&mut self, name: usize, window: u64) {
        self.count += 1;
        let publisher = publish(&self.hub, NAMES[name], Duration::from_secs(window));
        self.publishers.push((name, self.count, window, publisher));
        self.names[name].phase = Phase::Live;
        self.names[name].right = self.count;
    }

    fn lose(&mut self, index: usize) {
        let (name, number, window, publisher) = self.publishers.swap_remove(index);
        drop(publisher);
        let name = &mut self.names[name];
        match name.phase == Phase::Live && name.right == number {
            true if window == 0 => name.end(),
            true => name.phase = Phase::Away(window),
            false => {}
        }
    }

    fn finish(&mut self, index: usize) {
        let (name, number, _, publisher) = self.publishers.swap_remove(index);
        publisher.finish();
        let name = &mut self.names[name];
        if name.phase == Phase::Live && name.right == number {
            name.end();
        }
    }

    fn join(&mut self, name: usize, interest: Interest) {
        let subscriber = join(&self.hub, NAMES[name], interest);
        self.subscribers.push((name, self.names[name].stream, interest == Interest::Viewer, subscriber));
    }

    fn kick(&mut self, name: usize) {
        self.hub.end(&key(NAMES[name]), EndReason::Kicked(String::new()));
        self.names[name].end();
    }

    async fn wait(&mut self, seconds: u64) {
        advance(Duration::from_secs(seconds)).await;
        self.hub.sweep();
        for name in &mut self.names {
            match &mut name.phase {
                Phase::Away(left) if *left <= seconds => name.end(),
                Phase::Away(left) => *left -= seconds,
                _ => {}
            }
        }
    }

    fn begun(&self) -> BTreeSet<StreamKey> {
        let begun = NAMES.iter().zip(&self.names).filter(|(_, name)| name.phase != Phase::NotBegun);
        begun.map(|(name, _)| key(name)).collect()
    }

    fn wanted(&self) -> BTreeSet<StreamKey> {
        let waits = |&&(name, stream, is_viewer, _): &&(usize, u64, bool, Subscriber)| {
            let Name { stream: current, phase, .. } = &self.names[name];
            is_viewer && stream == *current && *phase == Phase::NotBegun
        };
        self.subscribers.iter().filter(waits).map(|(name, ..)| key(NAMES[*name])).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_watcher_that_looks_at_random_always_comes_to_know_what_is_there() {
    let mut replaced_unseen = 0;
    for seed in 0..200 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut model = Model::new();
        let (mut watcher, mut belief) = (model.hub.watch(), Belief::default());
        let mut seen = [0; NAMES.len()];
        for step in 0..200 {
            model.step(&mut random).await;
            if random.random_bool(0.7) {
                continue;
            }
            let before = std::mem::take(&mut belief.begun);
            belief.begun.clone_from(&before);
            let changes = told(&mut watcher);
            assert!(changes.len() <= 2 * NAMES.len(), "it holds no more than there is: {changes:?}");
            changes.iter().for_each(|change| belief.hear(change));
            let at = format!("seed {seed}, step {step}: {changes:?}");
            assert_eq!((&belief.begun, &belief.wanted), (&model.begun(), &model.wanted()), "{at}");
            for ((name, model), seen) in NAMES.iter().zip(&model.names).zip(&mut seen) {
                let key = key(name);
                if *seen != model.stream && before.contains(&key) {
                    assert!(changes.contains(&Ended(key.clone())), "{at}");
                    replaced_unseen += usize::from(belief.begun.contains(&key));
                }
                *seen = model.stream;
            }
        }
    }
    assert!(replaced_unseen > 100, "{replaced_unseen} streams ended and began anew between two looks");
}

/// What the hub's own lists say of it.
fn listed(hub: &Hub) -> Belief {
    let infos = hub.streams();
    let having = |state| {
        let streams = infos.iter().filter(move |stream| stream.state == state);
        streams.map(|stream| stream.key.clone()).collect::<BTreeSet<_>>()
    };
    Belief { begun: having(StreamState::Live), wanted: having(StreamState::Idle) }
}

#[test]
fn a_watcher_loses_no_change_of_threads_that_race_with_it() {
    const ROUNDS: usize = 5_000;
    const WORKERS: u64 = 2;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _entered = runtime.enter();
    let hub = hub();
    let (mut watcher, mut belief) = (hub.watch(), Belief::default());
    let at_work = AtomicU64::new(0);
    let work = |seed, rounds: mpsc::Receiver<()>| {
        let _entered = runtime.handle().enter();
        let mut random = StdRng::seed_from_u64(seed);
        let mut held = (None, None);
        for () in rounds {
            // On two names, so that they meet.
            let name = NAMES[random.random_range(0..2)];
            match random.random_range(0..4) {
                0 => held.0 = Some(publish(&hub, name, Duration::ZERO)),
                1 => held.0 = None,
                2 => held.1 = Some(join(&hub, name, Interest::Viewer)),
                _ => held.1 = None,
            }
            at_work.fetch_sub(1, Ordering::SeqCst);
        }
    };
    std::thread::scope(|scope| {
        let start = |seed| {
            let (round, rounds) = mpsc::channel();
            scope.spawn(move || work(seed, rounds));
            round
        };
        let workers: Vec<_> = (0..WORKERS).map(start).collect();
        for _ in 0..ROUNDS {
            at_work.store(WORKERS, Ordering::SeqCst);
            workers.iter().for_each(|round| round.send(()).unwrap());
            while at_work.load(Ordering::SeqCst) > 0 {
                told(&mut watcher).iter().for_each(|change| belief.hear(change));
            }
            told(&mut watcher).iter().for_each(|change| belief.hear(change));
            assert_eq!(belief, listed(&hub));
        }
    });
    told(&mut watcher);
    assert!(watcher.known.is_empty(), "{:?}", watcher.known);
}
