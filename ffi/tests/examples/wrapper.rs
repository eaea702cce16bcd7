//! The C++ wrapper, by a program in C++.

use crate::LONG;
use crate::programs::{Way, compile};
use std::path::Path;
use std::process::Command;
use streamengine_tests::{Proc, needs};

fn source() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cpp/wrapper.cpp")
}

#[test]
fn the_cpp_wrapper_keeps_its_promises() {
    needs!("c++");
    for way in [Way::Cpp, Way::CppUnderAddressSanitizer] {
        let program = compile("c++", &["-std=c++17", "-pthread"], way, &source());
        Proc::spawn("wrapper", Command::new(program)).succeed(LONG);
    }
}

#[test]
fn the_cpp_wrapper_is_clean_as_cpp17_and_cpp20() {
    needs!("c++");
    for standard in ["-std=c++17", "-std=c++20"] {
        compile("c++", &[standard, "-Wshadow", "-Wconversion", "-pthread"], Way::Cpp, &source());
    }
}
