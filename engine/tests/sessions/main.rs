//! Server and client sessions against hand-made peers, each other and `rml_rtmp`: bytes in, events and bytes out.

mod client;
#[path = "../mutated_sessions/dialogues.rs"]
mod dialogues;
mod golden;
mod pair;
mod peer;
mod rml;
mod server;
