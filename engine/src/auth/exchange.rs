//! User and password at `connect`, in the form `authmod=adobe`: who has shown that he has a password, without having sent it.
//!
//! ```text
//! connect app                                      -> ... code=403 need auth; authmod=adobe
//! connect app?authmod=adobe&user=U                 -> ... ?reason=needauth&user=U&salt=S&challenge=T&opaque=O
//! connect app?authmod=adobe&user=U&challenge=C&response=R&opaque=O        -> accepted, or reason=authfailed
//! ```
//!
//! Each line is a connection of its own, and nothing is remembered between them: what the server has to know again is in `opaque`,
//! which nobody else can make.

use super::gate::NoGrant;
use super::{Claims, Proven};
use crate::config::Config;
use crate::key::{Secret, random};
use crate::{Error, ErrorKind, Result, adobe};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use percent_encoding::percent_decode_str;
use ring::hmac;
use ring::rand::SystemRandom;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

bound! {
    /// How long an answer is taken for what was asked (test `an_answer_is_good_for_a_minute_its_user_and_its_address`).
    const GOOD_FOR: Duration = Duration::from_secs(60), without Duration::from_secs(1 << 30);
    /// Longest name of a user, in bytes: ffmpeg cuts what it is asked off after 255
    /// (test `what_is_asked_is_short_enough_for_ffmpeg`).
    const MAX_USER: usize = 64, without usize::MAX;
}
/// What makes each question another one: few bytes, for the same reason.
const NONCE_LEN: usize = 9;
/// Characters of it that are the challenge, which is there for those who expect one.
const CHALLENGE_LEN: usize = 8;

/// What a peer is told; encoders look for these words.
const NEED_AUTH: &str = "[ AccessManager.Reject ] : [ code=403 need auth; authmod=adobe ] : ";
/// The same for all: it says nothing of who is known.
pub(crate) const AUTH_FAILED: &str = "[ AccessManager.Reject ] : [ authmod=adobe ] : ?reason=authfailed";

/// What only we tell.
const NO_USER: &str = "no user, or none of 1 to 64 letters, digits and _ . - @ + ~ (authmod=adobe)";
const WRONG: &str = "wrong user or password (authmod=adobe)";
const STALE: &str =
    "the answer is to nothing that was asked of this user and address within a minute (authmod=adobe)";

/// By what the password of a user is known.
pub(crate) struct Known {
    pub(crate) salt: String,
    /// [`adobe::verifier`] with this salt, or in words why there is none.
    pub(crate) verifier: std::result::Result<Secret, &'static str>,
}

/// Whoever knows passwords of users. Those that it does not know have a salt, too, which is always the same.
pub(crate) trait Passwords: Send + Sync + 'static {
    fn find(&self, user: &str) -> Finding;
}

pub(crate) type Finding = Pin<Box<dyn Future<Output = std::result::Result<Known, NoGrant>> + Send>>;

/// Asks encoders for user and password. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Exchange {
    shared: Arc<Shared>,
}

struct Shared {
    /// Of this engine alone, and forgotten with it.
    secret: hmac::Key,
    /// What the times of questions count from.
    since: Instant,
    /// Good for every user.
    publish_key: Option<Secret>,
    users: Option<Arc<dyn Passwords>>,
}

/// How far a peer has come.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// It has to be told that there is something to show.
    Begin,
    /// It has named its user.
    Named { user: String },
    /// It has answered.
    Answered(Answered),
    /// What it has sent is nothing of that.
    Nonsense,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answered {
    user: String,
    challenge: String,
    response: String,
    opaque: String,
}

/// What comes of a step.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The peer is told this, and comes again.
    Ask(String),
    Proven(Proven),
}

impl Exchange {
    /// One as the configuration has it, if it does; `users` are others than the publish key.
    pub(crate) fn new(config: &Config, users: Option<Arc<dyn Passwords>>) -> Result<Option<Self>> {
        if !config.publish.authmod_adobe {
            return Ok(None);
        }
        let secret = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
            .map_err(|_| Error::new(ErrorKind::Io, "the operating system gives no random numbers"))?;
        let publish_key = config.publish.key.clone();
        let shared = Shared { secret, since: Instant::now(), publish_key, users };
        Ok(Some(Self { shared: Arc::new(shared) }))
    }

    /// What a peer takes part in by `connect`; players are asked for nothing.
    pub(crate) fn step(&self, app: &str, claims: &Claims) -> Option<Step> {
        match split(app).1.map(Fields) {
            Some(fields) if fields.value("authmod").as_deref() == Some("adobe") => Some(fields.step()),
            _ => is_encoder(claims).then_some(Step::Begin),
        }
    }

    pub(crate) async fn take(self, step: Step, peer: IpAddr) -> std::result::Result<Outcome, NoGrant> {
        match step {
            Step::Begin => Ok(Outcome::Ask(NEED_AUTH.to_owned())),
            Step::Nonsense => Err(NoGrant::Refused(NO_USER.to_owned())),
            Step::Named { user } => {
                let (salt, opaque) = (self.known(&user).await?.salt, self.shared.opaque(&user, peer)?);
                let challenge = opaque.get(..CHALLENGE_LEN).unwrap_or_default();
                Ok(Outcome::Ask(format!(
                    "[ AccessManager.Reject ] : [ authmod=adobe ] : \
                     ?reason=needauth&user={user}&salt={salt}&challenge={challenge}&opaque={opaque}"
                )))
            }
            Step::Answered(answered) => {
                let known = self.known(&answered.user).await?;
                let proven = self.shared.judge(answered, &known, peer);
                proven.map(Outcome::Proven).map_err(|reason| NoGrant::Refused(reason.to_owned()))
            }
        }
    }

    async fn known(&self, user: &str) -> std::result::Result<Known, NoGrant> {
        match &self.shared.users {
            Some(users) => users.find(user).await,
            None => Ok(Known { salt: salt(&self.shared.secret, user), verifier: Err(WRONG) }),
        }
    }
}

impl Shared {
    /// What is asked of a user at an address now.
    fn opaque(&self, user: &str, peer: IpAddr) -> std::result::Result<String, NoGrant> {
        let mut opaque = random(NONCE_LEN).map_err(|error| NoGrant::Failed(error.to_string()))?;
        let at = u32::try_from(self.since.elapsed().as_secs()).unwrap_or(u32::MAX);
        opaque.extend(at.to_be_bytes());
        let tag = hmac::sign(&self.secret, &signed(&opaque, user, peer));
        opaque.extend(tag.as_ref());
        Ok(URL_SAFE_NO_PAD.encode(opaque))
    }

    /// Whether that was asked of this user at this address a short time ago.
    fn has_asked(&self, opaque: &str, user: &str, peer: IpAddr) -> bool {
        let Ok(bytes) = URL_SAFE_NO_PAD.decode(opaque) else { return false };
        let Some((head, tag)) = bytes.split_at_checked(NONCE_LEN + size_of::<u32>()) else { return false };
        let at = head.get(NONCE_LEN..).and_then(|at| Some(u32::from_be_bytes(at.try_into().ok()?)));
        let age = at.and_then(|at| self.since.elapsed().checked_sub(Duration::from_secs(at.into())));
        hmac::verify(&self.secret, &signed(head, user, peer), tag).is_ok()
            && age.is_some_and(|age| age <= GOOD_FOR.get())
    }

    fn judge(
        &self,
        answered: Answered,
        known: &Known,
        peer: IpAddr,
    ) -> std::result::Result<Proven, &'static str> {
        let Answered { user, challenge, response, opaque } = answered;
        let is_answer =
            |verifier: &str| Secret::new(adobe::response(verifier, &opaque, &challenge)).matches(&response);
        // Whoever is not known takes as long.
        let digest = known.verifier.as_ref().map(Secret::expose);
        let is_key = is_answer(digest.unwrap_or_default()) && digest.is_ok();
        let publish_key = self.publish_key.as_ref().map(Secret::expose);
        let is_publish_key =
            publish_key.is_some_and(|key| is_answer(&adobe::verifier(&user, &known.salt, key)));
        match () {
            () if !self.has_asked(&opaque, &user, peer) => Err(STALE),
            () if is_key => Ok(Proven::Key(user)),
            () if is_publish_key => Ok(Proven::PublishKey),
            () => Err(known.verifier.as_ref().err().copied().unwrap_or(WRONG)),
        }
    }
}

/// What is signed of a question.
fn signed(head: &[u8], user: &str, peer: IpAddr) -> Vec<u8> {
    let peer = peer.to_canonical().to_string();
    [b"opaque\n", head, b"\n", peer.as_bytes(), b"\n", user.as_bytes()].concat()
}

/// The salt of a user whom nobody knows: always the same, as that of others is.
pub(crate) fn salt(secret: &hmac::Key, user: &str) -> String {
    adobe::salt(hmac::sign(secret, format!("salt\n{user}").as_bytes()).as_ref())
}

/// Takes a text of `connect` that may end in fields of an exchange apart.
fn split(text: &str) -> (&str, Option<&str>) {
    const FIRST: &str = "authmod=";
    let begins = |at: &usize| text.get(..*at).is_some_and(|before| before.ends_with(['?', '&']));
    match text.match_indices(FIRST).map(|(at, _)| at).find(begins) {
        Some(at) => (text[..at].trim_end_matches(['?', '&']), Some(&text[at..])),
        None => (text, None),
    }
}

/// An app without the fields of an exchange, which say nothing of the stream.
pub(crate) fn without_answer(app: &str) -> &str {
    split(app).0
}

/// What a peer says of itself without them: nobody else has to see an answer by which passwords could be tried out.
pub(crate) fn without_answers(claims: &Claims) -> Claims {
    Claims::new(claims.iter().map(|(name, text)| (name, without_answer(text))))
}

/// The fields of an exchange, as they came.
struct Fields<'a>(&'a str);

impl Fields<'_> {
    fn value(&self, name: &str) -> Option<String> {
        let mut pairs = self.0.split('&').filter_map(|pair| pair.split_once('='));
        let value = pairs.find_map(|(field, value)| (field == name).then_some(value))?;
        Some(percent_decode_str(value).decode_utf8().ok()?.into_owned())
    }

    fn step(&self) -> Step {
        let Some(user) = self.value("user").filter(|user| is_user(user)) else { return Step::Nonsense };
        match (self.value("challenge"), self.value("response"), self.value("opaque")) {
            (Some(challenge), Some(response), Some(opaque)) => {
                Step::Answered(Answered { user, challenge, response, opaque })
            }
            (_, Some(_), _) => Step::Nonsense,
            _ => Step::Named { user },
        }
    }
}

/// Whether it is a name that can stand in what is asked, whoever reads that.
fn is_user(user: &str) -> bool {
    let is_fit = |c: char| c.is_ascii_alphanumeric() || "_.-@+~".contains(c);
    (1..=MAX_USER.get()).contains(&user.len()) && user.chars().all(is_fit)
}

/// Whether somebody wants to publish, as encoders say in `connect`. Engines like this one call themselves the same when they pull.
fn is_encoder(claims: &Claims) -> bool {
    let agent = claims.get(Claims::AGENT).unwrap_or_default();
    claims.get("type") == Some("nonprivate")
        || agent.starts_with("FMLE/") && !agent.contains("compatible; streamengine/")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: &str = "192.0.2.7";
    const KEY: &str = "a long publish key";
    const OURS: &str = "12345678";

    fn peer() -> IpAddr {
        PEER.parse().unwrap()
    }

    /// Knows `alice` by her password, and that `bob` can have none.
    struct Two;

    impl Passwords for Two {
        fn find(&self, user: &str) -> Finding {
            let verifier = match user {
                "alice" => Ok(Secret::new(adobe::verifier("alice", "alices salt", "her password"))),
                "bob" => Err("he has none"),
                _ => Err("unknown"),
            };
            let salt = if user == "alice" { "alices salt".to_owned() } else { format!("salt of {user}") };
            Box::pin(async move { Ok(Known { salt, verifier }) })
        }
    }

    fn exchange(users: Option<Arc<dyn Passwords>>) -> Exchange {
        let text = format!("[publish]\nkey = \"{KEY}\"\nauthmod_adobe = true");
        Exchange::new(&Config::from_toml(&text).unwrap(), users).unwrap().unwrap()
    }

    async fn take(exchange: &Exchange, app: &str, peer: IpAddr) -> std::result::Result<Outcome, NoGrant> {
        let step = exchange.step(app, &Claims::default()).expect("it takes part");
        exchange.clone().take(step, peer).await
    }

    /// What is asked of a user, and its salt and `opaque`.
    async fn ask(exchange: &Exchange, user: &str) -> [String; 3] {
        let asked = take(exchange, &format!("live?authmod=adobe&user={user}"), peer()).await.unwrap();
        let Outcome::Ask(text) = asked else { panic!("{asked:?}") };
        let field = |name: &str| text.split(['?', '&']).find_map(|pair| pair.strip_prefix(name)).unwrap();
        [field("salt=").to_owned(), field("opaque=").to_owned(), text.clone()]
    }

    /// The app with which somebody who has a password answers.
    fn answer(user: &str, salt: &str, password: &str, opaque: &str) -> String {
        let response = adobe::response(&adobe::verifier(user, salt, password), opaque, OURS);
        format!("live?authmod=adobe&user={user}&challenge={OURS}&response={response}&opaque={opaque}")
    }

    async fn show(exchange: &Exchange, user: &str, password: &str) -> std::result::Result<Outcome, NoGrant> {
        let [salt, opaque, _] = ask(exchange, user).await;
        take(exchange, &answer(user, &salt, password, &opaque), peer()).await
    }

    fn refused(reason: &str) -> std::result::Result<Outcome, NoGrant> {
        Err(NoGrant::Refused(reason.to_owned()))
    }

    #[tokio::test]
    async fn who_has_a_password_proves_it_and_nobody_else() {
        let (one, both) = (exchange(None), exchange(Some(Arc::new(Two))));
        for exchange in [&one, &both] {
            for user in ["anybody", "alice", "a.b-c_d@e+f~g"] {
                assert_eq!(show(exchange, user, KEY).await, Ok(Outcome::Proven(Proven::PublishKey)));
            }
            assert_eq!(show(exchange, "alice", "his password").await, refused(WRONG));
        }
        assert_eq!(show(&one, "anybody", "").await, refused(WRONG));
        let alice = Ok(Outcome::Proven(Proven::Key("alice".to_owned())));
        assert_eq!(show(&both, "alice", "her password").await, alice);
        for (user, reason) in [("bob", "he has none"), ("eve", "unknown")] {
            for password in ["", "her password"] {
                assert_eq!(show(&both, user, password).await, refused(reason));
            }
            // Not even who knows that there is no verifier.
            let [_, opaque, _] = ask(&both, user).await;
            let response = adobe::response("", &opaque, OURS);
            let app = format!(
                "live?authmod=adobe&user={user}&challenge={OURS}&response={response}&opaque={opaque}"
            );
            assert_eq!(take(&both, &app, peer()).await, refused(reason));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_good_for_a_minute_its_user_and_its_address() {
        let exchange = exchange(None);
        let [salt, opaque, _] = ask(&exchange, "alice").await;
        let good = answer("alice", &salt, KEY, &opaque);
        let from = |peer: &str| take(&exchange, &good, peer.parse().unwrap());
        assert!(from(PEER).await.is_ok() && from("::ffff:192.0.2.7").await.is_ok());
        for other in ["192.0.2.8", "2001:db8::7"] {
            assert_eq!(from(other).await, refused(STALE), "{other}");
        }
        let [salt_of_bob, ..] = ask(&exchange, "bob").await;
        let of_bob = answer("bob", &salt_of_bob, KEY, &opaque);
        assert_eq!(take(&exchange, &of_bob, peer()).await, refused(STALE), "another user");
        let elsewhere = super::tests::exchange(None);
        let [salt_there, ..] = ask(&elsewhere, "alice").await;
        let there = answer("alice", &salt_there, KEY, &opaque);
        assert_eq!(take(&elsewhere, &there, peer()).await, refused(STALE), "another engine");

        tokio::time::advance(GOOD_FOR.stated()).await;
        assert!(from(PEER).await.is_ok());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(from(PEER).await, refused(STALE));
    }

    #[tokio::test]
    async fn nobody_makes_or_changes_what_was_asked() {
        let exchange = exchange(None);
        let [salt, opaque, _] = ask(&exchange, "alice").await;
        assert_ne!(ask(&exchange, "alice").await[1], opaque, "no two are the same");
        let bytes = URL_SAFE_NO_PAD.decode(&opaque).unwrap();
        let changed = (0..bytes.len()).map(|at| {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1;
            bytes
        });
        let cut = (0..bytes.len()).map(|len| bytes[..len].to_vec());
        for bytes in changed.chain(cut).chain([[&bytes[..], &[0]].concat()]) {
            let app = answer("alice", &salt, KEY, &URL_SAFE_NO_PAD.encode(bytes));
            assert_eq!(take(&exchange, &app, peer()).await, refused(STALE), "{app}");
        }
        for opaque in ["", "!", "c2FsdA=="] {
            let app = answer("alice", &salt, KEY, opaque);
            assert_eq!(take(&exchange, &app, peer()).await, refused(STALE), "{app}");
        }
    }

    #[tokio::test]
    async fn who_is_unknown_is_asked_as_all_are() {
        let exchange = exchange(None);
        let [salt, _, text] = ask(&exchange, "alice").await;
        assert_eq!(ask(&exchange, "alice").await[0], salt, "always the same");
        let [salt_of_bob, _, text_for_bob] = ask(&exchange, "bobby").await;
        assert_ne!(salt, salt_of_bob);
        assert_eq!(text.len(), text_for_bob.len());
        assert_eq!(salt.len(), adobe::salt(&[7; 32]).len(), "as that of a key");
    }

    #[tokio::test]
    async fn what_is_asked_is_short_enough_for_ffmpeg() {
        let exchange = exchange(None);
        let [_, _, text] = ask(&exchange, &"u".repeat(MAX_USER.stated())).await;
        assert!(text.len() < 256, "{}", text.len());
        let too_long = "u".repeat(MAX_USER.stated() + 1);
        assert_eq!(
            take(&exchange, &format!("live?authmod=adobe&user={too_long}"), peer()).await,
            refused(NO_USER)
        );
    }

    #[test]
    fn encoders_are_asked_and_players_are_not() {
        let exchange = exchange(None);
        let step =
            |app: &str, claims: &[(&str, &str)]| exchange.step(app, &Claims::new(claims.iter().copied()));
        let encoders: [&[_]; 3] = [
            &[("flashVer", "FMLE/3.0 (compatible; Lavf59.27.100)")],
            &[("flashVer", "LNX 10,0,32,18"), ("type", "nonprivate")],
            &[("flashVer", "FMLE/3.0 (compatible; streamengine/0.1.0)"), ("type", "nonprivate")],
        ];
        for claims in encoders {
            for app in ["live", "live?x=1", "live?authmod=llnw&user=alice", "live?xauthmod=adobe&user=alice"]
            {
                assert_eq!(step(app, claims), Some(Step::Begin), "{app} {claims:?}");
            }
            for app in ["live?authmod=adobe", "live?authmod=adobe&user=", "live?authmod=adobe&user=a%26b"] {
                assert_eq!(step(app, claims), Some(Step::Nonsense), "{app} {claims:?}");
            }
        }
        let players: [&[_]; 3] = [
            &[],
            &[("flashVer", "LNX 9,0,124,2")],
            &[("flashVer", "FMLE/3.0 (compatible; streamengine/0.1.0)")],
        ];
        for claims in players {
            assert_eq!(step("live?x=1", claims), None, "{claims:?}");
        }
    }

    #[test]
    fn the_fields_are_found_wherever_clients_put_them() {
        let answered = Step::Answered(Answered {
            user: "alice".to_owned(),
            challenge: "ab+c==".to_owned(),
            response: "r+/x==".to_owned(),
            opaque: "o-_".to_owned(),
        });
        let fields = "authmod=adobe&user=alice&challenge=ab+c==&response=r+/x==&opaque=o-_";
        for (text, rest) in [
            (format!("live?{fields}"), "live"),
            // As ffmpeg and librtmp do.
            (format!("live?x=1?{fields}"), "live?x=1"),
            (format!("live?x=1&{fields}"), "live?x=1"),
            (format!("rtmp://h:1/live?{fields}"), "rtmp://h:1/live"),
            (format!("live?{}", fields.replace("==", "%3D%3D").replace('/', "%2F")), "live"),
        ] {
            let (before, found) = split(&text);
            let step = found.map(|found| Fields(found).step());
            assert_eq!((before, step.as_ref()), (rest, Some(&answered)), "{text}");
        }
        let claims = Claims::new([("app", "live?x=1"), ("tcUrl", &format!("rtmp://h/live?{fields}"))]);
        let expected = Claims::new([("app", "live?x=1"), ("tcUrl", "rtmp://h/live")]);
        assert_eq!(without_answers(&claims), expected);
    }
}
