//! An HTTP service of the operator's: asked who may connect, publish and play, and told what happens.
//!
//! Verdicts are asked for once, within a time, and what is no answer is a refusal. What is told is told again where it does not
//! arrive, for a while.

mod caller;
mod wire;

use crate::auth::{Action, AuthRequest, Authorize, Claims, Grant, NoGrant, Ticket};
use crate::budget::Rate;
use crate::config::{Config, HooksConfig, WhenAway};
use crate::events::Event;
use crate::hops;
use crate::id::SessionId;
use crate::key::StreamKey;
use crate::limits::ms;
use crate::log_limit::LogLimit;
use crate::sessions::{Measured, Sessions};
use crate::url::HookUrl;
use caller::{Caller, Message, NoReply};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep};
use tokio_util::sync::CancellationToken;
use wire::{Asked, Moment, Verdict, Who};

bound! {
    /// What waits to be told (test `a_service_that_is_away_costs_no_more_than_so_many_messages`).
    const WAITING: usize = 1_024, without 1 << 20;
    /// Requests that are under way at a time, but for verdicts
    /// (test `a_slow_service_is_asked_by_a_few_at_a_time_whether_many_may_go_on`).
    const AT_ONCE: usize = 16, without usize::MAX;
}
/// How long it takes until what did not arrive is told again.
const AGAIN: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(4), Duration::from_secs(15)];
/// Log lines about the service.
const LINES: Rate = Rate::new(1, Duration::from_secs(10));
/// How exactly times of updates are kept.
const TICK: Duration = Duration::from_millis(500);
/// What a peer is told.
const AWAY: &str = "the service that decides here cannot be reached now; try again in a moment";
const NONSENSE: &str = "the service that decides here has given no answer that can be understood";

/// Asks the service and tells it. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Hooks {
    shared: Arc<Shared>,
}

struct Shared {
    config: HooksConfig,
    /// What SRS's form calls the server: another one after each start.
    engine: String,
    caller: Caller,
    /// Connections that have asked for something, by what the service has to know of them.
    visits: Mutex<HashMap<SessionId, Visit>>,
    tell: mpsc::Sender<Notice>,
    /// Taken by who tells.
    to_tell: Mutex<Option<mpsc::Receiver<Notice>>>,
    log: LogLimit,
}

/// A connection.
struct Visit {
    who: Who,
    /// Whether it has come by `connect`.
    is_rtmp: bool,
    /// What it has asked for last, and gets next.
    asked: Option<Asked>,
    live: Vec<Live>,
}

impl Visit {
    fn of(who: Who, is_rtmp: bool) -> Self {
        Self { who, is_rtmp, asked: None, live: Vec::new() }
    }
}

/// What goes on on a connection.
struct Live {
    action: Action,
    /// The stream by its public name.
    stream: StreamKey,
    /// As it was asked for.
    asked: Asked,
    since: Instant,
    /// When it is asked next whether that may go on.
    next: Instant,
}

/// Something that is told.
struct Notice {
    url: HookUrl,
    message: Message,
}

/// Something that is asked while it goes on.
struct Update {
    session: SessionId,
    message: Message,
}

impl Hooks {
    /// Hooks as the configuration has them; none where it has no URL. Needs no runtime.
    pub(crate) fn new(config: &Config) -> Option<Self> {
        config.hooks.urls().next()?;
        let (tell, to_tell) = mpsc::channel(WAITING.get());
        let shared = Shared {
            config: config.hooks.clone(),
            engine: hops::new_id(),
            caller: Caller::new(config),
            visits: Mutex::default(),
            tell,
            to_tell: Mutex::new(Some(to_tell)),
            log: LogLimit::new(LINES),
        };
        Some(Self { shared: Arc::new(shared) })
    }

    /// Whether `connect` waits for the service.
    pub(crate) fn decides_connect(&self) -> bool {
        self.shared.config.on_connect.is_some()
    }

    /// Notes who has come by `connect`.
    pub(crate) fn note_connect(
        &self,
        session: SessionId,
        peer: SocketAddr,
        claims: Claims,
        app: &str,
        measured: Arc<dyn Measured>,
    ) {
        let (app, args) = app.split_once('?').unwrap_or((app, ""));
        let who = Who { session, peer, claims, app: app.to_owned(), app_args: args.to_owned(), measured };
        self.shared.visits.lock().insert(session, Visit::of(who, true));
    }

    /// Notes what a connection asks for.
    pub(crate) fn note_request(&self, request: &AuthRequest, measured: Arc<dyn Measured>) {
        let Some(session) = request.session else { return };
        let mut visits = self.shared.visits.lock();
        let visit = visits.entry(session).or_insert_with(|| {
            let (claims, app) = (request.claims.clone(), request.stream().app().to_owned());
            let who = Who { session, peer: request.peer, claims, app, app_args: String::new(), measured };
            Visit::of(who, false)
        });
        visit.asked = Some(Asked::new(&request.name));
    }

    /// Asks whether a connection may go on after `connect`: the app, where it gets another; or the reason for the refusal.
    pub(crate) async fn connect(self, session: SessionId) -> Result<Option<String>, NoGrant> {
        let shared = &self.shared;
        let Some(url) = &shared.config.on_connect else { return Ok(None) };
        let Some(message) = shared.message_of(session, &Moment::Connect) else { return Ok(None) };
        match shared.caller.call(url, message).await {
            Ok(reply) => wire::connect_verdict(shared.config.style, &reply).map_err(NoGrant::Refused),
            Err(error) => shared.without_reply(url, &error).map_err(NoGrant::Failed),
        }
    }

    /// Watches what happens: what has begun, and what has ended.
    pub(crate) fn on_event(&self, event: &Event) {
        match event {
            Event::StreamStarted { stream, session: Some(session), .. } => {
                self.shared.begin(*session, Action::Publish, stream);
            }
            Event::PlayStarted { stream, session, .. } => self.shared.begin(*session, Action::Play, stream),
            Event::StreamEnded { stream, session: Some(session), .. } => {
                self.shared.end(*session, Action::Publish, stream);
            }
            Event::PlayEnded { stream, session, .. } => self.shared.end(*session, Action::Play, stream),
            Event::SessionClosed { session, .. } => self.shared.leave(*session),
            _ => {}
        }
    }

    /// Tells the service what there is to tell, and asks it whether what runs may go on, until the engine has drained and all
    /// connections are gone.
    pub(crate) async fn run(self, sessions: Sessions, draining: CancellationToken) {
        let Some(mut to_tell) = self.shared.to_tell.lock().take() else { return };
        if self.shared.config.urls().any(|url| url.as_http().tls()) {
            self.shared.caller.prepare().await;
        }
        let (mut under_way, mut ticks, mut due) = (JoinSet::new(), interval(TICK), Vec::new());
        loop {
            while under_way.len() < AT_ONCE.get()
                && let Some(update) = due.pop()
            {
                under_way.spawn(self.shared.clone().update(update, sessions.clone()));
            }
            tokio::select! {
                Some(notice) = to_tell.recv(), if under_way.len() < AT_ONCE.get() => {
                    under_way.spawn(self.shared.clone().told(notice, draining.clone()));
                }
                Some(_ended) = under_way.join_next() => {}
                _ = ticks.tick() => {
                    let is_over = draining.is_cancelled() && sessions.count() == 0;
                    if is_over && to_tell.is_empty() && under_way.is_empty() {
                        return;
                    }
                    // A service that is slow is asked less often.
                    if due.is_empty() {
                        due = self.shared.due();
                    }
                }
            }
        }
    }
}

impl Shared {
    fn message(&self, who: &Who, moment: &Moment<'_>) -> Message {
        wire::message(&self.config, &self.engine, who, moment)
    }

    /// The message for a moment of a connection, while that is there.
    fn message_of(&self, session: SessionId, moment: &Moment<'_>) -> Option<Message> {
        self.visits.lock().get(&session).map(|visit| self.message(&visit.who, moment))
    }

    fn begin(&self, session: SessionId, action: Action, stream: &StreamKey) {
        let mut visits = self.visits.lock();
        let Some(visit) = visits.get_mut(&session) else { return };
        let Some(asked) = visit.asked.take() else { return };
        let now = Instant::now();
        let next = now + ms(self.config.update_every_ms);
        visit.live.push(Live { action, stream: stream.clone(), asked, since: now, next });
    }

    fn end(&self, session: SessionId, action: Action, stream: &StreamKey) {
        let mut visits = self.visits.lock();
        let Some(visit) = visits.get_mut(&session) else { return };
        let is_it = |live: &Live| live.action == action && live.stream == *stream;
        let Some(at) = visit.live.iter().position(is_it) else { return };
        let Live { asked, .. } = visit.live.swap_remove(at);
        let own = match action {
            Action::Publish => &self.config.on_publish_done,
            Action::Play => &self.config.on_play_done,
        };
        self.tell(own.as_ref(), &visit.who, &Moment::Done(action, &asked));
        self.tell(self.config.on_done.as_ref(), &visit.who, &Moment::AnyDone(&asked));
    }

    fn leave(&self, session: SessionId) {
        let Some(visit) = self.visits.lock().remove(&session) else { return };
        if visit.is_rtmp {
            self.tell(self.config.on_disconnect.as_ref(), &visit.who, &Moment::Disconnect);
        }
    }

    fn tell(&self, url: Option<&HookUrl>, who: &Who, moment: &Moment<'_>) {
        let Some(url) = url else { return };
        let notice = Notice { url: url.clone(), message: self.message(who, moment) };
        if self.tell.try_send(notice).is_err() {
            self.warn("what it should be told is left out: too much waits already");
        }
    }

    fn warn(&self, text: &str) {
        if let Some(left_out) = self.log.allow() {
            tracing::warn!(left_out, "hooks: {text}");
        }
    }

    /// Tells it until it arrives. What it answers is nothing to us.
    async fn told(self: Arc<Self>, notice: Notice, draining: CancellationToken) {
        let Notice { url, message } = notice;
        for wait in AGAIN {
            let Err(error) = self.caller.call(&url, message.clone()).await else { return };
            self.warn(&format!("{url}: {error}; it is told again"));
            if draining.run_until_cancelled(sleep(wait)).await.is_none() {
                break;
            }
        }
        if let Err(error) = self.caller.call(&url, message).await {
            self.warn(&format!("{url}: {error}; it has not been told"));
        }
    }

    /// What is to be asked now, whether it may go on.
    fn due(&self) -> Vec<Update> {
        if self.config.on_update.is_none() {
            return Vec::new();
        }
        let (now, every) = (Instant::now(), ms(self.config.update_every_ms));
        let mut updates = Vec::new();
        for (&session, visit) in &mut *self.visits.lock() {
            for live in visit.live.iter_mut().filter(|live| live.next <= now) {
                live.next = now + every;
                let since = now - live.since;
                let moment = Moment::Update { action: live.action, asked: &live.asked, since };
                updates.push(Update { session, message: self.message(&visit.who, &moment) });
            }
        }
        updates
    }

    async fn update(self: Arc<Self>, update: Update, sessions: Sessions) {
        let Some(url) = &self.config.on_update else { return };
        let verdict = match self.caller.call(url, update.message).await {
            Ok(reply) => wire::may_go_on(&self.config, &reply),
            // A service that is away ends nothing that runs.
            Err(error) if error.is_away || !self.config.update_strict => {
                self.warn(&format!("{url}: {error}; what runs goes on"));
                Ok(())
            }
            Err(error) => Err(self.log_nonsense(url, &error.text)),
        };
        if let Err(reason) = verdict {
            sessions.kick(update.session, &reason);
        }
    }

    /// Adds to a grant where else the stream goes, where somebody is asked for that.
    async fn forward(
        &self,
        action: Action,
        session: SessionId,
        asked: &Asked,
        mut grant: Grant,
    ) -> Result<Grant, String> {
        let Some(url) = self.config.on_forward.as_ref().filter(|_| action == Action::Publish) else {
            return Ok(grant);
        };
        let Some(message) = self.message_of(session, &Moment::Forward(asked)) else { return Ok(grant) };
        match self.caller.call(url, message).await {
            Ok(reply) => match wire::forwards(&reply) {
                Some(urls) => grant.push.extend(urls),
                None => return Err(self.log_nonsense(url, "the answer has no list of URLs")),
            },
            Err(error) => self.without_reply::<()>(url, &error)?,
        }
        Ok(grant)
    }

    fn log_nonsense(&self, url: &HookUrl, text: &str) -> String {
        self.warn(&format!("{url}: {text}; who asks is refused"));
        NONSENSE.to_owned()
    }

    /// What happens to whoever asks where there is no reply: let in without more, or the reason for the refusal.
    fn without_reply<T: Default>(&self, url: &HookUrl, error: &NoReply) -> Result<T, String> {
        match (error.is_away, self.config.when_away) {
            (true, WhenAway::Allow) => {
                self.warn(&format!("{url}: {error}; whoever asks is let in (hooks.when_away)"));
                Ok(T::default())
            }
            (true, WhenAway::Refuse) => {
                self.warn(&format!("{url}: {error}; whoever asks is refused"));
                Err(AWAY.to_owned())
            }
            (false, _) => Err(self.log_nonsense(url, &error.text)),
        }
    }

    fn url(&self, action: Action) -> Option<&HookUrl> {
        match action {
            Action::Publish => self.config.on_publish.as_ref(),
            Action::Play => self.config.on_play.as_ref(),
        }
    }
}

impl Authorize for Hooks {
    fn authorize(&self, request: AuthRequest, ticket: Ticket) {
        let (shared, action) = (self.shared.clone(), request.action);
        let Some(url) = shared.url(action).cloned() else { return ticket.pass() };
        let asked = Asked::new(&request.name);
        let Some(session) = request.session else { return ticket.fail(AWAY) };
        let message = shared.message_of(session, &Moment::Ask(action, &asked));
        // The connection is gone.
        let Some(message) = message else { return ticket.fail(AWAY) };
        tokio::spawn(async move {
            match shared.caller.call(&url, message).await {
                Ok(reply) => match wire::verdict(shared.config.style, action, request.stream(), &reply) {
                    Verdict::Allow(grant) => match shared.forward(action, session, &asked, *grant).await {
                        Ok(grant) => ticket.accept(grant),
                        Err(reason) => ticket.fail(reason),
                    },
                    Verdict::Deny(reason) => ticket.reject(reason),
                    Verdict::Pass => ticket.pass(),
                    Verdict::Nonsense(text) => ticket.fail(shared.log_nonsense(&url, &text)),
                },
                Err(error) => match shared.without_reply(&url, &error) {
                    Ok(grant) => ticket.accept(grant),
                    Err(reason) => ticket.fail(reason),
                },
            }
        });
    }

    fn takes_key_for_name(&self) -> bool {
        self.shared.config.is_asked()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sessions::tests::Nothing;

    #[tokio::test]
    async fn a_service_that_is_away_costs_no_more_than_so_many_messages() {
        let config = Config::from_toml("[hooks]\non_disconnect = \"http://127.0.0.1:1/\"").unwrap();
        let hooks = Hooks::new(&config).unwrap();
        let peer = ([192, 0, 2, 7], 4_000).into();
        for _ in 0..2 * WAITING.stated() {
            let session = SessionId::new();
            hooks.note_connect(session, peer, Claims::default(), "live", Arc::new(Nothing));
            hooks.on_event(&Event::SessionClosed { session, peer, reason: String::new() });
        }
        let waiting = hooks.shared.to_tell.lock().as_ref().unwrap().len();
        assert_eq!(waiting, WAITING.stated());
        assert!(hooks.shared.visits.lock().is_empty(), "nothing is kept of who has left");
    }
}
