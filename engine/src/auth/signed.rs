//! Signed URLs: who has one may publish or play its stream until it expires.

use super::{Action, AuthRequest, Authorize, Grant, Ticket};
use crate::config::{SignatureStyle, SignedUrlsConfig};
use crate::key::{Secret, StreamKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use md5::{Digest, Md5};
use ring::hmac;
use std::fmt;
use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

const NEEDED: &str = "a signed URL is needed here";
const WRONG: &str = "the signature of this URL is wrong, or is for another stream";
const EXPIRED: &str = "this signed URL has expired";
const ELSEWHERE: &str = "this signed URL is for another address";

/// Signs URLs, and tells whether one is signed. `Debug` does not show the secret.
#[derive(Clone)]
pub struct UrlSigner {
    style: SignatureStyle,
    secret: Secret,
    key: hmac::Key,
    /// Whether publishing needs a signed URL, and whether playing does.
    publish: bool,
    play: bool,
}

impl UrlSigner {
    /// A signer with the secret of `config`; none where that has none.
    pub fn new(config: &SignedUrlsConfig) -> Option<Self> {
        let secret = config.secret.clone()?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
        Some(Self { style: config.style, secret, key, publish: config.publish, play: config.play })
    }

    /// What the query of a URL has to hold so that its stream may be published, or played, until `expires`, which counts in
    /// whole seconds; from `address` only, where there is one. `None` where the style has no addresses.
    ///
    /// The signature is HMAC-SHA256 of four lines, `publish` or `play`, `app/stream`, the seconds since 1970, and the address
    /// or nothing; with [`SignatureStyle::NodeMediaServer`] it is MD5 of `/app/stream-SECONDS-SECRET`, for both actions.
    pub fn query(
        &self,
        action: Action,
        stream: &StreamKey,
        expires: SystemTime,
        address: Option<IpAddr>,
    ) -> Option<Secret> {
        let expires = seconds(expires);
        let address = address.map(|address| address.to_canonical().to_string());
        let query = match (self.style, &address) {
            (SignatureStyle::HmacSha256, _) => {
                let shown = address.as_ref().map(|address| format!("&address={address}")).unwrap_or_default();
                let sign = self.hmac(action, stream, expires, address.as_deref().unwrap_or_default());
                format!("expires={expires}{shown}&sign={sign}")
            }
            (SignatureStyle::NodeMediaServer, None) => {
                format!("sign={expires}-{}", self.md5(stream, expires))
            }
            (SignatureStyle::NodeMediaServer, Some(_)) => return None,
        };
        Some(Secret::new(query))
    }

    fn text(action: Action, stream: &StreamKey, expires: u64, address: &str) -> String {
        format!("{action}\n{stream}\n{expires}\n{address}")
    }

    fn hmac(&self, action: Action, stream: &StreamKey, expires: u64, address: &str) -> String {
        URL_SAFE_NO_PAD.encode(hmac::sign(&self.key, Self::text(action, stream, expires, address).as_bytes()))
    }

    fn md5(&self, stream: &StreamKey, expires: u64) -> String {
        let digest = Md5::digest(format!("/{stream}-{expires}-{}", self.secret.expose()));
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Whether a request has a signature that is good; nothing where it has none.
    fn says(&self, request: &AuthRequest, now: SystemTime) -> Option<Result<(), &'static str>> {
        let value = |field| request.name.query_value(field);
        let sign = value("sign")?;
        let (expires, sign) = match (self.style, sign.split_once('-')) {
            (SignatureStyle::HmacSha256, _) => (value("expires")?, sign),
            (SignatureStyle::NodeMediaServer, Some((expires, sign))) => (expires.to_owned(), sign.to_owned()),
            (SignatureStyle::NodeMediaServer, None) => return Some(Err(WRONG)),
        };
        let Ok(expires) = expires.parse::<u64>() else { return Some(Err(WRONG)) };
        Some(self.check(request, expires, &sign, value("address").as_deref(), now))
    }

    fn check(
        &self,
        request: &AuthRequest,
        expires: u64,
        sign: &str,
        address: Option<&str>,
        now: SystemTime,
    ) -> Result<(), &'static str> {
        let (action, stream) = (request.action, request.stream());
        let is_right = match self.style {
            SignatureStyle::HmacSha256 => {
                let text = Self::text(action, stream, expires, address.unwrap_or_default());
                let tag = URL_SAFE_NO_PAD.decode(sign).map_err(|_| WRONG)?;
                hmac::verify(&self.key, text.as_bytes(), &tag).is_ok()
            }
            SignatureStyle::NodeMediaServer => Secret::new(self.md5(stream, expires)).matches(sign),
        };
        let is_here = match (self.style, address) {
            (SignatureStyle::HmacSha256, Some(address)) => {
                address.parse::<IpAddr>().is_ok_and(|address| address == request.peer.ip().to_canonical())
            }
            _ => true,
        };
        match () {
            () if !is_right => Err(WRONG),
            () if seconds(now) > expires => Err(EXPIRED),
            () if !is_here => Err(ELSEWHERE),
            () => Ok(()),
        }
    }

    fn is_needed(&self, action: Action) -> bool {
        match action {
            Action::Publish => self.publish,
            Action::Play => self.play,
        }
    }

    fn decide(&self, request: &AuthRequest, ticket: Ticket, now: SystemTime) {
        match self.says(request, now) {
            Some(Ok(())) => ticket.accept(Grant::default().principal("signed-url".to_owned())),
            Some(Err(reason)) => ticket.reject(reason),
            None if self.is_needed(request.action) => ticket.reject(NEEDED),
            None => ticket.pass(),
        }
    }
}

impl Authorize for UrlSigner {
    fn authorize(&self, request: AuthRequest, ticket: Ticket) {
        self.decide(&request, ticket, SystemTime::now());
    }

    fn takes_key_in_name(&self) -> bool {
        false
    }
}

impl fmt::Debug for UrlSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UrlSigner").field("style", &self.style).finish_non_exhaustive()
    }
}

/// Whole seconds since 1970.
pub(crate) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::super::Answer;
    use super::super::tests::request;
    use super::*;
    use std::time::Duration;

    fn signer(style: SignatureStyle) -> UrlSigner {
        let config = SignedUrlsConfig::default()
            .secret(Secret::new("nodemedia2017privatekey"))
            .play(true)
            .style(style);
        UrlSigner::new(&config).unwrap()
    }

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    /// What is said of `a` with this query at the second 1000.
    fn verdict(signer: &UrlSigner, action: Action, peer: &str, query: &str) -> Result<bool, String> {
        let (ticket, mut answer) = Ticket::new();
        signer.decide(&request(action, peer, &format!("a?{query}")), ticket, at(1_000));
        match answer.try_recv().unwrap() {
            Answer::Granted(_) => Ok(true),
            Answer::Passed => Ok(false),
            Answer::Refused(reason) | Answer::Failed(reason) => Err(reason),
        }
    }

    const PEER: &str = "192.0.2.7:4000";

    #[test]
    fn a_signed_url_is_good_for_its_stream_its_action_its_time_and_its_address() {
        let signer = signer(SignatureStyle::HmacSha256);
        let key = |name: &str| name.parse::<StreamKey>().unwrap();
        let sign = |action, stream: &str, expires, address: Option<&str>| {
            let address = address.map(|address| address.parse().unwrap());
            signer.query(action, &key(stream), at(expires), address).unwrap().expose().to_owned()
        };
        let says = |query: &str| verdict(&signer, Action::Play, PEER, query);
        let good = sign(Action::Play, "live/a", 1_000, None);
        assert_eq!(says(&good), Ok(true), "{good}");
        assert_eq!(says(&format!("x=1&{good}&y=2")), Ok(true));
        assert_eq!(says(&sign(Action::Play, "live/a", 999, None)), Err(EXPIRED.to_owned()));
        for wrong in [
            sign(Action::Publish, "live/a", 1_000, None),
            sign(Action::Play, "live/b", 1_000, None),
            good.replace("expires=1000", "expires=2000"),
            good.replace("expires=1000", "expires=-1"),
            format!("address=192.0.2.7&{good}"),
            format!("{good}x"),
            "expires=1000&sign=".to_owned(),
            "expires=1000&sign=%00".to_owned(),
            "expires=1000&sign=AAAA".to_owned(),
        ] {
            assert_eq!(says(&wrong), Err(WRONG.to_owned()), "{wrong}");
        }
        for (address, expected) in [("192.0.2.7", Ok(true)), ("192.0.2.8", Err(ELSEWHERE.to_owned()))] {
            let query = sign(Action::Play, "live/a", 1_000, Some(address));
            assert_eq!(says(&query), expected, "{query}");
            let mapped = verdict(&signer, Action::Play, "[::ffff:192.0.2.7]:4000", &query);
            assert_eq!(mapped, expected, "{query}");
            assert_eq!(says(&query.replace(address, "192.0.2.9")), Err(WRONG.to_owned()));
        }
        let publish = sign(Action::Publish, "live/a", 2_000, None);
        assert_eq!(verdict(&signer, Action::Publish, PEER, &publish), Ok(true));
    }

    #[test]
    fn without_a_signature_others_decide_unless_one_is_needed() {
        let signer = signer(SignatureStyle::HmacSha256);
        for query in ["", "key=x", "expires=1000", "sign=x"] {
            assert_eq!(verdict(&signer, Action::Publish, PEER, query), Ok(false), "{query}");
            assert_eq!(verdict(&signer, Action::Play, PEER, query), Err(NEEDED.to_owned()), "{query}");
        }
        assert!(UrlSigner::new(&SignedUrlsConfig::default().play(true)).is_none());
        assert!(!format!("{signer:?}").contains("nodemedia"));
    }

    #[test]
    fn the_form_of_node_media_server_is_known() {
        let signer = signer(SignatureStyle::NodeMediaServer);
        let stream = "live/a".parse().unwrap();
        // printf %s /live/a-1000-nodemedia2017privatekey | md5sum
        let expected = "sign=1000-1c136120c6a291423ad924b539f483fc";
        let query = signer.query(Action::Play, &stream, at(1_000), None).unwrap();
        assert_eq!(query.expose(), expected);
        let says = |query: &str| verdict(&signer, Action::Play, PEER, query);
        assert_eq!(says(expected), Ok(true));
        assert_eq!(says(&expected.replace("1000-", "1001-")), Err(WRONG.to_owned()));
        assert_eq!(says("sign=1000"), Err(WRONG.to_owned()));
        assert_eq!(
            says(signer.query(Action::Play, &stream, at(999), None).unwrap().expose()),
            Err(EXPIRED.to_owned())
        );
        assert!(signer.query(Action::Play, &stream, at(1), Some([192, 0, 2, 7].into())).is_none());
    }
}
