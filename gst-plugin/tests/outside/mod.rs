//! The plugin as a file: for tests that look at it, and use it, from the outside.
#![allow(dead_code)] // Each test program uses some of it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use tempfile::TempDir;

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

pub(crate) fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The plugin's file that belongs to these tests.
pub(crate) fn library() -> PathBuf {
    let built = std::env::current_exe().unwrap().with_file_name("libgststreamengine.so");
    assert!(built.exists(), "{} is not built", built.display());
    built
}

/// A folder with the plugin alone: what lies beside it in cargo's folder is no plugin.
pub(crate) fn plugin_folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let library = library();
        // Cargo's folder of the profile: `debug`.
        let profile = library.ancestors().nth(2).unwrap().file_name().unwrap();
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("gst-plugin").join(profile);
        std::fs::create_dir_all(&folder).unwrap();
        match std::os::unix::fs::symlink(&library, folder.join("libgststreamengine.so")) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => panic!("{error}"),
            _ => folder,
        }
    })
}

/// A program that finds the plugin, and keeps its registry to itself: the user's is neither read nor written.
pub(crate) struct Gst {
    registry: TempDir,
    plugins: PathBuf,
}

impl Gst {
    pub(crate) fn new() -> Self {
        Self::with_plugins_of(plugin_folder())
    }

    pub(crate) fn with_plugins_of(folder: &Path) -> Self {
        Self { registry: tempfile::tempdir().unwrap(), plugins: folder.to_owned() }
    }

    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env("GST_PLUGIN_PATH", &self.plugins).env("GST_REGISTRY", self.registry.path().join("bin"));
        command.env("LC_ALL", "C").env_remove("GST_DEBUG").env_remove("GST_INSPECT_NO_COLORS");
        command
    }

    /// What `gst-inspect-1.0` says.
    pub(crate) fn inspect(&self, argument: &str) -> String {
        succeed(self.command("gst-inspect-1.0").args(["--no-colors", argument]))
    }
}

/// Runs a command that must succeed; its output.
pub(crate) fn succeed(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(status.success(), "{command:?}: {status}\n{}\n{}", text(&stdout), text(&stderr));
    text(&stdout)
}
