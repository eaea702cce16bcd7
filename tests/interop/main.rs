//! Foreign software and our binary together: what it publishes, plays and relays arrives byte for byte.

mod check_compat;
mod commands;
mod hls;
mod hooks;
mod ingest;
mod judges;
mod mp4;
mod mp4_files;
mod origins;
mod passwords;
mod play;
mod probe;
mod publish;
mod recordings;
mod relay;
mod rtmps;
mod seam;
mod statistics;
mod tracks;
mod wire;
