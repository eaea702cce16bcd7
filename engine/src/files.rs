//! Media files on disk: the only place that opens them.

use crate::media::flv_file::FlvReader;
use crate::media::looping::{Clip, ClipSource, Input};
use crate::{Error, ErrorKind, Result};
use parking_lot::Mutex;
use std::fmt;
use std::fs::{self, File, Metadata};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Bytes read from a file at a time.
const READ_BUFFER: usize = 64 * 1024;

impl FlvReader<BufReader<File>> {
    /// Opens the file at `path` and reads its header.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], [`ErrorKind::Permission`] or [`ErrorKind::Io`] of the operating system;
    /// [`ErrorKind::InvalidArgument`] for what is no regular file; [`ErrorKind::Format`] with the byte position if it is no
    /// FLV file. All name the path.
    pub fn open(path: &Path) -> Result<Self> {
        let name = path.display();
        let input = open(path, format_args!("open {name}"))?;
        Self::new(input).map_err(|error| error.context(name))
    }
}

impl<P: Into<PathBuf>> From<P> for Clip {
    fn from(path: P) -> Self {
        Self::new(FileClip { path: path.into(), seen: None, playing: Mutex::default() })
    }
}

/// An FLV file on disk.
struct FileClip {
    path: PathBuf,
    /// How it was when it was last looked at.
    seen: Option<Stamp>,
    /// The file that was opened last, and how it was then.
    playing: Mutex<Option<(File, Stamp)>>,
}

/// A file's length and time of change: when they are the same, so are its contents.
type Stamp = (u64, Option<SystemTime>);

fn stamp(metadata: &Metadata) -> Stamp {
    (metadata.len(), metadata.modified().ok())
}

impl ClipSource for FileClip {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn open(&self) -> Result<Box<dyn Input>> {
        let input = open(&self.path, format_args!("open"))?;
        let file = input.get_ref().try_clone().map_err(|cause| Error::io("open", cause))?;
        let stamp = stamp(&file.metadata().map_err(|cause| Error::io("open", cause))?);
        *self.playing.lock() = Some((file, stamp));
        Ok(Box::new(input))
    }

    fn has_changed(&mut self) -> Result<bool> {
        let metadata = fs::metadata(&self.path).map_err(|cause| Error::io("open", cause))?;
        let now = Some(stamp(&metadata));
        let has_changed = self.seen != now;
        self.seen = now;
        Ok(has_changed)
    }

    fn is_overwritten(&self) -> bool {
        let playing = self.playing.lock();
        let now = playing.as_ref().map(|(file, before)| (file.metadata(), before));
        // What cannot be asked is found out when it is read.
        now.is_some_and(|(now, before)| now.is_ok_and(|now| stamp(&now) != *before))
    }
}

/// Opens only regular files, as a pipe or device would block or never end. Errors begin with `what` is done.
fn open(path: &Path, what: fmt::Arguments<'_>) -> Result<BufReader<File>> {
    let metadata = fs::metadata(path).map_err(|cause| Error::io(what, cause))?;
    if !metadata.is_file() {
        return Err(Error::new(ErrorKind::InvalidArgument, format!("{what}: not a regular file")));
    }
    let file = File::open(path).map_err(|cause| Error::io(what, cause))?;
    Ok(BufReader::with_capacity(READ_BUFFER, file))
}
