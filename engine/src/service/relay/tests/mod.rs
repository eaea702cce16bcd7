//! Promises of relays, kept against real sockets.

#[cfg(feature = "http")]
mod flv_pull;
mod origin;
mod pull;
mod push;
mod support;
