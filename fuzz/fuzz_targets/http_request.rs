//! Runs `fuzzing::http_request`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| streamengine::fuzzing::http_request(data));
