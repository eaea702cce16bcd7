//! What fetches streams from origins: one task for each stream, from the first player's request to the last one's leave.
//!
//! ```text
//! asked --> each server in turn --first frame--> live --lost--> the next servers --> live ...
//!              |      ^                           | |
//!              |      '-- 0.25 s .. 8 s           | '-- a server before it sends again, for long enough --> live from there
//!              v                                  v
//!     nobody has it: 404, or, when                nobody plays it for the linger: over
//!     the wait is over: 404 or 502
//! ```
//! Every server publishes the same local stream, so players notice a gap and no more.

use super::audience::Audience;
use super::intake::{Hold, Owner, Terms};
use super::pull::attempt;
use super::task::{AttemptError, Ended, Meaning, Relay, Told};
use crate::ErrorKind;
use crate::budget::Rate;
use crate::config::{OriginConfig, PublisherConfig, PushTuning};
use crate::hub::EndReason;
use crate::limits::ms;
use crate::log_limit::LogLimit;
use crate::net::Dialer;
use crate::origins::{Missing, Pull, Upstream};
use crate::policy::Takeover;
use crate::service::{Core, jobs};
use crate::status::RelayDirection;
use crate::url::RemoteUrl;
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

bound! {
    /// Log lines about servers that have not got a stream: strangers choose which are asked for
    /// (test `f39_names_that_strangers_make_up_write_few_lines_of_the_log`).
    const LINES: Rate = Rate::new(10, Duration::from_secs(10)), without Rate::new(1 << 40, Duration::from_secs(10));
}
/// Between two rounds of all servers: the first pause, and the longest; each is twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(8);
/// Who has been let in is not counted for a moment: so long a stream is fetched at least.
const LEAST_LINGER: Duration = Duration::from_millis(500);
/// For taking leave of a server.
const LEAVE: Duration = Duration::from_secs(1);

/// Fetches what players want, until the engine drains.
pub(super) fn serve(core: &Arc<Core>, dialer: &Arc<Dialer>, runtime: &Handle) {
    let Some(mut to_fetch) = core.origins.to_fetch() else { return };
    let fetcher =
        Fetcher { core: core.clone(), dialer: dialer.clone(), log: Arc::new(LogLimit::new(LINES.get())) };
    let serve = async move {
        while let Some(Some(pull)) = fetcher.core.draining.run_until_cancelled(to_fetch.recv()).await {
            let fetcher = fetcher.clone();
            fetcher.core.tasks.clone().spawn(async move {
                let core = fetcher.core.clone();
                if !jobs::survives(&core, fetcher.fetch(pull.clone())).await {
                    core.origins.failed(&pull, Missing::Unreachable);
                }
                core.hub.forget_demand(&pull.key);
            });
        }
    };
    core.tasks.spawn_on(serve, runtime);
}

#[derive(Clone)]
struct Fetcher {
    core: Arc<Core>,
    dialer: Arc<Dialer>,
    log: Arc<LogLimit>,
}

impl Upstream for Relay {
    fn url(&self) -> Arc<RemoteUrl> {
        self.url.clone()
    }

    fn bytes_received(&self) -> u64 {
        self.counters.bytes_received.load(Ordering::Relaxed)
    }

    fn last_error(&self) -> Option<String> {
        self.status().last_error
    }
}

impl Fetcher {
    async fn fetch(self, pull: Arc<Pull>) {
        let mut config = pull.config.clone();
        let mut search = Search::first(&pull);
        loop {
            let servers = self.servers(&pull, config.borrow_and_update().clone());
            match servers.work(&mut config, search).await {
                Some(next) => search = next,
                None => return,
            }
        }
    }

    fn servers(&self, pull: &Arc<Pull>, config: Arc<OriginConfig>) -> Servers {
        let relay = |url: &crate::url::OriginUrl| {
            let url = url.stream(&config.http_path, &pull.app, &pull.stream);
            let told = Told::Log(self.log.clone());
            let relay =
                Relay::new(&self.core, &self.dialer, RelayDirection::Pull, pull.key.clone(), url, told);
            relay.set_tuning(PushTuning { tls: config.tls.clone(), ..PushTuning::default() });
            Arc::new(relay)
        };
        let relays: Vec<_> = config.urls.iter().map(relay).collect();
        pull.set_upstreams(relays.iter().map(|relay| relay.clone() as Arc<dyn Upstream>).collect());
        let stop = self.core.draining.child_token();
        Servers { core: self.core.clone(), pull: pull.clone(), config, relays, stop }
    }
}

/// The servers of one configuration.
struct Servers {
    core: Arc<Core>,
    pull: Arc<Pull>,
    config: Arc<OriginConfig>,
    relays: Vec<Arc<Relay>>,
    stop: CancellationToken,
}

/// How a server is looked for.
#[derive(Clone, Copy)]
struct Search {
    /// The first that is asked.
    from: usize,
    /// The one that is known not to have the stream.
    without: Option<usize>,
    /// Whether it is over when all have said that they have not got it.
    is_final: bool,
    /// Whether the stream has not begun yet.
    is_first: bool,
    until: Instant,
}

impl Search {
    fn first(pull: &Pull) -> Self {
        let until = pull.since + ms(pull.config.borrow().wait_ms);
        Self { from: 0, without: None, is_final: true, is_first: true, until }
    }
}

/// What a search has come to.
enum Found<'a> {
    Live(Attempt<'a>),
    Missing(Missing),
    /// Nobody wants it any more.
    Unwanted,
    Stopped,
}

/// Why a stream does not come from a server any more.
enum Left {
    /// It has broken off.
    Lost(usize),
    /// It has ended there.
    Over(usize),
    /// There are other servers now.
    Changed,
    /// It is not to be fetched any more.
    Done,
}

/// A connection to one of the servers.
struct Attempt<'a> {
    index: usize,
    terms: Arc<Terms>,
    stop: CancellationToken,
    end: Pin<Box<dyn Future<Output = Result<Ended, AttemptError>> + Send + 'a>>,
}

impl Attempt<'_> {
    /// Leaves the server, and ends the stream, in good order.
    async fn leave(self) {
        self.stop.cancel();
        let _ = timeout(LEAVE, self.end).await;
    }
}

impl Servers {
    /// Fetches the stream for as long as somebody plays it. A search of other servers where the configuration has changed.
    async fn work(
        &self,
        config: &mut watch::Receiver<Arc<OriginConfig>>,
        mut search: Search,
    ) -> Option<Search> {
        let origins = &self.core.origins;
        loop {
            let attempt = match self.search(search).await {
                Found::Live(attempt) => attempt,
                Found::Missing(missing) => {
                    self.end(missing);
                    return None;
                }
                Found::Unwanted if !origins.released(&self.pull) => continue,
                Found::Unwanted => return None,
                Found::Stopped => {
                    origins.ended(&self.pull);
                    return None;
                }
            };
            origins.begun(&self.pull);
            search = match self.stay(attempt, config).await {
                Left::Lost(index) => Search {
                    from: index + 1,
                    without: None,
                    is_final: false,
                    is_first: false,
                    until: self.patience(),
                },
                Left::Over(index) => Search {
                    from: index + 1,
                    without: Some(index),
                    is_final: true,
                    is_first: false,
                    until: self.patience(),
                },
                Left::Changed => {
                    return Some(Search {
                        from: 0,
                        without: None,
                        is_final: false,
                        is_first: false,
                        until: self.patience(),
                    });
                }
                Left::Done => return None,
            };
            self.pull.count_move();
        }
    }

    /// Until when players of a stream that has been lost wait for it.
    fn patience(&self) -> Instant {
        Instant::now() + self.resume_window()
    }

    /// As their app has it, and no less than they have waited at first.
    fn resume_window(&self) -> Duration {
        let app = self.core.app(&self.pull.key).map_or(0, |app| app.resume_window_ms);
        ms(app.max(self.config.wait_ms))
    }

    fn end(&self, missing: Missing) {
        self.core.origins.failed(&self.pull, missing);
        if missing == Missing::NotFound {
            self.core.hub.end(&self.pull.key, EndReason::Unpublished);
        }
    }

    /// Asks one server after the other until one sends the stream.
    async fn search(&self, search: Search) -> Found<'_> {
        let count = self.relays.len();
        let mut answers = vec![Missing::Unreachable; count];
        let mut pause = FIRST_PAUSE;
        let mut is_first = true;
        loop {
            for (step, index) in (0..count).map(|step| (step, (search.from + step) % count)) {
                if is_first && search.without == Some(index) {
                    answers[index] = Missing::NotFound;
                    continue;
                }
                let left = search.until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                // Each has its part of the time, the last what is left.
                let share = left / u32::try_from(count - step).unwrap_or(1);
                match self.ask(index, share, search.is_first).await {
                    Asked::Missing(missing) => answers[index] = missing,
                    Asked::Found(found) => return found,
                }
            }
            is_first = false;
            let nobody_has_it = answers.iter().all(|answer| *answer == Missing::NotFound);
            let left = search.until.saturating_duration_since(Instant::now());
            if (nobody_has_it && search.is_final) || left.is_zero() {
                return Found::Missing(if nobody_has_it { Missing::NotFound } else { Missing::Unreachable });
            }
            self.pull.set_current(count);
            tokio::select! {
                () = sleep(pause.min(left)) => {}
                () = self.unwanted() => return Found::Unwanted,
                () = self.stop.cancelled() => return Found::Stopped,
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Asks one server for its stream, for no longer than `time`.
    async fn ask(&self, index: usize, time: Duration, is_first: bool) -> Asked<'_> {
        // Some servers send audio at once and video from the next keyframe on: players are to begin with both.
        let hold = Hold { least: Duration::ZERO, most: time * 3 / 4 };
        let mut attempt = self.attempt(index, is_first.then_some(hold));
        let mut begun = attempt.terms.begun.subscribe();
        self.pull.set_current(index);
        let relay = &self.relays[index];
        let error = tokio::select! {
            biased;
            () = self.stop.cancelled() => return Asked::Found(Found::Stopped),
            ended = &mut attempt.end => match ended {
                Ok(_) => AttemptError::lost(ErrorKind::Closed, "the server asked for a reconnect"),
                Err(error) => error,
            },
            Ok(_) = begun.wait_for(Option::is_some) => return Asked::Found(Found::Live(attempt)),
            () = sleep(time) => {
                // It has let us in, and has nothing to send: as some servers say that they have no such stream.
                let is_granted = relay.status().state.is_established();
                let meaning = if is_granted { Meaning::NoSuchStream } else { Meaning::Nothing };
                let text = format!("no frame within {} ms", time.as_millis());
                AttemptError::lost(ErrorKind::Timeout, text).meaning(meaning)
            }
            () = self.unwanted() => return Asked::Found(Found::Unwanted),
        };
        relay.note(&error);
        Asked::Missing(match error.meaning {
            Meaning::NoSuchStream | Meaning::Over => Missing::NotFound,
            Meaning::Nothing => Missing::Unreachable,
        })
    }

    fn attempt(&self, index: usize, hold: Option<Hold>) -> Attempt<'_> {
        let (core, pull, relay) = (&self.core, &self.pull, &self.relays[index]);
        let mut hops = pull.hops.clone();
        hops.push(core.hop(&pull.key));
        let window = u64::try_from(self.resume_window().as_millis()).unwrap_or(u64::MAX);
        let terms = Arc::new(Terms {
            source: format!("origin {} from {}", pull.alias, relay.url),
            rules: PublisherConfig::default().takeover(Takeover::Replace).resume_window_ms(window),
            hops,
            of: Owner::Origin,
            hold,
            begun: watch::Sender::new(None),
        });
        let stop = self.stop.child_token();
        let (of_attempt, stopped) = (terms.clone(), stop.clone());
        let end = async move { attempt(relay, &of_attempt, &mut Audience::always(), &stopped).await };
        Attempt { index, terms, stop, end: Box::pin(end) }
    }

    /// Keeps a stream for as long as it comes and somebody plays it, from a better server where one has it.
    async fn stay<'a>(
        &'a self,
        mut current: Attempt<'a>,
        config: &mut watch::Receiver<Arc<OriginConfig>>,
    ) -> Left {
        let linger = ms(self.config.linger_ms).max(LEAST_LINGER);
        let mut audience = Audience::of(&self.core.hub, &self.pull.key, linger);
        loop {
            self.pull.set_current(current.index);
            let mut better = std::pin::pin!(self.better_than(current.index));
            loop {
                tokio::select! {
                    // What a better server publishes takes the name from the present one: that is no loss.
                    biased;
                    () = self.stop.cancelled() => {
                        current.leave().await;
                        self.core.origins.ended(&self.pull);
                        return Left::Done;
                    }
                    attempt = &mut better => {
                        current = attempt;
                        self.pull.count_move();
                        break;
                    }
                    ended = &mut current.end => return self.left(current.index, ended),
                    changed = config.changed() => match changed {
                        Ok(()) => return Left::Changed,
                        Err(_) => {
                            current.leave().await;
                            self.core.origins.ended(&self.pull);
                            return Left::Done;
                        }
                    },
                    () = audience.left() => {
                        if self.core.origins.released(&self.pull) {
                            current.leave().await;
                            return Left::Done;
                        }
                        audience = Audience::of(&self.core.hub, &self.pull.key, linger);
                    }
                }
            }
        }
    }

    fn left(&self, index: usize, ended: Result<Ended, AttemptError>) -> Left {
        let Err(error) = ended else { return Left::Lost(index) };
        self.relays[index].note(&error);
        match error.meaning {
            Meaning::Over => Left::Over(index),
            Meaning::Nothing | Meaning::NoSuchStream => Left::Lost(index),
        }
    }

    /// Waits until a server before this one has sent the stream for long enough, and has taken it over.
    async fn better_than(&self, index: usize) -> Attempt<'_> {
        if index == 0 || self.config.failback_ms == 0 {
            return pending().await;
        }
        let hold = Hold { least: ms(self.config.failback_ms), most: Duration::MAX };
        let mut pause = FIRST_PAUSE;
        loop {
            sleep(pause).await;
            for better in 0..index {
                let mut attempt = self.attempt(better, Some(hold));
                let mut begun = attempt.terms.begun.subscribe();
                tokio::select! {
                    biased;
                    ended = &mut attempt.end => if let Err(error) = ended {
                        tracing::debug!(stream = %self.pull.key, url = %self.relays[better].url, "not back: {}", error.text);
                    },
                    Ok(_) = begun.wait_for(Option::is_some) => return attempt,
                }
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Waits until nobody wants the stream.
    async fn unwanted(&self) {
        let mut viewers = self.core.hub.demand(&self.pull.key);
        loop {
            self.pull.unwanted().await;
            if *viewers.borrow_and_update() == 0 {
                return;
            }
            if viewers.changed().await.is_err() {
                return;
            }
        }
    }
}

/// What a server has answered.
enum Asked<'a> {
    Missing(Missing),
    /// The search is over.
    Found(Found<'a>),
}
