//! Runs `fuzzing::session_pair`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| streamengine::fuzzing::session_pair(data));
