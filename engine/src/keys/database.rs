//! The tables of the keys, in SQLite and in PostgreSQL, or a query of the operator's own.

use super::export::{Keyring, Row};
use super::text::{Hasher, Verifier};
use super::{KeyInfo, seconds, time};
use crate::auth::{Action, Known};
use crate::config::KeysConfig;
use crate::key::{Secret, StreamKey, random};
use crate::{Error, ErrorKind, Result};
use arc_swap::ArcSwapOption;
use serde::Deserialize;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::pool::PoolOptions;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPool};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool};
use sqlx::{ColumnIndex, ConnectOptions, Decode, Encode, Executor, Postgres, Row as _, Sqlite, Type};
use std::borrow::Cow;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::timeout;

/// How long somebody waits for a connection to the database: less than deciders have.
pub(super) const PATIENCE: Duration = Duration::from_millis(2_500);
/// Connections: to SQLite each is a thread.
const SQLITE_CONNECTIONS: u32 = 3;
const POSTGRES_CONNECTIONS: u32 = 8;
/// How often, and after how long, it is tried again to make tables that another process makes.
const AGAIN: usize = 20;
const AFTER: Duration = Duration::from_millis(50);

/// A statement that gives keys, with the columns that [`info`] reads.
macro_rules! select {
    ($rest:literal) => {
        select!("", $rest)
    };
    ($more:literal, $rest:literal) => {
        concat!(
            "SELECT id, action, stream, who, max_kbps, max_viewers, expires, until, created, revoked",
            $more,
            " FROM keys ",
            $rest
        )
    };
}

const SECRET: &str = "SELECT secret FROM hash_secret";
/// Adds to the tables what checks keys that are sent as passwords: the same in both databases.
const PASSWORDS: &str = include_str!("migrations/passwords.sql");

/// Why a key opens nothing as a password.
const NO_PASSWORD: &str = "this key was brought along, or made by a version that knew no passwords: it opens nothing as one; \
                           `streamengine keys rotate` makes one that does";
const NO_SUCH_KEY: &str =
    "wrong user or password: the user is what stands before the dash of the key, the password the whole key";

/// A database of keys. Connects when it is first needed.
#[derive(Clone)]
pub(super) struct Database {
    inner: Arc<Inner>,
}

struct Inner {
    pools: Pools,
    /// The operator's own queries, in place of our tables.
    own: Option<Own>,
    /// There once the tables are.
    hasher: ArcSwapOption<Hasher>,
    /// Held by who makes the tables.
    making: tokio::sync::Mutex<()>,
}

struct Own {
    /// Gives the whole row as JSON: whatever the types of its columns, it can be read.
    find: String,
    /// Whether `find` has a place for what is asked for. A statement takes as many values as it names.
    takes_action: bool,
    check: Option<String>,
}

impl Own {
    fn of(config: &KeysConfig) -> Option<Self> {
        let (query, check) = (config.query.as_ref()?, config.check_query.clone());
        let find = format!("SELECT to_jsonb(own)::text FROM ({query}) AS own");
        Some(Self { find, takes_action: query.contains("$2"), check })
    }
}

enum Pools {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// Does the same with whichever pool it is: the statements are those of both.
macro_rules! with_pool {
    ($database:expr, $pool:ident => $act:expr) => {
        match &$database.inner.pools {
            Pools::Sqlite($pool) => $act,
            Pools::Postgres($pool) => $act,
        }
    };
}

/// Enters a [`KeyInfo`], its hash, and what it is checked by as a password.
macro_rules! insert {
    ($executor:expr, $key:expr, $hash:expr, $verifier:expr) => {
        sqlx::query(
            "INSERT INTO keys (id, hash, action, stream, who, max_kbps, max_viewers, expires, until, created, revoked, \
             adobe_salt, adobe_verifier) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
        )
        .bind(&$key.id)
        .bind($hash)
        .bind($key.action.as_str())
        .bind($key.stream.as_str())
        .bind(&$key.who)
        .bind($key.max_kbps.map(number))
        .bind($key.max_viewers.map(number))
        .bind($key.expires.map(date))
        .bind($key.until.map(date))
        .bind($key.created.map_or(0, date))
        .bind($key.revoked.map(date))
        .bind($verifier.map(|verifier: &Verifier| verifier.salt.as_str()))
        .bind($verifier.map(|verifier: &Verifier| verifier.digest.as_str()))
        .execute($executor)
        .await
    };
}

impl Database {
    /// Of a configuration that has been checked.
    pub(super) fn new(config: &KeysConfig) -> Result<Self> {
        let url = config.url.as_ref().map(Secret::expose).unwrap_or_default();
        let own = Own::of(config);
        let pools = match KeysConfig::is_server(url) {
            true => Pools::Postgres(postgres(url, own.is_none())?),
            false => Pools::Sqlite(sqlite(Path::new(url))),
        };
        let inner = Inner { pools, own, hasher: ArcSwapOption::empty(), making: Default::default() };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Connects, and makes the tables where they are not there.
    pub(super) async fn prepare(&self) -> Result<()> {
        match self.inner.own {
            Some(_) => with_pool!(self, pool => pool.acquire().await.map(drop)).map_err(failed),
            None => self.hasher().await.map(drop),
        }
    }

    /// What finds keys here; the tables are there then.
    async fn hasher(&self) -> Result<Arc<Hasher>> {
        if let Some(hasher) = self.inner.hasher.load_full() {
            return Ok(hasher);
        }
        let _making = self.inner.making.lock().await;
        match self.inner.hasher.load_full() {
            Some(hasher) => Ok(hasher),
            None => {
                self.make_tables().await?;
                self.reload().await
            }
        }
    }

    async fn make_tables(&self) -> Result<()> {
        if self.inner.own.is_some() {
            return Err(Error::new(
                ErrorKind::State,
                "the keys come from a query of your own (keys.query): add and revoke them where they are",
            ));
        }
        // Pools go on trying, and then know no reason.
        let connect = async {
            loop {
                match with_pool!(self, pool => pool.connect_options().connect().await.map(drop)) {
                    // Whoever makes a file of SQLite's holds all others up, and not all of its statements wait for that.
                    Err(error) if is_busy(&error) => tokio::time::sleep(AFTER).await,
                    connected => break connected,
                }
            }
        };
        timeout(PATIENCE, connect).await.map_err(|_| no_answer())?.map_err(failed)?;
        let secret = random(32)?;
        let migrations = [("keys", self.inner.pools.tables()), ("passwords", PASSWORDS.into())];
        let migrations = (1..).zip(migrations).map(|(version, (name, sql))| {
            Migration::new(version, name.into(), MigrationType::Simple, sql, false)
        });
        let migrator = Migrator { migrations: migrations.collect(), ..Migrator::DEFAULT };
        if let Pools::Postgres(pool) = &self.inner.pools {
            pool.execute("CREATE SCHEMA IF NOT EXISTS streamengine").await.map_err(failed)?;
        }
        let mut left = AGAIN;
        let made = loop {
            match with_pool!(self, pool => migrator.run(pool).await) {
                // SQLite has no lock for that: another process may have made them at the same time, and then they are there.
                Err(MigrateError::Execute(_) | MigrateError::ExecuteMigration(..)) if left > 0 => {
                    left -= 1;
                    tokio::time::sleep(AFTER).await;
                }
                made => break made,
            }
        };
        made.map_err(|error| Error::new(ErrorKind::State, format!("the tables of the keys: {error}")))?;
        const FIRST: &str = "INSERT INTO hash_secret (one, secret) VALUES (1, $1) ON CONFLICT DO NOTHING";
        with_pool!(self, pool => sqlx::query(FIRST).bind(secret).execute(pool).await.map(drop))
            .map_err(failed)
    }

    /// Reads anew what finds keys: another process may have filled an empty database with keys of a third.
    pub(super) async fn reload(&self) -> Result<Arc<Hasher>> {
        let hasher = Arc::new(Hasher::new(&self.hash_secret().await?));
        self.inner.hasher.store(Some(hasher.clone()));
        Ok(hasher)
    }

    async fn hash_secret(&self) -> Result<Vec<u8>> {
        with_pool!(self, pool => sqlx::query_scalar(SECRET).fetch_one(pool).await).map_err(failed)
    }

    /// Enters a key; as it is then. With a verifier it can be a password too.
    pub(super) async fn insert(
        &self,
        key: &Secret,
        verifier: Option<Verifier>,
        info: KeyInfo,
    ) -> Result<KeyInfo> {
        let (hash, verifier) = (self.hasher().await?.hash(key.expose()), verifier.as_ref());
        match with_pool!(self, pool => insert!(pool, info, hash.as_ref(), verifier).map(drop)) {
            Ok(()) => Ok(info),
            Err(error) => Err(not_inserted(error, || "this key is there already".to_owned())),
        }
    }

    /// What a key opens, of a request for `stream`; nothing where it is none.
    pub(super) async fn find(
        &self,
        key: &str,
        action: Action,
        stream: &StreamKey,
    ) -> Result<Option<KeyInfo>> {
        if let (Some(own), Pools::Postgres(pool)) = (&self.inner.own, &self.inner.pools) {
            return find_own(pool, own, key, action, stream).await;
        }
        let hash = self.hasher().await?.hash(key);
        self.one(select!("WHERE hash = $1"), hash.as_ref()).await
    }

    pub(super) async fn get(&self, id: &str) -> Result<Option<KeyInfo>> {
        self.hasher().await?;
        self.one(select!("WHERE id = $1"), id).await
    }

    /// By what the key that is called `id` is known as a password.
    pub(super) async fn password(&self, id: &str) -> Result<Known> {
        const FIND: &str = "SELECT adobe_salt, adobe_verifier FROM keys WHERE id = $1";
        let hasher = self.hasher().await?;
        let found = with_pool!(self, pool => {
            let row = sqlx::query(FIND).bind(id).fetch_optional(pool).await.map_err(failed)?;
            row.as_ref().map(verifier).transpose()?
        });
        Ok(match found {
            Some(Some(Verifier { salt, digest })) => Known { salt, verifier: Ok(Secret::new(digest)) },
            Some(None) => Known { salt: hasher.salt(id), verifier: Err(NO_PASSWORD) },
            None => Known { salt: hasher.salt(id), verifier: Err(NO_SUCH_KEY) },
        })
    }

    /// The key that a statement finds by one value, if it does.
    async fn one<'q, T>(&self, sql: &'q str, value: T) -> Result<Option<KeyInfo>>
    where
        T: Send + Encode<'q, Sqlite> + Type<Sqlite> + Encode<'q, Postgres> + Type<Postgres> + 'q,
    {
        with_pool!(self, pool => {
            let row = sqlx::query(sql).bind(value).fetch_optional(pool).await.map_err(failed)?;
            row.as_ref().map(info).transpose()
        })
    }

    /// Whether the keys come from a query of the operator's own.
    pub(super) fn has_own_query(&self) -> bool {
        self.inner.own.is_some()
    }

    /// Why what a key has opened is to end; nothing where it may go on.
    pub(super) async fn fault(&self, id: &str, now: SystemTime) -> Result<Option<&'static str>> {
        const GONE: &str = "this key is gone";
        if let (Some(own), Pools::Postgres(pool)) = (&self.inner.own, &self.inner.pools) {
            let Some(check) = &own.check else { return Ok(None) };
            let row = sqlx::query(check).bind(id).fetch_optional(pool).await.map_err(failed)?;
            return Ok(row.is_none().then_some(GONE));
        }
        let found = self.get(id).await?;
        // Who has begun before a key expires goes on.
        Ok(found.map_or(Some(GONE), |found| KeyInfo { expires: None, ..found }.fault(now)))
    }

    pub(super) async fn list(&self, stream: Option<&StreamKey>) -> Result<Vec<KeyInfo>> {
        self.hasher().await?;
        with_pool!(self, pool => {
            let query = match stream {
                Some(stream) => sqlx::query(select!("WHERE stream = $1 ORDER BY created, id")).bind(stream.as_str()),
                None => sqlx::query(select!("ORDER BY stream, created, id")),
            };
            query.fetch_all(pool).await.map_err(failed)?.iter().map(info).collect()
        })
    }

    pub(super) async fn revoke(&self, id: &str, now: SystemTime) -> Result<()> {
        self.set_time("UPDATE keys SET revoked = $2 WHERE id = $1 AND revoked IS NULL", id, now).await
    }

    /// Has a key expire at `at`, unless it does so before.
    pub(super) async fn expire(&self, id: &str, at: SystemTime) -> Result<()> {
        let sql = "UPDATE keys SET expires = $2 WHERE id = $1 AND (expires IS NULL OR expires > $2)";
        self.set_time(sql, id, at).await
    }

    async fn set_time(&self, sql: &str, id: &str, at: SystemTime) -> Result<()> {
        self.hasher().await?;
        with_pool!(self, pool => sqlx::query(sql).bind(id).bind(date(at)).execute(pool).await.map(drop))
            .map_err(failed)
    }

    pub(super) async fn export(&self) -> Result<String> {
        self.hasher().await?;
        let secret = self.hash_secret().await?;
        let rows = with_pool!(self, pool => {
            let all = sqlx::query(select!(", hash, adobe_salt, adobe_verifier", "ORDER BY stream, created, id"));
            let all = all.fetch_all(pool).await.map_err(failed)?;
            let mut rows = Vec::with_capacity(all.len());
            for row in &all {
                let hash = row.try_get("hash").map_err(failed)?;
                rows.push(Row { info: info(row)?, hash, verifier: verifier(row)? });
            }
            rows
        });
        Ok(Keyring { secret, rows }.write())
    }

    pub(super) async fn import(&self, text: &str) -> Result<usize> {
        self.hasher().await?;
        let Keyring { secret, rows } = Keyring::read(text)?;
        with_pool!(self, pool => {
            let mut all = pool.begin().await.map_err(failed)?;
            let own: Vec<u8> = sqlx::query_scalar(SECRET).fetch_one(&mut *all).await.map_err(failed)?;
            let there: i64 =
                sqlx::query_scalar("SELECT COUNT(*) FROM keys").fetch_one(&mut *all).await.map_err(failed)?;
            match there {
                _ if own == secret => {}
                0 => sqlx::query("UPDATE hash_secret SET secret = $1")
                    .bind(&secret)
                    .execute(&mut *all)
                    .await
                    .map(drop)
                    .map_err(failed)?,
                _ => return Err(Error::new(
                    ErrorKind::State,
                    "this database has keys of its own, which are found in another way: import into an empty one",
                )),
            }
            for Row { info, hash, verifier } in &rows {
                insert!(&mut *all, info, hash, verifier.as_ref())
                    .map_err(|error| not_inserted(error, || format!("key {} is there already", info.id)))?;
            }
            all.commit().await.map_err(failed)?;
        });
        self.reload().await?;
        Ok(rows.len())
    }

    /// Something that tells when somebody else has changed the keys.
    pub(super) async fn changes(&self) -> Result<Changes> {
        match &self.inner.pools {
            Pools::Sqlite(pool) => {
                // One of its own: it does not see what it does itself.
                let mut connection = pool.connect_options().connect().await.map_err(failed)?;
                let version = data_version(&mut connection).await?;
                Ok(Changes::Sqlite { connection, version })
            }
            Pools::Postgres(pool) => {
                let mut listener = PgListener::connect_with(pool).await.map_err(failed)?;
                listener.listen("streamengine_keys").await.map_err(failed)?;
                Ok(Changes::Postgres(listener))
            }
        }
    }
}

impl Pools {
    /// What makes the tables.
    fn tables(&self) -> Cow<'static, str> {
        const TABLES: &str = include_str!("migrations/keys.sql");
        match self {
            Self::Sqlite(_) => TABLES.into(),
            Self::Postgres(_) => {
                (TABLES.replace(" BLOB", " BYTEA") + include_str!("migrations/tell_of_keys.sql")).into()
            }
        }
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.inner.pools {
            Pools::Sqlite(_) => "Database(SQLite)",
            Pools::Postgres(_) => "Database(PostgreSQL)",
        })
    }
}

fn sqlite(path: &Path) -> SqlitePool {
    make_private(path);
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        // Those who read do not wait for who writes.
        .journal_mode(SqliteJournalMode::Wal)
        .busy_timeout(PATIENCE)
        .disable_statement_logging();
    PoolOptions::new()
        .max_connections(SQLITE_CONNECTIONS)
        .acquire_timeout(PATIENCE)
        .test_before_acquire(false)
        .connect_lazy_with(options)
}

/// Whether another connection is at work (`SQLITE_BUSY`, whatever the reason).
fn is_busy(error: &sqlx::Error) -> bool {
    const BUSY: u32 = 5;
    let code = error.as_database_error().and_then(|error| error.code()?.parse::<u32>().ok());
    code.is_some_and(|code| code & 0xff == BUSY)
}

/// Makes the file where it is not there, so that nobody else can read it. What goes wrong is told by who opens it.
fn make_private(path: &Path) {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let _ = options.open(path);
}

fn postgres(url: &str, has_tables: bool) -> Result<PgPool> {
    // Its words may quote the URL.
    let fault = |_| Error::new(ErrorKind::InvalidArgument, "keys.url is no URL of a PostgreSQL database");
    let options = url.parse::<PgConnectOptions>().map_err(fault)?;
    let options = options.application_name("streamengine").disable_statement_logging();
    let options = match has_tables {
        true => options.options([("search_path", "streamengine")]),
        false => options,
    };
    Ok(PoolOptions::new()
        .max_connections(POSTGRES_CONNECTIONS)
        .acquire_timeout(PATIENCE)
        .connect_lazy_with(options))
}

/// Tells when somebody else has changed the keys.
pub(super) enum Changes {
    Sqlite { connection: SqliteConnection, version: i64 },
    Postgres(PgListener),
}

impl Changes {
    /// Waits for the next change. An error where the connection is lost: what has changed meanwhile is not known then.
    pub(super) async fn next(&mut self) -> Result<()> {
        match self {
            Self::Sqlite { connection, version } => loop {
                tokio::time::sleep(LOOK).await;
                let now = data_version(connection).await?;
                if std::mem::replace(version, now) != now {
                    return Ok(());
                }
            },
            Self::Postgres(listener) => match listener.try_recv().await.map_err(failed)? {
                Some(_) => Ok(()),
                None => Err(Error::new(ErrorKind::Reset, "the connection to the database is lost")),
            },
        }
    }
}

/// How often SQLite is asked for changes.
const LOOK: Duration = Duration::from_millis(500);

async fn data_version(connection: &mut SqliteConnection) -> Result<i64> {
    sqlx::query_scalar("PRAGMA data_version").fetch_one(connection).await.map_err(failed)
}

/// A row of the operator's own query.
#[derive(Deserialize)]
struct OwnRow {
    stream: String,
    id: Option<String>,
    who: Option<String>,
    max_kbps: Option<u64>,
    max_viewers: Option<u64>,
    expires: Option<u64>,
    until: Option<u64>,
}

async fn find_own(
    pool: &PgPool,
    own: &Own,
    key: &str,
    action: Action,
    asked: &StreamKey,
) -> Result<Option<KeyInfo>> {
    let find = sqlx::query_scalar(&own.find).bind(key);
    let find = if own.takes_action { find.bind(action.as_str()) } else { find };
    let found: Option<String> = find.fetch_optional(pool).await.map_err(failed)?;
    let Some(found) = found else { return Ok(None) };
    let row: OwnRow =
        serde_json::from_str(&found).map_err(|error| damaged(&format!("keys.query: {error}")))?;
    // A name alone is one of the app that is asked for.
    let stream = match row.stream.contains('/') {
        true => row.stream.parse(),
        false => StreamKey::new(asked.app(), &row.stream),
    };
    let stream = stream.map_err(|error| damaged(&format!("keys.query: stream: {error}")))?;
    Ok(Some(KeyInfo {
        id: row.id.or_else(|| row.who.clone()).unwrap_or_else(|| stream.to_string()),
        action,
        stream,
        who: row.who,
        max_kbps: row.max_kbps,
        max_viewers: row.max_viewers,
        expires: row.expires.map(time),
        until: row.until.map(time),
        created: None,
        revoked: None,
    }))
}

fn info<'r, R: sqlx::Row>(row: &'r R) -> Result<KeyInfo>
where
    &'static str: ColumnIndex<R>,
    String: Type<R::Database> + Decode<'r, R::Database>,
    i64: Type<R::Database> + Decode<'r, R::Database>,
{
    let number =
        |name| row.try_get::<Option<i64>, _>(name).map(|number| number.map(unsigned)).map_err(failed);
    let date = |name| number(name).map(|seconds| seconds.map(time));
    let text = |name| row.try_get::<String, _>(name).map_err(failed);
    let action = match &*text("action")? {
        "publish" => Action::Publish,
        "play" => Action::Play,
        _ => return Err(damaged("action")),
    };
    Ok(KeyInfo {
        id: text("id")?,
        action,
        stream: text("stream")?.parse().map_err(|error| damaged(&format!("stream: {error}")))?,
        who: row.try_get("who").map_err(failed)?,
        max_kbps: number("max_kbps")?,
        max_viewers: number("max_viewers")?,
        expires: date("expires")?,
        until: date("until")?,
        created: date("created")?,
        revoked: date("revoked")?,
    })
}

/// What a key is checked by as a password, where it can be one.
fn verifier<'r, R: sqlx::Row>(row: &'r R) -> Result<Option<Verifier>>
where
    &'static str: ColumnIndex<R>,
    String: Type<R::Database> + Decode<'r, R::Database>,
{
    let text = |name| row.try_get::<Option<String>, _>(name).map_err(failed);
    let (salt, digest) = (text("adobe_salt")?, text("adobe_verifier")?);
    Ok(salt.zip(digest).map(|(salt, digest)| Verifier { salt, digest }))
}

/// Databases have no numbers without sign.
fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or_default()
}

fn date(time: SystemTime) -> i64 {
    number(seconds(time))
}

/// Why a key was not entered; `twice` says that it is there.
fn not_inserted(error: sqlx::Error, twice: impl FnOnce() -> String) -> Error {
    match error.as_database_error().is_some_and(|error| error.is_unique_violation()) {
        true => Error::new(ErrorKind::Exists, twice()),
        false => failed(error),
    }
}

fn damaged(what: &str) -> Error {
    Error::new(ErrorKind::Format, format!("the database of the keys has something that cannot be: {what}"))
}

/// The database takes too long.
pub(super) fn no_answer() -> Error {
    Error::new(ErrorKind::Timeout, "the database of the keys does not answer")
}

fn failed(error: sqlx::Error) -> Error {
    const WHAT: &str = "the database of the keys";
    match error {
        sqlx::Error::Io(cause) => Error::io(WHAT, cause),
        sqlx::Error::PoolTimedOut => no_answer(),
        sqlx::Error::Database(cause) => {
            // PostgreSQL says so while it starts and stops.
            let is_away = cause.code().is_some_and(|code| code.starts_with("57P"));
            let kind = if is_away { ErrorKind::Reset } else { ErrorKind::Rejected };
            Error::new(kind, format!("{WHAT}: {cause}"))
        }
        other => Error::new(ErrorKind::Io, format!("{WHAT}: {other}")),
    }
}
