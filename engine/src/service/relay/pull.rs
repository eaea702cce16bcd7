//! The task of a relay pull: a remote stream published under a local name.

use super::connection::{Connection, Established, establish};
use super::moved;
use super::task::{AttemptError, Ended, NextStep, Relay, Retry, add};
use super::watchdog::Watchdog;
use crate::ErrorKind;
use crate::config::{AppConfig, PublisherConfig, PullConfig, PullWhen};
use crate::hops;
use crate::hub::EndReason;
use crate::key::StreamName;
use crate::limits::ms;
use crate::media::{Frame, FrameKind};
use crate::proto::Received;
use crate::proto::client::{ClientEvent, ClientRole};
use crate::service::media_gap::MediaGap;
use crate::service::pace::{Pace, Verdict};
use crate::service::streams::Published;
use crate::status::RelayState;
use crate::url::RtmpUrl;
use bytes::Bytes;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

bound! {
    /// Longest wait of a broken pull for somebody who comes to watch: what was true a while ago is asked anew
    /// (test `f33_who_comes_to_watch_shortens_a_wait_to_5_seconds_and_no_further`).
    const NEGATIVE_RESULT: Duration = Duration::from_secs(5), without Duration::from_secs(1 << 30);
    /// For how long frames are taken from a server that has asked us to connect anew
    /// (test `an_upstream_that_asks_to_reconnect_and_sends_on_is_left_all_the_same`).
    const LAST_FRAMES: Duration = Duration::from_millis(500), without Duration::from_secs(1 << 30);
}

/// Pulls always or while somebody watches, until `stop` or until the server has refused for good.
pub(super) async fn run(relay: &Relay, config: &PullConfig, stop: &CancellationToken) {
    let mut retry = Retry::new(config.on_refusal);
    let mut audience = Audience::new(relay, config);
    let mut url = RtmpUrl::clone(&relay.url);
    while stop.run_until_cancelled(audience.arrived(relay)).await.is_some() {
        let ended = pull_once(relay, &url, &mut retry, &mut audience, stop).await;
        match retry.next(relay, &mut url, ended) {
            NextStep::End(state) => return relay.enter(state),
            NextStep::WhenNeeded => {}
            NextStep::After(wait) => {
                if stop.run_until_cancelled(audience.wait_for_retry(wait)).await.is_none() {
                    break;
                }
                add(&relay.counters.retries, 1);
            }
        }
    }
    relay.enter(RelayState::Idle);
}

/// One connection: from dialling to its end.
async fn pull_once(
    relay: &Relay,
    url: &RtmpUrl,
    retry: &mut Retry,
    audience: &mut Audience,
    stop: &CancellationToken,
) -> Result<Ended, AttemptError> {
    add(&relay.counters.attempts, 1);
    let establish = establish(relay, url, ClientRole::Play, vec![relay.core.hop(&relay.stream)]);
    let Some(established) = stop.run_until_cancelled(establish).await else { return Ok(Ended::Stopped) };
    let Established { mut connection, hops, .. } = established?;
    let hops = hops_of(url, &hops);
    if relay.core.is_loop(&relay.stream, &hops) {
        return Err(loops(relay));
    }
    tracing::info!(stream = %relay.stream, %url, "pull has begun");
    relay.enter(RelayState::Playing);
    let now = Instant::now();
    let mut local = Local {
        relay,
        hops,
        publisher: None,
        first: None,
        newest: now,
        answers: connection.answers(),
        answered: now,
        asked: now,
        pace: Pace::default(),
        gap: None,
    };
    let result = receive(relay, url, &mut connection, &mut local, audience, stop).await;
    if let Some(first) = local.first {
        retry.granted(first.elapsed());
    }
    if result.is_ok() {
        if !matches!(result, Ok(Ended::Moved(_))) {
            local.finish();
        }
        connection.close().await;
    }
    result
}

/// The stream at `url` on each of these engines.
fn hops_of(url: &RtmpUrl, engines: &[String]) -> Vec<String> {
    let name = StreamName::parse(url.app(), &url.stream_with_query());
    let name = name.map_or_else(|_| format!("{}/{}", url.app(), url.stream()), |name| name.key.to_string());
    engines.iter().map(|engine| hops::of_stream(engine, &name)).collect()
}

fn loops(relay: &Relay) -> AttemptError {
    let text =
        format!("relay loop: the stream comes from {} of this engine; give it another name", relay.stream);
    AttemptError::held_back(ErrorKind::Limit, text)
}

/// Takes frames in until the stream, the connection or the relay ends.
async fn receive(
    relay: &Relay,
    url: &RtmpUrl,
    connection: &mut Connection<'_>,
    local: &mut Local<'_>,
    audience: &mut Audience,
    stop: &CancellationToken,
) -> Result<Ended, AttemptError> {
    let config = &relay.core.config;
    let app = app(relay);
    let silence = app.publisher_timeout(&config.limits);
    let mut watchdog = Watchdog::new((silence / 20).max(Duration::from_millis(10)));
    loop {
        while let Some(event) = connection.poll_event()? {
            match event {
                ClientEvent::Media { kind, timestamp, payload } => local.push(kind, timestamp, payload)?,
                ClientEvent::Ended => {
                    local.finish();
                    return Err(AttemptError::lost(ErrorKind::NotFound, "the stream has ended upstream"));
                }
                ClientEvent::Rejected { code, description } => {
                    return Err(AttemptError::refused(url, &code, &description));
                }
                ClientEvent::ReconnectRequest { tc_url } => {
                    if let Some(to) = moved(relay, url, tc_url.as_deref()) {
                        let last = timeout(LAST_FRAMES.get(), take_last_frames(connection, local));
                        let stopped = stop.run_until_cancelled(last).await.is_none();
                        return Ok(if stopped { Ended::Stopped } else { Ended::Moved(to) });
                    }
                }
                _ => {}
            }
        }
        local.check_pace(connection.received())?;
        tokio::select! {
            () = stop.cancelled() => return Ok(Ended::Stopped),
            () = audience.left() => return Ok(Ended::Idle),
            reason = local.ended() => return Err(local.taken(&reason)),
            result = connection.exchange() => result?,
            may_judge = watchdog.look() => {
                if may_judge {
                    check_silence(relay, local, connection.answers(), silence)?;
                }
                if local.may_ask(silence) {
                    connection.ping();
                }
            }
        }
    }
}

/// The policy of the local stream.
fn app(relay: &Relay) -> &AppConfig {
    relay.core.app(&relay.stream).unwrap_or(&relay.core.config.default_app)
}

/// Takes what is under way when the server has asked us to connect anew, which it may do before its last frames. How
/// that ends does not matter: the next connection finds out what there is.
async fn take_last_frames(
    connection: &mut Connection<'_>,
    local: &mut Local<'_>,
) -> Result<(), AttemptError> {
    loop {
        while let Some(event) = connection.poll_event()? {
            match event {
                ClientEvent::Media { kind, timestamp, payload } => local.push(kind, timestamp, payload)?,
                ClientEvent::Ended | ClientEvent::Rejected { .. } => return Ok(()),
                _ => {}
            }
        }
        connection.exchange().await?;
    }
}

/// Shows a silent upstream in the state, and ends the connection where that lasts and it does not answer either: of a still
/// picture there may be one frame in minutes.
fn check_silence(
    relay: &Relay,
    local: &mut Local<'_>,
    answers: u64,
    limit: Duration,
) -> Result<(), AttemptError> {
    relay.tell_left_out();
    if local.answers != answers {
        (local.answers, local.answered) = (answers, Instant::now());
    }
    let silence = local.newest.elapsed();
    if silence.min(local.answered.elapsed()) >= limit {
        let text = format!("the upstream has sent no media for {} ms", limit.as_millis());
        return Err(AttemptError::lost(ErrorKind::Timeout, text));
    }
    if local.gap.as_ref().and_then(MediaGap::over_at).is_some_and(|over| over <= Instant::now()) {
        return Err(local.without_media());
    }
    relay.enter(if silence >= limit / 4 { RelayState::Stalled } else { RelayState::Playing });
    Ok(())
}

/// The local stream. Its name is taken with the first media message: servers grant streams that nobody publishes.
struct Local<'a> {
    relay: &'a Relay,
    /// The streams that it has been upstream.
    hops: Vec<String>,
    publisher: Option<Published>,
    /// When media first came on this connection, and when it last did.
    first: Option<Instant>,
    newest: Instant,
    /// How many pings the upstream has answered, when it last did, and when it was asked.
    answers: u64,
    answered: Instant,
    asked: Instant,
    pace: Pace,
    /// How long the local stream has been without media.
    gap: Option<MediaGap>,
}

impl Local<'_> {
    /// Whether the upstream is to be pinged: it has been silent, and not been asked, for half of `limit`.
    fn may_ask(&mut self, limit: Duration) -> bool {
        let quiet = self.newest.max(self.answered).max(self.asked).elapsed() >= limit / 2;
        if quiet {
            self.asked = Instant::now();
        }
        quiet
    }

    fn push(&mut self, kind: FrameKind, timestamp: i64, payload: Bytes) -> Result<(), AttemptError> {
        self.newest = Instant::now();
        self.first.get_or_insert(self.newest);
        add(&self.relay.counters.frames, 1);
        let publisher = match &self.publisher {
            Some(publisher) => publisher,
            None => {
                let publisher = self.take_name()?;
                self.relay.recovered();
                self.publisher.insert(publisher)
            }
        };
        let frame = Frame::new(kind, timestamp, payload);
        let new_gap = || MediaGap::new(app(self.relay), &self.relay.core.config.limits);
        self.gap.get_or_insert_with(new_gap).note(&frame, self.newest);
        publisher.push(frame).map_err(|reason| self.taken(&reason))
    }

    /// Warns of an upstream that sends more than anybody expects, and ends the connection of one that sends more than a
    /// publisher may.
    fn check_pace(&mut self, received: Received) -> Result<(), AttemptError> {
        let Relay { stream, url, .. } = self.relay;
        match self.pace.look(received, &self.relay.core.config.limits) {
            Verdict::Fine => Ok(()),
            Verdict::Fast(speed) => {
                tracing::warn!(%stream, %url, "the upstream sends fast: {speed}");
                Ok(())
            }
            Verdict::TooFast(speed) => {
                Err(self.leave(ErrorKind::Limit, format!("the upstream {}", speed.words())))
            }
        }
    }

    /// The upstream gives signs of life, but there is nothing to see or hear.
    fn without_media(&mut self) -> AttemptError {
        let words = self.gap.as_ref().map(MediaGap::words).unwrap_or_default();
        self.leave(ErrorKind::Timeout, format!("the upstream has sent {words}"))
    }

    /// Leaves the local stream with a reason; its viewers wait for the next connection.
    fn leave(&mut self, kind: ErrorKind, reason: String) -> AttemptError {
        if let Some(publisher) = self.publisher.take() {
            publisher.leave(&reason);
        }
        AttemptError::lost(kind, reason)
    }

    fn take_name(&self) -> Result<Published, AttemptError> {
        if self.relay.core.is_loop(&self.relay.stream, &self.hops) {
            return Err(loops(self.relay));
        }
        let source = format!("relay {} from {}", self.relay.id, self.relay.url);
        let rules = PublisherConfig::default();
        Published::by_engine(&self.relay.core, &self.relay.stream, &source, &self.hops, &rules)
            .map_err(|error| AttemptError::held_back(error.kind(), error.to_string()))
    }

    fn taken(&self, reason: &EndReason) -> AttemptError {
        AttemptError::held_back(ErrorKind::Closed, format!("local stream {}: {reason}", self.relay.stream))
    }

    async fn ended(&self) -> EndReason {
        match &self.publisher {
            Some(publisher) => publisher.ended().await,
            None => std::future::pending().await,
        }
    }

    fn finish(&mut self) {
        if let Some(publisher) = self.publisher.take() {
            publisher.finish("unpublished");
        }
    }
}

/// Who watches the local stream; with [`PullWhen::Always`] that does not matter.
struct Audience {
    viewers: Option<watch::Receiver<usize>>,
    linger: Duration,
    empty_since: Option<Instant>,
}

impl Audience {
    fn new(relay: &Relay, config: &PullConfig) -> Self {
        let viewers = match config.when {
            PullWhen::Always => None,
            PullWhen::Watched => Some(relay.core.hub.demand(&relay.stream)),
        };
        Self { viewers, linger: ms(config.linger_ms), empty_since: None }
    }

    /// Waits for somebody to watch; meanwhile the relay is idle.
    async fn arrived(&mut self, relay: &Relay) {
        self.empty_since = None;
        let Some(viewers) = &mut self.viewers else { return };
        if *viewers.borrow_and_update() == 0 {
            relay.enter(RelayState::Idle);
            wait_for(viewers, |viewers| viewers > 0).await;
        }
    }

    /// Waits until nobody has watched for the linger. Safe to cancel: the time goes on.
    async fn left(&mut self) {
        let Some(viewers) = &mut self.viewers else { return std::future::pending().await };
        loop {
            if *viewers.borrow_and_update() > 0 {
                self.empty_since = None;
                wait_for(viewers, |viewers| viewers == 0).await;
            }
            let since = *self.empty_since.get_or_insert_with(Instant::now);
            tokio::select! {
                () = sleep_until(since + self.linger) => return,
                () = wait_for(viewers, |viewers| viewers > 0) => {}
            }
        }
    }

    /// Waits before the next attempt, less long for somebody who comes to watch meanwhile.
    async fn wait_for_retry(&mut self, wait: Duration) {
        let now = Instant::now();
        let full = sleep_until(now + wait);
        let Some(viewers) = &mut self.viewers else { return full.await };
        let newcomer = async {
            wait_for(viewers, |viewers| viewers == 0).await;
            wait_for(viewers, |viewers| viewers > 0).await;
            sleep_until(now + NEGATIVE_RESULT.get()).await;
        };
        tokio::select! {
            () = full => {}
            () = newcomer => {}
        }
    }
}

/// Waits for a number of viewers; for ever where the hub is gone.
async fn wait_for(viewers: &mut watch::Receiver<usize>, wanted: impl Fn(usize) -> bool) {
    if viewers.wait_for(|&viewers| wanted(viewers)).await.is_err() {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn f33_who_comes_to_watch_shortens_a_wait_to_5_seconds_and_no_further() {
        let viewers = watch::Sender::new(0);
        let mut audience =
            Audience { viewers: Some(viewers.subscribe()), linger: Duration::ZERO, empty_since: None };
        let start = Instant::now();
        let newcomer = async {
            tokio::time::sleep(Duration::from_secs(2)).await;
            viewers.send_replace(1);
            std::future::pending().await
        };
        tokio::select! {
            () = audience.wait_for_retry(Duration::from_secs(30)) => {}
            () = newcomer => {}
        }
        assert_eq!(start.elapsed().as_secs(), 5);
    }
}
