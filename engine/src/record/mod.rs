//! Recordings: streams as files, and what there is of them.
//!
//! ```text
//!   hub ──frames──> Cutter ──acts──> Writer ──> DIR/APP/STREAM/NAME.part ──whole──> NAME
//! ```
//! What cuts knows no clock and no disk; what writes may wait for the disk, and nobody waits for it but the recording: while it writes,
//! the stream's ring is the queue. What is written are the payloads as they came, in as few calls as there can be. A file is whole after each write, up to the last tag or fragment, so that one whose server was killed
//! needs no repair; what that left is finished at the next start.

mod cutter;
mod finish;
mod flv;
mod library;
#[cfg(feature = "mp4")]
mod mp4;
#[cfg(feature = "http")]
mod parts;
mod pieces;
#[cfg(feature = "http")]
mod playlist;
mod writer;

pub(crate) use cutter::{Act, Cutter, Rules};
pub(crate) use library::{Library, Place, stream_files};
#[cfg(feature = "http")]
pub(crate) use library::{find, is_recording, stream_names};
#[cfg(feature = "http")]
pub(crate) use parts::KnownParts;
#[cfg(feature = "http")]
pub(crate) use playlist::{Listed, Playlist, playlist};
pub(crate) use writer::{Fault, Writer};

#[cfg(test)]
pub(crate) mod tests;
