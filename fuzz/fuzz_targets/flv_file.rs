//! Runs `fuzzing::flv_file`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| streamengine::fuzzing::flv_file(data));
