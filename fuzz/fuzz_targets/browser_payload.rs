//! Runs `fuzzing::browser_payload`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| streamengine::fuzzing::browser_payload(data));
