//! Who may publish and play: one decision point for every door.
//!
//! The embedding program decides by implementing [`Authorize`]. Without one, [`PublishRule`] applies.

use crate::Limits;
use crate::address::{Account, ByAddress};
use crate::budget::{Budget, Rate};
use crate::config::{Config, PublisherConfig};
use crate::id::SessionId;
use crate::key::{KeyError, Printable, Secret, StreamKey, StreamName};
use crate::limits::ms;
pub(crate) use crate::status::Door;
use crate::status::Protocol;
use bytes::{BufMut, Bytes, BytesMut};
use parking_lot::Mutex;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// To publish a stream.
    Publish,
    /// To play a stream.
    Play,
}

/// What a peer says of itself. Nobody has checked it, and it may hold secrets: `Debug` shows names only.
///
/// Kept in one piece, as it is as long as the connection.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Claims {
    /// Fields one after the other: a length of two bytes and the name, a length of four bytes and the text.
    fields: Bytes,
}

impl Claims {
    /// The software: `flashVer` of RTMP's `connect`, `User-Agent` of HTTP.
    pub const AGENT: &'static str = "flashVer";
    /// The URL that the peer says it has connected to: `tcUrl` of RTMP's `connect`.
    pub const URL: &'static str = "tcUrl";
    /// The page that the peer says it is on: `pageUrl` of RTMP's `connect`, `Referer` of HTTP.
    pub const PAGE: &'static str = "pageUrl";
    /// The site whose page asks, as browsers say: `Origin` of HTTP.
    pub const ORIGIN: &'static str = "origin";

    /// Claims by name and text.
    pub fn new<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut packed = BytesMut::new();
        for (name, text) in fields {
            if let (Ok(name_len), Ok(text_len)) = (u16::try_from(name.len()), u32::try_from(text.len())) {
                packed.put_u16(name_len);
                packed.put_slice(name.as_bytes());
                packed.put_u32(text_len);
                packed.put_slice(text.as_bytes());
            }
        }
        // Copied, so that no memory is held besides.
        Self { fields: Bytes::copy_from_slice(&packed) }
    }

    /// All fields, by name and text.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut rest = &self.fields[..];
        let mut take = move |len: usize| -> Option<&[u8]> {
            let (taken, left) = rest.split_at_checked(len)?;
            rest = left;
            Some(taken)
        };
        std::iter::from_fn(move || {
            let name_len = u16::from_be_bytes(take(2)?.try_into().ok()?);
            let name = std::str::from_utf8(take(name_len.into())?).ok()?;
            let text_len = u32::from_be_bytes(take(4)?.try_into().ok()?);
            Some((name, std::str::from_utf8(take(usize::try_from(text_len).ok()?)?).ok()?))
        })
    }

    /// The text of a field, such as [`Self::AGENT`] or `swfUrl`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find_map(|(field, text)| (field == name).then_some(text))
    }
}

/// Encoders put keys into URLs: texts are not shown.
impl fmt::Debug for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(name, _)| Printable(name).to_string())).finish()
    }
}

/// A request to publish or play, with all that is known of who asks, whatever the protocol. `Debug` shows nothing that may
/// be secret.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct AuthRequest {
    /// Publish or play.
    pub action: Action,
    /// The stream, with the secret and the query that came in its name.
    pub name: StreamName,
    /// The peer's address.
    pub peer: SocketAddr,
    /// The service that asks.
    pub door: Door,
    /// What the peer speaks.
    pub protocol: Protocol,
    /// What the peer says of itself.
    pub claims: Claims,
    /// The connection that asks, where it is one.
    pub session: Option<SessionId>,
}

impl AuthRequest {
    /// A request of somebody of whom no more is known.
    pub fn new(action: Action, name: StreamName, peer: SocketAddr, door: Door, protocol: Protocol) -> Self {
        Self { action, name, peer, door, protocol, claims: Claims::default(), session: None }
    }

    /// The stream's public name.
    pub fn stream(&self) -> &StreamKey {
        &self.name.key
    }
}

/// The right that was granted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grant {
    /// By which right: a user or key name. A publisher that is lost can be replaced by one with the same.
    pub principal: Option<String>,
    /// For a publisher: rules of its own in place of its app's.
    pub publisher: PublisherConfig,
}

/// A request that waits for its answer. Answer at once or later, from any thread; dropping it refuses.
#[derive(Debug)]
pub struct Ticket {
    answer: oneshot::Sender<Result<Grant, String>>,
}

impl Ticket {
    /// Grants the request.
    pub fn accept(self, grant: Grant) {
        // The peer may have left meanwhile: then nobody is interested in the answer.
        let _ = self.answer.send(Ok(grant));
    }

    /// Whether nobody waits for the answer any more: the peer has left, or the time is over.
    pub fn is_abandoned(&self) -> bool {
        self.answer.is_closed()
    }

    /// Refuses it. The encoder or player shows `reason`.
    pub fn reject(self, reason: impl Into<String>) {
        let _ = self.answer.send(Err(reason.into()));
    }

    /// One whose answer nobody hears.
    #[cfg(feature = "testing")]
    pub(crate) fn unheard() -> Self {
        Self { answer: oneshot::channel().0 }
    }
}

/// Decides who may publish and play.
///
/// `authorize` is called on an I/O thread and must not block: keep the ticket and answer it later where the
/// decision takes time. No answer within [`Limits::auth_timeout_ms`] is a refusal. Peers of an address that is refused often
/// wait for their answers, and the authoriser is asked less often for them ([`Limits::auth_failures_per_minute`]).
pub trait Authorize: Send + Sync + 'static {
    /// Decides `request`, now or later, through `ticket`.
    fn authorize(&self, request: AuthRequest, ticket: Ticket);

    /// Whether publishers may send a key behind a colon in the name (`STREAM:KEY`), which then is the request's
    /// [`StreamName::secret`], to be judged by [`Self::authorize`]. Where it is false, names with a colon are refused, as
    /// are all such names in `play`: two names never lead to one stream.
    fn takes_key_in_name(&self) -> bool {
        true
    }
}

impl<F: Fn(AuthRequest, Ticket) + Send + Sync + 'static> Authorize for F {
    fn authorize(&self, request: AuthRequest, ticket: Ticket) {
        self(request, ticket);
    }
}

/// The built-in rule for publishing; playing is open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum PublishRule {
    /// From this machine only. What a TCP proxy on this machine brings comes from this machine too, unless the proxy tells
    /// the true addresses ([`RtmpConfig::proxy_protocol_from`](crate::RtmpConfig::proxy_protocol_from)).
    #[default]
    Loopback,
    /// From anywhere with this key: in the query (`stream?key=KEY`) or behind a colon in the name (`stream:KEY`).
    Key(Secret),
    /// By anybody.
    Open,
}

impl PublishRule {
    /// The rule in one line, for the start of a server.
    pub fn describe(&self) -> &'static str {
        match self {
            Self::Loopback => "publishing: from this machine only (--publish-key KEY or --open to change)",
            Self::Key(_) => "publishing: with the key, as STREAM?key=KEY or STREAM:KEY",
            Self::Open => "publishing: open to everybody who can reach the port",
        }
    }

    fn decide(&self, request: &AuthRequest) -> Result<Grant, &'static str> {
        let by = |principal: &str| Ok(Grant { principal: Some(principal.to_owned()), ..Grant::default() });
        match (request.action, self) {
            (Action::Play, _) => Ok(Grant::default()),
            (Action::Publish, Self::Open) => by("open"),
            (Action::Publish, Self::Loopback) if is_loopback(request.peer) => by("loopback"),
            (Action::Publish, Self::Loopback) => Err(
                "publishing is allowed from the server's own machine only (--publish-key or --open, publish.key or \
                 publish.open change that)",
            ),
            (Action::Publish, Self::Key(key)) if request.name.has_key(key) => by("publish-key"),
            (Action::Publish, Self::Key(_)) => {
                Err("wrong or missing publish key; use STREAM?key=KEY or STREAM:KEY")
            }
        }
    }
}

impl Authorize for PublishRule {
    fn authorize(&self, request: AuthRequest, ticket: Ticket) {
        match self.decide(&request) {
            Ok(grant) => ticket.accept(grant),
            Err(reason) => ticket.reject(reason),
        }
    }

    fn takes_key_in_name(&self) -> bool {
        matches!(self, Self::Key(_))
    }
}

fn is_loopback(peer: SocketAddr) -> bool {
    peer.ip().to_canonical().is_loopback()
}

impl Config {
    /// The built-in rule for publishing that the configuration asks for.
    pub fn publish_rule(&self) -> PublishRule {
        match &self.publish.key {
            Some(key) => PublishRule::Key(key.clone()),
            None if self.publish.open => PublishRule::Open,
            None => PublishRule::Loopback,
        }
    }
}

/// Asks the authoriser and holds it to its time, whatever the door; peers that are refused often wait for their answers.
#[derive(Clone)]
pub(crate) struct Gate {
    authorizer: Arc<dyn Authorize>,
    timeout: Duration,
    failures: Arc<Failures>,
}

bound! {
    /// By how much an answer is put off, and how long others wait for their turn to ask
    /// (test `w10_who_guesses_keys_gets_few_answers`).
    const PUT_OFF: Duration = Duration::from_secs(3), without Duration::ZERO;
    /// Answers to one address that are put off at a time (test `w10_who_guesses_keys_gets_few_answers`).
    const MOST_PUT_OFF: usize = 4, without 1 << 20;
    /// Log lines about one address that is refused often (test `w10_who_guesses_keys_fills_no_log`).
    const FAILURE_LINES: Rate = Rate::new(1, Duration::from_secs(60)), without Rate::new(u64::MAX, Duration::from_secs(60));
}
/// What is told who is refused without asking.
const TOO_MANY_FAILURES: &str =
    "too many requests from this address are refused (wrong key?); try again in a minute";

/// Refused requests by address ([`Limits::auth_failures_per_minute`]).
///
/// Only refusals are slow: many people may share an address behind a NAT or a proxy, and one of them who tries a wrong key
/// again and again, with an answer in 3 s each time, takes no time from those who have the right one. Four who guess at
/// once do; but a grant gives its turn on at once, and it ends with the guessing. What is left of that is four guesses in
/// 3 s, whatever the number of connections.
struct Failures {
    rate: Rate,
    of: Mutex<ByAddress<OfAddress>>,
}

/// What is known of an address that has been refused.
struct OfAddress {
    budget: Budget,
    /// A turn to ask for each answer that may be put off, while the budget is spent.
    turns: Arc<Semaphore>,
    lines: Budget,
}

impl Default for OfAddress {
    fn default() -> Self {
        let turns = Arc::new(Semaphore::new(MOST_PUT_OFF.get()));
        Self { budget: Budget::default(), turns, lines: Budget::default() }
    }
}

impl Account for OfAddress {
    fn is_settled(&self, now: Instant) -> bool {
        self.budget.is_full(now) && self.lines.is_full(now) && Arc::strong_count(&self.turns) == 1
    }
}

impl Failures {
    /// Waits for the turn to ask, where the address has been refused often; an error where that takes too long.
    async fn turn(&self, peer: IpAddr) -> Result<Option<OwnedSemaphorePermit>, ()> {
        let turns = {
            let (now, mut of) = (Instant::now(), self.of.lock());
            let address = of.of(peer, now);
            match address.budget.has(self.rate, 1, now) {
                true => return Ok(None),
                false => address.turns.clone(),
            }
        };
        match tokio::time::timeout(PUT_OFF.get(), turns.acquire_owned()).await {
            Ok(Ok(turn)) => Ok(Some(turn)),
            _ => Err(()),
        }
    }

    /// Counts a refusal; whether its answer is to be put off.
    fn count(&self, peer: IpAddr) -> bool {
        let (now, mut of) = (Instant::now(), self.of.lock());
        let address = of.of(peer, now);
        let is_spent = !address.budget.spend(self.rate, 1, now);
        if is_spent && address.lines.spend(FAILURE_LINES.get(), 1, now) {
            tracing::warn!(
                %peer,
                "many requests of this address are refused: answers to more take {} s (limits.auth_failures_per_minute)",
                PUT_OFF.get().as_secs()
            );
        }
        is_spent
    }
}

impl Gate {
    pub(crate) fn new(authorizer: Arc<dyn Authorize>, limits: &Limits) -> Self {
        let limits = limits.in_force();
        let rate = Rate::new(limits.auth_failures_per_minute.into(), Duration::from_secs(60));
        let failures = Arc::new(Failures { rate, of: Mutex::default() });
        Self { authorizer, timeout: ms(limits.auth_timeout_ms), failures }
    }

    /// Takes the name of a request apart, as the authoriser has it.
    pub(crate) fn parse_name(&self, action: Action, app: &str, name: &str) -> Result<StreamName, KeyError> {
        match action {
            Action::Publish if self.authorizer.takes_key_in_name() => StreamName::parse(app, name),
            Action::Publish | Action::Play => StreamName::parse_without_key(app, name),
        }
    }

    /// The verdict, or the reason for the refusal in words that the peer may see.
    pub(crate) async fn decide(&self, request: AuthRequest) -> Result<Grant, String> {
        let peer = request.peer.ip();
        let Ok(_turn) = self.failures.turn(peer).await else { return Err(TOO_MANY_FAILURES.to_owned()) };
        let verdict = self.ask(request).await;
        match verdict {
            Ok(verdict) => {
                if verdict.is_err() && self.failures.count(peer) {
                    tokio::time::sleep(PUT_OFF.get()).await;
                }
                verdict
            }
            // Nobody has said that anything is wrong with the peer.
            Err(no_verdict) => Err(no_verdict.to_owned()),
        }
    }

    /// The authoriser's verdict, or why there is none.
    async fn ask(&self, request: AuthRequest) -> Result<Result<Grant, String>, &'static str> {
        let (answer, verdict) = oneshot::channel();
        self.authorizer.authorize(request, Ticket { answer });
        match tokio::time::timeout(self.timeout, verdict).await {
            Ok(Ok(verdict)) => Ok(verdict),
            Ok(Err(_dropped)) => Ok(Err("not authorised".to_owned())),
            Err(_elapsed) => Err("authorisation did not answer in time"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(action: Action, peer: &str, name: &str) -> AuthRequest {
        let name = StreamName::parse("live", name).unwrap();
        AuthRequest::new(action, name, peer.parse().unwrap(), Door::Rtmp, Protocol::Rtmp)
    }

    fn allows(rule: &PublishRule, peer: &str, name: &str) -> bool {
        rule.decide(&request(Action::Publish, peer, name)).is_ok()
    }

    #[test]
    fn publishing_is_for_this_machine_only_unless_opened() {
        let rule = PublishRule::default();
        for peer in ["127.0.0.1:1", "127.8.9.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert!(allows(&rule, peer, "a"), "{peer}");
        }
        for peer in ["192.0.2.1:1", "[2001:db8::1]:1", "[::ffff:192.0.2.1]:1"] {
            assert!(!allows(&rule, peer, "a"), "{peer}");
            assert!(allows(&PublishRule::Open, peer, "a"), "{peer}");
            assert!(rule.decide(&request(Action::Play, peer, "a")).is_ok(), "playing is open");
        }
    }

    #[test]
    fn a_publish_key_is_taken_from_query_or_name_and_nothing_else_opens() {
        let rule = PublishRule::Key(Secret::new("s3 cret"));
        for name in ["a?key=s3%20cret", "a?x=1&key=s3%20cret", "a:s3 cret", "a:s3 cret?key=s3%20cret"] {
            assert!(allows(&rule, "192.0.2.1:1", name), "{name}");
        }
        for name in [
            "a",
            "a?key=",
            "a?key=s3",
            "a?Key=s3%20cret",
            "a:s3 cret?key=x",
            "a:x?key=s3%20cret",
            "a?key=x&key=s3%20cret",
        ] {
            assert!(!allows(&rule, "127.0.0.1:1", name), "{name}");
        }
        for name in ["a", "a?key="] {
            let rule = PublishRule::Key(Secret::default());
            assert!(!allows(&rule, "127.0.0.1:1", name), "an empty key opens nothing");
        }
    }

    #[test]
    fn claims_are_kept_as_they_came_and_shown_by_name_only() {
        let claims = Claims::new([("flashVer", "FMLE/3.0"), ("tcUrl", "rtmp://h/live?5ecret"), ("", "\0é")]);
        assert_eq!(claims.get(Claims::AGENT), Some("FMLE/3.0"));
        assert_eq!((claims.get(""), claims.get("pageUrl")), (Some("\0é"), None));
        assert_eq!(claims.iter().count(), 3);
        let shown = format!("{claims:?}");
        assert!(shown.contains("tcUrl") && !shown.contains("5ecret"), "{shown}");
        assert_eq!(Claims::new([]), Claims::default());
    }

    #[tokio::test(start_paused = true)]
    async fn authorizer_without_answer_is_refusal() {
        let kept = Arc::new(parking_lot::Mutex::new(Vec::new()));
        let keep = kept.clone();
        let gate = Gate::new(
            Arc::new(move |_: AuthRequest, ticket: Ticket| keep.lock().push(ticket)),
            &Limits::default(),
        );
        let start = tokio::time::Instant::now();
        assert!(gate.decide(request(Action::Publish, "127.0.0.1:1", "a")).await.is_err());
        assert!(start.elapsed() <= Duration::from_millis(3_500), "{:?}", start.elapsed());

        let dropping = Gate::new(Arc::new(|_: AuthRequest, _: Ticket| {}), &Limits::default());
        assert!(
            dropping.decide(request(Action::Play, "127.0.0.1:1", "a")).await.is_err(),
            "a dropped ticket refuses"
        );
    }

    const NAT: &str = "192.0.2.1:1";

    /// A gate with a key that counts how often its authoriser is asked.
    fn keyed() -> (Gate, Arc<parking_lot::Mutex<usize>>) {
        let (rule, asked) = (PublishRule::Key(Secret::new("right")), Arc::new(parking_lot::Mutex::new(0)));
        let count = asked.clone();
        let authorizer = move |request: AuthRequest, ticket: Ticket| {
            *count.lock() += 1;
            rule.authorize(request, ticket);
        };
        (Gate::new(Arc::new(authorizer), &Limits::default()), asked)
    }

    async fn publish(gate: &Gate, peer: &str, name: &str) -> Result<Grant, String> {
        gate.decide(request(Action::Publish, peer, name)).await
    }

    /// Tries wrong keys one after the other, without end.
    fn guess(gate: &Gate) {
        let gate = gate.clone();
        tokio::spawn(async move {
            loop {
                publish(&gate, NAT, "a?key=wrong").await.unwrap_err();
                tokio::task::yield_now().await;
            }
        });
    }

    #[tokio::test(start_paused = true)]
    async fn w10_who_guesses_keys_gets_few_answers() {
        let (gate, asked) = keyed();
        (0..100).for_each(|_| guess(&gate));
        tokio::time::sleep(Duration::from_secs(60)).await;
        // Those of a minute at once, those that come together in it, and four in 3 s.
        let guesses = *asked.lock();
        assert!((60..=10 + 10 + 4 * 21).contains(&guesses), "{guesses} guesses in a minute");
        let start = Instant::now();
        publish(&gate, "192.0.2.2:1", "a?key=right").await.expect("another address does not notice");
        assert_eq!(start.elapsed(), Duration::ZERO);
        let refusals = async {
            loop {
                let reason = publish(&gate, NAT, "a?key=wrong").await.unwrap_err();
                if reason == TOO_MANY_FAILURES {
                    return;
                }
            }
        };
        refusals.await;
        assert!(start.elapsed() <= 4 * PUT_OFF.stated(), "told within moments: {:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn w10_who_guesses_keys_fills_no_log() {
        let (gate, _) = keyed();
        guess(&gate);
        tokio::time::sleep(Duration::from_secs(30)).await;
        let peer = NAT.parse::<std::net::SocketAddr>().unwrap().ip();
        let (now, mut of) = (Instant::now(), gate.failures.of.lock());
        assert!(
            !of.of(peer, now).lines.has(FAILURE_LINES.get(), 1, now),
            "it has been told once in this minute"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn w10_who_has_the_right_key_waits_for_nobody_who_tries_a_wrong_one() {
        let (gate, asked) = keyed();
        guess(&gate);
        tokio::time::sleep(Duration::from_secs(120)).await;
        assert!(*asked.lock() < 80, "{} answers", asked.lock());
        let start = Instant::now();
        for _ in 0..1_000 {
            publish(&gate, NAT, "a?key=right").await.expect("the key is right");
        }
        assert_eq!(start.elapsed(), Duration::ZERO, "of the same address, a thousand players say");
    }

    #[tokio::test(start_paused = true)]
    async fn w10_grants_cost_nothing_and_refusals_are_forgotten_after_a_minute() {
        let (gate, _) = keyed();
        let start = Instant::now();
        for _ in 0..1_000 {
            publish(&gate, NAT, "a?key=right").await.unwrap();
        }
        for _ in 0..2 {
            for _ in 0..10 {
                publish(&gate, NAT, "a").await.unwrap_err();
            }
            assert_eq!(start.elapsed().as_secs() % 60, 0, "at once");
            tokio::time::advance(Duration::from_secs(60)).await;
        }
        assert!(
            gate.failures
                .of
                .lock()
                .of(NAT.parse::<SocketAddr>().unwrap().ip(), Instant::now())
                .is_settled(Instant::now())
        );
    }

    #[tokio::test(start_paused = true)]
    async fn w10_an_authoriser_that_is_silent_is_not_held_against_the_peer() {
        let silent = Arc::new(parking_lot::Mutex::new(Vec::new()));
        let keep = silent.clone();
        let authorizer = move |_: AuthRequest, ticket: Ticket| keep.lock().push(ticket);
        let gate = Gate::new(Arc::new(authorizer), &Limits::default());
        for _ in 0..20 {
            let start = Instant::now();
            publish(&gate, NAT, "a").await.unwrap_err();
            assert!(start.elapsed() <= Duration::from_millis(3_100), "{:?}", start.elapsed());
        }
    }
}
