//! Runs `fuzzing::client_session_ops`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| streamengine::fuzzing::client_session_ops(data));
