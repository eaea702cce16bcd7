//! Who has logged in over HTTP by the password: sessions, known by a cookie, and the way to one.
//!
//! ```text
//!   a password ──may this address try?──its turn?──> argon2id, on a thread of its own ──> a session, of which the hash is kept
//! ```
//! One password is tried at a time, however many come, so that trying costs one thread and its 19 MiB; where many wait, more are
//! told to come again. An address that has been wrong often is told so before anything is tried, and whether it would have been right.

use crate::address::{ByAddress, Held, Holdings};
use crate::budget::{Budget, Rate};
use crate::config::{HttpConfig, TokenHash};
use crate::key::Secret;
use crate::password::PasswordHash;
use crate::{Error, ErrorKind, Result};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::Instant;

bound! {
    /// Sessions at a time; the oldest leaves for the next (test `of_more_than_64_sessions_the_oldest_ends`).
    const MAX_SESSIONS: usize = 64, without usize::MAX;
    /// How long a session lasts, whatever is done in it (test `a_session_ends_when_nobody_uses_it_and_after_half_a_day_at_the_latest`).
    pub(crate) const SESSION_TIME: Duration = Duration::from_secs(12 * 3_600), without Duration::from_secs(1 << 30);
    /// How long it lasts without being used (test `a_session_ends_when_nobody_uses_it_and_after_half_a_day_at_the_latest`).
    const IDLE_TIME: Duration = Duration::from_secs(3_600), without Duration::from_secs(1 << 30);
    /// Passwords that wait to be tried (test `more_than_16_who_wait_to_be_tried_are_told_to_come_again`).
    const MAX_WAITING: usize = 16, without 1 << 20;
    /// Of these, of one address (test `one_address_tries_one_password_at_a_time`).
    const MAX_WAITING_OF_ADDRESS: usize = 1, without 1 << 20;
}

/// When those are to come again who came while as many waited as may.
const SOON: Duration = Duration::from_secs(1);

/// The password, and the sessions of those who know it.
pub(crate) struct Login {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// Wrong passwords.
    failures: Mutex<ByAddress<Budget>>,
    waiting: Arc<Semaphore>,
    waiting_of: Holdings,
    /// Whose turn it is to be tried, or to set another password.
    turn: Arc<Semaphore>,
}

#[derive(Default)]
struct State {
    password: Password,
    /// Counts the passwords that there have been: what was found out about one is of no use for the next.
    number: u64,
    /// The oldest first.
    sessions: VecDeque<Session>,
}

/// The password, as a configuration has it.
#[derive(Default, Clone)]
pub(crate) struct Password {
    hash: Option<PasswordHash>,
    /// What the configuration says itself; another that is set in its place holds until that changes.
    configured: Option<Secret>,
    /// Where it is kept.
    file: Option<PathBuf>,
    /// The number of the password that there was when it was read.
    number: u64,
}

struct Session {
    /// Of the text that is in the cookie.
    id: TokenHash,
    begun: Instant,
    used: Instant,
}

impl Session {
    fn is_over(&self, now: Instant) -> bool {
        now - self.begun >= SESSION_TIME.get() || now - self.used >= IDLE_TIME.get()
    }
}

/// Why nobody has logged in, or set a password.
#[derive(Debug)]
pub(crate) enum NoEntry {
    /// There is no password.
    NotSet,
    Wrong,
    /// The address has been wrong too often: when it may try again.
    TooOften(Duration),
    /// As many wait as may: when to come again.
    Busy(Duration),
    /// The password has become another one meanwhile.
    Changed,
    Failed(Error),
}

impl From<Error> for NoEntry {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl Default for Login {
    fn default() -> Self {
        let shared = Shared {
            state: Mutex::default(),
            failures: Mutex::default(),
            waiting: Arc::new(Semaphore::new(MAX_WAITING.get())),
            waiting_of: Holdings::new(MAX_WAITING_OF_ADDRESS.get()),
            turn: Arc::new(Semaphore::new(1)),
        };
        Self { shared: Arc::new(shared) }
    }
}

impl Login {
    /// The password of a configuration. May wait for a disk.
    ///
    /// # Errors
    /// As [`PasswordHash::parse`] and [`PasswordHash::read`].
    pub(crate) fn read(&self, config: &HttpConfig) -> Result<Password> {
        let number = self.shared.state.lock().number;
        let kept = config.password_file.as_deref().map(PasswordHash::read).transpose()?.flatten();
        let configured =
            || config.password.as_ref().map(|hash| PasswordHash::parse(hash.expose())).transpose();
        let hash = if kept.is_some() { kept } else { configured()? };
        let (configured, file) = (config.password.clone(), config.password_file.clone());
        Ok(Password { hash, configured, file, number })
    }

    /// Holds to the password of another configuration. Where it is another one, all sessions end.
    pub(crate) fn put(&self, password: Password) {
        let state = &mut *self.shared.state.lock();
        let before = &state.password;
        let is_of_same_place = before.file == password.file && before.configured == password.configured;
        // What has been set meanwhile is in the file now, or in place of what the configuration says.
        let is_outdated = match password.file {
            Some(_) => password.number != state.number,
            None => true,
        };
        if is_of_same_place && is_outdated {
            return;
        }
        let is_same = before.hash == password.hash;
        state.password = password;
        if !is_same {
            state.number += 1;
            state.sessions.clear();
        }
    }

    /// Whether there is a password.
    pub(crate) fn has_password(&self) -> bool {
        self.shared.state.lock().password.hash.is_some()
    }

    /// Whether another password that is set outlasts the engine.
    pub(crate) fn keeps_password(&self) -> bool {
        self.shared.state.lock().password.file.is_some()
    }

    /// Whether a cookie is that of a session, which is used by that.
    pub(crate) fn knows(&self, cookie: &str) -> bool {
        let (id, now) = (TokenHash::of(cookie), Instant::now());
        let state = &mut *self.shared.state.lock();
        state.sessions.retain(|session| !session.is_over(now));
        let session = state.sessions.iter_mut().find(|session| session.id == id);
        session.map(|session| session.used = now).is_some()
    }

    /// Ends the session of a cookie, if there is one.
    pub(crate) fn end(&self, cookie: &str) {
        let id = TokenHash::of(cookie);
        self.shared.state.lock().sessions.retain(|session| session.id != id);
    }

    /// Begins a session of somebody at `address` who has the password, which may be wrong so often in a minute: its cookie.
    pub(crate) async fn begin(
        &self,
        address: IpAddr,
        password: Secret,
        wrong_per_minute: u32,
    ) -> std::result::Result<Secret, NoEntry> {
        let tried = self.tried(address, password, wrong_per_minute).await?;
        let state = &mut *self.shared.state.lock();
        if state.number != tried.number {
            return Err(NoEntry::Changed);
        }
        Ok(state.begin()?)
    }

    /// Sets another password and ends all sessions: the cookie of a new one. Where there is a password, it is to be told.
    pub(crate) async fn set(
        &self,
        address: IpAddr,
        current: Option<Secret>,
        new: Secret,
        wrong_per_minute: u32,
    ) -> std::result::Result<Secret, NoEntry> {
        PasswordHash::check_length(new.expose())?;
        let tried = match self.has_password() {
            true => self.tried(address, current.unwrap_or_default(), wrong_per_minute).await?,
            false => self.its_turn(address).await?,
        };
        let shared = self.shared.clone();
        // Nobody else sets one until this is done, whether who asked waits for it or not.
        let work = move || shared.set(&tried, &new);
        spawn_blocking(work).await.unwrap_or_else(|_| Err(ended()))
    }

    /// Tries a password, when its turn comes. What is returned keeps the turn.
    async fn tried(
        &self,
        address: IpAddr,
        password: Secret,
        wrong_per_minute: u32,
    ) -> std::result::Result<Turn, NoEntry> {
        let rate = Rate::new(wrong_per_minute.into(), Duration::from_secs(60));
        self.shared.may_try(address, rate)?;
        let turn = self.its_turn(address).await?;
        let shared = self.shared.clone();
        // It is tried and counted whether who asked waits for it or not: else leaving early would be free.
        let work = move || {
            shared.may_try(address, rate)?;
            shared.try_password(address, &password, rate).map(|()| turn)
        };
        spawn_blocking(work).await.unwrap_or_else(|_| Err(ended()))
    }

    /// Waits for the turn to try or set a password.
    async fn its_turn(&self, address: IpAddr) -> std::result::Result<Turn, NoEntry> {
        let shared = &self.shared;
        let place = shared.waiting_of.take(address).ok_or(NoEntry::Busy(SOON))?;
        let waiting = shared.waiting.try_acquire().map_err(|_| NoEntry::Busy(SOON))?;
        let turn = shared.turn.clone().acquire_owned().await.map_err(|_| ended())?;
        drop(waiting);
        let number = shared.state.lock().number;
        Ok(Turn { number, _turn: turn, _place: place })
    }
}

/// The turn to try or set a password, with the number of the one that there is.
struct Turn {
    number: u64,
    _turn: OwnedSemaphorePermit,
    _place: Held,
}

impl Shared {
    /// Whether an address may try a password, after those that were wrong.
    fn may_try(&self, address: IpAddr, rate: Rate) -> std::result::Result<(), NoEntry> {
        let now = Instant::now();
        let mut budget = *self.failures.lock().of(address, now);
        match budget.has(rate, 1, now) {
            true => Ok(()),
            false => Err(NoEntry::TooOften(budget.borrow(rate, 1, now) - now)),
        }
    }

    /// Takes long, on purpose.
    fn try_password(
        &self,
        address: IpAddr,
        password: &Secret,
        rate: Rate,
    ) -> std::result::Result<(), NoEntry> {
        let hash = self.state.lock().password.hash.clone().ok_or(NoEntry::NotSet)?;
        if hash.is_of(password.expose()) {
            return Ok(());
        }
        let now = Instant::now();
        self.failures.lock().of(address, now).spend(rate, 1, now);
        Err(NoEntry::Wrong)
    }

    /// Sets another password, and begins a session. May wait for a disk.
    fn set(&self, turn: &Turn, new: &Secret) -> std::result::Result<Secret, NoEntry> {
        let hash = PasswordHash::make(new.expose())?;
        let file = {
            let state = self.state.lock();
            if state.number != turn.number {
                return Err(NoEntry::Changed);
            }
            state.password.file.clone()
        };
        if let Some(file) = file {
            hash.write(&file)?;
        }
        let state = &mut *self.state.lock();
        state.password.hash = Some(hash);
        state.number += 1;
        state.sessions.clear();
        Ok(state.begin()?)
    }
}

impl State {
    /// Begins a session: its cookie.
    fn begin(&mut self) -> Result<Secret> {
        let ((cookie, id), now) = (TokenHash::make()?, Instant::now());
        self.sessions.retain(|session| !session.is_over(now));
        while self.sessions.len() >= MAX_SESSIONS.get() {
            self.sessions.pop_front();
        }
        self.sessions.push_back(Session { id, begun: now, used: now });
        Ok(cookie)
    }
}

fn ended() -> NoEntry {
    Error::new(ErrorKind::Internal, "a bug in the engine has ended this work").into()
}

#[cfg(test)]
mod tests;
