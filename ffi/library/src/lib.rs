//! `libstreamengine.so` and `libstreamengine.a`: the functions of `streamengine_ffi`, and nothing of its own.

pub use streamengine_ffi::*;
