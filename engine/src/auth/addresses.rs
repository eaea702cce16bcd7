//! Decides by the address that somebody comes from.

use super::{Action, AuthRequest, Authorize, Grant, PublishRule, Ticket};
use crate::access::{AccessRule, allowed};
use crate::config::Config;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a refused peer is told.
const DENIED_PUBLISH: &str = "publishing is not allowed from this address (access)";
const DENIED_PLAY: &str = "playing is not allowed from this address (access)";

/// The rules of all apps ([`AppConfig::access`](crate::AppConfig::access)).
#[derive(Debug, Clone)]
pub(crate) struct AddressRules {
    default: Arc<[AccessRule]>,
    apps: Arc<BTreeMap<String, Vec<AccessRule>>>,
}

impl AddressRules {
    pub(crate) fn of(config: &Config) -> Self {
        let apps = config.apps.iter().map(|(name, app)| (name.clone(), app.access.clone())).collect();
        Self { default: config.default_app.access.clone().into(), apps: Arc::new(apps) }
    }

    fn says(&self, request: &AuthRequest) -> Option<bool> {
        let rules = self.apps.get(request.stream().app()).map_or(&*self.default, Vec::as_slice);
        allowed(rules, request.action, request.peer.ip())
    }
}

/// Refuses whom a rule refuses. All others pass, those whom a rule allows too: who wants a key wants it of them as well.
impl Authorize for AddressRules {
    fn authorize(&self, request: AuthRequest, ticket: Ticket) {
        match (self.says(&request), request.action) {
            (Some(false), Action::Publish) => ticket.reject(DENIED_PUBLISH),
            (Some(false), Action::Play) => ticket.reject(DENIED_PLAY),
            _ => ticket.pass(),
        }
    }

    fn takes_key_in_name(&self) -> bool {
        false
    }
}

/// The end of the chain: the configuration's rule for publishing, and whom its rules about addresses allow.
#[derive(Debug)]
pub(crate) struct LastRule {
    pub(crate) rule: PublishRule,
    pub(crate) addresses: AddressRules,
}

impl Authorize for LastRule {
    fn authorize(&self, request: AuthRequest, ticket: Ticket) {
        let is_by_address = request.action == Action::Publish
            && self.rule == PublishRule::Addresses
            && request.name.secret.is_empty()
            && !request.is_brought
            && self.addresses.says(&request) == Some(true);
        match is_by_address {
            true => ticket.accept(Grant::default().principal("address".to_owned())),
            false => self.rule.authorize(request, ticket),
        }
    }

    fn takes_key_in_name(&self) -> bool {
        self.rule.takes_key_in_name()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Gate;
    use super::super::tests::request;
    use super::*;

    async fn verdict(
        config: &Config,
        action: Action,
        peer: &str,
        name: &str,
    ) -> Result<Option<String>, String> {
        let addresses = AddressRules::of(config);
        let last = LastRule { rule: config.publish_rule(), addresses: addresses.clone() };
        let gate = Gate::new(&[Arc::new(addresses), Arc::new(last)], &config.limits);
        gate.decide(request(action, peer, name)).await.map(|grant| grant.principal)
    }

    fn config(publish: &str) -> Config {
        let text = format!(
            "{publish}\n[default_app]\naccess = [\"deny all\"]\n[apps.live]\naccess = [\"allow publish 10.0.0.0/8\", \"deny publish \
             192.0.2.0/24\", \"deny play 10.0.0.9\"]"
        );
        Config::from_toml(&text).unwrap()
    }

    #[tokio::test]
    async fn who_is_allowed_by_address_publishes_and_who_is_denied_does_not() {
        let config = config("");
        for (action, peer, expected) in [
            (Action::Publish, "10.1.2.3:1", Ok(Some("address"))),
            (Action::Publish, "127.0.0.1:1", Ok(Some("loopback"))),
            (Action::Publish, "192.0.2.1:1", Err(DENIED_PUBLISH)),
            (Action::Play, "192.0.2.1:1", Ok(None)),
            (Action::Play, "10.0.0.9:1", Err(DENIED_PLAY)),
        ] {
            let verdict = verdict(&config, action, peer, "a").await;
            assert_eq!(
                verdict.as_ref().map(Option::as_deref).map_err(String::as_str),
                expected,
                "{action:?} {peer}"
            );
        }
        let reason = verdict(&config, Action::Publish, "198.51.100.1:1", "a").await.unwrap_err();
        assert!(reason.contains("from the server's own machine and from other addresses"), "{reason}");
    }

    #[tokio::test]
    async fn an_address_does_not_stand_for_a_key() {
        let config = config("[publish]\nkey = \"right\"");
        assert!(verdict(&config, Action::Publish, "10.1.2.3:1", "a").await.is_err());
        assert!(verdict(&config, Action::Publish, "10.1.2.3:1", "a?key=right").await.is_ok());
        assert_eq!(
            verdict(&config, Action::Publish, "192.0.2.1:1", "a?key=right").await,
            Err(DENIED_PUBLISH.to_owned())
        );
    }
}
