//! Hostile and broken peers against our binary: what others must not notice, and what it may cost.
//!
//! Names carry the number of the fault table (F12 ...). Times that a busy machine can spoil are judged by the
//! best of three rounds.

mod attacks;
mod granted;
mod hls_files;
mod hls_waiters;
mod http;
mod ingest;
mod keys;
mod life;
mod memory;
mod names;
mod players;
mod publishers;
mod recordings;
mod relays;
mod reload;
mod strangers;

use std::time::{Duration, Instant};

/// The shortest of three measurements.
fn best_of_three(mut round: impl FnMut() -> Duration) -> Duration {
    (0..3).map(|_| round()).min().unwrap_or(Duration::MAX)
}

/// How long this took, and what came of it.
fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    (work(), start.elapsed())
}
