//! Runs `fuzzing::flv_tag`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| streamengine::fuzzing::flv_tag(data));
