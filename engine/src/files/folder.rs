//! A folder of files that others read while they are replaced.

use super::read_small;
use crate::key::StreamKey;
use crate::{Error, ErrorKind, Result};
use bytes::Bytes;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

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
        let at = |path: &Path| format!("folder {}", path.display());
        fs::create_dir_all(&self.root).map_err(|cause| Error::io(at(&self.root), cause))?;
        let mut path = self.root.clone();
        for part in self.key.as_str().split('/') {
            path.push(part);
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
