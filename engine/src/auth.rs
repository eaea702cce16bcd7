//! Who may publish and play: one decision point for every door.
//!
//! Deciders are asked one after the other, in the order of [`AuthConfig`](crate::AuthConfig), until one of them says yes or no: the
//! rules about addresses, signed URLs, keys, an HTTP service, the embedding program, which decides by implementing [`Authorize`],
//! and at last [`PublishRule`].

mod addresses;
mod exchange;
mod gate;
mod rule;
mod signed;
pub(crate) mod terms;

use crate::config::PublisherConfig;
use crate::id::SessionId;
use crate::key::{Printable, StreamKey, StreamName};
use crate::status::Protocol;
use crate::url::{RemoteUrl, RtmpUrl};
use bytes::{BufMut, Bytes, BytesMut};
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::sync::oneshot;

pub use crate::access::Action;
pub(crate) use crate::status::Door;
pub(crate) use addresses::{AddressRules, LastRule};
pub(crate) use exchange::{AUTH_FAILED, Exchange, Outcome, without_answer, without_answers};
#[cfg(feature = "keys")]
pub(crate) use exchange::{Finding, Known, Passwords, salt};
pub(crate) use gate::{Gate, NoGrant};
pub use rule::PublishRule;
pub use signed::UrlSigner;
#[cfg(any(feature = "http", feature = "keys"))]
pub(crate) use signed::seconds;

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
    /// What it has shown at `connect` that it has.
    pub(crate) proven: Option<Proven>,
    /// Its address does not tell who it is: a proxy brings it, or the page of a site that has given its name to our address.
    pub(crate) is_brought: bool,
}

/// A secret that somebody has shown to have, without sending it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Proven {
    /// The key of [`PublishRule::Key`].
    PublishKey,
    /// A key of a database, by what it is called.
    Key(String),
}

impl AuthRequest {
    /// A request of somebody of whom no more is known.
    pub fn new(action: Action, name: StreamName, peer: SocketAddr, door: Door, protocol: Protocol) -> Self {
        let (claims, session, proven) = (Claims::default(), None, None);
        Self { action, name, peer, door, protocol, claims, session, proven, is_brought: false }
    }

    /// The stream's public name.
    pub fn stream(&self) -> &StreamKey {
        &self.name.key
    }
}

/// The right that was granted: `Grant::default().principal("alice".to_owned())`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Grant {
    /// By which right: a user or key name. A publisher that is lost can be replaced by one with the same.
    pub principal: Option<String>,
    /// The stream that is published or played, where it is not the one that was asked for: what a peer sends may be a key
    /// instead of a name ([`Authorize::takes_key_for_name`]).
    pub stream: Option<StreamKey>,
    /// For a publisher: rules of its own in place of its app's.
    pub publisher: PublisherConfig,
    /// What was shown for it, such as the name of a key, never the key itself: what was granted for one credential can be
    /// ended together ([`Engine::kick_credential`](crate::Engine::kick_credential)).
    pub credential: Option<String>,
    /// How long it is good for; then the connection ends.
    pub lasts: Option<Duration>,
    /// For a publisher: where else its stream goes, as long as it publishes. Each place gets the stream once, however often it is
    /// granted.
    pub push: Vec<RtmpUrl>,
    /// For a player: where the stream is fetched from while somebody plays it, where nobody publishes it.
    pub pull: Option<RemoteUrl>,
}

setters!(Grant: PublisherConfig { publisher } Vec<RtmpUrl> { push }; String { principal, credential } StreamKey { stream } Duration { lasts } RemoteUrl { pull });

/// What is said of a request.
#[derive(Debug)]
enum Answer {
    Granted(Box<Grant>),
    Refused(String),
    /// Whoever decides cannot, through no fault of the peer's.
    Failed(String),
    /// Others may say.
    Passed,
}

/// A request that waits for its answer. Answer at once or later, from any thread; dropping it refuses.
#[derive(Debug)]
pub struct Ticket {
    answer: oneshot::Sender<Answer>,
}

impl Ticket {
    /// Grants the request.
    pub fn accept(self, grant: Grant) {
        // The peer may have left meanwhile: then nobody is interested in the answer.
        let _ = self.answer.send(Answer::Granted(Box::new(grant)));
    }

    /// Whether nobody waits for the answer any more: the peer has left, or the time is over.
    pub fn is_abandoned(&self) -> bool {
        self.answer.is_closed()
    }

    /// Refuses it. The encoder or player shows `reason`.
    pub fn reject(self, reason: impl Into<String>) {
        let _ = self.answer.send(Answer::Refused(reason.into()));
    }

    /// Refuses it as nobody can say: that is not held against the peer.
    #[cfg_attr(
        not(any(feature = "http", feature = "keys")),
        expect(dead_code, reason = "nobody is asked elsewhere")
    )]
    pub(crate) fn fail(self, reason: impl Into<String>) {
        let _ = self.answer.send(Answer::Failed(reason.into()));
    }

    /// Says nothing about it: whoever comes next decides, at last the configuration's [`PublishRule`].
    pub fn pass(self) {
        let _ = self.answer.send(Answer::Passed);
    }

    /// One, and its answer when that comes.
    fn new() -> (Self, oneshot::Receiver<Answer>) {
        let (answer, heard) = oneshot::channel();
        (Self { answer }, heard)
    }

    /// One whose answer nobody hears.
    #[cfg(feature = "testing")]
    pub(crate) fn unheard() -> Self {
        Self::new().0
    }
}

/// Decides who may publish and play.
///
/// `authorize` is called on an I/O thread and must not block: keep the ticket and answer it later where the decision takes
/// time. No answer within [`Limits::auth_timeout_ms`](crate::Limits::auth_timeout_ms) is a refusal. Peers of an address that is
/// refused often wait for their answers, and the authoriser is asked less often for them
/// ([`Limits::auth_failures_per_minute`](crate::Limits::auth_failures_per_minute)).
pub trait Authorize: Send + Sync + 'static {
    /// Decides `request`, now or later, through `ticket`.
    fn authorize(&self, request: AuthRequest, ticket: Ticket);

    /// Whether publishers may send a key behind a colon in the name (`STREAM:KEY`), which then is the request's
    /// [`StreamName::secret`], to be judged by [`Self::authorize`]. Where it is false, names with a colon are refused, as
    /// are all such names in `play`: two names never lead to one stream.
    fn takes_key_in_name(&self) -> bool {
        true
    }

    /// Whether what peers send for a name may be a key, for which [`Grant::stream`] says the name. Then names that are
    /// refused are not told: in no event and no log.
    fn takes_key_for_name(&self) -> bool {
        false
    }
}

impl<F: Fn(AuthRequest, Ticket) + Send + Sync + 'static> Authorize for F {
    fn authorize(&self, request: AuthRequest, ticket: Ticket) {
        self(request, ticket);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn request(action: Action, peer: &str, name: &str) -> AuthRequest {
        let name = StreamName::parse("live", name).unwrap();
        AuthRequest::new(action, name, peer.parse().unwrap(), Door::Rtmp, Protocol::Rtmp)
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
}
