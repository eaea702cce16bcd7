//! FLV files through the public API: reading, looping (F34) and probing, on synthetic and real clips.

mod build;
mod file;
mod looping;
mod looping_repairs;
mod probing;
