//! Runs `fuzzing::elementary`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| streamengine::fuzzing::elementary(data));
