//! What the configuration says at present. It may change while the engine runs, so it is asked anew wherever it is needed.

use crate::auth::{Exchange, Gate};
use crate::config::{AppConfig, Config};
use arc_swap::{ArcSwap, Guard};
use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;

/// The configuration in force and what is made of it; all of it changes in one step.
pub(crate) struct Settings {
    current: ArcSwap<Current>,
}

/// One state of it.
pub(crate) struct Current {
    config: Config,
    default_app: Arc<AppConfig>,
    /// Those that are listed.
    apps: BTreeMap<String, Arc<AppConfig>>,
    auth: Gate,
    exchange: Option<Exchange>,
}

impl Current {
    /// What is made of a configuration: who decides by it, and how encoders are asked for user and password, where they are.
    pub(crate) fn new(mut config: Config, auth: Gate, exchange: Option<Exchange>) -> Self {
        config.limits = config.limits.in_force().into_owned();
        let apps = config.apps.iter().map(|(name, app)| (name.clone(), Arc::new(app.clone()))).collect();
        Self { default_app: Arc::new(config.default_app.clone()), apps, config, auth, exchange }
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    fn app(&self, app: &str) -> Option<Arc<AppConfig>> {
        let listed = self.apps.get(app);
        listed.or_else(|| self.config.app(app).map(|_| &self.default_app)).cloned()
    }
}

impl Settings {
    pub(super) fn new(current: Current) -> Self {
        Self { current: ArcSwap::from_pointee(current) }
    }

    pub(super) fn set(&self, current: Arc<Current>) -> Arc<Current> {
        self.current.swap(current)
    }

    pub(super) fn part<T>(&self, part: fn(&Current) -> &T) -> Part<T> {
        Part { current: self.current.load(), part }
    }

    pub(super) fn config(&self) -> Part<Config> {
        self.part(Current::config)
    }

    pub(super) fn app(&self, app: &str) -> Option<Arc<AppConfig>> {
        self.current.load().app(app)
    }

    pub(super) fn auth(&self) -> Gate {
        self.current.load().auth.clone()
    }

    pub(super) fn exchange(&self) -> Option<Exchange> {
        self.current.load().exchange.clone()
    }
}

/// A part of the configuration as it was when it was asked for; to be held for moments only.
pub(crate) struct Part<T: 'static> {
    current: Guard<Arc<Current>>,
    part: fn(&Current) -> &T,
}

impl<T> Deref for Part<T> {
    type Target = T;

    fn deref(&self) -> &T {
        (self.part)(&self.current)
    }
}
