//! What is for those who manage the engine: statistics, and what ends connections. Who that is, says [`access`].

use super::Asker;
use super::access::{self, Denied};
use super::control;
use super::metrics;
use super::nginx_stat;
use super::reply::{self, Reply};
use super::routes::ManageUrl;
use crate::config::HttpRole;
use crate::statistics::SnapshotForm;
use bytes::Bytes;
use hyper::header::{ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ALLOW, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use tracing::Level;

impl ManageUrl<'_> {
    fn role(self) -> HttpRole {
        match self {
            Self::Stat | Self::Metrics => HttpRole::Viewer,
            Self::Control(_) => HttpRole::Admin,
        }
    }

    /// By GET too what changes something, as tools do it so.
    fn methods(self) -> (&'static [Method], &'static str) {
        match self {
            Self::Stat | Self::Metrics => (&[Method::GET, Method::HEAD], "GET, HEAD, OPTIONS"),
            Self::Control(_) => (&[Method::GET, Method::POST], "GET, POST, OPTIONS"),
        }
    }
}

/// The reply to a request for something of it.
pub(super) async fn answer(asker: &Asker, request: &Parts, url: ManageUrl<'_>) -> Reply {
    let (served, names) = url.methods();
    let mut reply = match &request.method {
        &Method::OPTIONS => preflight(names),
        method if !served.contains(method) => wrong_method(names),
        _ => checked(asker, request, url).await,
    };
    access::allow_origin(&asker.core.config().http, request, &mut reply);
    reply
}

/// What a browser asks before a page's request, without the page's token.
pub(super) fn preflight(methods: &str) -> Reply {
    let mut reply = reply::told(StatusCode::NO_CONTENT, reply::TEXT, Bytes::new());
    if let Ok(methods) = HeaderValue::from_str(methods) {
        reply.headers_mut().insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
    }
    let headers = HeaderValue::from_static("authorization, content-type");
    reply.headers_mut().insert(ACCESS_CONTROL_ALLOW_HEADERS, headers);
    reply
}

fn wrong_method(methods: &'static str) -> Reply {
    let text = format!("this is served by {methods} only\n");
    let mut reply = reply::told(StatusCode::METHOD_NOT_ALLOWED, reply::TEXT, text.into());
    reply.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
    reply
}

async fn checked(asker: &Asker, request: &Parts, url: ManageUrl<'_>) -> Reply {
    match admit(asker, request, url.role()) {
        Ok(_) => allowed(asker, request, url).await,
        Err((denied, status)) => denied.reply(status),
    }
}

/// Whether somebody may do by a request what needs this role: the one that he has; else it is told in the log, and the status of the
/// reply is there.
pub(super) fn admit(
    asker: &Asker,
    request: &Parts,
    needed: HttpRole,
) -> Result<HttpRole, (Denied, StatusCode)> {
    access::check(asker, request, needed).map_err(|denied| refused(asker, request, denied))
}

/// Tells the log of a refusal; the status of the reply.
pub(super) fn refused(asker: &Asker, request: &Parts, denied: Denied) -> (Denied, StatusCode) {
    if let Some(left_out) = asker.core.log.allow(asker.peer.ip(), Level::WARN) {
        tracing::warn!(peer = %asker.peer, path = request.uri.path(), left_out, "refused: {denied}");
    }
    (denied, denied.status(asker))
}

async fn allowed(asker: &Asker, request: &Parts, url: ManageUrl<'_>) -> Reply {
    let core = &asker.core;
    let query = request.uri.query().unwrap_or_default();
    let (form, content_type) = match url {
        ManageUrl::Control(control) => return control::answer(core, control, query).await,
        ManageUrl::Stat if query.split('&').any(|pair| pair == "format=json") => {
            (SnapshotForm::NginxJson, "application/json")
        }
        ManageUrl::Stat => (SnapshotForm::NginxXml, "text/xml"),
        ManageUrl::Metrics => (SnapshotForm::Metrics, metrics::CONTENT_TYPE),
    };
    let (snapshot, config) = (core.statistics.snapshot(), core.config());
    let body = snapshot.form(form, |snapshot| match form {
        SnapshotForm::NginxXml => nginx_stat::xml(snapshot, &config),
        SnapshotForm::NginxJson => nginx_stat::json(snapshot, &config),
        _ => metrics::text(snapshot),
    });
    reply::told(StatusCode::OK, content_type, body)
}
