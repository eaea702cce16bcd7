//! Ends what a key has opened when the key is revoked, whoever does that.

use super::Keys;
use super::database::Changes;
use super::decider::id_of;
use crate::Result;
use crate::sessions::Sessions;
use std::convert::Infallible;
use std::time::{Duration, SystemTime};
use tokio::time::{Instant, timeout_at};

/// How long the database is left alone after it could not be reached.
const PAUSE: Duration = Duration::from_secs(1);
/// How often what has been opened is looked at where nothing tells of changes.
const LOOK: Duration = Duration::from_secs(30);
/// The same for keys of an operator's own, whose tables may tell nothing.
const LOOK_AT_OWN: Duration = Duration::from_millis(1_500);

/// Watches the keys for as long as it is polled. `settling` is the longest time for which a decision is on its way.
pub(crate) async fn watch(keys: Keys, sessions: Sessions, settling: Duration) {
    let mut is_away = false;
    loop {
        // What has changed while nobody watched is found by a look at the start.
        let Err(error) = watch_once(&keys, &sessions, settling, &mut is_away).await;
        if !std::mem::replace(&mut is_away, true) {
            tracing::warn!(
                "keys: {error}; who has one is refused until the database is back, what runs goes on"
            );
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn watch_once(
    keys: &Keys,
    sessions: &Sessions,
    settling: Duration,
    is_away: &mut bool,
) -> Result<Infallible> {
    keys.database.prepare().await?;
    let mut changes = keys.database.changes().await?;
    if std::mem::take(is_away) {
        tracing::info!("keys: the database is back");
    }
    let every = if keys.database.has_own_query() { LOOK_AT_OWN } else { LOOK };
    // A decision that was on its way has not been seen by the look before.
    let mut again = None;
    loop {
        end_revoked(keys, sessions).await?;
        let next = Instant::now() + every;
        let is_news = wait(&mut changes, again.unwrap_or(next).min(next)).await?;
        again = is_news.then(|| Instant::now() + settling);
        if is_news && !keys.database.has_own_query() {
            keys.database.reload().await?;
        }
    }
}

/// Waits for a change, until `at` at most; whether there was one.
async fn wait(changes: &mut Changes, at: Instant) -> Result<bool> {
    match timeout_at(at, changes.next()).await {
        Ok(changed) => changed.map(|()| true),
        Err(_elapsed) => Ok(false),
    }
}

async fn end_revoked(keys: &Keys, sessions: &Sessions) -> Result<()> {
    for credential in sessions.credentials() {
        let Some(id) = id_of(&credential) else { continue };
        if let Some(reason) = keys.database.fault(id, SystemTime::now()).await? {
            sessions.kick_credential(&credential, reason);
        }
    }
    Ok(())
}
