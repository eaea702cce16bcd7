//! What is wrong with a request of the API, as RFC 9457 has it told: `application/problem+json`.

use crate::service::http::access::Denied;
use crate::service::http::body::Unread;
use crate::service::http::reply::{self, Reply};
use crate::{Error, ErrorKind};
use hyper::StatusCode;
use hyper::header::{ALLOW, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use schemars::JsonSchema;
use serde::Serialize;
use std::borrow::Cow;
use std::time::Duration;

/// What is wrong.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    detail: Cow<'static, str>,
    asks_for_token: bool,
    /// When to come again.
    retry_after: Option<Duration>,
}

/// What is wrong, as JSON tells it (RFC 9457).
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Problem")]
pub(super) struct ProblemTold<'a> {
    /// Always `about:blank`: the status says of what kind it is.
    r#type: &'static str,
    /// The status in words.
    title: &'static str,
    /// The status.
    status: u16,
    /// What is wrong, in words for people.
    detail: &'a str,
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { status, detail: detail.into(), asks_for_token: false, retry_after: None }
    }

    /// The same of what may be asked again after a while.
    pub(super) fn retry_after(self, time: Duration) -> Self {
        Self { retry_after: Some(time), ..self }
    }

    /// What there is not.
    pub(super) fn missing(what: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("there is no {what}"))
    }

    pub(super) fn wrong_method() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "this path does nothing by that method; Allow lists those that it has",
        )
    }

    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    /// The reply; where another method is wanted, with those that there are.
    pub(super) fn reply(&self, allow: Option<&str>) -> Reply {
        let told = ProblemTold {
            r#type: "about:blank",
            title: self.status.canonical_reason().unwrap_or_default(),
            status: self.status.as_u16(),
            detail: &self.detail,
        };
        let mut reply = reply::told(self.status, "application/problem+json", super::json(&told).into());
        if self.asks_for_token {
            reply.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(time) = self.retry_after {
            let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
            reply.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        if let Some(allow) = allow.and_then(|allow| HeaderValue::from_str(allow).ok()) {
            reply.headers_mut().insert(ALLOW, allow);
        }
        reply
    }
}

impl From<(Denied, StatusCode)> for Problem {
    fn from((denied, status): (Denied, StatusCode)) -> Self {
        let asks_for_token = status == StatusCode::UNAUTHORIZED;
        Self { asks_for_token, ..Self::new(status, denied.to_string()) }
    }
}

impl From<Unread> for Problem {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::TooLarge { most } => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, format!("the body has more than {most} bytes"))
            }
            Unread::TooSlow => Self::new(StatusCode::REQUEST_TIMEOUT, "the body took too long"),
            Unread::Broken => Self::new(StatusCode::BAD_REQUEST, "the body has come in part only"),
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self::new(status_of(error.kind()), error.to_string())
    }
}

/// The status that tells of a failure of this kind: one of 4xx where the request can be mended, 502 where a peer is at fault.
fn status_of(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::InvalidArgument => StatusCode::BAD_REQUEST,
        ErrorKind::Auth => StatusCode::FORBIDDEN,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::State | ErrorKind::Exists | ErrorKind::AddressInUse | ErrorKind::Unsupported => {
            StatusCode::CONFLICT
        }
        // A file or an address that the request has named.
        ErrorKind::Format | ErrorKind::Permission => StatusCode::UNPROCESSABLE_ENTITY,
        ErrorKind::Limit => StatusCode::TOO_MANY_REQUESTS,
        ErrorKind::Closed | ErrorKind::Again => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::Timeout => StatusCode::GATEWAY_TIMEOUT,
        ErrorKind::Resolve
        | ErrorKind::Refused
        | ErrorKind::Reset
        | ErrorKind::Tls
        | ErrorKind::Protocol
        | ErrorKind::Rejected => StatusCode::BAD_GATEWAY,
        ErrorKind::Io | ErrorKind::Deadlock | ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
