//! Segments in MPEG-TS, read by a reader of our own that takes nothing for granted, and by the peers that read them in the field.
#![cfg(feature = "http")]
#![allow(clippy::print_stdout, reason = "what is skipped is counted by these lines")]

mod clips;
mod peers;
mod properties;
mod reader;
