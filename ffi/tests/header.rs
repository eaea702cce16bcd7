//! The header is what the sources say, and compiles wherever C or C++ does.
//!
//! `UPDATE_HEADER=1 cargo test -p streamengine-ffi --test header` writes it.
#![cfg(unix)]

mod support;

use std::ffi::CStr;
use std::process::Command;
use support::{STRICT, root};

fn generated() -> String {
    let crate_dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(crate_dir.join("cbindgen.toml")).unwrap();
    let bindings = cbindgen::Builder::new().with_config(config).with_src(crate_dir.join("src/lib.rs"));
    let mut text = Vec::new();
    bindings.generate().unwrap().write(&mut text);
    String::from_utf8(text).unwrap()
}

#[test]
fn the_header_is_what_the_sources_say() {
    let generated = generated();
    if std::env::var_os("UPDATE_HEADER").is_some() {
        std::fs::write(root().join("include/streamengine.h"), &generated).unwrap();
    }
    let is_current = support::header() == generated;
    assert!(is_current, "include/streamengine.h is out of date; UPDATE_HEADER=1 writes it anew");
}

#[test]
fn version_of_header_library_and_package_are_one() {
    let header = support::header();
    let number = |part: &str| -> u32 {
        let define = format!("#define SE_VERSION_{part} ");
        let line = header.lines().find_map(|line| line.strip_prefix(&define)).unwrap();
        line.parse().unwrap()
    };
    let (major, minor, patch) = (number("MAJOR"), number("MINOR"), number("PATCH"));
    assert_eq!(format!("{major}.{minor}.{patch}"), env!("CARGO_PKG_VERSION"));
    assert_eq!(streamengine_ffi::se_version_number(), major * 0x10000 + minor * 0x100 + patch);
    // SAFETY: it is valid for ever.
    let string = unsafe { CStr::from_ptr(streamengine_ffi::se_version_string()) };
    assert_eq!(string.to_str(), Ok(env!("CARGO_PKG_VERSION")));
}

#[test]
fn the_header_alone_compiles_in_every_dialect() {
    let languages: [(_, _, _, &[&str]); 2] =
        [("CC", "cc", "c", &["c99", "c11"]), ("CXX", "c++", "c++", &["c++11", "c++17", "c++20"])];
    for (variable, default, language, dialects) in languages {
        let Some(compiler) = support::compiler(variable, default) else { continue };
        for dialect in dialects {
            let mut command = Command::new(&compiler);
            command.args(["-x", language, "-fsyntax-only"]).arg(format!("-std={dialect}")).args(STRICT);
            // What comes after it is not to notice that it was there.
            let source = support::work_dir().join(format!("alone-{dialect}"));
            std::fs::write(&source, "#include <streamengine.h>\n#include <streamengine.h>\nint unused;\n")
                .unwrap();
            support::succeed(command.arg(source).arg("-I").arg(root().join("include")));
        }
    }
}

#[test]
fn every_function_says_what_it_returns_and_what_its_parameters_are() {
    let header = support::header();
    for function in support::functions() {
        let start = format!("{} {}(", function.returns, function.name).replace("* ", "*");
        let declaration = header.find(&start).unwrap_or_else(|| panic!("{start}"));
        let comment = header[..declaration].rsplit("/**").next().unwrap();
        let described = comment.matches("@param").count();
        assert_eq!(described, function.parameters.len(), "parameters of {}:{comment}", function.name);
        let says =
            comment.contains("@return") || function.returns == "void" || function.parameters.is_empty();
        assert!(says, "what {} returns", function.name);
    }
}
