//! Who watches what is pulled.

use super::task::Relay;
use crate::config::{PullConfig, PullWhen};
use crate::hub::Hub;
use crate::key::StreamKey;
use crate::limits::ms;
use crate::status::RelayState;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

bound! {
    /// Longest wait of a broken pull for somebody who comes to watch: what was true a while ago is asked anew
    /// (test `f33_who_comes_to_watch_shortens_a_wait_to_5_seconds_and_no_further`).
    const NEGATIVE_RESULT: Duration = Duration::from_secs(5), without Duration::from_secs(1 << 30);
}

/// Who watches the local stream; with [`PullWhen::Always`] that does not matter.
pub(super) struct Audience {
    viewers: Option<watch::Receiver<usize>>,
    linger: Duration,
    empty_since: Option<Instant>,
}

impl Audience {
    pub(super) fn of_pull(relay: &Relay, config: &PullConfig) -> Self {
        match config.when {
            PullWhen::Always => Self::always(),
            PullWhen::Watched => Self::of(&relay.core.hub, &relay.stream, ms(config.linger_ms)),
        }
    }

    /// One that never leaves.
    pub(super) fn always() -> Self {
        Self { viewers: None, linger: Duration::ZERO, empty_since: None }
    }

    /// The viewers of a stream; it has left when there have been none for `linger`.
    pub(super) fn of(hub: &Hub, stream: &StreamKey, linger: Duration) -> Self {
        Self { viewers: Some(hub.demand(stream)), linger, empty_since: None }
    }

    /// Waits for somebody to watch; meanwhile the relay is idle.
    pub(super) async fn arrived(&mut self, relay: &Relay) {
        self.empty_since = None;
        let Some(viewers) = &mut self.viewers else { return };
        if *viewers.borrow_and_update() == 0 {
            relay.enter(RelayState::Idle);
            wait_for(viewers, |viewers| viewers > 0).await;
        }
    }

    /// Waits until nobody has watched for the linger. Safe to cancel: the time goes on.
    pub(super) async fn left(&mut self) {
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
    pub(super) async fn wait_for_retry(&mut self, wait: Duration) {
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
