//! Runs `fuzzing::amf0_decode`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| streamengine::fuzzing::amf0_decode(data));
