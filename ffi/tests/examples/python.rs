//! The Python module, by tests in Python.

use crate::LONG;
use crate::programs::python;
use crate::support;
use std::path::Path;
use streamengine_tests::{Proc, demo_clip, needs};

#[test]
fn the_python_module_keeps_its_promises() {
    needs!("python3");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/test_streamengine.py");
    let mut command = python(&script);
    command.env("STREAMENGINE_HEADER", support::root().join("include/streamengine.h"));
    command.env("STREAMENGINE_CLIP", demo_clip());
    // A thousand rounds in it share what the machine has with all other tests.
    Proc::spawn("test_streamengine.py", command).succeed(4 * LONG);
}
