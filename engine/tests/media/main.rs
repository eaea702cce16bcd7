//! Media through the public API: FLV and MP4 files, FLV streams, looping (F34), probing, elementary samples.

mod build;
mod damage;
mod elementary;
mod file;
mod looping;
mod looping_repairs;
#[cfg(feature = "mp4")]
mod mp4;
mod probing;
