//! Logging in and out, and the password: what cookies there are, and what they open.

use super::change::{Content, nothing};
use super::operations::Act;
use super::problem::Problem;
use super::told;
use super::views::{NewPassword, Session, Shown};
use crate::key::Secret;
use crate::login::{NoEntry, SESSION_TIME};
use crate::service::http::Asker;
use crate::service::http::access::{self, Way};
use crate::service::http::manage;
use crate::service::http::reply::Reply;
use hyper::StatusCode;
use hyper::header::{HeaderValue, SET_COOKIE};
use hyper::http::request::Parts;
use tracing::Level;

/// Whether an operation is one of these.
pub(super) fn is_one(act: Act) -> bool {
    matches!(act, Act::WhoAsks | Act::LogIn | Act::LogOut | Act::SetPassword)
}

/// Whether somebody may ask for it who need not be known: no page of another site logs a browser in or out.
pub(super) fn admit(asker: &Asker, request: &Parts, act: Act) -> Result<(), Problem> {
    match act {
        Act::LogIn | Act::LogOut => access::check_site(asker, request)
            .map_err(|denied| manage::refused(asker, request, denied).into()),
        _ => Ok(()),
    }
}

/// Does it.
pub(super) async fn answer(
    asker: &Asker,
    request: &Parts,
    act: Act,
    body: &Content,
) -> Result<Reply, Problem> {
    match act {
        Act::LogIn => log_in(asker, request, body).await,
        Act::LogOut => Ok(log_out(asker, request)),
        Act::SetPassword => set_password(asker, request, body).await,
        _ => Ok(told(StatusCode::OK, &session(asker, request))),
    }
}

/// What somebody is here. Who shows a wrong token, or comes by a page of another site, is nobody.
fn session(asker: &Asker, request: &Parts) -> Session {
    let login = &asker.core.login;
    let known = access::who(asker, request).unwrap_or_default();
    Session::new(known, login.has_password(), login.keeps_password())
}

async fn log_in(asker: &Asker, request: &Parts, body: &Content) -> Result<Reply, Problem> {
    let (login, way) = (&asker.core.login, Way::of(asker, request));
    if !login.has_password() {
        return Err(not_set());
    }
    check_way(asker, way)?;
    let Shown { password } = read(body)?;
    let address = access::counted_address(asker, request);
    let begun = login.begin(address, Secret::new(password), wrong_per_minute(asker)).await;
    match begun {
        Ok(cookie) => {
            tell(asker, Level::INFO, "logged in");
            Ok(with_cookie(way, cookie.expose(), SESSION_TIME.stated().as_secs()))
        }
        Err(no_entry) => {
            tell(asker, Level::WARN, "a login was refused");
            Err(no_entry.into())
        }
    }
}

fn log_out(asker: &Asker, request: &Parts) -> Reply {
    access::cookies(asker, request).for_each(|cookie| asker.core.login.end(cookie));
    with_cookie(Way::of(asker, request), "", 0)
}

async fn set_password(asker: &Asker, request: &Parts, body: &Content) -> Result<Reply, Problem> {
    let (login, way) = (&asker.core.login, Way::of(asker, request));
    check_way(asker, way)?;
    let NewPassword { new, current } = read(body)?;
    if login.has_password() && current.is_none() {
        let text = "there is a password: `current` is missing, which is to be that";
        return Err(Problem::new(StatusCode::BAD_REQUEST, text));
    }
    let address = access::counted_address(asker, request);
    let (current, new) = (current.map(Secret::new), Secret::new(new));
    match login.set(address, current, new, wrong_per_minute(asker)).await {
        Ok(cookie) => {
            tell(asker, Level::INFO, "another password was set");
            Ok(with_cookie(way, cookie.expose(), SESSION_TIME.stated().as_secs()))
        }
        Err(NoEntry::Wrong) => {
            tell(asker, Level::WARN, "another password was refused");
            Err(Problem::new(StatusCode::FORBIDDEN, "the present password is another one"))
        }
        Err(NoEntry::Failed(error)) if error.kind() == crate::ErrorKind::InvalidArgument => {
            Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()))
        }
        Err(other) => Err(other.into()),
    }
}

/// Passwords and cookies go where nobody reads them on their way.
fn check_way(asker: &Asker, way: Way) -> Result<(), Problem> {
    if way != Way::Plain || asker.core.config().http.allow_plain_login {
        return Ok(());
    }
    let text = "a password is not taken over HTTP without TLS from another machine: use HTTPS ([https]), or a proxy of \
        http.trusted_proxies that sends X-Forwarded-Proto: https; http.allow_plain_login allows it all the same";
    Err(Problem::new(StatusCode::FORBIDDEN, text))
}

fn wrong_per_minute(asker: &Asker) -> u32 {
    asker.core.limits().auth_failures_per_minute
}

/// What a body says. Why it says nothing is not told in the reader's words: it would quote secrets.
fn read<T: serde::de::DeserializeOwned>(body: &Content) -> Result<T, Problem> {
    let wrong =
        |_| Problem::new(StatusCode::BAD_REQUEST, "the body is not what the description has for this");
    serde_json::from_str(body.json()).map_err(wrong)
}

fn tell(asker: &Asker, level: Level, what: &str) {
    let Some(left_out) = asker.core.log.allow(asker.peer.ip(), level) else { return };
    match level {
        Level::WARN => tracing::warn!(peer = %asker.peer, left_out, "{what}"),
        _ => tracing::info!(peer = %asker.peer, left_out, "{what}"),
    }
}

fn with_cookie(way: Way, value: &str, seconds: u64) -> Reply {
    let (name, secure) = (way.cookie(), if way == Way::Encrypted { "; Secure" } else { "" });
    let cookie = format!("{name}={value}; HttpOnly; SameSite=Strict; Path=/; Max-Age={seconds}{secure}");
    let mut reply = nothing();
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        reply.headers_mut().insert(SET_COOKIE, cookie);
    }
    reply
}

fn not_set() -> Problem {
    Problem::new(StatusCode::CONFLICT, "no password is set; `streamengine passwd` makes one")
}

impl From<NoEntry> for Problem {
    fn from(no_entry: NoEntry) -> Self {
        match no_entry {
            NoEntry::NotSet => not_set(),
            NoEntry::Wrong => Self::new(StatusCode::UNAUTHORIZED, "the password is wrong"),
            NoEntry::TooOften(time) => {
                let text = "too many passwords from this address were wrong; try again later";
                Self::new(StatusCode::TOO_MANY_REQUESTS, text).retry_after(time)
            }
            NoEntry::Busy(time) => {
                let text = "as many passwords wait to be tried as may; try again in a moment";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, text).retry_after(time)
            }
            NoEntry::Changed => {
                Self::new(StatusCode::CONFLICT, "the password has become another one meanwhile; try again")
            }
            NoEntry::Failed(error) => error.into(),
        }
    }
}
