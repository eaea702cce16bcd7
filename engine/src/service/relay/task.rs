//! One relay as its task and its observers share it: state, counters, and what follows a connection.

use super::backoff::{Backoff, Failure, STABLE};
use crate::budget::Rate;
use crate::config::{OnRefusal, PushTuning};
use crate::events::Event;
use crate::id::RelayId;
use crate::key::{Printable, StreamKey};
use crate::limits::ms;
use crate::log_limit::{LogLimit, left_out as left_out_lines};
use crate::net::{DialOptions, DialStep, DialTls, Dialer};
use crate::proto::ProtocolError;
use crate::service::Core;
#[cfg(feature = "http")]
use crate::service::PushNews;
use crate::sessions::{Measured, Queue};
use crate::status::{RelayDirection, RelayState, RelayStatus};
use crate::url::{RemoteUrl, RtmpUrl};
use crate::{Error, ErrorKind, Limits};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// A relay: what it is to do, where it stands, what it has carried.
pub(super) struct Relay {
    pub(super) id: RelayId,
    pub(super) direction: RelayDirection,
    pub(super) stream: StreamKey,
    pub(super) url: Arc<RemoteUrl>,
    told: Told,
    pub(super) core: Arc<Core>,
    pub(super) dialer: Arc<Dialer>,
    pub(super) counters: Counters,
    condition: Mutex<RelayCondition>,
    tuning: Mutex<PushTuning>,
    /// The writing half of the newest connection.
    output: Mutex<Option<Weak<dyn Measured>>>,
    /// For lines about requests to reconnect: a server may send them without end.
    pub(super) ignored: LogLimit,
    /// Whether another relay goes on in its place.
    is_replaced: AtomicBool,
}

/// Who is told how a relay fares.
#[derive(Clone)]
pub(super) enum Told {
    /// All who watch: it is one of the configuration or the program.
    Everybody,
    /// The log, in so many lines: it is there because somebody wants to play a stream, which anybody may.
    Log(Arc<LogLimit>),
}

bound! {
    /// Log lines about requests to reconnect that are ignored
    /// (test `f39_a_reconnect_request_is_followed_to_the_place_of_the_url_only`).
    const IGNORED_LINES: Rate = Rate::new(3, Duration::from_secs(30)), without Rate::new(u64::MAX, Duration::from_secs(30));
}

/// Running totals over all connections of a relay.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) attempts: AtomicU64,
    pub(super) retries: AtomicU64,
    pub(super) bytes_sent: AtomicU64,
    pub(super) bytes_acknowledged: AtomicU64,
    pub(super) bytes_received: AtomicU64,
    pub(super) frames: AtomicU64,
    /// Frames that the target missed because it was too slow, over all connections.
    pub(super) skipped: AtomicU64,
}

pub(super) fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}

struct RelayCondition {
    state: RelayState,
    since: Instant,
    last_error: Option<(ErrorKind, String)>,
    /// When the peer granted the stream, while it does.
    granted: Option<Instant>,
    /// When the next attempt begins, while backing off.
    retry_at: Option<Instant>,
}

impl Relay {
    pub(super) fn new(
        core: &Arc<Core>,
        dialer: &Arc<Dialer>,
        direction: RelayDirection,
        stream: StreamKey,
        url: RemoteUrl,
        told: Told,
    ) -> Self {
        Self {
            id: RelayId::new(),
            direction,
            stream,
            url: Arc::new(url),
            told,
            core: core.clone(),
            dialer: dialer.clone(),
            counters: Counters::default(),
            condition: Mutex::new(RelayCondition {
                state: RelayState::Idle,
                since: Instant::now(),
                last_error: None,
                granted: None,
                retry_at: None,
            }),
            tuning: Mutex::default(),
            output: Mutex::default(),
            ignored: LogLimit::new(IGNORED_LINES.get()),
            is_replaced: AtomicBool::new(false),
        }
    }

    /// What is asked for this relay alone.
    pub(super) fn tuning(&self) -> PushTuning {
        self.tuning.lock().clone()
    }

    pub(super) fn set_tuning(&self, tuning: PushTuning) {
        *self.tuning.lock() = tuning;
    }

    /// Another relay goes on in its place: what it publishes is left to that one.
    pub(super) fn set_replaced(&self) {
        self.is_replaced.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_replaced(&self) -> bool {
        self.is_replaced.load(Ordering::Relaxed)
    }

    /// Names the writing half of the connection that has been opened.
    pub(super) fn set_output(&self, output: Weak<dyn Measured>) {
        *self.output.lock() = Some(output);
    }

    /// Longest time that the peer takes no byte while there are some to send: looked at again and again, as it may
    /// change while a connection stands.
    pub(super) fn write_timeout(&self) -> Duration {
        let own = self.tuning.lock().write_timeout_ms;
        ms(own.unwrap_or(self.core.limits().write_timeout_ms))
    }

    /// A copy of the engine's limits with what is asked for this relay, for a new connection.
    pub(super) fn limits(&self) -> Limits {
        let tuning = self.tuning.lock();
        let mut limits = self.core.limits().clone();
        if let Some(timeout) = tuning.connect_timeout_ms {
            limits.handshake_timeout_ms = timeout;
            limits.command_timeout_ms = timeout;
        }
        limits.write_timeout_ms = tuning.write_timeout_ms.unwrap_or(limits.write_timeout_ms);
        limits
    }

    /// Waits for the next attempt.
    pub(super) fn back_off(&self, wait: Duration) {
        self.condition.lock().retry_at = Some(Instant::now() + wait);
        self.enter(RelayState::BackingOff);
    }

    /// Goes to `state` and tells who watches; nothing happens where it is there already.
    pub(super) fn enter(&self, state: RelayState) {
        {
            let mut condition = self.condition.lock();
            if condition.state == state {
                return;
            }
            let now = Instant::now();
            condition.state = state;
            condition.since = now;
            condition.granted = state.is_established().then(|| condition.granted.unwrap_or(now));
            condition.retry_at = condition.retry_at.filter(|_| state == RelayState::BackingOff);
        }
        if matches!(self.told, Told::Everybody) {
            let status = self.status();
            #[cfg(feature = "http")]
            self.tell_publisher(&status);
            self.core.events.emit(Event::RelayState(status));
        }
    }

    /// Tells the publisher of the stream, where it wants to know. What it is told of ends with the next connection that stands.
    #[cfg(feature = "http")]
    pub(super) fn tell_publisher(&self, status: &RelayStatus) {
        if let (RelayDirection::Push, RemoteUrl::Rtmp(url)) = (self.direction, &*self.url) {
            let error = status.last_error.clone().filter(|_| !status.state.is_established());
            let (url, state) = (url.clone(), status.state);
            self.core.relays.tell(&self.stream, PushNews { url, state, error });
        }
    }

    /// Logs how many lines about ignored requests are held back that no later one has told.
    pub(super) fn tell_left_out(&self) {
        self.ignored.tell_left_out(&format!("reconnect requests of {} that were ignored", self.url), false);
    }

    /// Media flows: what went wrong before is over.
    pub(super) fn recovered(&self) {
        self.condition.lock().last_error = None;
    }

    /// Logs that the peer has granted the stream.
    pub(super) fn tell_begun(&self) {
        let (what, stream, url) = (self.direction, &self.stream, &self.url);
        match self.told {
            Told::Everybody => tracing::info!(%stream, %url, "{what} has begun"),
            Told::Log(_) => tracing::debug!(%stream, %url, "{what} has begun"),
        }
    }

    /// Remembers why an attempt ended. A new reason is logged as a warning, a repeated one only for debugging, and so is what ends
    /// because the engine does.
    pub(super) fn note(&self, error: &AttemptError) {
        let news = (error.kind, error.text.clone());
        let is_new = self.condition.lock().last_error.replace(news.clone()) != Some(news);
        let (what, stream, url) = (self.direction, &self.stream, &self.url);
        let left_out = match &self.told {
            _ if !is_new || self.core.draining.is_cancelled() => None,
            Told::Everybody => Some(0),
            Told::Log(limit) => limit.allow(),
        };
        match left_out.map(left_out_lines) {
            Some(left_out) => {
                tracing::warn!(%stream, %url, left_out, "{what} interrupted: {}", error.text)
            }
            None => tracing::debug!(%stream, %url, "{what} still interrupted: {}", error.text),
        }
    }

    pub(super) fn status(&self) -> RelayStatus {
        let output = self.output.lock().as_ref().and_then(Weak::upgrade);
        let queue = output.map_or_else(Queue::default, |output| output.queue());
        let condition = self.condition.lock();
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (last_error_kind, last_error) = condition.last_error.clone().unzip();
        RelayStatus {
            id: self.id,
            direction: self.direction,
            stream: self.stream.clone(),
            url: self.url.clone(),
            state: condition.state,
            since: condition.since.elapsed(),
            last_error,
            last_error_kind,
            attempts: read(&self.counters.attempts),
            retries: read(&self.counters.retries),
            bytes_sent: read(&self.counters.bytes_sent),
            bytes_acknowledged: read(&self.counters.bytes_acknowledged),
            bytes_received: read(&self.counters.bytes_received),
            frames: read(&self.counters.frames),
            frames_dropped: read(&self.counters.skipped),
            queue: queue.age,
            queue_bytes: queue.bytes,
            connected: condition.granted.map(|at| at.elapsed()),
            retry_in: condition.retry_at.map(|at| at.saturating_duration_since(Instant::now())),
        }
    }

    /// What comes of `attempt`, in no more than the time for connecting where the relay has one of its own.
    pub(super) async fn in_time<T>(
        &self,
        attempt: impl Future<Output = Result<T, AttemptError>>,
    ) -> Result<T, AttemptError> {
        match self.tuning().connect_timeout_ms {
            Some(limit) => timeout(ms(limit), attempt)
                .await
                .unwrap_or_else(|_| Err(AttemptError::late("connecting", limit))),
            None => attempt.await,
        }
    }

    /// Opens a connection to the host of its URL, which is looked up anew each time.
    pub(super) async fn dial(&self) -> Result<crate::net::Conn, AttemptError> {
        let url = &self.url;
        let own = self.tuning().tls;
        let tls = own.unwrap_or_else(|| self.core.config().tls.clone());
        let options = DialOptions {
            host: url.host().to_owned(),
            port: url.port(),
            tls: url.tls().then(|| DialTls::new(&tls)),
        };
        let on_step = |step| {
            self.enter(match step {
                DialStep::Resolving => RelayState::Resolving,
                DialStep::Connecting(_) | DialStep::Securing(_) => RelayState::Connecting,
            });
        };
        Ok(self.dialer.with_limits(&self.limits()).dial(&options, on_step).await?)
    }
}

/// How an attempt, or an established relay, came to its end.
#[derive(Debug)]
pub(super) struct AttemptError {
    pub(super) failure: Failure,
    pub(super) kind: ErrorKind,
    /// Fit for logs and statistics.
    pub(super) text: String,
    /// Whether [`OnRefusal::Fail`] may make this final: a refusal by the peer.
    pub(super) may_be_final: bool,
    pub(super) meaning: Meaning,
}

/// What the end of an attempt says of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Nothing.
    Nothing,
    /// The server has no such stream.
    NoSuchStream,
    /// Its publisher has ended it there.
    Over,
}

impl AttemptError {
    /// The connection is of no use any more.
    pub(super) fn lost(kind: ErrorKind, text: impl Into<String>) -> Self {
        Self {
            failure: Failure::Lost,
            kind,
            text: text.into(),
            may_be_final: false,
            meaning: Meaning::Nothing,
        }
    }

    /// The peer refused: its status code and its own words, without the secrets of `url` that it may quote.
    pub(super) fn refused(url: &RtmpUrl, code: &str, description: &str) -> Self {
        let (code, words) = (url.redact(code), url.redact(description));
        let text = match words.as_str() {
            "" => format!("refused: {}", Printable(&code)),
            words => format!("refused: {}: {}", Printable(&code), Printable(words)),
        };
        let meaning = match code.as_str() {
            "NetStream.Play.StreamNotFound" => Meaning::NoSuchStream,
            _ => Meaning::Nothing,
        };
        Self { failure: Failure::Refused, kind: ErrorKind::Rejected, text, may_be_final: true, meaning }
    }

    /// A step took longer than it may.
    pub(super) fn late(what: &str, limit_ms: u64) -> Self {
        Self::lost(ErrorKind::Timeout, format!("{what} took longer than {limit_ms} ms"))
    }

    /// The same, and what it says of the stream.
    pub(super) fn meaning(self, meaning: Meaning) -> Self {
        Self { meaning, ..self }
    }

    /// Something on our side does not let the relay go on for now.
    pub(super) fn held_back(kind: ErrorKind, text: impl Into<String>) -> Self {
        Self {
            failure: Failure::Refused,
            kind,
            text: text.into(),
            may_be_final: false,
            meaning: Meaning::Nothing,
        }
    }
}

impl From<Error> for AttemptError {
    fn from(error: Error) -> Self {
        Self::lost(error.kind(), error.to_string())
    }
}

impl From<ProtocolError> for AttemptError {
    fn from(error: ProtocolError) -> Self {
        Error::from(error).into()
    }
}

/// Why a connection came to an orderly end.
pub(super) enum Ended {
    /// The relay is to end.
    Stopped,
    /// Nothing is to be carried for now: the local stream has ended (push), nobody watches any more (pull).
    Idle,
    /// The server asked us to connect anew.
    Moved,
}

/// What follows a connection.
pub(super) enum NextStep {
    /// The relay ends in this state.
    End(RelayState),
    /// Another one as soon as there is something to carry.
    WhenNeeded,
    /// Another one after this time.
    After(Duration),
}

/// Decides when a relay tries again, and whether it does.
pub(super) struct Retry {
    backoff: Backoff,
    on_refusal: OnRefusal,
    /// Whether the stream has flowed for a while before: a refusal then is taken to be passing. Servers that look
    /// at the key only after their first answer refuse earlier.
    has_flowed: bool,
}

impl Retry {
    pub(super) fn new(on_refusal: OnRefusal) -> Self {
        Self { backoff: Backoff::default(), on_refusal, has_flowed: false }
    }

    /// The peer had granted the stream, and it flowed for `lasted`.
    pub(super) fn granted(&mut self, lasted: Duration) {
        self.has_flowed |= lasted >= STABLE.get();
        self.backoff.flowed(lasted);
    }

    /// What follows a connection that ended like this.
    pub(super) fn next(&mut self, relay: &Relay, ended: Result<Ended, AttemptError>) -> NextStep {
        let error = match ended {
            Ok(Ended::Stopped) => return NextStep::End(RelayState::Idle),
            Ok(Ended::Idle) => return NextStep::WhenNeeded,
            Ok(Ended::Moved) => AttemptError::lost(ErrorKind::Closed, "the server asked for a reconnect"),
            Err(error) => error,
        };
        relay.note(&error);
        let wait = self.wait_after(&error, &relay.tuning());
        let Some(wait) = wait else { return NextStep::End(RelayState::Failed) };
        relay.back_off(wait);
        NextStep::After(wait)
    }

    /// How long to wait after `error`, by what is asked for this relay now; `None` = give up for good.
    fn wait_after(&mut self, error: &AttemptError, tuning: &PushTuning) -> Option<Duration> {
        let is_final = error.may_be_final && self.on_refusal == OnRefusal::Fail && !self.has_flowed;
        if is_final || tuning.max_retries.is_some_and(|most| self.backoff.failures() >= most) {
            return None;
        }
        Some(self.backoff.after(error.failure, tuning.retry, Instant::now(), rand::random()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RetryTimes;

    #[test]
    fn a_target_with_times_of_its_own_is_tried_by_them_and_given_up_after_so_many_failures() {
        let retry_times = RetryTimes { min_ms: 100, max_ms: 500 };
        let tuning = PushTuning { retry: Some(retry_times), max_retries: Some(4), ..Default::default() };
        let mut retry = Retry::new(OnRefusal::Retry);
        let mut waits = |count| -> Vec<_> {
            let error = AttemptError::lost(ErrorKind::Refused, "refused");
            (0..count).map(|_| retry.wait_after(&error, &tuning).map(|wait| wait.as_millis())).collect()
        };
        let seen = waits(5);
        for (wait, least) in seen.iter().zip([100, 200, 400, 500]) {
            let wait = wait.unwrap();
            assert!(wait >= least && wait <= (least + least / 5).min(500), "{seen:?}");
        }
        assert_eq!(seen[4], None);
        retry.granted(STABLE.stated());
        let error = AttemptError::lost(ErrorKind::Reset, "gone");
        assert!(retry.wait_after(&error, &tuning).is_some(), "the stream has flowed: the count starts anew");
    }

    #[test]
    fn f30_a_refusal_is_final_only_where_asked_for_and_before_the_stream_has_flowed() {
        let (url, tuning) = ("rtmp://h/a/b".parse().unwrap(), PushTuning::default());
        let refusal = AttemptError::refused(&url, "NetStream.Publish.BadName", "already publishing");
        assert!(Retry::new(OnRefusal::Retry).wait_after(&refusal, &tuning).is_some());

        let mut retry = Retry::new(OnRefusal::Fail);
        assert!(retry.wait_after(&AttemptError::lost(ErrorKind::Reset, "gone"), &tuning).is_some());
        assert!(
            retry
                .wait_after(&AttemptError::held_back(ErrorKind::Exists, "local name taken"), &tuning)
                .is_some()
        );
        retry.granted(Duration::from_millis(100));
        assert_eq!(retry.wait_after(&refusal, &tuning), None, "granted first, refused right after");
        retry.granted(STABLE.stated());
        assert!(
            retry.wait_after(&refusal, &tuning).is_some(),
            "the target may still hold our lost connection"
        );
    }
}
