//! The task of a relay push: a local stream published on a remote server.

use super::connection::{Connection, Established, establish};
use super::may_move;
use super::task::{AttemptError, Ended, NextStep, Relay, Retry, add};
use super::watchdog::Watchdog;
use crate::ErrorKind;
use crate::config::{OpusPolicy, PushConfig};
use crate::egress::{Clock, Delivery, Framing, RtmpFraming};
use crate::hops;
use crate::hub::{EndReason, Interest, SubscribeOptions, Subscriber};
use crate::policy::StartAt;
use crate::proto::client::{ClientEvent, ClientRole};
use crate::status::{RelayState, StreamState};
use crate::url::RtmpUrl;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

bound! {
    /// Connecting no longer than this, the target gets what came meanwhile; else it starts at the newest keyframe
    /// (test `a_target_that_is_slow_to_connect_starts_at_the_newest_keyframe_and_a_fast_one_misses_nothing`).
    const FRESH: Duration = Duration::from_secs(1), without Duration::from_secs(1 << 30);
}

/// How often a connection is looked at: its counters are no older than this, and a changed limit holds as soon.
const WATCHDOG: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(500));

/// Pushes whenever the local stream is live, until `stop` or until the target has refused for good.
pub(super) async fn run(relay: &Relay, config: &PushConfig, stop: &CancellationToken) {
    let mut retry = Retry::new(config.on_refusal);
    while let Some(subscriber) = stop.run_until_cancelled(live_stream(relay)).await {
        let ended = push_once(relay, &config.url, &mut retry, subscriber, stop).await;
        match retry.next(relay, ended) {
            NextStep::End(state) => return relay.enter(state),
            NextStep::WhenNeeded => {}
            NextStep::After(wait) => {
                if stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
                    break;
                }
                add(&relay.counters.retries, 1);
            }
        }
    }
    relay.enter(RelayState::Idle);
}

/// Waits until the local stream has frames; meanwhile the relay is idle.
async fn live_stream(relay: &Relay) -> Subscriber {
    let hub = &relay.core.hub;
    let is_live = || {
        let state = hub.stream(&relay.stream).map(|info| info.state);
        matches!(state, Some(StreamState::Live | StreamState::Away))
    };
    let options = SubscribeOptions { start: StartAt::Keyframe, wait: None, interest: Interest::Follower };
    loop {
        let mut subscriber = hub.subscribe(&relay.stream, options.clone());
        if !is_live() {
            relay.enter(RelayState::Idle);
        }
        subscriber.ready().await;
        if is_live() {
            return subscriber;
        }
    }
}

/// One connection: from dialling to its end.
async fn push_once(
    relay: &Relay,
    url: &RtmpUrl,
    retry: &mut Retry,
    mut subscriber: Subscriber,
    stop: &CancellationToken,
) -> Result<Ended, AttemptError> {
    add(&relay.counters.attempts, 1);
    let started = Instant::now();
    let hops = onward_hops(relay)?;
    let establish = establish(relay, url, ClientRole::Publish, hops);
    let Some(established) = stop.run_until_cancelled(establish).await else { return Ok(Ended::Stopped) };
    let Established { mut connection, stream_id, chunk_size, server } = established?;
    let granted = Instant::now();
    let mut opus = Opus { policy: relay.tuning().opus, is_taken: server.takes_opus, is_left_out: false };
    if started.elapsed() > FRESH.get() {
        subscriber.rejoin();
    }
    let mut delivery = outgoing(relay, RtmpFraming::server(stream_id, chunk_size), subscriber)?;
    opus.judge(delivery.tracks().has_opus(), || delivery.leave_audio_out())?;
    // First, so that a relay that publishes also shows what it has yet to send.
    connection.send(delivery);
    relay.tell_begun();
    relay.enter(RelayState::Publishing);
    let result = feed(relay, url, &mut connection, opus, stop).await;
    retry.granted(granted.elapsed());
    if result.is_ok() {
        connection.close().await;
    }
    result
}

/// What becomes of the stream's Opus on one connection.
struct Opus {
    policy: OpusPolicy,
    /// The target has announced that it takes it.
    is_taken: bool,
    is_left_out: bool,
}

impl Opus {
    /// Looks whether the stream, which `has_opus` or has not, may go on as it does.
    fn judge(&mut self, has_opus: bool, leave_out: impl FnOnce()) -> Result<(), AttemptError> {
        if !has_opus || self.is_taken || self.is_left_out {
            return Ok(());
        }
        match self.policy {
            OpusPolicy::Send => Ok(()),
            OpusPolicy::Refuse => Err(AttemptError::held_back(
                ErrorKind::Unsupported,
                "the stream has Opus, and the target has not announced that it takes that (opus = \"leave-out\" sends the picture)",
            )),
            OpusPolicy::LeaveOut => {
                self.is_left_out = true;
                leave_out();
                Ok(())
            }
        }
    }
}

/// The stream as it goes to the target, in the rhythm of its app.
fn outgoing(relay: &Relay, framing: RtmpFraming, subscriber: Subscriber) -> Result<Delivery, AttemptError> {
    let Relay { core, stream, .. } = relay;
    let Some(app) = core.app(stream) else {
        return Err(AttemptError::held_back(
            ErrorKind::NotFound,
            format!("local stream {stream}: no such app"),
        ));
    };
    let shard = core.egress.shard(stream, app.flush_for(None), subscriber.feed());
    let clock = match relay.tuning().from_zero {
        true => Clock::FromZero,
        false => Clock::Stream,
    };
    // A connection has one.
    Ok(Delivery::new(0, Framing::Rtmp(framing), clock, subscriber, shard))
}

/// The streams that the stream has been, this one last; an error where they are too many.
fn onward_hops(relay: &Relay) -> Result<Vec<String>, AttemptError> {
    let mut hops = relay.core.hub.hops(&relay.stream);
    hops.push(relay.core.hop(&relay.stream));
    if hops.len() > hops::MAX.get() {
        let text = format!(
            "the stream has passed {} engines already: probably a relay loop; let it take a shorter way",
            hops::MAX.get()
        );
        return Err(AttemptError::held_back(ErrorKind::Limit, text));
    }
    Ok(hops)
}

/// Sends frames until the stream, the connection or the relay ends.
async fn feed(
    relay: &Relay,
    url: &RtmpUrl,
    connection: &mut Connection<'_>,
    mut opus: Opus,
    stop: &CancellationToken,
) -> Result<Ended, AttemptError> {
    let mut watchdog = Watchdog::new((relay.write_timeout() / 20).clamp(WATCHDOG.0, WATCHDOG.1));
    loop {
        while let Some(event) = connection.poll_event()? {
            if is_move(relay, url, event)? {
                return Ok(Ended::Moved);
            }
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(Ended::Stopped),
            forwarded = connection.forward() => match forwarded? {
                Ok(()) => {}
                Err(EndReason::Lagging) => return Err(too_slow()),
                Err(_) => return Ok(Ended::Idle),
            },
            may_judge = watchdog.look() => {
                check_stall(relay, connection, may_judge)?;
                // Its sound may have begun later, or be another now.
                opus.judge(connection.has_opus(), || connection.leave_audio_out())?;
            }
        }
    }
}

/// Whether the event asks us to connect anew.
fn is_move(relay: &Relay, url: &RtmpUrl, event: ClientEvent) -> Result<bool, AttemptError> {
    match event {
        ClientEvent::Rejected { code, description } => Err(AttemptError::refused(url, &code, &description)),
        ClientEvent::ReconnectRequest { tc_url } => Ok(may_move(relay, url, tc_url.as_deref())),
        _ => Ok(false),
    }
}

/// Shows a stall in the state, and ends the connection where it lasts.
fn check_stall(relay: &Relay, connection: &mut Connection<'_>, may_judge: bool) -> Result<(), AttemptError> {
    relay.tell_left_out();
    connection.count_sent();
    if !may_judge {
        return Ok(());
    }
    let limit = relay.write_timeout();
    let stalled = connection.stalled_for();
    if stalled >= limit {
        let text = format!("stalled: the target has taken nothing for {} ms", limit.as_millis());
        return Err(AttemptError::lost(ErrorKind::Timeout, text));
    }
    if connection.is_too_slow() {
        return Err(too_slow());
    }
    relay.enter(if stalled >= limit / 4 { RelayState::Stalled } else { RelayState::Publishing });
    Ok(())
}

fn too_slow() -> AttemptError {
    AttemptError::lost(ErrorKind::Limit, "the target reads too slowly: it cannot keep up with the stream")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opus_goes_to_a_target_that_takes_it_and_else_as_is_said() {
        for (policy, is_taken, is_refused, is_left_out) in [
            (OpusPolicy::Send, false, false, false),
            (OpusPolicy::Refuse, false, true, false),
            (OpusPolicy::LeaveOut, false, false, true),
            (OpusPolicy::Refuse, true, false, false),
            (OpusPolicy::LeaveOut, true, false, false),
        ] {
            let mut opus = Opus { policy, is_taken, is_left_out: false };
            opus.judge(false, || panic!("there is none yet")).unwrap();
            let mut times = 0;
            let verdicts = [(); 2].map(|()| opus.judge(true, || times += 1));
            assert_eq!(verdicts.iter().all(Result::is_err), is_refused, "{policy} {is_taken}");
            assert_eq!(times, usize::from(is_left_out), "{policy} {is_taken}");
            if let [Err(error), _] = verdicts {
                assert!(error.kind == ErrorKind::Unsupported && error.text.contains("Opus"), "{error:?}");
            }
        }
    }
}
