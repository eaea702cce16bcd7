//! Stream keys in a database: who may publish or play what, with which limits, and until when.
//!
//! A key is shown once, when it is made. What is stored is its HMAC-SHA256 under a secret of the database, by which it is
//! also found: no time that a search takes tells anything of another key.

mod database;
mod decider;
mod export;
mod text;
mod watch;

pub(crate) use watch::watch;

use crate::auth::{Action, Authorize, Passwords, seconds};
use crate::config::{self, KeysConfig, PublisherConfig};
use crate::key::{Secret, StreamKey};
use crate::{Error, ErrorKind, Result};
use database::Database;
use decider::{KeyDecider, KeyPasswords};
use serde::{Serialize, Serializer};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::runtime::Handle;

/// What a key opens, for whom and how far, without the key itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "http", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct KeyInfo {
    /// What the key is called by: the part before its dash, where it was made here. No secret.
    pub id: String,
    /// Whether it is for publishing or for playing.
    pub action: Action,
    /// The stream that it is for.
    pub stream: StreamKey,
    /// Whose it is.
    pub who: Option<String>,
    /// Most kbit/s that a publisher with it may send ([`PublisherConfig::max_kbps`]).
    pub max_kbps: Option<u64>,
    /// Most players that its stream may have ([`PublisherConfig::max_viewers`]).
    pub max_viewers: Option<u64>,
    /// From when on nobody may begin with it.
    #[serde(serialize_with = "as_date")]
    #[cfg_attr(feature = "http", schemars(with = "Option<String>"))]
    pub expires: Option<SystemTime>,
    /// When what it has opened ends.
    #[serde(serialize_with = "as_date")]
    #[cfg_attr(feature = "http", schemars(with = "Option<String>"))]
    pub until: Option<SystemTime>,
    /// When it was made.
    #[serde(serialize_with = "as_date")]
    #[cfg_attr(feature = "http", schemars(with = "Option<String>"))]
    pub created: Option<SystemTime>,
    /// When it was revoked.
    #[serde(serialize_with = "as_date")]
    #[cfg_attr(feature = "http", schemars(with = "Option<String>"))]
    pub revoked: Option<SystemTime>,
}

/// What a new key is to open: `NewKey::publish(stream).who("alice".to_owned())`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NewKey {
    /// Whether it is for publishing or for playing.
    pub action: Action,
    /// The stream that it is for.
    pub stream: StreamKey,
    /// Whose it is. A publisher that is lost can be replaced by one of the same name, whatever its key.
    pub who: Option<String>,
    /// As [`KeyInfo::max_kbps`].
    pub max_kbps: Option<u64>,
    /// As [`KeyInfo::max_viewers`].
    pub max_viewers: Option<u64>,
    /// As [`KeyInfo::expires`]; kept in whole seconds.
    pub expires: Option<SystemTime>,
    /// As [`KeyInfo::until`]; kept in whole seconds.
    pub until: Option<SystemTime>,
}

setters! {
    NewKey: Action { action } StreamKey { stream };
    String { who } u64 { max_kbps, max_viewers } SystemTime { expires, until }
}

impl NewKey {
    /// A key to publish `stream` with.
    pub fn publish(stream: StreamKey) -> Self {
        Self {
            action: Action::Publish,
            stream,
            who: None,
            max_kbps: None,
            max_viewers: None,
            expires: None,
            until: None,
        }
    }

    /// Reads what a key is to open, and the key itself where there is one already: a JSON object with `stream`, and where they are
    /// wanted `play`, `who`, `max_kbps`, `max_viewers`, `expires` and `until` (`2027-01-31T18:00:00Z`), and `key`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for what is no such object. The text quotes none of its values.
    pub fn from_json(json: &str) -> Result<(Option<Secret>, Self)> {
        let fault = |what: &str| Error::new(ErrorKind::InvalidArgument, format!("key: {what}"));
        let date = |text: Option<String>| {
            let read = text.map(|text| humantime::parse_rfc3339_weak(&text)).transpose();
            read.map_err(|_| fault("a date is no 2027-01-31T18:00:00Z"))
        };
        // The words of serde quote what they find.
        let written: WrittenKey = serde_json::from_str(json).map_err(|_| {
            fault("expected {\"stream\":\"live/a\"}, and if wanted key, play, who, max_kbps, max_viewers, expires, until")
        })?;
        let stream = written.stream.parse().map_err(|error| fault(&format!("stream: {error}")))?;
        let new = if written.play { Self::play(stream) } else { Self::publish(stream) };
        let new = new
            .who(written.who)
            .max_kbps(written.max_kbps)
            .max_viewers(written.max_viewers)
            .expires(date(written.expires)?)
            .until(date(written.until)?);
        Ok((written.key, new))
    }

    /// A key to play `stream` with.
    pub fn play(stream: StreamKey) -> Self {
        Self { action: Action::Play, ..Self::publish(stream) }
    }

    /// Checks what the types cannot.
    fn check(&self) -> Result<()> {
        let limits = PublisherConfig::default().max_kbps(self.max_kbps).max_viewers(self.max_viewers);
        let invalid = |text: String| Err(Error::new(ErrorKind::InvalidArgument, format!("key: {text}")));
        limits.check().map_err(|error| error.context("key"))?;
        match () {
            () if self.who.as_deref() == Some("") => invalid("who is empty; leave it out".to_owned()),
            () if self.who.as_deref().is_some_and(is_no_name) => {
                invalid(format!("who has more than {MAX_WHO} bytes, or control characters"))
            }
            () => config::check_not_of_origin(&self.stream),
        }
    }
}

/// A new key as JSON has it.
#[derive(serde::Deserialize)]
#[cfg_attr(feature = "http", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "http", schemars(rename = "NewKey"))]
#[serde(deny_unknown_fields)]
pub(crate) struct WrittenKey {
    /// The key, where there is one already; else one is made.
    #[cfg_attr(feature = "http", schemars(with = "Option<String>"))]
    key: Option<Secret>,
    /// The stream that it is for, `app/stream`.
    stream: String,
    /// Whether it is for playing; else it is for publishing.
    #[serde(default)]
    play: bool,
    /// Whose it is.
    who: Option<String>,
    /// Most kbit/s that a publisher with it may send.
    max_kbps: Option<u64>,
    /// Most players that its stream may have.
    max_viewers: Option<u64>,
    /// From when on nobody may begin with it: `2027-01-31T18:00:00Z`.
    expires: Option<String>,
    /// When what it has opened ends.
    until: Option<String>,
}

/// Longest name of whom a key is, in bytes.
const MAX_WHO: usize = 200;

fn is_no_name(who: &str) -> bool {
    who.len() > MAX_WHO || who.contains(char::is_control)
}

/// A key that has just been made: the only time that it is shown. As JSON it is [`KeyInfo`] with the field `key`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct MadeKey {
    /// What the publisher or player sends.
    pub key: Secret,
    /// What it opens.
    pub info: KeyInfo,
}

impl Serialize for MadeKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Shown<'a> {
            key: &'a str,
            #[serde(flatten)]
            info: &'a KeyInfo,
        }
        Shown { key: self.key.expose(), info: &self.info }.serialize(serializer)
    }
}

/// A database of stream keys. Cheap to clone. Its methods need a tokio runtime with time and I/O.
#[derive(Debug, Clone)]
pub struct Keys {
    database: Database,
}

impl Keys {
    /// Opens a database: the file of an SQLite database, which is made where it is not there, or the URL of a PostgreSQL
    /// database, `postgres://USER:PASSWORD@HOST/NAME`, in which the tables are made in a schema `streamengine`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for what is neither; otherwise what keeps the database from being opened.
    pub async fn open(url: &Secret) -> Result<Self> {
        let keys = Self::at(&KeysConfig::default().url(url.clone()))?;
        keys.database.prepare().await?;
        Ok(keys)
    }

    /// A database that nobody has connected to yet.
    fn at(config: &KeysConfig) -> Result<Self> {
        config.check().map_err(|text| Error::new(ErrorKind::InvalidArgument, text))?;
        Ok(Self { database: Database::new(config)? })
    }

    /// Decides by these keys who may publish, and with `play` who may play.
    pub(crate) fn decider(&self, play: bool) -> Arc<dyn Authorize> {
        Arc::new(KeyDecider::new(self.clone(), play))
    }

    /// What checks keys that are sent as passwords; none where they come from a query of the operator's own, which knows nothing of
    /// that.
    pub(crate) fn passwords(&self) -> Option<Arc<dyn Passwords>> {
        match self.database.has_own_query() {
            true => None,
            false => Some(Arc::new(KeyPasswords::new(self.clone()))),
        }
    }

    /// Makes a key.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for values that cannot be; otherwise those of the database.
    pub async fn add(&self, new: &NewKey) -> Result<MadeKey> {
        new.check()?;
        let (id, key) = text::make()?;
        let verifier = text::Verifier::of(&id, &key)?;
        let info = self.database.insert(&key, Some(verifier), KeyInfo::new(id, new)).await?;
        Ok(MadeKey { key, info })
    }

    /// Takes a key in that somebody has already. Who can read the database can try out short ones.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for a key of fewer than 8 or more than 128 bytes and for values that cannot be,
    /// [`ErrorKind::Exists`] where it is there already; otherwise those of the database.
    pub async fn add_existing(&self, key: &Secret, new: &NewKey) -> Result<KeyInfo> {
        new.check()?;
        text::check(key)?;
        let id = text::make()?.0;
        // It may be short: an MD5 of it could be tried out much faster than what is kept anyway.
        self.database.insert(key, None, KeyInfo::new(id, new)).await
    }

    /// All keys, or those of a stream; by stream and age.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn list(&self, stream: Option<&StreamKey>) -> Result<Vec<KeyInfo>> {
        self.database.list(stream).await
    }

    /// The key that is called `id`.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] where there is none; otherwise those of the database.
    pub async fn get(&self, id: &str) -> Result<KeyInfo> {
        self.database.get(id).await?.ok_or_else(|| no_such_key(id))
    }

    /// Revokes a key: nobody may begin with it any more, and what it has opened ends at once, in engines of other processes
    /// within two seconds. A key that has been revoked stays as it is.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn revoke(&self, id: &str) -> Result<KeyInfo> {
        self.database.revoke(id, SystemTime::now()).await?;
        self.get(id).await
    }

    /// Makes a key that opens what another one does, which goes on to be good for `overlap`.
    ///
    /// # Errors
    /// As [`Self::get`]; [`ErrorKind::State`] where the other one has been revoked.
    pub async fn rotate(&self, id: &str, overlap: Duration) -> Result<MadeKey> {
        let old = self.get(id).await?;
        if old.revoked.is_some() {
            return Err(Error::new(ErrorKind::State, format!("key {id} has been revoked: add a new one")));
        }
        let made = self.add(&old.renewed()).await?;
        self.database.expire(id, SystemTime::now() + overlap).await?;
        Ok(made)
    }

    /// All keys for another database, one JSON object in a line; what finds them is in the first. Whoever has it can try out
    /// keys, as whoever has the database can.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn export(&self) -> Result<Secret> {
        self.database.export().await.map(Secret::new)
    }

    /// Takes in what [`Self::export`] has given; how many keys there were.
    ///
    /// # Errors
    /// [`ErrorKind::Format`] for text that is none of that, [`ErrorKind::State`] where this database has keys of its own and
    /// finds them otherwise, [`ErrorKind::Exists`] where a key is there already; then nothing is taken in.
    pub async fn import(&self, exported: &Secret) -> Result<usize> {
        self.database.import(exported.expose()).await
    }
}

/// How long an engine waits at its start for the database.
const START: Duration = Duration::from_secs(4);

/// The keys that the configuration names, if it does. A database that cannot be reached now may come: until then who has a
/// key is refused.
///
/// # Errors
/// What waiting does not mend.
pub(crate) fn open_configured(config: &KeysConfig, runtime: &Handle) -> Result<Option<Keys>> {
    if config.url.is_none() {
        return Ok(None);
    }
    // Pools have tasks of their own.
    let _entered = runtime.enter();
    let keys = Keys::at(config)?;
    let (tell, told) = std::sync::mpsc::sync_channel(1);
    let database = keys.database.clone();
    runtime.spawn(async move { tell.send(database.prepare().await) });
    match told.recv_timeout(START).unwrap_or_else(|_| Err(database::no_answer())) {
        Err(error) if !is_away(error.kind()) => return Err(error),
        Err(error) => tracing::warn!("keys: {error}; who has a key is refused until the database is there"),
        Ok(()) => {}
    }
    Ok(Some(keys))
}

/// Whether a database may be there later.
fn is_away(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Refused | ErrorKind::Reset | ErrorKind::Timeout | ErrorKind::Resolve | ErrorKind::Io
    )
}

fn no_such_key(id: &str) -> Error {
    let id = crate::Printable(id);
    Error::new(
        ErrorKind::NotFound,
        format!("there is no key {id} (a key is called by what stands before its dash)"),
    )
}

impl KeyInfo {
    /// A key that is made now.
    fn new(id: String, new: &NewKey) -> Self {
        let NewKey { action, stream, who, max_kbps, max_viewers, expires, until } = new.clone();
        let whole = |at| time(seconds(at));
        let (expires, until) = (expires.map(whole), until.map(whole));
        let created = Some(whole(SystemTime::now()));
        Self { id, action, stream, who, max_kbps, max_viewers, expires, until, created, revoked: None }
    }

    /// A key that opens the same.
    fn renewed(&self) -> NewKey {
        let Self { action, stream, who, max_kbps, max_viewers, until, .. } = self.clone();
        NewKey { action, stream, who, max_kbps, max_viewers, expires: None, until }
    }

    /// Why it opens nothing, whatever it is shown for.
    fn fault(&self, now: SystemTime) -> Option<&'static str> {
        let is_over = |time: Option<SystemTime>| time.is_some_and(|time| time <= now);
        match () {
            () if self.revoked.is_some() => Some("this key has been revoked"),
            () if is_over(self.expires) => Some("this key has expired"),
            () if is_over(self.until) => Some(TIME_IS_OVER),
            () => None,
        }
    }
}

/// What those are told whose key was good until now.
const TIME_IS_OVER: &str = "the time of this key is over";

/// A time as databases have it: in whole seconds since 1970.
fn time(seconds: u64) -> SystemTime {
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap_or(UNIX_EPOCH)
}

/// `2026-12-31T23:59:59Z`, or nothing.
fn as_date<S: Serializer>(time: &Option<SystemTime>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => serializer.collect_str(&humantime::format_rfc3339_seconds(*time)),
        None => serializer.serialize_none(),
    }
}
