//! Runs `fuzzing::mp4`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| streamengine::fuzzing::mp4(data));
