//! The public error: what failed, which object it concerns, and why.

use std::borrow::Cow;
use std::fmt;

/// What kind of failure an [`Error`] reports. Each kind is one result code of the C library.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An argument or a configuration value is not valid.
    InvalidArgument,
    /// The call is not possible in the object's present state.
    State,
    /// The stream, session, relay, file job or file does not exist.
    NotFound,
    /// The name is taken: the stream already has a publisher.
    Exists,
    /// The peer, the codec or this build does not support what was asked for.
    Unsupported,
    /// The engine, stream or connection has been closed.
    Closed,
    /// Nothing to read right now.
    Again,
    /// A deadline passed.
    Timeout,
    /// One of [`Limits`](crate::Limits) was reached.
    Limit,
    /// The call would wait for the thread that makes it.
    Deadlock,
    /// The operating system reported an error.
    Io,
    /// The address is in use by another listener.
    AddressInUse,
    /// The operating system denied access.
    Permission,
    /// A host name could not be resolved.
    Resolve,
    /// The peer's host refused the connection.
    Refused,
    /// The peer closed or reset the connection.
    Reset,
    /// A TLS handshake or certificate failed.
    Tls,
    /// The peer broke the RTMP protocol.
    Protocol,
    /// The peer refused what was asked, in its own words.
    Rejected,
    /// The right to publish or play was not granted.
    Auth,
    /// A file or a media payload is malformed.
    Format,
    /// A bug in the engine.
    Internal,
}

impl ErrorKind {
    /// The kind's name in words, as it appears in logs and JSON: `address in use`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidArgument => "invalid argument",
            Self::State => "wrong state",
            Self::NotFound => "not found",
            Self::Exists => "already exists",
            Self::Unsupported => "unsupported",
            Self::Closed => "closed",
            Self::Again => "nothing to read",
            Self::Timeout => "timed out",
            Self::Limit => "limit reached",
            Self::Deadlock => "would deadlock",
            Self::Io => "i/o error",
            Self::AddressInUse => "address in use",
            Self::Permission => "permission denied",
            Self::Resolve => "name not resolved",
            Self::Refused => "connection refused",
            Self::Reset => "connection closed by peer",
            Self::Tls => "TLS failed",
            Self::Protocol => "protocol error",
            Self::Rejected => "rejected by peer",
            Self::Auth => "not authorised",
            Self::Format => "malformed data",
            Self::Internal => "internal error",
        }
    }
}

/// An error of the engine. Its text names the object and the cause:
/// `listen rtmp on 127.0.0.1:1935: Address already in use`.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: Cow<'static, str>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Shorthand for results of the engine.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `kind`; `message` names the object and the cause.
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// An operating system error met while doing `what` (`open clip.flv`), its kind taken from `cause`.
    pub fn io(what: impl fmt::Display, cause: std::io::Error) -> Self {
        use std::io::ErrorKind as Io;
        let kind = match cause.kind() {
            Io::NotFound => ErrorKind::NotFound,
            Io::PermissionDenied => ErrorKind::Permission,
            Io::AddrInUse => ErrorKind::AddressInUse,
            Io::ConnectionRefused => ErrorKind::Refused,
            Io::ConnectionReset | Io::ConnectionAborted | Io::BrokenPipe | Io::UnexpectedEof => {
                ErrorKind::Reset
            }
            Io::TimedOut => ErrorKind::Timeout,
            _ => ErrorKind::Io,
        };
        Self { kind, message: format!("{what}: {cause}").into(), source: Some(Box::new(cause)) }
    }

    /// The same error with `what` put before its text.
    #[must_use]
    pub fn context(mut self, what: impl fmt::Display) -> Self {
        self.message = format!("{what}: {}", self.message).into();
        self
    }

    /// What kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|e| &**e as _)
    }
}
