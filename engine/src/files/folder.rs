//! The folder of a stream: files that others read while they are replaced, and such that grow until they are whole.

#[cfg(feature = "http")]
use super::read_small;
use crate::key::StreamKey;
use crate::{Error, ErrorKind, Result};
use bytes::Bytes;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
#[cfg(feature = "http")]
use std::time::SystemTime;

/// What the name of a file ends with while it is written.
const UNFINISHED: &str = ".tmp";
/// What the name of a file ends with while it grows.
const PART: &str = ".part";

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
    #[cfg(feature = "http")]
    pub(crate) fn is_real(&self) -> bool {
        self.paths().all(|path| fs::symlink_metadata(path).is_ok_and(|found| found.is_dir()))
    }

    /// Removes it, and the folders around it below the root, as far as nothing is in them.
    #[cfg(feature = "http")]
    pub(crate) fn remove_empty(&self) {
        // Of what is not empty the operating system leaves all.
        let _ = self.paths().rev().try_for_each(fs::remove_dir);
    }

    /// When what is the newest of these files was written; none where there is none.
    #[cfg(feature = "http")]
    pub(crate) fn newest(&self, names: &[String]) -> Option<SystemTime> {
        let written = |name: &String| fs::symlink_metadata(self.path.join(name)).ok()?.modified().ok();
        names.iter().filter_map(written).max()
    }

    /// Writes a file as a whole: it is there with all of its bytes or, as it was, not at all. Does not wait until the disk has them.
    ///
    /// # Errors
    /// Those of the operating system, with the name.
    #[cfg(feature = "http")]
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
    #[cfg(feature = "http")]
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

    /// Where a file of this name is.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn part(&self, name: &str) -> PathBuf {
        self.path.join(format!("{name}{PART}"))
    }

    /// Begins a file that grows. While it is open nobody takes it for left over.
    ///
    /// # Errors
    /// [`ErrorKind::Exists`] where there is one of this name, and those of the operating system, with the name.
    pub(crate) fn create_part(&self, name: &str) -> Result<File> {
        let path = self.part(name);
        let made = OpenOptions::new().read(true).write(true).create_new(true).open(&path);
        let file = made.map_err(|cause| match cause.kind() {
            io::ErrorKind::AlreadyExists => {
                Error::new(ErrorKind::Exists, format!("{} exists", path.display()))
            }
            _ => Error::io(format_args!("write {}", path.display()), cause),
        })?;
        // Some file systems have no locks; then nobody else may work in the folder.
        let _ = file.try_lock();
        Ok(file)
    }

    /// Opens a file that was left growing; `None` where somebody writes it.
    ///
    /// # Errors
    /// Those of the operating system, with the name; [`ErrorKind::InvalidArgument`] for what is no regular file.
    pub(crate) fn open_part(&self, name: &str) -> Result<Option<File>> {
        let path = self.part(name);
        let at = |cause| Error::io(format_args!("open {}", path.display()), cause);
        if !fs::symlink_metadata(&path).map_err(at)?.is_file() {
            let text = format!("open {}: not a regular file", path.display());
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        }
        let file = OpenOptions::new().read(true).write(true).open(&path).map_err(at)?;
        Ok(match file.try_lock() {
            Err(fs::TryLockError::WouldBlock) => None,
            _ => Some(file),
        })
    }

    /// Whether a growing file is still there.
    pub(crate) fn has_part(&self, name: &str) -> bool {
        self.part(name).exists()
    }

    /// Gives a growing file its name: it is whole.
    ///
    /// # Errors
    /// Those of the operating system, with the name.
    pub(crate) fn finish_part(&self, name: &str) -> Result<()> {
        let path = self.path(name);
        fs::rename(self.part(name), &path)
            .map_err(|cause| Error::io(format_args!("finish {}", path.display()), cause))
    }

    /// Removes a growing file. What cannot be removed stays.
    pub(crate) fn remove_part(&self, name: &str) {
        let _ = fs::remove_file(self.part(name));
    }

    /// The name that a growing file is to get.
    pub(crate) fn growing(name: &str) -> Option<&str> {
        name.strip_suffix(PART)
    }

    /// Opens a file to read; what is no regular file is none.
    ///
    /// # Errors
    /// As of [`Self::open_part`].
    pub(crate) fn open(&self, name: &str, is_growing: bool) -> Result<File> {
        let path = if is_growing { self.part(name) } else { self.path(name) };
        if fs::symlink_metadata(&path).is_ok_and(|found| found.is_symlink()) {
            let text = format!("open {}: a symbolic link", path.display());
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        }
        super::open_regular(&path, format_args!("open {}", path.display()))
    }

    /// Bytes that are free where it is, or is to be; `None` where that cannot be told.
    pub(crate) fn free_bytes(&self) -> Option<u64> {
        #[cfg(unix)]
        {
            let there = [&self.path, &self.root].into_iter().find(|path| path.exists())?;
            let found = nix::sys::statvfs::statvfs(there).ok()?;
            #[allow(clippy::useless_conversion, reason = "not all systems count in u64")]
            Some(u64::from(found.blocks_available()).saturating_mul(u64::from(found.fragment_size())))
        }
        #[cfg(not(unix))]
        None
    }

    /// The name that a file is to get whose writing was cut off.
    #[cfg(feature = "http")]
    pub(crate) fn unfinished(name: &str) -> Option<&str> {
        name.strip_suffix(UNFINISHED)
    }
}

/// Writes a file that its owner alone may read, as a whole, and waits until the disk has it: it is there with all of its bytes or, as
/// it was, not at all. A link is written to, not replaced.
///
/// # Errors
/// Those of the operating system, with the name.
#[cfg(feature = "http")]
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut unfinished = path.clone().into_os_string();
    unfinished.push(UNFINISHED);
    let unfinished = PathBuf::from(unfinished);
    let mut write = || {
        let mut file = open_new(&unfinished, &mut options)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&unfinished, &path)
    };
    write().map_err(|cause| {
        let _ = fs::remove_file(&unfinished);
        Error::io(format_args!("write {}", path.display()), cause)
    })
}

fn write_new(path: &Path, pieces: &[Bytes]) -> io::Result<()> {
    let mut file = open_new(path, &mut OpenOptions::new())?;
    pieces.iter().try_for_each(|piece| file.write_all(piece))
}

/// What is there already is not written to: it may be a link to something else.
fn open_new(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    options.write(true).create_new(true);
    match options.open(path) {
        Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(path)?;
            options.open(path)
        }
        opened => opened,
    }
}

/// The names of the folders in one, those that are text. Links are none.
pub(crate) fn folders(path: &Path) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders.filter_map(|entry| entry.file_name().into_string().ok())
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
