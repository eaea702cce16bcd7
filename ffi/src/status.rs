//! Result codes, the last error of each thread, and the boundary that no panic crosses.

use std::any::Any;
use std::cell::RefCell;
use std::ffi::{CStr, CString};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use streamengine::{Error, ErrorKind};

/// What a call came to. 0 is success, every error is negative; new ones may be added.
#[repr(i32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum se_status {
    /// Success.
    SE_OK = 0,
    /// An argument or a configuration value is not valid.
    SE_E_INVALID_ARGUMENT = -1,
    /// The call is not possible in the object's present state, such as on an engine that was not started.
    SE_E_STATE = -2,
    /// The stream, session, relay, file job, listener or file does not exist.
    SE_E_NOT_FOUND = -3,
    /// The name is taken: the stream already has a publisher.
    SE_E_EXISTS = -4,
    /// The peer, the codec or this build does not support what was asked for.
    SE_E_UNSUPPORTED = -5,
    /// The engine, stream or connection has been closed.
    SE_E_CLOSED = -6,
    /// Nothing to read right now.
    SE_E_AGAIN = -7,
    /// A deadline passed.
    SE_E_TIMEOUT = -8,
    /// A configured limit was reached.
    SE_E_LIMIT = -9,
    /// The call would wait for the thread that makes it.
    SE_E_DEADLOCK = -10,
    /// The operating system reported an error.
    SE_E_IO = -20,
    /// The address is in use by another listener.
    SE_E_ADDRESS_IN_USE = -21,
    /// The operating system denied access.
    SE_E_PERMISSION = -22,
    /// Memory ran out.
    SE_E_NO_MEMORY = -23,
    /// A host name could not be resolved.
    SE_E_RESOLVE = -30,
    /// The peer's host refused the connection.
    SE_E_REFUSED = -31,
    /// The peer closed or reset the connection.
    SE_E_RESET = -32,
    /// A TLS handshake or certificate failed.
    SE_E_TLS = -33,
    /// The peer broke the RTMP protocol.
    SE_E_PROTOCOL = -40,
    /// The peer refused what was asked, in its own words.
    SE_E_REJECTED = -41,
    /// The right to publish or play was not granted.
    SE_E_AUTH = -42,
    /// A file or a media payload is malformed.
    SE_E_FORMAT = -43,
    /// A bug in the engine.
    SE_E_INTERNAL = -99,
    /// A bug in the engine that was caught at the border of the library.
    SE_E_PANIC = -100,
}

use se_status::*;

impl se_status {
    /// The code of an error of the engine.
    pub(crate) fn of(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::InvalidArgument => SE_E_INVALID_ARGUMENT,
            ErrorKind::State => SE_E_STATE,
            ErrorKind::NotFound => SE_E_NOT_FOUND,
            ErrorKind::Exists => SE_E_EXISTS,
            ErrorKind::Unsupported => SE_E_UNSUPPORTED,
            ErrorKind::Closed => SE_E_CLOSED,
            ErrorKind::Again => SE_E_AGAIN,
            ErrorKind::Timeout => SE_E_TIMEOUT,
            ErrorKind::Limit => SE_E_LIMIT,
            ErrorKind::Deadlock => SE_E_DEADLOCK,
            ErrorKind::Io => SE_E_IO,
            ErrorKind::AddressInUse => SE_E_ADDRESS_IN_USE,
            ErrorKind::Permission => SE_E_PERMISSION,
            ErrorKind::Resolve => SE_E_RESOLVE,
            ErrorKind::Refused => SE_E_REFUSED,
            ErrorKind::Reset => SE_E_RESET,
            ErrorKind::Tls => SE_E_TLS,
            ErrorKind::Protocol => SE_E_PROTOCOL,
            ErrorKind::Rejected => SE_E_REJECTED,
            ErrorKind::Auth => SE_E_AUTH,
            ErrorKind::Format => SE_E_FORMAT,
            _ => SE_E_INTERNAL,
        }
    }

    /// The name of a number, with its NUL.
    fn name(number: i32) -> &'static CStr {
        ALL.iter().find(|(status, _)| *status as i32 == number).map_or(c"SE_E_UNKNOWN", |(_, name)| name)
    }
}

macro_rules! names {
    ($($status:ident)*) => {
        &[$(($status, match CStr::from_bytes_with_nul(concat!(stringify!($status), "\0").as_bytes()) {
            Ok(name) => name,
            Err(_) => unreachable!(),
        })),*]
    };
}

/// Every code with its name.
const ALL: &[(se_status, &CStr)] = names! {
    SE_OK SE_E_INVALID_ARGUMENT SE_E_STATE SE_E_NOT_FOUND SE_E_EXISTS SE_E_UNSUPPORTED SE_E_CLOSED SE_E_AGAIN
    SE_E_TIMEOUT SE_E_LIMIT SE_E_DEADLOCK SE_E_IO SE_E_ADDRESS_IN_USE SE_E_PERMISSION SE_E_NO_MEMORY SE_E_RESOLVE
    SE_E_REFUSED SE_E_RESET SE_E_TLS SE_E_PROTOCOL SE_E_REJECTED SE_E_AUTH SE_E_FORMAT SE_E_INTERNAL SE_E_PANIC
};

/// Why a call failed: its code, and a text that names the object and the cause.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) status: se_status,
    pub(crate) message: String,
}

/// What functions behind the border return.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    pub(crate) fn new(status: se_status, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    /// An argument that is not valid.
    pub(crate) fn argument(message: impl Into<String>) -> Self {
        Self::new(SE_E_INVALID_ARGUMENT, message)
    }

    /// The same failure with `what` put before its text.
    pub(crate) fn context(mut self, what: impl fmt::Display) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(se_status::of(error.kind()), error.to_string())
    }
}

thread_local! {
    static LAST_ERROR: RefCell<(se_status, CString)> = RefCell::new((SE_OK, CString::default()));
}

/// The text of the latest error of the calling thread.
///
/// @return Never NULL; empty where no call of this thread has failed. Valid until the next call on this thread fails.
#[unsafe(no_mangle)]
pub extern "C" fn se_last_error() -> *const std::ffi::c_char {
    // Where thread-locals are gone already, the thread is ending.
    LAST_ERROR.try_with(|last| last.borrow().1.as_ptr()).unwrap_or(c"".as_ptr())
}

/// The code of the latest error of the calling thread: for functions that return a pointer or a number.
///
/// @return `SE_OK` where no call of this thread has failed. Success does not change it.
#[unsafe(no_mangle)]
pub extern "C" fn se_last_status() -> se_status {
    LAST_ERROR.try_with(|last| last.borrow().0).unwrap_or(SE_OK)
}

/// The name of a code: `"SE_E_ADDRESS_IN_USE"`.
///
/// @param status Any number; for one that is no code the answer is `"SE_E_UNKNOWN"`.
/// @return Never NULL, valid for ever.
#[unsafe(no_mangle)]
pub extern "C" fn se_status_name(status: i32) -> *const std::ffi::c_char {
    se_status::name(status).as_ptr()
}

/// Remembers why a call failed, for `se_last_error`.
pub(crate) fn remember(failure: &Failure) {
    let text = crate::c_string::c_string(&failure.message);
    // A thread that is ending has nobody left to ask.
    let _ = LAST_ERROR.try_with(|last| last.replace((failure.status, text)));
}

/// Runs the body of an exported function: failures become codes, panics too.
pub(crate) fn guard(body: impl FnOnce() -> Outcome) -> se_status {
    match caught(body) {
        Ok(()) => SE_OK,
        Err(failure) => failure.status,
    }
}

/// Runs the body of an exported function that returns a value, `otherwise` where it fails.
pub(crate) fn guard_or<T>(otherwise: T, body: impl FnOnce() -> Outcome<T>) -> T {
    caught(body).unwrap_or(otherwise)
}

/// Runs code that must not unwind: what it fails with, or panics with, is remembered.
fn caught<T>(body: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    // Behind the border nothing is used again that a panic could have left half done: handles hold their state in
    // locks and atomics, and the engine guards its own tasks.
    let result = catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| Err(panicked(&*panic)));
    result.inspect_err(remember)
}

/// The failure that a panic is.
pub(crate) fn panicked(panic: &(dyn Any + Send)) -> Failure {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
    Failure::new(SE_E_PANIC, format!("a bug in the engine was caught: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last() -> String {
        // SAFETY: the pointer is valid until the next failure of this thread.
        unsafe { CStr::from_ptr(se_last_error()) }.to_str().unwrap().to_owned()
    }

    #[test]
    fn a_panic_ends_at_the_border_with_a_code_and_its_text() {
        assert_eq!(guard(|| panic!("number {}", 7)), SE_E_PANIC);
        assert!(last().contains("number 7"), "{}", last());
    }

    #[test]
    fn the_last_error_is_the_threads_own_and_survives_success() {
        assert_eq!((last().as_str(), se_last_status()), ("", SE_OK));
        assert_eq!(guard(|| Err(Failure::argument("stream live/a: bad"))), SE_E_INVALID_ARGUMENT);
        assert_eq!(guard(|| Ok(())), SE_OK);
        assert_eq!((last().as_str(), se_last_status()), ("stream live/a: bad", SE_E_INVALID_ARGUMENT));
        assert_eq!(std::thread::spawn(last).join().unwrap(), "");
    }

    #[test]
    fn every_code_has_its_name() {
        assert_eq!(se_status::name(-6).to_str(), Ok("SE_E_CLOSED"));
        assert_eq!(se_status::name(1), c"SE_E_UNKNOWN");
        assert_eq!(se_status::name(i32::MIN), c"SE_E_UNKNOWN");
        for (status, name) in ALL {
            assert_eq!(format!("{status:?}"), name.to_str().unwrap());
        }
    }
}
