//! Runs `fuzzing::mp4_file`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| streamengine::fuzzing::mp4_file(data));
