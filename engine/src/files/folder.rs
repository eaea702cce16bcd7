//! A folder of files that others read while they are replaced.

use super::read_small;
use crate::key::StreamKey;
use crate::{Error, ErrorKind, Result};
use bytes::Bytes;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What the name of a file ends with while it is written.
const UNFINISHED: &str = ".tmp";

/// The folder of a stream below that of all: `ROOT/APP/STREAM`.
#[derive(Debug)]
pub(crate) struct Folder {
    root: PathBuf,
    key: StreamKey,
    path: PathBuf,
}

impl Folder {
    /// Does nothing yet.
    pub(crate) fn new(root: &Path, key: &StreamKey) -> Self {
        // The parts of a key are names of files, and no more.
        Self { root: root.to_owned(), key: key.clone(), path: root.join(key.as_str()) }
    }

    /// Makes what is missing of it.
    ///
    /// # Errors
    /// Those of the operating system; [`ErrorKind::InvalidArgument`] where something below the root is no folder, as a symbolic
    /// link, which could lead elsewhere.
    pub(crate) fn make(&self) -> Result<()> {
        match self.make_missing() {
            // Another may have removed what was empty between two steps.
            Err(error) if error.kind() == ErrorKind::NotFound => self.make_missing(),
            made => made,
        }
    }

    fn make_missing(&self) -> Result<()> {
        let at = |path: &Path| format!("folder {}", path.display());
        fs::create_dir_all(&self.root).map_err(|cause| Error::io(at(&self.root), cause))?;
        for path in self.paths() {
            match fs::create_dir(&path) {
                Err(cause) if cause.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(Error::io(at(&path), cause));
                }
                _ => {}
            }
            let found = fs::symlink_metadata(&path).map_err(|cause| Error::io(at(&path), cause))?;
            if !found.is_dir() {
                let text = format!("{}: not a folder, or a symbolic link to one", at(&path));
                return Err(Error::new(ErrorKind::InvalidArgument, text));
            }
        }
        Ok(())
    }

    /// The folders below the root, the outermost first.
    fn paths(&self) -> impl DoubleEndedIterator<Item = PathBuf> {
        let mut path = self.root.clone();
        let parts = self.key.as_str().split('/').map(|part| {
            path.push(part);
            path.clone()
        });
        parts.collect::<Vec<_>>().into_iter()
    }

    /// Whether all of it is there, and no symbolic link.
    pub(crate) fn is_real(&self) -> bool {
        self.paths().all(|path| fs::symlink_metadata(path).is_ok_and(|found| found.is_dir()))
    }

    /// Removes it, and the folders around it below the root, as far as nothing is in them.
    pub(crate) fn remove_empty(&self) {
        // Of what is not empty the operating system leaves all.
        let _ = self.paths().rev().try_for_each(fs::remove_dir);
    }

    /// When what is the newest of these files was written; none where there is none.
    pub(crate) fn newest(&self, names: &[String]) -> Option<SystemTime> {
        let written = |name: &String| fs::symlink_metadata(self.path.join(name)).ok()?.modified().ok();
        names.iter().filter_map(written).max()
    }

    /// Writes a file as a whole: it is there with all of its bytes or, as it was, not at all. Does not wait until the disk has them.
    ///
    /// # Errors
    /// Those of the operating system, with the name.
    pub(crate) fn write(&self, name: &str, pieces: &[Bytes]) -> Result<()> {
        let path = self.path.join(name);
        let unfinished = self.path.join(format!("{name}{UNFINISHED}"));
        let written = write_new(&unfinished, pieces).and_then(|()| fs::rename(&unfinished, &path));
        written.map_err(|cause| {
            // It takes room, if it is there.
            let _ = fs::remove_file(&unfinished);
            Error::io(format_args!("write {}", path.display()), cause)
        })
    }

    /// A small file as text; none where there is none that can be read.
    pub(crate) fn read(&self, name: &str) -> Option<String> {
        let bytes = read_small(&self.path.join(name), name).ok()?;
        String::from_utf8(bytes).ok()
    }

    /// Whether there is a file of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.path.join(name).exists()
    }

    /// The names of what is in it, those that are text.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.path).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    }

    /// Removes a file. What cannot be removed stays.
    pub(crate) fn remove(&self, name: &str) {
        let _ = fs::remove_file(self.path.join(name));
    }

    /// The name that a file is to get whose writing was cut off.
    pub(crate) fn unfinished(name: &str) -> Option<&str> {
        name.strip_suffix(UNFINISHED)
    }
}

/// What is there already is not written to: it may be a link to something else.
fn write_new(path: &Path, pieces: &[Bytes]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    let mut file = match options.open(path) {
        Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(path)?;
            options.open(path)?
        }
        opened => opened?,
    };
    pieces.iter().try_for_each(|piece| file.write_all(piece))
}

/// Checks that files can be written in a folder.
///
/// # Errors
/// Those of the operating system; [`ErrorKind::InvalidArgument`] for what is no folder. They begin with `what` it is.
pub(crate) fn check_writable(path: &Path, what: &str) -> Result<()> {
    let name = format!("{what} {}", path.display());
    let found = fs::metadata(path).map_err(|cause| Error::io(&name, cause))?;
    if !found.is_dir() {
        return Err(Error::new(ErrorKind::InvalidArgument, format!("{name}: not a folder")));
    }
    let probe = path.join(format!(".streamengine-{}{UNFINISHED}", std::process::id()));
    let written = write_new(&probe, &[]).and_then(|()| fs::remove_file(&probe));
    written.map_err(|cause| Error::io(format_args!("{name}: cannot be written"), cause))
}
