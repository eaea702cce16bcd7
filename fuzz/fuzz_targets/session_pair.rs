//! Runs `fuzzing::session_pair`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| streamengine_core::fuzzing::session_pair(data));
