//! Runs `fuzzing::handshake`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| streamengine::fuzzing::handshake(data));
