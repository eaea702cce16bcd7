//! libstreamengine: the engine as a C library. `include/streamengine.h` is generated from these files.
//!
//! Every exported function is a thin shell: it checks its pointers, runs inside [`status::guard`] (so no panic
//! leaves), and calls the public Rust API of the engine. What C callers owe (live handles, readable pointers) is in
//! the header; `handle.rs` says in which one place each kind of pointer is trusted.
// The names are those of the header.
#![allow(non_camel_case_types)]
// What a caller must ensure is in the doc comments for C and, once for all functions, on top of the header.
#![allow(clippy::missing_safety_doc)]

// In the order of the header; what C does not see comes last.
mod library;

mod status;

mod log;

mod config;

mod engine;

mod event;

mod listener;

mod frame;

mod publisher;

mod subscriber;

mod relay;

mod origin;

mod file;

mod recording;

mod auth;

mod keys;

mod stats;

mod auth_queue;
mod c_string;
mod callback;
mod dispatcher;
mod handle;
mod host;
mod queue;
mod text;

pub use auth::*;
pub use callback::{se_destroy_fn, se_release_fn};
pub use config::*;
pub use engine::*;
pub use event::*;
pub use file::*;
pub use frame::*;
pub use keys::*;
pub use library::*;
pub use listener::*;
pub use log::*;
pub use origin::*;
pub use publisher::*;
pub use recording::*;
pub use relay::*;
pub use stats::*;
pub use status::{se_last_error, se_last_status, se_status, se_status_name};
pub use subscriber::*;

/// What the engine owns and may vanish on its own: a listener, relay, file job, recording or session. Unique in the process and
/// never used again, so one that is out of date is `SE_E_NOT_FOUND`. 0 is none.
pub type se_id = u64;
