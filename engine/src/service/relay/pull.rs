//! The task of a relay pull: a remote stream published under a local name.

use super::audience::Audience;
use super::connection::{Connection, Established, establish};
use super::intake::{Intake, Terms};
use super::may_move;
use super::task::{AttemptError, Ended, NextStep, Relay, Retry, add};
use super::watchdog::Watchdog;
use crate::config::PullConfig;
use crate::hops;
use crate::key::StreamName;
use crate::media::Frame;
use crate::proto::client::{ClientEvent, ClientRole};
use crate::status::RelayState;
use crate::url::{RemoteUrl, RtmpUrl};
use std::time::Duration;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

bound! {
    /// For how long frames are taken from a server that has asked us to connect anew
    /// (test `an_upstream_that_asks_to_reconnect_and_sends_on_is_left_all_the_same`).
    const LAST_FRAMES: Duration = Duration::from_millis(500), without Duration::from_secs(1 << 30);
}

/// Pulls always or while somebody watches, until `stop` or until the server has refused for good.
pub(super) async fn run(relay: &Relay, config: &PullConfig, stop: &CancellationToken) {
    let mut retry = Retry::new(config.on_refusal);
    let mut audience = Audience::of_pull(relay, config);
    while stop.run_until_cancelled(audience.arrived(relay)).await.is_some() {
        let terms = Terms::of_relay(relay);
        let ended = attempt(relay, &terms, &mut audience, stop).await;
        if let Some(lasted) = terms.flowed() {
            retry.granted(lasted);
        }
        match retry.next(relay, ended) {
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
pub(super) async fn attempt(
    relay: &Relay,
    terms: &Terms,
    audience: &mut Audience,
    stop: &CancellationToken,
) -> Result<Ended, AttemptError> {
    add(&relay.counters.attempts, 1);
    match &*relay.url {
        RemoteUrl::Rtmp(url) => by_rtmp(relay, url, terms, audience, stop).await,
        #[cfg(feature = "http")]
        RemoteUrl::Http(url) => super::flv_pull::by_http(relay, url, terms, audience, stop).await,
        #[cfg(not(feature = "http"))]
        RemoteUrl::Http(_) => {
            let text = "this build fetches nothing by HTTP (cargo feature `http`)";
            Err(AttemptError::held_back(crate::ErrorKind::Unsupported, text))
        }
    }
}

async fn by_rtmp(
    relay: &Relay,
    url: &RtmpUrl,
    terms: &Terms,
    audience: &mut Audience,
    stop: &CancellationToken,
) -> Result<Ended, AttemptError> {
    let establish = establish(relay, url, ClientRole::Play, terms.hops.clone());
    let Some(established) = stop.run_until_cancelled(establish).await else { return Ok(Ended::Stopped) };
    let Established { mut connection, server, .. } = established?;
    let mut intake = Intake::new(relay, terms, hops_of(url, &server.hops), connection.answers())?;
    let result = receive(relay, url, &mut connection, &mut intake, audience, stop).await;
    if result.is_ok() {
        if !matches!(result, Ok(Ended::Moved)) {
            intake.finish();
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

/// Takes frames in until the stream, the connection or the relay ends.
async fn receive(
    relay: &Relay,
    url: &RtmpUrl,
    connection: &mut Connection<'_>,
    intake: &mut Intake<'_>,
    audience: &mut Audience,
    stop: &CancellationToken,
) -> Result<Ended, AttemptError> {
    let silence = intake.patience();
    let mut watchdog = Watchdog::of(silence);
    loop {
        while let Some(event) = connection.poll_event()? {
            match event {
                ClientEvent::Media { kind, timestamp, payload } => {
                    intake.push(Frame::new(kind, timestamp, payload))?;
                }
                ClientEvent::Ended => return Err(intake.upstream_ended()),
                ClientEvent::Rejected { code, description } => {
                    return Err(AttemptError::refused(url, &code, &description));
                }
                ClientEvent::ReconnectRequest { tc_url } if may_move(relay, url, tc_url.as_deref()) => {
                    let last = timeout(LAST_FRAMES.get(), take_last_frames(connection, intake));
                    let stopped = stop.run_until_cancelled(last).await.is_none();
                    return Ok(if stopped { Ended::Stopped } else { Ended::Moved });
                }
                _ => {}
            }
        }
        intake.check_pace(connection.received())?;
        tokio::select! {
            () = stop.cancelled() => return Ok(Ended::Stopped),
            () = audience.left() => return Ok(Ended::Idle),
            reason = intake.ended() => return Err(intake.taken(&reason)),
            result = connection.exchange() => result?,
            may_judge = watchdog.look() => {
                if may_judge {
                    intake.check_silence(connection.answers(), silence)?;
                }
                if intake.may_ask(silence) {
                    connection.ping();
                }
            }
        }
    }
}

/// Takes what is under way when the server has asked us to connect anew, which it may do before its last frames. How
/// that ends does not matter: the next connection finds out what there is.
async fn take_last_frames(
    connection: &mut Connection<'_>,
    intake: &mut Intake<'_>,
) -> Result<(), AttemptError> {
    loop {
        while let Some(event) = connection.poll_event()? {
            match event {
                ClientEvent::Media { kind, timestamp, payload } => {
                    intake.push(Frame::new(kind, timestamp, payload))?;
                }
                ClientEvent::Ended | ClientEvent::Rejected { .. } => return Ok(()),
                _ => {}
            }
        }
        connection.exchange().await?;
    }
}
