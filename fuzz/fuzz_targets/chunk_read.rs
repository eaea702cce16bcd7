//! Runs `fuzzing::chunk_read`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| streamengine::fuzzing::chunk_read(data));
