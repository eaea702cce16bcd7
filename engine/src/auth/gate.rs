//! Asks the deciders, holds them to their time, and slows down peers that are refused often.

use super::{Action, Answer, AuthRequest, Authorize, Grant, Ticket};
use crate::Limits;
use crate::address::{Account, ByAddress};
use crate::budget::{Budget, Rate};
use crate::key::{KeyError, StreamName};
use crate::limits::ms;
use parking_lot::Mutex;
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// Asks one decider after the other until one does not pass, and holds them to their time, whatever the door; peers that are
/// refused often wait for their answers.
#[derive(Clone)]
pub(crate) struct Gate {
    deciders: Arc<[Arc<dyn Authorize>]>,
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
    of: Arc<Mutex<ByAddress<OfAddress>>>,
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
    pub(crate) fn new(deciders: &[Arc<dyn Authorize>], limits: &Limits) -> Self {
        let limits = limits.in_force();
        let rate = Rate::new(limits.auth_failures_per_minute.into(), Duration::from_secs(60));
        let failures = Arc::new(Failures { rate, of: Arc::default() });
        Self { deciders: deciders.into(), timeout: ms(limits.auth_timeout_ms), failures }
    }

    /// This gate in place of another: it knows who has been refused there.
    pub(crate) fn in_place_of(mut self, other: &Self) -> Self {
        let (rate, of) = (self.failures.rate, other.failures.of.clone());
        self.failures = Arc::new(Failures { rate, of });
        self
    }

    /// Takes the name of a request apart, as the deciders have it.
    pub(crate) fn parse_name(&self, action: Action, app: &str, name: &str) -> Result<StreamName, KeyError> {
        let takes_key = action == Action::Publish && self.any(Authorize::takes_key_in_name);
        let parse = if takes_key { StreamName::parse } else { StreamName::parse_without_key };
        let mut name = parse(app, name)?;
        name.may_be_key = self.any(Authorize::takes_key_for_name);
        Ok(name)
    }

    fn any(&self, does: impl Fn(&dyn Authorize) -> bool) -> bool {
        self.deciders.iter().any(|decider| does(&**decider))
    }

    /// The verdict, or the reason for the refusal in words that the peer may see.
    pub(crate) async fn decide(&self, request: AuthRequest) -> Result<Grant, String> {
        self.judge(request.peer.ip(), self.ask_all(request)).await.map_err(NoGrant::into_words)
    }

    /// Holds whoever decides to the time for that, and a peer to its refusals; what is no refusal, for which nobody has said that
    /// anything is wrong with the peer, is not counted.
    pub(crate) async fn judge<T>(
        &self,
        peer: IpAddr,
        asking: impl Future<Output = Result<T, NoGrant>>,
    ) -> Result<T, NoGrant> {
        let failed = |reason: &str| Err(NoGrant::Failed(reason.to_owned()));
        let Ok(_turn) = self.failures.turn(peer).await else { return failed(TOO_MANY_FAILURES) };
        match tokio::time::timeout(self.timeout, asking).await {
            Ok(judged) => {
                if matches!(judged, Err(NoGrant::Refused(_))) && self.failures.count(peer) {
                    tokio::time::sleep(PUT_OFF.get()).await;
                }
                judged
            }
            Err(_elapsed) => failed("authorisation did not answer in time"),
        }
    }

    async fn ask_all(&self, request: AuthRequest) -> Result<Grant, NoGrant> {
        for decider in &*self.deciders {
            let (ticket, answer) = Ticket::new();
            decider.authorize(request.clone(), ticket);
            match answer.await {
                Ok(Answer::Granted(grant)) => return Ok(*grant),
                Ok(Answer::Refused(reason)) => return Err(NoGrant::Refused(reason)),
                Ok(Answer::Failed(reason)) => return Err(NoGrant::Failed(reason)),
                Ok(Answer::Passed) => {}
                Err(_dropped) => break,
            }
        }
        Err(NoGrant::Refused("not authorised".to_owned()))
    }
}

/// Why nothing is granted, in words that the peer may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NoGrant {
    /// That is the verdict.
    Refused(String),
    /// There is no verdict.
    Failed(String),
}

impl NoGrant {
    pub(crate) fn into_words(self) -> String {
        match self {
            Self::Refused(reason) | Self::Failed(reason) => reason,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::PublishRule;
    use super::super::tests::request;
    use super::*;
    use crate::key::Secret;
    use std::net::SocketAddr;

    #[tokio::test(start_paused = true)]
    async fn authorizer_without_answer_is_refusal() {
        let kept = Arc::new(parking_lot::Mutex::new(Vec::new()));
        let keep = kept.clone();
        let gate = Gate::new(
            &[Arc::new(move |_: AuthRequest, ticket: Ticket| keep.lock().push(ticket))],
            &Limits::default(),
        );
        let start = tokio::time::Instant::now();
        assert!(gate.decide(request(Action::Publish, "127.0.0.1:1", "a")).await.is_err());
        assert!(start.elapsed() <= Duration::from_millis(3_500), "{:?}", start.elapsed());

        let dropping = Gate::new(&[Arc::new(|_: AuthRequest, _: Ticket| {})], &Limits::default());
        assert!(
            dropping.decide(request(Action::Play, "127.0.0.1:1", "a")).await.is_err(),
            "a dropped ticket refuses"
        );
    }

    /// A decider that answers after so many milliseconds.
    fn says(after_ms: u64, answer: fn(Ticket)) -> Arc<dyn Authorize> {
        Arc::new(move |_: AuthRequest, ticket: Ticket| {
            tokio::spawn(async move {
                tokio::time::sleep(ms(after_ms)).await;
                answer(ticket);
            });
        })
    }

    #[tokio::test(start_paused = true)]
    async fn what_one_decider_passes_the_next_decides_and_what_all_pass_is_refused() {
        let passes = || says(0, Ticket::pass);
        let grants = || says(0, |ticket| ticket.accept(Grant::default().principal("alice".to_owned())));
        let refuses = || says(0, |ticket| ticket.reject("no"));
        for (deciders, expected) in [
            (vec![passes(), grants(), refuses()], Ok("alice")),
            (vec![passes(), passes(), refuses(), grants()], Err("no")),
            (vec![passes(), passes()], Err("not authorised")),
            (vec![passes(), says(0, drop), grants()], Err("not authorised")),
            (vec![], Err("not authorised")),
            // Two that are slow take no more time than one.
            (
                vec![says(2_000, Ticket::pass), says(2_000, |ticket| ticket.accept(Grant::default()))],
                Err("authorisation did not answer in time"),
            ),
        ] {
            let gate = Gate::new(&deciders, &Limits::default());
            let verdict = gate.decide(request(Action::Publish, "192.0.2.1:1", "a")).await;
            let verdict = verdict.as_ref().map(|grant| grant.principal.as_deref().unwrap_or_default());
            assert_eq!(verdict.map_err(String::as_str), expected);
        }
    }

    struct TakesKeys;

    impl Authorize for TakesKeys {
        fn authorize(&self, _: AuthRequest, ticket: Ticket) {
            ticket.pass();
        }

        fn takes_key_for_name(&self) -> bool {
            true
        }
    }

    #[test]
    fn f40_what_may_be_a_key_is_no_name_to_tell() {
        let parse = |deciders: &[Arc<dyn Authorize>]| {
            Gate::new(deciders, &Limits::default()).parse_name(Action::Play, "live", "5ecret").unwrap()
        };
        let (name, key) = (
            parse(&[Arc::new(PublishRule::Open)]),
            parse(&[Arc::new(TakesKeys), Arc::new(PublishRule::Open)]),
        );
        assert_eq!(name.tellable().unwrap().as_str(), "live/5ecret");
        assert_eq!(key.tellable(), None);
        assert!(format!("{name:?}").contains("5ecret") && !format!("{key:?}").contains("5ecret"), "{key:?}");
        assert!(format!("{key:?}").contains("live/***"), "{key:?}");
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
        (Gate::new(&[Arc::new(authorizer)], &Limits::default()), asked)
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
        let gate = Gate::new(&[Arc::new(authorizer)], &Limits::default());
        for _ in 0..20 {
            let start = Instant::now();
            publish(&gate, NAT, "a").await.unwrap_err();
            assert!(start.elapsed() <= Duration::from_millis(3_100), "{:?}", start.elapsed());
        }
    }
}
