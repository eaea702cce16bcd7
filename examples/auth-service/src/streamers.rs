//! The table of streamers.

use crate::key;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use std::time::Duration;

/// A request that waits longer for the database is refused: streaming servers wait for about as long.
const PATIENCE: Duration = Duration::from_secs(2);

/// Who may publish, and what. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Streamers {
    pool: PgPool,
}

impl Streamers {
    /// Opens the database, and makes the table where it is not there.
    pub(crate) async fn open(url: &str) -> Result<Self, String> {
        // Whatever is wrong with a URL is not shown: it may have a password in it.
        let is_postgres = url.starts_with("postgres://") || url.starts_with("postgresql://");
        let options = url.parse::<PgConnectOptions>().ok().filter(|_| is_postgres);
        let options = options.ok_or("the database has to be postgres://USER@HOST/NAME")?;
        let place = format!("{}:{}", options.get_host(), options.get_port());
        let pool = PgPoolOptions::new().acquire_timeout(PATIENCE).connect_with(options).await;
        let pool = pool
            .map_err(|error| format!("no database at {place}: {error}. Is it started, and the URL right?"))?;
        let made = sqlx::raw_sql(include_str!("streamers.sql")).execute(&pool).await;
        made.map_err(|error| {
            format!("the table cannot be made: {error}. The user needs the right to create one")
        })?;
        Ok(Self { pool })
    }

    /// Makes a key for a name.
    pub(crate) async fn add(
        &self,
        name: &str,
        app: &str,
        expires: Option<Duration>,
    ) -> Result<String, String> {
        for word in [name, app] {
            let is_good = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
            if word.is_empty() || !word.chars().all(is_good) {
                return Err(format!("{word:?} cannot be a name: letters, digits and -._ only"));
            }
        }
        let key = key::new()?;
        let add = "INSERT INTO streamers (key_hash, name, app, expires, blocked) \
                   VALUES ($1, $2, $3, now() + make_interval(secs => $4), \
                           EXISTS (SELECT FROM streamers WHERE name = $2 AND blocked))";
        let seconds = expires.map(|expires| expires.as_secs_f64());
        let add = sqlx::query(add).bind(key::hash(&key)).bind(name).bind(app).bind(seconds);
        add.execute(&self.pool).await.map_err(|error| format!("it cannot be added: {error}"))?;
        Ok(key)
    }

    /// Blocks a name, with all its keys, or unblocks it.
    pub(crate) async fn block(&self, name: &str, blocked: bool) -> Result<(), String> {
        let block = sqlx::query("UPDATE streamers SET blocked = $2 WHERE name = $1").bind(name).bind(blocked);
        match block.execute(&self.pool).await {
            Ok(done) if done.rows_affected() > 0 => Ok(()),
            Ok(_) => Err(format!("there is no {name:?}; auth-service add makes it")),
            Err(error) => Err(format!("the table cannot be changed: {error}")),
        }
    }

    /// The name that a key opens in an app, if any.
    pub(crate) async fn name_of(&self, key: &str, app: &str) -> sqlx::Result<Option<String>> {
        let find = "SELECT name FROM streamers WHERE key_hash = $1 AND app = $2 AND NOT blocked \
                    AND (expires IS NULL OR expires > now())";
        sqlx::query_scalar(find).bind(key::hash(key)).bind(app).fetch_optional(&self.pool).await
    }

    /// Whether what has begun by a key may go on: a key that expires keeps nobody from that.
    pub(crate) async fn may_go_on(&self, key: &str) -> sqlx::Result<bool> {
        let find = "SELECT EXISTS (SELECT FROM streamers WHERE key_hash = $1 AND NOT blocked)";
        sqlx::query_scalar(find).bind(key::hash(key)).fetch_one(&self.pool).await
    }

    /// Whether viewers know a name.
    pub(crate) async fn is_known(&self, name: &str, app: &str) -> sqlx::Result<bool> {
        let find = "SELECT EXISTS (SELECT FROM streamers WHERE name = $1 AND app = $2 AND NOT blocked)";
        sqlx::query_scalar(find).bind(name).bind(app).fetch_one(&self.pool).await
    }

    /// Notes that a stream has begun, or ended.
    pub(crate) async fn note(&self, key: &str, is_on_air: bool) -> sqlx::Result<()> {
        let note = "UPDATE streamers SET on_air_since = CASE WHEN $2 THEN now() END WHERE key_hash = $1";
        sqlx::query(note).bind(key::hash(key)).bind(is_on_air).execute(&self.pool).await.map(|_| ())
    }
}
