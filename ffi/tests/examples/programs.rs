//! The examples as programs: how each is compiled and run in each language.

use crate::support;
use std::path::{Path, PathBuf};
use std::process::Command;
use streamengine_tests::{Proc, requires};

/// In which language, and under which guard, a program is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    C,
    CUnderAddressSanitizer,
    CUnderValgrind,
    Cpp,
    CppUnderAddressSanitizer,
    Python,
}

impl Way {
    pub(crate) const ALL: [Self; 6] = [
        Self::C,
        Self::CUnderAddressSanitizer,
        Self::CUnderValgrind,
        Self::Cpp,
        Self::CppUnderAddressSanitizer,
        Self::Python,
    ];

    /// Whether it takes long enough for deadlines of the engine to pass.
    pub(crate) fn is_slow(self) -> bool {
        self == Self::CUnderValgrind
    }

    fn is_available(self) -> bool {
        match self {
            Self::C | Self::CUnderAddressSanitizer => requires(&["cc"]),
            Self::CUnderValgrind => requires(&["cc", "valgrind"]),
            Self::Cpp | Self::CppUnderAddressSanitizer => requires(&["c++"]),
            Self::Python => requires(&["python3"]),
        }
    }

    fn is_sanitized(self) -> bool {
        matches!(self, Self::CUnderAddressSanitizer | Self::CppUnderAddressSanitizer)
    }
}

/// An example that can be run.
pub(crate) struct Program {
    pub(crate) way: Way,
    path: PathBuf,
}

impl Program {
    /// Compiles an example; `None`, and a line that says why, where this machine cannot.
    pub(crate) fn build(name: &str, way: Way) -> Option<Self> {
        if !way.is_available() {
            return None;
        }
        let examples = support::root().join("examples");
        let path = match way {
            Way::Python => examples.join(format!("python/{name}.py")),
            Way::C | Way::CUnderValgrind | Way::CUnderAddressSanitizer => {
                compile("cc", &["-std=c99", "-pthread"], way, &examples.join(format!("c/{name}.c")))
            }
            Way::Cpp | Way::CppUnderAddressSanitizer => {
                compile("c++", &["-std=c++17", "-pthread"], way, &examples.join(format!("cpp/{name}.cpp")))
            }
        };
        Some(Self { way, path })
    }

    /// Compiles a C example that draws and encodes pictures itself.
    pub(crate) fn build_with_x264(name: &str) -> Option<Self> {
        if !requires(&["cc", "pkg-config", "/usr/include/x264.h"]) {
            return None;
        }
        let source = support::root().join(format!("examples/c/{name}.c"));
        let way = Way::C;
        Some(Self { way, path: compile("cc", &["-std=c99", "-DHAVE_X264", "-lx264"], way, &source) })
    }

    /// Starts it.
    pub(crate) fn run(&self, arguments: &[&str]) -> Proc {
        let mut command = match self.way {
            Way::CUnderValgrind => {
                let mut command = Command::new("valgrind");
                command.args(["--quiet", "--leak-check=full", "--errors-for-leak-kinds=definite,indirect"]);
                command.args(["--error-exitcode=99", "--fair-sched=try"]).arg(&self.path);
                command
            }
            Way::Python => python(&self.path),
            _ => Command::new(&self.path),
        };
        let name = self.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        command.args(arguments);
        Proc::spawn(&name, command)
    }
}

/// Compiles a source, each test its own program.
pub(crate) fn compile(compiler: &str, options: &[&str], way: Way, source: &Path) -> PathBuf {
    let name = source.file_stem().unwrap_or_default().to_string_lossy();
    let name = streamengine_tests::unique(&format!("{name}-{way:?}"));
    let sanitizers: &[&str] = if way.is_sanitized() { &support::SANITIZERS } else { &[] };
    support::compile(compiler.as_ref(), &[sanitizers, options].concat(), source, &name)
}

/// Python with our module and library, for a script.
pub(crate) fn python(script: &Path) -> Command {
    let mut command = Command::new("python3");
    command.env("STREAMENGINE_LIBRARY", support::shared_library()).env("PYTHONDONTWRITEBYTECODE", "1");
    command.env("PYTHONPATH", support::root().join("examples/python"));
    command.args(["-X", "dev", "-W", "error"]).arg(script);
    command
}
