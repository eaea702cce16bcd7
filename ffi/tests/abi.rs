//! What the built libraries show to linkers.
#![cfg(target_os = "linux")]

mod support;

use std::collections::BTreeSet;
use std::process::Command;
use streamengine_tests::needs;

#[test]
fn exports_are_exactly_the_functions_of_the_header() {
    needs!("nm");
    let symbols =
        support::succeed(Command::new("nm").args(["-D", "--defined-only"]).arg(support::shared_library()));
    let exported: BTreeSet<_> = symbols.lines().filter_map(|line| line.rsplit(' ').next()).collect();
    let functions = support::functions();
    let declared: BTreeSet<_> = functions.iter().map(|function| function.name.as_str()).collect();
    assert!(declared.len() > 50, "{declared:?}");
    assert_eq!(exported, declared);
}

#[test]
fn the_shared_library_has_its_soname_no_text_relocations_and_needs_the_c_library_only() {
    needs!("readelf");
    let dynamic = support::succeed(Command::new("readelf").arg("-dW").arg(support::shared_library()));
    let values = |tag: &str| -> Vec<_> {
        let lines = dynamic.lines().filter(|line| line.contains(tag));
        lines.filter_map(|line| Some(line.split_once('[')?.1.trim_end_matches(']'))).collect()
    };
    assert_eq!(values("(SONAME)"), [concat!("libstreamengine.so.", env!("CARGO_PKG_VERSION_MAJOR"))]);
    assert!(!dynamic.contains("TEXTREL"), "{dynamic}");
    let allowed = |name: &str| {
        ["libgcc_s.so", "libm.so", "libc.so", "ld-linux"].iter().any(|known| name.starts_with(known))
    };
    assert!(values("(NEEDED)").into_iter().all(allowed), "{:?}", values("(NEEDED)"));
}

#[test]
fn the_static_library_needs_what_rustc_says() {
    let source = support::work_dir().join("empty.rs");
    std::fs::write(&source, "").unwrap();
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut command = Command::new(rustc);
    command.args(["--crate-type", "staticlib", "--print", "native-static-libs", "-o"]);
    let output = command.arg(support::work_dir().join("libempty.a")).arg(source).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    let said = text.lines().find_map(|line| line.split_once("native-static-libs: ")).expect(&text).1;
    assert_eq!(said.trim(), support::STATIC_LIBS);
}

#[test]
fn a_program_links_statically() {
    let Some(compiler) = support::compiler("CC", "cc") else { return };
    let source = support::work_dir().join("static.c");
    let text =
        "#include <streamengine.h>\nint main(void) { return se_version_number() != SE_VERSION_NUMBER; }\n";
    std::fs::write(&source, text).unwrap();
    let program = support::work_dir().join("static");
    let mut command = Command::new(compiler);
    command.arg(source).arg("-I").arg(support::root().join("include")).arg("-o").arg(&program);
    support::succeed(command.arg(support::static_library()).args(support::STATIC_LIBS.split(' ')));
    support::run(&mut Command::new(program));
}
