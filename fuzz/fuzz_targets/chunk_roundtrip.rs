//! Runs `fuzzing::chunk_roundtrip`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| streamengine::fuzzing::chunk_roundtrip(data));
