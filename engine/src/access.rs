//! Rules about the addresses from which one may publish and play, in the words of nginx-rtmp's `allow` and `deny`.

use ipnet::IpNet;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "http", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// To publish a stream.
    Publish,
    /// To play a stream.
    Play,
}

named!(Action { Publish => "publish", Play => "play" });

/// A rule about addresses: `allow publish 10.0.0.0/8`, `deny play 192.0.2.7`, `deny all`. Without `publish` or `play` it is
/// about both. Of several rules the first one that is about a request holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessRule {
    allows: bool,
    /// Both where there is none.
    action: Option<Action>,
    /// All where there is none.
    from: Option<IpNet>,
}

impl AccessRule {
    /// Whether it allows that to anybody.
    pub(crate) fn allows_some(&self, action: Action) -> bool {
        self.allows && self.action.is_none_or(|own| own == action)
    }

    fn is_about(&self, action: Action, peer: IpAddr) -> bool {
        self.action.is_none_or(|own| own == action) && self.from.is_none_or(|from| from.contains(&peer))
    }
}

/// What the rules say of somebody; nothing where none is about that.
pub(crate) fn allowed(rules: &[AccessRule], action: Action, peer: IpAddr) -> Option<bool> {
    let peer = peer.to_canonical();
    rules.iter().find(|rule| rule.is_about(action, peer)).map(|rule| rule.allows)
}

/// What a rule is, for those who wrote something else.
pub(crate) const FORM: &str = "a rule about addresses: allow or deny, then publish or play or neither, then an address, a network or \
                               all, such as \"allow publish 10.0.0.0/8\"";

impl FromStr for AccessRule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fault = || format!("{text:?} is not {FORM}");
        // nginx's lines end so.
        let words: Vec<_> = text.trim_end_matches([';', ' ']).split_whitespace().collect();
        let (allows, action, from) = match words[..] {
            [allows, "publish", from] => (allows, Some(Action::Publish), from),
            [allows, "play", from] => (allows, Some(Action::Play), from),
            [allows, from] => (allows, None, from),
            _ => return Err(fault()),
        };
        let allows = match allows {
            "allow" => true,
            "deny" => false,
            _ => return Err(fault()),
        };
        let from = match from {
            "all" => None,
            from => Some(network(from).ok_or_else(fault)?),
        };
        Ok(Self { allows, action, from })
    }
}

/// A network, or a single address as one.
pub(crate) fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

impl fmt::Display for AccessRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.allows { "allow " } else { "deny " })?;
        if let Some(action) = self.action {
            write!(f, "{action} ")?;
        }
        match self.from {
            Some(from) => from.fmt(f),
            None => f.write_str("all"),
        }
    }
}

impl serde::Serialize for AccessRule {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Action::{Play, Publish};

    fn rules(texts: &[&str]) -> Vec<AccessRule> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn the_first_rule_that_is_about_a_request_holds() {
        let ours = rules(&[
            "deny 10.0.0.7",
            "allow publish 10.0.0.0/8",
            "allow publish 2001:db8::/32;",
            "deny publish all",
        ]);
        for (action, peer, expected) in [
            (Publish, "10.1.2.3", Some(true)),
            (Publish, "::ffff:10.1.2.3", Some(true)),
            (Publish, "10.0.0.7", Some(false)),
            (Play, "10.0.0.7", Some(false)),
            (Publish, "192.0.2.1", Some(false)),
            (Play, "192.0.2.1", None),
            (Publish, "2001:db8::7", Some(true)),
            (Publish, "2001:db9::7", Some(false)),
        ] {
            assert_eq!(allowed(&ours, action, peer.parse().unwrap()), expected, "{action:?} from {peer}");
        }
        assert_eq!(allowed(&[], Publish, "10.0.0.1".parse().unwrap()), None);
    }

    #[test]
    fn rules_are_written_as_they_are_read_and_what_is_none_is_told() {
        for text in [
            "allow publish 10.0.0.0/8",
            "deny play all",
            "deny all",
            "allow 2001:db8::/32",
            "allow play 10.0.0.7/32",
        ] {
            assert_eq!(text.parse::<AccessRule>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "allow",
            "permit all",
            "allow publish",
            "allow publish host.example",
            "allow play publish all",
            "deny 10.0.0.0/33",
        ] {
            let error = text.parse::<AccessRule>().unwrap_err();
            assert!(
                error.contains(&format!("{text:?}")) && error.contains("allow publish 10.0.0.0/8"),
                "{error}"
            );
        }
    }
}
