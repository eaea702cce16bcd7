//! The rule for publishing that holds where nobody else decides.

use super::{Action, AuthRequest, Authorize, Grant, Proven, Ticket};
use crate::config::Config;
use crate::key::Secret;

/// The built-in rule for publishing; playing is open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum PublishRule {
    /// From this machine only. What a TCP proxy on this machine brings comes from this machine too, unless the proxy tells
    /// the true addresses ([`RtmpConfig::proxy_protocol_from`](crate::RtmpConfig::proxy_protocol_from)). What an HTTP proxy brings
    /// never does, nor does what asks for this machine by another name than its own.
    #[default]
    Loopback,
    /// From this machine, and from addresses that [`AppConfig::access`](crate::AppConfig::access) allows.
    Addresses,
    /// From anywhere with this key: in the query (`stream?key=KEY`) or behind a colon in the name (`stream:KEY`).
    Key(Secret),
    /// With a key of a database, which others know ([`KeysConfig`](crate::KeysConfig)): from nowhere without.
    Keys,
    /// As an HTTP service says ([`HooksConfig`](crate::HooksConfig)).
    Service,
    /// By anybody.
    Open,
}

impl PublishRule {
    /// The rule in one line, for the start of a server.
    pub fn describe(&self) -> &'static str {
        match self {
            Self::Loopback => "publishing: from this machine only (--publish-key KEY or --open to change)",
            Self::Addresses => "publishing: from this machine and where access allows it",
            Self::Key(_) => "publishing: with the key, as STREAM?key=KEY or STREAM:KEY",
            Self::Keys => "publishing: with a stream key, as the stream's name, STREAM?key=KEY or STREAM:KEY",
            Self::Service => "publishing: as the service says that is asked (hooks.on_publish)",
            Self::Open => "publishing: open to everybody who can reach the port",
        }
    }

    fn decide(&self, request: &AuthRequest) -> Result<Grant, &'static str> {
        let by = |principal: &str| Ok(Grant::default().principal(principal.to_owned()));
        match (request.action, self) {
            (Action::Play, _) => Ok(Grant::default()),
            // Two names would lead to one stream.
            (Action::Publish, Self::Open | Self::Loopback | Self::Addresses)
                if !request.name.secret.is_empty() =>
            {
                Err("nobody knows this publish key")
            }
            (Action::Publish, Self::Open) => by("open"),
            (Action::Publish, Self::Loopback | Self::Addresses) if is_from_this_machine(request) => {
                by("loopback")
            }
            (Action::Publish, Self::Addresses) => Err(
                "publishing is allowed from the server's own machine and from other addresses (access), not from this one",
            ),
            (Action::Publish, Self::Loopback) => Err(
                "publishing is allowed from the server's own machine only (--publish-key or --open, publish.key or \
                 publish.open change that)",
            ),
            (Action::Publish, Self::Key(key)) if request.name.has_key(key) || has_shown_key(request) => {
                by("publish-key")
            }
            (Action::Publish, Self::Keys) => {
                Err("no such stream key; use it as the stream's name, as STREAM?key=KEY or as STREAM:KEY")
            }
            (Action::Publish, Self::Service) => Err("nobody has allowed this"),
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
        matches!(self, Self::Key(_) | Self::Keys | Self::Service)
    }
}

/// Whether the publish key was shown at `connect`. A wrong one in the name is wrong all the same.
fn has_shown_key(request: &AuthRequest) -> bool {
    request.proven == Some(Proven::PublishKey) && request.name.keys() == (None, None)
}

fn is_from_this_machine(request: &AuthRequest) -> bool {
    request.peer.ip().to_canonical().is_loopback() && !request.is_brought
}

impl Config {
    /// The built-in rule for publishing that the configuration asks for.
    pub fn publish_rule(&self) -> PublishRule {
        match &self.publish.key {
            Some(key) => PublishRule::Key(key.clone()),
            None if self.publish.open => PublishRule::Open,
            None if self.keys.url.is_some() => PublishRule::Keys,
            None if self.hooks.on_publish.is_some() => PublishRule::Service,
            None if self.all_access().any(|rule| rule.allows_some(Action::Publish)) => PublishRule::Addresses,
            None => PublishRule::Loopback,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::request;
    use super::*;

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
    fn who_has_shown_the_publish_key_needs_none_in_the_name_and_a_wrong_one_is_wrong() {
        let rule = PublishRule::Key(Secret::new("s3cret"));
        let decide = |proven, name| {
            let mut request = request(Action::Publish, "192.0.2.1:1", name);
            request.proven = proven;
            rule.decide(&request).is_ok()
        };
        for name in ["a", "a?x=1", "a?key=s3cret", "a:s3cret"] {
            assert!(decide(Some(Proven::PublishKey), name), "{name}");
        }
        for name in ["a:1", "a?key=1", "a?key=", "a:1?key=s3cret"] {
            assert!(!decide(Some(Proven::PublishKey), name), "{name}");
        }
        assert!(!decide(Some(Proven::Key("s3cret".to_owned())), "a"), "another key");
    }
}
