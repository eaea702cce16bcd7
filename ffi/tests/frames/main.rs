//! Frames in and out of the C library: what is pushed arrives, every error says what it is about, and nothing is left.
#![allow(
    clippy::undocumented_unsafe_blocks,
    reason = "the tests call C functions throughout, with what they made"
)]

#[path = "../support/mod.rs"]
mod built;
mod errors;
#[cfg(feature = "keys")]
mod keys;
mod life;
mod programs;
mod publish;
mod subscribe;
mod support;
mod threads;
