//! Runs `fuzzing::amf0_decode`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| streamengine_core::fuzzing::amf0_decode(data));
