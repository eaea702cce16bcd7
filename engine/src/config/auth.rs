//! Who may publish and play: keys and signed URLs, who is asked, and what an HTTP service is asked and told.

use crate::key::Secret;
use crate::url::HookUrl;
use serde::{Deserialize, Serialize};

/// Who may publish, where the embedding program does not decide. Default: from this machine only.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct PublishConfig {
    /// Publishing needs this key: `STREAM?key=KEY` or `STREAM:KEY`.
    pub key: Option<Secret>,
    /// Anybody may publish.
    pub open: bool,
    /// Encoders have to show user and password when they connect (`rtmp://USER:PASSWORD@HOST/live/NAME`, RTMP's `authmod=adobe`),
    /// and then publish as with the key that the password is: [`Self::key`], whoever the user is, or one of [`KeysConfig`], whose
    /// user is the part before its dash. Encoders that have none are refused, those too that send a key in the name.
    pub authmod_adobe: bool,
}

setters!(PublishConfig: bool { open, authmod_adobe }; Secret { key });

/// Signed URLs ([`UrlSigner`](crate::UrlSigner)).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct SignedUrlsConfig {
    /// What signs them. Without it no URL is looked at.
    pub secret: Option<Secret>,
    /// Publishing needs a signed URL; else one is as good as what is asked for otherwise.
    pub publish: bool,
    /// Playing needs one.
    pub play: bool,
    /// How they are signed: `hmac-sha256` or `node-media-server`.
    pub style: SignatureStyle,
}

setters!(SignedUrlsConfig: bool { publish, play } SignatureStyle { style }; Secret { secret });

/// How URLs are signed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SignatureStyle {
    /// `?expires=SECONDS&sign=...`, perhaps with `&address=IP`, by HMAC-SHA256.
    #[default]
    HmacSha256,
    /// `?sign=SECONDS-...` as Node-Media-Server does, by MD5: for those whose pages make such URLs.
    NodeMediaServer,
}

named!(SignatureStyle { HmacSha256 => "hmac-sha256", NodeMediaServer => "node-media-server" });

/// Keys of publishers and players, in a database. Needs the cargo feature `keys`.
///
/// With it publishing needs a key, from this machine too, unless [`PublishConfig`] or the program says otherwise. A key comes as
/// the name (`rtmp://host/live/KEY`), behind a colon (`NAME:KEY`) or as `NAME?key=KEY`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct KeysConfig {
    /// The file of an SQLite database, made where it is not there, or the URL of a PostgreSQL database:
    /// `postgres://USER:PASSWORD@HOST/NAME`.
    pub url: Option<Secret>,
    /// Playing needs a key too.
    pub play: bool,
    /// In place of the engine's own tables, a query of PostgreSQL: it finds the key `$1`, of whoever wants to `publish` or `play`,
    /// which is `$2`. Its columns: `stream` (`app/stream`, or a name in the app that is asked for), and where they are wanted
    /// `id`, `who`, `max_kbps`, `max_viewers`, and `expires` and `until` in seconds since 1970.
    pub query: Option<String>,
    /// The same of what a key has opened: a query with a row as long as the key whose `id` is `$1` is good. Asked every 1.5 s.
    pub check_query: Option<String>,
}

setters!(KeysConfig: bool { play }; Secret { url } String { query, check_query });

/// Who decides.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct AuthConfig {
    /// Who is asked, one after the other, until one says yes or no; what all leave open, [`PublishRule`](crate::PublishRule)
    /// decides. Each is there at most once; who is configured and is not in the list is an error.
    pub order: Vec<Decider>,
}

setters!(AuthConfig: Vec<Decider> { order });

impl Default for AuthConfig {
    fn default() -> Self {
        use Decider::{Addresses, Hooks, Keys, Program, SignedUrls};
        Self { order: vec![Addresses, SignedUrls, Keys, Hooks, Program] }
    }
}

/// Somebody who may decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decider {
    /// The rules about addresses, [`AppConfig::access`](crate::AppConfig::access).
    Addresses,
    /// Signed URLs, [`SignedUrlsConfig`](crate::SignedUrlsConfig).
    SignedUrls,
    /// Keys of a database, [`KeysConfig`](crate::KeysConfig).
    Keys,
    /// An HTTP service, [`HooksConfig`].
    Hooks,
    /// The embedding program, [`Authorize`](crate::Authorize).
    Program,
}

named!(Decider {
    Addresses => "addresses", SignedUrls => "signed-urls", Keys => "keys", Hooks => "hooks", Program => "program",
});

/// An HTTP service that is asked who may do what, and told what happens, as servers before us do. Needs the cargo feature
/// `http`. What is asked and told when has its URL; without one, nobody is asked or told.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct HooksConfig {
    /// In which form: `nginx-rtmp` or `srs`.
    pub style: HookStyle,
    /// Whether the fields of `nginx-rtmp` are in the body (`post`) or in the URL (`get`).
    pub method: HookMethod,
    /// Asked when a connection of RTMP begins.
    pub on_connect: Option<HookUrl>,
    /// Told when it has ended.
    #[serde(alias = "on_close")]
    pub on_disconnect: Option<HookUrl>,
    /// Asked whether somebody may publish.
    pub on_publish: Option<HookUrl>,
    /// Asked whether somebody may play.
    pub on_play: Option<HookUrl>,
    /// Told when a publisher has ended.
    #[serde(alias = "on_unpublish")]
    pub on_publish_done: Option<HookUrl>,
    /// Told when a player has ended.
    #[serde(alias = "on_stop")]
    pub on_play_done: Option<HookUrl>,
    /// Told when either has ended.
    pub on_done: Option<HookUrl>,
    /// Asked while somebody publishes or plays, whether that may go on.
    pub on_update: Option<HookUrl>,
    /// Asked, always in the form of SRS, where else a stream goes that may be published.
    pub on_forward: Option<HookUrl>,
    /// How often that is.
    pub update_every_ms: u64,
    /// Whether it needs a good answer; else only one of 4xx or 5xx ends it.
    pub update_strict: bool,
    /// How long an answer may take, 3,000 at most, and less than [`Limits::auth_timeout_ms`](crate::Limits::auth_timeout_ms).
    pub timeout_ms: u64,
    /// What happens to whoever asks while the service cannot be reached or does not answer: `refuse` or `allow`.
    pub when_away: WhenAway,
    /// Signs what is sent: the service can tell that it comes from here, and when it was sent.
    pub secret: Option<Secret>,
}

setters! {
    HooksConfig:
    HookStyle { style } HookMethod { method } WhenAway { when_away } u64 { update_every_ms, timeout_ms } bool { update_strict };
    HookUrl { on_connect, on_disconnect, on_publish, on_play, on_publish_done, on_play_done, on_done, on_update, on_forward }
    Secret { secret }
}

impl Default for HooksConfig {
    fn default() -> Self {
        Self {
            style: HookStyle::default(),
            method: HookMethod::default(),
            on_connect: None,
            on_disconnect: None,
            on_publish: None,
            on_play: None,
            on_publish_done: None,
            on_play_done: None,
            on_done: None,
            on_update: None,
            on_forward: None,
            update_every_ms: 30_000,
            update_strict: false,
            timeout_ms: 2_500,
            when_away: WhenAway::default(),
            secret: None,
        }
    }
}

/// In whose form a service is asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HookStyle {
    /// Fields of a form; the status of the reply decides.
    #[default]
    NginxRtmp,
    /// JSON; the `code` in the reply decides.
    Srs,
}

named!(HookStyle { NginxRtmp => "nginx-rtmp", Srs => "srs" });

/// How the fields of `nginx-rtmp` are sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HookMethod {
    /// In the body.
    #[default]
    Post,
    /// In the URL.
    Get,
}

named!(HookMethod { Post => "post", Get => "get" });

/// What happens to whoever asks while a service is away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum WhenAway {
    /// Refused.
    #[default]
    Refuse,
    /// Let in, whoever it is.
    Allow,
}

named!(WhenAway { Refuse => "refuse", Allow => "allow" });

impl AuthConfig {
    /// Checks what the types cannot; the error is in words.
    pub(super) fn check(&self, config: &super::Config) -> Result<(), String> {
        let count = |decider: Decider| self.order.iter().filter(|&&other| other == decider).count();
        if let Some(twice) = self.order.iter().find(|&&decider| count(decider) > 1) {
            return Err(format!("auth.order has {twice} more than once"));
        }
        let is_used = |decider| match decider {
            Decider::Addresses => config.all_access().next().is_some(),
            Decider::SignedUrls => config.signed_urls.secret.is_some(),
            Decider::Keys => config.keys.url.is_some(),
            Decider::Hooks => config.hooks.is_asked(),
            // Known only when the engine starts.
            Decider::Program => false,
        };
        match Self::default().order.into_iter().find(|&decider| is_used(decider) && count(decider) == 0) {
            Some(left_out) => Err(format!("auth.order leaves {left_out} out, which the configuration has")),
            None => Ok(()),
        }
    }
}

impl KeysConfig {
    /// Checks what the types cannot; the error is in words.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        let url = self.url.as_ref().map(Secret::expose);
        match url {
            Some(_) if cfg!(not(feature = "keys")) => {
                Err("keys.url: this build knows no keys (cargo feature `keys`)")
            }
            Some("") => Err("keys.url is empty; leave it out or name a database"),
            Some(url) if url.contains("://") && !Self::is_server(url) => {
                Err("keys.url is neither a file nor a URL that begins with postgres://")
            }
            Some(url) if self.query.is_some() && !Self::is_server(url) => {
                Err("keys.query is for PostgreSQL: keys.url has to be a URL of that")
            }
            _ if self.query.is_none() && self.check_query.is_some() => {
                Err("keys.check_query needs keys.query")
            }
            _ => Ok(()),
        }
    }

    /// Whether it is the URL of a PostgreSQL database; else it is a file.
    pub(crate) fn is_server(url: &str) -> bool {
        url.starts_with("postgres://") || url.starts_with("postgresql://")
    }
}

impl HooksConfig {
    /// All URLs.
    pub(crate) fn urls(&self) -> impl Iterator<Item = &HookUrl> {
        let Self { on_connect, on_disconnect, on_publish, on_play, .. } = self;
        let Self { on_publish_done, on_play_done, on_done, on_update, on_forward, .. } = self;
        let asked = [on_connect, on_publish, on_play, on_update, on_forward];
        let told = [on_disconnect, on_publish_done, on_play_done, on_done];
        asked.into_iter().chain(told).flatten()
    }

    /// Whether somebody is asked who may publish or play.
    pub(crate) fn is_asked(&self) -> bool {
        self.on_publish.is_some() || self.on_play.is_some()
    }

    /// Checks what the types cannot; the error is in words.
    pub(super) fn check(&self, auth_timeout_ms: u64) -> Result<(), &'static str> {
        match () {
            () if self.urls().next().is_some() && self.timeout_ms >= auth_timeout_ms => {
                Err("hooks.timeout_ms has to be less than limits.auth_timeout_ms, which ends the wait")
            }
            () if cfg!(not(feature = "http")) && self.urls().next().is_some() => {
                Err("hooks: this build speaks no HTTP (cargo feature `http`)")
            }
            () if self.secret.as_ref().is_some_and(Secret::is_empty) => {
                Err("hooks.secret is empty; leave it out or give a secret")
            }
            () if self.style == HookStyle::Srs && self.method == HookMethod::Get => {
                Err("hooks.method is for the style nginx-rtmp: JSON is always posted")
            }
            () if self.style == HookStyle::Srs && (self.on_done.is_some() || self.on_update.is_some()) => {
                Err("hooks.on_done and hooks.on_update are of the style nginx-rtmp")
            }
            () if self.on_forward.is_some() && self.on_publish.is_none() => {
                Err("hooks.on_forward needs hooks.on_publish, which it follows")
            }
            () => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::Config;

    fn refusal(text: &str) -> String {
        Config::from_toml(text).and_then(|config| config.check()).unwrap_err().to_string()
    }

    #[test]
    fn an_order_has_each_once_and_leaves_nobody_out_who_is_configured() {
        let signed = "[signed_urls]\nsecret = \"s\"\n";
        for (text, word) in [
            ("[auth]\norder = [\"hooks\", \"hooks\"]", "hooks more than once"),
            (&format!("{signed}[auth]\norder = [\"program\"]"), "leaves signed-urls out"),
            ("[auth]\norder = [\"nobody\"]", "nobody"),
        ] {
            let refusal = refusal(text);
            assert!(refusal.contains(word), "{refusal}");
        }
        let config = Config::from_toml(&format!("{signed}[auth]\norder = [\"signed-urls\"]")).unwrap();
        config.check().unwrap();
    }

    #[cfg(feature = "http")]
    #[test]
    fn hooks_that_do_not_fit_together_are_an_error_in_words() {
        for (text, word) in [
            ("on_publish = \"rtmp://h/a\"", "http"),
            ("secret = \"\"", "hooks.secret is empty"),
            ("style = \"srs\"\nmethod = \"get\"", "hooks.method"),
            ("on_forward = \"http://h/\"", "hooks.on_forward"),
            ("style = \"srs\"\non_update = \"http://h/\"", "hooks.on_update"),
            ("timeout_ms = 3000\non_play = \"http://h/\"", "less than limits.auth_timeout_ms"),
            ("timeout_ms = 3001", "hooks.timeout_ms is 3001; it can be 1 to 3000"),
            ("update_every_ms = 10", "it can be 1000 to"),
        ] {
            let refusal = refusal(&format!("[hooks]\n{text}"));
            assert!(refusal.contains(word), "{refusal}");
        }
        let text = "[hooks]\nstyle = \"srs\"\non_unpublish = \"http://h/\"\non_close = \"http://h/\"";
        let hooks = Config::from_toml(text).unwrap().hooks;
        assert!(hooks.on_publish_done.is_some() && hooks.on_disconnect.is_some(), "in the words of SRS");
    }
}
