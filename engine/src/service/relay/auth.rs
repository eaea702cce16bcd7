//! RTMP authentication for URLs with `user:pass@`, as Adobe's and Limelight's servers ask for it.
//!
//! The server refuses `connect` and writes into the description what it wants; the answer is another connection
//! whose app and tcUrl carry more query. Up to three connections:
//!
//! ```text
//! connect app                                      -> ... code=403 need auth; authmod=adobe
//! connect app?authmod=adobe&user=U                 -> ... ?reason=needauth&user=U&salt=S&challenge=C&opaque=O
//! connect app?authmod=adobe&user=U&challenge=OURS&response=R&opaque=O        -> accepted, or reason=authfailed
//! ```

use crate::adobe;
use crate::url::{Credentials, IN_QUERY, RtmpUrl};
use md5::{Digest, Md5};
use percent_encoding::utf8_percent_encode;

/// A scheme of authentication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Adobe,
    Limelight,
}

impl Scheme {
    fn named_in(description: &str) -> Option<Self> {
        match () {
            () if description.contains("authmod=adobe") => Some(Self::Adobe),
            () if description.contains("authmod=llnw") => Some(Self::Limelight),
            () => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Adobe => "adobe",
            Self::Limelight => "llnw",
        }
    }
}

/// How far the exchange has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Nothing about authentication was sent.
    Plain,
    /// The user's name was sent.
    Named,
    /// The response was sent: another refusal is final.
    Answered,
}

/// One exchange; starts anew with each attempt of a relay.
pub(super) struct Authentication {
    step: Step,
    /// The query to put behind app and tcUrl; empty at first.
    query: String,
}

impl Authentication {
    pub(super) fn new() -> Self {
        Self { step: Step::Plain, query: String::new() }
    }

    /// `text` (app or tcUrl) with the present query of the exchange.
    pub(super) fn extend(&self, text: &str) -> String {
        match (self.query.is_empty(), text.contains('?')) {
            (true, _) => text.to_owned(),
            (false, true) => format!("{text}&{}", self.query),
            (false, false) => format!("{text}?{}", self.query),
        }
    }

    /// Takes the description of a refused `connect`. True: connect again; false: the refusal stands.
    /// `nonce` is a fresh random text for our part of the challenge.
    pub(super) fn refused(&mut self, url: &RtmpUrl, description: &str, nonce: &str) -> bool {
        let (Some(credentials), Some(scheme)) = (url.credentials(), Scheme::named_in(description)) else {
            return false;
        };
        let user = utf8_percent_encode(credentials.user.expose(), IN_QUERY);
        if description.contains("?reason=needauth") && self.step != Step::Answered {
            let challenge = Challenge::parse(description);
            let answer = match scheme {
                Scheme::Adobe => challenge.answer_adobe(credentials, nonce),
                Scheme::Limelight => challenge.answer_limelight(credentials, url.app(), nonce),
            };
            self.query = format!("authmod={}&user={user}&{answer}", scheme.name());
            self.step = Step::Answered;
            return true;
        }
        if description.contains("need auth") && self.step == Step::Plain {
            self.query = format!("authmod={}&user={user}", scheme.name());
            self.step = Step::Named;
            return true;
        }
        false
    }
}

/// The fields of a `?reason=needauth&...` description; missing ones are empty.
#[derive(Default)]
struct Challenge<'a> {
    salt: &'a str,
    challenge: &'a str,
    opaque: &'a str,
    nonce: &'a str,
}

impl<'a> Challenge<'a> {
    fn parse(description: &'a str) -> Self {
        let fields = description.split_once("?reason=needauth").map_or("", |(_, fields)| fields);
        let field = |name: &str| {
            let pairs = fields.split('&').filter_map(|pair| pair.trim().split_once('='));
            pairs.clone().find_map(|(key, value)| (key == name).then_some(value)).unwrap_or("")
        };
        Self {
            salt: field("salt"),
            challenge: field("challenge"),
            opaque: field("opaque"),
            nonce: field("nonce"),
        }
    }

    fn answer_adobe(&self, credentials: &Credentials, ours: &str) -> String {
        let verifier = adobe::verifier(credentials.user.expose(), self.salt, credentials.password.expose());
        let theirs = if self.opaque.is_empty() { self.challenge } else { self.opaque };
        let response = adobe::response(&verifier, theirs, ours);
        let opaque = if self.opaque.is_empty() { String::new() } else { format!("&opaque={}", self.opaque) };
        format!("challenge={ours}&response={response}{opaque}")
    }

    /// HTTP digest authentication's formula with realm `live` and method `publish`.
    fn answer_limelight(&self, credentials: &Credentials, app: &str, ours: &str) -> String {
        const COUNT: &str = "00000001";
        let who = hex(&format!("{}:live:{}", credentials.user.expose(), credentials.password.expose()));
        let instance = if app.contains('/') { "" } else { "/_definst_" };
        let what = hex(&format!("publish:/{app}{instance}"));
        let response = hex(&format!("{who}:{}:{COUNT}:{ours}:auth:{what}", self.nonce));
        format!("nonce={}&cnonce={ours}&nc={COUNT}&response={response}", self.nonce)
    }
}

/// The MD5 of `text` in lower-case hexadecimal.
fn hex(text: &str) -> String {
    Md5::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::url;

    const NEED_ADOBE: &str = "[ AccessManager.Reject ] : [ code=403 need auth; authmod=adobe ] : ";

    /// The expected response was computed with `openssl md5 -binary | base64` by hand.
    #[test]
    fn adobe_exchange_of_three_connections() {
        let url = url("rtmp://user:pass@host/live/a");
        let mut auth = Authentication::new();
        assert_eq!(auth.extend("live"), "live");
        assert!(auth.refused(&url, NEED_ADOBE, "12345678"));
        assert_eq!(auth.extend("live"), "live?authmod=adobe&user=user");
        let challenge = "[ AccessManager.Reject ] : [ authmod=adobe ] : \
            ?reason=needauth&user=user&salt=c2FsdA==&challenge=Y2hhbA==&opaque=b3BhcQ==";
        assert!(auth.refused(&url, challenge, "12345678"));
        assert_eq!(
            auth.extend("rtmp://host/live"),
            "rtmp://host/live?authmod=adobe&user=user&challenge=12345678&response=kREffs49hGDI0/vWYHXXfA==&opaque=b3BhcQ=="
        );
        let failed = "[ AccessManager.Reject ] : [ authmod=adobe ] : ?reason=authfailed&opaque=b3BhcQ==";
        assert!(!auth.refused(&url, failed, "12345678"));
        assert!(!auth.refused(&url, challenge, "12345678"), "a second challenge is not answered");
    }

    #[test]
    fn adobe_challenge_stands_in_for_a_missing_opaque() {
        let mut auth = Authentication::new();
        let challenge = "authmod=adobe : ?reason=needauth&user=user&salt=c2FsdA==&challenge=Y2hhbA==";
        assert!(auth.refused(&url("rtmp://user:pass@host/live/a"), challenge, "12345678"));
        assert_eq!(
            auth.extend("live"),
            "live?authmod=adobe&user=user&challenge=12345678&response=eegf9a+TSXJzvz3zt0JOlQ=="
        );
    }

    #[test]
    fn limelight_exchange_names_the_default_instance() {
        let mut auth = Authentication::new();
        let challenge = "[ authmod=llnw ] : ?reason=needauth&user=user&nonce=abcdef";
        assert!(auth.refused(&url("rtmp://user:pass@host/live/a"), challenge, "12345678"));
        assert_eq!(
            auth.extend("live"),
            "live?authmod=llnw&user=user&nonce=abcdef&cnonce=12345678&nc=00000001&response=8c234bee4b8709d053ad0b3cc468faf7"
        );
    }

    #[test]
    fn nothing_is_answered_without_credentials_or_known_scheme() {
        assert!(!Authentication::new().refused(&url("rtmp://host/live/a"), NEED_ADOBE, "1"));
        let url = url("rtmp://user:pass@host/live/a");
        assert!(!Authentication::new().refused(&url, "need auth; authmod=other", "1"));
        assert!(!Authentication::new().refused(&url, "no such app", "1"));
    }

    #[test]
    fn a_user_name_cannot_add_fields_to_the_query() {
        let mut auth = Authentication::new();
        assert!(auth.refused(&url("rtmp://a%26b%3Dc:p@host/live/a"), NEED_ADOBE, "1"));
        assert_eq!(auth.extend("live?x=1"), "live?x=1&authmod=adobe&user=a%26b%3Dc");
    }
}
