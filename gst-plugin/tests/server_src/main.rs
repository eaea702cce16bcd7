//! `rtmpserversrc` in pipelines, with publishers of another engine over loopback.

#[path = "../support/mod.rs"]
mod common;
mod encoder;
mod links;
mod media;
mod properties;
mod publishers;
mod states;
mod support;
