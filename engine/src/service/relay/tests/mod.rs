//! Promises of relays, kept against real sockets.

mod pull;
mod push;
mod support;
