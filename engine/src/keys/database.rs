//! The tables of the keys, in SQLite and in PostgreSQL, or a query of the operator's own.

use super::text::{self, Hasher};
use super::{Exported, KeyInfo, NewKey, no_such_key, seconds, time};
use crate::auth::Action;
use crate::config::KeysConfig;
use crate::key::{Secret, StreamKey};
use crate::{Error, ErrorKind, Result};
use arc_swap::ArcSwapOption;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::pool::PoolOptions;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPool};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool};
use sqlx::{ColumnIndex, ConnectOptions, Decode, Executor, Row, Type};
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

const COLUMNS: &str = "id, action, stream, who, max_kbps, max_viewers, expires, until, created, revoked";

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
    find: String,
    check: Option<String>,
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

/// Binds the values of a whole row, in the order of [`Exported`].
macro_rules! insert {
    ($executor:expr, $key:expr, $hash:expr) => {
        sqlx::query(
            "INSERT INTO keys (id, hash, action, stream, who, max_kbps, max_viewers, expires, until, created, revoked) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        )
        .bind(&$key.id)
        .bind($hash)
        .bind($key.action.as_str())
        .bind(&$key.stream)
        .bind(&$key.who)
        .bind($key.max_kbps.map(number))
        .bind($key.max_viewers.map(number))
        .bind($key.expires.map(number))
        .bind($key.until.map(number))
        .bind(number($key.created))
        .bind($key.revoked.map(number))
        .execute($executor)
        .await
    };
}

impl Database {
    pub(super) fn new(config: &KeysConfig) -> Result<Self> {
        let url = config.url.as_ref().map(Secret::expose).unwrap_or_default();
        let pools = match url.split_once("://") {
            Some(("postgres" | "postgresql", _)) => Pools::Postgres(postgres(url, config.query.is_none())?),
            None if url.is_empty() => return Err(invalid("keys.url is empty")),
            None if config.query.is_some() => {
                return Err(invalid("keys.query is for PostgreSQL: keys.url has to be a URL of that"));
            }
            None => Pools::Sqlite(sqlite(Path::new(url))),
            Some(_) => {
                return Err(invalid("keys.url is neither a file nor a URL that begins with postgres://"));
            }
        };
        let own = config.query.clone().map(|find| Own { find, check: config.check_query.clone() });
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
        let connect = async { with_pool!(self, pool => pool.connect_options().connect().await.map(drop)) };
        timeout(PATIENCE, connect).await.map_err(|_| no_answer())?.map_err(failed)?;
        let (sql, secret) = (self.inner.pools.tables(), text::random(32)?);
        let tables = Migration::new(1, "keys".into(), MigrationType::Simple, sql.into(), false);
        let migrator = Migrator { migrations: vec![tables].into(), ..Migrator::DEFAULT };
        if let Pools::Postgres(pool) = &self.inner.pools {
            pool.execute("CREATE SCHEMA IF NOT EXISTS streamengine").await.map_err(failed)?;
        }
        let made = with_pool!(self, pool => migrator.run(pool).await);
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
        const SECRET: &str = "SELECT secret FROM hash_secret";
        with_pool!(self, pool => sqlx::query_scalar(SECRET).fetch_one(pool).await).map_err(failed)
    }

    pub(super) async fn insert(&self, id: &str, key: &Secret, new: &NewKey) -> Result<KeyInfo> {
        let hash = self.hasher().await?.hash(key.expose());
        let row = Exported::new(id, new);
        let inserted = with_pool!(self, pool => insert!(pool, row, hash.as_ref()).map(drop));
        inserted.map_err(|error| match is_there_already(&error) {
            true => Error::new(ErrorKind::Exists, "this key is there already"),
            false => failed(error),
        })?;
        self.get(id).await?.ok_or_else(|| no_such_key(id))
    }

    /// What a key opens, of a request for `stream`; nothing where it is none.
    pub(super) async fn find(
        &self,
        key: &str,
        action: Action,
        stream: &StreamKey,
    ) -> Result<Option<KeyInfo>> {
        if let (Some(own), Pools::Postgres(pool)) = (&self.inner.own, &self.inner.pools) {
            return find_own(pool, &own.find, key, action, stream).await;
        }
        let (hash, sql) =
            (self.hasher().await?.hash(key), format!("SELECT {COLUMNS} FROM keys WHERE hash = $1"));
        with_pool!(self, pool => {
            let row = sqlx::query(&sql).bind(hash.as_ref()).fetch_optional(pool).await.map_err(failed)?;
            row.as_ref().map(info).transpose()
        })
    }

    pub(super) async fn get(&self, id: &str) -> Result<Option<KeyInfo>> {
        self.hasher().await?;
        let sql = format!("SELECT {COLUMNS} FROM keys WHERE id = $1");
        with_pool!(self, pool => {
            let row = sqlx::query(&sql).bind(id).fetch_optional(pool).await.map_err(failed)?;
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
        let of = stream.map_or("", |_| "WHERE stream = $1");
        let sql = format!("SELECT {COLUMNS} FROM keys {of} ORDER BY stream, created, id");
        let name = stream.map(StreamKey::as_str);
        with_pool!(self, pool => {
            let query = sqlx::query(&sql);
            let query = match name {
                Some(name) => query.bind(name),
                None => query,
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
        let at = number(seconds(at));
        with_pool!(self, pool => sqlx::query(sql).bind(id).bind(at).execute(pool).await.map(drop))
            .map_err(failed)
    }

    pub(super) async fn export(&self) -> Result<String> {
        self.hasher().await?;
        let head = Head { hash_secret: STANDARD.encode(self.hash_secret().await?) };
        let mut lines = line(&head)?;
        let sql = format!("SELECT {COLUMNS}, hash FROM keys ORDER BY stream, created, id");
        let rows: Vec<Exported> = with_pool!(self, pool => {
            sqlx::query(&sql).fetch_all(pool).await.map_err(failed)?.iter().map(exported).collect::<Result<_>>()
        })?;
        for row in &rows {
            lines += &line(row)?;
        }
        Ok(lines)
    }

    pub(super) async fn import(&self, text: &str) -> Result<usize> {
        self.hasher().await?;
        let Moving { secret, rows } = parse(text)?;
        let count = rows.len();
        with_pool!(self, pool => {
            let mut all = pool.begin().await.map_err(failed)?;
            let own: Vec<u8> =
                sqlx::query_scalar("SELECT secret FROM hash_secret").fetch_one(&mut *all).await.map_err(failed)?;
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
            for (row, hash) in &rows {
                insert!(&mut *all, row, hash).map_err(|error| match is_there_already(&error) {
                    true => Error::new(ErrorKind::Exists, format!("key {} is there already", row.id)),
                    false => failed(error),
                })?;
            }
            all.commit().await.map_err(failed)?;
        });
        self.reload().await?;
        Ok(count)
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
    fn tables(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => include_str!("migrations/sqlite.sql"),
            Self::Postgres(_) => include_str!("migrations/postgres.sql"),
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
    let options = url
        .parse::<PgConnectOptions>()
        .map_err(|_| invalid("keys.url is no URL of a PostgreSQL database"))?;
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

/// A row of the operator's own query, whatever the types of its columns.
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
    query: &str,
    key: &str,
    action: Action,
    asked: &StreamKey,
) -> Result<Option<KeyInfo>> {
    let sql = format!("SELECT to_jsonb(own)::text FROM ({query}) AS own");
    let find = sqlx::query_scalar(&sql).bind(key);
    // A statement takes as many values as it names.
    let find = if query.contains("$2") { find.bind(action.as_str()) } else { find };
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

/// The first line of what is exported.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    hash_secret: String,
}

fn line(value: &impl Serialize) -> Result<String> {
    let text = serde_json::to_string(value).map_err(|error| damaged(&error.to_string()))?;
    Ok(text + "\n")
}

/// What finds the keys of a database, and the keys with their hashes.
struct Moving {
    secret: Vec<u8>,
    rows: Vec<(Exported, Vec<u8>)>,
}

/// Reads what [`Database::export`] has written.
fn parse(text: &str) -> Result<Moving> {
    let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let fault = |at: usize, what: &str| Error::new(ErrorKind::Format, format!("line {}: {what}", at + 1));
    let no_head = || Error::new(ErrorKind::Format, "the first line is not that of exported keys");
    let (_, head) = lines.next().ok_or_else(no_head)?;
    let head: Head = serde_json::from_str(head).map_err(|_| no_head())?;
    let secret = STANDARD.decode(head.hash_secret).map_err(|_| no_head())?;
    let rows = lines.map(|(at, line)| {
        // The words of serde quote what they find.
        let row: Exported = serde_json::from_str(line).map_err(|_| fault(at, "this is no exported key"))?;
        let hash = STANDARD.decode(&row.hash).map_err(|_| fault(at, "`hash` is not what was exported"))?;
        row.stream.parse::<StreamKey>().map_err(|error| fault(at, &format!("stream: {error}")))?;
        Ok((row, hash))
    });
    Ok(Moving { secret, rows: rows.collect::<Result<_>>()? })
}

impl Exported {
    /// The row of a new key, but for its hash.
    fn new(id: &str, new: &NewKey) -> Self {
        Self {
            id: id.to_owned(),
            hash: String::new(),
            action: new.action,
            stream: new.stream.to_string(),
            who: new.who.clone(),
            max_kbps: new.max_kbps,
            max_viewers: new.max_viewers,
            expires: new.expires.map(seconds),
            until: new.until.map(seconds),
            created: seconds(SystemTime::now()),
            revoked: None,
        }
    }
}

fn info<'r, R: Row>(row: &'r R) -> Result<KeyInfo>
where
    &'static str: ColumnIndex<R>,
    String: Type<R::Database> + Decode<'r, R::Database>,
    i64: Type<R::Database> + Decode<'r, R::Database>,
{
    let number =
        |name| row.try_get::<Option<i64>, _>(name).map(|number| number.map(unsigned)).map_err(failed);
    let date = |name| number(name).map(|seconds| seconds.map(time));
    let text = |name| row.try_get::<String, _>(name).map_err(failed);
    let action = text("action")?;
    Ok(KeyInfo {
        id: text("id")?,
        action: [Action::Publish, Action::Play]
            .into_iter()
            .find(|known| known.as_str() == action)
            .ok_or_else(|| damaged("action"))?,
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

fn exported<'r, R: Row>(row: &'r R) -> Result<Exported>
where
    &'static str: ColumnIndex<R>,
    String: Type<R::Database> + Decode<'r, R::Database>,
    i64: Type<R::Database> + Decode<'r, R::Database>,
    Vec<u8>: Type<R::Database> + Decode<'r, R::Database>,
{
    let info = info(row)?;
    let hash: Vec<u8> = row.try_get("hash").map_err(failed)?;
    Ok(Exported {
        id: info.id,
        hash: STANDARD.encode(hash),
        action: info.action,
        stream: info.stream.to_string(),
        who: info.who,
        max_kbps: info.max_kbps,
        max_viewers: info.max_viewers,
        expires: info.expires.map(seconds),
        until: info.until.map(seconds),
        created: info.created.map_or(0, seconds),
        revoked: info.revoked.map(seconds),
    })
}

/// Databases have no numbers without sign.
fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or_default()
}

fn is_there_already(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.is_unique_violation())
}

fn invalid(text: &'static str) -> Error {
    Error::new(ErrorKind::InvalidArgument, text)
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
