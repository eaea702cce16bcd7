//! Runs `fuzzing::web_socket`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| streamengine::fuzzing::web_socket(data));
