//! Media through the public API: FLV files and streams, looping (F34), probing, elementary samples.

mod build;
mod damage;
mod elementary;
mod file;
mod looping;
mod looping_repairs;
mod probing;
