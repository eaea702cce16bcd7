//! An RTMP streaming engine that other programs carry inside them: the protocol and media layers.
#![forbid(unsafe_code)]

mod error;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod key;
#[allow(dead_code, reason = "for the layers above")]
mod limits;
pub mod media;
pub mod proto;

pub use error::{Error, ErrorKind, Result};
pub use key::{KeyError, Printable, Secret, StreamKey, StreamName};
pub use limits::Limits;
